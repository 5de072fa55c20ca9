//! Reading a store without changing it: a check of every byte that has a checksum, and a view to read from. Both work
//! while another process has the store open; they see what had been written when they read it.

use crate::catalog::Catalog;
use crate::disk::{Disk, RealDisk};
use crate::layout::{segment_first, snapshot_name};
use crate::manifest::{MANIFEST, Manifest, SegmentEnd};
use crate::reserve::Reserve;
use crate::snapshot::{self, Snapshots};
use crate::store::{Options, Shared};
use crate::survey::{LOCK, Listing, OpenError, Survey, Surveyed};
use crate::tail::{self, TornTail};
use crossdock_core::store::Pos;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A store may change while it is read: damage counts when two passes agree on it, or after this many passes.
const PASSES_MAX: u32 = 5;

/// Something that is damaged, unfinished or not needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The manifest is damaged or missing; the next start rebuilds it from the segments.
    Manifest {
        reason: String,
    },
    /// A whole segment: it is missing, its header is damaged, or it does not follow the one before.
    Segment {
        segment: String,
        reason: String,
    },
    /// Damaged entries.
    Entries {
        segment: String,
        entries: Range<Pos>,
    },
    /// An undamaged entry that no writer makes: its epoch, or the last position it says was synced, goes back.
    Odd {
        segment: String,
        at: Pos,
    },
    /// Behind the last whole entry are bytes that the next start cuts off.
    TornTail {
        segment: String,
        at: u64,
        bytes: u64,
        /// The first record there was written to its end: it is damaged. Otherwise it is an unfinished write, which was
        /// not acknowledged, or damaged.
        was_whole: bool,
    },
    Snapshot {
        upto: Pos,
        reason: String,
    },
    /// A file that the next start deletes.
    Leftover {
        file: String,
    },
}

impl Finding {
    /// Whether something stored is lost.
    pub fn is_damage(&self) -> bool {
        !matches!(self, Self::TornTail { was_whole: false, .. } | Self::Leftover { .. })
    }
}

/// The counts of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// A process has the store open.
    pub in_use: bool,
    /// Starts of the store so far.
    pub starts: u64,
    pub segments: u64,
    /// Bytes of their files.
    pub segment_bytes: u64,
    /// Undamaged entries.
    pub entries: u64,
    /// Bytes of these entries.
    pub bytes: u64,
    /// Damaged entries.
    pub damaged: u64,
    /// Positions from the first entry to behind the last one.
    pub live: Range<Pos>,
    /// Bytes behind the last entry.
    pub torn_bytes: u64,
    /// The undamaged snapshots: the last position that each covers, and its size in bytes.
    pub snapshots: Vec<(Pos, u64)>,
    /// Findings that are damage.
    pub damages: u64,
}

/// Checks the store in a folder; calls `each` with every finding. Changes nothing.
pub fn verify(dir: &Path, each: &mut dyn FnMut(Finding)) -> Result<Report, OpenError> {
    check(&RealDisk::read_only(dir), dir, each)
}

/// Like [`verify`], on any disk.
pub(crate) fn check(
    disk: &dyn Disk,
    dir: &Path,
    each: &mut dyn FnMut(Finding),
) -> Result<Report, OpenError> {
    let survey = Survey { disk, dir };
    let in_use = !survey.at(LOCK, disk.lock(LOCK))?;
    let mut before = None;
    let mut passes = 0;
    let (report, findings) = loop {
        passes += 1;
        let mut check = Check { survey, report: Report::default(), findings: Vec::new() };
        let checked = check.run();
        let damage: Vec<Finding> =
            check.findings.iter().filter(|finding| finding.is_damage()).cloned().collect();
        let is_sure = !in_use || (checked.is_ok() && damage.is_empty());
        if is_sure || passes == PASSES_MAX || before.as_ref() == Some(&damage) {
            checked?;
            break (check.report, check.findings);
        }
        before = Some(damage);
    };
    findings.into_iter().for_each(each);
    Ok(Report { in_use, ..report })
}

