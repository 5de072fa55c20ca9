//! The direct matcher: equal keys.

use super::{Binding, FieldsOf, Hit, Matcher, lists};
use crate::message::Key;
use std::collections::HashMap;
use std::sync::Arc;

/// Bindings by key.
#[derive(Default)]
pub struct Direct {
    by_key: HashMap<Key, Vec<Arc<Binding>>>,
    count: usize,
}

impl Matcher for Direct {
    fn bind(&mut self, binding: Arc<Binding>) {
        self.by_key.entry(binding.key.clone()).or_default().push(binding);
        self.count += 1;
    }

    fn unbind(&mut self, binding: &Binding) -> bool {
        let Some(list) = self.by_key.get_mut(&binding.key) else { return false };
        let found = lists::remove(list, binding);
        if list.is_empty() {
            self.by_key.remove(&binding.key);
        }
        self.count -= usize::from(found);
        found
    }

    fn route(&self, key: &Key, _fields: FieldsOf<'_>, out: &mut Vec<Hit>) {
        let list = self.by_key.get(key).map(Vec::as_slice).unwrap_or_default();
        out.extend(list.iter().map(|b| Hit::of(b)));
    }

    fn len(&self) -> usize {
        self.count
    }
}
