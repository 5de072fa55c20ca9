//! Retained values as they are published: memory and journal change in one order, and a subscription that is made at
//! the same time sees each value once, as retained or live. And what happens to them later: they expire, and new
//! bindings get them.

use super::context::Context;
use super::run::Turn;
use crate::broker::operations::ops::Ops;
use crate::broker::shared::timers::TimerEvent;
use crate::broker::vhost::limits::Limit;
use crate::broker::vhost::named::Named;
use crate::broker::vhost::topology::Topology;
use crate::error::Error;
use crate::exchange::{Binding, Growth, Retained, RetainedValue, Tags, Target};
use crate::message::{Key, Message, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Expired values that are removed at once.
const EXPIRED_SLICE: usize = 1_000;

/// A retained value that was set and the one before, which is set back when the message is refused.
pub struct RetainedChange {
    pub message: Message,
    before: Option<RetainedValue>,
}

impl Context<'_> {
    /// True when the message becomes its topic's retained value.
    pub fn retains(&self, message: &Message) -> bool {
        message.meta().retain && *message.address().exchange == *self.vhost.topic_exchange
    }

    /// Makes the message its topic's retained value. `LimitReached` when there are as many as there may be; one that
    /// takes no more than the value before, and one that clears it, always may.
    pub fn retain(&self, message: &Message) -> Result<RetainedChange, Error> {
        self.shared.charge(message);
        let mut retained = self.vhost.retained.lock();
        if let Some(growth) = retained.growth(message) {
            self.check_retained(&retained, growth, message)?;
        }
        Ok(self.make_retained(&mut retained, message))
    }

    /// Makes a message its topic's retained value that was admitted before.
    pub fn retain_admitted(&self, message: &Message) -> RetainedChange {
        self.shared.charge(message);
        self.make_retained(&mut self.vhost.retained.lock(), message)
    }

    /// Whether all of these messages can become retained values.
    pub fn check_retainable(&self, messages: &[Message]) -> Result<(), Error> {
        let Some(last) = messages.last() else { return Ok(()) };
        let retained = self.vhost.retained.lock();
        // The last message of each topic stays.
        let topics: BTreeMap<&Key, &Message> =
            messages.iter().map(|message| (&message.address().key, message)).collect();
        let mut all = Growth::default();
        for growth in topics.values().filter_map(|message| retained.growth(message)) {
            all.values += growth.values;
            all.bytes += growth.bytes;
            all.memory += growth.memory;
        }
        match all {
            Growth { values: 0, bytes: 0, .. } => Ok(()),
            _ => self.check_retained(&retained, all, last),
        }
    }

    fn check_retained(
        &self,
        retained: &Retained,
        growth: Growth,
        message: &Message,
    ) -> Result<(), Error> {
        let (limits, (values, bytes)) = (&self.vhost.limits, retained.size());
        let who = (&self.vhost.name, &*message.meta().origin);
        if growth.values > 0 {
            limits.check(Limit::RetainedValues, (values, growth.values), 0, who)?;
        }
        limits.check(Limit::RetainedBytes, (bytes, growth.bytes), growth.memory, who)
    }

    fn make_retained(&self, retained: &mut Retained, message: &Message) -> RetainedChange {
        let key = &message.address().key;
        let value = value_of(message);
        self.store_retained(key, value.as_ref());
        if let Some(at) = value.as_ref().and_then(|message| message.meta().expires) {
            self.watch_values(at);
        }
        let before = retained.set(key.clone(), value);
        RetainedChange { message: message.clone(), before }
    }

    /// A figure of the broker becomes its topic's retained value: it is not stored, and not limited.
    pub fn retain_figure(&self, figure: &Message) {
        self.vhost.retained.lock().set(figure.address().key.clone(), value_of(figure));
    }

    /// Sets the value back to the one before, unless another message has set it since.
    pub fn restore(&self, change: RetainedChange) {
        let key = &change.message.address().key;
        let mut retained = self.vhost.retained.lock();
        let is_last = match (retained.get(key), value_of(&change.message)) {
            (Some(now), Some(set)) => now.is(&set),
            (None, None) => true,
            _ => false,
        };
        if !is_last {
            return;
        }
        self.store_retained(key, change.before.as_ref().map(|value| &value.message));
        let key = change.before.as_ref().map_or(key, |value| &value.message.address().key);
        if let Some(at) = change.before.as_ref().and_then(|value| value.message.meta().expires) {
            self.watch_values(at);
        }
        retained.put(key.clone(), change.before);
    }

    /// Submitted under the lock, so that memory and journal agree on which value is the last.
    fn store_retained(&self, key: &Key, value: Option<&Message>) {
        let mut ops = Ops::default();
        ops.retain(&self.vhost.name, key, value);
        self.shared.committer.submit_ops(ops);
    }

    fn watch_values(&self, at: Timestamp) {
        let event = TimerEvent::ValueExpires(self.vhost.name.clone());
        self.shared.timers.set_no_later(at, event);
    }

    /// Removes values that have expired, one slice of them; the timer says when the next ones are due.
    pub fn expire_values(&self) {
        let mut retained = self.vhost.retained.lock();
        let mut ops = Ops::default();
        for key in retained.expired(self.now, EXPIRED_SLICE) {
            ops.retain(&self.vhost.name, &key, None);
            retained.set(key, None);
        }
        if !ops.is_empty() {
            self.shared.committer.submit_ops(ops);
        }
        if let Some(at) = retained.next_expiry() {
            self.watch_values(at);
        }
    }
}

impl Turn {
    /// Retained values go where a new binding leads. Called with the topology locked for writing, so that no value is
    /// set meanwhile by a publish: one that was set since it was found reaches the binding live.
    pub fn replay_values(
        &mut self,
        context: Context<'_>,
        topology: &Topology,
        (binding, named): (&Binding, Option<&Arc<Named>>),
        values: &[RetainedValue],
    ) {
        let queue = match &binding.target {
            Target::Log(id) => topology.queue_by_id(*id),
            _ => None,
        };
        for RetainedValue { message, number } in values {
            if !context.vhost.retained.lock().is_still(&message.address().key, *number) {
                continue;
            }
            let tags = Tags::of_retained(binding.tag);
            match (&binding.target, named, queue) {
                (Target::Session(_), Some(named), _) => self.replay(context, named, message, tags),
                (Target::Log(_), _, Some(queue)) => {
                    self.replay_into(context, queue, message, tags);
                }
                _ => {}
            }
        }
        self.place(context);
    }
}

/// The value that a message sets: none when its body is empty, which clears the value.
fn value_of(message: &Message) -> Option<Message> {
    (!message.body().is_empty()).then(|| message.clone())
}
