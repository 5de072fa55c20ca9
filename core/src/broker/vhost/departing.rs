//! Records that have left their queues and whose dead letters are more work than the turn may do in which they left.
//! They wait here, in the order in which they left; `tasks::departures` goes on with them, some at a time.

use super::queue::Queue;
use crate::subscription::Departure;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// What waits in one virtual host.
#[derive(Default)]
pub struct Departing {
    state: Mutex<Waiting>,
    /// How many came, and how many of them are submitted to the committer.
    came: AtomicU64,
    went: AtomicU64,
    woken: Notify,
    some_went: Notify,
}

#[derive(Default)]
struct Waiting {
    list: VecDeque<(Arc<Queue>, Departure)>,
    /// Memory is ahead of the journal while anything waits: the class of the turn that tells snapshots so.
    open_turn: Option<usize>,
}

impl Departing {
    /// Nothing waits: the usual case, which takes no lock.
    pub fn is_empty(&self) -> bool {
        self.came.load(Ordering::Acquire) == self.went.load(Ordering::Acquire)
    }

    /// Adds one. `open_turn` opens a turn, when nothing waited.
    pub fn push(&self, left: (Arc<Queue>, Departure), open_turn: impl FnOnce() -> usize) {
        let mut state = self.state.lock();
        state.open_turn.get_or_insert_with(open_turn);
        state.list.push_back(left);
        self.came.fetch_add(1, Ordering::AcqRel);
        drop(state);
        self.woken.notify_one();
    }

    /// Takes the first one out.
    pub fn pop(&self) -> Option<(Arc<Queue>, Departure)> {
        self.state.lock().list.pop_front()
    }

    /// So many more of those that were taken out are submitted. The class of the turn that ends with that.
    pub fn submitted(&self, count: u64) -> Option<usize> {
        let mut state = self.state.lock();
        self.went.fetch_add(count, Ordering::AcqRel);
        self.some_went.notify_waiters();
        if self.is_empty() { state.open_turn.take() } else { None }
    }

    /// Resolves when something waits, or did.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Resolves when all that waits now is submitted.
    pub async fn all_went(&self) {
        let came = self.came.load(Ordering::Acquire);
        loop {
            let some_went = self.some_went.notified();
            if self.went.load(Ordering::Acquire) >= came {
                return;
            }
            some_went.await;
        }
    }
}
