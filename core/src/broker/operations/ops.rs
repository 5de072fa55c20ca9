//! What the journal's entries say: operations, one after another. docs/STORE.md has the byte tables.
//!
//! [`Ops`] writes, [`read`] reads; nothing else knows the bytes. Lengths are LEB128, numbers little-endian varints.

use super::accounts::{self, put_rights, put_user};
use super::known::Known;
use super::messages::{StoredMessage, put_message, take_message};
pub use super::op::Op;
use super::settles::{self, put_counts, put_settle, put_transient_counts};
use super::specs::{
    put_binding, put_queue_spec, take_binding, take_exchange_spec, take_queue_spec,
};
use crate::auth::Account;
use crate::broker::door::request::{ParkId, ParkUntil, SessionLife};
use crate::exchange::{Binding, ExchangeSpec, LogId, SessionId, Tags};
use crate::log::{Cold, Offset, Place, QueueSpec, put_tags, take_tags};
use crate::message::wire::{Put, Take, put_pairs};
use crate::message::{Key, Message, Timestamp};
use crate::rights::RightsText;
use crate::rope::Rope;
use crate::subscription::{CameBy, LeftBy, QueueCounts, Tally};
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::Arc;

/// Milliseconds after its publishing: a message that comes to a queue later is stored with the time when it came, from
/// which times to live count.
const LATE_MS: u64 = 100;

/// Operations as bytes.
#[derive(Debug, Default)]
pub struct Ops {
    bytes: Rope,
    /// How many of them hold a message that is fetched by its index.
    records: u32,
    /// Places that nothing needs any more once these operations are stored, and not before.
    pub freed: Vec<Place>,
    /// Whose records these operations settle, how they left, and how many: counted as stored by then.
    pub left: SmallVec<[(Arc<QueueCounts>, LeftBy, u64); 1]>,
}

/// How a publish waits.
pub struct Parking<'a> {
    pub due: ParkUntil,
    /// Of what waits for a connection to be gone.
    pub session: Option<SessionId>,
    /// Further keys by which it is routed when it is due, at a time.
    pub copies: &'a [Key],
}

impl Ops {
    /// True without operations.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Makes room for that many bytes more, bodies that are kept not counted.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.end().reserve(bytes);
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes so far that lie in one piece.
    pub fn copied_len(&self) -> usize {
        self.bytes.copied_len()
    }

    /// Records so far: the index of the next one.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// The bytes.
    pub fn bytes(&self) -> &Rope {
        &self.bytes
    }

    /// The bytes, without the operations around them.
    pub fn into_bytes(self) -> Bytes {
        self.bytes.into_bytes()
    }

    /// Moves the operations of `other` behind these.
    pub fn append(&mut self, other: &mut Ops) {
        match self.bytes.is_empty() {
            true => std::mem::swap(self, other),
            false => {
                self.bytes.append(&mut other.bytes);
                self.records += std::mem::take(&mut other.records);
            }
        }
        self.freed.append(&mut other.freed);
        for (counts, by, count) in other.left.drain(..) {
            self.note_left(&counts, by, count);
        }
    }

    /// A message and its places in durable queues, and when and how it came to them. Its index among the records.
    pub fn record<'a>(
        &mut self,
        (message, arrived, by): (&Message, Timestamp, CameBy),
        placed: impl ExactSizeIterator<Item = (LogId, Offset, &'a Tags)>,
    ) -> u32 {
        if by != CameBy::of(message) {
            self.bytes.end().u8(settles::CAME);
            self.bytes.end().u8(by as u8);
        }
        match message.meta().published.until(arrived) > LATE_MS {
            true => (self.bytes.end().u8(23), self.bytes.end().varint(arrived.0)).1,
            false => self.bytes.end().u8(1),
        }
        put_message(&mut self.bytes, message);
        self.bytes.end().varint(placed.len() as u64);
        for (queue, offset, tags) in placed {
            self.bytes.end().varint(queue.0);
            self.bytes.end().varint(offset.0);
            put_tags(self.bytes.end(), tags);
        }
        self.records += 1;
        self.records - 1
    }

