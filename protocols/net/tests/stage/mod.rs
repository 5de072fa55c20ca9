//! A listener with a protocol that says everything back, and peers that speak to it over real sockets.

#![allow(dead_code)]

use async_trait::async_trait;
use crossdock_core::memory::MemoryStore;
use crossdock_core::{
    Accepted, Broker, Drain, Error, ErrorKind, ExchangeSpec, Format, Formats, LoopbackGuest,
    PeerCertificate, Protocol, Settings, Setup, Sniff,
};
use crossdock_net::{AdmissionLimits, Input, ListenerSpec, Output, bind, serve};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Longer than any deadline of a listener.
const PATIENCE: Duration = Duration::from_secs(15);

/// What an adapter was told of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub protocol: &'static str,
    pub peer: String,
    pub loopback: bool,
    pub secure: bool,
    pub certificate: Option<PeerCertificate>,
}

/// Says everything back. A connection that begins with the first letter of its name is its own.
pub struct Echo {
    pub name: &'static str,
    /// What it says before the peer does.
    pub greeting: &'static str,
    seen: mpsc::Sender<Seen>,
}

#[async_trait]
impl Protocol for Echo {
    fn name(&self) -> &'static str {
        self.name
    }

    fn topology(&self) -> Vec<ExchangeSpec> {
        Vec::new()
    }

    fn formats(&self) -> Vec<Arc<dyn Format>> {
        Vec::new()
    }

    fn sniff(&self, head: &[u8]) -> Sniff {
        match head.len() {
            0 | 1 => Sniff::More,
            _ if head[0] == self.name.as_bytes()[0] => Sniff::Yes,
            _ => Sniff::No,
        }
    }

    fn speaks_first(&self) -> bool {
        !self.greeting.is_empty()
    }

    async fn serve(&self, accepted: Accepted, _: Broker) -> Result<(), Error> {
        let seen = Seen {
            protocol: self.name,
            peer: accepted.peer,
            loopback: accepted.loopback,
            secure: accepted.secure,
            certificate: accepted.certificate,
        };
        let _ = self.seen.try_send(seen);
        let mut input = Input::new(accepted.reader, accepted.head);
        let mut output = Output::new(accepted.writer);
        let mut drain = accepted.drain;
        let lost = |error: std::io::Error| Error::new(ErrorKind::Closed, error.to_string());
        output.push(&self.greeting.into());
        loop {
            output.push(&input.buffer().split().freeze());
            while !output.is_empty() {
                output.write_some().await.map_err(lost)?;
            }
            let read = tokio::select! {
                () = drain.started() => break,
                read = input.read() => read.map_err(lost)?,
            };
            if read == 0 {
                break;
            }
        }
        output.finish().await.map_err(lost)
    }
}

/// A served listener.
pub struct Stage {
    pub addresses: Vec<SocketAddr>,
    pub seen: mpsc::Receiver<Seen>,
    pub stop: watch::Sender<bool>,
    pub served: JoinHandle<()>,
}

impl Stage {
    /// A listener of one protocol, `mqtt`, on a free port of the loopback.
    pub async fn new(change: impl FnOnce(&mut ListenerSpec)) -> Self {
        Self::with(&["mqtt"], &["127.0.0.1:0"], change).await
    }

    /// One with these protocols, on these addresses.
    pub async fn with(
        names: &[&'static str],
        addresses: &[&str],
        change: impl FnOnce(&mut ListenerSpec),
    ) -> Self {
        let (sender, seen) = mpsc::channel(1000);
        let protocol = |name: &&'static str| -> Arc<dyn Protocol> {
            let greeting = if *name == "greeter" { "hello" } else { "" };
            Arc::new(Echo { name, greeting, seen: sender.clone() })
        };
        let protocols = names.iter().map(protocol).collect();
        let mut spec =
            ListenerSpec::tcp("test".into(), protocols, AdmissionLimits::connections(1000));
        change(&mut spec);
        let addresses: Vec<String> = addresses.iter().map(|text| (*text).to_owned()).collect();
        let listener = bind(spec, &addresses).await.expect("free addresses");
        let addresses = listener.addresses().expect("bound");
        let setup = Setup {
            settings: Settings::default(),
            formats: Formats::new(Vec::new()),
            topology: Vec::new(),
            store: Arc::new(MemoryStore::default()),
            authenticator: Arc::new(LoopbackGuest),
            users: Vec::new(),
        };
        let broker = Broker::open(setup).await.expect("opens");
        let (stop, drain) = Drain::channel();
        let served = tokio::spawn(serve(listener, broker, drain));
        Self { addresses, seen, stop, served }
    }

    pub async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addresses[0]).await.expect("listens");
        stream.set_nodelay(true).expect("a socket");
        stream
    }

    /// What the adapter was told of the next connection.
    pub async fn seen(&mut self) -> Seen {
        timeout(PATIENCE, self.seen.recv()).await.expect("a connection").expect("served")
    }

    /// Whether no connection came to an adapter.
    pub fn is_unseen(&mut self) -> bool {
        self.seen.try_recv().is_err()
    }
}

/// Everything that comes until the peer closes, and after how long it did. An abort is an end, too.
pub async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> (Vec<u8>, Duration) {
    let (started, mut bytes) = (Instant::now(), Vec::new());
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("the listener closes the connection");
    (bytes, started.elapsed())
}

/// Exactly so many bytes.
pub async fn take(stream: &mut (impl AsyncRead + Unpin), count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let read = timeout(PATIENCE, stream.read_exact(&mut bytes)).await;
    read.expect("in time").expect("as many bytes");
    bytes
}

/// Sends a byte each second until the connection ends; after how long it did.
pub async fn drip(stream: &mut TcpStream, bytes: &[u8]) -> Duration {
    let started = Instant::now();
    let mut byte = [0];
    for sent in bytes {
        let _ = stream.write_all(&[*sent]).await;
        match timeout(Duration::from_secs(1), stream.read(&mut byte)).await {
            Ok(Ok(0) | Err(_)) => return started.elapsed(),
            Ok(Ok(_)) => panic!("an answer to half a beginning"),
            Err(_) => {}
        }
    }
    panic!("the listener is more patient than that");
}
