//! HTTP/1.1 on an accepted connection.

use axum::Router;
use bytes::{Buf, BytesMut};
use crossdock_core::{Accepted, Drain, Error, ErrorKind, Sniff};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Time for the head of a request, from the beginning of the connection or the end of the request before.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A connection may serve requests for this long; its client connects again.
const LIFE: Duration = Duration::from_secs(3600);
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

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(context)
    }
}

/// Serves requests by `router` until the client leaves, is silent for too long, or the process stops.
pub async fn serve(accepted: Accepted, router: Router) -> Result<(), Error> {
    let Accepted { reader, writer, head, peer, listener, drain, .. } = accepted;
    let io = TokioIo::new(Io { head, reader, writer });
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
