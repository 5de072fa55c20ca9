//! The core's own header format (id 0): what transforms and the broker itself write, and nobody's wire.

use super::fields::{BodyKind, Fields, Id, Properties, ReplyTo};
use super::key::Key;
use super::wire::{Put, Take, put_pairs, take_pairs};
use super::{Format, FormatId};
use crate::error::{Error, ErrorKind};
use bytes::Bytes;

/// The neutral format.
#[derive(Debug, Clone, Copy)]
pub struct Neutral;

impl Neutral {
    /// Its id, fixed for ever.
    pub const ID: FormatId = FormatId(0);

    /// The bytes of these fields.
    pub fn encode(fields: &Fields) -> Bytes {
        let mut out = Vec::with_capacity(64);
        let p = &fields.properties;
        out.optional(p.message_id.as_ref(), put_id);
        out.optional(p.correlation_id.as_ref(), put_id);
        out.optional(p.reply_to.as_ref(), put_reply_to);
        for text in [
            &p.content_type,
            &p.content_encoding,
            &p.user_id,
            &p.app_id,
            &p.kind,
            &p.subject,
            &p.group_id,
            &p.dedup_id,
        ] {
            out.optional(text.as_ref(), |o, t| o.text(t));
        }
        out.optional(p.created_at, |o, n| o.signed(n));
        out.optional(p.group_seq, |o, n| o.varint(u64::from(n)));
        out.flag(p.body_kind == BodyKind::Text);
        put_pairs(&mut out, &fields.headers);
        put_pairs(&mut out, &fields.annotations);
        out.into()
    }

    /// What [`Neutral::encode`] wrote; `None` when damaged.
    pub fn decode(mut input: Bytes) -> Option<Fields> {
        let input = &mut input;
        let properties = Properties {
            message_id: input.take_optional(take_id)?,
            correlation_id: input.take_optional(take_id)?,
            reply_to: input.take_optional(take_reply_to)?,
            content_type: input.take_optional(Take::take_name)?,
            content_encoding: input.take_optional(Take::take_name)?,
            user_id: input.take_optional(Take::take_name)?,
            app_id: input.take_optional(Take::take_name)?,
            kind: input.take_optional(Take::take_name)?,
            subject: input.take_optional(Take::take_name)?,
            group_id: input.take_optional(Take::take_name)?,
            dedup_id: input.take_optional(Take::take_name)?,
            created_at: input.take_optional(Take::take_signed)?,
            group_seq: input.take_optional(Take::take_number)?,
            body_kind: if input.take_flag()? { BodyKind::Text } else { BodyKind::Bytes },
        };
        Some(Fields { properties, headers: take_pairs(input)?, annotations: take_pairs(input)? })
    }
}

impl Format for Neutral {
    fn name(&self) -> &'static str {
        "neutral"
    }

    fn id(&self) -> FormatId {
        Self::ID
    }

    fn decode(&self, native: &Bytes, _body: &Bytes) -> Result<Fields, Error> {
        Neutral::decode(native.clone())
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "damaged neutral headers"))
    }
}

fn put_id(out: &mut Vec<u8>, id: &Id) {
    match id {
        Id::Text(t) => (out.u8(0), out.text(t)).1,
        Id::Binary(b) => (out.u8(1), out.bytes(b)).1,
        Id::Uuid(u) => (out.u8(2), out.bytes(u)).1,
        Id::U64(n) => (out.u8(3), out.varint(*n)).1,
    }
}

fn take_id(input: &mut Bytes) -> Option<Id> {
    Some(match input.take_u8()? {
        0 => Id::Text(input.take_name()?),
        1 => Id::Binary(input.take_bytes()?),
        2 => Id::Uuid(input.take_bytes()?.as_ref().try_into().ok()?),
        3 => Id::U64(input.take_varint()?),
        _ => return None,
    })
}

fn put_reply_to(out: &mut Vec<u8>, reply_to: &ReplyTo) {
    match reply_to {
        ReplyTo::Queue(name) => (out.u8(0), out.text(name)).1,
        ReplyTo::Topic(key) => (out.u8(1), out.bytes(key.bytes())).1,
        ReplyTo::Opaque(text) => (out.u8(2), out.text(text)).1,
    }
}

fn take_reply_to(input: &mut Bytes) -> Option<ReplyTo> {
    Some(match input.take_u8()? {
        0 => ReplyTo::Queue(input.take_name()?),
        1 => ReplyTo::Topic(Key::new(input.take_bytes()?)),
        2 => ReplyTo::Opaque(input.take_name()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::value::Value;
    use super::*;

    #[test]
    fn fields_come_back() {
        let fields = Fields {
            properties: Properties {
                message_id: Some(Id::U64(7)),
                correlation_id: Some(Id::Binary(Bytes::from_static(b"\0x"))),
                reply_to: Some(ReplyTo::Topic(Key::from("a/b"))),
                content_type: Some("text/plain".into()),
                created_at: Some(-5),
                group_seq: Some(3),
                body_kind: BodyKind::Text,
                ..Properties::default()
            },
            headers: vec![("k".into(), Value::text("v")), ("k".into(), Value::Bool(true))],
            annotations: vec![("x-opt".into(), Value::U8(1))],
        };
        assert_eq!(Neutral::decode(Neutral::encode(&fields)), Some(fields));
        assert_eq!(Neutral::decode(Bytes::from_static(b"\x09")), None);
    }
}
