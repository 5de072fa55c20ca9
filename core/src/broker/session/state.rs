//! A session as its verbs see it: one connection's, from its opening until it leaves.

use super::batch::{Batch, Lane};
use super::consumers::{Attachment, SessionConsumers};
use super::rights::SessionRights;
use super::written::Output;
use crate::broker::accounts::subject::Subject;
use crate::broker::door::request::{LaneId, Memo};
use crate::broker::shared::{Broker, Shared};
use crate::broker::turn::run::Turn;
use crate::broker::vhost::crowds::Hold;
use crate::broker::vhost::host::Vhost;
use crate::broker::vhost::inbox::Inbox;
use crate::broker::vhost::named::{Named, is_own_memo};
use crate::broker::vhost::queue::Queue;
use crate::broker::vhost::route_table::RouteTable;
use crate::exchange::{BindingTag, LogId, SessionId, Target};
use crate::log::Offset;
use crate::message::{Charge, Key, Name, Origin};
use crate::subscription::ConsumerId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One connection's session. Dropping it is losing the connection.
pub struct Session {
    pub(super) broker: Broker,
    pub(super) vhost: Arc<Vhost>,
    pub(super) id: SessionId,
    pub(super) inbox: Arc<Inbox>,
    pub(super) named: Option<Arc<Named>>,
    pub(super) status: Status,
    /// Sorted: a new lane has the highest id.
    pub(super) lanes: Vec<(LaneId, Lane)>,
    pub(super) rights: SessionRights,
    pub(super) batch: Batch,
    pub(super) turn: Turn,
    /// This turn has changed something that is not submitted yet: its class in
    /// [`OpenTurns`](crate::broker::shared::open_turns::OpenTurns).
    pub(super) open_turn: Option<usize>,
    pub(super) routes: RouteTable,
    pub(super) consumers: SessionConsumers,
    pub(super) output: Output,
    /// Queues that go with this session.
    pub(super) exclusive: Exclusive,
}

/// What a session was opened as, and what it is doing.
#[derive(Default)]
pub(super) struct Status {
    /// Numbers that were given out.
    pub ids: SessionIds,
    /// A named session of that name was there.
    pub resumed: bool,
    /// Of the broker itself: never held back.
    pub internal: bool,
    /// An operator's: it may look at what is the broker's own.
    pub is_operators: bool,
    /// The client was told that publishing is held back.
    pub told_blocked: bool,
    /// The last flush left publishes for the next one, so that others have their turn.
    pub has_more: bool,
    /// A publish that is not allowed is answered although it asked for no answer.
    pub tells_denied: bool,
    /// Its connection is gone, and what it published before has its turns.
    pub is_leaving: bool,
    /// What its connection takes, counted against the memory budget.
    pub charge: Option<Charge>,
    /// It has left its queues and its name.
    pub left: bool,
    /// Its end is no failure of what it had: its client leaves, or the broker ends it.
    pub in_order: bool,
    /// What holds its publishes back, beside the broker's memory and disk.
    pub waits_for: Option<Hold>,
}

/// Numbers that were given to lanes and consumers. They are never reused: a confirm may still be on its way to a lane
/// that is gone.
#[derive(Default)]
pub(super) struct SessionIds {
    pub next_lane: u32,
    pub last_consumer: u32,
}

/// Queues that go with the session.
#[derive(Default)]
pub(super) struct Exclusive {
    queues: BTreeMap<LogId, Arc<Queue>>,
    /// So many, and it is looked for those that are gone by themselves.
    looked_through_at: usize,
}

impl Exclusive {
    /// Few of them are never looked through.
    const FEW: usize = 64;

    pub(super) fn add(&mut self, queue: Arc<Queue>) {
        if self.queues.len() >= self.looked_through_at.max(Self::FEW) {
            self.queues.retain(|_, queue| !queue.is_gone());
            self.looked_through_at = self.queues.len() * 2;
        }
        self.queues.insert(queue.id, queue);
    }

    pub(super) fn remove(&mut self, queue: &Queue) {
        self.queues.remove(&queue.id);
    }

    /// All of them, the oldest first.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Arc<Queue>> + use<> {
        std::mem::take(&mut self.queues).into_values()
    }
}

impl Session {
    /// The broker.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Its id.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Who publishes here: give it to every message's [`Meta`](crate::Meta).
    pub fn origin(&self) -> &Arc<Origin> {
        &self.inbox.origin
    }

    /// A named session of that name was there.
    pub fn resumed(&self) -> bool {
        self.status.resumed
    }

    /// False when another connection has taken the session over, or it has ended: what this one did since is not noted.
    pub fn has_its_name(&self) -> bool {
        self.named.as_ref().is_none_or(|named| named.is_of(&self.inbox))
    }

    pub(super) fn vhost(&self) -> &Arc<Vhost> {
        &self.vhost
    }

    pub(super) fn new(
        broker: Broker,
        vhost: Arc<Vhost>,
        id: SessionId,
        (inbox, subject): (Arc<Inbox>, Arc<Subject>),
    ) -> Session {
        let consumers = SessionConsumers::of_connection(inbox.connection.clone());
        Session {
            broker,
            vhost,
            id,
            inbox,
            named: None,
            status: Status::default(),
            lanes: Vec::new(),
            rights: SessionRights::of(subject),
            batch: Batch::default(),
            turn: Turn::default(),
            open_turn: None,
            routes: RouteTable::default(),
            consumers,
            output: Output::default(),
            exclusive: Exclusive::default(),
        }
    }

    /// The session's own queue has a record of that number.
    pub fn has_own(&self, offset: Offset) -> bool {
        let queue = self.named.as_ref().and_then(|named| named.queue());
        queue.is_some_and(|queue| queue.look(|state| state.sub.log.get(offset).is_some()))
    }

    pub(super) fn new_consumer(&mut self) -> ConsumerId {
        loop {
            self.status.ids.last_consumer = self.status.ids.last_consumer.wrapping_add(1).max(1);
            let id = ConsumerId(self.status.ids.last_consumer);
            if self.consumers.get(id).is_none() {
                return id;
            }
        }
    }

    pub(super) fn attachment(&self, consumer: ConsumerId) -> Option<&Attachment> {
        self.consumers.get(consumer)
    }

    /// What a named session noted.
    pub fn memos(&self) -> Vec<Memo> {
        let Some(named) = &self.named else { return Vec::new() };
        named.with(|state| {
            let memos = state.memos.iter().filter(|(key, _)| !is_own_memo(key));
            memos.map(|(k, v)| Memo { key: k.clone(), value: Some(v.clone()) }).collect()
        })
    }

    /// Bindings that lead to this session (resumed ones included): exchange, key and tag.
    pub fn own_bindings(&self) -> Vec<(Name, Key, BindingTag)> {
        let Some(named) = &self.named else { return Vec::new() };
        let topology = self.vhost.topology.read();
        let bindings = topology.bindings_to(&Target::Session(named.id));
        bindings.iter().map(|b| (b.source.clone(), b.key.clone(), b.tag)).collect()
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.broker.shared().clone()
    }
}
