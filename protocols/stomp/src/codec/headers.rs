//! The header block of one frame: the position of each name and value, and their text without escapes. It keeps the
//! block as it came and does not know what headers mean.

use super::{Escapes, Fault, Rules};
use bytes::Bytes;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::str;

/// Offsets into the block; a block is far below 4 GiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub start: u32,
    pub colon: u32,
    pub end: u32,
}

/// Nearly all frames have at most this many headers, which need no allocation.
pub(super) type Spans = SmallVec<[Span; 12]>;

/// All headers of a frame, in the order they came, repeated ones too.
#[derive(Debug, Clone)]
pub struct Headers {
    block: Bytes,
    spans: Spans,
    rules: Rules,
    /// The block has a backslash, and this version has escapes.
    escaped: bool,
}

impl Headers {
    /// Headers of a block that was kept ([`Headers::block`]) and the rules it was read with.
    pub fn parse(block: Bytes, rules: Rules) -> Result<Headers, Fault> {
        let mut spans = Spans::new();
        let mut start = 0;
        while let Some(rest) = block.get(start..).filter(|rest| !rest.is_empty()) {
            let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest.get(..length).unwrap_or_default();
            let line = without_return(line);
            spans.push(span_of(line, start)?);
            start += length + 1;
        }
        Self::of_spans(block, spans, rules)
    }

    /// Checks what line-wise reading left unchecked: character set and escapes.
    pub(super) fn of_spans(block: Bytes, spans: Spans, rules: Rules) -> Result<Headers, Fault> {
        // STOMP 1.2 §Value Encoding: headers are UTF-8. One check for the block; slices at ASCII borders stay valid.
        str::from_utf8(&block).map_err(|_| Fault::NotUtf8)?;
        let odd = memchr::memchr3(b'\\', b'\r', 0, &block).is_some();
        let escaped = odd && check_odd_octets(&block, &spans, rules)?;
        Ok(Headers { block, spans, rules, escaped })
    }

    /// The block as it came, line ends included, without the blank line.
    pub fn block(&self) -> &Bytes {
        &self.block
    }

    /// The rules it was read with.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// How many header lines there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True without headers.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = Header<'_>> {
        self.spans.iter().map(|span| self.header(*span))
    }

    /// The value of the first header of that name: of repeated headers the first counts
    /// (STOMP 1.2 §Repeated Header Entries). `name` holds no character that would be escaped.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.find(name).map(|header| header.value())
    }

    /// The first header of that name, with the octets it came in.
    pub fn find(&self, name: &str) -> Option<Header<'_>> {
        self.iter().find(|header| header.raw_name == name.as_bytes())
    }

    fn header(&self, span: Span) -> Header<'_> {
        let name = self.block.get(span.start as usize..span.colon as usize).unwrap_or_default();
        let value = self.block.get(span.colon as usize + 1..span.end as usize).unwrap_or_default();
        let value = if self.rules.trim { trim(value) } else { value };
        Header { raw_name: name, raw_value: value, escaped: self.escaped }
    }
}

/// One header line.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// The name as on the wire, escapes in place. Names that the protocol knows never need one, so comparing
    /// these octets with such a name is exact.
    pub raw_name: &'a [u8],
    /// The value as on the wire, escapes in place.
    pub raw_value: &'a [u8],
    escaped: bool,
}

impl<'a> Header<'a> {
    /// The name's text.
    pub fn name(&self) -> Cow<'a, str> {
        text(self.raw_name, self.escaped)
    }

    /// The value's text.
    pub fn value(&self) -> Cow<'a, str> {
        text(self.raw_value, self.escaped)
    }
}

impl Rules {
    fn knows_escape(self, octet: u8) -> bool {
        match octet {
            b'n' | b'c' | b'\\' => self.escapes != Escapes::None,
            b'r' => self.escapes == Escapes::Four,
            _ => false,
        }
    }
}

/// A line without the carriage return that is part of its end.
pub(super) fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The positions of name and value in a line that begins at `start` of its block.
pub(super) fn span_of(line: &[u8], start: usize) -> Result<Span, Fault> {
    let colon = memchr::memchr(b':', line).ok_or(Fault::NoColon)?;
    if colon == 0 {
        // STOMP 1.2 §Augmented BNF: header-name = 1*<any OCTET except CR or LF or ":">
        return Err(Fault::NoName);
    }
    let at = |offset: usize| u32::try_from(start + offset).unwrap_or(u32::MAX);
    Ok(Span { start: at(0), colon: at(colon), end: at(line.len()) })
}

/// The slow path of a block with a backslash, a carriage return or a NUL. True when an escape is to be undone.
fn check_odd_octets(block: &[u8], spans: &[Span], rules: Rules) -> Result<bool, Fault> {
    let mut escaped = false;
    for span in spans {
        let line = block.get(span.start as usize..span.end as usize).unwrap_or_default();
        let mut octets = line.iter();
        while let Some(octet) = octets.next() {
            match octet {
                0 => return Err(Fault::NulInHeaders),
                b'\r' if !rules.bare_cr => return Err(Fault::BareCarriageReturn),
                b'\\' if rules.escapes != Escapes::None => {
                    // STOMP 1.2 §Value Encoding: undefined escapes are a fatal protocol error.
                    let known = octets.next().is_some_and(|next| rules.knows_escape(*next));
                    if !known {
                        return Err(Fault::BadEscape);
                    }
                    escaped = true;
                }
                _ => {}
            }
        }
    }
    Ok(escaped)
}

