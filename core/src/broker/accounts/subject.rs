//! Whose rights are asked for: a session, a named session whose client is away, a will that waits. Rights are looked up
//! again when an account has changed, so that what is taken away is gone for live sessions, too.

use super::directory::Accounts;
use crate::auth::{Access, Identity};
use crate::error::{Error, ErrorKind};
use crate::message::{Address, Key, Name, Origin, Timestamp};
use crate::rights::{Action, Coverage, Object, Rights, Who};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Somebody in a virtual host.
pub struct Subject {
    pub user: Name,
    /// Empty for clients without one.
    pub client: Name,
    /// Where it came from, for the audit: the peer's address, or what is known of it.
    pub from: Name,
    vhost: Name,
    access: Access,
    /// What took the place of the rights that came with the login, when that was renewed.
    renewed: Mutex<Option<Arc<Brought>>>,
    topic_exchange: Name,
    accounts: Arc<Accounts>,
    /// The rights as they were at that generation of the accounts; none: it may not enter the virtual host.
    known: Mutex<Known>,
}

/// Rights by virtual host that came with a login.
type Brought = BTreeMap<Name, Arc<Rights>>;

struct Known {
    generation: u64,
    rights: Option<Arc<Rights>>,
}

/// Where a subject is.
pub struct Where<'a> {
    pub vhost: &'a Name,
    pub topic_exchange: &'a Name,
    pub accounts: &'a Arc<Accounts>,
}

impl Subject {
    /// Somebody who logged in. Client id and peer are those of the origin.
    pub fn new(identity: &Identity, origin: &Origin, place: Where<'_>) -> Arc<Self> {
        let Where { vhost, topic_exchange, accounts } = place;
        let subject = Self {
            user: identity.user.clone(),
            client: origin.client.clone(),
            from: origin.peer.clone(),
            vhost: vhost.clone(),
            access: identity.access.clone(),
            renewed: Mutex::default(),
            topic_exchange: topic_exchange.clone(),
            accounts: accounts.clone(),
            known: Mutex::new(Known { generation: 0, rights: None }),
        };
        let known = subject.look_up();
        *subject.known.lock() = known;
        Arc::new(subject)
    }

    /// Everything is allowed: nothing has to be asked.
    pub fn is_unlimited(&self) -> bool {
        matches!(self.access, Access::All)
    }

    /// Whether its rights are looked up as those of the other one are.
    pub fn is_same_as(&self, other: &Subject) -> bool {
        let is_same_access = match (&self.access, &other.access) {
            (Access::All, Access::All) => true,
            (Access::Account, Access::Account) => self.client == other.client,
            (Access::Of(own), Access::Of(others)) => {
                let (own, others) = (self.brought(own), other.brought(others));
                Arc::ptr_eq(&own, &others) && self.client == other.client
            }
            _ => false,
        };
        is_same_access && self.user == other.user && self.vhost == other.vhost
    }

    /// Moves with every change of an account. What is remembered of the answers of this subject is to be noted with the
    /// generation that was read before it asked.
    pub fn generation(&self) -> u64 {
        self.accounts.generation()
    }

    fn look_up(&self) -> Known {
        // Read before the account is: a change in between is looked up again.
        let generation = self.generation();
        let rights = match &self.access {
            Access::All => None,
            Access::Account => {
                let account = self.accounts.account(&self.user);
                account.and_then(|account| account.vhosts.get(&self.vhost).cloned())
            }
            Access::Of(vhosts) => self.brought(vhosts).get(&self.vhost).cloned(),
        };
        Known { generation, rights }
    }

    /// The rights that the login, or its last renewal, brought along.
    fn brought(&self, first: &Arc<Brought>) -> Arc<Brought> {
        self.renewed.lock().as_ref().unwrap_or(first).clone()
    }

    /// The login goes on with what a new one of the same user brought. `Refused`: that one is another user's, may not
    /// enter the virtual host, or has its rights from elsewhere; then nothing has changed.
    pub fn renew(&self, identity: &Identity) -> Result<(), Error> {
        let user = &self.user;
        let refused = |why: &str| Error::new(ErrorKind::Refused, why);
        if identity.user != self.user {
            let whose = &identity.user;
            return Err(refused(&format!("it is of user '{whose}', and the login of '{user}'")));
        }
        match (&self.access, &identity.access) {
            (Access::Of(_), Access::Of(rights)) if rights.contains_key(&self.vhost) => {
                *self.renewed.lock() = Some(rights.clone());
                // What is remembered of the answers of this subject may be wrong from now on.
                self.accounts.moved();
                Ok(())
            }
            (Access::Account, Access::Account) | (Access::All, Access::All) => Ok(()),
            (Access::Of(_), Access::Of(_)) => {
                let vhost = &self.vhost;
                Err(refused(&format!("with it user '{user}' may not enter virtual host '{vhost}'")))
            }
            _ => Err(refused("its rights come from elsewhere than those of the login")),
        }
    }

