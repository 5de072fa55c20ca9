//! The text format of Prometheus, version 0.0.4: families of samples.

use std::fmt::{Display, Write};

/// The media type of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of numbers a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A page that grows.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    name: String,
}

impl Page {
    /// The text.
    pub fn into_text(self) -> String {
        self.text
    }

    /// A family begins: its samples follow.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        name.clone_into(&mut self.name);
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.put(format_args!("# TYPE {name} {kind}\n# HELP {name} {help}\n"));
    }

    /// A sample of the family that began last.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.part("", labels, value);
    }

    /// A sample of the histogram that began last: `_bucket`, `_sum` or `_count`.
    pub fn part(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(&self.name);
        self.text.push_str(suffix);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            self.escaped(text);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.put(format_args!(" {value}\n"));
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = self.text.write_fmt(text);
    }

    fn escaped(&mut self, text: &str) {
        for char in text.chars() {
            match char {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                _ => self.text.push(char),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_the_format_says() {
        let mut page = Page::default();
        page.family("a_total", Kind::Counter, "What it counts.");
        page.sample(&[("queue", "a\"b\\c\nd"), ("vhost", "/")], 7);
        page.single("b", Kind::Gauge, "Another.", 1.5);
        let expected = "# TYPE a_total counter\n# HELP a_total What it counts.\n\
             a_total{queue=\"a\\\"b\\\\c\\nd\",vhost=\"/\"} 7\n\
             # TYPE b gauge\n# HELP b Another.\nb 1.5\n";
        page.family("c", Kind::Histogram, "Sizes.");
        page.part("_bucket", &[("le", "+Inf")], 2);
        let expected =
            format!("{expected}# TYPE c histogram\n# HELP c Sizes.\nc_bucket{{le=\"+Inf\"}} 2\n");
        assert_eq!(page.into_text(), expected);
    }
}
