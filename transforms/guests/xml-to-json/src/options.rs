//! What a route may say in `with`.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The options of one step.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    #[serde(deserialize_with = "attributes")]
    pub attributes: Attributes,
    pub root: Root,
    pub namespaces: Namespaces,
    /// Name to JSON name, for elements and attributes. The names here and below are those of the document, without
    /// their prefix if prefixes are stripped; what comes in front of attributes does not belong to them.
    pub rename: BTreeMap<String, String>,
    /// Names whose text becomes a number, if it is one.
    pub numbers: BTreeSet<String>,
    /// Names whose text becomes true or false, if it is one of these.
    pub booleans: BTreeSet<String>,
    /// Names of elements that are an array even when there is only one.
    pub arrays: BTreeSet<String>,
    /// Member that holds the text of an element that has attributes or children.
    pub text: TextKey,
}

/// How attributes become members.
#[derive(Debug, Default, PartialEq)]
pub enum Attributes {
    /// By their own names.
    #[default]
    Plain,
    /// With this before the name.
    Prefix(String),
    Drop,
}

/// What becomes of the root element's name.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// Dropped when the root has attributes only, kept otherwise.
    #[default]
    Auto,
    Keep,
    Drop,
}

/// What becomes of prefixes and `xmlns` declarations.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Namespaces {
    #[default]
    Keep,
    Strip,
}

/// The text member's name.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct TextKey(pub String);

impl Default for TextKey {
    fn default() -> Self {
        Self("#text".into())
    }
}

impl Options {
    /// Reads the JSON of `with`.
    pub fn parse(config: &str) -> Result<Self, String> {
        let options: Self = serde_json::from_str(config).map_err(|e| e.to_string())?;
        let lists = [&options.numbers, &options.booleans, &options.arrays];
        let mut names = lists.into_iter().flatten().chain(options.rename.keys());
        let strips = options.namespaces == Namespaces::Strip;
        let prefixed = names.find(|name| strips && name.contains(':')).cloned();
        drop(names);
        match prefixed {
            Some(name) => Err(format!(
                "'{name}' has a prefix, and namespaces = \"strip\" takes prefixes away: name it without"
            )),
            None => Ok(options),
        }
    }
}

fn attributes<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Attributes, D::Error> {
    let text = String::deserialize(input)?;
    match (text.as_str(), text.strip_prefix("prefix:")) {
        ("plain", _) => Ok(Attributes::Plain),
        ("drop", _) => Ok(Attributes::Drop),
        (_, Some(prefix)) if !prefix.is_empty() => Ok(Attributes::Prefix(prefix.to_string())),
        _ => Err(serde::de::Error::custom(format!(
            "attributes is \"plain\", \"prefix:@\" (any prefix) or \"drop\", not \"{text}\""
        ))),
    }
}
