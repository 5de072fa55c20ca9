//! Engines: one with many small memories, one with few large ones, each made when the first module needs it.

use super::bindings::{TransformWithAll, TransformWithAllPre};
use super::cache::Cache;
use super::grants::Grant;
use super::idle::Idle;
use super::instance::InstanceState;
use super::limiter::{INSTANCES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX};
use super::ticker::Ticker;
use super::{TYPES, VERSION, waiting};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result,
    WasmBacktraceDetails,
};

/// Which pool a module lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Size {
    Small,
    Large,
}

impl Size {
    /// The pool for modules with this memory limit, in bytes.
    pub(super) fn of(memory: u64) -> Self {
        match memory <= Size::Small.memory() as u64 {
            true => Size::Small,
            false => Size::Large,
        }
    }

    /// Largest memory of one instance in this pool, in bytes.
    pub(super) fn memory(self) -> usize {
        match self {
            Size::Small => 16 << 20,
            Size::Large => 1 << 30,
        }
    }

    /// Instances of all modules together that can exist at the same time: calls under way, and idle ones, which make
    /// room when another module needs it.
    pub(super) fn instances(self) -> u32 {
        match self {
            Size::Small => 128,
            Size::Large => 16,
        }
    }
}

/// An engine and the parts that all its modules share.
pub(super) struct Runtime {
    pub engine: Engine,
    pub ticker: Ticker,
    pub idle: Idle,
    linker: Linker<InstanceState>,
}

/// Compiled, linked, and ready to be instantiated.
pub(super) struct Compiled {
    pub pre: TransformWithAllPre<InstanceState>,
    /// What it imports that its step has to grant.
    pub needs: Vec<Grant>,
}

/// The error with its causes: a mistake is one line.
fn one_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Runtime {
    pub(super) fn new(size: Size) -> Result<Self> {
        // A container may limit the address space too much for a pool. Without a pool it is slower, but works.
        let engine = Engine::new(&config(Some(size))).or_else(|e| {
            tracing::warn!(
                "cannot reserve memory for a pool of modules; each call allocates its own: {e:#}"
            );
            Engine::new(&config(None))
        })?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
        waiting::add_to_linker(&mut linker)?;
        TransformWithAll::add_to_linker::<InstanceState, HasSelf<InstanceState>>(
            &mut linker,
            |state| state,
        )?;
        let ticker = Ticker::start(engine.clone())?;
        let idle = Idle::new(size.instances() as usize);
        Ok(Self { engine, ticker, idle, linker })
    }

    /// Compiles the module or loads its compiled form; checks its imports and exports.
    pub(super) fn compile(&self, wasm: &[u8], cache: Option<&Cache>) -> Result<Compiled, String> {
        let component = match cache {
            Some(cache) => cache.component(&self.engine, wasm),
            None => Component::from_binary(&self.engine, wasm),
        };
        let component = component.map_err(|e| one_line(&e))?;
        let needs = self.check_imports(&component)?;
        self.check_exports(&component)?;
        let pre = self.linker.instantiate_pre(&component).map_err(|e| one_line(&e))?;
        let pre = TransformWithAllPre::new(pre).map_err(|e| one_line(&e))?;
        Ok(Compiled { pre, needs })
    }

    /// Refuses imports that lead nowhere; returns those that a step has to grant.
    fn check_imports(&self, component: &Component) -> Result<Vec<Grant>, String> {
        const LINKED: [&str; 6] = [
            "wasi:cli/",
            "wasi:clocks/",
            "wasi:filesystem/",
            "wasi:io/",
            "wasi:random/",
            "wasi:sockets/",
        ];
        let mut needs = Vec::new();
        let component_type = component.component_type();
        for (name, item) in component_type.imports(&self.engine) {
            let (interface, version) = name.split_once('@').unwrap_or((name, ""));
            // A name for a type of an interface; the interface itself is checked.
            if matches!(item.ty, ComponentItem::Type(_) | ComponentItem::Resource(_)) {
                continue;
            }
            if let Some(grant) = Grant::ALL.into_iter().find(|grant| grant.import() == name) {
                needs.push(grant);
                continue;
            }
            if name == TYPES
                || (version.starts_with("0.2.") && LINKED.iter().any(|l| name.starts_with(l)))
            {
                continue;
            }
            let is_ours = interface.starts_with("crossdock:transform/");
            return Err(match interface {
                _ if is_ours && version != VERSION => format!(
                    "is built for crossdock:transform@{version}, and this broker supports {VERSION}"
                ),
                _ => format!("imports {name}, which modules may not use"),
            });
        }
        Ok(needs)
    }

    fn check_exports(&self, component: &Component) -> Result<(), String> {
        let component_type = component.component_type();
        for wanted in ["init", "handle"] {
            if component_type.get_export(&self.engine, wanted).is_none() {
                return Err(format!(
                    "does not export {wanted}: not a crossdock:transform@1.0.0 module"
                ));
            }
        }
        Ok(())
    }
}

fn config(pool: Option<Size>) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config.max_wasm_stack(512 << 10);
    if let Some(size) = pool {
        let instances = size.instances();
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(instances);
        pool.max_core_instances_per_component(INSTANCES_MAX as u32);
        pool.max_memories_per_component(MEMORIES_MAX as u32);
        pool.max_tables_per_component(TABLES_MAX as u32);
        pool.total_core_instances(instances.saturating_mul(8));
        pool.total_memories(instances);
        pool.total_tables(instances.saturating_mul(4));
        pool.table_elements(TABLE_ELEMENTS_MAX);
        pool.max_memory_size(size.memory());
        pool.max_component_instance_size(8 << 20);
        pool.max_core_instance_size(8 << 20);
        // Memory that a small module uses stays mapped for the next instance, which saves page faults.
        pool.linear_memory_keep_resident(256 << 10);
        pool.table_keep_resident(16 << 10);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}
