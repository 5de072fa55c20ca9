//! A start: what the files of a folder hold. It may be stopped at any point and begun again.
//!
//! ```text
//! lock → sweep temporary files → manifest → remove what it does not list → scan each segment
//!      → cut the torn tail → check against the snapshots → write the manifest with one more start
//! ```

use crate::catalog::{Catalog, NoFile, Segment};
use crate::disk::{Disk, DiskFile, QUARANTINE};
use crate::layout::{
    Bad, FIRST_RECORD, FORMAT, SegmentHeader, segment_first, segment_name, snapshot_upto,
};
use crate::manifest::{End, Listed, MANIFEST, Manifest};
use crate::scan::{Scanned, scan};
use crate::snapshot;
use crate::spare::Spare;
use crate::window::{BLOCK, Extent};
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use thiserror::Error;

const LOCK: &str = "lock";
/// The first segment is no larger, so that a first start does not wait for the disk.
const FIRST_SEGMENT_MAX: u64 = 8 << 20;

/// Why a store could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{} is in use by another process", .file.display())]
    Locked { file: PathBuf },
    #[error("{} has format {found}; this program reads formats up to {known}", .file.display())]
    NewerFormat { file: PathBuf, found: u32, known: u32 },
    #[error("{}: {source}", .file.display())]
    Io { file: PathBuf, source: io::Error },
    #[error("{} is damaged: {reason}", .file.display())]
    Corrupt { file: PathBuf, reason: String },
}

/// Where the next record goes.
pub struct Tail {
    pub active: Arc<Segment>,
    /// Bytes of it that are written.
    pub used: u64,
    /// Checksum of the last record.
    pub crc: u32,
}

/// What was found.
pub struct Recovered {
    pub manifest: Manifest,
    pub catalog: Catalog,
    pub tail: Tail,
    /// What the snapshots stand for, in order.
    pub snapshots: Vec<u64>,
}

/// Makes a folder ready for reading and writing.
pub fn recover(disk: &dyn Disk, dir: &Path, segment_bytes: u64) -> Result<Recovered, OpenError> {
    Recovery { disk, dir, segment_bytes }.run()
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    /// For messages.
    dir: &'a Path,
    segment_bytes: u64,
}

