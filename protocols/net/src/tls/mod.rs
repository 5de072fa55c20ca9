//! TLS: what a listener is given for it, how that is loaded and exchanged, and what a client's certificate says.
//!
//! One provider of cryptography does all of it, `ring`, and is named wherever one is needed: none is installed for the
//! process, so that nothing depends on who installs first. Of the two that rustls comes with it is the one that builds
//! with less: half a minute, and no tools beyond a C compiler.

mod certificate;
mod load;
mod self_signed;
mod validity;
mod whole;

pub use load::{TlsMistake, TlsMistakeKind, load};
pub use self_signed::{SelfSigned, SelfSignedError, self_signed, self_signed_for};

pub use validity::{CertificateTime, Moment};

pub(crate) use whole::Whole;

use arc_swap::ArcSwap;
use crossdock_core::PeerCertificate;
use rustls::ServerConfig;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What the TLS of a listener is made of. All files are PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The server's certificate, and behind it those that lead to its authority.
    pub certificate: PathBuf,
    /// The private key of the first certificate: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
    /// Certificates of the authorities whose client certificates are accepted.
    pub client_ca: Option<PathBuf>,
    pub client_certificate: ClientCertificate,
    pub min_version: TlsVersion,
    /// Names of protocols that are agreed on with clients that offer some (RFC 7301); a client that offers only others
    /// is refused, one that offers none is not. Empty: what clients offer is not looked at.
    pub alpn: Vec<String>,
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificate {
    /// They are not asked for one.
    #[default]
    Off,
    /// They are asked. One that cannot be verified ends the handshake; none is accepted.
    Optional,
    /// Without one that can be verified the handshake fails.
    Required,
}

/// A version of TLS. Older ones are not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    #[default]
    V1_2,
    V1_3,
}

/// Loaded and checked: what new connections of a listener are served with.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    server: Arc<ServerConfig>,
    /// Every certificate in its files: the server's chain, and the authorities of clients.
    pub certificates: Vec<CertificateTime>,
    /// What is wrong without being in the way: to be shown to the operator.
    pub warnings: Vec<TlsMistake>,
    /// Stands for all that was in its files.
    contents: [u8; 20],
}

/// The TLS of a listener while it runs. Clones are the same handle.
#[derive(Clone)]
pub struct TlsHandle(Arc<ArcSwap<TlsConfig>>);

impl TlsHandle {
    /// A handle with this configuration.
    pub fn new(config: TlsConfig) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(config)))
    }

    /// From now on new connections are served with this. Open ones go on with what they began with.
    pub fn replace(&self, config: TlsConfig) {
        self.0.store(Arc::new(config));
    }

    /// Whether new connections are served with what that configuration has read from its files.
    pub fn has(&self, config: &TlsConfig) -> bool {
        self.0.load().contents == config.contents
    }

    /// The certificates that new connections are served with, and those of the authorities of clients.
    pub fn certificates(&self) -> Vec<CertificateTime> {
        self.0.load().certificates.clone()
    }

    /// The handshake of one connection, and the certificate that its peer showed.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
    ) -> io::Result<(TlsStream<S>, Option<PeerCertificate>)> {
        let stream = TlsAcceptor::from(self.0.load().server.clone()).accept(socket).await?;
        let (_, session) = stream.get_ref();
        let certificate = match session.peer_certificates().and_then(<[_]>::first) {
            // The verifier has read it already. A part of it that this cannot read is no reason to guess.
            Some(first) => Some(certificate::read(first).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "the client's certificate is malformed")
            })?),
            None => None,
        };
        Ok((stream, certificate))
    }
}
