//! From what a connection published to one turn: publishes are routed together, those that may not go yet are held,
//! and what has to be stored goes to the committer with the confirms that wait for it.

use super::batch::QueuedPublish;
use super::state::Session;
use crate::broker::door::events::{Confirm, ConfirmOutcome, Notice};
use crate::broker::door::request::{LaneId, Memo, Publish};
use crate::broker::journal::unit::{Ticket, Unit};
use crate::broker::turn::context::Context;
use crate::broker::turn::run::{Terms, Turn};
use crate::broker::vhost::connection::LaneEvent;
use crate::broker::vhost::crowds::{Crowd, Hold};
use crate::broker::vhost::limits::Limit;
use crate::broker::vhost::route::Route;
use crate::broker::vhost::route_cache::Resolved;
use crate::error::{Error, ErrorKind};
use crate::message::{Account, Message};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What each further record of a message counts for against its publisher's share until it is stored. Others wait for
/// the commits that are in front of theirs.
const RECORD_BYTES: usize = 256;
/// Steps of resolving a route that take as long as one receiver does, about.
const STEPS_OF_AN_EFFECT: usize = 8;

/// Confirms of one flush.
#[derive(Default)]
pub(super) struct Waiting {
    confirms: Vec<Confirm>,
    /// The turn's index of each confirm's message.
    indices: Vec<usize>,
    /// Bytes of memory that the messages take, bytes of them as limits count them, and how many there are.
    weight: usize,
    bytes: usize,
    messages: usize,
    /// Why one has no route at all.
    pub no_route: Option<Error>,
    /// Some of it happened before, and may not be stored yet.
    is_done_before: bool,
    /// Memos to be stored unless their messages are refused, by index.
    memos: Vec<(usize, Memo)>,
    /// From which index on messages are of which lane, and the index behind the last one.
    lanes: SmallVec<[(usize, LaneId); 1]>,
    end: usize,
    /// The lane of the last message.
    lane: Option<LaneId>,
}

impl Waiting {
    /// How many publishes there are.
    pub fn count(&self) -> usize {
        self.messages
    }

    /// The message of that index is of that lane.
    #[inline]
    fn note_lane(&mut self, index: usize, lane: LaneId) {
        self.end = index + 1;
        if self.lane != Some(lane) {
            self.lane = Some(lane);
            self.lanes.push((index, lane));
        }
    }

    /// Whose message that index is; none: nobody published it in this flush.
    fn lane_of(&self, index: usize) -> Option<LaneId> {
        let begun = self.lanes.iter().rev().find(|(first, _)| *first <= index);
        begun.filter(|_| index < self.end).map(|(_, lane)| *lane)
    }

    /// Adds the confirm of a publish that has happened before.
    fn answer_done(&mut self, queued: QueuedPublish) {
        let QueuedPublish { lane, number, publish, done, .. } = queued;
        let Some(confirmed) = done else { return };
        self.is_done_before = true;
        let is_returned = matches!(confirmed, ConfirmOutcome::Unroutable(_));
        if publish.confirm || publish.mandatory && is_returned {
            self.confirms.push(Confirm { lane, number, confirmed });
            self.indices.push(usize::MAX);
        }
    }
}

impl Session {
    /// True while publishes are held back.
    fn is_held(&self) -> bool {
        if self.status.internal {
            return false;
        }
        let shared = self.broker.shared();
        shared.pressure.holds_publishers()
            || self.status.waits_for.as_ref().is_some_and(Hold::lasts)
            || self.inbox.uncommitted.load(Ordering::Acquire) > shared.settings.session_share()
    }

    /// Routes and appends all that was queued, on this task. While publishing is held back, publishes stay queued.
    /// Call it after every turn.
    pub fn flush(&mut self) {
        if self.vhost.holds.full.load(Ordering::Acquire) > 0 {
            self.look_ahead();
        }
        match self.batch.publishes.is_empty() || self.is_free(Self::is_held) {
            true => self.flush_some(),
            false => self.hold(),
        }
    }

    /// Publishes stay queued, and count as memory that is kept.
    fn hold(&mut self) {
        let bytes = self.batch.bytes;
        match &self.batch.held {
            Some(held) => held.set(bytes),
            None => {
                let budget = &self.broker.shared().pressure.memory.budget;
                self.batch.held = Some(budget.charge(Account::Kept, bytes));
            }
        }
        if self.broker.shared().pressure.holds_publishers() {
            self.flush_clearing();
        }
        self.flush_ops();
    }

