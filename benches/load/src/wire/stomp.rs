//! The part of STOMP 1.2 that the scenarios need. SEND frames are built once; only stamps and receipt numbers change.

use super::{Body, Client, Consume, Link, Produce, Sink, Template};
use crate::stamp::Stamp;
use anyhow::{Context, Result, bail};
use memchr::{memchr, memmem};
use std::io::Write;
use std::net::SocketAddr;

/// Digits of a receipt's number, so that all frames are equally long.
const RECEIPT_DIGITS: usize = 10;

/// How a subscriber acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    Auto,
    Individual,
}

/// Sends to one destination.
struct Publisher {
    template: Template,
    /// Offset of the receipt's number in the template; none without receipts.
    receipt_at: Option<usize>,
    sent: u64,
    confirmed: u64,
}

/// A subscriber.
struct Subscriber {
    ack: Ack,
}

/// A frame from the broker.
struct Frame<'a> {
    command: &'a [u8],
    /// Including the newline behind the last header.
    headers: &'a [u8],
    body: &'a [u8],
}

/// Connects and is ready to send; with receipts, messages are persistent too.
pub fn publisher(
    at: SocketAddr,
    to: &str,
    receipts: bool,
    body: &Body,
) -> Result<Client<dyn Produce>> {
    let link = connect(at)?;
    let (template, receipt_at) = send(to, receipts, body);
    let client = Publisher { template, receipt_at, sent: 0, confirmed: 0 };
    Ok(Client { link, client: Box::new(client) })
}

/// Connects and subscribes.
pub fn subscriber(at: SocketAddr, destination: &str, ack: Ack) -> Result<Client<dyn Consume>> {
    let mut link = connect(at)?;
    // Both names of the prefetch header. In mode auto nothing is acknowledged, so there is no limit to ask for.
    let mode = match ack {
        Ack::Auto => "auto",
        Ack::Individual => "client-individual\nprefetch-count:1000\nactivemq.prefetchSize:1000",
    };
    let subscribe =
        format!("SUBSCRIBE\nid:0\ndestination:{destination}\nack:{mode}\nreceipt:subscribed\n\n\0");
    link.send(subscribe.as_bytes())?;
    link.wait("RECEIPT", |input| expect(input, b"RECEIPT"))?;
    Ok(Client { link, client: Box::new(Subscriber { ack }) })
}

fn connect(address: SocketAddr) -> Result<Link> {
    let mut link = Link::connect(address)?;
    link.send(
        b"CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\nheart-beat:0,0\n\n\0",
    )?;
    link.wait("CONNECTED", |input| expect(input, b"CONNECTED"))?;
    Ok(link)
}

