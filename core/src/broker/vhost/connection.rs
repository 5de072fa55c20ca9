//! An open connection as operators see it: who it is, what it speaks, its lanes and consumers, and what passed. Its own
//! task counts, without a locked instruction; whoever looks takes no lock that the task takes for a message.

use super::sizes::Sizes;
use crate::broker::door::request::{About, LaneId};
use crate::message::{Name, Origin, Timestamp};
use crate::subscription::{ConsumerId, bump, read};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// No label, no prefetch.
const NONE: u32 = u32::MAX;

/// An open connection.
#[derive(Debug, Default)]
pub struct Connection {
    pub origin: Arc<Origin>,
    pub vhost: Name,
    /// Of a named session: its name.
    pub session: Option<Name>,
    pub about: About,
    /// When its session was opened.
    pub since: Timestamp,
    pub traffic: Traffic,
    /// Of the messages that its client published.
    pub sizes: Sizes,
    lanes: Mutex<Vec<Arc<LaneCounts>>>,
    consumers: Mutex<BTreeMap<ConsumerId, Arc<ConsumerCounts>>>,
    own: OwnDeliveries,
    /// What lanes and consumers that are gone have counted.
    gone_lanes: Mutex<LaneTotals>,
    gone_consumers: Mutex<DeliveredTotals>,
}

/// Deliveries of a connection that are no consumer's.
#[derive(Debug, Default)]
struct OwnDeliveries {
    direct: AtomicU64,
    direct_dropped: AtomicU64,
    got_unsettled: AtomicU64,
    oversized: AtomicU64,
}

/// What the consumers of a connection got, as numbers of some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveredTotals {
    /// To consumers that settle.
    pub delivered: u64,
    /// To consumers that do not.
    pub delivered_unsettled: u64,
    /// Single messages to whoever asked, and settles.
    pub got: u64,
    /// The same, without settling.
    pub got_unsettled: u64,
    /// Of `delivered` and `got`, those that were accepted.
    pub acknowledged: u64,
    /// At level 0, straight to the session.
    pub direct: u64,
    /// The same, dropped because too much waited for the connection.
    pub direct_dropped: u64,
    /// Of all these, those whose headers were larger than the reader's frames, and sent nevertheless.
    pub oversized: u64,
}

impl DeliveredTotals {
    /// Both together.
    pub fn add(&mut self, other: &DeliveredTotals) {
        self.delivered += other.delivered;
        self.delivered_unsettled += other.delivered_unsettled;
        self.got += other.got;
        self.got_unsettled += other.got_unsettled;
        self.acknowledged += other.acknowledged;
        self.direct += other.direct;
        self.direct_dropped += other.direct_dropped;
        self.oversized += other.oversized;
    }

    fn add_consumer(&mut self, consumer: &ConsumerCounts) {
        let delivered = read(&consumer.delivered);
        match (consumer.is_getter, consumer.settles) {
            (true, _) => self.got += delivered,
            (false, true) => self.delivered += delivered,
            (false, false) => self.delivered_unsettled += delivered,
        }
        self.acknowledged += read(&consumer.acknowledged);
    }
}

/// Bytes between the peer and the adapter; inside TLS and WebSocket, where there are any.
#[derive(Debug, Default)]
pub struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    /// So many bytes were read since the beginning.
    #[inline]
    pub fn set_received(&self, bytes: u64) {
        self.received.store(bytes, Ordering::Relaxed);
    }

    /// So many bytes were written since the beginning.
    #[inline]
    pub fn set_sent(&self, bytes: u64) {
        self.sent.store(bytes, Ordering::Relaxed);
    }

    /// Bytes received and sent.
    pub fn bytes(&self) -> (u64, u64) {
        (read(&self.received), read(&self.sent))
    }
}

/// What one lane did.
#[derive(Debug)]
pub struct LaneCounts {
    pub id: LaneId,
    /// What the client calls it, where it has a number; [`NONE`] where not.
    label: AtomicU32,
    /// Deliveries that all of its consumers may have unsettled together; 0: no limit.
    prefetch: AtomicU32,
    received: AtomicU64,
    asked: AtomicU64,
    confirmed: AtomicU64,
    returned: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
}

