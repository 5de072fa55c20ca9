//! `crossdock store verify` and `crossdock store dump`: show operators what a store holds. Nothing is changed.

use crate::output::{self, complain, say};
use crate::wiring::{self, Protocols};
use crossdock_core::broker::{Stored, dump as stored_messages};
use crossdock_core::carry::{self, Carry, Slots};
use crossdock_core::fate::Losses;
use crossdock_core::{Error, ErrorKind, Formats, Message, Name, ReplyTo};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code: something is damaged, or the queue does not exist.
const EXIT_FOUND: u8 = 1;
/// Exit code: the store cannot be read.
const EXIT_UNREADABLE: u8 = 2;

/// Bytes of lines that are printed together.
const LINES_BYTES: usize = 64 << 10;

/// The store's folder in a data directory; `dir` itself if it is the store's folder.
fn folder(dir: &Path) -> PathBuf {
    let inner = dir.join("store");
    if inner.is_dir() { inner } else { dir.to_owned() }
}

fn unreadable(dir: &Path, error: impl std::fmt::Display) -> ExitCode {
    complain!("{}: {error}", dir.display());
    ExitCode::from(EXIT_UNREADABLE)
}

/// Checks the store and prints the findings and counts.
pub fn verify(dir: &Path) -> ExitCode {
    let dir = folder(dir);
    let mut print = |finding: wiring::Finding| say!("{finding}");
    let report = match wiring::verify(&dir, &mut print) {
        Ok(report) => report,
        Err(error) => return unreadable(&dir, error),
    };
    say!(
        "{} entries of {} bytes in {} segments of {} bytes, positions {} to {}",
        report.entries,
        report.bytes,
        report.segments,
        report.segment_bytes,
        report.live.start.0,
        report.live.end.0.saturating_sub(1)
    );
    for (upto, bytes) in &report.snapshots {
        say!("snapshot up to {} of {bytes} bytes", upto.0);
    }
    if report.in_use {
        say!("a process has the store open: what it wrote during the check may be missing here");
    }
    match report.damages {
        0 if report.torn_bytes > 0 => {
            // Where the store is in use, it is mostly what is being written just now.
            let bytes = report.torn_bytes;
            say!(
                "no damage, or one entry: the last {bytes} bytes are an unfinished write, or a damaged entry"
            );
            ExitCode::SUCCESS
        }
        0 => {
            say!("no damage");
            ExitCode::SUCCESS
        }
        damages => {
            say!("damage: {damages} findings, {} damaged entries", report.damaged);
            ExitCode::from(EXIT_FOUND)
        }
    }
}

/// Prints the messages of a queue.
pub fn dump(dir: &Path, vhost: &str, queue: &str) -> ExitCode {
    let dir = folder(dir);
    let store = match wiring::store_to_read(&dir) {
        Ok(store) => store,
        Err(error) => return unreadable(&dir, error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return unreadable(&dir, error),
    };
    let formats = wiring::formats(&Protocols::default().all());
    let mut lines = String::new();
    let mut each = |stored: Stored| {
        lines.push_str(&format!("{}\n", line(queue, &stored, &formats)));
        if lines.len() >= LINES_BYTES {
            output::put(&std::mem::take(&mut lines));
        }
        match output::has_failed() {
            true => Err(Error::new(ErrorKind::Closed, "nobody reads any further")),
            false => Ok(()),
        }
    };
    let dumped = runtime.block_on(stored_messages(&*store, (vhost, queue), &mut each));
    output::put(&lines);
    match dumped {
        // How it ends says what became of what was printed.
        _ if output::has_failed() => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            complain!("{}", error.detail());
            ExitCode::from(EXIT_FOUND)
        }
        Err(error) => unreadable(&dir, error.detail()),
        Ok(_) => ExitCode::SUCCESS,
    }
}

