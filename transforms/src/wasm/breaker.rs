//! Pauses a module for a source whose messages keep failing, so that they do not delay everybody by the deadline.
//!
//! A failure is a trap, a timeout or a lack of memory at a message's first attempt: what counts is messages, so that
//! one that is tried again and again pauses nobody. A module that returns an error for a message works: several bad
//! messages in a row must not stop the good ones behind them. What one source sends never pauses the module for
//! another.
//!
//! ```text
//! closed ──5 failures in a row──► open (1 s, doubled each time, at most 60 s) ──time is over──► one call
//!   ▲                                 ▲                                                          │  │
//!   └──────────────success────────────┼──────────────────────────────────────────────────────────┘  │
//!                                     └──────────────failure──────────────────────────────────────────┘
//! ```

use crate::step::Turn;
use crossdock_core::Name;
use crossdock_core::transform::{PAUSES_SHOWN, Pause};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const FAILURES_MAX: u32 = 5;
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// While one call finds out whether the pause is over, the others ask again after this time.
const PROBE_WAIT: Duration = Duration::from_millis(100);
/// Sources whose failures are remembered; the one that was heard of least recently is forgotten.
const SOURCES_MAX: usize = 1_024;

/// The breaker of one module. Sources without failures take no memory.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    sources: Mutex<HashMap<u64, Failures>>,
}

#[derive(Debug)]
struct Failures {
    in_a_row: u32,
    state: State,
    pause: Duration,
    heard: Instant,
    /// When the first pause began, and for whom.
    paused: Option<(Instant, Paused)>,
}

/// Whom a pause is for, and the failure that it began with.
#[derive(Debug, Clone)]
pub(super) struct Paused {
    pub user: Name,
    pub client: Name,
    pub address: Arc<str>,
    pub reason: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Closed,
    /// Until then.
    Open(Instant),
    /// A call is on its way that decides.
    Probing,
}

impl Breaker {
    /// To be asked before each call of the module; an error is the time to wait. After a pause one call is admitted;
    /// the others wait until it has ended, which `answered`, `failed` or `withdrawn` says.
    pub(super) fn admit(&self, source: u64, now: Instant) -> Result<(), Duration> {
        let mut sources = self.sources.lock();
        let Some(failures) = sources.get_mut(&source) else { return Ok(()) };
        failures.heard = now;
        match failures.rest(now) {
            Some(rest) => Err(rest),
            None => {
                if failures.state != State::Closed {
                    failures.state = State::Probing;
                }
                Ok(())
            }
        }
    }

    /// The time that a message of this source would have to wait.
    pub(super) fn rest(&self, source: u64, now: Instant) -> Option<Duration> {
        self.sources.lock().get(&source)?.rest(now)
    }

    /// The module answered.
    pub(super) fn answered(&self, source: u64) {
        self.sources.lock().remove(&source);
    }

    /// The admitted call did not take place.
    pub(super) fn withdrawn(&self, source: u64, now: Instant) {
        if let Some(failures) = self.sources.lock().get_mut(&source)
            && failures.state == State::Probing
        {
            failures.state = State::Open(now);
        }
    }

    /// The module failed. Returns the pause, if a new one begins.
    pub(super) fn failed(&self, turn: Turn, now: Instant) -> Option<Duration> {
        let mut sources = self.sources.lock();
        if turn.attempt > 0 {
            let failures = sources.get_mut(&turn.source)?;
            if failures.state == State::Probing {
                failures.state = State::Open(now + failures.pause);
            }
            return None;
        }
        if !sources.contains_key(&turn.source) && sources.len() >= SOURCES_MAX {
            let oldest = sources.iter().min_by_key(|(_, failures)| failures.heard);
            if let Some(oldest) = oldest.map(|(source, _)| *source) {
                sources.remove(&oldest);
            }
        }
        let failures = sources.entry(turn.source).or_insert(Failures {
            in_a_row: 0,
            state: State::Closed,
            pause: Duration::ZERO,
            heard: now,
            paused: None,
        });
        failures.count(now)
    }

    /// A pause has begun for them.
    pub(super) fn note(&self, source: u64, who: Paused, now: Instant) {
        if let Some(failures) = self.sources.lock().get_mut(&source) {
            let since = failures.paused.as_ref().map_or(now, |(since, _)| *since);
            failures.paused = Some((since, who));
        }
    }

    /// The pauses of now, the longest first.
    pub(super) fn pauses(&self, now: Instant) -> Vec<Pause> {
        let sources = self.sources.lock();
        let mut pauses: Vec<Pause> = sources.values().filter_map(|one| one.shown(now)).collect();
        drop(sources);
        pauses.sort_by_key(|pause| std::cmp::Reverse(pause.rest));
        pauses.truncate(PAUSES_SHOWN);
        pauses
    }
}

