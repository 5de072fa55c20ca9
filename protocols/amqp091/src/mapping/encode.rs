//! Neutral fields → properties (docs/SEMANTICS.md §3), for messages that another protocol's client published. Pure;
//! what has no place here is carried or lost by the rules R2 to R6, and each field's fate is said where it is decided.

use super::address::{alias, reply_alias, reply_queue};
use super::inbound::PERSISTENT;
use super::{names, slots};
use crate::codec::Properties;
use crate::codec::table::{Pairs, put_pair};
use crate::codec::wire::SHORT_MAX;
use bytes::{Bytes, BytesMut};
use crossdock_core::fate::{Fate, Fates, Field, Why};
use crossdock_core::message::aliases::{self, Aliased, Aliases};
use crossdock_core::message::carry::{self, Carry};
use crossdock_core::message::lookup;
use crossdock_core::{Fields, FormatId, Id, Key, Message, Name, ReplyTo, Timestamp, Value};

/// Formats whose messages have a quality of service and a client id (docs/STORE.md).
const MQTT: [FormatId; 2] = [FormatId(3), FormatId(4)];

/// The property of that name.
const TIMESTAMP: &str = "timestamp";

/// Headers that are added to a message's own, mostly at most: room for them is made at once.
const ADDED: usize = 8;
/// Bytes that the headers of a message take, mostly at most. They are copied, so what is left over is free again.
const HEADERS_BYTES: usize = 512;

/// How and when a message is written.
#[derive(Clone, Copy)]
pub struct How<'a> {
    pub carry: Carry,
    pub now: Timestamp,
    /// Keeps what is too long for its property.
    pub aliases: &'a Aliases,
}

impl How<'_> {
    /// A value of that message's that has a name from now on.
    fn keep(&self, message: &Message, name: Name, value: Aliased) -> String {
        let text = name.to_string();
        self.aliases.keep(name, value, &message.meta().origin, self.now);
        text
    }
}

/// The properties of a foreign message. `expiration` is what remains now, so the result keeps only without one.
pub fn properties(
    message: &Message,
    fields: &Fields,
    how: How<'_>,
    fates: &mut impl Fates,
) -> Bytes {
    let (p, meta, How { carry, now, .. }) = (&fields.properties, message.meta(), how);
    let mut headers = own_headers(&fields.headers, carry, fates);
    annotations(&fields.annotations, &mut headers, fates);
    let message_id = message_id(p.message_id.as_ref(), &mut headers, fates);
    let long_id = |id: &Id| {
        let value = Aliased::Correlation(id.clone());
        how.keep(message, alias(aliases::CORRELATION, carry::text_of(id).as_bytes()), value)
    };
    let correlation_id = correlation_id(p.correlation_id.as_ref(), &mut headers, long_id);
    if p.correlation_id.is_some() {
        fates.note(Field::CorrelationId, "", Fate::Mapped("correlation-id"));
    }
    let long_topic =
        |topic: &Key| how.keep(message, reply_alias(topic), Aliased::Topic(topic.detached()));
    let reply_to = reply_to(p.reply_to.as_ref(), (&mut headers, fates), long_topic);
    field_headers(message, fields, &mut headers, fates);
    carried(message, fields, carry, &mut headers, fates);
    let expiration = meta.expires.map(|at| now.until(at).to_string());
    if expiration.is_some() {
        fates.note(Field::Expiry, "", Fate::Mapped("expiration"));
    }
    if meta.priority.is_some() {
        fates.note(Field::Priority, "", Fate::Mapped("priority"));
    }
    let mut table = BytesMut::with_capacity(HEADERS_BYTES);
    headers.iter().for_each(|(name, value)| put_pair(&mut table, name, value));
    Properties {
        content_type: short(Field::ContentType, p.content_type.as_ref(), fates),
        content_encoding: short(Field::ContentEncoding, p.content_encoding.as_ref(), fates),
        headers: (!headers.is_empty()).then_some(&*table),
        delivery_mode: Some(if meta.durable { PERSISTENT } else { 1 }),
        priority: meta.priority,
        correlation_id: correlation_id.as_deref().map(str::as_bytes),
        reply_to: reply_to.as_deref().map(str::as_bytes),
        expiration: expiration.as_deref().map(str::as_bytes),
        message_id: message_id.as_deref().map(str::as_bytes),
        timestamp: p.created_at.and_then(|ms| u64::try_from(ms).ok()).map(|ms| ms / 1000),
        kind: short(Field::Type, p.kind.as_ref(), fates),
        user_id: short(Field::UserId, p.user_id.as_ref(), fates),
        app_id: short(Field::AppId, p.app_id.as_ref(), fates),
        cluster_id: None,
    }
    .encode()
}

