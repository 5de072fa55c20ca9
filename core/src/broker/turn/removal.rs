//! How queues, exchanges and named sessions end: deleted, with their last consumer, binding or connection, or unused
//! for their time.

use super::context::Context;
use super::run::Turn;
use crate::broker::door::events::Notice;
use crate::broker::door::request::Claim;
use crate::broker::journal::unit::Unit;
use crate::broker::operations::ops::Ops;
use crate::broker::shared::Shared;
use crate::broker::shared::timers::TimerEvent;
use crate::broker::vhost::host::Vhost;
use crate::broker::vhost::inbox::Inbox;
use crate::broker::vhost::named::Named;
use crate::broker::vhost::queue::{Aftermath, Queue};
use crate::broker::vhost::topology::Topology;
use crate::error::{Error, ErrorKind};
use crate::exchange::{LogId, SessionId};
use crate::message::{Address, Timestamp};
use crate::subscription::{ConsumerId, Outcome, Woken};
use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// Why a delivery is rejected that a session had begun and not finished.
const SESSION_ENDED: &str = "session-ended";

/// Deletes a queue with its bindings, consumers and records. Returns what has to be stored, and how many ready messages
/// it had.
pub fn remove_queue(shared: &Arc<Shared>, vhost: &Arc<Vhost>, queue: &Arc<Queue>) -> (Ops, u64) {
    let mut ops = Ops::default();
    {
        let mut topology = vhost.topology.write();
        let gone = topology.remove_queue(queue, &vhost.generations);
        for binding in gone {
            auto_delete_exchange(vhost, &mut topology, &binding.source, &mut ops);
        }
        // Under the lock: a queue or exchange of the same name that is declared next comes behind it in the journal.
        if queue.is_durable() {
            ops.queue_gone(queue.id);
        }
        shared.committer.submit(Unit::of(std::mem::take(&mut ops)));
    }
    let mut waiting = Vec::new();
    let (count, mut seats, was_there) = queue.look(|state| {
        let was_there = !std::mem::replace(&mut state.deleted, true);
        queue.set_gone(state.sub.log.next());
        let consumers = &state.sub.consumers;
        let seats: Vec<_> = state
            .consumer_inboxes()
            .filter_map(|(h, inbox)| consumers.get(h).map(|c| (c.id, c.in_flight(), inbox.clone())))
            .collect();
        let count = state.sub.ready().0;
        ops.freed = state.empty(&mut waiting);
        (count, seats, was_there)
    });
    if was_there {
        vhost.gone.lock().add(&queue.counts);
    }
    vhost.routes.forget(&Address::queue(&queue.name));
    shared.timers.cancel(&TimerEvent::RecordExpires(vhost.name.clone(), queue.id));
    shared.timers.cancel(&TimerEvent::SettleInTime(vhost.name.clone(), queue.id));
    shared.timers.cancel(&TimerEvent::QueueUnused(vhost.name.clone(), queue.id));
    seats.sort_unstable_by_key(|(consumer, ..)| *consumer);
    take_back(&seats, &mut waiting);
    for (consumer, _, inbox) in seats {
        let why = format!("queue '{}' was deleted", queue.name);
        inbox.notice(Notice::Detached { consumer, why: Error::new(ErrorKind::NotFound, why) });
    }
    go_on(shared, vhost, waiting);
    (ops, count)
}

/// Takes back what connections have not taken of their consumers' deliveries, each inbox searched once.
fn take_back(seats: &[(ConsumerId, u32, Arc<Inbox>)], woken: &mut Vec<Woken>) {
    let mut by_inbox: FxHashMap<usize, (&Arc<Inbox>, FxHashSet<ConsumerId>)> = FxHashMap::default();
    for (consumer, _, inbox) in seats.iter().filter(|(_, in_flight, _)| *in_flight > 0) {
        let theirs = by_inbox.entry(Arc::as_ptr(inbox) as usize);
        theirs.or_insert_with(|| (inbox, FxHashSet::default())).1.insert(*consumer);
    }
    for (inbox, consumers) in by_inbox.into_values() {
        let taken = inbox.take_all_back(&consumers);
        inbox.window.release(taken.messages, taken.bytes, woken);
    }
}

/// Consumers that waited for credit get what waits for them: it has come back.
fn go_on(shared: &Arc<Shared>, vhost: &Arc<Vhost>, woken: Vec<Woken>) {
    if woken.is_empty() {
        return;
    }
    let context = Context { shared, vhost, now: shared.now() };
    let mut turn = Turn::default();
    turn.after.woken = woken;
    turn.run(context);
    turn.finish(context, None);
}

/// An auto-delete exchange goes with its last binding.
pub fn auto_delete_exchange(vhost: &Vhost, topology: &mut Topology, name: &str, ops: &mut Ops) {
    let goes = topology.exchange(name).is_some_and(|e| e.auto_delete);
    if goes && !topology.has_bindings(name) {
        topology.remove_exchange(name, &vhost.generations);
        ops.exchange_gone(&vhost.name, name);
    }
}

/// An auto-delete queue goes with its last consumer; an expiring one begins to wait.
pub fn after_detach(shared: &Arc<Shared>, vhost: &Arc<Vhost>, queue: &Arc<Queue>) -> Ops {
    let unused = queue.look(|state| {
        !state.deleted && state.had_consumer && state.sub.consumers.active_count() == 0
    });
    if unused && queue.spec.auto_delete {
        return remove_queue(shared, vhost, queue).0;
    }
    if unused {
        watch_unused(shared, vhost, queue);
    }
    Ops::default()
}

