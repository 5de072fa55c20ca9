//! What a queue is declared with: limits, life, dead letter; and how two declarations of one queue compare.

use super::arguments;
use crate::message::cost::Cost;
use crate::message::{Address, Key, Message, Name, Value, lookup};

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

impl Cost for QueueSpec {
    fn cost(&self) -> usize {
        size_of::<QueueSpec>() + self.name.cost() + self.arguments.as_slice().cost()
    }
}

impl QueueSpec {
    /// A durable queue that stays.
    pub fn durable(name: impl Into<Name>) -> Self {
        Self { name: name.into(), durable: true, ..Self::default() }
    }

    /// A durable queue that is kept for that group of named sessions, while one of them is a member: see
    /// `Session::join_group`.
    pub fn group(name: impl Into<Name>, group: Name) -> Self {
        let arguments = vec![(GROUP.into(), Value::Bool(true))];
        Self { kept_for: Some(group), arguments, ..Self::durable(name) }
    }

    /// True for [`QueueSpec::group`].
    pub fn is_group(&self) -> bool {
        self.kept_for.is_some() && self.argument(GROUP).is_some()
    }

    /// The address for what leaves a message's queue, given where it had been published.
    pub fn dead_letter_address(&self, published: &Address) -> Option<Address> {
        let (exchange, key) = self.dead_letter.as_ref()?;
        Some(match key {
            Some(key) => Address::new(exchange.clone(), key.clone()),
            None => published.at(exchange),
        })
    }

    /// Its limit of bytes counts whole messages: that is the house's, on what is kept for subscribers who are away, and
    /// is about room. A limit that clients ask for counts bodies.
    pub fn counts_whole(&self) -> bool {
        self.kept_for.is_some() && self.limits.bytes.is_none()
    }

    /// Bytes of a message that its limit counts.
    #[inline]
    pub fn counted(&self, message: &Message) -> usize {
        counted(message, self.counts_whole())
    }

    /// The name of the first setting in which another declaration differs, for "inequivalent" errors. Arguments that
    /// nothing reads take no part. Limits that a subscriber does not ask for take none either: earlier versions put
    /// some there.
    pub fn differs(&self, other: &QueueSpec) -> Option<&'static str> {
        let checks = [
            ("durable", self.durable == other.durable),
            ("auto_delete", self.auto_delete == other.auto_delete),
            ("exclusive", self.life == other.life),
        ];
        if let Some((name, _)) = checks.iter().find(|(_, is_same)| !is_same) {
            return Some(name);
        }
        if self.kind() != other.kind() {
            return Some(arguments::KIND);
        }
        let is_same = |name: &str| match (self.argument(name), other.argument(name)) {
            _ if name == arguments::KIND => true,
            (Some(x), Some(y)) => x.equals(y),
            (Some(_), None) => other.kept_for.is_some() && LENGTHS.contains(&name),
            (x, y) => x.is_none() && y.is_none(),
        };
        Self::ARGUMENTS.into_iter().find(|name| !is_same(name))
    }

    /// What is wrong with another declaration that differs in that setting: what it wants, and what is.
    pub fn contrast(&self, other: &QueueSpec, setting: &str) -> String {
        let plain = |spec: &QueueSpec| match setting {
            "durable" => spec.durable.to_string(),
            "auto_delete" => spec.auto_delete.to_string(),
            "exclusive" => (spec.life == Life::Exclusive).to_string(),
            argument => spec.argument(argument).map(shown).unwrap_or_default(),
        };
        let typed = |spec: &QueueSpec| match spec.argument(setting) {
            None => "none".to_owned(),
            Some(value) => format!("the value '{}' of type '{}'", shown(value), value.type_name()),
        };
        let is_alone = |spec: &QueueSpec| spec.argument(setting).is_none();
        match setting.starts_with("x-") && (is_alone(self) || is_alone(other)) {
            true => format!("received {} but current is {}", typed(other), typed(self)),
            false => format!("received '{}' but current is '{}'", plain(other), plain(self)),
        }
    }

    fn argument(&self, name: &str) -> Option<&Value> {
        lookup(&self.arguments, name)
    }
}

/// Bytes of a message that a limit counts.
#[inline]
pub fn counted(message: &Message, is_whole: bool) -> usize {
    if is_whole { message.size() } else { message.body().len() }
}

/// The argument of a group's queue. What clients declare with it is no such queue: only the broker's own adapters say
/// for whom a queue is kept.
const GROUP: &str = "crossdock.ends-with-members";

/// Arguments that say how much a queue may hold.
const LENGTHS: [&str; 2] = ["x-max-length", "x-max-length-bytes"];

fn shown(value: &Value) -> String {
    crate::message::carry::to_text(value).0.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::BadDeclare;
    use super::*;

    fn spec(arguments: &[(&str, Value)]) -> Result<QueueSpec, BadDeclare> {
        let arguments = arguments.iter().map(|(n, v)| ((*n).into(), v.clone())).collect();
        QueueSpec::durable("q").with_arguments(arguments)
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
        assert_eq!(a.contrast(&c, "x-max-length"), "received '6' but current is '5'");
        let alone = a.contrast(&QueueSpec::durable("q"), "x-max-length");
        assert_eq!(alone, "received none but current is the value '5' of type 'byte'");
        assert_eq!(a.contrast(&b, "durable"), "received 'true' but current is 'true'");
    }

    #[test]
    fn equivalence_knows_the_type_and_not_what_nothing_reads() {
        let plain = QueueSpec::durable("q");
        let classic = spec(&[("x-queue-type", Value::text("classic"))]).expect("valid");
        let quorum = spec(&[("x-queue-type", Value::text("quorum"))]).expect("valid");
        assert_eq!((plain.differs(&classic), classic.differs(&plain)), (None, None));
        assert_eq!(plain.differs(&quorum), Some("x-queue-type"));
        let foo = |n| spec(&[("foo", Value::I32(n))]).expect("valid");
        assert_eq!((foo(1).differs(&foo(2)), foo(1).differs(&plain)), (None, None));
        let lazy = spec(&[("x-queue-mode", Value::text("lazy"))]).expect("valid");
        assert_eq!(lazy.differs(&plain), Some("x-queue-mode"));
    }
}
