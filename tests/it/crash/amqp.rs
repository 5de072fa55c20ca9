//! AMQP 0-9-1 for the flows: one connection, several channels; only calls that wait for a reply block.

use super::wire::{Step, Stop, Wire, wait, wrong};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xCE;
const FRAME_MAX: usize = 131_072 - 8;
/// Number of basic.get requests sent at once.
const GETS: usize = 50;

pub const DELIVER: (u16, u16) = (60, 60);
pub const RETURN: (u16, u16) = (60, 50);
pub const ACK: (u16, u16) = (60, 80);
pub const NACK: (u16, u16) = (60, 120);
/// connection.blocked and connection.unblocked.
pub const BLOCKED: (u16, u16) = (10, 60);
pub const UNBLOCKED: (u16, u16) = (10, 61);
const GET_OK: (u16, u16) = (60, 71);
const GET_EMPTY: (u16, u16) = (60, 72);
const CHANNEL_CLOSE: (u16, u16) = (20, 40);
const CONNECTION_CLOSE: (u16, u16) = (10, 50);

/// A method with its content.
#[derive(Debug)]
pub struct Event {
    pub channel: u16,
    pub method: (u16, u16),
    pub arguments: Vec<u8>,
    /// The content header: size and properties as they were sent.
    pub header: Vec<u8>,
    pub body: Vec<u8>,
}

/// Of a delivery, also by basic.get.
#[derive(Debug)]
pub struct Delivery {
    pub tag: u64,
    pub redelivered: bool,
    pub queue: String,
    pub header: Vec<u8>,
    pub body: Vec<u8>,
}

impl Event {
    /// Of basic.deliver: the consumer's tag is the queue's name, because the flows name them so.
    pub fn delivery(self) -> Delivery {
        let mut arguments = In(&self.arguments);
        let queue = arguments.short();
        let (tag, redelivered) = (arguments.u64(), arguments.u8() == 1);
        Delivery { tag, redelivered, queue, header: self.header, body: self.body }
    }

    /// Of basic.ack and basic.nack: the tag, and whether it stands for all before.
    pub fn answer(&self) -> (u64, bool) {
        let mut arguments = In(&self.arguments);
        (arguments.u64(), arguments.u8() & 1 == 1)
    }
}

/// Content that is incomplete.
struct Partial {
    event: Event,
    size: Option<usize>,
}

pub struct Link {
    pub wire: Wire,
    partial: HashMap<u16, Partial>,
    /// Events that came while a reply was awaited.
    stash: VecDeque<Event>,
}

impl Link {
    /// Opens a connection with this many channels, numbered from 1.
    pub fn open(address: SocketAddr, channels: u16) -> Step<Self> {
        let wire = Wire::connect(address)?;
        let mut link = Self { wire, partial: HashMap::new(), stash: VecDeque::new() };
        link.wire.put(b"AMQP\x00\x00\x09\x01");
        link.expect(0, (10, 10))?;
        // With this capability the broker sends connection.blocked.
        let capabilities = Field::Table(vec![("connection.blocked", Field::Flag(true))]);
        let login = Out::method((10, 11))
            .table(&[("capabilities", capabilities)])
            .short("PLAIN")
            .long(b"\0guest\0guest")
            .short("en_US");
        link.wire.put(&login.frame(0));
        link.expect(0, (10, 30))?;
        link.wire.put(&Out::method((10, 31)).u16(2047).u32(131_072).u16(0).frame(0));
        link.call(0, Out::method((10, 40)).short("/").short("").u8(0), (10, 41))?;
        for channel in 1..=channels {
            link.call(channel, Out::method((20, 10)).short(""), (20, 11))?;
        }
        Ok(link)
    }

    /// Sends a method and waits for its reply. If the broker closes the channel instead, opens it again and returns the
    /// code and text.
    pub fn ask(
        &mut self,
        channel: u16,
        out: Out,
        reply: (u16, u16),
    ) -> Step<Result<Vec<u8>, (u16, String)>> {
        self.wire.put(&out.frame(channel));
        self.reply(channel, reply)
    }

    /// Sends a method that must not be refused, and waits for its reply.
    pub fn call(&mut self, channel: u16, out: Out, reply: (u16, u16)) -> Step<Vec<u8>> {
        self.wire.put(&out.frame(channel));
        self.expect(channel, reply)
    }

