//! Recovery: the newest snapshot, then every entry behind it; no other entry is read. Nothing is written, so it can be
//! interrupted and repeated. Message bodies stay in the journal until they are to be delivered.

use super::accounts::StoredAccounts;
use super::bindings::StoredBindings;
use super::counts::StoredCounts;
use super::damage::Damage;
use super::sessions::{SessionRecord, restore_session};
use super::values::{Change, ComingValues, ValuesInput};
use crate::broker::door::request::{ParkId, ParkUntil, SessionLife};
use crate::broker::journal::committer::Live;
use crate::broker::journal::entry::Assembler;
use crate::broker::operations::known::Known;
use crate::broker::operations::ops::{self, Op};
use crate::broker::shared::Shared;
use crate::broker::shared::timers::TimerEvent;
use crate::broker::turn::removal::watch_unused;
use crate::broker::vhost::parked::ParkedPublish;
use crate::broker::vhost::queue::Queue;
use crate::error::{Error, ErrorKind};
use crate::exchange::{ExchangeSpec, LogId, SessionId, Tags, Target};
use crate::log::{Offset, Place, QueueSpec, RecordState};
use crate::message::{Budget, Message, Name, Timestamp, Value};
use crate::store::{JournalId, Pos, Source, Store, StoreError};
use crate::subscription::{Arrival, CameBy, Rules, Subscription};
use bytes::{Bytes, BytesMut};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The state that the snapshot and the journal describe.
#[derive(Default)]
pub struct Recovered {
    /// Boxed: a record is large, and a map moves its entries.
    queues: BTreeMap<LogId, Box<QueueRecord>>,
    exchanges: BTreeMap<(Name, Name), ExchangeSpec>,
    bindings: StoredBindings,
    sessions: BTreeMap<SessionId, SessionRecord>,
    parked: BTreeMap<ParkId, ParkedPublish>,
    /// Where the offsets of deleted queues ended: a session's client may know numbers of its own.
    gone: HashMap<LogId, Offset>,
    /// So many of those, and the ones that no session had are forgotten.
    forget_at: usize,
    /// Names of virtual hosts, each kept once.
    vhosts: HashSet<Name>,
    /// Entries of several parts.
    parts: BTreeMap<u64, u32>,
    /// Records since pages were last put to rest.
    unrested: usize,
    next_id: u64,
    tail: Pos,
    damage: Damage,
    accounts: StoredAccounts,
}

struct QueueRecord {
    vhost: Name,
    spec: QueueSpec,
    sub: Subscription,
    /// It is auto-delete and had a consumer.
    used: bool,
    counts: StoredCounts,
}

/// Records that are read before pages are put to rest, so that few are in memory at a time.
const REST_RECORDS: usize = 100_000;
/// The last deleted queues that are remembered although no session had them.
const GONE_MIN: usize = 64 << 10;
/// How many of the ids that were given out last count as new.
const GONE_NEW: u64 = 4 << 10;
/// Entries that are read between two looks at the clock.
const LOOK_ENTRIES: u32 = 256;
/// Time between two log lines that say how far reading is.
const QUIET: Duration = Duration::from_secs(1);

fn unavailable(error: &StoreError) -> Error {
    Error::new(ErrorKind::Unavailable, error.to_string())
}

/// Reads the newest snapshot and the journal behind it. What is kept is charged to that budget. Retained values may
/// still be on their way when all else is read.
pub async fn read(
    store: &dyn Store,
    budget: &Arc<Budget>,
) -> Result<(Recovered, ComingValues), Error> {
    let mut all = Reading { state: Recovered::default(), values: ValuesInput::begin(budget) };
    let mut upto = Pos(0);
    let snapshot = store.snapshot_get(JournalId::Meta).await.map_err(|e| unavailable(&e))?;
    if let Some((at, body)) = snapshot {
        upto = at;
        all.read_snapshot(body).await?;
    }
    all.read_journal(store, upto).await?;
    let Reading { mut state, values } = all;
    state.tail = state.tail.max(upto);
    Ok((state, values.end().await))
}

/// The state so far, and where retained values go.
struct Reading {
    state: Recovered,
    values: ValuesInput,
}

impl Reading {
    /// Operations may go over the borders of pieces: what is not whole waits for the next piece. So little more is in
    /// memory than a piece, and the largest operation.
    async fn read_snapshot(&mut self, mut body: Box<dyn Source<Bytes>>) -> Result<(), Error> {
        let (mut waiting, mut known) = (BytesMut::new(), Known::default());
        // An operation of many pieces is tried again when twice as much of it is there.
        let mut try_at = 0;
        loop {
            let piece = body.next().await.transpose().map_err(|e| unavailable(&e))?;
            let is_last = piece.is_none();
            piece.iter().for_each(|piece| waiting.extend_from_slice(piece));
            if waiting.len() < try_at && !is_last {
                continue;
            }
            let mut some = waiting.split().freeze();
            while let Some(op) = ops::take_whole(&mut some, &mut known) {
                self.apply(op, Pos(0), &mut 0);
            }
            self.values.hand_over().await;
            try_at = 2 * some.len();
            match is_last {
                true if some.is_empty() => return Ok(()),
                true => return Err(Error::new(ErrorKind::Invalid, "the snapshot is damaged")),
                false => waiting.extend_from_slice(&some),
            }
        }
    }

