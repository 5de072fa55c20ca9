//! What the broker tells a session: deliveries, confirms, notices.

use super::request::{ConsumerId, LaneId};
use crate::error::Error;
use crate::exchange::BindingTag;
use crate::log::Offset;
use crate::message::{Message, Name};
use std::sync::Arc;

/// One record for one consumer. What differs per receiver is here, not in the message.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub consumer: ConsumerId,
    /// Its place in the consumer's queue: what [`Session::settle`](super::Session::settle) takes.
    pub offset: Offset,
    pub message: Message,
    /// Failed deliveries before this one.
    pub attempts: u16,
    /// Somebody may have seen it already.
    pub redelivered: bool,
    /// It is a retained value, delivered because of a new binding.
    pub retained: bool,
    /// Tags of the session's bindings that matched; empty for ordinary queues.
    pub tags: Tags,
}

/// The joined tags of all bindings of one target that a message met.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags(pub(crate) Option<Arc<[BindingTag]>>);

impl Tags {
    /// No tag costs nothing.
    pub fn new(tags: &[BindingTag]) -> Self {
        Self((!tags.is_empty()).then(|| tags.into()))
    }

    /// All of them.
    pub fn as_slice(&self) -> &[BindingTag] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The highest level that was asked for.
    pub fn level(&self) -> u8 {
        self.as_slice().iter().map(|tag| tag.level).max().unwrap_or(0)
    }
}

/// What became of a publish.
#[derive(Debug, Clone)]
pub enum Confirmed {
    /// Stored at the level of every queue it was routed to.
    Stored,
    /// Nothing was bound for it. The message is there to be returned.
    Unroutable(Message),
    /// Refused; nothing of it was kept.
    Refused(Error),
}

/// The answer to one publish, in the order of the publishes of its lane.
#[derive(Debug, Clone)]
pub struct Confirm {
    pub lane: LaneId,
    /// What [`Session::publish`](super::Session::publish) returned.
    pub number: u64,
    pub confirmed: Confirmed,
}

/// Something a session has to know.
#[derive(Debug, Clone)]
pub enum Notice {
    /// The broker ended a consumer (its queue was deleted). What it had unsettled is gone.
    Detached { consumer: ConsumerId, why: Error },
    /// Another connection opened the session of this name.
    TakenOver,
    /// An operator or the broker ends this connection.
    Closed(Error),
    /// Publishing is held back (true) or goes on (false).
    Blocked(bool),
}

/// All that was ready.
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
    /// Ready records.
    pub messages: u64,
    pub consumers: u32,
}

/// The answer to a declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    pub status: QueueStatus,
    /// It was not there before.
    pub created: bool,
}
