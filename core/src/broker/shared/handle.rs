//! The handle on a broker that adapters and the program hold. Opening one is in `open`, opening a session in
//! `session`.

use super::Shared;
use super::busiest::BusiestLately;
use super::connections::Unfinished;
use super::lately::RefusedLately;
use super::logins::RefusedLogin;
use crate::auth::{DelayedLogin, Identity, Login, LoginExchange, LoginStep};
use crate::broker::door::request::SessionSpec;
use crate::broker::settings::{LiveSettings, Settings};
use crate::broker::vhost::drops::DropReason;
use crate::broker::vhost::limits::Limit;
use crate::error::{Error, ErrorKind};
use crate::message::{Account, Address, Formats, Name, Timestamp};
use crate::rights::Action;
use std::sync::Arc;

/// The broker. A clone is another handle on the same one.
#[derive(Clone)]
pub struct Broker(Arc<Shared>);

impl Broker {
    /// A handle on it.
    pub(in crate::broker) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The settings that can change while the broker runs, as they are now.
    pub fn live(&self) -> &LiveSettings {
        &self.0.settings
    }

    /// Other limits and marks from now on. What counts only when a broker is opened stays as it was: virtual hosts, the
    /// topic exchange, which topics with a `$` are ordinary, `snapshot_bytes`, `will_grace_ms`. What is beyond a lower
    /// limit already stays.
    pub fn reconfigure(&self, settings: &Settings) {
        let shared = &self.0;
        shared.settings.set(settings);
        shared.all_vhosts().iter().for_each(|vhost| vhost.limits.set(&settings.objects));
        let (memory, disk) = (&shared.pressure.memory, &shared.pressure.disk);
        memory.budget.set_marks(settings.memory_resident, settings.memory_high);
        memory.check();
        // Alarms end, or begin, by the new marks.
        memory.exceeded.notify_one();
        disk.check_due.notify_one();
        shared.pressure.release_held();
    }

