//! What the pages of a log take in memory, as the budget sees it. Pages in memory can come to rest: they wait. Pages at
//! rest stay until their records leave: they are kept.

use super::record::Record;
use crate::message::cost::ALLOCATION;
use crate::message::{Account, Budget, Charge};
use std::sync::Arc;

/// Bytes of a page in memory with room for that many records.
pub(super) fn hot_bytes(room: usize) -> usize {
    room * size_of::<Option<Record>>() + ALLOCATION
}

/// Bytes that pages take. A log that was told of no budget counts for nobody.
#[derive(Debug, Default)]
pub(super) struct PageMemory {
    hot: usize,
    cold: usize,
    charges: Option<(Charge, Charge)>,
}

impl PageMemory {
    /// Counts against that budget from now on.
    pub fn charge_to(&mut self, budget: &Arc<Budget>) {
        let hot = budget.charge(Account::Waiting, self.hot);
        self.charges = Some((hot, budget.charge(Account::Kept, self.cold)));
    }

    /// A page in memory takes `after` bytes and no longer `before`.
    pub fn hot(&mut self, before: usize, after: usize) {
        self.hot = (self.hot + after).saturating_sub(before);
        if let Some((hot, _)) = &self.charges {
            hot.set(self.hot);
        }
    }

    /// A page at rest takes `after` bytes and no longer `before`.
    pub fn cold(&mut self, before: usize, after: usize) {
        self.cold = (self.cold + after).saturating_sub(before);
        if let Some((_, cold)) = &self.charges {
            cold.set(self.cold);
        }
    }

    /// Bytes of the pages in memory, and of those at rest.
    #[cfg(test)]
    pub fn bytes(&self) -> (usize, usize) {
        (self.hot, self.cold)
    }
}
