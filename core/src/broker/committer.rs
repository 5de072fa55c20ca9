//! The one writer of the journal. Sessions submit [`Unit`]s; the committer takes all that came while the previous
//! append was on its way, appends them as one entry, and then makes their records deliverable and resolves their
//! confirms. A failed append is final: nothing is acknowledged any more.
//!
//! ```text
//! entry = kind(whole | part k of n) unit*        unit = length ops
//! ```

use super::Confirmed;
use super::events::Confirm;
use super::inbox::Inbox;
pub use super::ops::Ops;
use super::ops::{self, Op};
use super::queue::Queue;
use crate::error::{Error, ErrorKind};
use crate::log::{Offset, Place};
use crate::message::Message;
use crate::message::wire::{Put, Take};
use crate::store::{JournalEntry, JournalId, JournalWriter, Pos, Store, StoreError};
use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{Notify, oneshot, watch};

/// One append takes at most so much; the rest goes with the next.
const BATCH_BYTES: usize = 4 << 20;

const WHOLE: u8 = 0;
const PART: u8 = 1;

/// A record of a unit and the queue it was put into.
pub struct Placed {
    pub queue: Arc<Queue>,
    pub offset: Offset,
    /// Index among the unit's records.
    pub index: u32,
    /// It was written only to leave memory.
    pub spilled: bool,
}

/// Who hears of a unit's outcome.
pub struct Ticket {
    pub inbox: Arc<Inbox>,
    pub confirms: Vec<Confirm>,
    /// Bytes that count against the session's share until then.
    pub bytes: usize,
}

/// What one flush makes durable: all of it or nothing.
#[derive(Default)]
pub struct Unit {
    pub ops: Ops,
    pub placed: Vec<Placed>,
    pub ticket: Option<Ticket>,
    pub done: Option<oneshot::Sender<Result<(), Error>>>,
}

impl Unit {
    /// A unit of operations without records.
    pub fn of(ops: Ops) -> Self {
        Self { ops, ..Self::default() }
    }
}

/// Where units wait, and what is known of the journal.
pub struct Committer {
    pending: Mutex<Pending>,
    submitted: Notify,
    /// Living records of each entry.
    live: Mutex<BTreeMap<u64, u32>>,
    failed: watch::Sender<Option<Error>>,
}

#[derive(Default)]
struct Pending {
    units: Vec<Unit>,
    closing: bool,
}

impl Committer {
    /// A committer whose journal holds these living records.
    pub fn new(live: BTreeMap<u64, u32>) -> Self {
        Self {
            pending: Mutex::default(),
            submitted: Notify::new(),
            live: Mutex::new(live),
            failed: watch::channel(None).0,
        }
    }

    /// Hands a unit over. Units are stored in the order of these calls.
    pub fn submit(&self, unit: Unit) {
        if unit.ops.is_empty() && unit.ticket.is_none() && unit.done.is_none() {
            return;
        }
        if let Some(ticket) = &unit.ticket {
            ticket.inbox.outstanding.fetch_add(1, Ordering::AcqRel);
            ticket.inbox.uncommitted.fetch_add(ticket.bytes, Ordering::AcqRel);
        }
        self.pending.lock().units.push(unit);
        self.submitted.notify_one();
    }

    /// Resolves when everything submitted so far is stored.
    pub async fn sync(&self, unit: Unit) -> Result<(), Error> {
        let (done, stored) = oneshot::channel();
        self.submit(Unit { done: Some(done), ..unit });
        stored.await.unwrap_or_else(|_| Err(closed()))
    }

    /// The run ends when all that was submitted is stored.
    pub fn close(&self) {
        self.pending.lock().closing = true;
        self.submitted.notify_one();
    }

    /// Records of these entries are done with.
    pub fn free(&self, places: &[Place]) {
        if places.is_empty() {
            return;
        }
        let mut live = self.live.lock();
        for place in places {
            if let Some(count) = live.get_mut(&place.pos) {
                *count -= 1;
                if *count == 0 {
                    live.remove(&place.pos);
                }
            }
        }
    }

    /// Positions below `upto` in which nothing lives.
    pub fn dead(&self, upto: Pos) -> Vec<Range<Pos>> {
        let live = self.live.lock();
        let (mut dead, mut from) = (Vec::new(), 1);
        for pos in live.range(..upto.0).map(|(pos, _)| *pos) {
            if pos > from {
                dead.push(Pos(from)..Pos(pos));
            }
            from = pos + 1;
        }
        if upto.0 > from {
            dead.push(Pos(from)..upto);
        }
        dead
    }

    /// Resolves when an append has failed.
    pub async fn failed(&self) -> Error {
        let mut failed = self.failed.subscribe();
        match failed.wait_for(Option::is_some).await.map(|e| e.clone()) {
            Ok(Some(error)) => error,
            _ => closed(),
        }
    }

