//! What operators look at, over HTTP. A listener speaks it like any other protocol, with TLS, limits and drain from
//! there.
//!
//! | file | what is in it |
//! |---|---|
//! | `serve` | HTTP/1.1 on an accepted connection |
//! | `door` | who may look |
//! | `behind` | work on a thread to which all that serve clients are preferred |
//! | `process` | memory, file descriptors and age of this process |
//! | `control` | what `crossdock ctl` asks for: JSON on a socket of the data directory |
//! | `metrics` | the pages `/metrics…` in the text format of Prometheus, and `/health/…` |
//!
//! It imports the core only, names no protocol, and reads numbers where they are counted, when somebody asks.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod behind;
mod control;
mod door;
mod metrics;
mod process;
mod serve;

pub use control::{
    BackupMade, BackupOrder, CertificateLook, Control, ListenerLook, NOT_THEIRS, Operations,
    Patterns, PluginLook, Standing, UserChange,
};
pub use door::Doors;
pub use metrics::{Metrics, Node};
