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
use crossdock_core::{Death, Delivery, Formats, Message, Timestamp, Value};

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
    fit(base, message, reader)
}

/// The properties of a message that goes back to its publisher.
pub fn returned(message: &Message, reader: &Reader<'_>) -> Bytes {
    fit(base(message, reader), message, reader)
}

fn fit(base: Bytes, message: &Message, reader: &Reader<'_>) -> Bytes {
    let max = reader.frame_max.saturating_sub(OVERHEAD + CONTENT_HEADER_FIXED);
    if base.len() <= max {
        return base;
    }
    let (fitted, dropped) = fitted(&base, max);
    tracing::trace!(
        ?message,
        dropped,
        "headers were left out of a delivery: it would not have fitted into the agreed frame size"
    );
    fitted
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
                let how = (reader.carry, reader.now);
                let encoded = encode::properties(message, fields, how, &mut losses);
                message.converted(FORMAT, reader.formats, losses);
                encoded
            }
        };
        match meta.deaths().is_empty() {
            true => encoded,
            false => with_headers(&encoded, &death_headers(meta.deaths()), own),
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

/// x-death, the newest first, and the queue, reason and exchange of the first and the last death.
fn death_headers(deaths: &[Death]) -> Pairs {
    let table = Value::List(deaths.iter().map(|death| Value::Map(death_table(death))).collect());
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
    let key = Value::text(&*String::from_utf8_lossy(&key));
    let time = i64::try_from(death.time.0).unwrap_or(i64::MAX);
    let mut table: Pairs = vec![
        ("count".into(), Value::I64(i64::from(death.count))),
        ("reason".into(), Value::text(death.reason.as_str())),
        ("queue".into(), Value::Text(death.queue.clone())),
        ("time".into(), Value::Timestamp(time)),
        ("exchange".into(), Value::Text(death.address.exchange.clone())),
        ("routing-keys".into(), Value::List(vec![key])),
    ];
    if let Some(ms) = death.ttl_ms {
        table.push(("original-expiration".into(), Value::text(ms.to_string())));
    }
    table
}
