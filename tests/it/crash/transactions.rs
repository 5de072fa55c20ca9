//! Transactions with AMQP and STOMP: each takes some messages from one queue and puts others into two queues,
//! completely or not at all. After a kill between commit and reply, the queues show whether the transaction took
//! effect.

use super::amqp::{ACK, Address, BLOCKED, Confirms, DELIVER, Link, Out, UNBLOCKED};
use super::dice::Dice;
use super::flow::{Books, Flow, LOST_AFTER, Round};
use super::ledger::{Arrival, Key, Ledger};
use super::stomp::Stomp;
use super::wire::{Step, rest, wait, wrong};
use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

/// The queue that transactions take messages from.
const INPUTS: usize = 40;
/// The queues that transactions put messages into.
const OUTPUTS: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Amqp,
    Stomp,
}

/// A transaction without a reply.
#[derive(Debug)]
struct Open {
    inputs: Vec<Key>,
    /// Which queue, and which message.
    outputs: Vec<(usize, Key)>,
    /// Its commit was sent.
    committing: bool,
}

pub struct Transactions {
    protocol: Protocol,
    name: &'static str,
    inputs: Ledger,
    outputs: [Ledger; 2],
    open: Option<Open>,
    dice: Dice,
}

impl Transactions {
    pub fn all(books: &mut Books, dice: &Dice) -> Vec<Box<dyn Flow>> {
        let kinds = [(Protocol::Amqp, "tx-amqp"), (Protocol::Stomp, "tx-stomp")];
        let flow = |(protocol, name): (Protocol, &'static str)| {
            let mut ledger = |queue: &str| books.open(&format!("{name}.{queue}"), 1, 1);
            let (inputs, outputs) = (ledger("in"), [ledger("a"), ledger("b")]);
            let dice = dice.fork(4000 + protocol as u64);
            Box::new(Self { protocol, name, inputs, outputs, open: None, dice }) as Box<dyn Flow>
        };
        kinds.into_iter().map(flow).collect()
    }

    fn queue(&self, which: &str) -> String {
        format!("{}.{which}", self.name)
    }

    /// Gets all results. Then every owed message must have come, and the fate of an open transaction is known.
    fn look(&mut self, side: &mut Link) -> Step<()> {
        for (at, which) in ["a", "b"].into_iter().enumerate() {
            let queue = self.queue(which);
            let ledger = &mut self.outputs[at];
            let mut tag = None;
            for delivery in side.get_all(2, &queue)? {
                let arrival =
                    Arrival { place: 0, ordered: true, flagged: Some(delivery.redelivered) };
                if let Some(key) = ledger.deliver(arrival, &delivery.body) {
                    ledger.settle(0, key, false);
                }
                tag = Some(delivery.tag);
            }
            if let Some(tag) = tag {
                side.ack(2, tag, true);
            }
        }
        self.resolve();
        for ledger in &mut self.outputs {
            if ledger.owed(0) > 0 {
                ledger.write_off("the queue was emptied");
            }
        }
        Ok(())
    }

    fn resolve(&mut self) {
        let Some(open) = self.open.take() else { return };
        let seen =
            open.outputs.iter().filter(|(at, key)| self.outputs[*at].is_seen(0, *key)).count();
        let findings = self.inputs.findings();
        match seen {
            0 => findings.found_rolled_back.one(),
            _ => findings.found_committed.one(),
        }
        if seen != 0 && seen != open.outputs.len() {
            let text =
                format!("half a transaction: {seen} of {} results of {open:?}", open.outputs.len());
            self.inputs.found(&text);
        }
        if seen != 0 && !open.committing {
            self.inputs.found(&format!("phantom: {open:?} was never committed"));
        }
        for (at, key) in &open.outputs {
            if seen == 0 {
                self.outputs[*at].refuse(*key);
            }
        }
        for key in &open.inputs {
            if seen != 0 {
                self.inputs.settle(0, *key, true);
            }
        }
    }
}

