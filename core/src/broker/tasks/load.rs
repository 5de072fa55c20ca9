//! Reads records back that dispatch has come to and that are not in memory, and lets dispatch go on.

use crate::broker::journal::fetch::{Fetched, fetch_back};
use crate::broker::shared::Shared;
use crate::broker::shared::loads::Load;
use crate::broker::turn::context::Context;
use crate::broker::turn::run::Turn;
use crate::broker::vhost::queue::Queue;
use crate::log::{Offset, Place};
use crate::store::Lost;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// Queues whose records are read back at once. Each reads whole entries of the journal, which takes milliseconds: the
/// tasks of thousands of queues would stand in front of everybody else's.
const AT_ONCE: usize = 4;

/// How often the store is asked when it refuses, and the pause after each time.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

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
    let Some(fetched) = read_back(&shared, &places).await else {
        let (vhost, name) = (&queue.vhost, &queue.name);
        tracing::warn!(
            %vhost, queue = %name,
            "the store does not read messages back: they stay in their queue, and are read again with its \
             next delivery"
        );
        queue.look(|state| state.sub.loaded(Vec::new()));
        return shared.loads.answered();
    };
    let (mut found, mut missing) = (Vec::with_capacity(wanted.len()), Vec::new());
    for ((offset, place), message) in wanted.into_iter().zip(&fetched.messages) {
        match message {
            Some(message) => found.push((offset, message.clone())),
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
            // Those that left the queue meanwhile, or were written again elsewhere, are not lost.
            lost = state.sub.lost(&missing);
        }
        state.sub.dispatch(now, effects);
    });
    if !lost.is_empty() {
        fetched.report();
        report_lost(&shared, &queue, lost.len(), &missing).await;
    }
    shared.committer.free(&lost);
    let context = Context { shared: &shared, vhost: &vhost, now };
    turn.run(context);
    turn.finish(context, None);
    shared.open_turns.leave(open_turn);
    queue.look(|state| state.unsubmitted_departures -= 1);
    shared.loads.answered();
}

/// The messages at these places, as far as they are there; none when the store refuses to look. It does so at the end,
/// when the task that waits here ends as well.
async fn read_back(shared: &Shared, places: &[Place]) -> Option<Fetched> {
    for _ in 0..TRIES {
        let fetched = fetch_back(&*shared.store, places).await;
        if !fetched.is_refused() {
            return Some(fetched);
        }
        tokio::time::sleep(PAUSE).await;
    }
    None
}

async fn report_lost(shared: &Shared, queue: &Queue, records: usize, missing: &[(Offset, Place)]) {
    let (vhost, queue, first) = (&queue.vhost, &queue.name, missing.first().map(|(o, _)| o.0));
    tracing::error!(
        %vhost, %queue, records, first_offset = first,
        "messages cannot be read back from the journal: they are lost to this queue, the others are \
         delivered; the errors before this one name the damaged entries"
    );
    if let Some(losses) = shared.store.losses() {
        let lost = Lost {
            place: format!("queue '{queue}' in vhost '{vhost}'"),
            what: "messages could not be read back: they are lost to this queue".to_owned(),
            records: Some(records as u64),
            bytes: None,
            may_be_nothing: false,
        };
        losses.note(lost).await;
    }
}
