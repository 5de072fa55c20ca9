//! A set of ranges that do not touch each other: positions that are no longer needed, bytes that cannot be read. Pure.

use std::collections::BTreeMap;
use std::ops::Range;

/// Start → end (exclusive).
#[derive(Debug, Default)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a range.
    pub fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        while let Some((&begin, &stop)) = self.0.range(..=end).next_back() {
            if stop < start {
                break;
            }
            self.0.remove(&begin);
            start = start.min(begin);
            end = end.max(stop);
        }
        self.0.insert(start, end);
    }

    /// True when every number from `first` to `last`, both included, is in a range.
    pub fn covers(&self, first: u64, last: u64) -> bool {
        self.0.range(..=first).next_back().is_some_and(|(_, end)| *end > last)
    }

    /// True when part of `some` is in a range.
    pub fn touches(&self, some: Range<u64>) -> bool {
        self.0.range(..some.end).next_back().is_some_and(|(_, end)| *end > some.start)
    }

    /// Removes the ranges that end at or before this number.
    pub fn forget_below(&mut self, first: u64) {
        self.0.retain(|_, end| *end > first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut dead = Ranges::default();
        for range in [10..20, 30..40, 20..25, 5..5, 26..27] {
            dead.add(range);
        }
        assert_eq!(dead.0.len(), 3);
        assert!(dead.covers(10, 24));
        assert!(!dead.covers(10, 25));
        assert!(!dead.covers(9, 12));
        dead.add(25..30);
        assert_eq!(dead.0, BTreeMap::from([(10, 40)]));
        dead.add(12..13);
        assert!(dead.covers(10, 39));
        assert!(dead.touches(0..11) && dead.touches(39..50));
        assert!(!dead.touches(0..10) && !dead.touches(40..50));
        dead.forget_below(40);
        assert!(dead.0.is_empty());
    }
}
