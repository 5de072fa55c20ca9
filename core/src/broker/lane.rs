//! Lanes: ordered streams of publishes and settles, each with its own confirm numbers and its own transaction.

use super::request::{LaneId, Publish};
use super::session::Session;
use crate::error::{Error, ErrorKind};
use crate::log::Offset;
use crate::subscription::{ConsumerId, Outcome};

/// Bytes of publishes in one open transaction at most.
const TRANSACTION_BYTES_MAX: usize = 64 << 20;

/// One ordered stream of publishes and settles.
#[derive(Default)]
pub(super) struct Lane {
    pub number: u64,
    pub transaction: Option<Transaction>,
}

#[derive(Default)]
pub(super) struct Transaction {
    publishes: Vec<(u64, Publish)>,
    bytes: usize,
    pub settles: Vec<(ConsumerId, Vec<Offset>, Outcome)>,
    /// It grew beyond its limit: the commit is refused.
    too_large: bool,
}

impl Transaction {
    /// Keeps a publish for the commit.
    pub fn publish(&mut self, number: u64, publish: Publish) {
        self.bytes += publish.message.size();
        self.too_large |= self.bytes > TRANSACTION_BYTES_MAX;
        if !self.too_large {
            self.publishes.push((number, publish));
        }
    }
}

impl Session {
    /// A new lane.
    pub fn lane(&mut self) -> LaneId {
        let id = LaneId(self.next_lane);
        self.next_lane = self.next_lane.wrapping_add(1);
        if self.lanes.is_empty() {
            // Most sessions have one.
            self.lanes.reserve_exact(1);
        }
        self.lanes.push((id, Lane::default()));
        id
    }

    pub(super) fn lane_mut(&mut self, lane: LaneId) -> Option<&mut Lane> {
        let at = self.lanes.binary_search_by_key(&lane, |(id, _)| *id).ok()?;
        self.lanes.get_mut(at).map(|(_, lane)| lane)
    }

    /// Publishes and settles of the lane wait for the commit from now on.
    pub fn begin(&mut self, lane: LaneId) {
        if let Some(lane) = self.lane_mut(lane) {
            lane.transaction = Some(Transaction::default());
        }
    }

    /// What waited for the commit is forgotten.
    pub fn rollback(&mut self, lane: LaneId) {
        if let Some(lane) = self.lane_mut(lane) {
            lane.transaction = None;
        }
    }

    /// All or nothing, in one entry; resolves when stored. The lane is then outside a transaction.
    pub async fn commit(&mut self, lane: LaneId) -> Result<(), Error> {
        self.flush_all();
        let Some(transaction) = self.lane_mut(lane).and_then(|l| l.transaction.take()) else {
            return Ok(());
        };
        if transaction.too_large {
            let detail = format!("a transaction holds at most {TRANSACTION_BYTES_MAX} bytes");
            return Err(Error::new(ErrorKind::TooLarge, detail));
        }
        for (consumer, offsets, outcome) in &transaction.settles {
            self.settle_now(*consumer, offsets, outcome);
        }
        for (number, publish) in transaction.publishes {
            self.enqueue(lane, number, publish);
        }
        self.flush_all();
        self.sync().await
    }
}
