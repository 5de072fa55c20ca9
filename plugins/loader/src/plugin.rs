//! A plugin that is loaded: its calls, and whether it is still in use.

use crate::pool::{Late, Pool};
use crate::sinks::Items;
use crossdock_core::{Error, ErrorKind};
use crossdock_plugin::abi::{self, Free, Sink};
use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A plugin as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub name: String,
    pub path: PathBuf,
    /// In hexadecimal.
    pub sha256: Option<String>,
    /// Its own settings, as JSON.
    pub with: String,
    /// How long a call may take.
    pub call_time: Duration,
    /// Threads for its calls, at most.
    pub threads: usize,
}

/// A plugin as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub name: String,
    pub file: String,
    /// As it calls itself.
    pub plugin: String,
    pub version: String,
    /// What it brings: `exchange:x-name`.
    pub brings: Vec<String>,
    /// Calls since the start, and how many of them it answered with no.
    pub calls: u64,
    pub refused: u64,
    /// Why it is out of use; none: it is in use.
    pub out_of_use: Option<String>,
}

/// A pointer to something of the plugin's.
#[derive(Debug, Clone, Copy)]
pub struct Pointer(pub *mut c_void);

// SAFETY: what a plugin hands out may be used from any thread, by the contract.
unsafe impl Send for Pointer {}
// SAFETY: the same.
unsafe impl Sync for Pointer {}

/// A plugin that is loaded.
pub struct Plugin {
    pub spec: Spec,
    /// As the plugin calls itself.
    pub title: OnceLock<(String, String)>,
    pub brings: OnceLock<Vec<String>>,
    /// What its `start` made.
    pub state: OnceLock<Pointer>,
    pool: Pool,
    calls: AtomicU64,
    refused: AtomicU64,
    out_of_use: OnceLock<String>,
}

/// Why a call has no answer.
pub enum NoAnswer {
    /// The plugin is out of use since before.
    Gone(Error),
    /// None of its threads was free in time.
    Busy(Error),
    /// This call broke the contract: `hangs` or not.
    Broke { hangs: bool, error: Error },
}

impl From<NoAnswer> for Error {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::Gone(error) | NoAnswer::Busy(error) | NoAnswer::Broke { error, .. } => error,
        }
    }
}

/// What a call of the plugin answered.
struct Answer<R> {
    status: i32,
    text: String,
    value: R,
}

impl<R> Answer<R> {
    fn of(work: impl FnOnce(*const Sink) -> (i32, R)) -> Self {
        let mut error = Items::of_error();
        let sink = error.sink();
        let (status, value) = work(&raw const sink);
        Self { status, text: error.into_text(), value }
    }
}

impl Plugin {
    /// One of which nothing was called yet.
    pub fn new(spec: Spec) -> Self {
        Self {
            pool: Pool::new(&format!("plugin-{}", spec.name), spec.threads, spec.call_time),
            spec,
            title: OnceLock::new(),
            brings: OnceLock::new(),
            state: OnceLock::new(),
            calls: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            out_of_use: OnceLock::new(),
        }
    }

    /// What its `start` made; null before.
    pub fn state(&self) -> Pointer {
        self.state.get().copied().unwrap_or(Pointer(std::ptr::null_mut()))
    }

    /// As operators see it.
    pub fn look(&self) -> Look {
        let (plugin, version) = self.title.get().cloned().unwrap_or_default();
        Look {
            name: self.spec.name.clone(),
            file: self.spec.path.display().to_string(),
            plugin,
            version,
            brings: self.brings.get().cloned().unwrap_or_default(),
            calls: self.calls.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            out_of_use: self.out_of_use.get().cloned(),
        }
    }

