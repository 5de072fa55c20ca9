//! Each object by itself. There may be very many, so a page has a limit, and families and virtual hosts can be chosen.

use super::text::{Kind, Labels, Page};
use crate::behind;
use crossdock_core::{
    Broker, CameBy, ConnectionLook, DeliveryTotals, Depth, ExchangeLook, LeftBy, QueueLook,
};

/// Objects on one page, at most.
const OBJECTS: usize = 20_000;
/// Objects that are looked at or written together, some tens of microseconds' work; then whoever waits for the core
/// has it.
const SLICE: usize = 500;

/// Which objects.
#[derive(Debug, Default)]
pub struct Scope {
    /// Empty: all virtual hosts.
    pub vhosts: Vec<String>,
    /// Only the queue of that name.
    pub queue: Option<String>,
}

impl Scope {
    /// Those of one virtual host, or one queue in it.
    pub fn new(vhost: Option<String>, queue: Option<String>) -> Result<Self, String> {
        Ok(Self { vhosts: vhost.into_iter().collect(), queue })
    }

    fn vhosts(&self, broker: &Broker) -> Result<Vec<String>, String> {
        match self.vhosts.iter().find(|name| !broker.has_vhost(name)) {
            Some(missing) => Err(format!("there is no virtual host '{missing}'")),
            None if self.vhosts.is_empty() => {
                Ok(broker.totals().into_iter().map(|(name, _)| name.to_string()).collect())
            }
            None => Ok(self.vhosts.clone()),
        }
    }
}

/// A group of families, named as RabbitMQ names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    QueueCoarse,
    QueueConsumers,
    QueueDelivery,
    /// How messages came to each queue, and how they left it.
    QueueBalance,
    Exchange,
    Connection,
}

impl Detail {
    /// All of them.
    pub const ALL: [Detail; 6] = [
        Detail::QueueCoarse,
        Detail::QueueConsumers,
        Detail::QueueDelivery,
        Detail::QueueBalance,
        Detail::Exchange,
        Detail::Connection,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Detail::QueueCoarse => "queue_coarse_metrics",
            Detail::QueueConsumers => "queue_consumer_count",
            Detail::QueueDelivery => "queue_delivery_metrics",
            Detail::QueueBalance => "queue_balance",
            Detail::Exchange => "exchange_metrics",
            Detail::Connection => "connection_coarse_metrics",
        }
    }

    /// That of this name; else what there is.
    pub fn of(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|detail| detail.as_str() == name);
        let names = Self::ALL.map(Detail::as_str).join(", ");
        found.ok_or_else(|| format!("'{name}' is none of the families {names}"))
    }
}

/// An object, and what names it in all of its samples.
struct Named<T> {
    labels: Labels,
    look: T,
}

struct Found {
    queues: Vec<Named<QueueLook>>,
    exchanges: Vec<Named<ExchangeLook>>,
    connections: Vec<Named<ConnectionLook>>,
}

fn named_queue(vhost: &str, look: QueueLook) -> Named<QueueLook> {
    Named { labels: Labels::new(&[("vhost", vhost), ("queue", &look.spec.name)]), look }
}

fn named_exchange(vhost: &str, look: ExchangeLook) -> Named<ExchangeLook> {
    // An empty label is none.
    let name = Some(&*look.spec.name).filter(|name| !name.is_empty()).unwrap_or("(default)");
    Named { labels: Labels::new(&[("vhost", vhost), ("exchange", name)]), look }
}

fn named_connection(look: ConnectionLook) -> Named<ConnectionLook> {
    let labels = Labels::new(&[
        ("connection", &look.number.to_string()),
        ("vhost", &look.vhost),
        ("user", &look.user),
        ("client", &look.client),
        ("peer", &look.peer),
    ]);
    Named { labels, look }
}

/// Writes these families of these objects, their names behind `prefix`.
pub fn write(
    page: &mut Page,
    broker: &Broker,
    scope: &Scope,
    details: &[Detail],
    prefix: &str,
) -> Result<(), String> {
    let found = find(broker, scope, details)?;
    let mut writer = Writer { page, prefix };
    for detail in details {
        match detail {
            Detail::QueueCoarse => writer.coarse(&found.queues),
            Detail::QueueConsumers => writer.queue_gauges(&found.queues, &CONSUMERS),
            Detail::QueueDelivery => writer.deliveries(&found.queues),
            Detail::QueueBalance => writer.balance(&found.queues),
            Detail::Exchange => writer.exchanges(&found.exchanges),
            Detail::Connection => writer.connections(&found.connections),
        }
    }
    Ok(())
}

