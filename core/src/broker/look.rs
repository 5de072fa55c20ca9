//! What there is, as whoever looks at the broker from outside sees it: copies, a page at a time, by name. No lock is
//! held longer than it takes to find a page's objects, none between two pages, and none of a queue's at all: the
//! numbers are counters that are read as they are, and may be of moments that are a little apart.
//!
//! A page begins behind the last name of the one before, so nothing that stays is left out or shown twice, whatever
//! comes and goes meanwhile. Who may look is the caller's to decide.

use super::door::request::{About, LaneId, SessionLife};
use super::shared::connections::{ProtocolTotals, UnfinishedLogin};
use super::shared::{Broker, Shared};
use super::vhost::connection::{
    Connection, ConsumerCounts, DeliveredTotals, LaneCounts, LaneTotals,
};
use super::vhost::exchange_counts::{ExchangeCounts, ExchangeTotals};
use super::vhost::host::Vhost;
use super::vhost::named::Named;
use super::vhost::queue::Queue;
use super::vhost::unroutable::Unroutable;
use crate::error::{Error, ErrorKind};
use crate::exchange::{Binding, ExchangeSpec, ForeignKind, Kind, LogId, SessionId, Target};
use crate::log::QueueSpec;
use crate::message::{Account, Key, Name, Timestamp, Value};
use crate::store::{Loss, Losses};
use crate::subscription::{DeliveryTotals, Depth, Tally};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A page: what comes behind that name (none: from the beginning), `max` of them at most.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    pub after: Option<&'a str>,
    pub max: usize,
}

/// A queue.
#[derive(Debug, Clone)]
pub struct QueueLook {
    pub spec: QueueSpec,
    /// Only the connection that declared it may use it.
    pub is_exclusive: bool,
    pub records: Tally,
    pub deliveries: DeliveryTotals,
    pub depth: Depth,
}

/// An exchange.
#[derive(Debug, Clone)]
pub struct ExchangeLook {
    pub spec: ExchangeSpec,
    /// It is always there.
    pub is_predeclared: bool,
    pub totals: ExchangeTotals,
    /// The last publish there that reached nobody.
    pub last_unroutable: Option<Unroutable>,
}

/// Where a binding leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Queue(Name),
    Exchange(Name),
    /// A named session.
    Session(Name),
}

/// A binding.
#[derive(Debug, Clone, PartialEq)]
pub struct BindingLook {
    pub source: Name,
    pub destination: Destination,
    /// As the exchange's kind reads it.
    pub key: Key,
    pub arguments: Vec<(Name, Value)>,
}

/// Where the next page of bindings begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingPlace(Target);

impl BindingPlace {
    /// That of a text that it was shown as; none: it never was. It names a place as long as the process runs.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let number = || rest.parse().ok();
        Some(Self(match kind {
            "exchange" => Target::Exchange(rest.into()),
            "queue" => Target::Log(LogId(number()?)),
            "session" => Target::Session(SessionId(number()?)),
            _ => return None,
        }))
    }
}

impl fmt::Display for BindingPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Target::Exchange(name) => write!(f, "exchange:{name}"),
            Target::Log(id) => write!(f, "queue:{}", id.0),
            Target::Session(id) => write!(f, "session:{}", id.0),
        }
    }
}

/// An open connection.
#[derive(Debug, Clone)]
pub struct ConnectionLook {
    /// Its own as long as the process runs; later ones have higher numbers.
    pub number: u64,
    pub vhost: Name,
    pub user: Name,
    /// Client id, or empty.
    pub client: Name,
    pub listener: Name,
    pub peer: Name,
    /// Of a named session: its name.
    pub session: Option<Name>,
    pub about: About,
    pub since: Timestamp,
    /// Bytes.
    pub received: u64,
    pub sent: u64,
    pub channels: usize,
    /// What all of its channels did, those that are gone included.
    pub totals: LaneTotals,
    /// What its consumers got, those that are gone included.
    pub deliveries: DeliveredTotals,
    /// Deliveries that it has not settled.
    pub unsettled: u64,
}

