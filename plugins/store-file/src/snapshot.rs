//! Snapshots: written aside, synced, then given their name. The last two whole ones are kept; when the newest turns
//! out damaged, the one before stands in, and the journal behind that one is still there (see [`Snapshots::floor`]).

use crate::catalog::lock;
use crate::disk::{Disk, DiskFile, QUARANTINE, refusal};
use crate::layout::{FORMAT, snapshot_name, u32_at, u64_at};
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
/// Pieces that wait for the disk.
const QUEUED: usize = 4;
/// Small pieces are written together up to this.
const GATHERED: usize = 256 << 10;

/// The snapshots of a folder.
pub struct Snapshots {
    disk: Arc<dyn Disk>,
    known: Mutex<Known>,
    /// Makes temporary names unique: an abandoned write may still be at its file.
    nth: AtomicU64,
}

struct Known {
    /// What they stand for, in order, as far as they are not known to be damaged.
    whole: Vec<u64>,
    damaged: Vec<u64>,
}

enum Piece {
    Body(Bytes),
    /// It is complete. Without this it is thrown away.
    End,
}

impl Snapshots {
    /// The snapshots that were found, in order.
    pub fn new(disk: Arc<dyn Disk>, whole: Vec<u64>) -> Self {
        let known = Mutex::new(Known { whole, damaged: Vec::new() });
        Self { disk, known, nth: AtomicU64::new(0) }
    }

    /// Entries behind this position are needed, whatever the newest snapshot says: the one before it may have to
    /// stand in.
    pub fn floor(&self) -> u64 {
        lock(&self.known).whole.first().copied().unwrap_or(u64::MAX)
    }

    /// Stores one.
    pub async fn put(&self, upto: u64, body: Box<dyn Source<Bytes>>) -> Result<(), StoreError> {
        let (pieces, queued) = mpsc::channel(QUEUED);
        let disk = self.disk.clone();
        let temp = format!("snapshot-{}.tmp", self.nth.fetch_add(1, Ordering::Relaxed));
        let writing = spawn_blocking(move || write(&*disk, upto, &temp, queued));
        let fed = feed(body, pieces).await;
        let written = writing.await;
        fed?;
        written.unwrap_or_else(|_| Err(stopped()))?;
        let (old, damaged) = self.added(upto);
        let disk = self.disk.clone();
        spawn_blocking(move || clean(&*disk, &old, &damaged)).await.map_err(|_| stopped())
    }

    /// The newest whole one.
    pub async fn get(&self) -> Result<Option<(Pos, Box<dyn Source<Bytes>>)>, StoreError> {
        let candidates = lock(&self.known).whole.clone();
        let Some(newest) = candidates.last().copied() else { return Ok(None) };
        for upto in candidates.into_iter().rev() {
            let disk = self.disk.clone();
            let opened = spawn_blocking(move || open(&*disk, upto)).await;
            match opened.map_err(|_| stopped())? {
                Ok(body) => return Ok(Some((Pos(upto), Box::new(body)))),
                Err(error) => {
                    tracing::error!(upto, %error, "snapshot is damaged");
                    let mut known = lock(&self.known);
                    known.whole.retain(|whole| *whole != upto);
                    known.damaged.push(upto);
                }
            }
        }
        Err(StoreError::Corrupt { at: Pos(newest), detail: "no snapshot is whole".into() })
    }

    /// Counts a new one in. Which are too old now, and which are damaged and have a successor.
    fn added(&self, upto: u64) -> (Vec<u64>, Vec<u64>) {
        let mut known = lock(&self.known);
        known.damaged.retain(|damaged| *damaged != upto);
        if let Err(place) = known.whole.binary_search(&upto) {
            known.whole.insert(place, upto);
        }
        let old = known.whole.len().saturating_sub(KEPT);
        let old = known.whole.drain(..old).collect();
        (old, std::mem::take(&mut known.damaged))
    }
}

/// Whether the snapshot is of a later version: which.
pub fn newer(file: &dyn DiskFile) -> io::Result<Option<u32>> {
    let mut head = [0; HEAD];
    let read = file.read_at(0, &mut head)?;
    let head = head.get(..read).unwrap_or_default();
    let whole = head_is_whole(head).is_some();
    Ok(u32_at(head, 8).filter(|version| whole && *version > FORMAT))
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
        // Whoever does not take it any more has failed, and says so itself.
        if pieces.send(Piece::Body(piece?)).await.is_err() {
            return Ok(());
        }
    }
    let _ = pieces.send(Piece::End).await;
    Ok(())
}

