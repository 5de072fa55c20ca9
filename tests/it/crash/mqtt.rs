//! MQTT 3.1.1 and 5 for the flows: packets and the connection. The state of a session is kept by the flow.

use super::wire::{Step, Stop, Wire, wait, wrong};
use std::net::SocketAddr;

pub const PUBLISH: u8 = 3;
pub const PUBACK: u8 = 4;
pub const PUBREC: u8 = 5;
pub const PUBREL: u8 = 6;
pub const PUBCOMP: u8 = 7;
pub const SUBACK: u8 = 9;

/// A received PUBLISH.
#[derive(Debug)]
pub struct Message {
    pub topic: String,
    pub id: u16,
    pub qos: u8,
    pub duplicate: bool,
    pub retain: bool,
    pub body: Vec<u8>,
}

#[derive(Debug)]
pub enum Packet {
    Message(Message),
    /// Its type, the packet id, and the reason codes or an empty list.
    Answer(u8, u16, Vec<u8>),
}

/// Options of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Connect<'a> {
    pub client: &'a str,
    /// 4 or 5.
    pub level: u8,
    /// The session outlives the connection.
    pub lasting: bool,
    /// MQTT 5: largest number of unacknowledged deliveries.
    pub receive_maximum: Option<u16>,
    pub will: Option<Will<'a>>,
}

/// QoS 1, not retained.
#[derive(Debug, Clone, Copy)]
pub struct Will<'a> {
    pub topic: &'a str,
    pub body: &'a [u8],
    /// Seconds; MQTT 5.
    pub delay: u32,
}

pub struct Mqtt {
    pub wire: Wire,
    pub level: u8,
    pub session_present: bool,
}

impl Mqtt {
    pub fn connect(address: SocketAddr, options: &Connect<'_>) -> Step<Self> {
        let mut wire = Wire::connect(address)?;
        wire.put(&options.packet());
        let mut client = Self { wire, level: options.level, session_present: false };
        let (kind, body) = wait("CONNACK", || client.raw())?;
        if kind != 0x20 || body.get(1) != Some(&0) {
            return wrong(format!("CONNACK of {}: {kind:#x} {body:?}", options.client));
        }
        client.session_present = body[0] == 1;
        Ok(client)
    }

    pub fn next(&mut self) -> Step<Option<Packet>> {
        let Some((kind, body)) = self.raw()? else { return Ok(None) };
        let short =
            |at: usize| body.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
        match kind >> 4 {
            PUBLISH => {
                let qos = (kind >> 1) & 3;
                let mut at = 2 + usize::from(short(0));
                let topic =
                    String::from_utf8_lossy(body.get(2..at).unwrap_or_default()).into_owned();
                let id = if qos > 0 { short(at) } else { 0 };
                at += if qos > 0 { 2 } else { 0 };
                if self.level == 5 {
                    let (count, digits) =
                        varint(body.get(at..).unwrap_or_default()).unwrap_or_default();
                    at += count + digits;
                }
                let body = body.get(at..).unwrap_or_default().to_vec();
                let (duplicate, retain) = (kind & 8 == 8, kind & 1 == 1);
                Ok(Some(Packet::Message(Message { topic, id, qos, duplicate, retain, body })))
            }
            PUBACK..=PUBCOMP | SUBACK => {
                let skipped = if kind >> 4 == SUBACK && self.level == 5 { 3 } else { 2 };
                Ok(Some(Packet::Answer(
                    kind >> 4,
                    short(0),
                    body.get(skipped..).unwrap_or_default().to_vec(),
                )))
            }
            _ => wrong(format!("packet {kind:#x} {body:?}")),
        }
    }

