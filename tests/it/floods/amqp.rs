//! Floods of AMQP clients.

use super::{beside_victims, do_all, many};
use crate::broker::Broker;
use crate::wire::amqp::{Amqp, Field, Properties, publish};
use crate::wire::eventually;
use crate::wire::frames::{self, Arguments};

fn number(name: &str, value: i64) -> (String, Field) {
    (name.to_owned(), Field::Number(value))
}

/// `count` queues bound to the exchange `all`.
fn fanout(client: &mut Amqp, count: usize, bits: u8, arguments: Arguments<'_>) {
    let mut burst = frames::exchange("all", "fanout");
    for n in 0..count {
        let queue = format!("f{n}");
        burst.extend(frames::declare(&queue, bits, arguments));
        burst.extend(frames::bind(&queue, "all", "", &[]));
    }
    do_all(client, &burst);
}

#[test]
fn few_bytes_for_many_queues() {
    let broker = Broker::start();
    let (mut client, queues) = (Amqp::connect(broker.amqp), many(4_000, 1_000));
    fanout(&mut client, queues, 0, &[number("x-max-length", 100)]);
    let burst = publish("all", "", &Properties::default(), b"").repeat(many(1_000, 250));
    beside_victims(&broker, "publishes to many queues", || do_all(&mut client, &burst));
}

/// The alarm holds the publisher back before its records take more than memory.high allows.
#[test]
fn records_of_few_bytes_are_counted() {
    let broker = Broker::with(&["--set", "memory.high=64MiB"]);
    let mut client = Amqp::connect(broker.amqp);
    let before = broker.resident();
    fanout(&mut client, 500, 0, &[]);
    let burst = publish("all", "", &Properties::default(), b"").repeat(1_000);
    for _ in 0..many(20, 6) {
        // The barrier waits for nothing that is held back.
        do_all(&mut client, &burst);
    }
    // The allocator gives back what is free a second later, while it works.
    eventually("as much memory as memory.high twice, and 64 MiB", || {
        do_all(&mut client, &[]);
        (broker.resident().saturating_sub(before) < 192 << 20).then_some(())
    });
}

#[test]
fn few_bytes_for_many_durable_queues() {
    let broker = Broker::start();
    let (mut client, queues) = (Amqp::connect(broker.amqp), many(2_000, 500));
    fanout(&mut client, queues, 2, &[number("x-max-length", 100)]);
    let burst = publish("all", "", &Properties::persistent(), b"").repeat(many(500, 100));
    beside_victims(&broker, "durable publishes to many queues", || do_all(&mut client, &burst));
}

#[test]
fn an_exchange_bound_to_many_exchanges() {
    let broker = Broker::start();
    let mut client = Amqp::connect(broker.amqp);
    let mut burst = frames::exchange("all", "fanout");
    for n in 0..many(20_000, 4_000) {
        burst.extend(frames::exchange(&format!("e{n}"), "fanout"));
        burst.extend(frames::bind_exchange(&format!("e{n}"), "all"));
    }
    do_all(&mut client, &burst);
    let burst = publish("all", "", &Properties::default(), b"x").repeat(10);
    beside_victims(&broker, "publishes through many exchanges", || do_all(&mut client, &burst));
    assert!(broker.log().contains("objects.exchanges_visited"), "{}", broker.log());
}

#[test]
fn many_bindings_with_many_headers() {
    let broker = Broker::start();
    let mut client = Amqp::connect(broker.amqp);
    let mut burst = frames::exchange("h", "headers");
    burst.extend(frames::declare("q", 0, &[number("x-max-length", 10)]));
    for n in 0..many(2_000, 1_000) {
        let wanted: Vec<_> = (0..20).map(|k| number(&format!("k{n}-{k}"), k)).collect();
        let any = (("x-match").to_owned(), Field::Text("any".into()));
        let arguments: Vec<_> = std::iter::once(any).chain(wanted).collect();
        burst.extend(frames::bind("q", "h", "", &arguments));
    }
    do_all(&mut client, &burst);
    let headers = (0..990).map(|n| number(&format!("{:090}", n), n)).collect();
    let properties = Properties { headers, ..Properties::default() };
    let burst = publish("h", "", &properties, b"x").repeat(10);
    beside_victims(&broker, "headers against bindings", || do_all(&mut client, &burst));
}

