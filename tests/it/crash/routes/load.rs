//! The clients of a run: AMQP with confirms, AMQP transactions, MQTT 5 at QoS 1, one that deletes a queue, and the
//! reader that empties the queues.

use super::book::{Book, Heard};
use super::model::{Place, Shape};
use super::plan::{Address, ENTRIES, FULL, LATE, MQTT_ENTRIES, Plan, QUEUES, TOPICS, WORDS};
use crate::crash::amqp::{
    self, ACK, BLOCKED, Confirms, Delivery, Event, Field, Link, NACK, Out, RETURN, UNBLOCKED,
};
use crate::crash::dice::Dice;
use crate::crash::flow::{LOST_AFTER, Round};
use crate::crash::mqtt::{Connect, Mqtt, PUBACK, Packet};
use crate::crash::wire::{Step, Stop, rest, wrong};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Messages that a client publishes in a tenth of a second at most, one of these in each life: reading takes time, too.
const RATES: [u64; 3] = [20, 50, 120];
/// When nothing has come for so long, nothing more will.
const QUIET: Duration = Duration::from_millis(120);
const QUIET_AT_LAST: Duration = Duration::from_millis(1000);

#[derive(Debug, Clone, Copy)]
pub enum Client {
    Confirmed,
    Transactions,
    Mqtt(u32),
    Deleter,
}

/// All clients of a run.
pub const CLIENTS: [Client; 6] = [
    Client::Confirmed,
    Client::Confirmed,
    Client::Transactions,
    Client::Mqtt(1),
    Client::Mqtt(2),
    Client::Deleter,
];

pub struct Load<'a> {
    book: &'a Mutex<Book>,
    dice: Dice,
    round: Round,
    start: Instant,
    rate: u64,
    sent: u64,
}

impl<'a> Load<'a> {
    pub fn new(book: &'a Mutex<Book>, mut dice: Dice, round: Round) -> Self {
        let rate = RATES[dice.below(RATES.len() as u64) as usize];
        Self { book, dice, round, start: Instant::now(), rate, sent: 0 }
    }

    /// Whether another message is within the rate.
    fn may_send(&self) -> bool {
        self.sent < self.rate * (1 + self.start.elapsed().as_millis() as u64 / 10) / 10
    }

    pub fn run(mut self, client: Client) -> Step<()> {
        match client {
            Client::Confirmed => self.confirmed(),
            Client::Transactions => self.transactions(),
            Client::Mqtt(number) => self.mqtt(number),
            Client::Deleter => self.delete(),
        }
    }

    fn book<T>(&self, act: impl FnOnce(&mut Book) -> T) -> T {
        act(&mut self.book.lock().expect("no holder panics"))
    }

    fn shape(&mut self, entries: u64, mandatory: bool) -> Shape {
        let dice = &mut self.dice;
        self.sent += 1;
        // What the modules are asked for is mostly to send it on.
        let word = if dice.chance(1, 2) { 0 } else { dice.below(WORDS.len() as u64) as usize };
        Shape {
            entry: dice.below(entries) as usize,
            h: dice.chance(1, 2),
            p: dice.chance(1, 2),
            word: WORDS[word],
            mandatory,
        }
    }

    /// Opens an entry and publishes it by AMQP.
    fn put(&mut self, link: &mut Link, transaction: Option<u32>) -> u32 {
        let mandatory = transaction.is_none() && self.dice.chance(1, 3);
        let shape = self.shape(ENTRIES.len() as u64, mandatory);
        let (id, body) = self.book(|book| {
            let id = book.open(shape.clone(), transaction);
            (id, book.plan.body(shape.word, id))
        });
        let Address { exchange, key } = Address::read(ENTRIES[shape.entry]);
        let key = if exchange.is_empty() { key } else { key.replace('/', ".") };
        let address =
            amqp::Address { exchange: &exchange, key: &key, mandatory, ..Default::default() };
        let headers: Vec<_> = headers(&shape).map(|(k, v)| (k, Field::Text(v.into()))).collect();
        let properties = amqp::Properties { headers: &headers, ..Default::default() };
        link.publish_with(1, &address, &properties, body.as_bytes());
        id
    }

