//! Snapshots: written to a temporary file, synced, then renamed. The last two undamaged ones are kept; when the newest
//! turns out damaged, the one before it is used, and the journal behind that one still exists (see
//! [`Snapshots::floor`]).

use crate::catalog::lock;
use crate::disk::{Disk, DiskFile, QUARANTINE, is_full, refusal, sync_names};
use crate::layout::{FORMAT, snapshot_name, snapshot_upto, u32_at, u64_at};
use crate::reserve::Reserve;
use crate::window::BLOCK;
use async_trait::async_trait;
use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};
use crossdock_core::store::{Pos, Source, StoreError};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

const MAGIC: [u8; 8] = *b"XDKSNAPS";
const HEAD: usize = 32;
const TRAILER: u64 = 12;
const KEPT: usize = 2;
/// Pieces of a snapshot that may wait to be written.
const QUEUED: usize = 4;
/// Small pieces are gathered and written together, up to this many bytes.
const GATHERED: usize = 256 << 10;

/// The snapshots of a folder.
pub struct Snapshots {
    disk: Arc<dyn Disk>,
    reserve: Arc<Reserve>,
    known: Mutex<Known>,
    /// Another process writes them: the folder is listed each time, and no file is changed.
    read_only: bool,
    /// Makes temporary names unique: an abandoned write may still be using its file.
    nth: AtomicU64,
}

struct Known {
    /// Last positions that the snapshots cover, ascending; those known to be damaged are in `damaged`.
    whole: Vec<u64>,
    damaged: Vec<u64>,
}

/// A part of a snapshot that is being written.
pub enum Piece {
    Body(Bytes),
    /// The snapshot is complete. Without this it is thrown away.
    End,
}

impl Snapshots {
    /// The snapshots that were found, ascending.
    pub fn new(
        disk: Arc<dyn Disk>,
        reserve: Arc<Reserve>,
        whole: Vec<u64>,
        read_only: bool,
    ) -> Self {
        let known = Mutex::new(Known { whole, damaged: Vec::new() });
        Self { disk, reserve, known, read_only, nth: AtomicU64::new(0) }
    }

    /// Entries behind this position are needed even if the newest snapshot covers them: the snapshot before it may have
    /// to be used.
    pub fn floor(&self) -> u64 {
        lock(&self.known).whole.first().copied().unwrap_or(u64::MAX)
    }

    /// Stores a snapshot.
    pub async fn put(
        self: &Arc<Self>,
        upto: u64,
        body: Box<dyn Source<Bytes>>,
    ) -> Result<(), StoreError> {
        let (pieces, mut queued) = mpsc::channel(QUEUED);
        let snapshots = self.clone();
        let writing = spawn_blocking(move || snapshots.write(upto, &mut || queued.blocking_recv()));
        let fed = feed(body, pieces).await;
        let written = writing.await;
        fed?;
        written.unwrap_or_else(|_| Err(stopped()))
    }

    /// Stores a snapshot, piece by piece, on this thread.
    pub fn write(
        &self,
        upto: u64,
        next: &mut dyn FnMut() -> Option<Piece>,
    ) -> Result<(), StoreError> {
        let temp = format!("snapshot-{}.tmp", self.nth.fetch_add(1, Ordering::Relaxed));
        let named = self.write_temp(upto, &temp, next).and_then(|()| {
            self.reserve.spend(|| self.disk.rename(&temp, &snapshot_name(upto)))?;
            // Also when the rename is not synced: the file may exist after a crash, and may then have to be used.
            self.add(upto);
            sync_names(&*self.disk)
        });
        if let Err(error) = named {
            // The file may not exist; if deleting it fails, the next start deletes it.
            let _ = self.disk.remove(&temp);
            return Err(refusal("snapshot", &error));
        }
        let (old, damaged) = self.retire();
        if !old.is_empty() || !damaged.is_empty() {
            clean(&*self.disk, &old, &damaged);
        }
        Ok(())
    }

