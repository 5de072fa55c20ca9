//! The routes of one connection: a table that is read without a lock, in front of what its virtual host remembers. It
//! has room for few addresses first, since most connections publish to few, and grows with those that are published to.

use super::generations::{Generations, Stamp};
use super::route_cache::{Resolved, RouteCache, quick_hash};
use crate::message::{Account, Address, Charge};
use std::sync::Arc;

/// Places of a table first, and at most.
const PLACES_MIN: usize = 256;
const PLACES_MAX: usize = 16_384;
/// An address has this many places next to each other.
const WAYS: usize = 4;
/// When one of this many new routes has found its places taken since the table was made or grew, it grows.
const CROWDED: usize = 8;
/// After this many new routes the table is looked through for those that are out of date, or after an eighth of its
/// places.
const SWEEP_MIN: usize = 64;
/// Routes to more receivers than this are in the virtual host's cache only.
const SMALL_ROUTE: usize = 64;
/// Receivers of all routes in a table, at most, or one for each place: a connection that publishes nothing more keeps
/// them alive until it ends.
const RECEIVERS_MIN: usize = 1024;
/// Of the routes that others have found, one of eight takes a place from another that is up to date, where the table
/// may not grow. Whoever publishes to more addresses than there are places would change every place for nothing.
const REPLACED_EVERY: u32 = 8;

/// A route in its place. Few hashes are alike: the route of another address is hardly ever looked at.
struct Place {
    hash: u64,
    resolved: Arc<Resolved>,
}

/// One connection's own table.
#[derive(Default)]
pub struct RouteTable {
    places: Vec<Option<Place>>,
    /// The place that was used last: most connections publish to one address again and again.
    last: usize,
    /// Routes that were put here since it was looked through, and the receivers of all that are here.
    put: usize,
    receivers: usize,
    /// Routes that found all their places taken, and those of them since the table has its size.
    crowded: u32,
    crowded_here: usize,
    /// What the places take once they are more than at first.
    charge: Option<Charge>,
}

impl RouteTable {
    /// The first of the places of that hash.
    fn set(&self, hash: u64) -> usize {
        hash as usize % (self.places.len() / WAYS).max(1) * WAYS
    }

    /// The route of an address, if nothing that concerns it has changed since it was put here. The connection had the
    /// right to publish there then, and a change of rights is one that concerns every route.
    pub fn get(&mut self, address: &Address, generations: &Generations) -> Option<Arc<Resolved>> {
        if let Some(Some(Place { resolved, .. })) = self.places.get(self.last)
            && resolved.address == *address
            && generations.is_current(resolved.stamp)
        {
            return Some(resolved.clone());
        }
        self.look(address, generations)
    }

