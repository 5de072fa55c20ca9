//! What delivering leads to: for the shell to carry out.

use super::{Handle, LeftBy, Woken};
use crate::exchange::Tags;
use crate::log::{Offset, Place};
use crate::message::{Message, Reason};
use std::sync::Arc;

/// A consumer of one session. [`ConsumerId::DIRECT`] marks what came straight to the session, without a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerId(pub u32);

impl ConsumerId {
    /// Level-0 deliveries to a session: nothing to settle.
    pub const DIRECT: ConsumerId = ConsumerId(0);
}

/// How a consumer is done with a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Accepted,
    /// Back to its old place, as if never delivered.
    Released,
    /// Dead-lettered, or dropped when there is nowhere to go. The reason is the consumer's own words.
    Rejected {
        reason: Option<Arc<str>>,
    },
    /// Back to its old place with one more attempt; dead-lettered at the queue's limit.
    Failed,
    /// Back to its old place because the consumer gave it back of its own accord: one more attempt only where the
    /// queue's limit was asked for.
    GivenBack,
    /// Back to its old place because the consumer left in order, or the broker ended it: no attempt, and redelivered.
    Left,
    /// Away, for a reason of the broker's own.
    Removed(LeftBy),
}

/// One record for one consumer. What differs per receiver is here, not in the message.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub consumer: ConsumerId,
    /// Its place in the consumer's queue: what settling takes.
    pub offset: Offset,
    pub message: Message,
    /// Failed deliveries before this one.
    pub attempts: u16,
    /// A consumer may have seen it already.
    pub redelivered: bool,
    /// It is a retained value, delivered because of a new binding.
    pub retained: bool,
    /// Tags of the session's bindings that matched; empty for ordinary queues.
    pub tags: Tags,
}

/// A record that left its queue otherwise than by being accepted.
#[derive(Debug)]
pub struct Departure {
    pub offset: Offset,
    pub message: Message,
    pub reason: Reason,
    /// The consumer's words.
    pub detail: Option<Arc<str>>,
    /// Its removal has to be stored.
    pub durable: bool,
    /// As what it was counted. None: the queue refused it, so it never was in it.
    pub left_by: Option<LeftBy>,
    /// It stays in its queue, and leaves when its dead letter is taken.
    pub stays: bool,
}

/// What one step led to. Reused between steps, so that nothing is allocated in the steady state.
#[derive(Debug, Default)]
pub struct Effects {
    /// In order; the handle says which consumer of the queue.
    pub deliveries: Vec<(Handle, Delivery)>,
    pub departures: Vec<Departure>,
    /// Stored records that were consumed: their removal has to be stored.
    pub settled: Vec<Offset>,
    /// Stored records that left otherwise and go nowhere: the same.
    pub removed: Vec<(Offset, LeftBy)>,
    /// Journal entries that hold one living record less.
    pub freed: Vec<Place>,
    /// Stored records whose number of attempts changed.
    pub attempts: Vec<(Offset, u16)>,
    /// Consumers that waited for credit that came back.
    pub wake: Vec<Woken>,
    /// Stored records that have to be fetched before dispatch can go on.
    pub load: Vec<(Offset, Place)>,
    /// Records that left because the queue held too much.
    pub crowded_out: u64,
    /// While records are settled otherwise than as accepted: the bytes of those so far that length limits count.
    pub(super) counted_back: u64,
}

impl Effects {
    /// True when there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
            && self.departures.is_empty()
            && self.settled.is_empty()
            && self.removed.is_empty()
            && self.freed.is_empty()
            && self.attempts.is_empty()
            && self.wake.is_empty()
            && self.load.is_empty()
            && self.crowded_out == 0
    }
}
