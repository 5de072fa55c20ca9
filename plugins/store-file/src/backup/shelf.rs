//! A folder of backups, `backup-000001` and so on; the highest number is the newest. A backup is made under another
//! name, `backup-000002.tmp`, and gets its own with one rename, so whatever has the name of a backup is one. Backups
//! share files that are the same, as hard links: each can be removed without the others.

use super::capture::capture;
use super::copy::{Earlier, Target, copy};
use super::{BackupError, Copied};
use crate::disk::{Disk, RealDisk, is_full, sync_folder};
use crate::manifest::Manifest;
use crate::survey::{LOCK, Survey};
use std::io;
use std::path::{Path, PathBuf};

const PREFIX: &str = "backup-";
const UNFINISHED: &str = ".tmp";

/// What to keep of the disk and of earlier backups.
#[derive(Debug, Clone, Copy, Default)]
pub struct BackupOptions {
    /// After this backup the oldest ones are removed, so that this many are left; none: all stay.
    pub keep: Option<usize>,
    /// Bytes to leave free when the backups are on the same disk as the store; none: as many as raise the broker's
    /// disk alarm where nothing else is configured, 5 % and at least 1 GiB.
    pub leave_free: Option<u64>,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    pub folder: PathBuf,
    pub copied: Copied,
    /// Old backups that were removed.
    pub removed: Vec<PathBuf>,
    /// The first old backup that could not be removed, and why.
    pub not_removed: Option<String>,
}

/// Copies the store in this folder, whether or not a process has it open, into a folder of backups.
pub fn backup(store: &Path, into: &Path, options: BackupOptions) -> Result<Backup, BackupError> {
    let source = RealDisk::read_only(store);
    let source = Survey { disk: &source, dir: store };
    let captured = capture(source)?;
    outside(store, into)?;
    let shelf = Shelf::open(into)?;
    let numbers = shelf.numbers()?;
    let newest = numbers.last().copied();
    let earlier = newest.map(|number| shelf.folder(number));
    let folder = shelf.folder(newest.unwrap_or(0).saturating_add(1));
    let unfinished = shelf.unfinished(&folder);
    let made: Result<Copied, BackupError> = (|| {
        let disk = RealDisk::made(&unfinished);
        let disk = disk.map_err(|error| shelf.failed(&unfinished, error))?;
        let leave_free = match same_disk(store, into) {
            true => options.leave_free.unwrap_or_else(|| usual_free(&disk)),
            false => 0,
        };
        let survey = Survey { disk: &disk, dir: &unfinished };
        let target = Target { survey, leave_free, sparse: true };
        let copied = shelf.copy(source, &captured, target, earlier.as_deref())?;
        std::fs::rename(&unfinished, &folder).map_err(|error| shelf.failed(&folder, error))?;
        sync_folder(into).map_err(|error| shelf.failed(into, error))?;
        Ok(copied)
    })();
    if made.is_err() {
        // The next backup removes what is left.
        let _ = std::fs::remove_dir_all(&unfinished);
    }
    let copied = made.map_err(|error| match error {
        BackupError::Full { .. } => BackupError::Full { into: into.to_owned() },
        other => other,
    })?;
    let (removed, not_removed) = shelf.prune(&numbers, options.keep);
    Ok(Backup { folder, copied, removed, not_removed })
}

/// The newest backup in a folder of backups, or the folder itself if it is one.
pub fn find(from: &Path) -> io::Result<Option<PathBuf>> {
    if from.join(crate::manifest::MANIFEST).is_file() {
        return Ok(Some(from.to_owned()));
    }
    let numbers = numbers(from)?;
    Ok(numbers.last().map(|number| from.join(name(*number))))
}

fn name(number: u64) -> String {
    format!("{PREFIX}{number:06}")
}

/// The numbers of the backups in a folder, ascending.
fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let file = entry.file_name();
        let number = file.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        if entry.file_type()?.is_dir() {
            numbers.extend(number.filter(|number| file.to_str() == Some(&name(*number))));
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A folder of backups, for one process at a time.
struct Shelf<'a> {
    into: &'a Path,
    /// Holds the lock.
    _disk: RealDisk,
}

