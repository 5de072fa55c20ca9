//! Addresses as routes write them: `queue:NAME`, `topic:a/b`, `exchange:NAME/KEY`, with parts in braces that are
//! computed for each message.

use crate::draft::Draft;
use crate::expression::{Expression, Scope};
use crossdock_core::exchange::filter;
use crossdock_core::transform::Watch;
use crossdock_core::{Address, Key, Name};

/// Longest name and longest key, in bytes.
const NAME_MAX: usize = 255;
const KEY_MAX: usize = 65_535;
/// Largest number of words in a key.
const WORDS_MAX: usize = 200;

/// Which addresses results may be sent to.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddressRules {
    /// The exchange whose keys are written as `topic:`.
    pub topic_exchange: Name,
    /// Filters of topics that begin with `$` and are ordinary topics nevertheless.
    pub dollar_topics: Vec<Key>,
}

impl AddressRules {
    /// An error for queues and topics that are the broker's own.
    pub(crate) fn check(&self, address: &Address) -> Result<(), String> {
        let key = &address.key;
        if address.is_queue() {
            return own_queue(&key.to_string());
        }
        let hidden = address.exchange == self.topic_exchange && key.bytes().first() == Some(&b'$');
        match hidden && !self.dollar_topics.iter().any(|filter| filter::matches(filter, key)) {
            true => Err(format!(
                "'{key}' begins with $, and such topics are not for messages unless \
                 `dollar_topics` names them"
            )),
            false => Ok(()),
        }
    }

    /// An address as routes write it.
    pub(crate) fn shown(&self, address: &Address) -> String {
        match address.exchange == self.topic_exchange && !address.is_queue() {
            true => format!("topic:{}", address.key),
            false => address.to_string(),
        }
    }

    fn checked(&self, address: Address) -> Result<Address, String> {
        self.check(&address).map(|()| address)
    }
}

/// The queues of content routes.
fn own_queue(name: &str) -> Result<(), String> {
    match name.starts_with("route/") {
        true => Err(format!("the queue '{name}' is the broker's own")),
        false => Ok(()),
    }
}

/// A destination that is a topic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Constant(Address),
    Computed,
}

/// An address that results are sent to.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    place: Place,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Place {
    Queue,
    Exchange(Name),
    /// An exchange, with the key that the message was published with.
    SameKey(Name),
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Computed(Box<Expression>),
}

impl Destination {
    pub(crate) fn parse(text: &str, scope: &Scope) -> Result<Self, String> {
        let (place, key) = match scheme(text)? {
            ("queue", name) => (Place::Queue, name),
            ("topic", key) => (Place::Exchange(scope.rules.topic_exchange.clone()), key),
            ("exchange", rest) => match rest.split_once('/') {
                Some((name, key)) => (Place::Exchange(exchange(name)?), key),
                None => (Place::SameKey(exchange(rest)?), ""),
            },
            (other, _) => return Err(not_an_address(text, other)),
        };
        let parts = parts(key, scope)?;
        let destination = Self { place, parts };
        if let Some(literal) = destination.literal() {
            let address = destination.address(literal, &Address::default())?;
            scope.rules.check(&address)?;
        }
        Ok(destination)
    }

    /// The name of the queue, if it is a queue and its name is not computed.
    pub(crate) fn queue(&self) -> Option<Name> {
        match self.place {
            Place::Queue => self.literal().map(Name::from),
            _ => None,
        }
    }

    /// The topic, if it is one.
    pub(crate) fn topic(&self, topic_exchange: &Name) -> Option<Topic> {
        match &self.place {
            Place::Exchange(name) if name == topic_exchange => Some(match self.literal() {
                Some(words) => Topic::Constant(Address::new(name.clone(), Key::from(&*words))),
                None => Topic::Computed,
            }),
            Place::SameKey(name) if name == topic_exchange => Some(Topic::Computed),
            _ => None,
        }
    }

    /// The address for one result.
    pub(crate) fn resolve(&self, draft: &Draft, rules: &AddressRules) -> Result<Address, String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Computed(expression) => {
                    let value = expression.text(draft);
                    text.push_str(&value.ok_or("a computed part of the address is NULL")?);
                }
            }
        }
        rules.checked(self.address(text, draft.address())?)
    }

    fn literal(&self) -> Option<String> {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                Part::Computed(_) => None,
            })
            .collect()
    }

    fn address(&self, text: String, from: &Address) -> Result<Address, String> {
        match &self.place {
            Place::Queue => queue(&text).map(|name| Address::queue(&name)),
            Place::Exchange(name) => Ok(Address::new(name.clone(), key(text)?)),
            Place::SameKey(name) => Ok(from.at(name)),
        }
    }
}

