//! What a consumer has in flight: how much, and which records, so that they are found when it leaves.

use crate::log::Offset;
use rustc_hash::FxHashSet;
use std::collections::VecDeque;

/// Offsets up to which it is not worth while to drop those that are settled.
const TIDY_MIN: usize = 16;
/// Offsets that a list without any keeps room for.
const ROOM: usize = 1024;

/// Records in flight with one consumer.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    pub count: u32,
    pub bytes: u64,
    /// In the order they were given. Some may be settled already.
    offsets: VecDeque<Offset>,
    /// How many are settled, at least.
    settled: usize,
}

impl InFlight {
    /// Notes a record that was given.
    pub fn give(&mut self, offset: Offset, size: u32) {
        self.count += 1;
        self.bytes += u64::from(size);
        self.offsets.push_back(offset);
    }

    /// Notes that these records are settled: so many of them, with so many bytes; what else is named was not in flight.
    /// True when [`InFlight::tidy`] has to follow.
    pub fn settle(&mut self, offsets: &[Offset], count: u32, bytes: u64) -> bool {
        self.count = self.count.saturating_sub(count);
        self.bytes = self.bytes.saturating_sub(bytes);
        for offset in offsets {
            match self.offsets.front() {
                // Nearly always they are settled in their order.
                Some(first) if first == offset => _ = self.offsets.pop_front(),
                _ => self.settled += 1,
            }
        }
        self.settled > 0 || self.count == 0 && self.offsets.capacity() > ROOM
    }

    /// Drops offsets that are settled: those in front, and all when they are more than half.
    pub fn tidy(&mut self, mut is_held: impl FnMut(Offset) -> bool) {
        if self.count == 0 {
            self.offsets.clear();
            self.offsets.shrink_to(ROOM);
            self.settled = 0;
            return;
        }
        while let Some(first) = self.offsets.front()
            && !is_held(*first)
        {
            self.offsets.pop_front();
            self.settled = self.settled.saturating_sub(1);
        }
        if self.settled > TIDY_MIN.max(self.offsets.len() / 2) {
            // One that came back and was given again stands there twice: the last time counts.
            let (mut known, mut held) = (FxHashSet::default(), VecDeque::new());
            for offset in self.offsets.drain(..).rev() {
                if is_held(offset) && known.insert(offset) {
                    held.push_front(offset);
                }
            }
            self.offsets = held;
            self.settled = 0;
        }
    }

    /// The same, in the order in which they were given.
    pub fn first(&self) -> impl Iterator<Item = Offset> {
        self.offsets.iter().copied()
    }

    /// The offsets of all that is in flight, and perhaps of some that is not any more, in their order.
    pub fn take_offsets(&mut self) -> Vec<Offset> {
        let mut offsets: Vec<Offset> = std::mem::take(&mut self.offsets).into();
        offsets.sort_unstable();
        offsets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_again_and_again_stands_there_a_few_times() {
        let mut flight = InFlight::default();
        (0..2).for_each(|n| flight.give(Offset(n), 1));
        for _ in 0..1000 {
            flight.settle(&[Offset(1)], 1, 1);
            flight.tidy(|offset| offset != Offset(1));
            flight.give(Offset(1), 1);
            assert!(flight.offsets.len() < 60, "{}", flight.offsets.len());
        }
        for n in 2..1000 {
            flight.give(Offset(n), 1);
            flight.settle(&[Offset(n)], 1, 1);
            flight.tidy(|offset| offset < Offset(2));
            assert!(flight.offsets.len() < 60, "{}", flight.offsets.len());
        }
        assert_eq!((flight.count, flight.bytes), (2, 2));
        flight.settle(&[Offset(0)], 1, 1);
        flight.tidy(|offset| offset == Offset(1));
        assert!(flight.take_offsets().contains(&Offset(1)), "what is still held is among them");
    }
}
