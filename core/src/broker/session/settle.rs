//! Settling: what consumers say of the records that they were given.

use super::state::Session;
use crate::broker::door::request::LaneId;
use crate::broker::turn::context::Context;
use crate::log::Offset;
use crate::message::Message;
use crate::subscription::{ConsumerId, Outcome};

impl Session {
    /// Settles records of one consumer. Unknown or settled offsets are ignored; the number settled is returned.
    /// In a transaction it takes effect with the commit.
    pub fn settle(
        &mut self,
        lane: LaneId,
        consumer: ConsumerId,
        offsets: &[Offset],
        outcome: Outcome,
    ) -> usize {
        if self.lane_mut(lane).is_some_and(|lane| lane.transaction.is_some()) {
            self.settle_later(lane, (consumer, offsets.to_vec(), outcome));
            return offsets.len();
        }
        self.settle_at_once(consumer, offsets, &outcome)
    }

    /// Settles at once, whether or not the lane is in a transaction.
    pub fn settle_at_once(
        &mut self,
        consumer: ConsumerId,
        offsets: &[Offset],
        outcome: &Outcome,
    ) -> usize {
        let settled = self.settle_now(consumer, offsets, outcome, Vec::new());
        self.settle_down();
        settled
    }

    pub(super) fn settle_now(
        &mut self,
        consumer: ConsumerId,
        offsets: &[Offset],
        outcome: &Outcome,
        messages: Vec<(Offset, Message)>,
    ) -> usize {
        self.touch();
        let now = self.broker.shared().now();
        let Some(attachment) = self.consumers.get(consumer) else { return 0 };
        let (queue, handle) = (&attachment.queue, attachment.handle);
        let leaves = attachment.leaves;
        let moves = !matches!(outcome, Outcome::Accepted | Outcome::Released | Outcome::Removed(_));
        let (mut pending, mut has_left) = (None, false);
        let settled = queue.change(&mut self.turn.after, |state, effects| {
            state.sub.remember(messages);
            let before = state.sub.removals_begun();
            let settled = state.sub.settle(handle, offsets, outcome, effects);
            if moves {
                pending = Some(state.sub.removals_begun()).filter(|begun| *begun > before);
            }
            has_left = leaves && state.leave_if_done(handle);
            state.sub.dispatch(now, effects);
            settled
        });
        attachment.counts.settled(settled as u64, matches!(outcome, Outcome::Accepted));
        if let Some(upto) = pending {
            let queue = queue.clone();
            // They leave in their order: the last one is waited for.
            self.consumers.pending_removals.insert(queue.id, (queue, upto));
        }
        if has_left {
            self.consumers.remove(consumer);
        }
        settled
    }

    /// Carries out what changes of queues left to be done; what has to be stored waits for the next flush.
    pub(super) fn settle_down(&mut self) {
        let shared = self.broker.shared().clone();
        let context = Context { shared: &shared, vhost: &self.vhost, now: shared.now() };
        self.turn.run(context);
        self.turn.after.wake_all();
    }
}
