//! The exchange type `x-sample-hash`, a sample of one: each message goes to one of the bindings, always to the same one
//! for the same routing key. The key of a binding is its weight, a whole number. A binding that comes or goes moves
//! only the keys of its own share.
//!
//! With the argument `hash-header` of the exchange the value of that header decides instead of the routing key, with
//! `hash-property` that of `correlation_id`, `message_id` or `timestamp`. Messages without it all go to one place.

use crossdock_plugin::{
    Argument, Binding, Exchange, ExchangeKind, ExchangeSpec, Routing, Start, Table, argument,
};

/// Points on the ring for each unit of weight: the shares of equal weights differ by some percent.
const POINTS: u32 = 128;
/// Largest weight of a binding.
const WEIGHT_MAX: u32 = 1_000;
/// Points of one ring at most: 48 MiB.
const RING_MAX: usize = 4 << 20;
/// Properties that can decide.
const PROPERTIES: [&str; 3] = ["correlation_id", "message_id", "timestamp"];

/// The kind.
pub struct ConsistentHash;

impl Start for ConsistentHash {
    fn start(with: &str) -> Result<Self, String> {
        match with {
            "{}" => Ok(ConsistentHash),
            _ => Err("takes no settings: 'with' has to be empty".to_owned()),
        }
    }
}

impl ExchangeKind for ConsistentHash {
    const NAME: &'static str = "x-sample-hash";
    type Exchange = Hashed;

    fn declare(&self, spec: &ExchangeSpec<'_>) -> Result<Hashed, String> {
        let named = |name: &str| text(&spec.arguments, name);
        let by = match (named("hash-header")?, named("hash-property")?) {
            (None, None) => None,
            (Some(header), None) => Some(format!("header:{header}")),
            (None, Some(property)) if PROPERTIES.contains(&property) => {
                Some(format!("property:{property}"))
            }
            (None, Some(property)) => {
                let known = PROPERTIES.join(", ");
                return Err(format!("hash-property is '{property}', and can be one of {known}"));
            }
            (Some(_), Some(_)) => {
                return Err("hash-header and hash-property cannot both decide".to_owned());
            }
        };
        Ok(Hashed { by })
    }
}

fn text<'a>(arguments: &[Argument<'a>], name: &str) -> Result<Option<&'a str>, String> {
    match argument(arguments, name) {
        None => Ok(None),
        Some(value) => match value.as_text() {
            Some(text) if !text.is_empty() => Ok(Some(text)),
            _ => Err(format!("{name} is not a text, or empty")),
        },
    }
}

/// An exchange.
pub struct Hashed {
    /// What decides; none: the routing key.
    by: Option<String>,
}

impl Exchange for Hashed {
    type Table = Ring;

    fn reads(&self) -> Vec<String> {
        self.by.iter().cloned().collect()
    }

    fn check(&self, binding: &Binding<'_>) -> Result<(), String> {
        weight(binding).map(|_| ())
    }

    fn compile(&self, bindings: &[Binding<'_>]) -> Result<Ring, String> {
        let mut weights = Vec::new();
        for (place, binding) in bindings.iter().enumerate() {
            weights.push((binding.target, weight(binding)?, place as u32));
        }
        // What is bound twice has one share, of both weights.
        weights.sort_unstable();
        let count: usize = weights.iter().map(|(_, weight, _)| (weight * POINTS) as usize).sum();
        if count > RING_MAX {
            return Err(format!("the weights of all bindings are more than {}", RING_MAX / 128));
        }
        let mut points = Vec::with_capacity(count);
        for same in weights.chunk_by(|a, b| a.0 == b.0) {
            let mut next = 0;
            for (target, weight, place) in same {
                for point in next..next + weight * POINTS {
                    points.push((hash(&[target.as_bytes(), &point.to_le_bytes()]), *place));
                }
                next += weight * POINTS;
            }
        }
        points.sort_unstable();
        Ok(Ring { points, is_by_key: self.by.is_none() })
    }
}

/// The weight of a binding.
fn weight(binding: &Binding<'_>) -> Result<u32, String> {
    let key = String::from_utf8_lossy(binding.key);
    match key.parse() {
        Ok(weight @ 1..=WEIGHT_MAX) => Ok(weight),
        _ => Err(format!(
            "the key of a binding is its weight, a whole number from 1 to {WEIGHT_MAX}, and not '{key}'"
        )),
    }
}

/// Points on a ring, each with the place of a binding; a message belongs to the next point behind its own.
pub struct Ring {
    points: Vec<(u64, u32)>,
    is_by_key: bool,
}

impl Table for Ring {
    fn route(&self, routing: &Routing<'_>, chosen: &mut Vec<u32>) -> Result<(), String> {
        let value = routing.values.first().and_then(|value| value.as_bytes());
        let by = if self.is_by_key { routing.key } else { value.unwrap_or_default() };
        let at = hash(&[by]);
        let next = self.points.partition_point(|(point, _)| *point < at);
        let point = self.points.get(next).or_else(|| self.points.first());
        chosen.extend(point.map(|(_, place)| *place));
        Ok(())
    }
}

/// FNV-1a, stirred at the end so that near texts are far apart. It stays as it is: queues are filled by it.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in parts.iter().copied().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

crossdock_plugin::export!(exchange: ConsistentHash);

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(bindings: &[(&str, &str)]) -> Result<Ring, String> {
        let binding = |(target, key): &(&'static str, &'static str)| Binding {
            target,
            key: key.as_bytes(),
            arguments: vec![],
        };
        let bindings: Vec<(&'static str, &'static str)> = bindings
            .iter()
            .map(|(a, b)| (&*a.to_string().leak(), &*b.to_string().leak()))
            .collect();
        let bindings: Vec<Binding<'_>> = bindings.iter().map(binding).collect();
        Hashed { by: None }.compile(&bindings)
    }