struct Check<'a> {
    survey: Survey<'a>,
    report: Report,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn find(&mut self, finding: Finding) {
        self.report.damages += u64::from(finding.is_damage());
        self.findings.push(finding);
    }

    fn run(&mut self) -> Result<(), OpenError> {
        let names = self.survey.at("", self.survey.disk.list())?;
        let manifest = match self.survey.listing(&names)? {
            Listing::Whole(manifest) => manifest,
            Listing::Rebuilt(manifest, reason) => {
                self.find(Finding::Manifest { reason });
                manifest
            }
            Listing::Fresh => Manifest::fresh(0),
        };
        self.leftovers(&names, &manifest);
        self.report.starts = manifest.boots;
        self.report.live = Pos(1)..Pos(1);
        let mut before = None;
        for nth in 0..manifest.segments.len() {
            let surveyed = self.survey.segment(&manifest, nth)?;
            let end = manifest.segments.get(nth).map_or(SegmentEnd::Unknown, |listed| listed.end);
            self.segment(&surveyed, end, &mut before);
        }
        for upto in self.survey.snapshots(&names)? {
            self.snapshot(upto);
        }
        Ok(())
    }

    fn leftovers(&mut self, names: &[String], manifest: &Manifest) {
        let listed = |first: u64| manifest.segments.iter().any(|listed| listed.first == first);
        for name in names {
            let unlisted = segment_first(name).is_some_and(|first| !listed(first));
            if unlisted || name.ends_with(".tmp") {
                self.find(Finding::Leftover { file: name.clone() });
            }
        }
    }

    /// Counts a segment. `before` is where the one before ended: its last position and the checksum of that entry.
    fn segment(&mut self, surveyed: &Surveyed, end: SegmentEnd, before: &mut Option<(u64, u32)>) {
        let Surveyed { segment, found, header, is_missing } = surveyed;
        let name = || segment.name.clone();
        let broken = match (header, *before) {
            _ if *is_missing => Some("it is missing"),
            (None, _) => Some("its header is damaged"),
            (Some(header), Some((last, crc))) => {
                let follows = last.saturating_add(1) == segment.first && header.prev_crc != crc;
                follows.then_some("it does not follow the segment before")
            }
            _ => None,
        };
        if let Some(reason) = broken {
            self.find(Finding::Segment { segment: name(), reason: reason.into() });
        }
        for lost in &found.damage {
            self.report.damaged += lost.end.saturating_sub(lost.start);
            let entries = Pos(lost.start)..Pos(lost.end);
            self.find(Finding::Entries { segment: name(), entries });
        }
        for at in &found.odd {
            self.find(Finding::Odd { segment: name(), at: Pos(*at) });
        }
        let report = &mut self.report;
        if report.segments == 0 {
            report.live.start = Pos(segment.first);
        }
        report.live.end = Pos(segment.last().saturating_add(1));
        report.segments += 1;
        report.segment_bytes += segment.capacity;
        report.entries += found.offsets.iter().filter(|offset| **offset > 0).count() as u64;
        report.bytes += found.body_bytes;
        if matches!(end, SegmentEnd::Open { .. }) {
            self.tail(surveyed);
        }
        // After damage the checksum of the entry before is not known.
        *before = found.damage.is_empty().then(|| (segment.last(), found.crc));
    }

    fn tail(&mut self, surveyed: &Surveyed) {
        let Surveyed { segment, found, .. } = surveyed;
        // Bytes there that cannot be read, and entries that must be there, were reported already.
        if found.is_short {
            return;
        }
        if let Ok(Some(TornTail { bytes, was_whole })) = tail::look(&segment.extent(), found.end) {
            let (at, bytes) = (bytes.start, bytes.end - bytes.start);
            self.report.torn_bytes += bytes;
            self.find(Finding::TornTail { segment: segment.name.clone(), at, bytes, was_whole });
        }
    }

    fn snapshot(&mut self, upto: u64) {
        match snapshot::open(self.survey.disk, upto) {
            Ok(body) => self.report.snapshots.push((Pos(upto), body.bytes())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let reason = format!("{}: {error}", snapshot_name(upto));
                self.find(Finding::Snapshot { upto: Pos(upto), reason });
            }
        }
    }
}

