//! Scans one segment file: the offsets of its records, where they end, which entries are damaged.
//!
//! In the open segment the first bad record is the end (torn by a crash, or damaged: `tail` looks which), unless a
//! later record or the manifest says that the bad one had been synced. In a sealed segment every bad record is damage.
//! Bytes that cannot be read are damage in both: they may have held entries.

use crate::disk::DiskFile;
use crate::layout::{
    ALIGN, FIRST_RECORD, RECORD_HEADER, RecordHeader, SegmentHeader, record_bytes,
};
use crate::manifest::SegmentEnd;
use crate::window::{BLOCK, Extent, Window};
use std::io;
use std::ops::Range;

/// The result of a scan.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Offset of each record, from the segment's first position on; 0 for a damaged one.
    pub offsets: Vec<u32>,
    /// Offset behind the last undamaged record.
    pub end: u64,
    /// Checksum of the last undamaged record; without one, of the last record of the segment before.
    pub crc: u32,
    /// The highest epoch seen.
    pub epoch: u64,
    /// The highest position that some record says was synced.
    pub durable: u64,
    /// Bytes of the undamaged entries.
    pub body_bytes: u64,
    /// Records that no writer makes: the epoch or *durable* goes back, or *durable* is not before the record.
    pub odd: Vec<u64>,
    /// Bytes behind the last entry cannot be read.
    pub is_blind: bool,
    /// The manifest says that more was synced than is there.
    pub is_short: bool,
    /// Last position that the unreadable or missing bytes may have held.
    pub lost_to: u64,
    /// Positions whose entries are damaged or missing.
    pub damage: Vec<Range<u64>>,
}

struct Scan<'a> {
    extent: Extent<'a>,
    window: Window,
    first: u64,
    end: SegmentEnd,
    /// Whether `out.crc` is known to be the checksum of the record before.
    linked: bool,
    out: Scanned,
}

/// Reads a whole segment. `linked` says that the header's `prev_crc` can be trusted.
pub fn scan(
    file: &dyn DiskFile,
    header: &SegmentHeader,
    linked: bool,
    end: SegmentEnd,
) -> io::Result<Scanned> {
    let out = Scanned {
        end: FIRST_RECORD,
        crc: header.prev_crc,
        epoch: header.epoch,
        ..Scanned::default()
    };
    let mut scan = Scan {
        extent: Extent { file, salt: header.salt, end: header.capacity },
        window: Window::lenient(BLOCK),
        first: header.first,
        end,
        linked,
        out,
    };
    while scan.step()? {}
    scan.finish();
    Ok(scan.out)
}

