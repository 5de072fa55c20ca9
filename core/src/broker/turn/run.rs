//! One flush's way through the broker: routes are followed, records appended queue by queue, deliveries handed over,
//! what left queues is moved, and what has to be durable becomes one [`Unit`].
//!
//! No lock is held between the steps, and each queue is locked once for all of a flush's messages to it.

use super::context::Context;
use super::dead_letter;
use super::retained::Kept;
use crate::broker::journal::unit::{Placed, Ticket, Unit, Why};
use crate::broker::shared::loads::Load;
use crate::broker::shared::timers::TimerEvent;
use crate::broker::vhost::host::{ContentHit, Route, SessionHit};
use crate::broker::vhost::inbox::Inbox;
use crate::broker::vhost::named::Named;
use crate::broker::vhost::queue::{Aftermath, Queue, QueueState};
use crate::error::{Error, ErrorKind};
use crate::exchange::{LogId, Tags};
use crate::log::{Offset, Overflow};
use crate::message::{Address, Message, Reason, Timestamp};
use crate::subscription::{Arrival, ConsumerId, Delivery, Move};
use crate::transform::{Cost, Mode};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Messages go through so many routes and moves at most.
pub const HOPS_MAX: u8 = 32;

/// Messages for one queue: index in the turn, and tags.
type Arriving = Vec<(usize, Tags)>;

/// A turn's working set; reused, so that the steady state allocates little.
#[derive(Default)]
pub struct Turn {
    messages: Vec<Message>,
    arrivals: Vec<(Arc<Queue>, Arriving)>,
    direct: Vec<(Arc<Inbox>, Vec<Delivery>)>,
    /// Messages in durable queues: index, queue, offset, tags.
    placed: Vec<(usize, Arc<Queue>, Offset, Tags)>,
    /// Refused messages and why.
    refused: Vec<(usize, Error)>,
    /// Retained values that messages of this turn became.
    kept: Vec<Kept>,
    /// So many messages were let in as a whole before: queues take them whatever their limits.
    admitted: usize,
    unit: Unit,
    pub after: Aftermath,
}

/// What became of a message as far as routing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its index in this turn.
    pub index: usize,
    /// Something was bound for it.
    pub routed: bool,
}

impl Turn {
    /// Takes a message to where its route leads.
    pub fn publish(&mut self, context: Context<'_>, message: Message, route: &Route) -> Taken {
        let index = self.messages.len();
        context.shared.charge(&message);
        self.messages.push(message.clone());
        let mut routed = false;
        let mut diverted: Vec<&ContentHit> = Vec::new();
        for hit in &route.content {
            if hit.path.wants(&message, &context.shared.formats) {
                routed = true;
                self.enter(context, hit, index, &message);
                diverted.push(hit);
            }
        }
        for queue in &route.queues {
            if !diverted.iter().any(|hit| hit.diverts(queue)) {
                routed = true;
                self.arrive(queue, index, Tags::default());
            }
        }
        if !diverted.iter().any(|hit| hit.diverts_all()) {
            for hit in &route.sessions {
                routed |= self.reach(hit, index, &message);
            }
        }
        Taken { index, routed }
    }

    fn arrive(&mut self, queue: &Arc<Queue>, index: usize, tags: Tags) {
        // A flush mostly goes to few queues; the last one is the likeliest.
        match self.arrivals.iter_mut().rev().take(16).find(|(q, _)| Arc::ptr_eq(q, queue)) {
            Some((_, list)) => list.push((index, tags)),
            None => self.arrivals.push((queue.clone(), vec![(index, tags)])),
        }
    }

    /// Level 0 goes straight to a connected session, now or never; higher levels to its queue.
    fn reach(&mut self, hit: &SessionHit, index: usize, message: &Message) -> bool {
        let inbox = hit.session.inbox();
        let is_own = inbox.as_ref().is_some_and(|i| Arc::ptr_eq(&i.origin, &message.meta().origin));
        let tags = match (is_own, &hit.own_tags) {
            (false, _) => &hit.tags,
            (true, Some(tags)) => tags,
            (true, None) => return false,
        };
        self.give(&hit.session, inbox, index, (message, tags.clone()))
    }

