//! The module of one wasm step: idle instances, the breaker, and calls with a draft.

use super::breaker::Breaker;
use super::counters::{Counters, ModuleStatus};
use super::exchange::carry_out;
use super::instance::{Blueprint, Failure, Instance};
use crate::draft::Draft;
use crate::step::{Outcome, bounded};
use crossdock_core::transform::{FailureKind, StepFailure};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages after which an instance is replaced, so that memory leaks of a module stay small.
const CALLS_MAX: u32 = 1_000;
/// Largest number of idle instances that are kept.
const IDLE_MAX: usize = 8;
/// Pause before the next attempt when all instances of the pool are in use.
const BUSY_RETRY: Duration = Duration::from_millis(20);

/// A module as one step uses it.
pub(crate) struct Module {
    blueprint: Blueprint,
    version: Arc<str>,
    fresh: bool,
    idle: Mutex<Vec<Instance>>,
    breaker: Breaker,
    counters: Counters,
}

impl Module {
    /// Makes the first instance, so that an error of `init` about the configuration is reported now.
    pub(super) fn start(
        blueprint: Blueprint,
        version: Arc<str>,
        fresh: bool,
    ) -> Result<Self, Failure> {
        let module = Self {
            blueprint,
            version,
            fresh,
            idle: Mutex::default(),
            breaker: Breaker::default(),
            counters: Counters::default(),
        };
        let first = module.make()?;
        module.give_back(first);
        Ok(module)
    }

    /// Calls the module with the draft. Blocks at most until the module's deadline.
    pub(crate) fn run(&self, draft: Draft) -> Result<Outcome, StepFailure> {
        let started = Instant::now();
        if let Err(paused) = self.breaker.admit(started) {
            let left = paused.left.as_millis();
            let text = format!("the module failed too often and is paused for another {left} ms");
            return Err(self.fault(paused.last, &text));
        }
        let result = self.call(draft);
        self.counters.call(started.elapsed());
        match result {
            Ok(made) => {
                self.breaker.succeeded();
                Ok(made)
            }
            Err(Failure::Busy) => Ok(Outcome::Retry(BUSY_RETRY)),
            Err(Failure::Guest(reason)) => {
                // The module answered, so for the breaker the call succeeded.
                self.breaker.succeeded();
                Err(self.fault(FailureKind::Guest, &reason))
            }
            Err(Failure::Sandbox(kind, reason)) => {
                if let Some(pause) = self.breaker.failed(Instant::now(), kind) {
                    let module = &*self.blueprint.name;
                    tracing::warn!(
                        module,
                        "the module failed too often and is paused for {pause:?}; its last failure: {reason}"
                    );
                }
                Err(self.fault(kind, &reason))
            }
        }
    }

    /// The module's counters and state.
    pub(super) fn status(&self) -> ModuleStatus {
        let paused = self.breaker.paused(Instant::now());
        self.counters.status(&self.blueprint.name, &self.version, paused)
    }

    fn call(&self, draft: Draft) -> Result<Outcome, Failure> {
        let idle = self.idle.lock().pop();
        let mut instance = match idle {
            Some(instance) => instance,
            None => self.make()?,
        };
        let result = instance.handle(draft, &self.blueprint);
        if !matches!(result, Err(Failure::Sandbox(..))) {
            self.give_back(instance);
        }
        let (draft, decision) = result?;
        carry_out(decision, draft, &self.blueprint.topic_exchange).map_err(Failure::Guest)
    }

    fn make(&self) -> Result<Instance, Failure> {
        self.counters.instance();
        Instance::new(&self.blueprint)
    }

    fn give_back(&self, instance: Instance) {
        if instance.calls >= CALLS_MAX || (self.fresh && instance.calls > 0) {
            return;
        }
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(instance);
        }
    }

    fn fault(&self, kind: FailureKind, text: &str) -> StepFailure {
        self.counters.fault(kind);
        StepFailure {
            module: self.blueprint.name.clone(),
            version: self.version.clone(),
            kind,
            text: bounded(text).into(),
        }
    }
}
