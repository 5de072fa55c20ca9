//! What one input of content routes leads to: collected first, then all of it happens, or nothing does.

use super::content::{Stop, Watchers};
use super::context::{Context, HOPS_MAX};
use super::failures::{failure, too_many_hops, unroutable};
use super::retained::RetainedChange;
use crate::broker::door::names::is_reply_name;
use crate::broker::vhost::content_path::{self, ContentPath};
use crate::broker::vhost::exchange_counts::ExchangeCounts;
use crate::broker::vhost::queue::Queue;
use crate::broker::vhost::route::{ContentHit, Route, SessionHit};
use crate::broker::vhost::route_counters::RouteEvent;
use crate::error::{Error, ErrorKind};
use crate::exchange::delayed::Delay;
use crate::exchange::recent_history::History;
use crate::message::{Message, Onward};
use crate::transform::{FailureKind, StepFailure};
use std::sync::Arc;

/// A message and where it goes, once all of its plan may happen.
pub(super) struct Placement {
    pub message: Message,
    pub queues: Vec<Arc<Queue>>,
    pub sessions: Vec<SessionHit>,
    /// Exchanges that keep it for a time.
    pub delays: Option<Box<[Delay]>>,
    pub histories: Option<Box<[Arc<History>]>>,
    /// The route whose result it is; none: the message itself goes on.
    pub by: Option<Arc<ContentPath>>,
}

/// What one input leads to, before any of it happens.
pub(super) struct Plan<'a> {
    pub(super) context: Context<'a>,
    pub placements: Vec<Placement>,
    /// Values that it set already; they are set back when it does not happen.
    pub retained: Vec<RetainedChange>,
    /// Values that a transaction sets when all of it is admitted.
    pub retained_later: Vec<Message>,
    events: Vec<(Arc<ContentPath>, RouteEvent)>,
    /// Exchanges that results are published to, and whether somebody gets them there.
    pub published: Vec<(Arc<ExchangeCounts>, bool)>,
    /// Routes whose queues get something.
    pub fed: Vec<Arc<ContentPath>>,
    /// Somebody gets something, or it was dropped on purpose.
    pub is_handled: bool,
    in_transaction: bool,
    /// The route whose results are being placed.
    by: Option<Arc<ContentPath>>,
    /// Its publisher was answered long ago: what refuses it then dead-letters it instead.
    pub(super) is_answered: bool,
    /// Its publisher waits for an answer, and is refused when its value is over `objects.retained_*`. Otherwise the
    /// message is delivered and not retained.
    pub(super) is_refusable: bool,
}

/// Why nothing of a plan can happen.
#[derive(Debug, Clone)]
pub struct Obstacle {
    /// The route that met it.
    pub path: Option<Arc<ContentPath>>,
    pub error: Error,
}

/// Where a plan was before a step, to go back to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    placements: usize,
    retained: usize,
    retained_later: usize,
    events: usize,
    published: usize,
    is_handled: bool,
}

impl<'a> Plan<'a> {
    pub(super) fn new(context: Context<'a>, in_transaction: bool) -> Self {
        Self {
            context,
            placements: Vec::new(),
            retained: Vec::new(),
            retained_later: Vec::new(),
            events: Vec::new(),
            published: Vec::new(),
            fed: Vec::new(),
            is_handled: false,
            in_transaction,
            by: None,
            is_answered: false,
            is_refusable: false,
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            placements: self.placements.len(),
            retained: self.retained.len(),
            retained_later: self.retained_later.len(),
            events: self.events.len(),
            published: self.published.len(),
            is_handled: self.is_handled,
        }
    }

