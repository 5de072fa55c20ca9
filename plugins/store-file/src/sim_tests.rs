//! Stories: a seed decides what happens to a store in several lives, on a disk that fails, fills up, stops in the
//! middle of a call, loses unsynced writes, and has unreadable sectors. A model knows which entries must be there.
//! Everything runs on one thread, so that a seed always gives the same story.
//!
//! `STORE_SEEDS` says how many seeds are run, `STORE_SEED` which is the first.

use crate::catalog::lock;
use crate::dead::Ranges;
use crate::faulty::{Dice, FaultyDisk, mix};
use crate::fetch::fetch;
use crate::journal::Journal;
use crate::layout::{segment_first, snapshot_upto};
use crate::queue::{Feed, Job, Trim, take_trims};
use crate::reader::Cursor;
use crate::recovery::Start;
use crate::snapshot::Piece;
use crate::store::{FileStore, Shared};
use crate::verify;
use bytes::Bytes;
use crossdock_core::Rope;
use crossdock_core::store::{Pos, StoreError};
use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use tokio::sync::oneshot;

/// Seeds that are run by default: about a second with an unoptimised build.
const SEEDS: u64 = 150;

/// An entry as it was appended.
#[derive(Clone, PartialEq)]
struct Given {
    epoch: u64,
    bytes: Bytes,
}

/// The expected contents of the store.
#[derive(Default)]
struct Model {
    stored: BTreeMap<u64, Given>,
    /// Entries that were not acknowledged and may or may not be stored.
    maybe: BTreeMap<u64, Given>,
    dead: Ranges,
    /// The newest acknowledged snapshot, and those attempted after it.
    snapshot: Option<(u64, Bytes)>,
    snapshots_maybe: Vec<(u64, Bytes)>,
    snapshots_tried: Vec<(u64, Bytes)>,
    /// Entries of the segment that has an unreadable sector.
    blind: Option<Range<u64>>,
    blind_snapshot: bool,
}

struct Story {
    seed: u64,
    dice: Dice,
    disk: FaultyDisk,
    start: Start,
    model: Model,
    /// A hash of all that happened.
    trace: u64,
    given: u64,
    /// No more faults are injected.
    is_calm: bool,
}

/// The jobs of one step. A pause either frees disk space or ends the wait for it.
struct Jobs {
    waiting: VecDeque<Job>,
    disk: FaultyDisk,
    dice: Dice,
}

impl Feed for Jobs {
    fn next(&mut self) -> Option<Job> {
        self.waiting.pop_front()
    }

    fn put_back(&mut self, job: Job) {
        self.waiting.push_front(job);
    }

    fn trims(&mut self) -> Vec<Trim> {
        take_trims(&mut self.waiting)
    }

    fn pause(&mut self) -> bool {
        if self.disk.is_dead() || self.dice.chance(30) {
            return false;
        }
        if self.dice.chance(60) {
            self.disk.set_bytes_max(None);
        }
        true
    }
}

