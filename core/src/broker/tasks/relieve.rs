//! Messages leave memory. Over the resident mark, messages that wait or are with consumers are let go: they are read
//! back when they are to be delivered (`load`); pages of such records come to rest. What is not stored is written to
//! the store's spill files first. Where a store has none, that goes to the journal, over the high mark only, and
//! marked so that recovery drops it. Over the high mark publishers are held back as well.
//!
//! When the spill files are full or cannot be written, what is not stored stays in memory, and the high mark holds
//! its publishers back until it is consumed.

use crate::broker::journal::unit::{Placed, Unit, WriteReason};
use crate::broker::operations::ops::Ops;
use crate::broker::shared::Shared;
use crate::broker::vhost::queue::Queue;
use crate::log::{Offset, Place};
use crate::message::{Account, Message};
use crate::store::StoreError;
use crate::subscription::Relief;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Bytes of transient records that are written in one pass over a queue, about.
const SPILL_BYTES: u64 = 4 << 20;
/// Pause between two passes while memory is over a mark, at least and at most.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Queues that are looked at before others have their turn.
const QUEUES: usize = 256;
/// Bytes of one piece in the spill files, about: to read one record back, its piece is read.
const PIECE_BYTES: usize = 256 << 10;
/// After a failure the spill files are left alone for this long.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Between two warnings about the spill files.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Lets messages leave memory whenever they take more than a mark, until the broker closes.
pub async fn run(shared: Arc<Shared>) {
    let mut spill = SpillFiles::default();
    loop {
        shared.pressure.memory.exceeded.notified().await;
        let mut pause = PAUSE;
        loop {
            let before = shared.pressure.memory.budget.used(Account::Waiting);
            let is_more = relieve(&shared, &mut spill).await;
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
            } else if shared.pressure.memory.is_over_high.load(Ordering::Acquire) {
                shared.pressure.memory.alarm_goes_on();
            }
            if !shared.pressure.memory.budget.is_over_resident()
                && !shared.pressure.memory.is_over_high.load(Ordering::Acquire)
            {
                break;
            }
            // Where little can be let go, passes one after another would only cost time. While publishers are held
            // back, or there is more to write than a pass writes, one that lets go of some of much is worth its time.
            let is_alarmed = shared.pressure.memory.is_over_high.load(Ordering::Acquire);
            let little = match is_alarmed {
                true => used >= before,
                false => !is_more && used > before / 10 * 9,
            };
            pause = if little { (pause * 2).min(PAUSE_MAX) } else { PAUSE };
            tokio::time::sleep(pause).await;
        }
        shared.pressure.memory.is_evicting.store(false, Ordering::Release);
    }
}

/// One pass over all queues. In each, the records that are delivered next stay in memory, up to its share. True when
/// some queue has more to write than a pass writes of it, and what it wrote has left memory.
async fn relieve(shared: &Arc<Shared>, spill: &mut SpillFiles) -> bool {
    let mut is_more = false;
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
        let has_files = shared.committer.spilled.is_there();
        let may_spill = if has_files { spill.may_try(shared) } else { is_alarmed };
        let spill_bytes = if may_spill { SPILL_BYTES } else { 0 };
        let relief = evict(&queue, Relief::new(share, spill_bytes)).await;
        let (to_spill, is_cut) = (relief.to_spill, relief.spill_bytes == 0);
        if to_spill.is_empty() {
            continue;
        }
        if has_files {
            spill.put(shared, &queue, &to_spill).await;
            is_more |= is_cut && spill.refused.is_none();
            drop(to_spill);
            evict(&queue, Relief::new(share, 0)).await;
            continue;
        }
        let mut unit = Unit::default();
        for (offset, message) in &to_spill {
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
            return false;
        }
        drop(to_spill);
        evict(&queue, Relief::new(share, 0)).await;
    }
    is_more
}

/// How writing to the spill files goes.
#[derive(Default)]
struct SpillFiles {
    /// They were full, or could not be written, then.
    refused: Option<Instant>,
    warned: Option<Instant>,
}

impl SpillFiles {
    /// False while the disk has little room, which is for what has to survive, and shortly after a failure.
    fn may_try(&self, shared: &Shared) -> bool {
        !shared.pressure.disk.is_low()
            && self.refused.is_none_or(|refused| refused.elapsed() > TRY_AGAIN)
    }

    /// Writes records of a queue, so that they can leave memory.
    async fn put(&mut self, shared: &Shared, queue: &Queue, records: &[(Offset, Message)]) {
        let mut rest = records;
        while !rest.is_empty() {
            let mut ops = Ops::default();
            let count = rest
                .iter()
                .take_while(|(_, message)| {
                    let has_room = ops.len() < PIECE_BYTES;
                    if has_room {
                        ops.spilled(message);
                    }
                    has_room
                })
                .count();
            let Some((some, behind)) = rest.split_at_checked(count) else { return };
            rest = behind;
            let pos = match shared.committer.spilled.put(ops).await {
                Ok(pos) => pos,
                Err(error) => return self.refused(&error),
            };
            self.refused = None;
            let mut gone = Vec::new();
            queue.look(|state| {
                for (index, (offset, _)) in (0..).zip(some) {
                    let place = Place { pos, index };
                    if !state.sub.spilled(*offset, place) {
                        gone.push(place);
                    }
                }
            });
            shared.committer.free(&gone);
        }
    }

    fn refused(&mut self, error: &StoreError) {
        self.refused = Some(Instant::now());
        if self.warned.is_none_or(|warned| warned.elapsed() > WARN_EVERY) {
            self.warned = self.refused;
            tracing::warn!(
                %error,
                "transient messages that wait cannot leave memory: they stay there, and publishers are held \
                 back when they take more than memory.high"
            );
        }
    }
}

/// One pass over a queue. Its lock is let go between two slices, and others have their turn.
async fn evict(queue: &Queue, mut relief: Relief) -> Relief {
    loop {
        let is_more = queue.look(|state| state.sub.evict_some(&mut relief));
        relief.gone.clear();
        tokio::task::yield_now().await;
        if !is_more {
            return relief;
        }
    }
}
