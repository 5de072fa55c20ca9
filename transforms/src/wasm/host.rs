//! The host owns the sandbox: engines, the cache, and compiled modules by the hash of their content.

use super::cache::{Cache, hex};
use super::engine::{Compiled, Runtime, Size};
use super::grants::{Grant, Grants};
use super::instance::{self, Blueprint, Failure};
use super::loader::{Job, Loader};
use super::module::Module;
use super::numbers::Numbers;
use super::slot::Slot;
use super::voice::Voice;
use crate::destination::AddressRules;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Largest module file, in bytes.
const MODULE_MAX: u64 = 64 << 20;

/// Why the host cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("cannot use the folder {folder} for compiled modules: {error}")]
    Cache { folder: PathBuf, error: std::io::Error },
}

/// Hash of a module's file, and the pool that it was compiled for.
type Content = ([u8; 32], Size);

/// Compiles routes and owns the engines of their modules. One for each process; a route keeps its modules alive.
pub struct Host {
    shared: Arc<Shared>,
}

/// What the host and its loader share.
pub(super) struct Shared {
    cache: Option<Cache>,
    engines: Mutex<HashMap<Size, Arc<Runtime>>>,
    compiled: Mutex<HashMap<Content, Weak<Compiled>>>,
    /// The modules of steps, for new files of the same name.
    modules: Mutex<Vec<(Place, Weak<Module>)>>,
    /// The places of modules, by route: a probation goes on in the place that comes after its own.
    places: Mutex<Vec<(Arc<str>, Weak<Slot>)>>,
    unreadable: Arc<AtomicU64>,
    pub loader: Loader,
}

/// Where a module works: two of the same place do the same, but for their content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    route: Arc<str>,
    file: PathBuf,
    config: String,
}

/// A module and its limits, as a step configures them.
#[derive(Clone)]
pub(crate) struct ModuleSpec {
    pub route: Arc<str>,
    pub name: Arc<str>,
    pub path: PathBuf,
    /// JSON for `init`.
    pub config: String,
    pub memory: u64,
    pub deadline: Duration,
    /// Make a new instance for each message.
    pub fresh: bool,
    pub rules: Arc<AddressRules>,
    pub grants: Arc<Grants>,
    /// Its answers are compared only.
    pub rehearsed: bool,
}

/// Why a module cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The key that the reason is about, if it is not the module's name: `with`, `limits.memory`.
    pub about: Option<&'static str>,
    pub reason: String,
    /// All instances of its pool are in use, which does not last.
    pub busy: bool,
}

impl Refused {
    fn new(about: Option<&'static str>, reason: impl Into<String>) -> Self {
        Self { about, reason: reason.into(), busy: false }
    }

    /// With the key.
    pub(super) fn shown(self) -> String {
        match self.about {
            Some(about) => format!("{about}: {}", self.reason),
            None => self.reason,
        }
    }
}

