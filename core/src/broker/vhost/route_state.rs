//! What the steps of one content route remember, in memory, for all versions of the route. It is stored as retained
//! values of topics that no client reaches (`exchange::retained`), which snapshots and recovery treat as any other.

use crate::exchange::ROUTE_STATE;
use crate::message::Key;
use crate::state::{State, StateChange, StateKey, StateSize};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The topics of a route's state begin with it.
pub fn prefix_of(route: &str) -> String {
    format!("{ROUTE_STATE}{route}/")
}

/// The topic of a key of a route.
pub fn topic_of(route: &str, (step, key): &StateKey) -> Key {
    Key::from(format!("{}{step}/{key}", prefix_of(route)).as_str())
}

/// The key of a topic of the route with that prefix.
pub fn key_of(prefix: &str, topic: &Key) -> Option<StateKey> {
    let text = std::str::from_utf8(topic.bytes()).ok()?;
    let (step, key) = text.strip_prefix(prefix)?.split_once('/')?;
    Some((step.parse().ok()?, key.into()))
}

/// The state of a route.
#[derive(Default)]
pub struct RouteState {
    steps: RwLock<BTreeMap<u16, OfStep>>,
    /// Held while state and journal are changed together, so that both have the changes in one order.
    writing: Mutex<()>,
    /// How often an operator had all of it forgotten.
    forgotten: AtomicU64,
}

#[derive(Default)]
struct OfStep {
    values: BTreeMap<Arc<str>, Bytes>,
    size: StateSize,
}

impl OfStep {
    fn set(&mut self, key: &Arc<str>, value: Option<&Bytes>) {
        let old = match value {
            Some(value) => self.values.insert(key.clone(), value.clone()),
            None => self.values.remove(key),
        };
        self.size = self.size.replaced(key, old.as_ref(), value);
    }
}

impl RouteState {
    /// Nobody else changes the state while this is held.
    pub fn write(&self) -> MutexGuard<'_, ()> {
        self.writing.lock()
    }

    /// These changes are made.
    pub fn change(&self, changes: &[StateChange]) {
        let mut steps = self.steps.write();
        for ((step, key), value) in changes {
            steps.entry(*step).or_default().set(key, value.as_ref());
        }
    }

    /// Nothing is remembered any more.
    pub fn forget(&self) {
        self.steps.write().clear();
        self.forgotten.fetch_add(1, Ordering::AcqRel);
    }

    /// How often all of it was forgotten: what was read before that is not to be written behind it.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Acquire)
    }
}

impl State for RouteState {
    fn get(&self, (step, key): &StateKey) -> Option<Bytes> {
        self.steps.read().get(step)?.values.get(key).cloned()
    }

    fn keys(&self, step: u16, prefix: &str, max: usize) -> Vec<Arc<str>> {
        let steps = self.steps.read();
        let Some(of) = steps.get(&step) else { return Vec::new() };
        let from = of.values.range(Arc::from(prefix)..).map(|(key, _)| key);
        from.take_while(|key| key.starts_with(prefix)).take(max).cloned().collect()
    }

    fn size(&self, step: u16) -> StateSize {
        self.steps.read().get(&step).map(|of| of.size).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_topics_of_their_own_and_back() {
        let prefix = prefix_of("r.1");
        for key in ["a", "a/b/+", "#", "ä ", "/"] {
            let key: StateKey = (7, key.into());
            assert_eq!(key_of(&prefix, &topic_of("r.1", &key)), Some(key));
        }
        let other = topic_of("r.1.2", &(7, "a".into()));
        assert_eq!(key_of(&prefix, &other), None);
    }

    #[test]
    fn what_is_changed_is_counted() {
        let state = RouteState::default();
        let set = |key: &str, value: &str| ((1, key.into()), Some(Bytes::from(value.to_owned())));
        state.change(&[set("a", "1"), set("b", "22"), set("a", "333")]);
        let size = state.size(1);
        assert_eq!((size.keys, size.bytes), (2, 2 * 128 + 2 + 5));
        state.change(&[((1, "b".into()), None)]);
        assert_eq!(state.size(1), StateSize { keys: 1, bytes: 128 + 1 + 3 });
        assert_eq!(state.keys(1, "a", 5), ["a".into()]);
        state.forget();
        assert_eq!((state.size(1), state.forgotten()), (StateSize::default(), 1));
    }
}
