//! The virtual hosts: those of the configuration, and those that were made at run time.

use crate::broker::settings::Settings;
use crate::broker::vhost::host::Vhost;
use crate::exchange::ExchangeSpec;
use crate::message::{Budget, Name};
use parking_lot::RwLock;
use std::sync::Arc;

/// All of them.
pub struct Vhosts {
    /// In the order in which they came: the first one is the default one.
    all: RwLock<Arc<[Arc<Vhost>]>>,
    /// Exchanges that each of them has.
    predeclared: Vec<ExchangeSpec>,
}

impl Vhosts {
    /// Those of the configuration, empty.
    pub fn new(settings: &Settings, predeclared: Vec<ExchangeSpec>, budget: &Arc<Budget>) -> Self {
        let names = settings.vhosts.iter().cloned();
        let all = names.map(|name| Vhost::new(name, settings, &predeclared, budget)).collect();
        Self { all: RwLock::new(all), predeclared }
    }

    /// As they are now.
    pub fn all(&self) -> Arc<[Arc<Vhost>]> {
        self.all.read().clone()
    }

    /// Adds one. `submit` is called with the list locked, before anybody can find it. None when it is there already.
    pub fn add(
        &self,
        name: &Name,
        (settings, budget): (&Settings, &Arc<Budget>),
        submit: impl FnOnce(),
    ) -> Option<Arc<Vhost>> {
        let mut all = self.all.write();
        if all.iter().any(|vhost| vhost.name == *name) {
            return None;
        }
        let vhost = Vhost::new(name.clone(), settings, &self.predeclared, budget);
        submit();
        *all = all.iter().cloned().chain([vhost.clone()]).collect();
        Some(vhost)
    }
}
