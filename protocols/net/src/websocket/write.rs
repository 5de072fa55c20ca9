//! Messages to the peer. One write is one message: its head is put in front, and the payload is the caller's own bytes,
//! which are never copied. Pongs and the closing go out between messages.
//!
//! Invariants: a message that was begun is finished before anything else; `raw` holds control frames and one head at
//! most, so that an idle connection holds next to nothing.

use super::frame::{CloseCode, Opcode, put_head};
use super::utf8::Utf8;
use crate::output::Writer;
use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// One write has at most this many slices: those of [`Output`](crate::Output), and what goes in front.
const SLICES: usize = 65;

/// The sending side, which the reading side uses too: it answers pings.
pub(super) struct Out {
    writer: Writer,
    /// Messages are text where they can be.
    text: bool,
    /// What goes out before anything else: control frames, and the head of the message that was begun.
    raw: Vec<u8>,
    /// Bytes of `raw` that are written.
    raw_written: usize,
    /// Bytes of payload that the message that was begun still needs.
    left: usize,
    /// The answer to the last ping, which has to wait until a message is finished (RFC 6455, 5.5.3: the last will do).
    pong: Option<Box<[u8]>>,
    /// The close frame, which has to wait too.
    close: Option<Box<[u8]>>,
    /// No message may follow: the close frame is on its way.
    closed: bool,
}

impl Out {
    pub(super) fn new(writer: Writer, text: bool) -> Self {
        Self {
            writer,
            text,
            raw: Vec::new(),
            raw_written: 0,
            left: 0,
            pong: None,
            close: None,
            closed: false,
        }
    }

