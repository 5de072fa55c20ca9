//! What a queue is declared with: limits, life, dead letter, and the arguments they are written as.

use crate::error::{Error, ErrorKind};
use crate::message::cost::Cost;
use crate::message::{Address, Key, Name, Value, lookup, same_arguments};

/// What happens at a length limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The oldest ready message leaves (dead-lettered if there is an address).
    #[default]
    DropHead,
    /// The new message is refused.
    RejectNew,
    /// The new message is refused, and dead-lettered.
    RejectNewDeadLetter,
}

/// Length limits; they count ready messages only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    pub messages: Option<u64>,
    pub bytes: Option<u64>,
    pub overflow: Overflow,
}

/// How long a queue lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Life {
    #[default]
    Permanent,
    /// Only its declaring connection sees it, and it goes with that connection.
    Exclusive,
}

/// A queue as declared.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QueueSpec {
    pub name: Name,
    pub durable: bool,
    pub life: Life,
    /// Goes with its last consumer.
    pub auto_delete: bool,
    /// Milliseconds without a use after which it is deleted.
    pub expires_ms: Option<u64>,
    /// Time to live of its messages, milliseconds.
    pub ttl_ms: Option<u64>,
    pub limits: Limits,
    /// The exchange that what leaves without being accepted goes to, and a key instead of its own.
    pub dead_letter: Option<(Name, Option<Key>)>,
    /// Priorities 0..=max are ordered; none: priority is ignored.
    pub max_priority: Option<u8>,
    /// Failed deliveries after which a message is dead-lettered.
    pub delivery_limit: Option<u16>,
    /// Only one consumer at a time gets messages.
    pub single_active: bool,
    /// The subscriber that it keeps messages for while that is away: it never refuses a publisher, and has limits that
    /// all such queues share. None: an ordinary queue.
    pub kept_for: Option<Name>,
    /// As declared, for comparison and display.
    pub arguments: Vec<(Name, Value)>,
}

/// The delivery limit of queues that have somewhere to send what fails (docs/SEMANTICS.md, reliability).
const DELIVERY_LIMIT_DEFAULT: u16 = 20;

impl Cost for QueueSpec {
    fn cost(&self) -> usize {
        size_of::<QueueSpec>() + self.name.cost() + self.arguments.as_slice().cost()
    }
}

impl QueueSpec {
    /// The arguments that have an effect. Clients may give others, which are kept and compared.
    pub const ARGUMENTS: [&str; 11] = [
        "x-message-ttl",
        "x-expires",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-overflow",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-single-active-consumer",
        "x-delivery-limit",
        "x-queue-type",
    ];

    /// A durable queue that stays.
    pub fn durable(name: impl Into<Name>) -> Self {
        Self { name: name.into(), durable: true, ..Self::default() }
    }

    /// Reads the queue arguments that the field writes with `x-` names. Unknown ones are kept and compared.
    pub fn with_arguments(mut self, arguments: Vec<(Name, Value)>) -> Result<Self, Error> {
        let number = |name: &str| whole_number(&arguments, name);
        self.ttl_ms = number("x-message-ttl")?;
        self.expires_ms = number("x-expires")?;
        if self.expires_ms == Some(0) {
            return Err(invalid("x-expires", "must be above 0"));
        }
        self.limits.messages = number("x-max-length")?;
        self.limits.bytes = number("x-max-length-bytes")?;
        self.max_priority = match number("x-max-priority")? {
            Some(n) => Some(u8::try_from(n).map_err(|_| invalid("x-max-priority", "0 to 255"))?),
            None => None,
        };
        self.limits.overflow = match string(&arguments, "x-overflow")? {
            None | Some("drop-head") => Overflow::DropHead,
            Some("reject-publish") => Overflow::RejectNew,
            Some("reject-publish-dlx") => Overflow::RejectNewDeadLetter,
            Some(_) => return Err(invalid("x-overflow", "unknown policy")),
        };
        self.dead_letter = dead_letter(&arguments)?;
        self.single_active = match lookup(&arguments, "x-single-active-consumer") {
            None => false,
            Some(Value::Bool(b)) => *b,
            Some(_) => return Err(invalid("x-single-active-consumer", "not a boolean")),
        };
        let kind = string(&arguments, "x-queue-type")?;
        if !matches!(kind, None | Some("classic" | "quorum")) {
            return Err(invalid("x-queue-type", "only classic and quorum are known"));
        }
        let limit = number("x-delivery-limit")?.map(|n| u16::try_from(n).unwrap_or(u16::MAX));
        let has_default = self.dead_letter.is_some() || kind == Some("quorum");
        self.delivery_limit = limit.or(has_default.then_some(DELIVERY_LIMIT_DEFAULT));
        self.arguments = arguments;
        Ok(self)
    }

    /// The address for what leaves a message's queue, given where it had been published.
    pub fn dead_letter_address(&self, published: &Address) -> Option<Address> {
        let (exchange, key) = self.dead_letter.as_ref()?;
        Some(match key {
            Some(key) => Address::new(exchange.clone(), key.clone()),
            None => published.at(exchange),
        })
    }

    /// A setting as errors show it.
    pub fn show(&self, setting: &str) -> String {
        match setting {
            "durable" => format!("'{}'", self.durable),
            "auto_delete" => format!("'{}'", self.auto_delete),
            "exclusive" => format!("'{}'", self.life == Life::Exclusive),
            argument => match lookup(&self.arguments, argument) {
                None => "none".to_owned(),
                Some(value) => {
                    let text = crate::message::carry::to_text(value).0;
                    format!("the value '{text}' of type '{}'", type_name(value))
                }
            },
        }
    }

