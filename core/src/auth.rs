//! The seam to authentication: who is this, by what it presented? What somebody may do is in [`rights`](crate::rights);
//! an [`Identity`] says where that is looked up.

use crate::error::{Error, ErrorKind};
use crate::message::{Name, Timestamp};
use crate::rights::Rights;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What a client presented at login.
#[derive(Clone)]
pub enum Credentials {
    Anonymous,
    Password {
        user: Name,
        password: Secret,
    },
    /// A signed statement of somebody else, such as a JWT. `user`: what the client calls itself, or empty.
    Token {
        user: Name,
        token: Secret,
    },
    /// A certificate that the listener has verified. `user`: what the client calls itself, or empty.
    Certificate {
        user: Name,
        names: CertificateNames,
    },
}

/// The names in a client's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CertificateNames {
    /// The subject as RFC 4514 writes it: `CN=device-7,O=Example`.
    pub subject: String,
    pub common_names: Vec<String>,
    /// Subject alternative names, each as `DNS:…`, `URI:…`, `email:…` or `IP:…`.
    pub alternative_names: Vec<String>,
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
    /// The peer's address as text, for logs, the audit and limits by address; empty: not known.
    pub peer: Name,
    /// The client identifier that it gives, true or not; empty: none, or not known yet.
    pub client: Name,
    /// The virtual host that it wants to enter; none: it is not known yet.
    pub vhost: Option<Name>,
    /// Why it is refused, for the log: whoever guesses is not told.
    pub why: OnceLock<String>,
}

impl Login {
    /// An attempt that nobody has judged yet.
    pub fn new(credentials: Credentials, loopback: bool, peer: Name) -> Self {
        let (client, vhost, why) = (Name::default(), None, OnceLock::new());
        Self { credentials, loopback, peer, client, vhost, why }
    }

    /// Notes why it is refused. The first reason counts.
    pub fn refused_because(&self, why: impl Into<String>) {
        let _ = self.why.set(why.into());
    }
}

/// A user and what it may do, wherever it is kept.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Account {
    pub name: Name,
    /// Words that tell operators apart from others; the core does not read them.
    pub tags: Vec<Name>,
    /// What passwords are verified by: hashes and verifiers, opaque to the core. Any of them will do.
    pub verifiers: Vec<Secret>,
    /// The virtual hosts that it may enter, and what it may do there.
    pub vhosts: BTreeMap<Name, Arc<Rights>>,
}

/// Where accounts are found at login.
pub trait Directory: Send + Sync {
    /// The account of that user.
    fn account(&self, user: &str) -> Option<Arc<Account>>;

    /// Moves with every change of an account: what was remembered before may be wrong.
    fn generation(&self) -> u64;

    /// The virtual hosts that there are: for logins that bring their rights along.
    fn vhosts(&self) -> Vec<Name>;
}

/// Where a user's rights are looked up.
#[derive(Debug, Clone)]
pub enum Access {
    /// Nowhere: everything is allowed in every virtual host. The guest of this machine, and the broker itself.
    All,
    /// In the broker's accounts, at every use, so that a change holds for live sessions.
    Account,
    /// They came with the login, by virtual host, and do not change.
    Of(Arc<BTreeMap<Name, Arc<Rights>>>),
}

/// Who somebody is who logged in.
#[derive(Debug, Clone)]
pub struct Identity {
    pub user: Name,
    pub tags: Vec<Name>,
    /// When the login ends, if it does: its connection is closed then.
    pub expires: Option<Timestamp>,
    pub access: Access,
    /// With [`Access::Account`]: the account's verifiers, of which one let this login in. When none of them is left the
    /// connection is closed. Empty: it was let in by something else, and ends only with the account.
    pub verified_by: Arc<[Secret]>,
}

impl Identity {
    /// Somebody who may do everything everywhere: the broker itself, or the guest of this machine.
    pub fn unlimited(user: impl Into<Name>) -> Self {
        Self { access: Access::All, ..Self::of_account(user) }
    }

    /// A user of the broker's accounts, without tags and for as long as the connection lasts.
    pub fn of_account(user: impl Into<Name>) -> Self {
        let (tags, expires, verified_by) = (Vec::new(), None, Arc::new([]));
        Self { user: user.into(), tags, expires, access: Access::Account, verified_by }
    }
}

