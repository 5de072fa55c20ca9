//! Snapshots: all that is not a message body, so that the journal in front of them can go. A snapshot is taken while
//! traffic flows; replaying what came after its position on top of it is idempotent.
//!
//! Memory may be ahead of the journal when a snapshot is taken: a record already gone from one queue whose new place
//! is not submitted yet would be in neither. So a snapshot counts only when every turn that was open while it was
//! taken is stored ([`OpenTurns`](crate::broker::shared::open_turns::OpenTurns)).

use super::clean::{clean, has_slack};
use crate::broker::door::request::{ParkUntil, SessionLife};
use crate::broker::journal::unit::Unit;
use crate::broker::operations::ops::Ops;
use crate::broker::shared::Shared;
use crate::broker::vhost::host::Vhost;
use crate::log::Cold;
use crate::store::{JournalId, Pos, Source, StoreError};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A snapshot is due when the journal behind it has this many times its size, if that is more than the setting.
const SNAPSHOT_TIMES: usize = 4;
/// Bytes that cleaning may write after a snapshot, or as many as were written since the last one if those are more.
const CLEAN_BYTES: u64 = 64 << 20;
/// While little is written: time between two checks whether too much of the journal is dead.
const IDLE: Duration = Duration::from_secs(5);
/// Bytes to which small pieces are put together, about.
const PIECE_BYTES: usize = 1 << 20;

/// Takes snapshots when enough was written, until the broker closes.
pub async fn run(shared: Arc<Shared>, trims: tokio::sync::mpsc::Sender<Vec<Range<Pos>>>) {
    loop {
        let due = tokio::time::timeout(IDLE, shared.journal.snapshot_due.notified()).await;
        if due.is_err() && !has_slack(&shared) {
            continue;
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
    trims: &tokio::sync::mpsc::Sender<Vec<Range<Pos>>>,
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
    let pieces = collect(shared);
    shared.open_turns.wait().await;
    if shared.committer.sync(Unit::default()).await.is_err() {
        return Ok(());
    }
    let bytes: usize = pieces.iter().map(Bytes::len).sum();
    let body = Box::new(Pieces(pieces.into_iter()));
    shared.store.snapshot_put(JournalId::Meta, upto, body).await?;
    let next_after_bytes = (bytes * SNAPSHOT_TIMES).max(shared.settings.snapshot_bytes);
    shared.journal.took_snapshot(upto, next_after_bytes);
    let dead = shared.committer.dead(Pos(upto.0 + 1));
    tracing::debug!(upto = upto.0, bytes, dead = dead.len(), "snapshot stored");
    // The committer is gone only when the broker closes.
    let _ = trims.send(dead).await;
    clean(shared, upto, (written as u64).max(CLEAN_BYTES)).await;
    Ok(())
}

/// Takes a snapshot now, whether or not much was written.
pub async fn now(shared: &Shared) -> Result<(), StoreError> {
    let upto = shared.journal.tail();
    let body = Box::new(Pieces(collect(shared).into_iter()));
    shared.store.snapshot_put(JournalId::Meta, upto, body).await
}

/// The pieces of a snapshot, small ones put together.
struct Pieces(std::vec::IntoIter<Bytes>);

#[async_trait]
impl Source<Bytes> for Pieces {
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        let first = self.0.next()?;
        if first.len() >= PIECE_BYTES {
            return Some(Ok(first));
        }
        let mut piece = BytesMut::with_capacity(PIECE_BYTES * 2);
        piece.extend_from_slice(&first);
        while piece.len() < PIECE_BYTES
            && let Some(next) = self.0.next()
        {
            piece.extend_from_slice(&next);
        }
        Some(Ok(piece.freeze()))
    }
}

/// The state of the broker as operations.
fn collect(shared: &Shared) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut ops = Ops::default();
    ops.ids(shared.identifiers.last());
    for (pos, parts) in shared.committer.in_parts() {
        ops.parts(pos, parts);
    }
    for vhost in shared.all_vhosts() {
        topology(vhost, &mut ops);
        flush(&mut ops, &mut pieces);
        for queue in vhost.queues().iter().filter(|q| q.is_durable()) {
            // Pages at rest are only referred to, so that the lock is not held for long.
            let (next, pages, had_consumer) = queue.look(|state| {
                let pages: Vec<(u64, Cold)> = state.sub.log.stored().collect();
                let had_consumer = state.had_consumer && queue.spec.auto_delete;
                (state.sub.log.next(), pages, had_consumer)
            });
            ops.next(queue.id, next);
            if had_consumer {
                ops.used(queue.id);
            }
            for (number, page) in pages {
                ops.page_head(queue.id, number, page.bytes().len());
                flush(&mut ops, &mut pieces);
                pieces.push(page.bytes().clone());
            }
        }
        for (key, message) in vhost.retained.lock().after(None) {
            ops.retain(&vhost.name, key, Some(message));
        }
        flush(&mut ops, &mut pieces);
    }
    for (id, parked) in shared.parked.lock().after(None).filter(|(_, p)| p.durable) {
        // What waits for a connection to be gone still does: it may come back.
        let due = match (parked.due, parked.at) {
            (ParkUntil::Disconnected { .. }, Some(at)) => {
                ParkUntil::Disconnected { delay_ms: shared.now().until(at) }
            }
            (due, _) => due,
        };
        if let Some(name) = &parked.orphan_of {
            ops.session(&parked.vhost, (parked.owner, name), SessionLife::No, None);
        }
        ops.park(*id, &parked.vhost, (due, Some(parked.owner)), &parked.message);
    }
    flush(&mut ops, &mut pieces);
    pieces
}

fn topology(vhost: &Vhost, ops: &mut Ops) {
    let topology = vhost.topology.read();
    for exchange in topology.durable_exchanges() {
        ops.exchange(&vhost.name, exchange);
    }
    for queue in topology.queues().filter(|q| q.is_durable()) {
        ops.queue(&vhost.name, queue.id, &queue.spec);
    }
    for session in topology.sessions() {
        session.with(|state| {
            if !state.stored || state.ended {
                return;
            }
            session.put(state, &vhost.name, ops);
            for (key, value) in &state.memos {
                ops.memo(session.id, key, Some(value));
            }
        });
    }
    for binding in topology.bindings() {
        if topology.is_durable(binding) {
            ops.binding(&vhost.name, binding, true);
        }
    }
}

/// Ends a piece: a store writes them one by one.
fn flush(ops: &mut Ops, pieces: &mut Vec<Bytes>) {
    if !ops.is_empty() {
        pieces.push(std::mem::take(ops).into_bytes());
    }
}
