//! Values with a form of their own: sizes, shares of the memory, addresses.

use crossdock_core::{Address, Key, Name};
use serde::Deserialize;

/// A number of bytes, written as a number or as `64MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Size(pub u64);

/// A number of bytes, or a percentage of what the process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum Share {
    Bytes(u64),
    Percent(u8),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

impl Size {
    /// Reads a whole number with an optional unit: `512`, `64KiB`, `1 GiB`.
    pub fn parse(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 9] = [
            ("", 1),
            ("b", 1),
            ("kib", 1 << 10),
            ("mib", 1 << 20),
            ("gib", 1 << 30),
            ("tib", 1 << 40),
            ("kb", 1_000),
            ("mb", 1_000_000),
            ("gb", 1_000_000_000),
        ];
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim().to_ascii_lowercase();
        let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        match (number.parse::<u64>(), factor) {
            (Ok(number), Some(factor)) => match number.checked_mul(factor) {
                Some(bytes) => Ok(Self(bytes)),
                None => Err(format!("'{text}' is too large")),
            },
            _ => Err(format!("'{text}' is not a size: a number with B, KiB, MiB, GiB or TiB")),
        }
    }
}

impl Share {
    /// Reads `60%` or a size.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.trim().strip_suffix('%') {
            None => Size::parse(text).map(|size| Share::Bytes(size.0)),
            Some(number) => match number.trim().parse::<u8>() {
                Ok(percent @ 1..=100) => Ok(Share::Percent(percent)),
                _ => Err(format!("'{text}' is not a percentage from 1% to 100%")),
            },
        }
    }

    /// The bytes that it stands for, of a whole.
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Share::Bytes(bytes) => bytes,
            Share::Percent(percent) => whole / 100 * u64::from(percent),
        }
    }
}

/// A number of bytes in the largest unit that fits, for people.
pub fn shown(bytes: u64) -> String {
    match (bytes >> 20, bytes >> 10) {
        (1.., _) => format!("{} MiB", bytes >> 20),
        (_, 1..) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

impl TryFrom<Written> for Size {
    type Error = String;
    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => Self::parse(&text),
        }
    }
}

impl TryFrom<Written> for Share {
    type Error = String;
    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(bytes) => Ok(Share::Bytes(bytes)),
            Written::Text(text) => Share::parse(&text),
        }
    }
}

/// Reads `queue:NAME`, `topic:a/b` or `exchange:NAME/KEY` (docs/SEMANTICS.md §1).
pub fn address(text: &str, topic_exchange: &Name) -> Result<Address, String> {
    let wrong = || format!("'{text}' is not queue:NAME, topic:a/b or exchange:NAME/KEY");
    let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
    if text.contains(['{', '}']) {
        return Err(format!("'{text}': nothing is computed here, so an address has no braces"));
    }
    let is_pattern = rest.split('/').any(|word| matches!(word, "+" | "#"));
    if kind != "queue" && is_pattern {
        return Err(format!("'{text}' has a wildcard, and messages cannot be sent to a wildcard"));
    }
    match kind {
        "queue" if !rest.is_empty() => Ok(Address::queue(rest)),
        "topic" if !rest.is_empty() => Ok(Address::new(topic_exchange.clone(), Key::from(rest))),
        "exchange" => match rest.split_once('/') {
            Some((name, key)) if !name.is_empty() => Ok(Address::new(name.into(), Key::from(key))),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}