fn write(
    disk: &dyn Disk,
    upto: u64,
    temp: &str,
    queued: mpsc::Receiver<Piece>,
) -> Result<(), StoreError> {
    let written = write_temp(disk, upto, temp, queued);
    let named = written.and_then(|()| {
        disk.rename(temp, &snapshot_name(upto))?;
        disk.sync_dir("")
    });
    named.map_err(|error| {
        // It may not even be there; the next start sweeps it away.
        let _ = disk.remove(temp);
        refusal("snapshot", &error)
    })
}

fn write_temp(
    disk: &dyn Disk,
    upto: u64,
    temp: &str,
    mut queued: mpsc::Receiver<Piece>,
) -> io::Result<()> {
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&FORMAT.to_le_bytes());
    head.extend_from_slice(&[0; 4]);
    head.extend_from_slice(&upto.to_le_bytes());
    head.resize(HEAD - 4, 0);
    let crc = crc32c(&head);
    head.extend_from_slice(&crc.to_le_bytes());
    let mut output = Output { file: disk.create(temp)?, at: 0, crc: 0, gathered: head };
    loop {
        match queued.blocking_recv() {
            Some(Piece::Body(piece)) => output.put(&piece)?,
            Some(Piece::End) => break,
            None => return Err(io::Error::other("its source ended early")),
        }
    }
    output.finish()
}

/// A file that is written from its beginning to its end.
struct Output {
    file: Box<dyn DiskFile>,
    at: u64,
    crc: u32,
    gathered: Vec<u8>,
}

impl Output {
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
        self.file.sync()
    }

    fn flush(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        self.write(&gathered)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(self.at, bytes)?;
        self.crc = crc32c_append(self.crc, bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// Removes old snapshots and puts damaged ones aside. What fails here only takes room.
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
        tracing::warn!(%error, "old snapshots could not be removed");
    }
}

/// A snapshot whose checksum was compared.
fn open(disk: &dyn Disk, upto: u64) -> io::Result<Body> {
    let file = disk.open(&snapshot_name(upto))?;
    let damaged = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    let size = file.size()?;
    let Some(end) = size.checked_sub(TRAILER).filter(|end| *end >= HEAD as u64) else {
        return damaged("it is cut off");
    };
    let mut trailer = [0; TRAILER as usize];
    file.read_at(end, &mut trailer)?;
    let (mut crc, mut at) = (0, 0);
    let mut block = vec![0; BLOCK];
    while at < end {
        let count = usize::try_from(end - at).unwrap_or(BLOCK).min(BLOCK);
        let Some(piece) = block.get_mut(..count) else { break };
        if file.read_at(at, piece)? < count {
            return damaged("it was cut off meanwhile");
        }
        if at == 0 && (head_is_whole(piece).is_none() || u64_at(piece, 16) != Some(upto)) {
            return damaged("its head is not that of this snapshot");
        }
        crc = crc32c_append(crc, piece);
        at += count as u64;
    }
    let (length, sum) = trailer.split_at(8);
    let crc = crc32c_append(crc, length);
    if u64_at(length, 0) != Some(end - HEAD as u64) || u32_at(sum, 0) != Some(crc) {
        return damaged("it fails its checksum");
    }
    Ok(Body { file: file.into(), at: HEAD as u64, end })
}

/// The bytes of a snapshot, block by block.
struct Body {
    file: Arc<dyn DiskFile>,
    at: u64,
    end: u64,
}

#[async_trait]
impl Source<Bytes> for Body {
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        if self.at >= self.end {
            return None;
        }
        let (file, at) = (self.file.clone(), self.at);
        let count = usize::try_from(self.end - at).unwrap_or(BLOCK).min(BLOCK);
        let read = spawn_blocking(move || {
            let mut block = vec![0; count];
            let read = file.read_at(at, &mut block)?;
            block.truncate(read);
            io::Result::Ok(block)
        });
        let read = match read.await {
            Ok(Ok(block)) if block.len() == count => Ok(Bytes::from(block)),
            Ok(Ok(_)) => Err(StoreError::Unavailable("snapshot was cut off meanwhile".into())),
            Ok(Err(error)) => Err(refusal("snapshot", &error)),
            Err(_) => Err(stopped()),
        };
        // After an error there is nothing more to come.
        self.at = if read.is_ok() { at + count as u64 } else { self.end };
        Some(read)
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the runtime is stopping".into())
}
