//! A view that moves through a file: one block in memory, read again where it is asked for more. And records in such
//! a view. Not a cache: a jump reads a new block.

use crate::disk::DiskFile;
use crate::layout::{ALIGN, MAX_ENTRY, RECORD_HEADER, RECORD_MAGIC, RecordHeader};
use std::io;

/// Bytes read at once when all of a file is wanted.
pub const BLOCK: usize = 1 << 20;

/// Some bytes of a file.
pub struct Window {
    block: usize,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// An empty view that reads at least so many bytes at once.
    pub fn new(block: usize) -> Self {
        Self { block, start: 0, bytes: Vec::new() }
    }

    /// Forgets what was read, for another file.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// `len` bytes from `at`; fewer at the end of the file.
    fn get(&mut self, file: &dyn DiskFile, at: u64, len: usize) -> io::Result<&[u8]> {
        let skip = match self.skip(at).filter(|skip| self.bytes.len() - skip >= len) {
            Some(skip) => skip,
            None => self.fill(file, at, len.max(self.block))?,
        };
        let end = self.bytes.len().min(skip + len);
        Ok(self.bytes.get(skip..end).unwrap_or_default())
    }

    /// What there is from `at` without reading, or a new block when that is not even one aligned word.
    fn rest(&mut self, file: &dyn DiskFile, at: u64) -> io::Result<&[u8]> {
        let word = ALIGN as usize;
        let skip = match self.skip(at).filter(|skip| self.bytes.len() - skip >= word) {
            Some(skip) => skip,
            None => self.fill(file, at, self.block)?,
        };
        Ok(self.bytes.get(skip..).unwrap_or_default())
    }

    fn skip(&self, at: u64) -> Option<usize> {
        let skip = usize::try_from(at.checked_sub(self.start)?).ok()?;
        (skip <= self.bytes.len()).then_some(skip)
    }

    /// Reads a block that begins at `at`, so that nothing of it is to be skipped.
    fn fill(&mut self, file: &dyn DiskFile, at: u64, len: usize) -> io::Result<usize> {
        self.start = at;
        self.bytes.clear();
        self.bytes.resize(len, 0);
        let read = file.read_at(at, &mut self.bytes);
        self.bytes.truncate(*read.as_ref().unwrap_or(&0));
        read.map(|_| 0)
    }
}

/// The part of a file in which records are.
#[derive(Clone, Copy)]
pub struct Extent<'a> {
    pub file: &'a dyn DiskFile,
    /// The store's salt.
    pub salt: u32,
    /// Records end here at the latest.
    pub end: u64,
}

impl Extent<'_> {
    /// The record at this place with its body, when it is whole.
    pub fn record<'w>(
        &self,
        window: &'w mut Window,
        at: u64,
    ) -> io::Result<Option<(RecordHeader, &'w [u8])>> {
        let head = window.get(self.file, at, RECORD_HEADER)?;
        let Some(header) = RecordHeader::read(head, self.salt) else { return Ok(None) };
        let length = header.length as usize;
        let whole = RECORD_HEADER.saturating_add(length);
        if length > MAX_ENTRY || at.saturating_add(whole as u64) > self.end {
            return Ok(None);
        }
        let record = window.get(self.file, at, whole)?;
        Ok(header.body(record, self.salt).map(|body| (header, body)))
    }

    /// The next place from `from` on that begins like a record.
    pub fn find(&self, window: &mut Window, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        while at < self.end {
            let mut words = window.rest(self.file, at)?.chunks_exact(ALIGN as usize);
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

    /// Where what is not zero ends, from `from` on; `from` itself when all is free.
    pub fn dirty_end(&self, from: u64) -> io::Result<u64> {
        let mut window = Window::new(BLOCK);
        let (mut at, mut end) = (from, from);
        while at < self.end {
            let bytes = window.rest(self.file, at)?;
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                end = at + last as u64 + 1;
            }
            let count = bytes.len() as u64;
            // Fewer than a word is only read at the end of the file.
            if count < ALIGN {
                break;
            }
            at += count;
        }
        Ok(end.min(self.end))
    }
}
