//! Content routes: what an input leads to is found out first, as a [`Plan`]; then all of it happens, or nothing does
//! and whoever waits for an answer is told why. That is the one rule behind everything here: the outcome of a route's
//! results is the outcome of its input.
//!
//! ```text
//! publish ─► filters, a chain ─► every divert and tap once ─► ordinary routing, unless a divert took it
//!                 │                       │                       │
//!                 └── results to other addresses: publishes of their own, one hop further
//!                                                                 └─► per queue: the same for routes that watch it
//! ```

use super::context::{Context, HOPS_MAX};
use super::retained::RetainedChange;
use crate::broker::vhost::content_path::{self, ContentPath};
use crate::broker::vhost::queue::Queue;
use crate::broker::vhost::route::{ContentHit, Route, SessionHit};
use crate::broker::vhost::route_counters::{LastFailure, RouteEvent};
use crate::error::{Error, ErrorKind};
use crate::message::{Address, Message, Meta, Name, Onward};
use crate::transform::{AfterFailure, Cost, FailureKind, Mode, StepFailure, Verdict};
use bytes::Bytes;
use std::sync::Arc;

/// Messages that one input may lead to, over all routes that it and its results meet.
const MOVES_OF_ONE_INPUT: usize = 10_000;

/// A message and where it goes, once all of its plan may happen.
pub(super) struct Placement {
    pub message: Message,
    pub queues: Vec<Arc<Queue>>,
    pub sessions: Vec<SessionHit>,
}

/// What one input leads to, before any of it happens.
pub(super) struct Plan<'a> {
    context: Context<'a>,
    pub placements: Vec<Placement>,
    /// Values that it set already; they are set back when it does not happen.
    pub retained: Vec<RetainedChange>,
    /// Values that a transaction sets when all of it is admitted.
    pub retained_later: Vec<Message>,
    events: Vec<(Arc<ContentPath>, RouteEvent)>,
    /// Routes whose queues get something.
    pub fed: Vec<Arc<ContentPath>>,
    /// Somebody gets something, or it was dropped on purpose.
    pub is_handled: bool,
    in_transaction: bool,
    /// The address that the input was published to, for reports.
    published_to: Address,
}

/// Why nothing of a plan can happen.
#[derive(Debug, Clone)]
pub struct Obstacle {
    /// The route that met it.
    pub path: Option<Arc<ContentPath>>,
    pub error: Error,
}

/// Why a route's step cannot be completed.
enum Stop {
    /// A failure of the route, which its `on_error` is for.
    Failed(StepFailure),
    /// Nothing of the input can happen.
    Obstacle(Obstacle),
}

/// A step's result.
#[derive(Debug, Clone)]
pub enum Judged {
    /// The original goes on as if the route had not matched.
    Pass,
    /// Results, each with the address that the step gave it.
    Results(Vec<Message>),
    Dropped(Arc<str>),
    /// It failed for good; `on_error` says what that means.
    Failed(StepFailure),
    /// A step refused it when nobody could be told any more: it goes to the dead-letter address.
    Refused(StepFailure),
    /// It clears a retained value: the steps have nothing to work on.
    Clearing,
}

/// Where a plan was before a step, to go back to.
#[derive(Clone, Copy)]
struct Mark {
    placements: usize,
    retained: usize,
    retained_later: usize,
    events: usize,
    is_handled: bool,
}

/// Routes that have their turn with a message at one place: its address, or one of its queues.
#[derive(Clone, Copy)]
struct Watchers<'h> {
    hits: &'h [ContentHit],
    /// The queue that the message is on its way into; none: its address.
    queue: Option<&'h Arc<Queue>>,
}

impl<'h> Watchers<'h> {
    fn iter(&self) -> impl Iterator<Item = &'h ContentHit> + use<'h> {
        let id = self.queue.map(|queue| queue.id);
        self.hits.iter().filter(move |hit| hit.queue == id)
    }

