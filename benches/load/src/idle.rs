//! Connections that do nothing: how fast they are made, what each of them costs, and whether all of them are
//! alive.

use crate::stage::Broker;
use crate::usage::{cpu_seconds, resident_bytes};
use crate::wire::{Link, mqtt};
use anyhow::{Context, Result, bail};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// The generator's own buffer for each of them.
const INBOX_BYTES: usize = 64;
/// What is opened besides connections.
const OTHER_FILES: usize = 64;
/// The broker gets so long to come to rest.
const SETTLE: Duration = Duration::from_millis(500);

/// What was measured.
#[derive(Debug)]
pub struct Idle {
    pub connects_per_second: f64,
    /// A second of the broker's CPU time.
    pub connects_per_cpu: Option<f64>,
    pub bytes_each: Option<f64>,
    pub resident_bytes: Option<u64>,
}

/// Opens `count` connections, holds them, and asks each one for a sign of life.
pub fn idle(broker: &Broker, count: usize) -> Result<Idle> {
    let address = broker.mqtt()?;
    let limit = files_max();
    if limit < count + OTHER_FILES {
        bail!("this process may open {limit} files only: raise the limit (ulimit -n)");
    }
    let before = broker.pid.map(resident_bytes);
    let cpu_before = broker.pid.map(cpu_seconds);
    let started = Instant::now();
    let mut links = Vec::with_capacity(count);
    for at in 0..count {
        let link = Link::with_inbox(address, INBOX_BYTES)?;
        let id = format!("idle-{}-{at}", std::process::id());
        links.push(mqtt::connect(link, &id).with_context(|| format!("connection {at}"))?);
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu = broker.pid.map(cpu_seconds).zip(cpu_before).map(|(after, before)| after - before);
    thread::sleep(SETTLE);
    let after = broker.pid.map(resident_bytes);
    for (at, link) in links.iter_mut().enumerate() {
        mqtt::ping(link).with_context(|| format!("connection {at} of {count} is not alive"))?;
    }
    let each = |(before, after): (u64, u64)| after.saturating_sub(before) as f64 / count as f64;
    Ok(Idle {
        connects_per_second: count as f64 / seconds,
        connects_per_cpu: cpu.filter(|cpu| *cpu > 0.0).map(|cpu| count as f64 / cpu),
        bytes_each: before.zip(after).map(each),
        resident_bytes: after,
    })
}

/// Files that this process may have open.
fn files_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    soft.unwrap_or(1024)
}
