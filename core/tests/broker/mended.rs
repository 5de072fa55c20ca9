//! What was once lost, forged or made up over a crash, a take-over or a change of mind: one test for each.

use crate::stage::*;
use bytes::Bytes;
use crossdock_core::*;
use std::time::Duration;

fn durable(meta: &mut Meta) {
    meta.durable = true;
    meta.level = 1;
}

/// A queue that dead-letters to another.
fn dying(name: &str, to: &str, more: &[(&str, Value)]) -> QueueSpec {
    let dead = [
        ("x-dead-letter-exchange", Value::text("")),
        ("x-dead-letter-routing-key", Value::text(to)),
    ];
    queue(name, &[&dead[..], more].concat())
}

#[tokio::test]
async fn a_time_to_live_counts_from_the_arrival_also_after_a_crash() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(dying("a", "b", &[])).await;
    c.declare(queue("b", &[("x-message-ttl", Value::I32(1500))])).await;
    c.durable(Address::queue("a"), "m").await;
    c.consume("a", 1, true).await;
    let got = c.take(1).await;
    tokio::time::sleep(Duration::from_millis(1300)).await;
    c.settle(&got, Outcome::Rejected { reason: None });
    c.session.sync().await.expect("stored");
    let stage = stage.crash().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(stage.client().await.ready("b"), 1, "it came half a second ago");
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(stage.client().await.ready("b"), 0, "and it does expire");
}

#[tokio::test]
async fn bindings_to_what_was_deleted_stay_away() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    let alternate = [("alternate-exchange".into(), Value::text("amq.fanout"))];
    let main =
        ExchangeSpec { arguments: alternate.into(), ..ExchangeSpec::new("main", Kind::Topic) };
    c.session.declare_exchange(main).await.expect("declared");
    c.session.declare_exchange(ExchangeSpec::new("other", Kind::Topic)).await.expect("declared");
    c.declare(QueueSpec::durable("gone")).await;
    c.declare(QueueSpec::durable("rest")).await;
    c.bind("amq.fanout", "", "rest").await;
    c.bind("main", "k", "gone").await;
    c.session
        .bind(Bind::new("main", "e".into(), To::Exchange("other".into())))
        .await
        .expect("bound");
    c.session.delete_queue("gone", false, false).await.expect("deleted");
    c.session.delete_exchange("other", false).await.expect("deleted");
    c.session.declare_exchange(ExchangeSpec::new("other", Kind::Topic)).await.expect("declared");
    c.declare(QueueSpec::durable("q")).await;
    c.bind("other", "e", "q").await;
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    for key in ["k", "e"] {
        c.durable(Address::new("main".into(), key.into()), key).await;
    }
    assert_eq!((c.ready("rest"), c.ready("q")), (2, 0), "both go to the alternate exchange");
    c.session
        .unbind(Bind::new("amq.fanout", "".into(), To::Queue("rest".into())))
        .await
        .expect("was there");
    c.session.delete_exchange("main", true).await.expect("nothing is bound to it");
}

#[tokio::test]
async fn a_fanout_exchange_is_seen_whatever_the_key_of_its_binding() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    let to = || Address::new("amq.fanout".into(), "order/created".into());
    assert!(matches!(c.durable(to(), "0").await, Confirmed::Unroutable(_)));
    c.bind("amq.fanout", "", "q").await;
    assert!(matches!(c.durable(to(), "1").await, Confirmed::Stored));
    c.session
        .unbind(Bind::new("amq.fanout", "".into(), To::Queue("q".into())))
        .await
        .expect("was there");
    assert!(matches!(c.durable(to(), "2").await, Confirmed::Unroutable(_)));
    assert_eq!(c.ready("q"), 1);
}

#[tokio::test]
async fn a_session_that_was_to_end_with_its_connection_does_not_come_back() {
    let stage = Stage::new().await;
    let mut s = stage.named("lasts", false, Keep::Forever).await;
    s.subscribe("t", 1).await;
    drop(s);
    let s = stage.named("lasts", false, Keep::No).await;
    assert!(s.session.resumed());
    let mut kept = stage.named("ended", false, Keep::Forever).await;
    kept.subscribe("t", 1).await;
    kept.session.set_keep(Keep::No).await.expect("stored");
    drop(kept);
    let stage = stage.crash().await;
    let mut p = stage.client().await;
    assert!(matches!(p.durable(topic("t"), "for nobody").await, Confirmed::Unroutable(_)));
    for name in ["lasts", "ended"] {
        assert!(p.session.queue_status(name).is_err(), "the queue of {name} went with it");
        let s = stage.named(name, false, Keep::Forever).await;
        assert!(!s.session.resumed() && s.session.own_bindings().is_empty(), "{name}");
    }
    drop(s);
}

