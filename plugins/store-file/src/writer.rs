//! The writer that the core holds: hands entries to the journal's thread through a bounded queue and waits for their
//! outcome. Dropping it waits until the thread has finished its jobs, but not until there is free disk space.

use crate::journal::Journal;
use crate::manifest::Manifest;
use crate::queue::{Job, Queue};
use crate::recovery::Tail;
use crate::spare::Workshop;
use crate::store::Shared;
use async_trait::async_trait;
use crossdock_core::Rope;
use crossdock_core::store::{JournalWriter, Pending, Pos, StoreError};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// The single writer.
pub struct Writer {
    shared: Arc<Shared>,
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// Tells the thread to stop waiting for free disk space.
    leaving: Arc<AtomicBool>,
    /// An append was refused, so all later ones are refused as well.
    refused: bool,
}

impl Writer {
    /// Starts the threads.
    pub fn start(shared: Arc<Shared>, tail: (Manifest, Tail), epoch: u64) -> io::Result<Self> {
        let spares = Workshop::start(shared.maker())?;
        let (sender, jobs) = sync_channel(shared.in_flight);
        let leaving = Arc::new(AtomicBool::new(false));
        let queue = Queue::new(jobs, shared.in_flight, leaving.clone());
        let journal = Journal::new(shared.clone(), tail, epoch, Box::new(spares));
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || journal.work(queue))?;
        Ok(Self { shared, jobs: Some(sender), thread: Some(thread), leaving, refused: false })
    }

    fn queue(&self, job: Job) -> Result<(), StoreError> {
        let refused = match self.jobs.as_ref().map(|jobs| jobs.try_send(job)) {
            Some(Ok(())) => return Ok(()),
            Some(Err(TrySendError::Full(_))) => "too many jobs are outstanding",
            Some(Err(TrySendError::Disconnected(_))) | None => "the journal's thread has ended",
        };
        Err(StoreError::Unavailable(format!("the journal refuses the job: {refused}")))
    }
}

async fn outcome<T>(answer: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
    match answer.await {
        Ok(outcome) => outcome,
        Err(_) => Err(StoreError::Unavailable("the journal's thread has ended".into())),
    }
}

#[async_trait]
impl JournalWriter for Writer {
    fn append(&mut self, entry: Rope) -> Pending<Pos> {
        let (done, answer) = oneshot::channel();
        let queued = match self.refused {
            false => self.queue(Job::Append(entry, done)),
            true => Err(StoreError::Unavailable("an earlier append was refused".into())),
        };
        match queued {
            Ok(()) => Box::pin(outcome(answer)),
            Err(error) => {
                self.refused = true;
                Box::pin(std::future::ready(Err(error)))
            }
        }
    }

    async fn resync(&mut self) -> Result<Pos, StoreError> {
        // Every append has a known outcome here, because a failure is final.
        Ok(self.tail())
    }

    async fn trim(&mut self, dead: &[Range<Pos>]) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        let dead = dead.iter().map(|range| range.start.0..range.end.0).collect();
        self.queue(Job::Trim(dead, done))?;
        outcome(answer).await
    }

    fn tail(&self) -> Pos {
        Pos(self.shared.catalog.tail())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        self.leaving.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // The result is ignored: a panic in the thread was reported where it happened.
            let _ = thread.join();
        }
    }
}
