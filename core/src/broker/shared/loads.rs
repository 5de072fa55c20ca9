//! Records that dispatch has come to and that are not in memory: who asks for them, and who waits for them. Reading
//! them back is the work of `tasks::load`.

use crate::broker::vhost::host::Vhost;
use crate::broker::vhost::queue::{Queue, Wanted};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};

/// Records of one queue that are to be read back.
pub struct Load {
    pub vhost: Arc<Vhost>,
    pub queue: Arc<Queue>,
    pub wanted: Wanted,
}

/// What is to be read back.
pub struct Loads {
    /// At most one for each queue: a queue that has asked does not ask again before it was answered.
    asked: Mutex<Vec<Load>>,
    wake: mpsc::Sender<()>,
    /// Some queue has got what it asked for.
    answered: Notify,
}

impl Loads {
    /// Nothing to be read back; the receiver wakes the task that reads.
    pub fn new() -> (Self, mpsc::Receiver<()>) {
        // One wake-up is enough: whoever is woken takes all that was asked for.
        let (wake, woken) = mpsc::channel(1);
        (Self { asked: Mutex::default(), wake, answered: Notify::new() }, woken)
    }

    /// Asks for records.
    pub fn ask(&self, load: Load) {
        self.asked.lock().push(load);
        // Full: it is about to wake up. Closed: the broker is gone.
        let _ = self.wake.try_send(());
    }

    /// Takes out all that was asked for.
    pub fn take(&self) -> Vec<Load> {
        std::mem::take(&mut self.asked.lock())
    }

    /// A queue has got what it asked for.
    pub fn answered(&self) {
        self.answered.notify_waiters();
    }

    /// Resolves when nothing of that queue is being read back.
    pub async fn loaded(&self, queue: &Queue) {
        loop {
            let answered = self.answered.notified();
            if !queue.look(|state| state.sub.is_loading()) {
                return;
            }
            answered.await;
        }
    }

    /// Resolves when the first `upto` records that were rejected while their messages were not in memory have left
    /// their queue, and that is submitted to the committer.
    pub async fn removed(&self, queue: &Queue, upto: u64) {
        loop {
            let answered = self.answered.notified();
            let waits = queue.look(|state| {
                state.unsubmitted_departures > 0 || state.sub.has_pending_removals(upto)
            });
            if !waits {
                return;
            }
            answered.await;
        }
    }
}