/// A channel: one ordered stream of publishes and settles of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelLook {
    pub id: LaneId,
    /// The client's own number for it, where its protocol has one.
    pub label: Option<u32>,
    /// How much its consumers may have unsettled together; 0: no limit.
    pub prefetch: u32,
    pub consumers: usize,
    pub totals: LaneTotals,
    /// Deliveries that its consumers have not settled.
    pub unsettled: u64,
}

/// A consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerLook {
    pub connection: u64,
    pub channel: LaneId,
    pub queue: Name,
    pub tag: Name,
    pub settles: bool,
    pub is_exclusive: bool,
    pub priority: i16,
    /// How much it may have unsettled, by itself; none: no limit.
    pub prefetch: Option<u32>,
    pub delivered: u64,
    pub unsettled: u64,
}

/// A named session, connected or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLook {
    pub name: Name,
    pub user: Name,
    pub client: Name,
    /// The number of its connection.
    pub connection: Option<u64>,
    pub life: SessionLife,
    /// When it lost its connection.
    pub gone_since: Option<Timestamp>,
    /// Its own queue, once it has one.
    pub queue: Option<Name>,
    /// Messages in that queue.
    pub waiting: u64,
    pub bindings: usize,
}

/// Memory of the broker's messages and objects, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryLook {
    /// What waits and can leave memory, and what is kept until somebody takes it away.
    pub waiting: usize,
    pub kept: usize,
    /// Over this mark messages leave memory, over the next one publishers are held back.
    pub resident_mark: usize,
    pub high_mark: usize,
    /// Bytes that wait over which an alarm begins, what is kept aside, and at which it ends.
    pub alarm_marks: (usize, usize),
    /// Publishers are held back because of it.
    pub alarm: bool,
}

/// How much of some things there is in a virtual host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObjectsLook {
    /// Named ones, connected or not.
    pub sessions: usize,
    pub bindings: usize,
    /// Retained values.
    pub retained: usize,
}

/// The disk of the store, in bytes. All 0 where the store has none, and until it was first looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskLook {
    pub total: u64,
    /// When it was last looked at.
    pub free: u64,
    /// With less than this free, publishers are held back.
    pub alarm_mark: u64,
    /// With less than this free, nothing new is declared either.
    pub hard_mark: u64,
    /// Publishers are held back because of it.
    pub alarm: bool,
    /// Nothing new is declared either.
    pub exhausted: bool,
}

