//! The memory budget. It has two accounts: what *waits* and can leave memory (messages and their records), and what is
//! *kept* until somebody takes it away (queues, bindings, sessions, retained values, open transactions, …). Only what
//! waits holds publishers back, and it always has at least half of `memory.high`, so an alarm always ends; what is
//! kept takes at most the other half, and is refused beyond it.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is kept may take this much, however low `memory.high` is.
const KEPT_MIN: usize = 16 << 20;

/// Which account memory is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// It can leave memory.
    Waiting,
    /// It stays until somebody takes it away.
    Kept,
}

/// How far what is kept may fill its part. Something is always left for those who come to take something away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Messages: retained values, delayed publishes, open transactions.
    Bulk,
    /// Queues, exchanges, bindings, sessions.
    Objects,
    /// What a connection needs: consumers, subscriptions, buffers.
    Connection,
}

/// Counts resident bytes.
#[derive(Debug)]
pub struct Budget {
    waiting: AtomicUsize,
    kept: AtomicUsize,
    resident: AtomicUsize,
    high: AtomicUsize,
}

impl Budget {
    /// A budget with these marks, in bytes. The lower one is at most two thirds of the higher.
    pub fn new(resident: usize, high: usize) -> Self {
        let number = || AtomicUsize::new(0);
        let (waiting, kept) = (number(), number());
        let budget = Self { waiting, kept, resident: number(), high: number() };
        budget.set_marks(resident, high);
        budget
    }

    /// Other marks from now on.
    pub fn set_marks(&self, resident: usize, high: usize) {
        self.resident.store(resident.min(high / 3 * 2), Ordering::Relaxed);
        self.high.store(high, Ordering::Relaxed);
    }

    /// The mark over which publishers are held back, what is kept aside.
    pub fn high(&self) -> usize {
        self.high.load(Ordering::Relaxed)
    }

    fn counter(&self, account: Account) -> &AtomicUsize {
        match account {
            Account::Waiting => &self.waiting,
            Account::Kept => &self.kept,
        }
    }

    /// Bytes that are charged to an account now.
    pub fn used(&self, account: Account) -> usize {
        self.counter(account).load(Ordering::Relaxed)
    }

    /// The mark over which stored messages leave memory.
    pub fn resident(&self) -> usize {
        self.resident.load(Ordering::Relaxed)
    }

    /// What waits is over that mark.
    pub fn is_over_resident(&self) -> bool {
        self.used(Account::Waiting) > self.resident()
    }

    /// What may wait before publishers are held back.
    fn room(&self) -> usize {
        let high = self.high();
        high.saturating_sub(self.used(Account::Kept)).max(high / 2)
    }

    /// Bytes that wait over which publishers are held back, and those at which that ends.
    pub fn alarm_marks(&self) -> (usize, usize) {
        (self.room(), self.room() / 10 * 8)
    }

    /// Over the mark at which publishers are held back.
    pub fn is_over(&self) -> bool {
        self.used(Account::Waiting) > self.room()
    }

    /// Not far enough below that mark for an alarm to end.
    pub fn is_over_low(&self) -> bool {
        self.used(Account::Waiting) > self.room() / 10 * 8
    }

    /// Bytes that what is kept may take.
    pub fn kept_max(&self) -> usize {
        (self.high() / 2).max(KEPT_MIN)
    }

    /// What a share of that is.
    pub fn kept_share(&self, share: Share) -> usize {
        match share {
            Share::Bulk => self.kept_max() / 2,
            Share::Objects => self.kept_max() / 8 * 7,
            Share::Connection => self.kept_max(),
        }
    }

    /// So many bytes more may be kept, for something of that kind.
    pub fn can_keep(&self, share: Share, bytes: usize) -> bool {
        self.used(Account::Kept).saturating_add(bytes) <= self.kept_share(share)
    }

    /// Counts `bytes` until the charge is dropped.
    pub fn charge(self: &Arc<Self>, account: Account, bytes: usize) -> Charge {
        self.counter(account).fetch_add(bytes, Ordering::Relaxed);
        Charge { budget: self.clone(), counted: Mutex::new((account, bytes)) }
    }
}

/// Bytes that count while this lives. What owns it tells it when it grows or shrinks.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    counted: Mutex<(Account, usize)>,
}

impl Charge {
    /// What it counts.
    pub fn bytes(&self) -> usize {
        self.counted.lock().1
    }

    /// So many bytes more.
    pub fn grow(&self, bytes: usize) {
        let mut counted = self.counted.lock();
        counted.1 += bytes;
        self.budget.counter(counted.0).fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes less, at most all.
    pub fn shrink(&self, bytes: usize) {
        let mut counted = self.counted.lock();
        let bytes = bytes.min(counted.1);
        counted.1 -= bytes;
        self.budget.counter(counted.0).fetch_sub(bytes, Ordering::Relaxed);
    }

    /// So many bytes from now on.
    pub fn set(&self, bytes: usize) {
        let mut counted = self.counted.lock();
        let counter = self.budget.counter(counted.0);
        match bytes >= counted.1 {
            true => counter.fetch_add(bytes - counted.1, Ordering::Relaxed),
            false => counter.fetch_sub(counted.1 - bytes, Ordering::Relaxed),
        };
        counted.1 = bytes;
    }

    /// Counts in that account from now on.
    pub fn move_to(&self, account: Account) {
        let mut counted = self.counted.lock();
        let (from, bytes) = *counted;
        counted.0 = account;
        self.budget.counter(account).fetch_add(bytes, Ordering::Relaxed);
        self.budget.counter(from).fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let (account, bytes) = *self.counted.get_mut();
        self.budget.counter(account).fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_never_takes_all_the_room_of_what_waits() {
        const MIB: usize = 1 << 20;
        let budget = Arc::new(Budget::new(20 * MIB, 64 * MIB));
        let kept = budget.charge(Account::Kept, 10 * MIB);
        let waiting = budget.charge(Account::Waiting, 54 * MIB);
        let can_keep = |mib| budget.can_keep(Share::Connection, mib * MIB);
        assert!(!budget.is_over() && can_keep(22) && !can_keep(23));
        assert!(
            budget.can_keep(Share::Objects, 18 * MIB) && !budget.can_keep(Share::Objects, 19 * MIB)
        );
        assert!(budget.can_keep(Share::Bulk, 6 * MIB) && !budget.can_keep(Share::Bulk, 7 * MIB));
        kept.grow(90 * MIB);
        assert!(budget.is_over());
        waiting.set(32 * MIB);
        assert!(!budget.is_over() && budget.is_over_low() && budget.is_over_resident());
        waiting.shrink(13 * MIB);
        assert!(!budget.is_over_low() && !budget.is_over_resident());
        waiting.move_to(Account::Kept);
        waiting.move_to(Account::Kept);
        assert_eq!((budget.used(Account::Waiting), budget.used(Account::Kept)), (0, 119 * MIB));
        drop((kept, waiting));
        assert_eq!((budget.used(Account::Waiting), budget.used(Account::Kept)), (0, 0));
    }
}
