//! Messages that an exchange keeps for a time: they are parked in the unit of what published them, and published to
//! that exchange when they are due.

use super::context::Context;
use super::run::{Taken, Turn};
use crate::broker::accounts::subject::Subject;
use crate::broker::door::request::{ParkId, ParkUntil};
use crate::broker::operations::ops::Parking;
use crate::broker::shared::timers::TimerEvent;
use crate::broker::vhost::limits::Limit;
use crate::broker::vhost::parked::ParkedPublish;
use crate::exchange::SessionId;
use crate::exchange::delayed::{Delay, waited};
use crate::message::cost::Cost;
use crate::message::{Address, Key, Message, Timestamp};
use std::sync::Arc;

/// A message of a turn that is to wait.
pub(super) struct Delayed {
    /// Of the message that was published, in the turn.
    index: usize,
    /// As it is published when it is due.
    message: Message,
    at: Timestamp,
    copies: Box<[Key]>,
    /// By whose rights it is published then; none: its publisher's had their say.
    subject: Option<Arc<Subject>>,
}

impl Turn {
    /// The message of that index waits, at each of these exchanges by itself. One that there is no room for is refused.
    #[cold]
    pub(super) fn delay(
        &mut self,
        context: Context<'_>,
        (index, message): (usize, &Message),
        delays: &[Delay],
    ) {
        let fields = waited(message.fields(&context.shared.formats));
        for Delay { exchange, ms, copies } in delays {
            let vhost = context.vhost;
            let there = context.shared.parked.lock().count(&vhost.name) + self.later.delayed.len();
            let keys: usize = copies.iter().map(Cost::cost).sum();
            let bytes = message.cost() + size_of::<ParkedPublish>() + keys;
            let who = (&vhost.name, &*message.meta().origin);
            if let Err(why) = vhost.limits.check(Limit::Parked, (there, 1), bytes, who) {
                self.refused.add(index, why);
                continue;
            }
            let mut meta = message.meta().clone();
            // Its time to live runs from when it is due.
            meta.expires = meta.expires.map(|at| at.plus(*ms));
            let address = Address::new(exchange.clone(), message.address().key.clone());
            let message = Message::from_fields(address, meta, &fields, message.body().clone());
            let at = context.now.plus(*ms);
            let (copies, subject) = (copies.clone(), None);
            self.later.delayed.push(Delayed { index, message, at, copies, subject });
        }
    }

    /// The message waits until then, and is published as it is. It is refused when there is no room for it.
    pub fn keep_until(
        &mut self,
        context: Context<'_>,
        message: &Message,
        (at, subject): (Timestamp, Arc<Subject>),
    ) -> Taken {
        let (index, vhost) = (self.messages.len(), context.vhost);
        self.messages.push(message.clone());
        self.work += 1;
        let there = context.shared.parked.lock().count(&vhost.name) + self.later.delayed.len();
        let bytes = message.cost() + size_of::<ParkedPublish>();
        let who = (&vhost.name, &*message.meta().origin);
        match vhost.limits.check(Limit::Parked, (there, 1), bytes, who) {
            Err(why) => self.refused.add(index, why),
            Ok(()) => {
                let (message, copies, subject) = (message.clone(), Box::default(), Some(subject));
                self.later.delayed.push(Delayed { index, message, at, copies, subject });
            }
        }
        Taken { index, routed: true }
    }

    /// Something that waits has to be stored.
    pub(super) fn delays_durably(&self) -> bool {
        self.later.delayed.iter().any(|delayed| delayed.message.meta().durable)
    }

    /// What waits becomes a part of the unit, unless its message was refused.
    #[cold]
    pub(super) fn store_delays(&mut self, context: Context<'_>) -> Vec<(ParkId, ParkedPublish)> {
        let mut parked = Vec::new();
        for delayed in std::mem::take(&mut self.later.delayed) {
            let Delayed { index, message, at, copies, subject } = delayed;
            if self.refused.get(index).is_some() {
                continue;
            }
            let (shared, vhost) = (context.shared, context.vhost.name.clone());
            let (id, due) = (ParkId(shared.identifiers.next()), ParkUntil::At(at));
            let durable = message.meta().durable;
            if durable {
                let parking = Parking { due, session: None, copies: &copies };
                self.unit.ops.park(id, &vhost, parking, &message);
            }
            shared.charge(&message);
            let owner = SessionId(0);
            let (at, of, is_orphan) = (None, None, false);
            parked.push((
                id,
                ParkedPublish {
                    vhost,
                    message,
                    due,
                    copies,
                    owner,
                    at,
                    durable,
                    of,
                    is_orphan,
                    subject,
                },
            ));
        }
        parked
    }
}

impl Context<'_> {
    /// What was submitted waits from now on: its end never stands in the journal before its beginning.
    #[cold]
    pub(super) fn park(self, parked: Vec<(ParkId, ParkedPublish)>) {
        let mut all = self.shared.parked.lock();
        for (id, publish) in parked {
            if let Some(at) = all.add(id, publish) {
                self.shared.timers.set(at, TimerEvent::Parked(id));
            }
        }
    }
}