    /// Calls the plugin. `Invalid`: it says no, and why; `Unavailable`: it is out of use, or was busy for too long.
    pub fn call<R: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(*const Sink) -> (i32, R) + Send + 'static,
    ) -> Result<R, Error> {
        self.begin()?;
        let answer = self.pool.call(move || Answer::of(work));
        match self.judge(what, answer)? {
            (value, None) => Ok(value),
            (_, Some(why)) => Err(Error::new(ErrorKind::Invalid, why)),
        }
    }

    /// The same for a call that does several things, each within the time of a call, for whoever wants to know what
    /// there is beside a refusal and why there is no answer. `progress`: when it did the last.
    pub fn call_while<R: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(*const Sink) -> (i32, R) + Send + 'static,
        progress: impl Fn() -> Option<Instant>,
    ) -> Result<(R, Option<String>), NoAnswer> {
        self.begin().map_err(NoAnswer::Gone)?;
        let answer = self.pool.call_while(move || Answer::of(work), progress);
        self.judge(what, answer)
    }

    /// The same without blocking, for whoever wants to know what there is beside a refusal, too.
    pub async fn call_later<R: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(*const Sink) -> (i32, R) + Send + 'static,
    ) -> Result<(R, Option<String>), Error> {
        self.begin()?;
        let answer = self.pool.call_later(move || Answer::of(work)).await;
        Ok(self.judge(what, answer)?)
    }

    /// Adds `count` messages that the plugin refused within one call to `refused`.
    pub fn note_refused(&self, count: u64) {
        self.refused.fetch_add(count, Ordering::Relaxed);
    }

    fn begin(&self) -> Result<(), Error> {
        if let Some(why) = self.out_of_use.get() {
            return Err(self.gone(why));
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// What a call led to, with why the plugin says no if it does. A plugin that broke the contract is out of use.
    fn judge<R>(
        &self,
        what: &str,
        answer: Result<Answer<R>, Late>,
    ) -> Result<(R, Option<String>), NoAnswer> {
        let broke = |hangs: bool, why: String| Err(NoAnswer::Broke { hangs, error: self.end(why) });
        match answer {
            Ok(Answer { status: abi::OK, value, .. }) => Ok((value, None)),
            Ok(Answer { status: abi::REFUSED, text, value }) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Ok((value, Some(text)))
            }
            Ok(Answer { status: abi::PANICKED, text, .. }) => {
                broke(false, format!("its call '{what}' panicked: {text}"))
            }
            Ok(Answer { status, text, .. }) => {
                broke(false, format!("its call '{what}' failed with status {status}: {text}"))
            }
            Err(Late::Hangs) => {
                let ms = self.pool.time().as_millis();
                broke(true, format!("its call '{what}' did not return within {ms} ms"))
            }
            Err(Late::Busy) => {
                let name = &self.spec.name;
                let detail = format!("the plugin '{name}' is busy: none of its threads was free");
                Err(NoAnswer::Busy(Error::new(ErrorKind::Unavailable, detail)))
            }
        }
    }

    /// From now on nothing of it is called.
    pub fn end(&self, why: String) -> Error {
        if self.out_of_use.set(why.clone()).is_ok() {
            tracing::error!(
                plugin = self.spec.name,
                file = %self.spec.path.display(),
                %why,
                "a plugin is out of use: what it was to do is refused until it is mended and the broker is \
                 started again"
            );
        }
        self.gone(&why)
    }

    fn gone(&self, why: &str) -> Error {
        let (name, file) = (&self.spec.name, self.spec.path.display());
        let detail = format!("the plugin '{name}' ({file}) is out of use: {why}");
        Error::new(ErrorKind::Unavailable, detail)
    }

    /// Why it is out of use, if it is.
    pub fn out_of_use(&self) -> Option<&str> {
        self.out_of_use.get().map(String::as_str)
    }
}

/// Something that the plugin made, and frees. It is freed after what it belongs to was let go by all its users.
pub struct Object {
    plugin: Arc<Plugin>,
    pointer: Pointer,
    free: Option<Free>,
    /// What it belongs to, which is freed after it.
    owner: Option<Arc<Object>>,
}

impl Object {
    /// What a call of the plugin returned.
    pub fn new(
        plugin: &Arc<Plugin>,
        pointer: Pointer,
        free: Option<Free>,
        owner: Option<Arc<Object>>,
    ) -> Arc<Self> {
        Arc::new(Self { plugin: plugin.clone(), pointer, free, owner })
    }

    /// Where it is.
    pub fn pointer(&self) -> *mut c_void {
        self.pointer.0
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // What is out of use may hold its own locks for ever: it stays as it is.
        if self.plugin.out_of_use().is_some() {
            return;
        }
        let (pointer, free, owner) = (self.pointer, self.free, self.owner.take());
        self.plugin.pool.later(move || {
            let pointer = pointer;
            if let Some(free) = free {
                // SAFETY: the plugin's function for this object, which nobody has any more.
                unsafe { free(pointer.0) }
            }
            drop(owner);
        });
    }
}
