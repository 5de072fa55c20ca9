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
    /// XML name to JSON name, for elements and attributes.
    pub rename: BTreeMap<String, String>,
    /// XML names whose text becomes a number.
    pub numbers: BTreeSet<String>,
    /// XML names whose text becomes true or false.
    pub booleans: BTreeSet<String>,
    /// XML names of elements that are an array even when there is only one.
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
        serde_json::from_str(config).map_err(|e| e.to_string())
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