fn line(queue: &str, stored: &Stored, formats: &Formats) -> Value {
    let mut line = json!({
        "queue": queue,
        "offset": stored.offset.0,
        "entry": stored.place.pos,
        "index": stored.place.index,
        "attempts": stored.attempts,
    });
    if let Some(fields) = line.as_object_mut() {
        match &stored.message {
            Some(message) => show(message, formats, fields),
            None => drop(fields.insert("damaged".to_owned(), json!(true))),
        }
    }
    line
}

fn show(message: &Message, formats: &Formats, line: &mut Map<String, Value>) {
    let meta = message.meta();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut put = |name: &str, value: Value| drop(line.insert(name.to_owned(), value));
    put("exchange", json!(&*message.address().exchange));
    put("key", json!(text(message.address().key.bytes())));
    put("published", json!(meta.published.0));
    put("expires", json!(meta.expires.map(|at| at.0)));
    put("priority", json!(meta.priority));
    put("user", json!(&*meta.origin.user));
    put("client", json!(&*meta.origin.client));
    let fields = message.fields(formats);
    let (mut headers, mut properties) = (Vec::new(), Vec::new());
    carry::headers_as_text(&fields.headers, &mut headers);
    // With all that is carried nothing is lost.
    let fates = &mut Losses::default();
    carry::carried(message, fields, (Slots::NONE, Carry::Full), &mut properties, fates);
    // Every protocol has a field for these, so they are not among the carried properties.
    let known = &fields.properties;
    let correlation =
        known.correlation_id.as_ref().and_then(|id| carry::id_to_text(id, usize::MAX));
    let reply_to = known.reply_to.as_ref().map(|reply| match reply {
        ReplyTo::Queue(name) => format!("queue:{name}"),
        ReplyTo::Topic(key) => format!("topic:{}", text(key.bytes())),
        ReplyTo::Opaque(name) => name.to_string(),
    });
    for (name, value) in [
        ("content-type", known.content_type.as_ref().map(ToString::to_string)),
        ("correlation-id", correlation),
        ("reply-to", reply_to),
    ] {
        properties.extend(value.map(|value| (name.into(), value)));
    }
    let pairs = |pairs: Vec<(Name, String)>| -> Value {
        // A header may occur twice, so this is a list of pairs and not an object.
        pairs.into_iter().map(|(name, value)| json!([&*name, value])).collect()
    };
    put("headers", pairs(headers));
    put("properties", pairs(properties));
    match std::str::from_utf8(message.body()) {
        Ok(body) => put("body", json!(body)),
        Err(_) => put("body_base64url", json!(carry::base64url(message.body()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossdock_core::log::Place;
    use crossdock_core::{Address, Fields, Meta, Offset, Timestamp};

    #[test]
    fn a_message_is_a_line() {
        let formats = wiring::formats(&Protocols::default().all());
        let meta = Meta { priority: Some(3), ..Meta::new(Default::default(), Timestamp(7)) };
        let mut fields = Fields::default();
        fields.headers.push(("a".into(), crossdock_core::Value::I32(5)));
        fields.properties.content_type = Some("text/plain".into());
        let address = Address::new("x".into(), "a/b".into());
        let message = |body: &'static [u8]| {
            Message::from_fields(address.clone(), meta.clone(), &fields, body.into())
        };
        let stored = |message| {
            let place = Place { pos: 8, index: 1 };
            Stored { offset: Offset(9), place, attempts: 2, message }
        };
        let shown = line("q", &stored(Some(message(b"hello"))), &formats);
        assert_eq!(
            (&shown["offset"], &shown["entry"], &shown["attempts"]),
            (&json!(9), &json!(8), &json!(2))
        );
        assert_eq!(
            (&shown["key"], &shown["body"], &shown["priority"]),
            (&json!("a/b"), &json!("hello"), &json!(3))
        );
        assert_eq!(shown["headers"][0], json!(["a", "5"]));
        assert!(shown["properties"].to_string().contains("text/plain"), "{shown}");
        let binary = line("q", &stored(Some(message(b"\xff\x00"))), &formats);
        assert_eq!(binary["body_base64url"], json!("_wA"));
        assert_eq!(line("q", &stored(None), &formats)["damaged"], json!(true));
    }
}
