//! Reading the journal in order, up to the tail at the time of the call: one block ahead of the caller, on blocking
//! threads. Each run of damaged entries gives one error; the reader continues behind it.

use crate::catalog::{Catalog, Segment};
use crate::layout::record_bytes;
use crate::window::{BLOCK, Window};
use async_trait::async_trait;
use crossdock_core::store::{JournalEntry, Pos, Source, StoreError};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::task::{JoinHandle, spawn_blocking};

type Read = Result<JournalEntry, StoreError>;

/// A reader of the journal.
pub struct Reader {
    ready: VecDeque<Read>,
    /// The next block, which is being read.
    loading: Option<JoinHandle<(Cursor, VecDeque<Read>)>>,
}

impl Reader {
    /// Entries from `from` on.
    pub fn new(catalog: &Catalog, from: u64) -> Self {
        let cursor = Cursor::new(catalog, from);
        Self { ready: VecDeque::new(), loading: Some(spawn_blocking(|| cursor.load())) }
    }
}

#[async_trait]
impl Source<JournalEntry> for Reader {
    async fn next(&mut self) -> Option<Read> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Some(entry);
            }
            let loaded = self.loading.as_mut()?.await;
            self.loading = None;
            match loaded {
                Ok((_, block)) if block.is_empty() => return None,
                Ok((cursor, block)) => {
                    self.ready = block;
                    self.loading = Some(spawn_blocking(|| cursor.load()));
                }
                Err(_) => {
                    return Some(Err(StoreError::Unavailable("reading was stopped".into())));
                }
            }
        }
    }
}

/// A position in the journal, with the block around it.
pub struct Cursor {
    segments: VecDeque<Arc<Segment>>,
    at: u64,
    tail: u64,
    window: Window,
    /// Where the entry at this position is, if that follows from the one before it.
    next: Option<u32>,
}

impl Cursor {
    /// A cursor at this position.
    pub fn new(catalog: &Catalog, from: u64) -> Self {
        // The tail is read first: a segment that is begun meanwhile lies behind it.
        let tail = catalog.tail();
        let segments = catalog.from(from).into();
        Self { segments, at: from, tail, window: Window::new(BLOCK), next: None }
    }

    /// The next entries, about a block of them; none at the end.
    fn load(mut self) -> (Self, VecDeque<Read>) {
        let (mut block, mut bytes) = (VecDeque::new(), 0);
        while bytes < BLOCK {
            let Some(entry) = self.step() else { break };
            bytes += entry.as_ref().map_or(64, |entry| 64 + entry.bytes.len());
            block.push_back(entry);
        }
        (self, block)
    }

    /// The next entry, or the next run of damaged ones.
    pub fn step(&mut self) -> Option<Read> {
        let segment = loop {
            let segment = self.segments.front()?.clone();
            self.at = self.at.max(segment.first);
            if self.at > self.tail {
                return None;
            }
            if self.at <= segment.last() {
                break segment;
            }
            self.window.clear();
            self.next = None;
            self.segments.pop_front();
        };
        // The next entry stands right behind the one before it, where nothing is damaged.
        if let Some(offset) = self.next.take()
            && let Ok(entry) = segment.entry_at(&mut self.window, self.at, offset)
        {
            return Some(Ok(self.took(entry, offset)));
        }
        let Some(offset) = segment.offset(self.at) else {
            let lost = segment.lost(self.at);
            let detail =
                format!("{} entries of {} are damaged", lost.end - lost.start, segment.name);
            self.at = lost.end;
            return Some(Err(StoreError::Corrupt { at: Pos(lost.start), detail }));
        };
        let read = segment.entry_at(&mut self.window, self.at, offset);
        // Unreadable bytes make the read of the whole block fail: read this entry alone.
        match read.or_else(|_| segment.entry(self.at)) {
            Ok(entry) => Some(Ok(self.took(entry, offset))),
            Err(error) => {
                self.at += 1;
                Some(Err(error))
            }
        }
    }

    /// The entry at that offset was read.
    fn took(&mut self, entry: JournalEntry, offset: u32) -> JournalEntry {
        self.at += 1;
        let behind = u64::from(offset).saturating_add(record_bytes(entry.bytes.len()));
        self.next = u32::try_from(behind).ok();
        entry
    }
}
