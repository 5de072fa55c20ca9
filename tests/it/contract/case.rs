//! A line of the table: what is sent, and what has to be seen.

use super::amqp::Amqp;
use super::peer::{Peer, Wire};
use super::said::Said;
use crate::broker::Broker;
use std::time::{Duration, SystemTime};

/// Names and values; `{n}` is replaced by a name of this case alone, `{now}` and `{now+5}` by milliseconds.
pub type Pairs = &'static [(&'static str, &'static str)];

/// Why a script ended early: what the broker said instead of what was expected.
pub type Seen = Result<Said, String>;

/// How long a case waits for a message that has to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits for one that must not come.
const QUIET: Duration = Duration::from_millis(400);

#[derive(Clone, Copy)]
pub struct Case {
    /// Ids on the page, with blanks between them.
    pub cells: &'static str,
    pub from: Wire,
    pub to: Wire,
    pub doing: Doing,
    pub want: Pairs,
    /// It does not work yet: what is seen instead.
    pub planned: Option<Pairs>,
}

#[derive(Clone, Copy)]
pub enum Doing {
    /// One message, sent and received.
    Message(Letter),
    /// Something else; what it is in a few words.
    Script(&'static str, fn(&Scene<'_>) -> Seen),
}

#[derive(Clone, Copy)]
pub struct Letter {
    /// What an AMQP client prepares: `queue …`, `exchange …`, `bind …`.
    given: &'static [&'static str],
    send: Pairs,
    /// Where the reader subscribes; none: to the topic or queue of this case.
    at: Option<&'static str>,
    /// Through a queue; else through the topic tree.
    queue: bool,
}

/// A message from topic to topic.
pub const fn case(cells: &'static str, from: Wire, to: Wire, send: Pairs, want: Pairs) -> Case {
    let letter = Letter { given: &[], send, at: None, queue: false };
    Case { cells, from, to, doing: Doing::Message(letter), want, planned: None }
}

/// Anything else.
pub const fn script(
    (cells, from, to): (&'static str, Wire, Wire),
    what: &'static str,
    run: fn(&Scene<'_>) -> Seen,
    want: Pairs,
) -> Case {
    Case { cells, from, to, doing: Doing::Script(what, run), want, planned: None }
}

impl Case {
    const fn letter(self) -> Letter {
        match self.doing {
            Doing::Message(letter) => letter,
            Doing::Script(..) => panic!("a script prepares itself"),
        }
    }

    pub const fn given(self, given: &'static [&'static str]) -> Self {
        Self { doing: Doing::Message(Letter { given, ..self.letter() }), ..self }
    }

    pub const fn at(self, at: &'static str) -> Self {
        Self { doing: Doing::Message(Letter { at: Some(at), ..self.letter() }), ..self }
    }

    /// Through a queue that is declared first.
    pub const fn through_queue(self) -> Self {
        Self { doing: Doing::Message(Letter { queue: true, ..self.letter() }), ..self }
    }

    /// It does not work yet; `today` is what is seen instead.
    pub const fn planned(self, today: Pairs) -> Self {
        Self { planned: Some(today), ..self }
    }

    /// What is expected of the program as it is.
    fn expected(&self) -> Pairs {
        self.planned.unwrap_or(self.want)
    }

    /// How it reads in a report.
    pub fn title(&self) -> String {
        let what = match self.doing {
            Doing::Message(letter) => {
                let sent = letter.send.iter().map(|(name, value)| format!("{name}={value}"));
                sent.collect::<Vec<_>>().join(" ")
            }
            Doing::Script(what, _) => what.to_owned(),
        };
        format!("⟨{}⟩ {} → {}: {what}", self.cells, self.from.name(), self.to.name())
    }

    /// Plays it; what is not as it should be.
    pub fn run(&self, scene: &Scene<'_>) -> Vec<String> {
        let seen = match self.doing {
            Doing::Message(letter) => self.exchange(letter, scene),
            Doing::Script(_, run) => run(scene),
        };
        match seen {
            Ok(seen)
                if self.planned.is_some() && seen.unlike(&scene.said(self.want)).is_empty() =>
            {
                vec!["planned, but it works: take the mark off here and on the page".to_owned()]
            }
            Ok(seen) => seen.unlike(&scene.said(self.expected())),
            Err(why) => vec![format!("it came to an end early: {why}")],
        }
    }

    fn exchange(&self, letter: Letter, scene: &Scene<'_>) -> Seen {
        if letter.queue {
            scene.prepare("queue q{n} durable")?;
        }
        for line in letter.given {
            scene.prepare(line)?;
        }
        let mut reader = scene.peer(self.to)?;
        let at = letter.at.unwrap_or(match (self.to, letter.queue) {
            (Wire::A, true) => "queue q{n}",
            (Wire::A, false) => "amq.topic t.{n}",
            (Wire::M3 | Wire::M5, true) => "$q/q{n}",
            (Wire::M3 | Wire::M5, false) => "t/{n} qos=2 rap",
            (_, true) => "/amq/queue/q{n}",
            (_, false) => "/topic/t.{n}",
        });
        if at != "nowhere" {
            reader.subscribe(&at_level(scene.fill(at), self.to))?;
        }
        let mut said = scene.said(letter.send);
        address(&mut said, self.from, letter.queue, scene);
        let outcome = scene.peer(self.from)?.publish(&said);
        let nothing = self.expected().contains(&("received", "nothing"));
        let time = if nothing { QUIET } else { PATIENCE };
        let received = if at == "nowhere" { None } else { reader.receive(time)? };
        let may_miss =
            at == "nowhere" || self.expected().iter().any(|(name, _)| *name == "received");
        if received.is_none() && !may_miss {
            return Err(format!("no message came, the sender saw: {outcome}"));
        }
        let mut seen = received.clone().unwrap_or_default();
        seen.put("received", if received.is_some() { "a message" } else { "nothing" });
        seen.put("sender", outcome);
        Ok(seen)
    }
}

/// MQTT 3.1.1 has no options of a subscription but the QoS.
fn at_level(at: String, wire: Wire) -> String {
    if wire == Wire::M3 { at.replace(" rap", "") } else { at }
}

/// Where it goes, when the case does not say so.
fn address(said: &mut Said, from: Wire, queue: bool, scene: &Scene<'_>) {
    let (name, value) = match (from, queue) {
        (Wire::A, _) => ("key", if queue { "q{n}" } else { "t.{n}" }),
        (Wire::M3 | Wire::M5, _) => ("topic", if queue { "$q/q{n}" } else { "t/{n}" }),
        (_, _) => ("destination", if queue { "/queue/q{n}" } else { "/topic/t.{n}" }),
    };
    if said.get(name).is_none() {
        said.0.insert(0, (name.to_owned(), scene.fill(value)));
    }
    if from == Wire::A && !queue && said.get("exchange").is_none() {
        said.put("exchange", "amq.topic");
    }
}

/// Where a case is played: the broker, and names that are this case's alone.
pub struct Scene<'a> {
    pub broker: &'a Broker,
    name: String,
    now: u64,
    pub from: Wire,
    pub to: Wire,
    clients: std::cell::Cell<u32>,
}

