//! The listeners of a configuration: where they listen, what is spoken there, their certificates. Nothing is bound
//! here, but all that can be known before is checked.

use crate::config::{self, Binds, Listener as Meant, Loaded, Mistake, Transport as Written};
use crate::machine;
use crossdock_core::Protocol;
use crossdock_net::tls::{self, ClientCertificate, TlsConfig, TlsHandle, TlsSettings, TlsVersion};
use crossdock_net::{
    AdmissionHandle, AdmissionLimits, BindError, ConnectRate, Listener, ListenerSpec, Transport,
};
use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Percentage of the process's file descriptors that the connections of a listener may take; the rest is for the store.
const CONNECTIONS_PERCENT: usize = 80;
/// Of connects that are limited for each second, so many times more may come at once.
const BURST: u32 = 5;

/// What is wrong with a listener that is not built in and says nothing of its protocols.
pub const NO_PROTOCOLS: &str = "is missing: a listener that is not built in has to say \
     which protocols it speaks";

/// A listener that is not bound yet.
pub struct Port {
    pub name: String,
    pub addresses: Vec<String>,
    pub spec: ListenerSpec,
    /// What new connections are served with, where it speaks TLS.
    pub tls: Option<TlsConfig>,
}

impl Port {
    /// What can change while it is open is as `other` has it, for new connections. True: its certificate, its key or
    /// the authorities of its clients are others now.
    pub fn follow(&self, other: &Port) -> bool {
        self.spec.limits.replace(other.spec.limits.limits());
        match (&self.spec.tls, &other.tls) {
            (Some(handle), Some(tls)) => {
                let is_other = !handle.has(tls);
                handle.replace(tls.clone());
                is_other
            }
            _ => false,
        }
    }

    /// Whether passwords and messages cross a network as they are: it has no TLS, and can be reached from elsewhere.
    pub fn is_in_the_clear(&self) -> bool {
        let resolved = self.addresses.iter().filter_map(|address| address.to_socket_addrs().ok());
        self.tls.is_none()
            && resolved.flatten().any(|address| !address.ip().to_canonical().is_loopback())
    }

    /// Binds all its addresses.
    pub async fn bind(&self) -> Result<Listener, BindError> {
        crossdock_net::bind(self.spec.clone(), &self.addresses).await
    }
}

