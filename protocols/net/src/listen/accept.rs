//! Takes connections until the drain starts, and gives each its own task.

use super::arrival::Door;
use super::bind::Listener;
use super::report::{NotAccepted, Refusal};
use crossdock_core::{Broker, Drain};
use rustix::io::Errno;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Pause after an accept that failed, for want of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Between two summaries of what happened at a listener.
const SUMMARY_EVERY: Duration = Duration::from_secs(60);

/// Accepts until the drain starts, then waits for the connections to end.
pub async fn serve(listener: Listener, broker: Broker, mut drain: Drain) {
    let Listener { spec, sockets } = listener;
    let door = Arc::new(Door::new(spec, drain.clone(), broker));
    let mut sockets = Sockets { sockets, first: 0, spare: spare() };
    let mut seldom = NotAccepted::default();
    let mut connections = JoinSet::new();
    let mut minute = interval(SUMMARY_EVERY);
    minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! { biased;
            () = drain.started() => break,
            _ = minute.tick() => {
                door.report.minute(door.admission.open());
                continue;
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = sockets.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(place) = door.admit(peer) {
                    connections.spawn(door.clone().serve(stream, peer, place));
                }
            }
            // The peer went away before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if is_want_of_descriptors(&error) {
                    let peer = sockets.refuse_one();
                    door.refused(Refusal::NoDescriptors, peer, &error);
                } else {
                    door.report.not_accepted(&error, &mut seldom);
                }
                // Not slept through when the drain starts.
                let _ = timeout(ACCEPT_PAUSE, drain.started()).await;
            }
        }
    }
    drop(sockets);
    while connections.join_next().await.is_some() {}
    door.report.minute(0);
}

fn is_want_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// The sockets of one listener.
struct Sockets {
    sockets: Vec<TcpListener>,
    /// The socket that is asked first: each in its turn, so that none starves.
    first: usize,
    /// A file descriptor that is given up to accept and close a connection for which there is none. A peer that is left
    /// in the queue would wait for an answer, and whoever comes behind it too.
    spare: Option<File>,
}

impl Sockets {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        // Another thread may have been faster the last time.
        if self.spare.is_none() {
            self.spare = spare();
        }
        poll_fn(|context| self.poll_accept(context)).await
    }

    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let count = self.sockets.len().max(1);
        self.first = (self.first + 1) % count;
        let (before, from) = self.sockets.split_at(self.first.min(self.sockets.len()));
        for socket in from.iter().chain(before) {
            if let Poll::Ready(accepted) = socket.poll_accept(context) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }

    /// Accepts a connection with the spare file descriptor, if one waits, and closes it; says whose it was.
    fn refuse_one(&mut self) -> Option<SocketAddr> {
        self.spare = None;
        let accepted = self.poll_accept(&mut Context::from_waker(std::task::Waker::noop()));
        let peer = match accepted {
            Poll::Ready(Ok((_closed, peer))) => Some(peer),
            _ => None,
        };
        self.spare = spare();
        peer
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}
