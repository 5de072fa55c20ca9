//! What is due when. Whoever sets a timer needs not know who acts on it: that is `tasks::due`.
//!
//! Each owner has one timer of a kind: to set it again moves it, and whoever ends the owner cancels it. So there are
//! never more timers than owners, however often they are set.

use crate::broker::door::request::ParkId;
use crate::exchange::{LogId, SessionId};
use crate::message::cost::MAP_ENTRY;
use crate::message::{Account, Budget, Charge, Name, Timestamp};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Something that is due at a time, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TimerEvent {
    /// A record at a queue's head expires: the queue's virtual host and id.
    RecordExpires(Name, LogId),
    /// What a queue's consumers have not settled may be over its time: the queue's virtual host and id.
    SettleInTime(Name, LogId),
    /// A queue has been unused for its time.
    QueueUnused(Name, LogId),
    /// A parked publish is to be routed.
    Parked(ParkId),
    /// The login of a connection ends: its number, as in its [`Origin`](crate::message::Origin).
    LoginExpires(u64),
    /// A named session has been without a connection for its time.
    SessionExpires(Name, SessionId),
    /// A retained value of a virtual host expires.
    ValueExpires(Name),
}

/// When a timer fires, and its number among those of one moment.
type Moment = (Timestamp, u64);

/// Bytes of a timer: it stands in two maps. The name in it is shared.
const TIMER_BYTES: usize = 2 * (size_of::<Moment>() + size_of::<TimerEvent>() + MAP_ENTRY);

/// All timers, by time. Timers of one moment fire in the order in which they were set.
pub struct Timers {
    set: Mutex<Set>,
    earlier: Notify,
}

struct Set {
    due: BTreeMap<Moment, TimerEvent>,
    moments: HashMap<TimerEvent, Moment>,
    last_number: u64,
    charge: Charge,
}

impl Timers {
    /// No timers; those that come are charged to that budget.
    pub fn new(budget: &Arc<Budget>) -> Self {
        let set = Set {
            due: BTreeMap::new(),
            moments: HashMap::new(),
            last_number: 0,
            charge: budget.charge(Account::Kept, 0),
        };
        Self { set: Mutex::new(set), earlier: Notify::new() }
    }

    /// Sets a timer, or moves it. Whoever acts on it checks whether it still means something.
    pub fn set(&self, at: Timestamp, event: TimerEvent) {
        if self.set.lock().put(at, event) {
            self.earlier.notify_one();
        }
    }

    /// Sets a timer unless it is set for that time or an earlier one.
    pub fn set_no_later(&self, at: Timestamp, event: TimerEvent) {
        let mut set = self.set.lock();
        if set.moments.get(&event).is_none_or(|(known, _)| at < *known) && set.put(at, event) {
            self.earlier.notify_one();
        }
    }

    /// Takes a timer away, if it is set.
    pub fn cancel(&self, event: &TimerEvent) {
        self.set.lock().remove(event);
    }

    /// Takes the first event out that is due.
    pub fn take_due(&self, now: Timestamp) -> Option<TimerEvent> {
        let mut set = self.set.lock();
        let first = set.due.first_key_value().filter(|((at, _), _)| *at <= now);
        let event = first?.1.clone();
        set.remove(&event);
        Some(event)
    }

    /// When the first timer fires.
    pub fn next(&self) -> Option<Timestamp> {
        self.set.lock().due.first_key_value().map(|((at, _), _)| *at)
    }

    /// How many timers are set.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.set.lock().due.len()
    }

    /// The clock has jumped: whoever waits for the first timer looks again how long that is.
    pub fn look_again(&self) {
        self.earlier.notify_one();
    }

    /// Waits that long, or until a timer is set that fires before all others.
    pub async fn wait(&self, longest: Duration) {
        tokio::select! { biased;
            () = self.earlier.notified() => {}
            () = tokio::time::sleep(longest) => {}
        }
    }
}

impl Set {
    /// True when the timer is the first now.
    fn put(&mut self, at: Timestamp, event: TimerEvent) -> bool {
        self.remove(&event);
        self.last_number += 1;
        let moment = (at, self.last_number);
        let is_first = self.due.first_key_value().is_none_or(|(first, _)| moment < *first);
        self.due.insert(moment, event.clone());
        self.moments.insert(event, moment);
        self.charge.grow(TIMER_BYTES);
        is_first
    }

    fn remove(&mut self, event: &TimerEvent) {
        if let Some(moment) = self.moments.remove(event) {
            self.due.remove(&moment);
            self.charge.shrink(TIMER_BYTES);
        }
        // Many sessions may have left at once and come back.
        if self.moments.capacity() > 1024 && self.moments.len() < self.moments.capacity() / 8 {
            self.moments.shrink_to(self.moments.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timers() -> (Timers, Arc<Budget>) {
        let budget = Arc::new(Budget::new(1 << 20, 1 << 20));
        (Timers::new(&budget), budget)
    }

    fn parked(id: u64) -> TimerEvent {
        TimerEvent::Parked(ParkId(id))
    }

    #[test]
    fn timers_fire_in_order() {
        let (timers, _) = timers();
        for (at, id) in [(30, 3), (10, 1), (10, 2)] {
            timers.set(Timestamp(at), parked(id));
        }
        assert_eq!(timers.next(), Some(Timestamp(10)));
        assert_eq!(timers.take_due(Timestamp(9)), None);
        let fired: Vec<_> = std::iter::from_fn(|| timers.take_due(Timestamp(30))).collect();
        assert_eq!(fired, [1, 2, 3].map(parked));
    }

    #[test]
    fn an_owner_has_one_timer_which_is_moved_and_cancelled() {
        let (timers, budget) = timers();
        for at in [50, 10, 30] {
            timers.set(Timestamp(at), parked(1));
        }
        assert_eq!((timers.count(), timers.next()), (1, Some(Timestamp(30))));
        timers.set_no_later(Timestamp(40), parked(1));
        assert_eq!(timers.next(), Some(Timestamp(30)));
        timers.set_no_later(Timestamp(20), parked(1));
        assert_eq!(timers.next(), Some(Timestamp(20)));
        assert_eq!(budget.used(Account::Kept), TIMER_BYTES);
        timers.cancel(&parked(1));
        timers.cancel(&parked(1));
        assert_eq!((timers.count(), timers.take_due(Timestamp(99))), (0, None));
        assert_eq!(budget.used(Account::Kept), 0);
    }
}
