//! Sessions whose publishes are held back, to be woken when that ends. Each is in it once, however often it is held.

use super::inbox::Inbox;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// Inboxes of held sessions, in the order in which they were first held.
#[derive(Default)]
pub struct HeldSessions(Mutex<Held>);

#[derive(Default)]
struct Held {
    inboxes: BTreeMap<u64, Weak<Inbox>>,
    /// Where each inbox is, by its address: that is its own as long as it is in the list.
    places: FxHashMap<usize, u64>,
    last: u64,
}

fn address(inbox: &Arc<Inbox>) -> usize {
    Arc::as_ptr(inbox) as usize
}

impl HeldSessions {
    /// Wakes that session the next time.
    pub fn hold(&self, inbox: &Arc<Inbox>) {
        let mut held = self.0.lock();
        if held.places.contains_key(&address(inbox)) {
            return;
        }
        held.last += 1;
        let place = held.last;
        held.places.insert(address(inbox), place);
        held.inboxes.insert(place, Arc::downgrade(inbox));
    }

    /// The session has left.
    pub fn forget(&self, inbox: &Arc<Inbox>) {
        let mut held = self.0.lock();
        if let Some(place) = held.places.remove(&address(inbox)) {
            held.inboxes.remove(&place);
        }
    }

    /// Wakes them all: each looks whether it may go on.
    pub fn release(&self) {
        let held = std::mem::take(&mut *self.0.lock());
        held.inboxes.values().filter_map(Weak::upgrade).for_each(|inbox| inbox.wake());
    }

    /// How many are held.
    pub fn count(&self) -> usize {
        let held = self.0.lock();
        debug_assert_eq!(held.inboxes.len(), held.places.len());
        held.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_held_session_is_woken_once_and_those_that_left_are_not_there() {
        let held = HeldSessions::default();
        let inboxes: Vec<Arc<Inbox>> = (0..3).map(|_| Inbox::new(Arc::default(), 1)).collect();
        for inbox in inboxes.iter().chain(&inboxes) {
            held.hold(inbox);
        }
        assert_eq!(held.count(), 3);
        inboxes.get(1).into_iter().for_each(|inbox| held.forget(inbox));
        assert_eq!(held.count(), 2);
        held.release();
        assert_eq!(held.count(), 0);
        let woken = |inbox: Arc<Inbox>| async move {
            tokio::time::timeout(std::time::Duration::from_millis(5), inbox.woken()).await.is_ok()
        };
        let mut found = Vec::new();
        for inbox in inboxes {
            found.push(woken(inbox).await);
        }
        assert_eq!(found, [true, false, true]);
    }
}
