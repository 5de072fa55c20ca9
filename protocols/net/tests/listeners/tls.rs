//! TLS: handshakes, certificates of clients, exchange of certificates, and what is not TLS.

use super::stage::{Stage, drip, rest, take};
use crossdock_core::PeerCertificate;
use crossdock_net::ListenerSpec;
use crossdock_net::tls::{
    ClientCertificate, SelfSigned, TlsHandle, TlsSettings, TlsVersion, load, self_signed,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Certificates of an authority of our own.
pub struct Certificates {
    _dir: TempDir,
    pub files: SelfSigned,
}

impl Certificates {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = self_signed(&dir.path().join("tls")).unwrap();
        Self { _dir: dir, files }
    }

    pub fn settings(&self) -> TlsSettings {
        TlsSettings {
            certificate: self.files.server.clone(),
            key: self.files.server_key.clone(),
            client_ca: None,
            client_certificate: ClientCertificate::Off,
            min_version: TlsVersion::V1_2,
            alpn: Vec::new(),
        }
    }

    /// Settings that ask clients for a certificate of this authority.
    fn asking(&self, client_certificate: ClientCertificate) -> TlsSettings {
        let client_ca = Some(self.files.authority.clone());
        TlsSettings { client_ca, client_certificate, ..self.settings() }
    }

    pub fn handle(&self) -> TlsHandle {
        TlsHandle::new(load(&self.settings()).unwrap())
    }

    /// A client that trusts this authority; with the certificate of a client of `own`.
    fn client(
        &self,
        own: Option<&Certificates>,
        version: &'static SupportedProtocolVersion,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.files.authority).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        match own {
            Some(own) => {
                let chain = vec![CertificateDer::from_pem_file(&own.files.client).unwrap()];
                let key = PrivateKeyDer::from_pem_file(&own.files.client_key).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        }
    }
}

async fn stage(settings: &TlsSettings) -> Stage {
    let handle = TlsHandle::new(load(settings).unwrap());
    Stage::new(|spec| spec.tls = Some(handle)).await
}

pub async fn connect(stage: &Stage, client: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(client)).connect(name, stage.connect().await).await
}

/// A client without a certificate of its own, over TLS 1.3.
pub async fn trusting(stage: &Stage, by: &Certificates) -> io::Result<TlsStream<TcpStream>> {
    connect(stage, by.client(None, &TLS13)).await
}

/// Whether what is said comes back. With TLS 1.3 a client learns only then that it was refused.
async fn echoes(stream: io::Result<TlsStream<TcpStream>>) -> bool {
    let Ok(mut stream) = stream else { return false };
    let mut answer = [0; 4];
    let said = async {
        stream.write_all(b"mind").await?;
        stream.read_exact(&mut answer).await
    };
    timeout(Duration::from_secs(5), said).await.expect("an answer").is_ok() && &answer == b"mind"
}

#[tokio::test]
async fn what_a_client_certificate_says_goes_to_the_adapter() {
    let own = Certificates::new();
    for (asked, version) in [
        (ClientCertificate::Required, &TLS12),
        (ClientCertificate::Required, &TLS13),
        (ClientCertificate::Optional, &TLS13),
    ] {
        let mut stage = stage(&own.asking(asked)).await;
        assert!(echoes(connect(&stage, own.client(Some(&own), version)).await).await);
        let seen = stage.seen().await;
        let PeerCertificate { subject, common_name, sans, not_after } = seen.certificate.unwrap();
        assert_eq!((&*subject, common_name.as_deref()), ("CN=client", Some("client")));
        assert!(sans.is_empty() && seen.secure && seen.loopback);
        let days =
            not_after.duration_since(std::time::SystemTime::now()).unwrap().as_secs() / 86_400;
        assert!((823..=825).contains(&days), "{days}");
    }
}

