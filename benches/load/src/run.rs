//! One scenario from start to end: warm up, measure, stop the producers, wait for the remaining deliveries, count.

use crate::flow::Flow;
use crate::histogram::Histogram;
use crate::scenario::Scenario;
use crate::stage::{Broker, Stage, set_up, tear_down};
use crate::tally::{Account, Tally, account};
use crate::threads::{Reader, Sent, consume, consume_many, produce};
use crate::usage::{cpu_seconds, own_cpu_seconds, resident_bytes};
use crate::wire::Sink;
use anyhow::{Context, Result, anyhow};
use std::sync::atomic::Ordering;
use std::thread::{self, Builder, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// The remaining deliveries are over when none came for this long.
const QUIET: Duration = Duration::from_secs(2);
/// Longest wait for the remaining deliveries.
const DRAIN_TIME: Duration = Duration::from_secs(60);
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// Up to this many consumers have a thread each.
const THREADS_MAX: usize = 4;
/// Prefixes of thread names, by which their CPU time is found.
const SENDERS: &str = "send-";
const READERS: &str = "read-";

/// Durations of a run.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub warm_up: Duration,
    pub measure: Duration,
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    pub account: Account,
    /// Messages that the broker refused, and messages without a confirm at the end.
    pub refused: u64,
    pub unconfirmed: u64,
    /// Within the measured time.
    pub deliveries: u64,
    pub seconds: f64,
    /// CPU seconds in that time: the broker's, our senders', our readers'.
    pub broker_cpu: Option<f64>,
    pub send_cpu: f64,
    pub read_cpu: f64,
    /// Highest resident memory of the broker.
    pub resident_bytes: Option<u64>,
    pub latency: Histogram,
}

/// Counters at one moment.
struct Sample {
    at: Instant,
    deliveries: u64,
    broker_cpu: Option<f64>,
    send_cpu: f64,
    read_cpu: f64,
}

/// Runs a scenario.
pub fn run(scenario: &Scenario, broker: &Broker, times: Times) -> Result<Outcome> {
    let name = std::process::id().to_string();
    let stage = set_up(scenario, broker, &name)?;
    let outcome = perform(scenario, broker, stage, times);
    tear_down(scenario, broker, &name)
        .context("cannot remove the queues and exchanges of the run")?;
    outcome
}

type Senders<'scope> = Vec<ScopedJoinHandle<'scope, Result<Sent>>>;
type Readers<'scope> = Vec<ScopedJoinHandle<'scope, Result<Vec<Sink>>>>;

fn perform(scenario: &Scenario, broker: &Broker, stage: Stage, times: Times) -> Result<Outcome> {
    let (producers, consumers) = (stage.producers.len(), stage.consumers.len());
    let flow = Flow::new(producers, consumers, scenario.spread, scenario.ahead);
    thread::scope(|scope| {
        let (senders, readers) = start(scope, scenario, &flow, stage)?;
        let mut outcome = measure(scenario, broker, &flow, times, &senders);
        flow.stop_sending.store(true, Ordering::Relaxed);
        let sent: Vec<Result<Sent>> = senders.into_iter().map(joined).collect();
        if sent.iter().all(Result::is_ok) {
            drain(scenario, &flow, &readers);
        }
        flow.stop_reading.store(true, Ordering::Relaxed);
        let sinks: Vec<Result<Vec<Sink>>> = readers.into_iter().map(joined).collect();
        let sent = sent.into_iter().collect::<Result<Vec<_>>>()?;
        let sinks: Vec<Sink> =
            sinks.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        outcome.refused = sent.iter().map(|sent| sent.refused).sum();
        outcome.unconfirmed = sent.iter().map(|sent| sent.unconfirmed).sum();
        sinks.iter().for_each(|sink| outcome.latency.merge(&sink.latency));
        let (sent, clients): (Vec<u64>, Vec<_>) =
            sent.into_iter().map(|sent| (sent.messages, sent.client)).unzip();
        drop(clients);
        let tallies: Vec<Tally> = sinks.into_iter().map(|sink| sink.tally).collect();
        outcome.account = account(&tallies, &sent, scenario.spread);
        Ok(outcome)
    })
}

