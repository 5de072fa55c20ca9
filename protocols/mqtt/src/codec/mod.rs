//! Bytes ⇄ control packets, MQTT 3.1, 3.1.1 and 5, the server's side. Pure: no broker types, no clock, no socket.
//!
//! Strict: what the specification calls malformed is refused with its reason code. Zero-copy: topics, properties and
//! payloads are slices of the frame. Every length is compared with the bytes that arrived before anything is allocated;
//! nothing recurses.
//!
//! Absent: encoders of packets that only clients send, and decoders of packets that only servers send.

mod ack;
mod auth;
mod connect;
mod disconnect;
mod properties;
mod publish;
mod reason;
mod subscribe;
mod topic;
mod wire;
mod write;

pub use ack::{Ack, AckKind};
pub use auth::{Auth, Authentication, write as write_auth};
pub use connect::{BadConnect, Connect, Will, decode as decode_connect};
pub use disconnect::Disconnect;
pub use properties::id;
pub use properties::{Place, Property, read as read_properties};
pub use publish::Publish;
pub use reason::{Fault, Reason};
pub use subscribe::{Handling, Subscribe, Subscription, Unsubscribe};
pub use topic::{Shared, shared};
pub use wire::{Text, has_any, is_utf8};
pub use write::{
    Block, PublishHead, ack as write_ack, connack, disconnect as write_disconnect, pingresp,
    publish_head, suback, unsuback,
};

use bytes::{Buf, Bytes, BytesMut};

/// The versions that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Level 3, `MQIsdp`: packets as in 3.1.1, with bits that are ignored where 3.1.1 reserves them.
    V31,
    V311,
    V5,
}

impl Version {
    /// True for MQTT 5.
    pub fn is_5(self) -> bool {
        self == Version::V5
    }

    /// The specification's number.
    pub fn number(self) -> &'static str {
        match self {
            Version::V31 => "3.1",
            Version::V311 => "3.1.1",
            Version::V5 => "5.0",
        }
    }
}

/// One whole control packet, not decoded: type and flags, and what the remaining length covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    pub body: Bytes,
}

/// A control packet that a client may send after CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    Publish(Publish),
    Ack(Ack),
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    PingReq,
    Disconnect(Disconnect),
    Auth(Auth),
}

/// Packet types, the upper half of the first byte (MQTT 5 §2.1.2).
pub mod kind {
    pub const CONNECT: u8 = 1;
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREC: u8 = 5;
    pub const PUBREL: u8 = 6;
    pub const PUBCOMP: u8 = 7;
    pub const SUBSCRIBE: u8 = 8;
    pub const SUBACK: u8 = 9;
    pub const UNSUBSCRIBE: u8 = 10;
    pub const UNSUBACK: u8 = 11;
    pub const PINGREQ: u8 = 12;
    pub const PINGRESP: u8 = 13;
    pub const DISCONNECT: u8 = 14;
    pub const AUTH: u8 = 15;
}

/// Why a packet is too large: the keys of the configuration that limit it.
const TOO_LARGE: &str =
    "the packet is too large (limits.message_bytes; CONNECT: limits.mqtt.connect_bytes)";

/// Takes one whole packet of at most `limit` bytes off the front. `None`: more bytes are needed. `minimal`: a
/// remaining length with needless bytes is refused (MQTT 5 [MQTT-1.5.5-1]; 3.1.1 has no such rule).
pub fn cut(buffer: &mut BytesMut, limit: usize, minimal: bool) -> Result<Option<Frame>, Fault> {
    let mut length = 0usize;
    for (at, byte) in buffer.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 != 0 {
            continue;
        }
        if minimal && at > 0 && *byte == 0 {
            return Err(Fault::malformed("the remaining length is not minimal"));
        }
        let head = at + 2;
        let total = head + length;
        if total > limit {
            return Err(Fault::new(Reason::PACKET_TOO_LARGE, TOO_LARGE));
        }
        if buffer.len() < total {
            return Ok(None);
        }
        let first = buffer.first().copied().unwrap_or_default();
        let mut body = buffer.split_to(total).freeze();
        body.advance(head);
        return Ok(Some(Frame { first, body }));
    }
    match buffer.len() > 4 {
        true => Err(Fault::malformed("the remaining length has more than four bytes")),
        false => Ok(None),
    }
}

/// Bytes of the packet that these begin with. `None`: its remaining length has not come, or is none.
pub fn total_length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0usize;
    for (at, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(at + 2 + length);
        }
    }
    None
}

/// Decodes a packet that came after CONNECT.
pub fn decode(frame: Frame, version: Version) -> Result<Packet, Fault> {
    let Frame { first, body } = frame;
    let flags = first & 0x0F;
    // 3.1 §2.1: they are not used, or say that the packet is sent again.
    let flags_are = |want: u8| match flags == want || version == Version::V31 {
        true => Ok(()),
        // [MQTT-2.1.3-1]
        false => Err(Fault::malformed("reserved flags of the fixed header")),
    };
    match first >> 4 {
        kind::PUBLISH => publish::decode(flags, body, version).map(Packet::Publish),
        kind::PUBACK => {
            flags_are(0)?;
            ack::decode(AckKind::PubAck, body, version).map(Packet::Ack)
        }
        kind::PUBREC => {
            flags_are(0)?;
            ack::decode(AckKind::PubRec, body, version).map(Packet::Ack)
        }
        kind::PUBREL => {
            flags_are(2)?; // [MQTT-3.6.1-1]
            ack::decode(AckKind::PubRel, body, version).map(Packet::Ack)
        }
        kind::PUBCOMP => {
            flags_are(0)?;
            ack::decode(AckKind::PubComp, body, version).map(Packet::Ack)
        }
        kind::SUBSCRIBE => {
            flags_are(2)?; // [MQTT-3.8.1-1]
            subscribe::decode_subscribe(body, version).map(Packet::Subscribe)
        }
        kind::UNSUBSCRIBE => {
            flags_are(2)?; // [MQTT-3.10.1-1]
            subscribe::decode_unsubscribe(body, version).map(Packet::Unsubscribe)
        }
        kind::PINGREQ => {
            flags_are(0)?;
            match body.is_empty() {
                true => Ok(Packet::PingReq),
                false => Err(Fault::malformed("PINGREQ with a body")),
            }
        }
        kind::DISCONNECT => {
            flags_are(0)?;
            disconnect::decode(body, version).map(Packet::Disconnect)
        }
        // [MQTT-3.1.0-2]
        kind::CONNECT => Err(Fault::protocol("a second CONNECT")),
        kind::AUTH if version.is_5() => {
            flags_are(0)?;
            auth::decode(body).map(Packet::Auth)
        }
        0 | kind::AUTH => Err(Fault::malformed("reserved packet type")),
        _ => Err(Fault::protocol("a packet that only servers send")),
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
