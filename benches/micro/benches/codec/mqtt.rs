//! MQTT 3.1.1 and 5: PUBLISH at QoS 1, in and out; in 5 with a content type and a user property.

use crate::{BODIES, NOW, body, origin, reading, topic, writing};
use bytes::{BufMut, BytesMut};
use crossdock_core::message::carry::Carry;
use crossdock_core::{Formats, Message, Name, Protocol};
use crossdock_mqtt::Mqtt;
use crossdock_mqtt::bench::{
    Block, Incoming, Packet, Publish, PublishHead, Rendered, Renderer, Version, cut, id, message,
    publish_head, target,
};
use divan::{Bencher, black_box};

const PACKET_MAX: usize = 1 << 20;
const BOTH: [(Version, usize); 4] = [
    (Version::V311, BODIES[0]),
    (Version::V311, BODIES[1]),
    (Version::V5, BODIES[0]),
    (Version::V5, BODIES[1]),
];

/// A client's PUBLISH is written as ours.
fn publish(version: Version, payload: &[u8]) -> BytesMut {
    let mut properties = BytesMut::new();
    if version.is_5() {
        let mut block = Block::new();
        assert!(block.bytes(id::CONTENT_TYPE, b"application/json"));
        assert!(block.user("tenant", "north"));
        properties = block.into_bytes();
    }
    let topic = topic();
    let head = head(version, topic.key.bytes(), (properties.len(), payload.len()));
    let mut out = BytesMut::new();
    publish_head(&mut out, &head);
    out.put_slice(&properties);
    out.put_slice(payload);
    out
}

fn head(version: Version, topic: &[u8], (properties, payload): (usize, usize)) -> PublishHead<'_> {
    PublishHead {
        version,
        dup: false,
        qos: 1,
        retain: false,
        topic,
        packet_id: 7,
        expiry: None,
        subscription_ids: &[],
        properties,
        payload,
    }
}

fn read(input: &mut BytesMut, version: Version, mut take: impl FnMut(Publish)) -> usize {
    let mut count = 0;
    while let Some(frame) = cut(input, PACKET_MAX, version.is_5()).expect("a packet") {
        match crossdock_mqtt::bench::decode(frame, version).expect("a packet of a client") {
            Packet::Publish(publish) => take(publish),
            other => panic!("{other:?}"),
        }
        count += 1;
    }
    count
}

fn to_message(publish: Publish, exchange: &Name, common: &Incoming) -> Message {
    let address = target(publish.topic.bytes(), exchange);
    message(publish, address, common, NOW)
}

#[divan::bench(args = BOTH)]
fn decode(bencher: Bencher, (version, bytes): (Version, usize)) {
    reading(bencher, &publish(version, &body(bytes)), |input| {
        read(input, version, |publish| {
            black_box(publish);
        })
    });
}

#[divan::bench(args = BOTH)]
fn receive(bencher: Bencher, (version, bytes): (Version, usize)) {
    let common = Incoming { version, origin: origin() };
    let exchange = topic().exchange;
    reading(bencher, &publish(version, &body(bytes)), |input| {
        read(input, version, |publish| {
            black_box(to_message(publish, &exchange, &common));
        })
    });
}

#[divan::bench(args = BOTH)]
fn deliver(bencher: Bencher, (version, bytes): (Version, usize)) {
    let common = Incoming { version, origin: origin() };
    let mut made = None;
    read(&mut publish(version, &body(bytes)), version, |publish| {
        made = Some(to_message(publish, &topic().exchange, &common));
    });
    let formats = Formats::new(Mqtt::default().formats());
    let renderer = Renderer { version, formats: &formats, carry: Carry::Full };
    writing(bencher, made.expect("one message"), |delivery, out| {
        let (message, payload) = (&delivery.message, delivery.message.body());
        let Rendered { topic, properties } = renderer.render(message).expect("a topic name");
        publish_head(out, &head(version, &topic, (properties.len(), payload.len())));
        out.put_slice(&properties);
        out.put_slice(payload);
    });
}
