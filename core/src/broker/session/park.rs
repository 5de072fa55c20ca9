//! Parked publishes: delayed ones and wills.

use super::consume::taken_over;
use super::state::Session;
use crate::broker::door::request::{ParkId, ParkUntil};
use crate::broker::operations::ops::{Ops, Parking};
use crate::broker::shared::timers::TimerEvent;
use crate::broker::vhost::limits::Limit;
use crate::broker::vhost::parked::ParkedPublish;
use crate::error::Error;
use crate::message::Message;
use crate::message::cost::Cost;

impl Session {
    /// An error when there are as many parked publishes as there may be, or no memory for one more.
    fn check_parked(&self, due: ParkUntil, message: &Message) -> Result<(), Error> {
        let vhost = &self.vhost;
        let there = self.broker.shared().parked.lock().count(&vhost.name);
        // A will is small, and refusing it would refuse the client.
        let bytes = match due {
            ParkUntil::At(_) => message.cost() + size_of::<ParkedPublish>(),
            ParkUntil::Disconnected { .. } => 0,
        };
        vhost.limits.check(Limit::Parked, (there, 1), bytes, (&vhost.name, self.origin()))
    }

    /// A publish that is routed when due.
    pub async fn park(&mut self, due: ParkUntil, message: Message) -> Result<ParkId, Error> {
        self.flush_behind().await;
        let shared = self.shared();
        self.vhost.check(message.address())?;
        self.check_write(message.address())?;
        self.check_parked(due, &message)?;
        // A will is small, and refusing it would refuse the client.
        if matches!(due, ParkUntil::At(_)) {
            shared.check_disk_space()?;
        }
        let session = self.named.clone();
        let id = ParkId(shared.identifiers.next());
        let mut ops = Ops::default();
        let stays = session.as_ref().is_some_and(|s| s.is_durable());
        let durable = match due {
            ParkUntil::At(_) => message.meta().durable,
            ParkUntil::Disconnected { .. } => stays || message.meta().durable,
        };
        let is_will = matches!(due, ParkUntil::Disconnected { .. });
        if durable {
            if is_will && let Some(named) = &session {
                // Its name tells after a crash whose will it was.
                if !named.is_of(&self.inbox)
                    || !named.store(&self.vhost.name, |ops| shared.committer.submit_ops(ops))
                {
                    return Err(taken_over());
                }
            }
            let owner = session.as_ref().map(|s| s.id);
            let parking = Parking { due, session: owner, copies: &[] };
            ops.park(id, &self.vhost.name, parking, &message);
        }
        // Submitted before it can come due, so that its end never stands before its beginning; no snapshot in between.
        let grace = shared.open_turns.enter();
        self.turn.unit().ops.append(&mut ops);
        self.flush_ops();
        shared.charge(&message);
        let vhost = self.vhost.name.clone();
        let (owner, subject) = (self.id, Some(self.rights.subject.clone()));
        let publish = ParkedPublish {
            vhost,
            message,
            due,
            copies: Box::default(),
            owner,
            at: None,
            durable,
            of: session.as_ref().filter(|_| is_will).map(|named| named.name.clone()),
            is_orphan: false,
            subject,
        };
        {
            let mut parked = shared.parked.lock();
            if let Some(at) = parked.add(id, publish) {
                shared.timers.set(at, TimerEvent::Parked(id));
            }
        }
        shared.open_turns.leave(grace);
        // A connection that took the session over before it was parked does not know of it.
        if is_will && session.is_some_and(|named| !named.is_of(&self.inbox)) {
            self.unpark(id).await?;
            return Err(taken_over());
        }
        if durable {
            self.sync().await?;
        }
        Ok(id)
    }

    fn withdraw(&self, id: ParkId) -> Option<ParkedPublish> {
        let shared = self.broker.shared();
        let mut parked = shared.parked.lock();
        let publish = parked.take(id)?;
        shared.timers.cancel(&TimerEvent::Parked(id));
        Some(publish)
    }

    /// False when it is gone already.
    pub async fn unpark(&mut self, id: ParkId) -> Result<bool, Error> {
        self.flush_behind().await;
        self.touch();
        let Some(parked) = self.withdraw(id) else { return Ok(false) };
        let mut ops = Ops::default();
        if parked.durable {
            ops.unpark(id);
        }
        self.store(ops).await?;
        Ok(true)
    }
}
