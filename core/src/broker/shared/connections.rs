//! The registry: every open connection, from its login until it has left. Nothing is in it but what is open, and its
//! lock is taken when a connection comes or goes and when somebody looks, never for a message.

use super::busiest::{Busiest, BusiestLately};
use crate::broker::vhost::connection::{Connection, DeliveredTotals, LaneTotals};
use crate::broker::vhost::inbox::Inbox;
use crate::broker::vhost::sizes::SizeTotals;
use crate::message::Name;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// The connections of a broker.
#[derive(Debug, Default)]
pub struct Connections {
    /// By their numbers, which grow.
    open: Mutex<BTreeMap<u64, Open>>,
    /// Sums of those that have left, by protocol: those names are the adapters', so there are few.
    gone: Mutex<BTreeMap<Name, ProtocolTotals>>,
    /// Connections that listeners turned away, by reason: those words are the listeners', so there are few.
    refused: Mutex<BTreeMap<&'static str, u64>>,
    /// Clients that were lost before their login was complete, by listener, protocol and why: those are the
    /// configuration's and the adapters', so there are few.
    unfinished: Mutex<BTreeMap<(Name, Name, Unfinished), u64>>,
    /// Whose connections come most, of late.
    busiest: Mutex<Busiest>,
}

/// Why a login was not completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unfinished {
    /// The client went away.
    Left,
    /// It took longer than it may.
    TooSlow,
}

impl Unfinished {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Left, Self::TooSlow];

    /// Its word in the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::TooSlow => "too_slow",
        }
    }
}

/// Clients that were lost before their login was complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedLogin {
    pub listener: Name,
    pub protocol: Name,
    pub why: Unfinished,
    /// How many since the start.
    pub count: u64,
}

/// An open connection, and what tells its task that it has to end.
#[derive(Debug)]
struct Open {
    connection: Arc<Connection>,
    inbox: Weak<Inbox>,
}

/// What the connections of one protocol did since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProtocolTotals {
    /// Open ones, and their channels and consumers.
    pub connections: u64,
    pub channels: u64,
    pub consumers: u64,
    /// Open channels that have published.
    pub publishers: u64,
    /// Opened since the start, and those of them that have left.
    pub opened: u64,
    pub closed: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub lanes: LaneTotals,
    pub deliveries: DeliveredTotals,
    /// Of the messages that `lanes` received.
    pub sizes: SizeTotals,
}

impl ProtocolTotals {
    fn add_open(&mut self, connection: &Connection) {
        let lanes = connection.lanes();
        let consumers = connection.consumers();
        self.connections += 1;
        self.channels += lanes.len() as u64;
        self.publishers += lanes.iter().filter(|lane| lane.totals().received > 0).count() as u64;
        self.consumers += consumers.iter().filter(|consumer| !consumer.is_getter).count() as u64;
    }

    fn add(&mut self, connection: &Connection) {
        let (received, sent) = connection.traffic.bytes();
        self.opened += 1;
        self.bytes_received += received;
        self.bytes_sent += sent;
        self.lanes.add(&connection.totals());
        self.deliveries.add(&connection.deliveries());
        self.sizes.add(&connection.sizes.totals());
    }
}

impl Connections {
    /// A client has logged in.
    pub fn enter(&self, connection: &Arc<Connection>, inbox: Weak<Inbox>) {
        self.came(&connection.origin.user, &connection.origin.peer);
        let open = Open { connection: connection.clone(), inbox };
        self.open.lock().insert(connection.origin.connection, open);
    }

    /// It has left, if it was there.
    pub fn leave(&self, number: u64) {
        let mut open = self.open.lock();
        let Some(Open { connection, .. }) = open.remove(&number) else { return };
        // Under the lock, so that no sum misses it or has it twice.
        let mut gone = self.gone.lock();
        let sum = gone.entry(connection.about.protocol.clone()).or_default();
        sum.add(&connection);
        sum.closed += 1;
    }

    /// A connection came, whatever becomes of it. The user is empty where nobody has logged in.
    pub fn came(&self, user: &str, peer: &str) {
        if peer.is_empty() {
            return;
        }
        self.busiest.lock().note((user, peer), Instant::now());
    }

    /// Whose connections came most, of late.
    pub fn busiest(&self) -> BusiestLately {
        self.busiest.lock().look(Instant::now())
    }

    /// A client that speaks `protocol` came to `listener` and was lost before its login was complete; without a `peer`
    /// it is only made known that this can be.
    pub fn unfinished(
        &self,
        (listener, protocol): (&Name, &str),
        why: Unfinished,
        peer: Option<&str>,
    ) {
        let of = (listener.clone(), protocol.into(), why);
        *self.unfinished.lock().entry(of).or_default() += u64::from(peer.is_some());
        if let Some(peer) = peer {
            self.came("", peer);
        }
    }

    /// How many were lost before their login was complete.
    pub fn unfinished_logins(&self) -> Vec<UnfinishedLogin> {
        let all = self.unfinished.lock();
        let each = all.iter().map(|((listener, protocol, why), count)| UnfinishedLogin {
            listener: listener.clone(),
            protocol: protocol.clone(),
            why: *why,
            count: *count,
        });
        each.collect()
    }

