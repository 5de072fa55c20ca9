//! The `xml-to-json` transform: the body, an XML document, becomes JSON. docs/transforms/xml-to-json.md describes
//! the mapping; [`convert_body`] is all of it, without the broker.

mod chars;
mod convert;
mod decode;
mod namespaces;
mod options;
mod reader;
mod tree;

pub use convert::{convert, convert_body};
pub use options::Options;

use crossdock_transform_sdk::{Decision, Message, Patch, Transform, transform};

struct XmlToJson {
    options: Options,
}

impl Transform for XmlToJson {
    fn new(config: &str) -> Result<Self, String> {
        Ok(Self { options: Options::parse(config)? })
    }

    fn handle(&mut self, message: &Message) -> Result<Decision, String> {
        let content_type = message.content_type();
        let json = convert_body(&message.body(), content_type.as_deref(), &self.options)?;
        Ok(Decision::Replace(Patch::body(json).content_type("application/json")))
    }
}

transform!(XmlToJson);
