//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5 §3.8, §3.10).

use super::Version;
use super::properties::{Place, Property, read};
use super::reason::{Fault, Reason};
use super::topic::{check_filter, shared};
use super::wire::{Reader, Text};
use bytes::Bytes;

/// Filters of one packet, at most: a packet of 16 MiB could have four million of them, and each is a request.
const FILTERS_MAX: usize = 10_000;

/// What a new subscription gets of the retained messages (Retain Handling).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    Send,
    SendIfNew,
    DoNotSend,
}

/// One filter with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub filter: Text,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub handling: Handling,
}

/// A decoded SUBSCRIBE; at least one filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    pub packet_id: u16,
    pub id: Option<u32>,
    pub filters: Vec<Subscription>,
}

/// A decoded UNSUBSCRIBE; at least one filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    pub packet_id: u16,
    pub filters: Vec<Text>,
}

pub(super) fn decode_subscribe(body: Bytes, version: Version) -> Result<Subscribe, Fault> {
    let mut reader = Reader::new(body);
    let mut subscribe = Subscribe { packet_id: reader.packet_id()?, id: None, filters: Vec::new() };
    if version.is_5() {
        let block = reader.block()?;
        read(&block, Place::Subscribe, |property, _| {
            if let Property::SubscriptionId(id) = property {
                subscribe.id = Some(id);
            }
            Ok(())
        })?;
    }
    while !reader.is_empty() {
        let filter = filter(&mut reader)?;
        let options = reader.u8()?;
        check_count(&subscribe.filters)?;
        subscribe.filters.push(subscription(filter, options, version)?);
    }
    match subscribe.filters.is_empty() {
        true => Err(Fault::protocol("SUBSCRIBE without a filter")), // [MQTT-3.8.3-2]
        false => Ok(subscribe),
    }
}

fn subscription(filter: Text, options: u8, version: Version) -> Result<Subscription, Fault> {
    let (options, reserved) = match version {
        // 3.1 §3.8: the upper six bits are not used.
        Version::V31 => (options & 3, 0),
        Version::V311 => (options, 0xFC),
        Version::V5 => (options, 0xC0),
    };
    if options & reserved != 0 {
        return Err(Fault::malformed("reserved bits of the subscription options")); // [MQTT-3.8.3-5]
    }
    let (qos, no_local) = (options & 3, options & 4 != 0);
    if qos == 3 {
        return Err(Fault::protocol("QoS 3")); // MQTT 5 §3.8.3.1
    }
    let handling = match options >> 4 {
        0 => Handling::Send,
        1 => Handling::SendIfNew,
        2 => Handling::DoNotSend,
        _ => return Err(Fault::protocol("retain handling 3")),
    };
    if no_local && filter.bytes().starts_with(b"$share/") {
        return Err(Fault::protocol("no local on a shared subscription")); // [MQTT-3.8.3-4]
    }
    Ok(Subscription { filter, qos, no_local, retain_as_published: options & 8 != 0, handling })
}

pub(super) fn decode_unsubscribe(body: Bytes, version: Version) -> Result<Unsubscribe, Fault> {
    let mut reader = Reader::new(body);
    let mut unsubscribe = Unsubscribe { packet_id: reader.packet_id()?, filters: Vec::new() };
    if version.is_5() {
        let block = reader.block()?;
        read(&block, Place::Unsubscribe, |_, _| Ok(()))?;
    }
    while !reader.is_empty() {
        check_count(&unsubscribe.filters)?;
        unsubscribe.filters.push(filter(&mut reader)?);
    }
    match unsubscribe.filters.is_empty() {
        true => Err(Fault::protocol("UNSUBSCRIBE without a filter")), // [MQTT-3.10.3-2]
        false => Ok(unsubscribe),
    }
}

fn check_count<T>(filters: &[T]) -> Result<(), Fault> {
    match filters.len() < FILTERS_MAX {
        true => Ok(()),
        false => {
            let why = "a packet has more filters than any packet may (10000)";
            Err(Fault::new(Reason::QUOTA_EXCEEDED, why))
        }
    }
}

fn filter(reader: &mut Reader) -> Result<Text, Fault> {
    let filter = reader.text()?;
    if shared(&filter)?.is_none() {
        check_filter(filter.bytes())?;
    }
    Ok(filter)
}
