//! A queue in the shell: the pure subscription behind its lock, and whom its consumers' deliveries go to. Every
//! change is a [`Queue::change`]; what it leaves to be done without the lock is collected in an [`Aftermath`].

use super::inbox::Inbox;
use super::limits::Limits;
use crate::broker::operations::ops::Ops;
use crate::exchange::{LogId, SessionId};
use crate::log::{Life, Offset, Overflow, Place, QueueKind, QueueSpec, RecordState};
use crate::message::{Name, Timestamp};
use crate::subscription::{
    Attached, ConsumerId, Delivery, Departure, Effects, Handle, HandleMap, LeftAs, LeftBy, Outcome,
    QueueCounts, QueueTotals, Rules, Side, Subscription, Woken,
};
use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use smallvec::SmallVec;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

/// A declared queue.
pub struct Queue {
    pub id: LogId,
    pub name: Name,
    /// The virtual host that it is in.
    pub vhost: Name,
    pub spec: QueueSpec,
    /// It refuses messages when it is full: only then is it asked before they arrive, and their bytes matter.
    pub refuses: bool,
    /// The session that it is exclusive to.
    pub owner: Option<SessionId>,
    /// Written under its lock, read without.
    pub counts: Arc<QueueCounts>,
    /// Set when it is deleted: the offset after its last record. Read without its lock.
    gone: OnceLock<Offset>,
    /// The named session that keeps its messages here, from its first binding to its end, with which the queue ends.
    session: OnceLock<Name>,
    state: Mutex<QueueState>,
}

/// What is behind a queue's lock.
pub struct QueueState {
    pub sub: Subscription,
    /// Where the deliveries of each consumer go.
    consumer_inboxes: HandleMap<Arc<Inbox>>,
    /// It is deleted: nothing is appended any more.
    pub deleted: bool,
    /// The timer is set for this moment.
    pub alarm: Option<Timestamp>,
    /// A timer is set for what its consumers have to settle in time.
    pub is_awaited: bool,
    /// When its last consumer left or its last use was.
    pub unused_since: Timestamp,
    /// Departures of records that were read back and that are not submitted to the committer yet.
    pub unsubmitted_departures: u32,
    /// Of a group's queue: for whom it is kept.
    pub members: Members,
    /// It had a consumer: it goes with its last one if it is declared auto-delete.
    pub had_consumer: bool,
}

/// The named sessions that a group's queue is kept for, connected or not.
#[derive(Default)]
pub struct Members {
    all: FxHashSet<SessionId>,
    /// The last one has left: the queue ends, and takes no more.
    is_over: bool,
}

impl Members {
    /// False when the queue ends already.
    pub fn join(&mut self, session: SessionId) -> bool {
        if !self.is_over {
            self.all.insert(session);
        }
        !self.is_over
    }

    /// True when that was the last one: the queue has to end.
    pub fn leave(&mut self, session: SessionId) -> bool {
        self.all.remove(&session) && self.is_to_end()
    }

    /// True, once, when there is none.
    pub fn is_to_end(&mut self) -> bool {
        self.all.is_empty() && !std::mem::replace(&mut self.is_over, true)
    }
}

/// Consumers that one hand-over finds one after the other; with more, their deliveries are sorted first.
const SORTED_FROM: usize = 4;
/// With this many inboxes or more they are found by a hash, not by comparing each.
const HASHED_FROM: usize = 8;

/// Records of one queue that have to be fetched.
pub type Wanted = Vec<(Offset, Place)>;

/// What changes of queues left to be done with no lock held.
#[derive(Default)]
pub struct Aftermath {
    /// Connections to wake, each once.
    wake: SmallVec<[Arc<Inbox>; 4]>,
    /// Addresses of those inboxes, when they are many.
    wake_set: FxHashSet<usize>,
    /// Records that left otherwise than by being accepted.
    pub departures: Vec<(Arc<Queue>, Departure)>,
    /// Removals and attempts to be stored.
    pub ops: Ops,
    /// Stored records that are done with.
    pub freed: Vec<Place>,
    /// Consumers that waited for credit that came back.
    pub woken: Vec<Woken>,
    /// Records to be fetched.
    pub loads: Vec<(Arc<Queue>, Wanted)>,
    /// Queues whose head expires earlier than their timer is set for.
    pub alarms: Vec<(LogId, Timestamp)>,
    /// Queues whose consumers have messages to settle and that have no timer for it yet, each with its consumer
    /// timeout in milliseconds.
    pub awaited: Vec<(LogId, u64)>,
    /// Queues that are kept for subscribers, and how many of their records left because they held too much.
    pub crowded_out: Vec<(Arc<Queue>, u64)>,
    /// What one change leaves, empty between two: its lists are used again for the next queue, which is quicker than
    /// lists of each queue's own that nobody has touched for a while.
    effects: Option<Box<Effects>>,
}

