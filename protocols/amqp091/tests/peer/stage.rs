//! A broker on a store in memory, and connections to the adapter over pipes.

use super::{Arguments, Peer, arguments, matches, show};
use crossdock_amqp091::Amqp091;
use crossdock_core::memory::MemoryStore;
use crossdock_core::{
    Accepted, Broker, Drain, Error, Formats, LoopbackGuest, Protocol, Settings, Setup, Value,
};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Octets that a pipe holds.
const PIPE: usize = 1 << 20;

/// The server's side of a test.
pub struct Stage {
    pub broker: Broker,
    pub store: MemoryStore,
    protocol: Arc<Amqp091>,
    pub switch: watch::Sender<bool>,
    drain: Drain,
}

impl Stage {
    pub async fn open(settings: Settings) -> Self {
        let protocol = Arc::new(Amqp091::default());
        let store = MemoryStore::default();
        let setup = Setup {
            settings,
            formats: Formats::new(protocol.formats()),
            topology: protocol.topology(),
            store: Arc::new(store.clone()),
            authenticator: Arc::new(LoopbackGuest),
            users: Vec::new(),
        };
        let broker = Broker::open(setup).await.expect("the broker opens");
        let (switch, drain) = Drain::channel();
        Self { broker, store, protocol, switch, drain }
    }

    /// A new connection, and what its service ends with.
    pub fn peer(&self) -> (Peer, JoinHandle<Result<(), Error>>) {
        let (near, far) = tokio::io::duplex(PIPE);
        let (reader, writer) = tokio::io::split(far);
        let accepted = Accepted {
            reader: Box::new(reader),
            writer: Box::new(writer),
            head: Default::default(),
            peer: "test".into(),
            loopback: true,
            secure: false,
            certificate: None,
            since: tokio::time::Instant::now(),
            listener: "test".into(),
            drain: self.drain.clone(),
        };
        let (broker, protocol) = (self.broker.clone(), self.protocol.clone());
        let served = tokio::spawn(async move { protocol.serve(accepted, broker).await });
        (Peer::new(near), served)
    }
}

/// The next frame has to be this one; what is not named is not compared.
pub async fn expect(
    peer: &mut Peer,
    channel: u16,
    name: &str,
    want: &Arguments,
) -> Result<(), String> {
    let got = peer.next().await?;
    let differs = want
        .iter()
        .find(|(field, value)| !got.arguments.get(field).is_some_and(|got| matches(value, got)));
    if got.channel == channel && got.name == name && differs.is_none() {
        return Ok(());
    }
    let fields: Vec<String> =
        got.arguments.iter().map(|(n, v)| format!("{n}={}", show(v))).collect();
    let differs = differs.map_or("", |(field, _)| field.as_str());
    Err(format!("got S {}: {} {} (differs: {differs})", got.channel, got.name, fields.join(" ")))
}

/// The whole login; `fields` override those of its methods.
pub async fn connect(peer: &mut Peer, fields: &Arguments) -> Result<(), String> {
    let field = |name: &str, default: Value| fields.get(name).cloned().unwrap_or(default);
    peer.put_raw(b"AMQP\x00\x00\x09\x01");
    peer.flush().await?;
    expect(peer, 0, "connection.start", &arguments("version-major=0 version-minor=9")?).await?;
    let capabilities = [
        "consumer_cancel_notify",
        "connection.blocked",
        "authentication_failure_close",
        "basic.nack",
        "publisher_confirms",
    ];
    let all = Value::Map(capabilities.map(|c| (c.into(), Value::Bool(true))).to_vec());
    let properties = vec![("capabilities".into(), field("capabilities", all))];
    let mut start_ok = Arguments::default();
    start_ok.set("client-properties", Value::Map(properties));
    start_ok.set("mechanism", Value::text("PLAIN"));
    start_ok.set("response", field("response", Value::text("\0guest\0guest")));
    start_ok.set("locale", Value::text("en_US"));
    peer.put(0, "connection.start-ok", &start_ok)?;
    peer.flush().await?;
    expect(peer, 0, "connection.tune", &arguments("channel-max=2047 frame-max=131072")?).await?;
    let mut tune_ok = Arguments::default();
    let frame_max = field("frame-max", Value::I32(131_072));
    peer.frame_max = usize::try_from(frame_max.as_i64().unwrap_or(131_072)).expect("small");
    tune_ok.set("channel-max", field("channel-max", Value::I32(2047)));
    tune_ok.set("frame-max", frame_max);
    tune_ok.set("heartbeat", field("heartbeat", Value::I32(0)));
    peer.put(0, "connection.tune-ok", &tune_ok)?;
    let mut open = Arguments::default();
    open.set("virtual-host", field("virtual-host", Value::text("/")));
    peer.put(0, "connection.open", &open)?;
    peer.flush().await?;
    expect(peer, 0, "connection.open-ok", &Arguments::default()).await
}
