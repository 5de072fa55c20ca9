//! Retained values that are set, changed and cleared; and wills: of a client that is cut off by a kill, of one that is
//! taken over by a connection of the same name, of one that reconnects in time, and of one that disconnects properly.
//! Only the first two are owed, the second at once.

use super::dice::Dice;
use super::flow::{Books, Flow, Round, until_quiet};
use super::ledger::{Arrival, Key, Ledger};
use super::mqtt::{Connect, Message, Mqtt, PUBACK, Packet, Will};
use super::wire::{Step, rest, wait, wrong};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const TOPICS: u64 = 8;
/// Retained values come at once; one that has not come within this time is lost.
const VALUES_TIME: Duration = Duration::from_secs(5);
const VALUES_QUIET: Duration = Duration::from_millis(150);
/// One hour, in seconds: longer than any client of the run is disconnected.
const DELAY: u32 = 3600;
/// The will of a connection that was taken over comes at once; one that has not come within this time is lost.
const TAKEOVER_TIME: Duration = Duration::from_secs(10);
/// After a crash the owner of a will has 30 s to come back, whatever its delay is.
const WILLS_TIME: Duration = Duration::from_secs(45);

/// A retained value, or none.
type Value = Option<Key>;

pub struct Values {
    ledger: Ledger,
    dice: Dice,
    /// Acknowledged value by topic.
    answered: BTreeMap<u64, Value>,
    /// The publish without an acknowledgement.
    open: Option<(u64, Value)>,
}

fn connect(round: &Round, client: &str) -> Step<Mqtt> {
    let options = Connect { client, level: 4, lasting: false, receive_maximum: None, will: None };
    Mqtt::connect(round.mqtt, &options)
}

/// Publishes with QoS 1 and waits for the answer.
fn publish(mqtt: &mut Mqtt, retain: bool, topic: &str, body: &[u8]) -> Step<()> {
    mqtt.publish(2 | u8::from(retain), topic, 1, body);
    wait("PUBACK", || match mqtt.next()? {
        Some(Packet::Answer(PUBACK, 1, _)) => Ok(Some(())),
        Some(other) => wrong(format!("instead of a PUBACK: {other:?}")),
        None => Ok(None),
    })
}

impl Values {
    pub fn new(books: &mut Books, dice: &Dice) -> Self {
        let ledger = books.open("MQTT retained values", 1, 1);
        Self { ledger, dice: dice.fork(7000), answered: BTreeMap::new(), open: None }
    }

    /// A new subscriber must get exactly the retained values.
    fn check(&mut self, round: &Round) -> Step<()> {
        let mut reader = connect(round, "values-reader")?;
        let mut found = BTreeMap::new();
        for message in reader.subscribe("values/#", 1)? {
            self.note(&mut reader, message, &mut found);
        }
        let (start, mut last) = (Instant::now(), Instant::now());
        let mut differ = self.differences(&found);
        while last.elapsed() < VALUES_QUIET || (!differ.is_empty() && start.elapsed() < VALUES_TIME)
        {
            match reader.next()? {
                Some(Packet::Message(message)) => {
                    self.note(&mut reader, message, &mut found);
                    differ = self.differences(&found);
                    last = Instant::now();
                }
                Some(other) => return wrong(format!("reader got {other:?}")),
                None => rest(),
            }
        }
        for topic in &differ {
            let (expected, open) = (self.answered.get(topic), &self.open);
            let text = format!(
                "values/{topic} is {:?}, answered was {expected:?}, open {open:?}",
                found.get(topic)
            );
            self.ledger.found(&text);
        }
        self.answered = found.into_iter().map(|(topic, key)| (topic, Some(key))).collect();
        self.open = None;
        Ok(())
    }

