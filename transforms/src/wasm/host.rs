//! The sandbox's owner: engines, the cache, and modules by their content.

use super::cache::{Cache, hex};
use super::counters::ModuleStatus;
use super::engine::{Compiled, Runtime, Size};
use super::instance::{Blueprint, Failure};
use super::module::Module;
use crossdock_core::Name;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Largest module file.
const MODULE_MAX: u64 = 64 << 20;

/// Why there is no host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("the folder for compiled modules {folder}: {error}")]
    Cache { folder: PathBuf, error: std::io::Error },
}

/// Hash of a module's file, and the pool that it was compiled for.
type Content = ([u8; 32], Size);

/// Compiles routes and owns what their modules run in. One for each process; routes keep what they need of it.
pub struct Host {
    cache: Option<Cache>,
    engines: Mutex<HashMap<Size, Arc<Runtime>>>,
    compiled: Mutex<HashMap<Content, Weak<Compiled>>>,
    modules: Mutex<Vec<Weak<Module>>>,
    unreadable: Arc<AtomicU64>,
}

/// A module as a step asks for it.
pub(crate) struct ModuleSpec {
    pub name: Arc<str>,
    pub path: PathBuf,
    /// JSON for `init`.
    pub config: String,
    pub memory: u64,
    pub deadline: Duration,
    /// An instance for each message.
    pub fresh: bool,
    pub topic_exchange: Name,
}

/// A module that is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The key that the reason is about, if it is not the module's own: `with`, `limits.memory`.
    pub about: Option<&'static str>,
    pub reason: String,
}

impl Refused {
    fn new(about: Option<&'static str>, reason: impl Into<String>) -> Self {
        Self { about, reason: reason.into() }
    }
}

impl Host {
    /// A host that keeps compiled modules in the folder, or nowhere. Costs nothing until a module is loaded.
    pub fn new(cache_dir: Option<PathBuf>) -> Result<Self, HostError> {
        let cache = match cache_dir {
            None => None,
            Some(folder) => Some(
                Cache::open(folder.clone()).map_err(|error| HostError::Cache { folder, error })?,
            ),
        };
        Ok(Self {
            cache,
            engines: Mutex::default(),
            compiled: Mutex::default(),
            modules: Mutex::default(),
            unreadable: Arc::default(),
        })
    }

    /// The modules of all routes that are alive.
    pub fn modules(&self) -> Vec<ModuleStatus> {
        self.modules.lock().iter().filter_map(Weak::upgrade).map(|m| m.status()).collect()
    }

    /// Bodies that a predicate or an expression had a path for and that could not be read, of all routes so far.
    pub fn unreadable_bodies(&self) -> u64 {
        self.unreadable.load(Ordering::Relaxed)
    }

    pub(crate) fn unreadable(&self) -> &Arc<AtomicU64> {
        &self.unreadable
    }

    /// Loads, compiles and starts a module.
    pub(crate) fn module(&self, spec: ModuleSpec) -> Result<Arc<Module>, Refused> {
        let wasm = read(&spec.path).map_err(|reason| Refused::new(None, reason))?;
        let hash: [u8; 32] = Sha256::digest(&wasm).into();
        let size = Size::of(spec.memory);
        let named = |reason: String| format!("{}: {reason}", spec.path.display());
        let runtime = self.runtime(size).map_err(|reason| Refused::new(None, reason))?;
        let compiled = self
            .compiled(&runtime, size, hash, &wasm)
            .map_err(|reason| too_small(size, named(reason)))?;
        let version: Arc<str> = hex(hash.get(..6).unwrap_or_default()).into();
        let blueprint = Blueprint {
            runtime,
            compiled,
            name: spec.name,
            config: spec.config,
            memory: usize::try_from(spec.memory).unwrap_or(usize::MAX),
            deadline: spec.deadline,
            topic_exchange: spec.topic_exchange,
        };
        let module = start(blueprint, version, spec.fresh).map_err(|failure| match failure {
            Failure::Guest(reason) => Refused::new(Some("with"), reason),
            Failure::Busy => Refused::new(None, "every instance of the pool is in use"),
            Failure::Sandbox(kind, reason) => match kind.as_str() {
                "memory" => Refused::new(
                    Some("limits.memory"),
                    format!("the module needs more memory to start: {reason}"),
                ),
                kind => Refused::new(None, format!("does not start ({kind}): {reason}")),
            },
        })?;
        let module = Arc::new(module);
        let mut modules = self.modules.lock();
        modules.retain(|m| m.strong_count() > 0);
        modules.push(Arc::downgrade(&module));
        Ok(module)
    }

    fn runtime(&self, size: Size) -> Result<Arc<Runtime>, String> {
        let mut engines = self.engines.lock();
        if let Some(runtime) = engines.get(&size) {
            return Ok(runtime.clone());
        }
        let runtime = Runtime::new(size).map_err(|e| format!("no wasm engine: {e:#}"))?;
        let runtime = Arc::new(runtime);
        engines.insert(size, runtime.clone());
        Ok(runtime)
    }

    fn compiled(
        &self,
        runtime: &Runtime,
        size: Size,
        hash: [u8; 32],
        wasm: &[u8],
    ) -> Result<Arc<Compiled>, String> {
        let known = self.compiled.lock().get(&(hash, size)).and_then(Weak::upgrade);
        if let Some(compiled) = known {
            return Ok(compiled);
        }
        let compiled = Arc::new(runtime.compile(wasm, self.cache.as_ref())?);
        let mut all = self.compiled.lock();
        all.retain(|_, c| c.strong_count() > 0);
        all.insert((hash, size), Arc::downgrade(&compiled));
        Ok(compiled)
    }
}

/// On a thread of its own: a module may print while it starts, and the caller may be a runtime's worker, which must not
/// block on that.
fn start(blueprint: Blueprint, version: Arc<str>, fresh: bool) -> Result<Module, Failure> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| Module::start(blueprint, version, fresh));
        thread.join().unwrap_or_else(|_| {
            let reason = "the host panicked while the module started".to_string();
            Err(Failure::Sandbox(crossdock_core::transform::FaultKind::Trap, reason))
        })
    })
}

/// The engine says how many bytes a memory needs; the operator has to know which key gives them.
fn too_small(size: Size, reason: String) -> Refused {
    match size == Size::Small && reason.contains("memory") && reason.contains("limit") {
        true => Refused::new(
            Some("limits.memory"),
            format!("{reason}; ask for more than 16MiB to use the pool of large memories"),
        ),
        false => Refused::new(None, reason),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let named = |reason: &dyn std::fmt::Display| format!("{}: {reason}", path.display());
    let file = File::open(path).map_err(|e| named(&e))?;
    let size = file.metadata().map_err(|e| named(&e))?.len();
    if size > MODULE_MAX {
        return Err(named(&format!("{size} bytes are more than {MODULE_MAX}")));
    }
    let mut wasm = Vec::new();
    file.take(MODULE_MAX).read_to_end(&mut wasm).map_err(|e| named(&e))?;
    Ok(wasm)
}
