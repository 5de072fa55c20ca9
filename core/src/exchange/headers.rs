//! The headers matcher: a binding's arguments against a message's headers. `x-match` is `all` (default), `any`,
//! `all-with-x` or `any-with-x`; without "-with-x", arguments whose name begins with `x-` take no part.

use super::{Binding, Bindings, FieldsOf, Hit, Matcher};
use crate::error::{Error, ErrorKind};
use crate::message::carry::to_text;
use crate::message::cost::{ALLOCATION, Cost};
use crate::message::{Key, Name, Value, lookup};
use std::collections::HashMap;
use std::sync::Arc;

/// Headers of a message that are cheaper to scan for each name than to index.
const SCANNED_MAX: usize = 8;

/// The argument that says how many of the others have to match.
const MODE: &str = "x-match";

/// Bindings, tried one by one.
#[derive(Default)]
pub struct Headers {
    list: Bindings,
    /// What each binding of the list asks for, at the same place.
    asked: Vec<Asked>,
    /// Pairs of all of them.
    pairs: usize,
    /// Their bytes.
    bytes: usize,
}

/// A binding's arguments, split once.
struct Asked {
    /// One pair is enough.
    any: bool,
    /// The pairs that take part.
    pairs: Box<[(Name, Value)]>,
}

impl Asked {
    fn of(binding: &Binding) -> Self {
        let mode = lookup(&binding.arguments, MODE).and_then(Value::as_str).unwrap_or("all");
        let with_x = mode.ends_with("-with-x");
        let takes_part = |name: &str| name != MODE && (with_x || !name.starts_with("x-"));
        let pairs = binding.arguments.iter().filter(|(name, _)| takes_part(name)).cloned();
        Self { any: mode.starts_with("any"), pairs: pairs.collect() }
    }

    fn is_met(&self, headers: &Present<'_>) -> bool {
        // A void value asks only for the header's presence.
        let mut holds = self.pairs.iter().map(|(name, want)| match (headers.get(name), want) {
            (Some(_), Value::Null) => true,
            (Some(is), want) => is.equals(want),
            (None, _) => false,
        });
        match self.any {
            true => holds.any(|holds| holds),
            false => holds.all(|holds| holds),
        }
    }

    fn bytes(&self) -> usize {
        // Names and texts are shared with the binding.
        let pairs = self.pairs.len() * size_of::<(Name, Value)>();
        let owned = |value: &Value| match value {
            Value::List(_) | Value::Map(_) => value.cost(),
            _ => 0,
        };
        let values: usize = self.pairs.iter().map(|(_, value)| owned(value)).sum();
        size_of::<Self>() + ALLOCATION + pairs + values
    }
}

/// The headers of a message: many are indexed, once for all bindings.
enum Present<'m> {
    Few(&'m [(Name, Value)]),
    Many(HashMap<&'m str, &'m Value>),
}

impl<'m> Present<'m> {
    fn of(headers: &'m [(Name, Value)]) -> Self {
        if headers.len() <= SCANNED_MAX {
            return Self::Few(headers);
        }
        let mut index = HashMap::with_capacity(headers.len());
        for (name, value) in headers {
            // Of repeated names the first wins.
            index.entry(name.as_str()).or_insert(value);
        }
        Self::Many(index)
    }

    fn get(&self, name: &str) -> Option<&'m Value> {
        match self {
            Self::Few(headers) => lookup(headers, name),
            Self::Many(index) => index.get(name).copied(),
        }
    }
}

/// How many pairs of a binding have to be there.
const MODES: [&str; 4] = ["all", "any", "all-with-x", "any-with-x"];

impl Matcher for Headers {
    fn check(&self, binding: &Binding) -> Result<(), Error> {
        let Some(mode) = lookup(&binding.arguments, MODE) else { return Ok(()) };
        let detail = match mode.as_str() {
            Some(word) if MODES.contains(&word) => return Ok(()),
            Some(word) => {
                format!("Invalid x-match field value \"{word}\"; expected {}", MODES.join(", "))
            }
            None => {
                let (kind, value) = (mode.type_name(), to_text(mode).0);
                format!("Invalid x-match field type {kind} (value {value}); expected longstr")
            }
        };
        Err(Error::new(ErrorKind::Invalid, detail))
    }

    fn bind(&mut self, binding: Arc<Binding>) {
        let asked = Asked::of(&binding);
        self.bytes += asked.bytes();
        self.pairs += asked.pairs.len();
        let (at, _) = self.list.put(binding);
        match self.asked.get_mut(at) {
            Some(there) => {
                let old = std::mem::replace(there, asked);
                self.bytes -= old.bytes();
                self.pairs -= old.pairs.len();
            }
            None => self.asked.push(asked),
        }
    }

