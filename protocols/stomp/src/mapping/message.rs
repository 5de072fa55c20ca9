//! A message → the part of a MESSAGE frame that all its receivers share: everything behind the headers of the single
//! delivery. A reader of the sender's version gets the sender's own lines (docs/SEMANTICS.md R1), another version the
//! same headers escaped its way, everybody else's messages are written from their `Fields` (R2, R3).

use super::destination::{self, Cast, Destination, Usage};
use super::format::{is_of_delivery, version_of, wire_name};
use super::slots;
use crate::codec::{Header, Headers, Version, Writer};
use crate::options::{Options, TimeUnit};
use bytes::{Bytes, BytesMut};
use crossdock_core::message::carry::{self, Carry};
use crossdock_core::{Formats, Message, Neutral, ReplyTo};

/// Bodies up to this size are copied into the shared tail.
const SMALL_BODY: usize = 2 << 10;
/// Names under `mq.` that only the broker sets: those of a sender are not passed on (docs/SEMANTICS.md R4).
const BROKER_WORDS: [&[u8]; 7] = [
    b"mq.death",
    b"mq.retained",
    b"mq.delivery-count",
    b"mq.user-id",
    b"mq.origin",
    b"mq.error",
    b"mq.redriven",
];

/// Who will read it.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    pub version: Version,
    pub topic_exchange: &'a str,
    pub formats: &'a Formats,
    pub options: &'a Options,
}

/// True when the body stands in the tail, with the frame's end.
pub(crate) fn holds_body(message: &Message) -> bool {
    message.body().len() <= SMALL_BODY
}

/// True when the sender spoke STOMP, in any version.
pub(crate) fn is_native(message: &Message) -> bool {
    version_of(message.native().format).is_some()
}

/// The shared headers, content-length, the blank line; of small messages also body and end.
pub(crate) fn tail(message: &Message, look: Look<'_>) -> Bytes {
    let body = message.body();
    let small = if holds_body(message) { body.len() } else { 0 };
    let mut out = BytesMut::with_capacity(message.native().bytes.len() + small + 96);
    let mut writer = Writer::go_on(&mut out, look.version.rules());
    match native_headers(message) {
        Some((version, headers)) => native(&mut writer, message, &headers, version, look),
        None => foreign(&mut writer, message, look),
    }
    match holds_body(message) {
        true => writer.body(body),
        false => writer.shared_body(body),
    }
    out.freeze()
}

fn native_headers(message: &Message) -> Option<(Version, Headers)> {
    let native = message.native();
    let version = version_of(native.format)?;
    Some((version, Headers::parse(native.bytes.clone(), version.rules()).ok()?))
}

/// One header, or nothing where this version cannot say it (docs/SEMANTICS.md R5).
fn say(writer: &mut Writer<'_>, name: &str, value: &str) {
    if !writer.header(name, value) {
        tracing::trace!(name, "a header was left out: this version of STOMP cannot write it");
    }
}

fn native(
    writer: &mut Writer<'_>,
    message: &Message,
    headers: &Headers,
    version: Version,
    look: Look<'_>,
) {
    let same = version == look.version;
    let line = |writer: &mut Writer<'_>, header: Header<'_>| match same {
        true => writer.line(header.raw_name, header.raw_value),
        false => say(writer, &header.name(), &header.value()),
    };
    match as_sent(message, headers, look) {
        Some(header) => line(writer, header),
        None => {
            say(writer, "destination", &destination::render(message.address(), look.topic_exchange))
        }
    }
    let meta = message.meta();
    // Dead-lettering takes the expiry away; a client that reads it would throw the message away itself.
    let keeps_expiry = meta.expires.is_some() || meta.deaths().is_empty();
    for header in headers.iter() {
        match header.raw_name {
            b"destination" | b"content-length" | b"receipt" | b"transaction" => {}
            b"expires" | b"expiration" if !keeps_expiry => {}
            name if is_of_delivery(name) => {
                say(writer, &format!("mq.h.{}", header.name()), &header.value());
            }
            name if BROKER_WORDS.iter().any(|word| name.starts_with(word)) => {}
            _ => line(writer, header),
        }
    }
    if let Some(death) = meta.deaths().first() {
        let (queue, reason, count) = (&death.queue, death.reason.as_str(), death.count);
        say(writer, "mq.death", &format!("{queue};{reason};{count}"));
    }
}

