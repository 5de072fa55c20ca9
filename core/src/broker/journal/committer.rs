//! The one writer of the journal. Sessions submit [`Unit`]s; the committer takes all that came while the previous
//! append was on its way, appends them as one entry, and then makes their records deliverable and resolves their
//! confirms. A failed append is final: nothing is acknowledged any more.

use super::entry::encode;
use super::spilled::{Spilled, is_piece};
use super::unit::{Placed, Ticket, Unit, WriteReason};
use crate::broker::door::events::ConfirmOutcome;
use crate::broker::operations::ops::Ops;
use crate::error::{Error, ErrorKind};
use crate::log::Place;
use crate::rope::Rope;
use crate::store::{JournalWriter, Pos, StoreError};
use crate::subscription::{QueueCounts, Side, Tally};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Bytes that one append takes at most; the rest goes with the next.
const BATCH_BYTES: usize = 4 << 20;
/// Records of queues that one append takes at most, about: all of them are made deliverable before the next one.
const BATCH_RECORDS: usize = 4_096;
/// Records that are let go under one lock.
const FREED_AT_ONCE: usize = 4_096;

/// Entries of the journal that are looked at with their lock held.
const LIVE_SLICE: usize = 10_000;

/// Units that wait to be written, and how many living records each entry of the journal has.
pub struct Committer {
    pending: Mutex<Pending>,
    submitted: Notify,
    live: Mutex<BTreeMap<u64, Live>>,
    /// The entry up to which queues have counted what is stored. They count under this lock, entry by entry.
    counted: Mutex<Pos>,
    /// Records that have left memory without being stored.
    pub spilled: Spilled,
    failed: watch::Sender<Option<Error>>,
}

/// What of an entry, named by its first part, is still needed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Live {
    pub records: u32,
    /// Parts that the entry has.
    pub parts: u32,
}

#[derive(Default)]
struct Pending {
    units: VecDeque<Unit>,
    closing: bool,
}

impl Committer {
    /// A committer whose journal ends there and holds these living records.
    pub fn new((live, tail): (BTreeMap<u64, Live>, Pos), spilled: Spilled) -> Self {
        Self {
            pending: Mutex::default(),
            submitted: Notify::new(),
            live: Mutex::new(live),
            counted: Mutex::new(tail),
            spilled,
            failed: watch::channel(None).0,
        }
    }

    /// Hands a unit over. Units are stored in the order of these calls.
    pub fn submit(&self, unit: Unit) {
        let is_empty = unit.ops.is_empty() && unit.ops.freed.is_empty();
        if is_empty && unit.ticket.is_none() && unit.done.is_none() {
            return;
        }
        if let Some(ticket) = &unit.ticket {
            ticket.inbox.outstanding.fetch_add(1, Ordering::AcqRel);
            ticket.inbox.uncommitted.fetch_add(ticket.bytes, Ordering::AcqRel);
        }
        self.pending.lock().units.push_back(unit);
        self.submitted.notify_one();
    }

    /// Hands over a unit of operations without records.
    pub fn submit_ops(&self, ops: Ops) {
        self.submit(Unit::of(ops));
    }

