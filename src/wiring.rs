//! The parts of this program: one line for each protocol, the store, the authenticator. A new protocol or store is a
//! dependency in Cargo.toml and a line here.

use crate::config::{self, Announce, DeniedPublish, Limits, Loaded, Mistake, Size, Span};
use crate::plugins::Plugins;
use crate::{login_order, machine, stomp_door};
use crossdock_amqp091::{Amqp091, Options as AmqpOptions};
use crossdock_auth::{
    CertificateUser, Delays, Logins, OrderedLogins, ProcessKey, TokenHandle, Turn, Verifier,
    VerifierSettings,
};
use crossdock_console::{Doors, Metrics, Node, Operations};
use crossdock_core::store::Store;
use crossdock_core::{Authenticator, ExchangeSpec, Formats, Name, Protocol};
use crossdock_foreign::{Foreign, Options as ForeignOptions};
pub use crossdock_mqtt::SESSION_QUEUES;
use crossdock_mqtt::{Elsewhere, Mqtt, Options as MqttOptions};
use crossdock_net::Live;
use crossdock_stomp::{Door as StompDoor, FrameLimits, Options as StompOptions, Stomp};
pub use crossdock_store_file::{
    BackupOptions, Finding, OpenError, RestoreOptions, backup, cure, restore, verify,
};
use crossdock_store_file::{FileStore, Options};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Every protocol, whether or not a listener speaks it: stored messages of all of them must stay readable.
#[derive(Clone)]
pub struct Protocols {
    amqp: Amqp091,
    mqtt: Mqtt,
    stomp: Stomp,
    metrics: Metrics,
    foreign: Vec<Foreign>,
}

