//! Memory of deep queues, free disk space, parts of the journal that few records still need, damage.

use crate::stage::*;
use crossdock_core::memory::MemoryStore;
use crossdock_core::store::Space;
use crossdock_core::*;
use std::time::Duration;

/// Small marks, so that little work leads to snapshots, cleaning and eviction.
fn tight() -> Settings {
    Settings { snapshot_bytes: 4_000, memory_resident: 20_000, ..Settings::default() }
}

#[tokio::test]
async fn one_old_message_does_not_keep_the_journal() {
    let stage = Stage::with(MemoryStore::default(), tight(), Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("slow")).await;
    c.declare(QueueSpec::durable("other")).await;
    c.declare(QueueSpec::durable("busy")).await;
    c.bind("amq.fanout", "", "slow").await;
    c.bind("amq.fanout", "", "other").await;
    let all = Address::new("amq.fanout".into(), "".into());
    assert!(matches!(c.durable(all, "first").await, ConfirmOutcome::Stored));
    // Somebody has failed with it.
    let slow = c.consume("slow", 1, true).await;
    let got = c.take(1).await;
    c.session.detach(slow, OnDetach::Return).await;
    assert_eq!(bodies(&got), ["first"]);
    c.consume("busy", 100, true).await;
    let body = "x".repeat(200);
    for n in 0..600 {
        if n % 60 == 1 {
            c.durable(Address::queue("slow"), &format!("slow {n}")).await;
        }
        c.durable(Address::queue("busy"), &body).await;
        let got = c.take(1).await;
        c.settle(&got, Outcome::Accepted);
    }
    c.session.sync().await.expect("stored");
    until("the journal is short", || stage.store.entries() < 200).await;
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    assert_eq!((c.ready("busy"), c.ready("other"), c.ready("slow")), (0, 1, 11));
    c.consume("slow", 20, true).await;
    let got = c.take(11).await;
    let slow = (0..10).map(|n| format!("slow {}", 60 * n + 1));
    assert_eq!(bodies(&got), std::iter::once("first".to_owned()).chain(slow).collect::<Vec<_>>());
    c.consume("other", 1, true).await;
    assert_eq!(bodies(&c.take(1).await), ["first"]);
}