impl Aftermath {
    /// Wakes a connection once.
    pub fn wake(&mut self, inbox: &Arc<Inbox>) {
        let is_new = match self.wake.len() < HASHED_FROM {
            true => !self.wake.iter().any(|i| Arc::ptr_eq(i, inbox)),
            false => {
                if self.wake_set.is_empty() {
                    self.wake_set.extend(self.wake.iter().map(|i| Arc::as_ptr(i) as usize));
                }
                self.wake_set.insert(Arc::as_ptr(inbox) as usize)
            }
        };
        if is_new {
            self.wake.push(inbox.clone());
        }
    }

    /// Wakes all connections that were noted.
    pub fn wake_all(&mut self) {
        for inbox in self.wake.drain(..) {
            inbox.wake();
        }
        if !self.wake_set.is_empty() {
            self.wake_set = FxHashSet::default();
        }
    }
}

impl Queue {
    /// An empty queue.
    pub fn new(
        (id, vhost): (LogId, &Name),
        spec: QueueSpec,
        owner: Option<SessionId>,
        now: Timestamp,
    ) -> Arc<Self> {
        let sub = Subscription::new(id, Rules::of(&spec));
        Self::with(sub, vhost, spec, (owner, now))
    }

    /// A queue with what a subscription of the same id has.
    pub fn with(
        sub: Subscription,
        vhost: &Name,
        spec: QueueSpec,
        (owner, now): (Option<SessionId>, Timestamp),
    ) -> Arc<Self> {
        let (id, counts) = (sub.id, sub.counts.clone());
        sub.show_gauges();
        let state = QueueState {
            sub,
            consumer_inboxes: HandleMap::default(),
            deleted: false,
            unsubmitted_departures: 0,
            alarm: None,
            is_awaited: false,
            unused_since: now,
            members: Members::default(),
            had_consumer: false,
        };
        let (name, vhost) = (spec.name.clone(), vhost.clone());
        let (gone, session) = (OnceLock::new(), OnceLock::new());
        let state = Mutex::new(state);
        let limits = &spec.limits;
        let is_limited = limits.messages.is_some() || limits.bytes.is_some();
        let refuses = limits.overflow != Overflow::DropHead && is_limited;
        Arc::new(Self { id, name, vhost, spec, refuses, owner, counts, gone, session, state })
    }

    /// It is in a virtual host with these limits from now on: what its records take in memory is counted there.
    pub fn join(&self, limits: &Limits) {
        let most = limits.subscription_bytes;
        let time = Some(limits.consumer_timeout_ms).filter(|ms| *ms > 0);
        self.look(|state| {
            state.sub.log.charge_to(&limits.budget);
            if self.spec.kind() == QueueKind::Quorum && self.spec.consumer_timeout_ms().is_none() {
                state.sub.rules.consumer_timeout_ms = time;
            }
            let own = &mut state.sub.rules.limits;
            // A subscriber that would rather have publishers refused has said by how much.
            if self.spec.kept_for.is_some() && own.overflow == Overflow::DropHead {
                own.bytes = Some(own.bytes.map_or(most, |bytes| bytes.min(most)));
                state.sub.rules.drops_oversized = true;
            }
        });
    }

    /// True when it and its durable records survive a restart.
    pub fn is_durable(&self) -> bool {
        self.spec.durable && self.spec.life == Life::Permanent
    }

    /// That named session keeps its messages here from now on.
    pub fn belong_to(&self, session: &Name) {
        // An error: it has said so before.
        let _ = self.session.set(session.clone());
    }

    /// The named session that keeps its messages here.
    pub fn session(&self) -> Option<&Name> {
        self.session.get()
    }

    /// True when it was deleted.
    pub fn is_gone(&self) -> bool {
        self.gone.get().is_some()
    }

    /// Where its offsets ended, if it was deleted.
    pub fn gone_at(&self) -> Option<Offset> {
        self.gone.get().copied()
    }

    /// Notes that it is deleted, and the offset after its last record.
    pub fn set_gone(&self, next: Offset) {
        // An error: somebody else deleted it before, and has set where it ended.
        let _ = self.gone.set(next);
    }

