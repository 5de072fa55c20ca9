//! The module of one wasm step: its instances, the breaker, and calls with a draft.

use super::breaker::{Breaker, Paused};
use super::counters::Counters;
use super::exchange::decided;
use super::idle::Owner;
use super::instance::{Blueprint, Failure, Instance};
use crate::decision::carry_out;
use crate::draft::Draft;
use crate::step::{Outcome, Turn, bounded};
use crossdock_core::state::{StateLayer, StateSize};
use crossdock_core::transform::{FailureKind, ModuleLook, StepFailure};
use crossdock_core::{Address, Origin};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages after which an instance is replaced, so that memory leaks of a module stay small.
const CALLS_MAX: u32 = 1_000;
/// A message waits this long when all instances of the pool are in use.
const BUSY_WAIT: Duration = Duration::from_millis(20);

/// A module as one step uses it.
pub(crate) struct Module {
    blueprint: Blueprint,
    version: Arc<str>,
    fresh: bool,
    owner: Owner,
    breaker: Breaker,
    counters: Counters,
    since: Instant,
}

impl Module {
    /// Makes the first instance, so that an error of `init` about the configuration is reported now.
    pub(super) fn start(
        blueprint: Blueprint,
        version: Arc<str>,
        fresh: bool,
    ) -> Result<Self, Failure> {
        let module = Self {
            owner: blueprint.runtime.idle.owner(),
            blueprint,
            version,
            fresh,
            breaker: Breaker::default(),
            counters: Counters::default(),
            since: Instant::now(),
        };
        let first = module.make()?;
        module.give_back(first);
        Ok(module)
    }

    /// Calls the module with the draft. Blocks at most until the module's deadline. What it changes of the step's state
    /// is in `layer`; it does not count when the call fails.
    pub(super) fn run(
        &self,
        draft: Draft,
        turn: Turn,
        layer: Option<Arc<StateLayer>>,
    ) -> Result<Outcome, StepFailure> {
        let started = Instant::now();
        if let Err(rest) = self.breaker.admit(turn.source, started) {
            return Ok(Outcome::Wait(rest));
        }
        let from = (draft.meta().origin.clone(), draft.address().clone());
        let result = self.call(draft, turn.attempt, layer);
        if let Err(Failure::Busy) = result {
            self.breaker.withdrawn(turn.source, Instant::now());
            return Ok(Outcome::Wait(BUSY_WAIT));
        }
        self.counters.call(started.elapsed());
        match result {
            Err(Failure::Sandbox(kind, reason)) => {
                if let Some(pause) = self.breaker.failed(turn, Instant::now()) {
                    self.note_pause(&from, (turn.source, pause), &reason);
                }
                Err(self.fault(kind, &reason))
            }
            // Whatever it answered, for the breaker it works.
            answer => {
                self.breaker.answered(turn.source);
                answer.map_err(|failure| self.fault(FailureKind::Guest, &failure.to_string()))
            }
        }
    }

    pub(super) fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// As its step names it.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.blueprint.name
    }

    /// The rest of its pause for this source.
    pub(crate) fn rest(&self, source: u64) -> Option<Duration> {
        self.breaker.rest(source, Instant::now())
    }

    /// The module's counters and state.
    pub(crate) fn look(&self) -> ModuleLook {
        self.counters.look(ModuleLook {
            name: self.blueprint.name.clone(),
            version: self.version.clone(),
            age: self.since.elapsed(),
            paused: self.breaker.pauses(Instant::now()),
            state: self.blueprint.grants.memory.map(|it| (it.step, StateSize::default())),
            numbers: self.blueprint.shared.numbers.all(),
            ..ModuleLook::default()
        })
    }

    fn note_pause(
        &self,
        (origin, address): &(Arc<Origin>, Address),
        (source, pause): (u64, Duration),
        reason: &str,
    ) {
        let who = Paused {
            user: origin.user.clone(),
            client: origin.client.clone(),
            address: address.to_string().into(),
            reason: bounded(reason).into(),
        };
        self.breaker.note(source, who, Instant::now());
        tracing::warn!(
            module = &*self.blueprint.name,
            user = &*origin.user,
            client = &*origin.client,
            %address,
            pause_s = pause.as_secs(),
            reason = bounded(reason),
            "a module failed for five messages of one source in a row: it is paused for that source, \
             whose messages wait"
        );
    }

    fn call(
        &self,
        draft: Draft,
        attempt: u32,
        layer: Option<Arc<StateLayer>>,
    ) -> Result<Outcome, Failure> {
        let mut instance = match self.blueprint.runtime.idle.take(self.owner) {
            Some(instance) => instance,
            None => self.make()?,
        };
        let result = instance.handle(draft, (attempt, layer), &self.blueprint);
        if !matches!(result, Err(Failure::Sandbox(..))) {
            self.give_back(instance);
        }
        let (draft, decision) = result?;
        let decision = decided(decision).map_err(Failure::Guest)?;
        carry_out(decision, draft, (&self.blueprint.rules, &self.blueprint.grants.places))
            .map_err(Failure::Guest)
    }

    /// A new instance. When the pool is full, idle instances of other modules make room.
    fn make(&self) -> Result<Instance, Failure> {
        loop {
            match Instance::new(&self.blueprint) {
                Err(Failure::Busy) if self.blueprint.runtime.idle.make_room() => {}
                Err(Failure::Busy) => return Err(Failure::Busy),
                made => {
                    self.counters.instance();
                    return made;
                }
            }
        }
    }

    fn give_back(&self, instance: Instance) {
        if instance.calls < CALLS_MAX && !(self.fresh && instance.calls > 0) {
            self.blueprint.runtime.idle.give_back(self.owner, instance);
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

impl Drop for Module {
    fn drop(&mut self) {
        self.blueprint.runtime.idle.forget(self.owner);
    }
}
