//! `x-consistent-hash`: each message goes to one of the bindings, always to the same one for the same routing key. The
//! key of a binding is its weight. A binding that comes or goes moves only the messages of its own share.
//!
//! By rendezvous hashing: each target has a distance to the message, and the nearest one gets it. That takes no memory
//! for points on a ring, and shares are as exact as the hash is.

use super::one_of::{fnv, spread};
use super::{Binding, Bindings, ExchangeSpec, FieldsOf, Hit, Matcher, Target};
use crate::error::{Error, ErrorKind};
use crate::message::wire::put_value;
use crate::message::{Id, Key, Name, Value, lookup};
use std::sync::Arc;

/// The argument that names the header that decides instead of the routing key.
pub const BY_HEADER: &str = "hash-header";
/// The argument that names the property that decides instead of the routing key.
pub const BY_PROPERTY: &str = "hash-property";
/// Largest weight of a binding: beyond that a share is hardly a share.
const WEIGHT_MAX: u32 = 1 << 20;

/// What decides where a message goes. What a message does not have is the empty text.
#[derive(Debug, Clone, PartialEq)]
enum By {
    Key,
    Header(Name),
    MessageId,
    CorrelationId,
    Timestamp,
}

/// `Invalid`: both arguments are there, or one that names nothing.
fn by(spec: &ExchangeSpec) -> Result<By, Error> {
    let invalid = |detail: String| Error::new(ErrorKind::Invalid, detail);
    let header = lookup(&spec.arguments, BY_HEADER);
    match (header, lookup(&spec.arguments, BY_PROPERTY)) {
        (None, None) => Ok(By::Key),
        (Some(header), None) => match header.as_str() {
            Some(name) if !name.is_empty() => Ok(By::Header(name.into())),
            _ => Err(invalid(format!("Unsupported {BY_HEADER}: it names no header"))),
        },
        (None, Some(property)) => match property.as_str() {
            Some("message_id") => Ok(By::MessageId),
            Some("correlation_id") => Ok(By::CorrelationId),
            Some("timestamp") => Ok(By::Timestamp),
            other => {
                let other = other.unwrap_or_else(|| property.type_name());
                Err(invalid(format!(
                    "Unsupported property '{other}' in {BY_PROPERTY}: it can be correlation_id, \
                     message_id or timestamp"
                )))
            }
        },
        (Some(_), Some(_)) => {
            Err(invalid(format!("{BY_HEADER} and {BY_PROPERTY} cannot both decide")))
        }
    }
}

/// Whether an exchange may have its arguments.
pub fn check(spec: &ExchangeSpec) -> Result<(), Error> {
    by(spec).map(|_| ())
}

/// Whole numbers from 1.
fn weight(key: &Key) -> Result<u32, Error> {
    let text = String::from_utf8_lossy(key.bytes());
    match text.parse() {
        Ok(weight @ 1..=WEIGHT_MAX) => Ok(weight),
        _ => Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "The binding key must be its weight, a whole number from 1 to {WEIGHT_MAX}: '{text}'"
            ),
        )),
    }
}

/// A target, with the weight of all its bindings.
struct Share {
    target: u64,
    weight: f64,
    binding: Arc<Binding>,
}

/// The matcher.
pub struct ConsistentHash {
    by: By,
    bindings: Bindings,
    shares: Vec<Share>,
}

impl ConsistentHash {
    /// One without bindings. A wrong argument was refused before.
    pub fn new(spec: &ExchangeSpec) -> Self {
        let by = by(spec).unwrap_or(By::Key);
        Self { by, bindings: Bindings::default(), shares: Vec::new() }
    }

    fn share_out(&mut self) {
        let mut sorted = self.bindings.as_slice().to_vec();
        sorted.sort_by_cached_key(|binding| (binding.target.clone(), binding.key.clone()));
        let share = |same: &[Arc<Binding>]| {
            let weights = same.iter().filter_map(|binding| weight(&binding.key).ok());
            let first = same.first()?;
            let weight = weights.map(f64::from).sum();
            Some(Share { target: number(&first.target), weight, binding: first.clone() })
        };
        self.shares = sorted.chunk_by(|a, b| a.target == b.target).filter_map(share).collect();
    }

