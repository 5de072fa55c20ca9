//! A message → the part of a MESSAGE frame that all its receivers share: everything behind the headers of the single
//! delivery. A reader of the sender's version gets the sender's own lines (docs/SEMANTICS.md R1), another version the
//! same headers escaped its way, everybody else's messages are written from their `Fields` (R2, R3). Of each field that
//! is not simply copied it is said what becomes of it.

use super::destination::{self, Cast, Destination, Usage};
use super::format::{format_id, is_of_delivery, version_of, wire_name};
use super::send::is_applications;
use super::slots;
use crate::codec::{Header, Headers, Version, Writer};
use crate::options::{Door, TimeUnit};
use bytes::{Bytes, BytesMut};
use crossdock_core::fate::{Fate, Fates, Field, Losses, Why, annotations_lost};
use crossdock_core::message::carry::{self, Carry};
use crossdock_core::{Fields, Formats, Message, Meta, Neutral, ReplyTo};

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

/// Headers of a dead letter that the broker writes; a message that did not die has the sender's.
fn is_of_death(name: &[u8]) -> bool {
    name.starts_with(b"x-first-death-") || name == b"dlqDeliveryFailureCause"
}

/// Who will read it.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    pub version: Version,
    pub topic_exchange: &'a str,
    pub formats: &'a Formats,
    pub door: &'a Door,
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
    let mut losses = Losses::default();
    let writer = Writer::go_on(&mut out, look.version.rules());
    let mut said = Said { writer, fates: &mut losses };
    match native_headers(message) {
        Some((version, headers)) => native(&mut said, message, (&headers, version), look),
        None => foreign(&mut said, message, look),
    }
    let writer = said.writer;
    match holds_body(message) {
        true => writer.body(body),
        false => writer.shared_body(body),
    }
    message.converted(format_id(look.version), look.formats, losses);
    out.freeze()
}

fn native_headers(message: &Message) -> Option<(Version, Headers)> {
    let native = message.native();
    let version = version_of(native.format)?;
    Some((version, Headers::parse(native.bytes.clone(), version.rules()).ok()?))
}

/// A header block that is being written, and who is told what becomes of each field.
struct Said<'a, F> {
    writer: Writer<'a>,
    fates: &'a mut F,
}

impl<F: Fates> Said<'_, F> {
    /// One header that is no field of the sender's, or nothing where this version cannot say it.
    fn say(&mut self, name: &str, value: &str) -> bool {
        self.writer.header(name, value)
    }

    /// A field in a header of its own (docs/SEMANTICS.md R2), or not at all (R5).
    fn field(&mut self, field: Field, name: &str, value: &str) {
        let fate = written(self.say(name, value), Fate::Mapped(name));
        self.fates.note(field, "", fate);
    }

    /// An application header, under the name that is free for it.
    fn application(&mut self, own: &str, name: &str, value: &str) {
        let fate = written(self.say(name, value), Fate::Mapped(name));
        self.fates.note(Field::Header, own, fate);
    }

    /// A field as a header that says whose place it stands for (R3), or what the broker says of the message.
    fn carried(&mut self, name: &str, value: &str) {
        let fate = written(self.say(name, value), Fate::Carried(name));
        if let Some(field) = carry::carried_field(name) {
            self.fates.note(field, "", fate);
        }
    }

    /// A header as it was sent, in the words of another version.
    fn resay(&mut self, name: &str, shown: &str, value: &str) {
        let fate = written(self.say(shown, value), Fate::Native);
        match field_of(name) {
            Some(field) => self.fates.note(field, "", fate),
            None => self.fates.note(Field::Header, name, fate),
        }
    }
}

/// The fate of a header; versions before 1.2 have no words for some characters.
fn written(is_written: bool, fate: Fate<&str>) -> Fate<&str> {
    if is_written { fate } else { Fate::Lost(Why::NotWritable) }
}

