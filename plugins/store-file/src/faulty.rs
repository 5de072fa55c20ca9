//! A disk in memory for tests. A crash loses or tears unsynced writes: any of the sectors, any of the creates, renames
//! and removes. Tests can make calls fail, the disk full, sectors unreadable. A failed sync loses the bytes that it
//! should have made durable, while reads still return them, as on real disks. Every call goes into a hash, so that two
//! runs can be compared.

use crate::catalog::lock;
use crate::disk::{Disk, DiskFile};
use crossdock_core::store::Space;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECTOR: usize = 512;
/// Number of sectors in a page.
const PAGE: usize = 8;

/// A generator of pseudo-random numbers.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03);
        dice.roll();
        dice
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// A number from 0 to below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.roll() % end }
    }

    /// True with a probability of `percent`.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Adds a number to a hash.
pub fn mix(hash: u64, number: u64) -> u64 {
    (hash.rotate_left(23) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Adds a text to a hash.
pub fn mix_text(hash: u64, text: &str) -> u64 {
    text.bytes().fold(hash, |hash, byte| mix(hash, u64::from(byte)))
}

/// The disk. A clone is another handle on the same one.
#[derive(Clone, Default)]
pub struct FaultyDisk(Arc<Mutex<DiskState>>);

/// How often the disk was asked for something.
#[derive(Clone, Copy, Default)]
struct Counts {
    /// Calls that change something.
    calls: u64,
    writes: u64,
    reads: u64,
    syncs: u64,
}

#[derive(Clone, Default)]
struct DiskState {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    /// Changes of names since the last sync of the folder.
    changes: Vec<Change>,
    locked: bool,
    fault: Option<PlannedFault>,
    /// All calls that change something fail: the process is as good as dead.
    dead: bool,
    counts: Counts,
    failed: bool,
    sync_time: Duration,
    /// Limit for the bytes of all files together.
    bytes_max: Option<u64>,
    /// Prefix of the names of files that cannot be created, and the error.
    barren: Option<(&'static str, io::ErrorKind)>,
    /// Sectors that cannot be read until they are written.
    bad: BTreeSet<(usize, usize)>,
    trace: u64,
}

#[derive(Clone, Copy)]
struct PlannedFault {
    /// Calls that succeed before.
    after: u64,
    kind: io::ErrorKind,
    /// All later calls fail, too.
    kills: bool,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Clone)]
enum Change {
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String, usize),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, id) => {
                names.insert(name.clone(), *id);
            }
            Self::Rename(from, to, id) => {
                if names.get(from) == Some(id) {
                    names.remove(from);
                }
                names.insert(to.clone(), *id);
            }
            Self::Remove(name, id) => {
                if names.get(name) == Some(id) {
                    names.remove(name);
                }
            }
        }
    }
}

impl FaultyDisk {
    /// The call that changes something after this many more such calls fails.
    pub fn fail_after(&self, calls: u64, kind: io::ErrorKind) {
        lock(&self.0).fault = Some(PlannedFault { after: calls, kind, kills: false });
    }

    /// The call that changes something after this many more such calls is done in part, and none after it.
    pub fn die_after(&self, calls: u64) {
        let kind = io::ErrorKind::Interrupted;
        lock(&self.0).fault = Some(PlannedFault { after: calls, kind, kills: true });
    }

    /// From now on no file whose name has this prefix can be created.
    pub fn refuse_files(&self, prefix: &'static str, kind: io::ErrorKind) {
        lock(&self.0).barren = Some((prefix, kind));
    }

    /// Stops injecting failures.
    pub fn forget_faults(&self) {
        lock(&self.0).fault = None;
    }

    /// Whether the call that was to fail has been made.
    pub fn has_failed(&self) -> bool {
        lock(&self.0).failed
    }

    /// Whether all calls fail.
    pub fn is_dead(&self) -> bool {
        lock(&self.0).dead
    }

    /// Calls so far that change something.
    pub fn calls(&self) -> u64 {
        lock(&self.0).counts.calls
    }

    /// Writes and reads so far.
    pub fn writes_and_reads(&self) -> (u64, u64) {
        let state = lock(&self.0);
        (state.counts.writes, state.counts.reads)
    }

    /// From now on every sync takes this long.
    pub fn set_sync_time(&self, time: Duration) {
        lock(&self.0).sync_time = time;
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        lock(&self.0).counts.syncs
    }

    /// Limits the bytes of all files together; none removes the limit.
    pub fn set_bytes_max(&self, bytes_max: Option<u64>) {
        lock(&self.0).bytes_max = bytes_max;
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        lock(&self.0).used()
    }

