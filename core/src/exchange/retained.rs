//! Retained values: the last message of each topic that asked to be kept. Each has a number, given in the order in
//! which they are set, by which a subscription tells what was there before it.

use super::filter::{Word, hidden, matches, words};
use crate::message::cost::{Cost, MAP_ENTRY};
use crate::message::{Account, Budget, Charge, Key, Message, SEPARATOR, Timestamp};
use bytes::Bytes;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// Topics that begin so hold what content routes remember: no client publishes there, and no binding gets them.
pub const ROUTE_STATE: &str = "$route-state/";

/// True for such a topic.
pub fn is_route_state(topic: &Key) -> bool {
    topic.bytes().starts_with(ROUTE_STATE.as_bytes())
}

/// Topics that begin so hold the broker's figures: nobody publishes there but the broker, and they are not stored.
pub const FIGURES: &str = "$SYS/";

/// True for such a topic.
pub fn is_figure(topic: &Key) -> bool {
    topic.bytes().starts_with(FIGURES.as_bytes())
}

/// A value and its number.
#[derive(Debug, Clone)]
pub struct RetainedValue {
    pub message: Message,
    pub number: u64,
}

/// How much more there would be with a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Growth {
    pub values: usize,
    /// Bytes of messages, as limits count them.
    pub bytes: usize,
    /// Bytes of memory.
    pub memory: usize,
}

/// One value for each topic, in topic order. They are charged as kept: nothing but a publish or their expiry takes
/// them away.
pub struct Retained {
    values: BTreeMap<Key, RetainedValue>,
    /// Those that expire, by when.
    expiring: BTreeSet<(Timestamp, Key)>,
    bytes: usize,
    /// Values that are figures of the broker's, and their bytes: no limit of clients' values counts them.
    figures: (usize, usize),
    last_number: u64,
    /// What the entries take; the messages have charges of their own.
    charge: Charge,
}

/// What an entry takes besides its message, which has the key's bytes. Twice when it expires: it stands in an index.
const ENTRY_BYTES: usize = size_of::<Key>() + size_of::<RetainedValue>() + MAP_ENTRY;

fn entry_bytes(message: &Message) -> usize {
    if message.meta().expires.is_some() { 2 * ENTRY_BYTES } else { ENTRY_BYTES }
}

impl Retained {
    /// None; those that come are charged to that budget.
    pub fn new(budget: &Arc<Budget>) -> Self {
        Self {
            values: BTreeMap::new(),
            expiring: BTreeSet::new(),
            bytes: 0,
            figures: (0, 0),
            last_number: 0,
            charge: budget.charge(Account::Kept, 0),
        }
    }

    /// All of these at once, whose messages are charged already. They may come in any order.
    pub fn restore(
        budget: &Arc<Budget>,
        values: Vec<(Key, RetainedValue)>,
        last_number: u64,
    ) -> Self {
        let (mut bytes, mut memory, mut expiring) = (0, 0, Vec::new());
        for (key, RetainedValue { message, .. }) in &values {
            bytes += message.size();
            memory += entry_bytes(message);
            message.charge_to(Account::Kept);
            expiring.extend(message.meta().expires.map(|at| (at, key.clone())));
        }
        Self {
            values: sorted(values).into_iter().collect(),
            expiring: expiring.into_iter().collect(),
            bytes,
            // They are not stored.
            figures: (0, 0),
            last_number,
            charge: budget.charge(Account::Kept, memory),
        }
    }

    /// Keeps the message, which is charged already, as its topic's value; `None` clears. The value before.
    pub fn set(&mut self, key: Key, value: Option<Message>) -> Option<RetainedValue> {
        self.last_number += 1;
        let number = self.last_number;
        self.put(key, value.map(|message| RetainedValue { message, number }))
    }

    /// Sets a value back to one that [`set`](Self::set) returned, with its number of then.
    pub fn put(&mut self, key: Key, value: Option<RetainedValue>) -> Option<RetainedValue> {
        let Some(value) = value else { return self.take(&key) };
        let message = value.message.clone();
        let old = match self.values.entry(key.clone()) {
            Entry::Vacant(place) => {
                place.insert(value);
                None
            }
            Entry::Occupied(place) => {
                // The key goes with the old value: it shares memory with that message.
                let old = place.remove();
                self.values.insert(key.clone(), value);
                Some(old)
            }
        };
        if let Some(old) = &old {
            self.uncount(&key, &old.message);
        }
        self.bytes += message.size();
        if is_figure(&key) {
            self.figures = (self.figures.0 + 1, self.figures.1 + message.size());
        }
        self.charge.grow(entry_bytes(&message));
        message.charge_to(Account::Kept);
        if let Some(at) = message.meta().expires {
            self.expiring.insert((at, key));
        }
        old
    }

