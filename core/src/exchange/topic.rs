//! The topic matcher: a trie of pattern words, walked with a *set* of nodes, so that `#` costs a node in the
//! set and never a backtrack. Only nodes behind `#` can be reached in several ways.

use super::filter::{Word, hidden, words};
use super::seen::Seen;
use super::{Binding, Bindings, FieldsOf, Hit, Matcher};
use crate::message::Key;
use crate::message::cost::{ALLOCATION, MAP_ENTRY};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of a node and of its place in the node before it, without the word.
const NODE_BYTES: usize = size_of::<Node>() + size_of::<Box<[u8]>>() + MAP_ENTRY + 2 * ALLOCATION;

/// What patterns have in common so far.
#[derive(Default)]
struct Node {
    next: Next,
    one: Option<Box<Node>>,
    many: Option<Box<Node>>,
    /// This node was entered by `#`: it stays in the set whatever comes.
    is_many: bool,
    bindings: Bindings,
}

/// The nodes behind words. Most nodes have one at most.
enum Next {
    Few(Vec<(Box<[u8]>, Box<Node>)>),
    Many(Box<Index>),
}

#[derive(Default)]
struct Index(HashMap<Box<[u8]>, Box<Node>>);

/// Words that are cheaper to scan for one than to index.
const FEW: usize = 4;

impl Default for Next {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Next {
    fn len(&self) -> usize {
        match self {
            Self::Few(nodes) => nodes.len(),
            Self::Many(nodes) => nodes.0.len(),
        }
    }

    fn get(&self, word: &[u8]) -> Option<&Node> {
        match self {
            Self::Few(nodes) => nodes.iter().find(|(is, _)| **is == *word).map(|(_, node)| &**node),
            Self::Many(nodes) => nodes.0.get(word).map(|node| &**node),
        }
    }

    fn get_mut(&mut self, word: &[u8]) -> Option<&mut Node> {
        match self {
            Self::Few(nodes) => {
                nodes.iter_mut().find(|(is, _)| **is == *word).map(|(_, node)| &mut **node)
            }
            Self::Many(nodes) => nodes.0.get_mut(word).map(|node| &mut **node),
        }
    }

    /// Adds a node behind a word that has none.
    fn insert(&mut self, word: &[u8], node: Box<Node>) {
        match self {
            Self::Few(nodes) if nodes.len() < FEW => {
                nodes.reserve_exact(1);
                nodes.push((word.into(), node));
            }
            Self::Few(nodes) => {
                let mut many: HashMap<_, _> = nodes.drain(..).collect();
                many.insert(word.into(), node);
                *self = Self::Many(Box::new(Index(many)));
            }
            Self::Many(nodes) => _ = nodes.0.insert(word.into(), node),
        }
    }

    fn remove(&mut self, word: &[u8]) -> Option<Box<Node>> {
        match self {
            Self::Few(nodes) => {
                let at = nodes.iter().position(|(is, _)| **is == *word)?;
                let (_, gone) = nodes.swap_remove(at);
                nodes.shrink_to_fit();
                Some(gone)
            }
            Self::Many(index) => {
                let nodes = &mut index.0;
                let gone = nodes.remove(word);
                if nodes.len() <= FEW / 2 {
                    *self = Self::Few(std::mem::take(nodes).into_iter().collect());
                } else if nodes.len() < nodes.capacity() / 8 {
                    nodes.shrink_to(nodes.len() * 2);
                }
                gone
            }
        }
    }
}

impl Node {
    fn child(&self, word: Word<'_>) -> Option<&Node> {
        match word {
            Word::One => self.one.as_deref(),
            Word::Many => self.many.as_deref(),
            Word::Is(text) => self.next.get(text),
        }
    }

    fn child_mut(&mut self, word: Word<'_>) -> Option<&mut Node> {
        match word {
            Word::One => self.one.as_deref_mut(),
            Word::Many => self.many.as_deref_mut(),
            Word::Is(text) => self.next.get_mut(text),
        }
    }

