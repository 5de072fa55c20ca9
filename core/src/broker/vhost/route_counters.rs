//! What a content route did: counts, the last failure, and a warning at most once a minute.

use crate::message::{Address, Name, Timestamp};
use crate::transform::{FailureKind, StepFailure};
use parking_lot::Mutex;
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
    Dropped(std::sync::Arc<str>),
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
    report: Mutex<Report>,
}

#[derive(Debug, Default)]
struct Report {
    last: Option<LastFailure>,
    warned_at: Option<Timestamp>,
    /// Dead letters since the last warning.
    unreported: u64,
}

/// What a content route did since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

impl RouteCounters {
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
            module = %last.failure.module, kind = last.failure.kind.as_str(), text = ?last.failure.text,
            "a content route sent messages to its dead-letter address: it could not process them"
        );
        report.unreported = 0;
        report.warned_at = Some(now);
    }

    /// What it counted.
    pub fn status(&self, name: Name, waiting: u64) -> RouteStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let kinds = FailureKind::ALL.iter().zip(&self.failed);
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
            last_failure: self.report.lock().last.clone(),
        }
    }
}
