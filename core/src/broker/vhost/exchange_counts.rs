//! What was published to an exchange, and what became of it. Many sessions publish to one, so that each of its counters
//! is added to once in a flush, by what the flush came to.
//!
//! The law: **published = routed + unroutable + refused**. A flush counts on its own how many messages it took to the
//! exchange; those of which it knows no outcome are `unaccounted`, and are 0 as long as the law holds.

use super::unroutable::LastUnroutable;
use crate::message::Name;
use std::sync::atomic::{AtomicU64, Ordering};

/// What messages at one exchange came to. A topic's publishes count at the exchange of the topics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExchangeTotals {
    /// At least one queue, session or content route had it.
    pub routed: u64,
    /// Nobody was there.
    pub unroutable: u64,
    /// No right, no room, a limit, a content route that said no: nobody had it.
    pub refused: u64,
    /// Published, and none of these: what the balance lacks.
    pub unaccounted: i64,
}

impl ExchangeTotals {
    /// All that was published there.
    pub fn published(&self) -> u64 {
        (self.routed + self.unroutable + self.refused).wrapping_add_signed(self.unaccounted)
    }

    /// Both together.
    pub fn add(&mut self, other: &ExchangeTotals) {
        self.routed += other.routed;
        self.unroutable += other.unroutable;
        self.refused += other.refused;
        self.unaccounted += other.unaccounted;
    }
}

/// The counters of one exchange.
#[derive(Debug, Default)]
pub struct ExchangeCounts {
    pub name: Name,
    routed: AtomicU64,
    unroutable: AtomicU64,
    refused: AtomicU64,
    unaccounted: AtomicU64,
    /// The last publish there that reached nobody.
    pub last_unroutable: LastUnroutable,
}

impl ExchangeCounts {
    /// Those of the exchange of that name.
    pub fn new(name: &Name) -> Self {
        Self { name: name.clone(), ..Self::default() }
    }

    /// Adds what a flush took there.
    pub fn add(&self, flush: &ExchangeTotals) {
        let add = |counter: &AtomicU64, count: u64| {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        };
        add(&self.routed, flush.routed);
        add(&self.unroutable, flush.unroutable);
        add(&self.refused, flush.refused);
        // Two's complement: a negative number takes away.
        add(&self.unaccounted, flush.unaccounted as u64);
    }

    /// One that was refused before it was routed.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn totals(&self) -> ExchangeTotals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ExchangeTotals {
            routed: read(&self.routed),
            unroutable: read(&self.unroutable),
            refused: read(&self.refused),
            unaccounted: read(&self.unaccounted) as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_outcome_is_told() {
        let counts = ExchangeCounts::new(&"x".into());
        counts.add(&ExchangeTotals { routed: 3, unroutable: 1, refused: 1, unaccounted: 0 });
        assert_eq!((counts.totals().published(), counts.totals().unaccounted), (5, 0));
        counts.add(&ExchangeTotals { unaccounted: 2, ..ExchangeTotals::default() });
        counts.add(&ExchangeTotals { unaccounted: -1, ..ExchangeTotals::default() });
        counts.refuse();
        assert_eq!((counts.totals().published(), counts.totals().unaccounted), (7, 1));
    }
}
