//! The bytes of the core's own encodings (neutral headers, journal records): LEB128 lengths and little-endian
//! numbers. Reading never panics and never allocates by a length that the input does not hold.

use super::key::Name;
use super::value::Value;
use bytes::{Buf, Bytes};

/// Nesting of lists and maps that is read back; deeper is damage.
const DEPTH_MAX: usize = 64;

/// Appends to a buffer.
pub(crate) trait Put {
    fn u8(&mut self, n: u8);
    fn varint(&mut self, n: u64);
    fn bytes(&mut self, b: &[u8]);
    fn text(&mut self, s: &str) {
        self.bytes(s.as_bytes());
    }
    fn signed(&mut self, n: i64) {
        self.varint(((n << 1) ^ (n >> 63)) as u64);
    }
    fn flag(&mut self, b: bool) {
        self.u8(u8::from(b));
    }
    fn optional<T>(&mut self, item: Option<T>, put: impl FnOnce(&mut Self, T))
    where
        Self: Sized,
    {
        self.flag(item.is_some());
        if let Some(item) = item {
            put(self, item);
        }
    }
}

impl Put for Vec<u8> {
    fn u8(&mut self, n: u8) {
        self.push(n);
    }

    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.push(n as u8);
    }

    #[inline]
    fn bytes(&mut self, b: &[u8]) {
        self.varint(b.len() as u64);
        self.extend_from_slice(b);
    }
}

/// Takes from a buffer; `None` means that the input is damaged or from another version.
pub(crate) trait Take: Buf {
    /// Takes bytes of which the length stands in front.
    fn take_bytes(&mut self) -> Option<Bytes>;

    fn take_u8(&mut self) -> Option<u8> {
        self.try_get_u8().ok()
    }

    /// All that is there lies in one piece.
    fn take_varint(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for (at, byte) in self.chunk().iter().take(10).enumerate() {
            n |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.advance(at + 1);
                return Some(n);
            }
        }
        None
    }

    /// Passes over bytes of which the length stands in front.
    fn skip_bytes(&mut self) -> Option<()> {
        let len: usize = self.take_number()?;
        (len <= self.remaining()).then(|| self.advance(len))
    }

    fn take_signed(&mut self) -> Option<i64> {
        let n = self.take_varint()?;
        Some((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    fn take_flag(&mut self) -> Option<bool> {
        match self.take_u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn take_name(&mut self) -> Option<Name> {
        let len: usize = self.take_number()?;
        let name = Name::from(std::str::from_utf8(self.chunk().get(..len)?).ok()?);
        self.advance(len);
        Some(name)
    }

    fn take_optional<T>(&mut self, take: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>>
    where
        Self: Sized,
    {
        match self.take_flag()? {
            true => Some(Some(take(self)?)),
            false => Some(None),
        }
    }

    fn take_number<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.take_varint()?).ok()
    }
}

impl Take for Bytes {
    fn take_bytes(&mut self) -> Option<Bytes> {
        let len: usize = self.take_number()?;
        (len <= self.len()).then(|| self.split_to(len))
    }
}

impl Take for &[u8] {
    fn take_bytes(&mut self) -> Option<Bytes> {
        let len: usize = self.take_number()?;
        let (bytes, rest) = self.split_at_checked(len)?;
        *self = rest;
        Some(Bytes::copy_from_slice(bytes))
    }
}

/// Writes a value.
pub(crate) fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.u8(0),
        Value::Bool(b) => (out.u8(1), out.flag(*b)).1,
        Value::I8(n) => (out.u8(2), out.signed(i64::from(*n))).1,
        Value::I16(n) => (out.u8(3), out.signed(i64::from(*n))).1,
        Value::I32(n) => (out.u8(4), out.signed(i64::from(*n))).1,
        Value::I64(n) => (out.u8(5), out.signed(*n)).1,
        Value::U8(n) => (out.u8(6), out.varint(u64::from(*n))).1,
        Value::U16(n) => (out.u8(7), out.varint(u64::from(*n))).1,
        Value::U32(n) => (out.u8(8), out.varint(u64::from(*n))).1,
        Value::U64(n) => (out.u8(9), out.varint(*n)).1,
        Value::F32(n) => (out.u8(10), out.extend_from_slice(&n.to_le_bytes())).1,
        Value::F64(n) => (out.u8(11), out.extend_from_slice(&n.to_le_bytes())).1,
        Value::Decimal { scale, value } => {
            out.u8(12);
            out.u8(*scale);
            out.signed(i64::from(*value));
        }
        Value::Char(c) => (out.u8(13), out.varint(u64::from(u32::from(*c)))).1,
        Value::Timestamp(ms) => (out.u8(14), out.signed(*ms)).1,
        Value::Uuid(id) => (out.u8(15), out.extend_from_slice(id)).1,
        Value::Bytes(b) => (out.u8(16), out.bytes(b)).1,
        Value::Text(t) => (out.u8(17), out.text(t)).1,
        Value::Symbol(t) => (out.u8(18), out.text(t)).1,
        Value::List(items) => {
            out.u8(19);
            out.varint(items.len() as u64);
            items.iter().for_each(|item| put_value(out, item));
        }
        Value::Map(pairs) => (out.u8(20), put_pairs(out, pairs)).1,
    }
}

