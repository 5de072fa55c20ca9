//! What [`export!`](crate::export) is made of: functions of the contract around the traits. Each catches panics, and
//! turns results into status and text.

mod authenticator;
mod transform;

pub use authenticator::authenticator;
pub use transform::transform;

use crate::abi::{self, Head, Host, Sink, View};
use crate::exchange::{Binding, Exchange, ExchangeKind, ExchangeSpec, Routing, Table};
use crate::protocol::{Connection, Happened, Protocol, Wishes};
use crate::{Start, values};
use std::cell::RefCell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

/// How important a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

static HOST: OnceLock<Host> = OnceLock::new();

/// Writes a line to the broker's log.
pub fn log(level: Level, text: &str) {
    let level = match level {
        Level::Error => abi::LOG_ERROR,
        Level::Warn => abi::LOG_WARN,
        Level::Info => abi::LOG_INFO,
        Level::Debug => abi::LOG_DEBUG,
    };
    if let Some(Host { context, log: Some(log), .. }) = HOST.get() {
        // SAFETY: the broker's function, with the broker's context, as the contract says.
        unsafe { log(*context, level, View::of(text.as_bytes())) }
    }
}

thread_local! {
    /// What the last panic of this thread said, and where.
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The static of a library with that.
pub const fn mark(kinds: u32) -> abi::PluginAbi {
    abi::PluginAbi { magic: abi::MAGIC, head: Head::of::<abi::PluginAbi>(), kinds }
}

/// A plugin that brings nothing yet.
pub fn plugin<S: Start>(name: &'static str, version: &'static str) -> abi::Plugin {
    abi::Plugin {
        head: Head::of::<abi::Plugin>(),
        name: View::of(name.as_bytes()),
        version: View::of(version.as_bytes()),
        start: Some(start::<S>),
        exchange_kind: std::ptr::null(),
        protocol: std::ptr::null(),
        authenticator: std::ptr::null(),
        transform: std::ptr::null(),
    }
}

/// The entry.
///
/// # Safety
/// As the contract says of `crossdock_plugin_entry_v1`.
pub unsafe fn enter(host: *const Host, out: *mut abi::Plugin, plugin: abi::Plugin) -> i32 {
    // A plugin has a standard library of its own, and so this is not the broker's hook.
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
        let text = format!("{text} ({})", place.unwrap_or_default());
        let _ = LAST_PANIC.try_with(|last| last.replace(text));
    }));
    // SAFETY: the caller's promise; no more is written than both know.
    unsafe {
        let Some(host) = abi::read(host) else { return abi::FAILED };
        let _ = HOST.set(host);
        if out.is_null() {
            return abi::FAILED;
        }
        let room = out.cast::<Head>().read_unaligned().struct_size as usize;
        let size = room.min(size_of::<abi::Plugin>());
        std::ptr::copy_nonoverlapping((&raw const plugin).cast::<u8>(), out.cast::<u8>(), size);
    }
    abi::OK
}

/// The table of an exchange kind.
pub const fn exchange_kind<K: ExchangeKind>() -> abi::ExchangeKind {
    abi::ExchangeKind {
        head: Head::of::<abi::ExchangeKind>(),
        name: View::of(K::NAME.as_bytes()),
        declare: Some(declare::<K>),
        forget: Some(free::<K::Exchange>),
        check: Some(check::<K::Exchange>),
        compile: Some(compile::<K::Exchange>),
        free_table: Some(free::<<K::Exchange as Exchange>::Table>),
        route: Some(route::<<K::Exchange as Exchange>::Table>),
    }
}

/// Runs it, and says how it went.
fn guard(error: *const Sink, body: impl FnOnce() -> Result<(), String>) -> i32 {
    let (status, text) = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return abi::OK,
        Ok(Err(text)) => (abi::REFUSED, text),
        Err(payload) => {
            // Dropping it could panic again.
            std::mem::forget(payload);
            (abi::PANICKED, LAST_PANIC.try_with(RefCell::take).unwrap_or_default())
        }
    };
    put(error, text.as_bytes());
    status
}

fn put(sink: *const Sink, bytes: &[u8]) {
    // SAFETY: a sink of the broker, or null, as the contract says.
    unsafe {
        if let Some(Sink { context, put: Some(put) }) = sink.as_ref() {
            put(*context, View::of(bytes));
        }
    }
}

/// The text that says that the broker broke the contract.
fn nothing() -> String {
    "the broker passed a null pointer".to_owned()
}

unsafe extern "C" fn start<S: Start>(
    with: View,
    state: *mut *mut c_void,
    error: *const Sink,
) -> i32 {
    guard(error, || {
        // SAFETY: as the contract says of `start`.
        let started = S::start(unsafe { values::text(with) })?;
        // SAFETY: the same.
        unsafe { give(started, state) }
    })
}

/// Hands an object over.
///
/// # Safety
/// `to` is null or can be written.
unsafe fn give<T>(object: T, to: *mut *mut c_void) -> Result<(), String> {
    if to.is_null() {
        return Err(nothing());
    }
    // SAFETY: the caller's promise.
    unsafe { to.write(Box::into_raw(Box::new(object)).cast()) };
    Ok(())
}

