//! Addresses as routes of the configuration write them, and which of them meet. What is malformed is not read here: the
//! transforms crate says what is wrong with it.

use crossdock_core::filter::{Word, hidden, matches, words};
use crossdock_core::{Address, Key, Name};

/// A place that a route watches or sends to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// None: the default exchange, so that the key is a queue's name.
    pub exchange: Option<Name>,
    /// The key or pattern; of a computed one what stands before the first part that is computed.
    pub key: Key,
    /// Parts of the key are computed from the message.
    pub is_computed: bool,
}

impl Place {
    /// The queue of that name.
    pub fn queue(name: &str) -> Self {
        Self { exchange: None, key: Key::from(name), is_computed: false }
    }

    /// The place of an address.
    pub fn of(address: &Address) -> Self {
        let exchange = (!address.is_queue()).then(|| address.exchange.clone());
        Self { exchange, key: address.key.clone(), is_computed: false }
    }

    /// Reads what a route watches; none when it is malformed.
    pub fn watched(text: &str, topic_exchange: &Name) -> Option<Self> {
        let at = |exchange: Name, key: &str| Place {
            exchange: Some(exchange),
            key: Key::from(key),
            is_computed: false,
        };
        match text.split_once(':')? {
            ("queue", name) if !name.is_empty() => Some(Self::queue(name)),
            ("topic", pattern) => Some(at(topic_exchange.clone(), pattern)),
            ("exchange", rest) => {
                let (name, pattern) = rest.split_once('/').unwrap_or((rest, "#"));
                (!name.is_empty()).then(|| at(name.into(), pattern))
            }
            _ => None,
        }
    }

    /// Reads where a route sends to; none when it is malformed.
    pub fn destination(text: &str, topic_exchange: &Name) -> Option<Self> {
        let (exchange, key) = match text.split_once(':')? {
            ("queue", name) if !name.is_empty() => (None, name),
            ("topic", key) => (Some(topic_exchange.clone()), key),
            ("exchange", rest) => match rest.split_once('/') {
                Some((name, key)) => (Some(Name::from(name)), key),
                // With the key of the message.
                None => (Some(Name::from(rest)), "{}"),
            },
            _ => return None,
        };
        let (key, is_computed) = constant(key);
        (exchange.as_deref() != Some("")).then(|| Self {
            exchange,
            key: Key::from(&*key),
            is_computed,
        })
    }

    /// A pattern that every key of it matches.
    pub fn pattern(&self) -> Key {
        if !self.is_computed {
            return self.key.clone();
        }
        let text = self.key.to_string();
        match text.rsplit_once('/') {
            Some((before, _)) => Key::from(&*format!("{before}/#")),
            None => Key::from("#"),
        }
    }

    /// Whether a message that is published here has a key that `pattern` matches, whatever it computes.
    pub fn is_matched_by(&self, pattern: &Key, is_topic: bool) -> bool {
        match self.is_computed {
            true => words(pattern).all(|word| word == Word::Many),
            false => matches(pattern, &self.key) && !(is_topic && hidden(pattern, &self.key)),
        }
    }
}

/// The text up to the first part in braces, with its double braces read, and whether there is such a part.
fn constant(text: &str) -> (String, bool) {
    let mut literal = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '{' | '}' if rest.peek() == Some(&c) => literal.extend(rest.next()),
            '{' | '}' => return (literal, true),
            c => literal.push(c),
        }
    }
    (literal, false)
}

/// Whether some key is matched by both patterns.
pub fn meet(a: &Key, b: &Key) -> bool {
    let (a, b): (Vec<Word<'_>>, Vec<Word<'_>>) = (words(a).collect(), words(b).collect());
    // For each rest of `b`, shortest first: whether it meets the rest of `a` that is looked at.
    let mut below = vec![false; b.len() + 1];
    for i in (0..=a.len()).rev() {
        let mut row = vec![false; b.len() + 1];
        for j in (0..=b.len()).rev() {
            let is = |row: &[bool], j: usize| row.get(j).copied().unwrap_or(false);
            let met = match (a.get(i), b.get(j)) {
                (None, None) => true,
                (Some(Word::Many), _) if is(&below, j) => true,
                (_, Some(Word::Many)) if is(&row, j + 1) => true,
                (Some(Word::Many), Some(_)) => is(&row, j + 1),
                (Some(_), Some(Word::Many)) => is(&below, j),
                (Some(Word::Is(x)), Some(Word::Is(y))) => x == y && is(&below, j + 1),
                (Some(_), Some(_)) => is(&below, j + 1),
                _ => false,
            };
            if let Some(cell) = row.get_mut(j) {
                *cell = met;
            }
        }
        below = row;
    }
    below.first().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet_when_a_key_matches_both() {
        let yes = [
            ("a/b", "a/b"),
            ("a/+", "+/b"),
            ("#", "a/b"),
            ("a/#", "a"),
            ("a/#", "#/b"),
            ("#/x/#", "a/#"),
            ("#", "#"),
            ("", "#"),
            ("+", ""),
            ("a/#/c", "a/+"),
            ("#/a/+", "+/+/b"),
        ];
        let no =
            [("a", "b"), ("a/+", "a"), ("a/#", "b/#"), ("+", "a/b"), ("#/a", "#/b"), ("", "a")];
        for (a, b) in yes {
            assert!(meet(&a.into(), &b.into()) && meet(&b.into(), &a.into()), "{a} {b}");
        }
        for (a, b) in no {
            assert!(!meet(&a.into(), &b.into()) && !meet(&b.into(), &a.into()), "{a} {b}");
        }
    }

    /// All lists of up to `most` of these words, joined.
    fn joined(words: &[&str], most: usize) -> Vec<Key> {
        let mut all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut last = all.clone();
        for _ in 1..most {
            let longer = |text: &String| words.iter().map(move |w| format!("{text}/{w}")).collect();
            last = last.iter().flat_map::<Vec<String>, _>(longer).collect();
            all.extend(last.clone());
        }
        all.iter().map(|text| Key::from(text.as_str())).collect()
    }

    #[test]
    fn patterns_meet_where_the_core_finds_a_key_for_both() {
        let patterns = joined(&["a", "b", "+", "#"], 3);
        let keys = joined(&["a", "b", "c"], 5);
        for a in &patterns {
            let of_a: Vec<&Key> = keys.iter().filter(|key| matches(a, key)).collect();
            for b in &patterns {
                let found = of_a.iter().any(|key| matches(b, key));
                assert_eq!(meet(a, b), found, "{a} {b}");
            }
        }
    }

    #[test]
    fn computed_parts_end_what_is_known() {
        let read = |text: &str| {
            let place = Place::destination(text, &"t".into()).expect("well-formed");
            (place.exchange, place.key.to_string(), place.is_computed)
        };
        assert_eq!(read("queue:a{{b}}"), (None, "a{b}".to_owned(), false));
        assert_eq!(read("topic:a/b{x}/c"), (Some("t".into()), "a/b".to_owned(), true));
        assert_eq!(read("exchange:x"), (Some("x".into()), String::new(), true));
        let computed = Place::destination("topic:a/b{x}/c", &"t".into()).expect("well-formed");
        assert_eq!(computed.pattern(), Key::from("a/#"));
        assert!(Place::destination("exchange:/k", &"t".into()).is_none());
        assert!(Place::watched("nowhere", &"t".into()).is_none());
    }
}