    fn filters(&self) -> impl Iterator<Item = &'h ContentHit> + use<'h> {
        self.iter().filter(|hit| hit.path.route.mode == Mode::Filter)
    }

    fn others(&self) -> impl Iterator<Item = &'h ContentHit> + use<'h> {
        self.iter().filter(|hit| hit.path.route.mode != Mode::Filter)
    }

    fn names(&self) -> impl Iterator<Item = Name> + use<'h> {
        self.iter().map(|hit| hit.path.route.name.clone())
    }
}

impl<'a> Plan<'a> {
    pub(super) fn new(context: Context<'a>, published_to: &Address, in_transaction: bool) -> Self {
        Self {
            context,
            placements: Vec::new(),
            retained: Vec::new(),
            retained_later: Vec::new(),
            events: Vec::new(),
            fed: Vec::new(),
            is_handled: false,
            in_transaction,
            published_to: published_to.clone(),
        }
    }

    fn mark(&self) -> Mark {
        Mark {
            placements: self.placements.len(),
            retained: self.retained.len(),
            retained_later: self.retained_later.len(),
            events: self.events.len(),
            is_handled: self.is_handled,
        }
    }

    fn back_to(&mut self, mark: Mark) {
        self.placements.truncate(mark.placements);
        self.retained_later.truncate(mark.retained_later);
        self.events.truncate(mark.events);
        self.is_handled = mark.is_handled;
        for change in self.retained.drain(mark.retained..).rev() {
            self.context.restore(change);
        }
    }

    /// Nothing of it happens.
    pub(super) fn undo(mut self) {
        for change in self.retained.drain(..).rev() {
            self.context.restore(change);
        }
    }

    /// It happens: what was noted is counted.
    pub(super) fn count(&mut self) {
        for (path, event) in self.events.drain(..) {
            path.counters.note(&path.route.name, event, self.context.now);
        }
    }

    /// The route that the input met first.
    pub(super) fn first_path(&self) -> Option<Arc<ContentPath>> {
        self.events.first().map(|(path, _)| path.clone())
    }

    fn note(&mut self, path: &Arc<ContentPath>, event: RouteEvent) {
        self.events.push((path.clone(), event));
    }

    /// A message on its way from its address.
    pub(super) fn follow(&mut self, message: &Message, route: &Route) -> Result<(), Obstacle> {
        let watchers = Watchers { hits: &route.content, queue: None };
        for current in self.filter(message.clone(), watchers)? {
            if !self.divert(&current, watchers, false)? {
                self.deliver(&current, Some((message, route)))?;
            }
        }
        Ok(())
    }

    /// A message on its way on behind the route in whose queue it waited.
    pub(super) fn resume(
        &mut self,
        path: &Arc<ContentPath>,
        message: &Message,
        judged: Judged,
    ) -> Result<(), Resumed> {
        let onward = message.meta().onward().cloned().unwrap_or_default();
        let mark = self.mark();
        let step = match self.finish_step(path, message, judged) {
            Ok(step) => step,
            Err(Stop::Obstacle(obstacle)) => return Err(Resumed::Obstacle(obstacle)),
            Err(Stop::Failed(fault)) => {
                self.back_to(mark);
                return Err(Resumed::Failed(fault));
            }
        };
        self.go_on(path, message, step, onward).map_err(Resumed::Obstacle)
    }

    fn go_on(
        &mut self,
        path: &Arc<ContentPath>,
        message: &Message,
        step: Step,
        onward: Onward,
    ) -> Result<(), Obstacle> {
        let (current, taken) = match (path.route.mode, step) {
            (Mode::Tap, _) => return Ok(()),
            (Mode::Divert, Step::Passed) => (vec![message.clone()], onward.taken),
            (Mode::Divert, _) => (vec![message.clone()], true),
            (Mode::Filter, Step::Passed) => (vec![message.clone()], onward.taken),
            (Mode::Filter, Step::Results(results)) => (results, onward.taken),
            (Mode::Filter, Step::Gone) => return Ok(()),
        };
        for message in current {
            self.continue_from(path, &message, &Onward { taken, ..onward.clone() })?;
        }
        Ok(())
    }

