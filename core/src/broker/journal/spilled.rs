//! What has left memory without being stored: pieces in the store's spill files. A record there has a place as one in
//! the journal has; the position is the piece's number, above all positions of a journal.

use super::entry::{Assembler, encode};
use super::unit::Unit;
use crate::broker::operations::ops::{Op, Ops};
use crate::store::{Epoch, JournalEntry, Pos, Spill, Store, StoreError};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Positions from here on are pieces of the spill files. A journal has fewer than 2⁶³ entries.
pub const FIRST_PIECE: u64 = 1 << 63;

/// True for the position of a piece.
pub fn is_piece(pos: u64) -> bool {
    pos >= FIRST_PIECE
}

/// How many living records each piece has.
pub struct Spilled {
    store: Arc<dyn Store>,
    living: Mutex<FxHashMap<u64, u32>>,
}

impl Spilled {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, living: Mutex::default() }
    }

    /// False: what is to leave memory has to be written to the journal.
    pub fn is_there(&self) -> bool {
        self.store.spill().is_some()
    }

    /// Writes records as one piece, and returns its position. All of them live then.
    pub async fn put(&self, ops: Ops) -> Result<u64, StoreError> {
        let records = ops.records();
        let piece = encode(&[Unit::of(ops)], usize::MAX, 0).pop().unwrap_or_default();
        let pos = FIRST_PIECE + spill(&*self.store)?.put(piece).await?;
        self.living.lock().insert(pos, records);
        Ok(pos)
    }

    /// A record of that piece is not needed any more.
    pub fn free(&self, pos: u64) {
        let mut living = self.living.lock();
        let Some(records) = living.get_mut(&pos) else { return };
        *records = records.saturating_sub(1);
        if *records == 0 {
            living.remove(&pos);
            drop(living);
            if let Some(spill) = self.store.spill() {
                spill.free(pos - FIRST_PIECE);
            }
        }
    }
}

/// The records of the piece at that position.
pub async fn read_piece(store: &dyn Store, pos: u64) -> Result<Vec<Op>, StoreError> {
    let bytes = spill(store)?.get(pos.saturating_sub(FIRST_PIECE)).await?;
    let entry = JournalEntry { pos: Pos(pos), epoch: Epoch(0), bytes };
    let read = Assembler::default().take(entry)?;
    Ok(read.map(|(_, _, ops)| ops).unwrap_or_default())
}

fn spill(store: &dyn Store) -> Result<&dyn Spill, StoreError> {
    let missing = || StoreError::Unavailable("the store has no spill files".into());
    store.spill().ok_or_else(missing)
}
