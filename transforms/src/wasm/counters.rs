//! Counters of a module: calls, faults, durations.

use crossdock_core::transform::{FailureKind, ModuleLook};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of the histogram: up to 1 µs, 2 µs, 4 µs, ..., and one for all longer calls.
pub(super) const BUCKETS: usize = 24;

/// Counters of one module.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    calls: AtomicU64,
    instances: AtomicU64,
    faults: [AtomicU64; 4],
    latency: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

const KINDS: [FailureKind; 4] =
    [FailureKind::Trap, FailureKind::Timeout, FailureKind::Memory, FailureKind::Guest];

impl Counters {
    pub(crate) fn call(&self, took: Duration) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(us, Ordering::Relaxed);
        let bucket = match us {
            0 | 1 => 0,
            more => (u64::BITS - (more - 1).leading_zeros()) as usize,
        };
        if let Some(bucket) = self.latency.get(bucket.min(BUCKETS - 1)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn fault(&self, kind: FailureKind) {
        let of_kind = KINDS.iter().zip(&self.faults).find(|(known, _)| **known == kind);
        if let Some((_, counter)) = of_kind {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn instance(&self) {
        self.instances.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted, with what is known besides.
    pub(crate) fn look(&self, known: ModuleLook) -> ModuleLook {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let failed = KINDS.into_iter().zip(self.faults.iter().map(read));
        ModuleLook {
            calls: read(&self.calls),
            instances: read(&self.instances),
            failed: failed.collect(),
            latency: self.latency.iter().map(read).collect(),
            micros: read(&self.micros),
            ..known
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
        let status = counters.look(ModuleLook::default());
        assert_eq!(status.latency[..4], [2, 1, 2, 1]);
        assert_eq!(status.latency[BUCKETS - 1], 1);
        assert_eq!((status.calls, status.failed[2]), (7, (FailureKind::Memory, 1)));
    }
}
