//! Users and their rights as other brokers keep them, read into plain data. Nothing is decided here: what becomes of a
//! right is the caller's business. Of a file with mistakes nothing is imported, and every mistake is returned.

mod mosquitto;
mod rabbitmq;

pub use mosquitto::{acl_file, password_file};
pub use rabbitmq::definitions;

use crate::password::PasswordHash;
use crossdock_core::Name;
use std::fmt;

/// What a file says of users.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Imported {
    pub users: Vec<ImportedUser>,
    /// Mosquitto's, in the order of the file.
    pub topic_rules: Vec<TopicRule>,
    /// RabbitMQ's.
    pub permissions: Vec<Permission>,
    /// RabbitMQ's.
    pub topic_permissions: Vec<TopicPermission>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedUser {
    pub name: Name,
    /// None: the user cannot log in with a password.
    pub password: Option<PasswordHash>,
    pub tags: Vec<Name>,
    /// RabbitMQ's `max-connections` and `max-channels`; a negative one is no limit.
    pub limits: Vec<(String, i64)>,
}

/// A `topic` or `pattern` line of Mosquitto's. Of the rules that match a topic, a `deny` wins; what no rule allows is
/// refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRule {
    pub subject: Subject,
    pub access: Access,
    /// An MQTT filter with its wildcards. In a pattern, `%u` is the user's name and `%c` the client's id: whoever puts
    /// these in refuses names with `+`, `#` or `/`, or the client chooses what the pattern means (CVE-2017-7650).
    pub filter: String,
    /// Counted from 1.
    pub line: usize,
}

/// Whom a [`TopicRule`] is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Clients without a user: the `topic` lines before the first `user` line.
    Anonymous,
    /// One user: the `topic` lines after its `user` line.
    User(Name),
    /// Every client: `pattern` lines.
    Everybody,
}

/// What a [`TopicRule`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Messages may be received.
    Read,
    /// Messages may be published.
    Write,
    ReadWrite,
    /// Neither, whatever other rules say.
    Deny,
}

/// RabbitMQ's permissions of a user in a vhost: regular expressions over names of queues and exchanges. An empty one
/// matches nothing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    pub user: String,
    pub vhost: String,
    pub configure: String,
    pub write: String,
    pub read: String,
}

/// RabbitMQ's permissions of a user for a topic exchange: regular expressions over routing keys.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicPermission {
    pub user: String,
    pub vhost: String,
    /// Empty: every topic exchange.
    pub exchange: String,
    pub write: String,
    pub read: String,
}

/// What is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// `line 3`, or `users[3]` in JSON, counted from 0.
    pub place: String,
    /// What is wrong there.
    pub why: String,
}

impl Mistake {
    fn new(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self { place: place.into(), why: why.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

/// What was read, unless something is wrong.
fn all_or_nothing(read: Imported, mistakes: Vec<Mistake>) -> Result<Imported, Vec<Mistake>> {
    match mistakes.is_empty() {
        true => Ok(read),
        false => Err(mistakes),
    }
}