    fn write_temp(
        &self,
        upto: u64,
        temp: &str,
        next: &mut dyn FnMut() -> Option<Piece>,
    ) -> io::Result<()> {
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&FORMAT.to_le_bytes());
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&upto.to_le_bytes());
        head.resize(HEAD - 4, 0);
        let crc = crc32c(&head);
        head.extend_from_slice(&crc.to_le_bytes());
        let file = self.reserve.spend(|| self.disk.create(temp))?;
        let mut output = Output { file, reserve: &self.reserve, at: 0, crc: 0, gathered: head };
        loop {
            match next() {
                Some(Piece::Body(piece)) => output.put(&piece)?,
                Some(Piece::End) => break,
                None => return Err(io::Error::other("the snapshot's source ended early")),
            }
        }
        output.finish()
    }

    /// The newest undamaged snapshot.
    pub async fn get(
        self: &Arc<Self>,
    ) -> Result<Option<(Pos, Box<dyn Source<Bytes>>)>, StoreError> {
        let snapshots = self.clone();
        let found = spawn_blocking(move || snapshots.newest()).await.map_err(|_| stopped())??;
        Ok(found.map(|(upto, body)| (Pos(upto), Box::new(body) as Box<dyn Source<Bytes>>)))
    }

    /// The newest undamaged snapshot, looked up on this thread.
    pub fn newest(&self) -> Result<Option<(u64, Body)>, StoreError> {
        if self.read_only {
            let names = self.disk.list().map_err(|error| refusal("snapshots", &error))?;
            let mut whole: Vec<u64> = names.iter().filter_map(|name| snapshot_upto(name)).collect();
            whole.sort_unstable();
            lock(&self.known).whole = whole;
        }
        let candidates = lock(&self.known).whole.clone();
        let Some(newest) = candidates.last().copied() else { return Ok(None) };
        for upto in candidates.into_iter().rev() {
            match open(&*self.disk, upto) {
                Ok(body) => return Ok(Some((upto, body))),
                Err(error) => {
                    tracing::error!(upto, %error, "a snapshot is damaged and is not used");
                    let mut known = lock(&self.known);
                    known.whole.retain(|whole| *whole != upto);
                    known.damaged.push(upto);
                }
            }
        }
        Err(StoreError::Corrupt { at: Pos(newest), detail: "every snapshot is damaged".into() })
    }

    /// Adds a new snapshot to the known ones.
    fn add(&self, upto: u64) {
        let mut known = lock(&self.known);
        known.damaged.retain(|damaged| *damaged != upto);
        if let Err(place) = known.whole.binary_search(&upto) {
            known.whole.insert(place, upto);
        }
    }

    /// Snapshots that are no longer needed now that a newer one is stored, and damaged ones that have a successor.
    fn retire(&self) -> (Vec<u64>, Vec<u64>) {
        let mut known = lock(&self.known);
        let old = known.whole.len().saturating_sub(KEPT);
        let old = known.whole.drain(..old).collect();
        (old, std::mem::take(&mut known.damaged))
    }
}

/// The format version of a snapshot if it is newer than this program's. One that cannot be read is damaged, not newer.
pub fn newer(file: &dyn DiskFile) -> Option<u32> {
    let mut head = [0; HEAD];
    let read = file.read_at(0, &mut head).unwrap_or(0);
    let head = head.get(..read).unwrap_or_default();
    let whole = head_is_whole(head).is_some();
    u32_at(head, 8).filter(|version| whole && *version > FORMAT)
}

fn head_is_whole(head: &[u8]) -> Option<()> {
    let covered = head.get(..HEAD - 4)?;
    let crc = u32_at(head, HEAD - 4)?;
    (covered.starts_with(&MAGIC) && crc == crc32c(covered)).then_some(())
}

async fn feed(
    mut body: Box<dyn Source<Bytes>>,
    pieces: mpsc::Sender<Piece>,
) -> Result<(), StoreError> {
    while let Some(piece) = body.next().await {
        // The receiver is gone only after an error, which it reports itself.
        if pieces.send(Piece::Body(piece?)).await.is_err() {
            return Ok(());
        }
    }
    let _ = pieces.send(Piece::End).await;
    Ok(())
}

/// A file that is written once, from start to end.
struct Output<'a> {
    file: Box<dyn DiskFile>,
    reserve: &'a Reserve,
    at: u64,
    crc: u32,
    gathered: Vec<u8>,
}

