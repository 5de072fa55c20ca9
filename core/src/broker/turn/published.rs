//! What one turn takes to exchanges and what becomes of it, counted here and added to the exchanges' counters when the
//! turn is finished.

use crate::broker::vhost::exchange_counts::{ExchangeCounts, ExchangeTotals};
use crate::message::Name;
use std::sync::Arc;

/// The publishes of a turn, by exchange.
#[derive(Default)]
pub(super) struct Published {
    at: Vec<AtExchange>,
    /// Indices of messages of the turn that nobody published now: retained values for a new binding.
    replayed: Vec<usize>,
}

struct AtExchange {
    counts: Arc<ExchangeCounts>,
    entered: u64,
    totals: ExchangeTotals,
}

impl Published {
    /// A message is at that exchange. What [`Published::left`] takes.
    #[inline]
    pub fn entered(&mut self, exchange: Option<&Arc<ExchangeCounts>>) -> usize {
        let Some(exchange) = exchange else { return usize::MAX };
        // Nearly always the one before.
        let last = self.at.len().wrapping_sub(1);
        if let Some(at) = self.at.get_mut(last)
            && Arc::ptr_eq(&at.counts, exchange)
        {
            at.entered += 1;
            return last;
        }
        self.entered_anew(exchange)
    }

    fn entered_anew(&mut self, exchange: &Arc<ExchangeCounts>) -> usize {
        let known = self.at.iter().position(|at| Arc::ptr_eq(&at.counts, exchange));
        let index = known.unwrap_or(self.at.len());
        if known.is_none() {
            let (counts, totals) = (exchange.clone(), ExchangeTotals::default());
            self.at.push(AtExchange { counts, entered: 0, totals });
        }
        if let Some(at) = self.at.get_mut(index) {
            at.entered += 1;
        }
        index
    }

    /// That message was routed, or nobody was there.
    #[inline]
    pub fn left(&mut self, entered: usize, is_routed: bool) {
        if let Some(at) = self.at.get_mut(entered) {
            match is_routed {
                true => at.totals.routed += 1,
                false => at.totals.unroutable += 1,
            }
        }
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
        if let Some(at) = self.at.iter_mut().find(|at| at.counts.name == *exchange) {
            at.totals.routed = at.totals.routed.saturating_sub(1);
            at.totals.refused += 1;
        }
    }

    /// All of them were refused together.
    pub fn refused_all(&mut self) {
        for at in &mut self.at {
            at.totals = ExchangeTotals { refused: at.entered, ..ExchangeTotals::default() };
        }
    }

    /// The turn is finished.
    #[inline]
    pub fn count(&mut self) {
        for mut at in self.at.drain(..) {
            at.totals.unaccounted = at.entered.wrapping_sub(at.totals.published()) as i64;
            at.counts.add(&at.totals);
        }
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
            let entered = published.entered(Some(exchange));
            published.left(entered, is_routed);
        }
        let nowhere = published.entered(None);
        published.left(nowhere, true);
        published.is_replayed(7);
        published.refused(7, &"a".into());
        published.refused(3, &"a".into());
        published.entered(Some(&b));
        published.count();
        let totals = |routed, unroutable, refused, unaccounted| ExchangeTotals {
            routed,
            unroutable,
            refused,
            unaccounted,
        };
        assert_eq!(a.totals(), totals(1, 1, 1, 0));
        assert_eq!(b.totals(), totals(1, 0, 0, 1), "one of them has no outcome");
    }
}
