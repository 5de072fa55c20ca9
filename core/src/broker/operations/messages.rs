//! The bytes of a message in the journal: docs/STORE.md, "message".

use crate::message::wire::{Put, Take};
use crate::message::{
    Address, Death, FormatId, Journey, Key, Message, Meta, Name, Native, Onward, Origin, Reason,
    Timestamp,
};
use bytes::Bytes;
use std::sync::Arc;

/// Flag: moves, and how the message goes on behind a content route, follow the route names.
const HAS_MORE: u8 = 1 << 4;

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
    let onward = meta.onward();
    let has_more = onward.is_some() || meta.moves > 0;
    let flags = u8::from(meta.durable) | u8::from(meta.retain) << 1 | meta.level << 2;
    out.u8(flags | if has_more { HAS_MORE } else { 0 });
    out.optional(meta.priority, Put::u8);
    out.varint(meta.published.0);
    out.optional(meta.expires, |o, at| o.varint(at.0));
    out.u8(meta.hops);
    put_names(out, meta.through());
    if has_more {
        out.u8(meta.moves);
        out.optional(onward, put_onward);
    }
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
    meta.level = flags >> 2 & 3;
    meta.priority = input.take_optional(Take::take_u8)?;
    meta.published = Timestamp(input.take_varint()?);
    meta.expires = input.take_optional(|i| i.take_varint().map(Timestamp))?;
    meta.hops = input.take_u8()?;
    let through = take_list(input, Take::take_name)?;
    let mut onward = None;
    if flags & HAS_MORE != 0 {
        meta.moves = input.take_u8()?;
        onward = input.take_optional(take_onward)?;
    }
    let met_routes = !through.is_empty() || onward.is_some();
    meta.journey = met_routes.then(|| Arc::new(Journey { through, onward }));
    let deaths = take_list(input, take_death)?;
    meta.deaths = (!deaths.is_empty()).then(|| deaths.into());
    take_origin(input, origin)?;
    meta.origin = origin.clone();
    let address = take_address(input)?;
    let native = Native { format: FormatId(input.take_number()?), bytes: input.take_bytes()? };
    let body = input.take_bytes()?;
    Some(Message::new(address, meta, native, body))
}

/// Neighbours mostly come from one connection: they share its origin, and nothing is allocated for it.
fn take_origin(input: &mut Bytes, origin: &mut Arc<Origin>) -> Option<()> {
    let (user, client, listener) = (input.take_bytes()?, input.take_bytes()?, input.take_bytes()?);
    let same = [(&origin.user, &user), (&origin.client, &client), (&origin.listener, &listener)];
    if origin.connection == 0 && same.iter().all(|(known, is)| known.as_bytes() == &***is) {
        return Some(());
    }
    let name = |bytes: &Bytes| std::str::from_utf8(bytes).ok().map(Name::from);
    let (user, client, listener) = (name(&user)?, name(&client)?, name(&listener)?);
    *origin = Arc::new(Origin { user, client, listener, connection: 0 });
    Some(())
}

fn put_names(out: &mut Vec<u8>, names: &[Name]) {
    out.varint(names.len() as u64);
    names.iter().for_each(|name| out.text(name));
}

fn put_onward(out: &mut Vec<u8>, onward: &Onward) {
    out.optional(onward.queue.as_deref(), Put::text);
    put_names(out, &onward.asked);
    put_names(out, &onward.later);
    out.u8(u8::from(onward.taken));
    out.varint(onward.source);
}

fn take_onward(input: &mut Bytes) -> Option<Onward> {
    Some(Onward {
        queue: input.take_optional(Take::take_name)?,
        asked: take_list(input, Take::take_name)?,
        later: take_list(input, Take::take_name)?,
        taken: input.take_u8()? != 0,
        source: input.take_varint()?,
    })
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
