//! MQTT sessions that survive crashes: publishers that continue their unfinished handshakes, and a subscriber that
//! does the same, of topics, in a group (`$share`), and of a queue (`$q`). With QoS 2 each message is delivered exactly
//! once, whenever the broker is killed.

use super::dice::Dice;
use super::flow::{BACKLOG, Books, Flow, Round, until_paid, until_quiet};
use super::ledger::{Arrival, Key, Ledger};
use super::mqtt::{Connect, Message, Mqtt, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet};
use super::wire::{Step, rest, wrong};
use std::collections::{HashMap, VecDeque};

/// Largest number of unfinished handshakes of one publisher.
const WINDOW: u64 = 24;
/// MQTT 5: packet identifier not found. A broker may answer so for a handshake that it has finished.
const NOT_FOUND: u8 = 0x92;

/// An unfinished handshake of a publisher.
#[derive(Debug)]
struct Handshake {
    id: u16,
    key: Key,
    body: Vec<u8>,
    /// PUBREC was received.
    received: bool,
}

/// The session state of a publisher.
#[derive(Debug, Default)]
struct Outbound {
    /// A CONNACK was received, so the session exists.
    known: bool,
    last_id: u16,
    open: VecDeque<Handshake>,
}

/// The session state of the subscriber.
#[derive(Debug, Default)]
struct Inbound {
    known: bool,
    subscribed: bool,
    /// QoS 2: packet ids between PUBLISH and PUBREL.
    received: HashMap<u16, Key>,
}

/// Where the subscriber gets its messages from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Own,
    Group,
    Queue,
}

pub struct Sessions {
    name: String,
    source: Source,
    qos: u8,
    /// MQTT levels of the publishers and of the subscriber.
    levels: (u8, u8),
    ledger: Ledger,
    dice: Dice,
    publishers: Vec<Outbound>,
    subscriber: Inbound,
}

impl Sessions {
    pub fn all(books: &mut Books, dice: &Dice) -> Vec<Box<dyn Flow>> {
        use Source::{Group, Own, Queue};
        let kinds = [
            (Own, 1, (4, 5)),
            (Own, 1, (5, 4)),
            (Own, 2, (4, 4)),
            (Own, 2, (5, 5)),
            (Group, 1, (4, 5)),
            (Group, 2, (5, 4)),
            (Queue, 2, (4, 5)),
        ];
        let flow = |(source, qos, levels): (Source, u8, (u8, u8))| {
            let letter = match source {
                Own => 's',
                Group => 'g',
                Queue => 'q',
            };
            let name = format!("{letter}{qos}{}{}", levels.0, levels.1);
            let mut ledger = books.open(&format!("MQTT QoS {qos} {name}"), 2, 1);
            ledger.once = qos == 2;
            let publishers = vec![Outbound::default(), Outbound::default()];
            let (dice, subscriber) = (
                dice.fork(6000 + u64::from(letter) * 1000 + u64::from(qos * 100 + levels.0)),
                Inbound::default(),
            );
            Box::new(Self { name, source, qos, levels, ledger, dice, publishers, subscriber })
                as Box<dyn Flow>
        };
        kinds.into_iter().map(flow).collect()
    }

    fn connect(&mut self, round: &Round, (client, level): (&str, u8), known: bool) -> Step<Mqtt> {
        let receive_maximum = (level == 5).then(|| self.dice.range(1, 60) as u16);
        let options = Connect { client, level, lasting: true, receive_maximum, will: None };
        let mqtt = Mqtt::connect(round.mqtt, &options)?;
        if known && !mqtt.session_present {
            self.ledger.found(&format!("lost: the session of {client}"));
        }
        Ok(mqtt)
    }
}

impl Flow for Sessions {
    fn name(&self) -> String {
        format!("MQTT QoS {} {}", self.qos, self.name)
    }

