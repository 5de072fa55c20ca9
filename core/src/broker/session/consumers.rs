//! The consumers of a session: found by id, by lane, and by what they get single records for.

use crate::broker::door::request::LaneId;
use crate::broker::vhost::connection::{Connection, ConsumerCounts};
use crate::broker::vhost::queue::Queue;
use crate::exchange::LogId;
use crate::message::cost::{ALLOCATION, MAP_ENTRY};
use crate::message::{Account, Budget, Charge};
use crate::subscription::{Attached, ByConsumer, ConsumerId, Handle, Pool};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a consumer takes in memory, in its session and in its queue.
pub(super) const CONSUMER_BYTES: usize = size_of::<Attached>()
    + size_of::<Attachment>()
    + size_of::<ConsumerCounts>()
    + 5 * MAP_ENTRY
    + 3 * ALLOCATION;

/// The consumers of a session, and the credit they share.
#[derive(Default)]
pub(super) struct SessionConsumers {
    by_id: ByConsumer<Attachment>,
    by_lane: BTreeSet<(LaneId, ConsumerId)>,
    /// Consumers of single gets that have something to settle.
    getters: FxHashMap<(LaneId, LogId), ConsumerId>,
    pub pools: Vec<Arc<Pool>>,
    /// Queues with records that this session rejected and that leave when their messages are fetched: how many of the
    /// queue's such records, the first ones, have to have left.
    pub pending_removals: FxHashMap<LogId, (Arc<Queue>, u64)>,
    /// What all of them take in memory.
    charge: Option<Charge>,
    /// Where operators see them.
    connection: Arc<Connection>,
}

/// A consumer as its session knows it.
pub(super) struct Attachment {
    pub queue: Arc<Queue>,
    pub handle: Handle,
    pub lane: LaneId,
    pub settles: bool,
    /// It gets nothing more by itself, and leaves with its last settlement: it served a single get, or was stopped.
    pub leaves: bool,
    /// It serves single gets.
    pub is_getter: bool,
    /// What it gets may be there by a binding of which only a part is allowed.
    pub is_looked_at: bool,
    pub counts: Arc<ConsumerCounts>,
}

impl SessionConsumers {
    /// None, of that connection.
    pub fn of_connection(connection: Arc<Connection>) -> Self {
        Self { connection, ..Self::default() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The consumer of that id.
    pub fn get(&self, id: ConsumerId) -> Option<&Attachment> {
        self.by_id.get(&id)
    }

    /// The consumer of that id.
    pub fn get_mut(&mut self, id: ConsumerId) -> Option<&mut Attachment> {
        self.by_id.get_mut(&id)
    }

    /// Adds a consumer, and counts what it takes.
    pub fn insert(&mut self, id: ConsumerId, attachment: Attachment, budget: &Arc<Budget>) {
        self.by_lane.insert((attachment.lane, id));
        if attachment.is_getter {
            self.getters.insert((attachment.lane, attachment.queue.id), id);
        }
        self.connection.add_consumer(attachment.counts.clone());
        self.by_id.insert(id, attachment);
        match &self.charge {
            Some(charge) => charge.grow(CONSUMER_BYTES),
            None => self.charge = Some(budget.charge(Account::Kept, CONSUMER_BYTES)),
        }
    }

    /// Takes a consumer out.
    pub fn remove(&mut self, id: ConsumerId) -> Option<Attachment> {
        let attachment = self.by_id.remove(&id)?;
        self.connection.remove_consumer(id);
        self.by_lane.remove(&(attachment.lane, id));
        if attachment.is_getter {
            self.getters.remove(&(attachment.lane, attachment.queue.id));
        }
        if let Some(charge) = &self.charge {
            charge.shrink(CONSUMER_BYTES);
        }
        Some(attachment)
    }

    /// Consumers of a lane, or of all, oldest first.
    pub fn of(&self, lane: Option<LaneId>) -> Vec<ConsumerId> {
        match lane {
            Some(lane) => {
                let range = (lane, ConsumerId(0))..=(lane, ConsumerId(u32::MAX));
                self.by_lane.range(range).map(|(_, id)| *id).collect()
            }
            None => {
                let mut ids: Vec<ConsumerId> = self.by_id.keys().copied().collect();
                ids.sort_unstable();
                ids
            }
        }
    }

    /// The consumer that serves single gets of that queue on that lane and has something to settle.
    pub fn getter(&self, lane: LaneId, queue: LogId) -> Option<(ConsumerId, Handle)> {
        let id = *self.getters.get(&(lane, queue))?;
        self.by_id.get(&id).map(|attachment| (id, attachment.handle))
    }
}