fn fits(text: &str) -> bool {
    text.len() <= SHORT_MAX
}

/// A field that does not fit its property is lost (R5): shortened, it would be another value.
fn short<'a>(field: Field, text: Option<&'a Name>, fates: &mut impl Fates) -> Option<&'a [u8]> {
    let text = text?;
    fates.note(field, "", if_fits(text, field.as_str()));
    fits(text).then_some(text.as_bytes())
}

/// The fate of a text whose place is that property.
fn if_fits<'a>(text: &str, property: &'a str) -> Fate<&'a str> {
    if fits(text) { Fate::Mapped(property) } else { Fate::Lost(Why::TooLong) }
}

/// Application headers: of a repeated name the first, and then all pairs as `mq.props`.
fn own_headers(pairs: &[(Name, Value)], carry: Carry, fates: &mut impl Fates) -> Pairs {
    let mut headers: Pairs = Vec::with_capacity(pairs.len() + ADDED);
    let mut seen = rustc_hash::FxHashSet::default();
    let mut repeated = false;
    for (name, value) in pairs {
        let fate = match (fits(name), carry) {
            (true, _) if seen.insert(name) => {
                headers.push((name.clone(), value.clone()));
                Fate::Mapped(&**name)
            }
            (true, Carry::Full) => {
                repeated = true;
                Fate::Carried("mq.props")
            }
            (true, _) => Fate::Lost(Why::PlaceTaken),
            (false, _) => Fate::Lost(Why::TooLong),
        };
        fates.note(Field::Header, name, fate);
    }
    if repeated {
        let pair = |(name, value): &(Name, Value)| {
            Value::List(vec![Value::Text(name.clone()), value.clone()])
        };
        let all = Value::List(pairs.iter().map(pair).collect());
        headers.push(("mq.props".into(), Value::text(&*carry::to_text(&all).0)));
    }
    headers
}

fn annotations(pairs: &[(Name, Value)], headers: &mut Pairs, fates: &mut impl Fates) {
    for (name, value) in pairs {
        if fits(name) {
            headers.push((name.clone(), value.clone()));
        }
        fates.note(Field::Annotation, name, if_fits(name, name));
    }
}

fn message_id(id: Option<&Id>, headers: &mut Pairs, fates: &mut impl Fates) -> Option<String> {
    let known = headers.len();
    let property = message_id_property(id?, headers);
    let place = if headers.len() > known { names::MESSAGE_ID } else { "message-id" };
    fates.note(Field::MessageId, "", Fate::Mapped(place));
    property
}

fn message_id_property(id: &Id, headers: &mut Pairs) -> Option<String> {
    match id {
        Id::Text(text) if fits(text) && !text.contains('\0') => Some(text.to_string()),
        Id::Text(text) => {
            headers.push((names::MESSAGE_ID.into(), Value::Text(text.clone())));
            None
        }
        Id::Binary(bytes) => {
            headers.push((names::MESSAGE_ID.into(), Value::Bytes(bytes.clone())));
            None
        }
        other => carry::id_to_text(other, SHORT_MAX),
    }
}

/// A value that the property cannot hold is replaced by an alias, because responders copy the property only; a header
/// has the bytes. `alias` names what is too long.
fn correlation_id(
    id: Option<&Id>,
    headers: &mut Pairs,
    alias: impl FnOnce(&Id) -> String,
) -> Option<String> {
    let id = id?;
    let text = carry::id_to_text(id, SHORT_MAX);
    match id {
        Id::Binary(bytes) => {
            headers.push((names::CORRELATION_ID.into(), Value::Bytes(bytes.clone())));
        }
        Id::Text(long) if text.is_none() => {
            headers.push((names::CORRELATION_ID.into(), Value::Text(long.clone())));
        }
        _ => {}
    }
    Some(text.unwrap_or_else(|| alias(id)))
}

