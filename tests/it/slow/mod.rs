//! Slow consumers. One publisher feeds a topic; beside a fast consumer there is one that takes a message a second, and
//! one that stops to read. Each has a queue or session of its own. The fast one must not notice them, memory stays
//! bounded and comes back, the slow one loses nothing, and the stuck one is closed by its write deadline.
//!
//! `CROSSDOCK_FLOODS=full` (cargo xtask test --full) publishes 20,000 messages a second for 30 seconds, otherwise less.
//! These tests measure time: they run one after the other, and alone.

mod backups;
mod modules;
mod reader;
mod room;
mod scrapes;
mod storms;

use crate::broker::Broker;
use crate::wire::amqp::{Amqp, Field, Properties, publish};
use crate::wire::{PATIENCE, eventually, frames};
use reader::{Protocol, Reader, Role};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const BODY: usize = 1024;
/// The publisher sends what is due this often.
const TICK: Duration = Duration::from_millis(1);
/// The fast consumer keeps this part of the rate that it has alone.
const RATE_KEPT: f64 = 0.95;
/// Its 99th percentile may always be as long as this, and as many times as alone.
const P99_FREE: Duration = Duration::from_millis(10);
const P99_TIMES: u32 = 3;
/// `memory.resident`, and what may be taken beside it.
const RESIDENT: usize = 128 << 20;
const RESIDENT_SLACK: usize = 96 << 20;
/// This long after the last message, no more than this may be left.
const BACK_WITHIN: Duration = Duration::from_secs(30);
const BACK_SLACK: usize = 64 << 20;
/// A stuck consumer is closed this long after its socket is full: 15 seconds, and some for a busy machine.
const STUCK_TIME: Duration = Duration::from_secs(40);
/// A test that measures too much on a busy machine is tried again.
const TRIES: usize = 3;

/// How much is published.
#[derive(Clone, Copy)]
struct Load {
    per_second: u64,
    seconds: u64,
}

impl Load {
    fn of_this_run() -> Self {
        match std::env::var_os("CROSSDOCK_FLOODS").is_some_and(|value| value == "full") {
            true => Self { per_second: 20_000, seconds: 30 },
            false => Self { per_second: 5_000, seconds: 3 },
        }
    }

    fn count(self) -> u64 {
        self.per_second * self.seconds
    }

    /// When that message is due.
    fn due(self, number: u64) -> Duration {
        Duration::from_nanos(number * 1_000_000_000 / self.per_second)
    }
}

/// A body: its number, and padding.
fn body(number: u64) -> Vec<u8> {
    let mut body = vec![b'.'; BODY];
    body[..8].copy_from_slice(&number.to_be_bytes());
    body
}

fn number(body: &[u8]) -> u64 {
    u64::from_be_bytes(body[..8].try_into().expect("a body of ours"))
}

/// Publishes all messages, each when it is due.
fn publish_all(address: SocketAddr, load: Load, durable: bool, started: Instant) {
    let mut client = Amqp::connect(address);
    // What is transient is of QoS 0 otherwise, which MQTT sessions do not keep.
    let headers = vec![("x-mqtt-qos".to_owned(), Field::Number(1))];
    let properties = Properties { persistent: durable, headers, ..Properties::default() };
    let mut sent = 0;
    while sent < load.count() {
        let mut burst = Vec::new();
        while sent < load.count() && load.due(sent) <= started.elapsed() {
            burst.extend(publish("amq.topic", "slow.t", &properties, &body(sent)));
            sent += 1;
        }
        client.socket.send(&burst);
        std::thread::sleep(TICK);
    }
    // All of it is taken when this is answered.
    client.ready("fast");
}

/// What the fast consumer saw.
#[derive(Debug)]
struct Seen {
    /// Messages a second.
    rate: f64,
    p99: Duration,
}

/// Takes all messages as they come.
fn take_fast(mut reader: Reader, load: Load, started: Instant) -> Seen {
    let mut took = Vec::new();
    for expected in 0..load.count() {
        let body = reader.next(PATIENCE).expect("the fast consumer gets all messages");
        assert_eq!(number(&body), expected, "in their order");
        took.push(started.elapsed().saturating_sub(load.due(expected)));
    }
    let rate = load.count() as f64 / started.elapsed().as_secs_f64();
    took.sort_unstable();
    Seen { rate, p99: took[took.len() * 99 / 100] }
}

/// Takes a message a second until the publisher has stopped, then the others. Returns how long the rest took.
fn take_slowly(mut reader: Reader, load: Load, stopped: &AtomicBool) -> Duration {
    let mut expected = 0;
    let mut rest = None;
    while expected < load.count() {
        let Some(body) = reader.next(PATIENCE) else {
            panic!("the slow consumer lost all messages from number {expected} on");
        };
        assert_eq!(number(&body), expected, "the slow consumer lost messages");
        expected += 1;
        match stopped.load(Ordering::Acquire) {
            false => std::thread::sleep(Duration::from_secs(1)),
            true => _ = rest.get_or_insert_with(Instant::now),
        }
    }
    rest.map_or(Duration::ZERO, |since| since.elapsed())
}

