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

/// The matcher of one exchange. Its plugin is first asked when a message comes, and never while bindings change.
pub struct Foreign {
    kind: ForeignKind,
    spec: ExchangeSpec,
    bindings: Bindings,
    opened: OnceLock<Arc<dyn ForeignExchange>>,
    /// None: a binding has changed since, or nothing was routed yet.
    compiled: Mutex<Option<Result<Compiled, Error>>>,
}

impl Foreign {
    /// Without bindings.
    pub fn new(kind: ForeignKind, spec: &ExchangeSpec) -> Self {
        Self {
            kind,
            spec: spec.clone(),
            bindings: Bindings::default(),
            opened: OnceLock::new(),
            compiled: Mutex::default(),
        }
    }

    fn exchange(&self) -> Result<&Arc<dyn ForeignExchange>, Error> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let opened = self.kind.declare(&self.spec)?;
        Ok(self.opened.get_or_init(|| opened))
    }

    fn compiled(&self) -> Result<Compiled, Error> {
        let mut compiled = self.compiled.lock();
        if let Some(known) = &*compiled {
            return known.clone();
        }
        let bindings: Arc<[Arc<Binding>]> = self.bindings.as_slice().into();
        let made = self.exchange().and_then(|exchange| exchange.compile(&bindings));
        let made = made.map(|table| Compiled { table, bindings });
        // What the bindings are to blame for stays so until they change.
        if made.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::Invalid) {
            *compiled = Some(made.clone());
        }
        made
    }
}

impl Matcher for Foreign {
    fn bind(&mut self, binding: Arc<Binding>) {
        self.bindings.put(binding);
        *self.compiled.get_mut() = None;
    }

    fn unbind(&mut self, binding: &Binding) -> bool {
        *self.compiled.get_mut() = None;
        self.bindings.remove(binding).is_some()
    }

    fn check(&self, binding: &Binding) -> Result<(), Error> {
        self.exchange()?.check(binding)
    }

    fn try_route(&self, key: &Key, fields: FieldsOf<'_>, out: &mut Vec<Hit>) -> Result<(), Error> {
        if self.bindings.is_empty() {
            return Ok(());
        }
        let Compiled { table, bindings } = self.compiled()?;
        let reads = self.exchange()?.reads();
        let values = match reads.is_empty() {
            true => Vec::new(),
            false => reads.iter().map(|name| value(fields(), name)).collect(),
        };
        for at in table.route(key, values)? {
            out.extend(bindings.get(at as usize).map(|binding| Hit::of(binding)));
        }
        Ok(())
    }

    fn route(&self, key: &Key, fields: FieldsOf<'_>, out: &mut Vec<Hit>) {
        // Whoever can tell a publisher why asks `try_route`.
        let _ = self.try_route(key, fields, out);
    }

    fn reads_fields(&self) -> bool {
        // Nothing was routed, and so nothing cached, before it is opened.
        self.opened.get().is_none_or(|exchange| !exchange.reads().is_empty())
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
