//! Reads what the files of a folder hold, without changing any of them. A start repairs what this finds; a check and a
//! reader beside a running broker leave it as it is.

use crate::catalog::{NoFile, Segment};
use crate::disk::{Disk, DiskFile, cure};
use crate::layout::{Bad, FORMAT, SegmentHeader, segment_first, segment_name, snapshot_upto};
use crate::manifest::{Listed, MANIFEST, Manifest, SegmentEnd};
use crate::scan::{Scanned, scan};
use crate::snapshot;
use crossdock_core::store::ENTRY_FORMAT;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Name of the file that is locked.
pub const LOCK: &str = "lock";

/// Why a store could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{} is in use by another process", .file.display())]
    Locked { file: PathBuf },
    #[error(
        "{} was written by a newer Crossdock (format {found}); this one reads formats up to {known}, \
         and has changed nothing: start the newer one again, or restore a backup that was made \
         before the upgrade",
        .file.display()
    )]
    NewerFormat { file: PathBuf, found: u32, known: u32 },
    #[error("{}: {source}{}", .file.display(), cure(.source))]
    Io { file: PathBuf, source: io::Error },
    #[error("{} is damaged: {reason}", .file.display())]
    Corrupt { file: PathBuf, reason: String },
}

/// A folder that is being read.
#[derive(Clone, Copy)]
pub struct Survey<'a> {
    pub disk: &'a dyn Disk,
    /// Path of the folder, for error messages.
    pub dir: &'a Path,
}

/// Which segments the store has, and how that is known.
pub enum Listing {
    /// From the manifest.
    Whole(Manifest),
    /// From the segment files, because the manifest is unusable for this reason.
    Rebuilt(Manifest, String),
    /// There is neither a manifest nor a segment.
    Fresh,
}

/// What a file holds that the manifest lists as a segment.
#[derive(Debug, PartialEq, Eq)]
pub struct SegmentRead {
    /// None when it is damaged.
    pub header: Option<SegmentHeader>,
    pub capacity: u64,
    pub found: Scanned,
}

/// A segment that the manifest lists.
pub struct Surveyed {
    pub segment: Segment,
    pub found: Scanned,
    /// None when the header is damaged, or the file is missing.
    pub header: Option<SegmentHeader>,
    pub is_missing: bool,
}

