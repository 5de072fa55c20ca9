//! CPU time for one message, with one queue or topic and with many. A hundred messages are published at a time, so with
//! a hundred queues or more each gets one of them; what that costs is seen at a hundred, and what many cost beyond it
//! is the growth.

use super::{do_all, is_full, many};
use crate::broker::Broker;
use crate::wire::amqp::{Amqp, Field, Properties, publish};
use crate::wire::mqtt::{self, Connect, Mqtt, packet};
use crate::wire::{PATIENCE, frames};
use std::io::Read;
use std::time::Instant;

/// Messages at a time.
const BATCH: usize = 100;
/// CPU time for one message with the most, at most so many times that with [`BATCH`] of them.
const GROWTH_MAX: f64 = 1.5;

/// Subscriptions of one client.
const EACH: usize = 5_000;

/// Reads and forgets what a connection is sent.
fn swallow(mut stream: std::net::TcpStream) {
    std::thread::spawn(move || {
        let mut chunk = vec![0; 1 << 20];
        stream.set_read_timeout(None).expect("a socket option");
        while matches!(stream.read(&mut chunk), Ok(1..)) {}
    });
}

/// Nanoseconds of CPU for one message, `count` queues with a consumer each.
fn queues(count: usize) -> f64 {
    let broker = Broker::start();
    let mut consumer = Amqp::connect(broker.amqp);
    let limit = [("x-max-length".to_owned(), Field::Number(1_000))];
    let mut burst = Vec::new();
    for n in 0..count {
        burst.extend(frames::declare(&format!("grows-{n}"), 0, &limit));
        burst.extend(frames::consume(&format!("grows-{n}"), &format!("c{n}")));
    }
    do_all(&mut consumer, &burst);
    swallow(consumer.socket.writer());
    let mut client = Amqp::connect(broker.amqp);
    client.confirm_select();
    let frames: Vec<Vec<u8>> = (0..count)
        .map(|n| publish("", &format!("grows-{n}"), &Properties::default(), b"sixteen bytes..."))
        .collect();
    measure(&broker, |round| {
        let some = (0..BATCH).flat_map(|n| &frames[(round * BATCH + n) % count]);
        let some: Vec<u8> = some.copied().collect();
        client.socket.send(&some);
        client.count_published(BATCH as u64);
        client.wait_confirms();
    })
}

/// The same for `count` topics, each with a subscription.
fn topics(count: usize) -> f64 {
    let broker = Broker::start();
    for (number, all) in (0..count).collect::<Vec<_>>().chunks(EACH).enumerate() {
        let mut reader = Mqtt::connect(broker.mqtt, &Connect::v5(&format!("reader-{number}")));
        for some in all.chunks(50) {
            let mut body = vec![0, 9, 0];
            for n in some {
                let filter = format!("plant/{n}/temperature");
                body.extend((filter.len() as u16).to_be_bytes());
                body.extend(filter.bytes());
                body.push(0);
            }
            reader.socket.send(&packet(0x82, &body));
            assert!(reader.socket.fill(5 + some.len(), Instant::now() + PATIENCE));
            let answer = reader.socket.buffered().len();
            reader.socket.take(answer);
        }
        swallow(reader.socket.writer());
    }
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("writer"));
    let packets: Vec<Vec<u8>> = (0..count)
        .map(|n| {
            let topic = format!("plant/{n}/temperature");
            mqtt::publish(5, &topic, b"sixteen bytes...", (0, 0), &mqtt::Properties::default())
        })
        .collect();
    measure(&broker, |round| {
        let some = (0..BATCH).flat_map(|n| &packets[(round * BATCH + n) % count]);
        let some: Vec<u8> = some.copied().collect();
        client.socket.send(&some);
        client.publish("barrier", b"", 1);
    })
}

fn measure(broker: &Broker, mut round: impl FnMut(usize)) -> f64 {
    let rounds = many(3_000, 600);
    (0..rounds / 3).for_each(&mut round);
    let before = broker.cpu_time();
    (0..rounds).for_each(&mut round);
    let took = broker.cpu_time() - before;
    took.as_nanos() as f64 / (rounds * BATCH) as f64
}

fn grows(what: &str, counts: &[usize], cost: fn(usize) -> f64) {
    let mut worst = f64::MAX;
    for _ in 0..2 {
        let costs: Vec<f64> = counts.iter().map(|count| cost(*count)).collect();
        println!("{what}: {counts:?}: {costs:.0?} ns of CPU for one message");
        let (least, most) = (costs[1], costs[costs.len() - 1]);
        worst = worst.min(most / least);
        if worst <= GROWTH_MAX {
            return;
        }
    }
    panic!("{what}: a message takes {worst:.2} times as long");
}

#[test]
fn a_message_costs_the_same_among_many_queues() {
    let counts: &[usize] = if is_full() { &[1, 100, 1_000, 10_000] } else { &[1, 100, 1_000] };
    grows("queues", counts, queues);
}

#[test]
fn a_message_costs_the_same_among_many_subscriptions() {
    let counts: &[usize] = if is_full() { &[1, 100, 10_000, 100_000] } else { &[1, 100, 2_000] };
    grows("subscriptions", counts, topics);
}
