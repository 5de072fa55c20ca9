//! Selectors: SQL-92 conditional expressions over a message's headers, properties and body (JMS 2.0 §3.8.1), the
//! one predicate language of subscriptions and content routes.
//!
//! Beyond the standard: `body`, `address`, `content_type` and the other property names, paths into the body
//! (`json('$.a.b')`, `xml('/a/@b')`), `CASE`, text ordered by `<` and `>`, numbers in `IN`, quoted names.
//! A name means the header of that name; where there is none, the property (`priority`, `message_id`, ...).
//! `"any name"` in double quotes is always a header.
//!
//! Not here: how a body is read. A [`BodyAccess`] does that; without one a path is NULL.
//!
//! Invariants: text and nesting are bounded at compile time, evaluation recurses no deeper than the nesting, and
//! its time is linear in the size of selector times text looked at (no pattern can explode).

mod eval;
mod expr;
mod lex;
mod like;
mod names;
mod operand;
mod parse;

pub use operand::Operand;

use crate::message::{Address, Fields, Formats, Message, Meta};
use expr::Expr;
use std::fmt;

/// Longest selector text, in bytes.
pub const TEXT_MAX: usize = 64 * 1024;
/// Deepest nesting of an expression.
pub const DEPTH_MAX: usize = 64;
/// Most places of one selector that look into the body.
pub const BODY_USES_MAX: usize = 32;

/// Why a selector's text was refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct SelectorError {
    /// Byte offset in the text.
    pub offset: usize,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub reason: String,
}

/// The notation of a path into the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    Json,
    Xml,
}

/// A path into the body, as a selector names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Its place in [`Selector::paths`].
    pub index: usize,
    pub kind: PathKind,
    pub text: Box<str>,
    /// Where in the selector's text it stands, in bytes.
    pub offset: usize,
}

/// Reads what a path leads to. Anything that is not there, or a body of another kind, is NULL.
pub trait BodyAccess {
    fn path(&self, path: &Path) -> Operand<'_>;
}

/// What a selector looks at.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub address: &'a Address,
    pub meta: &'a Meta,
    pub fields: &'a Fields,
    pub body: &'a [u8],
    /// The exchange whose keys show as `topic:`, for `address`.
    pub topic_exchange: Option<&'a str>,
    /// Who answers paths.
    pub access: Option<&'a dyn BodyAccess>,
    /// Text compared with a number or a boolean is read as one: set it where headers can only be text.
    pub coerce: bool,
}

impl<'a> Input<'a> {
    /// A message as it is.
    pub fn of(message: &'a Message, formats: &Formats) -> Self {
        Self {
            address: message.address(),
            meta: message.meta(),
            fields: message.fields(formats),
            body: message.body(),
            topic_exchange: None,
            access: None,
            coerce: false,
        }
    }
}

/// A compiled selector.
#[derive(Debug, Clone)]
pub struct Selector {
    text: Box<str>,
    root: Expr,
    paths: Vec<Path>,
    body_uses: usize,
    coerce: bool,
}

impl Selector {
    /// Compiles the text. A leading `convert_string_expressions:` turns coercion on for good.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > TEXT_MAX {
            let reason = format!("longer than {TEXT_MAX} bytes");
            return Err(error_at(text, 0, reason));
        }
        let skipped =
            [("convert_string_expressions:", true), ("no_convert_string_expressions:", false)]
                .into_iter()
                .find(|(prefix, _)| text.trim_start().starts_with(prefix));
        let (from, coerce) = match skipped {
            Some((prefix, on)) => (text.len() - text.trim_start().len() + prefix.len(), on),
            None => (0, false),
        };
        let parsed = parse::parse(text, from).map_err(|m| error_at(text, m.at, m.reason))?;
        let (root, paths, body_uses) = (parsed.root, parsed.paths, parsed.body_uses);
        Ok(Self { text: text.into(), root, paths, body_uses, coerce })
    }

    /// The selector as a condition: `None` is "unknown", which does not select.
    pub fn matches(&self, input: &Input<'_>) -> Option<bool> {
        self.eval(input).truth(&self.root)
    }

    /// The selector as a value.
    pub fn value<'a>(&'a self, input: &Input<'a>) -> Operand<'a> {
        self.eval(input).operand(&self.root)
    }

    /// The paths that it asks a [`BodyAccess`] for.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// True when it looks at the body, which is slower than headers by the size of the body.
    pub fn reads_body(&self) -> bool {
        self.body_uses > 0
    }

    /// False when it can never be true: a number, a text, an arithmetic expression.
    pub fn is_condition(&self) -> bool {
        self.root.can_be_true()
    }

    /// The text it was compiled from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// An error at one of this selector's paths.
    pub fn error_at(&self, path: &Path, reason: String) -> SelectorError {
        error_at(&self.text, path.offset, reason)
    }

    fn eval<'s>(&'s self, input: &Input<'s>) -> eval::Eval<'s> {
        let coerce = self.coerce || input.coerce;
        eval::Eval { paths: &self.paths, input: Input { coerce, ..*input } }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Selector {}

fn error_at(text: &str, offset: usize, reason: String) -> SelectorError {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    SelectorError { offset, line, column, reason }
}

#[cfg(test)]
#[path = "selector_tests.rs"]
mod tests;
