//! The place of a module in a step: filled at once, or by the loader while the broker already serves.

use super::module::Module;
use crossdock_core::transform::Readiness;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A message waits this long for a module that is being compiled.
const STARTING_WAIT: Duration = Duration::from_millis(100);
/// ... and this long for one that cannot be loaded.
const DOWN_WAIT: Duration = Duration::from_secs(1);

/// A module that is there, is still being compiled, or cannot be loaded.
#[derive(Default)]
pub(crate) struct Slot {
    content: OnceLock<Result<Arc<Module>, Arc<str>>>,
}

impl Slot {
    /// Fills it; once, later ones are ignored.
    pub(super) fn fill(&self, content: Result<Arc<Module>, Arc<str>>) {
        self.content.get_or_init(|| content);
    }

    /// The module, or how long a message has to wait before it asks again.
    pub(crate) fn module(&self) -> Result<&Module, Duration> {
        match self.content.get() {
            Some(Ok(module)) => Ok(module),
            Some(Err(_)) => Err(DOWN_WAIT),
            None => Err(STARTING_WAIT),
        }
    }

    pub(crate) fn readiness(&self) -> Readiness {
        match self.content.get() {
            Some(Ok(_)) => Readiness::Ready,
            Some(Err(reason)) => Readiness::Down(reason.clone()),
            None => Readiness::Starting,
        }
    }
}
