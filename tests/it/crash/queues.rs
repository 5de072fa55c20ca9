//! AMQP queues of every kind: confirmed persistent publishes by several publishers; a consumer that acknowledges most
//! messages, keeps some unacknowledged, and returns some.

use super::amqp::{
    ACK, Address, BLOCKED, Confirms, DELIVER, Delivery, Field, Link, NACK, Properties, UNBLOCKED,
};
use super::dice::Dice;
use super::flow::{BACKLOG, Books, Flow, Round, until_paid, until_quiet};
use super::ledger::{Arrival, Key, Ledger};
use super::wire::{Step, rest, wrong};
use std::collections::BTreeMap;

/// A queue that is consumed.
#[derive(Debug, Clone)]
struct Outlet {
    queue: String,
    place: usize,
    /// Not a dead-letter queue.
    direct: bool,
}

/// The kind of queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Priority,
    /// Messages expire after a time and go to the dead-letter queue.
    TimeToLive,
    /// Messages are returned until they go to the dead-letter queue.
    DeliveryLimit,
    /// New messages are refused beyond a length.
    Reject,
    Fanout,
    /// Three queues, of which CC and BCC name those that the routing key does not.
    Copies,
    /// A content route with a wasm step is in front of the queue.
    Module,
    /// Two content routes without a wasm step are in front of the queue, one behind the other.
    Chain,
}

/// The routes of [`Kind::Module`] and [`Kind::Chain`].
pub const ROUTES: &str = r#"
[[route]]
name = "module"
from = ["queue:module.in"]
steps = [{ wasm = "xml-to-json" }]
to = ["queue:module"]
limits = { deadline = "5s" }

[[route]]
name = "chain-1"
from = ["queue:chain.in"]
steps = [{ set = { first = "'yes'" } }]
to = ["topic:chain/middle"]

[[route]]
name = "chain-2"
from = ["topic:chain/#"]
when = "first = 'yes'"
steps = [{ set = { second = "first" } }]
to = ["queue:chain"]
"#;

pub struct Queues {
    kind: Kind,
    name: String,
    ledger: Ledger,
    dice: Dice,
    outlets: Vec<Outlet>,
    is_declared: bool,
}

impl Queues {
    fn new(kind: Kind, name: &str, books: &mut Books, dice: &Dice) -> Self {
        let (publishers, places) = match kind {
            Kind::Plain => (3, 1),
            Kind::Fanout | Kind::Copies => (2, 3),
            _ => (2, 1),
        };
        let outlet = |queue: String, place, direct| Outlet { queue, place, direct };
        let mut outlets = vec![outlet(name.to_owned(), 0, true)];
        match kind {
            Kind::Fanout | Kind::Copies => {
                outlets = (0..3).map(|n| outlet(format!("{name}.{n}"), n, true)).collect()
            }
            Kind::TimeToLive | Kind::DeliveryLimit => {
                outlets.push(outlet(format!("{name}.dead"), 0, false))
            }
            _ => {}
        }
        let ledger = books.open(&format!("AMQP queue {name}"), publishers, places);
        let dice = dice.fork(1000 + kind as u64);
        Self { kind, name: name.to_owned(), ledger, dice, outlets, is_declared: false }
    }

    /// One flow for each kind of queue.
    pub fn all(books: &mut Books, dice: &Dice) -> Vec<Box<dyn Flow>> {
        let kinds = [
            (Kind::Plain, "plain"),
            (Kind::Priority, "priority"),
            (Kind::TimeToLive, "mortal"),
            (Kind::DeliveryLimit, "limited"),
            (Kind::Reject, "full"),
            (Kind::Fanout, "fan"),
            (Kind::Copies, "copies"),
            (Kind::Module, "module"),
            (Kind::Chain, "chain"),
        ];
        let flow = |(kind, name)| Box::new(Self::new(kind, name, books, dice)) as Box<dyn Flow>;
        kinds.into_iter().map(flow).collect()
    }

    fn arguments(&self, outlet: &Outlet) -> Vec<(&'static str, Field)> {
        let dead = |mut arguments: Vec<(&'static str, Field)>| {
            arguments.push(("x-dead-letter-exchange", Field::Text(String::new())));
            arguments
                .push(("x-dead-letter-routing-key", Field::Text(format!("{}.dead", self.name))));
            arguments
        };
        match self.kind {
            _ if !outlet.direct => Vec::new(),
            Kind::Plain | Kind::Fanout | Kind::Copies | Kind::Module | Kind::Chain => Vec::new(),
            Kind::Priority => vec![("x-max-priority", Field::Number(4))],
            Kind::TimeToLive => dead(vec![("x-message-ttl", Field::Number(120))]),
            Kind::DeliveryLimit => dead(vec![("x-delivery-limit", Field::Number(3))]),
            Kind::Reject => vec![
                ("x-max-length", Field::Number(40)),
                ("x-overflow", Field::Text("reject-publish".to_owned())),
            ],
        }
    }

