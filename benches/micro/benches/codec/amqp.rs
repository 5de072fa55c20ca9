//! AMQP 0-9-1: basic.publish with its content in, basic.deliver with its content out.

use crate::{BODIES, NOW, body, origin, reading, writing};
use bytes::{BufMut, Bytes, BytesMut};
use crossdock_amqp091::Amqp091;
use crossdock_amqp091::bench::{FORMAT, Reader, meta, properties, published, wire_key};
use crossdock_amqp091::codec::frame::{self, END};
use crossdock_amqp091::codec::table::put_pair;
use crossdock_amqp091::codec::wire::put_short;
use crossdock_amqp091::codec::{ContentHeader, FrameKind, Method, Properties, Reply, Sent, method};
use crossdock_core::message::aliases::Aliases;
use crossdock_core::message::carry::Carry;
use crossdock_core::{Address, Formats, Message, Native, Protocol, Value};
use divan::{Bencher, black_box};

const FRAME_MAX: usize = 128 << 10;
const CHANNEL: u16 = 1;
const EXCHANGE: &str = "amq.topic";
const ROUTING_KEY: &[u8] = b"plant.7.line.3.temperature";

/// A persistent message with a content type and one header.
fn encoded_properties() -> Bytes {
    let mut headers = BytesMut::new();
    put_pair(&mut headers, "tenant", &Value::text("north"));
    let properties = Properties {
        content_type: Some(b"application/json"),
        headers: Some(&headers),
        delivery_mode: Some(2),
        ..Properties::default()
    };
    properties.encode()
}

fn publish(body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    frame::put_method(&mut out, CHANNEL, |out| {
        // basic.publish: class 60, method 40, a reserved short, the names, no bits.
        out.put_slice(&[0, 60, 0, 40, 0, 0]);
        put_short(out, EXCHANGE.as_bytes());
        put_short(out, ROUTING_KEY);
        out.put_u8(0);
    });
    frame::put_content_header(&mut out, CHANNEL, body.len() as u64, &encoded_properties());
    frame::put_body_head(&mut out, CHANNEL, body.len());
    out.put_slice(body);
    out.put_u8(END);
    out
}

fn address() -> Address {
    published(EXCHANGE.into(), ROUTING_KEY, (&EXCHANGE.into(), &Aliases::default()))
}

/// A payload of that kind; none at the buffer's end.
fn payload(input: &mut BytesMut, kind: FrameKind) -> Option<Bytes> {
    let frame = frame::decode(input, FRAME_MAX).expect("a frame")?;
    assert_eq!(frame.kind, kind);
    Some(frame.payload)
}

/// The three frames of each publish.
fn read(
    input: &mut BytesMut,
    mut take: impl FnMut(method::Publish, ContentHeader, Bytes),
) -> usize {
    let mut count = 0;
    while let Some(arguments) = payload(input, FrameKind::Method) {
        let Method::BasicPublish(publish) = method::decode(&arguments).expect("a method") else {
            panic!("basic.publish");
        };
        let header = payload(input, FrameKind::Header).expect("a content header");
        let header = ContentHeader::decode(&header).expect("of class basic");
        take(publish, header, payload(input, FrameKind::Body).expect("a body"));
        count += 1;
    }
    count
}

#[divan::bench(args = BODIES)]
fn decode(bencher: Bencher, bytes: usize) {
    reading(bencher, &publish(&body(bytes)), |input| {
        read(input, |publish, header, body| {
            black_box((publish, header, body));
        })
    });
}

#[divan::bench(args = BODIES)]
fn receive(bencher: Bencher, bytes: usize) {
    let (origin, address) = (origin(), address());
    reading(bencher, &publish(&body(bytes)), |input| {
        read(input, |_, header, body| {
            let (meta, _) = meta(&header.properties, &origin, NOW).expect("what a client may send");
            let native = Native { format: FORMAT, bytes: header.properties };
            // A publish like the one before takes the address that was made for that one.
            black_box(Message::new(address.clone(), meta, native, body));
        })
    });
}

#[divan::bench(args = BODIES)]
fn deliver(bencher: Bencher, bytes: usize) {
    let encoded = encoded_properties();
    let (meta, _) = meta(&encoded, &origin(), NOW).expect("what a client may send");
    let native = Native { format: FORMAT, bytes: encoded };
    let message = Message::new(address(), meta, native, body(bytes).into());
    let formats = Formats::new(Amqp091::default().formats());
    let reader = Reader { formats: &formats, carry: Carry::Full, frame_max: FRAME_MAX, now: NOW };
    writing(bencher, message, |delivery, out| {
        let (message, consumer_tag) = (&delivery.message, &b"ctag-1"[..]);
        let key = wire_key(message.address());
        let sent = Sent {
            delivery_tag: delivery.offset.0,
            redelivered: delivery.redelivered,
            exchange: message.address().exchange.as_bytes(),
            routing_key: &key.routing_key,
        };
        Reply::BasicDeliver { consumer_tag, sent }.put(out, CHANNEL);
        let properties = properties(delivery, &reader);
        let body = message.body();
        frame::put_content_header(out, CHANNEL, body.len() as u64, &properties);
        frame::put_body_head(out, CHANNEL, body.len());
        out.put_slice(body);
        out.put_u8(END);
    });
}
