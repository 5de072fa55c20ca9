//! Limits and pressure: what a connection may take, and what it must never do to others.

mod stage;
mod wire;

use crossdock_core::memory::{Faults, MemoryStore};
use crossdock_core::store::Space;
use crossdock_core::{Address, Broker, Drain, Fields, Message, Meta, Publish, Session, Settings};
use crossdock_mqtt::Options;
use stage::{Client, connect, open};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CONNECTED: &str = "CONNACK 00 present=0";

struct House {
    store: MemoryStore,
    broker: Broker,
    drain: Drain,
    other: Session,
    _switch: tokio::sync::watch::Sender<bool>,
}

impl House {
    async fn new(settings: Settings) -> Self {
        let store = MemoryStore::default();
        let (broker, other) = open(&store, settings).await;
        let (switch, drain) = Drain::channel();
        Self { store, broker, drain, other, _switch: switch }
    }

    /// What is stored, opened again.
    async fn restart(&mut self) {
        (self.broker, self.other) = open(&self.store, Settings::default()).await;
    }

    /// Durable messages from another protocol.
    async fn publish(&mut self, topic: &str, count: usize) {
        let lane = self.other.lane();
        let mut meta = Meta::new(self.other.origin().clone(), self.broker.now());
        (meta.durable, meta.level) = (true, 1);
        let address = Address::new("amq.topic".into(), topic.into());
        let body = bytes::Bytes::from_static(b"x");
        let message = Message::from_fields(address, meta, &Fields::default(), body);
        for at in 0..count {
            let message = message.clone();
            self.other.publish(lane, Publish::new(message, false));
            if at % 1000 == 0 {
                self.other.sync().await.expect("stored");
            }
        }
        self.other.sync().await.expect("stored");
    }

    async fn client(&self, line: &str) -> Client {
        self.client_with(line, Options::default()).await
    }

    async fn client_with(&self, line: &str, options: Options) -> Client {
        let mut client = connect(&self.broker, options, &self.drain, !line.contains("v4"));
        let answer = client.ask(line).await;
        assert!(answer.starts_with(CONNECTED), "{answer}");
        client
    }
}