    /// Makes the node behind a word that has none.
    fn make_child(&mut self, word: Word<'_>) {
        let mut node = Box::<Node>::default();
        match word {
            Word::One => self.one = Some(node),
            Word::Many => {
                node.is_many = true;
                self.many = Some(node);
            }
            Word::Is(text) => self.next.insert(text, node),
        }
    }

    fn cut(&mut self, word: Word<'_>) -> Option<Box<Node>> {
        match word {
            Word::One => self.one.take(),
            Word::Many => self.many.take(),
            Word::Is(text) => self.next.remove(text),
        }
    }

    fn children(&self) -> usize {
        self.next.len() + usize::from(self.one.is_some()) + usize::from(self.many.is_some())
    }

    /// Bytes of the node behind a word.
    fn bytes(word: Word<'_>) -> usize {
        match word {
            Word::Is(text) => NODE_BYTES + text.len(),
            _ => NODE_BYTES,
        }
    }
}

impl Drop for Node {
    /// Not by recursion: a pattern may have many words.
    fn drop(&mut self) {
        fn take_children(node: &mut Node, rest: &mut Vec<Node>) {
            rest.extend(node.one.take().into_iter().chain(node.many.take()).map(|node| *node));
            match std::mem::take(&mut node.next) {
                Next::Few(nodes) => rest.extend(nodes.into_iter().map(|(_, node)| *node)),
                Next::Many(nodes) => rest.extend(nodes.0.into_values().map(|node| *node)),
            }
        }
        let mut rest = Vec::new();
        take_children(self, &mut rest);
        while let Some(mut node) = rest.pop() {
            take_children(&mut node, &mut rest);
        }
    }
}

/// Patterns of one exchange.
pub struct Topic {
    root: Node,
    count: usize,
    /// Bytes of the nodes.
    bytes: usize,
    /// Wildcards in front do not match `$…`: the rule of the shared topic tree.
    hide_dollar: bool,
}

/// Nodes that the words so far lead to.
#[derive(Default)]
struct Reached<'t> {
    nodes: SmallVec<[&'t Node; 8]>,
    /// Those behind `#`.
    many: Seen,
}

impl<'t> Reached<'t> {
    /// Adds a node and what it reaches without consuming a word.
    fn enter(&mut self, node: &'t Node) {
        let mut entered = Some(node);
        while let Some(node) = entered {
            if node.is_many && !self.many.insert(node) {
                return;
            }
            self.nodes.push(node);
            entered = node.many.as_deref();
        }
    }

    fn clear(&mut self) {
        self.nodes.clear();
        self.many.clear();
    }
}

impl Topic {
    /// An empty matcher; `hide_dollar` for the vhost's shared topic tree.
    pub fn new(hide_dollar: bool) -> Self {
        Self { root: Node::default(), count: 0, bytes: 0, hide_dollar }
    }

    /// In an exchange that clients declare an empty key has no words, as with RabbitMQ: `#` matches it, one wildcard
    /// does not. In the shared tree it is one empty word, as in MQTT.
    fn has_words(&self, key: &Key) -> bool {
        self.hide_dollar || !key.bytes().is_empty()
    }

    /// The words of a pattern; an empty one is as an empty key.
    fn words_of<'k>(&self, pattern: &'k Key) -> impl Iterator<Item = Word<'k>> + use<'k> {
        self.has_words(pattern).then(|| words(pattern)).into_iter().flatten()
    }

    /// Takes away what only that pattern needed, which is not bound any more.
    fn prune(&mut self, pattern: &Key) {
        // How many words lead to the last node that others need.
        let mut kept = 0;
        let mut at = &self.root;
        for (depth, word) in self.words_of(pattern).enumerate() {
            if at.children() > 1 || !at.bindings.is_empty() {
                kept = depth;
            }
            let Some(child) = at.child(word) else { return };
            at = child;
        }
        if at.children() > 0 || !at.bindings.is_empty() {
            return;
        }
        let (mut front, mut gone) =
            (self.words_of(pattern).take(kept), self.words_of(pattern).skip(kept));
        let last = front.try_fold(&mut self.root, |at, word| at.child_mut(word));
        if let (Some(last), Some(word)) = (last, gone.next()) {
            last.cut(word);
            self.bytes -= Node::bytes(word) + gone.map(Node::bytes).sum::<usize>();
        }
    }
}

