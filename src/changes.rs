//! What differs between two configurations, and when each difference counts for a broker that runs: at once, or from
//! its next start. Both `crossdock diff` and the log of a reload say it by this list.

use crate::config::{self, Loaded, Mistake};
use crate::declare::Declarations;
use crate::plan::{self, Plan, default_vhost};
use crate::routes::Written;
use crate::wiring::{self, Protocols};
use crate::{login_order, plugins, user_changes, users};
use crossdock_core::{Account, Bind, BindTarget};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A configuration as far as it is compared.
pub struct Outline {
    /// By key: what counts.
    pub values: BTreeMap<String, String>,
    users: Vec<Account>,
    /// Names of what is declared, each with what it is: `queue`.
    declared: BTreeSet<(&'static str, String)>,
    routes: Vec<Written>,
    /// By name.
    plugins: BTreeMap<String, String>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `key`, `listener`, `user`, `queue`, ….
    what: &'static str,
    name: String,
    how: How,
    pub counts: Counts,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum How {
    Added,
    Removed,
    Changed,
    /// In these parts.
    ChangedIn(String),
    /// Another value; none: it was not set, or is not any more.
    Value(Option<String>, Option<String>),
}

/// When a change counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    Now,
    NextStart,
    /// Never: what was declared stays in the broker until somebody deletes it.
    Stays,
}

impl Outline {
    /// Of a configuration that was planned.
    pub fn of(loaded: &Loaded, plan: &Plan) -> Self {
        Self {
            values: loaded.values(),
            users: plan.users.clone(),
            declared: declared(loaded, &plan.declarations),
            routes: plan.routes.written(),
            plugins: plugins::written(loaded),
        }
    }

