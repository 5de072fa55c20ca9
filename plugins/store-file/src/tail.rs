//! What stands behind the last whole entry of the open segment, and what it can be. A write that a crash interrupted
//! leaves zeros where sectors did not reach the disk, because segments are zeros before they are used. A record without
//! such a gap was written to its end: when its checksum does not match all the same, it was damaged later.

use crate::layout::{MAX_ENTRY, RECORD_HEADER, RecordHeader};
use crate::window::Extent;
use crc32c::crc32c_append;
use std::io;
use std::ops::Range;

/// Bytes that a disk writes as a whole, at least.
const SECTOR: u64 = 512;

/// A write that ended within a sector leaves zeros up to the record's end. An entry may end with zeros of its own: up
/// to this many are tried, whether other bytes in their place make the checksum right.
const TRIED_ZEROS: usize = 2;

/// Bytes behind the last whole entry that are not zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// From the end of the last whole entry to behind the last byte that is not zero.
    pub bytes: Range<u64>,
    /// The first record there was written to its end, and is damaged. Otherwise nobody can tell: an unfinished write
    /// leaves the same as damage to a record that has zeros in it.
    pub was_whole: bool,
}

/// What stands in this extent from `end` on; none: zeros.
pub fn look(extent: &Extent<'_>, end: u64) -> io::Result<Option<TornTail>> {
    let dirty = extent.dirty_end(end)?;
    if dirty <= end {
        return Ok(None);
    }
    let mut head = [0; RECORD_HEADER];
    let read = extent.file.read_at(end, &mut head)?;
    let header = RecordHeader::read(head.get(..read).unwrap_or_default(), extent.salt);
    let length = header.map_or(0, |header| header.length as usize);
    let record = end..end.saturating_add((RECORD_HEADER + length) as u64);
    let mut was_whole = false;
    if length <= MAX_ENTRY && record.end <= extent.end {
        let mut bytes = vec![0; RECORD_HEADER + length];
        let is_there = extent.file.read_at(end, &mut bytes)? == bytes.len();
        was_whole = is_there
            && has_no_gap(&bytes, end)
            && !ends_early(&mut bytes, header.as_ref(), extent.salt);
    }
    Ok(Some(TornTail { bytes: end..dirty, was_whole }))
}

/// Whether each sector has some of these bytes, which begin at this offset: no part of them can be one that did not
/// reach the disk.
fn has_no_gap(record: &[u8], at: u64) -> bool {
    // A start that was interrupted while it cut the record off has begun with its first byte.
    if record.first() == Some(&0) {
        return false;
    }
    let to_border = usize::try_from(SECTOR - at % SECTOR).unwrap_or(0).min(record.len());
    let (first, rest) = record.split_at_checked(to_border).unwrap_or_default();
    let mut sectors = std::iter::once(first).chain(rest.chunks(SECTOR as usize));
    sectors.all(|sector| sector.iter().any(|byte| *byte != 0))
}

/// Whether the zeros at the end of a record may be bytes that were not written any more.
fn ends_early(record: &mut [u8], header: Option<&RecordHeader>, salt: u32) -> bool {
    let zeros = record.iter().rev().take_while(|byte| **byte == 0).count();
    let Some(header) = header.filter(|_| zeros <= TRIED_ZEROS) else { return zeros > 0 };
    let end = record.len().saturating_sub(zeros);
    let Some((written, missing)) = record.split_at_mut_checked(end) else { return true };
    let Some(crc) = RecordHeader::sum(written, salt) else { return true };
    (0..1u32 << (8 * zeros)).any(|tried| {
        missing.iter_mut().zip(tried.to_le_bytes()).for_each(|(byte, to)| *byte = to);
        crc32c_append(crc, missing) == header.crc
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::faulty::FaultyDisk;
    use crate::layout::FIRST_RECORD;

    const SALT: u32 = 7;
    const CAPACITY: u64 = 32 << 10;

    /// The first record of a segment with this body, changed so.
    fn found(body: &[u8], change: impl FnOnce(&mut [u8])) -> Option<TornTail> {
        let header = RecordHeader { length: 0, prev_crc: 1, pos: 1, epoch: 1, durable: 0, crc: 0 };
        let (mut record, _) = header.record(SALT, body);
        change(&mut record);
        let disk = FaultyDisk::default();
        let file = disk.create("x").expect("created");
        file.write_at(0, &vec![0; CAPACITY as usize]).expect("written");
        file.write_at(FIRST_RECORD, &record).expect("written");
        let extent = Extent { file: &*file, salt: SALT, end: CAPACITY };
        look(&extent, FIRST_RECORD).expect("readable")
    }

    fn was_whole(body: &[u8], change: impl FnOnce(&mut [u8])) -> bool {
        found(body, change).expect("not all zeros").was_whole
    }

    #[test]
    fn what_was_written_to_its_end_is_told_from_what_was_not() {
        let body = vec![5; 3000];
        // Bytes of the body, of the header, and its length.
        assert!(was_whole(&body, |record| record[1000..1010].fill(77)));
        assert!(was_whole(&body, |record| record[16..26].fill(77)));
        assert!(was_whole(&body, |record| record[5] ^= 1));
        // Any sector that is missing.
        for sector in 0..6 {
            let part = |record: &mut [u8]| {
                let end = record.len().min(sector * 512 + 512);
                record[sector * 512..end].fill(0);
            };
            assert!(!was_whole(&body, part), "{sector}");
        }
        // The end of a write that stopped within a sector.
        for end in [1000, 2900, 3045, 3046, 3047] {
            assert!(!was_whole(&body, |record| record[end..].fill(0)), "{end}");
        }
        // What a start has begun to cut off.
        assert!(!was_whole(&body, |record| record[..20].fill(0)));
        // A body that has a sector of zeros says nothing.
        let zeros = vec![0; 3000];
        assert!(!was_whole(&zeros, |record| record[1000..1010].fill(77)));
        // One that ends with some does.
        let mut body = vec![5; 3000];
        body[2998..].fill(0);
        assert!(was_whole(&body, |record| record[1000..1010].fill(77)));
        assert_eq!(found(&body, |record| record.fill(0)), None);
    }
}
