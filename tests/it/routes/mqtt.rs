//! MQTT with every refusal as a value.

use crate::wire::mqtt::{Connect, packet};
use crate::wire::{PATIENCE, QUIET, Socket};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub struct Client {
    socket: Socket,
    level: u8,
    next_id: u16,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

impl Client {
    pub fn connect(address: SocketAddr, level: u8, client: &str) -> Self {
        let options = Connect { level, ..Connect::v311(client) };
        Self::with(address, level, &options.packet()).expect("it may connect")
    }

    /// With a will of QoS 1; an error is the reason code.
    pub fn with_will(address: SocketAddr, client: &str, topic: &str) -> Result<Self, u8> {
        let will = [&[0][..], &text(topic), &text("a will")].concat();
        let body = [&text("MQTT")[..], &[5, 0b0000_1110, 0, 0, 0], &text(client), &will].concat();
        Self::with(address, 5, &packet(0x10, &body))
    }

    fn with(address: SocketAddr, level: u8, connect: &[u8]) -> Result<Self, u8> {
        let mut socket = Socket::connect(address);
        socket.send(connect);
        let mut client = Self { socket, level, next_id: 0 };
        match client.packet(Instant::now() + PATIENCE) {
            Some((0x20, body)) if body[1] == 0 => Ok(client),
            Some((0x20, body)) => Err(body[1]),
            other => panic!("CONNACK was {other:?}"),
        }
    }

    /// The reason code of the PUBACK; none: the connection ended.
    pub fn publish(&mut self, topic: &str, body: &[u8], retain: bool) -> Option<u8> {
        self.next_id += 1;
        let id = self.next_id.to_be_bytes();
        self.send_publish(topic, body, 2 | u8::from(retain), &id);
        self.reply(0x40).map(|body| body.get(2).copied().unwrap_or_default())
    }

    pub fn publish_at_most_once(&mut self, topic: &str, body: &[u8]) {
        self.send_publish(topic, body, 0, &[]);
    }

    fn send_publish(&mut self, topic: &str, body: &[u8], bits: u8, id: &[u8]) {
        let properties: &[u8] = if self.level == 5 { &[0] } else { &[] };
        let rest = [&text(topic)[..], id, properties, body].concat();
        _ = self.socket.try_send(&packet(0x30 | bits, &rest));
    }

    /// The reason code of the SUBACK.
    pub fn subscribe(&mut self, filter: &str) -> u8 {
        self.next_id += 1;
        let properties: &[u8] = if self.level == 5 { &[0] } else { &[] };
        let id = self.next_id.to_be_bytes();
        let body = [&id[..], properties, &text(filter), &[1]].concat();
        self.socket.send(&packet(0x82, &body));
        let reply = self.reply(0x90).expect("a SUBACK");
        reply.last().copied().expect("a code")
    }

    /// The next message: topic, body, retained. It is acknowledged.
    pub fn receive(&mut self, time: Duration) -> Option<(String, Vec<u8>, bool)> {
        let until = Instant::now() + time;
        loop {
            let (kind, body) = self.packet(until)?;
            if kind >> 4 != 3 {
                continue;
            }
            let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
            let topic = String::from_utf8(body[2..2 + length].to_vec()).expect("UTF-8");
            let mut at = 2 + length;
            if kind & 6 != 0 {
                _ = self.socket.try_send(&packet(0x40, &body[at..at + 2]));
                at += 2;
            }
            if self.level == 5 {
                at += 1 + usize::from(body[at]);
            }
            return Some((topic, body[at..].to_vec(), kind & 1 == 1));
        }
    }

    pub fn receives_nothing(&mut self) -> Result<(), String> {
        self.receive(QUIET).map_or(Ok(()), |got| Err(format!("{got:?}")))
    }

    pub fn is_alive(&mut self) -> bool {
        _ = self.socket.try_send(&packet(0xC0, &[]));
        self.reply(0xD0).is_some()
    }

    /// Ends the connection without DISCONNECT: the will is published.
    pub fn vanish(self) {}

    fn reply(&mut self, kind: u8) -> Option<Vec<u8>> {
        let until = Instant::now() + PATIENCE;
        loop {
            let (found, body) = self.packet(until)?;
            if found == kind {
                return Some(body);
            }
            if found == 0xE0 {
                return None;
            }
        }
    }

    fn packet(&mut self, until: Instant) -> Option<(u8, Vec<u8>)> {
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
