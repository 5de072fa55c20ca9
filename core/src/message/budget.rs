//! The memory budget: bytes of resident messages; the mark over which those that are stored and wait leave memory, and
//! the mark over which publishers are held back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts resident bytes.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    resident: usize,
    high: usize,
}

impl Budget {
    /// A budget with these marks, in bytes. The lower one is at most two thirds of the higher.
    pub fn new(resident: usize, high: usize) -> Self {
        Self { used: AtomicUsize::new(0), resident: resident.min(high / 3 * 2), high }
    }

    /// Bytes that living messages hold.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The mark over which stored messages leave memory.
    pub fn resident(&self) -> usize {
        self.resident
    }

    /// Over that mark.
    pub fn is_over_resident(&self) -> bool {
        self.used() > self.resident
    }

    /// Over the mark at which publishers are held back.
    pub fn is_over(&self) -> bool {
        self.used() > self.high
    }

    /// Not far enough below that mark for an alarm to end.
    pub fn is_over_low(&self) -> bool {
        self.used() > self.high / 10 * 8
    }

    /// Counts `bytes` until the charge is dropped.
    pub fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Charge { budget: self.clone(), bytes }
    }
}

/// Bytes that count while this lives.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
