//! HMAC, and the key that lives as long as the process.

use crossdock_core::Error;
use hmac::digest::common::Key;
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;

/// HMAC with a key of any length. Cannot fail, unlike the constructor that takes a slice: a key is filled up with zeros
/// to a block, or hashed first if it is longer (RFC 2104 §2).
pub(crate) fn keyed<D: EagerHash + Digest>(key: &[u8]) -> Hmac<D>
where
    Hmac<D>: KeyInit,
{
    let mut block = Key::<Hmac<D>>::default();
    let hashed;
    let key = match key.len() > block.len() {
        true => {
            hashed = D::digest(key);
            &hashed[..]
        }
        false => key,
    };
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    Hmac::new(&block)
}

/// A key that nobody outside of the process knows. What is kept of users and passwords in memory is kept under it.
#[derive(Clone)]
pub struct ProcessKey(Hmac<Sha256>);

impl ProcessKey {
    /// A new one. [`ErrorKind::Internal`](crossdock_core::ErrorKind::Internal): the system has no random bytes.
    pub fn random() -> Result<Self, Error> {
        let mut bytes = [0; 32];
        crate::random(&mut bytes)?;
        Ok(Self::new(&bytes))
    }

    /// One that was kept: several nodes that answer for the same users give the same salts to unknown ones.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(keyed(bytes))
    }

    /// HMAC-SHA-256 of these parts. Each has its length in front, so that no two lists of parts are one text.
    pub(crate) fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for ProcessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_length_give_the_macs_of_the_library() {
        for length in [0, 1, 32, 63, 64, 65, 200] {
            let key = vec![7; length];
            let mut ours = keyed::<Sha256>(&key);
            let mut theirs = <Hmac<Sha256> as KeyInit>::new_from_slice(&key).expect("any length");
            ours.update(b"text");
            theirs.update(b"text");
            assert_eq!(ours.finalize().into_bytes(), theirs.finalize().into_bytes(), "{length}");
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = ProcessKey::new(&[1; 32]);
        assert_ne!(key.of(&[b"ab", b"c"]), key.of(&[b"a", b"bc"]));
        assert_ne!(key.of(&[b"a\0b"]), key.of(&[b"a", b"b"]));
        assert_eq!(key.of(&[b"a", b"b"]), key.of(&[b"a", b"b"]));
        assert_ne!(key.of(&[b"a"]), ProcessKey::new(&[2; 32]).of(&[b"a"]));
    }
}
