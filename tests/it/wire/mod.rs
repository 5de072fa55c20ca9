//! Minimal synchronous clients for tests, one socket each. They are not for general use: an unexpected reply fails the
//! test.

pub mod amqp;
pub mod frames;
pub mod mqtt;
pub mod stomp;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a test waits for something that must come.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long a test watches for something that must not come.
pub const QUIET: Duration = Duration::from_millis(300);

/// A socket with a read buffer: a timeout loses no bytes.
pub struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were processed.
    start: usize,
    ended: bool,
}

impl Socket {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the port is open");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
        Self { stream, buffer: Vec::new(), start: 0, ended: false }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
    }

    /// Sends bytes that the broker may refuse to read.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// A second handle for writing to the same connection.
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().expect("descriptors are left")
    }

    /// The bytes that were read and not processed.
    pub fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads until `count` bytes are buffered; false after a timeout or the end of the connection.
    pub fn fill(&mut self, count: usize, until: Instant) -> bool {
        while self.buffered().len() < count {
            if !self.read_more(until) {
                return false;
            }
        }
        true
    }

    /// Reads once; false after a timeout or at the end of the connection.
    pub fn read_more(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        if self.ended || left.is_zero() {
            return false;
        }
        if self.start == self.buffer.len() || self.start > 1 << 20 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.stream.set_read_timeout(Some(left)).expect("a socket option");
        let mut chunk = [0; 65_536];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.ended = true,
            Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
            Err(error) if is_timeout(&error) => return false,
            Err(_) => self.ended = true,
        }
        !self.ended
    }

    /// Takes bytes that are buffered.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.buffer[self.start..self.start + count].to_vec();
        self.start += count;
        bytes
    }

    /// Whether the peer closes the connection in time; bytes that it sends before are ignored.
    pub fn is_closed_within(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while self.read_more(until) {
            self.start = self.buffer.len();
        }
        self.ended
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Waits until the condition becomes true.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
