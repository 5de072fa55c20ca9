//! What the micro-benchmarks see of this crate beside its codec: a SEND becomes a message, and a message the shared
//! part of a MESSAGE frame. Not an API: it is compiled with the feature `bench` only.

use crate::codec::{Frame, Version};
use crate::mapping::{self, Look, SendRequest, format_id};
use crate::options::Door;
use bytes::Bytes;
use crossdock_core::{Address, Error, Formats, Message, Native, Origin, Timestamp};
use std::sync::Arc;

/// What one connection's messages have in common.
#[derive(Debug, Clone)]
pub struct Sender {
    pub version: Version,
    pub origin: Arc<Origin>,
    /// Where the last SEND went, and so the next one.
    pub address: Address,
}

/// The message of a SEND.
pub fn message(frame: &Frame, sender: &Sender, now: Timestamp) -> Result<Message, Error> {
    let request = SendRequest::read(&frame.headers, now, &sender.origin.user)?;
    let meta = request.meta(&sender.origin, now);
    let format = format_id(sender.version);
    let native = Native { format, bytes: frame.headers.block().clone() };
    Ok(Message::new(sender.address.clone(), meta, native, frame.body.clone()))
}

/// What stands behind the delivery's own headers, for its first receiver; a small body is in it.
pub fn tail(message: &Message, version: Version, formats: &Formats, door: &Door) -> Bytes {
    mapping::tail(message, Look { version, topic_exchange: "amq.topic", formats, door })
}
