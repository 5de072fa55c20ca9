//! What travels between protocols that have no place of their own for it: `mq.<field>` properties, typed values as
//! text, ids as text. docs/SEMANTICS.md R3, R4, R6, §3 and §4. Pure functions of a message.
//!
//! Going out, [`carried`] writes what the reader's protocol lacks; coming in, [`restore`] takes the same names out of
//! the headers and sets the fields again.

use super::fate::{Fate, Fates, Field, Why};
use super::json;
use super::text64::{self, Alphabet};
use super::{BodyKind, Fields, Id, Message, Name, Properties, ReplyTo, Value, lookup};
use std::borrow::Cow;
use std::fmt::Write;
use std::ops::BitOr;

/// The prefix of the names that belong to the broker.
pub const RESERVED: &str = "mq.";

/// Reserved headers that the broker itself writes: why a content route failed, and whence an operator moved a message.
pub fn is_brokers_own(name: &str) -> bool {
    name.starts_with("mq.error.") || name == "mq.redriven"
}
/// In front of a base64url correlation id that had to stand in a text slot.
const BASE64_ALIAS: &str = "mq.b64.";
const UUID_PREFIX: &str = "urn:uuid:";

/// How much is carried (R6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Carry {
    #[default]
    Full,
    Standard,
    Off,
}

/// Fields that a protocol has a place of its own for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots(u32);

impl Slots {
    pub const NONE: Slots = Slots(0);
    pub const MESSAGE_ID: Slots = Slots(1);
    pub const CORRELATION_ID: Slots = Slots(1 << 1);
    pub const TIMESTAMP: Slots = Slots(1 << 2);
    pub const USER_ID: Slots = Slots(1 << 3);
    pub const CONTENT_TYPE: Slots = Slots(1 << 4);
    pub const CONTENT_ENCODING: Slots = Slots(1 << 5);
    pub const PRIORITY: Slots = Slots(1 << 6);
    pub const TYPE: Slots = Slots(1 << 7);
    pub const APP_ID: Slots = Slots(1 << 8);
    pub const SUBJECT: Slots = Slots(1 << 9);
    pub const GROUP_ID: Slots = Slots(1 << 10);
    pub const GROUP_SEQ: Slots = Slots(1 << 11);
    pub const DEDUP_ID: Slots = Slots(1 << 12);
    pub const REPLY_TO: Slots = Slots(1 << 13);
    pub const PAYLOAD_FORMAT: Slots = Slots(1 << 14);

    /// True when all of `other` are in.
    pub const fn has(self, other: Slots) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Slots {
    type Output = Slots;
    fn bitor(self, other: Slots) -> Slots {
        Slots(self.0 | other.0)
    }
}

/// A text field that is carried like the others of its kind.
struct TextField {
    /// The name that it is carried as.
    name: &'static str,
    field: Field,
    slot: Slots,
    /// `standard` carries it, too.
    standard: bool,
    get: fn(&Properties) -> &Option<Name>,
    get_mut: fn(&mut Properties) -> &mut Option<Name>,
}

macro_rules! text_field {
    ($name:literal, $kind:ident, $slot:ident, $standard:literal, $field:ident) => {
        TextField {
            name: concat!("mq.", $name),
            field: Field::$kind,
            slot: Slots::$slot,
            standard: $standard,
            get: |p| &p.$field,
            get_mut: |p| &mut p.$field,
        }
    };
}

const TEXT_FIELDS: [TextField; 7] = [
    text_field!("user-id", UserId, USER_ID, true, user_id),
    text_field!("content-encoding", ContentEncoding, CONTENT_ENCODING, true, content_encoding),
    text_field!("type", Type, TYPE, true, kind),
    text_field!("app-id", AppId, APP_ID, true, app_id),
    text_field!("dedup-id", DedupId, DEDUP_ID, true, dedup_id),
    text_field!("subject", Subject, SUBJECT, false, subject),
    text_field!("group-id", GroupId, GROUP_ID, false, group_id),
];

/// Where fields go that have no place of their own.
struct Carried<'a, F> {
    slots: Slots,
    carry: Carry,
    out: &'a mut Vec<(Name, String)>,
    fates: &'a mut F,
}

impl<F: Fates> Carried<'_, F> {
    /// Carries a field as `name`, unless its slot is there, and says what became of it. `standard`: [`Carry::Standard`]
    /// carries it, too.
    fn put(
        &mut self,
        (field, slot): (Field, Slots),
        standard: bool,
        name: &'static str,
        text: impl FnOnce() -> String,
    ) {
        if self.slots.has(slot) {
            return;
        }
        match self.carry {
            Carry::Full => {}
            Carry::Standard if standard => {}
            Carry::Standard | Carry::Off => {
                return self.fates.note(field, "", Fate::Lost(Why::NotCarried));
            }
        }
        self.fates.note(field, "", Fate::Carried(name));
        self.out.push((name.into(), text()));
    }
}

