//! STOMP for the flows. Names and values here need no escapes, except the ack ids, which are sent back as they came.

use super::wire::{Step, Wire, wait, wrong};
use std::net::SocketAddr;

#[derive(Debug)]
pub struct Frame {
    pub command: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Frame {
    /// The first header of that name, as it was on the wire.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

pub struct Stomp {
    pub wire: Wire,
}

impl Stomp {
    pub fn connect(address: SocketAddr) -> Step<Self> {
        let mut client = Self { wire: Wire::connect(address)? };
        let login =
            [("accept-version", "1.2"), ("host", "/"), ("login", "guest"), ("passcode", "guest")];
        client.send("CONNECT", &login, b"");
        let reply = wait("CONNECTED", || client.next())?;
        match reply.command.as_str() {
            "CONNECTED" => Ok(client),
            _ => wrong(format!("{reply:?}")),
        }
    }

    pub fn send(&mut self, command: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{command}\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}:{value}\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("content-length:{}\n", body.len()));
        }
        head.push('\n');
        self.wire.put(head.as_bytes());
        self.wire.put(body);
        self.wire.put(&[0]);
    }

    pub fn subscribe(&mut self, destination: &str, prefetch: u64) -> Step<()> {
        let prefetch = prefetch.to_string();
        let headers = [
            ("id", "1"),
            ("destination", destination),
            ("ack", "client-individual"),
            ("prefetch-count", prefetch.as_str()),
        ];
        self.send("SUBSCRIBE", &headers, b"");
        self.wire.pump()
    }

    /// The next frame. An ERROR or a malformed frame is a failure.
    pub fn next(&mut self) -> Step<Option<Frame>> {
        if let Some(frame) = self.parse()? {
            return Ok(Some(frame));
        }
        self.wire.pump()?;
        self.parse()
    }

    fn parse(&mut self) -> Step<Option<Frame>> {
        let blank = self.wire.buffered().iter().take_while(|b| **b == b'\n').count();
        self.wire.take(blank);
        let bytes = self.wire.buffered();
        let Some(end) = bytes.windows(2).position(|pair| pair == b"\n\n").map(|at| at + 2) else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let command = lines.next().unwrap_or_default().to_owned();
        let pairs = lines.filter_map(|line| line.split_once(':'));
        let headers: Vec<(String, String)> =
            pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let mut frame = Frame { command, headers, body: Vec::new() };
        let length = match frame.header("content-length").map(str::parse) {
            Some(Ok(length)) => length,
            Some(Err(_)) => return wrong("content-length is not a number"),
            None => match bytes[end..].iter().position(|b| *b == 0) {
                Some(length) => length,
                None => return Ok(None),
            },
        };
        if bytes.len() < end + length + 1 {
            return Ok(None);
        }
        let all = self.wire.take(end + length + 1);
        frame.body = all[end..end + length].to_vec();
        match (frame.command.as_str(), all.last()) {
            ("ERROR", _) => wrong(format!("ERROR {:?}", frame.header("crossdock-code"))),
            (_, Some(0)) => Ok(Some(frame)),
            _ => wrong("a frame without its end"),
        }
    }
}
