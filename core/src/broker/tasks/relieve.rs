//! Messages leave memory. Over the resident mark, messages of stored records that wait or are with consumers are let
//! go: they are read back when they are to be delivered (`load`); pages of such records come to rest. Over the high
//! mark, publishers are held back as well, and transient records are written to the journal first, marked so that
//! recovery drops them: so memory always falls below the mark again, with or without a consumer.

use crate::broker::journal::unit::{Placed, Unit, WriteReason};
use crate::broker::shared::Shared;
use crate::broker::vhost::queue::Queue;
use crate::message::Account;
use crate::subscription::Relief;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Bytes of transient records that are written in one pass over a queue, about.
const SPILL_BYTES: u64 = 4 << 20;
/// Pause between two passes while memory is over a mark, at least and at most.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Queues that are looked at before others have their turn.
const QUEUES: usize = 256;

/// Lets messages leave memory whenever they take more than a mark, until the broker closes.
pub async fn run(shared: Arc<Shared>) {
    loop {
        shared.pressure.memory.exceeded.notified().await;
        let mut pause = PAUSE;
        loop {
            let before = shared.pressure.memory.budget.used(Account::Waiting);
            relieve(&shared).await;
            let used = shared.pressure.memory.budget.used(Account::Waiting);
            if shared.pressure.memory.is_over_high.load(Ordering::Acquire)
                && !shared.pressure.memory.budget.is_over_low()
            {
                if shared.pressure.memory.alarm_ends() {
                    tracing::info!(
                        waiting_bytes = used,
                        "messages take less memory than memory.high allows again: publishers go on"
                    );
                }
                shared.pressure.release_held();
            }
            if !shared.pressure.memory.budget.is_over_resident()
                && !shared.pressure.memory.is_over_high.load(Ordering::Acquire)
            {
                break;
            }
            // Where little can be let go, passes one after another would only cost time. While publishers are held
            // back, a pass that stores some of much is worth its time.
            let is_alarmed = shared.pressure.memory.is_over_high.load(Ordering::Acquire);
            let little = match is_alarmed {
                true => used >= before,
                false => used > before / 10 * 9,
            };
            pause = if little { (pause * 2).min(PAUSE_MAX) } else { PAUSE };
            tokio::time::sleep(pause).await;
        }
        shared.pressure.memory.is_evicting.store(false, Ordering::Release);
    }
}

/// One pass over all queues. In each, the records that are delivered next stay in memory, up to its share.
async fn relieve(shared: &Arc<Shared>) {
    let mut queues: Vec<Arc<Queue>> = Vec::new();
    for vhost in shared.all_vhosts().iter() {
        for some in vhost.queues().chunks(QUEUES) {
            queues.extend(some.iter().filter(|q| q.look(|s| s.sub.log.has_hot())).cloned());
            tokio::task::yield_now().await;
        }
    }
    let share = (shared.pressure.memory.budget.resident() / 4 / queues.len().max(1)) as u64;
    for queue in queues {
        // As long as publishers are held back, which is longer than the mark is exceeded.
        let is_alarmed = shared.pressure.memory.is_over_high.load(Ordering::Acquire);
        let spill_bytes = if is_alarmed { SPILL_BYTES } else { 0 };
        let spill = evict(&queue, Relief::new(share, spill_bytes)).await.to_spill;
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
        evict(&queue, Relief::new(share, 0)).await;
    }
}

/// One pass over a queue. Its lock is let go between two slices, and others have their turn.
async fn evict(queue: &Queue, mut relief: Relief) -> Relief {
    while queue.look(|state| state.sub.evict_some(&mut relief)) {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    relief
}