fn stalled(stalled: bool) -> Faults {
    Faults { stalled, ..Faults::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_behind_connect_wait_for_it() {
    let house = House::new(Settings::default()).await;
    let mut client = connect(&house.broker, Options::default(), &house.drain, true);
    let mut bytes = wire::write("CONNECT id=a clean", true);
    for line in ["SUBSCRIBE 1 t qos=0", "PUBLISH t \"hello\"", "PINGREQ"] {
        bytes.extend(wire::write(line, true));
    }
    // One byte at a time: nothing depends on how the stream is cut.
    for byte in bytes {
        client.socket.write_all(&[byte]).await.unwrap();
    }
    assert!(client.hear().await.starts_with(CONNECTED));
    assert_eq!(client.hear().await, "SUBACK 1 00");
    let mut rest = [client.hear().await, client.hear().await];
    rest.sort();
    assert_eq!(rest, ["PINGRESP", "PUBLISH t \"hello\""]);
    // Behind a refused one they have no effect.
    let mut refused = connect(&house.broker, Options::default(), &house.drain, true);
    let mut bytes = wire::write("CONNECT id=b clean username=x password=y", true);
    bytes.extend(wire::write("PUBLISH t \"from nobody\"", true));
    refused.socket.write_all(&bytes).await.unwrap();
    assert!(refused.hear().await.starts_with("CONNACK 86"));
    assert_eq!(client.packet(Duration::from_millis(100)).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_log_in_is_closed() {
    let house = House::new(Settings::default()).await;
    let short = Options { login_time: Duration::from_millis(200), ..Options::default() };
    let started = Instant::now();
    let mut silent = connect(&house.broker, short.clone(), &house.drain, true);
    assert_eq!(silent.packet(Duration::from_secs(5)).await, None);
    assert!(started.elapsed() < Duration::from_secs(2));
    // A byte now and then does not help: the time is for the whole packet.
    let mut slow = connect(&house.broker, short, &house.drain, true);
    let started = Instant::now();
    for byte in wire::write("CONNECT id=a clean username=guest password=guest", true) {
        if slow.socket.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(slow.packet(Duration::from_secs(5)).await, None);
    assert!(started.elapsed() < Duration::from_secs(5));
    // Nor a promise of more than a CONNECT may have, nor another protocol.
    for head in [&[0x10, 0xff, 0xff, 0xff, 0x7f][..], b"GET / HTTP/1.1\r\n", b"AMQP\0\0\x09\x01"] {
        let mut other = connect(&house.broker, Options::default(), &house.drain, true);
        other.socket.write_all(head).await.unwrap();
        let started = Instant::now();
        assert_eq!(other.packet(Duration::from_secs(5)).await, None);
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_before_it_is_stored() {
    let house = House::new(Settings::default()).await;
    let mut s = house.client("CONNECT id=s expiry=100").await;
    assert_eq!(s.ask("SUBSCRIBE 1 t qos=2").await, "SUBACK 1 02");
    let mut p = house.client("CONNECT id=p expiry=100").await;
    house.store.set_faults(stalled(true));
    p.say("PUBLISH t qos=1 id=1 \"x\"").await;
    p.say("PUBLISH t qos=2 id=2 \"y\"").await;
    assert_eq!(p.packet(Duration::from_millis(100)).await, None, "not acknowledged");
    assert_eq!(s.packet(Duration::from_millis(100)).await, None, "not delivered");
    house.store.release();
    assert_eq!(p.hear().await, "PUBACK 1");
    assert_eq!(p.hear().await, "PUBREC 2");
    assert_eq!(s.hear().await, "PUBLISH t qos=1 id=1 \"x\"");
    assert_eq!(s.hear().await, "PUBLISH t qos=2 id=2 \"y\"");
    // The release, and a PUBREC, are stored before they are answered.
    house.store.set_faults(stalled(true));
    p.say("PUBREL 2").await;
    s.say("PUBREC 2").await;
    assert_eq!(p.packet(Duration::from_millis(100)).await, None);
    assert_eq!(s.packet(Duration::from_millis(100)).await, None);
    house.store.release();
    assert_eq!(p.hear().await, "PUBCOMP 2");
    assert_eq!(s.hear().await, "PUBREL 2");
}

/// The end of a delivery and of its memo are one entry of the store, also when a SUBSCRIBE comes in the same segment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completed_delivery_does_not_come_again() {
    let mut house = House::new(Settings::default()).await;
    let mut s = house.client("CONNECT id=s expiry=1000").await;
    assert_eq!(s.ask("SUBSCRIBE 1 t qos=2").await, "SUBACK 1 02");
    let mut p = house.client("CONNECT id=p clean").await;
    assert_eq!(p.ask("PUBLISH t qos=2 id=1 \"once\"").await, "PUBREC 1");
    assert_eq!(s.hear().await, "PUBLISH t qos=2 id=1 \"once\"");
    assert_eq!(s.ask("PUBREC 1").await, "PUBREL 1");
    let mut bytes = wire::write("PUBCOMP 1", true);
    bytes.extend(wire::write("SUBSCRIBE 2 other qos=1", true));
    // Only the next entry gets into the store.
    house.store.set_faults(Faults { append_fails_at: Some(1), ..Faults::default() });
    s.socket.write_all(&bytes).await.unwrap();
    while s.packet(Duration::from_millis(500)).await.is_some() {}

    house.store = house.store.crashed();
    (house.broker, _) = open(&house.store, Settings::default()).await;
    let mut s = connect(&house.broker, Options::default(), &house.drain, true);
    assert!(s.ask("CONNECT id=s expiry=1000").await.starts_with("CONNACK 00 present=1"));
    assert_eq!(s.ask("PINGREQ").await, "PINGRESP");
    assert_eq!(s.packet(Duration::from_millis(100)).await, None);
}

/// Who says goodbye leaves no will, however long the store takes for the rest, and whoever comes meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_withdraws_the_will_first() {
    let house = House::new(Settings::default()).await;
    let mut s = house.client("CONNECT id=s clean").await;
    assert_eq!(s.ask("SUBSCRIBE 1 w qos=0").await, "SUBACK 1 00");
    let mut a = house.client("CONNECT id=a expiry=100 will=w:bye").await;
    // A release that has to be stored, in front of the goodbye.
    assert_eq!(a.ask("PUBLISH t qos=2 id=1 \"x\"").await, "PUBREC 1 10");
    let mut bytes = wire::write("PUBREL 1", true);
    bytes.extend(wire::write("DISCONNECT 00 expiry=50", true));
    house.store.set_faults(stalled(true));
    a.socket.write_all(&bytes).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut again = connect(&house.broker, Options::default(), &house.drain, true);
    again.say("CONNECT id=a expiry=100").await;
    assert_eq!(s.packet(Duration::from_millis(200)).await, None);
    house.store.release();
    assert!(again.hear().await.starts_with("CONNACK 00 present=1"));
    assert_eq!(s.packet(Duration::from_millis(200)).await, None);
}

/// A full disk at the moment of a login costs nobody a subscription: it is taken up when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_joined_again_when_the_disk_has_room() {
    let mut house = House::new(Settings::default()).await;
    let room = |free| Some(Space { free, total: 1 << 40 });
    house.store.set_space(room(1 << 40));
    house.restart().await;
    let mut s = house.client("CONNECT id=s expiry=1000").await;
    assert_eq!(s.ask("SUBSCRIBE 1 $share/g/t $share/g/u qos=1").await, "SUBACK 1 01 01");
    s.say("DISCONNECT").await;
    assert_eq!(s.packet(Duration::from_secs(5)).await, None);
    // The queue of one is there, the other one's has to be made again.
    house.other.delete_queue("share/g/u", false, false).await.expect("deleted");
    house.store.set_space(room(0));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut s = connect(&house.broker, Options::default(), &house.drain, true);
    assert!(s.ask("CONNECT id=s expiry=1000").await.starts_with("CONNACK 00 present=1"));
    house.store.set_space(room(1 << 40));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let mut p = house.client("CONNECT id=p clean").await;
    for (id, topic) in [(1, "t"), (2, "u")] {
        p.say(&format!("PUBLISH {topic} qos=1 id={id} \"x\"")).await;
        assert_eq!(s.hear().await, format!("PUBLISH {topic} qos=1 id={} \"x\"", 32_767 + id));
        s.say(&format!("PUBACK {}", 32_767 + id)).await;
        assert_eq!(p.hear().await, format!("PUBACK {id}"));
    }
    // It can be unsubscribed while it waits.
    s.say("DISCONNECT").await;
    assert_eq!(s.packet(Duration::from_secs(5)).await, None);
    house.other.delete_queue("share/g/u", false, false).await.expect("deleted");
    house.store.set_space(room(0));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut s = connect(&house.broker, Options::default(), &house.drain, true);
    assert!(s.ask("CONNECT id=s expiry=1000").await.starts_with("CONNACK 00 present=1"));
    assert_eq!(s.ask("UNSUBSCRIBE 2 $share/g/u").await, "UNSUBACK 2 00");
    assert_eq!(s.ask("UNSUBSCRIBE 3 $share/g/u").await, "UNSUBACK 3 11");
}

/// The client has said PUBREC: it is owed PUBREL, whatever became of the message since (MQTT 5 §4.4).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_owed_although_the_message_expired_over_a_restart() {
    let mut house = House::new(Settings::default()).await;
    let mut s = house.client("CONNECT id=s expiry=1000").await;
    assert_eq!(s.ask("SUBSCRIBE 1 t qos=2").await, "SUBACK 1 02");
    let mut p = house.client("CONNECT id=p clean").await;
    assert_eq!(p.ask("PUBLISH t qos=2 id=1 message-expiry=1 \"x\"").await, "PUBREC 1");
    assert!(s.hear().await.starts_with("PUBLISH t qos=2 id=1"));
    assert_eq!(s.ask("PUBREC 1").await, "PUBREL 1");
    house.restart().await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let mut s = connect(&house.broker, Options::default(), &house.drain, true);
    assert!(
        s.ask("CONNECT id=s expiry=1000 receive-max=1").await.starts_with("CONNACK 00 present=1")
    );
    assert_eq!(s.hear().await, "PUBREL 1");
    house.publish("t", 1).await;
    assert_eq!(s.packet(Duration::from_millis(300)).await, None, "it still holds the one it may");
    s.say("PUBCOMP 1").await;
    assert!(s.hear().await.starts_with("PUBLISH t qos=1 id=2"));
    // And it is forgotten.
    s.say("PUBACK 2").await;
    s.say("DISCONNECT").await;
    assert_eq!(s.packet(Duration::from_secs(5)).await, None);
    let mut s = connect(&house.broker, Options::default(), &house.drain, true);
    assert!(s.ask("CONNECT id=s expiry=1000").await.starts_with("CONNACK 00 present=1"));
    assert_eq!(s.packet(Duration::from_millis(300)).await, None);
}

/// However much waits in the session's own queue, both it and a group go on, with few in flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_queue_does_not_stop_a_group() {
    let mut house = House::new(Settings::default()).await;
    let mut s = house.client("CONNECT id=s expiry=1000").await;
    assert_eq!(s.ask("SUBSCRIBE 1 own $share/g/group qos=1").await, "SUBACK 1 01 01");
    s.say("DISCONNECT").await;
    assert_eq!(s.packet(Duration::from_secs(5)).await, None);
    // More than there are identifiers, when those that are loaded at once are through.
    house.publish("own", 72_000).await;
    house.publish("group", 400).await;
    house.restart().await;
    for receive_max in [1, 3, 8] {
        let mut s = connect(&house.broker, Options::default(), &house.drain, true);
        let line = format!("CONNECT id=s expiry=1000 receive-max={receive_max}");
        assert!(s.ask(&line).await.starts_with("CONNACK 00 present=1"));
        let (mut own, mut group) = (0, 0);
        while own < 50 || group < 5 {
            let heard = s.hear().await;
            let words: Vec<&str> = heard.split(' ').collect();
            match words[..] {
                ["PUBLISH", "own", ..] => own += 1,
                ["PUBLISH", "group", ..] => group += 1,
                _ => panic!("{heard} after {own} and {group}"),
            }
            let id = words[3].strip_prefix("id=").expect("an id");
            s.say(&format!("PUBACK {id}")).await;
        }
    }
}

/// An identifier that comes round again while the client still holds it is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identifiers_come_round_again() {
    let mut house = House::new(Settings::default()).await;
    let mut s = house.client("CONNECT id=s expiry=1000").await;
    assert_eq!(s.ask("SUBSCRIBE 1 own qos=1").await, "SUBACK 1 01");
    house.publish("own", 32_770).await;
    assert_eq!(s.hear().await, "PUBLISH own qos=1 id=1 \"x\"");
    for id in 2..=32_767 {
        assert_eq!(s.hear().await, format!("PUBLISH own qos=1 id={id} \"x\""));
        s.say(&format!("PUBACK {id}")).await;
    }
    assert_eq!(s.packet(Duration::from_millis(100)).await, None);
    s.say("PUBACK 1").await;
    for id in 1..=3 {
        assert_eq!(s.hear().await, format!("PUBLISH own qos=1 id={id} \"x\""));
    }
}

/// A CONNECT that displaces a connection and ends its session is not refused afterwards: a will finds room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_will_is_taken_on_a_full_disk() {
    let mut house = House::new(Settings::default()).await;
    house.store.set_space(Some(Space { free: 1 << 40, total: 1 << 40 }));
    house.restart().await;
    let mut w = house.client("CONNECT id=w clean").await;
    assert_eq!(w.ask("SUBSCRIBE 1 w qos=0").await, "SUBACK 1 00");
    let mut old = house.client("CONNECT id=a expiry=1000 will=w:old").await;
    house.store.set_space(Some(Space { free: 0, total: 1 << 40 }));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut new = house.client("CONNECT id=a clean expiry=1000 will=w:new").await;
    assert!(old.hear().await.starts_with("DISCONNECT 8e"));
    assert_eq!(w.hear().await, "PUBLISH w \"old\"");
    assert_eq!(new.ask("PINGREQ").await, "PINGRESP");
    drop(new);
    assert_eq!(w.hear().await, "PUBLISH w \"new\"");
}

