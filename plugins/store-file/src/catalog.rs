//! The live segments and the offset of each entry in them. Shared by the writer
//! thread and all readers; its locks are held for a look-up only, never while a file is read. The exception is a
//! segment that a start did not read because a snapshot covers it: the first request for one of its entries reads it.
//! Where the table of offsets has only the first of a block of small entries, their headers are read.

use crate::disk::DiskFile;
use crate::layout::{ALIGN, MAX_ENTRY, SegmentHeader, record_bytes};
use crate::manifest::SegmentEnd;
use crate::offsets::{BLOCK, Offsets, Place};
use crate::scan::scan;
use crate::window::{Extent, Window};
use bytes::Bytes;
use crossdock_core::store::{Epoch, JournalEntry, Pos, StoreError};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes read at first for one entry.
const SMALL_READ: usize = 4 << 10;

/// Locks, also after a panic of another holder: the data under these locks is replaced as a whole or grows at its end.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One segment file.
pub struct Segment {
    pub first: u64,
    pub name: String,
    pub capacity: u64,
    pub salt: u32,
    pub file: Box<dyn DiskFile>,
    places: Mutex<Places>,
    /// The block of small entries that was looked at last.
    decoded: Mutex<Decoded>,
}

/// The offsets of a block of small entries, as their headers say; 0 for a damaged one.
#[derive(Default)]
struct Decoded {
    /// Number of the block; none: there is none yet.
    block: Option<usize>,
    offsets: Vec<u32>,
}

#[derive(Default)]
struct Places {
    /// Offset in the file of each entry, from position `first` on; 0 for a damaged entry.
    offsets: Offsets,
    /// Offset behind the last entry.
    end: u64,
    /// Positions behind those in `offsets`, up to and including this one, are lost.
    lost_to: u64,
    /// Set while the segment was not read yet.
    unread: Option<(SegmentHeader, SegmentEnd)>,
    /// Damage was found after the start, so the start made no copy of the file.
    is_evidence: bool,
}

impl Segment {
    /// A segment in this file, without entries.
    pub fn new(
        (first, name): (u64, String),
        file: Box<dyn DiskFile>,
        capacity: u64,
        salt: u32,
    ) -> Self {
        Self {
            first,
            name,
            capacity,
            salt,
            file,
            places: Mutex::default(),
            decoded: Mutex::default(),
        }
    }

    /// A sealed segment with entries up to `last`, which is read when one of its entries is asked for.
    pub fn unread(
        name: String,
        file: Box<dyn DiskFile>,
        header: SegmentHeader,
        (last, crc): (u64, u32),
    ) -> Self {
        let segment = Self::new((header.first, name), file, header.capacity, header.salt);
        {
            let mut places = lock(&segment.places);
            places.lost_to = last;
            places.unread = Some((header, SegmentEnd::Sealed { last, crc }));
        }
        segment
    }