/// What the whole broker is doing, and has counted since the start.
#[derive(Debug, Clone)]
pub struct NodeLook {
    pub memory: MemoryLook,
    pub disk: DiskLook,
    /// Connections whose publishes are held back now.
    pub publishers_held: usize,
    pub connections: usize,
    /// Connections that listeners turned away before their clients logged in, by reason.
    pub connections_refused: Vec<(&'static str, u64)>,
    /// Clients that were lost before their login was complete.
    pub logins_unfinished: Vec<UnfinishedLogin>,
    /// What the connections of each protocol did, by its name; the program's own are not among them.
    pub protocols: Vec<(Name, ProtocolTotals)>,
    /// Attempts to log in that were let in, and those that were refused.
    pub logins: u64,
    pub logins_refused: u64,
    pub rights_refused: u64,
    /// How often requests met each limit, by the key of the configuration that sets it.
    pub limits_met: Vec<(&'static str, u64)>,
    /// Messages dropped because what waits for subscribers took too much.
    pub dropped_for_subscribers: u64,
    /// The store has failed: nothing is acknowledged any more.
    pub store_failed: bool,
}

fn missing(what: &str, name: &str, vhost: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("no {what} '{name}' in vhost '{vhost}'"))
}

fn host(shared: &Shared, vhost: &str) -> Result<Arc<Vhost>, Error> {
    let missing = || Error::new(ErrorKind::NotFound, format!("vhost '{vhost}' not found"));
    shared.vhost(vhost).ok_or_else(missing)
}

fn exchange_look(
    spec: ExchangeSpec,
    is_predeclared: bool,
    counts: &ExchangeCounts,
) -> ExchangeLook {
    let (totals, last_unroutable) = (counts.totals(), counts.last_unroutable.get());
    ExchangeLook { spec, is_predeclared, totals, last_unroutable }
}

fn queue_look(queue: &Queue) -> QueueLook {
    QueueLook {
        spec: queue.spec.clone(),
        is_exclusive: queue.owner.is_some(),
        records: queue.counts.totals(),
        deliveries: queue.counts.deliveries.totals(),
        depth: queue.counts.gauges.depth(),
    }
}

/// Deliveries that a connection took to that consumer, and that are not settled.
fn unsettled(consumer: &ConsumerCounts) -> u64 {
    let (_, delivered, settled) = consumer.numbers();
    delivered.saturating_sub(settled)
}

fn connection_look(connection: &Connection) -> ConnectionLook {
    let (received, sent) = connection.traffic.bytes();
    let origin = &connection.origin;
    ConnectionLook {
        number: origin.connection,
        vhost: connection.vhost.clone(),
        user: origin.user.clone(),
        client: origin.client.clone(),
        listener: origin.listener.clone(),
        peer: origin.peer.clone(),
        session: connection.session.clone(),
        about: connection.about.clone(),
        since: connection.since,
        received,
        sent,
        channels: connection.lanes().len(),
        totals: connection.totals(),
        deliveries: connection.deliveries(),
        unsettled: connection.consumers().iter().map(|consumer| unsettled(consumer)).sum(),
    }
}

fn channel_looks(connection: &Connection) -> Vec<ChannelLook> {
    let consumers = connection.consumers();
    let look = |lane: &Arc<LaneCounts>| {
        let (label, prefetch) = lane.settings();
        let theirs = || consumers.iter().filter(|consumer| consumer.lane == lane.id);
        ChannelLook {
            id: lane.id,
            label,
            prefetch,
            consumers: theirs().filter(|consumer| !consumer.is_getter).count(),
            totals: lane.totals(),
            unsettled: theirs().map(|consumer| unsettled(consumer)).sum(),
        }
    };
    connection.lanes().iter().map(look).collect()
}

fn consumer_looks(connection: &Connection) -> Vec<ConsumerLook> {
    let look = |consumer: &Arc<ConsumerCounts>| {
        let (prefetch, delivered, _) = consumer.numbers();
        ConsumerLook {
            connection: connection.origin.connection,
            channel: consumer.lane,
            queue: consumer.queue.clone(),
            tag: consumer.tag.clone(),
            settles: consumer.settles,
            is_exclusive: consumer.exclusive,
            priority: consumer.priority,
            prefetch: (prefetch != u32::MAX).then_some(prefetch),
            delivered,
            unsettled: unsettled(consumer),
        }
    };
    let consumers = connection.consumers();
    consumers.iter().filter(|consumer| !consumer.is_getter).map(look).collect()
}

fn session_look(vhost: &Vhost, named: &Named) -> SessionLook {
    let bindings = {
        let topology = vhost.topology.read();
        topology.bindings_to(&Target::Session(named.id)).len()
    };
    named.with(|state| SessionLook {
        name: named.name.clone(),
        user: state.owner.user.clone(),
        client: state.owner.client.clone(),
        connection: state.inbox.as_ref().map(|inbox| inbox.origin.connection),
        life: state.life,
        gone_since: state.gone_since,
        queue: state.queue.as_ref().map(|queue| queue.name.clone()),
        waiting: state.queue.as_ref().map_or(0, |queue| queue.counts.gauges.depth().waiting),
        bindings,
    })
}

/// None: what it leads to is gone.
fn binding_look(vhost: &Vhost, binding: &Binding) -> Option<BindingLook> {
    let topology = vhost.topology.read();
    let destination = match &binding.target {
        Target::Log(id) => Destination::Queue(topology.queue_by_id(*id)?.name.clone()),
        Target::Session(id) => Destination::Session(topology.session_by_id(*id)?.name.clone()),
        Target::Exchange(name) => Destination::Exchange(name.clone()),
    };
    Some(BindingLook {
        source: binding.source.clone(),
        destination,
        key: binding.key.clone(),
        arguments: binding.arguments.clone(),
    })
}

impl Broker {
    /// The queues of a virtual host, by name. `NotFound`: no such virtual host.
    pub fn look_at_queues(&self, vhost: &str, page: Page<'_>) -> Result<Vec<QueueLook>, Error> {
        let found = host(self.shared(), vhost)?.topology.read().queues_behind(page.after, page.max);
        Ok(found.iter().map(|queue| queue_look(queue)).collect())
    }

