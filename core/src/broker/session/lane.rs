//! Lanes: ordered streams of publishes and settles, each with its own confirm numbers and its own transaction.

use super::batch::{Lane, QueuedPublish, Settlement, Transaction};
use super::state::Session;
use crate::broker::door::request::{LaneId, Publish};
use crate::broker::journal::fetch::fetch_if_there;
use crate::broker::turn::context::Context;
use crate::broker::vhost::limits::Limit;
use crate::error::{Error, ErrorKind};
use crate::log::{Offset, Place};
use crate::message::{Account, Message};

/// What a record that a transaction settles takes in memory, about.
const SETTLE_BYTES: usize = 16;
/// Records that one commit may lead to: all of them are made in one turn, which others wait for.
const COMMIT_WORK_MAX: usize = 100_000;

impl Session {
    /// A new lane.
    pub fn lane(&mut self) -> LaneId {
        let id = LaneId(self.status.ids.next_lane);
        self.status.ids.next_lane = self.status.ids.next_lane.wrapping_add(1);
        if self.lanes.is_empty() {
            // Most sessions have one.
            self.lanes.reserve_exact(1);
        }
        let counts = self.inbox.connection.add_lane(id);
        self.lanes.push((id, Lane { number: 0, transaction: None, counts, reply: None }));
        id
    }

    pub(super) fn lane_mut(&mut self, lane: LaneId) -> Option<&mut Lane> {
        let at = self.lanes.binary_search_by_key(&lane, |(id, _)| *id).ok()?;
        self.lanes.get_mut(at).map(|(_, lane)| lane)
    }

    /// What the client calls the lane, for operators.
    pub fn label_lane(&mut self, lane: LaneId, label: u32) {
        if let Some(lane) = self.lane_mut(lane) {
            lane.counts.set_label(label);
        }
    }

