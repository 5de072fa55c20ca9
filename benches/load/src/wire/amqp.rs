//! The part of AMQP 0-9-1 that the scenarios need, on channel 1. A publish is built once, its three frames together;
//! only stamps change.

use super::{Body, Client, Consume, Link, Produce, Sink, Template};
use crate::stamp::Stamp;
use anyhow::{Result, bail};
use std::collections::VecDeque;
use std::net::SocketAddr;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const FRAME_END: u8 = 0xCE;
const FRAME_BYTES_MAX: u32 = 131_072;

/// Class and method ids, as on the wire.
type Method = (u16, u16);
const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const TUNE: Method = (10, 30);
const TUNE_OK: Method = (10, 31);
const OPEN: Method = (10, 40);
const OPEN_OK: Method = (10, 41);
const CLOSE: Method = (10, 50);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const CHANNEL_CLOSE: Method = (20, 40);
const EXCHANGE_DECLARE: Method = (40, 10);
const EXCHANGE_DECLARE_OK: Method = (40, 11);
const EXCHANGE_DELETE: Method = (40, 20);
const EXCHANGE_DELETE_OK: Method = (40, 21);
const QUEUE_DECLARE: Method = (50, 10);
const QUEUE_DECLARE_OK: Method = (50, 11);
const QUEUE_BIND: Method = (50, 20);
const QUEUE_BIND_OK: Method = (50, 21);
const QUEUE_DELETE: Method = (50, 40);
const QUEUE_DELETE_OK: Method = (50, 41);
const QOS: Method = (60, 10);
const QOS_OK: Method = (60, 11);
const CONSUME: Method = (60, 20);
const CONSUME_OK: Method = (60, 21);
const PUBLISH: Method = (60, 40);
const DELIVER: Method = (60, 60);
const ACK: Method = (60, 80);
const NACK: Method = (60, 120);
const CONFIRM_SELECT: Method = (85, 10);
const CONFIRM_SELECT_OK: Method = (85, 11);

/// The durable bit of queue.declare and exchange.declare.
const DURABLE: u8 = 2;
/// The exclusive bit of queue.declare.
const EXCLUSIVE: u8 = 4;
/// The no-ack bit of basic.consume.
const NO_ACK: u8 = 2;

/// The queue that a consumer reads from, and its declarations.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub queue: String,
    /// Whether the queue exists already.
    pub exists: bool,
    pub durable: bool,
    /// Whether it is removed with its consumer.
    pub exclusive: bool,
    /// Name and type of an exchange to declare; `amq.*` exchanges exist already.
    pub exchange: Option<(String, &'static str)>,
    /// Binding keys.
    pub bindings: Vec<String>,
    pub prefetch: u16,
    /// Deliveries acknowledged with one basic.ack; 0: none are, the broker settles what it has sent.
    pub ack_every: u16,
}

/// The address of a publisher's messages.
#[derive(Clone, Debug, Default)]
pub struct Target {
    pub exchange: String,
    /// Routing keys, used in turn.
    pub keys: Vec<String>,
    pub durable: bool,
    pub confirm: bool,
}

struct Publisher {
    templates: Vec<Template>,
    next: usize,
    outstanding: Outstanding,
    confirm: bool,
}

/// Publishes without a confirm.
#[derive(Debug, Default)]
struct Outstanding {
    /// Delivery tag of the first of `open`.
    first: u64,
    /// Whether each is still unconfirmed.
    open: VecDeque<bool>,
    confirmed: u64,
    refused: u64,
}

#[derive(Debug, Default)]
struct Consumer {
    ack_every: u16,
    unacknowledged: u16,
    tag: u64,
    /// Missing bytes of the body.
    missing: usize,
    /// The body so far, if it comes in several frames.
    pieces: Vec<u8>,
}

/// Connects and is ready to publish.
pub fn publisher(at: SocketAddr, target: &Target, body: &Body) -> Result<Client<dyn Produce>> {
    let mut link = connect(at)?;
    if target.confirm {
        call(&mut link, CONFIRM_SELECT, &[0], CONFIRM_SELECT_OK)?;
    }
    let templates = target.keys.iter().map(|key| publish(target, key, body)).collect();
    let outstanding = Outstanding { first: 1, ..Outstanding::default() };
    let publisher = Publisher { templates, next: 0, outstanding, confirm: target.confirm };
    Ok(Client { link, client: Box::new(publisher) })
}

