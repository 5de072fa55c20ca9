//! What goes beyond a limit is refused in the protocol's own word, with the limit's name and value; what was there
//! before goes on as if nothing had been asked for.

use crate::broker::Broker;
use crate::wire::amqp::{self, Amqp, Out};
use crate::wire::mqtt::{self, Connect, Mqtt, packet};
use crate::wire::stomp::{self, Frame, Stomp};
use crate::wire::{PATIENCE, Socket, frames};
use std::time::Instant;

/// More than any limit of these tests.
const MANY: usize = 40;

/// A broker with one limit.
fn limited(limit: &str, max: usize) -> Broker {
    Broker::with(&["--set", &format!("objects.{limit}={max}")])
}

/// The refusal's text names the limit and its value.
#[track_caller]
fn names(text: &str, limit: &str, max: usize) {
    let key = format!("objects.{limit}");
    assert!(text.contains(&key) && text.contains(&max.to_string()), "{text:?}");
}

/// Sends more and more of what `frame` makes, until the channel is closed for it: 406, the limit's name and value.
#[track_caller]
fn refused_in_the_end(
    client: &mut Amqp,
    (limit, max): (&str, usize),
    frame: impl Fn(usize) -> Vec<u8>,
) {
    let burst: Vec<u8> = (0..MANY).flat_map(frame).collect();
    client.socket.send(&burst);
    let (code, text) = client.refused();
    assert_eq!(code, 406, "{text}");
    names(&text, limit, max);
}

/// A message goes through a queue that was there before.
fn still_works(client: &mut Amqp, queue: &str) {
    client.publish("", queue, &amqp::Properties::default(), b"still");
    assert_eq!(client.get(queue).expect("a message").body, b"still");
}

#[test]
fn amqp_queues() {
    let broker = limited("queues", 3);
    let mut client = Amqp::connect(broker.amqp);
    client.queue("mine", true);
    refused_in_the_end(&mut client, ("queues", 3), |n| frames::declare(&format!("q{n}"), 0, &[]));
    // Those that are there can be declared again, and one that goes makes room.
    client.queue("q1", false);
    still_works(&mut client, "mine");
    client.socket.send(&frames::delete("q1"));
    client.queue("another", false);
    assert!(broker.log().contains("a limit was reached"), "{}", broker.log());
}

#[test]
fn a_session_has_its_queue_however_many_there_are() {
    let broker = limited("queues", 2);
    let mut client = Amqp::connect(broker.amqp);
    client.queue("mine", true);
    client.queue("other", true);
    let mut reader = Mqtt::connect(broker.mqtt, &Connect::persistent("reader"));
    reader.subscribe("news", 1);
    reader.publish("news", b"n", 1);
    assert_eq!(reader.receive().body, b"n");
}

#[test]
fn amqp_exchanges_and_bindings() {
    let broker = limited("exchanges", 12);
    let mut client = Amqp::connect(broker.amqp);
    client.queue("mine", false);
    refused_in_the_end(&mut client, ("exchanges", 12), |n| {
        frames::exchange(&format!("e{n}"), "fanout")
    });
    client.bind("mine", "e0", "");
    client.publish("e0", "", &amqp::Properties::default(), b"bound");
    assert_eq!(client.get("mine").expect("a message").body, b"bound");
    drop(broker);

    let broker = limited("bindings", 5);
    let mut client = Amqp::connect(broker.amqp);
    client.queue("mine", false);
    client.bind("mine", "amq.direct", "k");
    refused_in_the_end(&mut client, ("bindings", 5), |n| {
        frames::bind("mine", "amq.topic", &format!("k{n}"), &[])
    });
    client.publish("amq.direct", "k", &amqp::Properties::default(), b"bound");
    assert_eq!(client.get("mine").expect("a message").body, b"bound");
    refused_in_the_end(&mut client, ("bindings", 5), |_| {
        frames::bind_exchange("amq.fanout", "amq.headers")
    });
    still_works(&mut client, "mine");
}

