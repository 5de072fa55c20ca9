//! A message between the steps of a route: its parts, which steps change, and the result with its address.

use crate::destination;
use bytes::Bytes;
use crossdock_core::exchange::selector::Input;
use crossdock_core::message::carry;
use crossdock_core::{
    Address, BodyKind, Fields, Formats, Id, Key, Message, Meta, Name, Properties, ReplyTo, Value,
};

/// Largest name and largest value of a header that a step sets, in bytes.
const NAME_MAX: usize = 255;
const VALUE_MAX: usize = 64 * 1024;

/// Bytes of a body that a difference shows.
const BODY_SHOWN: usize = 512;

/// The working copy of a message. Copies share the body.
#[derive(Debug, Clone)]
pub struct Draft {
    source: Message,
    meta: Meta,
    fields: Fields,
    body: Bytes,
    /// The address that a module chose.
    target: Option<Address>,
    changed: bool,
}

impl Draft {
    pub(crate) fn of(source: &Message, formats: &Formats) -> Self {
        Self {
            source: source.clone(),
            meta: source.meta().clone(),
            fields: source.fields(formats).clone(),
            body: source.body().clone(),
            target: None,
            changed: false,
        }
    }

    /// Where the original was published to.
    pub(crate) fn address(&self) -> &Address {
        self.source.address()
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    pub(crate) fn headers(&self) -> &[(Name, Value)] {
        &self.fields.headers
    }

    pub(crate) fn content_type(&self) -> Option<&str> {
        self.fields.properties.content_type.as_deref()
    }

    pub(crate) fn target(&self) -> Option<&Address> {
        self.target.as_ref()
    }

    pub(crate) fn set_target(&mut self, address: Address) {
        self.target = Some(address);
    }

    /// The first thing in which two results of one message differ: what this one has, and what the other.
    pub(crate) fn difference(&self, other: &Draft) -> Option<(String, String)> {
        let target = |draft: &Draft| match &draft.target {
            Some(address) => format!("to {address}"),
            None => "to where the route sends".to_owned(),
        };
        if self.target != other.target {
            return Some((target(self), target(other)));
        }
        if self.body != other.body {
            return Some((body_words(&self.body), body_words(&other.body)));
        }
        let (ours, theirs) = (&self.fields, &other.fields);
        if self.meta.priority != other.meta.priority {
            let words = |draft: &Draft| format!("priority: {:?}", draft.meta.priority);
            return Some((words(self), words(other)));
        }
        if ours.headers != theirs.headers {
            let words = |fields: &Fields| format!("headers: {:?}", fields.headers);
            return Some((words(ours), words(theirs)));
        }
        (ours != theirs).then(|| {
            let words = |fields: &Fields| format!("properties: {:?}", fields.properties);
            (words(ours), words(theirs))
        })
    }

    /// The input of an expression.
    pub(crate) fn input(&self) -> Input<'_> {
        Input {
            address: self.source.address(),
            meta: &self.meta,
            fields: &self.fields,
            body: &self.body,
            topic_exchange: None,
            access: None,
            coerce: false,
        }
    }

    /// The finished message, with the original's hops: the core counts them. One that no step changed keeps its
    /// sender's header bytes.
    pub(crate) fn message(&self, address: Address) -> Message {
        let meta = self.meta.clone();
        match self.changed {
            false => self.source.with(address, meta),
            true => Message::from_fields(address, meta, &self.fields, self.body.clone()),
        }
    }

    pub(crate) fn set_body(&mut self, body: Bytes) {
        // The sender said that the body is text; that does not apply to bytes that a step wrote.
        if std::str::from_utf8(&body).is_err() {
            self.fields.properties.body_kind = BodyKind::Bytes;
        }
        self.body = body;
        self.changed = true;
    }

    /// The first header of that name; without one, the property.
    pub(crate) fn header(&self, name: &str) -> Option<Value> {
        match self.fields.header(name) {
            Some(value) => Some(value.clone()),
            None => self.property(name),
        }
    }

    /// The property of that name.
    pub(crate) fn property(&self, name: &str) -> Option<Value> {
        let p = &self.fields.properties;
        if name == "priority" {
            return self.meta.priority.map(Value::U8);
        }
        let text = match name {
            "timestamp" => return p.created_at.map(Value::Timestamp),
            "message_id" => return p.message_id.as_ref().and_then(id_value),
            "correlation_id" => return p.correlation_id.as_ref().and_then(id_value),
            "reply_to" => return p.reply_to.as_ref().map(reply_to_value),
            "user_id" => &p.user_id,
            other => text_property_of(p, other)?,
        };
        text.clone().map(Value::Text)
    }

