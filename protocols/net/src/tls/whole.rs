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
    use crate::Output;
    use crate::tls::{ClientCertificate, TlsHandle, TlsSettings, TlsVersion, load, self_signed};
    use rustls::crypto::ring;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use std::sync::Arc;
    use std::task::Waker;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, BufWriter};
    use tokio::time::timeout;
    use tokio_rustls::TlsConnector;

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

    #[tokio::test]
    async fn nothing_stays_behind_in_tls() {
        let dir = tempfile::tempdir().unwrap();
        let files = self_signed(&dir.path().join("tls")).unwrap();
        let settings = TlsSettings {
            certificate: files.server,
            key: files.server_key,
            client_ca: None,
            client_certificate: ClientCertificate::Off,
            min_version: TlsVersion::V1_3,
            alpn: Vec::new(),
        };
        let handle = TlsHandle::new(load(&settings).unwrap());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&files.authority).unwrap()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (near, far) = tokio::io::duplex(1000);
        let served = tokio::spawn(async move {
            let (reader, writer) = tokio::io::split(handle.accept(near).await.unwrap().0);
            let mut output = Output::new(Box::new(Whole::new(writer)));
            output.push(&vec![b'x'; 300_000].into());
            while !output.is_empty() {
                output.write_some().await.unwrap();
            }
            // Nobody writes any more, and nobody flushes.
            std::future::pending::<()>().await;
            drop((reader, output));
        });
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(client));
        let mut stream = connector.connect(name, far).await.unwrap();
        let mut got = vec![0; 300_000];
        let read = timeout(Duration::from_secs(10), stream.read_exact(&mut got)).await;
        read.expect("all of it comes").unwrap();
        served.abort();
    }
}