fn trim(value: &[u8]) -> &[u8] {
    let blank = |octet: &u8| *octet == b' ' || *octet == b'\t';
    let start = value.iter().position(|octet| !blank(octet)).unwrap_or(value.len());
    let end = value.iter().rposition(|octet| !blank(octet)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

fn text(raw: &[u8], escaped: bool) -> Cow<'_, str> {
    // The block was checked as a whole, so this never fails; the lossy form only spares an unreachable branch.
    if !escaped || memchr::memchr(b'\\', raw).is_none() {
        return String::from_utf8_lossy(raw);
    }
    let mut plain = Vec::with_capacity(raw.len());
    let mut octets = raw.iter();
    while let Some(octet) = octets.next() {
        plain.push(match octet {
            b'\\' => match octets.next() {
                Some(b'n') => b'\n',
                Some(b'c') => b':',
                Some(b'r') => b'\r',
                _ => b'\\',
            },
            other => *other,
        });
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Version;
    use super::*;

    fn read(block: &'static str, version: Version) -> Result<Vec<(String, String)>, Fault> {
        let headers = Headers::parse(Bytes::from_static(block.as_bytes()), version.rules())?;
        Ok(headers.iter().map(|h| (h.name().into_owned(), h.value().into_owned())).collect())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
    }

    #[test]
    fn escapes_follow_the_version() {
        let block = "a\\cb:x\\ny\\\\z\n";
        assert_eq!(read(block, Version::V12).unwrap(), pairs(&[("a:b", "x\ny\\z")]));
        assert_eq!(read(block, Version::V11).unwrap(), pairs(&[("a:b", "x\ny\\z")]));
        assert_eq!(read(block, Version::V10).unwrap(), pairs(&[("a\\cb", "x\\ny\\\\z")]));
        assert_eq!(read("a:\\r\n", Version::V12).unwrap(), pairs(&[("a", "\r")]));
        assert_eq!(read("a:\\r\n", Version::V11), Err(Fault::BadEscape));
    }

    #[test]
    fn undefined_escapes_are_refused() {
        for block in ["a:\\t\n", "a:x\\\n", "\\x:1\n", "a:\\\\\\\n", "a:\\\nb:1\n"] {
            assert_eq!(read(block, Version::V12), Err(Fault::BadEscape), "{block:?}");
            assert_eq!(read(block, Version::V11), Err(Fault::BadEscape), "{block:?}");
            assert!(read(block, Version::V10).is_ok(), "{block:?}");
        }
    }

    #[test]
    fn long_escape_runs_do_not_recurse() {
        let block = format!("a:{}\n", "\\\\".repeat(200_000));
        let headers = Headers::parse(block.into(), Version::V12.rules()).unwrap();
        assert_eq!(headers.get("a").unwrap().len(), 200_000);
    }

    #[test]
    fn a_carriage_return_at_the_end_of_a_line_belongs_to_that() {
        assert_eq!(read("a:1\r\nb:2\n", Version::V12).unwrap(), pairs(&[("a", "1"), ("b", "2")]));
        assert_eq!(read("a:1\r\n", Version::V11).unwrap(), pairs(&[("a", "1")]));
        assert_eq!(read("a:1\r\n", Version::V10).unwrap(), pairs(&[("a", "1")]));
        assert_eq!(read("a:1\r2\n", Version::V12), Err(Fault::BareCarriageReturn));
        assert_eq!(read("a:1\r2\n", Version::V11).unwrap(), pairs(&[("a", "1\r2")]));
    }

    #[test]
    fn padding_is_trimmed_in_1_0_only() {
        assert_eq!(read("a:  x y \n", Version::V10).unwrap(), pairs(&[("a", "x y")]));
        assert_eq!(read("a:   \n", Version::V10).unwrap(), pairs(&[("a", "")]));
        assert_eq!(read("a: x \n", Version::V11).unwrap(), pairs(&[("a", " x ")]));
        assert_eq!(read("a: x \n", Version::V12).unwrap(), pairs(&[("a", " x ")]));
    }

    #[test]
    fn repeated_and_odd_headers() {
        let headers =
            Headers::parse("foo:World\nfoo:Hello\nempty:\nc:a:b:c\n".into(), Version::V12.rules())
                .unwrap();
        assert_eq!(headers.get("foo").unwrap(), "World");
        assert_eq!(headers.get("empty").unwrap(), "");
        assert_eq!(headers.get("c").unwrap(), "a:b:c");
        assert_eq!(headers.get("absent"), None);
        assert_eq!(headers.len(), 4);
    }

    #[test]
    fn broken_lines() {
        assert_eq!(read("nocolon\n", Version::V12), Err(Fault::NoColon));
        assert_eq!(read(":value\n", Version::V12), Err(Fault::NoName));
        assert_eq!(read("\n", Version::V12), Err(Fault::NoColon));
        assert_eq!(read("a:\0\n", Version::V10), Err(Fault::NulInHeaders));
        let bad = Headers::parse(Bytes::from_static(b"a:\xff\n"), Version::V12.rules());
        assert_eq!(bad.unwrap_err(), Fault::NotUtf8);
    }
}
