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

    /// A page that will have about this many bytes: it does not move while it grows.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), name: String::new() }
    }

    /// Bytes of the text.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// A sample, of the family that began last, of the object that has these labels.
    pub fn sample_of(&mut self, object: &Labels, value: u64) {
        for text in [self.name.as_str(), &object.0, "} ", itoa::Buffer::new().format(value), "\n"] {
            self.text.push_str(text);
        }
    }

    /// The same with another label, `,name="value"`.
    pub fn sample_with(&mut self, object: &Labels, another: &str, value: impl Display) {
        self.part_with("", object, another, value);
    }

    /// The same of a histogram: `_bucket`, `_sum` or `_count`.
    pub fn part_with(&mut self, suffix: &str, object: &Labels, another: &str, value: impl Display) {
        for text in [&self.name, suffix, &object.0, another] {
            self.text.push_str(text);
        }
        self.put(format_args!("}} {value}\n"));
    }

    /// A sample of the family that began last.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.part("", labels, value);
    }

    /// A sample of the histogram that began last: `_bucket`, `_sum` or `_count`.
    pub fn part(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(&self.name);
        self.text.push_str(suffix);
        write_labels(&mut self.text, labels);
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
}

/// The labels of an object as they stand in each of its samples, but for the bracket that ends them.
#[derive(Debug)]
pub struct Labels(String);

impl Labels {
    /// At least one.
    pub fn new(labels: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        write_labels(&mut text, labels);
        Self(text)
    }
}

/// Nothing, if there is none.
fn write_labels(to: &mut String, labels: &[(&str, &str)]) {
    for (at, (label, text)) in labels.iter().enumerate() {
        to.push(if at == 0 { '{' } else { ',' });
        to.push_str(label);
        to.push_str("=\"");
        write_escaped(to, text);
        to.push('"');
    }
}

fn write_escaped(to: &mut String, text: &str) {
    for part in text.split_inclusive(['\\', '"', '\n']) {
        let plain = part.trim_end_matches(['\\', '"', '\n']);
        to.push_str(plain);
        match part.as_bytes().get(plain.len()) {
            Some(b'\n') => to.push_str("\\n"),
            Some(special) => to.extend(['\\', char::from(*special)]),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_an_object_are_written_as_any_others() {
        let labels = [("vhost", "/"), ("queue", "\\a\n\n\"")];
        let (mut one, mut other) = (Page::default(), Page::with_capacity(100));
        for page in [&mut one, &mut other] {
            page.family("came_total", Kind::Counter, "How.");
        }
        one.sample(&labels, u64::MAX);
        one.sample(&[labels[0], labels[1], ("by", "move")], 0);
        let object = Labels::new(&labels);
        other.sample_of(&object, u64::MAX);
        other.sample_with(&object, ",by=\"move\"", 0);
        assert_eq!(one.into_text(), other.into_text());
    }

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
