//! The deadlines of a connection: keep alive, output that does not move, and what is to be tried again. One timer, set
//! again only when it fires or something earlier comes up.

use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Further away than any deadline.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// Between two attempts.
const RETRY: Duration = Duration::from_secs(1);

/// What ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    KeepAlive,
    Write,
    Retry,
}

/// The clock of one connection.
pub struct Clock {
    sleep: Pin<Box<Sleep>>,
    /// One and a half times what the client said; none is off.
    keep_alive: Option<Duration>,
    write_time: Duration,
    heard: Instant,
    /// Since when output waits without moving.
    stuck: Option<Instant>,
    /// When something is to be tried again.
    retry: Option<Instant>,
}

impl Clock {
    /// A clock that begins now. `keep_alive` in seconds, 0 is off.
    pub fn new(keep_alive: u16, write_time: Duration) -> Self {
        let heard = Instant::now();
        // MQTT 5 [MQTT-3.1.2-22]
        let keep_alive =
            (keep_alive > 0).then(|| Duration::from_millis(u64::from(keep_alive) * 1500));
        let first = heard + keep_alive.unwrap_or(FAR);
        let sleep = Box::pin(sleep_until(first));
        Self { sleep, keep_alive, write_time, heard, stuck: None, retry: None }
    }

    /// Resolves when something may have run out; ask [`Clock::expired`] then. Cancel-safe.
    pub async fn tick(&mut self) {
        self.sleep.as_mut().await;
    }

    /// The client sent something, or cannot be expected to because it is not read.
    pub fn heard(&mut self) {
        if self.keep_alive.is_some() {
            self.heard = Instant::now();
        }
    }

    /// The store was waited for since then: what was not read or written meanwhile is not the client's fault.
    pub fn away(&mut self, since: Instant) {
        let away = since.elapsed();
        self.heard += away;
        self.stuck = self.stuck.map(|stuck| stuck + away);
    }

    /// Whether output waits, after a turn.
    pub fn waiting(&mut self, waiting: bool) {
        match (waiting, self.stuck) {
            (true, None) => {
                let now = Instant::now();
                self.stuck = Some(now);
                self.ring(now + self.write_time);
            }
            (false, Some(_)) => self.stuck = None,
            _ => (),
        }
    }

    fn ring(&mut self, at: Instant) {
        if at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
        }
    }

    /// Something is to be tried again in a while.
    pub fn retry(&mut self) {
        let at = Instant::now() + RETRY;
        self.retry = Some(at);
        self.ring(at);
    }

    /// Some output went.
    pub fn moved(&mut self) {
        if self.stuck.is_some() {
            self.stuck = Some(Instant::now());
        }
    }

    /// What ran out; otherwise the timer is set for what comes next.
    pub fn expired(&mut self) -> Option<Expired> {
        let now = Instant::now();
        let keep_alive = self.keep_alive.map(|limit| self.heard + limit);
        let write = self.stuck.map(|since| since + self.write_time);
        if write.is_some_and(|at| at <= now) {
            return Some(Expired::Write);
        }
        if keep_alive.is_some_and(|at| at <= now) {
            return Some(Expired::KeepAlive);
        }
        if self.retry.take_if(|at| *at <= now).is_some() {
            return Some(Expired::Retry);
        }
        let next = keep_alive.into_iter().chain(write).chain(self.retry).min();
        let next = next.unwrap_or(now + FAR);
        self.sleep.as_mut().reset(next);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keep_alive_is_one_and_a_half_times() {
        let mut clock = Clock::new(10, Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(9)).await;
        clock.heard();
        let started = Instant::now();
        loop {
            clock.tick().await;
            if let Some(expired) = clock.expired() {
                assert_eq!(expired, Expired::KeepAlive);
                break;
            }
        }
        assert_eq!(started.elapsed().as_secs(), 15);
    }

    #[tokio::test(start_paused = true)]
    async fn output_that_does_not_move() {
        let mut clock = Clock::new(0, Duration::from_secs(15));
        assert_eq!(clock.expired(), None);
        clock.waiting(true);
        tokio::time::advance(Duration::from_secs(10)).await;
        clock.moved();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.expired(), None);
        clock.tick().await;
        assert_eq!(clock.expired(), Some(Expired::Write));
        clock.waiting(false);
        assert_eq!(clock.expired(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_was_spent_elsewhere_does_not_count() {
        let mut clock = Clock::new(10, Duration::from_secs(12));
        clock.waiting(true);
        tokio::time::advance(Duration::from_secs(5)).await;
        let since = Instant::now();
        tokio::time::advance(Duration::from_secs(60)).await;
        clock.away(since);
        assert_eq!(clock.expired(), None);
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(clock.expired(), Some(Expired::Write));
        clock.waiting(false);
        assert_eq!(clock.expired(), None);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.expired(), Some(Expired::KeepAlive));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_tried_again() {
        let mut clock = Clock::new(10, Duration::from_secs(15));
        let started = Instant::now();
        clock.retry();
        clock.tick().await;
        assert_eq!((clock.expired(), started.elapsed()), (Some(Expired::Retry), RETRY));
        assert_eq!(clock.expired(), None, "once");
    }
}