/// Under a memory alarm the core may hold back what a session notes. Whenever PUBCOMP comes, the identifier is free
/// for ever: its next message is a new one, also after a crash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_not_forgotten_under_a_memory_alarm() {
    let settings = Settings { memory_high: 1 << 20, ..Settings::default() };
    let mut house = House::new(settings.clone()).await;
    let mut s = house.client("CONNECT id=s clean").await;
    s.ask("SUBSCRIBE 1 t qos=1").await;
    let mut p = house.client("CONNECT id=p expiry=1000").await;
    assert_eq!(p.ask("PUBLISH t qos=2 id=1 \"one\"").await, "PUBREC 1");
    assert_eq!(s.hear().await, "PUBLISH t qos=1 id=1 \"one\"");
    s.say("PUBACK 1").await;
    // In flight and not acknowledged: the alarm goes on and stays.
    let mut q = house.client("CONNECT id=q clean").await;
    for id in 2..=3 {
        q.say(&format!("PUBLISH t qos=1 id={id} \"{}\"", "x".repeat(600_000))).await;
        assert_eq!(s.hear().await, format!("PUBLISH t qos=1 id={id} (600000 bytes)"));
    }
    p.say("PUBREL 1").await;
    let early = p.packet(Duration::from_millis(300)).await;
    let crashed = house.store.crashed();
    if early.is_none() {
        // It comes when the alarm ends.
        s.say("PUBACK 2").await;
        s.say("PUBACK 3").await;
        assert_eq!(p.hear().await, "PUBCOMP 1");
    }

    (house.broker, _) = open(&crashed, settings).await;
    house.store = crashed;
    let mut s = house.client("CONNECT id=s2 clean").await;
    s.ask("SUBSCRIBE 1 t qos=1").await;
    let mut p = connect(&house.broker, Options::default(), &house.drain, true);
    assert!(p.ask("CONNECT id=p expiry=1000").await.starts_with("CONNACK 00 present=1"));
    if early.is_none() {
        assert_eq!(p.ask("PUBREL 1").await, "PUBCOMP 1");
    }
    assert_eq!(p.ask("PUBLISH t qos=2 id=1 \"new\"").await, "PUBREC 1");
    assert_eq!(s.hear().await, "PUBLISH t qos=1 id=1 \"new\"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configured_receive_maximum_is_enforced() {
    let house = House::new(Settings::default()).await;
    let mut s = house.client("CONNECT id=s expiry=100").await;
    s.ask("SUBSCRIBE 1 t qos=1").await;
    let options = Options { receive_maximum: 64, ..Options::default() };
    let mut p = connect(&house.broker, options.clone(), &house.drain, true);
    assert!(p.ask("CONNECT id=p clean").await.contains(" receive-max=64"));
    let mut old = connect(&house.broker, options, &house.drain, false);
    old.ask("CONNECT v4 id=old clean").await;
    house.store.set_faults(stalled(true));
    for id in 1..=65 {
        p.say(&format!("PUBLISH t qos=1 id={id} \"x\"")).await;
        old.say(&format!("PUBLISH t qos=1 id={id} \"x\"")).await;
    }
    let last = p.hear().await;
    assert!(last.starts_with("DISCONNECT 93"), "{last}");
    house.store.release();
    for id in 1..=65 {
        assert_eq!(old.hear().await, format!("PUBACK {id}"), "3.1.1 is held back, not closed");
    }
}