    /// Publishes that clear a retained value make room, so they are not held back with the others, unless one in front
    /// of them is for the same topic. Their confirms stay in their places.
    fn flush_clearing(&mut self) {
        let vhost = self.vhost.clone();
        let shared = self.broker.shared().clone();
        let context = Context { shared: &shared, vhost: &vhost, now: shared.now() };
        let mut publishes = std::mem::take(&mut self.batch.publishes);
        let (looked_at, mut topics) = std::mem::take(&mut self.batch.looked_at);
        let mut waiting = Waiting::default();
        let mut cleared = Vec::new();
        for (at, queued) in publishes.iter_mut().enumerate().skip(looked_at) {
            let message = &queued.publish.message;
            let clears = context.retains(message) && message.body().is_empty();
            if !clears || topics.contains(message.address()) {
                if !topics.contains(message.address()) {
                    topics.insert(message.address().clone());
                }
                continue;
            }
            if cleared.is_empty() {
                self.touch();
            }
            let (publish, memo) = (queued.publish.clone(), queued.memo.take());
            let publish = Publish { confirm: true, ..publish };
            let index =
                self.publish_one(context, (queued.lane, queued.number), publish, &mut waiting);
            if let (Some(index), Some(memo)) = (index, memo) {
                waiting.memos.push((index, memo));
            }
            cleared.push(at);
        }
        self.batch.looked_at = (publishes.len(), topics);
        if !cleared.is_empty() {
            self.turn.run(context);
            self.store_memos(&mut waiting);
            self.answer_refusals(&mut waiting);
            for (at, confirm) in cleared.into_iter().zip(waiting.confirms) {
                if let Some(queued) = publishes.get_mut(at) {
                    queued.done = Some(confirm.confirmed);
                }
            }
            self.finish(context, None);
        }
        self.batch.publishes = publishes;
        self.answer_done(context);
    }

    /// Those in front that have happened are answered now.
    fn answer_done(&mut self, context: Context<'_>) {
        let mut waiting = Waiting::default();
        while let Some(queued) = self.batch.publishes.pop_front_if(|queued| queued.done.is_some()) {
            self.batch.looked_at.0 = self.batch.looked_at.0.saturating_sub(1);
            let weight = queued.publish.message.weight();
            self.batch.bytes = self.batch.bytes.saturating_sub(weight);
            waiting.answer_done(queued);
        }
        if waiting.is_done_before {
            self.touch();
            self.conclude(context, waiting);
        }
    }

    /// Memos of messages are stored with them; what was refused was not received.
    fn store_memos(&mut self, waiting: &mut Waiting) {
        for (index, memo) in std::mem::take(&mut waiting.memos) {
            if self.turn.refusal(index).is_none() {
                self.memo_one(memo);
            }
        }
    }

    /// Confirms of refused messages say so.
    fn answer_refusals(&mut self, waiting: &mut Waiting) {
        if self.turn.refusals() == 0 {
            return;
        }
        for (confirm, index) in waiting.confirms.iter_mut().zip(&waiting.indices) {
            let is_returned = matches!(confirm.confirmed, ConfirmOutcome::Unroutable(_));
            if let Some(why) = self.turn.refusal(*index)
                && !is_returned
            {
                confirm.confirmed = ConfirmOutcome::Refused(why.clone());
            }
        }
        self.turn.told(&waiting.indices);
        let untold: Vec<usize> = self.turn.untold().collect();
        for lane in untold.into_iter().filter_map(|index| waiting.lane_of(index)) {
            self.note_dropped(lane);
        }
    }

    fn note_dropped(&mut self, lane: LaneId) {
        if let Some(lane) = self.lane_mut(lane) {
            lane.counts.note(LaneEvent::Dropped);
        }
    }

    /// True when the last flush left publishes for the next one, because of what others have to do in between, and not
    /// because they are held back: the caller lets others have their turn, and flushes again after
    /// [`Session::events`], which does not wait then.
    pub fn has_more(&self) -> bool {
        self.status.has_more
    }

    /// True when `is_held` does not hold this session back. Otherwise the end of that wakes [`Session::events`].
    pub(super) fn is_free(&mut self, is_held: fn(&Self) -> bool) -> bool {
        if is_held(self) {
            // Noted before it is checked again: whoever ends the hold in between finds the note.
            self.inbox.held.store(true, Ordering::Release);
            self.broker.shared().pressure.hold(&self.inbox);
            if let Some(hold) = &self.status.waits_for {
                hold.register(&self.inbox);
            }
            if is_held(self) {
                self.tell_blocked();
                return false;
            }
        }
        self.inbox.held.store(false, Ordering::Release);
        true
    }

