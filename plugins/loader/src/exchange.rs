//! An exchange kind of a plugin, behind the core's seam.

use crate::library::check_head;
use crate::plugin::{Object, Plugin, Pointer};
use crate::sinks::{Items, Places};
use crossdock_core::exchange::{
    Binding, ForeignExchange, ForeignMaker, ForeignTable, Target, is_readable,
};
use crossdock_core::{Error, ExchangeSpec, Key, Name, Value};
use crossdock_plugin::abi::{self, Argument, Choice, Head, Routing, View};
use std::sync::Arc;

/// What an exchange may read, at most.
const READS_MAX: usize = 16;
/// Bytes of the name of what it reads.
const READ_MAX: usize = 256;

/// The functions of an exchange kind: all are there.
#[derive(Clone)]
pub struct Kind {
    pub name: String,
    declare: abi::Declare,
    forget: abi::Free,
    check: abi::Check,
    compile: abi::Compile,
    free_table: abi::Free,
    route: abi::Route,
}

impl Kind {
    /// The kind that a plugin points to; what is wrong with it otherwise.
    pub fn read(from: *const abi::ExchangeKind) -> Result<Self, String> {
        // SAFETY: the plugin's entry put it there, and it stays, by the contract.
        let it = unsafe { abi::read(from) }.ok_or("has no exchange kind")?;
        check_head("CrossdockExchangeKind", it.head, size_of::<abi::ExchangeKind>())?;
        let missing = |name: &str| format!("its exchange kind has no function '{name}'");
        // SAFETY: a text of the library, which stays.
        let name = unsafe { it.name.bytes() };
        Ok(Self {
            name: String::from_utf8_lossy(name.get(..256).unwrap_or(name)).into_owned(),
            declare: it.declare.ok_or_else(|| missing("declare"))?,
            forget: it.forget.ok_or_else(|| missing("forget"))?,
            check: it.check.ok_or_else(|| missing("check"))?,
            compile: it.compile.ok_or_else(|| missing("compile"))?,
            free_table: it.free_table.ok_or_else(|| missing("free_table"))?,
            route: it.route.ok_or_else(|| missing("route"))?,
        })
    }
}

/// Makes exchanges of a plugin's kind.
pub struct Maker {
    plugin: Arc<Plugin>,
    kind: Arc<Kind>,
}

impl Maker {
    pub fn new(plugin: &Arc<Plugin>, kind: Kind) -> Self {
        Self { plugin: plugin.clone(), kind: Arc::new(kind) }
    }
}

impl ForeignMaker for Maker {
    fn declare(&self, spec: &ExchangeSpec) -> Result<Arc<dyn ForeignExchange>, Error> {
        let (spec, declare) = (spec.clone(), self.kind.declare);
        let state = self.plugin.state();
        let made = self.plugin.call("declare", move |error| {
            let state = state;
            let arguments = Arguments::of(&spec.arguments);
            let passed = abi::ExchangeSpec {
                head: Head::of::<abi::ExchangeSpec>(),
                name: View::of(spec.name.as_bytes()),
                arguments: arguments.passed.as_ptr(),
                arguments_count: arguments.passed.len(),
            };
            let mut exchange = std::ptr::null_mut();
            let mut reads = Items::new(READS_MAX, READ_MAX);
            let sink = reads.sink();
            // SAFETY: the plugin's function; all that is passed stays during the call.
            let status = unsafe {
                declare(state.0, &raw const passed, &raw mut exchange, &raw const sink, error)
            };
            (status, (Pointer(exchange), reads.into_items()))
        });
        let (pointer, reads) = made?;
        let object = Object::new(&self.plugin, pointer, Some(self.kind.forget), None);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let reads: Vec<String> = reads.into_iter().map(text).collect();
        if let Some(wrong) = reads.iter().find(|name| !is_readable(name)) {
            let why = format!("its call 'declare' wants to read '{wrong}', which no message has");
            return Err(self.plugin.end(why));
        }
        let (plugin, kind) = (self.plugin.clone(), self.kind.clone());
        Ok(Arc::new(Exchange { plugin, kind, object, reads }))
    }
}

struct Exchange {
    plugin: Arc<Plugin>,
    kind: Arc<Kind>,
    object: Arc<Object>,
    reads: Vec<String>,
}

impl ForeignExchange for Exchange {
    fn reads(&self) -> &[String] {
        &self.reads
    }

    fn check(&self, binding: &Binding) -> Result<(), Error> {
        let (check, object, binding) = (self.kind.check, self.object.clone(), binding.clone());
        self.plugin.call("check", move |error| {
            let held = Held::of(&binding);
            let passed = held.passed();
            // SAFETY: the plugin's function and object; all that is passed stays during the call.
            (unsafe { check(object.pointer(), &raw const passed, error) }, ())
        })
    }

