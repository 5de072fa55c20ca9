//! What is stored, when it is confirmed, and what comes back.

use crate::stage::*;
use crossdock_core::memory::Faults;
use crossdock_core::*;

#[tokio::test]
async fn confirmed_messages_survive_in_order() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    c.bind(TOPICS, "a/#", "q").await;
    for i in 0..5 {
        assert!(matches!(c.durable(topic("a/b"), &i.to_string()).await, ConfirmOutcome::Stored));
    }
    c.publish(topic("a"), "transient");
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    c.consume("q", 10, true).await;
    let got = c.take(5).await;
    assert_eq!(bodies(&got), ["0", "1", "2", "3", "4"]);
    assert!(got.iter().all(|d| d.redelivered), "nobody knows who saw them");
    c.settle(&got[..2], Outcome::Accepted);
    c.session.sync().await.expect("stored");
    assert!(matches!(c.durable(topic("a"), "5").await, ConfirmOutcome::Stored));
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    c.consume("q", 10, true).await;
    assert_eq!(bodies(&c.take(4).await), ["2", "3", "4", "5"]);
}

#[tokio::test]
async fn nothing_is_delivered_or_confirmed_before_it_is_stored() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    c.consume("q", 10, true).await;
    stage.store.set_faults(Faults { stalled: true, ..Faults::default() });
    c.put(Address::queue("q"), "durable", |meta| meta.durable = true);
    c.put(Address::queue("q"), "behind", |_| {});
    c.session.flush();
    let events = c.events().await;
    assert!(events.is_empty(), "{events:?}");
    stage.store.release();
    assert_eq!(bodies(&c.take(2).await), ["durable", "behind"]);
}

#[tokio::test]
async fn a_failed_append_is_final_and_nothing_of_it_is_seen() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    c.consume("q", 10, true).await;
    stage.store.set_faults(Faults { append_fails_at: Some(0), ..Faults::default() });
    assert!(matches!(c.durable(Address::queue("q"), "a").await, ConfirmOutcome::Refused(_)));
    assert!(matches!(c.durable(Address::queue("q"), "b").await, ConfirmOutcome::Refused(_)));
    c.nothing().await;
    assert_eq!(stage.broker.failed().await.kind(), ErrorKind::Unavailable);
    let stage = stage.crash().await;
    assert_eq!(stage.client().await.ready("q"), 0);
}

#[tokio::test]
async fn a_transaction_is_one_entry() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    for name in ["a", "b"] {
        c.declare(QueueSpec::durable(name)).await;
    }
    assert!(matches!(c.durable(Address::queue("a"), "in").await, ConfirmOutcome::Stored));
    c.consume("a", 10, true).await;
    let got = c.take(1).await;
    c.session.begin(c.lane);
    c.put(Address::queue("b"), "out", |meta| meta.durable = true);
    c.settle(&got, Outcome::Accepted);
    assert_eq!(c.ready("b"), 0);
    c.session.rollback(c.lane);
    c.session.begin(c.lane);
    c.put(Address::queue("b"), "out2", |meta| meta.durable = true);
    c.settle(&got, Outcome::Accepted);
    let before = stage.store.appends();
    c.session.commit(c.lane).await.expect("stored");
    assert!(stage.store.appends() <= before + 1);
    let stage = stage.crash().await;
    let c = stage.client().await;
    assert_eq!((c.ready("a"), c.ready("b")), (0, 1));
}