impl Output<'_> {
    fn put(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.gathered.len().saturating_add(piece.len()) > GATHERED {
            self.flush()?;
        }
        if piece.len() > GATHERED {
            return self.write(piece);
        }
        self.gathered.extend_from_slice(piece);
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        let length = self.at.saturating_sub(HEAD as u64).to_le_bytes();
        let crc = crc32c_append(self.crc, &length);
        self.gathered.extend_from_slice(&length);
        self.gathered.extend_from_slice(&crc.to_le_bytes());
        self.flush()?;
        // The space is freed for the next snapshot: a file whose sync failed is not synced again.
        self.file.sync().inspect_err(|error| {
            if is_full(error) {
                self.reserve.release();
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        self.write(&gathered)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reserve.spend(|| self.file.write_at(self.at, bytes))?;
        self.crc = crc32c_append(self.crc, bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// Deletes old snapshots and moves damaged ones to the quarantine. A failure here only costs disk space.
fn clean(disk: &dyn Disk, old: &[u64], damaged: &[u64]) {
    let mut cleaned = Ok(());
    if !damaged.is_empty() {
        cleaned = cleaned.and(disk.make_dir(QUARANTINE));
    }
    for name in damaged.iter().map(|upto| snapshot_name(*upto)) {
        cleaned = cleaned.and(disk.rename(&name, &format!("{QUARANTINE}/{name}")));
    }
    for upto in old {
        cleaned = cleaned.and(disk.remove(&snapshot_name(*upto)));
    }
    if let Err(error) = cleaned.and(disk.sync_dir("")) {
        tracing::warn!(%error, "cannot delete old snapshots; they take disk space until a later try");
    }
}

/// Opens a snapshot and compares its checksum.
pub fn open(disk: &dyn Disk, upto: u64) -> io::Result<Body> {
    let file = disk.open(&snapshot_name(upto))?;
    let end = whole(&*file, upto)?;
    Ok(Body { file: file.into(), at: HEAD as u64, end })
}

/// Reads a whole snapshot and compares its checksum. Returns where its body ends.
pub fn whole(file: &dyn DiskFile, upto: u64) -> io::Result<u64> {
    let damaged = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    let size = file.size()?;
    let Some(end) = size.checked_sub(TRAILER).filter(|end| *end >= HEAD as u64) else {
        return damaged("the file is too short");
    };
    let mut trailer = [0; TRAILER as usize];
    file.read_at(end, &mut trailer)?;
    let (mut crc, mut at) = (0, 0);
    let mut block = vec![0; usize::try_from(end).unwrap_or(BLOCK).min(BLOCK)];
    while at < end {
        let count = usize::try_from(end - at).unwrap_or(BLOCK).min(BLOCK);
        let Some(piece) = block.get_mut(..count) else { break };
        if file.read_at(at, piece)? < count {
            return damaged("the file became shorter while it was read");
        }
        if at == 0 && (head_is_whole(piece).is_none() || u64_at(piece, 16) != Some(upto)) {
            return damaged("the header is damaged or of another snapshot");
        }
        crc = crc32c_append(crc, piece);
        at += count as u64;
    }
    let (length, sum) = trailer.split_at(8);
    let crc = crc32c_append(crc, length);
    if u64_at(length, 0) != Some(end - HEAD as u64) || u32_at(sum, 0) != Some(crc) {
        return damaged("the checksum does not match");
    }
    Ok(end)
}

/// The size of a snapshot and the checksum at its end, which tell it from another one.
pub fn mark(file: &dyn DiskFile) -> io::Result<(u64, [u8; TRAILER as usize])> {
    let (size, mut trailer) = (file.size()?, [0; TRAILER as usize]);
    file.read_at(size.saturating_sub(TRAILER), &mut trailer)?;
    Ok((size, trailer))
}

/// Reads the body of a snapshot, block by block.
pub struct Body {
    file: Arc<dyn DiskFile>,
    at: u64,
    end: u64,
}

impl Body {
    /// Size of the body in bytes.
    pub fn bytes(&self) -> u64 {
        self.end - HEAD as u64
    }

    /// The next block; none at the end, and none after an error.
    pub fn block(&mut self) -> Option<Result<Bytes, StoreError>> {
        let left = self.end.checked_sub(self.at).filter(|left| *left > 0)?;
        let mut block = vec![0; usize::try_from(left).unwrap_or(BLOCK).min(BLOCK)];
        let read = match self.file.read_at(self.at, &mut block) {
            Ok(read) if read == block.len() => Ok(Bytes::from(block)),
            Ok(_) => {
                Err(StoreError::Unavailable("the snapshot became shorter while it was read".into()))
            }
            Err(error) => Err(refusal("snapshot", &error)),
        };
        self.at = read.as_ref().map_or(self.end, |block| self.at + block.len() as u64);
        Some(read)
    }
}

#[async_trait]
impl Source<Bytes> for Body {
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        let mut body = Self { file: self.file.clone(), at: self.at, end: self.end };
        let read = spawn_blocking(move || (body.block(), body.at)).await;
        match read {
            Ok((read, at)) => {
                self.at = at;
                read
            }
            Err(_) => {
                self.at = self.end;
                Some(Err(stopped()))
            }
        }
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the runtime is stopping".into())
}