fn find(broker: &Broker, scope: &Scope, details: &[Detail]) -> Result<Found, String> {
    let mut found = Found { queues: Vec::new(), exchanges: Vec::new(), connections: Vec::new() };
    let has_queues =
        details.iter().any(|one| !matches!(one, Detail::Exchange | Detail::Connection));
    for vhost in scope.vhosts(broker)? {
        if has_queues {
            queues(broker, &vhost, scope.queue.as_deref(), &mut found)?;
        }
        if details.contains(&Detail::Exchange) && scope.queue.is_none() {
            exchanges(broker, &vhost, &mut found)?;
        }
    }
    if details.contains(&Detail::Connection) && scope.queue.is_none() {
        let mut last = 0;
        loop {
            let some = broker.look_at_connections(last, SLICE);
            let Some(connection) = some.last() else { break };
            last = connection.number;
            behind::give_way();
            let is_meant = |one: &ConnectionLook| {
                scope.vhosts.is_empty() || scope.vhosts.iter().any(|name| **name == *one.vhost)
            };
            found.connections.extend(some.into_iter().filter(is_meant).map(named_connection));
            found.check()?;
        }
    }
    Ok(found)
}

impl Found {
    fn check(&self) -> Result<(), String> {
        match self.queues.len() + self.exchanges.len() + self.connections.len() {
            0..=OBJECTS => Ok(()),
            _ => Err(format!(
                "there are more than {OBJECTS} objects: ask for fewer, by \
                 /metrics/detailed?family=…&vhost=… or with &queue=…"
            )),
        }
    }
}

fn queues(
    broker: &Broker,
    vhost: &str,
    only: Option<&str>,
    found: &mut Found,
) -> Result<(), String> {
    if let Some(name) = only {
        // A queue may be in one virtual host and not in the next.
        let look = broker.look_at_queue(vhost, name).ok();
        found.queues.extend(look.map(|look| named_queue(vhost, look)));
        return Ok(());
    }
    let mut last = None;
    loop {
        let page = crossdock_core::Page { after: last.as_deref(), max: SLICE };
        let some = broker.look_at_queues(vhost, page).map_err(|error| error.to_string())?;
        let Some(one) = some.last() else { return Ok(()) };
        last = Some(one.spec.name.to_string());
        behind::give_way();
        found.queues.extend(some.into_iter().map(|look| named_queue(vhost, look)));
        found.check()?;
    }
}

fn exchanges(broker: &Broker, vhost: &str, found: &mut Found) -> Result<(), String> {
    let mut last = None;
    let default = broker.look_at_default_exchange(vhost).map_err(|error| error.to_string())?;
    found.exchanges.push(named_exchange(vhost, default));
    loop {
        let page = crossdock_core::Page { after: last.as_deref(), max: SLICE };
        let some = broker.look_at_exchanges(vhost, page).map_err(|error| error.to_string())?;
        let Some(one) = some.last() else { return Ok(()) };
        last = Some(one.spec.name.to_string());
        behind::give_way();
        found.exchanges.extend(some.into_iter().map(|look| named_exchange(vhost, look)));
        found.check()?;
    }
}

type DepthRow = (&'static str, &'static str, fn(&Depth) -> u64);

const COARSE: [DepthRow; 6] = [
    ("queue_messages", "Messages in the queue.", |depth| depth.waiting),
    ("queue_messages_ready", "Messages that wait for consumers.", |depth| depth.ready),
    ("queue_messages_unacked", "Messages that consumers have not settled.", |depth| {
        depth.in_flight
    }),
    ("queue_messages_bytes", "Bytes of messages in the queue.", |depth| depth.waiting_bytes),
    ("queue_messages_ready_bytes", "Bytes that wait for consumers.", |depth| depth.ready_bytes),
    ("queue_messages_unacked_bytes", "Bytes not settled.", |depth| depth.in_flight_bytes),
];

const CONSUMERS: [DepthRow; 1] =
    [("queue_consumers", "Consumers of the queue.", |depth| depth.consumers)];

type DeliveryRow = (&'static str, &'static str, fn(&DeliveryTotals) -> u64);

const DELIVERIES: [DeliveryRow; 6] = [
    ("queue_messages_delivered_ack_total", "Handed to consumers that settle.", |d| d.delivered),
    ("queue_messages_delivered_total", "Handed to consumers that do not.", |d| {
        d.delivered_unsettled
    }),
    ("queue_get_ack_total", "Asked for singly, and to be settled.", |d| d.got),
    ("queue_get_total", "Asked for singly, without settling.", |d| d.got_unsettled),
    ("queue_get_empty_total", "Asked for singly, and none was there.", |d| d.got_nothing),
    ("queue_messages_redelivered_total", "May have been seen before.", |d| d.redelivered),
];

