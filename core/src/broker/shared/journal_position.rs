//! How far the journal is written, and how far the newest snapshot stands for it.

use crate::store::Pos;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Where the journal and its snapshots are.
pub struct JournalPosition {
    /// Position of the last stored entry.
    tail: AtomicU64,
    /// Position of the newest snapshot of this start.
    snapshot: AtomicU64,
    /// Bytes of journal since the last snapshot.
    bytes_since_snapshot: AtomicUsize,
    /// A snapshot is due after that many bytes.
    snapshot_every_bytes: AtomicUsize,
    pub snapshot_due: Notify,
}

impl JournalPosition {
    /// A journal that ends at `tail`, without a snapshot of this start.
    pub fn new(tail: Pos, snapshot_every_bytes: usize) -> Self {
        Self {
            tail: AtomicU64::new(tail.0),
            snapshot: AtomicU64::new(u64::MAX),
            bytes_since_snapshot: AtomicUsize::new(0),
            snapshot_every_bytes: AtomicUsize::new(snapshot_every_bytes),
            snapshot_due: Notify::new(),
        }
    }

    /// Position of the last stored entry.
    pub fn tail(&self) -> Pos {
        Pos(self.tail.load(Ordering::Acquire))
    }

    /// An entry of that many bytes was stored; the last one is at `tail`.
    pub fn wrote(&self, tail: Pos, bytes: usize) {
        self.tail.store(tail.0, Ordering::Release);
        let since = self.bytes_since_snapshot.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if since > self.snapshot_every_bytes.load(Ordering::Acquire) {
            self.snapshot_due.notify_one();
        }
    }

    /// Position of the newest snapshot of this start; none: there is none yet.
    pub fn newest_snapshot(&self) -> Option<Pos> {
        Some(self.snapshot.load(Ordering::Acquire)).filter(|pos| *pos != u64::MAX).map(Pos)
    }

    /// True when nothing was stored since the newest snapshot.
    pub fn is_at_snapshot(&self) -> bool {
        self.tail.load(Ordering::Acquire) == self.snapshot.load(Ordering::Acquire)
    }

    /// A snapshot is begun: the bytes of journal since the last one.
    pub fn begin_snapshot(&self) -> usize {
        self.bytes_since_snapshot.swap(0, Ordering::AcqRel)
    }

    /// A snapshot at `upto` is stored; the next one is due after that many bytes.
    pub fn took_snapshot(&self, upto: Pos, next_after_bytes: usize) {
        self.snapshot.store(upto.0, Ordering::Release);
        self.snapshot_every_bytes.store(next_after_bytes, Ordering::Release);
    }
}
