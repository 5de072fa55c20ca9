//! Publishing: what a connection read in one turn is queued by [`Session::publish`] and goes through the broker in one
//! [`Session::flush`], on the connection's own task.

use super::batch::QueuedPublish;
use super::state::Session;
use crate::broker::door::events::ConfirmOutcome;
use crate::broker::door::request::{LaneId, Memo, Publish};
use crate::broker::vhost::connection::LaneEvent;
use crate::broker::vhost::drops::DropReason;
use crate::broker::vhost::limits::Limit;
use crate::error::Error;

impl Session {
    /// Queues a publish for the next [`Session::flush`]; the number that its confirm will carry, from 1 on, one
    /// sequence for each lane (publishes that ask for no confirm are not counted and return 0).
    pub fn publish(&mut self, lane: LaneId, publish: Publish) -> u64 {
        let Some(state) = self.lane_mut(lane) else { return 0 };
        state.counts.received(publish.confirm);
        let number = match publish.confirm {
            true => {
                state.number += 1;
                state.number
            }
            false => 0,
        };
        let is_later = state.transaction.is_some();
        self.inbox.connection.sizes.note(publish.message.body().len());
        if is_later {
            self.publish_later(lane, number, publish);
            return number;
        }
        self.batch.bytes += publish.message.weight();
        self.batch.publishes.push_back(QueuedPublish::new(lane, number, publish));
        number
    }

    /// From now on a publish that is not allowed, and that asked for no confirm, gets one all the same: a refusal with
    /// the number 0, for its connection to end with. Where the protocol has no word for no, a refusal instead of a yes.
    pub fn tell_denied(&mut self) {
        self.status.tells_denied = true;
    }

    /// A publish and state that is stored in the same entry as its message, however long that is held back.
    pub fn publish_with(&mut self, lane: LaneId, publish: Publish, memo: Memo) -> u64 {
        if let Err(why) = self.check_memos() {
            return self.refuse(lane, publish, why);
        }
        let waiting = self.batch.publishes.len();
        let number = self.publish(lane, publish);
        match self.batch.publishes.get_mut(waiting) {
            Some(item) => item.memo = Some(memo),
            None => self.memo(memo),
        }
        number
    }

    /// `LimitReached` for a message with more headers, or more bytes of them, than one may have. `count` is called only
    /// when `bytes` exceeds `objects.header_fields`, for each header takes a byte at least.
    pub fn check_headers(&self, bytes: usize, count: impl FnOnce() -> usize) -> Result<(), Error> {
        let limits = &self.vhost.limits;
        let who = (&self.vhost.name, &*self.inbox.origin);
        if bytes > limits.max(Limit::HeaderBytes) {
            return Err(limits.refuse(Limit::HeaderBytes, who));
        }
        // Each takes at least one byte.
        let fields_max = limits.max(Limit::HeaderFields);
        match bytes > fields_max && count() > fields_max {
            true => Err(limits.refuse(Limit::HeaderFields, who)),
            false => Ok(()),
        }
    }

    /// A publish that is refused before anything of it happens: its confirm says so in its place. Without a confirm it
    /// is dropped and counted. The number that the confirm will carry.
    pub fn refuse(&mut self, lane: LaneId, publish: Publish, why: Error) -> u64 {
        self.vhost.count_refused(publish.message.address());
        if !publish.confirm {
            if let Some(lane) = self.lane_mut(lane) {
                lane.counts.received(false);
                lane.counts.note(LaneEvent::Dropped);
            }
            self.inbox.connection.sizes.note(publish.message.body().len());
            self.vhost.note_drop(DropReason::Refused, publish.message.address(), &why);
            return 0;
        }
        let waiting = self.batch.publishes.len();
        let number = self.publish(lane, publish);
        if let Some(item) = self.batch.publishes.get_mut(waiting) {
            item.done = Some(ConfirmOutcome::Refused(why));
        }
        number
    }

    /// Whether the session may have one memo more.
    fn check_memos(&self) -> Result<(), Error> {
        let Some(named) = &self.named else { return Ok(()) };
        let there = named.with(|state| state.memos.len()) + self.batch.publishes.len();
        let who = (&self.vhost.name, &*self.inbox.origin);
        self.vhost.limits.check(Limit::Memos, (there, 1), 0, who)
    }

    /// State to be stored with the next flush, whether or not publishes are held back. Only for named sessions that
    /// outlive their connection.
    pub fn memo(&mut self, memo: Memo) {
        self.batch.memos.push(memo);
    }

    /// False while the publishes that are held back have reached `session_share` bytes: reading has to stop. The end of
    /// that wakes [`Session::events`].
    pub fn may_read(&self) -> bool {
        self.batch.bytes < self.broker.shared().settings.session_share()
    }
}
