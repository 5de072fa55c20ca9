//! The first step of a turn: messages are taken to where their routes lead.

use super::content::{Judged, Resumed};
use super::context::Context;
use super::dead_letter::{self, DeadLetter};
use super::failures::failure;
use super::plan::{Obstacle, Plan};
use super::redrive;
use super::retained::RetainedChange;
use super::run::{Arriving, Taken, Terms, Turn};
use crate::broker::vhost::content_path::{self, ContentPath};
use crate::broker::vhost::drops::DropReason;
use crate::broker::vhost::inbox::Inbox;
use crate::broker::vhost::named::Named;
use crate::broker::vhost::queue::Queue;
use crate::broker::vhost::route::{Route, SessionHit};
use crate::broker::vhost::route_counters::RouteEvent;
use crate::error::{Error, ErrorKind};
use crate::exchange::Tags;
use crate::log::Offset;
use crate::message::{Address, Key, Message, Value};
use crate::subscription::{ConsumerId, Delivery, Departure};
use crate::transform::FailureKind;
use std::sync::Arc;

impl Turn {
    /// Takes a message to where its route leads. `terms`: what a full queue does with it.
    pub fn publish(
        &mut self,
        context: Context<'_>,
        message: &Message,
        route: &Route,
        terms: Terms,
    ) -> Taken {
        let index = self.messages.len();
        context.shared.charge(message);
        self.messages.push(message.clone());
        self.work += 1 + route.receivers();
        // Where routes watch a topic, a value is retained when they have had their turn, whether or not they took it.
        let follows = || {
            meets_routes(context, message, route) || route.is_watched() && context.retains(message)
        };
        if let Some(histories) = &route.histories {
            self.will_remember(index, histories);
        }
        if !route.content.is_empty() && follows() {
            if let Some(exchange) = &route.exchange {
                self.published.entered(exchange);
            }
            let routed = self.follow_routes(context, (index, message), route, terms);
            if let Some(exchange) = &route.exchange {
                self.published.go_to(exchange);
                self.published.left(routed);
                if !routed {
                    context.vhost.note_unroutable(exchange, message, context.now);
                }
            }
            return Taken { index, routed };
        }
        let queues = route.queues.as_slice();
        let mut routed = !queues.is_empty();
        for queue in queues {
            self.arrive(queue, Arriving { index, tags: Tags::default(), terms }, message);
        }
        for hit in &route.sessions {
            routed |= self.reach(hit, index, message, terms);
        }
        if self.all_or_nothing && context.retains(message) {
            self.later.retained.push(message.clone());
        }
        if let Some(delays) = &route.delays {
            self.delay(context, (index, message), delays);
            routed = true;
            // It is counted as published when it is due.
            if route.is_delayed_at(&message.address().exchange) {
                return Taken { index, routed };
            }
        }
        if let Some(exchange) = &route.exchange {
            self.published.passed(exchange, routed);
            if !routed {
                context.vhost.note_unroutable(exchange, message, context.now);
            }
        }
        Taken { index, routed }
    }

    fn arrive(&mut self, queue: &Arc<Queue>, arriving: Arriving, message: &Message) {
        let bytes = if queue.refuses { queue.spec.counted(message) } else { 0 };
        self.arrivals.add(queue, arriving, bytes as u64);
    }

    /// Level 0 goes straight to a connected session, now or never; higher levels to its queue.
    fn reach(&mut self, hit: &SessionHit, index: usize, message: &Message, terms: Terms) -> bool {
        let inbox = hit.session.inbox();
        let Some(tags) = hit.tags_of(message, inbox.as_ref()) else { return false };
        let arriving = Arriving { index, tags: tags.clone(), terms };
        self.give(&hit.session, inbox, message, arriving)
    }

    fn give(
        &mut self,
        session: &Named,
        inbox: Option<Arc<Inbox>>,
        message: &Message,
        arriving: Arriving,
    ) -> bool {
        if message.meta().level.min(arriving.tags.level()) > 0 {
            let queue = session.queue();
            if let Some(queue) = &queue {
                self.arrive(queue, arriving, message);
            }
            return queue.is_some();
        }
        let Some(inbox) = inbox else { return true };
        let delivery = direct(message, arriving.tags);
        self.direct.add(&inbox, delivery, 0);
        true
    }

    /// A retained value for a session that just bound.
    pub fn replay(&mut self, context: Context<'_>, session: &Named, message: &Message, tags: Tags) {
        context.shared.charge(message);
        let arriving = Arriving { index: self.messages.len(), tags, terms: Terms::Refusable };
        self.published.is_replayed(arriving.index);
        self.messages.push(message.clone());
        self.give(session, session.inbox(), message, arriving);
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
        let arriving = Arriving { index: self.messages.len(), tags, terms: Terms::Refusable };
        self.published.is_replayed(arriving.index);
        self.messages.push(message.clone());
        self.arrive(queue, arriving, message);
    }

