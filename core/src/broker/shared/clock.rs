//! The wall clock. The only file of the core that asks the system for the time.

use crate::message::Timestamp;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall-clock time that never goes back: the system's at start, and a monotonic clock from there.
pub struct WallClock {
    start_ms: u64,
    started: Instant,
}

impl WallClock {
    /// A clock that starts at the system's time.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        Self { start_ms, started: Instant::now() }
    }

    /// Milliseconds since the epoch.
    pub fn now(&self) -> Timestamp {
        let passed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.start_ms.saturating_add(passed_ms))
    }
}
