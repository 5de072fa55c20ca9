//! What a turn has for each of its receivers, queues or inboxes: a short list is searched, a long one has an index.

use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Receivers that are found by looking through the last ones.
const SEARCHED: usize = 16;

/// What one receiver gets in this turn.
pub struct For<T, V> {
    pub receiver: Arc<T>,
    pub list: Vec<V>,
    /// Bytes of all that is in the list, as the receiver's limits count them, where it refuses what is beyond them.
    pub bytes: u64,
}

/// Receivers in the order in which the turn came to them.
pub struct Receivers<T, V> {
    all: Vec<For<T, V>>,
    /// Where each is, by its address; empty while there are few.
    index: FxHashMap<usize, usize>,
    /// Where the next one is looked for first: behind the last one, since messages of one turn mostly go to the same
    /// receivers in the same order.
    next: usize,
}

/// A receiver's address is its name here.
fn address<T>(receiver: &Arc<T>) -> usize {
    Arc::as_ptr(receiver).addr()
}

impl<T, V> Default for Receivers<T, V> {
    fn default() -> Self {
        Self { all: Vec::new(), index: FxHashMap::default(), next: 0 }
    }
}

impl<T, V> Receivers<T, V> {
    fn find(&self, receiver: &Arc<T>) -> Option<usize> {
        if self.all.len() > SEARCHED {
            return self.index.get(&address(receiver)).copied();
        }
        // The last one is the likeliest.
        self.all.iter().rposition(|known| Arc::ptr_eq(&known.receiver, receiver))
    }

    /// Adds something for a receiver.
    #[inline]
    pub fn add(&mut self, receiver: &Arc<T>, what: V, bytes: u64) {
        let at = match self.all.get(self.next) {
            Some(known) if Arc::ptr_eq(&known.receiver, receiver) => Some(self.next),
            _ => self.find(receiver),
        };
        if let Some(at) = at
            && let Some(known) = self.all.get_mut(at)
        {
            known.list.push(what);
            known.bytes += bytes;
            self.next = if at + 1 < self.all.len() { at + 1 } else { 0 };
            return;
        }
        self.add_new(receiver, what, bytes);
    }

    fn add_new(&mut self, receiver: &Arc<T>, what: V, bytes: u64) {
        // The receivers of the next message begin with the first one.
        self.next = 0;
        self.all.push(For { receiver: receiver.clone(), list: vec![what], bytes });
        match self.all.len() {
            len if len == SEARCHED + 1 => {
                let all = self.all.iter().enumerate();
                self.index = all.map(|(at, known)| (address(&known.receiver), at)).collect();
            }
            len if len > SEARCHED => {
                self.index.insert(address(receiver), len - 1);
            }
            _ => {}
        }
    }

    /// What that receiver gets: how many, and their bytes.
    pub fn sum(&self, receiver: &Arc<T>) -> (u64, u64) {
        let known = self.find(receiver).and_then(|at| self.all.get(at));
        known.map_or((0, 0), |known| (known.list.len() as u64, known.bytes))
    }

    /// Takes everything out.
    pub fn drain(&mut self) -> impl Iterator<Item = For<T, V>> {
        self.index.clear();
        self.all.drain(..)
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut For<T, V>> {
        self.all.iter_mut()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &For<T, V>> {
        self.all.iter()
    }

    /// True when nobody gets anything.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.index.clear();
        self.all.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_receivers_are_found_like_few() {
        let receivers: Vec<Arc<u32>> = (0..100).map(Arc::new).collect();
        let mut all = Receivers::default();
        for round in 0..3 {
            for receiver in &receivers {
                all.add(receiver, round, 5);
                assert_eq!(all.sum(receiver), (round + 1, 5 * (round + 1)));
            }
        }
        assert_eq!(all.sum(&Arc::new(1)), (0, 0));
        let order: Vec<u32> = all.drain().map(|each| *each.receiver).collect();
        assert_eq!(order, (0..100).collect::<Vec<u32>>());
        assert!(all.is_empty() && all.index.is_empty());
    }

    #[test]
    fn receivers_are_found_in_any_order() {
        let receivers: Vec<Arc<u32>> = (0..20).map(Arc::new).collect();
        for few in [1, 2, 5, SEARCHED, receivers.len()] {
            let (mut all, mut expected) = (Receivers::default(), vec![0; few]);
            for step in 0..200 {
                let at = (step * step + step / 3) % few;
                if let Some((receiver, count)) = receivers.get(at).zip(expected.get_mut(at)) {
                    all.add(receiver, (), 2);
                    *count += 1;
                    assert_eq!(all.sum(receiver), (*count, 2 * *count));
                }
            }
            let found: u64 = all.drain().map(|each| each.list.len() as u64).sum();
            assert_eq!((found, expected.iter().sum::<u64>()), (200, 200));
        }
    }
}
