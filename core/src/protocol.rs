//! The seam to the adapters: one [`Protocol`] for each wire protocol. An adapter translates between its frames
//! and the verbs of [`Session`](crate::Session); it keeps no messages and routes nothing.

use crate::broker::Broker;
use crate::error::Error;
use crate::exchange::ExchangeSpec;
use crate::message::{Format, Name};
use async_trait::async_trait;
use bytes::BytesMut;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

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
    /// Name of the listener.
    pub listener: Name,
    pub drain: Drain,
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

    /// Serves one connection to its end. An error is what ended it; the adapter has logged it.
    async fn serve(&self, accepted: Accepted, broker: Broker) -> Result<(), Error>;
}
