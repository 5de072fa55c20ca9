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
/// So many are taken or put back before others have their turn.
pub const SLICE: usize = 4096;

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
        if self.tags.capacity() > SLICE && self.tags.len() < self.tags.capacity() / 4 {
            self.tags.shrink_to(self.tags.len() * 2);
        }
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        self.tags.capacity() * size_of::<(Tag, bool)>()
    }

    /// True for a tag that is unsettled.
    pub fn waits(&self, tag: u64) -> bool {
        self.find(tag).and_then(|at| self.tags.get(at)).is_some_and(|(_, waits)| *waits)
    }

    /// Takes up to [`SLICE`] of the first ones up to `tag`. True when there are more.
    pub fn take_some(&mut self, tag: u64, mut taken: impl FnMut(Tag)) -> bool {
        for _ in 0..SLICE {
            let Some((next, waits)) = self.tags.pop_front_if(|(next, _)| next.tag <= tag) else {
                break;
            };
            match waits {
                true => taken(next),
                false => self.holes -= 1,
            }
        }
        self.sweep();
        self.tags.front().is_some_and(|(next, _)| next.tag <= tag)
    }

    /// Puts back up to [`SLICE`] of what was taken, the last ones of `tags` first; `tags` ascend. Those whose places
    /// are gone are collected in `homeless`, for [`Unsettled::merge`]. True when there are more.
    pub fn put_back_some(&mut self, tags: &mut Vec<Tag>, homeless: &mut Vec<Tag>) -> bool {
        for _ in 0..SLICE {
            let Some(tag) = tags.pop() else { return false };
            if self.tags.front().is_none_or(|(first, _)| tag.tag < first.tag) {
                self.tags.push_front((tag, true));
                continue;
            }
            match self.find(tag.tag).and_then(|at| self.tags.get_mut(at)) {
                Some((_, waits)) => {
                    *waits = true;
                    self.holes -= 1;
                }
                None => homeless.push(tag),
            }
        }
        !tags.is_empty()
    }

    /// Puts back those that have no places.
    pub fn merge(&mut self, homeless: Vec<Tag>) {
        if homeless.is_empty() {
            return;
        }
        self.tags.retain(|(_, waits)| *waits);
        self.holes = 0;
        // The last ones came first.
        self.tags.extend(homeless.into_iter().rev().map(|tag| (tag, true)));
        // Both parts ascend: a stable sort finds them, and only merges.
        self.tags.make_contiguous().sort_by_key(|(tag, _)| tag.tag);
    }
}

#[cfg(test)]
impl Unsettled {
    /// Takes everything up to `tag`, which has to wait itself; false and nothing when it does not.
    fn take_through(&mut self, tag: u64, mut taken: impl FnMut(Tag)) -> bool {
        if !self.waits(tag) {
            return false;
        }
        while self.take_some(tag, &mut taken) {}
        true
    }

    /// Takes everything.
    fn take_all(&mut self, mut taken: impl FnMut(Tag)) {
        while self.take_some(u64::MAX, &mut taken) {}
    }

    /// Puts back what was taken.
    fn put_back(&mut self, mut tags: Vec<Tag>) {
        tags.sort_by_key(|tag| tag.tag);
        let mut homeless = Vec::new();
        while self.put_back_some(&mut tags, &mut homeless) {}
        self.merge(homeless);
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

    #[test]
    fn what_was_rolled_back_finds_its_place_or_gets_one() {
        let mut unsettled = filled(1..=1000);
        let mut taken: Vec<Tag> = (2..=900).rev().filter_map(|n| unsettled.take(n)).collect();
        assert!(unsettled.tags.len() < 1000, "holes were closed");
        taken.extend(unsettled.take(950));
        unsettled.put_back(taken);
        assert_eq!((unsettled.len(), unsettled.holes), (1000, 0));
        let mut order = Vec::new();
        assert!(unsettled.take_through(1000, |t| order.push(t.tag)));
        assert_eq!(order, (1..=1000).collect::<Vec<u64>>());
    }

    #[test]
    fn all_are_taken_slice_by_slice_and_their_memory_is_given_back() {
        let count = 10 * SLICE as u64;
        let mut unsettled = filled(1..=count);
        let (mut taken, mut slices) = (0, 1);
        while unsettled.take_some(u64::MAX, |_| taken += 1) {
            assert_eq!(taken, slices * SLICE as u64);
            slices += 1;
        }
        assert_eq!((taken, slices), (count, 10));
        assert!(unsettled.memory() <= SLICE * size_of::<(Tag, bool)>());
    }

    #[test]
    fn a_rollback_costs_what_it_puts_back_and_not_what_waits() {
        let mut unsettled = filled(1..=200_000);
        let started = std::time::Instant::now();
        for _ in 0..20_000 {
            let taken = unsettled.take(100_000).into_iter().collect();
            unsettled.put_back(taken);
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
    }
}
