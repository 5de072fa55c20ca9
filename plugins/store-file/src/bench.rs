//! What the micro-benchmarks see of this crate beside the store: how a record is written. Not an API: it is compiled
//! with the feature `bench` only.

use crate::layout::RecordHeader;
use crossdock_core::Rope;

/// Appends an entry's record to `out`: header, checksums, body, padding. The checksum of all of it.
pub fn put_record(entry: &Rope, out: &mut Rope) -> u32 {
    const SALT: u32 = 0x5EED_5A17;
    let header = RecordHeader { length: 0, prev_crc: 7, pos: 9, epoch: 2, durable: 8, crc: 0 };
    header.put(SALT, entry, out)
}
