//! A SEND's header block → `Fields` (docs/SEMANTICS.md §3), for readers of other protocols. What the broker acts on
//! (persistent, priority, expiry, retain, delay) is in `Meta` and no field here.

use super::destination::{self, Destination, Usage};
use super::queue;
use super::send::is_applications;
use super::slots;
use crate::codec::{Header, Headers, Version};
use crate::options::Door;
use bytes::Bytes;
use crossdock_core::message::carry;
use crossdock_core::{BodyKind, Error, ErrorKind, Fields, Format, FormatId, Name, ReplyTo, Value};
use std::borrow::Cow;

/// The number of a version's header format, fixed for ever (docs/STORE.md).
pub(crate) fn format_id(version: Version) -> FormatId {
    FormatId(match version {
        Version::V10 => 5,
        Version::V11 => 6,
        Version::V12 => 7,
    })
}

/// The version a stored header block was written in.
pub(super) fn version_of(format: FormatId) -> Option<Version> {
    Version::ALL.into_iter().find(|version| format_id(*version) == format)
}

/// Reads header blocks of one version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StompFormat {
    pub version: Version,
}

impl Format for StompFormat {
    fn id(&self) -> FormatId {
        format_id(self.version)
    }

    fn name(&self) -> &'static str {
        match self.version {
            Version::V10 => "stomp-1.0",
            Version::V11 => "stomp-1.1",
            Version::V12 => "stomp-1.2",
        }
    }

    fn decode(&self, native: &Bytes, _body: &Bytes) -> Result<Fields, Error> {
        let headers = Headers::parse(native.clone(), self.version.rules())
            .map_err(|fault| Error::new(ErrorKind::Invalid, fault.to_string()))?;
        let mut fields = Fields::default();
        let mut seen = Seen::default();
        let to_queue = headers.find("destination").is_some_and(|h| names_queue(h, &headers));
        for header in headers.iter() {
            let name = header.name();
            let of_queue = to_queue && queue::is_argument(&name);
            let acted_on = is_acted_on(&name) && !(name == "expires" && is_applications(header));
            if of_queue || is_about_the_frame(&name) || acted_on {
                continue;
            }
            let value = header.value();
            if !self.property(&name, &value, &mut fields, &mut seen) {
                fields.headers.push((Name::from(&*name), Value::text(&*value)));
            }
        }
        carry::restore(&mut fields, slots());
        fields.properties.body_kind = body_kind(&fields, &seen);
        Ok(fields)
    }
}

/// What the headers said about the body.
#[derive(Debug, Default)]
struct Seen {
    message_type: Option<BodyKind>,
}

impl StompFormat {
    /// Sets the property that the header stands for. True when it is one, repeated ones included: of repeated
    /// headers the first counts (STOMP 1.2 §Repeated Header Entries).
    fn property(&self, name: &str, value: &str, fields: &mut Fields, seen: &mut Seen) -> bool {
        let p = &mut fields.properties;
        let text = match name {
            "content-type" => &mut p.content_type,
            "content-encoding" => &mut p.content_encoding,
            "user-id" => &mut p.user_id,
            "app-id" => &mut p.app_id,
            "type" => &mut p.kind,
            "JMSXGroupID" => &mut p.group_id,
            _ => return self.typed_property(name, value, fields, seen),
        };
        text.get_or_insert_with(|| value.into());
        true
    }

    fn typed_property(
        &self,
        name: &str,
        value: &str,
        fields: &mut Fields,
        seen: &mut Seen,
    ) -> bool {
        let p = &mut fields.properties;
        match name {
            "amqp-message-id" => {
                p.message_id.get_or_insert_with(|| carry::id_from_text(value));
            }
            "correlation-id" => {
                p.correlation_id.get_or_insert_with(|| carry::id_from_text(value));
            }
            "reply-to" => {
                p.reply_to.get_or_insert_with(|| reply_to(value));
            }
            "timestamp" => match value.trim().parse::<i64>() {
                Ok(time) => {
                    p.created_at.get_or_insert(time);
                }
                Err(_) => return false,
            },
            "JMSXGroupSeq" => match value.trim().parse() {
                Ok(sequence) => {
                    p.group_seq.get_or_insert(sequence);
                }
                Err(_) => return false,
            },
            "amq-msg-type" => {
                let kind = match value.trim() {
                    "text" => BodyKind::Text,
                    _ => BodyKind::Bytes,
                };
                seen.message_type.get_or_insert(kind);
            }
            _ => return false,
        }
        true
    }
}

