//! Consumers: attached, detached, and single gets; and what all control verbs begin or end with.

use super::consumers::{Attachment, CONSUMER_BYTES};
use super::state::Session;
use crate::broker::door::events::QueueIdentity;
use crate::broker::door::request::{Consumer, ConsumerSource, LaneId, OnDetach};
use crate::broker::journal::unit::Unit;
use crate::broker::operations::ops::Ops;
use crate::broker::turn::removal;
use crate::broker::vhost::connection::ConsumerCounts;
use crate::broker::vhost::inbox::Inbox;
use crate::broker::vhost::limits::Limit;
use crate::broker::vhost::named::Named;
use crate::broker::vhost::queue::{Aftermath, Queue};
use crate::error::{Error, ErrorKind};
use crate::log::Offset;
use crate::message::Name;
use crate::rights::Action;
use crate::subscription::{
    Attached, Beside, ConsumerId, Credit, Delivery, Handed, Handle, Outcome,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Attempts of a single get whose record has to be read back: it may leave memory again before it is taken.
const GET_TRIES: usize = 50;

/// The error of a verb whose connection has lost the session to another one.
pub(super) fn taken_over() -> Error {
    Error::new(ErrorKind::Closed, "another connection has the session")
}

impl Session {
    /// Stores operations, behind everything submitted so far.
    pub(super) async fn store(&mut self, ops: Ops) -> Result<(), Error> {
        self.turn.unit().ops.append(&mut { ops });
        let durable = self.turn.is_durable();
        self.flush_ops();
        match durable {
            true => self.sync().await,
            false => Ok(()),
        }
    }

    /// Resolves when all that this session did so far is stored; confirms are in [`Session::events`] by then.
    pub async fn sync(&mut self) -> Result<(), Error> {
        self.flush();
        while self.status.has_more {
            tokio::task::yield_now().await;
            self.flush();
        }
        let shared = self.shared();
        for (queue, upto) in std::mem::take(&mut self.consumers.pending_removals).into_values() {
            shared.loads.removed(&queue, upto).await;
        }
        if !self.vhost.departing.is_empty() {
            self.vhost.departing.all_went().await;
        }
        shared.committer.sync(Unit::default()).await
    }

    /// Flushes what this session published, so that the next verb comes behind it; what is held back because memory or
    /// disk space is short stays held back.
    pub(super) async fn flush_behind(&mut self) {
        match self.shared().pressure.holds_publishers() {
            true => self.flush(),
            false => self.flush_all().await,
        }
    }

    /// What this session published before is in its queues before the next verb looks at them.
    pub(super) async fn arrived(&mut self) -> Result<(), Error> {
        self.flush_behind().await;
        match self.inbox.outstanding.load(Ordering::Acquire) {
            0 => Ok(()),
            _ => self.shared().committer.sync(Unit::default()).await,
        }
    }

    /// `LimitReached` when this connection has as many consumers as it may.
    fn check_consumers(&self) -> Result<(), Error> {
        let (there, who) = (self.consumers.len(), (&self.vhost.name, &*self.inbox.origin));
        // The first one comes with its connection: it may be the one that takes something away.
        let bytes = if there == 0 { 0 } else { CONSUMER_BYTES };
        self.vhost.limits.check(Limit::Consumers, (there, 1), bytes, who)
    }

    /// The queue that a consumer is to read.
    async fn source(&mut self, source: &ConsumerSource) -> Result<Arc<Queue>, Error> {
        if let ConsumerSource::Queue(name) = source {
            self.check_member(Action::Read, name)?;
            return self.own_queue_named(name);
        }
        let is_new = self.named.as_ref().is_some_and(|named| named.queue().is_none());
        let queue = self.make_own_queue()?;
        if is_new && queue.is_durable() {
            self.sync().await?;
        }
        Ok(queue)
    }

    /// Starts consuming. `LimitReached`, `NotFound`, `Locked` (exclusive queue), `InUse` (exclusive consumer).
    pub async fn attach(&mut self, lane: LaneId, consumer: Consumer) -> Result<ConsumerId, Error> {
        let beside = if consumer.exclusive { Beside::Nobody } else { Beside::Anyone };
        self.attach_beside(lane, consumer, beside).await
    }

    /// The same for a consumer beside which all others are idle, but for older ones of this kind: it waits for
    /// their end.
    pub async fn attach_in_turn(
        &mut self,
        lane: LaneId,
        consumer: Consumer,
    ) -> Result<ConsumerId, Error> {
        self.attach_beside(lane, consumer, Beside::Idle).await
    }

    /// The queue that a consumer reads.
    pub fn queue_identity(&self, consumer: ConsumerId) -> Option<QueueIdentity> {
        let queue = &self.consumers.get(consumer)?.queue;
        let (queue, is_durable) = (queue.id.0, queue.spec.durable);
        Some(QueueIdentity { queue, start: self.shared().identifiers.epoch(), is_durable })
    }

    async fn attach_beside(
        &mut self,
        lane: LaneId,
        consumer: Consumer,
        beside: Beside,
    ) -> Result<ConsumerId, Error> {
        self.arrived().await?;
        self.check_consumers()?;
        let id = self.new_consumer();
        let (queue, handle, is_first) = loop {
            let queue = self.source(&consumer.source).await?;
            if let Some((handle, is_first)) = self.attach_to(&queue, id, (&consumer, beside))? {
                break (queue, handle, is_first);
            }
            // It was deleted in between. Its name may be another queue's by now, or nobody's.
        };
        removal::in_use(&self.shared(), &queue);
        if is_first {
            self.turn.unit().ops.used(queue.id);
        }
        let (settles, owned) = (consumer.settles, queue.clone());
        let is_looked_at = self.judge_new(&queue);
        let (leaves, is_getter) = (false, false);
        let mut counts = ConsumerCounts::new((id, lane), &queue.name, &consumer.tag);
        (counts.settles, counts.exclusive) = (consumer.settles, beside != Beside::Anyone);
        counts.priority = consumer.priority;
        counts.set_prefetch(consumer.credit.messages);
        let counts = Arc::new(counts);
        let attachment =
            Attachment { queue, handle, lane, settles, leaves, is_getter, is_looked_at, counts };
        self.consumers.insert(id, attachment, &self.vhost.limits.budget);
        self.flush_ops();
        if is_first {
            self.sync().await?;
        }
        if let ConsumerSource::Own = consumer.source {
            self.shared().loads.loaded(&owned).await; // They come before those of other queues.
        }
        Ok(id)
    }

    /// The consumer's place at the queue, and whether it is the first that an auto-delete queue has. None when the
    /// queue is deleted.
    fn attach_to(
        &mut self,
        queue: &Arc<Queue>,
        id: ConsumerId,
        (consumer, beside): (&Consumer, Beside),
    ) -> Result<Option<(Handle, bool)>, Error> {
        let is_own = matches!(consumer.source, ConsumerSource::Own);
        let pools: smallvec::SmallVec<[_; 2]> = consumer
            .pools
            .iter()
            .filter_map(|p| self.consumers.pools.get(p.0 as usize).cloned())
            .collect();
        let (now, inbox) = (self.shared().now(), self.inbox.clone());
        self.touch();
        queue.change(&mut self.turn.after, |state, effects| {
            // A connection that takes the session over detaches its consumers: none may be attached behind that.
            if is_own && !self.named.as_ref().is_some_and(|named| named.is_of(&inbox)) {
                return Err(taken_over());
            }
            if state.deleted {
                return Ok(None);
            }
            // One that is served alone has its own way to choose whom.
            let alone = state.sub.consumers.active_count() == 0 && !queue.spec.single_active;
            if state.sub.consumers.has_exclusive() || beside == Beside::Nobody && !alone {
                let detail = format!("queue '{}' is in exclusive use", queue.name);
                return Err(Error::new(ErrorKind::InUse, detail));
            }
            let is_first = queue.spec.auto_delete && queue.is_durable() && !state.had_consumer;
            let handle = state.sub.consumers.handle();
            let mut attached = Attached::new(handle, id, consumer.credit);
            attached.handed = Handed::to(false, consumer.settles);
            attached.beside = beside;
            attached.priority = consumer.priority;
            attached.pools = pools;
            attached.window = Some(inbox.window.clone());
            attached.is_strict = consumer.only_unexpired;
            attached.has_time = consumer.has_time && consumer.settles;
            state.attach(attached, inbox);
            state.sub.dispatch(now, effects);
            Ok(Some((handle, is_first)))
        })
    }

    /// Stops consuming. An auto-delete queue goes with its last consumer.
    pub async fn detach(&mut self, consumer: ConsumerId, unsettled: OnDetach) {
        self.flush_behind().await;
        let goes = self.consumers.get(consumer).is_some_and(|a| a.queue.spec.auto_delete);
        let ops = match unsettled {
            OnDetach::Return => self.release(consumer, Vec::new(), &Outcome::Left),
            OnDetach::Stay => self.stop(consumer),
        };
        // The consumer is gone whether or not the deletion of its queue could be stored.
        let _ = self.store(ops).await;
        if goes {
            let _ = self.sync().await;
        }
    }

    /// Ends deliveries. What is unsettled stays with the consumer; what its connection has not taken goes back.
    fn stop(&mut self, consumer: ConsumerId) -> Ops {
        let Some(attachment) = self.consumers.get_mut(consumer) else { return Ops::default() };
        attachment.leaves = true;
        let (queue, handle) = (attachment.queue.clone(), attachment.handle);
        self.touch();
        let unseen = self.inbox.take_back(consumer, &mut self.turn.after.woken);
        let shared = self.shared();
        let has_left = queue.change(&mut self.turn.after, |state, effects| {
            state.sub.consumers.stop(handle);
            state.sub.settle(handle, &unseen, &Outcome::Released, effects);
            let has_left = state.leave_if_done(handle);
            state.unused_since = shared.now();
            state.sub.dispatch(shared.now(), effects);
            has_left
        });
        if has_left {
            self.consumers.remove(consumer);
        }
        self.settle_down();
        removal::after_detach(&shared, &self.vhost, &queue)
    }

    /// Detaches the consumer; what it has unsettled goes back with the outcome `seen`. `unseen` has left the inbox
    /// already.
    pub(super) fn release(
        &mut self,
        consumer: ConsumerId,
        unseen: Vec<Offset>,
        seen: &Outcome,
    ) -> Ops {
        let Some(Attachment { queue, handle, .. }) = self.consumers.remove(consumer) else {
            return Ops::default();
        };
        self.touch();
        let (shared, claimed) = (self.shared(), self.claimed_of(queue.id));
        queue.change(&mut self.turn.after, |state, effects| {
            for offset in claimed {
                state.sub.keep_claimed(offset, Some(handle), effects);
            }
            state.detach(handle, (unseen, seen), shared.now(), effects);
            state.sub.dispatch(shared.now(), effects);
        });
        self.settle_down();
        removal::after_detach(&shared, &self.vhost, &queue)
    }

    /// Detaches all consumers of a lane, or of the session.
    pub(super) fn release_all(&mut self, lane: Option<LaneId>) -> Ops {
        let mut ops = Ops::default();
        // A lane ends in order: its client closes it, or the broker.
        let seen = match lane.is_some() || self.status.in_order {
            true => Outcome::Left,
            false => Outcome::Failed,
        };
        let consumers = self.consumers.of(lane);
        // At once: the inbox is not searched for each of them.
        let mut taken = self.inbox.take_all_back(&consumers.iter().copied().collect());
        for consumer in consumers {
            let unseen = taken.offsets.remove(&consumer).unwrap_or_default();
            ops.append(&mut self.release(consumer, unseen, &seen));
        }
        self.inbox.window.release(taken.messages, taken.bytes, &mut self.turn.after.woken);
        self.settle_down();
        ops
    }

    /// Ends a lane: its consumers leave, what they had unsettled goes back, an open transaction is rolled back.
    pub fn drop_lane(&mut self, lane: LaneId) {
        self.flush();
        self.close_reply_address(lane);
        let mut ops = self.release_all(Some(lane));
        self.turn.unit().ops.append(&mut ops);
        self.lanes.retain(|(id, _)| *id != lane);
        self.inbox.connection.remove_lane(lane);
        self.flush_ops();
    }

    /// One message now, or none; with it the number of messages still ready. With `settles` it has to be settled
    /// like a delivery of [`Delivery::consumer`].
    pub async fn get(
        &mut self,
        lane: LaneId,
        queue: &str,
        settles: bool,
    ) -> Result<Option<(Delivery, u64)>, Error> {
        self.arrived().await?;
        self.check_queue(Action::Read, queue)?;
        let queue = self.own_queue_named(queue)?;
        if settles && self.consumers.getter(lane, queue.id).is_none() {
            self.check_consumers()?;
        }
        for _ in 0..GET_TRIES {
            if let Some(found) = self.get_once(&queue, lane, settles) {
                if !self.is_withheld(&queue, &found.0) {
                    self.flush_ops();
                    return Ok(Some(found));
                }
                continue;
            }
            // The head may have to be fetched first.
            let waits = queue.look(|state| state.sub.is_loading());
            self.flush_ops();
            if !waits {
                break;
            }
            self.shared().loads.loaded(&queue).await;
        }
        Ok(None)
    }

    /// Whoever gets a single record is a consumer of the queue as long as something is to be settled.
    fn get_once(
        &mut self,
        queue: &Arc<Queue>,
        lane: LaneId,
        settles: bool,
    ) -> Option<(Delivery, u64)> {
        self.touch();
        let known = self.consumers.getter(lane, queue.id).filter(|_| settles);
        let (id, old) = match known {
            Some((id, handle)) => (id, Some(handle)),
            None => (self.new_consumer(), None),
        };
        let (now, inbox) = (self.shared().now(), self.inbox.clone());
        let found = queue.change(&mut self.turn.after, |state, effects| {
            let handle = old.unwrap_or_else(|| {
                let handle = state.sub.consumers.handle();
                let mut getter = Attached::new(handle, id, Credit { messages: 0, bytes: 0 });
                getter.is_getter = true;
                getter.handed = Handed::to(true, settles);
                getter.has_time = settles;
                state.attach_getter(getter, inbox);
                handle
            });
            // Asking is a use, whether or not there is something.
            state.unused_since = now;
            state.sub.get(handle, now, effects);
            let at = effects.deliveries.iter().position(|(h, _)| *h == handle);
            let found = at.map(|at| effects.deliveries.remove(at).1);
            if let Some(delivery) = found.as_ref().filter(|_| !settles) {
                let offset = [delivery.offset];
                state.sub.settle(handle, &offset, &Outcome::Accepted, effects);
            }
            state.leave_if_done(handle);
            Some((handle, found?, state.sub.ready().0))
        });
        self.settle_down();
        let (handle, delivery, ready) = found?;
        if settles && old.is_none() {
            let mut counts = ConsumerCounts::new((id, lane), &queue.name, &Name::default());
            counts.is_getter = true;
            let (leaves, is_getter, is_looked_at) = (true, true, false);
            let (queue, counts) = (queue.clone(), Arc::new(counts));
            let attachment = Attachment {
                queue,
                handle,
                lane,
                settles,
                leaves,
                is_getter,
                is_looked_at,
                counts,
            };
            self.consumers.insert(id, attachment, &self.vhost.limits.budget);
        }
        match self.consumers.get(id) {
            Some(attachment) => attachment.counts.delivered(1),
            None => self.inbox.connection.got_unsettled(),
        }
        Some((delivery, ready))
    }
}

/// The consumers of the connection that had the session leave its queue; others stay.
pub(super) fn resume(
    named: &Named,
    before: &Arc<Inbox>,
    after: &mut Aftermath,
    now: crate::message::Timestamp,
) {
    let Some(queue) = named.queue() else { return };
    queue.change(after, |state, effects| {
        let theirs = state.consumer_inboxes().filter(|(_, inbox)| Arc::ptr_eq(inbox, before));
        let handles: Vec<_> = theirs.map(|(handle, _)| handle).collect();
        for handle in handles {
            state.detach(handle, (Vec::new(), &Outcome::Left), now, effects);
        }
    });
}
