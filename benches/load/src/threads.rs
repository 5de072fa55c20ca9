//! The work of the threads: producers fill their window and wait, consumers read deliveries. A batch costs one reading
//! of the clock and one system call.

use crate::flow::Flow;
use crate::scenario::Scenario;
use crate::stamp::Stamp;
use crate::tally::SEQUENCE_MAX;
use crate::wire::{Client, Consume, Produce, Sink};
use anyhow::{Context, Result};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// Approximate bytes of one write.
const BATCH_BYTES: usize = 64 * 1024;
/// Pause of a producer whose window is full.
const WINDOW_PAUSE: Duration = Duration::from_micros(200);
/// Pause of a thread with many consumers when none of them got a delivery.
const SWEEP_PAUSE: Duration = Duration::from_micros(500);
/// Longest wait for confirms after the last message.
const CONFIRM_TIME: Duration = Duration::from_secs(20);
/// If a producer is late by more than this, the stamp has the time when the message was due, not when it was sent.
const LATE: u64 = 1_000_000;

/// The result of a producer.
pub struct Sent {
    /// The connection, kept open: some brokers drop messages not routed yet when their publisher disconnects.
    pub client: Client<dyn Produce>,
    pub messages: u64,
    pub unconfirmed: u64,
    pub refused: u64,
}

/// Sends until the run stops, then waits for the outstanding confirms.
pub fn produce(
    mut client: Client<dyn Produce>,
    number: u32,
    scenario: &Scenario,
    flow: &Flow,
) -> Result<Sent> {
    let mut producer = Producer { number, scenario, flow, sent: 0, started: flow.now() };
    while !flow.stop_sending.load(Ordering::Relaxed) && producer.sent < producer.last() {
        producer.turn(&mut client)?;
    }
    let confirms = scenario.in_flight > 0;
    let started = Instant::now();
    while confirms && client.client.confirmed() < producer.sent && started.elapsed() < CONFIRM_TIME
    {
        answers(&mut client)?;
    }
    let unconfirmed = if confirms { producer.sent - client.client.confirmed() } else { 0 };
    let refused = client.client.refused();
    Ok(Sent { messages: producer.sent, unconfirmed, refused, client })
}

struct Producer<'a> {
    number: u32,
    scenario: &'a Scenario,
    flow: &'a Flow,
    sent: u64,
    started: u64,
}

impl Producer<'_> {
    /// Messages after which it ends.
    fn last(&self) -> u64 {
        if self.scenario.count == 0 { SEQUENCE_MAX } else { self.scenario.count }
    }

    /// Sends one batch, or waits once.
    fn turn(&mut self, client: &mut Client<dyn Produce>) -> Result<()> {
        let in_flight = match self.scenario.in_flight {
            0 => u64::MAX,
            window => window - (self.sent - client.client.confirmed()),
        };
        if in_flight == 0 {
            return answers(client);
        }
        let now = self.flow.now();
        let due = self.due(now);
        let room = in_flight.min(self.flow.room()).min(due).min(self.last() - self.sent);
        if room == 0 {
            let pause = if due == 0 { self.until_due(now) } else { WINDOW_PAUSE };
            thread::sleep(pause);
            return Ok(());
        }
        for _ in 0..room {
            let time = self.time(now);
            let stamp = Stamp { producer: self.number, sequence: self.sent, time };
            client.client.put(stamp, &mut client.link.out);
            self.sent += 1;
            if client.link.out.len() >= BATCH_BYTES {
                break;
            }
        }
        // Counted before the write, because a consumer may get the message before the write returns.
        self.flow.sent[self.number as usize].set(self.sent);
        client.link.flush()
    }

    /// Messages that should have been sent by now.
    fn due(&self, now: u64) -> u64 {
        match self.scenario.rate {
            0 => u64::MAX,
            rate => ((now - self.started) / (1_000_000_000 / rate)).saturating_sub(self.sent),
        }
    }

    fn until_due(&self, now: u64) -> Duration {
        Duration::from_nanos(self.due_at().saturating_sub(now).max(1000))
    }

    /// Time at which the next message is due.
    fn due_at(&self) -> u64 {
        self.started + (self.sent + 1) * (1_000_000_000 / self.scenario.rate.max(1))
    }

    /// The time for the stamp of a message: a wait caused by the broker counts as latency.
    fn time(&self, now: u64) -> u64 {
        match self.scenario.rate {
            0 => now,
            _ if now.saturating_sub(self.due_at()) > LATE => self.due_at(),
            _ => now,
        }
    }
}

/// Reads once and processes the input.
pub fn answers(client: &mut Client<dyn Produce>) -> Result<()> {
    let link = &mut client.link;
    link.read().context("a producer")?;
    let mut out = std::mem::take(&mut link.out);
    let taken = client.client.take(link.input(), &mut out)?;
    link.out = out;
    link.taken(taken);
    link.flush()
}

/// A consumer and its deliveries.
pub struct Reader {
    client: Client<dyn Consume>,
    sink: Sink,
    /// Its number among the consumers.
    number: usize,
    pause: Duration,
}

impl Reader {
    pub fn new(
        client: Client<dyn Consume>,
        sink: Sink,
        number: usize,
        scenario: &Scenario,
    ) -> Self {
        Self { client, sink, number, pause: Duration::from_micros(scenario.pause_us) }
    }

    /// Reads once and processes the input. Returns whether there was any.
    fn turn(&mut self, flow: &Flow) -> Result<bool> {
        let link = &mut self.client.link;
        let came = link.read().with_context(|| format!("consumer {}", self.number))? > 0;
        if came {
            self.sink.now = flow.now();
            self.sink.measuring = flow.measuring.load(Ordering::Relaxed);
            let before = self.sink.tally.received();
            let mut out = std::mem::take(&mut link.out);
            let taken = self.client.client.take(link.input(), &mut self.sink, &mut out)?;
            link.out = out;
            link.taken(taken);
            let received = self.sink.tally.received();
            if !self.pause.is_zero() {
                thread::sleep(self.pause.saturating_mul((received - before) as u32));
            }
            flow.received[self.number].set(received);
        }
        link.flush()?;
        Ok(came)
    }

    /// Acknowledges the rest.
    fn finish(&mut self) -> Result<()> {
        self.client.client.finish(&mut self.client.link.out);
        self.client.link.flush()
    }
}

/// Runs one consumer, which blocks while reading.
pub fn consume(mut reader: Reader, flow: &Flow) -> Result<Vec<Sink>> {
    // Deliveries after the stop come within one read timeout.
    loop {
        let came = reader.turn(flow)?;
        if !came && flow.stop_reading.load(Ordering::Relaxed) {
            reader.finish()?;
            return Ok(vec![reader.sink]);
        }
    }
}

/// Runs many consumers in turn, with a pause when none got a delivery.
pub fn consume_many(mut readers: Vec<Reader>, flow: &Flow) -> Result<Vec<Sink>> {
    for reader in &readers {
        reader.client.link.never_wait()?;
    }
    loop {
        let mut came = false;
        for reader in &mut readers {
            came |= reader.turn(flow)?;
        }
        if !came {
            if flow.stop_reading.load(Ordering::Relaxed) {
                readers.iter_mut().try_for_each(Reader::finish)?;
                return Ok(readers.into_iter().map(|reader| reader.sink).collect());
            }
            thread::sleep(SWEEP_PAUSE);
        }
    }
}
