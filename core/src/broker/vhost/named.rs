//! A named session: what outlives a connection. Its bindings are in the topology, its messages in its own queue;
//! here are who is connected, its memos, and how long it stays.

use super::inbox::Inbox;
use super::queue::Queue;
use crate::broker::accounts::subject::Subject;
use crate::broker::door::request::{Claim, SessionLife};
use crate::broker::operations::ops::Ops;
use crate::exchange::{Binding, LogId, SessionId};
use crate::log::{Offset, QueueSpec};
use crate::message::cost::{ALLOCATION, MAP_ENTRY};
use crate::message::{Account, Address, Budget, Charge, Name, Timestamp};
use crate::rights::Coverage;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The memo that says that a session is a member of a group. Adapters see none whose key begins like that.
pub mod membership {
    use crate::exchange::LogId;
    use bytes::Bytes;

    const TAG: u8 = 0;

    /// Of the group that this queue is kept for.
    pub fn key(queue: LogId) -> Bytes {
        std::iter::once(TAG).chain(queue.0.to_be_bytes()).collect()
    }

    /// That queue.
    pub fn read(key: &[u8]) -> Option<LogId> {
        let (tag, rest) = key.split_first()?;
        let id = u64::from_be_bytes(rest.try_into().ok()?);
        (*tag == TAG).then_some(LogId(id))
    }
}

/// The memo of a delivery that is the session's to finish. It stands behind memberships, before adapters' memos.
pub mod claims {
    use crate::broker::door::request::Claim;
    use crate::exchange::LogId;
    use crate::log::Offset;
    use bytes::Bytes;

    pub(super) const TAG: u8 = 1;

    /// Of that delivery.
    pub fn key(Claim { queue, offset }: Claim) -> Bytes {
        let number = queue.0.to_be_bytes().into_iter().chain(offset.0.to_be_bytes());
        std::iter::once(TAG).chain(number).collect()
    }

    /// That delivery.
    pub fn read(key: &[u8]) -> Option<Claim> {
        let (tag, rest) = key.split_first()?;
        let (queue, offset) = rest.split_first_chunk::<8>()?;
        let offset = Offset(u64::from_be_bytes(offset.try_into().ok()?));
        let queue = LogId(u64::from_be_bytes(*queue));
        (*tag == TAG).then_some(Claim { queue, offset })
    }
}

/// True for the key of a memo of the core's own.
pub fn is_own_memo(key: &[u8]) -> bool {
    key.first().is_some_and(|tag| *tag <= claims::TAG)
}

impl NamedState {
    /// The queues of the groups that it is a member of.
    pub fn groups(&self) -> impl Iterator<Item = LogId> {
        self.memos.keys().map_while(|key| membership::read(key))
    }

    /// Deliveries that are its to finish, and what was noted about each.
    pub fn claims(&self) -> Vec<(Claim, Bytes)> {
        let theirs = self.memos.range(Bytes::from_static(&[claims::TAG])..);
        theirs.map_while(|(key, note)| Some((claims::read(key)?, note.clone()))).collect()
    }

    /// Those of one queue.
    pub fn claims_of(&self, queue: LogId) -> Vec<Offset> {
        let first = Claim { queue, offset: Offset(0) };
        let theirs = self.memos.range(claims::key(first)..);
        let claims = theirs.map_while(|(key, _)| claims::read(key));
        claims.take_while(|claim| claim.queue == queue).map(|claim| claim.offset).collect()
    }
}

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
    /// Whose it is, as it logged in last: nobody else gets it.
    pub owner: Arc<Subject>,
    /// The generation of the accounts at which its bindings were judged, and whether all that they lead to may be read.
    judged: Option<(u64, bool)>,
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
    /// Its client is here (again). True when what it may read is or may be something else than before: routes that lead
    /// to it have to be resolved again.
    pub fn set_owner(&mut self, owner: &Arc<Subject>) -> bool {
        let before = std::mem::replace(&mut self.owner, owner.clone());
        self.judged = None;
        !before.is_same_as(owner)
    }

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
        (name, owner): (Name, Arc<Subject>),
        life: SessionLife,
        queue_spec: Option<QueueSpec>,
    ) -> Arc<Self> {
        let state = NamedState {
            inbox: None,
            owner,
            judged: None,
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

    /// Whether the owner may have a message of that address. `bindings`: all that lead to the session. Where all that
    /// they stand for may be read, no address is looked at.
    pub fn may_get(&self, address: &Address, bindings: &[Arc<Binding>]) -> bool {
        let mut state = self.state.lock();
        let owner = state.owner.clone();
        if owner.is_unlimited() {
            return true;
        }
        let now = owner.generation();
        let is_whole = match state.judged.filter(|(generation, _)| *generation == now) {
            Some((_, is_whole)) => is_whole,
            None => {
                let is_whole =
                    |b: &Arc<Binding>| owner.coverage(&b.source, &b.key) == Coverage::Everything;
                let is_whole = bindings.iter().all(is_whole);
                state.judged = Some((now, is_whole));
                is_whole
            }
        };
        drop(state);
        is_whole || owner.may_get(address)
    }

    /// Its bindings or its owner are others: they are judged again. Bindings are to be locked.
    pub fn judge_again(&self) {
        self.state.lock().judged = None;
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
        let owner = (&*state.owner.user, &*state.owner.client);
        ops.session(vhost, (self.id, &self.name, owner), state.life, id);
        if let (Some(id), Some(next)) = (id, next) {
            ops.next(id, next);
        }
    }
}
