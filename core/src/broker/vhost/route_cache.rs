//! Routes that were resolved before. A virtual host remembers many for all its connections; a connection has a small
//! table of its own in front of that, which is read without a lock.

use super::generations::{Generations, Stamp};
use super::queue::Queue;
use super::route::{ContentHit, Route, SessionHit};
use crate::message::cost::{ALLOCATION, Cost, MAP_ENTRY};
use crate::message::{Account, Address, Budget, Charge};
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Parts of a virtual host's cache, each with its lock.
const SHARDS: usize = 16;
/// Bytes that one part takes at most. Beyond that it begins anew.
const SHARD_BYTES: usize = 4 << 20;
/// With this many routes a part is first looked through for those that are out of date: they keep queues alive that
/// are deleted, some kilobytes each.
const FIRST_SWEEP: usize = 16;
/// Places in a connection's own table.
const PLACES: usize = 256;
/// After this many new routes the table is looked through, too.
const TABLE_SWEEP: usize = 64;
/// Routes to more receivers than this are in the virtual host's cache only.
const SMALL_ROUTE: usize = 64;
/// Receivers of all routes in a connection's table, at most: a connection that publishes nothing more keeps them alive
/// until it ends.
const RECEIVERS: usize = 1024;
/// Of the routes that others have found, one of eight takes a place from another that is up to date. Whoever publishes
/// to more addresses than there are places finds none here, and would change every place for nothing.
const REPLACED_EVERY: u32 = 8;

/// A route, and what it was resolved at.
#[derive(Clone)]
struct Cached {
    stamp: Stamp,
    route: Arc<Route>,
}

impl Cached {
    fn receivers(&self) -> usize {
        self.route.queues.len() + self.route.sessions.len()
    }

    fn bytes(&self, address: &Address) -> usize {
        let Route { queues, sessions, content, .. } = &*self.route;
        address.cost()
            + size_of::<Cached>()
            + size_of::<Route>()
            + MAP_ENTRY
            + ALLOCATION
            + queues.len() * size_of::<Arc<Queue>>()
            + sessions.len() * (size_of::<SessionHit>() + 2 * ALLOCATION)
            + content.len() * size_of::<ContentHit>()
    }
}

/// The routes of one virtual host.
pub struct RouteCache {
    shards: [Mutex<Shard>; SHARDS],
}

struct Shard {
    /// Clients choose the addresses, so the hash has a seed. SipHash takes 550 instructions for one.
    routes: HashMap<Address, Cached, RandomState>,
    bytes: usize,
    sweep_at: usize,
    charge: Charge,
}

impl RouteCache {
    /// An empty cache, charged to that budget.
    pub fn new(budget: &Arc<Budget>) -> Self {
        let shard = |_| {
            Mutex::new(Shard {
                routes: HashMap::default(),
                bytes: 0,
                sweep_at: FIRST_SWEEP,
                charge: budget.charge(Account::Kept, 0),
            })
        };
        Self { shards: std::array::from_fn(shard) }
    }

    fn shard(&self, address: &Address) -> Option<&Mutex<Shard>> {
        // Who chooses addresses that all go into one part has only that one.
        self.shards.get(quick_hash(address) % SHARDS)
    }

    fn get(&self, address: &Address, generations: &Generations) -> Option<Cached> {
        let shard = self.shard(address)?.lock();
        shard.routes.get(address).filter(|known| generations.is_current(known.stamp)).cloned()
    }

    fn put(&self, address: &Address, cached: Cached, generations: &Generations) {
        let Some(mut shard) = self.shard(address).map(Mutex::lock) else { return };
        shard.put(address, cached, generations);
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
        if let Some(gone) = self.routes.remove(address) {
            self.bytes = self.bytes.saturating_sub(gone.bytes(address));
        }
    }

    fn put(&mut self, address: &Address, cached: Cached, generations: &Generations) {
        self.remove(address);
        let bytes = cached.bytes(address);
        if self.routes.len() >= self.sweep_at {
            self.routes.retain(|_, known| generations.is_current(known.stamp));
            self.bytes = self.routes.iter().map(|(address, known)| known.bytes(address)).sum();
            self.sweep_at = (self.routes.len() * 2).max(FIRST_SWEEP);
        }
        if self.bytes + bytes > SHARD_BYTES {
            self.routes.clear();
            self.bytes = 0;
        }
        if bytes <= SHARD_BYTES {
            // A copy: the key may be a part of a read buffer.
            self.routes.insert(address.detached(), cached);
            self.bytes += bytes;
        }
        self.charge.set(self.bytes);
    }
}

fn quick_hash(address: &Address) -> usize {
    // The low bits of this hash are its weakest.
    (FxBuildHasher.hash_one(address) >> 32) as usize
}

