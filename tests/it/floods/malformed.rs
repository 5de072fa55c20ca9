//! Malformed AMQP dialogues, one after the other: good clients are served within 50 ms, and memory stays flat.

use super::{beside_victims_within, many};
use crate::broker::Broker;
use crate::hostile_amqp::{Case, cases, play};
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
fn malformed_dialogues_leave_nothing_in_memory() {
    let broker = Broker::start();
    let cases = chosen();
    let round = || {
        for case in &cases {
            play(broker.amqp, case).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
    };
    (0..3).for_each(|_| round());
    let before = broker.resident();
    let rounds = many(50, 10);
    (0..rounds).for_each(|_| round());
    let after = broker.resident();
    let grown = after.saturating_sub(before);
    println!("{} dialogues: {before} bytes before, {after} after", rounds * cases.len());
    assert!(grown <= GROWTH_MAX, "{grown} bytes more after {} dialogues", rounds * cases.len());
}
