//! Opens the sockets of a listener.

use super::ListenerSpec;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, lookup_host};

/// Connections that the system completes before they are accepted. More than that meet a full queue and try again.
const BACKLOG: i32 = 1024;

/// Bound sockets, and what is to be done with their connections.
pub struct Listener {
    pub spec: ListenerSpec,
    pub(super) sockets: Vec<TcpListener>,
}

impl Listener {
    /// Where it is bound: one address for each that was asked for, in that order.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.sockets.iter().map(TcpListener::local_addr).collect()
    }
}

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot bind {address}: {source}")]
pub struct BindError {
    /// As it was asked for.
    pub address: String,
    pub source: io::Error,
}

/// Binds every one of the `addresses` (`host:port`, `[::]:port`), or none. A host name is bound to the first of its
/// addresses that can be. An IPv6 address takes no IPv4 connections, so that `0.0.0.0` and `[::]` go together.
pub async fn bind(spec: ListenerSpec, addresses: &[String]) -> Result<Listener, BindError> {
    let mut sockets = Vec::with_capacity(addresses.len());
    for address in addresses {
        let bound = bind_one(address).await;
        sockets.push(bound.map_err(|source| BindError { address: address.clone(), source })?);
    }
    Ok(Listener { spec, sockets })
}

async fn bind_one(address: &str) -> io::Result<TcpListener> {
    let mut failure = io::Error::new(
        io::ErrorKind::InvalidInput,
        "the name of the listener's host has no address",
    );
    for address in lookup_host(address).await? {
        match open(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart need not wait until the connections of the process before are forgotten.
    socket.set_reuse_address(true)?;
    // Accepted connections have it, too: a peer that vanished without a word is found by the system, also where its
    // protocol agreed on no heartbeats.
    socket.set_keepalive(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
