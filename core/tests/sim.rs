//! The pure half, simulated by seed against a naive model: a list of records with what may happen to each. Every
//! seed is a different queue and a different history; the same seed is the same history. `SIM_SEEDS` sets how many.
//!
//! Laws: nothing is lost and nothing appears (in = ready + in flight + uncommitted + gone, record by record); what is
//! delivered was the next one by the queue's order; no delivery without credit of the consumer and its pool; nothing
//! expired is delivered; nobody waits who could be served; each record is settled once; a scan sees each record and
//! changes nothing; what is held is given to nobody; the queue counts what came and how it left as the model does, and
//! balances.

use bytes::Bytes;
use crossdock_core::exchange::LogId;
use crossdock_core::log::{Limits, Offset, Overflow, Place, RecordState, Returns};
use crossdock_core::subscription::{
    Arrival, Attached, CameBy, ConsumerId, Credit, Cursor, Effects, Handle, LeftAs, LeftBy,
    Outcome, Pool, QueueTotals, Rules, Scan, Serves, Side, Subscription,
};
use crossdock_core::{Address, Fields, Message, Meta, Reason, Tags, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A small generator: the simulation must not depend on a library's version.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Uncommitted,
    Ready,
    InFlight(u32),
}

#[derive(Debug, Clone)]
struct Known {
    is: Is,
    priority: u8,
    attempts: u16,
    expires: Option<u64>,
    durable: bool,
    place: bool,
    size: u64,
}

struct Consumer {
    handle: Handle,
    credit: u32,
    pool: Option<usize>,
    stopped: bool,
}

/// A queue and what it should be.
struct World {
    seed: u64,
    dice: Dice,
    now: u64,
    sub: Subscription,
    effects: Effects,
    records: BTreeMap<u64, Known>,
    consumers: Vec<Consumer>,
    pools: Vec<(Arc<Pool>, u32)>,
    store: BTreeMap<u64, Message>,
    trace: u64,
    entered: u64,
    left: u64,
    left_as: BTreeMap<LeftAs, u64>,
}

