//! Parked publishes whose time has come.

use super::context::Context;
use super::run::Turn;
use crate::broker::door::request::ParkId;
use crate::broker::shared::Shared;
use crate::broker::vhost::drops::DropReason;
use crate::broker::vhost::parked::ParkedPublish;
use crate::exchange::Kind;
use crate::message::{Message, Timestamp};
use crate::rights::Action;
use std::sync::Arc;

/// Routes a parked publish whose time has come: its routing and its removal are one unit. What is not due, or not there
/// any more, stays as it is.
pub fn route_parked(shared: &Arc<Shared>, id: ParkId, now: Timestamp) {
    let Some(parked) = shared.parked.lock().take_due(id, now) else { return };
    route(shared, (id, parked), now);
    shared.parked.lock().routed(id);
}

fn route(shared: &Arc<Shared>, (id, parked): (ParkId, ParkedPublish), now: Timestamp) {
    let Some(vhost) = shared.vhost(&parked.vhost) else { return };
    let context = Context { shared, vhost: &vhost, now };
    let mut turn = Turn::default();
    let origin = &parked.message.meta().origin;
    // What its owner had the right to then, it may have no more.
    let owner = parked.subject.clone().unwrap_or_else(|| {
        shared.users.absent_subject(&origin.user, &origin.client, &parked.vhost)
    });
    let address = parked.message.address();
    // Who published it was asked then, or was a queue whose dead letter it is: the exchange has kept it.
    let is_kept = vhost.exchange(&address.exchange).is_ok_and(|spec| spec.kind == Kind::Delayed);
    let may = match is_kept {
        true => Ok(()),
        false => owner.check(Action::Write, &owner.at(address)),
    };
    match may {
        Ok(()) => turn.send_parked(context, &published_now(&parked, now), &parked.copies),
        Err(why) => {
            vhost.count_refused(parked.message.address());
            vhost.note_drop(DropReason::Denied, parked.message.address(), &why);
        }
    }
    if parked.durable {
        turn.unit().ops.unpark(id);
    }
    turn.run(context);
    turn.finish(context, None);
}

/// A will is published now, and its time to live runs from now.
fn published_now(parked: &ParkedPublish, now: Timestamp) -> Message {
    let (message, meta) = (&parked.message, parked.message.meta());
    match meta.expires.filter(|_| parked.due.is_gone()) {
        None => message.clone(),
        Some(expires) => {
            let mut meta = meta.clone();
            meta.expires = Some(now.plus(meta.published.until(expires)));
            message.with(message.address().clone(), meta)
        }
    }
}
