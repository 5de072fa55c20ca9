//! Dead letters that stay in their queue until they are taken, and returned records that wait before they come again.

use crate::stage::*;
use crossdock_core::memory::MemoryStore;
use crossdock_core::*;
use std::time::{Duration, Instant};

fn quorum(name: &str, more: &[(&str, Value)]) -> QueueSpec {
    queue(name, &[&[("x-queue-type", Value::text("quorum"))], more].concat())
}

/// A queue whose dead letters go to `dlq`, at least once.
fn source(more: &[(&str, Value)]) -> QueueSpec {
    let own = [
        ("x-dead-letter-strategy", Value::text("at-least-once")),
        ("x-overflow", Value::text("reject-publish")),
        ("x-dead-letter-exchange", Value::text("")),
        ("x-dead-letter-routing-key", Value::text("dlq")),
    ];
    quorum("q", &[&own, more].concat())
}

fn full_at(messages: i32) -> QueueSpec {
    let reject = ("x-overflow", Value::text("reject-publish"));
    queue("dlq", &[("x-max-length", Value::I32(messages)), reject])
}

/// Ready, with consumers, and all that is there.
fn depth(stage: &Stage, queue: &str) -> (u64, u64, u64) {
    let depth = stage.broker.look_at_queue("/", queue).expect("there").depth;
    (depth.ready, depth.in_flight, depth.waiting)
}

const REJECTED: Outcome = Outcome::Rejected { reason: None };

async fn get(c: &mut Client, queue: &str) -> Option<Delivery> {
    let got = c.session.get(c.lane, queue, true).await.expect("there")?.0;
    c.settle(std::slice::from_ref(&got), Outcome::Accepted);
    Some(got)
}

#[tokio::test]
async fn what_its_target_refuses_stays_and_is_tried_again_in_order() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(source(&[])).await;
    c.declare(full_at(2)).await;
    for n in 0..50 {
        c.durable(Address::queue("q"), &n.to_string()).await;
    }
    c.consume("q", 100, true).await;
    let got = c.take(50).await;
    c.settle(&got, REJECTED);
    c.session.sync().await.expect("stored");
    assert_eq!((depth(&stage, "dlq"), depth(&stage, "q")), ((2, 0, 2), (0, 0, 48)));
    assert_eq!(stage.broker.audit(), []);
    c.nothing().await;
    let started = Instant::now();
    for n in 0..50 {
        let dead = loop {
            match get(&mut c, "dlq").await {
                Some(dead) => break dead,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            assert!(started.elapsed() < Duration::from_secs(60));
        };
        assert_eq!(&**dead.message.body(), n.to_string().as_bytes());
        let deaths = dead.message.meta().deaths();
        let seen: Vec<_> = deaths.iter().map(|d| (&*d.queue, d.reason, d.count)).collect();
        assert_eq!(seen, [("q", Reason::Rejected, 1)]);
        if n == 5 {
            // With room for all the others they come at once, one batch behind the other.
            c.session.delete_queue("dlq", false, false).await.expect("deleted");
            c.declare(full_at(1000)).await;
        }
        if n == 7 {
            until("all are there", || depth(&stage, "q") == (0, 0, 0)).await;
        }
    }
    let look = stage.broker.look_at_queue("/", "q").expect("there");
    assert_eq!(look.records.left(LeftBy::DeadLetterRejected), 50);
    assert_eq!(stage.broker.audit(), []);
}

#[tokio::test]
async fn what_has_no_route_stays_until_there_is_one_and_is_ready_after_a_restart() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(source(&[("x-delivery-limit", Value::I32(0))])).await;
    c.durable(Address::queue("q"), "rejected").await;
    c.durable(Address::queue("q"), "failed").await;
    c.consume("q", 9, true).await;
    let got = c.take(2).await;
    c.settle(&got[..1], REJECTED);
    c.settle(&got[1..], Outcome::Failed);
    assert_eq!(depth(&stage, "q"), (0, 0, 2));
    c.session.sync().await.expect("nothing waits for a taker");
    drop(c);
    let stage = stage.crash().await;
    assert_eq!(depth(&stage, "q"), (2, 0, 2));
    let mut c = stage.client().await;
    c.consume("q", 9, true).await;
    let got = c.take(2).await;
    assert!(got.iter().all(|delivery| delivery.redelivered));
    c.settle(&got[..1], REJECTED);
    c.settle(&got[1..], Outcome::Failed);
    assert_eq!(depth(&stage, "q"), (0, 0, 2));
    c.declare(full_at(10)).await;
    until("they are taken", || depth(&stage, "dlq").0 == 2).await;
    assert_eq!(depth(&stage, "q"), (0, 0, 0));
    let reasons = [Reason::Rejected, Reason::DeliveryLimit];
    for reason in reasons {
        let dead = get(&mut c, "dlq").await.expect("it is there");
        assert_eq!(dead.message.meta().deaths()[0].reason, reason);
    }
    assert_eq!(stage.broker.audit(), []);
    // And nothing comes back after the next crash.
    c.session.sync().await.expect("stored");
    drop(c);
    let stage = stage.crash().await;
    assert_eq!((depth(&stage, "q"), depth(&stage, "dlq")), ((0, 0, 0), (0, 0, 0)));
}

