//! The bytes of how records come and go otherwise than by being published and consumed, and of what queues have
//! counted: docs/STORE.md, codes 30 to 33.

use super::ops::Op;
use crate::exchange::LogId;
use crate::log::Offset;
use crate::message::wire::{Put, Take};
use crate::store::Pos;
use crate::subscription::{CameBy, LeftBy, Tally};
use bytes::Bytes;

/// A settle of records that were consumed.
pub const CONSUMED: u8 = 3;
/// The same of records that left otherwise.
pub const LEFT: u8 = 30;
/// Of a snapshot: what a queue has counted of its durable records, up to a position.
pub const COUNTS: u8 = 31;
/// What a queue has counted of its transient records.
pub const TRANSIENT_COUNTS: u8 = 32;
/// A record that came otherwise than its message tells.
pub const CAME: u8 = 33;

/// Records that are done with.
pub fn put_settle(out: &mut Vec<u8>, queue: LogId, by: LeftBy, offsets: &[Offset]) {
    match by {
        LeftBy::Consumed => out.u8(CONSUMED),
        _ => (out.u8(LEFT), out.u8(by as u8)).1,
    }
    out.varint(queue.0);
    out.varint(offsets.len() as u64);
    let mut last = 0;
    for offset in offsets {
        out.signed(offset.0.wrapping_sub(last) as i64);
        last = offset.0;
    }
}

/// Reads the rest of one.
pub fn take_settle(input: &mut Bytes, by: LeftBy) -> Option<Op> {
    let queue = LogId(input.take_varint()?);
    let count: usize = input.take_number()?;
    let mut offsets = Vec::with_capacity(count.min(input.len()));
    let mut last = 0u64;
    for _ in 0..count {
        last = last.wrapping_add(input.take_signed()? as u64);
        offsets.push(Offset(last));
    }
    Some(Op::Settle { queue, by, offsets })
}

/// How a record came. None: a number that means nothing.
pub fn take_came(input: &mut Bytes) -> Option<CameBy> {
    CameBy::ALL.get(usize::from(input.take_u8()?)).copied()
}

/// What a queue has counted up to that position of the journal.
pub fn put_counts(out: &mut Vec<u8>, queue: LogId, upto: u64, tally: &Tally) {
    out.u8(COUNTS);
    out.varint(queue.0);
    out.varint(upto);
    put_tally(out, tally);
}

/// What a queue has counted of what is not stored.
pub fn put_transient_counts(out: &mut Vec<u8>, queue: LogId, tally: &Tally) {
    out.u8(TRANSIENT_COUNTS);
    out.varint(queue.0);
    put_tally(out, tally);
}

/// Only what there is: code and count.
fn put_tally(out: &mut Vec<u8>, tally: &Tally) {
    let came = CameBy::ALL.iter().filter(|by| tally.came(**by) > 0);
    let left = LeftBy::ALL.iter().filter(|by| tally.left(**by) > 0);
    out.varint(came.clone().count() as u64);
    came.for_each(|by| (out.u8(*by as u8), out.varint(tally.came(*by))).1);
    out.varint(left.clone().count() as u64);
    left.for_each(|by| (out.u8(*by as u8), out.varint(tally.left(*by))).1);
}

fn take_tally(input: &mut Bytes) -> Option<Tally> {
    let mut tally = Tally::default();
    for _ in 0..input.take_varint()? {
        let by = take_came(input)?;
        tally.add_came(by, input.take_varint()?);
    }
    for _ in 0..input.take_varint()? {
        let by = LeftBy::of(input.take_u8()?)?;
        tally.add_left(by, input.take_varint()?);
    }
    Some(tally)
}

/// Reads an operation of these codes.
pub fn take_op(code: u8, input: &mut Bytes) -> Option<Op> {
    match code {
        CONSUMED => take_settle(input, LeftBy::Consumed),
        LEFT => {
            let by = LeftBy::of(input.take_u8()?)?;
            take_settle(input, by)
        }
        COUNTS => {
            let (queue, upto) = (LogId(input.take_varint()?), Pos(input.take_varint()?));
            Some(Op::Counts { queue, upto, tally: take_tally(input)? })
        }
        TRANSIENT_COUNTS => {
            let queue = LogId(input.take_varint()?);
            Some(Op::TransientCounts { queue, tally: take_tally(input)? })
        }
        _ => None,
    }
}
