//! The check of a written tree against the table of keys (keys.rs). All mistakes are collected, and what is left
//! without them goes on to the next stage, so that its mistakes are found too. What a route may
//! hold is not checked here: the transforms crate knows what it means.

use super::keys::{Form, Key, ROOT};
use super::tree::{Field, Mistake, Node, What};
use super::units::{self, Share, Size, Span, address, shown_span};

const MIB: u64 = 1 << 20;

/// The form of the key at a path of names, when there is such a key.
pub fn find(path: &[&str]) -> Option<&'static Form> {
    let (name, table) = path.split_last()?;
    keys(table)?.iter().find(|key| key.name == *name).map(|key| &key.form)
}

/// The keys of the table at a path of names, when there is such a table.
pub fn keys(path: &[&str]) -> Option<&'static [Key]> {
    let mut keys = ROOT;
    let mut names = path.iter();
    while let Some(name) = names.next() {
        let key = keys.iter().find(|key| key.name == *name)?;
        keys = match key.form {
            Form::Table(under) => under,
            Form::Named(under) => names.next().map(|_| under)?,
            _ => return None,
        };
    }
    Some(keys)
}

/// Checks a tree, from the root. Returns what of it can be used: without unknown keys and values that are wrong.
pub fn check(root: &Node, mistakes: &mut Vec<Mistake>) -> Node {
    let usable = table(root, ROOT, "", mistakes);
    usable.unwrap_or_else(|| Node::table(root.place.clone()))
}

/// The name of these that was probably meant.
pub fn suggestion<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = names.map(|known| (distance(name, known), known)).min()?;
    let allowed = (name.len() / 3).max(2).min(name.len().saturating_sub(1));
    (near.0 <= allowed).then_some(near.1)
}

/// `unknown key`, with what was probably meant.
pub fn unknown<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    match suggestion(name, names) {
        Some(meant) => format!("unknown key; did you mean '{meant}'?"),
        None => "unknown key".to_owned(),
    }
}

/// Like [`check`], of one table; none when it is no table.
fn table(
    node: &Node,
    keys: &'static [Key],
    path: &str,
    mistakes: &mut Vec<Mistake>,
) -> Option<Node> {
    let What::Table(fields) = &node.what else {
        mistakes.push(wrong(node, path, "a table"));
        return None;
    };
    for key in keys.iter().filter(|key| key.required) {
        if !fields.iter().any(|field| field.name == key.name) {
            mistakes.push(Mistake::new(&node.place, join(path, key.name), "is missing"));
        }
    }
    let mut usable = Vec::new();
    for field in fields {
        let path = join(path, &field.name);
        match keys.iter().find(|key| key.name == field.name) {
            Some(key) => {
                let node = value(&field.node, &key.form, &path, mistakes);
                usable.extend(node.map(|node| Field { node, ..field.clone() }));
            }
            None => {
                let reason = unknown(&field.name, keys.iter().map(|key| key.name));
                mistakes.push(Mistake::new(&field.place, path, reason));
            }
        }
    }
    Some(Node { place: node.place.clone(), what: What::Table(usable) })
}

/// Like [`check`], of one value; none when it is of no use. An item of a list keeps its place in the list.
fn value(
    node: &Node,
    form: &'static Form,
    path: &str,
    mistakes: &mut Vec<Mistake>,
) -> Option<Node> {
    let empty = |node: &Node| Node::table(node.place.clone());
    match form {
        Form::Table(keys) => table(node, keys, path, mistakes),
        Form::Named(keys) => tables_by_name(node, keys, path, mistakes),
        Form::Tables(keys) => {
            items(node, path, "a list of tables", mistakes, |node, path, found| {
                table(node, keys, path, found).unwrap_or_else(|| empty(node))
            })
        }
        Form::Texts => items(node, path, "a list of texts", mistakes, |node, path, found| {
            let nothing = Node { what: What::Text(String::new()), place: node.place.clone() };
            value(node, &Form::Text, path, found).unwrap_or(nothing)
        }),
        Form::Arguments => arguments(node, path, mistakes),
        Form::Routes(keys) => {
            items(node, path, "a list of tables", mistakes, |node, path, found| {
                route(node, keys, path, found).unwrap_or_else(|| empty(node))
            })
        }
        leaf => match scalar(&node.what, leaf, node.kind()) {
            Ok(()) => Some(node.clone()),
            Err(reason) => {
                mistakes.push(Mistake::new(&node.place, path, reason));
                None
            }
        },
    }
}

