//! The configuration, in two stages. *As written*: trees of values with their places, one for each source, checked
//! against the keys there are. *As meant*: the sources merged by figment into a typed [`Config`]. Whether what is meant
//! can be built is decided in plan.rs. No stage stops the next: what cannot be used is noted and left out, so that all
//! mistakes are found at once.

mod keys;
mod keys_of_declarations;
mod keys_of_doors;
mod keys_of_plugins;
mod keys_of_protocols;
mod layers;
mod meant;
mod meant_protocols;
mod reference;
mod salvage;
mod schema;
#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
mod tree;
mod units;

pub use layers::choose_file;
pub use meant::{
    Announce, Argument, Binds, CertificateUser, ClientCertificate, Config, DeniedPublish, Limits,
    Listener, LogFormat, Logins, Metrics, TokenRights, Transport, User, values,
};
pub use meant_protocols::{StompCarry, StompDialect, StompDoor, StompNack, StompTime};
pub use reference::page as reference;
pub use schema::suggestion;
pub use tree::Mistake;
pub use units::{Size, Span, address};

use crossdock_transforms::RouteSpec;
use figment::Figment;
use figment::error::Kind;
use figment::value::Value;
use keys::Form;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tree::{Node, Place};
use units::Share;

/// What the program was started with.
#[derive(Debug, Default)]
pub struct Request<'a> {
    pub file: Option<&'a Path>,
    pub data_dir: Option<&'a str>,
    /// `key=value`
    pub set: &'a [String],
    pub environment: Vec<(String, String)>,
}

/// What of a configuration can be used, and what is wrong with the rest.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// The content routes, each with its number in the file. They are read one by one, so that one bad route does not
    /// hide the mistakes of the next; one that is nothing like a route is left out.
    pub routes: NumberedRoutes,
    /// What is not well-formed. Where there is any, the configuration is good for finding further mistakes only.
    pub mistakes: Vec<Mistake>,
    /// The folder that relative paths of modules begin at.
    pub base_dir: PathBuf,
    pub warnings: Vec<String>,
    /// There is a file, and no key in it.
    pub is_file_empty: bool,
    /// The earlier is the weaker one.
    layers: Vec<Node>,
}

/// Content routes, each with its number in the file.
type NumberedRoutes = Vec<(usize, RouteSpec)>;

/// Whether two values of a key mean the same: `1MiB` is `1048576`.
pub fn is_same(key: &str, one: &str, other: &str) -> bool {
    let path: Vec<&str> = key.split('.').collect();
    let same = |read: fn(&str) -> Option<u64>| read(one).is_some() && read(one) == read(other);
    one == other
        || match schema::find(&path) {
            Some(Form::Size { .. }) => same(|text| Size::parse(text).ok().map(|size| size.0)),
            Some(Form::Span { .. }) => same(|text| Span::parse(text).ok().map(Span::ms)),
            Some(Form::Share) => match (Share::parse(one), Share::parse(other)) {
                (Ok(one), Ok(other)) => one == other,
                _ => false,
            },
            _ => false,
        }
}

/// A mistake in the second key of a table follows from one in the first: it is not shown before that one is mended.
const FOLLOWS: [(&str, &str); 3] = [("mode", "to"), ("steps", "limits"), ("steps", "isolation")];

impl Loaded {
    /// Every value that is one key's, as the strongest source has it, by its key. Not those of `[[name]]` tables, of
    /// which there are several.
    pub fn values(&self) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        self.layers.iter().for_each(|layer| layer.flatten("", &mut values));
        values
    }

    /// A mistake about `key`, with the place that the key's value came from.
    pub fn mistake(&self, key: impl Into<String>, reason: impl Into<String>) -> Mistake {
        let key = key.into();
        let place = place_of(&self.layers, &key);
        Mistake::new(&place, key, reason)
    }

    /// Those that were found when it was read and those found in what it means, by their places in the file.
    pub fn all_mistakes(&self, found: Vec<Mistake>) -> Vec<Mistake> {
        let mut all = self.mistakes.clone();
        add_later(&mut all, found);
        all.sort_by_key(|mistake| mistake.place.order());
        all
    }
}

