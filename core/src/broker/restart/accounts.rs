//! Users and virtual hosts that were made at run time, as the snapshot and the journal describe them.

use crate::auth::Account;
use crate::broker::operations::ops::Op;
use crate::broker::shared::Shared;
use crate::message::Name;
use crate::rights::{Rights, RightsText};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Users by name, each with what it may do, which is read when all of it is there; and virtual hosts.
#[derive(Default)]
pub(super) struct StoredAccounts {
    users: BTreeMap<Name, (Account, BTreeMap<Name, RightsText>)>,
    vhosts: BTreeSet<Name>,
}

impl StoredAccounts {
    /// Takes an operation about users; others are none of its concern.
    pub fn apply(&mut self, op: Op) {
        match op {
            Op::User(account) => {
                let known = self.users.entry(account.name.clone()).or_default();
                known.0 = account;
            }
            Op::UserGone { name } => {
                self.users.remove(&name);
            }
            Op::Rights { user, vhost, rights } => {
                if let Some((_, vhosts)) = self.users.get_mut(&user) {
                    vhosts.insert(vhost, rights);
                }
            }
            Op::RightsGone { user, vhost } => {
                if let Some((_, vhosts)) = self.users.get_mut(&user) {
                    vhosts.remove(&vhost);
                }
            }
            Op::Vhost { name } => {
                self.vhosts.insert(name);
            }
            _ => {}
        }
    }

    /// Gives them to a broker that is being opened.
    pub fn install(self, shared: &Shared) {
        for name in &self.vhosts {
            // One that is in the configuration by now is there.
            let _ = shared.add_vhost(name, || ());
        }
        let users = self.users.into_values().map(|(mut account, vhosts)| {
            for (vhost, text) in vhosts {
                match Rights::parse(text) {
                    Ok(rights) => _ = account.vhosts.insert(vhost, Arc::new(rights)),
                    Err(mistakes) => {
                        let (user, mistakes) = (&account.name, mistakes.join("; "));
                        tracing::error!(
                            %user, %vhost, %mistakes,
                            "stored rights of a user cannot be read: it may not enter that virtual host \
                             until its rights are set again"
                        );
                    }
                }
            }
            account
        });
        shared.users.accounts.restore(users);
    }
}