    fn give(
        &mut self,
        session: &Named,
        inbox: Option<Arc<Inbox>>,
        index: usize,
        (message, tags): (&Message, Tags),
    ) -> bool {
        if message.meta().level.min(tags.level()) > 0 {
            let queue = session.queue();
            let is_there = queue.is_some();
            queue.into_iter().for_each(|queue| self.arrive(&queue, index, tags.clone()));
            return is_there;
        }
        let Some(inbox) = inbox else { return true };
        let delivery = direct(message, tags);
        match self.direct.iter_mut().find(|(i, _)| Arc::ptr_eq(i, &inbox)) {
            Some((_, list)) => list.push(delivery),
            None => self.direct.push((inbox, vec![delivery])),
        }
        true
    }

    /// A retained value for a session that just bound.
    pub fn replay(&mut self, context: Context<'_>, session: &Named, message: &Message, tags: Tags) {
        context.shared.charge(message);
        let index = self.messages.len();
        self.messages.push(message.clone());
        self.give(session, session.inbox(), index, (message, tags));
    }

    /// A retained value for a queue that was just bound.
    pub fn replay_into(
        &mut self,
        context: Context<'_>,
        queue: &Arc<Queue>,
        message: &Message,
        tags: Tags,
    ) {
        context.shared.charge(message);
        let index = self.messages.len();
        self.messages.push(message.clone());
        self.arrive(queue, index, tags);
    }

    /// The message goes into a content route: now, or through the route's queue.
    fn enter(&mut self, context: Context<'_>, hit: &ContentHit, index: usize, message: &Message) {
        let path = hit.path.clone();
        match path.route.transform.cost() {
            Cost::Queued => {
                if let Some(queue) = path.queue() {
                    self.arrive(&queue, index, Tags::default());
                }
            }
            Cost::Inline => {
                let shared = context.shared;
                let result = path.run(message, &shared.formats, &shared.settings.dead_letter);
                if let Some(why) = result.refused {
                    self.refused.push((index, why));
                }
                let passes = result.passes && path.route.mode != Mode::Tap;
                let original = passes.then(|| path.marked(message));
                for output in result.outputs.into_iter().chain(original) {
                    self.send(context, output);
                }
            }
        }
    }

    /// A message of the broker's own making: routed by its address.
    pub fn send(&mut self, context: Context<'_>, message: Message) {
        if message.meta().hops >= HOPS_MAX {
            tracing::warn!(address = %message.address(), "message dropped: too many hops");
            return;
        }
        if let Some((route, kept)) = route_of(context, message.address(), &message) {
            self.kept.extend(kept);
            self.publish(context, message, &route);
        }
    }

    /// Appends and dispatches until nothing is left to do.
    pub fn run(&mut self, context: Context<'_>) {
        loop {
            self.place(context);
            self.encode(context.now);
            let mut ops = std::mem::take(&mut self.after.ops);
            self.unit.ops.append(&mut ops);
            for (queue, left) in std::mem::take(&mut self.after.moves) {
                self.moved(context, &queue, left);
            }
            for id in std::mem::take(&mut self.after.queues) {
                if let Some(queue) = context.vhost.queue_by_id(id) {
                    let now = context.now;
                    queue.step(&mut self.after, |state, effects| state.sub.dispatch(now, effects));
                }
            }
            let more = !self.arrivals.is_empty()
                || !self.direct.is_empty()
                || !self.after.moves.is_empty()
                || !self.after.queues.is_empty()
                || !self.after.ops.is_empty();
            if !more {
                return;
            }
        }
    }

    /// Hands over and appends what was routed so far; what comes of that is for [`Turn::run`]. It looks at no topology.
    pub fn place(&mut self, context: Context<'_>) {
        // Level 0 goes first: it never waits, so nothing of a higher level that was published behind it in this flush
        // overtakes it.
        for (inbox, list) in self.direct.drain(..) {
            inbox.deliver_direct(list.into_iter());
            self.after.wake(&inbox);
        }
        self.append(context);
    }

