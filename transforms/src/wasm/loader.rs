//! Loads modules while the broker already serves: one thread, one module after the other, in the order in which their
//! steps are configured. It ends when nothing is left to load, or the host is gone.

use super::host::{ModuleSpec, Shared};
use super::module::Module;
use super::slot::Slot;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

/// Pause before a module is started again that found all instances of its pool in use.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// The modules that wait to be loaded; as many as there are wasm steps in the configuration.
#[derive(Default)]
pub(super) struct Loader {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// A thread takes from `jobs`.
    running: bool,
}

/// A module to load.
pub(super) struct Job {
    pub spec: ModuleSpec,
    pub slot: Arc<Slot>,
}

impl Loader {
    /// Adds a job, and starts the thread if none is running.
    pub(super) fn add(host: &Arc<Shared>, job: Job) {
        let mut waiting = host.loader.waiting.lock();
        waiting.jobs.push_back(job);
        if waiting.running {
            return;
        }
        let weak = Arc::downgrade(host);
        let thread = thread::Builder::new().name("wasm-loader".into());
        match thread.spawn(move || work(&weak)) {
            Ok(_) => waiting.running = true,
            Err(error) => {
                for job in std::mem::take(&mut waiting.jobs) {
                    job.end(Err(format!("cannot start a thread: {error}")));
                }
            }
        }
    }
}

fn work(host: &Weak<Shared>) {
    while let Some(shared) = host.upgrade() {
        let Some(job) = next(&shared) else { return };
        drop(shared);
        let loaded = catch_unwind(AssertUnwindSafe(|| load(host, &job)));
        match loaded {
            Ok(Some(loaded)) => job.end(loaded),
            // Nobody waits for it any more.
            Ok(None) => return,
            Err(_) => job.end(Err("the host panicked while the module was loaded".into())),
        }
    }
}

fn next(shared: &Shared) -> Option<Job> {
    let mut waiting = shared.loader.waiting.lock();
    let job = waiting.jobs.pop_front();
    waiting.running = job.is_some();
    job
}

/// None: the host is gone.
fn load(host: &Weak<Shared>, job: &Job) -> Option<Result<Arc<Module>, String>> {
    while let Some(shared) = host.upgrade() {
        match shared.module(job.spec.clone()) {
            Err(refused) if refused.busy => thread::sleep(BUSY_PAUSE),
            Err(refused) => return Some(Err(refused.shown())),
            Ok(module) => {
                // Nothing was there before: this is a start.
                shared.works(&job.spec, &module);
                return Some(Ok(module));
            }
        }
    }
    None
}

impl Job {
    fn end(self, loaded: Result<Arc<Module>, String>) {
        if let (Err(reason), true) = (&loaded, self.spec.rehearsed) {
            tracing::warn!(
                route = &*self.spec.route,
                module = &*self.spec.name,
                reason,
                "a module that is to be rehearsed cannot be loaded: the one that works goes on"
            );
        } else if let Err(reason) = &loaded {
            tracing::error!(
                route = &*self.spec.route,
                module = &*self.spec.name,
                reason,
                "a module cannot be loaded: its route is down, and the messages of the route wait"
            );
        }
        let name = &self.spec.name;
        self.slot.fill(loaded.map_err(|reason| format!("module {name}: {reason}").into()));
    }
}