/// One connection's own table: an address has one place in it.
#[derive(Default)]
pub struct RouteTable {
    places: Vec<Option<(Address, Cached)>>,
    /// The place that was used last: most connections publish to one address again and again.
    last: usize,
    /// Routes that were put here since it was looked through, and the receivers of all that are here.
    put: usize,
    receivers: usize,
    /// Routes that others have found and whose places were taken.
    crowded: u32,
}

impl RouteTable {
    fn place(address: &Address) -> usize {
        quick_hash(address) % PLACES
    }

    /// The route of an address, if nothing that concerns it has changed since it was put here. The connection had the
    /// right to publish there then, and a change of rights is one that concerns every route.
    pub fn get(&mut self, address: &Address, generations: &Generations) -> Option<Arc<Route>> {
        if let Some(Some((known, cached))) = self.places.get(self.last)
            && known == address
            && generations.is_current(cached.stamp)
        {
            return Some(cached.route.clone());
        }
        self.look(address, generations)
    }

    fn look(&mut self, address: &Address, generations: &Generations) -> Option<Arc<Route>> {
        let place = Self::place(address);
        if let Some(Some((known, cached))) = self.places.get(place)
            && known == address
            && generations.is_current(cached.stamp)
        {
            self.last = place;
            return Some(cached.route.clone());
        }
        None
    }

    /// The same, as others have found it. `stamp`: the counts from before it was asked whether the connection may
    /// publish there; a route of another time is not taken.
    pub fn share(
        &mut self,
        address: &Address,
        stamp: Stamp,
        (shared, generations): (&RouteCache, &Generations),
    ) -> Option<Arc<Route>> {
        let cached = shared.get(address, generations).filter(|cached| cached.stamp == stamp)?;
        if self.may_replace(address, generations) {
            self.set(address, cached.clone(), generations);
        }
        Some(cached.route)
    }

    /// The place of that address is free, or it is its turn.
    fn may_replace(&mut self, address: &Address, generations: &Generations) -> bool {
        let Some(Some((_, known))) = self.places.get(Self::place(address)) else { return true };
        if !generations.is_current(known.stamp) {
            return true;
        }
        self.crowded = self.crowded.wrapping_add(1);
        self.crowded.is_multiple_of(REPLACED_EVERY)
    }

    /// Remembers a route that was resolved at that stamp.
    pub fn put(
        &mut self,
        address: &Address,
        (stamp, route): (Stamp, &Arc<Route>),
        (shared, generations): (&RouteCache, &Generations),
    ) {
        let cached = Cached { stamp, route: route.clone() };
        shared.put(address, cached.clone(), generations);
        self.set(address, cached, generations);
    }

    fn set(&mut self, address: &Address, cached: Cached, generations: &Generations) {
        let receivers = cached.receivers();
        if receivers > SMALL_ROUTE {
            return;
        }
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        self.put += 1;
        self.receivers += receivers;
        if self.put > TABLE_SWEEP || self.receivers > RECEIVERS {
            self.sweep(generations, receivers);
        }
        let place = Self::place(address);
        if let Some(slot) = self.places.get_mut(place) {
            let before = slot.replace((address.detached(), cached));
            self.receivers -= before.map_or(0, |(_, cached)| cached.receivers());
            self.last = place;
        }
    }

