//! The seam to the store: one fenced, append-only journal per [`JournalId`] and a small snapshot beside it. The
//! core owns what the bytes mean; a store keeps them, in order, durably. docs/STORE.md has the layout of the
//! embedded one.
//!
//! Contract, tested by one suite for every store: positions are dense and start at 1; an append that resolved
//! `Ok` is read back after any crash; appends resolve in the order of the calls; after an error nothing more is
//! accepted by that writer; `reader` yields every entry from `from` that was not trimmed.

use crate::rope::Rope;
use async_trait::async_trait;
use bytes::Bytes;
use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use thiserror::Error;

/// What entries and snapshots may hold. It is raised by whoever gives them something that the programs before would
/// take for damage: a new operation, another field. A store says so with its bytes, and a program with a lower number
/// refuses them.
pub const ENTRY_FORMAT: u32 = 2;

/// Sequence number of an entry in one journal, dense, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pos(pub u64);

/// Grows with every owner of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Epoch(pub u64);

/// Which journal. An embedded store keeps one for the node, whatever the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JournalId {
    Meta,
    Shard(u16),
    Part { stream: u64, part: u32 },
}

/// The right to write a journal.
#[derive(Debug, Clone)]
pub struct Lease {
    pub key: String,
    pub epoch: Epoch,
}

/// One entry as it was appended.
#[derive(Debug, Clone)]
pub struct JournalEntry {
    pub pos: Pos,
    pub epoch: Epoch,
    pub bytes: Bytes,
}

/// What a store can do.
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    /// Bytes of one entry at most; a larger batch is written as parts.
    pub max_entry: usize,
    /// Appends that may be outstanding.
    pub in_flight: usize,
    /// Several nodes see the same journal.
    pub shared: bool,
}

/// Why a store refused.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Somebody with a higher epoch owns the journal.
    #[error("journal is owned by epoch {by:?}")]
    Fenced { by: Epoch },
    /// The outcome is not known; only `resync` tells.
    #[error("outcome of the append is not known")]
    Unknown,
    /// The entry was trimmed away.
    #[error("journal begins at {first:?}")]
    Truncated { first: Pos },
    /// Damage in the middle of the journal.
    #[error("damaged entry at {at:?}: {detail}")]
    Corrupt { at: Pos, detail: String },
    #[error("no space left")]
    Full,
    #[error("store is not available: {0}")]
    Unavailable(String),
}

/// Room where a store writes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What may still be written, the store's own reserve not counted.
    pub free: u64,
    pub total: u64,
}

/// A part of a journal that is removed as a whole, once nothing in it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Its entries.
    pub entries: Range<Pos>,
    /// Bytes that go with it.
    pub bytes: u64,
    /// Nothing more is written to it.
    pub sealed: bool,
}

/// A backup that somebody wants.
#[derive(Debug, Clone)]
pub struct BackupOrder {
    /// The folder of backups. It is on the machine of the store.
    pub into: PathBuf,
    /// How many backups are left there afterwards, the new one included; none: all.
    pub keep: Option<usize>,
    /// Bytes to leave free where the store writes; none: the store's own choice.
    pub leave_free: Option<u64>,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupMade {
    pub folder: PathBuf,
    /// The last entry in it.
    pub upto: Pos,
    pub copied_bytes: u64,
    /// Bytes that the backup before had already.
    pub reused_bytes: u64,
    /// What somebody should look at: damage that the store has, and the backup as well.
    pub findings: Vec<String>,
}

/// A result that arrives later; the store works on it meanwhile.
pub type Pending<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// A sequence read piece by piece.
#[async_trait]
pub trait Source<T>: Send {
    /// The next item; `None` at the end.
    async fn next(&mut self) -> Option<Result<T, StoreError>>;
}

/// One store for each process.
#[async_trait]
pub trait Store: Send + Sync {
    /// Limits and abilities.
    fn caps(&self) -> Caps;
    /// Becomes the only writer of `journal`.
    async fn open(
        &self,
        journal: JournalId,
        lease: &Lease,
    ) -> Result<Box<dyn JournalWriter>, StoreError>;
    /// Entries from `from` on, in order, to the tail at the time of the call.
    async fn reader(
        &self,
        journal: JournalId,
        from: Pos,
    ) -> Result<Box<dyn Source<JournalEntry>>, StoreError>;
    /// Whole entries at these positions, in the order asked for.
    async fn fetch(&self, journal: JournalId, at: &[Pos]) -> Result<Vec<Bytes>, StoreError>;
    /// Stores a snapshot that stands for everything up to `upto`; the last two are kept.
    async fn snapshot_put(
        &self,
        journal: JournalId,
        upto: Pos,
        body: Box<dyn Source<Bytes>>,
    ) -> Result<(), StoreError>;
    /// The newest whole snapshot.
    async fn snapshot_get(
        &self,
        journal: JournalId,
    ) -> Result<Option<(Pos, Box<dyn Source<Bytes>>)>, StoreError>;
    /// Room where it writes; none where that has no meaning.
    async fn space(&self) -> Result<Option<Space>, StoreError>;
    /// The parts of the journal, oldest first; none where there are no parts.
    fn stretches(&self, journal: JournalId) -> Vec<Stretch>;
    /// Room for what leaves memory and need not survive; none where such records go to the journal.
    fn spill(&self) -> Option<&dyn Spill> {
        None
    }
    /// What is known to be lost; none where no list of it is kept.
    fn losses(&self) -> Option<&dyn Losses> {
        None
    }
    /// Copies what is stored, as it is at some moment after the call, without holding anybody up. Everything whose
    /// append resolved before the call is in the copy. An error says what it means and what to do: nothing of the copy
    /// is left then.
    async fn backup(&self, order: BackupOrder) -> Result<BackupMade, StoreError> {
        let into = order.into.display();
        Err(StoreError::Unavailable(format!("{into}: this kind of store makes no backups itself")))
    }
    /// Leases and membership.
    fn coord(&self) -> &dyn Coord;
}

/// Something stored that is lost, as whoever finds it knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Where it was: a file of the store, or a queue.
    pub place: String,
    /// What happened, in words, without the numbers.
    pub what: String,
    /// Entries of a file, or messages of a queue; none: not known.
    pub records: Option<u64>,
    pub bytes: Option<u64>,
    /// A crash explains it as well, and then nothing is lost that was acknowledged.
    pub may_be_nothing: bool,
}

