//! Opening a broker: the only file that knows every room.

use super::count::store_transient_counts;
use super::journal::committer::{self, Committed};
use super::journal::unit::Unit;
use super::restart::{catch_up, recovery, snapshot};
use super::settings::Setup;
use super::shared::{Actor, Broker, Shared, Start};
use super::tasks::routes::{self, RouteDrained};
use super::tasks::{
    audit, clock, departures, disk_space, due, load, relieve, sleepers, slow_readers,
};
use super::turn::after_commit::AfterCommit;
use super::vhost::route_counters::RouteStatus;
use crate::error::{Error, ErrorKind};
use crate::message::{Account, Address, Budget, Name, Share};
use crate::state::StateKey;
use crate::store::{JournalId, JournalWriter, Lost, Pos, StoreError};
use crate::transform::ContentRoute;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Lists of journal ranges that wait to be trimmed. Trims are hints: a few that wait are enough.
const TRIMS: usize = 4;

impl Broker {
    /// Opens the store, recovers, declares the topology and starts the background tasks.
    pub async fn open(setup: Setup) -> Result<Broker, Error> {
        let (shared, writer, load_asked) = recover(setup).await?;
        start_tasks(&shared, writer, load_asked);
        catch_up::catch_up(&shared);
        Ok(Broker::new(shared))
    }

    /// Opens a stopped store to change users and sessions in it. Everything else stays as it is: nothing is declared,
    /// expires or is published, no snapshot is taken, and what the last start left is for the next one. Nobody logs in.
    pub async fn open_at_rest(setup: Setup) -> Result<Broker, Error> {
        let (shared, writer, _) = recover(setup).await?;
        // Without snapshots there is nothing to trim.
        let (_, to_trim) = mpsc::channel(TRIMS);
        start_committer(&shared, writer, to_trim);
        Ok(Broker::new(shared))
    }

    /// Stores what is pending and closes the store.
    pub async fn close(&self) -> Result<(), Error> {
        audit::report(&self.audit());
        store_transient_counts(self.shared());
        self.close_store().await
    }

    /// Starts the content routes of the default virtual host, after everything else is declared. Call it once.
    pub async fn start_routes(&self, list: Vec<ContentRoute>) -> Result<(), Error> {
        routes::start(self, list).await
    }

    /// These routes instead of those that run, while the broker serves; one whose transform is the same stays as it is.
    /// What waits for a route that changes is worked on by its new version; what waits for one that is gone stays, and
    /// a warning tells of it. An error: nothing has changed.
    pub async fn change_routes(&self, list: Vec<ContentRoute>) -> Result<(), Error> {
        routes::change(self, list).await
    }

    /// Makes a virtual host. False when it is there already.
    pub async fn add_vhost(&self, actor: &Actor, name: &Name) -> Result<bool, Error> {
        let shared = self.shared();
        let Some(vhost) = self.make_vhost(actor, name)? else { return Ok(false) };
        shared.background.spawn(departures::run(shared.clone(), vhost));
        shared.committer.sync(Unit::default()).await?;
        Ok(true)
    }

    /// What each content route did since the start, in the order they are configured in.
    pub fn route_status(&self) -> Vec<RouteStatus> {
        routes::status(self)
    }

    /// What the steps of a content route remember, whether or not the route is configured: keys in their order, with
    /// their values.
    pub fn route_state(&self, name: &str) -> Vec<(StateKey, Bytes)> {
        routes::remembered(self, name)
    }

    /// What the steps of a content route remember is forgotten, whether or not the route is configured. How many keys
    /// there were.
    pub async fn forget_route_state(&self, name: &str) -> Result<usize, Error> {
        routes::forget(self, name).await
    }

    /// Modules of a content route that were rehearsed take the places of those that work, until the route changes or
    /// the broker starts again. A line for each. `NotFound`: there is no such route. `Invalid`: why not.
    pub fn promote_route(&self, name: &str, anyway: bool) -> Result<Vec<String>, Error> {
        routes::promote(self, name, anyway)
    }

    /// Moves what waits in the queue of a content route that is not configured any more: to `to`, or to where it was
    /// going, as if that route had not matched it. Deletes the queue when nothing is left in it. `NotFound`: there is
    /// no such queue. `InUse`: the route is configured.
    pub async fn drain_route(
        &self,
        name: &str,
        to: Option<&Address>,
    ) -> Result<RouteDrained, Error> {
        routes::drain(self, name, to).await
    }
}

