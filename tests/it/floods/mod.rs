//! What one client can do to all the others. In each test a flood runs for a while beside a victim, another connection
//! that publishes one byte and waits for its confirm, again and again. 99 % of the victim's confirms have to come
//! within 100 ms, and memory stays bounded. `CROSSDOCK_FLOODS=full` (cargo xtask test --full) floods with the numbers
//! that stalled the broker once; otherwise with some of them.
//!
//! These tests measure time: they run one after the other, and alone.

mod alarm;
mod amqp;
mod channels;
mod churn;
mod growth;
mod malformed;
mod mqtt;
mod start;
pub mod victim;

use crate::broker::Broker;
use crate::wire::amqp::Amqp;
use std::time::{Duration, Instant};
use victim::Victim;

/// The slowest of 99 % of the victim's confirms.
const P99_MAX: Duration = Duration::from_millis(100);
/// A test that measures too much on a busy machine is tried again.
const TRIES: usize = 3;

fn is_full() -> bool {
    std::env::var_os("CROSSDOCK_FLOODS").is_some_and(|value| value == "full")
}

/// The number of things that stalled the broker, or a part of it.
fn many(full: usize, short: usize) -> usize {
    if is_full() { full } else { short }
}

/// Runs `flood` again and again for some seconds beside victims.
fn beside_victims(broker: &Broker, what: &str, flood: impl FnMut()) {
    beside_victims_within(P99_MAX, broker, what, flood);
}

/// The same with a shorter time for the slowest of 99 % of the victim's confirms.
fn beside_victims_within(most: Duration, broker: &Broker, what: &str, flood: impl FnMut()) {
    let victims = || [Victim::start(broker.amqp, false), Victim::start(broker.amqp, true)];
    beside(most, what, victims, flood);
}

/// The same with victims of another kind.
fn beside(most: Duration, what: &str, victims: impl Fn() -> [Victim; 2], mut flood: impl FnMut()) {
    let time = Duration::from_secs(if is_full() { 10 } else { 1 });
    let mut tried = Vec::new();
    for _ in 0..TRIES {
        let victims = victims();
        let started = Instant::now();
        let mut rounds = 0;
        while started.elapsed() < time {
            flood();
            rounds += 1;
        }
        let seen = victims.map(Victim::stop);
        println!("{what}: {rounds} rounds, transient {}, durable {}", seen[0], seen[1]);
        if seen.iter().all(|seen| seen.p99 <= most) {
            return;
        }
        tried.push(format!("transient {}, durable {}", seen[0], seen[1]));
    }
    panic!("{what}: the victim waited too long: {}", tried.join("; "));
}

/// Sends what has no reply, and waits until the broker has done it.
fn do_all(client: &mut Amqp, frames: &[u8]) {
    client.socket.send(frames);
    client.queue("barrier", false);
}
