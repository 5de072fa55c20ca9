//! The seam to the adapters: one [`Protocol`] for each wire protocol. An adapter translates between its frames
//! and the verbs of [`Session`](crate::Session); it keeps no messages and routes nothing.

use crate::broker::Broker;
use crate::error::Error;
use crate::exchange::ExchangeSpec;
use crate::message::{Format, Name};
use async_trait::async_trait;
use bytes::BytesMut;
use core::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

/// Whether the first bytes of a connection are a protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniff {
    Yes,
    No,
    /// More bytes are needed to tell.
    More,
}

/// A connection that a listener accepted. Reader and writer belong to one task, the adapter's.
pub struct Accepted {
    pub reader: Box<dyn AsyncRead + Send + Sync + Unpin>,
    pub writer: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    /// What was read already to tell the protocol.
    pub head: BytesMut,
    /// The peer's address as text, for logs.
    pub peer: String,
    /// The peer is on this machine.
    pub loopback: bool,
    /// What passes is encrypted between the peer and this process.
    pub secure: bool,
    /// The certificate that the peer proved to own, if it showed one. An authority that the listener trusts signed
    /// it.
    pub certificate: Option<PeerCertificate>,
    /// When the peer connected. Its time to log in runs from here.
    pub since: Instant,
    /// Name of the listener.
    pub listener: Name,
    pub drain: Drain,
}

/// Who a verified client certificate says that the peer is. Texts are as the certificate has them: they may hold any
/// character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The distinguished name of the subject in the form of RFC 4514, the most specific part first: `CN=client,O=Acme`.
    pub subject: String,
    /// The subject's common name; none if it has none or several.
    pub common_name: Option<String>,
    /// Its subject alternative names, in the certificate's order. Kinds that [`San`] does not have are left out.
    pub sans: Vec<San>,
    /// It is not valid after this time.
    pub not_after: SystemTime,
}

/// A subject alternative name of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum San {
    Dns(String),
    Email(String),
    Uri(String),
    Ip(IpAddr),
}

/// Tells connections that the process is stopping: say goodbye, finish writes, end.
#[derive(Debug, Clone)]
pub struct Drain(watch::Receiver<bool>);

impl Drain {
    /// The switch, and what connections watch.
    pub fn channel() -> (watch::Sender<bool>, Drain) {
        let (sender, receiver) = watch::channel(false);
        (sender, Drain(receiver))
    }

    /// Resolves when the process begins to stop. Cancel-safe; resolves at once ever after.
    pub async fn started(&mut self) {
        // A dropped switch means that the program is gone: the same.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}

/// One wire protocol.
#[async_trait]
pub trait Protocol: Send + Sync {
    /// Short lower-case name, as in the configuration.
    fn name(&self) -> &'static str;

    /// Exchanges that its clients expect to find.
    fn topology(&self) -> Vec<ExchangeSpec>;

    /// Readers of its header bytes, one for each version that differs.
    fn formats(&self) -> Vec<Arc<dyn Format>>;

    /// Whether a connection that begins so speaks it.
    fn sniff(&self, head: &[u8]) -> Sniff;

    /// Whether the broker sends the first bytes of a connection. A listener of such a protocol cannot look at the
    /// peer's first bytes before it is served.
    fn speaks_first(&self) -> bool {
        false
    }

    /// Serves one connection to its end. An error is what ended it; the adapter has logged it.
    async fn serve(&self, accepted: Accepted, broker: Broker) -> Result<(), Error>;
}