    /// The rest of a message's way: routes that did not have their turn yet, then where it was going.
    pub(super) fn continue_from(
        &mut self,
        path: &Arc<ContentPath>,
        message: &Message,
        onward: &Onward,
    ) -> Result<(), Obstacle> {
        let context = self.context;
        let fields = || message.fields(&context.shared.formats).clone();
        let found = context.vhost.route(message.address(), &fields, |_| ());
        // An exchange or queue that is gone since leads nowhere: the message has no place to go on to.
        let (route, _) = match found {
            Ok(found) => found,
            Err(error) => return self.lost(path, message, &error),
        };
        let queue = match &onward.queue {
            None => None,
            Some(name) => match context.vhost.queue(name) {
                Ok(queue) => Some(queue),
                Err(error) => return self.lost(path, message, &error),
            },
        };
        let hits = match &queue {
            None => route.content.clone(),
            Some(queue) => context.vhost.watchers_of(queue),
        };
        let watchers = Watchers { hits: &hits, queue: queue.as_ref() };
        let asked = |message: &Message| {
            let meta = content_path::waiting(message.meta(), onward.clone());
            message.with(message.address().clone(), meta)
        };
        for current in self.filter(asked(message), watchers)? {
            if self.divert(&current, watchers, onward.taken)? {
                continue;
            }
            match &queue {
                Some(queue) => self.place(content_path::onward_again(&current), queue.clone()),
                None => self.deliver(&content_path::onward_again(&current), None)?,
            }
        }
        Ok(())
    }

    /// Where a waiting message was going is gone: that is the failure of the route that had it.
    fn lost(
        &mut self,
        path: &Arc<ContentPath>,
        message: &Message,
        error: &Error,
    ) -> Result<(), Obstacle> {
        let fault = unroutable(path, error.detail());
        self.note(path, RouteEvent::Failed(FailureKind::Unroutable));
        self.dead_letter(path, message, &fault)
    }

    /// The chain of filters, each once; what is left of the message behind it.
    fn filter(
        &mut self,
        message: Message,
        watchers: Watchers<'_>,
    ) -> Result<Vec<Message>, Obstacle> {
        let formats = &self.context.shared.formats;
        let mut current = vec![message];
        for hit in watchers.filters() {
            let mut next = Vec::with_capacity(current.len());
            for message in current {
                // One that clears a value goes on as it is: its result would have the same topic.
                let clears = self.is_clearing(&hit.path, &message);
                let is_queued = hit.path.route.transform.cost() == Cost::Queued;
                let enters = if clears { is_queued } else { hit.path.wants(&message, formats) };
                if !enters {
                    next.push(message);
                    continue;
                }
                match hit.path.route.transform.cost() {
                    Cost::Queued => {
                        // The filters in front had their turn.
                        let before = watchers.filters().map(|hit| hit.path.route.name.clone());
                        let asked = before.take_while(|name| *name != hit.path.route.name);
                        let asked = asked.chain([hit.path.route.name.clone()]).collect();
                        self.wait(hit, &message, watchers.queue, (asked, false))?;
                    }
                    Cost::Inline => match self.step(&hit.path, &message)? {
                        Step::Passed => next.push(message),
                        Step::Results(results) => next.extend(results),
                        Step::Gone => {}
                    },
                }
            }
            current = next;
        }
        Ok(current)
    }

