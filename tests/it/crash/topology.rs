//! Queues, exchanges and bindings that are declared and deleted: answered requests hold in the next life. Those that
//! belong to a connection are gone with it.

use super::amqp::{ACK, Address, Link, Out, RETURN};
use super::dice::Dice;
use super::findings::Findings;
use super::flow::{Flow, Round};
use super::wire::{Step, wait, wrong};
use std::collections::BTreeSet;
use std::sync::Arc;

const QUEUES: u64 = 12;
const EXCHANGES: u64 = 3;
/// A durable, exclusive queue.
const EXCLUSIVE: &str = "topology.exclusive";
/// An auto-delete queue.
const AUTO_DELETE: &str = "topology.auto-delete";
const TRANSIENT: &str = "topology.transient";

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Queue(u64),
    Exchange(u64),
    /// Of a queue to an exchange, with the queue's name as the key.
    Binding(u64, u64),
}

/// A request without a reply: the object, and whether it was to be declared or deleted.
type Change = (Thing, bool);

pub struct Topology {
    findings: Arc<Findings>,
    dice: Dice,
    things: BTreeSet<Thing>,
    open: Option<Change>,
    lives: u32,
    /// In the last life the auto-delete queue had a consumer; without one, the queue stays.
    consumed: bool,
    /// Objects that existed after a restart and must not.
    outlived: BTreeSet<&'static str>,
}

fn queue(number: u64) -> String {
    format!("topology.q{number}")
}

fn exchange(number: u64) -> String {
    format!("topology.x{number}")
}

impl Topology {
    pub fn new(findings: Arc<Findings>, dice: &Dice) -> Self {
        Self {
            findings,
            dice: dice.fork(5000),
            things: BTreeSet::new(),
            open: None,
            lives: 0,
            consumed: false,
            outlived: BTreeSet::new(),
        }
    }

    fn found(&self, text: &str) {
        self.findings.report(&format!("AMQP topology: {text}"));
    }

    /// Compares all objects with the answered requests.
    fn check(&mut self, link: &mut Link) -> Step<()> {
        let queues = (0..QUEUES).map(Thing::Queue).chain((0..EXCHANGES).map(Thing::Exchange));
        for thing in queues {
            let there = match &thing {
                Thing::Queue(number) => link.ready(&queue(*number))?.is_some(),
                Thing::Exchange(number) => exists(link, &exchange(*number))?,
                Thing::Binding(..) => continue,
            };
            self.compare(thing, there);
        }
        for number in 0..QUEUES {
            for at in 0..EXCHANGES {
                let ends = [Thing::Queue(number), Thing::Exchange(at)];
                if ends.iter().all(|end| self.things.contains(end)) {
                    let there = is_routed(link, &exchange(at), &queue(number))?;
                    self.compare(Thing::Binding(number, at), there);
                }
            }
            if self.things.contains(&Thing::Queue(number)) {
                link.call(1, Out::method((50, 30)).u16(0).short(&queue(number)).u8(0), (50, 31))?;
            }
        }
        self.open = None;
        for name in [EXCLUSIVE, AUTO_DELETE, TRANSIENT] {
            if link.ready(name)?.is_some() {
                let may_stay = name == AUTO_DELETE && !self.consumed;
                // Reported once in a run, because it would be found again in every life.
                if !may_stay && self.outlived.insert(name) {
                    self.found(&format!("{name} exists after a restart"));
                }
                link.delete(name)?;
            }
        }
        Ok(())
    }

    /// A request without a reply may have taken effect or not.
    fn compare(&mut self, thing: Thing, there: bool) {
        if self.things.contains(&thing) == there {
            return;
        }
        if self.open.as_ref().is_none_or(|(open, make)| *open != thing || *make != there) {
            let what =
                if there { "phantom: deleted or never declared, and it exists" } else { "lost" };
            self.found(&format!("{what}: {thing:?}"));
        }
        self.apply(&thing, there);
    }

