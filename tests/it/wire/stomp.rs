//! STOMP 1.2, as far as the tests need it.

use super::{PATIENCE, Socket};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Frame {
    pub command: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Frame {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// What an ERROR says: its code and its text.
    fn refusal(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        format!("{} {}", self.header("crossdock-code").unwrap_or_default(), text.trim_end())
    }
}

pub struct Stomp {
    pub socket: Socket,
    next_receipt: u32,
    /// Messages that came while something else was awaited.
    messages: VecDeque<Frame>,
}

impl Stomp {
    pub fn connect(address: SocketAddr) -> Self {
        let headers =
            [("accept-version", "1.2"), ("host", "/"), ("login", "guest"), ("passcode", "guest")];
        Self::connect_with(address, &headers)
    }

    /// As that user.
    pub fn connect_as(address: SocketAddr, user: &str, password: &str) -> Self {
        let client = Self::log_in(Socket::connect(address), Some((user, password)));
        client.unwrap_or_else(|why| panic!("the login of {user}: {why}"))
    }

    /// With a CONNECT frame of these headers.
    pub fn connect_with(address: SocketAddr, headers: &[(&str, &str)]) -> Self {
        let client = Self::open(Socket::connect(address), headers);
        client.unwrap_or_else(|why| panic!("CONNECTED did not come: {why}"))
    }

    /// Logs in over a socket; or the message and the text of ERROR.
    pub fn log_in(socket: Socket, login: Option<(&str, &str)>) -> Result<Self, String> {
        let mut headers = vec![("accept-version", "1.2"), ("host", "/")];
        if let Some((user, password)) = login {
            headers.extend([("login", user), ("passcode", password)]);
        }
        Self::open(socket, &headers)
    }

    /// The same with any headers.
    pub fn open(socket: Socket, headers: &[(&str, &str)]) -> Result<Self, String> {
        let mut client = Self { socket, next_receipt: 0, messages: VecDeque::new() };
        client.socket.send(&frame("CONNECT", headers, b""));
        let reply = client.frame(Instant::now() + PATIENCE).ok_or("the connection was closed")?;
        match reply.command.as_str() {
            "CONNECTED" => Ok(client),
            _ => Err(reply.refusal()),
        }
    }

    /// Waits for the ERROR that ends the connection: its message and text.
    pub fn ends(&mut self) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let frame = self.frame(until).expect("an ERROR");
            if frame.command == "ERROR" {
                return frame.refusal();
            }
        }
    }

    /// Sends, and waits for the receipt.
    pub fn send(&mut self, destination: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut all = vec![("destination", destination)];
        all.extend(headers);
        self.request("SEND", &all, body);
    }

    /// `ack`: `auto`, `client` or `client-individual`.
    pub fn subscribe(&mut self, id: &str, destination: &str, ack: &str, more: &[(&str, &str)]) {
        let mut headers = vec![("id", id), ("destination", destination), ("ack", ack)];
        headers.extend(more);
        self.request("SUBSCRIBE", &headers, b"");
    }

    /// The next message; it is not acknowledged.
    pub fn receive(&mut self) -> Frame {
        self.receive_within(PATIENCE).expect("a message")
    }

    pub fn receive_within(&mut self, time: Duration) -> Option<Frame> {
        if let Some(message) = self.messages.pop_front() {
            return Some(message);
        }
        let frame = self.frame(Instant::now() + time)?;
        assert_eq!(frame.command, "MESSAGE", "{frame:?}");
        Some(frame)
    }

    pub fn ack(&mut self, message: &Frame) {
        let id = message.header("ack").expect("a header to acknowledge by");
        self.socket.send(&frame("ACK", &[("id", id)], b""));
    }

    /// Sends any frame with a receipt header, and waits for the receipt.
    pub fn request(&mut self, command: &str, headers: &[(&str, &str)], body: &[u8]) {
        let done = self.try_request(command, headers, body);
        done.unwrap_or_else(|why| panic!("{command} was refused: {why}"));
    }

    /// The same; or the message and the text of ERROR.
    pub fn try_request(
        &mut self,
        command: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(), String> {
        self.next_receipt += 1;
        let receipt = self.next_receipt.to_string();
        let mut all = headers.to_vec();
        all.push(("receipt", receipt.as_str()));
        self.socket.send(&frame(command, &all, body));
        loop {
            let frame = self.frame(Instant::now() + PATIENCE).expect("a receipt");
            match frame.command.as_str() {
                "MESSAGE" => self.messages.push_back(frame),
                "RECEIPT" if frame.header("receipt-id") == Some(receipt.as_str()) => return Ok(()),
                "ERROR" => return Err(frame.refusal()),
                _ => panic!("unexpected {frame:?}"),
            }
        }
    }

    /// The next frame of any kind.
    pub fn frame(&mut self, until: Instant) -> Option<Frame> {
        let mut seen = 0;
        loop {
            let buffered = self.socket.buffered();
            let blank = buffered.iter().take_while(|b| matches!(b, b'\n' | b'\r')).count();
            if blank > 0 {
                self.socket.take(blank);
                seen = 0;
                continue;
            }
            if let Some(end) = head_end(buffered, seen) {
                return self.rest(end, until);
            }
            seen = buffered.len().saturating_sub(3);
            if !self.socket.read_more(until) {
                return None;
            }
        }
    }

    /// The frame whose headers end, with their blank line, at `end`.
    fn rest(&mut self, end: usize, until: Instant) -> Option<Frame> {
        let head = String::from_utf8(self.socket.buffered()[..end].to_vec()).expect("UTF-8");
        let mut lines = head.lines();
        let command = lines.next().unwrap_or_default().to_owned();
        let pairs = lines.filter_map(|line| line.split_once(':'));
        let raw = command == "CONNECTED";
        let headers: Vec<(String, String)> = pairs
            .map(|(n, v)| match raw {
                true => (n.to_owned(), v.to_owned()),
                false => (unescape(n), unescape(v)),
            })
            .collect();
        let mut frame = Frame { command, headers, body: Vec::new() };
        let length = match frame.header("content-length") {
            Some(length) => length.parse().expect("a number"),
            None => loop {
                let body = &self.socket.buffered()[end..];
                if let Some(length) = body.iter().position(|b| *b == 0) {
                    break length;
                }
                if !self.socket.read_more(until) {
                    return None;
                }
            },
        };
        if !self.socket.fill(end + length + 1, until) {
            return None;
        }
        let bytes = self.socket.take(end + length + 1);
        assert_eq!(bytes.last(), Some(&0));
        frame.body = bytes[end..end + length].to_vec();
        Some(frame)
    }
}

/// A frame as bytes, with content-length when it has a body.
pub fn frame(command: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{command}\n");
    for (name, value) in headers {
        let value = match command {
            "CONNECT" => (*value).to_owned(),
            _ => escape(value),
        };
        text.push_str(&format!("{name}:{value}\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("content-length:{}\n", body.len()));
    }
    text.push('\n');
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes.push(0);
    bytes
}

/// Offset behind the blank line after the headers. The bytes before `from` were searched already.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let ends = (from..bytes.len()).filter(|at| bytes[*at] == b'\n');
    ends.map(|at| at + 1).find_map(|next| match &bytes[next..] {
        [b'\n', ..] => Some(next + 1),
        [b'\r', b'\n', ..] => Some(next + 2),
        _ => None,
    })
}

fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    text.replace(':', "\\c")
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        plain.push(match (c, escaped) {
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some('c')) => ':',
            ('\\', Some('\\')) => '\\',
            ('\\', other) => panic!("escape {other:?} in {text:?}"),
            (c, _) => c,
        });
    }
    plain
}