#[tokio::test]
async fn a_session_taken_from_a_connection_with_which_it_ends_is_a_new_one() {
    let stage = Stage::new().await;
    let mut passing = stage.named("s", false, Keep::No).await;
    passing.subscribe("old", 1).await;
    let mut s = stage.named("s", false, Keep::Forever).await;
    assert!(!s.session.resumed() && s.session.own_bindings().is_empty());
    s.subscribe("new", 1).await;
    drop(s);
    stage.client().await.durable(topic("new"), "m").await;
    let stage = stage.crash().await;
    let mut s = stage.named("s", false, Keep::Forever).await;
    assert!(s.session.resumed());
    s.try_consume(Source::Own, 10, true).await.expect("attached");
    assert_eq!(bodies(&s.take(1).await), ["m"]);
    drop(passing);
}

#[tokio::test]
async fn a_connection_that_lost_its_name_changes_nothing_of_the_session() {
    let stage = Stage::new().await;
    let mut old = stage.named("s", false, Keep::Forever).await;
    let mut new = stage.named("s", false, Keep::Forever).await;
    let memo = |key: &'static [u8]| Memo {
        key: Bytes::from_static(key),
        value: Some(Bytes::from_static(b"x")),
    };
    old.declare(QueueSpec::durable("q")).await;
    old.session.memo(memo(b"m"));
    let message = old.message(Address::queue("q"), "once", durable);
    let publish = Publish { message, confirm: true, mandatory: false };
    old.session.publish_with(old.lane, publish, memo(b"q5"));
    old.session.flush();
    assert_eq!(old.ready("q"), 0, "the new connection will be sent it again");
    let refused = old.session.set_keep(Keep::No).await.expect_err("not its session");
    assert_eq!(refused.kind(), ErrorKind::Closed);
    let will = old.message(topic("will"), "of the old one", durable);
    let parked = old.session.park(Due::Gone { delay_ms: 0 }, will).await;
    assert_eq!(parked.map_err(|e| e.kind()), Err(ErrorKind::Closed));
    let attached = old.try_consume(Source::Own, 10, true).await;
    assert_eq!(attached.map_err(|e| e.kind()), Err(ErrorKind::Closed));
    let bind = Bind::new(TOPICS, "t".into(), To::Own);
    assert_eq!(old.session.bind(bind).await.map_err(|e| e.kind()), Err(ErrorKind::Closed));
    let will = new.message(topic("will"), "gone", durable);
    new.session.park(Due::Gone { delay_ms: 0 }, will).await.expect("parked");
    new.subscribe("will", 1).await;
    drop(old);
    new.nothing().await;
    assert!(new.session.memos().is_empty());
    let stage = stage.crash().await;
    assert!(stage.named("s", false, Keep::Forever).await.session.memos().is_empty());
}

#[tokio::test]
async fn what_was_refused_is_neither_noted_nor_retained() {
    let stage = Stage::new().await;
    let mut s = stage.named("s", false, Keep::Forever).await;
    let arguments =
        [("x-max-length", Value::I32(1)), ("x-overflow", Value::text("reject-publish"))];
    s.declare(queue("full", &arguments)).await;
    s.bind(TOPICS, "t", "full").await;
    let mut publish = |body: &str, key: &'static [u8], last: bool| {
        let message = s.message(topic("t"), body, |meta| {
            durable(meta);
            meta.retain = true;
        });
        let value = Some(Bytes::from_static(b"x"));
        let memo = Memo { key: Bytes::from_static(key), value };
        let publish = Publish { message, confirm: true, mandatory: false };
        let number = s.session.publish_with(s.lane, publish, memo);
        if last {
            s.session.flush();
        }
        number
    };
    let taken = publish("first", b"q1", true);
    let refused = [publish("second", b"q2", false), publish("third", b"q3", true)];
    assert!(matches!(s.confirmed(taken).await, Confirmed::Stored));
    for number in refused {
        assert!(matches!(s.confirmed(number).await, Confirmed::Refused(_)));
    }
    let stage = stage.crash().await;
    let s = stage.named("s", false, Keep::Forever).await;
    let keys: Vec<_> = s.session.memos().into_iter().map(|memo| memo.key).collect();
    assert_eq!(keys, ["q1"]);
    let mut late = stage.named("late", true, Keep::No).await;
    let replay = Replay::Always;
    late.session
        .bind(Bind { replay, ..Bind::new(TOPICS, "t".into(), To::Own) })
        .await
        .expect("bound");
    assert_eq!(bodies(&late.take(1).await), ["first"]);
}

#[tokio::test]
async fn a_sessions_queue_that_somebody_else_made_or_deleted() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("made")).await;
    let mut s = stage.named("made", false, Keep::Forever).await;
    s.subscribe("t", 1).await;
    drop(s);
    let mut deleted = stage.named("deleted", false, Keep::Forever).await;
    deleted.subscribe("u", 1).await;
    drop(deleted);
    c.durable(topic("u"), "goes with the queue").await;
    c.session.delete_queue("deleted", false, false).await.expect("deleted");
    assert!(matches!(c.durable(topic("u"), "has nowhere to go").await, Confirmed::Unroutable(_)));
    let stage = stage.crash().await;
    let mut deleted = stage.named("deleted", false, Keep::Forever).await;
    deleted.try_consume(Source::Own, 10, true).await.expect("it is made again");
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    for (key, name) in [("t", "made"), ("u", "deleted")] {
        assert!(matches!(c.durable(topic(key), name).await, Confirmed::Stored));
        let mut s = stage.named(name, false, Keep::Forever).await;
        assert!(s.session.resumed());
        s.try_consume(Source::Own, 10, true).await.expect("attached");
        let got = s.take(1).await;
        assert_eq!(bodies(&got), [name]);
        assert_eq!(
            got[0].offset,
            Offset(u64::from(name == "deleted")),
            "numbers are not given again"
        );
    }
}

