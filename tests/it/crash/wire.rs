//! A connection that never blocks: output waits in one buffer, input in another. When the broker is killed every call
//! returns `Stop::Gone`; that is the normal end of a round.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest wait for a reply, for slow machines.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two reads of a socket without input.
const REST: Duration = Duration::from_micros(700);

/// Why a flow cannot continue.
#[derive(Debug)]
pub enum Stop {
    /// The broker has ended.
    Gone,
    /// The broker sent something wrong, or sent nothing in time.
    Wrong(String),
}

pub type Step<T> = Result<T, Stop>;

pub fn wrong<T>(what: impl Into<String>) -> Step<T> {
    Err(Stop::Wrong(what.into()))
}

pub fn rest() {
    std::thread::sleep(REST);
}

pub struct Wire {
    stream: TcpStream,
    bytes_in: Vec<u8>,
    /// Bytes of `bytes_in` that were processed.
    taken: usize,
    bytes_out: Vec<u8>,
}

impl Wire {
    pub fn connect(address: SocketAddr) -> Step<Self> {
        let stream = TcpStream::connect(address).map_err(|_| Stop::Gone)?;
        stream
            .set_nodelay(true)
            .and_then(|()| stream.set_nonblocking(true))
            .map_err(|_| Stop::Gone)?;
        Ok(Self { stream, bytes_in: Vec::new(), taken: 0, bytes_out: Vec::new() })
    }

    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes_out.extend_from_slice(bytes);
    }

    /// Bytes that wait for the broker to read.
    pub fn waiting(&self) -> usize {
        self.bytes_out.len()
    }

    /// Writes and reads as much as possible without blocking.
    pub fn pump(&mut self) -> Step<()> {
        while !self.bytes_out.is_empty() {
            match self.stream.write(&self.bytes_out) {
                Ok(0) => return Err(Stop::Gone),
                Ok(count) => drop(self.bytes_out.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Err(Stop::Gone),
            }
        }
        if self.taken == self.bytes_in.len() || self.taken > 1 << 18 {
            self.bytes_in.drain(..self.taken);
            self.taken = 0;
        }
        let mut chunk = [0; 32_768];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Stop::Gone),
            Ok(count) => {
                self.bytes_in.extend_from_slice(&chunk[..count]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(Stop::Gone),
        }
    }

    pub fn buffered(&self) -> &[u8] {
        &self.bytes_in[self.taken..]
    }

    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.buffered()[..count].to_vec();
        self.taken += count;
        bytes
    }
}

/// Calls `look` until it returns something.
pub fn wait<T>(what: &str, mut look: impl FnMut() -> Step<Option<T>>) -> Step<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > until {
            return wrong(format!("no {what} within {} s", PATIENCE.as_secs()));
        }
        rest();
    }
}
