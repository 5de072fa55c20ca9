//! What steps of content routes remember from message to message: values by step and key. The broker keeps them; what a
//! message changes is stored together with the end of that message and all that it led to, or not at all.
//!
//! ```text
//! the route's state ◄── a batch of messages ◄── one message ◄── one call of a step
//! ```
//!
//! Each of the three on the right is a [`StateLayer`]: it sees what is on its left, and its own changes in front of
//! that. What ends well becomes changes of the layer below; what does not is dropped.

use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// Bytes that each key counts with, beside its own and those of its value: about what it takes in memory.
const KEY_COSTS: usize = 128;
/// Keys of one call of which it is noted what was found there.
const FOUND_MAX: usize = 1_024;

/// A key of a step, which is counted from 1 on among those of its route that remember.
pub type StateKey = (u16, Arc<str>);

/// A key's new value; none: it is there no more.
pub type StateChange = (StateKey, Option<Bytes>);

/// How much a step remembers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateSize {
    pub keys: usize,
    /// Bytes of keys and values, and 128 more for each.
    pub bytes: usize,
}

impl StateSize {
    /// With this in the place of that.
    pub fn replaced(self, key: &str, old: Option<&Bytes>, new: Option<&Bytes>) -> Self {
        let cost = |value: Option<&Bytes>| value.map_or(0, |v| KEY_COSTS + key.len() + v.len());
        let count = |value: Option<&Bytes>| usize::from(value.is_some());
        Self {
            keys: (self.keys + count(new)).saturating_sub(count(old)),
            bytes: (self.bytes + cost(new)).saturating_sub(cost(old)),
        }
    }
}

/// What the steps of one route remember.
pub trait State: Send + Sync {
    fn get(&self, key: &StateKey) -> Option<Bytes>;
    /// The step's keys that begin so, in their order; that many at most.
    fn keys(&self, step: u16, prefix: &str, max: usize) -> Vec<Arc<str>>;
    fn size(&self, step: u16) -> StateSize;
}

/// Nothing is remembered.
pub struct NoState;

impl State for NoState {
    fn get(&self, _: &StateKey) -> Option<Bytes> {
        None
    }

    fn keys(&self, _: u16, _: &str, _: usize) -> Vec<Arc<str>> {
        Vec::new()
    }

    fn size(&self, _: u16) -> StateSize {
        StateSize::default()
    }
}

/// Changes in front of a state that does not change meanwhile.
pub struct StateLayer {
    below: Arc<dyn State>,
    changed: Mutex<Changed>,
}

#[derive(Default)]
struct Changed {
    values: BTreeMap<StateKey, Option<Bytes>>,
    /// What keys had below when they were first read or changed.
    found: BTreeMap<StateKey, Option<Bytes>>,
    /// Of the steps that changed something.
    sizes: BTreeMap<u16, StateSize>,
}

impl StateLayer {
    /// Without changes so far.
    pub fn over(below: Arc<dyn State>) -> Self {
        Self { below, changed: Mutex::default() }
    }

    /// A key has another value, or none.
    pub fn set(&self, key: StateKey, value: Option<Bytes>) {
        let mut changed = self.changed.lock();
        let below = changed.find(&*self.below, &key);
        let old = match changed.values.get(&key) {
            Some(old) => old.clone(),
            None => below.clone(),
        };
        let step = key.0;
        let size = changed.sizes.get(&step).copied();
        let size = size.unwrap_or_else(|| self.below.size(step));
        changed.sizes.insert(step, size.replaced(&key.1, old.as_ref(), value.as_ref()));
        match value.is_none() && below.is_none() {
            true => _ = changed.values.remove(&key),
            false => _ = changed.values.insert(key, value),
        }
    }

    /// All changes, in the order of their keys.
    pub fn changes(&self) -> Vec<StateChange> {
        let changed = self.changed.lock();
        changed.values.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// These are changes of this layer, too.
    pub fn take_over(&self, changes: Vec<StateChange>) {
        for (key, value) in changes {
            self.set(key, value);
        }
    }

    /// A state as this layer found it: what it read or changed has the values from before it.
    pub fn as_found(&self) -> StateLayer {
        let (below, found) = (self.below.clone(), self.changed.lock().found.clone());
        Self::over(Arc::new(Found { below, found }))
    }
}

impl Changed {
    /// What is below, noted at the first time.
    fn find(&mut self, below: &dyn State, key: &StateKey) -> Option<Bytes> {
        let has_room = self.found.len() < FOUND_MAX;
        match self.found.entry(key.clone()) {
            Entry::Occupied(found) => found.get().clone(),
            Entry::Vacant(place) if has_room => place.insert(below.get(key)).clone(),
            Entry::Vacant(_) => below.get(key),
        }
    }
}

impl State for StateLayer {
    fn get(&self, key: &StateKey) -> Option<Bytes> {
        let mut changed = self.changed.lock();
        match changed.values.get(key) {
            Some(value) => value.clone(),
            None => changed.find(&*self.below, key),
        }
    }