/// Deletes an expiring queue that was unused for its time, or sets the timer for when that will be.
pub fn watch_unused(shared: &Arc<Shared>, vhost: &Arc<Vhost>, queue: &Arc<Queue>) {
    let Some(ms) = queue.spec.expires_ms else { return };
    let at = queue.look(|state| {
        let used = state.deleted || state.sub.consumers.active_count() > 0;
        (!used).then(|| state.unused_since.plus(ms))
    });
    match at {
        Some(at) if at <= shared.now() => {
            let (ops, _) = remove_queue(shared, vhost, queue);
            shared.committer.submit_ops(ops);
        }
        Some(at) => {
            let event = TimerEvent::QueueUnused(vhost.name.clone(), queue.id);
            shared.timers.set(at, event.clone());
            // Whoever deleted it in between has found no timer to cancel.
            if queue.is_gone() {
                shared.timers.cancel(&event);
            }
        }
        None => {}
    }
}

/// The queue has a consumer: it is not watched.
pub fn in_use(shared: &Shared, queue: &Queue) {
    if queue.spec.expires_ms.is_some() {
        shared.timers.cancel(&TimerEvent::QueueUnused(queue.vhost.clone(), queue.id));
    }
}

/// The head of a queue expires then, at the earliest.
pub(super) fn watch_head(shared: &Shared, vhost: &Vhost, queue: LogId, due: Timestamp) {
    let event = TimerEvent::RecordExpires(vhost.name.clone(), queue);
    shared.timers.set_no_later(due, event.clone());
    // Whoever deleted it in between has found no timer to cancel.
    if vhost.queue_by_id(queue).is_none() {
        shared.timers.cancel(&event);
    }
}

/// What the consumers of a queue have is looked at then, at the latest.
pub fn watch_settling(shared: &Shared, vhost: &Vhost, queue: LogId, due: Timestamp) {
    let event = TimerEvent::SettleInTime(vhost.name.clone(), queue);
    shared.timers.set_no_later(due, event.clone());
    // Whoever deleted it in between has found no timer to cancel.
    if vhost.queue_by_id(queue).is_none() {
        shared.timers.cancel(&event);
    }
}

/// Ends a named session: nothing of it is kept. Returns what has to be stored.
pub fn end_session(shared: &Arc<Shared>, vhost: &Arc<Vhost>, named: &Arc<Named>) -> Ops {
    let mut ops = Ops::default();
    let (queue, groups, claims, durable) = named.with(|state| {
        state.ended = true;
        let (groups, claims) = (state.groups().collect::<Vec<LogId>>(), state.claims());
        state.memos.clear();
        (state.queue.take(), groups, claims, state.stored)
    });
    reject_claims(shared, vhost, claims);
    vhost.topology.write().remove_session(named, &vhost.generations);
    if let Some(queue) = queue.filter(|queue| !queue.is_gone()) {
        ops.append(&mut remove_queue(shared, vhost, &queue).0);
    }
    for queue in groups.into_iter().filter_map(|id| vhost.queue_by_id(id)) {
        ops.append(&mut leave_group(shared, vhost, &queue, named.id));
    }
    if durable {
        ops.session_gone(named.id);
    }
    shared.timers.cancel(&TimerEvent::SessionExpires(vhost.name.clone(), named.id));
    ops
}

/// What a session has claimed is with no consumer any more, and nobody else gets it.
pub fn keep_claims(vhost: &Vhost, named: &Named, after: &mut Aftermath) {
    for (claim, _) in named.with(|state| state.claims()) {
        let Some(queue) = vhost.queue_by_id(claim.queue) else { continue };
        queue.change(after, |state, effects| {
            state.sub.keep_claimed(claim.offset, None, effects);
        });
    }
}

/// Their session has ended: its client may have seen them, so nobody else gets them (MQTT 5 §4.8.2).
fn reject_claims(shared: &Arc<Shared>, vhost: &Arc<Vhost>, claims: Vec<(Claim, Bytes)>) {
    if claims.is_empty() {
        return;
    }
    let context = Context { shared, vhost, now: shared.now() };
    let mut turn = Turn::default();
    let outcome = Outcome::Rejected { reason: Some(SESSION_ENDED.into()) };
    for (Claim { queue, offset }, _) in claims {
        let Some(queue) = vhost.queue_by_id(queue) else { continue };
        queue.change(&mut turn.after, |state, effects| {
            state.sub.settle_claimed(offset, &outcome, effects);
            state.sub.dispatch(context.now, effects);
        });
    }
    turn.run(context);
    turn.finish(context, None);
}

/// A session is no member of a group any more. The group's queue ends with its last one: what waits there is for
/// nobody. Returns what has to be stored.
pub fn leave_group(
    shared: &Arc<Shared>,
    vhost: &Arc<Vhost>,
    queue: &Arc<Queue>,
    session: SessionId,
) -> Ops {
    match queue.look(|state| state.members.leave(session)) {
        true => end_group(shared, vhost, queue),
        false => Ops::default(),
    }
}

/// A group has no members. Returns what has to be stored.
pub fn end_group(shared: &Arc<Shared>, vhost: &Arc<Vhost>, queue: &Arc<Queue>) -> Ops {
    let (ops, messages) = remove_queue(shared, vhost, queue);
    tracing::debug!(
        queue = %queue.name, vhost = %queue.vhost, messages,
        "the queue of a group ended with its last member, and what waited there with it"
    );
    ops
}

/// A connection is gone (or, when `ended`, its session): its wills become due, at once or after their delay.
pub fn owner_gone(shared: &Shared, owner: SessionId, now: Timestamp, ended: bool) {
    let mut parked = shared.parked.lock();
    for (id, at) in parked.gone(owner, now, ended) {
        shared.timers.set(at, TimerEvent::Parked(id));
    }
}