    fn expect(&mut self, channel: u16, reply: (u16, u16)) -> Step<Vec<u8>> {
        match self.reply(channel, reply)? {
            Ok(arguments) => Ok(arguments),
            Err((code, text)) => wrong(format!("instead of {reply:?}: {code} {text}")),
        }
    }

    fn reply(&mut self, channel: u16, reply: (u16, u16)) -> Step<Result<Vec<u8>, (u16, String)>> {
        let mut aside = VecDeque::new();
        let found = wait(&format!("AMQP method {reply:?}"), || {
            while let Some(event) = self.read()? {
                match event.method {
                    method if method == reply && event.channel == channel => {
                        return Ok(Some(event));
                    }
                    CHANNEL_CLOSE if event.channel == channel => return Ok(Some(event)),
                    _ => aside.push_back(event),
                }
            }
            Ok(None)
        });
        self.stash.append(&mut aside);
        let event = found?;
        if event.method != CHANNEL_CLOSE {
            return Ok(Ok(event.arguments));
        }
        let mut arguments = In(&event.arguments);
        let said = (arguments.u16(), arguments.short());
        self.wire.put(&Out::method((20, 41)).frame(channel));
        self.call(channel, Out::method((20, 10)).short(""), (20, 11))?;
        Ok(Err(said))
    }

    /// The next event that is not a reply.
    pub fn next(&mut self) -> Step<Option<Event>> {
        let event = match self.stash.pop_front() {
            Some(event) => Some(event),
            None => self.read()?,
        };
        match event {
            Some(event) if event.method == CHANNEL_CLOSE => {
                let mut arguments = In(&event.arguments);
                wrong(format!("channel closed: {} {}", arguments.u16(), arguments.short()))
            }
            other => Ok(other),
        }
    }

    fn read(&mut self) -> Step<Option<Event>> {
        loop {
            let Some((kind, channel, payload)) = self.frame()? else { return Ok(None) };
            if let Some(event) = self.assemble(kind, channel, payload)? {
                if event.method == CONNECTION_CLOSE {
                    let mut arguments = In(&event.arguments);
                    return wrong(format!(
                        "connection closed: {} {}",
                        arguments.u16(),
                        arguments.short()
                    ));
                }
                return Ok(Some(event));
            }
        }
    }

    fn frame(&mut self) -> Step<Option<(u8, u16, Vec<u8>)>> {
        let size =
            |bytes: &[u8]| u32::from_be_bytes([bytes[3], bytes[4], bytes[5], bytes[6]]) as usize;
        let whole = |bytes: &[u8]| bytes.len() >= 7 && bytes.len() >= size(bytes) + 8;
        if !whole(self.wire.buffered()) {
            self.wire.pump()?;
        }
        if !whole(self.wire.buffered()) {
            return Ok(None);
        }
        let bytes = self.wire.take(size(self.wire.buffered()) + 8);
        if bytes.last() != Some(&FRAME_END) {
            return wrong("a frame without its end");
        }
        Ok(Some((
            bytes[0],
            u16::from_be_bytes([bytes[1], bytes[2]]),
            bytes[7..bytes.len() - 1].to_vec(),
        )))
    }

    fn assemble(&mut self, kind: u8, channel: u16, payload: Vec<u8>) -> Step<Option<Event>> {
        match kind {
            METHOD => {
                let mut all = In(&payload);
                let method = (all.u16(), all.u16());
                let arguments = all.0.to_vec();
                let event =
                    Event { channel, method, arguments, header: Vec::new(), body: Vec::new() };
                if !matches!(method, DELIVER | GET_OK | RETURN) {
                    return Ok(Some(event));
                }
                self.partial.insert(channel, Partial { event, size: None });
            }
            HEADER | BODY => {
                let Some(mut partial) = self.partial.remove(&channel) else {
                    return wrong("content without a method");
                };
                match kind {
                    HEADER => {
                        partial.size =
                            Some(In(payload.get(4..).unwrap_or_default()).u64() as usize);
                        partial.event.header = payload;
                    }
                    _ => partial.event.body.extend(payload),
                }
                if partial.size == Some(partial.event.body.len()) {
                    return Ok(Some(partial.event));
                }
                self.partial.insert(channel, partial);
            }
            _ => {}
        }
        Ok(None)
    }

    pub fn declare(&mut self, queue: &str, bits: u8, arguments: &[(&str, Field)]) -> Step<()> {
        let out = Out::method((50, 10)).u16(0).short(queue).u8(bits).table(arguments);
        self.call(1, out, (50, 11)).map(drop)
    }

