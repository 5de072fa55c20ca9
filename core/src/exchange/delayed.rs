//! Exchanges that keep a message for the time that its header says, and route it then: which bindings it meets is told
//! by another kind, which the exchange names.

use super::{Binding, ExchangeSpec, FieldsOf, Hit, Kind, Matcher};
use crate::error::{Error, ErrorKind};
use crate::message::{Fields, Key, Name, Value, lookup};
use std::sync::Arc;

/// The argument of the exchange that names the kind that routes.
pub const ROUTED_BY: &str = "x-delayed-type";
/// The header of a message that has the time, in milliseconds. Not above 0: it has waited, or does not have to.
const DELAY: &str = "x-delay";
/// Milliseconds of a delay: 32 bits, some 49 days.
const DELAY_MAX_MS: i64 = u32::MAX as i64;

/// How long an exchange keeps a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delay {
    pub exchange: Name,
    pub ms: u64,
    /// Further keys by which it is routed then: those of the copies of the publish, by whichever it got there.
    pub copies: Box<[Key]>,
}

/// The kind that routes for an exchange of that sort. `Invalid`: none is named, or none that can.
pub fn routed_by(spec: &ExchangeSpec) -> Result<Kind, Error> {
    let named = lookup(&spec.arguments, ROUTED_BY).and_then(Value::as_str);
    let kind = named.and_then(|name| Kind::parse(name).ok());
    let kind = kind.filter(|kind| !matches!(kind, Kind::Delayed | Kind::Foreign(_)));
    let kind = kind.ok_or_else(|| {
        let detail = format!("Invalid argument, '{ROUTED_BY}' must be an existing exchange type");
        Error::new(ErrorKind::Invalid, detail)
    })?;
    ExchangeSpec { kind, ..spec.clone() }.check()?;
    Ok(kind)
}

fn asked(fields: &Fields) -> Option<i64> {
    match fields.header(DELAY)? {
        Value::Text(text) => text.trim().parse().ok(),
        number => number.as_i64(),
    }
}

/// Milliseconds that a message is to be kept; none: it goes on at once. `Invalid`: longer than it can be.
pub fn delay_of(fields: &Fields) -> Result<Option<u64>, Error> {
    match asked(fields) {
        Some(ms @ 1..=DELAY_MAX_MS) => Ok(u64::try_from(ms).ok()),
        Some(ms) if ms > DELAY_MAX_MS => {
            let detail = format!("{DELAY} is {ms}, and can be {DELAY_MAX_MS} ms at most");
            Err(Error::new(ErrorKind::Invalid, detail))
        }
        _ => Ok(None),
    }
}

/// The headers of a message whose time has come: its delay is below 0, as readers of RabbitMQ's plugin have it.
pub fn waited(fields: &Fields) -> Fields {
    let mut waited = fields.clone();
    for (name, value) in &mut waited.headers {
        if &**name == DELAY {
            let ms = asked(fields).unwrap_or_default();
            *value = Value::I64(-ms);
        }
    }
    waited
}

/// The bindings, as the kind that routes has them.
pub struct Delayed(Box<dyn Matcher>);

impl Delayed {
    /// Without bindings. A kind that is not known any more routes to nobody.
    pub fn new(spec: &ExchangeSpec) -> Self {
        let kind = routed_by(spec).unwrap_or(Kind::Direct);
        Self(ExchangeSpec { kind, ..spec.clone() }.matcher(false))
    }
}

impl Matcher for Delayed {
    fn bind(&mut self, binding: Arc<Binding>) {
        self.0.bind(binding);
    }

    fn unbind(&mut self, binding: &Binding) -> bool {
        self.0.unbind(binding)
    }

    fn check(&self, binding: &Binding) -> Result<(), Error> {
        self.0.check(binding)
    }

    fn route(&self, key: &Key, fields: FieldsOf<'_>, out: &mut Vec<Hit>) {
        self.0.route(key, fields, out);
    }

    fn reads_fields(&self) -> bool {
        // Whether a message has to wait stands in its header.
        true
    }

    fn steps(&self) -> usize {
        self.0.steps()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn bindings(&self) -> Vec<Arc<Binding>> {
        self.0.bindings()
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_a_number_above_nothing() {
        let of = |value: Value| {
            delay_of(&Fields { headers: vec![(DELAY.into(), value)], ..Fields::default() })
        };
        for (value, ms) in [
            (Value::I32(5), Some(5)),
            (Value::I64(DELAY_MAX_MS), Some(DELAY_MAX_MS as u64)),
            (Value::text(" 7 "), Some(7)),
            (Value::I64(0), None),
            (Value::I64(-5), None),
            (Value::text("soon"), None),
            (Value::Bool(true), None),
        ] {
            assert_eq!(of(value.clone()), Ok(ms), "{value:?}");
        }
        assert!(of(Value::I64(DELAY_MAX_MS + 1)).is_err());
        assert_eq!(delay_of(&Fields::default()), Ok(None));
    }

    #[test]
    fn what_has_waited_does_not_wait_again() {
        let headers = vec![("a".into(), Value::I32(1)), (DELAY.into(), Value::I32(5))];
        let waited = waited(&Fields { headers, ..Fields::default() });
        assert_eq!(waited.header(DELAY), Some(&Value::I64(-5)));
        assert_eq!((delay_of(&waited), waited.headers.len()), (Ok(None), 2));
    }
}
