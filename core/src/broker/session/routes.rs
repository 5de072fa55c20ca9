//! Routes that a session remembers, by address. Publishers mostly publish to one address again and again, so the last
//! one is looked at before anything is hashed.

use crate::broker::vhost::generations::{Generations, Stamp};
use crate::broker::vhost::route::Route;
use crate::message::Address;
use std::collections::HashMap;
use std::sync::Arc;

/// Routes that one session remembers.
const REMEMBERED_MAX: usize = 1024;

/// Routes that were resolved before, as long as nothing that concerns them changes.
#[derive(Default)]
pub(super) struct Routes {
    known: HashMap<Address, Arc<Known>>,
    last: Option<Arc<Known>>,
}

/// A route that was resolved before, and when.
struct Known {
    address: Address,
    stamp: Stamp,
    route: Arc<Route>,
}

impl Routes {
    /// The route of that address, if it was resolved before and still holds.
    #[inline]
    pub fn get(&mut self, address: &Address, generations: &Generations) -> Option<Arc<Route>> {
        if let Some(last) = &self.last
            && last.address == *address
        {
            return last.route_now(generations);
        }
        self.find(address, generations)
    }

    fn find(&mut self, address: &Address, generations: &Generations) -> Option<Arc<Route>> {
        let known = self.known.get(address)?;
        let route = known.route_now(generations)?;
        self.last = Some(known.clone());
        Some(route)
    }

    /// Remembers a route that was resolved when `stamp` was made.
    pub fn put(&mut self, address: &Address, stamp: Stamp, route: Arc<Route>) {
        if self.known.len() >= REMEMBERED_MAX {
            self.known.clear();
        }
        let known = Arc::new(Known { address: address.clone(), stamp, route });
        self.known.insert(address.clone(), known.clone());
        self.last = Some(known);
    }
}

impl Known {
    #[inline]
    fn route_now(&self, generations: &Generations) -> Option<Arc<Route>> {
        generations.is_current(self.stamp).then(|| self.route.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_route_is_as_good_as_the_others() {
        let (generations, mut routes) = (Generations::new(), Routes::default());
        let addresses: Vec<Address> = (0..3).map(|n| Address::queue(&format!("q{n}"))).collect();
        let put = |routes: &mut Routes, address: &Address| {
            let route = Arc::new(Route::default());
            routes.put(address, generations.stamp(&address.key), route.clone());
            route
        };
        let made: Vec<Arc<Route>> = addresses.iter().map(|a| put(&mut routes, a)).collect();
        for _ in 0..2 {
            for (address, made) in addresses.iter().zip(&made) {
                for _ in 0..2 {
                    let found = routes.get(address, &generations);
                    assert!(found.is_some_and(|found| Arc::ptr_eq(&found, made)));
                }
            }
        }
        generations.bump();
        assert!(addresses.iter().rev().all(|a| routes.get(a, &generations).is_none()));
        if let Some(address) = addresses.first() {
            let newer = put(&mut routes, address);
            let found = routes.get(address, &generations);
            assert!(found.is_some_and(|found| Arc::ptr_eq(&found, &newer)));
        }
        assert!(routes.get(&Address::queue("other"), &generations).is_none());
    }
}
