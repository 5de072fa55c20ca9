//! One pass over the document, with the open elements on a stack: no recursion on input.
//!
//! Refused: a document type (so no entity can be declared), entities beyond the five, another encoding than UTF-8,
//! nesting beyond 100, anything malformed.

use crate::options::{Options, Root};
use crate::tree::Element;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde_json::{Map, Value};

const DEPTH_MAX: usize = 100;

/// The JSON text of an XML document.
pub fn convert(xml: &str, options: &Options) -> Result<String, String> {
    let xml = xml.strip_prefix('\u{feff}').unwrap_or(xml);
    let mut reader = Reader::from_str(xml);
    reader.config_mut().check_comments = true;
    let mut document = Document { options, open: Vec::new(), root: None };
    loop {
        let at = reader.buffer_position();
        let event = reader
            .read_event()
            .map_err(|e| format!("{e} (at byte {})", reader.error_position()))?;
        let is_end = matches!(event, Event::Eof);
        document.event(event).map_err(|reason| format!("{reason} (at byte {at})"))?;
        if is_end {
            break;
        }
    }
    let root = document.root.ok_or("there is no element")?;
    serde_json::to_string(&root).map_err(|e| e.to_string())
}

struct Document<'o> {
    options: &'o Options,
    open: Vec<Element>,
    root: Option<Value>,
}

impl Document<'_> {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Start(start) => self.begin(&start),
            Event::Empty(start) => {
                self.begin(&start)?;
                self.end()
            }
            Event::End(_) => self.end(),
            Event::Text(text) => self.text(&text.xml10_content()),
            Event::CData(text) => self.content(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                let c = match reference.resolve_char_ref().map_err(|e| e.to_string())? {
                    Some(c) if is_xml_char(c) => c,
                    Some(c) => return Err(format!("U+{:04X} is no character of XML", c as u32)),
                    None => predefined(&reference).ok_or_else(|| {
                        format!("entity &{}; is not one of the five", &*reference)
                    })?,
                };
                self.content(c.encode_utf8(&mut [0; 4]))
            }
            Event::Decl(declaration) => match declaration.encoding() {
                None => Ok(()),
                Some(Ok(name))
                    if ["utf-8", "us-ascii", "ascii"]
                        .iter()
                        .any(|n| name.eq_ignore_ascii_case(n)) =>
                {
                    Ok(())
                }
                Some(Ok(name)) => Err(format!("encoding {name} is not UTF-8")),
                Some(Err(e)) => Err(e.to_string()),
            },
            Event::DocType(_) => Err("a document type is not allowed".into()),
            Event::Comment(_) | Event::PI(_) => Ok(()),
            Event::Eof => match self.open.last() {
                Some(element) => Err(format!("<{}> is not closed", element.name)),
                None => Ok(()),
            },
        }
    }

    fn begin(&mut self, start: &BytesStart<'_>) -> Result<(), String> {
        if self.open.is_empty() && self.root.is_some() {
            return Err("a second root element".into());
        }
        if self.open.len() == DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        let name = checked_name(start.name().0)?;
        if let Some(parent) = self.open.last_mut() {
            parent.child_begins();
        }
        let mut element = Element::new(name);
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|e| e.to_string())?;
            if attribute.value.contains('<') {
                return Err("< in the value of an attribute".into());
            }
            let value =
                attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|e| e.to_string())?;
            element.attribute(
                checked_name(attribute.key.0)?,
                checked_text(&value)?,
                self.options,
            )?;
        }
        self.open.push(element);
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        let element = self.open.pop().ok_or("an end tag without a start tag")?;
        let name = element.name.clone();
        let attributes_only = element.is_attributes_only();
        let value = element.finish(self.options)?;
        match self.open.last_mut() {
            Some(parent) => parent.child(&name, value, self.options),
            None => {
                let drop_name = match self.options.root {
                    Root::Auto => attributes_only,
                    Root::Keep => false,
                    Root::Drop => true,
                };
                self.root = Some(match drop_name {
                    true => value,
                    false => Value::Object(Map::from_iter([(self.options.name(&name), value)])),
                });
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        match self.open.is_empty() && text.trim().is_empty() {
            true => Ok(()),
            false => self.content(text),
        }
    }

    fn content(&mut self, text: &str) -> Result<(), String> {
        let text = checked_text(text)?;
        let element = self.open.last_mut().ok_or("text outside the root element")?;
        element.text(text);
        Ok(())
    }
}

/// XML 1.0 §4.6.
fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "apos" => '\'',
        "quot" => '"',
        _ => return None,
    })
}

/// XML 1.0 §2.2, production 2.
fn is_xml_char(c: char) -> bool {
    !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

fn checked_text(text: &str) -> Result<&str, String> {
    match text.chars().find(|c| !is_xml_char(*c)) {
        Some(c) => Err(format!("U+{:04X} is no character of XML", c as u32)),
        None => Ok(text),
    }
}

/// XML 1.0 §2.3, production 5; of characters beyond ASCII only that they are there.
fn checked_name(name: &str) -> Result<&str, String> {
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':' || !c.is_ascii();
    let goes_on = |c: char| starts(c) || c.is_ascii_digit() || c == '-' || c == '.';
    match name.starts_with(starts) && name.chars().all(goes_on) {
        true => Ok(name),
        false => Err(format!("'{}' is not a name", name.chars().take(40).collect::<String>())),
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
