//! The bytes of segments, records and file names. Pure. All numbers are little-endian; docs/STORE.md has the tables.
//!
//! Magic, version and checksum keep their places in every later version, so that a newer file can be
//! distinguished from a damaged one.

use crc32c::{crc32c, crc32c_append};
use crossdock_core::Rope;

/// Version of every file this program writes.
pub const FORMAT: u32 = 1;
/// Records begin here; the page of the segment header is never written again.
pub const FIRST_RECORD: u64 = 4096;
/// Records begin at multiples of this.
pub const ALIGN: u64 = 8;
/// Bytes of a record before its body.
pub const RECORD_HEADER: usize = 48;
/// Bytes of a record's body at most, whatever the segment's size.
pub const MAX_ENTRY: usize = 4 << 20;
/// First bytes of every record; free space is zero.
pub const RECORD_MAGIC: [u8; 4] = *b"XDKE";

const SEGMENT_HEADER: usize = 64;
const SEGMENT_MAGIC: [u8; 8] = *b"XDKSEGMT";
const KIND_ENTRY: u32 = 1;

/// Why a header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// Undamaged, but of this newer version.
    Newer(u32),
    /// Undamaged, but the entries of the store may hold what this program does not know.
    NewerEntries(u32),
    Damaged(&'static str),
}

/// The first bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Position of the first record.
    pub first: u64,
    /// Epoch of the writer that began it.
    pub epoch: u64,
    /// Bytes of the file.
    pub capacity: u64,
    /// Checksum of the record before `first`.
    pub prev_crc: u32,
    /// The store's salt.
    pub salt: u32,
}

impl SegmentHeader {
    /// The header as bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER);
        out.extend_from_slice(&SEGMENT_MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(FIRST_RECORD as u32).to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.capacity.to_le_bytes());
        out.extend_from_slice(&self.prev_crc.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.resize(SEGMENT_HEADER - 4, 0);
        let crc = crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header.
    pub fn read(bytes: &[u8]) -> Result<Self, Bad> {
        const SHORT: Bad = Bad::Damaged("segment header is cut off");
        let covered = bytes.get(..SEGMENT_HEADER - 4).ok_or(SHORT)?;
        let crc = u32_at(bytes, SEGMENT_HEADER - 4).ok_or(SHORT)?;
        if !covered.starts_with(&SEGMENT_MAGIC) || crc != crc32c(covered) {
            return Err(Bad::Damaged("segment header fails its checksum"));
        }
        match u32_at(bytes, 8) {
            Some(version) if version > FORMAT => return Err(Bad::Newer(version)),
            Some(FORMAT) => {}
            _ => return Err(Bad::Damaged("segment header has no version")),
        }
        let header = (|| {
            Some(Self {
                first: u64_at(bytes, 16)?,
                epoch: u64_at(bytes, 24)?,
                capacity: u64_at(bytes, 32)?,
                prev_crc: u32_at(bytes, 40)?,
                salt: u32_at(bytes, 44)?,
            })
        })();
        header.ok_or(SHORT)
    }
}

/// The header in front of a record's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of the body.
    pub length: u32,
    /// Checksum of the record before this one.
    pub prev_crc: u32,
    pub pos: u64,
    pub epoch: u64,
    /// Last position that was known to be synced when this record was written.
    pub durable: u64,
    /// Checksum of header and body.
    pub crc: u32,
}

impl RecordHeader {
    /// Reads a header; none when it is free space or fails its own checksum.
    ///
    /// The salt is part of both checksums. When a damaged segment is searched for the next undamaged record, bytes
    /// that a client sent never pass for one, because no client knows the salt.
    pub fn read(bytes: &[u8], salt: u32) -> Option<Self> {
        let covered = bytes.get(..40)?;
        if !covered.starts_with(&RECORD_MAGIC) || u32_at(bytes, 8)? != KIND_ENTRY {
            return None;
        }
        if u32_at(bytes, 40)? != crc32c_append(salt, covered) {
            return None;
        }
        Some(Self {
            length: u32_at(bytes, 4)?,
            prev_crc: u32_at(bytes, 12)?,
            pos: u64_at(bytes, 16)?,
            epoch: u64_at(bytes, 24)?,
            durable: u64_at(bytes, 32)?,
            crc: u32_at(bytes, 44)?,
        })
    }