    async fn read_journal(&mut self, store: &dyn Store, upto: Pos) -> Result<(), Error> {
        let entries = store.reader(JournalId::Meta, Pos(upto.0 + 1)).await;
        let mut entries = entries.map_err(|e| unavailable(&e))?;
        let mut assembler = Assembler::default();
        let mut said = Instant::now();
        let mut entries_read = 0u32;
        while let Some(entry) = entries.next().await {
            let taken = entry.and_then(|entry| {
                self.state.tail = self.state.tail.max(entry.pos);
                assembler.take(entry)
            });
            match taken {
                Ok(Some((pos, parts, ops))) => {
                    if parts > 1 {
                        self.state.parts.insert(pos.0, parts);
                    }
                    let mut index = 0;
                    ops.into_iter().for_each(|op| self.apply(op, pos, &mut index));
                    self.values.hand_over().await;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(
                        %error,
                        "an entry of the journal is damaged and skipped: what it held is lost"
                    );
                    self.state.damage.note(1, || error.to_string());
                }
            }
            entries_read = entries_read.wrapping_add(1);
            if entries_read.is_multiple_of(LOOK_ENTRIES) && said.elapsed() > QUIET {
                said = Instant::now();
                tracing::info!(
                    snapshot_position = upto.0,
                    position = self.state.tail.0,
                    "still reading the journal: connections are accepted when its last entry is read"
                );
            }
        }
        Ok(())
    }

    fn apply(&mut self, op: Op, pos: Pos, index: &mut u32) {
        match op {
            Op::Retain { vhost, key, message } => self.values.put(Change { vhost, key, message }),
            other => self.state.apply(other, pos, index),
        }
    }
}

impl Recovered {
    /// Position of the last entry.
    pub fn tail(&self) -> Pos {
        self.tail
    }