/// What a broker that is being opened is made of: its parts, with all that is stored, the journal's writer, and what
/// wakes the task that reads records back.
type Recovered = (Arc<Shared>, Box<dyn JournalWriter>, mpsc::Receiver<()>);

async fn recover(setup: Setup) -> Result<Recovered, Error> {
    let store = setup.store.clone();
    let lease = store.coord().acquire("node").await.map_err(unavailable)?;
    let lease =
        lease.ok_or_else(|| Error::new(ErrorKind::Locked, "another process owns the store"))?;
    let settings = &setup.settings;
    let budget = Arc::new(Budget::new(settings.memory_resident, settings.memory_high));
    let (recovered, values) = recovery::read(&*store, &budget).await?;
    let mut damage = recovered.damage().clone();
    let accepts_damage = settings.accept_damage;
    damage.accepted(accepts_damage)?;
    let writer = store.open(JournalId::Meta, &lease).await.map_err(unavailable)?;
    let live = recovered.live();
    let start = Start { live, tail: recovered.tail(), epoch: lease.epoch.0, budget };
    let (shared, load_asked) = Shared::new(setup, start);
    recovered.install(&shared);
    let values = values.finish().await?;
    damage.note(values.damaged, || "a retained value cannot be read".into());
    let damaged = damage.accepted(accepts_damage)?;
    values.install(&shared);
    if damaged > 0 {
        tracing::error!(
            entries = damaged,
            "entries of the journal are damaged, and --accept-damage was given: what they held is lost, \
             everything else is served"
        );
        if let Some(losses) = shared.store.losses() {
            losses.note(passed_over(damaged)).await;
        }
        // With a snapshot behind the damage, the next start does not read that far back.
        snapshot::now(&shared).await.map_err(unavailable)?;
    }
    warn_of_too_much(&shared.pressure.memory.budget);
    Ok((shared, writer, load_asked))
}

/// What a start with `--accept-damage` leaves behind.
fn passed_over(damaged: u64) -> Lost {
    Lost {
        place: "the journal".to_owned(),
        what: "a start with --accept-damage passed over damaged entries: what they held is lost, and all \
               that waited was delivered again as redelivered"
            .to_owned(),
        records: Some(damaged),
        bytes: None,
        may_be_nothing: false,
    }
}

fn unavailable(error: StoreError) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the store cannot be opened: {error}"))
}

/// What was taken with more memory is all there, and nothing more is taken.
fn warn_of_too_much(budget: &Budget) {
    let (kept, max) = (budget.used(Account::Kept), budget.kept_share(Share::Bulk));
    if kept > max {
        tracing::warn!(
            kept_bytes = kept,
            for_messages = max,
            for_objects = budget.kept_share(Share::Objects),
            for_all = budget.kept_max(),
            "what is kept takes more memory than memory.high allows: what needs more is refused until \
             enough of it was taken away"
        );
    }
}

fn start_tasks(
    shared: &Arc<Shared>,
    writer: Box<dyn JournalWriter>,
    load_asked: mpsc::Receiver<()>,
) {
    let (trims, to_trim) = mpsc::channel(TRIMS);
    start_committer(shared, writer, to_trim);
    let background = &shared.background;
    background.spawn(due::run(shared.clone()));
    for vhost in shared.all_vhosts().iter() {
        background.spawn(departures::run(shared.clone(), vhost.clone()));
    }
    background.spawn(clock::run(shared.clone()));
    background.spawn(snapshot::run(shared.clone(), trims));
    background.spawn(relieve::run(shared.clone()));
    background.spawn(disk_space::run(shared.clone()));
    background.spawn(sleepers::run(shared.clone()));
    background.spawn(slow_readers::run(shared.clone()));
    background.spawn(audit::run(shared.clone()));
    // It ends with the broker, not before: whoever waits for a record while the broker closes is answered.
    tokio::spawn(load::run(Arc::downgrade(shared), load_asked));
}

fn start_committer(
    shared: &Arc<Shared>,
    writer: Box<dyn JournalWriter>,
    to_trim: mpsc::Receiver<Vec<Range<Pos>>>,
) {
    let committed: Arc<dyn Committed> = Arc::new(AfterCommit(shared.clone()));
    let max_entry = shared.store.caps().max_entry;
    let committer = shared.committer.clone();
    let committing = committer::run(committer, writer, max_entry, to_trim, committed);
    shared.background.spawn_committer(committing);
}