    fn raw(&mut self) -> Step<Option<(u8, Vec<u8>)>> {
        let mut found = whole(self.wire.buffered());
        if found.is_none() {
            self.wire.pump()?;
            found = whole(self.wire.buffered());
        }
        let Some((head, length)) = found else { return Ok(None) };
        let bytes = self.wire.take(head + length);
        Ok(Some((bytes[0], bytes[head..].to_vec())))
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub fn answer(&mut self, kind: u8, id: u16) {
        let first = (kind << 4) | if kind == PUBREL { 2 } else { 0 };
        self.wire.put(&packet(first, &id.to_be_bytes()));
    }

    /// `flags`: the lower half of the first byte (DUP 8, QoS 2 and 4, RETAIN 1).
    pub fn publish(&mut self, flags: u8, topic: &str, id: u16, body: &[u8]) {
        let mut rest = text(topic.as_bytes());
        if flags & 6 != 0 {
            rest.extend(id.to_be_bytes());
        }
        if self.level == 5 {
            rest.push(0);
        }
        rest.extend_from_slice(body);
        self.wire.put(&packet(0x30 | flags, &rest));
    }

    /// The same for MQTT 5, with user properties.
    pub fn publish_with(
        &mut self,
        (flags, topic, id): (u8, &str, u16),
        properties: &[(&str, &str)],
        body: &[u8],
    ) {
        let mut rest = text(topic.as_bytes());
        rest.extend(id.to_be_bytes());
        let mut all = Vec::new();
        for (name, value) in properties {
            all.push(38);
            all.extend(text(name.as_bytes()));
            all.extend(text(value.as_bytes()));
        }
        rest.push(all.len() as u8);
        rest.extend(all);
        rest.extend_from_slice(body);
        self.wire.put(&packet(0x30 | flags, &rest));
    }

    /// Subscribes. Returns the messages that came before the SUBACK.
    pub fn subscribe(&mut self, filter: &str, qos: u8) -> Step<Vec<Message>> {
        let mut body = 1u16.to_be_bytes().to_vec();
        if self.level == 5 {
            body.push(0);
        }
        body.extend(text(filter.as_bytes()));
        body.push(qos);
        self.wire.put(&packet(0x82, &body));
        let mut early = Vec::new();
        let codes = wait("SUBACK", || {
            while let Some(packet) = self.next()? {
                match packet {
                    Packet::Message(message) => early.push(message),
                    Packet::Answer(SUBACK, 1, codes) => return Ok(Some(codes)),
                    other => return wrong(format!("before SUBACK: {other:?}")),
                }
            }
            Ok(None)
        })?;
        match codes.as_slice() {
            [code] if *code == qos => Ok(early),
            other => wrong(format!("SUBACK for {filter}: {other:?}")),
        }
    }

    /// Sends DISCONNECT, which discards the will. Returns when the broker has closed the connection.
    pub fn disconnect(mut self) -> Step<()> {
        self.wire.put(&[0xE0, 0]);
        wait("the end of a connection", || match self.next() {
            Err(Stop::Gone) => Ok(Some(())),
            Ok(Some(packet)) => wrong(format!("after DISCONNECT came {packet:?}")),
            Ok(None) => Ok(None),
            Err(stop) => Err(stop),
        })
    }
}

impl Connect<'_> {
    fn packet(&self) -> Vec<u8> {
        let mut body = text(b"MQTT");
        let clean = if self.lasting && self.level == 4 { 0 } else { 2 };
        // A persistent session of MQTT 5 is resumed: no clean start, and an expiry.
        let clean = if self.lasting { 0 } else { clean };
        let will = if self.will.is_some() { 0x0C } else { 0 };
        body.extend([self.level, clean | will, 0, 0]);
        if self.level == 5 {
            let mut properties = Vec::new();
            if self.lasting {
                properties.push(17);
                properties.extend(864_000u32.to_be_bytes());
            }
            if let Some(count) = self.receive_maximum {
                properties.push(33);
                properties.extend(count.to_be_bytes());
            }
            body.push(properties.len() as u8);
            body.extend(properties);
        }
        body.extend(text(self.client.as_bytes()));
        if let Some(will) = &self.will {
            if self.level == 5 {
                body.extend([5, 24]);
                body.extend(will.delay.to_be_bytes());
            }
            body.extend(text(will.topic.as_bytes()));
            body.extend(text(will.body));
        }
        packet(0x10, &body)
    }
}

/// Lengths of the fixed header and of the rest, if the packet is complete.
fn whole(bytes: &[u8]) -> Option<(usize, usize)> {
    let (length, digits) = varint(bytes.get(1..)?)?;
    (bytes.len() >= 1 + digits + length).then_some((1 + digits, length))
}

/// The number and the number of bytes that encode it.
fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let digits = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let number =
        bytes[..digits].iter().rev().fold(0, |sum, byte| (sum << 7) | usize::from(byte & 0x7F));
    Some((number, digits))
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let digit = (left & 0x7F) as u8;
        left >>= 7;
        bytes.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u16).to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}