#[tokio::test]
async fn a_transaction_that_a_queue_refuses_leaves_nothing() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    let reject = ("x-overflow", Value::text("reject-publish"));
    c.declare(queue("few", &[("x-max-length", Value::I32(2)), reject.clone()])).await;
    c.declare(queue("small", &[("x-max-length-bytes", Value::I32(200)), reject])).await;
    for name in ["a", "free"] {
        c.declare(QueueSpec::durable(name)).await;
    }
    c.bind(TOPICS, "kept", "free").await;
    assert!(matches!(c.durable(Address::queue("a"), "in").await, ConfirmOutcome::Stored));
    c.consume("a", 10, true).await;
    let got = c.take(1).await;
    let (half, large) = ("x".repeat(120), "x".repeat(201));
    for (name, count, body) in [("few", 3, "1"), ("small", 2, &half), ("small", 1, &large)] {
        c.session.begin(c.lane);
        c.put(topic("kept"), "to be retained", |meta| (meta.durable, meta.retain) = (true, true));
        for _ in 0..count {
            c.put(Address::queue(name), body, |meta| meta.durable = true);
        }
        c.settle(&got, Outcome::Accepted);
        let refused = c.session.commit(c.lane).await.expect_err("the queue has no space for it");
        assert_eq!(refused.kind(), ErrorKind::Full, "{refused}");
        assert!(refused.detail().contains(name), "{refused}");
    }
    // Just enough space is enough, and what was refused before holds nothing back.
    c.session.begin(c.lane);
    c.put(Address::queue("few"), "1", |meta| meta.durable = true);
    c.put(Address::queue("few"), "2", |meta| meta.durable = true);
    c.put(Address::queue("small"), &half, |meta| meta.durable = true);
    c.session.commit(c.lane).await.expect("stored");
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    let ready = ["a", "free", "few", "small"].map(|name| c.ready(name));
    assert_eq!(ready, [1, 0, 2, 1], "what was settled in it is not");
    c.declare(QueueSpec::durable("late")).await;
    c.bind(TOPICS, "kept", "late").await;
    assert_eq!(c.ready("late"), 0, "nothing is retained");
}

#[tokio::test]
async fn a_transaction_whose_exchange_is_gone_leaves_nothing() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.session.declare_exchange(ExchangeSpec::new("x", Kind::Topic)).await.expect("declared");
    c.declare(QueueSpec::durable("a")).await;
    c.session.begin(c.lane);
    c.put(Address::queue("a"), "1", |meta| meta.durable = true);
    c.put(Address::new("x".into(), "k".into()), "2", |meta| meta.durable = true);
    c.session.delete_exchange("x", false).await.expect("deleted");
    let refused = c.session.commit(c.lane).await.expect_err("nowhere to go");
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert_eq!(c.ready("a"), 0);
}

#[tokio::test]
async fn open_transactions_are_bounded_together() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("a")).await;
    let (first, second) = (c.lane, c.session.lane());
    let large = "x".repeat(40 << 20);
    c.session.begin(first);
    c.session.begin(second);
    c.put(Address::queue("a"), &large, |_| {});
    assert!(stage.broker.memory_kept() > 40 << 20, "it counts before it is committed");
    c.lane = second;
    c.put(Address::queue("a"), &large, |_| {});
    c.put(Address::queue("a"), "small", |_| {});
    let refused = c.session.commit(second).await.expect_err("too much");
    assert_eq!((refused.kind(), c.ready("a")), (ErrorKind::LimitReached, 0));
    c.session.commit(first).await.expect("within the limit");
    assert_eq!(c.ready("a"), 1);
    c.session.begin(second);
    c.put(Address::queue("a"), &large, |_| {});
    c.session.commit(second).await.expect("the queue has space again");
    assert_eq!(c.ready("a"), 2);
}

