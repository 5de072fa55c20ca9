//! A map by consumer. Queues with few consumers are by far the most: up to [`FEW`] stand in a list, which is read
//! faster than a hash; more are hashed. The only one stands in the map itself, beside what else its queue needs for a
//! message: one place in memory less to wait for, where there are many queues.

use super::Handle;
use super::by_consumer::InOrder;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

/// Entries up to which a list is kept.
const FEW: usize = 8;

/// Values by handle.
#[derive(Debug)]
pub struct HandleMap<V> {
    few: SmallVec<[(Handle, V); 1]>,
    /// All of them, while there are more.
    many: HashMap<Handle, V, BuildHasherDefault<InOrder>>,
}

impl<V> Default for HandleMap<V> {
    fn default() -> Self {
        Self { few: SmallVec::new(), many: HashMap::default() }
    }
}

impl<V> HandleMap<V> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.few.len() + self.many.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of that handle.
    #[inline]
    pub fn get(&self, handle: Handle) -> Option<&V> {
        match self.many.is_empty() {
            true => self.few.iter().find(|(h, _)| *h == handle).map(|(_, value)| value),
            false => self.many.get(&handle),
        }
    }

    /// The value of that handle.
    #[inline]
    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut V> {
        match self.many.is_empty() {
            true => self.few.iter_mut().find(|(h, _)| *h == handle).map(|(_, value)| value),
            false => self.many.get_mut(&handle),
        }
    }

    /// Adds the value of a handle that has none.
    pub fn insert(&mut self, handle: Handle, value: V) {
        if self.many.is_empty() && self.few.len() < FEW {
            self.few.push((handle, value));
            return;
        }
        self.many.extend(self.few.drain(..));
        self.many.insert(handle, value);
    }

    /// Takes a value out.
    pub fn remove(&mut self, handle: Handle) -> Option<V> {
        if self.many.is_empty() {
            let at = self.few.iter().position(|(h, _)| *h == handle)?;
            return Some(self.few.swap_remove(at).1);
        }
        let value = self.many.remove(&handle)?;
        if self.many.len() <= FEW / 2 {
            self.few.extend(std::mem::take(&mut self.many));
        }
        Some(value)
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.few.iter().map(|(_, value)| value).chain(self.many.values())
    }

    /// All values, in no order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.few.iter_mut().map(|(_, value)| value).chain(self.many.values_mut())
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Handle, &V)> {
        let few = self.few.iter().map(|(handle, value)| (*handle, value));
        few.chain(self.many.iter().map(|(handle, value)| (*handle, value)))
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_are_found_alike() {
        let mut map = HandleMap::default();
        for n in 1..=100 {
            map.insert(Handle(n), n);
            assert_eq!((map.len(), map.get(Handle(1))), (n as usize, Some(&1)));
        }
        for n in 1..=100 {
            assert_eq!(map.get_mut(Handle(n)).copied(), Some(n));
            assert_eq!((map.remove(Handle(n)), map.remove(Handle(n))), (Some(n), None));
            assert_eq!(map.iter().count(), 100 - n as usize);
        }
        assert!(map.is_empty());
    }
}
