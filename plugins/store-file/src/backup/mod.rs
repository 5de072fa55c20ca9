//! Copies of a store, and a store out of a copy. A folder of backups has one folder for each, `backup-<number>`, which
//! is a store that no process has open: what looks into a store looks into a backup, too.
//!
//! | file | what is in it |
//! |---|---|
//! | `capture` | what a store holds at one moment, beside the process that writes to it |
//! | `copy` | the files copied, or taken from an earlier backup, and read back |
//! | `shelf` | the folder of backups: names, one at a time, what is unfinished, what is removed |
//! | `restore` | a backup becomes the store of a data directory |
//!
//! Invariants: a folder gets the name of a backup after everything in it was read back and synced; a store that is
//! there is never overwritten or removed, only moved aside when that was asked for.

mod capture;
mod copy;
#[cfg(test)]
mod copy_tests;
mod restore;
mod shelf;
#[cfg(test)]
mod shelf_tests;

pub use restore::{RestoreError, RestoreOptions, Restored, restore};
pub use shelf::{Backup, BackupOptions, backup};

use crate::survey::OpenError;
use crate::verify::Finding;
use crossdock_core::store::Pos;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// The last entry that the copy stands for.
    pub upto: Pos,
    pub copied_files: u64,
    pub copied_bytes: u64,
    /// Files that the backup before had whole.
    pub reused_files: u64,
    pub reused_bytes: u64,
    /// Damage that the store has, and the copy as well.
    pub damage: Vec<Finding>,
}

/// Why there is no backup.
#[derive(Debug, Error)]
pub enum BackupError {
    #[error("{}: there is no store in this folder", .0.display())]
    NoStore(PathBuf),
    #[error(
        "{}: the manifest of the store cannot be used ({reason}): start the broker on it, \
         which makes a new one, and back up again",
        .store.display()
    )]
    NoManifest { store: PathBuf, reason: String },
    #[error(
        "{}: the disk is full, or would have less free than is to be left: nothing of this \
         backup is kept, earlier backups and the store are as they were; free space there, remove \
         old backups, or take another disk",
        .into.display()
    )]
    Full { into: PathBuf },
    #[error("{}: another backup into this folder is under way", .into.display())]
    Busy { into: PathBuf },
    #[error("{}: backups cannot be in the folder of the store itself: name another one", .into.display())]
    Inside { into: PathBuf },
    #[error("{}: {source}", .file.display())]
    Io { file: PathBuf, source: io::Error },
    #[error(
        "{}: the copy does not hold what the store holds: the disk of the backup is not to be \
         trusted; nothing of this backup is kept",
        .file.display()
    )]
    Differs { file: PathBuf },
    #[error("the files of the store changed each time that they were opened: back up again")]
    Unsteady,
    #[error(transparent)]
    Store(#[from] OpenError),
}
