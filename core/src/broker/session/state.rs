//! One connection's seat: the data verbs. They are synchronous and batched: what a connection read in one turn is
//! queued by [`Session::publish`] and goes through the broker in one [`Session::flush`], on the connection's own
//! task. The control verbs are in `control`, taking a seat and leaving it in `seat`.

use super::flush::{Cached, Item};
use super::lane::Lane;
use crate::broker::door::events::{Events, Notice};
use crate::broker::door::request::{LaneId, Memo, PoolId, Publish};
use crate::broker::shared::{Broker, Shared};
use crate::broker::turn::context::Context;
use crate::broker::turn::run::Turn;
use crate::broker::vhost::host::Vhost;
use crate::broker::vhost::inbox::Inbox;
use crate::broker::vhost::named::Named;
use crate::broker::vhost::queue::Queue;
use crate::exchange::{BindingTag, LogId, SessionId, Target};
use crate::log::Offset;
use crate::message::{Address, Key, Message, Name, Origin};
use crate::subscription::{ConsumerId, Credit, Handle, Outcome, Pool};
use rustc_hash::FxHashMap;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Settlements whose records still have to leave are looked through after so many.
const DOOMED_MAX: usize = 100;

/// One connection's seat. Dropping it is losing the connection.
pub struct Session {
    pub(in crate::broker) broker: Broker,
    pub(in crate::broker) vhost: Arc<Vhost>,
    pub(in crate::broker) id: SessionId,
    pub(in crate::broker) inbox: Arc<Inbox>,
    pub(in crate::broker) named: Option<Arc<Named>>,
    pub(in crate::broker) resumed: bool,
    /// Of the broker itself: never held back.
    pub(in crate::broker) internal: bool,
    /// Ids are never reused: a confirm may still be on its way to a lane that is gone.
    /// By id, which grow.
    pub(in crate::broker) lanes: Vec<(LaneId, Lane)>,
    pub(in crate::broker) next_lane: u32,
    /// Publishes are those of a transaction, which can still be refused as a whole.
    pub(in crate::broker) whole: bool,
    /// Publishes that wait for the next flush, and their bytes.
    pub(in crate::broker) batch: Vec<Item>,
    pub(in crate::broker) batch_bytes: usize,
    /// Memos that wait for it; they are not held back with the publishes.
    pub(in crate::broker) memos: Vec<Memo>,
    pub(in crate::broker) turn: Turn,
    pub(in crate::broker) cache: HashMap<Address, Cached>,
    /// Ids are never reused.
    pub(in crate::broker) consumers: FxHashMap<ConsumerId, Attachment>,
    pub(in crate::broker) next_consumer: u32,
    pub(in crate::broker) pools: Vec<Arc<Pool>>,
    /// Deliveries taken and not written yet.
    current: Written,
    encoded: VecDeque<Written>,
    /// Records that this session rejected and that leave their queue when their messages are fetched.
    pub(in crate::broker) doomed: Vec<(Arc<Queue>, Vec<Offset>)>,
    /// Queues that go with this session.
    pub(in crate::broker) exclusive: Vec<Arc<Queue>>,
    /// The client was told that publishing is held back.
    pub(in crate::broker) told_blocked: bool,
    pub(in crate::broker) left: bool,
    /// This turn has changed something that is not submitted yet.
    pub(in crate::broker) open_turn: Option<usize>,
}

/// A consumer as its session knows it.
pub(in crate::broker) struct Attachment {
    pub queue: Arc<Queue>,
    pub handle: Handle,
    pub lane: LaneId,
    pub settles: bool,
    /// It serves single gets and gets nothing by itself.
    pub is_getter: bool,
}

