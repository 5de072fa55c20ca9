//! Values and arguments as plugins see them.

use crate::abi;

/// A value of a header, property or argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// It is not there, or has no text.
    None,
    Bool(bool),
    /// A whole number, in decimal.
    Integer(&'a str),
    /// Another number, in decimal.
    Number(&'a str),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// # Safety
    /// Its text is there for as long as `'a`.
    pub(crate) unsafe fn of(value: &abi::Value) -> Self {
        // SAFETY: the caller's promise.
        let bytes: &'a [u8] = unsafe { value.text.bytes() };
        let text = std::str::from_utf8(bytes);
        match (value.kind, text) {
            (abi::VALUE_BOOL, Ok(text)) => Value::Bool(text == "true"),
            (abi::VALUE_INTEGER, Ok(text)) => Value::Integer(text),
            (abi::VALUE_NUMBER, Ok(text)) => Value::Number(text),
            (abi::VALUE_TEXT, Ok(text)) => Value::Text(text),
            (abi::VALUE_NONE, _) => Value::None,
            _ => Value::Bytes(bytes),
        }
    }

    /// As bytes; none for [`Value::None`].
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match self {
            Value::None => None,
            Value::Bool(true) => Some(b"true"),
            Value::Bool(false) => Some(b"false"),
            Value::Integer(text) | Value::Number(text) | Value::Text(text) => Some(text.as_bytes()),
            Value::Bytes(bytes) => Some(bytes),
        }
    }

    /// The text of [`Value::Text`].
    pub fn as_text(&self) -> Option<&'a str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// An argument of a declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argument<'a> {
    pub name: &'a str,
    pub value: Value<'a>,
}

impl Argument<'_> {
    /// # Safety
    /// There are as many, and what they point to is there for as long as the result.
    pub(crate) unsafe fn all<'a>(from: *const abi::Argument, count: usize) -> Vec<Argument<'a>> {
        // SAFETY: the caller's promise.
        let all = unsafe { abi::read_all(from, count) };
        // SAFETY: the same.
        let one = |it: &abi::Argument| unsafe {
            Argument { name: text(it.name), value: Value::of(&it.value) }
        };
        all.iter().map(one).collect()
    }
}

/// The value of the argument of that name.
pub fn argument<'a>(arguments: &[Argument<'a>], name: &str) -> Option<Value<'a>> {
    arguments.iter().find(|argument| argument.name == name).map(|argument| argument.value)
}

/// # Safety
/// It is there for as long as `'a`.
pub(crate) unsafe fn text<'a>(view: abi::View) -> &'a str {
    // SAFETY: the caller's promise.
    std::str::from_utf8(unsafe { view.bytes() }).unwrap_or_default()
}
