//! Destinations ⇄ queues and topics (docs/SEMANTICS.md §1). Queue names are opaque; topics are split into words here
//! and nowhere else.
//!
//! In queue and exchange names `%2F` and `%25` are undone, as their owners from other brokers write them; in topics
//! the seven escapes of §1 are. Rendering is the inverse: what is rendered parses to the same name again.

use super::titles::{INVALID_DESTINATION, UNKNOWN_DESTINATION, titled};
use crate::options::Door;
use crossdock_core::message::carry;
use crossdock_core::{Address, Error, ErrorKind, Key, Name};
use std::borrow::Cow;

/// Parts of a composite destination.
const PARTS_MAX: usize = 32;

/// What a destination names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Declared when missing.
    Queue(String),
    /// Has to exist.
    Existing(String),
    /// A queue to reply to; a reply to one that does not exist any more is dropped without an error.
    Reply(String),
    /// In topic form; of a SUBSCRIBE: a pattern.
    Topic(Key),
    /// Key in topic form.
    Exchange { exchange: String, key: Key },
    /// A queue of this connection, under its own name for it.
    TempQueue(String),
    /// A topic of this connection, under its own name for it.
    TempTopic(String),
    /// A topic, later.
    Delayed { seconds: u64, topic: Key },
}

/// What the destination is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    Send,
    Subscribe,
}

/// How `destination-type` or `subscription-type` asks to read a plain name. Without it, that is a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cast {
    Any,
    Multi,
}

impl Cast {
    /// The header's value.
    pub(crate) fn parse(text: &str) -> Result<Cast, Error> {
        match text.trim() {
            "ANYCAST" => Ok(Cast::Any),
            "MULTICAST" => Ok(Cast::Multi),
            _ => Err(titled(INVALID_DESTINATION, "destination-type is ANYCAST or MULTICAST")),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Queue,
    Existing,
    Reply,
    Topic,
    Exchange,
    TempQueue,
    TempTopic,
}

const PREFIXES: [(&str, Kind); 9] = [
    ("/queue/", Kind::Queue),
    ("/topic/", Kind::Topic),
    ("/exchange/", Kind::Exchange),
    ("/amq/queue/", Kind::Existing),
    ("/reply-queue/", Kind::Reply),
    ("/temp-queue/", Kind::TempQueue),
    ("/temp-topic/", Kind::TempTopic),
    ("/remote-temp-queue/", Kind::Reply),
    ("/remote-temp-topic/", Kind::Topic),
];

fn split(text: &str) -> Option<(Kind, &str)> {
    PREFIXES.iter().find_map(|(prefix, kind)| Some((*kind, text.strip_prefix(prefix)?)))
}

/// What follows one of the prefixes.
fn after<'t>(text: &'t str, prefixes: &[Name]) -> Option<&'t str> {
    prefixes.iter().find_map(|prefix| text.strip_prefix(prefix.as_str()))
}

/// The parts of a composite. A comma splits only where another destination begins: names may hold commas.
pub(crate) fn parts(text: &str) -> Result<Vec<&str>, Error> {
    let mut found = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices(',') {
        let (part, rest) = (text.get(start..at), text.get(at + 1..));
        if let (Some(part), Some(rest)) = (part, rest)
            && split(rest.trim_start()).is_some()
        {
            found.push(part.trim());
            start = at + 1;
        }
        if found.len() >= PARTS_MAX {
            return Err(titled(INVALID_DESTINATION, "too many parts of a composite destination"));
        }
    }
    let last = text.get(start..).unwrap_or_default();
    found.push(if found.is_empty() { last } else { last.trim() });
    Ok(found)
}

/// True for what ActiveMQ reads as a pattern of queue names, where the queue is not a virtual topic's. No queue is
/// declared under such a name: nothing would ever come from it.
pub(crate) fn is_wild(queue: &str) -> bool {
    memchr::memchr2(b'*', b'>', queue.as_bytes()).is_some()
        && queue.split('.').any(|word| matches!(word, "*" | ">"))
        && virtual_topic(queue).is_none()
}

/// ActiveMQ's virtual topics: the queue `Consumer.<name>.VirtualTopic.<t>` gets what is sent to the topic
/// `VirtualTopic.<t>` (docs/SEMANTICS.md §7).
pub(crate) fn virtual_topic(queue: &str) -> Option<&str> {
    let rest = queue.strip_prefix("Consumer.")?;
    let at = rest.find(".VirtualTopic.").filter(|at| *at > 0)?;
    rest.get(at + 1..)
}

