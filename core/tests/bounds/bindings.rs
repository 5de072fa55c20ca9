//! Exchanges, queues and bindings through the verbs of a session; that a stale route is never used; limits and counts.

pub(crate) use crate::stage;

use crate::measure::{cpu_time, grows_linearly};
use crossdock_core::memory::MemoryStore;
use crossdock_core::*;
use stage::{Client, Stage, topic};
use std::time::Duration;

/// Runs on this thread, so that its CPU time is what everything took.
pub fn here<R>(what: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(what)
}

fn transient(name: &str) -> QueueSpec {
    QueueSpec { durable: false, ..QueueSpec::durable(name) }
}

fn exchange(name: &str, kind: Kind) -> ExchangeSpec {
    ExchangeSpec { durable: false, ..ExchangeSpec::new(name, kind) }
}

impl Client {
    async fn exchange(&mut self, name: &str, kind: Kind) {
        self.session.declare_exchange(exchange(name, kind)).await.expect("declared");
    }

    async fn chain(&mut self, source: &str, key: &str, to: &str) -> Result<bool, Error> {
        let bind = Bind::new(source, key.into(), BindTarget::Exchange(to.into()));
        self.session.bind(bind).await
    }

    async fn unbind(&mut self, source: &str, key: &str, to: BindTarget) -> bool {
        self.session.unbind(Bind::new(source, key.into(), to)).await.expect("unbound")
    }

    async fn sent(&mut self, exchange: &str, key: &str) -> ConfirmOutcome {
        let number = self.publish(Address::new(exchange.into(), key.into()), "m");
        self.confirmed(number).await
    }

    async fn is_routed(&mut self, exchange: &str, key: &str) -> bool {
        matches!(self.sent(exchange, key).await, ConfirmOutcome::Stored)
    }
}

/// CPU time of the last part of a scene.
async fn measured<R>(part: impl Future<Output = R>) -> Duration {
    let before = cpu_time();
    part.await;
    cpu_time().saturating_sub(before)
}

#[test]
fn queues_are_declared_bound_and_deleted_at_a_constant_cost() {
    for kind in [Kind::Fanout, Kind::Direct, Kind::Topic] {
        grows_linearly(&format!("queues bound to one {kind:?} exchange"), 500, |n| {
            here(async {
                let stage = Stage::new().await;
                let mut client = stage.client().await;
                client.exchange("x", kind).await;
                measured(async {
                    for i in 0..n {
                        client.declare(transient(&format!("q{i}"))).await;
                        client.bind("x", "k", &format!("q{i}")).await;
                    }
                    for i in 0..n {
                        let name = format!("q{i}");
                        client.session.delete_queue(&name, false, false).await.expect("deleted");
                    }
                })
                .await
            })
        });
    }
}

#[test]
fn exclusive_queues_go_with_their_connection_at_a_constant_cost() {
    grows_linearly("exclusive queues on one fanout", 1_200, |n| {
        here(async {
            let stage = Stage::new().await;
            let mut client = stage.client().await;
            for i in 0..n {
                let name = format!("q{i}");
                let spec = QueueSpec { life: Life::Exclusive, ..transient(&name) };
                client.declare(spec).await;
                client.bind("amq.fanout", "", &name).await;
            }
            measured(async { drop(client) }).await
        })
    });
}

#[test]
fn one_queue_has_many_bindings() {
    grows_linearly("bindings to one queue, unbound one by one", 1_000, |n| {
        here(async {
            let stage = Stage::new().await;
            let mut client = stage.client().await;
            client.declare(transient("q")).await;
            measured(async {
                for i in 0..n {
                    client.bind("amq.direct", &format!("k{i}"), "q").await;
                }
                for i in 0..n {
                    let to = BindTarget::Queue("q".into());
                    assert!(client.unbind("amq.direct", &format!("k{i}"), to).await);
                }
            })
            .await
        })
    });
}

#[test]
fn an_exchange_goes_with_its_own_bindings_and_looks_at_no_others() {
    grows_linearly("the end of an exchange with ten bindings among n others", 2_000, |n| {
        here(async {
            let stage = Stage::new().await;
            let mut client = stage.client().await;
            client.declare(transient("q")).await;
            for i in 0..n {
                client.bind("amq.direct", &format!("k{i}"), "q").await;
            }
            for x in 0..200 {
                client.exchange(&format!("x{x}"), Kind::Direct).await;
                client.bind(&format!("x{x}"), "k", "q").await;
            }
            let once = measured(async {
                for x in 0..200 {
                    let name = format!("x{x}");
                    client.session.delete_exchange(&name, false).await.expect("deleted");
                }
            })
            .await;
            assert!(client.is_routed("amq.direct", "k0").await);
            once
        })
    });
}