    /// Answers a ping as soon as can be.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        if !self.closed {
            self.pong = Some(payload.into());
        }
    }

    /// Closes because of the peer, or at the end. Only the first reason counts.
    pub(super) fn close(&mut self, code: CloseCode) {
        self.close_with(&code.number().to_be_bytes());
    }

    /// Answers the peer's close frame with its own payload (5.5.1).
    pub(super) fn close_with(&mut self, payload: &[u8]) {
        if !self.closed {
            self.closed = true;
            self.close = Some(payload.into());
        }
    }

    /// Puts the control frames that wait behind what is in `raw`, if no message is under way.
    fn put_control(&mut self) {
        if self.left > 0 {
            return;
        }
        for (opcode, payload) in
            [(Opcode::Pong, self.pong.take()), (Opcode::Close, self.close.take())]
        {
            if let Some(payload) = payload {
                put_head(opcode, payload.len(), &mut self.raw);
                self.raw.extend_from_slice(&payload);
            }
        }
    }

    /// Writes the control frames that wait, unless a message is under way: they follow it.
    pub(super) fn poll_control(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.put_control();
        while self.left == 0 && !self.raw.is_empty() {
            ready!(self.poll_raw(context, &[]))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is in `raw` and the payload behind it; returns the bytes of payload written.
    fn poll_raw(
        &mut self,
        context: &mut Context<'_>,
        payload: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let (mut used, mut left) = (0, self.left);
        let raw = self.raw.get(self.raw_written..).unwrap_or_default();
        let front = (!raw.is_empty()).then_some(raw);
        let payload = payload.iter().map(|slice| &**slice).filter(|slice| !slice.is_empty());
        for (slice, bytes) in slices.iter_mut().zip(front.into_iter().chain(payload)) {
            // What the caller has by now may be more than the message was begun with.
            let limit = if used == 0 && front.is_some() { bytes.len() } else { left };
            let bytes = bytes.get(..limit).unwrap_or(bytes);
            if used > 0 || front.is_none() {
                left -= bytes.len();
            }
            *slice = IoSlice::new(bytes);
            used += 1;
        }
        let raw = raw.len();
        let slices = slices.get(..used).unwrap_or_default();
        let written = ready!(Pin::new(&mut self.writer).poll_write_vectored(context, slices))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        if written < raw {
            self.raw_written += written;
            return Poll::Ready(Ok(0));
        }
        self.raw.clear();
        self.raw_written = 0;
        let payload = written - raw;
        self.left = self.left.saturating_sub(payload);
        Poll::Ready(Ok(payload))
    }

    fn poll_message(
        &mut self,
        context: &mut Context<'_>,
        payload: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.left == 0 {
            if self.closed {
                ready!(self.poll_control(context))?;
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let (opcode, length) = begin(payload, self.text);
            if length == 0 {
                return Poll::Ready(Ok(0));
            }
            self.put_control();
            put_head(opcode, length, &mut self.raw);
            self.left = length;
        }
        loop {
            let written = ready!(self.poll_raw(context, payload))?;
            if written > 0 {
                return Poll::Ready(Ok(written));
            }
        }
    }
}

/// What the next message is and how many bytes it has. Text that ends within a character leaves that to the next one.
fn begin(payload: &[IoSlice<'_>], text: bool) -> (Opcode, usize) {
    let payload = || payload.iter().take(SLICES - 1);
    let length = payload().map(|slice| slice.len()).sum();
    let mut utf8 = Utf8::default();
    if text && payload().all(|slice| utf8.accept(slice)) && utf8.unfinished() < length {
        return (Opcode::Text, length - utf8.unfinished());
    }
    (Opcode::Binary, length)
}

/// The writer that an adapter gets. Whoever is told to wait has to come back with bytes that begin with the same ones,
/// as [`Output`](crate::Output) does: the length of the message is on its way already.
pub(super) struct MessageWriter {
    out: Arc<Mutex<Out>>,
}

impl MessageWriter {
    pub(super) fn new(out: Arc<Mutex<Out>>) -> Self {
        Self { out }
    }
}

impl AsyncWrite for MessageWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.out.lock().poll_message(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.out.lock().poll_message(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.out.lock();
        ready!(out.poll_control(context))?;
        Pin::new(&mut out.writer).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.out.lock();
        out.close(CloseCode::Normal);
        ready!(out.poll_control(context))?;
        Pin::new(&mut out.writer).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Output;
    use bytes::Bytes;
    use tokio::io::AsyncReadExt;

    /// What begins a message of these slices: whether it is text, and its length.
    fn begun(slices: &[&[u8]], text: bool) -> (Opcode, usize) {
        let slices: Vec<IoSlice<'_>> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
        begin(&slices, text)
    }

    #[test]
    fn messages_are_text_where_they_can_be() {
        use Opcode::{Binary, Text};
        let euro = "\u{20ac}".as_bytes();
        assert_eq!(begun(&[b"a", euro], true), (Text, 4));
        assert_eq!(begun(&[b"a", euro], false), (Binary, 4));
        assert_eq!(begun(&[b"a", &euro[..1], &euro[1..]], true), (Text, 4), "cut between slices");
        assert_eq!(begun(&[b"a", &euro[..2]], true), (Text, 1), "the rest comes later");
        assert_eq!(begun(&[&euro[..2]], true), (Binary, 2), "nothing can be said without it");
        assert_eq!(begun(&[b"a", &euro[1..]], true), (Binary, 3));
        assert_eq!(begun(&[], true), (Binary, 0));
        assert_eq!(begun(&vec![&b"a"[..]; 100], true), (Text, 64), "as many as one write takes");
    }

    #[tokio::test]
    async fn one_write_is_one_message_however_the_socket_takes_it() {
        let (near, mut far) = tokio::io::duplex(7);
        let out = Arc::new(Mutex::new(Out::new(Box::new(near), false)));
        let mut output = Output::new(Box::new(MessageWriter::new(out.clone())));
        let big = Bytes::from(vec![b'B'; 70_000]);
        output.tail().extend_from_slice(b"head");
        output.push(&big);
        let writing = tokio::spawn(async move {
            output.write_some().await.unwrap();
            // What comes meanwhile is a message of its own, behind the pong.
            output.tail().extend_from_slice(b"more");
            output.finish().await.unwrap();
            output
        });
        let mut got = vec![0; 20];
        far.read_exact(&mut got).await.unwrap();
        out.lock().pong(b"1");
        out.lock().pong(b"2");
        // As the reading side does, in the middle of a message.
        let context = &mut Context::from_waker(std::task::Waker::noop());
        assert!(out.lock().poll_control(context).is_ready());
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(writing.await.unwrap().written(), 70_008);
        assert!(out.lock().raw.capacity() <= 512, "an idle connection holds next to nothing");
        let mut want = b"\x82\x7f\0\0\0\0\0\x01\x11\x74head".to_vec();
        want.extend_from_slice(&big);
        want.extend_from_slice(b"\x8a\x012\x82\x04more\x88\x02\x03\xe8");
        assert!(got == want, "{} bytes, ends with {:x?}", got.len(), &got[got.len() - 15..]);
    }

    #[tokio::test]
    async fn nothing_follows_a_close() {
        let (near, mut far) = tokio::io::duplex(64);
        let out = Arc::new(Mutex::new(Out::new(Box::new(near), false)));
        let mut output = Output::new(Box::new(MessageWriter::new(out.clone())));
        out.lock().close(CloseCode::TooBig);
        out.lock().close(CloseCode::Normal);
        output.tail().extend_from_slice(b"late");
        assert_eq!(output.write_some().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        drop((output, out));
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"\x88\x02\x03\xf1");
    }
}