    /// A transient message on its way out of memory. Its index among the records.
    pub fn spilled(&mut self, message: &Message) -> u32 {
        self.bytes.end().u8(2);
        put_message(&mut self.bytes, message);
        self.records += 1;
        self.records - 1
    }

    /// Records that are done with, and how they left.
    pub fn settle(
        &mut self,
        (queue, counts): (LogId, &Arc<QueueCounts>),
        by: LeftBy,
        offsets: &[Offset],
    ) {
        put_settle(self.bytes.end(), queue, by, offsets);
        self.note_left(counts, by, offsets.len() as u64);
    }

    fn note_left(&mut self, counts: &Arc<QueueCounts>, by: LeftBy, count: u64) {
        match self.left.last_mut() {
            Some((last, how, so_far)) if *how == by && Arc::ptr_eq(last, counts) => {
                *so_far += count
            }
            _ => self.left.push((counts.clone(), by, count)),
        }
    }

    /// Of a snapshot: what a queue has counted of its durable records up to that position of the journal.
    pub fn counts(&mut self, queue: LogId, upto: u64, tally: &Tally) {
        put_counts(self.bytes.end(), queue, upto, tally);
    }

    /// What a queue has counted of its transient records.
    pub fn transient_counts(&mut self, queue: LogId, tally: &Tally) {
        put_transient_counts(self.bytes.end(), queue, tally);
    }

    /// Failed deliveries of a record.
    pub fn attempts(&mut self, queue: LogId, offset: Offset, attempts: u16) {
        self.bytes.end().u8(4);
        self.bytes.end().varint(queue.0);
        self.bytes.end().varint(offset.0);
        self.bytes.end().varint(u64::from(attempts));
    }

    /// A topic's retained value; none clears it.
    pub fn retain(&mut self, vhost: &str, key: &Key, message: Option<&Message>) {
        self.bytes.end().u8(5);
        self.bytes.end().text(vhost);
        self.bytes.end().bytes(key.bytes());
        self.bytes.end().flag(message.is_some());
        if let Some(message) = message {
            put_message(&mut self.bytes, message);
        }
    }

    /// A session's memo; none forgets it.
    pub fn memo(&mut self, session: SessionId, key: &[u8], value: Option<&Bytes>) {
        self.bytes.end().u8(6);
        self.bytes.end().varint(session.0);
        self.bytes.end().bytes(key);
        self.bytes.end().optional(value, |o, v| o.bytes(v));
    }

    /// A declared queue.
    pub fn queue(&mut self, vhost: &str, id: LogId, spec: &QueueSpec) {
        self.bytes.end().u8(7);
        self.bytes.end().text(vhost);
        self.bytes.end().varint(id.0);
        put_queue_spec(self.bytes.end(), spec);
    }

    /// A deleted queue, with all that is in it.
    pub fn queue_gone(&mut self, id: LogId) {
        self.bytes.end().u8(8);
        self.bytes.end().varint(id.0);
    }

    /// A declared exchange.
    pub fn exchange(&mut self, vhost: &str, spec: &ExchangeSpec) {
        self.bytes.end().u8(9);
        self.bytes.end().text(vhost);
        self.bytes.end().text(&spec.name);
        self.bytes.end().text(spec.kind.as_str());
        self.bytes.end().flag(spec.auto_delete);
        self.bytes.end().flag(spec.internal);
        put_pairs(self.bytes.end(), &spec.arguments);
    }

    /// A deleted exchange, with its bindings.
    pub fn exchange_gone(&mut self, vhost: &str, name: &str) {
        self.bytes.end().u8(10);
        self.bytes.end().text(vhost);
        self.bytes.end().text(name);
    }

