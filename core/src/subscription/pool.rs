//! Credit that several consumers of a session share: a channel's prefetch, a receive maximum, the window of bytes
//! on the way to the socket. Atomics, because the consumers' queues have locks of their own.

use super::Handle;
use crate::exchange::LogId;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
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
///
/// Credit that comes back wakes one of those who wait for it, the one that has waited longest. When that one has taken
/// what it needs, whoever woke it calls [`Pool::pass_on`], which wakes the next one if there is still credit. So what
/// comes back costs as much as can be taken of it, however many wait.
#[derive(Debug)]
pub struct Pool {
    messages: AtomicI64,
    bytes: AtomicI64,
    /// The settings that `messages` and `bytes` count down from.
    limit: Mutex<(i64, i64)>,
    /// Consumers that were refused credit, to get it when it comes back.
    waiting: Mutex<Waiting>,
    /// `waiting` is not empty: spares its lock.
    is_waited_for: AtomicBool,
}

/// A consumer that waited for a pool whose credit has come back.
#[derive(Debug)]
pub struct Woken {
    pub queue: LogId,
    pub handle: Handle,
    /// Who else waits for it is woken by [`Pool::pass_on`].
    pub pool: Arc<Pool>,
}

/// Consumers that wait, the one that has waited longest first.
#[derive(Debug, Default)]
struct Waiting {
    /// With the number that [`Pool::wait`] returned; none: it does not wait any more.
    line: VecDeque<(u64, Option<(LogId, Handle)>)>,
    /// Those that do not wait any more.
    gone: usize,
    last: u64,
}

impl Waiting {
    fn push(&mut self, who: (LogId, Handle)) -> u64 {
        self.last += 1;
        self.line.push_back((self.last, Some(who)));
        self.last
    }

    fn pop(&mut self) -> Option<(LogId, Handle)> {
        while let Some((_, who)) = self.line.pop_front() {
            match who {
                Some(who) => return Some(who),
                None => self.gone -= 1,
            }
        }
        None
    }

    fn forget(&mut self, number: u64) {
        let Ok(at) = self.line.binary_search_by_key(&number, |(number, _)| *number) else { return };
        let found = self.line.get_mut(at).and_then(|(_, who)| who.take());
        self.gone += usize::from(found.is_some());
        if self.gone > self.line.len() / 2 {
            self.line.retain(|(_, who)| who.is_some());
            self.gone = 0;
        }
    }
}

impl Pool {
    /// A pool with this credit.
    pub fn new(credit: Credit) -> Self {
        let (messages, bytes) = credit.amounts();
        Self {
            messages: AtomicI64::new(messages),
            bytes: AtomicI64::new(bytes),
            limit: Mutex::new((messages, bytes)),
            waiting: Mutex::default(),
            is_waited_for: AtomicBool::new(false),
        }
    }

    /// Sets the credit; what is outstanding stays outstanding. Adds a consumer that waited for it to `wake`.
    pub fn set(self: &Arc<Self>, credit: Credit, wake: &mut Vec<Woken>) {
        let (messages, bytes) = credit.amounts();
        let mut limit = self.limit.lock();
        self.messages.fetch_add(messages - limit.0, Ordering::AcqRel);
        self.bytes.fetch_add(bytes - limit.1, Ordering::AcqRel);
        *limit = (messages, bytes);
        self.pass_on(wake);
    }

    /// True when a message could be reserved.
    pub fn has_credit(&self) -> bool {
        self.messages.load(Ordering::SeqCst) > 0 && self.bytes.load(Ordering::SeqCst) > 0
    }

    /// Takes one message of that size, if there is credit.
    #[inline]
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

    /// Gives back. Adds a consumer that waited for it to `wake`.
    pub fn release(self: &Arc<Self>, messages: u64, bytes: u64, wake: &mut Vec<Woken>) {
        let cap = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.messages.fetch_add(cap(messages), Ordering::SeqCst);
        self.bytes.fetch_add(cap(bytes), Ordering::SeqCst);
        self.pass_on(wake);
    }

    /// Adds the consumer that has waited longest to `wake`, if there is credit.
    pub fn pass_on(self: &Arc<Self>, wake: &mut Vec<Woken>) {
        if self.is_waited_for.load(Ordering::SeqCst) && self.has_credit() {
            let mut waiting = self.waiting.lock();
            if let Some((queue, handle)) = waiting.pop() {
                wake.push(Woken { queue, handle, pool: self.clone() });
            }
            if waiting.line.is_empty() {
                self.is_waited_for.store(false, Ordering::SeqCst);
            }
        }
    }

    /// Notes that a consumer waits for credit. The number takes the note back.
    pub fn wait(&self, queue: LogId, handle: Handle) -> u64 {
        let mut waiting = self.waiting.lock();
        let number = waiting.push((queue, handle));
        self.is_waited_for.store(true, Ordering::SeqCst);
        number
    }

    /// Takes the note back that [`Pool::wait`] gave that number, if nobody was woken by it yet.
    pub fn forget(&self, number: u64) {
        self.waiting.lock().forget(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn woken(wake: &mut Vec<Woken>) -> Vec<u32> {
        wake.drain(..).map(|woken| woken.handle.0).collect()
    }

    #[test]
    fn large_messages_pass_once_and_credit_comes_back() {
        let pool = Arc::new(Pool::new(Credit { messages: 2, bytes: 10 }));
        let mut wake = Vec::new();
        assert!(pool.reserve(100), "larger than the pool, but it is empty");
        assert!(!pool.reserve(1));
        pool.wait(LogId(7), Handle(1));
        pool.release(0, 1, &mut wake);
        assert!(wake.is_empty());
        pool.release(1, 99, &mut wake);
        assert_eq!(woken(&mut wake), [1]);
        assert!(pool.reserve(1) && pool.reserve(1) && !pool.reserve(1));
        pool.set(Credit { messages: 1, bytes: 10 }, &mut wake);
        pool.release(1, 1, &mut wake);
        assert!(!pool.reserve(1), "one is outstanding, and one is the limit");
        pool.set(Credit::UNLIMITED, &mut wake);
        assert!((0..1000).all(|_| pool.reserve(u32::MAX)));
    }

    #[test]
    fn who_waits_is_woken_one_after_the_other() {
        let pool = Arc::new(Pool::new(Credit::messages(0)));
        let mut wake = Vec::new();
        let numbers: Vec<u64> = (1..=6).map(|n| pool.wait(LogId(1), Handle(n))).collect();
        [1, 2, 4].into_iter().filter_map(|at: usize| numbers.get(at)).for_each(|n| pool.forget(*n));
        pool.release(3, 0, &mut wake);
        assert_eq!(woken(&mut wake), [1]);
        assert!(pool.reserve(1));
        pool.pass_on(&mut wake);
        assert_eq!(woken(&mut wake), [4]);
        pool.pass_on(&mut wake);
        pool.pass_on(&mut wake);
        assert_eq!(woken(&mut wake), [6]);
        assert!(!pool.is_waited_for.load(Ordering::SeqCst));
        for _ in 0..1000 {
            let number = pool.wait(LogId(1), Handle(1));
            pool.forget(number);
        }
        assert!(pool.waiting.lock().line.len() < 2);
    }
}