const OWN_DELIVERIES: [DeliveryRow; 2] = [
    ("queue_messages_requeued_total", "Went back from a consumer.", |d| d.requeued),
    ("queue_messages_turned_away_total", "Publishes that it refused, full.", |d| d.turned_away),
];

struct Writer<'a> {
    page: &'a mut Page,
    prefix: &'a str,
}

impl Writer<'_> {
    /// One that RabbitMQ has too.
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        self.page.family(&format!("{}{name}", self.prefix), kind, help);
    }

    /// One that only this broker has.
    fn own_family(&mut self, name: &str, kind: Kind, help: &str) {
        self.page.family(&format!("crossdock_{name}"), kind, help);
    }

    fn each<T>(&mut self, objects: &[Named<T>], value: impl Fn(&T) -> u64) {
        for slice in objects.chunks(SLICE) {
            for object in slice {
                self.page.sample_of(&object.labels, value(&object.look));
            }
            behind::give_way();
        }
    }

    fn queue_gauges(&mut self, queues: &[Named<QueueLook>], rows: &[DepthRow]) {
        for (name, help, value) in rows {
            self.family(name, Kind::Gauge, help);
            self.each(queues, |queue| value(&queue.depth));
        }
    }

    fn coarse(&mut self, queues: &[Named<QueueLook>]) {
        self.queue_gauges(queues, &COARSE);
    }

    fn deliveries(&mut self, queues: &[Named<QueueLook>]) {
        for (name, help, value) in DELIVERIES {
            self.family(name, Kind::Counter, help);
            self.each(queues, |queue| value(&queue.deliveries));
        }
        for (name, help, value) in OWN_DELIVERIES {
            self.own_family(name, Kind::Counter, help);
            self.each(queues, |queue| value(&queue.deliveries));
        }
        self.family("queue_messages_acked_total", Kind::Counter, "Consumers are done with them.");
        self.each(queues, |queue| queue.records.left(LeftBy::Consumed));
    }

    fn balance(&mut self, queues: &[Named<QueueLook>]) {
        self.own_family("queue_messages_came_total", Kind::Counter, "How messages came.");
        let came = CameBy::ALL.map(|by| (by, format!(",by=\"{}\"", by.as_str())));
        for Named { labels, look } in queues {
            for (by, label) in came.iter().filter(|(by, _)| look.records.came(*by) > 0) {
                self.page.sample_with(labels, label, look.records.came(*by));
            }
        }
        self.own_family("queue_messages_left_total", Kind::Counter, "How messages left.");
        let left = LeftBy::ALL.map(|by| (by, format!(",by=\"{}\"", by.as_str())));
        for Named { labels, look } in queues {
            for (by, label) in left.iter().filter(|(by, _)| look.records.left(*by) > 0) {
                self.page.sample_with(labels, label, look.records.left(*by));
            }
        }
    }

    fn exchanges(&mut self, exchanges: &[Named<ExchangeLook>]) {
        type Row = (&'static str, &'static str, fn(&ExchangeLook) -> u64);
        let rows: [Row; 4] = [
            ("exchange_messages_published_total", "Published there.", |x| x.totals.published()),
            ("exchange_messages_routed_total", "Went to somebody.", |x| x.totals.routed),
            ("exchange_messages_unroutable_total", "Went to nobody.", |x| x.totals.unroutable),
            ("exchange_messages_refused_total", "Were refused.", |x| x.totals.refused),
        ];
        for (name, help, value) in rows {
            self.own_family(name, Kind::Counter, help);
            self.each(exchanges, value);
        }
    }

    fn connections(&mut self, connections: &[Named<ConnectionLook>]) {
        type Row = (&'static str, Kind, &'static str, fn(&ConnectionLook) -> u64);
        let rows: [Row; 3] = [
            ("connection_incoming_bytes_total", Kind::Counter, "Bytes from it.", |c| c.received),
            ("connection_outgoing_bytes_total", Kind::Counter, "Bytes to it.", |c| c.sent),
            ("connection_channels", Kind::Gauge, "Its channels.", |c| c.channels as u64),
        ];
        let own: [Row; 2] = [
            ("connection_unacked", Kind::Gauge, "Deliveries it has not settled.", |c| c.unsettled),
            ("connection_published_total", Kind::Counter, "What it published.", |c| {
                c.totals.received
            }),
        ];
        let rows = rows.map(|row| (true, row)).into_iter().chain(own.map(|row| (false, row)));
        for (is_rabbits, (name, kind, help, value)) in rows {
            match is_rabbits {
                true => self.family(name, kind, help),
                false => self.own_family(name, kind, help),
            }
            self.each(connections, value);
        }
    }
}
