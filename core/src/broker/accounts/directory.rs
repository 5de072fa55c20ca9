//! The users that the broker knows. Those of the configuration are replaced as a whole when that is read; those that
//! were made at run time are changed one by one and stored in the journal. Where a name is in both, the configuration's
//! holds.

use super::refusals::Refusals;
use crate::auth::{Account, Secret};
use crate::error::{Error, ErrorKind};
use crate::message::Name;
use crate::rights::Rights;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Users that can be made at run time.
const USERS_MAX: usize = 1_000_000;
/// Virtual hosts at most, and those that one user may enter.
pub const VHOSTS_MAX: usize = 10_000;
/// Bytes of a user's name, tags and verifiers, and how many tags and verifiers one has.
const NAME_BYTES_MAX: usize = 1_024;
const VERIFIER_BYTES_MAX: usize = 4_096;
const LIST_MAX: usize = 64;

/// Where a user was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountSource {
    /// In the configuration: it cannot be changed at run time.
    Configuration,
    /// At run time: it is in the journal.
    RunTime,
}

type Users = BTreeMap<Name, Arc<Account>>;

#[derive(Default)]
struct State {
    configured: Users,
    made: Users,
}

/// All users.
#[derive(Default)]
pub struct Accounts {
    state: RwLock<State>,
    generation: AtomicU64,
    pub refusals: Refusals,
}

fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::Invalid, detail)
}

/// `Invalid` for what is no name of that.
pub fn check_name(what: &str, name: &str) -> Result<(), Error> {
    match name.len() {
        0 => Err(invalid(format!("the {what} is empty"))),
        1..=NAME_BYTES_MAX if !name.contains('\0') => Ok(()),
        _ => {
            let limit = format!("at most {NAME_BYTES_MAX} bytes and no NUL");
            Err(invalid(format!("the {what} '{name}' is not one: it has {limit}")))
        }
    }
}

/// An error for a user whose name, tags or verifiers are none.
fn check_user(name: &str, tags: &[Name], verifiers: &[Secret]) -> Result<(), Error> {
    check_name("name of the user", name)?;
    tags.iter().try_for_each(|tag| check_name("tag", tag))?;
    let is_long = verifiers.iter().any(|one| one.0.len() > VERIFIER_BYTES_MAX);
    if is_long || tags.len() > LIST_MAX || verifiers.len() > LIST_MAX {
        let most = format!("{LIST_MAX} of each, of {VERIFIER_BYTES_MAX} bytes each");
        let what = format!("tags and hashes of user '{name}' are more than {most}");
        return Err(Error::new(ErrorKind::TooLarge, what));
    }
    Ok(())
}

impl State {
    /// `LimitReached` when `more` further users would exceed [`USERS_MAX`].
    fn check_room(&self, more: usize) -> Result<(), Error> {
        if more > 0 && self.made.len() + more > USERS_MAX {
            let detail =
                format!("there may be {USERS_MAX} users, and there are {}", self.made.len());
            return Err(Error::new(ErrorKind::LimitReached, detail));
        }
        Ok(())
    }

    /// A user that was made at run time and holds. `Refused` for one of the configuration.
    fn made(&self, user: &str) -> Result<&Arc<Account>, Error> {
        if self.configured.contains_key(user) {
            let detail = format!(
                "user '{user}' is of the configuration: it is changed there, and not at run time"
            );
            return Err(Error::new(ErrorKind::Refused, detail));
        }
        let found = self.made.get(user);
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no user '{user}'")))
    }
}

impl Accounts {
    /// The account of that user.
    pub fn account(&self, user: &str) -> Option<Arc<Account>> {
        let state = self.state.read();
        state.configured.get(user).or_else(|| state.made.get(user)).cloned()
    }

