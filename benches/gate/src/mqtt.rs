//! The part of MQTT 3.1.1 that the gate needs.

use crate::house::{self, House};
use crate::pipe::Pipe;
use anyhow::Result;

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut length = body.len();
    loop {
        let more = length >= 0x80;
        out.push((length & 0x7f) as u8 | u8::from(more) << 7);
        length >>= 7;
        if !more {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// CONNECT with a clean session, and CONNACK.
pub async fn connect(house: &House, client: &str) -> Result<Pipe> {
    let mut pipe = house.connect(house::mqtt());
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0];
    text(&mut body, client);
    pipe.write(&packet(0x10, &body)).await?;
    pipe.expect(&[0x20, 2, 0, 0]).await?;
    Ok(pipe)
}

/// SUBSCRIBE, and SUBACK.
pub async fn subscribe(pipe: &mut Pipe, filter: &str, qos: u8) -> Result<()> {
    let mut body = vec![0, 1];
    text(&mut body, filter);
    body.push(qos);
    pipe.write(&packet(0x82, &body)).await?;
    pipe.expect(&[0x90, 3, 0, 1, qos]).await
}

/// PUBLISH.
pub fn publish(topic: &str, qos: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, topic);
    if qos > 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    body.extend_from_slice(payload);
    packet(0x30 | qos << 1, &body)
}

/// Bytes of a PUBACK, PUBREC, PUBREL or PUBCOMP.
pub const ANSWER_BYTES: usize = 4;

/// Gives the messages of a batch of [`publish`]es at QoS 1 or 2 their packet identifiers.
pub fn number(batch: &mut [u8], length: usize, done: usize) {
    for (i, message) in batch.chunks_mut(length).enumerate() {
        let id = ((done + i) % 65_535 + 1) as u16;
        // Behind the fixed header (1 + 2 bytes) and the topic.
        let at = 3 + 2 + "gate/topic".len();
        message[at..at + 2].copy_from_slice(&id.to_be_bytes());
    }
}

/// PUBACKs of a subscriber: its packet identifiers are dense.
pub fn pubacks(from: u64, to: u64) -> Vec<u8> {
    answers(0x40, from, to)
}

/// PUBRECs of a subscriber.
pub fn pubrecs(from: u64, to: u64) -> Vec<u8> {
    answers(0x50, from, to)
}

/// PUBRELs of a publisher.
pub fn pubrels(from: u64, to: u64) -> Vec<u8> {
    answers(0x62, from, to)
}

/// PUBCOMPs of a subscriber.
pub fn pubcomps(from: u64, to: u64) -> Vec<u8> {
    answers(0x70, from, to)
}

/// One packet for each message: the first byte, the length and the packet identifier.
fn answers(first: u8, from: u64, to: u64) -> Vec<u8> {
    let one = |n: u64| {
        let [high, low] = ((n % 65_535 + 1) as u16).to_be_bytes();
        [first, 2, high, low]
    };
    (from..to).flat_map(one).collect()
}