    fn note(&mut self, reader: &mut Mqtt, message: Message, found: &mut BTreeMap<u64, Key>) {
        reader.answer(PUBACK, message.id);
        let topic = message.topic.rsplit('/').next().and_then(|word| word.parse().ok());
        let arrival = Arrival { place: 0, ordered: false, flagged: None };
        let key = self.ledger.deliver(arrival, &message.body);
        match (topic, key, message.retain) {
            (Some(topic), Some(key), true) => {
                if found.insert(topic, key).is_some() {
                    self.ledger.found(&format!("two values of {}", message.topic));
                }
            }
            _ => {
                self.ledger.found(&format!("{} came with RETAIN {}", message.topic, message.retain))
            }
        }
    }

    /// Topics whose value is neither the acknowledged one nor the one of the open publish.
    fn differences(&self, found: &BTreeMap<u64, Key>) -> Vec<u64> {
        let is_wrong = |topic: &u64| {
            let value = found.get(topic).copied();
            let answered = self.answered.get(topic).copied().flatten();
            value != answered && self.open != Some((*topic, value))
        };
        (0..TOPICS).filter(is_wrong).collect()
    }
}

impl Flow for Values {
    fn name(&self) -> String {
        "MQTT retained values".to_owned()
    }

    fn run(&mut self, round: &Round) -> Step<()> {
        self.ledger.begin(round.life);
        self.check(round)?;
        let mut setter = connect(round, "values-setter")?;
        if round.last {
            return Ok(());
        }
        loop {
            let topic = self.dice.below(TOPICS);
            let (value, body) = match self.dice.chance(1, 5) {
                true => (None, Vec::new()),
                false => {
                    let (key, body) = self.ledger.send(0, 0, &mut self.dice);
                    (Some(key), body)
                }
            };
            self.open = Some((topic, value));
            publish(&mut setter, true, &format!("values/{topic}"), &body)?;
            self.open = None;
            self.answered.insert(topic, value);
            self.ledger.findings().values.one();
        }
    }
}

/// Streams of the wills.
const DUE: usize = 0;
const NOT_DUE: usize = 1;
/// The watcher's queue.
const DUE_PLACE: usize = 0;

pub struct Wills {
    ledger: Ledger,
    dice: Dice,
    known: bool,
    subscribed: bool,
    /// Wills of clients that sent DISCONNECT, until a later acknowledgement shows that this was stored.
    goodbyes: Vec<Key>,
}

impl Wills {
    pub fn new(books: &mut Books, dice: &Dice) -> Self {
        let ledger = books.open("MQTT wills", 2, 1);
        Self {
            ledger,
            dice: dice.fork(8000),
            known: false,
            subscribed: false,
            goodbyes: Vec::new(),
        }
    }

    /// Connects with a new will.
    fn testator(
        &mut self,
        round: &Round,
        client: &str,
        stream: usize,
        delay: u32,
    ) -> Step<(Mqtt, Key)> {
        let (key, body) = self.ledger.send(stream, 0, &mut self.dice);
        let topic = format!("wills/{client}");
        let will = Some(Will { topic: &topic, body: &body, delay });
        // A client that never reconnects must leave no session.
        let options =
            Connect { client, level: 5, lasting: stream == NOT_DUE, receive_maximum: None, will };
        Ok((Mqtt::connect(round.mqtt, &options)?, key))
    }

    /// Waits for the wills of clients that did not reconnect.
    fn wait_for_the_owed(&mut self, watcher: &mut Mqtt) -> Step<()> {
        let until = Instant::now() + WILLS_TIME;
        while self.ledger.owed(DUE_PLACE) > 0 && Instant::now() < until {
            if !self.watch(watcher)? {
                rest();
            }
        }
        if self.ledger.owed(DUE_PLACE) > 0 {
            self.ledger.write_off("its client was away for longer than the time to come back");
        }
        Ok(())
    }

