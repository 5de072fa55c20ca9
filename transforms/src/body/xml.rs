//! XML paths: `/a/b`, `*` for any name, `[@k='v']` and `[n]` as conditions, and at the end `/@name` or `/text()`.
//! The document is read up to the value only. Names are compared as written, prefix included. A document type makes the
//! body unreadable, so no entity can be declared.

use super::Unreadable;
use crossdock_core::exchange::selector::Operand;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use std::borrow::Cow;

const DEPTH_MAX: usize = 100;
const STEPS_MAX: usize = 32;

/// A compiled path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct XmlPath {
    steps: Vec<XmlStep>,
    end: Selected,
}

#[derive(Debug, Clone, PartialEq)]
struct XmlStep {
    /// `None` is `*`.
    name: Option<String>,
    /// An attribute and its value.
    with: Option<(String, String)>,
    /// Index from 1 among the siblings that fulfil the other conditions.
    nth: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
enum Selected {
    /// All text below the element.
    All,
    /// The element's own text.
    Own,
    Attribute(String),
}

impl XmlPath {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix('/').ok_or("an XML path begins with /")?;
        let mut steps = Vec::new();
        let mut end = Selected::All;
        for part in split_steps(rest) {
            if end != Selected::All {
                return Err("nothing can follow an attribute or text()".into());
            }
            match (part, part.strip_prefix('@')) {
                (_, Some(name)) if is_name(name) => end = Selected::Attribute(name.to_string()),
                ("text()", _) => end = Selected::Own,
                _ => steps.push(step(part).ok_or_else(|| {
                    format!("'{part}' is not a name, *, @name or text(), with [@name='value'] or [number]")
                })?),
            }
        }
        match steps.len() {
            0 => Err("an XML path names an element first".into()),
            1..=STEPS_MAX => Ok(Self { steps, end }),
            _ => Err(format!("more than {STEPS_MAX} steps")),
        }
    }

    /// The document is text without byte order mark.
    pub(crate) fn find(&self, text: &str) -> Result<Operand<'static>, Unreadable> {
        let mut reader = Reader::from_str(text);
        let mut walk = Walk::new(self);
        loop {
            let at = reader.buffer_position();
            match reader.read_event().map_err(|_| Unreadable)? {
                Event::Start(start) => {
                    if let Some(value) = walk.start(&start)? {
                        return Ok(Operand::Text(Cow::Owned(value)));
                    }
                }
                Event::Empty(start) => {
                    if let Some(value) = walk.start(&start)? {
                        return Ok(Operand::Text(Cow::Owned(value)));
                    }
                    if let Some(value) = walk.end() {
                        return Ok(Operand::Text(Cow::Owned(value)));
                    }
                }
                Event::End(_) => {
                    if let Some(value) = walk.end() {
                        return Ok(Operand::Text(Cow::Owned(value)));
                    }
                }
                Event::Text(text) => walk.text(&text.xml10_content()),
                Event::CData(text) => walk.text(&text.xml10_content()),
                Event::GeneralRef(reference) => {
                    walk.text(reference_text(&reference)?.encode_utf8(&mut [0; 4]))
                }
                Event::DocType(_) => return Err(Unreadable),
                // XML 1.0 §2.8: a declaration is the very beginning, so this is none, and its encoding does not hold.
                Event::Decl(_) if at > 0 => return Err(Unreadable),
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
                Event::Eof if walk.open > 0 || !walk.seen => return Err(Unreadable),
                Event::Eof => return Ok(Operand::Null),
            }
        }
    }
}

/// Splits at each `/` outside of quotes.
fn split_steps(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '\'';
        c == '/' && !quoted
    })
}

fn step(text: &str) -> Option<XmlStep> {
    let (name, mut conditions) = match text.find('[') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    if name != "*" && !is_name(name) {
        return None;
    }
    let name = (name != "*").then(|| name.to_string());
    let mut step = XmlStep { name, with: None, nth: None };
    while let Some(rest) = conditions.strip_prefix('[') {
        if let Some(rest) = rest.strip_prefix('@') {
            let (name, rest) = rest.split_once("='")?;
            let (value, rest) = rest.split_once("']")?;
            if step.with.is_some() || step.nth.is_some() || !is_name(name) {
                return None;
            }
            step.with = Some((name.to_string(), value.to_string()));
            conditions = rest;
        } else {
            let (number, rest) = rest.split_once(']')?;
            let number = number.parse().ok().filter(|n| *n > 0)?;
            if step.nth.replace(number).is_some() {
                return None;
            }
            conditions = rest;
        }
    }
    conditions.is_empty().then_some(step)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "[]@'\"()*=/<>&!".contains(c))
}

/// The state of reading, relative to the path.
struct Walk<'p> {
    path: &'p XmlPath,
    open: usize,
    /// Number of open elements, from the root on, that match the path's steps.
    matched: usize,
    /// For each step, the number of siblings that matched so far.
    counts: Vec<usize>,
    /// The text of the element that was found, while it is open.
    found: Option<String>,
    /// An element was read.
    seen: bool,
}

