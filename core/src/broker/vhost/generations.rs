//! When cached routes are out of date.

use crate::exchange::filter::{self, Word};
use crate::message::{Key, SEPARATOR};
use foldhash::fast::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

/// Classes of first words: so few of them share one that temporary queues which come and go leave most routes alone.
const CLASSES: usize = 1024;

/// When routes of a key may have changed: one count for each class of first words and one for patterns that begin
/// with a wildcard and everything that is not a topic. A subscribe or a queue that is declared elsewhere leaves a hot
/// topic's cache alone.
pub struct Generations {
    words: Box<[AtomicU64; CLASSES]>,
    wild: AtomicU64,
    /// Clients choose the words, so the hash has a seed; it is asked for each publish to one of many addresses.
    hasher: RandomState,
}

/// The counts that a cached route was resolved at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    class: usize,
    word: u64,
    wild: u64,
}

impl Generations {
    /// Nothing has changed yet.
    pub fn new() -> Self {
        let words = Box::new(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { words, wild: AtomicU64::new(0), hasher: RandomState::default() }
    }

    fn count_of(&self, class: usize) -> &AtomicU64 {
        self.words.get(class).unwrap_or(&self.wild)
    }

    fn class(&self, word: &[u8]) -> usize {
        (self.hasher.hash_one(word) % CLASSES as u64) as usize
    }

    /// The stamp of a key now.
    pub fn stamp(&self, key: &Key) -> Stamp {
        self.stamp_of(self.class(key.first_word()))
    }

    fn stamp_of(&self, class: usize) -> Stamp {
        let word = self.count_of(class).load(Ordering::Acquire);
        Stamp { class, word, wild: self.wild.load(Ordering::Acquire) }
    }

    /// True when nothing changed since.
    pub fn is_current(&self, stamp: Stamp) -> bool {
        self.stamp_of(stamp.class) == stamp
    }

    /// Everything may have changed.
    pub fn bump(&self) {
        self.wild.fetch_add(1, Ordering::AcqRel);
    }

    /// Routes of this key, which is no pattern, may have changed.
    pub fn bump_word(&self, key: &[u8]) {
        let word = key.split(|byte| *byte == SEPARATOR).next().unwrap_or_default();
        self.count_of(self.class(word)).fetch_add(1, Ordering::AcqRel);
    }

    /// Routes of keys that this pattern matches may have changed.
    pub fn bump_for(&self, pattern: &Key) {
        match filter::words(pattern).next() {
            Some(Word::Is(word)) => {
                self.count_of(self.class(word)).fetch_add(1, Ordering::AcqRel);
            }
            _ => self.bump(),
        }
    }
}