fn tables_by_name(
    node: &Node,
    keys: &'static [Key],
    path: &str,
    mistakes: &mut Vec<Mistake>,
) -> Option<Node> {
    let What::Table(fields) = &node.what else {
        mistakes.push(wrong(node, path, "a table"));
        return None;
    };
    let tables = fields.iter().filter_map(|field| {
        let node = table(&field.node, keys, &join(path, &field.name), mistakes)?;
        Some(Field { node, ..field.clone() })
    });
    let tables = tables.collect();
    Some(Node { place: node.place.clone(), what: What::Table(tables) })
}

/// Of a route only what its own type lets pass is checked: that its tables are tables, and that it holds no dates.
fn route(
    node: &Node,
    keys: &'static [Key],
    path: &str,
    mistakes: &mut Vec<Mistake>,
) -> Option<Node> {
    let mut usable = arguments(node, path, mistakes)?;
    if let What::Table(fields) = &mut usable.what {
        fields.retain(|Field { name, node, .. }| {
            let is_table = matches!(node.what, What::Table(_));
            let key = keys.iter().find(|key| key.name == *name);
            let is_wrong = !is_table && key.is_some_and(|key| matches!(key.form, Form::Table(_)));
            if is_wrong {
                mistakes.push(wrong(node, &join(path, name), "a table"));
            }
            !is_wrong
        });
    }
    Some(usable)
}

/// A list, each item of which is made usable.
fn items(
    node: &Node,
    path: &str,
    wanted: &str,
    mistakes: &mut Vec<Mistake>,
    usable: impl Fn(&Node, &str, &mut Vec<Mistake>) -> Node,
) -> Option<Node> {
    let What::List(nodes) = &node.what else {
        mistakes.push(wrong(node, path, wanted));
        return None;
    };
    let items = nodes.iter().enumerate();
    let items = items.map(|(index, node)| usable(node, &format!("{path}[{index}]"), mistakes));
    let items = items.collect();
    Some(Node { place: node.place.clone(), what: What::List(items) })
}

fn scalar(what: &What, form: &Form, kind: &str) -> Result<(), String> {
    let expected = |wanted: &str| Err(format!("expected {wanted}, found {kind}"));
    match (form, what) {
        (Form::Text, What::Text(_)) | (Form::Bool, What::Bool(_)) => Ok(()),
        (Form::Text, _) => expected("a text"),
        (Form::Bool, _) => expected("true or false"),
        (Form::Word(words), What::Text(text)) => match words.contains(&text.as_str()) {
            true => Ok(()),
            false => Err(format!("'{text}' is none of {}", words.join(", "))),
        },
        (Form::Word(words), _) => expected(&format!("one of {}", words.join(", "))),
        (Form::Count { min, max }, What::Integer(number)) => match (min..=max).contains(&number) {
            true => Ok(()),
            false => Err(format!("{number} is not from {min} to {max}")),
        },
        (Form::Count { .. }, _) => expected("a whole number"),
        (Form::Size { min, max }, What::Integer(number)) => {
            size(u64::try_from(*number).ok(), (*min, *max))
        }
        (Form::Size { min, max }, What::Text(text)) => {
            size(Some(Size::parse(text)?.0), (*min, *max))
        }
        (Form::Size { .. }, _) => expected("a size"),
        (Form::Span { min_ms, max_ms }, What::Text(text)) => span(text, (*min_ms, *max_ms)),
        (Form::Span { .. }, _) => expected("a duration as \"10s\""),
        (Form::Share, What::Integer(number)) => size(u64::try_from(*number).ok(), (MIB, u64::MAX)),
        (Form::Share, What::Text(text)) => match Share::parse(text)? {
            Share::Bytes(bytes) => size(Some(bytes), (MIB, u64::MAX)),
            Share::Percent(_) => Ok(()),
        },
        (Form::Share, _) => expected("a size or a percentage"),
        (Form::Binds, What::Text(text)) => bind(text, &["off"]),
        (Form::Binds, What::List(nodes)) if nodes.is_empty() => Err("names no address".to_owned()),
        (Form::Binds, What::List(nodes)) => nodes.iter().try_for_each(|node| match &node.what {
            What::Text(text) => bind(text, &[]),
            _ => Err(format!("expected a list of host:port, found {}", node.kind())),
        }),
        (Form::Binds, _) => expected("host:port, a list of them, or off"),
        (Form::Address, What::Text(text)) => address(text, &"".into()).map(|_| ()),
        (Form::Address, _) => expected("an address"),
        (Form::Target, What::Text(text)) => match text.split_once(':') {
            Some(("queue" | "exchange", name)) if !name.is_empty() => Ok(()),
            _ => Err(format!("'{text}' is not queue:NAME or exchange:NAME")),
        },
        (Form::Target, _) => expected("queue:NAME or exchange:NAME"),
        // Containers are not asked for here.
        _ => Ok(()),
    }
}