    fn watch(&mut self, watcher: &mut Mqtt) -> Step<bool> {
        let mut happened = false;
        while let Some(packet) = watcher.next()? {
            let Packet::Message(message) = packet else {
                return wrong(format!("watcher got {packet:?}"));
            };
            let arrival = Arrival { place: 0, ordered: false, flagged: Some(message.duplicate) };
            if let Some(key) = self.ledger.deliver(arrival, &message.body) {
                self.ledger.settle(0, key, false);
                self.ledger.findings().wills.one();
            }
            watcher.answer(PUBACK, message.id);
            watcher.wire.pump()?;
            happened = true;
        }
        Ok(happened)
    }

    /// A connection takes over from one with a will, which is due then: what the new one publishes is stored after it.
    fn take_over(
        &mut self,
        round: &Round,
        (taken, key): (Mqtt, Key),
        watcher: &mut Mqtt,
    ) -> Step<(Mqtt, Key)> {
        let client = format!("taken-{}", round.life);
        let (mut mqtt, new) = self.testator(round, &client, DUE, 0)?;
        self.ledger.confirm(new);
        publish(&mut mqtt, false, "elsewhere", b"x")?;
        drop(taken);
        let until = Instant::now() + TAKEOVER_TIME;
        while !self.ledger.is_seen(DUE_PLACE, key) && Instant::now() < until {
            if !self.watch(watcher)? {
                rest();
            }
        }
        if !self.ledger.is_seen(DUE_PLACE, key) {
            self.ledger.found("lost: the will of a connection that was taken over");
        }
        Ok((mqtt, new))
    }

    /// A client that sends DISCONNECT: its will is discarded.
    fn goodbye(&mut self, round: &Round) -> Step<()> {
        let (mqtt, key) = self.testator(round, "leaver", NOT_DUE, 0)?;
        mqtt.disconnect()?;
        self.goodbyes.push(key);
        Ok(())
    }
}

impl Flow for Wills {
    fn name(&self) -> String {
        "MQTT wills".to_owned()
    }

    fn run(&mut self, round: &Round) -> Step<()> {
        self.ledger.begin(round.life);
        // Sent shortly before a crash, so it may be lost.
        self.goodbyes.clear();
        let options = Connect {
            client: "watcher",
            level: 4,
            lasting: true,
            receive_maximum: None,
            will: None,
        };
        let mut watcher = Mqtt::connect(round.mqtt, &options)?;
        if self.known && !watcher.session_present {
            self.ledger.found("lost: the session of the watcher");
        }
        self.known = true;
        if !self.subscribed {
            watcher.subscribe("wills/#", 1)?;
            self.subscribed = true;
        }
        // The will of a client that reconnected in time must not come.
        let returner = match round.last {
            true => None,
            false => Some(self.testator(round, "returner", NOT_DUE, DELAY)?),
        };
        if let Some((_, key)) = returner {
            self.ledger.refuse(key);
        }
        if round.last && round.patient {
            self.wait_for_the_owed(&mut watcher)?;
        }
        if round.last {
            return until_quiet(|| self.watch(&mut watcher));
        }
        let (owing, key) = self.testator(round, &format!("owing-{}", round.life), DUE, 0)?;
        self.ledger.confirm(key);
        let mut taken = self.testator(round, &format!("taken-{}", round.life), DUE, 0)?;
        self.ledger.confirm(taken.1);
        let mut other = connect(round, "wills-other")?;
        loop {
            taken = self.take_over(round, taken, &mut watcher)?;
            self.goodbye(round)?;
            publish(&mut other, false, "elsewhere", b"x")?;
            // This was stored after the DISCONNECTs, so they are stored, too.
            for key in std::mem::take(&mut self.goodbyes) {
                self.ledger.refuse(key);
            }
            for _ in 0..5 {
                self.watch(&mut watcher)?;
                std::thread::sleep(Duration::from_millis(2));
            }
            if owing.wire.waiting() > 0 {
                return wrong("a client with a will must not receive anything");
            }
        }
    }
}
