//! Maps by consumer. Consumers are numbered one after the other, and get their messages in about that order when there
//! are many: entries stand in the order of the numbers, so that the next one is near. A hash that scatters them costs a
//! look into far memory for each message of a connection with thousands of consumers, 100 to 200 ns.

use super::ConsumerId;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// What each consumer has.
pub type ByConsumer<V> = HashMap<ConsumerId, V, BuildHasherDefault<InOrder>>;

/// Keeps numbers in their order, but for groups of 4,096, which may change places: whoever keeps just every 4,096th of
/// their consumers has not all of them at one place.
#[derive(Debug, Default)]
pub struct InOrder(u64);

impl Hasher for InOrder {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number ^ (number >> 12));
    }

    fn finish(&self) -> u64 {
        // A map takes places from the low bits, and compares the seven highest ones before it looks at an entry.
        self.0 ^ (self.0 << 57)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    fn hash(number: u32) -> u64 {
        BuildHasherDefault::<InOrder>::default().hash_one(ConsumerId(number))
    }

    #[test]
    fn neighbours_stay_neighbours() {
        let near = (0..100_000).filter(|n| {
            let places = [*n, n + 1].map(|n| hash(n) & 0xFFFF);
            places[0].abs_diff(places[1]) <= 16
        });
        assert!(near.count() > 90_000);
    }

    #[test]
    fn those_that_are_left_do_not_gather_at_one_place() {
        for step in [1_024, 4_096, 16_384, 65_536] {
            let mut places: Vec<u64> = (0..1_000).map(|n| hash(n * step) & 0x7FF).collect();
            places.sort_unstable();
            places.dedup();
            assert!(places.len() >= 60, "every {step}th: {} places for 1,000", places.len());
        }
    }
}