impl Failures {
    fn rest(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Closed => None,
            State::Open(until) => {
                Some(until.saturating_duration_since(now)).filter(|d| !d.is_zero())
            }
            State::Probing => Some(PROBE_WAIT),
        }
    }

    /// Its pause, if it lasts.
    fn shown(&self, now: Instant) -> Option<Pause> {
        let rest = self.rest(now)?;
        let (since, who) = self.paused.clone()?;
        let Paused { user, client, address, reason } = who;
        let since = now.saturating_duration_since(since);
        Some(Pause { user, client, address, since, rest, reason })
    }

    fn count(&mut self, now: Instant) -> Option<Duration> {
        self.heard = now;
        self.in_a_row = self.in_a_row.saturating_add(1);
        // Of several calls that were under way when the pause began, none makes it longer.
        if self.in_a_row < FAILURES_MAX || matches!(self.state, State::Open(until) if now < until) {
            return None;
        }
        self.pause = match self.pause.is_zero() {
            true => PAUSE_FIRST,
            false => self.pause.saturating_mul(2).min(PAUSE_MAX),
        };
        self.state = State::Open(now + self.pause);
        Some(self.pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Turn = Turn { source: 1, attempt: 0 };
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn opens_after_five_and_pauses_longer_each_time() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for _ in 0..4 {
            assert_eq!(breaker.failed(FIRST, at(0)), None);
            assert_eq!(breaker.admit(1, at(0)), Ok(()));
        }
        assert_eq!(breaker.failed(FIRST, at(0)), Some(SECOND));
        assert_eq!(breaker.failed(FIRST, at(1)), None, "a call that was under way");
        assert_eq!(breaker.admit(1, at(100)), Err(Duration::from_millis(900)));
        let who = Paused {
            user: "ann".into(),
            client: "c".into(),
            address: "queue:in".into(),
            reason: "it crashed".into(),
        };
        breaker.note(1, who, at(0));
        let [pause] = &*breaker.pauses(at(100)) else { panic!("there is one pause") };
        let times = (pause.since.as_millis(), pause.rest.as_millis());
        assert_eq!((&*pause.client, times), ("c", (100, 900)));
        assert_eq!(breaker.admit(1, at(1_000)), Ok(()), "one call is admitted");
        assert_eq!(breaker.admit(1, at(1_001)), Err(PROBE_WAIT), "and only one");
        assert_eq!(breaker.failed(FIRST, at(1_002)), Some(2 * SECOND));
        assert!(breaker.admit(1, at(3_000)).is_err());
        assert_eq!(breaker.admit(1, at(3_002)), Ok(()));
        breaker.answered(1);
        assert_eq!((breaker.admit(1, at(3_003)), breaker.pauses(at(3_003))), (Ok(()), Vec::new()));
        assert_eq!(breaker.failed(FIRST, at(3_004)), None, "counting starts at zero");
    }

    #[test]
    fn a_success_breaks_the_row_and_the_pause_is_bounded() {
        let (breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..20 {
            for _ in 0..4 {
                assert_eq!(breaker.failed(FIRST, now), None);
            }
            breaker.answered(1);
        }
        let mut longest = None;
        for _ in 0..20 {
            longest = longest.max(breaker.failed(FIRST, now));
            now += PAUSE_MAX;
        }
        assert_eq!(longest, Some(PAUSE_MAX));
    }

    #[test]
    fn retries_do_not_count() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for document in 0..2 {
            for attempt in 0..100 {
                assert_eq!(breaker.failed(Turn { source: 1, attempt }, now), None, "{document}");
            }
        }
        assert_eq!(breaker.admit(1, now), Ok(()));
    }

    #[test]
    fn a_retry_as_the_one_call_keeps_the_pause_as_it_is() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        (0..5).for_each(|_| _ = breaker.failed(FIRST, now));
        assert_eq!(breaker.admit(1, now + SECOND), Ok(()));
        assert_eq!(breaker.failed(Turn { source: 1, attempt: 1 }, now + SECOND), None);
        assert_eq!(breaker.admit(1, now + SECOND), Err(SECOND));
        assert_eq!(breaker.admit(1, now + 2 * SECOND), Ok(()));
        breaker.withdrawn(1, now + 2 * SECOND);
        assert_eq!(breaker.admit(1, now + 2 * SECOND), Ok(()), "the call did not take place");
    }

    #[test]
    fn sources_have_pauses_of_their_own() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        (0..5).for_each(|_| _ = breaker.failed(FIRST, now));
        assert!(breaker.admit(1, now).is_err());
        assert_eq!(breaker.admit(2, now), Ok(()));
        breaker.answered(2);
        assert!(breaker.admit(1, now).is_err(), "another source's success is not this one's");
    }

    #[test]
    fn the_sources_are_bounded() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        let later = |ms| start + Duration::from_millis(ms);
        (0..5).for_each(|_| _ = breaker.failed(FIRST, start));
        for source in 2..=1_100 {
            breaker.failed(Turn { source, attempt: 0 }, later(source));
            assert!(
                breaker.admit(1, later(source)).is_err() || source >= 1_000,
                "heard of recently"
            );
        }
        let sources = breaker.sources.lock();
        assert_eq!(sources.len(), SOURCES_MAX);
        assert!(sources.contains_key(&1) && !sources.contains_key(&2));
    }
}
