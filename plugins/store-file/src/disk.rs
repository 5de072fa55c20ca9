//! Access to the file system: files of one folder by name, and the few calls whose order decides what survives a crash.
//! [`RealDisk`] is a real folder; the test double is in `faulty`.
//!
//! File names are made by this crate only; nothing that a client sends becomes part of one.

use crate::catalog::lock;
use crossdock_core::Rope;
use crossdock_core::store::{Space, StoreError};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The subfolder for damaged files.
pub const QUARANTINE: &str = "quarantine";

/// A folder of files. A create, rename or remove is only certain to survive a crash after `sync_dir`.
pub trait Disk: Send + Sync {
    /// Takes the lock file of this name until the disk is dropped; false when another process has it.
    fn lock(&self, name: &str) -> io::Result<bool>;
    /// Names of the files in the folder, without those in subfolders.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Creates an empty file; an existing one is truncated.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing file.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Replaces an existing file `to`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Creates a subfolder, unless it exists.
    fn make_dir(&self, name: &str) -> io::Result<()>;
    /// Makes the directory entries of a subfolder durable; an empty name means the folder itself.
    fn sync_dir(&self, name: &str) -> io::Result<()>;
    /// Free and total disk space; none where it is not known.
    fn space(&self) -> io::Result<Option<Space>>;
}

/// One open file, read and written at offsets.
pub trait DiskFile: Send + Sync {
    fn size(&self) -> io::Result<u64>;
    /// Fills `into` from this offset; fewer bytes only at the end of the file.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Writes all of it.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Bytes and length are durable when it returns.
    fn sync(&self) -> io::Result<()>;
}

/// A whole file in memory; an error when it has more than `limit` bytes.
pub fn read_whole(file: &dyn DiskFile, limit: u64) -> io::Result<Vec<u8>> {
    let length = file.size()?;
    if length > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file is larger than this program ever makes it",
        ));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Writes all pieces, one after another.
pub fn write_rope_at(file: &dyn DiskFile, mut at: u64, rope: &Rope) -> io::Result<()> {
    for piece in rope.pieces() {
        file.write_at(at, piece)?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// Whether a call failed because the disk or the quota is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes the folder's entries durable. A failure never counts as a full disk: a failed sync is not tried again.
pub fn sync_names(disk: &dyn Disk) -> io::Result<()> {
    disk.sync_dir("").map_err(|error| io::Error::other(format!("folder: {error}")))
}

/// The error that the core gets for a failed call.
pub fn refusal(what: &str, error: &io::Error) -> StoreError {
    match is_full(error) {
        true => StoreError::Full,
        false => StoreError::Unavailable(format!("{what}: {error}")),
    }
}

/// Says in the error of a call what was tried; its kind stays.
fn tried(what: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot {what} it: {error}"))
}

/// What an operator can do about an error of the file system; empty where the error says it.
pub fn cure(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; it is for the user that the broker runs as: start the broker, and run commands for its store, \
             as that user, who has to own the data directory and all in it, and be allowed to write there"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; its file system is mounted read-only: look into the kernel's log why, and mount it for writing"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; the disk or the quota is full: free disk space and start again"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "; something that is no folder is in the place of one: move it away, or set data_dir to another \
             folder"
        }
        io::ErrorKind::IsADirectory => "; a folder is in the place of a file: move it away",
        io::ErrorKind::NotFound => "",
        _ => "; see what stands at that path, and whether the kernel's log has errors of the disk",
    }
}

/// A real folder.
pub struct RealDisk {
    dir: PathBuf,
    /// Every call that would change something fails.
    read_only: bool,
    lock: Mutex<Option<File>>,
}

