//! Kinds of exchange that are not the core's own: a plugin brings them. The core keeps their bindings, and asks the
//! plugin which of them a message meets.
//!
//! Such a kind is known by its name in the whole process, as the library behind it is loaded once for all of it and
//! stays. One that only the store names, because its plugin is not configured any more, has no maker: its exchanges and
//! bindings stay, and what is published to them is refused.

use super::{Binding, Bindings, ExchangeSpec, FieldsOf, Hit, Matcher};
use crate::error::{Error, ErrorKind};
use crate::message::carry::text_of;
use crate::message::{Fields, Key, Value};
use parking_lot::{Mutex, RwLock};
use std::sync::{Arc, OnceLock};

/// How the name of such a kind begins, so that it is never taken for one of the core's own.
pub const PREFIX: &str = "x-";
/// Kinds that a process knows at most: names are never forgotten.
const KINDS_MAX: usize = 64;
/// Bytes of a kind's name at most.
const NAME_MAX: usize = 64;
/// What asking a plugin is worth, in comparisons of keys.
const STEPS: usize = 64;

/// Makes exchanges of one kind. Calls return within a time, whatever the plugin does.
pub trait ForeignMaker: Send + Sync {
    /// An exchange with those arguments. `Invalid`: the plugin does not take them; `Unavailable`: it cannot be asked.
    fn declare(&self, spec: &ExchangeSpec) -> Result<Arc<dyn ForeignExchange>, Error>;
}

/// One exchange of such a kind.
pub trait ForeignExchange: Send + Sync {
    /// What it wants to see of a message beside its key: `header:NAME` and `property:NAME`. Nothing: what it chooses
    /// depends on the key alone, and is remembered until a binding changes.
    fn reads(&self) -> &[String];

    /// `Invalid`: such a binding is not taken.
    fn check(&self, binding: &Binding) -> Result<(), Error>;

    /// What is to be known to route by these bindings. `Invalid`: nothing can be routed by them.
    fn compile(&self, bindings: &[Arc<Binding>]) -> Result<Arc<dyn ForeignTable>, Error>;
}

/// Compiled bindings.
pub trait ForeignTable: Send + Sync {
    /// The places of the bindings that a message meets, among those that were compiled. `values`: what the exchange
    /// reads, in its order, each as text.
    fn route(&self, key: &Key, values: Vec<Option<Vec<u8>>>) -> Result<Vec<u32>, Error>;
}

/// Such a kind: its name and, if its plugin is loaded, who makes its exchanges.
struct Known {
    name: &'static str,
    maker: OnceLock<Arc<dyn ForeignMaker>>,
}

/// All such kinds. Few, and never removed.
static KNOWN: RwLock<Vec<&'static Known>> = RwLock::new(Vec::new());

