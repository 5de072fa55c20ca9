//! Taking a seat and leaving it: new sessions, named sessions that are opened again, connections that are lost.

use super::control::resume;
use super::inbox::Inbox;
use super::named::Named;
use super::request::{Keep, SessionSpec};
use super::session::Session;
use super::timer::Alarm;
use super::turn::{Scene, Turn};
use super::vhost::Vhost;
use super::{Broker, Inner, Notice, Ops};
use crate::error::{Error, ErrorKind};
use crate::exchange::SessionId;
use crate::message::Timestamp;
use std::sync::Arc;

impl Broker {
    /// Takes a seat.
    pub async fn session(&self, spec: SessionSpec) -> Result<Session, Error> {
        let (mut session, is_noted) = self.seat(spec, false)?;
        if is_noted {
            session.sync().await?;
        }
        Ok(session)
    }

    /// Takes a seat; what has to be stored for it is submitted, not waited for. And whether there is something.
    pub(super) fn seat(&self, spec: SessionSpec, internal: bool) -> Result<(Session, bool), Error> {
        let core = self.inner();
        let vhost = core.vhost(&spec.vhost).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("vhost '{}' not found", spec.vhost))
        })?;
        if core.committer.has_failed() {
            return Err(Error::new(ErrorKind::Unavailable, "the store has failed"));
        }
        let origin = Arc::new(spec.origin.clone());
        let inbox = Inbox::new(origin, core.settings.inbox_bytes_max);
        let seat = match &spec.name {
            Some(_) => core.named_seat(&vhost, &spec, &inbox),
            None => {
                let id = SessionId(core.next_id());
                Seat { id, named: None, resumed: false, is_noted: false }
            }
        };
        let mut session = Session::new(self.clone(), vhost, seat.id, inbox);
        (session.named, session.resumed) = (seat.named, seat.resumed);
        session.internal = internal;
        Ok((session, seat.is_noted))
    }
}

struct Seat {
    id: SessionId,
    named: Option<Arc<Named>>,
    resumed: bool,
    /// Something about it has to be stored.
    is_noted: bool,
}

impl Inner {
    fn named_seat(
        self: &Arc<Self>,
        vhost: &Arc<Vhost>,
        spec: &SessionSpec,
        inbox: &Arc<Inbox>,
    ) -> Seat {
        let name = spec.name.clone().unwrap_or_default();
        let mut turn = Turn::default();
        let grace = self.grace.enter();
        // One at a time: two connections that open one name at once must not both find it free.
        let _one = vhost.opening.lock();
        let old = vhost.topology.read().session(&name).cloned();
        let was_there = old.is_some();
        let resumed = match old {
            Some(old) => {
                let connected = self.take_over(&old);
                resume(&old, &mut turn.after, self.now());
                let ended = spec.clean || old.with(|state| state.ended);
                self.wills(old.id, (ended, connected), &mut turn);
                if ended {
                    turn.unit().ops.append(&mut self.end_session(vhost, &old));
                }
                (!ended).then_some(old)
            }
            None => None,
        };
        let named = match &resumed {
            Some(named) => named.clone(),
            None => {
                let id = SessionId(self.next_id());
                let named = Named::new(id, name.clone(), spec.keep, spec.queue.clone());
                vhost.topology.write().add_session(named.clone());
                named
            }
        };
        let queue = named.with(|state| {
            state.inbox = Some(inbox.clone());
            state.keep = spec.keep;
            state.gone_since = None;
            if state.queue_spec.is_none() {
                state.queue_spec = spec.queue.clone();
            }
            state.queue.clone()
        });
        if spec.keep != Keep::No {
            let queue = queue.filter(|q| q.is_durable()).map(|q| q.id);
            turn.unit().ops.session(&vhost.name, (named.id, &name), spec.keep, queue);
        }
        let scene = Scene { core: self, vhost, now: self.now() };
        turn.run(scene);
        // Where an old session was, its end may still be on its way to the store.
        let is_noted = turn.is_durable() || was_there;
        turn.finish(scene, None);
        self.grace.leave(grace);
        Seat { id: named.id, named: Some(named), resumed: resumed.is_some(), is_noted }
    }

