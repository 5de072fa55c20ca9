//! The properties of class basic (AMQP 0-9-1 §1.8.3.4, §4.2.6.1), kept encoded: a view of the raw octets of each, which
//! writes back exactly what it read except what was changed on purpose.

use super::table::{self, Pairs, RawEntry, put_pair};
use super::wire::{Malformed, Reader, put_short, sized};
use bytes::{BufMut, Bytes, BytesMut};
use crossdock_core::{Name, Value};

const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const PRIORITY: u16 = 1 << 11;
const CORRELATION_ID: u16 = 1 << 10;
const REPLY_TO: u16 = 1 << 9;
const EXPIRATION: u16 = 1 << 8;
const MESSAGE_ID: u16 = 1 << 7;
const TIMESTAMP: u16 = 1 << 6;
const TYPE: u16 = 1 << 5;
const USER_ID: u16 = 1 << 4;
const APP_ID: u16 = 1 << 3;
const CLUSTER_ID: u16 = 1 << 2;
/// Neither a property nor "another word of flags follows", which no property of basic needs.
const UNUSED: u16 = 0b11;

/// Each property's octets, borrowed from an encoded content header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    pub content_type: Option<&'a [u8]>,
    pub content_encoding: Option<&'a [u8]>,
    /// A table's content without its length; checked.
    pub headers: Option<&'a [u8]>,
    pub delivery_mode: Option<u8>,
    pub priority: Option<u8>,
    pub correlation_id: Option<&'a [u8]>,
    pub reply_to: Option<&'a [u8]>,
    pub expiration: Option<&'a [u8]>,
    pub message_id: Option<&'a [u8]>,
    /// Seconds.
    pub timestamp: Option<u64>,
    pub kind: Option<&'a [u8]>,
    pub user_id: Option<&'a [u8]>,
    pub app_id: Option<&'a [u8]>,
    pub cluster_id: Option<&'a [u8]>,
}

impl<'a> Properties<'a> {
    /// Reads flags and properties; all octets must be used up. Values of headers are left encoded; whoever walks
    /// them ([`table::entries`]) checks them.
    pub fn decode(encoded: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(encoded);
        let flags = reader.u16()?;
        if flags & UNUSED != 0 {
            return Err(Malformed);
        }
        let r = &mut reader;
        let properties = Self {
            content_type: short(r, flags, CONTENT_TYPE)?,
            content_encoding: short(r, flags, CONTENT_ENCODING)?,
            headers: when(flags, HEADERS, || r.long())?,
            delivery_mode: when(flags, DELIVERY_MODE, || r.u8())?,
            priority: when(flags, PRIORITY, || r.u8())?,
            correlation_id: short(r, flags, CORRELATION_ID)?,
            reply_to: short(r, flags, REPLY_TO)?,
            expiration: short(r, flags, EXPIRATION)?,
            message_id: short(r, flags, MESSAGE_ID)?,
            timestamp: when(flags, TIMESTAMP, || r.u64())?,
            kind: short(r, flags, TYPE)?,
            user_id: short(r, flags, USER_ID)?,
            app_id: short(r, flags, APP_ID)?,
            cluster_id: short(r, flags, CLUSTER_ID)?,
        };
        match reader.is_empty() {
            true => Ok(properties),
            false => Err(Malformed),
        }
    }

    fn flags(&self) -> u16 {
        let set = |flag, present: bool| if present { flag } else { 0 };
        set(CONTENT_TYPE, self.content_type.is_some())
            | set(CONTENT_ENCODING, self.content_encoding.is_some())
            | set(HEADERS, self.headers.is_some())
            | set(DELIVERY_MODE, self.delivery_mode.is_some())
            | set(PRIORITY, self.priority.is_some())
            | set(CORRELATION_ID, self.correlation_id.is_some())
            | set(REPLY_TO, self.reply_to.is_some())
            | set(EXPIRATION, self.expiration.is_some())
            | set(MESSAGE_ID, self.message_id.is_some())
            | set(TIMESTAMP, self.timestamp.is_some())
            | set(TYPE, self.kind.is_some())
            | set(USER_ID, self.user_id.is_some())
            | set(APP_ID, self.app_id.is_some())
            | set(CLUSTER_ID, self.cluster_id.is_some())
    }

