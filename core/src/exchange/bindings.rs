//! A list of bindings. Iteration is over a slice; a long list also has an index by what makes a binding the same one
//! ([`Binding::is`]), so that adding, finding and removing cost the same however long it is.

use super::Binding;
use crate::message::{Hashing, hash_arguments};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

/// Entries that are cheaper to scan than to index.
const SCANNED_MAX: usize = 8;

/// Secret, and one for all lists, so that an identity is computed once for all of them.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The hash of what makes a binding the same one. Equal bindings have equal identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity(u64);

impl Identity {
    /// The identity of a binding.
    pub fn of(binding: &Binding) -> Self {
        let mut hasher = HASHER.build_hasher();
        binding.source.hash(&mut hasher);
        binding.key.hash(&mut hasher);
        binding.target.hash(&mut hasher);
        if !binding.arguments.is_empty() {
            hasher.write_u64(hash_arguments(&binding.arguments, &Hashing(&*HASHER)));
        }
        Self(hasher.finish())
    }
}

/// A list of bindings, each one once.
#[derive(Debug, Default)]
pub struct Bindings {
    list: Vec<Arc<Binding>>,
    /// None while the list is short.
    index: Option<Box<Index>>,
}

#[derive(Debug, Default)]
struct Index {
    /// The identity of each entry of the list.
    identities: Vec<Identity>,
    /// Where entries of an identity are: nearly always one.
    places: FxHashMap<Identity, SmallVec<[u32; 2]>>,
}

impl Index {
    fn of(list: &[Arc<Binding>]) -> Self {
        let mut index = Self::default();
        list.iter().for_each(|binding| index.push(Identity::of(binding)));
        index
    }

    fn push(&mut self, identity: Identity) {
        let at = place(self.identities.len());
        self.identities.push(identity);
        self.places.entry(identity).or_default().push(at);
    }

    /// Follows `Vec::swap_remove`.
    fn swap_remove(&mut self, at: usize) {
        let last = place(self.identities.len().saturating_sub(1));
        if at >= self.identities.len() {
            return;
        }
        let gone = self.identities.swap_remove(at);
        if let Some(places) = self.places.get_mut(&gone) {
            places.retain(|other| *other != place(at));
            if places.is_empty() {
                self.places.remove(&gone);
            }
        }
        let moved = self.identities.get(at).and_then(|moved| self.places.get_mut(moved));
        let moved = moved.and_then(|places| places.iter_mut().find(|other| **other == last));
        if let Some(moved) = moved {
            *moved = place(at);
        }
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Bindings {
    /// All of them.
    pub fn as_slice(&self) -> &[Arc<Binding>] {
        &self.list
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Where the same binding is, and its identity if the list is indexed.
    fn position(&self, binding: &Binding) -> (Option<usize>, Option<Identity>) {
        let Some(index) = &self.index else {
            return (self.list.iter().position(|known| known.is(binding)), None);
        };
        let identity = Identity::of(binding);
        let is = |at: &usize| self.list.get(*at).is_some_and(|known| known.is(binding));
        let places = index.places.get(&identity);
        let at = places.and_then(|places| places.iter().map(|at| *at as usize).find(is));
        (at, Some(identity))
    }

    /// The same binding, if it is there.
    pub fn get(&self, binding: &Binding) -> Option<&Arc<Binding>> {
        self.position(binding).0.and_then(|at| self.list.get(at))
    }

    /// Adds a binding that is not there.
    fn push(&mut self, binding: Arc<Binding>, identity: Option<Identity>) {
        match &mut self.index {
            Some(index) => index.push(identity.unwrap_or_else(|| Identity::of(&binding))),
            None if self.list.len() >= SCANNED_MAX => {
                let mut index = Box::new(Index::of(&self.list));
                index.push(Identity::of(&binding));
                self.index = Some(index);
            }
            None => {}
        }
        self.list.push(binding);
    }

    /// Takes the same binding out; where it was, which is where the last one is now.
    pub fn remove(&mut self, binding: &Binding) -> Option<(usize, Arc<Binding>)> {
        let at = self.position(binding).0?;
        let gone = self.list.swap_remove(at);
        if let Some(index) = &mut self.index {
            index.swap_remove(at);
            // Half of what made it: a list that grows and shrinks around the mark is not indexed again and again.
            if self.list.len() <= SCANNED_MAX / 2 {
                self.index = None;
            }
        }
        if self.list.len() < self.list.capacity() / 4 {
            self.list.shrink_to(self.list.len() * 2);
        }
        Some((at, gone))
    }

    /// Adds a binding, at the end or in the place of the same one: where, and the one that was there.
    pub fn put(&mut self, binding: Arc<Binding>) -> (usize, Option<Arc<Binding>>) {
        let (old, identity) = self.position(&binding);
        let there = old.and_then(|at| Some((at, self.list.get_mut(at)?)));
        match there {
            Some((at, there)) => (at, Some(std::mem::replace(there, binding))),
            None => {
                self.push(binding, identity);
                (self.list.len() - 1, None)
            }
        }
    }

    /// All of them, without the list.
    pub fn into_vec(self) -> Vec<Arc<Binding>> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BindingTag, LogId, Target};
    use super::*;
    use crate::message::{Key, Value};

    fn binding(n: u64) -> Arc<Binding> {
        let mut binding =
            Binding::new("x", Key::from(&*format!("k{n}")), Target::Log(LogId(n % 7)));
        binding.arguments = vec![("n".into(), Value::U64(n)), ("m".into(), Value::Null)];
        Arc::new(binding)
    }

    /// The same one, written otherwise.
    fn other_form(n: u64) -> Binding {
        let mut other = Binding::clone(&binding(n));
        other.arguments = vec![("m".into(), Value::Null), ("n".into(), Value::F64(n as f64))];
        other.tag = BindingTag { id: 9, ..BindingTag::default() };
        other
    }

    #[test]
    fn a_binding_is_found_whatever_the_length_of_the_list() {
        for length in [1, 8, 9, 10, 200] {
            let mut list = Bindings::default();
            (0..length).for_each(|n| _ = list.put(binding(n)));
            assert_eq!(list.index.is_some(), length > 8);
            for n in 0..length {
                assert_eq!(list.get(&other_form(n)), Some(&binding(n)), "{n} of {length}");
                assert_eq!(list.put(Arc::new(other_form(n))).1, Some(binding(n)));
            }
            assert!(list.get(&binding(length)).is_none());
            assert_eq!(list.len() as u64, length);
            // From the middle, so that entries move.
            let mut order: Vec<u64> = (0..length).collect();
            order.rotate_left(length as usize / 2);
            for (gone, n) in order.iter().enumerate() {
                assert!(list.remove(&binding(*n)).is_some(), "{n} of {length}");
                assert!(list.remove(&binding(*n)).is_none());
                assert_eq!(list.len(), length as usize - gone - 1);
                for rest in order.iter().skip(gone + 1) {
                    assert!(list.get(&binding(*rest)).is_some(), "{rest} without {n}");
                }
            }
            assert!(list.is_empty() && list.index.is_none());
        }
    }
}