/// `alias` names a topic that is too long.
fn reply_to(
    reply_to: Option<&ReplyTo>,
    (headers, fates): (&mut Pairs, &mut impl Fates),
    alias: impl FnOnce(&Key) -> String,
) -> Option<String> {
    match reply_to? {
        ReplyTo::Queue(name) | ReplyTo::Opaque(name) => {
            fates.note(Field::ReplyTo, "", if_fits(name, "reply-to"));
            fits(name).then(|| name.to_string())
        }
        ReplyTo::Topic(topic) => {
            fates.note(Field::ReplyTo, "", Fate::Mapped(names::REPLY_TO_TOPIC));
            let dotted = topic.swapped();
            let text = Value::text(&*String::from_utf8_lossy(dotted.bytes()));
            headers.push((names::REPLY_TO_TOPIC.into(), text));
            Some(reply_queue(topic).unwrap_or_else(|| alias(topic)))
        }
    }
}

/// Fields whose place here is a header.
fn field_headers(message: &Message, fields: &Fields, headers: &mut Pairs, fates: &mut impl Fates) {
    let (p, meta) = (&fields.properties, message.meta());
    let format = message.native().format;
    // False: a header of the sender's has that name.
    let mut put = |name: &str, value: Option<Value>| {
        let Some(value) = value else { return true };
        let is_free = lookup(headers, name).is_none();
        if is_free {
            headers.push((name.into(), value));
        }
        is_free
    };
    for (field, name, value) in [
        (Field::Subject, names::SUBJECT, p.subject.clone().map(Value::Text)),
        (Field::GroupId, names::GROUP_ID, p.group_id.clone().map(Value::Text)),
        (Field::GroupSeq, names::GROUP_SEQ, p.group_seq.map(|n| Value::I64(i64::from(n)))),
        (Field::Timestamp, names::TIMESTAMP_MS, p.created_at.map(Value::I64)),
    ] {
        let is_there = value.is_some();
        let fate = match put(name, value) {
            true => Fate::Mapped(name),
            // The property has the seconds.
            false if field == Field::Timestamp && p.created_at >= Some(0) => {
                Fate::Mapped(TIMESTAMP)
            }
            false => Fate::Lost(Why::PlaceTaken),
        };
        if is_there {
            fates.note(field, "", fate);
        }
    }
    put(names::RETAIN, meta.retain.then_some(Value::Bool(true)));
    if MQTT.contains(&format) {
        put(names::QOS, Some(Value::I8(i8::try_from(meta.level).unwrap_or_default())));
        let client = &meta.origin.client;
        put(names::ORIGIN_CLIENT, (!client.is_empty()).then(|| Value::Text(client.clone())));
    }
}

/// `mq.` headers for what has no place here, and where the message came from.
fn carried(
    message: &Message,
    fields: &Fields,
    carry: Carry,
    headers: &mut Pairs,
    fates: &mut impl Fates,
) {
    let mut pairs = Vec::new();
    carry::carried(message, fields, (slots(), carry), &mut pairs, fates);
    // These two have headers of their own here: x-death and x-opt-mqtt-client-id.
    let own = |name: &str| matches!(name, "mq.death" | "mq.origin-client-id");
    headers.extend(
        pairs.into_iter().filter(|(name, _)| !own(name)).map(|(n, text)| (n, Value::text(text))),
    );
    if carry != Carry::Full {
        return;
    }
    if let Some(protocol) = protocol(message.native().format) {
        headers.push((names::ORIGIN_PROTOCOL.into(), Value::text(protocol)));
        let received = i64::try_from(message.meta().published.0).unwrap_or(i64::MAX);
        headers.push((names::RECEIVED.into(), Value::I64(received)));
    }
}

/// The origin's protocol by its format (docs/STORE.md); what a transform made has none.
fn protocol(format: FormatId) -> Option<&'static str> {
    Some(match format.0 {
        2 => "amqp-1.0",
        3 => "mqtt-3.1.1",
        4 => "mqtt-5.0",
        5 => "stomp-1.0",
        6 => "stomp-1.1",
        7 => "stomp-1.2",
        _ => return None,
    })
}
