//! Content routes: predicates on headers and bodies, steps that reshape messages, and the sandbox that WebAssembly
//! modules run in. The core decides when a route runs and stores its outcome (`crossdock_core::transform`).
//!
//! | file | what is in it |
//! |---|---|
//! | `spec` `written` `compile/` `destination` `units` | a route as configured, and everything that can be wrong with it |
//! | `expression` `body/` | selectors with lazy paths into JSON and XML bodies |
//! | `draft` `step` `route` | a message between steps, the steps, the whole route and its verdict |
//! | `batch` `decision` `native` | several messages at once, what a decision does to a message, steps that plugins do |
//! | `wasm/` | engines, modules, instances, the cache of compiled modules; the contract is transforms/wit |
//!
//! Not here, on purpose: protocols, sockets, retries and dead letters (the core applies a route's policy).

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod batch;
mod body;
mod compile;
mod decision;
mod destination;
mod draft;
mod expression;
mod native;
mod route;
mod spec;
mod step;
mod units;
mod wasm;
mod written;

pub use compile::{Mistake, Modules, Surroundings};
pub use spec::{LimitSpec, OnErrorSpec, RouteSpec, Section};
pub use wasm::{Host, HostError};