/// A kind of exchange that a plugin brings.
#[derive(Clone, Copy)]
pub struct ForeignKind(&'static Known);

impl std::fmt::Debug for ForeignKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

impl PartialEq for ForeignKind {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for ForeignKind {}

impl std::hash::Hash for ForeignKind {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl ForeignKind {
    /// From now on exchanges of that name can be declared. `Invalid`: no such kind can be named so, or another one is.
    pub fn provide(name: &str, maker: Arc<dyn ForeignMaker>) -> Result<Self, Error> {
        let why = match name.strip_prefix(PREFIX) {
            None | Some("") => Some(format!("does not begin with '{PREFIX}'")),
            Some(_) if super::is_own(name) => Some("is one of the broker's own".to_owned()),
            Some(_) if !is_word(name) => {
                Some("has other characters than letters, digits, '-', '_' and '.'".to_owned())
            }
            Some(_) => None,
        };
        if let Some(why) = why {
            let detail = format!("the exchange type '{name}' {why}");
            return Err(Error::new(ErrorKind::Invalid, detail));
        }
        let kind = Self::intern(name).ok_or_else(|| {
            let detail = format!("there are more than {KINDS_MAX} exchange types of plugins");
            Error::new(ErrorKind::Invalid, detail)
        })?;
        kind.0.maker.set(maker).map_err(|_| {
            let detail = format!("the exchange type '{name}' is there already");
            Error::new(ErrorKind::Invalid, detail)
        })?;
        Ok(kind)
    }

    /// The kind of that name, if its plugin is loaded.
    pub(super) fn provided(name: &str) -> Option<Self> {
        let known = KNOWN.read();
        let mut known = known.iter().filter(|known| known.maker.get().is_some());
        known.find(|known| known.name == name).map(|known| Self(known))
    }

    /// The kind that the store names, whether or not its plugin is loaded. None: no plugin can have brought it.
    pub(super) fn stored(name: &str) -> Option<Self> {
        (name.starts_with(PREFIX) && is_word(name)).then(|| Self::intern(name)).flatten()
    }

    fn intern(name: &str) -> Option<Self> {
        let mut known = KNOWN.write();
        if let Some(there) = known.iter().find(|known| known.name == name) {
            return Some(Self(there));
        }
        if known.len() >= KINDS_MAX {
            return None;
        }
        let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
        let new: &'static Known = Box::leak(Box::new(Known { name, maker: OnceLock::new() }));
        known.push(new);
        Some(Self(new))
    }

    /// The names of all whose plugins are loaded, and of those that only the store names.
    pub fn names() -> (Vec<&'static str>, Vec<&'static str>) {
        let known = KNOWN.read();
        let (with, without): (Vec<_>, Vec<_>) =
            known.iter().partition(|known| known.maker.get().is_some());
        let names = |of: Vec<&&'static Known>| of.into_iter().map(|known| known.name).collect();
        (names(with), names(without))
    }

    /// Its plugin is loaded.
    pub fn is_provided(self) -> bool {
        self.0.maker.get().is_some()
    }

    /// As clients name it.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// An exchange of this kind.
    pub(super) fn declare(self, spec: &ExchangeSpec) -> Result<Arc<dyn ForeignExchange>, Error> {
        let maker = self.0.maker.get().ok_or_else(|| {
            let (name, kind) = (&spec.name, self.0.name);
            let detail = format!(
                "exchange '{name}' is of the type '{kind}', and no plugin that is loaded brings it"
            );
            Error::new(ErrorKind::Unavailable, detail)
        })?;
        maker.declare(spec)
    }
}

fn is_word(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.len() <= NAME_MAX && name.bytes().all(fits)
}

/// Bindings as they were compiled.
#[derive(Clone)]
struct Compiled {
    table: Arc<dyn ForeignTable>,
    bindings: Arc<[Arc<Binding>]>,
}

/// What came of compiling the bindings as they were after that change of them.
#[derive(Clone)]
struct Outcome {
    changes: u64,
    compiled: Result<Compiled, Error>,
}

/// Who declares or binds is told the same whether a plugin says no or cannot say anything: nothing else of its
/// connection depends on that.
pub(super) fn not_taken(why: Error) -> Error {
    Error::new(ErrorKind::Invalid, why.detail())
}

/// One exchange, as its plugin is asked about it: while nothing of the virtual host is locked, because an answer may
/// take a while.
pub struct Asked {
    kind: ForeignKind,
    spec: ExchangeSpec,
    opened: OnceLock<Arc<dyn ForeignExchange>>,
    /// None: nothing was routed yet. It is locked while bindings are compiled, so that they are compiled once.
    last: Mutex<Option<Outcome>>,
}

impl Asked {
    fn exchange(&self) -> Result<&Arc<dyn ForeignExchange>, Error> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let opened = self.kind.declare(&self.spec)?;
        Ok(self.opened.get_or_init(|| opened))
    }

    /// `Invalid`: the kind does not take such a binding, or cannot be asked.
    pub fn check(&self, binding: &Binding) -> Result<(), Error> {
        self.exchange().and_then(|exchange| exchange.check(binding)).map_err(not_taken)
    }

    /// The exchange's kind.
    pub fn kind(&self) -> ForeignKind {
        self.kind
    }

    /// What is compiled after that change or a later one, in `last` or from now on.
    fn compiled(&self, last: &mut Option<Outcome>, of: &Bound) -> Outcome {
        if let Some(known) = last.as_ref().filter(|known| known.changes >= of.changes) {
            return known.clone();
        }
        let made = self.exchange().and_then(|exchange| exchange.compile(&of.bindings));
        let compiled = made.map(|table| Compiled { table, bindings: of.bindings.clone() });
        // What the bindings are to blame for stays so until they change.
        let stays = compiled.as_ref().err().is_none_or(|why| why.kind() == ErrorKind::Invalid);
        let outcome = Outcome { changes: of.changes, compiled };
        if stays {
            *last = Some(outcome.clone());
        }
        outcome
    }
}

/// All bindings of an exchange, as they are after that change of them.
struct Bound {
    changes: u64,
    bindings: Arc<[Arc<Binding>]>,
}

/// Which bindings of an exchange a message meets: to be asked of the exchange's plugin.
pub struct Question {
    asked: Arc<Asked>,
    tables: Tables,
}

enum Tables {
    Ready(Outcome),
    ToCompile(Bound),
}

/// What a plugin answered.
pub struct Answer {
    asked: Arc<Asked>,
    /// The number of the last change that its bindings had seen.
    changes: u64,
    hits: Result<Vec<Hit>, Error>,
}

/// Why a message's hits are not known.
pub enum Unknown {
    /// A plugin has to be asked first.
    Ask(Question),
    /// The plugin could not say.
    Failed(Error),
}

impl Question {
    /// The kind whose plugin is asked.
    pub fn kind(&self) -> ForeignKind {
        self.asked.kind
    }

    /// Asks. None: the bindings are being compiled for somebody else, for which [`Question::ask`] waits.
    pub fn try_ask(&self, key: &Key, fields: FieldsOf<'_>) -> Option<Answer> {
        let outcome = match &self.tables {
            Tables::Ready(outcome) => outcome.clone(),
            Tables::ToCompile(bound) => {
                self.asked.compiled(&mut *self.asked.last.try_lock()?, bound)
            }
        };
        Some(self.answer(outcome, key, fields))
    }

    /// Asks. It takes as long as a call of the plugin may, for each of: declare, compile, route.
    pub fn ask(&self, key: &Key, fields: FieldsOf<'_>) -> Answer {
        let outcome = match &self.tables {
            Tables::Ready(outcome) => outcome.clone(),
            Tables::ToCompile(bound) => self.asked.compiled(&mut self.asked.last.lock(), bound),
        };
        self.answer(outcome, key, fields)
    }

    /// What becomes of it when nobody is asked.
    pub fn refused(&self, why: Error) -> Answer {
        Answer { asked: self.asked.clone(), changes: 0, hits: Err(why) }
    }

    fn answer(&self, outcome: Outcome, key: &Key, fields: FieldsOf<'_>) -> Answer {
        let Outcome { changes, compiled } = outcome;
        let hits = compiled.and_then(|Compiled { table, bindings }| {
            let reads = self.asked.exchange()?.reads();
            let values = match reads.is_empty() {
                true => Vec::new(),
                false => reads.iter().map(|name| value(fields(), name)).collect(),
            };
            let places = table.route(key, values)?;
            let bindings = places.iter().filter_map(|at| bindings.get(*at as usize));
            Ok(bindings.map(|binding| Hit::of(binding)).collect())
        });
        Answer { asked: self.asked.clone(), changes, hits }
    }
}

/// The matcher of one exchange. It says which question is to be asked, and never asks one itself.
pub struct Foreign {
    asked: Arc<Asked>,
    bindings: Bindings,
    /// How often bindings have changed.
    changes: u64,
}

impl Foreign {
    /// Without bindings.
    pub fn new(kind: ForeignKind, spec: &ExchangeSpec) -> Self {
        let (opened, last) = (OnceLock::new(), Mutex::default());
        let asked = Arc::new(Asked { kind, spec: spec.clone(), opened, last });
        Self { asked, bindings: Bindings::default(), changes: 0 }
    }

    fn question(&self) -> Question {
        let is_current = |outcome: &Outcome| outcome.changes == self.changes;
        let known = self.asked.last.try_lock().and_then(|last| last.clone());
        let tables = match known.filter(is_current) {
            Some(outcome) => Tables::Ready(outcome),
            None => Tables::ToCompile(Bound {
                changes: self.changes,
                bindings: self.bindings.as_slice().into(),
            }),
        };
        Question { asked: self.asked.clone(), tables }
    }
}

impl Matcher for Foreign {
    fn bind(&mut self, binding: Arc<Binding>) {
        self.bindings.put(binding);
        self.changes += 1;
    }

    fn unbind(&mut self, binding: &Binding) -> bool {
        self.changes += 1;
        self.bindings.remove(binding).is_some()
    }

    fn route(&self, _: &Key, _: FieldsOf<'_>, _: &mut Vec<Hit>) {
        // Whoever routes asks `route_by`: only a plugin knows.
    }

    fn route_by(
        &self,
        _: (&Key, FieldsOf<'_>),
        answers: &[Answer],
        out: &mut Vec<Hit>,
    ) -> Result<bool, Box<Unknown>> {
        if self.bindings.is_empty() {
            return Ok(true);
        }
        let mine = answers.iter().find(|answer| Arc::ptr_eq(&answer.asked, &self.asked));
        let Some(answer) = mine else { return Err(Box::new(Unknown::Ask(self.question()))) };
        match &answer.hits {
            Ok(hits) => out.extend_from_slice(hits),
            Err(why) => return Err(Box::new(Unknown::Failed(why.clone()))),
        }
        Ok(answer.changes == self.changes)
    }

    fn asked(&self) -> Option<&Arc<Asked>> {
        Some(&self.asked)
    }

    fn reads_fields(&self) -> bool {
        // Nothing was routed, and so nothing cached, before it is opened.
        self.asked.opened.get().is_none_or(|exchange| !exchange.reads().is_empty())
    }

    fn steps(&self) -> usize {
        STEPS
    }

    fn len(&self) -> usize {
        self.bindings.len()
    }

    fn bindings(&self) -> Vec<Arc<Binding>> {
        self.bindings.as_slice().to_vec()
    }

    fn bytes(&self) -> usize {
        // The list that is compiled; what the plugin makes of it is the plugin's.
        self.bindings.len() * size_of::<Arc<Binding>>()
    }
}

/// The properties that an exchange can read, by name.
const PROPERTIES: [&str; 9] = [
    "message_id",
    "correlation_id",
    "timestamp",
    "type",
    "app_id",
    "user_id",
    "group_id",
    "subject",
    "content_type",
];

/// Whether a message can have that: `header:NAME`, or `property:NAME` with a known name.
pub fn is_readable(name: &str) -> bool {
    match name.split_once(':') {
        Some(("header", name)) => !name.is_empty(),
        Some(("property", name)) => PROPERTIES.contains(&name),
        _ => false,
    }
}

/// What a message has under that name, as text.
fn value(fields: &Fields, name: &str) -> Option<Vec<u8>> {
    let p = &fields.properties;
    let text = match name.split_once(':')? {
        ("header", name) => return header_text(fields.header(name)?),
        (_, "message_id") => text_of(p.message_id.as_ref()?),
        (_, "correlation_id") => text_of(p.correlation_id.as_ref()?),
        (_, "timestamp") => p.created_at?.to_string(),
        (_, "type") => p.kind.as_ref()?.to_string(),
        (_, "app_id") => p.app_id.as_ref()?.to_string(),
        (_, "user_id") => p.user_id.as_ref()?.to_string(),
        (_, "group_id") => p.group_id.as_ref()?.to_string(),
        (_, "subject") => p.subject.as_ref()?.to_string(),
        (_, "content_type") => p.content_type.as_ref()?.to_string(),
        _ => return None,
    };
    Some(text.into_bytes())
}

/// A header as text; none for what has no text: nothing, a list, a map.
fn header_text(value: &Value) -> Option<Vec<u8>> {
    let text = match value {
        Value::Null | Value::List(_) | Value::Map(_) => return None,
        Value::Bytes(bytes) => return Some(bytes.to_vec()),
        Value::Text(text) | Value::Symbol(text) => return Some(text.as_bytes().to_vec()),
        Value::Bool(yes) => yes.to_string(),
        Value::Char(one) => one.to_string(),
        Value::Timestamp(ms) => ms.to_string(),
        Value::U64(whole) => whole.to_string(),
        Value::Uuid(id) => crate::message::carry::uuid_text(id),
        number => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.to_string(),
            (None, real) => real?.to_string(),
        },
    };
    Some(text.into_bytes())
}

#[cfg(test)]
#[path = "foreign_tests.rs"]
mod tests;
