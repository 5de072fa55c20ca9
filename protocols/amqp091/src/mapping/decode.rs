//! Properties → neutral fields (docs/SEMANTICS.md §3), for readers of other protocols, selectors and transforms.

use super::address::reply_topic;
use super::{FORMAT, names, slots};
use crate::codec::table::{self, Pairs};
use crate::codec::{Properties, table::seconds_to_ms};
use bytes::Bytes;
use crossdock_core::message::{carry, lookup};
use crossdock_core::{
    BodyKind, Error, ErrorKind, Fields, Format, FormatId, Id, Key, Name, ReplyTo, Value,
};

/// Reads this protocol's header bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Amqp091Format;

impl Format for Amqp091Format {
    fn id(&self) -> FormatId {
        FORMAT
    }

    fn name(&self) -> &'static str {
        "amqp-0.9.1"
    }

    fn copies_header(&self) -> Option<&'static str> {
        Some(names::CC)
    }

    fn decode(&self, native: &Bytes, _body: &Bytes) -> Result<Fields, Error> {
        let malformed = |_| Error::new(ErrorKind::Invalid, "malformed properties");
        let raw = Properties::decode(native).map_err(malformed)?;
        let headers = table::decode(raw.headers.unwrap_or_default()).map_err(malformed)?;
        let mut fields = Fields { headers, ..Fields::default() };
        let p = &mut fields.properties;
        p.content_type = text(raw.content_type);
        p.content_encoding = text(raw.content_encoding);
        p.user_id = text(raw.user_id);
        p.app_id = text(raw.app_id);
        p.kind = text(raw.kind);
        p.message_id = text(raw.message_id).map(Id::Text);
        p.correlation_id = raw.correlation_id.map(correlation_id);
        p.reply_to = text(raw.reply_to).map(reply_to);
        p.created_at = raw.timestamp.map(seconds_to_ms);
        if p.content_type.as_deref().is_some_and(is_text) {
            p.body_kind = BodyKind::Text;
        }
        take_headers(&mut fields);
        carry::restore(&mut fields, slots());
        Ok(fields)
    }
}

fn text(bytes: Option<&[u8]>) -> Option<Name> {
    bytes.map(|bytes| Name::from(&*String::from_utf8_lossy(bytes)))
}

/// Correlation ids are often binary, although the property's type is text.
fn correlation_id(bytes: &[u8]) -> Id {
    match std::str::from_utf8(bytes) {
        Ok(text) => carry::id_from_text(text),
        Err(_) => Id::Binary(Bytes::copy_from_slice(bytes)),
    }
}

fn reply_to(name: Name) -> ReplyTo {
    match reply_topic(&name) {
        Some(topic) => ReplyTo::Topic(topic),
        None => ReplyTo::Queue(name),
    }
}

/// Text by its content type: a charset, `text/*`, JSON, XML.
fn is_text(content_type: &str) -> bool {
    let content_type = content_type.to_ascii_lowercase();
    let (essence, parameters) = content_type.split_once(';').unwrap_or((&content_type, ""));
    let subtype = essence.trim().split_once('/').map_or("", |(_, subtype)| subtype);
    essence.starts_with("text/")
        || parameters.contains("charset=")
        || matches!(subtype, "json" | "xml")
        || subtype.ends_with("+json")
        || subtype.ends_with("+xml")
}

/// Headers that stand for a field set it and go; what only the broker writes for readers of this protocol goes too.
fn take_headers(fields: &mut Fields) {
    let find = |headers: &Pairs, name: &str| lookup(headers, name).cloned();
    let headers = std::mem::take(&mut fields.headers);
    let as_text = |name: &str| find(&headers, name)?.as_str().map(Name::from);
    let p = &mut fields.properties;
    if let Some(topic) = as_text(names::REPLY_TO_TOPIC) {
        p.reply_to = Some(ReplyTo::Topic(Key::from(&*topic).swapped()));
    }
    if let Some(id) = find(&headers, names::MESSAGE_ID).and_then(id) {
        p.message_id = Some(id);
    }
    if let Some(id) = find(&headers, names::CORRELATION_ID).and_then(id) {
        p.correlation_id = Some(id);
    }
    p.subject = as_text(names::SUBJECT);
    p.group_id = as_text(names::GROUP_ID).or_else(|| as_text(names::GROUP_ID_JMS));
    let seq = find(&headers, names::GROUP_SEQ).and_then(|v| v.as_i64());
    p.group_seq = seq.and_then(|n| u32::try_from(n).ok());
    if let Some(ms) = find(&headers, names::TIMESTAMP_MS).and_then(|v| v.as_i64()) {
        p.created_at = Some(ms);
    }
    fields.headers = headers;
    fields.headers.retain(|(name, _)| !stands_for_something(name));
}

fn id(value: Value) -> Option<Id> {
    match value {
        Value::Text(text) | Value::Symbol(text) => Some(carry::id_from_text(&text)),
        Value::Bytes(bytes) => Some(Id::Binary(bytes)),
        _ => None,
    }
}

fn stands_for_something(name: &str) -> bool {
    const TAKEN: [&str; 14] = [
        names::SUBJECT,
        names::GROUP_ID,
        names::GROUP_ID_JMS,
        names::GROUP_SEQ,
        names::MESSAGE_ID,
        names::CORRELATION_ID,
        names::REPLY_TO_TOPIC,
        names::TIMESTAMP_MS,
        names::QOS,
        names::RETAIN,
        names::RETAINED,
        names::DEATH,
        names::DELIVERY_COUNT,
        names::ROUTING_KEY,
    ];
    TAKEN.contains(&name) || names::FIRST_DEATH.contains(&name) || names::LAST_DEATH.contains(&name)
}
