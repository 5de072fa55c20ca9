//! Routing: exchanges and their bindings. Pure: a key (and the headers, if a matcher asks) in, hits out.
//!
//! A new kind of exchange is one file here and one line in [`matcher`]; what a plugin brings is in `foreign.rs`.

mod bindings;
pub mod consistent_hash;
pub mod delayed;
mod direct;
mod fanout;
pub mod filter;
mod foreign;
mod headers;
mod one_of;
pub mod recent_history;
mod retained;
pub(crate) mod seen;
pub mod selector;
mod topic;

pub use bindings::Bindings;
pub use foreign::{
    Answer, Asked, ForeignExchange, ForeignKind, ForeignMaker, ForeignTable, Question, Unknown,
    is_readable,
};
pub use retained::{
    FIGURES, Growth, ROUTE_STATE, Retained, RetainedValue, Search, is_figure, is_route_state,
};

use crate::error::{Error, ErrorKind};
use crate::message::cost::{Cost, MAP_ENTRY};
use crate::message::{Fields, Key, Name, Value, lookup, same_arguments};
use recent_history::History;
use std::sync::Arc;

/// Identifies a log (a queue) for ever; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub u64);

/// Identifies a session for ever; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What an adapter wants to know again at delivery: the core reads only `level`, and joins the tags of all the
/// bindings of one target that matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BindingTag {
    /// The highest delivery level this binding asks for.
    pub level: u8,
    /// The adapter's own bits.
    pub flags: u8,
    /// The adapter's own number (a subscription identifier).
    pub id: u32,
}

/// Marks, beside the level, a retained value.
const RETAINED: u8 = 0x80;
/// Marks, beside the level, what came by a reply address.
const REPLY: u8 = 0x40;

/// The joined tags of all bindings of one target that a message met.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags(Option<Arc<[BindingTag]>>);

impl Tags {
    /// No tag costs nothing.
    pub fn new(tags: &[BindingTag]) -> Self {
        Self((!tags.is_empty()).then(|| tags.into()))
    }

    /// All of them.
    pub fn as_slice(&self) -> &[BindingTag] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The highest level that was asked for.
    pub fn level(&self) -> u8 {
        self.as_slice().iter().map(|tag| tag.level & !(RETAINED | REPLY)).max().unwrap_or(0)
    }

    /// The tag of a retained value that a new binding replays.
    pub fn of_retained(tag: BindingTag) -> Self {
        Self::new(&[BindingTag { level: tag.level | RETAINED, ..tag }])
    }

    /// The tag of what comes by a reply address: level 0, whatever the tag's.
    pub fn of_reply(tag: BindingTag) -> Self {
        Self::new(&[BindingTag { level: REPLY, ..tag }])
    }

    /// The id of the tag, for [`Tags::of_reply`].
    pub fn reply_id(&self) -> Option<u32> {
        self.as_slice().iter().find(|tag| tag.level & REPLY != 0).map(|tag| tag.id)
    }

    /// True for [`Tags::of_retained`].
    pub fn is_retained(&self) -> bool {
        self.as_slice().iter().any(|tag| tag.level & RETAINED != 0)
    }
}

/// Where a binding leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    Exchange(Name),
    Log(LogId),
    /// A named session: level 0 goes to its inbox, now or never; higher levels to its queue.
    Session(SessionId),
}

/// A rule of one exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    pub source: Name,
    /// A key or a pattern, as the exchange's kind reads it.
    pub key: Key,
    pub arguments: Vec<(Name, Value)>,
    pub target: Target,
    pub tag: BindingTag,
    /// The target session does not get its own publishes.
    pub skip_own: bool,
}

impl Binding {
    /// A binding without arguments and tag.
    pub fn new(source: impl Into<Name>, key: Key, target: Target) -> Self {
        Self {
            source: source.into(),
            key,
            arguments: Vec::new(),
            target,
            tag: BindingTag::default(),
            skip_own: false,
        }
    }

    /// Copies what it shares with a larger buffer, so that it does not keep that in memory.
    pub fn detach(&mut self) {
        self.key = self.key.detached();
        self.arguments.iter_mut().for_each(|(_, value)| value.detach());
    }

    /// The same binding: source, key, target and arguments; a second one replaces the tag.
    pub fn is(&self, other: &Binding) -> bool {
        self.key == other.key
            && self.target == other.target
            && self.source == other.source
            && same_arguments(&self.arguments, &other.arguments)
    }
}

