//! The bytes around units: what an entry of the journal is.
//!
//! ```text
//! entry = kind(whole | part k of n) unit*        unit = length ops
//! ```

use super::unit::Unit;
use crate::broker::operations::known::Known;
use crate::broker::operations::ops::{self, Op};
use crate::message::wire::{Put, Take};
use crate::store::{JournalEntry, Pos, StoreError};
use bytes::{BufMut, Bytes, BytesMut};

const WHOLE: u8 = 0;
const PART: u8 = 1;

/// The entries of these units: one, or several parts of one that is larger than an entry may be.
pub fn encode(units: &[Unit], max_entry: usize, batch_no: u64) -> Vec<Bytes> {
    let total: usize = units.iter().map(|unit| unit.ops.len() + 10).sum();
    if units.iter().all(|unit| unit.ops.is_empty()) {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(total + 1);
    out.u8(WHOLE);
    for unit in units.iter().filter(|unit| !unit.ops.is_empty()) {
        out.bytes(unit.ops.as_bytes());
    }
    let entry = Bytes::from(out);
    if entry.len() <= max_entry {
        return vec![entry];
    }
    let part_bytes = max_entry.saturating_sub(40).max(1);
    let count = (entry.len() - 1).div_ceil(part_bytes);
    (0..count)
        .map(|k| {
            let piece = entry.slice(1 + k * part_bytes..entry.len().min(1 + (k + 1) * part_bytes));
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

/// Puts entries together again: a whole one is returned at once, parts are held until the last one has come.
#[derive(Default)]
pub struct Assembler {
    first: Pos,
    batch_no: u64,
    next: u64,
    parts: BytesMut,
    known: Known,
}

impl Assembler {
    /// Takes the next entry. When that completes one: the position of its first part, how many parts it has, and its
    /// operations.
    pub fn take(&mut self, entry: JournalEntry) -> Result<Option<(Pos, u32, Vec<Op>)>, StoreError> {
        let damaged = |detail: &str| StoreError::Corrupt { at: entry.pos, detail: detail.into() };
        let mut bytes = entry.bytes.clone();
        match bytes.take_u8() {
            Some(WHOLE) => {
                let ops = units(bytes, &mut self.known)
                    .ok_or_else(|| damaged("operations cannot be read"))?;
                Ok(Some((entry.pos, 1, ops)))
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
                let complete = std::mem::take(self);
                let ops = units(complete.parts.freeze(), &mut self.known);
                let ops = ops.ok_or_else(|| damaged("operations cannot be read"))?;
                Ok(Some((complete.first, u32::try_from(n).unwrap_or(u32::MAX), ops)))
            }
            _ => Err(damaged("unknown kind of entry")),
        }
    }
}

fn units(mut bytes: Bytes, known: &mut Known) -> Option<Vec<Op>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        for op in ops::read_more(bytes.take_bytes()?, known) {
            all.push(op?);
        }
    }
    Some(all)
}
