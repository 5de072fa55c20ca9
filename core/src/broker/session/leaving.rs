//! How a session ends, and how long it outlives its connection.

use super::consume::taken_over;
use super::state::Session;
use crate::broker::door::request::SessionLife;
use crate::broker::journal::unit::Unit;
use crate::broker::operations::ops::Ops;
use crate::broker::shared::Shared;
use crate::broker::shared::timers::TimerEvent;
use crate::broker::turn::removal;
use crate::error::{Error, ErrorKind};
use crate::message::Timestamp;
use std::sync::Arc;

impl Session {
    /// How long the session lives on.
    pub async fn set_life(&mut self, life: SessionLife) -> Result<(), Error> {
        self.flush_behind().await;
        let Some(named) = self.named.clone() else { return Ok(()) };
        let inbox = self.inbox.clone();
        let (is_ours, is_longer) = named.with(|state| {
            let is_ours = state.inbox.as_ref().is_some_and(|own| Arc::ptr_eq(own, &inbox));
            let is_longer = life.lasts() && !state.life.lasts();
            if is_ours && !is_longer {
                state.life = life;
            }
            (is_ours, is_longer)
        });
        if !is_ours {
            return Err(taken_over());
        }
        if is_longer {
            let detail = "a session that ends with its connection cannot be kept";
            return Err(Error::new(ErrorKind::Invalid, detail));
        }
        if !named.store(&self.vhost.name, |ops| self.shared().committer.submit_ops(ops)) {
            return Err(taken_over());
        }
        self.sync().await
    }

    /// Leaves in order: held publishes are routed, what was stored is waited for. Wills stay parked: unpark first.
    pub async fn close(mut self) -> Result<(), Error> {
        self.status.in_order = true;
        self.flush_all().await;
        let result = self.shared().committer.sync(Unit::default()).await;
        self.leave();
        result
    }

    /// The broker ends it: what was delivered and is not settled goes back as no failure of its consumer. Dropped
    /// otherwise, the connection counts as lost.
    pub fn end(mut self) {
        self.status.in_order = true;
        self.leave();
    }

    /// The connection is gone, in order or not.
    pub(super) fn leave(&mut self) {
        if self.status.left {
            return;
        }
        self.lanes.iter_mut().for_each(|(_, lane)| lane.transaction = None);
        // What was read before the end counts; it is at most the session's share, but that may have many receivers.
        self.flush_some();
        if self.status.has_more
            && !self.status.is_leaving
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let mut rest = self.take();
            rest.status.is_leaving = true;
            runtime.spawn(async move {
                rest.flush_all().await;
                rest.leave_now();
            });
            return;
        }
        while self.status.has_more {
            self.flush_some();
        }
        self.leave_now();
    }

    /// The session itself; what stays here has left.
    fn take(&mut self) -> Session {
        let (broker, vhost, inbox) = (self.broker.clone(), self.vhost.clone(), self.inbox.clone());
        let mut empty = Session::new(broker, vhost, self.id, (inbox, self.rights.subject.clone()));
        empty.status.left = true;
        std::mem::replace(self, empty)
    }

    fn leave_now(&mut self) {
        self.status.left = true;
        let shared = self.shared();
        let open_turn = shared.open_turns.enter();
        self.close_reply_addresses();
        let mut ops = self.release_all(None);
        for queue in self.exclusive.take() {
            ops.append(&mut removal::remove_queue(&shared, &self.vhost, &queue).0);
        }
        let now = shared.now();
        self.leave_name(&shared, now, &mut ops);
        self.inbox.close();
        drop(self.inbox.seat.lock().take());
        shared.pressure.forget(&self.inbox);
        let connection = self.inbox.origin.connection;
        if shared.users.take_ending(connection).is_some() {
            shared.timers.cancel(&TimerEvent::LoginExpires(connection));
        }
        shared.users.disconnected(&self.inbox);
        shared.users.connections.leave(connection);
        self.vhost.content.read().iter().for_each(|route| route.forget(&self.inbox));
        self.status.waits_for.take().into_iter().for_each(|hold| hold.forget(&self.inbox));
        self.turn.unit().ops.append(&mut ops);
        self.flush_ops();
        shared.open_turns.leave(open_turn);
    }

    /// Gives the name back, unless another connection has it by now; the wills become due, at once or after their
    /// delay. Nobody opens the session in between: whoever does next finds what is due.
    fn leave_name(&mut self, shared: &Arc<Shared>, now: Timestamp, ops: &mut Ops) {
        let Some(named) = self.named.clone() else {
            return removal::owner_gone(shared, self.id, now, true);
        };
        let vhost = self.vhost.clone();
        let _one = vhost.opening.lock();
        let is_ours = named.with(|state| {
            let is_ours = state.inbox.as_ref().is_some_and(|i| Arc::ptr_eq(i, &self.inbox));
            if is_ours {
                state.inbox = None;
                state.gone_since = Some(now);
            }
            is_ours.then_some(state.life)
        });
        let Some(life) = is_ours else { return };
        let has_ended = matches!(life, SessionLife::No | SessionLife::For(0));
        match life {
            SessionLife::For(ms) if ms > 0 => {
                let event = TimerEvent::SessionExpires(self.vhost.name.clone(), named.id);
                shared.timers.set(now.plus(ms), event);
            }
            SessionLife::Forever => (),
            _ => ops.append(&mut removal::end_session(shared, &self.vhost, &named)),
        }
        removal::owner_gone(shared, self.id, now, has_ended);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.leave();
    }
}
