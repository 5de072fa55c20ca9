//! The sums of what a broker has counted, and the audit: which addresses do not balance. Whoever shows them is
//! outside of the core.

use super::operations::ops::Ops;
use super::shared::{Broker, Shared};
use super::vhost::drops::DropReason;
use super::vhost::exchange_counts::ExchangeTotals;
use super::vhost::host::Vhost;
use super::vhost::queue::Queue;
use crate::exchange::LogId;
use crate::message::{Address, Name};
#[cfg(any(test, feature = "test-store"))]
use crate::subscription::LeftBy;
use crate::subscription::{DeliveryTotals, Depth, QueueTotals, Side, Tally};
use std::fmt;

/// Queues and exchanges that are looked at with the topology locked.
const SLICE: usize = 1_000;

/// An address whose numbers do not come out, and these numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Imbalance {
    Queue { vhost: Name, queue: Name, totals: Box<QueueTotals> },
    Exchange { vhost: Name, exchange: Name, totals: ExchangeTotals },
}

impl Imbalance {
    /// The address.
    pub fn address(&self) -> Address {
        match self {
            Imbalance::Queue { queue, .. } => Address::queue(queue),
            Imbalance::Exchange { exchange, .. } => Address::new(exchange.clone(), "".into()),
        }
    }

    /// How many messages came and are nowhere; negative: how many too many are somewhere.
    pub fn missing(&self) -> i128 {
        match self {
            Imbalance::Queue { totals, .. } => totals.missing(),
            Imbalance::Exchange { totals, .. } => i128::from(totals.unaccounted),
        }
    }
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Imbalance::Queue { vhost, queue, totals } => write!(
                f,
                "queue '{queue}' in vhost '{vhost}': {} came, {} left and {} are there: {} missing",
                totals.tally.came_all(),
                totals.tally.left_all(),
                totals.waiting,
                totals.missing()
            ),
            Imbalance::Exchange { vhost, exchange, totals } => write!(
                f,
                "exchange '{exchange}' in vhost '{vhost}': {} published, {} routed, {} unroutable and \
                 {} refused: {} missing",
                totals.published(),
                totals.routed,
                totals.unroutable,
                totals.refused,
                totals.unaccounted
            ),
        }
    }
}

/// What a virtual host has counted, its objects that are gone included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VhostTotals {
    /// How many queues there are, and how many were deleted since the start.
    pub queues: u64,
    pub queues_gone: u64,
    /// How records came to queues and left them.
    pub records: Tally,
    pub deliveries: DeliveryTotals,
    pub depth: Depth,
    /// What was published, and what became of it.
    pub exchanges: ExchangeTotals,
    /// Publishes that were dropped, and whose publishers were sent no refusal: without a right; by a queue or route.
    pub dropped_denied: u64,
    pub dropped_refused: u64,
}

impl VhostTotals {
    /// Both together.
    pub fn add(&mut self, other: &VhostTotals) {
        self.queues += other.queues;
        self.queues_gone += other.queues_gone;
        self.records.add(&other.records);
        self.deliveries.add(&other.deliveries);
        self.depth.add(&other.depth);
        self.exchanges.add(&other.exchanges);
        self.dropped_denied += other.dropped_denied;
        self.dropped_refused += other.dropped_refused;
    }
}

/// Calls `each` with every queue, some of them under one lock of the topology.
fn queues(vhost: &Vhost, mut each: impl FnMut(&Queue)) {
    let mut last = LogId(0);
    loop {
        let some = vhost.topology.read().queues_after(last, SLICE);
        let Some(queue) = some.last() else { return };
        last = queue.id;
        some.iter().for_each(|queue| each(queue));
    }
}

/// Calls `each` with every exchange, the default one included.
fn exchanges(vhost: &Vhost, mut each: impl FnMut(&Name, ExchangeTotals)) {
    let mut last: Option<Name> = None;
    if let Some(default) = vhost.topology.read().counts_of("") {
        each(&default.name, default.totals());
    }
    loop {
        let some = vhost.topology.read().exchange_counts_after(last.as_ref(), SLICE);
        let Some(counts) = some.last() else { return };
        last = Some(counts.name.clone());
        some.iter().for_each(|counts| each(&counts.name, counts.totals()));
    }
}

