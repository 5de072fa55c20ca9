//! Delivery tags of one channel that wait for an acknowledgement: tag → consumer and offset. Tags are dense and
//! grow, so it is a sorted deque; settled ones in the middle are holes until they are removed.

use crossdock_core::{ConsumerId, Offset};
use std::collections::VecDeque;

/// One delivery that has to be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    pub tag: u64,
    pub consumer: ConsumerId,
    pub offset: Offset,
}

/// Holes are removed when they are more than half of the entries, and at least this many.
const HOLES_MIN: usize = 64;

/// All of a channel. Invariant: sorted by tag; the first entry is no hole.
#[derive(Debug, Default)]
pub struct Unsettled {
    tags: VecDeque<(Tag, bool)>,
    holes: usize,
}

impl Unsettled {
    /// Notes a delivery; its tag is above all others.
    pub fn push(&mut self, tag: Tag) {
        self.tags.push_back((tag, true));
    }

    /// How many wait.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.tags.len() - self.holes
    }

    fn find(&self, tag: u64) -> Option<usize> {
        let first = self.tags.front()?.0.tag;
        let guess = usize::try_from(tag.checked_sub(first)?).ok()?;
        // Without no-ack deliveries in between, the index is the distance from the first tag.
        match self.tags.get(guess) {
            Some((found, _)) if found.tag == tag => Some(guess),
            _ => self.tags.binary_search_by_key(&tag, |(t, _)| t.tag).ok(),
        }
    }

    /// Takes one out; none when it is unknown or settled.
    pub fn take(&mut self, tag: u64) -> Option<Tag> {
        let at = self.find(tag)?;
        let (found, waits) = self.tags.get_mut(at)?;
        if !std::mem::take(waits) {
            return None;
        }
        let found = *found;
        self.holes += 1;
        self.sweep();
        Some(found)
    }

    fn sweep(&mut self) {
        while let Some((_, false)) = self.tags.front() {
            self.tags.pop_front();
            self.holes -= 1;
        }
        if self.holes >= HOLES_MIN && self.holes * 2 > self.tags.len() {
            self.tags.retain(|(_, waits)| *waits);
            self.holes = 0;
        }
    }

    /// Takes everything up to `tag`, which has to wait itself; false and nothing when it does not.
    pub fn take_through(&mut self, tag: u64, mut taken: impl FnMut(Tag)) -> bool {
        let Some(at) = self.find(tag) else { return false };
        if self.tags.get(at).is_none_or(|(_, waits)| !waits) {
            return false;
        }
        for (tag, waits) in self.tags.drain(..=at) {
            match waits {
                true => taken(tag),
                false => self.holes -= 1,
            }
        }
        self.sweep();
        true
    }

    /// Takes everything.
    pub fn take_all(&mut self, mut taken: impl FnMut(Tag)) {
        self.holes = 0;
        self.tags.drain(..).filter(|(_, waits)| *waits).for_each(|(tag, _)| taken(tag));
    }

    /// Puts back what was taken.
    pub fn put_back(&mut self, tags: Vec<Tag>) {
        self.tags.retain(|(_, waits)| *waits);
        self.holes = 0;
        self.tags.extend(tags.into_iter().map(|tag| (tag, true)));
        self.tags.make_contiguous().sort_unstable_by_key(|(tag, _)| tag.tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(tag: u64) -> Tag {
        Tag { tag, consumer: ConsumerId(1), offset: Offset(tag * 10) }
    }

    fn filled(tags: impl Iterator<Item = u64>) -> Unsettled {
        let mut unsettled = Unsettled::default();
        tags.for_each(|n| unsettled.push(tag(n)));
        unsettled
    }

    #[test]
    fn a_tag_is_taken_once() {
        let mut unsettled = filled(1..=5);
        assert_eq!(unsettled.take(3), Some(tag(3)));
        assert_eq!(unsettled.take(3), None);
        assert_eq!(unsettled.take(9), None);
        assert_eq!(unsettled.take(0), None);
        assert_eq!(unsettled.len(), 4);
    }

    #[test]
    fn gaps_of_no_ack_deliveries_are_found_over() {
        let mut unsettled = filled((1..=100).filter(|n| n % 3 == 0));
        assert_eq!(unsettled.take(99), Some(tag(99)));
        assert_eq!(unsettled.take(50), None);
        let mut taken = Vec::new();
        assert!(unsettled.take_through(9, |t| taken.push(t.tag)));
        assert_eq!(taken, [3, 6, 9]);
        assert!(!unsettled.take_through(9, |_| {}));
    }

    #[test]
    fn holes_do_not_gather_behind_an_old_delivery() {
        let mut unsettled = filled(1..=1);
        for n in 2..100_000 {
            unsettled.push(tag(n));
            assert_eq!(unsettled.take(n), Some(tag(n)));
        }
        assert_eq!(unsettled.len(), 1);
        assert!(unsettled.tags.len() <= 2 * HOLES_MIN + 2);
        let mut taken = Vec::new();
        unsettled.take_all(|t| taken.push(t.tag));
        assert_eq!(taken, [1]);
    }

    #[test]
    fn what_was_rolled_back_waits_again_in_order() {
        let mut unsettled = filled(1..=4);
        let taken = vec![unsettled.take(2).unwrap(), unsettled.take(1).unwrap()];
        unsettled.put_back(taken);
        let mut order = Vec::new();
        unsettled.take_all(|t| order.push(t.tag));
        assert_eq!(order, [1, 2, 3, 4]);
    }
}
