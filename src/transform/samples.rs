//! Messages to try a module with: a body from a file, what was given beside it, published by nobody.

use super::CheckOrder;
use crossdock_core::{Address, Fields, Message, Meta, Origin, Timestamp, Value};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A message, and the name of the file that its body is from.
pub struct Sample {
    pub name: String,
    pub message: Message,
}

/// The samples of an order, or every mistake in it. Without any there is one with an empty body.
pub fn read(order: &CheckOrder, address: &Address) -> Result<Vec<Sample>, Vec<String>> {
    let mut mistakes = Vec::new();
    let mut fields = Fields::default();
    fields.properties.content_type = order.content_type.as_deref().map(Into::into);
    for header in &order.headers {
        match header.split_once('=') {
            Some((name, text)) if !name.is_empty() => {
                fields.headers.push((name.into(), Value::Text(text.into())));
            }
            _ => mistakes.push(format!("--header {header}: is not NAME=TEXT")),
        }
    }
    let mut samples = Vec::new();
    for file in &order.samples {
        match fs::read(file) {
            Ok(body) => samples.push(sample(file, address, &fields, body)),
            Err(error) => mistakes.push(format!("--sample {}: {error}", file.display())),
        }
    }
    match mistakes.is_empty() {
        true => Ok(samples),
        false => Err(mistakes),
    }
}

fn sample(file: &Path, address: &Address, fields: &Fields, body: Vec<u8>) -> Sample {
    let origin = Origin { client: "crossdock transform".into(), ..Origin::default() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    let meta = Meta::new(Arc::new(origin), now);
    let message = Message::from_fields(address.clone(), meta, fields, body.into());
    Sample { name: file.display().to_string(), message }
}
