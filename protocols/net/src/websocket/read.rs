//! Bytes from the peer's messages. What comes from the socket is decoded in the very buffer that the adapter reads
//! into: heads and control frames are taken out, masks are taken off, and what remains moves together.

use super::frame::{CONTROL_MAX, CloseCode, HEAD_MAX, Head, Opcode, head, unmask};
use super::utf8::Utf8;
use super::write::Out;
use crate::input::Reader;
use bytes::BytesMut;
use parking_lot::Mutex;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The reader that an adapter gets.
pub(super) struct MessageReader {
    reader: Reader,
    /// What came behind the opening request and was not read yet.
    before: BytesMut,
    decoder: Decoder,
    out: Arc<Mutex<Out>>,
    /// Nothing more is read: the peer closed, or did what it may not.
    end: Option<End>,
    /// A peer that was refused is read, for nothing, until then: a socket that is closed while something lies unread in
    /// it is reset, and the reason with it.
    discard_until: Option<Pin<Box<Sleep>>>,
}

/// How long a peer that was refused is read.
const DISCARD_TIME: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The peer closed the WebSocket or the socket.
    Closed,
    /// It is told this code.
    Refused(CloseCode),
}

/// What the frames so far lead to.
#[derive(Default)]
struct Decoder {
    /// The head that is being read.
    head: [u8; HEAD_MAX],
    /// Bytes of it that are there.
    have: usize,
    /// Bytes of a frame's payload, at most.
    payload_max: u64,
    /// Text is refused.
    only_binary: bool,
    /// The frame whose payload is being read, with what is left of it.
    frame: Option<Head>,
    /// The message that is not finished, if it has text.
    text: Option<Utf8>,
    /// Another frame of the message has to follow.
    unfinished: bool,
    /// The payload of a control frame so far.
    control: Vec<u8>,
}

/// What a control frame asks for.
enum Control {
    Ping(Vec<u8>),
    Close(Vec<u8>),
}

impl MessageReader {
    pub(super) fn new(
        reader: Reader,
        before: BytesMut,
        out: Arc<Mutex<Out>>,
        (payload_max, only_binary): (u64, bool),
    ) -> Self {
        let decoder = Decoder { payload_max, only_binary, ..Decoder::default() };
        Self { reader, before, decoder, out, end: None, discard_until: None }
    }

    /// Reads once; returns the number of bytes that are in the buffer now, in front of what can still be filled.
    fn poll_raw(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let start = buffer.filled().len();
        if self.before.is_empty() {
            ready!(Pin::new(&mut self.reader).poll_read(context, buffer))?;
        } else {
            let length = self.before.len().min(buffer.remaining());
            buffer.put_slice(&self.before.split_to(length));
            if self.before.is_empty() {
                self.before = BytesMut::new();
            }
        }
        Poll::Ready(Ok(buffer.filled().len() - start))
    }

