//! What timers lead to: records, queues and sessions expire, parked publishes are routed.

use crate::broker::accounts::subject::login_over;
use crate::broker::door::events::{Late, Notice};
use crate::broker::door::request::SessionLife;
use crate::broker::shared::Shared;
use crate::broker::shared::timers::TimerEvent;
use crate::broker::turn::context::Context;
use crate::broker::turn::parked::route_parked;
use crate::broker::turn::removal::{
    after_detach, end_session, owner_gone, watch_settling, watch_unused,
};
use crate::broker::turn::run::Turn;
use crate::broker::vhost::host::Vhost;
use crate::exchange::{LogId, SessionId};
use crate::message::Timestamp;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait while no timer is set.
const IDLE: Duration = Duration::from_secs(3600);
/// Consumers that one look at what is not settled goes through at a time.
const LATE_SLICE: usize = 256;
/// Milliseconds between two such looks at one queue, at least.
const LATE_LOOK_MS: Range<u64> = 100..60_000;

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
        TimerEvent::SettleInTime(vhost, id) => {
            if let Some(vhost) = shared.vhost(&vhost) {
                end_late_consumers(shared, &vhost, id, now);
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

/// Ends the consumers of a queue that have had something for longer than it allows, and says when to look again.
fn end_late_consumers(shared: &Arc<Shared>, vhost: &Arc<Vhost>, id: LogId, now: Timestamp) {
    let Some(queue) = vhost.queue_by_id(id) else { return };
    let Some(ms) = queue.look(|state| state.sub.rules.consumer_timeout_ms) else { return };
    let (context, times) = (Context { shared, vhost, now }, (shared.clock_jumped_to(), now));
    let (mut turn, mut late, mut next) = (Turn::default(), Vec::new(), None::<Timestamp>);
    let holders = queue.look(|state| state.sub.holders());
    // Others have the queue between two slices.
    for some in holders.chunks(LATE_SLICE) {
        queue.change(&mut turn.after, |state, effects| {
            for handle in some {
                match state.sub.oldest_given(*handle, times).map(|given| given.plus(ms)) {
                    Some(due) if due <= now => late.extend(state.end_late(*handle, now, effects)),
                    due => next = next.into_iter().chain(due).min(),
                }
            }
            state.sub.dispatch(now, effects);
        });
    }
    if let Some((_, inbox)) = late.first() {
        let (user, client) = (&inbox.origin.user, &inbox.origin.client);
        tracing::warn!(
            queue = %queue.name, vhost = %queue.vhost, timeout_ms = ms, consumers = late.len(),
            %user, %client,
            "consumers did not acknowledge messages within the queue's consumer timeout: the messages \
             have gone back to the queue, and the consumers are ended"
        );
    }
    let is_ended = !late.is_empty();
    for (consumer, inbox) in late {
        let (lane, queue) = (None, queue.name.clone());
        inbox.notice(Notice::Late(Late { consumer, lane, queue, timeout_ms: ms }));
    }
    // A tenth of the time late is early enough.
    let soonest = now.plus((ms / 10).clamp(LATE_LOOK_MS.start, LATE_LOOK_MS.end));
    let next = queue.look(|state| {
        let waits = state.sub.consumers.in_flight().0 > 0;
        let next = next.or_else(|| waits.then(|| now.plus(ms))).map(|next| next.max(soonest));
        state.is_awaited = next.is_some();
        next
    });
    if let Some(next) = next {
        watch_settling(shared, vhost, id, next);
    }
    turn.run(context);
    turn.finish(context, None);
    if is_ended {
        shared.committer.submit_ops(after_detach(shared, vhost, &queue));
    }
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