#[tokio::test]
async fn a_reject_in_a_transaction_is_stored_with_it_although_the_message_had_left_memory() {
    let settings = Settings { memory_resident: 20_000, ..Settings::default() };
    let stage = Stage::with(memory::MemoryStore::default(), settings, Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(dying("a", "dead", &[])).await;
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
    c.put(Address::queue("out"), "done", durable);
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
async fn credit_of_a_deleted_queue_comes_back() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("a")).await;
    c.declare(QueueSpec::durable("b")).await;
    for name in ["a", "a", "b"] {
        c.durable(Address::queue(name), name).await;
    }
    let pool = c.session.pool(Credit::messages(2));
    for name in ["a", "b"] {
        let consumer = Consumer {
            source: Source::Queue(name.into()),
            settles: true,
            exclusive: false,
            priority: 0,
            credit: Credit::UNLIMITED,
            pools: [pool].into_iter().collect(),
            skip_own: false,
            tag: name.into(),
        };
        c.session.attach(c.lane, consumer).await.expect("attached");
    }
    assert_eq!(bodies(&c.take(2).await), ["a", "a"]);
    stage.client().await.session.delete_queue("a", false, false).await.expect("deleted");
    assert_eq!(bodies(&c.take(1).await), ["b"]);
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
        c.put(topic("t"), &body, durable);
        c.session.flush();
    }
    c.session
        .unbind(Bind::new(TOPICS, "t".into(), To::Queue("q".into())))
        .await
        .expect("was there");
    assert_eq!(c.ready("q"), 20);
    for _ in 0..20 {
        c.put(Address::queue("q"), &body, durable);
        c.session.flush();
    }
    assert_eq!(c.session.purge("q").await.expect("purged"), 40);
    assert_eq!(c.ready("q"), 0);
}

#[tokio::test]
async fn a_will_that_waits_is_withdrawn_by_who_comes_back_after_a_snapshot_and_a_crash() {
    let settings = || Settings { snapshot_bytes: 2_000, will_grace_ms: 100, ..Settings::default() };
    let stage = Stage::with(memory::MemoryStore::default(), settings(), Vec::new()).await;
    let mut s = stage.named("s", false, Keep::Forever).await;
    s.subscribe("will", 1).await;
    let will = s.message(topic("will"), "gone", durable);
    s.session.park(Due::Gone { delay_ms: 1500 }, will).await.expect("parked");
    drop(s);
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    let before = stage.store.entries();
    for _ in 0..40 {
        c.durable(Address::queue("q"), &"x".repeat(200)).await;
    }
    c.session.purge("q").await.expect("purged");
    until("a snapshot", || stage.store.entries() < before + 40).await;
    let stage = Stage::with(stage.store.crashed(), settings(), Vec::new()).await;
    let mut s = stage.named("s", false, Keep::Forever).await;
    assert!(s.session.resumed());
    s.try_consume(Source::Own, 10, true).await.expect("attached");
    tokio::time::sleep(Duration::from_millis(2000)).await;
    s.nothing().await;
}

#[tokio::test]
async fn a_will_of_a_session_that_ended_with_the_broker_comes_before_its_client_goes_on() {
    let stage = Stage::new().await;
    let passing = stage.named("passing", true, Keep::No).await;
    let mut passing = passing;
    let will = passing.message(topic("state"), "offline", durable);
    passing.session.park(Due::Gone { delay_ms: 0 }, will).await.expect("parked");
    // Twice: nobody forgets whose it was.
    let stage = stage.crash().await.crash().await;
    let mut watcher = stage.named("watcher", true, Keep::Forever).await;
    watcher.subscribe("state", 1).await;
    watcher.try_consume(Source::Own, 10, true).await.expect("attached");
    watcher.nothing().await;
    let mut passing = stage.named("passing", true, Keep::No).await;
    assert_eq!(bodies(&watcher.take(1).await), ["offline"]);
    passing.durable(topic("state"), "online").await;
    assert_eq!(bodies(&watcher.take(1).await), ["online"]);
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
    assert!(matches!(c.confirmed(number).await, Confirmed::Unroutable(_)));
    stage.store.set_faults(stalled());
    let deleted = c.session.delete_queue("auto-false", false, false);
    assert!(tokio::time::timeout(soon, deleted).await.is_err(), "the queue is not deleted");
    let detached = c.session.detach(consumer, Unsettled::Return);
    assert!(tokio::time::timeout(soon, detached).await.is_err(), "its queue is not deleted");
    stage.store.release();
    c.session.sync().await.expect("stored");
    let stage = stage.crash().await;
    let c = stage.client().await;
    assert!(["auto-false", "auto-true"].iter().all(|name| c.session.queue_status(name).is_err()));
}
