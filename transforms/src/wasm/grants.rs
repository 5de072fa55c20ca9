//! What a step grants to its module, which without grants reads its message and answers.

use crossdock_core::Address;
use crossdock_core::exchange::filter;
use crossdock_core::transform::Watch;

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
    /// Addresses of outputs: the route's own that are not computed.
    pub own: Vec<Address>,
    /// ... and the step's `destinations`.
    pub destinations: Vec<Watch>,
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

    /// Whether an output may be sent there.
    pub(super) fn allow(&self, address: &Address) -> bool {
        let is_granted = |granted: &Watch| match granted {
            Watch::Queue(name) => address.is_queue() && *address == Address::queue(name),
            Watch::Exchange(name, pattern) => {
                !address.is_queue()
                    && address.exchange == *name
                    && filter::matches(pattern, &address.key)
            }
        };
        self.own.contains(address) || self.destinations.iter().any(is_granted)
    }
}