    /// Clients may come that speak this: its sums are shown from now on, which are zero.
    pub fn expect(&self, protocol: &str) {
        self.gone.lock().entry(protocol.into()).or_default();
    }

    /// A listener turned a connection away. Without a `peer` it is only made known that this can be.
    pub fn refused(&self, why: &'static str, peer: Option<&str>) {
        *self.refused.lock().entry(why).or_default() += u64::from(peer.is_some());
        if let Some(peer) = peer {
            self.came("", peer);
        }
    }

    /// How many connections were turned away, by reason.
    pub fn refusals(&self) -> Vec<(&'static str, u64)> {
        self.refused.lock().iter().map(|(why, count)| (*why, *count)).collect()
    }

    /// The next `max` connections behind that number.
    pub fn after(&self, number: u64, max: usize) -> Vec<Arc<Connection>> {
        let behind = (Bound::Excluded(number), Bound::Unbounded);
        self.open.lock().range(behind).take(max).map(|(_, one)| one.connection.clone()).collect()
    }

    /// The connection of that number.
    pub fn get(&self, number: u64) -> Option<Arc<Connection>> {
        self.open.lock().get(&number).map(|one| one.connection.clone())
    }

    /// What tells the connection of that number something; none: it is not open (any more).
    pub fn inbox(&self, number: u64) -> Option<Arc<Inbox>> {
        self.open.lock().get(&number)?.inbox.upgrade()
    }

    /// Deliveries of level 0 that connections which have left did not read in time.
    pub fn gone_direct_dropped(&self) -> u64 {
        self.gone.lock().values().map(|sum| sum.deliveries.direct_dropped).sum()
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.lock().len()
    }

    /// What the connections of each protocol did.
    pub fn totals(&self) -> BTreeMap<Name, ProtocolTotals> {
        let (open, mut sums) = {
            let open = self.open.lock();
            let connections = open.values().map(|one| one.connection.clone());
            (connections.collect::<Vec<_>>(), self.gone.lock().clone())
        };
        for connection in open {
            let sum = sums.entry(connection.about.protocol.clone()).or_default();
            sum.add_open(&connection);
            sum.add(&connection);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::door::request::{About, LaneId};
    use crate::broker::vhost::connection::LaneEvent;
    use crate::message::{Origin, Timestamp};

    fn connection(number: u64) -> Arc<Connection> {
        let origin = Arc::new(Origin { connection: number, ..Origin::default() });
        let about = About { protocol: "p".into(), ..About::default() };
        Arc::new(Connection::new(origin, (&"/".into(), None), about, Timestamp(1)))
    }

    #[test]
    fn sums_go_on_when_connections_leave() {
        let all = Connections::default();
        for number in [3, 5] {
            let one = connection(number);
            all.enter(&one, Weak::new());
            one.traffic.set_received(10 * number);
            let lane = one.add_lane(LaneId(0));
            lane.received(true);
            lane.note(LaneEvent::Confirmed);
            one.sizes.note(7);
            one.remove_lane(LaneId(0));
        }
        let before = all.totals()["p"];
        assert_eq!((before.connections, before.bytes_received, before.lanes.confirmed), (2, 80, 2));
        all.leave(3);
        all.leave(3);
        let after = all.totals()["p"];
        assert_eq!((after.connections, after.opened, after.closed), (1, 2, 1));
        assert_eq!((after.bytes_received, after.lanes), (80, before.lanes));
        assert_eq!((after.sizes.count(), after.sizes.bytes), (2, 14));
        assert_eq!((all.count(), all.after(0, 9).len(), all.after(5, 9).len()), (1, 1, 0));
        assert!(all.get(5).is_some() && all.get(3).is_none());
        assert!(all.inbox(5).is_none(), "connection 5 has no inbox");
    }

    #[test]
    fn what_may_come_is_shown_before_it_comes() {
        let all = Connections::default();
        let one = connection(1);
        all.enter(&one, Weak::new());
        all.leave(1);
        ["p", "q"].iter().for_each(|protocol| all.expect(protocol));
        let opened = |protocol| all.totals()[protocol].opened;
        assert_eq!((opened("p"), opened("q")), (1, 0));
        all.refused("full", None);
        all.refused("late", None);
        (1..4).for_each(|port| all.refused("late", Some(&format!("10.0.0.1:{port}"))));
        assert_eq!(all.refusals(), [("full", 0), ("late", 3)]);
        let at = (&"listener".into(), "p");
        Unfinished::ALL.into_iter().for_each(|why| all.unfinished(at, why, None));
        all.unfinished(at, Unfinished::TooSlow, Some("10.0.0.1:4"));
        let counts: Vec<_> = all.unfinished_logins().iter().map(|o| (o.why, o.count)).collect();
        assert_eq!(counts, [(Unfinished::Left, 0), (Unfinished::TooSlow, 1)]);
        // Whatever becomes of a connection, it came.
        let busiest = all.busiest().by;
        let (user, address, count) = &busiest[0];
        assert_eq!((&**user, &**address, *count), ("", "10.0.0.1", 4));
    }
}
