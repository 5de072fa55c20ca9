//! Records that were rejected while their messages were not in memory, in the order of their rejection. They leave in
//! this order, as soon as their messages are read back.

use crate::log::Offset;
use crate::message::Reason;
use std::collections::VecDeque;
use std::sync::Arc;

/// Why a record has to leave, and the consumer's words.
pub(super) type Why = (Reason, Option<Arc<str>>);

/// Rejected records that wait for their messages.
#[derive(Debug, Default)]
pub(super) struct PendingRemovals {
    waiting: VecDeque<(Offset, Why)>,
    /// How many have left.
    left: u64,
}

impl PendingRemovals {
    /// A record was rejected.
    pub fn push(&mut self, offset: Offset, why: Why) {
        self.waiting.push_back((offset, why));
    }

    /// The one that leaves next.
    pub fn first(&self) -> Option<Offset> {
        self.waiting.front().map(|(offset, _)| *offset)
    }

    /// All that wait.
    pub fn iter(&self) -> impl Iterator<Item = Offset> {
        self.waiting.iter().map(|(offset, _)| *offset)
    }

    /// The first one has left.
    pub fn leave(&mut self) -> Option<(Offset, Why)> {
        let first = self.waiting.pop_front();
        self.left += u64::from(first.is_some());
        first
    }

    /// How many there were so far, and how many of them have left.
    pub fn begun(&self) -> u64 {
        self.left + self.waiting.len() as u64
    }

    /// How many have left so far.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