    fn apply(&mut self, thing: &Thing, make: bool) {
        if make {
            self.things.insert(thing.clone());
            return;
        }
        self.things.remove(thing);
        // Bindings are deleted with their source or their target.
        self.things.retain(|other| match (other, thing) {
            (Thing::Binding(number, _), Thing::Queue(gone)) => number != gone,
            (Thing::Binding(_, at), Thing::Exchange(gone)) => at != gone,
            _ => true,
        });
    }

    fn change(&mut self, link: &mut Link) -> Step<()> {
        let (number, at) = (self.dice.below(QUEUES), self.dice.below(EXCHANGES));
        let thing = match self.dice.below(8) {
            0..3 => Thing::Queue(number),
            3 => Thing::Exchange(at),
            _ => Thing::Binding(number, at),
        };
        let make = !self.things.contains(&thing);
        if let (Thing::Binding(number, at), true) = (&thing, make) {
            let ends = [Thing::Queue(*number), Thing::Exchange(*at)];
            if !ends.iter().all(|end| self.things.contains(end)) {
                return Ok(());
            }
        }
        self.open = Some((thing.clone(), make));
        match (&thing, make) {
            (Thing::Queue(n), true) => link.declare(&queue(*n), 2, &[])?,
            (Thing::Queue(n), false) => link.delete(&queue(*n))?,
            (Thing::Exchange(n), true) => link.exchange(&exchange(*n), "direct")?,
            (Thing::Exchange(n), false) => {
                link.call(1, Out::method((40, 20)).u16(0).short(&exchange(*n)).u8(0), (40, 21))?;
            }
            (Thing::Binding(n, x), true) => link.bind(&queue(*n), &exchange(*x), &queue(*n))?,
            (Thing::Binding(n, x), false) => {
                let out = Out::method((50, 50)).u16(0).short(&queue(*n)).short(&exchange(*x));
                link.call(1, out.short(&queue(*n)).table(&[]), (50, 51))?;
            }
        }
        self.open = None;
        self.apply(&thing, make);
        self.findings.declared.one();
        Ok(())
    }
}

impl Flow for Topology {
    fn name(&self) -> String {
        "AMQP topology".to_owned()
    }

    fn run(&mut self, round: &Round) -> Step<()> {
        let mut link = Link::open(round.amqp, 2)?;
        link.confirm_select(2)?;
        if self.lives > 0 {
            self.check(&mut link)?;
        }
        self.lives += 1;
        self.consumed = false;
        // durable 2, exclusive 4, auto-delete 8
        link.declare(EXCLUSIVE, 2 | 4, &[])?;
        link.declare(AUTO_DELETE, 2 | 8, &[])?;
        link.consume(1, AUTO_DELETE)?;
        self.consumed = true;
        link.declare(TRANSIENT, 0, &[])?;
        if round.last {
            return Ok(());
        }
        loop {
            self.change(&mut link)?;
            std::thread::sleep(std::time::Duration::from_micros(self.dice.below(3000)));
        }
    }
}

fn exists(link: &mut Link, name: &str) -> Step<bool> {
    let out = Out::method((40, 10)).u16(0).short(name).short("direct").u8(1).table(&[]);
    match link.ask(1, out, (40, 11))? {
        Ok(_) => Ok(true),
        Err((404, _)) => Ok(false),
        Err((code, text)) => wrong(format!("exchange {name}: {code} {text}")),
    }
}

/// Whether a publish reaches a queue: a mandatory one is returned otherwise.
fn is_routed(link: &mut Link, exchange: &str, key: &str) -> Step<bool> {
    link.publish(2, &Address { exchange, key, mandatory: true, priority: None }, b"probe");
    let mut routed = true;
    wait("confirm of a probe", || {
        while let Some(event) = link.next()? {
            match event.method {
                RETURN => routed = false,
                ACK => return Ok(Some(())),
                other => return wrong(format!("instead of a confirm: {other:?}")),
            }
        }
        Ok(None)
    })?;
    Ok(routed)
}
