//! A small MQTT client's codec for tests, independent of the crate's own: packets are written from words and read into
//! lines.
//!
//! ```text
//! CONNECT v5 id=a clean expiry=100 will=t/w:bye
//! PUBLISH t/a qos=1 id=7 retain user=k:v "payload"
//! ```

#![allow(dead_code)]

use std::collections::HashMap;
use std::fmt::Write;

/// Property identifiers, their short names in lines, and their types.
const PROPERTIES: [(u8, &str, Kind); 27] = [
    (0x01, "format", Kind::U8),
    (0x02, "message-expiry", Kind::U32),
    (0x03, "content-type", Kind::Text),
    (0x08, "response-topic", Kind::Text),
    (0x09, "correlation", Kind::Text),
    (0x0B, "sub", Kind::Varint),
    (0x11, "expiry", Kind::U32),
    (0x12, "assigned", Kind::Text),
    (0x13, "server-keep-alive", Kind::U16),
    (0x15, "auth-method", Kind::Text),
    (0x16, "auth-data", Kind::Text),
    (0x17, "problem", Kind::U8),
    (0x18, "will-delay", Kind::U32),
    (0x19, "request-response", Kind::U8),
    (0x1A, "response-information", Kind::Text),
    (0x1C, "server-reference", Kind::Text),
    (0x1F, "reason", Kind::Text),
    (0x21, "receive-max", Kind::U16),
    (0x22, "alias-max", Kind::U16),
    (0x23, "alias", Kind::U16),
    (0x24, "max-qos", Kind::U8),
    (0x25, "retain-available", Kind::U8),
    (0x26, "user", Kind::Pair),
    (0x27, "packet-max", Kind::U32),
    (0x28, "wildcard", Kind::U8),
    (0x29, "sub-available", Kind::U8),
    (0x2A, "shared", Kind::U8),
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    U8,
    U16,
    U32,
    Varint,
    Text,
    Pair,
}

/// Words of a line; a quoted word keeps its blanks.
fn words(line: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let (mut quoted, mut open) = (false, false);
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                if !open {
                    out.push(String::new());
                    open = true;
                }
                out.last_mut().unwrap().push('"');
            }
            ' ' if !quoted => open = false,
            c => {
                if !open {
                    out.push(String::new());
                    open = true;
                }
                out.last_mut().unwrap().push(c);
            }
        }
    }
    out
}

pub fn varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push((n & 0x7F) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub fn text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text);
}

/// A packet: first byte, remaining length, body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    varint(&mut out, body.len());
    out.extend(body);
    out
}

fn put_property(out: &mut Vec<u8>, name: &str, value: &str) -> bool {
    let Some((id, _, kind)) = PROPERTIES.iter().find(|(_, n, _)| *n == name) else { return false };
    out.push(*id);
    match kind {
        Kind::U8 => out.push(value.parse().unwrap()),
        Kind::U16 => out.extend(value.parse::<u16>().unwrap().to_be_bytes()),
        Kind::U32 => out.extend(value.parse::<u32>().unwrap().to_be_bytes()),
        Kind::Varint => varint(out, value.parse().unwrap()),
        Kind::Text => text(out, value.as_bytes()),
        Kind::Pair => {
            let (k, v) = value.split_once(':').unwrap();
            text(out, k.as_bytes());
            text(out, v.as_bytes());
        }
    }
    true
}

struct Words {
    positional: Vec<String>,
    flags: Vec<String>,
    named: HashMap<String, String>,
    properties: Vec<u8>,
    will_properties: Vec<u8>,
}

impl Words {
    fn of(words: &[String], v5: bool) -> Self {
        const FLAGS: [&str; 9] =
            ["clean", "retain", "dup", "v5", "v4", "nl", "rap", "will-retain", "malformed"];
        let mut out = Words {
            positional: Vec::new(),
            flags: Vec::new(),
            named: HashMap::new(),
            properties: Vec::new(),
            will_properties: Vec::new(),
        };
        for word in words {
            let split = word.split_once('=').filter(|(n, _)| !n.contains(['/', '"', '$']));
            match split {
                None if FLAGS.contains(&word.as_str()) => out.flags.push(word.clone()),
                None => out.positional.push(word.clone()),
                Some((name, value)) => {
                    let will = name.strip_prefix("will.");
                    let name = will.unwrap_or(name);
                    let block = match will.is_some() || name == "will-delay" {
                        true => &mut out.will_properties,
                        false => &mut out.properties,
                    };
                    if !(v5 && put_property(block, name, value)) {
                        out.named.insert(name.into(), value.into());
                    }
                }
            }
        }
        out
    }

