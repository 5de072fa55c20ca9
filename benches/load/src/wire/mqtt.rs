//! The part of MQTT 3.1.1 that the scenarios need. Packets are built once; only stamps and packet identifiers change.

use super::{Body, Client, Consume, Link, Produce, Sink, Template};
use crate::stamp::Stamp;
use anyhow::{Result, bail};
use std::net::SocketAddr;

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const PINGREQ: u8 = 0xC0;
const PINGRESP: u8 = 0xD0;

/// MQTT 3.1.1 §3.1: level 4; user name, password and clean session; no keep-alive.
const CONNECT_HEAD: [u8; 10] = [0, 4, b'M', b'Q', b'T', b'T', 4, 0xC2, 0, 0];

/// Publishes to one topic.
struct Publisher {
    template: Template,
    /// Offset of the packet identifier in the template; none at QoS 0.
    id_at: Option<usize>,
    id: u16,
    confirmed: u64,
}

/// A subscriber.
struct Subscriber;

/// Connects and is ready to publish.
pub fn publisher(
    at: SocketAddr,
    (id, topic): (&str, &str),
    qos: u8,
    body: &Body,
) -> Result<Client<dyn Produce>> {
    let link = connect(Link::connect(at)?, id)?;
    let (template, id_at) = publish(topic, qos, body);
    Ok(Client { link, client: Box::new(Publisher { template, id_at, id: 0, confirmed: 0 }) })
}

/// Connects and subscribes.
pub fn subscriber(at: SocketAddr, id: &str, filter: &str, qos: u8) -> Result<Client<dyn Consume>> {
    let mut link = connect(Link::connect(at)?, id)?;
    let mut body = vec![0, 1];
    text(filter, &mut body);
    body.push(qos);
    link.send(&packet(SUBSCRIBE, &body))?;
    let granted = link.wait("SUBACK", |input| {
        whole(input, SUBACK, |body| Ok(body.get(2).copied().unwrap_or(0x80)))
    })?;
    if granted != qos {
        bail!("the broker granted QoS {granted} instead of {qos}");
    }
    Ok(Client { link, client: Box::new(Subscriber) })
}

/// Sends CONNECT and waits for CONNACK.
pub fn connect(mut link: Link, id: &str) -> Result<Link> {
    let mut body = CONNECT_HEAD.to_vec();
    for field in [id, "guest", "guest"] {
        text(field, &mut body);
    }
    link.send(&packet(CONNECT, &body))?;
    link.wait("CONNACK", |input| {
        whole(input, CONNACK, |body| match body {
            [_, 0] => Ok(()),
            _ => bail!("the broker refused CONNECT: {body:?}"),
        })
    })?;
    Ok(link)
}

/// Sends PINGREQ and waits for the answer.
pub fn ping(link: &mut Link) -> Result<()> {
    link.send(&[PINGREQ, 0])?;
    link.wait("PINGRESP", |input| whole(input, PINGRESP, |_| Ok(())))
}

impl Produce for Publisher {
    fn put(&mut self, stamp: Stamp, out: &mut Vec<u8>) {
        let start = self.template.put(stamp, out);
        if let Some(at) = self.id_at {
            // MQTT 3.1.1 [MQTT-2.3.1-1]: not 0, not in use. At most 100 are.
            self.id = self.id.checked_add(1).unwrap_or(1);
            out[start + at..start + at + 2].copy_from_slice(&self.id.to_be_bytes());
        }
    }

    fn take(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize> {
        let mut rest = input;
        while let Some((kind, body, length)) = split(rest)? {
            match kind {
                PUBACK | PUBCOMP => self.confirmed += 1,
                PUBREC => answer(PUBREL, body, out),
                _ => bail!("the broker sent a publisher packet type {kind:#x}"),
            }
            rest = &rest[length..];
        }
        Ok(input.len() - rest.len())
    }

    fn confirmed(&self) -> u64 {
        self.confirmed
    }
}

impl Consume for Subscriber {
    fn take(&mut self, input: &[u8], sink: &mut Sink, out: &mut Vec<u8>) -> Result<usize> {
        let mut rest = input;
        while let Some((kind, body, length)) = split(rest)? {
            if kind & 0xF0 == PUBLISH {
                let qos = (kind >> 1) & 3;
                let [high, low, ..] = *body else { bail!("the broker sent a short PUBLISH") };
                let topic_end = 2 + usize::from(u16::from_be_bytes([high, low]));
                let payload = topic_end + if qos > 0 { 2 } else { 0 };
                let (Some(id), Some(payload)) = (body.get(topic_end..payload), body.get(payload..))
                else {
                    bail!("the broker sent a short PUBLISH");
                };
                sink.body(payload, payload.len());
                match qos {
                    0 => {}
                    1 => answer(PUBACK, id, out),
                    _ => answer(PUBREC, id, out),
                }
            } else if kind == PUBREL {
                answer(PUBCOMP, body, out);
            } else {
                bail!("the broker sent a subscriber packet type {kind:#x}");
            }
            rest = &rest[length..];
        }
        Ok(input.len() - rest.len())
    }
}

/// An acknowledgement: the packet identifier is the first two bytes of `body`.
fn answer(kind: u8, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[kind, 2]);
    out.extend_from_slice(&body[..2.min(body.len())]);
}

