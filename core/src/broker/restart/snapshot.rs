//! Snapshots: all that is not a message body, so that the journal in front of them can go. A snapshot is taken while
//! traffic flows; replaying what came after its position on top of it is idempotent.
//!
//! It is collected in slices: of each kind of thing a few, with the lock let go between, and what is collected is
//! written meanwhile. That a slice is newer than the one before it does no harm. Memory changes before its change is
//! submitted to the journal, so whatever an entry up to the snapshot's position says was in memory before the first
//! slice. What was there then and still is when its turn comes is seen, because each kind is walked in the order of
//! keys that do not change (ids, names, topics). And whatever changed since stands behind the position and is replayed,
//! in its order: what was added comes (again), what was removed goes (again), and what the snapshot refers to that
//! came later (a binding's queue) comes with it.
//!
//! Memory may be ahead of the journal when a snapshot is taken: a record already gone from one queue whose new place
//! is not submitted yet would be in neither. So a snapshot ends only when every turn that was open while it was
//! taken is stored ([`OpenTurns`](crate::broker::shared::open_turns::OpenTurns)); the store keeps none that did not
//! end.

use super::clean::{clean, has_slack};
use super::collect::{Collector, Unread, collect};
use crate::broker::journal::unit::Unit;
use crate::broker::operations::ops::Ops;
use crate::broker::shared::Shared;
use crate::store::{JournalId, Pos, Source, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A snapshot is due when the journal behind it has this many times its size, if that is more than the setting.
const SNAPSHOT_TIMES: usize = 4;
/// Bytes that cleaning may write after a snapshot, or as many as were written since the last one if those are more.
const CLEAN_BYTES: u64 = 64 << 20;
/// While little is written: time between two checks whether too much of the journal is dead, at least.
const IDLE: Duration = Duration::from_secs(5);
/// After a check that took some time, the next one comes this many times as much later: they take a thousandth of a
/// core, however much lives.
const IDLE_TIMES: u32 = 1_000;
/// Pieces that wait for the store; each has about a megabyte.
const PIECES_WAITING: usize = 2;

/// Takes snapshots when enough was written, until the broker closes.
pub async fn run(shared: Arc<Shared>, trims: mpsc::Sender<Vec<Range<Pos>>>) {
    let mut pause = IDLE;
    loop {
        let due = tokio::time::timeout(pause, shared.journal.snapshot_due.notified()).await;
        if due.is_err() {
            let (is_slack, took) = has_slack(&shared).await;
            pause = IDLE.max(took * IDLE_TIMES);
            if !is_slack {
                continue;
            }
        }
        if let Err(error) = take(&shared, &trims).await {
            // The journal still has everything; the next one may succeed.
            tracing::warn!(
                %error,
                "cannot store a snapshot: nothing is lost, but the journal grows, and a start reads more of \
                 it, until the next snapshot succeeds"
            );
        }
    }
}

async fn take(
    shared: &Arc<Shared>,
    trims: &mpsc::Sender<Vec<Range<Pos>>>,
) -> Result<(), StoreError> {
    if shared.journal.is_at_snapshot() {
        // What is trimmed has to be before the older of two snapshots, and two of one position are one.
        let mut ops = Ops::default();
        ops.ids(shared.identifiers.last());
        if shared.committer.sync(Unit::of(ops)).await.is_err() {
            return Ok(());
        }
    }
    let written = shared.journal.begin_snapshot();
    let upto = shared.journal.tail();
    let Some(bytes) = write(shared, upto, true).await? else { return Ok(()) };
    let next_after_bytes = (bytes * SNAPSHOT_TIMES).max(shared.settings.at_start.snapshot_bytes);
    shared.journal.took_snapshot(upto, next_after_bytes);
    let dead = shared.committer.dead(Pos(upto.0 + 1)).await;
    tracing::debug!(upto = upto.0, bytes, dead = dead.len(), "snapshot stored");
    // The committer is gone only when the broker closes.
    let _ = trims.send(dead).await;
    clean(shared, upto, (written as u64).max(CLEAN_BYTES)).await;
    Ok(())
}

/// Takes a snapshot now, whether or not much was written, of a broker that is not open yet.
pub async fn now(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let upto = shared.journal.tail();
    write(shared, upto, false).await.map(|_| ())
}

/// Collects a snapshot while the store writes it; its bytes. None when the store has failed, which is told elsewhere.
async fn write(
    shared: &Arc<Shared>,
    upto: Pos,
    has_turns: bool,
) -> Result<Option<usize>, StoreError> {
    let (to_store, pieces) = mpsc::channel(PIECES_WAITING);
    let body = Box::new(Pieces(pieces));
    let collecting = async {
        let mut collector = Collector::new(to_store);
        if collect(shared, &mut collector).await == Err(Unread) {
            // The store says why.
            return None;
        }
        shared.open_turns.wait().await;
        if has_turns && shared.committer.sync(Unit::default()).await.is_err() {
            collector.fail(StoreError::Unavailable("the journal has failed".into())).await;
            return None;
        }
        Some(collector.bytes())
    };
    let storing = shared.store.snapshot_put(JournalId::Meta, upto, body);
    let (collected, stored) = tokio::join!(collecting, storing);
    match (collected, stored) {
        (None, Err(_)) if shared.committer.has_failed() => Ok(None),
        (_, Err(error)) => Err(error),
        (collected, Ok(())) => Ok(collected),
    }
}

/// The pieces of a snapshot, as they are collected.
struct Pieces(mpsc::Receiver<Result<Bytes, StoreError>>);

#[async_trait]
impl Source<Bytes> for Pieces {
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        self.0.recv().await
    }
}
