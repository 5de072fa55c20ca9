//! Numbers that are given once: ids of queues, sessions and parked publishes, and generated names.

use crate::exchange::SessionId;
use crate::message::carry::base64url;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Gives out ids that were never used before, over restarts too.
pub struct Identifiers {
    last: AtomicU64,
    /// The store's epoch, which counts the starts: what is not stored differs between starts by it.
    epoch: u64,
}

impl Identifiers {
    /// Ids from 1 on.
    pub fn new(epoch: u64) -> Self {
        Self { last: AtomicU64::new(0), epoch }
    }

    /// An id that was never used before.
    pub fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts the starts of the broker on its store.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last id given out.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// No id up to this one is given out.
    pub fn raise(&self, to: u64) {
        self.last.fetch_max(to, Ordering::Relaxed);
    }

    /// The id of a session without a name. It goes into names and tokens that clients may still have from before a
    /// crash, so it has the epoch in it.
    pub fn next_anonymous(&self) -> SessionId {
        SessionId(self.epoch << 40 | self.next())
    }

    /// A text that no generated name had before, and that nobody guesses: 128 random bits. The name of a reply queue is
    /// all that protects it.
    pub fn unique_text() -> String {
        // Keyed by the system's randomness: the standard library's own source of it.
        let word = || RandomState::new().build_hasher().finish().to_be_bytes();
        base64url(&[word(), word()].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_texts_differ() {
        let texts: std::collections::HashSet<_> =
            (0..1000).map(|_| Identifiers::unique_text()).collect();
        assert_eq!(texts.len(), 1000);
        assert!(texts.iter().all(|text| text.len() == 22), "128 bits each");
    }
}
