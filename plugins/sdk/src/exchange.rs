//! An exchange kind: what it means to be bound to such an exchange, and where a message goes.

use crate::Start;
use crate::abi;
use crate::values::{Argument, Value, text};

/// An exchange kind of a plugin.
pub trait ExchangeKind: Start {
    /// As clients declare it. Begins with `x-`.
    const NAME: &'static str;
    type Exchange: Exchange;

    /// An exchange is declared, or there after a start. An error refuses it, and says why.
    fn declare(&self, spec: &ExchangeSpec<'_>) -> Result<Self::Exchange, String>;
}

/// One exchange.
pub trait Exchange: Send + Sync + 'static {
    type Table: Table;

    /// What [`Table::route`] needs beside the key: `header:NAME` and `property:NAME`, at most 16. Nothing: the choice
    /// depends on the key alone, and is remembered until a binding changes.
    fn reads(&self) -> Vec<String> {
        Vec::new()
    }

    /// Somebody wants to bind. An error refuses it, and says why.
    fn check(&self, binding: &Binding<'_>) -> Result<(), String>;

    /// Bindings have changed: what is to be known to route by all that there are now.
    fn compile(&self, bindings: &[Binding<'_>]) -> Result<Self::Table, String>;
}

/// Compiled bindings. Several threads route by the same table.
pub trait Table: Send + Sync + 'static {
    /// Adds the places of the bindings that get the message, among those that were compiled.
    fn route(&self, routing: &Routing<'_>, chosen: &mut Vec<u32>) -> Result<(), String>;
}

/// An exchange that is declared.
#[derive(Debug, Clone)]
pub struct ExchangeSpec<'a> {
    pub name: &'a str,
    pub arguments: Vec<Argument<'a>>,
}

impl ExchangeSpec<'_> {
    /// # Safety
    /// It is what the broker passed, and used during that call.
    pub(crate) unsafe fn of(from: *const abi::ExchangeSpec) -> Option<Self> {
        // SAFETY: the caller's promise.
        unsafe {
            let it = abi::read(from)?;
            let arguments = Argument::all(it.arguments, it.arguments_count);
            Some(Self { name: text(it.name), arguments })
        }
    }
}

/// A binding.
#[derive(Debug, Clone)]
pub struct Binding<'a> {
    /// Where it leads: the same text for the same queue, exchange or session as long as that exists.
    pub target: &'a str,
    /// In topic form: words between `/`.
    pub key: &'a [u8],
    pub arguments: Vec<Argument<'a>>,
}

impl Binding<'_> {
    /// # Safety
    /// It is what the broker passed, and used during that call.
    pub(crate) unsafe fn of(it: &abi::Binding) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let arguments = Argument::all(it.arguments, it.arguments_count);
            Self { target: text(it.target), key: it.key.bytes(), arguments }
        }
    }
}

/// What is known of a message that is to be routed.
#[derive(Debug, Clone)]
pub struct Routing<'a> {
    /// In topic form: words between `/`.
    pub key: &'a [u8],
    /// What the exchange [reads](Exchange::reads), in that order.
    pub values: Vec<Value<'a>>,
}

impl Routing<'_> {
    /// # Safety
    /// It is what the broker passed, and used during that call.
    pub(crate) unsafe fn of(from: *const abi::Routing) -> Option<Self> {
        // SAFETY: the caller's promise. Values never grow.
        unsafe {
            let it = abi::read(from)?;
            let count = if it.values.is_null() { 0 } else { it.values_count };
            let value = |at| Value::of(&it.values.add(at).read_unaligned());
            Some(Self { key: it.key.bytes(), values: (0..count).map(value).collect() })
        }
    }
}
