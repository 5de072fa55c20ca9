//! STOMP 1.0, 1.1 and 1.2: frames ⇄ the core's verbs. It routes nothing and keeps no message.
//!
//! | STOMP | core | specification |
//! |---|---|---|
//! | connection, CONNECT/STOMP | `Session` without a name, one lane | STOMP 1.2 §Connecting; docs/SEMANTICS.md §2 |
//! | `host` | virtual host, the default one when there is none of that name | STOMP 1.2 §CONNECT or STOMP Frame |
//! | heart-beat | write margin and read tolerance of this adapter | STOMP 1.2 §Heart-beating |
//! | SEND | `Publish`; header block = `Native` | §3 |
//! | `/queue/q` | durable queue `q`, declared when missing | §1 |
//! | `/topic/t` | the topic exchange with the key in topic form | §1 |
//! | `/exchange/x/k` | exchange `x`, key `k` with its separators swapped | §1 |
//! | `/amq/queue/q`, `/reply-queue/q` | queue `q`, never declared | §1, §5 |
//! | `/temp-queue/n`, `/temp-topic/n` | a queue or a topic of this connection's own | §5 |
//! | RECEIPT of a SEND | `Confirm` | docs/SEMANTICS.md §2 |
//! | RECEIPT of ACK, NACK, DISCONNECT | `Session::sync` | docs/SEMANTICS.md §2 |
//! | SUBSCRIBE | `Consumer`; of a topic also a queue and its binding | §7 |
//! | prefetch headers | `Credit` of the consumer | |
//! | ACK, NACK | `Outcome` Accepted, Failed (requeue) or Rejected | §2 |
//! | `ack:client` | settling everything of the subscription up to the message | STOMP 1.2 §SUBSCRIBE |
//! | BEGIN, COMMIT, ABORT | steps kept here, played between `begin` and `commit` of the lane | STOMP 1.2 §BEGIN |
//! | ERROR | the end of the connection, always | STOMP 1.2 §ERROR |
//!
//! ```text
//! bytes ─ codec ─► Frame ─ mapping ─► Publish, Consumer, Outcome ─ connection ─► Session
//! bytes ◄ codec ── head + shared tail ◄ mapping ── Delivery, Confirm ◄───────────┘
//! ```

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

pub use options::{Door, FrameLimits, NackDefault, Options, Speech, TimeUnit};

use async_trait::async_trait;
use codec::Version;
use crossdock_core::{Accepted, Broker, Error, ExchangeSpec, Format, Kind, Protocol, Sniff};
use crossdock_net::Live;
use mapping::StompFormat;
use std::sync::Arc;

/// The protocol, with what its new connections are served with.
#[derive(Debug, Clone, Default)]
pub struct Stomp {
    pub options: Live<Options>,
}

#[async_trait]
impl Protocol for Stomp {
    fn name(&self) -> &'static str {
        "stomp"
    }

    fn topology(&self) -> Vec<ExchangeSpec> {
        vec![ExchangeSpec::new("amq.topic", Kind::Topic)]
    }

    fn formats(&self) -> Vec<Arc<dyn Format>> {
        let format = |version| -> Arc<dyn Format> { Arc::new(StompFormat { version }) };
        Version::ALL.into_iter().map(format).collect()
    }

    /// The first frame is CONNECT or STOMP (STOMP 1.2 §Connecting); line ends in front of it are heart-beats.
    fn sniff(&self, head: &[u8]) -> Sniff {
        let blank = head.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
        let head = head.get(blank..).unwrap_or_default();
        let mut open = false;
        for command in [&b"CONNECT"[..], b"STOMP"] {
            match head.strip_prefix(command) {
                Some([b'\n' | b'\r', ..]) => return Sniff::Yes,
                Some([]) => open = true,
                _ => open |= command.starts_with(head),
            }
        }
        if open { Sniff::More } else { Sniff::No }
    }

    async fn serve(&self, accepted: Accepted, broker: Broker) -> Result<(), Error> {
        connection::serve(&self.options.get(), accepted, broker).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes() {
        let stomp = Stomp::default();
        for yes in ["CONNECT\n", "STOMP\r\nx", "\n\r\nCONNECT\r\n"] {
            assert_eq!(stomp.sniff(yes.as_bytes()), Sniff::Yes, "{yes:?}");
        }
        for more in ["", "\n", "C", "CONNECT", "STOM", "\r\nSTOMP"] {
            assert_eq!(stomp.sniff(more.as_bytes()), Sniff::More, "{more:?}");
        }
        for no in ["AMQP", "\x10\x20", "CONNECTED\n", "SEND\n", "STOMPS", "GET /"] {
            assert_eq!(stomp.sniff(no.as_bytes()), Sniff::No, "{no:?}");
        }
    }

    #[test]
    fn formats_are_fixed() {
        let ids: Vec<u16> = Stomp::default().formats().iter().map(|f| f.id().0).collect();
        assert_eq!(ids, [5, 6, 7]);
    }
}
