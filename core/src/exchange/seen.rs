//! What a walk has met already, by address: a scan while it is little, an index beyond that.

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

/// Entries that are cheaper to scan than to index.
const SCANNED_MAX: usize = 8;

/// Things that were met. They do not move while this is in use.
#[derive(Default)]
pub struct Seen {
    few: SmallVec<[usize; SCANNED_MAX]>,
    /// All of them, when there are many.
    many: FxHashSet<usize>,
}

impl Seen {
    /// Notes a thing; false when it was met before.
    pub fn insert<T>(&mut self, thing: &T) -> bool {
        let address = std::ptr::from_ref(thing).addr();
        if !self.many.is_empty() {
            return self.many.insert(address);
        }
        if self.few.contains(&address) {
            return false;
        }
        if self.few.len() < SCANNED_MAX {
            self.few.push(address);
            return true;
        }
        self.many.extend(self.few.drain(..));
        self.many.insert(address)
    }

    /// How many were met.
    pub fn len(&self) -> usize {
        self.few.len() + self.many.len()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.few.clear();
        self.many.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_new_once() {
        let things: Vec<u64> = (0..40).collect();
        let mut seen = Seen::default();
        for (count, thing) in things.iter().enumerate() {
            assert_eq!(seen.len(), count);
            assert!(seen.insert(thing));
            assert!(things.iter().take(count + 1).all(|thing| !seen.insert(thing)));
        }
        seen.clear();
        assert!(seen.len() == 0 && things.iter().all(|thing| seen.insert(thing)));
    }
}
