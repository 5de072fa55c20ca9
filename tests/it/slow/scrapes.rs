//! Whoever reads all numbers again and again does not slow down who publishes: pages of many queues are asked for many
//! times a second beside a client that publishes one byte and waits for its confirm, again and again.

use super::{P99_FREE, TRIES};
use crate::broker::Broker;
use crate::floods::victim::{Seen, Victim};
use crate::wire::amqp::Amqp;
use crate::wire::{PATIENCE, frames};
use rustix::process::nice;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The slowest of 99 % of the confirms may be as many times as long as alone.
const P99_TIMES: f64 = 1.1;
/// Between two scrapes: Prometheus asks every 15 s, or every second where somebody is in a hurry.
const PAUSE: Duration = Duration::from_millis(250);
/// The victim is watched alone for at least this long.
const ALONE: Duration = Duration::from_secs(2);

struct Size {
    queues: usize,
    scrapes: usize,
}

impl Size {
    fn of_this_run() -> Self {
        match std::env::var_os("CROSSDOCK_FLOODS").is_some_and(|value| value == "full") {
            true => Self { queues: 10_000, scrapes: 1_000 },
            false => Self { queues: 1_000, scrapes: 40 },
        }
    }
}

/// A page, read to its end, and its bytes: what scrapes is elsewhere, so here it takes as little as it can.
fn scrape_away(at: SocketAddr, path: &str) -> usize {
    let mut stream = ask(at, path);
    let (mut part, mut bytes) = ([0; 64 << 10], 0);
    loop {
        let some = stream.read(&mut part).expect("a page");
        assert!(bytes > 0 || part.starts_with(b"HTTP/1.1 200"), "{:?}", part.get(..40));
        bytes += some;
        if some == 0 {
            return bytes;
        }
    }
}

/// A page as text.
fn scrape(at: SocketAddr, path: &str) -> String {
    let mut answer = String::new();
    ask(at, path).read_to_string(&mut answer).expect("a page");
    assert!(answer.starts_with("HTTP/1.1 200"), "{}", answer.lines().next().unwrap_or_default());
    answer
}

fn ask(at: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(at).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    stream
}

/// What a victim sees while this runs.
fn beside(broker: &Broker, work: impl FnOnce()) -> Seen {
    let victim = Victim::start(broker.amqp, false);
    work();
    victim.stop()
}

/// One comparison; why it is not as it should be.
fn compare(broker: &Broker, at: SocketAddr, size: &Size, path: &'static str) -> Result<(), String> {
    let begun = Instant::now();
    let scrapes = size.scrapes;
    let beside_scrapes = beside(broker, || {
        let all = move || {
            // In Linux a priority is a thread's: it has the core when nobody else wants it.
            nice(19).expect("everybody may give way");
            for _ in 0..scrapes {
                let bytes = scrape_away(at, path);
                assert!(bytes > 1_000, "a page: {bytes} bytes");
                std::thread::sleep(PAUSE);
            }
        };
        std::thread::spawn(all).join().expect("pages");
    });
    let time = begun.elapsed();
    // As long as that took, so that both saw as much of what else this machine does.
    let alone = beside(broker, || std::thread::sleep(time.max(ALONE)));
    let ratio = beside_scrapes.p99.as_secs_f64() / alone.p99.as_secs_f64();
    println!(
        "{} scrapes of {path} with {} queues in {time:?}: beside them {beside_scrapes}, alone {alone}: {ratio:.2} times",
        size.scrapes, size.queues
    );
    // A machine that does something else as well adds some milliseconds to both.
    let most = alone.p99.mul_f64(P99_TIMES).max(P99_FREE);
    match beside_scrapes.p99 <= most {
        true => Ok(()),
        false => Err(format!("{:?}, alone {:?}", beside_scrapes.p99, alone.p99)),
    }
}

#[test]
fn scrapes_of_many_queues() {
    let size = Size::of_this_run();
    let broker = Broker::start();
    let word = broker.ready.split(' ').find_map(|word| word.strip_prefix("metrics="));
    let at = word.and_then(|address| address.parse().ok()).expect("it listens for metrics");
    let mut client = Amqp::connect(broker.amqp);
    for first in (0..size.queues).step_by(100) {
        let some = first..(first + 100).min(size.queues);
        let declares = some.flat_map(|n| frames::declare(&format!("scraped-{n}"), 0, &[]));
        client.socket.send(&declares.collect::<Vec<u8>>());
        client.queue("barrier", false);
    }
    let page = scrape(at, "/metrics");
    let queues = page.lines().find_map(|line| line.strip_prefix("rabbitmq_queues "));
    let queues = queues.and_then(|text| text.parse::<usize>().ok());
    assert!(queues > Some(size.queues), "the queues are there: {queues:?}");
    for path in ["/metrics", "/metrics/per-object"] {
        let tries: Vec<String> =
            (0..TRIES).map_while(|_| compare(&broker, at, &size, path).err()).collect();
        assert!(tries.len() < TRIES, "{path}: the victim waited too long: {}", tries.join(" | "));
    }
}