/// The sender's destination, when it names where the message is. A composite names several places, and what was moved
/// or routed on is somewhere else.
fn as_sent<'a>(message: &Message, headers: &'a Headers, look: Look<'_>) -> Option<Header<'a>> {
    let header = headers.find("destination")?;
    let comma = memchr::memchr(b',', header.raw_value).is_some();
    if comma && !matches!(destination::parts(&header.value()), Ok(parts) if parts.len() == 1) {
        return None;
    }
    let meta = message.meta();
    let stayed = meta.hops == 0 && meta.deaths().is_empty();
    (stayed || names(&header.value(), headers, message, look)).then_some(header)
}

fn names(text: &str, headers: &Headers, message: &Message, look: Look<'_>) -> bool {
    let address = message.address();
    let cast = headers.get("destination-type").and_then(|text| Cast::parse(&text).ok());
    let Ok(destination) = destination::parse(text, Usage::Send, cast, look.options) else {
        return false;
    };
    match destination {
        Destination::Queue(name) | Destination::Existing(name) | Destination::Reply(name) => {
            address.is_queue() && address.key.bytes() == name.as_bytes()
        }
        Destination::Topic(key) | Destination::Delayed { topic: key, .. } => {
            &*address.exchange == look.topic_exchange && address.key == key
        }
        Destination::Exchange { exchange, key } => {
            *address.exchange == *exchange && address.key == key
        }
        Destination::TempQueue(_) | Destination::TempTopic(_) => false,
    }
}

fn foreign(writer: &mut Writer<'_>, message: &Message, look: Look<'_>) {
    let fields = message.fields(look.formats);
    let p = &fields.properties;
    say(writer, "destination", &destination::render(message.address(), look.topic_exchange));
    for (name, value) in [
        ("content-type", &p.content_type),
        ("content-encoding", &p.content_encoding),
        ("user-id", &p.user_id),
        ("app-id", &p.app_id),
        ("type", &p.kind),
        ("JMSXGroupID", &p.group_id),
    ] {
        if let Some(value) = value {
            say(writer, name, value);
        }
    }
    for (name, id) in [("amqp-message-id", &p.message_id), ("correlation-id", &p.correlation_id)] {
        if let Some(text) = id.as_ref().and_then(|id| carry::id_to_text(id, usize::MAX)) {
            say(writer, name, &text);
        }
    }
    if let Some(reply_to) = &p.reply_to {
        say(writer, "reply-to", &render_reply_to(reply_to));
    }
    if let Some(sequence) = p.group_seq {
        writer.number("JMSXGroupSeq", u64::from(sequence));
    }
    if let Some(ms) = p.created_at {
        let time = match look.options.timestamps {
            TimeUnit::Milliseconds => ms,
            TimeUnit::Seconds => ms.div_euclid(1000),
        };
        say(writer, "timestamp", &time.to_string());
    }
    foreign_meta(writer, message, look);
    let mut pairs = Vec::with_capacity(fields.headers.len() + 4);
    carry::headers_as_text(&fields.headers, &mut pairs);
    // Reserved names that no field stands for are not carried (docs/SEMANTICS.md §4), but for what the broker itself
    // says of a message that a content route could not process, or that an operator moved.
    let is_brokers = message.native().format == Neutral::ID;
    pairs.retain(|(name, _)| {
        !name.starts_with(carry::RESERVED)
            || (name.starts_with("mq.error.") || &**name == "mq.redriven") && is_brokers
            || &**name == "mq.types" && look.options.carry != Carry::Off
    });
    for (name, text) in &pairs {
        say(writer, &wire_name(name), text);
    }
    pairs.clear();
    carry::carried(message, fields, slots(), look.options.carry, &mut pairs);
    for (name, text) in &pairs {
        say(writer, name, text);
    }
}

fn foreign_meta(writer: &mut Writer<'_>, message: &Message, look: Look<'_>) {
    let meta = message.meta();
    if meta.durable {
        writer.line(b"persistent", b"true");
    }
    if let Some(priority) = meta.priority {
        writer.number("priority", u64::from(priority.min(9)));
        if priority > 9 && look.options.carry != Carry::Off {
            writer.number("mq.priority", u64::from(priority));
        }
    }
    if let Some(at) = meta.expires {
        writer.number("expires", at.0);
    }
    if meta.retain {
        writer.line(b"retain", b"true");
    }
}

/// docs/SEMANTICS.md §5: something that a STOMP client can SEND to.
fn render_reply_to(reply_to: &ReplyTo) -> String {
    match reply_to {
        ReplyTo::Queue(name) => destination::render_queue("/amq/queue/", name),
        ReplyTo::Topic(key) => destination::render_topic(key),
        ReplyTo::Opaque(text) => text.to_string(),
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
