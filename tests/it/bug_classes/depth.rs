//! Depth and patterns: no nesting ends the process, and no pattern takes exponential time.

use super::Good;
use crate::broker::Broker;
use crate::wire::PATIENCE;
use crate::wire::amqp::{Amqp, Out, Properties};
use crate::wire::frames;
use crate::wire::mqtt::{Connect, Mqtt, Properties as MqttProperties, packet, publish};
use crate::wire::stomp::Stomp;
use std::time::{Duration, Instant};

/// A match that took longer would be worse than linear.
const MATCH_TIME: Duration = Duration::from_secs(1);

/// A table in a table, `depth` of them; or a list in a list.
fn nested(depth: usize, kind: u8) -> Vec<u8> {
    let mut inner: Vec<u8> = Vec::new();
    for _ in 0..depth {
        let mut outer = Vec::new();
        if kind == b'F' {
            outer.extend([1, b'x']);
        }
        outer.push(kind);
        outer.extend((inner.len() as u32).to_be_bytes());
        outer.extend(inner);
        inner = outer;
    }
    inner
}

#[test]
fn tables_in_tables() {
    let broker = Broker::start();
    let mut good = Good::new(&broker);
    for kind in *b"FA" {
        let deep = match kind {
            b'F' => nested(10_000, b'F'),
            _ => [&[1, b'x'][..], &nested(15_000, b'A')].concat(),
        };
        let mut client = Amqp::connect(broker.amqp);
        let declare = Out::method(50, 10).u16(0).short("deep").u8(0).long(&deep);
        let _ = client.socket.try_send(&declare.frame(1));
        assert!(client.socket.is_closed_within(PATIENCE), "arguments");
        // In the headers of a message.
        let mut client = Amqp::connect(broker.amqp);
        let mut header = Out::method(60, 0).u64(1).u16(0x2000).long(&deep).frame(1);
        header[0] = 2;
        let publish = Out::method(60, 40).u16(0).short("").short("good").u8(0).frame(1);
        let body = crate::wire::amqp::frame(3, 1, b"x");
        let _ = client.socket.try_send(&[publish, header, body].concat());
        assert!(client.socket.is_closed_within(PATIENCE), "headers");
        // In the client properties of a login.
        let mut client = crate::wire::Socket::connect(broker.amqp);
        let start_ok = Out::method(10, 11).long(&deep[..deep.len().min(8_000)]);
        let start_ok = start_ok.short("PLAIN").long(b"\0guest\0guest").short("en_US");
        let _ = client.try_send(&[&b"AMQP\0\0\x09\x01"[..], &start_ok.frame(0)].concat());
        assert!(client.is_closed_within(PATIENCE), "client properties");
        good.is_served("tables in tables");
    }
    assert_eq!(good.0.ready("good"), 0);
}

/// Topics and filters of 65,535 levels are refused, and shut nobody else out.
#[test]
fn topics_of_many_levels() {
    let broker = Broker::start();
    let mut good = Good::new(&broker);
    let long = "/".repeat(65_535);
    for level in [4, 5] {
        let mut client = Mqtt::connect(broker.mqtt, &Connect { level, ..Connect::v5("deep") });
        let mut body = vec![0, 1];
        if level == 5 {
            body.push(0);
        }
        body.extend((long.len() as u16).to_be_bytes());
        body.extend(long.bytes());
        body.push(1);
        let _ = client.socket.try_send(&packet(0x82, &body));
        // Refused, by SUBACK or by the end of the connection.
        let refused = client.socket.fill(5, Instant::now() + PATIENCE).then(|| {
            let length = client.socket.buffered().len();
            client.socket.buffered()[length - 1]
        });
        assert!(refused.is_none_or(|code| code >= 0x80), "{refused:?}");
        let mut client = Mqtt::connect(broker.mqtt, &Connect { level, ..Connect::v5("deep") });
        let publish = publish(level, &long, b"x", (0, 0), &MqttProperties::default());
        let _ = client.socket.try_send(&publish);
        assert!(client.socket.is_closed_within(PATIENCE), "a topic of 65,535 levels");
    }
    let mut stomp = Stomp::connect(broker.stomp);
    let deep = format!("/topic/{}", "a.".repeat(8_000));
    assert!(stomp.try_request("SUBSCRIBE", &[("id", "1"), ("destination", &deep)], b"").is_err());
    // Those who come later are served.
    let mut reader = Mqtt::connect(broker.mqtt, &Connect::v5("later"));
    reader.subscribe("later/#", 1);
    reader.publish("later/x", b"x", 1);
    assert_eq!(reader.receive().body, b"x");
    good.is_served("topics of many levels");
}

/// Forty `#` in one pattern, and a key of a hundred words that does not match in the end.
#[test]
fn patterns_of_many_wildcards() {
    let broker = Broker::start();
    let mut client = Amqp::connect(broker.amqp);
    client.queue("matched", false);
    let pattern = format!("{}.end", vec!["#"; 40].join("."));
    client.socket.send(&frames::bind("matched", "amq.topic", &pattern, &[]));
    let mixed = format!("{}.end", vec!["*.#"; 40].join("."));
    client.socket.send(&frames::bind("matched", "amq.topic", &mixed, &[]));
    client.confirm_select();
    let words = vec!["a"; 100].join(".");
    for (key, matches) in [(words.clone(), 0), (format!("{words}.end"), 1)] {
        let started = Instant::now();
        client.publish("amq.topic", &key, &Properties::default(), b"x");
        client.wait_confirms();
        assert!(started.elapsed() < MATCH_TIME, "{:?} for {key}", started.elapsed());
        assert_eq!(client.ready("matched"), matches);
    }
}
