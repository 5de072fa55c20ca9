//! The broker and its adapters, in this process.

use crate::pipe::Pipe;
use anyhow::Result;
use bytes::BytesMut;
use crossdock_core::memory::MemoryStore;
use crossdock_core::transform::ContentRoute;
use crossdock_core::{Accepted, Broker, Drain, Formats, LoopbackGuest, Protocol, Settings, Setup};
use std::sync::Arc;

/// Bytes that a pipe holds each way.
const PIPE_BYTES: usize = 1 << 20;

/// A broker on the memory store.
pub struct House {
    broker: Broker,
    drain: Drain,
    _switch: tokio::sync::watch::Sender<bool>,
}

/// Whom a pipe leads to.
pub fn amqp() -> Arc<dyn Protocol> {
    Arc::new(crossdock_amqp091::Amqp091::default())
}

/// Whom a pipe leads to.
pub fn mqtt() -> Arc<dyn Protocol> {
    Arc::new(crossdock_mqtt::Mqtt::default())
}

/// Whom a pipe leads to.
pub fn stomp() -> Arc<dyn Protocol> {
    Arc::new(crossdock_stomp::Stomp::default())
}

impl House {
    /// Opens it with these content routes.
    pub async fn open(routes: Vec<ContentRoute>) -> Result<Self> {
        let protocols = [amqp(), mqtt(), stomp()];
        let setup = Setup {
            settings: Settings::default(),
            formats: Formats::new(protocols.iter().flat_map(|p| p.formats()).collect()),
            topology: protocols.iter().flat_map(|p| p.topology()).collect(),
            store: Arc::new(MemoryStore::default()),
            authenticator: Arc::new(LoopbackGuest),
        };
        let (switch, drain) = Drain::channel();
        let broker = Broker::open(setup).await?;
        broker.start_routes(routes).await?;
        Ok(Self { broker, drain, _switch: switch })
    }

    /// A connection to that protocol.
    pub fn connect(&self, protocol: Arc<dyn Protocol>) -> Pipe {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let (reader, writer) = tokio::io::split(far);
        let accepted = Accepted {
            reader: Box::new(reader),
            writer: Box::new(writer),
            head: BytesMut::new(),
            peer: "gate".into(),
            loopback: true,
            secure: false,
            certificate: None,
            since: tokio::time::Instant::now(),
            listener: "gate".into(),
            drain: self.drain.clone(),
        };
        let broker = self.broker.clone();
        tokio::spawn(async move {
            if let Err(error) = protocol.serve(accepted, broker).await {
                eprintln!("connection ended: {error}");
            }
        });
        Pipe::new(near)
    }
}
