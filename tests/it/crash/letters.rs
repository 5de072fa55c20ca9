//! AMQP queues with dead letters of every cause, and exchanges that keep messages for a time: each confirmed message is
//! in its queue, on its way or a dead letter, nowhere twice, and neither early nor late.

mod paths;

use super::amqp::{
    ACK, Address, BLOCKED, Confirms, DELIVER, Delivery, Field, Link, NACK, Properties, UNBLOCKED,
};
use super::dice::Dice;
use super::flow::{BACKLOG, Books, Flow, Round, until_paid, until_quiet};
use super::ledger::{Arrival, Key, Ledger};
use super::wire::{Step, rest, wrong};
use paths::{Cause, Paths, Terms};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The consumer's channels.
const FROM_QUEUE: u16 = 1;
const FROM_DEAD: u16 = 2;
/// Milliseconds that an exchange keeps a message. 0: it goes on at once; the longest outlasts several lives.
const DELAYS: [u64; 5] = [0, 20, 120, 300, 4000];
/// Milliseconds that a message lives.
const EXPIRATIONS: (u64, u64) = (1, 250);
/// Messages in a queue that is too short for what comes.
const LENGTH: i64 = 30;
/// Messages in a queue of dead letters that refuses others.
const DEAD_LENGTH: i64 = 25;
/// Messages in the queue that keeps what its dead-letter queue refuses.
const KEPT_LENGTH: i64 = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rejected,
    /// Of two queues of dead letters one is often full: the letter stays until both take it (`at-least-once`).
    Kept,
    /// Each message has a time to live of its own.
    Expiring,
    /// The queue drops its oldest messages beyond its length.
    Overflow,
    /// Messages wait at an exchange before they come to their queue.
    Delayed,
    /// Dead letters wait at an exchange.
    Late,
}

impl Kind {
    const ALL: [(Self, &str); 6] = [
        (Self::Rejected, "rejected"),
        (Self::Kept, "kept"),
        (Self::Expiring, "expiring"),
        (Self::Overflow, "overflow"),
        (Self::Delayed, "delayed"),
        (Self::Late, "late"),
    ];

    fn cause(self) -> Cause {
        match self {
            Self::Expiring => Cause::Expired,
            Self::Overflow => Cause::TooMany,
            Self::Rejected | Self::Kept | Self::Delayed | Self::Late => Cause::Rejected,
        }
    }

    fn rejects(self) -> bool {
        matches!(self, Self::Rejected | Self::Kept | Self::Late)
    }

    /// Its messages are in its queues at any moment, and not on their way.
    fn is_in_queues(self) -> bool {
        !matches!(self, Self::Delayed | Self::Late)
    }
}

pub struct Letters {
    kind: Kind,
    name: &'static str,
    ledger: Ledger,
    paths: Paths,
    dice: Dice,
    is_declared: bool,
}

impl Letters {
    pub fn all(books: &mut Books, dice: &Dice) -> Vec<Box<dyn Flow>> {
        let mut flow = |(kind, name): (Kind, &'static str)| {
            let places = if kind == Kind::Kept { 2 } else { 1 };
            let ledger = books.open(&format!("AMQP letters {name}"), 2, places);
            let (paths, dice) = (Paths::new(kind.cause()), dice.fork(9000 + kind as u64));
            Box::new(Self { kind, name, ledger, paths, dice, is_declared: false }) as Box<dyn Flow>
        };
        Kind::ALL.into_iter().map(&mut flow).collect()
    }

    fn queue(&self) -> String {
        format!("letters.{}", self.name)
    }

    fn exchange(&self) -> String {
        format!("letters.{}.x", self.name)
    }

    /// The queues of dead letters: one for each place.
    fn dead(&self) -> Vec<String> {
        match self.kind {
            Kind::Delayed => Vec::new(),
            Kind::Kept => {
                (0..2).map(|place| format!("letters.{}.dead{place}", self.name)).collect()
            }
            _ => vec![format!("letters.{}.dead", self.name)],
        }
    }

