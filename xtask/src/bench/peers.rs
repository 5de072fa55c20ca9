//! Our broker and its peers: the scenarios that each supports, and how it is started from its Debian package. Peers are
//! configured to drop no messages and to hold publishers back as late as possible; all listen on the loopback only.
//! User and password are guest.

use super::Scenario;
use crate::{command, root};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

/// File descriptors of a broker: enough for 5,000 connections.
const FILES: u32 = 16_384;
/// Options that Debian's start script passes to the Java virtual machine.
const JAVA: [&str; 18] = [
    "-Xms512M",
    "-Xmx512M",
    "--add-reads=java.xml=java.logging",
    "--add-opens",
    "java.base/java.security=ALL-UNNAMED",
    "--add-opens",
    "java.base/java.net=ALL-UNNAMED",
    "--add-opens",
    "java.base/java.lang=ALL-UNNAMED",
    "--add-opens",
    "java.base/java.util=ALL-UNNAMED",
    "--add-opens",
    "java.naming/javax.naming.spi=ALL-UNNAMED",
    "--add-opens",
    "java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens",
    "java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "-Dactivemq.home=/usr/share/activemq",
];

/// A broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Ours,
    /// With examples/hub.toml.
    OursWithRoute,
    RabbitMq,
    Mosquitto,
    /// With its default limits.
    MosquittoAsInstalled,
    ActiveMq,
}

/// How a broker is started.
pub struct Plan {
    /// A process that has to run beside it.
    pub companions: Vec<Command>,
    pub broker: Command,
    pub addresses: Vec<(&'static str, SocketAddr)>,
    /// Text that it prints when it is ready.
    pub says: Option<&'static str>,
}

impl Kind {
    /// The peer of this name.
    pub fn peer(name: &str) -> Result<Self> {
        match name {
            "rabbitmq" => Ok(Self::RabbitMq),
            "mosquitto" => Ok(Self::Mosquitto),
            "activemq" => Ok(Self::ActiveMq),
            _ => bail!("unknown peer {name}; the peers are rabbitmq, mosquitto, activemq and none"),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "crossdock",
            Self::OursWithRoute => "crossdock-route",
            Self::RabbitMq => "rabbitmq",
            Self::Mosquitto => "mosquitto",
            Self::MosquittoAsInstalled => "mosquitto-as-installed",
            Self::ActiveMq => "activemq",
        }
    }

    /// Whether it can take part in a scenario.
    pub fn can(self, scenario: &Scenario) -> bool {
        let speaks: &[&str] = match self {
            Self::Ours | Self::OursWithRoute | Self::RabbitMq => &["amqp", "mqtt", "stomp"],
            Self::Mosquitto | Self::MosquittoAsInstalled => &["mqtt"],
            // Its AMQP is 1.0.
            Self::ActiveMq => &["mqtt", "stomp"],
        };
        // RabbitMQ grants QoS 1 to subscribers that ask for QoS 2.
        let grants = self != Self::RabbitMq || scenario.name != "mqtt-qos2";
        grants && scenario.protocols.iter().all(|protocol| speaks.contains(&protocol.as_str()))
    }

