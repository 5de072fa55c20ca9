//! Taking a seat and leaving it: new sessions, named sessions that are opened again, connections that are lost.

use super::consume::resume;
use super::state::Session;
use crate::broker::door::request::{Keep, SessionSpec};
use crate::broker::tasks::timer::Alarm;
use crate::broker::turn::run::{Scene, Turn};
use crate::broker::vhost::host::Vhost;
use crate::broker::vhost::inbox::Inbox;
use crate::broker::vhost::named::Named;
use crate::broker::{Broker, Inner, Notice, Ops};
use crate::error::{Error, ErrorKind};
use crate::exchange::SessionId;
use crate::message::{Name, Timestamp};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Broker {
    /// Takes a seat.
    pub async fn session(&self, spec: SessionSpec) -> Result<Session, Error> {
        let (mut session, is_noted, before) = self.seat(spec, false)?;
        if let Some(before) = before {
            // What the connection before has begun to change is submitted before this one goes on from there.
            while before.open.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        if is_noted {
            session.sync().await?;
        }
        Ok(session)
    }

    /// Takes a seat; what has to be stored for it is submitted, not waited for. And whether there is something, and
    /// which connection had the name.
    pub(in crate::broker) fn seat(
        &self,
        spec: SessionSpec,
        internal: bool,
    ) -> Result<(Session, bool, Option<Arc<Inbox>>), Error> {
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
                // Its ids go into names and tokens that clients may still have from before a crash.
                let id = SessionId(core.salt << 40 | core.next_id());
                Seat { id, named: None, resumed: false, is_noted: false, before: None }
            }
        };
        let mut session = Session::new(self.clone(), vhost, seat.id, inbox);
        (session.named, session.resumed) = (seat.named, seat.resumed);
        session.internal = internal;
        Ok((session, seat.is_noted, seat.before))
    }
}

struct Seat {
    id: SessionId,
    named: Option<Arc<Named>>,
    resumed: bool,
    /// Something about it has to be stored.
    is_noted: bool,
    /// The connection that it was taken from.
    before: Option<Arc<Inbox>>,
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
        let mut before = None;
        let resumed = match old {
            Some(old) => {
                before = old.with(|state| state.inbox.take());
                if let Some(inbox) = &before {
                    inbox.notice(Notice::TakenOver);
                    resume(&old, inbox, &mut turn.after, self.now());
                }
                // One that was to end with its connection has ended with it.
                let ended = spec.clean || old.with(|state| state.ended || !state.keep.lasts());
                self.wills(old.id, (ended, before.is_some()), &mut turn);
                if ended {
                    turn.unit().ops.append(&mut self.end_session(vhost, &old));
                }
                (!ended).then_some(old)
            }
            None => {
                self.orphaned_wills(vhost, &name);
                None
            }
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
        let is_stored = named.with(|state| {
            state.inbox = Some(inbox.clone());
            state.keep = spec.keep;
            state.gone_since = None;
            if state.queue_spec.is_none() {
                state.queue_spec = spec.queue.clone();
            }
            state.stored || state.keep.lasts()
        });
        let is_stored = is_stored && named.store(&vhost.name, &self.committer);
        let scene = Scene { core: self, vhost, now: self.now() };
        turn.run(scene);
        // Where an old session was, its end may still be on its way to the store.
        let is_noted = is_stored || turn.is_durable() || was_there;
        turn.finish(scene, None);
        self.grace.leave(grace);
        Seat { id: named.id, named: Some(named), resumed: resumed.is_some(), is_noted, before }
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

    /// The same for a session that did not outlive the last start, whose client is back now.
    fn orphaned_wills(&self, vhost: &Vhost, name: &Name) {
        for id in self.parked.lock().orphans(&vhost.name, name, self.now()) {
            self.timers.set(self.now(), Alarm::Parked(id));
        }
    }

    /// Nothing of a named session is kept; what has to be stored.
    pub(in crate::broker) fn end_session(
        self: &Arc<Self>,
        vhost: &Arc<Vhost>,
        named: &Arc<Named>,
    ) -> Ops {
        let mut ops = Ops::default();
        let (queue, durable) = named.with(|state| {
            state.ended = true;
            state.memos.clear();
            (state.queue.take(), state.stored)
        });
        vhost.topology.write().remove_session(named, &vhost.generations);
        if let Some(queue) = queue.filter(|queue| !queue.is_gone()) {
            ops.append(&mut self.remove_queue(vhost, &queue).0);
        }
        if durable {
            ops.session_gone(named.id);
        }
        ops
    }

    /// The end of a session makes what it parked due at once.
    pub(in crate::broker) fn end_parked(&self, owner: SessionId, now: Timestamp) {
        for (id, at) in self.parked.lock().gone(owner, now, true) {
            self.timers.set(at, Alarm::Parked(id));
        }
    }
}

impl Session {
    /// The connection is gone, in order or not.
    pub(in crate::broker) fn leave(&mut self) {
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
        let left = self.leave_name(&core, now, &mut ops);
        self.inbox.close();
        if let Some(ended) = left {
            for (id, at) in core.parked.lock().gone(self.id, now, ended) {
                core.timers.set(at, Alarm::Parked(id));
            }
        }
        self.turn.unit().ops.append(&mut ops);
        self.flush_ops();
        core.grace.leave(grace);
    }

    /// Gives the name back; whether the session has ended with that. None when somebody else has it by now.
    fn leave_name(&mut self, core: &Arc<Inner>, now: Timestamp, ops: &mut Ops) -> Option<bool> {
        let Some(named) = self.named.clone() else { return Some(true) };
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
        match mine? {
            Keep::No | Keep::For(0) => {
                ops.append(&mut core.end_session(&self.vhost, &named));
                Some(true)
            }
            Keep::For(ms) => {
                let alarm = Alarm::Session(self.vhost.name.clone(), named.id);
                core.timers.set(now.plus(ms), alarm);
                Some(false)
            }
            Keep::Forever => Some(false),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.leave();
    }
}
