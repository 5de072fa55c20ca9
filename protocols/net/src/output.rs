//! The write side of a connection: small pieces are gathered in one buffer, large shared ones stay as they are, and
//! one vectored write sends all of it. A connection without output holds no buffer.

use bytes::{Buf, Bytes, BytesMut};
use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Copying a piece of up to this many bytes costs less than one more slice of the vectored write (docs/adr/0002).
const COPY_MAX: usize = 2 << 10;
/// Bytes that are allocated for small pieces at first.
const TAIL_BYTES: usize = 8 << 10;
/// A buffer that grew beyond this many bytes is given back to the allocator.
const TAIL_MAX: usize = 512 << 10;
/// One write has at most this many slices.
const SLICES: usize = 64;

thread_local! {
    /// An empty buffer that a connection of this thread has left for the next one.
    static TAIL: Cell<BytesMut> = Cell::default();
}

/// Where bytes go to.
pub(crate) type Writer = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// What is to be written, in order. A write that has to wait is repeated with bytes that begin with the same ones: TLS
/// and WebSocket rely on that.
pub struct Output {
    writer: Writer,
    /// Finished pieces.
    pieces: VecDeque<Bytes>,
    /// The piece being written to, behind all `pieces`.
    tail: BytesMut,
    /// Bytes in `pieces`.
    finished: usize,
    /// Bytes written to the socket since the start.
    written: u64,
}

impl Output {
    /// An empty output.
    pub fn new(writer: Writer) -> Self {
        let (pieces, tail) = (VecDeque::new(), BytesMut::new());
        Self { writer, pieces, tail, finished: 0, written: 0 }
    }

    /// The buffer to encode frame heads and small frames into.
    #[inline]
    pub fn tail(&mut self) -> &mut BytesMut {
        if self.tail.capacity() == 0 {
            self.new_tail();
        }
        &mut self.tail
    }

    #[cold]
    fn new_tail(&mut self) {
        self.tail = TAIL.take();
        self.tail.reserve(TAIL_BYTES);
    }

    /// Appends a shared piece: a body, or a tail encoded once for many receivers.
    pub fn push(&mut self, piece: &Bytes) {
        if piece.len() <= COPY_MAX {
            self.tail().extend_from_slice(piece);
            return;
        }
        self.finish_tail();
        self.finished += piece.len();
        self.pieces.push_back(piece.clone());
    }

    fn finish_tail(&mut self) {
        if !self.tail.is_empty() {
            let piece = self.tail.split().freeze();
            self.finished += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.finished + self.tail.len()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes since the start, written or waiting: the position of what is encoded next.
    pub fn position(&self) -> u64 {
        self.written + self.len() as u64
    }

    /// Bytes written to the socket since the start.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// One vectored write of what waits; returns the bytes written. Cancel-safe: what was not written still waits.
    pub async fn write_some(&mut self) -> io::Result<usize> {
        // By hand, so that the slices are not part of every connection's future.
        poll_fn(|context| self.poll_write_some(context)).await
    }

    pub(crate) fn poll_write_some(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.pieces.is_empty() {
            self.finish_tail();
        }
        let writer = Pin::new(&mut *self.writer);
        if self.pieces.is_empty() {
            // The common case: everything is in the tail, which keeps its allocation.
            let n = ready!(writer.poll_write(context, &self.tail))?;
            self.tail.advance(n);
            Poll::Ready(self.took(n))
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut used = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(piece);
                used += 1;
            }
            let slices = slices.get(..used).unwrap_or_default();
            let n = ready!(writer.poll_write_vectored(context, slices))?;
            let mut left = n;
            while let Some(front) = self.pieces.front_mut() {
                if left < front.len() {
                    front.advance(left);
                    break;
                }
                left -= front.len();
                self.pieces.pop_front();
            }
            self.finished -= n;
            Poll::Ready(self.took(n))
        }
    }

    fn took(&mut self, n: usize) -> io::Result<usize> {
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written += n as u64;
        if self.is_empty() {
            let mut tail = std::mem::take(&mut self.tail);
            tail.clear();
            if tail.capacity() <= TAIL_MAX {
                TAIL.set(tail);
            }
            self.pieces.shrink_to(SLICES);
        }
        Ok(n)
    }

    /// Writes everything and closes the sending side: the end of a connection. Not cancel-safe.
    pub async fn finish(&mut self) -> io::Result<()> {
        while !self.is_empty() {
            self.write_some().await?;
        }
        self.writer.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn order_and_positions_are_kept() {
        let (near, mut far) = tokio::io::duplex(1000);
        let mut output = Output::new(Box::new(near));
        let big = Bytes::from(vec![b'B'; 5000]);
        output.tail().extend_from_slice(b"head");
        output.push(&Bytes::from_static(b"small"));
        output.push(&big);
        output.tail().extend_from_slice(b"end");
        assert_eq!((output.len(), output.position()), (5012, 5012));
        let writing = tokio::spawn(async move {
            output.finish().await.unwrap();
            output.written()
        });
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(writing.await.unwrap(), 5012);
        let mut want = b"headsmall".to_vec();
        want.extend_from_slice(&big);
        want.extend_from_slice(b"end");
        assert_eq!(got, want);
    }
}
