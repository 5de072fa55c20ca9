//! Routing and delivering: order, credit, outcomes.

use crate::stage::*;
use crossdock_core::*;

#[tokio::test]
async fn a_message_goes_from_publisher_to_consumer() {
    let stage = Stage::new().await;
    let (mut p, mut c) = (stage.client().await, stage.client().await);
    c.declare(QueueSpec::durable("q")).await;
    c.consume("q", 10, true).await;
    for body in ["a", "b", "c"] {
        p.publish(Address::queue("q"), body);
    }
    let got = c.take(3).await;
    assert_eq!(bodies(&got), ["a", "b", "c"]);
    assert!(got.iter().all(|d| !d.redelivered && d.attempts == 0));
    c.settle(&got, Outcome::Accepted);
    c.nothing().await;
    assert!(matches!(p.confirmed(3).await, ConfirmOutcome::Stored));
}

#[tokio::test]
async fn topics_reach_queues_and_exchanges_once() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    c.session.declare_exchange(ExchangeSpec::new("x", Kind::Fanout)).await.expect("declared");
    c.bind(TOPICS, "a/#", "q").await;
    c.bind(TOPICS, "a/+", "q").await;
    c.bind("x", "", "q").await;
    let e2e = Bind::new(TOPICS, "a/b".into(), BindTarget::Exchange("x".into()));
    c.session.bind(e2e).await.expect("bound");
    c.publish(topic("a/b"), "one");
    assert_eq!(c.ready("q"), 1);
    let number = c.publish(topic("b"), "none");
    assert!(matches!(c.confirmed(number).await, ConfirmOutcome::Unroutable(_)));
    let number = c.publish(Address::new("nowhere".into(), "k".into()), "none");
    assert!(
        matches!(c.confirmed(number).await, ConfirmOutcome::Refused(e) if e.kind() == ErrorKind::NotFound)
    );
}

#[tokio::test]
async fn prefetch_limits_and_settling_goes_on() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    for i in 0..5 {
        c.publish(Address::queue("q"), &i.to_string());
    }
    c.consume("q", 2, true).await;
    let first = c.take(2).await;
    c.nothing().await;
    c.settle(&first[1..], Outcome::Accepted);
    assert_eq!(bodies(&c.take(1).await), ["2"]);
    // Back to its old place, in front of everything.
    c.settle(&first[..1], Outcome::Failed);
    let again = c.take(1).await;
    assert_eq!(bodies(&again), ["0"]);
    assert!(again[0].redelivered && again[0].attempts == 1);
}

#[tokio::test]
async fn consumers_take_turns_and_priorities_go_first() {
    let stage = Stage::new().await;
    let (mut a, mut b) = (stage.client().await, stage.client().await);
    a.declare(QueueSpec::durable("q")).await;
    a.consume("q", 10, true).await;
    b.consume("q", 10, true).await;
    for i in 0..6 {
        a.publish(Address::queue("q"), &i.to_string());
    }
    assert_eq!((a.take(3).await.len(), b.take(3).await.len()), (3, 3));
    let spec = queue("p", &[("x-max-priority", Value::I32(5))]);
    a.declare(spec).await;
    for (body, priority) in [("low", 0), ("high", 9), ("mid", 3), ("high2", 5)] {
        a.put(Address::queue("p"), body, |meta| meta.priority = Some(priority));
    }
    a.session.flush();
    b.consume("p", 10, false).await;
    assert_eq!(bodies(&b.take(4).await), ["high", "high2", "mid", "low"]);
}

#[tokio::test]
async fn a_lost_connection_gives_back_what_it_had() {
    let stage = Stage::new().await;
    let mut p = stage.client().await;
    p.declare(QueueSpec::durable("q")).await;
    for i in 0..4 {
        p.publish(Address::queue("q"), &i.to_string());
    }
    let mut lost = stage.client().await;
    lost.consume("q", 2, true).await;
    assert_eq!(lost.take(2).await.len(), 2);
    drop(lost);
    p.consume("q", 10, true).await;
    let got = p.take(4).await;
    assert_eq!(bodies(&got), ["0", "1", "2", "3"]);
    let attempts: Vec<u16> = got.iter().map(|d| d.attempts).collect();
    assert_eq!(attempts, [1, 1, 0, 0]);
}

#[tokio::test]
async fn what_leaves_in_order_is_no_failure() {
    let stage = Stage::new().await;
    let mut p = stage.client().await;
    p.declare(queue("q", &[("x-delivery-limit", Value::I32(2))])).await;
    p.publish(Address::queue("q"), "a");
    for way in 0..9 {
        let mut c = stage.client().await;
        let consumer = c.consume("q", 2, true).await;
        let got = c.take(1).await;
        assert_eq!((got[0].attempts, got[0].redelivered), (0, way > 0), "{way}");
        match way % 3 {
            0 => c.session.close().await.expect("closed"),
            1 => c.session.end(),
            _ => {
                c.session.detach(consumer, OnDetach::Return).await;
                drop(c);
            }
        }
    }
    for attempts in 0..3 {
        let mut c = stage.client().await;
        c.consume("q", 2, true).await;
        assert_eq!(c.take(1).await[0].attempts, attempts);
        drop(c);
    }
    until("the third lost connection was too much", || p.ready("q") == 0).await;
}

