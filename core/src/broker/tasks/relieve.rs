//! Messages leave memory and come back. Over the resident mark, bodies of stored records that wait are let go: they
//! come back when they are to be delivered. Over the high mark, publishers are held back as well, and transient records
//! are written to the journal first, marked so that recovery drops them: so the alarm always ends, with or without a
//! consumer.

use crate::broker::journal::unit::{Placed, Unit, WriteReason};
use crate::broker::shared::Shared;
use crate::broker::vhost::queue::Queue;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Transient records written in one go.
const SPILL_BYTES: u64 = 4 << 20;
/// Between two looks at what was not enough, at least and at most.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Works as long as memory is over a mark, whenever that happens, until the broker closes.
pub async fn run(shared: Arc<Shared>) {
    loop {
        shared.pressure.memory.exceeded.notified().await;
        let mut pause = PAUSE;
        loop {
            let before = shared.pressure.memory.budget.used();
            relieve(&shared).await;
            let used = shared.pressure.memory.budget.used();
            if shared.pressure.memory.is_over_high.load(Ordering::Acquire)
                && !shared.pressure.memory.budget.is_over_low()
            {
                shared.pressure.memory.is_over_high.store(false, Ordering::Release);
                tracing::info!(used, "memory is below its mark again");
                shared.pressure.release_held();
            }
            if !shared.pressure.memory.budget.is_over_resident()
                && !shared.pressure.memory.is_over_high.load(Ordering::Acquire)
            {
                break;
            }
            // Where little can be let go, looking for it all the time would only cost.
            let is_alarmed = shared.pressure.memory.is_over_high.load(Ordering::Acquire);
            let little = used > before / 10 * 9 && !is_alarmed;
            pause = if little { (pause * 2).min(PAUSE_MAX) } else { PAUSE };
            tokio::time::sleep(pause).await;
        }
        shared.pressure.memory.is_evicting.store(false, Ordering::Release);
    }
}

/// One pass over all queues. Each keeps its share of what is next in memory.
async fn relieve(shared: &Arc<Shared>) {
    let mut queues: Vec<Arc<Queue>> = Vec::new();
    for vhost in shared.all_vhosts() {
        queues.extend(vhost.queues().into_iter().filter(|q| q.look(|s| !s.sub.log.is_empty())));
    }
    let share = (shared.pressure.memory.budget.resident() / 4 / queues.len().max(1)) as u64;
    // As long as the alarm lasts, which is longer than the mark is exceeded.
    let spill_bytes =
        if shared.pressure.memory.is_over_high.load(Ordering::Acquire) { SPILL_BYTES } else { 0 };
    for queue in queues {
        let (_, spill) = queue.look(|state| state.sub.evict(share, spill_bytes));
        if spill.is_empty() {
            continue;
        }
        let mut unit = Unit::default();
        for (offset, message) in &spill {
            let index = unit.ops.spilled(message);
            let queue = queue.clone();
            unit.placed.push(Placed {
                queue,
                offset: *offset,
                index,
                reason: WriteReason::Spilled,
            });
        }
        if shared.committer.sync(unit).await.is_err() {
            return;
        }
        drop(spill);
        queue.look(|state| state.sub.evict(share, 0));
    }
}