/// Decides who a client is.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Who it is, or [`ErrorKind::Refused`]. `accounts`: the users that the broker knows.
    async fn login(&self, login: &Login, accounts: &dyn Directory) -> Result<Identity, Error>;

    /// Begins a login of several messages by that SASL mechanism; none: it is not known.
    fn exchange(&self, mechanism: &str) -> Option<Box<dyn LoginExchange>> {
        let _ = mechanism;
        None
    }

    /// Where the rights of a user are looked up whose login was before the last start: of the owner of a will, or of a
    /// session that waits for its client.
    fn access_of(&self, user: &str) -> Access {
        let _ = user;
        Access::Account
    }

    /// Names that have to wait before their next try, because too many failed: how many there are, and `max` of them,
    /// those that wait longest first.
    fn delayed(&self, max: usize) -> (usize, Vec<DelayedLogin>) {
        let _ = max;
        (0, Vec::new())
    }

    /// Lets that name try again at once, from everywhere, as if no try had failed. Returns at how many addresses it had
    /// to wait.
    fn end_delay(&self, user: &str) -> usize {
        let _ = user;
        0
    }
}

/// A login of several messages, by a SASL mechanism.
pub trait LoginExchange: Send + Sync {
    /// Takes the client's next message. `Refused`: it is nobody; the exchange is over.
    fn step(
        &mut self,
        message: &[u8],
        login: &Login,
        accounts: &dyn Directory,
    ) -> Result<LoginStep, Error>;
}

/// What a message of such a login leads to.
#[derive(Debug)]
pub enum LoginStep {
    /// What the client has to answer.
    Challenge(Bytes),
    /// Who it is, and the last word to it.
    Done { identity: Identity, last: Bytes },
}

/// What an authenticator that knows some logins only says of one.
#[derive(Debug, Clone)]
pub enum Judgement {
    /// It knows nothing of it: the next one is asked.
    NotMine,
    /// Who it is. With [`Access::Account`] the account has to be there.
    Accepted(Identity),
    /// Nobody is let in by it, whoever else is there. Why, for the log.
    Refused(String),
}

/// Decides some logins, beside others who do. It does not see the accounts, and counts nothing: whoever asks it does.
#[async_trait]
pub trait ForeignAuthenticator: Send + Sync {
    /// As it is called in the configuration.
    fn name(&self) -> &str;

    /// [`ErrorKind::Unavailable`]: it cannot say, and so nobody may be let in.
    async fn judge(&self, login: &Login) -> Result<Judgement, Error>;
}

/// A name that has to wait, at an address, because too many of its logins from there failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayedLogin {
    /// The name that was tried, whether a user has it or not; of a long one the beginning.
    pub user: Name,
    /// The address, or the network that counts as one.
    pub from: Name,
    /// How many tries failed, one after the other.
    pub failures: u32,
    /// How long it has to wait from now on.
    pub left: Duration,
}

/// The user that [`LoopbackGuest`] lets in.
pub const GUEST: &str = "guest";

/// `guest`/`guest` and anonymous, from loopback addresses only: what clients' defaults expect of a first start.
pub struct LoopbackGuest;

#[async_trait]
impl Authenticator for LoopbackGuest {
    async fn login(&self, login: &Login, _: &dyn Directory) -> Result<Identity, Error> {
        let known = match &login.credentials {
            Credentials::Anonymous => true,
            Credentials::Password { user, password } => {
                &**user == GUEST && &*password.0 == b"guest"
            }
            Credentials::Token { .. } | Credentials::Certificate { .. } => false,
        };
        if known && login.loopback {
            return Ok(Identity::unlimited(GUEST));
        }
        login.refused_because(match known {
            true => "guest and clients without a name are let in from this machine only",
            false => "guest has another password",
        });
        Err(Error::new(ErrorKind::Refused, "login was refused"))
    }

    fn access_of(&self, user: &str) -> Access {
        match user {
            GUEST => Access::All,
            _ => Access::Account,
        }
    }
}
