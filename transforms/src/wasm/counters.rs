//! Counters of a module: calls, faults, durations.

use crossdock_core::transform::FailureKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of the histogram: up to 1 µs, 2 µs, 4 µs, ..., and one for all longer calls.
pub(super) const BUCKETS: usize = 24;

/// Counters of one module.
#[derive(Debug, Default)]
pub(super) struct Counters {
    calls: AtomicU64,
    instances: AtomicU64,
    faults: [AtomicU64; 4],
    latency: [AtomicU64; BUCKETS],
}

/// The counters and state of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleStatus {
    pub name: Arc<str>,
    /// The first digits of its hash.
    pub version: Arc<str>,
    pub calls: u64,
    /// Instances made so far.
    pub instances: u64,
    /// Failed calls by kind: trap, timeout, memory, guest.
    pub faults: [(FailureKind, u64); 4],
    /// Calls that took at most 2^i µs, not counting those of the buckets before; the last bucket has no end.
    pub latency: Vec<u64>,
    /// The rest of the longest of its pauses, of which each is for one source.
    pub paused: Option<Duration>,
}

const KINDS: [FailureKind; 4] =
    [FailureKind::Trap, FailureKind::Timeout, FailureKind::Memory, FailureKind::Guest];

impl Counters {
    pub(super) fn call(&self, took: Duration) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = match us {
            0 | 1 => 0,
            more => (u64::BITS - (more - 1).leading_zeros()) as usize,
        };
        if let Some(bucket) = self.latency.get(bucket.min(BUCKETS - 1)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn fault(&self, kind: FailureKind) {
        let of_kind = KINDS.iter().zip(&self.faults).find(|(known, _)| **known == kind);
        if let Some((_, counter)) = of_kind {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn instance(&self) {
        self.instances.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn status(
        &self,
        name: &Arc<str>,
        version: &Arc<str>,
        paused: Option<Duration>,
    ) -> ModuleStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut faults = KINDS.map(|kind| (kind, 0));
        for ((_, count), counter) in faults.iter_mut().zip(&self.faults) {
            *count = read(counter);
        }
        ModuleStatus {
            name: name.clone(),
            version: version.clone(),
            calls: read(&self.calls),
            instances: read(&self.instances),
            faults,
            latency: self.latency.iter().map(read).collect(),
            paused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two() {
        let counters = Counters::default();
        for us in [0, 1, 2, 3, 4, 5, 1_000_000_000] {
            counters.call(Duration::from_micros(us));
        }
        counters.fault(FailureKind::Memory);
        let status = counters.status(&"m".into(), &"v".into(), None);
        assert_eq!(status.latency[..4], [2, 1, 2, 1]);
        assert_eq!(status.latency[BUCKETS - 1], 1);
        assert_eq!((status.calls, status.faults[2]), (7, (FailureKind::Memory, 1)));
    }
}