    /// One queue. `NotFound`.
    pub fn look_at_queue(&self, vhost: &str, name: &str) -> Result<QueueLook, Error> {
        host(self.shared(), vhost)?.queue(name).map(|queue| queue_look(&queue))
    }

    /// The exchanges of a virtual host, by name; the default one is not among them: see
    /// [`Broker::look_at_default_exchange`].
    pub fn look_at_exchanges(
        &self,
        vhost: &str,
        page: Page<'_>,
    ) -> Result<Vec<ExchangeLook>, Error> {
        let vhost = host(self.shared(), vhost)?;
        let topology = vhost.topology.read();
        let after = page.after.map(Name::from);
        let counts = topology.exchange_counts_after(after.as_ref(), page.max);
        let look = |counts: &Arc<ExchangeCounts>| {
            let spec = topology.exchange(&counts.name)?.clone();
            Some(exchange_look(spec, topology.is_predeclared(&counts.name), counts))
        };
        Ok(counts.iter().filter_map(look).collect())
    }

    /// Exchanges whose type no plugin that is loaded brings, with their virtual hosts: they refuse what is published to
    /// them. At most `max`.
    pub fn exchanges_without_plugin(&self, max: usize) -> Vec<(Name, ExchangeSpec)> {
        if ForeignKind::names().1.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for vhost in self.shared().all_vhosts().iter() {
            let topology = vhost.topology.read();
            let lacks = |spec: &&ExchangeSpec| match spec.kind {
                Kind::Foreign(kind) => !kind.is_provided(),
                _ => false,
            };
            let lacking = topology.exchanges().filter(lacks).take(max - found.len());
            found.extend(lacking.map(|spec| (vhost.name.clone(), spec.clone())));
        }
        found
    }

    /// One exchange. `NotFound`.
    pub fn look_at_exchange(&self, vhost: &str, name: &str) -> Result<ExchangeLook, Error> {
        let host = host(self.shared(), vhost)?;
        let topology = host.topology.read();
        let found = topology.exchange(name).zip(topology.counts_of(name));
        let (spec, counts) = found.ok_or_else(|| missing("exchange", name, vhost))?;
        Ok(exchange_look(spec.clone(), topology.is_predeclared(name), counts))
    }

    /// The default exchange of a virtual host, whose name is empty, and whose bindings are the names of its queues.
    pub fn look_at_default_exchange(&self, vhost: &str) -> Result<ExchangeLook, Error> {
        let host = host(self.shared(), vhost)?;
        let counts = host.topology.read().counts_of("").cloned();
        let spec = ExchangeSpec::new("", Kind::Direct);
        Ok(exchange_look(spec, true, &counts.unwrap_or_default()))
    }

    /// The bindings of a virtual host, by where they lead, and where the next page begins; none: there are no more.
    /// About `max`: those of one destination stand on one page.
    pub fn look_at_bindings(
        &self,
        vhost: &str,
        after: Option<&BindingPlace>,
        max: usize,
    ) -> Result<(Vec<BindingLook>, Option<BindingPlace>), Error> {
        let vhost = host(self.shared(), vhost)?;
        let after = after.map(|place| &place.0);
        let found = vhost.topology.read().bindings_after(after, max.max(1));
        let next = found.last().map(|last| BindingPlace(last.target.clone()));
        let looks = found.iter().filter_map(|binding| binding_look(&vhost, binding)).collect();
        Ok((looks, next))
    }

    /// The open connections behind the one of that number, in the order in which they were opened.
    pub fn look_at_connections(&self, after: u64, max: usize) -> Vec<ConnectionLook> {
        let found = self.shared().users.connections.after(after, max);
        found.iter().map(|connection| connection_look(connection)).collect()
    }

    /// One connection; none: it is not open (any more).
    pub fn look_at_connection(&self, number: u64) -> Option<ConnectionLook> {
        self.shared().users.connections.get(number).map(|connection| connection_look(&connection))
    }

    /// The channels of a connection, the oldest first; none: it is not open (any more).
    pub fn look_at_channels(&self, connection: u64) -> Option<Vec<ChannelLook>> {
        self.shared().users.connections.get(connection).map(|connection| channel_looks(&connection))
    }