    /// Every divert and tap gets the message once. True when a divert has it.
    fn divert(
        &mut self,
        message: &Message,
        watchers: Watchers<'_>,
        taken: bool,
    ) -> Result<bool, Obstacle> {
        let formats = &self.context.shared.formats;
        let (mut taken, mut clears) = (taken, false);
        let mut slow: Vec<&ContentHit> = Vec::new();
        for hit in watchers.others() {
            if self.is_clearing(&hit.path, message) {
                // Without a condition everything goes into the divert: the value was never at the original's topic.
                clears |= hit.path.route.mode == Mode::Divert && hit.path.wants(message, formats);
                match hit.path.route.transform.cost() {
                    Cost::Inline => self.clear(&hit.path, message)?,
                    // In front of a slow route it waits its turn: values that it clears may be on their way.
                    Cost::Queued => {
                        let asked = watchers.names().collect();
                        self.wait(hit, message, watchers.queue, (asked, true))?;
                    }
                }
                continue;
            }
            if !hit.path.wants(message, formats) {
                continue;
            }
            match (hit.path.route.mode, hit.path.route.transform.cost()) {
                (Mode::Tap, Cost::Queued) => {
                    let asked = watchers.names().collect();
                    self.wait(hit, message, watchers.queue, (asked, true))?;
                }
                (_, Cost::Queued) => slow.push(hit),
                (mode, Cost::Inline) => {
                    let step = self.step(&hit.path, message)?;
                    taken |= mode == Mode::Divert && !matches!(step, Step::Passed);
                }
            }
        }
        // One after the other: whether ordinary routing follows is known when the last of them has decided.
        if let [first, rest @ ..] = &*slow {
            let later = |name: &Name| rest.iter().any(|hit| hit.path.route.name == *name);
            let asked = watchers.names().filter(|name| !later(name)).collect();
            self.wait(first, message, watchers.queue, (asked, taken))?;
            return Ok(true);
        }
        Ok(taken || clears)
    }

    /// True for a publish that clears a retained value, where the route has not had its turn.
    fn is_clearing(&self, path: &ContentPath, message: &Message) -> bool {
        path.clears(message, &self.context.vhost.topic_exchange) && !path.had_turn(message)
    }

    /// A publish that clears a retained value clears those that the route made of earlier ones, and skips its steps: it
    /// has nothing for them to work on, and every topic that the route sends to may have a value.
    fn clear(&mut self, path: &Arc<ContentPath>, message: &Message) -> Result<(), Obstacle> {
        for _ in 0..path.route.topics.computed {
            self.note(path, RouteEvent::NotCleared);
        }
        for topic in &path.route.topics.constant {
            let mut meta = content_path::passed_through(message.meta(), &path.route.name);
            meta.hops = meta.hops.saturating_add(1);
            let clearing = Message::from_fields(
                topic.clone(),
                meta,
                message.fields(&self.context.shared.formats),
                Bytes::new(),
            );
            match self.emit(path, clearing) {
                Ok(_) => {}
                Err(Stop::Obstacle(obstacle)) => return Err(obstacle),
                Err(Stop::Failed(fault)) => self.dead_letter(path, message, &fault)?,
            }
        }
        self.is_handled = true;
        Ok(())
    }

    /// The message goes into the queue of a slow route.
    fn wait(
        &mut self,
        hit: &ContentHit,
        message: &Message,
        watched: Option<&Arc<Queue>>,
        (asked, taken): (Vec<Name>, bool),
    ) -> Result<(), Obstacle> {
        let Some(queue) = hit.path.queue() else {
            let error = Error::new(ErrorKind::Unavailable, "the content route has not started");
            return Err(Obstacle { path: Some(hit.path.clone()), error });
        };
        if message.meta().hops >= HOPS_MAX {
            self.note(&hit.path, RouteEvent::Taken);
            return self.give_up(&hit.path, message, &too_many_hops(&hit.path)).map(|_| ());
        }
        let mut asked = asked;
        if let Some(before) = message.meta().onward() {
            asked.extend(before.asked.iter().cloned());
            asked.sort_unstable();
            asked.dedup();
        }
        let onward = Onward { queue: watched.map(|queue| queue.name.clone()), asked, taken };
        let meta = content_path::waiting(message.meta(), onward);
        self.note(&hit.path, RouteEvent::Taken);
        self.fed.push(hit.path.clone());
        self.place(message.with(message.address().clone(), meta), queue);
        Ok(())
    }