fn joined<T>(thread: ScopedJoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(anyhow!("a thread of the generator failed")))
}

fn start<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    scenario: &'env Scenario,
    flow: &'env Flow,
    stage: Stage,
) -> Result<(Senders<'scope>, Readers<'scope>)> {
    let producers = stage.producers.len();
    let sink = || Sink::new(producers, stage.body.form, stage.body_bytes);
    let readers = stage.consumers.into_iter().enumerate();
    let mut readers: Vec<Reader> =
        readers.map(|(at, client)| Reader::new(client, sink(), at, scenario)).collect();
    let mut reading = Vec::new();
    if readers.len() <= THREADS_MAX {
        for (at, reader) in readers.into_iter().enumerate() {
            let thread = Builder::new().name(format!("{READERS}{at}"));
            reading.push(thread.spawn_scoped(scope, move || consume(reader, flow))?);
        }
    } else {
        let thread = Builder::new().name(format!("{READERS}all"));
        let readers = std::mem::take(&mut readers);
        reading.push(thread.spawn_scoped(scope, move || consume_many(readers, flow))?);
    }
    let mut sending = Vec::new();
    for (number, client) in (0u32..).zip(stage.producers) {
        let thread = Builder::new().name(format!("{SENDERS}{number}"));
        let send = move || produce(client, number, scenario, flow);
        sending.push(thread.spawn_scoped(scope, send)?);
    }
    Ok((sending, reading))
}

/// Waits for the measured time, and reads all counters before and after.
fn measure(
    scenario: &Scenario,
    broker: &Broker,
    flow: &Flow,
    times: Times,
    senders: &Senders,
) -> Outcome {
    let expected = scenario.count * u64::from(scenario.producers) * scenario.copies();
    let ended = || senders.iter().all(ScopedJoinHandle::is_finished) && flow.received() >= expected;
    if scenario.count == 0 {
        thread::sleep(times.warm_up);
    }
    flow.measuring.store(true, Ordering::Relaxed);
    let first = sample(broker, flow);
    let mut resident = broker.pid.map(resident_bytes);
    while first.at.elapsed() < times.measure && !ended() {
        let left = times.measure.saturating_sub(first.at.elapsed());
        thread::sleep(SAMPLE_EVERY.min(left));
        resident = resident.max(broker.pid.map(resident_bytes));
    }
    let last = sample(broker, flow);
    flow.measuring.store(false, Ordering::Relaxed);
    Outcome {
        deliveries: last.deliveries - first.deliveries,
        seconds: last.at.duration_since(first.at).as_secs_f64(),
        broker_cpu: last.broker_cpu.zip(first.broker_cpu).map(|(last, first)| last - first),
        send_cpu: last.send_cpu - first.send_cpu,
        read_cpu: last.read_cpu - first.read_cpu,
        resident_bytes: resident,
        ..Outcome::default()
    }
}

fn sample(broker: &Broker, flow: &Flow) -> Sample {
    Sample {
        at: Instant::now(),
        deliveries: flow.received(),
        broker_cpu: broker.pid.map(cpu_seconds),
        send_cpu: own_cpu_seconds(SENDERS),
        read_cpu: own_cpu_seconds(READERS),
    }
}

/// Waits until all messages have been delivered, or no more deliveries come.
fn drain(scenario: &Scenario, flow: &Flow, readers: &Readers) {
    let expected = flow.sent() * scenario.copies();
    let started = Instant::now();
    let (mut received, mut moved) = (flow.received(), Instant::now());
    while received < expected && moved.elapsed() < QUIET && started.elapsed() < DRAIN_TIME {
        if readers.iter().any(ScopedJoinHandle::is_finished) {
            return;
        }
        thread::sleep(Duration::from_millis(5));
        let now = flow.received();
        if now != received {
            (received, moved) = (now, Instant::now());
        }
    }
}