    /// Resolves when everything submitted so far is stored.
    pub async fn sync(&self, unit: Unit) -> Result<(), Error> {
        let (done, stored) = oneshot::channel();
        self.submit(Unit { done: Some(done), ..unit });
        stored.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Ends the committer's task as soon as all that was submitted is stored.
    pub fn close(&self) {
        self.pending.lock().closing = true;
        self.submitted.notify_one();
    }

    /// Records at these places are not needed any more.
    pub fn free(&self, places: &[Place]) {
        if places.is_empty() {
            return;
        }
        for some in places.chunks(FREED_AT_ONCE) {
            let mut live = self.live.lock();
            for place in some {
                if is_piece(place.pos) {
                    self.spilled.free(place.pos);
                } else if let Some(entry) = live.get_mut(&place.pos) {
                    entry.records -= 1;
                    if entry.records == 0 {
                        live.remove(&place.pos);
                    }
                }
            }
        }
    }

    /// What a queue has counted of what is stored, and up to which entry.
    pub fn counted(&self, counts: &QueueCounts) -> (Pos, Tally) {
        let upto = self.counted.lock();
        (*upto, counts.tally(Side::Stored))
    }

    /// Counts what an entry says that came to queues and left them. Before its records can be delivered, so that none
    /// leaves in an entry that is counted before the one that it came with.
    fn count(&self, units: &[Unit], pos: Pos) {
        let mut upto = self.counted.lock();
        for unit in units {
            for placed in &unit.placed {
                if let WriteReason::New(by) = placed.reason {
                    placed.queue.counts.came(Side::Stored, by, 1);
                }
            }
            for (counts, by, count) in &unit.ops.left {
                counts.left(Side::Stored, *by, *count);
            }
        }
        *upto = pos;
    }

    /// Positions below `upto` in which nothing lives. What dies between two slices is found the next time.
    pub async fn dead(&self, upto: Pos) -> Vec<Range<Pos>> {
        let (mut dead, mut from) = (Vec::new(), 1);
        loop {
            let slice: Vec<(u64, u32)> = {
                let live = self.live.lock();
                let entries = live.range(from.min(upto.0)..upto.0).take(LIVE_SLICE);
                entries.map(|(pos, entry)| (*pos, entry.parts)).collect()
            };
            if slice.is_empty() {
                break;
            }
            for (pos, parts) in slice {
                if pos > from {
                    dead.push(Pos(from)..Pos(pos));
                }
                from = pos + u64::from(parts.max(1));
            }
            tokio::task::yield_now().await;
        }
        if upto.0 > from {
            dead.push(Pos(from)..upto);
        }
        dead
    }

    /// Entries of several parts in which something lives, and how many parts they have: a slice of them from a
    /// position on, and where the next one begins.
    pub fn in_parts(&self, from: u64) -> (Vec<(u64, u32)>, Option<u64>) {
        let live = self.live.lock();
        let (mut found, mut looked) = (Vec::new(), 0);
        for (pos, entry) in live.range(from..) {
            if looked == LIVE_SLICE {
                return (found, Some(*pos));
            }
            looked += 1;
            if entry.parts > 1 {
                found.push((*pos, entry.parts));
            }
        }
        (found, None)
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
    /// `bytes` were appended to the journal, whose last entry is at `upto` now; a snapshot may be due.
    fn wrote(&self, upto: Pos, bytes: usize);
}

/// Writes what is submitted until the committer is closed and empty. Gives the writer back.
pub async fn run(
    committer: Arc<Committer>,
    mut writer: Box<dyn JournalWriter>,
    max_entry: usize,
    mut trims: mpsc::Receiver<Vec<Range<Pos>>>,
    to: Arc<dyn Committed>,
) {
    let mut batch_no = 0;
    loop {
        let units = tokio::select! { biased;
            Some(dead) = trims.recv() => {
                trim(&mut *writer, &dead).await;
                continue;
            }
            units = committer.next_batch() => units,
        };
        let Some(units) = units else { return };
        batch_no += 1;
        let entries = encode(&units, max_entry, batch_no);
        let bytes = entries.iter().map(Rope::len).sum();
        let parts = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let result = match committer.has_failed() {
            true => Err(StoreError::Unavailable("an earlier append failed".into())),
            false => append(&mut *writer, entries, &mut trims).await,
        };
        match result {
            Ok(first) => {
                committed(&committer, units, (first, parts), &*to);
                if bytes > 0 {
                    to.wrote(writer.tail(), bytes);
                }
            }
            Err(error) => failed(&committer, units, &error, &*to),
        }
    }
}

/// All parts one after another; the position of the first. Nothing to write has no position.
///
/// Trims go on meanwhile: an append may be waiting for the disk space that they give back.
async fn append(
    writer: &mut dyn JournalWriter,
    entries: Vec<Rope>,
    trims: &mut mpsc::Receiver<Vec<Range<Pos>>>,
) -> Result<Option<Pos>, StoreError> {
    let mut first = None;
    for entry in entries {
        let mut stored = writer.append(entry);
        let pos = loop {
            tokio::select! { biased;
                pos = &mut stored => break pos?,
                Some(dead) = trims.recv() => trim(writer, &dead).await,
            }
        };
        first = first.or(Some(pos));
    }
    Ok(first)
}

async fn trim(writer: &mut dyn JournalWriter, dead: &[Range<Pos>]) {
    if let Err(error) = writer.trim(dead).await {
        tracing::warn!(
            %error,
            "cannot remove parts of the journal that nothing needs any more: they take disk space until the \
             next trim, after a snapshot, succeeds"
        );
    }
}

fn take_batch(units: &mut VecDeque<Unit>) -> Vec<Unit> {
    let (mut bytes, mut records) = (0, 0);
    let fits = units
        .iter()
        .take_while(|unit| {
            bytes += unit.ops.len();
            records += unit.placed.len();
            bytes <= BATCH_BYTES && records <= BATCH_RECORDS
        })
        .count();
    if fits == units.len() {
        return std::mem::take(units).into();
    }
    units.drain(..fits.max(1)).collect()
}

fn committed(
    committer: &Committer,
    units: Vec<Unit>,
    (first, parts): (Option<Pos>, u32),
    to: &dyn Committed,
) {
    if let Some(pos) = first {
        committer.count(&units, pos);
    }
    let pos = first.unwrap_or_default().0;
    let mut base = 0;
    let mut placed = Vec::new();
    let mut tell = Vec::with_capacity(units.len());
    let mut freed = Vec::new();
    for mut unit in units {
        let records = unit.ops.records();
        freed.append(&mut unit.ops.freed);
        placed.extend(unit.placed.into_iter().map(|p| {
            let place = Place { pos, index: base + p.index };
            (p, place)
        }));
        base += records;
        tell.push((unit.ticket, unit.done));
    }
    if !placed.is_empty() {
        let live = Live { records: placed.len() as u32, parts };
        committer.live.lock().insert(pos, live);
        to.stored(placed);
    }
    // Not before: what a trim takes away must be done with on the disk, too.
    committer.free(&freed);
    for (ticket, done) in tell {
        if let Some(ticket) = ticket {
            resolve(ticket);
        }
        if let Some(done) = done {
            // An error: whoever waited for it is gone.
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
                // An unroutable message is still returned: nothing of it was to be stored.
                if matches!(confirm.confirmed, ConfirmOutcome::Stored) {
                    confirm.confirmed = ConfirmOutcome::Refused(error.clone());
                }
            }
            resolve(ticket);
        }
        if let Some(done) = unit.done {
            // An error: whoever waited for it is gone.
            let _ = done.send(Err(error.clone()));
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the broker is closing")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Committed for Nobody {
        fn stored(&self, _: Vec<(Placed, Place)>) {}
        fn lost(&self, _: Vec<Placed>) {}
        fn wrote(&self, _: Pos, _: usize) {}
    }

    #[tokio::test]
    async fn an_entry_is_dead_when_what_frees_it_is_stored() {
        let live = BTreeMap::from([(5, Live { records: 1, parts: 1 })]);
        let store = Arc::new(crate::memory::MemoryStore::default());
        let committer = Committer::new((live, Pos(8)), Spilled::new(store));
        // What frees it may be in a unit before.
        let mut ops = Ops::default();
        ops.freed.push(Place { pos: 5, index: 0 });
        committer.submit_ops(ops);
        assert_eq!(committer.dead(Pos(9)).await, [Pos(1)..Pos(5), Pos(6)..Pos(9)]);
        let units = take_batch(&mut committer.pending.lock().units);
        committed(&committer, units, (Some(Pos(9)), 1), &Nobody);
        assert_eq!(committer.dead(Pos(9)).await, [Pos(1)..Pos(9)]);
    }
}
