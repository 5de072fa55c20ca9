//! The store itself: opens a folder and implements the core's `Store` trait with the other modules.

use crate::backup::{BackupOptions, backup};
use crate::catalog::{Catalog, Segment, lock};
use crate::disk::{Disk, RealDisk, refusal};
use crate::fetch::fetch;
use crate::figures::Figures;
use crate::layout::{ALIGN, FIRST_RECORD, MAX_ENTRY, RECORD_HEADER};
use crate::losses::KeptLosses;
use crate::manifest::Manifest;
use crate::reader::Reader;
use crate::recovery::{Recovered, Start, Tail, recover};
use crate::reserve::Reserve;
use crate::snapshot::Snapshots;
use crate::spare::Maker;
use crate::spill::SpillFiles;
use crate::survey::OpenError;
use crate::writer::Writer;
use async_trait::async_trait;
use bytes::Bytes;
use crossdock_core::store::{
    BackupMade, BackupOrder, Caps, Coord, Epoch, JournalEntry, JournalId, JournalWriter, Lease,
    Losses, Pos, Source, Space, Spill, Store, StoreError, Stretch,
};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::task::spawn_blocking;

const SEGMENT_BYTES: u64 = 64 << 20;
const SEGMENT_BYTES_MIN: u64 = 8 << 10;
/// The offset of an entry in its segment is kept in four bytes.
const SEGMENT_BYTES_MAX: u64 = 2 << 30;
const IN_FLIGHT: usize = 256;
/// Bytes of spill files, where nothing else is said.
const SPILL_BYTES: u64 = 8 << 30;

/// Where a store is, and its limits.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder; created if it does not exist.
    pub dir: PathBuf,
    /// Bytes of one segment file, from 8 KiB to 2 GiB; a value outside is replaced by the nearer limit.
    pub segment_bytes: u64,
    /// Appends that may wait for their outcome at the same time; at least one.
    pub in_flight: usize,
    /// Bytes that messages which need not survive may take on the disk when they leave memory.
    pub spill_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dir: "store".into(),
            segment_bytes: SEGMENT_BYTES,
            in_flight: IN_FLIGHT,
            spill_bytes: SPILL_BYTES,
        }
    }
}

/// The embedded store: one journal, whatever the [`JournalId`]. A folder belongs to one process at a time.
pub struct FileStore {
    shared: Arc<Shared>,
    /// None when it was opened for reading only, as the next one.
    spill: Option<SpillFiles>,
    losses: Option<KeptLosses>,
    dir: PathBuf,
}

/// What the store, its writer and its readers share.
pub struct Shared {
    pub disk: Arc<dyn Disk>,
    pub catalog: Catalog,
    pub snapshots: Arc<Snapshots>,
    pub reserve: Arc<Reserve>,
    pub figures: Mutex<Figures>,
    pub segment_bytes: u64,
    pub in_flight: usize,
    /// No writer can be opened, and no file is changed.
    pub read_only: bool,
    /// Starts of the store so far.
    pub epoch: u64,
    /// Where the next writer continues; none while a writer is open, or after it has failed.
    pub resting: Mutex<Option<(Manifest, Tail)>>,
}

impl Shared {
    /// Bytes of one entry at most.
    pub fn max_entry(&self) -> usize {
        let free = self.segment_bytes.saturating_sub(FIRST_RECORD + RECORD_HEADER as u64);
        usize::try_from(free).unwrap_or(MAX_ENTRY).min(MAX_ENTRY)
    }

    /// Creates this store's spare segments.
    pub fn maker(&self) -> Maker {
        let (disk, reserve) = (self.disk.clone(), self.reserve.clone());
        Maker::new(disk, reserve, self.segment_bytes, self.max_entry())
    }

    /// The writer has ended; the next one may continue from this tail.
    pub fn rest(&self, manifest: Manifest, tail: Tail) {
        *lock(&self.resting) = Some((manifest, tail));
    }
}

impl FileStore {
    /// Opens the store in a folder, or creates one. Blocks while it reads the journal.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let Options { dir, segment_bytes, in_flight, spill_bytes } = options;
        let disk = RealDisk::new(&dir);
        let disk = disk.map_err(|source| OpenError::Io { file: dir.clone(), source })?;
        let salt = RandomState::new().hash_one(&dir) as u32;
        let disk = Arc::new(disk);
        let mut store = Self::on(disk.clone(), &dir, Start { segment_bytes, salt }, in_flight)?;
        store.spill = Some(SpillFiles::new(disk, spill_bytes));
        Ok(store)
    }

    /// Opens the store on a disk; `dir` is for messages.
    pub(crate) fn on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        start: Start,
        in_flight: usize,
    ) -> Result<Self, OpenError> {
        let segment_bytes = start.segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let segment_bytes = segment_bytes - segment_bytes % ALIGN;
        let start = Start { segment_bytes, ..start };
        let recovered = recover(&disk, dir, start)?;
        let Recovered { manifest, catalog, tail, snapshots, reserve, losses } = recovered;
        tracing::info!(
            dir = %dir.display(),
            tail = catalog.tail(),
            segments = manifest.segments.len(),
            snapshot = snapshots.last().copied().unwrap_or(0),
            start = manifest.boots,
            "store is open"
        );
        let snapshots = Snapshots::new(disk.clone(), reserve.clone(), snapshots, false);
        let shared = Arc::new(Shared {
            snapshots: Arc::new(snapshots),
            disk,
            catalog,
            reserve,
            figures: Mutex::default(),
            segment_bytes,
            in_flight: in_flight.max(1),
            read_only: false,
            epoch: manifest.boots,
            resting: Mutex::new(Some((manifest, tail))),
        });
        let losses = Some(KeptLosses(losses));
        Ok(Self { shared, spill: None, losses, dir: dir.to_owned() })
    }

    /// Opens the folder's contents for reading. No file is changed, and another process may have the store open.
    pub fn read_only(dir: &Path) -> Result<Self, OpenError> {
        let shared = crate::verify::look(Arc::new(RealDisk::read_only(dir)), dir)?;
        Ok(Self { shared: Arc::new(shared), spill: None, losses: None, dir: dir.to_owned() })
    }

    /// How the journal has worked since the store was opened.
    pub fn figures(&self) -> Figures {
        *lock(&self.shared.figures)
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }
}

