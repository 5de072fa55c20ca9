//! Users that were made at run time, as the snapshot and the journal describe them.

use crate::auth::Account;
use crate::broker::operations::ops::Op;
use crate::broker::shared::Shared;
use crate::message::Name;
use crate::rights::{Rights, RightsText};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Users by name. What they may do is read when all of it is there.
#[derive(Default)]
pub(super) struct StoredAccounts(BTreeMap<Name, (Account, BTreeMap<Name, RightsText>)>);

impl StoredAccounts {
    /// Takes an operation about users; others are none of its concern.
    pub fn apply(&mut self, op: Op) {
        match op {
            Op::User(account) => {
                let known = self.0.entry(account.name.clone()).or_default();
                known.0 = account;
            }
            Op::UserGone { name } => {
                self.0.remove(&name);
            }
            Op::Rights { user, vhost, rights } => {
                if let Some((_, vhosts)) = self.0.get_mut(&user) {
                    vhosts.insert(vhost, rights);
                }
            }
            Op::RightsGone { user, vhost } => {
                if let Some((_, vhosts)) = self.0.get_mut(&user) {
                    vhosts.remove(&vhost);
                }
            }
            _ => {}
        }
    }

    /// Gives the users to a broker that is being opened.
    pub fn install(self, shared: &Shared) {
        let users = self.0.into_values().map(|(mut account, vhosts)| {
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
