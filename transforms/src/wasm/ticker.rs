//! The clock of deadlines: a thread that advances the engine's epoch every millisecond while a call is running, and
//! sleeps otherwise. It stops when the ticker is dropped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;
use wasmtime::Engine;

/// Duration of one epoch.
pub(super) const TICK: Duration = Duration::from_millis(1);

pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    stopped: AtomicBool,
}

impl Ticker {
    pub(super) fn start(engine: Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let seen = shared.clone();
        let tick = move || {
            while !seen.stopped.load(Ordering::SeqCst) {
                match seen.running.load(Ordering::SeqCst) {
                    // An unpark between the check and the park is not lost: park then returns at once.
                    0 => thread::park(),
                    _ => {
                        thread::sleep(TICK);
                        engine.increment_epoch();
                    }
                }
            }
        };
        let handle = thread::Builder::new().name("wasm-ticker".into()).spawn(tick)?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// The clock runs while this is held.
    pub(super) fn running(&self) -> Running<'_> {
        if self.shared.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.thread.unpark();
        }
        Running(&self.shared)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

pub(super) struct Running<'t>(&'t Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