    fn place(&mut self, message: Message, queue: Arc<Queue>) {
        self.is_handled = true;
        self.placements.push(Placement { message, queues: vec![queue], sessions: Vec::new() });
    }

    /// Runs an inline route on a message, and applies its `on_error` when it fails.
    fn step(&mut self, path: &Arc<ContentPath>, message: &Message) -> Result<Step, Obstacle> {
        self.note(path, RouteEvent::Taken);
        let mark = self.mark();
        let judged = self.run(path, message)?;
        match self.finish_step(path, message, judged) {
            Ok(step) => Ok(step),
            Err(Stop::Obstacle(obstacle)) => Err(obstacle),
            Err(Stop::Failed(fault)) => {
                // None of its results happens when one of them cannot.
                self.back_to(mark);
                self.give_up(path, message, &fault)
            }
        }
    }

    fn run(&mut self, path: &Arc<ContentPath>, message: &Message) -> Result<Judged, Obstacle> {
        if message.meta().hops >= HOPS_MAX {
            return Ok(Judged::Failed(too_many_hops(path)));
        }
        let formats = &self.context.shared.formats;
        let mut results = Vec::new();
        Ok(match path.route.transform.apply(message, 0, formats, &mut results) {
            Ok(Verdict::Pass) => Judged::Pass,
            Ok(Verdict::Emit) => Judged::Results(results),
            Ok(Verdict::Drop(reason)) => Judged::Dropped(reason),
            Ok(Verdict::Reject(why)) => {
                let error = Error::new(ErrorKind::Invalid, why);
                return Err(Obstacle { path: Some(path.clone()), error });
            }
            // A publisher's turn cannot wait for another attempt, so a failure is final at once.
            Ok(Verdict::Retry(_) | Verdict::Wait(_)) => {
                let text = "the step asked for another attempt, and an inline route has only one";
                Judged::Failed(failure(path, FailureKind::Guest, text))
            }
            Err(fault) => Judged::Failed(fault),
        })
    }

    /// What a step's result means.
    fn finish_step(
        &mut self,
        path: &Arc<ContentPath>,
        message: &Message,
        judged: Judged,
    ) -> Result<Step, Stop> {
        match judged {
            Judged::Pass => {
                self.note(path, RouteEvent::Passed);
                Ok(Step::Passed)
            }
            Judged::Dropped(reason) => {
                self.note(path, RouteEvent::Dropped(reason));
                self.is_handled = true;
                Ok(Step::Gone)
            }
            Judged::Failed(fault) => self.give_up(path, message, &fault).map_err(Stop::Obstacle),
            Judged::Refused(fault) => {
                self.note(path, RouteEvent::Failed(fault.kind));
                self.dead_letter(path, message, &fault).map_err(Stop::Obstacle)?;
                Ok(Step::Gone)
            }
            Judged::Clearing if path.route.mode == Mode::Filter => Ok(Step::Passed),
            Judged::Clearing => {
                self.clear(path, message).map_err(Stop::Obstacle)?;
                Ok(Step::Gone)
            }
            Judged::Results(results) => self.results(path, message, results),
        }
    }

    /// Results of a filter at the watched address go on down the chain; all others are publishes of their own.
    fn results(
        &mut self,
        path: &Arc<ContentPath>,
        message: &Message,
        results: Vec<Message>,
    ) -> Result<Step, Stop> {
        let (mut here, mut reached, count) = (Vec::new(), false, results.len());
        for result in results {
            let mut meta = content_path::passed_through(result.meta(), &path.route.name);
            let stays = path.route.mode == Mode::Filter && result.address() == message.address();
            if !stays {
                meta.hops = meta.hops.saturating_add(1);
            }
            if self.placements.len() + here.len() > MOVES_OF_ONE_INPUT {
                let text = format!("one message led to more than {MOVES_OF_ONE_INPUT} others");
                return Err(Stop::Failed(failure(path, FailureKind::Guest, &text)));
            }
            let result = result.with(result.address().clone(), meta);
            if stays {
                // What waited behind a queued filter keeps the turns that it had.
                here.push(keep_turns(result, message.meta()));
                continue;
            }
            let is_reached = self.emit(path, result)?;
            let event = if is_reached { RouteEvent::Emitted } else { RouteEvent::NoSubscriber };
            self.note(path, event);
            reached |= is_reached;
        }
        if path.route.required && !reached && here.is_empty() && count > 0 {
            let text =
                "nobody is bound to where the results go, and the route says required = true";
            return Err(Stop::Failed(unroutable(path, text)));
        }
        if path.route.mode != Mode::Filter {
            return Ok(Step::Results(Vec::new()));
        }
        Ok(Step::Results(here))
    }

