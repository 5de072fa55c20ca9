//! Bindings as snapshot and journal leave them: found by what makes them the same, by where they lead from, and by where
//! they lead, so that each operation costs what it is about.

use crate::exchange::{Binding, Bindings, Target};
use crate::message::Name;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// The bindings of all virtual hosts.
#[derive(Default)]
pub struct StoredBindings(HashMap<Name, OfVhost>);

#[derive(Default)]
struct OfVhost {
    by_source: HashMap<Name, Bindings>,
    by_target: HashMap<Target, Bindings>,
}

/// Takes a binding out of its list, and an empty list out of its map.
fn unlist<K: Hash + Eq>(lists: &mut HashMap<K, Bindings>, key: &K, binding: &Binding) {
    if let Some(list) = lists.get_mut(key) {
        list.remove(binding);
        if list.is_empty() {
            lists.remove(key);
        }
    }
}

impl OfVhost {
    fn lead_to(&mut self, target: &Target) {
        for binding in self.by_target.remove(target).unwrap_or_default().as_slice() {
            unlist(&mut self.by_source, &binding.source, binding);
        }
    }

    fn lead_from(&mut self, source: &Name) {
        for binding in self.by_source.remove(source).unwrap_or_default().as_slice() {
            unlist(&mut self.by_target, &binding.target, binding);
        }
    }
}

impl StoredBindings {
    /// A binding is made, or made again with another tag.
    pub fn put(&mut self, vhost: &Name, binding: Binding) {
        let of_vhost = match self.0.get_mut(vhost) {
            Some(of_vhost) => of_vhost,
            None => self.0.entry(vhost.clone()).or_default(),
        };
        let binding = Arc::new(binding);
        match of_vhost.by_source.get_mut(&binding.source) {
            Some(list) => _ = list.put(binding.clone()),
            None => {
                let list = of_vhost.by_source.entry(binding.source.clone()).or_default();
                list.put(binding.clone());
            }
        }
        of_vhost.by_target.entry(binding.target.clone()).or_default().put(binding);
    }

    /// A binding is taken away.
    pub fn remove(&mut self, vhost: &Name, binding: &Binding) {
        let Some(of_vhost) = self.0.get_mut(vhost) else { return };
        unlist(&mut of_vhost.by_source, &binding.source, binding);
        unlist(&mut of_vhost.by_target, &binding.target, binding);
    }

    /// A queue or session is gone, whose id is of no other virtual host.
    pub fn target_gone(&mut self, target: &Target) {
        self.0.values_mut().for_each(|of_vhost| of_vhost.lead_to(target));
    }

    /// An exchange is gone.
    pub fn exchange_gone(&mut self, vhost: &Name, name: &Name) {
        let Some(of_vhost) = self.0.get_mut(vhost) else { return };
        of_vhost.lead_from(name);
        of_vhost.lead_to(&Target::Exchange(name.clone()));
    }

    /// All that are left, by virtual host.
    pub fn into_vhosts(self) -> impl Iterator<Item = (Name, Vec<Arc<Binding>>)> {
        self.0.into_iter().map(|(vhost, of_vhost)| {
            drop(of_vhost.by_target);
            let lists = of_vhost.by_source.into_values();
            (vhost, lists.flat_map(Bindings::into_vec).collect())
        })
    }
}
