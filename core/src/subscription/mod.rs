//! Delivering, pure: which record goes to which consumer, and what becomes of it. `now` comes in, [`Effects`] go out;
//! nothing here waits, reads a clock or wakes anybody.
//!
//! | file | question |
//! |---|---|
//! | `ready` | which record is next |
//! | `consumers` `line` `handles` `by_consumer` | who may have it, and whose turn it is |
//! | `buckets` | what belongs together goes to one consumer |
//! | `groups` | giving out in queues that have message groups |
//! | `flight` | what a consumer has |
//! | `pool` | credit that consumers of a session share |
//! | `dispatch` | giving out, limits, expiry |
//! | `relief` | what can leave memory |
//! | `scan` | looking through a queue without touching it, and moving what was found |
//! | `oldest` | what goes first when the disk is too small |
//! | `counts` | what came, how it left, and what waits: the balance of a queue |
//! | `held` | what is not ready for a while: delayed, or a dead letter that nobody has taken |
//! | `overdue` | who has not settled in time |
//! | `settle` `pending` | what consumers say of what they got; what was rejected and is to be read back first |

mod buckets;
mod by_consumer;
mod claims;
mod consumers;
mod counts;
mod dispatch;
mod effects;
mod flight;
mod groups;
mod handles;
mod held;
mod line;
mod oldest;
mod overdue;
mod pending;
mod pool;
mod ready;
mod relief;
mod scan;
mod settle;

pub use by_consumer::ByConsumer;
pub use consumers::{Attached, Beside, Consumers, Handle};
pub use counts::{
    CameBy, Deliveries, DeliveryTotals, Depth, Gauges, Handed, LeftAs, LeftBy, QueueCounts,
    QueueTotals, Side, Tally, bump, read,
};
pub use dispatch::Arrival;
pub use effects::{ConsumerId, Delivery, Departure, Effects, Outcome};
pub use handles::HandleMap;
pub use oldest::Old;
pub use pool::{Credit, Pool, Woken};
pub use ready::Ready;
pub use relief::Relief;
pub use scan::{Cursor, Scan, Scanned, Slice};

use crate::exchange::LogId;
use crate::log::{Limits, Log, Offset, QueueKind, QueueSpec, Returns};
use crate::message::{Reason, Timestamp};
use held::Held;
use pending::PendingRemovals;
use relief::Rested;
use rustc_hash::FxHashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Which of its consumers a queue gives records to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Serves {
    #[default]
    All,
    /// One, until it goes; then that of the highest priority.
    One,
    /// One, until it goes or one of a higher priority comes.
    Highest,
}

/// The rules of one queue that delivering needs.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub limits: Limits,
    pub ttl_ms: Option<u64>,
    pub max_priority: Option<u8>,
    /// What becomes of records that come back from consumers.
    pub returns: Returns,
    /// Milliseconds after which what a consumer has not settled is taken back from it.
    pub consumer_timeout_ms: Option<u64>,
    pub serves: Serves,
    pub durable: bool,
    /// A session's own queue: what its client has been sent is owed to it and does not expire (MQTT 5 §3.3.2.3.3).
    pub keeps_seen: bool,
    /// What leaves otherwise than by being accepted has somewhere to go, so its message is needed.
    pub dead_letters: bool,
    /// And it stays until it is taken there.
    pub keeps_dead: bool,
    /// It is kept for a subscriber who may be away, within its limit of bytes.
    pub for_subscriber: bool,
    /// Its limit of bytes counts whole messages, headers and all.
    pub counts_whole: bool,
    /// Records of one [source](crate::message::Message::source) go to one consumer, so that they keep their order.
    pub by_source: bool,
    /// A record that is alone beyond the limit in bytes is dropped alone: to drop the others would make no room for it.
    pub drops_oversized: bool,
}

impl Rules {
    /// The rules of a declared queue.
    pub fn of(spec: &QueueSpec) -> Self {
        Self {
            limits: spec.limits,
            ttl_ms: spec.ttl_ms,
            max_priority: spec.max_priority,
            returns: spec.returns(),
            consumer_timeout_ms: spec.consumer_timeout_ms().filter(|ms| *ms > 0),
            serves: match (spec.single_active, spec.kind()) {
                (false, _) => Serves::All,
                (true, QueueKind::Classic) => Serves::One,
                (true, QueueKind::Quorum) => Serves::Highest,
            },
            durable: spec.durable,
            keeps_seen: false,
            dead_letters: spec.dead_letter.is_some(),
            keeps_dead: spec.keeps_dead(),
            for_subscriber: spec.kept_for.is_some(),
            counts_whole: spec.counts_whole(),
            by_source: false,
            drops_oversized: false,
        }
    }
}

/// What is known of oversized records. One that has left since is no harm.
#[derive(Debug, Default)]
struct Oversized {
    offsets: Vec<Offset>,
    /// The log was recovered, and nobody has looked for them.
    must_look: bool,
}

/// A log with its one shared subscription: a queue.
#[derive(Debug)]
pub struct Subscription {
    pub id: LogId,
    pub log: Log,
    pub rules: Rules,
    pub consumers: Consumers,
    pub counts: Arc<QueueCounts>,
    ready: Ready,
    /// Records in state Ready, and their bytes that length limits count.
    ready_count: u64,
    ready_bytes: u64,
    /// Ready records that are alone beyond the limit in bytes, where such are dropped alone.
    oversized: Oversized,
    /// Records that are stored but not in memory and are being fetched.
    loading: bool,
    /// Records with an expiry that were never ready before this dispatch.
    fresh: FxHashSet<Offset>,
    /// Rejected records that leave as soon as their messages are read back.
    pending_removals: PendingRemovals,
    /// Records that are not ready for a while.
    held: Held,
    /// As it was when nothing of it could leave memory.
    rested: Option<Rested>,
    /// A message of a group has come.
    has_groups: bool,
}

