//! What the micro-benchmarks see of this crate beside its codec: the mapping of messages, in and out. Not an API: it is
//! compiled with the feature `bench` only.

pub use crate::mapping::FORMAT;
pub use crate::mapping::address::{published, wire_key};
pub use crate::mapping::inbound::meta;
pub use crate::mapping::outbound::{Reader, properties};
