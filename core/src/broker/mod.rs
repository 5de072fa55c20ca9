//! The asynchronous shell around the pure half: sessions and their inboxes, virtual hosts, the committer, timers,
//! the memory budget.
//!
//! | room | what is in it |
//! |---|---|
//! | `door` | what adapters ask, and what they are told |
//! | `session` | the verbs of a session: publish, settle, consume, declare |
//! | `turn` | one flush's way: route, append, dispatch, dead-letter, one unit for the journal |
//! | `vhost` | what a virtual host is made of, each part behind its own lock |
//! | `journal` `operations` | what is stored and when; its bytes |
//! | `restart` | what is kept of the journal, and how a broker comes back from it |
//! | `tasks` | what runs in the background |
//!
//! Lock order: **vhost → log → inbox**; no lock is held over an await.

mod door;
mod journal;
pub(crate) mod operations;
mod restart;
mod session;
mod tasks;
mod turn;
mod vhost;

pub use crate::subscription::{ConsumerId, Credit, Delivery, Outcome};
pub use door::events::{Confirm, Confirmed, Declared, Events, Notice, QueueStatus};
pub use door::request::{
    Bind, Consumer, Due, Keep, LaneId, Memo, ParkId, PoolId, Publish, Replay, SessionSpec, Source,
    To, Unsettled,
};
pub use restart::dump::{Stored, dump};
pub use session::state::Session;

use crate::auth::{Authenticator, Login};
use crate::error::{Error, ErrorKind};
use crate::exchange::ExchangeSpec;
use crate::log::Place;
use crate::message::{Address, Budget, Formats, Message, Name, Timestamp};
use crate::store::{JournalId, Pos, Store};
use crate::transform::ContentRoute;
use journal::committer::{Committed, Committer, Placed, Why};
use operations::ops::Ops;
use parking_lot::Mutex;
use restart::snapshot::Grace;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use tasks::timer::{Clock, Timers};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use turn::run::{Scene, Turn};
use vhost::host::Vhost;
use vhost::inbox::Inbox;
use vhost::parked::Parked;

/// Limits and marks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of resident messages over which publishers are held back.
    pub memory_high: usize,
    /// Bytes of resident messages over which those that are stored leave memory while they wait.
    pub memory_resident: usize,
    /// Free bytes of the disk under which publishers are held back; none: 1 GiB, or 5 % if that is more.
    pub disk_free_alarm: Option<u64>,
    /// Free bytes under which nothing new is declared either.
    pub disk_free_hard: u64,
    /// A snapshot is taken after so many bytes of journal at the earliest.
    pub snapshot_bytes: usize,
    /// Open although entries of the journal are damaged that may have held anything.
    pub accept_damage: bool,
    /// Bytes of publishes that one session may have held or uncommitted.
    pub session_share: usize,
    /// Bytes of level-0 deliveries that wait for one session; what comes beyond is dropped and counted.
    pub inbox_bytes_max: usize,
    /// Bytes of one message at most.
    pub message_bytes_max: usize,
    /// Bytes and separators of a topic at most.
    pub topic_bytes_max: usize,
    pub topic_separators_max: usize,
    /// After a crash, wills of sessions that were connected wait at least so long, in milliseconds.
    pub will_grace_ms: u64,
    /// The exchange whose bindings are the shared topic tree.
    pub topic_exchange: Name,
    /// Where failures go that have no address of their own.
    pub dead_letter: Address,
    /// Virtual hosts; the first is the default one.
    pub vhosts: Vec<Name>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            memory_high: 1 << 30,
            memory_resident: 128 << 20,
            disk_free_alarm: None,
            disk_free_hard: 256 << 20,
            snapshot_bytes: 64 << 20,
            accept_damage: false,
            session_share: 1 << 20,
            inbox_bytes_max: 8 << 20,
            message_bytes_max: 16 << 20,
            topic_bytes_max: 65_535,
            topic_separators_max: 200,
            will_grace_ms: 30_000,
            topic_exchange: "amq.topic".into(),
            dead_letter: Address::queue("dead-letters"),
            vhosts: vec!["/".into()],
        }
    }
}

/// All that a broker is made of.
pub struct Setup {
    pub settings: Settings,
    pub formats: Formats,
    /// Predeclared exchanges.
    pub topology: Vec<ExchangeSpec>,
    pub store: Arc<dyn Store>,
    pub authenticator: Arc<dyn Authenticator>,
    pub routes: Vec<ContentRoute>,
}