impl Host {
    /// A host that stores compiled modules in the folder, if one is given. Engines are created with the first module.
    pub fn new(cache_dir: Option<PathBuf>) -> Result<Self, HostError> {
        let cache = match cache_dir {
            None => None,
            Some(folder) => Some(
                Cache::open(folder.clone()).map_err(|error| HostError::Cache { folder, error })?,
            ),
        };
        let shared = Shared {
            cache,
            engines: Mutex::default(),
            compiled: Mutex::default(),
            modules: Mutex::default(),
            places: Mutex::default(),
            unreadable: Arc::default(),
            loader: Loader::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Number of bodies that a path of a predicate or expression could not read, of all routes so far.
    pub fn unreadable_bodies(&self) -> u64 {
        self.shared.unreadable.load(Ordering::Relaxed)
    }

    pub(crate) fn unreadable(&self) -> &Arc<AtomicU64> {
        &self.shared.unreadable
    }

    /// Loads, compiles and starts a module now. One whose file was another one until now is on probation.
    pub(crate) fn load(&self, spec: ModuleSpec) -> Result<Arc<Slot>, Refused> {
        let slot = Arc::new(Slot::default());
        let module = self.shared.module(spec.clone())?;
        let before = self.shared.works(&spec, &module);
        if !self.shared.goes_on(&spec, &slot, &module) {
            match before {
                Some(before) => slot.fill_instead(module, before, true),
                None => slot.fill(Ok(module)),
            }
        }
        self.shared.place(&spec, &slot);
        Ok(slot)
    }

    /// Loads, compiles and starts a module of the route on a thread of its own; what fails takes the route down.
    pub(crate) fn load_later(&self, spec: ModuleSpec) -> Arc<Slot> {
        let slot = Arc::new(Slot::default());
        self.shared.place(&spec, &slot);
        Loader::add(&self.shared, Job { spec, slot: slot.clone() });
        slot
    }
}

impl Shared {
    /// The slot is the place of a step of the route.
    fn place(&self, spec: &ModuleSpec, slot: &Arc<Slot>) {
        let mut places = self.places.lock();
        places.retain(|(_, slot)| slot.strong_count() > 0);
        if !spec.rehearsed {
            places.push((spec.route.clone(), Arc::downgrade(slot)));
        }
    }

    /// Fills the slot if the same content is on probation for the route: naming a module in the configuration that
    /// was promoted, or another change of the route, does not end that.
    fn goes_on(&self, spec: &ModuleSpec, slot: &Slot, module: &Arc<Module>) -> bool {
        if spec.rehearsed {
            return false;
        }
        let places = self.places.lock();
        let of_route = places.iter().rev().filter(|(route, _)| *route == spec.route);
        let mut others = of_route.filter_map(|(_, other)| other.upgrade());
        others.any(|other| slot.fill_further(module, &other))
    }

    /// The module works from now on; returns the one that did so for the same step until now, if it is another one.
    pub(super) fn works(&self, spec: &ModuleSpec, module: &Arc<Module>) -> Option<Arc<Module>> {
        if spec.rehearsed {
            return None;
        }
        let (route, file) = (spec.route.clone(), spec.path.clone());
        let place = Place { route, file, config: spec.config.clone() };
        let mut modules = self.modules.lock();
        modules.retain(|(_, module)| module.strong_count() > 0);
        let same = modules.iter().rev().filter(|(known, _)| *known == place);
        let before = same.filter_map(|(_, module)| module.upgrade()).next();
        modules.push((place, Arc::downgrade(module)));
        before.filter(|before| before.version() != module.version())
    }

    /// Loads, compiles and starts a module.
    pub(super) fn module(&self, spec: ModuleSpec) -> Result<Arc<Module>, Refused> {
        let wasm = read(&spec.path).map_err(|reason| Refused::new(None, reason))?;
        let hash: [u8; 32] = Sha256::digest(&wasm).into();
        let size = Size::of(spec.memory);
        let named = |reason: String| format!("{}: {reason}", spec.path.display());
        let runtime = self.runtime(size).map_err(|reason| Refused::new(None, reason))?;
        let compiled = self
            .compiled(&runtime, size, hash, &wasm)
            .map_err(|reason| too_small(size, named(reason)))?;
        if let Some(grant) = spec.grants.missing(&compiled.needs) {
            return Err(Refused::new(None, named(not_granted(grant))));
        }
        let version: Arc<str> = hex(hash.get(..6).unwrap_or_default()).into();
        let shared = instance::Shared {
            voice: Voice::new(spec.name.clone(), spec.route.clone()),
            numbers: Numbers::default(),
        };
        let blueprint = Blueprint {
            runtime,
            compiled,
            shared: Arc::new(shared),
            grants: spec.grants,
            name: spec.name,
            config: spec.config,
            memory: usize::try_from(spec.memory).unwrap_or(usize::MAX),
            deadline: spec.deadline,
            rules: spec.rules,
        };
        let module = start(blueprint, version, spec.fresh).map_err(|failure| match failure {
            Failure::Guest(reason) => Refused::new(Some("with"), reason),
            Failure::Busy => {
                Refused { busy: true, ..Refused::new(Some("limits.memory"), in_use(size)) }
            }
            Failure::Sandbox(kind, reason) => match kind.as_str() {
                "memory" => Refused::new(
                    Some("limits.memory"),
                    format!("the module needs more memory to start: {reason}"),
                ),
                kind => Refused::new(None, format!("does not start ({kind}): {reason}")),
            },
        })?;
        Ok(Arc::new(module))
    }

    fn runtime(&self, size: Size) -> Result<Arc<Runtime>, String> {
        let mut engines = self.engines.lock();
        if let Some(runtime) = engines.get(&size) {
            return Ok(runtime.clone());
        }
        let runtime = Runtime::new(size)
            .map_err(|e| format!("cannot create the WebAssembly engine: {e:#}"))?;
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

/// Starts the module on a thread of its own: a module may print while it starts, and the caller may be a worker of the
/// runtime, which must not block on that.
fn start(blueprint: Blueprint, version: Arc<str>, fresh: bool) -> Result<Module, Failure> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| Module::start(blueprint, version, fresh));
        thread.join().unwrap_or_else(|_| {
            let reason = "the host panicked while the module started".to_string();
            Err(Failure::Sandbox(crossdock_core::transform::FailureKind::Trap, reason))
        })
    })
}

fn not_granted(grant: Grant) -> String {
    let (import, word) = (grant.import(), grant.as_str());
    format!(
        "imports {import}, which its step does not grant: add grants = [\"{word}\"] to the step"
    )
}

/// The pool's limit, and the key that chooses the pool.
fn in_use(size: Size) -> String {
    let (limit, pool) = (size.instances(), size.memory() >> 20);
    let pool = match size {
        Size::Small => format!("up to {pool} MiB"),
        Size::Large => format!("more than {} MiB", Size::Small.memory() >> 20),
    };
    format!("all {limit} instances of modules with {pool} of memory are in use")
}

/// The engine's error names the bytes that the module needs; the operator also has to know which key to change.
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
        return Err(named(&format!("the file has {size} bytes; at most {MODULE_MAX} are allowed")));
    }
    let mut wasm = Vec::new();
    file.take(MODULE_MAX).read_to_end(&mut wasm).map_err(|e| named(&e))?;
    Ok(wasm)
}