impl<'a> Scene<'a> {
    pub fn new(broker: &'a Broker, number: usize, case: &Case) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        Self {
            broker,
            name: format!("c{number}"),
            now: now.as_millis() as u64,
            from: case.from,
            to: case.to,
            clients: std::cell::Cell::new(0),
        }
    }

    /// A text of the table with its braces replaced.
    pub fn fill(&self, text: &str) -> String {
        let mut text = text.replace("{n}", &self.name).replace("{now}", &self.now.to_string());
        while let Some((before, rest)) = text.split_once("{now+") {
            let (later, after) = rest.split_once('}').expect("a closing brace");
            let later: u64 = later.parse().expect("milliseconds");
            text = format!("{before}{}{after}", self.now + later);
        }
        text
    }

    pub fn said(&self, pairs: &[(&str, &str)]) -> Said {
        Said(pairs.iter().map(|(name, value)| (self.fill(name), self.fill(value))).collect())
    }

    /// A connection of a client with a name of its own.
    pub fn peer(&self, wire: Wire) -> Result<Peer, String> {
        self.clients.set(self.clients.get() + 1);
        let client = format!("{}-{}", self.name, self.clients.get());
        Peer::connect(wire, self.broker, &client, &[])
    }

    /// A connection of the client that is named; for MQTT `words` are its options.
    pub fn client(&self, wire: Wire, client: &str, words: &[&str]) -> Result<Peer, String> {
        Peer::connect(wire, self.broker, &self.fill(client), words)
    }

    pub fn amqp(&self) -> Result<Amqp, String> {
        Amqp::connect(self.broker.amqp)
    }

    /// A subscriber.
    pub fn reader(&self, wire: Wire, at: &str) -> Result<Peer, String> {
        let mut reader = self.peer(wire)?;
        reader.subscribe(&self.fill(at))?;
        Ok(reader)
    }

    /// Publishes by a connection of its own; the answer.
    pub fn publish(&self, wire: Wire, pairs: &[(&str, &str)]) -> Result<String, String> {
        Ok(self.peer(wire)?.publish(&self.said(pairs)))
    }

    /// One line of what a case is given.
    pub fn prepare(&self, line: &str) -> Result<(), String> {
        let line = self.fill(line);
        let words: Vec<&str> = line.split(' ').collect();
        let mut amqp = self.amqp()?;
        match words.as_slice() {
            ["queue", name, rest @ ..] => amqp.queue(name, rest).map(drop),
            ["exchange", name, kind, rest @ ..] => amqp.exchange(name, kind, rest),
            ["bind", queue, exchange, key, rest @ ..] => amqp.bind(queue, exchange, key, rest),
            ["chain", target, source, key] => amqp.chain(target, source, key),
            other => panic!("{other:?} cannot be prepared"),
        }
    }

    /// How many messages are ready in a queue, or that there is none.
    pub fn waiting(&self, queue: &str) -> String {
        let looked = self.amqp().and_then(|mut amqp| amqp.queue(&self.fill(queue), &["passive"]));
        looked.map_or_else(|why| why, |(_, count)| count.to_string())
    }
}

/// The next message within a case's patience, or an error that says that there is none.
pub fn next(peer: &mut Peer) -> Result<Said, String> {
    peer.receive(PATIENCE)?.ok_or_else(|| "no message came".to_owned())
}

/// Whether nothing comes for a moment.
pub fn quiet(peer: &mut Peer) -> Result<bool, String> {
    Ok(peer.receive(QUIET)?.is_none())
}
