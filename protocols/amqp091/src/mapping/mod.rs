//! AMQP's words ⇄ the core's: addresses, properties, errors. Pure: no session, no socket. docs/SEMANTICS.md is the
//! table that this folder implements for AMQP 0-9-1.
//!
//! | file | direction |
//! |---|---|
//! | `address` | exchange and routing key ⇄ [`Address`](crossdock_core::Address) |
//! | `inbound` | properties of a publish → [`Meta`](crossdock_core::Meta) |
//! | `decode` | properties → neutral fields, for readers of other protocols |
//! | `encode` | neutral fields → properties, for messages of other protocols |
//! | `outbound` | what a delivery adds to the properties |
//! | `errors` | [`ErrorKind`](crossdock_core::ErrorKind) → reply codes |

pub mod address;
pub mod decode;
pub mod encode;
pub mod errors;
pub mod inbound;
pub mod outbound;

pub use decode::Amqp091Format;

use crossdock_core::FormatId;
use crossdock_core::message::carry::Slots;

/// This protocol's header bytes (docs/STORE.md): property flags and properties of a content header.
pub const FORMAT: FormatId = FormatId(1);

/// Fields that have a place in the properties or in a header of their own (docs/SEMANTICS.md §3).
const SLOTS: [Slots; 13] = [
    Slots::MESSAGE_ID,
    Slots::CORRELATION_ID,
    Slots::TIMESTAMP,
    Slots::USER_ID,
    Slots::CONTENT_TYPE,
    Slots::CONTENT_ENCODING,
    Slots::PRIORITY,
    Slots::TYPE,
    Slots::APP_ID,
    Slots::SUBJECT,
    Slots::GROUP_ID,
    Slots::GROUP_SEQ,
    Slots::REPLY_TO,
];

fn slots() -> Slots {
    SLOTS.iter().fold(Slots::NONE, |all, slot| all | *slot)
}

/// Names of headers that stand for a field or are written by the broker.
mod names {
    pub const SUBJECT: &str = "x-subject";
    pub const GROUP_ID: &str = "x-group-id";
    pub const GROUP_ID_JMS: &str = "JMSXGroupID";
    pub const GROUP_SEQ: &str = "x-group-seq";
    pub const MESSAGE_ID: &str = "x-message-id";
    pub const CORRELATION_ID: &str = "x-correlation-id";
    pub const REPLY_TO_TOPIC: &str = "x-reply-to-topic";
    pub const TIMESTAMP_MS: &str = "timestamp_in_ms";
    pub const CC: &str = "CC";
    pub const BCC: &str = "BCC";
    pub const QOS: &str = "x-mqtt-qos";
    pub const RETAIN: &str = "x-mqtt-retain";
    pub const RETAINED: &str = "x-retained";
    pub const ROUTING_KEY: &str = "x-routing-key";
    pub const DEATH: &str = "x-death";
    pub const DELIVERY_COUNT: &str = "x-delivery-count";
    pub const ORIGIN_CLIENT: &str = "x-opt-mqtt-client-id";
    pub const ORIGIN_PROTOCOL: &str = "x-opt-origin-protocol";
    pub const RECEIVED: &str = "x-opt-received-time";
    pub const FIRST_DEATH: [&str; 3] =
        ["x-first-death-queue", "x-first-death-reason", "x-first-death-exchange"];
    pub const LAST_DEATH: [&str; 3] =
        ["x-last-death-queue", "x-last-death-reason", "x-last-death-exchange"];
}

pub use names::ROUTING_KEY;

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
