//! AMQP 0-9-1 for the table of cases: every property and header is a name and a text.

use super::said::{Said, octets, shown};
use super::table;
use crate::wire::amqp::{Amqp as Plain, frame};
use crate::wire::{PATIENCE, Socket};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const CHANNEL: u16 = 1;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

/// The properties in the order of their flags, from bit 15 down (AMQP 0-9-1 §1.8.3).
const PROPERTIES: [(&str, Kind); 13] = [
    ("content_type", Kind::Short),
    ("content_encoding", Kind::Short),
    ("headers", Kind::Table),
    ("delivery_mode", Kind::Octet),
    ("priority", Kind::Octet),
    ("correlation_id", Kind::Short),
    ("reply_to", Kind::Short),
    ("expiration", Kind::Short),
    ("message_id", Kind::Short),
    ("timestamp", Kind::Long),
    ("type", Kind::Short),
    ("user_id", Kind::Short),
    ("app_id", Kind::Short),
];

#[derive(Clone, Copy)]
enum Kind {
    Short,
    Octet,
    Long,
    Table,
}

/// What came from the broker.
enum Event {
    Delivery(Said),
    Returned(String),
    Method((u16, u16), Vec<u8>),
}

pub struct Amqp {
    socket: Socket,
    deliveries: VecDeque<Said>,
}

impl Amqp {
    pub fn connect(address: SocketAddr) -> Result<Self, String> {
        Self::with_frame_max(address, 131_072)
    }

    pub fn with_frame_max(address: SocketAddr, frame_max: u32) -> Result<Self, String> {
        let socket = Plain::with_frame_max(address, frame_max).socket;
        let mut client = Self { socket, deliveries: VecDeque::new() };
        client.ask((85, 10), &[0], (85, 11))?;
        Ok(client)
    }

    /// Declares a queue; arguments are `name=text` or `name=number`. Its name, and how many messages wait in it.
    pub fn queue(&mut self, name: &str, words: &[&str]) -> Result<(String, u32), String> {
        let mut bits = 0;
        let mut arguments = Said::default();
        for word in words {
            match (*word, word.split_once('=')) {
                ("passive", _) => bits |= 1,
                ("durable", _) => bits |= 2,
                ("exclusive", _) => bits |= 4,
                (_, Some((name, value))) => arguments.put(name, value),
                (other, None) => panic!("{other} is no argument of a queue"),
            }
        }
        let mut body = vec![0, 0];
        table::short(&mut body, name);
        body.push(bits);
        table::write(&mut body, &arguments);
        let reply = self.ask((50, 10), &body, (50, 11))?;
        let mut reader = table::Reader(&reply);
        Ok((reader.short(), reader.u32()))
    }

    pub fn exchange(&mut self, name: &str, kind: &str, words: &[&str]) -> Result<(), String> {
        let mut body = vec![0, 0];
        table::short(&mut body, name);
        table::short(&mut body, kind);
        // Bit 3: internal.
        body.push(if words.contains(&"internal") { 8 } else { 0 });
        table::write(&mut body, &Said::default());
        self.ask((40, 10), &body, (40, 11)).map(drop)
    }

    pub fn bind(
        &mut self,
        queue: &str,
        exchange: &str,
        key: &str,
        words: &[&str],
    ) -> Result<(), String> {
        let mut arguments = Said::default();
        for (name, value) in words.iter().filter_map(|word| word.split_once('=')) {
            arguments.put(name, value);
        }
        let mut body = vec![0, 0];
        for text in [queue, exchange, key] {
            table::short(&mut body, text);
        }
        body.push(0);
        table::write(&mut body, &arguments);
        self.ask((50, 20), &body, (50, 21)).map(drop)
    }

    /// What is published to `source` and has the key goes on to the exchange `target`.
    pub fn chain(&mut self, target: &str, source: &str, key: &str) -> Result<(), String> {
        let mut body = vec![0, 0];
        for text in [target, source, key] {
            table::short(&mut body, text);
        }
        body.push(0);
        table::write(&mut body, &Said::default());
        self.ask((40, 30), &body, (40, 31)).map(drop)
    }

