//! Who has a named session, and what is left of it when it ends: take-over, session life, its queue, wills.

use crate::stage::*;
use bytes::Bytes;
use crossdock_core::*;
use std::time::Duration;

#[tokio::test]
async fn a_session_that_was_to_end_with_its_connection_does_not_come_back() {
    let stage = Stage::new().await;
    let mut s = stage.named("lasts", false, SessionLife::Forever).await;
    s.subscribe("t", 1).await;
    drop(s);
    let s = stage.named("lasts", false, SessionLife::No).await;
    assert!(s.session.resumed());
    let mut kept = stage.named("ended", false, SessionLife::Forever).await;
    kept.subscribe("t", 1).await;
    kept.session.set_life(SessionLife::No).await.expect("stored");
    drop(kept);
    let stage = stage.crash().await;
    let mut p = stage.client().await;
    assert!(matches!(p.durable(topic("t"), "for nobody").await, ConfirmOutcome::Unroutable(_)));
    for name in ["lasts", "ended"] {
        assert!(p.session.queue_status(name).is_err(), "the queue of {name} went with it");
        let s = stage.named(name, false, SessionLife::Forever).await;
        assert!(!s.session.resumed() && s.session.own_bindings().is_empty(), "{name}");
    }
    drop(s);
}

#[tokio::test]
async fn a_session_taken_from_a_connection_with_which_it_ends_is_a_new_one() {
    let stage = Stage::new().await;
    let mut passing = stage.named("s", false, SessionLife::No).await;
    passing.subscribe("old", 1).await;
    let mut s = stage.named("s", false, SessionLife::Forever).await;
    assert!(!s.session.resumed() && s.session.own_bindings().is_empty());
    s.subscribe("new", 1).await;
    drop(s);
    stage.client().await.durable(topic("new"), "m").await;
    let stage = stage.crash().await;
    let mut s = stage.named("s", false, SessionLife::Forever).await;
    assert!(s.session.resumed());
    s.try_consume(ConsumerSource::Own, 10, true).await.expect("attached");
    assert_eq!(bodies(&s.take(1).await), ["m"]);
    drop(passing);
}

#[tokio::test]
async fn a_connection_that_lost_its_name_changes_nothing_of_the_session() {
    let stage = Stage::new().await;
    let mut old = stage.named("s", false, SessionLife::Forever).await;
    let mut new = stage.named("s", false, SessionLife::Forever).await;
    let memo = |key: &'static [u8]| Memo {
        key: Bytes::from_static(key),
        value: Some(Bytes::from_static(b"x")),
    };
    old.declare(QueueSpec::durable("q")).await;
    old.session.memo(memo(b"m"));
    let message = old.message(Address::queue("q"), "once", at_level_1);
    let publish = Publish::new(message, true);
    old.session.publish_with(old.lane, publish, memo(b"q5"));
    old.session.flush();
    assert_eq!(old.ready("q"), 0, "the new connection will be sent it again");
    let refused = old.session.set_life(SessionLife::No).await.expect_err("not its session");
    assert_eq!(refused.kind(), ErrorKind::Closed);
    let will = old.message(topic("will"), "of the old one", at_level_1);
    let parked = old.session.park(ParkUntil::Disconnected { delay_ms: 0 }, will).await;
    assert_eq!(parked.map_err(|e| e.kind()), Err(ErrorKind::Closed));
    let attached = old.try_consume(ConsumerSource::Own, 10, true).await;
    assert_eq!(attached.map_err(|e| e.kind()), Err(ErrorKind::Closed));
    let bind = Bind::new(TOPICS, "t".into(), BindTarget::Own);
    assert_eq!(old.session.bind(bind).await.map_err(|e| e.kind()), Err(ErrorKind::Closed));
    let will = new.message(topic("will"), "gone", at_level_1);
    new.session.park(ParkUntil::Disconnected { delay_ms: 0 }, will).await.expect("parked");
    new.subscribe("will", 1).await;
    drop(old);
    new.nothing().await;
    assert!(new.session.memos().is_empty());
    let stage = stage.crash().await;
    assert!(stage.named("s", false, SessionLife::Forever).await.session.memos().is_empty());
}

#[tokio::test]
async fn a_sessions_queue_that_somebody_else_made_or_deleted() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("made")).await;
    let mut s = stage.named("made", false, SessionLife::Forever).await;
    s.subscribe("t", 1).await;
    drop(s);
    // It goes with its last consumer, as whoever made it wanted.
    c.declare(QueueSpec { auto_delete: true, ..QueueSpec::durable("deleted") }).await;
    let mut deleted = stage.named("deleted", false, SessionLife::Forever).await;
    deleted.subscribe("u", 1).await;
    c.durable(topic("u"), "goes with the queue").await;
    deleted.try_consume(ConsumerSource::Own, 10, true).await.expect("attached");
    drop(deleted);
    assert!(matches!(
        c.durable(topic("u"), "has nowhere to go").await,
        ConfirmOutcome::Unroutable(_)
    ));
    c.session.sync().await.expect("the end of the queue is stored");
    let stage = stage.crash().await;
    let mut deleted = stage.named("deleted", false, SessionLife::Forever).await;
    deleted.try_consume(ConsumerSource::Own, 10, true).await.expect("it is made again");
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    for (key, name) in [("t", "made"), ("u", "deleted")] {
        let outcome = c.durable(topic(key), name).await;
        assert!(matches!(outcome, ConfirmOutcome::Stored), "{name}: {outcome:?}");
        let mut s = stage.named(name, false, SessionLife::Forever).await;
        assert!(s.session.resumed());
        s.try_consume(ConsumerSource::Own, 10, true).await.expect("attached");
        let got = s.take(1).await;
        assert_eq!(bodies(&got), [name]);
        assert_eq!(
            got[0].offset,
            Offset(u64::from(name == "deleted")),
            "numbers are not given again"
        );
    }
}

