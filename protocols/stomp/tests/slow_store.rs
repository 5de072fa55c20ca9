//! A store that takes seconds, and clients that shut down their sending side: heart-beats go on while any frame waits
//! for the store, a client that sends its own stays connected although they lie unread, and every receipt comes.

use bytes::BytesMut;
use crossdock_core::memory::{Faults, MemoryStore};
use crossdock_core::{Accepted, Broker, Drain, Formats, LoopbackGuest, Protocol, Settings, Setup};
use crossdock_stomp::Stomp;
use std::ffi::CStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// For this long the store answers nothing. Silence is two seconds.
const STALL: Duration = Duration::from_secs(4);
/// Heart-beats that have to come in this time: one in each interval of a second.
const BEATS: usize = 4;
/// How long an expected frame may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two heart-beats of the client.
const PACE: Duration = Duration::from_millis(500);
const CONNECT: &str = "CONNECT\naccept-version:1.2\nheart-beat:1000,1000\n\n";

struct House {
    store: MemoryStore,
    broker: Broker,
    drain: Drain,
    _switch: watch::Sender<bool>,
}

impl House {
    async fn open() -> House {
        let (stomp, store) = (Stomp::default(), MemoryStore::default());
        let setup = Setup {
            settings: Settings::default(),
            formats: Formats::new(stomp.formats()),
            topology: stomp.topology(),
            store: Arc::new(store.clone()),
            authenticator: Arc::new(LoopbackGuest),
            users: Vec::new(),
        };
        let broker = Broker::open(setup).await.expect("an empty store opens");
        let (switch, drain) = Drain::channel();
        House { store, broker, drain, _switch: switch }
    }

    /// The store answers nothing until it is released.
    fn stall(&self) {
        self.store.set_faults(Faults { stalled: true, ..Faults::default() });
    }

    /// A connection that has said nothing yet.
    fn client(&self) -> Client {
        let (near, far) = duplex(64 << 10);
        let (reader, writer) = split(far);
        let accepted = Accepted {
            reader: Box::new(reader),
            writer: Box::new(writer),
            head: BytesMut::new(),
            peer: "test".into(),
            loopback: true,
            secure: false,
            certificate: None,
            since: tokio::time::Instant::now(),
            listener: "stomp".into(),
            drain: self.drain.clone(),
        };
        let broker = self.broker.clone();
        tokio::spawn(async move { Stomp::default().serve(accepted, broker).await });
        Client { stream: near, input: Vec::new(), beats: 0 }
    }

    async fn connected(&self) -> Client {
        let mut client = self.client();
        client.send(CONNECT).await;
        client.expect("CONNECTED").await.expect("logged in");
        client
    }
}

struct Client {
    stream: DuplexStream,
    input: Vec<u8>,
    /// Heart-beats that came; the end of line behind a frame is none.
    beats: usize,
}

impl Client {
    async fn send(&mut self, frame: &str) {
        let bytes = [frame.as_bytes(), b"\0"].concat();
        self.stream.write_all(&bytes).await.expect("the adapter reads");
    }

    /// The next frame in this time; an error is the end of the stream, or that nothing came.
    async fn frame(&mut self, patience: Duration) -> Result<String, &'static str> {
        let until = Instant::now() + patience;
        loop {
            while self.input.first() == Some(&b'\n') {
                self.input.remove(0);
                self.beats += 1;
            }
            // Both are fast without optimization, too.
            if let Ok(text) = CStr::from_bytes_until_nul(&self.input) {
                let rest = self.input.split_off(text.to_bytes_with_nul().len());
                let frame = std::mem::replace(&mut self.input, rest);
                // The end of line behind it.
                self.beats = self.beats.saturating_sub(1);
                return Ok(String::from_utf8(frame).expect("text"));
            }
            let rest = until.saturating_duration_since(Instant::now());
            match timeout(rest, self.stream.read_buf(&mut self.input)).await {
                Ok(Ok(1..)) => {}
                Ok(_) => return Err("the end"),
                Err(_) => return Err("nothing"),
            }
        }
    }

    /// The next frame that is no MESSAGE has to begin like this.
    async fn expect(&mut self, wanted: &str) -> Result<String, String> {
        loop {
            match self.frame(PATIENCE).await {
                Ok(frame) if frame.starts_with(wanted) => return Ok(frame),
                Ok(frame) if frame.starts_with("MESSAGE") && wanted != "MESSAGE" => {}
                other => return Err(format!("{other:?} instead of {wanted}")),
            }
        }
    }

    async fn ask(&mut self, frame: &str) -> Result<(), String> {
        self.send(frame).await;
        self.expect("RECEIPT").await.map(drop)
    }

    /// The token of the next MESSAGE.
    async fn token(&mut self) -> String {
        let message = self.expect("MESSAGE").await.expect("a message");
        let ack = message.lines().find_map(|line| line.strip_prefix("ack:"));
        ack.expect("a token").to_owned()
    }
}