fn size(bytes: Option<u64>, (min, max): (u64, u64)) -> Result<(), String> {
    match bytes {
        Some(bytes) if bytes > max => Err(format!("must be at most {}", units::shown(max))),
        Some(bytes) if bytes >= min => Ok(()),
        _ => Err(format!("must be at least {}", units::shown(min))),
    }
}

fn span(text: &str, (min_ms, max_ms): (u64, u64)) -> Result<(), String> {
    match (min_ms..=max_ms).contains(&Span::parse(text)?.ms()) {
        true => Ok(()),
        false => {
            let (min, max) = (shown_span(min_ms), shown_span(max_ms));
            Err(format!("'{}' is not from {min} to {max}", text.trim()))
        }
    }
}

/// `words` may stand instead of an address.
fn bind(text: &str, words: &[&str]) -> Result<(), String> {
    let well_formed = text.rsplit_once(':').is_some_and(|(host, port)| {
        let brackets = host.starts_with('[') && host.ends_with(']');
        !host.is_empty() && (brackets || !host.contains(':')) && port.parse::<u16>().is_ok()
    });
    match words.contains(&text) || well_formed {
        true => Ok(()),
        false if words.is_empty() => Err(format!("'{text}' is not host:port")),
        false => Err(format!("'{text}' is not host:port or off")),
    }
}

fn arguments(node: &Node, path: &str, mistakes: &mut Vec<Mistake>) -> Option<Node> {
    let What::Table(fields) = &node.what else {
        mistakes.push(wrong(node, path, "a table"));
        return None;
    };
    let usable = fields.iter().filter_map(|field| {
        let node = argument(&field.node, &join(path, &field.name), mistakes)?;
        Some(Field { node, ..field.clone() })
    });
    let usable = usable.collect();
    Some(Node { place: node.place.clone(), what: What::Table(usable) })
}

/// As deep as the TOML parser lets a document nest.
fn argument(node: &Node, path: &str, mistakes: &mut Vec<Mistake>) -> Option<Node> {
    match &node.what {
        What::Date(_) => {
            mistakes.push(wrong(node, path, "a text, number, boolean, list or table"));
            None
        }
        What::Table(_) => arguments(node, path, mistakes),
        What::List(nodes) => {
            let items = nodes.iter().enumerate();
            let items = items.map(|(index, node)| {
                let nothing = Node { what: What::Text(String::new()), place: node.place.clone() };
                argument(node, &format!("{path}[{index}]"), mistakes).unwrap_or(nothing)
            });
            let items = items.collect();
            Some(Node { place: node.place.clone(), what: What::List(items) })
        }
        _ => Some(node.clone()),
    }
}

fn wrong(node: &Node, path: &str, wanted: &str) -> Mistake {
    Mistake::new(&node.place, path, format!("expected {wanted}, found {}", node.kind()))
}

fn join(path: &str, name: &str) -> String {
    match path.is_empty() {
        true => name.to_owned(),
        false => format!("{path}.{name}"),
    }
}

/// How many letters have to be put in, taken out or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(usize::MAX);
            let changed = diagonal + usize::from(x != *y);
            if let Some(cell) = row.get_mut(j) {
                *cell = left;
            }
            diagonal = above;
            left = changed.min(left + 1).min(above.saturating_add(1));
        }
        if let Some(cell) = row.last_mut() {
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}
