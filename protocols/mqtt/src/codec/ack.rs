//! PUBACK, PUBREC, PUBREL, PUBCOMP (MQTT 5 §3.4–§3.7).

use super::properties::{Place, Property, read};
use super::reason::{Fault, Reason};
use super::wire::{Reader, Text};
use super::{Version, kind};
use bytes::Bytes;

/// Which of the four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::enum_variant_names, reason = "the specification's names")]
pub enum AckKind {
    PubAck,
    PubRec,
    PubRel,
    PubComp,
}

impl AckKind {
    /// Type and flags, the first byte on the wire.
    pub fn first_byte(self) -> u8 {
        match self {
            AckKind::PubAck => kind::PUBACK << 4,
            AckKind::PubRec => kind::PUBREC << 4,
            AckKind::PubRel => kind::PUBREL << 4 | 2,
            AckKind::PubComp => kind::PUBCOMP << 4,
        }
    }

    /// The codes that may stand in it (MQTT 5 tables 3-4 to 3-7).
    fn allows(self, reason: Reason) -> bool {
        match self {
            AckKind::PubAck | AckKind::PubRec => {
                matches!(reason.0, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
            }
            AckKind::PubRel | AckKind::PubComp => matches!(reason.0, 0x00 | 0x92),
        }
    }
}

/// A decoded acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    pub kind: AckKind,
    pub packet_id: u16,
    pub reason: Reason,
    pub text: Option<Text>,
}

pub(super) fn decode(kind: AckKind, body: Bytes, version: Version) -> Result<Ack, Fault> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let mut ack = Ack { kind, packet_id, reason: Reason::SUCCESS, text: None };
    // 3.1.1 has neither code nor properties; in 5 a success without properties is left out.
    if version.is_5() && !reader.is_empty() {
        ack.reason = Reason(reader.u8()?);
        if !kind.allows(ack.reason) {
            return Err(Fault::protocol("a reason code that this packet has not"));
        }
        if !reader.is_empty() {
            let block = reader.block()?;
            read(&block, Place::Ack, |property, _| {
                if let Property::ReasonString(text) = property {
                    ack.text = Some(text);
                }
                Ok(())
            })?;
        }
    }
    reader.end()?;
    Ok(ack)
}
