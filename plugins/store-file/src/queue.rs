//! What the journal's thread is asked for, and the queue in which it waits. While the disk is full appends stay in
//! order where they are, and trims overtake them: they are what makes room.

use bytes::Bytes;
use crossdock_core::store::{Pos, StoreError};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;
use tokio::sync::oneshot;

/// Between two looks at whether there is room; tests do not wait so long.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 100 });

/// Who waits for an outcome.
pub type Done<T> = oneshot::Sender<Result<T, StoreError>>;

/// Tells who waits.
pub fn answer<T>(done: Done<T>, outcome: Result<T, StoreError>) {
    // Whoever asked may be gone.
    let _ = done.send(outcome);
}

/// What the journal is asked for.
pub enum Job {
    Append(Bytes, Done<Pos>),
    Trim(Vec<Range<u64>>, Done<()>),
}

/// Positions that are dead, and who said so.
pub type Trim = (Vec<Range<u64>>, Done<()>);

/// Where jobs come from.
pub trait Feed {
    /// The next one that is there, without waiting.
    fn next(&mut self) -> Option<Job>;
    /// This one is next, after all.
    fn put_back(&mut self, job: Job);
    /// Takes the trims out of what waits.
    fn trims(&mut self) -> Vec<Trim>;
    /// Lets time pass; false when nobody wants to wait any longer.
    fn pause(&mut self) -> bool;
}

/// Jobs from another thread.
pub struct Queue {
    jobs: Receiver<Job>,
    /// Taken out of `jobs` and not done, in order.
    held: VecDeque<Job>,
    held_max: usize,
    /// The writer is being dropped.
    leaving: Arc<AtomicBool>,
}

impl Queue {
    /// What comes out of `jobs`; as many are held back as may be outstanding.
    pub fn new(jobs: Receiver<Job>, held_max: usize, leaving: Arc<AtomicBool>) -> Self {
        Self { jobs, held: VecDeque::new(), held_max, leaving }
    }

    /// The next one; none when no more can come.
    pub fn wait(&mut self) -> Option<Job> {
        self.held.pop_front().or_else(|| self.jobs.recv().ok())
    }
}

impl Feed for Queue {
    fn next(&mut self) -> Option<Job> {
        self.held.pop_front().or_else(|| self.jobs.try_recv().ok())
    }

    fn put_back(&mut self, job: Job) {
        self.held.push_front(job);
    }

    fn trims(&mut self) -> Vec<Trim> {
        let room = self.held_max.saturating_sub(self.held.len());
        self.held.extend(self.jobs.try_iter().take(room));
        take_trims(&mut self.held)
    }

    fn pause(&mut self) -> bool {
        if self.leaving.load(Ordering::Acquire) {
            return false;
        }
        std::thread::sleep(PAUSE);
        true
    }
}

/// Takes the trims out; what is left stays in order.
pub fn take_trims(jobs: &mut VecDeque<Job>) -> Vec<Trim> {
    let mut trims = Vec::new();
    for job in std::mem::take(jobs) {
        match job {
            Job::Trim(dead, done) => trims.push((dead, done)),
            append => jobs.push_back(append),
        }
    }
    trims
}
