//! What a content route did: counts, the last failure, and a warning at most once a minute.

use crate::message::{Address, Name, Timestamp};
use crate::transform::{FailureKind, ModuleLook, StepFailure};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Milliseconds between two warnings of one route.
const WARN_EVERY_MS: u64 = 60_000;

/// Something that a route did, to be counted once it has happened.
#[derive(Debug, Clone)]
pub enum RouteEvent {
    /// A message went in.
    Taken,
    /// A result was stored somewhere or handed to somebody.
    Emitted,
    /// A result was addressed to a topic or exchange to which nobody is bound.
    NoSubscriber,
    /// The original went on as if the route had not matched.
    Passed,
    /// A step or `on_error` dropped it; why.
    Dropped(Arc<str>),
    /// Its publisher was told no.
    Rejected,
    /// A step failed.
    Failed(FailureKind),
    /// A result is tried again.
    Retried,
    /// A publish that clears a retained value: topics that are computed from messages keep theirs.
    NotCleared,
    /// The original went to the dead-letter address.
    DeadLettered(Box<LastFailure>),
}

/// Why a route last failed for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    pub time: Timestamp,
    /// Where the message had been published to.
    pub address: Address,
    pub failure: StepFailure,
    /// The dead-letter address that it went to; none: it is tried again.
    pub went_to: Option<Address>,
}

/// What keeps the messages of a route in its queue now, other than work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteWaits {
    /// Messages that wait for another attempt.
    pub between_attempts: u64,
    /// The last attempt that failed and is followed by another one.
    pub last_attempt: Option<LastFailure>,
    /// There is no place for what a message leads to; why.
    pub no_place: Option<Arc<str>>,
    /// The route cannot work until it has another module or configuration; why.
    pub down: Option<Arc<str>>,
}

/// A message waits for another attempt as long as this lives.
#[derive(Debug)]
pub struct BetweenAttempts(Arc<RouteCounters>);

impl Drop for BetweenAttempts {
    fn drop(&mut self) {
        self.0.between_attempts.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counters of one route since the start.
#[derive(Debug, Default)]
pub struct RouteCounters {
    taken: AtomicU64,
    emitted: AtomicU64,
    no_subscriber: AtomicU64,
    passed: AtomicU64,
    dropped: AtomicU64,
    rejected: AtomicU64,
    retried: AtomicU64,
    not_cleared: AtomicU64,
    dead_lettered: AtomicU64,
    failed: [AtomicU64; FailureKind::ALL.len()],
    /// Messages that wait for another attempt now.
    between_attempts: AtomicU64,
    report: Mutex<Report>,
}

#[derive(Debug, Default)]
struct Report {
    last: Option<LastFailure>,
    /// The last attempt that is followed by another one.
    last_attempt: Option<LastFailure>,
    /// Why there was no place for what a message leads to, when that was said last.
    no_place: Option<Arc<str>>,
    warned_at: Option<Timestamp>,
    /// Dead letters since the last warning.
    unreported: u64,
}

/// What a content route did since the start.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteStatus {
    pub name: Name,
    /// Messages that went in; retries do not count again.
    pub taken: u64,
    /// Results that were stored somewhere or handed to somebody.
    pub emitted: u64,
    /// Results to topics and exchanges to which nobody is bound.
    pub no_subscriber: u64,
    /// Messages that went on as if the route had not matched.
    pub passed: u64,
    pub dropped: u64,
    /// Messages whose publishers were told no.
    pub rejected: u64,
    pub retried: u64,
    /// Clearing publishes that met destinations which are computed, whose retained values stay.
    pub not_cleared: u64,
    pub dead_lettered: u64,
    /// Failures by kind; each attempt counts.
    pub failed: Vec<(FailureKind, u64)>,
    /// Messages in its queue.
    pub waiting: u64,
    pub last_failure: Option<LastFailure>,
    pub waits: RouteWaits,
    pub modules: Vec<ModuleLook>,
}

impl RouteCounters {
    /// A message waits for another attempt as long as the answer lives. `last`: the failure of the one before; none:
    /// none was made with this message.
    pub fn wait_between_attempts(self: &Arc<Self>, last: Option<LastFailure>) -> BetweenAttempts {
        self.between_attempts.fetch_add(1, Ordering::Relaxed);
        if last.is_some() {
            self.report.lock().last_attempt = last;
        }
        BetweenAttempts(self.clone())
    }

    /// There is no place for what a message leads to; why.
    pub fn note_no_place(&self, why: Arc<str>) {
        self.report.lock().no_place = Some(why);
    }

    /// Counts what happened; warns about dead letters at most once a minute.
    pub fn note(&self, route: &Name, event: RouteEvent, now: Timestamp) {
        let counter = match event {
            RouteEvent::Taken => &self.taken,
            RouteEvent::Emitted => &self.emitted,
            RouteEvent::NoSubscriber => &self.no_subscriber,
            RouteEvent::Passed => &self.passed,
            RouteEvent::Rejected => &self.rejected,
            RouteEvent::Retried => &self.retried,
            RouteEvent::NotCleared => &self.not_cleared,
            RouteEvent::Dropped(reason) => {
                tracing::debug!(%route, %reason, "a content route dropped a message, as it was told to");
                &self.dropped
            }
            RouteEvent::Failed(kind) => {
                let at = FailureKind::ALL.iter().position(|known| *known == kind);
                let Some(counter) = at.and_then(|at| self.failed.get(at)) else { return };
                counter
            }
            RouteEvent::DeadLettered(failure) => {
                self.dead_lettered.fetch_add(1, Ordering::Relaxed);
                let mut report = self.report.lock();
                report.unreported += 1;
                report.last = Some(*failure);
                drop(report);
                self.warn(route, now);
                return;
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Warns about dead letters that no warning has told of yet, if the last warning is a minute old.
    pub fn warn(&self, route: &Name, now: Timestamp) {
        let mut report = self.report.lock();
        let is_due = report.warned_at.is_none_or(|at| at.until(now) >= WARN_EVERY_MS);
        let (true, Some(last)) = (report.unreported > 0 && is_due, &report.last) else { return };
        tracing::warn!(
            %route, dead_lettered = report.unreported, address = %last.address,
            dead_letter = last.went_to.as_ref().map(tracing::field::display),
            module = %last.failure.module, kind = last.failure.kind.as_str(), text = ?last.failure.text,
            "a content route sent messages to its dead-letter address: it could not process them"
        );
        report.unreported = 0;
        report.warned_at = Some(now);
    }

    /// What it counted.
    /// `no_place`: there is none now for what a message leads to. `down`: why the route cannot work.
    pub fn status(
        &self,
        (name, waiting): (Name, u64),
        no_place: bool,
        down: Option<Arc<str>>,
    ) -> RouteStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let kinds = FailureKind::ALL.iter().zip(&self.failed);
        let report = self.report.lock();
        let waits = RouteWaits {
            between_attempts: read(&self.between_attempts),
            last_attempt: report.last_attempt.clone(),
            no_place: report.no_place.clone().filter(|_| no_place),
            down,
        };
        RouteStatus {
            name,
            taken: read(&self.taken),
            emitted: read(&self.emitted),
            no_subscriber: read(&self.no_subscriber),
            passed: read(&self.passed),
            dropped: read(&self.dropped),
            rejected: read(&self.rejected),
            retried: read(&self.retried),
            not_cleared: read(&self.not_cleared),
            dead_lettered: read(&self.dead_lettered),
            failed: kinds.map(|(kind, counter)| (*kind, read(counter))).collect(),
            waiting,
            last_failure: report.last.clone(),
            waits,
            modules: Vec::new(),
        }
    }
}
