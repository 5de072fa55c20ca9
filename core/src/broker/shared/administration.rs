//! Users, rights and virtual hosts as operators change them at run time. Every act is in the audit, and holds for live
//! sessions when its verb returns; it is stored by then.

use super::{Broker, Shared};
use crate::auth::{Account, Secret};
use crate::broker::accounts::directory::{AccountSource, VHOSTS_MAX, check_name};
use crate::broker::accounts::refusals::AUDIT;
use crate::broker::door::events::Notice;
use crate::broker::journal::unit::Unit;
use crate::broker::operations::ops::Ops;
use crate::broker::vhost::host::Vhost;
use crate::error::{Error, ErrorKind};
use crate::message::Name;
use crate::rights::Rights;
use std::sync::Arc;

/// Who does something, for the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub user: Name,
    /// The peer's address, or what else tells where it came from: "control socket", "configuration".
    pub from: Name,
}

/// A named session that outlives its connections, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionOwner {
    pub vhost: Name,
    pub session: Name,
    pub user: Name,
}

impl Shared {
    /// Routes that are remembered were found with the rights of before, and who is not let in any more has to go.
    /// `changed`: the account that has changed; none: several.
    fn accounts_moved(&self, changed: Option<&str>) {
        self.users.end_connections(changed);
        self.all_vhosts().iter().for_each(|vhost| vhost.generations.bump());
    }

    fn submit_change(&self, change: impl FnOnce(&mut Ops)) {
        let mut ops = Ops::default();
        change(&mut ops);
        self.committer.submit_ops(ops);
    }

    async fn stored(&self, changed: Option<&str>) -> Result<(), Error> {
        self.accounts_moved(changed);
        self.committer.sync(Unit::default()).await
    }
}

fn audit(actor: &Actor, act: &'static str, (user, vhost): (&str, &str)) {
    let (by, from) = (&*actor.user, &*actor.from);
    tracing::info!(target: AUDIT, by, from, act, user, vhost, "an administrative act");
}

impl Broker {
    /// All users, by name, and where each was made.
    pub fn users(&self) -> Vec<(Arc<Account>, AccountSource)> {
        self.shared().users.accounts.all()
    }

    /// The user of that name.
    pub fn user(&self, name: &str) -> Option<Arc<Account>> {
        self.shared().users.accounts.account(name)
    }

    /// The users of a configuration that was read again, instead of those of the last one.
    pub fn configure_users(&self, actor: &Actor, users: Vec<Account>) {
        audit(actor, "users of the configuration replaced", ("", ""));
        for user in self.shared().users.accounts.configure(users) {
            tracing::warn!(
                %user,
                "a user of the configuration has the name of one that was made at run time: the \
                 configuration's holds, the other one is back when that is gone"
            );
        }
        self.shared().accounts_moved(None);
    }

    /// Makes a user, or gives it other tags and verifiers; what it may do stays, and connections that none of the new
    /// verifiers would let in are closed. True when it is new. `Refused` for a user of the configuration.
    pub async fn set_user(
        &self,
        actor: &Actor,
        name: &Name,
        tags: Vec<Name>,
        verifiers: Vec<Secret>,
    ) -> Result<bool, Error> {
        let shared = self.shared();
        shared.check_disk_space()?;
        let is_new = shared.users.accounts.set_user((name, tags, verifiers), |account| {
            shared.submit_change(|ops| ops.user(account));
        })?;
        audit(actor, if is_new { "user made" } else { "user changed" }, (name, ""));
        shared.stored(Some(name)).await?;
        Ok(is_new)
    }

    /// Makes all these users, or gives them these tags, verifiers and rights instead of what they had: all or none,
    /// also if the process ends meanwhile. `Refused` for a user of the configuration.
    pub async fn set_users(&self, actor: &Actor, accounts: Vec<Account>) -> Result<(), Error> {
        let shared = self.shared();
        shared.check_disk_space()?;
        let names: Vec<Name> = accounts.iter().map(|account| account.name.clone()).collect();
        shared.users.accounts.set_users(accounts, |changes| {
            shared.submit_change(|ops| {
                for (account, left) in changes {
                    ops.user(account);
                    left.iter().for_each(|vhost| ops.rights(&account.name, vhost, None));
                    for (vhost, rights) in &account.vhosts {
                        ops.rights(&account.name, vhost, Some(rights.text()));
                    }
                }
            });
        })?;
        names.iter().for_each(|name| audit(actor, "user and rights set", (name, "")));
        shared.stored(None).await
    }

    /// Deletes a user: its connections are closed. `NotFound`; `Refused` for a user of the configuration.
    pub async fn delete_user(&self, actor: &Actor, name: &str) -> Result<(), Error> {
        let shared = self.shared();
        shared
            .users
            .accounts
            .delete_user(name, || shared.submit_change(|ops| ops.user_gone(name)))?;
        audit(actor, "user deleted", (name, ""));
        shared.stored(Some(name)).await
    }