/// Frames before (each with a receipt), and the frame. `{ack}` is the token of a message that was delivered before.
struct Verb {
    before: &'static [&'static str],
    verb: &'static [&'static str],
    /// The receipt needs the store.
    waits: bool,
}

const fn verb(before: &'static [&'static str], verb: &'static [&'static str]) -> Verb {
    Verb { before, verb, waits: true }
}

const fn at_once(before: &'static [&'static str], verb: &'static [&'static str]) -> Verb {
    Verb { before, verb, waits: false }
}

const QUEUE: &str = "SUBSCRIBE\nid:q\ndestination:/queue/q\nack:client-individual\nreceipt:0\n\n";
const SEND: &str = "SEND\ndestination:/queue/q\npersistent:true\nreceipt:0\n\nx";
const KEPT: &str = "SUBSCRIBE\nid:k\ndestination:/topic/k\ndurable:true\nauto-delete:false\n\
                    x-queue-name:kept\nreceipt:0\n\n";
const BEGIN: &str = "BEGIN\ntransaction:t\nreceipt:0\n\n";
const IN_TX: &str = "SEND\ndestination:/queue/q\npersistent:true\ntransaction:t\nreceipt:0\n\nx";

/// Every frame of a client that is connected; all ask for a receipt.
const VERBS: &[Verb] = &[
    verb(&[], &[QUEUE]),
    verb(&[], &[KEPT]),
    at_once(&[], &["SUBSCRIBE\nid:t\ndestination:/topic/t\nreceipt:0\n\n"]),
    at_once(&[], &["SUBSCRIBE\nid:t\ndestination:/temp-queue/t\nreceipt:0\n\n"]),
    verb(&[], &["SUBSCRIBE\nid:v\ndestination:/queue/Consumer.A.VirtualTopic.t\nreceipt:0\n\n"]),
    at_once(&[QUEUE], &["UNSUBSCRIBE\nid:q\nreceipt:0\n\n"]),
    verb(
        &[KEPT],
        &["UNSUBSCRIBE\nid:k\ndurable:true\nauto-delete:false\nx-queue-name:kept\nreceipt:0\n\n"],
    ),
    verb(&[QUEUE], &[SEND]),
    // Its queue is declared first.
    verb(&[], &["SEND\ndestination:/queue/new\n\nx", "SEND\ndestination:/topic/t\nreceipt:0\n\nx"]),
    verb(
        &[],
        &["SEND\ndestination:/topic/t\nAMQ_SCHEDULED_DELAY:60000\npersistent:true\nreceipt:0\n\nx"],
    ),
    at_once(&[], &["SEND\ndestination:/topic/t\nreply-to:/temp-queue/r\nreceipt:0\n\nx"]),
    verb(&[QUEUE, SEND], &["ACK\nid:{ack}\nreceipt:0\n\n"]),
    verb(&[QUEUE, SEND], &["NACK\nid:{ack}\nrequeue:false\nreceipt:0\n\n"]),
    at_once(&[], &[BEGIN]),
    verb(&[QUEUE, BEGIN, IN_TX], &["COMMIT\ntransaction:t\nreceipt:0\n\n"]),
    at_once(&[QUEUE, BEGIN, IN_TX], &["ABORT\ntransaction:t\nreceipt:0\n\n"]),
    verb(
        &[QUEUE],
        &["SEND\ndestination:/queue/q\npersistent:true\n\nx", "DISCONNECT\nreceipt:0\n\n"],
    ),
];

