//! RabbitMQ's permissions: three regular expressions over names of queues and exchanges, and for exchanges of topics
//! two over routing keys. They are kept as they were sent, and read as RabbitMQ reads them: found anywhere in a name,
//! and an empty one allows nothing.

use super::{Action, Object, Who};
use crate::message::{Key, Name};
use regex::bytes::{Regex, RegexBuilder};

/// Bytes of an expression at most, and of memory that its compiled form takes.
const BYTES_MAX: usize = 4096;
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// What RabbitMQ calls the default exchange in expressions.
const DEFAULT_EXCHANGE: &str = "amq.default";
/// What is replaced in expressions over routing keys.
const PLACEHOLDERS: [&str; 3] = ["{username}", "{client_id}", "{vhost}"];

/// Expressions over names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameRegexes {
    pub configure: String,
    pub write: String,
    pub read: String,
}

/// Expressions over the routing keys of one exchange, in AMQP's form (words between dots).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicRegexes {
    pub exchange: Name,
    pub write: String,
    pub read: String,
}

fn compile(text: &str) -> Result<Regex, String> {
    if text.len() > BYTES_MAX {
        return Err(format!("an expression has at most {BYTES_MAX} bytes"));
    }
    // Names are bytes to RabbitMQ.
    let built = RegexBuilder::new(text).unicode(false).size_limit(COMPILED_BYTES_MAX).build();
    built.map_err(|error| {
        // The last line of a syntax error says what it is; the others show where.
        let text = error.to_string();
        let what = text.lines().last().unwrap_or_default().trim();
        format!("the expression cannot be compiled: {}", what.trim_start_matches("error: "))
    })
}

fn found(regex: &Regex, text: &[u8]) -> bool {
    // RabbitMQ reads an empty expression as `^$`.
    match regex.as_str().is_empty() {
        true => text.is_empty(),
        false => regex.is_match(text),
    }
}

/// Compiled [`NameRegexes`].
#[derive(Debug, Clone)]
pub(super) struct NameRules {
    configure: Regex,
    write: Regex,
    read: Regex,
}

impl NameRules {
    /// Compiles all three; every mistake goes to `mistakes`, with the name of its expression.
    pub fn compile(texts: &NameRegexes, mistakes: &mut Vec<String>) -> Option<Self> {
        let mut one = |what: &str, text: &str| {
            compile(text).map_err(|why| mistakes.push(format!("{what} '{text}': {why}"))).ok()
        };
        let configure = one("regex.configure", &texts.configure);
        let write = one("regex.write", &texts.write);
        let read = one("regex.read", &texts.read);
        Some(Self { configure: configure?, write: write?, read: read? })
    }

    /// Whether the object's name is allowed.
    pub fn allow(&self, action: Action, object: &Object<'_>) -> bool {
        let regex = match action {
            Action::Configure => &self.configure,
            Action::Write => &self.write,
            Action::Read => &self.read,
        };
        let name = match object {
            Object::Exchange { name: "", .. } | Object::Key { exchange: "", .. } => {
                DEFAULT_EXCHANGE
            }
            Object::Queue(name) | Object::Exchange { name, .. } => name,
            Object::Key { exchange, .. } => exchange,
        };
        found(regex, name.as_bytes())
    }
}

/// An expression over routing keys.
#[derive(Debug, Clone)]
enum KeyRule {
    Fixed(Regex),
    /// Names of the session stand in it: compiled for each one, with the names as plain text.
    Named(String),
}

impl KeyRule {
    fn compile(text: &str) -> Result<Self, String> {
        let regex = compile(&with_names(text, &Who { user: "u", client: "c", vhost: "v" }))?;
        match PLACEHOLDERS.iter().any(|name| text.contains(name)) {
            true => Ok(KeyRule::Named(text.to_owned())),
            false => Ok(KeyRule::Fixed(regex)),
        }
    }

    fn allows(&self, key: &[u8], who: &Who<'_>) -> bool {
        match self {
            KeyRule::Fixed(regex) => found(regex, key),
            KeyRule::Named(text) => {
                let names = [who.user, who.client, who.vhost];
                let empty = PLACEHOLDERS.iter().zip(names).any(|(place, name)| {
                    // It would make the expression a more general one.
                    name.is_empty() && text.contains(place)
                });
                !empty && compile(&with_names(text, who)).is_ok_and(|regex| found(&regex, key))
            }
        }
    }
}

/// The expression with the names as plain text, whatever characters they have.
fn with_names(text: &str, who: &Who<'_>) -> String {
    let mut rest = text;
    let mut whole = String::new();
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        whole.push_str(before);
        let names = [who.user, who.client, who.vhost];
        let known = PLACEHOLDERS.iter().zip(names).find(|(place, _)| from.starts_with(**place));
        let taken = match known {
            Some((place, name)) => (whole.push_str(&regex::escape(name)), place.len()).1,
            None => (whole.push('{'), 1).1,
        };
        rest = from.get(taken..).unwrap_or_default();
    }
    whole.push_str(rest);
    whole
}

/// Compiled [`TopicRegexes`].
#[derive(Debug, Clone)]
pub(super) struct KeyRules {
    exchange: Name,
    write: KeyRule,
    read: KeyRule,
}

impl KeyRules {
    /// Compiles both; every mistake goes to `mistakes`, with the name of its expression.
    pub fn compile(texts: &TopicRegexes, mistakes: &mut Vec<String>) -> Option<Self> {
        let mut one = |what: &str, text: &str| {
            let told =
                |why| mistakes.push(format!("topics '{}' {what} '{text}': {why}", texts.exchange));
            KeyRule::compile(text).map_err(told).ok()
        };
        let (write, read) = (one("write", &texts.write), one("read", &texts.read));
        Some(Self { exchange: texts.exchange.clone(), write: write?, read: read? })
    }

    /// Whether what is said about this key of the exchange, if anything is, allows it.
    pub fn allow(&self, action: Action, exchange: &str, key: &Key, who: &Who<'_>) -> bool {
        if *self.exchange != *exchange {
            return true;
        }
        let rule = match action {
            Action::Configure => return true,
            Action::Write => &self.write,
            Action::Read => &self.read,
        };
        // Expressions were written for words between dots.
        rule.allows(key.swapped().bytes(), who)
    }
}
