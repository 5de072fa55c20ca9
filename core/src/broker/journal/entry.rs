//! The bytes around units: what an entry of the journal is.
//!
//! ```text
//! entry = kind(whole | part k of n) unit*        unit = length ops
//! ```

use super::unit::Unit;
use crate::broker::operations::known::Known;
use crate::broker::operations::ops::{self, Op};
use crate::message::wire::{Put, Take};
use crate::rope::Rope;
use crate::store::{JournalEntry, Pos, StoreError};
use bytes::{BufMut, Bytes, BytesMut};

const WHOLE: u8 = 0;
const PART: u8 = 1;

/// Bytes that are reserved at most for the parts that a part says to follow.
const PARTS_RESERVED_MAX: usize = 1 << 30;

/// The entries of these units: one, or several parts of one that is larger than an entry may be.
pub fn encode(units: &[Unit], max_entry: usize, batch_no: u64) -> Vec<Rope> {
    let total: usize = units.iter().map(|unit| unit.ops.copied_len() + 10).sum();
    if units.iter().all(|unit| unit.ops.is_empty()) {
        return Vec::new();
    }
    let mut entry = Rope::from(Vec::with_capacity(total + 1));
    entry.end().u8(WHOLE);
    for unit in units.iter().filter(|unit| !unit.ops.is_empty()) {
        entry.end().varint(unit.ops.len() as u64);
        entry.extend(unit.ops.bytes());
    }
    let len = entry.len();
    if len <= max_entry {
        return vec![entry];
    }
    let part_bytes = max_entry.saturating_sub(40).max(1);
    let count = (len - 1).div_ceil(part_bytes);
    (0..count)
        .map(|k| {
            let mut part = Rope::default();
            part.end().u8(PART);
            part.end().varint(batch_no);
            part.end().varint(k as u64);
            part.end().varint(count as u64);
            part.extend_from(&entry, 1 + k * part_bytes..len.min(1 + (k + 1) * part_bytes));
            part
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
                if k == 0 {
                    // All parts but the last are of this length: the bytes are not moved while they grow.
                    let all = usize::try_from(n).unwrap_or(usize::MAX).saturating_mul(bytes.len());
                    self.parts.reserve(all.min(PARTS_RESERVED_MAX));
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::operations::ops::Ops;
    use crate::message::{Address, FormatId, Message, Meta, Native, Timestamp};

    /// However large a body is, it is not copied on its way to the store, and comes back.
    #[test]
    fn a_large_body_is_not_copied() {
        let body = Bytes::from(vec![7; 300_000]);
        let meta = Meta::new(Default::default(), Timestamp(5));
        let native = Native { format: FormatId(1), bytes: Bytes::new() };
        let message = Message::new(Address::queue("q"), meta, native, body.clone());
        let mut ops = Ops::default();
        ops.spilled(&message);
        let first = ops.len();
        ops.spilled(&message);
        let units = [Unit::of(ops)];
        for max_entry in [1 << 20, 100_000] {
            let entries = encode(&units, max_entry, 3);
            let (from, to) = (body.as_ptr() as usize, body.as_ptr() as usize + body.len());
            let pieces = entries.iter().flat_map(Rope::pieces);
            let there = pieces.filter(|piece| (from..to).contains(&(piece.as_ptr() as usize)));
            let kept: usize = there.map(<[u8]>::len).sum();
            // The body's end may stand in the next part, small enough to be copied.
            assert!(kept > 2 * (body.len() - 40_000), "{kept} of {first}");
            let mut assembler = Assembler::default();
            let mut ops = Vec::new();
            for (pos, entry) in (1..).zip(entries) {
                assert!(entry.len() <= max_entry);
                let (pos, epoch, bytes) = (Pos(pos), crate::store::Epoch(1), entry.into_bytes());
                let taken = assembler.take(JournalEntry { pos, epoch, bytes }).expect("whole");
                ops.extend(taken.into_iter().flat_map(|(.., ops)| ops));
            }
            let bodies = ops.iter().map(|op| match op {
                Op::Spilled { message } => message.body().clone(),
                other => panic!("{other:?}"),
            });
            assert_eq!(bodies.collect::<Vec<_>>(), [body.clone(), body.clone()]);
        }
    }
}
