//! A deep queue: filled by one confirmed publisher without consumers, and drained by one consumer, in two runs, so that
//! the broker can be restarted between them. Rates are printed for each tenth, so that a sudden drop is visible.

use crate::stage::Broker;
use crate::stamp::{Form, Stamp};
use crate::threads::answers;
use crate::usage::{cpu_seconds, resident_bytes};
use crate::wire::amqp::{self, Source, Target};
use crate::wire::{Body, Sink};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

/// The queue's name.
const QUEUE: &str = "load.backlog";
/// Messages that may be unconfirmed, and deliveries that may be unacknowledged.
const WINDOW: u16 = 1000;
const ACK_EVERY: u16 = 100;
const BATCH_BYTES: usize = 64 * 1024;
/// The queue counts as empty when no delivery came for this long.
const QUIET: Duration = Duration::from_secs(20);

/// The size of the backlog.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub messages: u64,
    pub body_bytes: usize,
    /// Queues that are filled in turn; one is drained.
    pub queues: usize,
}

/// Rates of each tenth.
struct Progress {
    broker: Broker,
    messages: u64,
    started: Instant,
    cpu: f64,
    last: (Instant, u64),
    tenth: u64,
    highest: u64,
}

impl Progress {
    fn new(broker: &Broker, messages: u64) -> Self {
        let now = Instant::now();
        let cpu = broker.pid.map_or(0.0, cpu_seconds);
        Self { broker: *broker, messages, started: now, cpu, last: (now, 0), tenth: 1, highest: 0 }
    }

    fn at(&mut self, done: u64) {
        if done * 10 < self.messages * self.tenth {
            return;
        }
        let (now, resident) = (Instant::now(), self.broker.pid.map_or(0, resident_bytes));
        self.highest = self.highest.max(resident);
        let rate = (done - self.last.1) as f64 / now.duration_since(self.last.0).as_secs_f64();
        println!(
            "  {:>3} % {:>9.0} a second, {:>5} MiB resident",
            self.tenth * 10,
            rate,
            resident >> 20
        );
        self.last = (now, done);
        self.tenth += 1;
    }

    fn end(&self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let cpu = self.broker.pid.map_or(0.0, cpu_seconds) - self.cpu;
        println!(
            "  all   {:>9.0} a second, {:.0} a broker CPU second, at most {} MiB resident",
            self.messages as f64 / seconds,
            self.messages as f64 / cpu.max(0.001),
            self.highest >> 20
        );
    }
}

fn queue(at: usize) -> String {
    if at == 0 { QUEUE.to_owned() } else { format!("{QUEUE}.{at}") }
}

fn source(at: usize) -> Source {
    Source {
        queue: queue(at),
        durable: true,
        prefetch: WINDOW,
        ack_every: ACK_EVERY,
        ..Source::default()
    }
}

/// Publishes all messages and waits for every confirm.
pub fn fill(broker: &Broker, size: Size) -> Result<()> {
    let address = broker.amqp.context("no AMQP address was given")?;
    let sources: Vec<Source> = (0..size.queues).map(source).collect();
    amqp::make(address, &sources)?;
    let keys = (0..size.queues).map(queue).collect();
    let target = Target { exchange: String::new(), keys, durable: true, confirm: true };
    let mut client = amqp::publisher(address, &target, &Body::binary(size.body_bytes))?;
    println!("filling: {} messages of {} bytes", size.messages, size.body_bytes);
    let mut progress = Progress::new(broker, size.messages);
    let mut sent = 0;
    while client.client.confirmed() < size.messages {
        let room = u64::from(WINDOW) - (sent - client.client.confirmed());
        for _ in 0..room.min(size.messages - sent) {
            let stamp = Stamp { producer: 0, sequence: sent, time: 0 };
            client.client.put(stamp, &mut client.link.out);
            sent += 1;
            if client.link.out.len() >= BATCH_BYTES {
                break;
            }
        }
        client.link.flush()?;
        answers(&mut client)?;
        progress.at(client.client.confirmed());
    }
    progress.end();
    ensure!(
        client.client.refused() == 0,
        "the broker refused {} messages",
        client.client.refused()
    );
    Ok(())
}

/// Consumes all messages, and checks that they come complete and in order.
pub fn drain(broker: &Broker, size: Size) -> Result<()> {
    let address = broker.amqp.context("no AMQP address was given")?;
    ensure!(size.queues == 1, "drain works with one queue: --queues 1");
    println!("draining: {} messages", size.messages);
    let mut progress = Progress::new(broker, size.messages);
    let mut client = amqp::consumer(address, &source(0))?;
    let mut sink = Sink::new(1, Form::Binary, size.body_bytes);
    let mut came = Instant::now();
    while sink.tally.received() < size.messages && came.elapsed() < QUIET {
        let link = &mut client.link;
        if link.read()? > 0 {
            came = Instant::now();
        }
        let mut out = std::mem::take(&mut link.out);
        let taken = client.client.take(link.input(), &mut sink, &mut out)?;
        link.out = out;
        link.taken(taken);
        link.flush()?;
        progress.at(sink.tally.received());
    }
    progress.end();
    let account =
        crate::tally::account(&[sink.tally], &[size.messages], crate::tally::Spread::Shared);
    println!(
        "  {} lost, {} duplicated, {} out of order",
        account.lost, account.duplicated, account.disordered
    );
    ensure!(
        account.lost + account.duplicated + account.disordered + account.foreign == 0,
        "the queue did not deliver what was sent"
    );
    Ok(())
}
