//! A move of messages under way: how far it is, for whoever looks, and what ends it early.

use crate::error::{Error, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

/// How far a move is. What it says was moved is stored, as in the report.
#[derive(Debug, Default)]
pub struct MoveProgress {
    matched: AtomicU64,
    moved: AtomicU64,
    left: AtomicU64,
    is_stopped: AtomicBool,
    stopped: Notify,
}

impl MoveProgress {
    /// Messages that were meant so far, how many of them were moved, and how many stay.
    pub fn counts(&self) -> (u64, u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Acquire);
        (read(&self.matched), read(&self.moved), read(&self.left))
    }

    /// Has the move end before its next slice: what was moved is moved, and all else is where it was.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        self.stopped.notify_one();
    }

    /// An error when it is to end.
    pub(in crate::broker) fn check(&self) -> Result<(), Error> {
        match self.is_stopped.load(Ordering::Acquire) {
            true => Err(Error::new(ErrorKind::Closed, "an operator stopped it")),
            false => Ok(()),
        }
    }

    /// Resolves when it is to end.
    pub(in crate::broker) async fn stopped(&self) {
        self.stopped.notified().await;
    }

    /// One more slice is stored: the counts that operators see.
    pub(in crate::broker) fn note(&self, (matched, moved, left): (u64, u64, u64)) {
        let set = |count: &AtomicU64, to: u64| count.store(to, Ordering::Release);
        set(&self.matched, matched);
        set(&self.moved, moved);
        set(&self.left, left);
    }
}