    /// True after a failed append.
    pub fn has_failed(&self) -> bool {
        self.failed.borrow().is_some()
    }

    async fn next_batch(&self) -> Option<Vec<Unit>> {
        loop {
            let submitted = self.submitted.notified();
            {
                let mut pending = self.pending.lock();
                if !pending.units.is_empty() {
                    return Some(take_batch(&mut pending.units));
                }
                if pending.closing {
                    return None;
                }
            }
            submitted.await;
        }
    }
}

/// What a commit leads to is carried out by the broker.
pub trait Committed: Send + Sync {
    /// Records were stored there and may be delivered.
    fn stored(&self, placed: Vec<(Placed, Place)>);
    /// Records could not be stored.
    fn lost(&self, placed: Vec<Placed>);
    /// So many bytes are in the journal after position `upto`'s entry; a snapshot may be due.
    fn wrote(&self, upto: Pos, bytes: usize);
}

/// Writes what is submitted until the committer is closed and empty. Gives the writer back.
pub async fn run(
    committer: Arc<Committer>,
    mut writer: Box<dyn JournalWriter>,
    max_entry: usize,
    mut trims: tokio::sync::mpsc::Receiver<Vec<Range<Pos>>>,
    to: Arc<dyn Committed>,
) {
    let mut batch_no = 0;
    loop {
        let units = tokio::select! { biased;
            Some(dead) = trims.recv() => {
                if let Err(error) = writer.trim(&dead).await {
                    tracing::warn!(%error, "dead journal segments could not be removed");
                }
                continue;
            }
            units = committer.next_batch() => units,
        };
        let Some(units) = units else { return };
        batch_no += 1;
        let entries = encode(&units, max_entry, batch_no);
        let bytes = entries.iter().map(Bytes::len).sum();
        let result = match committer.has_failed() {
            true => Err(StoreError::Unavailable("an earlier append failed".into())),
            false => append(&mut *writer, entries).await,
        };
        match result {
            Ok(first) => {
                committed(&committer, units, first, &*to);
                if bytes > 0 {
                    to.wrote(writer.tail(), bytes);
                }
            }
            Err(error) => failed(&committer, units, &error, &*to),
        }
    }
}

/// All parts one after another; the position of the first. Nothing to write has no position.
async fn append(
    writer: &mut dyn JournalWriter,
    entries: Vec<Bytes>,
) -> Result<Option<Pos>, StoreError> {
    let mut first = None;
    for entry in entries {
        let pos = writer.append(entry).await?;
        first = first.or(Some(pos));
    }
    Ok(first)
}

fn take_batch(units: &mut Vec<Unit>) -> Vec<Unit> {
    let mut bytes = 0;
    let fits = units
        .iter()
        .take_while(|unit| {
            bytes += unit.ops.len();
            bytes <= BATCH_BYTES
        })
        .count();
    if fits == units.len() {
        return std::mem::take(units);
    }
    units.drain(..fits.max(1)).collect()
}

/// The entries of these units: one, or several parts of one that is larger than an entry may be.
fn encode(units: &[Unit], max_entry: usize, batch_no: u64) -> Vec<Bytes> {
    let total: usize = units.iter().map(|unit| unit.ops.len() + 10).sum();
    if units.iter().all(|unit| unit.ops.is_empty()) {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(total + 1);
    out.u8(WHOLE);
    for unit in units.iter().filter(|unit| !unit.ops.is_empty()) {
        out.bytes(unit.ops.as_bytes());
    }
    let whole = Bytes::from(out);
    if whole.len() <= max_entry {
        return vec![whole];
    }
    let room = max_entry.saturating_sub(40).max(1);
    let count = (whole.len() - 1).div_ceil(room);
    (0..count)
        .map(|k| {
            let piece = whole.slice(1 + k * room..whole.len().min(1 + (k + 1) * room));
            let mut part = Vec::with_capacity(piece.len() + 40);
            part.u8(PART);
            part.varint(batch_no);
            part.varint(k as u64);
            part.varint(count as u64);
            part.extend_from_slice(&piece);
            part.into()
        })
        .collect()
}

/// Puts entries together again: whole ones pass, parts are kept until all are there.
#[derive(Default)]
pub struct Assembler {
    first: Pos,
    batch_no: u64,
    next: u64,
    parts: BytesMut,
}

impl Assembler {
    /// Takes the next entry. When that completes one: the position of its first part, and its operations.
    pub fn take(&mut self, entry: JournalEntry) -> Result<Option<(Pos, Vec<Op>)>, StoreError> {
        let damaged = |detail: &str| StoreError::Corrupt { at: entry.pos, detail: detail.into() };
        let mut bytes = entry.bytes.clone();
        match bytes.take_u8() {
            Some(WHOLE) => {
                let ops = units(bytes).ok_or_else(|| damaged("operations cannot be read"))?;
                Ok(Some((entry.pos, ops)))
            }
            Some(PART) => {
                let header =
                    (|| Some((bytes.take_varint()?, bytes.take_varint()?, bytes.take_varint()?)))();
                let (batch, k, n) = header.ok_or_else(|| damaged("part without a header"))?;
                if k == 0 {
                    // Parts of a batch that was never finished are forgotten: it was not acknowledged.
                    *self = Self { first: entry.pos, batch_no: batch, ..Self::default() };
                }
                if batch != self.batch_no || k != self.next {
                    return Err(damaged("part out of order"));
                }
                self.next += 1;
                self.parts.put(bytes);
                if self.next < n {
                    return Ok(None);
                }
                let whole = std::mem::take(self);
                let ops = units(whole.parts.freeze());
                let ops = ops.ok_or_else(|| damaged("operations cannot be read"))?;
                Ok(Some((whole.first, ops)))
            }
            _ => Err(damaged("unknown kind of entry")),
        }
    }
}

fn units(mut bytes: Bytes) -> Option<Vec<Op>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        for op in ops::read(bytes.take_bytes()?) {
            all.push(op?);
        }
    }
    Some(all)
}

