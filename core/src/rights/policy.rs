//! The rights of one user in one virtual host.

use super::pattern::Pattern;
use super::regexes::{KeyRules, NameRegexes, NameRules, TopicRegexes};
use super::{Action, Object, Who, shared_filter};
use crate::message::Key;
use std::fmt;

/// Patterns and exchanges with rules of their own that one user may have in one virtual host.
const PATTERNS_MAX: usize = 10_000;
const TOPICS_MAX: usize = 1_000;

/// Rights as they are written: in a configuration, in a definitions file, in the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RightsText {
    /// Patterns: what may be declared and deleted.
    pub configure: Vec<String>,
    /// Patterns: where messages may be sent.
    pub write: Vec<String>,
    /// Patterns: from where messages may be taken.
    pub read: Vec<String>,
    /// RabbitMQ's permissions of the user.
    pub regexes: Option<NameRegexes>,
    /// RabbitMQ's topic permissions of the user: they narrow `regexes` and nothing else.
    pub topics: Vec<TopicRegexes>,
}

/// How much of what a subscription asks for may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Coverage {
    #[default]
    Nothing,
    /// Some of it: every message has to be looked at.
    Some,
    Everything,
}

/// What a user may do in a virtual host. Without patterns and regular expressions: nothing.
#[derive(Clone, Default)]
pub struct Rights {
    text: RightsText,
    configure: Vec<Pattern>,
    write: Vec<Pattern>,
    read: Vec<Pattern>,
    names: Option<NameRules>,
    keys: Vec<KeyRules>,
}

impl Rights {
    /// Reads rights; the error names every mistake, with where it is.
    pub fn parse(text: RightsText) -> Result<Self, Vec<String>> {
        let mut mistakes = Vec::new();
        let count = text.configure.len() + text.write.len() + text.read.len();
        if count > PATTERNS_MAX {
            mistakes.push(format!("there are {count} patterns, of at most {PATTERNS_MAX}"));
            return Err(mistakes);
        }
        if text.topics.len() > TOPICS_MAX {
            mistakes.push(format!("rules for keys of more than {TOPICS_MAX} exchanges"));
            return Err(mistakes);
        }
        let mut all = |action: Action, texts: &[String]| {
            let read = |text: &String| {
                let told = |why| mistakes.push(format!("{action} '{text}': {why}"));
                Pattern::parse(text).map_err(told).ok()
            };
            texts.iter().filter_map(read).collect::<Vec<_>>()
        };
        let configure = all(Action::Configure, &text.configure);
        let write = all(Action::Write, &text.write);
        let read = all(Action::Read, &text.read);
        let names = text.regexes.as_ref().and_then(|all| NameRules::compile(all, &mut mistakes));
        let keys = text.topics.iter();
        let keys = keys.filter_map(|one| KeyRules::compile(one, &mut mistakes)).collect();
        match mistakes.is_empty() {
            true => Ok(Self { text, configure, write, read, names, keys }),
            false => Err(mistakes),
        }
    }

    /// As they were written.
    pub fn text(&self) -> &RightsText {
        &self.text
    }

    /// Patterns that no object can match: each is worth a warning.
    pub fn idle(&self) -> impl Iterator<Item = (Action, &Pattern)> {
        let all = [Action::Configure, Action::Write, Action::Read].into_iter();
        let all = all.flat_map(|action| self.patterns(action).iter().map(move |p| (action, p)));
        all.filter(|(_, pattern)| !pattern.can_match())
    }

    fn patterns(&self, action: Action) -> &[Pattern] {
        match action {
            Action::Configure => &self.configure,
            Action::Write => &self.write,
            Action::Read => &self.read,
        }
    }

    /// Whether the action is allowed.
    pub fn may(&self, action: Action, object: &Object<'_>, who: &Who<'_>) -> bool {
        self.patterns(action).iter().any(|pattern| pattern.matches(object, who))
            || self.by_name(action, object, who)
    }

    fn by_name(&self, action: Action, object: &Object<'_>, who: &Who<'_>) -> bool {
        let is_named = self.names.as_ref().is_some_and(|rules| rules.allow(action, object));
        is_named
            && match *object {
                Object::Key { exchange, key, .. } => {
                    self.keys.iter().all(|rules| rules.allow(action, exchange, key, who))
                }
                _ => true,
            }
    }

    /// How much of what a binding's key stands for may be read from that exchange. RabbitMQ's expressions judge the
    /// key of a binding and not the messages that it leads to.
    pub fn coverage(&self, exchange: &Object<'_>, key: &Key, who: &Who<'_>) -> Coverage {
        let Object::Exchange { name, is_topics } = *exchange else { return Coverage::Nothing };
        let bound = Object::Key { exchange: name, key, is_topics };
        if self.by_name(Action::Read, &bound, who) {
            return Coverage::Everything;
        }
        let mut most = Coverage::Nothing;
        for pattern in &self.read {
            most = most.max(pattern.coverage(exchange, key, who));
            if most == Coverage::Everything {
                break;
            }
        }
        most
    }

    /// How much of what the queue of a shared subscription collects may be read; nothing for other queues.
    pub fn shared_coverage(&self, queue: &str, topics: &Object<'_>, who: &Who<'_>) -> Coverage {
        let filter = shared_filter(queue).map(Key::from);
        filter.map_or(Coverage::Nothing, |filter| self.coverage(topics, &filter, who))
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl PartialEq for Rights {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
