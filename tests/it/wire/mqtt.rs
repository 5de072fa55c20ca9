//! MQTT 3.1.1 and 5, as far as the tests need it.

use super::{PATIENCE, Socket};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The properties of a PUBLISH.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Properties {
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation: Option<Vec<u8>>,
    pub user: Vec<(String, String)>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    pub topic: String,
    pub body: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub duplicate: bool,
    pub id: u16,
    pub properties: Properties,
}

/// Options of a connection.
#[derive(Debug, Clone)]
pub struct Connect<'a> {
    pub client: &'a str,
    /// 4 or 5.
    pub level: u8,
    pub clean: bool,
    /// MQTT 5: largest number of unacknowledged QoS 1 and 2 deliveries.
    pub receive_maximum: Option<u16>,
    /// User and password.
    pub login: Option<(&'a str, &'a str)>,
    /// The topic of a will with the client's identifier as its body.
    pub will: Option<&'a str>,
}

impl<'a> Connect<'a> {
    pub fn v311(client: &'a str) -> Self {
        Self { client, level: 4, clean: true, receive_maximum: None, login: None, will: None }
    }

    pub fn v5(client: &'a str) -> Self {
        Self { level: 5, ..Self::v311(client) }
    }

    /// A persistent session.
    pub fn persistent(client: &'a str) -> Self {
        Self { clean: false, ..Self::v311(client) }
    }

    /// The CONNECT packet.
    pub fn packet(&self) -> Vec<u8> {
        let mut body = Vec::new();
        text(&mut body, "MQTT");
        body.push(self.level);
        let clean = if self.clean { 2 } else { 0 };
        let will = if self.will.is_some() { 4 } else { 0 };
        let login = if self.login.is_some() { 0xC0 } else { 0 };
        body.push(clean | will | login);
        body.extend(0u16.to_be_bytes());
        if self.level == 5 {
            let mut properties = Vec::new();
            if let Some(count) = self.receive_maximum {
                properties.push(33);
                properties.extend(count.to_be_bytes());
            }
            length(&mut body, properties.len());
            body.extend(properties);
        }
        text(&mut body, self.client);
        if let Some(topic) = self.will {
            if self.level == 5 {
                body.push(0);
            }
            text(&mut body, topic);
            text(&mut body, self.client);
        }
        if let Some((user, password)) = self.login {
            text(&mut body, user);
            text(&mut body, password);
        }
        packet(0x10, &body)
    }
}

pub struct Mqtt {
    pub socket: Socket,
    pub level: u8,
    pub session_present: bool,
    next_id: u16,
    /// Messages that came while something else was awaited.
    messages: VecDeque<Message>,
    acks: VecDeque<u16>,
}

/// A packet: its first byte and what follows the length.
type Packet = (u8, Vec<u8>);

impl Mqtt {
    pub fn connect(address: SocketAddr, options: &Connect<'_>) -> Self {
        let client = Self::log_in(Socket::connect(address), options);
        client.unwrap_or_else(|why| panic!("CONNACK was {why}"))
    }

    /// As that user.
    pub fn connect_as(
        address: SocketAddr,
        options: &Connect<'_>,
        user: &str,
        password: &str,
    ) -> Self {
        Self::connect(address, &Connect { login: Some((user, password)), ..options.clone() })
    }

    /// Connects over a socket; or the code of CONNACK and, in MQTT 5, its reason string.
    pub fn log_in(socket: Socket, options: &Connect<'_>) -> Result<Self, String> {
        let mut client = Self {
            socket,
            level: options.level,
            session_present: false,
            next_id: 0,
            messages: VecDeque::new(),
            acks: VecDeque::new(),
        };
        client.socket.send(&options.packet());
        let connack = client.packet(Instant::now() + PATIENCE);
        let (kind, body) = connack.ok_or("the connection was closed")?;
        assert_eq!(kind, 0x20, "not a CONNACK: {body:?}");
        client.session_present = body[0] == 1;
        match body[1] {
            0 => Ok(client),
            code => Err(refusal(code, &body[2..])),
        }
    }