impl Matcher for Topic {
    fn bind(&mut self, binding: Arc<Binding>) {
        let path = self.words_of(&binding.key);
        let mut at = &mut self.root;
        for word in path {
            if at.child(word).is_none() {
                at.make_child(word);
                self.bytes += Node::bytes(word);
            }
            let Some(child) = at.child_mut(word) else { return };
            at = child;
        }
        self.count += usize::from(at.bindings.put(binding.clone()).1.is_none());
    }

    fn unbind(&mut self, binding: &Binding) -> bool {
        let mut path = self.words_of(&binding.key);
        let node = path.try_fold(&mut self.root, |at, word| at.child_mut(word));
        let Some(node) = node else { return false };
        let found = node.bindings.remove(binding).is_some();
        self.count -= usize::from(found);
        if found && node.bindings.is_empty() && node.children() == 0 {
            self.prune(&binding.key);
        }
        found
    }

    fn route(&self, key: &Key, _fields: FieldsOf<'_>, out: &mut Vec<Hit>) {
        let (mut one, mut other) = (Reached::default(), Reached::default());
        let (mut reached, mut next) = (&mut one, &mut other);
        reached.enter(&self.root);
        let key_words = self.has_words(key).then(|| key.words()).into_iter().flatten();
        for word in key_words {
            next.clear();
            for node in &reached.nodes {
                if node.is_many {
                    next.enter(node);
                }
                if let Some(one) = &node.one {
                    next.enter(one);
                }
                if let Some(is) = node.next.get(word) {
                    next.enter(is);
                }
            }
            std::mem::swap(&mut reached, &mut next);
        }
        for binding in reached.nodes.iter().flat_map(|node| node.bindings.as_slice()) {
            if !self.hide_dollar || !hidden(&binding.key, key) {
                out.push(Hit::of(binding));
            }
        }
    }

    fn len(&self) -> usize {
        self.count
    }

