//! What users may do: one policy language for every protocol, over the canonical names of docs/SEMANTICS.md §1. Pure:
//! who somebody is and where rights are kept is decided elsewhere.
//!
//! | file | what it is |
//! |---|---|
//! | `policy` | the rights of one user in one virtual host: parsed, asked |
//! | `pattern` | one pattern: `queue:…`, `exchange:…`, `topic:…` or `*` |
//! | `topics` | filters of topics: what they match, cover and have in common with a subscription |
//! | `template` | a text with `{username}` and `{client_id}` in it |
//! | `regexes` | RabbitMQ's regular expressions, kept as sent |
//!
//! A pattern is allowed or absent: there is no pattern that denies, and what no pattern allows is denied.

mod pattern;
mod policy;
mod regexes;
mod template;
mod topics;

pub use pattern::Pattern;
pub use policy::{Coverage, Rights, RightsText};
pub use regexes::{NameRegexes, TopicRegexes};

use crate::message::{Address, Key};
use std::fmt;

/// The queue of a shared subscription is named `share/<group>/<filter>`: whoever may read topics of the filter may be
/// one of the group.
const SHARED_QUEUES: &str = "share/";

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Declare and delete.
    Configure,
    /// Publish to it, and bind a queue or an exchange, so that messages come into it.
    Write,
    /// Consume from it, purge it, and bind something to an exchange, so that messages come out of it.
    Read,
}

impl Action {
    /// The word for it in errors and in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Configure => "configure",
            Action::Write => "write",
            Action::Read => "read",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an action is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object<'a> {
    /// A queue, by its name.
    Queue(&'a str),
    /// All of an exchange. `is_topics`: its bindings are the topic tree.
    Exchange { name: &'a str, is_topics: bool },
    /// One key of an exchange; with an empty exchange the key is a queue's name.
    Key { exchange: &'a str, key: &'a Key, is_topics: bool },
}

impl<'a> Object<'a> {
    /// What a publish to that address is about.
    pub fn at(address: &'a Address, topic_exchange: &str) -> Self {
        let Address { exchange, key } = address;
        Object::Key { exchange, key, is_topics: **exchange == *topic_exchange }
    }

    /// An exchange.
    pub fn exchange(name: &'a str, topic_exchange: &str) -> Self {
        Object::Exchange { name, is_topics: name == topic_exchange }
    }
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Object::Queue(name) => write!(f, "queue:{name}"),
            Object::Exchange { name: "", .. } => f.write_str("queue:*"),
            Object::Exchange { name, .. } => write!(f, "exchange:{name}"),
            Object::Key { exchange: "", key, .. } => write!(f, "queue:{key}"),
            Object::Key { key, is_topics: true, .. } => write!(f, "topic:{key}"),
            Object::Key { exchange, key, .. } => write!(f, "exchange:{exchange}/{key}"),
        }
    }
}

/// Whose rights are asked for: the names that stand for `{username}`, `{client_id}` and `{vhost}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Who<'a> {
    pub user: &'a str,
    /// Empty for clients without one: patterns with `{client_id}` are not for them.
    pub client: &'a str,
    pub vhost: &'a str,
}

/// The filter of a shared subscription, by the name of its group's queue.
pub fn shared_filter(queue: &str) -> Option<&str> {
    let (group, filter) = queue.strip_prefix(SHARED_QUEUES)?.split_once('/')?;
    (!group.is_empty() && !filter.is_empty()).then_some(filter)
}

#[cfg(test)]
mod rights_tests;
