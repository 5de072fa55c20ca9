//! Limits: queue length with each policy, memory, uncommitted share.

use crate::stage::*;
use crossdock_core::memory::{Faults, MemoryStore};
use crossdock_core::*;

#[tokio::test]
async fn drop_head_keeps_the_newest() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("dead")).await;
    let arguments = [
        ("x-max-length", Value::I32(2)),
        ("x-dead-letter-exchange", Value::text("")),
        ("x-dead-letter-routing-key", Value::text("dead")),
    ];
    c.declare(queue("q", &arguments)).await;
    for i in 0..5 {
        c.durable(Address::queue("q"), &i.to_string()).await;
    }
    assert_eq!((c.ready("q"), c.ready("dead")), (2, 3));
    c.consume("q", 10, true).await;
    assert_eq!(bodies(&c.take(2).await), ["3", "4"]);
}

#[tokio::test]
async fn reject_new_refuses_the_publisher() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    let arguments =
        [("x-max-length", Value::I32(2)), ("x-overflow", Value::text("reject-publish"))];
    c.declare(queue("q", &arguments)).await;
    for i in 0..2 {
        assert!(matches!(
            c.durable(Address::queue("q"), &i.to_string()).await,
            ConfirmOutcome::Stored
        ));
    }
    let refused = c.durable(Address::queue("q"), "2").await;
    assert!(matches!(refused, ConfirmOutcome::Refused(e) if e.kind() == ErrorKind::Full));
    c.consume("q", 1, true).await;
    let got = c.take(1).await;
    c.settle(&got, Outcome::Accepted);
    let number = c.publish(Address::queue("q"), "3");
    assert!(matches!(c.confirmed(number).await, ConfirmOutcome::Stored));
}

#[tokio::test]
async fn a_limit_in_bytes_counts_what_is_being_stored() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    let arguments =
        [("x-max-length-bytes", Value::I32(250)), ("x-overflow", Value::text("reject-publish"))];
    c.declare(queue("q", &arguments)).await;
    let body = "x".repeat(100);
    let send = |c: &mut Client| c.put(Address::queue("q"), &body, |meta| meta.durable = true);
    let numbers = [send(&mut c), send(&mut c), send(&mut c)];
    c.session.flush();
    for number in &numbers[..2] {
        assert!(matches!(c.confirmed(*number).await, ConfirmOutcome::Stored));
    }
    assert!(matches!(c.confirmed(numbers[2]).await, ConfirmOutcome::Refused(_)));
    assert_eq!(c.ready("q"), 2);
}

