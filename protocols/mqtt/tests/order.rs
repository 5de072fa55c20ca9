//! What comes before what: the will of a connection before all that its successor publishes; and retained values, all
//! of them, as fast as they are read.

mod stage;
mod wire;

use crossdock_core::memory::{Faults, MemoryStore};
use crossdock_core::{
    Address, Broker, Drain, Fields, Message, Meta, Publish, QueueSpec, Session, Settings,
};
use crossdock_mqtt::Options;
use stage::{Client, connect, open};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

struct House {
    store: MemoryStore,
    broker: Broker,
    drain: Drain,
    other: Session,
    _switch: watch::Sender<bool>,
}

impl House {
    async fn new(settings: Settings) -> Self {
        let store = MemoryStore::default();
        let (broker, other) = open(&store, settings).await;
        let (switch, drain) = Drain::channel();
        Self { store, broker, drain, other, _switch: switch }
    }

    /// The broker is gone, and another one opens what was stored.
    async fn crash(&mut self) {
        self.store = self.store.crashed();
        (self.broker, self.other) = open(&self.store, Settings::default()).await;
    }

    fn connection(&self, v5: bool) -> Client {
        connect(&self.broker, Options::default(), &self.drain, v5)
    }

    /// A client that is let in.
    async fn client(&self, line: &str) -> Client {
        let mut client = self.connection(!line.contains("v4"));
        let answer = client.ask(line).await;
        assert!(answer.starts_with("CONNACK 00"), "{answer}");
        client
    }
}

/// How a connection ends whose will is due.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    TakenOver,
    Lost,
    WithWill,
    /// Its session expires at the moment when it comes back, with a will whose delay is longer.
    Expired,
    Crash,
}

/// Connects a device again that says "online", in one write with its CONNECT or after CONNACK.
async fn comes_back(house: &House, connect: &str, pipelined: bool) -> Client {
    let mut device = house.connection(!connect.contains("v4"));
    let online = "PUBLISH state/d qos=1 id=1 retain \"online\"";
    if pipelined {
        let both = [wire::write(connect, device.v5), wire::write(online, device.v5)].concat();
        device.socket.write_all(&both).await.expect("written");
    } else {
        device.say(connect).await;
    }
    let connack = device.hear().await;
    assert!(connack.starts_with("CONNACK 00"), "{connack}");
    if !pipelined {
        device.say(online).await;
    }
    let puback = device.hear().await;
    assert!(puback.starts_with("PUBACK 1"), "{puback}");
    device
}

