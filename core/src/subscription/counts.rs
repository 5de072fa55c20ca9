//! What came into a queue, how it left, and what waits in it: counted where it happens, under the queue's lock, by
//! loads and stores without a locked instruction, so that whoever reads takes no lock.
//!
//! The law, at any moment between two changes: **came = left + waiting**. [`QueueTotals::missing`] says by how much it
//! does not hold.
//!
//! Counted on three sides: what survives a restart, what does not, and how much of the first the journal has by now.
//! The last one has another writer, the committer, and is what a snapshot says and recovery goes on from.

use crate::message::Message;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a record came into its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CameBy {
    Publish,
    /// Dead-lettered by another queue.
    DeadLetter,
    /// Moved there by an operator.
    Move,
}

impl CameBy {
    /// All of them, in the order of their codes in the store.
    pub const ALL: [CameBy; 3] = [CameBy::Publish, CameBy::DeadLetter, CameBy::Move];

    /// How a message comes of which nothing else is known: it tells itself whether it was dead-lettered.
    #[inline]
    pub fn of(message: &Message) -> Self {
        if message.meta().moves > 0 { CameBy::DeadLetter } else { CameBy::Publish }
    }

    /// Its name in metrics and in the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            CameBy::Publish => "published",
            CameBy::DeadLetter => "dead_lettered_in",
            CameBy::Move => "moved_in",
        }
    }
}

/// How a record left its queue. The numbers are codes in the store: none is ever given a second meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LeftBy {
    /// Accepted by a consumer, or written to one that does not settle.
    Consumed = 0,
    /// To the queue's dead-letter address, by the reason why.
    DeadLetterRejected = 1,
    DeadLetterExpired = 2,
    DeadLetterMaxLength = 3,
    DeadLetterDeliveryLimit = 4,
    /// Expired, and the queue has no dead-letter address.
    Expired = 5,
    /// Dropped: rejected by a consumer, without a dead-letter address.
    Rejected = 6,
    /// Dropped by a length limit, without a dead-letter address.
    MaxLength = 7,
    /// Dropped after too many failed deliveries, without a dead-letter address.
    DeliveryLimit = 8,
    /// Dropped because what waits for a subscriber took too much, by itself or of the disk.
    SubscriberBytes = 9,
    /// Up to 0.1, dropped because its only consumers did not want what their own connection published.
    OwnPublish = 10,
    /// Dropped because nobody took it at the dead-letter address, or because it would have gone round in a circle.
    NoTaker = 11,
    /// Dropped because its consumer has no right to its topic (any more).
    NoRight = 12,
    /// Dropped because it could not be read back from the store.
    Unreadable = 13,
    /// Dropped because the store failed before it was stored.
    NotStored = 14,
    Purged = 15,
    /// Moved to another address by an operator.
    Moved = 16,
    /// Deleted with its queue.
    Deleted = 17,
    /// It was not stored, and the broker was started again.
    TransientLost = 18,
    /// Dropped by an operator, who chose it.
    OperatorDropped = 19,
}

/// What [`LeftBy`] comes to in the balance of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftAs {
    Consumed,
    DeadLettered,
    Expired,
    Dropped,
    Purged,
    Moved,
    Deleted,
    TransientLost,
}

impl LeftBy {
    /// All of them, in the order of their codes.
    pub const ALL: [LeftBy; 20] = [
        LeftBy::Consumed,
        LeftBy::DeadLetterRejected,
        LeftBy::DeadLetterExpired,
        LeftBy::DeadLetterMaxLength,
        LeftBy::DeadLetterDeliveryLimit,
        LeftBy::Expired,
        LeftBy::Rejected,
        LeftBy::MaxLength,
        LeftBy::DeliveryLimit,
        LeftBy::SubscriberBytes,
        LeftBy::OwnPublish,
        LeftBy::NoTaker,
        LeftBy::NoRight,
        LeftBy::Unreadable,
        LeftBy::NotStored,
        LeftBy::Purged,
        LeftBy::Moved,
        LeftBy::Deleted,
        LeftBy::TransientLost,
        LeftBy::OperatorDropped,
    ];

