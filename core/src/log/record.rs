//! A record: a message in a queue, and what may happen to it next.
//!
//! ```text
//!            ┌ committed ┐
//! Uncommitted ──────────► Ready ◄──── returned ────┐
//!      │ failed             │ dispatched            │
//!      ▼                    ▼                       │
//!    (gone)              InFlight ──────────────────┘
//!                           │ settled, moved            (rejected, and its message not in memory:
//!                           ▼                        PendingRemoval until that is fetched)
//!                         (gone)
//! ```
//!
//! A record that came back may be Held before it is Ready again, or before it is gone: see `subscription::held`.

use crate::exchange::Tags;
use crate::message::{Message, Timestamp};

/// Where a stored record is: position of its entry in the journal, and its index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub pos: u64,
    pub index: u32,
}

/// What may happen to a record next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordState {
    /// Its store entry is on the way: not to be delivered.
    Uncommitted,
    Ready,
    /// With that consumer.
    InFlight(u32),
    /// Rejected while its message was not in memory: it leaves as soon as that is back.
    PendingRemoval,
    /// Not ready for a while: its next delivery is delayed, or nobody has taken its dead letter yet. Only in memory:
    /// after a restart it is ready.
    Held,
}

/// One record.
#[derive(Debug)]
pub struct Record {
    /// None: evicted; it comes back from its place.
    pub message: Option<Message>,
    pub tags: Tags,
    pub state: RecordState,
    /// Failed deliveries.
    pub attempts: u16,
    /// A consumer may have seen it.
    pub seen: bool,
    /// Set when stored.
    pub place: Option<Place>,
    /// Its removal has to be stored: a durable message in a durable queue.
    pub durable: bool,
    /// Priority that orders it; 0 where the queue has none.
    pub priority: u8,
    /// Bytes of its message, that credit counts.
    pub size: u32,
    /// Bytes that length limits and operators count: those of the body, where the queue does not count all.
    pub counted: u32,
    pub expires: Option<Timestamp>,
    /// When it was given to the consumer that has it.
    pub given: Moment,
}

impl Record {
    /// It survives a restart, and waits: it can go, and that can give room on the disk back.
    pub fn is_stored_and_waits(&self) -> bool {
        self.durable && self.state == RecordState::Ready
    }

    /// When it expires: never, where it is owed to whoever has seen it.
    pub fn expiry(&self, keeps_seen: bool) -> Option<Timestamp> {
        self.expires.filter(|_| !(keeps_seen && self.seen))
    }
}

/// A moment to within 128 ms, in the 4 bytes that a record has room for. It comes again after 17 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment(pub u32);

/// Milliseconds of one step of a [`Moment`], as a power of two.
const MOMENT_BITS: u32 = 7;

impl Moment {
    /// The moment that this time is in.
    #[inline]
    pub fn of(time: Timestamp) -> Self {
        Self((time.0 >> MOMENT_BITS) as u32)
    }

    /// Its beginning, of the last 17 years before `now`.
    pub fn before(self, now: Timestamp) -> Timestamp {
        let steps = Self::of(now).0.wrapping_sub(self.0);
        Timestamp(now.0.saturating_sub(u64::from(steps) << MOMENT_BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_found_again() {
        for given in [1_796_000_000_000u64, (1 << 39) - 1, 1 << 39] {
            for later in [0, 127, 128, 1_800_000, 1 << 36] {
                let found = Moment::of(Timestamp(given)).before(Timestamp(given + later));
                assert!(found.0.abs_diff(given) < 128, "{given} {later} {found:?}");
            }
        }
    }
}
