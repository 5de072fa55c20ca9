//! The steps of a route.

use crate::draft::Draft;
use crate::expression::Expression;
use crate::native::Native;
use crate::wasm::Slot;
use crossdock_core::Value;
use crossdock_core::state::StateLayer;
use crossdock_core::transform::{FailureKind, ModuleLook, Readiness, StepFailure, Verdict};
use std::sync::Arc;
use std::time::Duration;

/// One step.
pub(crate) enum Step {
    /// Sets headers and properties; all expressions are evaluated before any value is set.
    Set(Vec<(String, Setting)>),
    Remove(Vec<String>),
    Wasm(Arc<Slot>, Memory),
    /// Done by a plugin.
    Native(Box<Native>),
}

/// Whether a step remembers something from message to message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    Kept,
    None,
}

/// The value that a `set` gives to a header or property.
pub(crate) enum Setting {
    Literal(Value),
    Computed(Expression),
}

/// Which message this is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// Who sent it, and where to (`crossdock_core::transform::source`).
    pub source: u64,
    /// 0 the first time, and one more after each failure or retry.
    pub attempt: u32,
}

/// The result of a step for one draft.
pub(crate) enum Outcome {
    One(Draft),
    Many(Vec<Draft>),
    Pass(Draft),
    Drop(Arc<str>),
    Reject(Arc<str>),
    Retry(Duration),
    /// The step did not look at the message.
    Wait(Duration),
}

impl Outcome {
    /// Whether what the step changed of what it remembers counts.
    pub(crate) fn may_remember(&self) -> bool {
        !matches!(self, Outcome::Reject(_) | Outcome::Retry(_) | Outcome::Wait(_))
    }

    /// The verdict, if it applies to the whole message.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        match self {
            Outcome::Pass(_) => Some(Verdict::Pass),
            Outcome::Drop(reason) => Some(Verdict::Drop(reason.clone())),
            Outcome::Reject(reason) => Some(Verdict::Reject(reason.clone())),
            Outcome::Retry(after) => Some(Verdict::Retry(*after)),
            Outcome::Wait(time) => Some(Verdict::Wait(*time)),
            Outcome::One(_) | Outcome::Many(_) => None,
        }
    }
}

impl Step {
    /// Whether it can work at all.
    pub(crate) fn readiness(&self) -> Readiness {
        match self {
            Step::Wasm(slot, _) => slot.readiness(),
            Step::Native(native) => native.readiness(),
            Step::Set(_) | Step::Remove(_) => Readiness::Ready,
        }
    }

    /// Whether it may be slow: then its route has a queue of its own.
    pub(crate) fn is_queued(&self) -> bool {
        matches!(self, Step::Wasm(..) | Step::Native(_))
    }

    /// Its module or plugin, if it has one that works.
    pub(crate) fn module(&self) -> Option<ModuleLook> {
        match self {
            Step::Wasm(slot, _) => slot.look(),
            Step::Native(native) => Some(native.look()),
            Step::Set(_) | Step::Remove(_) => None,
        }
    }

    /// The module that is rehearsed takes the place of the one that works; none: there is none.
    pub(crate) fn promote(&self, anyway: bool) -> Option<Result<String, String>> {
        match self {
            Step::Wasm(slot, _) => slot.promote(anyway),
            Step::Set(_) | Step::Remove(_) | Step::Native(_) => None,
        }
    }

    /// The time that a message of this source has to wait before the step looks at it.
    pub(crate) fn rest(&self, source: u64) -> Option<Duration> {
        match self {
            Step::Wasm(slot, _) => slot.current().map_or_else(Some, |module| module.rest(source)),
            Step::Native(native) => native.rest(),
            Step::Set(_) | Step::Remove(_) => None,
        }
    }

    /// Whether it remembers something from message to message.
    pub(crate) fn remembers(&self) -> bool {
        matches!(self, Step::Wasm(_, Memory::Kept))
    }

    /// `memory`: what the steps of the route remember, if they do.
    pub(crate) fn run(
        &self,
        mut draft: Draft,
        turn: Turn,
        memory: Option<&Arc<StateLayer>>,
    ) -> Result<Outcome, StepFailure> {
        match self {
            Step::Set(settings) => {
                let values: Vec<Value> = settings
                    .iter()
                    .map(|(_, setting)| match setting {
                        Setting::Literal(value) => value.clone(),
                        Setting::Computed(expression) => expression.value(&draft),
                    })
                    .collect();
                for ((name, _), value) in settings.iter().zip(values) {
                    draft.set(name, value).map_err(|reason| fault("set", &reason))?;
                }
                Ok(Outcome::One(draft))
            }
            Step::Remove(names) => {
                for name in names {
                    draft.remove(name).map_err(|reason| fault("remove", &reason))?;
                }
                Ok(Outcome::One(draft))
            }
            Step::Wasm(slot, Memory::Kept) => slot.run(draft, turn, memory),
            Step::Wasm(slot, Memory::None) => slot.run(draft, turn, None),
            Step::Native(native) => {
                let result = native.run_all(vec![(draft, turn)]).pop();
                result.unwrap_or_else(|| Err(fault("plugin", "the plugin gave no answer")))
            }
        }
    }
}

/// Largest text of a fault, in bytes.
const FAULT_TEXT_MAX: usize = 1024;

/// A failure of a built-in part of a route.
pub(crate) fn fault(part: &str, reason: &str) -> StepFailure {
    StepFailure {
        module: part.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        kind: FailureKind::Guest,
        text: bounded(reason).into(),
    }
}

/// The text, truncated to the limit of dead-letter headers.
pub(crate) fn bounded(text: &str) -> &str {
    within(text, FAULT_TEXT_MAX)
}

/// The text, cut to that many bytes at most.
pub(crate) fn within(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}
