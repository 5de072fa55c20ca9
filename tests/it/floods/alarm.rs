//! The memory alarm ends by itself when its cause has ended, and what takes something away is never held by it.

use super::many;
use crate::broker::Broker;
use crate::wire::amqp::Out;
use crate::wire::amqp::{self, Amqp};
use crate::wire::mqtt::{Connect, Mqtt, Properties, packet, publish};
use crate::wire::{Socket, eventually, frames};
use std::time::{Duration, Instant};

fn retained(topic: &str, body: &[u8], id: u16) -> Vec<u8> {
    let mut set = publish(5, topic, body, (1, id), &Properties::default());
    set[0] |= 1;
    set
}

/// A publisher gets its confirm within five seconds.
fn publishes(broker: &Broker) {
    let started = Instant::now();
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("checks"));
    client.publish("check", b"x", 1);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn retained_values_beyond_the_mark() {
    let mut broker = Broker::with(&["--set", "memory.high=64MiB"]);
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("setter"));
    let (body, mut refused) = (vec![b'r'; 1 << 20], 0);
    for n in 1..=71 {
        client.socket.send(&retained(&format!("big/{n}"), &body, n));
        let reply = client.any(0x40, n);
        refused += usize::from(reply.get(2) == Some(&0x97));
    }
    assert!(refused > 50 && refused < 60, "{refused} of 71 values of 1 MiB were refused");
    publishes(&broker);
    // A value that is there can be cleared, and then there is room.
    client.socket.send(&retained("big/1", b"", 100));
    assert_ne!(client.any(0x40, 100).get(2), Some(&0x97));
    client.socket.send(&retained("big/71", &body, 101));
    assert_ne!(client.any(0x40, 101).get(2), Some(&0x97));
    broker.crash();
    publishes(&broker);
    let mut reader = Mqtt::connect(broker.mqtt, &Connect::v5("reader"));
    reader.subscribe("big/#", 1);
    let mut count = 0;
    while reader.receive_within(Duration::from_secs(2)).is_some() {
        count += 1;
    }
    assert_eq!(count, 71 - refused, "no value that was acknowledged is lost");
}

#[test]
fn clearing_is_not_held_by_an_alarm() {
    let broker =
        Broker::with(&["--set", "memory.high=64MiB", "--set", "store.disk_free_alarm=100TiB"]);
    eventually("the disk alarm", || broker.log().contains("nearly full").then_some(()));
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("clears"));
    client.subscribe("a", 0);
    // The disk alarm is on: an ordinary publish waits, one that clears goes on at once.
    client.socket.send(&publish(5, "a", b"held", (1, 1), &Properties::default()));
    client.socket.send(&retained("a", b"", 2));
    assert!(client.receive_within(Duration::from_secs(1)).is_none(), "the topic's order is kept");
    client.socket.send(&retained("a/b", b"", 3));
    client.subscribe("b", 0);
    client.socket.send(&retained("b", b"", 4));
    let cleared = client.receive_within(Duration::from_secs(5)).expect("it is not held");
    assert_eq!((cleared.topic.as_str(), cleared.body.len()), ("b", 0));
    // Nothing of this one is held: it is answered at once.
    let mut other = Mqtt::connect(broker.mqtt, &Connect::v311("other"));
    other.socket.send(&{
        let mut clear = publish(4, "c", b"", (1, 9), &Properties::default());
        clear[0] |= 1;
        clear
    });
    assert!(other.puback(Instant::now() + Duration::from_secs(5)).is_some());
}

#[test]
fn empty_publishes_under_an_alarm() {
    let broker =
        Broker::with(&["--set", "memory.high=64MiB", "--set", "store.disk_free_alarm=100TiB"]);
    eventually("the disk alarm", || broker.log().contains("nearly full").then_some(()));
    let before = broker.resident();
    let burst = amqp::publish("", "q", &amqp::Properties::default(), b"").repeat(20_000);
    let clients: Vec<Amqp> = (0..many(20, 8))
        .map(|_| {
            let client = Amqp::connect(broker.amqp);
            let mut writer = client.socket.writer();
            writer.set_write_timeout(Some(Duration::from_millis(200))).expect("a socket option");
            while std::io::Write::write_all(&mut writer, &burst).is_ok() {}
            client
        })
        .collect();
    let each = broker.resident().saturating_sub(before) / clients.len();
    assert!(each < 3 << 20, "each held connection takes {each} bytes");
}

#[test]
fn expired_retained_values_give_their_memory_back() {
    let broker = Broker::with(&["--set", "memory.high=64MiB"]);
    let mut socket = Socket::connect(broker.mqtt);
    socket.send(&Connect::v5("setter").packet());
    assert!(socket.fill(5, Instant::now() + crate::wire::PATIENCE));
    let body = vec![b'r'; 1 << 20];
    for n in 0..10 {
        // Expiry of one second.
        let mut rest = Vec::new();
        let topic = format!("soon/{n}");
        rest.extend((topic.len() as u16).to_be_bytes());
        rest.extend(topic.bytes());
        rest.extend([5, 0x02, 0, 0, 0, 1]);
        rest.extend(&body);
        socket.send(&packet(0x31, &rest));
    }
    std::thread::sleep(Duration::from_millis(1_500));
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("next"));
    // Their room is free for others.
    eventually("all fit", || {
        let mut refused = 0;
        for n in 1..=10 {
            client.socket.send(&retained(&format!("late/{n}"), &body, n));
            refused += usize::from(client.any(0x40, n).get(2) == Some(&0x97));
        }
        (refused == 0).then_some(())
    });
    publishes(&broker);
}