    /// One change under the lock; its deliveries are handed over before the lock is let go, so that they arrive in
    /// the order they were dispatched in.
    pub fn change<R>(
        self: &Arc<Self>,
        after: &mut Aftermath,
        change: impl FnOnce(&mut QueueState, &mut Effects) -> R,
    ) -> R {
        let mut effects = after.effects.take().unwrap_or_default();
        let mut state = self.state.lock();
        let result = change(&mut state, &mut effects);
        state.hand_over(&mut effects, after);
        self.collect(&mut state, &mut effects, after);
        state.sub.show_gauges();
        drop(state);
        after.effects = Some(effects);
        result
    }

    /// Reads the state, or changes it in a way that has no effects on others.
    pub fn look<R>(&self, look: impl FnOnce(&mut QueueState) -> R) -> R {
        look(&mut self.state.lock())
    }

    fn collect(
        self: &Arc<Self>,
        state: &mut QueueState,
        effects: &mut Effects,
        after: &mut Aftermath,
    ) {
        after.woken.append(&mut effects.wake);
        after.freed.append(&mut effects.freed);
        if !effects.settled.is_empty() {
            after.ops.settle((self.id, &self.counts), LeftBy::Consumed, &effects.settled);
            effects.settled.clear();
        }
        if !effects.removed.is_empty() {
            self.collect_removed(effects, after);
        }
        for (offset, attempts) in effects.attempts.drain(..) {
            after.ops.attempts(self.id, offset, attempts);
        }
        after.departures.extend(effects.departures.drain(..).map(|m| (self.clone(), m)));
        if !effects.load.is_empty() {
            after.loads.push((self.clone(), std::mem::take(&mut effects.load)));
        }
        if effects.crowded_out > 0 {
            let count = std::mem::take(&mut effects.crowded_out);
            if self.spec.kept_for.is_some() {
                after.crowded_out.push((self.clone(), count));
            }
        }
        if let Some(due) = state.sub.deadline()
            && state.alarm.is_none_or(|set| due < set)
        {
            state.alarm = Some(due);
            after.alarms.push((self.id, due));
        }
        if let Some(ms) = state.sub.rules.consumer_timeout_ms
            && !state.is_awaited
            && state.sub.consumers.in_flight().0 > 0
        {
            state.is_awaited = true;
            after.awaited.push((self.id, ms));
        }
    }
}

impl Queue {
    /// Records that left otherwise than by being consumed, in their order, those that left the same way together.
    fn collect_removed(&self, effects: &mut Effects, after: &mut Aftermath) {
        for same in effects.removed.chunk_by(|(_, one), (_, next)| one == next) {
            let Some((_, by)) = same.first() else { continue };
            let offsets: Vec<Offset> = same.iter().map(|(offset, _)| *offset).collect();
            after.ops.settle((self.id, &self.counts), *by, &offsets);
        }
        effects.removed.clear();
    }

    /// What became of a record that has left, once that is known: how it left. Nobody took it at the dead-letter
    /// address: then it counts as dropped.
    pub fn note_departure(&self, left: &Departure, is_taken: bool) -> LeftBy {
        match left.left_by {
            Some(by) if by.class() == LeftAs::DeadLettered && !is_taken => {
                let side = Side::of(left.durable);
                self.look(|_| self.counts.left_otherwise(side, by, LeftBy::NoTaker));
                LeftBy::NoTaker
            }
            by => by.unwrap_or(LeftBy::NoTaker),
        }
    }

    /// Its balance now.
    pub fn totals(&self) -> QueueTotals {
        self.look(|state| state.sub.totals())
    }
}

impl QueueState {
    /// Adds a consumer whose deliveries go to `inbox`.
    pub fn attach(&mut self, consumer: Attached, inbox: Arc<Inbox>) {
        self.consumer_inboxes.insert(consumer.handle, inbox);
        self.had_consumer = true;
        self.sub.consumers.attach(consumer);
    }

    /// Adds somebody who gets single records when it asks, and settles them.
    pub fn attach_getter(&mut self, getter: Attached, inbox: Arc<Inbox>) {
        self.consumer_inboxes.insert(getter.handle, inbox);
        self.sub.consumers.attach(getter);
    }