    /// `queue NAME`, or `EXCHANGE KEY name=value…` for a queue of its own that is bound. `prefetch=N` limits what
    /// may be unsettled; `no-local` is basic.consume's flag. `answers`: those that come to this channel.
    pub fn subscribe(&mut self, at: &str) -> Result<(), String> {
        let mut words: Vec<&str> = at.split(' ').collect();
        if let Some(at) = words.iter().position(|word| word.starts_with("prefetch=")) {
            let count: u16 = words.remove(at)["prefetch=".len()..].parse().expect("a count");
            let mut body = vec![0; 4];
            body.extend(count.to_be_bytes());
            body.push(0);
            self.ask((60, 10), &body, (60, 11))?;
        }
        let no_local = words.iter().position(|word| *word == "no-local").map(|at| words.remove(at));
        let is_answers = words == ["answers"];
        let queue = match words.as_slice() {
            ["answers"] => "amq.rabbitmq.reply-to".to_owned(),
            ["queue", name] => (*name).to_owned(),
            [exchange, key, arguments @ ..] => {
                let (queue, _) = self.queue("", &["exclusive"])?;
                self.bind(&queue, exchange, key, arguments)?;
                queue
            }
            _ => panic!("{at:?} is neither a queue nor an exchange and a key"),
        };
        let mut body = vec![0, 0];
        table::short(&mut body, &queue);
        table::short(&mut body, "consumer");
        // Bit 1: no-ack.
        body.push(u8::from(no_local.is_some()) | u8::from(is_answers) << 1);
        table::write(&mut body, &Said::default());
        self.ask((60, 20), &body, (60, 21)).map(drop)
    }

    /// Publishes, and waits for the confirm: `ack`, `nack`, `return 312, ack` or how the channel was closed.
    pub fn publish(&mut self, said: &Said) -> String {
        let mut method = vec![0, 0];
        table::short(&mut method, said.text("exchange"));
        table::short(&mut method, said.text("key"));
        method.push(u8::from(said.get("mandatory") == Some("true")));
        let body = octets(said.text("body"));
        let mut header = vec![0, 60, 0, 0];
        header.extend((body.len() as u64).to_be_bytes());
        header.extend(properties(said));
        let mut bytes = call((60, 40), &method);
        bytes.extend(frame(HEADER, CHANNEL, &header));
        for chunk in body.chunks(100_000) {
            bytes.extend(frame(BODY, CHANNEL, chunk));
        }
        self.socket.send(&bytes);
        let mut outcome = String::new();
        loop {
            match self.event(Instant::now() + PATIENCE) {
                Ok(Some(Event::Delivery(said))) => self.deliveries.push_back(said),
                Ok(Some(Event::Returned(code))) => outcome = format!("return {code}, "),
                Ok(Some(Event::Method((60, 80), _))) => return outcome + "ack",
                Ok(Some(Event::Method((60, 120), _))) => return outcome + "nack",
                Ok(Some(Event::Method(other, _))) => return format!("{outcome}method {other:?}"),
                Ok(None) => return outcome + "no confirm",
                Err(closed) => return outcome + &closed,
            }
        }
    }

    pub fn receive(&mut self, time: Duration) -> Result<Option<Said>, String> {
        let until = Instant::now() + time;
        while self.deliveries.is_empty() {
            match self.event(until)? {
                Some(Event::Delivery(said)) => self.deliveries.push_back(said),
                Some(Event::Returned(_) | Event::Method(..)) => {}
                None => return Ok(None),
            }
        }
        Ok(self.deliveries.pop_front())
    }

    /// `ack`, `ack multiple`, `nack requeue`, `nack`, `reject requeue` or `reject`.
    pub fn settle(&mut self, delivery: &Said, how: &str) {
        let mut body = delivery.text("tag").parse::<u64>().expect("a tag").to_be_bytes().to_vec();
        let (method, bits) = match how {
            "ack" => ((60, 80), 0),
            "ack multiple" => ((60, 80), 1),
            "nack requeue" => ((60, 120), 2),
            "nack" => ((60, 120), 0),
            "reject requeue" => ((60, 90), 1),
            "reject" => ((60, 90), 0),
            other => panic!("AMQP has no {other}"),
        };
        body.push(bits);
        self.socket.send(&call(method, &body));
    }

    /// Closes the channel, and waits until the broker has done so.
    pub fn close_channel(&mut self) -> Result<(), String> {
        self.ask((20, 40), &[0, 0, 0, 0, 0, 0, 0], (20, 41)).map(drop)
    }