    fn places(&self) -> usize {
        if self.kind == Kind::Kept { 2 } else { 1 }
    }

    fn arguments(&self) -> Vec<(&'static str, Field)> {
        let text = |text: &str| Field::Text(text.to_owned());
        let mut arguments = match self.kind {
            Kind::Delayed => return Vec::new(),
            Kind::Kept | Kind::Late => {
                vec![("x-dead-letter-exchange", Field::Text(self.exchange()))]
            }
            _ => vec![("x-dead-letter-exchange", text(""))],
        };
        if self.kind != Kind::Kept {
            arguments.push(("x-dead-letter-routing-key", text(&self.dead()[0])));
        }
        match self.kind {
            Kind::Overflow => arguments.push(("x-max-length", Field::Number(LENGTH))),
            Kind::Kept => arguments.extend([
                ("x-queue-type", text("quorum")),
                ("x-dead-letter-strategy", text("at-least-once")),
                ("x-overflow", text("reject-publish")),
                ("x-max-length", Field::Number(KEPT_LENGTH)),
                ("x-delivery-limit", Field::Number(-1)),
            ]),
            _ => {}
        }
        arguments
    }

    /// Declares everything. What an earlier life declared must be there, with the messages that it owes.
    fn declare(&mut self, link: &mut Link) -> Step<()> {
        if self.is_declared {
            self.check_queues(link)?;
        }
        let refusing = [
            ("x-max-length", Field::Number(DEAD_LENGTH)),
            ("x-overflow", Field::Text("reject-publish".to_owned())),
        ];
        // Declared again with the same arguments: if the queue came back with others, the broker refuses.
        link.declare(&self.queue(), 2, &self.arguments())?;
        for (place, dead) in self.dead().iter().enumerate() {
            link.declare(dead, 2, if place == 1 { &refusing } else { &[] })?;
        }
        let (exchange, bound) = (self.exchange(), [self.dead(), vec![self.queue()]].concat());
        match self.kind {
            Kind::Kept => link.exchange(&exchange, "fanout")?,
            Kind::Delayed | Kind::Late => {
                let routed_by = [("x-delayed-type", Field::Text("direct".to_owned()))];
                link.exchange_with(&exchange, "x-delayed-message", &routed_by)?;
            }
            _ => {}
        }
        match self.kind {
            Kind::Kept => self.dead().iter().try_for_each(|dead| link.bind(dead, &exchange, ""))?,
            Kind::Delayed | Kind::Late => link.bind(&bound[0], &exchange, &bound[0])?,
            _ => {}
        }
        self.is_declared = true;
        Ok(())
    }

    /// The queue first: what becomes a dead letter in between is counted twice, not missed.
    fn check_queues(&mut self, link: &mut Link) -> Step<()> {
        let names = [vec![self.queue()], self.dead()].concat();
        let mut counts = Vec::new();
        for name in &names {
            match link.ready(name)? {
                Some(count) => counts.push(count as usize),
                None => self.ledger.found(&format!("lost: the queue {name} is gone")),
            }
        }
        if counts.len() < names.len() || !self.kind.is_in_queues() {
            return Ok(());
        }
        for place in 0..self.places() {
            let (there, owed) = (counts[0] + counts[1 + place], self.ledger.owed(place));
            if there < owed {
                let text = format!("lost: {names:?} have {counts:?} and owe {owed} at {place}");
                self.ledger.found(&text);
            }
        }
        Ok(())
    }

    fn wrong(&self, key: Key, what: Option<String>) {
        if let Some(what) = what {
            let text = format!("stream {}, message {}: {what}", key.stream, key.number);
            self.ledger.found(&text);
        }
    }
}

impl Flow for Letters {
    fn name(&self) -> String {
        format!("AMQP letters {}", self.name)
    }