    /// Flags and properties, encoded.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64 + self.headers.map_or(0, <[u8]>::len));
        out.put_u16(self.flags());
        put(&mut out, self.content_type);
        put(&mut out, self.content_encoding);
        if let Some(headers) = self.headers {
            sized(&mut out, |out| out.put_slice(headers));
        }
        if let Some(mode) = self.delivery_mode {
            out.put_u8(mode);
        }
        if let Some(priority) = self.priority {
            out.put_u8(priority);
        }
        for field in [self.correlation_id, self.reply_to, self.expiration, self.message_id] {
            put(&mut out, field);
        }
        if let Some(seconds) = self.timestamp {
            out.put_u64(seconds);
        }
        for field in [self.kind, self.user_id, self.app_id, self.cluster_id] {
            put(&mut out, field);
        }
        out.freeze()
    }

    /// The entries of the headers table; none when there is no table.
    pub fn entries(&self) -> table::Entries<'a> {
        table::entries(self.headers.unwrap_or_default())
    }
}

fn when<T>(
    flags: u16,
    flag: u16,
    read: impl FnOnce() -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    match flags & flag != 0 {
        true => read().map(Some),
        false => Ok(None),
    }
}

fn short<'a>(
    reader: &mut Reader<'a>,
    flags: u16,
    flag: u16,
) -> Result<Option<&'a [u8]>, Malformed> {
    when(flags, flag, || reader.short())
}

fn put(out: &mut BytesMut, field: Option<&[u8]>) {
    if let Some(text) = field {
        put_short(out, text);
    }
}

/// A table's content: the entries of `headers` but those in `replaced`, then `added`.
pub fn edited(headers: &[u8], replaced: impl Fn(&[u8]) -> bool, added: &Pairs) -> BytesMut {
    let mut out = BytesMut::with_capacity(headers.len() + 64 * added.len());
    for entry in table::entries(headers).flatten().filter(|entry| !replaced(entry.name)) {
        put_raw(&mut out, &entry);
    }
    added.iter().for_each(|(name, value): &(Name, Value)| put_pair(&mut out, name, value));
    out
}

fn put_raw(out: &mut BytesMut, entry: &RawEntry<'_>) {
    put_short(out, entry.name);
    out.put_slice(entry.value);
}

/// The same properties with as many of their headers left out as it takes to encode in `max` octets, of those that
/// `may_go`, the largest first (docs/SEMANTICS.md R10). It may be too large nevertheless. Also how many were left out.
pub fn fitted(encoded: &Bytes, max: usize, may_go: impl Fn(&[u8]) -> bool) -> (Bytes, usize) {
    if encoded.len() <= max {
        return (encoded.clone(), 0);
    }
    let Ok(properties) = Properties::decode(encoded) else { return (encoded.clone(), 0) };
    let entries: Vec<RawEntry<'_>> = properties.entries().flatten().collect();
    let of = |at: usize| entries.get(at).filter(|entry| may_go(entry.name));
    let mut order: Vec<usize> = (0..entries.len()).filter(|at| of(*at).is_some()).collect();
    order.sort_by_key(|at| of(*at).map(|entry| std::cmp::Reverse(entry.size())));
    let mut over = encoded.len() - max;
    let mut dropped = vec![false; entries.len()];
    for at in order {
        if let (true, Some(flag), Some(entry)) = (over > 0, dropped.get_mut(at), of(at)) {
            *flag = true;
            over = over.saturating_sub(entry.size());
        }
    }
    let mut headers = BytesMut::with_capacity(encoded.len());
    let kept = entries.iter().zip(&dropped).filter(|(_, dropped)| !**dropped);
    kept.for_each(|(entry, _)| put_raw(&mut headers, entry));
    let fitted = Properties { headers: Some(&headers), ..properties }.encode();
    (fitted, dropped.iter().filter(|dropped| **dropped).count())
}

/// The name of the largest header, and the octets that it takes.
pub fn largest(encoded: &[u8]) -> Option<(String, usize)> {
    let properties = Properties::decode(encoded).ok()?;
    let largest = properties.entries().flatten().max_by_key(RawEntry::size)?;
    Some((String::from_utf8_lossy(largest.name).into_owned(), largest.size()))
}
