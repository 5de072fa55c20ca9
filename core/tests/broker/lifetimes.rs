//! How long things live: exclusive, auto-delete and expiring queues, time to live, consumers of deleted queues.

use crate::stage::*;
use crossdock_core::*;
use std::time::Duration;

async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test]
async fn exclusive_queues_belong_to_their_connection() {
    let stage = Stage::new().await;
    let (mut a, mut b) = (stage.client().await, stage.client().await);
    let spec = QueueSpec { life: Life::Exclusive, durable: false, ..QueueSpec::default() };
    let name = a.declare(spec.clone()).await.status.name;
    assert!(name.starts_with("amq.gen-"));
    let locked = b.try_consume(ConsumerSource::Queue(name.clone()), 1, true).await;
    assert_eq!(locked.map_err(|e| e.kind()), Err(ErrorKind::Locked));
    let locked = b.session.declare_queue(QueueSpec { name: name.clone(), ..spec }).await;
    assert_eq!(locked.map_err(|e| e.kind()), Err(ErrorKind::Locked));
    b.publish(Address::queue(&name), "m");
    assert_eq!(a.ready(&name), 1);
    drop(a);
    assert_eq!(b.session.queue_status(&name).map_err(|e| e.kind()), Err(ErrorKind::NotFound));
}

#[tokio::test]
async fn auto_delete_goes_with_the_last_consumer() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec { auto_delete: true, ..QueueSpec::durable("q") }).await;
    let (one, two) = (c.consume("q", 1, true).await, c.consume("q", 1, true).await);
    c.session.detach(one, OnDetach::Stay).await;
    assert!(c.session.queue_status("q").is_ok());
    c.session.detach(two, OnDetach::Stay).await;
    assert!(c.session.queue_status("q").is_err());
}

#[tokio::test]
async fn consumers_hear_of_a_deleted_queue() {
    let stage = Stage::new().await;
    let (mut a, mut b) = (stage.client().await, stage.client().await);
    a.declare(QueueSpec::durable("q")).await;
    let consumer = b.consume("q", 1, true).await;
    a.publish(Address::queue("q"), "one");
    a.publish(Address::queue("q"), "two");
    assert_eq!(b.take(1).await.len(), 1);
    let in_use = a.session.delete_queue("q", true, false).await;
    assert_eq!(in_use.map_err(|e| e.kind()), Err(ErrorKind::InUse));
    assert_eq!(a.session.delete_queue("q", false, false).await, Ok(1));
    let notices = b.events().await.notices;
    assert!(matches!(&notices[..], [Notice::Detached { consumer: c, .. }] if *c == consumer));
    let number = a.publish(Address::queue("q"), "late");
    assert!(matches!(a.confirmed(number).await, ConfirmOutcome::Unroutable(_)));
}

#[tokio::test]
async fn messages_expire_and_move_on_without_a_consumer() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("dead")).await;
    let dead = [("x-dead-letter-exchange", Value::text("amq.fanout"))];
    let ttl = [dead[0].clone(), ("x-message-ttl", Value::I32(60))];
    c.declare(queue("q", &ttl)).await;
    c.bind("amq.fanout", "", "dead").await;
    c.durable(Address::queue("q"), "a").await;
    c.put(Address::queue("q"), "b", |meta| meta.expires = Some(meta.published.plus(5)));
    c.session.flush();
    pass(200).await;
    assert_eq!((c.ready("q"), c.ready("dead")), (0, 2));
    c.consume("dead", 10, true).await;
    let got = c.take(2).await;
    let death = got[0].message.meta().deaths()[0].clone();
    assert_eq!((&*death.queue, death.reason, death.count), ("q", Reason::Expired, 1));
    assert!(got.iter().all(|d| d.message.meta().expires.is_none()));
    let stage = stage.crash().await;
    let c = stage.client().await;
    assert_eq!((c.ready("q"), c.ready("dead")), (0, 1), "the durable one is where it moved to");
}

#[tokio::test]
async fn a_time_to_live_of_nothing_still_reaches_a_waiting_consumer() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    c.put(Address::queue("q"), "late", |meta| meta.expires = Some(meta.published));
    c.session.flush();
    c.consume("q", 1, true).await;
    c.nothing().await;
    assert_eq!(c.ready("q"), 0);
}

#[tokio::test]
async fn unused_queues_expire() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(queue("q", &[("x-expires", Value::I32(80))])).await;
    let consumer = c.consume("q", 1, true).await;
    pass(150).await;
    assert!(c.session.queue_status("q").is_ok(), "it is in use");
    c.session.detach(consumer, OnDetach::Return).await;
    pass(200).await;
    assert!(c.session.queue_status("q").is_err());
}

