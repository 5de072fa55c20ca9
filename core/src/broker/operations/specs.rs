//! The bytes of what is declared: settings of queues and exchanges, and bindings. docs/STORE.md has the tables.

use super::known::Known;
use crate::exchange::{Binding, ExchangeSpec, Kind, LogId, SessionId, Target};
use crate::log::{Life, Limits, Overflow, QueueSpec, put_tag, take_tag};
use crate::message::Key;
use crate::message::wire::{Put, Take, put_pairs, take_pairs};
use bytes::Bytes;

/// Bit of the overflow byte: the name of a subscriber follows.
const KEPT_FOR: u8 = 0x80;

pub fn put_queue_spec(out: &mut Vec<u8>, spec: &QueueSpec) {
    out.text(&spec.name);
    out.flag(spec.auto_delete);
    out.optional(spec.expires_ms, Put::varint);
    out.optional(spec.ttl_ms, Put::varint);
    out.optional(spec.limits.messages, Put::varint);
    out.optional(spec.limits.bytes, Put::varint);
    let overflow = match spec.limits.overflow {
        Overflow::DropHead => 0,
        Overflow::RejectNew => 1,
        Overflow::RejectNewDeadLetter => 2,
    };
    match &spec.kept_for {
        None => out.u8(overflow),
        Some(subscriber) => (out.u8(overflow | KEPT_FOR), out.text(subscriber)).1,
    }
    out.optional(spec.dead_letter.as_ref(), |o, (exchange, key)| {
        o.text(exchange);
        o.optional(key.as_ref(), |o, key| o.bytes(key.bytes()));
    });
    out.optional(spec.max_priority, Put::u8);
    out.optional(spec.delivery_limit, |o, n| o.varint(u64::from(n)));
    out.flag(spec.single_active);
    put_pairs(out, &spec.arguments);
}

pub fn take_queue_spec(input: &mut Bytes) -> Option<QueueSpec> {
    let mut kept_for = None;
    let mut spec = QueueSpec {
        name: input.take_name()?,
        // Only durable queues that stay are stored.
        durable: true,
        life: Life::Permanent,
        auto_delete: input.take_flag()?,
        expires_ms: input.take_optional(Take::take_varint)?,
        ttl_ms: input.take_optional(Take::take_varint)?,
        limits: Limits {
            messages: input.take_optional(Take::take_varint)?,
            bytes: input.take_optional(Take::take_varint)?,
            overflow: {
                let byte = input.take_u8()?;
                if byte & KEPT_FOR != 0 {
                    kept_for = Some(input.take_name()?);
                }
                match byte & !KEPT_FOR {
                    0 => Overflow::DropHead,
                    1 => Overflow::RejectNew,
                    2 => Overflow::RejectNewDeadLetter,
                    _ => return None,
                }
            },
        },
        dead_letter: input.take_optional(|i| {
            let exchange = i.take_name()?;
            let key = i.take_optional(Take::take_bytes)?;
            Some((exchange, key.map(Key::new)))
        })?,
        max_priority: input.take_optional(Take::take_u8)?,
        delivery_limit: input.take_optional(Take::take_number)?,
        single_active: input.take_flag()?,
        kept_for,
        arguments: take_pairs(input)?,
    };
    if !spec.has_own_delivery_limit() {
        // Up to 0.2 queues with a dead-letter address had one that nobody had asked for.
        spec.delivery_limit = spec.kind().delivery_limit();
    }
    Some(spec)
}

pub fn take_exchange_spec(input: &mut Bytes) -> Option<ExchangeSpec> {
    Some(ExchangeSpec {
        name: input.take_name()?,
        kind: Kind::stored(&input.take_name()?)?,
        durable: true,
        auto_delete: input.take_flag()?,
        internal: input.take_flag()?,
        arguments: take_pairs(input)?,
    })
}

pub fn put_binding(out: &mut Vec<u8>, binding: &Binding) {
    out.text(&binding.source);
    out.bytes(binding.key.bytes());
    put_pairs(out, &binding.arguments);
    match &binding.target {
        Target::Exchange(name) => (out.u8(0), out.text(name)).1,
        Target::Log(id) => (out.u8(1), out.varint(id.0)).1,
        Target::Session(id) => (out.u8(2), out.varint(id.0)).1,
    }
    put_tag(out, binding.tag);
    out.flag(binding.skip_own);
}

pub fn take_binding(input: &mut Bytes, known: &mut Known) -> Option<Binding> {
    Some(Binding {
        source: known.take_name(input)?,
        key: Key::new(input.take_bytes()?),
        arguments: take_pairs(input)?,
        target: match input.take_u8()? {
            0 => Target::Exchange(input.take_name()?),
            1 => Target::Log(LogId(input.take_varint()?)),
            2 => Target::Session(SessionId(input.take_varint()?)),
            _ => return None,
        },
        tag: take_tag(input)?,
        skip_own: input.take_flag()?,
    })
}