    /// Size of a file, if it exists.
    pub fn size_of(&self, name: &str) -> Option<u64> {
        let state = lock(&self.0);
        state.names.get(name).map(|id| state.files[*id].now.len() as u64)
    }

    /// Whether the bytes of all files are limited.
    pub fn is_short(&self) -> bool {
        lock(&self.0).bytes_max.is_some()
    }

    /// Names of the existing files.
    pub fn names(&self) -> Vec<String> {
        lock(&self.0).names.keys().cloned().collect()
    }

    /// All calls so far, as a hash.
    pub fn trace(&self) -> u64 {
        lock(&self.0).trace
    }

    /// The disk after a power cut now. The seed decides which unsynced sectors and names had reached it.
    pub fn crash(&self, seed: u64) -> FaultyDisk {
        let state = lock(&self.0);
        let mut dice = Dice::new(seed);
        let mut names = state.synced_names.clone();
        let luck = dice.below(3);
        for change in &state.changes {
            if luck == 1 || (luck == 2 && dice.chance(50)) {
                change.apply(&mut names);
            }
        }
        let there: BTreeSet<usize> = names.values().copied().collect();
        let mut files = Vec::new();
        for (id, file) in state.files.iter().enumerate() {
            let found = if there.contains(&id) { landed(file, &mut dice) } else { Vec::new() };
            files.push(Content { now: found.clone(), synced: found, dirty: BTreeSet::new() });
        }
        FaultyDisk(Arc::new(Mutex::new(DiskState {
            files,
            names: names.clone(),
            synced_names: names,
            bytes_max: state.bytes_max,
            bad: state.bad.clone(),
            trace: state.trace,
            ..DiskState::default()
        })))
    }

    /// The disk after only the process has ended: everything written can be read.
    pub fn kill(&self) -> FaultyDisk {
        let state = lock(&self.0).clone();
        let state = DiskState { locked: false, fault: None, dead: false, failed: false, ..state };
        FaultyDisk(Arc::new(Mutex::new(state)))
    }

    /// The bytes of a file, to damage them: both what is read now and what is durable.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = lock(&self.0);
        let id = state.names[name];
        change(&mut state.files[id].now);
        state.files[id].synced = state.files[id].now.clone();
    }

    /// Makes a sector of a file unreadable.
    pub fn spoil(&self, name: &str, at: u64) {
        let mut state = lock(&self.0);
        let id = state.names[name];
        state.bad.insert((id, at as usize / SECTOR));
    }
}

/// What a power cut leaves of a file: nothing unsynced, all of it, or some of the sectors, pages, or first writes.
fn landed(file: &Content, dice: &mut Dice) -> Vec<u8> {
    let mut found = file.synced.clone();
    let (luck, stop) = (dice.below(5), dice.below(file.dirty.len() as u64 + 1) as usize);
    let (mut page, mut lands) = (usize::MAX, false);
    for (nth, sector) in file.dirty.iter().enumerate() {
        lands = match luck {
            0 => break,
            1 => true,
            2 => dice.chance(50),
            3 if sector / PAGE == page => lands,
            3 => dice.chance(50),
            _ => nth < stop,
        };
        page = sector / PAGE;
        if lands {
            land(file, *sector, &mut found);
        }
    }
    found
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

/// The outcome of a call.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Done,
    /// It fails, and may be done in part.
    Fails(io::ErrorKind),
    /// It fails, and is not done at all.
    Void,
}

impl Fate {
    fn result(self) -> io::Result<()> {
        match self {
            Self::Done => Ok(()),
            Self::Fails(kind) => Err(kind.into()),
            Self::Void => Err(io::ErrorKind::Interrupted.into()),
        }
    }
}

impl DiskState {
    /// Counts a call that changes something, and says whether it is the one to fail.
    fn call(&mut self, what: &str, numbers: [u64; 3]) -> Fate {
        if self.dead {
            return Fate::Void;
        }
        self.counts.calls += 1;
        let fate = match &mut self.fault {
            Some(PlannedFault { after: 0, kind, kills }) => {
                let (kind, kills) = (*kind, *kills);
                self.fault = None;
                self.failed = true;
                self.dead = kills;
                Fate::Fails(kind)
            }
            Some(fault) => {
                fault.after -= 1;
                Fate::Done
            }
            None => Fate::Done,
        };
        self.note(what, numbers, fate == Fate::Done);
        fate
    }

    fn note(&mut self, what: &str, numbers: [u64; 3], done: bool) {
        let hash = numbers.into_iter().fold(mix_text(self.trace, what), mix);
        self.trace = mix(hash, u64::from(done));
    }