/// The field that a header of a SEND stands for; none: it is the application's.
fn field_of(name: &str) -> Option<Field> {
    Some(match name {
        "content-type" => Field::ContentType,
        "content-encoding" => Field::ContentEncoding,
        "user-id" => Field::UserId,
        "app-id" => Field::AppId,
        "type" => Field::Type,
        "JMSXGroupID" => Field::GroupId,
        "JMSXGroupSeq" => Field::GroupSeq,
        "amqp-message-id" => Field::MessageId,
        "correlation-id" => Field::CorrelationId,
        "reply-to" => Field::ReplyTo,
        "timestamp" => Field::Timestamp,
        "priority" => Field::Priority,
        "expires" | "expiration" => Field::Expiry,
        _ => return carry::carried_field(name),
    })
}

fn native(
    said: &mut Said<'_, impl Fates>,
    message: &Message,
    (headers, version): (&Headers, Version),
    look: Look<'_>,
) {
    let same = version == look.version;
    match as_sent(message, headers, look) {
        // Where a message went is no field of it.
        Some(header) if same => said.writer.line(header.raw_name, header.raw_value),
        Some(header) => _ = said.say(&header.name(), &header.value()),
        None => {
            let name = destination::render(message.address(), look.topic_exchange);
            said.say("destination", &name);
        }
    }
    let meta = message.meta();
    // Dead-lettering takes the expiry away; a client that reads it would throw the message away itself.
    let has_died = !meta.deaths().is_empty();
    let keeps_expiry = meta.expires.is_some() || !has_died;
    for header in headers.iter() {
        match header.raw_name {
            b"destination" | b"content-length" | b"receipt" | b"transaction" => {}
            b"expires" if !keeps_expiry && !is_applications(header) => {}
            b"expiration" if !keeps_expiry => {}
            name if is_of_delivery(name) => {
                let name = header.name();
                said.resay(&name, &format!("mq.h.{name}"), &header.value());
            }
            name if BROKER_WORDS.iter().any(|word| name.starts_with(word)) => {}
            name if has_died && is_of_death(name) => {}
            b"timestamp" if look.door.timestamps == TimeUnit::Seconds => {
                let value = header.value();
                let time = value.trim().parse().map(|ms| in_unit(ms, look).to_string());
                said.resay("timestamp", "timestamp", time.as_deref().unwrap_or(&value));
            }
            name if same => said.writer.line(name, header.raw_value),
            _ => said.resay(&header.name(), &header.name(), &header.value()),
        }
    }
    if !meta.deaths().is_empty() {
        deaths(said, meta);
    }
}

/// A time in milliseconds as this reader counts it.
fn in_unit(ms: i64, look: Look<'_>) -> i64 {
    match look.door.timestamps {
        TimeUnit::Milliseconds => ms,
        TimeUnit::Seconds => ms.div_euclid(1000),
    }
}

/// What the broker says of a dead letter: in the words of all protocols, and in those that users of RabbitMQ and
/// ActiveMQ look for.
#[cold]
fn deaths(said: &mut Said<'_, impl Fates>, meta: &Meta) {
    if let Some(death) = meta.deaths().first() {
        let (queue, reason, count) = (&death.queue, death.reason.as_str(), death.count);
        said.say("mq.death", &format!("{queue};{reason};{count}"));
    }
    first_death(said, meta);
}

