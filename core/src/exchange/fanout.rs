//! The fanout matcher: every binding, whatever the key.

use super::{Binding, FieldsOf, Hit, Matcher, lists};
use crate::message::Key;
use std::sync::Arc;

/// All bindings.
#[derive(Default)]
pub struct Fanout(Vec<Arc<Binding>>);

impl Matcher for Fanout {
    fn bind(&mut self, binding: Arc<Binding>) {
        self.0.push(binding);
    }

    fn unbind(&mut self, binding: &Binding) -> bool {
        lists::remove(&mut self.0, binding)
    }

    fn route(&self, _key: &Key, _fields: FieldsOf<'_>, out: &mut Vec<Hit>) {
        out.extend(self.0.iter().map(|b| Hit::of(b)));
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}
