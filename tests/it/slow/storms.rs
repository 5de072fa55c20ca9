//! Storms of connections: the log says what happens in few lines.

use crate::broker::Broker;
use crate::wire::amqp::Amqp;
use crate::wire::mqtt::{Connect, Mqtt, packet};
use crate::wire::stomp::{self, Stomp};
use crate::wire::{Socket, eventually};
use std::time::{Duration, Instant};

/// Lines that the log of a storm may have; no storm here takes more than a few minutes.
const LINES_MAX: usize = 600;
const THREADS: usize = 4;
/// Memory that connections may leave behind when they are closed.
const LEFT_MAX: usize = 32 << 20;

fn many(full: usize, short: usize) -> usize {
    let is_full = std::env::var_os("CROSSDOCK_FLOODS").is_some_and(|value| value == "full");
    if is_full { full } else { short }
}

/// Does it so often, by several threads.
fn storm(count: usize, each: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let each = &each;
            scope.spawn(move || (thread..count).step_by(THREADS).for_each(each));
        }
    });
}

fn lines(broker: &Broker) -> usize {
    broker.log().lines().count()
}

#[test]
fn connects_are_summed_up() {
    let broker = Broker::start();
    storm(many(40_000, 4_000), |n| match n % 2 {
        0 => drop(Mqtt::connect(broker.mqtt, &Connect::v5(&format!("c{n}")))),
        _ => drop(Amqp::connect(broker.amqp)),
    });
    // The same name again and again: each takes the session over.
    // One of two at once may be refused.
    storm(many(4_000, 400), |_| {
        drop(Mqtt::log_in(Socket::connect(broker.mqtt), &Connect::v311("same")));
    });
    assert!(lines(&broker) <= LINES_MAX, "{} lines", lines(&broker));
    let log = broker.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

/// Connections that are closed leave no memory behind.
#[test]
fn memory_of_closed_connections_comes_back() {
    let broker = Broker::start();
    let count = many(15_000, 3_000);
    let connected = |n: usize| Mqtt::connect(broker.mqtt, &Connect::v5(&format!("idle{n}")));
    drop(connected(0));
    let before = broker.resident();
    let connections: Vec<Mqtt> = (0..count).map(connected).collect();
    let open = broker.resident().saturating_sub(before);
    drop(connections);
    let left = eventually("the memory of closed connections", || {
        let left = broker.resident().saturating_sub(before);
        (left < LEFT_MAX.min(open / 2)).then_some(left)
    });
    println!("{count} connections: {} KiB, {} KiB after they were closed", open >> 10, left >> 10);
}

#[test]
fn refused_logins_are_named_and_summed_up() {
    let (broker, began) = (Broker::start(), Instant::now());
    storm(many(10_000, 1_000), |n| {
        let user = format!("stranger{n}");
        let refused = match n % 3 {
            0 => Mqtt::log_in(
                Socket::connect(broker.mqtt),
                &Connect { login: Some((&user, "wrong")), ..Connect::v5("c") },
            )
            .err(),
            1 => Amqp::log_in(Socket::connect(broker.amqp), (&user, "wrong")).err(),
            _ => Stomp::log_in(Socket::connect(broker.stomp), Some((&user, "wrong"))).err(),
        };
        assert!(refused.is_some(), "{user} was let in");
    });
    let log = broker.log();
    assert!(log.lines().count() <= LINES_MAX, "{} lines", log.lines().count());
    let named: Vec<&str> =
        log.lines().filter(|line| line.contains("a login was refused")).collect();
    // A hundred in each minute that has begun.
    let minutes = began.elapsed().as_secs() as usize / 60 + 1;
    assert!((100..=100 * minutes).contains(&named.len()), "{} in {minutes} minutes", named.len());
    for protocol in ["amqp", "mqtt", "stomp"] {
        let theirs = |line: &&&str| line.contains(&format!("protocol=\"{protocol}\""));
        let line =
            named.iter().find(theirs).unwrap_or_else(|| panic!("none of {protocol}: {named:?}"));
        assert!(line.contains("user=\"stranger") && line.contains("peer=127.0.0.1:"), "{line}");
    }
}

#[test]
fn what_is_no_protocol_is_summed_up() {
    let broker = Broker::start();
    storm(many(10_000, 1_000), |n| {
        let (address, bytes) = match n % 3 {
            0 => (broker.mqtt, packet(0xF0, b"nonsense")),
            1 => (broker.amqp, b"nonsense".to_vec()),
            _ => (broker.stomp, stomp::frame("NONSENSE", &[], b"")),
        };
        let mut socket = Socket::connect(address);
        let _ = socket.try_send(&bytes);
        assert!(socket.is_closed_within(Duration::from_secs(20)));
    });
    assert!(lines(&broker) <= LINES_MAX, "{} lines", lines(&broker));
}
