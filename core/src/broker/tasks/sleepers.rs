//! Queues that are kept for subscribers that may be away share the disk. Together they hold at most a quarter of it,
//! and half of what is free above the alarm mark plus what they hold; beyond that the largest drops its oldest
//! messages, so that publishers are not held back for somebody who sleeps.
//!
//! What they hold is counted in bytes of the journal, each stored record once, however many of them have it. That takes
//! a walk through all their records. So first the sums that the queues know are added up, which are never too little;
//! and nothing is looked at before so much was written that the limit may be exceeded.
//!
//! A record goes only where that gives room back: from all these queues at once, and not at all while another queue
//! has it, or some consumer.

use crate::broker::shared::Shared;
use crate::broker::turn::context::Context;
use crate::broker::turn::run::Turn;
use crate::broker::vhost::host::Vhost;
use crate::broker::vhost::queue::Queue;
use crate::exchange::LogId;
use crate::log::{Offset, Place};
use crate::store::{JournalId, Pos};
use crate::subscription::Old;
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Between two looks at the limit, at most.
const PAUSE: Duration = Duration::from_secs(1);
/// After a look that took some time, the next one comes this many times as much later.
const PAUSE_TIMES: u32 = 4;
/// The part of the disk that these queues may hold.
const DISK_PART: u64 = 4;
/// The part of what is free above the alarm mark, plus what they hold.
const FREE_PART: u64 = 2;
/// More than is needed is dropped by this part of the limit, so that it is not exceeded again at once.
const MARGIN_PART: u64 = 32;
/// Bytes of the journal around a message, and for each queue that it is in, about.
const RECORD_BYTES: u64 = 64;
const PLACE_BYTES: u64 = 16;
/// Records that are judged together, and their bytes, at most.
const SLICE: (usize, u64) = (16_384, 4 << 20);
/// Behind a snapshot, the disk has back what nothing needs any more after this time, about.
const CLEANING: Duration = Duration::from_secs(2);
/// Queues that are looked at before others have their turn.
const QUEUES: usize = 256;

/// Keeps these queues within their limit until the broker closes.
pub async fn run(shared: Arc<Shared>) {
    let mut known = Known::default();
    loop {
        let due = shared.pressure.sleepers.look_due.notified();
        // Either way it is time to look.
        let _ = tokio::time::timeout(PAUSE, due).await;
        let started = Instant::now();
        look(&shared, &mut known).await;
        tokio::time::sleep(started.elapsed() * PAUSE_TIMES).await;
    }
}

/// What is known since the last look.
#[derive(Default)]
struct Known {
    /// Bytes that they held then, at most; none: nobody has looked.
    held: Option<u64>,
    /// Bytes that the journal had written by then.
    written: u64,
    dropped: Vec<Dropped>,
}

/// What was dropped and takes room until a snapshot was taken and the journal cleaned.
struct Dropped {
    bytes: u64,
    /// The journal's end by then.
    at: Pos,
    /// When a snapshot behind that was first seen.
    stored: Option<Instant>,
}

impl Known {
    /// Bytes that were dropped, and that are still on the disk.
    fn coming_back(&mut self, shared: &Shared) -> u64 {
        let snapshot = shared.journal.newest_snapshot().unwrap_or_default();
        for dropped in self.dropped.iter_mut().filter(|dropped| dropped.at < snapshot) {
            dropped.stored.get_or_insert_with(Instant::now);
        }
        self.dropped.retain(|d| d.stored.is_none_or(|stored| stored.elapsed() < CLEANING));
        self.dropped.iter().map(|dropped| dropped.bytes).sum()
    }
}

/// Bytes that these queues may hold together, given the bytes that they hold now.
fn limit(shared: &Shared, held: u64) -> u64 {
    let disk = &shared.pressure.disk;
    let room = disk.bytes_to_mark.load(Ordering::Acquire).saturating_add(held);
    (disk.bytes_total.load(Ordering::Acquire) / DISK_PART).min(room / FREE_PART)
}