/// Connects and declares.
pub fn make(at: SocketAddr, sources: &[Source]) -> Result<()> {
    let mut link = connect(at)?;
    sources.iter().try_for_each(|source| declare(&mut link, source))
}

/// Connects, declares and consumes.
pub fn consumer(at: SocketAddr, source: &Source) -> Result<Client<dyn Consume>> {
    let mut link = connect(at)?;
    declare(&mut link, source)?;
    let mut qos = vec![0, 0, 0, 0];
    qos.extend_from_slice(&source.prefetch.to_be_bytes());
    qos.push(0);
    call(&mut link, QOS, &qos, QOS_OK)?;
    let mut consume = vec![0, 0];
    short(&source.queue, &mut consume);
    short("c", &mut consume);
    consume.push(if source.ack_every == 0 { NO_ACK } else { 0 });
    consume.extend_from_slice(&[0; 4]);
    call(&mut link, CONSUME, &consume, CONSUME_OK)?;
    let consumer = Consumer { ack_every: source.ack_every, ..Consumer::default() };
    Ok(Client { link, client: Box::new(consumer) })
}

/// Deletes queues and exchanges, also if they are not empty or do not exist.
pub fn delete(at: SocketAddr, queues: &[String], exchanges: &[String]) -> Result<()> {
    let mut link = connect(at)?;
    for queue in queues {
        let mut arguments = vec![0, 0];
        short(queue, &mut arguments);
        arguments.push(0);
        call(&mut link, QUEUE_DELETE, &arguments, QUEUE_DELETE_OK)?;
    }
    for exchange in exchanges {
        let mut arguments = vec![0, 0];
        short(exchange, &mut arguments);
        arguments.push(0);
        call(&mut link, EXCHANGE_DELETE, &arguments, EXCHANGE_DELETE_OK)?;
    }
    Ok(())
}

fn connect(address: SocketAddr) -> Result<Link> {
    let mut link = Link::connect(address)?;
    link.send(b"AMQP\0\0\x09\x01")?;
    expect(&mut link, START)?;
    let mut start = vec![0; 4];
    short("PLAIN", &mut start);
    long(b"\0guest\0guest", &mut start);
    short("en_US", &mut start);
    link.send(&method(0, START_OK, &start))?;
    let tune = expect(&mut link, TUNE)?;
    // The channels that the broker offers, frames of our size, no heartbeats.
    let mut tuned = tune.get(..2).unwrap_or(&[0, 1]).to_vec();
    tuned.extend_from_slice(&FRAME_BYTES_MAX.to_be_bytes());
    tuned.extend_from_slice(&[0, 0]);
    link.send(&method(0, TUNE_OK, &tuned))?;
    link.send(&method(0, OPEN, b"\x01/\0\0"))?;
    expect(&mut link, OPEN_OK)?;
    call(&mut link, CHANNEL_OPEN, &[0], CHANNEL_OPEN_OK)?;
    Ok(link)
}

fn declare(link: &mut Link, source: &Source) -> Result<()> {
    if !source.exists {
        let mut arguments = vec![0, 0];
        short(&source.queue, &mut arguments);
        let durable = if source.durable { DURABLE } else { 0 };
        let exclusive = if source.exclusive { EXCLUSIVE } else { 0 };
        arguments.push(durable | exclusive);
        arguments.extend_from_slice(&[0; 4]);
        call(link, QUEUE_DECLARE, &arguments, QUEUE_DECLARE_OK)?;
    }
    let Some((exchange, kind)) = &source.exchange else { return Ok(()) };
    if !exchange.starts_with("amq.") {
        let mut arguments = vec![0, 0];
        short(exchange, &mut arguments);
        short(kind, &mut arguments);
        arguments.extend_from_slice(&[0; 5]);
        call(link, EXCHANGE_DECLARE, &arguments, EXCHANGE_DECLARE_OK)?;
    }
    for key in &source.bindings {
        let mut arguments = vec![0, 0];
        short(&source.queue, &mut arguments);
        short(exchange, &mut arguments);
        short(key, &mut arguments);
        arguments.extend_from_slice(&[0; 5]);
        call(link, QUEUE_BIND, &arguments, QUEUE_BIND_OK)?;
    }
    Ok(())
}

