//! The jobs of the journal's thread, and the queue in which they wait. While the disk is full, appends stay queued in
//! their order and trims overtake them, because trims free disk space.

use crossdock_core::Rope;
use crossdock_core::store::{Pos, StoreError};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;
use tokio::sync::oneshot;

/// Pause between two attempts to get disk space; short in tests.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 100 });

/// Sender of a job's outcome.
pub type Done<T> = oneshot::Sender<Result<T, StoreError>>;

/// Sends the outcome of a job.
pub fn answer<T>(done: Done<T>, outcome: Result<T, StoreError>) {
    // The receiver may have been dropped.
    let _ = done.send(outcome);
}

/// A job for the journal.
pub enum Job {
    Append(Rope, Done<Pos>),
    Trim(Vec<Range<u64>>, Done<()>),
}

/// Positions that are dead, and the sender of the outcome.
pub type Trim = (Vec<Range<u64>>, Done<()>);

/// Where jobs come from.
pub trait Feed {
    /// The next job, if there is one, without waiting.
    fn next(&mut self) -> Option<Job>;
    /// Puts a job back in front of the others.
    fn put_back(&mut self, job: Job);
    /// Takes the trims out of the waiting jobs.
    fn trims(&mut self) -> Vec<Trim>;
    /// Waits a moment; false when the writer is being dropped.
    fn pause(&mut self) -> bool;
}

/// Jobs from another thread.
pub struct Queue {
    jobs: Receiver<Job>,
    /// Jobs taken out of `jobs` and not done yet, in order.
    held: VecDeque<Job>,
    held_max: usize,
    /// The writer is being dropped.
    leaving: Arc<AtomicBool>,
}

impl Queue {
    /// A queue of the jobs from `jobs` that holds back at most `held_max` of them.
    pub fn new(jobs: Receiver<Job>, held_max: usize, leaving: Arc<AtomicBool>) -> Self {
        Self { jobs, held: VecDeque::new(), held_max, leaving }
    }

    /// Waits for the next job; none when all senders are gone.
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
        let free = self.held_max.saturating_sub(self.held.len());
        self.held.extend(self.jobs.try_iter().take(free));
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

/// Takes the trims out; the other jobs keep their order.
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