    /// Lets all in that was published in this turn so far, whatever the queues' limits will be by then; or says why
    /// that cannot be (`astray`: one has no route), and forgets it. Nobody has seen any of it before [`Turn::run`].
    pub fn admit(&mut self, astray: Option<Error>) -> Result<(), Error> {
        let refused = astray.or_else(|| self.refused.first().map(|(_, why)| why.clone()));
        let admitted = match refused {
            Some(why) => Err(why),
            None => self.wanted().into_iter().try_for_each(|(queue, messages, bytes)| {
                let admits =
                    |state: &mut QueueState| state.deleted || state.sub.admits(messages, bytes);
                if queue.look(admits) { Ok(()) } else { Err(full(queue)) }
            }),
        };
        self.admitted = self.messages.len();
        if admitted.is_err() {
            self.arrivals.clear();
            self.direct.clear();
            self.messages.clear();
            self.refused.clear();
            self.admitted = 0;
        }
        admitted
    }

    /// Each queue once, with how many messages arrive there, and their bytes.
    fn wanted(&self) -> Vec<(&Arc<Queue>, u64, u64)> {
        let mut wanted: BTreeMap<LogId, (&Arc<Queue>, u64, u64)> = BTreeMap::new();
        for (queue, list) in &self.arrivals {
            let entry = wanted.entry(queue.id).or_insert((queue, 0, 0));
            entry.1 += list.len() as u64;
            let sizes = list.iter().filter_map(|(index, _)| self.messages.get(*index));
            entry.2 += sizes.map(|message| message.size() as u64).sum::<u64>();
        }
        wanted.into_values().collect()
    }

    /// What was admitted becomes retained values, where it asks for that.
    pub fn keep_admitted(&mut self, context: Context<'_>) {
        for message in self.messages.iter().take(self.admitted).filter(|m| context.keeps(m)) {
            context.keep(message);
        }
    }

    /// A message that is about to be published has become a retained value.
    pub fn kept(&mut self, kept: Kept) {
        self.kept.push(kept);
    }

    /// Values whose messages were refused are set back.
    fn unkeep_refused(&mut self, context: Context<'_>) {
        // The newest first: each is set back to the one before it.
        for kept in std::mem::take(&mut self.kept).into_iter().rev() {
            let mut refused =
                self.refused.iter().filter_map(|(index, _)| self.messages.get(*index));
            if refused.any(|message| message.is(&kept.message)) {
                context.unkeep(kept);
            }
        }
    }

    fn append(&mut self, context: Context<'_>) {
        let (now, admitted) = (context.now, self.admitted);
        let mut arrivals = std::mem::take(&mut self.arrivals);
        for (queue, list) in arrivals.drain(..) {
            let (messages, placed, refused) = (&self.messages, &mut self.placed, &mut self.refused);
            let is_durable = queue.is_durable();
            queue.step(&mut self.after, |state, effects| {
                if state.deleted {
                    return;
                }
                for (index, tags) in list {
                    let Some(message) = messages.get(index).cloned() else { continue };
                    let size = u32::try_from(message.size()).unwrap_or(u32::MAX);
                    if index >= admitted && !state.sub.admits(1, u64::from(size)) {
                        if state.sub.rules.limits.overflow == Overflow::RejectNewDeadLetter {
                            effects.moves.push(Move {
                                offset: Offset(u64::MAX),
                                message,
                                reason: Reason::MaxLength,
                                detail: None,
                                durable: false,
                            });
                        }
                        refused.push((index, full(&queue)));
                        continue;
                    }
                    // Level 2 is once only, also after a crash: its number must not be given again.
                    let once = message.meta().level.min(tags.level()) > 1;
                    let durable = is_durable && (message.meta().durable || once);
                    let kept = durable.then(|| tags.clone());
                    let offset = state.sub.append(Arrival { message, tags, durable }, now);
                    if let Some(tags) = kept {
                        placed.push((index, queue.clone(), offset, tags));
                    }
                }
                state.sub.dispatch(now, effects);
            });
        }
        self.arrivals = arrivals;
    }