    /// Waits for the broker to end the connection: the code and reason string of its DISCONNECT, or "closed".
    pub fn ends(&mut self) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.packet(until) {
                Some((0xE0, body)) => return refusal(body[0], &body[1..]),
                Some(_) => {}
                None if Instant::now() < until => return "closed".to_owned(),
                None => panic!("the connection does not end"),
            }
        }
    }

    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        let id = self.id();
        let mut body = id.to_be_bytes().to_vec();
        if self.level == 5 {
            body.push(0);
        }
        text(&mut body, filter);
        body.push(qos);
        self.socket.send(&packet(0x82, &body));
        let reply = self.reply(0x90, id);
        assert_eq!(reply.last(), Some(&qos), "SUBACK was {reply:?}");
    }

    /// Publishes, and waits for the acknowledgements of the QoS level.
    pub fn publish(&mut self, topic: &str, body: &[u8], qos: u8) {
        self.publish_with(topic, body, qos, &Properties::default());
    }

    pub fn publish_with(&mut self, topic: &str, body: &[u8], qos: u8, properties: &Properties) {
        let id = if qos == 0 { 0 } else { self.id() };
        self.socket.send(&publish(self.level, topic, body, (qos, id), properties));
        match qos {
            0 => {}
            1 => self.accepted(0x40, id),
            _ => {
                self.accepted(0x50, id);
                self.socket.send(&packet(0x62, &id.to_be_bytes()));
                self.accepted(0x70, id);
            }
        }
    }

    /// Receives and acknowledges the next message.
    pub fn receive(&mut self) -> Message {
        self.receive_within(PATIENCE).expect("a message")
    }

    /// Receives and acknowledges the next message, if one comes in time.
    pub fn receive_within(&mut self, time: Duration) -> Option<Message> {
        let message = self.peek_message(Instant::now() + time)?;
        self.acknowledge(&message);
        Some(message)
    }

    /// The next message; it is not acknowledged.
    pub fn peek_message(&mut self, until: Instant) -> Option<Message> {
        while self.messages.is_empty() {
            let packet = self.packet(until)?;
            self.sort(packet);
        }
        self.messages.pop_front()
    }

    /// Waits for any PUBACK.
    pub fn puback(&mut self, until: Instant) -> Option<u16> {
        while self.acks.is_empty() {
            let packet = self.packet(until)?;
            self.sort(packet);
        }
        self.acks.pop_front()
    }

    pub fn acknowledge(&mut self, message: &Message) {
        let id = message.id.to_be_bytes();
        match message.qos {
            0 => {}
            1 => self.socket.send(&packet(0x40, &id)),
            _ => {
                self.socket.send(&packet(0x50, &id));
                self.reply(0x62, message.id);
                self.socket.send(&packet(0x70, &id));
            }
        }
    }

    pub fn disconnect(mut self) {
        self.socket.send(&[0xE0, 0]);
        assert!(self.socket.is_closed_within(PATIENCE));
    }

    pub fn id(&mut self) -> u16 {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }

    /// Subscribes; what SUBACK says behind the packet identifier.
    pub fn try_subscribe(&mut self, filter: &str, qos: u8) -> Vec<u8> {
        let id = self.id();
        let mut body = id.to_be_bytes().to_vec();
        if self.level == 5 {
            body.push(0);
        }
        text(&mut body, filter);
        body.push(qos);
        self.socket.send(&packet(0x82, &body));
        self.reply(0x90, id).split_off(2)
    }

    /// Publishes with QoS 1; or the code of PUBACK and its reason string.
    pub fn try_publish(&mut self, topic: &str, body: &[u8], retain: bool) -> Result<(), String> {
        let id = self.id();
        let mut bytes = publish(self.level, topic, body, (1, id), &Properties::default());
        bytes[0] |= u8::from(retain);
        self.socket.send(&bytes);
        let puback = self.reply(0x40, id);
        match puback.get(2) {
            Some(code) if *code >= 0x80 => Err(refusal(*code, &puback[3..])),
            _ => Ok(()),
        }
    }

    /// Subscribes with QoS 1; or the code of SUBACK and, in MQTT 5, its reason string.
    pub fn asks_for(&mut self, filter: &str) -> Result<(), String> {
        let answer = self.try_subscribe(filter, 1);
        match answer.split_last() {
            Some((code, properties)) if *code >= 0x80 => Err(refusal(*code, properties)),
            _ => Ok(()),
        }
    }

    /// Waits for a packet of this kind and id, whatever it says.
    pub fn any(&mut self, kind: u8, id: u16) -> Vec<u8> {
        self.reply(kind, id)
    }

    fn accepted(&mut self, kind: u8, id: u16) {
        let reply = self.reply(kind, id);
        // 0x10 is a success, too: no matching subscribers.
        assert!(matches!(reply.get(2), None | Some(0 | 0x10)), "refused: {reply:?}");
    }

    /// Waits for a packet of this kind and id; messages that come before are kept.
    fn reply(&mut self, kind: u8, id: u16) -> Vec<u8> {
        loop {
            let (found, body) = self.packet(Instant::now() + PATIENCE).expect("a reply");
            if found == kind && body.starts_with(&id.to_be_bytes()) {
                return body;
            }
            self.sort((found, body));
        }
    }

    fn sort(&mut self, (kind, body): Packet) {
        match kind >> 4 {
            3 => self.messages.push_back(message(self.level, kind, &body)),
            4 => self.acks.push_back(u16::from_be_bytes([body[0], body[1]])),
            _ => panic!("unexpected packet {kind:#x} {body:?}"),
        }
    }

    fn packet(&mut self, until: Instant) -> Option<Packet> {
        let mut head = 1;
        loop {
            head += 1;
            if !self.socket.fill(head, until) {
                return None;
            }
            if self.socket.buffered()[head - 1] & 0x80 == 0 {
                break;
            }
        }
        let digits = &self.socket.buffered()[1..head];
        let length = digits.iter().rev().fold(0usize, |sum, b| (sum << 7) | usize::from(b & 0x7F));
        if !self.socket.fill(head + length, until) {
            return None;
        }
        let bytes = self.socket.take(head + length);
        Some((bytes[0], bytes[head..].to_vec()))
    }
}