    /// That of a code in the store.
    pub fn of(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Its name in metrics and in the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            LeftBy::Consumed => "consumed",
            LeftBy::DeadLetterRejected => "dead_lettered_rejected",
            LeftBy::DeadLetterExpired => "dead_lettered_expired",
            LeftBy::DeadLetterMaxLength => "dead_lettered_max_length",
            LeftBy::DeadLetterDeliveryLimit => "dead_lettered_delivery_limit",
            LeftBy::Expired => "expired",
            LeftBy::Rejected => "dropped_rejected",
            LeftBy::MaxLength => "dropped_max_length",
            LeftBy::DeliveryLimit => "dropped_delivery_limit",
            LeftBy::SubscriberBytes => "dropped_subscriber_bytes",
            LeftBy::OwnPublish => "dropped_own_publish",
            LeftBy::NoTaker => "dropped_no_taker",
            LeftBy::NoRight => "dropped_no_right",
            LeftBy::Unreadable => "dropped_unreadable",
            LeftBy::NotStored => "dropped_not_stored",
            LeftBy::Purged => "purged",
            LeftBy::Moved => "moved_out",
            LeftBy::Deleted => "deleted",
            LeftBy::TransientLost => "transient_lost",
            LeftBy::OperatorDropped => "dropped_by_operator",
        }
    }

    /// What it comes to in the balance.
    pub fn class(self) -> LeftAs {
        match self {
            LeftBy::Consumed => LeftAs::Consumed,
            LeftBy::DeadLetterRejected
            | LeftBy::DeadLetterExpired
            | LeftBy::DeadLetterMaxLength
            | LeftBy::DeadLetterDeliveryLimit => LeftAs::DeadLettered,
            LeftBy::Expired => LeftAs::Expired,
            LeftBy::Rejected
            | LeftBy::MaxLength
            | LeftBy::DeliveryLimit
            | LeftBy::SubscriberBytes
            | LeftBy::OwnPublish
            | LeftBy::NoTaker
            | LeftBy::NoRight
            | LeftBy::Unreadable
            | LeftBy::NotStored => LeftAs::Dropped,
            LeftBy::Purged | LeftBy::OperatorDropped => LeftAs::Purged,
            LeftBy::Moved => LeftAs::Moved,
            LeftBy::Deleted => LeftAs::Deleted,
            LeftBy::TransientLost => LeftAs::TransientLost,
        }
    }
}

/// Counts of one side, as they were at some moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    came: [u64; CameBy::ALL.len()],
    left: [u64; LeftBy::ALL.len()],
}

impl Tally {
    /// Records that came that way.
    pub fn came(&self, by: CameBy) -> u64 {
        self.came.get(by as usize).copied().unwrap_or(0)
    }

    /// Records that left that way.
    pub fn left(&self, by: LeftBy) -> u64 {
        self.left.get(by as usize).copied().unwrap_or(0)
    }

    /// All that came.
    pub fn came_all(&self) -> u64 {
        self.came.iter().sum()
    }

    /// All that left.
    pub fn left_all(&self) -> u64 {
        self.left.iter().sum()
    }

    /// All that left as that.
    pub fn left_as(&self, class: LeftAs) -> u64 {
        let theirs = LeftBy::ALL.iter().filter(|by| by.class() == class);
        theirs.map(|by| self.left(*by)).sum()
    }

    /// So many more came that way.
    pub fn add_came(&mut self, by: CameBy, count: u64) {
        if let Some(counter) = self.came.get_mut(by as usize) {
            *counter = counter.wrapping_add(count);
        }
    }

    /// So many more left that way.
    pub fn add_left(&mut self, by: LeftBy, count: u64) {
        if let Some(counter) = self.left.get_mut(by as usize) {
            *counter = counter.wrapping_add(count);
        }
    }

    /// Both together.
    pub fn add(&mut self, other: &Tally) {
        CameBy::ALL.iter().for_each(|by| self.add_came(*by, other.came(*by)));
        LeftBy::ALL.iter().for_each(|by| self.add_left(*by, other.left(*by)));
    }