    fn run(&mut self, round: &Round) -> Step<()> {
        self.ledger.begin(round.life);
        let away = self.subscriber.subscribed && !round.last && self.dice.chance(1, 5);
        let name = format!("{}-subscriber", self.name);
        let subscriber = match away {
            true => None,
            false => Some(self.connect(round, (&name, self.levels.1), self.subscriber.known)?),
        };
        let mut load = Load {
            flow: self,
            subscriber,
            publishers: Vec::new(),
            held: Vec::new(),
            publish: false,
            window: 0,
        };
        load.subscribe()?;
        for at in 0..load.flow.publishers.len() {
            load.resume(round, at)?;
        }
        let drains = !away && (round.last || load.flow.dice.chance(1, 2));
        if drains && !until_paid(&mut load, Load::unpaid, Load::turn)? {
            load.flow.ledger.write_off("the session's queue was drained");
        }
        if round.last {
            until_quiet(|| load.turn())?;
        }
        load.publish = true;
        load.window = load.flow.dice.range(1, WINDOW) as usize;
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

struct Load<'a> {
    flow: &'a mut Sessions,
    subscriber: Option<Mqtt>,
    publishers: Vec<Mqtt>,
    /// Answers that the subscriber has not sent yet.
    held: Vec<(u8, u16, Key)>,
    publish: bool,
    window: usize,
}

impl Load<'_> {
    /// Number of messages owed to the subscriber, and of unfinished handshakes of the publishers.
    fn unpaid(&self) -> usize {
        let open: usize = self.flow.publishers.iter().map(|publisher| publisher.open.len()).sum();
        self.flow.ledger.owed(0) + open
    }

    fn subscribe(&mut self) -> Step<()> {
        let Some(mqtt) = &mut self.subscriber else { return Ok(()) };
        self.flow.subscriber.known = true;
        if !self.flow.subscriber.subscribed {
            let name = &self.flow.name;
            let filter = match self.flow.source {
                Source::Own => format!("{name}/#"),
                Source::Group => format!("$share/group/{name}/#"),
                Source::Queue => format!("$q/{name}"),
            };
            mqtt.subscribe(&filter, self.flow.qos)?;
            self.flow.subscriber.subscribed = true;
        }
        Ok(())
    }

    /// Connects a publisher, which sends the packets of all unfinished handshakes again.
    fn resume(&mut self, round: &Round, at: usize) -> Step<()> {
        let name = format!("{}-publisher-{at}", self.flow.name);
        let known = self.flow.publishers[at].known;
        let mut mqtt = self.flow.connect(round, (&name, self.flow.levels.0), known)?;
        let (topic, qos) = (self.topic(at), self.flow.qos);
        let publisher = &mut self.flow.publishers[at];
        publisher.known = true;
        for handshake in &publisher.open {
            if handshake.received {
                mqtt.answer(PUBREL, handshake.id);
                continue;
            }
            mqtt.publish(8 | (qos << 1), &topic, handshake.id, &handshake.body);
            if qos == 1 {
                self.flow.ledger.send_again(handshake.key);
            }
        }
        self.publishers.push(mqtt);
        Ok(())
    }

    fn topic(&self, at: usize) -> String {
        match self.flow.source {
            Source::Queue => format!("$q/{}", self.flow.name),
            Source::Own | Source::Group => format!("{}/from/{at}", self.flow.name),
        }
    }

    fn turn(&mut self) -> Step<bool> {
        let mut happened = false;
        for at in 0..self.publishers.len() {
            happened |= self.publish(at)?;
            while let Some(packet) = self.publishers[at].next()? {
                self.answered(at, packet)?;
                happened = true;
            }
        }
        loop {
            let Some(mqtt) = &mut self.subscriber else { return Ok(happened) };
            let Some(packet) = mqtt.next()? else { break };
            match packet {
                Packet::Message(message) => self.message(message)?,
                Packet::Answer(PUBREL, id, _) => self.released(id),
                other => return wrong(format!("subscriber got {other:?}")),
            }
            happened = true;
        }
        if !self.held.is_empty() && (!self.publish || self.flow.dice.chance(1, 12)) {
            for (kind, id, key) in std::mem::take(&mut self.held) {
                self.say(kind, id, key);
            }
        }
        if let Some(mqtt) = &mut self.subscriber {
            mqtt.wire.pump()?;
        }
        Ok(happened)
    }

