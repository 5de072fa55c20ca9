//! Floods of MQTT clients.

use super::{beside_victims, many};
use crate::broker::Broker;
use crate::wire::Socket;
use crate::wire::mqtt::{Connect, Mqtt, Properties, packet, publish};

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.bytes());
}

/// CONNECT of 3.1.1 with a will.
fn with_will(client: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.extend([4, 2 | 4, 0, 0]);
    text(&mut body, client);
    text(&mut body, &format!("gone/{client}"));
    text(&mut body, "x");
    packet(0x10, &body)
}

#[test]
fn many_wills_at_once() {
    let broker = Broker::start();
    let count = many(15_000, 1_500);
    beside_victims(&broker, "wills of lost connections", || {
        let mut clients: Vec<Socket> = Vec::with_capacity(count);
        for n in 0..count {
            let mut socket = Socket::connect(broker.mqtt);
            socket.send(&with_will(&format!("w{n}")));
            clients.push(socket);
        }
        drop(clients);
    });
}

#[test]
fn a_filter_that_no_retained_value_matches() {
    let broker = Broker::start();
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("setter"));
    let mut burst = Vec::new();
    for n in 0..many(200_000, 40_000) {
        let mut set = publish(5, &format!("v/{n}"), b"x", (0, 0), &Properties::default());
        set[0] |= 1;
        burst.extend(set);
    }
    client.socket.send(&burst);
    client.publish("v/last", b"", 1);
    let mut reader = Mqtt::connect(broker.mqtt, &Connect::v5("reader"));
    beside_victims(&broker, "subscribes beside retained values", || reader.subscribe("+/none", 0));
}

#[test]
fn one_session_comes_back_again_and_again() {
    let broker = Broker::start();
    let mut round = || {
        for _ in 0..200 {
            let mut body = Vec::new();
            text(&mut body, "MQTT");
            // MQTT 5, session expiry of one hour.
            body.extend([5, 0, 0, 0, 5, 0x11, 0, 0, 0x0E, 0x10]);
            text(&mut body, "again");
            let mut socket = Socket::connect(broker.mqtt);
            socket.send(&packet(0x10, &body));
            assert!(socket.fill(4, std::time::Instant::now() + crate::wire::PATIENCE));
        }
    };
    round();
    let before = broker.resident();
    beside_victims(&broker, "reconnects", &mut round);
    let grown = broker.resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
}

#[test]
fn user_properties_without_end() {
    let broker = Broker::start();
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("reader"));
    client.subscribe("u", 0);
    let user = |n: usize| (n.to_string(), String::new());
    let fits = Properties { user: (0..1_000).map(user).collect(), ..Properties::default() };
    client.publish_with("u", b"x", 1, &fits);
    let over = Properties { user: (0..1_001).map(user).collect(), ..Properties::default() };
    let id = client.id();
    client.socket.send(&publish(5, "u", b"x", (1, id), &over));
    let reply = client.any(0x40, id);
    assert_eq!(reply[2], 0x97, "{reply:?}");
    assert!(String::from_utf8_lossy(&reply).contains("objects.header_fields"), "{reply:?}");
    let huge = Properties { user: (0..200_000).map(user).collect(), ..Properties::default() };
    let burst = publish(5, "u", b"x", (0, 0), &huge);
    let before = broker.resident();
    beside_victims(&broker, "user properties", || {
        let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("sender"));
        let _ = client.socket.try_send(&burst);
        assert!(client.socket.is_closed_within(crate::wire::PATIENCE));
    });
    let grown = broker.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
}