    /// The consumers of a connection, the oldest first; none: it is not open (any more).
    pub fn look_at_consumers(&self, connection: u64) -> Option<Vec<ConsumerLook>> {
        self.shared()
            .users
            .connections
            .get(connection)
            .map(|connection| consumer_looks(&connection))
    }

    /// The named sessions of a virtual host, by name.
    pub fn look_at_sessions(&self, vhost: &str, page: Page<'_>) -> Result<Vec<SessionLook>, Error> {
        let vhost = host(self.shared(), vhost)?;
        let found = vhost.topology.read().sessions_behind(page.after, page.max);
        Ok(found.iter().map(|named| session_look(&vhost, named)).collect())
    }

    /// How many retained values a virtual host has, and the bytes of their messages.
    pub fn look_at_retained(&self, vhost: &str) -> Result<(usize, usize), Error> {
        let vhost = host(self.shared(), vhost)?;
        let size = vhost.retained.lock().size();
        Ok(size)
    }

    /// How many objects a virtual host has that are in no list of their own.
    pub fn look_at_objects(&self, vhost: &str) -> Result<ObjectsLook, Error> {
        let vhost = host(self.shared(), vhost)?;
        let (sessions, bindings) = {
            let topology = vhost.topology.read();
            (topology.sessions_count(), topology.bindings_count())
        };
        let retained = vhost.retained.lock().size().0;
        Ok(ObjectsLook { sessions, bindings, retained })
    }

    /// What the store knows to be lost, and no operator has accepted yet.
    pub fn losses(&self) -> Vec<Loss> {
        self.shared().store.losses().map(Losses::standing).unwrap_or_default()
    }

    /// An operator has seen the losses up to this number. Returns how many that were.
    pub async fn accept_losses(&self, upto: u64) -> Result<usize, Error> {
        let Some(losses) = self.shared().store.losses() else { return Ok(0) };
        let accepted = losses.accept(upto).await;
        accepted.map_err(|error| Error::new(ErrorKind::Unavailable, error.to_string()))
    }

    /// Marks, alarms and what the whole broker has counted.
    pub fn look_at_node(&self) -> NodeLook {
        let shared = self.shared();
        let (pressure, budget) = (&shared.pressure, &shared.pressure.memory.budget);
        NodeLook {
            memory: MemoryLook {
                waiting: budget.used(Account::Waiting),
                kept: budget.used(Account::Kept),
                resident_mark: budget.resident(),
                high_mark: budget.high(),
                alarm_marks: budget.alarm_marks(),
                alarm: pressure.memory.is_over_high.load(Ordering::Acquire),
            },
            disk: DiskLook {
                total: pressure.disk.bytes_total.load(Ordering::Acquire),
                free: pressure.disk.bytes_free.load(Ordering::Acquire),
                alarm_mark: pressure.disk.mark.load(Ordering::Acquire),
                alarm: pressure.disk.is_low(),
                hard_mark: shared.settings.disk_free_hard(),
                exhausted: pressure.disk.is_exhausted.load(Ordering::Acquire),
            },
            publishers_held: pressure.held_count(),
            connections: shared.users.connections.count(),
            connections_refused: shared.users.connections.refusals(),
            logins_unfinished: shared.users.connections.unfinished_logins(),
            protocols: shared.users.connections.totals().into_iter().collect(),
            logins: shared.users.logins(),
            logins_refused: self.refused_logins(),
            rights_refused: self.refused_rights(),
            limits_met: self.limits_met(),
            dropped_for_subscribers: self.dropped_for_subscribers(),
            store_failed: shared.committer.has_failed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_among_bindings_are_read_back() {
        for target in [
            Target::Exchange("a:b/c".into()),
            Target::Log(LogId(u64::MAX)),
            Target::Session(SessionId(7)),
        ] {
            let place = BindingPlace(target);
            assert_eq!(BindingPlace::parse(&place.to_string()), Some(place));
        }
        for bad in ["", "queue:", "queue:-1", "session:x", "log:1", "7"] {
            assert_eq!(BindingPlace::parse(bad), None, "{bad}");
        }
    }
}
