//! The generator's side of the wire: a socket with buffers, and what a client of any protocol can do. Clients
//! turn bytes into counts and stamps into bytes, and never touch the socket once they are set up.

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

/// A frame is never larger.
const INBOX_BYTES: usize = 512 * 1024;
/// A reader looks up so often, when nothing comes.
const LOOK_UP: Duration = Duration::from_millis(100);
/// A broker that takes nothing for so long has failed.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// A broker answers a set-up command within this time.
const SET_UP_TIME: Duration = Duration::from_secs(20);

/// Sends messages.
pub trait Produce: Send {
    /// Appends one message.
    fn put(&mut self, stamp: Stamp, out: &mut Vec<u8>);
    /// Takes whole frames from the start of `input`: how many bytes that was. What is to be answered goes to
    /// `out`.
    fn take(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize>;
    /// Messages that the broker has answered for.
    fn confirmed(&self) -> u64;
    /// Those of them that it has refused.
    fn refused(&self) -> u64 {
        0
    }
}

/// Receives messages.
pub trait Consume: Send {
    /// Takes whole frames from the start of `input`: how many bytes that was. Acknowledgements go to `out`.
    fn take(&mut self, input: &[u8], sink: &mut Sink, out: &mut Vec<u8>) -> Result<usize>;
}

/// A connected client.
pub struct Client<C: ?Sized> {
    pub link: Link,
    pub client: Box<C>,
}

/// Where deliveries go.
pub struct Sink {
    pub tally: Tally,
    pub latency: Histogram,
    /// Nanoseconds of the run's clock at the last read.
    pub now: u64,
    /// Whether latencies count yet.
    pub measuring: bool,
    form: Form,
    /// Bytes that a body has to have; 0 where a transform changes it.
    body_bytes: usize,
}

impl Sink {
    pub fn new(producers: usize, form: Form, body_bytes: usize) -> Self {
        let (tally, latency) = (Tally::new(producers), Histogram::default());
        Self { tally, latency, now: 0, measuring: false, form, body_bytes }
    }

    /// A delivery: as much of its body as the stamp needs, and how long the body is.
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

/// A message as it is sent, again and again: only the stamp changes.
#[derive(Clone, Debug)]
pub struct Template {
    pub bytes: Vec<u8>,
    /// Where in it the stamp is.
    pub stamp_at: usize,
    pub form: Form,
}

impl Template {
    /// Appends it: where it begins in `out`.
    pub fn put(&self, stamp: Stamp, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        self.form.write(stamp, &mut out[start + self.stamp_at..]);
        start
    }
}

/// What is in a body besides the stamp.
#[derive(Clone, Debug)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub stamp_at: usize,
    pub form: Form,
}

impl Body {
    /// So many bytes, the stamp at their start.
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

    /// Between what a protocol writes before and behind a body.
    pub fn framed(&self, before: &[u8], behind: &[u8]) -> Template {
        let bytes = [before, &self.bytes, behind].concat();
        Template { bytes, stamp_at: before.len() + self.stamp_at, form: self.form }
    }
}

/// A socket, what came in and was not taken yet, and what is to go out.
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

    /// For clients of which there are thousands.
    pub fn with_inbox(address: SocketAddr, inbox_bytes: usize) -> Result<Self> {
        let socket = TcpStream::connect_timeout(&address, SET_UP_TIME);
        let socket = socket.with_context(|| format!("{address} cannot be reached"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LOOK_UP))?;
        socket.set_write_timeout(Some(WRITE_TIME))?;
        Ok(Self { socket, inbox: vec![0; inbox_bytes], start: 0, end: 0, out: Vec::new() })
    }

    /// From now on neither reads nor writes wait.
    pub fn never_wait(&self) -> Result<()> {
        Ok(self.socket.set_nonblocking(true)?)
    }

    /// What came in and was not taken yet.
    pub fn input(&self) -> &[u8] {
        &self.inbox[self.start..self.end]
    }

    /// Takes `bytes` from the front of the input.
    pub fn taken(&mut self, bytes: usize) {
        self.start += bytes;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads once, and waits for that a little while: how many bytes came.
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
            Err(error) => Err(error).context("reading from the broker failed"),
        }
    }

    /// Writes what is to go out; where writes do not wait, the rest stays.
    pub fn flush(&mut self) -> Result<()> {
        let mut written = 0;
        while written < self.out.len() {
            match self.socket.write(&self.out[written..]) {
                Ok(0) => bail!("the broker takes nothing more"),
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("writing to the broker failed"),
            }
        }
        if written == self.out.len() {
            self.out.clear();
        } else {
            self.out.drain(..written);
        }
        Ok(())
    }

    /// Writes, for set-up commands.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.extend_from_slice(bytes);
        self.flush()
    }

    /// Reads until `look` finds what it wants at the front of the input: the answer, and how long it is.
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