/// The same, as numbers of some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneTotals {
    /// How many lanes did that.
    pub lanes: u64,
    /// Messages that the client published.
    pub received: u64,
    /// Those of them that ask for an answer.
    pub asked: u64,
    /// Answered: taken.
    pub confirmed: u64,
    /// Answered: nobody is there.
    pub returned: u64,
    /// Answered: no.
    pub refused: u64,
    /// Refused without an answer, and not dead-lettered either.
    pub dropped: u64,
}

impl LaneTotals {
    /// Both together.
    pub fn add(&mut self, other: &LaneTotals) {
        self.lanes += other.lanes;
        self.received += other.received;
        self.asked += other.asked;
        self.confirmed += other.confirmed;
        self.returned += other.returned;
        self.refused += other.refused;
        self.dropped += other.dropped;
    }
}

/// What became of a publish of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneEvent {
    Confirmed,
    Returned,
    Refused,
    Dropped,
}

impl LaneCounts {
    /// A lane that has done nothing.
    pub fn new(id: LaneId) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            id,
            label: AtomicU32::new(NONE),
            prefetch: AtomicU32::new(0),
            received: zero(),
            asked: zero(),
            confirmed: zero(),
            returned: zero(),
            refused: zero(),
            dropped: zero(),
        }
    }

    /// What the client calls it.
    pub fn set_label(&self, label: u32) {
        self.label.store(label, Ordering::Relaxed);
    }

    /// How much its consumers may have unsettled together; 0: no limit.
    pub fn set_prefetch(&self, messages: u32) {
        self.prefetch.store(messages, Ordering::Relaxed);
    }

    /// What the client calls it, and its prefetch.
    pub fn settings(&self) -> (Option<u32>, u32) {
        let label = self.label.load(Ordering::Relaxed);
        ((label != NONE).then_some(label), self.prefetch.load(Ordering::Relaxed))
    }

    /// A publish came.
    #[inline]
    pub fn received(&self, is_asked: bool) {
        bump(&self.received, 1);
        if is_asked {
            bump(&self.asked, 1);
        }
    }

    /// That became of one.
    #[inline]
    pub fn note(&self, event: LaneEvent) {
        let counter = match event {
            LaneEvent::Confirmed => &self.confirmed,
            LaneEvent::Returned => &self.returned,
            LaneEvent::Refused => &self.refused,
            LaneEvent::Dropped => &self.dropped,
        };
        bump(counter, 1);
    }

    /// What was counted.
    pub fn totals(&self) -> LaneTotals {
        LaneTotals {
            lanes: 1,
            received: read(&self.received),
            asked: read(&self.asked),
            confirmed: read(&self.confirmed),
            returned: read(&self.returned),
            refused: read(&self.refused),
            dropped: read(&self.dropped),
        }
    }
}

/// A consumer: what it was attached with, and what it got.
#[derive(Debug)]
pub struct ConsumerCounts {
    pub id: ConsumerId,
    pub lane: LaneId,
    pub queue: Name,
    /// What the client calls it.
    pub tag: Name,
    pub settles: bool,
    pub exclusive: bool,
    pub priority: i16,
    /// It serves single gets, and is nobody's consumer.
    pub is_getter: bool,
    prefetch: AtomicU32,
    delivered: AtomicU64,
    settled: AtomicU64,
    acknowledged: AtomicU64,
}

impl ConsumerCounts {
    /// A consumer of that queue that got nothing yet.
    pub fn new((id, lane): (ConsumerId, LaneId), queue: &Name, tag: &Name) -> Self {
        Self {
            id,
            lane,
            queue: queue.clone(),
            tag: tag.clone(),
            settles: true,
            exclusive: false,
            priority: 0,
            is_getter: false,
            prefetch: AtomicU32::new(0),
            delivered: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
        }
    }

    /// How much it may have unsettled, by itself; the largest number: no limit.
    pub fn set_prefetch(&self, messages: u32) {
        self.prefetch.store(messages, Ordering::Relaxed);
    }

