//! Sockets: listening, with TLS, WebSocket and PROXY headers, recognising protocols on a shared port, and the loop of a
//! connection with its two buffers and its deadlines; a local socket for whoever runs this process. It knows no
//! protocol and no message.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod ahead;
mod deadlines;
mod entrance;
mod input;
mod line;
mod listen;
mod live;
mod local;
mod output;
pub mod tls;
mod turn;
mod websocket;

pub use ahead::{Pings, Seen};
pub use entrance::Entrance;
pub use input::Input;
pub use line::{Dialect, KeepAlive, Line, Lost, Ready};
pub use listen::{
    AdmissionHandle, AdmissionLimits, BindError, ConnectRate, Listener, ListenerSpec, Transport,
    bind, serve,
};
pub use live::Live;
pub use local::{LocalError, LocalListener, bind_local, connect_local, serve_local};
pub use output::Output;