    /// Some content route is full, or some plugin has more to do than it can: publishes that would go there are held
    /// back, also the first ones of a session.
    #[cold]
    fn look_ahead(&mut self) {
        let waits = self.status.waits_for.as_ref().is_some_and(Hold::lasts);
        if self.status.internal || waits {
            return;
        }
        let crowd = self.full_crowd();
        self.status.waits_for = crowd.map(Hold::Crowd).or_else(|| self.full_route());
    }

    fn full_route(&self) -> Option<Hold> {
        let (shared, vhost) = (self.shared(), self.vhost.clone());
        let formats = &shared.formats;
        let full = self.batch.publishes.iter().find_map(|queued| {
            let message = &queued.publish.message;
            let fields = || message.fields(formats);
            let (route, _) =
                vhost.route((message.address(), &message.meta().origin), &fields, |_| ()).ok()?;
            let mut paths = route.content.into_iter().map(|hit| hit.path);
            paths.find(|path| path.is_full() && path.wants(message, formats))
        });
        full.map(Hold::Route)
    }

    /// What reaches a plugin's exchange through another one is not held back, and waits for its turn there.
    fn full_crowd(&self) -> Option<Arc<Crowd>> {
        let topology = self.vhost.topology.read();
        self.batch.publishes.iter().find_map(|queued| {
            let asked = topology.asked(&queued.publish.message.address().exchange)?;
            self.vhost.holds.crowds.full_of(asked.kind())
        })
    }

    /// Publishes of this session filled the queue of a content route: it is held back until there is room.
    fn note_full_routes(&mut self) {
        if !self.turn.fed().is_empty() {
            let full = self.turn.fed().iter().find(|route| route.mark_full());
            self.status.waits_for = full.cloned().map(Hold::Route);
        }
    }

    fn tell_blocked(&mut self) {
        if !self.status.told_blocked && self.broker.shared().pressure.holds_publishers() {
            self.status.told_blocked = true;
            self.inbox.notice(Notice::Blocked(true));
        }
    }

    /// Submits what settles left to be stored, without the publishes.
    pub(super) fn flush_ops(&mut self) {
        let shared = self.broker.shared().clone();
        self.touch();
        self.note_memos();
        let vhost = self.vhost.clone();
        let context = Context { shared: &shared, vhost: &vhost, now: shared.now() };
        self.turn.run(context);
        self.finish(context, None);
    }

    /// Tells snapshots, and a connection that may take the session over, that memory is ahead of the journal until
    /// [`Session::finish`].
    pub(super) fn touch(&mut self) {
        if self.open_turn.is_none() {
            self.open_turn = Some(self.broker.shared().open_turns.enter());
            self.inbox.open.store(true, Ordering::SeqCst);
        }
    }

    pub(super) fn finish(&mut self, context: Context<'_>, ticket: Option<Ticket>) {
        self.turn.finish(context, ticket);
        if let Some(turn) = self.open_turn.take() {
            self.inbox.open.store(false, Ordering::SeqCst);
            context.shared.open_turns.leave(turn);
        }
    }

    /// True while no other connection has taken the session's name. Asked once in a turn, after [`Session::touch`]:
    /// whoever takes it waits for the end of the turn.
    fn is_mine(&self) -> bool {
        self.has_its_name()
    }

    /// Flushes everything that is queued, held back or not, turn by turn.
    pub(super) async fn flush_all(&mut self) {
        if !self.batch.publishes.is_empty() {
            self.wait_for_share().await;
        }
        self.flush_some();
        while self.status.has_more {
            tokio::task::yield_now().await;
            self.wait_for_share().await;
            self.flush_some();
        }
    }

    /// While this session has more than its share on the way to the store, others wait for that: it does, too.
    async fn wait_for_share(&mut self) {
        let shared = self.shared();
        let share = shared.settings.session_share();
        if !self.status.internal && self.inbox.uncommitted.load(Ordering::Acquire) > share {
            // A store that has failed takes nothing more, and says so to each confirm.
            let _ = shared.committer.sync(Unit::default()).await;
        }
    }