/// The messages at these places, in the order asked for.
pub async fn fetch(store: &dyn Store, places: &[Place]) -> Result<Vec<Message>, StoreError> {
    let mut entries: BTreeMap<u64, Vec<Message>> = BTreeMap::new();
    for pos in places.iter().map(|p| p.pos).collect::<std::collections::BTreeSet<_>>() {
        let mut assembler = Assembler::default();
        let mut at = Pos(pos);
        let ops = loop {
            let bytes = store.fetch(JournalId::Meta, &[at]).await?.into_iter().next();
            let bytes = bytes.ok_or(StoreError::Truncated { first: Pos(at.0 + 1) })?;
            let entry = JournalEntry { pos: at, epoch: crate::store::Epoch(0), bytes };
            match assembler.take(entry)? {
                Some((_, ops)) => break ops,
                None => at = Pos(at.0 + 1),
            }
        };
        let messages = ops.into_iter().filter_map(|op| match op {
            Op::Record { message, .. } | Op::Spilled { message } => Some(message),
            _ => None,
        });
        entries.insert(pos, messages.collect());
    }
    let find = |place: &Place| {
        let messages = entries.get(&place.pos)?;
        messages.get(place.index as usize).cloned()
    };
    let missing = |place: &Place| StoreError::Corrupt {
        at: Pos(place.pos),
        detail: format!("no record {}", place.index),
    };
    places.iter().map(|place| find(place).ok_or_else(|| missing(place))).collect()
}

fn committed(committer: &Committer, units: Vec<Unit>, first: Option<Pos>, to: &dyn Committed) {
    let pos = first.unwrap_or_default().0;
    let mut base = 0;
    let mut placed = Vec::new();
    let mut tell = Vec::with_capacity(units.len());
    for unit in units {
        let records = unit.ops.records();
        placed.extend(unit.placed.into_iter().map(|p| {
            let place = Place { pos, index: base + p.index };
            (p, place)
        }));
        base += records;
        tell.push((unit.ticket, unit.done));
    }
    if !placed.is_empty() {
        *committer.live.lock().entry(pos).or_default() += placed.len() as u32;
        to.stored(placed);
    }
    for (ticket, done) in tell {
        if let Some(ticket) = ticket {
            resolve(ticket);
        }
        if let Some(done) = done {
            // Whoever asked may be gone.
            let _ = done.send(Ok(()));
        }
    }
}

fn resolve(ticket: Ticket) {
    let Ticket { inbox, confirms, bytes } = ticket;
    let confirmed = !confirms.is_empty();
    if confirmed {
        inbox.confirm(confirms);
    }
    inbox.uncommitted.fetch_sub(bytes, Ordering::AcqRel);
    let last = inbox.outstanding.fetch_sub(1, Ordering::AcqRel) == 1;
    if confirmed || last || inbox.held.load(Ordering::Acquire) {
        inbox.wake();
    }
}

fn failed(committer: &Committer, units: Vec<Unit>, error: &StoreError, to: &dyn Committed) {
    let error = Error::new(ErrorKind::Unavailable, format!("the store failed: {error}"));
    committer.failed.send_if_modified(|known| {
        let is_first = known.is_none();
        known.get_or_insert_with(|| error.clone());
        is_first
    });
    for unit in units {
        to.lost(unit.placed);
        if let Some(mut ticket) = unit.ticket {
            for confirm in &mut ticket.confirms {
                // What would have come back comes back: nothing of it was to be stored.
                if matches!(confirm.confirmed, Confirmed::Stored) {
                    confirm.confirmed = Confirmed::Refused(error.clone());
                }
            }
            resolve(ticket);
        }
        if let Some(done) = unit.done {
            // Whoever asked may be gone.
            let _ = done.send(Err(error.clone()));
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the broker is closing")
}