    /// The message goes through content routes: all of what it leads to happens, or nothing does and it is refused.
    /// One whose publisher gets no negative answer goes to the dead-letter address of the route that refused it.
    fn follow_routes(
        &mut self,
        context: Context<'_>,
        (index, message): (usize, &Message),
        route: &Route,
        terms: Terms,
    ) -> bool {
        let mut plan = Plan::new(context, self.all_or_nothing);
        plan.is_refusable = terms == Terms::Refusable;
        let followed = plan.follow(message, route).and_then(|()| self.admits(&plan, false));
        let Err(obstacle) = followed else { return self.carry_out(context, plan) };
        plan.undo();
        let Obstacle { path, error } = obstacle;
        if let Some(path) = &path {
            if terms == Terms::Untold
                && let Ok(routed) = self.dead_letter(context, path, message, &error)
            {
                return routed;
            }
            path.counters.note(&path.route.name, RouteEvent::Rejected, context.now);
        }
        // Where "nobody is there" is the same word as "stored", it would be a lie.
        let error = match (terms, error.kind()) {
            (Terms::Untold, ErrorKind::Unroutable) => {
                Error::new(ErrorKind::Unavailable, error.detail())
            }
            _ => error,
        };
        self.refused.add(index, error);
        true
    }

    /// The message goes to the route's dead-letter address instead of where it was going.
    fn dead_letter(
        &mut self,
        context: Context<'_>,
        path: &Arc<ContentPath>,
        message: &Message,
        why: &Error,
    ) -> Result<bool, Obstacle> {
        let mut plan = Plan::new(context, self.all_or_nothing);
        let kind = match why.kind() {
            ErrorKind::Invalid => FailureKind::Guest,
            _ => FailureKind::Unroutable,
        };
        let fault = failure(path, kind, why.detail());
        let placed =
            plan.dead_letter(path, message, &fault).and_then(|()| self.admits(&plan, false));
        match placed {
            Ok(()) => Ok(self.carry_out(context, plan)),
            Err(obstacle) => {
                plan.undo();
                Err(obstacle)
            }
        }
    }

    /// What a plan leads to happens. True when somebody gets something.
    pub(super) fn carry_out(&mut self, context: Context<'_>, mut plan: Plan<'_>) -> bool {
        plan.count();
        for (exchange, is_routed) in plan.published.drain(..) {
            self.published.entered(&exchange);
            self.published.left(is_routed);
        }
        self.retained.append(&mut plan.retained);
        self.later.retained.append(&mut plan.retained_later);
        self.fed.append(&mut plan.fed);
        for placement in plan.placements.drain(..) {
            let index = self.messages.len();
            context.shared.charge(&placement.message);
            self.work += 1 + placement.queues.len() + placement.sessions.len();
            self.messages.push(placement.message.clone());
            for queue in &placement.queues {
                let terms = Terms::Admitted;
                let arriving = Arriving { index, tags: Tags::default(), terms };
                self.arrive(queue, arriving, &placement.message);
            }
            for hit in &placement.sessions {
                self.reach(hit, index, &placement.message, Terms::Admitted);
            }
            if let Some(delays) = &placement.delays {
                self.delay(context, (index, &placement.message), delays);
            }
            if let Some(histories) = &placement.histories {
                self.will_remember(index, histories);
            }
        }
        plan.is_handled
    }

    /// A message of a content route's queue goes on, as its steps decided: all of that happens, or nothing does and
    /// the message has to stay.
    pub fn resume(
        &mut self,
        context: Context<'_>,
        path: &Arc<ContentPath>,
        message: &Message,
        judged: Judged,
    ) -> Result<(), Resumed> {
        let mut plan = Plan::new(context, false);
        plan.is_answered = true;
        let resumed = plan.resume(path, message, judged);
        let placed = resumed.and_then(|()| self.admits(&plan, true).map_err(Resumed::Obstacle));
        match placed {
            Ok(()) => {
                self.carry_out(context, plan);
                Ok(())
            }
            Err(why) => {
                plan.undo();
                Err(why)
            }
        }
    }

    /// A message in the queue of a route that is not configured any more goes on as if that route had not matched it.
    /// False when that leads nowhere.
    pub fn go_on_without(
        &mut self,
        context: Context<'_>,
        path: &Arc<ContentPath>,
        message: &Message,
    ) -> Result<bool, Obstacle> {
        let mut plan = Plan::new(context, false);
        plan.is_answered = true;
        // Routes that are new since then have their turn.
        let onward = message.meta().onward().cloned().unwrap_or_default();
        let went = plan.continue_from(path, message, &onward);
        match went.and_then(|()| self.admits(&plan, true)) {
            Ok(()) => Ok(self.carry_out(context, plan)),
            Err(obstacle) => {
                plan.undo();
                Err(obstacle)
            }
        }
    }