/// Appends `mq.<field>` pairs for what the reader's protocol (`slots`) has no place for, and says what becomes of these
/// fields; not of those that have a slot.
pub fn carried(
    message: &Message,
    fields: &Fields,
    (slots, carry): (Slots, Carry),
    out: &mut Vec<(Name, String)>,
    fates: &mut impl Fates,
) {
    let (p, meta) = (&fields.properties, message.meta());
    let mut carried = Carried { slots, carry, out, fates };
    for field in &TEXT_FIELDS {
        if let Some(text) = (field.get)(p) {
            let which = (field.field, field.slot);
            carried.put(which, field.standard, field.name, || text.to_string());
        }
    }
    if let Some(id) = &p.message_id {
        let which = (Field::MessageId, Slots::MESSAGE_ID);
        carried.put(which, true, "mq.message-id", || text_of(id));
    }
    if let Some(ms) = p.created_at {
        let which = (Field::Timestamp, Slots::TIMESTAMP);
        carried.put(which, true, "mq.timestamp", || ms.to_string());
    }
    if let Some(priority) = meta.priority {
        let which = (Field::Priority, Slots::PRIORITY);
        carried.put(which, true, "mq.priority", || priority.to_string());
    }
    if let Some(death) = meta.deaths().first()
        && carry != Carry::Off
    {
        let (queue, reason, count) = (&death.queue, death.reason.as_str(), death.count);
        carried.out.push(("mq.death".into(), format!("{queue};{reason};{count}")));
    }
    carried_in_full(fields, &mut carried);
    let client = &meta.origin.client;
    if carry == Carry::Full && !client.is_empty() {
        carried.out.push(("mq.origin-client-id".into(), client.to_string()));
    }
}

/// What only [`Carry::Full`] carries.
fn carried_in_full(fields: &Fields, carried: &mut Carried<'_, impl Fates>) {
    let p = &fields.properties;
    if let Some(id) = &p.correlation_id {
        let which = (Field::CorrelationId, Slots::CORRELATION_ID);
        carried.put(which, false, "mq.correlation-id", || text_of(id));
    }
    if let Some(seq) = p.group_seq {
        let which = (Field::GroupSeq, Slots::GROUP_SEQ);
        carried.put(which, false, "mq.group-seq", || seq.to_string());
    }
    if let Some(reply_to) = &p.reply_to {
        let which = (Field::ReplyTo, Slots::REPLY_TO);
        carried.put(which, false, "mq.reply-to", || reply_to_text(reply_to));
    }
    if p.body_kind == BodyKind::Text && p.content_type.is_none() {
        let which = (Field::PayloadFormat, Slots::PAYLOAD_FORMAT);
        carried.put(which, false, "mq.payload-format", || "1".into());
    }
}

/// An id as text, however long.
pub fn text_of(id: &Id) -> String {
    id_to_text(id, usize::MAX).unwrap_or_default()
}

/// The field that is carried as that name; none: it is no field's.
pub fn carried_field(name: &str) -> Option<Field> {
    let others = [
        ("mq.message-id", Field::MessageId),
        ("mq.timestamp", Field::Timestamp),
        ("mq.priority", Field::Priority),
        ("mq.correlation-id", Field::CorrelationId),
        ("mq.group-seq", Field::GroupSeq),
        ("mq.reply-to", Field::ReplyTo),
        ("mq.payload-format", Field::PayloadFormat),
        ("mq.types", Field::HeaderType),
    ];
    let texts = TEXT_FIELDS.iter().map(|field| (field.name, field.field));
    texts.chain(others).find(|(known, _)| *known == name).map(|(_, field)| field)
}

fn reply_to_text(reply_to: &ReplyTo) -> String {
    match reply_to {
        ReplyTo::Queue(name) => format!("queue:{name}"),
        ReplyTo::Topic(key) => format!("topic:{key}"),
        ReplyTo::Opaque(text) => text.to_string(),
    }
}

