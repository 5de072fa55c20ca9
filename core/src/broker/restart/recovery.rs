//! Recovery: the newest snapshot, then every entry behind it; no other entry is read. Nothing is written, so it can be
//! interrupted and repeated. Message bodies stay in the journal until they are to be delivered.

use crate::broker::door::request::{ParkId, ParkUntil, SessionLife};
use crate::broker::journal::committer::Live;
use crate::broker::journal::entry::Assembler;
use crate::broker::operations::ops::{self, Op};
use crate::broker::shared::Shared;
use crate::broker::shared::timers::TimerEvent;
use crate::broker::turn::removal::watch_unused;
use crate::broker::vhost::named::Named;
use crate::broker::vhost::parked::ParkedPublish;
use crate::broker::vhost::queue::Queue;
use crate::error::{Error, ErrorKind};
use crate::exchange::{Binding, ExchangeSpec, LogId, SessionId, Tags, Target};
use crate::log::{Offset, Place, QueueSpec, RecordState};
use crate::message::{Key, Message, Name, Timestamp};
use crate::store::{JournalId, Pos, Store, StoreError};
use crate::subscription::{Arrival, Rules, Subscription};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The state that the snapshot and the journal describe.
#[derive(Default)]
pub struct Recovered {
    queues: BTreeMap<LogId, QueueRecord>,
    exchanges: BTreeMap<(Name, Name), ExchangeSpec>,
    bindings: Vec<(Name, Binding)>,
    sessions: BTreeMap<SessionId, SessionRecord>,
    retained: BTreeMap<(Name, Key), Message>,
    parked: BTreeMap<ParkId, ParkedPublish>,
    /// Where the offsets of deleted queues ended: a session's client may know numbers of its own.
    gone: HashMap<LogId, Offset>,
    /// Entries of several parts.
    parts: BTreeMap<u64, u32>,
    /// Records since pages were last put to rest.
    unrested: usize,
    next_id: u64,
    tail: Pos,
    /// Damaged entries that were skipped, and what is wrong with the first.
    damaged: u64,
    first_damaged: Option<String>,
}

struct QueueRecord {
    vhost: Name,
    spec: QueueSpec,
    sub: Subscription,
    /// It is auto-delete and had a consumer.
    used: bool,
}

/// Records that are read before pages are put to rest, so that few are in memory at a time.
const REST_RECORDS: usize = 100_000;
/// Time between two log lines that say how far reading is.
const QUIET: Duration = Duration::from_secs(1);

struct SessionRecord {
    vhost: Name,
    name: Name,
    life: SessionLife,
    queue: Option<LogId>,
    /// That queue, when it was deleted, and where its offsets ended.
    gone: Option<(LogId, Offset)>,
    memos: BTreeMap<Bytes, Bytes>,
}

fn unavailable(error: &StoreError) -> Error {
    Error::new(ErrorKind::Unavailable, error.to_string())
}

