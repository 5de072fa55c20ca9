//! The bytes of a message in the journal: docs/STORE.md, "message".

use super::known::Known;
use crate::message::wire::{Put, Take};
use crate::message::{
    Address, Death, FormatId, Group, Journey, Key, Message, Meta, Name, Native, Onward, Reason,
    Timestamp,
};
use crate::rope::Rope;
use bytes::Bytes;
use std::sync::Arc;

/// Flag: moves, and how the message goes on behind a content route, follow the route names.
const HAS_MORE: u8 = 1 << 4;
/// Added to the reason of a death: further keys follow.
const HAS_COPIES: u8 = 1 << 7;
/// Flag: the number of its group follows that.
const HAS_GROUP: u8 = 1 << 5;

fn put_address(out: &mut Vec<u8>, address: &Address) {
    out.text(&address.exchange);
    out.bytes(address.key.bytes());
}

fn take_address(input: &mut Bytes, known: &mut Known) -> Option<Address> {
    let exchange = known.take_name(input)?;
    Some(Address::new(exchange, Key::new(input.take_bytes()?)))
}

/// A whole message.
pub fn put_message(rope: &mut Rope, message: &Message) {
    let meta = message.meta();
    let out = rope.end();
    out.reserve(message.size().saturating_sub(Rope::kept_of(message.body())) + 64);
    let onward = meta.onward();
    let has_more = onward.is_some() || meta.moves > 0;
    let flags = u8::from(meta.durable) | u8::from(meta.retain) << 1 | meta.level << 2;
    let has_group = if meta.group.is_some() { HAS_GROUP } else { 0 };
    out.u8(flags | if has_more { HAS_MORE } else { 0 } | has_group);
    out.optional(meta.priority, Put::u8);
    out.varint(meta.published.0);
    out.optional(meta.expires, |o, at| o.varint(at.0));
    out.u8(meta.hops);
    put_names(out, meta.through());
    if has_more {
        out.u8(meta.moves);
        out.optional(onward, put_onward);
    }
    if let Some(group) = meta.group {
        out.varint(u64::from(group.number()));
    }
    out.varint(meta.deaths().len() as u64);
    meta.deaths().iter().for_each(|death| put_death(out, death));
    for name in [&meta.origin.user, &meta.origin.client, &meta.origin.listener] {
        out.text(name);
    }
    put_address(out, message.address());
    out.varint(u64::from(message.native().format.0));
    out.bytes(&message.native().bytes);
    out.varint(message.body().len() as u64);
    rope.push(message.body());
}

/// What a message is made of.
type Parts = (Address, Meta, Native, Bytes);

fn take_parts(input: &mut Bytes, known: &mut Known) -> Option<Parts> {
    let flags = input.take_u8()?;
    let priority = input.take_optional(Take::take_u8)?;
    let published = Timestamp(input.take_varint()?);
    let expires = input.take_optional(|i| i.take_varint().map(Timestamp))?;
    let hops = input.take_u8()?;
    let through = take_list(input, Take::take_name)?;
    let (mut moves, mut onward) = (0, None);
    if flags & HAS_MORE != 0 {
        moves = input.take_u8()?;
        onward = input.take_optional(take_onward)?;
    }
    let group = match flags & HAS_GROUP != 0 {
        true => Group::from_number(input.take_number()?),
        false => None,
    };
    let met_routes = !through.is_empty() || onward.is_some();
    let deaths = take_list(input, |input| take_death(input, known))?;
    let meta = Meta {
        durable: flags & 1 != 0,
        priority,
        published,
        expires,
        retain: flags & 2 != 0,
        level: flags >> 2 & 3,
        hops,
        moves,
        group,
        journey: met_routes.then(|| Arc::new(Journey { through, onward })),
        deaths: (!deaths.is_empty()).then(|| deaths.into()),
        origin: known.take_origin(input)?,
    };
    let address = take_address(input, known)?;
    let native = Native { format: FormatId(input.take_number()?), bytes: input.take_bytes()? };
    Some((address, meta, native, input.take_bytes()?))
}

/// Reads a message.
pub fn take_message(input: &mut Bytes, known: &mut Known) -> Option<Message> {
    let (address, meta, native, body) = take_parts(input, known)?;
    Some(Message::new(address, meta, native, body))
}

