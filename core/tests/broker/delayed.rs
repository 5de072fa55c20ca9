//! Exchanges that keep messages for a time.

use crate::stage::*;
use crossdock_core::*;

/// To the exchange, with that delay.
fn delayed(c: &Client, body: &str, ms: i64, change: impl FnOnce(&mut message::Meta)) -> Message {
    let address = Address::new("later".into(), "k".into());
    let message = c.message(address.clone(), body, |meta| {
        at_level_1(meta);
        change(meta);
    });
    let headers = vec![("x-delay".into(), Value::I64(ms)), ("a".into(), Value::I64(1))];
    let fields = Fields { headers, ..Fields::default() };
    Message::from_fields(address, message.meta().clone(), &fields, message.body().clone())
}

fn publish(c: &mut Client, body: &str, ms: i64) -> u64 {
    let message = delayed(c, body, ms, |_| {});
    let number = c.session.publish(c.lane, Publish::new(message, true));
    c.session.flush();
    number
}

fn spec(routed_by: &str) -> ExchangeSpec {
    let kind = Kind::parse("x-delayed-message").expect("known");
    let arguments = vec![("x-delayed-type".into(), Value::text(routed_by))];
    ExchangeSpec { arguments, ..ExchangeSpec::new("later", kind) }
}

async fn with_queue(stage: &Stage) -> Client {
    let mut c = stage.client().await;
    c.session.declare_exchange(spec("direct")).await.expect("declared");
    c.declare(QueueSpec::durable("q")).await;
    c.bind("later", "k", "q").await;
    c
}

fn delay_of(delivery: &Delivery) -> Option<i64> {
    let fields = delivery.message.fields(&Formats::new(Vec::new())).clone();
    fields.header("x-delay").and_then(Value::as_i64)
}

#[tokio::test]
async fn messages_come_when_they_are_due_and_in_that_order() {
    let stage = Stage::new().await;
    let mut c = with_queue(&stage).await;
    for (body, ms) in [("late", 400), ("soon", 200), ("now", 0), ("waited", -7)] {
        let number = publish(&mut c, body, ms);
        assert!(matches!(c.confirmed(number).await, ConfirmOutcome::Stored));
    }
    assert_eq!(c.ready("q"), 2);
    c.consume("q", 10, true).await;
    let taken = c.take(4).await;
    assert_eq!(bodies(&taken), ["now", "waited", "soon", "late"]);
    let delays: Vec<_> = taken.iter().map(delay_of).collect();
    assert_eq!(delays, [Some(0), Some(-7), Some(-200), Some(-400)]);
    c.settle(&taken, Outcome::Accepted);
    let number = publish(&mut c, "never", i64::from(u32::MAX) + 1);
    let refused = c.confirmed(number).await;
    assert!(matches!(&refused, ConfirmOutcome::Refused(why) if why.kind() == ErrorKind::Invalid));
    assert!(stage.broker.audit().is_empty());
    let look = stage.broker.look_at_exchange("/", "later").expect("there");
    assert_eq!((look.totals.routed, look.totals.unroutable, look.totals.refused), (4, 0, 1));
    // Nobody hears of it without a confirm: it is counted as a drop, and in the log.
    let refused = || stage.broker.dropped(DropReason::Refused);
    assert_eq!(refused(), 0);
    let message = delayed(&c, "never", i64::from(u32::MAX) + 1, |_| {});
    c.session.publish(c.lane, Publish::new(message, false));
    c.session.flush();
    assert_eq!(refused(), 1);
}

#[tokio::test]
async fn what_was_confirmed_waits_over_a_crash() {
    let stage = Stage::new().await;
    let mut c = with_queue(&stage).await;
    let number = publish(&mut c, "kept", 600);
    assert!(matches!(c.confirmed(number).await, ConfirmOutcome::Stored));
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    c.consume("q", 10, true).await;
    let taken = c.take(1).await;
    assert_eq!((bodies(&taken), delay_of(&taken[0])), (vec!["kept".to_owned()], Some(-600)));
    c.settle(&taken, Outcome::Accepted);
    c.nothing().await;
    assert!(stage.broker.audit().is_empty());
}