impl<'a> Shelf<'a> {
    /// Creates the folder if it is not there, and removes what an interrupted backup left.
    fn open(into: &'a Path) -> Result<Self, BackupError> {
        let failed = |source| BackupError::Io { file: into.to_owned(), source };
        let disk = RealDisk::made(into).map_err(failed)?;
        if !disk.lock(LOCK).map_err(failed)? {
            return Err(BackupError::Busy { into: into.to_owned() });
        }
        let shelf = Self { into, _disk: disk };
        for entry in std::fs::read_dir(into).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| {
                name.strip_prefix(PREFIX)?.strip_suffix(UNFINISHED)?.parse::<u64>().ok()
            });
            if number.is_some() {
                std::fs::remove_dir_all(&path).map_err(|error| shelf.failed(&path, error))?;
            }
        }
        Ok(shelf)
    }

    fn numbers(&self) -> Result<Vec<u64>, BackupError> {
        numbers(self.into).map_err(|error| self.failed(self.into, error))
    }

    fn folder(&self, number: u64) -> PathBuf {
        self.into.join(name(number))
    }

    fn unfinished(&self, folder: &Path) -> PathBuf {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        self.into.join(format!("{name}{UNFINISHED}"))
    }

    fn failed(&self, file: &Path, source: io::Error) -> BackupError {
        match is_full(&source) {
            true => BackupError::Full { into: self.into.to_owned() },
            false => BackupError::Io { file: file.to_owned(), source },
        }
    }

    /// Copies, with the help of the backup before.
    fn copy(
        &self,
        source: Survey<'_>,
        captured: &super::capture::Capture,
        target: Target<'_>,
        earlier: Option<&Path>,
    ) -> Result<Copied, BackupError> {
        let Some(dir) = earlier else { return copy(source, captured, target, None) };
        let disk = RealDisk::read_only(dir);
        // One that cannot be read is of no help.
        let Ok(Some(Ok(manifest))) = Manifest::load(&disk) else {
            return copy(source, captured, target, None);
        };
        let link = |name: &str| std::fs::hard_link(dir.join(name), target.survey.dir.join(name));
        let earlier = Earlier { survey: Survey { disk: &disk, dir }, manifest, link: &link };
        copy(source, captured, target, Some(&earlier))
    }

    /// Removes the oldest backups. Each loses its name first, so that nothing half removed is taken for one.
    fn prune(&self, before: &[u64], keep: Option<usize>) -> (Vec<PathBuf>, Option<String>) {
        let mut removed = Vec::new();
        let many = keep.map_or(0, |keep| (before.len() + 1).saturating_sub(keep.max(1)));
        for number in before.iter().take(many) {
            let folder = self.folder(*number);
            let unfinished = self.unfinished(&folder);
            let gone = std::fs::rename(&folder, &unfinished)
                .and_then(|()| std::fs::remove_dir_all(&unfinished));
            match gone {
                Ok(()) => removed.push(folder),
                Err(error) => return (removed, Some(format!("{}: {error}", folder.display()))),
            }
        }
        (removed, None)
    }
}

/// Refuses a folder of backups that is the store, or in it.
fn outside(store: &Path, into: &Path) -> Result<(), BackupError> {
    let there = into.ancestors().find_map(|folder| folder.canonicalize().ok());
    let store = store.canonicalize().ok();
    match there.zip(store).is_some_and(|(there, store)| there.starts_with(store)) {
        true => Err(BackupError::Inside { into: into.to_owned() }),
        false => Ok(()),
    }
}

/// Where the broker's disk alarm begins, if nothing else is configured.
fn usual_free(disk: &RealDisk) -> u64 {
    let total = disk.space().ok().flatten().map_or(0, |space| space.total);
    (total / 20).max(1 << 30)
}

/// Whether two folders are on one file system.
#[cfg(unix)]
fn same_disk(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| std::fs::metadata(path).ok().map(|found| found.dev());
    device(one) == device(other)
}

#[cfg(not(unix))]
fn same_disk(_: &Path, _: &Path) -> bool {
    true
}