    /// Number of ready messages in the queue; none if it does not exist.
    pub fn ready(&mut self, queue: &str) -> Step<Option<u32>> {
        let out = Out::method((50, 10)).u16(0).short(queue).u8(1).table(&[]);
        match self.ask(1, out, (50, 11))? {
            Ok(reply) => {
                let mut reply = In(&reply);
                reply.short();
                Ok(Some(reply.u32()))
            }
            Err((404, _)) => Ok(None),
            Err((code, text)) => wrong(format!("queue {queue}: {code} {text}")),
        }
    }

    pub fn delete(&mut self, queue: &str) -> Step<()> {
        self.call(1, Out::method((50, 40)).u16(0).short(queue).u8(0), (50, 41)).map(drop)
    }

    pub fn exchange(&mut self, name: &str, kind: &str) -> Step<()> {
        let out = Out::method((40, 10)).u16(0).short(name).short(kind).u8(2).table(&[]);
        self.call(1, out, (40, 11)).map(drop)
    }

    pub fn bind(&mut self, queue: &str, exchange: &str, key: &str) -> Step<()> {
        let out = Out::method((50, 20)).u16(0).short(queue).short(exchange).short(key).u8(0);
        self.call(1, out.table(&[]), (50, 21)).map(drop)
    }

    pub fn confirm_select(&mut self, channel: u16) -> Step<()> {
        self.call(channel, Out::method((85, 10)).u8(0), (85, 11)).map(drop)
    }

    /// 0 = without a limit.
    pub fn prefetch(&mut self, channel: u16, count: u16) -> Step<()> {
        self.call(channel, Out::method((60, 10)).u32(0).u16(count).u8(0), (60, 11)).map(drop)
    }

    /// The consumer's tag is the queue's name.
    pub fn consume(&mut self, channel: u16, queue: &str) -> Step<()> {
        let out = Out::method((60, 20)).u16(0).short(queue).short(queue).u8(0).table(&[]);
        self.call(channel, out, (60, 21)).map(drop)
    }

    /// Gets all ready messages, in order, without acknowledging them.
    pub fn get_all(&mut self, channel: u16, queue: &str) -> Step<Vec<Delivery>> {
        let mut all = Vec::new();
        loop {
            for _ in 0..GETS {
                self.wire.put(&Out::method((60, 70)).u16(0).short(queue).u8(0).frame(channel));
            }
            let before = all.len();
            for _ in 0..GETS {
                let event = self.got(channel)?;
                let mut arguments = In(&event.arguments);
                match event.method {
                    GET_EMPTY => {}
                    GET_OK => {
                        let (tag, redelivered) = (arguments.u64(), arguments.u8() == 1);
                        all.push(Delivery {
                            tag,
                            redelivered,
                            queue: queue.to_owned(),
                            header: event.header,
                            body: event.body,
                        });
                    }
                    _ => {
                        return wrong(format!(
                            "basic.get of {queue}: {} {}",
                            arguments.u16(),
                            arguments.short()
                        ));
                    }
                }
            }
            if all.len() - before < GETS {
                return Ok(all);
            }
        }
    }

    /// The reply to one basic.get.
    fn got(&mut self, channel: u16) -> Step<Event> {
        let mut aside = VecDeque::new();
        let found = wait("reply to basic.get", || {
            while let Some(event) = self.read()? {
                match event.method {
                    GET_OK | GET_EMPTY | CHANNEL_CLOSE if event.channel == channel => {
                        return Ok(Some(event));
                    }
                    _ => aside.push_back(event),
                }
            }
            Ok(None)
        });
        self.stash.append(&mut aside);
        found
    }

    pub fn ack(&mut self, channel: u16, tag: u64, multiple: bool) {
        self.wire.put(&Out::method(ACK).u64(tag).u8(multiple.into()).frame(channel));
    }

    /// Returns a message to its place in the queue.
    pub fn requeue(&mut self, channel: u16, tag: u64) {
        self.wire.put(&Out::method(NACK).u64(tag).u8(2).frame(channel));
    }

    /// Publishes a persistent message; a `mandatory` one is returned if no queue gets it.
    pub fn publish(&mut self, channel: u16, address: &Address<'_>, body: &[u8]) {
        self.publish_with(channel, address, &[], body);
    }

