//! Properties (MQTT 5 §2.2.2) of the packets that clients send: which may stand where, how often, and with what value.

use super::reason::{Fault, Reason};
use super::wire::{Reader, Text};
use bytes::{Bytes, BytesMut};

/// The packets whose properties differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Connect,
    Will,
    Publish,
    Ack,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Auth,
}

/// One property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    /// The payload is UTF-8 text.
    PayloadFormat(bool),
    /// Seconds.
    MessageExpiry(u32),
    ContentType(Text),
    ResponseTopic(Text),
    CorrelationData(Bytes),
    SubscriptionId(u32),
    /// Seconds; the maximum stands for "never".
    SessionExpiry(u32),
    AuthMethod(Text),
    AuthData(Bytes),
    RequestProblemInformation(bool),
    /// Seconds.
    WillDelay(u32),
    RequestResponseInformation(bool),
    ReasonString(Text),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    User(Text, Text),
    MaximumPacketSize(u32),
}

/// Identifiers of the properties that are read or written here.
pub mod id {
    pub const PAYLOAD_FORMAT: u8 = 0x01;
    pub const MESSAGE_EXPIRY: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_ID: u8 = 0x0B;
    pub const SESSION_EXPIRY: u8 = 0x11;
    pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTH_METHOD: u8 = 0x15;
    pub const AUTH_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM: u8 = 0x17;
    pub const WILL_DELAY: u8 = 0x18;
    pub const REQUEST_RESPONSE: u8 = 0x19;
    pub const SERVER_REFERENCE: u8 = 0x1C;
    pub const REASON_STRING: u8 = 0x1F;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const USER: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
}

/// Whether a client may put property `id` there.
enum Allowed {
    Yes,
    /// The packet may have it (MQTT 5 table 2-4), but only when the server sends it: a protocol error.
    ServerOnly,
    /// It is not valid for this packet, or there is no such property: malformed (§2.2.2.2).
    No,
}

fn allowed(id: u8, place: Place) -> Allowed {
    let is_valid = match id {
        id::PAYLOAD_FORMAT
        | id::MESSAGE_EXPIRY
        | id::CONTENT_TYPE
        | id::RESPONSE_TOPIC
        | id::CORRELATION_DATA => matches!(place, Place::Will | Place::Publish),
        // [MQTT-3.3.4-6]
        id::SUBSCRIPTION_ID if place == Place::Publish => return Allowed::ServerOnly,
        id::SUBSCRIPTION_ID => place == Place::Subscribe,
        // §3.14.2.2.5
        id::SERVER_REFERENCE if place == Place::Disconnect => return Allowed::ServerOnly,
        id::SESSION_EXPIRY => matches!(place, Place::Connect | Place::Disconnect),
        id::AUTH_METHOD | id::AUTH_DATA => matches!(place, Place::Connect | Place::Auth),
        id::REQUEST_PROBLEM
        | id::REQUEST_RESPONSE
        | id::RECEIVE_MAXIMUM
        | id::TOPIC_ALIAS_MAXIMUM
        | id::MAXIMUM_PACKET_SIZE => place == Place::Connect,
        id::WILL_DELAY => place == Place::Will,
        id::REASON_STRING => matches!(place, Place::Ack | Place::Disconnect | Place::Auth),
        id::TOPIC_ALIAS => place == Place::Publish,
        id::USER => true,
        // The others stand in CONNACK, or are not known.
        _ => false,
    };
    if is_valid { Allowed::Yes } else { Allowed::No }
}

/// User properties of one packet that are read at all, so that a packet of 16 MiB does not keep others waiting. What a
/// message may have is a setting, below this.
const USERS_MAX: usize = 10_000;

