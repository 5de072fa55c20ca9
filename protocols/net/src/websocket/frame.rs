//! Frames of WebSocket (RFC 6455, section 5), without their payload.

/// The longest payload of a frame from the peer in bytes is that of the largest message, but never less than that of
/// one of this size: a peer may put several of its protocol's frames into one.
const MESSAGE_LEAST: u64 = 16 << 20;
/// What the protocol puts around the message, in bytes.
const AROUND: u64 = 64 << 10;
/// The longest payload of a control frame in bytes (5.5).
pub(super) const CONTROL_MAX: usize = 125;
/// The longest head of a frame from the peer in bytes: two, eight for the length, four for the mask.
pub(super) const HEAD_MAX: usize = 14;

/// The longest payload where messages of that size are taken.
pub(super) fn payload_max(message_bytes: usize) -> u64 {
    let message = u64::try_from(message_bytes).unwrap_or(u64::MAX);
    message.max(MESSAGE_LEAST).saturating_add(AROUND)
}

/// Why a connection is closed (7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseCode {
    Normal,
    ProtocolError,
    /// Text, to a protocol that has none (7.4.1).
    Unsupported,
    NotText,
    TooBig,
}

impl CloseCode {
    pub(super) fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::ProtocolError => 1002,
            Self::Unsupported => 1003,
            Self::NotText => 1007,
            Self::TooBig => 1009,
        }
    }
}

/// What a frame is (5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn number(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The head of a frame from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) opcode: Opcode,
    /// It is the last frame of its message.
    pub(super) last: bool,
    /// Bytes of payload.
    pub(super) length: u64,
    pub(super) mask: [u8; 4],
}

/// Reads a head; none: more bytes are needed.
pub(super) fn head(bytes: &[u8], payload_max: u64) -> Result<Option<Head>, CloseCode> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    // 5.2: reserved bits and opcodes are an error, and 5.1: so is a client's frame without a mask.
    let opcode = Opcode::from_number(first & 0x0f).ok_or(CloseCode::ProtocolError)?;
    if first & 0x70 != 0 || second & 0x80 == 0 {
        return Err(CloseCode::ProtocolError);
    }
    let last = first & 0x80 != 0;
    let (length, rest, least) = match second & 0x7f {
        126 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest, 126),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest, 1 << 16),
            None => return Ok(None),
        },
        short => (u64::from(short), rest, 0),
    };
    // 5.2: the shortest form of the length, and 5.5: control frames are short and whole.
    if length < least || (opcode.is_control() && (length > CONTROL_MAX as u64 || !last)) {
        return Err(CloseCode::ProtocolError);
    }
    if length > payload_max {
        return Err(CloseCode::TooBig);
    }
    Ok(rest.first_chunk().map(|mask| Head { opcode, last, length, mask: *mask }))
}

/// Writes the head of a frame to the peer: a whole message, or a control frame.
pub(super) fn put_head(opcode: Opcode, length: usize, out: &mut Vec<u8>) {
    out.push(0x80 | opcode.number());
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..126), _) => out.push(short),
        (_, Ok(length)) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Takes the mask off (5.3); returns the mask as it goes on behind these bytes.
pub(super) fn unmask(bytes: &mut [u8], mut mask: [u8; 4]) -> [u8; 4] {
    let mut chunks = bytes.chunks_exact_mut(16);
    let wide = u128::from_ne_bytes(std::array::from_fn(|i| mask.get(i & 3).copied().unwrap_or(0)));
    for chunk in &mut chunks {
        if let Ok(chunk) = <&mut [u8; 16]>::try_from(chunk) {
            *chunk = (u128::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
        }
    }
    let rest = chunks.into_remainder();
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    mask.rotate_left(rest.len() & 3);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD_MAX: u64 = MESSAGE_LEAST + AROUND;

    fn head(bytes: &[u8]) -> Result<Option<Head>, CloseCode> {
        super::head(bytes, PAYLOAD_MAX)
    }

    #[test]
    fn a_payload_is_as_long_as_the_largest_message() {
        assert_eq!(payload_max(1), PAYLOAD_MAX);
        assert_eq!(payload_max(32 << 20), (32 << 20) + (64 << 10));
    }

    #[test]
    fn heads_are_read_at_every_length() {
        for length in [0u64, 1, 125, 126, 127, 65_535, 65_536, PAYLOAD_MAX] {
            let mut bytes = Vec::new();
            put_head(Opcode::Binary, length as usize, &mut bytes);
            bytes[1] |= 0x80;
            bytes.extend_from_slice(b"mask");
            assert!(bytes.len() <= HEAD_MAX);
            for cut in 0..bytes.len() {
                assert_eq!(head(&bytes[..cut]), Ok(None), "{length} cut at {cut}");
            }
            let want = Head { opcode: Opcode::Binary, last: true, length, mask: *b"mask" };
            assert_eq!(head(&bytes), Ok(Some(want)));
        }
    }

    #[test]
    fn malformed_heads_are_refused_as_soon_as_they_show() {
        use CloseCode::{ProtocolError, TooBig};
        for (bytes, code) in [
            (&b"\xc2\x80"[..], ProtocolError),
            (b"\x83\x80", ProtocolError),
            (b"\x82\x05", ProtocolError),
            (b"\x09\x80", ProtocolError),
            (b"\x89\xfe\0\x7e", ProtocolError),
            (b"\x82\xfe\0\x7d", ProtocolError),
            (b"\x82\xff\0\0\0\0\0\0\xff\xff", ProtocolError),
            (b"\x82\xff\0\0\0\0\x01\x02\0\0", TooBig),
            (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", TooBig),
        ] {
            assert_eq!(head(bytes), Err(code), "{bytes:x?}");
            assert_eq!(head(&bytes[..1]).unwrap_or(None), None);
        }
    }

    #[test]
    fn a_mask_goes_on_behind_any_cut() {
        let plain: Vec<u8> = (0..100).collect();
        let mask = [1, 200, 3, 77];
        let masked: Vec<u8> =
            plain.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        for cut in 0..=plain.len() {
            let mut bytes = masked.clone();
            let (front, back) = bytes.split_at_mut(cut);
            let mask = unmask(front, mask);
            unmask(back, mask);
            assert_eq!(bytes, plain, "cut at {cut}");
        }
    }
}
