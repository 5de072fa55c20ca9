//! Exchange and routing key ⇄ address (docs/SEMANTICS.md §1, §5). A key of the default exchange is a queue name, as it
//! is; every other key changes its separators on the way in and out.

use crate::codec::wire::SHORT_MAX;
use bytes::Bytes;
use crossdock_core::message::aliases::{self, Aliases};
use crossdock_core::message::carry;
use crossdock_core::{Address, Key, Name};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// A routing key of the default exchange that is a topic to reply to.
const REPLY_TOPIC: &str = "mq.reply.t.";

/// What both of them begin with, and the aliases of topics that are too long for them.
const REPLY: &str = "mq.reply.";

/// What reply-topic keys lead to: the exchange of topics, and what short names stand for.
pub type Known<'a> = (&'a Name, &'a Aliases);

/// The key in the core's form.
pub fn key(exchange: &str, routing_key: &[u8]) -> Key {
    let key = Key::new(Bytes::copy_from_slice(routing_key));
    match exchange.is_empty() {
        true => key,
        false => key.swapped(),
    }
}

/// Where a publish goes. The default exchange routes a reply-topic key to that topic.
pub fn published(
    exchange: Name,
    routing_key: &[u8],
    (topic_exchange, aliases): Known<'_>,
) -> Address {
    if exchange.is_empty()
        && routing_key.starts_with(REPLY.as_bytes())
        && let Ok(name) = std::str::from_utf8(routing_key)
        && let Some(topic) = reply_topic(name).or_else(|| aliases.topic(name))
    {
        return Address::new(topic_exchange.clone(), topic);
    }
    let key = key(&exchange, routing_key);
    Address::new(exchange, key)
}

/// The topic (in topic form) that a reply-topic key stands for.
pub fn reply_topic(name: &str) -> Option<Key> {
    let topic = carry::from_base64url(name.strip_prefix(REPLY_TOPIC)?)?;
    Some(Key::new(topic))
}

/// The name that a client here can publish to, by the default exchange, to reach the topic.
pub fn reply_queue(topic: &Key) -> Option<String> {
    let name = format!("{REPLY_TOPIC}{}", carry::base64url(topic.bytes()));
    (name.len() <= SHORT_MAX).then_some(name)
}

/// A name for bytes that do not fit into a short string. It says nothing of them, and other bytes have another one.
pub fn alias(prefix: &str, bytes: &[u8]) -> Name {
    let digest = Sha256::digest(bytes);
    format!("{prefix}{}", carry::base64url(&digest)).into()
}

/// The same for a topic to answer to.
pub fn reply_alias(topic: &Key) -> Name {
    alias(aliases::REPLY_TOPIC, topic.bytes())
}

/// A routing key as a delivery shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireKey {
    pub routing_key: Bytes,
    /// The whole key, when it does not fit into a short string.
    pub whole: Option<Bytes>,
}

/// The routing key that an address was published with.
pub fn wire_key(address: &Address) -> WireKey {
    let key = match address.is_queue() {
        true => address.key.bytes().clone(),
        false => address.key.swapped().bytes().clone(),
    };
    match key.len() <= SHORT_MAX {
        true => WireKey { routing_key: key, whole: None },
        false => {
            let mut short = String::from("mq.long.");
            for byte in Sha256::digest(&key) {
                // Writing to a string never fails.
                let _ = write!(short, "{byte:02x}");
            }
            WireKey { routing_key: short.into(), whole: Some(key) }
        }
    }
}