    /// Moves with every change of an account: what was remembered before may be wrong.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Everything that was remembered may be wrong from now on. Called behind every change.
    pub fn moved(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// The users of the configuration, instead of those that were there. Those that were made at run time and are
    /// hidden by them are returned.
    pub fn configure(&self, users: Vec<Account>) -> Vec<Name> {
        let users: Users = users.into_iter().map(|a| (a.name.clone(), Arc::new(a))).collect();
        let mut state = self.state.write();
        let hidden = users.keys().filter(|name| state.made.contains_key(*name)).cloned().collect();
        state.configured = users;
        drop(state);
        self.moved();
        hidden
    }

    /// All users, by name, and where each was made.
    pub fn all(&self) -> Vec<(Arc<Account>, AccountSource)> {
        let state = self.state.read();
        let made = state.made.iter().filter(|(name, _)| !state.configured.contains_key(*name));
        let made = made.map(|(_, account)| (account.clone(), AccountSource::RunTime));
        let configured = state.configured.values();
        let configured = configured.map(|a| (a.clone(), AccountSource::Configuration));
        let mut all: Vec<_> = configured.chain(made).collect();
        all.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        all
    }

    /// Makes a user, or gives it other tags and verifiers; its rights stay. True when it is new. `submit` is called
    /// with the users locked, so that memory and journal change in one order.
    pub fn set_user(
        &self,
        (name, tags, verifiers): (&Name, Vec<Name>, Vec<Secret>),
        submit: impl FnOnce(&Account),
    ) -> Result<bool, Error> {
        check_user(name, &tags, &verifiers)?;
        let mut state = self.state.write();
        let vhosts = match state.made(name) {
            Ok(known) => Some(known.vhosts.clone()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let is_new = vhosts.is_none();
        state.check_room(usize::from(is_new))?;
        let vhosts = vhosts.unwrap_or_default();
        let account = Account { name: name.clone(), tags, verifiers, vhosts };
        submit(&account);
        state.made.insert(name.clone(), Arc::new(account));
        drop(state);
        self.moved();
        Ok(is_new)
    }

    /// Makes all these users, or gives them these tags, verifiers and rights instead of those that they have. All or
    /// none: `submit` is called, with the users locked, when nothing is wrong with any of them; it gets each with the
    /// virtual hosts that it may enter no more.
    pub fn set_users(
        &self,
        accounts: Vec<Account>,
        submit: impl FnOnce(&[(Arc<Account>, Vec<Name>)]),
    ) -> Result<(), Error> {
        let mut state = self.state.write();
        let mut changes: Vec<(Arc<Account>, Vec<Name>)> = Vec::with_capacity(accounts.len());
        let mut new = 0;
        for account in accounts {
            let Account { name, tags, verifiers, vhosts } = &account;
            check_user(name, tags, verifiers)?;
            for vhost in vhosts.keys() {
                check_name("name of the virtual host", vhost)?;
            }
            if vhosts.len() > VHOSTS_MAX {
                let detail =
                    format!("user '{name}' would enter more than {VHOSTS_MAX} virtual hosts");
                return Err(Error::new(ErrorKind::LimitReached, detail));
            }
            let left = match state.made(name) {
                Ok(known) => {
                    known.vhosts.keys().filter(|v| !vhosts.contains_key(*v)).cloned().collect()
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    new += 1;
                    Vec::new()
                }
                Err(error) => return Err(error),
            };
            changes.push((Arc::new(account), left));
        }
        state.check_room(new)?;
        submit(&changes);
        let changed = changes.into_iter().map(|(account, _)| (account.name.clone(), account));
        state.made.extend(changed);
        drop(state);
        self.moved();
        Ok(())
    }

    /// Deletes a user with its rights.
    pub fn delete_user(&self, name: &str, submit: impl FnOnce()) -> Result<(), Error> {
        let mut state = self.state.write();
        state.made(name)?;
        submit();
        state.made.remove(name);
        drop(state);
        self.moved();
        Ok(())
    }

    /// Lets a user into a virtual host with these rights, or with none of them out of it. True when something changed.
    pub fn set_rights(
        &self,
        (user, vhost): (&str, &Name),
        rights: Option<Rights>,
        submit: impl FnOnce(),
    ) -> Result<bool, Error> {
        let mut state = self.state.write();
        let mut account = Account::clone(state.made(user)?);
        if rights.is_some() {
            check_name("name of the virtual host", vhost)?;
            if account.vhosts.len() >= VHOSTS_MAX && !account.vhosts.contains_key(vhost) {
                let detail = format!("user '{user}' may enter {VHOSTS_MAX} virtual hosts already");
                return Err(Error::new(ErrorKind::LimitReached, detail));
            }
        }
        let is_change = match rights {
            Some(rights) => {
                let rights = Arc::new(rights);
                account.vhosts.insert(vhost.clone(), rights.clone()) != Some(rights)
            }
            None => account.vhosts.remove(vhost).is_some(),
        };
        if is_change {
            submit();
            state.made.insert(account.name.clone(), Arc::new(account));
            drop(state);
            self.moved();
        }
        Ok(is_change)
    }

    /// The next `max` users behind that one that were made at run time, for snapshots.
    pub fn made_after(&self, after: Option<&Name>, max: usize) -> Vec<Arc<Account>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state.read();
        let behind = state.made.range::<Name, _>((from, Bound::Unbounded));
        behind.take(max).map(|(_, account)| account.clone()).collect()
    }

    /// Users that were in the journal.
    pub fn restore(&self, users: impl Iterator<Item = Account>) {
        let users = users.map(|account| (account.name.clone(), Arc::new(account)));
        self.state.write().made = users.collect();
        self.moved();
    }
}