    /// How many messages the consumers of the lane may have unsettled together, for operators; 0: no limit.
    pub fn show_prefetch(&mut self, lane: LaneId, messages: u32) {
        if let Some(lane) = self.lane_mut(lane) {
            lane.counts.set_prefetch(messages);
        }
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

    /// Keeps a publish for the commit. What it takes counts against the memory budget already.
    pub(super) fn publish_later(&mut self, lane: LaneId, number: u64, publish: Publish) {
        if let Some(transaction) = self.keep_in_transaction(lane, 1, publish.message.weight()) {
            transaction.publishes.push_back(QueuedPublish::new(lane, number, publish));
        }
    }

    /// Keeps a settlement for the commit.
    pub(super) fn settle_later(&mut self, lane: LaneId, settlement: Settlement) {
        let items = settlement.1.len();
        if let Some(transaction) = self.keep_in_transaction(lane, items, items * SETTLE_BYTES) {
            transaction.settles.push(settlement);
        }
    }

    /// The lane's transaction, if so much more may be kept in this session's open transactions. Otherwise it is
    /// emptied, and its commit is refused.
    fn keep_in_transaction(
        &mut self,
        lane: LaneId,
        items: usize,
        bytes: usize,
    ) -> Option<&mut Transaction> {
        let open = || self.lanes.iter().filter_map(|(_, lane)| lane.transaction.as_ref());
        let all_items = open().map(|t| t.items).sum::<usize>();
        let all_bytes = open().map(|t| t.bytes).sum::<usize>();
        let (vhost, origin) = (self.vhost.clone(), self.inbox.origin.clone());
        let who = (&vhost.name, &*origin);
        let transaction = self.lane_mut(lane)?.transaction.as_mut()?;
        if transaction.refused.is_some() {
            return None;
        }
        let (budget, limits) = (&vhost.limits.budget, &vhost.limits);
        let items_fit = limits.check(Limit::TransactionItems, (all_items, items), bytes, who);
        let fits = items_fit
            .and_then(|()| limits.check(Limit::TransactionBytes, (all_bytes, bytes), 0, who));
        if let Err(why) = fits {
            *transaction = Transaction { refused: Some(why), ..Transaction::default() };
            return None;
        }
        transaction.items += items;
        transaction.bytes += bytes;
        let charge = || budget.charge(Account::Kept, 0);
        transaction.charge.get_or_insert_with(charge).grow(bytes);
        Some(transaction)
    }

    /// Counts a message that is kept for later against the memory budget.
    pub fn charge(&self, message: &Message) {
        self.broker().shared().charge(message);
    }

    /// False while the lane's transaction would publish to a disk that is nearly full. It is to be asked again after
    /// [`Session::events`].
    pub fn may_commit(&mut self, lane: LaneId) -> bool {
        let transaction = self.lane_mut(lane).and_then(|l| l.transaction.as_ref());
        // What clears retained values makes room.
        let clears = |queued: &QueuedPublish| {
            let message = &queued.publish.message;
            message.meta().retain && message.body().is_empty()
        };
        transaction.is_none_or(|t| t.publishes.iter().all(clears)) || self.has_disk_space()
    }

    /// False while the disk is nearly full. What a transaction has in memory is no reason to hold it back when memory
    /// is short: once it is committed, it can leave.
    pub fn has_disk_space(&mut self) -> bool {
        let is_full = |s: &Self| s.broker().shared().pressure.disk.is_low();
        self.is_free(is_full)
    }

    /// All or nothing, in one entry; resolves when stored. When one of its messages has nowhere to go any more or is
    /// refused by a queue, nothing of it happens. The lane is then outside a transaction.
    pub async fn commit(&mut self, lane: LaneId) -> Result<(), Error> {
        let Some(transaction) = self.lane_mut(lane).and_then(|l| l.transaction.take()) else {
            return Ok(());
        };
        if let Some(why) = transaction.refused {
            return Err(why);
        }
        let messages = self.fetch_absent(&transaction.settles).await;
        if transaction.publishes.is_empty() {
            self.flush();
            self.turn.keeps_together = true;
            self.settle_all(&transaction, messages);
            self.flush_ops();
            self.turn.keeps_together = false;
        } else {
            self.flush_all().await;
            self.play(transaction, messages)?;
        }
        self.sync().await
    }

    /// Messages that are not in memory and have to move: with them, they move in the transaction's own entry.
    async fn fetch_absent(&mut self, settles: &[Settlement]) -> Vec<Vec<(Offset, Message)>> {
        let shared = self.shared();
        let mut all = Vec::with_capacity(settles.len());
        for (consumer, offsets, outcome) in settles {
            let mut found: Vec<(Offset, Message)> = Vec::new();
            let attachment = self.consumers.get(*consumer);
            let seat = attachment.map(|a| (a.queue.clone(), a.handle));
            while let Some((queue, handle)) = &seat {
                let mut absent = queue.look(|s| s.sub.absent(*handle, offsets, outcome));
                absent.retain(|(offset, _)| !found.iter().any(|(known, _)| known == offset));
                let places: Vec<Place> = absent.iter().map(|(_, place)| *place).collect();
                // What is damaged is named when it leaves its queue; what is gone meanwhile need not be.
                let fetched = fetch_if_there(&*shared.store, &places).await;
                let before = found.len();
                let pairs = absent.into_iter().zip(fetched);
                found.extend(pairs.filter_map(|((offset, _), message)| Some((offset, message?))));
                // One that was moved meanwhile is found at its new place; one that is damaged never.
                if found.len() == before {
                    break;
                }
            }
            found.iter().for_each(|(_, message)| shared.charge(message));
            all.push(found);
        }
        all
    }

    fn settle_all(&mut self, transaction: &Transaction, messages: Vec<Vec<(Offset, Message)>>) {
        for ((consumer, offsets, outcome), messages) in transaction.settles.iter().zip(messages) {
            self.settle_now(*consumer, offsets, outcome, messages);
        }
    }

    fn play(
        &mut self,
        mut transaction: Transaction,
        messages: Vec<Vec<(Offset, Message)>>,
    ) -> Result<(), Error> {
        let shared = self.shared();
        let vhost = self.vhost().clone();
        let context = Context { shared: &shared, vhost: &vhost, now: shared.now() };
        self.touch();
        self.turn.all_or_nothing = true;
        let mut waiting = self.publish_all(context, &mut transaction.publishes);
        self.turn.all_or_nothing = false;
        let mut no_route = waiting.no_route.take();
        // One message may have any number of receivers, as without a transaction.
        if waiting.count() > 1 && self.turn.does_more_than(COMMIT_WORK_MAX) {
            let detail = format!("one commit may lead to {COMMIT_WORK_MAX} records at most");
            no_route.get_or_insert_with(|| Error::new(ErrorKind::LimitReached, detail));
        }
        if let Err(why) = self.turn.admit(context, no_route) {
            self.finish(context, None);
            return Err(why);
        }
        self.turn.keeps_together = true;
        self.settle_all(&transaction, messages);
        self.turn.run(context);
        self.turn.keeps_together = false;
        self.conclude(context, waiting);
        Ok(())
    }
}
