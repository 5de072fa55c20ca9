//! Logins by SCRAM: the exchange, with the users' keys and with what failed tries cost.

use super::exchange::{ClientFirst, Server};
use super::{Mechanism, ScramKeys};
use crate::logins::{address, identity};
use crate::verify::{Outcome, Verifier};
use crate::{ProcessKey, REFUSED};
use crossdock_core::{
    Account, Directory, Error, ErrorKind, GUEST, Identity, Login, LoginExchange, LoginStep, Name,
    Secret,
};
use std::sync::Arc;

/// An exchange of one client.
pub struct ScramLogin {
    mechanism: Mechanism,
    verifier: Verifier,
    key: ProcessKey,
    /// None before the client's first message.
    challenged: Option<Challenged>,
}

/// Who was challenged, with what.
struct Challenged {
    server: Server,
    /// The user's keys, as they are kept. None: there is no such user, or it has none.
    verifier: Option<Secret>,
}

impl ScramLogin {
    /// Waits for the client's first message. `key`: what unknown users are challenged with.
    pub fn new(mechanism: Mechanism, verifier: Verifier, key: ProcessKey) -> Self {
        Self { mechanism, verifier, key, challenged: None }
    }

    fn challenge(
        &mut self,
        message: &[u8],
        login: &Login,
        accounts: &dyn Directory,
    ) -> Result<LoginStep, Error> {
        let first = ClientFirst::parse(message).map_err(|why| refused(login, why.to_string()))?;
        let user = first.user().clone();
        self.verifier.admit(&user, address(&login.peer)).inspect_err(|_| {
            login.refused_because(
                "too many tries of this user from this address failed: it has to wait",
            );
        })?;
        let account = account(&user, accounts);
        let known = account.and_then(|account| keys(&account, self.mechanism));
        let keys = known.as_ref().map(|(keys, _)| keys);
        let (server, text) = Server::challenge(self.mechanism, first, keys, &self.key)?;
        self.challenged =
            Some(Challenged { server, verifier: known.map(|(_, verifier)| verifier) });
        Ok(LoginStep::Challenge(text.into()))
    }

    fn finish(
        &self,
        Challenged { server, verifier }: Challenged,
        (message, login): (&[u8], &Login),
        accounts: &dyn Directory,
    ) -> Result<LoginStep, Error> {
        let (user, address) = (server.user().clone(), address(&login.peer));
        // Who guesses on many connections at once is not let in by the right one behind too many wrong ones.
        self.verifier.admit(&user, address).inspect_err(|_| {
            login.refused_because(
                "too many tries of this user from this address failed: it has to wait",
            );
        })?;
        let finished = server.finish(message).map_err(|why| {
            let is_known = verifier.is_some();
            let outcome = if is_known { Outcome::Wrong } else { Outcome::Unknown };
            self.verifier.note(&user, address, outcome);
            refused(
                login,
                match is_known {
                    true => why.to_string(),
                    false => format!(
                        "there is no such user, or it has no keys for {}",
                        self.mechanism.name()
                    ),
                },
            )
        })?;
        // It took a while: the user may be gone, or have another password by now.
        let now = account(&finished.user, accounts);
        let same = now.filter(|now| verifier.as_ref().is_some_and(|v| now.verifiers.contains(v)));
        let account = same.ok_or_else(|| {
            refused(login, "the user was changed or removed meanwhile".to_owned())
        })?;
        self.verifier.note(&user, address, Outcome::Accepted);
        let verified_by: Arc<[Secret]> = verifier.into_iter().collect();
        let identity = Identity { verified_by, ..identity(&account) };
        Ok(LoginStep::Done { identity, last: finished.server_final.into() })
    }
}

impl LoginExchange for ScramLogin {
    fn step(
        &mut self,
        message: &[u8],
        login: &Login,
        accounts: &dyn Directory,
    ) -> Result<LoginStep, Error> {
        match self.challenged.take() {
            None => self.challenge(message, login, accounts),
            Some(challenged) => self.finish(challenged, (message, login), accounts),
        }
    }
}

/// The account of a user who may come by SCRAM: guest is the broker's own.
fn account(user: &Name, accounts: &dyn Directory) -> Option<Arc<Account>> {
    if **user == *GUEST { None } else { accounts.account(user) }
}

/// The first keys for that mechanism, and how they are kept.
fn keys(account: &Account, mechanism: Mechanism) -> Option<(ScramKeys, Secret)> {
    account.verifiers.iter().find_map(|verifier| {
        let keys = ScramKeys::parse(std::str::from_utf8(&verifier.0).ok()?).ok()?;
        (keys.mechanism() == mechanism).then(|| (keys, verifier.clone()))
    })
}

fn refused(login: &Login, why: String) -> Error {
    login.refused_because(why);
    Error::new(ErrorKind::Refused, REFUSED)
}
