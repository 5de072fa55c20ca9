//! A route as it is written in the configuration file. Only its keys are checked here; their values are checked in
//! `compile`, so that one wrong value does not hide the other mistakes of the route.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// One route. A value that is not written is `Json::Null`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// Unique; the route's own queue is named after it.
    pub name: Json,
    /// Addresses that it watches: `topic:PATTERN`, `queue:NAME`, `exchange:NAME/PATTERN`.
    pub from: Json,
    /// Condition for the messages that it takes; none: all messages.
    #[serde(default)]
    pub when: Json,
    /// Each `{ set = {..} }`, `{ remove = [..] }` or `{ wasm = "..", with = {..} }`.
    #[serde(default)]
    pub steps: Json,
    /// Where results go: `queue:NAME`, `topic:a/b`, `exchange:NAME/KEY`, with computed parts in braces.
    #[serde(default)]
    pub to: Json,
    /// What happens to the original message: `divert`, `tap` or `filter`.
    #[serde(default)]
    pub mode: Json,
    /// Of several filters the one with the highest number comes first.
    #[serde(default)]
    pub priority: Json,
    /// Whether a result that reaches nobody is a failure.
    #[serde(default)]
    pub required: Json,
    /// What a message that is tried again does to the order: `relaxed` or `strict`.
    #[serde(default)]
    pub order: Json,
    /// Messages that the route works on at the same time.
    #[serde(default)]
    pub concurrency: Json,
    #[serde(default)]
    pub on_error: Section<OnErrorSpec>,
    /// Whether instances of modules are reused: `shared` or `per-message`.
    #[serde(default)]
    pub isolation: Json,
    #[serde(default)]
    pub limits: Section<LimitSpec>,
}

impl RouteSpec {
    /// The name; empty when it is no text.
    pub fn name(&self) -> &str {
        self.name.as_str().unwrap_or_default()
    }

    /// The addresses that it watches, each with its number; what is no text is left out.
    pub fn from(&self) -> Vec<(usize, &str)> {
        texts(&self.from)
    }

    /// The addresses that it sends to, each with its number; what is no text is left out.
    pub fn to(&self) -> Vec<(usize, &str)> {
        texts(&self.to)
    }

    /// Files of the modules of its steps; paths of modules are relative to that folder.
    pub fn module_files(&self, base_dir: &Path) -> Vec<PathBuf> {
        let steps = self.steps.as_array().map(Vec::as_slice).unwrap_or_default();
        let keys =
            |step: &Json| ["wasm", "shadow"].map(|key| step.get(key)?.as_str().map(str::to_owned));
        let names = steps.iter().flat_map(keys).flatten();
        names.map(|name| module_file(base_dir, &name)).collect()
    }

    /// Where dead letters go, if the route says so.
    pub fn dead_letter(&self) -> Option<&str> {
        match &self.on_error {
            Section::Is(on_error) => on_error.dead_letter.as_str(),
            Section::Not(_) => None,
        }
    }
}

/// A bare name is `NAME.wasm` in the folder of modules; with `/` or `.wasm` it is a path relative to that folder.
pub(crate) fn module_file(base_dir: &Path, name: &str) -> PathBuf {
    match name.contains('/') || name.ends_with(".wasm") {
        true => base_dir.join(name),
        false => base_dir.join(format!("{name}.wasm")),
    }
}

fn texts(list: &Json) -> Vec<(usize, &str)> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().enumerate().filter_map(|(at, text)| Some((at, text.as_str()?))).collect()
}

/// What happens when a step fails.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnErrorSpec {
    /// Attempts after the first one.
    pub retry: Json,
    /// Pause before the first retry, doubled for each further one: `200ms`.
    pub backoff: Json,
    /// After the last attempt: `dead-letter`, `pass`, `drop` or `reject`.
    pub then: Json,
    /// Where `dead-letter` sends to; none: the vhost's dead-letter address.
    pub dead_letter: Json,
}

/// Limits of each module of the route.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSpec {
    /// Memory; `16MiB` if not given.
    pub memory: Json,
    /// Time for one message; `50ms` if not given.
    pub deadline: Json,
}

/// A table inside a route, or something else that was written in its place.
#[derive(Debug, Clone, PartialEq)]
pub enum Section<T> {
    Is(T),
    /// What was found instead: `a number`.
    Not(&'static str),
}

impl<T: Default> Default for Section<T> {
    fn default() -> Self {
        Section::Is(T::default())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(SectionVisitor(PhantomData))
    }
}

struct SectionVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SectionVisitor<T> {
    type Value = Section<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Section::Is)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Self::Value, S::Error> {
        while list.next_element::<Json>()?.is_some() {}
        Ok(Section::Not("a list"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Section::Not("true or false"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Section::Not("a number"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Section::Not("a number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Section::Not("a number"))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Section::Not("a text"))
    }
}
