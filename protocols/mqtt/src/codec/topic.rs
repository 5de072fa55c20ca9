//! Topic names and topic filters (MQTT 5 §4.7).

use super::reason::Fault;
use super::wire::{Text, has_any};
use bytes::Bytes;

/// A topic name: at least one character [MQTT-4.7.3-1], no wildcard [MQTT-3.3.2-2]. One that breaks these rules is
/// malformed; 0x90 and 0x8F are for names that are well formed and not accepted (§2.4).
pub fn check_name(topic: &Text) -> Result<(), Fault> {
    if topic.is_empty() {
        return Err(Fault::malformed("an empty topic name"));
    }
    match has_any(topic.bytes(), [b'+', b'#', b'#']) {
        true => Err(Fault::malformed("a wildcard in a topic name")),
        false => Ok(()),
    }
}

/// A topic filter: `#` is a whole level and the last one [MQTT-4.7.1-1], `+` is a whole level [MQTT-4.7.1-2].
pub fn check_filter(filter: &[u8]) -> Result<(), Fault> {
    let invalid = |what| Err(Fault::malformed(what));
    if filter.is_empty() {
        return invalid("an empty topic filter");
    }
    let mut closed = false;
    for level in filter.split(|byte| *byte == b'/') {
        if closed {
            return invalid("a level behind `#`");
        }
        match level {
            b"#" => closed = true,
            b"+" => (),
            text if memchr::memchr2(b'+', b'#', text).is_some() => {
                return invalid("a wildcard that is not a whole level");
            }
            _ => (),
        }
    }
    Ok(())
}

/// The parts of `$share/<group>/<filter>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    pub group: Bytes,
    pub filter: Bytes,
}

/// Whether the filter is a shared one, and whether it is well formed [MQTT-4.8.2-1], [MQTT-4.8.2-2].
pub fn shared(filter: &Text) -> Result<Option<Shared>, Fault> {
    const PREFIX: usize = "$share/".len();
    let bytes = filter.bytes();
    if !bytes.starts_with(b"$share/") {
        return Ok(None);
    }
    let invalid = |what| Err(Fault::malformed(what));
    let rest = bytes.slice(PREFIX..);
    let Some(at) = memchr::memchr(b'/', &rest) else {
        return invalid("a shared filter without a topic filter");
    };
    let (group, filter) = (rest.slice(..at), rest.slice(at + 1..));
    if group.is_empty() || memchr::memchr2(b'+', b'#', &group).is_some() {
        return invalid("the name of a share");
    }
    check_filter(&filter)?;
    Ok(Some(Shared { group, filter }))
}