    /// The offsets; reads the segment first if that was not done yet. After a read error the next call tries again.
    fn places(&self) -> MutexGuard<'_, Places> {
        let mut places = lock(&self.places);
        if let Some((header, end)) = places.unread {
            match scan(&*self.file, &header, true, end) {
                Ok(found) => {
                    for lost in &found.damage {
                        let (segment, from, to) =
                            (&self.name, lost.start, lost.end.saturating_sub(1));
                        tracing::error!(
                            segment,
                            from,
                            to,
                            "journal entries are damaged: what they held is lost"
                        );
                    }
                    places.is_evidence = !found.damage.is_empty();
                    places.offsets.extend(&found.offsets);
                    places.offsets.shrink();
                    places.end = found.end;
                    places.unread = None;
                }
                Err(error) => {
                    tracing::error!(
                        segment = self.name,
                        %error,
                        "cannot read a journal segment: its messages cannot be delivered now"
                    );
                }
            }
        }
        places
    }

    /// It is damaged and has no copy in the quarantine: keep the file when all its entries are dead.
    pub fn is_evidence(&self) -> bool {
        lock(&self.places).is_evidence
    }

    /// Adds entries at these offsets; the last one ends at `end`.
    pub fn push(&self, offsets: &[u32], end: u64) {
        let mut places = lock(&self.places);
        places.offsets.extend(offsets);
        places.end = end;
    }

    /// No entries will be added: where they are takes less memory from now on.
    pub fn close(&self) {
        lock(&self.places).offsets.shrink();
    }

    /// Marks the positions behind the last entry, up to and including this one, as lost.
    pub fn lose_to(&self, last: u64) {
        lock(&self.places).lost_to = last;
    }

    /// Position of the last entry, lost ones included; `first - 1` when there is none.
    pub fn last(&self) -> u64 {
        let places = lock(&self.places);
        let counted = self.first.saturating_add(places.offsets.len() as u64).saturating_sub(1);
        counted.max(places.lost_to)
    }

    /// True when it has no entry, not even a damaged one.
    pub fn is_empty(&self) -> bool {
        self.last() < self.first
    }

    fn nth(&self, pos: u64) -> Option<usize> {
        usize::try_from(pos.checked_sub(self.first)?).ok()
    }

    /// Offset of the entry; none when it is damaged.
    pub fn offset(&self, pos: u64) -> Option<u32> {
        self.nth_offset(self.nth(pos)?).filter(|offset| *offset > 0)
    }

    /// Offset of the nth entry; 0: it is damaged; none: there are fewer.
    fn nth_offset(&self, nth: usize) -> Option<u32> {
        let (block, start, end) = {
            let places = self.places();
            match places.offsets.get(nth)? {
                Place::At(offset) => return Some(offset),
                Place::In(block, start, end) => (block, start, end.map_or(places.end, u64::from)),
            }
        };
        let mut decoded = lock(&self.decoded);
        if decoded.block != Some(block) {
            decoded.block = Some(block);
            self.decode(&mut decoded.offsets, block, u64::from(start)..end);
        }
        Some(decoded.offsets.get(nth % BLOCK).copied().unwrap_or(0))
    }

    /// Reads the headers of a block's records, which stand in this range.
    fn decode(&self, offsets: &mut Vec<u32>, block: usize, range: Range<u64>) {
        offsets.clear();
        offsets.resize(BLOCK, 0);
        let base = self.first.saturating_add((block * BLOCK) as u64);
        let extent = Extent { end: range.end, ..self.extent() };
        let mut window = Window::lenient(usize::try_from(range.end - range.start).unwrap_or(0));
        let (mut at, mut found) = (range.start, 0);
        while at < range.end {
            // An error of the file is damage, too: the window is lenient.
            let header = extent.header(&mut window, at).unwrap_or(None);
            let nth = header.and_then(|header| usize::try_from(header.pos.checked_sub(base)?).ok());
            match (header, nth.and_then(|nth| offsets.get_mut(nth))) {
                (Some(header), Some(offset)) => {
                    *offset = u32::try_from(at).unwrap_or(0);
                    found += 1;
                    at = at.saturating_add(record_bytes(header.length as usize));
                }
                _ => match extent.find(&mut window, at + ALIGN) {
                    Ok(Some(next)) => at = next,
                    _ => break,
                },
            }
        }
        if found < BLOCK {
            lock(&self.places).is_evidence = true;
        }
    }

    /// The byte range of the entry, up to the next undamaged one; none when it is damaged.
    pub fn span(&self, pos: u64) -> Option<Range<u64>> {
        let nth = self.nth(pos)?;
        let at = self.nth_offset(nth).filter(|offset| *offset > 0)?;
        let behind = (nth.saturating_add(1)..).map_while(|nth| self.nth_offset(nth));
        let next = behind.into_iter().find(|offset| *offset > 0);
        let end = next.map_or_else(|| lock(&self.places).end, u64::from);
        // Damaged entries may follow, so the range is limited to the largest possible entry.
        let most = u64::from(at).saturating_add(record_bytes(MAX_ENTRY));
        Some(u64::from(at)..end.min(most))
    }

    /// The damaged positions from `pos` on, up to the next undamaged entry.
    pub fn lost(&self, pos: u64) -> Range<u64> {
        let nth = usize::try_from(pos.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let damaged =
            (nth..).map_while(|nth| self.nth_offset(nth)).take_while(|offset| *offset == 0);
        let end = pos.saturating_add(damaged.count() as u64);
        let places = self.places();
        let counted = self.first.saturating_add(places.offsets.len() as u64);
        // Behind the last one of the table are those that nothing is known of.
        let end = if end >= counted { end.max(places.lost_to.saturating_add(1)) } else { end };
        pos..end.max(pos.saturating_add(1))
    }

    /// The part of the file that holds records.
    pub fn extent(&self) -> Extent<'_> {
        Extent { file: &*self.file, salt: self.salt, end: self.capacity }
    }

    /// Reads one entry.
    pub fn entry(&self, pos: u64) -> Result<JournalEntry, StoreError> {
        let read = self.entry_in(&mut Window::new(SMALL_READ), pos);
        // The read may have failed because of the bytes that follow the entry: read the entry alone.
        read.or_else(|_| self.entry_in(&mut Window::new(0), pos))
    }

    /// Reads one entry out of a view of this segment's file.
    pub fn entry_in(&self, window: &mut Window, pos: u64) -> Result<JournalEntry, StoreError> {
        match self.offset(pos) {
            Some(offset) => self.entry_at(window, pos, offset),
            None => {
                let detail = format!("{} has a damaged entry there", self.name);
                Err(StoreError::Corrupt { at: Pos(pos), detail })
            }
        }
    }

    /// Reads the entry that is at this offset.
    pub fn entry_at(
        &self,
        window: &mut Window,
        pos: u64,
        offset: u32,
    ) -> Result<JournalEntry, StoreError> {
        let damaged = |detail: String| StoreError::Corrupt { at: Pos(pos), detail };
        match self.extent().record(window, u64::from(offset)) {
            Ok(Some((header, body))) if header.pos == pos => Ok(JournalEntry {
                pos: Pos(pos),
                epoch: Epoch(header.epoch),
                bytes: Bytes::copy_from_slice(body),
            }),
            Ok(_) => {
                lock(&self.places).is_evidence = true;
                Err(damaged(format!("{} fails its checksum at byte {offset}", self.name)))
            }
            Err(error) => {
                Err(damaged(format!("{} cannot be read at byte {offset}: {error}", self.name)))
            }
        }
    }
}