    fn look(&mut self, address: &Address, generations: &Generations) -> Option<Arc<Resolved>> {
        let hash = quick_hash(address);
        let set = self.set(hash);
        for (at, place) in self.places.iter().enumerate().skip(set).take(WAYS) {
            if let Some(Place { hash: known, resolved }) = place
                && *known == hash
                && resolved.address == *address
                && generations.is_current(resolved.stamp)
            {
                self.last = at;
                return Some(resolved.clone());
            }
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
    ) -> Option<Arc<Resolved>> {
        let resolved = shared.get(address, generations).filter(|known| known.stamp == stamp)?;
        let hash = quick_hash(address);
        if let Some(at) = self.place_for(hash, address, (shared, generations)) {
            self.place(at, Place { hash, resolved: resolved.clone() }, generations);
        }
        Some(resolved)
    }

    /// Remembers a route.
    pub fn put(
        &mut self,
        resolved: &Arc<Resolved>,
        (shared, generations): (&RouteCache, &Generations),
    ) {
        shared.put(resolved, generations);
        let hash = quick_hash(&resolved.address);
        let free = self.place_for(hash, &resolved.address, (shared, generations));
        let at = free.unwrap_or_else(|| self.set(hash) + self.crowded as usize % WAYS);
        self.place(at, Place { hash, resolved: resolved.clone() }, generations);
    }

    /// Where a new route goes: its own place, one that is free or out of date, or when it is its turn that of another.
    fn place_for(
        &mut self,
        hash: u64,
        address: &Address,
        (shared, generations): (&RouteCache, &Generations),
    ) -> Option<usize> {
        if self.places.is_empty() {
            self.places.resize_with(PLACES_MIN, || None);
        }
        if let Some(free) = self.free(hash, address, generations) {
            return Some(free);
        }
        self.crowded = self.crowded.wrapping_add(1);
        self.crowded_here += 1;
        if self.places.len() < PLACES_MAX && self.crowded_here >= self.places.len() / CROWDED {
            self.grow(shared);
            if let Some(free) = self.free(hash, address, generations) {
                return Some(free);
            }
        }
        let turn = self.crowded / REPLACED_EVERY;
        let is_its_turn = self.crowded.is_multiple_of(REPLACED_EVERY);
        is_its_turn.then(|| self.set(hash) + turn as usize % WAYS)
    }

    /// A place of that hash that has the same address, nothing, or what is out of date.
    fn free(&self, hash: u64, address: &Address, generations: &Generations) -> Option<usize> {
        let set = self.set(hash);
        let theirs = || self.places.iter().enumerate().skip(set).take(WAYS);
        let same = theirs().find(|(_, place)| {
            place.as_ref().is_some_and(|p| p.hash == hash && p.resolved.address == *address)
        });
        let free = || {
            theirs().find(|(_, place)| {
                place.as_ref().is_none_or(|p| !generations.is_current(p.resolved.stamp))
            })
        };
        same.or_else(free).map(|(at, _)| at)
    }

    /// Twice as many places. Those that were next to each other are so in one half or in the other.
    #[cold]
    fn grow(&mut self, shared: &RouteCache) {
        let more = self.places.len() * 2;
        let before = std::mem::take(&mut self.places);
        self.places.resize_with(more, || None);
        for place in before.into_iter().flatten() {
            let set = self.set(place.hash);
            let mut theirs = self.places.iter_mut().skip(set).take(WAYS);
            if let Some(free) = theirs.find(|place| place.is_none()) {
                *free = Some(place);
            }
        }
        (self.last, self.crowded_here) = (0, 0);
        let bytes = more * size_of::<Option<Place>>();
        match &self.charge {
            Some(charge) => charge.set(bytes),
            None => self.charge = Some(shared.budget.charge(Account::Kept, bytes)),
        }
    }

    fn place(&mut self, at: usize, place: Place, generations: &Generations) {
        let receivers = place.resolved.route.receivers();
        if receivers > SMALL_ROUTE {
            return;
        }
        self.put += 1;
        self.receivers += receivers;
        if self.put > SWEEP_MIN.max(self.places.len() / 8) || self.receivers > self.receivers_max()
        {
            self.sweep(generations, receivers);
        }
        if let Some(slot) = self.places.get_mut(at) {
            let before = slot.replace(place);
            self.receivers -= before.map_or(0, |place| place.resolved.route.receivers());
            self.last = at;
        }
    }

    fn receivers_max(&self) -> usize {
        self.places.len().max(RECEIVERS_MIN)
    }

    /// Lets go what is out of date; everything, if a route to that number of receivers has no room otherwise.
    fn sweep(&mut self, generations: &Generations, receivers: usize) {
        for slot in &mut self.places {
            slot.take_if(|place| !generations.is_current(place.resolved.stamp));
        }
        let left = self.places.iter().flatten().map(|place| place.resolved.route.receivers());
        self.receivers = left.sum::<usize>() + receivers;
        if self.receivers > self.receivers_max() {
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
    use crate::broker::vhost::queue::Queue;
    use crate::broker::vhost::route::Route;
    use crate::broker::vhost::route_cache::KEPT_MAX;
    use crate::log::QueueSpec;
    use crate::message::{Budget, Timestamp};

    fn address(n: usize) -> Address {
        Address::new("x".into(), format!("k{n}").as_str().into())
    }

    fn leading_to(n: usize, queues: Vec<Arc<Queue>>, generations: &Generations) -> Arc<Resolved> {
        let (address, route) = (address(n), Route { queues: queues.into(), ..Route::default() });
        let stamp = generations.stamp(&address.key);
        Arc::new(Resolved { address, stamp, route })
    }

    fn resolved(n: usize, generations: &Generations) -> Arc<Resolved> {
        leading_to(n, Vec::new(), generations)
    }

    #[test]
    fn routes_are_found_until_they_are_out_of_date() {
        let budget = Arc::new(Budget::new(1 << 20, 1 << 30));
        let (shared, generations) = (RouteCache::new(&budget), Generations::new());
        let (mut one, mut other) = (RouteTable::default(), RouteTable::default());
        for n in 0..2_000 {
            one.put(&resolved(n, &generations), (&shared, &generations));
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
            other.put(&resolved(n, &generations), (&shared, &generations));
        }
        let left = shared.len();
        assert!(left <= 10_000 + 500, "{left}: those that are out of date went");
    }

    #[test]
    fn what_is_published_to_now_gets_its_places() {
        let budget = Arc::new(Budget::new(1 << 20, 1 << 30));
        let (shared, generations) = (RouteCache::new(&budget), Generations::new());
        let (mut one, mut other) = (RouteTable::default(), RouteTable::default());
        let stamp = |n| generations.stamp(&address(n).key);
        for n in 0..10_000 {
            one.put(&resolved(n, &generations), (&shared, &generations));
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
            let resolved = resolved(n, &generations);
            table.put(&resolved, (&shared, &generations));
            routes.push(Arc::downgrade(&resolved));
            // As when its queue is deleted.
            generations.bump();
        }
        let kept = routes.iter().filter(|route| route.strong_count() > 0).count();
        assert!(kept <= KEPT_MAX + SWEEP_MIN, "{kept} routes are kept");
    }

    #[test]
    fn a_connection_keeps_few_receivers_alive() {
        let budget = Arc::new(Budget::new(1 << 20, 1 << 30));
        let (shared, generations) = (RouteCache::new(&budget), Generations::new());
        let mut table = RouteTable::default();
        let spec = QueueSpec::durable("q");
        let queue = Queue::new((LogId(1), &"/".into()), spec, None, Timestamp(0));
        let reaching = |n, count| leading_to(n, vec![queue.clone(); count], &generations);
        for n in 0..1_000 {
            table.put(&reaching(n, n % 70), (&shared, &generations));
            let all = table.places.iter().flatten();
            let there: usize = all.map(|place| place.resolved.route.receivers()).sum();
            assert_eq!(there, table.receivers);
            assert!(there <= table.receivers_max() && table.receivers_max() <= 1_024, "{there}");
        }
        let few: Vec<usize> = (0..PLACES_MIN).collect();
        few.iter().for_each(|n| table.put(&reaching(*n, 2), (&shared, &generations)));
        let found = few.iter().filter(|n| table.get(&address(**n), &generations).is_some()).count();
        assert!(found > PLACES_MIN / 2, "{found}: places collide, nothing else goes");
    }

    /// Clients that publish to thousands of addresses find nearly all of them in their own tables, which count.
    #[test]
    fn a_table_grows_with_the_addresses_that_are_published_to() {
        let budget = Arc::new(Budget::new(1 << 20, 1 << 30));
        let (shared, generations) = (RouteCache::new(&budget), Generations::new());
        let (mut one, mut other) = (RouteTable::default(), RouteTable::default());
        let stamp = |n| generations.stamp(&address(n).key);
        (0..10_000).for_each(|n| one.put(&resolved(n, &generations), (&shared, &generations)));
        let before = budget.used(Account::Kept);
        let mut round = || {
            let mut found = 0;
            for n in 0..10_000 {
                let address = address(n);
                if other.get(&address, &generations).is_some() {
                    found += 1;
                    continue;
                }
                let theirs = other.share(&address, stamp(n), (&shared, &generations));
                assert!(theirs.is_some());
            }
            found
        };
        (0..10).for_each(|_| _ = round());
        let found = round();
        assert!(found > 9_000, "{found} of 10,000");
        let places = PLACES_MAX * size_of::<Option<Place>>();
        assert_eq!(budget.used(Account::Kept) - before, places);
        drop(other);
        assert_eq!(budget.used(Account::Kept), before);
    }
}
