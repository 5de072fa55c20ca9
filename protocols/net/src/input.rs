//! The read side of a connection: one read at a time into one buffer, out of which frames are sliced.

use bytes::BytesMut;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Room that is made for one read. Frames sliced from the buffer keep it alive, so it is not larger.
const READ_BYTES: usize = 64 << 10;
/// Below this the rest of a buffer is not worth a system call of its own.
const ROOM_MIN: usize = 4 << 10;

/// What was read and not decoded yet.
pub struct Input {
    reader: Box<dyn AsyncRead + Send + Sync + Unpin>,
    buffer: BytesMut,
}

impl Input {
    /// Input that begins with what was read already.
    pub fn new(reader: Box<dyn AsyncRead + Send + Sync + Unpin>, head: BytesMut) -> Self {
        Self { reader, buffer: head }
    }

    /// Reads once; 0 is the end of the stream. Cancel-safe.
    pub async fn read(&mut self) -> io::Result<usize> {
        if self.buffer.capacity() - self.buffer.len() < ROOM_MIN {
            // A frame larger than one read grows the buffer by the bytes that arrive, never by a promised length.
            self.buffer.reserve(READ_BYTES.max(self.buffer.len()));
        }
        self.reader.read_buf(&mut self.buffer).await
    }

    /// The bytes to decode from; a decoder takes whole frames off the front.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_behind_what_is_there() {
        let (reader, _writer) = tokio::io::duplex(64);
        let (mut near, far) = tokio::io::duplex(64);
        drop(reader);
        let mut input = Input::new(Box::new(far), BytesMut::from(&b"ab"[..]));
        tokio::io::AsyncWriteExt::write_all(&mut near, b"cd").await.unwrap();
        assert_eq!(input.read().await.unwrap(), 2);
        assert_eq!(&input.buffer()[..], b"abcd");
        drop(near);
        assert_eq!(input.read().await.unwrap(), 0);
    }
}