    /// A result is published to its address. True when somebody gets it.
    fn emit(&mut self, path: &Arc<ContentPath>, result: Message) -> Result<bool, Stop> {
        let found = self.resolve(&result, false);
        let route = found.map_err(|error| Stop::Failed(unroutable(path, error.detail())))?;
        if result.address().is_queue() && route.queues.is_empty() && route.content.is_empty() {
            let text = format!("there is no {}", result.address());
            return Err(Stop::Failed(unroutable(path, &text)));
        }
        let before = std::mem::replace(&mut self.is_handled, false);
        let followed = self.follow(&result, &route);
        let is_reached = self.is_handled;
        self.is_handled |= before;
        followed.map_err(Stop::Obstacle)?;
        Ok(is_reached)
    }

    /// Where a message's address leads. It becomes its topic's retained value, unless a route that watches the address
    /// is to have its turn first.
    fn resolve(&mut self, message: &Message, is_behind_routes: bool) -> Result<Route, Error> {
        let (context, in_transaction) = (self.context, self.in_transaction);
        let fields = || message.fields(&context.shared.formats).clone();
        let (mut change, mut later) = (None, None);
        let retain = |route: &Route| {
            let retains = context.retains(message) && (is_behind_routes || !route.is_watched());
            match (retains, in_transaction) {
                (true, false) => change = Some(context.retain(message)),
                (true, true) => later = Some(message.clone()),
                (false, _) => {}
            }
        };
        let found = context.vhost.route(message.address(), &fields, retain);
        self.retained.extend(change);
        self.retained_later.extend(later);
        found.map(|(route, _)| route)
    }

    /// Ordinary routing. `known`: the message as it was published and its route, which still hold if it did not change.
    fn deliver(
        &mut self,
        message: &Message,
        known: Option<(&Message, &Route)>,
    ) -> Result<(), Obstacle> {
        let retains = self.context.retains(message);
        let known = known
            .filter(|(published, route)| message.is(published) && !(retains && route.is_watched()));
        let found;
        let route = match known {
            Some((_, route)) => route,
            None => {
                let resolved = self.resolve(message, true);
                found = resolved.map_err(|error| Obstacle { path: None, error })?;
                &found
            }
        };
        let mut queues = Vec::with_capacity(route.queues.len());
        for queue in &route.queues {
            let watchers = Watchers { hits: &route.content, queue: Some(queue) };
            if watchers.iter().next().is_none() {
                queues.push(queue.clone());
                continue;
            }
            for current in self.filter(message.clone(), watchers)? {
                if !self.divert(&current, watchers, false)? {
                    self.place(current, queue.clone());
                }
            }
        }
        let sessions: Vec<SessionHit> =
            route.sessions.iter().filter(|hit| hit.reaches(message)).cloned().collect();
        if !queues.is_empty() || !sessions.is_empty() {
            self.is_handled = true;
            self.placements.push(Placement { message: message.clone(), queues, sessions });
        }
        Ok(())
    }

