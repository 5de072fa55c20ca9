//! HTTP/1.1 on an accepted connection.

use axum::Router;
use bytes::{Buf, BytesMut};
use crossdock_core::{Accepted, Drain, Error, ErrorKind, Sniff};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Time for the head of a request, from the beginning of the connection or the end of the request before.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A connection may serve requests for this long; its client connects again.
const LIFE: Duration = Duration::from_secs(3600);
/// Time for a client to read an answer, from when it first has to be waited for. Not for each part of it: a client that
/// takes a byte now and then would hold its place among the listener's connections for as long as it likes.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// Bytes that are written in one turn of the connection's task, 20 to 30 µs of the kernel's time; other tasks of the
/// same thread have theirs then. It would take 10 MB in a write or two: some milliseconds in which nobody else has a
/// turn.
const PIECE: usize = 64 << 10;
/// Headers of a request, at most.
const HEADERS: usize = 64;
/// Bytes of a request's head, at most.
const HEAD_BYTES: usize = 16 << 10;

/// First bytes of a request.
const METHODS: [&[u8]; 6] = [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS "];

/// Whether a connection that begins so speaks HTTP.
pub fn sniff(head: &[u8]) -> Sniff {
    let begins = |method: &&[u8]| method.starts_with(head) || head.starts_with(method);
    match METHODS.iter().find(|method| begins(method)) {
        Some(method) if head.len() >= method.len() => Sniff::Yes,
        Some(_) => Sniff::More,
        None => Sniff::No,
    }
}

/// Both directions of a connection, and what was read of it already.
struct Io {
    head: BytesMut,
    reader: Box<dyn AsyncRead + Send + Sync + Unpin>,
    writer: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    /// When the answer has to be with the peer; none: nothing waits for it to read.
    late: Option<Pin<Box<Sleep>>>,
    /// A piece was written: the next turn is for others.
    gives_way: bool,
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head.is_empty() {
            return Pin::new(&mut self.reader).poll_read(context, to);
        }
        let part = self.head.len().min(to.remaining());
        to.put_slice(self.head.get(..part).unwrap_or_default());
        self.head.advance(part);
        Poll::Ready(Ok(()))
    }
}

impl Io {
    /// The result of a write, or the end of a connection whose peer takes nothing.
    fn in_time<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            return poll;
        }
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(WRITE_TIME)));
        match late.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client did not read the answer in time",
            ))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if std::mem::take(&mut self.gives_way) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = bytes.get(..PIECE).unwrap_or(bytes);
        let poll = Pin::new(&mut self.writer).poll_write(context, piece);
        self.gives_way = matches!(poll, Poll::Ready(Ok(PIECE)));
        self.in_time(context, poll)
    }

    // With this the server does not copy a long body behind its head.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if bytes > PIECE || self.gives_way {
            let first = parts.iter().find(|part| !part.is_empty());
            return self.poll_write(context, first.map_or(&[], |part| part));
        }
        let poll = Pin::new(&mut self.writer).poll_write_vectored(context, parts);
        self.in_time(context, poll)
    }

    // The server flushes when it has written all that it has.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.writer).poll_flush(context);
        if matches!(poll, Poll::Ready(Ok(()))) {
            self.late = None;
        }
        self.in_time(context, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.writer).poll_shutdown(context);
        self.in_time(context, poll)
    }
}

/// Serves requests by `router` until the client leaves, is silent for too long, or the process stops.
pub async fn serve(accepted: Accepted, router: Router) -> Result<(), Error> {
    let Accepted { reader, writer, head, peer, listener, drain, .. } = accepted;
    let io = TokioIo::new(Io { head, reader, writer, late: None, gives_way: false });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    server.max_headers(HEADERS).max_buf_size(HEAD_BYTES);
    let served = server.serve_connection(io, TowerToHyperService::new(router));
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = over(drain) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    ended.map_err(|error| {
        tracing::debug!(%listener, peer, %error, "an HTTP connection ended");
        Error::new(ErrorKind::Invalid, error.to_string())
    })
}

/// The process stops, or the connection is old.
async fn over(mut drain: Drain) {
    // Either will do.
    let _ = tokio::time::timeout(LIFE, drain.started()).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::sync::watch;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    /// Bytes of the answer.
    const PAGE: usize = 1 << 20;

    /// A client that has asked for a page, the connection that serves it, and what would end that.
    async fn asked() -> (DuplexStream, JoinHandle<Result<(), Error>>, watch::Sender<bool>) {
        let (switch, drain) = Drain::channel();
        let (mut client, server) = tokio::io::duplex(4 << 10);
        let (reader, writer) = tokio::io::split(server);
        let accepted = Accepted {
            reader: Box::new(reader),
            writer: Box::new(writer),
            head: BytesMut::new(),
            peer: "127.0.0.1:1".into(),
            loopback: true,
            secure: false,
            certificate: None,
            since: Instant::now(),
            listener: "metrics".into(),
            drain,
        };
        let router = Router::new().route("/", get(|| async { "x".repeat(PAGE) }));
        let served = tokio::spawn(serve(accepted, router));
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        client.write_all(request).await.expect("it reads");
        (client, served, switch)
    }

    #[tokio::test]
    async fn others_have_their_turn_between_two_pieces() {
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = turns.clone();
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let (reader, writer) = (Box::new(tokio::io::empty()), Box::new(tokio::io::sink()));
        let head = BytesMut::new();
        let mut io = Io { head, reader, writer, late: None, gives_way: false };
        io.write_all(&vec![b'x'; 10 * PIECE]).await.expect("it takes all");
        other.abort();
        assert!(turns.load(Ordering::Relaxed) >= 9, "{turns:?}");
        assert!(io.late.is_none(), "nobody waited for the client");
    }

    /// Whether head and body have come.
    fn is_whole(answer: &[u8]) -> bool {
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
        head.is_some_and(|at| answer.len() == at + 4 + PAGE)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_holds_no_place_for_ever() {
        let begun = Instant::now();
        let (mut client, served, _switch) = asked().await;
        let reads = tokio::spawn(async move {
            // Now and then a byte is no sign of life.
            let mut byte = [0];
            while matches!(client.read(&mut byte).await, Ok(1)) {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let ended = served.await.expect("no panic");
        assert!(ended.is_err());
        assert_eq!(begun.elapsed().as_secs(), WRITE_TIME.as_secs());
        reads.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_begins_anew_with_each_answer() {
        let (mut client, served, _switch) = asked().await;
        for _ in 0..5 {
            let mut answer = Vec::new();
            sleep(WRITE_TIME / 2).await;
            while !is_whole(&answer) {
                client.read_buf(&mut answer).await.expect("an answer");
            }
            sleep(HEAD_TIME / 2).await;
            assert!(!served.is_finished(), "what was read in time is no reason to close");
            let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
            client.write_all(request).await.expect("it reads");
        }
        served.abort();
    }
}
