//! A start: makes the files of a folder ready for reading and writing. It may be interrupted at any point and repeated,
//! and it trusts nothing that was not synced: the process may have died while the machine went on.
//!
//! ```text
//! lock → sync the folder → delete temporary files → manifest → delete segments that it does not list
//!      → scan each segment that no snapshot covers
//!      → clear the torn tail → write again entries that may not be synced → compare with the snapshots
//!      → write the manifest with one more start
//! ```

use crate::catalog::{Catalog, Segment};
use crate::disk::{Disk, sync_names};
use crate::layout::{FIRST_RECORD, SegmentHeader, segment_first, segment_name};
use crate::losses::{LOSSES, LossList};
use crate::manifest::{Listed, MANIFEST, Manifest, SegmentEnd};
use crate::mend::Mender;
use crate::reserve::Reserve;
use crate::spare::Spare;
use crate::survey::{LOCK, Listing, OpenError, Survey, Surveyed};
use crossdock_core::store::{ENTRY_FORMAT, Lost};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Largest first segment of a store, in bytes: writing it must not delay the first start.
const FIRST_SEGMENT_MAX: u64 = 8 << 20;

/// The end of the journal: where the next record is written.
pub struct Tail {
    pub active: Arc<Segment>,
    /// Offset behind the last record in `active`.
    pub used: u64,
    /// Checksum of the last record.
    pub crc: u32,
}

/// The result of a start.
pub struct Recovered {
    pub manifest: Manifest,
    pub catalog: Catalog,
    pub tail: Tail,
    /// Last positions that the snapshots cover, ascending.
    pub snapshots: Vec<u64>,
    pub reserve: Arc<Reserve>,
    /// What is known to be lost.
    pub losses: Arc<LossList>,
}

/// Settings of a start.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    pub segment_bytes: u64,
    /// Salt for a store that is created now.
    pub salt: u32,
}

/// Makes a folder ready for reading and writing.
pub fn recover(disk: &Arc<dyn Disk>, dir: &Path, start: Start) -> Result<Recovered, OpenError> {
    let survey = Survey { disk: &**disk, dir };
    if !survey.at(LOCK, disk.lock(LOCK))? {
        return Err(OpenError::Locked { file: dir.join(LOCK) });
    }
    let reserve = Reserve::find(disk.clone(), start.segment_bytes);
    let reserve = Arc::new(survey.at(crate::reserve::RESERVE, reserve)?);
    let losses = match survey.at(LOSSES, LossList::load(disk.clone()))? {
        Ok(losses) => Arc::new(losses),
        Err(found) => return Err(survey.newer(LOSSES, found)),
    };
    let recovered =
        Recovery { survey, disk: &**disk, start, reserve, losses: losses.clone() }.run();
    // Also what keeps the store from opening is written down.
    losses.write_down();
    recovered
}

struct Recovery<'a> {
    survey: Survey<'a>,
    disk: &'a dyn Disk,
    start: Start,
    reserve: Arc<Reserve>,
    losses: Arc<LossList>,
}

