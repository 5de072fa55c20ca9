//! The end of the journal, as its one thread sees it: takes what waits, writes it at once, syncs once, answers in
//! order; begins the next segment when one is full; removes segments that are dead.
//!
//! Invariant: after the first failed write or sync nothing is written any more. What was written may or may not be
//! there; only the next start tells.

use crate::catalog::Segment;
use crate::dead::DeadRanges;
use crate::disk::refusal;
use crate::layout::{FIRST_RECORD, RecordHeader, SegmentHeader, record_bytes};
use crate::manifest::{End, Listed, Manifest};
use crate::recovery::{Tail, seal};
use crate::spare::Spares;
use crate::store::Shared;
use bytes::Bytes;
use crossdock_core::store::{Pos, StoreError};
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use tokio::sync::oneshot;

/// Bytes that are written at once at most, one larger entry excepted.
const BATCH_BYTES: u64 = 4 << 20;

/// Who waits for an outcome.
pub type Done<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the thread is asked for.
pub enum Job {
    Append(Bytes, Done<Pos>),
    Trim(Vec<Range<u64>>, Done<()>),
}

/// The thread's state.
pub struct Journal {
    shared: Arc<Shared>,
    manifest: Manifest,
    tail: Tail,
    /// Of the lease under which it writes.
    epoch: u64,
    spares: Spares,
    dead: DeadRanges,
    run: Run,
    failure: Option<String>,
}

/// Records that are written together.
#[derive(Default)]
struct Run {
    bytes: Vec<u8>,
    offsets: Vec<u32>,
    waiting: Vec<Done<Pos>>,
    /// Checksum of the last one.
    crc: u32,
}

impl Journal {
    /// Goes on behind this tail.
    pub fn new(
        shared: Arc<Shared>,
        (manifest, tail): (Manifest, Tail),
        epoch: u64,
        spares: Spares,
    ) -> Self {
        Self {
            shared,
            manifest,
            tail,
            epoch,
            spares,
            dead: DeadRanges::default(),
            run: Run::default(),
            failure: None,
        }
    }

    /// Works until nobody can ask any more. The tail goes back to rest, unless a write failed.
    pub fn work(mut self, jobs: &Receiver<Job>) {
        let mut held = None;
        while let Some(job) = held.take().or_else(|| jobs.recv().ok()) {
            match job {
                Job::Append(body, done) => held = self.batch((body, done), jobs),
                Job::Trim(dead, done) => answer(done, self.trim(dead)),
            }
        }
        // Its thread is at the folder, too.
        drop(self.spares);
        if self.failure.is_none() {
            self.shared.rest(self.manifest, self.tail);
        }
    }

    /// Takes the appends that wait, up to a batch. What is to be done next, when it is something else.
    fn batch(&mut self, first: (Bytes, Done<Pos>), jobs: &Receiver<Job>) -> Option<Job> {
        let mut bytes = record_bytes(first.0.len());
        self.append(first.0, first.1);
        let held = loop {
            match jobs.try_recv().ok() {
                Some(Job::Append(body, done)) => {
                    bytes += record_bytes(body.len());
                    if bytes > BATCH_BYTES {
                        break Some(Job::Append(body, done));
                    }
                    self.append(body, done);
                }
                other => break other,
            }
        };
        self.flush();
        held
    }

    /// Adds an entry to the run. Begins the next segment first, when it does not fit into this one.
    fn append(&mut self, body: Bytes, done: Done<Pos>) {
        let (length, limit) = (body.len(), self.shared.max_entry());
        if self.failure.is_none() && length > limit {
            self.flush();
            self.fail(format!("an entry of {length} bytes is over the limit of {limit}"));
        }
        let need = record_bytes(body.len());
        let used = self.tail.used + self.run.bytes.len() as u64;
        if self.failure.is_none() && used + need > self.tail.active.capacity {
            self.flush();
            if self.failure.is_none()
                && let Err(error) = self.roll()
            {
                let what = "the next segment could not be begun";
                self.fail(format!("{what}: {error}"));
                return answer(done, Err(refusal(what, &error)));
            }
        }
        if let Some(failure) = &self.failure {
            return answer(done, Err(StoreError::Unavailable(failure.clone())));
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
        let at = self.tail.used + self.run.bytes.len() as u64;
        self.run.offsets.push(u32::try_from(at).unwrap_or_default());
        self.run.crc = header.put(self.manifest.salt, &body, &mut self.run.bytes);
        self.run.waiting.push(done);
    }

    /// Writes and syncs the run, and answers.
    fn flush(&mut self) {
        let mut run = std::mem::take(&mut self.run);
        if run.waiting.is_empty() {
            return;
        }
        let file = &self.tail.active.file;
        if let Err(error) = file.write_at(self.tail.used, &run.bytes).and_then(|()| file.sync()) {
            let what = "the journal could not be written";
            self.fail(format!("{what}: {error}"));
            for done in run.waiting {
                answer(done, Err(refusal(what, &error)));
            }
            return;
        }
        let first = self.shared.catalog.tail() + 1;
        self.tail.active.push(&run.offsets);
        self.tail.used += run.bytes.len() as u64;
        self.tail.crc = run.crc;
        self.shared.catalog.set_tail(first + run.waiting.len() as u64 - 1);
        for (pos, done) in (first..).zip(run.waiting.drain(..)) {
            answer(done, Ok(Pos(pos)));
        }
        run.bytes.clear();
        run.offsets.clear();
        self.run = run;
    }

    /// Begins the next segment. The manifest lists it before anything is written to it.
    fn roll(&mut self) -> io::Result<()> {
        let disk = &*self.shared.disk;
        let first = self.shared.catalog.tail() + 1;
        let header = SegmentHeader {
            first,
            epoch: self.epoch,
            capacity: self.shared.segment_bytes,
            prev_crc: self.tail.crc,
            salt: self.manifest.salt,
        };
        let active = self.spares.take()?.begin(disk, header)?;
        seal(&mut self.manifest, &self.tail.active, self.tail.crc);
        self.manifest.segments.push(Listed { first, end: End::Open });
        self.manifest.store(disk)?;
        self.shared.catalog.insert(active.clone());
        self.tail = Tail { active, used: FIRST_RECORD, crc: self.tail.crc };
        Ok(())
    }

    fn fail(&mut self, failure: String) {
        tracing::error!(failure, "the store stops: nothing is stored any more");
        self.failure = Some(failure);
    }

    /// Removes the sealed segments in which all is dead.
    fn trim(&mut self, dead: Vec<Range<u64>>) -> Result<(), StoreError> {
        if let Some(failure) = &self.failure {
            return Err(StoreError::Unavailable(failure.clone()));
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

    /// First off the manifest, then away: what a crash leaves between is removed by the next start.
    fn remove(&mut self, segments: &[Arc<Segment>]) -> io::Result<()> {
        let disk = &*self.shared.disk;
        let firsts: BTreeSet<u64> = segments.iter().map(|segment| segment.first).collect();
        let mut manifest = self.manifest.clone();
        manifest.segments.retain(|listed| !firsts.contains(&listed.first));
        manifest.store(disk)?;
        self.manifest = manifest;
        for segment in segments {
            self.shared.catalog.remove(segment.first);
            match disk.remove(&segment.name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        disk.sync_dir("")
    }
}

fn answer<T>(done: Done<T>, outcome: Result<T, StoreError>) {
    // Whoever asked may be gone.
    let _ = done.send(outcome);
}
