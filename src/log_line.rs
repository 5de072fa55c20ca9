//! The lines of the log, as text and as JSON: one event is one line, whatever names clients have chosen. Control
//! characters are written as escapes, so that nobody forges a line or moves the cursor of a terminal.

use serde_json::{Map, Value, json};
use std::fmt::{self, Write};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{FormatEvent, Writer, debug_fn};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What a file of the log says when it could not be written for some time.
const LOST: &str =
    "lines of the log could not be written to its file: they went to standard error instead";

/// Formats the fields of an event: the message first, then `name=value` with a blank between.
pub fn fields() -> impl for<'w> FormatFields<'w> + 'static {
    let field = |writer: &mut Writer<'_>, field: &tracing::field::Field, value: &dyn fmt::Debug| {
        let mut writer = OneLine(writer);
        match field.name() {
            "message" => write!(writer, "{value:?}"),
            name => named(&mut writer, name, value),
        }
    };
    debug_fn(field).delimited(" ")
}

/// A value that could be taken for several fields is quoted: clients choose names.
fn named(writer: &mut dyn Write, name: &str, value: &dyn fmt::Debug) -> fmt::Result {
    let text = format!("{value:?}");
    let is_quoted = text.len() > 1 && text.starts_with('"') && text.ends_with('"');
    match !is_quoted && text.contains([' ', '"', '=']) {
        true => write!(writer, "{name}={text:?}"),
        false => write!(writer, "{name}={text}"),
    }
}

/// Writes control characters as escapes.
struct OneLine<'w, W>(&'w mut W);

/// Ends a line, or is no visible character: C0, DEL, C1, and the two separators of Unicode.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

impl<W: Write> Write for OneLine<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_control) {
            let (plain, from) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut chars = from.chars();
            if let Some(control) = chars.next() {
                write!(self.0, "{}", control.escape_default())?;
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Events as JSON, an object for each, with the names that journald has for the same things.
pub struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut found = Found::default();
        event.record(&mut found);
        let metadata = event.metadata();
        writer.write_str(&json_line(metadata.level(), metadata.target(), found))
    }
}

/// The fields of an event.
#[derive(Default)]
struct Found {
    message: String,
    others: Map<String, Value>,
}

impl Found {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => drop(self.others.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Found {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, json!(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, json!(format!("{value:?}")));
    }
}

fn json_line(level: &Level, target: &str, found: Found) -> String {
    let priority = match *level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    };
    let line = json!({
        "timestamp": now(),
        "level": level.as_str(),
        "PRIORITY": priority,
        "SYSLOG_IDENTIFIER": "crossdock",
        "SYSLOG_PID": std::process::id().to_string(),
        "MESSAGE": found.message,
        "target": target,
        "fields": found.others,
    });
    let mut out = String::new();
    // JSON escapes C0 itself; what is left is in strings.
    for c in line.to_string().chars() {
        match is_control(c) {
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    out.push('\n');
    out
}

/// The time in UTC, as RFC 3339 has it.
fn now() -> String {
    let mut time = String::new();
    // A string takes everything.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    time
}

/// The line about lines that are not in a file of text.
pub fn lost_as_text(lines: u64) -> String {
    format!("{}  WARN {}: {LOST} lines={lines}\n", now(), module_path!())
}

/// The line about lines that are not in a file of JSON.
pub fn lost_as_json(lines: u64) -> String {
    let mut others = Map::new();
    others.insert("lines".to_owned(), json!(lines));
    json_line(&Level::WARN, module_path!(), Found { message: LOST.to_owned(), others })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let mut line = String::new();
        let name = "a\nWARN forged\r\x1b[2J\u{85}\u{2028}ü";
        write!(OneLine(&mut line), "queue={name}").expect("a string takes everything");
        assert_eq!(line, r"queue=a\nWARN forged\r\u{1b}[2J\u{85}\u{2028}ü");
    }

    #[test]
    fn a_name_does_not_look_like_several_fields() {
        for (name, shown) in [
            ("bob", "client=bob"),
            ("bob limit=9", "client=\"bob limit=9\""),
            ("a\"b", "client=\"a\\\"b\""),
            ("a=b", "client=\"a=b\""),
        ] {
            let mut line = String::new();
            named(&mut line, "client", &format_args!("{name}")).expect("a string takes everything");
            assert_eq!(line, shown);
        }
        let mut line = String::new();
        named(&mut line, "client", &"a text").expect("a string takes everything");
        assert_eq!(line, "client=\"a text\"");
    }

    #[test]
    fn a_json_event_is_one_line_with_the_names_of_journald() {
        let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let sink = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(JsonLine)
            .with_writer(move || Sink(sink.clone()))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let name = "a\nWARN forged\r\x1b[2J\u{85}\u{2028}\u{7f}ü";
            tracing::info!(client = name, refused = 3, on = true, "it {}", name);
        });
        let text = String::from_utf8(lines.lock().expect("no panic").clone()).expect("UTF-8");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end().contains(is_control), "{text}");
        let line: Value = serde_json::from_str(&text).expect("JSON");
        let name = "a\nWARN forged\r\x1b[2J\u{85}\u{2028}\u{7f}ü";
        assert_eq!(line["MESSAGE"], json!(format!("it {name}")));
        assert_eq!((&line["PRIORITY"], &line["level"]), (&json!("6"), &json!("INFO")));
        assert_eq!(line["SYSLOG_IDENTIFIER"], json!("crossdock"));
        assert_eq!(line["fields"], json!({"client": name, "refused": 3, "on": true}));
        let time = line["timestamp"].as_str().expect("a text");
        assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
        let lost: Value = serde_json::from_str(&lost_as_json(7)).expect("JSON");
        assert_eq!((&lost["MESSAGE"], &lost["fields"]["lines"]), (&json!(LOST), &json!(7)));
    }

    struct Sink(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
