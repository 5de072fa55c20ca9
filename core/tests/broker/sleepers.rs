//! Subscribers that are away, and the disk that keeps what waits for them. The disk is simulated: it has what the
//! journal does not take.

use crate::stage::*;
use crossdock_core::memory::MemoryStore;
use crossdock_core::store::{JournalId, Space, Store};
use crossdock_core::*;
use std::time::Duration;

const TOTAL: u64 = 2_000_000;
const ALARM: u64 = 100_000;
/// Bytes of a message's body.
const BODY: usize = 500;

struct House {
    stage: Stage,
    publisher: Client,
    /// Bytes of the disk that something else has.
    others: u64,
    sent: usize,
    lowest: u64,
}

impl House {
    async fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            snapshot_bytes: 20_000,
            disk_free_alarm: Some(ALARM),
            disk_free_hard: 1_000,
            ..Settings::default()
        };
        change(&mut settings);
        let store = MemoryStore::default();
        store.set_space(Some(Space { free: TOTAL, total: TOTAL }));
        let stage = Stage::with(store, settings, Vec::new()).await;
        let publisher = stage.client().await;
        Self { stage, publisher, others: 0, sent: 0, lowest: TOTAL }
    }

    /// A session that is away, with that filter.
    async fn sleeper(&self, name: &str, filter: &str) {
        self.stage.named(name, false, SessionLife::Forever).await.subscribe(filter, 1).await;
    }

    /// Bytes of the disk that are free, which the broker is told.
    fn free(&mut self) -> u64 {
        let stretches = self.stage.store.stretches(JournalId::Meta);
        let journal: u64 = stretches.iter().map(|stretch| stretch.bytes).sum();
        let free = TOTAL.saturating_sub(journal + self.others);
        self.stage.store.set_space(Some(Space { free, total: TOTAL }));
        self.lowest = self.lowest.min(free);
        free
    }

    /// Publishes messages, each with its number as its body, and waits until they are stored.
    async fn publish(&mut self, key: &str, count: usize) {
        for n in 0..count {
            let body = format!("{:0>BODY$}", self.sent);
            self.sent += 1;
            let last = self.publisher.put(topic(key), &body, |meta| {
                meta.durable = true;
                meta.level = 1;
            });
            if n % 20 == 19 || n + 1 == count {
                self.publisher.session.flush();
                let stored = self.publisher.confirmed(last).await;
                assert!(matches!(stored, ConfirmOutcome::Stored), "{stored:?}");
                self.free();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    fn ready(&self, queue: &str) -> usize {
        self.publisher.ready(queue) as usize
    }

    fn dropped(&self) -> usize {
        self.stage.broker.dropped_for_subscribers() as usize
    }

    /// After every look that may be due.
    async fn settled(&mut self) {
        for _ in 0..30 {
            self.free();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The number of a message.
fn number(delivery: &Delivery) -> usize {
    let body = std::str::from_utf8(delivery.message.body()).expect("digits");
    body.parse().expect("a number")
}

#[tokio::test]
async fn a_subscriber_that_is_away_never_fills_the_disk() {
    let mut house = House::new(|_| ()).await;
    house.sleeper("away", "t").await;
    // A quarter of the disk is kept without a loss,
    house.publish("t", 700).await;
    house.settled().await;
    assert_eq!((house.ready("away"), house.dropped()), (700, 0));
    // of what comes beyond the newest are.
    house.publish("t", 3_300).await;
    house.settled().await;
    let (ready, dropped) = (house.ready("away"), house.dropped());
    assert_eq!(ready + dropped, 4_000);
    assert!((650..900).contains(&ready), "{ready} wait");
    let lowest = house.lowest;
    assert!(lowest > ALARM + ALARM / 8, "no publisher was held back: {lowest} were free at least");
    let mut back = house.stage.named("away", false, SessionLife::Forever).await;
    let consumer = Consumer {
        source: ConsumerSource::Own,
        settles: true,
        exclusive: false,
        priority: 0,
        credit: Credit::messages(5_000),
        pools: Default::default(),
        only_unexpired: false,
        has_time: false,
        tag: "".into(),
    };
    back.session.attach(back.lane, consumer).await.expect("attached");
    let got: Vec<usize> = back.take(ready).await.iter().map(number).collect();
    assert_eq!(got, (4_000 - ready..4_000).collect::<Vec<_>>());
    // What was dropped stays dropped.
    let stage = house.stage.crash().await;
    assert_eq!(stage.client().await.ready("away") as usize, ready);
}

#[tokio::test]
async fn what_several_subscribers_wait_for_is_counted_once() {
    let mut house = House::new(|_| ()).await;
    for n in 0..20 {
        house.sleeper(&format!("s{n}"), "t").await;
    }
    house.publish("t", 400).await;
    house.settled().await;
    assert_eq!((house.ready("s7"), house.dropped()), (400, 0));
    // Beyond the limit a message leaves all of them: from one alone it would give nothing back.
    house.publish("t", 1_600).await;
    house.settled().await;
    let ready = house.ready("s7");
    assert!((300..700).contains(&ready), "{ready} wait");
    for n in 0..20 {
        assert_eq!(house.ready(&format!("s{n}")), ready);
    }
    assert_eq!(house.dropped(), (2_000 - ready) * 20);
}

#[tokio::test]
async fn what_a_drop_would_not_free_is_not_dropped() {
    let mut house = House::new(|_| ()).await;
    house.sleeper("away", "t").await;
    house.publisher.declare(QueueSpec::durable("work")).await;
    house.publisher.bind(TOPICS, "t", "work").await;
    house.publish("t", 1_200).await;
    house.settled().await;
    assert_eq!((house.ready("away"), house.dropped()), (1_200, 0));
    house.publisher.session.purge("work").await.expect("there");
    house.publish("t", 100).await;
    house.settled().await;
    assert!(house.dropped() > 300, "{}", house.dropped());
}

#[tokio::test]
async fn the_one_that_holds_most_drops() {
    let mut house = House::new(|_| ()).await;
    house.sleeper("small", "s").await;
    house.sleeper("large", "l").await;
    house.publish("s", 100).await;
    house.publish("l", 1_500).await;
    house.settled().await;
    assert_eq!(house.ready("small"), 100);
    let large = house.ready("large");
    assert!((550..800).contains(&large), "{large} wait");
    assert_eq!(house.dropped(), 1_500 - large);
}

#[tokio::test]
async fn others_who_fill_the_disk_leave_less_for_subscribers() {
    let mut house = House::new(|_| ()).await;
    house.sleeper("away", "t").await;
    house.others = TOTAL - ALARM - 300_000;
    house.publish("t", 200).await;
    house.settled().await;
    assert_eq!((house.ready("away"), house.dropped()), (200, 0));
    house.publish("t", 600).await;
    house.settled().await;
    let ready = house.ready("away");
    // Half of what is free, 150,000 bytes.
    assert!((130..280).contains(&ready), "{ready} wait");
    assert!(house.lowest > ALARM, "{} were free at least", house.lowest);
}

#[tokio::test]
async fn each_has_a_limit_of_its_own() {
    let mut house = House::new(|s| s.objects.clients.subscription_bytes = 50_500).await;
    house.sleeper("away", "t").await;
    house.publish("t", 300).await;
    house.settled().await;
    let ready = house.ready("away");
    assert!((90..=100).contains(&ready), "{ready} wait");
    assert_eq!(house.dropped(), 300 - ready);
    // It is the setting's, not the queue's: it holds for what was stored before.
    let stage = house.stage.crash().await;
    let mut c = stage.client().await;
    for n in 0..100 {
        c.durable(topic("t"), &format!("{n:0>BODY$}")).await;
    }
    assert_eq!(c.ready("away") as usize, ready + 100);
}
