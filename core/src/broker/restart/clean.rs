//! Cleaning: where little of a part of the journal still lives, that is written again at the journal's end, so that
//! the part can go. One slow queue cannot keep the disk full of what others are done with.
//!
//! A record that is written again keeps its queue and offset and gets a new place. Its old part is trimmed by a later
//! snapshot, in which the new place stands.

use crate::broker::journal::fetch::fetch_if_there;
use crate::broker::journal::unit::{Placed, Unit, WriteReason};
use crate::broker::shared::Shared;
use crate::broker::vhost::queue::Queue;
use crate::exchange::LogId;
use crate::log::{Offset, Place};
use crate::store::{JournalId, Pos, Stretch};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The journal may be this many times as large as what lives in it, and this many parts larger.
const SLACK_TIMES: u64 = 2;
const SLACK_PARTS: u64 = 4;
/// Bytes that are read and written again at once.
const BATCH_BYTES: u64 = 2 << 20;
/// Queues, and pages of a queue, that are weighed before others have their turn.
const WEIGH_QUEUES: usize = 1_000;
const WEIGH_PAGES: usize = 64;

/// A record that lives in an entry.
struct Living {
    queue: Arc<Queue>,
    offset: Offset,
    durable: bool,
    size: u32,
}

/// True when more of the journal is dead than may be: a snapshot and cleaning would give disk space back.
/// And the time that it took to find out.
pub async fn has_slack(shared: &Shared) -> (bool, Duration) {
    let mut stretches = shared.store.stretches(JournalId::Meta);
    stretches.retain(|stretch| stretch.sealed);
    // A short journal has none, whatever lives in it.
    if !is_slack(&stretches, &[]) {
        return (false, Duration::ZERO);
    }
    let (live, took) = weigh(shared, &stretches).await;
    (is_slack(&stretches, &live), took)
}

/// True when a snapshot and cleaning would give some part of the journal back to the disk. And the time that it took to
/// find out.
pub async fn has_gain(shared: &Shared) -> (bool, Duration) {
    let mut stretches = shared.store.stretches(JournalId::Meta);
    stretches.retain(|stretch| stretch.sealed);
    let (live, took) = weigh(shared, &stretches).await;
    (live.iter().zip(&stretches).any(|(live, stretch)| *live < stretch.bytes / 2), took)
}

fn is_slack(stretches: &[Stretch], live: &[u64]) -> bool {
    let (total, alive) = (stretches.iter().map(|s| s.bytes).sum::<u64>(), live.iter().sum::<u64>());
    let part = stretches.iter().map(|s| s.bytes).max().unwrap_or(0);
    total > alive * SLACK_TIMES + part * SLACK_PARTS
}

/// Empties parts of the journal before `upto`, the emptiest first, writing about `allowance` bytes.
pub async fn clean(shared: &Arc<Shared>, upto: Pos, allowance: u64) {
    let mut stretches = shared.store.stretches(JournalId::Meta);
    stretches.retain(|stretch| stretch.sealed && stretch.entries.end.0 <= upto.0 + 1);
    let (live, _) = weigh(shared, &stretches).await;
    if !shared.pressure.disk.is_low() && !is_slack(&stretches, &live) {
        return;
    }
    let mut some: Vec<(u64, &Stretch)> = live.into_iter().zip(&stretches).collect();
    some.retain(|(live, stretch)| *live > 0 && *live < stretch.bytes / 2);
    // By the part that lives, in thousandths.
    some.sort_by_key(|(live, stretch)| live * 1000 / stretch.bytes.max(1));
    let mut left = allowance;
    for (live, stretch) in some {
        if live > left {
            return;
        }
        left -= live;
        match empty(shared, stretch).await {
            Some(records) => tracing::debug!(
                first = stretch.entries.start.0,
                records,
                live,
                bytes = stretch.bytes,
                "part of the journal cleaned"
            ),
            // The store has failed.
            None => return,
        }
    }
}

