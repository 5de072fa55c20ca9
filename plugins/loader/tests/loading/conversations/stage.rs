//! A broker in memory, and clients that are connected to it over TCP by way of the plugin.

use crate::built::sample;
use crossdock_core::dialog::Speaker;
use crossdock_core::memory::MemoryStore;
use crossdock_core::{
    Accepted, Broker, Drain, Formats, Identity, LoopbackGuest, Protocol, QueueSpec, Session,
    SessionSpec, Settings, Setup,
};
use crossdock_foreign::{Foreign, Options};
use crossdock_loader::{Spec, load};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

/// How long a line is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing comes.
const QUIET: Duration = Duration::from_millis(100);

/// The protocol of the sample; the library is loaded once.
pub fn speaker() -> Arc<dyn Speaker> {
    static LOADED: OnceLock<Arc<dyn Speaker>> = OnceLock::new();
    let load = || {
        let spec = Spec {
            name: "lines".to_owned(),
            path: sample("line-protocol"),
            sha256: None,
            with: "{}".to_owned(),
            call_time: PATIENCE,
            threads: 4,
        };
        let loaded = load(&spec).expect("it loads");
        loaded.speaker().expect("it speaks").clone()
    };
    LOADED.get_or_init(load).clone()
}

/// Where a conversation is played.
pub struct Stage {
    broker: Broker,
    owner: Mutex<Session>,
    listener: TcpListener,
    foreign: Foreign,
    switch: watch::Sender<bool>,
    drain: Drain,
    pub patience: Duration,
}

impl Stage {
    pub async fn open(speaker: Arc<dyn Speaker>) -> Self {
        Self::with_patience(speaker, PATIENCE).await
    }

    pub async fn with_patience(speaker: Arc<dyn Speaker>, patience: Duration) -> Self {
        let options = Options { login_time: PATIENCE, write_time: PATIENCE };
        let foreign = Foreign::new(speaker, options);
        let setup = Setup {
            settings: Settings::default(),
            formats: Formats::new(Vec::new()),
            topology: foreign.topology(),
            store: Arc::new(MemoryStore::default()),
            authenticator: Arc::new(LoopbackGuest),
            users: Vec::new(),
        };
        let broker = Broker::open(setup).await.expect("opens");
        broker.start_routes(Vec::new()).await.expect("no routes");
        let identity = Identity::unlimited("guest");
        let spec = SessionSpec::anonymous("/", Default::default(), identity);
        let owner = Mutex::new(broker.session(spec).await.expect("a session"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (switch, drain) = Drain::channel();
        Self { broker, owner, listener, foreign, switch, drain, patience }
    }

    pub async fn connect(&self) -> Client {
        let address = self.listener.local_addr().expect("bound");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), self.listener.accept());
        let (socket, peer) = accepted.expect("accepted");
        let (reader, writer) = socket.into_split();
        let accepted = Accepted {
            reader: Box::new(reader),
            writer: Box::new(writer),
            head: Default::default(),
            peer: peer.to_string(),
            loopback: true,
            secure: false,
            certificate: None,
            since: tokio::time::Instant::now(),
            listener: "lines".into(),
            drain: self.drain.clone(),
        };
        let (foreign, broker) = (self.foreign.clone(), self.broker.clone());
        tokio::spawn(async move { foreign.serve(accepted, broker).await });
        let stream = client.expect("connected");
        stream.set_nodelay(true).expect("an option");
        Client { stream, input: Vec::new(), patience: self.patience }
    }

    pub async fn declare(&self, queue: &str) {
        let mut owner = self.owner.lock().await;
        owner.declare_queue(QueueSpec::durable(queue)).await.expect("declared");
    }

    pub async fn delete(&self, queue: &str) {
        let mut owner = self.owner.lock().await;
        owner.delete_queue(queue, false, false).await.expect("deleted");
    }

    /// Waits until the queue has that number of ready messages; the error is the number that it has instead.
    pub async fn has_ready(&self, queue: &str, count: u64) -> Result<(), u64> {
        let until = tokio::time::Instant::now() + self.patience;
        loop {
            let status = self.owner.lock().await.queue_status(queue).expect("a queue");
            let ready = status.messages;
            if ready == count {
                return Ok(());
            }
            if tokio::time::Instant::now() > until {
                return Err(ready);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub fn stop(&self) {
        self.switch.send_replace(true);
    }
}

/// What a client gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    Line(Vec<u8>),
    End,
    Nothing,
}

/// A client.
pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    patience: Duration,
}

impl Client {
    /// Sends a piece that reaches the broker by itself, as far as TCP allows to say so.
    pub async fn send(&mut self, bytes: &[u8]) {
        // A peer that has closed is what the conversation looks at.
        let _ = self.stream.write_all(bytes).await;
    }

    pub async fn over(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The next line without its end.
    pub async fn line(&mut self) -> Got {
        self.line_within(self.patience).await
    }

    /// The same where nothing is to come.
    pub async fn soon(&mut self) -> Got {
        self.line_within(QUIET).await
    }

    async fn line_within(&mut self, time: Duration) -> Got {
        loop {
            if let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.input.drain(..=end).collect();
                line.pop();
                return Got::Line(line);
            }
            match timeout(time, self.stream.read_buf(&mut self.input)).await {
                Err(_) => return Got::Nothing,
                Ok(Ok(count)) if count > 0 => {}
                Ok(_) => return Got::End,
            }
        }
    }
}
