//! Frames (AMQP 0-9-1 §2.3.5): type, channel, size, payload, end octet. Decoding takes whole frames off a read
//! buffer; payloads are slices of it.

use super::refusal::{Refusal, ReplyCode};
use super::wire::{Reader, sized};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The octet behind every payload.
pub const END: u8 = 0xCE;
/// Octets of a frame that are not payload.
pub const OVERHEAD: usize = 8;
/// The least frame size that a peer may insist on (§4.2.3, frame-min-size).
pub const SIZE_MIN: usize = 4096;
/// What a client sends first.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const BEAT: u8 = 8;

/// The four types of frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    Method,
    Header,
    Body,
    Heartbeat,
}

/// One frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: FrameKind,
    pub channel: u16,
    pub payload: Bytes,
}

/// Takes one whole frame off the front; none when more bytes are needed. `size_max` counts the whole frame.
pub fn decode(buffer: &mut BytesMut, size_max: usize) -> Result<Option<Frame>, Refusal> {
    let mut reader = Reader::new(buffer);
    let (Ok(kind), Ok(channel), Ok(size)) = (reader.u8(), reader.u16(), reader.u32()) else {
        return Ok(None);
    };
    let kind = match kind {
        METHOD => FrameKind::Method,
        HEADER => FrameKind::Header,
        BODY => FrameKind::Body,
        BEAT => FrameKind::Heartbeat,
        other => return Err(frame_error(format!("frames of type {other} are not known"))),
    };
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    // The head alone decides: nothing is gathered for a frame that will be refused.
    if size > size_max.saturating_sub(OVERHEAD) {
        let whole = size.saturating_add(OVERHEAD);
        return Err(frame_error(format!("a frame of {whole} octets is over the limit {size_max}")));
    }
    if reader.rest().len() <= size {
        return Ok(None);
    }
    if kind == FrameKind::Heartbeat && (size != 0 || channel != 0) {
        return Err(frame_error("a heartbeat is empty and on channel 0"));
    }
    let mut whole = buffer.split_to(size + OVERHEAD).freeze();
    if whole.last() != Some(&END) {
        return Err(frame_error("the end octet of a frame is missing"));
    }
    whole.advance(OVERHEAD - 1);
    whole.truncate(size);
    Ok(Some(Frame { kind, channel, payload: whole }))
}

fn frame_error(text: impl std::fmt::Display) -> Refusal {
    Refusal::new(ReplyCode::FrameError, text)
}

/// Writes a method frame; `write` appends class, method and arguments.
#[inline]
pub fn put_method(out: &mut BytesMut, channel: u16, write: impl FnOnce(&mut BytesMut)) {
    put_head(out, METHOD, channel);
    sized(out, write);
    out.put_u8(END);
}

fn put_head(out: &mut BytesMut, kind: u8, channel: u16) {
    out.put_u8(kind);
    out.put_u16(channel);
}

/// Writes a content header frame of class basic.
pub fn put_content_header(out: &mut BytesMut, channel: u16, body_size: u64, properties: &[u8]) {
    put_head(out, HEADER, channel);
    let size = CONTENT_HEADER_FIXED + properties.len();
    out.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
    out.put_u16(BASIC);
    out.put_u16(0);
    out.put_u64(body_size);
    out.put_slice(properties);
    out.put_u8(END);
}

/// Writes the head of a body frame; `size` octets and the end octet follow.
pub fn put_body_head(out: &mut BytesMut, channel: u16, size: usize) {
    put_head(out, BODY, channel);
    out.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
}

/// A whole heartbeat frame (§4.2.7).
pub const HEARTBEAT: &[u8] = &[BEAT, 0, 0, 0, 0, 0, 0, END];

/// Class, weight and body size of a content header.
pub const CONTENT_HEADER_FIXED: usize = 12;
/// The class id of basic: the only class with content.
pub const BASIC: u16 = 60;

/// What a content header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentHeader {
    pub body_size: u64,
    /// Property flags and properties, as they came.
    pub properties: Bytes,
}

impl ContentHeader {
    /// Reads a header frame's payload; the properties stay encoded.
    pub fn decode(payload: &Bytes) -> Result<Self, Refusal> {
        let mut reader = Reader::new(payload);
        let (class, weight, body_size) = (reader.u16()?, reader.u16()?, reader.u64()?);
        if class != BASIC || weight != 0 {
            let text = format!("content of class {class} was not expected");
            return Err(Refusal::new(ReplyCode::UnexpectedFrame, text));
        }
        Ok(Self { body_size, properties: payload.slice_ref(reader.rest()) })
    }
}
