//! AMQP 0-9-1 with every refusal as a value: one channel.

use crate::wire::amqp::{Amqp, frame};
use crate::wire::{PATIENCE, QUIET, Socket};
use std::net::SocketAddr;
use std::time::Instant;

const CHANNEL: u16 = 1;

/// Class and method.
pub type Method = (u16, u16);

pub struct Channel {
    socket: Socket,
    /// A basic.return came.
    pub returned: Option<u16>,
}

pub fn short(text: &str) -> Vec<u8> {
    [&[text.len() as u8][..], text.as_bytes()].concat()
}

/// A table of texts and numbers.
pub fn table(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut inner = Vec::new();
    for (name, value) in fields {
        inner.extend(short(name));
        match value.parse::<i64>() {
            Ok(number) => inner.extend([&[b'l'][..], &number.to_be_bytes()].concat()),
            Err(_) => {
                inner.push(b'S');
                inner.extend((value.len() as u32).to_be_bytes());
                inner.extend(value.bytes());
            }
        }
    }
    [&(inner.len() as u32).to_be_bytes()[..], &inner].concat()
}

impl Channel {
    pub fn connect(address: SocketAddr) -> Self {
        Self { socket: Amqp::connect(address).socket, returned: None }
    }

    /// Sends a method and waits for its answer; an error says what came instead.
    pub fn ask(&mut self, method: Method, parts: &[&[u8]], reply: Method) -> Result<(), String> {
        self.send(method, parts);
        self.answer(&[reply]).map(drop)
    }

    /// As `ask`, with several possible answers.
    pub fn ask_either(
        &mut self,
        method: Method,
        parts: &[&[u8]],
        replies: &[Method],
    ) -> Result<(), String> {
        self.send(method, parts);
        self.answer(replies).map(drop)
    }

    pub fn send(&mut self, (class, id): Method, parts: &[&[u8]]) {
        let head = [class.to_be_bytes(), id.to_be_bytes()].concat();
        let payload = [&head[..], &parts.concat()].concat();
        // After a refusal the connection may be gone.
        _ = self.socket.try_send(&frame(1, CHANNEL, &payload));
    }

    /// A persistent message.
    pub fn publish(&mut self, exchange: &str, key: &str, mandatory: bool, body: &[u8]) {
        let bits = [u8::from(mandatory)];
        self.send((60, 40), &[&[0, 0], &short(exchange), &short(key), &bits]);
        let mut header = vec![0, 60, 0, 0];
        header.extend((body.len() as u64).to_be_bytes());
        header.extend([0x10, 0, 2]);
        _ = self.socket.try_send(&frame(2, CHANNEL, &header));
        if !body.is_empty() {
            _ = self.socket.try_send(&frame(3, CHANNEL, body));
        }
    }

    /// The first of these methods that comes.
    pub fn answer(&mut self, wanted: &[Method]) -> Result<Method, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let Some((kind, payload)) = self.frame(until) else {
                return Err("the connection ended".to_owned());
            };
            if kind != 1 {
                continue;
            }
            let number = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
            let method = (number(0), number(2));
            match method {
                (60, 50) => self.returned = Some(number(4)),
                (20, 40) => {
                    self.send((20, 41), &[]);
                    return Err(format!("channel closed {}", number(4)));
                }
                (10, 50) => return Err(format!("connection closed {}", number(4))),
                _ if wanted.contains(&method) => return Ok(method),
                _ => {}
            }
        }
    }

    /// A basic.return that comes soon.
    pub fn returned_soon(&mut self) -> Option<u16> {
        let until = Instant::now() + QUIET;
        while self.returned.is_none() {
            let (kind, payload) = self.frame(until)?;
            if kind == 1 && payload.starts_with(&[0, 60, 0, 50]) {
                self.returned = Some(u16::from_be_bytes([payload[4], payload[5]]));
            }
        }
        self.returned
    }

    /// Whether channel and connection are there and answer.
    pub fn is_alive(&mut self) -> bool {
        self.ask((60, 10), &[&[0; 4], &[0, 10], &[0]], (60, 11)).is_ok()
    }

    fn frame(&mut self, until: Instant) -> Option<(u8, Vec<u8>)> {
        loop {
            if !self.socket.fill(7, until) {
                return None;
            }
            let head = self.socket.buffered();
            let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
            if !self.socket.fill(size + 8, until) {
                return None;
            }
            let bytes = self.socket.take(size + 8);
            if bytes[0] != 8 {
                return Some((bytes[0], bytes[7..7 + size].to_vec()));
            }
        }
    }

    pub fn declare(
        &mut self,
        queue: &str,
        bits: u8,
        fields: &[(&str, &str)],
    ) -> Result<(), String> {
        let arguments = table(fields);
        self.ask((50, 10), &[&[0, 0], &short(queue), &[bits], &arguments], (50, 11))
    }

    pub fn delete_queue(&mut self, queue: &str) -> Result<(), String> {
        self.ask((50, 40), &[&[0, 0], &short(queue), &[0]], (50, 41))
    }

    pub fn delete_exchange(&mut self, exchange: &str) -> Result<(), String> {
        self.ask((40, 20), &[&[0, 0], &short(exchange), &[0]], (40, 21))
    }

    pub fn bind(&mut self, queue: &str, exchange: &str, key: &str) -> Result<(), String> {
        let parts: [&[u8]; 6] =
            [&[0, 0], &short(queue), &short(exchange), &short(key), &[0], &table(&[])];
        self.ask((50, 20), &parts, (50, 21))
    }
}