    fn take(&mut self, key: &Key) -> Option<RetainedValue> {
        let old = self.values.remove(key)?;
        self.uncount(key, &old.message);
        Some(old)
    }

    fn uncount(&mut self, key: &Key, old: &Message) {
        self.bytes -= old.size();
        if is_figure(key) {
            let (values, bytes) = self.figures;
            self.figures = (values.saturating_sub(1), bytes.saturating_sub(old.size()));
        }
        self.charge.shrink(entry_bytes(old));
        if let Some(at) = old.meta().expires {
            self.expiring.remove(&(at, key.clone()));
        }
        // It may still wait in queues, and can leave memory there.
        old.charge_to(Account::Waiting);
    }

    /// How much more there would be with this message as its topic's value. None: not more, or it clears.
    pub fn growth(&self, message: &Message) -> Option<Growth> {
        if message.body().is_empty() {
            return None;
        }
        let after = (message.size(), message.cost() + entry_bytes(message));
        let Some(old) = self.get(&message.address().key) else {
            return Some(Growth { values: 1, bytes: after.0, memory: after.1 });
        };
        let bytes = after.0.saturating_sub(old.size());
        let memory = after.1.saturating_sub(old.cost() + entry_bytes(old));
        (bytes > 0).then_some(Growth { values: 0, bytes, memory })
    }

    /// A topic's value.
    pub fn get(&self, key: &Key) -> Option<&Message> {
        self.values.get(key).map(|value| &value.message)
    }

    /// A topic's value is still the one of that number.
    pub fn is_still(&self, key: &Key, number: u64) -> bool {
        self.values.get(key).is_some_and(|value| value.number == number)
    }

    /// The number of the newest value.
    pub fn newest(&self) -> u64 {
        self.last_number
    }

    /// The next slice of a search: looks at `steps` values at most, and returns those that match, in topic order.
    pub fn search(&self, search: &mut Search, steps: usize, now: Timestamp) -> Vec<RetainedValue> {
        let mut found = Vec::new();
        let mut steps_left = steps;
        while let Some(from) = search.from.take() {
            let values = self.values.range((from, Bound::Unbounded));
            for (key, value) in
                values.take_while(|(key, _)| key.bytes().starts_with(&search.prefix))
            {
                if steps_left == 0 {
                    search.from = Some(Bound::Included(key.clone()));
                    return found;
                }
                steps_left -= 1;
                if matches(&search.pattern, key)
                    && !hidden(&search.pattern, key)
                    && !is_route_state(key)
                {
                    let is_living = value.message.meta().expires.is_none_or(|at| at > now);
                    if is_living && value.number <= search.newest {
                        found.push(value.clone());
                    }
                    continue;
                }
                match skip(&search.pattern, key) {
                    Skip::One => {}
                    Skip::To(next) => {
                        search.from = Some(Bound::Included(next));
                        break;
                    }
                    Skip::All => return found,
                }
            }
        }
        found
    }

    /// When the first value expires.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.expiring.first().map(|(at, _)| *at)
    }

    /// Topics whose values have expired, `count` at most.
    pub fn expired(&self, now: Timestamp, count: usize) -> Vec<Key> {
        let due = self.expiring.iter().take_while(|(at, _)| *at <= now);
        due.take(count).map(|(_, key)| key.clone()).collect()
    }

    /// The values behind that topic, in topic order.
    pub fn after(&self, key: Option<Key>) -> impl Iterator<Item = (&Key, &Message)> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.values.range((from, Bound::Unbounded)).map(|(key, value)| (key, &value.message))
    }

    /// Values of clients and their bytes.
    pub fn size(&self) -> (usize, usize) {
        let (values, bytes) = self.figures;
        (self.values.len().saturating_sub(values), self.bytes.saturating_sub(bytes))
    }
}