    /// A binding made (or its tag replaced) or removed.
    pub fn binding(&mut self, vhost: &str, binding: &Binding, made: bool) {
        self.bytes.end().u8(if made { 11 } else { 12 });
        self.bytes.end().text(vhost);
        put_binding(self.bytes.end(), binding);
    }

    /// A named session, new or with other settings.
    pub fn session(
        &mut self,
        vhost: &str,
        (id, name, owner): (SessionId, &str, (&str, &str)),
        life: SessionLife,
        queue: Option<LogId>,
    ) {
        self.bytes.end().u8(24);
        self.bytes.end().text(vhost);
        self.bytes.end().varint(id.0);
        self.bytes.end().text(name);
        match life {
            SessionLife::No => self.bytes.end().u8(0),
            SessionLife::For(ms) => (self.bytes.end().u8(1), self.bytes.end().varint(ms)).1,
            SessionLife::Forever => self.bytes.end().u8(2),
        }
        self.bytes.end().optional(queue, |o, q| o.varint(q.0));
        let (user, client) = owner;
        self.bytes.end().text(user);
        self.bytes.end().text(client);
    }

    /// A user that was made at run time, or has other tags or verifiers by now; its rights stand by themselves.
    pub fn user(&mut self, account: &Account) {
        self.bytes.end().u8(25);
        put_user(self.bytes.end(), account);
    }

    /// The end of a user, with its rights.
    pub fn user_gone(&mut self, name: &str) {
        self.bytes.end().u8(26);
        self.bytes.end().text(name);
    }

    /// What a user may do in a virtual host; none: it may not enter.
    pub fn rights(&mut self, user: &str, vhost: &str, rights: Option<&RightsText>) {
        self.bytes.end().u8(if rights.is_some() { 27 } else { 28 });
        self.bytes.end().text(user);
        self.bytes.end().text(vhost);
        if let Some(rights) = rights {
            put_rights(self.bytes.end(), rights);
        }
    }

    /// A virtual host that was made at run time.
    pub fn vhost(&mut self, name: &str) {
        self.bytes.end().u8(29);
        self.bytes.end().text(name);
    }

    /// The end of a named session.
    pub fn session_gone(&mut self, id: SessionId) {
        self.bytes.end().u8(14);
        self.bytes.end().varint(id.0);
    }

    /// A parked publish.
    pub fn park(&mut self, id: ParkId, vhost: &str, parking: Parking<'_>, message: &Message) {
        let Parking { due, session, copies } = parking;
        self.bytes.end().u8(15);
        self.bytes.end().varint(id.0);
        self.bytes.end().text(vhost);
        match due {
            ParkUntil::At(at) if copies.is_empty() => {
                (self.bytes.end().u8(0), self.bytes.end().varint(at.0)).1
            }
            ParkUntil::At(at) => {
                self.bytes.end().u8(2);
                self.bytes.end().varint(at.0);
                self.bytes.end().varint(copies.len() as u64);
                for key in copies {
                    self.bytes.end().bytes(key.bytes());
                }
            }
            ParkUntil::Disconnected { delay_ms } => {
                (self.bytes.end().u8(1), self.bytes.end().varint(delay_ms)).1
            }
        }
        self.bytes.end().optional(session, |o, s| o.varint(s.0));
        put_message(&mut self.bytes, message);
    }

    /// A parked publish that was routed or cancelled.
    pub fn unpark(&mut self, id: ParkId) {
        self.bytes.end().u8(16);
        self.bytes.end().varint(id.0);
    }

    /// Ids up to this one were given out.
    pub fn ids(&mut self, next: u64) {
        self.bytes.end().u8(17);
        self.bytes.end().varint(next);
    }

    /// Of a snapshot: the head of a page of living records. The page's own bytes follow.
    pub fn page_head(&mut self, queue: LogId, number: u64, len: usize) {
        self.bytes.end().u8(18);
        self.bytes.end().varint(queue.0);
        self.bytes.end().varint(number);
        self.bytes.end().varint(len as u64);
    }