/// The broker. A clone is another handle on the same one.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

/// What all parts of the broker share.
pub struct Inner {
    pub settings: Settings,
    pub formats: Formats,
    pub committer: Arc<Committer>,
    pub timers: Timers,
    pub store: Arc<dyn Store>,
    /// Parked publishes; its lock is taken alone.
    pub parked: Mutex<Parked>,
    pub grace: Grace,
    pub snapshot_due: Notify,
    /// Position of the last stored entry.
    pub tail: AtomicU64,
    authenticator: Arc<dyn Authenticator>,
    vhosts: Vec<Arc<Vhost>>,
    clock: Clock,
    ids: AtomicU64,
    budget: Arc<Budget>,
    /// Memory is over its mark: publishers are held back.
    alarmed: AtomicBool,
    /// Stored messages are leaving memory.
    relieving: AtomicBool,
    over: Notify,
    /// The disk is nearly full: publishers are held back; it is even fuller: nothing is declared.
    pub disk_alarmed: AtomicBool,
    pub disk_full: AtomicBool,
    /// Bytes to the mark, as far as is known, and a wish to look again.
    room_left: AtomicU64,
    look_due: Notify,
    /// Sessions that wait for the alarm to end.
    held: Mutex<Vec<Weak<Inbox>>>,
    /// Bytes of journal since the last snapshot.
    pub unsnapped: AtomicUsize,
    pub snapshot_every: AtomicUsize,
    /// Position of the newest snapshot of this start.
    pub snapped: AtomicU64,
    loads: Notify,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    committing: Mutex<Option<JoinHandle<()>>>,
    /// Makes generated names unguessable between starts.
    salt: u64,
}

