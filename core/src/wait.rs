//! Waiting for what is not the broker's own, as the answer of a plugin.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Whose a thread is that something may take a while on.
#[derive(Debug, Clone, Copy)]
pub struct Thread {
    has_other_tasks: bool,
}

impl Thread {
    /// This one. Asked before there is anything to wait for: the first time on a thread it takes the lock of the
    /// dynamic linker, which a library that hangs while it is opened keeps.
    pub fn current() -> Self {
        let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
        // A runtime of one thread has nobody to hand its tasks to.
        Self { has_other_tasks: matches!(flavor, Ok(RuntimeFlavor::MultiThread)) }
    }

    /// Does something that may take a while. If the thread is one of a runtime's, its other tasks go on elsewhere
    /// meanwhile. Whoever calls it bounds how many do so at once: each takes a thread.
    pub fn block<R>(self, work: impl FnOnce() -> R) -> R {
        if self.has_other_tasks { block_in_place(work) } else { work() }
    }
}
