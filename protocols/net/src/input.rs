//! The read side of a connection: one read at a time; frames are slices of the bytes that it brought. The memory to
//! read into belongs to the thread, not to the connection: a connection that waits for its peer holds nothing but an
//! unfinished frame.

use bytes::BytesMut;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of memory that are allocated for reads. Frames sliced from the buffer keep it alive, so it is not larger.
const READ_BYTES: usize = 64 << 10;
/// With fewer free bytes than this a buffer is not worth a system call of its own.
const ROOM_MIN: usize = 4 << 10;
/// Unfinished frames of up to this many bytes are copied in front of the bytes that follow.
const COPY_MAX: usize = 4 << 10;

thread_local! {
    /// Memory that no read has filled yet.
    static ROOM: Cell<BytesMut> = Cell::default();
}

/// Where bytes come from.
pub(crate) type Reader = Box<dyn AsyncRead + Send + Sync + Unpin>;

/// What was read and not decoded yet.
pub struct Input {
    reader: Reader,
    buffer: BytesMut,
    /// Bytes that were read so far.
    read: u64,
}

impl Input {
    /// `head` was read from the connection before.
    pub fn new(reader: Reader, head: BytesMut) -> Self {
        let read = head.len() as u64;
        Self { reader, buffer: head, read }
    }

    /// The reader, and what was read and not decoded.
    pub(crate) fn into_parts(self) -> (Reader, BytesMut) {
        (self.reader, self.buffer)
    }

    /// The reader alone, for what is not to be decoded.
    pub(crate) fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// Bytes that were read so far.
    pub fn total(&self) -> u64 {
        self.read
    }

    /// Reads once; 0 is the end of the stream. Cancel-safe.
    pub async fn read(&mut self) -> io::Result<usize> {
        poll_fn(|context| self.poll_read(context)).await
    }

    /// The same, for loops that wait for several things at once.
    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = match self.buffer.len() > COPY_MAX {
            true => self.poll_behind(context),
            false => self.poll_room(context),
        };
        if let Poll::Ready(Ok(bytes)) = read {
            self.read += bytes as u64;
        }
        read
    }

    /// Reads into the thread's memory, behind a copy of the unfinished frame.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = ROOM.take();
        if room.capacity() < ROOM_MIN + self.buffer.len() {
            room = BytesMut::with_capacity(READ_BYTES);
        }
        room.extend_from_slice(&self.buffer);
        let read = poll_once(&mut *self.reader, &mut room, context);
        if let Poll::Ready(Ok(_)) = read {
            self.buffer = room.split();
        } else {
            room.clear();
        }
        ROOM.set(room);
        read
    }

    /// Reads behind a large unfinished frame. The buffer grows by the bytes that arrive, never by a promised length.
    fn poll_behind(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < ROOM_MIN {
            self.buffer.reserve(READ_BYTES.max(self.buffer.len()));
        }
        poll_once(&mut *self.reader, &mut self.buffer, context)
    }

    /// How many bytes were read and not decoded yet.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes of memory that what was read and not decoded takes.
    pub(crate) fn memory(&self) -> usize {
        self.buffer.capacity()
    }

    /// True when everything that was read is decoded.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The bytes to decode from; a decoder takes whole frames off the front.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }
}

fn poll_once(
    reader: &mut (dyn AsyncRead + Send + Sync + Unpin),
    buffer: &mut BytesMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let read = ready!(pin!({ reader }.read_buf(buffer)).poll(context));
    Poll::Ready(read)
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

    #[tokio::test]
    async fn connections_take_turns_in_one_room() {
        let (mut near, far) = tokio::io::duplex(1 << 20);
        let (mut other, idle) = tokio::io::duplex(64);
        let mut inputs = [
            Input::new(Box::new(far), BytesMut::new()),
            Input::new(Box::new(idle), BytesMut::new()),
        ];
        let [busy, waiting] = &mut inputs;
        let mut sent = Vec::new();
        for size in [10, 3000, 70_000, 200_000, 1] {
            let piece: Vec<u8> = (0..size).map(|i| (i * 7 + size) as u8).collect();
            tokio::io::AsyncWriteExt::write_all(&mut near, &piece).await.unwrap();
            sent.extend(piece);
            while busy.buffer().len() < sent.len() {
                // The one that waits has looked at the room, and left nothing there.
                assert!(
                    tokio::select! { biased; _ = waiting.read() => false, _ = async {} => true }
                );
                busy.read().await.unwrap();
            }
        }
        assert_eq!(&busy.buffer()[..], &sent[..]);
        let first = busy.buffer().split_to(269_000);
        tokio::io::AsyncWriteExt::write_all(&mut other, b"word").await.unwrap();
        assert_eq!(waiting.read().await.unwrap(), 4);
        assert_eq!((&waiting.buffer()[..], &first[..]), (&b"word"[..], &sent[..269_000]));
    }
}