/// What is wrong about this verb.
async fn check(verb: &Verb) -> Result<(), String> {
    let house = House::open().await;
    let mut client = house.connected().await;
    let mut ack = String::new();
    for frame in verb.before {
        if *frame == SEND {
            // Its receipt and the message come in either order.
            client.send(&frame.replace("receipt:0\n", "")).await;
            ack = client.token().await;
        } else {
            client.ask(frame).await?;
        }
    }
    house.stall();
    for frame in verb.verb {
        client.send(&frame.replace("{ack}", &ack)).await;
    }
    client.beats = 0;
    let early = stalled(&mut client).await?;
    if early == verb.waits {
        return Err(format!("answered before the store: {early}"));
    }
    house.store.release();
    if !early {
        client.expect("RECEIPT").await?;
    }
    if verb.verb.iter().any(|frame| frame.starts_with("DISCONNECT")) {
        return match client.frame(PATIENCE).await {
            Err("the end") => Ok(()),
            other => Err(format!("{other:?} instead of the end")),
        };
    }
    // Still connected.
    client.ask("BEGIN\ntransaction:last\nreceipt:0\n\n").await
}

/// Sends heart-beats while the store stalls. True when the receipt came meanwhile.
async fn stalled(client: &mut Client) -> Result<bool, String> {
    let (until, mut early) = (Instant::now() + STALL, false);
    while Instant::now() < until {
        if client.stream.write_all(b"\n").await.is_err() {
            return Err("the connection ended".into());
        }
        let next = Instant::now() + PACE;
        match client.frame(PACE).await {
            Ok(frame) if frame.starts_with("RECEIPT") => early = true,
            Ok(frame) if frame.starts_with("MESSAGE") => {}
            Err("nothing") => {}
            other => return Err(format!("{other:?} while the store stalls")),
        }
        tokio::time::sleep_until(next).await;
    }
    match client.beats >= BEATS {
        true => Ok(early),
        false => Err(format!("{} heart-beats in {STALL:?}", client.beats)),
    }
}