/// Deliveries that stand in the output before a position.
#[derive(Default)]
struct Written {
    position: u64,
    messages: u64,
    bytes: u64,
    direct_bytes: usize,
    /// Of consumers that do not settle: accepted when written.
    accepted: Vec<(ConsumerId, Vec<Offset>)>,
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
        self.resumed
    }

    pub(in crate::broker) fn vhost(&self) -> &Arc<Vhost> {
        &self.vhost
    }

    pub(in crate::broker) fn new(
        broker: Broker,
        vhost: Arc<Vhost>,
        id: SessionId,
        inbox: Arc<Inbox>,
    ) -> Session {
        Session {
            broker,
            vhost,
            id,
            inbox,
            named: None,
            resumed: false,
            internal: false,
            lanes: Vec::new(),
            next_lane: 0,
            whole: false,
            batch: Vec::new(),
            batch_bytes: 0,
            memos: Vec::new(),
            turn: Turn::default(),
            cache: HashMap::new(),
            consumers: FxHashMap::default(),
            next_consumer: 0,
            pools: Vec::new(),
            current: Written::default(),
            encoded: VecDeque::new(),
            doomed: Vec::new(),
            exclusive: Vec::new(),
            told_blocked: false,
            left: false,
            open_turn: None,
        }
    }

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
        self.batch_bytes += publish.message.size();
        self.batch.push(Item { lane, number, publish, memo: None });
        number
    }

    /// A publish and state that is stored in the same entry as its message, however long that is held back.
    pub fn publish_with(&mut self, lane: LaneId, publish: Publish, memo: Memo) -> u64 {
        let waiting = self.batch.len();
        let number = self.publish(lane, publish);
        match self.batch.get_mut(waiting) {
            Some(item) => item.memo = Some(memo),
            None => self.memo(memo),
        }
        number
    }

    /// The session's own queue has a record of that number.
    pub fn has_own(&self, offset: Offset) -> bool {
        let queue = self.named.as_ref().and_then(|named| named.queue());
        queue.is_some_and(|queue| queue.look(|state| state.sub.log.get(offset).is_some()))
    }

    pub(in crate::broker) fn new_consumer(&mut self) -> ConsumerId {
        self.next_consumer = self.next_consumer.wrapping_add(1).max(1);
        ConsumerId(self.next_consumer)
    }

    /// State to be stored with the next flush, whether or not publishes are held back. Only for named sessions that
    /// outlive their connection.
    pub fn memo(&mut self, memo: Memo) {
        self.memos.push(memo);
    }

    /// Settles records of one consumer. Unknown or settled offsets are ignored; the number settled is returned.
    /// In a transaction it takes effect with the commit.
    pub fn settle(
        &mut self,
        lane: LaneId,
        consumer: ConsumerId,
        offsets: &[Offset],
        outcome: Outcome,
    ) -> usize {
        if let Some(transaction) = self.lane_mut(lane).and_then(|l| l.transaction.as_mut()) {
            transaction.settles.push((consumer, offsets.to_vec(), outcome));
            return offsets.len();
        }
        self.settle_at_once(consumer, offsets, &outcome)
    }

    /// The same, whether or not the lane is in a transaction.
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

    fn attachment(&self, consumer: ConsumerId) -> Option<&Attachment> {
        self.consumers.get(&consumer)
    }

    pub(in crate::broker) fn settle_now(
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
        let mut doomed = Vec::new();
        let settled = queue.step(&mut self.turn.after, |state, effects| {
            state.sub.remember(messages);
            let settled = state.sub.settle(handle, offsets, outcome, effects);
            if moves {
                doomed.extend(offsets.iter().copied().filter(|o| state.sub.is_doomed(*o)));
            }
            state.sub.dispatch(now, effects);
            settled
        });
        if !doomed.is_empty() {
            if self.doomed.len() >= DOOMED_MAX {
                self.doomed.retain(|(queue, offsets)| {
                    queue.look(|s| offsets.iter().any(|offset| s.sub.is_doomed(*offset)))
                });
            }
            self.doomed.push((queue, doomed));
        }
        settled
    }

    /// Carries out what steps left; what has to be stored waits for the next flush.
    pub(in crate::broker) fn settle_down(&mut self) {
        let shared = self.broker.shared().clone();
        let context = Context { shared: &shared, vhost: &self.vhost, now: shared.now() };
        self.turn.run(context);
        for inbox in self.turn.after.wake.drain(..) {
            inbox.wake();
        }
    }

    /// Credit that consumers can share.
    pub fn pool(&mut self, credit: Credit) -> PoolId {
        self.pools.push(Arc::new(Pool::new(credit)));
        PoolId(u32::try_from(self.pools.len() - 1).unwrap_or(u32::MAX))
    }

    /// Sets a pool's credit. Below what is outstanding it stops dispatch and takes nothing back.
    pub fn set_pool(&mut self, pool: PoolId, credit: Credit) {
        self.touch();
        if let Some(pool) = self.pools.get(pool.0 as usize) {
            pool.set(credit, &mut self.turn.after.queues);
            self.settle_down();
        }
    }

    /// Sets a consumer's own credit.
    pub fn set_credit(&mut self, consumer: ConsumerId, credit: Credit) {
        self.touch();
        let now = self.broker.shared().now();
        let Some(attachment) = self.attachment(consumer) else { return };
        let (queue, handle) = (attachment.queue.clone(), attachment.handle);
        queue.step(&mut self.turn.after, |state, effects| {
            state.sub.consumers.set_credit(handle, credit);
            state.sub.dispatch(now, effects);
        });
        self.settle_down();
    }

    /// Waits until something is ready, then moves everything ready into `events` (cleared first). Cancel-safe.
    /// May return with nothing in it: then flush and go on.
    pub async fn events(&mut self, events: &mut Events) {
        events.deliveries.clear();
        events.confirms.clear();
        events.notices.clear();
        self.inbox.take(events);
        if events.is_empty() {
            self.inbox.woken().await;
            self.inbox.take(events);
        }
        if self.told_blocked && !self.broker.shared().pressure.holds_publishers() {
            self.told_blocked = false;
            events.notices.push(Notice::Blocked(false));
        }
        self.note_taken(events);
    }

    fn note_taken(&mut self, events: &Events) {
        for delivery in &events.deliveries {
            let size = delivery.message.size();
            if delivery.consumer == ConsumerId::DIRECT {
                self.current.direct_bytes += size;
                continue;
            }
            self.current.messages += 1;
            self.current.bytes += size as u64;
            if self.attachment(delivery.consumer).is_none_or(|a| a.settles) {
                continue;
            }
            match self.current.accepted.last_mut() {
                Some((consumer, list)) if *consumer == delivery.consumer => {
                    list.push(delivery.offset);
                }
                _ => self.current.accepted.push((delivery.consumer, vec![delivery.offset])),
            }
        }
    }

    /// All deliveries taken by [`Session::events`] so far stand in the output before this position.
    pub fn encoded(&mut self, position: u64) {
        if self.current.messages > 0 || self.current.direct_bytes > 0 {
            let current = std::mem::take(&mut self.current);
            self.encoded.push_back(Written { position, ..current });
        }
    }

    /// The output was written up to this position: what need not be settled is accepted, its credit comes back.
    pub fn flushed(&mut self, position: u64) {
        let mut any = false;
        while self.encoded.front().is_some_and(|written| written.position <= position) {
            let Some(written) = self.encoded.pop_front() else { break };
            any = true;
            self.inbox.direct_written(written.direct_bytes);
            for (consumer, offsets) in &written.accepted {
                self.settle_now(*consumer, offsets, &Outcome::Accepted, Vec::new());
            }
            let wake = &mut self.turn.after.queues;
            self.inbox.window.release(written.messages, written.bytes, wake);
        }
        if any {
            self.flush_ops();
        }
    }

    /// False while so many publishes are held back that reading has to stop. Wakes through [`Session::events`].
    pub fn may_read(&self) -> bool {
        self.batch_bytes < self.broker.shared().settings.session_share
    }

    /// What a named session noted.
    pub fn memos(&self) -> Vec<Memo> {
        let Some(named) = &self.named else { return Vec::new() };
        named.with(|state| {
            let memos = state.memos.iter();
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

    /// Ends a consumer's entry here; its queue has let go of it already.
    pub(in crate::broker) fn forget(&mut self, consumer: ConsumerId) -> Option<Attachment> {
        self.consumers.remove(&consumer)
    }

    /// Consumers of a lane, or of all, oldest first.
    pub(in crate::broker) fn consumers_of(&self, lane: Option<LaneId>) -> Vec<ConsumerId> {
        let of_lane = |a: &Attachment| lane.is_none_or(|lane| a.lane == lane);
        let theirs = self.consumers.iter().filter(|(_, a)| of_lane(a));
        let mut ids: Vec<ConsumerId> = theirs.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// The consumer that serves single gets of that queue on that lane.
    pub(in crate::broker) fn getter(
        &self,
        lane: LaneId,
        queue: LogId,
        settles: bool,
    ) -> Option<ConsumerId> {
        let same = |a: &Attachment| {
            a.is_getter && a.lane == lane && a.queue.id == queue && a.settles == settles
        };
        self.consumers.iter().find(|(_, a)| same(a)).map(|(id, _)| *id)
    }

    pub(in crate::broker) fn shared(&self) -> Arc<Shared> {
        self.broker.shared().clone()
    }
}