    /// Durable records become operations: each message once, with all its places.
    fn encode(&mut self, now: Timestamp) {
        if self.placed.is_empty() {
            return;
        }
        self.placed.sort_by_key(|(index, ..)| *index);
        for group in self.placed.chunk_by(|a, b| a.0 == b.0) {
            let Some(message) = group.first().and_then(|(i, ..)| self.messages.get(*i)) else {
                continue;
            };
            let places = group.iter().map(|(_, queue, offset, tags)| (queue.id, *offset, tags));
            let index = self.unit.ops.record((message, now), places);
            self.unit.placed.extend(group.iter().map(|(_, queue, offset, _)| Placed {
                queue: queue.clone(),
                offset: *offset,
                index,
                why: Why::New,
            }));
        }
        self.placed.clear();
    }

    /// A record left its queue: its removal and, if it has somewhere to go, its new place are in the same unit.
    fn moved(&mut self, context: Context<'_>, queue: &Queue, left: Move) {
        if left.durable {
            self.unit.ops.settle(queue.id, &[left.offset]);
        }
        let Some(message) = dead_letter::dead_letter(queue, &left, context.now) else { return };
        let Some((mut route, _)) = route_of(context, message.address(), &message) else { return };
        route.queues.retain(|target| !dead_letter::is_cycle(&target.name, &message));
        self.publish(context, message, &route);
    }

    /// Why that message was refused.
    pub fn refusal(&self, index: usize) -> Option<&Error> {
        self.refused.iter().find(|(i, _)| *i == index).map(|(_, why)| why)
    }

    /// Operations of this turn's unit.
    pub fn unit(&mut self) -> &mut Unit {
        &mut self.unit
    }

    /// True when something of this turn has to be stored; retained values are on their way already.
    pub fn is_durable(&self) -> bool {
        !self.unit.ops.is_empty() || !self.kept.is_empty()
    }

    /// Submits the unit, with its ticket, wakes whom this turn reached, and is ready for the next one.
    pub fn finish(&mut self, context: Context<'_>, ticket: Option<Ticket>) {
        if !self.kept.is_empty() {
            self.unkeep_refused(context);
        }
        self.messages.clear();
        self.refused.clear();
        self.admitted = 0;
        let mut unit = std::mem::take(&mut self.unit);
        unit.ticket = ticket;
        unit.ops.freed.append(&mut self.after.freed);
        context.shared.committer.submit(unit);
        for (queue, wanted) in self.after.loads.drain(..) {
            context.shared.loads.ask(Load { vhost: context.vhost.clone(), queue, wanted });
        }
        for (queue, due) in self.after.alarms.drain(..) {
            context
                .shared
                .timers
                .set(due, TimerEvent::RecordExpires(context.vhost.name.clone(), queue));
        }
        for inbox in self.after.wake.drain(..) {
            inbox.wake();
        }
    }
}

/// Where an address leads, without a cache, and the retained value that the message became; none when its exchange is
/// gone.
pub fn route_of(
    context: Context<'_>,
    address: &Address,
    message: &Message,
) -> Option<(Route, Option<Kept>)> {
    let fields = || message.fields(&context.shared.formats).clone();
    let mut kept = None;
    let keep = || kept = context.keeps(message).then(|| context.keep(message));
    let (route, _) = context.vhost.route(address, &fields, keep).ok()?;
    Some((route, kept))
}

fn full(queue: &Queue) -> Error {
    Error::new(ErrorKind::Full, format!("queue '{}' is full", queue.name))
}

fn direct(message: &Message, tags: Tags) -> Delivery {
    Delivery {
        consumer: ConsumerId::DIRECT,
        offset: Offset(0),
        message: message.clone(),
        attempts: 0,
        redelivered: false,
        retained: tags.is_retained(),
        tags,
    }
}
