//! One pattern of a right:
//!
//! ```text
//! *                        everything
//! queue:NAME               queues; in a name, * stands for any run of characters
//! exchange:NAME            exchanges, with every key (the topic tree's exchange is one of them)
//! exchange:NAME/FILTER     keys of exchanges: words between /, + is one word, # at the end is all that follow
//! topic:FILTER             topics
//! ```

use super::policy::Coverage;
use super::template::Template;
use super::topics::Topics;
use super::{Object, Who};
use crate::message::Key;
use std::borrow::Cow;
use std::fmt;

/// Bytes of a pattern's text at most.
const BYTES_MAX: usize = 4096;
/// Queues whose names begin so are the broker's own, for no client and no verb.
const BROKERS_QUEUES: &str = "route/";

/// A name with `*` in it for any run of characters: what stands between.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Glob(Vec<Template>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Everything,
    Queue(Glob),
    Exchange(Glob, Option<Topics>),
    Topic(Topics),
}

/// A pattern, with its text as it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    place: Place,
}

impl Glob {
    fn parse(text: &str) -> Result<Self, String> {
        text.split('*').map(Template::parse).collect::<Result<_, _>>().map(Self)
    }

    /// It is nothing but `*`.
    fn is_everything(&self) -> bool {
        self.0.len() > 1 && self.0.iter().all(|part| part.fixed() == Some(""))
    }

    fn matches(&self, name: &[u8], who: &Who<'_>) -> bool {
        let texts: Option<Vec<Cow<'_, str>>> = self.0.iter().map(|part| part.text(who)).collect();
        let Some(texts) = texts else { return false };
        let (Some((first, rest)), Some(last)) = (texts.split_first(), texts.last()) else {
            return false;
        };
        if rest.is_empty() {
            return first.as_bytes() == name;
        }
        let Some(inner) = name.strip_prefix(first.as_bytes()) else { return false };
        let Some(mut inner) = inner.strip_suffix(last.as_bytes()) else { return false };
        // What is between comes in its order, each part at the first place where it is found.
        for part in rest.iter().take(rest.len() - 1) {
            match memchr::memmem::find(inner, part.as_bytes()) {
                Some(at) => inner = inner.get(at + part.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        true
    }
}

impl Pattern {
    /// Reads a pattern; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > BYTES_MAX {
            return Err(format!("a pattern has at most {BYTES_MAX} bytes"));
        }
        let named = |name: &str, what: &str| match name.is_empty() {
            true => Err(format!("the name of {what} is missing; '*' stands for any")),
            false => Glob::parse(name),
        };
        let place = match text.split_once(':') {
            _ if text == "*" => Place::Everything,
            Some(("queue", name)) => Place::Queue(named(name, "a queue")?),
            Some(("topic", filter)) => Place::Topic(Topics::parse(filter, true)?),
            Some(("exchange", rest)) => match rest.split_once('/') {
                Some((name, filter)) => {
                    let topics = Topics::parse(filter, false)?;
                    Place::Exchange(named(name, "an exchange")?, Some(topics))
                }
                None => Place::Exchange(named(rest, "an exchange")?, None),
            },
            _ => {
                return Err("a pattern is '*', 'queue:NAME', 'topic:FILTER', 'exchange:NAME' or \
                            'exchange:NAME/FILTER'"
                    .into());
            }
        };
        Ok(Self { text: text.into(), place })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// False for a pattern that no object can match: a right that is worth a warning.
    pub fn can_match(&self) -> bool {
        let is_brokers = match &self.place {
            Place::Queue(glob) => {
                glob.0.first().is_some_and(|first| first.prefix().starts_with(BROKERS_QUEUES))
            }
            _ => false,
        };
        // No name and no topic has this character.
        !is_brokers && !self.text.contains('\0')
    }

    /// Whether the object is one of those that it names.
    pub fn matches(&self, object: &Object<'_>, who: &Who<'_>) -> bool {
        match (&self.place, object) {
            (Place::Everything, _) => true,
            (Place::Queue(glob), Object::Queue(name)) => glob.matches(name.as_bytes(), who),
            (Place::Queue(glob), Object::Key { exchange: "", key, .. }) => {
                glob.matches(key.bytes(), who)
            }
            // Every queue can be named by a key of the default exchange.
            (Place::Queue(glob), Object::Exchange { name: "", .. }) => glob.is_everything(),
            (Place::Exchange(glob, topics), Object::Exchange { name, .. }) => {
                let is_whole = topics.as_ref().is_none_or(Topics::is_everything);
                !name.is_empty() && is_whole && glob.matches(name.as_bytes(), who)
            }
            (Place::Exchange(glob, topics), Object::Key { exchange, key, .. }) => {
                !exchange.is_empty()
                    && glob.matches(exchange.as_bytes(), who)
                    && topics.as_ref().is_none_or(|topics| topics.matches(key, who))
            }
            (Place::Topic(topics), Object::Key { key, is_topics: true, .. }) => {
                topics.matches(key, who)
            }
            (Place::Topic(topics), Object::Exchange { is_topics: true, .. }) => {
                topics.is_everything()
            }
            _ => false,
        }
    }

    /// How much of what a binding's key stands for is among what this pattern names.
    pub fn coverage(&self, exchange: &Object<'_>, asked: &Key, who: &Who<'_>) -> Coverage {
        let Object::Exchange { name, is_topics } = *exchange else { return Coverage::Nothing };
        let topics = match &self.place {
            Place::Everything => return Coverage::Everything,
            Place::Exchange(glob, topics) if glob.matches(name.as_bytes(), who) => match topics {
                None => return Coverage::Everything,
                Some(topics) => topics,
            },
            Place::Topic(topics) if is_topics => topics,
            _ => return Coverage::Nothing,
        };
        match () {
            () if topics.covers(asked, who) => Coverage::Everything,
            () if topics.meets(asked, who) => Coverage::Some,
            () => Coverage::Nothing,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.text)
    }
}