/// Bursts of libraries that know no limit: the publisher is held back by what the store takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_publishes_is_held_back_and_not_closed() {
    const BURST: u16 = 4_000;
    let house = House::new(Settings { session_share: 64 << 10, ..Settings::default() }).await;
    let mut s = house.client("CONNECT id=s expiry=100").await;
    s.ask("SUBSCRIBE 1 t qos=1").await;
    for line in ["CONNECT id=five clean", "CONNECT v4 id=old clean"] {
        let mut p = connect(&house.broker, Options::default(), &house.drain, !line.contains("v4"));
        let connack = p.ask(line).await;
        assert!(connack.starts_with("CONNACK 00") && !connack.contains("receive-max"), "{connack}");
        house.store.set_faults(stalled(true));
        let body = "x".repeat(300);
        let burst: Vec<u8> = (1..=BURST)
            .flat_map(|id| wire::write(&format!("PUBLISH t qos=1 id={id} \"{body}\""), p.v5))
            .chain(wire::write("PINGREQ", p.v5))
            .collect();
        let (mut reader, mut writer) = tokio::io::split(p.socket);
        let sending = tokio::spawn(async move {
            writer.write_all(&burst).await.expect("nobody closes it");
            writer
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!sending.is_finished(), "{line}: more than its share is read");
        house.store.release();
        let (mut heard, mut bytes) = (0u16, Vec::new());
        while heard < BURST {
            let read = tokio::time::timeout(Duration::from_secs(20), reader.read_buf(&mut bytes));
            assert!(read.await.expect("in time").expect("readable") > 0, "{line}: closed");
            while let Some(length) = wire::whole(&bytes) {
                let packet: Vec<u8> = bytes.drain(..length).collect();
                let said = wire::read(&packet, !line.contains("v4"));
                // What is decided at once is answered before what the store has to be waited for.
                if said != "PINGRESP" {
                    heard += 1;
                    assert_eq!(said, format!("PUBACK {heard}"));
                }
            }
        }
        drop(sending.await.expect("sent"));
    }
}