#[test]
fn who_fills_what_is_kept_locks_nobody_out() {
    let broker = Broker::with(&["--set", "memory.high=64MiB"]);
    let persistent = Connect::persistent("before");
    let mut before = Mqtt::connect(broker.mqtt, &persistent);
    before.subscribe("news", 1);
    drop(before);
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("fills"));
    for size in [1 << 20, 20_000, 500, 1] {
        for n in 0..u16::MAX {
            let id = client.id();
            client.socket.send(&retained(&format!("fill/{size}/{n}"), &vec![b'f'; size], id));
            if client.any(0x40, id).get(2) == Some(&0x97) {
                break;
            }
        }
    }
    drop(client);
    // Others log in, declare, subscribe and publish; a session that was there comes back.
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.queue("replies", false);
    let mut again = Mqtt::connect(broker.mqtt, &persistent);
    publishes(&broker);
    let mut other = Mqtt::connect(broker.mqtt, &Connect::v5("other"));
    other.subscribe("news", 1);
    other.publish("news", b"n", 1);
    assert_eq!((other.receive().body, again.receive().body), (b"n".to_vec(), b"n".to_vec()));
    // And the one that did it can take it back.
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("fills"));
    client.socket.send(&retained("fill/1048576/0", b"", 1));
    assert_ne!(client.any(0x40, 1).get(2), Some(&0x97));
    client.socket.send(&retained("fill/1048576/0", b"small", 2));
    assert_ne!(client.any(0x40, 2).get(2), Some(&0x97));
}

/// Sends what `frame` makes until the channel is closed because too much is kept.
fn until_refused(client: &mut Amqp, frame: impl Fn(u32) -> Vec<u8>) {
    for first in (0..100_000).step_by(500) {
        let mut burst: Vec<u8> = (first..first + 500).flat_map(&frame).collect();
        // confirm.select is answered when all before it is done.
        burst.extend(Out::method(85, 10).u8(0).frame(1));
        client.socket.send(&burst);
        let mut reply = client.any_method();
        while reply == (20, 11) {
            reply = client.any_method();
        }
        match reply {
            (85, 11) => {}
            (20, 40) => return,
            other => panic!("{other:?}"),
        }
    }
    panic!("it was never refused");
}

/// Whoever comes to take something away gets in.
fn lets_in(broker: &Broker, cleared: &str) {
    let mut mqtt = Mqtt::connect(broker.mqtt, &Connect::v5("clears"));
    mqtt.socket.send(&retained(cleared, b"", 1));
    assert_ne!(mqtt.any(0x40, 1).get(2), Some(&0x97));
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.socket.send(&frames::delete("fills-0"));
    assert!(amqp.get("waits").is_some(), "basic.get is served");
    amqp.socket.send(&frames::delete("fills-1"));
    amqp.consume("waits", false);
    assert!(amqp.receive_within(Duration::from_secs(5)).is_some(), "and so is a consumer");
}

#[test]
fn who_fills_with_objects_locks_nobody_out() {
    let mut broker = Broker::with(&["--set", "memory.high=64MiB"]);
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("sets"));
    for n in 0..2 {
        client.socket.send(&retained(&format!("set/{n}"), &vec![b'v'; 1 << 20], n + 1));
        assert_ne!(client.any(0x40, n + 1).get(2), Some(&0x97));
    }
    let mut owner = Amqp::connect(broker.amqp);
    owner.queue("waits", true);
    for _ in 0..10 {
        owner.publish("", "waits", &amqp::Properties::persistent(), b"w");
    }
    let mut fills = Amqp::connect(broker.amqp);
    let padding = "n".repeat(200);
    until_refused(&mut fills, |n| {
        let name = if n < 2 { format!("fills-{n}") } else { format!("{padding}-{n}") };
        frames::declare(&name, 2, &[])
    });
    // What is left for connections is taken by channels.
    let mut many = Vec::new();
    let is_full = |client: &mut Amqp| {
        let channels = (2..2_000).flat_map(|n| Out::method(20, 10).short("").frame(n));
        client.socket.send(&channels.collect::<Vec<u8>>());
        (2..2_000).any(|_| client.any_method() == (20, 40))
    };
    loop {
        let mut client = Amqp::connect(broker.amqp);
        let full = is_full(&mut client);
        many.push(client);
        if full {
            break;
        }
        assert!(many.len() < 100, "channels are never refused");
    }
    lets_in(&broker, "set/0");
    // With less memory than it was filled with, all is there, and somebody can take it away.
    drop((client, owner, fills, many));
    broker.restart_with(&["--set", "memory.high=8MiB"]);
    assert!(broker.log().contains("what is kept takes more memory than"), "{}", broker.log());
    lets_in(&broker, "set/1");
}