    /// Lets go what is out of date; everything, if a route to that number of receivers has no room otherwise.
    fn sweep(&mut self, generations: &Generations, receivers: usize) {
        for slot in &mut self.places {
            slot.take_if(|(_, known)| !generations.is_current(known.stamp));
        }
        let left: usize = self.places.iter().flatten().map(|(_, known)| known.receivers()).sum();
        self.receivers = left + receivers;
        if self.receivers > RECEIVERS {
            self.places.fill_with(|| None);
            self.receivers = receivers;
        }
        self.put = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogId;
    use crate::log::QueueSpec;
    use crate::message::Timestamp;

    fn address(n: usize) -> Address {
        Address::new("x".into(), format!("k{n}").as_str().into())
    }

    #[test]
    fn routes_are_found_until_they_are_out_of_date() {
        let budget = Arc::new(Budget::new(1 << 20, 1 << 30));
        let (shared, generations) = (RouteCache::new(&budget), Generations::new());
        let (mut one, mut other) = (RouteTable::default(), RouteTable::default());
        let route = Arc::new(Route::default());
        for n in 0..2_000 {
            let stamp = generations.stamp(&address(n).key);
            one.put(&address(n), (stamp, &route), (&shared, &generations));
        }
        let found = |table: &mut RouteTable, n| {
            let stamp = generations.stamp(&address(n).key);
            let own = table.get(&address(n), &generations);
            own.or_else(|| table.share(&address(n), stamp, (&shared, &generations))).is_some()
        };
        assert!((0..2_000).all(|n| found(&mut one, n) && found(&mut other, n)));
        assert!(budget.used(Account::Kept) > 2_000 * 100);
        shared.forget(&address(7));
        assert!(!found(&mut RouteTable::default(), 7));
        let before = generations.stamp(&address(9).key);
        generations.bump();
        let late = RouteTable::default().share(&address(9), before, (&shared, &generations));
        assert!(late.is_none(), "it was asked before, and something changed since");
        assert!((0..2_000).all(|n| !found(&mut one, n)));
        for n in 2_000..12_000 {
            let stamp = generations.stamp(&address(n).key);
            other.put(&address(n), (stamp, &route), (&shared, &generations));
        }
        let left: usize = shared.shards.iter().map(|shard| shard.lock().routes.len()).sum();
        assert!(left <= 10_000 + 500, "{left}: those that are out of date went");
    }

    #[test]
    fn what_is_published_to_now_gets_its_places() {
        let budget = Arc::new(Budget::new(1 << 20, 1 << 30));
        let (shared, generations) = (RouteCache::new(&budget), Generations::new());
        let (mut one, mut other) = (RouteTable::default(), RouteTable::default());
        let route = Arc::new(Route::default());
        let stamp = |n| generations.stamp(&address(n).key);
        for n in 0..10_000 {
            one.put(&address(n), (stamp(n), &route), (&shared, &generations));
        }
        let mut ask = |from: usize, rounds| {
            let mut own = 0;
            for n in (0..rounds).flat_map(|_| from..from + 20) {
                let address = address(n);
                own += usize::from(other.get(&address, &generations).is_some());
                let shared = (&shared, &generations);
                assert!(
                    other.get(&address, &generations).is_some()
                        || other.share(&address, stamp(n), shared).is_some()
                );
            }
            own
        };
        ask(0, 20);
        for from in [100, 500, 900] {
            ask(from, 20);
            let own = ask(from, 20);
            assert!(own > 20 * 14, "{own} of 400: places collide, nothing else goes");
        }
    }

    #[test]
    fn deleted_queues_are_let_go() {
        let budget = Arc::new(Budget::new(1 << 20, 1 << 30));
        let (shared, generations) = (RouteCache::new(&budget), Generations::new());
        let mut table = RouteTable::default();
        let mut routes = Vec::new();
        for n in 0..10_000 {
            let (route, stamp) = (Arc::new(Route::default()), generations.stamp(&address(n).key));
            table.put(&address(n), (stamp, &route), (&shared, &generations));
            routes.push(Arc::downgrade(&route));
            // As when its queue is deleted.
            generations.bump();
        }
        let kept = routes.iter().filter(|route| route.strong_count() > 0).count();
        assert!(kept <= SHARDS * FIRST_SWEEP + TABLE_SWEEP, "{kept} routes are kept");
    }

    #[test]
    fn a_connection_keeps_few_receivers_alive() {
        let budget = Arc::new(Budget::new(1 << 20, 1 << 30));
        let (shared, generations) = (RouteCache::new(&budget), Generations::new());
        let mut table = RouteTable::default();
        let spec = QueueSpec::durable("q");
        let queue = Queue::new((LogId(1), &"/".into()), spec, None, Timestamp(0));
        let reaching = |count| {
            let queues = vec![queue.clone(); count];
            Arc::new(Route { queues, ..Route::default() })
        };
        for n in 0..1_000 {
            let (route, stamp) = (reaching(n % 70), generations.stamp(&address(n).key));
            table.put(&address(n), (stamp, &route), (&shared, &generations));
            let there: usize = table.places.iter().flatten().map(|(_, c)| c.receivers()).sum();
            assert_eq!(there, table.receivers);
            assert!(there <= RECEIVERS, "{there}");
        }
        let few: Vec<usize> = (0..PLACES).collect();
        for n in &few {
            let stamp = generations.stamp(&address(*n).key);
            table.put(&address(*n), (stamp, &reaching(2)), (&shared, &generations));
        }
        let found = few.iter().filter(|n| table.get(&address(**n), &generations).is_some()).count();
        assert!(found > PLACES / 2, "{found}: places collide, nothing else goes");
    }

    #[test]
    fn it_takes_so_much_at_most() {
        let budget = Arc::new(Budget::new(1 << 20, 1 << 30));
        let (shared, generations) = (RouteCache::new(&budget), Generations::new());
        let mut table = RouteTable::default();
        let key = "k".repeat(60_000);
        for n in 0..2_000 {
            let address = Address::new("x".into(), format!("{key}{n}").as_str().into());
            let stamp = generations.stamp(&address.key);
            table.put(&address, (stamp, &Arc::default()), (&shared, &generations));
        }
        assert!(budget.used(Account::Kept) <= SHARDS * SHARD_BYTES);
    }
}
