//! Where values come from, the later winning over the earlier: built-in defaults, the file, the
//! environment, the command line. Each layer is a tree of its own, so that a mistake names the place that
//! holds it.

use super::keys::{Form, Key, ROOT};
use super::schema;
use super::tree::{self, Mistake, Node, Place, What};
use super::units;
use std::path::{Path, PathBuf};

/// What every variable of the environment begins with.
const PREFIX: &str = "CROSSDOCK_";

/// Names the file where `--config` does not; empty: there is none. It is no key.
const FILE_VARIABLE: &str = "CROSSDOCK_CONFIG";
/// The file where nothing names one, if it is there.
const FILE: &str = "/etc/crossdock/crossdock.toml";

/// Nobody needs a longer file; a directory of logs given by mistake is not read to its end.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The built-in values: the defaults of the table of keys.
pub fn built_in() -> Result<Node, Mistake> {
    let mut text = String::new();
    defaults(ROOT, "", &mut text);
    tree::parse_inner("built-in", &text)
}

/// As TOML: the table's own values in front of the tables inside it.
fn defaults(keys: &[Key], table: &str, text: &mut String) {
    for key in keys {
        if let Some(value) = key.default {
            text.push_str(&format!("{} = {value}\n", key.name));
        }
    }
    for key in keys {
        if let Form::Table(inner) = key.form {
            let table = format!("{table}{}", key.name);
            text.push_str(&format!("[{table}]\n"));
            defaults(inner, &format!("{table}."), text);
        }
    }
}

/// The configuration file: the one that `--config` names, or else the environment, or else the usual one if it is
/// there. `is_there` is asked for that.
pub fn choose_file(
    option: Option<&Path>,
    variables: &[(String, String)],
    is_there: impl FnOnce(&Path) -> bool,
) -> Option<PathBuf> {
    if let Some(file) = option {
        return Some(file.to_owned());
    }
    match variables.iter().find(|(name, _)| name == FILE_VARIABLE) {
        Some((_, file)) => Some(PathBuf::from(file)).filter(|file| file != Path::new("")),
        None => Some(PathBuf::from(FILE)).filter(|file| is_there(file)),
    }
}

/// The file's values.
pub fn file(path: &Path) -> Result<Node, Mistake> {
    let name = path.display().to_string();
    let failed = |reason: String| Mistake::new(&Place::from(name.as_str()), "", reason);
    let length =
        std::fs::metadata(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    if length.len() > FILE_BYTES_MAX {
        return Err(failed(format!("has more than {}", units::shown(FILE_BYTES_MAX))));
    }
    let text = std::fs::read_to_string(path).map_err(|e| failed(format!("cannot be read: {e}")))?;
    tree::parse(&name, &text)
}

/// The environment's values, and a warning for each name that is no key's: somebody else may use the
/// prefix too.
pub fn environment(variables: &[(String, String)]) -> (Node, Vec<String>) {
    let mut root = Node::table(Place::from("environment"));
    let mut warnings = Vec::new();
    for (name, text) in variables {
        if name == FILE_VARIABLE {
            continue;
        }
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        let key = key.to_ascii_lowercase();
        let path: Vec<&str> = key.split("__").collect();
        match leaf(&path) {
            Some(form) => {
                let place = Place::from(format!("environment {name}").as_str());
                root.set(&path, Node { what: read(form, text), place });
            }
            None => {
                let meant = meant(&path).map(|key| format!(" (did you mean '{key}'?)"));
                let meant = meant.unwrap_or_default();
                warnings
                    .push(format!("{name} in the environment names no key{meant}; it is ignored"));
            }
        }
    }
    (root, warnings)
}

/// The values of `--set key=value`, in order.
pub fn command_line(settings: &[String], mistakes: &mut Vec<Mistake>) -> Node {
    let mut root = Node::table(Place::from("--set"));
    for setting in settings {
        let place = Place::from(format!("--set {setting}").as_str());
        let Some((key, text)) = setting.split_once('=') else {
            mistakes.push(Mistake::new(&place, "", "is not of the form KEY=VALUE"));
            continue;
        };
        let path: Vec<&str> = key.trim().split('.').collect();
        match leaf(&path) {
            Some(form) => root.set(&path, Node { what: read(form, text), place }),
            None => mistakes.push(Mistake::new(&place, key.trim(), not_a_leaf(&path))),
        }
    }
    root
}

/// A value that the command line gives by an option of its own.
pub fn option(root: &mut Node, option: &str, key: &str, text: &str) {
    let place = Place::from(option);
    root.set(&[key], Node { place, what: What::Text(text.to_owned()) });
}

/// The form of a key that one line of text can set.
fn leaf(path: &[&str]) -> Option<&'static Form> {
    let form = schema::find(path)?;
    let several = matches!(
        form,
        Form::Table(_)
            | Form::Named(_)
            | Form::Tables(_)
            | Form::Arguments
            | Form::Steps
            | Form::Routes(_)
    );
    (!several).then_some(form)
}

fn not_a_leaf(path: &[&str]) -> String {
    match (schema::find(path), meant(path)) {
        (Some(_), _) => "holds more than one value: set it in the file".to_owned(),
        (None, Some(meant)) => format!("unknown key; did you mean '{meant}'?"),
        (None, None) => "unknown key".to_owned(),
    }
}

/// The whole key that was probably meant by a path that leads to none.
fn meant(path: &[&str]) -> Option<String> {
    let mut meant: Vec<&str> = Vec::new();
    for name in path {
        let known = match schema::find(&meant) {
            Some(Form::Named(_)) => name,
            _ => schema::suggestion(name, schema::keys(&meant)?.iter().map(|key| key.name))?,
        };
        meant.push(known);
    }
    schema::find(&meant).map(|_| meant.join("."))
}

/// Text is what its key's form makes of it: a text key takes `5` as text, a size as a number.
fn read(form: &Form, text: &str) -> What {
    let number = || text.trim().parse().map_or_else(|_| What::Text(text.to_owned()), What::Integer);
    match form {
        Form::Bool => match text.trim() {
            "true" => What::Bool(true),
            "false" => What::Bool(false),
            _ => What::Text(text.to_owned()),
        },
        Form::Count { .. } | Form::Size { .. } | Form::Share => number(),
        Form::Texts => What::List(texts(text)),
        // An address of IPv6 begins with a bracket, too.
        Form::Binds if text.contains(',') => What::List(texts(text)),
        _ => What::Text(text.to_owned()),
    }
}

/// `a,b` or `["a", "b"]`.
fn texts(text: &str) -> Vec<Node> {
    let place = Place::from(text);
    let text = text.trim();
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let words = inner.split(',').map(|word| word.trim().trim_matches('"'));
    let words = words.filter(|word| !word.is_empty());
    words.map(|word| Node { place: place.clone(), what: What::Text(word.to_owned()) }).collect()
}