impl<'p> Walk<'p> {
    fn new(path: &'p XmlPath) -> Self {
        let counts = vec![0; path.steps.len()];
        Self { path, open: 0, matched: 0, counts, found: None, seen: false }
    }

    /// An element begins. Returns the value if the path ends in one of its attributes.
    fn start(&mut self, start: &BytesStart<'_>) -> Result<Option<String>, Unreadable> {
        if self.open == DEPTH_MAX {
            return Err(Unreadable);
        }
        self.seen = true;
        let level = self.open;
        self.open += 1;
        if self.matched != level || !self.fits(level, start)? {
            return Ok(None);
        }
        self.matched += 1;
        if let Some(count) = self.counts.get_mut(self.matched) {
            *count = 0;
            return Ok(None);
        }
        match &self.path.end {
            Selected::Attribute(name) => attribute(start, name),
            Selected::All | Selected::Own => {
                self.found = Some(String::new());
                Ok(None)
            }
        }
    }

    fn fits(&mut self, level: usize, start: &BytesStart<'_>) -> Result<bool, Unreadable> {
        let (Some(step), Some(count)) = (self.path.steps.get(level), self.counts.get_mut(level))
        else {
            return Ok(false);
        };
        if step.name.as_deref().is_some_and(|name| name != start.name().0) {
            return Ok(false);
        }
        if let Some((name, value)) = &step.with
            && attribute(start, name)?.as_ref() != Some(value)
        {
            return Ok(false);
        }
        *count += 1;
        Ok(step.nth.is_none_or(|nth| nth == *count))
    }

    fn text(&mut self, text: &str) {
        let own = self.open == self.path.steps.len();
        if let Some(found) = &mut self.found
            && (own || self.path.end == Selected::All)
        {
            found.push_str(text);
        }
    }

    /// An element ends. Returns the value if the path names it.
    fn end(&mut self) -> Option<String> {
        let was_matched = self.matched == self.open;
        self.open = self.open.saturating_sub(1);
        if !was_matched {
            return None;
        }
        self.matched = self.matched.saturating_sub(1);
        self.found.take()
    }
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Result<Option<String>, Unreadable> {
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| Unreadable)?;
        if attribute.key.0 == name {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            return value.map(|v| Some(v.into_owned())).map_err(|_| Unreadable);
        }
    }
    Ok(None)
}

/// A character reference or one of the five entities (XML 1.0 §4.6).
fn reference_text(reference: &BytesRef<'_>) -> Result<char, Unreadable> {
    if let Some(c) = reference.resolve_char_ref().map_err(|_| Unreadable)? {
        return Ok(c);
    }
    match &**reference {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "apos" => Ok('\''),
        "quot" => Ok('"'),
        _ => Err(Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(path: &str, body: &str) -> String {
        match XmlPath::parse(path).unwrap().find(body) {
            Ok(Operand::Text(text)) => text.into_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn finds_values() {
        let body = "<?xml version='1.0'?><o id='7'><x><c>no</c></x><l k='a'>1<b>2</b>&amp;<![CDATA[<]]></l>\
                    <l k='b' z='&lt;&#65;'>3</l><n:m>ns</n:m><e/></o>";
        for (path, expected) in [
            ("/o/@id", "7"),
            ("/o/l", "12&<"),
            ("/o/l/text()", "1&<"),
            ("/o/l/b", "2"),
            ("/o/l[2]", "3"),
            ("/o/l[@k='b']", "3"),
            ("/o/l[@k='b']/@z", "<A"),
            ("/o/*[3]/@k", "b"),
            ("/o/n:m", "ns"),
            ("/o/e", ""),
            ("/o/l/@z", "<A"),
            ("/o/c", "Ok(Null)"),
            ("/c", "Ok(Null)"),
            ("/o/l[3]", "Ok(Null)"),
            ("/o/x/c", "no"),
            ("/o/l[@k='b'][1]", "3"),
            ("/*/@id", "7"),
        ] {
            assert_eq!(find(path, body), expected, "{path}");
        }
        assert_eq!(find("/a/b/@c", "<a><b/><b><c/></b><b c='1'/></a>"), "1");
        assert_eq!(find("/a[@k='x/y']", "<a k='x/y'>s</a>"), "s");
    }

    #[test]
    fn damaged_bodies_are_unreadable() {
        for body in [
            "",
            "text",
            "{\"a\":1}",
            "<o",
            "<o>",
            "<o><l></o>",
            "<!DOCTYPE o><o/>",
            "<o>&nbsp;</o>",
        ] {
            assert_eq!(find("/o/l", body), "Err(Unreadable)", "{body}");
        }
        assert_eq!(find("/a/z", &"<a>".repeat(5_000)), "Err(Unreadable)");
    }

    #[test]
    fn bad_paths() {
        for path in [
            "",
            "a",
            "/",
            "//a",
            "/@a",
            "/a/@b/c",
            "/a/text()/b",
            "/a[0]",
            "/a[x]",
            "/a[@k=v]",
            "/a b",
            "/a[1",
        ] {
            assert!(XmlPath::parse(path).is_err(), "{path}");
        }
    }
}