/// What one destination names.
pub(crate) fn parse(
    text: &str,
    usage: Usage,
    cast: Option<Cast>,
    door: &Door,
) -> Result<Destination, Error> {
    if let Some(name) = after(text, &door.anycast_prefixes) {
        return named(Kind::Queue, name, usage);
    }
    if let Some(name) = after(text, &door.multicast_prefixes) {
        return named(Kind::Topic, name, usage);
    }
    match (split(text), cast) {
        (Some((kind, name)), _) => named(kind, name, usage),
        (None, Some(Cast::Any)) => named(Kind::Queue, text, usage),
        (None, Some(Cast::Multi)) => named(Kind::Topic, text, usage),
        // As RabbitMQ and ActiveMQ read it: a name by itself is a queue's.
        (None, None) if !text.starts_with('/') => named(Kind::Queue, text, usage),
        (None, None) => Err(titled(
            UNKNOWN_DESTINATION,
            format!(
                "'{text}' is no destination: it begins with /queue/, /topic/, /exchange/, /amq/queue/, \
             /temp-queue/, /temp-topic/ or /reply-queue/, or is a queue's name without a / in front"
            ),
        )),
    }
}

fn named(kind: Kind, name: &str, usage: Usage) -> Result<Destination, Error> {
    if name.is_empty() {
        return Err(titled(INVALID_DESTINATION, "the destination has no name"));
    }
    Ok(match kind {
        Kind::Queue => Destination::Queue(plain_name(name).into_owned()),
        Kind::Existing => Destination::Existing(plain_name(name).into_owned()),
        Kind::Reply => Destination::Reply(plain_name(name).into_owned()),
        Kind::TempQueue => Destination::TempQueue(name.to_owned()),
        Kind::TempTopic => Destination::TempTopic(name.to_owned()),
        Kind::Topic => return reserved(topic_key(name, usage)?, usage),
        Kind::Exchange => {
            let (exchange, key) = name.split_once('/').unwrap_or((name, ""));
            if exchange.is_empty() {
                return Err(titled(INVALID_DESTINATION, "the destination names no exchange"));
            }
            let key = Key::from(&*plain_name(key)).swapped();
            Destination::Exchange { exchange: plain_name(exchange).into_owned(), key }
        }
    })
}

/// A topic as it may be used: the words beginning with `$` have a meaning each (docs/SEMANTICS.md §1).
fn reserved(key: Key, usage: Usage) -> Result<Destination, Error> {
    if key.bytes().first() != Some(&b'$') {
        return Ok(Destination::Topic(key));
    }
    let text = String::from_utf8_lossy(key.bytes()).into_owned();
    let (first, rest) = text.split_once('/').unwrap_or((&text, ""));
    let refused = || Error::new(ErrorKind::Refused, format!("'{first}' topics are the broker's"));
    match (first, usage) {
        ("$q", _) if !rest.is_empty() => Ok(Destination::Existing(rest.to_owned())),
        ("$reply", Usage::Send) => {
            let name = rest.strip_prefix("q/").and_then(carry::percent_decode);
            let name = name.and_then(|name| String::from_utf8(name).ok()).ok_or_else(refused)?;
            Ok(Destination::Reply(name))
        }
        ("$delayed", Usage::Send) => {
            let (seconds, topic) = rest.split_once('/').ok_or_else(refused)?;
            let seconds = seconds
                .parse()
                .map_err(|_| titled(INVALID_DESTINATION, "$delayed needs whole seconds"))?;
            match topic.starts_with('$') {
                true => Err(refused()),
                false => Ok(Destination::Delayed { seconds, topic: Key::from(topic) }),
            }
        }
        ("$share", Usage::Subscribe) => Err(titled(
            INVALID_DESTINATION,
            "subscribe to /amq/queue/share/<group>/<filter> to share a subscription",
        )),
        ("$q" | "$reply" | "$delayed" | "$share", _) => Err(refused()),
        // The core refuses what nobody may publish to.
        _ => Ok(Destination::Topic(key)),
    }
}

