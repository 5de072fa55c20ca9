//! Primitive types of the wire: integers, short and long strings, and frames around a payload. Not the meaning of
//! any of them. Reading never goes past the slice it was given.

use bytes::{BufMut, BytesMut};
use crossdock_core::Name;

/// Bytes that are not what the grammar asks for (AMQP 0-9-1 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed")]
pub struct Malformed;

/// Longest short string.
pub const SHORT_MAX: usize = 255;

/// Takes values off the front of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// True when all was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A short string: one length octet.
    pub fn short(&mut self) -> Result<&'a [u8], Malformed> {
        let n = self.u8()?;
        self.take(usize::from(n))
    }

    /// A long string, or any block with a four-octet length.
    pub fn long(&mut self) -> Result<&'a [u8], Malformed> {
        let n = self.u32()?;
        self.take(usize::try_from(n).map_err(|_| Malformed)?)
    }

    /// A short string that names something: names are UTF-8 here.
    pub fn name(&mut self) -> Result<Name, Malformed> {
        std::str::from_utf8(self.short()?).map(Name::from).map_err(|_| Malformed)
    }
}

/// Writes a short string; what is longer than 255 octets is cut at a character border.
pub fn put_short(out: &mut BytesMut, text: &[u8]) {
    let text = cut(text, SHORT_MAX);
    // `cut` leaves at most 255.
    out.put_u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.put_slice(text);
}

/// Writes a long string.
pub fn put_long(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

/// The longest prefix of at most `max` octets that does not end inside a character.
pub fn cut(text: &[u8], max: usize) -> &[u8] {
    let Some(head) = text.get(..max.min(text.len())) else { return text };
    if head.len() == text.len() {
        return head;
    }
    // A continuation octet right behind the cut means that a character was divided.
    let whole = (0..=3.min(head.len()))
        .map(|back| head.len() - back)
        .find(|at| text.get(*at).is_none_or(|b| b & 0xC0 != 0x80));
    head.get(..whole.unwrap_or(head.len())).unwrap_or(head)
}

/// Writes a length of four octets in front of what `write` appends.
#[inline]
pub fn sized(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_u32(0);
    write(out);
    let size = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&size.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_cut_between_characters() {
        assert_eq!(cut("aé".as_bytes(), 2), b"a");
        assert_eq!(cut("aé".as_bytes(), 3), "aé".as_bytes());
        assert_eq!(cut(b"abc", 2), b"ab");
        assert_eq!(cut("🐇🐇".as_bytes(), 7), "🐇".as_bytes());
        assert_eq!(cut(b"", 0), b"");
    }

    #[test]
    fn reading_past_the_end_is_malformed() {
        let mut reader = Reader::new(&[0, 0, 0, 9, 1]);
        assert_eq!(reader.long(), Err(Malformed));
        assert_eq!(Reader::new(&[3, 1]).short(), Err(Malformed));
        assert_eq!(Reader::new(&[1]).u16(), Err(Malformed));
        assert_eq!(Reader::new(&[1, 0xFF]).name(), Err(Malformed));
    }
}
