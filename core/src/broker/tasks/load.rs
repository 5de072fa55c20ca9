//! Reads records back that dispatch has come to and that are not in memory, and lets dispatch go on.

use crate::broker::journal::fetch::fetch;
use crate::broker::shared::Shared;
use crate::broker::shared::loads::Load;
use crate::broker::turn::context::Context;
use crate::broker::turn::run::Turn;
use crate::broker::vhost::queue::Queue;
use crate::log::{Offset, Place};
use std::sync::{Arc, Weak};
use tokio::sync::{Semaphore, mpsc};

/// Queues whose records are read back at once. Each reads whole entries of the journal, which takes milliseconds: the
/// tasks of thousands of queues would stand in front of everybody else's.
const AT_ONCE: usize = 4;

/// Reads what is asked for, each queue's on a task of its own, as long as the broker is there.
pub async fn run(shared: Weak<Shared>, mut asked: mpsc::Receiver<()>) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    while asked.recv().await.is_some() {
        let Some(shared) = shared.upgrade() else { return };
        for load in shared.loads.take() {
            let (shared, turns) = (shared.clone(), turns.clone());
            tokio::spawn(async move {
                // An error is a closed semaphore, and nobody closes it.
                let _turn = turns.acquire().await;
                carry_out(shared, load).await;
            });
        }
    }
}

async fn carry_out(shared: Arc<Shared>, load: Load) {
    let Load { vhost, queue, wanted } = load;
    let places: Vec<Place> = wanted.iter().map(|(_, place)| *place).collect();
    let fetched = fetch(&*shared.store, &places).await;
    let (mut found, mut missing) = (Vec::with_capacity(wanted.len()), Vec::new());
    for ((offset, place), message) in wanted.into_iter().zip(fetched) {
        match message {
            Some(message) => found.push((offset, message)),
            None => missing.push((offset, place)),
        }
    }
    let open_turn = shared.open_turns.enter();
    let mut turn = Turn::default();
    let now = shared.now();
    let mut lost = Vec::new();
    queue.change(&mut turn.after, |state, effects| {
        found.iter().for_each(|(_, message)| shared.charge(message));
        state.unsubmitted_departures += 1;
        state.sub.loaded(found);
        if !missing.is_empty() {
            lost = state.sub.lost(&missing);
            report_lost(&queue, lost.len(), &missing);
        }
        state.sub.dispatch(now, effects);
    });
    shared.committer.free(&lost);
    let context = Context { shared: &shared, vhost: &vhost, now };
    turn.run(context);
    turn.finish(context, None);
    shared.open_turns.leave(open_turn);
    queue.look(|state| state.unsubmitted_departures -= 1);
    shared.loads.answered();
}

fn report_lost(queue: &Queue, records: usize, missing: &[(Offset, Place)]) {
    if records > 0 {
        let (vhost, queue, first) = (&queue.vhost, &queue.name, missing.first().map(|(o, _)| o.0));
        tracing::error!(
            %vhost, %queue, records, first_offset = first,
            "messages cannot be read back from the journal: they are lost to this queue, the others are \
             delivered; the errors before this one name the damaged entries"
        );
    }
}
