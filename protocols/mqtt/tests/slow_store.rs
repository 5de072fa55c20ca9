//! A store that takes seconds, and clients that shut down their sending side: whatever a client asked for, its pings
//! that lie unread keep it connected, every answer comes, and its will is published after that.

mod stage;
mod wire;

use crossdock_core::memory::{Faults, MemoryStore};
use crossdock_core::{Broker, Drain, QueueSpec, Session, Settings};
use crossdock_mqtt::Options;
use stage::{Client, connect, open};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::Instant;

/// For this long the store answers nothing. Silence is one and a half seconds.
const STALL: Duration = Duration::from_secs(4);
/// How long an expected packet may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two pings.
const PACE: Duration = Duration::from_millis(500);

struct House {
    store: MemoryStore,
    broker: Broker,
    drain: Drain,
    other: Session,
    _switch: watch::Sender<bool>,
}

impl House {
    async fn open() -> House {
        let store = MemoryStore::default();
        let (broker, other) = open(&store, Settings::default()).await;
        let (switch, drain) = Drain::channel();
        House { store, broker, drain, other, _switch: switch }
    }

    fn stall(&self) {
        self.store.set_faults(Faults { stalled: true, ..Faults::default() });
    }

    fn client(&self) -> Client {
        connect(&self.broker, Options::default(), &self.drain, true)
    }
}

/// Packets before, with their answers; the packet, and its answer (`end`: that the connection ends).
struct Verb {
    before: &'static [(&'static str, &'static str)],
    verb: &'static str,
    answer: &'static str,
    /// The answer needs the store.
    waits: bool,
}

const fn verb(
    before: &'static [(&'static str, &'static str)],
    verb: &'static str,
    answer: &'static str,
) -> Verb {
    Verb { before, verb, answer, waits: true }
}

const LOGIN: &str = "CONNECT id=a expiry=100 keep=1";
const TOPIC: (&str, &str) = ("SUBSCRIBE 1 t qos=2", "SUBACK 1 02");
const GROUP: (&str, &str) = ("SUBSCRIBE 1 $share/g/t qos=1", "SUBACK 1 01");
const NAMED: (&str, &str) = ("SUBSCRIBE 1 $q/q qos=1", "SUBACK 1 01");
const TWICE: (&str, &str) = ("PUBLISH u qos=2 id=7 \"x\"", "PUBREC 7 10");

/// Every packet of a client with a session that lasts.
const VERBS: &[Verb] = &[
    verb(&[], "SUBSCRIBE 1 t qos=1", "SUBACK 1 01"),
    verb(&[], "SUBSCRIBE 1 $share/g/t qos=1", "SUBACK 1 01"),
    verb(&[], "SUBSCRIBE 1 $q/q qos=1", "SUBACK 1 01"),
    verb(&[TOPIC], "UNSUBSCRIBE 2 t", "UNSUBACK 2 00"),
    verb(&[GROUP], "UNSUBSCRIBE 2 $share/g/t", "UNSUBACK 2 00"),
    verb(&[NAMED], "UNSUBSCRIBE 2 $q/q", "UNSUBACK 2 00"),
    verb(&[TOPIC], "PUBLISH t qos=1 id=7 \"x\"", "PUBACK 7"),
    verb(&[TOPIC], "PUBLISH t qos=2 id=7 \"x\"", "PUBREC 7"),
    verb(&[TWICE], "PUBREL 7", "PUBCOMP 7"),
    verb(
        &[TOPIC, ("PUBLISH t qos=2 id=7 \"x\"", "PUBREC 7"), ("", "PUBLISH t")],
        "PUBREC 1",
        "PUBREL 1",
    ),
    Verb { before: &[], verb: "PUBLISH t \"x\"", answer: "PINGRESP", waits: false },
    verb(&[], "DISCONNECT 00 expiry=50", "end"),
    verb(&[TWICE], "DISCONNECT", "end"),
];

/// Sends pings while the store stalls; the packets that came.
async fn stalled(client: &mut Client, pings: bool) -> Result<Vec<String>, String> {
    let (until, mut heard) = (Instant::now() + STALL, Vec::new());
    while Instant::now() < until {
        if pings && client.socket.write_all(&wire::write("PINGREQ", true)).await.is_err() {
            return Err("the connection ended".into());
        }
        let next = Instant::now() + PACE;
        while let Some(line) = client.packet(next.saturating_duration_since(Instant::now())).await {
            heard.push(line);
        }
        tokio::time::sleep_until(next).await;
    }
    Ok(heard)
}