impl RealDisk {
    /// The folder at this path, created if it does not exist.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let disk = Self::made(dir)?;
        warn_if_open(dir)?;
        Ok(disk)
    }

    /// Like `new`, without a word about who else can open the folder.
    pub fn made(dir: &Path) -> io::Result<Self> {
        let is_new = !dir.exists();
        make_folder(dir).map_err(tried("create"))?;
        let parent = dir.parent().filter(|parent| is_new && !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            sync_folder(parent).map_err(tried("sync the folder above"))?;
        }
        Ok(Self { dir: dir.to_owned(), read_only: false, lock: Mutex::new(None) })
    }

    /// The folder at this path, for reading only.
    pub fn read_only(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), read_only: true, lock: Mutex::new(None) }
    }

    /// The path of a file that is to be changed; an error when the folder is read-only.
    fn target(&self, name: &str) -> io::Result<PathBuf> {
        match self.read_only {
            false => Ok(self.dir.join(name)),
            true => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        }
    }

    /// Takes a shared lock, so that no writer can open the store meanwhile. True also when there is no lock file.
    fn lock_shared(&self, name: &str) -> io::Result<bool> {
        let file = match File::open(self.dir.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(tried("open")(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => {
                *lock(&self.lock) = Some(file);
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Disk for RealDisk {
    fn lock(&self, name: &str) -> io::Result<bool> {
        if self.read_only {
            return self.lock_shared(name);
        }
        let mut options = private();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(self.dir.join(name)).and_then(owned).map_err(tried("open"))?;
        match file.try_lock() {
            Ok(()) => {
                *lock(&self.lock) = Some(file);
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(tried("lock")(error)),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(tried("list"))? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut options = private();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(self.target(name)?).and_then(owned).map_err(tried("create"))?;
        Ok(Box::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let writes = !self.read_only;
        let file = private().read(true).write(writes).open(self.dir.join(name));
        // Files that an earlier version made can be read by others.
        let file = file.and_then(|file| if writes { owned(file) } else { Ok(file) });
        Ok(Box::new(file.map_err(tried(if writes { "open" } else { "read" }))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.target(from)?, self.target(to)?).map_err(tried("rename"))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.target(name)?).map_err(tried("remove"))
    }

    fn make_dir(&self, name: &str) -> io::Result<()> {
        make_folder(&self.target(name)?).map_err(tried("create"))
    }

    fn sync_dir(&self, name: &str) -> io::Result<()> {
        sync_folder(&self.target(name)?).map_err(tried("sync"))
    }

    fn space(&self) -> io::Result<Option<Space>> {
        free_space(&self.dir)
    }
}

/// How files of the store are opened: those that are made are for their owner alone, and a link in the place of a file
/// is not followed, for somebody else may have put it there.
#[cfg(unix)]
fn private() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    options
}

#[cfg(not(unix))]
fn private() -> OpenOptions {
    OpenOptions::new()
}

/// Takes all rights to a file from everybody but its owner. A file of somebody else's stays as it is: it was warned
/// about the folder.
#[cfg(unix)]
fn owned(file: File) -> io::Result<File> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata()?;
    if metadata.permissions().mode() & 0o077 != 0 {
        match file.set_permissions(std::fs::Permissions::from_mode(0o600)) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    Ok(file)
}

#[cfg(not(unix))]
fn owned(file: File) -> io::Result<File> {
    Ok(file)
}

/// Makes a folder that only its owner can open; one that is there keeps its rights.
#[cfg(unix)]
fn make_folder(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(not(unix))]
fn make_folder(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)
}

/// Says so when others can open the folder of the store.
#[cfg(unix)]
fn warn_if_open(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(dir)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let mode = format!("{mode:o}");
        tracing::warn!(
            folder = %dir.display(), %mode,
            "others can open the folder of the store: its files are for their owner alone, but their names \
             and sizes can be seen"
        );
    }
    Ok(())
}

#[cfg(not(unix))]
fn warn_if_open(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Bytes that an unprivileged process may still write, and the size of the file system.
#[cfg(unix)]
fn free_space(dir: &Path) -> io::Result<Option<Space>> {
    let found = rustix::fs::statvfs(dir)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Some(Space { free: bytes(found.f_bavail), total: bytes(found.f_blocks) }))
}

#[cfg(not(unix))]
fn free_space(_: &Path) -> io::Result<Option<Space>> {
    Ok(None)
}

/// Windows makes directory entries durable by itself and does not open folders as files.
#[cfg(windows)]
pub fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(not(windows))]
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match placed::read(self, at + done as u64, rest) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(tried("read")(error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match placed::write(self, at + done as u64, rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => done += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(tried("write")(error)),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data().map_err(tried("sync"))
    }
}

#[cfg(unix)]
mod placed {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    pub fn read(file: &File, at: u64, into: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(file, into, at)
    }

    pub fn write(file: &File, at: u64, bytes: &[u8]) -> io::Result<usize> {
        FileExt::write_at(file, bytes, at)
    }
}

#[cfg(windows)]
mod placed {
    use std::fs::File;
    use std::io;
    use std::os::windows::fs::FileExt;

    pub fn read(file: &File, at: u64, into: &mut [u8]) -> io::Result<usize> {
        file.seek_read(into, at)
    }

    pub fn write(file: &File, at: u64, bytes: &[u8]) -> io::Result<usize> {
        file.seek_write(bytes, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_tried_and_keeps_its_kind() {
        let folder = std::env::temp_dir().join(format!("crossdock-disk-{}", std::process::id()));
        let disk = RealDisk::made(&folder).expect("made");
        disk.make_dir("file").expect("made");
        let error = disk.create("file").err().expect("a folder is there");
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
        assert!(error.to_string().starts_with("cannot create it: "), "{error}");
        assert_eq!(cure(&error), "; a folder is in the place of a file: move it away");
        let error = disk.open("none").err().expect("nothing is there");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        std::fs::remove_dir_all(&folder).expect("ours");
    }
}
