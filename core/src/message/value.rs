//! Typed values of headers: the union of what the protocols can say.

use super::key::Name;
use bytes::Bytes;
use smallvec::SmallVec;
use std::hash::{BuildHasher, Hash, Hasher};

/// One value. Equality of numbers between kinds is [`Value::equals`]; `==` compares kind and value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    I8(i8),
    I16(i16),
    I32(i32),
    I64(i64),
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    F32(f32),
    F64(f64),
    /// `value / 10^scale`
    Decimal {
        scale: u8,
        value: i32,
    },
    Char(char),
    /// Milliseconds since the Unix epoch.
    Timestamp(i64),
    Uuid([u8; 16]),
    Bytes(Bytes),
    Text(Name),
    Symbol(Name),
    List(Vec<Value>),
    Map(Vec<(Name, Value)>),
}

impl Value {
    /// Text from anything that is a string.
    pub fn text(text: impl Into<Name>) -> Self {
        Value::Text(text.into())
    }

    /// Copies bytes that it shares with a larger buffer, so that it does not keep that in memory.
    pub fn detach(&mut self) {
        match self {
            Value::Bytes(bytes) => *bytes = Bytes::copy_from_slice(bytes),
            Value::List(values) => values.iter_mut().for_each(Value::detach),
            Value::Map(pairs) => pairs.iter_mut().for_each(|(_, value)| value.detach()),
            _ => {}
        }
    }

    /// The value as a whole number, whatever its width.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::I8(n) => Some(i64::from(*n)),
            Value::I16(n) => Some(i64::from(*n)),
            Value::I32(n) => Some(i64::from(*n)),
            Value::I64(n) => Some(*n),
            Value::U8(n) => Some(i64::from(*n)),
            Value::U16(n) => Some(i64::from(*n)),
            Value::U32(n) => Some(i64::from(*n)),
            Value::U64(n) => i64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// The value as a floating point number, if it is any number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::F32(n) => Some(f64::from(*n)),
            Value::F64(n) => Some(*n),
            Value::U64(n) => Some(*n as f64),
            Value::Decimal { scale, value } => {
                Some(f64::from(*value) / 10f64.powi(i32::from(*scale)))
            }
            other => other.as_i64().map(|n| n as f64),
        }
    }

    /// The type's name, as error texts for clients show it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Bool(_) => "bool",
            Value::I8(_) => "byte",
            Value::I16(_) => "short",
            Value::I32(_) => "signedint",
            Value::I64(_) => "long",
            Value::U8(_) => "unsignedbyte",
            Value::U16(_) => "unsignedshort",
            Value::U32(_) => "unsignedint",
            Value::Text(_) | Value::Symbol(_) => "longstr",
            Value::F32(_) => "float",
            Value::F64(_) => "double",
            Value::Timestamp(_) => "timestamp",
            Value::List(_) => "array",
            Value::Map(_) => "table",
            Value::Bytes(_) => "binary",
            Value::Decimal { .. } => "decimal",
            _ => "void",
        }
    }

    /// The text of a `Text` or `Symbol`.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) | Value::Symbol(text) => Some(text),
            _ => None,
        }
    }

    /// Equal by value: numbers whatever their wire type, everything else by kind.
    pub fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::List(a), Value::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.equals(y))
            }
            (Value::Map(a), Value::Map(b)) => same_arguments(a, b),
            _ => match (self.as_i64(), other.as_i64()) {
                (Some(a), Some(b)) => a == b,
                _ => match (self.as_f64(), other.as_f64()) {
                    (Some(a), Some(b)) => a == b,
                    (None, None) => self == other,
                    _ => false,
                },
            },
        }
    }
}

/// The first value of `name`: of repeated names the first wins (docs/SEMANTICS.md §0).
pub fn lookup<'a>(pairs: &'a [(Name, Value)], name: &str) -> Option<&'a Value> {
    pairs.iter().find(|(n, _)| &**n == name).map(|(_, v)| v)
}

/// True when both hold the same names with equal values, in any order (values of one name in the same order).
pub fn same_arguments(a: &[(Name, Value)], b: &[(Name, Value)]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let equal = |((name, value), (other, is)): (&(Name, Value), &(Name, Value))| {
        name == other && value.equals(is)
    };
    if a.iter().zip(b).all(equal) {
        return true;
    }
    let (a, b) = (by_name(a), by_name(b));
    a.iter().zip(&b).all(|(a, b)| equal((*a, *b)))
}

