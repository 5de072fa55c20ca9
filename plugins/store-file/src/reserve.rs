//! Disk space kept for a full disk: a file that is deleted when a snapshot, a manifest or a needed segment cannot be
//! written for lack of space. So what frees disk space can always be written. The file is made again later.

use crate::catalog::lock;
use crate::disk::{Disk, is_full, sync_names};
use crate::spare::fill;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// Name of the file.
pub const RESERVE: &str = "reserve";

const RESERVE_NEW: &str = "reserve.tmp";
const BYTES_MAX: u64 = 16 << 20;
/// The reserve is made when more than this many times its size is free.
const FREE_TIMES: u64 = 4;

/// The reserve of a folder.
pub struct Reserve {
    disk: Arc<dyn Disk>,
    bytes: u64,
    held: Mutex<bool>,
}

impl Reserve {
    /// The reserve of this folder, which may be missing. A file of another size counts as missing.
    pub fn find(disk: Arc<dyn Disk>, segment_bytes: u64) -> io::Result<Self> {
        let bytes = segment_bytes.min(BYTES_MAX);
        let held = match disk.open(RESERVE) {
            Ok(file) => file.size()? == bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        Ok(Self { disk, bytes, held: Mutex::new(held) })
    }

    /// Bytes that the reserve will take from the disk when it is made again; 0 while it exists.
    pub fn missing(&self) -> u64 {
        if *lock(&self.held) { 0 } else { self.bytes }
    }

    /// Does some work; when the disk is full, gives up the reserve and does the work once more.
    pub fn spend<T>(&self, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match work() {
            Err(error) if is_full(&error) && self.release() => work(),
            done => done,
        }
    }

    /// Deletes the reserve file; false when there was none.
    pub fn release(&self) -> bool {
        let mut held = lock(&self.held);
        if !*held {
            return false;
        }
        *held = false;
        // If a crash brings the file back, the next start counts it as the reserve again.
        match self.disk.remove(RESERVE).and_then(|()| sync_names(&*self.disk)) {
            Ok(()) => tracing::warn!(
                bytes = self.bytes,
                "the disk is full: the reserve file was deleted so that the journal can go on"
            ),
            Err(error) => tracing::error!(
                %error,
                "the disk is full and the reserve file cannot be deleted: free disk space now"
            ),
        }
        true
    }

    /// Makes the reserve if it is missing and enough disk space is free. Returns whether it exists now.
    pub fn restore(&self, stop: &AtomicBool) -> io::Result<bool> {
        if *lock(&self.held) {
            return Ok(true);
        }
        let Some(space) = self.disk.space()? else { return self.make(stop) };
        match space.free > self.bytes.saturating_mul(FREE_TIMES) {
            true => self.make(stop),
            false => Ok(false),
        }
    }

    fn make(&self, stop: &AtomicBool) -> io::Result<bool> {
        let made = self.disk.create(RESERVE_NEW).and_then(|file| fill(&*file, self.bytes, stop));
        if !matches!(made, Ok(true)) {
            // A half-written reserve only takes disk space; if deleting it fails as well, the next start deletes it.
            let _ = self.disk.remove(RESERVE_NEW);
            return made;
        }
        let mut held = lock(&self.held);
        self.disk.rename(RESERVE_NEW, RESERVE)?;
        *held = true;
        sync_names(&*self.disk)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faulty::FaultyDisk;
    use std::io::ErrorKind;

    static GO: AtomicBool = AtomicBool::new(false);

    #[test]
    fn it_is_made_when_there_is_plenty_and_spent_when_there_is_none() {
        let disk = FaultyDisk::default();
        disk.set_bytes_max(Some(32 << 10));
        let reserve = Reserve::find(Arc::new(disk.clone()), 8 << 10).expect("readable");
        assert!(!reserve.restore(&GO).expect("no fault"), "four times its size is free, not more");
        assert!(!reserve.release());
        disk.set_bytes_max(Some(33 << 10));
        assert!(reserve.restore(&GO).expect("no fault"));
        assert_eq!((reserve.missing(), disk.size_of(RESERVE)), (0, Some(8 << 10)));
        let again = Reserve::find(Arc::new(disk.clone()), 8 << 10).expect("readable");
        assert_eq!(again.missing(), 0);

        let mut tries = 0;
        let done = reserve.spend(|| {
            tries += 1;
            if tries == 1 { Err(ErrorKind::StorageFull.into()) } else { Ok(tries) }
        });
        assert_eq!((done.ok(), disk.size_of(RESERVE)), (Some(2), None));
        assert_eq!(reserve.missing(), 8 << 10);
        let failed = reserve.spend(|| io::Result::<()>::Err(ErrorKind::StorageFull.into()));
        assert!(failed.is_err(), "it is spent");
    }

    #[test]
    fn half_a_reserve_is_none() {
        for calls in 0..4 {
            let disk = FaultyDisk::default();
            let reserve = Reserve::find(Arc::new(disk.clone()), 8 << 10).expect("readable");
            disk.fail_after(calls, ErrorKind::StorageFull);
            assert!(reserve.restore(&GO).is_err(), "{calls}");
            assert_eq!(disk.size_of(RESERVE), None, "{calls}");
            assert!(reserve.restore(&GO).expect("no fault any more"));
        }
    }
}