/// Stands for the file of a missing segment: it has no bytes.
pub struct NoFile;

impl DiskFile for NoFile {
    fn size(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// All live segments.
#[derive(Default)]
pub struct Catalog {
    segments: Mutex<BTreeMap<u64, Arc<Segment>>>,
    tail: AtomicU64,
}

impl Catalog {
    /// Position of the last stored entry.
    pub fn tail(&self) -> u64 {
        self.tail.load(Ordering::Acquire)
    }

    /// Sets the position of the last stored entry.
    pub fn set_tail(&self, tail: u64) {
        self.tail.store(tail, Ordering::Release);
    }

    /// Adds a segment; replaces one that begins with the same position.
    pub fn insert(&self, segment: Arc<Segment>) {
        lock(&self.segments).insert(segment.first, segment);
    }

    /// Removes a segment. Readers that are using it continue.
    pub fn remove(&self, first: u64) {
        lock(&self.segments).remove(&first);
    }

    /// The segments that hold, or may later hold, position `from` and the following ones, in order.
    pub fn from(&self, from: u64) -> Vec<Arc<Segment>> {
        let segments = lock(&self.segments);
        let begin = segments.range(..=from).next_back().map_or(from, |(first, _)| *first);
        segments.range(begin..).map(|(_, segment)| segment.clone()).collect()
    }

    /// The segment of a stored entry.
    pub fn find(&self, pos: u64) -> Result<Arc<Segment>, StoreError> {
        let tail = self.tail();
        if pos > tail {
            let detail = format!("entry {pos} does not exist yet; the last one is {tail}");
            return Err(StoreError::Unavailable(detail));
        }
        let segments = lock(&self.segments);
        let found = segments.range(..=pos).next_back().map(|(_, segment)| segment);
        if let Some(segment) = found.filter(|segment| segment.last() >= pos) {
            return Ok(segment.clone());
        }
        let next = segments.range(pos..).next().map(|(first, _)| *first);
        Err(StoreError::Truncated { first: Pos(next.unwrap_or(tail.saturating_add(1))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(first: u64, offsets: &[u32]) -> Arc<Segment> {
        let segment = Segment::new((first, format!("s{first}")), Box::new(NoFile), 1 << 16, 0);
        segment.push(offsets, 6000);
        Arc::new(segment)
    }

    #[test]
    fn positions_are_found_trimmed_or_not_there_yet() {
        let catalog = Catalog::default();
        catalog.insert(segment(1, &[4096, 5000]));
        catalog.insert(segment(6, &[4096, 0, 5000]));
        catalog.set_tail(8);
        assert_eq!(catalog.find(2).map(|s| s.first).ok(), Some(1));
        assert_eq!(catalog.find(8).map(|s| s.first).ok(), Some(6));
        assert!(matches!(catalog.find(3), Err(StoreError::Truncated { first: Pos(6) })));
        assert!(matches!(catalog.find(9), Err(StoreError::Unavailable(_))));
        assert_eq!(catalog.from(4).len(), 2);
        assert_eq!(catalog.from(6).len(), 1);
        catalog.remove(6);
        assert!(matches!(catalog.find(7), Err(StoreError::Truncated { first: Pos(9) })));
    }

    #[test]
    fn what_is_lost() {
        let segment = segment(6, &[0, 0, 4096]);
        assert_eq!((segment.lost(6), segment.lost(7)), (6..8, 7..8));
        assert_eq!((segment.offset(7), segment.offset(8)), (None, Some(4096)));
        assert_eq!((segment.span(8), segment.span(7)), (Some(4096..6000), None));
        segment.lose_to(12);
        assert_eq!((segment.last(), segment.lost(9)), (12, 9..13));
        assert!(matches!(segment.entry(9), Err(StoreError::Corrupt { at: Pos(9), .. })));
    }
}
