//! What a snapshot says: the state of the broker as operations, collected slice by slice.

use crate::broker::door::request::{ParkUntil, SessionLife};
use crate::broker::operations::ops::{Ops, Parking};
use crate::broker::shared::Shared;
use crate::broker::vhost::host::Vhost;
use crate::broker::vhost::named::Named;
use crate::broker::vhost::queue::Queue;
use crate::exchange::{LogId, SessionId, is_figure};
use crate::log::Cold;
use crate::store::StoreError;
use crate::subscription::Side;
use bytes::{Bytes, BytesMut};
use std::ops::Bound;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Things that are looked at with their lock held, and bytes after which a slice ends before.
const SLICE: usize = 1_000;
const SLICE_BYTES: usize = 256 << 10;
/// Exchanges are copied, with their arguments.
const SLICE_EXCHANGES: usize = 100;
/// Pages of a queue: those at rest are only referred to, the others have 1,024 records at most.
const SLICE_PAGES: usize = 4;
/// Bytes to which small pieces are put together, about.
const PIECE_BYTES: usize = 1 << 20;

/// The store reads no more of the snapshot: it has failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Unread;

/// Where what is collected goes.
pub struct Collector {
    ops: Ops,
    piece: BytesMut,
    to_store: mpsc::Sender<Result<Bytes, StoreError>>,
    bytes: usize,
}

impl Collector {
    /// Nothing is collected yet.
    pub fn new(to_store: mpsc::Sender<Result<Bytes, StoreError>>) -> Self {
        Self { ops: Ops::default(), piece: BytesMut::new(), to_store, bytes: 0 }
    }

    /// Bytes that were collected.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The snapshot is not to be kept.
    pub async fn fail(&self, why: StoreError) {
        // An error: the store has given it up already.
        let _ = self.to_store.send(Err(why)).await;
    }

    /// True when a slice has as much as it is to have.
    fn is_full(&self) -> bool {
        self.ops.len() >= SLICE_BYTES
    }

    /// A slice ends: no lock is held.
    async fn end_slice(&mut self) -> Result<(), Unread> {
        self.gather();
        if self.piece.len() >= PIECE_BYTES {
            self.send().await?;
        }
        tokio::task::yield_now().await;
        Ok(())
    }

    fn gather(&mut self) {
        if !self.ops.is_empty() {
            let ops = std::mem::take(&mut self.ops);
            ops.bytes().pieces().for_each(|piece| self.piece.extend_from_slice(piece));
        }
    }

    async fn send(&mut self) -> Result<(), Unread> {
        let piece = self.piece.split().freeze();
        self.bytes += piece.len();
        self.to_store.send(Ok(piece)).await.map_err(|_| Unread)
    }

    /// A page of a queue, whose bytes stay where they are.
    async fn page(&mut self, queue: &Queue, number: u64, page: &Cold) -> Result<(), Unread> {
        self.ops.page_head(queue.id, number, page.bytes().len());
        self.gather();
        self.piece.extend_from_slice(page.bytes());
        match self.piece.len() >= PIECE_BYTES {
            true => self.send().await,
            false => Ok(()),
        }
    }
}

/// Collects the state of the broker.
pub async fn collect(shared: &Shared, to: &mut Collector) -> Result<(), Unread> {
    to.ops.ids(shared.identifiers.last());
    let mut from = Some(0);
    while let Some(at) = from {
        let (parts, next) = shared.committer.in_parts(at);
        parts.into_iter().for_each(|(pos, parts)| to.ops.parts(pos, parts));
        to.end_slice().await?;
        from = next;
    }
    let made = |vhost: &&Arc<Vhost>| !shared.is_configured(&vhost.name);
    shared.all_vhosts().iter().filter(made).for_each(|vhost| to.ops.vhost(&vhost.name));
    users(shared, to).await?;
    for vhost in shared.all_vhosts().iter() {
        topology(shared, vhost, to).await?;
        values(vhost, to).await?;
    }
    parked(shared, to).await?;
    to.gather();
    to.send().await
}

/// Users that were made at run time, each with its rights.
async fn users(shared: &Shared, to: &mut Collector) -> Result<(), Unread> {
    let mut last = None;
    loop {
        let slice = shared.users.accounts.made_after(last.as_ref(), SLICE);
        let Some(account) = slice.last() else { return Ok(()) };
        last = Some(account.name.clone());
        for account in &slice {
            to.ops.user(account);
            for (vhost, rights) in &account.vhosts {
                to.ops.rights(&account.name, vhost, Some(rights.text()));
            }
            if to.is_full() {
                to.end_slice().await?;
            }
        }
        to.end_slice().await?;
    }
}

async fn topology(shared: &Shared, vhost: &Vhost, to: &mut Collector) -> Result<(), Unread> {
    let mut last = None;
    loop {
        let slice = vhost.topology.read().durable_exchanges_after(last.as_ref(), SLICE_EXCHANGES);
        slice.iter().for_each(|exchange| to.ops.exchange(&vhost.name, exchange));
        to.end_slice().await?;
        let Some(exchange) = slice.last() else { break };
        last = Some(exchange.name.clone());
    }
    let mut last = LogId(0);
    loop {
        let slice = vhost.topology.read().queues_after(last, SLICE);
        let Some(queue) = slice.last() else { break };
        last = queue.id;
        for queue in slice.iter().filter(|queue| queue.is_durable()) {
            to.ops.queue(&vhost.name, queue.id, &queue.spec);
            records(shared, queue, to).await?;
            if to.is_full() {
                to.end_slice().await?;
            }
        }
        to.end_slice().await?;
    }
    let mut last = SessionId(0);
    loop {
        let slice = vhost.topology.read().sessions_after(last, SLICE);
        let Some(session) = slice.last() else { break };
        last = session.id;
        for session in &slice {
            named(vhost, session, to).await?;
        }
        to.end_slice().await?;
    }
    bindings(vhost, to).await
}

