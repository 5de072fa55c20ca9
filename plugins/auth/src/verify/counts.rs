//! How logins ended, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// How one login ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The password was verified, and right.
    Accepted,
    /// The password had been verified within the last minute.
    Cached,
    /// The user exists and the password is wrong.
    Wrong,
    /// There is no such user.
    Unknown,
    /// The user failed too often from this address.
    BackedOff,
    /// Too many logins waited already.
    QueueFull,
    /// The verification ended by a fault of ours.
    Broken,
}

/// How many logins ended in which way since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    pub cached: u64,
    pub wrong: u64,
    pub unknown: u64,
    pub backed_off: u64,
    pub queue_full: u64,
    pub broken: u64,
}

/// The counters behind [`Counts`].
#[derive(Default)]
pub(crate) struct Counters {
    accepted: AtomicU64,
    cached: AtomicU64,
    wrong: AtomicU64,
    unknown: AtomicU64,
    backed_off: AtomicU64,
    queue_full: AtomicU64,
    broken: AtomicU64,
}

impl Counters {
    pub(crate) fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Accepted => &self.accepted,
            Outcome::Cached => &self.cached,
            Outcome::Wrong => &self.wrong,
            Outcome::Unknown => &self.unknown,
            Outcome::BackedOff => &self.backed_off,
            Outcome::QueueFull => &self.queue_full,
            Outcome::Broken => &self.broken,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            accepted: read(&self.accepted),
            cached: read(&self.cached),
            wrong: read(&self.wrong),
            unknown: read(&self.unknown),
            backed_off: read(&self.backed_off),
            queue_full: read(&self.queue_full),
            broken: read(&self.broken),
        }
    }
}