/// A broker whose publishes may go through so many exchanges.
async fn with_visits(exchanges_visited: usize) -> Stage {
    let mut settings = Settings::default();
    settings.objects.exchanges_visited = exchanges_visited;
    Stage::with(MemoryStore::default(), settings, Vec::new()).await
}

#[test]
fn a_publish_goes_through_each_exchange_once() {
    // A star, all of whose points lead back to all points: as many edges as exchanges, times four.
    grows_linearly("a publish to a fanout of n fanouts", 1_000, |n| {
        here(async {
            let stage = with_visits(usize::MAX).await;
            let mut client = stage.client().await;
            client.exchange("star", Kind::Fanout).await;
            client.declare(transient("q")).await;
            for i in 0..n {
                let name = format!("x{i}");
                client.exchange(&name, Kind::Fanout).await;
                client.chain("star", "", &name).await.expect("bound");
                client.chain(&name, "", "star").await.expect("bound");
                client.bind(&name, "", "q").await;
            }
            let mut other = stage.client().await;
            let once = measured(async {
                let number = other.publish(Address::new("star".into(), "k".into()), "m");
                assert!(matches!(other.confirmed(number).await, ConfirmOutcome::Stored));
            })
            .await;
            assert_eq!(client.ready("q"), 1);
            once
        })
    });
}

