//! Which consumer gets the records of one bucket: always the same one while it consumes, so that what belongs together
//! keeps its order however many consumers a queue has.

use super::{Attached, Handle};

/// Buckets of one queue. Things that share a bucket share a consumer.
pub const BUCKETS: u64 = crate::message::GROUP_BUCKETS as u64;

/// Who has which bucket.
#[derive(Debug, Default)]
pub struct Buckets {
    /// By bucket; empty until the first record.
    owners: Vec<Option<Handle>>,
    /// They are message groups.
    are_groups: bool,
}

impl Buckets {
    /// The consumer of the bucket that `number` falls into; at first the one with the fewest buckets. None: there is no
    /// consumer.
    pub fn owner<'a>(
        &mut self,
        number: u64,
        consumers: impl Iterator<Item = &'a Attached>,
    ) -> Option<Handle> {
        if self.owners.is_empty() {
            self.owners.resize(BUCKETS as usize, None);
        }
        let at = (number % BUCKETS) as usize;
        if let Some(Some(owner)) = self.owners.get(at) {
            return Some(*owner);
        }
        let count = |handle: Handle| self.owners.iter().filter(|o| **o == Some(handle)).count();
        let owner = consumers.map(|c| c.handle).min_by_key(|handle| (count(*handle), *handle));
        if let Some(slot) = self.owners.get_mut(at) {
            *slot = owner;
        }
        owner
    }

    /// Nobody has anything.
    pub fn clear(&mut self) {
        self.owners.clear();
    }

    pub fn set_groups(&mut self) {
        self.are_groups = true;
    }

    pub fn are_groups(&self) -> bool {
        self.are_groups
    }

    /// Whoever comes next to that bucket may be of another consumer.
    pub fn end(&mut self, number: u64) {
        if let Some(slot) = self.owners.get_mut((number % BUCKETS) as usize) {
            *slot = None;
        }
    }

    /// A consumer stopped or left: each of its buckets goes to another consumer with the bucket's next record.
    pub fn forget(&mut self, handle: Handle) {
        self.owners.iter_mut().filter(|o| **o == Some(handle)).for_each(|o| *o = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::{ConsumerId, Credit};

    fn consumers(count: u32) -> Vec<Attached> {
        (1..=count).map(|n| Attached::new(Handle(n), ConsumerId(n), Credit::UNLIMITED)).collect()
    }

    #[test]
    fn a_bucket_stays_with_its_consumer() {
        let (mut buckets, list) = (Buckets::default(), consumers(3));
        let first: Vec<_> = (0..300).map(|n| buckets.owner(n, list.iter()).unwrap()).collect();
        let again: Vec<_> = (0..300).map(|n| buckets.owner(n, list.iter()).unwrap()).collect();
        assert_eq!(first, again);
        for handle in [Handle(1), Handle(2), Handle(3)] {
            assert_eq!(
                first.iter().filter(|owner| **owner == handle).count(),
                100,
                "shared out evenly"
            );
        }
        assert_eq!(buckets.owner(BUCKETS + 5, list.iter()), Some(first[5]), "buckets are bounded");
    }

    #[test]
    fn buckets_of_one_that_left_go_to_the_others() {
        let (mut buckets, list) = (Buckets::default(), consumers(2));
        (0..10).for_each(|n| assert!(buckets.owner(n, list.iter()).is_some()));
        buckets.forget(Handle(1));
        assert!((0..10).all(|n| buckets.owner(n, list[1..].iter()) == Some(Handle(2))));
        assert_eq!(Buckets::default().owner(1, [].iter()), None);
    }
}
