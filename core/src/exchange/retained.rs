//! Retained values: the last message of each topic that asked to be kept.

use super::filter::{Word, hidden, matches, words};
use crate::message::{Key, Message, Timestamp};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;

/// One value for each topic, in topic order.
#[derive(Default)]
pub struct Retained {
    values: BTreeMap<Key, Message>,
    bytes: usize,
}

impl Retained {
    /// Keeps the message as its topic's value; `None` clears. The value before.
    pub fn set(&mut self, key: Key, value: Option<Message>) -> Option<Message> {
        self.bytes += value.as_ref().map_or(0, Message::size);
        let old = match value {
            Some(message) => self.values.insert(key, message),
            None => self.values.remove(&key),
        };
        self.bytes -= old.as_ref().map_or(0, Message::size);
        old
    }

    /// A topic's value.
    pub fn get(&self, key: &Key) -> Option<&Message> {
        self.values.get(key)
    }

    /// The living values whose topic the pattern matches, in topic order.
    pub fn matching(&self, pattern: &Key, now: Timestamp) -> Vec<Message> {
        let prefix = literal_prefix(pattern);
        let from = Bound::Included(Key::new(prefix.clone()));
        self.values
            .range((from, Bound::Unbounded))
            .take_while(|(key, _)| key.bytes().starts_with(&prefix))
            .filter(|(key, message)| {
                matches(pattern, key)
                    && !hidden(pattern, key)
                    && message.meta().expires.is_none_or(|at| at > now)
            })
            .map(|(_, message)| message.clone())
            .collect()
    }

    /// All values.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Message)> {
        self.values.iter()
    }

    /// Values and their bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.values.len(), self.bytes)
    }
}

/// The words before the first wildcard, without the last separator: `a/#` also matches `a`.
fn literal_prefix(pattern: &Key) -> Bytes {
    let mut len = 0;
    for word in words(pattern) {
        match word {
            Word::Is(text) => len += text.len() + 1,
            _ => return pattern.bytes().slice(..len.saturating_sub(1)),
        }
    }
    pattern.bytes().clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Address, Fields, Meta};
    use std::sync::Arc;

    fn message(topic: &str, expires: Option<u64>) -> Message {
        let mut meta = Meta::new(Arc::default(), Timestamp(0));
        meta.expires = expires.map(Timestamp);
        let address = Address::new("t".into(), topic.into());
        Message::from_fields(address, meta, &Fields::default(), Bytes::from_static(b"v"))
    }

    fn found(retained: &Retained, pattern: &str) -> Vec<String> {
        let list = retained.matching(&pattern.into(), Timestamp(100));
        list.iter().map(|m| m.address().key.to_string()).collect()
    }

    #[test]
    fn wildcards_expiry_and_clearing() {
        let mut retained = Retained::default();
        for (topic, expires) in
            [("a", None), ("a/b", None), ("a/c", Some(50)), ("b", Some(200)), ("$S", None)]
        {
            retained.set(topic.into(), Some(message(topic, expires)));
        }
        assert_eq!(found(&retained, "a/#"), ["a", "a/b"]);
        assert_eq!(found(&retained, "+"), ["a", "b"]);
        assert_eq!(found(&retained, "$S"), ["$S"]);
        assert!(retained.set("a".into(), None).is_some());
        assert!(retained.set("a".into(), None).is_none());
        assert_eq!(found(&retained, "#"), ["a/b", "b"]);
        for topic in ["a/b", "a/c", "b", "$S"] {
            retained.set(topic.into(), None);
        }
        assert_eq!(retained.size(), (0, 0));
    }
}