/// A PUBLISH, and the offset of its packet identifier.
fn publish(topic: &str, qos: u8, body: &Body) -> (Template, Option<usize>) {
    let mut head = vec![PUBLISH | (qos << 1)];
    let id_bytes = if qos > 0 { 2 } else { 0 };
    length(2 + topic.len() + id_bytes + body.bytes.len(), &mut head);
    text(topic, &mut head);
    let id_at = (qos > 0).then_some(head.len());
    head.resize(head.len() + id_bytes, 0);
    (body.framed(&head, &[]), id_at)
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    length(body.len(), &mut packet);
    packet.extend_from_slice(body);
    packet
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// MQTT 3.1.1 §2.2.3: seven bits a byte, the lowest first.
fn length(mut length: usize, out: &mut Vec<u8>) {
    loop {
        let low = (length & 0x7F) as u8;
        length >>= 7;
        if length == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// The first packet: kind and flags, the bytes behind the fixed header, and the length of the whole packet.
fn split(input: &[u8]) -> Result<Option<(u8, &[u8], usize)>> {
    let Some((kind, rest)) = input.split_first() else { return Ok(None) };
    let mut length = 0;
    for (at, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            let (start, end) = (at + 2, at + 2 + length);
            return Ok(input.get(start..end).map(|body| (*kind, body, end)));
        }
    }
    if rest.len() >= 4 {
        bail!("the broker sent a remaining length of more than four bytes");
    }
    Ok(None)
}

/// The packet of this kind at the start of the input.
fn whole<T>(
    input: &[u8],
    wanted: u8,
    read: impl Fn(&[u8]) -> Result<T>,
) -> Result<Option<(T, usize)>> {
    match split(input)? {
        None => Ok(None),
        Some((kind, body, length)) if kind == wanted => Ok(Some((read(body)?, length))),
        Some((kind, ..)) => bail!("the broker sent packet type {kind:#x} instead of {wanted:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Form;

    const STAMP: Stamp = Stamp { producer: 0, sequence: 0, time: 5 };

    fn publisher(qos: u8) -> Publisher {
        let (template, id_at) = publish("a/b", qos, &Body::binary(200));
        Publisher { template, id_at, id: u16::MAX - 1, confirmed: 0 }
    }

    #[test]
    fn lengths_are_those_of_the_specification() {
        for (value, bytes) in
            [(0, &[0][..]), (127, &[127]), (128, &[128, 1]), (16_384, &[128, 128, 1])]
        {
            let mut out = Vec::new();
            length(value, &mut out);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn what_a_publisher_writes_a_subscriber_counts() {
        for qos in 0..3 {
            let (mut publisher, mut out) = (publisher(qos), Vec::new());
            (0..3).for_each(|sequence| publisher.put(Stamp { sequence, ..STAMP }, &mut out));
            let mut sink = Sink::new(1, Form::Binary, 200);
            let mut answers = Vec::new();
            let cut = out.len() - 1;
            let taken = Subscriber.take(&out[..cut], &mut sink, &mut answers).unwrap();
            assert_eq!((taken, sink.tally.received()), (out.len() / 3 * 2, 2));
            Subscriber.take(&out[taken..], &mut sink, &mut answers).unwrap();
            let account = crate::tally::account(&[sink.tally], &[3], crate::tally::Spread::Shared);
            assert_eq!((account.received, account.lost, account.foreign), (3, 0, 0));
            let expected: &[u8] = match qos {
                0 => &[],
                // After 65,535 comes 1.
                1 => &[0x40, 2, 255, 255, 0x40, 2, 0, 1, 0x40, 2, 0, 2],
                _ => &[0x50, 2, 255, 255, 0x50, 2, 0, 1, 0x50, 2, 0, 2],
            };
            assert_eq!(answers, expected);
        }
    }

    #[test]
    fn exactly_once_takes_four_packets() {
        let (mut publisher, mut out) = (publisher(2), Vec::new());
        assert_eq!(publisher.take(&[0x50, 2, 0, 7, 0x70], &mut out).unwrap(), 4);
        assert_eq!((out.as_slice(), publisher.confirmed()), (&[0x62, 2, 0, 7][..], 0));
        let (mut sink, mut done) = (Sink::new(1, Form::Binary, 0), Vec::new());
        Subscriber.take(&out, &mut sink, &mut done).unwrap();
        assert_eq!((done.as_slice(), sink.tally.received()), (&[0x70, 2, 0, 7][..], 0));
        assert_eq!(publisher.take(&done, &mut out).unwrap(), 4);
        assert_eq!(publisher.confirmed(), 1);
    }

    #[test]
    fn a_packet_that_should_not_come_ends_the_run() {
        assert!(publisher(1).take(&[0xE0, 0], &mut Vec::new()).is_err());
        assert!(split(&[0x30, 255, 255, 255, 255, 1]).is_err());
    }
}
