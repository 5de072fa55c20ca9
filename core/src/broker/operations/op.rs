//! What an entry of the journal can say.

use super::messages::StoredMessage;
use crate::auth::Account;
use crate::broker::door::request::{ParkId, ParkUntil, SessionLife};
use crate::exchange::{Binding, ExchangeSpec, LogId, SessionId, Tags};
use crate::log::{Cold, Offset, QueueSpec};
use crate::message::{Key, Message, Name, Timestamp};
use crate::rights::RightsText;
use crate::store::Pos;
use crate::subscription::{CameBy, LeftBy, Tally};
use bytes::Bytes;

/// One operation.
#[derive(Debug)]
pub enum Op {
    /// A message and where it was put.
    Record {
        message: Message,
        /// When it came to these queues, if that was well after it was published.
        arrived: Option<Timestamp>,
        placed: Vec<(LogId, Offset, Tags)>,
        by: CameBy,
    },
    /// A transient message that had to leave memory; nothing at recovery.
    Spilled {
        message: Message,
    },
    Settle {
        queue: LogId,
        by: LeftBy,
        offsets: Vec<Offset>,
    },
    /// Of a snapshot: what a queue has counted of its durable records up to that position.
    Counts {
        queue: LogId,
        upto: Pos,
        tally: Tally,
    },
    /// What a queue has counted of its transient records: instead of what was said before.
    TransientCounts {
        queue: LogId,
        tally: Tally,
    },
    Attempts {
        queue: LogId,
        offset: Offset,
        attempts: u16,
    },
    Retain {
        vhost: Name,
        key: Key,
        message: Option<StoredMessage>,
    },
    Memo {
        session: SessionId,
        key: Bytes,
        value: Option<Bytes>,
    },
    Queue {
        vhost: Name,
        id: LogId,
        spec: QueueSpec,
    },
    QueueGone {
        id: LogId,
    },
    Exchange {
        vhost: Name,
        spec: ExchangeSpec,
    },
    ExchangeGone {
        vhost: Name,
        name: Name,
    },
    Bind {
        vhost: Name,
        binding: Binding,
    },
    Unbind {
        vhost: Name,
        binding: Binding,
    },
    Session {
        vhost: Name,
        id: SessionId,
        name: Name,
        life: SessionLife,
        queue: Option<LogId>,
        /// Whose it is: user and client id. None in old stores: the guest's.
        owner: Option<(Name, Name)>,
    },
    SessionGone {
        id: SessionId,
    },
    Park {
        id: ParkId,
        vhost: Name,
        due: ParkUntil,
        copies: Box<[Key]>,
        session: Option<SessionId>,
        message: Message,
    },
    Unpark {
        id: ParkId,
    },
    /// Ids up to this one were given out.
    Ids {
        next: u64,
    },
    /// Of a snapshot: a page of records that live in the journal.
    Page {
        queue: LogId,
        number: u64,
        page: Cold,
    },
    /// Of a snapshot: the next offset of a queue.
    Next {
        queue: LogId,
        offset: Offset,
    },
    /// Of a snapshot: how many parts an entry with living records has.
    Parts {
        pos: u64,
        parts: u32,
    },
    /// An auto-delete queue had a consumer: it goes when there is none any more.
    Used {
        queue: LogId,
    },
    /// A user that was made at run time, without its rights.
    User(Account),
    UserGone {
        name: Name,
    },
    /// What a user may do in a virtual host.
    Rights {
        user: Name,
        vhost: Name,
        rights: RightsText,
    },
    RightsGone {
        user: Name,
        vhost: Name,
    },
    /// A virtual host that was made at run time.
    Vhost {
        name: Name,
    },
    /// A message that was written again, so that its old entry can go: a new place for records that still live.
    Rewritten {
        message: Message,
        records: Vec<(LogId, Offset)>,
    },
}
