//! Several who decide logins, one after the other: the broker's own users ([`Logins`]), and authenticators of plugins.
//!
//! Each says who a client is, or that nobody is let in, or that it knows nothing of the login: then the next is asked.
//! The own users say the last of a name, a certificate or a token that is none of theirs; when they come last they
//! decide. One that cannot say ends the login, since it might have refused it: nobody behind it is asked.
//!
//! Failed tries are counted in one place for all of them, by user and address. About whoever has to wait no plugin is
//! asked.

use crate::REFUSED;
use crate::logins::{Logins, address};
use crate::token::is_token;
use crate::verify::Outcome;
use async_trait::async_trait;
use crossdock_core::{
    Access, Authenticator, Credentials, DelayedLogin, Directory, Error, ErrorKind,
    ForeignAuthenticator, GUEST, Identity, Judgement, Login, LoginExchange, LoopbackGuest, Name,
    Timestamp,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a client is told when nobody can say who it is.
const NOT_NOW: &str = "logins cannot be judged now: try again later";
const WARN_EVERY: Duration = Duration::from_secs(60);

/// One of those who decide.
pub enum Turn {
    /// The broker's own users, tokens and guest.
    Own,
    Foreign(Arc<dyn ForeignAuthenticator>),
}

/// The authenticator of a broker that does not ask its own users alone.
pub struct OrderedLogins {
    own: Logins,
    turns: Vec<Turn>,
    /// When it was last said that a plugin cannot judge.
    warned: Mutex<Option<Instant>>,
}

impl OrderedLogins {
    /// They are asked in this order. `own`: how the broker's own users are, and who has to wait before the next try.
    pub fn new(own: Logins, turns: Vec<Turn>) -> Self {
        Self { own, turns, warned: Mutex::default() }
    }

    /// None: it knows nothing of the login.
    async fn by_foreign(
        &self,
        foreign: &dyn ForeignAuthenticator,
        login: &Login,
        accounts: &dyn Directory,
    ) -> Result<Option<Identity>, Error> {
        self.admit(login)?;
        let name = foreign.name();
        let judgement = match foreign.judge(login).await {
            Ok(judgement) => judgement,
            Err(error) => {
                self.warn(name, &error);
                login.refused_because(error.detail());
                // Files and faults of the broker are not for somebody who has not logged in.
                return Err(Error::new(error.kind(), NOT_NOW));
            }
        };
        match judgement {
            Judgement::NotMine => Ok(None),
            Judgement::Refused(why) => {
                let why = format!("the plugin '{name}' refuses it: {why}");
                Err(self.refuse(login, Outcome::Wrong, why))
            }
            Judgement::Accepted(identity) => {
                // Whoever guesses on many connections at once finds nothing when too many of them were wrong.
                self.admit(login)?;
                match checked(identity, accounts) {
                    Ok(identity) => {
                        self.note(login, Outcome::Accepted);
                        Ok(Some(identity))
                    }
                    Err(why) => {
                        let why = format!("the plugin '{name}' lets it in, and {why}");
                        Err(self.refuse(login, Outcome::Unknown, why))
                    }
                }
            }
        }
    }

    /// `Refused`: too many tries of that name from that address failed.
    fn admit(&self, login: &Login) -> Result<(), Error> {
        let Some(Counted { name, waits: true }) = Counted::of(login) else { return Ok(()) };
        self.own.verifier().admit(&name, address(&login.peer)).inspect_err(|_| {
            let why = "too many tries of this user from this address failed: it has to wait";
            login.refused_because(why);
        })
    }

    /// Says that a plugin cannot judge, once a minute: the log has no line of its own for each of these logins.
    fn warn(&self, plugin: &str, error: &Error) {
        let (mut warned, now) = (self.warned.lock(), Instant::now());
        if warned.is_none_or(|at| now.duration_since(at) >= WARN_EVERY) {
            *warned = Some(now);
            tracing::warn!(
                plugin,
                why = error.detail(),
                "a plugin cannot judge logins: every login that reaches it is refused"
            );
        }
    }

    fn note(&self, login: &Login, outcome: Outcome) {
        if let Some(Counted { name, .. }) = Counted::of(login) {
            self.own.verifier().note(&name, address(&login.peer), outcome);
        }
    }

    fn refuse(&self, login: &Login, outcome: Outcome, why: String) -> Error {
        self.note(login, outcome);
        login.refused_because(why);
        Error::new(ErrorKind::Refused, REFUSED)
    }
}

/// Under which name tries are counted.
struct Counted {
    name: Name,
    /// Whether anybody has to wait after too many.
    waits: bool,
}

impl Counted {
    /// None: there is nothing to guess.
    fn of(login: &Login) -> Option<Self> {
        // As with our own: nobody guesses a signature, and a device with an old token keeps nobody else out.
        let of_token = |user: &Name| Self { name: format!("\0{user}").into(), waits: false };
        match &login.credentials {
            Credentials::Anonymous => None,
            Credentials::Token { user, .. } => Some(of_token(user)),
            Credentials::Password { user, password } if is_token(password) => Some(of_token(user)),
            Credentials::Password { user, .. } | Credentials::Certificate { user, .. } => {
                Some(Self { name: user.clone(), waits: true })
            }
        }
    }
}

/// An identity that a plugin may give, with the tags of its account; or why it may not.
fn checked(identity: Identity, accounts: &dyn Directory) -> Result<Identity, String> {
    let user = &identity.user;
    if user.is_empty() {
        return Err("names no user".to_owned());
    }
    // Its sessions and wills may do everything, whoever made them.
    if **user == *GUEST {
        return Err("names guest, who is the broker's own".to_owned());
    }
    if identity.expires.is_some_and(|at| at <= now()) {
        return Err("its login has ended already".to_owned());
    }
    match identity.access {
        Access::All => Err("gives it all rights, which is not a plugin's to give".to_owned()),
        Access::Of(_) => Ok(identity),
        Access::Account => match accounts.account(user) {
            Some(account) => Ok(Identity { tags: account.tags.clone(), ..identity }),
            None => Err(format!("the broker has no user '{user}', whose rights it would have")),
        },
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[async_trait]
impl Authenticator for OrderedLogins {
    // Plugins know no such logins. One in front of the own users might have refused this one.
    fn exchange(&self, mechanism: &str) -> Option<Box<dyn LoginExchange>> {
        let own_first = matches!(self.turns.first(), Some(Turn::Own));
        self.own.exchange(mechanism).filter(|_| own_first)
    }

    async fn login(&self, login: &Login, accounts: &dyn Directory) -> Result<Identity, Error> {
        let last = self.turns.len().saturating_sub(1);
        for (at, turn) in self.turns.iter().enumerate() {
            match turn {
                Turn::Own if at == last || self.own.knows(login, accounts) => {
                    return self.own.login(login, accounts).await;
                }
                Turn::Own => {}
                Turn::Foreign(foreign) => {
                    if let Some(found) = self.by_foreign(&**foreign, login, accounts).await? {
                        return Ok(found);
                    }
                }
            }
        }
        let why = "none of those in auth.order knows of it".to_owned();
        Err(self.refuse(login, Outcome::Unknown, why))
    }

    /// The rights that came with a plugin's login ended with the process that it was made in. Until its client is back
    /// such a session or will has those of the account of that name, or none.
    fn access_of(&self, user: &str) -> Access {
        match user == GUEST && !self.turns.iter().any(|turn| matches!(turn, Turn::Own)) {
            // Guest is not let in any more: what it left does not have all rights.
            true => Access::Of(Arc::new(BTreeMap::new())),
            false => LoopbackGuest.access_of(user),
        }
    }

    fn delayed(&self, max: usize) -> (usize, Vec<DelayedLogin>) {
        self.own.delayed(max)
    }

    fn end_delay(&self, user: &str) -> usize {
        self.own.end_delay(user)
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
