//! The configuration is read again while the broker runs, on SIGHUP or `crossdock ctl reload`: all of it or nothing.
//! Everything is checked first, as at a start; then what can be refused is done, and last what cannot. The log has one
//! line for each change.

use crate::changes::{Change, Outline};
use crate::config::{Loaded, Mistake};
use crate::plan::{self, Plan};
use crate::routes::{Before, Purpose};
use crate::vhosts;
use crossdock_core::{Actor, Broker};
use std::sync::Arc;

/// Reads the configuration again.
pub type Again = Arc<dyn Fn() -> Result<Loaded, Vec<Mistake>> + Send + Sync>;

/// What the broker runs by.
pub struct Running {
    pub plan: Plan,
    outline: Outline,
    before: Before,
    again: Again,
    set_level: Box<dyn Fn(&str) + Send>,
}

impl Running {
    /// From its start on. `set_level` changes what is logged.
    pub fn new(
        (loaded, plan): (&Loaded, Plan),
        again: Again,
        set_level: Box<dyn Fn(&str) + Send>,
    ) -> Self {
        let before = Before {
            routes: plan.routes.clone(),
            plugins: plan.plugins.clone(),
            cache_dir: plan::cache_dir(loaded),
            settings: plan.settings.clone(),
        };
        Self { outline: Outline::of(loaded, &plan), plan, before, again, set_level }
    }

    /// Takes over what can be taken over, or logs why nothing is. Cancelled, it has done the whole, a part, or nothing
    /// of it: only a process that ends cancels it.
    /// Returns a line for each change, or every mistake.
    pub async fn reload(&mut self, broker: &Broker) -> Result<Vec<String>, Vec<String>> {
        let (again, before) = (self.again.clone(), self.before.clone());
        // Modules are compiled there, for seconds perhaps.
        let read = tokio::task::spawn_blocking(move || {
            let loaded = again()?;
            let plan = plan::plan(&loaded, Purpose::Reload(Box::new(before)))?;
            Ok((loaded, plan))
        });
        let read = match read.await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(
                    %error,
                    "reading the configuration again ended unexpectedly: it is not read again, the old one \
                     stays"
                );
                return Err(vec![error.to_string()]);
            }
        };
        let taken = match read {
            Ok((loaded, plan)) => self.take(broker, &loaded, plan).await,
            Err(mistakes) => Err(mistakes),
        };
        for mistake in taken.as_ref().err().into_iter().flatten() {
            tracing::error!(
                %mistake,
                "the configuration has a mistake: it is not read again, the old one stays"
            );
        }
        taken.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
    }

    /// Changes what is logged until the configuration is read again.
    pub fn set_level(&self, level: &str) {
        (self.set_level)(level);
    }

    async fn take(
        &mut self,
        broker: &Broker,
        loaded: &Loaded,
        new: Plan,
    ) -> Result<Vec<String>, Vec<Mistake>> {
        let outline = Outline::of(loaded, &new);
        self.outline.check_loss(loaded, &outline)?;
        let mistakes = new.declarations.compare(broker, loaded, &new.settings.objects).await;
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        // What is to be declared may need the new limits.
        broker.reconfigure(&new.settings);
        if let Err(mistakes) = set_up(&new, broker, loaded).await {
            broker.reconfigure(&self.plan.settings);
            return Err(mistakes);
        }
        Ok(self.take_the_rest(broker, loaded, new))
    }

    /// What cannot be refused. A line for each change.
    fn take_the_rest(&mut self, broker: &Broker, loaded: &Loaded, new: Plan) -> Vec<String> {
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let mut certificates = Vec::new();
        for port in &self.plan.ports {
            let found = new.ports.iter().find(|found| found.name == port.name);
            if found.is_some_and(|found| port.follow(found)) {
                tracing::info!(
                    listener = port.name,
                    "the certificate is read again, for new connections"
                );
                certificates.push(Change::of_certificate(&port.name));
            }
        }
        self.plan.protocols.follow(&new.protocols);
        if new.users != self.plan.users {
            let actor = Actor { user: "config".into(), from: "SIGHUP".into() };
            broker.configure_users(&actor, new.users.clone());
        }
        let outline = Outline::of(loaded, &new);
        let changes = self.outline.changes(&outline);
        // With the level that counts from now on.
        (self.set_level)(&loaded.config.log.level);
        changes.iter().for_each(Change::log);
        self.outline.take(&changes, outline);
        self.before.routes = new.routes.clone();
        // The sockets are those of the start.
        let ports = std::mem::take(&mut self.plan.ports);
        // The logins that are under way and those to come look at the handle of the start.
        let tokens = self.plan.tokens.clone();
        tokens.follow(&new.tokens);
        if tokens.takes_tokens() {
            tracing::info!("the keys of tokens are read again, for logins from now on");
        }
        // So do the connections that come.
        let protocols = self.plan.protocols.clone();
        self.plan = Plan { ports, tokens, protocols, ..new };
        let all = certificates.iter().chain(&changes).map(ToString::to_string);
        let all: Vec<String> = all.collect();
        tracing::info!(changes = all.len(), "the configuration was read again");
        all
    }
}

/// Declares what is configured, and exchanges the routes. When the store refuses, what it has declared stays, and
/// nothing else has changed.
async fn set_up(new: &Plan, broker: &Broker, loaded: &Loaded) -> Result<(), Vec<Mistake>> {
    vhosts::make(broker, loaded, "SIGHUP").await?;
    new.declarations.apply(broker, loaded).await?;
    let changed = broker.change_routes(new.routes.list()).await;
    changed.map_err(|error| vec![loaded.mistake("route", error.detail())])
}