    /// Sets a header or a property; NULL removes it. Repeated headers of that name are replaced by one.
    pub(crate) fn set(&mut self, name: &str, value: Value) -> Result<(), String> {
        if value == Value::Null {
            return self.remove(name);
        }
        let length = match &value {
            Value::Text(text) | Value::Symbol(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        if name.is_empty() || name.len() > NAME_MAX || length > VALUE_MAX {
            return Err(format!(
                "a header has a name of 1 to {NAME_MAX} bytes and at most {VALUE_MAX} bytes of value"
            ));
        }
        self.changed = true;
        let text = || text_of(&value).ok_or_else(|| format!("{name} cannot hold this value"));
        let p = &mut self.fields.properties;
        match name {
            "priority" => {
                let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
                let priority = number.and_then(|n| u8::try_from(n).ok());
                let priority = priority.ok_or("priority is not a number from 0 to 255")?;
                self.meta.priority = Some(priority);
            }
            "timestamp" => {
                let ms = match value {
                    Value::Timestamp(ms) => Some(ms),
                    ref other => other.as_i64(),
                };
                p.created_at = Some(ms.ok_or("timestamp is not a number of milliseconds")?);
            }
            "message_id" => p.message_id = Some(id_of(&value).ok_or("message_id is not an id")?),
            "correlation_id" => {
                p.correlation_id = Some(id_of(&value).ok_or("correlation_id is not an id")?);
            }
            "reply_to" => p.reply_to = Some(reply_to_of(&text()?)),
            "user_id" => return Err(USER_ID.into()),
            _ => match text_property(p, name) {
                Some(property) => *property = Some(text()?),
                None => self.set_header(name, value),
            },
        }
        Ok(())
    }

    /// Removes all headers of that name, or the property.
    pub(crate) fn remove(&mut self, name: &str) -> Result<(), String> {
        self.changed = true;
        let p = &mut self.fields.properties;
        match name {
            "priority" => self.meta.priority = None,
            "timestamp" => p.created_at = None,
            "message_id" => p.message_id = None,
            "correlation_id" => p.correlation_id = None,
            "reply_to" => p.reply_to = None,
            "user_id" => return Err(USER_ID.into()),
            _ => {
                if let Some(property) = text_property(p, name) {
                    *property = None;
                }
            }
        }
        self.fields.headers.retain(|(known, _)| &**known != name);
        Ok(())
    }

    fn set_header(&mut self, name: &str, value: Value) {
        let headers = &mut self.fields.headers;
        match headers.iter().position(|(known, _)| &**known == name) {
            None => headers.push((name.into(), value)),
            Some(first) => {
                let mut at = 0;
                headers.retain(|(known, _)| {
                    at += 1;
                    at - 1 <= first || &**known != name
                });
                if let Some((_, old)) = headers.get_mut(first) {
                    *old = value;
                }
            }
        }
    }
}

/// The beginning of a body, as text.
fn body_words(body: &Bytes) -> String {
    let part = body.get(..BODY_SHOWN).unwrap_or(body);
    format!("{} bytes: {}", body.len(), String::from_utf8_lossy(part))
}

/// The broker guarantees who published, so no step may change it.
const USER_ID: &str = "user_id cannot be changed";

fn text_property<'p>(p: &'p mut Properties, name: &str) -> Option<&'p mut Option<Name>> {
    Some(match name {
        "content_type" => &mut p.content_type,
        "content_encoding" => &mut p.content_encoding,
        "app_id" => &mut p.app_id,
        "type" => &mut p.kind,
        "subject" => &mut p.subject,
        "group_id" => &mut p.group_id,
        _ => return None,
    })
}

fn text_property_of<'p>(p: &'p Properties, name: &str) -> Option<&'p Option<Name>> {
    Some(match name {
        "content_type" => &p.content_type,
        "content_encoding" => &p.content_encoding,
        "app_id" => &p.app_id,
        "type" => &p.kind,
        "subject" => &p.subject,
        "group_id" => &p.group_id,
        _ => return None,
    })
}

fn text_of(value: &Value) -> Option<Name> {
    match value {
        Value::Text(text) | Value::Symbol(text) => Some(text.clone()),
        Value::Null | Value::Bytes(_) | Value::List(_) | Value::Map(_) => None,
        scalar => Some(carry::to_text(scalar).0.as_ref().into()),
    }
}

