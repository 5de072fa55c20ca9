//! One flush's way through the broker: routes are followed, records appended queue by queue, deliveries handed over,
//! what left queues is moved, and what has to be durable becomes one [`Unit`].
//!
//! No lock is held between the steps, and each queue is locked once for all of a flush's messages to it.

use super::context::Context;
use super::delayed::Delayed;
use super::published::Published;
use super::receivers::Receivers;
use super::refusals::Refusals;
use super::removal::{watch_head, watch_settling};
use super::retained::RetainedChange;
use crate::broker::journal::unit::{Ticket, Unit};
use crate::broker::shared::loads::Load;
use crate::broker::vhost::content_path::ContentPath;
use crate::broker::vhost::drops::DropReason;
use crate::broker::vhost::inbox::Inbox;
use crate::broker::vhost::queue::{Aftermath, Queue};
use crate::error::Error;
use crate::exchange::Tags;
use crate::exchange::recent_history::History;
use crate::log::Offset;
use crate::message::Message;
use crate::subscription::{CameBy, Delivery, Departure};
use rustc_hash::FxHashSet;
use std::sync::Arc;

/// A message on its way into a queue.
#[derive(Debug, Clone)]
pub(super) struct Arriving {
    /// Its index in the turn.
    pub index: usize,
    pub tags: Tags,
    pub terms: Terms,
}

/// What a full queue does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terms {
    /// It was admitted together with others: the queue takes it whatever its limits are by then.
    Admitted,
    /// It is refused, and its publisher is told so.
    Refusable,
    /// Its publisher gets no negative answer: it goes to the queue's dead-letter address, if there is one.
    Untold,
}

/// What one turn does at most, about, before others have theirs: some milliseconds' worth. One message is never cut in
/// two, so one with more receivers than this has a turn of its own.
const WORK_MAX: usize = 4096;

/// A turn's working set; reused, so that the steady state allocates little.
#[derive(Default)]
pub struct Turn {
    pub(super) messages: Vec<Message>,
    pub(super) arrivals: Receivers<Queue, Arriving>,
    pub(super) direct: Receivers<Inbox, Delivery>,
    /// Messages in durable queues: index, queue, offset, tags.
    pub(super) placed: Vec<(usize, Arc<Queue>, Offset, Tags)>,
    pub(super) refused: Refusals,
    pub(super) published: Published,
    /// Retained values that messages of this turn became.
    pub(super) retained: Vec<RetainedChange>,
    pub(super) later: Later,
    /// What is published is a transaction, which can still be refused as a whole.
    pub all_or_nothing: bool,
    /// All that follows from what was done is a part of its unit: a transaction's.
    pub keeps_together: bool,
    /// What it publishes is moved by an operator, and counted so.
    pub moves: bool,
    /// Content routes whose queues got something.
    pub(super) fed: Vec<Arc<ContentPath>>,
    /// What this turn has done so far: messages, receivers, exchanges and header comparisons.
    pub(super) work: usize,
    pub(super) unit: Unit,
    pub after: Aftermath,
}

/// What happens when all of a turn is admitted.
#[derive(Default)]
pub(super) struct Later {
    /// Messages that become retained values when the transaction that they are part of is admitted.
    pub retained: Vec<Message>,
    /// Messages that wait for their time.
    pub delayed: Vec<Delayed>,
    /// Messages, by their index in the turn, that exchanges keep for bindings that are still to come.
    pub remembered: Vec<(usize, Arc<History>)>,
}

/// What routing made of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its index among the messages of this turn.
    pub index: usize,
    /// At least one binding or content route led somewhere.
    pub routed: bool,
}

impl Turn {
    /// Appends and dispatches until nothing is left to do.
    pub fn run(&mut self, context: Context<'_>) {
        loop {
            self.place(context);
            self.encode(context.now);
            let mut ops = std::mem::take(&mut self.after.ops);
            self.unit.ops.append(&mut ops);
            for (queue, left) in std::mem::take(&mut self.after.departures) {
                self.depart(context, queue, left);
            }
            if !self.after.woken.is_empty() {
                self.go_on(context);
            }
            let more = !self.arrivals.is_empty()
                || !self.direct.is_empty()
                || !self.after.departures.is_empty()
                || !self.after.woken.is_empty()
                || !self.after.ops.is_empty();
            if !more {
                return;
            }
        }
    }

    /// How a message comes to its queues.
    #[inline]
    pub(super) fn came_by(moves: bool, message: &Message) -> CameBy {
        match CameBy::of(message) {
            CameBy::Publish if moves => CameBy::Move,
            by => by,
        }
    }

    /// A record has left its queue: it goes where it is to go now, or behind those that wait for a turn.
    fn depart(&mut self, context: Context<'_>, queue: Arc<Queue>, left: Departure) {
        let departing = &context.vhost.departing;
        match self.keeps_together || !self.is_full() && departing.is_empty() {
            true => self.leave(context, &queue, left),
            false => departing.push((queue, left), || context.shared.open_turns.enter()),
        }
    }

