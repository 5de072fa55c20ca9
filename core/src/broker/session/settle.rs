//! Settling: what consumers say of the records that they were given.

use super::state::Session;
use crate::broker::door::request::LaneId;
use crate::broker::turn::context::Context;
use crate::log::Offset;
use crate::message::Message;
use crate::subscription::{ConsumerId, Outcome};

/// After this many settlements with pending removals, those whose records have left are forgotten.
const PENDING_REMOVALS_MAX: usize = 100;

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
        let Some(attachment) = self.attachment(consumer) else { return 0 };
        let (queue, handle) = (attachment.queue.clone(), attachment.handle);
        let moves = !matches!(outcome, Outcome::Accepted | Outcome::Released);
        let mut pending = Vec::new();
        let settled = queue.change(&mut self.turn.after, |state, effects| {
            state.sub.remember(messages);
            let settled = state.sub.settle(handle, offsets, outcome, effects);
            if moves {
                pending
                    .extend(offsets.iter().copied().filter(|o| state.sub.is_pending_removal(*o)));
            }
            state.sub.dispatch(now, effects);
            settled
        });
        if !pending.is_empty() {
            if self.consumers.pending_removals.len() >= PENDING_REMOVALS_MAX {
                self.consumers.pending_removals.retain(|(queue, offsets)| {
                    queue.look(|s| offsets.iter().any(|offset| s.sub.is_pending_removal(*offset)))
                });
            }
            self.consumers.pending_removals.push((queue, pending));
        }
        settled
    }

    /// Carries out what changes of queues left to be done; what has to be stored waits for the next flush.
    pub(super) fn settle_down(&mut self) {
        let shared = self.broker.shared().clone();
        let context = Context { shared: &shared, vhost: &self.vhost, now: shared.now() };
        self.turn.run(context);
        for inbox in self.turn.after.wake.drain(..) {
            inbox.wake();
        }
    }
}
