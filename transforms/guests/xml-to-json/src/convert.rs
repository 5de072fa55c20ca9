//! One pass over the document, with the open elements on a stack: no recursion on input.
//!
//! Refused: what is not well-formed (see `reader`), a document type, nesting beyond 100.

use crate::chars::is_blank;
use crate::decode::decode;
use crate::namespaces::Namespaces as Declared;
use crate::options::{Namespaces, Options, Root};
use crate::reader::{Event, Reader, Tag, short};
use crate::tree::Element;
use serde_json::{Map, Value};

const DEPTH_MAX: usize = 100;

/// The JSON text of a body that is an XML document.
pub fn convert_body(
    body: &[u8],
    content_type: Option<&str>,
    options: &Options,
) -> Result<String, String> {
    convert(&decode(body, content_type)?, options)
}

/// The JSON text of an XML document.
pub fn convert(xml: &str, options: &Options) -> Result<String, String> {
    let mut reader = Reader::new(xml);
    let mut document =
        Document { options, open: Vec::new(), declared: Declared::default(), root: None };
    reader.declaration().map_err(|reason| format!("{reason} (at byte {})", reader.at))?;
    loop {
        let at = reader.at;
        let event = reader.next().map_err(|reason| format!("{reason} (at byte {})", reader.at))?;
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
    declared: Declared,
    root: Option<Value>,
}

impl Document<'_> {
    fn event(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Start(tag) => self.begin(&tag),
            Event::End(name) => match self.open.last() {
                Some(element) if element.name == name => self.end(),
                Some(element) => Err(format!(
                    "expected `</{}>`, found `</{}>`",
                    short(&element.name),
                    short(name)
                )),
                None => Err("an end tag without a start tag".into()),
            },
            Event::Text(text) if self.open.is_empty() && is_blank(&text) => Ok(()),
            Event::Text(text) | Event::Content(text) => {
                let element = self.open.last_mut().ok_or("text outside the root element")?;
                element.text(&text);
                Ok(())
            }
            Event::Ignored(Some(target)) if self.strips() && target.contains(':') => {
                Err(format!("the name of the instruction <?{} has a colon", short(target)))
            }
            Event::Ignored(_) => Ok(()),
            Event::Eof => match self.open.last() {
                Some(element) => Err(format!("<{}> is not closed", short(&element.name))),
                None => Ok(()),
            },
        }
    }

    fn strips(&self) -> bool {
        self.options.namespaces == Namespaces::Strip
    }

    fn begin(&mut self, tag: &Tag<'_>) -> Result<(), String> {
        if self.open.is_empty() && self.root.is_some() {
            return Err("a second root element".into());
        }
        if self.open.len() == DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        if self.strips() {
            self.declared.begin(tag)?;
        }
        if let Some(parent) = self.open.last_mut() {
            parent.child_begins();
        }
        let mut element = Element::new(tag.name);
        for (name, value) in &tag.attributes {
            element.attribute(name, value, self.options)?;
        }
        self.open.push(element);
        match tag.empty {
            true => self.end(),
            false => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), String> {
        let element = self.open.pop().ok_or("an end tag without a start tag")?;
        if self.strips() {
            self.declared.end();
        }
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
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