/// Counts what they hold, as far as that is needed, and drops what is too much.
async fn look(shared: &Arc<Shared>, known: &mut Known) {
    if shared.pressure.disk.bytes_total.load(Ordering::Acquire) == 0 {
        return;
    }
    let written = shared.pressure.sleepers.written();
    let coming_back = known.coming_back(shared);
    let limit = |held: u64| limit(shared, held.saturating_add(coming_back));
    if let Some(held) = known.held {
        let at_most = held.saturating_add(written - known.written);
        let limit = limit(at_most);
        if at_most <= limit {
            return shared.pressure.sleepers.look_after((limit - at_most) / 2 + 1);
        }
    }
    let (all, sleepers) = queues(shared).await;
    let mut held = sum(&sleepers);
    if held > limit(held) {
        held = count(shared, &sleepers).await;
    }
    let most = limit(held);
    if held > most {
        let wanted = held - most + most / MARGIN_PART;
        let freed = make_room(shared, (&all, &sleepers), wanted).await;
        held = held.saturating_sub(freed);
        known.dropped.push(Dropped { bytes: freed, at: shared.journal.tail(), stored: None });
        // The disk has it back after a snapshot.
        if coming_back + freed > most / 8 {
            shared.journal.snapshot_due.notify_one();
        }
    }
    (known.held, known.written) = (Some(held), written);
    shared.pressure.sleepers.look_after(most.saturating_sub(held).max(most / MARGIN_PART) / 2 + 1);
}

/// A queue, and the virtual host that it is in.
type Housed = (Arc<Vhost>, Arc<Queue>);

/// All durable queues that hold something, and those among them that are kept for subscribers.
async fn queues(shared: &Shared) -> (Vec<Housed>, Vec<Housed>) {
    let mut all = Vec::new();
    for vhost in shared.all_vhosts().iter() {
        for some in vhost.queues().chunks(QUEUES) {
            let holds = |queue: &&Arc<Queue>| {
                queue.is_durable() && queue.look(|state| !state.sub.log.is_empty())
            };
            all.extend(some.iter().filter(holds).map(|queue| (vhost.clone(), queue.clone())));
            tokio::task::yield_now().await;
        }
    }
    let sleepers = all.iter().filter(|(_, queue)| queue.spec.kept_for.is_some()).cloned();
    let sleepers = sleepers.collect();
    (all, sleepers)
}

/// Bytes of the journal that a queue holds, as if it were alone.
fn weight(queue: &Queue) -> u64 {
    queue.look(|state| state.sub.log.bytes() + state.sub.log.len() * (RECORD_BYTES + PLACE_BYTES))
}

fn sum(queues: &[Housed]) -> u64 {
    queues.iter().map(|(_, queue)| weight(queue)).sum()
}

/// Bytes of the journal that these queues hold, each stored record once.
async fn count(shared: &Shared, queues: &[Housed]) -> u64 {
    let stretches = shared.store.stretches(JournalId::Meta);
    let mut windows: Vec<Range<u64>> =
        stretches.iter().map(|stretch| stretch.entries.start.0..stretch.entries.end.0).collect();
    // The last part is still being written, and a store without parts is one.
    let end = windows.last().map_or(0, |last| last.end);
    windows.push(end..shared.journal.tail().0 + 1);
    let mut bytes = 0;
    for window in windows {
        // One bit for each record of an entry.
        let mut seen: FxHashMap<(u64, u32), u64> = FxHashMap::default();
        for some in queues.chunks(QUEUES) {
            for (_, queue) in some {
                queue.look(|state| {
                    state.sub.log.visit_places(&window, |_, record, place| {
                        if !record.durable {
                            return;
                        }
                        let bits = seen.entry((place.pos, place.index / 64)).or_default();
                        let bit = 1 << (place.index % 64);
                        if *bits & bit == 0 {
                            bytes += u64::from(record.size) + RECORD_BYTES;
                        }
                        *bits |= bit;
                        bytes += PLACE_BYTES;
                    });
                });
            }
            tokio::task::yield_now().await;
        }
    }
    bytes
}