impl Produce for Publisher {
    fn put(&mut self, stamp: Stamp, out: &mut Vec<u8>) {
        self.templates[self.next].put(stamp, out);
        self.next = (self.next + 1) % self.templates.len();
        if self.confirm {
            self.outstanding.open.push_back(true);
        }
    }

    fn take(&mut self, input: &[u8], _: &mut Vec<u8>) -> Result<usize> {
        let mut rest = input;
        while let Some((kind, payload, length)) = split(rest)? {
            if kind != HEARTBEAT {
                let (called, arguments) = method_of(kind, payload)?;
                match (called, arguments) {
                    (ACK | NACK, [tag @ .., bits]) if tag.len() == 8 => {
                        let tag = tag.iter().fold(0, |tag, byte| (tag << 8) | u64::from(*byte));
                        self.outstanding.answer(tag, bits & 1 != 0, called == NACK);
                    }
                    _ => bail!("{}", unexpected(called, arguments)),
                }
            }
            rest = &rest[length..];
        }
        Ok(input.len() - rest.len())
    }

    fn confirmed(&self) -> u64 {
        self.outstanding.confirmed
    }

    fn refused(&self) -> u64 {
        self.outstanding.refused
    }
}

impl Outstanding {
    fn answer(&mut self, tag: u64, multiple: bool, refused: bool) {
        let Some(last) = tag.checked_sub(self.first).map(|at| at as usize) else { return };
        let from = if multiple { 0 } else { last };
        let mut settled = 0;
        for open in self.open.iter_mut().take(last + 1).skip(from) {
            settled += u64::from(std::mem::take(open));
        }
        self.confirmed += settled;
        self.refused += if refused { settled } else { 0 };
        while self.open.front() == Some(&false) {
            self.open.pop_front();
            self.first += 1;
        }
    }
}

impl Consume for Consumer {
    fn take(&mut self, input: &[u8], sink: &mut Sink, out: &mut Vec<u8>) -> Result<usize> {
        let mut rest = input;
        while let Some((kind, payload, length)) = split(rest)? {
            match kind {
                BODY => self.body(payload, sink, out),
                HEADER => {
                    let Some(size) = payload.get(4..12) else { bail!("a short content header") };
                    self.missing = size.iter().fold(0, |size, byte| (size << 8) | *byte as usize);
                    if self.missing == 0 {
                        self.body(&[], sink, out);
                    }
                }
                HEARTBEAT => {}
                _ => {
                    let (called, arguments) = method_of(kind, payload)?;
                    if called != DELIVER {
                        bail!("{}", unexpected(called, arguments));
                    }
                    let tag_at = 1 + usize::from(arguments.first().copied().unwrap_or_default());
                    let Some(tag) = arguments.get(tag_at..tag_at + 8) else {
                        bail!("a short basic.deliver");
                    };
                    self.tag = tag.iter().fold(0, |tag, byte| (tag << 8) | u64::from(*byte));
                }
            }
            rest = &rest[length..];
        }
        Ok(input.len() - rest.len())
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.unacknowledged > 0 {
            self.acknowledge(out);
        }
    }
}

impl Consumer {
    fn body(&mut self, payload: &[u8], sink: &mut Sink, out: &mut Vec<u8>) {
        self.missing = self.missing.saturating_sub(payload.len());
        match (self.missing, self.pieces.is_empty()) {
            (0, true) => sink.body(payload, payload.len()),
            (0, false) => {
                self.pieces.extend_from_slice(payload);
                sink.body(&self.pieces, self.pieces.len());
                self.pieces.clear();
            }
            _ => return self.pieces.extend_from_slice(payload),
        }
        if self.ack_every == 0 {
            return;
        }
        self.unacknowledged += 1;
        if self.unacknowledged >= self.ack_every {
            self.acknowledge(out);
        }
    }

    /// One basic.ack for everything so far.
    fn acknowledge(&mut self, out: &mut Vec<u8>) {
        self.unacknowledged = 0;
        let mut arguments = [1; 9];
        arguments[..8].copy_from_slice(&self.tag.to_be_bytes());
        out.extend_from_slice(&method(1, ACK, &arguments));
    }
}

