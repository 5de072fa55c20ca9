//! A message for tests on this machine, with the methods of the broker's.

use crate::{Origin, Value};

/// A message that a test makes. In a broker it is a handle, of which nothing is copied that is not asked for.
#[derive(Debug, Clone)]
pub struct Message {
    address: String,
    origin: Origin,
    attempt: u32,
    headers: Vec<(String, Value)>,
    content_type: Option<String>,
    body: Vec<u8>,
}

impl Message {
    /// One with that body, published to `queue:in` by nobody in particular, for the first time.
    pub fn of(body: impl Into<Vec<u8>>) -> Self {
        let origin = Origin {
            user: String::new(),
            client: "test".to_owned(),
            listener: String::new(),
        };
        Self {
            address: "queue:in".to_owned(),
            origin,
            attempt: 0,
            headers: Vec::new(),
            content_type: None,
            body: body.into(),
        }
    }

    /// ... published there: `queue:NAME`, `topic:a/b` or `exchange:NAME/KEY`.
    pub fn published_to(mut self, address: &str) -> Self {
        self.address = address.to_owned();
        self
    }

    /// ... by them.
    pub fn published_by(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// ... tried that many times before.
    pub fn tried_before(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// ... with one more header, or a property (`message_id`, ...).
    pub fn with_header(mut self, name: &str, value: Value) -> Self {
        self.headers.push((name.to_owned(), value));
        self
    }

    /// ... whose body is of that type.
    pub fn content_type_is(mut self, content_type: &str) -> Self {
        self.content_type = Some(content_type.to_owned());
        self
    }

    pub fn address(&self) -> String {
        self.address.clone()
    }

    pub fn origin(&self) -> Origin {
        self.origin.clone()
    }

    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    pub fn header(&self, name: &str) -> Option<Value> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        let value = found.map(|(_, value)| value.clone());
        match &self.content_type {
            Some(content_type) if name == "content_type" => {
                value.or_else(|| Some(Value::Text(content_type.clone())))
            }
            _ => value,
        }
    }

    pub fn headers(&self) -> Vec<(String, Value)> {
        self.headers.clone()
    }

    pub fn content_type(&self) -> Option<String> {
        self.content_type.clone()
    }

    pub fn len(&self) -> u64 {
        self.body.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    pub fn read(&self, offset: u64, len: u32) -> Vec<u8> {
        let from = usize::try_from(offset).map_or(self.body.len(), |at| at.min(self.body.len()));
        let to = from.saturating_add(len as usize).min(self.body.len());
        self.body[from..to].to_vec()
    }
}