/// Without it the session would keep nothing more, and its client would not know.
#[tokio::test]
async fn the_queue_of_a_session_goes_with_the_session_only() {
    let stage = Stage::new().await;
    let mut s = stage.named("s", false, SessionLife::Forever).await;
    s.subscribe("t", 1).await;
    drop(s);
    // Over a restart, too.
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    let refused = c.session.delete_queue("s", false, false).await.expect_err("a session has it");
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.detail().contains("crossdock ctl delete session s"), "{refused}");
    // What else is done to it leaves it whole.
    c.durable(topic("t"), "purged").await;
    assert_eq!(c.session.purge("s").await, Ok(1));
    c.bind(TOPICS, "more", "s").await;
    c.durable(topic("more"), "by a binding of somebody else's").await;
    let unbind = || Bind::new(TOPICS, "t".into(), BindTarget::Queue("s".into()));
    assert_eq!(c.session.unbind(unbind()).await, Ok(false), "its own bindings are the session's");
    c.durable(topic("t"), "by its own").await;
    let mut s = stage.named("s", false, SessionLife::Forever).await;
    s.try_consume(ConsumerSource::Own, 10, true).await.expect("attached");
    assert_eq!(bodies(&s.take(2).await), ["by a binding of somebody else's", "by its own"]);
    assert!(stage.broker.audit().is_empty());
}

#[tokio::test]
async fn an_operator_ends_a_session() {
    let stage = Stage::new().await;
    let mut watcher = stage.named("watcher", false, SessionLife::Forever).await;
    watcher.subscribe("will", 1).await;
    watcher.try_consume(ConsumerSource::Own, 10, true).await.expect("attached");
    let mut s = stage.named("s", false, SessionLife::Forever).await;
    s.subscribe("t", 1).await;
    let will = s.message(topic("will"), "gone", at_level_1);
    let until = ParkUntil::Disconnected { delay_ms: 3_600_000 };
    s.session.park(until, will).await.expect("parked");
    s.try_consume(ConsumerSource::Own, 1, true).await.expect("attached");
    let mut c = stage.client().await;
    for body in ["taken", "waits"] {
        c.durable(topic("t"), body).await;
    }
    s.take(1).await;
    let ended = c.session.end_session("s", "it is over").await.expect("ended");
    assert_eq!(ended, SessionEnded { messages: 2, was_connected: true });
    let notices = s.events().await.notices;
    let [Notice::Closed(why)] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!((why.kind(), why.detail()), (ErrorKind::Unavailable, "it is over"));
    assert_eq!(
        bodies(&watcher.take(1).await),
        ["gone"],
        "its session has ended, and so has the delay"
    );
    // What its connection still does changes nothing.
    let bind = Bind::new(TOPICS, "t".into(), BindTarget::Own);
    assert_eq!(s.session.bind(bind).await.map_err(|e| e.kind()), Err(ErrorKind::Closed));
    drop(s);
    assert!(matches!(c.durable(topic("t"), "for nobody").await, ConfirmOutcome::Unroutable(_)));
    assert_eq!(stage.broker.totals()[0].1.records.left(LeftBy::Deleted), 2);
    assert!(stage.broker.audit().is_empty());
    let missing = c.session.end_session("s", "").await.expect_err("it has ended");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    assert!(c.session.queue_status("s").is_err());
    let s = stage.named("s", false, SessionLife::Forever).await;
    assert!(!s.session.resumed(), "it begins again");
    drop(s);
    let ended = c.session.end_session("s", "").await.expect("ended");
    assert_eq!(ended, SessionEnded { messages: 0, was_connected: false });
    assert!(!stage.crash().await.named("s", false, SessionLife::Forever).await.session.resumed());
}

#[tokio::test]
async fn a_will_that_waits_is_withdrawn_by_who_comes_back_after_a_snapshot_and_a_crash() {
    let settings = || Settings { snapshot_bytes: 2_000, will_grace_ms: 100, ..Settings::default() };
    let stage = Stage::with(memory::MemoryStore::default(), settings(), Vec::new()).await;
    let mut s = stage.named("s", false, SessionLife::Forever).await;
    s.subscribe("will", 1).await;
    let will = s.message(topic("will"), "gone", at_level_1);
    s.session.park(ParkUntil::Disconnected { delay_ms: 1500 }, will).await.expect("parked");
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
    let mut s = stage.named("s", false, SessionLife::Forever).await;
    assert!(s.session.resumed());
    s.try_consume(ConsumerSource::Own, 10, true).await.expect("attached");
    tokio::time::sleep(Duration::from_millis(2000)).await;
    s.nothing().await;
}

#[tokio::test]
async fn a_will_of_a_session_that_ended_with_the_broker_comes_before_its_client_goes_on() {
    let stage = Stage::new().await;
    let passing = stage.named("passing", true, SessionLife::No).await;
    let mut passing = passing;
    let will = passing.message(topic("state"), "offline", at_level_1);
    passing.session.park(ParkUntil::Disconnected { delay_ms: 0 }, will).await.expect("parked");
    // Twice: nobody forgets whose it was.
    let stage = stage.crash().await.crash().await;
    let mut watcher = stage.named("watcher", true, SessionLife::Forever).await;
    watcher.subscribe("state", 1).await;
    watcher.try_consume(ConsumerSource::Own, 10, true).await.expect("attached");
    watcher.nothing().await;
    let mut passing = stage.named("passing", true, SessionLife::No).await;
    assert_eq!(bodies(&watcher.take(1).await), ["offline"]);
    passing.durable(topic("state"), "online").await;
    assert_eq!(bodies(&watcher.take(1).await), ["online"]);
}