/// Takes the `mq.*` headers out and sets the fields they stand for, where the sender's protocol has no place of its
/// own. What the broker alone may say (`mq.user-id`, `mq.origin-…`, `mq.death…`, `mq.error…`) sets nothing.
pub fn restore(fields: &mut Fields, slots: Slots) {
    if !fields.headers.iter().any(|(name, _)| name.starts_with(RESERVED)) {
        return;
    }
    let (reserved, headers) = std::mem::take(&mut fields.headers)
        .into_iter()
        .partition::<Vec<_>, _>(|(name, _)| name.starts_with(RESERVED));
    fields.headers = headers;
    for (name, value) in &reserved {
        if let Some(original) = name.strip_prefix("mq.h.") {
            fields.headers.push((original.into(), value.clone()));
        }
    }
    let text = |name: &str| {
        let value = lookup(&reserved, &format!("{RESERVED}{name}"))?;
        value.as_str().map(str::to_owned)
    };
    for field in &TEXT_FIELDS {
        if field.field != Field::UserId
            && !slots.has(field.slot)
            && let Some(value) = lookup(&reserved, field.name).and_then(|value| value.as_str())
        {
            *(field.get_mut)(&mut fields.properties) = Some(value.into());
        }
    }
    restore_rest(&mut fields.properties, slots, &text);
    if let Some(types) = text("types") {
        restore_types(&mut fields.headers, &types);
    }
}

fn restore_rest(properties: &mut Properties, slots: Slots, text: &impl Fn(&str) -> Option<String>) {
    let wanted = |slot, name| if slots.has(slot) { None } else { text(name) };
    if let Some(id) = wanted(Slots::MESSAGE_ID, "message-id") {
        properties.message_id = Some(id_from_text(&id));
    }
    if let Some(id) = wanted(Slots::CORRELATION_ID, "correlation-id") {
        properties.correlation_id = Some(id_from_text(&id));
    }
    if let Some(ms) = wanted(Slots::TIMESTAMP, "timestamp").and_then(|t| t.parse().ok()) {
        properties.created_at = Some(ms);
    }
    if let Some(seq) = wanted(Slots::GROUP_SEQ, "group-seq").and_then(|t| t.parse().ok()) {
        properties.group_seq = Some(seq);
    }
    if wanted(Slots::PAYLOAD_FORMAT, "payload-format").as_deref() == Some("1") {
        properties.body_kind = BodyKind::Text;
    }
}

/// `mq.types` is `name=code,…` with `,` `=` `%` of names percent-encoded; of repeated names the n-th code is the n-th
/// header's.
fn restore_types(headers: &mut [(Name, Value)], types: &str) {
    let mut done = vec![false; headers.len()];
    for pair in types.split(',') {
        let Some((name, code)) = pair.split_once('=') else { continue };
        let Some(name) = percent_decode(name).and_then(|n| String::from_utf8(n).ok()) else {
            continue;
        };
        let found =
            headers.iter_mut().zip(&mut done).find(|((n, _), done)| **n == *name && !**done);
        if let Some(((_, value), done)) = found {
            *done = true;
            if let Some(typed) = value.as_str().and_then(|text| from_text(text, code)) {
                *value = typed;
            }
        }
    }
}

/// The priority that an `mq.priority` header asks for.
pub fn priority<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Option<u8> {
    headers.into_iter().find(|(name, _)| *name == "mq.priority").and_then(|(_, v)| v.parse().ok())
}

/// All headers as text, and `mq.types` when any was not text.
pub fn headers_as_text(headers: &[(Name, Value)], out: &mut Vec<(Name, String)>) {
    let mut types = String::new();
    for (name, value) in headers {
        let (text, code) = to_text(value);
        if let Some(code) = code {
            let comma = if types.is_empty() { "" } else { "," };
            // Writing to a string never fails.
            let _ = write!(types, "{comma}{}={code}", percent_encode(name, b",=%"));
        }
        out.push((name.clone(), text.into_owned()));
    }
    if !types.is_empty() {
        out.push(("mq.types".into(), types));
    }
}

/// A value as text, and its code in `mq.types` (none for text).
pub fn to_text(value: &Value) -> (Cow<'_, str>, Option<&'static str>) {
    let (text, code) = match value {
        Value::Text(text) => return (Cow::Borrowed(text), None),
        Value::Symbol(text) => return (Cow::Borrowed(text), Some("sym")),
        Value::Null => (String::new(), "null"),
        Value::Bool(b) => (b.to_string(), "b"),
        Value::I8(n) => (n.to_string(), "i8"),
        Value::I16(n) => (n.to_string(), "i16"),
        Value::I32(n) => (n.to_string(), "i32"),
        Value::I64(n) => (n.to_string(), "i64"),
        Value::U8(n) => (n.to_string(), "u8"),
        Value::U16(n) => (n.to_string(), "u16"),
        Value::U32(n) => (n.to_string(), "u32"),
        Value::U64(n) => (n.to_string(), "u64"),
        Value::F32(n) => (n.to_string(), "f32"),
        Value::F64(n) => (n.to_string(), "f64"),
        Value::Decimal { scale, value } => (decimal_text(*scale, *value), "dec"),
        Value::Char(c) => (c.to_string(), "char"),
        Value::Timestamp(ms) => (ms.to_string(), "ts"),
        Value::Uuid(id) => (uuid_text(id), "uuid"),
        Value::Bytes(bytes) => (text64::encode(bytes, Alphabet::Standard), "bin"),
        Value::List(_) | Value::Map(_) => (json::write(value), "json"),
    };
    (Cow::Owned(text), Some(code))
}