    /// Of a snapshot: an entry of several parts.
    pub fn parts(&mut self, pos: u64, parts: u32) {
        self.bytes.end().u8(21);
        self.bytes.end().varint(pos);
        self.bytes.end().varint(u64::from(parts));
    }

    /// An auto-delete queue that has its first consumer.
    pub fn used(&mut self, queue: LogId) {
        self.bytes.end().u8(22);
        self.bytes.end().varint(queue.0);
    }

    /// A message that is written again for these records. Its index among the records.
    pub fn rewritten(
        &mut self,
        message: &Message,
        records: impl ExactSizeIterator<Item = (LogId, Offset)>,
    ) -> u32 {
        self.bytes.end().u8(20);
        put_message(&mut self.bytes, message);
        self.bytes.end().varint(records.len() as u64);
        for (queue, offset) in records {
            self.bytes.end().varint(queue.0);
            self.bytes.end().varint(offset.0);
        }
        self.records += 1;
        self.records - 1
    }

    /// Of a snapshot: the next offset.
    pub fn next(&mut self, queue: LogId, offset: Offset) {
        self.bytes.end().u8(19);
        self.bytes.end().varint(queue.0);
        self.bytes.end().varint(offset.0);
    }
}

/// Reads operations in order; the first one that cannot be read ends it with `None`.
#[cfg(any(test, feature = "bench", feature = "fuzz"))]
pub fn read(input: Bytes) -> impl Iterator<Item = Option<Op>> {
    let mut known = Known::default();
    let (mut input, mut broken) = (input, false);
    std::iter::from_fn(move || next(&mut input, &mut known, &mut broken))
}

/// The same, of operations that follow others.
pub fn read_more(mut input: Bytes, known: &mut Known) -> impl Iterator<Item = Option<Op>> {
    let mut broken = false;
    std::iter::from_fn(move || next(&mut input, known, &mut broken))
}

fn next(input: &mut Bytes, known: &mut Known, broken: &mut bool) -> Option<Option<Op>> {
    if input.is_empty() || *broken {
        return None;
    }
    let op = take_op(input, known);
    *broken = op.is_none();
    Some(op)
}

/// Takes the first operation. If it is not whole, the input stays as it is.
pub fn take_whole(input: &mut Bytes, known: &mut Known) -> Option<Op> {
    let mut rest = input.clone();
    let op = take_op(&mut rest, known)?;
    *input = rest;
    Some(op)
}

fn take_op(input: &mut Bytes, known: &mut Known) -> Option<Op> {
    Some(match input.take_u8()? {
        code @ (1 | 23) => take_record(input, (code, None), known)?,
        settles::CAME => {
            let by = settles::take_came(input)?;
            let code = input.take_u8().filter(|code| matches!(code, 1 | 23))?;
            take_record(input, (code, Some(by)), known)?
        }
        2 => Op::Spilled { message: take_message(input, known)? },
        code @ (settles::CONSUMED | settles::LEFT..=settles::TRANSIENT_COUNTS) => {
            settles::take_op(code, input)?
        }
        4 => Op::Attempts {
            queue: take_log(input)?,
            offset: take_offset(input)?,
            attempts: input.take_number()?,
        },
        5 => Op::Retain {
            vhost: known.take_name(input)?,
            key: Key::new(input.take_bytes()?),
            message: input.take_optional(StoredMessage::take)?,
        },
        6 => Op::Memo {
            session: SessionId(input.take_varint()?),
            key: input.take_bytes()?,
            value: input.take_optional(Take::take_bytes)?,
        },
        7 => Op::Queue {
            vhost: known.take_name(input)?,
            id: take_log(input)?,
            spec: take_queue_spec(input)?,
        },
        8 => Op::QueueGone { id: take_log(input)? },
        9 => Op::Exchange { vhost: known.take_name(input)?, spec: take_exchange_spec(input)? },
        10 => Op::ExchangeGone { vhost: known.take_name(input)?, name: input.take_name()? },
        11 => Op::Bind { vhost: known.take_name(input)?, binding: take_binding(input, known)? },
        12 => Op::Unbind { vhost: known.take_name(input)?, binding: take_binding(input, known)? },
        13 => take_session(input, known, false)?,
        24 => take_session(input, known, true)?,
        code @ 25..=29 => accounts::take_op(code, input)?,
        14 => Op::SessionGone { id: SessionId(input.take_varint()?) },
        15 => take_park(input, known)?,
        16 => Op::Unpark { id: ParkId(input.take_varint()?) },
        17 => Op::Ids { next: input.take_varint()? },
        18 => Op::Page {
            queue: take_log(input)?,
            number: input.take_varint()?,
            // Copied: a page must not keep the bytes around it in memory.
            page: Cold::read(Bytes::copy_from_slice(&input.take_bytes()?))?,
        },
        19 => Op::Next { queue: take_log(input)?, offset: take_offset(input)? },
        20 => {
            let message = take_message(input, known)?;
            let count: usize = input.take_number()?;
            let mut records = Vec::with_capacity(count.min(input.len() / 2));
            for _ in 0..count {
                records.push((take_log(input)?, take_offset(input)?));
            }
            Op::Rewritten { message, records }
        }
        21 => Op::Parts { pos: input.take_varint()?, parts: input.take_number()? },
        22 => Op::Used { queue: take_log(input)? },
        _ => return None,
    })
}