fn totals(vhost: &Vhost) -> VhostTotals {
    let mut sum = VhostTotals {
        exchanges: vhost.topology.read().gone_exchanges(),
        dropped_denied: vhost.drops.count(DropReason::Denied),
        dropped_refused: vhost.drops.count(DropReason::Refused),
        ..VhostTotals::default()
    };
    {
        let gone = vhost.gone.lock();
        sum.queues_gone = gone.queues;
        sum.records.add(&gone.tally);
        sum.deliveries.add(&gone.deliveries);
    }
    queues(vhost, |queue| {
        sum.queues += 1;
        sum.records.add(&queue.counts.totals());
        sum.deliveries.add(&queue.counts.deliveries.totals());
        sum.depth.add(&queue.counts.gauges.depth());
    });
    exchanges(vhost, |_, totals| sum.exchanges.add(&totals));
    sum
}

/// Adds those of the next `max` queues behind that one that do not balance, each looked at under its lock. The last one
/// that was looked at; none: there are no more.
pub fn audit_queues(
    vhost: &Vhost,
    (last, max): (LogId, usize),
    found: &mut Vec<Imbalance>,
) -> Option<LogId> {
    let some = vhost.topology.read().queues_after(last, max);
    for queue in &some {
        let totals = queue.totals();
        if totals.missing() != 0 {
            let (vhost, queue) = (vhost.name.clone(), queue.name.clone());
            found.push(Imbalance::Queue { vhost, queue, totals: Box::new(totals) });
        }
    }
    some.last().map(|queue| queue.id)
}

/// Adds the exchanges that do not balance.
pub fn audit_exchanges(vhost: &Vhost, found: &mut Vec<Imbalance>) {
    let name = &vhost.name;
    exchanges(vhost, |exchange, totals| {
        if totals.unaccounted != 0 {
            let (vhost, exchange) = (name.clone(), exchange.clone());
            found.push(Imbalance::Exchange { vhost, exchange, totals });
        }
    });
}

impl Broker {
    /// Every address that does not balance, with its numbers. Each queue is looked at under its lock, so that its
    /// numbers are of one moment; nothing else waits for it.
    ///
    /// A queue balances when what was published, moved and dead-lettered into it = what was consumed, dead-lettered,
    /// dropped, purged, moved out or deleted, what expired or was lost as transient at a restart, and what waits there.
    /// An exchange does when what was published to it = what was routed, unroutable and refused.
    pub fn audit(&self) -> Vec<Imbalance> {
        let mut found = Vec::new();
        for vhost in self.shared().all_vhosts().iter() {
            let mut next = Some(LogId(0));
            while let Some(last) = next {
                next = audit_queues(vhost, (last, SLICE), &mut found);
            }
            audit_exchanges(vhost, &mut found);
        }
        found
    }

    /// What each virtual host has counted since the start, and its durable queues over restarts. Read without locks of
    /// queues: numbers that change meanwhile are of different moments.
    pub fn totals(&self) -> Vec<(Name, VhostTotals)> {
        let vhosts = self.shared().all_vhosts();
        vhosts.iter().map(|vhost| (vhost.name.clone(), totals(vhost))).collect()
    }

    /// As if a settle of that queue had not been counted: for tests of the audit.
    #[cfg(any(test, feature = "test-store"))]
    pub fn forget_a_settle(&self, vhost: &str, queue: &str) {
        let found = self.shared().vhost(vhost).and_then(|vhost| vhost.queue(queue).ok());
        if let Some(queue) = found {
            let one_less = 1u64.wrapping_neg();
            queue.look(|_| queue.counts.left(Side::Durable, LeftBy::Consumed, one_less));
        }
    }
}

/// Hands what queues have counted of transient records to the store, so that the next start knows how many were lost.
pub fn store_transient_counts(shared: &Shared) {
    for vhost in shared.all_vhosts().iter() {
        let mut ops = Ops::default();
        queues(vhost, |queue| {
            let tally = queue.look(|_| queue.counts.tally(Side::Transient));
            if queue.is_durable() && !tally.is_empty() {
                ops.transient_counts(queue.id, &tally);
            }
        });
        shared.committer.submit_ops(ops);
    }
}
