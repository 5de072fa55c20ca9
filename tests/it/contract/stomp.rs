//! STOMP 1.0, 1.1 and 1.2 for the table of cases: every header is a name and a text, and `body` is the body.

use super::said::{Said, octets, shown};
use crate::wire::PATIENCE;
use crate::wire::stomp::{Frame, Stomp as Plain, frame};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub struct Stomp {
    plain: Plain,
    version: &'static str,
    next: u32,
    messages: VecDeque<Said>,
}

impl Stomp {
    pub fn connect(
        address: SocketAddr,
        version: &'static str,
        client: &str,
    ) -> Result<Self, String> {
        let mut headers = vec![("accept-version", version), ("host", "/")];
        headers.extend([("login", "guest"), ("passcode", "guest"), ("client-id", client)]);
        let plain = Plain::connect_with(address, &headers);
        Ok(Self { plain, version, next: 0, messages: VecDeque::new() })
    }

    /// `DESTINATION name:value…`; acknowledged one by one unless a header says otherwise.
    pub fn subscribe(&mut self, at: &str) -> Result<(), String> {
        let mut words = at.split(' ');
        let mut headers = vec![("destination", words.next().unwrap_or_default())];
        headers.extend(words.map(|word| word.split_once(':').expect("a header")));
        let has = |name: &str| headers.iter().any(|(known, _)| *known == name);
        let (ack, id) = (has("ack"), has("id"));
        if !ack {
            headers
                .push(("ack", if self.version == "1.0" { "client" } else { "client-individual" }));
        }
        if !id {
            headers.push(("id", "1"));
        }
        match self.request("SUBSCRIBE", &headers, b"")?.header("mq-unroutable") {
            None => Ok(()),
            Some(_) => Err("nobody is there".to_owned()),
        }
    }

    /// Sends, and waits for the receipt: `receipt`, with what is remarked on it, or the ERROR's code.
    pub fn publish(&mut self, said: &Said) -> String {
        let headers = said.0.iter().filter(|(name, _)| !matches!(name.as_str(), "body"));
        let headers: Vec<(&str, &str)> =
            headers.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        match self.request("SEND", &headers, &octets(said.text("body"))) {
            Ok(receipt) => receipt
                .headers
                .iter()
                .filter(|(name, _)| name != "receipt-id")
                .fold("receipt".to_owned(), |text, (name, value)| {
                    format!("{text}, {name}:{value}")
                }),
            Err(refused) => refused,
        }
    }

    /// Any frame with a receipt; an error is the ERROR frame's code, and that the connection ended.
    pub fn request(
        &mut self,
        command: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Frame, String> {
        self.next += 1;
        let receipt = format!("r{}", self.next);
        let mut all = headers.to_vec();
        all.push(("receipt", receipt.as_str()));
        self.plain.socket.send(&frame(command, &all, body));
        loop {
            match self.frame(Instant::now() + PATIENCE)? {
                Some(frame) if frame.command == "RECEIPT" => return Ok(frame),
                Some(frame) => self.messages.push_back(seen(&frame)),
                None => return Err("no receipt".to_owned()),
            }
        }
    }

    pub fn receive(&mut self, time: Duration) -> Result<Option<Said>, String> {
        if let Some(message) = self.messages.pop_front() {
            return Ok(Some(message));
        }
        Ok(self.frame(Instant::now() + time)?.map(|frame| seen(&frame)))
    }

    /// `ack`, `nack`, or either with headers behind it: `nack requeue:false`.
    pub fn settle(&mut self, message: &Said, how: &str) {
        let mut words = how.split(' ');
        let command = words.next().unwrap_or_default().to_uppercase();
        let mut headers = match self.version {
            "1.2" => vec![("id", message.text("ack"))],
            _ => vec![("message-id", message.text("message-id")), ("subscription", "1")],
        };
        headers.extend(words.map(|word| word.split_once(':').expect("a header")));
        self.request(&command, &headers, b"").expect("a receipt");
    }

    fn frame(&mut self, until: Instant) -> Result<Option<Frame>, String> {
        match self.plain.frame(until) {
            Some(frame) if frame.command == "ERROR" => {
                let message = frame.header("crossdock-code").unwrap_or("without a code").to_owned();
                let closed = self.plain.socket.is_closed_within(PATIENCE);
                Err(format!("error {message}{}", if closed { ", closed" } else { "" }))
            }
            Some(frame) => Ok(Some(frame)),
            None => match self.plain.socket.is_closed_within(Duration::from_millis(1)) {
                true => Err("connection ended".to_owned()),
                false => Ok(None),
            },
        }
    }
}

fn seen(frame: &Frame) -> Said {
    let mut said = Said(frame.headers.clone());
    said.put("size", frame.body.len().to_string());
    said.put("body", shown(&frame.body));
    said
}