    /// Takes what a refused peer still sends and forgets it. Ready when it has closed its side, or the time is over.
    fn poll_discard(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<()> {
        let until = self.discard_until.get_or_insert_with(|| Box::pin(sleep(DISCARD_TIME)));
        if until.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let start = buffer.filled().len();
        loop {
            let read = ready!(self.poll_raw(context, buffer));
            buffer.set_filled(start);
            if !matches!(read, Ok(1..)) {
                return Poll::Ready(());
            }
        }
    }

    /// Decodes what was read; returns how many bytes of it are payload, moved to the front.
    fn decode(&mut self, bytes: &mut [u8]) -> usize {
        let (mut read, mut kept) = (0, 0);
        while read < bytes.len() && self.end.is_none() {
            match self.decoder.step(bytes, &mut read, &mut kept) {
                Ok(None) => {}
                Ok(Some(Control::Ping(payload))) => self.out.lock().pong(&payload),
                Ok(Some(Control::Close(payload))) => {
                    self.out.lock().close_with(&payload);
                    self.end = Some(End::Closed);
                }
                Err(code) => {
                    self.out.lock().close(code);
                    self.end = Some(End::Refused(code));
                }
            }
        }
        kept
    }
}

impl AsyncRead for MessageReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            // What waits for the socket is written when it can be, and holds up nothing: an error shows in the read.
            let _ = this.out.lock().poll_control(context);
            match this.end {
                Some(End::Closed) => return Poll::Ready(Ok(())),
                Some(End::Refused(code)) => {
                    ready!(this.poll_discard(context, buffer));
                    let detail = format!("the peer broke WebSocket: closed with {}", code.number());
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, detail)));
                }
                None if buffer.remaining() == 0 => return Poll::Ready(Ok(())),
                None => {}
            }
            let start = buffer.filled().len();
            let read = ready!(this.poll_raw(context, buffer))?;
            if read == 0 {
                this.end = Some(End::Closed);
            }
            let kept = this.decode(buffer.filled_mut().get_mut(start..).unwrap_or_default());
            buffer.set_filled(start + kept);
            if kept > 0 {
                let _ = this.out.lock().poll_control(context);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Decoder {
    /// Takes the next part of `bytes` from `read` on: of a head, or of a payload. Payload of messages is moved to
    /// `kept`.
    fn step(
        &mut self,
        bytes: &mut [u8],
        read: &mut usize,
        kept: &mut usize,
    ) -> Result<Option<Control>, CloseCode> {
        let Some(mut frame) = self.frame.take() else {
            if let Some((place, byte)) = self.head.get_mut(self.have).zip(bytes.get(*read)) {
                *place = *byte;
            }
            (self.have, *read) = (self.have + 1, *read + 1);
            let Some(frame) =
                head(self.head.get(..self.have).unwrap_or_default(), self.payload_max)?
            else {
                return Ok(None);
            };
            self.have = 0;
            self.begin(frame)?;
            return self.after(frame);
        };
        let rest = bytes.len() - *read;
        let length = usize::try_from(frame.length).map_or(rest, |length| length.min(rest));
        let part = bytes.get_mut(*read..*read + length).unwrap_or_default();
        frame.mask = unmask(part, frame.mask);
        frame.length -= length as u64;
        if frame.opcode.is_control() {
            self.control.extend_from_slice(part);
        } else {
            if self.text.as_mut().is_some_and(|text| !text.accept(part)) {
                return Err(CloseCode::NotText);
            }
            bytes.copy_within(*read..*read + length, *kept);
            *kept += length;
        }
        *read += length;
        self.after(frame)
    }

    /// Whether the frame may come now (5.4).
    fn begin(&mut self, frame: Head) -> Result<(), CloseCode> {
        match frame.opcode {
            Opcode::Continuation if self.unfinished => {}
            Opcode::Text if self.only_binary => return Err(CloseCode::Unsupported),
            Opcode::Text | Opcode::Binary if !self.unfinished => {
                self.text = (frame.opcode == Opcode::Text).then(Utf8::default);
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                return Err(CloseCode::ProtocolError);
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong => return Ok(()),
        }
        self.unfinished = !frame.last;
        Ok(())
    }

    /// Ends the frame, if all of it came, or keeps it.
    fn after(&mut self, frame: Head) -> Result<Option<Control>, CloseCode> {
        if frame.length > 0 {
            self.frame = Some(frame);
            return Ok(None);
        }
        if frame.opcode.is_control() {
            return control(frame.opcode, std::mem::take(&mut self.control));
        }
        if frame.last && self.text.take().is_some_and(|text| text.unfinished() > 0) {
            return Err(CloseCode::NotText);
        }
        Ok(None)
    }
}

/// What a whole control frame means.
fn control(opcode: Opcode, payload: Vec<u8>) -> Result<Option<Control>, CloseCode> {
    debug_assert!(payload.len() <= CONTROL_MAX);
    match opcode {
        Opcode::Ping => Ok(Some(Control::Ping(payload))),
        Opcode::Close => match payload.split_first_chunk() {
            None if payload.is_empty() => Ok(Some(Control::Close(payload))),
            // 5.5.1: a code, and a text that gives the reason. 7.4: codes that may stand there.
            Some((code, reason)) => match (u16::from_be_bytes(*code), str::from_utf8(reason)) {
                (1000..=1003 | 1007..=1014 | 3000..=4999, Ok(_)) => {
                    Ok(Some(Control::Close(code.to_vec())))
                }
                (1000..=1003 | 1007..=1014 | 3000..=4999, Err(_)) => Err(CloseCode::NotText),
                _ => Err(CloseCode::ProtocolError),
            },
            None => Err(CloseCode::ProtocolError),
        },
        _ => Ok(None),
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