    /// What the route's policy makes of a failure after the last attempt.
    fn give_up(
        &mut self,
        path: &Arc<ContentPath>,
        message: &Message,
        fault: &StepFailure,
    ) -> Result<Step, Obstacle> {
        self.note(path, RouteEvent::Failed(fault.kind));
        let then = match (fault.kind, path.route.transform.cost(), path.route.on_error.then) {
            // It would only go round again.
            (FailureKind::Hops, ..) => AfterFailure::DeadLetter,
            // The publisher was answered long ago.
            (_, Cost::Queued, AfterFailure::Reject) => AfterFailure::DeadLetter,
            (.., then) => then,
        };
        match then {
            AfterFailure::Pass => {
                self.note(path, RouteEvent::Passed);
                Ok(Step::Passed)
            }
            AfterFailure::Drop => {
                self.note(path, RouteEvent::Dropped(fault.text.clone()));
                self.is_handled = true;
                Ok(Step::Gone)
            }
            AfterFailure::Reject => {
                let kind = match fault.kind {
                    FailureKind::Unroutable => ErrorKind::Unroutable,
                    _ => ErrorKind::Invalid,
                };
                let error = Error::new(kind, fault.text.clone());
                Err(Obstacle { path: Some(path.clone()), error })
            }
            AfterFailure::DeadLetter => {
                self.dead_letter(path, message, fault)?;
                Ok(Step::Gone)
            }
        }
    }

    /// The original goes to the route's dead-letter address. Nobody there is no answer: it has to be taken.
    pub(super) fn dead_letter(
        &mut self,
        path: &Arc<ContentPath>,
        message: &Message,
        fault: &StepFailure,
    ) -> Result<(), Obstacle> {
        let shared = self.context.shared;
        let dead = path.with_fault(message, fault, &shared.formats, &shared.settings.dead_letter);
        let address = dead.address().clone();
        let no_taker = |why: &str| {
            let text = format!("route '{}': {}; {why}", path.route.name, fault.text);
            let error = Error::new(ErrorKind::Unroutable, text);
            Obstacle { path: Some(path.clone()), error }
        };
        match self.emit(path, dead) {
            Ok(true) => {}
            Ok(false) => return Err(no_taker(&format!("nobody takes dead letters at {address}"))),
            Err(Stop::Failed(reason)) => {
                return Err(no_taker(&format!(
                    "its dead-letter address {address}: {}",
                    reason.text
                )));
            }
            Err(Stop::Obstacle(obstacle)) => return Err(obstacle),
        }
        let failure = LastFailure {
            time: self.context.now,
            address: self.published_to.clone(),
            failure: fault.clone(),
        };
        self.note(path, RouteEvent::DeadLettered(Box::new(failure)));
        Ok(())
    }
}

/// Why a message does not go on from the queue of its route.
#[derive(Debug)]
pub enum Resumed {
    /// A result cannot be placed: a failure of the route, which may be tried again.
    Failed(StepFailure),
    /// It has to wait where it is.
    Obstacle(Obstacle),
}

/// What a completed step leaves of the message.
enum Step {
    /// It goes on as if the route had not matched.
    Passed,
    /// These go on in its place, behind a filter.
    Results(Vec<Message>),
    /// Nothing goes on.
    Gone,
}

fn keep_turns(message: Message, before: &Meta) -> Message {
    match before.onward() {
        Some(onward) => {
            let meta = content_path::waiting(message.meta(), onward.clone());
            message.with(message.address().clone(), meta)
        }
        None => message,
    }
}

/// A failure of the route itself, not of one of its steps.
pub fn failure(path: &ContentPath, kind: FailureKind, text: &str) -> StepFailure {
    let module = Arc::from(path.route.transform.name());
    StepFailure { module, version: Arc::from(""), kind, text: Arc::from(text) }
}

fn unroutable(path: &ContentPath, text: &str) -> StepFailure {
    failure(path, FailureKind::Unroutable, text)
}

/// The message met as many routes as it may.
pub fn too_many_hops(path: &ContentPath) -> StepFailure {
    let text = format!("it went through {HOPS_MAX} content routes, one after the other");
    failure(path, FailureKind::Hops, &text)
}