    pub fn publish_with(
        &mut self,
        channel: u16,
        address: &Address<'_>,
        headers: &[(&str, Field)],
        body: &[u8],
    ) {
        let method = Out::method((60, 40)).u16(0).short(address.exchange).short(address.key);
        self.wire.put(&method.u8(address.mandatory.into()).frame(channel));
        let (mut flags, priority) = match address.priority {
            Some(priority) => (0x1800, vec![priority]),
            None => (0x1000, Vec::new()),
        };
        if !headers.is_empty() {
            flags |= 0x2000;
        }
        let mut header = Out(Vec::new()).u16(60).u16(0).u64(body.len() as u64).u16(flags);
        if !headers.is_empty() {
            header = header.table(headers);
        }
        header = header.u8(2);
        header.0.extend(priority);
        self.wire.put(&frame(HEADER, channel, &header.0));
        for chunk in body.chunks(FRAME_MAX) {
            self.wire.put(&frame(BODY, channel, chunk));
        }
    }
}

/// The address and flags of a publish.
#[derive(Debug, Clone, Copy, Default)]
pub struct Address<'a> {
    pub exchange: &'a str,
    pub key: &'a str,
    pub priority: Option<u8>,
    pub mandatory: bool,
}

/// The confirms of one channel: maps tags to messages.
#[derive(Debug)]
pub struct Confirms<T> {
    next: u64,
    open: BTreeMap<u64, T>,
}

impl<T> Confirms<T> {
    pub fn new() -> Self {
        Self::after(0)
    }

    /// For a channel on which this many messages were published and confirmed before.
    pub fn after(published: u64) -> Self {
        Self { next: published + 1, open: BTreeMap::new() }
    }

    pub fn published(&mut self, what: T) {
        self.open.insert(self.next, what);
        self.next += 1;
    }

    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The messages that an answer confirms.
    pub fn answered(&mut self, (tag, multiple): (u64, bool)) -> Step<Vec<T>> {
        if !multiple {
            let one = self.open.remove(&tag).map(|what| vec![what]);
            return one.ok_or_else(|| {
                Stop::Wrong(format!("answer to publish {tag}, which has one or was not sent"))
            });
        }
        let later = self.open.split_off(&(tag + 1));
        Ok(std::mem::replace(&mut self.open, later).into_values().collect())
    }
}

/// A value in a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    Text(String),
    Number(i64),
    Flag(bool),
    Table(Vec<(&'static str, Field)>),
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(channel.to_be_bytes());
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes.push(FRAME_END);
    bytes
}

/// A method to be sent.
pub struct Out(Vec<u8>);

impl Out {
    pub fn method((class, id): (u16, u16)) -> Self {
        Self(Vec::new()).u16(class).u16(id)
    }

    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn short(mut self, text: &str) -> Self {
        self.0.push(text.len() as u8);
        self.0.extend(text.bytes());
        self
    }

    pub fn long(self, bytes: &[u8]) -> Self {
        let mut out = self.u32(bytes.len() as u32);
        out.0.extend_from_slice(bytes);
        out
    }

    pub fn table(self, fields: &[(&str, Field)]) -> Self {
        let mut inner = Out(Vec::new());
        for (name, field) in fields {
            inner = inner.short(name);
            inner = match field {
                Field::Text(text) => inner.u8(b'S').long(text.as_bytes()),
                Field::Number(number) => inner.u8(b'l').u64(*number as u64),
                Field::Flag(flag) => inner.u8(b't').u8((*flag).into()),
                Field::Table(fields) => inner.u8(b'F').table(fields),
            };
        }
        self.long(&inner.0)
    }

    pub fn frame(&self, channel: u16) -> Vec<u8> {
        frame(METHOD, channel, &self.0)
    }
}

/// Received arguments. Missing bytes read as 0.
pub struct In<'a>(pub &'a [u8]);

impl In<'_> {
    fn number(&mut self, count: usize) -> u64 {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }

    pub fn u8(&mut self) -> u8 {
        self.number(1) as u8
    }

    pub fn u16(&mut self) -> u16 {
        self.number(2) as u16
    }

    pub fn u32(&mut self) -> u32 {
        self.number(4) as u32
    }

    pub fn u64(&mut self) -> u64 {
        self.number(8)
    }

    pub fn short(&mut self) -> String {
        let count = usize::from(self.u8()).min(self.0.len());
        let (text, rest) = self.0.split_at(count);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }
}