    /// A consumer that did not settle in time leaves, and what it has goes back: its name, and where it is told.
    pub fn end_late(
        &mut self,
        handle: Handle,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Option<(ConsumerId, Arc<Inbox>)> {
        let consumer = self.sub.consumers.get(handle)?.id;
        let inbox = self.consumer_inboxes.get(handle)?.clone();
        self.detach(handle, (Vec::new(), &Outcome::Left), now, effects);
        Some((consumer, inbox))
    }

    /// The consumer leaves and what it has goes back, with the outcome `seen`. What its connection has not taken counts
    /// as never delivered: that is `unseen`, taken out of the inbox before, and what is still in the inbox.
    pub fn detach(
        &mut self,
        handle: Handle,
        (mut unseen, seen): (Vec<Offset>, &Outcome),
        now: Timestamp,
        effects: &mut Effects,
    ) {
        let inbox = self.consumer_inboxes.remove(handle);
        let consumer = self.sub.consumers.get(handle).filter(|c| c.in_flight() > 0);
        if let (Some(inbox), Some(consumer)) = (inbox, consumer) {
            unseen.append(&mut inbox.take_back(consumer.id, &mut effects.wake));
        }
        self.sub.leave_all(handle, &unseen, seen, effects);
        self.unused_since = now;
    }

    /// True when a consumer is not there, or stayed for nothing and has left now: it gets nothing by itself, and
    /// nothing is in flight with it any more.
    pub fn leave_if_done(&mut self, handle: Handle) -> bool {
        let is_done = self.sub.consumers.leave_if_done(handle);
        if is_done {
            self.consumer_inboxes.remove(handle);
        }
        is_done
    }

    /// Drops all records and consumers. Adds consumers that waited for their shared credit to `waiting`, and returns
    /// the places of the records in the journal.
    pub fn empty(&mut self, waiting: &mut Vec<Woken>) -> Vec<Place> {
        let (mut places, mut durable) = (Vec::new(), 0);
        self.sub.log.visit(Offset(0), |_, record| {
            durable += u64::from(record.durable);
            places.extend(record.place.filter(|_| record.state != RecordState::Uncommitted));
            ControlFlow::Continue(())
        });
        self.sub.consumers.give_all_back(waiting);
        let (rules, counts) = (self.sub.rules.clone(), self.sub.counts.clone());
        counts.left(Side::Durable, LeftBy::Deleted, durable);
        counts.left(Side::Transient, LeftBy::Deleted, self.sub.log.len() - durable);
        self.sub = Subscription::new(self.sub.id, rules);
        self.sub.counts = counts;
        self.sub.show_gauges();
        self.consumer_inboxes.clear();
        places
    }

    /// Handles and inboxes of all consumers, in no order.
    pub fn consumer_inboxes(&self) -> impl Iterator<Item = (Handle, &Arc<Inbox>)> {
        self.consumer_inboxes.iter()
    }

    /// Each inbox is locked once for each consumer: order matters within a consumer, not between two.
    fn hand_over(&mut self, effects: &mut Effects, after: &mut Aftermath) {
        let Some((first, _)) = effects.deliveries.first() else { return };
        let (mut found, first) = (0, *first);
        if effects.deliveries.iter().all(|(handle, _)| *handle == first) {
            // Nearly always.
            let theirs = effects.deliveries.drain(..).map(|(_, delivery)| delivery);
            return self.hand_to(first, theirs, after);
        }
        while let Some((first, _)) = effects.deliveries.first() {
            if found == SORTED_FROM {
                return self.hand_over_sorted(effects, after);
            }
            found += 1;
            let handle = *first;
            // All have to be taken out: what is left in the list would be handed over again.
            let theirs = effects.deliveries.extract_if(.., |(h, _)| *h == handle).map(|(_, d)| d);
            self.hand_to(handle, theirs, after);
        }
    }

    /// The same for many consumers.
    fn hand_over_sorted(&self, effects: &mut Effects, after: &mut Aftermath) {
        // Stable: each consumer's deliveries keep their order.
        effects.deliveries.sort_by_key(|(handle, _)| *handle);
        let mut rest = effects.deliveries.drain(..).peekable();
        while let Some(handle) = rest.peek().map(|(handle, _)| *handle) {
            let theirs = std::iter::from_fn(|| rest.next_if(|(h, _)| *h == handle));
            self.hand_to(handle, theirs.map(|(_, delivery)| delivery), after);
        }
    }

    /// All of `theirs` are taken, whether or not anybody gets them.
    fn hand_to(
        &self,
        handle: Handle,
        theirs: impl Iterator<Item = Delivery>,
        after: &mut Aftermath,
    ) {
        match self.consumer_inboxes.get(handle) {
            Some(inbox) => {
                inbox.deliver(theirs);
                after.wake(inbox);
            }
            None => theirs.for_each(drop),
        }
    }
}
