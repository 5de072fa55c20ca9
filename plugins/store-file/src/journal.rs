//! The end of the journal, owned by one thread: takes all waiting entries, writes them with one write, syncs once,
//! answers in order; begins the next segment when one is full; removes segments whose entries are all dead.
//!
//! Invariants: after the first failed write or sync nothing is written any more, and only the next start finds out what
//! is on the disk. A disk that is too full for the next segment is not a failure: the append that needs the segment
//! waits, and so do all later ones.

use crate::catalog::{Segment, lock};
use crate::dead::Ranges;
use crate::disk::{Disk, QUARANTINE, is_full, refusal, write_rope_at};
use crate::layout::{FIRST_RECORD, RecordHeader, SegmentHeader, record_bytes};
use crate::manifest::{Listed, Manifest, SegmentEnd};
use crate::queue::{Done, Feed, Job, Queue, answer};
use crate::recovery::{Tail, seal};
use crate::spare::Supply;
use crate::store::Shared;
use crossdock_core::Rope;
use crossdock_core::store::{Pos, StoreError};
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Bytes written at once at most; a single larger entry is written alone.
const BATCH_BYTES: u64 = 4 << 20;

/// Failed attempts to create the next segment, not counting those for which the disk was full, before the store stops.
/// Each attempt uses a new file, so nothing relies on the file whose write or sync failed.
const SPARE_TRIES: u32 = 10;

/// The thread's state.
pub struct Journal {
    shared: Arc<Shared>,
    manifest: Manifest,
    tail: Tail,
    /// Epoch of the lease under which it writes.
    epoch: u64,
    spares: Box<dyn Supply>,
    dead: Ranges,
    run: Run,
    stopped: Option<Stopped>,
}

/// Why no job is accepted any more.
struct Stopped {
    why: String,
    /// It is not known what is on the disk: no writer may continue before the next start.
    unknown: bool,
}

/// Records that are written together.
#[derive(Default)]
struct Run {
    bytes: Rope,
    offsets: Vec<u32>,
    waiting: Vec<Done<Pos>>,
    /// Checksum of the last one.
    crc: u32,
}

impl Journal {
    /// A journal that continues behind this tail.
    pub fn new(
        shared: Arc<Shared>,
        (manifest, tail): (Manifest, Tail),
        epoch: u64,
        spares: Box<dyn Supply>,
    ) -> Self {
        Self {
            shared,
            manifest,
            tail,
            epoch,
            spares,
            dead: Ranges::default(),
            run: Run::default(),
            stopped: None,
        }
    }

    /// Works until all senders of jobs are gone.
    pub fn work(mut self, mut queue: Queue) {
        while let Some(job) = queue.wait() {
            self.step(job, &mut queue);
        }
        self.leave();
    }

    /// Gives the tail back for the next writer, unless a write failed.
    pub fn leave(self) {
        let Self { shared, manifest, tail, spares, stopped, .. } = self;
        // Its thread uses the folder, too: it has to end first.
        drop(spares);
        lock(&shared.figures).log();
        if stopped.is_none_or(|stopped| !stopped.unknown) {
            let manifest = with_end(&shared, manifest);
            shared.rest(manifest, tail);
        }
    }

    /// Does a job; an append together with the appends that wait behind it.
    pub fn step(&mut self, job: Job, feed: &mut dyn Feed) {
        match job {
            Job::Append(body, done) => self.batch((body, done), feed),
            Job::Trim(dead, done) => answer(done, self.trim(dead)),
        }
    }

    /// Takes the waiting appends, up to one batch.
    fn batch(&mut self, first: (Rope, Done<Pos>), feed: &mut dyn Feed) {
        let mut bytes = record_bytes(first.0.len());
        self.append(first.0, first.1, feed);
        while let Some(job) = feed.next() {
            match job {
                Job::Append(body, done) if bytes + record_bytes(body.len()) <= BATCH_BYTES => {
                    bytes += record_bytes(body.len());
                    self.append(body, done, feed);
                }
                other => {
                    feed.put_back(other);
                    break;
                }
            }
        }
        self.flush();
    }

