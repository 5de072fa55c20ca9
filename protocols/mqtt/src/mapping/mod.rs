//! MQTT fields ⇄ the core's: addresses, messages, neutral fields, outcomes. Pure. docs/SEMANTICS.md §1, §3, §5.

mod codes;
mod format;
mod inbound;
mod outbound;

pub use codes::{connack_reason, publish_reason, suback_reason, unsuback_reason};
pub use format::{Bare, PropertyBlock};
pub use inbound::{Incoming, delayed, message, target, will};
pub use outbound::{Rendered, Renderer, remaining_seconds};

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
