//! Lists as tables, and objects as lines.

use crate::accounts::acts::shown;
pub use crossdock_core::readable::bytes;
use crossdock_core::readable::span;
use serde_json::Value as Json;
use std::time::{SystemTime, UNIX_EPOCH};

/// Characters of a body that stand in a table.
const BEGIN: usize = 60;

/// How a column is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    /// A name; the default exchange has none.
    Exchange,
    Number,
    /// `1.5 MiB`
    Bytes,
    /// `yes`, or nothing.
    Flag,
    /// A time, as how long ago that is.
    Ago,
    /// A time, as how long it is until then.
    Until,
    /// Several words.
    Words,
    /// The newest death: the queue, and why.
    Deaths,
    /// The beginning of a text.
    Begin,
}

/// A column: its title, the field, and how that is written.
type Column = (&'static str, &'static str, Form);

const QUEUES: &[Column] = &[
    ("vhost", "vhost", Form::Text),
    ("queue", "name", Form::Text),
    ("messages", "messages", Form::Number),
    ("ready", "ready", Form::Number),
    ("unacked", "unacked", Form::Number),
    ("size", "bytes", Form::Bytes),
    ("consumers", "consumers", Form::Number),
    ("durable", "durable", Form::Flag),
    ("exclusive", "exclusive", Form::Flag),
];

const EXCHANGES: &[Column] = &[
    ("vhost", "vhost", Form::Text),
    ("exchange", "name", Form::Exchange),
    ("type", "type", Form::Text),
    ("durable", "durable", Form::Flag),
    ("published", "published", Form::Number),
    ("routed", "routed", Form::Number),
    ("unroutable", "unroutable", Form::Number),
    ("refused", "refused", Form::Number),
];

const BINDINGS: &[Column] = &[
    ("vhost", "vhost", Form::Text),
    ("source", "source", Form::Text),
    ("key", "key", Form::Text),
    ("to", "destination_type", Form::Text),
    ("destination", "destination", Form::Text),
];

const CONNECTIONS: &[Column] = &[
    ("number", "number", Form::Number),
    ("protocol", "protocol", Form::Text),
    ("peer", "peer", Form::Text),
    ("user", "user", Form::Text),
    ("vhost", "vhost", Form::Text),
    ("name", "name", Form::Begin),
    ("since", "since_ms", Form::Ago),
    ("channels", "channels", Form::Number),
    ("published", "published", Form::Number),
    ("delivered", "delivered", Form::Number),
    ("unacked", "unacked", Form::Number),
    ("received", "received_bytes", Form::Bytes),
    ("sent", "sent_bytes", Form::Bytes),
];

const CHANNELS: &[Column] = &[
    ("connection", "connection", Form::Number),
    ("channel", "channel", Form::Number),
    ("prefetch", "prefetch", Form::Number),
    ("consumers", "consumers", Form::Number),
    ("published", "published", Form::Number),
    ("confirmed", "confirmed", Form::Number),
    ("returned", "returned", Form::Number),
    ("refused", "refused", Form::Number),
    ("unacked", "unacked", Form::Number),
];

const CONSUMERS: &[Column] = &[
    ("connection", "connection", Form::Number),
    ("queue", "queue", Form::Text),
    ("tag", "tag", Form::Text),
    ("acks", "acks", Form::Flag),
    ("prefetch", "prefetch", Form::Number),
    ("priority", "priority", Form::Number),
    ("delivered", "delivered", Form::Number),
    ("unacked", "unacked", Form::Number),
];

const SESSIONS: &[Column] = &[
    ("vhost", "vhost", Form::Text),
    ("session", "name", Form::Text),
    ("user", "user", Form::Text),
    ("connected", "connected", Form::Flag),
    ("gone", "gone_since_ms", Form::Ago),
    ("waiting", "waiting", Form::Number),
    ("bindings", "bindings", Form::Number),
];

const VHOSTS: &[Column] = &[
    ("vhost", "name", Form::Text),
    ("connections", "connections", Form::Number),
    ("queues", "queues", Form::Number),
    ("messages", "messages", Form::Number),
    ("ready", "ready", Form::Number),
    ("unacked", "unacked", Form::Number),
    ("published", "published", Form::Number),
    ("unroutable", "unroutable", Form::Number),
    ("refused", "refused", Form::Number),
];

const USERS: &[Column] = &[
    ("user", "name", Form::Text),
    ("made in", "source", Form::Text),
    ("tags", "tags", Form::Words),
    ("connections", "connections", Form::Number),
    ("vhosts", "vhosts", Form::Words),
];

