//! What a session has queued: for its next flush, or for the commit of a transaction.

use crate::broker::door::request::{LaneId, Memo, Publish};
use crate::log::Offset;
use crate::subscription::{ConsumerId, Outcome};

/// What waits for the next flush.
#[derive(Default)]
pub(super) struct Batch {
    pub publishes: Vec<QueuedPublish>,
    /// Bytes of their messages.
    pub bytes: usize,
    /// They are not held back with the publishes.
    pub memos: Vec<Memo>,
}

/// A publish that waits for the flush.
pub(super) struct QueuedPublish {
    pub lane: LaneId,
    pub number: u64,
    pub publish: Publish,
    /// State that is stored in the same entry as the message.
    pub memo: Option<Memo>,
}

/// One ordered stream of publishes and settles.
#[derive(Default)]
pub(super) struct Lane {
    pub number: u64,
    pub transaction: Option<Transaction>,
}

/// Records of a consumer that a transaction settles.
pub(super) type Settlement = (ConsumerId, Vec<Offset>, Outcome);

/// What waits for a commit.
#[derive(Default)]
pub(super) struct Transaction {
    pub publishes: Vec<QueuedPublish>,
    /// Bytes of their messages.
    pub bytes: usize,
    pub settles: Vec<Settlement>,
    /// It grew beyond the limit: the commit is refused.
    pub too_large: bool,
}
