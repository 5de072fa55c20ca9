//! Direct reply-to: requests of several channels go through a durable queue to two responders. Channels are closed and
//! opened again while answers are on their way, and the broker is killed: requests outlast that, requesters and answers
//! do not. An answer comes to the channel that asked, once, or is returned because that channel is gone.

mod answers;

use super::amqp::{
    ACK, Address, BLOCKED, Confirms, DELIVER, Delivery, Event, Link, Properties, REPLIES, RETURN,
    UNBLOCKED,
};
use super::dice::Dice;
use super::flow::{Books, Flow, Round, until_paid, until_quiet};
use super::ledger::{Arrival, Key, Ledger};
use super::wire::{Step, rest, wrong};
use answers::{Answers, Asker};
use std::collections::{BTreeSet, HashMap};

const QUEUE: &str = "replies.asked";
/// Channels that ask.
const ASKERS: u16 = 3;
const RESPONDERS: usize = 2;
/// Requests in the queue at which the askers pause.
const REQUESTS: usize = 30;

pub struct Replies {
    requests: Ledger,
    answers: Ledger,
    known: Answers,
    /// Who sent which request.
    asked: HashMap<Key, Asker>,
    dice: Dice,
}

impl Replies {
    pub fn new(books: &mut Books, dice: &Dice) -> Self {
        let requests = books.open("AMQP requests", 1, 1);
        let mut answers = books.open("AMQP answers", RESPONDERS, 1);
        answers.once = true;
        let dice = dice.fork(9500);
        Self { requests, answers, known: Answers::default(), asked: HashMap::new(), dice }
    }

    fn wrong(&self, key: Key, what: Option<String>) {
        if let Some(what) = what {
            self.answers.found(&format!("responder {}, answer {}: {what}", key.stream, key.number));
        }
    }
}

impl Flow for Replies {
    fn name(&self) -> String {
        "AMQP direct reply-to".to_owned()
    }

    fn run(&mut self, round: &Round) -> Step<()> {
        self.requests.begin(round.life);
        self.answers.begin(round.life);
        self.known.begin(round.life);
        let mut requester = Link::open(round.amqp, ASKERS)?;
        requester.declare(QUEUE, 2, &[])?;
        let mut responders = Vec::new();
        for stream in 0..RESPONDERS {
            let mut link = Link::open(round.amqp, 1)?;
            link.confirm_select(1)?;
            link.prefetch(1, self.dice.range(1, 30) as u16)?;
            link.consume(1, QUEUE)?;
            let (confirms, returned) = (Confirms::new(), BTreeSet::new());
            responders.push(Responder { link, stream, confirms, returned });
        }
        let mut load =
            Load { flow: self, requester, askers: Vec::new(), responders, ask: !round.last };
        for channel in 1..=ASKERS {
            let asker = load.open(channel, 0)?;
            load.askers.push(asker);
        }
        if round.last {
            return load.finish();
        }
        loop {
            if !load.turn()? {
                rest();
            }
        }
    }
}

/// A channel that asks.
struct Requests {
    asker: Asker,
    confirms: Confirms<Key>,
}

struct Responder {
    link: Link,
    stream: usize,
    confirms: Confirms<Key>,
    /// Answers that came back and are not confirmed yet.
    returned: BTreeSet<Key>,
}

/// A flow and its connections in one life.
struct Load<'a> {
    flow: &'a mut Replies,
    requester: Link,
    askers: Vec<Requests>,
    responders: Vec<Responder>,
    ask: bool,
}

