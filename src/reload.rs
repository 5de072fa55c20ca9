//! The configuration is read again while the broker runs, on SIGHUP: users, keys of tokens and certificates count from
//! then on, for what else has changed the log says that it counts from the next start. With any mistake nothing
//! changes.

use crate::config::{Config, Loaded, Mistake};
use crate::listeners;
use crate::plan::{Plan, default_vhost};
use crate::{tokens, users, vhosts};
use crossdock_core::{Account, Actor, Broker};
use std::collections::BTreeMap;

/// Takes over what can be taken over. The configuration that counts from now on; none: it has mistakes, which are
/// logged.
pub fn reload(
    plan: &mut Plan,
    broker: &Broker,
    (old, new): (&Loaded, Result<Loaded, Vec<Mistake>>),
) -> Option<Loaded> {
    let mut mistakes = Vec::new();
    let new = match new {
        Ok(new) => new,
        Err(mistakes) => {
            refuse(&mistakes);
            return None;
        }
    };
    let ports = listeners::ports(&new, &plan.protocols, &mut mistakes);
    let users = users::users(&new, &default_vhost(&plan.settings), &mut mistakes);
    let tokens = tokens::tokens(&new, &mut mistakes);
    vhosts::check(&new, &default_vhost(&plan.settings), &mut mistakes);
    let mistakes = new.all_mistakes(mistakes);
    if !mistakes.is_empty() {
        refuse(&mistakes);
        return None;
    }
    for port in &plan.ports {
        let found = ports.iter().find(|found| found.name == port.name);
        let handle = port.spec.tls.as_ref();
        if let (Some(handle), Some(tls)) = (handle, found.and_then(|found| found.tls.clone())) {
            handle.replace(tls);
            tracing::info!(
                listener = port.name,
                "the certificate is read again, for new connections"
            );
        }
    }
    plan.tokens.replace(tokens);
    say_users(&plan.users, &users);
    if users != plan.users {
        let actor = Actor { user: "config".into(), from: "SIGHUP".into() };
        broker.configure_users(&actor, users.clone());
        plan.users = users;
    }
    for key in changed(&old.config, &new.config) {
        tracing::warn!(
            key,
            "a key of the configuration has changed that counts from the next start only"
        );
    }
    tracing::info!("the configuration was read again");
    Some(new)
}

fn refuse(mistakes: &[Mistake]) {
    for mistake in mistakes {
        tracing::error!(%mistake, "the configuration has a mistake: it is not read again, the old one stays");
    }
}

/// One line for each user that has changed.
fn say_users(old: &[Account], new: &[Account]) {
    let by_name = |all: &[Account]| -> BTreeMap<_, _> {
        all.iter().map(|account| (account.name.clone(), account.clone())).collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    for (name, account) in &new {
        match old.get(name) {
            None => tracing::info!(user = %name, "a user is added"),
            Some(before) if before != account => tracing::info!(user = %name, "a user is changed"),
            Some(_) => {}
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        tracing::info!(user = %name, "a user is removed");
    }
}

/// Keys whose values have changed and do not count before the next start.
fn changed(old: &Config, new: &Config) -> Vec<&'static str> {
    let parts = |config: &Config| {
        [
            ("data_dir", format!("{:?}", config.data_dir)),
            ("listeners", format!("{:?}", config.listeners)),
            ("memory", format!("{:?}", config.memory)),
            ("store", format!("{:?}", config.store)),
            ("vhost", format!("{:?}", config.vhost)),
            ("log", format!("{:?}", config.log)),
            ("limits", format!("{:?}", config.limits)),
            ("objects", format!("{:?}", config.objects)),
            ("auth.certificate_user", format!("{:?}", config.auth.certificate_user)),
            ("queue", format!("{:?}", config.queues)),
            ("exchange", format!("{:?}", config.exchanges)),
            ("binding", format!("{:?}", config.bindings)),
            ("route", format!("{:?}", config.routes)),
        ]
    };
    let (old, new) = (parts(old), parts(new));
    old.iter().zip(&new).filter(|(old, new)| old.1 != new.1).map(|(old, _)| old.0).collect()
}
