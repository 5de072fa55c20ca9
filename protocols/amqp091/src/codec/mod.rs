//! Bytes ⇄ frames, methods, tables and properties. Pure: it knows the grammar of AMQP 0-9-1 and nothing of the
//! broker's queues and sessions. Zero-copy: bodies, properties and publish names are slices of the read buffer.
//!
//! Invariants: nothing is allocated for a length that was only promised; nesting is limited; every octet of a payload
//! has to be used.

pub mod frame;
pub mod method;
pub mod properties;
pub mod refusal;
pub mod reply;
pub mod table;
pub mod wire;

pub use frame::{ContentHeader, Frame, FrameKind};
pub use method::Method;
pub use properties::Properties;
pub use refusal::{MethodId, Refusal, ReplyCode};
pub use reply::{Reply, Sent};

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
