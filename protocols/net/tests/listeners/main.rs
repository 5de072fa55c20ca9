//! Listeners, over real sockets of this machine.

#[path = "../stage/mod.rs"]
mod stage;

mod admission;
mod binds;
mod proxy;
mod strangers;
mod tls;
mod websocket;
