//! Bindings: what they lead to is deleted or declared again, and keys that do not count.

use crate::stage::*;
use crossdock_core::*;

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
        .bind(Bind::new("main", "e".into(), BindTarget::Exchange("other".into())))
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
        .unbind(Bind::new("amq.fanout", "".into(), BindTarget::Queue("rest".into())))
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
    assert!(matches!(c.durable(to(), "0").await, ConfirmOutcome::Unroutable(_)));
    c.bind("amq.fanout", "", "q").await;
    assert!(matches!(c.durable(to(), "1").await, ConfirmOutcome::Stored));
    c.session
        .unbind(Bind::new("amq.fanout", "".into(), BindTarget::Queue("q".into())))
        .await
        .expect("was there");
    assert!(matches!(c.durable(to(), "2").await, ConfirmOutcome::Unroutable(_)));
    assert_eq!(c.ready("q"), 1);
}

/// As RabbitMQ does: nothing was taken away, so it is not the last binding that goes.
#[tokio::test]
async fn an_auto_delete_exchange_stays_when_a_binding_is_taken_away_that_it_does_not_have() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    let spec = ExchangeSpec { auto_delete: true, ..ExchangeSpec::new("x", Kind::Topic) };
    c.session.declare_exchange(spec).await.expect("declared");
    c.declare(QueueSpec::durable("q")).await;
    let unbind = || Bind::new("x", "k".into(), BindTarget::Queue("q".into()));
    assert_eq!(c.session.unbind(unbind()).await, Ok(false));
    assert!(c.session.exchange("x").is_ok(), "it has had no binding yet");
    c.bind("x", "k", "q").await;
    assert_eq!(c.session.unbind(unbind()).await, Ok(true));
    assert!(c.session.exchange("x").is_err(), "it goes with its last binding");
}

#[tokio::test]
async fn what_leads_to_a_topic_of_the_brokers_own_is_dropped_and_counted() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("all")).await;
    c.declare(QueueSpec::durable("side")).await;
    c.bind(TOPICS, "$SYS/#", "all").await;
    c.session.declare_exchange(ExchangeSpec::new("by", Kind::Fanout)).await.expect("declared");
    c.bind("by", "", "side").await;
    let on = Bind::new("by", "".into(), BindTarget::Exchange(TOPICS.into()));
    c.session.bind(on).await.expect("bound");
    let denied = || stage.broker.dropped(DropReason::Denied);
    // Neither asks for an answer, neither is mandatory.
    for (n, exchange) in ["by", TOPICS, "by"].into_iter().enumerate() {
        let message = c.message(Address::new(exchange.into(), "$SYS/x".into()), "x", |_| ());
        c.session.publish(c.lane, Publish::new(message, false));
        c.session.flush();
        assert_eq!(denied(), n as u64 + 1, "{exchange}");
    }
    assert_eq!((c.ready("all"), c.ready("side")), (0, 2));
}
