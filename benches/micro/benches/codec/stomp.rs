//! STOMP 1.2: SEND in, MESSAGE out.

use crate::{BODIES, NOW, body, origin, reading, topic, writing};
use bytes::{BufMut, BytesMut};
use crossdock_core::{Formats, Message, Protocol};
use crossdock_stomp::bench::{Sender, message, tail};
use crossdock_stomp::codec::{Command, Decoder, Frame, Limits, Version, Writer, decimal};
use crossdock_stomp::{Door, Stomp};
use divan::{Bencher, black_box};

const VERSION: Version = Version::V12;

fn send(body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    let mut writer = Writer::begin(&mut out, Command::Send, VERSION.rules());
    for (name, value) in [
        ("destination", "/topic/plant.7.line.3.temperature"),
        ("content-type", "application/json"),
        ("persistent", "true"),
        ("tenant", "north"),
    ] {
        assert!(writer.header(name, value));
    }
    writer.body(body);
    out
}

fn read(input: &mut BytesMut, mut take: impl FnMut(Frame)) -> usize {
    let mut decoder = Decoder::new(Limits::BEFORE_LOGIN);
    decoder.settle(VERSION, Limits::AFTER_LOGIN);
    let mut count = 0;
    // The line end behind the last frame goes with the question for the next one.
    while let Some(frame) = decoder.decode(input).expect("a frame") {
        take(frame);
        count += 1;
    }
    count
}

fn sender() -> Sender {
    Sender { version: VERSION, origin: origin(), address: topic() }
}

#[divan::bench(args = BODIES)]
fn decode(bencher: Bencher, bytes: usize) {
    reading(bencher, &send(&body(bytes)), |input| {
        read(input, |frame| {
            black_box(frame);
        })
    });
}

#[divan::bench(args = BODIES)]
fn receive(bencher: Bencher, bytes: usize) {
    let sender = sender();
    reading(bencher, &send(&body(bytes)), |input| {
        read(input, |frame| {
            black_box(message(&frame, &sender, NOW).expect("what a client may send"));
        })
    });
}

#[divan::bench(args = BODIES)]
fn deliver(bencher: Bencher, bytes: usize) {
    let (door, sender) = (Door::default(), sender());
    let formats = Formats::new(Stomp::default().formats());
    let mut made: Option<Message> = None;
    read(&mut send(&body(bytes)), |frame| made = message(&frame, &sender, NOW).ok());
    writing(bencher, made.expect("one message"), |delivery, out| {
        out.put_slice(b"MESSAGE\nsubscription:0\nmessage-id:T_0@@session@@");
        decimal(out, delivery.offset.0);
        out.put_slice(b"\nack:0@@");
        decimal(out, delivery.offset.0);
        out.put_slice(b"\n");
        // Bodies of these sizes stand in the tail.
        out.put_slice(&tail(&delivery.message, VERSION, &formats, &door));
    });
}