impl Cost for Binding {
    fn cost(&self) -> usize {
        // It stands in two lists, its exchange's and its target's, each with an index.
        let places = 2 * (size_of::<usize>() + MAP_ENTRY);
        size_of::<Binding>() + self.key.cost() + self.arguments.as_slice().cost() + places
    }
}

/// One binding that matched.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    pub target: Target,
    pub tag: BindingTag,
    pub skip_own: bool,
}

impl Hit {
    fn of(binding: &Binding) -> Self {
        Self { target: binding.target.clone(), tag: binding.tag, skip_own: binding.skip_own }
    }
}

/// The headers of a message, decoded when somebody asks.
pub type FieldsOf<'m> = &'m dyn Fn() -> &'m Fields;

/// Which bindings of one exchange a message meets.
pub trait Matcher: Send + Sync {
    /// Adds a binding; it replaces the same one.
    fn bind(&mut self, binding: Arc<Binding>);
    /// Removes the same binding; false when there is none.
    fn unbind(&mut self, binding: &Binding) -> bool;
    /// Adds the hits, duplicates included; `fields` is decoded only if called.
    fn route(&self, key: &Key, fields: FieldsOf<'_>, out: &mut Vec<Hit>);
    /// The same, where a plugin may have to be asked, which is not done under a lock: `answers` are those that were
    /// asked for since. True: by the bindings as they are now, and not as they were when the plugin answered.
    fn route_by(
        &self,
        (key, fields): (&Key, FieldsOf<'_>),
        answers: &[Answer],
        out: &mut Vec<Hit>,
    ) -> Result<bool, Box<Unknown>> {
        let _ = answers;
        self.route(key, fields, out);
        Ok(true)
    }
    /// `Invalid`: its kind, which is the core's own, does not take such a binding.
    fn check(&self, binding: &Binding) -> Result<(), Error> {
        let _ = binding;
        Ok(())
    }
    /// The newest messages, where a new binding gets those from before it, too.
    fn history(&self) -> Option<&Arc<History>> {
        None
    }
    /// Who is asked that, and for routes, where the kind is a plugin's.
    fn asked(&self) -> Option<&Arc<Asked>> {
        None
    }
    /// The result depends on more than the key, so it cannot be cached by key.
    fn reads_fields(&self) -> bool {
        false
    }
    /// Comparisons that a route takes besides one for each hit, about.
    fn steps(&self) -> usize {
        1
    }
    /// How many bindings there are.
    fn len(&self) -> usize;
    /// There are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// All bindings, in no order.
    fn bindings(&self) -> Vec<Arc<Binding>>;
    /// Bytes that are taken to find bindings, besides their own.
    fn bytes(&self) -> usize;
}

/// The kinds of exchange that can be declared. All that is to say about one is its row of [`KINDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Direct,
    Fanout,
    Topic,
    Headers,
    /// `x-random`.
    Random,
    /// `x-local-random`: on one node all queues are local ones.
    LocalRandom,
    /// `x-modulus-hash`.
    ModulusHash,
    /// `x-consistent-hash`.
    ConsistentHash,
    /// `x-delayed-message`.
    Delayed,
    /// `x-recent-history`.
    RecentHistory,
    /// A plugin's.
    Foreign(ForeignKind),
}

/// A kind of exchange of the core's own.
struct KindRow {
    kind: Kind,
    /// As clients, the configuration and the store name it.
    name: &'static str,
    /// A binding concerns only the messages whose key it matches; false: a binding may concern any message.
    is_keyed: bool,
    /// An empty matcher; the argument marks the vhost's topic exchange.
    matcher: fn(bool) -> Box<dyn Matcher>,
}

/// Every kind of the core's own.
const KINDS: [KindRow; 10] = [
    KindRow {
        kind: Kind::Direct,
        name: "direct",
        is_keyed: true,
        matcher: |_| Box::new(direct::Direct::default()),
    },
    KindRow {
        kind: Kind::Fanout,
        name: "fanout",
        is_keyed: false,
        matcher: |_| Box::new(fanout::Fanout::default()),
    },
    KindRow {
        kind: Kind::Topic,
        name: "topic",
        is_keyed: true,
        matcher: |shared_tree| Box::new(topic::Topic::new(shared_tree)),
    },
    KindRow {
        kind: Kind::Headers,
        name: "headers",
        is_keyed: false,
        matcher: |_| Box::new(headers::Headers::default()),
    },
    KindRow {
        kind: Kind::Random,
        name: "x-random",
        is_keyed: false,
        matcher: |_| Box::new(one_of::Random::default()),
    },
    KindRow {
        kind: Kind::LocalRandom,
        name: "x-local-random",
        is_keyed: false,
        matcher: |_| Box::new(one_of::Random::default()),
    },
    KindRow {
        kind: Kind::ModulusHash,
        name: "x-modulus-hash",
        is_keyed: false,
        matcher: |_| Box::new(one_of::ModulusHash::default()),
    },
    KindRow {
        kind: Kind::ConsistentHash,
        name: "x-consistent-hash",
        is_keyed: false,
        // What decides stands in the exchange's arguments: `ExchangeSpec::matcher` reads them.
        matcher: |_| Box::new(direct::Direct::default()),
    },
    KindRow {
        kind: Kind::Delayed,
        name: "x-delayed-message",
        is_keyed: false,
        // What routes stands in the exchange's arguments: `ExchangeSpec::matcher` reads them.
        matcher: |_| Box::new(direct::Direct::default()),
    },
    KindRow {
        kind: Kind::RecentHistory,
        name: "x-recent-history",
        is_keyed: false,
        // How much is kept stands in the exchange's arguments: `ExchangeSpec::matcher` reads them.
        matcher: |_| Box::new(fanout::Fanout::default()),
    },
];

/// A kind of the core's own has that name.
fn is_own(name: &str) -> bool {
    KINDS.iter().any(|row| row.name == name)
}

impl Kind {
    /// The names of the core's own kinds.
    pub const NAMES: [&'static str; KINDS.len()] = {
        let [direct, fanout, topic, headers, random, local, modulus, consistent, delayed, recent] =
            &KINDS;
        [
            direct.name,
            fanout.name,
            topic.name,
            headers.name,
            random.name,
            local.name,
            modulus.name,
            consistent.name,
            delayed.name,
            recent.name,
        ]
    };

