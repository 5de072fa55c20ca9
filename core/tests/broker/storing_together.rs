//! What is stored, refused or answered together: refused publishes, transactions, verbs behind publishes.

use crate::stage::*;
use bytes::Bytes;
use crossdock_core::*;
use std::time::Duration;

#[tokio::test]
async fn what_was_refused_is_neither_noted_nor_retained() {
    let stage = Stage::new().await;
    let mut s = stage.named("s", false, SessionLife::Forever).await;
    let arguments =
        [("x-max-length", Value::I32(1)), ("x-overflow", Value::text("reject-publish"))];
    s.declare(queue("full", &arguments)).await;
    s.bind(TOPICS, "t", "full").await;
    let mut publish = |body: &str, key: &'static [u8], last: bool| {
        let message = s.message(topic("t"), body, |meta| {
            at_level_1(meta);
            meta.retain = true;
        });
        let value = Some(Bytes::from_static(b"x"));
        let memo = Memo { key: Bytes::from_static(key), value };
        let publish = Publish::new(message, true);
        let number = s.session.publish_with(s.lane, publish, memo);
        if last {
            s.session.flush();
        }
        number
    };
    let taken = publish("first", b"q1", true);
    let refused = [publish("second", b"q2", false), publish("third", b"q3", true)];
    assert!(matches!(s.confirmed(taken).await, ConfirmOutcome::Stored));
    for number in refused {
        assert!(matches!(s.confirmed(number).await, ConfirmOutcome::Refused(_)));
    }
    let stage = stage.crash().await;
    let s = stage.named("s", false, SessionLife::Forever).await;
    let keys: Vec<_> = s.session.memos().into_iter().map(|memo| memo.key).collect();
    assert_eq!(keys, ["q1"]);
    let mut late = stage.named("late", true, SessionLife::No).await;
    let replay = Replay::Always;
    late.session
        .bind(Bind { replay, ..Bind::new(TOPICS, "t".into(), BindTarget::Own) })
        .await
        .expect("bound");
    assert_eq!(bodies(&late.take(1).await), ["first"]);
}

#[tokio::test]
async fn a_reject_in_a_transaction_is_stored_with_it_although_the_message_had_left_memory() {
    let settings = Settings { memory_resident: 20_000, ..Settings::default() };
    let stage = Stage::with(memory::MemoryStore::default(), settings, Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(dead_lettering("a", "dead", &[])).await;
    c.declare(QueueSpec::durable("dead")).await;
    c.declare(QueueSpec::durable("out")).await;
    let body = "x".repeat(2000);
    for _ in 0..100 {
        c.durable(Address::queue("a"), &body).await;
    }
    c.consume("a", 100, true).await;
    let got: Vec<_> = c.take(100).await.into_iter().map(|d| (d.consumer, d.offset)).collect();
    until("they are out of memory", || stage.broker.memory_used() < 20_000).await;
    let reject = |c: &mut Client| {
        for (consumer, offset) in &got[..50] {
            let lane = c.lane;
            c.session.settle(lane, *consumer, &[*offset], Outcome::Rejected { reason: None });
        }
    };
    c.session.begin(c.lane);
    reject(&mut c);
    c.put(Address::queue("out"), "done", at_level_1);
    let before = stage.store.appends();
    c.session.commit(c.lane).await.expect("stored");
    assert!(stage.store.appends() <= before + 1, "one entry");
    for (consumer, offset) in &got[50..] {
        let lane = c.lane;
        c.session.settle(lane, *consumer, &[*offset], Outcome::Rejected { reason: None });
    }
    c.session.sync().await.expect("done");
    let stage = stage.crash().await;
    let c = stage.client().await;
    assert_eq!((c.ready("a"), c.ready("dead"), c.ready("out")), (0, 100, 1));
}

#[tokio::test]
async fn a_verb_does_not_overtake_what_was_published_before_it() {
    let settings = Settings { session_share: 10_000, ..Settings::default() };
    let stage = Stage::with(memory::MemoryStore::default(), settings, Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    c.bind(TOPICS, "t", "q").await;
    let body = "x".repeat(5000);
    for _ in 0..20 {
        c.put(topic("t"), &body, at_level_1);
        c.session.flush();
    }
    c.session
        .unbind(Bind::new(TOPICS, "t".into(), BindTarget::Queue("q".into())))
        .await
        .expect("was there");
    assert_eq!(c.ready("q"), 20);
    for _ in 0..20 {
        c.put(Address::queue("q"), &body, at_level_1);
        c.session.flush();
    }
    assert_eq!(c.session.purge("q").await.expect("purged"), 40);
    assert_eq!(c.ready("q"), 0);
}

#[tokio::test]
async fn answers_wait_for_what_was_submitted_on_its_own() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    for auto_delete in [false, true] {
        let name = format!("auto-{auto_delete}");
        c.declare(QueueSpec { auto_delete, ..QueueSpec::durable(name) }).await;
    }
    let consumer = c.consume("auto-true", 1, true).await;
    let stalled = || memory::Faults { stalled: true, ..memory::Faults::default() };
    let soon = Duration::from_millis(100);
    stage.store.set_faults(stalled());
    let number = c.put(topic("r"), "value", |meta| meta.retain = true);
    c.session.flush();
    assert!(c.events().await.confirms.is_empty(), "the value is not stored");
    stage.store.release();
    assert!(matches!(c.confirmed(number).await, ConfirmOutcome::Unroutable(_)));
    stage.store.set_faults(stalled());
    let deleted = c.session.delete_queue("auto-false", false, false);
    assert!(tokio::time::timeout(soon, deleted).await.is_err(), "the queue is not deleted");
    let detached = c.session.detach(consumer, OnDetach::Return);
    assert!(tokio::time::timeout(soon, detached).await.is_err(), "its queue is not deleted");
    stage.store.release();
    c.session.sync().await.expect("stored");
    let stage = stage.crash().await;
    let c = stage.client().await;
    assert!(["auto-false", "auto-true"].iter().all(|name| c.session.queue_status(name).is_err()));
}