    /// The body of `record` (header and body), if the checksum in this header matches.
    pub fn body<'a>(&self, record: &'a [u8], salt: u32) -> Option<&'a [u8]> {
        let body = record.get(RECORD_HEADER..)?;
        let is_it = body.len() == self.length as usize && Self::sum(record, salt)? == self.crc;
        is_it.then_some(body)
    }

    /// The checksum of a record, or of its beginning, which has the whole header.
    pub fn sum(record: &[u8], salt: u32) -> Option<u32> {
        let (head, body) = record.split_at_checked(RECORD_HEADER)?;
        Some(crc32c_append(crc32c_append(salt, head.get(..44)?), body))
    }

    /// Appends the record of `body` to `out`, padding included. `length` and `crc` are ignored and computed; the
    /// checksum is returned.
    pub fn put(&self, salt: u32, body: &Rope, out: &mut Rope) -> u32 {
        let length = body.len();
        let mut head = Vec::with_capacity(RECORD_HEADER);
        head.extend_from_slice(&RECORD_MAGIC);
        head.extend_from_slice(&(length as u32).to_le_bytes());
        head.extend_from_slice(&KIND_ENTRY.to_le_bytes());
        head.extend_from_slice(&self.prev_crc.to_le_bytes());
        head.extend_from_slice(&self.pos.to_le_bytes());
        head.extend_from_slice(&self.epoch.to_le_bytes());
        head.extend_from_slice(&self.durable.to_le_bytes());
        head.extend_from_slice(&crc32c_append(salt, &head).to_le_bytes());
        let crc = body.pieces().fold(crc32c_append(salt, &head), crc32c_append);
        head.extend_from_slice(&crc.to_le_bytes());
        out.end().extend_from_slice(&head);
        out.extend(body);
        let padding = record_bytes(length) as usize - RECORD_HEADER - length;
        out.end().extend(std::iter::repeat_n(0, padding));
        crc
    }
}

#[cfg(test)]
impl RecordHeader {
    /// The record of `body` as bytes, and its checksum.
    pub fn record(&self, salt: u32, body: &[u8]) -> (Vec<u8>, u32) {
        let mut out = Rope::default();
        let crc = self.put(salt, &Rope::from(body.to_vec()), &mut out);
        (out.into_bytes().into(), crc)
    }
}

/// Bytes of a whole record.
pub fn record_bytes(body: usize) -> u64 {
    ((RECORD_HEADER + body) as u64).next_multiple_of(ALIGN)
}

/// File name of the segment that begins with this position.
pub fn segment_name(first: u64) -> String {
    format!("journal-{first:020}.log")
}

/// First position of the segment with this file name.
pub fn segment_first(name: &str) -> Option<u64> {
    number(name, "journal-", ".log")
}

/// File name of the snapshot that covers everything up to this position.
pub fn snapshot_name(upto: u64) -> String {
    format!("snapshot-{upto:020}.snap")
}

/// Last position that the snapshot with this file name covers.
pub fn snapshot_upto(name: &str) -> Option<u64> {
    number(name, "snapshot-", ".snap")
}

fn number(name: &str, before: &str, after: &str) -> Option<u64> {
    let digits = name.strip_prefix(before)?.strip_suffix(after)?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// The number at this offset.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The number at this offset.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: RecordHeader =
        RecordHeader { length: 0, prev_crc: 7, pos: 9, epoch: 2, durable: 8, crc: 0 };

    #[test]
    fn a_record_is_read_back_and_every_flipped_bit_is_seen() {
        let (record, crc) = HEADER.record(5, b"hello");
        assert_eq!(record.len() as u64, record_bytes(5));
        let header = RecordHeader::read(&record, 5).expect("whole");
        assert_eq!(header, RecordHeader { length: 5, crc, ..HEADER });
        let whole = RECORD_HEADER + 5;
        assert_eq!(header.body(&record[..whole], 5), Some(&b"hello"[..]));
        for bit in 0..whole * 8 {
            let mut bad = record.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let read = RecordHeader::read(&bad, 5);
            let body = read.and_then(|h| h.body(&bad[..whole], 5).map(<[u8]>::to_vec));
            assert_eq!(body, None, "bit {bit}");
        }
    }

    #[test]
    fn a_record_with_another_salt_is_none() {
        let (record, _) = HEADER.record(5, b"hello");
        assert_eq!(RecordHeader::read(&record, 6), None);
    }

    #[test]
    fn a_newer_segment_is_told_from_a_damaged_one() {
        let header = SegmentHeader { first: 3, epoch: 1, capacity: 1 << 20, prev_crc: 4, salt: 5 };
        let bytes = header.to_bytes();
        assert_eq!(SegmentHeader::read(&bytes), Ok(header));
        let mut newer = bytes.clone();
        newer[8] = 2;
        let crc = crc32c(&newer[..60]).to_le_bytes();
        newer[60..].copy_from_slice(&crc);
        assert_eq!(SegmentHeader::read(&newer), Err(Bad::Newer(2)));
        let mut damaged = bytes;
        damaged[20] ^= 1;
        assert!(matches!(SegmentHeader::read(&damaged), Err(Bad::Damaged(_))));
        assert!(matches!(SegmentHeader::read(&damaged[..10]), Err(Bad::Damaged(_))));
    }

    #[test]
    fn names_sort_like_positions() {
        assert_eq!(segment_first(&segment_name(17)), Some(17));
        assert_eq!(snapshot_upto(&snapshot_name(u64::MAX)), Some(u64::MAX));
        assert!(segment_name(9) < segment_name(10));
        for other in ["journal-17.log", "journal-0000000000000000017.tmp", "spare-1.log", ""] {
            assert_eq!(segment_first(other), None, "{other}");
        }
    }
}
