//! The times of one connection: heart-beats both ways (STOMP 1.2 §Heart-beating) and the write deadline. One timer,
//! which is moved only when something is due earlier than it; when it fires, what is due is looked up.

use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long the timer sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// Heart-beat intervals as agreed in CONNECTED; none: no beats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Beats {
    /// Ours, at least one in so long.
    pub sent: Option<Duration>,
    /// The peer's.
    pub expected: Option<Duration>,
}

/// What the timer found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// A heart-beat is to be sent.
    Beat,
    /// The peer sent nothing for too long.
    Silence,
    /// The peer read nothing for too long.
    Stuck,
}

pub(super) struct Clock {
    timer: Pin<Box<Sleep>>,
    /// Half the agreed interval, so that a late wake-up is still in time.
    beat: Option<Duration>,
    /// Twice the agreed interval: the peer's beats may be late, too.
    silence: Option<Duration>,
    write_time: Duration,
    read_at: Instant,
    wrote_at: Instant,
    /// Since when output waits without progress.
    stuck_since: Option<Instant>,
}

impl Clock {
    pub(super) fn new(beats: Beats, write_time: Duration) -> Self {
        let now = Instant::now();
        Self {
            timer: Box::pin(sleep_until(now + IDLE)),
            beat: beats.sent.map(|interval| interval / 2),
            silence: beats.expected.map(|interval| interval.saturating_mul(2)),
            write_time,
            read_at: now,
            wrote_at: now,
            stuck_since: None,
        }
    }

    /// The timer, to be waited for.
    pub(super) fn timer(&mut self) -> Pin<&mut Sleep> {
        self.timer.as_mut()
    }

    /// The peer sent something, or was not listened to.
    pub(super) fn read(&mut self) {
        self.read_at = Instant::now();
    }

    /// Something was written.
    pub(super) fn wrote(&mut self) {
        self.wrote_at = Instant::now();
        self.stuck_since = self.stuck_since.map(|_| self.wrote_at);
    }

    /// Before each wait: whether output waits, and the timer not later than what is due next.
    pub(super) fn arm(&mut self, waiting: bool) {
        match (self.stuck_since, waiting) {
            (None, true) => self.stuck_since = Some(Instant::now()),
            (Some(_), false) => self.stuck_since = None,
            _ => {}
        }
        if let Some(next) = self.next()
            && next < self.timer.deadline()
        {
            self.timer.as_mut().reset(next);
        }
    }

    /// After the timer fired. `reading`: the peer is listened to.
    pub(super) fn due(&mut self, reading: bool) -> Due {
        let now = Instant::now();
        if !reading {
            self.read_at = now;
        }
        let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let due = if past(self.stuck_at()) {
            Due::Stuck
        } else if past(self.silent_at()) {
            Due::Silence
        } else if past(self.beat_at()) {
            Due::Beat
        } else {
            Due::Nothing
        };
        if due == Due::Beat {
            self.wrote_at = now;
        }
        let next = self.next().unwrap_or(now + IDLE).min(now + IDLE);
        self.timer.as_mut().reset(next);
        due
    }

    fn next(&self) -> Option<Instant> {
        [self.stuck_at(), self.silent_at(), self.beat_at()].into_iter().flatten().min()
    }

    fn stuck_at(&self) -> Option<Instant> {
        self.stuck_since.map(|since| since + self.write_time)
    }

    fn silent_at(&self) -> Option<Instant> {
        self.silence.and_then(|silence| self.read_at.checked_add(silence))
    }

    fn beat_at(&self) -> Option<Instant> {
        self.beat.and_then(|beat| self.wrote_at.checked_add(beat))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn beats_are_early_and_silence_is_late() {
        let beats = Beats { sent: Some(SECOND * 10), expected: Some(SECOND * 10) };
        let mut clock = Clock::new(beats, SECOND * 15);
        clock.arm(false);
        advance(SECOND * 5).await;
        assert_eq!(clock.due(true), Due::Beat);
        assert_eq!(clock.due(true), Due::Nothing);
        clock.wrote();
        advance(SECOND * 4).await;
        assert_eq!(clock.due(true), Due::Nothing);
        clock.read();
        clock.wrote();
        advance(SECOND * 19).await;
        assert_eq!(clock.due(true), Due::Beat);
        advance(SECOND).await;
        assert_eq!(clock.due(true), Due::Silence);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_listened_to_is_not_silent() {
        let beats = Beats { sent: None, expected: Some(SECOND) };
        let mut clock = Clock::new(beats, SECOND * 15);
        advance(SECOND * 60).await;
        assert_eq!(clock.due(false), Due::Nothing);
    }

    #[tokio::test(start_paused = true)]
    async fn output_without_progress_ends() {
        let mut clock = Clock::new(Beats::default(), SECOND * 15);
        clock.arm(true);
        advance(SECOND * 14).await;
        clock.wrote();
        clock.arm(true);
        advance(SECOND * 14).await;
        assert_eq!(clock.due(true), Due::Nothing);
        advance(SECOND).await;
        assert_eq!(clock.due(true), Due::Stuck);
        clock.arm(false);
        advance(SECOND * 60).await;
        assert_eq!(clock.due(true), Due::Nothing);
    }
}