    fn flag(&self, name: &str) -> bool {
        self.flags.iter().any(|f| f == name)
    }

    fn number(&self, name: &str) -> u16 {
        self.named.get(name).map_or(0, |v| v.parse().unwrap())
    }

    fn block(&self, out: &mut Vec<u8>, v5: bool) {
        if v5 {
            varint(out, self.properties.len());
            out.extend(&self.properties);
        }
    }

    fn payload(&self, at: usize) -> Vec<u8> {
        self.positional.get(at).map_or(Vec::new(), |t| t.trim_matches('"').as_bytes().to_vec())
    }
}

/// The bytes of a client's packet. `v5` is the connection's version.
pub fn write(line: &str, v5: bool) -> Vec<u8> {
    let words = words(line);
    let (kind, rest) = words.split_first().expect("a packet");
    if kind == "HEX" {
        let digits: String = rest.concat();
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        return (0..digits.len()).step_by(2).map(byte).collect();
    }
    let w = Words::of(rest, v5);
    let id = if kind == "CONNECT" { 0 } else { w.number("id") };
    let mut body = Vec::new();
    match kind.as_str() {
        "CONNECT" => connect(&w, v5),
        "PUBLISH" => {
            let qos = w.number("qos") as u8;
            text(&mut body, w.positional[0].trim_matches('"').as_bytes());
            if qos > 0 {
                body.extend(id.to_be_bytes());
            }
            w.block(&mut body, v5);
            body.extend(w.payload(1));
            let flags = u8::from(w.flag("dup")) << 3 | qos << 1 | u8::from(w.flag("retain"));
            packet(0x30 | flags, &body)
        }
        "PUBACK" | "PUBREC" | "PUBREL" | "PUBCOMP" => {
            let first = match kind.as_str() {
                "PUBACK" => 0x40,
                "PUBREC" => 0x50,
                "PUBREL" => 0x62,
                _ => 0x70,
            };
            body.extend(w.positional[0].parse::<u16>().unwrap().to_be_bytes());
            if let Some(code) = w.positional.get(1) {
                body.push(u8::from_str_radix(code, 16).unwrap());
                if !w.properties.is_empty() {
                    w.block(&mut body, v5);
                }
            }
            packet(first, &body)
        }
        "SUBSCRIBE" => {
            body.extend(w.positional[0].parse::<u16>().unwrap().to_be_bytes());
            w.block(&mut body, v5);
            let options = w.number("qos") as u8
                | u8::from(w.flag("nl")) << 2
                | u8::from(w.flag("rap")) << 3
                | (w.number("rh") as u8) << 4;
            for filter in &w.positional[1..] {
                text(&mut body, filter.as_bytes());
                body.push(options);
            }
            packet(0x82, &body)
        }
        "UNSUBSCRIBE" => {
            body.extend(w.positional[0].parse::<u16>().unwrap().to_be_bytes());
            w.block(&mut body, v5);
            for filter in &w.positional[1..] {
                text(&mut body, filter.as_bytes());
            }
            packet(0xA2, &body)
        }
        "PINGREQ" => vec![0xC0, 0],
        "DISCONNECT" | "AUTH" => {
            if let Some(code) = w.positional.first() {
                body.push(u8::from_str_radix(code, 16).unwrap());
                if !w.properties.is_empty() {
                    w.block(&mut body, v5);
                }
            }
            packet(if kind == "AUTH" { 0xF0 } else { 0xE0 }, &body)
        }
        other => panic!("no packet {other}"),
    }
}

fn connect(w: &Words, v5: bool) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, b"MQTT");
    body.push(if v5 { 5 } else { 4 });
    let will = w.named.get("will").map(|w| w.split_once(':').unwrap());
    let (user, pass) = (w.named.get("username"), w.named.get("password"));
    let mut flags = u8::from(w.flag("clean")) << 1;
    if will.is_some() {
        flags |= 4 | (w.number("will-qos") as u8) << 3 | u8::from(w.flag("will-retain")) << 5;
    }
    flags |= u8::from(pass.is_some()) << 6 | u8::from(user.is_some()) << 7;
    body.push(flags);
    body.extend(w.number("keep").to_be_bytes());
    w.block(&mut body, v5);
    text(&mut body, w.named.get("id").map_or("", |v| v).as_bytes());
    if let Some((topic, payload)) = will {
        if v5 {
            varint(&mut body, w.will_properties.len());
            body.extend(&w.will_properties);
        }
        text(&mut body, topic.as_bytes());
        text(&mut body, payload.as_bytes());
    }
    for word in [user, pass].into_iter().flatten() {
        text(&mut body, word.as_bytes());
    }
    packet(0x10, &body)
}

struct Take<'a>(&'a [u8]);

