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

use crate::exchange::Tags;
use crate::message::{Message, Reason, Timestamp};
use std::sync::Arc;

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
    /// Bytes that limits and credit count.
    pub size: u32,
    pub expires: Option<Timestamp>,
    /// Of a pending removal.
    pub removal_reason: Option<RemovalReason>,
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

/// Why a record has to leave, and the consumer's words.
pub type RemovalReason = Box<(Reason, Option<Arc<str>>)>;