/// basic.publish, its content header and its body.
fn publish(target: &Target, key: &str, body: &Body) -> Template {
    let mut arguments = vec![0, 0];
    short(&target.exchange, &mut arguments);
    short(key, &mut arguments);
    arguments.push(0);
    let mut head = method(1, PUBLISH, &arguments);
    let mut header = vec![0, 60, 0, 0];
    header.extend_from_slice(&(body.bytes.len() as u64).to_be_bytes());
    // One property: delivery-mode.
    header.extend_from_slice(&[0x10, 0, if target.durable { 2 } else { 1 }]);
    frame(HEADER, 1, &header, &mut head);
    head.extend_from_slice(&[BODY, 0, 1]);
    head.extend_from_slice(&(body.bytes.len() as u32).to_be_bytes());
    body.framed(&head, &[FRAME_END])
}

fn method(channel: u16, (class, method): Method, arguments: &[u8]) -> Vec<u8> {
    let mut payload = class.to_be_bytes().to_vec();
    payload.extend_from_slice(&method.to_be_bytes());
    payload.extend_from_slice(arguments);
    let mut out = Vec::with_capacity(payload.len() + 8);
    frame(METHOD, channel, &payload, &mut out);
    out
}

fn frame(kind: u8, channel: u16, payload: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
    out.push(FRAME_END);
}

fn short(text: &str, out: &mut Vec<u8>) {
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn long(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The first frame: type, payload, and the length of the whole frame.
fn split(input: &[u8]) -> Result<Option<(u8, &[u8], usize)>> {
    let Some(&[kind, _, _, a, b, c, d]) = input.first_chunk() else { return Ok(None) };
    let bytes = u32::from_be_bytes([a, b, c, d]);
    if bytes > FRAME_BYTES_MAX {
        bail!("the broker sent a frame of {bytes} bytes");
    }
    let end = 7 + bytes as usize;
    match input.get(end) {
        None => Ok(None),
        Some(&FRAME_END) => Ok(Some((kind, &input[7..end], end + 1))),
        Some(_) => bail!("the broker sent a frame without a frame end"),
    }
}

fn method_of(kind: u8, payload: &[u8]) -> Result<(Method, &[u8])> {
    match payload {
        [a, b, c, d, arguments @ ..] if kind == METHOD => {
            Ok(((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])), arguments))
        }
        _ => bail!("the broker sent a frame of type {kind}"),
    }
}

/// Sends a method and waits for its answer, on channel 1.
fn call(link: &mut Link, called: Method, arguments: &[u8], answer: Method) -> Result<()> {
    link.send(&method(1, called, arguments))?;
    expect(link, answer)?;
    Ok(())
}

/// Waits for a method. Returns its arguments.
fn expect(link: &mut Link, wanted: Method) -> Result<Vec<u8>> {
    link.wait(&format!("method {wanted:?}"), |input| {
        let Some((kind, payload, length)) = split(input)? else { return Ok(None) };
        let (called, arguments) = method_of(kind, payload)?;
        if called != wanted {
            bail!("{}", unexpected(called, arguments));
        }
        Ok(Some((arguments.to_vec(), length)))
    })
}

