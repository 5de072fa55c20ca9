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

use super::context::HOPS_MAX;
use super::failures::{failure, too_many_hops, unroutable};
use super::plan::{Obstacle, Plan};
use crate::broker::vhost::content_path::{self, ContentPath};
use crate::broker::vhost::queue::Queue;
use crate::broker::vhost::route::{ContentHit, Route};
use crate::broker::vhost::route_counters::RouteEvent;
use crate::error::{Error, ErrorKind};
use crate::message::{Message, Meta, Name, Onward};
use crate::transform::{Cost, FailureKind, Mode, StepFailure, Verdict};
use bytes::Bytes;
use std::sync::Arc;

/// Messages that one input may lead to, over all routes that it and its results meet.
const MOVES_OF_ONE_INPUT: usize = 10_000;

/// Why a route's step cannot be completed.
pub(super) enum Stop {
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
    /// A step refused it after its publisher had been sent a confirm: it goes to the dead-letter address.
    Refused(StepFailure),
    /// It clears a retained value: the steps have nothing to work on.
    Clearing,
}

/// Routes that have their turn with a message at one place: its address, or one of its queues.
#[derive(Clone, Copy)]
pub(super) struct Watchers<'h> {
    pub hits: &'h [ContentHit],
    /// The queue that the message is on its way into; none: its address.
    pub queue: Option<&'h Arc<Queue>>,
}

impl<'h> Watchers<'h> {
    pub fn iter(&self) -> impl Iterator<Item = &'h ContentHit> + use<'h> {
        let id = self.queue.map(|queue| queue.id);
        self.hits.iter().filter(move |hit| hit.queue == id)
    }

    fn filters(&self) -> impl Iterator<Item = &'h ContentHit> + use<'h> {
        self.iter().filter(|hit| hit.path.route.mode == Mode::Filter)
    }

    fn others(&self) -> impl Iterator<Item = &'h ContentHit> + use<'h> {
        self.iter().filter(|hit| hit.path.route.mode != Mode::Filter)
    }

    /// Routes that had their turn with the message before it came to the queue: they watch its address, too.
    pub fn before(&self) -> impl Iterator<Item = Name> + use<'h> {
        let is_queue = self.queue.is_some();
        let hits = self.hits.iter().filter(move |hit| is_queue && hit.queue.is_none());
        hits.map(|hit| hit.path.route.name.clone())
    }

    fn names(&self) -> impl Iterator<Item = Name> + use<'h> {
        self.iter().map(|hit| hit.path.route.name.clone())
    }
}

impl Plan<'_> {
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
        let fields = || message.fields(&context.shared.formats);
        let found =
            context.vhost.route((message.address(), &message.meta().origin), &fields, |_| ());
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

    /// The chain of filters, each once; what is left of the message behind it.
    pub(super) fn filter(
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
                        let how = Onward { asked, ..Onward::default() };
                        self.wait(hit, &message, watchers, how)?;
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
    pub(super) fn divert(
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
                let takes = hit.path.route.mode == Mode::Divert && hit.path.wants(message, formats);
                match hit.path.route.transform.cost() {
                    Cost::Inline => {
                        self.clear(&hit.path, message)?;
                        clears |= takes && !self.has_value(message);
                    }
                    // In front of a slow route it waits its turn: values that it clears may be on their way.
                    Cost::Queued => {
                        let asked = watchers.names().collect();
                        let how = Onward { asked, taken: !takes || clears, ..Onward::default() };
                        self.wait(hit, message, watchers, how)?;
                        clears |= takes;
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
                    let how = Onward { asked, taken: true, ..Onward::default() };
                    self.wait(hit, message, watchers, how)?;
                }
                (_, Cost::Queued) if message.meta().hops >= HOPS_MAX => {
                    // It does not get into the queue: that is this route's failure, and the next one has its turn.
                    self.wait(hit, message, watchers, Onward::default())?;
                    taken = true;
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
            let later: Vec<Name> = rest.iter().map(|hit| hit.path.route.name.clone()).collect();
            let asked = watchers.names().filter(|name| !later.contains(name)).collect();
            let how = Onward { asked, later, taken, ..Onward::default() };
            self.wait(first, message, watchers, how)?;
            return Ok(true);
        }
        Ok(taken || clears)
    }

    /// True for a publish that clears a retained value, where the route has not had its turn.
    fn is_clearing(&self, path: &ContentPath, message: &Message) -> bool {
        path.clears(message, &self.context.vhost.topic_exchange) && !path.had_turn(message)
    }

    /// True when the message's own topic has a retained value: what a divert let pass, for instance. A publish that
    /// clears goes on to it then, and otherwise not: nothing of that topic came out behind the divert.
    fn has_value(&self, message: &Message) -> bool {
        self.context.vhost.retained.lock().get(&message.address().key).is_some()
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
            Ok(Verdict::Reject(why)) if self.is_answered => {
                Judged::Refused(failure(path, FailureKind::Guest, &why))
            }
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
                Ok(if self.has_value(message) { Step::Passed } else { Step::Gone })
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
        let mut here = Vec::new();
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
            if path.route.required && !is_reached {
                let text =
                    "nobody is bound to where a result goes, and the route says required = true";
                return Err(Stop::Failed(unroutable(path, text)));
            }
        }
        if path.route.mode != Mode::Filter {
            return Ok(Step::Results(Vec::new()));
        }
        Ok(Step::Results(here))
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
pub(super) enum Step {
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
