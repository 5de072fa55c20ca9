//! MQTT 3.1, 3.1.1 and 5 for the broker: a codec, a mapping, and one loop for each connection.
//!
//! | MQTT term | core term | specification (MQTT 5 unless said otherwise) |
//! |---|---|---|
//! | Topic Name `a/b` | key `a/b` of the topic exchange, unchanged | §4.7 |
//! | Topic Name `$delayed/5/a/b` | the same, `Aside::Due` | docs/SEMANTICS.md §1 |
//! | Topic Name `$q/x`, `$reply/q/x` | the default exchange with the queue's name as key | docs/SEMANTICS.md §1, §5 |
//! | Application Message | `Message`; `Native` is the property block (5) or nothing (3.1.1) | §3.3 |
//! | QoS | `Meta::level`; QoS 1 and 2 are durable | §4.3 |
//! | RETAIN | `Meta::retain`; `Delivery::retained` | §3.3.1.3 |
//! | PUBACK, PUBREC of the server | a `Confirm` | §3.4, §3.5 |
//! | PUBACK, PUBCOMP of the client | `Outcome::Accepted`; with a code from 0x80 on `Rejected` | §3.4, §3.7 |
//! | Packet Identifier to the client | `1 + offset mod 32,767` of the session's queue; others from 32,768 | §2.2.1 |
//! | QoS 2 state | memos of the session | §4.3.3 |
//! | Session, Client Identifier | named session `mqtt/<client id>` | §4.1, §3.1.3.1 |
//! | Session Expiry Interval, Clean Session | `SessionLife` | §3.1.2.11.2, 3.1.1 §3.1.2.4 |
//! | AUTH, Authentication Method | a `LoginExchange` | §4.12 |
//! | Subscription | `Bind` to the session's own queue; options and identifier are its `BindingTag` | §3.8 |
//! | Shared Subscription `$share/g/f` | queue `share/g/f`, bound to `f`, shared by consumers | §4.8.2 |
//! | Receive Maximum of the client | a credit pool | §3.1.2.11.3 |
//! | Will Message, Will Delay | a parked publish, `ParkUntil::Disconnected` | §3.1.2.5 |
//! | Message Expiry Interval | `Meta::expires` | §3.3.2.3.3 |
//! | User Property, Content Type, Response Topic, Correlation Data | headers and properties of `Fields` | §3.3.2.3 |
//!
//! Absent: outgoing topic aliases.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod codec;
mod connection;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod mapping;
mod options;
mod state;

#[cfg(test)]
#[path = "../tests/wire/mod.rs"]
mod client;

pub use options::{Elsewhere, Options};

use async_trait::async_trait;
use crossdock_core::{
    Accepted, Broker, Error, ExchangeSpec, Format, Kind, Protocol, Settings, Sniff,
};
use crossdock_net::Live;
use std::pin::Pin;
use std::sync::Arc;

/// The queue of a client's session is named so, with the client's identifier behind it.
pub const SESSION_QUEUES: &str = "mqtt/";

/// The protocol, with what its new connections are served with.
#[derive(Debug, Clone, Default)]
pub struct Mqtt {
    pub options: Live<Options>,
}

#[async_trait]
impl Protocol for Mqtt {
    fn name(&self) -> &'static str {
        "mqtt"
    }

    fn topology(&self) -> Vec<ExchangeSpec> {
        vec![ExchangeSpec::new(Settings::default().topic_exchange, Kind::Topic)]
    }

    fn formats(&self) -> Vec<Arc<dyn Format>> {
        vec![Arc::new(mapping::Bare), Arc::new(mapping::PropertyBlock)]
    }

    fn sniff(&self, head: &[u8]) -> Sniff {
        connection::sniff(head)
    }

    // Not an `async fn`: its future would hold what was accepted for as long as the connection lasts.
    fn serve<'a, 'f>(
        &'a self,
        accepted: Accepted,
        broker: Broker,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        connection::serve(self.options.get(), accepted, broker)
    }
}
