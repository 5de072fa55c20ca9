//! Field tables and their values (AMQP 0-9-1 §4.2.5, with the type letters that deployed clients use). Typed, in
//! order, duplicates kept. Nesting is limited to 32 levels; checking a table allocates nothing.
//!
//! | letter | value | | letter | value |
//! |---|---|---|---|---|
//! | `t` | boolean | | `f` `d` | 32-bit, 64-bit float |
//! | `b` `B` | 8-bit, signed and not | | `D` | decimal: scale octet, 32-bit value |
//! | `s` `u` | 16-bit | | `S` `x` | long string, byte array |
//! | `I` `i` | 32-bit | | `T` | seconds since 1970 |
//! | `l` `L` | signed 64-bit | | `A` `F` `V` | array, table, void |
//!
//! `L` is what py-amqp writes; the specification lets peers differ over it, and RabbitMQ reads it as `l`.

use super::wire::{Malformed, Reader, put_long, put_short, sized};
use bytes::{BufMut, Bytes, BytesMut};
use crossdock_core::{Name, Value};

/// Tables in tables deeper than this are refused.
pub const DEPTH_MAX: usize = 32;

/// Names and values.
pub type Pairs = Vec<(Name, Value)>;

/// Reads the content of a table (without its length).
pub fn decode(content: &[u8]) -> Result<Pairs, Malformed> {
    decode_pairs(content, DEPTH_MAX)
}

fn decode_pairs(content: &[u8], depth: usize) -> Result<Pairs, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    let mut reader = Reader::new(content);
    let mut pairs = Vec::new();
    while !reader.is_empty() {
        let name = text(reader.short()?);
        pairs.push((name, decode_value(&mut reader, depth)?));
    }
    Ok(pairs)
}

fn text(bytes: &[u8]) -> Name {
    Name::from(&*String::from_utf8_lossy(bytes))
}

fn decode_value(reader: &mut Reader<'_>, depth: usize) -> Result<Value, Malformed> {
    Ok(match reader.u8()? {
        b't' => Value::Bool(reader.u8()? != 0),
        b'b' => Value::I8(i8::from_be_bytes(reader.array()?)),
        b'B' => Value::U8(reader.u8()?),
        b's' => Value::I16(i16::from_be_bytes(reader.array()?)),
        b'u' => Value::U16(reader.u16()?),
        b'I' => Value::I32(i32::from_be_bytes(reader.array()?)),
        b'i' => Value::U32(reader.u32()?),
        b'l' | b'L' => Value::I64(i64::from_be_bytes(reader.array()?)),
        b'f' => Value::F32(f32::from_be_bytes(reader.array()?)),
        b'd' => Value::F64(f64::from_be_bytes(reader.array()?)),
        b'D' => Value::Decimal { scale: reader.u8()?, value: i32::from_be_bytes(reader.array()?) },
        // A long string that is not UTF-8 is bytes (docs/SEMANTICS.md §3).
        b'S' => {
            let bytes = reader.long()?;
            match std::str::from_utf8(bytes) {
                Ok(text) => Value::Text(text.into()),
                Err(_) => Value::Bytes(Bytes::copy_from_slice(bytes)),
            }
        }
        b'x' => Value::Bytes(Bytes::copy_from_slice(reader.long()?)),
        b'T' => Value::Timestamp(seconds_to_ms(reader.u64()?)),
        b'A' => {
            let depth = depth.checked_sub(1).ok_or(Malformed)?;
            let mut items = Reader::new(reader.long()?);
            let mut list = Vec::new();
            while !items.is_empty() {
                list.push(decode_value(&mut items, depth)?);
            }
            Value::List(list)
        }
        b'F' => Value::Map(decode_pairs(reader.long()?, depth)?),
        b'V' => Value::Null,
        _ => return Err(Malformed),
    })
}

/// Seconds as they are on the wire, in milliseconds; saturating (docs/SEMANTICS.md R7).
pub fn seconds_to_ms(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000)
}

/// Steps over one value, checking it all.
fn skip_value(reader: &mut Reader<'_>, depth: usize) -> Result<(), Malformed> {
    let size = match reader.u8()? {
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        b's' | b'u' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'l' | b'L' | b'd' | b'T' => 8,
        b'S' | b'x' => return reader.long().map(|_| ()),
        b'A' => {
            let depth = depth.checked_sub(1).ok_or(Malformed)?;
            let mut items = Reader::new(reader.long()?);
            while !items.is_empty() {
                skip_value(&mut items, depth)?;
            }
            return Ok(());
        }
        b'F' => return check_pairs(reader.long()?, depth),
        _ => return Err(Malformed),
    };
    reader.take(size).map(|_| ())
}

