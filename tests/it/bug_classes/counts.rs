//! Counts that a peer chooses do not become memory or time.

use super::Good;
use crate::broker::Broker;
use crate::wire::mqtt::{Connect, Mqtt, Properties, publish};
use crate::wire::{PATIENCE, eventually};
use std::time::Instant;

/// More than this a peer that repeats itself may not take.
const MEMORY_MAX: usize = 16 << 20;

#[test]
fn user_properties_are_counted() {
    let broker = Broker::start();
    let mut good = Good::new(&broker);
    let user = (0..12_000).map(|n| (n.to_string(), "v".repeat(40))).collect();
    let many = Properties { user, ..Properties::default() };
    let burst = publish(5, "u", b"x", (0, 0), &many);
    let before = broker.resident();
    for _ in 0..20 {
        let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("many"));
        let _ = client.socket.try_send(&burst);
        assert!(client.socket.is_closed_within(PATIENCE));
        good.is_served("12,000 user properties");
    }
    let grown = broker.resident().saturating_sub(before);
    assert!(grown <= MEMORY_MAX, "{grown} bytes");
}

/// The same QoS 2 identifier a hundred thousand times, which is never released.
#[test]
fn identifiers_that_are_never_released() {
    let broker = Broker::start();
    let mut good = Good::new(&broker);
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v311("never"));
    let again = publish(4, "t", b"x", (2, 7), &Properties::default());
    let mut send = |good: &mut Good| {
        client.socket.send(&again.repeat(1_000));
        // One PUBREC may stand for those that came while the first was stored.
        assert!(client.socket.fill(4, Instant::now() + PATIENCE), "no PUBREC");
        client.socket.take(client.socket.buffered().len());
        good.is_served("identifiers that are never released");
    };
    send(&mut good);
    let before = broker.resident();
    for _ in 0..100 {
        send(&mut good);
    }
    eventually("memory for identifiers stays", || {
        (broker.resident().saturating_sub(before) <= MEMORY_MAX).then_some(())
    });
}

/// Hundreds of wildcard subscriptions of one client, which all match, cost a publisher little.
#[test]
fn subscriptions_that_all_match() {
    let broker = Broker::start();
    let mut good = Good::new(&broker);
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("greedy"));
    for n in 0..500 {
        let filter = (0..9).map(|bit| if n >> bit & 1 == 0 { "+" } else { "a" });
        client.subscribe(&filter.collect::<Vec<_>>().join("/"), 0);
    }
    let mut sender = Mqtt::connect(broker.mqtt, &Connect::v5("sender"));
    for _ in 0..100 {
        sender.publish("a/a/a/a/a/a/a/a/a", b"x", 1);
        good.is_served("500 filters that match");
    }
}
