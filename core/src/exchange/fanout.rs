//! The fanout matcher: every binding, whatever the key.

use super::{Binding, Bindings, FieldsOf, Hit, Matcher};
use crate::message::Key;
use std::sync::Arc;

/// All bindings.
#[derive(Default)]
pub struct Fanout(Bindings);

impl Matcher for Fanout {
    fn bind(&mut self, binding: Arc<Binding>) {
        self.0.put(binding);
    }

    fn unbind(&mut self, binding: &Binding) -> bool {
        self.0.remove(binding).is_some()
    }

    fn route(&self, _key: &Key, _fields: FieldsOf<'_>, out: &mut Vec<Hit>) {
        out.extend(self.0.as_slice().iter().map(|b| Hit::of(b)));
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn bindings(&self) -> Vec<Arc<Binding>> {
        self.0.as_slice().to_vec()
    }

    fn bytes(&self) -> usize {
        0
    }
}
