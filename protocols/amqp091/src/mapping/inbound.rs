//! What the broker acts on, out of the properties of a publish. The rest stays encoded.

use super::names;
use crate::codec::properties::edited;
use crate::codec::table::{Pairs, RawEntry};
use crate::codec::{Properties, Refusal, ReplyCode};
use bytes::Bytes;
use crossdock_core::{Group, Meta, Origin, Timestamp, Value};
use std::sync::Arc;

/// delivery-mode "persistent" (AMQP 0-9-1 §1.8.3.4).
pub const PERSISTENT: u8 = 2;
const TRANSIENT: u8 = 1;

/// The longest expiration, in milliseconds, as with RabbitMQ.
const EXPIRATION_MAX: u64 = 10 * 365 * 24 * 60 * 60 * 1000;

/// RabbitMQ "Direct Reply-to": it stands for whatever channel publishes or consumes.
pub const PSEUDO_QUEUE: &str = "amq.rabbitmq.reply-to";

/// What few publishes ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Special {
    /// Routing keys that it goes to beside its own.
    pub keys: Vec<Bytes>,
    /// There are some that no reader may see.
    pub has_hidden: bool,
    /// Its answer is to come to its channel.
    pub asks_channel: bool,
}

/// Reads and checks the properties of one publish; with them what few ask for.
pub fn meta(
    encoded: &[u8],
    origin: &Arc<Origin>,
    now: Timestamp,
) -> Result<(Meta, Option<Box<Special>>), Refusal> {
    let mut special: Option<Box<Special>> = None;
    let properties = Properties::decode(encoded)?;
    let mut meta = Meta::new(origin.clone(), now);
    meta.durable = match properties.delivery_mode {
        None | Some(TRANSIENT) => false,
        Some(PERSISTENT) => true,
        Some(other) => {
            let text = format!("invalid message: unknown delivery mode {other}");
            return Err(Refusal::new(ReplyCode::PreconditionFailed, text));
        }
    };
    meta.level = u8::from(meta.durable);
    meta.priority = properties.priority;
    if let Some(user) = properties.user_id
        && user != origin.user.as_bytes()
    {
        let text = format!(
            "user_id property set to '{}' but authenticated user was '{}'",
            String::from_utf8_lossy(user),
            origin.user
        );
        return Err(Refusal::new(ReplyCode::PreconditionFailed, text));
    }
    if let Some(text) = properties.expiration {
        meta.expires = Some(now.plus(expiration(text)?));
    }
    if properties.reply_to == Some(PSEUDO_QUEUE.as_bytes()) {
        special.get_or_insert_default().asks_channel = true;
    }
    let (mut group, mut sequence) = (None, None);
    for entry in properties.entries() {
        // The walk checks every value: readers get these bytes as they are.
        let entry = entry?;
        if entry.name == names::QOS.as_bytes() {
            meta.level = level(&entry.decode()?).unwrap_or(meta.level);
        } else if entry.name == names::RETAIN.as_bytes() {
            meta.retain = entry.decode()? == Value::Bool(true);
        } else if [names::CC, names::BCC].iter().any(|name| entry.name == name.as_bytes()) {
            let special = special.get_or_insert_default();
            special.has_hidden |= entry.name == names::BCC.as_bytes();
            add_keys(&entry, &mut special.keys)?;
        } else if entry.name == names::GROUP_ID.as_bytes() {
            group = Some(entry.decode()?);
        } else if entry.name == names::GROUP_ID_JMS.as_bytes() {
            group = group.or(Some(entry.decode()?));
        } else if entry.name == names::GROUP_SEQ.as_bytes() {
            sequence = entry.decode()?.as_i64();
        }
    }
    if let Some(Value::Text(name)) = group {
        meta.group = Some(Group::of(name.as_bytes(), sequence)).filter(|_| !name.is_empty());
    }
    Ok((meta, special))
}

/// The same properties without the keys that no reader may see.
pub fn without_hidden(encoded: &Bytes) -> Bytes {
    let Ok(properties) = Properties::decode(encoded) else { return encoded.clone() };
    let is_hidden = |name: &[u8]| name == names::BCC.as_bytes();
    let headers = edited(properties.headers.unwrap_or_default(), is_hidden, &Pairs::new());
    Properties { headers: Some(&headers), ..properties }.encode()
}

/// The same properties with another address for the answer.
pub fn with_reply_to(encoded: &Bytes, name: &str) -> Bytes {
    let Ok(properties) = Properties::decode(encoded) else { return encoded.clone() };
    Properties { reply_to: Some(name.as_bytes()), ..properties }.encode()
}

/// How many headers there are, those inside of tables and lists included.
pub fn count_headers(encoded: &[u8]) -> usize {
    fn inside(value: &Value) -> usize {
        match value {
            Value::List(values) => values.iter().map(|value| 1 + inside(value)).sum(),
            Value::Map(pairs) => pairs.iter().map(|(_, value)| 1 + inside(value)).sum(),
            _ => 0,
        }
    }
    let Ok(properties) = Properties::decode(encoded) else { return 0 };
    let values = properties.entries().flatten().filter_map(|entry| entry.decode().ok());
    values.map(|value| 1 + inside(&value)).sum()
}

/// The routing keys of copies are an array. What is no text in it says nothing, as with RabbitMQ.
fn add_keys(entry: &RawEntry<'_>, keys: &mut Vec<Bytes>) -> Result<(), Refusal> {
    match entry.decode()? {
        Value::List(values) => {
            keys.extend(values.iter().filter_map(|value| match value {
                Value::Text(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
                Value::Bytes(bytes) => Some(bytes.clone()),
                _ => None,
            }));
            Ok(())
        }
        other => {
            let (name, kind) = (String::from_utf8_lossy(entry.name), other.type_name());
            let text = format!("invalid message: header {name} is of type {kind}, not an array");
            Err(Refusal::new(ReplyCode::PreconditionFailed, text))
        }
    }
}

fn level(value: &Value) -> Option<u8> {
    let level = value.as_i64().and_then(|n| u8::try_from(n).ok())?;
    (level <= 2).then_some(level)
}

/// Milliseconds as text. Anything else is refused: the message would never expire, against its sender's will.
fn expiration(text: &[u8]) -> Result<u64, Refusal> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i128>().ok());
    let why = match number {
        None => "no integer",
        Some(number) if number < 0 => "it is below 0",
        Some(number) => match u64::try_from(number) {
            Ok(ms) if ms <= EXPIRATION_MAX => return Ok(ms),
            _ => "it is too large: 315360000000 ms are the most",
        },
    };
    let text = format!("invalid expiration '{}': {why}", String::from_utf8_lossy(text));
    Err(Refusal::new(ReplyCode::PreconditionFailed, text))
}
