//! A backup becomes the store of a data directory, as a whole or not at all: it is checked, copied beside the place of
//! the store, read back, and takes the place with one rename. A store that is there is refused, or moved aside when
//! that was asked for; nothing is removed.

use super::BackupError;
use super::capture::capture;
use super::copy::{Target, copy};
use super::shelf::find;
use crate::disk::{Disk, RealDisk, sync_folder};
use crate::layout::{segment_first, snapshot_upto};
use crate::manifest::MANIFEST;
use crate::survey::{LOCK, OpenError, Survey};
use crate::verify::{Finding, Report, check};
use crossdock_core::store::Pos;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What may be done for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct RestoreOptions {
    /// A store that is there is moved aside.
    pub replace: bool,
    /// A backup with damage will do.
    pub accept_damage: bool,
}

/// A store that was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The backup that it was made of.
    pub backup: PathBuf,
    /// The last entry.
    pub upto: Pos,
    pub bytes: u64,
    /// Where the store is that was there before.
    pub aside: Option<PathBuf>,
    /// Damage of the backup.
    pub damage: Vec<Finding>,
}

/// Why nothing was restored.
#[derive(Debug, Error)]
pub enum RestoreError {
    #[error("{}: there is no backup in this folder", .0.display())]
    NoBackup(PathBuf),
    #[error(
        "{}: the backup is damaged: {}: nothing was restored; take another backup, or restore \
         what is left of it with --accept-damage",
        .backup.display(), listed(.damage)
    )]
    Damaged { backup: PathBuf, damage: Vec<Finding> },
    #[error("{}: a broker has the store open: stop it first; nothing was restored", .store.display())]
    InUse { store: PathBuf },
    #[error("{}: another restore into this place is under way; nothing was restored", .store.display())]
    UnderWay { store: PathBuf },
    #[error(
        "{}: there is a store, {there}: nothing was restored; with --replace it is moved aside, and stays",
        .store.display()
    )]
    Exists { store: PathBuf, there: String },
    #[error(
        "{}: the disk is full: nothing was restored, and what was there is as it was; free space on it",
        .store.display()
    )]
    Full { store: PathBuf },
    #[error("{}: {source}; nothing was restored", .file.display())]
    Io { file: PathBuf, source: io::Error },
    #[error("{0}; nothing was restored")]
    Copy(BackupError),
    #[error("{0}; nothing was restored")]
    Store(#[from] OpenError),
}

/// The first few findings in one line.
fn listed(damage: &[Finding]) -> String {
    const SHOWN: usize = 5;
    let mut shown: Vec<String> = damage.iter().take(SHOWN).map(Finding::to_string).collect();
    if damage.len() > SHOWN {
        shown.push(format!("and {} more", damage.len() - SHOWN));
    }
    shown.join("; ")
}

/// Makes a backup the store in this folder. `from` is a backup, or a folder of backups, of which the newest is taken.
pub fn restore(
    from: &Path,
    store: &Path,
    options: RestoreOptions,
) -> Result<Restored, RestoreError> {
    let backup = find(from).map_err(|source| RestoreError::Io { file: from.to_owned(), source })?;
    let Some(backup) = backup else { return Err(RestoreError::NoBackup(from.to_owned())) };
    let (report, damage) = examine(&backup)?;
    if !damage.is_empty() && !options.accept_damage {
        return Err(RestoreError::Damaged { backup, damage });
    }
    let place = Place::take(store)?;
    if let Some(there) = place.holds(report.live.end).filter(|_| !options.replace) {
        return Err(RestoreError::Exists { store: store.to_owned(), there });
    }
    let made = place.copy(&backup).and_then(|bytes| Ok((bytes, place.swap()?)));
    if made.is_err() {
        // The next restore tries that again.
        let _ = place.clear();
    }
    let (bytes, aside) = made?;
    let upto = Pos(report.live.end.0.saturating_sub(1));
    Ok(Restored { backup, upto, bytes, aside, damage })
}

/// Checks a backup.
fn examine(backup: &Path) -> Result<(Report, Vec<Finding>), RestoreError> {
    let mut damage = Vec::new();
    let mut each = |finding: Finding| {
        if finding.is_damage() {
            damage.push(finding);
        }
    };
    let report = check(&RealDisk::read_only(backup), backup, &mut each)?;
    Ok((report, damage))
}

/// The folder of a store, which no broker can open meanwhile.
struct Place<'a> {
    store: &'a Path,
    unfinished: PathBuf,
    /// Holds the lock of the store that is there.
    disk: Option<RealDisk>,
    /// Holds the lock of the folder that the store is in, or will be in: one restore at a time.
    _folder: std::fs::File,
}

impl<'a> Place<'a> {
    fn take(store: &'a Path) -> Result<Self, RestoreError> {
        let name = store.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = store.with_file_name(format!("{name}.restoring"));
        let failed = |source| RestoreError::Io { file: store.to_owned(), source };
        let folder = std::fs::File::open(folder_of(store)).map_err(failed)?;
        match folder.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(RestoreError::UnderWay { store: store.to_owned() });
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        let place = |disk| Self { store, unfinished: unfinished.clone(), disk, _folder: folder };
        if !store.is_dir() {
            return Ok(place(None));
        }
        let disk = RealDisk::made(store).map_err(failed)?;
        match disk.lock(LOCK).map_err(failed)? {
            true => Ok(place(Some(disk))),
            false => Err(RestoreError::InUse { store: store.to_owned() }),
        }
    }