fn check_pairs(content: &[u8], depth: usize) -> Result<(), Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    let mut reader = Reader::new(content);
    while !reader.is_empty() {
        reader.short()?;
        skip_value(&mut reader, depth)?;
    }
    Ok(())
}

/// One entry of a table, still encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawEntry<'a> {
    pub name: &'a [u8],
    /// Type letter and value.
    pub value: &'a [u8],
}

impl RawEntry<'_> {
    /// The value, decoded.
    pub fn decode(&self) -> Result<Value, Malformed> {
        decode_value(&mut Reader::new(self.value), DEPTH_MAX)
    }

    /// Octets that the entry takes in a table.
    pub fn size(&self) -> usize {
        1 + self.name.len() + self.value.len()
    }
}

/// The entries of a table's content, checked one by one; after an error it ends.
pub struct Entries<'a>(Reader<'a>);

/// Walks a table's content without decoding its values.
pub fn entries(content: &[u8]) -> Entries<'_> {
    Entries(Reader::new(content))
}

impl<'a> Entries<'a> {
    fn entry(&mut self) -> Result<RawEntry<'a>, Malformed> {
        let name = self.0.short()?;
        let start = self.0.rest();
        skip_value(&mut self.0, DEPTH_MAX - 1)?;
        let size = start.len() - self.0.rest().len();
        Ok(RawEntry { name, value: start.get(..size).ok_or(Malformed)? })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<RawEntry<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            self.0 = Reader::new(&[]);
        }
        Some(entry)
    }
}

/// Writes a table with its length.
pub fn put_table(out: &mut BytesMut, pairs: &[(Name, Value)]) {
    sized(out, |out| pairs.iter().for_each(|(name, value)| put_pair(out, name, value)));
}

/// Writes one entry.
pub fn put_pair(out: &mut BytesMut, name: &str, value: &Value) {
    put_short(out, name.as_bytes());
    put_value(out, value);
}

fn put_value(out: &mut BytesMut, value: &Value) {
    match value {
        Value::Null => out.put_u8(b'V'),
        Value::Bool(b) => out.put_slice(&[b't', u8::from(*b)]),
        Value::I8(n) => tagged(out, b'b', &n.to_be_bytes()),
        Value::U8(n) => tagged(out, b'B', &n.to_be_bytes()),
        Value::I16(n) => tagged(out, b's', &n.to_be_bytes()),
        Value::U16(n) => tagged(out, b'u', &n.to_be_bytes()),
        Value::I32(n) => tagged(out, b'I', &n.to_be_bytes()),
        Value::U32(n) => tagged(out, b'i', &n.to_be_bytes()),
        Value::I64(n) => tagged(out, b'l', &n.to_be_bytes()),
        // There is no letter for an unsigned 64-bit number: what does not fit a signed one is text.
        Value::U64(n) => match i64::try_from(*n) {
            Ok(n) => tagged(out, b'l', &n.to_be_bytes()),
            Err(_) => put_text(out, n.to_string().as_bytes()),
        },
        Value::F32(n) => tagged(out, b'f', &n.to_be_bytes()),
        Value::F64(n) => tagged(out, b'd', &n.to_be_bytes()),
        Value::Decimal { scale, value } => {
            out.put_slice(&[b'D', *scale]);
            out.put_i32(*value);
        }
        Value::Char(c) => put_text(out, c.encode_utf8(&mut [0; 4]).as_bytes()),
        Value::Timestamp(ms) => {
            let seconds = u64::try_from(*ms).unwrap_or(0) / 1000;
            tagged(out, b'T', &seconds.to_be_bytes());
        }
        Value::Uuid(id) => {
            put_text(out, crossdock_core::message::carry::uuid_text(id).as_bytes());
        }
        Value::Bytes(bytes) => {
            out.put_u8(b'x');
            put_long(out, bytes);
        }
        Value::Text(text) | Value::Symbol(text) => put_text(out, text.as_bytes()),
        Value::List(list) => {
            out.put_u8(b'A');
            sized(out, |out| list.iter().for_each(|value| put_value(out, value)));
        }
        Value::Map(pairs) => {
            out.put_u8(b'F');
            put_table(out, pairs);
        }
    }
}

fn tagged(out: &mut BytesMut, letter: u8, bytes: &[u8]) {
    out.put_u8(letter);
    out.put_slice(bytes);
}

fn put_text(out: &mut BytesMut, text: &[u8]) {
    out.put_u8(b'S');
    put_long(out, text);
}