    /// Nothing came.
    pub fn is_empty(&self) -> bool {
        *self == Tally::default()
    }
}

/// The balance of one queue at some moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueTotals {
    pub tally: Tally,
    /// Records that are there: ready, with consumers, or on their way to the store.
    pub waiting: u64,
}

impl QueueTotals {
    /// How many records came and neither left nor are there; 0 when the queue balances.
    pub fn missing(&self) -> i128 {
        let (came, left) = (self.tally.came_all(), self.tally.left_all());
        i128::from(came) - i128::from(left) - i128::from(self.waiting)
    }
}

/// Which of a queue's records are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Durable ones.
    Durable,
    Transient,
    /// Durable ones, as far as the journal has what happened to them. Its writer is the committer.
    Stored,
}

impl Side {
    /// That of a record.
    #[inline]
    pub fn of(durable: bool) -> Self {
        if durable { Side::Durable } else { Side::Transient }
    }
}

/// What nearly always happens to a record.
#[derive(Debug, Default)]
struct Common {
    published: AtomicU64,
    consumed: AtomicU64,
}

/// What happens to few of them.
#[derive(Debug, Default)]
struct Rare {
    came: [AtomicU64; CameBy::ALL.len()],
    left: [AtomicU64; LeftBy::ALL.len()],
}

/// How a record was handed out: to a consumer or to whoever asked for a single one, and whether it is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Handed {
    Delivered,
    DeliveredUnsettled,
    Got,
    GotUnsettled,
}

impl Handed {
    /// What a consumer is handed.
    pub fn to(is_getter: bool, settles: bool) -> Self {
        match (is_getter, settles) {
            (false, true) => Handed::Delivered,
            (false, false) => Handed::DeliveredUnsettled,
            (true, true) => Handed::Got,
            (true, false) => Handed::GotUnsettled,
        }
    }
}

/// What consumers got.
#[derive(Debug, Default)]
pub struct Deliveries {
    /// What was handed out, by [`Handed`].
    handed: [AtomicU64; 4],
    /// Of all these, those that a consumer may have seen before.
    pub redelivered: AtomicU64,
    /// Records that went back from a consumer to their place.
    pub requeued: AtomicU64,
    /// Somebody asked for a single record, and there was none.
    pub got_nothing: AtomicU64,
    /// Publishes that the queue refused because it was full. They never were in it.
    pub turned_away: AtomicU64,
}

/// The same, as numbers of some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryTotals {
    /// To consumers that settle.
    pub delivered: u64,
    /// To consumers that do not.
    pub delivered_unsettled: u64,
    /// Single records to whoever asked, and settles.
    pub got: u64,
    /// The same, without settling.
    pub got_unsettled: u64,
    /// Of all these, those that a consumer may have seen before.
    pub redelivered: u64,
    pub requeued: u64,
    pub got_nothing: u64,
    pub turned_away: u64,
}

impl Deliveries {
    /// A record was handed out. Under the queue's lock.
    #[inline]
    pub fn handed(&self, how: Handed, is_redelivered: bool) {
        if let Some(counter) = self.handed.get(how as usize) {
            bump(counter, 1);
        }
        if is_redelivered {
            bump(&self.redelivered, 1);
        }
    }

    /// What was counted.
    pub fn totals(&self) -> DeliveryTotals {
        let [delivered, delivered_unsettled, got, got_unsettled] = &self.handed;
        DeliveryTotals {
            delivered: read(delivered),
            delivered_unsettled: read(delivered_unsettled),
            got: read(got),
            got_unsettled: read(got_unsettled),
            redelivered: read(&self.redelivered),
            requeued: read(&self.requeued),
            got_nothing: read(&self.got_nothing),
            turned_away: read(&self.turned_away),
        }
    }
}

impl DeliveryTotals {
    /// Both together.
    pub fn add(&mut self, other: &DeliveryTotals) {
        self.delivered += other.delivered;
        self.delivered_unsettled += other.delivered_unsettled;
        self.got += other.got;
        self.got_unsettled += other.got_unsettled;
        self.redelivered += other.redelivered;
        self.requeued += other.requeued;
        self.got_nothing += other.got_nothing;
        self.turned_away += other.turned_away;
    }
}