#[tokio::test]
async fn copies_wait_with_the_message_over_a_crash_and_each_receiver_has_it_once() {
    let stage = Stage::new().await;
    let mut c = with_queue(&stage).await;
    for (queue, keys) in [("a", &["x"][..]), ("b", &["y", "z"])] {
        c.declare(QueueSpec::durable(queue)).await;
        for key in keys {
            c.bind("later", key, queue).await;
        }
    }
    let mut publish = Publish::new(delayed(&c, "kept", 600, |_| {}), true);
    let keys = ["x", "y", "nobody's", "z", "k"];
    let copies = keys.map(|key| Address::new("later".into(), key.into()));
    publish.aside = Some(Box::new(Aside::Copies(copies.into())));
    let number = c.session.publish(c.lane, publish);
    c.session.flush();
    assert!(matches!(c.confirmed(number).await, ConfirmOutcome::Stored));
    let store = stage.store.crashed();
    let settings = Settings { snapshot_bytes: 400, ..Settings::default() };
    let stage = Stage::with(store, settings, Vec::new()).await;
    // A snapshot has it, too.
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("other")).await;
    c.consume("other", 10, true).await;
    let mut most = 0;
    let is_cleaned = loop {
        let entries = stage.store.entries();
        if entries < most || entries > 2_000 {
            break entries < most;
        }
        most = entries;
        c.durable(Address::queue("other"), "x").await;
        let got = c.take(1).await;
        c.settle(&got, Outcome::Accepted);
    };
    assert!(is_cleaned, "a snapshot lets old entries go");
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    for queue in ["q", "a", "b"] {
        c.consume(queue, 10, true).await;
    }
    let taken = c.take(3).await;
    for delivery in &taken {
        assert_eq!(
            (&*delivery.message.body().clone(), delay_of(delivery)),
            (&b"kept"[..], Some(-600))
        );
        assert_eq!(delivery.message.address().to_string(), "exchange:later/k");
    }
    c.settle(&taken, Outcome::Accepted);
    c.nothing().await;
    assert!(stage.broker.audit().is_empty());
}

#[tokio::test]
async fn a_transaction_is_kept_as_a_whole_or_not_at_all() {
    let stage = Stage::new().await;
    let mut c = with_queue(&stage).await;
    c.declare(queue(
        "full",
        &[("x-max-length", Value::I64(0)), ("x-overflow", Value::text("reject-publish"))],
    ))
    .await;
    c.session.begin(c.lane);
    let message = delayed(&c, "refused", 50, |_| {});
    c.session.publish(c.lane, Publish::new(message, false));
    let message = c.message(Address::queue("full"), "no", at_level_1);
    c.session.publish(c.lane, Publish::new(message, false));
    c.session.commit(c.lane).await.expect_err("the queue is full");
    c.session.begin(c.lane);
    let message = delayed(&c, "taken", 100, |_| {});
    c.session.publish(c.lane, Publish::new(message, false));
    c.session.commit(c.lane).await.expect("committed");
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    c.consume("q", 10, true).await;
    assert_eq!(bodies(&c.take(1).await), ["taken"]);
    c.nothing().await;
}

#[tokio::test]
async fn what_reaches_it_by_another_exchange_or_as_a_dead_letter_waits_too() {
    let stage = Stage::new().await;
    let mut c = with_queue(&stage).await;
    let bind = Bind::new(TOPICS, "k".into(), BindTarget::Exchange("later".into()));
    c.session.bind(bind).await.expect("bound");
    c.declare(queue(
        "dying",
        &[
            ("x-dead-letter-exchange", Value::text("later")),
            ("x-dead-letter-routing-key", Value::text("k")),
        ],
    ))
    .await;
    c.consume("dying", 10, true).await;
    for address in [topic("k"), Address::queue("dying")] {
        let message = delayed(&c, "m", 200, |_| {});
        let message = message.with(address, message.meta().clone());
        let number = c.session.publish(c.lane, Publish::new(message, true));
        c.session.flush();
        assert!(matches!(c.confirmed(number).await, ConfirmOutcome::Stored));
    }
    let dying = c.take(1).await;
    c.settle(&dying, Outcome::Rejected { reason: None });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(c.ready("q"), 0, "both wait");
    until("both are there", || c.ready("q") == 2).await;
    assert!(stage.broker.audit().is_empty());
}

#[tokio::test]
async fn the_time_to_live_runs_from_when_it_is_due() {
    let stage = Stage::new().await;
    let mut c = with_queue(&stage).await;
    let now = stage.broker.now();
    let message = delayed(&c, "lives", 300, |meta| meta.expires = Some(now.plus(250)));
    c.session.publish(c.lane, Publish::new(message, true));
    c.session.flush();
    until("it is there", || c.ready("q") == 1).await;
    c.consume("q", 10, true).await;
    assert_eq!(bodies(&c.take(1).await), ["lives"]);
}

#[tokio::test]
async fn an_exchange_names_the_type_that_routes() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    for wrong in ["x-delayed-message", "nonsense", ""] {
        let refused = c.session.declare_exchange(spec(wrong)).await.expect_err(wrong);
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert!(refused.detail().contains("'x-delayed-type' must be"), "{refused}");
    }
    c.session.declare_exchange(spec("topic")).await.expect("declared");
    let other = c.session.declare_exchange(spec("fanout")).await.expect_err("another one");
    assert_eq!(other.kind(), ErrorKind::Mismatch);
    c.declare(QueueSpec::durable("q")).await;
    c.bind("later", "+", "q").await;
    publish(&mut c, "by pattern", 50);
    until("it is there", || c.ready("q") == 1).await;
}
