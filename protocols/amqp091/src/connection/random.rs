//! Names that the server makes up. Hard to guess, because a reply queue's name is all that protects it.

use crossdock_core::message::carry::base64url;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The prefix and 128 random bits.
pub fn random_name(prefix: &str) -> String {
    // Keyed by the system's randomness: the standard library's own source of it.
    let word = || RandomState::new().build_hasher().finish().to_be_bytes();
    format!("{prefix}{}", base64url(&[word(), word()].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ() {
        let names: std::collections::HashSet<_> = (0..1000).map(|_| random_name("q-")).collect();
        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| name.len() == 24));
    }
}