    /// Flushes as much of what is queued as one turn may do, held back or not.
    pub(super) fn flush_some(&mut self) {
        self.status.has_more = false;
        if self.batch.publishes.is_empty() {
            return self.flush_ops();
        }
        self.touch();
        let shared = self.broker.shared().clone();
        let vhost = self.vhost.clone();
        let context = Context { shared: &shared, vhost: &vhost, now: shared.now() };
        let mut batch = std::mem::take(&mut self.batch.publishes);
        self.note_memos();
        let mut waiting = self.publish_all(context, &mut batch);
        self.batch.publishes = batch;
        self.batch.bytes = match self.batch.publishes.is_empty() {
            true => 0,
            false => self.batch.bytes.saturating_sub(waiting.weight),
        };
        self.batch.held = None;
        if self.batch.looked_at.0 > 0 {
            self.batch.looked_at = Default::default();
        }
        if !self.batch.publishes.is_empty() {
            self.status.has_more = true;
            self.inbox.wake();
        }
        self.turn.run(context);
        self.store_memos(&mut waiting);
        self.conclude(context, waiting);
    }

    /// Takes publishes to where their routes lead, in a transaction all of them, otherwise as many as one turn may;
    /// nothing is appended before the turn runs.
    pub(super) fn publish_all(
        &mut self,
        context: Context<'_>,
        batch: &mut VecDeque<QueuedPublish>,
    ) -> Waiting {
        let mut waiting = Waiting::default();
        let is_mine = self.is_mine();
        while !self.turn.is_full() || self.turn.all_or_nothing {
            let Some(queued) = batch.pop_front() else { break };
            waiting.weight += queued.publish.message.weight();
            if queued.done.is_some() {
                waiting.answer_done(queued);
                continue;
            }
            let QueuedPublish { lane, number, publish, memo, .. } = queued;
            if memo.is_some() && !is_mine {
                // The connection that has the session now does not know of it: its client will send it again.
                continue;
            }
            let index = self.publish_one(context, (lane, number), publish, &mut waiting);
            if let (Some(index), Some(memo)) = (index, memo) {
                waiting.memos.push((index, memo));
            }
        }
        waiting
    }

    fn note_memos(&mut self) {
        if self.batch.memos.is_empty() {
            return;
        }
        let (memos, is_mine) = (std::mem::take(&mut self.batch.memos), self.is_mine());
        memos.into_iter().filter(|_| is_mine).for_each(|memo| self.memo_one(memo));
    }

    pub(super) fn memo_one(&mut self, memo: Memo) {
        let Some(named) = &self.named else { return };
        let durable = named.is_durable();
        if durable {
            self.turn.unit().ops.memo(named.id, &memo.key, memo.value.as_ref());
        }
        let budget = &self.vhost.limits.budget;
        named.with(|state| state.set_memo(memo.key, memo.value, budget));
    }

    /// The message's index in the turn, if it has a route.
    fn publish_one(
        &mut self,
        context: Context<'_>,
        (lane, number): (LaneId, u64),
        publish: Publish,
        waiting: &mut Waiting,
    ) -> Option<usize> {
        let Publish { message, confirm, mandatory, can_refuse, aside } = publish;
        waiting.bytes += message.size();
        waiting.messages += 1;
        let terms = match self.turn.all_or_nothing || confirm && can_refuse {
            true => Terms::Refusable,
            false => Terms::Untold,
        };
        let (what, is_answered) =
            ((&message, aside.as_deref()), confirm || terms == Terms::Refusable);
        let (taken, index, confirmed) = match self.routes_of(context, what, is_answered) {
            Ok(resolved) => {
                let taken = self.take_or_keep(context, what, &resolved.route, terms);
                waiting.note_lane(taken.index, lane);
                let is_unroutable = |turn: &Turn| {
                    let refusal = turn.refusal(taken.index);
                    refusal.is_some_and(|why| why.kind() == ErrorKind::Unroutable)
                };
                match taken.routed {
                    _ if mandatory && is_unroutable(&self.turn) => {
                        (Some(taken.index), taken.index, ConfirmOutcome::Unroutable(message))
                    }
                    true if confirm => (Some(taken.index), taken.index, ConfirmOutcome::Stored),
                    false if confirm || mandatory => {
                        (Some(taken.index), usize::MAX, ConfirmOutcome::Unroutable(message))
                    }
                    _ => return Some(taken.index),
                }
            }
            Err(why) => {
                context.vhost.count_refused(message.address());
                if why.kind() == ErrorKind::LimitReached {
                    let visited = context.vhost.limits.max(Limit::ExchangesVisited);
                    self.turn.worked(visited / STEPS_OF_AN_EFFECT);
                }
                waiting.no_route.get_or_insert_with(|| why.clone());
                if terms == Terms::Untold && why.kind() == ErrorKind::Unavailable {
                    let number = confirm.then_some(number);
                    let kept = self.keep_dead(context, (lane, number), (&message, &why), waiting);
                    if kept.is_some() {
                        return kept;
                    }
                }
                let is_denied = why.kind() == ErrorKind::Refused;
                let tells = is_denied && self.status.tells_denied;
                if terms == Terms::Untold && !tells {
                    self.note_dropped(lane);
                    context.vhost.note_untold(message.address(), &why);
                }
                match (confirm || tells, can_refuse || !is_denied || tells) {
                    (false, _) => return None,
                    (true, true) => (None, usize::MAX, ConfirmOutcome::Refused(why)),
                    // Its protocol has no word for no: it is taken, and dropped.
                    (true, false) => (None, usize::MAX, ConfirmOutcome::Stored),
                }
            }
        };
        waiting.confirms.push(Confirm { lane, number, confirmed });
        waiting.indices.push(index);
        taken
    }