/// How much is there.
#[derive(Debug, Default)]
pub struct Gauges {
    pub ready: AtomicU64,
    pub ready_bytes: AtomicU64,
    pub in_flight: AtomicU64,
    pub in_flight_bytes: AtomicU64,
    /// All of it, what is on its way to the store included, and its bytes.
    pub waiting: AtomicU64,
    pub waiting_bytes: AtomicU64,
    /// Consumers that get deliveries.
    pub consumers: AtomicU64,
}

/// The same, as numbers of some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    pub ready: u64,
    pub ready_bytes: u64,
    pub in_flight: u64,
    pub in_flight_bytes: u64,
    pub waiting: u64,
    pub waiting_bytes: u64,
    pub consumers: u64,
}

impl Gauges {
    /// How much there is. Read without the queue's lock, numbers may be of different moments.
    pub fn depth(&self) -> Depth {
        Depth {
            ready: read(&self.ready),
            ready_bytes: read(&self.ready_bytes),
            in_flight: read(&self.in_flight),
            in_flight_bytes: read(&self.in_flight_bytes),
            waiting: read(&self.waiting),
            waiting_bytes: read(&self.waiting_bytes),
            consumers: read(&self.consumers),
        }
    }
}

impl Depth {
    /// Messages in the queue, as every list and sum shows them: those that could be delivered, and those that consumers
    /// have and did not settle.
    pub fn messages(&self) -> u64 {
        self.ready + self.in_flight
    }

    /// Their bytes.
    pub fn messages_bytes(&self) -> u64 {
        self.ready_bytes + self.in_flight_bytes
    }

    /// Messages that are there and cannot be delivered yet: they are being stored, or held for a while.
    pub fn being_stored(&self) -> u64 {
        self.waiting.saturating_sub(self.messages())
    }

    /// Both together.
    pub fn add(&mut self, other: &Depth) {
        self.ready += other.ready;
        self.ready_bytes += other.ready_bytes;
        self.in_flight += other.in_flight;
        self.in_flight_bytes += other.in_flight_bytes;
        self.waiting += other.waiting;
        self.waiting_bytes += other.waiting_bytes;
        self.consumers += other.consumers;
    }
}

/// The counters of one queue.
#[derive(Debug, Default)]
pub struct QueueCounts {
    common: [Common; 3],
    rare: OnceLock<Box<[Rare; 3]>>,
    pub deliveries: Deliveries,
    pub gauges: Gauges,
}