    fn compile(&self, bindings: &[Arc<Binding>]) -> Result<Arc<dyn ForeignTable>, Error> {
        let (compile, object) = (self.kind.compile, self.object.clone());
        let (bindings, count) = (bindings.to_vec(), bindings.len());
        let compiled = self.plugin.call("compile", move |error| {
            let held: Vec<Held> = bindings.iter().map(|binding| Held::of(binding)).collect();
            let passed: Vec<abi::Binding> = held.iter().map(Held::passed).collect();
            let mut table = std::ptr::null_mut();
            // SAFETY: the plugin's function and object; all that is passed stays during the call.
            let status = unsafe {
                compile(object.pointer(), passed.as_ptr(), passed.len(), &raw mut table, error)
            };
            (status, Pointer(table))
        });
        let (plugin, free) = (&self.plugin, Some(self.kind.free_table));
        let object = Object::new(plugin, compiled?, free, Some(self.object.clone()));
        Ok(Arc::new(Table { plugin: plugin.clone(), route: self.kind.route, object, count }))
    }
}

struct Table {
    plugin: Arc<Plugin>,
    route: abi::Route,
    object: Arc<Object>,
    /// How many bindings it was made of.
    count: usize,
}

impl ForeignTable for Table {
    fn route(&self, key: &Key, values: Vec<Option<Vec<u8>>>) -> Result<Vec<u32>, Error> {
        let (route, object, key) = (self.route, self.object.clone(), key.clone());
        let count = self.count;
        let routed = self.plugin.call("route", move |error| {
            let text = |value: &Option<Vec<u8>>| match value {
                None => passed_value(abi::VALUE_NONE, &[]),
                Some(text) => passed_value(abi::VALUE_TEXT, text),
            };
            let values: Vec<abi::Value> = values.iter().map(text).collect();
            let passed = Routing {
                head: Head::of::<Routing>(),
                key: View::of(key.bytes()),
                values: values.as_ptr(),
                values_count: values.len(),
            };
            let mut places = Places::new(count);
            let choice: Choice = places.choice();
            // SAFETY: the plugin's function and object; all that is passed stays during the call.
            let status =
                unsafe { route(object.pointer(), &raw const passed, &raw const choice, error) };
            (status, (places.places, places.outside))
        });
        match routed? {
            (places, None) => Ok(places),
            (_, Some(place)) => {
                let why = format!(
                    "its call 'route' chose binding {place}, and there are {count}, from 0"
                );
                Err(self.plugin.end(why))
            }
        }
    }
}

pub fn passed_value(kind: u32, text: &[u8]) -> abi::Value {
    abi::Value { kind, reserved: 0, text: View::of(text) }
}

/// Arguments of a declaration or binding, as they are passed; their texts stay as long as this.
struct Arguments {
    passed: Vec<Argument>,
    /// What `passed` points to.
    _texts: Vec<Vec<u8>>,
}

impl Arguments {
    fn of(arguments: &[(Name, Value)]) -> Self {
        let values: Vec<(u32, Vec<u8>)> = arguments.iter().map(|(_, it)| text_of(it)).collect();
        let passed = arguments.iter().zip(&values).map(|((name, _), (kind, text))| Argument {
            head: Head::of::<Argument>(),
            name: View::of(name.as_bytes()),
            value: passed_value(*kind, text),
        });
        let passed = passed.collect();
        // The texts of vectors stay where they are when those move.
        Self { passed, _texts: values.into_iter().map(|(_, text)| text).collect() }
    }
}

/// The kind of a value, and its text.
pub fn text_of(value: &Value) -> (u32, Vec<u8>) {
    let number = || match (value.as_i64(), value.as_f64()) {
        (Some(whole), _) => (abi::VALUE_INTEGER, whole.to_string().into_bytes()),
        (None, Some(real)) => (abi::VALUE_NUMBER, real.to_string().into_bytes()),
        (None, None) => (abi::VALUE_NONE, Vec::new()),
    };
    match value {
        Value::Bool(yes) => (abi::VALUE_BOOL, yes.to_string().into_bytes()),
        Value::Text(text) | Value::Symbol(text) => (abi::VALUE_TEXT, text.as_bytes().to_vec()),
        Value::Char(one) => (abi::VALUE_TEXT, one.to_string().into_bytes()),
        Value::Bytes(bytes) => (abi::VALUE_BYTES, bytes.to_vec()),
        Value::U64(whole) => (abi::VALUE_INTEGER, whole.to_string().into_bytes()),
        Value::Timestamp(ms) => (abi::VALUE_INTEGER, ms.to_string().into_bytes()),
        _ => number(),
    }
}

/// A binding, and what is passed of it.
struct Held<'a> {
    binding: &'a Binding,
    target: String,
    arguments: Arguments,
}

impl<'a> Held<'a> {
    fn of(binding: &'a Binding) -> Self {
        let target = match &binding.target {
            Target::Exchange(name) => format!("exchange:{name}"),
            Target::Log(id) => format!("queue:{}", id.0),
            Target::Session(id) => format!("session:{}", id.0),
        };
        Self { binding, target, arguments: Arguments::of(&binding.arguments) }
    }

    fn passed(&self) -> abi::Binding {
        abi::Binding {
            head: Head::of::<abi::Binding>(),
            target: View::of(self.target.as_bytes()),
            key: View::of(self.binding.key.bytes()),
            arguments: self.arguments.passed.as_ptr(),
            arguments_count: self.arguments.passed.len(),
        }
    }
}