/// In topic order. Nearly all comparisons are of sixteen bytes that stand beside each other in memory: of those behind
/// what all topics begin with. To compare the topics themselves, which lie anywhere, takes several times as long.
fn sorted(values: Vec<(Key, RetainedValue)>) -> Vec<(Key, RetainedValue)> {
    let first = values.first().map(|(key, _)| key.clone()).unwrap_or_default();
    let common =
        |key: &Key| key.bytes().iter().zip(first.bytes()).take_while(|(a, b)| a == b).count();
    let shared = values.iter().map(|(key, _)| common(key)).min().unwrap_or_default();
    let mut keyed: Vec<(u128, (Key, RetainedValue))> =
        values.into_iter().map(|value| (number_at(value.0.bytes(), shared), value)).collect();
    keyed.sort_unstable_by(|(a, (a_key, _)), (b, (b_key, _))| {
        a.cmp(b).then_with(|| a_key.cmp(b_key))
    });
    keyed.into_iter().map(|(_, value)| value).collect()
}

/// Sixteen bytes from there on, as a number that is ordered as they are; what is missing counts as zero.
fn number_at(bytes: &[u8], at: usize) -> u128 {
    let mut some = [0; 16];
    some.iter_mut().zip(bytes.iter().skip(at)).for_each(|(to, from)| *to = *from);
    u128::from_be_bytes(some)
}

/// A search for the values that a pattern matches, slice by slice: where it goes on, and how new values may be.
#[derive(Debug)]
pub struct Search {
    pattern: Key,
    /// All keys that match begin with it.
    prefix: Bytes,
    newest: u64,
    /// None: it has seen all.
    from: Option<Bound<Key>>,
}

impl Search {
    /// A search among values that have at most that number.
    pub fn new(pattern: &Key, newest: u64) -> Self {
        let prefix = literal_prefix(pattern);
        let from = Some(Bound::Included(Key::new(prefix.clone())));
        Self { pattern: pattern.clone(), prefix, newest, from }
    }

    /// It goes on with that key, which it has seen.
    pub fn go_back_to(&mut self, key: Key) {
        self.from = Some(Bound::Included(key));
    }