impl Produce for Publisher {
    fn put(&mut self, stamp: Stamp, out: &mut Vec<u8>) {
        let start = self.template.put(stamp, out);
        if let Some(at) = self.receipt_at {
            let place = &mut out[start + at..start + at + RECEIPT_DIGITS];
            let mut number = self.sent;
            for digit in place.iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        self.sent += 1;
    }

    fn take(&mut self, input: &[u8], _: &mut Vec<u8>) -> Result<usize> {
        let mut rest = input;
        while let Some((frame, length)) = split(rest)? {
            if frame.command != b"RECEIPT" {
                bail!("{}", unexpected(&frame));
            }
            self.confirmed += 1;
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
        while let Some((frame, length)) = split(rest)? {
            if frame.command != b"MESSAGE" {
                bail!("{}", unexpected(&frame));
            }
            sink.body(frame.body, frame.body.len());
            if self.ack == Ack::Individual {
                let id =
                    header(frame.headers, b"ack:").context("a MESSAGE without an ack header")?;
                out.extend_from_slice(b"ACK\nid:");
                out.extend_from_slice(id);
                out.extend_from_slice(b"\n\n\0");
            }
            rest = &rest[length..];
        }
        Ok(input.len() - rest.len())
    }
}

/// A SEND frame, and the offset of its receipt's number.
fn send(destination: &str, receipts: bool, body: &Body) -> (Template, Option<usize>) {
    let bytes = body.bytes.len();
    let mut head =
        format!("SEND\ndestination:{destination}\ncontent-length:{bytes}\n").into_bytes();
    let mut receipt_at = None;
    if receipts {
        head.extend_from_slice(b"persistent:true\nreceipt:");
        receipt_at = Some(head.len());
        // Writing to memory does not fail.
        let _ = writeln!(head, "{:0RECEIPT_DIGITS$}", 0);
    }
    head.push(b'\n');
    (body.framed(&head, &[0]), receipt_at)
}

/// The first frame and its length, with heart-beats before it.
fn split(input: &[u8]) -> Result<Option<(Frame<'_>, usize)>> {
    let beats = input.iter().take_while(|byte| matches!(**byte, b'\n' | b'\r')).count();
    let frame = &input[beats..];
    let Some(head) = memmem::find(frame, b"\n\n") else { return Ok(None) };
    let command_end = memchr(b'\n', &frame[..=head]).unwrap_or(head);
    let headers = &frame[command_end..=head];
    let body = &frame[head + 2..];
    let body_bytes = match header(headers, b"content-length:") {
        Some(digits) => {
            let digits = std::str::from_utf8(digits)?.trim();
            digits.parse().with_context(|| format!("content-length is {digits:?}"))?
        }
        None => match memchr(0, body) {
            Some(end) => end,
            None => return Ok(None),
        },
    };
    match body.get(body_bytes) {
        None => Ok(None),
        Some(0) => {
            let command = &frame[..command_end];
            let frame = Frame { command, headers, body: &body[..body_bytes] };
            Ok(Some((frame, beats + head + 2 + body_bytes + 1)))
        }
        Some(_) => bail!("a frame of the broker's does not end where its content-length says"),
    }
}

/// The value of a header; `headers` begins and ends with a newline.
fn header<'a>(headers: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut from = 0;
    while let Some(at) = memmem::find(&headers[from..], name).map(|at| from + at) {
        let start = at + name.len();
        if at > 0 && headers[at - 1] == b'\n' {
            let end = memchr(b'\n', &headers[start..])?;
            return Some(&headers[start..start + end]);
        }
        from = start;
    }
    None
}

fn expect(input: &[u8], command: &[u8]) -> Result<Option<((), usize)>> {
    match split(input)? {
        None => Ok(None),
        Some((frame, length)) if frame.command == command => Ok(Some(((), length))),
        Some((frame, _)) => bail!("{}", unexpected(&frame)),
    }
}

fn unexpected(frame: &Frame) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (command, headers, body) = (text(frame.command), text(frame.headers), text(frame.body));
    format!("the broker sent {command}: {} {}", headers.trim().replace('\n', ", "), body.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Form;

    #[test]
    fn messages_are_counted_and_acknowledged() {
        let mut body = vec![0; 32];
        Form::Binary.write(Stamp { producer: 0, sequence: 0, time: 0 }, &mut body);
        let mut input = b"\n\nMESSAGE\nx-ack:no\nack:t-1\ncontent-length:32\n\n".to_vec();
        input.extend_from_slice(&body);
        input.push(0);
        let whole = input.len();
        input.extend_from_slice(b"\nMESSAGE\nack:t-2\n\nshort");
        let (mut sink, mut out) = (Sink::new(1, Form::Binary, 32), Vec::new());
        let mut subscriber = Subscriber { ack: Ack::Individual };
        for cut in 0..whole {
            let taken = subscriber.take(&input[..cut], &mut sink, &mut out).unwrap();
            assert_eq!((taken, sink.tally.received()), (0, 0));
        }
        assert_eq!(subscriber.take(&input, &mut sink, &mut out).unwrap(), whole);
        assert_eq!(out, b"ACK\nid:t-1\n\n\0");
        input.push(0);
        let all = subscriber.take(&input[whole..], &mut sink, &mut out).unwrap();
        assert_eq!(all, input.len() - whole, "without a length, the body ends at NUL");
        let account = crate::tally::account(&[sink.tally], &[1], crate::tally::Spread::Shared);
        assert_eq!((account.lost, account.foreign), (0, 1), "a short body is not ours");
    }

    #[test]
    fn receipts_have_numbers_and_are_counted() {
        let (template, receipt_at) = send("/queue/a", true, &Body::binary(30));
        let mut publisher = Publisher { template, receipt_at, sent: 9, confirmed: 0 };
        let mut out = Vec::new();
        (0..2).for_each(|_| publisher.put(Stamp { producer: 0, sequence: 0, time: 0 }, &mut out));
        for number in ["0000000009", "0000000010"] {
            let receipt = format!("\nreceipt:{number}\n\n");
            assert!(memmem::find(&out, receipt.as_bytes()).is_some());
        }
        let (frame, _) = split(&out).unwrap().unwrap();
        assert_eq!((frame.command, frame.body.len()), (&b"SEND"[..], 30));
        let receipts = b"RECEIPT\nreceipt-id:0000000009\n\n\0\nRECEIPT\nreceipt-id:00";
        assert_eq!(publisher.take(receipts, &mut out).unwrap(), 32);
        assert_eq!(publisher.confirmed(), 1);
    }

    #[test]
    fn an_error_ends_the_run_with_its_words() {
        let (template, receipt_at) = send("/queue/a", false, &Body::binary(30));
        let mut publisher = Publisher { template, receipt_at, sent: 0, confirmed: 0 };
        let error = publisher.take(b"ERROR\nmessage:full\n\nno room\0", &mut Vec::new());
        assert_eq!(error.unwrap_err().to_string(), "the broker sent ERROR: message:full no room");
        assert!(split(b"MESSAGE\ncontent-length:1\n\nxyz\0").is_err());
    }
}
