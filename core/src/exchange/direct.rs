//! The direct matcher: equal keys.

use super::{Binding, Bindings, FieldsOf, Hit, Matcher};
use crate::message::Key;
use crate::message::cost::MAP_ENTRY;
use std::collections::HashMap;
use std::sync::Arc;

/// Bindings by key.
#[derive(Default)]
pub struct Direct {
    by_key: HashMap<Key, Bindings>,
    count: usize,
}

impl Matcher for Direct {
    fn bind(&mut self, binding: Arc<Binding>) {
        let list = self.by_key.entry(binding.key.clone()).or_default();
        self.count += usize::from(list.put(binding).1.is_none());
    }

    fn unbind(&mut self, binding: &Binding) -> bool {
        let Some(list) = self.by_key.get_mut(&binding.key) else { return false };
        let found = list.remove(binding).is_some();
        if list.is_empty() {
            self.by_key.remove(&binding.key);
            if self.by_key.len() < self.by_key.capacity() / 8 {
                self.by_key.shrink_to(self.by_key.len() * 2);
            }
        }
        self.count -= usize::from(found);
        found
    }

    fn route(&self, key: &Key, _fields: FieldsOf<'_>, out: &mut Vec<Hit>) {
        let list = self.by_key.get(key).map(Bindings::as_slice).unwrap_or_default();
        out.extend(list.iter().map(|b| Hit::of(b)));
    }

    fn len(&self) -> usize {
        self.count
    }

    fn bindings(&self) -> Vec<Arc<Binding>> {
        self.by_key.values().flat_map(Bindings::as_slice).cloned().collect()
    }

    fn bytes(&self) -> usize {
        self.by_key.len() * (size_of::<(Key, Bindings)>() + MAP_ENTRY)
    }
}
