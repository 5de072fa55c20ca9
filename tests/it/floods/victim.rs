//! A client that publishes one byte with confirm all the time, and how long each confirm took; in MQTT, one that gets
//! what it publishes.

use crate::wire::amqp::{Amqp, Field, Properties};
use crate::wire::frames;
use crate::wire::mqtt::{Connect, Mqtt};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two publishes.
const PAUSE: Duration = Duration::from_millis(1);

/// A running victim.
pub struct Victim {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

/// What it saw.
pub struct Seen {
    pub p99: Duration,
    pub max: Duration,
    pub count: usize,
}

impl Victim {
    /// Publishes into a queue of its own that keeps ten messages.
    pub fn start(address: SocketAddr, durable: bool) -> Self {
        let mut client = Amqp::connect(address);
        let queue = if durable { "victim-durable" } else { "victim" };
        let bits = if durable { 2 } else { 0 };
        let limit = [("x-max-length".to_owned(), Field::Number(10))];
        client.socket.send(&frames::declare(queue, bits, &limit));
        client.ready(queue);
        client.confirm_select();
        Self::again_and_again(move || {
            let properties = Properties { persistent: durable, ..Properties::default() };
            client.publish("", queue, &properties, b"x");
            client.wait_confirms();
        })
    }

    /// Publishes to itself with that QoS.
    pub fn of_mqtt(address: SocketAddr, qos: u8) -> Self {
        let name = format!("victim-{qos}");
        let mut client = Mqtt::connect(address, &Connect::v5(&name));
        client.subscribe(&name, qos);
        Self::again_and_again(move || {
            client.publish(&name, b"x", qos);
            assert_eq!(client.receive().body, b"x");
        })
    }

    fn again_and_again(mut round_trip: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut took = Vec::new();
            while !stopped.load(Ordering::Acquire) {
                let started = Instant::now();
                round_trip();
                took.push(started.elapsed());
                std::thread::sleep(PAUSE);
            }
            took
        });
        Self { stop, thread }
    }

    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Release);
        let mut took = self.thread.join().expect("the victim is served");
        took.sort_unstable();
        let at = took.len() * 99 / 100;
        let (p99, max) = (took[at.min(took.len() - 1)], took[took.len() - 1]);
        Seen { p99, max, count: took.len() }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p99 {:?} max {:?} of {}", self.p99, self.max, self.count)
    }
}
