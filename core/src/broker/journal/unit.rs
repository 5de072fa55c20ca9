//! What the committer is given to store: a unit is stored as a whole or not at all.

use crate::broker::door::events::Confirm;
use crate::broker::operations::ops::Ops;
use crate::broker::vhost::inbox::Inbox;
use crate::broker::vhost::queue::Queue;
use crate::error::Error;
use crate::log::{Offset, Place};
use crate::subscription::CameBy;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A record of a unit and the queue it is in.
pub struct Placed {
    pub queue: Arc<Queue>,
    pub offset: Offset,
    /// Index among the unit's records.
    pub index: u32,
    pub reason: WriteReason,
}

/// Why a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteReason {
    /// It is new, and came that way.
    New(CameBy),
    /// It is transient, and its message has to leave memory.
    Spilled,
    /// The part of the journal with its old place is to be emptied.
    Rewritten(Place),
}

/// The connection that is answered when a unit is stored or could not be.
pub struct Ticket {
    pub inbox: Arc<Inbox>,
    pub confirms: Vec<Confirm>,
    /// Bytes that count against the session's share until then.
    pub bytes: usize,
}

/// What one flush makes durable: all of it or nothing is stored.
#[derive(Default)]
pub struct Unit {
    pub ops: Ops,
    pub placed: Vec<Placed>,
    pub ticket: Option<Ticket>,
    pub done: Option<oneshot::Sender<Result<(), Error>>>,
}

impl Unit {
    /// A unit of operations without records.
    pub fn of(ops: Ops) -> Self {
        Self { ops, ..Self::default() }
    }
}