    fn run(&mut self, round: &Round) -> Step<()> {
        self.ledger.begin(round.life);
        let mut consumer = Link::open(round.amqp, 2)?;
        self.declare(&mut consumer)?;
        let mut publishers = Vec::new();
        for stream in 0..self.ledger.streams() {
            let mut link = Link::open(round.amqp, 1)?;
            link.confirm_select(1)?;
            let window = self.dice.range(1, 64) as usize;
            publishers.push(Publisher { link, stream, window, confirms: Confirms::new() });
        }
        let most = if matches!(self.kind, Kind::Expiring | Kind::Overflow) { 8 } else { 100 };
        consumer.prefetch(FROM_QUEUE, self.dice.range(1, most) as u16)?;
        consumer.prefetch(FROM_DEAD, self.dice.range(1, 100) as u16)?;
        self.paths.begin(round.life, Instant::now());
        consumer.consume(FROM_QUEUE, &self.queue())?;
        for dead in self.dead() {
            consumer.consume(FROM_DEAD, &dead)?;
        }
        let held = [BTreeMap::new(), BTreeMap::new()];
        let mut load = Load { flow: self, consumer, publishers, held, publish: false };
        if round.last || load.flow.dice.chance(1, 3) {
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
    flow: &'a mut Letters,
    consumer: Link,
    publishers: Vec<Publisher>,
    /// Delivered and not settled, by tag: from the queue, and from those of dead letters, with their place.
    held: [BTreeMap<u64, (usize, Key)>; 2],
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
                DELIVER if event.channel == FROM_DEAD => self.dead(event.delivery())?,
                DELIVER => self.delivered(event.delivery()),
                other => return wrong(format!("consumer got {other:?}")),
            }
            happened = true;
        }
        if !self.publish || self.flow.dice.chance(1, 12) {
            self.release();
        }
        self.consumer.wire.pump()?;
        Ok(happened)
    }

    fn publish(&mut self, at: usize) -> Step<bool> {
        let (flow, publisher) = (&mut *self.flow, &mut self.publishers[at]);
        let mut happened = false;
        for _ in 0..8 {
            let full = publisher.confirms.open() >= publisher.window
                || publisher.link.wire.waiting() > 1 << 20;
            if !self.publish || full || flow.ledger.owed_at_all() >= BACKLOG {
                break;
            }
            flow.send(publisher);
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
                NACK if flow.kind == Kind::Kept => {
                    for key in publisher.confirms.answered(event.answer())? {
                        flow.ledger.refuse(key);
                    }
                }
                BLOCKED | UNBLOCKED => {}
                other => return wrong(format!("publisher got {other:?}")),
            }
            happened = true;
        }
        Ok(happened)
    }

    /// A delivery from the queue.
    fn delivered(&mut self, delivery: Delivery) {
        let (flow, tag, now) = (&mut *self.flow, delivery.tag, Instant::now());
        let mut key = None;
        for place in 0..flow.places() {
            let flagged = Some(delivery.redelivered);
            key = flow.ledger.deliver(Arrival { place, ordered: true, flagged }, &delivery.body);
        }
        let Some(key) = key else { return self.consumer.ack(FROM_QUEUE, tag, false) };
        let what = flow.paths.in_queue(key, now);
        flow.wrong(key, what);
        if flow.kind == Kind::Delayed {
            flow.ledger.findings().waited.one();
        }
        let slow = matches!(flow.kind, Kind::Expiring | Kind::Overflow);
        self.held[0].insert(tag, (0, key));
        match self.flow.dice.below(100) {
            0..40 if self.flow.kind.rejects() => self.settle(tag, (true, false)),
            40..44 if self.flow.kind.rejects() => self.settle(tag, (true, true)),
            // Kept for a while; what waited is acknowledged at once, because its time is looked at.
            44..52 if self.flow.kind != Kind::Delayed => {}
            52..90 if slow => {}
            90..95 => self.settle(tag, (false, true)),
            _ => self.settle(tag, (false, false)),
        }
    }

    /// Acknowledges or rejects a message of the queue, and all held before it if `multiple`.
    fn settle(&mut self, tag: u64, (reject, multiple): (bool, bool)) {
        let (flow, now) = (&mut *self.flow, Instant::now());
        let later = self.held[0].split_off(&(tag + 1));
        let mut those = std::mem::replace(&mut self.held[0], later);
        if !multiple {
            let one = those.split_off(&tag);
            self.held[0].append(&mut those);
            those = one;
        }
        for (_, key) in those.into_values() {
            if reject {
                flow.paths.reject(key, now);
            } else {
                (0..flow.places()).for_each(|place| flow.ledger.settle(place, key, false));
            }
        }
        match reject {
            true => self.consumer.reject(FROM_QUEUE, tag, multiple),
            false => self.consumer.ack(FROM_QUEUE, tag, multiple),
        }
    }

    /// A delivery of a dead letter.
    fn dead(&mut self, delivery: Delivery) -> Step<()> {
        let (flow, now) = (&mut *self.flow, Instant::now());
        let Some(place) = flow.dead().iter().position(|dead| *dead == delivery.queue) else {
            return wrong(format!("a dead letter for consumer {:?}", delivery.queue));
        };
        // A dead letter is a new message in its queue.
        let arrival = Arrival { place, ordered: false, flagged: None };
        let Some(key) = flow.ledger.deliver(arrival, &delivery.body) else {
            self.consumer.ack(FROM_DEAD, delivery.tag, false);
            return Ok(());
        };
        let death = ["x-first-death-queue", "x-first-death-reason"].map(|name| delivery.text(name));
        let what = flow.paths.in_dead(key, (&flow.queue(), death), now);
        flow.wrong(key, what);
        flow.ledger.findings().letters.one();
        if flow.kind != Kind::Late && flow.dice.chance(1, 10) {
            self.held[1].insert(delivery.tag, (place, key));
        } else {
            self.consumer.ack(FROM_DEAD, delivery.tag, false);
            flow.ledger.settle(place, key, false);
        }
        Ok(())
    }

    /// Settles all that is held.
    fn release(&mut self) {
        if let Some((tag, _)) = self.held[0].last_key_value() {
            self.settle(*tag, (false, true));
        }
        for (tag, (place, key)) in std::mem::take(&mut self.held[1]) {
            self.consumer.ack(FROM_DEAD, tag, false);
            self.flow.ledger.settle(place, key, false);
        }
    }
}

