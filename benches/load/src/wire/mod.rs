//! The generator's side of the wire: a socket with buffers, and the traits of clients. Clients turn bytes into counts
//! and stamps into bytes, and never touch the socket once they are set up.

pub mod amqp;
pub mod mqtt;
pub mod stomp;

use crate::histogram::Histogram;
use crate::stamp::{Form, Stamp};
use crate::tally::Tally;
use anyhow::{Context, Result, bail};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Largest frame, in bytes.
const INBOX_BYTES: usize = 512 * 1024;
/// Read timeout: how often a reader without input checks whether to stop.
const LOOK_UP: Duration = Duration::from_millis(100);
/// A broker that reads nothing for this long has failed.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// A broker answers a set-up command within this time.
const SET_UP_TIME: Duration = Duration::from_secs(20);

/// Sends messages.
pub trait Produce: Send {
    /// Appends one message.
    fn put(&mut self, stamp: Stamp, out: &mut Vec<u8>);
    /// Processes the complete frames at the start of `input`; returns their length. Answers are appended to `out`.
    fn take(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize>;
    /// Messages that the broker has confirmed or refused.
    fn confirmed(&self) -> u64;
    /// Messages that the broker has refused.
    fn refused(&self) -> u64 {
        0
    }
}

/// Receives messages.
pub trait Consume: Send {
    /// Processes the complete frames at the start of `input`; returns their length. Appends acknowledgements to `out`.
    fn take(&mut self, input: &[u8], sink: &mut Sink, out: &mut Vec<u8>) -> Result<usize>;

    /// The end: appends acknowledgements of what came and is not acknowledged yet. What is left so in a queue
    /// that outlives the run comes again in the next one.
    fn finish(&mut self, _out: &mut Vec<u8>) {}
}

/// A connected client.
pub struct Client<C: ?Sized> {
    pub link: Link,
    pub client: Box<C>,
}

/// Counts deliveries and their latencies.
pub struct Sink {
    pub tally: Tally,
    pub latency: Histogram,
    /// Nanoseconds of the run's clock at the last read.
    pub now: u64,
    /// Whether latencies are measured yet.
    pub measuring: bool,
    form: Form,
    /// Expected size of a body; 0 if a transform changes it.
    body_bytes: usize,
}

impl Sink {
    pub fn new(producers: usize, form: Form, body_bytes: usize) -> Self {
        let (tally, latency) = (Tally::new(producers), Histogram::default());
        Self { tally, latency, now: 0, measuring: false, form, body_bytes }
    }

    /// Counts a delivery: the part of its body with the stamp, and the length of the body.
    pub fn body(&mut self, body: &[u8], bytes: usize) {
        match self.form.read(body) {
            Some(stamp) if self.body_bytes == 0 || self.body_bytes == bytes => {
                self.tally.record(stamp.producer, stamp.sequence);
                if self.measuring {
                    self.latency.record(self.now.saturating_sub(stamp.time));
                }
            }
            _ => self.tally.record_foreign(),
        }
    }
}

/// An encoded message that is sent again and again; only the stamp changes.
#[derive(Clone, Debug)]
pub struct Template {
    pub bytes: Vec<u8>,
    /// Offset of the stamp.
    pub stamp_at: usize,
    pub form: Form,
}

impl Template {
    /// Appends the message to `out`. Returns the offset at which it begins.
    pub fn put(&self, stamp: Stamp, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        self.form.write(stamp, &mut out[start + self.stamp_at..]);
        start
    }
}

/// A body around its stamp.
#[derive(Clone, Debug)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub stamp_at: usize,
    pub form: Form,
}

impl Body {
    /// A body of this many bytes with the stamp at its start.
    pub fn binary(bytes: usize) -> Self {
        let form = Form::Binary;
        Self { bytes: vec![b'x'; bytes.max(form.bytes())], stamp_at: 0, form }
    }

    /// An XML element of 128 bytes, with the stamp in an attribute.
    pub fn xml() -> Self {
        let (head, tail) = (
            "<item id=\"I101\" stock=\"50\" mark=\"",
            "\" place=\"a shelf in the second hall, on the right\"/>",
        );
        let form = Form::Text;
        let mut bytes = head.as_bytes().to_vec();
        bytes.resize(head.len() + form.bytes(), b'0');
        bytes.extend_from_slice(tail.as_bytes());
        Self { bytes, stamp_at: head.len(), form }
    }

    /// The message with the bytes that a protocol writes before and behind the body.
    pub fn framed(&self, before: &[u8], behind: &[u8]) -> Template {
        let bytes = [before, &self.bytes, behind].concat();
        Template { bytes, stamp_at: before.len() + self.stamp_at, form: self.form }
    }
}

