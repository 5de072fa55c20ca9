//! Those who verify: at most as many as there are cores, each on a thread that may block, until nobody waits.

use super::check::Right;
use super::{Attempt, Entry, PairId, Shared, Source, State};
use super::{Bytes, Name, PASSWORD_BYTES_MAX, PasswordHash, Secret, now};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// How a verification ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Right(Right),
    Wrong,
    /// Whoever began it failed too often in the meantime.
    BackedOff,
    /// It lost its place in the line.
    PushedOut,
    Broken,
}

/// A password that is to be verified.
pub(super) struct Job {
    pub(super) pair: PairId,
    source: Source,
    /// The user's name, for operators, in case it has to wait.
    user: Name,
    password: Secret,
    /// None: nothing can match.
    hashes: Option<Arc<[PasswordHash]>>,
}

impl Job {
    pub(super) fn new(entry: &Entry, attempt: &Attempt<'_>) -> Self {
        let Entry { source, pair } = *entry;
        let given = &attempt.password.0;
        if given.len() > PASSWORD_BYTES_MAX {
            // Costs what others cost, and is not kept.
            let (user, password) = (attempt.user.clone(), Secret(Bytes::new()));
            return Self { pair, source, user, password, hashes: None };
        }
        // A copy: what is given may be a piece of a buffer that is much larger.
        let password = Secret(Bytes::copy_from_slice(given));
        let (user, hashes) = (attempt.user.clone(), attempt.hashes.clone());
        Self { pair, source, user, password, hashes }
    }
}

impl Shared {
    /// Verifies until nobody waits. One of `running`.
    pub(super) fn work(&self) {
        loop {
            // A statement of its own: the lock is free while the password is verified.
            let Some(job) = self.state.lock().next_or_leave() else { return };
            let hashes = job.hashes.as_deref().unwrap_or_default();
            let check = || self.check.run(hashes, &job.password);
            let answer = match catch_unwind(AssertUnwindSafe(check)) {
                Ok(Some(right)) => Answer::Right(right),
                Ok(None) => Answer::Wrong,
                Err(_) => Answer::Broken,
            };
            self.state.lock().note(&job, answer);
        }
    }
}

impl State {
    /// What is to be verified next. None: nobody waits, and the worker that asked is one less.
    fn next_or_leave(&mut self) -> Option<Job> {
        while let Some(job) = self.line.pop() {
            let answer = self.flights.get(&job.pair).map(|flight| &flight.answer);
            if answer.is_none_or(|answer| answer.receiver_count() == 0) {
                self.flights.remove(&job.pair);
                continue;
            }
            // What was right lately was let in although its source is refused.
            let is_known = self.remembered.get(&job.pair, now()).is_some();
            if !is_known && self.back_off.is_refused(&job.source, now()) {
                self.answer(&job.pair, Answer::BackedOff);
                continue;
            }
            return Some(job);
        }
        self.running -= 1;
        None
    }

    fn note(&mut self, job: &Job, answer: Answer) {
        match answer {
            Answer::Right(right) => {
                // A neighbour of who is refused now is not who failed.
                if !self.back_off.is_refused(&job.source, now()) {
                    self.back_off.succeeded(&job.source);
                }
                if self.flights.get(&job.pair).is_some_and(|flight| !flight.is_stale) {
                    self.remembered.put(job.pair, (job.source.user, right.nth), now());
                }
            }
            Answer::Wrong => self.back_off.failed(job.source, &job.user, now()),
            Answer::BackedOff | Answer::PushedOut | Answer::Broken => {}
        }
        self.answer(&job.pair, answer);
    }
}
