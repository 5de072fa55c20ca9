//! The primitive types of the wire (MQTT 5 §1.5), read from the front of a frame. No read goes past its end.

use super::reason::Fault;
use bytes::{Buf, Bytes};
use std::fmt;

/// Up to this length looking at each byte costs less than starting a search with vectors.
const SHORT: usize = 32;

/// True when there is one of these three bytes.
pub fn has_any(bytes: &[u8], [a, b, c]: [u8; 3]) -> bool {
    match bytes.len() <= SHORT {
        true => bytes.iter().any(|byte| [a, b, c].contains(byte)),
        false => memchr::memchr3(a, b, c, bytes).is_some(),
    }
}

/// True when the bytes are UTF-8. Most are ASCII, which is quicker to see.
pub fn is_utf8(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

/// A UTF-8 encoded string: well-formed and without U+0000, by construction.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Text(Bytes);

impl Text {
    /// Checks the bytes: [MQTT-1.5.4-1], [MQTT-1.5.4-2].
    pub fn new(bytes: Bytes) -> Result<Self, Fault> {
        if !is_utf8(&bytes) {
            return Err(Fault::malformed("a string is not UTF-8"));
        }
        if has_any(&bytes, [0; 3]) {
            return Err(Fault::malformed("a string holds U+0000"));
        }
        Ok(Self(bytes))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Checked at construction, so the default is never taken.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The text's bytes, still a slice of the frame.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// True for a string of no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What is left of a frame.
#[derive(Debug, Clone)]
pub struct Reader(Bytes);

fn short<E>(_: E) -> Fault {
    Fault::malformed("the packet ends early")
}

impl Reader {
    /// Reads from the front of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Bytes left.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when everything was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn u8(&mut self) -> Result<u8, Fault> {
        self.0.try_get_u8().map_err(short)
    }

    pub fn u16(&mut self) -> Result<u16, Fault> {
        self.0.try_get_u16().map_err(short)
    }

    pub fn u32(&mut self) -> Result<u32, Fault> {
        self.0.try_get_u32().map_err(short)
    }

    /// A Variable Byte Integer: at most four bytes and no more than needed ([MQTT-1.5.5-1]).
    pub fn varint(&mut self) -> Result<u32, Fault> {
        let mut value = 0u32;
        for at in 0..4u32 {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                return match at > 0 && byte == 0 {
                    true => Err(Fault::malformed("a variable byte integer is not minimal")),
                    false => Ok(value),
                };
            }
        }
        Err(Fault::malformed("a variable byte integer has more than four bytes"))
    }

    /// The next `n` bytes, as a slice of the frame.
    pub fn take(&mut self, length: usize) -> Result<Bytes, Fault> {
        match length <= self.0.len() {
            true => Ok(self.0.split_to(length)),
            false => Err(short(())),
        }
    }

    /// Binary data behind its two-byte length.
    pub fn binary(&mut self) -> Result<Bytes, Fault> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// A string behind its two-byte length.
    pub fn text(&mut self) -> Result<Text, Fault> {
        Text::new(self.binary()?)
    }

    /// A property block behind its length.
    pub fn block(&mut self) -> Result<Bytes, Fault> {
        let length = self.varint()?;
        self.take(usize::try_from(length).map_err(short)?)
    }

    /// A packet identifier: never 0 ([MQTT-2.2.1-3]).
    pub fn packet_id(&mut self) -> Result<u16, Fault> {
        match self.u16()? {
            0 => Err(Fault::protocol("packet identifier 0")),
            id => Ok(id),
        }
    }

    /// Everything that is left.
    pub fn rest(self) -> Bytes {
        self.0
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<(), Fault> {
        match self.is_empty() {
            true => Ok(()),
            false => Err(Fault::malformed("bytes behind the end of the packet")),
        }
    }
}
