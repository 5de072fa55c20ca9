//! One instance of a module: its memory, its limits, and calls into it.

use super::bindings::{Decision, TransformWithAll};
use super::engine::{Compiled, Runtime};
use super::grants::Grants;
use super::limiter::Limiter;
use super::memory::CallMemory;
use super::numbers::Numbers;
use super::output::Log;
use super::ticker::TICK;
use super::voice::Voice;
use crate::decision::OUTPUT_MAX;
use crate::destination::AddressRules;
use crate::draft::Draft;
use crate::step::within;
use crossdock_core::state::StateLayer;
use crossdock_core::transform::FailureKind;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// Bytes that one call may return: bodies, headers and reasons together.
const HANDED_OVER_MAX: usize = OUTPUT_MAX + (4 << 20);
/// Largest number of handles that a module may hold.
const HANDLES_MAX: usize = 4_096;
/// Largest number of random bytes that a module gets with one request.
const RANDOM_MAX: u64 = 64 << 10;
/// Bytes of the sandbox's reason for a failure when there is the module's own beside it.
const REASON_MAX: usize = 200;

/// The host's state of an instance.
pub(super) struct InstanceState {
    wasi: WasiCtx,
    /// What the module prints to standard error.
    stderr: Log,
    pub table: ResourceTable,
    limiter: Limiter,
    pub rules: Arc<AddressRules>,
    pub shared: Arc<Shared>,
    /// The end of the current call.
    pub until: Instant,
    /// Of the current call's message.
    pub attempt: u32,
    /// What its step remembers.
    memory: Option<CallMemory>,
}

impl InstanceState {
    /// The state of the step; an error is a fault of the module.
    pub(super) fn memory(&self) -> wasmtime::Result<&CallMemory> {
        const WHY: &str = "kv can be used while a message is handled, and not by init";
        self.memory.as_ref().ok_or_else(|| wasmtime::Error::msg(WHY))
    }
}

/// What all instances of a step's module share.
pub(super) struct Shared {
    pub voice: Voice,
    pub numbers: Numbers,
}

impl WasiView for InstanceState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// A failed call.
#[derive(Debug)]
pub(super) enum Failure {
    /// The module returned an error.
    Guest(String),
    /// The sandbox ended it; the instance must not be used again.
    Sandbox(FailureKind, String),
    /// All instances of the pool are in use.
    Busy,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Guest(reason) | Failure::Sandbox(_, reason) => f.write_str(reason),
            Failure::Busy => f.write_str("all instances of the pool are in use"),
        }
    }
}

/// How an instance is made.
pub(super) struct Blueprint {
    pub runtime: Arc<Runtime>,
    pub compiled: Arc<Compiled>,
    pub name: Arc<str>,
    pub config: String,
    pub memory: usize,
    pub deadline: Duration,
    pub rules: Arc<AddressRules>,
    pub grants: Arc<Grants>,
    pub shared: Arc<Shared>,
}

/// A live instance.
pub(super) struct Instance {
    store: Store<InstanceState>,
    exports: TransformWithAll,
    pub calls: u32,
}

/// Time for `init`, which may have to set up a language's runtime.
const INIT_DEADLINE: Duration = Duration::from_secs(5);

impl Instance {
    /// Instantiates, and calls `init`.
    pub(super) fn new(blueprint: &Blueprint) -> Result<Self, Failure> {
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(Log::new(&blueprint.name, "stdout"));
        let stderr = Log::new(&blueprint.name, "stderr");
        wasi.stderr(stderr.clone());
        wasi.max_random_size(RANDOM_MAX);
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let state = InstanceState {
            wasi: wasi.build(),
            stderr,
            table,
            limiter: Limiter::new(blueprint.memory),
            rules: blueprint.rules.clone(),
            shared: blueprint.shared.clone(),
            until: Instant::now(),
            attempt: 0,
            memory: None,
        };
        let mut store = Store::new(&blueprint.runtime.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(HANDED_OVER_MAX);
        let deadline = INIT_DEADLINE.max(blueprint.deadline);
        set_deadline(&mut store, deadline);
        let _time = blueprint.runtime.ticker.running();
        let exports = blueprint.compiled.pre.instantiate(&mut store);
        let exports = exports.map_err(|e| failure(&store, e))?;
        let initialised = exports.call_init(&mut store, &blueprint.config);
        match initialised.map_err(|e| failure(&store, e))? {
            Ok(()) => Ok(Self { store, exports, calls: 0 }),
            Err(reason) => Err(Failure::Guest(reason)),
        }
    }

    /// Calls `handle`; returns the draft and the decision.
    pub(super) fn handle(
        &mut self,
        draft: Draft,
        (attempt, layer): (u32, Option<Arc<StateLayer>>),
        blueprint: &Blueprint,
    ) -> Result<(Draft, Decision), Failure> {
        self.calls = self.calls.saturating_add(1);
        self.store.data_mut().attempt = attempt;
        let memory = layer.zip(blueprint.grants.memory);
        self.store.data_mut().memory = memory.map(|(layer, grant)| CallMemory { layer, grant });
        self.store.data().stderr.begin();
        let lent = self.store.data_mut().table.push(draft);
        let lent = lent.map_err(|e| Failure::Sandbox(FailureKind::Memory, e.to_string()))?;
        set_deadline(&mut self.store, blueprint.deadline);
        let time = blueprint.runtime.ticker.running();
        let borrowed = Resource::new_borrow(lent.rep());
        let result = self.exports.call_handle(&mut self.store, borrowed);
        drop(time);
        self.store.data_mut().memory = None;
        let result = result.map_err(|e| failure(&self.store, e));
        let draft = self.store.data_mut().table.delete(lent);
        let decision = result?.map_err(Failure::Guest)?;
        let draft = draft.map_err(|e| Failure::Sandbox(FailureKind::Trap, e.to_string()))?;
        Ok((draft, decision))
    }
}

fn set_deadline(store: &mut Store<InstanceState>, deadline: Duration) {
    store.data_mut().until = Instant::now() + deadline;
    let ticks = deadline.as_millis().div_ceil(TICK.as_millis());
    // The current tick is not counted, because it may be nearly over.
    store.set_epoch_deadline(u64::try_from(ticks).unwrap_or(u64::MAX / 2).saturating_add(1));
}

fn failure(store: &Store<InstanceState>, error: wasmtime::Error) -> Failure {
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return Failure::Busy;
    }
    let kind = match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => FailureKind::Timeout,
        _ if store.data().limiter.refused => FailureKind::Memory,
        _ => FailureKind::Trap,
    };
    // The root cause is more useful than the errors around it, and than the places in the module where they happened.
    let cause = error.root_cause().to_string();
    let cause = cause.lines().next().unwrap_or_default();
    let reason = match kind {
        FailureKind::Timeout => "it took longer than limits.deadline allows".to_owned(),
        FailureKind::Memory => format!("it needed more than limits.memory allows: {cause}"),
        _ => cause.to_owned(),
    };
    Failure::Sandbox(
        kind,
        match store.data().stderr.tail() {
            Some(said) => format!("{}; it printed: {said}", within(&reason, REASON_MAX)),
            None => reason,
        },
    )
}
