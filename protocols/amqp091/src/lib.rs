//! AMQP 0-9-1, as RabbitMQ's clients speak it: frames ⇄ the core's verbs. It routes nothing and keeps no message.
//!
//! | AMQP 0-9-1 | core | specification |
//! |---|---|---|
//! | connection | `Session` without a name | AMQP 0-9-1 §1.4.2 (connection), §2.2.4 |
//! | channel | `LaneId`: order, confirm numbers, transaction | §1.4.3 (channel); RabbitMQ "Confirms" |
//! | vhost | `SessionSpec::vhost` | §1.4.2.8 |
//! | exchange | `ExchangeSpec`; key in topic form, separators swapped | §3.1.3; docs/SEMANTICS.md §1 |
//! | default exchange | the core's: key = queue name, opaque | §3.1.3.1 |
//! | queue | `QueueSpec`, arguments read by the core | §3.1.2 |
//! | binding, exchange-to-exchange binding | `Bind` | §2.1.2; RabbitMQ "E2E bindings" |
//! | basic.publish | `Publish`; properties = `Native`, delivery-mode 2 = durable, level 1 | §1.8.3.7; docs/SEMANTICS.md §2 |
//! | mandatory | `Publish::mandatory` → basic.return 312 | §1.8.3.9 |
//! | basic.ack/nack to a publisher | `Confirm` | docs/SEMANTICS.md §2 |
//! | consumer | `Consumer`; no-ack = does not settle | §1.8.3.3 |
//! | basic.qos | `Credit` of later consumers; global: a `PoolId` of the channel | §1.8.3.1; RabbitMQ "Consumer prefetch" |
//! | basic.get | `Session::get` | §1.8.3.10 |
//! | ack, nack, reject, recover | `Outcome` Accepted, Failed (requeue) or Rejected | docs/SEMANTICS.md §2 |
//! | tx | `begin`, `commit`, `rollback` of the lane | §1.9 |
//! | connection.blocked | `Notice::Blocked` | RabbitMQ "Blocked connections" |
//! | channel.close, connection.close | `ErrorKind` by `mapping::errors` | §1.2 |
//!
//! ```text
//! bytes ─ codec ─► Frame, Method ─ mapping ─► Publish, Consumer, Outcome ─ connection ─► Session
//! bytes ◄ codec ── Reply + content ◄ mapping ── Delivery, Confirm ◄──────────────────────┘
//! ```
//!
//! Not served, and refused with 540: classes access, file, stream; `immediate`; a prefetch size; recover without
//! requeue; queues of type stream.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
pub mod codec;
mod connection;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod mapping;
mod options;

pub use options::Options;

use async_trait::async_trait;
use codec::frame::PROTOCOL_HEADER;
use crossdock_core::{Accepted, Broker, Error, ExchangeSpec, Format, Kind, Protocol, Sniff};
use crossdock_net::Live;
use mapping::Amqp091Format;
use std::sync::Arc;

/// The protocol, with what its new connections are served with.
#[derive(Debug, Clone, Default)]
pub struct Amqp091 {
    pub options: Live<Options>,
}

/// What every virtual host has (AMQP 0-9-1 §3.1.3); the default exchange is the core's own.
const EXCHANGES: [(&str, Kind); 5] = [
    ("amq.direct", Kind::Direct),
    ("amq.fanout", Kind::Fanout),
    ("amq.topic", Kind::Topic),
    ("amq.headers", Kind::Headers),
    ("amq.match", Kind::Headers),
];

#[async_trait]
impl Protocol for Amqp091 {
    fn name(&self) -> &'static str {
        "amqp"
    }

    fn topology(&self) -> Vec<ExchangeSpec> {
        EXCHANGES.iter().map(|(name, kind)| ExchangeSpec::new(*name, *kind)).collect()
    }

    fn formats(&self) -> Vec<Arc<dyn Format>> {
        vec![Arc::new(Amqp091Format)]
    }

    fn sniff(&self, head: &[u8]) -> Sniff {
        // "AMQP" is enough: a client of another version gets this version's header as the answer (§4.2.2).
        let word = PROTOCOL_HEADER.get(..4).unwrap_or_default();
        match head.len() < word.len() {
            true if word.starts_with(head) => Sniff::More,
            false if head.starts_with(word) => Sniff::Yes,
            _ => Sniff::No,
        }
    }

    async fn serve(&self, accepted: Accepted, broker: Broker) -> Result<(), Error> {
        connection::serve(accepted, broker, &self.options.get()).await
    }
}