#[tokio::test]
async fn parts_of_a_large_message_stay_as_long_as_it() {
    let stage = Stage::with(MemoryStore::default(), tight(), Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    c.declare(QueueSpec::durable("busy")).await;
    let large = "y".repeat(9 << 20);
    assert!(matches!(c.durable(Address::queue("q"), &large).await, ConfirmOutcome::Stored));
    c.consume("busy", 100, false).await;
    for _ in 0..200 {
        c.durable(Address::queue("busy"), &"x".repeat(200)).await;
        c.take(1).await;
    }
    until("the journal is short", || stage.store.entries() < 100).await;
    // Once more, after a restart whose snapshot names the parts.
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    c.consume("busy", 100, false).await;
    for _ in 0..200 {
        c.durable(Address::queue("busy"), &"x".repeat(200)).await;
        c.take(1).await;
    }
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    c.consume("q", 1, true).await;
    assert_eq!(c.take(1).await[0].message.body().len(), large.len());
}

#[tokio::test]
async fn a_deep_queue_does_not_stay_in_memory() {
    let settings = Settings { memory_resident: 300_000, ..Settings::default() };
    let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    let body = "x".repeat(500);
    let count = 5_000;
    let mut last = 0;
    for n in 0..count {
        last = c.put(Address::queue("q"), &format!("{n} {body}"), |meta| meta.durable = true);
        if n % 100 == 99 {
            c.session.flush();
            c.confirmed(last).await;
        }
    }
    assert_eq!(last, count);
    until("memory is free", || stage.broker.memory_used() < 300_000).await;
    let stage = stage.crash().await;
    assert!(stage.broker.memory_used() < 1_000, "nothing is read before it is wanted");
    let mut c = stage.client().await;
    c.consume("q", 50, true).await;
    for n in 0..count / 50 {
        let got = c.take(50).await;
        let first = got[0].message.body();
        assert!(first.starts_with(format!("{} ", n * 50).as_bytes()), "{n}");
        c.settle(&got, Outcome::Accepted);
    }
    assert_eq!(c.ready("q"), 0);
}

#[tokio::test]
async fn what_goes_nowhere_is_dropped_without_being_read_back() {
    let settings = Settings { memory_resident: 50_000, ..Settings::default() };
    let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
    let mut c = stage.client().await;
    let limits = Limits { messages: Some(500), ..Limits::default() };
    c.declare(QueueSpec { limits, ..QueueSpec::durable("long") }).await;
    c.declare(QueueSpec { ttl_ms: Some(300), ..QueueSpec::durable("short-lived") }).await;
    c.declare(QueueSpec::durable("rejected")).await;
    let body = "x".repeat(500);
    let mut sent = 0;
    for n in 0..1_500 {
        for queue in ["long", "short-lived", "rejected"] {
            sent = c.put(Address::queue(queue), &format!("{n} {body}"), |m| m.durable = true);
        }
        if n % 100 == 99 {
            c.session.flush();
            c.confirmed(sent).await;
        }
    }
    until("memory is free", || stage.broker.memory_used() < 300_000).await;
    // The first ones were dropped for the last ones, and more go now.
    for n in 1_500..2_000 {
        sent = c.put(Address::queue("long"), &format!("{n} {body}"), |m| m.durable = true);
    }
    c.session.flush();
    c.confirmed(sent).await;
    until("the queue's limit holds", || c.ready("long") == 500).await;
    until("they expire", || c.ready("short-lived") == 0).await;
    assert_eq!(stage.store.fetches(), 0);
    // What was given out and left memory meanwhile can be rejected.
    let consumer = c.consume("rejected", 100, true).await;
    let got = c.take(100).await;
    until("memory is free", || stage.broker.memory_used() < 300_000).await;
    let before = stage.store.fetches();
    c.settle(&got, Outcome::Rejected { reason: None });
    c.session.sync().await.expect("stored");
    c.session.detach(consumer, OnDetach::Return).await;
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    assert_eq!((c.ready("long"), c.ready("short-lived")), (500, 0));
    c.consume("long", 1, true).await;
    assert!(c.take(1).await[0].message.body().starts_with(b"1500 "));
    assert!(before > 0 && c.ready("rejected") <= 1_400, "{} of 1,500 wait", c.ready("rejected"));
}

/// Transient messages: `count` of 500 bytes and their number, from `first`.
async fn put_transient(c: &mut Client, first: usize, count: usize) {
    let body = "x".repeat(500);
    for n in first..first + count {
        c.put(Address::queue("q"), &format!("{n} {body}"), |_| {});
        if n % 100 == 99 {
            c.session.flush();
            tokio::task::yield_now().await;
        }
    }
    c.session.flush();
}

#[tokio::test]
async fn a_deep_queue_of_transient_messages_does_not_stay_in_memory() {
    let settings = Settings { memory_resident: 300_000, ..Settings::default() };
    let stage = Stage::with(MemoryStore::with_spill(64 << 20), settings, Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    let appends = stage.store.appends();
    put_transient(&mut c, 0, 5_000).await;
    until("memory is free", || stage.broker.memory_used() < 300_000).await;
    assert!(stage.store.spilled_pieces() > 4);
    assert_eq!(stage.store.appends(), appends, "nothing of it goes through the journal");
    // Some more, while the first ones are read back: all come once and in their order.
    put_transient(&mut c, 5_000, 1_000).await;
    let consumer = c.consume("q", 50, true).await;
    for n in 0..6_000 / 50 {
        let got = c.take(50).await;
        let first = got[0].message.body();
        assert!(first.starts_with(format!("{} ", n * 50).as_bytes()), "{n}");
        c.settle(&got, Outcome::Accepted);
    }
    assert_eq!(c.ready("q"), 0);
    c.session.sync().await.expect("stored");
    until("their pieces are given up", || stage.store.spilled_pieces() == 0).await;
    c.session.detach(consumer, OnDetach::Return).await;
    // What is purged gives up its pieces, too; and a crash leaves nothing.
    put_transient(&mut c, 0, 3_000).await;
    until("memory is free", || stage.broker.memory_used() < 300_000).await;
    assert!(stage.store.spilled_pieces() > 0);
    c.session.purge("q").await.expect("there");
    until("their pieces are given up", || stage.store.spilled_pieces() == 0).await;
    put_transient(&mut c, 0, 3_000).await;
    until("memory is free", || stage.broker.memory_used() < 300_000).await;
    let stage = stage.crash().await;
    let c = stage.client().await;
    assert_eq!((c.ready("q"), stage.store.spilled_pieces()), (0, 0));
}

#[tokio::test]
async fn full_spill_files_hold_publishers_back_until_there_is_room() {
    let settings =
        Settings { memory_resident: 100_000, memory_high: 2_000_000, ..Settings::default() };
    let stage = Stage::with(MemoryStore::with_spill(200_000), settings, Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    put_transient(&mut c, 0, 6_000).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    c.session.flush();
    let taken = c.ready("q");
    assert!(taken > 500 && taken < 6_000, "{taken} messages are in the queue, the others wait");
    // Room comes: what waits leaves memory, and the publishers go on.
    stage.store.set_spill_max(64 << 20);
    until("publishers go on", || {
        c.session.flush();
        c.ready("q") == 6_000
    })
    .await;
    c.consume("q", 100, true).await;
    for n in 0..60 {
        let got = c.take(100).await;
        assert!(got[0].message.body().starts_with(format!("{} ", n * 100).as_bytes()), "{n}");
        c.settle(&got, Outcome::Accepted);
    }
    assert_eq!(c.ready("q"), 0);
}

/// A disk with a little free space above its marks, and a message in queue `q`.
async fn on_a_small_disk() -> (Stage, Client) {
    let settings =
        Settings { disk_free_alarm: Some(1000), disk_free_hard: 500, ..Settings::default() };
    let store = MemoryStore::default();
    store.set_space(Some(Space { free: 5000, total: 10_000 }));
    let stage = Stage::with(store, settings, Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    assert!(matches!(c.durable(Address::queue("q"), "before").await, ConfirmOutcome::Stored));
    (stage, c)
}

#[tokio::test]
async fn a_full_disk_holds_publishers_back_and_consumers_go_on() {
    let (stage, mut c) = on_a_small_disk().await;
    stage.store.set_space(Some(Space { free: 400, total: 10_000 }));
    let refused = loop {
        match c.session.declare_queue(QueueSpec::durable(format!("{:?}", stage.broker.now()))).await
        {
            Err(error) => break error,
            Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::Full);
    let held = c.put(Address::queue("q"), "held", |meta| meta.durable = true);
    c.session.flush();
    let mut events = c.events().await;
    events.confirms.append(&mut c.events().await.confirms);
    assert!(events.confirms.is_empty() && matches!(events.notices[..], [Notice::Blocked(true)]));
    c.consume("q", 10, true).await;
    let got = c.take(1).await;
    c.settle(&got, Outcome::Accepted);
    c.session.sync().await.expect("settles are stored");
    stage.store.set_space(Some(Space { free: 1050, total: 10_000 }));
    c.nothing().await;
    stage.store.set_space(Some(Space { free: 3000, total: 10_000 }));
    assert!(matches!(c.confirmed(held).await, ConfirmOutcome::Stored));
    assert_eq!(bodies(&c.take(1).await), ["held"]);
}

#[tokio::test]
async fn a_full_disk_holds_transactions_back_that_publish() {
    let (stage, mut c) = on_a_small_disk().await;
    c.consume("q", 10, true).await;
    let got = c.take(1).await;
    let (publishes, settles) = (c.lane, c.session.lane());
    c.session.begin(publishes);
    c.put(Address::queue("q"), "in it", |meta| meta.durable = true);
    assert!(c.session.may_commit(publishes));
    stage.store.set_space(Some(Space { free: 800, total: 10_000 }));
    while c.session.may_commit(publishes) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let events = c.events().await;
    assert!(matches!(events.notices[..], [Notice::Blocked(true)]));
    c.session.begin(settles);
    c.lane = settles;
    c.settle(&got, Outcome::Accepted);
    assert!(c.session.may_commit(settles), "acknowledgements go on");
    c.session.commit(settles).await.expect("stored");
    assert_eq!(c.ready("q"), 0);
    stage.store.set_space(Some(Space { free: 3000, total: 10_000 }));
    let mut notices = Vec::new();
    for _ in 0..20 {
        notices.append(&mut c.events().await.notices);
        if !notices.is_empty() {
            break;
        }
    }
    assert!(matches!(notices[..], [Notice::Blocked(false)]), "it is woken: {notices:?}");
    assert!(c.session.may_commit(publishes));
    c.session.commit(publishes).await.expect("stored");
    assert_eq!(bodies(&c.take(1).await), ["in it"]);
}

#[tokio::test]
async fn damage_is_accepted_once_or_not_at_all() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    for n in 0..5 {
        c.durable(Address::queue("q"), &n.to_string()).await;
    }
    let store = stage.store.crashed();
    store.damage(4);
    let setup = |accept_damage| Setup {
        settings: Settings { accept_damage, ..Settings::default() },
        formats: Formats::new(Vec::new()),
        topology: vec![ExchangeSpec::new(TOPICS, Kind::Topic)],
        store: std::sync::Arc::new(store.clone()),
        authenticator: std::sync::Arc::new(LoopbackGuest),
        users: Vec::new(),
    };
    let refused = Broker::open(setup(false)).await.map(|_| ()).expect_err("damaged");
    assert!(refused.detail().contains("--accept-damage"), "{refused}");
    for accept in [true, false] {
        let stage = Stage {
            store: store.clone(),
            broker: Broker::open(setup(accept)).await.expect("opens"),
        };
        let mut c = stage.client().await;
        c.consume("q", 10, true).await;
        let got = c.take(4).await;
        assert_eq!(bodies(&got).len(), 4);
        assert!(got.iter().all(|d| d.redelivered));
        // The loss stands over restarts, until somebody accepts it.
        let losses = stage.broker.losses();
        assert_eq!(losses.iter().map(|loss| loss.lost.records).collect::<Vec<_>>(), [Some(1)]);
        if !accept {
            assert_eq!(stage.broker.accept_losses(losses[0].number).await.ok(), Some(1));
            assert!(stage.broker.losses().is_empty());
        }
    }
}

#[tokio::test]
async fn a_restart_catches_up() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    for name in ["used", "unused"] {
        c.declare(QueueSpec { auto_delete: true, ..QueueSpec::durable(name) }).await;
        c.bind(TOPICS, name, name).await;
    }
    c.declare(queue("short", &[("x-max-length", Value::I32(2))])).await;
    c.consume("used", 1, true).await;
    for n in 0..3 {
        c.durable(Address::queue("short"), &n.to_string()).await;
    }
    // What a crash leaves whose last drop was not stored: three messages in a queue of two.
    let long = stage.store.crashed();
    let stage = Stage::with(long, Settings::default(), Vec::new()).await;
    let mut c = stage.client().await;
    assert!(c.session.queue_status("used").is_err() && c.session.queue_status("unused").is_ok());
    assert_eq!(c.ready("short"), 2);
    c.consume("short", 5, true).await;
    assert_eq!(bodies(&c.take(2).await), ["1", "2"]);
    let again = Stage::with(stage.store.crashed(), Settings::default(), Vec::new()).await;
    assert!(again.client().await.session.queue_status("used").is_err());
}