/// Reads the newest snapshot and the journal behind it.
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
    let mut entries =
        store.reader(JournalId::Meta, Pos(upto.0 + 1)).await.map_err(|e| unavailable(&e))?;
    let mut assembler = Assembler::default();
    let mut said = Instant::now();
    while let Some(entry) = entries.next().await {
        let taken = entry.and_then(|entry| {
            all.tail = all.tail.max(entry.pos);
            assembler.take(entry)
        });
        match taken {
            Ok(Some((pos, parts, ops))) => {
                if parts > 1 {
                    all.parts.insert(pos.0, parts);
                }
                let mut index = 0;
                ops.into_iter().for_each(|op| all.apply(op, pos, &mut index));
            }
            Ok(None) => {}
            Err(error) => {
                all.damaged += 1;
                tracing::error!(
                    %error,
                    "an entry of the journal is damaged and skipped: what it held is lost"
                );
                all.first_damaged.get_or_insert_with(|| error.to_string());
            }
        }
        if said.elapsed() > QUIET {
            said = Instant::now();
            tracing::info!(
                snapshot_position = upto.0,
                position = all.tail.0,
                "still reading the journal: connections are accepted when its last entry is read"
            );
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

    /// Damaged entries that were skipped.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// What is known of the first damaged entry.
    pub fn first_damaged(&self) -> &str {
        self.first_damaged.as_deref().unwrap_or_default()
    }

    fn apply(&mut self, op: Op, pos: Pos, index: &mut u32) {
        match op {
            Op::Record { message, arrived, placed } => {
                let arrived = arrived.unwrap_or(message.meta().published);
                let place = Place { pos: pos.0, index: *index };
                *index += 1;
                for (queue, offset, tags) in placed {
                    if let Some(queue) = self.queues.get_mut(&queue) {
                        queue.put((offset, place), (&message, tags), arrived);
                        self.unrested += 1;
                    }
                }
            }
            Op::Rewritten { records, .. } => {
                let place = Place { pos: pos.0, index: *index };
                *index += 1;
                for (queue, offset) in records {
                    let queue = self.queues.get_mut(&queue);
                    if let Some(record) = queue.and_then(|q| q.sub.log.get_mut(offset)) {
                        record.place = Some(place);
                    }
                }
            }
            Op::Spilled { .. } => *index += 1,
            Op::Settle { queue, offsets } => {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    for offset in offsets {
                        queue.sub.log.remove(offset);
                    }
                }
            }
            Op::Attempts { queue, offset, attempts } => {
                let queue = self.queues.get_mut(&queue);
                if let Some(record) = queue.and_then(|q| q.sub.log.get_mut(offset)) {
                    record.attempts = attempts;
                }
            }
            Op::Page { queue, number, page } => {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    queue.sub.log.put_page(number, page);
                }
            }
            Op::Next { queue, offset } => match self.queues.get_mut(&queue) {
                Some(queue) => queue.sub.log.skip_to(offset),
                None => _ = self.gone.insert(queue, offset),
            },
            Op::Used { queue } => {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    queue.used = true;
                }
            }
            Op::Parts { pos, parts } => {
                self.parts.insert(pos, parts);
            }
            Op::Ids { next } => self.next_id = self.next_id.max(next),
            other => self.apply_topology(other),
        }
        if self.unrested > REST_RECORDS {
            self.unrested = 0;
            self.queues.values_mut().for_each(|queue| queue.sub.log.freeze());
        }
    }

    fn apply_topology(&mut self, op: Op) {
        match op {
            Op::Queue { vhost, id, spec } => {
                self.next_id = self.next_id.max(id.0);
                self.queues.entry(id).or_insert_with(|| {
                    let sub = Subscription::new(id, Rules::of(&spec));
                    QueueRecord { vhost, spec, sub, used: false }
                });
            }
            Op::QueueGone { id } => {
                if let Some(queue) = self.queues.remove(&id) {
                    self.gone.insert(id, queue.sub.log.next());
                }
            }
            Op::Exchange { vhost, spec } => {
                self.exchanges.insert((vhost, spec.name.clone()), spec);
            }
            Op::ExchangeGone { vhost, name } => {
                let target = Target::Exchange(name.clone());
                self.bindings
                    .retain(|(v, b)| *v != vhost || b.source != name && b.target != target);
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
                let key = Key::new(Bytes::copy_from_slice(key.bytes()));
                match message {
                    Some(message) => self.retained.insert((vhost, key), message.detached()),
                    None => self.retained.remove(&(vhost, key)),
                };
            }
            other => self.apply_session(other),
        }
    }

    fn apply_session(&mut self, op: Op) {
        match op {
            Op::Session { vhost, id, name, life, queue } => {
                self.next_id = self.next_id.max(id.0);
                let memos = self.sessions.remove(&id).map(|s| s.memos).unwrap_or_default();
                let record = SessionRecord { vhost, name, life, queue, gone: None, memos };
                self.sessions.insert(id, record);
            }
            Op::SessionGone { id } => {
                self.sessions.remove(&id);
            }
            Op::Memo { session, key, value } => {
                let Some(session) = self.sessions.get_mut(&session) else { return };
                let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
                match value {
                    Some(value) => session.memos.insert(copy(&key), copy(&value)),
                    None => session.memos.remove(&key),
                };
            }
            Op::Park { id, vhost, due, session, message } => {
                self.next_id = self.next_id.max(id.0);
                let owner = session.unwrap_or(SessionId(0));
                let message = message.detached();
                let publish = ParkedPublish {
                    vhost,
                    message,
                    due,
                    owner,
                    at: None,
                    durable: true,
                    orphan_of: None,
                };
                self.parked.insert(id, publish);
            }
            Op::Unpark { id } => {
                self.parked.remove(&id);
            }
            _ => {}
        }
    }

    /// The records of a queue, in order: where each is, and how often it failed.
    pub fn records(&self, vhost: &str, queue: &str) -> Option<Vec<(Offset, Place, u16)>> {
        let is_it = |record: &&QueueRecord| *record.vhost == *vhost && *record.spec.name == *queue;
        let queue = self.queues.values().find(is_it)?;
        let mut records = Vec::new();
        queue.sub.log.visit(Offset(0), |offset, record| {
            records.extend(record.place.map(|place| (offset, place, record.attempts)));
            ControlFlow::Continue(())
        });
        Some(records)
    }

    /// The names of the queues of a virtual host.
    pub fn queue_names(&self, vhost: &str) -> Vec<&str> {
        let of_it = self.queues.values().filter(|record| *record.vhost == *vhost);
        let mut names: Vec<&str> = of_it.map(|record| &*record.spec.name).collect();
        names.sort_unstable();
        names
    }

    /// Living records of each entry, for the committer.
    pub fn live(&self) -> BTreeMap<u64, Live> {
        let mut live: BTreeMap<u64, Live> = BTreeMap::new();
        for queue in self.queues.values() {
            queue.sub.log.visit(Offset(0), |_, record| {
                if let Some(Place { pos, .. }) = record.place {
                    let parts = || self.parts.get(&pos).copied().unwrap_or(1);
                    let entry = live.entry(pos);
                    entry.or_insert_with(|| Live { records: 0, parts: parts() }).records += 1;
                }
                ControlFlow::Continue(())
            });
        }
        live
    }

    /// Puts what was read into the virtual hosts of a broker, and sets its timers.
    pub fn install(self, shared: &Arc<Shared>) {
        shared.identifiers.raise(self.next_id);
        let now = shared.now();
        // Ids are given once: a binding to the id of a deleted queue or session leads nowhere.
        let is_there = |target: &Target| match target {
            Target::Log(id) => self.queues.contains_key(id),
            Target::Session(id) => self.sessions.contains_key(id),
            Target::Exchange(_) => true,
        };
        let mut bindings = self.bindings;
        bindings.retain(|(_, binding)| is_there(&binding.target));
        let owned: BTreeSet<LogId> = self.sessions.values().filter_map(|s| s.queue).collect();
        let mut queues = HashMap::new();
        for ((vhost, _), spec) in self.exchanges {
            if let Some(vhost) = shared.vhost(&vhost) {
                vhost.topology.write().add_exchange(spec, &vhost.generations);
            }
        }
        for (id, record) in self.queues {
            let Some(vhost) = shared.vhost(&record.vhost) else {
                let (vhost, queue) = (&record.vhost, &record.spec.name);
                tracing::error!(
                    %vhost, %queue,
                    "a stored queue belongs to a virtual host that is not configured: it is not served, and \
                     the next snapshot forgets it; to keep it, stop the broker and configure the virtual host"
                );
                continue;
            };
            let queue = restore(id, record, now);
            queue.charge_to(&vhost.limits.budget);
            vhost.topology.write().add_queue(queue.clone(), &vhost.generations);
            if !owned.contains(&id) {
                watch_unused(shared, &vhost, &queue);
            }
            if let Some(due) = queue.look(|state| state.sub.deadline()) {
                shared.timers.set(due, TimerEvent::RecordExpires(vhost.name.clone(), id));
            }
            queues.insert(id, queue);
        }
        let ended = self.sessions.iter().filter(|(_, record)| !record.life.lasts());
        let sessions_ended: HashMap<SessionId, Name> =
            ended.map(|(id, record)| (*id, record.name.clone())).collect();
        for (id, record) in self.sessions {
            let gone = record.queue.and_then(|id| Some((id, *self.gone.get(&id)?)));
            install_session(shared, id, SessionRecord { gone, ..record }, &queues, now);
        }
        for (vhost, binding) in bindings {
            if let Some(vhost) = shared.vhost(&vhost) {
                vhost.topology.write().bind(binding, &vhost.generations);
            }
        }
        for ((vhost, key), message) in self.retained {
            if let Some(vhost) = shared.vhost(&vhost) {
                shared.charge(&message);
                vhost.retained.lock().set(key, Some(message));
            }
        }
        for (id, mut publish) in self.parked {
            let owner = sessions_ended.get(&publish.owner).filter(|_| publish.due.is_gone());
            publish.orphan_of = owner.cloned();
            install_parked(shared, id, publish, now);
        }
    }
}