impl Load<'_> {
    /// The channel, which is open, asks from now on.
    fn open(&mut self, channel: u16, opened: u32) -> Step<Requests> {
        self.requester.confirm_select(channel)?;
        self.requester.consume_replies(channel)?;
        let asker = self.flow.known.open(channel, opened);
        Ok(Requests { asker, confirms: Confirms::new() })
    }

    /// The requests of earlier lives and of this one are answered, and all answers heard of.
    fn finish(&mut self) -> Step<()> {
        // What is asked now is answered: the requesters are there.
        self.ask = true;
        (0..ASKERS).try_for_each(|at| self.request(usize::from(at)))?;
        self.ask = false;
        let open = |load: &Self| {
            let asked: usize = load.askers.iter().map(|it| it.confirms.open()).sum();
            let unheard: usize = load.responders.iter().map(|it| it.confirms.open()).sum();
            load.flow.requests.owed(0) + load.flow.known.missing().len() + asked + unheard
        };
        if !until_paid(self, open, Self::turn)? {
            self.flow.requests.write_off("the queue was drained");
            for key in self.flow.known.missing() {
                let what = "lost: its requester is there and did not get it".to_owned();
                self.flow.wrong(key, Some(what));
            }
        }
        until_quiet(|| self.turn())
    }

    /// Whether anything happened.
    fn turn(&mut self) -> Step<bool> {
        let mut happened = self.hear()?;
        for at in 0..self.askers.len() {
            self.request(at)?;
        }
        for at in 0..self.responders.len() {
            happened |= self.respond(at)?;
        }
        if self.ask && self.flow.dice.chance(1, 30) {
            self.reopen()?;
            happened = true;
        }
        self.requester.wire.pump()?;
        Ok(happened)
    }

    fn request(&mut self, at: usize) -> Step<()> {
        let (flow, it) = (&mut *self.flow, &mut self.askers[at]);
        for _ in 0..4 {
            let waiting = flow.requests.owed(0) + it.confirms.open();
            if !self.ask || waiting >= REQUESTS || self.requester.wire.waiting() > 1 << 20 {
                break;
            }
            let (key, body) = flow.requests.send(0, it.asker.channel as u8, &mut flow.dice);
            flow.asked.insert(key, it.asker);
            let address = Address { key: QUEUE, ..Address::default() };
            let properties = Properties { reply_to: Some(REPLIES), ..Properties::default() };
            self.requester.publish_with(it.asker.channel, &address, &properties, &body);
            it.confirms.published(key);
        }
        self.requester.wire.pump()
    }

    /// Reads what came to the requester's channels.
    fn hear(&mut self) -> Step<bool> {
        let mut happened = false;
        while let Some(event) = self.requester.next()? {
            self.heard(event)?;
            happened = true;
        }
        Ok(happened)
    }

    fn heard(&mut self, event: Event) -> Step<()> {
        let channel = event.channel;
        match event.method {
            ACK => {
                let Some(it) = self.askers.iter_mut().find(|it| it.asker.channel == channel) else {
                    return wrong(format!("a confirm on channel {channel}"));
                };
                for key in it.confirms.answered(event.answer())? {
                    self.flow.requests.confirm(key);
                }
            }
            DELIVER => {
                let delivery = event.delivery();
                let flagged = Some(delivery.redelivered);
                let arrival = Arrival { place: 0, ordered: false, flagged };
                if let Some(key) = self.flow.answers.deliver(arrival, &delivery.body) {
                    self.flow.answers.settle(0, key, true);
                    let what = self.flow.known.came(key, channel);
                    self.flow.wrong(key, what);
                    self.flow.answers.findings().answers.one();
                }
            }
            BLOCKED | UNBLOCKED => {}
            other => return wrong(format!("requester got {other:?}")),
        }
        Ok(())
    }

    /// Closes a channel while answers may be on their way to it, and opens it again.
    fn reopen(&mut self) -> Step<()> {
        let at = self.flow.dice.below(self.askers.len() as u64) as usize;
        let Asker { channel, opened, .. } = self.askers[at].asker;
        self.requester.close_channel(channel)?;
        // What came before the answer to the close.
        self.hear()?;
        self.flow.known.close(channel);
        // Requests that are not confirmed may be stored or not.
        self.requester.open_channel(channel)?;
        self.askers[at] = self.open(channel, opened + 1)?;
        self.flow.known.forget();
        Ok(())
    }

    fn respond(&mut self, at: usize) -> Step<bool> {
        let mut happened = false;
        while let Some(event) = self.responders[at].link.next()? {
            let responder = &mut self.responders[at];
            match event.method {
                DELIVER => self.answer(at, event.delivery()),
                RETURN => {
                    responder.returned.extend(self.flow.answers.identify(&event.body));
                }
                ACK => {
                    for key in responder.confirms.answered(event.answer())? {
                        self.flow.answered(key, responder.returned.remove(&key));
                    }
                }
                BLOCKED | UNBLOCKED => {}
                other => return wrong(format!("responder got {other:?}")),
            }
            happened = true;
        }
        self.responders[at].link.wire.pump()?;
        Ok(happened)
    }

    fn answer(&mut self, at: usize, delivery: Delivery) {
        let (flow, responder) = (&mut *self.flow, &mut self.responders[at]);
        let flagged = Some(delivery.redelivered);
        // Two responders share the queue, and each reads at its own pace.
        let arrival = Arrival { place: 0, ordered: false, flagged };
        let asked = flow.requests.deliver(arrival, &delivery.body);
        let asker = asked.and_then(|key| flow.asked.get(&key).copied());
        if let (Some(key), Some(asker)) = (asked, asker) {
            let to = delivery.reply_to();
            let what = flow.known.asked(asker, to.as_deref());
            flow.wrong(key, what);
            let (answer, body) = flow.answers.send(responder.stream, 0, &mut flow.dice);
            flow.known.published(answer, asker);
            let to = to.unwrap_or_default();
            let address = Address { key: &to, mandatory: true, ..Address::default() };
            responder.link.publish(1, &address, &body);
            responder.confirms.published(answer);
            flow.requests.settle(0, key, false);
        }
        responder.link.ack(1, delivery.tag, false);
    }
}

impl Replies {
    /// The answer is confirmed, and was returned before or not.
    fn answered(&mut self, key: Key, returned: bool) {
        let what = match returned {
            true => {
                self.answers.refuse(key);
                self.answers.findings().answers_returned.one();
                self.known.returned(key)
            }
            false => {
                self.answers.findings().confirmed.one();
                self.known.confirmed(key)
            }
        };
        self.wrong(key, what);
    }
}
