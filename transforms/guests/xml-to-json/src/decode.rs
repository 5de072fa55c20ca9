//! The text of an XML body: which encoding it is in, and decoding it. In this order (RFC 7303 §3.2): a byte order mark,
//! the charset of the content type, the document's own declaration, UTF-8. The broker's predicates use this file too.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use std::borrow::Cow;

/// Longest declaration that is looked through for an encoding, in bytes.
const DECLARATION_MAX: usize = 1_024;

/// The body as text, without byte order mark.
pub fn decode<'b>(body: &'b [u8], content_type: Option<&str>) -> Result<Cow<'b, str>, String> {
    if let Some((encoding, mark)) = Encoding::for_bom(body) {
        let text = whole(body.get(mark..).unwrap_or_default(), encoding)?;
        return agreeing(text, encoding);
    }
    if let Some(name) = content_type.and_then(charset) {
        return named(body, name);
    }
    match body {
        [0, b'<', ..] => agreeing(whole(body, UTF_16BE)?, UTF_16BE),
        [b'<', 0, ..] => agreeing(whole(body, UTF_16LE)?, UTF_16LE),
        _ => match declared(body) {
            Some(name) => {
                let text = named(body, &name)?;
                match is_utf16(&name) {
                    true => Err(format!("the document says that it is {name}, and is not")),
                    false => Ok(text),
                }
            }
            None => whole(body, UTF_8),
        },
    }
}

/// A document in UTF-16 that declares another encoding is malformed, and one that is not and declares UTF-16.
fn agreeing<'b>(text: Cow<'b, str>, encoding: &'static Encoding) -> Result<Cow<'b, str>, String> {
    match declared(text.as_bytes()) {
        Some(name) if is_utf16(&name) == (encoding == UTF_8) => {
            Err(format!("the document says that it is {name}, and is {}", encoding.name()))
        }
        _ => Ok(text),
    }
}

/// Decodes by the name of an encoding.
pub(crate) fn named<'b>(body: &'b [u8], name: &str) -> Result<Cow<'b, str>, String> {
    match name.to_ascii_lowercase().as_str() {
        "us-ascii" | "ascii" => match body.iter().position(|byte| !byte.is_ascii()) {
            Some(at) => Err(format!("the body is not {name} from byte {at} on")),
            None => whole(body, UTF_8),
        },
        // The web means windows-1252 by these names; XML means what they say.
        "iso-8859-1" | "iso_8859-1" | "iso8859-1" | "latin1" | "latin-1" | "l1" => {
            Ok(encoding_rs::mem::decode_latin1(body))
        }
        "utf-16" => whole(body, UTF_16BE),
        _ => match Encoding::for_label_no_replacement(name.as_bytes()) {
            Some(encoding) => whole(body, encoding),
            None => {
                Err(format!("encoding {} is not known", name.chars().take(40).collect::<String>()))
            }
        },
    }
}

fn whole<'b>(body: &'b [u8], encoding: &'static Encoding) -> Result<Cow<'b, str>, String> {
    if encoding == UTF_8 {
        return std::str::from_utf8(body)
            .map(Cow::Borrowed)
            .map_err(|e| format!("the body is not UTF-8 from byte {} on", e.valid_up_to()));
    }
    let text = encoding.decode_without_bom_handling_and_without_replacement(body);
    text.ok_or_else(|| format!("the body is not {}", encoding.name()))
}

fn is_utf16(name: &str) -> bool {
    name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("utf-16"))
}

/// The charset of a content type: `text/xml; charset="utf-8"`.
pub(crate) fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (name.trim().eq_ignore_ascii_case("charset") && !value.is_empty()).then_some(value)
    })
}

/// The encoding that a declaration in bytes like ASCII names. Whether it is well-formed is found out later.
fn declared(body: &[u8]) -> Option<String> {
    let body = body.get(..body.len().min(DECLARATION_MAX))?;
    let text = String::from_utf8_lossy(body);
    let (declaration, _) = text.strip_prefix("<?xml")?.split_once("?>")?;
    let (_, value) = declaration.split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (name, _) = value.get(1..)?.split_once(quote)?;
    Some(name.to_owned())
}