#[test]
fn many_topic_patterns_of_two_words() {
    let broker = Broker::start();
    let mut client = Amqp::connect(broker.amqp);
    let bits = many(16, 12);
    let mut burst = frames::declare("q", 0, &[number("x-max-length", 10)]);
    for n in 0..1usize << bits {
        let words = (0..bits).map(|bit| if n >> bit & 1 == 0 { "a" } else { "*" });
        let pattern = words.collect::<Vec<_>>().join(".");
        burst.extend(frames::bind("q", "amq.topic", &pattern, &[]));
    }
    do_all(&mut client, &burst);
    let key = vec!["a"; bits].join(".");
    // A binding that comes and goes makes each publish look its key up again.
    let mut round = frames::bind("q", "amq.topic", "#.z", &[]);
    round.extend(publish("amq.topic", &key, &Properties::default(), b"x"));
    beside_victims(&broker, "topic patterns", || do_all(&mut client, &round));
}

#[test]
fn many_queues_go_at_once() {
    let broker = Broker::start();
    let count = many(20_000, 4_000);
    let mut client = Amqp::connect(broker.amqp);
    client.socket.send(&frames::exchange("all", "fanout"));
    client.queue("barrier", false);
    beside_victims(&broker, "exclusive queues of a lost connection", || {
        let mut leaving = Amqp::connect(broker.amqp);
        fanout(&mut leaving, count, 4, &[]);
        drop(leaving);
        std::thread::sleep(std::time::Duration::from_millis(300));
    });
}

#[test]
fn declared_and_deleted_with_an_expiry() {
    let broker = Broker::start();
    let mut client = Amqp::connect(broker.amqp);
    let mut burst = Vec::new();
    for n in 0..1_000 {
        burst.extend(frames::declare(&format!("x{n}"), 0, &[number("x-expires", 3_600_000)]));
        burst.extend(frames::delete(&format!("x{n}")));
    }
    do_all(&mut client, &burst);
    let before = broker.resident();
    beside_victims(&broker, "declares and deletes", || do_all(&mut client, &burst));
    let grown = broker.resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
}

#[test]
fn consumed_and_cancelled() {
    let broker = Broker::start();
    let mut client = Amqp::connect(broker.amqp);
    client.socket.send(&frames::declare("idle", 0, &[number("x-expires", 60_000)]));
    let mut burst = Vec::new();
    for n in 0..many(10_000, 1_000) {
        burst.extend(frames::consume("idle", &format!("c{n}")));
        burst.extend(frames::cancel(&format!("c{n}")));
    }
    beside_victims(&broker, "consumers that come and go", || do_all(&mut client, &burst));
    let before = broker.cpu_time();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let rested = broker.cpu_time() - before;
    assert!(rested < std::time::Duration::from_millis(60), "{rested:?} of 2 s at rest");
}

#[test]
fn single_gets() {
    let broker = Broker::start();
    let mut client = Amqp::connect(broker.amqp);
    let mut burst = Vec::new();
    for n in 0..many(5_000, 1_000) {
        burst.extend(frames::declare(&format!("g{n}"), 0, &[]));
        burst.extend(publish("", &format!("g{n}"), &Properties::default(), b"x"));
    }
    do_all(&mut client, &burst);
    let mut at = 0;
    beside_victims(&broker, "single gets", || {
        for _ in 0..100 {
            client.get(&format!("g{}", at % 1_000));
            at += 1;
        }
    });
}

#[test]
fn a_transaction_of_empty_messages() {
    let broker = Broker::with(&["--set", "memory.high=64MiB"]);
    let before = broker.resident();
    let mut client = Amqp::connect(broker.amqp);
    client.queue("q", false);
    client.select_transactions();
    let burst = publish("", "q", &Properties::default(), b"").repeat(10_000);
    beside_victims(&broker, "an open transaction", || do_all(&mut client, &burst));
    let grown = broker.resident().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes more");
}

/// Publishes of 300 headers, and an exchange that reads them.
fn many_headers(client: &mut Amqp, arguments: Arguments<'_>) -> Vec<u8> {
    let mut setup = frames::exchange("h", "headers");
    setup.extend(frames::declare("q", 0, arguments));
    setup.extend(frames::bind("q", "h", "", &[]));
    do_all(client, &setup);
    let headers = (0..300).map(|n| number(&n.to_string(), n)).collect();
    let properties = Properties { headers, ..Properties::default() };
    publish("h", "", &properties, b"").repeat(100)
}

#[test]
fn headers_that_somebody_reads() {
    let broker = Broker::start();
    let mut client = Amqp::connect(broker.amqp);
    let burst = many_headers(&mut client, &[number("x-max-length", 100)]);
    beside_victims(&broker, "decoded headers", || do_all(&mut client, &burst));
}

#[test]
fn decoded_headers_are_counted() {
    let broker = Broker::with(&["--set", "memory.high=64MiB"]);
    let mut client = Amqp::connect(broker.amqp);
    let before = broker.resident();
    let burst = many_headers(&mut client, &[]);
    for _ in 0..many(100, 30) {
        do_all(&mut client, &burst);
    }
    let grown = broker.resident().saturating_sub(before);
    assert!(grown < 192 << 20, "{grown} bytes more");
}
