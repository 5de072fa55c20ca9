//! A document as a sequence of events, strictly after XML 1.0: what is not well-formed is refused. There is no document
//! type, so the five entities are all there are. One pass, no recursion.

use crate::chars::{is_char, is_space, name_length};
use std::borrow::Cow;
use std::collections::HashSet;

/// A reason, without the place.
type Refused<T> = Result<T, String>;

pub(crate) enum Event<'x> {
    Start(Tag<'x>),
    /// The name.
    End(&'x str),
    /// As the document writes it.
    Text(Cow<'x, str>),
    /// Text that can only stand within an element: a reference or a CDATA section.
    Content(Cow<'x, str>),
    /// A comment or a processing instruction with its target.
    Ignored(Option<&'x str>),
    Eof,
}

/// A start tag.
pub(crate) struct Tag<'x> {
    pub name: &'x str,
    pub attributes: Vec<(&'x str, Cow<'x, str>)>,
    /// It is the end tag as well.
    pub empty: bool,
}

pub(crate) struct Reader<'x> {
    text: &'x str,
    /// Bytes read so far.
    pub at: usize,
}

/// Attributes up to which every pair of names is compared.
const COMPARED_MAX: usize = 16;

impl<'x> Reader<'x> {
    pub(crate) fn new(text: &'x str) -> Self {
        Self { text, at: 0 }
    }

    /// The declaration, if there is one (§2.8); its encoding.
    pub(crate) fn declaration(&mut self) -> Refused<Option<&'x str>> {
        if !self.rest().strip_prefix("<?xml").is_some_and(|rest| rest.starts_with(is_space)) {
            return Ok(None);
        }
        self.at += "<?xml".len();
        let is_version = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match self.pseudo("version")? {
            Some(version) if !version.is_empty() && version.chars().all(is_version) => {}
            _ => return Err("the declaration has no version".into()),
        }
        let encoding = self.pseudo("encoding")?;
        if let Some(name) = encoding
            && !(name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(is_version))
        {
            return Err(format!("'{}' is no name of an encoding", short(name)));
        }
        match self.pseudo("standalone")? {
            None | Some("yes" | "no") => {}
            Some(other) => return Err(format!("standalone is yes or no, not '{}'", short(other))),
        }
        self.space();
        match self.take("?>") {
            true => Ok(encoding),
            false => Err("the declaration has version, encoding, standalone, in this order".into()),
        }
    }

    /// A part of the declaration, with the white space in front of it.
    fn pseudo(&mut self, name: &str) -> Refused<Option<&'x str>> {
        let before = self.at;
        if !(self.space() && self.take(name)) {
            self.at = before;
            return Ok(None);
        }
        self.equals()?;
        let quote = self.quote()?;
        let value = self.until(quote, "the value in the declaration is not closed")?;
        Ok(Some(value))
    }

    pub(crate) fn next(&mut self) -> Refused<Event<'x>> {
        let rest = self.rest();
        let marks = ["<!--", "<![CDATA[", "<!DOCTYPE", "<?", "</", "<", "&"];
        let mark = marks.into_iter().find(|mark| rest.starts_with(mark)).unwrap_or_default();
        self.at += mark.len();
        match mark {
            "" if rest.is_empty() => Ok(Event::Eof),
            "" => self.characters().map(Event::Text),
            "&" => {
                let c = self.reference()?;
                Ok(Event::Content(Cow::Owned(c.into())))
            }
            "<!--" => self.comment(),
            "<![CDATA[" => {
                let text = self.until("]]>", "a CDATA section is not closed")?;
                checked(text)?;
                Ok(Event::Content(with_line_feeds(text)))
            }
            "<!DOCTYPE" => Err("a document type is not allowed".into()),
            "<?" => self.instruction(),
            "</" => {
                let name = self.name("end tag")?;
                self.space();
                match self.take(">") {
                    true => Ok(Event::End(name)),
                    false => Err(format!("the end tag </{}> is not closed", short(name))),
                }
            }
            _ => self.start().map(Event::Start),
        }
    }

    /// Text up to the next mark.
    fn characters(&mut self) -> Refused<Cow<'x, str>> {
        let rest = self.rest();
        let text = rest.get(..rest.find(['<', '&']).unwrap_or(rest.len())).unwrap_or_default();
        checked(text)?;
        // §2.4: for compatibility with SGML.
        if text.contains("]]>") {
            return Err("]]> in text".into());
        }
        self.at += text.len();
        Ok(with_line_feeds(text))
    }

    fn comment(&mut self) -> Refused<Event<'x>> {
        let text = self.until("--", "a comment is not closed")?;
        checked(text)?;
        match self.take(">") {
            true => Ok(Event::Ignored(None)),
            false => Err("-- in a comment".into()),
        }
    }

    fn instruction(&mut self) -> Refused<Event<'x>> {
        let target = self.name("processing instruction")?;
        if target.eq_ignore_ascii_case("xml") {
            return Err("a declaration that is not at the very beginning".into());
        }
        if !self.take("?>") {
            if !self.space() {
                return Err(format!("no white space after <?{}", short(target)));
            }
            checked(self.until("?>", "a processing instruction is not closed")?)?;
        }
        Ok(Event::Ignored(Some(target)))
    }

    fn start(&mut self) -> Refused<Tag<'x>> {
        let name = self.name("start tag")?;
        let mut attributes = Vec::new();
        loop {
            let spaced = self.space();
            let empty = self.take("/>");
            if empty || self.take(">") {
                unique(&attributes)?;
                return Ok(Tag { name, attributes, empty });
            }
            if self.rest().is_empty() {
                return Err(format!("the start tag <{}> is not closed", short(name)));
            }
            if !spaced {
                return Err(format!(
                    "no white space in front of an attribute of <{}>",
                    short(name)
                ));
            }
            let attribute = self.name("attribute")?;
            self.equals()?;
            attributes.push((attribute, self.value()?));
        }
    }

    /// An attribute's value, normalised (§3.3.3).
    fn value(&mut self) -> Refused<Cow<'x, str>> {
        let quote = self.quote()?;
        let start = self.at;
        let ends = |c: char| matches!(c, '<' | '&' | '\t' | '\n' | '\r') || quote.contains(c);
        let mut value = String::new();
        loop {
            let rest = self.rest();
            let end = rest.find(ends).ok_or("the value of an attribute is not closed")?;
            let (plain, after) = rest.split_at(end);
            checked(plain)?;
            self.at += end;
            if after.starts_with(quote) && value.is_empty() && self.at - start == plain.len() {
                self.at += quote.len();
                return Ok(Cow::Borrowed(plain));
            }
            value.push_str(plain);
            if self.take(quote) {
                return Ok(Cow::Owned(value));
            }
            match self.take("&") {
                true => value.push(self.reference()?),
                false if after.starts_with('<') => {
                    return Err("< in the value of an attribute".into());
                }
                false => {
                    self.at += if after.starts_with("\r\n") { 2 } else { 1 };
                    value.push(' ');
                }
            }
        }
    }

    /// The character of a reference, behind its `&` (§4.1, §4.6).
    fn reference(&mut self) -> Refused<char> {
        let Some((name, _)) = self.rest().split_once(';').filter(|(name, _)| is_reference(name))
        else {
            return Err("& that begins no reference".into());
        };
        self.at += name.len() + 1;
        let number = match (name.strip_prefix("#x"), name.strip_prefix('#')) {
            (Some(hex), _) => u32::from_str_radix(hex, 16),
            (None, Some(decimal)) => decimal.parse(),
            (None, None) => return predefined(name),
        };
        let c = number.ok().and_then(char::from_u32).filter(|c| is_char(*c));
        c.ok_or_else(|| format!("&{}; is no character of XML", short(name)))
    }

    fn name(&mut self, of: &str) -> Refused<&'x str> {
        let rest = self.rest();
        let name = rest.get(..name_length(rest)).unwrap_or_default();
        self.at += name.len();
        match name.is_empty() {
            true => Err(format!("not a name for a {of}: '{}'", short(rest))),
            false => Ok(name),
        }
    }

    fn equals(&mut self) -> Refused<()> {
        self.space();
        let equals = self.take("=");
        self.space();
        if equals { Ok(()) } else { Err("an attribute without =".into()) }
    }

    fn quote(&mut self) -> Refused<&'static str> {
        ["'", "\""]
            .into_iter()
            .find(|quote| self.take(quote))
            .ok_or("a value without quotes".into())
    }

    /// The text in front of `end`, which is read too.
    fn until(&mut self, end: &str, otherwise: &str) -> Refused<&'x str> {
        let (text, _) = self.rest().split_once(end).ok_or(otherwise)?;
        self.at += text.len() + end.len();
        Ok(text)
    }

    fn take(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        self.at += if found { expected.len() } else { 0 };
        found
    }

    /// Reads white space; whether there was any.
    fn space(&mut self) -> bool {
        let rest = self.rest();
        let length = rest.len() - rest.trim_start_matches(is_space).len();
        self.at += length;
        length > 0
    }

    fn rest(&self) -> &'x str {
        self.text.get(self.at..).unwrap_or_default()
    }
}