    /// Its connection took `count` deliveries to it.
    #[inline]
    pub fn delivered(&self, count: u64) {
        bump(&self.delivered, count);
    }

    /// It is done with `count` deliveries, and its client has accepted them or not.
    #[inline]
    pub fn settled(&self, count: u64, is_accepted: bool) {
        bump(&self.settled, count);
        if is_accepted && self.settles {
            bump(&self.acknowledged, count);
        }
    }

    /// How much it may have unsettled, what it got, and what of that it has settled.
    pub fn numbers(&self) -> (u32, u64, u64) {
        (self.prefetch.load(Ordering::Relaxed), read(&self.delivered), read(&self.settled))
    }
}

impl Connection {
    /// A connection whose session is being opened.
    pub fn new(
        origin: Arc<Origin>,
        (vhost, session): (&Name, Option<&Name>),
        about: About,
        since: Timestamp,
    ) -> Self {
        Self {
            origin,
            vhost: vhost.clone(),
            session: session.cloned(),
            about,
            since,
            traffic: Traffic::default(),
            sizes: Sizes::default(),
            lanes: Mutex::default(),
            consumers: Mutex::default(),
            own: OwnDeliveries::default(),
            gone_lanes: Mutex::default(),
            gone_consumers: Mutex::default(),
        }
    }

    /// A new lane.
    pub fn add_lane(&self, id: LaneId) -> Arc<LaneCounts> {
        let counts = Arc::new(LaneCounts::new(id));
        self.lanes.lock().push(counts.clone());
        counts
    }

    /// A lane ends.
    pub fn remove_lane(&self, id: LaneId) {
        let mut lanes = self.lanes.lock();
        let Some(at) = lanes.iter().position(|lane| lane.id == id) else { return };
        let gone = lanes.remove(at);
        self.gone_lanes.lock().add(&gone.totals());
    }

    /// Its lanes.
    pub fn lanes(&self) -> Vec<Arc<LaneCounts>> {
        self.lanes.lock().clone()
    }

    /// What all of its lanes counted, those that are gone included.
    pub fn totals(&self) -> LaneTotals {
        let lanes = self.lanes.lock();
        let mut sum = *self.gone_lanes.lock();
        lanes.iter().for_each(|lane| sum.add(&lane.totals()));
        sum
    }

    /// A new consumer.
    pub fn add_consumer(&self, counts: Arc<ConsumerCounts>) {
        self.consumers.lock().insert(counts.id, counts);
    }

    /// A consumer leaves.
    pub fn remove_consumer(&self, id: ConsumerId) {
        let mut consumers = self.consumers.lock();
        if let Some(gone) = consumers.remove(&id) {
            self.gone_consumers.lock().add_consumer(&gone);
        }
    }

    /// Its task took that many deliveries of level 0.
    #[inline]
    pub fn direct(&self, count: u64) {
        bump(&self.own.direct, count);
    }

    /// A delivery of level 0 was dropped. One writer at a time: the inbox's lock.
    pub fn direct_dropped(&self) {
        bump(&self.own.direct_dropped, 1);
    }

    /// Its client asked for a single message, got one, and does not settle.
    pub fn got_unsettled(&self) {
        bump(&self.own.got_unsettled, 1);
    }

    /// A delivery had larger headers than its client takes, and was sent whole.
    pub fn oversized(&self) {
        bump(&self.own.oversized, 1);
    }

    /// What its consumers got, those that are gone included.
    pub fn deliveries(&self) -> DeliveredTotals {
        let consumers = self.consumers.lock();
        let mut sum = *self.gone_consumers.lock();
        consumers.values().for_each(|consumer| sum.add_consumer(consumer));
        sum.direct += read(&self.own.direct);
        sum.direct_dropped += read(&self.own.direct_dropped);
        sum.got_unsettled += read(&self.own.got_unsettled);
        sum.oversized += read(&self.own.oversized);
        sum
    }

    /// Its consumers, by their ids; those of single gets, too.
    pub fn consumers(&self) -> Vec<Arc<ConsumerCounts>> {
        self.consumers.lock().values().cloned().collect()
    }
}