    /// A parked publish whose time has come. Its publisher was told yes long ago: what cannot be placed goes to the
    /// virtual host's dead-letter address.
    pub fn send_parked(&mut self, context: Context<'_>, message: &Message, copies: &[Key]) {
        let index = self.messages.len();
        let sent = match route_with_copies(context, message, copies) {
            Ok((route, retained)) => {
                self.retained.extend(retained);
                self.publish(context, message, &route, Terms::Untold);
                self.run(context);
                self.refusal(index).cloned()
            }
            Err(error) => {
                context.vhost.count_refused(message.address());
                Some(error)
            }
        };
        let Some(why) = sent else { return };
        self.told(&[index]);
        if why.kind() == ErrorKind::Refused {
            // A reserved address: dropped and counted, as any message published there without a confirm.
            context.vhost.note_drop(DropReason::Denied, message.address(), &why);
            return;
        }
        if !self.send_to_dead_letters(context, message, &why) {
            context.vhost.note_drop(DropReason::Refused, message.address(), &why);
        }
    }

    /// True when somebody takes it at the virtual host's dead-letter address.
    fn send_to_dead_letters(
        &mut self,
        context: Context<'_>,
        message: &Message,
        why: &Error,
    ) -> bool {
        let dead = dead_letter_of(context, message, why);
        let Ok((route, _)) = route_of(context, &dead) else { return false };
        let taken = self.publish(context, &dead, &route, Terms::Untold);
        self.run(context);
        self.told(&[taken.index]);
        taken.routed && self.refusal(taken.index).is_none()
    }

    /// A message whose way the plugin of an exchange could not tell goes to the virtual host's dead-letter address,
    /// because its publisher asked for no answer. None: nobody takes it there.
    pub fn publish_dead(
        &mut self,
        context: Context<'_>,
        message: &Message,
        why: &Error,
    ) -> Option<Taken> {
        let dead = dead_letter_of(context, message, why);
        let (mut route, _) = route_of(context, &dead).ok()?;
        route.queues.retain(|target| !dead_letter::is_cycle(&target.name, &dead));
        let is_taken = route.receivers() > 0 || !route.content.is_empty();
        is_taken.then(|| self.publish(context, &dead, &route, Terms::Untold))
    }

    /// A record left its queue: its removal and, if it has a dead-letter address, its new record are in the same unit.
    pub fn leave(&mut self, context: Context<'_>, queue: &Arc<Queue>, left: Departure) {
        self.work += 1;
        if left.stays {
            return self.leave_when_taken(context, queue, &left);
        }
        let is_taken = self.send_on(context, queue, &left);
        let by = queue.note_departure(&left, is_taken);
        if left.durable {
            self.unit.ops.settle((queue.id, &queue.counts), by, &[left.offset]);
        }
    }

    /// True when a queue's dead-letter address leads somewhere. A target that is full by then refuses it nevertheless.
    fn send_on(&mut self, context: Context<'_>, queue: &Queue, left: &Departure) -> bool {
        let (formats, now) = (&context.shared.formats, context.now);
        let Some(dead) = dead_letter::dead_letter(queue, left, formats, now) else { return false };
        let DeadLetter { message, copies } = dead;
        let mut route = match route_with_copies(context, &message, &copies) {
            Ok((route, _)) => route,
            Err(why) if matches!(why.kind(), ErrorKind::Unavailable | ErrorKind::Invalid) => {
                return self.publish_dead(context, &message, &why).is_some_and(|it| it.routed);
            }
            Err(_) => return false,
        };
        let all = route.queues.len();
        route.queues.retain(|target| !dead_letter::is_cycle(&target.name, &message));
        if all > 0 && route.queues.is_empty() && route.receivers() == 0 {
            return self.publish_circled(context, &message, queue);
        }
        self.publish(context, &message, &route, Terms::Untold).routed
    }
}

/// What became of a dead letter that stays until it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// All of its targets have it.
    Taken,
    /// It goes round in a circle, and the virtual host's dead-letter address does not take it either.
    Dropped,
    /// A target is full, or there is none.
    Kept,
}

impl Turn {
    /// A record of a queue whose dead letters stay until they are taken: its removal is in the unit of its new records,
    /// or nothing happens.
    fn leave_when_taken(&mut self, context: Context<'_>, queue: &Arc<Queue>, left: &Departure) {
        let (fate, now) = (self.send_whole(context, queue, left), context.now);
        let gone = queue.change(&mut self.after, |state, effects| {
            let gone = match fate {
                Fate::Kept => {
                    state.sub.dead_kept(left.offset, now);
                    None
                }
                Fate::Taken | Fate::Dropped => {
                    state.sub.dead_gone(left.offset, fate == Fate::Taken, effects)
                }
            };
            state.sub.dispatch(now, effects);
            gone
        });
        if let Some(by) = gone.filter(|_| left.durable) {
            self.unit.ops.settle((queue.id, &queue.counts), by, &[left.offset]);
        }
    }

