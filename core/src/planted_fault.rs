//! A fault for the tests of the audit, in programs that are built with the feature `planted-fault` and in no other: one
//! message that a consumer acknowledged is not counted as consumed.

use std::sync::atomic::{AtomicU64, Ordering};

/// Which of the durable messages that are acknowledged since the start is not counted.
const UNCOUNTED: u64 = 100;

/// Durable messages that were acknowledged so far, in all queues.
static ACKNOWLEDGED: AtomicU64 = AtomicU64::new(0);

/// What is added to the count of consumed messages when `durable` ones of a queue are acknowledged: nothing, or what
/// takes one off again if the one that is not counted is among them.
pub fn correction(durable: u64) -> u64 {
    let before = ACKNOWLEDGED.fetch_add(durable, Ordering::Relaxed);
    match before < UNCOUNTED && UNCOUNTED <= before + durable {
        true => 1u64.wrapping_neg(),
        false => 0,
    }
}