/// Sorted by name; values of one name keep their order.
fn by_name(pairs: &[(Name, Value)]) -> SmallVec<[&(Name, Value); 8]> {
    let mut sorted: SmallVec<[&(Name, Value); 8]> = pairs.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
    sorted
}

/// Computes hashes of values that agree with [`Value::equals`].
pub struct Hashing<'h, S>(pub &'h S);

/// The same for arguments that are [`same_arguments`].
pub fn hash_arguments<S: BuildHasher>(pairs: &[(Name, Value)], hashing: &Hashing<'_, S>) -> u64 {
    let one = |(name, value): &(Name, Value)| {
        let mut hasher = hashing.0.build_hasher();
        name.hash(&mut hasher);
        hashing.value(value, &mut hasher);
        hasher.finish()
    };
    // A sum does not depend on the order.
    pairs.iter().map(one).fold(pairs.len() as u64, u64::wrapping_add)
}

impl<S: BuildHasher> Hashing<'_, S> {
    fn value(&self, value: &Value, hasher: &mut S::Hasher) {
        if let Some(number) = value.as_f64() {
            // All kinds of numbers are compared by value, and 0 and -0 are equal.
            let number = if number == 0.0 { 0.0 } else { number };
            return hasher.write_u64(number.to_bits());
        }
        std::mem::discriminant(value).hash(hasher);
        match value {
            Value::Bool(is) => is.hash(hasher),
            Value::Char(c) => c.hash(hasher),
            Value::Timestamp(ms) => ms.hash(hasher),
            Value::Uuid(uuid) => uuid.hash(hasher),
            Value::Bytes(bytes) => bytes.hash(hasher),
            Value::Text(text) | Value::Symbol(text) => text.hash(hasher),
            Value::List(values) => {
                hasher.write_usize(values.len());
                values.iter().for_each(|value| self.value(value, hasher));
            }
            Value::Map(pairs) => hasher.write_u64(hash_arguments(pairs, self)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_by_value() {
        assert!(Value::I8(5).equals(&Value::U64(5)));
        assert!(Value::F32(5.0).equals(&Value::I64(5)));
        assert!(!Value::I64(5).equals(&Value::text("5")));
        assert!(!Value::Bool(true).equals(&Value::I8(1)));
    }

    #[test]
    fn arguments_are_a_set() {
        let a = vec![("x".into(), Value::I32(1)), ("y".into(), Value::text("z"))];
        let b = vec![("y".into(), Value::text("z")), ("x".into(), Value::I64(1))];
        assert!(same_arguments(&a, &b));
        assert!(!same_arguments(&a, &b[..1]));
    }

    #[test]
    fn repeated_names_are_compared_in_their_order() {
        let x = |n: i64| (Name::from("x"), Value::I64(n));
        let y = (Name::from("y"), Value::Null);
        assert!(same_arguments(&[x(1), y.clone(), x(2)], &[y.clone(), x(1), x(2)]));
        assert!(!same_arguments(&[x(1), x(1)], &[x(1), y]));
        assert!(!same_arguments(&[x(1), x(2)], &[x(2), x(1)]));
    }

    #[test]
    fn equal_arguments_have_equal_hashes() {
        let hashing = std::hash::RandomState::new();
        let hash = |pairs: &[(Name, Value)]| hash_arguments(pairs, &Hashing(&hashing));
        let pair = |name: &str, value: Value| (Name::from(name), value);
        let numbers = [
            Value::I8(5),
            Value::U64(5),
            Value::F32(5.0),
            Value::Decimal { scale: 1, value: 50 },
            Value::I64(5),
        ];
        for a in &numbers {
            for b in &numbers {
                let (map_a, map_b) = (
                    Value::Map(vec![pair("p", a.clone()), pair("q", Value::Null)]),
                    Value::Map(vec![pair("q", Value::Null), pair("p", b.clone())]),
                );
                let a = [pair("n", Value::List(vec![a.clone()])), pair("m", map_a)];
                let b = [pair("m", map_b), pair("n", Value::List(vec![b.clone()]))];
                assert!(same_arguments(&a, &b));
                assert_eq!(hash(&a), hash(&b));
            }
        }
        assert_eq!(hash(&[pair("z", Value::F64(-0.0))]), hash(&[pair("z", Value::U8(0))]));
        assert_ne!(hash(&[pair("z", Value::text("1"))]), hash(&[pair("z", Value::I8(1))]));
        assert_ne!(hash(&[pair("z", Value::text("1"))]), hash(&[pair("y", Value::text("1"))]));
        assert_ne!(
            hash(&[pair("z", Value::text("1"))]),
            hash(&[pair("z", Value::Symbol("1".into()))])
        );
    }
}