macro_rules! check {
    ($story:expr, $holds:expr, $($what:tt)+) => {
        assert!($holds, "seed {}: {}", $story.seed, format!($($what)+))
    };
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let segment_bytes = (8 << 10) << dice.below(4);
        Self {
            seed,
            start: Start { segment_bytes, salt: dice.roll() as u32 },
            dice,
            disk: FaultyDisk::default(),
            model: Model::default(),
            trace: 0,
            given: 0,
            is_calm: false,
        }
    }

    /// Runs the story. Returns the hash of all that happened.
    fn tell(mut self) -> u64 {
        for _ in 0..2 + self.dice.below(4) {
            self.live();
            self.die();
        }
        self.disk.set_bytes_max(None);
        self.is_calm = true;
        let store = self.open();
        check!(self, store.is_some(), "the last start went without a fault");
        if let Some(store) = store {
            let mut life = Life::begin(&store.shared());
            self.append(&mut life, 3);
            check!(self, !life.failed, "there was no fault");
            self.read_all(&life.shared, 1);
        }
        mix(self.trace, self.disk.trace())
    }

    fn note(&mut self, number: u64) {
        self.trace = mix(self.trace, number);
    }

    /// One life of the process.
    fn live(&mut self) {
        match self.dice.below(10) {
            0 => self.disk.die_after(self.dice.below(30)),
            1 => self.disk.fail_after(self.dice.below(30), ErrorKind::Other),
            2 => self.disk.fail_after(self.dice.below(30), ErrorKind::StorageFull),
            _ => {}
        }
        let Some(store) = self.open() else { return };
        if !self.disk.has_failed() {
            self.disk.forget_faults();
        }
        match self.dice.below(6) {
            0 | 1 => self.disk.die_after(self.dice.below(100)),
            2 => self.disk.fail_after(self.dice.below(100), ErrorKind::Other),
            3 => self.disk.fail_after(self.dice.below(100), ErrorKind::StorageFull),
            4 => self.fill_up(),
            _ => {}
        }
        let mut life = Life::begin(&store.shared());
        for _ in 0..self.dice.below(30) {
            if self.disk.is_dead() || (life.failed && !self.go_on(&mut life)) {
                return;
            }
            self.act(&mut life);
        }
        if self.dice.chance(30) {
            life.leave();
        }
    }

    /// Replaces the writer: allowed after a refusal, not after a failure.
    fn go_on(&mut self, life: &mut Life) -> bool {
        self.append(life, 1);
        self.disk.set_bytes_max(None);
        let renewed = life.renew();
        if renewed {
            // Refused entries had not been written.
            self.model.maybe.clear();
        }
        renewed
    }

    fn fill_up(&mut self) {
        let bytes_max = self.disk.used() + self.dice.below(4 * self.start.segment_bytes);
        self.disk.set_bytes_max(Some(bytes_max));
    }

    fn act(&mut self, life: &mut Life) {
        let count = 1 + self.dice.below(6);
        match self.dice.below(100) {
            0..60 => self.append(life, count),
            60..70 => self.trim(life),
            70..80 => self.snapshot(life),
            80..88 => self.fetch(&life.shared),
            88..94 => {
                let from = self.dice.below(life.shared.catalog.tail() + 2);
                self.read_all(&life.shared, from);
            }
            94..97 => {
                let made = life.shared.reserve.restore(&AtomicBool::new(false));
                self.note(u64::from(made.is_ok()));
            }
            _ if self.dice.chance(50) => self.fill_up(),
            _ => self.disk.set_bytes_max(None),
        }
    }

    /// Opens the store and compares all its contents. None if a fault kept it from opening.
    fn open(&mut self) -> Option<FileStore> {
        let seen = if self.dice.chance(25) { self.look() } else { None };
        let dir = Path::new("memory");
        let store = match FileStore::on(Arc::new(self.disk.clone()), dir, self.start, 256) {
            Ok(store) => store,
            Err(error) => {
                let full = self.disk.is_short();
                check!(self, self.disk.has_failed() || full, "it does not open: {error}");
                self.note(1);
                return None;
            }
        };
        let shared = store.shared();
        self.check_snapshot(&shared);
        let found = self.read_all(&shared, 1);
        let tail = shared.catalog.tail();
        let last = self.model.stored.last_key_value().map_or(0, |(pos, _)| *pos);
        check!(self, tail >= last, "the tail is {tail}, {last} was acknowledged");
        if self.model.blind.is_none() {
            let known = self.model.maybe.last_key_value().map_or(last, |(pos, _)| last.max(*pos));
            check!(self, tail <= known, "the tail is {tail}, {known} was the last one given");
            check!(self, seen.is_none_or(|seen| seen == (tail, found)), "a look saw {seen:?}");
        }
        // Entries that were found stay; entries that were not found never appear later.
        let maybe = std::mem::take(&mut self.model.maybe);
        self.model.stored.extend(maybe.into_iter().filter(|(pos, _)| *pos <= tail));
        self.note(tail);
        Some(store)
    }

    /// Checks the closed store. Returns its tail and the number of entries.
    fn look(&mut self) -> Option<(u64, u64)> {
        let disk = self.disk.kill();
        let dir = Path::new("memory");
        let mut findings = Vec::new();
        let report = verify::check(&disk, dir, &mut |finding| findings.push(finding));
        let looked = verify::look(Arc::new(disk.clone()), dir);
        check!(self, disk.calls() == self.disk.calls(), "a look has changed something");
        if self.model.blind.is_some() || self.model.blind_snapshot {
            return None;
        }
        let report = report.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let damage = findings.iter().find(|finding| finding.is_damage());
        check!(self, damage.is_none(), "a check found {damage:?}");
        let looked = looked.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let tail = looked.catalog.tail();
        check!(self, report.live.end.0 == tail + 1 || report.segments == 0, "{report:?}");
        Some((tail, report.entries))
    }

    /// Reads from this position on and compares. Returns the number of entries.
    fn read_all(&mut self, shared: &Shared, from: u64) -> u64 {
        let mut cursor = Cursor::new(&shared.catalog, from);
        let (mut next, mut found) = (from.max(1), 0);
        while let Some(entry) = cursor.step() {
            match entry {
                Ok(entry) => {
                    let pos = entry.pos.0;
                    let given = Given { epoch: entry.epoch.0, bytes: entry.bytes };
                    self.check_entry(pos, &given);
                    let gap = pos > next && !self.model.dead.covers(next, pos - 1);
                    check!(self, pos >= next && !gap, "{next} was to come, {pos} came");
                    (next, found) = (pos + 1, found + 1);
                }
                Err(StoreError::Corrupt { at, detail }) => {
                    self.check_damage(at.0, &detail);
                    let whole = shared.catalog.find(at.0).is_ok_and(|s| s.offset(at.0).is_some());
                    check!(self, !whole, "entry {at:?} was whole at the start: {detail}");
                    // The position of the next entry shows how many were damaged.
                    next = self.behind(shared, at.0);
                }
                Err(error) => panic!("seed {}: {error}", self.seed),
            }
        }
        let tail = shared.catalog.tail();
        let all = next > tail || self.model.dead.covers(next, tail);
        check!(self, all, "the journal ends before {next}, its tail is {tail}");
        self.note(found);
        found
    }

    /// The position behind the run of damaged entries that begins here.
    fn behind(&self, shared: &Shared, at: u64) -> u64 {
        let segments = shared.catalog.from(at);
        segments.first().map_or(at, |segment| segment.lost(at).end.max(at + 1))
    }

    fn check_entry(&self, pos: u64, found: &Given) {
        let known = self.model.stored.get(&pos).or_else(|| self.model.maybe.get(&pos));
        let bytes = found.bytes.len();
        check!(self, known == Some(found), "entry {pos} of {bytes} bytes was not given like that");
    }

    fn check_damage(&self, at: u64, detail: &str) {
        let known = self.model.blind.as_ref().is_some_and(|blind| blind.contains(&at));
        check!(self, known, "entry {at} is damaged without a cause: {detail}");
    }

    fn check_snapshot(&mut self, shared: &Shared) {
        let body = match shared.snapshots.newest() {
            Ok(Some((upto, mut body))) => {
                let mut bytes = Vec::new();
                while let Some(Ok(block)) = body.block() {
                    bytes.extend_from_slice(&block);
                }
                Some((upto, Bytes::from(bytes)))
            }
            Ok(None) => None,
            Err(error) => {
                check!(self, self.model.blind_snapshot, "no snapshot: {error}");
                None
            }
        };
        let found = |known: &(u64, Bytes)| Some(known) == body.as_ref();
        let model = &self.model;
        let expected = match &body {
            None => model.snapshot.is_none() || model.blind_snapshot,
            Some(_) if model.blind_snapshot => model.snapshots_tried.iter().any(found),
            Some(_) => model.snapshot.iter().chain(&model.snapshots_maybe).any(found),
        };
        let upto = body.as_ref().map(|(upto, _)| *upto);
        let newest = model.snapshot.as_ref().map(|(upto, _)| *upto);
        check!(self, expected, "snapshot {upto:?} was found, {newest:?} was acknowledged");
        self.note(upto.unwrap_or(0));
        self.model.snapshot = body;
        self.model.snapshots_maybe.clear();
    }

    fn bytes(&mut self, most: u64) -> Bytes {
        self.given += 1;
        let limit = if self.dice.chance(70) { most.min(600) } else { most };
        let length = 1 + self.dice.below(limit) as usize;
        let mut dice = Dice::new(self.given);
        let words = (0..length.div_ceil(8)).flat_map(|_| dice.roll().to_le_bytes());
        words.take(length).collect()
    }

    /// The bytes as one copied piece, or with a piece that is kept in the middle.
    fn rope(&mut self, bytes: &Bytes) -> Rope {
        if self.dice.chance(70) {
            return Rope::from(bytes.to_vec());
        }
        let ends = [self.dice.below(bytes.len() as u64), self.dice.below(bytes.len() as u64)];
        let (from, to) = (ends[0].min(ends[1]) as usize, ends[0].max(ends[1]) as usize);
        let mut rope = Rope::from(bytes[..from].to_vec());
        rope.keep(bytes.slice(from..to));
        rope.end().extend_from_slice(&bytes[to..]);
        rope
    }

    /// Appends `count` entries at once, perhaps with a trim between, and awaits them.
    fn append(&mut self, life: &mut Life, count: u64) {
        let limit = life.shared.max_entry() as u64;
        let is_over = life.failed;
        let first = life.shared.catalog.tail() + 1;
        let (mut waiting, mut outcomes) = (VecDeque::new(), Vec::new());
        for nth in 0..count {
            if self.dice.chance(5) {
                waiting.push_back(self.dead(&life.shared, oneshot::channel().0));
            }
            let too_long = !self.is_calm && self.dice.chance(1);
            let bytes = match too_long {
                true => Bytes::from(vec![1; limit as usize + 1]),
                false => self.bytes(limit.min(8 << 10)),
            };
            let (done, outcome) = oneshot::channel();
            waiting.push_back(Job::Append(self.rope(&bytes), done));
            outcomes.push((first + nth, bytes, too_long, outcome));
        }
        self.work(life, waiting);
        for (pos, bytes, too_long, mut outcome) in outcomes {
            let given = Given { epoch: life.shared.epoch, bytes };
            match outcome.try_recv().expect("each append has an outcome") {
                Ok(at) => {
                    check!(self, at.0 == pos && !too_long, "{at:?} was stored for {pos}");
                    check!(self, !life.failed, "{pos} was acknowledged after a failure");
                    self.model.stored.insert(pos, given);
                }
                Err(_) => {
                    life.failed = true;
                    if !too_long && !is_over {
                        self.model.maybe.insert(pos, given);
                    }
                }
            }
        }
        self.note(life.shared.catalog.tail());
    }

    fn work(&mut self, life: &mut Life, waiting: VecDeque<Job>) {
        let dice = Dice::new(self.dice.roll());
        let mut jobs = Jobs { waiting, disk: self.disk.clone(), dice };
        let live = || life.shared.catalog.from(0);
        let before = live();
        let journal = life.journal.as_mut().expect("a writer");
        while let Some(job) = jobs.next() {
            journal.step(job, &mut jobs);
        }
        // If the newest snapshot turns out damaged, the one before it needs the entries behind it.
        let mut uptos: Vec<u64> =
            self.disk.names().iter().filter_map(|n| snapshot_upto(n)).collect();
        uptos.sort_unstable();
        let is_known = self.model.snapshot.is_some() && !self.model.blind_snapshot;
        let floor = uptos.iter().rev().take(2).min().copied().filter(|_| is_known);
        let floor = floor.unwrap_or(u64::MAX);
        let left: Vec<u64> = live().iter().map(|segment| segment.first).collect();
        for gone in before.iter().filter(|segment| !left.contains(&segment.first)) {
            let last = gone.last();
            check!(
                self,
                last <= floor,
                "entry {last} is gone, a snapshot may need it behind {floor}"
            );
        }
    }

    /// A trim of some entries.
    fn dead(&mut self, shared: &Shared, done: crate::queue::Done<()>) -> Job {
        let tail = shared.catalog.tail();
        let from = 1 + self.dice.below(tail.min(20));
        let to = from + self.dice.below(tail.saturating_sub(from) + 1);
        self.model.dead.add(from..to);
        Job::Trim(std::iter::once(from..to).collect(), done)
    }

    fn trim(&mut self, life: &mut Life) {
        let (done, mut outcome) = oneshot::channel();
        let job = self.dead(&life.shared, done);
        self.work(life, VecDeque::from([job]));
        let outcome = outcome.try_recv().expect("a trim has an outcome");
        self.note(u64::from(outcome.is_ok()));
    }

    fn snapshot(&mut self, life: &mut Life) {
        let tail = life.shared.catalog.tail();
        let least = self.model.snapshots_tried.iter().map(|(upto, _)| *upto).max().unwrap_or(0);
        let upto = least + self.dice.below(tail.saturating_sub(least) + 1);
        if self.model.blind.is_some() || upto > tail {
            return;
        }
        let mut pieces: VecDeque<Piece> = VecDeque::new();
        let mut body = Vec::new();
        for _ in 0..self.dice.below(4) {
            let piece = self.bytes(3000);
            body.extend_from_slice(&piece);
            pieces.push_back(Piece::Body(piece));
        }
        let breaks_off = self.dice.chance(10);
        if !breaks_off {
            pieces.push_back(Piece::End);
            self.model.snapshots_tried.push((upto, body.clone().into()));
            self.model.snapshots_maybe.push((upto, body.clone().into()));
        }
        let stored = life.shared.snapshots.write(upto, &mut || pieces.pop_front());
        self.note(u64::from(stored.is_ok()));
        if stored.is_ok() {
            check!(self, !breaks_off, "half a snapshot was stored");
            self.model.snapshot = Some((upto, body.into()));
            self.model.snapshots_maybe.clear();
        }
    }

    fn fetch(&mut self, shared: &Shared) {
        let tail = shared.catalog.tail();
        if tail == 0 {
            return;
        }
        let count = self.dice.below(8);
        let asked: Vec<Pos> = (0..count).map(|_| Pos(1 + self.dice.below(tail))).collect();
        match fetch(&shared.catalog, &asked) {
            Ok(found) => {
                check!(self, found.len() == asked.len(), "{} for {}", found.len(), asked.len());
                for (pos, bytes) in asked.iter().zip(found) {
                    let given = self.model.stored.get(&pos.0).map(|given| &given.bytes);
                    check!(self, given == Some(&bytes), "{pos:?} was fetched otherwise");
                }
            }
            Err(StoreError::Truncated { .. }) => {
                let dead = asked.iter().any(|pos| self.model.dead.covers(pos.0, pos.0));
                check!(self, dead, "none of {asked:?} is dead");
            }
            Err(StoreError::Corrupt { at, detail }) => self.check_damage(at.0, &detail),
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    /// Ends the life: a power cut, or only the end of the process. After that a sector may be unreadable.
    fn die(&mut self) {
        self.disk = match self.dice.chance(60) {
            true => self.disk.crash(self.dice.roll()),
            false => self.disk.kill(),
        };
        if self.dice.chance(40) {
            self.disk.set_bytes_max(None);
        }
        if self.model.blind.is_none() && !self.model.blind_snapshot && self.dice.chance(4) {
            self.spoil();
        }
    }

    fn spoil(&mut self) {
        let names = self.disk.names();
        let name = match names.len() as u64 {
            0 => return,
            count => names[self.dice.below(count) as usize].clone(),
        };
        let at = self.dice.below(self.disk.size_of(&name).unwrap_or(0));
        if let Some(first) = segment_first(&name) {
            // Only among the listed segments: another one may have been made and not used.
            let looked = verify::look(Arc::new(self.disk.kill()), Path::new("memory"));
            let segments = looked.map(|looked| looked.catalog.from(first)).unwrap_or_default();
            let end = segments.get(1).map_or(u64::MAX, |next| next.first);
            self.model.blind = Some(first..end);
        } else if snapshot_upto(&name).is_some() {
            self.model.blind_snapshot = true;
        } else {
            return;
        }
        self.disk.spoil(&name, at);
    }
}

/// A writer and the outcomes of its jobs.
struct Life {
    shared: Arc<Shared>,
    journal: Option<Journal>,
    failed: bool,
}

impl Life {
    fn begin(shared: &Arc<Shared>) -> Self {
        let mut life = Self { shared: shared.clone(), journal: None, failed: true };
        assert!(life.renew(), "there is no writer yet");
        life
    }

    fn leave(&mut self) {
        self.journal.take().into_iter().for_each(Journal::leave);
    }

    /// Replaces this writer by another; false if that is not allowed.
    fn renew(&mut self) -> bool {
        self.leave();
        let Some(tail) = lock(&self.shared.resting).take() else { return false };
        let spares = Box::new(self.shared.maker());
        let journal = Journal::new(self.shared.clone(), tail, self.shared.epoch, spares);
        (self.journal, self.failed) = (Some(journal), false);
        true
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn every_story_ends_well() {
    let (first, count) = (number("STORE_SEED", 0), number("STORE_SEEDS", SEEDS));
    let began = Instant::now();
    for seed in first..first.saturating_add(count) {
        let told = std::panic::catch_unwind(|| Story::new(seed).tell());
        assert!(told.is_ok(), "STORE_SEED={seed} STORE_SEEDS=1 runs it again");
    }
    let each = began.elapsed() / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    println!("{count} stories from {first} on in {:?}, {each:?} each", began.elapsed());
}

#[test]
fn a_seed_is_the_same_story_each_time() {
    let traces = || (0..50).map(|seed| Story::new(seed).tell()).collect::<Vec<_>>();
    let once = traces();
    assert_eq!(once, traces());
    let different: std::collections::BTreeSet<u64> = once.iter().copied().collect();
    assert_eq!(different.len(), once.len());
}
