//! What a session has queued: for its next flush, or for the commit of a transaction.

use crate::broker::door::events::ConfirmOutcome;
use crate::broker::door::request::{LaneId, Memo, Publish};
use crate::broker::vhost::connection::LaneCounts;
use crate::broker::vhost::replies::OwnReply;
use crate::error::Error;
use crate::log::Offset;
use crate::message::{Address, Charge};
use crate::subscription::{ConsumerId, Outcome};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// What waits for the next flush.
#[derive(Default)]
pub(super) struct Batch {
    pub publishes: VecDeque<QueuedPublish>,
    /// Bytes of memory that they take.
    pub bytes: usize,
    /// The same, counted against the memory budget while they are held back.
    pub held: Option<Charge>,
    /// How many of the held publishes were searched for ones that clear a value, and the topics of those searched.
    pub looked_at: (usize, HashSet<Address>),
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
    /// It has happened already, before those in front of it that are held back; only its confirm has to wait for
    /// theirs.
    pub done: Option<ConfirmOutcome>,
}

impl QueuedPublish {
    /// A publish that nothing was done about.
    pub fn new(lane: LaneId, number: u64, publish: Publish) -> Self {
        Self { lane, number, publish, memo: None, done: None }
    }
}

/// One ordered stream of publishes and settles.
pub(super) struct Lane {
    pub number: u64,
    pub transaction: Option<Transaction>,
    pub counts: Arc<LaneCounts>,
    /// Where it gets answers; boxed, for most have none.
    pub reply: Option<Box<OwnReply>>,
}

/// Records of a consumer that a transaction settles.
pub(super) type Settlement = (ConsumerId, Vec<Offset>, Outcome);

/// What waits for a commit.
#[derive(Default)]
pub(super) struct Transaction {
    pub publishes: VecDeque<QueuedPublish>,
    pub settles: Vec<Settlement>,
    /// Publishes and records that are settled.
    pub items: usize,
    /// Bytes of memory that all of it takes.
    pub bytes: usize,
    /// The same, counted against the memory budget.
    pub charge: Option<Charge>,
    /// It grew beyond a limit: the commit is refused with this.
    pub refused: Option<Error>,
}