/// As RabbitMQ: headers and keys do not count, however long they are.
#[tokio::test]
async fn a_limit_in_bytes_counts_bodies_also_after_a_restart() {
    let store = MemoryStore::default();
    let small = || Settings { snapshot_bytes: 1_000, memory_resident: 0, ..Settings::default() };
    let mut stage = Stage::with(store, small(), Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(queue("few", &[("x-max-length-bytes", Value::I32(5))])).await;
    for body in ["111", "222", "333"] {
        c.durable(Address::queue("few"), body).await;
    }
    assert_eq!(c.ready("few"), 1);
    let reject = ("x-overflow", Value::text("reject-publish"));
    c.declare(queue("full", &[("x-max-length-bytes", Value::I32(100)), reject])).await;
    let depth = |stage: &Stage, queue: &str| {
        let depth = stage.broker.look_at_queue("/", queue).expect("there").depth;
        (depth.ready, depth.ready_bytes, depth.waiting_bytes)
    };
    for n in 0..20 {
        let body = if n % 2 == 0 { "xxxxxxx" } else { "yyy" };
        let stored = c.durable(Address::queue("full"), body).await;
        assert!(matches!(stored, ConfirmOutcome::Stored), "{n}");
    }
    for round in 0..3 {
        assert_eq!(depth(&stage, "full"), (20, 100, 100), "round {round}");
        let refused = c.durable(Address::queue("full"), "z").await;
        assert!(matches!(refused, ConfirmOutcome::Refused(_)), "round {round}");
        let got = c.session.get(c.lane, "full", true).await.expect("there").expect("one").0;
        let look = stage.broker.look_at_queue("/", "full").expect("there").depth;
        assert_eq!((look.in_flight_bytes, look.ready_bytes, look.waiting_bytes), (7, 93, 100));
        c.settle(&[got], Outcome::Released);
        drop(c);
        let store = stage.store.crashed();
        stage = Stage::with(store, small(), Vec::new()).await;
        c = stage.client().await;
    }
    assert_eq!(depth(&stage, "few"), (1, 3, 3));
    assert_eq!(stage.broker.audit(), []);
}

#[tokio::test]
async fn a_backlog_over_the_memory_mark_leaves_memory_and_comes_back() {
    let settings = Settings { memory_high: 4 << 20, ..Settings::default() };
    let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    let body = "x".repeat(64 << 10);
    let mut blocked = false;
    let mut last = 0;
    for i in 0..320 {
        last = c.put(Address::queue("q"), &format!("{i}:{body}"), |meta| meta.durable = i % 2 == 0);
        c.session.flush();
        while !c.session.may_read() {
            blocked |= c.events().await.notices.iter().any(|n| matches!(n, Notice::Blocked(true)));
        }
    }
    // The loop above threw confirms away, and the last one may have been among them.
    let barrier = c.put(Address::queue("nowhere"), "", |_| {});
    c.session.flush();
    assert!(matches!(c.confirmed(barrier).await, ConfirmOutcome::Unroutable(_)) && barrier > last);
    assert!(blocked, "the publisher was told");
    assert!(stage.broker.memory_used() < 8 << 20, "{} bytes", stage.broker.memory_used());
    c.consume("q", 10, true).await;
    for i in 0..320 {
        let got = c.take(1).await;
        assert!(bodies(&got)[0].starts_with(&format!("{i}:")), "{i}");
        c.settle(&got, Outcome::Accepted);
    }
    assert_eq!(c.ready("q"), 0);
}

#[tokio::test]
async fn a_stalled_store_holds_publishers_back() {
    let settings = Settings { session_share: 1000, ..Settings::default() };
    let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    stage.store.set_faults(Faults { stalled: true, ..Faults::default() });
    let body = "x".repeat(600);
    for _ in 0..6 {
        c.put(Address::queue("q"), &body, |meta| meta.durable = true);
        c.session.flush();
    }
    assert!(!c.session.may_read());
    stage.store.release();
    let confirmed = c.confirmed(6).await;
    assert!(matches!(confirmed, ConfirmOutcome::Stored));
    assert!(c.session.may_read());
}

#[tokio::test]
async fn what_a_consumer_holds_leaves_memory_too() {
    let settings = Settings { memory_high: 2 << 20, ..Settings::default() };
    let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("dead")).await;
    let dead = [
        ("x-dead-letter-exchange", Value::text("")),
        ("x-dead-letter-routing-key", Value::text("dead")),
    ];
    c.declare(queue("q", &dead)).await;
    c.consume("q", 1000, true).await;
    let body = "x".repeat(64 << 10);
    let mut held: Vec<(Offset, ConsumerId, String)> = Vec::new();
    let mut sent = 0;
    while held.len() < 64 {
        if sent < 64 && c.session.may_read() {
            c.put(Address::queue("q"), &format!("{sent}:{body}"), |meta| {
                meta.durable = sent % 2 == 0
            });
            sent += 1;
        }
        c.session.flush();
        for d in c.events().await.deliveries {
            let text = bodies(std::slice::from_ref(&d)).remove(0);
            held.push((d.offset, d.consumer, text.split(':').next().expect("a number").into()));
        }
    }
    assert!(stage.broker.memory_used() < 4 << 20, "{} bytes", stage.broker.memory_used());
    // All of them are known again when they are refused or come back.
    for (i, (offset, consumer, _)) in held.iter().enumerate() {
        let reject = Outcome::Rejected { reason: Some("no".into()) };
        let outcome = if i % 2 == 0 { reject } else { Outcome::Failed };
        c.session.settle(c.lane, *consumer, &[*offset], outcome);
        c.session.flush();
    }
    let mut again = Vec::new();
    while again.len() < 32 {
        for d in c.events().await.deliveries {
            again.push(
                bodies(std::slice::from_ref(&d)).remove(0).split(':').next().expect("n").to_owned(),
            );
        }
    }
    let odd: Vec<String> = held.iter().skip(1).step_by(2).map(|(.., n)| n.clone()).collect();
    assert_eq!(again, odd);
    for _ in 0..50 {
        if c.ready("dead") == 32 {
            break;
        }
        c.events().await;
    }
    assert_eq!(c.ready("dead"), 32);
}

#[tokio::test]
async fn memos_are_not_held_back_with_publishes() {
    let settings = Settings { session_share: 1, ..Settings::default() };
    let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
    let mut s = stage.named("s", false, SessionLife::Forever).await;
    s.declare(QueueSpec::durable("q")).await;
    stage.store.set_faults(Faults { stalled: true, ..Faults::default() });
    for _ in 0..3 {
        s.put(Address::queue("q"), "held", |meta| meta.durable = true);
        s.session.flush();
    }
    let memo = |value| Memo { key: "k".into(), value };
    s.session.memo(memo(Some("v".into())));
    let message = s.message(Address::queue("q"), "tied", |meta| meta.durable = true);
    let publish = Publish::new(message, true);
    let tied = Memo { key: "tied".into(), value: Some("v".into()) };
    s.session.publish_with(s.lane, publish, tied.clone());
    s.session.flush();
    assert_eq!(s.session.memos(), [memo(Some("v".into()))]);
    stage.store.release();
    assert!(matches!(s.confirmed(4).await, ConfirmOutcome::Stored));
    assert_eq!(s.session.memos(), [memo(Some("v".into())), tied]);
}