fn id_value(id: &Id) -> Option<Value> {
    Some(match id {
        Id::Text(text) => Value::Text(text.clone()),
        Id::Binary(bytes) => Value::Bytes(bytes.clone()),
        Id::Uuid(uuid) => Value::Uuid(*uuid),
        Id::U64(n) => Value::U64(*n),
    })
}

fn id_of(value: &Value) -> Option<Id> {
    match value {
        Value::Bytes(bytes) => Some(Id::Binary(bytes.clone())),
        Value::Uuid(uuid) => Some(Id::Uuid(*uuid)),
        Value::U64(n) => Some(Id::U64(*n)),
        other => text_of(other).map(Id::Text),
    }
}

fn reply_to_value(reply_to: &ReplyTo) -> Value {
    match reply_to {
        ReplyTo::Queue(name) => Value::text(format!("queue:{name}")),
        ReplyTo::Topic(key) => Value::text(format!("topic:{key}")),
        ReplyTo::Opaque(text) => Value::Text(text.clone()),
    }
}

fn reply_to_of(text: &str) -> ReplyTo {
    match destination::address(text, &Name::default()) {
        Ok(address) if text.starts_with("queue:") => {
            ReplyTo::Queue(Name::from(address.key.to_string()))
        }
        Ok(address) if text.starts_with("topic:") => {
            ReplyTo::Topic(Key::new(address.key.bytes().clone()))
        }
        _ => ReplyTo::Opaque(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossdock_core::Timestamp;
    use std::sync::Arc;

    fn draft() -> (Draft, Formats) {
        let mut fields = Fields::default();
        for (name, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
            fields.headers.push((name.into(), Value::text(value)));
        }
        fields.properties.user_id = Some("ann".into());
        let meta = Meta::new(Arc::default(), Timestamp(5));
        let body = Bytes::from_static(b"body");
        let message = Message::from_fields(Address::queue("in"), meta, &fields, body);
        let formats = Formats::new(Vec::new());
        (Draft::of(&message, &formats), formats)
    }

    #[test]
    fn headers_are_set_and_removed() {
        let (mut draft, _) = draft();
        draft.set("a", Value::I64(9)).unwrap();
        let names: Vec<&str> = draft.headers().iter().map(|(n, _)| &**n).collect();
        assert_eq!(names, ["a", "b"], "one of the repeated remains, in its place");
        assert_eq!(draft.header("a"), Some(Value::I64(9)));
        draft.set("b", Value::Null).unwrap();
        draft.remove("a").unwrap();
        assert!(draft.headers().is_empty());
    }

    #[test]
    fn property_names_set_properties() {
        let (mut draft, formats) = draft();
        draft.set("priority", Value::text("7")).unwrap();
        draft.set("content_type", Value::text("text/plain")).unwrap();
        draft.set("type", Value::I8(4)).unwrap();
        draft.set("message_id", Value::U64(5)).unwrap();
        draft.set("reply_to", Value::text("queue:back")).unwrap();
        draft.set("timestamp", Value::I64(77)).unwrap();
        assert_eq!(draft.header("reply_to"), Some(Value::text("queue:back")));
        assert!(draft.set("priority", Value::I64(256)).is_err());
        assert!(draft.set("subject", Value::List(Vec::new())).is_err());
        assert!(draft.set("user_id", Value::text("bob")).is_err());
        assert!(draft.set("x", Value::text("y".repeat(VALUE_MAX + 1))).is_err());
        assert!(
            draft.set("", Value::I8(1)).is_err()
                && draft.set(&"x".repeat(256), Value::I8(1)).is_err()
        );
        assert!(draft.remove("user_id").is_err());
        assert_eq!(draft.header("user_id"), Some(Value::text("ann")));
        let message = draft.message(Address::queue("out"));
        let p = &message.fields(&formats).properties;
        assert_eq!(message.meta().priority, Some(7));
        assert_eq!((p.content_type.as_deref(), p.kind.as_deref()), (Some("text/plain"), Some("4")));
        assert_eq!(p.message_id, Some(Id::U64(5)));
        assert_eq!(p.reply_to, Some(ReplyTo::Queue("back".into())));
        assert_eq!(p.created_at, Some(77));
        assert_eq!((message.meta().hops, message.meta().published), (0, Timestamp(5)));
    }

    #[test]
    fn an_unchanged_draft_keeps_the_native_bytes() {
        let (draft, _) = draft();
        let message = draft.message(Address::queue("out"));
        assert_eq!(message.native().bytes, draft.source.native().bytes);
        assert_eq!(message.address(), &Address::queue("out"));
    }
}