/// Calls `each` with every property of the block, in order, and the bytes it stands in.
pub fn read(
    block: &Bytes,
    place: Place,
    mut each: impl FnMut(Property, &[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut reader = Reader::new(block.clone());
    let (mut seen, mut users) = (0u64, 0);
    while !reader.is_empty() {
        let start = block.len() - reader.len();
        let id = u8::try_from(reader.varint()?).unwrap_or(u8::MAX);
        match allowed(id, place) {
            Allowed::Yes => (),
            Allowed::ServerOnly => {
                return Err(Fault::protocol("a property that only servers send here"));
            }
            Allowed::No => return Err(Fault::malformed("a property that this packet has not")),
        }
        if id != id::USER {
            let bit = 1u64 << id;
            if seen & bit != 0 {
                return Err(Fault::protocol("a property stands twice"));
            }
            seen |= bit;
        } else {
            users += 1;
            if users > USERS_MAX {
                let why = "a packet has more user properties than any packet may";
                return Err(Fault::new(Reason::QUOTA_EXCEEDED, why));
            }
        }
        let property = value(id, &mut reader)?;
        let end = block.len() - reader.len();
        each(property, block.get(start..end).unwrap_or_default())?;
    }
    Ok(())
}

fn value(id: u8, reader: &mut Reader) -> Result<Property, Fault> {
    Ok(match id {
        id::PAYLOAD_FORMAT => Property::PayloadFormat(flag(reader)?),
        id::MESSAGE_EXPIRY => Property::MessageExpiry(reader.u32()?),
        id::CONTENT_TYPE => Property::ContentType(reader.text()?),
        id::RESPONSE_TOPIC => Property::ResponseTopic(reader.text()?),
        id::CORRELATION_DATA => Property::CorrelationData(reader.binary()?),
        id::SUBSCRIPTION_ID => match reader.varint()? {
            0 => return Err(Fault::protocol("subscription identifier 0")),
            id => Property::SubscriptionId(id),
        },
        id::SESSION_EXPIRY => Property::SessionExpiry(reader.u32()?),
        id::AUTH_METHOD => Property::AuthMethod(reader.text()?),
        id::AUTH_DATA => Property::AuthData(reader.binary()?),
        id::REQUEST_PROBLEM => Property::RequestProblemInformation(flag(reader)?),
        id::WILL_DELAY => Property::WillDelay(reader.u32()?),
        id::REQUEST_RESPONSE => Property::RequestResponseInformation(flag(reader)?),
        id::REASON_STRING => Property::ReasonString(reader.text()?),
        id::RECEIVE_MAXIMUM => match reader.u16()? {
            0 => return Err(Fault::protocol("receive maximum 0")),
            n => Property::ReceiveMaximum(n),
        },
        id::TOPIC_ALIAS_MAXIMUM => Property::TopicAliasMaximum(reader.u16()?),
        // The range is the connection's: 0 is refused there with the code of its own [MQTT-3.3.2-8].
        id::TOPIC_ALIAS => Property::TopicAlias(reader.u16()?),
        id::USER => Property::User(reader.text()?, reader.text()?),
        id::MAXIMUM_PACKET_SIZE => match reader.u32()? {
            0 => return Err(Fault::protocol("maximum packet size 0")),
            n => Property::MaximumPacketSize(n),
        },
        // `allowed` let nothing else through.
        _ => return Err(Fault::malformed("an unknown property")),
    })
}

fn flag(reader: &mut Reader) -> Result<bool, Fault> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Fault::protocol("a property that is 0 or 1 has another value")),
    }
}

/// A block out of which some properties are left. Nothing is copied while nothing is left out.
pub(super) struct Kept {
    block: Bytes,
    /// Bytes at the front that stay as they are.
    whole: usize,
    copy: Option<BytesMut>,
}

impl Kept {
    pub(super) fn new(block: Bytes) -> Self {
        Self { block, whole: 0, copy: None }
    }

    /// The next property stays.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        match &mut self.copy {
            Some(copy) => copy.extend_from_slice(bytes),
            None => self.whole += bytes.len(),
        }
    }

    /// The next property goes.
    pub(super) fn leave_out(&mut self) {
        if self.copy.is_none() {
            let front = self.block.get(..self.whole).unwrap_or_default();
            self.copy = Some(BytesMut::from(front));
        }
    }

    pub(super) fn finish(self) -> Bytes {
        match self.copy {
            Some(copy) => copy.freeze(),
            None => self.block,
        }
    }
}