/// content-type first, then `amq-msg-type`, then what `mq.payload-format` restored, if anything.
fn body_kind(fields: &Fields, seen: &Seen) -> BodyKind {
    if let Some(content_type) = &fields.properties.content_type {
        return if is_text(content_type) { BodyKind::Text } else { BodyKind::Bytes };
    }
    seen.message_type.unwrap_or(fields.properties.body_kind)
}

fn is_text(content_type: &str) -> bool {
    let lower = content_type.to_ascii_lowercase();
    let (kind, parameters) = lower.split_once(';').unwrap_or((&lower, ""));
    let kind = kind.trim();
    kind.starts_with("text/")
        || parameters.contains("charset=")
        || matches!(kind, "application/json" | "application/xml")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
}

/// True for the destinations whose queue is declared when missing, with arguments that are headers of the SEND.
fn names_queue(destination: Header<'_>, headers: &Headers) -> bool {
    let text = destination.raw_value;
    let is_plain = !text.starts_with(b"/");
    text.starts_with(b"/queue/")
        || is_plain && headers.get("destination-type").as_deref() != Some("MULTICAST")
}

/// Where the reply goes; a text that is no destination is the application's own. Temporary destinations were
/// replaced by real ones when the SEND was read.
fn reply_to(text: &str) -> ReplyTo {
    let destination = match text.starts_with('/') {
        true => destination::parse(text, Usage::Send, None, &Door::default()).ok(),
        false => None,
    };
    match destination {
        Some(Destination::Queue(name) | Destination::Existing(name) | Destination::Reply(name)) => {
            ReplyTo::Queue(name.into())
        }
        Some(Destination::Topic(key)) => ReplyTo::Topic(key),
        _ => ReplyTo::Opaque(text.into()),
    }
}

/// Headers of SEND that are about the frame or its handling, never properties.
fn is_about_the_frame(name: &str) -> bool {
    matches!(
        name,
        "destination"
            | "content-length"
            | "receipt"
            | "transaction"
            | "destination-type"
            | "mq-soft-errors"
    )
}

/// Headers that the broker writes on every MESSAGE.
pub(super) fn is_of_delivery(name: &[u8]) -> bool {
    matches!(name, b"subscription" | b"message-id" | b"ack" | b"redelivered")
}

/// Headers that are in `Meta` when the message is published.
fn is_acted_on(name: &str) -> bool {
    matches!(
        name,
        "persistent"
            | "priority"
            | "expires"
            | "expiration"
            | "retain"
            | "AMQ_SCHEDULED_DELAY"
            | "AMQ_SCHEDULED_TIME"
    )
}

/// Headers that have a place among the properties.
fn is_mapped(name: &str) -> bool {
    matches!(
        name,
        "content-type"
            | "content-encoding"
            | "user-id"
            | "app-id"
            | "type"
            | "JMSXGroupID"
            | "JMSXGroupSeq"
            | "amqp-message-id"
            | "correlation-id"
            | "reply-to"
            | "timestamp"
            | "amq-msg-type"
    )
}

