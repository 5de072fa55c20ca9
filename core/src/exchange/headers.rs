//! The headers matcher: a binding's arguments against a message's headers. `x-match` is `all` (default), `any`,
//! `all-with-x` or `any-with-x`; without "-with-x", arguments whose name begins with `x-` take no part.

use super::{Binding, FieldsOf, Hit, Matcher, lists};
use crate::message::{Fields, Key, Value, lookup};
use std::sync::Arc;

/// Bindings, tried one by one.
#[derive(Default)]
pub struct Headers(Vec<Arc<Binding>>);

fn hit(binding: &Binding, fields: &Fields) -> bool {
    let mode = lookup(&binding.arguments, "x-match").and_then(Value::as_str).unwrap_or("all");
    let with_x = mode.ends_with("-with-x");
    let mut wanted = binding
        .arguments
        .iter()
        .filter(|(n, _)| &**n != "x-match" && (with_x || !n.starts_with("x-")));
    // A void value asks only for the header's presence.
    let holds = |(name, want): &(crate::message::Name, Value)| match (fields.header(name), want) {
        (Some(_), Value::Null) => true,
        (Some(is), want) => is.equals(want),
        (None, _) => false,
    };
    match mode.starts_with("any") {
        true => wanted.any(holds),
        false => wanted.all(holds),
    }
}

impl Matcher for Headers {
    fn bind(&mut self, binding: Arc<Binding>) {
        self.0.push(binding);
    }

    fn unbind(&mut self, binding: &Binding) -> bool {
        lists::remove(&mut self.0, binding)
    }

    fn route(&self, _key: &Key, fields: FieldsOf<'_>, out: &mut Vec<Hit>) {
        if self.0.is_empty() {
            return;
        }
        let fields = fields();
        out.extend(self.0.iter().filter(|b| hit(b, fields)).map(|b| Hit::of(b)));
    }

    fn reads_fields(&self) -> bool {
        true
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LogId, Target};
    use super::*;

    fn check(arguments: &[(&str, Value)], headers: &[(&str, Value)]) -> bool {
        let own = |list: &[(&str, Value)]| {
            list.iter().map(|(n, v)| ((*n).into(), v.clone())).collect::<Vec<_>>()
        };
        let mut binding = Binding::new("h", Key::default(), Target::Log(LogId(1)));
        binding.arguments = own(arguments);
        hit(&binding, &Fields { headers: own(headers), ..Fields::default() })
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
}