#[test]
fn amqp_consumers() {
    let broker = limited("consumers", 4);
    let mut client = Amqp::connect(broker.amqp);
    client.queue("mine", false);
    client.publish("", "mine", &amqp::Properties::default(), b"one");
    refused_in_the_end(&mut client, ("consumers", 4), |n| {
        frames::consume("mine", &format!("c{n}"))
    });
    // The consumers went with the channel.
    client.consume("mine", true);
    client.publish("", "mine", &amqp::Properties::default(), b"two");
    while client.receive().body != b"two" {}
}

#[test]
fn amqp_transactions() {
    let broker = limited("transaction_items", 3);
    let mut client = Amqp::connect(broker.amqp);
    client.queue("mine", false);
    client.select_transactions();
    for _ in 0..3 {
        client.publish("", "mine", &amqp::Properties::default(), b"fits");
    }
    client.commit();
    client.expect(90, 21);
    for _ in 0..4 {
        client.publish("", "mine", &amqp::Properties::default(), b"too many");
    }
    client.commit();
    let (code, text) = client.refused();
    assert_eq!(code, 406, "{text}");
    names(&text, "transaction_items", 3);
    assert_eq!(client.ready("mine"), 3, "nothing of the second transaction");
    // Acknowledgements count, too. What was to be acknowledged is still there.
    for _ in 0..2 {
        client.publish("", "mine", &amqp::Properties::default(), b"fits");
    }
    client.select_transactions();
    client.consume("mine", false);
    let mut last = client.receive();
    for _ in 1..5 {
        last = client.receive();
    }
    client.socket.send(&Out::method(60, 80).u64(last.tag).u8(1).frame(1));
    client.commit();
    let (code, text) = client.refused();
    assert_eq!(code, 406, "{text}");
    names(&text, "transaction_items", 3);
    assert_eq!(client.ready("mine"), 5);
}

#[test]
fn amqp_publishes() {
    let broker =
        Broker::with(&["--set", "objects.exchanges_visited=3", "--set", "objects.header_fields=2"]);
    let mut client = Amqp::connect(broker.amqp);
    client.queue("mine", false);
    let mut burst: Vec<u8> =
        (0..5).flat_map(|n| frames::exchange(&format!("e{n}"), "fanout")).collect();
    (1..5).for_each(|n| {
        burst.extend(frames::bind_exchange(&format!("e{n}"), &format!("e{}", n - 1)));
    });
    client.socket.send(&burst);
    client.bind("mine", "e4", "");
    client.confirm_select();
    client.publish("e0", "", &amqp::Properties::default(), b"too far");
    // basic.nack has no text: the log has the limit's name.
    client.expect(60, 120);
    assert!(broker.log().contains("objects.exchanges_visited"), "{}", broker.log());
    assert_eq!(client.ready("mine"), 0);
    let headers = |count: usize| amqp::Properties {
        headers: (0..count).map(|n| (n.to_string(), amqp::Field::Number(1))).collect(),
        ..amqp::Properties::default()
    };
    client.publish("", "mine", &headers(2), b"fits");
    client.publish("", "mine", &headers(3), b"does not");
    let (code, text) = client.refused();
    assert_eq!(code, 406, "{text}");
    names(&text, "header_fields", 2);
    assert_eq!(client.get("mine").expect("what was before").body, b"fits");
}