#[tokio::test(start_paused = true)]
async fn heart_beats_go_on_both_ways_while_any_frame_waits() {
    let mut failures = Vec::new();
    for verb in VERBS {
        if let Err(error) = check(verb).await {
            failures.push(format!("{:?}: {error}", verb.verb.join(", ")));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), VERBS.len(), failures.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn a_login_needs_no_store() {
    let house = House::open().await;
    house.stall();
    let mut client = house.connected().await;
    assert_eq!(stalled(&mut client).await, Ok(false));
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_client_gets_its_receipts() {
    let house = House::open().await;
    let mut client = house.connected().await;
    client.ask(QUEUE).await.expect("subscribed");
    client.send("SEND\ndestination:/queue/q\npersistent:true\n\nfirst").await;
    client.token().await;
    house.stall();
    for receipt in 1..=3 {
        let frame = SEND.replace("receipt:0", &format!("receipt:{receipt}"));
        client.send(&frame.replace("/queue/q", "/queue/r")).await;
    }
    client.stream.shutdown().await.expect("shut down");
    tokio::time::sleep(STALL).await;
    house.store.release();
    for receipt in 1..=3 {
        let frame = client.frame(PATIENCE).await.expect("a receipt");
        assert!(frame.starts_with(&format!("RECEIPT\nreceipt-id:{receipt}\n")), "{frame}");
    }
    assert_eq!(client.frame(PATIENCE).await, Err("the end"));
    // What it had not acknowledged went back.
    let mut other = house.connected().await;
    other.send(&QUEUE.replace("receipt:0\n", "")).await;
    let message = other.expect("MESSAGE").await.expect("a message");
    assert!(message.contains("redelivered:true") && message.contains("first"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_client_is_not_waited_for_without_end() {
    let house = House::open().await;
    let mut client = house.connected().await;
    client.ask(QUEUE).await.expect("subscribed");
    let mut topic = "SUBSCRIBE\nid:t\ndestination:/topic/t\nreceipt:0\n\n";
    client.ask(topic).await.expect("subscribed");
    house.stall();
    client.send(SEND).await;
    client.stream.shutdown().await.expect("shut down");
    let start = Instant::now();
    tokio::time::sleep(PACE).await;
    let mut other = house.connected().await;
    topic = "SEND\ndestination:/topic/t\nreceipt:0\n\nx";
    other.ask(topic).await.expect("sent");
    assert_eq!(client.frame(PATIENCE).await, Err("the end"), "and no message");
    assert!(start.elapsed() > PACE && start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

/// What ends the connection comes behind the receipts of what was processed before it, whatever that is.
#[tokio::test(start_paused = true)]
async fn a_bad_frame_is_answered_behind_the_receipts_of_those_before_it() {
    let bad = [
        "NONSENSE\n\n",
        "SEND\nno colon\n\n",
        "ACK\nid:none\n\n",
        "SEND\n\nx",
        "UNSUBSCRIBE\nid:z\n\n",
    ];
    for bad in bad {
        let house = House::open().await;
        let mut client = house.connected().await;
        client.ask(QUEUE).await.expect("subscribed");
        client.send(&SEND.replace("receipt:0\n", "")).await;
        let ack = client.token().await;
        house.stall();
        let frames = [
            SEND.replace("receipt:0", "receipt:1"),
            SEND.replace("receipt:0", "receipt:2"),
            format!("ACK\nid:{ack}\nreceipt:3\n\n"),
            bad.to_owned(),
            SEND.replace("receipt:0", "receipt:4"),
        ];
        client.send(&frames.join("\0")).await;
        tokio::time::sleep(PACE).await;
        house.store.release();
        let mut receipts = Vec::new();
        for _ in 1..=3 {
            receipts.push(client.expect("RECEIPT").await.expect(bad));
        }
        receipts.sort();
        let wanted: Vec<String> =
            (1..=3).map(|id| format!("RECEIPT\nreceipt-id:{id}\n\n\0")).collect();
        assert_eq!(receipts, wanted, "{bad}");
        client.expect("ERROR").await.expect(bad);
        assert_eq!(client.frame(PATIENCE).await, Err("the end"), "{bad}");
    }
}

/// A client may acknowledge as seldom as it likes.
#[tokio::test]
async fn one_acknowledgment_may_be_for_thousands_of_messages() {
    const BATCH: usize = 2_000;
    let house = House::open().await;
    let (mut sender, mut client) = (house.client(), house.client());
    for connection in [&mut sender, &mut client] {
        connection.send("CONNECT\naccept-version:1.2\n\n").await;
        connection.expect("CONNECTED").await.expect("logged in");
    }
    client
        .ask("SUBSCRIBE\nid:q\ndestination:/queue/q\nack:client\nreceipt:0\n\n")
        .await
        .expect("subscribed");
    let body = "x".repeat(64 << 10);
    let sending = tokio::spawn(async move {
        for _ in 0..BATCH + 10 {
            sender.send(&format!("SEND\ndestination:/queue/q\n\n{body}")).await;
        }
        sender
    });
    let mut token = String::new();
    for _ in 0..BATCH {
        token = client.token().await;
    }
    client.ask(&format!("ACK\nid:{token}\nreceipt:0\n\n")).await.expect("a receipt");
    drop(client);
    let _sender = sending.await.expect("sent");
    let mut other = house.connected().await;
    other.send(&QUEUE.replace("receipt:0\n", "")).await;
    for number in 0..10 {
        other.expect("MESSAGE").await.unwrap_or_else(|e| panic!("{number}: {e}"));
    }
    assert_eq!(other.frame(PACE).await, Err("nothing"));
}