    /// Its Debian packages.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Ours | Self::OursWithRoute => &[],
            Self::RabbitMq => &["rabbitmq-server"],
            Self::Mosquitto | Self::MosquittoAsInstalled => &["mosquitto"],
            // ActiveMQ's MQTT support needs the second package, and the first does not depend on it.
            Self::ActiveMq => &["activemq", "libmqtt-client-java"],
        }
    }

    /// Those of its packages that are not installed.
    pub fn missing(self) -> Option<Vec<&'static str>> {
        let missing = self.packages().iter().copied().filter(|p| version_of(p).is_none());
        let missing: Vec<&str> = missing.collect();
        (!missing.is_empty()).then_some(missing)
    }

    /// Its version.
    pub fn version(self, ours: &Path) -> String {
        match self.packages() {
            [package, ..] => version_of(package).unwrap_or_default(),
            [] => {
                let output = command(ours, &["--version"]).output();
                let text =
                    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
                text.unwrap_or_default().trim().trim_start_matches("crossdock ").to_owned()
            }
        }
    }

    /// The command that starts it in an empty folder.
    pub fn plan(self, ours: &Path, folder: &Path, ports: &[u16]) -> Result<Plan> {
        let &[amqp, mqtt, stomp, internal, names] = ports else { bail!("five ports are needed") };
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut addresses = vec![("amqp", at(amqp)), ("mqtt", at(mqtt)), ("stomp", at(stomp))];
        let (mut companions, mut says) = (Vec::new(), None);
        let broker = match self {
            Self::Ours | Self::OursWithRoute => {
                says = Some("crossdock ready");
                our_broker(ours, folder, &addresses, self == Self::OursWithRoute)
            }
            Self::RabbitMq => {
                // A port mapper (epmd) of our own, so that it can be ended with the broker.
                let mut register = Command::new("epmd");
                register.args(["-address", "127.0.0.1", "-port", &names.to_string()]);
                companions.push(register);
                rabbitmq(folder, &addresses, internal, names)?
            }
            Self::Mosquitto | Self::MosquittoAsInstalled => {
                addresses.retain(|(protocol, _)| *protocol == "mqtt");
                mosquitto(folder, mqtt, self == Self::MosquittoAsInstalled)?
            }
            Self::ActiveMq => {
                addresses.retain(|(protocol, _)| *protocol != "amqp");
                activemq(folder, mqtt, stomp)?
            }
        };
        Ok(Plan { companions, broker, addresses, says })
    }
}

/// Starts a program with a higher limit of open files. It replaces the shell and keeps its process id.
pub fn limited(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {FILES} 2>/dev/null; exec \"$@\"");
    command.args(["-c", &script, "sh"]).arg(program).args(arguments);
    command
}

/// Installs Debian packages.
pub fn install(packages: &[&str]) -> Result<()> {
    println!("installing {}", packages.join(", "));
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
    let status = install.env("DEBIAN_FRONTEND", "noninteractive").status();
    let status = status.context("apt-get cannot be run")?;
    ensure!(status.success(), "{} could not be installed", packages.join(", "));
    Ok(())
}

/// The version of an installed package.
fn version_of(package: &str) -> Option<String> {
    let query = ["-W", "-f", "${db:Status-Status} ${Version}", package];
    let output = Command::new("dpkg-query").args(query).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.strip_prefix("installed ").map(str::to_owned)
}

fn our_broker(
    binary: &Path,
    folder: &Path,
    addresses: &[(&str, SocketAddr)],
    route: bool,
) -> Command {
    let mut broker = limited(binary, &["serve", "--data-dir"]);
    broker.arg(folder.join("data")).env("CROSSDOCK_LOG__LEVEL", "warn");
    broker.env("CROSSDOCK_CONFIG", "");
    if route {
        broker.arg("--config").arg(root().join("examples/hub.toml"));
    }
    for (protocol, address) in addresses {
        broker.arg("--set").arg(format!("listeners.{protocol}.bind={address}"));
    }
    for listener in ["metrics", "ws-mqtt", "ws-stomp"] {
        broker.arg("--set").arg(format!("listeners.{listener}.bind=off"));
    }
    broker
}