#[test]
fn amqp_contents_that_never_end() {
    let broker = Broker::with(&["--set", "memory.high=32MiB", "--set", "memory.resident=16MiB"]);
    let mut client = Amqp::connect(broker.amqp);
    client.queue("mine", false);
    // 2 MiB of a body of 16 MiB on each of many channels; 16 MiB may be kept.
    let mut socket = client.socket.writer();
    let part = vec![0; 131_000];
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        for channel in 2..60u16 {
            let mut burst = Out::method(20, 10).short("").frame(channel);
            let publish = Out::method(60, 40).u16(0).short("").short("mine").u8(0);
            burst.extend(publish.frame(channel));
            let mut header = [60u16, 0].map(u16::to_be_bytes).concat();
            header.extend((16u64 << 20).to_be_bytes());
            header.extend([0, 0]);
            burst.extend(amqp::frame(2, channel, &header));
            (0..16).for_each(|_| burst.extend(amqp::frame(3, channel, &part)));
            if socket.write_all(&burst).is_err() {
                return;
            }
        }
    });
    let mut victim = Amqp::connect(broker.amqp);
    writer.join().expect("no panic");
    still_works(&mut victim, "mine");
    let resident = broker.resident();
    assert!(resident < 160 << 20, "{resident}");
    assert!(broker.log().contains("memory.high"), "{}", broker.log());
}

/// CONNECT with a session that stays, and a will if `will`; the CONNACK.
fn connack(broker: &Broker, client: &str, level: u8, will: bool) -> Vec<u8> {
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u16).to_be_bytes());
        out.extend(text.bytes());
    };
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.extend([level, if will { 4 } else { 0 }, 0, 0]);
    if level == 5 {
        // An expiry of one hour.
        body.extend([5, 0x11, 0, 0, 0x0E, 0x10]);
    }
    text(&mut body, client);
    if will {
        if level == 5 {
            body.push(0);
        }
        text(&mut body, "gone");
        text(&mut body, "x");
    }
    let mut socket = Socket::connect(broker.mqtt);
    socket.send(&packet(0x10, &body));
    assert!(socket.fill(2, Instant::now() + PATIENCE));
    let length = 2 + usize::from(socket.buffered()[1]);
    assert!(length < 130 && socket.fill(length, Instant::now() + PATIENCE));
    let answer = socket.take(length);
    // It stays connected until the test ends.
    std::mem::forget(socket);
    answer
}

#[test]
fn mqtt_sessions_and_wills() {
    let broker = limited("sessions", 2);
    let mut first = Mqtt::connect(broker.mqtt, &Connect::persistent("first"));
    first.subscribe("t", 1);
    assert_eq!(connack(&broker, "second", 5, false)[3], 0);
    let refused = connack(&broker, "third", 5, false);
    assert_eq!(refused[3], 0x97, "{refused:?}");
    names(&String::from_utf8_lossy(&refused), "sessions", 2);
    assert_eq!(connack(&broker, "third", 4, false), [0x20, 2, 0, 3]);
    first.publish("t", b"still", 1);
    assert_eq!(first.receive().body, b"still");
    drop(broker);

    let broker = limited("parked", 1);
    assert_eq!(connack(&broker, "first", 5, true)[3], 0);
    let refused = connack(&broker, "second", 5, true);
    assert_eq!(refused[3], 0x97, "{refused:?}");
    names(&String::from_utf8_lossy(&refused), "parked", 1);
    assert_eq!(connack(&broker, "second", 5, false)[3], 0, "without a will it may come");
}

#[test]
fn mqtt_subscribes() {
    let broker = limited("bindings", 4);
    for level in [5, 4] {
        let name = format!("client{level}");
        let mut client = Mqtt::connect(broker.mqtt, &Connect { level, ..Connect::v5(&name) });
        client.subscribe(&format!("own/{level}"), 1);
        let mut answers = (0..MANY).map(|n| client.try_subscribe(&format!("f/{n}"), 1));
        let refused = answers.find(|answer| answer.last() != Some(&1));
        let refused = refused.expect("not all of them");
        match level {
            5 => {
                assert_eq!(refused.last(), Some(&0x97), "{refused:?}");
                names(&String::from_utf8_lossy(&refused), "bindings", 4);
            }
            _ => assert_eq!(refused, [0x80]),
        }
        client.publish(&format!("own/{level}"), b"still", 1);
        assert_eq!(client.receive().body, b"still");
        // One that is there may change.
        client.subscribe(&format!("own/{level}"), 0);
        client.disconnect();
    }
    drop(broker);

    // The queue of a group is a queue; the session has one, too.
    let broker = limited("queues", 2);
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("groups"));
    client.subscribe("own", 1);
    let mut answers = (0..MANY).map(|n| client.try_subscribe(&format!("$share/g{n}/f"), 1));
    let refused = answers.find(|answer| answer.last() != Some(&1)).expect("not all");
    assert_eq!(refused.last(), Some(&0x97), "{refused:?}");
    names(&String::from_utf8_lossy(&refused), "queues", 2);
    client.publish("own", b"still", 1);
    assert_eq!(client.receive().body, b"still");
}