    /// None: it is a plugin's.
    fn row(self) -> Option<&'static KindRow> {
        const ROWS: &[KindRow; KINDS.len()] = &KINDS;
        ROWS.iter().find(|row| row.kind == self)
    }

    /// The kind of that name that an exchange can be declared with.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let own = KINDS.iter().find(|row| row.name == name).map(|row| row.kind);
        let known = own.or_else(|| ForeignKind::provided(name).map(Kind::Foreign));
        known.ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("unknown exchange type '{name}'"))
        })
    }

    /// The kind of that name in the store: of a plugin's kind the plugin may be missing now. None: there is no such
    /// kind.
    pub fn stored(name: &str) -> Option<Self> {
        let own = KINDS.iter().find(|row| row.name == name).map(|row| row.kind);
        own.or_else(|| ForeignKind::stored(name).map(Kind::Foreign))
    }

    /// The name clients use.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Foreign(kind) => kind.name(),
            own => own.row().map_or("", |row| row.name),
        }
    }

    /// Whether a binding concerns only the messages whose key it matches.
    pub fn is_keyed(self) -> bool {
        self.row().is_some_and(|row| row.is_keyed)
    }

    /// An empty matcher of an exchange of this kind without arguments; `shared_tree` marks the vhost's topic exchange.
    pub fn matcher(self, shared_tree: bool) -> Box<dyn Matcher> {
        ExchangeSpec::new("", self).matcher(shared_tree)
    }
}

/// The argument that names where unroutable messages go.
const ALTERNATE: &str = "alternate-exchange";

/// What a client declares.
#[derive(Debug, Clone, PartialEq)]
pub struct ExchangeSpec {
    pub name: Name,
    pub kind: Kind,
    pub durable: bool,
    /// Goes with its last binding.
    pub auto_delete: bool,
    /// Only other exchanges publish to it.
    pub internal: bool,
    pub arguments: Vec<(Name, Value)>,
}

impl ExchangeSpec {
    /// The arguments that have an effect. Clients may give others, which are kept, and take no part unless the kind is
    /// a plugin's.
    pub const ARGUMENTS: [&str; 1] = [ALTERNATE];
    /// Those of an exchange that shares messages out by a hash.
    pub const ARGUMENTS_OF_HASH: [&str; 3] =
        [ALTERNATE, consistent_hash::BY_HEADER, consistent_hash::BY_PROPERTY];
    /// Those of an exchange that keeps messages for a time.
    pub const ARGUMENTS_OF_DELAYED: [&str; 4] =
        [ALTERNATE, delayed::ROUTED_BY, consistent_hash::BY_HEADER, consistent_hash::BY_PROPERTY];

