//! The sandbox: WebAssembly components of the world in transforms/wit, with limits on time, memory and output.
//!
//! ```text
//! Host ── Runtime (small, large) ── engine with its pool of memories, linker, ticker, idle instances
//!   ├──── Slot (one per wasm step) ── Module ── breaker, counters
//!   │                                   └── Compiled (shared by content hash) ── ready to instantiate
//!   └──── Loader ── fills slots in the background
//! ```
//!
//! Invariants: a module sees the message it is called with and its own memory, nothing else; an instance that
//! trapped is never used again; no call outlives its deadline by more than a few milliseconds, whether it computes
//! or sleeps (an instance's first call, `init`, has 5 s).

mod bindings;
mod breaker;
mod cache;
mod counters;
mod engine;
mod exchange;
mod grants;
mod host;
mod idle;
mod instance;
mod limiter;
mod loader;
mod memory;
mod module;
mod numbers;
mod output;
mod rehearsal;
mod slot;
mod ticker;
mod voice;
mod waiting;

pub(crate) use counters::Counters;
pub(crate) use grants::{Grant, Grants, MemoryGrant};
pub(crate) use host::ModuleSpec;
pub use host::{Host, HostError};
pub(crate) use slot::Slot;

/// The contract's version, as components import it.
const VERSION: &str = "1.0.0";
const TYPES: &str = "crossdock:transform/types@1.0.0";
