//! The parts of this program: one line for each protocol, the store, the authenticator. A new protocol or store is a
//! dependency in Cargo.toml and a line here.

use crate::config::{self, Loaded, Mistake};
use crossdock_amqp091::Amqp091;
use crossdock_auth::{
    CertificateUser, Logins, ProcessKey, TokenHandle, Verifier, VerifierSettings,
};
use crossdock_core::store::Store;
use crossdock_core::{Authenticator, ExchangeSpec, Formats, Protocol};
use crossdock_mqtt::Mqtt;
use crossdock_stomp::Stomp;
use crossdock_store_file::{FileStore, Options};
pub use crossdock_store_file::{Finding, OpenError, verify};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Every protocol, whether or not a listener speaks it: stored messages of all of them must stay readable.
pub fn protocols() -> Vec<Arc<dyn Protocol>> {
    vec![Arc::new(Amqp091::default()), Arc::new(Mqtt::default()), Arc::new(Stomp::default())]
}

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

/// Decides who may log in: `guest`, from loopback addresses only, users, and who has a token, where these are taken.
pub fn authenticator(
    loaded: &Loaded,
    tokens: TokenHandle,
) -> Result<Arc<dyn Authenticator>, Vec<Mistake>> {
    let key = ProcessKey::random();
    let key = key.map_err(|error| vec![loaded.mistake("", error.detail())])?;
    let verifier = Verifier::new(VerifierSettings::default(), key);
    let certificate_user = match loaded.config.auth.certificate_user {
        config::CertificateUser::CommonName => CertificateUser::CommonName,
        config::CertificateUser::Subject => CertificateUser::Subject,
        config::CertificateUser::AlternativeName => CertificateUser::AlternativeName,
    };
    Ok(Arc::new(Logins::new(verifier, certificate_user, tokens)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_agree_on_their_exchanges() {
        let protocols = protocols();
        let topology = topology(&protocols).expect("no two protocols expect different things");
        assert!(topology.iter().any(|spec| &*spec.name == "amq.topic"));
        let mut names: Vec<&str> = protocols.iter().map(|protocol| protocol.name()).collect();
        names.sort_unstable();
        assert_eq!(names, ["amqp", "mqtt", "stomp"]);
    }
}