/// The value that [`to_text`] wrote as `text` with that code.
pub fn from_text(text: &str, code: &str) -> Option<Value> {
    Some(match code {
        "sym" => Value::Symbol(text.into()),
        "null" => Value::Null,
        "b" => Value::Bool(text.parse().ok()?),
        "i8" => Value::I8(text.parse().ok()?),
        "i16" => Value::I16(text.parse().ok()?),
        "i32" => Value::I32(text.parse().ok()?),
        "i64" => Value::I64(text.parse().ok()?),
        "u8" => Value::U8(text.parse().ok()?),
        "u16" => Value::U16(text.parse().ok()?),
        "u32" => Value::U32(text.parse().ok()?),
        "u64" => Value::U64(text.parse().ok()?),
        "f32" => Value::F32(text.parse().ok()?),
        "f64" => Value::F64(text.parse().ok()?),
        "dec" => decimal_from(text)?,
        "char" => Value::Char(text.parse().ok()?),
        "ts" => Value::Timestamp(text.parse().ok()?),
        "uuid" => Value::Uuid(uuid_from(text)?),
        "bin" => Value::Bytes(text64::decode(text, Alphabet::Standard)?.into()),
        "json" => json::read(text)?,
        _ => return None,
    })
}

fn decimal_text(scale: u8, value: i32) -> String {
    let digits = i64::from(value).unsigned_abs().to_string();
    let scale = usize::from(scale);
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, rest) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    let point = if scale == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{rest}")
}

fn decimal_from(text: &str) -> Option<Value> {
    let scale = text.split_once('.').map_or(0, |(_, rest)| rest.len());
    let value = text.replacen('.', "", 1).parse().ok()?;
    Some(Value::Decimal { scale: u8::try_from(scale).ok()?, value })
}

/// The canonical form of a UUID.
pub fn uuid_text(id: &[u8; 16]) -> String {
    let hex: String = id.iter().fold(String::with_capacity(36), |mut text, byte| {
        if matches!(text.len(), 8 | 13 | 18 | 23) {
            text.push('-');
        }
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
        text
    });
    hex
}

fn uuid_from(text: &str) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let hex: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    let mut id = [0; 16];
    if hex.len() != 32 {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(hex.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(id)
}

/// An id as text of at most `max` bytes; binary ids as `mq.b64.<base64url>`. None when it does not fit.
pub fn id_to_text(id: &Id, max: usize) -> Option<String> {
    let text = match id {
        Id::Text(text) => text.to_string(),
        Id::Binary(bytes) => format!("{BASE64_ALIAS}{}", base64url(bytes)),
        Id::Uuid(id) => format!("{UUID_PREFIX}{}", uuid_text(id)),
        Id::U64(n) => n.to_string(),
    };
    (text.len() <= max).then_some(text)
}

/// The id that a text slot holds; an alias is undone.
pub fn id_from_text(text: &str) -> Id {
    if let Some(bytes) = text.strip_prefix(BASE64_ALIAS).and_then(from_base64url) {
        return Id::Binary(bytes.into());
    }
    match text.strip_prefix(UUID_PREFIX).and_then(uuid_from) {
        Some(id) => Id::Uuid(id),
        None => Id::Text(text.into()),
    }
}

/// Base64url without padding.
pub fn base64url(bytes: &[u8]) -> String {
    text64::encode(bytes, Alphabet::Url)
}

/// The bytes of [`base64url`].
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    text64::decode(text, Alphabet::Url)
}

/// The octets of `which`, control characters and `%` as `%XX`.
pub fn percent_encode(text: &str, which: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match u8::try_from(c) {
            Ok(b) if b == b'%' || b.is_ascii_control() || which.contains(&b) => {
                // Writing to a string never fails.
                let _ = write!(out, "%{b:02X}");
            }
            _ => out.push(c),
        }
    }
    out
}

/// Undoes `%XX`; none when a `%` is not followed by two hexadecimal digits.
pub fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return None };
        let digit = |b: &u8| char::from(*b).to_digit(16);
        out.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
        rest = tail;
    }
    Some(out)
}

#[cfg(test)]
#[path = "carry_tests.rs"]
mod tests;
