//! A window that moves through a file: one block in memory, replaced by the next read outside of it. And the records in
//! such a window. Not a cache: a jump reads a new block.

use crate::dead::Ranges;
use crate::disk::DiskFile;
use crate::layout::{ALIGN, MAX_ENTRY, RECORD_HEADER, RECORD_MAGIC, RecordHeader};
use std::io;
use std::ops::Range;

/// Bytes read at once when a whole file is read.
pub const BLOCK: usize = 1 << 20;

/// A block that cannot be read is read again in pieces of this many bytes.
const PIECE: u64 = 4 << 10;

/// Some bytes of a file.
pub struct Window {
    block: usize,
    start: u64,
    bytes: Vec<u8>,
    /// Byte ranges that could not be read, for callers that continue behind them. None: a failed read is an error.
    unreadable: Option<Ranges>,
}

impl Window {
    /// An empty window that reads at least `block` bytes at once.
    pub fn new(block: usize) -> Self {
        Self { block, start: 0, bytes: Vec::new(), unreadable: None }
    }

    /// An empty window in which unreadable bytes are zeros.
    pub fn lenient(block: usize) -> Self {
        Self { unreadable: Some(Ranges::default()), ..Self::new(block) }
    }

    /// Whether part of this range could not be read.
    pub fn is_blind(&self, some: Range<u64>) -> bool {
        self.unreadable.as_ref().is_some_and(|unreadable| unreadable.touches(some))
    }

    /// Empties the window, so that it can be used for another file.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Reads this part of a file.
    pub fn load(&mut self, file: &dyn DiskFile, part: Range<u64>) -> io::Result<()> {
        let len = usize::try_from(part.end.saturating_sub(part.start)).map_err(io::Error::other)?;
        self.fill(file, part.start, len).map(|_| ())
    }

    /// The bytes of this part of a file; fewer at its end.
    pub fn bytes(&mut self, file: &dyn DiskFile, part: Range<u64>) -> io::Result<&[u8]> {
        self.load(file, part)?;
        Ok(&self.bytes)
    }

    /// `len` bytes from `at`; fewer at the end of the file. Does not read ahead beyond the extent.
    fn get(&mut self, extent: &Extent<'_>, at: u64, len: usize) -> io::Result<&[u8]> {
        let skip = match self.skip(at).filter(|skip| self.bytes.len() - skip >= len) {
            Some(skip) => skip,
            None => self.fill(extent.file, at, len.max(extent.most(at, self.block)))?,
        };
        let end = self.bytes.len().min(skip + len);
        Ok(self.bytes.get(skip..end).unwrap_or_default())
    }

    /// The bytes from `at` that are in the window; reads a new block when they are less than one aligned word.
    fn rest(&mut self, extent: &Extent<'_>, at: u64) -> io::Result<&[u8]> {
        let word = ALIGN as usize;
        let skip = match self.skip(at).filter(|skip| self.bytes.len() - skip >= word) {
            Some(skip) => skip,
            None => self.fill(extent.file, at, extent.most(at, self.block))?,
        };
        Ok(self.bytes.get(skip..).unwrap_or_default())
    }

    fn skip(&self, at: u64) -> Option<usize> {
        let skip = usize::try_from(at.checked_sub(self.start)?).ok()?;
        (skip <= self.bytes.len()).then_some(skip)
    }

    /// Reads a block that begins at `at`; the bytes to skip in it are 0.
    fn fill(&mut self, file: &dyn DiskFile, at: u64, len: usize) -> io::Result<usize> {
        self.start = at;
        self.bytes.clear();
        self.bytes.resize(len, 0);
        let read = match file.read_at(at, &mut self.bytes) {
            Err(_) if self.unreadable.is_some() => self.fill_piecewise(file, at),
            read => read,
        };
        self.bytes.truncate(*read.as_ref().unwrap_or(&0));
        read.map(|_| 0)
    }

    fn fill_piecewise(&mut self, file: &dyn DiskFile, at: u64) -> io::Result<usize> {
        let size = usize::try_from(file.size()?.saturating_sub(at)).unwrap_or(usize::MAX);
        let end = self.bytes.len().min(size);
        let mut done = 0;
        while done < end {
            let from = at + done as u64;
            let border = usize::try_from(PIECE - from % PIECE).unwrap_or(1);
            let stop = end.min(done + border);
            let Some(piece) = self.bytes.get_mut(done..stop) else { break };
            if file.read_at(from, piece).is_err() {
                piece.fill(0);
                if let Some(unreadable) = &mut self.unreadable {
                    unreadable.add(from..at + stop as u64);
                }
            }
            done = stop;
        }
        Ok(end)
    }
}

/// The part of a file that holds records.
#[derive(Clone, Copy)]
pub struct Extent<'a> {
    pub file: &'a dyn DiskFile,
    /// The store's salt.
    pub salt: u32,
    /// Offset at which records end at the latest.
    pub end: u64,
}

impl Extent<'_> {
    /// Bytes from `at` to the end of the extent, at most one block.
    fn most(&self, at: u64, block: usize) -> usize {
        usize::try_from(self.end.saturating_sub(at)).unwrap_or(block).min(block)
    }

    /// The header of the record at this offset, if that is undamaged.
    pub fn header(&self, window: &mut Window, at: u64) -> io::Result<Option<RecordHeader>> {
        let head = window.get(self, at, RECORD_HEADER)?;
        Ok(RecordHeader::read(head, self.salt))
    }

    /// The record at this offset with its body, if it is undamaged.
    pub fn record<'w>(
        &self,
        window: &'w mut Window,
        at: u64,
    ) -> io::Result<Option<(RecordHeader, &'w [u8])>> {
        let head = window.get(self, at, RECORD_HEADER)?;
        let Some(header) = RecordHeader::read(head, self.salt) else { return Ok(None) };
        let length = header.length as usize;
        let whole = RECORD_HEADER.saturating_add(length);
        if length > MAX_ENTRY || at.saturating_add(whole as u64) > self.end {
            return Ok(None);
        }
        let record = window.get(self, at, whole)?;
        Ok(header.body(record, self.salt).map(|body| (header, body)))
    }

    /// The next offset from `from` on that begins like a record.
    pub fn find(&self, window: &mut Window, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        while at < self.end {
            let mut words = window.rest(self, at)?.chunks_exact(ALIGN as usize);
            let count = words.len() as u64;
            if let Some(nth) = words.position(|word| word.starts_with(&RECORD_MAGIC)) {
                return Ok(Some(at + nth as u64 * ALIGN).filter(|found| *found < self.end));
            }
            if count == 0 {
                return Ok(None);
            }
            at += count * ALIGN;
        }
        Ok(None)
    }

    /// Offset behind the last byte that is not zero, from `from` on; `from` itself when all are zero.
    pub fn dirty_end(&self, from: u64) -> io::Result<u64> {
        let mut window = Window::new(BLOCK);
        let (mut at, mut end) = (from, from);
        while at < self.end {
            let bytes = window.rest(self, at)?;
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                end = at + last as u64 + 1;
            }
            let count = bytes.len() as u64;
            // Fewer bytes than a word are only read at the end of the file.
            if count < ALIGN {
                break;
            }
            at += count;
        }
        Ok(end.min(self.end))
    }
}