    fn rights(&self) -> Option<Arc<Rights>> {
        let mut known = self.known.lock();
        if known.generation != self.generation() {
            *known = self.look_up();
        }
        known.rights.clone()
    }

    fn who(&self) -> Who<'_> {
        Who { user: &self.user, client: &self.client, vhost: &self.vhost }
    }

    /// Whether it may be in the virtual host at all.
    pub fn may_enter(&self) -> bool {
        self.is_unlimited() || self.rights().is_some()
    }

    /// Whether the action is allowed.
    pub fn may(&self, action: Action, object: &Object<'_>) -> bool {
        self.is_unlimited()
            || self.rights().is_some_and(|rights| rights.may(action, object, &self.who()))
    }

    /// `Refused` when the action is not allowed, and a note of that.
    pub fn check(&self, action: Action, object: &Object<'_>) -> Result<(), Error> {
        match self.may(action, object) {
            true => Ok(()),
            false => Err(self.refuse(action, object)),
        }
    }

    /// The error of an action that is not allowed. It is counted, and noted in the audit.
    pub fn refuse(&self, action: Action, object: &Object<'_>) -> Error {
        let user = &self.user;
        self.note_refusal(&action, object);
        let preposition = match action {
            Action::Configure => "",
            Action::Write => "to ",
            Action::Read => "from ",
        };
        let detail = format!("{action} {preposition}{object} is not allowed for user '{user}'");
        Error::new(ErrorKind::Refused, detail)
    }

    /// Counts something that was refused, and notes it in the audit.
    pub fn note_refusal(&self, action: &dyn fmt::Display, object: &dyn fmt::Display) {
        self.accounts.refusals.note(self, action, object);
    }

    /// The virtual host's name.
    pub fn vhost(&self) -> &Name {
        &self.vhost
    }

    /// What a publish to that address is about.
    pub fn at<'a>(&self, address: &'a Address) -> Object<'a> {
        Object::at(address, &self.topic_exchange)
    }

    /// All of an exchange.
    pub fn exchange<'a>(&self, name: &'a str) -> Object<'a> {
        Object::exchange(name, &self.topic_exchange)
    }

    /// How much of what a binding's key stands for may be read from that exchange.
    pub fn coverage(&self, exchange: &str, key: &Key) -> Coverage {
        if self.is_unlimited() {
            return Coverage::Everything;
        }
        let object = self.exchange(exchange);
        let rights = self.rights();
        rights.map_or(Coverage::Nothing, |rights| rights.coverage(&object, key, &self.who()))
    }

    /// How much of what the queue of a shared subscription collects may be read; nothing for other queues.
    pub fn shared_coverage(&self, queue: &str) -> Coverage {
        if self.is_unlimited() {
            return Coverage::Everything;
        }
        let topics = self.exchange(&self.topic_exchange);
        let rights = self.rights();
        let coverage = |rights: Arc<Rights>| rights.shared_coverage(queue, &topics, &self.who());
        rights.map_or(Coverage::Nothing, coverage)
    }

    /// Whether it may have a message that came into a queue of its own by a binding which is allowed in part. What was
    /// sent to the queue itself was sent to it; what came through an exchange has an address that can be read there, or
    /// a topic that can.
    pub fn may_get(&self, address: &Address) -> bool {
        if self.is_unlimited() || address.is_queue() {
            return true;
        }
        let topic =
            Object::Key { exchange: &self.topic_exchange, key: &address.key, is_topics: true };
        self.may(Action::Read, &self.at(address)) || self.may(Action::Read, &topic)
    }
}

/// A login that has ended.
pub fn login_over(user: &Name, at: Timestamp) -> Error {
    let detail = format!("the login of user '{user}' has expired (at {} ms)", at.0);
    Error::new(ErrorKind::Refused, detail)
}
