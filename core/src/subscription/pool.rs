//! Credit that several consumers of a session share: a channel's prefetch, a receive maximum, the window of bytes
//! on the way to the socket. Atomics, because the consumers' queues have locks of their own.

use crate::exchange::LogId;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// What may be unsettled. The maximum stands for "no limit".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    pub messages: u32,
    pub bytes: u64,
}

impl Credit {
    /// No limit.
    pub const UNLIMITED: Credit = Credit { messages: u32::MAX, bytes: u64::MAX };

    /// This many messages, of any size.
    pub fn messages(messages: u32) -> Self {
        Self { messages, bytes: u64::MAX }
    }

    fn amounts(self) -> (i64, i64) {
        // Half of the range is "no limit" enough, and sums cannot overflow.
        let cap = |n: u64| i64::try_from(n).unwrap_or(i64::MAX).min(i64::MAX / 4);
        let messages = if self.messages == u32::MAX { u64::MAX } else { u64::from(self.messages) };
        (cap(messages), cap(self.bytes))
    }
}

/// Shared credit. A reservation needs one message and one byte left; a large message may take bytes below zero, so
/// that no message is too large to be delivered at all.
#[derive(Debug)]
pub struct Pool {
    messages: AtomicI64,
    bytes: AtomicI64,
    /// The settings that `messages` and `bytes` count down from.
    limit: Mutex<(i64, i64)>,
    /// Queues that were refused credit, to be dispatched again when it comes back.
    waiting: Mutex<Vec<LogId>>,
    /// `waiting` is not empty: spares its lock.
    is_waited_for: AtomicBool,
}

impl Pool {
    /// A pool with this credit.
    pub fn new(credit: Credit) -> Self {
        let (messages, bytes) = credit.amounts();
        Self {
            messages: AtomicI64::new(messages),
            bytes: AtomicI64::new(bytes),
            limit: Mutex::new((messages, bytes)),
            waiting: Mutex::new(Vec::new()),
            is_waited_for: AtomicBool::new(false),
        }
    }

    /// Sets the credit; what is outstanding stays outstanding. Adds the queues that waited for it to `wake`.
    pub fn set(&self, credit: Credit, wake: &mut Vec<LogId>) {
        let (messages, bytes) = credit.amounts();
        let mut limit = self.limit.lock();
        self.messages.fetch_add(messages - limit.0, Ordering::AcqRel);
        self.bytes.fetch_add(bytes - limit.1, Ordering::AcqRel);
        *limit = (messages, bytes);
        self.wake(wake);
    }

    /// True when a message could be reserved.
    pub fn has_credit(&self) -> bool {
        self.messages.load(Ordering::Acquire) > 0 && self.bytes.load(Ordering::Acquire) > 0
    }

    /// Takes one message of that size, if there is credit.
    pub fn reserve(&self, size: u32) -> bool {
        if self.bytes.load(Ordering::Acquire) <= 0 {
            return false;
        }
        if self.messages.fetch_sub(1, Ordering::AcqRel) <= 0 {
            self.messages.fetch_add(1, Ordering::AcqRel);
            return false;
        }
        self.bytes.fetch_sub(i64::from(size), Ordering::AcqRel);
        true
    }

    /// Gives back. Adds the queues that waited for it to `wake`.
    pub fn release(&self, messages: u64, bytes: u64, wake: &mut Vec<LogId>) {
        let cap = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.messages.fetch_add(cap(messages), Ordering::AcqRel);
        self.bytes.fetch_add(cap(bytes), Ordering::AcqRel);
        self.wake(wake);
    }

    fn wake(&self, wake: &mut Vec<LogId>) {
        if self.is_waited_for.load(Ordering::Acquire) && self.has_credit() {
            let mut waiting = self.waiting.lock();
            self.is_waited_for.store(false, Ordering::Release);
            wake.append(&mut waiting);
        }
    }

    /// Notes that a queue waits for credit.
    pub fn wait(&self, queue: LogId) {
        let mut waiting = self.waiting.lock();
        if !waiting.contains(&queue) {
            waiting.push(queue);
        }
        self.is_waited_for.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_messages_pass_once_and_credit_comes_back() {
        let pool = Pool::new(Credit { messages: 2, bytes: 10 });
        let mut wake = Vec::new();
        assert!(pool.reserve(100), "larger than the pool, but it is empty");
        assert!(!pool.reserve(1));
        pool.wait(LogId(7));
        pool.wait(LogId(7));
        pool.release(0, 1, &mut wake);
        assert!(wake.is_empty());
        pool.release(1, 99, &mut wake);
        assert_eq!(wake, [LogId(7)]);
        assert!(pool.reserve(1) && pool.reserve(1) && !pool.reserve(1));
        pool.set(Credit { messages: 1, bytes: 10 }, &mut wake);
        pool.release(1, 1, &mut wake);
        assert!(!pool.reserve(1), "one is outstanding, and one is the limit");
        pool.set(Credit::UNLIMITED, &mut wake);
        assert!((0..1000).all(|_| pool.reserve(u32::MAX)));
    }
}
