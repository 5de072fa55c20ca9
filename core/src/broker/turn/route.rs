//! The first step of a turn: messages are taken to where their routes lead.

use super::context::{Context, HOPS_MAX};
use super::dead_letter;
use super::retained::RetainedChange;
use super::run::{Taken, Turn};
use crate::broker::vhost::inbox::Inbox;
use crate::broker::vhost::named::Named;
use crate::broker::vhost::queue::Queue;
use crate::broker::vhost::route::{ContentHit, Route, SessionHit};
use crate::exchange::Tags;
use crate::log::Offset;
use crate::message::{Address, Message};
use crate::subscription::{ConsumerId, Delivery, Departure};
use crate::transform::{Cost, Mode};
use std::sync::Arc;

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
            tracing::warn!(
                vhost = %context.vhost.name, address = %message.address(), hops_max = HOPS_MAX,
                "a message went through too many content routes and queues: it is dropped; look for routes \
                 that lead in a circle"
            );
            return;
        }
        if let Some((route, retained)) = route_of(context, message.address(), &message) {
            self.retained.extend(retained);
            self.publish(context, message, &route);
        }
    }

    /// A record left its queue: its removal and, if it has a dead-letter address, its new record are in the same unit.
    pub(super) fn leave(&mut self, context: Context<'_>, queue: &Queue, left: Departure) {
        if left.durable {
            self.unit.ops.settle(queue.id, &[left.offset]);
        }
        let Some(message) = dead_letter::dead_letter(queue, &left, context.now) else { return };
        let Some((mut route, _)) = route_of(context, message.address(), &message) else { return };
        route.queues.retain(|target| !dead_letter::is_cycle(&target.name, &message));
        self.publish(context, message, &route);
    }
}

/// Where an address leads, without a cache, and the retained value that the message became; none when its exchange is
/// gone.
fn route_of(
    context: Context<'_>,
    address: &Address,
    message: &Message,
) -> Option<(Route, Option<RetainedChange>)> {
    let fields = || message.fields(&context.shared.formats).clone();
    let mut retained = None;
    let retain = || retained = context.retains(message).then(|| context.retain(message));
    let (route, _) = context.vhost.route(address, &fields, retain).ok()?;
    Some((route, retained))
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