/// Writes named values.
pub(crate) fn put_pairs(out: &mut Vec<u8>, pairs: &[(Name, Value)]) {
    out.varint(pairs.len() as u64);
    for (name, value) in pairs {
        out.text(name);
        put_value(out, value);
    }
}

/// Reads what [`put_pairs`] wrote.
pub(crate) fn take_pairs(input: &mut Bytes) -> Option<Vec<(Name, Value)>> {
    take_pairs_at(input, 0)
}

fn take_pairs_at(input: &mut Bytes, depth: usize) -> Option<Vec<(Name, Value)>> {
    let count: usize = input.take_number()?;
    // Each pair takes at least two bytes, so the input bounds the allocation.
    let mut pairs = Vec::with_capacity(count.min(input.len() / 2));
    for _ in 0..count {
        pairs.push((input.take_name()?, take_value_at(input, depth)?));
    }
    Some(pairs)
}

fn take_array<const N: usize>(input: &mut Bytes) -> Option<[u8; N]> {
    (input.len() >= N).then(|| input.split_to(N))?.as_ref().try_into().ok()
}

fn take_value_at(input: &mut Bytes, depth: usize) -> Option<Value> {
    if depth > DEPTH_MAX {
        return None;
    }
    Some(match input.take_u8()? {
        0 => Value::Null,
        1 => Value::Bool(input.take_flag()?),
        2 => Value::I8(input.take_signed()?.try_into().ok()?),
        3 => Value::I16(input.take_signed()?.try_into().ok()?),
        4 => Value::I32(input.take_signed()?.try_into().ok()?),
        5 => Value::I64(input.take_signed()?),
        6 => Value::U8(input.take_number()?),
        7 => Value::U16(input.take_number()?),
        8 => Value::U32(input.take_number()?),
        9 => Value::U64(input.take_varint()?),
        10 => Value::F32(f32::from_le_bytes(take_array(input)?)),
        11 => Value::F64(f64::from_le_bytes(take_array(input)?)),
        12 => {
            Value::Decimal { scale: input.take_u8()?, value: input.take_signed()?.try_into().ok()? }
        }
        13 => Value::Char(char::from_u32(input.take_number()?)?),
        14 => Value::Timestamp(input.take_signed()?),
        15 => Value::Uuid(take_array(input)?),
        16 => Value::Bytes(input.take_bytes()?),
        17 => Value::Text(input.take_name()?),
        18 => Value::Symbol(input.take_name()?),
        19 => {
            let count: usize = input.take_number()?;
            let mut items = Vec::with_capacity(count.min(input.len()));
            for _ in 0..count {
                items.push(take_value_at(input, depth + 1)?);
            }
            Value::List(items)
        }
        20 => Value::Map(take_pairs_at(input, depth + 1)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_cuts_are_refused() {
        let pairs = vec![
            ("a".into(), Value::Null),
            ("b".into(), Value::List(vec![Value::I64(i64::MIN), Value::F64(0.5)])),
            ("c".into(), Value::Map(vec![("d".into(), Value::Char('ß'))])),
            ("e".into(), Value::Decimal { scale: 2, value: -12345 }),
            ("f".into(), Value::Uuid([7; 16])),
            ("g".into(), Value::Timestamp(-1)),
            ("h".into(), Value::U64(u64::MAX)),
        ];
        let mut out = Vec::new();
        put_pairs(&mut out, &pairs);
        let whole = Bytes::from(out);
        assert_eq!(take_pairs(&mut whole.clone()), Some(pairs));
        for cut in 0..whole.len() {
            assert_eq!(take_pairs(&mut whole.slice(..cut)), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_huge_count_does_not_allocate() {
        let mut out = vec![19u8];
        out.varint(u64::MAX);
        assert_eq!(take_value_at(&mut Bytes::from(out), 0), None);
    }
}
