//! A broker on a memory store and clients on in-memory sockets, for the tests of this folder.

#![allow(dead_code)]

pub mod websocket;

use crate::wire;
use crossdock_core::memory::MemoryStore;
use crossdock_core::{
    Accepted, Broker, Drain, Formats, Identity, LoopbackGuest, Origin, Protocol, Session,
    SessionSpec, Settings, Setup,
};
use crossdock_mqtt::{Mqtt, Options};
use crossdock_net::Live;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub struct Client {
    pub socket: DuplexStream,
    pub unread: Vec<u8>,
    pub v5: bool,
}

impl Client {
    /// Sends one packet.
    pub async fn say(&mut self, line: &str) {
        let bytes = wire::write(line, self.v5);
        self.socket.write_all(&bytes).await.expect("written");
    }

    /// Sends one packet and reads one.
    pub async fn ask(&mut self, line: &str) -> String {
        self.say(line).await;
        self.hear().await
    }

    /// Reads one packet.
    pub async fn hear(&mut self) -> String {
        self.packet(Duration::from_secs(20)).await.unwrap_or_else(|| "(nothing)".into())
    }

    /// The next packet as a line; none when nothing comes in time or the stream ended.
    pub async fn packet(&mut self, patience: Duration) -> Option<String> {
        loop {
            if let Some(length) = wire::whole(&self.unread) {
                let packet: Vec<u8> = self.unread.drain(..length).collect();
                return Some(wire::read(&packet, self.v5));
            }
            let read = self.socket.read_buf(&mut self.unread);
            match tokio::time::timeout(patience, read).await {
                Ok(Ok(n)) if n > 0 => (),
                _ => return None,
            }
        }
    }
}

/// A broker and a session that speaks no protocol.
pub async fn open(store: &MemoryStore, settings: Settings) -> (Broker, Session) {
    let mqtt = Mqtt::default();
    let setup = Setup {
        settings,
        formats: Formats::new(mqtt.formats()),
        topology: mqtt.topology(),
        store: Arc::new(store.clone()),
        authenticator: Arc::new(LoopbackGuest),
        users: Vec::new(),
    };
    let broker = Broker::open(setup).await.expect("opens");
    let other = broker
        .session(SessionSpec::anonymous("/", Origin::default(), Identity::unlimited("guest")))
        .await;
    (broker, other.expect("a session"))
}

/// A connection that has said nothing yet.
pub fn connect(broker: &Broker, options: Options, drain: &Drain, v5: bool) -> Client {
    let (near, far) = tokio::io::duplex(1 << 18);
    let (reader, writer) = tokio::io::split(far);
    let accepted = Accepted {
        reader: Box::new(reader),
        writer: Box::new(writer),
        head: bytes::BytesMut::new(),
        peer: "test".into(),
        loopback: true,
        secure: false,
        certificate: None,
        since: tokio::time::Instant::now(),
        listener: "mqtt".into(),
        drain: drain.clone(),
    };
    let broker = broker.clone();
    tokio::spawn(async move { Mqtt { options: Live::new(options) }.serve(accepted, broker).await });
    Client { socket: near, unread: Vec::new(), v5 }
}
