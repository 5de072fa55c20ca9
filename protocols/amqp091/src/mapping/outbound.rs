//! The properties of one delivery: the sender's own octets, except for what the broker has to add (deaths, delivery
//! count, retained, a routing key that is too long). docs/SEMANTICS.md R1, R10 and §3.

use super::address::wire_key;
use super::{FORMAT, encode, names};
use crate::codec::frame::{CONTENT_HEADER_FIXED, OVERHEAD};
use crate::codec::properties::{edited, fitted};
use crate::codec::table::Pairs;
use crate::codec::{Properties, wire::SHORT_MAX};
use bytes::Bytes;
use crossdock_core::fate::Losses;
use crossdock_core::message::carry::Carry;
use crossdock_core::{Address, Death, Delivery, Formats, Message, Timestamp, Value};

/// What encoding depends on besides the message.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub formats: &'a Formats,
    pub carry: Carry,
    pub frame_max: usize,
    pub now: Timestamp,
}

/// The properties as they go to a receiver.
pub fn properties(delivery: &Delivery, reader: &Reader<'_>) -> Bytes {
    let message = &delivery.message;
    let base = base(message, reader);
    let mut added = Pairs::new();
    if delivery.attempts > 0 {
        let count = Value::I64(i64::from(delivery.attempts));
        added.push((names::DELIVERY_COUNT.into(), count));
    }
    if delivery.retained {
        added.push((names::RETAINED.into(), Value::Bool(true)));
    }
    if message.address().key.bytes().len() > SHORT_MAX
        && let Some(whole) = wire_key(message.address()).whole
    {
        let text = Value::text(&*String::from_utf8_lossy(&whole));
        added.push((names::ROUTING_KEY.into(), text));
    }
    let base = match added.is_empty() {
        true => base,
        false => with_headers(&base, &added, false),
    };
    fit(base, message, reader, delivery.redelivered)
}

/// The properties of a message that goes back to its publisher.
pub fn returned(message: &Message, reader: &Reader<'_>) -> Bytes {
    fit(base(message, reader), message, reader, true)
}

impl Reader<'_> {
    /// Octets that properties may have to go into one frame, as they should (AMQP 0-9-1 §4.2.6.1).
    pub fn properties_max(&self) -> usize {
        self.frame_max.saturating_sub(OVERHEAD + CONTENT_HEADER_FIXED)
    }
}

/// What does not fit into a frame of the reader's. What the broker added goes first: `mq.*`, then the older deaths. If
/// the sender's own headers are too large, they go whole, as RabbitMQ sends them; `is_again`: that has been tried, so
/// as many of them are left out as it takes.
fn fit(base: Bytes, message: &Message, reader: &Reader<'_>, is_again: bool) -> Bytes {
    if base.len() <= reader.properties_max() {
        return base;
    }
    fit_large(base, message, reader, is_again)
}

#[cold]
fn fit_large(base: Bytes, message: &Message, reader: &Reader<'_>, is_again: bool) -> Bytes {
    let max = reader.properties_max();
    let (mut fit, mut left_out) = fitted(&base, max, |name| name.starts_with(b"mq."));
    let deaths = message.meta().deaths();
    let mut newest = deaths.len();
    while fit.len() > max && newest > 1 {
        newest = newest.div_ceil(2);
        let shortened: Pairs = death_headers(deaths, newest);
        fit = with_headers(&fit, &shortened, false);
    }
    if fit.len() > max && is_again {
        let (fits, others) = fitted(&fit, max, |_| true);
        (fit, left_out) = (fits, left_out + others);
    }
    tracing::trace!(
        ?message,
        left_out,
        deaths = newest,
        "headers of a delivery were left out or shortened to fit into the agreed frame size"
    );
    fit
}

/// The part that is the same for all receivers: encoded once, unless it changes with time.
fn base(message: &Message, reader: &Reader<'_>) -> Bytes {
    let native = message.native();
    let (own, meta) = (native.format == FORMAT, message.meta());
    if own && meta.deaths().is_empty() {
        return native.bytes.clone();
    }
    let encode = || {
        let encoded = match own {
            true => native.bytes.clone(),
            false => {
                let fields = message.fields(reader.formats);
                let mut losses = Losses::default();
                let (carry, now, aliases) = (reader.carry, reader.now, reader.formats.aliases());
                let how = encode::How { carry, now, aliases };
                let encoded = encode::properties(message, fields, how, &mut losses);
                message.converted(FORMAT, reader.formats, losses);
                encoded
            }
        };
        match meta.deaths().is_empty() {
            true => encoded,
            false => with_headers(&encoded, &death_headers(meta.deaths(), usize::MAX), own),
        }
    };
    // The cache is one for all listeners, so only what the default options give goes there.
    match own || (meta.expires.is_none() && reader.carry == Carry::Full) {
        true => message.frame(FORMAT, encode),
        false => encode(),
    }
}

/// The same properties with headers replaced or added; `dead` takes the sender's expiration away, as it was used up.
fn with_headers(encoded: &[u8], added: &Pairs, dead: bool) -> Bytes {
    let Ok(properties) = Properties::decode(encoded) else {
        return Bytes::copy_from_slice(encoded);
    };
    let replaced = |name: &[u8]| added.iter().any(|(added, _)| added.as_bytes() == name);
    let headers = edited(properties.headers.unwrap_or_default(), replaced, added);
    let expiration = properties.expiration.filter(|_| !dead);
    Properties { headers: Some(&headers), expiration, ..properties }.encode()
}

/// x-death, the `newest` deaths first, and the queue, reason and exchange of the first and the last death of all.
fn death_headers(deaths: &[Death], newest: usize) -> Pairs {
    let newest = deaths.iter().take(newest);
    let table = Value::List(newest.map(|death| Value::Map(death_table(death))).collect());
    let mut headers: Pairs = vec![(names::DEATH.into(), table)];
    // A repeated death moves to the front; the first one is the one with the earliest time.
    let first = deaths.iter().rev().min_by_key(|death| death.time);
    for (names, death) in [(names::FIRST_DEATH, first), (names::LAST_DEATH, deaths.first())] {
        let Some(death) = death else { continue };
        let [queue, reason, exchange] = names;
        headers.push((queue.into(), Value::Text(death.queue.clone())));
        headers.push((reason.into(), Value::text(death.reason.as_str())));
        headers.push((exchange.into(), Value::Text(death.address.exchange.clone())));
    }
    headers
}

fn death_table(death: &Death) -> Pairs {
    let key = wire_key(&death.address);
    let key = key.whole.unwrap_or(key.routing_key);
    let text = |key: &[u8]| Value::text(&*String::from_utf8_lossy(key));
    let copies = death.copies.iter().flat_map(|keys| keys.iter());
    let copies = copies.map(|key| {
        let key = wire_key(&Address::new(death.address.exchange.clone(), key.clone()));
        text(&key.whole.unwrap_or(key.routing_key))
    });
    let keys = std::iter::once(text(&key)).chain(copies).collect();
    let time = i64::try_from(death.time.0).unwrap_or(i64::MAX);
    let mut table: Pairs = vec![
        ("count".into(), Value::I64(i64::from(death.count))),
        ("reason".into(), Value::text(death.reason.as_str())),
        ("queue".into(), Value::Text(death.queue.clone())),
        ("time".into(), Value::Timestamp(time)),
        ("exchange".into(), Value::Text(death.address.exchange.clone())),
        ("routing-keys".into(), Value::List(keys)),
    ];
    if let Some(ms) = death.ttl_ms {
        table.push(("original-expiration".into(), Value::text(ms.to_string())));
    }
    table
}