    fn confirmed(&mut self) -> Step<()> {
        let mut link = Link::open(self.round.amqp, 1)?;
        link.confirm_select(1)?;
        let window = self.dice.range(1, 40) as usize;
        let mut confirms = Confirms::new();
        let mut returned: Vec<u32> = Vec::new();
        loop {
            let may = self.may_send() && confirms.open() < window;
            if may {
                confirms.published(self.put(&mut link, None));
            }
            link.wire.pump()?;
            let mut is_idle = !may;
            while let Some(event) = link.next()? {
                is_idle = false;
                let heard = match event.method {
                    RETURN => {
                        returned.extend(id_of(&event.body));
                        continue;
                    }
                    ACK => Heard::Confirmed,
                    NACK => Heard::No,
                    BLOCKED | UNBLOCKED => continue,
                    other => return wrong(format!("publisher got {other:?}")),
                };
                for id in confirms.answered(event.answer())? {
                    let is_returned = returned.contains(&id);
                    let heard = match heard {
                        Heard::Confirmed if is_returned => Heard::Unroutable,
                        heard => heard,
                    };
                    returned.retain(|other| *other != id);
                    self.book(|book| book.heard(id, heard));
                }
            }
            if is_idle {
                rest();
            }
        }
    }

    fn transactions(&mut self) -> Step<()> {
        let mut link = Link::open(self.round.amqp, 1)?;
        link.call(1, Out::method((90, 10)), (90, 11))?;
        loop {
            if !self.may_send() {
                link.wire.pump()?;
                rest();
                continue;
            }
            let transaction = self.book(Book::transaction);
            let count = self.dice.range(1, 4);
            let ids: Vec<u32> =
                (0..count).map(|_| self.put(&mut link, Some(transaction))).collect();
            let is_wish = self.dice.chance(1, 6);
            let method = if is_wish { 30 } else { 20 };
            let answer = link.ask(1, Out::method((90, method)), (90, method + 1))?;
            let committed = answer.is_ok() && !is_wish;
            self.book(|book| book.ended(&ids, committed, is_wish));
            if answer.is_err() {
                // The channel was closed and is a new one.
                link.call(1, Out::method((90, 10)), (90, 11))?;
            }
            while let Some(Event { method, .. }) = link.next()? {
                if !matches!(method, BLOCKED | UNBLOCKED) {
                    return wrong(format!("in a transaction came {method:?}"));
                }
            }
        }
    }

    /// Waits for the kill.
    fn idle(&self, link: &mut Link) -> Step<()> {
        loop {
            link.wire.pump()?;
            rest();
        }
    }

    fn mqtt(&mut self, number: u32) -> Step<()> {
        let name = format!("routes-{number}");
        let options =
            Connect { client: &name, level: 5, lasting: false, receive_maximum: None, will: None };
        let mut client = Mqtt::connect(self.round.mqtt, &options)?;
        let window = self.dice.range(1, 16) as usize;
        let mut open: HashMap<u16, u32> = HashMap::new();
        let mut sent = 0;
        loop {
            let may = self.may_send() && open.len() < window;
            if may {
                sent += 1;
                open.insert(sent, self.put_mqtt(&mut client, sent));
            }
            client.wire.pump()?;
            let mut is_idle = !may;
            while let Some(packet) = client.next()? {
                is_idle = false;
                let Packet::Answer(PUBACK, packet, codes) = packet else {
                    return wrong(format!("publisher got {packet:?}"));
                };
                let Some(id) = open.remove(&packet) else {
                    return wrong(format!("PUBACK for {packet}, which is not open"));
                };
                let heard = match codes.first() {
                    None | Some(0) => Heard::Confirmed,
                    Some(0x10) => Heard::Unroutable,
                    Some(_) => Heard::No,
                };
                self.book(|book| book.heard(id, heard));
            }
            if is_idle {
                rest();
            }
        }
    }

