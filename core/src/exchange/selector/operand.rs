//! A value while a selector is evaluated: borrowed from the message wherever it can be.

use crate::message::{Name, Value};
use std::borrow::Cow;

/// A value or NULL.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    /// Bytes, a list or a map: not NULL, and equal only to the same.
    Other(&'a Value),
}

impl<'a> Operand<'a> {
    /// Borrowed text.
    pub fn text(text: &'a str) -> Self {
        Operand::Text(Cow::Borrowed(text))
    }

    /// A header's value.
    pub fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Operand::Null,
            Value::Bool(b) => Operand::Bool(*b),
            Value::Text(text) | Value::Symbol(text) => Operand::text(text),
            Value::Char(c) => Operand::Text(Cow::Owned(c.to_string())),
            Value::Uuid(id) => Operand::Text(Cow::Owned(crate::message::carry::uuid_text(id))),
            Value::Timestamp(ms) => Operand::Int(*ms),
            Value::Bytes(_) | Value::List(_) | Value::Map(_) => Operand::Other(value),
            number => match (number.as_i64(), number.as_f64()) {
                (Some(n), _) => Operand::Int(n),
                (None, Some(n)) => Operand::Float(n),
                (None, None) => Operand::Null,
            },
        }
    }

    /// The text, if it is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Operand::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number that the text spells, in decimal.
    pub fn number_in(text: &str) -> Option<Operand<'static>> {
        let text = text.trim();
        if let Ok(n) = text.parse::<i64>() {
            return Some(Operand::Int(n));
        }
        // Rust also reads "inf", "nan" and the like, which are no numbers of the language.
        let digits =
            text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'+' | b'-' | b'e' | b'E'));
        digits.then(|| text.parse::<f64>().ok().map(Operand::Float)).flatten()
    }

    /// A boolean that the text spells, whatever the case.
    pub fn bool_in(text: &str) -> Option<bool> {
        match text.trim() {
            t if t.eq_ignore_ascii_case("true") => Some(true),
            t if t.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    /// As a header's value: whole numbers are 64 bit, NULL is `Null`.
    pub fn to_value(&self) -> Value {
        match self {
            Operand::Null => Value::Null,
            Operand::Bool(b) => Value::Bool(*b),
            Operand::Int(n) => Value::I64(*n),
            Operand::Float(n) => Value::F64(*n),
            Operand::Text(text) => Value::Text(Name::from(&**text)),
            Operand::Other(value) => (*value).clone(),
        }
    }

    /// As text for a place that holds text only; none for NULL and for what has no text.
    pub fn to_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Operand::Null | Operand::Other(_) => None,
            Operand::Bool(b) => Some(Cow::Borrowed(if *b { "true" } else { "false" })),
            Operand::Int(n) => Some(Cow::Owned(n.to_string())),
            Operand::Float(n) => Some(Cow::Owned(n.to_string())),
            Operand::Text(text) => Some(Cow::Borrowed(text)),
        }
    }
}
