//! PUBLISH and will → address and message.

use super::format::{FORMAT_5, FORMAT_311};
use crate::codec::{Place, Property, Publish, Version, Will, read_properties};
use bytes::Bytes;
use crossdock_core::message::carry;
use crossdock_core::{Address, Group, Key, Message, Meta, Name, Native, Origin, Timestamp};
use std::sync::Arc;

/// Where a publish to `topic` goes. The core refuses `$…` topics that nobody may publish to (docs/SEMANTICS.md §1).
pub fn target(topic: &Bytes, exchange: &Name) -> Address {
    let is_special = topic.first() == Some(&b'$');
    let text = std::str::from_utf8(topic).ok().filter(|_| is_special);
    match text.and_then(queue_of) {
        Some(queue) => Address::queue(&queue),
        // The key outlives the read buffer that the topic is a slice of.
        None => Address::new(exchange.clone(), Key::new(Bytes::copy_from_slice(topic))),
    }
}

/// The topic and the seconds of `$delayed/<seconds>/<topic>`; none: it is another topic, or no whole number of seconds.
pub fn delayed(topic: &Bytes) -> Option<(u32, Bytes)> {
    const PREFIX: &[u8] = b"$delayed/";
    let rest = topic.strip_prefix(PREFIX)?;
    let at = memchr::memchr(b'/', rest)?;
    let (seconds, _) = rest.split_at(at);
    let digits = std::str::from_utf8(seconds).ok()?;
    let later = topic.slice(PREFIX.len() + at + 1..);
    // A topic that begins with `$` is the broker's, now as later.
    (!later.is_empty() && later.first() != Some(&b'$')).then_some((digits.parse().ok()?, later))
}

/// The queue that `$q/<queue>` or `$reply/q/<percent-encoded queue>` names.
pub(super) fn queue_of(topic: &str) -> Option<Name> {
    let name = match topic.strip_prefix("$q/") {
        Some(name) => name.to_owned(),
        None => {
            let encoded = topic.strip_prefix("$reply/q/")?;
            String::from_utf8(carry::percent_decode(encoded)?).ok()?
        }
    };
    (!name.is_empty()).then(|| name.into())
}

/// What every message of a connection has in common.
#[derive(Debug, Clone)]
pub struct Incoming {
    pub version: Version,
    pub origin: Arc<Origin>,
}

impl Incoming {
    fn meta(&self, now: Timestamp, qos: u8) -> Meta {
        let mut meta = Meta::new(self.origin.clone(), now);
        meta.durable = qos > 0;
        meta.level = qos;
        meta
    }

    fn native(&self, properties: Bytes) -> Native {
        let format = match self.version {
            Version::V31 | Version::V311 => FORMAT_311,
            Version::V5 => FORMAT_5,
        };
        Native { format, bytes: properties }
    }
}

/// The message of a PUBLISH.
pub fn message(publish: Publish, address: Address, common: &Incoming, now: Timestamp) -> Message {
    let mut meta = common.meta(now, publish.qos);
    // A queue keeps everything; only a topic has a retained value.
    meta.retain = publish.retain && !address.is_queue();
    meta.expires = publish.expiry.map(|seconds| now.plus(u64::from(seconds) * 1000));
    if publish.users > 0 {
        ask(&publish.properties, &mut meta);
    }
    Message::new(address, meta, common.native(publish.properties), publish.payload)
}

/// The message of a will. Its expiry is given from now on, and runs from when the core publishes it.
pub fn will(will: &Will, address: Address, common: &Incoming, now: Timestamp) -> Message {
    let mut meta = common.meta(now, will.qos);
    meta.retain = will.retain && !address.is_queue();
    meta.expires = will.expiry.map(|seconds| now.plus(u64::from(seconds) * 1000));
    if will.users > 0 {
        ask(&will.properties, &mut meta);
    }
    let native = common.native(will.properties.clone());
    Message::new(address, meta, native, will.payload.clone())
}

/// What the user properties `mq.priority`, `mq.group-id` and `mq.group-seq` ask for; the first one of each counts.
fn ask(block: &Bytes, meta: &mut Meta) {
    let (mut priority, mut group, mut sequence) = (None, None, None);
    // The block was checked when it was decoded, so reading it cannot fail.
    let _ = read_properties(block, Place::Publish, |property, _| {
        let Property::User(name, value) = property else { return Ok(()) };
        let (name, value) = (name.as_str(), value.as_str());
        match name {
            "mq.group-id" if group.is_none() && !value.is_empty() => group = Some(value.to_owned()),
            "mq.group-seq" if sequence.is_none() => sequence = value.parse().ok(),
            _ if priority.is_none() => priority = carry::priority(std::iter::once((name, value))),
            _ => {}
        }
        Ok(())
    });
    meta.priority = priority;
    meta.group = group.map(|name| Group::of(name.as_bytes(), sequence));
}