#[tokio::test]
async fn a_certificate_is_demanded_looked_at_or_not_asked_for() {
    let (own, other) = (Certificates::new(), Certificates::new());
    for version in [&TLS12, &TLS13] {
        let required = stage(&own.asking(ClientCertificate::Required)).await;
        assert!(!echoes(connect(&required, own.client(None, version)).await).await);
        assert!(!echoes(connect(&required, own.client(Some(&other), version)).await).await);
        let mut optional = stage(&own.asking(ClientCertificate::Optional)).await;
        assert!(!echoes(connect(&optional, own.client(Some(&other), version)).await).await);
        assert!(echoes(connect(&optional, own.client(None, version)).await).await);
        assert_eq!(optional.seen().await.certificate, None);
        let mut off = stage(&own.settings()).await;
        assert!(echoes(connect(&off, own.client(Some(&other), version)).await).await);
        let seen = off.seen().await;
        assert!(seen.secure && seen.certificate.is_none());
    }
}

#[tokio::test]
async fn an_exchanged_certificate_is_for_new_connections() {
    let (old, new) = (Certificates::new(), Certificates::new());
    let handle = old.handle();
    let given = handle.clone();
    let stage = Stage::new(|spec| spec.tls = Some(given)).await;
    let mut open = trusting(&stage, &old).await.unwrap();
    handle.replace(load(&new.settings()).unwrap());
    for _ in 0..3 {
        open.write_all(b"mind").await.unwrap();
        assert_eq!(take(&mut open, 4).await, b"mind");
        assert!(!echoes(trusting(&stage, &old).await).await);
        assert!(echoes(trusting(&stage, &new).await).await);
    }
}

#[tokio::test]
async fn older_versions_are_not_spoken_where_they_are_excluded() {
    let own = Certificates::new();
    let settings = TlsSettings { min_version: TlsVersion::V1_3, ..own.settings() };
    let stage = stage(&settings).await;
    assert!(!echoes(connect(&stage, own.client(None, &TLS12)).await).await);
    assert!(echoes(connect(&stage, own.client(None, &TLS13)).await).await);
}

#[tokio::test]
async fn a_name_is_agreed_on_with_those_who_offer_some() {
    let own = Certificates::new();
    let stage = Stage::new(|spec| {
        let alpn = ListenerSpec::alpn(&spec.protocols, &spec.transport);
        let settings = TlsSettings { alpn, ..own.settings() };
        spec.tls = Some(TlsHandle::new(load(&settings).unwrap()));
    })
    .await;
    for (offered, agreed) in
        [(&[][..], Some(None)), (&["x", "mqtt"], Some(Some("mqtt"))), (&["h2"], None)]
    {
        let mut client = own.client(None, &TLS13);
        client.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = connect(&stage, client).await;
        let name = stream.as_ref().ok().map(|stream| {
            stream.get_ref().1.alpn_protocol().map(|name| str::from_utf8(name).unwrap().to_owned())
        });
        assert_eq!(name.as_ref().map(Option::as_deref), agreed);
    }
}

#[tokio::test]
async fn what_is_not_tls_is_told_so_where_it_understands() {
    let own = Certificates::new();
    let mut stage = stage(&own.settings()).await;
    for (bytes, says) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "requires TLS"),
        (b"\x10\x0c\0\x04MQTT", ""),
        (b"AMQP\0\0\x09\x01", ""),
        (b"\x16\x02\0\0", ""),
    ] {
        let mut peer = stage.connect().await;
        peer.write_all(bytes).await.unwrap();
        let answer = String::from_utf8_lossy(&rest(&mut peer).await.0).into_owned();
        assert!(answer.contains(says) && answer.is_empty() == says.is_empty(), "{answer}");
    }
    assert!(stage.is_unseen());
}

#[tokio::test]
async fn a_handshake_that_does_not_move_holds_up_nobody_and_ends() {
    let own = Certificates::new();
    let stage = stage(&own.settings()).await;
    let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";
    let mut stuck = stage.connect().await;
    stuck.write_all(hello).await.unwrap();
    let (mut silent, mut slow) = (stage.connect().await, stage.connect().await);
    assert!(echoes(trusting(&stage, &own).await).await, "served beside them");
    let (stuck, silent, slow) =
        tokio::join!(rest(&mut stuck), rest(&mut silent), drip(&mut slow, hello));
    for time in [stuck.1, silent.1, slow] {
        assert!((4.0..5.5).contains(&time.as_secs_f64()), "{time:?}");
    }
}