impl Subscription {
    /// An empty queue.
    pub fn new(id: LogId, rules: Rules) -> Self {
        let ready = Ready::new(rules.max_priority.is_some());
        let consumers = Consumers::new(id, rules.serves);
        Self {
            id,
            log: Log::default(),
            rules,
            consumers,
            counts: Arc::default(),
            ready,
            ready_count: 0,
            ready_bytes: 0,
            oversized: Oversized::default(),
            loading: false,
            fresh: FxHashSet::default(),
            pending_removals: PendingRemovals::default(),
            held: Held::default(),
            rested: None,
            has_groups: false,
        }
    }

    /// Records that could be delivered, and their bytes that length limits count.
    pub fn ready(&self) -> (u64, u64) {
        (self.ready_count, self.ready_bytes)
    }

    /// Records that no consumer has, those that are being stored included.
    pub fn waiting(&self) -> u64 {
        self.log.len().saturating_sub(self.consumers.in_flight().0)
    }

    /// Their bytes that length limits count.
    pub fn waiting_bytes(&self) -> u64 {
        self.log.counted().saturating_sub(self.consumers.in_flight().1)
    }

    /// The balance of this queue now.
    pub fn totals(&self) -> QueueTotals {
        QueueTotals { tally: self.counts.totals(), waiting: self.log.len() }
    }

    /// Shows how much is there to whoever takes no lock.
    #[inline]
    pub fn show_gauges(&self) {
        let gauges = &self.counts.gauges;
        let set = |gauge: &std::sync::atomic::AtomicU64, to| gauge.store(to, Ordering::Relaxed);
        let (in_flight, in_flight_bytes) = self.consumers.in_flight();
        set(&gauges.ready, self.ready_count);
        set(&gauges.ready_bytes, self.ready_bytes);
        set(&gauges.in_flight, in_flight);
        set(&gauges.in_flight_bytes, in_flight_bytes);
        set(&gauges.waiting, self.log.len());
        set(&gauges.waiting_bytes, self.log.counted());
        set(&gauges.consumers, self.consumers.active_count() as u64);
    }

    /// As what a record leaves for that reason.
    fn left_by(&self, reason: Reason) -> LeftBy {
        match (reason, self.rules.dead_letters) {
            (Reason::Expired, true) => LeftBy::DeadLetterExpired,
            (Reason::MaxLength, true) => LeftBy::DeadLetterMaxLength,
            (Reason::DeliveryLimit, true) => LeftBy::DeadLetterDeliveryLimit,
            (Reason::Rejected | Reason::Transform, true) => LeftBy::DeadLetterRejected,
            (Reason::Expired, false) => LeftBy::Expired,
            (Reason::MaxLength, false) if self.is_over_its_share() => LeftBy::SubscriberBytes,
            (Reason::MaxLength, false) => LeftBy::MaxLength,
            (Reason::DeliveryLimit, false) => LeftBy::DeliveryLimit,
            (Reason::Rejected | Reason::Transform, false) => LeftBy::Rejected,
        }
    }

    /// It is kept for a subscriber, and holds no more records than it may, but more bytes.
    fn is_over_its_share(&self) -> bool {
        let messages = self.rules.limits.messages;
        self.rules.for_subscriber && messages.is_none_or(|max| self.ready_count <= max)
    }

    /// The log was recovered: everything in it is ready, and consumers may have seen it.
    pub fn recover(&mut self) {
        self.log.freeze_among(0..u64::MAX);
        self.log.grow_old();
        (self.ready_count, self.ready_bytes) = (self.log.len(), self.log.counted());
        self.oversized.must_look = true;
        if self.rules.max_priority.is_some() {
            self.log.visit(Offset(0), |offset, record| {
                self.ready.push(offset, record.priority);
                ControlFlow::Continue(())
            });
        }
    }

    /// When the next record at the head expires, or one that is held is due.
    pub fn deadline(&mut self) -> Option<Timestamp> {
        let mut first = self.held.due();
        if !self.log.has_expiring() {
            return first;
        }
        for offset in self.ready.heads(&mut self.log) {
            let expires = self.expiry(offset);
            first = match (first, expires) {
                (Some(a), Some(b)) => Some(std::cmp::min::<Timestamp>(a, b)),
                (a, b) => a.or(b),
            };
        }
        first
    }

    /// When a record expires.
    fn expiry(&mut self, offset: Offset) -> Option<Timestamp> {
        let keeps_seen = self.rules.keeps_seen;
        self.log.get(offset)?.expiry(keeps_seen)
    }

    fn count_in(&mut self, offset: Offset, counted: u32) {
        if self.rules.drops_oversized && self.is_oversized(counted) {
            self.oversized.offsets.push(offset);
        }
        self.ready_count += 1;
        self.ready_bytes += u64::from(counted);
    }

    fn count_out(&mut self, counted: u32) {
        self.ready_count -= 1;
        self.ready_bytes -= u64::from(counted);
    }
}
