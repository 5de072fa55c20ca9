//! Messages of a turn that were refused, and why.

use crate::error::Error;
use rustc_hash::{FxHashMap, FxHashSet};

/// Refused messages, by their index in the turn.
#[derive(Default)]
pub struct Refusals {
    why: FxHashMap<usize, Error>,
    /// Their publishers get the refusal as an answer, or somebody else sees to them.
    told: FxHashSet<usize>,
}

impl Refusals {
    /// Refuses a message. The first reason counts.
    pub fn add(&mut self, index: usize, why: Error) {
        self.why.entry(index).or_insert(why);
    }

    /// Why that message was refused.
    pub fn get(&self, index: usize) -> Option<&Error> {
        self.why.get(&index)
    }

    /// Why some message was refused.
    pub fn any(&self) -> Option<&Error> {
        self.why.iter().min_by_key(|(index, _)| **index).map(|(_, why)| why)
    }

    /// The refusals of these messages are somebody's concern already.
    pub fn told(&mut self, indices: &[usize]) {
        self.told.extend(indices.iter().filter(|index| self.why.contains_key(index)));
    }

    /// Those that nobody was told of.
    pub fn untold(&self) -> impl Iterator<Item = (usize, &Error)> {
        let untold = self.why.iter().filter(|(index, _)| !self.told.contains(index));
        untold.map(|(index, why)| (*index, why))
    }

    /// Their indices.
    pub fn all(&self) -> impl Iterator<Item = usize> {
        self.why.keys().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.why.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.why.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.why.clear();
        self.told.clear();
    }
}