fn first_death(said: &mut Said<'_, impl Fates>, meta: &Meta) {
    let Some(first) = meta.first_death() else { return };
    said.say("x-first-death-queue", &first.queue);
    said.say("x-first-death-reason", first.reason.as_str());
    said.say("x-first-death-exchange", &first.address.exchange);
    let Some(newest) = meta.deaths().first() else { return };
    let why = newest.detail.as_deref().unwrap_or(newest.reason.as_str());
    said.say("dlqDeliveryFailureCause", why);
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
    let Ok(destination) = destination::parse(text, Usage::Send, cast, look.door) else {
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

fn foreign(said: &mut Said<'_, impl Fates>, message: &Message, look: Look<'_>) {
    let fields = message.fields(look.formats);
    let p = &fields.properties;
    said.say("destination", &destination::render(message.address(), look.topic_exchange));
    for (field, name, value) in [
        (Field::ContentType, "content-type", &p.content_type),
        (Field::ContentEncoding, "content-encoding", &p.content_encoding),
        (Field::UserId, "user-id", &p.user_id),
        (Field::AppId, "app-id", &p.app_id),
        (Field::Type, "type", &p.kind),
        (Field::GroupId, "JMSXGroupID", &p.group_id),
    ] {
        if let Some(value) = value {
            said.field(field, name, value);
        }
    }
    for (field, name, id) in [
        (Field::MessageId, "amqp-message-id", &p.message_id),
        (Field::CorrelationId, "correlation-id", &p.correlation_id),
    ] {
        if let Some(text) = id.as_ref().and_then(|id| carry::id_to_text(id, usize::MAX)) {
            said.field(field, name, &text);
        }
    }
    if let Some(reply_to) = &p.reply_to {
        said.field(Field::ReplyTo, "reply-to", &render_reply_to(reply_to));
    }
    if let Some(sequence) = p.group_seq {
        said.field(Field::GroupSeq, "JMSXGroupSeq", &sequence.to_string());
    }
    if let Some(ms) = p.created_at {
        let time = in_unit(ms, look);
        said.field(Field::Timestamp, "timestamp", &time.to_string());
    }
    foreign_meta(said, message, look);
    first_death(said, message.meta());
    foreign_headers(said, message, fields, look);
    annotations_lost(fields, said.fates);
}

/// Application headers, and what is carried among them.
fn foreign_headers(
    said: &mut Said<'_, impl Fates>,
    message: &Message,
    fields: &Fields,
    look: Look<'_>,
) {
    let carry = look.door.carry;
    let mut pairs = Vec::with_capacity(fields.headers.len() + 4);
    carry::headers_as_text(&fields.headers, &mut pairs);
    // Reserved names that no field stands for are not carried (docs/SEMANTICS.md §4), but for what the broker itself
    // says of a message that a content route could not process, or that an operator moved.
    let is_brokers = message.native().format == Neutral::ID;
    let has_died = !message.meta().deaths().is_empty();
    for (at, (name, text)) in pairs.iter().enumerate() {
        let is_reserved = name.starts_with(carry::RESERVED);
        match at < fields.headers.len() {
            true if has_died && is_of_death(name.as_bytes()) => {
                said.fates.note(Field::Header, name, Fate::Lost(Why::Reserved));
            }
            true if !is_reserved || is_brokers && carry::is_brokers_own(name) => {
                said.application(name, &wire_name(name), text);
            }
            true => said.fates.note(Field::Header, name, Fate::Lost(Why::Reserved)),
            // Behind the headers stand their types, if one is no text.
            false if carry == Carry::Off => {
                said.fates.note(Field::HeaderType, "", Fate::Lost(Why::NotCarried));
            }
            false => said.carried(&wire_name(name), text),
        }
    }
    pairs.clear();
    carry::carried(message, fields, (slots(), carry), &mut pairs, said.fates);
    for (name, text) in &pairs {
        said.carried(name, text);
    }
}

fn foreign_meta(said: &mut Said<'_, impl Fates>, message: &Message, look: Look<'_>) {
    let meta = message.meta();
    if meta.durable {
        said.writer.line(b"persistent", b"true");
    }
    if let Some(priority) = meta.priority {
        said.writer.number("priority", u64::from(priority.min(9)));
        let fate = match (priority > 9, look.door.carry) {
            (false, _) => Fate::Mapped("priority"),
            (true, Carry::Off) => Fate::Lost(Why::NotCarried),
            (true, _) => {
                said.writer.number("mq.priority", u64::from(priority));
                Fate::Carried("mq.priority")
            }
        };
        said.fates.note(Field::Priority, "", fate);
    }
    if let Some(at) = meta.expires {
        said.writer.number("expires", at.0);
        said.fates.note(Field::Expiry, "", Fate::Mapped("expires"));
    }
    if meta.retain {
        said.writer.line(b"retain", b"true");
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