#[tokio::test]
async fn what_expires_and_is_not_in_memory_stays_too() {
    let settings = Settings { memory_resident: 0, snapshot_bytes: 2_000, ..Settings::default() };
    let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(source(&[("x-message-ttl", Value::I32(200))])).await;
    let body = "x".repeat(1000);
    for _ in 0..100 {
        c.durable(Address::queue("q"), &body).await;
    }
    until("all are expired", || depth(&stage, "q") == (0, 0, 100)).await;
    assert_eq!(stage.broker.audit(), []);
    c.declare(full_at(1000)).await;
    until("all are taken", || depth(&stage, "dlq").0 == 100).await;
    assert_eq!(depth(&stage, "q"), (0, 0, 0));
    let dead = get(&mut c, "dlq").await.expect("it is there");
    assert_eq!(dead.message.meta().deaths()[0].reason, Reason::Expired);
    assert_eq!(stage.broker.audit(), []);
}

#[tokio::test]
async fn a_queue_that_is_deleted_takes_its_dead_letters_with_it() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(source(&[])).await;
    c.durable(Address::queue("q"), "x").await;
    c.consume("q", 9, true).await;
    let got = c.take(1).await;
    c.settle(&got, REJECTED);
    c.session.purge("q").await.expect("purged");
    assert_eq!(depth(&stage, "q"), (0, 0, 1), "a purge is about what is ready");
    c.session.delete_queue("q", false, false).await.expect("deleted");
    c.declare(full_at(10)).await;
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(depth(&stage, "dlq"), (0, 0, 0));
    assert_eq!(stage.broker.audit(), []);
}

fn retried(kind: &str) -> QueueSpec {
    quorum(
        "q",
        &[
            ("x-delayed-retry-type", Value::text(kind)),
            ("x-delayed-retry-min", Value::I32(400)),
            ("x-delayed-retry-max", Value::I32(700)),
        ],
    )
}

/// The next delivery, and after how long it came.
async fn after(c: &mut Client) -> (Delivery, Duration) {
    let started = Instant::now();
    let next = c.take(1).await.pop().expect("one");
    (next, started.elapsed())
}

#[tokio::test]
async fn what_failed_waits_longer_each_time_and_nobody_waits_for_it() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(retried("failed")).await;
    c.durable(Address::queue("q"), "1").await;
    c.consume("q", 1, true).await;
    let (mut got, _) = after(&mut c).await;
    for (attempts, least) in [(1, 400), (2, 700), (3, 700)] {
        c.settle(&[got], Outcome::Failed);
        assert_eq!(depth(&stage, "q"), (0, 0, 1));
        let time;
        (got, time) = after(&mut c).await;
        assert_eq!((got.attempts, got.redelivered), (attempts, true));
        let least = Duration::from_millis(least);
        assert!(time >= least && time < least + Duration::from_millis(600), "{time:?}");
    }
    // What is given back without a failure is ready at once, and what comes behind it does not wait.
    c.settle(&[got.clone()], Outcome::GivenBack);
    let (again, time) = after(&mut c).await;
    assert!(time < Duration::from_millis(300) && again.offset == got.offset);
    c.settle(&[again], Outcome::Failed);
    c.durable(Address::queue("q"), "2").await;
    let (second, time) = after(&mut c).await;
    assert!(time < Duration::from_millis(300));
    assert_eq!(&**second.message.body(), b"2");
    c.settle(&[second], Outcome::Accepted);
    assert_eq!(stage.broker.audit(), []);
    drop(c);
    // After a crash it is ready at once.
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    c.consume("q", 1, true).await;
    let (got, time) = after(&mut c).await;
    assert!(time < Duration::from_millis(300));
    assert_eq!((got.attempts, bodies(&[got])), (4, vec!["1".to_owned()]));
}

#[tokio::test]
async fn which_returns_wait_is_the_queues_to_say() {
    for (kind, failed, given_back) in
        [("all", true, true), ("returned", false, true), ("disabled", false, false)]
    {
        let stage = Stage::new().await;
        let mut c = stage.client().await;
        c.declare(retried(kind)).await;
        c.durable(Address::queue("q"), "x").await;
        c.consume("q", 1, true).await;
        let (got, _) = after(&mut c).await;
        c.settle(&[got], Outcome::Failed);
        assert_eq!(depth(&stage, "q").1 == 0, failed, "{kind}");
        let (got, _) = after(&mut c).await;
        c.settle(&[got], Outcome::GivenBack);
        assert_eq!(depth(&stage, "q").1 == 0, given_back, "{kind}");
        after(&mut c).await;
        assert_eq!(stage.broker.audit(), []);
    }
}