impl Flow for Transactions {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn run(&mut self, round: &Round) -> Step<()> {
        for ledger in self.outputs.iter_mut().chain([&mut self.inputs]) {
            ledger.begin(round.life);
        }
        let mut side = Link::open(round.amqp, 2)?;
        for which in ["in", "a", "b"] {
            side.declare(&self.queue(which), 2, &[])?;
        }
        side.confirm_select(1)?;
        self.look(&mut side)?;
        let door = Door::open(self.protocol, round, &self.queue("in"))?;
        let (confirms, ready) = (Confirms::new(), BTreeMap::new());
        let mut load = Load { flow: self, side, confirms, door, ready };
        load.collect()?;
        if round.last {
            return Ok(());
        }
        loop {
            load.feed()?;
            load.receive()?;
            if load.ready.is_empty() {
                rest();
            } else {
                load.transact()?;
            }
            if load.flow.outputs.iter().any(|ledger| ledger.owed(0) > OUTPUTS) {
                load.flow.look(&mut load.side)?;
            }
        }
    }
}

struct Load<'a> {
    flow: &'a mut Transactions,
    /// Publishes the inputs on channel 1, reads the results on channel 2.
    side: Link,
    confirms: Confirms<Key>,
    door: Door,
    /// Messages delivered and not in a transaction, with the token to acknowledge them by.
    ready: BTreeMap<Key, String>,
}

