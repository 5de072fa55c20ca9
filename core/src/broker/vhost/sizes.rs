//! How large the messages are that a connection published, in classes. Its own task counts, without a locked
//! instruction; whoever looks takes no lock.

use crate::subscription::{bump, read};
use std::sync::atomic::AtomicU64;

/// The largest body of each class, in bytes. Larger ones are in a class behind these.
const BOUNDS: [u32; 8] =
    [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 50_000_000, 100_000_000];

/// What was counted so far.
#[derive(Debug, Default)]
pub struct Sizes {
    classes: [AtomicU64; BOUNDS.len() + 1],
    bytes: AtomicU64,
}

/// The same, as numbers of some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SizeTotals {
    /// Messages of each class, the smallest first.
    classes: [u64; BOUNDS.len() + 1],
    /// Bytes of all bodies.
    pub bytes: u64,
}

impl Sizes {
    /// Counts a message whose body has `bytes` bytes.
    #[inline]
    pub fn note(&self, bytes: usize) {
        // Most messages are small.
        let class = BOUNDS.iter().position(|bound| bytes <= *bound as usize);
        if let Some(class) = self.classes.get(class.unwrap_or(BOUNDS.len())) {
            bump(class, 1);
        }
        bump(&self.bytes, bytes as u64);
    }

    /// What was counted.
    pub fn totals(&self) -> SizeTotals {
        SizeTotals {
            classes: std::array::from_fn(|class| self.classes.get(class).map_or(0, read)),
            bytes: read(&self.bytes),
        }
    }
}

impl SizeTotals {
    /// Both together.
    pub fn add(&mut self, other: &SizeTotals) {
        self.classes.iter_mut().zip(other.classes).for_each(|(sum, count)| *sum += count);
        self.bytes += other.bytes;
    }

    /// How many messages were counted.
    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// For each bound, in bytes: how many messages have a body of at most that.
    pub fn up_to(&self) -> [(u32, u64); BOUNDS.len()] {
        let mut sum = 0;
        let mut classes = self.classes.iter();
        BOUNDS.map(|bound| {
            sum += classes.next().copied().unwrap_or(0);
            (bound, sum)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_in_the_class_of_the_first_bound_that_it_does_not_exceed() {
        let sizes = Sizes::default();
        for bytes in [0, 100, 101, 1_000_000, 1_000_001, 100_000_001] {
            sizes.note(bytes);
        }
        let mut totals = sizes.totals();
        assert_eq!((totals.count(), totals.bytes), (6, 102_000_203));
        let counts = totals.up_to().map(|(_, count)| count);
        assert_eq!(counts, [2, 3, 3, 3, 4, 5, 5, 5]);
        totals.add(&sizes.totals());
        assert_eq!((totals.count(), totals.up_to()[7]), (12, (100_000_000, 10)));
    }
}
