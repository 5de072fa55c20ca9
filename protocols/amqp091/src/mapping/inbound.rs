//! What the broker acts on, out of the properties of a publish. The rest stays encoded.

use super::names;
use crate::codec::{Properties, Refusal, ReplyCode};
use crossdock_core::{Meta, Origin, Timestamp, Value};
use std::sync::Arc;

/// delivery-mode "persistent" (AMQP 0-9-1 §1.8.3.4).
pub const PERSISTENT: u8 = 2;

/// Reads and checks the properties of one publish.
pub fn meta(encoded: &[u8], origin: &Arc<Origin>, now: Timestamp) -> Result<Meta, Refusal> {
    let properties = Properties::decode(encoded)?;
    let mut meta = Meta::new(origin.clone(), now);
    meta.durable = properties.delivery_mode == Some(PERSISTENT);
    meta.level = u8::from(meta.durable);
    meta.priority = properties.priority;
    if let Some(user) = properties.user_id
        && user != origin.user.as_bytes()
    {
        let text = format!(
            "property user-id is '{}', but the connection's user is '{}'",
            String::from_utf8_lossy(user),
            origin.user
        );
        return Err(Refusal::new(ReplyCode::PreconditionFailed, text));
    }
    if let Some(text) = properties.expiration {
        meta.expires = Some(now.plus(expiration(text)?));
    }
    for entry in properties.entries() {
        // The walk checks every value: readers get these bytes as they are.
        let entry = entry?;
        if entry.name == names::QOS.as_bytes() {
            meta.level = level(&entry.decode()?).unwrap_or(meta.level);
        } else if entry.name == names::RETAIN.as_bytes() {
            meta.retain = entry.decode()? == Value::Bool(true);
        }
    }
    Ok(meta)
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

fn level(value: &Value) -> Option<u8> {
    let level = value.as_i64().and_then(|n| u8::try_from(n).ok())?;
    (level <= 2).then_some(level)
}

/// Milliseconds as text. Anything else is refused: the message would never expire, against its sender's will.
fn expiration(text: &[u8]) -> Result<u64, Refusal> {
    let digits = std::str::from_utf8(text).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|t| t.parse().ok()).ok_or_else(|| {
        let text = String::from_utf8_lossy(text);
        let text = format!("invalid expiration '{text}': not a number of milliseconds");
        Refusal::new(ReplyCode::PreconditionFailed, text)
    })
}
