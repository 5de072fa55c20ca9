//! MQTT 3.1.1 and 5 for the table of cases: every field of a PUBLISH is a name and a text.

use super::said::{Said, octets, shown};
use crate::wire::mqtt::packet;
use crate::wire::{PATIENCE, Socket};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub struct Mqtt {
    socket: Socket,
    level: u8,
    next_id: u16,
    messages: VecDeque<Said>,
}

/// First octet and what follows the length.
type Packet = (u8, Vec<u8>);

impl Mqtt {
    /// `words`: `keep` for a session that outlives its connection, `receive=N` for the Receive Maximum, `packet=N` for
    /// the Maximum Packet Size.
    pub fn connect(
        address: SocketAddr,
        level: u8,
        client: &str,
        words: &[&str],
    ) -> Result<Self, String> {
        let mut socket = Socket::connect(address);
        let keep = words.contains(&"keep");
        let mut body = Vec::new();
        binary(&mut body, b"MQTT");
        body.push(level);
        // An MQTT 5 session begins where the last one ended, too.
        body.extend([if keep { 0 } else { 2 }, 0, 0]);
        if level == 5 {
            let mut properties = Vec::new();
            if keep {
                properties.push(17);
                properties.extend(600u32.to_be_bytes());
            }
            if let Some(count) = words.iter().find_map(|word| word.strip_prefix("receive=")) {
                properties.push(33);
                properties.extend(count.parse::<u16>().expect("a count").to_be_bytes());
            }
            if let Some(size) = words.iter().find_map(|word| word.strip_prefix("packet=")) {
                properties.push(39);
                properties.extend(size.parse::<u32>().expect("a size").to_be_bytes());
            }
            length(&mut body, properties.len());
            body.extend(properties);
        }
        binary(&mut body, client.as_bytes());
        socket.send(&packet(0x10, &body));
        let mut client = Self { socket, level, next_id: 0, messages: VecDeque::new() };
        match client.packet(Instant::now() + PATIENCE)? {
            Some((0x20, body)) if body.get(1) == Some(&0) => Ok(client),
            other => Err(format!("CONNACK was {other:?}")),
        }
    }

    /// `FILTER` and, behind it, `qos=N` (1 when not said), `nl`, `rap`, `rh=N`, `id=N`.
    pub fn subscribe(&mut self, at: &str) -> Result<(), String> {
        let (filter, words) = at.split_once(' ').unwrap_or((at, ""));
        let mut options = 1;
        let mut properties = Vec::new();
        for word in words.split_whitespace() {
            match word.split_once('=') {
                Some(("qos", qos)) => options = (options & !3) | qos.parse::<u8>().expect("a QoS"),
                Some(("rh", rh)) => options |= rh.parse::<u8>().expect("0, 1 or 2") << 4,
                Some(("id", id)) => properties.extend([11, id.parse::<u8>().expect("under 128")]),
                None if word == "nl" => options |= 4,
                None if word == "rap" => options |= 8,
                _ => panic!("{word} is no option of a subscription"),
            }
        }
        let id = self.id();
        let mut body = id.to_be_bytes().to_vec();
        if self.level == 5 {
            length(&mut body, properties.len());
            body.extend(properties);
        }
        binary(&mut body, filter.as_bytes());
        body.push(options);
        self.socket.send(&packet(0x82, &body));
        let reply = self.reply(0x90, id)?;
        match reply.last() {
            Some(code) if *code < 0x80 => Ok(()),
            Some(code) => Err(format!("suback 0x{code:02x}")),
            None => Err("an empty SUBACK".to_owned()),
        }
    }

    /// Publishes, and waits for the end of the handshake: `puback 0x00`, `pubrec 0x00, pubcomp`, or how the
    /// connection was closed.
    pub fn publish(&mut self, said: &Said) -> String {
        let qos: u8 = said.get("qos").unwrap_or("1").parse().expect("a QoS");
        let id = if qos == 0 { 0 } else { self.id() };
        let mut bytes = Vec::new();
        binary(&mut bytes, &octets(said.text("topic")));
        if qos > 0 {
            bytes.extend(id.to_be_bytes());
        }
        if self.level == 5 {
            let properties = properties(said);
            length(&mut bytes, properties.len());
            bytes.extend(properties);
        }
        bytes.extend(octets(said.text("body")));
        let retain = u8::from(said.get("retain") == Some("true"));
        self.socket.send(&packet(0x30 | (qos << 1) | retain, &bytes));
        match self.handshake(qos, id) {
            Ok(outcome) | Err(outcome) => outcome,
        }
    }

    fn handshake(&mut self, qos: u8, id: u16) -> Result<String, String> {
        if qos == 0 {
            return Ok("nothing".to_owned());
        }
        let kind = if qos == 1 { 0x40 } else { 0x50 };
        let code = self.reply(kind, id)?.get(2).copied().unwrap_or_default();
        if qos == 1 {
            return Ok(format!("puback 0x{code:02x}"));
        }
        if code >= 0x80 {
            return Ok(format!("pubrec 0x{code:02x}"));
        }
        self.socket.send(&packet(0x62, &id.to_be_bytes()));
        self.reply(0x70, id)?;
        Ok(format!("pubrec 0x{code:02x}, pubcomp"))
    }

    pub fn receive(&mut self, time: Duration) -> Result<Option<Said>, String> {
        let until = Instant::now() + time;
        while self.messages.is_empty() {
            match self.packet(until)? {
                Some(packet) => self.sort(packet)?,
                None => return Ok(None),
            }
        }
        Ok(self.messages.pop_front())
    }

