//! What waits for one connection: deliveries, confirms, notices. Others put in under its lock and wake it; the
//! connection's task takes everything out at once.

use super::connection::Connection;
use super::seats::Seat;
use crate::broker::door::events::{Confirm, Events, Notice};
use crate::log::Offset;
use crate::message::Origin;
use crate::subscription::{ConsumerId, Credit, Delivery, Pool, Woken};
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// What may be on its way from the queues to a connection's socket, besides what its consumers may have unsettled.
const WINDOW: Credit = Credit { messages: 4096, bytes: 2 << 20 };

/// One connection's inbox.
#[derive(Debug)]
pub struct Inbox {
    /// Who publishes here: tells a session's own messages from others'.
    pub origin: Arc<Origin>,
    /// What operators see of it.
    pub connection: Arc<Connection>,
    /// Credit for what is on its way to the socket; shared by all consumers of the connection.
    pub window: Arc<Pool>,
    state: Mutex<InboxState>,
    notify: Notify,
    /// Bytes of level-0 deliveries that were not written yet, and their limit.
    direct_bytes: AtomicUsize,
    direct_bytes_max: usize,
    /// Units with the committer, and the bytes of their messages.
    pub outstanding: AtomicUsize,
    pub uncommitted: AtomicUsize,
    /// The connection holds publishes back and is to be woken when it may go on.
    pub held: AtomicBool,
    /// The connection has changed something that is not submitted yet.
    pub open: AtomicBool,
    /// Its place among the connections of its user. None: it has left, another one took it over, or it is the broker's.
    pub seat: Mutex<Option<Seat>>,
}

