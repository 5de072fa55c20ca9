//! Exchanges that give a new binding what came before it.

use crate::stage::*;
use crossdock_core::*;

fn spec(length: i64) -> ExchangeSpec {
    let kind = Kind::parse("x-recent-history").expect("known");
    let arguments = vec![("x-recent-history-length".into(), Value::I64(length))];
    ExchangeSpec { arguments, ..ExchangeSpec::new("recent", kind) }
}

fn recent(key: &str) -> Address {
    Address::new("recent".into(), key.into())
}

async fn confirmed(c: &mut Client, body: &str) {
    let outcome = c.durable(recent("k"), body).await;
    assert!(!matches!(outcome, ConfirmOutcome::Refused(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_new_binding_gets_the_newest_messages_and_then_each() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.session.declare_exchange(spec(3)).await.expect("declared");
    c.declare(QueueSpec::durable("first")).await;
    c.bind("recent", "", "first").await;
    for body in ["1", "2", "3", "4"] {
        confirmed(&mut c, body).await;
    }
    c.declare(QueueSpec::durable("second")).await;
    c.bind("recent", "any", "second").await;
    // An equal binding is no new one; a further one is.
    c.bind("recent", "any", "second").await;
    assert_eq!((c.ready("first"), c.ready("second")), (4, 3));
    confirmed(&mut c, "5").await;
    c.consume("second", 10, true).await;
    let taken = c.take(4).await;
    assert_eq!(bodies(&taken), ["2", "3", "4", "5"]);
    assert_eq!(taken[0].message.address(), &recent("k"));
    c.settle(&taken, Outcome::Accepted);
    assert!(stage.broker.audit().is_empty());
}

#[tokio::test]
async fn what_a_binding_was_given_is_stored_and_what_is_kept_for_others_is_not() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.session.declare_exchange(spec(2)).await.expect("declared");
    confirmed(&mut c, "kept").await;
    c.declare(QueueSpec::durable("q")).await;
    c.bind("recent", "", "q").await;
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    assert_eq!(c.ready("q"), 1);
    c.declare(QueueSpec::durable("late")).await;
    c.bind("recent", "", "late").await;
    assert_eq!(c.ready("late"), 0);
    assert!(stage.broker.audit().is_empty());
}

#[tokio::test]
async fn by_way_of_another_exchange_and_to_another_one() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.session.declare_exchange(spec(20)).await.expect("declared");
    for name in ["front", "behind"] {
        let fanout = ExchangeSpec::new(name, Kind::Fanout);
        c.session.declare_exchange(fanout).await.expect("declared");
    }
    let to = |source: &str, name: &str| Bind {
        source: source.into(),
        key: Key::default(),
        arguments: Vec::new(),
        to: BindTarget::Exchange(name.into()),
        tag: Default::default(),
        skip_own: false,
        replay: Replay::Never,
    };
    c.session.bind(to("front", "recent")).await.expect("bound");
    let front = Address::new("front".into(), "k".into());
    assert!(!matches!(c.durable(front, "kept").await, ConfirmOutcome::Refused(_)));
    c.declare(QueueSpec::durable("q")).await;
    c.bind("behind", "", "q").await;
    c.session.bind(to("recent", "behind")).await.expect("bound");
    assert_eq!(c.ready("q"), 1);
    assert!(stage.broker.audit().is_empty());
}

#[tokio::test]
async fn what_was_refused_or_rolled_back_is_not_kept() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.session.declare_exchange(spec(20)).await.expect("declared");
    c.declare(queue(
        "full",
        &[("x-max-length", Value::I64(1)), ("x-overflow", Value::text("reject-publish"))],
    ))
    .await;
    c.bind("recent", "", "full").await;
    confirmed(&mut c, "taken").await;
    let refused = c.durable(recent("k"), "refused").await;
    assert!(matches!(refused, ConfirmOutcome::Refused(_)), "{refused:?}");
    c.session.begin(c.lane);
    let message = c.message(recent("k"), "rolled back", at_level_1);
    c.session.publish(c.lane, Publish::new(message, false));
    c.session.commit(c.lane).await.expect_err("the queue is full");
    c.declare(QueueSpec::durable("q")).await;
    c.bind("recent", "", "q").await;
    c.consume("q", 10, true).await;
    let taken = c.take(1).await;
    assert_eq!(bodies(&taken), ["taken"]);
    c.nothing().await;
}
