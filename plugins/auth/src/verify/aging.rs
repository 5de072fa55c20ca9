//! A table that is bounded in entries and forgets what is old, at the same small cost for each entry: two generations.
//! New entries go into the young one. When that has half of the entries, or is a lifetime old, it becomes the old one,
//! and what was the old one goes. So the newest half of the bound is always there.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::time::{Duration, Instant};

pub(crate) struct Aging<K, V> {
    young: HashMap<K, (Instant, V)>,
    old: HashMap<K, (Instant, V)>,
    /// When `young` was begun.
    begun: Instant,
    entries_max: usize,
    lifetime: Duration,
}

impl<K: Hash + Eq, V> Aging<K, V> {
    pub(crate) fn new(entries_max: usize, lifetime: Duration, now: Instant) -> Self {
        let (young, old) = (HashMap::new(), HashMap::new());
        Self { young, old, begun: now, entries_max, lifetime }
    }

    /// An entry, and when it was put there, unless that is a lifetime ago.
    pub(crate) fn get(&self, key: &K, now: Instant) -> Option<(Instant, &V)> {
        let (at, value) = self.young.get(key).or_else(|| self.old.get(key))?;
        (now.saturating_duration_since(*at) < self.lifetime).then_some((*at, value))
    }

    /// An entry that is to be changed. That does not make it younger.
    pub(crate) fn get_mut(&mut self, key: &K, now: Instant) -> Option<&mut V> {
        let (at, value) = match self.young.get_mut(key) {
            Some(entry) => entry,
            None => self.old.get_mut(key)?,
        };
        (now.saturating_duration_since(*at) < self.lifetime).then_some(value)
    }

    /// Puts an entry there, in the place of one with the same key.
    pub(crate) fn put(&mut self, key: K, value: V, now: Instant) {
        let is_over = now.saturating_duration_since(self.begun) >= self.lifetime;
        if is_over || self.young.len() >= self.entries_max / 2 {
            self.old = mem::take(&mut self.young);
            self.begun = now;
        }
        self.old.remove(&key);
        self.young.insert(key, (now, value));
    }

    pub(crate) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// Looks at every entry.
    pub(crate) fn retain(&mut self, mut stays: impl FnMut(&V) -> bool) {
        self.young.retain(|_, (_, value)| stays(value));
        self.old.retain(|_, (_, value)| stays(value));
    }

    /// All entries that are not a lifetime old.
    pub(crate) fn iter(&self, now: Instant) -> impl Iterator<Item = (&K, &V)> {
        let lifetime = self.lifetime;
        let all = self.young.iter().chain(&self.old);
        let living = all.filter(move |(_, (at, _))| now.saturating_duration_since(*at) < lifetime);
        living.map(|(key, (_, value))| (key, value))
    }

    /// Takes out what has one of these keys.
    pub(crate) fn remove_where(&mut self, mut goes: impl FnMut(&K) -> bool) {
        self.young.retain(|key, _| !goes(key));
        self.old.retain(|key, _| !goes(key));
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn it_never_has_more_entries_than_the_bound_and_always_the_newest_half() {
        let now = Instant::now();
        let mut table = Aging::new(100, HOUR, now);
        for n in 0..1_000u32 {
            table.put(n, n, now);
            assert!(table.len() <= 100);
            for newest in n.saturating_sub(49)..=n {
                assert_eq!(table.get(&newest, now).map(|(_, value)| *value), Some(newest));
            }
        }
        assert!(table.get(&0, now).is_none());
    }

    #[test]
    fn an_entry_ends_with_its_lifetime_and_its_memory_soon_after() {
        let start = Instant::now();
        let mut table = Aging::new(100, HOUR, start);
        table.put("a", 1, start);
        let nearly = start + HOUR - Duration::from_nanos(1);
        assert_eq!(table.get(&"a", nearly), Some((start, &1)));
        assert_eq!(table.get(&"a", start + HOUR), None);
        table.put("b", 2, start + HOUR);
        table.put("c", 3, start + 2 * HOUR);
        assert_eq!(table.len(), 2, "an entry stays that nobody can see");
    }

    #[test]
    fn an_entry_that_is_put_again_is_there_once_and_lives_on() {
        let start = Instant::now();
        let mut table = Aging::new(4, HOUR, start);
        for n in 0..3 {
            table.put(n, 1, start);
        }
        table.put(0, 2, start + HOUR / 2);
        assert_eq!(table.get(&0, start + HOUR), Some((start + HOUR / 2, &2)));
        assert_eq!(table.len(), 3);
        table.remove(&0);
        assert_eq!(table.get(&0, start), None);
        table.retain(|_| false);
        assert_eq!(table.len(), 0);
    }
}