    /// Adds an entry to the run. Begins the next segment first, when it does not fit into this one.
    fn append(&mut self, body: Rope, done: Done<Pos>, feed: &mut dyn Feed) {
        let (length, limit) = (body.len(), self.shared.max_entry());
        if self.stopped.is_none() && length > limit {
            self.flush();
            self.stop(format!("an entry of {length} bytes is over the limit of {limit}"), false);
        }
        let need = record_bytes(body.len());
        if self.stopped.is_none() && self.end() + need > self.tail.active.capacity {
            self.flush();
            if self.stopped.is_none()
                && let Err(refused) = self.roll(feed)
            {
                return answer(done, Err(refused));
            }
        }
        if let Some(stopped) = &self.stopped {
            return answer(done, Err(StoreError::Unavailable(stopped.why.clone())));
        }
        let durable = self.shared.catalog.tail();
        let header = RecordHeader {
            length: 0,
            prev_crc: if self.run.waiting.is_empty() { self.tail.crc } else { self.run.crc },
            pos: durable + 1 + self.run.waiting.len() as u64,
            epoch: self.epoch,
            durable,
            crc: 0,
        };
        // A segment has less than 4 GiB.
        self.run.offsets.push(u32::try_from(self.end()).unwrap_or_default());
        self.run.crc = header.put(self.manifest.salt, &body, &mut self.run.bytes);
        self.run.waiting.push(done);
    }

    /// Where the next record begins.
    fn end(&self) -> u64 {
        self.tail.used + self.run.bytes.len() as u64
    }

    /// Writes and syncs the run, and answers.
    fn flush(&mut self) {
        let mut run = std::mem::take(&mut self.run);
        if run.waiting.is_empty() {
            return;
        }
        let began = Instant::now();
        let mut synced = began;
        let file = &self.tail.active.file;
        let written = write_rope_at(&**file, self.tail.used, &run.bytes).and_then(|()| {
            synced = Instant::now();
            file.sync()
        });
        if let Err(error) = written {
            let what = "the journal could not be written";
            self.stop(format!("{what}: {error}"), true);
            for done in run.waiting {
                answer(done, Err(refusal(what, &error)));
            }
            return;
        }
        let count = run.waiting.len() as u64;
        lock(&self.shared.figures).count(count, run.bytes.len() as u64, synced.elapsed());
        let first = self.shared.catalog.tail() + 1;
        self.tail.used += run.bytes.len() as u64;
        self.tail.active.push(&run.offsets, self.tail.used);
        self.tail.crc = run.crc;
        self.shared.catalog.set_tail(first + count - 1);
        for (pos, done) in (first..).zip(run.waiting.drain(..)) {
            answer(done, Ok(Pos(pos)));
        }
        run.bytes.clear();
        run.offsets.clear();
        self.run = run;
    }

    /// Begins the next segment; waits while the disk is too full for it.
    fn roll(&mut self, feed: &mut dyn Feed) -> Result<(), StoreError> {
        let (mut begun, mut waits, mut failures) = (None, false, 0);
        loop {
            let error = match self.try_roll(&mut begun) {
                Ok(true) => {
                    if waits {
                        tracing::info!(
                            "the next journal segment was created: waiting writes go on"
                        );
                    }
                    return Ok(());
                }
                Ok(false) => None,
                Err(Rolling::NotYet(error)) => Some(error),
                Err(Rolling::Failed(error)) => {
                    let what = "the next segment could not be begun";
                    self.stop(format!("{what}: {error}"), true);
                    return Err(refusal(what, &error));
                }
            };
            for (dead, done) in feed.trims() {
                answer(done, self.trim(dead));
            }
            let Some(error) = error else { continue };
            failures = if is_full(&error) { 0 } else { failures + 1 };
            if failures >= SPARE_TRIES {
                let what = "the next segment could not be made";
                self.stop(format!("{what}: {error}"), false);
                return Err(refusal(what, &error));
            }
            if !std::mem::replace(&mut waits, true) {
                let full = is_full(&error);
                tracing::error!(
                    %error,
                    full,
                    "cannot create the next journal segment: all writes wait until it can be created"
                );
            }
            if !feed.pause() {
                if let Some(begun) = begun {
                    // The manifest does not list it, so it only takes disk space; the next start would remove it, too.
                    let _ = self.shared.disk.remove(&begun.name);
                }
                self.stop(format!("the disk was too full for the next segment: {error}"), false);
                return Err(refusal("the next segment", &error));
            }
        }
    }

