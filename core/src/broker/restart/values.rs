//! Retained values as snapshot and journal leave them. Nothing else that is stored depends on them, so they are read
//! and put in order on a thread of their own, while everything else is read and put in its place.

use crate::broker::operations::known::Known;
use crate::broker::operations::messages::StoredMessage;
use crate::broker::shared::Shared;
use crate::broker::shared::timers::TimerEvent;
use crate::error::{Error, ErrorKind};
use crate::exchange::{Retained, RetainedValue};
use crate::message::{Budget, Key, Name};
use rustc_hash::FxHashMap;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};

/// Changes that are handed to the thread together.
const BATCH: usize = 512;
/// Changes wait for the thread in as much memory as this part of `memory.high`, within these bounds: values mostly
/// come last in a journal, and what waits for them lets the reader come to its end.
const WAITING_PART: usize = 8;
const WAITING_MIN: usize = 8 << 20;
const WAITING_MAX: usize = 256 << 20;
/// Bytes of a unit, in which the memory of waiting changes is counted.
const UNIT: usize = 1 << 10;

/// A value that is set, or cleared. Key and message are parts of the buffer that they were read from.
pub struct Change {
    pub vhost: Name,
    pub key: Key,
    pub message: Option<StoredMessage>,
}

/// Changes that go to the thread together, and their units.
type Batch = (Vec<Change>, usize);

/// Takes changes of retained values in their order.
pub struct ValuesInput {
    batch: Vec<Change>,
    batch_bytes: usize,
    to_thread: mpsc::Sender<Batch>,
    /// Units that may still wait for the thread, and how many there are in all.
    room: Arc<Semaphore>,
    room_max: usize,
    thread: JoinHandle<StoredValues>,
}

/// All changes have come; the thread may still be at work.
pub struct ComingValues(JoinHandle<StoredValues>);

/// The values of all virtual hosts, in topic order.
pub struct StoredValues {
    vhosts: Vec<(Name, Retained)>,
    /// Messages that could not be read: a name in them is none.
    pub damaged: u64,
}

/// The values so far.
#[derive(Default)]
struct Reading {
    vhosts: HashMap<Name, OfVhost>,
    damaged: u64,
}

/// In no order: to find each one's place among all of them would take longer than to sort them at the end.
#[derive(Default)]
struct OfVhost {
    values: FxHashMap<Key, RetainedValue>,
    last_number: u64,
}

impl ValuesInput {
    /// Begins without values; those that come are charged to that budget.
    pub fn begin(budget: &Arc<Budget>) -> Self {
        let room_max = (budget.high() / WAITING_PART).clamp(WAITING_MIN, WAITING_MAX) / UNIT;
        // Each batch takes a unit at least.
        let (to_thread, mut batches) = mpsc::channel::<Batch>(room_max);
        let room = Arc::new(Semaphore::new(room_max));
        let (budget, back) = (budget.clone(), room.clone());
        let thread = spawn_blocking(move || {
            let (mut reading, mut known) = (Reading::default(), Known::default());
            while let Some((batch, units)) = batches.blocking_recv() {
                batch.into_iter().for_each(|change| reading.apply(change, &mut known, &budget));
                back.add_permits(units);
            }
            reading.in_order(&budget)
        });
        let batch = Vec::with_capacity(BATCH);
        Self { batch, batch_bytes: 0, to_thread, room, room_max, thread }
    }

    /// The next change.
    pub fn put(&mut self, change: Change) {
        let message = change.message.as_ref().map_or(0, StoredMessage::len);
        self.batch_bytes += size_of::<Change>() + change.key.bytes().len() + message;
        self.batch.push(change);
    }

    /// Hands over what has come, if that is a batch; waits while too much waits for the thread.
    pub async fn hand_over(&mut self) {
        if self.batch.len() >= BATCH || self.batch_bytes >= WAITING_MIN / 2 {
            self.send().await;
        }
    }

    async fn send(&mut self) {
        // One batch that is larger than all the room takes all of it.
        let units = (self.batch_bytes / UNIT).clamp(1, self.room_max);
        self.batch_bytes = 0;
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        // It is never closed; the thread gives the units back.
        if let Ok(taken) = self.room.acquire_many(units as u32).await {
            taken.forget();
        }
        // An error: the thread has ended early, which `finish` says.
        let _ = self.to_thread.send((batch, units)).await;
    }

    /// All changes have come.
    pub async fn end(mut self) -> ComingValues {
        self.send().await;
        ComingValues(self.thread)
    }
}

impl ComingValues {
    /// Waits for the thread. `Unavailable`: the runtime is stopping.
    pub async fn finish(self) -> Result<StoredValues, Error> {
        let stopped = |_| Error::new(ErrorKind::Unavailable, "the runtime is stopping");
        self.0.await.map_err(stopped)
    }
}

impl Reading {
    fn apply(&mut self, change: Change, known: &mut Known, budget: &Arc<Budget>) {
        let Change { vhost, key, message } = change;
        let of_vhost = match self.vhosts.get_mut(&vhost) {
            Some(of_vhost) => of_vhost,
            None => self.vhosts.entry(vhost).or_default(),
        };
        of_vhost.last_number += 1;
        let Some(message) = message else {
            of_vhost.values.remove(&key);
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
        let value = RetainedValue { message, number: of_vhost.last_number };
        match of_vhost.values.entry(key.clone()) {
            Entry::Vacant(place) => _ = place.insert(value),
            Entry::Occupied(place) => {
                // The key goes with the old value: it shares memory with that message.
                place.remove_entry();
                of_vhost.values.insert(key, value);
            }
        }
    }

    fn in_order(self, budget: &Arc<Budget>) -> StoredValues {
        let in_order = |(vhost, OfVhost { values, last_number })| {
            (vhost, Retained::restore(budget, values.into_iter().collect(), last_number))
        };
        let vhosts = self.vhosts.into_iter().map(in_order).collect();
        StoredValues { vhosts, damaged: self.damaged }
    }
}

impl StoredValues {
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
