//! What a step grants to its module, which without grants reads its message and answers.

use crate::decision::Places;

/// An interface that a module may import if its step grants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    Log,
    Metrics,
    Kv,
}

impl Grant {
    pub(crate) const ALL: [Grant; 3] = [Grant::Log, Grant::Metrics, Grant::Kv];

    /// The word in the configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Grant::Log => "log",
            Grant::Metrics => "metrics",
            Grant::Kv => "kv",
        }
    }

    /// The import of a component.
    pub(super) fn import(self) -> &'static str {
        match self {
            Grant::Log => "crossdock:transform/log@1.0.0",
            Grant::Metrics => "crossdock:transform/metrics@1.0.0",
            Grant::Kv => "crossdock:transform/kv@1.0.0",
        }
    }
}

/// All that one step grants.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    pub interfaces: Vec<Grant>,
    /// Addresses of outputs.
    pub places: Places,
    /// What it may remember, if it may.
    pub memory: Option<MemoryGrant>,
}

/// What a step may remember.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryGrant {
    /// Its number among the steps of the route that remember, from 1 on.
    pub step: u16,
    /// Bytes, as `StateSize` counts them.
    pub bytes_max: usize,
}

impl Grants {
    /// The first of these imports that is not granted.
    pub(super) fn missing(&self, needs: &[Grant]) -> Option<Grant> {
        needs.iter().copied().find(|need| !self.interfaces.contains(need))
    }
}