impl Broker {
    /// Opens the store, recovers, declares the topology and starts the background tasks.
    pub async fn open(setup: Setup) -> Result<Broker, Error> {
        let Setup { settings, formats, topology, store, authenticator, routes } = setup;
        let unavailable = |e: crate::store::StoreError| {
            Error::new(ErrorKind::Unavailable, format!("the store cannot be opened: {e}"))
        };
        let lease = store.coord().acquire("node").await.map_err(unavailable)?;
        let lease =
            lease.ok_or_else(|| Error::new(ErrorKind::Locked, "another process owns the store"))?;
        let recovered = restart::recovery::read(&*store).await?;
        let damaged = recovered.damaged();
        if damaged > 0 && !settings.accept_damage {
            let first = recovered.first_damaged();
            let why = format!(
                "{damaged} entries of the journal are damaged, what they held is lost, acknowledgements and \
                 declarations perhaps: {first}; start once with --accept-damage to go on without them"
            );
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        let writer = store.open(JournalId::Meta, &lease).await.map_err(unavailable)?;
        let vhosts = settings
            .vhosts
            .iter()
            .map(|name| Vhost::new(name.clone(), settings.topic_exchange.clone(), &topology))
            .collect();
        let inner = Arc::new(Inner {
            committer: Arc::new(Committer::new(recovered.live())),
            tail: AtomicU64::new(recovered.tail().0),
            timers: Timers::default(),
            store: store.clone(),
            parked: Mutex::default(),
            grace: Grace::default(),
            snapshot_due: Notify::new(),
            authenticator,
            vhosts,
            clock: Clock::start(),
            ids: AtomicU64::new(0),
            budget: Arc::new(Budget::new(settings.memory_resident, settings.memory_high)),
            alarmed: AtomicBool::new(false),
            relieving: AtomicBool::new(false),
            disk_alarmed: AtomicBool::new(false),
            disk_full: AtomicBool::new(false),
            room_left: AtomicU64::new(0),
            look_due: Notify::new(),
            over: Notify::new(),
            held: Mutex::default(),
            unsnapped: AtomicUsize::new(0),
            snapshot_every: AtomicUsize::new(settings.snapshot_bytes),
            snapped: AtomicU64::new(u64::MAX),
            loads: Notify::new(),
            tasks: Mutex::default(),
            committing: Mutex::default(),
            salt: lease.epoch.0,
            settings,
            formats,
        });
        recovered.install(&inner);
        if damaged > 0 {
            tracing::error!(entries = damaged, "the journal is damaged; everything else is served");
            // The next start does not come to the damage any more.
            restart::snapshot::now(&inner).await.map_err(unavailable)?;
        }
        inner.start(writer);
        inner.catch_up();
        let broker = Broker(inner);
        tasks::content_routes::start(&broker, routes).await?;
        Ok(broker)
    }

    /// Limits and marks.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Every known header format.
    pub fn formats(&self) -> &Formats {
        &self.0.formats
    }

    /// Milliseconds since the epoch; never goes back.
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// Who is this? [`ErrorKind::Refused`] when nobody.
    pub async fn login(&self, login: &Login) -> Result<Name, Error> {
        self.0.authenticator.login(login).await
    }

    /// True when there is a virtual host of that name.
    pub fn has_vhost(&self, name: &str) -> bool {
        self.0.vhost(name).is_some()
    }

    /// Bytes of resident messages now.
    pub fn memory_used(&self) -> usize {
        self.0.budget.used()
    }

    /// Stores what is pending and closes the store.
    pub async fn close(&self) -> Result<(), Error> {
        for task in self.0.tasks.lock().drain(..) {
            task.abort();
        }
        self.0.committer.close();
        let committing = self.0.committing.lock().take();
        if let Some(committing) = committing
            && committing.await.is_err()
        {
            return Err(Error::new(ErrorKind::Internal, "the committer panicked"));
        }
        match self.0.committer.has_failed() {
            true => Err(self.0.committer.failed().await),
            false => Ok(()),
        }
    }

    /// Resolves when the store has failed: nothing is acknowledged any more, the process has to end.
    pub async fn failed(&self) -> Error {
        self.0.committer.failed().await
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

impl Inner {
    fn start(self: &Arc<Self>, writer: Box<dyn crate::store::JournalWriter>) {
        // Trims are hints: a few that wait are enough.
        let (trims, to_trim) = mpsc::channel(4);
        let committed: Arc<dyn Committed> = Arc::new(Shell(self.clone()));
        let max_entry = self.store.caps().max_entry;
        let committing =
            journal::committer::run(self.committer.clone(), writer, max_entry, to_trim, committed);
        *self.committing.lock() = Some(tokio::spawn(committing));
        self.spawn(tasks::timer::run(self.clone()));
        self.spawn(restart::snapshot::run(self.clone(), trims));
        self.spawn(tasks::relieve::run(self.clone()));
        self.spawn(tasks::disk_space::run(self.clone()));
    }

    /// What the end of the last start would have done: sessions that were to end with their connection have ended,
    /// auto-delete queues lose their last consumer, and queues hold their limits, whose drops are stored lazily.
    fn catch_up(self: &Arc<Self>) {
        for vhost in self.all_vhosts() {
            for named in vhost.sessions() {
                if !named.is_durable() {
                    let mut ops = self.end_session(vhost, &named);
                    if self.parked.lock().has_will_of(named.id) {
                        // Another crash must not make it nobody's.
                        ops.session(
                            &vhost.name,
                            (named.id, &named.name),
                            door::request::Keep::No,
                            None,
                        );
                    }
                    self.committer.submit(journal::committer::Unit::of(ops));
                }
            }
            for queue in vhost.queues() {
                let ops = self.after_detach(vhost, &queue);
                self.committer.submit(journal::committer::Unit::of(ops));
                let mut turn = Turn::default();
                let (scene, grace) =
                    (Scene { core: self, vhost, now: self.now() }, self.grace.enter());
                let step = |state: &mut vhost::queue::QueueState, effects: &mut _| {
                    state.sub.dispatch(scene.now, effects);
                };
                queue.step(&mut turn.after, step);
                turn.run(scene);
                turn.finish(scene, None);
                self.grace.leave(grace);
            }
        }
    }

    /// Milliseconds since the epoch; never goes back.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// An id that was never used before.
    pub fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The last id given out.
    pub fn last_id(&self) -> u64 {
        self.ids.load(Ordering::Relaxed)
    }

    /// No id up to this one is given out.
    pub fn raise_ids(&self, to: u64) {
        self.ids.fetch_max(to, Ordering::Relaxed);
    }

    /// A text that no generated name had before.
    pub fn unique(&self) -> String {
        format!("{:x}-{:x}-{:x}", self.salt, self.now().0, self.next_id())
    }

    /// The virtual host of that name.
    pub fn vhost(&self, name: &str) -> Option<Arc<Vhost>> {
        self.vhosts.iter().find(|v| *v.name == *name).cloned()
    }

    /// The first virtual host.
    pub fn default_vhost(&self) -> Option<Arc<Vhost>> {
        self.vhosts.first().cloned()
    }

    /// All virtual hosts.
    pub fn all_vhosts(&self) -> &[Arc<Vhost>] {
        &self.vhosts
    }

    /// Counts a message against the memory budget as long as it lives.
    pub fn charge(&self, message: &Message) {
        message.charge(|| self.budget.charge(message.footprint()));
        if !self.budget.is_over_resident() {
            return;
        }
        if self.budget.is_over() && !self.alarmed.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                used = self.budget.used(),
                "memory is over its mark: publishers are held back"
            );
            self.over.notify_one();
        }
        if !self.relieving.swap(true, Ordering::AcqRel) {
            self.over.notify_one();
        }
    }

    /// True while publishers are held back.
    pub fn is_alarmed(&self) -> bool {
        self.alarmed.load(Ordering::Acquire) || self.disk_alarmed.load(Ordering::Acquire)
    }

    /// Publishers that were held back look whether they may go on.
    fn release_held(&self) {
        let held = std::mem::take(&mut *self.held.lock());
        held.iter().filter_map(Weak::upgrade).for_each(|inbox| inbox.wake());
    }

    /// Wakes that session when the alarm ends.
    pub fn hold(&self, inbox: &Arc<Inbox>) {
        let mut held = self.held.lock();
        held.retain(|h| h.strong_count() > 0 && h.as_ptr() != Arc::as_ptr(inbox));
        held.push(Arc::downgrade(inbox));
    }
}

/// What a commit leads to. It has a turn of its own.
struct Shell(Arc<Inner>);

impl Committed for Shell {
    fn stored(&self, mut placed: Vec<(Placed, Place)>) {
        let core = &self.0;
        let grace = core.grace.enter();
        let mut turn = Turn::default();
        let now = core.now();
        // Nearly always one virtual host has it all.
        while let Some(name) = placed.first().map(|(p, _)| p.queue.vhost.clone()) {
            let rest = match placed.iter().position(|(p, _)| p.queue.vhost != name) {
                Some(at) => placed.split_off(at),
                None => Vec::new(),
            };
            let theirs = std::mem::replace(&mut placed, rest);
            if let Some(vhost) = core.vhost(&name) {
                commit(core, theirs, now, &mut turn);
                let scene = Scene { core, vhost: &vhost, now };
                turn.run(scene);
                turn.finish(scene, None);
            }
        }
        core.grace.leave(grace);
    }

