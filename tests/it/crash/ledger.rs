//! The state of every message of one flow: sent, answered, delivered, settled. A flow has streams (publishers that
//! number their messages) and places (a queue, or a queue with its dead-letter queue), each of which gets every
//! message.
//!
//! Invariant: a message that was answered with "stored", or was delivered once, is owed by every place until it is
//! settled.

use super::body::{self, Label};
use super::dice::Dice;
use super::findings::Findings;
use std::collections::HashMap;
use std::sync::Arc;

/// A stream's index in the flow, and the number of a message in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub stream: usize,
    pub number: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// None: it may be stored.
    None,
    Stored,
    Refused,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    answer: Answer,
    /// Sent more than once, as the protocol allows: duplicates are then no fault of the broker.
    again: bool,
    /// Messages are ordered within a class.
    class: u8,
}

/// The state of one message at one place.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    seen: bool,
    /// The life in which it was settled; 0: not settled.
    settled: u32,
    /// A reply shows that the settling is stored.
    sure: bool,
}

/// Where and how a message was delivered.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub place: usize,
    /// First deliveries are in the publisher's order here.
    pub ordered: bool,
    /// The protocol's redelivered flag; none if there is none, as from a dead-letter queue.
    pub flagged: Option<bool>,
}

pub struct Ledger {
    name: String,
    findings: Arc<Findings>,
    /// The number of the first stream; the others follow.
    first: u16,
    streams: Vec<Vec<Sent>>,
    /// By place, stream and number.
    fates: Vec<Vec<Vec<Fate>>>,
    /// The messages that each place owes.
    owed: Vec<usize>,
    /// Number of the latest first delivery, by place, stream and class.
    order: HashMap<(usize, usize, u8), u32>,
    /// Every message must be delivered exactly once.
    pub once: bool,
    life: u32,
}

impl Ledger {
    pub fn new(
        name: &str,
        findings: Arc<Findings>,
        first: u16,
        (streams, places): (usize, usize),
    ) -> Self {
        Self {
            name: name.to_owned(),
            findings,
            first,
            streams: vec![Vec::new(); streams],
            fates: vec![vec![Vec::new(); streams]; places],
            owed: vec![0; places],
            order: HashMap::new(),
            once: false,
            life: 0,
        }
    }

    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// The broker was started again.
    pub fn begin(&mut self, life: u32) {
        self.life = life;
    }

    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    pub fn found(&self, text: &str) {
        self.findings.report(&format!("{}: {text}", self.name));
    }

    fn found_of(&self, key: Key, text: &str) {
        let stream = usize::from(self.first) + key.stream;
        self.found(&format!("publisher {stream}, message {}: {text}", key.number));
    }

    /// The next message of a stream.
    pub fn send(&mut self, stream: usize, class: u8, dice: &mut Dice) -> (Key, Vec<u8>) {
        let number = self.streams[stream].len() as u32;
        let key = Key { stream, number };
        self.streams[stream].push(Sent { answer: Answer::None, again: false, class });
        for place in &mut self.fates {
            place[stream].push(Fate::default());
        }
        self.findings.sent.one();
        let seed = self.findings.seed as u32;
        let label = Label { seed, stream: self.first + stream as u16, number };
        (key, body::make(label, body::filling(dice)))
    }

    /// The message is sent again, because it is not known whether it arrived.
    pub fn send_again(&mut self, key: Key) {
        self.sent(key).again = true;
    }

    fn sent(&mut self, key: Key) -> &mut Sent {
        &mut self.streams[key.stream][key.number as usize]
    }

    fn fate(&mut self, place: usize, key: Key) -> &mut Fate {
        &mut self.fates[place][key.stream][key.number as usize]
    }

    /// The broker has answered that the message is stored.
    pub fn confirm(&mut self, key: Key) {
        self.findings.confirmed.one();
        self.stored(key);
    }

    /// The message is known to be stored.
    pub fn stored(&mut self, key: Key) {
        let before = std::mem::replace(&mut self.sent(key).answer, Answer::Stored);
        if before == Answer::Stored {
            return;
        }
        for place in 0..self.owed.len() {
            let fate = *self.fate(place, key);
            self.owed[place] += usize::from(fate.settled == 0);
        }
    }

    /// The broker refused the message, or it was rolled back.
    pub fn refuse(&mut self, key: Key) {
        self.findings.refused.one();
        if self.is_seen_anywhere(key) {
            self.found_of(key, "refused, and delivered");
        }
        self.sent(key).answer = Answer::Refused;
    }

    pub fn is_seen(&self, place: usize, key: Key) -> bool {
        self.fates[place][key.stream][key.number as usize].seen
    }

    pub fn is_seen_anywhere(&self, key: Key) -> bool {
        (0..self.fates.len()).any(|place| self.is_seen(place, key))
    }

