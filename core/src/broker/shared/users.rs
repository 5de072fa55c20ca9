//! Who may be here: the users, how a login is checked, and the connections whose logins can end before they do.

use super::connections::Connections;
use super::logins::RefusedLogins;
use super::vhosts::Vhosts;
use crate::auth::{
    Access, Account, Authenticator, DelayedLogin, Directory, Identity, Login, LoginExchange,
    LoginStep, Secret,
};
use crate::broker::accounts::directory::Accounts;
use crate::broker::accounts::subject::{Subject, Where};
use crate::broker::door::events::Notice;
use crate::broker::vhost::inbox::Inbox;
use crate::broker::vhost::seats::Seats;
use crate::error::{Error, ErrorKind};
use crate::message::{Name, Origin};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// The users of a broker.
pub struct Users {
    authenticator: Arc<dyn Authenticator>,
    pub accounts: Arc<Accounts>,
    /// Their connections.
    pub seats: Arc<Seats>,
    pub connections: Connections,
    pub refused_logins: RefusedLogins,
    /// Logins that were let in since the start.
    logins: AtomicU64,
    topic_exchange: Name,
    /// Connections whose logins end at a time, by their numbers.
    ending: Mutex<BTreeMap<u64, Weak<Inbox>>>,
    /// Connections of users of the accounts, by user and number.
    connected: Mutex<BTreeMap<Name, BTreeMap<u64, Connected>>>,
}

/// A connection that ends with what its login was let in by.
struct Connected {
    inbox: Weak<Inbox>,
    verified_by: Arc<[Secret]>,
}

/// What authenticators see of the broker.
struct Known<'a> {
    accounts: &'a Accounts,
    vhosts: &'a Vhosts,
}

impl Directory for Known<'_> {
    fn account(&self, user: &str) -> Option<Arc<Account>> {
        self.accounts.account(user)
    }

    fn generation(&self) -> u64 {
        self.accounts.generation()
    }

    fn vhosts(&self) -> Vec<Name> {
        self.vhosts.all().iter().map(|vhost| vhost.name.clone()).collect()
    }
}

/// Why a connection of that user, let in by one of these verifiers, has to end; none: it may stay.
fn why_it_ends(user: &str, verified_by: &[Secret], account: Option<&Account>) -> Option<Error> {
    let detail = match account {
        None => format!("user '{user}' was removed"),
        Some(account) => {
            let is_left = |verifier: &Secret| account.verifiers.contains(verifier);
            if verified_by.is_empty() || verified_by.iter().any(is_left) {
                return None;
            }
            format!("the password of user '{user}' was changed")
        }
    };
    Some(Error::new(ErrorKind::Refused, detail))
}

impl Users {
    /// Those accounts, and how they log in.
    pub fn new(
        authenticator: Arc<dyn Authenticator>,
        accounts: Accounts,
        topic_exchange: &Name,
    ) -> Self {
        Self {
            authenticator,
            accounts: Arc::new(accounts),
            topic_exchange: topic_exchange.clone(),
            refused_logins: RefusedLogins::default(),
            logins: AtomicU64::new(0),
            seats: Arc::default(),
            connections: Connections::default(),
            ending: Mutex::default(),
            connected: Mutex::default(),
        }
    }

    /// Who is this? `Refused` when nobody.
    pub async fn login(&self, login: &Login, vhosts: &Vhosts) -> Result<Identity, Error> {
        let known = Known { accounts: &self.accounts, vhosts };
        let identity = self.authenticator.login(login, &known).await?;
        self.logins.fetch_add(1, Ordering::Relaxed);
        Ok(identity)
    }

    /// Begins a login of several messages.
    pub fn begin_login(&self, mechanism: &str) -> Option<Box<dyn LoginExchange>> {
        self.authenticator.exchange(mechanism)
    }

    /// The next message of one.
    pub fn go_on_with_login(
        &self,
        exchange: &mut dyn LoginExchange,
        (message, login): (&[u8], &Login),
        vhosts: &Vhosts,
    ) -> Result<LoginStep, Error> {
        let known = Known { accounts: &self.accounts, vhosts };
        let step = exchange.step(message, login, &known)?;
        if matches!(step, LoginStep::Done { .. }) {
            self.logins.fetch_add(1, Ordering::Relaxed);
        }
        Ok(step)
    }

    /// Those that have to wait before their next try: how many, and `max` of them.
    pub fn delayed_logins(&self, max: usize) -> (usize, Vec<DelayedLogin>) {
        self.authenticator.delayed(max)
    }

    /// Ends the wait of that name.
    pub fn end_login_delay(&self, user: &str) -> usize {
        self.authenticator.end_delay(user)
    }

    /// How many logins were let in since the start.
    pub fn logins(&self) -> u64 {
        self.logins.load(Ordering::Relaxed)
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

    /// Whether the login of that connection ends at a time.
    pub fn is_ending(&self, connection: u64) -> bool {
        self.ending.lock().contains_key(&connection)
    }

    /// Its time has come, or the connection is gone.
    pub fn take_ending(&self, connection: u64) -> Option<Arc<Inbox>> {
        self.ending.lock().remove(&connection)?.upgrade()
    }

    /// A connection is told to end when its user is removed, or nothing is left of what let it in. `Refused` when that
    /// has happened since the login.
    pub fn connected(&self, inbox: &Arc<Inbox>, identity: &Identity) -> Result<(), Error> {
        if !matches!(identity.access, Access::Account) {
            return Ok(());
        }
        let verified_by = identity.verified_by.clone();
        let connected = Connected { inbox: Arc::downgrade(inbox), verified_by };
        let number = inbox.origin.connection;
        self.connected.lock().entry(identity.user.clone()).or_default().insert(number, connected);
        // Whoever changes the account from here on finds the connection.
        let account = self.accounts.account(&identity.user);
        match why_it_ends(&identity.user, &identity.verified_by, account.as_deref()) {
            None => Ok(()),
            Some(why) => Err(why),
        }
    }

    /// The connection is gone.
    pub fn disconnected(&self, inbox: &Inbox) {
        let mut connected = self.connected.lock();
        if let Some(of_user) = connected.get_mut(&inbox.origin.user) {
            of_user.remove(&inbox.origin.connection);
            if of_user.is_empty() {
                connected.remove(&inbox.origin.user);
            }
        }
    }

    /// Accounts have changed, or only that of user `changed`: closes the connections whose user or password is gone.
    pub fn end_connections(&self, changed: Option<&str>) {
        let mut ends = Vec::new();
        let mut look_at = |user: &Name, of_user: &BTreeMap<u64, Connected>| {
            let account = self.accounts.account(user);
            for Connected { inbox, verified_by } in of_user.values() {
                let why = why_it_ends(user, verified_by, account.as_deref());
                ends.extend(inbox.upgrade().zip(why));
            }
        };
        let connected = self.connected.lock();
        match changed {
            Some(user) => {
                let found = connected.get_key_value(user);
                found.into_iter().for_each(|(user, of_user)| look_at(user, of_user));
            }
            None => connected.iter().for_each(|(user, of_user)| look_at(user, of_user)),
        }
        drop(connected);
        for (inbox, why) in ends {
            inbox.notice(Notice::Closed(why));
        }
    }
}