/// The name an application header has on the wire: one that would be taken for something else is shown as
/// `mq.h.<name>` (docs/SEMANTICS.md §3, hostile names).
pub(super) fn wire_name(name: &str) -> Cow<'_, str> {
    let hostile = is_about_the_frame(name)
        || is_of_delivery(name.as_bytes())
        || is_acted_on(name)
        || is_mapped(name);
    match hostile {
        true => Cow::Owned(format!("mq.h.{name}")),
        false => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossdock_core::Id;

    fn decoded(block: &'static str) -> Fields {
        let format = StompFormat { version: Version::V12 };
        format.decode(&Bytes::from_static(block.as_bytes()), &Bytes::new()).unwrap()
    }

    #[test]
    fn every_mapped_header_has_its_field() {
        let fields = decoded(
            "destination:/queue/q\ncontent-type:text/plain\ncontent-encoding:gzip\n\
             amqp-message-id:m1\ncorrelation-id:mq.b64.AP8\nreply-to:/topic/a.b\n\
             timestamp:1700000000123\nuser-id:guest\napp-id:app\ntype:order\n\
             JMSXGroupID:g\nJMSXGroupSeq:7\npersistent:true\npriority:9\nexpires:0\n\
             receipt:r\ntransaction:t\ncontent-length:3\nx-message-ttl:5\n",
        );
        let p = &fields.properties;
        assert_eq!(p.content_type.as_deref(), Some("text/plain"));
        assert_eq!(p.content_encoding.as_deref(), Some("gzip"));
        assert_eq!(p.message_id, Some(Id::Text("m1".into())));
        assert_eq!(p.correlation_id, Some(Id::Binary(Bytes::from_static(b"\0\xff"))));
        assert_eq!(p.reply_to, Some(ReplyTo::Topic("a/b".into())));
        assert_eq!(p.created_at, Some(1_700_000_000_123));
        assert_eq!((p.user_id.as_deref(), p.app_id.as_deref()), (Some("guest"), Some("app")));
        assert_eq!((p.kind.as_deref(), p.group_id.as_deref()), (Some("order"), Some("g")));
        assert_eq!((p.group_seq, p.body_kind), (Some(7), BodyKind::Text));
        assert!(fields.headers.is_empty(), "{:?}", fields.headers);
    }

    #[test]
    fn the_rest_is_headers_in_order() {
        let fields = decoded(
            "destination:/topic/t\na:1\na:2\nb\\cb:x\\ny\nx-message-ttl:5\nmq.types:n=i32\nn:5\n\
             mq.h.receipt:kept\nexpires:3600\nmq.user-id:forged\nJMSXGroupSeq:no\nmq.subject:s\n",
        );
        let text = |n: &str, v: &str| (Name::from(n), Value::text(v));
        let want = [
            text("a", "1"),
            text("a", "2"),
            text("b:b", "x\ny"),
            text("x-message-ttl", "5"),
            ("n".into(), Value::I32(5)),
            text("expires", "3600"),
            text("JMSXGroupSeq", "no"),
            text("receipt", "kept"),
        ];
        assert_eq!(fields.headers, want);
        assert_eq!(fields.properties.subject.as_deref(), Some("s"));
        assert_eq!(fields.properties.user_id, None);
    }

    #[test]
    fn where_replies_go() {
        let queue = |name: &str| ReplyTo::Queue(name.into());
        assert_eq!(reply_to("/queue/q"), queue("q"));
        assert_eq!(reply_to("/amq/queue/q"), queue("q"));
        assert_eq!(reply_to("/reply-queue/amq.gen-1"), queue("amq.gen-1"));
        assert_eq!(reply_to("/exchange/x/k"), ReplyTo::Opaque("/exchange/x/k".into()));
        assert_eq!(reply_to("somewhere"), ReplyTo::Opaque("somewhere".into()));
    }

    #[test]
    fn text_or_bytes() {
        let kind = |block| decoded(block).properties.body_kind;
        assert_eq!(kind("content-type:application/json\n"), BodyKind::Text);
        assert_eq!(kind("content-type:x/y; charset=utf-8\n"), BodyKind::Text);
        assert_eq!(kind("content-type:image/png\namq-msg-type:text\n"), BodyKind::Bytes);
        assert_eq!(kind("amq-msg-type:text\n"), BodyKind::Text);
        assert_eq!(kind("a:b\n"), BodyKind::Bytes);
        assert_eq!(kind("mq.payload-format:1\n"), BodyKind::Text);
    }
}
