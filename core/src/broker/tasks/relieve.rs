//! Messages leave memory and come back. Over the resident mark, bodies of stored records that wait are let go: they
//! come back when they are to be delivered. Over the high mark, publishers are held back as well, and transient records
//! are written to the journal first, marked so that recovery drops them: so the alarm always ends, with or without a
//! consumer.

use crate::broker::Inner;
use crate::broker::journal::committer::{Placed, Unit, Why};
use crate::broker::journal::fetch::fetch;
use crate::broker::turn::run::{Scene, Turn};
use crate::broker::vhost::host::Vhost;
use crate::broker::vhost::queue::Queue;
use crate::log::{Offset, Place};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Transient records written in one go.
const SPILL_BYTES: u64 = 4 << 20;
/// Between two looks at what was not enough, at least and at most.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Works as long as memory is over a mark, whenever that happens, until the broker closes.
pub async fn run(core: Arc<Inner>) {
    loop {
        core.over.notified().await;
        let mut pause = PAUSE;
        loop {
            let before = core.budget.used();
            relieve(&core).await;
            let used = core.budget.used();
            if core.alarmed.load(Ordering::Acquire) && !core.budget.is_over_low() {
                core.alarmed.store(false, Ordering::Release);
                tracing::info!(used, "memory is below its mark again");
                core.release_held();
            }
            if !core.budget.is_over_resident() && !core.alarmed.load(Ordering::Acquire) {
                break;
            }
            // Where little can be let go, looking for it all the time would only cost.
            let is_alarmed = core.alarmed.load(Ordering::Acquire);
            let little = used > before / 10 * 9 && !is_alarmed;
            pause = if little { (pause * 2).min(PAUSE_MAX) } else { PAUSE };
            tokio::time::sleep(pause).await;
        }
        core.relieving.store(false, Ordering::Release);
    }
}

/// One pass over all queues. Each keeps its share of what is next in memory.
async fn relieve(core: &Arc<Inner>) {
    let mut queues: Vec<Arc<Queue>> = Vec::new();
    for vhost in core.all_vhosts() {
        queues.extend(vhost.queues().into_iter().filter(|q| q.look(|s| !s.sub.log.is_empty())));
    }
    let share = (core.budget.resident() / 4 / queues.len().max(1)) as u64;
    // As long as the alarm lasts, which is longer than the mark is exceeded.
    let spill_bytes = if core.alarmed.load(Ordering::Acquire) { SPILL_BYTES } else { 0 };
    for queue in queues {
        let (_, spill) = queue.look(|state| state.sub.evict(share, spill_bytes));
        if spill.is_empty() {
            continue;
        }
        let mut unit = Unit::default();
        for (offset, message) in &spill {
            let index = unit.ops.spilled(message);
            let queue = queue.clone();
            unit.placed.push(Placed { queue, offset: *offset, index, why: Why::Spilled });
        }
        if core.committer.sync(unit).await.is_err() {
            return;
        }
        drop(spill);
        queue.look(|state| state.sub.evict(share, 0));
    }
}

impl Inner {
    /// Fetches records that dispatch has come to, and lets it go on.
    pub(in crate::broker) fn load(
        self: &Arc<Self>,
        vhost: &Arc<Vhost>,
        queue: Arc<Queue>,
        wanted: Vec<(Offset, Place)>,
    ) {
        let (core, vhost) = (self.clone(), vhost.clone());
        tokio::spawn(async move {
            let places: Vec<Place> = wanted.iter().map(|(_, place)| *place).collect();
            let fetched = fetch(&*core.store, &places).await;
            let (mut found, mut missing) = (Vec::with_capacity(wanted.len()), Vec::new());
            for ((offset, place), message) in wanted.into_iter().zip(fetched) {
                match message {
                    Some(message) => found.push((offset, message)),
                    None => missing.push((offset, place)),
                }
            }
            let grace = core.grace.enter();
            let mut turn = Turn::default();
            let now = core.now();
            let mut lost = Vec::new();
            queue.step(&mut turn.after, |state, effects| {
                found.iter().for_each(|(_, message)| core.charge(message));
                state.moving += 1;
                state.sub.loaded(found);
                if !missing.is_empty() {
                    lost = state.sub.lost(&missing);
                    if !lost.is_empty() {
                        let (queue, first) = (&queue.name, missing.first().map(|(o, _)| o.0));
                        tracing::error!(%queue, records = lost.len(), first, "messages cannot be read back");
                    }
                }
                state.sub.dispatch(now, effects);
            });
            core.committer.free(&lost);
            let scene = Scene { core: &core, vhost: &vhost, now };
            turn.run(scene);
            turn.finish(scene, None);
            core.grace.leave(grace);
            queue.look(|state| state.moving -= 1);
            core.loads.notify_waiters();
        });
    }

    /// Resolves when these rejected records have left their queue, and that is submitted.
    pub(in crate::broker) async fn gone(&self, queue: &Queue, offsets: &[Offset]) {
        loop {
            let loaded = self.loads.notified();
            let waits = queue.look(|state| {
                state.moving > 0 || offsets.iter().any(|offset| state.sub.is_doomed(*offset))
            });
            if !waits {
                return;
            }
            loaded.await;
        }
    }

    /// Resolves when nothing of that queue is being fetched.
    pub(in crate::broker) async fn loaded(&self, queue: &Queue) {
        loop {
            let loaded = self.loads.notified();
            if !queue.look(|state| state.sub.is_loading()) {
                return;
            }
            loaded.await;
        }
    }
}
