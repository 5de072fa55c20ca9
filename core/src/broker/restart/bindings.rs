//! Bindings as snapshot and journal leave them: listed by where they lead, as the topology lists them, which takes the
//! lists over. Each operation costs what it is about.

use crate::exchange::{Binding, Bindings, Target};
use crate::message::Name;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Bindings of a source that are looked through for those that are gone.
const SWEPT_MIN: usize = 64;

/// The bindings of all virtual hosts.
#[derive(Default)]
pub struct StoredBindings(HashMap<Name, OfVhost>);

#[derive(Default)]
struct OfVhost {
    by_target: BTreeMap<Target, Bindings>,
    by_source: HashMap<Name, FromSource>,
}

/// Bindings that lead from one exchange, in no order. Those that are gone may still be among them: nobody else has
/// them.
#[derive(Default)]
struct FromSource {
    bindings: Vec<Arc<Binding>>,
    /// At this length the bindings that were removed are taken out of the list.
    sweep_at: usize,
}

fn is_there(binding: &Arc<Binding>) -> bool {
    Arc::strong_count(binding) > 1
}

impl FromSource {
    fn push(&mut self, binding: Arc<Binding>) {
        if self.bindings.len() >= self.sweep_at.max(SWEPT_MIN) {
            self.bindings.retain(is_there);
            self.sweep_at = 2 * self.bindings.len();
        }
        self.bindings.push(binding);
    }
}

impl OfVhost {
    fn remove(&mut self, binding: &Binding) {
        if let Some(list) = self.by_target.get_mut(&binding.target) {
            list.remove(binding);
            if list.is_empty() {
                self.by_target.remove(&binding.target);
            }
        }
    }

    fn put(&mut self, binding: Arc<Binding>) {
        match self.by_source.get_mut(&binding.source) {
            Some(known) => known.push(binding.clone()),
            None => {
                let known = self.by_source.entry(binding.source.clone()).or_default();
                known.push(binding.clone());
            }
        }
        self.by_target.entry(binding.target.clone()).or_default().put(binding);
    }
}

impl StoredBindings {
    /// A binding is made, or made again with another tag.
    pub fn put(&mut self, vhost: &Name, binding: Binding) {
        let of_vhost = match self.0.get_mut(vhost) {
            Some(of_vhost) => of_vhost,
            None => self.0.entry(vhost.clone()).or_default(),
        };
        of_vhost.put(Arc::new(binding));
    }

    /// A binding is taken away.
    pub fn remove(&mut self, vhost: &Name, binding: &Binding) {
        if let Some(of_vhost) = self.0.get_mut(vhost) {
            of_vhost.remove(binding);
        }
    }

    /// A queue or session is gone, whose id is of no other virtual host.
    pub fn target_gone(&mut self, target: &Target) {
        for of_vhost in self.0.values_mut() {
            of_vhost.by_target.remove(target);
        }
    }

    /// An exchange is gone.
    pub fn exchange_gone(&mut self, vhost: &Name, name: &Name) {
        let Some(of_vhost) = self.0.get_mut(vhost) else { return };
        of_vhost.by_target.remove(&Target::Exchange(name.clone()));
        let from = of_vhost.by_source.remove(name).unwrap_or_default();
        for binding in from.bindings.iter().filter(|binding| is_there(binding)) {
            of_vhost.remove(binding);
        }
    }

    /// All that are left, by virtual host and by where they lead.
    pub fn into_vhosts(self) -> impl Iterator<Item = (Name, BTreeMap<Target, Bindings>)> {
        self.0.into_iter().map(|(vhost, of_vhost)| {
            drop(of_vhost.by_source);
            (vhost, of_vhost.by_target)
        })
    }

    /// How many are left.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        let count = |lists: &OfVhost| lists.by_target.values().map(Bindings::len).sum::<usize>();
        self.0.values().map(count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{BindingTag, LogId};

    fn binding(source: &str, key: usize, queue: u64) -> Binding {
        Binding::new(source, (&*key.to_string()).into(), Target::Log(LogId(queue)))
    }

    #[test]
    fn what_is_gone_is_not_kept_by_its_source() {
        let (mut stored, vhost) = (StoredBindings::default(), Name::from("/"));
        for key in 0..10_000 {
            stored.put(&vhost, binding("x", key, 1));
            stored.remove(&vhost, &binding("x", key, 1));
            let tag = BindingTag { id: key as u32, ..BindingTag::default() };
            stored.put(&vhost, Binding { tag, ..binding("x", 0, 2) });
        }
        assert_eq!(stored.len(), 1);
        let kept = stored.0.values().flat_map(|of| of.by_source.values());
        assert!(kept.map(|from| from.bindings.len()).sum::<usize>() <= SWEPT_MIN);
    }

    #[test]
    fn an_exchange_goes_with_what_leads_from_it_and_to_it() {
        let (mut stored, vhost) = (StoredBindings::default(), Name::from("/"));
        for key in 0..100 {
            stored.put(&vhost, binding("x", key, key as u64 % 3));
            stored.put(&vhost, binding("y", key, key as u64 % 3));
        }
        let to_x = Binding::new("y", "k".into(), Target::Exchange("x".into()));
        stored.put(&vhost, to_x);
        stored.target_gone(&Target::Log(LogId(0)));
        stored.exchange_gone(&vhost, &"x".into());
        assert_eq!(stored.len(), 66);
        // Of a new exchange of that name.
        stored.put(&vhost, binding("x", 1, 1));
        let (_, lists) = stored.into_vhosts().next().expect("one");
        assert_eq!(lists.values().map(Bindings::len).sum::<usize>(), 67);
        assert_eq!(lists.len(), 2);
    }
}