    fn publish(&mut self, at: usize) -> Step<bool> {
        let mut happened = false;
        let (topic, qos) = (self.topic(at), self.flow.qos);
        for _ in 0..8 {
            let full = self.flow.publishers[at].open.len() >= self.window;
            let waiting = self.publishers[at].wire.waiting() > 1 << 20;
            if !self.publish || full || waiting || self.flow.ledger.owed(0) >= BACKLOG {
                break;
            }
            let flow = &mut *self.flow;
            let (key, body) = flow.ledger.send(at, 0, &mut flow.dice);
            let publisher = &mut flow.publishers[at];
            loop {
                publisher.last_id = publisher.last_id.checked_add(1).unwrap_or(1);
                if publisher.open.iter().all(|handshake| handshake.id != publisher.last_id) {
                    break;
                }
            }
            let id = publisher.last_id;
            self.publishers[at].publish(qos << 1, &topic, id, &body);
            publisher.open.push_back(Handshake { id, key, body, received: false });
            happened = true;
        }
        self.publishers[at].wire.pump()?;
        Ok(happened)
    }

    /// Handles an answer to a publisher.
    fn answered(&mut self, at: usize, packet: Packet) -> Step<()> {
        let Packet::Answer(kind, id, codes) = packet else {
            return wrong(format!("publisher got {packet:?}"));
        };
        let code = codes.first().copied().unwrap_or(0);
        let publisher = &mut self.flow.publishers[at];
        let Some(place) = publisher.open.iter().position(|handshake| handshake.id == id) else {
            return wrong(format!("answer {kind} to packet {id}, which is not open"));
        };
        let (key, received) = (publisher.open[place].key, publisher.open[place].received);
        match (kind, self.flow.qos, received) {
            (PUBACK, 1, _) if code < 0x80 => {
                publisher.open.remove(place);
                self.flow.ledger.confirm(key);
            }
            (PUBREC, 2, false) if code < 0x80 => {
                publisher.open[place].received = true;
                self.publishers[at].answer(PUBREL, id);
                self.flow.ledger.confirm(key);
            }
            (PUBCOMP, 2, true) if code == 0 || code == NOT_FOUND => {
                publisher.open.remove(place);
                self.flow.ledger.findings().handshakes.one();
            }
            _ => return wrong(format!("answer {kind} with {codes:?} to packet {id} ({received})")),
        }
        Ok(())
    }

    fn message(&mut self, message: Message) -> Step<()> {
        let flow = &mut *self.flow;
        if message.qos != flow.qos {
            return wrong(format!("a message with QoS {}", message.qos));
        }
        if let Some(key) = flow.subscriber.received.get(&message.id).copied() {
            // The same packet again counts once. MQTT 3.1.1 [MQTT-4.3.3-2], MQTT 5 [MQTT-4.3.3-10]
            let same =
                super::body::read(&message.body).is_ok_and(|label| label.number == key.number);
            if !same || !message.duplicate {
                let text = format!(
                    "packet {} again, {key:?}: same {same}, DUP {}",
                    message.id, message.duplicate
                );
                flow.ledger.found(&text);
            }
            self.say(PUBREC, message.id, key);
            return Ok(());
        }
        // From a group it comes in another packet.
        let is_same_packet = flow.qos == 1 && flow.source == Source::Own;
        let flagged = is_same_packet.then_some(message.duplicate);
        let arrival = Arrival { place: 0, ordered: true, flagged };
        let Some(key) = flow.ledger.deliver(arrival, &message.body) else {
            return wrong("a message of another flow");
        };
        let kind = if flow.qos == 1 { PUBACK } else { PUBREC };
        if flow.qos == 2 {
            flow.subscriber.received.insert(message.id, key);
        }
        self.now_or_later(kind, message.id, key);
        Ok(())
    }

    fn released(&mut self, id: u16) {
        // Not known any more: it was released before, and the PUBCOMP was lost.
        let Some(key) = self.flow.subscriber.received.remove(&id) else {
            if let Some(mqtt) = &mut self.subscriber {
                mqtt.answer(PUBCOMP, id);
            }
            return;
        };
        self.flow.ledger.settle(0, key, true);
        self.now_or_later(PUBCOMP, id, key);
    }

    fn now_or_later(&mut self, kind: u8, id: u16, key: Key) {
        match self.flow.dice.chance(1, 6) {
            true => self.held.push((kind, id, key)),
            false => self.say(kind, id, key),
        }
    }

    fn say(&mut self, kind: u8, id: u16, key: Key) {
        let Some(mqtt) = &mut self.subscriber else { return };
        mqtt.answer(kind, id);
        if kind == PUBACK {
            self.flow.ledger.settle(0, key, false);
        }
    }
}
