//! AMQP 0-9-1 for the flows: one connection, several channels; only calls that wait for a reply block.

mod bytes;

pub use bytes::{Field, In, Out};

use super::wire::{Step, Stop, Wire, wait, wrong};
use bytes::{FRAME_END, frame};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
/// Flags of properties: which of them are in a content header.
const HEADERS: u16 = 0x2000;
const REPLY_TO: u16 = 0x0200;
const EXPIRATION: u16 = 0x0100;
/// The queue that stands for a channel's own answers.
pub const REPLIES: &str = "amq.rabbitmq.reply-to";
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

impl Delivery {
    /// The property reply-to, as the reader sees it.
    pub fn reply_to(&self) -> Option<String> {
        let mut header = In(self.header.get(12..)?);
        let flags = header.u16();
        if flags & HEADERS != 0 {
            let size = header.u32() as usize;
            header = In(header.0.get(size..)?);
        }
        // Delivery mode and priority have one byte each; the links of the flows send no correlation.
        let bytes = usize::from(flags & 0x1000 != 0) + usize::from(flags & 0x0800 != 0);
        header = In(header.0.get(bytes..)?);
        (flags & REPLY_TO != 0).then(|| header.short())
    }

    /// A header that is a text.
    pub fn text(&self, name: &str) -> Option<String> {
        let named = [&[name.len() as u8], name.as_bytes(), b"S"].concat();
        let at = self.header.windows(named.len()).position(|part| part == named)?;
        let mut value = In(self.header.get(at + named.len()..)?);
        let size = value.u32() as usize;
        value.0.get(..size).map(|text| String::from_utf8_lossy(text).into_owned())
    }
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
        (1..=channels).try_for_each(|channel| link.open_channel(channel))?;
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
        self.open_channel(channel)?;
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
        self.exchange_with(name, kind, &[])
    }

    pub fn exchange_with(
        &mut self,
        name: &str,
        kind: &str,
        arguments: &[(&str, Field)],
    ) -> Step<()> {
        let out = Out::method((40, 10)).u16(0).short(name).short(kind).u8(2).table(arguments);
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

    /// Answers to requests of this channel come to it from now on.
    pub fn consume_replies(&mut self, channel: u16) -> Step<()> {
        let out = Out::method((60, 20)).u16(0).short(REPLIES).short("").u8(2).table(&[]);
        self.call(channel, out, (60, 21)).map(drop)
    }

    /// Closes a channel; [`Link::open_channel`] opens it again.
    pub fn close_channel(&mut self, channel: u16) -> Step<()> {
        let out = Out::method(CHANNEL_CLOSE).u16(200).short("").u32(0);
        self.call(channel, out, (20, 41)).map(drop)
    }

    pub fn open_channel(&mut self, channel: u16) -> Step<()> {
        self.call(channel, Out::method((20, 10)).short(""), (20, 11)).map(drop)
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

    /// A message is to become a dead letter, and all that were delivered before it if `multiple`.
    pub fn reject(&mut self, channel: u16, tag: u64, multiple: bool) {
        self.wire.put(&Out::method(NACK).u64(tag).u8(multiple.into()).frame(channel));
    }

    /// Publishes a persistent message; a `mandatory` one is returned if no queue gets it.
    pub fn publish(&mut self, channel: u16, address: &Address<'_>, body: &[u8]) {
        self.publish_with(channel, address, &Properties::default(), body);
    }

    pub fn publish_with(
        &mut self,
        channel: u16,
        address: &Address<'_>,
        properties: &Properties<'_>,
        body: &[u8],
    ) {
        let method = Out::method((60, 40)).u16(0).short(address.exchange).short(address.key);
        self.wire.put(&method.u8(address.mandatory.into()).frame(channel));
        let Properties { headers, reply_to, expiration } = properties;
        let flag = |is_there: bool, flag: u16| if is_there { flag } else { 0 };
        let flags = flag(!headers.is_empty(), HEADERS)
            | flag(address.priority.is_some(), 0x0800)
            | flag(reply_to.is_some(), REPLY_TO)
            | flag(expiration.is_some(), EXPIRATION);
        let mut header = Out(Vec::new()).u16(60).u16(0).u64(body.len() as u64).u16(flags | 0x1000);
        if !headers.is_empty() {
            header = header.table(headers);
        }
        header = header.u8(2);
        header.0.extend(address.priority);
        if let Some(reply_to) = reply_to {
            header = header.short(reply_to);
        }
        if let Some(milliseconds) = expiration {
            header = header.short(&milliseconds.to_string());
        }
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

/// Properties of a publish beside its delivery mode and priority.
#[derive(Debug, Clone, Copy, Default)]
pub struct Properties<'a> {
    pub headers: &'a [(&'a str, Field)],
    pub reply_to: Option<&'a str>,
    /// In milliseconds.
    pub expiration: Option<u64>,
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