#[tokio::test]
async fn what_is_given_back_counts_against_a_limit_that_was_asked_for() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    let is_quorum = ("x-queue-type", Value::text("quorum"));
    c.declare(queue("plain", &[("x-dead-letter-exchange", Value::text("x"))])).await;
    c.declare(queue("quorum", std::slice::from_ref(&is_quorum))).await;
    c.declare(queue("asked", &[is_quorum, ("x-delivery-limit", Value::I32(3))])).await;
    for (name, outcome, tries) in [
        ("plain", Outcome::GivenBack, 60),
        ("plain", Outcome::Failed, 60),
        ("quorum", Outcome::GivenBack, 60),
        ("quorum", Outcome::Failed, 21),
        ("asked", Outcome::GivenBack, 4),
        ("asked", Outcome::Failed, 4),
    ] {
        c.publish(Address::queue(name), "a");
        let consumer = c.consume(name, 1, true).await;
        for nth in 0..tries {
            let got = c.take(1).await;
            assert_eq!(got[0].redelivered, nth > 0, "{name} {outcome:?}");
            c.settle(&got, outcome.clone());
        }
        match tries {
            60 => {
                let last = c.take(1).await;
                c.settle(&last, Outcome::Accepted);
            }
            _ => c.nothing().await,
        }
        assert_eq!(c.ready(name), 0, "{name} {outcome:?}");
        c.session.detach(consumer, OnDetach::Return).await;
    }
}

#[tokio::test]
async fn what_is_due_at_once_is_offered_once() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    let now_or_never = ("x-message-ttl", Value::I32(0));
    let dead = ("x-dead-letter-exchange", Value::text(""));
    let to_dead = ("x-dead-letter-routing-key", Value::text("dead"));
    c.declare(QueueSpec::durable("dead")).await;
    c.declare(queue("q", &[now_or_never, dead, to_dead])).await;
    c.publish(Address::queue("q"), "nobody is there");
    until("it is dead", || c.ready("dead") == 1).await;
    let consumer = c.consume("q", 1, true).await;
    for body in ["1", "2", "3"] {
        c.durable(Address::queue("q"), body).await;
    }
    let got = c.take(1).await;
    assert_eq!(bodies(&got), ["1"]);
    until("the others had no credit", || c.ready("dead") == 3).await;
    // What comes back was offered: it is expired.
    c.settle(&got, Outcome::GivenBack);
    until("it expired", || c.ready("dead") == 4).await;
    c.put(Address::queue("q"), "transient", |_| ());
    c.session.flush();
    assert_eq!(bodies(&c.take(1).await), ["transient"]);
    c.session.detach(consumer, OnDetach::Return).await;
    // A reader to whom nothing expired may go gets none.
    let strict = Consumer {
        source: ConsumerSource::Queue("q".into()),
        settles: true,
        exclusive: false,
        priority: 0,
        credit: Credit::UNLIMITED,
        pools: Default::default(),
        only_unexpired: true,
        has_time: false,
        tag: "".into(),
    };
    c.session.attach(c.lane, strict).await.expect("attached");
    c.durable(Address::queue("q"), "late").await;
    c.nothing().await;
}

#[tokio::test]
async fn a_single_active_consumer_settles_before_the_next_is_served() {
    one_at_a_time("classic").await;
    one_at_a_time("quorum").await;
}

async fn one_at_a_time(kind: &str) {
    let stage = Stage::new().await;
    let (mut a, mut b) = (stage.client().await, stage.client().await);
    let single = ("x-single-active-consumer", Value::Bool(true));
    a.declare(queue("q", &[single, ("x-queue-type", Value::text(kind))])).await;
    let first = a.consume("q", 2, true).await;
    b.consume("q", 10, true).await;
    for body in ["1", "2", "3"] {
        a.publish(Address::queue("q"), body);
    }
    let got = a.take(2).await;
    a.session.detach(first, OnDetach::Stay).await;
    b.nothing().await;
    a.settle(&got[..1], Outcome::Accepted);
    b.nothing().await;
    a.settle(&got[1..], Outcome::GivenBack);
    let next = b.take(2).await;
    assert_eq!(bodies(&next), ["2", "3"]);
    // A higher priority waits until the active one is gone, or, at a quorum queue, has settled what it has.
    let important = Consumer {
        source: ConsumerSource::Queue("q".into()),
        settles: true,
        exclusive: false,
        priority: 5,
        credit: Credit::UNLIMITED,
        pools: Default::default(),
        only_unexpired: false,
        has_time: false,
        tag: "".into(),
    };
    a.session.attach(a.lane, important).await.expect("attached");
    match kind {
        "classic" => {
            b.settle(&next, Outcome::Accepted);
            a.publish(Address::queue("q"), "4");
            assert_eq!(bodies(&b.take(1).await), ["4"]);
            a.nothing().await;
        }
        _ => {
            a.publish(Address::queue("q"), "4");
            a.nothing().await;
            b.nothing().await;
            b.settle(&next, Outcome::Accepted);
            assert_eq!(bodies(&a.take(1).await), ["4"]);
        }
    }
}

