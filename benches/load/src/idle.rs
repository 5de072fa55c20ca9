//! Idle connections: how fast they are made, how much memory each takes, and whether all of them still answer.

use crate::stage::Broker;
use crate::usage::{cpu_seconds, resident_bytes};
use crate::wire::{Link, mqtt};
use anyhow::{Context, Result, bail};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of the generator's buffer for each connection.
const INBOX_BYTES: usize = 64;
/// File descriptors that the generator needs besides connections.
const OTHER_FILES: usize = 64;
/// Pause before the broker's memory is read, so that it has no work left.
const SETTLE: Duration = Duration::from_millis(500);

/// The measured figures.
#[derive(Debug)]
pub struct Idle {
    pub connects_per_second: f64,
    /// Connections for each second of the broker's CPU time.
    pub connects_per_cpu: Option<f64>,
    pub bytes_each: Option<f64>,
    pub resident_bytes: Option<u64>,
}

/// Opens `count` connections, holds them, and pings each one.
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

/// The limit of open files of this process.
fn files_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    soft.unwrap_or(1024)
}