    /// Those of an exchange that gives new bindings what came before them.
    pub const ARGUMENTS_OF_RECENT_HISTORY: [&str; 2] = [ALTERNATE, recent_history::LENGTH];

    /// A durable exchange without arguments.
    pub fn new(name: impl Into<Name>, kind: Kind) -> Self {
        let (durable, auto_delete, internal) = (true, false, false);
        Self { name: name.into(), kind, durable, auto_delete, internal, arguments: Vec::new() }
    }

    /// An empty matcher for it; `shared_tree` marks the vhost's topic exchange.
    pub fn matcher(&self, shared_tree: bool) -> Box<dyn Matcher> {
        match (self.kind, self.kind.row()) {
            (Kind::Foreign(kind), _) => Box::new(foreign::Foreign::new(kind, self)),
            (Kind::ConsistentHash, _) => Box::new(consistent_hash::ConsistentHash::new(self)),
            (Kind::Delayed, _) => Box::new(delayed::Delayed::new(self)),
            (Kind::RecentHistory, _) => Box::new(recent_history::RecentHistory::new(self)),
            (_, Some(row)) => (row.matcher)(shared_tree),
            // Every kind of the core's own has its row: a test looks.
            (_, None) => Box::new(fanout::Fanout::default()),
        }
    }

    /// Whether its kind takes its arguments: a plugin is asked. `Invalid`: no, or it cannot be asked.
    pub fn check(&self) -> Result<(), Error> {
        match self.kind {
            Kind::Foreign(kind) => kind.declare(self).map(|_| ()).map_err(foreign::not_taken),
            Kind::ConsistentHash => consistent_hash::check(self),
            Kind::Delayed => delayed::routed_by(self).map(|_| ()),
            Kind::RecentHistory => recent_history::check(self),
            _ => Ok(()),
        }
    }

    /// Where unroutable messages go (argument `alternate-exchange`).
    pub fn alternate(&self) -> Option<&str> {
        lookup(&self.arguments, ALTERNATE).and_then(Value::as_str)
    }

    /// The type of that argument, when it is no name.
    pub fn bad_alternate(&self) -> Option<&'static str> {
        let value = lookup(&self.arguments, ALTERNATE)?;
        value.as_str().is_none().then(|| value.type_name())
    }

    /// The name of the first setting that differs, for "inequivalent" errors.
    pub fn differs(&self, other: &ExchangeSpec) -> Option<&'static str> {
        let has_own = matches!(self.kind, Kind::Foreign(_) | Kind::Delayed | Kind::ConsistentHash);
        let checks = [
            ("type", self.kind == other.kind),
            ("durable", self.durable == other.durable),
            ("auto_delete", self.auto_delete == other.auto_delete),
            ("internal", self.internal == other.internal),
            (ALTERNATE, self.alternate() == other.alternate()),
            ("arguments", !has_own || same_arguments(&self.arguments, &other.arguments)),
        ];
        checks.iter().find(|(_, same)| !same).map(|(name, _)| *name)
    }
}

impl Cost for ExchangeSpec {
    fn cost(&self) -> usize {
        size_of::<ExchangeSpec>() + self.name.cost() + self.arguments.as_slice().cost() + MAP_ENTRY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_finds_its_row() {
        for row in &KINDS {
            assert_eq!(row.kind.row().map(|row| row.name), Some(row.name));
            assert_eq!(Kind::parse(row.name).expect("a known name"), row.kind);
        }
        assert_eq!(Kind::NAMES, KINDS.map(|row| row.name));
        assert_eq!(Kind::parse("x").expect_err("unknown").kind(), ErrorKind::Invalid);
    }

    #[test]
    fn equivalence_compares_what_has_an_effect() {
        let spec = |name: &str, value: Value| ExchangeSpec {
            arguments: vec![(name.into(), value)],
            ..ExchangeSpec::new("x", Kind::Direct)
        };
        let (a, b) = (spec(ALTERNATE, Value::text("a")), spec(ALTERNATE, Value::text("b")));
        assert_eq!((a.differs(&b), a.differs(&a)), (Some(ALTERNATE), None));
        assert_eq!(spec("foo", Value::I8(1)).differs(&spec("foo", Value::I8(2))), None);
        assert_eq!(spec(ALTERNATE, Value::I32(5)).bad_alternate(), Some("signedint"));
        assert_eq!((a.bad_alternate(), spec("foo", Value::Null).bad_alternate()), (None, None));
    }
}
