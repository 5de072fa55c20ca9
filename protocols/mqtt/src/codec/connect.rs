//! CONNECT (MQTT 3.1 §3.1, 3.1.1 §3.1, 5 §3.1).

use super::auth::Authentication;
use super::properties::{Kept, Place, Property, read};
use super::reason::{Fault, Reason};
use super::topic::check_name;
use super::wire::{Reader, Text};
use super::{Frame, Version, kind};
use bytes::Bytes;

/// A decoded CONNECT. Fields that the packet leaves out have the specification's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    pub version: Version,
    /// Clean start (5), clean session (3.1.1).
    pub clean: bool,
    /// Seconds; 0 is off.
    pub keep_alive: u16,
    pub client_id: Text,
    pub will: Option<Will>,
    pub user: Option<Text>,
    pub password: Option<Bytes>,
    /// Seconds; `u32::MAX` is never. Before 5 it follows from `clean`.
    pub session_expiry: u32,
    pub receive_maximum: u16,
    /// Bytes; none: no limit.
    pub packet_size_max: Option<u32>,
    /// Reason strings and user properties may stand on every packet.
    pub problem_information: bool,
    /// The method of enhanced authentication, and its first data.
    pub authentication: Option<Authentication>,
}

/// What is published when the connection is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    pub topic: Text,
    pub qos: u8,
    pub retain: bool,
    pub payload: Bytes,
    /// Seconds.
    pub delay: u32,
    /// Seconds that its message lives, from when it is published.
    pub expiry: Option<u32>,
    /// The block as sent, without delay and expiry.
    pub properties: Bytes,
    /// User properties in the block.
    pub users: usize,
}

/// A CONNECT that cannot be accepted; without a version it cannot be answered either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadConnect {
    pub version: Option<Version>,
    pub fault: Fault,
}

impl From<Fault> for BadConnect {
    fn from(fault: Fault) -> Self {
        Self { version: None, fault }
    }
}

const RESERVED: u8 = 0x01;
const CLEAN: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_QOS: u8 = 0x18;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER: u8 = 0x80;

/// Decodes the first packet of a connection.
pub fn decode(frame: Frame) -> Result<Connect, BadConnect> {
    if frame.first >> 4 != kind::CONNECT {
        // [MQTT-3.1.0-1]
        return Err(Fault::protocol("the first packet is not CONNECT").into());
    }
    let mut reader = Reader::new(frame.body);
    let name = reader.text()?;
    let level = reader.u8()?;
    let version = version(name.as_str(), level)?;
    if frame.first & 0x0F != 0 && version != Version::V31 {
        return Err(Fault::malformed("reserved flags of the fixed header").into());
    }
    body(reader, version).map_err(|fault| BadConnect { version: Some(version), fault })
}

/// [MQTT-3.1.2-1], [MQTT-3.1.2-2]
fn version(name: &str, level: u8) -> Result<Version, BadConnect> {
    let unsupported = |version| {
        let what = "the protocol version is not supported";
        let fault = Fault::new(Reason::UNSUPPORTED_VERSION, what);
        Err(BadConnect { version: Some(version), fault })
    };
    match (name, level) {
        ("MQIsdp", 3) => Ok(Version::V31),
        ("MQTT", 4) => Ok(Version::V311),
        ("MQTT", 5) => Ok(Version::V5),
        // Mosquitto's bridges set the upper bit first, and come without it when they are refused in their version.
        ("MQTT", 6..) if level != 0x84 => unsupported(Version::V5),
        ("MQTT" | "MQIsdp", _) => unsupported(Version::V311),
        _ => Err(Fault::malformed("not the protocol name").into()),
    }
}