    /// Damage of what was read.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    fn apply(&mut self, op: Op, pos: Pos, index: &mut u32) {
        match op {
            Op::Record { message, arrived, placed, by } => {
                let arrived = arrived.unwrap_or(message.meta().published);
                let place = Place { pos: pos.0, index: *index };
                *index += 1;
                for (queue, offset, tags) in placed {
                    if let Some(queue) = self.queues.get_mut(&queue) {
                        queue.put((offset, place), (&message, tags), arrived);
                        queue.counts.came(pos, by);
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
            Op::Settle { queue, by, offsets } => {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    queue.counts.left(pos, by, offsets.len());
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
            other => self.apply_topology(other, pos),
        }
        if self.unrested > REST_RECORDS {
            self.unrested = 0;
            self.queues.values_mut().for_each(|queue| queue.sub.log.freeze());
        }
    }

    fn apply_topology(&mut self, op: Op, pos: Pos) {
        match op {
            Op::Counts { queue, upto, tally } => {
                _ = self.queues.get_mut(&queue).map(|queue| queue.counts.set(upto, tally));
            }
            Op::TransientCounts { queue, tally } => {
                _ = self.queues.get_mut(&queue).map(|queue| queue.counts.set_transient(tally));
            }
            Op::Queue { vhost, id, mut spec } => {
                detach(&mut spec.arguments);
                spec.dead_letter = spec.dead_letter.map(|(x, key)| (x, key.map(|k| k.detached())));
                self.next_id = self.next_id.max(id.0);
                let vhost = self.vhost(vhost);
                self.queues.entry(id).or_insert_with(|| {
                    let sub = Subscription::new(id, Rules::of(&spec));
                    let counts = StoredCounts::begin(pos);
                    Box::new(QueueRecord { vhost, spec, sub, used: false, counts })
                });
            }
            Op::QueueGone { id } => {
                self.bindings.target_gone(&Target::Log(id));
                if let Some(queue) = self.queues.remove(&id) {
                    self.gone.insert(id, queue.sub.log.next());
                    self.forget_gone();
                }
            }
            Op::Exchange { vhost, mut spec } => {
                detach(&mut spec.arguments);
                let vhost = self.vhost(vhost);
                self.exchanges.insert((vhost, spec.name.clone()), spec);
            }
            Op::ExchangeGone { vhost, name } => {
                self.bindings.exchange_gone(&vhost, &name);
                self.exchanges.remove(&(vhost, name));
            }
            Op::Bind { vhost, mut binding } => {
                binding.detach();
                self.bindings.put(&vhost, binding);
            }
            Op::Unbind { vhost, binding } => self.bindings.remove(&vhost, &binding),
            other => self.apply_session(other),
        }
    }

    /// The name of a virtual host, shared by all that is in it.
    fn vhost(&mut self, name: Name) -> Name {
        match self.vhosts.get(&name) {
            Some(known) => known.clone(),
            None => {
                self.vhosts.insert(name.clone());
                name
            }
        }
    }

    /// Of deleted queues only those are remembered that a session had, and the newest: what a session says of its queue
    /// may be stored shortly behind the end of that.
    fn forget_gone(&mut self) {
        if self.gone.len() < self.forget_at.max(GONE_MIN) {
            return;
        }
        let owned: HashSet<LogId> = self.sessions.values().filter_map(|s| s.queue).collect();
        let new = self.next_id.saturating_sub(GONE_NEW);
        self.gone.retain(|id, _| id.0 >= new || owned.contains(id));
        self.forget_at = 2 * self.gone.len().max(owned.len());
    }

    fn apply_session(&mut self, op: Op) {
        match op {
            Op::Session { vhost, id, name, life, queue, owner } => {
                self.next_id = self.next_id.max(id.0);
                let vhost = self.vhost(vhost);
                match self.sessions.entry(id) {
                    Entry::Occupied(known) => {
                        let known = known.into_mut();
                        (known.vhost, known.name, known.life) = (vhost, name, life);
                        (known.queue, known.owner) = (queue, owner);
                    }
                    Entry::Vacant(place) => {
                        let memos = BTreeMap::new();
                        let gone = None;
                        place.insert(SessionRecord {
                            vhost,
                            name,
                            life,
                            queue,
                            owner,
                            gone,
                            memos,
                        });
                    }
                }
            }
            Op::SessionGone { id } => {
                self.bindings.target_gone(&Target::Session(id));
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
            Op::Park { id, vhost, due, copies, session, message } => {
                self.next_id = self.next_id.max(id.0);
                let owner = session.unwrap_or(SessionId(0));
                let (vhost, message) = (self.vhost(vhost), message.detached());
                let publish = ParkedPublish {
                    vhost,
                    message,
                    due,
                    copies,
                    owner,
                    at: None,
                    durable: true,
                    of: None,
                    is_orphan: false,
                    subject: None,
                };
                self.parked.insert(id, publish);
            }
            Op::Unpark { id } => {
                self.parked.remove(&id);
            }
            other => self.accounts.apply(other),
        }
    }

    /// The records of a queue, in order: where each is, and how often it failed.
    pub fn records(&self, vhost: &str, queue: &str) -> Option<Vec<(Offset, Place, u16)>> {
        let is_it = |record: &&QueueRecord| *record.vhost == *vhost && *record.spec.name == *queue;
        let queue = self.queues.values().map(|record| &**record).find(is_it)?;
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

    /// Puts what was read into the virtual hosts of a broker, and sets its timers. Retained values come by themselves.
    pub fn install(mut self, shared: &Arc<Shared>) {
        shared.identifiers.raise(self.next_id);
        let now = shared.now();
        std::mem::take(&mut self.accounts).install(shared);
        self.install_exchanges(shared);
        let queues = self.install_queues(shared, now);
        let sessions = self.sessions.iter();
        let sessions: HashMap<SessionId, (Name, bool)> = sessions
            .map(|(id, record)| (*id, (record.name.clone(), record.life.lasts())))
            .collect();
        self.install_sessions(shared, &queues, now);
        for (vhost, bindings) in self.bindings.into_vhosts() {
            let Some(vhost) = shared.vhost(&vhost) else { continue };
            vhost.topology.write().restore_bindings(bindings, &vhost.generations);
        }
        for (id, mut publish) in self.parked {
            if let Some((name, lasts)) = sessions.get(&publish.owner)
                && publish.due.is_gone()
            {
                (publish.of, publish.is_orphan) = (Some(name.clone()), !lasts);
            }
            install_parked(shared, id, publish, now);
        }
    }

    fn install_exchanges(&mut self, shared: &Shared) {
        let exchanges = std::mem::take(&mut self.exchanges);
        let all = exchanges.into_iter().map(|((vhost, _), spec)| (vhost, spec));
        for (vhost, exchanges) in by_vhost(all) {
            let Some(vhost) = shared.vhost(&vhost) else { continue };
            let mut topology = vhost.topology.write();
            for spec in exchanges {
                topology.add_exchange(spec, &vhost.generations);
            }
        }
    }

    /// Those that belong to sessions are returned.
    fn install_queues(
        &mut self,
        shared: &Arc<Shared>,
        now: Timestamp,
    ) -> FxHashMap<LogId, Arc<Queue>> {
        let owned: FxHashSet<LogId> = self.sessions.values().filter_map(|s| s.queue).collect();
        let records = std::mem::take(&mut self.queues).into_values();
        let mut installed = FxHashMap::with_capacity_and_hasher(owned.len(), FxBuildHasher);
        for (name, records) in by_vhost(records.map(|r| (r.vhost.clone(), r))) {
            let Some(vhost) = shared.vhost(&name) else {
                for record in records {
                    let (vhost, queue) = (&record.vhost, &record.spec.name);
                    tracing::error!(
                        %vhost, %queue,
                        "a stored queue belongs to a virtual host that is not configured: it is not \
                         served, and the next snapshot forgets it; to keep it, stop the broker and \
                         configure the virtual host"
                    );
                }
                continue;
            };
            let is_damaged = self.damage.is_any();
            let restored = records.into_iter().map(|record| restore(record, now, is_damaged));
            let queues: Vec<Arc<Queue>> = restored.collect();
            {
                let mut topology = vhost.topology.write();
                for queue in &queues {
                    queue.join(&vhost.limits);
                    topology.add_queue(queue.clone(), &vhost.generations);
                }
            }
            for queue in queues {
                if let Some(due) = queue.look(|state| state.sub.deadline()) {
                    let event = TimerEvent::RecordExpires(vhost.name.clone(), queue.id);
                    shared.timers.set(due, event);
                }
                match owned.contains(&queue.id) {
                    true => _ = installed.insert(queue.id, queue),
                    false => watch_unused(shared, &vhost, &queue),
                }
            }
        }
        installed
    }

    fn install_sessions(
        &mut self,
        shared: &Shared,
        queues: &FxHashMap<LogId, Arc<Queue>>,
        now: Timestamp,
    ) {
        let sessions = std::mem::take(&mut self.sessions).into_iter();
        for (vhost, records) in by_vhost(sessions.map(|(id, r)| (r.vhost.clone(), (id, r)))) {
            let Some(vhost) = shared.vhost(&vhost) else { continue };
            let mut topology = vhost.topology.write();
            for (id, mut record) in records {
                record.gone = record.queue.and_then(|id| Some((id, *self.gone.get(&id)?)));
                if let SessionLife::For(ms) = record.life {
                    let event = TimerEvent::SessionExpires(vhost.name.clone(), id);
                    shared.timers.set(now.plus(ms), event);
                }
                let owner = record.subject(shared);
                topology.add_session(restore_session(id, (record, owner), queues, now));
            }
        }
    }
}

/// What stays does not keep the bytes of the journal in memory.
fn detach(arguments: &mut [(Name, Value)]) {
    arguments.iter_mut().for_each(|(_, value)| value.detach());
}

/// What belongs to each virtual host, in the same order.
fn by_vhost<T>(all: impl Iterator<Item = (Name, T)>) -> HashMap<Name, Vec<T>> {
    let mut vhosts: HashMap<Name, Vec<T>> = HashMap::new();
    for (vhost, one) in all {
        vhosts.entry(vhost).or_default().push(one);
    }
    vhosts
}

impl QueueRecord {
    /// Adds a record whose message is not in memory. A record that is known already stays as it is.
    fn put(
        &mut self,
        (offset, place): (Offset, Place),
        (message, tags): (&Message, Tags),
        arrived: Timestamp,
    ) {
        let by = CameBy::Publish;
        let arrival = Arrival { message: message.clone(), tags, durable: true, by };
        let mut record = self.sub.record(arrival, arrived);
        (record.message, record.state, record.place) = (None, RecordState::Ready, Some(place));
        self.sub.log.put(offset, record);
    }
}

fn restore(record: Box<QueueRecord>, now: Timestamp, is_damaged: bool) -> Arc<Queue> {
    let QueueRecord { vhost, spec, mut sub, used, counts } = *record;
    sub.recover();
    counts.restore(&sub.log, &sub.counts, is_damaged);
    let queue = Queue::with(sub, &vhost, spec, (None, now));
    queue.look(|state| state.had_consumer = used);
    queue
}

/// After a crash the owners of wills are gone; they get `will_grace_ms` to come back.
fn install_parked(shared: &Arc<Shared>, id: ParkId, mut publish: ParkedPublish, now: Timestamp) {
    shared.charge(&publish.message);
    if let ParkUntil::Disconnected { delay_ms } = publish.due {
        publish.at = Some(now.plus(delay_ms.max(shared.settings.at_start.will_grace_ms)));
    }
    let mut parked = shared.parked.lock();
    let at = publish.at;
    if let Some(at) = parked.add(id, publish).or(at) {
        shared.timers.set(at, TimerEvent::Parked(id));
    }
}