    fn bindings(&self) -> Vec<Arc<Binding>> {
        let mut all = Vec::with_capacity(self.count);
        let mut rest = vec![&self.root];
        while let Some(node) = rest.pop() {
            all.extend(node.bindings.as_slice().iter().cloned());
            rest.extend(node.one.as_deref().into_iter().chain(node.many.as_deref()));
            match &node.next {
                Next::Few(nodes) => rest.extend(nodes.iter().map(|(_, node)| &**node)),
                Next::Many(nodes) => rest.extend(nodes.0.values().map(|node| &**node)),
            }
        }
        all
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::filter::matches;
    use super::super::{LogId, Target};
    use super::*;
    use crate::message::Fields;

    fn bound(patterns: &[&str]) -> Topic {
        let mut topic = Topic::new(true);
        for (i, pattern) in patterns.iter().enumerate() {
            topic.bind(Arc::new(Binding::new(
                "t",
                Key::from(*pattern),
                Target::Log(LogId(i as u64)),
            )));
        }
        topic
    }

    fn hits(topic: &Topic, key: &str) -> Vec<u64> {
        let mut out = Vec::new();
        let none = Fields::default();
        topic.route(&key.into(), &|| &none, &mut out);
        let id = |hit: &Hit| match hit.target {
            Target::Log(LogId(n)) => n,
            _ => u64::MAX,
        };
        let mut ids: Vec<u64> = out.iter().map(id).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn the_trie_agrees_with_the_plain_matcher() {
        let alphabet = ["a", "b", "+", "#", ""];
        let mut patterns = Vec::new();
        for x in alphabet {
            patterns.push(x.to_string());
            for y in alphabet {
                patterns.push(format!("{x}/{y}"));
                alphabet.iter().for_each(|z| patterns.push(format!("{x}/{y}/{z}")));
            }
        }
        let topic = bound(&patterns.iter().map(String::as_str).collect::<Vec<_>>());
        for key in ["a", "b", "", "a/b", "a/", "/a", "a/b/a", "b/b/b/b", "a/a/b/a", "$x", "$x/a"] {
            let want: Vec<u64> = (0..patterns.len())
                .filter(|i| {
                    let pattern = Key::from(patterns[*i].as_str());
                    matches(&pattern, &key.into()) && !hidden(&pattern, &key.into())
                })
                .map(|i| i as u64)
                .collect();
            assert_eq!(hits(&topic, key), want, "{key}");
        }
    }

    #[test]
    fn an_empty_key_has_no_words_in_an_exchange_that_clients_declare() {
        let patterns = ["", "+", "#", "#/+", "+/#", "#/#", "/", "a/#"];
        let mut topic = Topic::new(false);
        let binding =
            |i: usize| Binding::new("t", patterns[i].into(), Target::Log(LogId(i as u64)));
        (0..patterns.len()).for_each(|i| topic.bind(Arc::new(binding(i))));
        assert_eq!(hits(&topic, ""), [0, 2, 5]);
        assert_eq!(hits(&topic, "/"), [2, 3, 4, 5, 6]);
        assert!((0..patterns.len()).all(|i| topic.unbind(&binding(i))));
        assert_eq!((topic.len(), topic.root.children(), topic.bytes()), (0, 0, 0));
        assert!(hits(&topic, "").is_empty());
    }

    #[test]
    fn unbinding_leaves_nothing_behind() {
        let mut topic = bound(&["a/+/#", "a/b", "#"]);
        for (i, pattern) in ["a/+/#", "a/b", "#"].iter().enumerate() {
            let gone = Binding::new("t", Key::from(*pattern), Target::Log(LogId(i as u64)));
            assert!(topic.unbind(&gone));
            assert!(!topic.unbind(&gone));
        }
        assert_eq!(topic.len(), 0);
        assert_eq!((topic.root.children(), topic.bytes()), (0, 0));
        assert!(hits(&topic, "a/b").is_empty());
    }

    #[test]
    fn forty_many_wildcards_and_a_hundred_words() {
        let topic = bound(&[&vec!["#"; 40].join("/"), &vec!["#"; 40].join("/x/")]);
        let started = std::time::Instant::now();
        assert_eq!(hits(&topic, &vec!["w"; 100].join("/")), [0]);
        assert!(started.elapsed().as_millis() < 100);
    }

    #[test]
    fn what_other_patterns_need_stays() {
        let patterns = ["a", "a/b/c", "a/b/d", "a/b/d/e/f", "+/b/#", "+/b/#/x", "#/b", "a/#/#"];
        for gone in 0..patterns.len() {
            let mut topic = bound(&patterns);
            let before = topic.bytes();
            let binding = Binding::new("t", patterns[gone].into(), Target::Log(LogId(gone as u64)));
            assert!(topic.unbind(&binding));
            assert_eq!(topic.bindings().len(), patterns.len() - 1);
            for key in ["a", "a/b/c", "a/b/d", "a/b/d/e/f", "z/b/y/x", "z/z/b", "a/z/z"] {
                let want: Vec<u64> = (0..patterns.len())
                    .filter(|i| *i != gone && matches(&patterns[*i].into(), &key.into()))
                    .map(|i| i as u64)
                    .collect();
                assert_eq!(hits(&topic, key), want, "{key} without {}", patterns[gone]);
            }
            topic.bind(Arc::new(binding));
            assert_eq!(topic.bytes(), before);
        }
    }

    #[test]
    fn a_pattern_of_very_many_words_comes_and_goes() {
        let long = vec!["w"; 200_000].join("/");
        let mut topic = bound(&[&long]);
        assert_eq!(hits(&topic, &long), [0]);
        assert!(topic.unbind(&Binding::new("t", (&*long).into(), Target::Log(LogId(0)))));
        assert_eq!(topic.bytes(), 0);
        drop(bound(&[&long]));
    }
}
