//! The reference of all keys, written from their table: what `crossdock config-keys` prints and docs/CONFIGURATION.md
//! holds. `UPDATE_EXPECT=1 cargo test -p crossdock --bin crossdock reference` writes the page again.

use super::keys::{Form, Key, ROOT};
use super::units::{self, shown_span};

const HEAD: &str = r#"# Configuration

This page is written from the table of keys in src/config/keys.rs, and a test compares it with that
table.

Keys come from, the later one winning: the built-in values below, a file (`crossdock serve --config
FILE`, TOML), the environment (`CROSSDOCK_MEMORY__HIGH=512MiB` for `memory.high`: two underscores stand
for the dot) and the command line (`--set memory.high=512MiB`; `--data-dir DIR` for `data_dir`). Keys
that hold several values (tables, lists of tables) can only be set in the file; lists of texts are
written `a,b` in the environment and on the command line.

`crossdock check-config FILE` reads a file as `serve` would, compiles its routes and their modules, and
prints one line for each mistake, `file:line:column key: reason`, without starting anything. All are
found at once, but for a file that is not TOML: there only the first place is shown. A name in the
environment that begins with `CROSSDOCK_` and names no key is reported as a warning and ignored.

A configuration stands for itself. Exchanges and queues that bindings, arguments, routes and dead-letter
addresses name have to be declared in it, or by the broker itself (`amq.direct`, `amq.fanout`,
`amq.topic`, `amq.headers`, `amq.match`); queues that routes send to by a constant name are declared
by that. What no message can meet is a mistake too: a route that watches topics nobody can publish to, and
routes that lead in a circle (what one sends to is, directly or through bindings, what another one
watches, and so on back to the first), for no message goes through a route twice.

A **size** is a number of bytes, or a text with a unit: `"64KiB"`, `"16MiB"`, `"1GiB"`. A **duration** is
a text: `"200ms"`, `"5s"`, `"10m"`, `"24h"`, `"7d"` (routes know no days). An **address** is
`queue:NAME`, `topic:a/b` or `exchange:NAME/KEY` (docs/SEMANTICS.md §1).
"#;

/// The whole page, as Markdown.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    section("At the top", ROOT, "", &mut page);
    page
}

fn section(title: &str, keys: &'static [Key], path: &str, page: &mut String) {
    let rows: Vec<&Key> = keys.iter().filter(|key| is_row(key)).collect();
    let heading = if path.contains("route.") { "###" } else { "##" };
    page.push_str(&format!("\n{heading} {title}\n"));
    let about = key_at(path).map_or("", |key| key.meaning);
    if !about.is_empty() {
        page.push_str(&format!("\n{about}\n"));
    }
    page.push_str("\n| key | value | built-in | meaning |\n|---|---|---|---|\n");
    for key in rows {
        let (name, form, meaning) = (key.name, form(&key.form), key.meaning);
        let default = match (key.required, key.default) {
            (true, _) => "required".to_owned(),
            (_, Some(default)) => format!("`{default}`"),
            (_, None) => String::new(),
        };
        page.push_str(&format!("| `{name}` | {form} | {default} | {meaning} |\n"));
    }
    for key in keys {
        let under = match path {
            "" => key.name.to_owned(),
            path => format!("{path}.{}", key.name),
        };
        let title = match key.form {
            Form::Table(_) => format!("`[{under}]`"),
            Form::Named(_) => format!("`[{under}.NAME]`"),
            Form::Tables(_) | Form::Routes(_) => format!("`[[{under}]]`"),
            _ => continue,
        };
        section(&title, key.inner().unwrap_or_default(), &under, page);
        if let (Form::Named(_), Some(default)) = (&key.form, key.default) {
            page.push_str(&format!("\nBuilt in:\n\n```toml\n{} = {default}\n```\n", key.name));
        }
    }
}

/// Tables have a section of their own instead of a row.
fn is_row(key: &Key) -> bool {
    key.inner().is_none()
}

/// The key that a path of names leads to.
fn key_at(path: &str) -> Option<&'static Key> {
    let (mut keys, mut found) = (ROOT, None);
    for name in path.split('.').filter(|name| !name.is_empty()) {
        let key = keys.iter().find(|key| key.name == name)?;
        keys = key.inner().unwrap_or_default();
        found = Some(key);
    }
    found
}

fn form(form: &Form) -> String {
    let text = match form {
        Form::Text => "text",
        Form::Word(words) => {
            return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        }
        Form::Bool => "`true` or `false`",
        Form::Count { min, max } => return format!("whole number, {min} to {max}"),
        Form::Size { min: 0, .. } => "size",
        Form::Size { min, max: u64::MAX } => {
            return format!("size, at least {}", units::shown(*min));
        }
        Form::Size { min, max } => {
            return format!("size, {} to {}", units::shown(*min), units::shown(*max));
        }
        Form::Share => "size, at least 1 MiB, or a percentage",
        Form::Duration => "duration",
        Form::Span { min_ms, max_ms } => {
            return format!("duration, {} to {}", shown_span(*min_ms), shown_span(*max_ms));
        }
        Form::Binds => "`HOST:PORT`, a list of them, or `off`",
        Form::Address => "address",
        Form::Target => "`queue:NAME` or `exchange:NAME`",
        Form::Texts => "list of texts",
        Form::Arguments => "table",
        Form::Steps => "list of tables",
        Form::Table(_) | Form::Named(_) | Form::Tables(_) | Form::Routes(_) => "table",
    };
    text.to_owned()
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