/// Bytes that live in each part, and the time that it took to count them. A record in several queues counts for each of
/// them; one that comes or leaves meanwhile counts or does not.
async fn weigh(shared: &Shared, stretches: &[Stretch]) -> (Vec<u64>, Duration) {
    let mut live = vec![0; stretches.len()];
    let mut count = |first: u64, last: u64, size: u64| {
        let at = stretches.partition_point(|stretch| stretch.entries.end.0 <= first);
        let is_inside = stretches.get(at).is_some_and(|s| s.entries.start.0 <= first);
        let is_whole = stretches.get(at).is_some_and(|s| last < s.entries.end.0);
        match live.get_mut(at) {
            Some(live) if is_inside && is_whole => {
                *live += size;
                true
            }
            // All of it is somewhere else.
            Some(_) if stretches.get(at).is_some_and(|s| last < s.entries.start.0) => true,
            Some(_) => false,
            None => true,
        }
    };
    let mut took = Duration::ZERO;
    for vhost in shared.all_vhosts().iter() {
        let mut last = LogId(0);
        loop {
            let started = Instant::now();
            let queues = vhost.topology.read().queues_after(last, WEIGH_QUEUES);
            let Some(queue) = queues.last() else { break };
            last = queue.id;
            took += started.elapsed();
            for queue in &queues {
                let mut from = Some(0);
                while let Some(page) = from {
                    let started = Instant::now();
                    let pages = (page, WEIGH_PAGES);
                    from = queue.look(|state| state.sub.log.weigh(pages, &mut count));
                    took += started.elapsed();
                    if from.is_some() {
                        tokio::task::yield_now().await;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    }
    (live, took)
}

/// Writes the living records of a part of the journal again. Returns how many; none when the store failed.
async fn empty(shared: &Arc<Shared>, stretch: &Stretch) -> Option<usize> {
    let entries = stretch.entries.start.0..stretch.entries.end.0;
    let mut living: BTreeMap<Place, Vec<Living>> = BTreeMap::new();
    let mut queues = Vec::new();
    for vhost in shared.all_vhosts().iter() {
        for queue in vhost.queues() {
            tokio::task::yield_now().await;
            let mut any = false;
            queue.look(|state| {
                state.sub.log.visit_places(&entries, |offset, record, place| {
                    any = true;
                    let (durable, size) = (record.durable, record.size);
                    let one = Living { queue: queue.clone(), offset, durable, size };
                    living.entry(place).or_default().push(one);
                });
            });
            if any {
                queues.push(queue);
            }
        }
    }
    let count = living.len();
    let mut rest = living.into_iter().peekable();
    while rest.peek().is_some() {
        let mut bytes = 0;
        let mut some = Vec::new();
        while let Some(next) = rest.next_if(|_| bytes < BATCH_BYTES) {
            bytes += next.1.first().map_or(0, |one| u64::from(one.size));
            some.push(next);
        }
        write(shared, some).await?;
    }
    for queue in queues {
        queue.look(|state| state.sub.log.freeze());
    }
    Some(count)
}

async fn write(shared: &Arc<Shared>, some: Vec<(Place, Vec<Living>)>) -> Option<()> {
    let places: Vec<Place> = some.iter().map(|(place, _)| *place).collect();
    let messages = fetch_if_there(&*shared.store, &places).await;
    let mut unit = Unit::default();
    for ((place, living), message) in some.into_iter().zip(messages) {
        // What cannot be read stays where it is: its part is not trimmed, and dispatch will name it.
        let Some(message) = message else { continue };
        let (durable, transient): (Vec<Living>, Vec<Living>) =
            living.into_iter().partition(|one| one.durable);
        let mut put = |index, list: Vec<Living>| {
            unit.placed.extend(list.into_iter().map(|Living { queue, offset, .. }| Placed {
                queue,
                offset,
                index,
                reason: WriteReason::Rewritten(place),
            }));
        };
        if !durable.is_empty() {
            let records = durable.iter().map(|one| (one.queue.id, one.offset));
            put(unit.ops.rewritten(&message, records), durable);
        }
        if !transient.is_empty() {
            put(unit.ops.spilled(&message), transient);
        }
    }
    shared.committer.sync(unit).await.ok()
}