    /// It has seen all values.
    pub fn is_over(&self) -> bool {
        self.from.is_none()
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

/// Where a search goes on behind a key that does not match.
enum Skip {
    /// At the very next key.
    One,
    To(Key),
    /// Nowhere: no key behind it matches.
    All,
}

/// The first word that cannot match says how far: no key with the same words before it, and that word, matches. So a
/// search looks at as many keys as a walk through a tree of words would, not at all of them.
fn skip(pattern: &Key, key: &Key) -> Skip {
    if hidden(pattern, key) {
        return Skip::To(Key::new(&[b'$' + 1][..]));
    }
    let bytes = key.bytes();
    let mut front = 0;
    let mut words_of_key = key.words();
    for word in words(pattern) {
        let Some(own) = words_of_key.next() else { return Skip::One };
        match word {
            // Behind it any number of words may follow.
            Word::Many => return Skip::One,
            Word::Is(wanted) if own != wanted => return skip_to(bytes, front, wanted),
            _ => front += own.len() + 1,
        }
    }
    // The key has more words than the pattern: so have all that begin with these words.
    behind(bytes.get(..front).unwrap_or_default())
}

/// The word behind the first `front` bytes of the key is not the one that is wanted there.
fn skip_to(key: &[u8], front: usize, wanted: &[u8]) -> Skip {
    let front = key.get(..front).unwrap_or_default();
    let with = [front, wanted].concat();
    if *key < *with {
        return Skip::To(Key::new(with));
    }
    let deeper = [&with[..], &[SEPARATOR]].concat();
    if *key < *deeper {
        return Skip::To(Key::new(deeper));
    }
    behind(front)
}

/// The first key that does not begin with these words, which end with a separator.
fn behind(words: &[u8]) -> Skip {
    match words.split_last() {
        Some((_, words)) => Skip::To(Key::new([words, &[SEPARATOR + 1]].concat())),
        None => Skip::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Address, Fields, Meta};

    fn message(topic: &str, expires: Option<u64>) -> Message {
        let mut meta = Meta::new(Arc::default(), Timestamp(0));
        meta.expires = expires.map(Timestamp);
        let address = Address::new("t".into(), topic.into());
        Message::from_fields(address, meta, &Fields::default(), Bytes::from_static(b"v"))
    }

    fn empty() -> (Retained, Arc<Budget>) {
        let budget = Arc::new(Budget::new(1 << 20, 1 << 20));
        (Retained::new(&budget), budget)
    }

    /// What a search in slices of that many steps finds, and how many slices it took.
    fn search(retained: &Retained, pattern: &str, steps: usize) -> (Vec<String>, usize) {
        let mut search = Search::new(&pattern.into(), retained.newest());
        let (mut found, mut slices) = (Vec::new(), 0);
        while !search.is_over() {
            found.extend(retained.search(&mut search, steps, Timestamp(100)));
            slices += 1;
        }
        (found.iter().map(|value| value.message.address().key.to_string()).collect(), slices)
    }

    fn found(retained: &Retained, pattern: &str) -> Vec<String> {
        search(retained, pattern, usize::MAX).0
    }

    #[test]
    fn the_brokers_figures_do_not_count_as_values_of_clients() {
        let (mut retained, _budget) = empty();
        let size = message("a", None).size();
        for topic in ["$SYS/a", "a", "$SYS/b", "$SYS/a"] {
            retained.set(topic.into(), Some(message(topic, None)));
        }
        assert_eq!(retained.size(), (1, size));
        retained.set("$SYS/a".into(), None);
        assert_eq!(retained.size(), (1, size));
        retained.set("a".into(), None);
        assert_eq!(retained.size(), (0, 0));
    }

    #[test]
    fn no_binding_gets_what_routes_remember() {
        let (mut retained, _budget) = empty();
        for topic in ["$route-state/r/1/key", "$route-stated", "$other/a"] {
            retained.set(topic.into(), Some(message(topic, None)));
        }
        for pattern in ["$route-state/#", "$route-state/r/1/key", "$route-state/+/1/key"] {
            assert_eq!(found(&retained, pattern), [""; 0], "{pattern}");
        }
        assert_eq!(found(&retained, "$other/#"), ["$other/a"]);
        assert_eq!(found(&retained, "$route-stated"), ["$route-stated"]);
        assert_eq!(retained.size().0, 3);
    }

    #[test]
    fn what_is_restored_is_as_if_it_had_been_set() {
        let words =
            ["", "a", "a\0", "a/b", "plant/1", "plant/1/value/1", "plant/1/value/10", "plant/2"];
        let long =
            ["x", "y", "", "z"].map(|end| format!("plant/1/value/a-topic-of-more-bytes/{end}"));
        let topics: Vec<&str> = words.iter().copied().chain(long.iter().map(|t| &**t)).collect();
        let shared = topics.iter().filter(|topic| topic.starts_with("plant/1")).copied().collect();
        for topics in [topics.clone(), topics[..1].to_vec(), Vec::new(), shared] {
            let ((mut set, budget), other) = (empty(), empty().1);
            let mut values = Vec::new();
            for (number, topic) in (1..).zip(&topics) {
                let expires = (number % 3 == 0).then_some(number);
                let (one, same) = (message(topic, expires), message(topic, expires));
                one.charge(&budget);
                set.set((*topic).into(), Some(one));
                same.charge(&other);
                values.insert(0, ((*topic).into(), RetainedValue { message: same, number }));
            }
            let restored = Retained::restore(&other, values, topics.len() as u64);
            let list = |retained: &Retained| {
                retained.values.iter().map(|(k, v)| (k.clone(), v.number)).collect::<Vec<_>>()
            };
            assert_eq!(list(&restored), list(&set));
            let all = |retained: &Retained| {
                let due = retained.expired(Timestamp(100), 100);
                (retained.size(), retained.newest(), retained.next_expiry(), due)
            };
            assert_eq!(all(&restored), all(&set));
            let used =
                |budget: &Budget| (budget.used(Account::Kept), budget.used(Account::Waiting));
            assert_eq!(used(&other), used(&budget));
        }
    }

    #[test]
    fn wildcards_expiry_and_clearing() {
        let (mut retained, _) = empty();
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

    #[test]
    fn a_search_finds_what_matches_whatever_it_skips() {
        let (mut retained, _) = empty();
        let words = ["", "a", "a-b", "ab", "b", "c", "$S"];
        let mut topics: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        for depth in 0..3 {
            let longer = topics.iter().filter(|t| t.matches('/').count() == depth);
            let longer: Vec<String> =
                longer.flat_map(|t| words.iter().map(move |word| format!("{t}/{word}"))).collect();
            topics.extend(longer);
        }
        topics.sort_unstable();
        for topic in &topics {
            retained.set((&**topic).into(), Some(message(topic, None)));
        }
        for pattern in [
            "a",
            "+",
            "#",
            "a/#",
            "a/+",
            "+/a",
            "+/b/+",
            "a/+/c",
            "+/+/ab/#",
            "#/a",
            "a/#/b",
            "+/x",
            "x/#",
            "",
            "/a",
            "//",
            "+//c",
            "a/+/+/a-b",
            "$S/#",
            "b/nothing/+",
        ] {
            let pattern_key = Key::from(pattern);
            let is_match = |t: &&String| {
                let key = Key::from(&***t);
                matches(&pattern_key, &key) && !hidden(&pattern_key, &key)
            };
            let all: Vec<&String> = topics.iter().filter(is_match).collect();
            for steps in [1, 7, usize::MAX] {
                assert_eq!(
                    search(&retained, pattern, steps).0.iter().collect::<Vec<_>>(),
                    all,
                    "{pattern}"
                );
            }
        }
    }

    #[test]
    fn what_cannot_match_is_not_looked_at() {
        let (mut retained, _) = empty();
        for number in 0..10_000 {
            let topic = format!("sensors/{number}/temperature");
            retained.set((&*topic).into(), Some(message(&topic, None)));
        }
        for pattern in ["nothing/#", "+/nothing", "+/nothing/#", "sensors/7/+/x", "sensors", "+"] {
            assert_eq!(search(&retained, pattern, 10), (Vec::new(), 1), "{pattern}");
        }
        assert_eq!(search(&retained, "+/7/#", 10), (vec!["sensors/7/temperature".to_owned()], 1));
    }

    #[test]
    fn a_search_finds_only_what_is_old_enough() {
        let (mut retained, _) = empty();
        retained.set("a".into(), Some(message("a", None)));
        retained.set("b".into(), Some(message("b", None)));
        let mut search = Search::new(&"#".into(), retained.newest());
        let old = retained.set("a".into(), Some(message("a", None)));
        let keys = |retained: &Retained, search: &mut Search| {
            let list = retained.search(search, 10, Timestamp(0));
            list.iter().map(|v| v.message.address().key.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(keys(&retained, &mut search), ["b"]);
        // What was set back is as old as it was.
        retained.put("a".into(), old);
        assert_eq!(keys(&retained, &mut Search::new(&"#".into(), 2)), ["a", "b"]);
    }

    #[test]
    fn values_are_charged_as_kept_and_found_when_they_expire() {
        let (mut retained, budget) = empty();
        for (topic, expires) in [("a", Some(10)), ("b", Some(20)), ("c", Some(10)), ("d", None)] {
            let message = message(topic, expires);
            message.charge(&budget);
            retained.set(topic.into(), Some(message));
        }
        assert_eq!(budget.used(Account::Waiting), 0);
        let kept = budget.used(Account::Kept);
        let bigger = Message::from_fields(
            Address::new("t".into(), "d".into()),
            Meta::new(Arc::default(), Timestamp(0)),
            &Fields::default(),
            Bytes::from_static(b"longer"),
        );
        let growth = retained.growth(&bigger);
        assert_eq!(growth, Some(Growth { values: 0, bytes: 5, memory: 5 }));
        assert_eq!(retained.growth(&message("d", None)), None);
        assert_eq!(retained.growth(&message("e", None)).map(|growth| growth.values), Some(1));
        assert_eq!(retained.next_expiry(), Some(Timestamp(10)));
        assert_eq!(retained.expired(Timestamp(19), 1), ["a".into()]);
        assert_eq!(retained.expired(Timestamp(19), 9), ["a".into(), "c".into()]);
        // It still waits in a queue.
        let old = retained.set("a".into(), None).expect("there");
        assert!(budget.used(Account::Waiting) > 0 && budget.used(Account::Kept) < kept);
        drop(old);
        for topic in ["b", "c", "d"] {
            retained.set(topic.into(), None);
        }
        assert_eq!((budget.used(Account::Waiting), budget.used(Account::Kept)), (0, 0));
        assert_eq!((retained.next_expiry(), retained.size()), (None, (0, 0)));
    }
}
