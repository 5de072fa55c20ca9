//! A delivered message → topic name and property block.
//!
//! A reader of the origin's version gets the block that was sent (docs/SEMANTICS.md R1). Everybody else's block is made
//! of the neutral fields once, and shared by all receivers through the message.

use super::format::{FORMAT_5, FORMAT_311, slots};
use crate::codec::{Block, Version, has_any, id, is_utf8};
use bytes::Bytes;
use crossdock_core::fate::{self, Fate, Fates, Field, Losses, Why};
use crossdock_core::message::carry;
use crossdock_core::message::carry::Carry;
use crossdock_core::{Address, BodyKind, Fields, Formats, Id, Message, Name, ReplyTo, Timestamp};
use std::borrow::Cow;

/// Bytes of a topic name at most: the wire's own limit.
const TOPIC_BYTES_MAX: usize = 65_535;

/// What is the same for all receivers of one version.
#[derive(Debug, Clone)]
pub struct Rendered {
    pub topic: Bytes,
    /// Without expiry and subscription identifiers; empty in 3.1.1.
    pub properties: Bytes,
}

/// Turns messages into what stands in a PUBLISH.
#[derive(Clone, Copy)]
pub struct Renderer<'a> {
    pub version: Version,
    pub formats: &'a Formats,
    pub carry: Carry,
}

impl Renderer<'_> {
    /// Topic and properties; `None` when there is no topic name that could be shown.
    pub fn render(&self, message: &Message) -> Option<Rendered> {
        let topic = topic(message.address())?;
        let properties = match self.version {
            Version::V31 | Version::V311 => {
                self.count_lost(message);
                Bytes::new()
            }
            Version::V5 => self.properties(message),
        };
        Some(Rendered { topic, properties })
    }

    /// A smaller block for a client that the first one is too large for (docs/SEMANTICS.md R10): of foreign messages
    /// first without what is carried, then without application headers. What an MQTT 5 client sent stays whole.
    pub fn smaller(&self, message: &Message) -> Vec<Bytes> {
        if !self.version.is_5() || is_own(message) {
            return Vec::new();
        }
        let fields = message.fields(self.formats);
        let bare = Fields { properties: fields.properties.clone(), ..Fields::default() };
        // What is left out for one client is not lost in the conversion, which was counted.
        let fates = &mut Losses::default();
        vec![block(message, fields, Carry::Off, fates), block(message, &bare, Carry::Off, fates)]
    }

    fn properties(&self, message: &Message) -> Bytes {
        if !is_own(message) {
            return message.frame(FORMAT_5, || {
                let mut losses = Losses::default();
                let fields = message.fields(self.formats);
                let block = block(message, fields, self.carry, &mut losses);
                message.converted(FORMAT_5, self.formats, losses);
                block
            });
        }
        match message.meta().deaths().is_empty() || self.carry == Carry::Off {
            true => message.native().bytes.clone(),
            false => message.frame(FORMAT_5, || with_death(message, self.carry)),
        }
    }
}

impl Renderer<'_> {
    /// MQTT 3.1.1 has a place for nothing but body, topic, QoS and retain: what else there is, is counted once.
    fn count_lost(&self, message: &Message) {
        if message.is_to_be_counted(FORMAT_311) {
            let mut losses = Losses::default();
            fate::all_lost(message, &message.fields_for_once(self.formats), &mut losses);
            message.converted(FORMAT_311, self.formats, losses);
        }
    }
}

fn is_own(message: &Message) -> bool {
    message.native().format == FORMAT_5
}

/// The sender's block and the summary of the dead-letter history, which is the broker's to add.
fn with_death(message: &Message, carry: Carry) -> Bytes {
    let mut carried = Vec::new();
    let (none, fates) = (Fields::default(), &mut Losses::default());
    carry::carried(message, &none, (slots(), carry), &mut carried, fates);
    let mut out = Block::new();
    for (name, value) in carried.iter().filter(|(name, _)| &**name == "mq.death") {
        out.user(name, value);
    }
    let mut all = bytes::BytesMut::from(&*message.native().bytes);
    all.extend_from_slice(&out.into_bytes());
    all.freeze()
}

/// The property block of a message that no MQTT 5 client sent. Says of each field what becomes of it.
pub(super) fn block(
    message: &Message,
    fields: &Fields,
    carry: Carry,
    fates: &mut impl Fates,
) -> Bytes {
    let mut out = Block::new();
    mapped(message, fields, &mut out, fates);
    let mut pairs: Vec<(Name, String)> = Vec::new();
    carry::headers_as_text(&fields.headers, &mut pairs);
    // Behind the headers stand their types, if one is no text.
    if pairs.len() > fields.headers.len() && carry == Carry::Off {
        pairs.truncate(fields.headers.len());
        fates.note(Field::HeaderType, "", Fate::Lost(Why::NotCarried));
    }
    carry::carried(message, fields, (slots(), carry), &mut pairs, fates);
    for (at, (name, value)) in pairs.iter().enumerate() {
        let is_written = out.user(name, value);
        if at < fields.headers.len() {
            fates.note(Field::Header, name, or_lost(is_written, name, value));
        } else if let Some(field) = carry::carried_field(name) {
            let fate = if is_written { Fate::Carried(&**name) } else { unwritten(value) };
            fates.note(field, "", fate);
        }
    }
    fate::annotations_lost(fields, fates);
    out.into_bytes().freeze()
}