fn take_record(
    input: &mut Bytes,
    (code, by): (u8, Option<CameBy>),
    known: &mut Known,
) -> Option<Op> {
    let arrived = match code {
        23 => Some(Timestamp(input.take_varint()?)),
        _ => None,
    };
    let message = take_message(input, known)?;
    let count: usize = input.take_number()?;
    let mut placed = Vec::with_capacity(count.min(input.len() / 2));
    for _ in 0..count {
        placed.push((take_log(input)?, take_offset(input)?, take_tags(input)?));
    }
    let by = by.unwrap_or_else(|| CameBy::of(&message));
    Some(Op::Record { message, arrived, placed, by })
}

fn take_log(input: &mut Bytes) -> Option<LogId> {
    input.take_varint().map(LogId)
}

fn take_offset(input: &mut Bytes) -> Option<Offset> {
    input.take_varint().map(Offset)
}

fn take_session(input: &mut Bytes, known: &mut Known, has_owner: bool) -> Option<Op> {
    let (vhost, id) = (known.take_name(input)?, SessionId(input.take_varint()?));
    let name = input.take_name()?;
    let life = match input.take_u8()? {
        0 => SessionLife::No,
        1 => SessionLife::For(input.take_varint()?),
        2 => SessionLife::Forever,
        _ => return None,
    };
    let queue = input.take_optional(take_log)?;
    let owner = match has_owner {
        true => Some((known.take_name(input)?, input.take_name()?)),
        false => None,
    };
    Some(Op::Session { vhost, id, name, life, queue, owner })
}

fn take_park(input: &mut Bytes, known: &mut Known) -> Option<Op> {
    let (id, vhost) = (ParkId(input.take_varint()?), known.take_name(input)?);
    let mut copies = Vec::new();
    let due = match input.take_u8()? {
        0 => ParkUntil::At(Timestamp(input.take_varint()?)),
        2 => {
            let at = Timestamp(input.take_varint()?);
            for _ in 0..input.take_number::<usize>()? {
                copies.push(Key::new(Bytes::copy_from_slice(&input.take_bytes()?)));
            }
            ParkUntil::At(at)
        }
        1 => ParkUntil::Disconnected { delay_ms: input.take_varint()? },
        _ => return None,
    };
    let session = input.take_optional(|i| i.take_varint().map(SessionId))?;
    let (copies, message) = (copies.into(), take_message(input, known)?);
    Some(Op::Park { id, vhost, due, copies, session, message })
}

#[cfg(test)]
#[path = "ops_tests.rs"]
mod tests;