    /// The hash of what decides.
    fn hash(&self, key: &Key, fields: FieldsOf<'_>) -> u64 {
        let properties = || &fields().properties;
        match &self.by {
            By::Key => fnv(key.bytes()),
            By::Header(name) => of_value(fields().header(name)),
            By::MessageId => of_id(properties().message_id.as_ref()),
            By::CorrelationId => of_id(properties().correlation_id.as_ref()),
            By::Timestamp => {
                let seconds = properties().created_at.map(|ms| ms.div_euclid(1000));
                seconds.map_or_else(|| fnv(&[]), |seconds| fnv(&seconds.to_le_bytes()))
            }
        }
    }
}

/// A number counts as its text: what is one in one protocol is the other elsewhere.
fn of_value(value: Option<&Value>) -> u64 {
    match value {
        None => fnv(&[]),
        Some(Value::Bytes(bytes)) => fnv(bytes),
        Some(value) => match (value.as_str(), value.as_i64()) {
            (Some(text), _) => fnv(text.as_bytes()),
            (None, Some(number)) => fnv(number.to_string().as_bytes()),
            (None, None) => {
                let mut bytes = Vec::new();
                put_value(&mut bytes, value);
                fnv(&bytes)
            }
        },
    }
}

fn of_id(id: Option<&Id>) -> u64 {
    match id {
        None => fnv(&[]),
        Some(Id::Text(text)) => fnv(text.as_bytes()),
        Some(Id::Binary(bytes)) => fnv(bytes),
        Some(Id::Uuid(bytes)) => fnv(bytes),
        Some(Id::U64(number)) => fnv(number.to_string().as_bytes()),
    }
}

/// A number that a target keeps over restarts.
fn number(target: &Target) -> u64 {
    match target {
        Target::Log(id) => spread(id.0),
        Target::Session(id) => spread(!id.0),
        Target::Exchange(name) => fnv(name.as_bytes()),
    }
}

/// -ln of a number between 0 and 1 that hash and target make, by the weight: the lowest has it.
fn distance(hash: u64, share: &Share) -> f64 {
    let bits = spread(hash ^ share.target) >> 11;
    let part = (bits as f64 + 0.5) / (1u64 << 53) as f64;
    -part.ln() / share.weight
}

impl Matcher for ConsistentHash {
    fn bind(&mut self, binding: Arc<Binding>) {
        self.bindings.put(binding);
        self.share_out();
    }

    fn unbind(&mut self, binding: &Binding) -> bool {
        let was_there = self.bindings.remove(binding).is_some();
        self.share_out();
        was_there
    }

    fn check(&self, binding: &Binding) -> Result<(), Error> {
        weight(&binding.key).map(|_| ())
    }

    fn route(&self, key: &Key, fields: FieldsOf<'_>, out: &mut Vec<Hit>) {
        let hash = self.hash(key, fields);
        let by = |a: &&Share, b: &&Share| distance(hash, a).total_cmp(&distance(hash, b));
        out.extend(self.shares.iter().min_by(by).map(|share| Hit::of(&share.binding)));
    }

    fn reads_fields(&self) -> bool {
        self.by != By::Key
    }

    fn steps(&self) -> usize {
        self.shares.len()
    }

    fn len(&self) -> usize {
        self.bindings.len()
    }

    fn bindings(&self) -> Vec<Arc<Binding>> {
        self.bindings.as_slice().to_vec()
    }

    fn bytes(&self) -> usize {
        self.shares.len() * size_of::<Share>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Kind, LogId};
    use crate::message::Fields;
    use std::collections::BTreeMap;

    fn spec(arguments: &[(&str, Value)]) -> ExchangeSpec {
        let arguments = arguments.iter().map(|(name, value)| ((*name).into(), value.clone()));
        ExchangeSpec {
            arguments: arguments.collect(),
            ..ExchangeSpec::new("x", Kind::ConsistentHash)
        }
    }

    fn binding(log: u64, weight: &str) -> Binding {
        Binding::new("x", weight.into(), Target::Log(LogId(log)))
    }