#[test]
fn mqtt_packets_with_too_many_filters() {
    let broker = Broker::start();
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("filters"));
    client.subscribe("t", 0);
    let mut body = vec![0, 9, 0];
    (0..2_000_000).for_each(|_| body.extend([0, 1, b't', 0]));
    let before = broker.resident();
    let _ = client.socket.try_send(&packet(0x82, &body));
    assert!(client.socket.fill(3, Instant::now() + PATIENCE));
    assert_eq!(client.socket.take(3)[0] & 0xF0, 0xE0, "DISCONNECT");
    let grown = broker.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown}");
}

fn retained(level: u8, topic: &str, body: &[u8], (qos, id): (u8, u16)) -> Vec<u8> {
    let mut set = mqtt::publish(level, topic, body, (qos, id), &mqtt::Properties::default());
    set[0] |= 1;
    set
}

#[test]
fn mqtt_retained_values() {
    let broker = limited("retained_values", 2);
    let mut reader = Mqtt::connect(broker.mqtt, &Connect::v5("reader"));
    reader.subscribe("v/#", 1);
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("new"));
    let mut refused = None;
    for n in 0..4 {
        let id = client.id();
        client.socket.send(&retained(5, &format!("v/{n}"), b"x", (1, id)));
        let answer = client.any(0x40, id);
        if answer.get(2).is_some_and(|reason| *reason >= 0x80) {
            refused = Some((n, answer));
            break;
        }
        assert_eq!(reader.receive().topic, format!("v/{n}"));
    }
    let (fitted, answer) = refused.expect("a refusal");
    assert_eq!(answer[2], 0x97, "{answer:?}");
    names(&String::from_utf8_lossy(&answer), "retained_values", 2);
    // Nobody can be told: it is delivered, and not retained.
    client.socket.send(&retained(5, "v/untold", b"x", (0, 0)));
    assert_eq!(reader.receive().topic, "v/untold");
    let mut old = Mqtt::connect(broker.mqtt, &Connect::v311("old"));
    let id = old.id();
    old.socket.send(&retained(4, "v/old", b"x", (1, id)));
    // 3.1.1 has no word for no, and a PUBACK would be a lie.
    assert!(old.socket.is_closed_within(PATIENCE));
    // One that is there may change.
    let id = client.id();
    client.socket.send(&retained(5, "v/0", b"y", (1, id)));
    assert!(matches!(client.any(0x40, id).get(2), None | Some(0 | 0x10)));
    assert_eq!(reader.receive().body, b"y");
    let mut later = Mqtt::connect(broker.mqtt, &Connect::v5("later"));
    later.subscribe("v/#", 1);
    let mut found: Vec<String> = (0..fitted).map(|_| later.receive().topic).collect();
    found.sort();
    assert_eq!(found, (0..fitted).map(|n| format!("v/{n}")).collect::<Vec<_>>());
    assert!(later.receive_within(crate::wire::QUIET).is_none());
}

/// Sends frames until ERROR comes. The limit's word, name and value.
#[track_caller]
fn stomp_refused(client: &mut Stomp, (limit, max): (&str, usize), frames: Vec<Vec<u8>>) {
    let _ = client.socket.try_send(&frames.concat());
    let error: Frame = loop {
        let frame = client.frame(Instant::now() + PATIENCE).expect("an ERROR");
        if frame.command == "ERROR" {
            break frame;
        }
    };
    assert_eq!(error.header("crossdock-code"), Some("resource_limit_exceeded"), "{error:?}");
    names(&String::from_utf8_lossy(&error.body), limit, max);
}

