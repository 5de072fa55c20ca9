//! Typed values of headers: the union of what the protocols can say.

use super::key::Name;
use bytes::Bytes;

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

/// True when both hold the same names with equal values, in any order.
pub fn same_arguments(a: &[(Name, Value)], b: &[(Name, Value)]) -> bool {
    a.len() == b.len()
        && a.iter().all(|(name, value)| lookup(b, name).is_some_and(|other| value.equals(other)))
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
}