    fn target(matcher: &ConsistentHash, key: &str, fields: &Fields) -> Option<Target> {
        let mut out = Vec::new();
        matcher.route(&key.into(), &|| fields, &mut out);
        assert!(out.len() <= 1);
        out.pop().map(|hit| hit.target)
    }

    fn all(matcher: &ConsistentHash) -> Vec<Target> {
        let one = |n| target(matcher, &format!("order/{n}"), &Fields::default());
        (0..60_000).map(|n| one(n).expect("somebody gets it")).collect()
    }

    #[test]
    fn shares_are_as_the_weights_and_a_new_binding_takes_only_its_own() {
        let mut matcher = ConsistentHash::new(&spec(&[]));
        assert_eq!(target(&matcher, "k", &Fields::default()), None);
        // What is bound twice has the weight of both.
        for (log, weight) in [(1, "1"), (2, "1"), (3, "2"), (4, "1"), (4, "3")] {
            matcher.bind(Arc::new(binding(log, weight)));
        }
        let before = all(&matcher);
        let mut counts = BTreeMap::new();
        before.iter().for_each(|target| *counts.entry(target.clone()).or_insert(0) += 1);
        for (log, weight) in [(1, 1), (2, 1), (3, 2), (4, 4)] {
            let share = counts[&Target::Log(LogId(log))] as f64 / 60_000.0 * 8.0;
            assert!((share - f64::from(weight)).abs() < 0.1, "{log}: {share}");
        }
        matcher.bind(Arc::new(binding(5, "2")));
        let with = all(&matcher);
        let five = Target::Log(LogId(5));
        assert!(before.iter().zip(&with).all(|(a, b)| a == b || *b == five));
        let moved = with.iter().filter(|target| **target == five).count();
        assert!((11_400..12_600).contains(&moved), "{moved}");
        assert!(matcher.unbind(&binding(5, "2")) && !matcher.unbind(&binding(5, "2")));
        assert_eq!(all(&matcher), before);
        assert!(!matcher.reads_fields(), "by the key it may be remembered");
    }

    #[test]
    fn a_header_or_a_property_decides_where_it_is_named() {
        let headers = [("hash-header", Value::text("h"))];
        let property = [("hash-property", Value::text("correlation_id"))];
        for (arguments, is_header) in [(&headers[..], true), (&property[..], false)] {
            let mut matcher = ConsistentHash::new(&spec(arguments));
            (1..=8).for_each(|log| matcher.bind(Arc::new(binding(log, "1"))));
            assert!(matcher.reads_fields());
            let with = |n: i64, as_text: bool| {
                let mut fields = Fields::default();
                let text = Name::from(n.to_string());
                match is_header {
                    true if as_text => fields.headers.push(("h".into(), Value::Text(text))),
                    true => fields.headers.push(("h".into(), Value::I64(n))),
                    false if as_text => fields.properties.correlation_id = Some(Id::Text(text)),
                    false => fields.properties.correlation_id = Some(Id::U64(n as u64)),
                }
                fields
            };
            let mut seen = std::collections::BTreeSet::new();
            for n in 0..200 {
                let one = target(&matcher, "a", &with(n, true));
                assert_eq!(
                    one,
                    target(&matcher, "b", &with(n, false)),
                    "whatever its key and type"
                );
                seen.insert(one);
            }
            assert_eq!(seen.len(), 8);
        }
    }

    #[test]
    fn wrong_arguments_and_weights_are_refused() {
        for arguments in [
            &[("hash-header", Value::I32(5))][..],
            &[("hash-header", Value::text(""))],
            &[("hash-property", Value::text("priority"))],
            &[("hash-property", Value::Bool(true))],
            &[("hash-header", Value::text("h")), ("hash-property", Value::text("timestamp"))],
        ] {
            assert!(spec(arguments).check().is_err(), "{arguments:?}");
        }
        let matcher = ConsistentHash::new(&spec(&[]));
        for (weight, is_good) in [("1", true), ("1048576", true), ("0", false), ("1048577", false)]
        {
            assert_eq!(matcher.check(&binding(1, weight)).is_ok(), is_good, "{weight}");
        }
        for weight in ["", "-1", "1.5", "a"] {
            assert!(matcher.check(&binding(1, weight)).is_err(), "{weight}");
        }
    }
}
