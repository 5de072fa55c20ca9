//! What a commit leads to: stored records are marked and dispatched, and snapshots become due.

use super::context::Context;
use super::run::Turn;
use crate::broker::journal::committer::Committed;
use crate::broker::journal::unit::{Placed, WriteReason};
use crate::broker::shared::Shared;
use crate::broker::vhost::queue::Aftermath;
use crate::log::Place;
use crate::message::Timestamp;
use crate::store::Pos;
use std::sync::Arc;

/// Carries out what a commit leads to, in a turn of its own.
pub struct AfterCommit(pub Arc<Shared>);

impl Committed for AfterCommit {
    fn stored(&self, mut placed: Vec<(Placed, Place)>) {
        let shared = &self.0;
        let grace = shared.open_turns.enter();
        let mut turn = Turn::default();
        let now = shared.now();
        // Nearly always one virtual host has it all.
        while let Some(name) = placed.first().map(|(p, _)| p.queue.vhost.clone()) {
            let rest = match placed.iter().position(|(p, _)| p.queue.vhost != name) {
                Some(at) => placed.split_off(at),
                None => Vec::new(),
            };
            let theirs = std::mem::replace(&mut placed, rest);
            if let Some(vhost) = shared.vhost(&name) {
                commit(shared, theirs, now, &mut turn);
                let context = Context { shared, vhost: &vhost, now };
                turn.run(context);
                turn.finish(context, None);
            }
        }
        shared.open_turns.leave(grace);
    }

    fn lost(&self, placed: Vec<Placed>) {
        let mut after = Aftermath::default();
        for placed in placed.into_iter().filter(|p| matches!(p.reason, WriteReason::New(_))) {
            placed.queue.change(&mut after, |state, _| state.sub.fail(placed.offset));
        }
    }

    fn wrote(&self, upto: Pos, bytes: usize) {
        let shared = &self.0;
        shared.pressure.disk.wrote(bytes);
        shared.pressure.sleepers.wrote(bytes);
        shared.journal.wrote(upto, bytes);
    }
}

/// Marks records as stored, queue by queue, and dispatches what that lets go.
fn commit(shared: &Shared, placed: Vec<(Placed, Place)>, now: Timestamp, turn: &mut Turn) {
    let mut rest = placed.into_iter().peekable();
    let mut gone = Vec::new();
    while let Some((first, place)) = rest.next() {
        let queue = first.queue.clone();
        queue.change(&mut turn.after, |state, effects| {
            let mut one = |placed: &Placed, place: Place| {
                let is_living = match placed.reason {
                    WriteReason::New(_) => state.sub.commit(placed.offset, place),
                    WriteReason::Spilled => state.sub.spilled(placed.offset, place),
                    WriteReason::Rewritten(from) => state.sub.rewritten(placed.offset, from, place),
                };
                match (is_living, placed.reason) {
                    (true, WriteReason::Rewritten(from)) => gone.push(from),
                    (true, _) => {}
                    (false, _) => gone.push(place),
                }
            };
            one(&first, place);
            while let Some((placed, place)) = rest.next_if(|(p, _)| p.queue.id == first.queue.id) {
                one(&placed, place);
            }
            state.sub.dispatch(now, effects);
        });
    }
    shared.committer.free(&gone);
}