/// An address without computed parts that results may be sent to.
pub(crate) fn allowed(text: &str, rules: &AddressRules) -> Result<Address, String> {
    rules.checked(address(text, &rules.topic_exchange)?)
}

/// An address without computed parts.
pub(crate) fn address(text: &str, topic_exchange: &Name) -> Result<Address, String> {
    match scheme(text)? {
        ("queue", name) => queue(name).map(|name| Address::queue(&name)),
        ("topic", name) => Ok(Address::new(topic_exchange.clone(), key(name.to_string())?)),
        ("exchange", rest) => match rest.split_once('/') {
            Some((name, words)) => Ok(Address::new(exchange(name)?, key(words.to_string())?)),
            None => Err("exchange: needs a key: exchange:NAME/KEY".into()),
        },
        (other, _) => Err(not_an_address(text, other)),
    }
}

/// Parses an address that a route watches.
pub(crate) fn watch(text: &str, topic_exchange: &Name) -> Result<Watch, String> {
    match scheme(text)? {
        ("queue", name) => own_queue(name).and_then(|()| queue(name)).map(Watch::Queue),
        ("topic", words) => {
            let joined = |word: &str| word.len() > 1 && word.contains(['+', '#']);
            if words.split('/').any(joined) {
                return Err("+ and # must stand alone between slashes".into());
            }
            Ok(Watch::Exchange(topic_exchange.clone(), pattern(words)?))
        }
        ("exchange", rest) => match rest.split_once('/') {
            Some((name, words)) => Ok(Watch::Exchange(exchange(name)?, pattern(words)?)),
            None => Ok(Watch::Exchange(exchange(rest)?, Key::from("#"))),
        },
        (other, _) => Err(not_an_address(text, other)),
    }
}

fn scheme(text: &str) -> Result<(&str, &str), String> {
    text.split_once(':').ok_or_else(|| not_an_address(text, ""))
}

fn not_an_address(text: &str, scheme: &str) -> String {
    match scheme {
        "stream" => "streams are not available".into(),
        _ => format!("'{text}' is not queue:NAME, topic:a/b or exchange:NAME/KEY"),
    }
}

fn queue(name: &str) -> Result<Name, String> {
    match (name.len(), name.contains('\0')) {
        (0, _) => Err("the name of a queue is empty".into()),
        (1..=NAME_MAX, false) => Ok(name.into()),
        (_, true) => Err("a name must not contain a zero character".into()),
        _ => Err(format!("a name is longer than {NAME_MAX} bytes")),
    }
}

fn exchange(name: &str) -> Result<Name, String> {
    match (name.len(), name.contains(['{', '}'])) {
        (0, _) => Err("the name of an exchange is empty; a queue is queue:NAME".into()),
        (_, true) => Err("the name of an exchange cannot be computed".into()),
        (1..=NAME_MAX, false) => Ok(name.into()),
        _ => Err(format!("a name is longer than {NAME_MAX} bytes")),
    }
}

/// A key to publish with: it must not contain wildcards.
fn key(text: String) -> Result<Key, String> {
    let key = pattern(&text)?;
    match filter::is_literal(&key) {
        true => Ok(key),
        false => Err(format!("'{text}' has a wildcard, and messages cannot be sent to a wildcard")),
    }
}

fn pattern(text: &str) -> Result<Key, String> {
    let key = Key::from(text);
    match () {
        () if text.contains('\0') => Err("a key must not contain a zero character".into()),
        () if text.len() > KEY_MAX => Err(format!("a key is longer than {KEY_MAX} bytes")),
        () if key.separators() >= WORDS_MAX => {
            Err(format!("a key has more than {WORDS_MAX} words"))
        }
        () => Ok(key),
    }
}

/// Splits at `{expression}`; `{{` and `}}` are literal braces. Braces inside quotes of an expression belong to it.
fn parts(text: &str, scope: &Scope) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        literal.push_str(before);
        let doubled = [("{{", '{'), ("}}", '}')].into_iter().find(|(two, _)| from.starts_with(two));
        if let Some((two, brace)) = doubled {
            literal.push(brace);
            rest = from.get(two.len()..).unwrap_or_default();
            continue;
        }
        let Some(inner) = from.strip_prefix('{') else { return Err("} without {".into()) };
        let mut quoted = false;
        let end = inner.find(|c| {
            quoted ^= c == '\'';
            c == '}' && !quoted
        });
        let (expression, after) = inner.split_at(end.ok_or("{ without }")?);
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(Part::Computed(Box::new(Expression::parse(expression, scope)?)));
        rest = after.get(1..).unwrap_or_default();
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}
