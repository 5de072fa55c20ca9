//! Acknowledged messages are there after SIGKILL, in their order; durable queues, subscriptions and sessions, too.

use crate::broker::{Broker, scaled};
use crate::wire::amqp::{self, Amqp};
use crate::wire::mqtt::{self, Connect, Mqtt};
use crate::wire::stomp::{self, Stomp};
use crate::wire::{PATIENCE, QUIET};
use std::time::Instant;

const MANY: usize = 10_000;
/// Publishes that the MQTT client of these tests has unacknowledged at most.
const WINDOW: usize = 20;

fn body(number: usize) -> Vec<u8> {
    format!("message {number}").into_bytes()
}

#[test]
fn amqp_confirmed_messages_survive() {
    let (mut broker, count) = (Broker::start(), scaled(MANY));
    let mut client = Amqp::connect(broker.amqp);
    client.queue("kept", true);
    client.confirm_select();
    for number in 0..count {
        client.publish("", "kept", &amqp::Properties::persistent(), &body(number));
    }
    client.wait_confirms();
    broker.crash();
    let mut client = Amqp::connect(broker.amqp);
    assert_eq!(client.ready("kept"), count as u32);
    client.prefetch(100);
    client.consume("kept", false);
    for number in 0..count {
        let delivery = client.receive();
        assert_eq!(delivery.body, body(number));
        client.ack(&delivery);
    }
    assert_eq!(client.receive_within(QUIET), None);
}

#[test]
fn mqtt_sessions_subscriptions_and_messages_survive() {
    let (mut broker, count) = (Broker::start(), scaled(MANY));
    let mut sleeper = Mqtt::connect(broker.mqtt, &Connect::persistent("sleeper"));
    assert!(!sleeper.session_present);
    sleeper.subscribe("kept/+", 1);
    sleeper.disconnect();

    let mut publisher = Mqtt::connect(broker.mqtt, &Connect::v311("publisher"));
    let none = mqtt::Properties::default();
    let mut acked = 0;
    for number in 0..count {
        while number >= acked + WINDOW {
            publisher.puback(Instant::now() + PATIENCE).expect("a PUBACK");
            acked += 1;
        }
        let id = publisher.id();
        publisher.socket.send(&mqtt::publish(4, "kept/x", &body(number), (1, id), &none));
    }
    for _ in acked..count {
        publisher.puback(Instant::now() + PATIENCE).expect("a PUBACK");
    }
    broker.crash();

    let mut sleeper = Mqtt::connect(broker.mqtt, &Connect::persistent("sleeper"));
    assert!(sleeper.session_present);
    for number in 0..count {
        assert_eq!(sleeper.receive().body, body(number));
    }
    assert_eq!(sleeper.receive_within(QUIET), None);
    // The subscription still exists: no client has subscribed again.
    let mut publisher = Mqtt::connect(broker.mqtt, &Connect::v311("publisher"));
    publisher.publish("kept/again", b"again", 1);
    assert_eq!(sleeper.receive().body, b"again");
}

#[test]
fn stomp_receipted_messages_survive() {
    let (mut broker, count) = (Broker::start(), scaled(MANY));
    let mut client = Stomp::connect(broker.stomp);
    for number in 0..count {
        let receipt = number.to_string();
        let headers =
            [("destination", "/queue/kept"), ("persistent", "true"), ("receipt", receipt.as_str())];
        client.socket.send(&stomp::frame("SEND", &headers, &body(number)));
    }
    for number in 0..count {
        let frame = client.frame(Instant::now() + PATIENCE).expect("a receipt");
        assert_eq!(frame.command, "RECEIPT");
        assert_eq!(frame.header("receipt-id"), Some(number.to_string().as_str()));
    }
    broker.crash();
    let mut client = Stomp::connect(broker.stomp);
    client.subscribe("1", "/queue/kept", "client-individual", &[]);
    for number in 0..count {
        let message = client.receive();
        assert_eq!(message.body, body(number));
        client.ack(&message);
    }
    assert_eq!(client.receive_within(QUIET), None);
}

#[test]
fn unacknowledged_messages_are_delivered_again_and_flagged() {
    let mut broker = Broker::start();
    let mut client = Amqp::connect(broker.amqp);
    client.queue("again", true);
    client.confirm_select();
    for number in 0..3 {
        client.publish("", "again", &amqp::Properties::persistent(), &body(number));
    }
    client.wait_confirms();
    client.consume("again", false);
    for number in 0..3 {
        let delivery = client.receive();
        assert_eq!((delivery.body, delivery.redelivered), (body(number), false));
    }
    broker.crash();
    let mut client = Amqp::connect(broker.amqp);
    client.consume("again", false);
    for number in 0..3 {
        let delivery = client.receive();
        assert_eq!((delivery.body.clone(), delivery.redelivered), (body(number), true));
        client.reject(&delivery, false);
    }
    // A rejected message is dropped or dead-lettered: it is not delivered again.
    assert_eq!(client.receive_within(QUIET), None);
}

#[test]
fn retained_values_survive_an_orderly_stop() {
    let mut broker = Broker::start();
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v311("keeper"));
    let id = client.id();
    let mut publish =
        mqtt::publish(4, "kept/value", b"21.5", (1, id), &mqtt::Properties::default());
    publish[0] |= 1;
    client.socket.send(&publish);
    client.puback(Instant::now() + PATIENCE).expect("a PUBACK");
    assert_eq!(broker.stop("TERM").0, Some(0));
    broker.crash();
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v311("reader"));
    client.subscribe("kept/#", 1);
    let message = client.receive();
    assert_eq!((message.body.as_slice(), message.retain), (&b"21.5"[..], true));
}

#[test]
fn stomp_messages_keep_their_ids() {
    let mut broker = Broker::start();
    let mut client = Stomp::connect(broker.stomp);
    client.subscribe("0", "/queue/kept", "client-individual", &[]);
    client.send("/queue/kept", &[("persistent", "true")], b"x");
    let before = client.receive().header("message-id").expect("an id").to_owned();
    client.send("/queue/kept", &[], b"gone");
    let gone = client.receive().header("message-id").expect("an id").to_owned();
    assert_ne!(before, gone);
    broker.crash();
    let mut client = Stomp::connect(broker.stomp);
    client.subscribe("0", "/queue/kept", "client-individual", &[]);
    assert_eq!(client.receive().header("message-id"), Some(&*before));
    client.send("/queue/kept", &[], b"new");
    let new = client.receive().header("message-id").expect("an id").to_owned();
    assert!(new != before && new != gone, "{new}");
}

#[test]
fn message_groups_survive() {
    let mut broker = Broker::start();
    let mut client = Stomp::connect(broker.stomp);
    for number in 0..20 {
        let group = ["left", "right"][number % 2];
        let headers = [("persistent", "true"), ("JMSXGroupID", group)];
        client.send("/queue/kept", &headers, group.as_bytes());
    }
    broker.crash();
    let mut consumers = [Stomp::connect(broker.stomp), Stomp::connect(broker.stomp)];
    for consumer in &mut consumers {
        consumer.subscribe("0", "/queue/kept", "client-individual", &[("prefetch-count", "1")]);
    }
    let [mut one, mut other] = consumers;
    for _ in 0..10 {
        let (left, right) = (one.receive(), other.receive());
        assert_eq!((&*left.body, &*right.body), (&b"left"[..], &b"right"[..]));
        one.ack(&left);
        other.ack(&right);
    }
}