    fn unbind(&mut self, binding: &Binding) -> bool {
        let Some((at, _)) = self.list.remove(binding) else { return false };
        if at < self.asked.len() {
            let gone = self.asked.swap_remove(at);
            self.bytes -= gone.bytes();
            self.pairs -= gone.pairs.len();
        }
        if self.asked.len() < self.asked.capacity() / 4 {
            self.asked.shrink_to(self.asked.len() * 2);
        }
        true
    }

    fn route(&self, _key: &Key, fields: FieldsOf<'_>, out: &mut Vec<Hit>) {
        if self.list.is_empty() {
            return;
        }
        let headers = Present::of(&fields().headers);
        let met = self.list.as_slice().iter().zip(&self.asked);
        out.extend(met.filter(|(_, asked)| asked.is_met(&headers)).map(|(b, _)| Hit::of(b)));
    }

    fn reads_fields(&self) -> bool {
        true
    }

    fn steps(&self) -> usize {
        self.pairs
    }

    fn len(&self) -> usize {
        self.list.len()
    }

    fn bindings(&self) -> Vec<Arc<Binding>> {
        self.list.as_slice().to_vec()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LogId, Target};
    use super::*;
    use crate::message::Fields;

    fn check(arguments: &[(&str, Value)], headers: &[(&str, Value)]) -> bool {
        let own = |list: &[(&str, Value)]| {
            list.iter().map(|(n, v)| ((*n).into(), v.clone())).collect::<Vec<_>>()
        };
        let mut binding = Binding::new("h", Key::default(), Target::Log(LogId(1)));
        binding.arguments = own(arguments);
        let mut few = own(headers);
        let found = Asked::of(&binding).is_met(&Present::of(&few));
        // The same with so many others in front and behind that headers are indexed.
        few.splice(0..0, (0..9).map(|n| (format!("other{n}").into(), Value::I32(n))));
        let mut many = Headers::default();
        many.bind(Arc::new(binding));
        let (fields, mut out) = (Fields { headers: few, ..Fields::default() }, Vec::new());
        many.route(&Key::default(), &|| &fields, &mut out);
        assert_eq!(out.len() == 1, found);
        found
    }

    #[test]
    fn all_four_modes() {
        let (a, b) = (("a", Value::I32(1)), ("b", Value::text("2")));
        let x = ("x-c", Value::Bool(true));
        let mode = |m: &str| ("x-match", Value::text(m));
        assert!(check(&[a.clone(), b.clone()], &[a.clone(), b.clone()]));
        assert!(!check(&[a.clone(), b.clone()], std::slice::from_ref(&a)));
        assert!(check(&[mode("any"), a.clone(), b.clone()], std::slice::from_ref(&b)));
        assert!(check(&[mode("all"), a.clone(), x.clone()], &[("a", Value::U64(1))]));
        assert!(!check(&[mode("all-with-x"), a.clone(), x.clone()], std::slice::from_ref(&a)));
        assert!(check(&[mode("any-with-x"), x.clone()], std::slice::from_ref(&x)));
        assert!(!check(&[mode("any")], std::slice::from_ref(&a)));
        assert!(check(&[mode("all")], &[a]));
    }

    #[test]
    fn a_void_argument_asks_for_presence() {
        assert!(check(&[("k", Value::Null)], &[("k", Value::I8(0))]));
        assert!(!check(&[("k", Value::Null)], &[]));
        assert!(!check(&[("k", Value::text("1"))], &[("k", Value::I32(1))]));
    }

    #[test]
    fn what_a_binding_asks_for_stays_beside_it() {
        let binding = |n: u64| {
            let mut binding = Binding::new("h", Key::default(), Target::Log(LogId(n)));
            binding.arguments = vec![("n".into(), Value::U64(n))];
            binding
        };
        let met = |all: &Headers, n: u64| {
            let fields = Fields { headers: vec![("n".into(), Value::U64(n))], ..Fields::default() };
            let mut out = Vec::new();
            all.route(&Key::default(), &|| &fields, &mut out);
            out.iter().map(|hit| hit.target.clone()).collect::<Vec<_>>()
        };
        let mut all = Headers::default();
        for n in (0..40).chain(0..40) {
            all.bind(Arc::new(binding(n)));
        }
        assert_eq!(all.len(), 40);
        for gone in 0..40 {
            assert!(all.unbind(&binding(gone)) && !all.unbind(&binding(gone)));
            for n in 0..40 {
                let want = if n > gone { vec![Target::Log(LogId(n))] } else { Vec::new() };
                assert_eq!(met(&all, n), want, "{n} without {gone}");
            }
        }
        assert_eq!((all.len(), all.bytes()), (0, 0));
    }
}
