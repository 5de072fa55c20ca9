//! Malformed AMQP and MQTT dialogues, one after the other: good clients are served within 50 ms, and memory stays flat.

use super::victim::Victim;
use super::{beside, beside_victims_within, many};
use crate::broker::Broker;
use crate::hostile_amqp::{Case, cases, play};
use crate::hostile_mqtt;
use std::time::Duration;

/// The slowest of 99 % of a good client's confirms.
const P99_MAX: Duration = Duration::from_millis(50);
/// How much more memory the process may take after many rounds than after the first ones.
const GROWTH_MAX: usize = 8 << 20;

/// All but refused logins: after some of them further logins of the user have to wait.
fn chosen() -> Vec<Case> {
    cases().into_iter().filter(|case| !case.name.starts_with("login:")).collect()
}

#[test]
fn malformed_dialogues_keep_nobody_waiting() {
    let broker = Broker::start();
    let cases = chosen();
    let mut next = cases.iter().cycle();
    beside_victims_within(P99_MAX, &broker, "malformed dialogues", || {
        let case = next.next().expect("there are cases");
        play(broker.amqp, case).unwrap_or_else(|wrong| panic!("{wrong}"));
    });
}

#[test]
fn malformed_dialogues_of_mqtt_keep_nobody_waiting() {
    let broker = Broker::start();
    let cases = hostile_mqtt::cases();
    let mut next = cases.iter().cycle();
    let victims = || [Victim::of_mqtt(broker.mqtt, 0), Victim::of_mqtt(broker.mqtt, 1)];
    beside(P99_MAX, "malformed dialogues of MQTT", victims, || {
        let case = next.next().expect("there are cases");
        hostile_mqtt::play(broker.mqtt, case).unwrap_or_else(|wrong| panic!("{wrong}"));
    });
}

/// Plays all of `count` dialogues again and again: memory does not grow with them.
fn is_flat(broker: &Broker, count: usize, rounds: usize, round: impl Fn()) {
    (0..3).for_each(|_| round());
    let before = broker.resident();
    (0..rounds).for_each(|_| round());
    let after = broker.resident();
    let grown = after.saturating_sub(before);
    println!("{} dialogues: {before} bytes before, {after} after", rounds * count);
    assert!(grown <= GROWTH_MAX, "{grown} bytes more after {} dialogues", rounds * count);
}

#[test]
fn malformed_dialogues_leave_nothing_in_memory() {
    let broker = Broker::start();
    let cases = chosen();
    is_flat(&broker, cases.len(), many(50, 10), || {
        for case in &cases {
            play(broker.amqp, case).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
    });
}

#[test]
fn malformed_dialogues_of_mqtt_leave_nothing_in_memory() {
    let broker = Broker::start();
    let cases = hostile_mqtt::cases();
    is_flat(&broker, cases.len(), many(50, 10), || {
        for case in &cases {
            hostile_mqtt::play(broker.mqtt, case).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
    });
}
