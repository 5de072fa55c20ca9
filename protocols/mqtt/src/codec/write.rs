//! Encoders of the packets that a server sends. Each appends one whole packet (of PUBLISH, everything before the
//! shared properties and the payload) to a buffer.

use super::ack::AckKind;
use super::properties::id;
use super::reason::Reason;
use super::{Version, kind};
use bytes::{BufMut, BytesMut};

/// A property block being written.
#[derive(Debug, Default)]
pub struct Block(BytesMut);

impl Block {
    /// An empty block.
    pub fn new() -> Self {
        Self::default()
    }

    pub fn flag(&mut self, id: u8, value: bool) {
        self.0.put_slice(&[id, u8::from(value)]);
    }

    pub fn u16(&mut self, id: u8, value: u16) {
        self.0.put_u8(id);
        self.0.put_u16(value);
    }

    pub fn u32(&mut self, id: u8, value: u32) {
        self.0.put_u8(id);
        self.0.put_u32(value);
    }

    /// A string or binary property; false (and nothing written) when it is longer than the wire can say.
    pub fn bytes(&mut self, id: u8, value: &[u8]) -> bool {
        let Ok(length) = u16::try_from(value.len()) else { return false };
        self.0.put_u8(id);
        self.0.put_u16(length);
        self.0.put_slice(value);
        true
    }

    /// A user property; false when one of the two cannot be a string of this protocol.
    pub fn user(&mut self, name: &str, value: &str) -> bool {
        let (Ok(n), Ok(v)) = (u16::try_from(name.len()), u16::try_from(value.len())) else {
            return false;
        };
        if name.contains('\0') || value.contains('\0') {
            return false;
        }
        self.0.put_u8(id::USER);
        self.0.put_u16(n);
        self.0.put_slice(name.as_bytes());
        self.0.put_u16(v);
        self.0.put_slice(value.as_bytes());
        true
    }