fn rabbitmq(
    folder: &Path,
    addresses: &[(&str, SocketAddr)],
    internal: u16,
    names: u16,
) -> Result<Command> {
    let mut config = String::from("log.file.level = warning\nmqtt.prefetch = 1000\n");
    for (protocol, address) in addresses {
        let key = match *protocol {
            "amqp" => "listeners.tcp.1".to_owned(),
            other => format!("{other}.listeners.tcp.1"),
        };
        config.push_str(&format!("{key} = {address}\n"));
    }
    fs::write(folder.join("rabbitmq.conf"), config)?;
    fs::write(folder.join("plugins"), "[rabbitmq_mqtt,rabbitmq_stomp].\n")?;
    fs::write(folder.join("environment"), "")?;
    let program = Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
    let mut broker = limited(program, &[]);
    broker
        .env("HOME", folder)
        .env("RABBITMQ_CONF_ENV_FILE", folder.join("environment"))
        .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
        .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_NODENAME", format!("bench{internal}@localhost"))
        .env("RABBITMQ_DIST_PORT", internal.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("ERL_EPMD_PORT", names.to_string());
    Ok(broker)
}

fn mosquitto(folder: &Path, port: u16, as_installed: bool) -> Result<Command> {
    let mut config = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type none\n\
         set_tcp_nodelay true\n"
    );
    if !as_installed {
        config.push_str("max_inflight_messages 0\nmax_queued_messages 0\nmax_queued_bytes 0\n");
    }
    // It changes to a user of its own only if it was started by root; its files are root's then.
    config.push_str("user root\n");
    fs::write(folder.join("mosquitto.conf"), config)?;
    let mut broker = limited(Path::new("/usr/sbin/mosquitto"), &["-c"]);
    broker.arg(folder.join("mosquitto.conf"));
    Ok(broker)
}

fn activemq(folder: &Path, mqtt: u16, stomp: u16) -> Result<Command> {
    let shown = folder.display();
    let config = format!(
        r#"<beans xmlns="http://www.springframework.org/schema/beans"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://www.springframework.org/schema/beans
    http://www.springframework.org/schema/beans/spring-beans-2.0.xsd
    http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" useJmx="false" brokerName="bench"
      dataDirectory="{shown}/data">
    <persistenceAdapter><kahaDB directory="{shown}/kahadb"/></persistenceAdapter>
    <transportConnectors>
      <transportConnector name="mqtt" uri="mqtt+nio://127.0.0.1:{mqtt}"/>
      <transportConnector name="stomp" uri="stomp+nio://127.0.0.1:{stomp}"/>
    </transportConnectors>
  </broker>
</beans>
"#
    );
    fs::write(folder.join("activemq.xml"), config)?;
    let log = "log4j.rootLogger=ERROR, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n\
               log4j.appender.out.layout=org.apache.log4j.SimpleLayout\n";
    fs::write(folder.join("log4j.properties"), log)?;
    // The start script loads jars from here; Debian's package does not contain this one.
    fs::create_dir(folder.join("lib"))?;
    let jar = "mqtt-client.jar";
    std::os::unix::fs::symlink(
        Path::new("/usr/share/java").join(jar),
        folder.join("lib").join(jar),
    )?;
    let mut broker = limited(Path::new("/usr/bin/java"), &JAVA);
    for property in ["base", "conf", "data"] {
        broker.arg(format!("-Dactivemq.{property}={shown}"));
    }
    broker.arg(format!("-Dlog4j.configuration=file:{shown}/log4j.properties"));
    broker.args(["-jar", "/usr/share/activemq/bin/activemq.jar", "start"]);
    broker.arg(format!("xbean:file:{shown}/activemq.xml"));
    Ok(broker)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(name: &str, protocols: &[&str]) -> Scenario {
        let protocols = protocols.iter().map(|p| (*p).to_owned()).collect();
        Scenario { name: name.to_owned(), protocols, about: String::new() }
    }

    #[test]
    fn brokers_take_part_in_what_they_speak() {
        let who = |scenario: Scenario| {
            let all = [Kind::Ours, Kind::RabbitMq, Kind::Mosquitto, Kind::ActiveMq];
            all.into_iter().filter(|kind| kind.can(&scenario)).map(Kind::name).collect::<Vec<_>>()
        };
        assert_eq!(who(scenario("a", &["amqp"])), ["crossdock", "rabbitmq"]);
        assert_eq!(who(scenario("mqtt-qos2", &["mqtt"])), ["crossdock", "mosquitto", "activemq"]);
        assert_eq!(who(scenario("s", &["stomp", "mqtt"])), ["crossdock", "rabbitmq", "activemq"]);
    }

    #[test]
    fn what_dpkg_does_not_know_is_missing() {
        assert_eq!(version_of("crossdock-no-such-package"), None);
        assert_eq!(Kind::Ours.missing(), None);
    }
}