    pub(super) fn back_to(&mut self, mark: Mark) {
        self.placements.truncate(mark.placements);
        self.retained_later.truncate(mark.retained_later);
        self.events.truncate(mark.events);
        self.published.truncate(mark.published);
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

    /// A route gave the input up: it becomes a dead letter. Which one, and why.
    pub(super) fn dead_lettered(&self) -> Option<(&ContentPath, &StepFailure)> {
        self.events.iter().find_map(|(path, event)| match event {
            RouteEvent::DeadLettered(last) => Some((&**path, &last.failure)),
            _ => None,
        })
    }

    /// The route that sends something to that queue; without one, the first that the input met.
    pub(super) fn sender_to(&self, queue: &Queue) -> Option<Arc<ContentPath>> {
        let goes_there = |placement: &&Placement| {
            placement.queues.iter().any(|target| target.id == queue.id)
                || placement
                    .sessions
                    .iter()
                    .any(|hit| hit.session.queue().is_some_and(|target| target.id == queue.id))
        };
        let sender = self.placements.iter().filter(goes_there).find_map(|p| p.by.clone());
        sender.or_else(|| self.events.first().map(|(path, _)| path.clone()))
    }

    pub(super) fn note(&mut self, path: &Arc<ContentPath>, event: RouteEvent) {
        self.events.push((path.clone(), event));
    }

    /// The message goes into the queue of a slow route. `how` says what goes on behind it; its `asked` and `later` are
    /// completed here.
    pub(super) fn wait(
        &mut self,
        hit: &ContentHit,
        message: &Message,
        watchers: Watchers<'_>,
        how: Onward,
    ) -> Result<(), Obstacle> {
        let Some(queue) = hit.path.queue() else {
            let error = Error::new(ErrorKind::Unavailable, "the content route has not started");
            return Err(Obstacle { path: Some(hit.path.clone()), error });
        };
        if message.meta().hops >= HOPS_MAX {
            self.note(&hit.path, RouteEvent::Taken);
            return self.give_up(&hit.path, message, &too_many_hops(&hit.path)).map(|_| ());
        }
        let Onward { mut asked, later, taken, .. } = how;
        asked.extend(watchers.before());
        if let Some(before) = message.meta().onward() {
            asked.extend(before.asked.iter().cloned());
        }
        asked.sort_unstable();
        asked.dedup();
        let towards = watchers.queue.map(|queue| queue.name.clone());
        let source = message.source();
        let onward = Onward { queue: towards, asked, later, taken, source };
        let meta = content_path::waiting(message.meta(), onward);
        self.note(&hit.path, RouteEvent::Taken);
        self.fed.push(hit.path.clone());
        self.place(message.with(message.address().clone(), meta), queue);
        Ok(())
    }

    pub(super) fn place(&mut self, message: Message, queue: Arc<Queue>) {
        self.is_handled = true;
        let (queues, sessions, by) = (vec![queue], Vec::new(), self.by.clone());
        self.placements.push(Placement {
            message,
            queues,
            sessions,
            delays: None,
            histories: None,
            by,
        });
    }

    /// A result is published to its address. True when somebody gets it.
    pub(super) fn emit(&mut self, path: &Arc<ContentPath>, result: Message) -> Result<bool, Stop> {
        let found = self.resolve(&result, false);
        let route = found.map_err(|error| match error.kind() {
            // Nobody may publish there, and that does not change.
            ErrorKind::Refused => Stop::Failed(failure(path, FailureKind::Guest, error.detail())),
            ErrorKind::LimitReached => Stop::Obstacle(Obstacle { path: Some(path.clone()), error }),
            _ => Stop::Failed(unroutable(path, error.detail())),
        })?;
        // Whoever waited at a reply address may be gone: then it is delivered to nobody.
        let is_queue = result.address().is_queue() && !is_reply_name(result.address().key.bytes());
        if is_queue && route.queues.is_empty() && route.content.is_empty() {
            let text = format!("there is no {}", result.address());
            return Err(Stop::Failed(unroutable(path, &text)));
        }
        let before = std::mem::replace(&mut self.is_handled, false);
        let by = self.by.replace(path.clone());
        let followed = self.follow(&result, &route);
        self.by = by;
        let is_reached = self.is_handled;
        self.is_handled |= before;
        followed.map_err(Stop::Obstacle)?;
        self.published.extend(route.exchange.clone().map(|exchange| (exchange, is_reached)));
        Ok(is_reached)
    }

    /// Where a message's address leads. It becomes its topic's retained value, unless a route that watches the address
    /// is to have its turn first.
    fn resolve(&mut self, message: &Message, is_behind_routes: bool) -> Result<Route, Error> {
        let (context, in_transaction) = (self.context, self.in_transaction);
        let fields = || message.fields(&context.shared.formats);
        let (mut change, mut later, mut refusal) = (None, None, None);
        let retain = |route: &Route| {
            let retains = context.retains(message) && (is_behind_routes || !route.is_watched());
            match (retains, in_transaction) {
                (true, false) => match context.retain(message) {
                    Ok(set) => change = Some(set),
                    Err(why) => refusal = Some(why),
                },
                (true, true) => later = Some(message.clone()),
                (false, _) => {}
            }
        };
        let found =
            context.vhost.route((message.address(), &message.meta().origin), &fields, retain);
        self.retained.extend(change);
        self.retained_later.extend(later);
        if let Some(why) = refusal.filter(|_| self.is_refusable) {
            return Err(why);
        }
        found.map(|(route, _)| route)
    }

    /// Ordinary routing. `known`: the message as it was published and its route, which still hold if it did not change.
    pub(super) fn deliver(
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
        let delays = route.delays.clone();
        // By a route that the publish itself has, it is remembered there.
        let histories = route.histories.clone().filter(|_| known.is_none());
        if !queues.is_empty() || !sessions.is_empty() || delays.is_some() {
            self.is_handled = true;
            let (message, by) = (message.clone(), self.by.clone());
            self.placements.push(Placement { message, queues, sessions, delays, histories, by });
        }
        Ok(())
    }
}