const ROUTES: &[Column] = &[
    ("route", "name", Form::Text),
    ("waiting", "waiting", Form::Number),
    ("to retry", "between_attempts", Form::Number),
    ("taken", "taken", Form::Number),
    ("emitted", "emitted", Form::Number),
    ("passed", "passed", Form::Number),
    ("dropped", "dropped", Form::Number),
    ("rejected", "rejected", Form::Number),
    ("dead-lettered", "dead_lettered", Form::Number),
];

const LISTENERS: &[Column] = &[
    ("listener", "name", Form::Text),
    ("addresses", "addresses", Form::Words),
    ("protocols", "protocols", Form::Words),
    ("tls", "tls", Form::Flag),
    ("certificate expires", "certificate_expires_ms", Form::Until),
];

const PLUGINS: &[Column] = &[
    ("plugin", "name", Form::Text),
    ("brings", "brings", Form::Words),
    ("version", "version", Form::Text),
    ("in use", "in_use", Form::Flag),
    ("calls", "calls", Form::Number),
    ("refused", "refused", Form::Number),
    ("out of use because", "out_of_use", Form::Text),
    ("file", "file", Form::Text),
];

const MOVES: &[Column] = &[
    ("id", "id", Form::Number),
    ("vhost", "vhost", Form::Text),
    ("from", "from", Form::Text),
    ("to", "to", Form::Text),
    ("to origin", "to_origin", Form::Flag),
    ("dry run", "dry_run", Form::Flag),
    ("by", "by", Form::Text),
    ("since", "since_ms", Form::Ago),
    ("meant", "matched", Form::Number),
    ("moved", "moved", Form::Number),
    ("stay", "left", Form::Number),
];

const LOSSES: &[Column] = &[
    ("number", "number", Form::Number),
    ("found", "found_ms", Form::Ago),
    ("records", "records", Form::Number),
    ("bytes", "bytes", Form::Number),
    ("perhaps", "may_be_nothing", Form::Flag),
    ("where", "place", Form::Text),
    ("what", "what", Form::Text),
];

const MESSAGES: &[Column] = &[
    ("offset", "offset", Form::Number),
    ("state", "state", Form::Text),
    ("address", "address", Form::Text),
    ("age", "published_ms", Form::Ago),
    ("attempts", "attempts", Form::Number),
    ("deaths", "deaths", Form::Deaths),
    ("bytes", "bytes", Form::Number),
    ("body", "body", Form::Begin),
];

const VALUES: &[Column] = &[
    ("step", "step", Form::Number),
    ("key", "key", Form::Text),
    ("bytes", "bytes", Form::Number),
    ("value", "body", Form::Begin),
];

/// A table whose columns are as wide as the first page wants them.
pub struct Table {
    columns: &'static [Column],
    widths: Vec<usize>,
}

impl Table {
    /// That of a list.
    pub fn of(kind: &str) -> Self {
        let columns = match kind {
            "queues" => QUEUES,
            "exchanges" => EXCHANGES,
            "bindings" => BINDINGS,
            "connections" => CONNECTIONS,
            "channels" => CHANNELS,
            "consumers" => CONSUMERS,
            "sessions" => SESSIONS,
            "vhosts" => VHOSTS,
            "users" => USERS,
            "routes" => ROUTES,
            "messages" => MESSAGES,
            "moves" => MOVES,
            "losses" => LOSSES,
            "plugins" => PLUGINS,
            "values" => VALUES,
            _ => LISTENERS,
        };
        Self { columns, widths: Vec::new() }
    }

    /// The next rows; the titles in front of the first ones.
    pub fn rows(&mut self, items: &[Json]) -> String {
        let rows = items.iter().map(|item| {
            let cells = self.columns.iter().map(|(_, field, form)| cell(item.get(field), *form));
            cells.collect::<Vec<String>>()
        });
        let rows: Vec<Vec<String>> = rows.collect();
        let mut out = String::new();
        if self.widths.is_empty() && !rows.is_empty() {
            let titles: Vec<String> =
                self.columns.iter().map(|(title, _, _)| (*title).to_owned()).collect();
            self.widths = (0..titles.len()).map(|at| width(&titles, &rows, at)).collect();
            self.line(&titles, &mut out);
        }
        rows.iter().for_each(|row| self.line(row, &mut out));
        out
    }

