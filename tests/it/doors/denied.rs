//! Publishes that are not allowed, and whose publishers wait for no answer or whose protocol has no word for no: they
//! are dropped, counted and logged, and where the listener says `close`, they end the connection in the protocol's own
//! word.

use super::house::{House, owner, password};
use crate::wire::amqp::{Amqp, Properties};
use crate::wire::mqtt::{self, Connect, Mqtt};
use crate::wire::stomp::{Stomp, frame};
use crate::wire::{PATIENCE, QUIET};
use std::time::Instant;

const WHY: &str = "write to topic:bob/t is not allowed for user 'ann'";

/// All listeners say that.
fn listeners(word: &str) -> String {
    let tables = ["amqp", "mqtt", "stomp"];
    tables.map(|name| format!("[listeners.{name}]\ndenied_publish = \"{word}\"\n")).concat()
}

fn send(destination: &str) -> Vec<u8> {
    frame("SEND", &[("destination", destination)], b"x")
}

/// A QoS 0 or 1 publish of that protocol level; a QoS 1 one has identifier 9.
fn publish(level: u8, topic: &str, qos: u8) -> Vec<u8> {
    mqtt::publish(level, topic, b"x", (qos, u16::from(qos) * 9), &mqtt::Properties::default())
}

/// Nobody may publish below `$SYS`; Ann may not publish to `bob/t`.
#[test]
fn with_close_the_connection_ends_with_the_refusal() {
    let house = House::open(&[listeners("close"), owner("ann")].concat());
    let (broker, password) = (&house.broker, password("ann"));
    let mut witness = Amqp::connect(broker.amqp);
    witness.queue("seen", false);
    witness.bind("seen", "amq.topic", "#");

    let mut amqp = Amqp::connect_as(broker.amqp, "ann", &password);
    amqp.publish("amq.topic", "bob.t", &Properties::default(), b"x");
    assert_eq!(amqp.refused(), (403, format!("ACCESS_REFUSED - {WHY}")));
    amqp.publish("amq.topic", "$SYS.t", &Properties::default(), b"x");
    let (code, text) = amqp.refused();
    assert!(code == 403 && text.contains("$SYS/t"), "{text}");
    // The connection is there, and so is a new channel.
    amqp.publish("amq.topic", "ann.t", &Properties::default(), b"x");
    assert_eq!(ready(&mut witness), 1);

    let connect = |level, client: &str| {
        let options = Connect { level, ..Connect::v5(client) };
        Mqtt::connect_as(broker.mqtt, &options, "ann", &password)
    };
    for topic in ["bob/t", "$SYS/t"] {
        let mut five = connect(5, "five");
        five.socket.send(&publish(5, topic, 0));
        assert!(five.ends().starts_with("0x87 "), "{topic}");
        for qos in [0, 1] {
            let mut old = connect(4, "old");
            old.socket.send(&publish(4, topic, qos));
            assert!(old.socket.is_closed_within(PATIENCE));
        }
        let mut stomp = Stomp::connect_as(broker.stomp, "ann", &password);
        stomp.socket.send(&send(&format!("/topic/{topic}")));
        assert!(stomp.ends().starts_with("access_refused "), "{topic}");
    }
    // Who waits for an answer gets it as ever.
    let mut five = connect(5, "five");
    assert_eq!(five.try_publish("bob/t", b"x", false), Err(format!("0x87 {WHY}")));
    assert_eq!(five.try_publish("ann/t", b"x", false), Ok(()));
    assert_eq!(ready(&mut witness), 2);
    let log = broker.log();
    assert!(!log.contains("were sent no refusal"), "{log}");
    assert!(log.contains("a user tried what it has no right to"), "{log}");
}

/// How many messages there are when everything has come.
fn ready(witness: &mut Amqp) -> u32 {
    std::thread::sleep(QUIET);
    witness.ready("seen")
}

/// It can be set while the broker runs, for new connections.
#[test]
fn without_it_they_are_dropped_and_it_can_be_changed() {
    let house = House::open(&owner("ann"));
    let (broker, password) = (&house.broker, password("ann"));
    let options = Connect::v311("old");
    let mut mqtt = Mqtt::connect_as(broker.mqtt, &options, "ann", &password);
    let mut stomp = Stomp::connect_as(broker.stomp, "ann", &password);
    let mut amqp = Amqp::connect_as(broker.amqp, "ann", &password);
    let mut try_all = || {
        mqtt.socket.send(&publish(4, "bob/t", 0));
        assert_eq!(mqtt.try_publish("bob/t", b"x", false), Ok(()), "taken, and dropped");
        stomp.socket.send(&send("/topic/bob/t"));
        stomp.send("/topic/ann/t", &[], b"x");
        amqp.publish("amq.topic", "bob.t", &Properties::default(), b"x");
        amqp.queue("ann-q", false);
    };
    try_all();
    let log = broker.log();
    assert!(log.contains("were sent no refusal") && log.contains(WHY), "{log}");
    let log = house.reload(&[listeners("close"), owner("ann")].concat());
    assert!(log.contains("from now on key=\"listeners.stomp.denied_publish\""), "{log}");
    try_all();
    let mut later = Stomp::connect_as(broker.stomp, "ann", &password);
    later.socket.send(&send("/topic/bob/t"));
    let error = later.frame(Instant::now() + PATIENCE).expect("an ERROR");
    assert_eq!(error.header("crossdock-code"), Some("access_refused"));
    let log = house.reload(&[listeners("ignore"), owner("ann")].concat());
    assert!(
        log.contains("listeners.amqp.denied_publish: 'ignore' is none of drop, close"),
        "{log}"
    );
}