async fn bindings(vhost: &Vhost, to: &mut Collector) -> Result<(), Unread> {
    let mut last = None;
    loop {
        let slice = vhost.topology.read().bindings_after(last.as_ref(), SLICE);
        let Some(binding) = slice.last() else { return Ok(()) };
        last = Some(binding.target.clone());
        // One target may have many.
        let mut rest = slice.iter();
        while rest.len() > 0 {
            {
                let topology = vhost.topology.read();
                let some = rest.by_ref().take(SLICE);
                for binding in some.filter(|binding| topology.is_durable(binding)) {
                    to.ops.binding(&vhost.name, binding, true);
                    if to.is_full() {
                        break;
                    }
                }
            }
            to.end_slice().await?;
        }
    }
}

/// The records of a queue, and what else is stored of it.
async fn records(shared: &Shared, queue: &Queue, to: &mut Collector) -> Result<(), Unread> {
    let mut from = 0;
    loop {
        let (next, pages, had_consumer) = queue.look(|state| {
            let pages: Vec<(u64, Cold)> = state.sub.log.stored(from).take(SLICE_PAGES).collect();
            let had_consumer = state.had_consumer && queue.spec.auto_delete;
            (state.sub.log.next(), pages, had_consumer)
        });
        if from == 0 {
            to.ops.next(queue.id, next);
            counts(shared, queue, &mut to.ops);
            if had_consumer {
                to.ops.used(queue.id);
            }
        }
        let Some((last, _)) = pages.last() else { return Ok(()) };
        from = last + 1;
        for (number, page) in &pages {
            to.page(queue, *number, page).await?;
        }
        if pages.len() < SLICE_PAGES {
            return Ok(());
        }
        to.end_slice().await?;
    }
}

/// What a queue has counted. Of what is stored up to an entry: the entries behind that are counted by recovery.
fn counts(shared: &Shared, queue: &Queue, ops: &mut Ops) {
    let (upto, stored) = shared.committer.counted(&queue.counts);
    ops.counts(queue.id, upto.0, &stored);
    let transient = queue.look(|_| queue.counts.tally(Side::Transient));
    if !transient.is_empty() {
        ops.transient_counts(queue.id, &transient);
    }
}

async fn named(vhost: &Vhost, session: &Named, to: &mut Collector) -> Result<(), Unread> {
    let is_stored = session.with(|state| {
        let is_stored = state.stored && !state.ended;
        if is_stored {
            session.put(state, &vhost.name, &mut to.ops);
        }
        is_stored
    });
    if !is_stored {
        return Ok(());
    }
    let mut last: Option<Bytes> = None;
    loop {
        let is_over = session.with(|state| {
            let from = last.take().map_or(Bound::Unbounded, Bound::Excluded);
            let mut memos = state.memos.range((from, Bound::Unbounded)).take(SLICE);
            loop {
                let Some((key, value)) = memos.next() else { break last.is_none() };
                to.ops.memo(session.id, key, Some(value));
                last = Some(key.clone());
                if to.is_full() {
                    break false;
                }
            }
        });
        if is_over {
            break;
        }
        to.end_slice().await?;
    }
    if to.is_full() {
        to.end_slice().await?;
    }
    Ok(())
}

async fn values(vhost: &Vhost, to: &mut Collector) -> Result<(), Unread> {
    let mut last = None;
    loop {
        let before = last.take();
        {
            let retained = vhost.retained.lock();
            for (key, message) in retained.after(before).take(SLICE) {
                last = Some(key.clone());
                if is_figure(key) {
                    continue;
                }
                to.ops.retain(&vhost.name, key, Some(message));
                if to.is_full() {
                    break;
                }
            }
        }
        to.end_slice().await?;
        if last.is_none() {
            return Ok(());
        }
    }
}

async fn parked(shared: &Shared, to: &mut Collector) -> Result<(), Unread> {
    let mut last = None;
    loop {
        let before = last.take();
        {
            let parked = shared.parked.lock();
            for (id, publish) in parked.after(before).take(SLICE) {
                last = Some(*id);
                if !publish.durable {
                    continue;
                }
                // What waits for a connection to be gone still does: it may come back.
                let due = match (publish.due, publish.at) {
                    (ParkUntil::Disconnected { .. }, Some(at)) => {
                        ParkUntil::Disconnected { delay_ms: shared.now().until(at) }
                    }
                    (due, _) => due,
                };
                if let Some(name) = publish.of.as_ref().filter(|_| publish.is_orphan) {
                    let origin = &publish.message.meta().origin;
                    let session = (publish.owner, &**name, (&*origin.user, &*origin.client));
                    to.ops.session(&publish.vhost, session, SessionLife::No, None);
                }
                let (session, copies) = (Some(publish.owner), &*publish.copies);
                let parking = Parking { due, session, copies };
                to.ops.park(*id, &publish.vhost, parking, &publish.message);
                if to.is_full() {
                    break;
                }
            }
        }
        to.end_slice().await?;
        if last.is_none() {
            return Ok(());
        }
    }
}