fn rules(dice: &mut Dice) -> Rules {
    let messages = dice.chance(30).then(|| 3 + dice.roll(10));
    let overflow = if dice.chance(70) { Overflow::DropHead } else { Overflow::RejectNew };
    // The model knows of drop-head by count only.
    let by_bytes = overflow == Overflow::RejectNew && dice.chance(30);
    let bytes = by_bytes.then(|| 30 + dice.roll(100));
    Rules {
        limits: Limits { messages, bytes, overflow },
        ttl_ms: dice.chance(25).then(|| 5 + dice.roll(40)),
        max_priority: dice.chance(30).then(|| 1 + dice.roll(9) as u8),
        returns: Returns {
            limit: dice.chance(30).then(|| dice.roll(4) as u16),
            has_own_limit: dice.chance(50),
            ..Returns::default()
        },
        consumer_timeout_ms: None,
        serves: if dice.chance(15) { Serves::Highest } else { Serves::All },
        durable: true,
        keeps_seen: false,
        // What leaves is seen as a departure; what is dropped unread is tested on the broker.
        dead_letters: true,
        keeps_dead: false,
        for_subscriber: false,
        counts_whole: dice.chance(50),
        by_source: false,
        // It counts bytes.
        drops_oversized: false,
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut sub = Subscription::new(LogId(1), rules(&mut dice));
        // Soon a page is full, so that pages come to rest too.
        sub.log.skip_to(Offset(1020 - dice.roll(20)));
        let pools = (0..2)
            .map(|_| {
                let credit = 1 + dice.roll(4) as u32;
                (Arc::new(Pool::new(Credit::messages(credit))), credit)
            })
            .collect();
        Self {
            seed,
            dice,
            now: 1000,
            sub,
            effects: Effects::default(),
            records: BTreeMap::new(),
            consumers: Vec::new(),
            pools,
            store: BTreeMap::new(),
            trace: 0,
            entered: 0,
            left: 0,
            left_as: BTreeMap::new(),
        }
    }

    fn note(&mut self, what: u64) {
        self.trace = (self.trace ^ what).wrapping_mul(0x0100_0000_01b3);
    }

    fn step(&mut self) {
        match self.dice.roll(16) {
            0..=4 => self.publish(),
            5..=6 => self.commit(),
            7 => self.attach(),
            8 => self.detach(),
            9..=12 => self.settle(),
            13 => self.now += self.dice.roll(12),
            14 => self.change_credit(),
            _ => self.odd(),
        }
        self.dispatch();
        self.check();
    }

    fn publish(&mut self) {
        let mut meta = Meta::new(Arc::default(), Timestamp(self.now));
        meta.priority = self.dice.chance(60).then(|| self.dice.roll(12) as u8);
        meta.expires = self.dice.chance(25).then(|| Timestamp(self.now + self.dice.roll(30)));
        meta.durable = self.dice.chance(50);
        let (priority, own, durable) = (meta.priority, meta.expires, meta.durable);
        let body = Bytes::from(self.entered.to_string());
        let message = Message::from_fields(Address::queue("q"), meta, &Fields::default(), body);
        let size = match self.sub.rules.counts_whole {
            true => message.size() as u64,
            false => message.body().len() as u64,
        };
        let waiting = self.records.values().filter(|r| !matches!(r.is, Is::InFlight(_)));
        let (count, bytes) = waiting.fold((0, 0), |(n, bytes), r| (n + 1, bytes + r.size));
        let limits = self.sub.rules.limits;
        let full = limits.overflow == Overflow::RejectNew
            && (limits.messages.is_some_and(|max| count >= max)
                || limits.bytes.is_some_and(|max| bytes + size > max));
        assert_eq!(self.sub.admits(1, size), !full, "seed {}", self.seed);
        if full {
            return;
        }
        let (tags, by) = (Tags::default(), CameBy::Publish);
        let arrival = Arrival { message: message.clone(), tags, durable, by };
        let offset = self.sub.append(arrival, Timestamp(self.now));
        let queues = self.sub.rules.ttl_ms.map(|ms| self.now + ms);
        let expires = [own.map(|t| t.0), queues].into_iter().flatten().min();
        let max = self.sub.rules.max_priority;
        let known = Known {
            is: if durable { Is::Uncommitted } else { Is::Ready },
            priority: max.map_or(0, |max| priority.unwrap_or(0).min(max)),
            attempts: 0,
            expires,
            durable,
            place: false,
            size,
        };
        assert!(self.records.insert(offset.0, known).is_none(), "offset twice, seed {}", self.seed);
        self.store.insert(offset.0, message);
        self.entered += 1;
        self.note(offset.0);
    }

    /// The oldest uncommitted records are stored, or fail.
    fn commit(&mut self) {
        let waiting = |(o, r): (&u64, &Known)| (r.is == Is::Uncommitted).then_some(*o);
        let offsets: Vec<u64> = self.records.iter().filter_map(waiting).take(3).collect();
        let fails = self.dice.chance(15);
        for offset in offsets {
            if fails {
                self.sub.fail(Offset(offset));
                self.records.remove(&offset);
                self.count_left(LeftAs::Dropped, 1);
                continue;
            }
            assert!(self.sub.commit(Offset(offset), Place { pos: offset, index: 0 }));
            let known = self.records.get_mut(&offset).expect("known");
            (known.is, known.place) = (Is::Ready, true);
        }
    }

    fn attach(&mut self) {
        if self.consumers.len() >= 4 {
            return;
        }
        let handle = self.sub.consumers.handle();
        let credit = self.dice.roll(4) as u32;
        let pool = self.dice.chance(50).then(|| self.dice.roll(2) as usize);
        let mut attached = Attached::new(handle, ConsumerId(handle.0), Credit::messages(credit));
        // What is offered once although it is due is tested on the broker.
        attached.is_strict = true;
        attached.priority = self.dice.roll(3) as i16;
        attached.pools.extend(pool.map(|p| self.pools[p].0.clone()));
        self.sub.consumers.attach(attached);
        self.consumers.push(Consumer { handle, credit, pool, stopped: false });
    }

    fn pick(&mut self) -> Option<usize> {
        let count = self.consumers.len() as u64;
        (count > 0).then(|| self.dice.roll(count) as usize)
    }

    fn detach(&mut self) {
        let Some(at) = self.pick() else { return };
        let handle = self.consumers[at].handle;
        let theirs = self.in_flight(handle);
        if self.dice.chance(30) && !theirs.is_empty() {
            self.sub.consumers.stop(handle);
            self.consumers[at].stopped = true;
            return;
        }
        self.consumers.remove(at);
        let unseen: Vec<u64> = theirs.iter().copied().filter(|_| self.dice.chance(40)).collect();
        let seen = if self.dice.chance(50) { Outcome::Failed } else { Outcome::Left };
        for offset in &theirs {
            let outcome = if unseen.contains(offset) { &Outcome::Released } else { &seen };
            self.expect(*offset, outcome);
        }
        let unseen: Vec<Offset> = unseen.into_iter().map(Offset).collect();
        self.sub.leave_all(handle, &unseen, &seen, &mut self.effects);
    }

    fn in_flight(&self, handle: Handle) -> Vec<u64> {
        let with = |r: &Known| r.is == Is::InFlight(handle.0);
        self.records.iter().filter(|(_, r)| with(r)).map(|(o, _)| *o).collect()
    }

    fn settle(&mut self) {
        let Some(at) = self.pick() else { return };
        let handle = self.consumers[at].handle;
        let mut offsets = self.in_flight(handle);
        offsets.retain(|_| self.dice.chance(60));
        let outcome = match self.dice.roll(7) {
            0 => Outcome::Released,
            1 => Outcome::Failed,
            6 => Outcome::GivenBack,
            2 => Outcome::Rejected { reason: None },
            _ => Outcome::Accepted,
        };
        for offset in &offsets {
            self.expect(*offset, &outcome);
        }
        let count = offsets.len();
        // One that is unknown and one that is not theirs are ignored.
        let mut asked: Vec<Offset> = offsets.into_iter().map(Offset).collect();
        asked.push(Offset(u64::MAX));
        asked.extend(asked.first().copied());
        let settled = self.sub.settle(handle, &asked, &outcome, &mut self.effects);
        assert_eq!(settled, count, "seed {}", self.seed);
        if self.consumers[at].stopped && self.in_flight(handle).is_empty() {
            self.consumers.remove(at);
        }
    }

    /// The model's side of an outcome.
    fn expect(&mut self, offset: u64, outcome: &Outcome) {
        let (limit, counts) = (self.sub.rules.returns.limit, self.sub.rules.returns.has_own_limit);
        let known = self.records.get_mut(&offset).expect("in flight");
        let goes = match outcome {
            Outcome::Accepted | Outcome::Rejected { .. } => true,
            Outcome::Released | Outcome::Removed(_) | Outcome::Left => false,
            Outcome::GivenBack if !counts => false,
            Outcome::Failed | Outcome::GivenBack => {
                known.attempts += 1;
                limit.is_some_and(|limit| known.attempts > limit)
            }
        };
        let class = match outcome {
            Outcome::Accepted => LeftAs::Consumed,
            _ => LeftAs::DeadLettered,
        };
        match goes {
            true => self.gone(offset, class),
            false => known.is = Is::Ready,
        }
    }

    fn gone(&mut self, offset: u64, class: LeftAs) {
        assert!(self.records.remove(&offset).is_some(), "left twice, seed {}", self.seed);
        self.count_left(class, 1);
    }

    fn count_left(&mut self, class: LeftAs, count: u64) {
        self.left += count;
        *self.left_as.entry(class).or_default() += count;
    }

    fn change_credit(&mut self) {
        if self.dice.chance(50) {
            let Some(at) = self.pick() else { return };
            let credit = self.dice.roll(5) as u32;
            self.consumers[at].credit = credit;
            self.sub.consumers.set_credit(self.consumers[at].handle, Credit::messages(credit));
            return;
        }
        let pool = self.dice.roll(2) as usize;
        let credit = 1 + self.dice.roll(5) as u32;
        self.pools[pool].1 = credit;
        self.pools[pool].0.set(Credit::messages(credit), &mut self.effects.wake);
    }

    fn odd(&mut self) {
        match self.dice.roll(10) {
            8..=9 => self.operate(),
            0 => {
                let ready: Vec<u64> = self.ready().collect();
                assert_eq!(self.sub.purge(&mut self.effects), ready.len() as u64);
                ready.into_iter().for_each(|offset| self.gone(offset, LeftAs::Purged));
            }
            1..=3 => self.evict(),
            4 => self.restart(),
            _ => self.get(),
        }
    }

    fn evict(&mut self) {
        let keep = self.dice.roll(20);
        let (_, spill) = self.sub.evict(keep, 40);
        for (offset, message) in spill {
            assert_eq!(message.body(), self.store[&offset.0].body());
            assert!(self.sub.spilled(offset, Place { pos: offset.0, index: 0 }));
            self.records.get_mut(&offset.0).expect("known").place = true;
        }
        self.sub.evict(keep, 0);
    }

    /// What was stored and durable is there again, and only that.
    fn restart(&mut self) {
        let limits = self.sub.rules.clone();
        let mut fresh = Subscription::new(LogId(1), limits);
        fresh.log.skip_to(self.sub.log.next());
        let kept: BTreeMap<u64, Known> = self
            .records
            .iter()
            .filter(|(_, r)| r.durable && r.place)
            .map(|(o, r)| (*o, r.clone()))
            .collect();
        let lost = (self.records.len() - kept.len()) as u64;
        self.count_left(LeftAs::TransientLost, lost);
        fresh.counts = self.sub.counts.clone();
        fresh.counts.left(Side::Transient, LeftBy::TransientLost, lost);
        for (offset, known) in &kept {
            let message = self.store[offset].clone();
            let at = message.meta().published;
            let arrival =
                Arrival { message, tags: Tags::default(), durable: true, by: CameBy::Publish };
            let mut record = fresh.record(arrival, at);
            record.place = Some(Place { pos: *offset, index: 0 });
            record.attempts = known.attempts;
            record.state = RecordState::Ready;
            if self.dice.chance(50) {
                record.message = None;
            }
            fresh.log.put(Offset(*offset), record);
        }
        let shared: Vec<u32> = self.pools.iter().map(|(_, credit)| *credit).collect();
        self.pools = shared
            .into_iter()
            .map(|credit| (Arc::new(Pool::new(Credit::messages(credit))), credit))
            .collect();
        self.sub = fresh;
        self.sub.recover();
        self.records = kept;
        self.records.values_mut().for_each(|known| known.is = Is::Ready);
        self.consumers.clear();
    }

    /// An operator looks through the queue, holds some of what is ready, and moves a part of that.
    fn operate(&mut self) {
        self.look_through();
        let (now, mover) = (Timestamp(self.now), self.sub.consumers.handle());
        let mut held = Vec::new();
        for offset in self.ready().collect::<Vec<u64>>() {
            if !self.dice.chance(40) {
                continue;
            }
            let known = self.records.get_mut(&offset).expect("known");
            let is_due = known.expires.is_some_and(|at| at <= self.now);
            assert_eq!(self.sub.hold(mover, Offset(offset), now), !is_due, "seed {}", self.seed);
            if !is_due {
                known.is = Is::InFlight(mover.0);
                held.push(offset);
            }
        }
        if self.dice.chance(50) {
            self.dispatch();
            self.check();
        }
        if self.dice.chance(20) {
            self.evict();
        }
        let (goes, stays): (Vec<u64>, Vec<u64>) = held.iter().partition(|_| self.dice.chance(60));
        let offsets = |list: &[u64]| list.iter().copied().map(Offset).collect::<Vec<Offset>>();
        self.sub.moved(mover, (&offsets(&goes), LeftBy::Moved), &mut self.effects);
        // Those that left are let go, too: nothing happens to them.
        self.sub.let_go(mover, &offsets(&held));
        goes.into_iter().for_each(|offset| self.gone(offset, LeftAs::Moved));
        for offset in stays {
            self.records.get_mut(&offset).expect("known").is = Is::Ready;
        }
    }

    /// A scan sees each record of the queue, in its order, whatever the size of its slices.
    fn look_through(&mut self) {
        let visible = |r: &Known| match r.is {
            Is::Ready => r.expires.is_none_or(|at| at > self.now),
            Is::InFlight(_) => true,
            Is::Uncommitted => false,
        };
        let mut expected: Vec<u64> =
            self.records.iter().filter(|(_, r)| visible(r)).map(|(o, _)| *o).collect();
        if self.sub.rules.max_priority.is_some() {
            expected.sort_by_key(|o| match &self.records[o] {
                Known { is: Is::Ready, priority, .. } => (0, u8::MAX - priority, *o),
                _ => (1, 0, *o),
            });
        }
        let (upto, now) = (Offset(u64::MAX), Timestamp(self.now));
        let records = 1 + self.dice.roll(8) as usize;
        let scan = Scan { only_ready: false, upto, now, records, bytes: 100 };
        let (mut seen, mut at) = (Vec::new(), Some(Cursor::START));
        while let Some(from) = at {
            let slice = self.sub.scan(from, &scan);
            for found in &slice.found {
                let known = &self.records[&found.offset.0];
                let is_ready = known.is == Is::Ready;
                assert_eq!((found.is_ready, found.attempts), (is_ready, known.attempts));
                seen.push(found.offset.0);
            }
            at = slice.next;
        }
        assert_eq!(seen, expected, "seed {}", self.seed);
    }

    fn get(&mut self) {
        let handle = self.sub.consumers.handle();
        let nothing = Credit { messages: 0, bytes: 0 };
        let mut attached = Attached::new(handle, ConsumerId(handle.0), nothing);
        attached.is_getter = true;
        self.sub.consumers.attach(attached);
        self.sub.expire_and_note(self.now, &mut self.effects);
        self.take_effects();
        let want = self.next();
        let got = self.sub.get(handle, Timestamp(self.now), &mut self.effects);
        if !got {
            assert!(want.is_none() || !self.effects.load.is_empty() || self.sub.is_loading());
            self.sub.leave_all(handle, &[], &Outcome::Failed, &mut self.effects);
            return;
        }
        let (_, delivery) = self.effects.deliveries.pop().expect("delivered");
        assert_eq!(Some(delivery.offset.0), want, "seed {}", self.seed);
        self.records.get_mut(&delivery.offset.0).expect("known").is = Is::InFlight(handle.0);
        self.expect(delivery.offset.0, &Outcome::Released);
        self.sub.leave_all(handle, &[delivery.offset], &Outcome::Failed, &mut self.effects);
    }

    fn dispatch(&mut self) {
        loop {
            self.sub.dispatch(Timestamp(self.now), &mut self.effects);
            self.take_effects();
            let load = std::mem::take(&mut self.effects.load);
            if load.is_empty() {
                break;
            }
            let read = load.iter().map(|(o, _)| (*o, self.store[&o.0].clone())).collect();
            self.sub.loaded(read);
        }
        self.effects.wake.clear();
        self.effects.settled.clear();
        self.effects.removed.clear();
        self.effects.freed.clear();
        self.effects.attempts.clear();
    }

    /// Moves first: what the dispatch loop expired was at the head before the deliveries behind it.
    fn take_effects(&mut self) {
        for left in std::mem::take(&mut self.effects.departures) {
            match left.reason {
                // The model has let these go already.
                Reason::Rejected | Reason::DeliveryLimit => continue,
                Reason::Expired => {
                    let known = &self.records[&left.offset.0];
                    assert!(
                        known.is == Is::Ready && known.expires.is_some_and(|at| at <= self.now)
                    );
                }
                Reason::MaxLength => {
                    let known = &self.records[&left.offset.0];
                    let is_lowest =
                        self.ready().all(|o| self.records[&o].priority >= known.priority);
                    assert!(known.is == Is::Ready && is_lowest, "seed {}", self.seed);
                    // The limit is held after the deliveries of the same step.
                    self.note(left.offset.0);
                }
                Reason::Transform => panic!("not of a queue"),
            }
            self.note(left.offset.0 + 7);
            self.gone(left.offset.0, LeftAs::DeadLettered);
        }
        for (handle, delivery) in std::mem::take(&mut self.effects.deliveries) {
            self.deliver(handle, delivery.offset.0, delivery.attempts);
        }
    }

    fn deliver(&mut self, handle: Handle, offset: u64, attempts: u16) {
        let seed = self.seed;
        let known = self.records.get_mut(&offset).unwrap_or_else(|| panic!("phantom, seed {seed}"));
        assert_eq!(known.is, Is::Ready, "seed {seed}");
        assert_eq!(known.attempts, attempts, "seed {seed}");
        assert!(known.expires.is_none_or(|at| at > self.now), "expired delivered, seed {seed}");
        known.is = Is::InFlight(handle.0);
        let consumer = self.consumers.iter().find(|c| c.handle == handle).expect("attached");
        assert!(!consumer.stopped, "seed {seed}");
        let has = self.in_flight(handle).len();
        assert!(has <= consumer.credit as usize, "credit, seed {seed}");
        if let Some(pool) = consumer.pool {
            assert!(self.in_pool(pool) <= self.pools[pool].1 as usize, "pool, seed {seed}");
        }
        self.note(offset.wrapping_mul(31) + u64::from(handle.0));
    }

    fn in_pool(&self, pool: usize) -> usize {
        let members = self.consumers.iter().filter(|c| c.pool == Some(pool));
        members.map(|c| self.in_flight(c.handle).len()).sum()
    }

    fn ready(&self) -> impl Iterator<Item = u64> {
        self.records.iter().filter(|(_, r)| r.is == Is::Ready).map(|(o, _)| *o)
    }

    /// What the queue's order says is next.
    fn next(&self) -> Option<u64> {
        if self.sub.rules.max_priority.is_some() {
            return self.ready().max_by_key(|o| (self.records[o].priority, std::cmp::Reverse(*o)));
        }
        let blocked = self.records.iter().find(|(_, r)| r.is == Is::Uncommitted).map(|(o, _)| *o);
        self.ready().next().filter(|o| blocked.is_none_or(|blocked| *o < blocked))
    }

    fn check(&mut self) {
        let seed = self.seed;
        let (count, bytes) = self.sub.ready();
        let ready: Vec<u64> = self.ready().collect();
        assert_eq!(count, ready.len() as u64, "seed {seed}");
        assert_eq!(bytes, ready.iter().map(|o| self.records[o].size).sum::<u64>(), "seed {seed}");
        assert_eq!(self.sub.log.len(), self.records.len() as u64, "seed {seed}");
        assert_eq!(self.entered, self.left + self.records.len() as u64, "seed {seed}");
        self.check_counts();
        if self.sub.rules.limits.overflow == Overflow::DropHead
            && let Some(max) = self.sub.rules.limits.messages
        {
            // An uncommitted record stops the walk, and drop-head passes over what it cannot reach.
            let blocked = self.next().is_none();
            assert!(count <= max || blocked, "limit, seed {seed}");
        }
        // Nobody waits who could be served.
        if let Some(next) = self.next() {
            let due = self.records[&next].expires.is_some_and(|at| at <= self.now);
            assert!(!due, "expired at the head, seed {seed}");
            let free = |c: &Consumer| {
                !c.stopped
                    && (self.in_flight(c.handle).len() as u32) < c.credit
                    && c.pool.is_none_or(|p| self.in_pool(p) < self.pools[p].1 as usize)
            };
            let could = self.consumers.iter().any(free);
            assert!(!could || self.sub.rules.serves != Serves::All, "stall, seed {seed}");
        }
    }
}

