//! The seam to authentication: who is this, by what it presented. Not authorisation.

use crate::error::{Error, ErrorKind};
use crate::message::Name;
use async_trait::async_trait;
use std::fmt;

/// What a client presented at login.
#[derive(Clone)]
pub enum Credentials {
    Anonymous,
    Password { user: Name, password: Secret },
}

/// A secret that never prints itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub bytes::Bytes);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A login attempt.
#[derive(Clone)]
pub struct Login {
    pub credentials: Credentials,
    /// The peer's address is a loopback one.
    pub loopback: bool,
}

/// Decides who a client is.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// The user's name, or [`ErrorKind::Refused`].
    async fn login(&self, login: &Login) -> Result<Name, Error>;
}

/// `guest`/`guest` and anonymous, from loopback addresses only: what clients' defaults expect of a first start.
pub struct LoopbackGuest;

#[async_trait]
impl Authenticator for LoopbackGuest {
    async fn login(&self, login: &Login) -> Result<Name, Error> {
        let known = match &login.credentials {
            Credentials::Anonymous => true,
            Credentials::Password { user, password } => {
                &**user == "guest" && &*password.0 == b"guest"
            }
        };
        match known && login.loopback {
            true => Ok(Name::from("guest")),
            false => Err(Error::new(ErrorKind::Refused, "login was refused")),
        }
    }
}
