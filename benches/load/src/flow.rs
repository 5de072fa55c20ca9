//! State shared by the threads of a run: the progress of each, and when to stop. Each counter has one writer.

use crate::tally::Spread;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// A counter with a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// Shared by all threads of a run.
pub struct Flow {
    /// Messages sent, by producer.
    pub sent: Vec<Counter>,
    /// Deliveries received, by consumer.
    pub received: Vec<Counter>,
    pub measuring: AtomicBool,
    pub stop_sending: AtomicBool,
    pub stop_reading: AtomicBool,
    spread: Spread,
    ahead: u64,
    started: Instant,
}

impl Flow {
    pub fn new(producers: usize, consumers: usize, spread: Spread, ahead: u64) -> Self {
        let counters = |count| (0..count).map(|_| Counter::default()).collect();
        Self {
            sent: counters(producers),
            received: counters(consumers),
            measuring: AtomicBool::new(false),
            stop_sending: AtomicBool::new(false),
            stop_reading: AtomicBool::new(false),
            spread,
            ahead,
            started: Instant::now(),
        }
    }

    /// The run's clock, in nanoseconds.
    pub fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Messages sent by all producers.
    pub fn sent(&self) -> u64 {
        self.sent.iter().map(Counter::get).sum()
    }

    /// Deliveries to all consumers.
    pub fn received(&self) -> u64 {
        self.received.iter().map(Counter::get).sum()
    }

    /// Messages that one producer may send now, so that none of the consumers falls too far behind.
    pub fn room(&self) -> u64 {
        if self.ahead == 0 {
            return u64::MAX;
        }
        let done = match self.spread {
            Spread::Shared => self.received(),
            Spread::Copies => self.received.iter().map(Counter::get).min().unwrap_or(0),
        };
        let free = self.ahead.saturating_sub(self.sent().saturating_sub(done));
        free / self.sent.len().max(1) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_copy_or_all_together_bound_the_producers() {
        let fill = |flow: &Flow| {
            flow.sent[0].set(60);
            flow.sent[1].set(30);
            flow.received[0].set(50);
            flow.received[1].set(10);
        };
        let shared = Flow::new(2, 2, Spread::Shared, 100);
        fill(&shared);
        assert_eq!(shared.room(), (100 - 30) / 2);
        let copies = Flow::new(2, 2, Spread::Copies, 100);
        fill(&copies);
        assert_eq!(copies.room(), (100 - 80) / 2);
        copies.sent[0].set(1000);
        assert_eq!(copies.room(), 0);
        assert_eq!(Flow::new(1, 1, Spread::Shared, 0).room(), u64::MAX);
    }
}
