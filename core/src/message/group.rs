//! Message groups: what one consumer of a queue gets, as long as it consumes. A group's name becomes a bucket; groups
//! that share one share their consumer.

use std::num::NonZeroU16;

/// Buckets of groups, fixed for ever: messages are stored with theirs (docs/STORE.md).
pub const GROUP_BUCKETS: u16 = 1024;
/// Flag: the message is the last one of its group.
const CLOSES: u16 = 1 << 15;
/// Flag that is always there.
const IS_GROUP: u16 = 1 << 14;

/// The group that a message is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group(NonZeroU16);

impl Group {
    /// The group of that name. With a sequence number of -1 the message is its last one: the next one of the name is of
    /// a new group.
    pub fn of(name: &[u8], sequence: Option<i64>) -> Self {
        // FNV-1a.
        let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let bucket = (hash ^ hash >> 32) % u64::from(GROUP_BUCKETS);
        let closes = if sequence == Some(-1) { CLOSES } else { 0 };
        Self(NonZeroU16::MIN | (bucket as u16) << 1 & 0x3fff | IS_GROUP | closes)
    }

    /// Its number in the journal.
    pub fn number(self) -> u16 {
        self.0.get()
    }

    /// The group of such a number; none: it is no such number.
    pub fn from_number(number: u16) -> Option<Self> {
        NonZeroU16::new(number).filter(|number| number.get() & IS_GROUP != 0).map(Self)
    }

    /// Its bucket.
    pub fn bucket(self) -> u64 {
        u64::from(self.0.get() >> 1 & (GROUP_BUCKETS - 1))
    }

    /// The message is the last one of its group.
    pub fn closes(self) -> bool {
        self.0.get() & CLOSES != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_a_bucket_and_whether_it_ends() {
        let mut seen = std::collections::HashSet::new();
        for n in 0..20_000 {
            let name = format!("order-{n}");
            let group = Group::of(name.as_bytes(), Some(n));
            assert_eq!(group, Group::of(name.as_bytes(), None));
            assert!(group.bucket() < u64::from(GROUP_BUCKETS) && !group.closes());
            let last = Group::of(name.as_bytes(), Some(-1));
            assert!(last.closes() && last.bucket() == group.bucket());
            assert_eq!(Group::from_number(last.number()), Some(last));
            seen.insert(group.bucket());
        }
        assert_eq!(seen.len(), usize::from(GROUP_BUCKETS), "names spread over all buckets");
        assert_eq!((Group::from_number(0), Group::from_number(1)), (None, None));
        assert_eq!(size_of::<Option<Group>>(), 2);
    }
}
