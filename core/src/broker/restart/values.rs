//! Retained values as snapshot and journal leave them. Nothing else that is stored depends on them, so they are read
//! and put in order on a thread of their own, while the others are read, and are in their place once that has ended.

use crate::broker::operations::known::Known;
use crate::broker::operations::messages::StoredMessage;
use crate::broker::shared::Shared;
use crate::broker::shared::timers::TimerEvent;
use crate::exchange::Retained;
use crate::message::{Budget, Key, Name};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

/// Values, and their bytes, that are handed to the thread together.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// Batches that wait for the thread.
const BATCHES: usize = 8;

/// A value that is set, or cleared. Key and message are parts of the buffer that they were read from.
pub struct Change {
    pub vhost: Name,
    pub key: Key,
    pub message: Option<StoredMessage>,
}

/// Takes changes of retained values in their order.
pub struct ValuesInput {
    batch: Vec<Change>,
    batch_bytes: usize,
    to_thread: mpsc::Sender<Vec<Change>>,
    thread: JoinHandle<StoredValues>,
}

/// The values of all virtual hosts.
#[derive(Default)]
pub struct StoredValues {
    vhosts: HashMap<Name, Retained>,
    /// Messages that could not be read: a name in them is none.
    pub damaged: u64,
}

impl ValuesInput {
    /// Begins without values; those that come are charged to that budget.
    pub fn begin(budget: &Arc<Budget>) -> Self {
        let (to_thread, mut batches) = mpsc::channel::<Vec<Change>>(BATCHES);
        let budget = budget.clone();
        let thread = spawn_blocking(move || {
            let (mut values, mut known) = (StoredValues::default(), Known::default());
            while let Some(batch) = batches.blocking_recv() {
                batch.into_iter().for_each(|change| values.apply(change, &mut known, &budget));
            }
            values
        });
        Self { batch: Vec::with_capacity(BATCH), batch_bytes: 0, to_thread, thread }
    }

    /// The next change.
    pub fn put(&mut self, change: Change) {
        self.batch_bytes += change.message.as_ref().map_or(0, StoredMessage::len);
        self.batch.push(change);
    }

    /// Hands over what has come, if that is a batch; waits while the thread has enough to do.
    pub async fn hand_over(&mut self) {
        if self.batch.len() >= BATCH || self.batch_bytes >= BATCH_BYTES {
            self.send().await;
        }
    }

    async fn send(&mut self) {
        self.batch_bytes = 0;
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        // An error: the thread has ended early, which `finish` says.
        let _ = self.to_thread.send(batch).await;
    }

    /// All values, when all changes have come. None: the runtime is stopping.
    pub async fn finish(mut self) -> Option<StoredValues> {
        self.send().await;
        let Self { to_thread, thread, .. } = self;
        drop(to_thread);
        thread.await.ok()
    }
}

impl StoredValues {
    fn apply(&mut self, change: Change, known: &mut Known, budget: &Arc<Budget>) {
        let Change { vhost, key, message } = change;
        let values = match self.vhosts.get_mut(&vhost) {
            Some(values) => values,
            None => self.vhosts.entry(vhost).or_insert_with(|| Retained::new(budget)),
        };
        let Some(message) = message else {
            values.set(key, None);
            return;
        };
        let Some(message) = message.read(known) else {
            self.damaged += 1;
            return;
        };
        message.charge(budget);
        // A value's topic is nearly always the message's own key: they share its bytes.
        let own = &message.address().key;
        let key = if *own == key { own.clone() } else { key.detached() };
        values.set(key, Some(message));
    }

    /// Gives the virtual hosts of a broker their values. Those that have expired are left out.
    pub fn install(self, shared: &Shared) {
        for (name, mut values) in self.vhosts {
            let Some(vhost) = shared.vhost(&name) else { continue };
            for key in values.expired(shared.now(), usize::MAX) {
                values.set(key, None);
            }
            if let Some(at) = values.next_expiry() {
                shared.timers.set_no_later(at, TimerEvent::ValueExpires(name));
            }
            *vhost.retained.lock() = values;
        }
    }
}