#[tokio::test]
async fn a_publish_through_too_many_exchanges_is_refused_and_nobody_gets_it() {
    let stage = with_visits(10).await;
    let mut client = stage.client().await;
    client.declare(transient("q")).await;
    for i in 0..12 {
        client.exchange(&format!("x{i}"), Kind::Fanout).await;
        client.bind(&format!("x{i}"), "", "q").await;
        if i > 0 {
            client.chain(&format!("x{}", i - 1), "", &format!("x{i}")).await.expect("bound");
        }
    }
    // From the third on there are ten.
    assert!(client.is_routed("x2", "k").await);
    assert_eq!(client.ready("q"), 1);
    for _ in 0..2 {
        match client.sent("x1", "k").await {
            ConfirmOutcome::Refused(why) => assert_eq!(why.kind(), ErrorKind::LimitReached),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(client.ready("q"), 1);
    // Alternate exchanges count, too.
    let alternate = ("alternate-exchange".into(), Value::text("x2"));
    let spec = ExchangeSpec { arguments: vec![alternate], ..exchange("front", Kind::Direct) };
    client.session.declare_exchange(spec).await.expect("declared");
    assert!(matches!(client.sent("front", "k").await, ConfirmOutcome::Refused(_)));
    assert_eq!(client.ready("q"), 1);
}

#[tokio::test]
async fn what_would_be_too_many_is_refused_and_what_is_there_is_not() {
    let mut settings = Settings::default();
    (settings.objects.queues, settings.objects.exchanges) = (3, 5);
    settings.objects.bindings = 3;
    let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
    let mut client = stage.client().await;
    let is_limit = |error: Error| assert_eq!(error.kind(), ErrorKind::LimitReached, "{error:?}");
    for name in ["a", "b", "c", "a"] {
        client.declare(QueueSpec::durable(name)).await;
    }
    is_limit(client.session.declare_queue(QueueSpec::durable("d")).await.expect_err("too many"));
    client.session.delete_queue("c", false, false).await.expect("deleted");
    client.declare(QueueSpec::durable("d")).await;
    // Three exchanges are predeclared.
    for name in ["x", "y", "x"] {
        client.exchange(name, Kind::Fanout).await;
    }
    let more = client.session.declare_exchange(exchange("z", Kind::Fanout)).await;
    is_limit(more.expect_err("too many"));
    for key in ["1", "2", "3", "1"] {
        client.bind("amq.direct", key, "a").await;
    }
    let fourth = || Bind::new("amq.direct", "4".into(), BindTarget::Queue("a".into()));
    is_limit(client.session.bind(fourth()).await.expect_err("too many"));
    assert!(!client.is_routed("amq.direct", "4").await);
    assert!(client.unbind("amq.direct", "2", BindTarget::Queue("a".into())).await);
    client.session.bind(fourth()).await.expect("bound");
    assert!(client.is_routed("amq.direct", "4").await);
    // A named session's own queue is a queue; without one, nothing of its binding is there.
    let mut named = stage.named("s", true, SessionLife::Forever).await;
    let own = named.session.bind(Bind::new(stage::TOPICS, "t".into(), BindTarget::Own)).await;
    is_limit(own.expect_err("too many"));
    // A start refuses nothing.
    let stage = stage.crash().await;
    let client = stage.client().await;
    for name in ["a", "b", "d"] {
        assert!(client.session.queue_status(name).is_ok());
    }
}

/// What a route that another session has cached must not survive.
#[tokio::test]
async fn a_stale_route_is_never_used() {
    let stage = Stage::new().await;
    let mut owner = stage.client().await;
    let mut sender = stage.client().await;
    let queue = || BindTarget::Queue("a/b".into());
    // By name, also one that looks like a pattern.
    for name in ["a/b", "#", "+/x"] {
        assert!(!sender.is_routed("", name).await);
        owner.declare(transient(name)).await;
        assert!(sender.is_routed("", name).await, "{name}");
        owner.session.delete_queue(name, false, false).await.expect("deleted");
        assert!(!sender.is_routed("", name).await, "{name}");
        owner.declare(transient(name)).await;
        assert!(sender.is_routed("", name).await, "{name}");
    }
    owner.exchange("h", Kind::Headers).await;
    owner.exchange("e", Kind::Direct).await;
    let cases = [
        ("amq.direct", "k/1", "k/1"),
        ("amq.fanout", "", "anything"),
        (stage::TOPICS, "k/+", "k/1"),
        (stage::TOPICS, "#/1", "k/1"),
        (stage::TOPICS, "+", "k"),
        ("h", "", "k"),
    ];
    for (exchange, pattern, key) in cases {
        let case = format!("{exchange} {pattern}");
        assert!(!sender.is_routed(exchange, key).await, "{case}");
        owner.bind(exchange, pattern, "a/b").await;
        assert!(sender.is_routed(exchange, key).await, "{case}");
        assert!(owner.unbind(exchange, pattern, queue()).await);
        assert!(!sender.is_routed(exchange, key).await, "{case}");
        owner.bind(exchange, pattern, "a/b").await;
        assert!(sender.is_routed(exchange, key).await, "{case}");
        owner.session.delete_queue("a/b", false, false).await.expect("deleted");
        assert!(!sender.is_routed(exchange, key).await, "{case}");
        owner.declare(transient("a/b")).await;
        assert!(!sender.is_routed(exchange, key).await, "{case}");
        // The same by way of another exchange, which then goes.
        owner.bind("e", key, "a/b").await;
        owner.chain(exchange, pattern, "e").await.expect("bound");
        assert!(sender.is_routed(exchange, key).await, "{case}");
        assert!(owner.unbind("e", key, queue()).await);
        assert!(!sender.is_routed(exchange, key).await, "{case}");
        owner.bind("e", key, "a/b").await;
        assert!(sender.is_routed(exchange, key).await, "{case}");
        owner.session.delete_exchange("e", false).await.expect("deleted");
        assert!(!sender.is_routed(exchange, key).await, "{case}");
        owner.exchange("e", Kind::Direct).await;
        assert!(!sender.is_routed(exchange, key).await, "{case}");
    }
}

#[tokio::test]
async fn a_session_that_ends_is_not_reached_by_a_stale_route() {
    let stage = Stage::new().await;
    let mut sender = stage.client().await;
    for pattern in ["t/+", "#", "t/1"] {
        assert!(!sender.is_routed(stage::TOPICS, "t/1").await);
        let mut named = stage.named("s", true, SessionLife::No).await;
        named.subscribe(pattern, 1).await;
        assert!(sender.is_routed(stage::TOPICS, "t/1").await, "{pattern}");
        let number = sender.put(topic("t/1"), "m", stage::at_level_1);
        sender.session.flush();
        assert!(matches!(sender.confirmed(number).await, ConfirmOutcome::Stored));
        named.session.close().await.expect("closed");
        assert!(!sender.is_routed(stage::TOPICS, "t/1").await, "{pattern}");
        let number = sender.put(topic("t/1"), "m", stage::at_level_1);
        sender.session.flush();
        assert!(matches!(sender.confirmed(number).await, ConfirmOutcome::Unroutable(_)));
    }
}
