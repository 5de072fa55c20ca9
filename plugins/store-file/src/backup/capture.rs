//! What a store holds at one moment, as open files: they stay readable when the store removes them, so nothing that the
//! store does meanwhile has to wait. It works beside the process that has the store open.
//!
//! ```text
//! manifest → open the snapshots → open the segments → manifest again: the same? else once more
//! ```
//!
//! What is found is what a crash at that moment would have left. A segment goes from the manifest before its file goes,
//! and only after all that made its entries dead was stored: with one manifest at both ends nothing was trimmed between
//! them, and the journal says why the segments that are not there could go. A snapshot is opened before the segments
//! are, so the entries that it stands for are in them.

use super::BackupError;
use crate::disk::DiskFile;
use crate::layout::{segment_name, snapshot_name};
use crate::manifest::Manifest;
use crate::survey::{Listing, Survey};
use std::io;
use std::time::Duration;

/// Snapshots that a copy has: as many as the store keeps.
const SNAPSHOTS: usize = 2;
/// The manifest changes with each segment that is begun or removed: some times a second at most.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// The files of a store.
pub struct Capture {
    pub manifest: Manifest,
    /// In the order of the manifest; none where the file is missing, which is damage.
    pub segments: Vec<Option<Box<dyn DiskFile>>>,
    /// The newest ones, ascending.
    pub snapshots: Vec<Snapshot>,
}

/// The position that a snapshot stands for, and its file.
pub type Snapshot = (u64, Box<dyn DiskFile>);

/// Opens the files of a store.
pub fn capture(survey: Survey<'_>) -> Result<Capture, BackupError> {
    for nth in 0..TRIES {
        if nth > 0 {
            std::thread::sleep(PAUSE);
        }
        let before = manifest(survey)?;
        let Some(snapshots) = snapshots(survey)? else { continue };
        let opened = before.segments.iter().map(|listed| {
            let name = segment_name(listed.first);
            survey.at(&name, found(survey.disk.open(&name)))
        });
        let segments = opened.collect::<Result<Vec<_>, _>>()?;
        if manifest(survey)? == before {
            return Ok(Capture { manifest: before, segments, snapshots });
        }
    }
    Err(BackupError::Unsteady)
}

/// The manifest as it is now. One that cannot be read is not replaced here: the next start does that.
fn manifest(survey: Survey<'_>) -> Result<Manifest, BackupError> {
    let names = survey.at("", survey.disk.list())?;
    match survey.listing(&names)? {
        Listing::Whole(manifest) if !manifest.segments.is_empty() => Ok(manifest),
        Listing::Rebuilt(_, reason) => {
            Err(BackupError::NoManifest { store: survey.dir.to_owned(), reason })
        }
        Listing::Whole(_) | Listing::Fresh => Err(BackupError::NoStore(survey.dir.to_owned())),
    }
}

/// The newest snapshots; none when one of them has given its place to a newer one.
fn snapshots(survey: Survey<'_>) -> Result<Option<Vec<Snapshot>>, BackupError> {
    let names = survey.at("", survey.disk.list())?;
    let all = survey.snapshots(&names)?;
    let mut open = Vec::new();
    for upto in all.iter().skip(all.len().saturating_sub(SNAPSHOTS)) {
        let name = snapshot_name(*upto);
        match survey.at(&name, found(survey.disk.open(&name)))? {
            Some(file) => open.push((*upto, file)),
            None => return Ok(None),
        }
    }
    Ok(Some(open))
}

/// None where there is no such file.
fn found(opened: io::Result<Box<dyn DiskFile>>) -> io::Result<Option<Box<dyn DiskFile>>> {
    match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}