    /// Declares all queues. Queues declared in an earlier life must exist, with the messages that they owe.
    fn declare(&mut self, link: &mut Link) -> Step<()> {
        if self.is_declared {
            for outlet in &self.outlets {
                match link.ready(&outlet.queue)? {
                    None => self.ledger.found(&format!("lost: the queue {} is gone", outlet.queue)),
                    Some(count) if !self.arrives_later() => {
                        let owed = self.ledger.owed(outlet.place);
                        if (count as usize) < owed {
                            let text = format!(
                                "lost: {} has {count} messages and owes {owed}",
                                outlet.queue
                            );
                            self.ledger.found(&text);
                        }
                    }
                    Some(_) => {}
                }
            }
        }
        for outlet in &self.outlets {
            // Declared again with the same arguments: if the queue came back with others, the broker refuses.
            link.declare(&outlet.queue, 2, &self.arguments(outlet))?;
        }
        let exchange = match self.kind {
            Kind::Fanout => Some("fanout"),
            Kind::Copies => Some("direct"),
            _ => None,
        };
        if let Some(kind) = exchange.filter(|_| !self.is_declared) {
            link.exchange(&self.name, kind)?;
            for outlet in &self.outlets {
                link.bind(&outlet.queue, &self.name, &outlet.queue)?;
            }
        }
        self.is_declared = true;
        Ok(())
    }

    /// Some messages may be on their way to another queue, for a dead-letter queue or from a route's queue.
    fn arrives_later(&self) -> bool {
        self.kind == Kind::Module || self.outlets.iter().any(|outlet| !outlet.direct)
    }

    /// The body that is published for a message: a document, where a module reads it.
    fn written(&self, body: Vec<u8>) -> Vec<u8> {
        match self.kind {
            Kind::Module => {
                let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("<m b=\"{hex}\"/>").into_bytes()
            }
            _ => body,
        }
    }

    /// The headers CC and BCC, and the routing key: together they name each queue, one of them twice or more.
    fn copies(&mut self) -> (Vec<(&'static str, Field)>, String) {
        if self.kind != Kind::Copies {
            return (Vec::new(), String::new());
        }
        let first = self.dice.below(3) as usize;
        let name = |more: usize| self.outlets[(first + more) % 3].queue.clone();
        let (mut open, mut hidden) = (vec![name(1)], vec![name(2)]);
        match self.dice.below(4) {
            0 => open.push(name(2)),
            1 => open.extend([name(0), name(1)]),
            2 => hidden.insert(0, name(0)),
            _ => hidden.extend([name(1), name(2)]),
        }
        (vec![("CC", Field::Texts(open)), ("BCC", Field::Texts(hidden))], name(0))
    }

    /// The body of a message, of what was delivered. What is no result of the module is returned as it is.
    fn read(&self, delivered: &[u8]) -> Vec<u8> {
        let hex = || -> Option<Vec<u8>> {
            let text = std::str::from_utf8(delivered).ok()?;
            let digits = text.strip_prefix("{\"b\":\"")?.strip_suffix("\"}")?;
            let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
            pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
        };
        match self.kind {
            Kind::Module => hex().unwrap_or_else(|| delivered.to_vec()),
            _ => delivered.to_vec(),
        }
    }
}

impl Flow for Queues {
    fn name(&self) -> String {
        format!("AMQP queue {}", self.name)
    }

    fn run(&mut self, round: &Round) -> Step<()> {
        self.ledger.begin(round.life);
        let mut consumer = Link::open(round.amqp, 1)?;
        self.declare(&mut consumer)?;
        let mut publishers = Vec::new();
        for stream in 0..self.ledger.streams() {
            let mut link = Link::open(round.amqp, 1)?;
            link.confirm_select(1)?;
            let window = self.dice.range(1, 64) as usize;
            publishers.push(Publisher { link, stream, window, confirms: Confirms::new() });
        }
        let prefetch = self.dice.range(1, 100) as u16;
        consumer.prefetch(1, prefetch)?;
        for outlet in &self.outlets {
            consumer.consume(1, &outlet.queue)?;
        }
        let mut load =
            Load { flow: self, consumer, publishers, held: BTreeMap::new(), publish: false };
        if round.last || load.flow.dice.chance(1, 2) {
            load.drain(round.last)?;
        }
        load.publish = true;
        if round.last {
            return Ok(());
        }
        loop {
            if !load.turn()? {
                rest();
            }
        }
    }
}

struct Publisher {
    link: Link,
    stream: usize,
    window: usize,
    confirms: Confirms<Key>,
}

/// A flow and its connections in one life.
struct Load<'a> {
    flow: &'a mut Queues,
    consumer: Link,
    publishers: Vec<Publisher>,
    /// Messages delivered and neither acknowledged nor returned, by tag.
    held: BTreeMap<u64, (usize, Key)>,
    publish: bool,
}

