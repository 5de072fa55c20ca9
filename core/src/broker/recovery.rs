//! Recovery: the newest snapshot, then every entry behind it. Nothing is written, so it can be interrupted and
//! repeated. Messages that live are read in the same pass; the journal is read from the first entry one lives in.

use super::Inner;
use super::committer::Assembler;
use super::named::Named;
use super::ops::{self, Op};
use super::parked::ParkedPublish;
use super::queue::Queue;
use super::request::{Due, Keep, ParkId};
use super::timer::Alarm;
use crate::error::{Error, ErrorKind};
use crate::exchange::{Binding, ExchangeSpec, LogId, SessionId, Tags};
use crate::log::{Log, Offset, Place, QueueSpec};
use crate::message::{Key, Message, Name, Timestamp};
use crate::store::{JournalId, Pos, Store, StoreError};
use crate::subscription::Arrival;
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What the journal says.
#[derive(Default)]
pub struct Recovered {
    queues: BTreeMap<LogId, QueueRecord>,
    exchanges: BTreeMap<(Name, Name), ExchangeSpec>,
    bindings: Vec<(Name, Binding)>,
    sessions: BTreeMap<SessionId, SessionRecord>,
    retained: BTreeMap<(Name, Key), Message>,
    parked: BTreeMap<ParkId, ParkedPublish>,
    /// Records that the snapshot names and that the journal has to give.
    wanted: HashMap<Place, Vec<(LogId, Offset)>>,
    next_id: u64,
    tail: Pos,
    /// Damaged entries that were passed over.
    damaged: u64,
}

struct QueueRecord {
    vhost: Name,
    spec: QueueSpec,
    next: Offset,
    records: BTreeMap<Offset, Stored>,
}

struct Stored {
    message: Option<Message>,
    place: Place,
    attempts: u16,
    tags: Tags,
}

struct SessionRecord {
    vhost: Name,
    name: Name,
    keep: Keep,
    queue: Option<LogId>,
    memos: BTreeMap<Bytes, Bytes>,
}

fn unavailable(error: &StoreError) -> Error {
    Error::new(ErrorKind::Unavailable, error.to_string())
}

/// Reads it all.
pub async fn read(store: &dyn Store) -> Result<Recovered, Error> {
    let mut all = Recovered::default();
    let mut upto = Pos(0);
    let snapshot = store.snapshot_get(JournalId::Meta).await.map_err(|e| unavailable(&e))?;
    if let Some((at, mut body)) = snapshot {
        upto = at;
        let mut whole = BytesMut::new();
        while let Some(piece) = body.next().await {
            whole.extend_from_slice(&piece.map_err(|e| unavailable(&e))?);
        }
        for op in ops::read(whole.freeze()) {
            let op = op.ok_or_else(|| Error::new(ErrorKind::Invalid, "the snapshot is damaged"))?;
            all.apply(op, Pos(0), &mut 0);
        }
    }
    let first = all.wanted.keys().map(|place| place.pos).min().unwrap_or(upto.0 + 1);
    let from = Pos(first.min(upto.0 + 1).max(1));
    let mut entries = store.reader(JournalId::Meta, from).await.map_err(|e| unavailable(&e))?;
    let mut assembler = Assembler::default();
    while let Some(entry) = entries.next().await {
        let taken = entry.and_then(|entry| {
            all.tail = all.tail.max(entry.pos);
            assembler.take(entry)
        });
        match taken {
            Ok(Some((pos, ops))) if pos <= upto => all.fill(pos, ops),
            Ok(Some((pos, ops))) => {
                let mut index = 0;
                ops.into_iter().for_each(|op| all.apply(op, pos, &mut index));
            }
            Ok(None) => {}
            Err(error) => {
                all.damaged += 1;
                tracing::error!(%error, "damaged journal entry passed over");
            }
        }
    }
    all.tail = all.tail.max(upto);
    Ok(all)
}

impl Recovered {
    /// Position of the last entry.
    pub fn tail(&self) -> Pos {
        self.tail
    }