    /// Checks a delivery. None: the message is not of this flow, which was reported.
    pub fn deliver(&mut self, arrival: Arrival, bytes: &[u8]) -> Option<Key> {
        self.findings.delivered.one();
        let key = self.identify(bytes)?;
        let (sent, fate) = (*self.sent(key), *self.fate(arrival.place, key));
        if sent.answer == Answer::Refused {
            self.found_of(key, "phantom: refused or rolled back, and delivered");
        }
        if arrival.flagged == Some(true) {
            self.findings.redelivered.one();
        }
        if fate.seen {
            self.check_again(arrival, key, (sent, fate));
        } else if arrival.ordered {
            self.check_order(arrival.place, key, sent.class);
        }
        self.fate(arrival.place, key).seen = true;
        // It was delivered, so it is stored, and every place owes it.
        if sent.answer == Answer::None {
            self.stored(key);
        }
        let fate = self.fate(arrival.place, key);
        if fate.settled != 0 && !fate.sure && !sent.again {
            fate.settled = 0;
            self.owed[arrival.place] += 1;
            self.findings.unsettled.one();
        }
        Some(key)
    }

    /// The message of a body. None: it is not of this flow, which was reported.
    pub fn identify(&mut self, bytes: &[u8]) -> Option<Key> {
        let label = match body::read(bytes) {
            Ok(label) => label,
            Err(what) => {
                self.found(&format!("corrupt: {what}"));
                return None;
            }
        };
        let stream = usize::from(label.stream).checked_sub(self.first.into());
        let known = stream.filter(|stream| *stream < self.streams.len());
        let sent = known.is_some_and(|stream| (label.number as usize) < self.streams[stream].len());
        match (known, sent && label.seed == self.findings.seed as u32) {
            (Some(stream), true) => Some(Key { stream, number: label.number }),
            _ => {
                self.found(&format!("phantom: {label:?} was never sent here"));
                None
            }
        }
    }

    /// Checks the delivery of a message that was delivered before.
    fn check_again(&mut self, arrival: Arrival, key: Key, (sent, fate): (Sent, Fate)) {
        if self.once {
            self.found_of(key, "duplicate, although delivery is exactly once");
        }
        if sent.again {
            return;
        }
        if fate.sure {
            self.found_of(key, "phantom: its end was stored, and it is delivered again");
        } else if fate.settled == self.life {
            self.found_of(key, "phantom: settled, and delivered again by the same process");
        }
        if arrival.flagged == Some(false) {
            let settled = if fate.settled == 0 { "" } else { " (and settled)" };
            self.found_of(
                key,
                &format!("delivered{settled} before, and not flagged as redelivered"),
            );
        }
    }

    fn check_order(&mut self, place: usize, key: Key, class: u8) {
        let last = self.order.insert((place, key.stream, class), key.number);
        if let Some(last) = last.filter(|last| *last > key.number) {
            self.found_of(key, &format!("reordered at place {place}: after message {last}"));
            self.order.insert((place, key.stream, class), last);
        }
    }

    /// Settled; `sure` when a reply shows that this is stored.
    pub fn settle(&mut self, place: usize, key: Key, sure: bool) {
        let stored = self.sent(key).answer == Answer::Stored;
        let life = self.life;
        let fate = self.fate(place, key);
        let was_owed = fate.settled == 0;
        fate.sure |= sure;
        if was_owed {
            fate.settled = life.max(1);
            self.findings.settled.one();
            self.owed[place] -= usize::from(stored);
        }
    }

    /// Number of messages that a place owes.
    pub fn owed(&self, place: usize) -> usize {
        self.owed[place]
    }

    pub fn owed_at_all(&self) -> usize {
        self.owed.iter().sum()
    }

    /// The messages that a place owes, in order.
    pub fn debts(&self, place: usize) -> Vec<Key> {
        let mut debts = Vec::with_capacity(self.owed[place]);
        for (stream, sent) in self.streams.iter().enumerate() {
            let fates = &self.fates[place][stream];
            let both = sent.iter().zip(fates).enumerate();
            let open =
                both.filter(|(_, (sent, fate))| sent.answer == Answer::Stored && fate.settled == 0);
            debts.extend(open.map(|(number, _)| Key { stream, number: number as u32 }));
        }
        debts
    }

    /// Reports all owed messages as lost, because they did not come.
    pub fn write_off(&mut self, why: &str) {
        for place in 0..self.owed.len() {
            for key in self.debts(place) {
                let seen = if self.is_seen(place, key) {
                    "delivered, never settled"
                } else {
                    "never delivered"
                };
                self.found_of(key, &format!("lost at place {place} ({seen}): {why}"));
                self.settle(place, key, false);
            }
        }
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