    /// One attempt; false when the next segment is still being made. The manifest lists a segment before anything is
    /// written to it.
    fn try_roll(&mut self, begun: &mut Option<Arc<Segment>>) -> Result<bool, Rolling> {
        let disk = &*self.shared.disk;
        let first = self.shared.catalog.tail() + 1;
        let active = match begun.take() {
            Some(active) => active,
            None => {
                let Some(spare) = self.spares.take().map_err(Rolling::NotYet)? else {
                    return Ok(false);
                };
                let header = SegmentHeader {
                    first,
                    epoch: self.epoch,
                    capacity: spare.capacity,
                    prev_crc: self.tail.crc,
                    salt: self.manifest.salt,
                };
                spare.begin(disk, header)?
            }
        };
        // A segment without entries has given its place in the manifest, and its name, to its successor.
        if !self.tail.active.is_empty() {
            let mut manifest = self.manifest.clone();
            seal(&mut manifest, &self.tail.active, self.tail.crc);
            let synced = first.saturating_sub(1);
            manifest.segments.push(Listed { first, end: SegmentEnd::Open { synced } });
            if let Err(error) = self.shared.reserve.spend(|| manifest.store(disk)) {
                *begun = Some(active);
                return Err(error.into());
            }
            self.manifest = manifest;
        }
        self.shared.catalog.insert(active.clone());
        self.tail.active.close();
        self.tail = Tail { active, used: FIRST_RECORD, crc: self.tail.crc };
        Ok(true)
    }

    /// Accepts no more jobs. The first reason is kept.
    fn stop(&mut self, why: String, unknown: bool) {
        if self.stopped.is_none() {
            tracing::error!(
                why,
                "the store accepts no more writes until the broker is started again"
            );
            self.stopped = Some(Stopped { why, unknown });
        }
    }

    /// Removes the sealed segments in which every entry is dead.
    fn trim(&mut self, dead: Vec<Range<u64>>) -> Result<(), StoreError> {
        if let Some(stopped) = &self.stopped {
            return Err(StoreError::Unavailable(stopped.why.clone()));
        }
        for range in dead {
            self.dead.add(range);
        }
        let floor = self.shared.snapshots.floor();
        let mut segments = self.shared.catalog.from(0);
        segments.retain(|segment| {
            let last = segment.last();
            segment.first < self.tail.active.first
                && last <= floor
                && self.dead.covers(segment.first, last)
        });
        if segments.is_empty() {
            return Ok(());
        }
        self.remove(&segments).map_err(|error| refusal("dead segments", &error))?;
        if let Some(oldest) = self.manifest.segments.first() {
            self.dead.forget_below(oldest.first);
        }
        Ok(())
    }

    /// Takes the segments off the manifest, then deletes them. After a crash in between the next start deletes them.
    fn remove(&mut self, segments: &[Arc<Segment>]) -> io::Result<()> {
        let disk = &*self.shared.disk;
        let firsts: BTreeSet<u64> = segments.iter().map(|segment| segment.first).collect();
        let mut manifest = self.manifest.clone();
        manifest.segments.retain(|listed| !firsts.contains(&listed.first));
        manifest.set_synced(self.shared.catalog.tail());
        self.shared.reserve.spend(|| manifest.store(disk))?;
        self.manifest = manifest;
        for segment in segments {
            self.shared.catalog.remove(segment.first);
            let gone = match segment.is_evidence() {
                true => quarantine(disk, &segment.name),
                false => disk.remove(&segment.name),
            };
            match gone {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        disk.sync_dir("")
    }
}

/// Notes in the manifest that everything is synced. Without that the next start cannot tell damage to the last entry
/// from an unfinished write; nothing else depends on it.
fn with_end(shared: &Shared, manifest: Manifest) -> Manifest {
    let mut marked = manifest.clone();
    marked.set_synced(shared.catalog.tail());
    if marked == manifest {
        return manifest;
    }
    match marked.store(&*shared.disk) {
        Ok(()) => marked,
        Err(error) => {
            tracing::debug!(%error, "the end of the journal is not noted in the manifest");
            manifest
        }
    }
}

/// Moves a file whose damage was found after the start to the quarantine; the start itself copies those that it finds.
fn quarantine(disk: &dyn Disk, name: &str) -> io::Result<()> {
    disk.make_dir(QUARANTINE)?;
    disk.rename(name, &format!("{QUARANTINE}/{name}"))?;
    disk.sync_dir(QUARANTINE)
}

/// Why there is no next segment.
enum Rolling {
    NotYet(io::Error),
    Failed(io::Error),
}

impl From<io::Error> for Rolling {
    fn from(error: io::Error) -> Self {
        if is_full(&error) { Self::NotYet(error) } else { Self::Failed(error) }
    }
}
