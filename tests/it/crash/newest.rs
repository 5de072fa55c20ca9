//! A queue with `x-max-length` and drop-head. It may drop old messages, so they are not owed; it must keep the newest
//! confirmed messages, up to its length.

use super::amqp::{ACK, Address, BLOCKED, Confirms, Field, Link, UNBLOCKED};
use super::dice::Dice;
use super::flow::{Books, Flow, Round};
use super::ledger::{Arrival, Key, Ledger};
use super::wire::{Step, rest, wait, wrong};
use std::collections::BTreeSet;

const QUEUE: &str = "newest";
const LENGTH: usize = 50;

pub struct Newest {
    ledger: Ledger,
    dice: Dice,
}

impl Newest {
    pub fn new(books: &mut Books, dice: &Dice) -> Self {
        Self { ledger: books.open("AMQP queue newest", 1, 1), dice: dice.fork(2000) }
    }

    /// Publishes one message and waits for its confirm: a limit that was exceeded at a crash holds from here on.
    fn publish_one(&mut self, link: &mut Link) -> Step<()> {
        let (key, body) = self.ledger.send(0, 0, &mut self.dice);
        link.publish(1, &Address { key: QUEUE, ..Address::default() }, &body);
        wait("confirm", || match link.next()? {
            Some(event) if event.method == ACK => Ok(Some(())),
            Some(event) => wrong(format!("instead of a confirm: {:?}", event.method)),
            None => Ok(None),
        })?;
        self.ledger.confirm(key);
        Ok(())
    }

    /// Gets all messages and compares them.
    fn drain(&mut self, link: &mut Link) -> Step<()> {
        let mut got = BTreeSet::new();
        let owed: BTreeSet<Key> = self.ledger.debts(0).into_iter().collect();
        let mut tag = None;
        for delivery in link.get_all(1, QUEUE)? {
            let arrival = Arrival { place: 0, ordered: true, flagged: Some(delivery.redelivered) };
            got.extend(self.ledger.deliver(arrival, &delivery.body));
            tag = Some(delivery.tag);
        }
        if got.len() > LENGTH {
            self.ledger.found(&format!("{} messages in a queue of {LENGTH}", got.len()));
        }
        let all: BTreeSet<Key> = owed.union(&got).copied().collect();
        let kept = all.iter().rev().take(LENGTH).filter(|key| !got.contains(key));
        for key in kept {
            let text =
                format!("lost: message {} is among the newest {LENGTH} and is missing", key.number);
            self.ledger.found(&text);
        }
        for key in all {
            self.ledger.settle(0, key, false);
        }
        if let Some(tag) = tag {
            link.ack(1, tag, true);
        }
        Ok(())
    }
}

impl Flow for Newest {
    fn name(&self) -> String {
        "AMQP queue newest".to_owned()
    }

    fn run(&mut self, round: &Round) -> Step<()> {
        self.ledger.begin(round.life);
        let mut link = Link::open(round.amqp, 1)?;
        let length = Field::Number(LENGTH as i64);
        link.declare(
            QUEUE,
            2,
            &[("x-max-length", length), ("x-overflow", Field::Text("drop-head".into()))],
        )?;
        link.confirm_select(1)?;
        self.publish_one(&mut link)?;
        if round.last || self.dice.chance(1, 2) {
            self.drain(&mut link)?;
        }
        let window = self.dice.range(1, 64) as usize;
        let mut confirms = Confirms::after(1);
        if round.last {
            return Ok(());
        }
        loop {
            for _ in 0..8 {
                if confirms.open() >= window || link.wire.waiting() > 1 << 20 {
                    break;
                }
                let (key, body) = self.ledger.send(0, 0, &mut self.dice);
                link.publish(1, &Address { key: QUEUE, ..Address::default() }, &body);
                confirms.published(key);
            }
            link.wire.pump()?;
            let mut answered = false;
            while let Some(event) = link.next()? {
                match event.method {
                    ACK => {
                        for key in confirms.answered(event.answer())? {
                            self.ledger.confirm(key);
                        }
                    }
                    BLOCKED | UNBLOCKED => {}
                    other => return wrong(format!("publisher got {other:?}")),
                }
                answered = true;
            }
            if !answered {
                rest();
            }
        }
    }
}