impl Scan<'_> {
    fn next(&self) -> u64 {
        self.first.saturating_add(self.out.offsets.len() as u64)
    }

    /// Reads the next record; false at the end.
    fn step(&mut self) -> io::Result<bool> {
        let (at, next) = (self.out.end, self.next());
        if matches!(self.end, SegmentEnd::Sealed { last, .. } if next > last) {
            return Ok(false);
        }
        let record = self.extent.record(&mut self.window, at)?.map(|(header, _)| header);
        let follows = |header: &RecordHeader| {
            header.pos == next && (!self.linked || header.prev_crc == self.out.crc)
        };
        match record.filter(follows) {
            Some(header) => {
                self.take(at, &header);
                Ok(true)
            }
            None => self.skip(at, next),
        }
    }

    fn take(&mut self, at: u64, header: &RecordHeader) {
        // A segment has less than 4 GiB.
        self.out.offsets.push(u32::try_from(at).unwrap_or_default());
        self.out.end = at + record_bytes(header.length as usize);
        self.out.crc = header.crc;
        self.out.body_bytes += u64::from(header.length);
        let backwards = header.epoch < self.out.epoch || header.durable < self.out.durable;
        if backwards || header.durable >= header.pos {
            self.out.odd.push(header.pos);
        }
        self.out.epoch = self.out.epoch.max(header.epoch);
        self.out.durable = self.out.durable.max(header.durable);
        self.linked = true;
    }

    /// Continues behind damage, at the next undamaged record that proves it; false when there is none.
    fn skip(&mut self, at: u64, next: u64) -> io::Result<bool> {
        let mut from = at + ALIGN;
        while let Some(found) = self.extent.find(&mut self.window, from)? {
            let record = self.extent.record(&mut self.window, found)?.map(|(header, _)| header);
            // If more positions are missing than fit between the two, the record is not one of this journal.
            let fits = (found - at) / RECORD_HEADER as u64;
            let proves = |header: &RecordHeader| {
                let missing = header.pos.saturating_sub(next);
                let proves = self.proves(header, next) || self.window.is_blind(at..found);
                (1..=fits).contains(&missing) && proves
            };
            if let Some(header) = record.filter(proves) {
                self.out.damage.push(next..header.pos);
                let missing = usize::try_from(header.pos - next).unwrap_or_default();
                self.out.offsets.resize(self.out.offsets.len() + missing, 0);
                self.take(found, &header);
                return Ok(true);
            }
            from = found + ALIGN;
        }
        Ok(false)
    }

    /// Whether this record proves that the entry at `next` had been stored.
    fn proves(&self, header: &RecordHeader, next: u64) -> bool {
        match self.end {
            SegmentEnd::Open { synced } => header.durable >= next || synced >= next,
            SegmentEnd::Sealed { last, .. } => header.pos <= last,
            SegmentEnd::Unknown => true,
        }
    }

    /// Compares a sealed segment with its last position and checksum in the manifest. In another segment, unreadable
    /// bytes at the end count as the largest number of entries that they may have held.
    fn finish(&mut self) {
        let next = self.next();
        let SegmentEnd::Sealed { last, crc } = self.end else {
            let rest = self.out.end..self.extent.end;
            let most = rest.end.saturating_sub(rest.start) / RECORD_HEADER as u64;
            let synced = match self.end {
                SegmentEnd::Open { synced } => synced,
                _ => 0,
            };
            self.out.is_blind = self.window.is_blind(rest);
            self.out.is_short = synced >= next;
            let unreadable = if self.out.is_blind { most } else { 0 };
            let behind = next.saturating_add(unreadable).max(synced.saturating_add(1));
            if behind > next {
                self.out.lost_to = behind - 1;
                self.out.damage.push(next..behind);
            }
            return;
        };
        if next <= last {
            self.out.damage.push(next..last.saturating_add(1));
        } else if self.out.crc != crc
            && let Some(offset) = self.out.offsets.last_mut()
        {
            *offset = 0;
            self.out.damage.push(last..last.saturating_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::faulty::FaultyDisk;

    const SALT: u32 = 99;
    const HEADER: SegmentHeader =
        SegmentHeader { first: 5, epoch: 1, capacity: 1 << 16, prev_crc: 3, salt: SALT };

    /// Records 5, 6, .. with these `durable` values; where each begins, and the last checksum.
    fn segment(durable: &[u64]) -> (Vec<u8>, Vec<usize>, u32) {
        let mut bytes = HEADER.to_bytes();
        bytes.resize(FIRST_RECORD as usize, 0);
        let (mut places, mut prev_crc) = (Vec::new(), HEADER.prev_crc);
        for (nth, durable) in durable.iter().enumerate() {
            places.push(bytes.len());
            let pos = 5 + nth as u64;
            let header =
                RecordHeader { length: 0, prev_crc, pos, epoch: 2, durable: *durable, crc: 0 };
            let (record, crc) = header.record(SALT, &vec![nth as u8; 10 + nth]);
            bytes.extend_from_slice(&record);
            prev_crc = crc;
        }
        bytes.resize(HEADER.capacity as usize, 0);
        (bytes, places, prev_crc)
    }

    fn scanned(bytes: &[u8], end: SegmentEnd) -> Scanned {
        let disk = FaultyDisk::default();
        let file = disk.create("x").expect("created");
        file.write_at(0, bytes).expect("written");
        scan(&*file, &HEADER, true, end).expect("readable")
    }

    const OPEN: SegmentEnd = SegmentEnd::Open { synced: 0 };

    fn damage(found: &Scanned) -> Vec<(u64, u64)> {
        found.damage.iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn a_whole_segment() {
        let (bytes, places, crc) = segment(&[4, 5, 6]);
        for end in [OPEN, SegmentEnd::Unknown, SegmentEnd::Sealed { last: 7, crc }] {
            let found = scanned(&bytes, end);
            let offsets: Vec<u32> = places.iter().map(|place| *place as u32).collect();
            assert_eq!((found.offsets, found.crc, found.epoch), (offsets, crc, 2));
            assert!(found.damage.is_empty() && found.odd.is_empty());
        }
    }

    #[test]
    fn damage_that_a_later_record_proves() {
        let (mut bytes, places, crc) = segment(&[4, 4, 6, 7]);
        bytes[places[1] + 50] ^= 1;
        for end in [OPEN, SegmentEnd::Unknown, SegmentEnd::Sealed { last: 8, crc }] {
            let found = scanned(&bytes, end);
            assert_eq!(damage(&found), [(6, 7)]);
            assert_eq!(found.offsets[1], 0);
            assert_eq!(found.offsets[2], places[2] as u32);
            assert_eq!(found.crc, crc);
        }
    }

    #[test]
    fn a_torn_batch_is_the_end_of_the_open_segment_only() {
        // 6, 7 and 8 were written at once, and the pages of 6 did not land.
        let (mut bytes, places, crc) = segment(&[4, 5, 5, 5]);
        bytes[places[1]..places[2]].fill(0);
        let found = scanned(&bytes, OPEN);
        assert_eq!((found.offsets.len(), found.end), (1, places[1] as u64));
        assert!(found.damage.is_empty());
        assert_eq!(damage(&scanned(&bytes, SegmentEnd::Sealed { last: 8, crc })), [(6, 7)]);
    }

    #[test]
    fn damage_that_the_manifest_proves() {
        let (mut bytes, places, crc) = segment(&[4, 4, 4]);
        bytes[places[2] + 50] ^= 1;
        let found = scanned(&bytes, SegmentEnd::Open { synced: 6 });
        assert_eq!((damage(&found), found.is_short), (vec![], false));
        let found = scanned(&bytes, SegmentEnd::Open { synced: 7 });
        assert_eq!((damage(&found), found.is_short, found.lost_to), (vec![(7, 8)], true, 7));
        assert_eq!((found.offsets.len(), found.end), (2, places[2] as u64));
        // In the middle of a batch, where no later record proves it.
        bytes[places[2] + 50] ^= 1;
        bytes[places[1] + 50] ^= 1;
        let found = scanned(&bytes, SegmentEnd::Open { synced: 7 });
        assert_eq!((damage(&found), found.is_short, found.crc), (vec![(6, 7)], false, crc));
    }

    #[test]
    fn what_is_missing_at_the_end_of_a_sealed_segment() {
        let (mut bytes, places, crc) = segment(&[4, 5, 6]);
        assert_eq!(
            damage(&scanned(&bytes, SegmentEnd::Sealed { last: 7, crc: crc ^ 1 })),
            [(7, 8)]
        );
        assert_eq!(damage(&scanned(&bytes, SegmentEnd::Sealed { last: 9, crc })), [(8, 10)]);
        bytes.truncate(places[1] + 20);
        assert_eq!(damage(&scanned(&bytes, SegmentEnd::Sealed { last: 7, crc })), [(6, 8)]);
        assert_eq!(damage(&scanned(&bytes[..10], SegmentEnd::Sealed { last: 7, crc })), [(5, 8)]);
    }

    #[test]
    fn a_record_that_no_writer_makes() {
        let (bytes, _, _) = segment(&[4, 5, 4, 8]);
        assert_eq!(scanned(&bytes, OPEN).odd, [7, 8]);
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_the_end() {
        let (bytes, places, _) = segment(&[4, 4, 4]);
        let disk = FaultyDisk::default();
        let file = disk.create("x").expect("created");
        file.write_at(0, &bytes).expect("written");
        disk.spoil("x", places[1] as u64);
        // All three are in that sector.
        let found = scan(&*file, &HEADER, true, OPEN).expect("readable");
        let most = (HEADER.capacity - FIRST_RECORD) / RECORD_HEADER as u64;
        assert_eq!((damage(&found), found.lost_to), (vec![(5, 5 + most)], 4 + most));
        assert_eq!((found.offsets.len(), found.end), (0, FIRST_RECORD));
    }

    #[test]
    fn a_record_of_another_chain_is_not_taken() {
        let (bytes, _, _) = segment(&[4, 4]);
        let disk = FaultyDisk::default();
        let file = disk.create("x").expect("created");
        file.write_at(0, &bytes).expect("written");
        let other = SegmentHeader { prev_crc: 4, ..HEADER };
        let found = scan(&*file, &other, true, OPEN).expect("readable");
        assert_eq!((found.offsets.len(), found.end), (0, FIRST_RECORD));
        let found = scan(&*file, &other, false, OPEN).expect("readable");
        assert_eq!(found.offsets.len(), 2);
    }
}
