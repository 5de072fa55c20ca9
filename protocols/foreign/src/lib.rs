//! Protocols that are spoken elsewhere, as in a plugin: the socket, the session and the deadlines of a connection whose
//! bytes a [`Dialog`](crossdock_core::dialog::Dialog) understands. It knows no protocol.
//!
//! | wish | core |
//! |---|---|
//! | log in | `Broker::login`, then `Session` without a name, one lane |
//! | publish | `Publish` with a confirm |
//! | subscribe to a queue | `Consumer` |
//! | subscribe to a topic | a queue of this connection's own, its binding, and a `Consumer` |
//! | settle | `Outcome` Accepted, Failed or Rejected |

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod connection;
mod subscriptions;

use async_trait::async_trait;
use crossdock_core::dialog::Speaker;
use crossdock_core::{Accepted, Broker, Error, ExchangeSpec, Format, Kind, Protocol, Sniff};
use crossdock_net::Dialect;
use std::sync::Arc;
use std::time::Duration;

/// What connections are served with.
#[derive(Debug, Clone)]
pub struct Options {
    /// To log in.
    pub login_time: Duration,
    /// Output that does not move for this long ends the connection.
    pub write_time: Duration,
}

/// A protocol that is spoken elsewhere.
#[derive(Clone)]
pub struct Foreign {
    speaker: Arc<dyn Speaker>,
    dialect: &'static Dialect,
    options: Options,
}

impl Foreign {
    /// As that one speaks it. It is kept as long as the process lives.
    pub fn new(speaker: Arc<dyn Speaker>, options: Options) -> Self {
        let dialect = Dialect { protocol: speaker.name(), heartbeat: b"", pings: None };
        Self { speaker, dialect: Box::leak(Box::new(dialect)), options }
    }
}

#[async_trait]
impl Protocol for Foreign {
    fn name(&self) -> &'static str {
        self.speaker.name()
    }

    fn topology(&self) -> Vec<ExchangeSpec> {
        vec![ExchangeSpec::new("amq.topic", Kind::Topic)]
    }

    fn formats(&self) -> Vec<Arc<dyn Format>> {
        // Its messages have no header bytes of their own.
        Vec::new()
    }

    fn sniff(&self, _: &[u8]) -> Sniff {
        // It shares no port, and has one for itself without being asked.
        Sniff::No
    }

    fn speaks_first(&self) -> bool {
        true
    }

    async fn serve(&self, accepted: Accepted, broker: Broker) -> Result<(), Error> {
        connection::serve(self, accepted, broker).await
    }
}