    /// Damaged entries that were passed over.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Messages of an entry before the snapshot: only what the snapshot names.
    fn fill(&mut self, pos: Pos, ops: Vec<Op>) {
        let mut index = 0;
        for op in ops {
            let message = match op {
                Op::Record { message, .. } | Op::Spilled { message } => message,
                _ => continue,
            };
            let place = Place { pos: pos.0, index };
            index += 1;
            for (queue, offset) in self.wanted.remove(&place).unwrap_or_default() {
                let queue = self.queues.get_mut(&queue);
                if let Some(record) = queue.and_then(|q| q.records.get_mut(&offset)) {
                    record.message = Some(message.clone());
                }
            }
        }
    }

    fn apply(&mut self, op: Op, pos: Pos, index: &mut u32) {
        match op {
            Op::Record { message, placed } => {
                let place = Place { pos: pos.0, index: *index };
                *index += 1;
                for (queue, offset, tags) in placed {
                    let message = Some(message.clone());
                    self.add(queue, offset, Stored { message, place, attempts: 0, tags });
                }
            }
            Op::Spilled { .. } => *index += 1,
            Op::Settle { queue, offsets } => {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    for offset in offsets {
                        queue.records.remove(&offset);
                    }
                }
            }
            Op::Attempts { queue, offset, attempts } => {
                let queue = self.queues.get_mut(&queue);
                if let Some(record) = queue.and_then(|q| q.records.get_mut(&offset)) {
                    record.attempts = attempts;
                }
            }
            Op::Live { queue, offset, place, attempts, tags } => {
                self.wanted.entry(place).or_default().push((queue, offset));
                self.add(queue, offset, Stored { message: None, place, attempts, tags });
            }
            Op::Next { queue, offset } => {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    queue.next = queue.next.max(offset);
                }
            }
            Op::Ids { next } => self.next_id = self.next_id.max(next),
            other => self.apply_topology(other),
        }
    }

    fn add(&mut self, queue: LogId, offset: Offset, record: Stored) {
        if let Some(queue) = self.queues.get_mut(&queue) {
            queue.next = queue.next.max(Offset(offset.0 + 1));
            queue.records.entry(offset).or_insert(record);
        }
    }

    fn apply_topology(&mut self, op: Op) {
        match op {
            Op::Queue { vhost, id, spec } => {
                self.next_id = self.next_id.max(id.0);
                let (next, records) = (Offset(0), BTreeMap::new());
                let queue = QueueRecord { vhost, spec, next, records };
                self.queues.entry(id).or_insert(queue);
            }
            Op::QueueGone { id } => {
                self.queues.remove(&id);
            }
            Op::Exchange { vhost, spec } => {
                self.exchanges.insert((vhost, spec.name.clone()), spec);
            }
            Op::ExchangeGone { vhost, name } => {
                self.bindings.retain(|(v, b)| *v != vhost || b.source != name);
                self.exchanges.remove(&(vhost, name));
            }
            Op::Bind { vhost, binding } => {
                self.bindings.retain(|(v, b)| *v != vhost || !b.is(&binding));
                self.bindings.push((vhost, binding));
            }
            Op::Unbind { vhost, binding } => {
                self.bindings.retain(|(v, b)| *v != vhost || !b.is(&binding));
            }
            Op::Retain { vhost, key, message } => {
                match message {
                    Some(message) => self.retained.insert((vhost, key), message),
                    None => self.retained.remove(&(vhost, key)),
                };
            }
            other => self.apply_session(other),
        }
    }

    fn apply_session(&mut self, op: Op) {
        match op {
            Op::Session { vhost, id, name, keep, queue } => {
                self.next_id = self.next_id.max(id.0);
                let memos = self.sessions.remove(&id).map(|s| s.memos).unwrap_or_default();
                self.sessions.insert(id, SessionRecord { vhost, name, keep, queue, memos });
            }
            Op::SessionGone { id } => {
                self.sessions.remove(&id);
            }
            Op::Memo { session, key, value } => {
                let Some(session) = self.sessions.get_mut(&session) else { return };
                match value {
                    Some(value) => session.memos.insert(key, value),
                    None => session.memos.remove(&key),
                };
            }
            Op::Park { id, vhost, due, session, message } => {
                self.next_id = self.next_id.max(id.0);
                let owner = session.unwrap_or(SessionId(0));
                let publish = ParkedPublish { vhost, message, due, owner, at: None, durable: true };
                self.parked.insert(id, publish);
            }
            Op::Unpark { id } => {
                self.parked.remove(&id);
            }
            _ => {}
        }
    }

    /// Living records of each entry, for the committer.
    pub fn live(&self) -> BTreeMap<u64, u32> {
        let mut live = BTreeMap::new();
        for record in self.queues.values().flat_map(|q| q.records.values()) {
            if record.message.is_some() {
                *live.entry(record.place.pos).or_default() += 1;
            }
        }
        live
    }

    /// Puts everything in its place.
    pub fn install(self, core: &Arc<Inner>) {
        core.raise_ids(self.next_id);
        let now = core.now();
        let owned: BTreeSet<LogId> = self.sessions.values().filter_map(|s| s.queue).collect();
        let mut queues = HashMap::new();
        for ((vhost, _), spec) in self.exchanges {
            if let Some(vhost) = core.vhost(&vhost) {
                vhost.topology.write().add_exchange(spec, &vhost.generations);
            }
        }
        for (id, record) in self.queues {
            let Some(vhost) = core.vhost(&record.vhost) else {
                let (vhost, queue) = (&record.vhost, &record.spec.name);
                tracing::error!(%vhost, %queue, "queue of an unknown vhost left alone");
                continue;
            };
            let queue = restore(core, id, record, now);
            vhost.topology.write().add_queue(queue.clone(), &vhost.generations);
            if !owned.contains(&id) {
                core.watch_unused(&vhost, &queue);
            }
            if let Some(due) = queue.look(|state| state.sub.deadline()) {
                core.timers.set(due, Alarm::Queue(vhost.name.clone(), id));
            }
            queues.insert(id, queue);
        }
        for (id, record) in self.sessions {
            install_session(core, id, record, &queues, now);
        }
        for (vhost, binding) in self.bindings {
            if let Some(vhost) = core.vhost(&vhost) {
                vhost.topology.write().bind(binding, &vhost.generations);
            }
        }
        for ((vhost, key), message) in self.retained {
            if let Some(vhost) = core.vhost(&vhost) {
                core.charge(&message);
                vhost.retained.lock().set(key, Some(message));
            }
        }
        for (id, publish) in self.parked {
            install_parked(core, id, publish, now);
        }
    }
}

