//! The configuration, in two stages. *As written*: trees of values with their places, one for each
//! source, checked against the keys there are; all mistakes are collected. *As meant*: the sources merged
//! by figment into a typed [`Config`]. Whether what is meant can be built is decided in plan.rs.

mod keys;
mod layers;
mod meant;
mod reference;
mod schema;
#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
mod tree;
mod units;

pub use meant::{Argument, Config, LogFormat, values};
pub use reference::page as reference;
pub use schema::suggestion;
pub use tree::Mistake;
pub use units::address;

use crossdock_transforms::RouteSpec;
use figment::Figment;
use figment::error::Kind;
use figment::value::Value;
use std::path::{Path, PathBuf};
use tree::{Node, Place};

/// What the program was started with.
#[derive(Debug, Default)]
pub struct Request<'a> {
    pub file: Option<&'a Path>,
    pub data_dir: Option<&'a str>,
    /// `key=value`
    pub set: &'a [String],
    pub environment: Vec<(String, String)>,
}

/// A configuration that is well-formed.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// The folder that relative paths of modules begin at.
    pub base_dir: PathBuf,
    pub warnings: Vec<String>,
    /// The earlier is the weaker one.
    layers: Vec<Node>,
}

impl Loaded {
    /// A mistake about `key`, with the place that the key's value came from.
    pub fn mistake(&self, key: impl Into<String>, reason: impl Into<String>) -> Mistake {
        let key = key.into();
        let place = place_of(&self.layers, &key);
        Mistake::new(&place, key, reason)
    }
}

/// Reads all sources. Every mistake that can be found is in the answer.
pub fn load(request: &Request<'_>) -> Result<Loaded, Vec<Mistake>> {
    let mut layers = vec![layers::built_in().map_err(|mistake| vec![mistake])?];
    if let Some(file) = request.file {
        layers.push(layers::file(file).map_err(|mistake| vec![mistake])?);
    }
    let (environment, warnings) = layers::environment(&request.environment);
    layers.push(environment);
    let mut mistakes = Vec::new();
    let mut command_line = layers::command_line(request.set, &mut mistakes);
    if let Some(folder) = request.data_dir {
        layers::option(&mut command_line, "--data-dir", "data_dir", folder);
    }
    layers.push(command_line);
    for layer in &layers {
        schema::check(layer, &mut mistakes);
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let config = mean(&layers)?;
    let base_dir = match request.file.and_then(Path::parent) {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    Ok(Loaded { config, base_dir, warnings, layers })
}

/// Merges the layers.
fn mean(layers: &[Node]) -> Result<Config, Vec<Mistake>> {
    let figment = layers.iter().fold(Figment::new(), |figment, layer| figment.merge(layer));
    let mut config: Config = figment.extract().map_err(|errors| {
        errors.into_iter().map(|error| mistake_of(&error, &[], layers)).collect::<Vec<_>>()
    })?;
    let mut mistakes = Vec::new();
    if let Ok(Value::Array(_, routes)) = figment.find_value("route") {
        for (index, route) in routes.into_iter().enumerate() {
            let path = ["route".to_owned(), index.to_string()];
            config.routes.extend(read_route(route, &path, layers, &mut mistakes));
        }
    }
    match mistakes.is_empty() {
        true => Ok(config),
        false => Err(mistakes),
    }
}

/// A deserializer stops at the first mistake. An unknown key is noted and taken out, and it goes on from
/// there.
fn read_route(
    mut route: Value,
    path: &[String],
    layers: &[Node],
    mistakes: &mut Vec<Mistake>,
) -> Option<RouteSpec> {
    loop {
        let error = match route.deserialize::<RouteSpec>() {
            Ok(spec) => return Some(spec),
            Err(error) => error,
        };
        mistakes.push(mistake_of(&error, path, layers));
        let unknown = matches!(error.kind, Kind::UnknownField(..));
        if !unknown || !take_out(&mut route, &error.path) {
            return None;
        }
    }
}

/// Removes the value at `path`; false when there is none.
fn take_out(value: &mut Value, path: &[String]) -> bool {
    match (value, path) {
        (Value::Dict(_, dict), [last]) => dict.remove(last).is_some(),
        (Value::Dict(_, dict), [name, rest @ ..]) => {
            dict.get_mut(name).is_some_and(|under| take_out(under, rest))
        }
        (Value::Array(_, list), [index, rest @ ..]) => {
            let at = index.parse::<usize>().ok();
            at.and_then(|at| list.get_mut(at)).is_some_and(|under| take_out(under, rest))
        }
        _ => false,
    }
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
