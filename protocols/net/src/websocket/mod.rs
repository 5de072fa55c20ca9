//! WebSocket (RFC 6455) as a transport: behind the opening request an adapter reads and writes bytes as it does on any
//! other connection. Where messages and frames begin and end means nothing to it: a protocol's frame may be split or
//! joined anywhere. Nothing is gathered: what comes is handed on at once, and what is written goes out as one message.
//! Compression (permessage-deflate) is not offered.
//!
//! | file | what it does |
//! |---|---|
//! | `request` | the opening HTTP request: path, sub-protocol, origin; what is answered |
//! | `frame` | heads of frames, masks, reasons to close |
//! | `read` | bytes from the peer's messages; pings and the peer's close |
//! | `write` | messages to the peer; pongs and the closing |
//! | `utf8` | whether text that comes in pieces is UTF-8 |

mod frame;
mod read;
mod request;
mod utf8;
mod write;

pub(crate) use request::{Rules, agree, request_head};

use crate::input::Reader;
use crate::output::Writer;
use bytes::BytesMut;
use parking_lot::Mutex;
use std::sync::Arc;

/// Both directions of a connection whose opening request was answered. `head` came behind the request. `text`: messages
/// to the peer are text where they can be; `only_binary`: those of the peer have to be binary. `message_bytes`: the
/// largest message that a protocol takes.
pub(crate) fn open(
    reader: Reader,
    head: BytesMut,
    writer: Writer,
    (text, only_binary, message_bytes): (bool, bool, usize),
) -> (Reader, Writer) {
    let payload_max = frame::payload_max(message_bytes);
    let out = Arc::new(Mutex::new(write::Out::new(writer, text)));
    let reader = read::MessageReader::new(reader, head, out.clone(), (payload_max, only_binary));
    (Box::new(reader), Box::new(write::MessageWriter::new(out)))
}
