//! Generated from transforms/wit, where the contract is described.

#![allow(missing_docs)]

wasmtime::component::bindgen!({
    path: "wit",
    world: "transform-with-all",
    imports: { default: trappable },
    with: { "crossdock:transform/types.message": crate::draft::Draft },
});

pub(super) use self::crossdock::transform::types::{
    Host, HostMessage, Origin, Output, Patch, Value,
};
pub(super) use self::crossdock::transform::{kv, log, metrics};
