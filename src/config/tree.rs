//! A configuration as written: values, each with the place it was written at, whatever it was written in
//! (a file, the environment, the command line). It knows the syntax and no key.

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use toml_edit::{Document, Item, Key, TableLike};

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As shown: `hub.toml:3:1`, `--set memory.high=x`; empty when nobody wrote it.
    shown: Arc<str>,
    /// Line and column of a place in a file.
    at: Option<(usize, usize)>,
}

impl Place {
    /// A place in a file, for sorting; places that are in none come last.
    pub fn order(&self) -> (bool, Option<(usize, usize)>) {
        (self.at.is_none(), self.at)
    }
}

impl From<&str> for Place {
    fn from(shown: &str) -> Self {
        Self { shown: Arc::from(shown), at: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where; empty when nobody wrote it.
    pub place: Place,
    /// The key's path, `route[0].steps[1].wasm`; empty when it is about the whole.
    pub key: String,
    pub reason: String,
}

impl Mistake {
    /// A mistake at `place`.
    pub fn new(place: &Place, key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { place: place.clone(), key: key.into(), reason: reason.into() }
    }

    /// A mistake in an option of the command line.
    pub fn of_option(option: &str, reason: impl Into<String>) -> Self {
        Self::new(&Place::from(option), "", reason)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.place.shown, self.key.as_str()) {
            ("", "") => f.write_str(&self.reason),
            ("", key) => write!(f, "{key}: {}", self.reason),
            (place, key) if key.is_empty() || is_option(place) => {
                write!(f, "{place}: {}", self.reason)
            }
            (place, key) => write!(f, "{place} {key}: {}", self.reason),
        }
    }
}

/// Whether a place is an option that sets one key only, as `--data-dir`: it names the key well enough.
fn is_option(place: &str) -> bool {
    place.starts_with("--") && !place.contains(' ')
}

/// A value and its place.
#[derive(Debug, Clone)]
pub struct Node {
    pub place: Place,
    pub what: What,
}

/// The kinds of value.
#[derive(Debug, Clone)]
pub enum What {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// A date or a time: no key takes one.
    Date(String),
    List(Vec<Node>),
    Table(Vec<Field>),
}

/// A named value of a table.
#[derive(Debug, Clone)]
pub struct Field {
    pub name: String,
    /// Of the name.
    pub place: Place,
    pub node: Node,
}

impl Node {
    /// An empty table.
    pub fn table(place: Place) -> Self {
        Self { place, what: What::Table(Vec::new()) }
    }

    /// What kind of value it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self.what {
            What::Text(_) => "a text",
            What::Integer(_) => "a whole number",
            What::Float(_) => "a fractional number",
            What::Bool(_) => "a boolean",
            What::Date(_) => "a date or time",
            What::List(_) => "a list",
            What::Table(_) => "a table",
        }
    }

    /// The fields of a table; none of anything else.
    pub fn fields(&self) -> &[Field] {
        match &self.what {
            What::Table(fields) => fields,
            _ => &[],
        }
    }

    /// Sets the value at a path of names, making the tables on the way.
    pub fn set(&mut self, path: &[&str], node: Node) {
        let (Some((name, rest)), What::Table(fields)) = (path.split_first(), &mut self.what) else {
            *self = node;
            return;
        };
        let at = match fields.iter().position(|field| field.name == *name) {
            Some(at) => at,
            None => {
                let place = node.place.clone();
                let empty = Node::table(place.clone());
                fields.push(Field { name: (*name).to_owned(), place, node: empty });
                fields.len() - 1
            }
        };
        if let Some(field) = fields.get_mut(at) {
            field.node.set(rest, node);
        }
    }

    /// Follows a key's path as far as it goes: how many steps were found, and the place of the last.
    pub fn locate(&self, path: &[PathStep<'_>]) -> (usize, &Place) {
        let (mut node, mut place) = (self, &self.place);
        for (found, step) in path.iter().enumerate() {
            let next = match (step, &node.what) {
                (PathStep::Name(name), What::Table(fields)) => {
                    let field = fields.iter().find(|field| field.name == *name);
                    field.map(|field| (&field.node, &field.place))
                }
                (PathStep::Index(index), What::List(nodes)) => {
                    nodes.get(*index).map(|node| (node, &node.place))
                }
                _ => None,
            };
            let Some((under, at)) = next else { return (found, place) };
            (node, place) = (under, at);
        }
        (path.len(), place)
    }

    /// No value in it.
    pub fn is_empty(&self) -> bool {
        match &self.what {
            What::Table(fields) => fields.iter().all(|field| field.node.is_empty()),
            _ => false,
        }
    }

    /// Notes the values below it by their keys; `key` is its own. Lists of tables are left out.
    pub fn flatten(&self, key: &str, values: &mut BTreeMap<String, String>) {
        let text = match &self.what {
            What::Table(fields) => {
                for field in fields {
                    let separator = if key.is_empty() { "" } else { "." };
                    let inner = format!("{key}{separator}{}", field.name);
                    field.node.flatten(&inner, values);
                }
                return;
            }
            What::List(nodes) if nodes.iter().any(|n| matches!(n.what, What::Table(_))) => return,
            What::List(nodes) => {
                let shown: Vec<String> = nodes.iter().map(Node::shown).collect();
                format!("[{}]", shown.join(", "))
            }
            _ => self.shown(),
        };
        values.insert(key.to_owned(), text);
    }

    /// One value, for people.
    fn shown(&self) -> String {
        match &self.what {
            What::Text(text) | What::Date(text) => text.clone(),
            What::Integer(number) => number.to_string(),
            What::Float(number) => number.to_string(),
            What::Bool(bool) => bool.to_string(),
            What::List(_) | What::Table(_) => self.kind().to_owned(),
        }
    }

    fn value(&self) -> Value {
        match &self.what {
            What::Text(text) | What::Date(text) => Value::from(text.as_str()),
            What::Integer(number) => Value::from(*number),
            What::Float(number) => Value::from(*number),
            What::Bool(bool) => Value::from(*bool),
            What::List(nodes) => Value::from(nodes.iter().map(Node::value).collect::<Vec<_>>()),
            What::Table(_) => Value::from(self.dict()),
        }
    }

    fn dict(&self) -> Dict {
        self.fields().iter().map(|field| (field.name.clone(), field.node.value())).collect()
    }
}