#[tokio::test]
async fn topology_comes_back() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.session.declare_exchange(ExchangeSpec::new("x", Kind::Topic)).await.expect("declared");
    let temporary = ExchangeSpec { durable: false, ..ExchangeSpec::new("y", Kind::Topic) };
    c.session.declare_exchange(temporary).await.expect("declared");
    c.declare(queue("q", &[("x-max-length", Value::I32(3))])).await;
    c.declare(QueueSpec { durable: false, ..QueueSpec::durable("t") }).await;
    c.bind("x", "a/+", "q").await;
    c.bind("x", "gone", "q").await;
    let gone = Bind::new("x", "gone".into(), BindTarget::Queue("q".into()));
    assert!(c.session.unbind(gone.clone()).await.expect("known"));
    assert!(!c.session.unbind(gone).await.expect("known"));
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    assert!(c.session.exchange("x").is_ok() && c.session.exchange("y").is_err());
    assert!(c.session.queue_status("t").is_err());
    c.declare(queue("q", &[("x-max-length", Value::I64(3))])).await;
    let other = c.session.declare_queue(QueueSpec::durable("q")).await;
    assert_eq!(other.map_err(|e| e.kind()), Err(ErrorKind::Mismatch));
    c.publish(Address::new("x".into(), "a/b".into()), "m");
    c.publish(Address::new("x".into(), "gone".into()), "m");
    assert_eq!(c.ready("q"), 1);
    c.session.delete_queue("q", false, false).await.expect("deleted");
    c.session.delete_exchange("x", false).await.expect("deleted");
    let stage = stage.crash().await;
    let c = stage.client().await;
    assert!(c.session.exchange("x").is_err() && c.session.queue_status("q").is_err());
}

#[tokio::test]
async fn attempts_and_dead_letters_survive() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("dead")).await;
    let arguments = [
        ("x-dead-letter-exchange", Value::text("")),
        ("x-dead-letter-routing-key", Value::text("dead")),
        ("x-delivery-limit", Value::I32(1)),
    ];
    c.declare(queue("q", &arguments)).await;
    c.durable(Address::queue("q"), "poison").await;
    c.durable(Address::queue("q"), "refused").await;
    c.consume("q", 1, true).await;
    let got = c.take(1).await;
    c.settle(&got, Outcome::Failed);
    c.session.sync().await.expect("stored");
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    c.consume("q", 1, true).await;
    let got = c.take(1).await;
    assert_eq!((bodies(&got), got[0].attempts), (vec!["poison".to_string()], 1));
    c.settle(&got, Outcome::Failed);
    let got = c.take(1).await;
    c.settle(&got, Outcome::Rejected { reason: Some("no".into()) });
    c.session.sync().await.expect("stored");
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    assert_eq!(c.ready("q"), 0);
    c.consume("dead", 10, true).await;
    let dead = c.take(2).await;
    let reasons: Vec<_> = dead.iter().map(|d| d.message.meta().deaths()[0].reason).collect();
    assert_eq!(reasons, [Reason::DeliveryLimit, Reason::Rejected]);
    assert_eq!(dead[1].message.meta().deaths()[0].detail.as_deref(), Some("no"));
}

#[tokio::test]
async fn a_message_larger_than_an_entry_is_written_in_parts() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    let large = "x".repeat(9 << 20);
    assert!(matches!(c.durable(Address::queue("q"), &large).await, ConfirmOutcome::Stored));
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    c.consume("q", 1, true).await;
    assert_eq!(c.take(1).await[0].message.body().len(), large.len());
}

#[tokio::test]
async fn snapshots_let_the_journal_go() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    c.durable(Address::queue("q"), "old").await;
    let body = "x".repeat(1 << 20);
    let consumer = {
        c.declare(QueueSpec::durable("flow")).await;
        c.consume("flow", 10, true).await
    };
    for _ in 0..80 {
        c.durable(Address::queue("flow"), &body).await;
        let got = c.take(1).await;
        assert_eq!(got[0].consumer, consumer);
        c.settle(&got, Outcome::Accepted);
    }
    c.durable(Address::queue("q"), "new").await;
    for _ in 0..100 {
        if stage.store.entries() < 100 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(stage.store.entries() < 100, "{} entries of more than 160", stage.store.entries());
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    assert_eq!(c.ready("flow"), 0);
    c.consume("q", 10, true).await;
    assert_eq!(bodies(&c.take(2).await), ["old", "new"]);
}