/// The code of a refusal, with the reason string if that is the first of the properties.
fn refusal(code: u8, properties: &[u8]) -> String {
    match properties {
        [_, 0x1F, rest @ ..] => format!("0x{code:02X} {}", Reader(rest).text()),
        _ => format!("0x{code:02X}"),
    }
}

/// A PUBLISH packet; `(qos, packet id)`.
pub fn publish(
    level: u8,
    topic: &str,
    body: &[u8],
    (qos, id): (u8, u16),
    properties: &Properties,
) -> Vec<u8> {
    let mut rest = Vec::with_capacity(body.len() + topic.len() + 16);
    text(&mut rest, topic);
    if qos > 0 {
        rest.extend(id.to_be_bytes());
    }
    if level == 5 {
        let mut bytes = Vec::new();
        if let Some(content_type) = &properties.content_type {
            bytes.push(3);
            text(&mut bytes, content_type);
        }
        if let Some(topic) = &properties.response_topic {
            bytes.push(8);
            text(&mut bytes, topic);
        }
        if let Some(correlation) = &properties.correlation {
            bytes.push(9);
            binary(&mut bytes, correlation);
        }
        for (name, value) in &properties.user {
            bytes.push(38);
            text(&mut bytes, name);
            text(&mut bytes, value);
        }
        length(&mut rest, bytes.len());
        rest.extend(bytes);
    }
    rest.extend_from_slice(body);
    packet(0x30 | (qos << 1), &rest)
}

/// A packet of any kind.
pub fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    length(&mut bytes, body.len());
    bytes.extend_from_slice(body);
    bytes
}

fn length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let digit = (length & 0x7F) as u8;
        length >>= 7;
        out.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            return;
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    binary(out, text.as_bytes());
}

fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn message(level: u8, kind: u8, bytes: &[u8]) -> Message {
    let mut reader = Reader(bytes);
    let qos = (kind >> 1) & 3;
    let topic = reader.text();
    let id = if qos > 0 { reader.short() } else { 0 };
    let properties = if level == 5 { reader.properties() } else { Properties::default() };
    Message {
        topic,
        body: reader.0.to_vec(),
        qos,
        retain: kind & 1 == 1,
        duplicate: kind & 8 == 8,
        id,
        properties,
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes
    }

    fn skip(&mut self, count: usize) {
        self.bytes(count);
    }

    fn short(&mut self) -> u16 {
        let bytes = self.bytes(2);
        u16::from_be_bytes([bytes[0], bytes[1]])
    }

    fn binary(&mut self) -> &'a [u8] {
        let count = usize::from(self.short());
        self.bytes(count)
    }

    fn text(&mut self) -> String {
        String::from_utf8(self.binary().to_vec()).expect("UTF-8")
    }

    fn number(&mut self) -> usize {
        let (mut sum, mut shift) = (0, 0);
        loop {
            let byte = self.bytes(1)[0];
            sum |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return sum;
            }
        }
    }

    fn properties(&mut self) -> Properties {
        let count = self.number();
        let mut inner = Reader(self.bytes(count));
        let mut properties = Properties::default();
        while !inner.0.is_empty() {
            match inner.bytes(1)[0] {
                3 => properties.content_type = Some(inner.text()),
                8 => properties.response_topic = Some(inner.text()),
                9 => properties.correlation = Some(inner.binary().to_vec()),
                38 => {
                    let name = inner.text();
                    properties.user.push((name, inner.text()));
                }
                // Payload format, message expiry, topic alias, subscription identifier.
                1 => inner.skip(1),
                2 => inner.skip(4),
                35 => inner.skip(2),
                11 => {
                    inner.number();
                }
                other => panic!("property {other} in a PUBLISH"),
            }
        }
        properties
    }
}