    /// The reason string, cut to a readable length.
    pub fn reason_string(&mut self, text: &str) {
        const TEXT_MAX: usize = 512;
        let mut end = text.len().min(TEXT_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text.get(..end).unwrap_or_default();
        if !text.is_empty() && !text.contains('\0') {
            self.bytes(id::REASON_STRING, text.as_bytes());
        }
    }

    /// The block without its length.
    pub fn into_bytes(self) -> BytesMut {
        self.0
    }
}

/// Bytes that a variable byte integer takes.
pub fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn put_block(out: &mut BytesMut, block: &Block) {
    put_varint(out, block.0.len());
    out.put_slice(&block.0);
}

fn block_len(block: &Block) -> usize {
    varint_len(block.0.len()) + block.0.len()
}

/// CONNACK. In 3.1.1 the block is left out and the reason becomes a return code.
pub fn connack(out: &mut BytesMut, version: Version, present: bool, reason: Reason, block: &Block) {
    out.put_u8(kind::CONNACK << 4);
    match version {
        Version::V31 | Version::V311 => {
            out.put_slice(&[2, u8::from(present), reason.return_code()]);
        }
        Version::V5 => {
            put_varint(out, 2 + block_len(block));
            out.put_slice(&[u8::from(present), reason.0]);
            put_block(out, block);
        }
    }
}

/// One of the four acknowledgements; a success without properties is left out.
pub fn ack(
    out: &mut BytesMut,
    kind: AckKind,
    version: Version,
    packet_id: u16,
    (reason, block): (Reason, &Block),
) {
    out.put_u8(kind.first_byte());
    if !version.is_5() || (reason == Reason::SUCCESS && block.0.is_empty()) {
        out.put_u8(2);
        out.put_u16(packet_id);
        return;
    }
    let properties = if block.0.is_empty() { 0 } else { block_len(block) };
    put_varint(out, 3 + properties);
    out.put_u16(packet_id);
    out.put_u8(reason.0);
    if properties > 0 {
        put_block(out, block);
    }
}

/// SUBACK with one code for each filter.
pub fn suback(
    out: &mut BytesMut,
    version: Version,
    packet_id: u16,
    codes: &[Reason],
    block: &Block,
) {
    out.put_u8(kind::SUBACK << 4);
    answers(out, version, packet_id, Some(codes), block);
}

/// UNSUBACK; 3.1.1 has no codes.
pub fn unsuback(
    out: &mut BytesMut,
    version: Version,
    packet_id: u16,
    codes: &[Reason],
    block: &Block,
) {
    out.put_u8(kind::UNSUBACK << 4);
    answers(out, version, packet_id, version.is_5().then_some(codes), block);
}

fn answers(
    out: &mut BytesMut,
    version: Version,
    packet_id: u16,
    codes: Option<&[Reason]>,
    block: &Block,
) {
    let codes = codes.unwrap_or_default();
    let properties = if version.is_5() { block_len(block) } else { 0 };
    put_varint(out, 2 + properties + codes.len());
    out.put_u16(packet_id);
    if version.is_5() {
        put_block(out, block);
    }
    out.extend(codes.iter().map(|reason| match version {
        Version::V5 => reason.0,
        // 3.1.1 knows one failure; 3.1 none, and its clients read this one.
        Version::V31 | Version::V311 => reason.0.min(0x80),
    }));
}

/// PINGRESP.
pub fn pingresp(out: &mut BytesMut) {
    out.put_slice(&[kind::PINGRESP << 4, 0]);
}

/// DISCONNECT, MQTT 5 only.
pub fn disconnect(out: &mut BytesMut, reason: Reason, block: &Block) {
    out.put_u8(kind::DISCONNECT << 4);
    put_varint(out, 1 + block_len(block));
    out.put_u8(reason.0);
    put_block(out, block);
}

pub(super) fn put_auth(out: &mut BytesMut, reason: Reason, block: &Block) {
    out.put_u8(kind::AUTH << 4);
    put_varint(out, 1 + block_len(block));
    out.put_u8(reason.0);
    put_block(out, block);
}

/// The head of a PUBLISH: everything that differs between receivers.
#[derive(Debug, Clone, Copy)]
pub struct PublishHead<'a> {
    pub version: Version,
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    pub topic: &'a [u8],
    /// Only with QoS 1 and 2.
    pub packet_id: u16,
    /// Seconds that are left.
    pub expiry: Option<u32>,
    pub subscription_ids: &'a [u32],
    /// Bytes of the properties that follow the head.
    pub properties: usize,
    /// Bytes of the payload that follows them.
    pub payload: usize,
}

impl PublishHead<'_> {
    fn own_properties(&self) -> usize {
        let ids = self.subscription_ids.iter().map(|id| 1 + varint_len(*id as usize));
        ids.sum::<usize>() + if self.expiry.is_some() { 5 } else { 0 }
    }

    fn remaining(&self) -> usize {
        let packet_id = if self.qos > 0 { 2 } else { 0 };
        let properties = match self.version {
            Version::V31 | Version::V311 => 0,
            Version::V5 => {
                let all = self.own_properties() + self.properties;
                varint_len(all) + all
            }
        };
        2 + self.topic.len() + packet_id + properties + self.payload
    }

    /// Bytes of the whole packet, what follows the head included.
    pub fn packet_len(&self) -> usize {
        let remaining = self.remaining();
        1 + varint_len(remaining) + remaining
    }
}

/// Writes the head. The caller has checked the topic's length and the packet's.
pub fn publish_head(out: &mut BytesMut, head: &PublishHead<'_>) {
    let flags = u8::from(head.dup) << 3 | head.qos << 1 | u8::from(head.retain);
    out.put_u8(kind::PUBLISH << 4 | flags);
    put_varint(out, head.remaining());
    out.put_u16(head.topic.len() as u16);
    out.put_slice(head.topic);
    if head.qos > 0 {
        out.put_u16(head.packet_id);
    }
    if head.version.is_5() {
        put_varint(out, head.own_properties() + head.properties);
        if let Some(seconds) = head.expiry {
            out.put_u8(id::MESSAGE_EXPIRY);
            out.put_u32(seconds);
        }
        for subscription in head.subscription_ids {
            out.put_u8(id::SUBSCRIPTION_ID);
            put_varint(out, *subscription as usize);
        }
    }
}
