//! An authenticator: who is let in, and what may they do?

use crate::Start;
use crate::abi::{self, Views};
use crate::values::text;
use std::fmt;
use std::time::SystemTime;

/// An authenticator of a plugin.
pub trait Authenticator: Start {
    /// Judges a login; several threads ask at once. An error refuses it, and nobody else is asked: it says why, for the
    /// broker's log, and without the secret. The client is told neither.
    fn login(&self, login: &Login<'_>) -> Result<Answer, String>;
}

/// A login that is to be judged.
#[derive(Debug, Clone)]
pub struct Login<'a> {
    pub credentials: Credentials<'a>,
    /// The client is on the broker's machine.
    pub loopback: bool,
    /// Its address and port as text; empty: not known.
    pub peer: &'a str,
    /// The client identifier that it gives, true or not; empty: none, or not known yet.
    pub client: &'a str,
    /// Where it wants to be. None: not known yet, as with AMQP.
    pub virtual_host: Option<&'a str>,
}

/// What a client presents.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Credentials<'a> {
    Anonymous,
    Password {
        user: &'a str,
        /// It may be a token all the same: most clients have one place for both.
        password: Secret<'a>,
    },
    /// A password without a user's name, as of MQTT 5.
    Token {
        /// What the client calls itself, or empty.
        user: &'a str,
        token: Secret<'a>,
    },
    /// The listener has verified the certificate.
    Certificate {
        /// What the client calls itself, or empty.
        user: &'a str,
        names: CertificateNames<'a>,
    },
}

/// The names in a client's certificate.
#[derive(Debug, Clone, Default)]
pub struct CertificateNames<'a> {
    /// As RFC 4514 writes it: `CN=device-7,O=Example`.
    pub subject: &'a str,
    pub common_names: Vec<&'a str>,
    /// Each as `DNS:…`, `URI:…`, `email:…` or `IP:…`.
    pub alternative_names: Vec<&'a str>,
}

/// A secret that never prints itself. The bytes are the broker's: whoever copies them overwrites the copy.
#[derive(Clone, Copy)]
pub struct Secret<'a>(&'a [u8]);

impl<'a> Secret<'a> {
    /// Of those bytes: for tests, since the broker brings its own.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// As the client sent them. To be compared in a time that does not depend on where they differ.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Somebody else may know: the next one is asked.
    NotMine,
    /// A user of the broker's own, with the rights and tags that stand there. It has to be there.
    Account {
        user: String,
        /// When the login ends; none: with the connection.
        expires: Option<SystemTime>,
    },
    User(User),
}

/// Somebody who brings rights along. They hold as long as the login, whatever becomes of the user meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// At most 255 bytes, and not `guest`.
    pub name: String,
    /// `monitoring` and `administrator` may read metrics.
    pub tags: Vec<String>,
    /// When the login ends, and its connection is closed; none: with the connection.
    pub expires: Option<SystemTime>,
    /// The virtual hosts that it may enter.
    pub rights: Vec<Rights>,
}

/// What somebody may do in a virtual host: patterns as in a `[[user]]`, `queue:orders-*` or `topic:plant/#`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rights {
    /// The usual one is `/`.
    pub virtual_host: String,
    pub configure: Vec<String>,
    pub write: Vec<String>,
    pub read: Vec<String>,
}

/// # Safety
/// They are there for as long as `'a`.
unsafe fn texts<'a>(views: Views) -> Vec<&'a str> {
    // SAFETY: the caller's promise.
    unsafe { views.all().iter().map(|view| text(*view)).collect() }
}

impl Login<'_> {
    /// None: a newer broker asks about something that this SDK does not know.
    ///
    /// # Safety
    /// It is what the broker passed, and used during that call.
    pub(crate) unsafe fn of(it: &abi::Login) -> Option<Self> {
        // SAFETY: the caller's promise, for all of them.
        let (user, secret) = unsafe { (text(it.user), Secret(it.secret.bytes())) };
        let credentials = match it.kind {
            abi::ANONYMOUS => Credentials::Anonymous,
            abi::PASSWORD => Credentials::Password { user, password: secret },
            abi::TOKEN => Credentials::Token { user, token: secret },
            abi::CERTIFICATE => {
                // SAFETY: the same.
                let (subject, common_names, alternative_names) = unsafe {
                    (text(it.subject), texts(it.common_names), texts(it.alternative_names))
                };
                let names = CertificateNames { subject, common_names, alternative_names };
                Credentials::Certificate { user, names }
            }
            _ => return None,
        };
        // SAFETY: the same.
        let (peer, client, vhost) =
            unsafe { (text(it.peer), text(it.client), text(it.virtual_host)) };
        Some(Self {
            credentials,
            loopback: it.flags & abi::LOOPBACK != 0,
            peer,
            client,
            virtual_host: Some(vhost).filter(|vhost| !vhost.is_empty()),
        })
    }
}
