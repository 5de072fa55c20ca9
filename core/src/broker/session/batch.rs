//! What a session has queued for its next flush.

use crate::broker::door::request::{LaneId, Memo, Publish};

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