/// The inside of `&..;`.
fn is_reference(name: &str) -> bool {
    let digits = |text: &str, radix| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    match (name.strip_prefix("#x"), name.strip_prefix('#')) {
        (Some(hex), _) => digits(hex, 16),
        (None, Some(decimal)) => digits(decimal, 10),
        (None, None) => !name.is_empty() && name_length(name) == name.len(),
    }
}

/// §4.6.
fn predefined(name: &str) -> Refused<char> {
    match name {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "apos" => Ok('\''),
        "quot" => Ok('"'),
        _ => Err(format!("entity &{}; is not one of the five", short(name))),
    }
}

/// §3.1: no name appears twice.
fn unique(attributes: &[(&str, Cow<'_, str>)]) -> Refused<()> {
    let twice = match attributes.len() <= COMPARED_MAX {
        true => attributes.iter().enumerate().find(|(at, (name, _))| {
            attributes.iter().take(*at).any(|(earlier, _)| earlier == name)
        }),
        false => {
            let mut seen = HashSet::new();
            attributes.iter().enumerate().find(|(_, (name, _))| !seen.insert(*name))
        }
    };
    match twice {
        Some((_, (name, _))) => Err(format!("duplicate attribute {}", short(name))),
        None => Ok(()),
    }
}

fn checked(text: &str) -> Refused<()> {
    match text.chars().find(|c| !is_char(*c)) {
        Some(c) => Err(format!("U+{:04X} is no character of XML", c as u32)),
        None => Ok(()),
    }
}

/// §2.11: every end of a line is one line feed.
fn with_line_feeds(text: &str) -> Cow<'_, str> {
    match text.contains('\r') {
        true => Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n")),
        false => Cow::Borrowed(text),
    }
}

pub(crate) fn short(text: &str) -> String {
    text.chars().take(40).collect()
}
