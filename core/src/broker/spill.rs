//! Memory over its mark: bodies of waiting records leave memory, and come back when they are to be delivered.
//! Stored records just let go; transient ones are written to the journal first, marked so that recovery drops them.
//! So the alarm always ends, with or without a consumer.

use super::Inner;
use super::committer::{self, Placed, Unit};
use super::queue::Queue;
use super::turn::{Scene, Turn};
use super::vhost::Vhost;
use crate::log::{Offset, Place};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Transient records written in one go.
const SPILL_BYTES: u64 = 4 << 20;
/// Between two looks at what was not enough.
const PAUSE: Duration = Duration::from_millis(20);

/// Works as long as the alarm lasts, whenever it is raised, until the broker closes.
pub async fn run(core: Arc<Inner>) {
    loop {
        core.over.notified().await;
        while core.budget.is_over_low() {
            relieve(&core).await;
            if core.budget.is_over_low() {
                tokio::time::sleep(PAUSE).await;
            }
        }
        core.alarmed.store(false, Ordering::Release);
        tracing::info!(used = core.budget.used(), "memory is below its mark again");
        let held = std::mem::take(&mut *core.held.lock());
        held.iter().filter_map(std::sync::Weak::upgrade).for_each(|inbox| inbox.wake());
    }
}

/// One pass over all queues. Each keeps its share of what is next in memory.
async fn relieve(core: &Arc<Inner>) {
    let mut queues: Vec<Arc<Queue>> = Vec::new();
    for vhost in core.all_vhosts() {
        queues.extend(vhost.queues().into_iter().filter(|q| q.look(|s| !s.sub.log.is_empty())));
    }
    let share = core.settings.memory_high / 4 / queues.len().max(1);
    for queue in queues {
        let (_, spill) = queue.look(|state| state.sub.evict(share as u64, SPILL_BYTES));
        if spill.is_empty() {
            continue;
        }
        let mut unit = Unit::default();
        for (offset, message) in &spill {
            let index = unit.ops.spilled(message);
            let queue = queue.clone();
            unit.placed.push(Placed { queue, offset: *offset, index, spilled: true });
        }
        if core.committer.sync(unit).await.is_err() {
            return;
        }
        drop(spill);
        queue.look(|state| state.sub.evict(share as u64, 0));
    }
}

impl Inner {
    /// Fetches records that dispatch has come to, and lets it go on.
    pub(super) fn load(
        self: &Arc<Self>,
        vhost: &Arc<Vhost>,
        queue: Arc<Queue>,
        wanted: Vec<(Offset, Place)>,
    ) {
        let (core, vhost) = (self.clone(), vhost.clone());
        tokio::spawn(async move {
            let places: Vec<Place> = wanted.iter().map(|(_, place)| *place).collect();
            let fetched = committer::fetch(&*core.store, &places).await;
            let grace = core.grace.enter();
            let mut turn = Turn::default();
            let now = core.now();
            let mut lost = Vec::new();
            queue.step(&mut turn.after, |state, effects| {
                match fetched {
                    Ok(messages) => {
                        let offsets = wanted.iter().map(|(offset, _)| *offset);
                        messages.iter().for_each(|message| core.charge(message));
                        state.sub.loaded(offsets.zip(messages).collect());
                    }
                    Err(error) => {
                        let (queue, records) = (&queue.name, wanted.len());
                        tracing::error!(%queue, records, %error, "messages cannot be read back");
                        let offsets: Vec<Offset> = wanted.iter().map(|(o, _)| *o).collect();
                        lost = state.sub.lost(&offsets);
                    }
                }
                state.sub.dispatch(now, effects);
            });
            core.committer.free(&lost);
            let scene = Scene { core: &core, vhost: &vhost, now };
            turn.run(scene);
            turn.finish(scene, None);
            core.grace.leave(grace);
            core.loads.notify_waiters();
        });
    }

    /// Resolves when nothing of that queue is being fetched.
    pub(super) async fn loaded(&self, queue: &Queue) {
        loop {
            let loaded = self.loads.notified();
            if !queue.look(|state| state.sub.is_loading()) {
                return;
            }
            loaded.await;
        }
    }
}
