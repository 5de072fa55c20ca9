//! What operators ask about the messages of a queue, and what they are answered: plain data.

use super::progress::MoveProgress;
use crate::error::Error;
use crate::log::Offset;
use crate::message::{Address, Filter, Message, Name};
use crate::subscription::Cursor;
use std::sync::Arc;

/// Messages of one page of [`Session::peek`](crate::Session::peek), and bytes of them as limits count them.
pub const PEEK_MESSAGES_MAX: usize = 500;
pub const PEEK_BYTES_MAX: u64 = 4 << 20;

/// What a message of a queue is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageState {
    /// It waits for a consumer.
    Ready,
    /// A consumer has it, and has not settled it.
    Unacknowledged,
}

/// A message as it stands in its queue.
#[derive(Debug, Clone)]
pub struct Peeked {
    /// Its number in the queue. It keeps that as long as it is there, and no other message ever gets it.
    pub offset: Offset,
    pub state: MessageState,
    /// A consumer may have seen it already: what its next delivery would say.
    pub redelivered: bool,
    /// Failed deliveries.
    pub attempts: u16,
    pub message: Message,
}

/// A page of what is in a queue.
#[derive(Debug, Clone, Default)]
pub struct PeekPage {
    /// In the order in which the queue delivers.
    pub messages: Vec<Peeked>,
    /// Where the next page begins; none: that is all. A page that a filter left little of can have one, too: what one
    /// call reads is bounded.
    pub next: Option<Cursor>,
    /// Messages that the filter was asked about.
    pub looked_at: u64,
    /// Messages that are there and cannot be read from the store.
    pub unreadable: u64,
}

/// Where messages are moved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveTo {
    Queue(Name),
    /// Each to the address that it was published to before it was dead-lettered or a content route failed on it. It is
    /// published there a second time: each queue and session that is bound to the address now gets it.
    Origin,
    /// They are dropped.
    Nowhere,
}

/// Messages that are to be moved.
#[derive(Debug, Clone)]
pub struct MoveOrder {
    /// The queue that they are in.
    pub from: Name,
    pub to: MoveTo,
    /// Which of them.
    pub filter: Filter,
    /// Where to begin: at [`Cursor::START`], or where an earlier move stopped.
    pub start: Cursor,
    /// So many at most; none: all that are there when it begins.
    pub limit: Option<u64>,
    /// So many each second at most; none: as fast as they are stored.
    pub per_second: Option<u32>,
    /// Nothing is moved: it is only found out what would be.
    pub dry_run: bool,
    /// The one of that number alone, and no other.
    pub only: Option<Offset>,
    /// How far it is, and what ends it early.
    pub progress: Arc<MoveProgress>,
}

impl MoveOrder {
    /// All ready messages of a queue.
    pub fn new(from: impl Into<Name>, to: MoveTo) -> Self {
        Self {
            from: from.into(),
            to,
            filter: Filter::all(),
            start: Cursor::START,
            limit: None,
            per_second: None,
            dry_run: false,
            only: None,
            progress: Arc::default(),
        }
    }
}

/// What a move came to. What it says was moved is stored, if it is to survive a restart.
#[derive(Debug, Clone, Default)]
pub struct MoveReport {
    /// Ready messages that the filter meant, among those that were looked at.
    pub matched: u64,
    /// How many of them were moved, or dropped; of a dry run, would have been, if no destination fills up meanwhile.
    pub moved: u64,
    /// How many of them stayed where they are.
    pub left: u64,
    /// How many went to each address, in the order of the addresses. Those beyond
    /// [`DESTINATIONS_MAX`](MoveReport::DESTINATIONS_MAX) addresses are in `elsewhere`.
    pub destinations: Vec<(Address, u64)>,
    pub elsewhere: u64,
    /// How many of those that were moved went into the queue of a content route, which has its turn later and may fail
    /// on them again.
    pub to_routes: u64,
    /// Why messages stayed, and how many for each reason; the last reason may be "others".
    pub refused: Vec<(Arc<str>, u64)>,
    /// Where to go on, when it ended before it had seen all: the limit was reached, or it was stopped.
    pub next: Option<Cursor>,
    /// Why it was stopped.
    pub stopped: Option<Error>,
}

impl MoveReport {
    /// Addresses, and reasons, that are counted one by one.
    pub const DESTINATIONS_MAX: usize = 1000;
    pub const REASONS_MAX: usize = 100;

    /// One more was moved to that address.
    pub fn add_moved(&mut self, to: &Address) {
        self.moved += 1;
        let order = |known: &(Address, u64)| {
            (&*known.0.exchange, known.0.key.bytes()).cmp(&(&*to.exchange, to.key.bytes()))
        };
        match self.destinations.binary_search_by(order) {
            Ok(at) => {
                if let Some((_, count)) = self.destinations.get_mut(at) {
                    *count += 1;
                }
            }
            Err(_) if self.destinations.len() >= Self::DESTINATIONS_MAX => self.elsewhere += 1,
            Err(at) => self.destinations.insert(at, (to.clone(), 1)),
        }
    }

    /// One more stayed, for that reason.
    pub fn add_refused(&mut self, why: &str) {
        self.left += 1;
        let is_new = self.refused.iter().all(|(known, _)| **known != *why);
        let why = if is_new && self.refused.len() >= Self::REASONS_MAX { "others" } else { why };
        match self.refused.iter_mut().find(|(known, _)| **known == *why) {
            Some((_, count)) => *count += 1,
            None => self.refused.push((why.into(), 1)),
        }
    }
}