    /// The name of the first setting in which another declaration differs, for "inequivalent" errors. Limits that a
    /// subscriber does not ask for take no part: earlier versions put some there.
    pub fn differs(&self, other: &QueueSpec) -> Option<&'static str> {
        let checks = [
            ("durable", self.durable == other.durable),
            ("auto_delete", self.auto_delete == other.auto_delete),
            ("exclusive", self.life == other.life),
        ];
        if let Some((name, _)) = checks.iter().find(|(_, is_same)| !is_same) {
            return Some(name);
        }
        let (a, b) = (&self.arguments, &other.arguments);
        let is_same = |name: &&&str| match (lookup(a, name), lookup(b, name)) {
            (Some(x), Some(y)) => x.equals(y),
            (Some(_), None) => other.kept_for.is_some() && LENGTHS.contains(name),
            (x, y) => x.is_none() && y.is_none(),
        };
        if let Some(name) = Self::ARGUMENTS.iter().find(|name| !is_same(name)) {
            return Some(name);
        }
        let rest = |all: &[(Name, Value)]| -> Vec<(Name, Value)> {
            let others = all.iter().filter(|(name, _)| !LENGTHS.contains(&&**name));
            others.cloned().collect()
        };
        let is_other = !same_arguments(a, b) && !same_arguments(&rest(a), &rest(b));
        is_other.then_some("arguments")
    }
}

/// Arguments that say how much a queue may hold.
const LENGTHS: [&str; 2] = ["x-max-length", "x-max-length-bytes"];

fn invalid(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("invalid arg '{name}': {why}"))
}

/// The field's names for the types of arguments.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::I8(_) => "byte",
        Value::I16(_) => "short",
        Value::I32(_) => "signedint",
        Value::I64(_) => "long",
        Value::U8(_) => "unsignedbyte",
        Value::U16(_) => "unsignedshort",
        Value::U32(_) => "unsignedint",
        Value::Text(_) | Value::Symbol(_) => "longstr",
        Value::F32(_) => "float",
        Value::F64(_) => "double",
        Value::Timestamp(_) => "timestamp",
        Value::List(_) => "array",
        Value::Map(_) => "table",
        Value::Bytes(_) => "binary",
        Value::Decimal { .. } => "decimal",
        _ => "void",
    }
}

fn whole_number(arguments: &[(Name, Value)], name: &str) -> Result<Option<u64>, Error> {
    match lookup(arguments, name) {
        None => Ok(None),
        Some(value) => match value.as_i64().and_then(|n| u64::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(invalid(name, "not a whole number of 0 or more")),
        },
    }
}

fn string<'a>(arguments: &'a [(Name, Value)], name: &str) -> Result<Option<&'a str>, Error> {
    match lookup(arguments, name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or_else(|| invalid(name, "not a string")),
    }
}

fn dead_letter(arguments: &[(Name, Value)]) -> Result<Option<(Name, Option<Key>)>, Error> {
    let exchange = string(arguments, "x-dead-letter-exchange")?;
    let key = string(arguments, "x-dead-letter-routing-key")?.map(Key::from);
    match (exchange, key) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(invalid("x-dead-letter-routing-key", "without an exchange")),
        // The argument is written with dots; only the default exchange takes it as it is.
        (Some(""), key) => Ok(Some((Name::default(), key))),
        (Some(name), key) => Ok(Some((name.into(), key.map(|k| k.swapped())))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(arguments: &[(&str, Value)]) -> Result<QueueSpec, Error> {
        let arguments = arguments.iter().map(|(n, v)| ((*n).into(), v.clone())).collect();
        QueueSpec::durable("q").with_arguments(arguments)
    }

    #[test]
    fn arguments_are_read_and_checked() {
        let q = spec(&[
            ("x-message-ttl", Value::I32(500)),
            ("x-max-priority", Value::I8(10)),
            ("x-dead-letter-exchange", Value::text("dlx")),
            ("x-dead-letter-routing-key", Value::text("a.b")),
        ]);
        let q = q.expect("valid");
        assert_eq!((q.ttl_ms, q.max_priority, q.delivery_limit), (Some(500), Some(10), Some(20)));
        assert_eq!(q.dead_letter, Some(("dlx".into(), Some("a/b".into()))));
        for bad in [
            ("x-message-ttl", Value::I32(-1)),
            ("x-message-ttl", Value::text("5")),
            ("x-expires", Value::I32(0)),
            ("x-max-priority", Value::I32(256)),
            ("x-overflow", Value::text("spill")),
            ("x-queue-type", Value::text("stream")),
            ("x-dead-letter-routing-key", Value::text("k")),
        ] {
            assert_eq!(spec(&[bad]).map_err(|e| e.kind()), Err(ErrorKind::Invalid));
        }
    }

    #[test]
    fn equivalence_compares_numbers_by_value() {
        let a = spec(&[("x-max-length", Value::I8(5))]).expect("valid");
        let b = spec(&[("x-max-length", Value::I64(5))]).expect("valid");
        let c = spec(&[("x-max-length", Value::I64(6))]).expect("valid");
        assert_eq!(a.differs(&b), None);
        assert_eq!(a.differs(&c), Some("x-max-length"));
        assert_eq!(a.differs(&QueueSpec::durable("q")), Some("x-max-length"));
        // A subscriber that asks for no limit takes up what earlier versions made for it, and no other.
        let asked = QueueSpec { kept_for: Some("me".into()), ..QueueSpec::durable("q") };
        assert_eq!(a.differs(&asked), None);
        let limited = QueueSpec { kept_for: Some("me".into()), ..c.clone() };
        assert_eq!(a.differs(&limited), Some("x-max-length"));
        assert_eq!(a.show("x-max-length"), "the value '5' of type 'byte'");
        assert_eq!((a.show("x-expires"), a.show("durable")), ("none".into(), "'true'".into()));
    }
}