#[tokio::test]
async fn parked_publishes_come_when_due() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    let message = c.message(Address::queue("q"), "later", |meta| meta.durable = true);
    let due = c.session.broker().now().plus(100);
    let cancelled = c.session.park(ParkUntil::At(due), message.clone()).await.expect("parked");
    c.session.park(ParkUntil::At(due), message).await.expect("parked");
    assert!(c.session.unpark(cancelled).await.expect("stored"));
    assert!(!c.session.unpark(cancelled).await.expect("stored"));
    assert_eq!(c.ready("q"), 0);
    let stage = stage.crash().await;
    pass(300).await;
    assert_eq!(stage.client().await.ready("q"), 1);
}

#[tokio::test]
async fn virtual_hosts_share_nothing() {
    let settings = Settings { vhosts: vec!["/".into(), "other".into()], ..Settings::default() };
    let store = crossdock_core::memory::MemoryStore::default();
    let stage = Stage::with(store, settings, Vec::new()).await;
    let mut a = stage.client().await;
    let mut b = stage.client_in("other").await;
    let arguments = [
        ("x-message-ttl", Value::I32(30)),
        ("x-dead-letter-exchange", Value::text("")),
        ("x-dead-letter-routing-key", Value::text("dead")),
    ];
    b.declare(queue("q", &arguments)).await;
    for client in [&mut a, &mut b] {
        client.declare(QueueSpec::durable("dead")).await;
    }
    assert!(a.session.queue_status("q").is_err());
    b.durable(Address::queue("q"), "m").await;
    pass(150).await;
    assert_eq!((a.ready("dead"), b.ready("dead")), (0, 1));
}

#[tokio::test]
async fn a_time_to_live_counts_from_the_arrival_also_after_a_crash() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(dead_lettering("a", "b", &[])).await;
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

/// A queue is used by whoever gets from it, whether or not there is something, and by whoever asks for it.
#[tokio::test]
async fn what_is_asked_for_does_not_expire() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    for name in ["got", "asked", "seen"] {
        c.declare(queue(name, &[("x-expires", Value::I32(600))])).await;
    }
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(c.session.get(c.lane, "got", true).await.expect("there").is_none());
        c.session.ask_for_queue("asked").expect("there");
        let _ = c.session.queue_status("seen");
    }
    assert!(c.session.queue_status("seen").is_err(), "to look is no use");
    for name in ["got", "asked"] {
        until("it expires", || c.session.queue_status(name).is_err()).await;
    }
}

/// RabbitMQ knows circles, and no longest chain.
#[tokio::test]
async fn a_chain_of_dead_letter_addresses_may_be_as_long_as_it_likes() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    for n in 0..40 {
        let ttl = ("x-message-ttl", Value::I32(1));
        c.declare(dead_lettering(&n.to_string(), &(n + 1).to_string(), &[ttl])).await;
    }
    c.declare(QueueSpec::durable("40")).await;
    c.durable(Address::queue("0"), "far").await;
    until("it arrives", || c.ready("40") == 1).await;
    c.consume("40", 1, true).await;
    assert_eq!(c.take(1).await[0].message.meta().deaths().len(), 40);
}

/// What goes round without anybody having rejected it is kept where somebody looks.
#[tokio::test]
async fn a_circle_of_dead_letter_addresses_ends_at_the_virtual_hosts() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    let ttl = ("x-message-ttl", Value::I32(1));
    c.declare(dead_lettering("a", "b", std::slice::from_ref(&ttl))).await;
    c.declare(dead_lettering("b", "a", std::slice::from_ref(&ttl))).await;
    // Nobody takes it there yet: it is dropped.
    c.durable(Address::queue("a"), "round").await;
    until("it is gone", || c.ready("a") + c.ready("b") == 0).await;
    // That one leads into the circle, too.
    c.declare(dead_lettering("dead-letters", "a", &[ttl])).await;
    c.durable(Address::queue("b"), "round").await;
    until("it is gone", || ["a", "b", "dead-letters"].iter().all(|q| c.ready(q) == 0)).await;
    c.session.delete_queue("dead-letters", false, false).await.expect("deleted");
    c.declare(QueueSpec::durable("dead-letters")).await;
    c.durable(Address::queue("a"), "round").await;
    until("it is kept", || c.ready("dead-letters") == 1).await;
    let names = ["a", "b", "dead-letters"];
    assert_eq!(names.map(|q| c.ready(q)), [0, 0, 1]);
}