/// The names of those at which passwords cross a network as they are; none: there are none. Where numbers are open to
/// everybody, nobody is asked for a password.
pub fn in_the_clear(ports: &[Port], metrics_are_open: bool) -> Option<String> {
    let asks = |port: &&Port| {
        let is_metrics = port.spec.protocols.iter().all(|protocol| protocol.name() == "metrics");
        port.is_in_the_clear() && !(is_metrics && metrics_are_open)
    };
    let names: Vec<&str> = ports.iter().filter(asks).map(|port| port.name.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// All that are on.
pub fn ports(
    loaded: &Loaded,
    known: &[Arc<dyn Protocol>],
    mistakes: &mut Vec<Mistake>,
) -> Vec<Port> {
    let mut taken = BTreeSet::new();
    let mut ports = Vec::new();
    for (name, listener) in &loaded.config.listeners {
        let key = |field: &str| format!("listeners.{name}.{field}");
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            let reason = "a listener's name is made of letters, digits, - and _";
            mistakes.push(loaded.mistake(format!("listeners.{name}"), reason));
        }
        let protocols = protocols(loaded, (name, listener), known, mistakes);
        let transport = match listener.transport {
            Written::Tcp => Transport::Tcp,
            Written::Ws => {
                Transport::WebSocket { origins: listener.origins.clone().unwrap_or_default() }
            }
        };
        if listener.origins.is_some() && listener.transport == Written::Tcp {
            let reason = "has an effect with transport = \"ws\" only";
            mistakes.push(loaded.mistake(key("origins"), reason));
        }
        if listener.transport == Written::Ws && protocols.iter().any(|p| p.name() == "metrics") {
            let reason = "is not for metrics, which are asked for by HTTP and not inside WebSocket";
            mistakes.push(loaded.mistake(key("transport"), reason));
        }
        let alone = protocols.iter().find(|protocol| protocol.speaks_first());
        if let Some(alone) = alone.filter(|_| protocols.len() > 1) {
            let reason =
                format!("'{}' shares no port: give it a listener of its own", alone.name());
            mistakes.push(loaded.mistake(key("protocols"), reason));
        }
        if let Some(alone) = alone.filter(|_| listener.transport == Written::Ws) {
            let reason = format!("is not for '{}', which is spoken over TCP only", alone.name());
            mistakes.push(loaded.mistake(key("transport"), reason));
        }
        let alpn = ListenerSpec::alpn(&protocols, &transport);
        let tls = certificates(loaded, (name, listener), alpn, mistakes);
        let addresses = addresses(loaded, (name, listener), &mut taken, mistakes);
        if addresses.is_empty() {
            continue;
        }
        let spec = ListenerSpec {
            name: name.as_str().into(),
            protocols,
            transport,
            tls: tls.clone().map(TlsHandle::new),
            proxy: listener.proxy,
            limits: AdmissionHandle::new(limits(listener, loaded.config.limits.login_time.0)),
        };
        ports.push(Port { name: name.clone(), addresses, spec, tls });
    }
    ports
}

fn limits(listener: &Meant, login_time: Duration) -> AdmissionLimits {
    let most = machine::descriptors() / 100 * CONNECTIONS_PERCENT;
    let rate =
        |per_second: u32| ConnectRate { per_second, burst: per_second.saturating_mul(BURST) };
    AdmissionLimits {
        connections_max: listener.connections_max.unwrap_or(most).max(1),
        per_address: listener.connections_per_address,
        connect_rate: listener.connects_per_second.map(rate),
        total_rate: listener.connects_per_second_total.map(rate),
        login_time,
    }
}

fn protocols(
    loaded: &Loaded,
    (name, listener): (&str, &Meant),
    known: &[Arc<dyn Protocol>],
    mistakes: &mut Vec<Mistake>,
) -> Vec<Arc<dyn Protocol>> {
    let key = |field: &str| format!("listeners.{name}.{field}");
    let mut protocols: Vec<Arc<dyn Protocol>> = Vec::new();
    for (index, protocol) in listener.protocols.iter().flatten().enumerate() {
        let key = key(&format!("protocols[{index}]"));
        match known.iter().find(|known| known.name() == protocol) {
            Some(known) if protocols.iter().any(|p| p.name() == known.name()) => {
                mistakes.push(loaded.mistake(key, format!("'{protocol}' stands twice")));
            }
            Some(known) => protocols.push(known.clone()),
            None => mistakes.push(loaded.mistake(key, unknown_protocol(protocol, known))),
        }
    }
    match &listener.protocols {
        None => mistakes.push(loaded.mistake(key("protocols"), NO_PROTOCOLS)),
        Some(list) if list.is_empty() => {
            mistakes.push(loaded.mistake(key("protocols"), "names no protocol"));
        }
        Some(_) => {}
    }
    protocols
}

fn unknown_protocol(name: &str, known: &[Arc<dyn Protocol>]) -> String {
    let names: Vec<&str> = known.iter().map(|protocol| protocol.name()).collect();
    match config::suggestion(name, names.iter().copied()) {
        Some(meant) => format!("'{name}' is no protocol; did you mean '{meant}'?"),
        None => {
            let known = names.join(", ");
            format!(
                "'{name}' is none of {known}; other protocols come with the plugins of [[plugin]]"
            )
        }
    }
}

/// The addresses that can be used; none when the listener is off.
fn addresses(
    loaded: &Loaded,
    (name, listener): (&str, &Meant),
    taken: &mut BTreeSet<SocketAddr>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<String> {
    let auth = &loaded.config.auth;
    let has_users =
        !loaded.config.users.is_empty() || auth.logins.stored_users || auth.lets_others_in();
    let mut usable = Vec::new();
    for (index, address) in listener.bind.addresses().iter().enumerate() {
        let key = match listener.bind {
            Binds::One(_) => format!("listeners.{name}.bind"),
            Binds::Several(_) => format!("listeners.{name}.bind[{index}]"),
        };
        match check_address(address, has_users, taken) {
            Ok(()) => usable.push(address.clone()),
            Err(reason) => mistakes.push(loaded.mistake(key, reason)),
        }
    }
    usable
}

fn check_address(
    address: &str,
    has_users: bool,
    taken: &mut BTreeSet<SocketAddr>,
) -> Result<(), String> {
    if address.is_empty() {
        return Err("is missing".to_owned());
    }
    let resolved = address.to_socket_addrs().map_err(|e| format!("'{address}': {e}"))?;
    let resolved: Vec<SocketAddr> = resolved.collect();
    if !has_users && !resolved.iter().all(|address| address.ip().to_canonical().is_loopback()) {
        return Err(format!(
            "'{address}' can be reached from elsewhere, and there is no user but guest, who is let in \
             from this machine only: add a [[user]] with the line that `crossdock hash-password` \
             prints, or auth.stored_users = true for those of `crossdock user add`, or bind a loopback \
             address"
        ));
    }
    // Of the addresses of a name the first that is free is bound. Port 0 is a port that is free.
    match resolved.into_iter().any(|address| address.port() == 0 || taken.insert(address)) {
        true => Ok(()),
        false => Err(format!("'{address}' is another listener's too")),
    }
}

/// What the listener serves TLS with, if it does.
fn certificates(
    loaded: &Loaded,
    (name, listener): (&str, &Meant),
    alpn: Vec<String>,
    mistakes: &mut Vec<Mistake>,
) -> Option<TlsConfig> {
    let (certificate, private) = pair(loaded, (name, listener), mistakes)?;
    let path = |path: &Path| -> PathBuf { loaded.base_dir.join(path) };
    let settings = TlsSettings {
        certificate: path(certificate),
        key: path(private),
        client_ca: listener.tls.tls_client_ca.as_deref().map(path),
        client_certificate: match (&listener.tls.tls_client_ca, listener.tls.tls_client_certificate)
        {
            (None, _) => ClientCertificate::Off,
            (Some(_), Some(config::ClientCertificate::Required)) => ClientCertificate::Required,
            (Some(_), Some(config::ClientCertificate::Optional) | None) => {
                ClientCertificate::Optional
            }
        },
        min_version: match listener.tls.tls_min_version.as_deref() {
            Some("1.3") => TlsVersion::V1_3,
            _ => TlsVersion::V1_2,
        },
        alpn,
    };
    let key = |field: &str| format!("listeners.{name}.tls_{field}");
    let file = |mistake: &tls::TlsMistake| match &mistake.file {
        Some(file) => format!("{}: {}", file.display(), mistake.reason),
        None => mistake.reason.clone(),
    };
    match tls::load(&settings) {
        Ok(config) => {
            for warning in &config.warnings {
                tracing::warn!(
                    listener = name,
                    detail = file(warning),
                    "a file of a listener's TLS is not as safe as it should be"
                );
            }
            Some(config)
        }
        Err(found) => {
            mistakes.extend(
                found.iter().map(|mistake| loaded.mistake(key(mistake.setting), file(mistake))),
            );
            None
        }
    }
}

/// Certificate and key, where the listener has both; what makes no sense without them, or without the other, is noted.
fn pair<'a>(
    loaded: &Loaded,
    (name, listener): (&str, &'a Meant),
    mistakes: &mut Vec<Mistake>,
) -> Option<(&'a PathBuf, &'a PathBuf)> {
    let mut wrong = |field: &str, reason: &str| {
        mistakes.push(loaded.mistake(format!("listeners.{name}.{field}"), reason));
    };
    let is_set = [
        ("tls_client_ca", listener.tls.tls_client_ca.is_some()),
        ("tls_client_certificate", listener.tls.tls_client_certificate.is_some()),
        ("tls_min_version", listener.tls.tls_min_version.is_some()),
    ];
    match (&listener.tls.tls_certificate, &listener.tls.tls_key) {
        (Some(_), Some(_))
            if listener.tls.tls_client_certificate.is_some()
                && listener.tls.tls_client_ca.is_none() =>
        {
            let reason = "needs tls_client_ca: the authorities that the certificates come from";
            wrong("tls_client_certificate", reason);
            None
        }
        (Some(certificate), Some(private)) => Some((certificate, private)),
        (Some(_), None) => {
            wrong("tls_key", "is missing beside tls_certificate");
            None
        }
        (None, Some(_)) => {
            wrong("tls_certificate", "is missing beside tls_key");
            None
        }
        (None, None) => {
            for (field, _) in is_set.iter().filter(|(_, is_set)| *is_set) {
                wrong(field, "has an effect with tls_certificate and tls_key only");
            }
            None
        }
    }
}