impl Survey<'_> {
    /// Adds the file's name to an I/O error.
    pub fn at<T>(&self, name: &str, result: io::Result<T>) -> Result<T, OpenError> {
        result.map_err(|source| OpenError::Io { file: self.dir.join(name), source })
    }

    pub fn newer(&self, name: &str, found: u32) -> OpenError {
        OpenError::NewerFormat { file: self.dir.join(name), found, known: FORMAT }
    }

    /// Last positions that the snapshots cover, ascending.
    pub fn snapshots(&self, names: &[String]) -> Result<Vec<u64>, OpenError> {
        let mut all = Vec::new();
        for (name, upto) in names.iter().filter_map(|name| Some((name, snapshot_upto(name)?))) {
            let file = match self.disk.open(name) {
                // The broker has replaced it by a newer one meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => self.at(name, file)?,
            };
            if let Some(found) = snapshot::newer(&*file) {
                return Err(self.newer(name, found));
            }
            all.push(upto);
        }
        all.sort_unstable();
        Ok(all)
    }

    /// Which segments are live.
    pub fn listing(&self, names: &[String]) -> Result<Listing, OpenError> {
        let there: BTreeSet<u64> = names.iter().filter_map(|name| segment_first(name)).collect();
        let reason = match Manifest::load(self.disk) {
            Ok(Some(Ok(manifest))) => return Ok(Listing::Whole(manifest)),
            Ok(Some(Err(Bad::Newer(found)))) => return Err(self.newer(MANIFEST, found)),
            Ok(Some(Err(Bad::NewerEntries(found)))) => {
                let file = self.dir.join(MANIFEST);
                return Err(OpenError::NewerFormat { file, found, known: ENTRY_FORMAT });
            }
            Ok(None) if there.is_empty() => return Ok(Listing::Fresh),
            Ok(Some(Err(Bad::Damaged(reason)))) => reason.into(),
            Ok(None) => "manifest is missing".into(),
            // It is not damaged: without it, what other files hold would be forgotten.
            Err(source) if is_closed(&source) => {
                return Err(OpenError::Io { file: self.dir.join(MANIFEST), source });
            }
            Err(error) => format!("manifest cannot be read: {error}"),
        };
        Ok(Listing::Rebuilt(self.rebuild(&there, &reason)?, reason))
    }

    /// Position of the last entry, or of the last one that a snapshot stands for; 0 when there is none.
    pub fn last_entry(&self) -> Result<u64, OpenError> {
        let names = self.at("", self.disk.list())?;
        let manifest = match self.listing(&names)? {
            Listing::Whole(manifest) | Listing::Rebuilt(manifest, _) => manifest,
            Listing::Fresh => return Ok(0),
        };
        let newest = manifest.segments.len().checked_sub(1);
        let newest = newest.map(|nth| self.segment(&manifest, nth)).transpose()?;
        let last = newest.map_or(0, |newest| newest.segment.last());
        Ok(last.max(self.snapshots(&names)?.last().copied().unwrap_or(0)))
    }

    /// Builds a manifest from the existing segments. Some of them may have been trimmed already: that does no harm.
    fn rebuild(&self, there: &BTreeSet<u64>, reason: &str) -> Result<Manifest, OpenError> {
        let mut salt = None;
        for first in there {
            let name = segment_name(*first);
            let file = self.at(&name, self.disk.open(&name))?;
            match read_header(&*file) {
                Ok(header) => salt = salt.or(Some(header.salt)),
                Err(Bad::Newer(found)) => return Err(self.newer(&name, found)),
                Err(Bad::Damaged(_) | Bad::NewerEntries(_)) => {}
            }
        }
        let Some(salt) = salt else {
            let reason = format!("{reason}, and no segment can be read");
            return Err(OpenError::Corrupt { file: self.dir.join(MANIFEST), reason });
        };
        let newest = there.last();
        let segments = there
            .iter()
            .map(|first| {
                let end = if Some(first) == newest {
                    SegmentEnd::Open { synced: 0 }
                } else {
                    SegmentEnd::Unknown
                };
                Listed { first: *first, end }
            })
            .collect();
        Ok(Manifest { boots: 0, salt, entry_format: 0, segments })
    }

    /// The segment at this index of the manifest without reading its entries: only if it is sealed, has a good header,
    /// and ends at or before `upto`.
    pub fn unread(&self, manifest: &Manifest, nth: usize, upto: u64) -> Option<Segment> {
        let listed = manifest.segments.get(nth)?;
        let SegmentEnd::Sealed { last, crc } = listed.end else { return None };
        let name = segment_name(listed.first);
        let file = self.disk.open(&name).ok()?;
        let header = read_header(&*file).ok()?;
        let is_it = header.first == listed.first && header.salt == manifest.salt;
        let fits = header.capacity <= file.size().ok()?.min(u64::from(u32::MAX));
        (is_it && fits && last <= upto).then(|| Segment::unread(name, file, header, (last, crc)))
    }

    /// The segment at this index of the manifest, with its entries.
    pub fn segment(&self, manifest: &Manifest, nth: usize) -> Result<Surveyed, OpenError> {
        let Some(listed) = manifest.segments.get(nth) else {
            return Err(self.missing(MANIFEST, "it lists too few segments"));
        };
        let (name, salt) = (segment_name(listed.first), manifest.salt);
        let file = match self.disk.open(&name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.gone(name, *listed);
            }
            Err(source) => return Err(OpenError::Io { file: self.dir.join(name), source }),
        };
        let SegmentRead { header, capacity, found } = self.read_segment(&*file, manifest, nth)?;
        let segment = Segment::new((listed.first, name), file, capacity, salt);
        segment.push(&found.offsets, found.end);
        segment.lose_to(match listed.end {
            SegmentEnd::Sealed { last, .. } => last,
            _ => found.lost_to,
        });
        Ok(Surveyed { segment, found, header, is_missing: false })
    }

    /// What a file holds as the segment at this index of the manifest.
    pub fn read_segment(
        &self,
        file: &dyn DiskFile,
        manifest: &Manifest,
        nth: usize,
    ) -> Result<SegmentRead, OpenError> {
        let Some(listed) = manifest.segments.get(nth) else {
            return Err(self.missing(MANIFEST, "it lists too few segments"));
        };
        let (name, salt) = (segment_name(listed.first), manifest.salt);
        let header = match read_header(file) {
            Err(Bad::Newer(found)) => return Err(self.newer(&name, found)),
            header => header.ok().filter(|h| h.first == listed.first && h.salt == salt),
        };
        let size = self.at(&name, file.size())?;
        let mut taken = header.unwrap_or(SegmentHeader {
            first: listed.first,
            epoch: 0,
            capacity: size,
            prev_crc: 0,
            salt,
        });
        taken.capacity = taken.capacity.min(u64::from(u32::MAX));
        let mut found = self.at(&name, scan(file, &taken, header.is_some(), listed.end))?;
        let next = manifest.segments.get(nth + 1).map_or(u64::MAX, |next| next.first);
        found.lost_to = found.lost_to.min(next.saturating_sub(1));
        Ok(SegmentRead { header, capacity: taken.capacity, found })
    }

    /// A segment whose file is missing: all its entries are lost.
    fn gone(&self, name: String, listed: Listed) -> Result<Surveyed, OpenError> {
        let SegmentEnd::Sealed { last, .. } = listed.end else {
            let reason = "the manifest lists it as the newest segment, and the file is missing: put it \
                 back, or restore a backup (crossdock store restore --replace); to go on without what it \
                 held, move the file 'manifest' aside (\"A missing newest segment\" in docs/OPERATING.md)";
            return Err(self.missing(&name, reason));
        };
        let segment = Segment::new((listed.first, name), Box::new(NoFile), 0, 0);
        segment.lose_to(last);
        let mut found = Scanned::default();
        found.damage.push(listed.first..last.saturating_add(1));
        Ok(Surveyed { segment, found, header: None, is_missing: true })
    }

    fn missing(&self, name: &str, reason: &str) -> OpenError {
        OpenError::Corrupt { file: self.dir.join(name), reason: reason.into() }
    }
}

/// The file system does not let this process have the file, which says nothing about what is in it.
fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | IsADirectory)
}

/// The header of a segment. One that cannot be read is damaged.
fn read_header(file: &dyn DiskFile) -> Result<SegmentHeader, Bad> {
    let mut bytes = [0; 64];
    match file.read_at(0, &mut bytes) {
        Ok(read) => SegmentHeader::read(bytes.get(..read).unwrap_or_default()),
        Err(_) => Err(Bad::Damaged("segment header cannot be read")),
    }
}