    /// The connection that has the session now loses it. False when there is none.
    fn take_over(&self, named: &Named) -> bool {
        let old = named.with(|state| state.inbox.take());
        if let Some(old) = &old {
            old.notice(Notice::TakenOver);
        }
        old.is_some()
    }

    /// A client that is back does not leave its will, unless its session ended with that, or nothing was to be waited
    /// for when its connection was taken over.
    fn wills(&self, owner: SessionId, how: (bool, bool), turn: &mut Turn) {
        let (forgotten, due) = self.parked.lock().back(owner, self.now(), how);
        for id in forgotten {
            turn.unit().ops.unpark(id);
        }
        for id in due {
            self.timers.set(self.now(), Alarm::Parked(id));
        }
    }

    /// Nothing of a named session is kept; what has to be stored.
    pub(super) fn end_session(self: &Arc<Self>, vhost: &Arc<Vhost>, named: &Arc<Named>) -> Ops {
        let mut ops = Ops::default();
        let (queue, durable) = named.with(|state| {
            state.ended = true;
            state.memos.clear();
            (state.queue.take(), state.keep != Keep::No)
        });
        vhost.topology.write().remove_session(named, &vhost.generations);
        if let Some(queue) = queue {
            ops.append(&mut self.remove_queue(vhost, &queue).0);
        }
        if durable {
            ops.session_gone(named.id);
        }
        ops
    }

    /// The end of a session makes what it parked due at once.
    pub(super) fn end_parked(&self, owner: SessionId, now: Timestamp) {
        for (id, at) in self.parked.lock().gone(owner, now, true) {
            self.timers.set(at, Alarm::Parked(id));
        }
    }
}

impl Session {
    /// The connection is gone, in order or not.
    pub(super) fn leave(&mut self) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        let core = self.core();
        let grace = core.grace.enter();
        self.lanes.iter_mut().for_each(|(_, lane)| lane.transaction = None);
        // What was read before the end counts; it is at most the session's share.
        self.flush_all();
        let mut ops = Ops::default();
        for consumer in self.consumers_of(None) {
            ops.append(&mut self.release(consumer));
        }
        for queue in std::mem::take(&mut self.exclusive) {
            ops.append(&mut core.remove_queue(&self.vhost, &queue).0);
        }
        let now = core.now();
        let ended = self.leave_name(&core, now, &mut ops);
        self.inbox.close();
        for (id, at) in core.parked.lock().gone(self.id, now, ended) {
            core.timers.set(at, Alarm::Parked(id));
        }
        self.turn.unit().ops.append(&mut ops);
        self.flush_ops();
        core.grace.leave(grace);
    }

    /// Gives the name back. True when the session has ended with that; not when somebody else has it by now.
    fn leave_name(&mut self, core: &Arc<Inner>, now: Timestamp, ops: &mut Ops) -> bool {
        let Some(named) = self.named.clone() else { return true };
        let vhost = self.vhost.clone();
        let _one = vhost.opening.lock();
        let mine = named.with(|state| {
            let mine = state.inbox.as_ref().is_some_and(|i| Arc::ptr_eq(i, &self.inbox));
            if mine {
                state.inbox = None;
                state.gone_since = Some(now);
            }
            mine.then_some(state.keep)
        });
        match mine {
            None => false,
            Some(Keep::No | Keep::For(0)) => {
                ops.append(&mut core.end_session(&self.vhost, &named));
                true
            }
            Some(Keep::For(ms)) => {
                let alarm = Alarm::Session(self.vhost.name.clone(), named.id);
                core.timers.set(now.plus(ms), alarm);
                false
            }
            Some(Keep::Forever) => false,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.leave();
    }
}