/// What is wrong about this verb.
async fn check(verb: &Verb) -> Result<(), String> {
    let mut house = House::open().await;
    house.other.declare_queue(QueueSpec::durable("q")).await.expect("declared");
    let mut client = house.client();
    let answer = client.ask(LOGIN).await;
    if !answer.starts_with("CONNACK 00") {
        return Err(answer);
    }
    for (line, wanted) in verb.before {
        if !line.is_empty() {
            client.say(line).await;
        }
        let heard = client.hear().await;
        if !heard.starts_with(wanted) {
            return Err(format!("{heard} instead of {wanted}"));
        }
    }
    // The last one may have left something to be stored.
    house.other.sync().await.expect("stored");
    house.stall();
    client.say(verb.verb).await;
    let ends = verb.answer == "end";
    let mut heard = stalled(&mut client, !ends).await?;
    let early = heard.iter().any(|line| line.starts_with(verb.answer));
    if early == verb.waits {
        return Err(format!("answered before the store: {early}"));
    }
    house.store.release();
    if ends {
        let rest = client.packet(PATIENCE).await;
        return rest.map_or(Ok(()), |line| Err(format!("{line} instead of the end")));
    }
    client.say("PINGREQ").await;
    // Every ping has its answer, also those that lay unread.
    let pings = |heard: &[String]| heard.iter().filter(|line| *line == "PINGRESP").count();
    let sent = usize::try_from(STALL.as_millis() / PACE.as_millis()).expect("small") + 1;
    while pings(&heard) < sent || !heard.iter().any(|line| line.starts_with(verb.answer)) {
        match client.packet(PATIENCE).await {
            Some(line) if line.starts_with("DISCONNECT") => return Err(line),
            Some(line) => heard.push(line),
            None => return Err(format!("{heard:?} and no more")),
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn pings_that_lie_unread_keep_a_client_connected() {
    let mut failures = Vec::new();
    for verb in VERBS {
        if let Err(error) = check(verb).await {
            failures.push(format!("{}: {error}", verb.verb));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), VERBS.len(), failures.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn a_login_that_waits_for_the_store_is_not_silence() {
    for line in [LOGIN, "CONNECT id=a expiry=100 keep=1 will=w:bye"] {
        let house = House::open().await;
        house.stall();
        let mut client = house.client();
        client.say(line).await;
        assert_eq!(stalled(&mut client, true).await, Ok(Vec::new()));
        house.store.release();
        assert!(client.hear().await.starts_with("CONNACK 00"), "{line}");
        for _ in 0..8 {
            assert_eq!(client.hear().await, "PINGRESP");
        }
    }
}

/// A client that logged in and subscribed to `w`.
async fn watcher(house: &House) -> Client {
    let mut watcher = house.client();
    assert!(watcher.ask("CONNECT id=w clean").await.starts_with("CONNACK 00"));
    assert_eq!(watcher.ask("SUBSCRIBE 1 w qos=0").await, "SUBACK 1 00");
    watcher
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_client_gets_its_acknowledgements_before_its_will() {
    let house = House::open().await;
    let mut watcher = watcher(&house).await;
    let mut s = house.client();
    assert!(s.ask("CONNECT id=s expiry=100").await.starts_with("CONNACK 00"));
    assert_eq!(s.ask("SUBSCRIBE 1 t qos=1").await, "SUBACK 1 01");
    let mut client = house.client();
    assert!(client.ask("CONNECT id=a expiry=100 will=w:bye").await.starts_with("CONNACK 00"));
    house.stall();
    client.say("PUBLISH t qos=1 id=1 \"x\"").await;
    client.say("PUBLISH t qos=2 id=2 \"y\"").await;
    client.say("PINGREQ").await;
    client.socket.shutdown().await.expect("shut down");
    assert_eq!(client.hear().await, "PINGRESP");
    assert_eq!(watcher.packet(STALL).await, None, "no will yet");
    house.store.release();
    assert_eq!(client.hear().await, "PUBACK 1");
    assert_eq!(client.hear().await, "PUBREC 2");
    assert_eq!(client.packet(PATIENCE).await, None);
    assert_eq!(watcher.hear().await, "PUBLISH w \"bye\"");
    // The session is there when the client comes back.
    let mut again = house.client();
    assert!(again.ask("CONNECT id=a expiry=100").await.starts_with("CONNACK 00 present=1"));
    assert_eq!(again.ask("PUBREL 2").await, "PUBCOMP 2");
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_client_is_not_waited_for_without_end() {
    let house = House::open().await;
    let mut watcher = watcher(&house).await;
    let mut client = house.client();
    assert!(client.ask("CONNECT id=a clean will=w:bye").await.starts_with("CONNACK 00"));
    assert_eq!(client.ask("SUBSCRIBE 1 t qos=1").await, "SUBACK 1 01");
    let mut s = house.client();
    assert!(s.ask("CONNECT id=s expiry=100").await.starts_with("CONNACK 00"));
    assert_eq!(s.ask("SUBSCRIBE 1 k qos=1").await, "SUBACK 1 01");
    house.stall();
    client.say("PUBLISH k qos=1 id=1 \"x\"").await;
    client.socket.shutdown().await.expect("shut down");
    let start = Instant::now();
    assert_eq!(watcher.hear().await, "PUBLISH w \"bye\"");
    assert!(start.elapsed() > PACE && start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert_eq!(client.packet(PATIENCE).await, None);
}