/// An object that was handed over.
///
/// # Safety
/// It is one of that type, or null.
unsafe fn object<'a, T>(object: *mut c_void) -> Result<&'a T, String> {
    // SAFETY: the caller's promise.
    unsafe { object.cast::<T>().as_ref() }.ok_or_else(nothing)
}

unsafe extern "C" fn free<T>(object: *mut c_void) {
    if object.is_null() {
        return;
    }
    guard(std::ptr::null(), || {
        // SAFETY: it was made by `give`, and nobody uses it any more, as the contract says.
        drop(unsafe { Box::from_raw(object.cast::<T>()) });
        Ok(())
    });
}

unsafe extern "C" fn declare<K: ExchangeKind>(
    state: *mut c_void,
    spec: *const abi::ExchangeSpec,
    exchange: *mut *mut c_void,
    reads: *const Sink,
    error: *const Sink,
) -> i32 {
    guard(error, || {
        // SAFETY: as the contract says of `declare`.
        let (kind, spec) = unsafe { (object::<K>(state)?, ExchangeSpec::of(spec)) };
        let declared = kind.declare(&spec.ok_or_else(nothing)?)?;
        declared.reads().iter().for_each(|name| put(reads, name.as_bytes()));
        // SAFETY: the same.
        unsafe { give(declared, exchange) }
    })
}

unsafe extern "C" fn check<E: Exchange>(
    exchange: *mut c_void,
    binding: *const abi::Binding,
    error: *const Sink,
) -> i32 {
    guard(error, || {
        // SAFETY: as the contract says of `check`.
        let (exchange, it) = unsafe { (object::<E>(exchange)?, abi::read(binding)) };
        // SAFETY: the same.
        exchange.check(&unsafe { Binding::of(&it.ok_or_else(nothing)?) })
    })
}

unsafe extern "C" fn compile<E: Exchange>(
    exchange: *mut c_void,
    bindings: *const abi::Binding,
    count: usize,
    table: *mut *mut c_void,
    error: *const Sink,
) -> i32 {
    guard(error, || {
        // SAFETY: as the contract says of `compile`.
        let (exchange, all) = unsafe { (object::<E>(exchange)?, abi::read_all(bindings, count)) };
        // SAFETY: the same.
        let all: Vec<Binding<'_>> = all.iter().map(|it| unsafe { Binding::of(it) }).collect();
        let compiled = exchange.compile(&all)?;
        // SAFETY: the same.
        unsafe { give(compiled, table) }
    })
}

unsafe extern "C" fn route<T: Table>(
    table: *mut c_void,
    routing: *const abi::Routing,
    choice: *const abi::Choice,
    error: *const Sink,
) -> i32 {
    guard(error, || {
        // SAFETY: as the contract says of `route`.
        let (table, routing, choice) =
            unsafe { (object::<T>(table)?, Routing::of(routing), choice.as_ref()) };
        let mut chosen = Vec::new();
        table.route(&routing.ok_or_else(nothing)?, &mut chosen)?;
        if let Some(abi::Choice { context, choose: Some(choose) }) = choice {
            // SAFETY: the same.
            chosen.into_iter().for_each(|place| unsafe { choose(*context, place) });
        }
        Ok(())
    })
}

/// The table of a protocol.
pub const fn protocol<P: Protocol>() -> abi::Protocol {
    abi::Protocol {
        head: Head::of::<abi::Protocol>(),
        name: View::of(P::NAME.as_bytes()),
        open: Some(open::<P>),
        turn: Some(turn::<P::Connection>),
        close: Some(free::<P::Connection>),
    }
}

unsafe extern "C" fn open<P: Protocol>(
    state: *mut c_void,
    peer: View,
    connection: *mut *mut c_void,
    error: *const Sink,
) -> i32 {
    guard(error, || {
        // SAFETY: as the contract says of `open`.
        let (protocol, peer) = unsafe { (object::<P>(state)?, values::text(peer)) };
        // SAFETY: the same.
        unsafe { give(protocol.open(peer)?, connection) }
    })
}

unsafe extern "C" fn turn<C: Connection>(
    connection: *mut c_void,
    happened: *const abi::Happened,
    count: usize,
    wishes: *const abi::Wishes,
    error: *const Sink,
) -> i32 {
    guard(error, || {
        // SAFETY: as the contract says of `turn`: a connection has one turn at a time.
        let (connection, all, wishes) = unsafe {
            let connection = connection.cast::<C>().as_mut().ok_or_else(nothing)?;
            (connection, abi::read_all(happened, count), wishes.as_ref().ok_or_else(nothing)?)
        };
        let mut wishes = Wishes::new(*wishes);
        for one in &all {
            // SAFETY: the same.
            if let Some(happened) = unsafe { Happened::of(one) } {
                connection.turn(happened, &mut wishes)?;
            }
        }
        Ok(())
    })
}