/// One run: a publisher, the fast consumer, and others beside it that `meanwhile` serves.
fn run(broker: &Broker, protocol: Protocol, durable: bool, load: Load) -> Seen {
    let fast = Reader::open(broker, protocol, Role::Fast, durable);
    let (started, address) = (Instant::now(), broker.amqp);
    let publisher = std::thread::spawn(move || publish_all(address, load, durable, started));
    let seen = take_fast(fast, load, started);
    publisher.join().expect("the publisher is served");
    seen
}

/// The memory that the process takes at most while this runs.
fn watch_memory<R>(broker: &Broker, watched: impl FnOnce() -> R) -> (R, usize) {
    let (most, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                most.fetch_max(broker.resident(), Ordering::AcqRel);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let result = watched();
        done.store(true, Ordering::Release);
        (result, most.load(Ordering::Acquire))
    })
}

/// The whole comparison; what was not as it should be.
fn compare(protocol: Protocol, durable: bool) -> Result<(), String> {
    let load = Load::of_this_run();
    let alone = run(&Broker::start(), protocol, durable, load);
    let broker = Broker::start();
    let before = broker.resident();
    let slow = Reader::open(&broker, protocol, Role::Slow, durable);
    let mut stuck = Reader::open(&broker, protocol, Role::Stuck, durable);
    let stopped = Arc::new(AtomicBool::new(false));
    let is_over = stopped.clone();
    let slow = std::thread::spawn(move || take_slowly(slow, load, &is_over));
    let (beside, most) = watch_memory(&broker, || run(&broker, protocol, durable, load));
    stopped.store(true, Ordering::Release);
    let drained = slow.join().map_err(|_| "the slow consumer lost messages".to_owned())?;
    let drained_at = Instant::now();
    assert!(stuck.is_closed_within(STUCK_TIME), "the stuck consumer was not closed");
    drop(stuck);
    // What waits for it stays until somebody takes it away.
    if let Some(queue) = protocol.stuck_queue(durable) {
        let mut client = Amqp::connect(broker.amqp);
        client.socket.send(&frames::delete(queue));
        client.ready("fast");
    }
    let mut left = usize::MAX;
    while left > BACK_SLACK && drained_at.elapsed() < BACK_WITHIN {
        std::thread::sleep(Duration::from_millis(200));
        left = broker.resident().saturating_sub(before);
    }
    println!(
        "{protocol:?}, durable {durable}: alone {alone:?}, beside slow ones {beside:?}, memory {} MiB, {} MiB more \
         than before at most, {} MiB after the rest was taken in {drained:?}",
        most >> 20,
        most.saturating_sub(before) >> 20,
        left >> 20
    );
    let p99_max = P99_FREE.max(alone.p99 * P99_TIMES);
    let checks = [
        (beside.rate >= alone.rate * RATE_KEPT, format!("{:?} of {:?}", beside.rate, alone.rate)),
        (beside.p99 <= p99_max, format!("p99 {:?} of {:?} alone", beside.p99, alone.p99)),
        (most <= RESIDENT + RESIDENT_SLACK, format!("{} MiB of memory", most >> 20)),
        (left <= BACK_SLACK, format!("{} MiB did not come back", left >> 20)),
    ];
    let wrong: Vec<String> = checks.into_iter().filter(|(ok, _)| !ok).map(|(_, why)| why).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

fn is_unnoticed(protocol: Protocol, durable: bool) {
    let tries: Vec<String> = (0..TRIES).map_while(|_| compare(protocol, durable).err()).collect();
    assert!(tries.len() < TRIES, "{protocol:?}, durable {durable}: {}", tries.join(" | "));
}

#[test]
fn slow_consumers_of_durable_amqp_queues() {
    is_unnoticed(Protocol::Amqp, true);
}

#[test]
fn slow_consumers_of_transient_amqp_messages() {
    is_unnoticed(Protocol::Amqp, false);
}

#[test]
fn slow_mqtt_sessions_that_last() {
    is_unnoticed(Protocol::Mqtt, true);
}

#[test]
fn slow_mqtt_sessions_that_end_with_their_connections() {
    is_unnoticed(Protocol::Mqtt, false);
}

#[test]
fn slow_durable_stomp_subscriptions() {
    is_unnoticed(Protocol::Stomp, true);
}

#[test]
fn slow_transient_stomp_subscriptions() {
    is_unnoticed(Protocol::Stomp, false);
}

/// Waits until a queue holds so many messages.
fn holds(broker: &Broker, queue: &str, count: u32) {
    let mut client = Amqp::connect(broker.amqp);
    eventually(queue, || (client.ready(queue) == count).then_some(()));
}