#[tokio::test]
async fn beside_a_consumer_in_turn_others_are_idle() {
    let stage = Stage::new().await;
    let (mut p, mut a, mut b) = (stage.client().await, stage.client().await, stage.client().await);
    p.declare(QueueSpec::durable("q")).await;
    p.consume("q", 10, true).await;
    let in_turn = || Consumer {
        source: ConsumerSource::Queue("q".into()),
        settles: true,
        exclusive: false,
        priority: 0,
        credit: Credit::UNLIMITED,
        pools: Default::default(),
        only_unexpired: false,
        has_time: false,
        tag: "".into(),
    };
    let first = a.session.attach_in_turn(a.lane, in_turn()).await.expect("attached");
    let second = b.session.attach_in_turn(b.lane, in_turn()).await.expect("attached");
    for body in ["1", "2"] {
        p.publish(Address::queue("q"), body);
    }
    assert_eq!(bodies(&a.take(2).await), ["1", "2"]);
    p.nothing().await;
    b.nothing().await;
    a.session.detach(first, OnDetach::Return).await;
    assert_eq!(bodies(&b.take(2).await), ["1", "2"]);
    b.session.detach(second, OnDetach::Return).await;
    assert_eq!(bodies(&p.take(2).await), ["1", "2"]);
    // One that wants to be alone is still refused, and refuses.
    let alone = Consumer { exclusive: true, ..in_turn() };
    let refused = a.session.attach(a.lane, alone).await.expect_err("not alone");
    assert_eq!(refused.kind(), ErrorKind::InUse);
}

#[tokio::test]
async fn what_was_never_taken_comes_back_untouched() {
    let stage = Stage::new().await;
    let mut p = stage.client().await;
    p.declare(QueueSpec::durable("q")).await;
    p.publish(Address::queue("q"), "a");
    let mut lost = stage.client().await;
    lost.consume("q", 2, true).await;
    drop(lost);
    p.consume("q", 1, true).await;
    let got = p.take(1).await;
    assert_eq!((got[0].attempts, got[0].redelivered), (0, false));
}

#[tokio::test]
async fn pools_are_shared_by_consumers() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    let pool = c.session.pool(Credit::messages(1));
    for name in ["a", "b"] {
        c.declare(QueueSpec::durable(name)).await;
        let consumer = Consumer {
            source: ConsumerSource::Queue(name.into()),
            settles: true,
            exclusive: false,
            priority: 0,
            credit: Credit::UNLIMITED,
            pools: [pool].into_iter().collect(),
            only_unexpired: false,
            has_time: false,
            tag: "".into(),
        };
        c.session.attach(c.lane, consumer).await.expect("attached");
        c.publish(Address::queue(name), name);
    }
    let first = c.take(1).await;
    c.nothing().await;
    c.settle(&first, Outcome::Accepted);
    let second = c.take(1).await;
    assert_ne!(bodies(&first), bodies(&second));
    c.publish(Address::queue("a"), "more");
    c.nothing().await;
    c.session.set_pool(pool, Credit::messages(2));
    c.session.flush();
    assert_eq!(bodies(&c.take(1).await), ["more"]);
}

#[tokio::test]
async fn single_gets() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    assert!(c.session.get(c.lane, "q", true).await.expect("there").is_none());
    c.publish(Address::queue("q"), "a");
    c.publish(Address::queue("q"), "b");
    let (delivery, left) = c.session.get(c.lane, "q", true).await.expect("there").expect("one");
    assert_eq!((left, c.session.queue_status("q").expect("there").consumers), (1, 0));
    c.settle(&[delivery], Outcome::Failed);
    let (delivery, _) = c.session.get(c.lane, "q", false).await.expect("there").expect("one");
    assert_eq!((delivery.attempts, c.ready("q")), (1, 1));
    let lane = c.lane;
    c.session.get(lane, "q", true).await.expect("there").expect("one");
    c.session.drop_lane(lane);
    assert_eq!(c.ready("q"), 1, "a lane that ends gives back");
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
            source: ConsumerSource::Queue(name.into()),
            settles: true,
            exclusive: false,
            priority: 0,
            credit: Credit::UNLIMITED,
            pools: [pool].into_iter().collect(),
            only_unexpired: false,
            has_time: false,
            tag: name.into(),
        };
        c.session.attach(c.lane, consumer).await.expect("attached");
    }
    assert_eq!(bodies(&c.take(2).await), ["a", "a"]);
    stage.client().await.session.delete_queue("a", false, false).await.expect("deleted");
    assert_eq!(bodies(&c.take(1).await), ["b"]);
}