/// Deliveries that left an inbox before its connection took them.
#[derive(Debug, Default)]
pub struct TakenBack {
    pub offsets: FxHashMap<ConsumerId, Vec<Offset>>,
    /// What they took of the window.
    pub messages: u64,
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct InboxState {
    events: Events,
    closed: bool,
}

impl Inbox {
    /// An empty inbox.
    pub fn new(connection: Arc<Connection>, direct_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            origin: connection.origin.clone(),
            connection,
            window: Arc::new(Pool::new(WINDOW)),
            state: Mutex::new(InboxState::default()),
            notify: Notify::new(),
            direct_bytes: AtomicUsize::new(0),
            direct_bytes_max,
            outstanding: AtomicUsize::new(0),
            uncommitted: AtomicUsize::new(0),
            held: AtomicBool::new(false),
            open: AtomicBool::new(false),
            seat: Mutex::default(),
        })
    }

    /// Wakes the connection's task.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Waits until this inbox is woken. Cancel-safe: a wake-up that comes while nobody waits is not lost.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }

    /// Puts deliveries in, in order. A closed inbox takes none: their consumer is about to be detached.
    pub fn deliver(&self, deliveries: impl Iterator<Item = Delivery>) {
        let mut state = self.state.lock();
        match state.closed {
            false => state.events.deliveries.extend(deliveries),
            true => deliveries.for_each(drop),
        }
    }

    /// Bytes of level-0 deliveries that retained values may still take, half of the limit at most, and whether none
    /// wait.
    pub fn direct_room(&self) -> (usize, bool) {
        let waiting = self.direct_bytes.load(Ordering::Relaxed);
        ((self.direct_bytes_max / 2).saturating_sub(waiting), waiting == 0)
    }

    /// Level-0 deliveries take a quarter of their limit at most.
    pub fn has_much_direct_room(&self) -> bool {
        self.direct_bytes.load(Ordering::Relaxed) <= self.direct_bytes_max / 4
    }

    /// Puts level-0 deliveries in up to the limit in bytes; the newest that do not fit are dropped and counted.
    /// Retained values for a new binding were given room before.
    pub fn deliver_direct(&self, deliveries: impl Iterator<Item = Delivery>) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        for delivery in deliveries {
            let size = delivery.message.size();
            let waiting = self.direct_bytes.load(Ordering::Relaxed);
            if waiting > 0 && waiting + size > self.direct_bytes_max && !delivery.retained {
                // Under the inbox's lock.
                self.connection.direct_dropped();
                continue;
            }
            self.direct_bytes.fetch_add(size, Ordering::Relaxed);
            state.events.deliveries.push(delivery);
        }
    }

    /// Level-0 deliveries of `bytes` were written to the socket.
    pub fn direct_written(&self, bytes: usize) {
        self.direct_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Puts confirms in.
    pub fn confirm(&self, confirms: Vec<Confirm>) {
        let mut state = self.state.lock();
        match state.events.confirms.is_empty() {
            true => state.events.confirms = confirms,
            false => state.events.confirms.extend(confirms),
        }
    }

    /// Puts a notice in and wakes.
    pub fn notice(&self, notice: Notice) {
        self.state.lock().events.notices.push(notice);
        self.wake();
    }

    /// Moves everything out; `events` lends its allocations.
    pub fn take(&self, events: &mut Events) {
        std::mem::swap(&mut self.state.lock().events, events);
    }

    /// Deliveries to that consumer that its connection has not taken yet leave the inbox and its window; their
    /// offsets. A consumer that waited for the window is added to `wake`.
    pub fn take_back(&self, consumer: ConsumerId, wake: &mut Vec<Woken>) -> Vec<Offset> {
        let mut state = self.state.lock();
        let (mut back, mut bytes) = (Vec::new(), 0);
        state.events.deliveries.retain(|delivery| {
            let stays = delivery.consumer != consumer;
            if !stays {
                back.push(delivery.offset);
                bytes += delivery.message.size() as u64;
            }
            stays
        });
        drop(state);
        self.window.release(back.len() as u64, bytes, wake);
        back
    }

    /// The same for many consumers at once, whose credit comes back when the caller gives it back to the window.
    pub fn take_all_back(&self, consumers: &FxHashSet<ConsumerId>) -> TakenBack {
        let mut taken = TakenBack::default();
        self.state.lock().events.deliveries.retain(|delivery| {
            let stays = !consumers.contains(&delivery.consumer);
            if !stays {
                taken.offsets.entry(delivery.consumer).or_default().push(delivery.offset);
                taken.messages += 1;
                taken.bytes += delivery.message.size() as u64;
            }
            stays
        });
        taken
    }

    /// Nothing is taken in any more.
    pub fn close(&self) {
        self.state.lock().closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Tags;
    use crate::message::{Address, Fields, Message, Meta, Timestamp};
    use bytes::Bytes;

    fn delivery(n: u64) -> Delivery {
        let meta = Meta::new(Arc::default(), Timestamp(0));
        let body = Bytes::from_static(b"12345678");
        Delivery {
            consumer: ConsumerId(1),
            offset: Offset(n),
            message: Message::from_fields(Address::queue("q"), meta, &Fields::default(), body),
            attempts: 0,
            redelivered: false,
            retained: false,
            tags: Tags::default(),
        }
    }

    #[test]
    fn a_closed_inbox_still_takes_all_that_is_offered() {
        let inbox = Inbox::new(Arc::default(), 100);
        inbox.close();
        let mut offered = vec![delivery(1), delivery(2)];
        inbox.deliver(offered.drain(..));
        let mut events = Events::default();
        inbox.take(&mut events);
        assert!(offered.is_empty() && events.is_empty());
    }

    #[test]
    fn level_0_has_a_window_of_bytes() {
        let size = delivery(0).message.size();
        let inbox = Inbox::new(Arc::default(), 2 * size);
        inbox.deliver_direct((0..5).map(delivery));
        let mut events = Events::default();
        inbox.take(&mut events);
        assert_eq!((events.deliveries.len(), inbox.connection.deliveries().direct_dropped), (2, 3));
        inbox.direct_written(2 * size);
        inbox.deliver_direct((0..1).map(delivery));
        inbox.take(&mut events);
        assert_eq!(events.deliveries.len(), 1);
    }
}
