//! Paths into bodies, answered by walking the body up to the place: nothing is parsed as a whole, nothing is kept.

mod json;
mod xml;

pub(crate) use json::JsonPath;
pub(crate) use xml::XmlPath;

use crossdock_core::exchange::selector::{Operand, PathKind};

/// The body is not what the path is for, or is damaged before the place.
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

    /// What is at the place; NULL when there is nothing.
    pub(crate) fn find<'b>(&self, body: &'b [u8]) -> Result<Operand<'b>, Unreadable> {
        match self {
            BodyPath::Json(path) => path.find(body),
            BodyPath::Xml(path) => path.find(body),
        }
    }
}