    /// `ack`, or `reason 0xNN TEXT` for a refusal.
    pub fn settle(&mut self, message: &Said, how: &str) {
        let qos = message.text("qos");
        if qos == "0" {
            return;
        }
        let id = message.text("id").parse::<u16>().expect("an identifier").to_be_bytes();
        let kind = if qos == "1" { 0x40 } else { 0x50 };
        match how.strip_prefix("reason 0x") {
            Some(reason) => {
                let (code, text) = reason.split_once(' ').unwrap_or((reason, ""));
                let mut body = id.to_vec();
                body.push(u8::from_str_radix(code, 16).expect("a reason code"));
                let mut properties = vec![31];
                binary(&mut properties, text.as_bytes());
                length(&mut body, properties.len());
                body.extend(properties);
                self.socket.send(&packet(kind, &body));
            }
            None => {
                assert_eq!(how, "ack", "MQTT has no other settlement");
                self.socket.send(&packet(kind, &id));
                if kind == 0x50 {
                    let id = u16::from_be_bytes(id);
                    self.reply(0x62, id).expect("a PUBREL");
                    self.socket.send(&packet(0x70, &id.to_be_bytes()));
                }
            }
        }
    }

    fn id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    fn reply(&mut self, kind: u8, id: u16) -> Result<Vec<u8>, String> {
        loop {
            match self.packet(Instant::now() + PATIENCE)? {
                Some((found, body)) if found == kind && body.starts_with(&id.to_be_bytes()) => {
                    return Ok(body);
                }
                Some(packet) => self.sort(packet)?,
                None => return Err("no answer".to_owned()),
            }
        }
    }

    fn sort(&mut self, (kind, body): Packet) -> Result<(), String> {
        match kind >> 4 {
            3 => {
                let said = seen(self.level, kind, &body);
                self.messages.push_back(said);
                Ok(())
            }
            14 => Err(format!("disconnect 0x{:02x}", body.first().copied().unwrap_or_default())),
            _ => Err(format!("unexpected packet 0x{kind:02x}")),
        }
    }

    /// The next packet; none when none comes in time; an error when the broker closes.
    fn packet(&mut self, until: Instant) -> Result<Option<Packet>, String> {
        let mut head = 1;
        loop {
            head += 1;
            if !self.socket.fill(head, until) {
                return match self.socket.is_closed_within(Duration::from_millis(1)) {
                    true => Err("connection ended".to_owned()),
                    false => Ok(None),
                };
            }
            if self.socket.buffered()[head - 1] & 0x80 == 0 {
                break;
            }
        }
        let digits = &self.socket.buffered()[1..head];
        let length = digits.iter().rev().fold(0usize, |sum, b| (sum << 7) | usize::from(b & 0x7F));
        if !self.socket.fill(head + length, until) {
            return Err("half a packet".to_owned());
        }
        let bytes = self.socket.take(head + length);
        Ok(Some((bytes[0], bytes[head..].to_vec())))
    }
}

/// The property block of a PUBLISH. `u.NAME` is a user property.
fn properties(said: &Said) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in &said.0 {
        match name.as_str() {
            "payload_format" => out.extend([1, value.parse().expect("0 or 1")]),
            "expiry" => {
                out.push(2);
                out.extend(value.parse::<u32>().expect("seconds").to_be_bytes());
            }
            "alias" => {
                out.push(35);
                out.extend(value.parse::<u16>().expect("a number").to_be_bytes());
            }
            "content_type" => string(&mut out, 3, value),
            "response_topic" => string(&mut out, 8, value),
            "correlation" => string(&mut out, 9, value),
            _ => {
                if let Some(name) = name.strip_prefix("u.") {
                    out.push(38);
                    binary(&mut out, name.as_bytes());
                    binary(&mut out, value.as_bytes());
                }
            }
        }
    }
    out
}

fn seen(level: u8, kind: u8, bytes: &[u8]) -> Said {
    let mut reader = Reader(bytes);
    let qos = (kind >> 1) & 3;
    let mut said = Said::default();
    said.put("topic", shown(reader.binary()));
    said.put("qos", qos.to_string());
    said.put("retain", (kind & 1 == 1).to_string());
    said.put("dup", (kind & 8 == 8).to_string());
    if qos > 0 {
        said.put("id", reader.number(2).to_string());
    }
    if level == 5 {
        let count = reader.length();
        let mut block = Reader(reader.take(count));
        while !block.0.is_empty() {
            property(&mut block, &mut said);
        }
    }
    said.put("size", reader.0.len().to_string());
    said.put("body", shown(reader.0));
    said
}

fn property(block: &mut Reader<'_>, said: &mut Said) {
    match block.number(1) {
        1 => said.put("payload_format", block.number(1).to_string()),
        2 => said.put("expiry", block.number(4).to_string()),
        3 => said.put("content_type", shown(block.binary())),
        8 => said.put("response_topic", shown(block.binary())),
        9 => said.put("correlation", shown(block.binary())),
        11 => said.put("subscription", block.length().to_string()),
        35 => said.put("alias", block.number(2).to_string()),
        38 => {
            let name = format!("u.{}", shown(block.binary()));
            said.put(&name, shown(block.binary()));
        }
        other => panic!("property {other} in a PUBLISH"),
    }
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

fn string(out: &mut Vec<u8>, id: u8, value: &str) {
    out.push(id);
    binary(out, &octets(value));
}

fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).expect("a short text").to_be_bytes());
    out.extend_from_slice(bytes);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes
    }

    fn number(&mut self, octets: usize) -> u32 {
        self.take(octets).iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
    }

    fn binary(&mut self) -> &'a [u8] {
        let count = self.number(2) as usize;
        self.take(count)
    }

    /// A number of variable length.
    fn length(&mut self) -> usize {
        let (mut sum, mut shift) = (0, 0);
        loop {
            let byte = self.take(1)[0];
            sum |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return sum;
            }
        }
    }
}
