//! A named session: what outlives a connection. Its bindings are in the topology, its messages in its own queue;
//! here are who is connected, its memos, and how long it stays.

use super::inbox::Inbox;
use super::queue::Queue;
use crate::broker::door::request::SessionLife;
use crate::broker::operations::ops::Ops;
use crate::exchange::{LogId, SessionId};
use crate::log::{Offset, QueueSpec};
use crate::message::cost::{ALLOCATION, MAP_ENTRY};
use crate::message::{Account, Budget, Charge, Name, Timestamp};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A named session.
pub struct Named {
    pub id: SessionId,
    pub name: Name,
    state: Mutex<NamedState>,
}

/// What changes about a named session.
pub struct NamedState {
    /// The connection it has now.
    pub inbox: Option<Arc<Inbox>>,
    pub life: SessionLife,
    pub memos: BTreeMap<Bytes, Bytes>,
    /// What the memos take, counted against the memory budget.
    memo_charge: Option<Charge>,
    /// Its own queue, made with its first binding.
    pub queue: Option<Arc<Queue>>,
    /// What that queue is declared with.
    pub queue_spec: Option<QueueSpec>,
    /// When it lost its connection; none while it has one.
    pub gone_since: Option<Timestamp>,
    /// It has ended: nothing of it is kept.
    pub ended: bool,
    /// Its queue that was deleted before the last start, and the offset after that queue's last.
    pub gone: Option<(LogId, Offset)>,
    /// The journal knows of it, so its end has to be stored, too.
    pub stored: bool,
}

impl NamedState {
    /// Sets or removes a memo.
    pub fn set_memo(&mut self, key: Bytes, value: Option<Bytes>, budget: &Arc<Budget>) {
        let cost = |key: usize, value: &Bytes| {
            2 * size_of::<Bytes>() + key + value.len() + 2 * ALLOCATION + MAP_ENTRY
        };
        let charge = self.memo_charge.get_or_insert_with(|| budget.charge(Account::Kept, 0));
        let key_bytes = key.len();
        let old = match value {
            Some(value) => {
                charge.grow(cost(key_bytes, &value));
                self.memos.insert(key, value)
            }
            None => self.memos.remove(&key),
        };
        if let Some(old) = old {
            charge.shrink(cost(key_bytes, &old));
        }
    }
}

impl Named {
    /// A session without a connection.
    pub fn new(
        id: SessionId,
        name: Name,
        life: SessionLife,
        queue_spec: Option<QueueSpec>,
    ) -> Arc<Self> {
        let state = NamedState {
            inbox: None,
            life,
            memos: BTreeMap::new(),
            memo_charge: None,
            queue: None,
            queue_spec,
            gone_since: None,
            ended: false,
            gone: None,
            stored: false,
        };
        Arc::new(Self { id, name, state: Mutex::new(state) })
    }

    /// True when it survives a restart.
    pub fn is_durable(&self) -> bool {
        self.state.lock().life.lasts()
    }

    /// Reads or changes its state under its lock.
    pub fn with<R>(&self, with: impl FnOnce(&mut NamedState) -> R) -> R {
        with(&mut self.state.lock())
    }

    /// Its connection, if it has one.
    pub fn inbox(&self) -> Option<Arc<Inbox>> {
        self.state.lock().inbox.clone()
    }

    /// Its own queue, if it has one that was not deleted.
    pub fn queue(&self) -> Option<Arc<Queue>> {
        self.state.lock().queue.clone().filter(|queue| !queue.is_gone())
    }

    /// True when that connection has it, and it has not ended.
    pub fn is_of(&self, inbox: &Arc<Inbox>) -> bool {
        let state = self.state.lock();
        !state.ended && state.inbox.as_ref().is_some_and(|own| Arc::ptr_eq(own, inbox))
    }

    /// Has its settings stored. They are submitted under its lock, so that nothing of it comes behind its end in the
    /// journal; false when it has ended.
    pub fn store(&self, vhost: &Name, submit: impl FnOnce(Ops)) -> bool {
        let mut ops = Ops::default();
        let mut state = self.state.lock();
        if state.ended {
            return false;
        }
        state.stored = true;
        self.put(&state, vhost, &mut ops);
        submit(ops);
        true
    }

    /// Writes the operations that describe it.
    pub fn put(&self, state: &NamedState, vhost: &Name, ops: &mut Ops) {
        let queue = state.queue.as_ref().filter(|q| q.is_durable());
        let (id, next) = match (queue, state.gone) {
            (Some(queue), _) => (Some(queue.id), queue.gone_at()),
            (None, Some((id, next))) => (Some(id), Some(next)),
            (None, None) => (None, None),
        };
        ops.session(vhost, (self.id, &self.name), state.life, id);
        if let (Some(id), Some(next)) = (id, next) {
            ops.next(id, next);
        }
    }
}
