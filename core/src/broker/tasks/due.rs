//! What timers lead to: records, queues and sessions expire, parked publishes are routed.

use crate::broker::accounts::subject::login_over;
use crate::broker::door::events::Notice;
use crate::broker::door::request::{ParkId, SessionLife};
use crate::broker::shared::Shared;
use crate::broker::shared::timers::TimerEvent;
use crate::broker::turn::context::Context;
use crate::broker::turn::removal::{end_session, owner_gone, watch_unused};
use crate::broker::turn::run::Turn;
use crate::broker::vhost::drops::DropReason;
use crate::broker::vhost::host::Vhost;
use crate::exchange::{LogId, SessionId};
use crate::message::Timestamp;
use crate::rights::Action;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait while no timer is set.
const IDLE: Duration = Duration::from_secs(3600);

/// Acts on timers until the broker closes.
pub async fn run(shared: Arc<Shared>) {
    loop {
        while let Some(event) = shared.timers.take_due(shared.now()) {
            let open_turn = shared.open_turns.enter();
            // To route a publish takes little; of the others, each may be about many things.
            let is_short = matches!(event, TimerEvent::Parked(_));
            fire(&shared, event);
            shared.open_turns.leave(open_turn);
            match is_short {
                true => tokio::task::consume_budget().await,
                false => tokio::task::yield_now().await,
            }
        }
        let wait = match shared.timers.next() {
            Some(at) => Duration::from_millis(shared.now().until(at).max(1)),
            None => IDLE,
        };
        shared.timers.wait(wait).await;
    }
}

fn fire(shared: &Arc<Shared>, event: TimerEvent) {
    let now = shared.now();
    match event {
        TimerEvent::RecordExpires(vhost, id) => {
            if let Some(vhost) = shared.vhost(&vhost) {
                expire_records(shared, &vhost, id, now);
            }
        }
        TimerEvent::QueueUnused(vhost, id) => {
            if let Some(vhost) = shared.vhost(&vhost)
                && let Some(queue) = vhost.queue_by_id(id)
            {
                watch_unused(shared, &vhost, &queue);
            }
        }
        TimerEvent::Parked(id) => route_parked(shared, id, now),
        TimerEvent::LoginExpires(connection) => end_login(shared, connection, now),
        TimerEvent::ValueExpires(vhost) => {
            if let Some(vhost) = shared.vhost(&vhost) {
                Context { shared, vhost: &vhost, now }.expire_values();
            }
        }
        TimerEvent::SessionExpires(vhost, id) => {
            if let Some(vhost) = shared.vhost(&vhost) {
                expire_session(shared, &vhost, id, now);
            }
        }
    }
}

fn expire_records(shared: &Arc<Shared>, vhost: &Arc<Vhost>, id: LogId, now: Timestamp) {
    let Some(queue) = vhost.queue_by_id(id) else { return };
    let context = Context { shared, vhost, now };
    let mut turn = Turn::default();
    queue.change(&mut turn.after, |state, effects| {
        state.alarm = None;
        state.sub.dispatch(now, effects);
    });
    turn.run(context);
    turn.finish(context, None);
}

fn expire_session(shared: &Arc<Shared>, vhost: &Arc<Vhost>, id: SessionId, now: Timestamp) {
    let Some(named) = vhost.session_by_id(id) else { return };
    let _one = vhost.opening.lock();
    let over = named.with(|state| match (state.gone_since, state.life) {
        (Some(since), SessionLife::For(ms)) => !state.ended && since.plus(ms) <= now,
        _ => false,
    });
    if over {
        let ops = end_session(shared, vhost, &named);
        owner_gone(shared, id, now, true);
        shared.committer.submit_ops(ops);
    }
}

/// The login of a connection has ended: the connection is told to end, too.
fn end_login(shared: &Shared, connection: u64, now: Timestamp) {
    if let Some(inbox) = shared.users.take_ending(connection) {
        inbox.notice(Notice::Closed(login_over(&inbox.origin.user, now)));
    }
}

/// Routes a parked publish whose time has come: its routing and its removal are one unit.
fn route_parked(shared: &Arc<Shared>, id: ParkId, now: Timestamp) {
    let Some(parked) = shared.parked.lock().take_due(id, now) else { return };
    let Some(vhost) = shared.vhost(&parked.vhost) else { return };
    let context = Context { shared, vhost: &vhost, now };
    let mut turn = Turn::default();
    let origin = &parked.message.meta().origin;
    // What its owner had the right to then, it may have no more.
    let owner = parked.subject.unwrap_or_else(|| {
        shared.users.absent_subject(&origin.user, &origin.client, &parked.vhost)
    });
    match owner.check(Action::Write, &owner.at(parked.message.address())) {
        Ok(()) => turn.send_parked(context, parked.message),
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
