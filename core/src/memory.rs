//! A store in memory with faults to inject: for tests of the core, of adapters, and of the store contract. Nothing
//! of it survives the process, but a `crash` leaves exactly what had been "synced", so recovery can be tested.

use crate::rope::Rope;
use crate::store::{
    Caps, Coord, Epoch, Items, JournalEntry, JournalId, JournalWriter, Lease, Loss, Losses, Lost,
    Pending, Pos, Source, Space, Spill, Store, StoreError, Stretch,
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Entries of what counts as a part of the journal; single entries can be trimmed nevertheless.
const STRETCH: u64 = 16;
/// Bytes of a piece of a snapshot.
const PIECE: usize = 1_000;

/// What can be made to go wrong.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The n-th append from now on fails (0: the next), and all after it.
    pub append_fails_at: Option<u64>,
    /// Appends wait until this is false again ([`MemoryStore::release`]).
    pub stalled: bool,
    /// Reads of entries wait until this is false again.
    pub reads_stalled: bool,
    /// Reads of entries are refused, as by a store that stops.
    pub reads_refused: bool,
}

#[derive(Default)]
struct StoreState {
    entries: BTreeMap<u64, (Epoch, Bytes)>,
    tail: u64,
    snapshots: Vec<(Pos, Bytes)>,
    epoch: u64,
    faults: Faults,
    space: Option<Space>,
    appends: u64,
    broken: bool,
    /// Appends that go on although the others are stalled.
    let_through: u32,
}

impl StoreState {
    /// Whether an append need not wait.
    fn goes_on(&mut self) -> bool {
        if self.faults.stalled && self.let_through > 0 {
            self.let_through -= 1;
            return true;
        }
        !self.faults.stalled
    }
}

/// The store. A clone is another handle on the same memory: open it again to "restart".
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<StoreState>,
    released: Notify,
    spill: Option<MemorySpill>,
    fetches: AtomicU64,
    losses: Mutex<Vec<Loss>>,
}

/// Pieces that have left the broker's memory.
#[derive(Default)]
struct MemorySpill {
    pieces: Mutex<BTreeMap<u64, Bytes>>,
    next: AtomicU64,
    bytes_max: AtomicUsize,
}

#[async_trait]
impl Spill for MemorySpill {
    async fn put(&self, piece: Rope) -> Result<u64, StoreError> {
        let piece = piece.into_bytes();
        let mut pieces = self.pieces.lock();
        let bytes = piece.len() + pieces.values().map(Bytes::len).sum::<usize>();
        if bytes > self.bytes_max.load(Ordering::Relaxed) {
            return Err(StoreError::Full);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        pieces.insert(number, piece);
        Ok(number)
    }

    async fn get(&self, piece: u64) -> Result<Bytes, StoreError> {
        let found = self.pieces.lock().get(&piece).cloned();
        found.ok_or_else(|| StoreError::Unavailable("the piece is gone".into()))
    }

    fn free(&self, piece: u64) {
        self.pieces.lock().remove(&piece);
    }
}

impl MemoryStore {
    /// A store whose spill room takes `bytes_max` bytes.
    pub fn with_spill(bytes_max: usize) -> Self {
        let spill = MemorySpill { bytes_max: bytes_max.into(), ..MemorySpill::default() };
        Self(Arc::new(Inner { spill: Some(spill), ..Inner::default() }))
    }

    /// Sets how many bytes that room has from now on.
    pub fn set_spill_max(&self, bytes: usize) {
        if let Some(spill) = &self.0.spill {
            spill.bytes_max.store(bytes, Ordering::Relaxed);
        }
    }

    /// How often entries were read back.
    pub fn fetches(&self) -> u64 {
        self.0.fetches.load(Ordering::Relaxed)
    }

    /// How many pieces are in that room.
    pub fn spilled_pieces(&self) -> usize {
        self.0.spill.as_ref().map_or(0, |spill| spill.pieces.lock().len())
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.state.lock().faults = faults;
        self.0.released.notify_waiters();
    }

    /// Sets the free space that the store reports.
    pub fn set_space(&self, space: Option<Space>) {
        self.0.state.lock().space = space;
    }

