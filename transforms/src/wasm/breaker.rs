//! Pauses a module that keeps failing, so that it does not delay every message by its deadline.
//!
//! A failure is a trap, a timeout or a lack of memory. A module that returns an error for a message works: several bad
//! messages in a row must not stop the good ones behind them.
//!
//! ```text
//! closed ──5 failures in a row──► open (1 s, doubled each time, at most 60 s) ──time is over──► one call
//!   ▲                                 ▲                                                          │  │
//!   └──────────────success────────────┼──────────────────────────────────────────────────────────┘  │
//!                                     └──────────────failure──────────────────────────────────────────┘
//! ```

use crossdock_core::transform::FailureKind;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

const FAILURES_MAX: u32 = 5;
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The breaker of one module.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    in_a_row: u32,
    open_until: Option<Instant>,
    pause: Duration,
    last: Option<FailureKind>,
}

/// The call is refused: the rest of the pause, and the last failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Paused {
    pub left: Duration,
    pub last: FailureKind,
}

impl Breaker {
    /// To be asked before each call of the module. After a pause one call is admitted; the others are refused until it
    /// has succeeded.
    pub(super) fn admit(&self, now: Instant) -> Result<(), Paused> {
        let mut state = self.state.lock();
        match state.open_until {
            Some(until) if now < until => {
                Err(Paused { left: until - now, last: state.last.unwrap_or(FailureKind::Trap) })
            }
            Some(_) => {
                state.open_until = Some(now + state.pause);
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn succeeded(&self) {
        let mut state = self.state.lock();
        if state.in_a_row > 0 {
            *state = Failures::default();
        }
    }

    /// Counts a failure. Returns the pause, if one begins.
    pub(super) fn failed(&self, now: Instant, kind: FailureKind) -> Option<Duration> {
        let mut state = self.state.lock();
        state.in_a_row = state.in_a_row.saturating_add(1);
        state.last = Some(kind);
        if state.in_a_row < FAILURES_MAX {
            return None;
        }
        state.pause = match state.pause.is_zero() {
            true => PAUSE_FIRST,
            false => state.pause.saturating_mul(2).min(PAUSE_MAX),
        };
        state.open_until = Some(now + state.pause);
        Some(state.pause)
    }

    /// The rest of the pause.
    pub(super) fn paused(&self, now: Instant) -> Option<Duration> {
        let until = self.state.lock().open_until?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_five_and_pauses_longer_each_time() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for _ in 0..4 {
            assert_eq!(breaker.failed(at(0), FailureKind::Trap), None);
            assert_eq!(breaker.admit(at(0)), Ok(()));
        }
        assert_eq!(breaker.failed(at(0), FailureKind::Timeout), Some(Duration::from_secs(1)));
        let paused = Paused { left: Duration::from_millis(900), last: FailureKind::Timeout };
        assert_eq!(breaker.admit(at(100)), Err(paused));
        assert_eq!(breaker.admit(at(1_000)), Ok(()), "one call is admitted");
        assert!(breaker.admit(at(1_001)).is_err(), "and only one");
        assert_eq!(breaker.failed(at(1_002), FailureKind::Trap), Some(Duration::from_secs(2)));
        assert!(breaker.admit(at(3_000)).is_err());
        assert_eq!(breaker.admit(at(3_002)), Ok(()));
        breaker.succeeded();
        assert_eq!((breaker.admit(at(3_003)), breaker.paused(at(3_003))), (Ok(()), None));
        assert_eq!(breaker.failed(at(3_004), FailureKind::Trap), None, "counting starts at zero");
    }

    #[test]
    fn a_success_breaks_the_row_and_the_pause_is_bounded() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..20 {
            for _ in 0..4 {
                assert_eq!(breaker.failed(now, FailureKind::Trap), None);
            }
            breaker.succeeded();
        }
        let longest = (0..20).filter_map(|_| breaker.failed(now, FailureKind::Trap)).max();
        assert_eq!(longest, Some(PAUSE_MAX));
    }
}