fn body(mut reader: Reader, version: Version) -> Result<Connect, Fault> {
    let flags = reader.u8()?;
    check_flags(flags, version)?;
    let clean = flags & CLEAN != 0;
    let mut connect = Connect {
        version,
        clean,
        keep_alive: reader.u16()?,
        client_id: Text::default(),
        will: None,
        user: None,
        password: None,
        session_expiry: match (version, clean) {
            (Version::V31 | Version::V311, false) => u32::MAX,
            _ => 0,
        },
        receive_maximum: u16::MAX,
        packet_size_max: None,
        problem_information: true,
        authentication: None,
    };
    if version.is_5() {
        let block = reader.block()?;
        connect.take_properties(&block)?;
    }
    connect.client_id = reader.text()?;
    if flags & WILL != 0 {
        connect.will = Some(will(&mut reader, flags, version)?);
    }
    // 3.1 §3.1: that there are no more bytes counts for more than what the flags say.
    let is_left_out = |reader: &Reader| version == Version::V31 && reader.is_empty();
    if flags & USER != 0 && !is_left_out(&reader) {
        connect.user = Some(reader.text()?);
    }
    if flags & PASSWORD != 0 && !is_left_out(&reader) {
        connect.password = Some(reader.binary()?);
    }
    reader.end()?;
    Ok(connect)
}

fn check_flags(flags: u8, version: Version) -> Result<(), Fault> {
    let qos = (flags & WILL_QOS) >> 3;
    if qos == 3 {
        return Err(Fault::malformed("will QoS 3")); // [MQTT-3.1.2-12]
    }
    if !version.is_5() && flags & USER == 0 && flags & PASSWORD != 0 {
        return Err(Fault::malformed("a password without a user name")); // 3.1.1 [MQTT-3.1.2-22]
    }
    if version == Version::V31 {
        return Ok(());
    }
    if flags & RESERVED != 0 {
        return Err(Fault::malformed("the reserved connect flag")); // [MQTT-3.1.2-3]
    }
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(Fault::malformed("settings of a will without a will")); // [MQTT-3.1.2-11], -13
    }
    Ok(())
}

impl Connect {
    fn take_properties(&mut self, block: &Bytes) -> Result<(), Fault> {
        let (mut method, mut data) = (None, None);
        read(block, Place::Connect, |property, _| {
            match property {
                Property::SessionExpiry(seconds) => self.session_expiry = seconds,
                Property::ReceiveMaximum(n) => self.receive_maximum = n,
                Property::MaximumPacketSize(n) => self.packet_size_max = Some(n),
                Property::RequestProblemInformation(wanted) => self.problem_information = wanted,
                Property::AuthMethod(name) => method = Some(name),
                Property::AuthData(bytes) => data = Some(bytes),
                // Topic Alias Maximum and Request Response Information permit; the server need not make use of it.
                _ => (),
            }
            Ok(())
        })?;
        if data.is_some() && method.is_none() {
            return Err(Fault::protocol("authentication data without a method"));
        }
        self.authentication = method.map(|method| Authentication { method, data });
        Ok(())
    }
}

fn will(reader: &mut Reader, flags: u8, version: Version) -> Result<Will, Fault> {
    let (mut delay, mut expiry, mut users) = (0, None, 0);
    let mut properties = Bytes::new();
    if version.is_5() {
        let block = reader.block()?;
        let mut kept = Kept::new(block.clone());
        read(&block, Place::Will, |property, bytes| {
            match property {
                Property::WillDelay(seconds) => {
                    delay = seconds;
                    kept.leave_out();
                    return Ok(());
                }
                Property::MessageExpiry(seconds) => {
                    expiry = Some(seconds);
                    kept.leave_out();
                    return Ok(());
                }
                Property::ResponseTopic(topic) => {
                    check_name(&topic).map_err(|_| Fault::protocol("an invalid response topic"))?;
                }
                Property::User(..) => users += 1,
                _ => (),
            }
            kept.keep(bytes);
            Ok(())
        })?;
        properties = kept.finish();
    }
    let topic = reader.text()?;
    check_name(&topic)?;
    let payload = reader.binary()?;
    let (qos, retain) = ((flags & WILL_QOS) >> 3, flags & WILL_RETAIN != 0);
    Ok(Will { topic, qos, retain, payload, delay, expiry, properties, users })
}