/// A socket, the input that was not processed yet, and the output that was not written yet.
pub struct Link {
    socket: TcpStream,
    inbox: Vec<u8>,
    start: usize,
    end: usize,
    pub out: Vec<u8>,
}

impl Link {
    pub fn connect(address: SocketAddr) -> Result<Self> {
        Self::with_inbox(address, INBOX_BYTES)
    }

    /// With small buffers, for thousands of clients.
    pub fn with_inbox(address: SocketAddr, inbox_bytes: usize) -> Result<Self> {
        let socket = TcpStream::connect_timeout(&address, SET_UP_TIME);
        let socket = socket.with_context(|| format!("cannot connect to {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LOOK_UP))?;
        socket.set_write_timeout(Some(WRITE_TIME))?;
        Ok(Self { socket, inbox: vec![0; inbox_bytes], start: 0, end: 0, out: Vec::new() })
    }

    /// From now on reads and writes do not block.
    pub fn never_wait(&self) -> Result<()> {
        Ok(self.socket.set_nonblocking(true)?)
    }

    /// The input that was not processed yet.
    pub fn input(&self) -> &[u8] {
        &self.inbox[self.start..self.end]
    }

    /// Removes `bytes` from the front of the input.
    pub fn taken(&mut self, bytes: usize) {
        self.start += bytes;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads once, with a timeout. Returns the number of bytes.
    pub fn read(&mut self) -> Result<usize> {
        if self.inbox.len() - self.end < self.inbox.len() / 4 {
            self.inbox.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.inbox.len() {
            bail!("the broker sent a frame of more than {} bytes", self.inbox.len());
        }
        match self.socket.read(&mut self.inbox[self.end..]) {
            Ok(0) => bail!("the broker closed the connection"),
            Ok(bytes) => {
                self.end += bytes;
                Ok(bytes)
            }
            Err(error) if is_nothing(error.kind()) => Ok(0),
            Err(error) => Err(error).context("cannot read from the broker"),
        }
    }

    /// Writes the output; on a non-blocking socket the rest stays in the buffer.
    pub fn flush(&mut self) -> Result<()> {
        let mut written = 0;
        while written < self.out.len() {
            match self.socket.write(&self.out[written..]) {
                Ok(0) => bail!("the broker reads no more"),
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("cannot write to the broker"),
            }
        }
        if written == self.out.len() {
            self.out.clear();
        } else {
            self.out.drain(..written);
        }
        Ok(())
    }

    /// Writes a set-up command.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.extend_from_slice(bytes);
        self.flush()
    }

    /// Reads until `look` finds the answer at the front of the input; it returns the answer and its length.
    pub fn wait<T>(
        &mut self,
        what: &str,
        look: impl Fn(&[u8]) -> Result<Option<(T, usize)>>,
    ) -> Result<T> {
        let started = Instant::now();
        loop {
            if let Some((found, bytes)) = look(self.input())? {
                self.taken(bytes);
                return Ok(found);
            }
            if started.elapsed() > SET_UP_TIME {
                bail!("no {what} came within {} s", SET_UP_TIME.as_secs());
            }
            self.read().with_context(|| format!("waiting for {what}"))?;
        }
    }
}

fn is_nothing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { producer: 1, sequence: 2, time: 3 };

    #[test]
    fn bodies_have_their_size_and_hold_the_stamp() {
        assert_eq!(Body::xml().bytes.len(), 128);
        for body in [Body::binary(128), Body::xml()] {
            let template = body.framed(b"head", b"end");
            let mut out = b"before".to_vec();
            assert_eq!(template.put(STAMP, &mut out), 6);
            let message = out[10..].strip_suffix(b"end").unwrap();
            assert_eq!((message.len(), body.form.read(message)), (128, Some(STAMP)));
        }
    }

    #[test]
    fn only_whole_bodies_of_ours_count() {
        let body = Body::binary(64);
        let mut bytes = Vec::new();
        body.framed(&[], &[]).put(Stamp { producer: 0, ..STAMP }, &mut bytes);
        let mut sink = Sink::new(1, Form::Binary, 64);
        sink.now = 1003;
        sink.body(&bytes, 64);
        assert_eq!(sink.latency.percentile(1.0), None, "it is not measured yet");
        sink.measuring = true;
        sink.body(&bytes, 64);
        let found = sink.latency.percentile(1.0).unwrap_or_default();
        assert!((1000..1016).contains(&found), "{found}");
        sink.body(&bytes, 63);
        sink.body(b"something else", 14);
        let account = crate::tally::account(&[sink.tally], &[3], crate::tally::Spread::Shared);
        let counts = (account.received, account.duplicated, account.foreign, account.lost);
        assert_eq!(counts, (4, 1, 2, 2));
    }
}
