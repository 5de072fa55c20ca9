//! Paths into bodies: the body is read up to the value that the path names; nothing is parsed as a whole or cached.

mod json;
mod xml;

pub(crate) use json::JsonPath;
pub(crate) use xml::XmlPath;

use crossdock_core::exchange::selector::{Operand, PathKind};

/// The body has another format than the path, or is malformed in front of the value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// A compiled path.
#[derive(Debug, Clone)]
pub(crate) enum BodyPath {
    Json(JsonPath),
    Xml(XmlPath),
}

impl BodyPath {
    pub(crate) fn parse(kind: PathKind, text: &str) -> Result<Self, String> {
        match kind {
            PathKind::Json => JsonPath::parse(text).map(BodyPath::Json),
            PathKind::Xml => XmlPath::parse(text).map(BodyPath::Xml),
        }
    }

    /// The value that the path names; NULL if there is none.
    pub(crate) fn find<'b>(&self, body: &'b [u8]) -> Result<Operand<'b>, Unreadable> {
        match self {
            BodyPath::Json(path) => path.find(body),
            BodyPath::Xml(path) => path.find(body),
        }
    }
}