    fn ask(
        &mut self,
        method: (u16, u16),
        arguments: &[u8],
        reply: (u16, u16),
    ) -> Result<Vec<u8>, String> {
        self.socket.send(&call(method, arguments));
        loop {
            match self.event(Instant::now() + PATIENCE)? {
                Some(Event::Delivery(said)) => self.deliveries.push_back(said),
                Some(Event::Method(name, arguments)) if name == reply => return Ok(arguments),
                Some(Event::Returned(_) | Event::Method(..)) => {}
                None => return Err("no answer".to_owned()),
            }
        }
    }

    /// What comes next; none when nothing comes in time; an error when the broker closes.
    fn event(&mut self, until: Instant) -> Result<Option<Event>, String> {
        let Some((_, payload)) = self.frame(until) else {
            return match self.socket.is_closed_within(Duration::from_millis(1)) {
                true => Err("connection ended".to_owned()),
                false => Ok(None),
            };
        };
        let mut reader = table::Reader(&payload);
        let method = (reader.u16(), reader.u16());
        Ok(Some(match method {
            (60, 60) => {
                reader.short();
                let mut said = Said::default();
                said.put("tag", reader.u64().to_string());
                said.put("redelivered", (reader.u8() == 1).to_string());
                said.put("exchange", reader.short());
                said.put("key", reader.short());
                self.content(&mut said, until);
                Event::Delivery(said)
            }
            (60, 50) => {
                let code = reader.u16().to_string();
                self.content(&mut Said::default(), until);
                Event::Returned(code)
            }
            (20, 40) => return Err(format!("channel closed {}", reader.u16())),
            (10, 50) => return Err(format!("connection closed {}", reader.u16())),
            other => Event::Method(other, reader.0.to_vec()),
        }))
    }

    fn content(&mut self, said: &mut Said, until: Instant) {
        let (kind, payload) = self.frame(until).expect("a content header");
        assert_eq!(kind, HEADER);
        let mut reader = table::Reader(&payload);
        reader.u32();
        let size = reader.u64() as usize;
        seen_properties(&mut reader, said);
        let mut body = Vec::new();
        while body.len() < size {
            body.extend(self.frame(until).expect("a body").1);
        }
        said.put("size", body.len().to_string());
        said.put("body", shown(&body));
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
}

fn call((class, id): (u16, u16), arguments: &[u8]) -> Vec<u8> {
    let mut payload = [class.to_be_bytes(), id.to_be_bytes()].concat();
    payload.extend_from_slice(arguments);
    frame(METHOD, CHANNEL, &payload)
}

/// Flags and properties of a content header. `h.NAME` is a header.
fn properties(said: &Said) -> Vec<u8> {
    let headers: Vec<(String, String)> = said.0.iter().filter_map(header).collect();
    let (mut flags, mut values) = (0u16, Vec::new());
    for (at, (name, kind)) in PROPERTIES.iter().enumerate() {
        let value = said.get(name).unwrap_or_default();
        let is_set = said.get(name).is_some() || (*name == "headers" && !headers.is_empty());
        if !is_set {
            continue;
        }
        flags |= 0x8000 >> at;
        match kind {
            Kind::Short => table::short_octets(&mut values, &octets(value)),
            Kind::Octet => values.push(value.parse().expect("an octet")),
            Kind::Long => values.extend(value.parse::<u64>().expect("a number").to_be_bytes()),
            Kind::Table => table::write(&mut values, &Said(headers.clone())),
        }
    }
    [flags.to_be_bytes().to_vec(), values].concat()
}

fn header((name, value): &(String, String)) -> Option<(String, String)> {
    Some((name.strip_prefix("h.")?.to_owned(), value.clone()))
}

fn seen_properties(reader: &mut table::Reader<'_>, said: &mut Said) {
    let flags = reader.u16();
    for (at, (name, kind)) in PROPERTIES.iter().enumerate() {
        if flags & (0x8000 >> at) == 0 {
            continue;
        }
        match kind {
            Kind::Short => said.put(name, shown(reader.short_octets())),
            Kind::Octet => said.put(name, reader.u8().to_string()),
            Kind::Long => said.put(name, reader.u64().to_string()),
            Kind::Table => {
                for (name, value) in reader.table() {
                    said.put(&format!("h.{name}"), value);
                }
            }
        }
    }
}