    fn lost(&self, placed: Vec<Placed>) {
        let mut after = vhost::queue::Aftermath::default();
        for placed in placed.into_iter().filter(|p| p.why == Why::New) {
            placed.queue.step(&mut after, |state, _| state.sub.fail(placed.offset));
        }
    }

    fn wrote(&self, upto: Pos, bytes: usize) {
        let core = &self.0;
        core.tail.store(upto.0, Ordering::Release);
        core.used_room(bytes);
        let unsnapped = core.unsnapped.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if unsnapped > core.snapshot_every.load(Ordering::Acquire) {
            core.snapshot_due.notify_one();
        }
    }
}

/// Marks records as stored, queue by queue, and dispatches what that lets go.
fn commit(core: &Inner, placed: Vec<(Placed, Place)>, now: Timestamp, turn: &mut Turn) {
    let mut rest = placed.into_iter().peekable();
    let mut gone = Vec::new();
    while let Some((first, place)) = rest.next() {
        let queue = first.queue.clone();
        queue.step(&mut turn.after, |state, effects| {
            let mut one = |placed: &Placed, place: Place| {
                let kept = match placed.why {
                    Why::New => state.sub.commit(placed.offset, place),
                    Why::Spilled => state.sub.spilled(placed.offset, place),
                    Why::Moved(from) => state.sub.moved(placed.offset, from, place),
                };
                match (kept, placed.why) {
                    (true, Why::Moved(from)) => gone.push(from),
                    (true, _) => {}
                    (false, _) => gone.push(place),
                }
            };
            one(&first, place);
            while let Some((placed, place)) = rest.next_if(|(p, _)| p.queue.id == first.queue.id) {
                one(&placed, place);
            }
            state.sub.dispatch(now, effects);
        });
    }
    core.committer.free(&gone);
}