    fn targets(bindings: &[(&str, &str)], keys: u32) -> Vec<String> {
        let ring = ring(bindings).expect("a ring");
        let of = |key: u32| {
            let (key, mut chosen) = (format!("order/{key}"), Vec::new());
            let routing = Routing { key: key.as_bytes(), values: vec![] };
            ring.route(&routing, &mut chosen).expect("routed");
            assert_eq!(chosen.len(), 1);
            bindings[chosen[0] as usize].0.to_owned()
        };
        (0..keys).map(of).collect()
    }

    #[test]
    fn shares_follow_the_weights() {
        let all = targets(&[("a", "1"), ("b", "2"), ("c", "1")], 40_000);
        let share = |name: &str| all.iter().filter(|it| *it == name).count() as f64 / 40_000.0;
        for (name, part) in [("a", 0.25), ("b", 0.5), ("c", 0.25)] {
            assert!((share(name) - part).abs() < 0.06, "{name}: {}", share(name));
        }
    }

    #[test]
    fn a_binding_that_goes_moves_only_its_share() {
        let before = targets(&[("a", "1"), ("b", "1"), ("c", "1")], 10_000);
        // In another order, as a list of bindings has none.
        let after = targets(&[("c", "1"), ("a", "1")], 10_000);
        let mut moved = 0;
        for (was, is) in before.iter().zip(&after) {
            if was == "b" {
                moved += 1;
            } else {
                assert_eq!(was, is, "what is not b's stays where it was");
            }
        }
        assert!(moved > 2_000, "{moved}");
    }

    #[test]
    fn two_bindings_of_one_target_are_one_share() {
        let twice = targets(&[("a", "1"), ("a", "2"), ("b", "3")], 10_000);
        assert_eq!(twice, targets(&[("a", "3"), ("b", "3")], 10_000));
    }

    #[test]
    fn weights_are_checked() {
        for key in ["", "0", "-1", "1.5", "many", "1001"] {
            let error = ring(&[("a", key)]).err().expect(key);
            assert!(error.contains(&format!("and not '{key}'")), "{error}");
        }
        let routing = Routing { key: b"k", values: vec![] };
        let mut chosen = Vec::new();
        ring(&[]).expect("empty").route(&routing, &mut chosen).expect("routed");
        assert!(chosen.is_empty(), "nothing is bound");
    }

    #[test]
    fn what_decides_is_said_at_the_declaration() {
        let declare = |arguments: Vec<Argument<'_>>| {
            let declared = ConsistentHash.declare(&ExchangeSpec { name: "x", arguments });
            declared.map(|exchange| exchange.reads())
        };
        use crossdock_plugin::Value;
        let of = |name, text| Argument { name, value: Value::Text(text) };
        assert_eq!(declare(vec![]), Ok(vec![]));
        assert_eq!(declare(vec![of("hash-header", "h")]), Ok(vec!["header:h".to_owned()]));
        let property = declare(vec![of("hash-property", "message_id")]);
        assert_eq!(property, Ok(vec!["property:message_id".to_owned()]));
        for (arguments, why) in [
            (vec![of("hash-property", "x")], "can be one of"),
            (vec![of("hash-header", "h"), of("hash-property", "message_id")], "cannot both"),
            (vec![of("hash-header", "")], "empty"),
            (vec![Argument { name: "hash-header", value: Value::Integer("1") }], "not a text"),
        ] {
            assert!(declare(arguments).expect_err(why).contains(why));
        }
    }
}
