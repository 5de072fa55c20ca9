//! The asynchronous shell. SKELETON: signatures only, bodies are being written.
#![allow(unused_variables, clippy::unused_async, clippy::missing_errors_doc)]

mod budget;
mod events;
mod request;

pub use budget::{Budget, Charge};
pub use events::*;
pub use request::*;

use crate::auth::{Authenticator, Login};
use crate::error::Error;
use crate::exchange::{ExchangeSpec, SessionId};
use crate::log::{Offset, QueueSpec};
use crate::message::{Address, Formats, Key, Message, Name, Origin, Timestamp};
use crate::store::Store;
use crate::transform::ContentRoute;
use std::sync::Arc;

/// Limits and marks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of resident messages over which publishers are held back.
    pub memory_high: usize,
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
pub struct Broker(Arc<Setup>);

impl Broker {
    /// Opens the store, recovers, declares the topology and starts the background tasks.
    pub async fn open(setup: Setup) -> Result<Broker, Error> {
        panic!("skeleton")
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
        panic!("skeleton")
    }
    /// Who is this? [`ErrorKind::Refused`](crate::ErrorKind) when nobody.
    pub async fn login(&self, login: &Login) -> Result<Name, Error> {
        panic!("skeleton")
    }
    /// True when there is a virtual host of that name.
    pub fn has_vhost(&self, name: &str) -> bool {
        panic!("skeleton")
    }
    /// Takes a seat.
    pub async fn session(&self, spec: SessionSpec) -> Result<Session, Error> {
        panic!("skeleton")
    }
    /// Stores what is pending and closes the store.
    pub async fn close(&self) -> Result<(), Error> {
        panic!("skeleton")
    }
    /// Resolves when the store has failed: nothing is acknowledged any more, the process has to end.
    pub async fn failed(&self) -> Error {
        panic!("skeleton")
    }
}

/// One connection's seat. Dropping it is losing the connection.
pub struct Session(Broker);

// Data verbs: synchronous, batched, ordered, never waiting.
impl Session {
    pub fn broker(&self) -> &Broker {
        &self.0
    }
    pub fn id(&self) -> SessionId {
        panic!("skeleton")
    }
    pub fn origin(&self) -> &Arc<Origin> {
        panic!("skeleton")
    }
    /// A named session of that name was there.
    pub fn resumed(&self) -> bool {
        panic!("skeleton")
    }
    /// A new lane.
    pub fn lane(&mut self) -> LaneId {
        panic!("skeleton")
    }
    /// Ends a lane: its consumers leave, what they had unsettled goes back, an open transaction is rolled back.
    pub fn drop_lane(&mut self, lane: LaneId) {
        panic!("skeleton")
    }
    /// Queues a publish for the next [`Session::flush`]; the number that its confirm will carry, from 1 on, one
    /// sequence for each lane (publishes that ask for no confirm are not counted and return 0).
    pub fn publish(&mut self, lane: LaneId, publish: Publish) -> u64 {
        panic!("skeleton")
    }
    /// State to be stored with the next flush. Only for named sessions that outlive their connection.
    pub fn memo(&mut self, memo: Memo) {
        panic!("skeleton")
    }
    /// Routes and appends all that was queued, on this task. While publishing is held back, publishes stay queued.
    /// Call it after every turn.
    pub fn flush(&mut self) {
        panic!("skeleton")
    }
    /// Settles records of one consumer. Unknown or settled offsets are ignored; the number settled is returned.
    /// In a transaction it takes effect with the commit.
    pub fn settle(
        &mut self,
        lane: LaneId,
        consumer: ConsumerId,
        offsets: &[Offset],
        outcome: Outcome,
    ) -> usize {
        panic!("skeleton")
    }
    /// Credit that consumers can share.
    pub fn pool(&mut self, credit: Credit) -> PoolId {
        panic!("skeleton")
    }
    /// Sets a pool's credit. Below what is outstanding it stops dispatch and takes nothing back.
    pub fn set_pool(&mut self, pool: PoolId, credit: Credit) {
        panic!("skeleton")
    }
    /// Sets a consumer's own credit.
    pub fn set_credit(&mut self, consumer: ConsumerId, credit: Credit) {
        panic!("skeleton")
    }
    /// All deliveries taken by [`Session::events`] so far stand in the output before this position.
    pub fn encoded(&mut self, position: u64) {
        panic!("skeleton")
    }
    /// The output was written up to this position: what need not be settled is accepted, its credit comes back.
    pub fn flushed(&mut self, position: u64) {
        panic!("skeleton")
    }
    /// False while so many publishes are held back that reading has to stop. Wakes through [`Session::events`].
    pub fn may_read(&self) -> bool {
        panic!("skeleton")
    }
    /// Waits until something is ready, then moves everything ready into `events` (cleared first). Cancel-safe.
    /// May return with nothing in it: then flush and go on.
    pub async fn events(&mut self, events: &mut Events) {
        panic!("skeleton")
    }
    /// What a named session noted.
    pub fn memos(&self) -> Vec<Memo> {
        panic!("skeleton")
    }
}

