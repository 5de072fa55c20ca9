//! What queues that are gone have counted, so that the sums of a virtual host go on.

use crate::subscription::{DeliveryTotals, QueueCounts, Tally};

/// Sums over the queues of a virtual host that were deleted since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GoneQueues {
    /// How many there were.
    pub queues: u64,
    pub tally: Tally,
    pub deliveries: DeliveryTotals,
}

impl GoneQueues {
    /// A queue was deleted.
    pub fn add(&mut self, counts: &QueueCounts) {
        self.queues += 1;
        self.tally.add(&counts.totals());
        self.deliveries.add(&counts.deliveries.totals());
    }
}