    /// Makes an entry unreadable.
    pub fn damage(&self, pos: u64) {
        let mut state = self.0.state.lock();
        if let Some((_, bytes)) = state.entries.get_mut(&pos) {
            *bytes = Bytes::from_static(b"\xff");
        }
    }

    /// Takes all entries away, as trims do in which nothing lives any more.
    pub fn trim_all(&self) {
        self.0.state.lock().entries.clear();
    }

    /// Lets stalled appends go on.
    pub fn release(&self) {
        self.0.state.lock().faults.stalled = false;
        self.0.released.notify_waiters();
    }

    /// Lets one append of those that are stalled, or the next one, go on.
    pub fn release_one(&self) {
        self.0.state.lock().let_through += 1;
        self.0.released.notify_waiters();
    }

    /// A copy of what is stored now, without faults: what a restart after a crash at this moment finds.
    pub fn crashed(&self) -> MemoryStore {
        let state = self.0.state.lock();
        let copy = StoreState {
            entries: state.entries.clone(),
            tail: state.tail,
            snapshots: state.snapshots.clone(),
            epoch: state.epoch,
            ..StoreState::default()
        };
        let spill = self.0.spill.as_ref().map(|spill| MemorySpill {
            bytes_max: spill.bytes_max.load(Ordering::Relaxed).into(),
            ..MemorySpill::default()
        });
        MemoryStore(Arc::new(Inner { state: Mutex::new(copy), spill, ..Inner::default() }))
    }

    /// How many appends succeeded, for tests of batching.
    pub fn appends(&self) -> u64 {
        self.0.state.lock().appends
    }

    /// Entries that were not trimmed.
    pub fn entries(&self) -> usize {
        self.0.state.lock().entries.len()
    }
}

struct Writer {
    store: MemoryStore,
    epoch: Epoch,
}

#[async_trait]
impl Store for MemoryStore {
    fn caps(&self) -> Caps {
        Caps { max_entry: 4 << 20, in_flight: 1, shared: false }
    }

    async fn open(
        &self,
        _: JournalId,
        lease: &Lease,
    ) -> Result<Box<dyn JournalWriter>, StoreError> {
        let mut state = self.0.state.lock();
        if lease.epoch.0 < state.epoch {
            return Err(StoreError::Fenced { by: Epoch(state.epoch) });
        }
        state.epoch = lease.epoch.0;
        state.broken = false;
        Ok(Box::new(Writer { store: self.clone(), epoch: lease.epoch }))
    }

    async fn reader(
        &self,
        _: JournalId,
        from: Pos,
    ) -> Result<Box<dyn Source<JournalEntry>>, StoreError> {
        let state = self.0.state.lock();
        let entries: Vec<JournalEntry> = state
            .entries
            .range(from.0..)
            .map(|(pos, (epoch, bytes))| JournalEntry {
                pos: Pos(*pos),
                epoch: *epoch,
                bytes: bytes.clone(),
            })
            .collect();
        Ok(Box::new(Items(entries.into_iter())))
    }

    async fn fetch(&self, _: JournalId, at: &[Pos]) -> Result<Vec<Bytes>, StoreError> {
        self.0.fetches.fetch_add(1, Ordering::Relaxed);
        loop {
            let released = self.0.released.notified();
            if !self.0.state.lock().faults.reads_stalled {
                break;
            }
            released.await;
        }
        let state = self.0.state.lock();
        if state.faults.reads_refused {
            return Err(StoreError::Unavailable("the runtime is stopping".into()));
        }
        at.iter()
            .map(|pos| match state.entries.get(&pos.0) {
                Some((_, bytes)) => Ok(bytes.clone()),
                None => Err(StoreError::Truncated { first: Pos(pos.0 + 1) }),
            })
            .collect()
    }

    async fn snapshot_put(
        &self,
        _: JournalId,
        upto: Pos,
        mut body: Box<dyn Source<Bytes>>,
    ) -> Result<(), StoreError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = body.next().await {
            whole.extend_from_slice(&piece?);
        }
        let mut state = self.0.state.lock();
        state.snapshots.push((upto, whole.freeze()));
        let old = state.snapshots.len().saturating_sub(2);
        state.snapshots.drain(..old);
        Ok(())
    }

