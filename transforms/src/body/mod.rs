//! Paths into bodies: the body is read up to the value that the path names; nothing is parsed as a whole. Only a body
//! in another encoding than UTF-8 is decoded first, once for all paths of an expression.

#[path = "../../guests/xml-to-json/src/decode.rs"]
mod decode;
mod json;
mod xml;

pub(crate) use json::JsonPath;
pub(crate) use xml::XmlPath;

use crossdock_core::exchange::selector::{Operand, PathKind};
use encoding_rs::{Encoding, UTF_8};
use std::borrow::Cow;
use std::cell::OnceCell;

/// The body has another format than the path, is in no encoding that can be read, or is malformed in front of the
/// value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// A compiled path.
#[derive(Debug, Clone)]
pub(crate) enum BodyPath {
    Json(JsonPath),
    Xml(XmlPath),
}

/// A body, decoded when a path first asks.
pub(crate) struct Body<'b> {
    bytes: &'b [u8],
    content_type: Option<&'b str>,
    /// In UTF-8, which is checked where a value is read.
    json: OnceCell<Result<Cow<'b, [u8]>, Unreadable>>,
    xml: OnceCell<Result<Cow<'b, str>, Unreadable>>,
}

impl<'b> Body<'b> {
    pub(crate) fn new(bytes: &'b [u8], content_type: Option<&'b str>) -> Self {
        Self { bytes, content_type, json: OnceCell::new(), xml: OnceCell::new() }
    }

    fn json(&self) -> Result<&[u8], Unreadable> {
        let decoded = self.json.get_or_init(|| json_text(self.bytes, self.content_type));
        decoded.as_deref().map_err(|unreadable| *unreadable)
    }

    fn xml(&self) -> Result<&str, Unreadable> {
        let decoded = self
            .xml
            .get_or_init(|| decode::decode(self.bytes, self.content_type).map_err(|_| Unreadable));
        decoded.as_deref().map_err(|unreadable| *unreadable)
    }
}

impl BodyPath {
    pub(crate) fn parse(kind: PathKind, text: &str) -> Result<Self, String> {
        match kind {
            PathKind::Json => JsonPath::parse(text).map(BodyPath::Json),
            PathKind::Xml => XmlPath::parse(text).map(BodyPath::Xml),
        }
    }

    /// The value that the path names; NULL if there is none.
    pub(crate) fn find<'a>(&self, body: &'a Body<'_>) -> Result<Operand<'a>, Unreadable> {
        match self {
            BodyPath::Json(path) => path.find(body.json()?),
            BodyPath::Xml(path) => path.find(body.xml()?),
        }
    }
}

/// The text of a JSON body without byte order mark. Without mark and charset it is UTF-8 or UTF-16, which has a zero
/// byte beside the first character (RFC 4627 §3).
fn json_text<'b>(body: &'b [u8], content_type: Option<&str>) -> Result<Cow<'b, [u8]>, Unreadable> {
    if let Some((encoding, mark)) = Encoding::for_bom(body) {
        let body = body.get(mark..).unwrap_or_default();
        return match encoding == UTF_8 {
            true => Ok(Cow::Borrowed(body)),
            false => decoded(body, encoding.name()),
        };
    }
    match (content_type.and_then(decode::charset), body) {
        (Some(name), _) if !name.eq_ignore_ascii_case("utf-8") => decoded(body, name),
        (None, [0, 1..=255, ..]) => decoded(body, "utf-16be"),
        (None, [1..=255, 0, ..]) => decoded(body, "utf-16le"),
        _ => Ok(Cow::Borrowed(body)),
    }
}