/// The read-only state behind [`crate::FileStore::read_only`].
pub fn look(disk: Arc<dyn Disk>, dir: &Path) -> Result<Shared, OpenError> {
    let survey = Survey { disk: &*disk, dir };
    let mut before = None;
    let mut passes = 0;
    let (catalog, manifest, snapshots) = loop {
        passes += 1;
        let names = survey.at("", disk.list())?;
        let manifest = match survey.listing(&names)? {
            Listing::Whole(manifest) | Listing::Rebuilt(manifest, _) => manifest,
            Listing::Fresh => Manifest::fresh(0),
        };
        let snapshots = survey.snapshots(&names)?;
        let found = catalog(survey, &manifest);
        let damage = found.as_ref().map(|(_, damage)| damage.clone()).ok();
        let is_whole = damage.as_ref().is_some_and(Vec::is_empty);
        if is_whole || passes == PASSES_MAX || before.as_ref() == Some(&damage) {
            break (found?.0, manifest, snapshots);
        }
        before = Some(damage);
    };
    // After a segment was lost the snapshot may be further than the journal.
    catalog.set_tail(catalog.tail().max(snapshots.last().copied().unwrap_or(0)));
    let reserve = Reserve::find(disk.clone(), 0);
    let reserve = Arc::new(survey.at(crate::reserve::RESERVE, reserve)?);
    let snapshots = Snapshots::new(disk.clone(), reserve.clone(), snapshots, true);
    Ok(Shared {
        snapshots: Arc::new(snapshots),
        disk,
        catalog,
        reserve,
        figures: Mutex::default(),
        segment_bytes: Options::default().segment_bytes,
        in_flight: 1,
        read_only: true,
        epoch: manifest.boots,
        resting: Mutex::new(None),
    })
}

/// The entries of these segments, and which of them are damaged.
fn catalog(
    survey: Survey<'_>,
    manifest: &Manifest,
) -> Result<(Catalog, Vec<Range<u64>>), OpenError> {
    let (catalog, mut damage) = (Catalog::default(), Vec::new());
    for nth in 0..manifest.segments.len() {
        let Surveyed { segment, found, .. } = survey.segment(manifest, nth)?;
        damage.extend(found.damage);
        catalog.set_tail(catalog.tail().max(segment.last()));
        catalog.insert(Arc::new(segment));
    }
    Ok((catalog, damage))
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Manifest { reason } => write!(f, "{MANIFEST}: {reason}"),
            Self::Segment { segment, reason } => write!(f, "{segment}: {reason}"),
            Self::Entries { segment, entries } => {
                let last = entries.end.0.saturating_sub(1);
                write!(f, "{segment}: entries {} to {last} are damaged", entries.start.0)
            }
            Self::Odd { segment, at } => {
                write!(
                    f,
                    "{segment}: entry {} has an epoch or a last synced position that goes back",
                    at.0
                )
            }
            Self::TornTail { segment, at, bytes, was_whole: false } => write!(
                f,
                "{segment}: {bytes} bytes at byte {at} are no whole entry: an unfinished write of a crash, \
                 which was not confirmed, or a damaged entry, which may have been; the next start copies \
                 them to the quarantine folder and cuts them off"
            ),
            Self::TornTail { segment, at, bytes, was_whole: true } => write!(
                f,
                "{segment}: the last entry, {bytes} bytes at byte {at}, was written to its end and does not \
                 match its checksum: it is damaged, and may have been confirmed; the next start copies it \
                 to the quarantine folder and cuts it off"
            ),
            Self::Snapshot { reason, .. } => f.write_str(reason),
            Self::Leftover { file } => write!(f, "{file}: not in use; the next start deletes it"),
        }
    }
}