/// Where the records of a queue that were not judged yet begin; none: all were.
type Cursors = FxHashMap<LogId, Option<Offset>>;

/// Drops the oldest records of the largest queue, and then of the next largest, until `wanted` bytes are free or
/// nothing more can be freed. Returns the number of bytes that are free now.
async fn make_room(
    shared: &Arc<Shared>,
    (all, sleepers): (&[Housed], &[Housed]),
    wanted: u64,
) -> u64 {
    let (mut freed, mut cursors) = (0, Cursors::default());
    while freed < wanted {
        let is_open = |queue: &Queue| gives(queue) && cursors.get(&queue.id) != Some(&None);
        let open = sleepers.iter().map(|(_, queue)| queue).filter(|queue| is_open(queue));
        let Some(largest) = open.max_by_key(|queue| weight(queue)) else { break };
        let from = cursors.get(&largest.id).copied().flatten().unwrap_or_default();
        let most = (SLICE.0, SLICE.1.min(wanted - freed));
        let (old, next) = largest.look(|state| state.sub.oldest(from, most));
        cursors.insert(largest.id, next);
        freed += drop_together(shared, all, (&old, wanted - freed)).await;
    }
    freed
}

/// True for a queue of a subscriber whose messages go nowhere else when they are dropped.
fn gives(queue: &Queue) -> bool {
    queue.spec.kept_for.is_some() && queue.spec.dead_letter.is_none()
}

/// Who has a record.
struct Held {
    size: u32,
    /// Queues, by their index, and their offsets.
    by: Vec<(usize, Offset)>,
    /// Somebody has it who cannot give it up.
    stays: bool,
}

/// Drops those of these records that only subscribers' queues have, from all of them, until `wanted` bytes are free.
/// Returns how many are.
async fn drop_together(shared: &Arc<Shared>, all: &[Housed], (old, wanted): (&[Old], u64)) -> u64 {
    let held = |old: &Old| (old.place, Held { size: old.size, by: Vec::new(), stays: false });
    let mut records: FxHashMap<Place, Held> = old.iter().map(held).collect();
    let first = records.keys().map(|place| place.pos).min().unwrap_or_default();
    let last = records.keys().map(|place| place.pos).max().unwrap_or_default();
    for (index, (_, queue)) in all.iter().enumerate() {
        queue.look(|state| {
            state.sub.log.visit_places(&(first..last + 1), |offset, record, place| {
                if let Some(held) = records.get_mut(&place) {
                    held.stays |= !gives(queue) || !record.is_stored_and_waits();
                    held.by.push((index, offset));
                }
            });
        });
        if index % QUEUES == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut going: FxHashMap<usize, Vec<Old>> = FxHashMap::default();
    let mut freed = 0;
    for place in old.iter().map(|old| old.place) {
        let Some(Held { size, by, stays: false }) = records.remove(&place) else { continue };
        if freed >= wanted {
            break;
        }
        freed += u64::from(size) + RECORD_BYTES + by.len() as u64 * PLACE_BYTES;
        for (index, offset) in by {
            going.entry(index).or_default().push(Old { offset, place, size });
        }
    }
    for (index, mut records) in going {
        records.sort_unstable_by_key(|old| old.offset);
        if let Some((vhost, queue)) = all.get(index) {
            drop_from(shared, vhost, queue, &records);
        }
        tokio::task::yield_now().await;
    }
    freed
}

fn drop_from(shared: &Arc<Shared>, vhost: &Arc<Vhost>, queue: &Arc<Queue>, records: &[Old]) {
    let open_turn = shared.open_turns.enter();
    let context = Context { shared, vhost, now: shared.now() };
    let mut turn = Turn::default();
    queue.change(&mut turn.after, |state, effects| state.sub.drop_oldest(records, effects));
    turn.run(context);
    turn.finish(context, None);
    shared.open_turns.leave(open_turn);
}
