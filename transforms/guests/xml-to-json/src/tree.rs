//! An element while it is read, and what it becomes.

use crate::chars::{is_blank, trimmed};
use crate::options::{Attributes, Namespaces, Options};
use crate::reader::short;
use serde_json::{Map, Number, Value};

/// An open element.
pub(crate) struct Element {
    /// As the document writes it.
    pub name: String,
    members: Map<String, Value>,
    /// Pieces of text between children, in order.
    pieces: Vec<String>,
    piece: String,
    has_children: bool,
    has_attributes: bool,
}

impl Element {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_string(),
            members: Map::new(),
            pieces: Vec::new(),
            piece: String::new(),
            has_children: false,
            has_attributes: false,
        }
    }

    pub(crate) fn attribute(
        &mut self,
        name: &str,
        value: &str,
        options: &Options,
    ) -> Result<(), String> {
        let is_declaration = name == "xmlns" || name.starts_with("xmlns:");
        let prefix = match &options.attributes {
            Attributes::Drop => return Ok(()),
            _ if is_declaration && options.namespaces == Namespaces::Strip => return Ok(()),
            Attributes::Plain => "",
            Attributes::Prefix(prefix) => prefix,
        };
        let member = format!("{prefix}{}", options.name(name));
        let value = options.typed(name, value)?;
        self.has_attributes = true;
        insert(&mut self.members, member, value, false);
        Ok(())
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.piece.push_str(text);
    }

    /// A child element begins: text before and after it are two pieces.
    pub(crate) fn child_begins(&mut self) {
        self.has_children = true;
        self.end_piece();
    }

    pub(crate) fn child(&mut self, name: &str, value: Value, options: &Options) {
        let always_array = options.arrays.contains(options.plain(name));
        insert(&mut self.members, options.name(name), value, always_array);
    }

    /// True when it has nothing but attributes.
    pub(crate) fn is_attributes_only(&self) -> bool {
        self.has_attributes && !self.has_children && is_blank(&self.piece)
    }

    /// The value that stands for the element.
    pub(crate) fn finish(mut self, options: &Options) -> Result<Value, String> {
        if !self.has_children && self.members.is_empty() {
            return match self.piece.is_empty() {
                true => Ok(Value::Null),
                false => options.typed(&self.name, &self.piece),
            };
        }
        self.end_piece();
        for piece in std::mem::take(&mut self.pieces) {
            let value = match self.has_children {
                true => Value::String(piece),
                false => options.typed(&self.name, &piece)?,
            };
            insert(&mut self.members, options.text.0.clone(), value, false);
        }
        Ok(Value::Object(self.members))
    }

    /// White space between elements is layout, not content.
    fn end_piece(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        if !is_blank(&piece) {
            self.pieces.push(piece);
        }
    }
}

/// A repeated name becomes an array at the place of the first.
fn insert(members: &mut Map<String, Value>, name: String, value: Value, always_array: bool) {
    match members.get_mut(&name) {
        // A value of an element is never an array itself, so an array here is of repeated ones.
        Some(Value::Array(items)) => items.push(value),
        Some(first) => {
            let items = vec![first.take(), value];
            *first = Value::Array(items);
        }
        None if always_array => {
            members.insert(name, Value::Array(vec![value]));
        }
        None => {
            members.insert(name, value);
        }
    }
}

impl Options {
    /// The name by which the options call an element or attribute: without its prefix if prefixes are stripped.
    fn plain<'n>(&self, name: &'n str) -> &'n str {
        match self.namespaces {
            Namespaces::Keep => name,
            Namespaces::Strip => name.rsplit(':').next().unwrap_or(name),
        }
    }

    /// The member's name for an XML name.
    pub(crate) fn name(&self, name: &str) -> String {
        let plain = self.plain(name);
        self.rename.get(plain).map_or(plain, String::as_str).to_owned()
    }

    /// The value of a text. What is to be a number or a boolean and is none fails the message.
    fn typed(&self, name: &str, text: &str) -> Result<Value, String> {
        let (plain, inner) = (self.plain(name), trimmed(text));
        if self.numbers.contains(plain) {
            let number = number(inner).map(Value::Number);
            return number
                .ok_or_else(|| format!("{name} is to be a number, but is '{}'", short(text)));
        }
        if self.booleans.contains(plain) {
            // XML Schema 2, §3.2.2: the four spellings of a boolean.
            return match inner {
                "true" | "1" => Ok(Value::Bool(true)),
                "false" | "0" => Ok(Value::Bool(false)),
                _ => Err(format!("{name} is to be true or false, but is '{}'", short(text))),
            };
        }
        Ok(Value::String(text.to_owned()))
    }
}

/// A decimal number as XML Schema 2 spells it, digit by digit as it came: `+`, leading zeros and a bare point, which
/// JSON lacks, are put right.
fn number(text: &str) -> Option<Number> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => digits.split_at(at),
        None => (digits, ""),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // A second sign would be part of these.
    let all_digits = [whole, fraction].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()));
    if !all_digits || whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}{exponent}").parse().ok()
}
