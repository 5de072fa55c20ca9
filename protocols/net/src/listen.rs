//! Listeners: bind, accept, recognise the protocol by the first bytes where several share a port, and hand the
//! connection to its adapter.

use bytes::BytesMut;
use crossdock_core::{Accepted, Broker, Drain, Name, Protocol, Sniff};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::task::JoinSet;

/// Within this time the first bytes on a shared port have to show which protocol the peer speaks.
const SNIFF_TIME: Duration = Duration::from_secs(10);
/// More bytes than this are needed to recognise no protocol.
const SNIFF_BYTES: usize = 64;
/// Pause after an accept that failed, for want of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Between two warnings about connections that are too many: whoever connects decides how many there are.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// A bound socket and the protocols that are spoken on it.
pub struct Listener {
    pub name: Name,
    pub protocols: Vec<Arc<dyn Protocol>>,
    socket: TcpListener,
    /// At most this many connections are open at once; more are closed when they are accepted.
    connections_max: usize,
}

impl Listener {
    /// Where it is bound.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Binds `address` (`host:port`).
pub async fn bind(
    name: Name,
    address: &str,
    protocols: Vec<Arc<dyn Protocol>>,
    connections_max: usize,
) -> io::Result<Listener> {
    let mut failure = io::Error::new(
        io::ErrorKind::InvalidInput,
        "the name of the listener's host has no address",
    );
    for address in lookup_host(address).await? {
        match TcpListener::bind(address).await {
            Ok(socket) => return Ok(Listener { name, protocols, socket, connections_max }),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Accepts until the drain starts, then waits for the connections to end.
pub async fn serve(listener: Listener, broker: Broker, mut drain: Drain) {
    let Listener { name, protocols, socket, connections_max } = listener;
    let protocols: Arc<[Arc<dyn Protocol>]> = protocols.into();
    let open = Arc::new(AtomicUsize::new(0));
    let mut connections = JoinSet::new();
    let (mut warned, mut refused): (Option<Instant>, u64) = (None, 0);
    loop {
        let accepted = tokio::select! { biased;
            () = drain.started() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(
                    listener = %name, %error,
                    "cannot accept a connection: is the limit of open files reached? trying again"
                );
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if open.fetch_add(1, Ordering::Relaxed) >= connections_max {
            open.fetch_sub(1, Ordering::Relaxed);
            refused += 1;
            if warned.is_some_and(|at| at.elapsed() < WARN_EVERY) {
                continue;
            }
            warned = Some(Instant::now());
            tracing::warn!(
                listener = %name, %peer, connections_max, refused = std::mem::take(&mut refused),
                "connection closed at once: the listener has as many as it may have"
            );
            continue;
        }
        let (protocols, broker, drain) = (protocols.clone(), broker.clone(), drain.clone());
        let (counted, listener) = (Counted(open.clone()), name.clone());
        connections.spawn(async move {
            // Held to the connection's end, whichever way it ends.
            let _counted = counted;
            // How a connection of a known protocol ended, its adapter has logged with the client's name.
            match accept(stream, peer, listener.clone(), &protocols, drain).await {
                Ok((protocol, accepted)) => drop(protocol.serve(accepted, broker).await),
                Err(error) => {
                    tracing::debug!(
                        %listener, %peer, %error,
                        "connection closed: its protocol is not known"
                    );
                }
            }
        });
    }
    drop(socket);
    while connections.join_next().await.is_some() {}
}

/// Counts a connection as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Finds out which protocol the peer speaks.
async fn accept(
    stream: TcpStream,
    peer: SocketAddr,
    listener: Name,
    protocols: &[Arc<dyn Protocol>],
    drain: Drain,
) -> io::Result<(&Arc<dyn Protocol>, Accepted)> {
    stream.set_nodelay(true)?;
    let (mut reader, writer) = stream.into_split();
    let mut head = BytesMut::new();
    let protocol = match protocols {
        [only] => only,
        several => {
            let sniffed = sniff(&mut reader, &mut head, several);
            tokio::time::timeout(SNIFF_TIME, sniffed).await.unwrap_or_else(|_| {
                let detail = "the first bytes did not come in time";
                Err(io::Error::new(io::ErrorKind::TimedOut, detail))
            })?
        }
    };
    let accepted = Accepted {
        reader: Box::new(reader),
        writer: Box::new(writer),
        head,
        peer: peer.to_string(),
        loopback: peer.ip().to_canonical().is_loopback(),
        listener,
        drain,
    };
    Ok((protocol, accepted))
}

/// Reads until the first bytes show the protocol; they stay in `head`.
async fn sniff<'a>(
    reader: &mut (impl AsyncRead + Unpin),
    head: &mut BytesMut,
    protocols: &'a [Arc<dyn Protocol>],
) -> io::Result<&'a Arc<dyn Protocol>> {
    loop {
        if reader.read_buf(head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let answers: Vec<Sniff> = protocols.iter().map(|p| p.sniff(head)).collect();
        if let Some(at) = answers.iter().position(|a| *a == Sniff::Yes) {
            return protocols.get(at).ok_or_else(|| io::ErrorKind::Other.into());
        }
        if !answers.contains(&Sniff::More) || head.len() > SNIFF_BYTES {
            let detail = "the first bytes are of no protocol of this listener";
            return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
        }
    }
}
