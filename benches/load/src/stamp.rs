//! The stamp in every message: sender, number and time. 24 bytes at the start of a binary body, or 43 characters
//! anywhere in a text body, because a transform may move them.

use memchr::memmem;

/// Bytes of a binary stamp.
pub const STAMP_BYTES: usize = 24;
/// Characters of a stamp as text.
pub const TEXT_BYTES: usize = 43;

const MAGIC: u32 = 0xC5_D0_4B_17;
const TEXT_MAGIC: &[u8] = b"mk-";

/// How a body holds its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Binary,
    Text,
}

/// Who sent a message, its number from 0, and when, in nanoseconds of the run's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub producer: u32,
    pub sequence: u64,
    pub time: u64,
}

impl Form {
    /// Bytes that a stamp takes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Binary => STAMP_BYTES,
            Self::Text => TEXT_BYTES,
        }
    }

    /// Writes a stamp over the first `bytes()` of `place`.
    pub fn write(self, stamp: Stamp, place: &mut [u8]) {
        match self {
            Self::Binary => {
                place[..4].copy_from_slice(&MAGIC.to_be_bytes());
                place[4..8].copy_from_slice(&stamp.producer.to_be_bytes());
                place[8..16].copy_from_slice(&stamp.sequence.to_be_bytes());
                place[16..24].copy_from_slice(&stamp.time.to_be_bytes());
            }
            Self::Text => {
                place[..3].copy_from_slice(TEXT_MAGIC);
                write_hex(u64::from(stamp.producer), &mut place[3..11]);
                write_hex(stamp.sequence, &mut place[11..27]);
                write_hex(stamp.time, &mut place[27..43]);
            }
        }
    }

    /// Finds the stamp of a body; none in a body that is not ours.
    pub fn read(self, body: &[u8]) -> Option<Stamp> {
        match self {
            Self::Binary => {
                let head: &[u8; STAMP_BYTES] = body.first_chunk()?;
                if u32::from_be_bytes(*head.first_chunk()?) != MAGIC {
                    return None;
                }
                Some(Stamp {
                    producer: u32::from_be_bytes(*head[4..].first_chunk()?),
                    sequence: u64::from_be_bytes(*head[8..].first_chunk()?),
                    time: u64::from_be_bytes(*head[16..].first_chunk()?),
                })
            }
            Self::Text => {
                let at = memmem::find(body, TEXT_MAGIC)?;
                let text = body.get(at + 3..at + TEXT_BYTES)?;
                Some(Stamp {
                    producer: u32::try_from(read_hex(&text[..8])?).ok()?,
                    sequence: read_hex(&text[8..24])?,
                    time: read_hex(&text[24..])?,
                })
            }
        }
    }
}

fn write_hex(mut value: u64, place: &mut [u8]) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

fn read_hex(text: &[u8]) -> Option<u64> {
    let digit = |c: &u8| (*c as char).to_digit(16).map(u64::from);
    text.iter().try_fold(0, |value, c| Some((value << 4) | digit(c)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { producer: 7, sequence: 0x0102_0304_0506, time: 123_456_789_012 };

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        for form in [Form::Binary, Form::Text] {
            let mut body = vec![b'.'; 128];
            form.write(STAMP, &mut body);
            assert_eq!(form.read(&body), Some(STAMP));
            assert_eq!(form.read(&body[..form.bytes()]), Some(STAMP));
            assert_eq!(form.read(&body[..form.bytes() - 1]), None);
        }
    }

    #[test]
    fn a_text_stamp_is_found_where_a_transform_put_it() {
        let mut body = b"{\"item_id\":\"I101\",\"mark\":\"".to_vec();
        let at = body.len();
        body.resize(at + TEXT_BYTES, 0);
        Form::Text.write(STAMP, &mut body[at..]);
        body.extend_from_slice(b"\",\"stock\":50}");
        assert_eq!(Form::Text.read(&body), Some(STAMP));
    }

    #[test]
    fn what_is_not_ours_has_no_stamp() {
        assert_eq!(Form::Binary.read(&[0; 128]), None);
        assert_eq!(Form::Text.read(&[b'm'; 128]), None);
        assert_eq!(Form::Text.read(b"mk-not hexadecimal at all, and quite long enough"), None);
    }
}
