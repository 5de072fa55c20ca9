//! Time: the clock, and what is due when. The only file of the core that asks the system for the time.

use crate::broker::Inner;
use crate::broker::door::request::{Keep, ParkId};
use crate::broker::turn::run::{Scene, Turn};
use crate::broker::vhost::host::Vhost;
use crate::broker::vhost::queue::Queue;
use crate::exchange::{LogId, SessionId};
use crate::message::{Name, Timestamp};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// Wall-clock time that never goes back: the system's at start, and a monotonic clock from there.
pub struct Clock {
    wall_ms: u64,
    started: Instant,
}

impl Clock {
    /// A clock that starts at the system's time.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        Self { wall_ms, started: Instant::now() }
    }

    /// Milliseconds since the epoch.
    pub fn now(&self) -> Timestamp {
        let passed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.wall_ms.saturating_add(passed))
    }
}

/// Something that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// A record at a queue's head expires.
    Queue(Name, LogId),
    /// A queue has been unused for its time.
    Unused(Name, LogId),
    Parked(ParkId),
    /// A named session has been without a connection for its time.
    Session(Name, SessionId),
}

/// What is due when.
#[derive(Default)]
pub struct Timers {
    due: Mutex<BTreeMap<(Timestamp, u64), Alarm>>,
    earlier: Notify,
}

impl Timers {
    /// Sets an alarm. It cannot be taken back: whoever hears it looks whether it still means something.
    pub fn set(&self, at: Timestamp, alarm: Alarm) {
        let mut due = self.due.lock();
        let is_first = due.first_key_value().is_none_or(|((first, _), _)| at < *first);
        let mut number = 0;
        if let Some(((_, last), _)) = due.range((at, 0)..=(at, u64::MAX)).next_back() {
            number = last + 1;
        }
        due.insert((at, number), alarm);
        if is_first {
            self.earlier.notify_one();
        }
    }

    fn take_due(&self, now: Timestamp) -> Option<Alarm> {
        let mut due = self.due.lock();
        let first = due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    fn next(&self) -> Option<Timestamp> {
        self.due.lock().first_key_value().map(|((at, _), _)| *at)
    }
}

/// Rings alarms until the broker closes.
pub async fn run(core: Arc<Inner>) {
    loop {
        while let Some(alarm) = core.timers.take_due(core.now()) {
            let grace = core.grace.enter();
            core.ring(alarm);
            core.grace.leave(grace);
            tokio::task::consume_budget().await;
        }
        let wait = match core.timers.next() {
            Some(at) => Duration::from_millis(core.now().until(at).max(1)),
            None => Duration::from_secs(3600),
        };
        tokio::select! { biased;
            () = core.timers.earlier.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

impl Inner {
    fn ring(self: &Arc<Self>, alarm: Alarm) {
        let now = self.now();
        match alarm {
            Alarm::Queue(vhost, id) => {
                if let Some(vhost) = self.vhost(&vhost) {
                    self.expire(&vhost, id, now);
                }
            }
            Alarm::Unused(vhost, id) => {
                if let Some(vhost) = self.vhost(&vhost)
                    && let Some(queue) = vhost.queue_by_id(id)
                {
                    self.watch_unused(&vhost, &queue);
                }
            }
            Alarm::Parked(id) => self.unpark_due(id, now),
            Alarm::Session(vhost, id) => {
                if let Some(vhost) = self.vhost(&vhost) {
                    self.expire_session(&vhost, id, now);
                }
            }
        }
    }

    fn expire(self: &Arc<Self>, vhost: &Arc<Vhost>, id: LogId, now: Timestamp) {
        let Some(queue) = vhost.queue_by_id(id) else { return };
        let scene = Scene { core: self, vhost, now };
        let mut turn = Turn::default();
        queue.step(&mut turn.after, |state, effects| {
            state.alarm = None;
            state.sub.dispatch(now, effects);
        });
        turn.run(scene);
        turn.finish(scene, None);
    }

    /// Deletes an expiring queue that was unused for its time, or sets the alarm for when that will be.
    pub(in crate::broker) fn watch_unused(
        self: &Arc<Self>,
        vhost: &Arc<Vhost>,
        queue: &Arc<Queue>,
    ) {
        let Some(ms) = queue.spec.expires_ms else { return };
        let at = queue.look(|state| {
            let used = state.deleted || state.sub.consumers.active_count() > 0;
            (!used).then(|| state.unused_since.plus(ms))
        });
        match at {
            Some(at) if at <= self.now() => {
                let (ops, _) = self.remove_queue(vhost, queue);
                self.committer.submit(crate::broker::journal::committer::Unit::of(ops));
            }
            Some(at) => self.timers.set(at, Alarm::Unused(vhost.name.clone(), queue.id)),
            None => {}
        }
    }

    fn expire_session(self: &Arc<Self>, vhost: &Arc<Vhost>, id: SessionId, now: Timestamp) {
        let Some(named) = vhost.session_by_id(id) else { return };
        let _one = vhost.opening.lock();
        let over = named.with(|state| match (state.gone_since, state.keep) {
            (Some(since), Keep::For(ms)) => !state.ended && since.plus(ms) <= now,
            _ => false,
        });
        if over {
            let ops = self.end_session(vhost, &named);
            self.end_parked(id, now);
            self.committer.submit(crate::broker::journal::committer::Unit::of(ops));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_ring_in_order() {
        let timers = Timers::default();
        for (at, id) in [(30, 3), (10, 1), (10, 2)] {
            timers.set(Timestamp(at), Alarm::Parked(ParkId(id)));
        }
        assert_eq!(timers.next(), Some(Timestamp(10)));
        assert_eq!(timers.take_due(Timestamp(9)), None);
        let rung: Vec<_> = std::iter::from_fn(|| timers.take_due(Timestamp(30))).collect();
        assert_eq!(rung, [1, 2, 3].map(|id| Alarm::Parked(ParkId(id))));
    }
}