/// Adds to a counter that has one writer at a time.
#[inline]
pub fn bump(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

/// Reads a counter.
pub fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl QueueCounts {
    #[inline]
    fn common(&self, side: Side) -> &Common {
        let [durable, transient, stored] = &self.common;
        match side {
            Side::Durable => durable,
            Side::Transient => transient,
            Side::Stored => stored,
        }
    }

    #[cold]
    fn rare(&self, side: Side) -> &Rare {
        let [durable, transient, stored] = &**self.rare.get_or_init(Box::default);
        match side {
            Side::Durable => durable,
            Side::Transient => transient,
            Side::Stored => stored,
        }
    }

    /// So many records came that way. One writer at a time: the queue's lock, or the committer.
    #[inline]
    pub fn came(&self, side: Side, by: CameBy, count: u64) {
        match by {
            CameBy::Publish => bump(&self.common(side).published, count),
            _ => self.came_rarely(side, by, count),
        }
    }

    #[cold]
    fn came_rarely(&self, side: Side, by: CameBy, count: u64) {
        if let Some(counter) = self.rare(side).came.get(by as usize) {
            bump(counter, count);
        }
    }

    /// So many records left that way. One writer at a time, as before.
    #[inline]
    pub fn left(&self, side: Side, by: LeftBy, count: u64) {
        match by {
            LeftBy::Consumed => bump(&self.common(side).consumed, count),
            _ => self.left_rarely(side, by, count),
        }
    }

    #[cold]
    fn left_rarely(&self, side: Side, by: LeftBy, count: u64) {
        if let Some(counter) = self.rare(side).left.get(by as usize) {
            bump(counter, count);
        }
    }

    /// A record that was counted as `before` has left as `after` instead.
    pub fn left_otherwise(&self, side: Side, before: LeftBy, after: LeftBy) {
        self.left(side, before, 1u64.wrapping_neg());
        self.left(side, after, 1);
    }

    /// What a side has counted.
    pub fn tally(&self, side: Side) -> Tally {
        let mut tally = Tally::default();
        if let Some(sides) = self.rare.get() {
            let [durable, transient, stored] = &**sides;
            let rare = match side {
                Side::Durable => durable,
                Side::Transient => transient,
                Side::Stored => stored,
            };
            for (by, counter) in CameBy::ALL.iter().zip(&rare.came) {
                tally.add_came(*by, read(counter));
            }
            for (by, counter) in LeftBy::ALL.iter().zip(&rare.left) {
                tally.add_left(*by, read(counter));
            }
        }
        let common = self.common(side);
        tally.add_came(CameBy::Publish, read(&common.published));
        tally.add_left(LeftBy::Consumed, read(&common.consumed));
        tally
    }

    /// All that came and left, durable or not. Read without the queue's lock, numbers may be of different moments.
    pub fn totals(&self) -> Tally {
        let mut tally = self.tally(Side::Durable);
        tally.add(&self.tally(Side::Transient));
        tally
    }

    /// Counts on from there, at a start.
    pub fn restore(&self, side: Side, tally: &Tally) {
        for by in CameBy::ALL.iter().filter(|by| tally.came(**by) > 0) {
            self.came(side, *by, tally.came(*by));
        }
        for by in LeftBy::ALL.iter().filter(|by| tally.left(**by) > 0) {
            self.left(side, *by, tally.left(*by));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_places_in_the_lists() {
        for (at, by) in LeftBy::ALL.iter().enumerate() {
            assert_eq!((*by as usize, LeftBy::of(at as u8)), (at, Some(*by)));
        }
        assert_eq!(LeftBy::of(LeftBy::ALL.len() as u8), None);
        for (at, by) in CameBy::ALL.iter().enumerate() {
            assert_eq!(*by as usize, at);
        }
    }

    #[test]
    fn what_is_counted_is_told_and_restored() {
        let counts = QueueCounts::default();
        for (n, by) in (1..).zip(CameBy::ALL) {
            counts.came(Side::Durable, by, n);
        }
        for (n, by) in (10..).zip(LeftBy::ALL) {
            counts.left(Side::Transient, by, n);
        }
        let (durable, transient) = (counts.tally(Side::Durable), counts.tally(Side::Transient));
        assert_eq!((durable.came_all(), durable.left_all()), (1 + 2 + 3, 0));
        assert_eq!(transient.left(LeftBy::TransientLost), 10 + 18);
        assert!(counts.tally(Side::Stored).is_empty());
        let again = QueueCounts::default();
        again.restore(Side::Durable, &durable);
        again.restore(Side::Transient, &transient);
        assert_eq!(again.totals(), counts.totals());
    }

    #[test]
    fn another_way_out_is_no_other_number_of_records() {
        let counts = QueueCounts::default();
        counts.left(Side::Durable, LeftBy::DeadLetterRejected, 3);
        counts.left_otherwise(Side::Durable, LeftBy::DeadLetterRejected, LeftBy::NoTaker);
        let tally = counts.tally(Side::Durable);
        let both = (tally.left(LeftBy::DeadLetterRejected), tally.left(LeftBy::NoTaker));
        assert_eq!((both, tally.left_all()), ((2, 1), 3));
    }

    #[test]
    fn a_record_that_is_nowhere_is_missing() {
        let mut totals = QueueTotals::default();
        totals.tally.add_came(CameBy::Publish, 3);
        totals.tally.add_left(LeftBy::Consumed, 1);
        totals.waiting = 2;
        assert_eq!(totals.missing(), 0);
        totals.waiting = 1;
        assert_eq!(totals.missing(), 1);
    }
}