fn restore(core: &Arc<Inner>, id: LogId, record: QueueRecord, now: Timestamp) -> Arc<Queue> {
    let queue = Queue::new((id, &record.vhost), record.spec, None, now);
    let mut log = Log::starting_at(record.records.keys().next().copied().unwrap_or(record.next));
    queue.look(|state| {
        for (offset, stored) in record.records {
            let Some(message) = stored.message else {
                let offset = offset.0;
                tracing::error!(queue = %queue.name, offset, "message lost: its entry is damaged");
                continue;
            };
            core.charge(&message);
            let published = message.meta().published;
            let arrival = Arrival { message, tags: stored.tags, durable: true };
            let mut put = state.sub.record(arrival, published);
            put.place = Some(stored.place);
            put.attempts = stored.attempts;
            log.put(offset, put);
        }
        log.skip_to(record.next);
        state.sub.recover(log);
    });
    queue
}

fn install_session(
    core: &Arc<Inner>,
    id: SessionId,
    record: SessionRecord,
    queues: &HashMap<LogId, Arc<Queue>>,
    now: Timestamp,
) {
    let Some(vhost) = core.vhost(&record.vhost) else { return };
    let queue = record.queue.and_then(|id| queues.get(&id).cloned());
    let spec = queue.as_ref().map(|q| q.spec.clone());
    let named = Named::new(id, record.name, record.keep, spec);
    named.with(|state| {
        state.queue = queue;
        state.memos = record.memos;
        state.gone_since = Some(now);
    });
    if let Keep::For(ms) = record.keep {
        core.timers.set(now.plus(ms), Alarm::Session(vhost.name.clone(), id));
    }
    vhost.topology.write().add_session(named);
}

/// After a crash the owners of wills are gone; they get a moment to come back.
fn install_parked(core: &Arc<Inner>, id: ParkId, mut publish: ParkedPublish, now: Timestamp) {
    core.charge(&publish.message);
    if let Due::Gone { delay_ms } = publish.due {
        publish.at = Some(now.plus(delay_ms.max(core.settings.will_grace_ms)));
    }
    let mut parked = core.parked.lock();
    let at = publish.at;
    if let Some(at) = parked.add(id, publish).or(at) {
        core.timers.set(at, Alarm::Parked(id));
    }
}