    /// Limits and marks, as they were when the broker was opened; [`Broker::live`] has those that can change.
    pub fn settings(&self) -> &Settings {
        &self.0.settings.at_start
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
    pub async fn login(&self, login: &Login) -> Result<Identity, Error> {
        self.0.users.login(login, &self.0.vhosts).await
    }

    /// Begins a login of several messages by that SASL mechanism; none: it is not known.
    pub fn begin_login(&self, mechanism: &str) -> Option<Box<dyn LoginExchange>> {
        self.0.users.begin_login(mechanism)
    }

    /// The client's next message of such a login.
    pub fn go_on_with_login(
        &self,
        exchange: &mut dyn LoginExchange,
        message: &[u8],
        login: &Login,
    ) -> Result<LoginStep, Error> {
        self.0.users.go_on_with_login(exchange, (message, login), &self.0.vhosts)
    }

    /// Notes that a login was refused.
    pub fn note_refused_login(&self, login: &RefusedLogin<'_>) {
        self.0.users.connections.came(login.user, login.peer);
        self.0.users.refused_logins.note(login);
    }

    /// Logins that were refused in the last minutes, by user and address.
    pub fn refused_lately(&self) -> RefusedLately {
        self.0.users.refused_logins.lately()
    }

    /// How many logins were refused since the start.
    pub fn refused_logins(&self) -> u64 {
        self.0.users.refused_logins.count()
    }

    /// Listeners are there for clients of that protocol: its sums are shown, also while nobody has come.
    pub fn expect_protocol(&self, protocol: &str) {
        self.0.users.connections.expect(protocol);
    }

    /// A listener turned a connection of that peer, as far as it is known, away. `why` is a word of a fixed set, in
    /// lower case with `_` between its parts.
    pub fn note_refused_connection(&self, why: &'static str, peer: &str) {
        self.0.users.connections.refused(why, Some(peer));
    }

    /// Listeners may turn connections away because of that: it is shown, also while it has not happened.
    pub fn expect_refused_connections(&self, why: &'static str) {
        self.0.users.connections.refused(why, None);
    }

    /// A client of that protocol at that listener was lost before its login was complete.
    pub fn note_unfinished_login(&self, at: (&Name, &str), why: Unfinished, peer: &str) {
        self.0.users.connections.unfinished(at, why, Some(peer));
    }

    /// Clients of that protocol come to that listener: those that do not complete their login are shown, also while
    /// there are none.
    pub fn expect_unfinished_logins(&self, at: (&Name, &str)) {
        let connections = &self.0.users.connections;
        Unfinished::ALL.into_iter().for_each(|why| connections.unfinished(at, why, None));
    }

    /// Whose connections came most in the last seconds, whatever became of them.
    pub fn busiest_lately(&self) -> BusiestLately {
        self.0.users.connections.busiest()
    }

    /// Names that have to wait before their next try to log in, because too many failed: how many there are, and `max`
    /// of them, those that wait longest first.
    pub fn delayed_logins(&self, max: usize) -> (usize, Vec<DelayedLogin>) {
        self.0.users.delayed_logins(max)
    }

    /// Lets that name try again at once, wherever it comes from, as if no try had failed. Returns how many addresses it
    /// was delayed at.
    pub fn end_login_delay(&self, user: &str) -> usize {
        self.0.users.end_login_delay(user)
    }

    /// True when there is a virtual host of that name.
    pub fn has_vhost(&self, name: &str) -> bool {
        self.0.vhost(name).is_some()
    }

    /// `Refused`: the session that this would be may not publish to that address, or nobody may.
    pub fn may_publish(&self, spec: &SessionSpec, address: &Address) -> Result<(), Error> {
        let Some(vhost) = self.0.vhost(&spec.vhost) else { return Ok(()) };
        vhost.check(address)?;
        let subject = self.0.users.subject(&spec.identity, &spec.origin, &spec.vhost);
        subject.check(Action::Write, &subject.at(address))
    }

    /// Connections that a user has now, in all virtual hosts.
    pub fn connections_of(&self, user: &str) -> usize {
        self.0.users.seats.of_user(user)
    }

    /// Connections in a virtual host now.
    pub fn connections_in(&self, vhost: &str) -> usize {
        self.0.users.seats.in_vhost(vhost)
    }

    /// How often a right was refused since the start.
    pub fn refused_rights(&self) -> u64 {
        self.0.users.accounts.refusals.count()
    }

    /// Bytes of memory that messages and their records take which wait now, and can leave memory.
    pub fn memory_used(&self) -> usize {
        self.0.pressure.memory.budget.used(Account::Waiting)
    }

    /// Bytes of memory that is kept until somebody takes away what it is for: queues, bindings, retained values, ….
    pub fn memory_kept(&self) -> usize {
        self.0.pressure.memory.budget.used(Account::Kept)
    }

    /// How often requests met each limit on objects since the start, by the configuration key that sets it.
    pub fn limits_met(&self) -> Vec<(&'static str, u64)> {
        let all = self.0.all_vhosts();
        let met = |limit: Limit| all.iter().map(|vhost| vhost.limits.count(limit)).sum();
        Limit::ALL.iter().map(|limit| (limit.key(), met(*limit))).collect()
    }

    /// Messages dropped since the start for that reason; their publishers were sent no refusal.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.0.all_vhosts().iter().map(|vhost| vhost.drops.count(reason)).sum()
    }

    /// Messages dropped since the start that waited for subscribers who may be away: these held too much.
    pub fn dropped_for_subscribers(&self) -> u64 {
        self.0.pressure.sleepers.dropped()
    }

    /// Stores what is pending and closes the store.
    pub(in crate::broker) async fn close_store(&self) -> Result<(), Error> {
        self.0.background.abort();
        self.0.pressure.sleepers.report(true);
        self.0.committer.close();
        let committing = self.0.background.take_committer();
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

    pub(in crate::broker) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}