    async fn snapshot_get(
        &self,
        _: JournalId,
    ) -> Result<Option<(Pos, Box<dyn Source<Bytes>>)>, StoreError> {
        let state = self.0.state.lock();
        Ok(state.snapshots.last().map(|(upto, body)| {
            // In pieces that operations do not end with, as any store may give it.
            let pieces = body.chunks(PIECE).map(|piece| body.slice_ref(piece));
            let pieces: Vec<Bytes> = pieces.collect();
            (*upto, Box::new(Items(pieces.into_iter())) as Box<dyn Source<Bytes>>)
        }))
    }

    async fn space(&self) -> Result<Option<Space>, StoreError> {
        Ok(self.0.state.lock().space)
    }

    fn stretches(&self, _: JournalId) -> Vec<Stretch> {
        let state = self.0.state.lock();
        let mut stretches: Vec<Stretch> = Vec::new();
        for (pos, (_, bytes)) in &state.entries {
            let first = pos - pos % STRETCH;
            let sealed = state.tail >= first + STRETCH;
            if stretches.last().is_none_or(|last| last.entries.start != Pos(first)) {
                let entries = Pos(first)..Pos(first + STRETCH);
                stretches.push(Stretch { entries, bytes: 0, sealed });
            }
            if let Some(last) = stretches.last_mut() {
                last.bytes += bytes.len() as u64;
            }
        }
        stretches
    }

    fn losses(&self) -> Option<&dyn Losses> {
        Some(self)
    }

    fn spill(&self) -> Option<&dyn Spill> {
        self.0.spill.as_ref().map(|spill| spill as &dyn Spill)
    }

    fn coord(&self) -> &dyn Coord {
        self
    }
}

#[async_trait]
impl Losses for MemoryStore {
    fn standing(&self) -> Vec<Loss> {
        self.0.losses.lock().clone()
    }

    async fn note(&self, lost: Lost) {
        let mut losses = self.0.losses.lock();
        let number = losses.last().map_or(0, |last| last.number) + 1;
        losses.push(Loss { number, found_ms: 0, lost });
    }

    async fn accept(&self, upto: u64) -> Result<usize, StoreError> {
        let mut losses = self.0.losses.lock();
        let before = losses.len();
        losses.retain(|loss| loss.number > upto);
        Ok(before - losses.len())
    }
}

#[async_trait]
impl Coord for MemoryStore {
    async fn acquire(&self, key: &str) -> Result<Option<Lease>, StoreError> {
        let epoch = Epoch(self.0.state.lock().epoch + 1);
        Ok(Some(Lease { key: key.to_owned(), epoch }))
    }
}

#[async_trait]
impl JournalWriter for Writer {
    fn append(&mut self, entry: Rope) -> Pending<Pos> {
        let entry = entry.into_bytes();
        let (store, epoch) = (self.store.clone(), self.epoch);
        Box::pin(async move {
            loop {
                let released = store.0.released.notified();
                if store.0.state.lock().goes_on() {
                    break;
                }
                released.await;
            }
            let mut state = store.0.state.lock();
            if epoch.0 < state.epoch {
                return Err(StoreError::Fenced { by: Epoch(state.epoch) });
            }
            if state.broken || state.faults.append_fails_at == Some(0) {
                state.broken = true;
                return Err(StoreError::Unavailable("injected".into()));
            }
            if let Some(n) = &mut state.faults.append_fails_at {
                *n -= 1;
            }
            state.tail += 1;
            state.appends += 1;
            let tail = state.tail;
            state.entries.insert(tail, (epoch, entry));
            Ok(Pos(tail))
        })
    }

    async fn resync(&mut self) -> Result<Pos, StoreError> {
        Ok(self.tail())
    }

    async fn trim(&mut self, dead: &[Range<Pos>]) -> Result<(), StoreError> {
        let mut state = self.store.0.state.lock();
        let mut dead: Vec<Range<u64>> = dead.iter().map(|r| r.start.0..r.end.0).collect();
        dead.sort_unstable_by_key(|range| range.start);
        // One pass over entries and ranges: there can be many of both.
        let mut dead = dead.into_iter().peekable();
        state.entries.retain(|pos, _| {
            while dead.next_if(|range| range.end <= *pos).is_some() {}
            !dead.peek().is_some_and(|range| range.contains(pos))
        });
        Ok(())
    }

    fn tail(&self) -> Pos {
        Pos(self.store.0.state.lock().tail)
    }
}