fn unexpected(called: Method, arguments: &[u8]) -> String {
    match (called, arguments) {
        (CLOSE | CHANNEL_CLOSE, [high, low, length, text @ ..]) => {
            let text = &text[..usize::from(*length).min(text.len())];
            let code = u16::from_be_bytes([*high, *low]);
            format!("the broker closed the connection: {code} {}", String::from_utf8_lossy(text))
        }
        _ => format!("the broker sent method {called:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Form;
    use crate::tally::{Spread, account};

    fn deliver(tag: u64, body: &[&[u8]]) -> Vec<u8> {
        let mut arguments = b"\x01c".to_vec();
        arguments.extend_from_slice(&tag.to_be_bytes());
        arguments.extend_from_slice(b"\0\0\x01q");
        let mut out = method(1, DELIVER, &arguments);
        let bytes: usize = body.iter().map(|piece| piece.len()).sum();
        let mut header = vec![0, 60, 0, 0];
        header.extend_from_slice(&(bytes as u64).to_be_bytes());
        header.extend_from_slice(&[0, 0]);
        frame(HEADER, 1, &header, &mut out);
        body.iter().for_each(|piece| frame(BODY, 1, piece, &mut out));
        out
    }

    #[test]
    fn deliveries_are_counted_whole_or_in_pieces_and_acknowledged_together() {
        let mut body = [0; 64];
        let mut input = Vec::new();
        for sequence in 0..4 {
            Form::Binary.write(Stamp { producer: 0, sequence, time: 0 }, &mut body);
            let pieces: &[&[u8]] = &[&body[..10], &body[10..40], &body[40..]];
            let whole: &[&[u8]] = &[&body];
            input.extend(deliver(sequence + 1, if sequence == 2 { pieces } else { whole }));
        }
        let (mut sink, mut out) = (Sink::new(1, Form::Binary, 64), Vec::new());
        let mut consumer = Consumer { ack_every: 3, ..Consumer::default() };
        let mut taken = 0;
        for cut in 0..=input.len() {
            taken += consumer.take(&input[taken..cut], &mut sink, &mut out).unwrap();
        }
        assert_eq!(taken, input.len());
        let sums = account(&[sink.tally], &[4], Spread::Shared);
        assert_eq!((sums.received, sums.lost, sums.foreign, sums.disordered), (4, 0, 0, 0));
        assert_eq!(out, method(1, ACK, &[0, 0, 0, 0, 0, 0, 0, 3, 1]));
        out.clear();
        consumer.finish(&mut out);
        assert_eq!(out, method(1, ACK, &[0, 0, 0, 0, 0, 0, 0, 4, 1]), "the incomplete rest");
        out.clear();
        consumer.finish(&mut out);
        assert!(out.is_empty(), "once");
    }

    #[test]
    fn confirms_count_once_whatever_their_order() {
        let open = std::iter::repeat_n(true, 6).collect();
        let mut outstanding = Outstanding { first: 1, open, ..Outstanding::default() };
        let mut answer = |tag, multiple, refused, expected| {
            outstanding.answer(tag, multiple, refused);
            assert_eq!((outstanding.confirmed, outstanding.refused), expected, "{tag}");
        };
        answer(2, false, false, (1, 0));
        answer(3, true, false, (3, 0));
        answer(3, false, false, (3, 0));
        answer(5, false, true, (4, 1));
        answer(6, true, true, (6, 3));
        answer(9, true, false, (6, 3));
        assert_eq!((outstanding.first, outstanding.open.len()), (7, 0));
    }

    #[test]
    fn keys_are_taken_in_turn() {
        let keys = vec!["a".to_owned(), "b".to_owned()];
        let target = Target { exchange: "x".to_owned(), keys, durable: true, confirm: true };
        let body = Body::binary(24);
        let templates = target.keys.iter().map(|key| publish(&target, key, &body)).collect();
        let outstanding = Outstanding { first: 1, ..Outstanding::default() };
        let mut publisher = Publisher { templates, next: 0, outstanding, confirm: true };
        let mut out = Vec::new();
        (0..3).for_each(|_| publisher.put(Stamp { producer: 0, sequence: 0, time: 0 }, &mut out));
        let mut keys = Vec::new();
        let mut rest = out.as_slice();
        while let Some((kind, payload, length)) = split(rest).unwrap() {
            if kind == METHOD {
                // Class, method, ticket, exchange "x", then the key.
                keys.push(payload[9]);
            }
            rest = &rest[length..];
        }
        assert_eq!(keys, [b'a', b'b', b'a']);
        let acks = method(1, ACK, &[0, 0, 0, 0, 0, 0, 0, 3, 1]);
        assert_eq!(publisher.take(&acks, &mut out).unwrap(), acks.len());
        assert_eq!(publisher.confirmed(), 3);
    }

    #[test]
    fn a_close_ends_the_run_with_the_brokers_words() {
        let mut arguments = 404u16.to_be_bytes().to_vec();
        short("NOT_FOUND", &mut arguments);
        let close = method(1, CHANNEL_CLOSE, &arguments);
        let mut sink = Sink::new(1, Form::Binary, 0);
        let error = Consumer::default().take(&close, &mut sink, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "the broker closed the connection: 404 NOT_FOUND");
    }
}
