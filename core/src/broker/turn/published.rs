//! What one turn takes to exchanges and what becomes of it, counted here and added to the exchanges' counters when the
//! turn is finished.

use crate::broker::vhost::exchange_counts::{ExchangeCounts, ExchangeTotals};
use crate::message::Name;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The publishes of a turn, by exchange.
#[derive(Default)]
pub(super) struct Published {
    /// The exchange that the last one was at.
    current: AtExchange,
    /// By name: one burst may go to very many.
    others: FxHashMap<Name, AtExchange>,
    /// Indices of messages of the turn that nobody published now, in their order: retained values for a new binding.
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

    /// Adds what it came to to the exchange's counters.
    #[inline]
    fn count(mut self) {
        self.totals.unaccounted = self.entered.wrapping_sub(self.totals.published()) as i64;
        if let Some(counts) = self.counts {
            counts.add(&self.totals);
        }
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
        let known = self.others.remove(&exchange.name);
        let next = known.unwrap_or_else(|| AtExchange {
            counts: Some(exchange.clone()),
            ..AtExchange::default()
        });
        let before = std::mem::replace(&mut self.current, next);
        if let Some(counts) = &before.counts {
            // One that was deleted and declared again in between has two.
            if let Some(deleted) = self.others.insert(counts.name.clone(), before) {
                deleted.count();
            }
        }
    }

    /// The message that entered last, or that it was gone to last, was routed, or nobody was there.
    #[inline]
    pub fn left(&mut self, is_routed: bool) {
        let totals = &mut self.current.totals;
        match is_routed {
            true => totals.routed += 1,
            false => totals.unroutable += 1,
        }
    }

    /// A message was at that exchange, and was routed, or nobody was there.
    #[inline]
    pub fn passed(&mut self, exchange: &Arc<ExchangeCounts>, is_routed: bool) {
        self.entered(exchange);
        self.left(is_routed);
    }

    /// The message of that index is a retained value for a new binding.
    pub fn is_replayed(&mut self, index: usize) {
        self.replayed.push(index);
    }

    /// A message that was routed to that exchange was refused after that by what it was routed to.
    pub fn refused(&mut self, index: usize, exchange: &Name) {
        if self.replayed.binary_search(&index).is_ok() {
            return;
        }
        let found = match self.current.is_named(exchange) {
            true => Some(&mut self.current),
            false => self.others.get_mut(exchange),
        };
        if let Some(at) = found {
            at.totals.routed = at.totals.routed.saturating_sub(1);
            at.totals.refused += 1;
        }
    }

    /// All of them were refused together.
    pub fn refused_all(&mut self) {
        for at in std::iter::once(&mut self.current).chain(self.others.values_mut()) {
            at.totals = ExchangeTotals { refused: at.entered, ..ExchangeTotals::default() };
        }
    }

    /// The turn is finished.
    #[inline]
    pub fn count(&mut self) {
        if self.current.entered == 0 && self.others.is_empty() {
            return;
        }
        std::mem::take(&mut self.current).count();
        if !self.others.is_empty() {
            self.others.drain().for_each(|(_, at)| at.count());
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

    #[test]
    fn an_exchange_that_is_declared_again_has_counters_of_its_own() {
        let exchange = |name: &str| Arc::new(ExchangeCounts::new(&name.into()));
        let [old, new, other] = ["a", "a", "b"].map(exchange);
        let mut published = Published::default();
        for exchange in [&old, &new, &other, &new, &other] {
            published.entered(exchange);
            published.left(true);
        }
        published.count();
        let routed = [&old, &new, &other].map(|counts| counts.totals().routed);
        assert_eq!(routed, [1, 2, 2]);
        assert!([old, new, other].iter().all(|counts| counts.totals().unaccounted == 0));
    }
}