impl World {
    /// The queue balances, and has counted what the model has.
    fn check_counts(&self) {
        let QueueTotals { tally, waiting } = self.sub.totals();
        assert_eq!((tally.came_all(), waiting), (self.entered, self.records.len() as u64));
        for class in [
            LeftAs::Consumed,
            LeftAs::DeadLettered,
            LeftAs::Dropped,
            LeftAs::Purged,
            LeftAs::Moved,
            LeftAs::TransientLost,
        ] {
            let known = self.left_as.get(&class).copied().unwrap_or(0);
            assert_eq!(tally.left_as(class), known, "{class:?}, seed {}", self.seed);
        }
        assert_eq!(self.sub.totals().missing(), 0, "seed {}", self.seed);
    }
}

/// The sim's own spelling of two steps that the shell makes one after the other.
trait Expire {
    fn expire_and_note(&mut self, now: u64, effects: &mut Effects);
}

impl Expire for Subscription {
    fn expire_and_note(&mut self, now: u64, effects: &mut Effects) {
        self.expire(Timestamp(now), effects);
    }
}

fn run(seed: u64) -> u64 {
    let mut world = World::new(seed);
    for _ in 0..120 {
        world.step();
    }
    world.trace
}

#[test]
fn seeds_hold_the_laws() {
    let seeds = std::env::var("SIM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3000);
    for seed in 1..=seeds {
        run(seed);
    }
}

#[test]
fn a_seed_is_a_history() {
    for seed in [1, 7, 4242] {
        assert_eq!(run(seed), run(seed));
    }
    assert_ne!(run(1), run(2));
}