    fn send_whole(&mut self, context: Context<'_>, queue: &Queue, left: &Departure) -> Fate {
        let (formats, now) = (&context.shared.formats, context.now);
        let Some(dead) = dead_letter::dead_letter(queue, left, formats, now) else {
            return Fate::Dropped;
        };
        let DeadLetter { message, copies } = dead;
        let Ok((mut route, _)) = route_with_copies(context, &message, &copies) else {
            return Fate::Kept;
        };
        let all = route.queues.len();
        route.queues.retain(|target| !dead_letter::is_cycle(&target.name, &message));
        if all > 0 && route.queues.is_empty() && route.receivers() == 0 {
            let is_taken = self.publish_circled(context, &message, queue);
            return if is_taken { Fate::Taken } else { Fate::Dropped };
        }
        let mut plan = Plan::new(context, false);
        let possible = plan.follow(&message, &route).map_err(|obstacle| obstacle.error);
        let possible = possible
            .and_then(|()| redrive::is_kept(&plan, message.address(), None))
            .and_then(|()| self.admits(&plan, true).map_err(|obstacle| obstacle.error));
        if let Err(why) = possible {
            tracing::debug!(queue = %queue.name, %why, "a dead letter stays in its queue for now");
            plan.undo();
            return Fate::Kept;
        }
        if let Some(exchange) = &route.exchange {
            self.published.passed(exchange, true);
        }
        self.carry_out(context, plan);
        Fate::Taken
    }

    /// A dead letter that its addresses lead in a circle goes to the virtual host's. True when somebody takes it there.
    fn publish_circled(&mut self, context: Context<'_>, message: &Message, queue: &Queue) -> bool {
        let queue = &queue.name;
        let why = format!("its dead-letter addresses lead it from queue '{queue}' in a circle");
        let why = Error::new(ErrorKind::Unroutable, why);
        self.publish_dead(context, message, &why).is_some_and(|it| it.routed)
    }
}

/// True when a content route takes the message, at its address or in front of one of its queues.
fn meets_routes(context: Context<'_>, message: &Message, route: &Route) -> bool {
    let formats = &context.shared.formats;
    route.content.iter().any(|hit| {
        hit.path.wants(message, formats) || hit.path.clears(message, &context.vhost.topic_exchange)
    })
}

/// The message as it is sent to the virtual host's dead-letter address, with why.
fn dead_letter_of(context: Context<'_>, message: &Message, why: &Error) -> Message {
    let mut fields = message.fields(&context.shared.formats).clone();
    let mut put = |name: &str, text: &str| {
        fields.headers.push((name.into(), Value::text(text)));
    };
    put("mq.error.kind", "refused");
    put("mq.error.text", why.detail());
    put("mq.error.address", &message.address().to_string());
    let mut meta = content_path::onward_again(message).meta().clone();
    (meta.expires, meta.retain) = (None, false);
    let address = context.shared.settings.dead_letter();
    Message::from_fields(address, meta, &fields, message.body().clone())
}

/// Where a message's address leads, without a cache, and the retained value that it became.
fn route_of(
    context: Context<'_>,
    message: &Message,
) -> Result<(Route, Option<RetainedChange>), Error> {
    let fields = || message.fields(&context.shared.formats);
    let mut retained = None;
    let retain = |route: &Route| {
        let retains = context.retains(message) && !route.is_watched();
        // No publisher waits for an answer here: a value over `objects.retained_*` is delivered, and not retained.
        retained = retains.then(|| context.retain(message)).and_then(Result::ok);
    };
    let (route, _) =
        context.vhost.route((message.address(), &message.meta().origin), &fields, retain)?;
    Ok((route, retained))
}

/// The route of a message that waited or is a dead letter, and of its copies at the same exchange. `Invalid`: a content
/// route watches a copy.
fn route_with_copies(
    context: Context<'_>,
    message: &Message,
    copies: &[Key],
) -> Result<(Route, Option<RetainedChange>), Error> {
    let (mut route, retained) = route_of(context, message)?;
    for key in copies.iter().filter(|key| **key != message.address().key) {
        let address = Address::new(message.address().exchange.clone(), key.clone());
        let copy = message.with(address, message.meta().clone());
        let (other, _) = route_of(context, &copy)?;
        context.vhost.check_copy(copy.address(), &other)?;
        route.join(&other);
    }
    route.wait_with(copies);
    Ok((route, retained))
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