impl Recovery<'_> {
    fn run(self) -> Result<Recovered, OpenError> {
        // Synced first: names seen now may not survive a crash, and files deleted because of them would not come back.
        self.at("", sync_names(self.disk))?;
        let names = self.at("", self.disk.list())?;
        self.sweep(&names)?;
        let snapshots = self.survey.snapshots(&names)?;
        let mut manifest = self.manifest(&names)?;
        self.remove_unlisted(&names, &manifest)?;
        let (survey, losses) = (self.survey, &*self.losses);
        let mender = Mender { survey, starts: manifest.boots, losses };
        let catalog = Catalog::default();
        let (mut epoch, mut last) = (manifest.boots, None);
        let upto = snapshots.last().copied().unwrap_or(0);
        for nth in 0..manifest.segments.len() {
            // Segments that a snapshot covers stay unread, so a start takes as long as reading what was written since.
            let is_last = nth + 1 == manifest.segments.len();
            let unread = (!is_last).then(|| self.survey.unread(&manifest, nth, upto)).flatten();
            if let Some(segment) = unread {
                catalog.insert(Arc::new(segment));
                continue;
            }
            let surveyed = self.survey.segment(&manifest, nth)?;
            let is_open = manifest
                .segments
                .get(nth)
                .is_some_and(|listed| matches!(listed.end, SegmentEnd::Open { .. }));
            let writable = mender.segment(&surveyed, is_open)?;
            let Surveyed { segment, found, .. } = surveyed;
            let active = Arc::new(segment);
            epoch = epoch.max(found.epoch);
            catalog.insert(active.clone());
            last = Some((Tail { active, used: found.end, crc: found.crc }, writable));
        }
        let tail = self.tail(last, &catalog, &mut manifest, snapshots.last().copied())?;
        manifest.boots = epoch.saturating_add(1);
        manifest.entry_format = ENTRY_FORMAT;
        // What was read was written again where it was not known to be synced.
        manifest.set_synced(catalog.tail());
        self.store(&manifest)?;
        let (reserve, losses) = (self.reserve, self.losses);
        Ok(Recovered { manifest, catalog, tail, snapshots, reserve, losses })
    }

    /// Adds the file's name to an I/O error.
    fn at<T>(&self, name: &str, result: io::Result<T>) -> Result<T, OpenError> {
        self.survey.at(name, result)
    }

    fn store(&self, manifest: &Manifest) -> Result<(), OpenError> {
        self.at(MANIFEST, self.reserve.spend(|| manifest.store(self.disk)))
    }

    fn sweep(&self, names: &[String]) -> Result<(), OpenError> {
        for name in names.iter().filter(|name| name.ends_with(".tmp")) {
            self.at(name, self.disk.remove(name))?;
        }
        Ok(())
    }

    fn manifest(&self, names: &[String]) -> Result<Manifest, OpenError> {
        match self.survey.listing(names)? {
            Listing::Whole(manifest) => Ok(manifest),
            Listing::Rebuilt(manifest, reason) => {
                let dir = self.survey.dir.display();
                tracing::error!(%dir, reason, "the manifest was unusable and is rebuilt from the segments");
                self.losses.add(Lost {
                    place: MANIFEST.to_owned(),
                    what: format!(
                        "it was unusable ({reason}) and was made again from the segments that are there: \
                         whether there was another one, and what it held, is not known"
                    ),
                    records: None,
                    bytes: None,
                    may_be_nothing: false,
                });
                Ok(manifest)
            }
            Listing::Fresh => {
                let dir = std::path::absolute(self.survey.dir);
                let dir = dir.as_deref().unwrap_or(self.survey.dir).display();
                tracing::info!(%dir, "the store is new and empty: there was none in this folder");
                let manifest = Manifest::fresh(self.start.salt);
                // Written before the first segment: a folder with segments always has a manifest.
                self.store(&manifest)?;
                Ok(manifest)
            }
        }
    }

    /// Deletes segments that were trimmed, or made and not used, when the process ended.
    fn remove_unlisted(&self, names: &[String], manifest: &Manifest) -> Result<(), OpenError> {
        let listed: BTreeSet<u64> = manifest.segments.iter().map(|listed| listed.first).collect();
        let there = names.iter().filter_map(|name| segment_first(name));
        for first in there.filter(|first| !listed.contains(first)) {
            let name = segment_name(first);
            tracing::debug!(segment = name, "deleting a segment that the manifest does not list");
            self.at(&name, self.disk.remove(&name))?;
        }
        Ok(())
    }

    /// The segment to continue with: the last one, or a new one.
    fn tail(
        &self,
        last: Option<(Tail, bool)>,
        catalog: &Catalog,
        manifest: &mut Manifest,
        snapshot: Option<u64>,
    ) -> Result<Tail, OpenError> {
        // A store without segments has no entries.
        let end = last.as_ref().map_or(0, |(tail, _)| tail.active.last());
        let snapshot = snapshot.unwrap_or(0);
        catalog.set_tail(end.max(snapshot));
        let crc = last.as_ref().map_or(0, |(tail, _)| tail.crc);
        if let Some((tail, writable)) = last {
            if writable && snapshot <= end {
                return Ok(tail);
            }
            if snapshot > end {
                // Positions are never used twice: the next entry gets the position behind the snapshot.
                tracing::error!(
                    end,
                    snapshot,
                    "the journal ends before its snapshot: messages between them are lost"
                );
                self.losses.found(Lost {
                    place: tail.active.name.clone(),
                    what: format!(
                        "the journal ended at entry {end}, before its snapshot of entry {snapshot}: messages \
                         between them are lost"
                    ),
                    records: None,
                    bytes: None,
                    may_be_nothing: false,
                });
                tail.active.lose_to(snapshot);
            }
            seal(manifest, &tail.active, crc);
        }
        let first = end.max(snapshot).saturating_add(1);
        let capacity = self.start.segment_bytes.min(FIRST_SEGMENT_MAX);
        let header = SegmentHeader {
            first,
            epoch: manifest.boots,
            capacity,
            prev_crc: crc,
            salt: manifest.salt,
        };
        let active = self.at(&segment_name(first), self.begin(header))?;
        manifest.segments.push(Listed { first, end: SegmentEnd::Open { synced: 0 } });
        catalog.insert(active.clone());
        Ok(Tail { active, used: FIRST_RECORD, crc })
    }

    fn begin(&self, header: SegmentHeader) -> io::Result<Arc<Segment>> {
        self.reserve.spend(|| {
            let spare = Spare::prepare(self.disk, 0, header.capacity, &AtomicBool::new(false))?;
            spare.ok_or_else(|| io::Error::other("stopped"))?.begin(self.disk, header)
        })
    }
}

/// Marks the open segment of a manifest as sealed; one without entries is removed, because its successor replaces it.
pub fn seal(manifest: &mut Manifest, active: &Segment, crc: u32) {
    if active.is_empty() {
        manifest.segments.retain(|listed| listed.first != active.first);
    } else if let Some(listed) = manifest.segments.last_mut() {
        listed.end = SegmentEnd::Sealed { last: active.last(), crc };
    }
}