// Control verbs: they flush first, and resolve when their effect is stored.
impl Session {
    /// An empty name asks for a generated one. `Mismatch` when it exists otherwise, `Locked` when exclusive elsewhere.
    pub async fn declare_queue(&mut self, spec: QueueSpec) -> Result<Declared, Error> {
        panic!("skeleton")
    }
    /// Passive declare: `NotFound`, `Locked`.
    pub fn queue_status(&self, name: &str) -> Result<QueueStatus, Error> {
        panic!("skeleton")
    }
    /// Returns how many ready messages went with it. `NotFound`, `InUse`, `Locked`.
    pub async fn delete_queue(
        &mut self,
        name: &str,
        if_unused: bool,
        if_empty: bool,
    ) -> Result<u64, Error> {
        panic!("skeleton")
    }
    /// Drops all ready messages.
    pub async fn purge(&mut self, name: &str) -> Result<u64, Error> {
        panic!("skeleton")
    }
    pub async fn declare_exchange(&mut self, spec: ExchangeSpec) -> Result<(), Error> {
        panic!("skeleton")
    }
    /// Passive declare.
    pub fn exchange(&self, name: &str) -> Result<ExchangeSpec, Error> {
        panic!("skeleton")
    }
    pub async fn delete_exchange(&mut self, name: &str, if_unused: bool) -> Result<(), Error> {
        panic!("skeleton")
    }
    /// True when the binding was not there (an equal one gets the new tag).
    pub async fn bind(&mut self, bind: Bind) -> Result<bool, Error> {
        panic!("skeleton")
    }
    /// True when it was there. Source, key, arguments and target count.
    pub async fn unbind(&mut self, bind: Bind) -> Result<bool, Error> {
        panic!("skeleton")
    }
    /// Bindings that lead to this session (resumed ones included): key and tag.
    pub fn own_bindings(&self) -> Vec<(Name, Key, crate::exchange::BindingTag)> {
        panic!("skeleton")
    }
    /// Starts consuming. `NotFound`, `Locked` (exclusive queue), `InUse` (exclusive consumer).
    pub async fn attach(&mut self, lane: LaneId, consumer: Consumer) -> Result<ConsumerId, Error> {
        panic!("skeleton")
    }
    /// Stops consuming. An auto-delete queue goes with its last consumer.
    pub async fn detach(&mut self, consumer: ConsumerId, unsettled: Unsettled) {
        panic!("skeleton")
    }
    /// One message now, or none; with it the number of messages still ready. With `settles` it has to be settled
    /// like a delivery of [`Delivery::consumer`].
    pub async fn get(
        &mut self,
        lane: LaneId,
        queue: &str,
        settles: bool,
    ) -> Result<Option<(Delivery, u64)>, Error> {
        panic!("skeleton")
    }
    /// Publishes and settles of the lane wait for the commit from now on.
    pub fn begin(&mut self, lane: LaneId) {
        panic!("skeleton")
    }
    /// All or nothing, in one entry; resolves when stored. The lane is then outside a transaction.
    pub async fn commit(&mut self, lane: LaneId) -> Result<(), Error> {
        panic!("skeleton")
    }
    pub fn rollback(&mut self, lane: LaneId) {
        panic!("skeleton")
    }
    /// Resolves when all that this session did so far is stored; confirms are in [`Session::events`] by then.
    pub async fn sync(&mut self) -> Result<(), Error> {
        panic!("skeleton")
    }
    /// A publish that is routed when due.
    pub async fn park(&mut self, due: Due, message: Message) -> Result<ParkId, Error> {
        panic!("skeleton")
    }
    /// False when it is gone already.
    pub async fn unpark(&mut self, id: ParkId) -> Result<bool, Error> {
        panic!("skeleton")
    }
    /// How long the session lives on.
    pub async fn set_keep(&mut self, keep: Keep) -> Result<(), Error> {
        panic!("skeleton")
    }
    /// Leaves in order: held publishes are routed, what was stored is waited for. Wills stay parked: unpark first.
    pub async fn close(self) -> Result<(), Error> {
        panic!("skeleton")
    }
}
