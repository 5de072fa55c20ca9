//! What a session's connection gets from the broker: deliveries, confirms, notices.

use super::request::LaneId;
use crate::error::{Error, ErrorKind};
use crate::message::{Message, Name};
use crate::subscription::{ConsumerId, Delivery};

/// What became of a publish.
#[derive(Debug, Clone)]
pub enum ConfirmOutcome {
    /// Every queue that it was routed to has it: stored, where queue and message are durable.
    Stored,
    /// No binding led anywhere. The message comes with it, so that it can be returned to its publisher.
    Unroutable(Message),
    /// Refused, and why: no queue has it.
    Refused(Error),
}

/// The answer to one publish, in the order of the publishes of its lane.
#[derive(Debug, Clone)]
pub struct Confirm {
    pub lane: LaneId,
    /// What [`Session::publish`](crate::broker::Session::publish) returned.
    pub number: u64,
    pub confirmed: ConfirmOutcome,
}

/// A consumer that did not settle in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late {
    pub consumer: ConsumerId,
    /// The lane that it was attached to. None: that is gone.
    pub lane: Option<LaneId>,
    pub queue: Name,
    /// How long the queue lets a consumer have a record.
    pub timeout_ms: u64,
}

impl Late {
    /// The same in words.
    pub fn why(&self) -> Error {
        let (queue, ms) = (&self.queue, self.timeout_ms);
        let why = format!(
            "a message of queue '{queue}' was not acknowledged within its consumer timeout, {ms} ms: it has \
             gone back to the queue"
        );
        Error::new(ErrorKind::Closed, why)
    }
}

/// Something that happened to a session.
#[derive(Debug, Clone)]
pub enum Notice {
    /// The broker ended a consumer (its queue was deleted). What it had unsettled is gone.
    Detached { consumer: ConsumerId, why: Error },
    /// A consumer did not settle in time: what it had has gone back to its queue, and the broker has ended it.
    Late(Late),
    /// Another connection opened the session of this name.
    TakenOver,
    /// An operator or the broker ends this connection.
    Closed(Error),
    /// Publishing is held back (true) or goes on (false).
    Blocked(bool),
}

/// Everything that was ready for a connection when it asked.
#[derive(Debug, Default)]
pub struct Events {
    pub deliveries: Vec<Delivery>,
    pub confirms: Vec<Confirm>,
    pub notices: Vec<Notice>,
}

impl Events {
    /// True when there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.confirms.is_empty() && self.notices.is_empty()
    }
}

/// A queue as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStatus {
    pub name: Name,
    /// Records that no consumer has.
    pub messages: u64,
    pub consumers: u32,
}

/// What tells a queue from every other one that there is or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueIdentity {
    pub queue: u64,
    /// Counts the starts of the broker. What is not durable is forgotten then: numbers of such queues, and offsets of
    /// such records, are given to others.
    pub start: u64,
    pub is_durable: bool,
}

/// What went with a named session that was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionEnded {
    /// What waited in its queue, also what its client had and did not settle.
    pub messages: u64,
    /// A connection had it, and is told to end.
    pub was_connected: bool,
}

/// How many objects a virtual host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectCounts {
    pub queues: usize,
    pub exchanges: usize,
}

/// The answer to a declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    pub status: QueueStatus,
    /// The declaration created it.
    pub created: bool,
}