/// Adds what a later stage found, without what only says again that a value was left out.
fn add_later(all: &mut Vec<Mistake>, found: Vec<Mistake>) {
    let news = found.into_iter().filter(|later| {
        !all.iter().any(|earlier| {
            let rest = later.key.strip_prefix(earlier.key.as_str());
            let is_inside =
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
            let follows = FOLLOWS.iter().any(|(cause, effect)| {
                let table = earlier.key.strip_suffix(cause);
                table.is_some_and(|table| later.key.strip_suffix(effect) == Some(table))
            });
            !earlier.key.is_empty() && (is_inside || follows)
        })
    });
    let news: Vec<Mistake> = news.collect();
    all.extend(news);
}

/// Reads all sources. An error is a source that cannot be read at all.
pub fn load(request: &Request<'_>) -> Result<Loaded, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut unreadable = Vec::new();
    let mut layers = Vec::new();
    let file = request.file.map(layers::file);
    let is_file_empty = matches!(&file, Some(Ok(layer)) if layer.is_empty());
    for layer in [layers::built_in()].into_iter().chain(file) {
        match layer {
            Ok(layer) => layers.push(layer),
            Err(mistake) => unreadable.push(mistake),
        }
    }
    let (environment, mut warnings) = layers::environment(&request.environment);
    layers.push(environment);
    let mut command_line = layers::command_line(request.set, &mut mistakes);
    if let Some(folder) = request.data_dir {
        layers::option(&mut command_line, "--data-dir", "data_dir", folder);
    }
    layers.push(command_line);
    let usable: Vec<Node> =
        layers.iter().map(|layer| schema::check(layer, &mut mistakes)).collect();
    if !unreadable.is_empty() {
        unreadable.append(&mut mistakes);
        return Err(unreadable);
    }
    let (config, routes) = mean(&usable, &layers, &mut mistakes)?;
    // What the file takes from a variable is no key of ours, and is not ignored.
    warnings
        .retain(|warning| !config.variables().any(|name| warning.starts_with(&format!("{name} "))));
    let base_dir = match request.file.and_then(Path::parent) {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    Ok(Loaded { config, routes, mistakes, base_dir, warnings, is_file_empty, layers })
}

/// Merges what of the layers can be used. `layers` are for the places.
fn mean(
    usable: &[Node],
    layers: &[Node],
    mistakes: &mut Vec<Mistake>,
) -> Result<(Config, NumberedRoutes), Vec<Mistake>> {
    let figment = usable.iter().fold(Figment::new(), |figment, layer| figment.merge(layer));
    let config: Config = figment.extract().map_err(|errors| {
        let found = errors.into_iter().map(|error| mistake_of(&error, &[], layers)).collect();
        let mut all = std::mem::take(mistakes);
        add_later(&mut all, found);
        all
    })?;
    let (mut read, mut found) = (Vec::new(), Vec::new());
    if let Ok(Value::Array(_, routes)) = figment.find_value("route") {
        for (index, route) in routes.into_iter().enumerate() {
            let path = ["route".to_owned(), index.to_string()];
            let note = |error: &figment::Error| found.push(mistake_of(error, &path, layers));
            read.extend(salvage::read(route, note).map(|route| (index, route)));
        }
    }
    add_later(mistakes, found);
    Ok((config, read))
}

fn mistake_of(error: &figment::Error, path: &[String], layers: &[Node]) -> Mistake {
    let mut key = String::new();
    let mut append = |name: &str| match name.parse::<usize>() {
        Ok(index) => key.push_str(&format!("[{index}]")),
        Err(_) if key.is_empty() => key.push_str(name),
        Err(_) => key.push_str(&format!(".{name}")),
    };
    path.iter().chain(&error.path).for_each(|name| append(name));
    let reason = match &error.kind {
        Kind::UnknownField(name, known) => schema::unknown(name, known.iter().copied()),
        Kind::MissingField(name) => {
            append(name);
            "is missing".to_owned()
        }
        Kind::UnknownVariant(name, known) => {
            format!("'{name}' is none of {}", known.join(", "))
        }
        kind => kind.to_string(),
    };
    Mistake::new(&place_of(layers, &key), key, reason)
}

/// Where the value of `key` was written: the strongest of the layers that hold most of its path.
fn place_of(layers: &[Node], key: &str) -> Place {
    let steps = tree::steps(key);
    let found = layers.iter().map(|layer| layer.locate(&steps));
    match found.max_by_key(|(depth, _)| *depth) {
        Some((depth, place)) if depth > 0 => place.clone(),
        _ => Place::from(""),
    }
}