/// One step of a key's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathStep<'a> {
    Name(&'a str),
    Index(usize),
}

/// The steps of a key as mistakes show it: `route[0].with.rename` is a name, an index and two names.
pub fn steps(key: &str) -> Vec<PathStep<'_>> {
    let mut steps = Vec::new();
    for part in key.split('.') {
        let mut pieces = part.split('[');
        steps.extend(pieces.next().filter(|name| !name.is_empty()).map(PathStep::Name));
        for piece in pieces {
            let inner = piece.trim_end_matches(']');
            steps.push(inner.parse().map_or(PathStep::Name(inner), PathStep::Index));
        }
    }
    steps
}

impl Provider for Node {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.place.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict()))
    }
}

/// Parses TOML; `name` is how the file is called in places.
pub fn parse(name: &str, text: &str) -> Result<Node, Mistake> {
    let newlines = text.match_indices('\n').map(|(at, _)| at).collect();
    read(&Source { name, text, newlines: Some(newlines) })
}

/// Parses TOML that is in no file: every place is `name` alone.
pub fn parse_inner(name: &str, text: &str) -> Result<Node, Mistake> {
    read(&Source { name, text, newlines: None })
}

fn read(source: &Source<'_>) -> Result<Node, Mistake> {
    match Document::parse(source.text) {
        Ok(document) => Ok(source.table(document.as_table(), source.place(0))),
        Err(error) => {
            let place = source.place(error.span().map_or(0, |span| span.start));
            let reason: Vec<&str> = error.message().lines().map(str::trim).collect();
            Err(Mistake::new(&place, "", format!("not TOML: {}", reason.join(", "))))
        }
    }
}

/// A TOML text, to turn offsets into places.
struct Source<'a> {
    name: &'a str,
    text: &'a str,
    /// Offsets of the line ends, ascending; none where nobody can look at the lines.
    newlines: Option<Vec<usize>>,
}

impl Source<'_> {
    fn place(&self, offset: usize) -> Place {
        let Some(newlines) = &self.newlines else { return Place::from(self.name) };
        let line = newlines.partition_point(|end| *end < offset);
        let start = line.checked_sub(1).and_then(|i| newlines.get(i)).map_or(0, |end| end + 1);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        let (line, column) = (line + 1, column + 1);
        let shown = Arc::from(format!("{}:{line}:{column}", self.name));
        Place { shown, at: Some((line, column)) }
    }

    fn at(&self, span: Option<Range<usize>>, otherwise: &Place) -> Place {
        span.map_or_else(|| otherwise.clone(), |span| self.place(span.start))
    }

    fn table(&self, table: &dyn TableLike, place: Place) -> Node {
        let mut fields = Vec::new();
        for (name, item) in table.iter() {
            let at = self.at(table.key(name).and_then(Key::span), &place);
            if let Some(node) = self.item(item, &at) {
                fields.push(Field { name: name.to_owned(), place: at, node });
            }
        }
        Node { place, what: What::Table(fields) }
    }

    fn item(&self, item: &Item, key: &Place) -> Option<Node> {
        let place = self.at(item.span(), key);
        match item {
            Item::None => None,
            Item::Value(value) => Some(self.value(value, key)),
            Item::Table(table) => Some(self.table(table, place)),
            Item::ArrayOfTables(tables) => {
                let each = tables.iter().map(|t| self.table(t, self.at(t.span(), key)));
                let nodes = each.collect();
                Some(Node { place, what: What::List(nodes) })
            }
        }
    }

    fn value(&self, value: &toml_edit::Value, key: &Place) -> Node {
        use toml_edit::Value;
        let place = self.at(value.span(), key);
        let what = match value {
            Value::String(text) => What::Text(text.value().clone()),
            Value::Integer(number) => What::Integer(*number.value()),
            Value::Float(number) => What::Float(*number.value()),
            Value::Boolean(bool) => What::Bool(*bool.value()),
            Value::Datetime(_) => {
                let text = value.span().and_then(|span| self.text.get(span));
                What::Date(text.unwrap_or_default().to_owned())
            }
            Value::Array(list) => What::List(list.iter().map(|v| self.value(v, &place)).collect()),
            Value::InlineTable(table) => return self.table(table, place),
        };
        Node { place, what }
    }
}