    /// Consumers whose shared credit has come back get what waits for them, then those behind them in their pools.
    fn go_on(&mut self, context: Context<'_>) {
        let mut woken = std::mem::take(&mut self.after.woken).into_iter().peekable();
        while let Some(first) = woken.next() {
            let (id, now) = (first.queue, context.now);
            let Some(queue) = context.vhost.queue_by_id(id) else {
                // It was deleted.
                first.pool.pass_on(&mut self.after.woken);
                continue;
            };
            queue.change(&mut self.after, |state, effects| {
                effects.wake.push(first);
                effects.wake.extend(std::iter::from_fn(|| woken.next_if(|next| next.queue == id)));
                state.sub.dispatch(now, effects);
            });
        }
    }

    /// A message that is about to be published has become a retained value.
    pub fn note_retained(&mut self, change: RetainedChange) {
        self.retained.push(change);
    }

    /// Values whose messages were refused are set back.
    fn restore_refused(&mut self, context: Context<'_>) {
        let changes = std::mem::take(&mut self.retained);
        if self.refused.is_empty() {
            return;
        }
        let refused = self.refused.all().filter_map(|index| self.messages.get(index));
        let refused: FxHashSet<usize> = refused.map(Message::id).collect();
        // The newest first: each value is set back to the one before it.
        for change in changes.into_iter().rev() {
            if refused.contains(&change.message.id()) {
                context.restore(change);
            }
        }
    }

    /// Why that message was refused.
    pub fn refusal(&self, index: usize) -> Option<&Error> {
        self.refused.get(index)
    }

    /// The refusals of these messages are somebody's concern already.
    pub fn told(&mut self, indices: &[usize]) {
        self.refused.told(indices);
    }

    /// Indices of refused messages whose publishers get no answer.
    pub fn untold(&self) -> impl Iterator<Item = usize> {
        self.refused.untold().map(|(index, _)| index)
    }

    /// Counts as dropped the refused messages whose publishers get no answer.
    fn count_drops(&self, context: Context<'_>) {
        for (index, why) in self.refused.untold() {
            if let Some(message) = self.messages.get(index) {
                context.vhost.note_drop(DropReason::Refused, message.address(), why);
            }
        }
    }

    /// What was refused was not routed, after all.
    fn count_refusals(&mut self) {
        for index in self.refused.all() {
            if let Some(message) = self.messages.get(index) {
                self.published.refused(index, &message.address().exchange);
            }
        }
    }

    /// How many messages were refused.
    pub fn refusals(&self) -> usize {
        self.refused.len()
    }

    /// Content routes whose queues got something in this turn.
    pub fn fed(&self) -> &[Arc<ContentPath>] {
        &self.fed
    }

    /// It has done what one turn may do: what is left waits for the next one.
    pub fn is_full(&self) -> bool {
        self.work >= WORK_MAX
    }

    /// Records of this turn that are to be stored.
    pub fn records(&self) -> usize {
        self.unit.placed.len()
    }

    /// It has done more than that already.
    pub fn does_more_than(&self, work: usize) -> bool {
        self.work > work
    }

    /// Adds `steps` of routing to what this turn has done.
    pub fn worked(&mut self, steps: usize) {
        self.work += steps;
    }

    /// Operations of this turn's unit.
    pub fn unit(&mut self) -> &mut Unit {
        &mut self.unit
    }

    /// True when something of this turn has to be stored; retained values are on their way already.
    pub fn is_durable(&self) -> bool {
        !self.unit.ops.is_empty()
            || !self.retained.is_empty()
            || !self.later.delayed.is_empty() && self.delays_durably()
    }

    /// Submits the unit, with its ticket, wakes the connections that this turn reached, and is ready for the next one.
    pub fn finish(&mut self, context: Context<'_>, ticket: Option<Ticket>) {
        if !self.refused.is_empty() {
            self.count_drops(context);
            self.count_refusals();
        }
        self.published.count();
        if !self.retained.is_empty() {
            self.restore_refused(context);
        }
        if !self.later.remembered.is_empty() {
            self.remember_recent(context);
        }
        let parked = match self.later.delayed.is_empty() {
            true => Vec::new(),
            false => self.store_delays(context),
        };
        self.messages.clear();
        self.published.clear();
        self.refused.clear();
        self.later.retained.clear();
        self.fed.clear();
        self.work = 0;
        let mut unit = std::mem::take(&mut self.unit);
        unit.ticket = ticket;
        unit.ops.freed.append(&mut self.after.freed);
        context.shared.committer.submit(unit);
        if !parked.is_empty() {
            context.park(parked);
        }
        for (queue, wanted) in self.after.loads.drain(..) {
            context.shared.loads.ask(Load { vhost: context.vhost.clone(), queue, wanted });
        }
        for (queue, count) in self.after.crowded_out.drain(..) {
            context.shared.pressure.sleepers.note_dropped(&queue, count);
        }
        for (queue, due) in self.after.alarms.drain(..) {
            watch_head(context.shared, context.vhost, queue, due);
        }
        for (queue, ms) in self.after.awaited.drain(..) {
            watch_settling(context.shared, context.vhost, queue, context.now.plus(ms));
        }
        self.after.wake_all();
        // Pages of records have grown, perhaps.
        context.shared.pressure.memory.check();
    }
}