async fn offline_never_overwrites_online(end: End, lives: &[&str], times: usize) {
    for (life, pipelined) in lives.iter().flat_map(|life| [(life, true), (life, false)]) {
        let mut house = House::new(Settings::default()).await;
        let line = format!("CONNECT {life} id=d will=state/d:offline will-retain");
        let mut device = comes_back(&house, &line, pipelined).await;
        for time in 0..times {
            match end {
                End::TakenOver => (),
                End::Lost => drop(device),
                End::WithWill => {
                    device.say("DISCONNECT 04").await;
                    drop(device);
                }
                End::Expired => {
                    drop(device);
                    let ms = 1_000 + 5 * u64::try_from(time).unwrap_or_default();
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                }
                End::Crash => {
                    house.crash().await;
                    drop(device);
                }
            }
            device = comes_back(&house, &line, pipelined).await;
            // For whatever is still on its way.
            tokio::time::sleep(Duration::from_millis(3)).await;
            let mut look = house.client("CONNECT id=look clean").await;
            look.say("SUBSCRIBE 1 state/d qos=0").await;
            assert_eq!(look.hear().await, "SUBACK 1 00");
            let state = look.hear().await;
            let want = "PUBLISH state/d retain \"online\"";
            assert_eq!(state, want, "{end:?} {life}, pipelined: {pipelined}, {time}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_comes_before_what_the_successor_publishes_at_a_takeover() {
    let lives = ["clean", "v4 clean", "expiry=100", "v4"];
    offline_never_overwrites_online(End::TakenOver, &lives, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_comes_before_what_a_client_publishes_that_is_back_at_once() {
    let lives = ["clean", "v4 clean", "expiry=100", "v4"];
    offline_never_overwrites_online(End::Lost, &lives, 100).await;
    offline_never_overwrites_online(End::WithWill, &["clean", "expiry=100"], 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_comes_before_what_a_client_publishes_that_is_back_after_a_crash() {
    offline_never_overwrites_online(End::Crash, &["clean", "v4", "expiry=100"], 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_comes_before_what_a_client_publishes_whose_session_has_just_expired() {
    let lives = ["expiry=1 will-delay=100"];
    offline_never_overwrites_online(End::Expired, &lives, 4).await;
}

/// The connection of a session with a lost will is seen: the will came, and it came first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_will_is_lost_because_its_client_is_back_at_once() {
    let house = House::new(Settings::default()).await;
    let mut look = house.client("CONNECT id=look clean").await;
    look.ask("SUBSCRIBE 1 state/# qos=0").await;
    let line = "CONNECT v4 id=d will=state/d:offline";
    for end in [End::TakenOver, End::Lost] {
        let mut device = comes_back(&house, line, true).await;
        assert_eq!(look.hear().await, "PUBLISH state/d \"online\"");
        for time in 0..50 {
            let before = (end == End::TakenOver).then_some(device);
            device = comes_back(&house, line, true).await;
            let said = [look.hear().await, look.hear().await];
            let want = ["PUBLISH state/d \"offline\"", "PUBLISH state/d \"online\""];
            assert_eq!(said, want, "{end:?} {time}");
            drop(before);
        }
        device.ask("DISCONNECT").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_qos_2_is_sent_before_it_is_stored_whose_it_is() {
    let mut house = House::new(Settings::default()).await;
    house.other.declare_queue(QueueSpec::durable("jobs")).await.expect("declared");
    let mut lasting = house.client("CONNECT id=lasting expiry=100").await;
    assert_eq!(lasting.ask("SUBSCRIBE 1 $q/jobs qos=2").await, "SUBACK 1 02");
    house.store.set_faults(Faults { stalled: true, ..Faults::default() });
    // It does not wait for the store itself.
    let mut meta = Meta::new(house.other.origin().clone(), house.broker.now());
    (meta.durable, meta.level) = (false, 2);
    let body = bytes::Bytes::from_static(b"x");
    let message = Message::from_fields(Address::queue("jobs"), meta, &Fields::default(), body);
    let lane = house.other.lane();
    house.other.publish(lane, Publish::new(message, false));
    house.other.flush();
    assert_eq!(lasting.packet(Duration::from_millis(200)).await, None);
    house.store.release();
    assert_eq!(lasting.hear().await, "PUBLISH $q/jobs qos=2 id=32768 \"x\"");
    assert_eq!(lasting.ask("PUBREC 32768").await, "PUBREL 32768");
    // What was done at PUBREC is stored before the release.
    let mut publisher = house.client("CONNECT id=p clean").await;
    publisher.say("PUBLISH $q/jobs qos=2 id=1 \"y\"").await;
    assert_eq!(lasting.hear().await, "PUBLISH $q/jobs qos=2 id=32769 \"y\"");
    house.store.set_faults(Faults { stalled: true, ..Faults::default() });
    lasting.say("PUBREC 32769").await;
    assert_eq!(lasting.packet(Duration::from_millis(200)).await, None);
    house.store.release();
    assert_eq!(lasting.hear().await, "PUBREL 32769");
    assert_eq!(house.other.queue_status("jobs").expect("a queue").messages, 0);
}

/// Many values, and a limit for what waits for one connection that is far below them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_gets_every_retained_value_as_it_reads() {
    const VALUES: usize = 1_000;
    for (qos, level) in [(0, 0), (0, 1), (1, 0)] {
        let settings = Settings { inbox_bytes_max: 16 << 10, ..Settings::default() };
        let house = House::new(settings).await;
        let mut publisher = house.client("CONNECT id=p clean").await;
        let body = "x".repeat(500);
        for at in 0..VALUES {
            let id = if level > 0 { " id=1" } else { "" };
            publisher.say(&format!("PUBLISH r/{at:04} qos={level}{id} retain \"{body}\"")).await;
            if level > 0 {
                publisher.hear().await;
            }
        }
        // One that no inbox of that size has room for.
        publisher.say(&format!("PUBLISH r/large retain \"{}\"", "x".repeat(20 << 10))).await;
        assert_eq!(publisher.ask("PINGREQ").await, "PINGRESP");
        let mut reader = house.client("CONNECT id=r clean").await;
        assert_eq!(
            reader.ask(&format!("SUBSCRIBE 1 r/# qos={qos}")).await,
            format!("SUBACK 1 0{qos}")
        );
        for at in 0..VALUES {
            if at == VALUES / 2 {
                // It does not read for a while. What comes meanwhile is live, and what was there comes all the same.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let want = format!("PUBLISH r/{at:04} retain (500 bytes)");
            assert_eq!(reader.hear().await, want, "qos {qos}, level {level}");
        }
        assert_eq!(reader.hear().await, "PUBLISH r/large retain (20480 bytes)");
        assert_eq!(reader.ask("PINGREQ").await, "PINGRESP");
        // Values that change meanwhile are seen as they are then, and never an older one behind a newer one.
        reader.say("SUBSCRIBE 2 r/# qos=0").await;
        publisher.say("PUBLISH r/0999 retain \"new\"").await;
        assert_eq!(publisher.ask("PINGREQ").await, "PINGRESP");
        let mut seen = BTreeMap::new();
        while !(seen.contains_key("r/large")
            && seen.get("r/0999").is_some_and(|said: &String| said.ends_with("\"new\"")))
        {
            let said = reader.hear().await;
            if let Some(topic) =
                said.strip_prefix("PUBLISH ").and_then(|rest| rest.split(' ').next())
            {
                seen.insert(topic.to_owned(), said.clone());
            }
        }
        assert_eq!(seen.len(), VALUES + 1);
        // The end of the subscription is the end of its values.
        reader.say("SUBSCRIBE 3 r/# qos=0").await;
        reader.say("UNSUBSCRIBE 4 r/#").await;
        reader.say("PINGREQ").await;
        while reader.hear().await != "PINGRESP" {}
    }
}
