//! The deadlines of one connection, and the one timer behind them. The timer is moved only when something comes up
//! that is earlier than what it is set to; when it fires, the table says what is due.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// The timer is set to this when nothing is due: further away than any deadline.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two attempts at something that failed.
const RETRY: Duration = Duration::from_secs(1);

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// The login, or the answers to a peer that sends nothing more, took too long.
    Limit,
    /// Output waits, and the peer took nothing of it for too long.
    NotReading,
    /// The peer sent nothing for too long.
    Silent,
    /// Something that failed is to be tried again.
    Retry,
    /// Nothing was written for the heartbeat interval: a heartbeat has to go out.
    Beat,
}

/// The deadlines of one connection.
pub(crate) struct Deadlines {
    timer: Pin<Box<Sleep>>,
    /// A peer that sends nothing for this long is given up; none: it may be silent for ever.
    silence: Option<Duration>,
    /// After this long without output a heartbeat is written; none: never.
    beat: Option<Duration>,
    /// Waiting output that does not move for this long ends the connection.
    write_time: Duration,
    heard: Instant,
    wrote: Instant,
    /// Since when output waits without moving.
    stuck: Option<Instant>,
    retry: Option<Instant>,
    limit: Option<Instant>,
}

impl Deadlines {
    /// For a connection whose login has to be complete in `login_time`.
    pub(crate) fn new(login_time: Duration, write_time: Duration) -> Self {
        let now = Instant::now();
        let limit = now + login_time;
        Self {
            timer: Box::pin(sleep_until(limit)),
            silence: None,
            beat: None,
            write_time,
            heard: now,
            wrote: now,
            stuck: None,
            retry: None,
            limit: Some(limit),
        }
    }

    /// The login is complete, and this is what was agreed on.
    pub(crate) fn agreed(&mut self, silence: Option<Duration>, beat: Option<Duration>) {
        let now = Instant::now();
        (self.silence, self.beat, self.limit) = (silence, beat, None);
        (self.heard, self.wrote) = (now, now);
        let next = self.next(now);
        self.timer.as_mut().reset(next);
    }

    /// Whatever is going on now has to end within this time.
    pub(crate) fn limit(&mut self, time: Duration) {
        let at = Instant::now() + time;
        self.limit = Some(at);
        self.ring(at);
    }

    /// From now on the time is not the peer's, until [`Deadlines::resume_limit`]. Returns the time that was left.
    pub(crate) fn suspend_limit(&mut self) -> Option<Duration> {
        let limit = self.limit.take()?;
        Some(limit.saturating_duration_since(Instant::now()))
    }

    /// The peer has what was left again.
    pub(crate) fn resume_limit(&mut self, left: Option<Duration>) {
        if let Some(left) = left {
            self.limit(left);
        }
    }

    /// The peer sent something, or could not be heard because it was not read.
    pub(crate) fn heard(&mut self) {
        if self.silence.is_some() {
            self.heard = Instant::now();
        }
    }

    /// The peer took some output.
    pub(crate) fn wrote(&mut self) {
        self.stuck = None;
        if self.beat.is_some() {
            self.wrote = Instant::now();
        }
    }

    /// The peer takes no output at the moment.
    pub(crate) fn output_waits(&mut self, context: &mut Context<'_>) {
        if self.stuck.is_none() {
            let now = Instant::now();
            self.stuck = Some(now);
            self.ring(now + self.write_time);
            // A timer that was moved has to be polled before it can wake the task. One that fired meanwhile is looked
            // at in the next round.
            if self.poll(context).is_ready() {
                context.waker().wake_by_ref();
            }
        }
    }

    /// Something that failed is to be tried again in a second.
    pub(crate) fn retry_later(&mut self) {
        let at = Instant::now() + RETRY;
        self.retry = Some(at);
        self.ring(at);
    }

    fn ring(&mut self, at: Instant) {
        if at < self.timer.deadline() {
            self.timer.as_mut().reset(at);
        }
    }

