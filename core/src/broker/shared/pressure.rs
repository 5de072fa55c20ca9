//! Back-pressure: memory and disk space, their marks, and the publishers that are held back over them.

use super::sleepers::Sleepers;
use crate::broker::vhost::held::HeldSessions;
use crate::broker::vhost::inbox::Inbox;
use crate::message::{Account, Budget, Message};
use crate::readable::bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Between two warnings of alarms.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What may hold publishers back, and whom it holds back.
pub struct BackPressure {
    pub memory: Memory,
    pub disk: DiskSpace,
    pub sleepers: Sleepers,
    /// Inboxes of sessions whose publishes are held back, to be woken when that ends.
    held: HeldSessions,
}

/// Memory that messages take.
pub struct Memory {
    pub budget: Arc<Budget>,
    /// Over the high mark: publishers are held back.
    pub is_over_high: AtomicBool,
    /// Over the resident mark: stored messages are leaving memory.
    pub is_evicting: AtomicBool,
    /// One of the two was set.
    pub exceeded: Notify,
    alarms: Alarms,
}

/// What the log says of alarms of one kind. While they come and go, that is a beginning and an end a minute.
#[derive(Default)]
pub struct Alarms(Mutex<Said>);

#[derive(Default)]
struct Said {
    warned: Option<Instant>,
    /// Alarms since then.
    since_warned: u64,
    /// The beginning of this one was said, so its end is.
    is_told: bool,
}

impl Alarms {
    /// An alarm begins. How many have begun since that was said last; none: it is not to be said yet.
    pub fn begins(&self) -> Option<u64> {
        let mut said = self.0.lock();
        said.since_warned += 1;
        said.due()
    }

    /// An alarm goes on. The same, if its beginning was not said and can be now.
    pub fn goes_on(&self) -> Option<u64> {
        let mut said = self.0.lock();
        if said.is_told { None } else { said.due() }
    }

    /// The alarm is over; true when its beginning was said.
    pub fn ends(&self) -> bool {
        std::mem::take(&mut self.0.lock().is_told)
    }
}

impl Said {
    fn due(&mut self) -> Option<u64> {
        if self.warned.is_some_and(|warned| warned.elapsed() < WARN_EVERY) {
            return None;
        }
        (self.warned, self.is_told) = (Some(Instant::now()), true);
        Some(std::mem::take(&mut self.since_warned))
    }
}

/// Free space of the disk that the store writes to. All false and 0 until it was first read.
#[derive(Default)]
pub struct DiskSpace {
    /// Below the alarm mark: publishers are held back.
    pub is_low: AtomicBool,
    /// Below the hard mark: nothing new is declared either.
    pub is_exhausted: AtomicBool,
    /// Bytes that can still be written before the alarm mark, as far as is known.
    pub bytes_to_mark: AtomicU64,
    /// The alarm mark, in bytes that are free.
    pub mark: AtomicU64,
    /// Bytes that were free when that was last read.
    pub bytes_free: AtomicU64,
    /// Bytes that it has; 0 where that has no meaning.
    pub bytes_total: AtomicU64,
    /// What was said of the alarm, and of the hard mark.
    pub alarms: Alarms,
    pub hard_alarms: Alarms,
    /// Much was written: the free space is to be read before its time.
    pub check_due: Notify,
}

impl BackPressure {
    /// Memory with that budget, and a disk whose free space is not known yet.
    pub fn new(budget: Arc<Budget>) -> Self {
        let memory = Memory {
            budget,
            is_over_high: AtomicBool::new(false),
            is_evicting: AtomicBool::new(false),
            exceeded: Notify::new(),
            alarms: Alarms::default(),
        };
        let (disk, sleepers) = (DiskSpace::default(), Sleepers::default());
        Self { memory, disk, sleepers, held: HeldSessions::default() }
    }

    /// True while publishers are held back.
    pub fn holds_publishers(&self) -> bool {
        self.memory.is_over_high.load(Ordering::Acquire) || self.disk.is_low()
    }

    /// Wakes that session when publishers are not held back any more.
    pub fn hold(&self, inbox: &Arc<Inbox>) {
        self.held.hold(inbox);
    }

    /// The session has left: it is not to be woken.
    pub fn forget(&self, inbox: &Arc<Inbox>) {
        self.held.forget(inbox);
    }

    /// How many sessions are held back, or were and did not look again yet.
    pub fn held_count(&self) -> usize {
        self.held.count()
    }

    /// Wakes the sessions that were held back: each looks whether it may go on.
    pub fn release_held(&self) {
        self.held.release();
    }
}

impl Memory {
    /// Counts a message against the budget as long as it lives.
    pub fn charge(&self, message: &Message) {
        message.charge(&self.budget);
        self.check();
    }

    /// Looks whether a mark is exceeded, after something was charged.
    pub fn check(&self) {
        if !self.budget.is_over_resident() {
            return;
        }
        if self.budget.is_over() && !self.is_over_high.swap(true, Ordering::AcqRel) {
            self.warn(self.alarms.begins());
            self.exceeded.notify_one();
        }
        if !self.is_evicting.swap(true, Ordering::AcqRel) {
            self.exceeded.notify_one();
        }
    }

    /// An alarm goes on whose beginning was not said, because another had begun shortly before.
    pub fn alarm_goes_on(&self) {
        self.warn(self.alarms.goes_on());
    }

    fn warn(&self, alarms: Option<u64>) {
        let Some(alarms) = alarms else { return };
        let (begins_over, ends_below) = self.budget.alarm_marks();
        tracing::warn!(
            waiting = %bytes(self.budget.used(Account::Waiting) as u64),
            kept = %bytes(self.budget.used(Account::Kept) as u64),
            begins_over = %bytes(begins_over as u64),
            ends_below = %bytes(ends_below as u64),
            alarms,
            "messages take more memory than memory.high allows: publishers are held back until consumers \
             or the journal have taken enough of them"
        );
    }

    /// The alarm is over; true when its beginning was said.
    pub fn alarm_ends(&self) -> bool {
        self.is_over_high.store(false, Ordering::Release);
        self.alarms.ends()
    }
}

impl DiskSpace {
    /// True below the alarm mark.
    pub fn is_low(&self) -> bool {
        self.is_low.load(Ordering::Acquire)
    }

    /// Notes that `bytes` were written. Asks for a look at the disk before the space that was seen last is used up.
    pub fn wrote(&self, bytes: usize) {
        let bytes = bytes as u64;
        let left = self.bytes_to_mark.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
            Some(left.saturating_sub(bytes))
        });
        if left.is_ok_and(|left| left < bytes.saturating_mul(4)) {
            self.check_due.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_that_come_and_go_are_said_once_a_minute() {
        let alarms = Alarms::default();
        assert_eq!((alarms.begins(), alarms.goes_on(), alarms.ends()), (Some(1), None, true));
        for _ in 0..5 {
            assert_eq!((alarms.begins(), alarms.goes_on(), alarms.ends()), (None, None, false));
        }
        // A minute later; the one that goes on by then is said.
        alarms.0.lock().warned = Instant::now().checked_sub(WARN_EVERY);
        assert_eq!((alarms.begins(), alarms.ends()), (Some(6), true));
        assert_eq!(alarms.begins(), None);
        alarms.0.lock().warned = Instant::now().checked_sub(WARN_EVERY);
        assert_eq!((alarms.goes_on(), alarms.ends()), (Some(1), true));
    }
}
