//! The client's end of a connection.

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// The mark at the end of every body; it occurs nowhere else on the wire.
pub const MARK: &[u8] = b"~#!#~";

/// A connection, and the input that was not processed yet.
pub struct Pipe {
    stream: DuplexStream,
    input: Vec<u8>,
}

impl Pipe {
    /// A new connection.
    pub fn new(stream: DuplexStream) -> Self {
        Self { stream, input: Vec::new() }
    }

    /// Writes all of it.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    async fn read(&mut self) -> Result<()> {
        ensure!(
            self.stream.read_buf(&mut self.input).await? > 0,
            "the broker closed the connection"
        );
        Ok(())
    }

    /// Waits for these bytes, and discards the input up to their end.
    pub async fn expect(&mut self, wanted: &[u8]) -> Result<()> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.input, wanted) {
                self.input.drain(..at + wanted.len());
                return Ok(());
            }
            self.read().await?;
        }
    }

    /// Waits for `count` deliveries.
    pub async fn marks(&mut self, mut count: usize) -> Result<()> {
        loop {
            let mut end = 0;
            for at in memchr::memmem::find_iter(&self.input, MARK).take(count) {
                end = at + MARK.len();
                count -= 1;
            }
            self.input.drain(..end);
            if count == 0 {
                return Ok(());
            }
            self.read().await?;
        }
    }

    /// From now on discards the input: confirms that are not checked.
    pub fn drained(self) -> Drained {
        let (mut reader, writer) = tokio::io::split(self.stream);
        tokio::spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while matches!(reader.read(&mut buffer).await, Ok(n) if n > 0) {}
        });
        Drained(writer)
    }
}

/// The writing half of a connection whose input is discarded.
pub struct Drained(tokio::io::WriteHalf<DuplexStream>);

impl Drained {
    /// Writes all of it.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write_all(bytes).await?)
    }
}
