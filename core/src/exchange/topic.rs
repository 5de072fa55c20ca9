//! The topic matcher: a trie of pattern words, walked with a *set* of nodes, so that `#` costs a node in the
//! set and never a backtrack.

use super::filter::{Word, hidden, words};
use super::{Binding, FieldsOf, Hit, Matcher, lists};
use crate::message::Key;
use std::collections::HashMap;
use std::sync::Arc;

const ROOT: usize = 0;

#[derive(Default)]
struct Node {
    next: HashMap<Box<[u8]>, usize>,
    one: Option<usize>,
    many: Option<usize>,
    /// This node was entered by `#`: it stays in the set whatever comes.
    is_many: bool,
    bindings: Vec<Arc<Binding>>,
}

/// Patterns of one exchange.
pub struct Topic {
    nodes: Vec<Node>,
    free: Vec<usize>,
    count: usize,
    /// Wildcards in front do not match `$…`: the rule of the shared topic tree.
    hide_dollar: bool,
}

impl Topic {
    /// An empty matcher; `hide_dollar` for the vhost's shared topic tree.
    pub fn new(hide_dollar: bool) -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new(), count: 0, hide_dollar }
    }

    fn child(&self, at: usize, word: Word<'_>) -> Option<usize> {
        let node = &self.nodes[at];
        match word {
            Word::One => node.one,
            Word::Many => node.many,
            Word::Is(text) => node.next.get(text).copied(),
        }
    }

    fn child_or_new(&mut self, at: usize, word: Word<'_>) -> usize {
        if let Some(found) = self.child(at, word) {
            return found;
        }
        let new = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            self.nodes.len() - 1
        });
        self.nodes[new].is_many = word == Word::Many;
        match word {
            Word::One => self.nodes[at].one = Some(new),
            Word::Many => self.nodes[at].many = Some(new),
            Word::Is(text) => {
                self.nodes[at].next.insert(text.into(), new);
            }
        }
        new
    }

    /// The nodes from the root to the pattern's, if it is bound.
    fn path(&self, pattern: &Key) -> Option<Vec<usize>> {
        let mut path = vec![ROOT];
        for word in words(pattern) {
            path.push(self.child(*path.last()?, word)?);
        }
        Some(path)
    }

    fn prune(&mut self, pattern: &Key, path: &[usize]) {
        let words: Vec<Word<'_>> = words(pattern).collect();
        for (i, word) in words.iter().enumerate().rev() {
            let node = &self.nodes[path[i + 1]];
            let used = !node.bindings.is_empty()
                || !node.next.is_empty()
                || node.one.is_some()
                || node.many.is_some();
            if used {
                return;
            }
            let parent = &mut self.nodes[path[i]];
            match word {
                Word::One => parent.one = None,
                Word::Many => parent.many = None,
                Word::Is(text) => {
                    parent.next.remove(*text);
                }
            }
            self.nodes[path[i + 1]] = Node::default();
            self.free.push(path[i + 1]);
        }
    }

    /// Adds a node and what it reaches without consuming a word.
    fn enter(&self, set: &mut Vec<usize>, at: usize) {
        let mut at = Some(at);
        while let Some(node) = at {
            if set.contains(&node) {
                return;
            }
            set.push(node);
            at = self.nodes[node].many;
        }
    }
}

impl Matcher for Topic {
    fn bind(&mut self, binding: Arc<Binding>) {
        let pattern = binding.key.clone();
        let node = words(&pattern).fold(ROOT, |at, word| self.child_or_new(at, word));
        self.nodes[node].bindings.push(binding);
        self.count += 1;
    }

    fn unbind(&mut self, binding: &Binding) -> bool {
        let Some(path) = self.path(&binding.key) else { return false };
        let Some(last) = path.last() else { return false };
        let found = lists::remove(&mut self.nodes[*last].bindings, binding);
        if found {
            self.count -= 1;
            self.prune(&binding.key, &path);
        }
        found
    }

    fn route(&self, key: &Key, _fields: FieldsOf<'_>, out: &mut Vec<Hit>) {
        let mut set = Vec::with_capacity(8);
        let mut next = Vec::with_capacity(8);
        self.enter(&mut set, ROOT);
        for word in key.words() {
            next.clear();
            for at in &set {
                let node = &self.nodes[*at];
                if node.is_many {
                    self.enter(&mut next, *at);
                }
                if let Some(one) = node.one {
                    self.enter(&mut next, one);
                }
                if let Some(is) = node.next.get(word) {
                    self.enter(&mut next, *is);
                }
            }
            std::mem::swap(&mut set, &mut next);
        }
        for binding in set.iter().flat_map(|at| &self.nodes[*at].bindings) {
            if !self.hide_dollar || !hidden(&binding.key, key) {
                out.push(Hit::of(binding));
            }
        }
    }

    fn len(&self) -> usize {
        self.count
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
    fn unbinding_leaves_nothing_behind() {
        let mut topic = bound(&["a/+/#", "a/b", "#"]);
        for (i, pattern) in ["a/+/#", "a/b", "#"].iter().enumerate() {
            let gone = Binding::new("t", Key::from(*pattern), Target::Log(LogId(i as u64)));
            assert!(topic.unbind(&gone));
            assert!(!topic.unbind(&gone));
        }
        assert_eq!(topic.len(), 0);
        assert_eq!(topic.free.len() + 1, topic.nodes.len());
        assert!(hits(&topic, "a/b").is_empty());
    }

    #[test]
    fn forty_many_wildcards_and_a_hundred_words() {
        let topic = bound(&[&vec!["#"; 40].join("/"), &vec!["#"; 40].join("/x/")]);
        let started = std::time::Instant::now();
        assert_eq!(hits(&topic, &vec!["w"; 100].join("/")), [0]);
        assert!(started.elapsed().as_millis() < 100);
    }
}