/// A held publisher's pings are answered although what lies in front of them is not taken: each once, whenever that
/// is, and in the order of the packets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_behind_publishes_that_are_held_back_are_answered() {
    let house = House::new(Settings { session_share: 64 << 10, ..Settings::default() }).await;
    let mut s = house.client("CONNECT id=s expiry=100").await;
    s.ask("SUBSCRIBE 1 t qos=1").await;
    // A full share; the configured number of unacknowledged publishes of 3.1.1.
    let few = Options { receive_maximum: 5, ..Options::default() };
    let ways = [
        ("CONNECT id=five clean keep=1", Options::default(), 2_000, 100),
        ("CONNECT v4 id=old clean keep=1", Options::default(), 2_000, 100),
        ("CONNECT v4 id=few clean keep=1", few, 300, 20),
    ];
    for (line, options, size, count) in ways {
        let mut p = connect(&house.broker, options, &house.drain, !line.contains("v4"));
        assert!(p.ask(line).await.starts_with("CONNACK 00"));
        house.store.set_faults(stalled(true));
        let body = "x".repeat(size);
        for id in 1..=count / 2 {
            p.say(&format!("PUBLISH t qos=1 id={id} \"{body}\"")).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        for id in count / 2 + 1..=count {
            p.say(&format!("PUBLISH t qos=1 id={id} \"{body}\"")).await;
            if id % 10 == 0 {
                p.say("PINGREQ").await;
            }
        }
        let mut early = 0;
        while let Some(said) = p.packet(Duration::from_millis(300)).await {
            assert_eq!(said, "PINGRESP", "{line}: nothing is stored");
            early += 1;
        }
        assert!(early > 0, "{line}: no ping is answered");
        house.store.release();
        let (mut pings, mut heard) = (early, 0);
        while heard < count || pings < count / 20 {
            match p.hear().await {
                said if said == "PINGRESP" => pings += 1,
                said => {
                    heard += 1;
                    assert_eq!(said, format!("PUBACK {heard}"), "{line}");
                }
            }
        }
        assert_eq!(p.ask("PINGREQ").await, "PINGRESP");
        assert_eq!(pings, count / 20, "{line}: an answer for each");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_acknowledges_nothing() {
    let house = House::new(Settings::default()).await;
    let mut s = house.client("CONNECT id=s expiry=100").await;
    s.ask("SUBSCRIBE 1 t qos=1").await;
    let mut five = house.client("CONNECT id=five clean").await;
    let mut old = house.client("CONNECT v4 id=old clean").await;
    house.store.set_faults(Faults { append_fails_at: Some(0), ..Faults::default() });
    let answer = five.ask("PUBLISH t qos=1 id=1 \"x\"").await;
    assert!(answer.starts_with("PUBACK 1 80"), "{answer}");
    old.say("PUBLISH t qos=1 id=1 \"x\"").await;
    assert_eq!(old.packet(Duration::from_secs(5)).await, None, "3.1.1: no acknowledgement, closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_may_be_so_large_and_no_larger() {
    let house = House::new(Settings { message_bytes_max: 1000, ..Settings::default() }).await;
    let mut s = house.client("CONNECT id=s clean").await;
    s.ask("SUBSCRIBE 1 t qos=0").await;
    for version in ["v4", "v5"] {
        let mut p = house.client(&format!("CONNECT {version} id=p clean")).await;
        p.say(&format!("PUBLISH t \"{}\"", "x".repeat(1000))).await;
        assert_eq!(s.hear().await, "PUBLISH t (1000 bytes)");
        let long = "x".repeat(1001);
        // A packet of the announced size is read: its message is refused where there is a word for no, and dropped
        // where nobody waits for an answer.
        p.say(&format!("PUBLISH t \"{long}\"")).await;
        assert_eq!(p.ask("PINGREQ").await, "PINGRESP");
        if version == "v5" {
            for (qos, answer) in [(1, "PUBACK 7 97"), (2, "PUBREC 7 97"), (2, "PUBREC 7 97")] {
                let said = p.ask(&format!("PUBLISH t qos={qos} id=7 \"{long}\"")).await;
                assert!(
                    said.starts_with(answer) && said.contains("limits.message_bytes"),
                    "{said}"
                );
            }
            p.say("PUBLISH t \"after it\"").await;
            assert_eq!(s.hear().await, "PUBLISH t \"after it\"");
            continue;
        }
        p.say(&format!("PUBLISH t qos=1 id=7 \"{long}\"")).await;
        assert_eq!(p.packet(Duration::from_secs(5)).await, None, "3.1.1 has no word for no");
    }
    assert_eq!(s.packet(Duration::from_millis(100)).await, None);
}

/// paho ends the connection when more is announced than the length of a packet can say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_announced_than_a_packet_can_have() {
    let house = House::new(Settings { message_bytes_max: 512 << 20, ..Settings::default() }).await;
    let mut client = connect(&house.broker, Options::default(), &house.drain, true);
    let answer = client.ask("CONNECT id=c clean").await;
    assert!(answer.contains(" packet-max=268435455 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keep_alive() {
    let house = House::new(Settings::default()).await;
    let mut five = house.client("CONNECT id=five clean keep=1").await;
    let mut old = house.client("CONNECT v4 id=old clean keep=1").await;
    let started = Instant::now();
    assert!(five.hear().await.starts_with("DISCONNECT 8d"));
    assert_eq!(old.packet(Duration::from_secs(5)).await, None);
    let took = started.elapsed();
    assert!(took > Duration::from_millis(1400) && took < Duration::from_secs(4), "{took:?}");
}

/// Who is not read, because the store is waited for, is not silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_does_not_end_the_keep_alive() {
    let house = House::new(Settings::default()).await;
    let mut a = house.client("CONNECT id=a expiry=100 keep=1").await;
    assert_eq!(a.ask("PUBLISH t qos=2 id=1 \"x\"").await, "PUBREC 1 10");
    for (line, answer) in [("SUBSCRIBE 1 t qos=1", "SUBACK 1 01"), ("PUBREL 1", "PUBCOMP 1")] {
        house.store.set_faults(stalled(true));
        a.say(line).await;
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            a.say("PINGREQ").await;
        }
        house.store.release();
        assert_eq!(a.hear().await, answer);
        for _ in 0..8 {
            assert_eq!(a.hear().await, "PINGRESP");
        }
    }
}

/// A process that stood still when the time ran out looks for what clients said meanwhile.
#[tokio::test]
async fn what_lies_unread_was_said_in_time() {
    let house = House::new(Settings::default()).await;
    let mut a = house.client("CONNECT id=a clean keep=1").await;
    tokio::spawn(async {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        std::thread::sleep(Duration::from_millis(500));
    });
    // It ends with the other timer, and before it.
    tokio::time::sleep(Duration::from_millis(1350)).await;
    assert_eq!(a.ask("PINGREQ").await, "PINGRESP");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_harms_nobody() {
    let settings = Settings { inbox_bytes_max: 1 << 20, ..Settings::default() };
    let house = House::new(settings).await;
    let short = Options { write_time: Duration::from_millis(500), ..Options::default() };
    let mut deaf = house.client_with("CONNECT id=deaf clean", short).await;
    deaf.ask("SUBSCRIBE 1 t qos=0").await;
    let mut good = house.client("CONNECT id=good clean").await;
    good.ask("SUBSCRIBE 1 t qos=0").await;
    let mut p = house.client("CONNECT id=p clean").await;
    let body = "x".repeat(10_000);
    for _ in 0..500 {
        p.say(&format!("PUBLISH t \"{body}\"")).await;
        let heard = good.hear().await;
        assert_eq!(heard, "PUBLISH t (10000 bytes)");
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut seen = 0;
    while deaf.packet(Duration::from_secs(5)).await.is_some() {
        seen += 1;
    }
    assert!(seen < 200, "bounded, and the connection was ended: {seen}");
}

/// One connection publishes and consumes what it published, with few in flight and the memory alarm mostly on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_and_consuming_under_a_memory_alarm() {
    const COUNT: usize = 400;
    let house = House::new(Settings { memory_high: 1 << 20, ..Settings::default() }).await;
    for (version, qos) in [("v5", 1), ("v5", 2), ("v4", 1)] {
        let line = format!("CONNECT {version} id=both clean receive-max=1");
        let line = if version == "v4" { "CONNECT v4 id=both clean".to_owned() } else { line };
        // What is in flight cannot leave memory, and its acknowledgements stand behind publishes that are not read:
        // it has to be well below the mark, for 3.1.1 by the broker's own limit.
        let few = Options { in_flight_max: 8, ..Options::default() };
        let mut client = house.client_with(&line, few).await;
        client.ask("SUBSCRIBE 1 t qos=1").await;
        let body = "x".repeat(20_000);
        let (mut sent, mut acked, mut got, mut open) = (0, 0, 0, 0);
        let (mut reader, mut writer) = tokio::io::split(client.socket);
        let (queue, mut to_write) = tokio::sync::mpsc::channel::<Vec<u8>>(1000);
        let writing = tokio::spawn(async move {
            while let Some(bytes) = to_write.recv().await {
                writer.write_all(&bytes).await.expect("written");
            }
        });
        let v5 = version == "v5";
        let mut unread = std::mem::take(&mut client.unread);
        while acked < COUNT || got < COUNT {
            while sent < COUNT && open < 60 {
                let id = sent % 60_000 + 1;
                let line = format!("PUBLISH t qos={qos} id={id} \"{body}\"");
                queue.send(wire::write(&line, v5)).await.expect("open");
                (sent, open) = (sent + 1, open + 1);
            }
            let Some(length) = wire::whole(&unread) else {
                let read = reader.read_buf(&mut unread);
                let n = tokio::time::timeout(Duration::from_secs(30), read).await;
                let n = n.unwrap_or_else(|_| panic!("stuck: {sent} sent {acked} acked {got} got"));
                assert!(n.expect("readable") > 0, "closed");
                continue;
            };
            let packet: Vec<u8> = unread.drain(..length).collect();
            let line = wire::read(&packet, v5);
            let words: Vec<&str> = line.split(' ').collect();
            let answer = match words[0] {
                "PUBLISH" => {
                    got += 1;
                    let id = words[3].strip_prefix("id=").expect("an id");
                    Some(format!("PUBACK {id}"))
                }
                "PUBREC" => Some(format!("PUBREL {}", words[1])),
                "PUBACK" | "PUBCOMP" => {
                    (acked, open) = (acked + 1, open - 1);
                    None
                }
                other => panic!("{other}"),
            };
            if let Some(answer) = answer {
                queue.send(wire::write(&answer, v5)).await.expect("open");
            }
        }
        drop(queue);
        writing.await.expect("done");
    }
}

/// A client that writes everything before it reads anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writing_much_before_reading() {
    const COUNT: usize = 16_000;
    let house = House::new(Settings::default()).await;
    let mut s = house.client("CONNECT id=s expiry=100").await;
    s.ask("SUBSCRIBE 1 t qos=1").await;
    s.say("DISCONNECT").await;
    let mut p = house.client("CONNECT v4 id=p clean").await;
    let body = "x".repeat(1000);
    for id in 1..=COUNT {
        p.say(&format!("PUBLISH t qos=1 id={id} \"{body}\"")).await;
    }
    for id in 1..=COUNT {
        assert_eq!(p.hear().await, format!("PUBACK {id}"));
    }
}
