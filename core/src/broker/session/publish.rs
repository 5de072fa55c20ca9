//! Publishing: what a connection read in one turn is queued by [`Session::publish`] and goes through the broker in one
//! [`Session::flush`], on the connection's own task.

use super::batch::QueuedPublish;
use super::state::Session;
use crate::broker::door::request::{LaneId, Memo, Publish};

impl Session {
    /// Queues a publish for the next [`Session::flush`]; the number that its confirm will carry, from 1 on, one
    /// sequence for each lane (publishes that ask for no confirm are not counted and return 0).
    pub fn publish(&mut self, lane: LaneId, publish: Publish) -> u64 {
        let Some(state) = self.lane_mut(lane) else { return 0 };
        let number = match publish.confirm {
            true => {
                state.number += 1;
                state.number
            }
            false => 0,
        };
        if state.transaction.is_some() {
            self.publish_later(lane, number, publish);
            return number;
        }
        self.batch.bytes += publish.message.size();
        self.batch.publishes.push(QueuedPublish { lane, number, publish, memo: None });
        number
    }

    /// A publish and state that is stored in the same entry as its message, however long that is held back.
    pub fn publish_with(&mut self, lane: LaneId, publish: Publish, memo: Memo) -> u64 {
        let waiting = self.batch.publishes.len();
        let number = self.publish(lane, publish);
        match self.batch.publishes.get_mut(waiting) {
            Some(item) => item.memo = Some(memo),
            None => self.memo(memo),
        }
        number
    }

    /// State to be stored with the next flush, whether or not publishes are held back. Only for named sessions that
    /// outlive their connection.
    pub fn memo(&mut self, memo: Memo) {
        self.batch.memos.push(memo);
    }

    /// False while the publishes that are held back have reached `session_share` bytes: reading has to stop. The end of
    /// that wakes [`Session::events`].
    pub fn may_read(&self) -> bool {
        self.batch.bytes < self.broker.shared().settings.session_share
    }
}