/// A topic's words. With a `/` in the name, `/` separates them; without one, `.` does.
pub(crate) fn topic_key(name: &str, usage: Usage) -> Result<Key, Error> {
    let separator = if name.contains('/') { '/' } else { '.' };
    let mut out: Vec<u8> = Vec::with_capacity(name.len());
    let mut words = name.split(separator).peekable();
    let mut first = true;
    while let Some(word) = words.next() {
        if !first {
            out.push(b'/');
        }
        first = false;
        let wildcard = match word {
            "*" | "+" => Some(b'+'),
            "#" => Some(b'#'),
            ">" if words.peek().is_none() => Some(b'#'),
            _ => None,
        };
        match (wildcard, usage) {
            (Some(wildcard), Usage::Subscribe) => out.push(wildcard),
            (Some(_), Usage::Send) => {
                return Err(titled(INVALID_DESTINATION, "a topic to send to has no wildcards"));
            }
            (None, usage) => {
                let start = out.len();
                unescape(word, &mut out);
                let literal = out.get(start..).unwrap_or_default();
                if usage == Usage::Subscribe && matches!(literal, b"+" | b"#") {
                    return Err(titled(
                        INVALID_DESTINATION,
                        "a word that is a literal + or # cannot be subscribed to",
                    ));
                }
            }
        }
    }
    Ok(Key::new(out))
}

fn unescape(word: &str, out: &mut Vec<u8>) {
    let mut rest = word.as_bytes();
    while let [octet, tail @ ..] = rest {
        let undone = match (octet, tail) {
            (b'%', [high, low, tail @ ..]) => escape_of(*high, *low).map(|octet| (octet, tail)),
            _ => None,
        };
        let (octet, tail) = undone.unwrap_or((*octet, tail));
        out.push(octet);
        rest = tail;
    }
}

/// `%2F` is a dot too: as others write a `/` inside a word of a dotted key, which is a dot in topic form.
fn escape_of(high: u8, low: u8) -> Option<u8> {
    Some(match (high, low.to_ascii_uppercase()) {
        (b'2', b'E' | b'F') => b'.',
        (b'2', b'5') => b'%',
        (b'2', b'A') => b'*',
        (b'2', b'B') => b'+',
        (b'2', b'3') => b'#',
        (b'3', b'E') => b'>',
        _ => return None,
    })
}

/// A queue's or an exchange's name behind its two escapes.
fn plain_name(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    // In one pass from left to right, so that `%252F` stays `%2F`.
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let (octet, length) = match escape.get(..3) {
            Some("%2F" | "%2f") => ('/', 3),
            Some("%25") => ('%', 3),
            _ => ('%', 1),
        };
        out.push(octet);
        rest = escape.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The destination that names the address. `topic_exchange` is the exchange of the shared topic tree.
pub(crate) fn render(address: &Address, topic_exchange: &str) -> String {
    let key = &address.key;
    if address.is_queue() {
        return render_queue("/queue/", &String::from_utf8_lossy(key.bytes()));
    }
    if &*address.exchange == topic_exchange {
        return render_topic(key);
    }
    let exchange = render_queue("", &address.exchange).replace('/', "%2F");
    let mut out = format!("/exchange/{exchange}");
    if !key.bytes().is_empty() {
        out.push('/');
        let key = key.swapped();
        out.push_str(&render_queue("", &String::from_utf8_lossy(key.bytes())));
    }
    out
}

/// A queue's name behind `prefix`.
pub(crate) fn render_queue(prefix: &str, name: &str) -> String {
    let mut out = String::with_capacity(prefix.len() + name.len());
    out.push_str(prefix);
    for (at, c) in name.char_indices() {
        match name.get(at..at + 3) {
            Some("%2F" | "%2f" | "%25") => out.push_str("%25"),
            _ => out.push(c),
        }
    }
    out
}

/// A topic: with dots, unless a word holds one; then with slashes.
pub(crate) fn render_topic(key: &Key) -> String {
    let text = String::from_utf8_lossy(key.bytes());
    let (several, dots) = (text.contains('/'), text.contains('.'));
    let separator = if several && dots { '/' } else { '.' };
    let mut out = String::with_capacity(text.len() + 8);
    out.push_str("/topic");
    let mut before = '/';
    for word in text.split('/') {
        out.push(before);
        before = separator;
        match word {
            // Published wildcard characters have no topic form that others could name: shown only (§1).
            "*" | "+" => out.push_str("%2A"),
            "#" => out.push_str("%23"),
            ">" => out.push_str("%3E"),
            _ => render_word(word, separator, &mut out),
        }
    }
    out
}

fn render_word(word: &str, separator: char, out: &mut String) {
    for (at, c) in word.char_indices() {
        match c {
            '.' if separator == '.' => out.push_str("%2E"),
            '%' => {
                let ambiguous = match word.as_bytes().get(at + 1..at + 3) {
                    Some([high, low]) => escape_of(*high, *low).is_some(),
                    _ => false,
                };
                out.push_str(if ambiguous { "%25" } else { "%" });
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
#[path = "destination_tests.rs"]
mod tests;