#[test]
fn stomp_queues_and_subscriptions() {
    let broker = limited("queues", 3);
    Stomp::connect(broker.stomp).send("/queue/mine", &[], b"before");
    let send = |n: usize| stomp::frame("SEND", &[("destination", &*format!("/queue/q{n}"))], b"x");
    let mut client = Stomp::connect(broker.stomp);
    stomp_refused(&mut client, ("queues", 3), (0..MANY).map(send).collect());
    let subscribe = |n: usize| {
        let destination = format!("/topic/t{n}");
        let id = n.to_string();
        stomp::frame("SUBSCRIBE", &[("id", &*id), ("destination", &*destination)], b"")
    };
    let mut client = Stomp::connect(broker.stomp);
    stomp_refused(&mut client, ("queues", 3), (0..MANY).map(subscribe).collect());
    let mut reader = Stomp::connect(broker.stomp);
    reader.subscribe("0", "/queue/mine", "auto", &[]);
    assert_eq!(reader.receive().body, b"before");
}

#[test]
fn stomp_transactions() {
    let broker = limited("transaction_items", 3);
    let mut client = Stomp::connect(broker.stomp);
    client.send("/queue/mine", &[], b"before");
    let begin = stomp::frame("BEGIN", &[("transaction", "t")], b"");
    let send = stomp::frame("SEND", &[("destination", "/queue/mine"), ("transaction", "t")], b"x");
    let frames = [vec![begin], vec![send; MANY]].concat();
    stomp_refused(&mut client, ("transaction_items", 3), frames);
    let mut reader = Stomp::connect(broker.stomp);
    reader.subscribe("0", "/queue/mine", "auto", &[]);
    assert_eq!(reader.receive().body, b"before");
    assert!(reader.receive_within(crate::wire::QUIET).is_none());
}

#[test]
fn stomp_delays_and_retained_values() {
    let broker = limited("parked", 2);
    let mut client = Stomp::connect(broker.stomp);
    let headers = [("destination", "/queue/later"), ("AMQ_SCHEDULED_DELAY", "600000")];
    let delayed = stomp::frame("SEND", &headers, b"x");
    stomp_refused(&mut client, ("parked", 2), vec![delayed; MANY]);
    drop(broker);

    // All of a transaction, or nothing.
    let broker = limited("parked", 2);
    let mut client = Stomp::connect(broker.stomp);
    let of_one = [("transaction", "t"), ("receipt", "r")];
    let begin = stomp::frame("BEGIN", &of_one[..1], b"");
    let at_once = [("destination", "/queue/later"), ("transaction", "t")];
    let at_once = stomp::frame("SEND", &at_once, b"x");
    let delayed = stomp::frame("SEND", &[&headers[..], &of_one[..1]].concat(), b"x");
    let commit = stomp::frame("COMMIT", &of_one, b"");
    let frames = vec![begin, at_once, delayed.clone(), delayed.clone(), delayed, commit];
    stomp_refused(&mut client, ("parked", 2), frames);
    let mut reader = Stomp::connect(broker.stomp);
    reader.subscribe("0", "/queue/later", "auto", &[]);
    assert!(reader.receive_within(crate::wire::QUIET).is_none());
    drop(broker);

    let broker = limited("retained_values", 2);
    let mut client = Stomp::connect(broker.stomp);
    let set = |n: usize| {
        let (destination, receipt) = (format!("/topic/v.{n}"), n.to_string());
        let headers = [("destination", &*destination), ("retain", "true"), ("receipt", &*receipt)];
        stomp::frame("SEND", &headers, b"x")
    };
    stomp_refused(&mut client, ("retained_values", 2), (0..MANY).map(set).collect());
}
