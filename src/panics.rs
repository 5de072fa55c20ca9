//! A panic is a fault of the broker: it ends one task, a connection's as a rule, and nothing else. Each is counted and
//! said in the log, with the place in the source.

use std::any::Any;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};

static CAUGHT: AtomicU64 = AtomicU64::new(0);

/// From now on panics are lines of the log.
pub fn watch() {
    std::panic::set_hook(Box::new(say));
}

/// How many there were since the start.
pub fn caught() -> u64 {
    CAUGHT.load(Ordering::Relaxed)
}

fn say(panic: &PanicHookInfo<'_>) {
    let panics = CAUGHT.fetch_add(1, Ordering::Relaxed) + 1;
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(
        reason = text(panic.payload()),
        place,
        thread = thread.name().unwrap_or_default(),
        panics,
        "a task of the broker panicked: it has ended, and everything else goes on; please report this"
    );
}

fn text(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown")
}