impl QueueRecord {
    /// Adds a record whose message is not in memory. A record that is known already stays as it is.
    fn put(
        &mut self,
        (offset, place): (Offset, Place),
        (message, tags): (&Message, Tags),
        arrived: Timestamp,
    ) {
        let arrival = Arrival { message: message.clone(), tags, durable: true };
        let mut record = self.sub.record(arrival, arrived);
        (record.message, record.state, record.place) = (None, RecordState::Ready, Some(place));
        self.sub.log.put(offset, record);
    }
}

fn restore(id: LogId, record: QueueRecord, now: Timestamp) -> Arc<Queue> {
    let QueueRecord { vhost, spec, sub, used } = record;
    let queue = Queue::new((id, &vhost), spec, None, now);
    queue.look(|state| {
        state.sub = sub;
        state.sub.recover();
        state.had_consumer = used;
    });
    queue
}

fn install_session(
    shared: &Arc<Shared>,
    id: SessionId,
    record: SessionRecord,
    queues: &HashMap<LogId, Arc<Queue>>,
    now: Timestamp,
) {
    let Some(vhost) = shared.vhost(&record.vhost) else { return };
    let queue = record.queue.and_then(|id| queues.get(&id).cloned());
    let spec = queue.as_ref().map(|q| q.spec.clone());
    if let Some(queue) = &queue {
        queue.look(|state| state.sub.rules.keeps_seen = true);
    }
    let named = Named::new(id, record.name, record.life, spec);
    named.with(|state| {
        state.queue = queue;
        state.stored = true;
        state.gone = record.gone;
        state.memos = record.memos;
        state.gone_since = Some(now);
    });
    if let SessionLife::For(ms) = record.life {
        shared.timers.set(now.plus(ms), TimerEvent::SessionExpires(vhost.name.clone(), id));
    }
    vhost.topology.write().add_session(named);
}

/// After a crash the owners of wills are gone; they get `will_grace_ms` to come back.
fn install_parked(shared: &Arc<Shared>, id: ParkId, mut publish: ParkedPublish, now: Timestamp) {
    shared.charge(&publish.message);
    if let ParkUntil::Disconnected { delay_ms } = publish.due {
        publish.at = Some(now.plus(delay_ms.max(shared.settings.will_grace_ms)));
    }
    let mut parked = shared.parked.lock();
    let at = publish.at;
    if let Some(at) = parked.add(id, publish).or(at) {
        shared.timers.set(at, TimerEvent::Parked(id));
    }
}