impl Recovery<'_> {
    fn run(&self) -> Result<Recovered, OpenError> {
        if !self.at(LOCK, self.disk.lock(LOCK))? {
            return Err(OpenError::Locked { file: self.dir.join(LOCK) });
        }
        let names = self.at("", self.disk.list())?;
        self.sweep(&names)?;
        let snapshots = self.snapshots(&names)?;
        let there: BTreeSet<u64> = names.iter().filter_map(|name| segment_first(name)).collect();
        let mut manifest = self.manifest(&there)?;
        self.remove_unlisted(&there, &manifest)?;
        let catalog = Catalog::default();
        let (mut epoch, mut last) = (manifest.boots, None);
        for listed in &manifest.segments {
            let (segment, found, writable) = self.segment(*listed, manifest.salt)?;
            epoch = epoch.max(found.epoch);
            catalog.insert(segment.clone());
            last = Some((Tail { active: segment, used: found.end, crc: found.crc }, writable));
        }
        let tail = self.tail(last, &catalog, &mut manifest, snapshots.last().copied())?;
        manifest.boots = epoch.saturating_add(1);
        self.at(MANIFEST, manifest.store(self.disk))?;
        Ok(Recovered { manifest, catalog, tail, snapshots })
    }

    /// An I/O error with its file.
    fn at<T>(&self, name: &str, result: io::Result<T>) -> Result<T, OpenError> {
        result.map_err(|source| OpenError::Io { file: self.dir.join(name), source })
    }

    fn sweep(&self, names: &[String]) -> Result<(), OpenError> {
        for name in names.iter().filter(|name| name.ends_with(".tmp")) {
            self.at(name, self.disk.remove(name))?;
        }
        Ok(())
    }

    fn snapshots(&self, names: &[String]) -> Result<Vec<u64>, OpenError> {
        let mut all = Vec::new();
        for (name, upto) in names.iter().filter_map(|name| Some((name, snapshot_upto(name)?))) {
            let file = self.at(name, self.disk.open(name))?;
            if let Some(found) = self.at(name, snapshot::newer(&*file))? {
                return Err(self.newer(name, found));
            }
            all.push(upto);
        }
        all.sort_unstable();
        Ok(all)
    }

    fn newer(&self, name: &str, found: u32) -> OpenError {
        OpenError::NewerFormat { file: self.dir.join(name), found, known: FORMAT }
    }

    fn manifest(&self, there: &BTreeSet<u64>) -> Result<Manifest, OpenError> {
        match self.at(MANIFEST, Manifest::load(self.disk))? {
            Some(Ok(manifest)) => Ok(manifest),
            Some(Err(Bad::Newer(found))) => Err(self.newer(MANIFEST, found)),
            None if there.is_empty() => {
                let salt = RandomState::new().hash_one(there) as u32;
                let manifest = Manifest { boots: 0, salt, segments: Vec::new() };
                // Before the first segment: a folder with segments always has a manifest.
                self.at(MANIFEST, manifest.store(self.disk))?;
                Ok(manifest)
            }
            Some(Err(Bad::Damaged(reason))) => self.rebuild(there, reason),
            None => self.rebuild(there, "manifest is missing"),
        }
    }

    /// A manifest out of the segments that are there. Some of them may have been trimmed: that does no harm.
    fn rebuild(&self, there: &BTreeSet<u64>, reason: &str) -> Result<Manifest, OpenError> {
        let mut salt = None;
        for first in there {
            let name = segment_name(*first);
            let file = self.at(&name, self.disk.open(&name))?;
            match self.at(&name, read_header(&*file))? {
                Ok(header) => salt = salt.or(Some(header.salt)),
                Err(Bad::Newer(found)) => return Err(self.newer(&name, found)),
                Err(Bad::Damaged(_)) => {}
            }
        }
        let Some(salt) = salt else {
            let reason = format!("{reason}, and no segment can be read");
            return Err(OpenError::Corrupt { file: self.dir.join(MANIFEST), reason });
        };
        let dir = self.dir.display();
        tracing::error!(%dir, reason, "the manifest is made anew from the segments");
        let newest = there.last();
        let segments = there
            .iter()
            .map(|first| {
                let end = if Some(first) == newest { End::Open } else { End::Unknown };
                Listed { first: *first, end }
            })
            .collect();
        Ok(Manifest { boots: 0, salt, segments })
    }

    /// Removes segments that were trimmed, or made and not used, when the process ended.
    fn remove_unlisted(&self, there: &BTreeSet<u64>, manifest: &Manifest) -> Result<(), OpenError> {
        let listed: BTreeSet<u64> = manifest.segments.iter().map(|listed| listed.first).collect();
        for first in there.difference(&listed) {
            let name = segment_name(*first);
            tracing::debug!(segment = name, "segment that is not listed is removed");
            self.at(&name, self.disk.remove(&name))?;
        }
        Ok(())
    }

    /// A listed segment, what is in it, and whether more may be written to it.
    fn segment(
        &self,
        listed: Listed,
        salt: u32,
    ) -> Result<(Arc<Segment>, Scanned, bool), OpenError> {
        let name = segment_name(listed.first);
        let file = match self.disk.open(&name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.missing(name, listed);
            }
            Err(source) => return Err(OpenError::Io { file: self.dir.join(name), source }),
        };
        let header = self.at(&name, read_header(&*file))?;
        if let Err(Bad::Newer(found)) = header {
            return Err(self.newer(&name, found));
        }
        let header = header.ok().filter(|h| h.first == listed.first && h.salt == salt);
        let whole = header.is_some();
        let size = self.at(&name, file.size())?;
        let mut header = header.unwrap_or(SegmentHeader {
            first: listed.first,
            epoch: 0,
            capacity: size,
            prev_crc: 0,
            salt,
        });
        header.capacity = header.capacity.min(u64::from(u32::MAX));
        let found = self.at(&name, scan(&*file, &header, whole, listed.end))?;
        if !whole {
            tracing::error!(segment = name, "segment header is damaged");
        }
        for lost in &found.damage {
            let (from, to) = (lost.start, lost.end.saturating_sub(1));
            tracing::error!(segment = name, from, to, "entries of the journal are damaged");
        }
        if !whole || !found.damage.is_empty() {
            self.quarantine(&name, &*file);
        }
        if listed.end == End::Open {
            self.cut(&name, &*file, found.end..header.capacity)?;
        }
        let segment = Segment::new((listed.first, name), file, header.capacity, salt);
        segment.push(&found.offsets);
        if let End::Sealed { last, .. } = listed.end {
            segment.lose_to(last);
        }
        Ok((Arc::new(segment), found, whole && listed.end == End::Open))
    }

    fn missing(
        &self,
        name: String,
        listed: Listed,
    ) -> Result<(Arc<Segment>, Scanned, bool), OpenError> {
        let End::Sealed { last, .. } = listed.end else {
            let reason = "the manifest lists it as the newest segment, and it is not there".into();
            return Err(OpenError::Corrupt { file: self.dir.join(name), reason });
        };
        tracing::error!(segment = name, from = listed.first, to = last, "segment is missing");
        let segment = Segment::new((listed.first, name), Box::new(NoFile), 0, 0);
        segment.lose_to(last);
        Ok((Arc::new(segment), Scanned::default(), false))
    }

    /// Frees what a crash left behind the last entry, so that nothing of it is ever taken for an entry.
    fn cut(&self, name: &str, file: &dyn DiskFile, free: Range<u64>) -> Result<(), OpenError> {
        let extent = Extent { file, salt: 0, end: free.end };
        let dirty = self.at(name, extent.dirty_end(free.start))?;
        if dirty <= free.start {
            return Ok(());
        }
        let bytes = dirty - free.start;
        tracing::warn!(segment = name, at = free.start, bytes, "unfinished tail is cut");
        let zeros = vec![0; BLOCK];
        let mut at = free.start;
        while at < dirty {
            let count = usize::try_from(dirty - at).unwrap_or(BLOCK).min(BLOCK);
            self.at(name, file.write_at(at, zeros.get(..count).unwrap_or_default()))?;
            at += count as u64;
        }
        self.at(name, file.sync())
    }

    /// Keeps a copy of a damaged file. The first one: later starts find the same damage.
    fn quarantine(&self, name: &str, file: &dyn DiskFile) {
        let copy = format!("{QUARANTINE}/{name}");
        if self.disk.open(&copy).is_ok() {
            return;
        }
        if let Err(error) = self.copy(file, &copy) {
            tracing::error!(file = copy, %error, "damaged file could not be copied");
        }
    }

    fn copy(&self, from: &dyn DiskFile, to: &str) -> io::Result<()> {
        self.disk.make_dir(QUARANTINE)?;
        let into = self.disk.create(to)?;
        let (mut block, mut at) = (vec![0; BLOCK], 0);
        loop {
            let read = from.read_at(at, &mut block)?;
            into.write_at(at, block.get(..read).unwrap_or_default())?;
            at += read as u64;
            if read < BLOCK {
                break;
            }
        }
        into.sync()?;
        self.disk.sync_dir(QUARANTINE)?;
        self.disk.sync_dir("")
    }

    /// The segment to go on with: the last one, or a new one.
    fn tail(
        &self,
        last: Option<(Tail, bool)>,
        catalog: &Catalog,
        manifest: &mut Manifest,
        snapshot: Option<u64>,
    ) -> Result<Tail, OpenError> {
        // Nothing is in a store without segments.
        let end = last.as_ref().map_or(0, |(tail, _)| tail.active.last());
        let snapshot = snapshot.unwrap_or(0);
        catalog.set_tail(end.max(snapshot));
        let crc = last.as_ref().map_or(0, |(tail, _)| tail.crc);
        if let Some((tail, writable)) = last {
            if writable && snapshot <= end {
                return Ok(tail);
            }
            if snapshot > end {
                // Positions are never given twice: what follows the snapshot must be behind it.
                tracing::error!(end, snapshot, "the journal ends before its snapshot");
                tail.active.lose_to(snapshot);
            }
            seal(manifest, &tail.active, crc);
        }
        let first = end.max(snapshot).saturating_add(1);
        let capacity = self.segment_bytes.min(FIRST_SEGMENT_MAX);
        let header = SegmentHeader {
            first,
            epoch: manifest.boots,
            capacity,
            prev_crc: crc,
            salt: manifest.salt,
        };
        let active = self.at(&segment_name(first), self.begin(header))?;
        manifest.segments.push(Listed { first, end: End::Open });
        catalog.insert(active.clone());
        Ok(Tail { active, used: FIRST_RECORD, crc })
    }

    fn begin(&self, header: SegmentHeader) -> io::Result<Arc<Segment>> {
        let spare = Spare::prepare(self.disk, 0, header.capacity, &AtomicBool::new(false))?;
        spare.ok_or_else(|| io::Error::other("stopped"))?.begin(self.disk, header)
    }
}

/// Marks the open segment of a manifest as sealed; one without entries is taken off, its successor replaces it.
pub fn seal(manifest: &mut Manifest, active: &Segment, crc: u32) {
    if active.is_empty() {
        manifest.segments.retain(|listed| listed.first != active.first);
    } else if let Some(listed) = manifest.segments.last_mut() {
        listed.end = End::Sealed { last: active.last(), crc };
    }
}

fn read_header(file: &dyn DiskFile) -> io::Result<Result<SegmentHeader, Bad>> {
    let mut bytes = [0; 64];
    let read = file.read_at(0, &mut bytes)?;
    Ok(SegmentHeader::read(bytes.get(..read).unwrap_or_default()))
}