impl Take<'_> {
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let (head, rest) = self.0.split_at(n);
        self.0 = rest;
        head.to_vec()
    }
    fn u8(&mut self) -> u8 {
        self.bytes(1)[0]
    }
    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.bytes(2).try_into().unwrap())
    }
    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes(4).try_into().unwrap())
    }
    fn varint(&mut self) -> usize {
        let (mut n, mut at) = (0, 0);
        loop {
            let byte = self.u8();
            n |= usize::from(byte & 0x7F) << at;
            at += 7;
            if byte & 0x80 == 0 {
                return n;
            }
        }
    }
    fn text(&mut self) -> String {
        let n = self.u16();
        let bytes = self.bytes(usize::from(n));
        String::from_utf8(bytes).unwrap_or_else(|e| format!("hex:{:02x?}", e.as_bytes()))
    }
    fn properties(&mut self, out: &mut String) {
        let n = self.varint();
        let block = self.bytes(n);
        let mut block = Take(&block);
        while !block.0.is_empty() {
            let id = block.u8();
            let known = PROPERTIES.iter().find(|(i, _, _)| *i == id);
            let (_, name, kind) = known.expect("a property");
            let value = match kind {
                Kind::U8 => block.u8().to_string(),
                Kind::U16 => block.u16().to_string(),
                Kind::U32 => block.u32().to_string(),
                Kind::Varint => block.varint().to_string(),
                Kind::Text => block.text(),
                Kind::Pair => format!("{}:{}", block.text(), block.text()),
            };
            // Random: only that it is there can be expected.
            let value = if *name == "assigned" { "*".to_owned() } else { value };
            let _ = write!(out, " {name}={value}");
        }
    }
}

/// The length of the first whole packet in `bytes`.
pub fn whole(bytes: &[u8]) -> Option<usize> {
    let (mut n, mut at) = (0usize, 1);
    loop {
        let byte = *bytes.get(at)?;
        n |= usize::from(byte & 0x7F) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (bytes.len() >= at + n).then_some(at + n)
}

/// A server's packet as a line.
pub fn read(bytes: &[u8], v5: bool) -> String {
    let mut take = Take(&bytes[1..]);
    let length = take.varint();
    assert_eq!(length, take.0.len(), "the remaining length");
    let mut out = String::new();
    match bytes[0] >> 4 {
        2 => {
            let (present, code) = (take.u8(), take.u8());
            let _ = write!(out, "CONNACK {code:02x} present={present}");
            if v5 {
                take.properties(&mut out);
            }
        }
        3 => publish(bytes[0], &mut take, v5, &mut out),
        kind @ 4..=7 => {
            let name = ["PUBACK", "PUBREC", "PUBREL", "PUBCOMP"][usize::from(kind) - 4];
            assert_eq!(bytes[0] & 15, if kind == 6 { 2 } else { 0 });
            let _ = write!(out, "{name} {}", take.u16());
            if !take.0.is_empty() {
                let _ = write!(out, " {:02x}", take.u8());
            }
            if !take.0.is_empty() {
                take.properties(&mut out);
            }
        }
        kind @ (9 | 11) => {
            let name = if kind == 9 { "SUBACK" } else { "UNSUBACK" };
            let id = take.u16();
            let mut properties = String::new();
            if v5 {
                take.properties(&mut properties);
            }
            let _ = write!(out, "{name} {id}");
            for code in take.0 {
                let _ = write!(out, " {code:02x}");
            }
            take.0 = &[];
            out.push_str(&properties);
        }
        13 => out.push_str("PINGRESP"),
        kind @ (14 | 15) => {
            let name = if kind == 14 { "DISCONNECT" } else { "AUTH" };
            let _ = write!(out, "{name} {:02x}", take.u8());
            take.properties(&mut out);
        }
        other => panic!("a server sent type {other}"),
    }
    assert!(take.0.is_empty(), "bytes behind {out}");
    out
}

fn publish(first: u8, take: &mut Take<'_>, v5: bool, out: &mut String) {
    let _ = write!(out, "PUBLISH {}", take.text());
    let qos = (first >> 1) & 3;
    if qos > 0 {
        let _ = write!(out, " qos={qos} id={}", take.u16());
    }
    if first & 1 != 0 {
        out.push_str(" retain");
    }
    if first & 8 != 0 {
        out.push_str(" dup");
    }
    if v5 {
        take.properties(out);
    }
    match std::str::from_utf8(take.0) {
        Ok(text) if text.len() <= 100 => {
            let _ = write!(out, " \"{text}\"");
        }
        _ => {
            let _ = write!(out, " ({} bytes)", take.0.len());
        }
    }
    take.0 = &[];
}