/// Writes the fields that have a place of their own.
fn mapped(message: &Message, fields: &Fields, out: &mut Block, fates: &mut impl Fates) {
    let properties = &fields.properties;
    // A receiver may check what the indicator promises, and close the connection (MQTT 5 §3.3.2.3.2).
    let is_text = properties.body_kind == BodyKind::Text;
    if is_text && std::str::from_utf8(message.body()).is_ok() {
        out.flag(id::PAYLOAD_FORMAT, true);
        fates.note(Field::PayloadFormat, "", Fate::Mapped("payload format indicator"));
    } else if is_text && properties.content_type.is_none() {
        fates.note(Field::PayloadFormat, "", Fate::Lost(Why::NotWritable));
    }
    if let Some(text) = &properties.content_type {
        let is_written = !text.contains('\0') && out.bytes(id::CONTENT_TYPE, text.as_bytes());
        fates.note(Field::ContentType, "", or_lost(is_written, "content type", text));
    }
    if let Some(reply_to) = &properties.reply_to {
        let topic = response_topic(reply_to);
        let is_written = topic.is_some_and(|topic| out.bytes(id::RESPONSE_TOPIC, &topic));
        fates.note(Field::ReplyTo, "", or_lost(is_written, "response topic", ""));
    }
    if let Some(bytes) = correlation(fields) {
        let is_written = out.bytes(id::CORRELATION_DATA, &bytes);
        if properties.correlation_id.is_some() {
            fates.note(Field::CorrelationId, "", or_lost(is_written, "correlation data", ""));
        }
    }
    if message.meta().expires.is_some() {
        fates.note(Field::Expiry, "", Fate::Mapped("message expiry interval"));
    }
}

/// The fate of what was, or was not, written to its place.
fn or_lost<'a>(is_written: bool, place: &'a str, value: &str) -> Fate<&'a str> {
    if is_written { Fate::Mapped(place) } else { unwritten(value) }
}

/// docs/SEMANTICS.md R5: what can neither be mapped nor carried is not hidden. A string of MQTT has no NUL; whatever
/// else could not be written has too many bytes.
fn unwritten(value: &str) -> Fate<&'static str> {
    Fate::Lost(if value.contains('\0') { Why::NotWritable } else { Why::TooLong })
}

/// The correlation, and for a request without one its message id, which a PUBLISH has no other place for
/// (docs/SEMANTICS.md §5).
fn correlation(fields: &Fields) -> Option<Cow<'_, [u8]>> {
    let p = &fields.properties;
    let id = match (&p.correlation_id, &p.reply_to) {
        (Some(id), _) => id,
        (None, Some(_)) => p.message_id.as_ref()?,
        (None, None) => return None,
    };
    Some(match id {
        Id::Text(text) => Cow::Borrowed(text.as_bytes()),
        Id::Binary(bytes) => Cow::Borrowed(bytes),
        Id::Uuid(_) | Id::U64(_) => {
            Cow::Owned(carry::id_to_text(id, usize::MAX).unwrap_or_default().into_bytes())
        }
    })
}

/// docs/SEMANTICS.md §5: something that this protocol's clients can publish to.
fn response_topic(reply_to: &ReplyTo) -> Option<Bytes> {
    match reply_to {
        ReplyTo::Queue(name) => {
            Some(format!("$reply/q/{}", carry::percent_encode(name, b"/+#")).into())
        }
        ReplyTo::Topic(key) => shown(key.bytes()),
        ReplyTo::Opaque(text) => shown(&Bytes::copy_from_slice(text.as_bytes())),
    }
}

/// The topic name of a message: its key, or `$q/<queue>` for what was published to a queue.
fn topic(address: &Address) -> Option<Bytes> {
    match address.is_queue() {
        false => shown(address.key.bytes()),
        true => {
            let name = String::from_utf8_lossy(address.key.bytes());
            // A queue's name is opaque, so its `+` is a plus, not the dotted form's wildcard.
            shown(&match memchr::memchr3(b'+', b'#', 0, name.as_bytes()) {
                None => format!("$q/{name}").into(),
                Some(_) => format!("$q/{}", carry::percent_encode(&name, b"+#")).into(),
            })
        }
    }
}

/// A key as a topic name. What a topic name cannot hold is percent-encoded, for display only (docs/SEMANTICS.md §1):
/// wildcards, NUL, and bytes that are no UTF-8. A key is in topic form here, so a literal `*` of the dotted form is a
/// `+`.
fn shown(key: &Bytes) -> Option<Bytes> {
    let clean = !key.is_empty() && !has_any(key, [b'+', b'#', 0]) && is_utf8(key);
    let text = match clean {
        true => key.clone(),
        // A topic name has at least one character [MQTT-4.7.3-1].
        false if key.is_empty() => Bytes::from_static(b"/"),
        false => percent_encoded(key).into(),
    };
    (text.len() <= TOPIC_BYTES_MAX).then_some(text)
}

fn percent_encoded(key: &[u8]) -> String {
    let mut out = String::with_capacity(key.len() + 8);
    for chunk in key.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '+' => out.push_str("%2A"),
                '#' => out.push_str("%23"),
                '\0' => out.push_str("%00"),
                other => out.push(other),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Seconds that are left of a message's life: rounded up, never 0 (docs/SEMANTICS.md R7). `None`: no expiry.
pub fn remaining_seconds(expires: Option<Timestamp>, now: Timestamp) -> Option<u32> {
    let left = now.until(expires?).div_ceil(1000).max(1);
    Some(u32::try_from(left).unwrap_or(u32::MAX))
}