impl Load<'_> {
    /// All owed messages must be delivered again to the new connection.
    fn collect(&mut self) -> Step<()> {
        let mut owed: HashSet<Key> = self.flow.inputs.debts(0).into_iter().collect();
        let until = Instant::now() + LOST_AFTER;
        loop {
            self.receive()?;
            owed.retain(|key| !self.ready.contains_key(key));
            if owed.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                for key in owed {
                    let text = format!(
                        "lost: message {} of the inputs, or half a transaction",
                        key.number
                    );
                    self.flow.inputs.found(&text);
                    self.flow.inputs.settle(0, key, false);
                }
                return Ok(());
            }
            rest();
        }
    }

    fn feed(&mut self) -> Step<()> {
        let flow = &mut *self.flow;
        while flow.inputs.owed(0) + self.confirms.open() < INPUTS {
            let (key, body) = flow.inputs.send(0, 0, &mut flow.dice);
            let address = Address { key: &format!("{}.in", flow.name), ..Address::default() };
            self.side.publish(1, &address, &body);
            self.confirms.published(key);
        }
        self.side.wire.pump()?;
        while let Some(event) = self.side.next()? {
            match event.method {
                ACK => {
                    for key in self.confirms.answered(event.answer())? {
                        flow.inputs.confirm(key);
                    }
                }
                BLOCKED | UNBLOCKED => {}
                other => return wrong(format!("feeder got {other:?}")),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Step<()> {
        while let Some((token, redelivered, body)) = self.door.next()? {
            let arrival = Arrival { place: 0, ordered: true, flagged: Some(redelivered) };
            if let Some(key) = self.flow.inputs.deliver(arrival, &body) {
                self.ready.insert(key, token);
            }
        }
        Ok(())
    }

    fn transact(&mut self) -> Step<()> {
        let flow = &mut *self.flow;
        let take = flow.dice.range(1, 5) as usize;
        let inputs: Vec<(Key, String)> =
            self.ready.iter().take(take).map(|(k, t)| (*k, t.clone())).collect();
        let mut outputs = Vec::new();
        self.door.begin();
        for (at, which) in ["a", "b"].into_iter().enumerate() {
            for _ in 0..flow.dice.range(1, 4) {
                let (key, body) = flow.outputs[at].send(0, 0, &mut flow.dice);
                self.door.publish(&format!("{}.{which}", flow.name), &body);
                outputs.push((at, key));
            }
        }
        for (_, token) in &inputs {
            self.door.acknowledge(token);
        }
        let inputs: Vec<Key> = inputs.into_iter().map(|(key, _)| key).collect();
        flow.open = Some(Open { inputs, outputs, committing: false });
        if flow.dice.chance(1, 8) {
            // A kill may come before commit or rollback was sent.
            self.door.wire().pump()?;
            std::thread::sleep(std::time::Duration::from_millis(3));
        }
        let commit = !flow.dice.chance(1, 8);
        if let Some(open) = &mut flow.open {
            open.committing = commit;
        }
        self.door.end(commit)?;
        let Some(open) = flow.open.take() else { return Ok(()) };
        flow.inputs.findings().transactions.one();
        for (at, key) in open.outputs {
            match commit {
                true => flow.outputs[at].confirm(key),
                false => flow.outputs[at].refuse(key),
            }
        }
        for key in open.inputs {
            if commit {
                flow.inputs.settle(0, key, true);
                self.ready.remove(&key);
            }
        }
        Ok(())
    }
}

/// The connection that transactions are made on.
enum Door {
    Amqp(Link),
    /// STOMP, with the number of the transaction.
    Stomp(Stomp, u64, Vec<(String, bool, Vec<u8>)>),
}

impl Door {
    fn open(protocol: Protocol, round: &Round, queue: &str) -> Step<Self> {
        match protocol {
            Protocol::Amqp => {
                let mut link = Link::open(round.amqp, 1)?;
                link.prefetch(1, 0)?;
                link.call(1, Out::method((90, 10)), (90, 11))?;
                link.consume(1, queue)?;
                Ok(Self::Amqp(link))
            }
            Protocol::Stomp => {
                let mut client = Stomp::connect(round.stomp)?;
                client.subscribe(&format!("/queue/{queue}"), 4 * INPUTS as u64)?;
                Ok(Self::Stomp(client, 0, Vec::new()))
            }
        }
    }

    fn wire(&mut self) -> &mut super::wire::Wire {
        match self {
            Self::Amqp(link) => &mut link.wire,
            Self::Stomp(client, ..) => &mut client.wire,
        }
    }

    /// A delivery: the token to acknowledge it by, redelivered, body.
    fn next(&mut self) -> Step<Option<(String, bool, Vec<u8>)>> {
        match self {
            Self::Amqp(link) => match link.next()? {
                Some(event) if event.method == DELIVER => {
                    let delivery = event.delivery();
                    Ok(Some((delivery.tag.to_string(), delivery.redelivered, delivery.body)))
                }
                Some(event) => wrong(format!("in a transaction came {:?}", event.method)),
                None => Ok(None),
            },
            Self::Stomp(_, _, early) if !early.is_empty() => Ok(Some(early.remove(0))),
            Self::Stomp(client, ..) => match client.next()? {
                Some(frame) => message(&frame).map(Some),
                None => Ok(None),
            },
        }
    }

    fn begin(&mut self) {
        if let Self::Stomp(client, number, _) = self {
            *number += 1;
            client.send("BEGIN", &[("transaction", &number.to_string())], b"");
        }
    }

    fn publish(&mut self, queue: &str, body: &[u8]) {
        match self {
            Self::Amqp(link) => {
                link.publish(1, &Address { key: queue, ..Address::default() }, body)
            }
            Self::Stomp(client, number, _) => {
                let (destination, number) = (format!("/queue/{queue}"), number.to_string());
                let headers = [
                    ("destination", destination.as_str()),
                    ("persistent", "true"),
                    ("transaction", &number),
                ];
                client.send("SEND", &headers, body);
            }
        }
    }

    fn acknowledge(&mut self, token: &str) {
        match self {
            Self::Amqp(link) => link.ack(1, token.parse().unwrap_or_default(), false),
            Self::Stomp(client, number, _) => {
                client.send("ACK", &[("id", token), ("transaction", &number.to_string())], b"");
            }
        }
    }

    /// Commits or rolls back, and waits for the reply.
    fn end(&mut self, commit: bool) -> Step<()> {
        match self {
            Self::Amqp(link) => {
                let method = if commit { 20 } else { 30 };
                link.call(1, Out::method((90, method)), (90, method + 1)).map(drop)
            }
            Self::Stomp(client, number, early) => {
                let command = if commit { "COMMIT" } else { "ABORT" };
                let name = number.to_string();
                client.send(command, &[("transaction", &name), ("receipt", &name)], b"");
                wait("RECEIPT to a transaction", || {
                    while let Some(frame) = client.next()? {
                        if frame.command == "RECEIPT" && frame.header("receipt-id") == Some(&name) {
                            return Ok(Some(()));
                        }
                        early.push(message(&frame)?);
                    }
                    Ok(None)
                })
            }
        }
    }
}

fn message(frame: &super::stomp::Frame) -> Step<(String, bool, Vec<u8>)> {
    match (frame.command.as_str(), frame.header("ack")) {
        ("MESSAGE", Some(ack)) => {
            let redelivered = frame.header("redelivered") == Some("true");
            Ok((ack.to_owned(), redelivered, frame.body.clone()))
        }
        _ => wrong(format!("in a transaction came {frame:?}")),
    }
}