fn decoded<'b>(body: &'b [u8], name: &str) -> Result<Cow<'b, [u8]>, Unreadable> {
    match decode::named(body, name) {
        Ok(Cow::Borrowed(text)) => Ok(Cow::Borrowed(text.as_bytes())),
        Ok(Cow::Owned(text)) => Ok(Cow::Owned(text.into_bytes())),
        Err(_) => Err(Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(kind: PathKind, path: &str, bytes: &[u8], content_type: Option<&str>) -> String {
        let body = Body::new(bytes, content_type);
        match BodyPath::parse(kind, path).unwrap().find(&body) {
            Ok(Operand::Text(text)) => text.into_owned(),
            other => format!("{other:?}"),
        }
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn json_bodies_in_other_encodings() {
        let json = "{\"a\":\"\u{e9}\u{20ac}\"}";
        let marked = format!("\u{feff}{json}");
        let latin = b"{\"a\":\"\xe9\"}".to_vec();
        for (body, content_type, expected) in [
            (json.into(), None, "\u{e9}\u{20ac}"),
            (json.into(), Some("application/json; charset=UTF-8"), "\u{e9}\u{20ac}"),
            (marked.clone().into(), None, "\u{e9}\u{20ac}"),
            (marked.clone().into(), Some("application/json; charset=iso-8859-1"), "\u{e9}\u{20ac}"),
            (utf16(&marked, u16::to_le_bytes), None, "\u{e9}\u{20ac}"),
            (utf16(&marked, u16::to_be_bytes), None, "\u{e9}\u{20ac}"),
            (utf16(json, u16::to_le_bytes), None, "\u{e9}\u{20ac}"),
            (utf16(json, u16::to_be_bytes), None, "\u{e9}\u{20ac}"),
            (utf16(json, u16::to_be_bytes), Some("x; charset=utf-16be"), "\u{e9}\u{20ac}"),
            (latin.clone(), Some("application/json;charset=latin1"), "\u{e9}"),
            (latin.clone(), None, "Err(Unreadable)"),
            (latin.clone(), Some("application/json; charset=us-ascii"), "Err(Unreadable)"),
            (latin, Some("application/json; charset=klingon"), "Err(Unreadable)"),
            (utf16(json, u16::to_le_bytes), Some("x; charset=utf-8"), "Err(Unreadable)"),
        ] {
            assert_eq!(
                find(PathKind::Json, "$.a", &body, content_type),
                expected,
                "{content_type:?}"
            );
        }
        for body in
            [&b""[..], b"\0", b"\0\0\0{", b"{\0\0\0", b"\xff\xfe", b"\xff\xfe{", b"\xef\xbb"]
        {
            assert_eq!(find(PathKind::Json, "$.a", body, None), "Err(Unreadable)", "{body:?}");
        }
    }

    #[test]
    fn xml_bodies_in_other_encodings() {
        let declared = |name: &str, byte: &[u8]| {
            let head = format!("<?xml version='1.0' encoding='{name}'?><a>");
            [head.as_bytes(), byte, b"</a>"].concat()
        };
        let plain = "<a>\u{e9}</a>";
        for (body, content_type, expected) in [
            (plain.into(), None, "\u{e9}"),
            (format!("\u{feff}{plain}").into(), None, "\u{e9}"),
            (utf16(plain, u16::to_le_bytes), None, "\u{e9}"),
            (utf16(&format!("\u{feff}{plain}"), u16::to_be_bytes), None, "\u{e9}"),
            (declared("ISO-8859-1", b"\xe9"), None, "\u{e9}"),
            // Valid UTF-8, which it is not.
            (declared("ISO-8859-1", b"\xc3\xa9"), None, "\u{c3}\u{a9}"),
            (declared("windows-1252", b"\x80"), None, "\u{20ac}"),
            (declared("UTF-8", b"\xe9"), None, "Err(Unreadable)"),
            (declared("UTF-16", b"x"), None, "Err(Unreadable)"),
            (declared("klingon", b"x"), None, "Err(Unreadable)"),
            (b"<a>\xe9</a>".to_vec(), Some("text/xml; charset=\"ISO-8859-1\""), "\u{e9}"),
            (
                "\n<?xml version='1.0' encoding='ISO-8859-1'?><a>\u{e9}</a>".into(),
                None,
                "Err(Unreadable)",
            ),
            ("\n<a>\u{e9}</a>".into(), None, "\u{e9}"),
        ] {
            let shown = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(find(PathKind::Xml, "/a", &body, content_type), expected, "{shown}");
        }
    }
}
