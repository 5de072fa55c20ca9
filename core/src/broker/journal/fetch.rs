//! Messages that are read back from the journal. An entry that cannot be read is logged, and the others are still read.

use super::entry::Assembler;
use super::spilled::{FIRST_PIECE, read_piece};
use crate::broker::operations::ops::Op;
use crate::log::Place;
use crate::message::Message;
use crate::store::{Epoch, JournalEntry, JournalId, Pos, Store, StoreError};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Journal entries that are in memory at once.
const ENTRIES: usize = 4;

/// The messages at these places, in the order asked for; none for those that cannot be read.
pub async fn fetch(store: &dyn Store, places: &[Place]) -> Vec<Option<Message>> {
    let fetched = fetch_back(store, places).await;
    fetched.report();
    fetched.messages
}

/// Messages that were to be read back.
pub struct Fetched {
    /// In the order asked for; none for those that cannot be read.
    pub messages: Vec<Option<Message>>,
    /// Why; and whether they had left memory without being stored.
    unread: Vec<(bool, StoreError)>,
}

impl Fetched {
    /// The store does not answer, because it stops: nothing is known of what it has.
    pub fn is_refused(&self) -> bool {
        self.unread
            .iter()
            .any(|(is_spilled, error)| !is_spilled && matches!(error, StoreError::Unavailable(_)))
    }

    /// Says what cannot be read.
    pub fn report(&self) {
        for (is_spilled, error) in &self.unread {
            match is_spilled {
                false => tracing::error!(
                    %error,
                    "cannot read an entry of the journal: the messages in it cannot be delivered"
                ),
                true => tracing::error!(
                    %error,
                    "cannot read back messages that had left memory: they are lost, as in a crash"
                ),
            }
        }
    }
}

/// The same for whoever finds out first whether the messages are wanted still: those that were settled meanwhile are
/// gone, and their entries with them.
pub async fn fetch_back(store: &dyn Store, places: &[Place]) -> Fetched {
    let unread = Mutex::new(Vec::new());
    let note = |is_spilled, error| unread.lock().push((is_spilled, error));
    let messages = read(store, places, &note).await;
    Fetched { messages, unread: unread.into_inner() }
}

/// The same for whoever only looks: the messages may be gone by now, and their places with them. That is no news.
pub async fn fetch_if_there(store: &dyn Store, places: &[Place]) -> Vec<Option<Message>> {
    read(store, places, &|_, _| {}).await
}

/// `report` is told what cannot be read, and whether that had left memory without being stored.
async fn read(
    store: &dyn Store,
    places: &[Place],
    report: &(dyn Fn(bool, StoreError) + Sync),
) -> Vec<Option<Message>> {
    let mut wanted: BTreeMap<u64, Vec<(u32, usize)>> = BTreeMap::new();
    for (at, place) in places.iter().enumerate() {
        wanted.entry(place.pos).or_default().push((place.index, at));
    }
    let mut found = vec![None; places.len()];
    // What was not stored stands behind all positions of the journal.
    let pieces = wanted.split_off(&FIRST_PIECE);
    let wanted: Vec<(u64, Vec<(u32, usize)>)> = wanted.into_iter().collect();
    for some in wanted.chunks(ENTRIES) {
        let positions: Vec<Pos> = some.iter().map(|(pos, _)| Pos(*pos)).collect();
        // One damaged entry fails the whole call: then each is read on its own.
        let mut entries = store.fetch(JournalId::Meta, &positions).await.unwrap_or_default();
        entries.resize(some.len(), Bytes::new());
        for ((pos, records), bytes) in some.iter().zip(entries) {
            match read_entry(store, Pos(*pos), bytes).await {
                Ok(ops) => pick(messages(ops), records, &mut found),
                Err(error) => report(false, error),
            }
        }
    }
    for (pos, records) in pieces {
        match read_piece(store, pos).await {
            Ok(ops) => pick(messages(ops), &records, &mut found),
            Err(error) => report(true, error),
        }
    }
    found
}

/// The records of an entry. `bytes` are its first part's, when they are known.
async fn read_entry(store: &dyn Store, pos: Pos, bytes: Bytes) -> Result<Vec<Op>, StoreError> {
    let (mut assembler, mut at, mut known) = (Assembler::default(), pos, bytes);
    loop {
        if known.is_empty() {
            let read = store.fetch(JournalId::Meta, &[at]).await?.into_iter().next();
            known = read.ok_or(StoreError::Truncated { first: Pos(at.0 + 1) })?;
        }
        let bytes = std::mem::take(&mut known);
        match assembler.take(JournalEntry { pos: at, epoch: Epoch(0), bytes })? {
            Some((_, _, ops)) => return Ok(ops),
            None => at = Pos(at.0 + 1),
        }
    }
}

/// The records among them, in their order.
fn messages(ops: Vec<Op>) -> Vec<Message> {
    let message = |op| match op {
        Op::Record { message, .. } | Op::Spilled { message } | Op::Rewritten { message, .. } => {
            Some(message)
        }
        _ => None,
    };
    ops.into_iter().filter_map(message).collect()
}

/// Takes the records that are wanted. Few of many are copied, so that they do not keep the whole entry in memory.
fn pick(messages: Vec<Message>, records: &[(u32, usize)], found: &mut [Option<Message>]) {
    let few = records.len() < messages.len() / 2;
    for (index, at) in records {
        let message = messages.get(*index as usize);
        let message = message.map(|m| if few { m.detached() } else { m.clone() });
        if let Some(place) = found.get_mut(*at) {
            *place = message;
        }
    }
}