impl Protocols {
    /// As they are configured.
    pub fn new(loaded: &Loaded, plugins: &Plugins) -> Self {
        let limits = &loaded.config.limits;
        let listeners = loaded.config.listeners.iter();
        let those = |meant: fn(&config::Listener) -> bool| -> Vec<Name> {
            let those = listeners.clone().filter(|(_, it)| meant(it));
            those.map(|(name, _)| name.as_str().into()).collect()
        };
        let strict = those(|it| it.denied_publish == DeniedPublish::Close);
        let (mut amqp, mut mqtt, mut stomp) = (amqp(limits), mqtt(limits), stomp(limits));
        amqp.strict_listeners = strict.clone();
        amqp.own_name_listeners = those(|it| it.announce == Announce::Crossdock);
        mqtt.strict_listeners = strict.clone();
        stomp.strict_listeners = strict;
        stomp.doors = listeners
            .clone()
            .map(|(name, it)| (Name::from(name.as_str()), stomp_door::of(&it.stomp)))
            .filter(|(_, door)| *door != StompDoor::default())
            .map(|(name, door)| (name, Arc::new(door)))
            .collect();
        Self {
            amqp: Amqp091 { options: Live::new(amqp) },
            mqtt: Mqtt { options: Live::new(mqtt) },
            stomp: Stomp { options: Live::new(stomp) },
            metrics: metrics(&loaded.config.metrics),
            foreign: plugins.speakers().map(|one| Foreign::new(one, foreign(limits))).collect(),
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<dyn Protocol>> {
        let Self { amqp, mqtt, stomp, metrics, foreign } = self.clone();
        let own: [Arc<dyn Protocol>; 4] =
            [Arc::new(amqp), Arc::new(mqtt), Arc::new(stomp), Arc::new(metrics)];
        let foreign = foreign.into_iter().map(|one| Arc::new(one) as Arc<dyn Protocol>);
        own.into_iter().chain(foreign).collect()
    }

    /// Whose listeners are shown to operators.
    pub fn show(&self, program: Arc<dyn Operations>) {
        self.metrics.show(program);
    }

    /// From now on new connections are served as those would be.
    pub fn follow(&self, other: &Protocols) {
        self.amqp.options.replace(other.amqp.options.get());
        self.mqtt.options.replace(other.mqtt.options.get());
        self.stomp.options.replace(other.stomp.options.get());
    }
}

impl Default for Protocols {
    fn default() -> Self {
        Self {
            amqp: Amqp091::default(),
            mqtt: Mqtt::default(),
            stomp: Stomp::default(),
            metrics: metrics(&config::Metrics::default()),
            foreign: Vec::new(),
        }
    }
}

/// What names this node.
pub fn node() -> Node {
    Node { name: machine::node_name(), version: env!("CARGO_PKG_VERSION") }
}

fn metrics(meant: &config::Metrics) -> Metrics {
    Metrics::new(Doors { open: meant.open, hosts: meant.hosts.clone() }, node())
}

fn bytes(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

fn amqp(limits: &Limits) -> AmqpOptions {
    let meant = &limits.amqp;
    AmqpOptions {
        login_time: limits.login_time.0,
        login_frame_max: meant.frame_max_before_login,
        channel_max: meant.channel_max,
        frame_max: meant.frame_max,
        heartbeat: meant.heartbeat,
        consumers_max: meant.consumers_per_channel,
        write_time: limits.write_time.0,
        ..AmqpOptions::default()
    }
}

fn mqtt(limits: &Limits) -> MqttOptions {
    let meant = &limits.mqtt;
    let seconds = |span: Span| u32::try_from(span.ms().div_ceil(1_000)).unwrap_or(u32::MAX);
    MqttOptions {
        login_time: limits.login_time.0,
        login_bytes_max: bytes(meant.connect_bytes),
        client_id_bytes_max: meant.client_id_bytes,
        receive_maximum: meant.receive_maximum,
        topic_alias_maximum: meant.topic_alias_maximum,
        in_flight_max: meant.in_flight_messages,
        in_flight_bytes_max: meant.in_flight_bytes.0,
        subscriptions_max: meant.subscriptions_per_session,
        session_expiry_max: meant.session_expiry_max.map(seconds),
        keep_alive_max: meant.keep_alive_max,
        share_expires_ms: meant.share_expires.map(Span::ms),
        elsewhere: Elsewhere {
            when_stopping: meant.another_server.as_deref().map(Name::from),
            moved_to: meant.moved_to.as_deref().map(Name::from),
        },
        write_time: limits.write_time.0,
        ..MqttOptions::default()
    }
}

fn stomp(limits: &Limits) -> StompOptions {
    let meant = &limits.stomp;
    StompOptions {
        login_time: limits.login_time.0,
        write_time: limits.write_time.0,
        frames: FrameLimits {
            login_bytes_max: bytes(meant.connect_bytes),
            headers_max: meant.headers_per_frame,
            header_bytes_max: bytes(meant.header_bytes),
        },
        client_id_bytes_max: meant.client_id_bytes,
        heart_beat_min: meant.heart_beat_min.0,
        prefetch: meant.prefetch.unwrap_or(u32::MAX),
        subscriptions_max: meant.subscriptions_per_connection,
        ..StompOptions::default()
    }
}

fn foreign(limits: &Limits) -> ForeignOptions {
    ForeignOptions { login_time: limits.login_time.0, write_time: limits.write_time.0 }
}

/// A mistake for each pair of limits that cannot hold together.
pub fn check_limits(loaded: &Loaded, mistakes: &mut Vec<Mistake>) {
    let limits = &loaded.config.limits;
    let whole = bytes(limits.mqtt.connect_bytes);
    let (mqtt, stomp) = (limits.mqtt.client_id_bytes, limits.stomp.client_id_bytes);
    let mut wrong = |key: &str, reason: String| mistakes.push(loaded.mistake(key, reason));
    // The rest of the shortest CONNECT of MQTT 5 that has a client identifier.
    if mqtt + CONNECT_BYTES > whole {
        let reason = format!(
            "a client identifier of {mqtt} bytes has no room in limits.mqtt.connect_bytes, {whole}"
        );
        wrong("limits.mqtt.client_id_bytes", reason);
    }
    let whole = bytes(limits.stomp.connect_bytes);
    if stomp > whole {
        let reason = format!(
            "a client-id of {stomp} bytes has no room in limits.stomp.connect_bytes, {whole}"
        );
        wrong("limits.stomp.client_id_bytes", reason);
    }
}

/// What a CONNECT of MQTT 5 has beside its client identifier, at least.
const CONNECT_BYTES: usize = 18;

/// The readers of all header formats.
pub fn formats(protocols: &[Arc<dyn Protocol>]) -> Formats {
    Formats::new(protocols.iter().flat_map(|protocol| protocol.formats()).collect())
}

/// The exchanges that clients of the protocols expect. Two protocols may expect the same exchange.
pub fn topology(protocols: &[Arc<dyn Protocol>]) -> Result<Vec<ExchangeSpec>, String> {
    let mut topology: Vec<ExchangeSpec> = Vec::new();
    for (protocol, spec) in
        protocols.iter().flat_map(|p| p.topology().into_iter().map(move |s| (p, s)))
    {
        let known = topology.iter().find(|known| known.name == spec.name);
        match known.map(|known| known.differs(&spec)) {
            None => topology.push(spec),
            Some(None) => {}
            Some(Some(setting)) => {
                let (name, protocol) = (&spec.name, protocol.name());
                return Err(format!("{protocol} expects exchange '{name}' with another {setting}"));
            }
        }
    }
    Ok(topology)
}

/// Opens the embedded store. Blocks.
pub fn store(
    dir: PathBuf,
    (segment_bytes, spill_bytes): (u64, u64),
) -> Result<Arc<dyn Store>, OpenError> {
    let options = Options { dir, segment_bytes, spill_bytes, ..Options::default() };
    let store = FileStore::open(options)?;
    Ok(Arc::new(store))
}

/// Opens the embedded store for reading only; a broker may be running on it.
pub fn store_to_read(dir: &Path) -> Result<Arc<dyn Store>, OpenError> {
    Ok(Arc::new(FileStore::read_only(dir)?))
}

/// Decides who may log in: `guest`, from loopback addresses only, users, and who has a token, where these are taken;
/// and authenticators of plugins, where they are to be asked.
pub fn authenticator(
    loaded: &Loaded,
    plugins: &Plugins,
    tokens: TokenHandle,
) -> Result<Arc<dyn Authenticator>, Vec<Mistake>> {
    let key = ProcessKey::random();
    let key = key.map_err(|error| vec![loaded.mistake("", error.detail())])?;
    let auth = &loaded.config.auth.logins;
    let (from_failure, longest) = (auth.failures_before_delay, auth.failure_delay_max.0);
    let delays = Delays { from_failure, longest };
    let verifier = Verifier::new(VerifierSettings { delays, ..VerifierSettings::default() }, key);
    let certificate_user = match auth.certificate_user {
        config::CertificateUser::CommonName => CertificateUser::CommonName,
        config::CertificateUser::Subject => CertificateUser::Subject,
        config::CertificateUser::AlternativeName => CertificateUser::AlternativeName,
    };
    let own = Logins::new(verifier, certificate_user, tokens);
    let turns = login_order::turns(loaded, plugins);
    Ok(match turns.as_slice() {
        [Turn::Own] => Arc::new(own),
        _ => Arc::new(OrderedLogins::new(own, turns)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So what the adapters' own tests show holds for the program.
    #[test]
    fn built_in_limits_are_those_of_the_adapters() {
        let loaded = config::load(&config::Request::default()).expect("well-formed");
        let Protocols { amqp, mqtt, stomp, .. } = Protocols::new(&loaded, &Plugins::default());
        let default = Protocols::default();
        assert_eq!(format!("{amqp:?}"), format!("{:?}", default.amqp));
        assert_eq!(format!("{mqtt:?}"), format!("{:?}", default.mqtt));
        assert_eq!(format!("{stomp:?}"), format!("{:?}", default.stomp));
    }

    #[test]
    fn protocols_agree_on_their_exchanges() {
        let protocols = Protocols::default().all();
        let topology = topology(&protocols).expect("no two protocols expect different things");
        assert!(topology.iter().any(|spec| &*spec.name == "amq.topic"));
        let mut names: Vec<&str> = protocols.iter().map(|protocol| protocol.name()).collect();
        names.sort_unstable();
        assert_eq!(names, ["amqp", "metrics", "mqtt", "stomp"]);
    }
}