    /// What is there, compared with a backup that ends before this entry; none: nothing.
    fn holds(&self, end: Pos) -> Option<String> {
        let disk = self.disk.as_ref()?;
        // A folder that cannot be read may hold anything.
        let names = disk.list().unwrap_or_else(|_| vec![MANIFEST.to_owned()]);
        let is_ours = |name: &String| {
            name == MANIFEST || segment_first(name).is_some() || snapshot_upto(name).is_some()
        };
        if !names.iter().any(is_ours) {
            return None;
        }
        let upto = end.0.saturating_sub(1);
        let read_only = RealDisk::read_only(self.store);
        let survey = Survey { disk: &read_only, dir: self.store };
        Some(match survey.last_entry() {
            Ok(last) if last > upto => {
                format!("which is newer: it has entries up to {last}, the backup up to {upto}")
            }
            Ok(last) => format!("which has entries up to {last}, the backup up to {upto}"),
            Err(error) => format!("which cannot be read ({error})"),
        })
    }

    /// Removes what an interrupted restore left beside the place. A copy has no lock file: with one it is the store
    /// that was there before, which had given its place and not got its new name yet. It gets that now.
    fn clear(&self) -> io::Result<()> {
        if self.unfinished.join(LOCK).exists() {
            return std::fs::rename(&self.unfinished, self.aside());
        }
        match std::fs::remove_dir_all(&self.unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Copies the backup beside the place, with everything written that a store wants written. Returns the bytes.
    fn copy(&self, backup: &Path) -> Result<u64, RestoreError> {
        let failed = |source| RestoreError::Io { file: self.unfinished.clone(), source };
        self.clear().map_err(failed)?;
        let from = RealDisk::read_only(backup);
        let from = Survey { disk: &from, dir: backup };
        let into = RealDisk::made(&self.unfinished).map_err(failed)?;
        let survey = Survey { disk: &into, dir: &self.unfinished };
        let target = Target { survey, leave_free: 0, sparse: false };
        let copied = capture(from).and_then(|captured| copy(from, &captured, target, None));
        match copied {
            Ok(copied) => {
                self.give_to_owner().map_err(failed)?;
                Ok(copied.copied_bytes)
            }
            Err(BackupError::Full { .. }) => {
                Err(RestoreError::Full { store: self.store.to_owned() })
            }
            Err(error) => Err(RestoreError::Copy(error)),
        }
    }

    /// Files that the superuser restores are for whoever owns the data directory: the broker has to open them.
    #[cfg(unix)]
    fn give_to_owner(&self) -> io::Result<()> {
        use std::os::unix::fs::{MetadataExt, chown};
        let owner = std::fs::metadata(folder_of(self.store))?;
        let mine = std::fs::metadata(&self.unfinished)?;
        if (owner.uid(), owner.gid()) == (mine.uid(), mine.gid()) {
            return Ok(());
        }
        for entry in std::fs::read_dir(&self.unfinished)? {
            chown(entry?.path(), Some(owner.uid()), Some(owner.gid()))?;
        }
        chown(&self.unfinished, Some(owner.uid()), Some(owner.gid()))
    }

    #[cfg(not(unix))]
    fn give_to_owner(&self) -> io::Result<()> {
        Ok(())
    }

    /// Puts the copy in the place. Returns where the store is that was there.
    fn swap(&self) -> Result<Option<PathBuf>, RestoreError> {
        let failed = |source| RestoreError::Io { file: self.store.to_owned(), source };
        let folder = folder_of(self.store);
        if self.disk.is_none() {
            // A broker that was started meanwhile has made a store there.
            std::fs::rename(&self.unfinished, self.store).map_err(|error| match error.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                    RestoreError::InUse { store: self.store.to_owned() }
                }
                _ => failed(error),
            })?;
            sync_folder(folder).map_err(failed)?;
            return Ok(None);
        }
        let aside = self.aside();
        exchange(&self.unfinished, self.store, &aside).map_err(failed)?;
        sync_folder(folder).map_err(failed)?;
        // A folder without anything but the lock was no store.
        let is_empty = RealDisk::read_only(&aside).list().is_ok_and(|names| names == [LOCK])
            && std::fs::remove_file(aside.join(LOCK)).is_ok()
            && std::fs::remove_dir(&aside).is_ok();
        Ok(Some(aside).filter(|_| !is_empty))
    }

    /// A name that is free, for the store that is there.
    fn aside(&self) -> PathBuf {
        let name = self.store.file_name().unwrap_or_default().to_string_lossy();
        let nth = |nth: u32| self.store.with_file_name(format!("{name}.before-restore-{nth}"));
        (1..u32::MAX).map(nth).find(|path| !path.exists()).unwrap_or_else(|| nth(u32::MAX))
    }
}

/// The folder that this path is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Gives the place of `old` to `new`, and the old one the name `aside`. At no moment is there nothing: a start would
/// begin a new store.
#[cfg(target_os = "linux")]
fn exchange(new: &Path, old: &Path, aside: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => std::fs::rename(new, aside),
        // Not every file system has that call.
        Err(_) => in_two_steps(new, old, aside),
    }
}

#[cfg(not(target_os = "linux"))]
fn exchange(new: &Path, old: &Path, aside: &Path) -> io::Result<()> {
    in_two_steps(new, old, aside)
}

fn in_two_steps(new: &Path, old: &Path, aside: &Path) -> io::Result<()> {
    std::fs::rename(old, aside)?;
    std::fs::rename(new, old).inspect_err(|_| {
        // What was there is there again.
        let _ = std::fs::rename(aside, old);
    })
}
