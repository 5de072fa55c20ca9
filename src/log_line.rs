//! Text log: one event is one line, whatever names clients have chosen. Control characters in fields are written as
//! escapes, so that nobody forges a line or moves the cursor of a terminal.

use std::fmt::{self, Write};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

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
}
