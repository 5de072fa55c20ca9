//! What the micro-benchmarks see of the core's inside: a queue's whole way, and the bytes of a journal entry. Not an
//! API: it is compiled with the feature `bench` only. Whole steps and no parts, so that what is inside may change.

use crate::broker::operations::ops::{self, Ops};
use crate::exchange::{LogId, Tags};
use crate::log::{Offset, Place};
use crate::message::{Message, Timestamp};
use crate::subscription::{
    Arrival, Attached, CameBy, ConsumerId, Credit, Effects, Handle, LeftBy, Outcome, Rules,
    Subscription,
};
use bytes::Bytes;
use std::sync::Arc;

/// When everything happens.
const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// A durable queue and its consumers, without sessions and locks.
#[derive(Debug)]
pub struct BenchQueue {
    subscription: Subscription,
    effects: Effects,
    /// Position of the next journal entry.
    pos: u64,
    /// Reused: what one pass appends, and what one consumer settles.
    appended: Vec<Offset>,
    given: Vec<(Handle, Offset)>,
    settled: Vec<Offset>,
}

/// A queue with `consumers` consumers that take turns, each without a limit to its credit.
pub fn queue(consumers: u32) -> BenchQueue {
    let rules = Rules { durable: true, ..Rules::default() };
    let mut subscription = Subscription::new(LogId(1), rules);
    for id in 1..=consumers {
        let handle = subscription.consumers.handle();
        let consumer = Attached::new(handle, ConsumerId(id), Credit::UNLIMITED);
        subscription.consumers.attach(consumer);
    }
    BenchQueue {
        subscription,
        effects: Effects::default(),
        pos: 0,
        appended: Vec::new(),
        given: Vec::new(),
        settled: Vec::new(),
    }
}

impl BenchQueue {
    /// Takes the message in `count` times, stored in one entry if it is durable, gives all of them out in one dispatch,
    /// and settles what each consumer got at once. How many were settled.
    pub fn append_dispatch_settle(&mut self, message: &Message, count: usize) -> usize {
        let durable = message.meta().durable;
        for _ in 0..count {
            let (tags, by) = (Tags::default(), CameBy::Publish);
            let arrival = Arrival { message: message.clone(), tags, durable, by };
            self.appended.push(self.subscription.append(arrival, NOW));
        }
        if durable {
            self.pos += 1;
            for (index, offset) in (0..).zip(&self.appended) {
                self.subscription.commit(*offset, Place { pos: self.pos, index });
            }
        }
        self.appended.clear();
        self.subscription.dispatch(NOW, &mut self.effects);
        let deliveries = self.effects.deliveries.drain(..);
        self.given.extend(deliveries.map(|(handle, delivery)| (handle, delivery.offset)));
        self.settle()
    }

    /// Accepts everything that was given out.
    fn settle(&mut self) -> usize {
        let mut count = 0;
        // Stable: each consumer settles in the order it got its records.
        self.given.sort_by_key(|(handle, _)| *handle);
        for run in self.given.chunk_by(|(one, _), (next, _)| one == next) {
            let Some((handle, _)) = run.first() else { continue };
            self.settled.extend(run.iter().map(|(_, offset)| *offset));
            let (offsets, out) = (&self.settled, &mut self.effects);
            count += self.subscription.settle(*handle, offsets, &Outcome::Accepted, out);
            self.settled.clear();
        }
        self.given.clear();
        self.effects.settled.clear();
        self.effects.freed.clear();
        count
    }
}

/// An entry of `records` records, each in `queues` queues.
pub fn encode_records(message: &Message, records: u64, queues: u64) -> Bytes {
    let (mut ops, tags) = (Ops::default(), Tags::default());
    let first = 1_000_000;
    for record in first..first + records {
        let placed: Vec<_> = (1..=queues).map(|q| (LogId(q), Offset(record), &tags)).collect();
        let came = (message, message.meta().published, CameBy::of(message));
        ops.record(came, placed.into_iter());
    }
    ops.into_bytes()
}

/// An entry that settles `records` records of one queue.
pub fn encode_settles(records: u64) -> Bytes {
    let mut ops = Ops::default();
    let offsets: Vec<Offset> = (0..records).map(|n| Offset(1_000_000 + n)).collect();
    ops.settle((LogId(1), &Arc::default()), LeftBy::Consumed, &offsets);
    ops.into_bytes()
}

/// Reads an entry: how many records it holds or settles. None when it is damaged.
pub fn decode(entry: &Bytes) -> Option<usize> {
    let mut count = 0;
    for op in ops::read(entry.clone()) {
        count += match op? {
            ops::Op::Settle { offsets, .. } => offsets.len(),
            _ => 1,
        };
    }
    Some(count)
}