/// The answer to a write when the store was opened for reading.
fn only_read() -> StoreError {
    StoreError::Unavailable("the store was opened for reading only".into())
}

fn stopping(_: tokio::task::JoinError) -> StoreError {
    StoreError::Unavailable("the runtime is stopping".into())
}

#[async_trait]
impl Store for FileStore {
    fn caps(&self) -> Caps {
        Caps { max_entry: self.shared.max_entry(), in_flight: self.shared.in_flight, shared: false }
    }

    async fn open(
        &self,
        _: JournalId,
        lease: &Lease,
    ) -> Result<Box<dyn JournalWriter>, StoreError> {
        if self.shared.read_only {
            return Err(only_read());
        }
        if lease.epoch.0 < self.shared.epoch {
            return Err(StoreError::Fenced { by: Epoch(self.shared.epoch) });
        }
        let Some(tail) = lock(&self.shared.resting).take() else {
            let reason = "the journal has a writer, or its writer has failed";
            return Err(StoreError::Unavailable(reason.into()));
        };
        match Writer::start(self.shared.clone(), tail, lease.epoch.0) {
            Ok(writer) => Ok(Box::new(writer)),
            Err(error) => {
                Err(StoreError::Unavailable(format!("cannot start the journal's thread: {error}")))
            }
        }
    }

    async fn reader(
        &self,
        _: JournalId,
        from: Pos,
    ) -> Result<Box<dyn Source<JournalEntry>>, StoreError> {
        Ok(Box::new(Reader::new(&self.shared.catalog, from.0)))
    }

    async fn fetch(&self, _: JournalId, at: &[Pos]) -> Result<Vec<Bytes>, StoreError> {
        let (shared, at) = (self.shared.clone(), at.to_vec());
        spawn_blocking(move || fetch(&shared.catalog, &at)).await.map_err(stopping)?
    }

    async fn snapshot_put(
        &self,
        _: JournalId,
        upto: Pos,
        body: Box<dyn Source<Bytes>>,
    ) -> Result<(), StoreError> {
        if self.shared.read_only {
            return Err(only_read());
        }
        self.shared.snapshots.put(upto.0, body).await
    }

    async fn snapshot_get(
        &self,
        _: JournalId,
    ) -> Result<Option<(Pos, Box<dyn Source<Bytes>>)>, StoreError> {
        self.shared.snapshots.get().await
    }

    async fn space(&self) -> Result<Option<Space>, StoreError> {
        let disk = self.shared.disk.clone();
        let space = spawn_blocking(move || disk.space()).await.map_err(stopping)?;
        let space = space.map_err(|error| refusal("cannot read the free disk space", &error))?;
        let missing = self.shared.reserve.missing();
        Ok(space.map(|space| Space { free: space.free.saturating_sub(missing), ..space }))
    }

    fn stretches(&self, _: JournalId) -> Vec<Stretch> {
        let segments = self.shared.catalog.from(0);
        let open = segments.last().map(|segment| segment.first);
        let stretch = |segment: &Arc<Segment>| Stretch {
            entries: Pos(segment.first)..Pos(segment.last().saturating_add(1)),
            bytes: segment.capacity,
            sealed: Some(segment.first) != open,
        };
        segments.iter().map(stretch).collect()
    }

    fn spill(&self) -> Option<&dyn Spill> {
        self.spill.as_ref().map(|spill| spill as &dyn Spill)
    }

    fn losses(&self) -> Option<&dyn Losses> {
        self.losses.as_ref().map(|losses| losses as &dyn Losses)
    }

    async fn backup(&self, order: BackupOrder) -> Result<BackupMade, StoreError> {
        let dir = self.dir.clone();
        let BackupOrder { into, keep, leave_free } = order;
        let options = BackupOptions { keep, leave_free };
        let made = spawn_blocking(move || backup(&dir, &into, options)).await.map_err(stopping)?;
        let made = made.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let mut findings: Vec<String> = made
            .copied
            .damage
            .iter()
            .map(|finding| format!("the store is damaged: {finding}"))
            .collect();
        findings
            .extend(made.not_removed.map(|why| format!("an old backup was not removed: {why}")));
        Ok(BackupMade {
            folder: made.folder,
            upto: made.copied.upto,
            copied_bytes: made.copied.copied_bytes,
            reused_bytes: made.copied.reused_bytes,
            findings,
        })
    }

    fn coord(&self) -> &dyn Coord {
        self
    }
}

#[async_trait]
impl Coord for FileStore {
    async fn acquire(&self, key: &str) -> Result<Option<Lease>, StoreError> {
        if self.shared.read_only {
            return Ok(None);
        }
        Ok(Some(Lease { key: key.to_owned(), epoch: Epoch(self.shared.epoch) }))
    }
}
