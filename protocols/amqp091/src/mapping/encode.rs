//! Neutral fields → properties (docs/SEMANTICS.md §3), for messages that another protocol's client published. Pure;
//! what has no place here is carried or lost by the rules R2 to R6.

use super::address::reply_queue;
use super::inbound::PERSISTENT;
use super::{names, slots};
use crate::codec::Properties;
use crate::codec::table::{Pairs, put_pair};
use crate::codec::wire::SHORT_MAX;
use bytes::{Bytes, BytesMut};
use crossdock_core::message::carry::{self, Carry};
use crossdock_core::message::lookup;
use crossdock_core::{Fields, FormatId, Id, Message, Name, ReplyTo, Timestamp, Value};

/// Formats whose messages have a quality of service and a client id (docs/STORE.md).
const MQTT: [FormatId; 2] = [FormatId(3), FormatId(4)];

/// Headers that are added to a message's own, mostly at most: room for them is made at once.
const ADDED: usize = 8;
/// Bytes that the headers of a message take, mostly at most. They are copied, so what is left over is free again.
const HEADERS_BYTES: usize = 512;

/// The properties of a foreign message. `expiration` is what remains now, so the result keeps only without one.
pub fn properties(message: &Message, fields: &Fields, carry: Carry, now: Timestamp) -> Bytes {
    let (p, meta) = (&fields.properties, message.meta());
    let mut headers = own_headers(&fields.headers, carry);
    headers.extend(fields.annotations.iter().filter(|(n, _)| fits(n)).cloned());
    let message_id = message_id(p.message_id.as_ref(), &mut headers);
    let correlation_id = correlation_id(p.correlation_id.as_ref(), &mut headers);
    let reply_to = reply_to(p.reply_to.as_ref(), &mut headers);
    field_headers(message, fields, &mut headers);
    carried(message, fields, carry, &mut headers);
    let expiration = meta.expires.map(|at| now.until(at).to_string());
    let mut table = BytesMut::with_capacity(HEADERS_BYTES);
    headers.iter().for_each(|(name, value)| put_pair(&mut table, name, value));
    Properties {
        content_type: short(p.content_type.as_ref()),
        content_encoding: short(p.content_encoding.as_ref()),
        headers: (!headers.is_empty()).then_some(&*table),
        delivery_mode: Some(if meta.durable { PERSISTENT } else { 1 }),
        priority: meta.priority,
        correlation_id: correlation_id.as_deref().map(str::as_bytes),
        reply_to: reply_to.as_deref().map(str::as_bytes),
        expiration: expiration.as_deref().map(str::as_bytes),
        message_id: message_id.as_deref().map(str::as_bytes),
        timestamp: p.created_at.and_then(|ms| u64::try_from(ms).ok()).map(|ms| ms / 1000),
        kind: short(p.kind.as_ref()),
        user_id: short(p.user_id.as_ref()),
        app_id: short(p.app_id.as_ref()),
        cluster_id: None,
    }
    .encode()
}

fn fits(text: &str) -> bool {
    text.len() <= SHORT_MAX
}

/// A field that does not fit its property is lost (R5): shortened, it would be another value.
fn short(field: Option<&Name>) -> Option<&[u8]> {
    field.filter(|text| fits(text)).map(|text| text.as_bytes())
}

/// Application headers: of a repeated name the first, and then all pairs as `mq.props`.
fn own_headers(pairs: &[(Name, Value)], carry: Carry) -> Pairs {
    let mut headers: Pairs = Vec::with_capacity(pairs.len() + ADDED);
    let mut seen = rustc_hash::FxHashSet::default();
    for (name, value) in pairs.iter().filter(|(name, _)| fits(name)) {
        if seen.insert(name) {
            headers.push((name.clone(), value.clone()));
        }
    }
    let repeated = seen.len() < pairs.iter().filter(|(name, _)| fits(name)).count();
    if repeated && carry == Carry::Full {
        let pair = |(name, value): &(Name, Value)| {
            Value::List(vec![Value::Text(name.clone()), value.clone()])
        };
        let all = Value::List(pairs.iter().map(pair).collect());
        headers.push(("mq.props".into(), Value::text(&*carry::to_text(&all).0)));
    }
    headers
}

fn message_id(id: Option<&Id>, headers: &mut Pairs) -> Option<String> {
    match id? {
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
/// has the bytes.
fn correlation_id(id: Option<&Id>, headers: &mut Pairs) -> Option<String> {
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
    text
}

fn reply_to(reply_to: Option<&ReplyTo>, headers: &mut Pairs) -> Option<String> {
    match reply_to? {
        ReplyTo::Queue(name) | ReplyTo::Opaque(name) => fits(name).then(|| name.to_string()),
        ReplyTo::Topic(topic) => {
            let dotted = topic.swapped();
            let text = Value::text(&*String::from_utf8_lossy(dotted.bytes()));
            headers.push((names::REPLY_TO_TOPIC.into(), text));
            reply_queue(topic)
        }
    }
}

/// Fields whose place here is a header.
fn field_headers(message: &Message, fields: &Fields, headers: &mut Pairs) {
    let (p, meta) = (&fields.properties, message.meta());
    let format = message.native().format;
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value
            && lookup(headers, name).is_none()
        {
            headers.push((name.into(), value));
        }
    };
    put(names::SUBJECT, p.subject.clone().map(Value::Text));
    put(names::GROUP_ID, p.group_id.clone().map(Value::Text));
    put(names::GROUP_SEQ, p.group_seq.map(|n| Value::I64(i64::from(n))));
    put(names::TIMESTAMP_MS, p.created_at.map(Value::I64));
    put(names::RETAIN, meta.retain.then_some(Value::Bool(true)));
    if MQTT.contains(&format) {
        put(names::QOS, Some(Value::I8(i8::try_from(meta.level).unwrap_or_default())));
        let client = &meta.origin.client;
        put(names::ORIGIN_CLIENT, (!client.is_empty()).then(|| Value::Text(client.clone())));
    }
}

/// `mq.` headers for what has no place here, and where the message came from.
fn carried(message: &Message, fields: &Fields, carry: Carry, headers: &mut Pairs) {
    let mut pairs = Vec::new();
    carry::carried(message, fields, slots(), carry, &mut pairs);
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
