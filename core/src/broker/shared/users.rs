//! Who may be here: the users, how a login is checked, and connections whose logins end at a time.

use crate::auth::{Authenticator, Identity, Login};
use crate::broker::accounts::directory::Accounts;
use crate::broker::accounts::subject::{Subject, Where};
use crate::broker::vhost::inbox::Inbox;
use crate::error::Error;
use crate::message::{Name, Origin};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// The users of a broker.
pub struct Users {
    authenticator: Arc<dyn Authenticator>,
    pub accounts: Arc<Accounts>,
    topic_exchange: Name,
    /// Connections whose logins end at a time, by their numbers.
    ending: Mutex<BTreeMap<u64, Weak<Inbox>>>,
}

impl Users {
    /// Those accounts, and how they log in.
    pub fn new(
        authenticator: Arc<dyn Authenticator>,
        accounts: Accounts,
        topic_exchange: &Name,
    ) -> Self {
        let (accounts, topic_exchange) = (Arc::new(accounts), topic_exchange.clone());
        Self { authenticator, accounts, topic_exchange, ending: Mutex::default() }
    }

    /// Who is this? `Refused` when nobody.
    pub async fn login(&self, login: &Login) -> Result<Identity, Error> {
        self.authenticator.login(login, &*self.accounts).await
    }

    /// Somebody who logged in, in a virtual host.
    pub fn subject(&self, identity: &Identity, origin: &Origin, vhost: &Name) -> Arc<Subject> {
        let (accounts, topic_exchange) = (&self.accounts, &self.topic_exchange);
        Subject::new(identity, origin, Where { vhost, topic_exchange, accounts })
    }

    /// Somebody whose login was before the last start.
    pub fn absent_subject(&self, user: &Name, client: &Name, vhost: &Name) -> Arc<Subject> {
        let access = self.authenticator.access_of(user);
        let identity = Identity { access, ..Identity::of_account(user.clone()) };
        self.subject(&identity, &Origin { client: client.clone(), ..Origin::default() }, vhost)
    }

    /// The login of that connection ends at a time.
    pub fn add_ending(&self, inbox: &Arc<Inbox>) {
        self.ending.lock().insert(inbox.origin.connection, Arc::downgrade(inbox));
    }

    /// Its time has come, or the connection is gone.
    pub fn take_ending(&self, connection: u64) -> Option<Arc<Inbox>> {
        self.ending.lock().remove(&connection)?.upgrade()
    }
}
