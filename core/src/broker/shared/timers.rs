//! What is due when. Whoever sets a timer needs not know who acts on it: that is `tasks::due`.

use crate::broker::door::request::ParkId;
use crate::exchange::{LogId, SessionId};
use crate::message::{Name, Timestamp};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::Notify;

/// Something that is due at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimerEvent {
    /// A record at a queue's head expires: the queue's virtual host and id.
    RecordExpires(Name, LogId),
    /// A queue has been unused for its time.
    QueueUnused(Name, LogId),
    /// A parked publish is to be routed.
    Parked(ParkId),
    /// A named session has been without a connection for its time.
    SessionExpires(Name, SessionId),
}

/// All timers, by time. Timers of one moment fire in the order in which they were set.
#[derive(Default)]
pub struct Timers {
    due: Mutex<BTreeMap<(Timestamp, u64), TimerEvent>>,
    earlier: Notify,
}

impl Timers {
    /// Sets a timer. It cannot be cancelled: whoever acts on it checks whether it still means something.
    pub fn set(&self, at: Timestamp, event: TimerEvent) {
        let mut due = self.due.lock();
        let is_first = due.first_key_value().is_none_or(|((first, _), _)| at < *first);
        let mut number = 0;
        if let Some(((_, last), _)) = due.range((at, 0)..=(at, u64::MAX)).next_back() {
            number = last + 1;
        }
        due.insert((at, number), event);
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// Takes the first event out that is due.
    pub fn take_due(&self, now: Timestamp) -> Option<TimerEvent> {
        let mut due = self.due.lock();
        let first = due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// When the first timer fires.
    pub fn next(&self) -> Option<Timestamp> {
        self.due.lock().first_key_value().map(|((at, _), _)| *at)
    }

    /// Waits that long, or until a timer is set that fires before all others.
    pub async fn wait(&self, longest: Duration) {
        tokio::select! { biased;
            () = self.earlier.notified() => {}
            () = tokio::time::sleep(longest) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order() {
        let timers = Timers::default();
        for (at, id) in [(30, 3), (10, 1), (10, 2)] {
            timers.set(Timestamp(at), TimerEvent::Parked(ParkId(id)));
        }
        assert_eq!(timers.next(), Some(Timestamp(10)));
        assert_eq!(timers.take_due(Timestamp(9)), None);
        let fired: Vec<_> = std::iter::from_fn(|| timers.take_due(Timestamp(30))).collect();
        assert_eq!(fired, [1, 2, 3].map(|id| TimerEvent::Parked(ParkId(id))));
    }
}
