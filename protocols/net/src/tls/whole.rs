//! The sending side of a TLS connection for writers that never flush. TLS takes bytes before the socket does, and would
//! keep the last of them until the next write; this one reports bytes as written when the socket has them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// A writer that has sent what it says it has. Whoever is told to wait has to come back with bytes that begin with the
/// same ones, as [`Output`](crate::Output) does: they may be on their way already.
pub(crate) struct Whole<W> {
    writer: W,
    /// Bytes that the writer took and has not sent. The caller does not know of them.
    held: usize,
}

impl<W: AsyncWrite + Unpin> Whole<W> {
    pub(crate) fn new(writer: W) -> Self {
        Self { writer, held: 0 }
    }

    fn poll_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.writer).poll_flush(context))?;
        Poll::Ready(Ok(std::mem::take(&mut self.held)))
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Whole<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.held == 0 {
            self.held = ready!(Pin::new(&mut self.writer).poll_write(context, bytes))?;
        }
        self.poll_held(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.held == 0 {
            self.held = ready!(Pin::new(&mut self.writer).poll_write_vectored(context, slices))?;
        }
        self.poll_held(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.writer.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::io::{AsyncReadExt, BufWriter};

    #[tokio::test]
    async fn bytes_are_written_when_they_are_sent() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut whole = Whole::new(BufWriter::new(near));
        let context = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut whole).poll_write(context, b"123456").is_pending());
        let mut got = [0; 6];
        far.read_exact(&mut got[..4]).await.unwrap();
        let more = [IoSlice::new(b"1234"), IoSlice::new(b"5678")];
        let Poll::Ready(Ok(6)) = Pin::new(&mut whole).poll_write_vectored(context, &more) else {
            panic!("the six bytes of the first write are sent, and no others")
        };
        far.read_exact(&mut got[4..]).await.unwrap();
        assert_eq!(&got, b"123456");
    }
}
