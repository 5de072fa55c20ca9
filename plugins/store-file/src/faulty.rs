//! A disk in memory for tests. What was not synced is lost or torn at 512 bytes by a crash; one call can be made to
//! fail; a failed sync loses what it should have made durable, as real ones do.

use crate::catalog::lock;
use crate::disk::{Disk, DiskFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECTOR: usize = 512;

/// The disk. A clone is another handle on the same one.
#[derive(Clone, Default)]
pub struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    locked: bool,
    /// Calls that go well before one fails.
    fault: Option<(u64, io::ErrorKind)>,
    calls: u64,
    syncs: u64,
    failed: bool,
    sync_time: Duration,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl FaultyDisk {
    /// After so many more calls that change something, one fails.
    pub fn fail_after(&self, calls: u64, kind: io::ErrorKind) {
        lock(&self.0).fault = Some((calls, kind));
    }

    /// Whether that call has come.
    pub fn has_failed(&self) -> bool {
        lock(&self.0).failed
    }

    /// Calls so far that change something.
    pub fn calls(&self) -> u64 {
        lock(&self.0).calls
    }

    /// A sync takes so long from now on.
    pub fn set_sync_time(&self, time: Duration) {
        lock(&self.0).sync_time = time;
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        lock(&self.0).syncs
    }

    /// The disk after a power cut now. The seed says which unsynced sectors and names had landed.
    pub fn crash(&self, seed: u64) -> FaultyDisk {
        let state = lock(&self.0);
        let mut dice = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut roll = move || {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            (dice >> 40) & 1 == 1
        };
        let names = if roll() { &state.names } else { &state.synced_names };
        let mut files = Vec::new();
        for file in &state.files {
            let mut found = file.synced.clone();
            for sector in &file.dirty {
                if roll() {
                    land(file, *sector, &mut found);
                }
            }
            files.push(Content { now: found.clone(), synced: found, dirty: BTreeSet::new() });
        }
        FaultyDisk(Arc::new(Mutex::new(State {
            files,
            names: names.clone(),
            synced_names: names.clone(),
            ..State::default()
        })))
    }

    /// The bytes of a file, to damage them: both what is read now and what is durable.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = lock(&self.0);
        let id = state.names[name];
        change(&mut state.files[id].now);
        state.files[id].synced = state.files[id].now.clone();
    }
}

/// Copies what a sector of `file` holds now.
fn land(file: &Content, sector: usize, into: &mut Vec<u8>) {
    let begin = sector * SECTOR;
    let end = file.now.len().min(begin + SECTOR);
    if begin >= end {
        return;
    }
    if into.len() < end {
        into.resize(end, 0);
    }
    into[begin..end].copy_from_slice(&file.now[begin..end]);
}

impl State {
    /// Counts a call that changes something; an error when it is the one to fail.
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        match &mut self.fault {
            Some((0, kind)) => {
                let kind = *kind;
                self.fault = None;
                self.failed = true;
                Err(kind.into())
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn id(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for FaultyDisk {
    fn lock(&self, _: &str) -> io::Result<bool> {
        Ok(!std::mem::replace(&mut lock(&self.0).locked, true))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = lock(&self.0);
        Ok(state.names.keys().filter(|name| !name.contains('/')).cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = lock(&self.0);
        state.call()?;
        let id = state.files.len();
        state.files.push(Content::default());
        state.names.insert(name.to_owned(), id);
        Ok(Box::new(FaultyFile { disk: self.clone(), id }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let id = lock(&self.0).id(name)?;
        Ok(Box::new(FaultyFile { disk: self.clone(), id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.call()?;
        let id = state.id(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.call()?;
        state.id(name)?;
        state.names.remove(name);
        Ok(())
    }

    fn make_dir(&self, _: &str) -> io::Result<()> {
        lock(&self.0).call()
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.call()?;
        state.synced_names = state.names.clone();
        Ok(())
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    id: usize,
}

impl DiskFile for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.disk.0).files[self.id].now.len() as u64)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let state = lock(&self.disk.0);
        let bytes = &state.files[self.id].now;
        let begin = bytes.len().min(at as usize);
        let count = into.len().min(bytes.len() - begin);
        into[..count].copy_from_slice(&bytes[begin..begin + count]);
        Ok(count)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = lock(&self.disk.0);
        let failed = state.call();
        // A write that fails has written some of it.
        let bytes = if failed.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let (begin, end) = (at as usize, at as usize + bytes.len());
        let file = &mut state.files[self.id];
        if file.now.len() < end {
            file.now.resize(end, 0);
        }
        file.now[begin..end].copy_from_slice(bytes);
        file.dirty.extend(begin / SECTOR..end.div_ceil(SECTOR));
        failed
    }

    fn sync(&self) -> io::Result<()> {
        let time = lock(&self.disk.0).sync_time;
        std::thread::sleep(time);
        let mut state = lock(&self.disk.0);
        state.syncs += 1;
        let failed = state.call();
        let file = &mut state.files[self.id];
        let dirty = std::mem::take(&mut file.dirty);
        if failed.is_ok() {
            let mut synced = std::mem::take(&mut file.synced);
            for sector in dirty {
                land(file, sector, &mut synced);
            }
            file.synced = synced;
        }
        failed
    }
}