/// A message that is not read yet: its bytes, as part of a larger buffer.
#[derive(Debug)]
pub struct StoredMessage(Bytes);

impl StoredMessage {
    /// Passes over a message: all its lengths are looked at, and nothing is copied.
    pub fn take(input: &mut Bytes) -> Option<Self> {
        let mut rest: &[u8] = input;
        skip_message(&mut rest)?;
        let len = input.len() - rest.len();
        Some(Self(input.split_to(len)))
    }

    /// Bytes of it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Reads it into memory of its own. None: a name in it is none.
    pub fn read(mut self, known: &mut Known) -> Option<Message> {
        let (address, meta, native, body) = take_parts(&mut self.0, known)?;
        Some(Message::in_own_memory(address, meta, &native, &body))
    }
}

fn skip_message(input: &mut &[u8]) -> Option<()> {
    let flags = input.take_u8()?;
    input.take_optional(Take::take_u8)?;
    input.take_varint()?;
    input.take_optional(Take::take_varint)?;
    input.take_u8()?;
    skip_list(input, Take::skip_bytes)?;
    if flags & HAS_MORE != 0 {
        input.take_u8()?;
        input.take_optional(skip_onward)?;
    }
    if flags & HAS_GROUP != 0 {
        input.take_number::<u16>()?;
    }
    skip_list(input, skip_death)?;
    // User, client and listener, exchange and key.
    (0..5).try_for_each(|_| input.skip_bytes())?;
    input.take_number::<u16>()?;
    input.skip_bytes()?;
    input.skip_bytes()
}

fn skip_list<'i>(input: &mut &'i [u8], skip: impl Fn(&mut &'i [u8]) -> Option<()>) -> Option<()> {
    let count: usize = input.take_number()?;
    (0..count).try_for_each(|_| skip(input))
}

fn skip_onward(input: &mut &[u8]) -> Option<()> {
    input.take_optional(Take::skip_bytes)?;
    skip_list(input, Take::skip_bytes)?;
    skip_list(input, Take::skip_bytes)?;
    input.take_u8()?;
    input.take_varint().map(|_| ())
}

fn skip_death(input: &mut &[u8]) -> Option<()> {
    input.skip_bytes()?;
    let reason = input.take_u8()?;
    REASONS.get(usize::from(reason & !HAS_COPIES))?;
    input.take_number::<u32>()?;
    input.take_varint()?;
    input.skip_bytes()?;
    input.skip_bytes()?;
    input.take_optional(Take::take_varint)?;
    input.take_optional(Take::skip_bytes)?;
    match reason & HAS_COPIES {
        0 => Some(()),
        _ => skip_list(input, Take::skip_bytes),
    }
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

fn take_list<T>(
    input: &mut Bytes,
    mut take: impl FnMut(&mut Bytes) -> Option<T>,
) -> Option<Vec<T>> {
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
    let reason = REASONS.iter().position(|r| *r == death.reason).unwrap_or_default() as u8;
    out.u8(if death.copies.is_some() { reason | HAS_COPIES } else { reason });
    out.varint(u64::from(death.count));
    out.varint(death.time.0);
    put_address(out, &death.address);
    out.optional(death.ttl_ms, Put::varint);
    out.optional(death.detail.as_deref(), Put::text);
    if let Some(keys) = &death.copies {
        out.varint(keys.len() as u64);
        keys.iter().for_each(|key| out.bytes(key.bytes()));
    }
}

fn take_death(input: &mut Bytes, known: &mut Known) -> Option<Death> {
    let queue = input.take_name()?;
    let reason = input.take_u8()?;
    let mut death = Death {
        queue,
        reason: *REASONS.get(usize::from(reason & !HAS_COPIES))?,
        count: input.take_number()?,
        time: Timestamp(input.take_varint()?),
        address: take_address(input, known)?,
        ttl_ms: input.take_optional(Take::take_varint)?,
        detail: input.take_optional(|i| i.take_name().map(|name| Arc::from(&*name)))?,
        copies: None,
    };
    if reason & HAS_COPIES != 0 {
        let keys =
            take_list(input, |input| input.take_bytes().map(|key| Key::new(key).detached()))?;
        death.copies = Some(keys.into());
    }
    Some(death)
}
