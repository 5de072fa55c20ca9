//! Groups of named sessions that share a queue, which is kept while one of them is a member, connected or not.

use super::consume::taken_over;
use super::declare::refused;
use super::state::Session;
use crate::broker::door::request::Memo;
use crate::broker::turn::removal;
use crate::broker::vhost::named::membership;
use crate::error::{Error, ErrorKind};
use crate::rights::Action;
use bytes::Bytes;

impl Session {
    /// The session is a member of the group that this queue is kept for, until it leaves or ends. Other queues have no
    /// members, and nothing happens. `NotFound`: the last member has left, and the queue ends. It can be declared again
    /// then.
    pub async fn join_group(&mut self, queue: &str) -> Result<(), Error> {
        self.flush_behind().await;
        self.check_member(Action::Read, queue)?;
        let queue = self.own_queue_named(queue)?;
        if !queue.spec.is_group() {
            return Ok(());
        }
        let named = self.named.clone().ok_or_else(|| refused("the session has no name"))?;
        self.touch();
        if !queue.look(|state| !state.deleted && state.members.join(named.id)) {
            self.flush_ops();
            let detail = format!("queue '{}' is being deleted", queue.name);
            return Err(Error::new(ErrorKind::NotFound, detail));
        }
        let (key, inbox) = (membership::key(queue.id), &self.inbox);
        let budget = &self.vhost.limits.budget;
        // Under its lock: whoever ends the session finds it here, or it has ended before.
        let has_joined = named.with(|state| {
            let is_ours = !state.ended
                && state.inbox.as_ref().is_some_and(|own| std::sync::Arc::ptr_eq(own, inbox));
            if is_ours {
                state.set_memo(key.clone(), Some(Bytes::new()), budget);
            }
            is_ours
        });
        if !has_joined {
            let ops = removal::leave_group(&self.shared(), &self.vhost, &queue, named.id);
            self.store(ops).await?;
            return Err(taken_over());
        }
        if named.is_durable() {
            self.turn.unit().ops.memo(named.id, &key, Some(&Bytes::new()));
        }
        self.flush_ops();
        Ok(())
    }

    /// The session is no member any more. The queue ends with its last one.
    pub async fn leave_group(&mut self, queue: &str) -> Result<(), Error> {
        self.flush_behind().await;
        let (Some(named), Ok(queue)) = (self.named.clone(), self.vhost.queue(queue)) else {
            return Ok(());
        };
        let key = membership::key(queue.id);
        if !named.with(|state| state.memos.contains_key(&key)) {
            return Ok(());
        }
        self.touch();
        self.memo_one(Memo { key, value: None });
        let ops = removal::leave_group(&self.shared(), &self.vhost, &queue, named.id);
        self.store(ops).await
    }
}