/// One of the losses that a store knows of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// From 1, in the order in which they were found.
    pub number: u64,
    /// Milliseconds since 1970 when it was found.
    pub found_ms: u64,
    pub lost: Lost,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        let records = self.records.map(|count| format!("{count} records"));
        let bytes = self.bytes.map(|count| format!("{count} bytes"));
        match (records, bytes) {
            (Some(records), Some(bytes)) => write!(f, " ({records}, {bytes})"),
            (Some(one), None) | (None, Some(one)) => write!(f, " ({one})"),
            (None, None) => f.write_str(" (how much is not known)"),
        }
    }
}

/// What a store knows to be lost, over restarts, until an operator has accepted it.
#[async_trait]
pub trait Losses: Send + Sync {
    /// Those that nobody has accepted, in the order of their numbers.
    fn standing(&self) -> Vec<Loss>;
    /// Adds one. Records and bytes of the same place that were lost in the same way are added up.
    async fn note(&self, lost: Lost);
    /// An operator has seen those up to this number: they are not among the standing ones any more. Returns how many.
    async fn accept(&self, upto: u64) -> Result<usize, StoreError>;
}

/// Room on the disk for what may leave memory and need not survive the process: nothing in it is synced, and it is
/// empty after every start.
#[async_trait]
pub trait Spill: Send + Sync {
    /// Writes a piece; returns its number, below 2⁶³ and never given twice. [`StoreError::Full`]: it holds as much as
    /// it may, or the disk is full.
    async fn put(&self, piece: Rope) -> Result<u64, StoreError>;
    /// The piece of that number.
    async fn get(&self, piece: u64) -> Result<Bytes, StoreError>;
    /// The piece of that number is not needed any more.
    fn free(&self, piece: u64);
}

/// The single writer of one journal.
#[async_trait]
pub trait JournalWriter: Send {
    /// Queues an entry; durable when the future resolves. In order, pipelined up to [`Caps::in_flight`].
    fn append(&mut self, entry: Rope) -> Pending<Pos>;
    /// After [`StoreError::Unknown`]: the last position that is in.
    async fn resync(&mut self) -> Result<Pos, StoreError>;
    /// A hint: nothing in these ranges is needed any more. It overtakes appends that wait for disk space; who trims
    /// because of an append awaits that append first.
    async fn trim(&mut self, dead: &[Range<Pos>]) -> Result<(), StoreError>;
    /// Position of the last entry.
    fn tail(&self) -> Pos;
}

/// Who may write what. An embedded store always owns everything; its epoch counts the starts.
#[async_trait]
pub trait Coord: Send + Sync {
    /// The lease on `key`, if nobody else holds it.
    async fn acquire(&self, key: &str) -> Result<Option<Lease>, StoreError>;
}

/// A source over items that are at hand.
pub struct Items<T>(pub std::vec::IntoIter<T>);

#[async_trait]
impl<T: Send> Source<T> for Items<T> {
    async fn next(&mut self) -> Option<Result<T, StoreError>> {
        self.0.next().map(Ok)
    }
}
