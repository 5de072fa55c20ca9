//! Namespaces in XML 1.0 (third edition): prefixes have to be declared. Only looked at when prefixes are stripped.

use crate::reader::{Tag, short};
use std::collections::{HashMap, HashSet};

const XML: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// The declarations that hold in the open elements.
#[derive(Default)]
pub(crate) struct Namespaces {
    /// For each prefix its namespaces, that of the innermost element last. The default one has the empty prefix.
    bound: HashMap<String, Vec<String>>,
    /// The prefixes that each open element declares.
    open: Vec<Vec<String>>,
}

impl Namespaces {
    /// An element begins.
    pub(crate) fn begin(&mut self, tag: &Tag<'_>) -> Result<(), String> {
        let mut declared = Vec::new();
        for (name, uri) in &tag.attributes {
            let prefix = match (*name == "xmlns", name.strip_prefix("xmlns:")) {
                (true, _) => "",
                (_, Some(prefix)) => prefix,
                (false, None) => continue,
            };
            check_declaration(prefix, uri)?;
            self.bound.entry(prefix.to_owned()).or_default().push(uri.to_string());
            declared.push(prefix.to_owned());
        }
        self.open.push(declared);
        if tag.name.starts_with("xmlns:") {
            return Err("the prefix xmlns is reserved".into());
        }
        self.uri(tag.name)?;
        let mut seen = HashSet::new();
        for (name, _) in &tag.attributes {
            let uri = self.uri(name)?.to_owned();
            let (_, local) = split(name)?;
            if name.contains(':') && !seen.insert((uri, local)) {
                return Err(format!("duplicate attribute {}", short(name)));
            }
        }
        Ok(())
    }

    /// The innermost element ends.
    pub(crate) fn end(&mut self) {
        for prefix in self.open.pop().unwrap_or_default() {
            if let Some(uris) = self.bound.get_mut(&prefix) {
                uris.pop();
            }
        }
    }

    /// The namespace of a name's prefix; an error if the name is none, or the prefix is not declared.
    fn uri(&self, name: &str) -> Result<&str, String> {
        match split(name)? {
            (None | Some("xmlns"), _) => Ok(""),
            (Some("xml"), _) => Ok(XML),
            (Some(prefix), _) => match self.bound.get(prefix).and_then(|uris| uris.last()) {
                Some(uri) => Ok(uri),
                None => Err(format!("the prefix of {} is not declared", short(name))),
            },
        }
    }
}

/// §3, and the reserved names.
fn check_declaration(prefix: &str, uri: &str) -> Result<(), String> {
    let (xml, xmlns) = (uri == XML, uri == XMLNS);
    match prefix {
        "xml" if xml => Ok(()),
        "xml" | "xmlns" => Err(format!("the prefix {prefix} is reserved")),
        _ if xml || xmlns => Err(format!("the namespace {uri} is reserved")),
        "" => Ok(()),
        _ if uri.is_empty() => Err(format!("the prefix {} has an empty namespace", short(prefix))),
        _ => Ok(()),
    }
}

/// Prefix and local part (§4).
fn split(name: &str) -> Result<(Option<&str>, &str), String> {
    let parts = match name.split_once(':') {
        None => return Ok((None, name)),
        Some(parts) => parts,
    };
    let (prefix, local) = parts;
    let is_start = crate::chars::name_length(local) > 0;
    match prefix.is_empty() || !is_start || local.contains(':') {
        true => Err(format!("'{}' is not a name with one prefix", short(name))),
        false => Ok((Some(prefix), local)),
    }
}