    /// Of a configuration whose modules and certificates need not be there.
    pub fn read(loaded: &Loaded) -> Result<(Self, Declarations), Vec<Mistake>> {
        let mut mistakes = Vec::new();
        wiring::check_limits(loaded, &mut mistakes);
        login_order::check_names(loaded, &mut mistakes);
        let settings = plan::settings(loaded, &mut mistakes);
        let users = users::users(loaded, &default_vhost(&settings), &mut mistakes);
        let predeclared = wiring::topology(&Protocols::default().all()).unwrap_or_default();
        let declarations = Declarations::read_without_plugins(loaded, &predeclared, &mut mistakes);
        let mistakes = loaded.all_mistakes(mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let declared = declared(loaded, &declarations);
        let (values, routes) = (loaded.values(), Written::all(loaded));
        let plugins = plugins::written(loaded);
        let outline = Self { values, users, declared, routes, plugins };
        Ok((outline, declarations))
    }

    /// All that is different in `new`, in a steady order.
    pub fn changes(&self, new: &Outline) -> Vec<Change> {
        let mut changes = self.changed_values(new);
        changes.extend(self.changed_users(new));
        for (what, name) in new.declared.difference(&self.declared) {
            changes.push(Change::new(what, name, How::Added, Counts::Now));
        }
        for (what, name) in self.declared.difference(&new.declared) {
            changes.push(Change::new(what, name, How::Removed, Counts::Stays));
        }
        changes.extend(self.changed_routes(new));
        let of_plugins = different("plugin", &self.plugins, &new.plugins);
        let later = |change| Change { counts: Counts::NextStart, ..change };
        changes.extend(of_plugins.into_iter().map(later));
        changes
    }

    /// Why a broker that runs by this does not take over `new`: what looks like an accident would take away from all
    /// clients what they have. A start takes it.
    pub fn check_loss(&self, loaded: &Loaded, new: &Outline) -> Result<(), Vec<Mistake>> {
        let (before, now) = (self.users.len(), new.users.len());
        let (key, reason) = if loaded.is_file_empty && !self.changes(new).is_empty() {
            let reason = "the file has no key at all, as one that is being written: write it again; if it \
                          is to be empty, restart the broker";
            ("", reason.to_owned())
        } else if before > 0 && now == 0 {
            let reason = format!(
                "there is no [[user]] any more, and {before} would be removed, with their connections: keep \
                 one of them, or restart the broker if all are to go"
            );
            ("user", reason)
        } else {
            return Ok(());
        };
        Err(vec![loaded.mistake(key, reason)])
    }

    /// From now on the values of these changes count that count at once.
    pub fn take(&mut self, changes: &[Change], new: Outline) {
        let mut values = std::mem::take(&mut self.values);
        for change in changes.iter().filter(|change| change.counts == Counts::Now) {
            match (&change.how, new.values.get(&change.name)) {
                (How::Value(..), Some(value)) => {
                    values.insert(change.name.clone(), value.clone());
                }
                (How::Value(..), None) => {
                    values.remove(&change.name);
                }
                _ => {}
            }
        }
        // Plugins are those of the start.
        let plugins = std::mem::take(&mut self.plugins);
        *self = Outline { values, plugins, ..new };
    }

    fn changed_values(&self, new: &Outline) -> Vec<Change> {
        let mut changes = Vec::new();
        let (old_listeners, new_listeners) = (listeners(&self.values), listeners(&new.values));
        for name in new_listeners.difference(&old_listeners) {
            changes.push(Change::new("listener", *name, How::Added, Counts::NextStart));
        }
        for name in old_listeners.difference(&new_listeners) {
            changes.push(Change::new("listener", *name, How::Removed, Counts::NextStart));
        }
        let keys: BTreeSet<&String> = self.values.keys().chain(new.values.keys()).collect();
        for key in keys {
            let (from, to) = (self.values.get(key), new.values.get(key));
            let is_whole = listener_of(key)
                .is_some_and(|name| old_listeners.contains(name) != new_listeners.contains(name));
            let is_same = match (from, to) {
                (Some(from), Some(to)) => config::is_same(key, from, to),
                _ => false,
            };
            if is_same || is_whole {
                continue;
            }
            let counts = self.counts(key, new);
            let how = How::Value(from.cloned(), to.cloned());
            changes.push(Change::new("key", key, how, counts));
        }
        changes
    }

    /// When a value counts that has changed.
    fn counts(&self, key: &str, new: &Outline) -> Counts {
        let (table, rest) = key.split_once('.').unwrap_or((key, ""));
        let counts_now = match (table, rest) {
            // Each queue has had it since it was made.
            ("limits", "subscription_bytes" | "consumer_timeout") => false,
            ("limits" | "objects" | "memory", _) => true,
            ("store", "disk_free_alarm" | "disk_free_hard") => true,
            ("vhost", "dead_letter") | ("log", "level") => true,
            ("auth", field) => field.starts_with("token_"),
            ("listeners", rest) => {
                let (name, field) = rest.split_once('.').unwrap_or((rest, ""));
                let certificate = format!("listeners.{name}.tls_certificate");
                let has_tls = |outline: &Outline| outline.values.contains_key(&certificate);
                match field {
                    "connections_max"
                    | "connections_per_address"
                    | "connects_per_second"
                    | "connects_per_second_total"
                    | "denied_publish"
                    | "announce" => true,
                    field if field.starts_with("stomp_") => true,
                    // To speak TLS or not is the socket's.
                    field => field.starts_with("tls_") && has_tls(self) == has_tls(new),
                }
            }
            _ => false,
        };
        if counts_now { Counts::Now } else { Counts::NextStart }
    }

    fn changed_users(&self, new: &Outline) -> Vec<Change> {
        let by_name = |all: &[Account]| -> BTreeMap<String, Account> {
            all.iter().map(|account| (account.name.to_string(), account.clone())).collect()
        };
        let (old, new) = (by_name(&self.users), by_name(&new.users));
        let mut changes = different("user", &old, &new);
        for change in &mut changes {
            if let (Some(old), Some(new)) = (old.get(&change.name), new.get(&change.name)) {
                change.how = How::ChangedIn(user_changes::between(old, new));
            }
        }
        changes
    }

    fn changed_routes(&self, new: &Outline) -> Vec<Change> {
        let by_name = |all: &[Written]| -> BTreeMap<String, (usize, Written)> {
            // Which of two has its turn first is a part of what they do.
            let places = all.iter().enumerate();
            places.map(|(at, route)| (route.name().to_owned(), (at, route.clone()))).collect()
        };
        let (old, new) = (by_name(&self.routes), by_name(&new.routes));
        let strip = |all: &BTreeMap<String, (usize, Written)>| -> BTreeMap<String, Written> {
            all.iter().map(|(name, (_, route))| (name.clone(), route.clone())).collect()
        };
        let mut changes = different("route", &strip(&old), &strip(&new));
        let order = |of: &BTreeMap<String, (usize, Written)>, by: &BTreeMap<String, _>| {
            let mut names: Vec<_> = of.iter().filter(|(name, _)| by.contains_key(*name)).collect();
            names.sort_by_key(|(_, (at, _))| *at);
            names.into_iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        if order(&old, &strip(&new)) != order(&new, &strip(&old)) {
            changes.push(Change::new("order of", "routes", How::Changed, Counts::Now));
        }
        changes
    }
}

fn different<T: PartialEq>(
    what: &'static str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, value) in new {
        match old.get(name) {
            None => changes.push(Change::new(what, name, How::Added, Counts::Now)),
            Some(before) if before != value => {
                changes.push(Change::new(what, name, How::Changed, Counts::Now));
            }
            Some(_) => {}
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        changes.push(Change::new(what, name, How::Removed, Counts::Now));
    }
    changes
}

fn listener_of(key: &str) -> Option<&str> {
    key.strip_prefix("listeners.").and_then(|rest| rest.split('.').next())
}

fn listeners(values: &BTreeMap<String, String>) -> BTreeSet<&str> {
    values.keys().filter_map(|key| listener_of(key)).collect()
}

fn declared(loaded: &Loaded, all: &Declarations) -> BTreeSet<(&'static str, String)> {
    let vhosts = loaded.config.virtual_hosts.iter();
    let vhosts = vhosts.map(|vhost| ("virtual host", vhost.name.clone()));
    let queues = all.queues.iter().map(|(_, queue)| ("queue", queue.name.to_string()));
    let exchanges = all.exchanges.iter().map(|(_, it)| ("exchange", it.name.to_string()));
    let bindings = all.bindings.iter().map(|(_, bind)| ("binding", shown(bind)));
    vhosts.chain(queues).chain(exchanges).chain(bindings).collect()
}

/// A binding as people read it.
fn shown(bind: &Bind) -> String {
    let to = match &bind.to {
        BindTarget::Queue(name) => format!("queue:{name}"),
        BindTarget::Exchange(name) => format!("exchange:{name}"),
        BindTarget::Own => "session".to_owned(),
    };
    let arguments = match bind.arguments.is_empty() {
        true => String::new(),
        false => format!(" {:?}", bind.arguments),
    };
    format!("exchange:{}/{} -> {to}{arguments}", bind.source, bind.key)
}

impl Change {
    fn new(what: &'static str, name: impl Into<String>, how: How, counts: Counts) -> Self {
        Self { what, name: name.into(), how, counts }
    }

    /// The files of a listener's TLS have something else in them.
    pub fn of_certificate(listener: &str) -> Self {
        Self::new("certificate of listener", listener, How::Changed, Counts::Now)
    }

    /// One line of the log.
    pub fn log(&self) {
        let Self { what, name, how, counts } = self;
        let value = |value: &Option<String>| value.as_deref().unwrap_or("not set").to_owned();
        let table = format!("{}.{name}", if *what == "plugin" { "plugin" } else { "listeners" });
        match (counts, how, *what) {
            (Counts::Now, How::Value(from, to), _) => tracing::info!(
                key = name,
                from = value(from),
                to = value(to),
                "a key of the configuration has changed that counts from now on"
            ),
            (Counts::NextStart, How::Value(from, to), _) => tracing::warn!(
                key = name,
                from = value(from),
                to = value(to),
                "a key of the configuration has changed that counts from the next start only"
            ),
            (Counts::NextStart, _, _) => tracing::warn!(
                key = table,
                how = how.word(),
                "a key of the configuration has changed that counts from the next start only"
            ),
            (Counts::Stays, _, _) => tracing::info!(
                name,
                "a {what} is not in the configuration any more: it stays in the broker until it is deleted"
            ),
            (Counts::Now, How::ChangedIn(parts), "user") => {
                tracing::info!(user = %name, parts, "a user is changed")
            }
            (Counts::Now, how, "user") => tracing::info!(user = %name, "a user is {}", how.word()),
            (Counts::Now, how, what) => tracing::info!(name, "the {what} is {}", how.word()),
        }
    }
}

impl How {
    fn word(&self) -> &'static str {
        match self {
            How::Added => "added",
            How::Removed => "removed",
            How::Changed | How::ChangedIn(_) | How::Value(..) => "changed",
        }
    }
}

/// One line of `crossdock diff`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.counts {
            Counts::Now => "at once",
            Counts::NextStart => "next start",
            Counts::Stays => "stays",
        };
        let Self { what, name, how, .. } = self;
        write!(f, "{when:<12}")?;
        match how {
            How::Value(from, to) => {
                let value = |value: &Option<String>| {
                    value.as_ref().map_or("not set".to_owned(), |text| format!("\"{text}\""))
                };
                write!(f, "{name}: {} -> {}", value(from), value(to))
            }
            How::Removed if self.counts == Counts::Stays => {
                write!(f, "{what} '{name}' is removed: it stays in the broker until it is deleted")
            }
            How::ChangedIn(parts) => write!(f, "{what} '{name}' is changed: {parts}"),
            how => write!(f, "{what} '{name}' is {}", how.word()),
        }?;
        // What runs is not loaded again, so nothing of the new one was tried.
        match (*what, how) {
            ("plugin", How::Added | How::Changed) => {
                f.write_str("; crossdock check-config tells whether that start will load it")
            }
            _ => Ok(()),
        }
    }
}