    /// Lets a user into a virtual host, with these rights instead of those that it had there. `NotFound`: no such
    /// user; `Refused` for a user of the configuration. A virtual host that is not there yet may be named.
    pub async fn set_rights(
        &self,
        actor: &Actor,
        (user, vhost): (&str, &Name),
        rights: Rights,
    ) -> Result<(), Error> {
        let shared = self.shared();
        shared.check_disk_space()?;
        let text = rights.text().clone();
        let put = |ops: &mut Ops| ops.rights(user, vhost, Some(&text));
        let submit = || shared.submit_change(put);
        shared.users.accounts.set_rights((user, vhost), Some(rights), submit)?;
        audit(actor, "rights set", (user, vhost));
        shared.stored(Some(user)).await
    }

    /// Lets a user into a virtual host no more. False when it might not enter. `NotFound`: no such user; `Refused` for
    /// a user of the configuration.
    pub async fn delete_rights(
        &self,
        actor: &Actor,
        (user, vhost): (&str, &Name),
    ) -> Result<bool, Error> {
        let shared = self.shared();
        let put = |ops: &mut Ops| ops.rights(user, vhost, None);
        let submit = || shared.submit_change(put);
        let was_there = shared.users.accounts.set_rights((user, vhost), None, submit)?;
        audit(actor, "rights deleted", (user, vhost));
        shared.stored(Some(user)).await?;
        Ok(was_there)
    }

    /// Makes a virtual host, and has it stored; its tasks are not started by this. None when it is there already.
    pub(in crate::broker) fn make_vhost(
        &self,
        actor: &Actor,
        name: &Name,
    ) -> Result<Option<Arc<Vhost>>, Error> {
        let shared = self.shared();
        shared.check_disk_space()?;
        check_name("name of the virtual host", name)?;
        if shared.all_vhosts().len() >= VHOSTS_MAX {
            let detail = format!("there are {VHOSTS_MAX} virtual hosts already");
            return Err(Error::new(ErrorKind::LimitReached, detail));
        }
        let made = shared.add_vhost(name, || shared.submit_change(|ops| ops.vhost(name)));
        if made.is_some() {
            audit(actor, "virtual host made", ("", name));
        }
        Ok(made)
    }

    /// The names of all virtual hosts; the first one is the default one.
    pub fn vhosts(&self) -> Vec<Name> {
        self.shared().all_vhosts().iter().map(|vhost| vhost.name.clone()).collect()
    }

    /// Tells the connection of that number to end, in its protocol's own words, with `why`. False: it is not open (any
    /// more). It is gone soon after, when its task has said goodbye.
    pub fn close_connection(&self, actor: &Actor, number: u64, why: &str) -> bool {
        let Some(inbox) = self.shared().users.connections.inbox(number) else { return false };
        let (by, from, origin) = (&*actor.user, &*actor.from, &inbox.origin);
        tracing::info!(
            target: AUDIT, by, from, act = "connection closed", connection = number,
            user = %origin.user, client = %origin.client, peer = %origin.peer,
            vhost = %inbox.connection.vhost, why, "an administrative act"
        );
        inbox.notice(Notice::Closed(Error::new(ErrorKind::Unavailable, why)));
        true
    }

    /// Whose each named session is, by virtual host and name.
    pub fn session_owners(&self) -> Vec<SessionOwner> {
        let mut owners = Vec::new();
        for vhost in self.shared().all_vhosts().iter() {
            for named in vhost.sessions() {
                let (user, ended) = named.with(|state| (state.owner.user.clone(), state.ended));
                if !ended && named.is_durable() {
                    let (vhost, session) = (vhost.name.clone(), named.name.clone());
                    owners.push(SessionOwner { vhost, session, user });
                }
            }
        }
        owners.sort();
        owners
    }

    /// Gives a named session to another user, who may open it from then on. `NotFound`: there is none; `InUse`: it has
    /// a connection.
    pub async fn give_session(
        &self,
        actor: &Actor,
        (vhost, session): (&Name, &str),
        user: &Name,
    ) -> Result<(), Error> {
        let shared = self.shared();
        let missing = || {
            let detail = format!("there is no session '{session}' in virtual host '{vhost}'");
            Error::new(ErrorKind::NotFound, detail)
        };
        let host = shared.vhost(vhost).ok_or_else(missing)?;
        {
            let _one = host.opening.lock();
            let found = host.topology.read().session(session).cloned();
            let named = found.ok_or_else(missing)?;
            let given = named.with(|state| {
                if state.inbox.is_some() {
                    let detail = format!("session '{session}' has a connection: end that first");
                    return Err(Error::new(ErrorKind::InUse, detail));
                }
                let owner = shared.users.absent_subject(user, &state.owner.client, vhost);
                state.set_owner(&owner);
                Ok(state.stored)
            });
            if given? {
                named.store(vhost, |ops| shared.committer.submit_ops(ops));
            }
        }
        audit(actor, "session given to a user", (user, vhost));
        shared.stored(Some(user)).await
    }
}
