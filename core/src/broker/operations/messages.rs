//! The bytes of a message in the journal: docs/STORE.md, "message".

use crate::message::wire::{Put, Take};
use crate::message::{
    Address, Death, FormatId, Key, Message, Meta, Native, Origin, Reason, Timestamp,
};
use bytes::Bytes;
use std::sync::Arc;

fn put_address(out: &mut Vec<u8>, address: &Address) {
    out.text(&address.exchange);
    out.bytes(address.key.bytes());
}

fn take_address(input: &mut Bytes) -> Option<Address> {
    let exchange = input.take_name()?;
    Some(Address::new(exchange, Key::new(input.take_bytes()?)))
}

/// A whole message.
pub fn put_message(out: &mut Vec<u8>, message: &Message) {
    let meta = message.meta();
    out.reserve(message.size() + 64);
    out.u8(u8::from(meta.durable) | u8::from(meta.retain) << 1 | meta.level << 2);
    out.optional(meta.priority, Put::u8);
    out.varint(meta.published.0);
    out.optional(meta.expires, |o, at| o.varint(at.0));
    out.u8(meta.hops);
    let through = meta.through.as_deref().unwrap_or_default();
    out.varint(through.len() as u64);
    through.iter().for_each(|name| out.text(name));
    out.varint(meta.deaths().len() as u64);
    meta.deaths().iter().for_each(|death| put_death(out, death));
    for name in [&meta.origin.user, &meta.origin.client, &meta.origin.listener] {
        out.text(name);
    }
    put_address(out, message.address());
    out.varint(u64::from(message.native().format.0));
    out.bytes(&message.native().bytes);
    out.bytes(message.body());
}

/// Reads a message; those of one connection that follow each other share their `origin`.
pub fn take_message(input: &mut Bytes, origin: &mut Arc<Origin>) -> Option<Message> {
    let flags = input.take_u8()?;
    let mut meta = Meta::new(origin.clone(), Timestamp(0));
    meta.durable = flags & 1 != 0;
    meta.retain = flags & 2 != 0;
    meta.level = flags >> 2;
    meta.priority = input.take_optional(Take::take_u8)?;
    meta.published = Timestamp(input.take_varint()?);
    meta.expires = input.take_optional(|i| i.take_varint().map(Timestamp))?;
    meta.hops = input.take_u8()?;
    let through = take_list(input, Take::take_name)?;
    meta.through = (!through.is_empty()).then(|| through.into());
    let deaths = take_list(input, take_death)?;
    meta.deaths = (!deaths.is_empty()).then(|| deaths.into());
    let who = Origin {
        user: input.take_name()?,
        client: input.take_name()?,
        listener: input.take_name()?,
    };
    // Neighbours mostly come from one connection: they share its origin.
    if **origin != who {
        *origin = Arc::new(who);
    }
    meta.origin = origin.clone();
    let address = take_address(input)?;
    let native = Native { format: FormatId(input.take_number()?), bytes: input.take_bytes()? };
    let body = input.take_bytes()?;
    Some(Message::new(address, meta, native, body))
}

fn take_list<T>(input: &mut Bytes, take: impl Fn(&mut Bytes) -> Option<T>) -> Option<Vec<T>> {
    let count: usize = input.take_number()?;
    let mut list = Vec::with_capacity(count.min(input.len()));
    for _ in 0..count {
        list.push(take(input)?);
    }
    Some(list)
}

const REASONS: [Reason; 5] = [
    Reason::Rejected,
    Reason::Expired,
    Reason::MaxLength,
    Reason::DeliveryLimit,
    Reason::Transform,
];

fn put_death(out: &mut Vec<u8>, death: &Death) {
    out.text(&death.queue);
    out.u8(REASONS.iter().position(|r| *r == death.reason).unwrap_or_default() as u8);
    out.varint(u64::from(death.count));
    out.varint(death.time.0);
    put_address(out, &death.address);
    out.optional(death.ttl_ms, Put::varint);
    out.optional(death.detail.as_deref(), Put::text);
}

fn take_death(input: &mut Bytes) -> Option<Death> {
    Some(Death {
        queue: input.take_name()?,
        reason: *REASONS.get(usize::from(input.take_u8()?))?,
        count: input.take_number()?,
        time: Timestamp(input.take_varint()?),
        address: take_address(input)?,
        ttl_ms: input.take_optional(Take::take_varint)?,
        detail: input.take_optional(|i| i.take_name().map(|name| Arc::from(&*name)))?,
    })
}
