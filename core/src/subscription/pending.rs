//! Records that were rejected while their messages were not in memory, in the order of their rejection. They leave in
//! this order, as soon as their messages are read back.

use crate::log::Offset;
use std::collections::VecDeque;

/// Rejected records that wait for their messages.
#[derive(Debug, Default)]
pub(super) struct PendingRemovals {
    waiting: VecDeque<Offset>,
    /// How many have left.
    left: u64,
}

impl PendingRemovals {
    /// A record was rejected.
    pub fn push(&mut self, offset: Offset) {
        self.waiting.push_back(offset);
    }

    /// The one that leaves next.
    pub fn first(&self) -> Option<Offset> {
        self.waiting.front().copied()
    }

    /// All that wait.
    pub fn iter(&self) -> impl Iterator<Item = Offset> {
        self.waiting.iter().copied()
    }

    /// The first one has left.
    pub fn leave(&mut self) {
        self.left += u64::from(self.waiting.pop_front().is_some());
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
