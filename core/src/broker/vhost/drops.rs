//! Refused messages that were dropped without a refusal to their publishers: counted by reason, one warning a minute
//! for each reason.

use crate::error::Error;
use crate::message::{Address, Name};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two warnings for one reason.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Why a message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// Nobody may publish to its address.
    Denied,
    /// A content route or a full queue refused it, and there is no dead-letter address that takes it.
    Refused,
}

/// Counts of dropped messages since the start.
#[derive(Debug, Default)]
pub struct Drops {
    denied: Reason,
    refused: Reason,
}

#[derive(Debug, Default)]
struct Reason {
    count: AtomicU64,
    warned: Mutex<(Option<Instant>, u64)>,
}

impl Drops {
    /// Counts one, and warns about all since the last warning if that is a minute old.
    pub fn note(&self, drop: DropReason, (vhost, address): (&Name, &Address), why: &Error) {
        let reason = match drop {
            DropReason::Denied => &self.denied,
            DropReason::Refused => &self.refused,
        };
        reason.count.fetch_add(1, Ordering::Relaxed);
        let dropped = {
            let mut warned = reason.warned.lock();
            warned.1 += 1;
            if warned.0.is_some_and(|at| at.elapsed() < WARN_EVERY) {
                return;
            }
            warned.0 = Some(Instant::now());
            std::mem::take(&mut warned.1)
        };
        match drop {
            DropReason::Denied => tracing::warn!(
                %vhost, %address, %why, dropped,
                "publishes to addresses that nobody may publish to were dropped: their publishers were \
                 sent no refusal"
            ),
            DropReason::Refused => tracing::warn!(
                %vhost, %address, %why, dropped,
                "messages that were refused were dropped: their publishers were sent no refusal, and no \
                 dead-letter address takes them"
            ),
        }
    }

    /// How many were dropped for that reason.
    pub fn count(&self, drop: DropReason) -> u64 {
        match drop {
            DropReason::Denied => self.denied.count.load(Ordering::Relaxed),
            DropReason::Refused => self.refused.count.load(Ordering::Relaxed),
        }
    }
}
