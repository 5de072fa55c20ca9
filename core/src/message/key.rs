//! Names and keys. A [`Name`] is an opaque identifier of a thing (queue, exchange, user). A [`Key`] is what a
//! publish is routed by.
//!
//! A key of any exchange but the default one is held in *topic form*: words separated by `/`, every other byte
//! is a character of a word. An adapter whose own separator differs swaps on the way in and out (docs/SEMANTICS.md
//! §1), so that two adapters' keys meet in one tree. A key of the default exchange is a queue name: opaque.

use bytes::Bytes;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// The separator of a key's words.
pub const SEPARATOR: u8 = b'/';

/// A cheaply cloned UTF-8 identifier.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Name {
    fn default() -> Self {
        Self(Arc::from(""))
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(Arc::from(text))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A routing key or a binding's pattern, see the module's text. Bytes: keys need not be UTF-8.
#[derive(Clone, Eq, PartialOrd, Ord, Default)]
pub struct Key(Bytes);

impl PartialEq for Key {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        // Empty ones are nowhere: the C library's comparison with masked vectors takes about 80 ns for them on some
        // processors.
        self.0.len() == other.0.len() && (self.0.is_empty() || self.0 == other.0)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Key {
    /// A key from its text in the form that its exchange wants.
    pub fn new(text: impl Into<Bytes>) -> Self {
        Self(text.into())
    }

    /// The text as bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// A copy that shares nothing with a larger buffer.
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// The words between the separators; an empty key is one empty word.
    pub fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == SEPARATOR)
    }

    /// The first word.
    pub fn first_word(&self) -> &[u8] {
        self.words().next().unwrap_or_default()
    }

    /// How many separators it holds.
    pub fn separators(&self) -> usize {
        memchr::memchr_iter(SEPARATOR, &self.0).count()
    }

    /// The dotted form: `/` and `.` change places, `+` and `*` too. It is its own inverse, injective, and
    /// keeps the word structure (docs/SEMANTICS.md §1). Without any of the four nothing is copied.
    pub fn swapped(&self) -> Key {
        if !self.0.iter().any(|b| matches!(b, b'/' | b'.' | b'+' | b'*')) {
            return self.clone();
        }
        Key(self.0.iter().map(|b| swap(*b)).collect::<Vec<u8>>().into())
    }
}

fn swap(byte: u8) -> u8 {
    match byte {
        b'/' => b'.',
        b'.' => b'/',
        b'+' => b'*',
        b'*' => b'+',
        other => other,
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_an_involution_and_keeps_levels() {
        for text in ["a/b.c", "", "/", "a//b", "+/#", "a.b*c/d+e"] {
            let key = Key::from(text);
            assert_eq!(key.swapped().swapped(), key);
            assert_eq!(key.swapped().bytes().len(), text.len());
        }
        assert_eq!(Key::from("a/b.c").swapped(), Key::from("a.b/c"));
        assert_eq!(Key::from("+/a*").swapped(), Key::from("*.a+"));
    }

    #[test]
    fn words_keep_empty_ones() {
        let key = Key::from("/a//");
        assert_eq!(key.words().collect::<Vec<_>>(), [&b""[..], b"a", b"", b""]);
        assert_eq!(key.separators(), 3);
        assert_eq!(key.first_word(), b"");
    }
}