    fn id(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used(&self) -> u64 {
        self.names.values().map(|id| self.files[*id].now.len() as u64).sum()
    }

    fn change(&mut self, change: Change, fate: Fate) -> io::Result<()> {
        // The last call of a dying process may reach the disk completely or not at all.
        if fate == Fate::Done || (self.dead && fate != Fate::Void) {
            change.apply(&mut self.names);
            self.changes.push(change);
        }
        fate.result()
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
        if let Some((prefix, kind)) = state.barren
            && name.starts_with(prefix)
        {
            return Err(kind.into());
        }
        let id = state.files.len();
        let fate = state.call(name, [1, id as u64, 0]);
        state.files.push(Content::default());
        state.change(Change::Create(name.to_owned(), id), fate)?;
        Ok(Box::new(FaultyFile { disk: self.clone(), id }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let id = lock(&self.0).id(name)?;
        Ok(Box::new(FaultyFile { disk: self.clone(), id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = lock(&self.0);
        let fate = state.call(to, [2, 0, 0]);
        let id = state.id(from)?;
        state.change(Change::Rename(from.to_owned(), to.to_owned(), id), fate)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = lock(&self.0);
        let fate = state.call(name, [3, 0, 0]);
        let id = state.id(name)?;
        state.change(Change::Remove(name.to_owned(), id), fate)
    }

    fn make_dir(&self, name: &str) -> io::Result<()> {
        lock(&self.0).call(name, [4, 0, 0]).result()
    }

    fn sync_dir(&self, name: &str) -> io::Result<()> {
        let mut state = lock(&self.0);
        let fate = state.call(name, [5, 0, 0]);
        if fate == Fate::Done {
            state.synced_names = state.names.clone();
            state.changes.clear();
        }
        fate.result()
    }

    fn space(&self) -> io::Result<Option<Space>> {
        let state = lock(&self.0);
        let total = state.bytes_max.unwrap_or(1 << 40);
        Ok(Some(Space { free: total.saturating_sub(state.used()), total }))
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
        let mut state = lock(&self.disk.0);
        state.counts.reads += 1;
        let begin = state.files[self.id].now.len().min(at as usize);
        let count = into.len().min(state.files[self.id].now.len() - begin);
        let sectors = (self.id, begin / SECTOR)..(self.id, (begin + count).div_ceil(SECTOR));
        let is_bad = !state.bad.is_empty() && state.bad.range(sectors).next().is_some();
        state.note("read", [self.id as u64, at, count as u64], !is_bad);
        if is_bad {
            return Err(io::Error::other("unreadable sector"));
        }
        into[..count].copy_from_slice(&state.files[self.id].now[begin..begin + count]);
        Ok(count)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = lock(&self.disk.0);
        state.counts.writes += 1;
        let sum = u64::from(crc32c::crc32c(bytes));
        let mut fate = state.call("write", [self.id as u64, at, bytes.len() as u64 ^ sum << 32]);
        let mut count = bytes.len() as u64;
        if fate == Fate::Void {
            return fate.result();
        }
        let size = state.files[self.id].now.len() as u64;
        let fits = match state.bytes_max {
            Some(bytes_max) => {
                (size + bytes_max.saturating_sub(state.used())).saturating_sub(at).min(count)
            }
            None => count,
        };
        if fits < count && at + count > size {
            fate = Fate::Fails(io::ErrorKind::StorageFull);
            count = fits;
        } else if fate != Fate::Done {
            // A failing write has written a part.
            count = Dice::new(state.trace).below(count + 1);
        }
        let (begin, end) = (at as usize, (at + count) as usize);
        let file = &mut state.files[self.id];
        if file.now.len() < end {
            file.now.resize(end, 0);
        }
        file.now[begin..end].copy_from_slice(&bytes[..count as usize]);
        file.dirty.extend(begin / SECTOR..end.div_ceil(SECTOR));
        let (id, whole) = (self.id, begin.div_ceil(SECTOR)..end / SECTOR);
        if !state.bad.is_empty() {
            state.bad.retain(|(file, sector)| *file != id || !whole.contains(sector));
        }
        state.note("written", [count, 0, 0], fate == Fate::Done);
        fate.result()
    }

    fn sync(&self) -> io::Result<()> {
        let time = lock(&self.disk.0).sync_time;
        if !time.is_zero() {
            std::thread::sleep(time);
        }
        let mut state = lock(&self.disk.0);
        state.counts.syncs += 1;
        let fate = state.call("sync", [self.id as u64, 0, 0]);
        let dead = state.dead;
        let file = &mut state.files[self.id];
        if fate == Fate::Done {
            let mut synced = std::mem::take(&mut file.synced);
            for sector in std::mem::take(&mut file.dirty) {
                land(file, sector, &mut synced);
            }
            file.synced = synced;
        } else if !dead {
            // The bytes can still be read, and are never written to the disk.
            file.dirty.clear();
        }
        fate.result()
    }
}
