//! Routes that were resolved before, for all connections of a virtual host. A connection has a table of its own in
//! front of that, `route_table`.

use super::generations::{Generations, Stamp};
use super::queue::Queue;
use super::route::{ContentHit, Route, SessionHit};
use crate::message::cost::{ALLOCATION, Cost, MAP_ENTRY};
use crate::message::{Account, Address, Budget, Charge};
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;
use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

/// Parts of a virtual host's cache, each with its lock.
const SHARDS: usize = 16;
/// Bytes that one part takes at most. Beyond that it begins anew.
const SHARD_BYTES: usize = 4 << 20;
/// With this many routes a part is first looked through for those that are out of date: they keep queues alive that
/// are deleted, some kilobytes each.
const FIRST_SWEEP: usize = 16;

/// The route of an address, and what it was resolved at.
pub struct Resolved {
    pub address: Address,
    pub stamp: Stamp,
    pub route: Route,
}

impl Resolved {
    fn bytes(&self) -> usize {
        let Route { queues, sessions, content, .. } = &self.route;
        self.address.cost()
            + size_of::<Self>()
            + MAP_ENTRY
            + ALLOCATION
            + queues.len() * size_of::<Arc<Queue>>()
            + sessions.len() * (size_of::<SessionHit>() + 2 * ALLOCATION)
            + content.len() * size_of::<ContentHit>()
    }
}

/// A route that is found by its address.
struct ByAddress(Arc<Resolved>);

impl Borrow<Address> for ByAddress {
    fn borrow(&self) -> &Address {
        &self.0.address
    }
}

impl Hash for ByAddress {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.address.hash(state);
    }
}

impl PartialEq for ByAddress {
    fn eq(&self, other: &Self) -> bool {
        self.0.address == other.0.address
    }
}

impl Eq for ByAddress {}

/// The routes of one virtual host.
pub struct RouteCache {
    shards: [Mutex<Shard>; SHARDS],
    /// What it and the tables of its connections take counts there.
    pub(super) budget: Arc<Budget>,
}

struct Shard {
    /// Clients choose the addresses, so the hash has a seed. SipHash takes 550 instructions for one.
    routes: HashSet<ByAddress, RandomState>,
    bytes: usize,
    sweep_at: usize,
    charge: Charge,
}

impl RouteCache {
    /// An empty cache, charged to that budget.
    pub fn new(budget: &Arc<Budget>) -> Self {
        let shard = |_| {
            Mutex::new(Shard {
                routes: HashSet::default(),
                bytes: 0,
                sweep_at: FIRST_SWEEP,
                charge: budget.charge(Account::Kept, 0),
            })
        };
        Self { shards: std::array::from_fn(shard), budget: budget.clone() }
    }

    fn shard(&self, address: &Address) -> Option<&Mutex<Shard>> {
        // Who chooses addresses that all go into one part has only that one.
        self.shards.get(quick_hash(address) as usize % SHARDS)
    }

    /// The route of an address, if nothing that concerns it has changed since it was resolved.
    pub(super) fn get(
        &self,
        address: &Address,
        generations: &Generations,
    ) -> Option<Arc<Resolved>> {
        let shard = self.shard(address)?.lock();
        let ByAddress(known) = shard.routes.get(address)?;
        generations.is_current(known.stamp).then(|| known.clone())
    }

    /// Remembers a route.
    pub(super) fn put(&self, resolved: &Arc<Resolved>, generations: &Generations) {
        let Some(mut shard) = self.shard(&resolved.address).map(Mutex::lock) else { return };
        shard.put(resolved, generations);
    }

    /// Forgets a route that is out of date for good.
    pub fn forget(&self, address: &Address) {
        if let Some(mut shard) = self.shard(address).map(Mutex::lock) {
            shard.remove(address);
            shard.charge.set(shard.bytes);
        }
    }
}

impl Shard {
    fn remove(&mut self, address: &Address) {
        if let Some(ByAddress(gone)) = self.routes.take(address) {
            self.bytes = self.bytes.saturating_sub(gone.bytes());
        }
    }

    fn put(&mut self, resolved: &Arc<Resolved>, generations: &Generations) {
        self.remove(&resolved.address);
        let bytes = resolved.bytes();
        if self.routes.len() >= self.sweep_at {
            self.routes.retain(|ByAddress(known)| generations.is_current(known.stamp));
            self.bytes = self.routes.iter().map(|ByAddress(known)| known.bytes()).sum();
            self.sweep_at = (self.routes.len() * 2).max(FIRST_SWEEP);
        }
        if self.bytes + bytes > SHARD_BYTES {
            self.routes.clear();
            self.bytes = 0;
        }
        if bytes <= SHARD_BYTES {
            self.routes.insert(ByAddress(resolved.clone()));
            self.bytes += bytes;
        }
        self.charge.set(self.bytes);
    }
}

/// A hash of an address without a seed, whose high half is the better one.
pub(super) fn quick_hash(address: &Address) -> u64 {
    // The low bits of this hash are its weakest.
    FxBuildHasher.hash_one(address).rotate_left(32)
}

impl RouteCache {
    /// How many routes there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().routes.len()).sum()
    }
}

/// Routes that are kept at most although they are out of date.
#[cfg(test)]
pub(super) const KEPT_MAX: usize = SHARDS * FIRST_SWEEP;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_so_much_at_most() {
        let budget = Arc::new(Budget::new(1 << 20, 1 << 30));
        let (shared, generations) = (RouteCache::new(&budget), Generations::new());
        let key = "k".repeat(60_000);
        for n in 0..2_000 {
            let address = Address::new("x".into(), format!("{key}{n}").as_str().into());
            let stamp = generations.stamp(&address.key);
            let resolved = Resolved { address, stamp, route: Route::default() };
            shared.put(&Arc::new(resolved), &generations);
        }
        assert!(budget.used(Account::Kept) <= SHARDS * SHARD_BYTES);
    }
}