    /// Ready when something may be due: then ask [`Deadlines::due`].
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().poll(context)
    }

    /// What is due: each thing is reported once. The timer is set to the next deadline. `reading`: the peer is read, so
    /// that silence is its own.
    pub(crate) fn due(&mut self, reading: bool) -> Option<Due> {
        let now = Instant::now();
        if !reading {
            self.heard();
        }
        let past = |at: &mut Instant| *at <= now;
        let due = if self.limit.take_if(past).is_some() {
            Some(Due::Limit)
        } else if self.stuck.take_if(|since| *since + self.write_time <= now).is_some() {
            Some(Due::NotReading)
        } else if self.silent_at().is_some_and(|at| at <= now) {
            self.heard = now;
            Some(Due::Silent)
        } else if self.retry.take_if(past).is_some() {
            Some(Due::Retry)
        } else if self.beat_at().is_some_and(|at| at <= now) {
            self.wrote = now;
            Some(Due::Beat)
        } else {
            None
        };
        let next = self.next(now);
        self.timer.as_mut().reset(next);
        due
    }

    fn silent_at(&self) -> Option<Instant> {
        self.silence.map(|silence| self.heard + silence)
    }

    fn beat_at(&self) -> Option<Instant> {
        self.beat.map(|beat| self.wrote + beat)
    }

    fn next(&self, now: Instant) -> Instant {
        let stuck = self.stuck.map(|since| since + self.write_time);
        let all = [self.limit, stuck, self.silent_at(), self.retry, self.beat_at()];
        all.into_iter().flatten().min().unwrap_or(now + FAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::time::advance;

    const SECOND: Duration = Duration::from_secs(1);

    /// After a login, with these intervals.
    fn deadlines(silence: Option<u32>, beat: Option<u32>) -> Deadlines {
        let mut deadlines = Deadlines::new(SECOND * 10, SECOND * 15);
        deadlines.agreed(silence.map(|n| SECOND * n), beat.map(|n| SECOND * n));
        deadlines
    }

    fn wait_for_output(deadlines: &mut Deadlines) {
        deadlines.output_waits(&mut Context::from_waker(Waker::noop()));
    }

    /// Waits for the timer until something is due; what, and after how many seconds.
    async fn first_due(deadlines: &mut Deadlines) -> (Due, u64) {
        let started = Instant::now();
        loop {
            std::future::poll_fn(|context| deadlines.poll(context)).await;
            if let Some(due) = deadlines.due(true) {
                return (due, started.elapsed().as_secs());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_has_its_time_and_no_more() {
        let mut new = Deadlines::new(SECOND * 10, SECOND * 15);
        new.heard();
        assert_eq!(first_due(&mut new).await, (Due::Limit, 10));
        // What the broker took of it does not count.
        let mut waited = Deadlines::new(SECOND * 10, SECOND * 15);
        advance(SECOND * 3).await;
        let left = waited.suspend_limit();
        advance(SECOND * 12).await;
        assert_eq!(waited.due(true), None);
        waited.resume_limit(left);
        assert_eq!(first_due(&mut waited).await, (Due::Limit, 7));
        let mut after = deadlines(Some(20), None);
        assert_eq!(first_due(&mut after).await, (Due::Silent, 20));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_heard_is_not_silent() {
        let mut deadlines = deadlines(Some(15), None);
        advance(SECOND * 9).await;
        deadlines.heard();
        assert_eq!(first_due(&mut deadlines).await, (Due::Silent, 15));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_not_read_is_not_silent() {
        let mut deadlines = deadlines(Some(2), None);
        advance(SECOND * 60).await;
        assert_eq!(deadlines.due(false), None);
        assert_eq!(first_due(&mut deadlines).await, (Due::Silent, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn beats_come_when_nothing_else_is_written() {
        let mut deadlines = deadlines(None, Some(5));
        assert_eq!(first_due(&mut deadlines).await, (Due::Beat, 5));
        assert_eq!(deadlines.due(true), None, "once");
        advance(SECOND * 4).await;
        deadlines.wrote();
        assert_eq!(first_due(&mut deadlines).await, (Due::Beat, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn output_without_progress_ends() {
        let mut deadlines = deadlines(None, None);
        wait_for_output(&mut deadlines);
        advance(SECOND * 14).await;
        deadlines.wrote();
        wait_for_output(&mut deadlines);
        wait_for_output(&mut deadlines);
        assert_eq!(first_due(&mut deadlines).await, (Due::NotReading, 15));
        assert_eq!(deadlines.due(true), None, "once");
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_tried_again() {
        let mut deadlines = deadlines(Some(10), None);
        deadlines.retry_later();
        assert_eq!(first_due(&mut deadlines).await, (Due::Retry, 1));
        assert_eq!(deadlines.due(true), None, "once");
        assert_eq!(first_due(&mut deadlines).await, (Due::Silent, 9));
    }
}
