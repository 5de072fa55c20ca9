//! Idle instances of all modules of one pool, in the order of their last use. They are a cache: when the pool is full,
//! the one that was used least recently makes room, so there may be any number of modules.

use super::instance::Instance;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

/// Largest number of idle instances of one module.
const OF_ONE_MODULE_MAX: usize = 8;

/// The owner of an instance, within its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner(u64);

/// The idle instances of a pool.
pub(super) struct Idle {
    /// Used last: at the back.
    instances: Mutex<VecDeque<(Owner, Instance)>>,
    owners: AtomicU64,
    instances_max: usize,
}

impl Idle {
    pub(super) fn new(instances_max: usize) -> Self {
        Self { instances: Mutex::default(), owners: AtomicU64::new(0), instances_max }
    }

    /// A module that no other is.
    pub(super) fn owner(&self) -> Owner {
        Owner(self.owners.fetch_add(1, Ordering::Relaxed))
    }

    /// The module's instance that was used last.
    pub(super) fn take(&self, owner: Owner) -> Option<Instance> {
        let mut instances = self.instances.lock();
        let at = instances.iter().rposition(|(of, _)| *of == owner)?;
        instances.remove(at).map(|(_, instance)| instance)
    }

    /// Keeps the instance, or drops one.
    pub(super) fn give_back(&self, owner: Owner, instance: Instance) {
        let mut instances = self.instances.lock();
        let surplus = match instances.iter().filter(|(of, _)| *of == owner).count() {
            OF_ONE_MODULE_MAX.. => Some((owner, instance)),
            _ => {
                instances.push_back((owner, instance));
                if instances.len() > self.instances_max { instances.pop_front() } else { None }
            }
        };
        // Giving its memory back takes a while, in which others need not wait.
        drop(instances);
        drop(surplus);
    }

    /// Drops the instance that was used least recently; false if there is none.
    pub(super) fn make_room(&self) -> bool {
        let oldest = self.instances.lock().pop_front();
        oldest.is_some()
    }

    /// Drops all instances of a module.
    pub(super) fn forget(&self, owner: Owner) {
        while self.take(owner).is_some() {}
    }
}
