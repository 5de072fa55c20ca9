//! What one turn takes to exchanges and what becomes of it, counted here and added to the exchanges' counters when the
//! turn is finished.

use crate::broker::vhost::exchange_counts::{ExchangeCounts, ExchangeTotals};
use crate::message::Name;
use std::sync::Arc;

/// The publishes of a turn, by exchange.
#[derive(Default)]
pub(super) struct Published {
    /// The exchange that the last one was at.
    current: AtExchange,
    others: Vec<AtExchange>,
    /// Indices of messages of the turn that nobody published now: retained values for a new binding.
    replayed: Vec<usize>,
}

#[derive(Default)]
struct AtExchange {
    /// None: there was no publish yet.
    counts: Option<Arc<ExchangeCounts>>,
    entered: u64,
    totals: ExchangeTotals,
}

impl AtExchange {
    fn is_at(&self, exchange: &Arc<ExchangeCounts>) -> bool {
        self.counts.as_ref().is_some_and(|counts| Arc::ptr_eq(counts, exchange))
    }

    fn is_named(&self, name: &Name) -> bool {
        self.counts.as_ref().is_some_and(|counts| counts.name == *name)
    }
}

impl Published {
    /// A message is at that exchange.
    #[inline]
    pub fn entered(&mut self, exchange: &Arc<ExchangeCounts>) {
        // Nearly always the one before.
        if !self.current.is_at(exchange) {
            self.go_to(exchange);
        }
        self.current.entered += 1;
    }

    /// What follows is about a message at that exchange.
    #[cold]
    pub fn go_to(&mut self, exchange: &Arc<ExchangeCounts>) {
        if self.current.is_at(exchange) {
            return;
        }
        let known = self.others.iter().position(|at| at.is_at(exchange));
        let next = match known {
            Some(at) => self.others.swap_remove(at),
            None => AtExchange { counts: Some(exchange.clone()), ..AtExchange::default() },
        };
        let before = std::mem::replace(&mut self.current, next);
        if before.counts.is_some() {
            self.others.push(before);
        }
    }

    /// The message that entered last, or that it was gone to last, was routed, or nobody was there.
    #[inline]
    pub fn left(&mut self, is_routed: bool) {
        self.current.totals.routed += u64::from(is_routed);
        self.current.totals.unroutable += u64::from(!is_routed);
    }

    /// The message of that index is a retained value for a new binding.
    pub fn is_replayed(&mut self, index: usize) {
        self.replayed.push(index);
    }

    /// A message that was routed to that exchange was refused after that by what it was routed to.
    pub fn refused(&mut self, index: usize, exchange: &Name) {
        if self.replayed.contains(&index) {
            return;
        }
        let mut all = std::iter::once(&mut self.current).chain(&mut self.others);
        if let Some(at) = all.find(|at| at.is_named(exchange)) {
            at.totals.routed = at.totals.routed.saturating_sub(1);
            at.totals.refused += 1;
        }
    }

    /// All of them were refused together.
    pub fn refused_all(&mut self) {
        for at in std::iter::once(&mut self.current).chain(&mut self.others) {
            at.totals = ExchangeTotals { refused: at.entered, ..ExchangeTotals::default() };
        }
    }

    /// The turn is finished.
    #[inline]
    pub fn count(&mut self) {
        if self.current.entered == 0 && self.others.is_empty() {
            return;
        }
        let current = std::mem::take(&mut self.current);
        for mut at in self.others.drain(..).chain([current]) {
            at.totals.unaccounted = at.entered.wrapping_sub(at.totals.published()) as i64;
            if let Some(counts) = at.counts {
                counts.add(&at.totals);
            }
        }
    }

    /// The messages of the turn are forgotten.
    pub fn clear(&mut self) {
        self.replayed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_exchange_gets_what_was_published_to_it() {
        let [a, b] = ["a", "b"].map(|name| Arc::new(ExchangeCounts::new(&name.into())));
        let mut published = Published::default();
        for (exchange, is_routed) in [(&a, true), (&b, true), (&a, false), (&a, true)] {
            published.entered(exchange);
            published.left(is_routed);
        }
        published.is_replayed(7);
        published.refused(7, &"a".into());
        published.refused(3, &"a".into());
        // One whose outcome comes when another exchange had its turn, and one that has none.
        published.entered(&a);
        published.entered(&b);
        published.go_to(&a);
        published.left(true);
        published.count();
        let totals = |routed, unroutable, refused, unaccounted| ExchangeTotals {
            routed,
            unroutable,
            refused,
            unaccounted,
        };
        assert_eq!(a.totals(), totals(2, 1, 1, 0));
        assert_eq!(b.totals(), totals(1, 0, 0, 1), "one of them has no outcome");
    }
}
