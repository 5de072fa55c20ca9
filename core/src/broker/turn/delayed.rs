//! Messages that an exchange keeps for a time: they are parked in the unit of what published them, and published to
//! that exchange when they are due.

use super::context::Context;
use super::run::Turn;
use crate::broker::door::request::{ParkId, ParkUntil};
use crate::broker::operations::ops::Parking;
use crate::broker::shared::timers::TimerEvent;
use crate::broker::vhost::limits::Limit;
use crate::broker::vhost::parked::ParkedPublish;
use crate::exchange::SessionId;
use crate::exchange::delayed::{Delay, waited};
use crate::message::cost::Cost;
use crate::message::{Address, Key, Message, Timestamp};

/// A message of a turn that is to wait.
pub(super) struct Delayed {
    /// Of the message that was published, in the turn.
    index: usize,
    /// As it is published when it is due.
    message: Message,
    at: Timestamp,
    copies: Box<[Key]>,
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
            self.later.delayed.push(Delayed { index, message, at, copies: copies.clone() });
        }
    }

    /// Something that waits has to be stored.
    pub(super) fn delays_durably(&self) -> bool {
        self.later.delayed.iter().any(|delayed| delayed.message.meta().durable)
    }

    /// What waits becomes a part of the unit, unless its message was refused.
    #[cold]
    pub(super) fn store_delays(&mut self, context: Context<'_>) -> Vec<(ParkId, ParkedPublish)> {
        let mut parked = Vec::new();
        for Delayed { index, message, at, copies } in std::mem::take(&mut self.later.delayed) {
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
            let (at, of, is_orphan, subject) = (None, None, false, None);
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
