//! Values with a form of their own: sizes, shares of the memory, addresses.

use crossdock_core::{Address, Key, Name};
use serde::Deserialize;
use std::time::Duration;

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

/// A time, written as `200ms`, `10s`, `5m`, `24h` or `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

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

impl Span {
    /// Reads a whole number with its unit.
    pub fn parse(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 5] =
            [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = UNITS.iter().find(|(name, _)| *name == unit.trim()).map(|(_, factor)| *factor);
        match (number.parse::<u64>(), factor) {
            (Ok(number), Some(factor)) => match number.checked_mul(factor) {
                Some(ms) => Ok(Self(Duration::from_millis(ms))),
                None => Err(format!("'{text}' is too large")),
            },
            _ => Err(format!("'{text}' is not a duration: a whole number with ms, s, m, h or d")),
        }
    }

    /// In milliseconds.
    pub fn ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
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

/// Milliseconds in the largest unit that they are a whole number of, for people.
pub fn shown_span(ms: u64) -> String {
    match ms {
        _ if ms.is_multiple_of(86_400_000) => format!("{}d", ms / 86_400_000),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
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

impl TryFrom<String> for Span {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
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
