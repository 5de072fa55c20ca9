//! STOMP: SEND with receipts by two senders into one durable queue, and a subscriber that acknowledges one by one,
//! partly with receipts.

use super::dice::Dice;
use super::flow::{BACKLOG, Books, Flow, Round, until_paid, until_quiet};
use super::ledger::{Arrival, Key, Ledger};
use super::stomp::{Frame, Stomp};
use super::wire::{Step, rest, wrong};
use std::collections::HashMap;

const DESTINATION: &str = "/queue/sends";

pub struct Sends {
    ledger: Ledger,
    dice: Dice,
}

impl Sends {
    pub fn new(books: &mut Books, dice: &Dice) -> Self {
        Self { ledger: books.open("STOMP /queue/sends", 2, 1), dice: dice.fork(3000) }
    }
}

struct Sender {
    client: Stomp,
    stream: usize,
    window: usize,
    /// Messages without a receipt, by receipt, which is their number.
    open: HashMap<u32, Key>,
}

struct Load<'a> {
    flow: &'a mut Sends,
    senders: Vec<Sender>,
    subscriber: Stomp,
    /// Acknowledged, and the receipt has not come yet.
    settling: HashMap<String, Key>,
    /// Unacknowledged messages, with the id to acknowledge them by.
    held: Vec<(String, Key)>,
    receipts: u64,
    send: bool,
}

impl Flow for Sends {
    fn name(&self) -> String {
        "STOMP /queue/sends".to_owned()
    }

    fn run(&mut self, round: &Round) -> Step<()> {
        self.ledger.begin(round.life);
        let mut subscriber = Stomp::connect(round.stomp)?;
        subscriber.subscribe(DESTINATION, self.dice.range(1, 100))?;
        let mut senders = Vec::new();
        for stream in 0..self.ledger.streams() {
            let client = Stomp::connect(round.stomp)?;
            let window = self.dice.range(1, 64) as usize;
            senders.push(Sender { client, stream, window, open: HashMap::new() });
        }
        let (settling, held) = (HashMap::new(), Vec::new());
        let mut load =
            Load { flow: self, senders, subscriber, settling, held, receipts: 0, send: false };
        let drains = round.last || load.flow.dice.chance(1, 2);
        if drains && !until_paid(&mut load, |load| load.flow.ledger.owed(0), Load::turn)? {
            load.flow.ledger.write_off("the queue was drained");
        }
        if round.last {
            until_quiet(|| load.turn())?;
        }
        load.send = true;
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

impl Load<'_> {
    fn turn(&mut self) -> Step<bool> {
        let mut happened = false;
        for at in 0..self.senders.len() {
            happened |= self.send(at)?;
        }
        while let Some(frame) = self.subscriber.next()? {
            match frame.command.as_str() {
                "MESSAGE" => self.message(&frame)?,
                "RECEIPT" => {
                    match frame.header("receipt-id").and_then(|id| self.settling.remove(id)) {
                        Some(key) => self.flow.ledger.settle(0, key, true),
                        None => return wrong(format!("subscriber got {frame:?}")),
                    }
                }
                _ => return wrong(format!("subscriber got {frame:?}")),
            }
            happened = true;
        }
        if !self.held.is_empty() && (!self.send || self.flow.dice.chance(1, 12)) {
            for (id, key) in std::mem::take(&mut self.held) {
                self.acknowledge(&id, key);
            }
        }
        self.subscriber.wire.pump()?;
        Ok(happened)
    }

    fn send(&mut self, at: usize) -> Step<bool> {
        let (flow, sender) = (&mut *self.flow, &mut self.senders[at]);
        let mut happened = false;
        for _ in 0..8 {
            let full = sender.open.len() >= sender.window || sender.client.wire.waiting() > 1 << 20;
            if !self.send || full || flow.ledger.owed(0) >= BACKLOG {
                break;
            }
            let (key, body) = flow.ledger.send(sender.stream, 0, &mut flow.dice);
            let receipt = key.number.to_string();
            let headers = [
                ("destination", DESTINATION),
                ("persistent", "true"),
                ("receipt", receipt.as_str()),
            ];
            sender.client.send("SEND", &headers, &body);
            sender.open.insert(key.number, key);
            happened = true;
        }
        sender.client.wire.pump()?;
        while let Some(frame) = sender.client.next()? {
            let id = frame.header("receipt-id").and_then(|id| id.parse().ok());
            match id.and_then(|id: u32| sender.open.remove(&id)) {
                Some(key) if frame.command == "RECEIPT" => flow.ledger.confirm(key),
                _ => return wrong(format!("sender got {frame:?}")),
            }
            happened = true;
        }
        Ok(happened)
    }

    fn message(&mut self, frame: &Frame) -> Step<()> {
        let Some(id) = frame.header("ack").map(str::to_owned) else {
            return wrong("a MESSAGE without a header to acknowledge it by");
        };
        let flagged = Some(frame.header("redelivered") == Some("true"));
        let arrival = Arrival { place: 0, ordered: true, flagged };
        match self.flow.ledger.deliver(arrival, &frame.body) {
            Some(key) if self.flow.dice.chance(1, 8) => self.held.push((id, key)),
            Some(key) => self.acknowledge(&id, key),
            None => self.subscriber.send("ACK", &[("id", id.as_str())], b""),
        }
        Ok(())
    }

    fn acknowledge(&mut self, id: &str, key: Key) {
        if self.flow.dice.chance(1, 2) {
            self.subscriber.send("ACK", &[("id", id)], b"");
        } else {
            self.receipts += 1;
            let receipt = self.receipts.to_string();
            self.subscriber.send("ACK", &[("id", id), ("receipt", receipt.as_str())], b"");
            self.settling.insert(receipt, key);
        }
        self.flow.ledger.settle(0, key, false);
    }
}