    fn keys(&self, step: u16, prefix: &str, max: usize) -> Vec<Arc<str>> {
        let changed = self.changed.lock();
        let from = (step, Arc::from(prefix));
        let here = changed.values.range(from..);
        let here = here.take_while(|((of, key), _)| *of == step && key.starts_with(prefix));
        let here: Vec<(&Arc<str>, bool)> =
            here.map(|((_, key), value)| (key, value.is_some())).collect();
        let gone = here.iter().filter(|(_, is_there)| !is_there).count();
        let below = self.below.keys(step, prefix, max.saturating_add(gone));
        let mut all: BTreeMap<Arc<str>, bool> = below.into_iter().map(|key| (key, true)).collect();
        all.extend(here.into_iter().map(|(key, is_there)| (key.clone(), is_there)));
        let there = all.into_iter().filter(|(_, is_there)| *is_there);
        there.map(|(key, _)| key).take(max).collect()
    }

    fn size(&self, step: u16) -> StateSize {
        let size = self.changed.lock().sizes.get(&step).copied();
        size.unwrap_or_else(|| self.below.size(step))
    }
}

/// A state in which some keys have the values of an earlier time.
struct Found {
    below: Arc<dyn State>,
    found: BTreeMap<StateKey, Option<Bytes>>,
}

impl State for Found {
    fn get(&self, key: &StateKey) -> Option<Bytes> {
        self.found.get(key).cloned().unwrap_or_else(|| self.below.get(key))
    }

    fn keys(&self, step: u16, prefix: &str, max: usize) -> Vec<Arc<str>> {
        self.below.keys(step, prefix, max)
    }

    fn size(&self, step: u16) -> StateSize {
        self.below.size(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> StateKey {
        (1, text.into())
    }

    fn value(text: &str) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn keys(state: &dyn State, prefix: &str, max: usize) -> Vec<String> {
        state.keys(1, prefix, max).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_layer_sees_its_own_changes_and_leaves_what_is_below_alone() {
        let below = Arc::new(StateLayer::over(Arc::new(NoState)));
        for (k, v) in [("a", "1"), ("b", "2"), ("ba", "3"), ("c", "4")] {
            below.set(key(k), value(v));
        }
        let size = below.size(1);
        assert_eq!(size, StateSize { keys: 4, bytes: 4 * KEY_COSTS + 5 + 4 });
        let layer = StateLayer::over(below.clone());
        layer.set(key("b"), None);
        layer.set(key("bb"), value("5"));
        layer.set(key("a"), value("111"));
        layer.set((2, "a".into()), value("another step's"));
        assert_eq!((layer.get(&key("b")), layer.get(&key("a"))), (None, value("111")));
        assert_eq!(below.get(&key("b")), value("2"));
        assert_eq!(keys(&layer, "b", 9), ["ba", "bb"]);
        assert_eq!(keys(&layer, "", 2), ["a", "ba"], "as many as were asked for");
        assert_eq!(layer.size(1), StateSize { keys: 4, bytes: size.bytes + 3 });
        assert_eq!(below.size(1), size);
        // What was made and removed again is no change.
        layer.set(key("gone"), value("x"));
        layer.set(key("gone"), None);
        assert_eq!(layer.changes().len(), 4);
        below.take_over(layer.changes());
        assert_eq!(keys(&*below, "", 9), ["a", "ba", "bb", "c"]);
        assert_eq!(below.size(1), StateSize { keys: 4, bytes: size.bytes + 3 });
    }

    #[test]
    fn a_layer_gives_the_state_as_it_found_it() {
        let below = Arc::new(StateLayer::over(Arc::new(NoState)));
        below.set(key("n"), value("1"));
        let layer = StateLayer::over(below.clone());
        assert_eq!(layer.get(&key("n")), value("1"));
        layer.set(key("n"), value("2"));
        layer.set(key("new"), value("x"));
        below.take_over(layer.changes());
        let found = layer.as_found();
        assert_eq!((found.get(&key("n")), found.get(&key("new"))), (value("1"), None));
        found.set(key("n"), value("3"));
        assert_eq!((found.get(&key("n")), below.get(&key("n"))), (value("3"), value("2")));
    }
}