    /// Sends a message that an exchange's plugin could not route to the dead-letter address, as its publisher
    /// expects no answer. Returns its index in the turn; none: no queue is bound there. `number`: of its confirm,
    /// if it wants one.
    #[cold]
    fn keep_dead(
        &mut self,
        context: Context<'_>,
        (lane, number): (LaneId, Option<u64>),
        (message, why): (&Message, &Error),
        waiting: &mut Waiting,
    ) -> Option<usize> {
        let taken = self.turn.publish_dead(context, message, why)?;
        waiting.note_lane(taken.index, lane);
        if let Some(number) = number {
            waiting.confirms.push(Confirm { lane, number, confirmed: ConfirmOutcome::Stored });
            waiting.indices.push(taken.index);
        }
        Some(taken.index)
    }

    /// Answers: now, or with the unit when something of this flush or of an earlier one is not stored yet.
    pub(super) fn conclude(&mut self, context: Context<'_>, mut waiting: Waiting) {
        self.answer_refusals(&mut waiting);
        let Waiting { confirms, bytes, messages, is_done_before, .. } = waiting;
        self.note_full_routes();
        let behind = is_done_before || self.inbox.outstanding.load(Ordering::Acquire) > 0;
        if self.turn.is_durable() || behind && !confirms.is_empty() {
            let further = self.turn.records().saturating_sub(messages);
            let bytes = if self.turn.is_durable() { bytes + further * RECORD_BYTES } else { 0 };
            let ticket = Ticket { inbox: self.inbox.clone(), confirms, bytes };
            self.finish(context, Some(ticket));
            return;
        }
        if !confirms.is_empty() {
            self.inbox.confirm(confirms);
            self.inbox.wake();
        }
        self.finish(context, None);
    }

    /// The route of an address, remembered as long as nothing that concerns it changes.
    pub(super) fn route(
        &mut self,
        context: Context<'_>,
        message: &Message,
        is_answered: bool,
    ) -> Result<Arc<Resolved>, Error> {
        let address = message.address();
        let caches = (&context.vhost.routes, &context.vhost.generations);
        let retains = context.retains(message) && !self.turn.all_or_nothing;
        if !retains && let Some(route) = self.routes.get(address, caches.1) {
            return Ok(route);
        }
        let separators = if address.is_queue() { 0 } else { address.key.separators() };
        context.shared.settings.check_topic(address.key.bytes().len(), separators)?;
        // Read before rights are: a route is not remembered beyond a change of them.
        let stamp = context.vhost.generations.stamp(&address.key);
        self.check_write(address)?;
        if !retains && let Some(route) = self.routes.share(address, stamp, caches) {
            return Ok(route);
        }
        let fields = || message.fields(&context.shared.formats);
        let (turn, mut refusal) = (&mut self.turn, None);
        let retain = |route: &Route| {
            // Routes that watch the address have their turn before anything is retained there.
            if retains && !route.is_watched() {
                match context.retain(message) {
                    Ok(change) => turn.note_retained(change),
                    Err(why) => refusal = Some(why),
                }
            }
        };
        let (route, cacheable) =
            context.vhost.route((address, &message.meta().origin), &fields, retain)?;
        // Where nobody waits for an answer, a message is delivered that cannot be retained.
        if let Some(why) = refusal.filter(|_| is_answered) {
            return Err(why);
        }
        self.turn.worked(route.steps / STEPS_OF_AN_EFFECT);
        let remembers = cacheable && !retains;
        // A copy: the key may be a part of a read buffer.
        let address = if remembers { address.detached() } else { address.clone() };
        let resolved = Arc::new(Resolved { address, stamp, route });
        if remembers {
            self.routes.put(&resolved, caches);
        }
        Ok(resolved)
    }
}
