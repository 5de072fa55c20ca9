//! What many objects cost a start: the time to the ready line, and memory. The objects are made by clients of a running
//! broker, which is stopped then and started again on what it stored.

use super::{do_all, many};
use crate::broker::Broker;
use crate::wire::amqp::Amqp;
use crate::wire::frames;
use crate::wire::mqtt::{Connect, Mqtt, Properties, packet, publish};
use crate::wire::{PATIENCE, Socket};
use std::time::{Duration, Instant};

/// How much of each there is.
fn bindings() -> usize {
    many(200_000, 2_000)
}

fn sessions() -> usize {
    many(100_000, 1_000)
}

fn values() -> usize {
    many(1_000_000, 10_000)
}

/// A start may take this long with all of it.
fn time_max() -> Duration {
    Duration::from_millis(many(3_000, 500) as u64)
}

/// Starts of which the fastest counts.
const STARTS: usize = 3;
/// Connections at a time.
const TOGETHER: usize = 200;

fn make_bindings(broker: &Broker) {
    let (mut client, queues) = (Amqp::connect(broker.amqp), bindings() / 200);
    let declared: Vec<u8> =
        (0..queues).flat_map(|n| frames::declare(&format!("q{n}"), 2, &[])).collect();
    do_all(&mut client, &declared);
    let mut burst = Vec::new();
    for n in 0..bindings() {
        let source = if n % 2 == 0 { "amq.direct" } else { "amq.topic" };
        let key = format!("key.{}.{n}", n % 777);
        burst.extend(frames::bind(&format!("q{}", n % queues), source, &key, &[]));
        if n % 1_000 == 999 {
            do_all(&mut client, &std::mem::take(&mut burst));
        }
    }
}

/// Sessions that outlive their connections, with three subscriptions each.
fn make_sessions(broker: &Broker) {
    for first in (0..sessions()).step_by(TOGETHER) {
        let connected = (first..first + TOGETHER).map(|n| {
            let mut socket = Socket::connect(broker.mqtt);
            let mut burst = Connect::persistent(&format!("client-{n}")).packet();
            let mut body = vec![0, 1];
            for s in 0..3 {
                let filter = format!("plant/{n}/line/{s}");
                body.extend((filter.len() as u16).to_be_bytes());
                body.extend(filter.bytes());
                body.push(1);
            }
            burst.extend(packet(0x82, &body));
            burst.extend([0xE0, 0]);
            socket.send(&burst);
            socket
        });
        for mut socket in connected.collect::<Vec<Socket>>() {
            assert!(socket.is_closed_within(PATIENCE));
        }
    }
}

fn make_values(broker: &Broker) {
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v311("setter"));
    let none = Properties::default();
    let mut burst = Vec::new();
    for n in 0..values() {
        // Not in the order of their topics.
        let key = n.wrapping_mul(7_919) % values();
        let topic = format!("plant/{}/value/{key}", key % 1_000);
        let id = (n % 1_000 + 1) as u16;
        let mut set = publish(4, &topic, b"21.5", (1, id), &none);
        set[0] |= 1;
        burst.extend(set);
        if id == 1_000 {
            client.socket.send(&std::mem::take(&mut burst));
            while client.puback(Instant::now() + PATIENCE).expect("a PUBACK") != id {}
        }
    }
}

fn see_bindings(broker: &Broker) {
    let mut client = Amqp::connect(broker.amqp);
    client.confirm_select();
    let persistent = crate::wire::amqp::Properties::persistent();
    for (n, source) in [(bindings() - 2, "amq.direct"), (bindings() - 1, "amq.topic")] {
        let (key, queue) = (format!("key.{}.{n}", n % 777), format!("q{}", n % (bindings() / 200)));
        client.publish(source, &key, &persistent, b"x");
        client.wait_confirms();
        assert!(client.get(&queue).is_some(), "{key} leads to {queue}");
    }
}

fn see_sessions(broker: &Broker) {
    let n = sessions() - 1;
    let mut sender = Mqtt::connect(broker.mqtt, &Connect::v311("sender"));
    sender.publish(&format!("plant/{n}/line/2"), b"x", 1);
    let mut back = Mqtt::connect(broker.mqtt, &Connect::persistent(&format!("client-{n}")));
    assert!(back.session_present);
    assert_eq!(back.receive().body, b"x");
}

fn see_values(broker: &Broker) {
    let mut reader = Mqtt::connect(broker.mqtt, &Connect::v311("reader"));
    reader.subscribe("plant/7/value/+", 0);
    for _ in 0..values() / 1_000 {
        let value = reader.receive();
        assert!(value.retain && value.body == b"21.5", "{value:?}");
    }
}

type Part = (&'static str, fn(&Broker), fn(&Broker));
const BINDINGS: Part = ("bindings", make_bindings, see_bindings);
const SESSIONS: Part = ("sessions", make_sessions, see_sessions);
const VALUES: Part = ("values", make_values, see_values);

/// The time to the ready line, as that says.
fn time_to_ready(broker: &Broker) -> Duration {
    let text = broker.ready.rsplit_once(" in ").and_then(|(_, time)| time.strip_suffix(" ms"));
    Duration::from_millis(text.and_then(|ms| ms.parse().ok()).expect("milliseconds"))
}

fn started_with(parts: &[Part]) {
    let options = ["--set", "memory.high=16GiB", "--set", "objects.retained_bytes=4GiB"];
    let mut broker = Broker::with(&options);
    parts.iter().for_each(|(_, make, _)| make(&broker));
    let what = parts.iter().map(|(what, ..)| *what).collect::<Vec<_>>().join(", ");
    let before = broker.resident() >> 20;
    let mut fastest = Duration::MAX;
    for _ in 0..STARTS {
        broker.stop("TERM");
        broker.restart_with(&options);
        let took = time_to_ready(&broker);
        let (now, peak) = (broker.resident() >> 20, broker.peak_resident() >> 20);
        let cpu = broker.cpu_time();
        println!(
            "{what}: {took:?}, {cpu:?} of CPU; {now} MiB, {peak} MiB at most; {before} MiB before the stop"
        );
        fastest = fastest.min(took);
    }
    parts.iter().for_each(|(.., see)| see(&broker));
    assert!(fastest <= time_max(), "{what}: {fastest:?}");
}

#[test]
fn a_start_with_many_bindings() {
    started_with(&[BINDINGS]);
}

#[test]
fn a_start_with_many_sessions() {
    started_with(&[SESSIONS]);
}

#[test]
fn a_start_with_many_retained_values() {
    started_with(&[VALUES]);
}

#[test]
fn a_start_with_all_of_them() {
    started_with(&[BINDINGS, SESSIONS, VALUES]);
}