impl Letters {
    /// Publishes the next message.
    fn send(&mut self, publisher: &mut Publisher) {
        // Messages with the same delay keep their order.
        let at = match self.kind {
            Kind::Delayed if self.dice.chance(1, 30) => DELAYS.len() - 1,
            Kind::Delayed | Kind::Late => self.dice.below(DELAYS.len() as u64 - 1) as usize,
            _ => 0,
        };
        let class = if self.kind == Kind::Delayed { at as u8 } else { 0 };
        let (key, body) = self.ledger.send(publisher.stream, class, &mut self.dice);
        let delay = Some(DELAYS[at]).filter(|ms| *ms > 0);
        let (low, high) = EXPIRATIONS;
        let expiration = (self.kind == Kind::Expiring).then(|| self.dice.range(low, high));
        let wait = delay.map(Duration::from_millis);
        let terms = Terms {
            delay: wait.filter(|_| self.kind == Kind::Delayed),
            letter_delay: wait.filter(|_| self.kind == Kind::Late),
            expiration: expiration.map(Duration::from_millis),
        };
        let headers: Vec<_> =
            delay.map(|ms| ("x-delay", Field::Number(ms as i64))).into_iter().collect();
        let exchange = if self.kind == Kind::Delayed { self.exchange() } else { String::new() };
        let address = Address { exchange: &exchange, key: &self.queue(), ..Address::default() };
        let properties = Properties { headers: &headers, expiration, ..Properties::default() };
        self.paths.sent(key, terms, Instant::now());
        publisher.link.publish_with(1, &address, &properties, &body);
        publisher.confirms.published(key);
    }
}