    /// Opens an entry and publishes it by MQTT.
    fn put_mqtt(&mut self, client: &mut Mqtt, packet: u16) -> u32 {
        // Its publishers always hear that nobody got a message.
        let shape = self.shape(MQTT_ENTRIES, true);
        let (id, body) = self.book(|book| {
            let id = book.open(shape.clone(), None);
            (id, book.plan.body(shape.word, id))
        });
        let Address { exchange, key } = Address::read(ENTRIES[shape.entry]);
        let topic = if exchange == TOPICS { key } else { format!("$q/{key}") };
        let headers: Vec<_> = headers(&shape).collect();
        client.publish_with((2, &topic, packet), &headers, body.as_bytes());
        id
    }

    /// In some lives deletes a queue while others publish to it; the next start declares it again.
    fn delete(&mut self) -> Step<()> {
        let mut link = Link::open(self.round.amqp, 1)?;
        if self.dice.chance(2, 3) {
            std::thread::sleep(Duration::from_millis(self.dice.below(600)));
            link.delete(LATE)?;
        }
        self.idle(&mut link)
    }
}

fn headers(shape: &Shape) -> impl Iterator<Item = (&'static str, &'static str)> {
    let h = if shape.h { "1" } else { "0" };
    [("h", h)].into_iter().chain(shape.p.then_some(("p", "9")))
}

/// The number in a body.
fn id_of(body: &[u8]) -> Option<u32> {
    std::str::from_utf8(body).ok()?.split('#').nth(1)?.parse().ok()
}

/// Where a message was found, as its headers tell.
fn place_of(plan: &Plan, delivery: &Delivery) -> Place {
    let after = |name: &str| {
        let at = delivery.header.windows(name.len()).position(|part| part == name.as_bytes())?;
        delivery.header.get(at + name.len()..)
    };
    let marks = (0..plan.routes.len()).filter(|n| after(&format!("\u{4}m_r{n}")).is_some());
    // Behind the name are the value's type and four bytes of length.
    let dead = after("mq.error.route").and_then(|value| value.get(6)?.checked_sub(b'0'));
    let queue = delivery.queue.clone();
    Place { queue, marks: marks.map(|n| 1 << n).sum(), dead: dead.map(usize::from) }
}

/// Empties the queues until everything is there that is owed. `keeps_full`: that queue is left as it is.
pub fn read(book: &Mutex<Book>, round: &Round, keeps_full: bool) -> Step<()> {
    let mut link = Link::open(round.amqp, 1)?;
    link.call(1, Out::method((90, 10)), (90, 11))?;
    let quiet = if round.last { QUIET_AT_LAST } else { QUIET };
    let mut last = Instant::now();
    loop {
        let mut came = false;
        for queue in QUEUES.into_iter().filter(|queue| !keeps_full || *queue != FULL) {
            let all = link.get_all(1, queue)?;
            let Some(newest) = all.last() else { continue };
            came = true;
            link.ack(1, newest.tag, true);
            // Committed: it must never come again.
            link.call(1, Out::method((90, 20)), (90, 21))?;
            let mut book = book.lock().map_err(|_| Stop::Gone)?;
            for delivery in all {
                match id_of(&delivery.body) {
                    Some(id) => {
                        let place = place_of(&book.plan, &delivery);
                        book.found(id, place);
                    }
                    None => return wrong(format!("{queue} has {delivery:?}")),
                }
            }
        }
        if came {
            last = Instant::now();
            continue;
        }
        let mut book = book.lock().map_err(|_| Stop::Gone)?;
        let is_paid = book.owed(keeps_full).is_empty();
        if is_paid && last.elapsed() > quiet {
            return Ok(());
        }
        if last.elapsed() > LOST_AFTER {
            book.write_off(keeps_full);
            return Ok(());
        }
        drop(book);
        rest();
    }
}