impl Load<'_> {
    /// Consumes until nothing is owed.
    fn drain(&mut self, last: bool) -> Step<()> {
        if !until_paid(self, |load| load.flow.ledger.owed_at_all(), Self::turn)? {
            self.flow.ledger.write_off("the queues were drained");
        }
        if last {
            until_quiet(|| self.turn())?;
        }
        Ok(())
    }

    /// Whether anything happened.
    fn turn(&mut self) -> Step<bool> {
        let mut happened = false;
        for at in 0..self.publishers.len() {
            happened |= self.publish(at)?;
        }
        while let Some(event) = self.consumer.next()? {
            match event.method {
                DELIVER => self.delivered(event.delivery())?,
                other => return wrong(format!("consumer got {other:?}")),
            }
            happened = true;
        }
        // Some stay unacknowledged for a while; in the last round only briefly.
        if !self.held.is_empty() && (!self.publish || self.flow.dice.chance(1, 12)) {
            self.release();
        }
        self.consumer.wire.pump()?;
        Ok(happened)
    }

    fn publish(&mut self, at: usize) -> Step<bool> {
        let (flow, publisher) = (&mut *self.flow, &mut self.publishers[at]);
        let mut happened = false;
        let may =
            self.publish && (flow.kind == Kind::Reject || flow.ledger.owed_at_all() < BACKLOG);
        for _ in 0..8 {
            if !may
                || publisher.confirms.open() >= publisher.window
                || publisher.link.wire.waiting() > 1 << 20
            {
                break;
            }
            let priority = (flow.kind == Kind::Priority).then(|| flow.dice.below(5) as u8);
            let (key, body) =
                flow.ledger.send(publisher.stream, priority.unwrap_or(0), &mut flow.dice);
            let (copies, key_of_copy) = flow.copies();
            let (exchange, routing_key) = match flow.kind {
                Kind::Fanout => (flow.name.as_str(), String::new()),
                Kind::Copies if flow.dice.chance(1, 2) => (flow.name.as_str(), key_of_copy),
                Kind::Copies => ("", key_of_copy),
                Kind::Module | Kind::Chain => ("", format!("{}.in", flow.name)),
                _ => ("", flow.name.clone()),
            };
            let address = Address { exchange, key: &routing_key, priority, mandatory: false };
            let properties = Properties { headers: &copies, ..Properties::default() };
            publisher.link.publish_with(1, &address, &properties, &flow.written(body));
            publisher.confirms.published(key);
            happened = true;
        }
        publisher.link.wire.pump()?;
        while let Some(event) = publisher.link.next()? {
            match event.method {
                ACK => {
                    for key in publisher.confirms.answered(event.answer())? {
                        flow.ledger.confirm(key);
                    }
                }
                NACK if flow.kind == Kind::Reject => {
                    for key in publisher.confirms.answered(event.answer())? {
                        flow.ledger.refuse(key);
                    }
                }
                // connection.blocked or connection.unblocked.
                BLOCKED | UNBLOCKED => {}
                other => return wrong(format!("publisher got {other:?}")),
            }
            happened = true;
        }
        Ok(happened)
    }

    fn delivered(&mut self, delivery: Delivery) -> Step<()> {
        let flow = &mut *self.flow;
        let Some(outlet) = flow.outlets.iter().find(|outlet| outlet.queue == delivery.queue) else {
            return wrong(format!("a delivery to consumer {:?}", delivery.queue));
        };
        // A dead-lettered message is a new one in the dead-letter queue.
        let flagged = outlet.direct.then_some(delivery.redelivered);
        let arrival = Arrival { place: outlet.place, ordered: outlet.direct, flagged };
        if delivery.header.windows(4).any(|part| part == b"\x03BCC") {
            flow.ledger.found("a reader of a copy sees who else got one");
        }
        let body = flow.read(&delivery.body);
        let Some(key) = flow.ledger.deliver(arrival, &body) else {
            self.consumer.ack(1, delivery.tag, false);
            return Ok(());
        };
        let (place, direct) = (outlet.place, outlet.direct);
        let slow = matches!(flow.kind, Kind::TimeToLive | Kind::Reject);
        match flow.dice.below(100) {
            0..40 if flow.kind == Kind::DeliveryLimit && direct => {
                self.consumer.requeue(1, delivery.tag);
            }
            40..50 => drop(self.held.insert(delivery.tag, (place, key))),
            50..90 if slow => drop(self.held.insert(delivery.tag, (place, key))),
            // One acknowledgement for all messages up to this one.
            90..95 => {
                self.consumer.ack(1, delivery.tag, true);
                let later = self.held.split_off(&delivery.tag);
                for (_, (place, key)) in std::mem::replace(&mut self.held, later) {
                    flow.ledger.settle(place, key, false);
                }
                flow.ledger.settle(place, key, false);
            }
            _ => {
                self.consumer.ack(1, delivery.tag, false);
                flow.ledger.settle(place, key, false);
            }
        }
        Ok(())
    }

    fn release(&mut self) {
        for (tag, (place, key)) in std::mem::take(&mut self.held) {
            self.consumer.ack(1, tag, false);
            self.flow.ledger.settle(place, key, false);
        }
    }
}