    fn line(&self, cells: &[String], out: &mut String) {
        let mut line = String::new();
        for ((cell, width), (_, _, form)) in cells.iter().zip(&self.widths).zip(self.columns) {
            let (cell, width) = (cell.as_str(), *width);
            let padded = match form {
                Form::Number | Form::Bytes => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            };
            line.push_str(&padded);
            line.push_str("  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// The widest cell of a column.
fn width(titles: &[String], rows: &[Vec<String>], at: usize) -> usize {
    let cells = std::iter::once(titles).chain(rows.iter().map(Vec::as_slice));
    cells.filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
}

fn cell(value: Option<&Json>, form: Form) -> String {
    let Some(value) = value else { return String::new() };
    match form {
        Form::Exchange if value.as_str() == Some("") => "(default)".to_owned(),
        Form::Text | Form::Exchange => text(value),
        Form::Number => value.to_string(),
        Form::Bytes => bytes(value.as_u64().unwrap_or_default()),
        Form::Flag => if value.as_bool().unwrap_or_default() { "yes" } else { "" }.to_owned(),
        Form::Ago => ago(value.as_u64().unwrap_or_default()),
        Form::Until => until(value.as_i64().unwrap_or_default()),
        Form::Words => words(value),
        Form::Deaths => {
            let newest = value.get(0);
            let part = |name: &str| newest.and_then(|one| one.get(name)).map(text);
            format!("{} {}", part("queue").unwrap_or_default(), part("reason").unwrap_or_default())
        }
        Form::Begin => {
            let whole = value.as_str().unwrap_or_default();
            let begin: String = whole.chars().take(BEGIN).collect();
            shown(&begin)
        }
    }
}

fn text(value: &Json) -> String {
    match value {
        Json::String(text) => shown(text),
        other => other.to_string(),
    }
}

fn words(value: &Json) -> String {
    let words: Vec<String> = match value {
        Json::Array(all) => all.iter().map(text).collect(),
        Json::Object(all) => all.keys().map(|name| shown(name)).collect(),
        other => vec![text(other)],
    };
    words.join(" ")
}

fn ago(ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    span(now.saturating_sub(ms) / 1_000)
}

/// What has gone by is said.
fn until(ms: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    match u64::try_from(ms.saturating_sub(now)) {
        Ok(left) => format!("in {}", span(left / 1_000)),
        Err(_) => format!("{} ago", span(now.abs_diff(ms) / 1_000)),
    }
}

/// Every field of an object, a line each; what is inside others is further to the right.
pub fn fields(object: &Json) -> String {
    let mut out = String::new();
    put_fields(object, 0, &mut out);
    out
}

fn put_fields(object: &Json, depth: usize, out: &mut String) {
    let Some(all) = object.as_object() else { return };
    let widest = all.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    let indent = " ".repeat(2 * depth);
    for (name, value) in all {
        match value {
            Json::Object(inner) if !inner.is_empty() => {
                out.push_str(&format!("{indent}{}\n", shown(name)));
                put_fields(value, depth + 1, out);
            }
            Json::Object(_) => {}
            Json::Array(items) if items.iter().any(Json::is_object) => {
                out.push_str(&format!("{indent}{}\n", shown(name)));
                for item in items {
                    out.push_str(&format!("{indent}  -\n"));
                    put_fields(item, depth + 2, out);
                }
            }
            value => {
                let value = match name.ends_with("_ms") && name.contains("since") {
                    true => format!("{} ago", ago(value.as_u64().unwrap_or_default())),
                    false => words(value),
                };
                out.push_str(&format!("{indent}{:<widest$}  {value}\n", shown(name)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_stand_in_columns() {
        let mut table = Table::of("queues");
        let queue = |name: &str, bytes: u64| {
            json!({ "vhost": "/", "name": name, "messages": 1, "ready": 1, "unacked": 0,
                "bytes": bytes, "consumers": 0, "durable": true, "exclusive": false })
        };
        let first = table.rows(&[queue("orders", 12), queue("a b\n", 5_000_000)]);
        let expected = "\
vhost  queue    messages  ready  unacked     size  consumers  durable  exclusive
/      orders          1      1        0     12 B          0  yes
/      \"a b\\n\"         1      1        0  4.8 MiB          0  yes
";
        assert_eq!(first, expected);
        assert_eq!(table.rows(&[]), "");
        assert_eq!(table.rows(&[queue("next", 0)]).lines().count(), 1, "the titles stand once");
    }

    #[test]
    fn objects_are_lines() {
        let object =
            json!({ "name": "q", "came": { "published": 3 }, "none": {}, "tags": ["a", "b c"] });
        assert_eq!(fields(&object), "name  q\ncame\n  published  3\ntags  a \"b c\"\n");
    }
}
