//! The broker killed at random moments, by seed: what was confirmed and not acknowledged is there, in order; what was
//! never sent is not; what was acknowledged and stored does not come back; a move or a transaction is done or not done.
//!
//! `CRASH_SEEDS` sets how many seeds run.

#[path = "../broker/stage.rs"]
#[allow(dead_code)]
mod stage;

use crossdock_core::memory::{Faults, MemoryStore};
use crossdock_core::*;
use stage::*;
use std::collections::BTreeMap;
use std::future::Future;
use std::task::Poll;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What is known of each message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Sent,
    Confirmed,
    /// Acknowledged; the store may or may not have heard of it.
    Acked,
    /// Acknowledged, and a later sync succeeded.
    Gone,
}

struct World {
    dice: Dice,
    stage: Stage,
    client: Client,
    known: BTreeMap<u64, Known>,
    numbers: BTreeMap<u64, u64>,
    held: Vec<Delivery>,
    next: u64,
    /// Something came back to its queue behind what it was in front of.
    is_mixed: bool,
}

async fn world(seed: u64, stage: Stage) -> World {
    let mut client = stage.client().await;
    let arguments = [
        ("x-dead-letter-exchange", Value::text("")),
        ("x-dead-letter-routing-key", Value::text("dead")),
    ];
    client.declare(queue("q", &arguments)).await;
    client.declare(QueueSpec::durable("dead")).await;
    client.declare(QueueSpec::durable("parked")).await;
    client.consume("q", 8, true).await;
    let dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (known, numbers) = (BTreeMap::new(), BTreeMap::new());
    World { dice, stage, client, known, numbers, held: Vec::new(), next: 0, is_mixed: false }
}

fn id(delivery: &Delivery) -> u64 {
    String::from_utf8_lossy(delivery.message.body()).parse().expect("a number")
}

impl World {
    async fn step(&mut self) {
        match self.dice.roll(10) {
            8..=9 => self.move_some().await,
            0..=3 => {
                for _ in 0..=self.dice.roll(4) {
                    let body = self.next.to_string();
                    let number = self.client.put(Address::queue("q"), &body, |m| m.durable = true);
                    self.numbers.insert(number, self.next);
                    self.known.insert(self.next, Known::Sent);
                    self.next += 1;
                }
                self.client.session.flush();
            }
            4 => self.settle(Outcome::Accepted, Known::Acked),
            5 => self.settle(Outcome::Rejected { reason: None }, Known::Confirmed),
            6 => self.settle(Outcome::Failed, Known::Confirmed),
            _ => {
                if self.client.session.sync().await.is_ok() {
                    let acked = self.known.values_mut().filter(|k| **k == Known::Acked);
                    acked.for_each(|k| *k = Known::Gone);
                }
            }
        }
        self.take_events().await;
        balances(&self.stage);
    }

    /// An operator moves messages, and may give up at any moment in between.
    async fn move_some(&mut self) {
        let parked = MoveTo::Queue("parked".into());
        let (from, to) = match self.dice.roll(4) {
            0 => ("dead", MoveTo::Origin),
            1 => ("parked", MoveTo::Origin),
            2 => ("dead", parked),
            _ => ("q", parked),
        };
        self.is_mixed |= to == MoveTo::Origin;
        let limit = Some(1 + self.dice.roll(5));
        let filter = match self.dice.roll(3) {
            0 => Filter::parse(["body~1"]).expect("a filter"),
            _ => Filter::all(),
        };
        let order = MoveOrder { limit, filter, ..MoveOrder::new(from, to) };
        let mut moving = Box::pin(self.client.session.move_messages(&order));
        for _ in 0..self.dice.roll(12) {
            let polled = std::future::poll_fn(|cx| Poll::Ready(moving.as_mut().poll(cx))).await;
            if polled.is_ready() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    fn settle(&mut self, outcome: Outcome, then: Known) {
        let count = (self.dice.roll(4) as usize).min(self.held.len());
        let done: Vec<Delivery> = self.held.drain(..count).collect();
        for delivery in &done {
            self.known.insert(id(delivery), then);
        }
        self.client.settle(&done, outcome);
    }

    async fn take_events(&mut self) {
        tokio::task::yield_now().await;
        let mut events = Events::default();
        let ready = self.client.session.events(&mut events);
        if tokio::time::timeout(std::time::Duration::from_millis(1), ready).await.is_err() {
            return;
        }
        for confirm in events.confirms {
            let sent = self.numbers[&confirm.number];
            if matches!(confirm.confirmed, ConfirmOutcome::Stored)
                && self.known[&sent] == Known::Sent
            {
                self.known.insert(sent, Known::Confirmed);
            }
        }
        for delivery in events.deliveries {
            let known = self.known.get(&id(&delivery)).copied().expect("no phantom");
            assert!(known != Known::Gone && known != Known::Acked, "delivered after its ack");
            self.held.push(delivery);
        }
        self.client.session.encoded(1);
        self.client.session.flushed(1);
        self.client.session.flush();
    }
}

/// Every address balances, before a crash and behind it.
fn balances(stage: &Stage) {
    let found = stage.broker.audit();
    assert!(found.is_empty(), "{}", found[0]);
}

/// All bodies of a queue, in order.
async fn drain(client: &mut Client, queue: &str) -> Vec<u64> {
    let mut all = Vec::new();
    while let Some((delivery, _)) =
        client.session.get(client.lane, queue, true).await.expect("there")
    {
        all.push(id(&delivery));
    }
    all
}

async fn run(seed: u64) {
    let store = MemoryStore::default();
    // Mostly with marks so small that snapshots, cleaning and eviction go on all the time.
    let tight = Settings { snapshot_bytes: 300, memory_resident: 3_000, ..Settings::default() };
    let settings = if seed.is_multiple_of(4) { Settings::default() } else { tight };
    let mut world = world(seed, Stage::with(store, settings, Vec::new()).await).await;
    let steps = 5 + world.dice.roll(60);
    if world.dice.roll(3) == 0 {
        let append_fails_at = Some(10 + world.dice.roll(20));
        world.stage.store.set_faults(Faults { append_fails_at, ..Faults::default() });
    }
    for _ in 0..steps {
        world.step().await;
    }
    let World { stage, known, client, held, is_mixed, .. } = world;
    let stage = stage.crash().await;
    drop((client, held));
    balances(&stage);
    let mut client = stage.client().await;
    let (queue, dead) = (drain(&mut client, "q").await, drain(&mut client, "dead").await);
    let elsewhere = [dead, drain(&mut client, "parked").await].concat();
    balances(&stage);
    assert!(is_mixed || queue.is_sorted(), "order, seed {seed}: {queue:?}");
    for n in queue.iter().chain(&elsewhere) {
        assert!(known.contains_key(n), "phantom {n}, seed {seed}");
        assert!(known[n] != Known::Gone, "{n} came back after a stored ack, seed {seed}");
    }
    for (n, known) in &known {
        let places = queue.iter().chain(&elsewhere).filter(|x| *x == n).count();
        assert!(places <= 1, "{n} is twice, seed {seed}");
        if *known == Known::Confirmed {
            assert_eq!(places, 1, "{n} was confirmed and is lost, seed {seed}");
        }
    }
}

#[test]
fn confirmed_messages_survive_every_crash() {
    let seeds = std::env::var("CRASH_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    for seed in 1..=seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(run(seed));
    }
}
