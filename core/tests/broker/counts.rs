//! What queues and exchanges count, that they balance, and that both hold over restarts.

use crate::stage::*;
use crossdock_core::*;

fn balances(stage: &Stage) {
    let found = stage.broker.audit();
    assert!(found.is_empty(), "{}", found[0]);
}

fn tally(stage: &Stage, queue: &str) -> Tally {
    stage.broker.look_at_queue("/", queue).expect("there").records
}

/// How records came to a queue and left it, without what did not happen.
fn ways(stage: &Stage, queue: &str) -> Vec<(&'static str, u64)> {
    let tally = tally(stage, queue);
    let came = CameBy::ALL.iter().map(|by| (by.as_str(), tally.came(*by)));
    let left = LeftBy::ALL.iter().map(|by| (by.as_str(), tally.left(*by)));
    came.chain(left).filter(|(_, count)| *count > 0).collect()
}

fn exchange(stage: &Stage, name: &str) -> (u64, u64, u64) {
    let totals = stage.broker.look_at_exchange("/", name).expect("there").totals;
    assert_eq!(totals.published(), totals.routed + totals.unroutable + totals.refused);
    (totals.routed, totals.unroutable, totals.refused)
}

async fn fill(c: &mut Client, queue: &str, count: usize) {
    for n in 0..count {
        assert!(matches!(
            c.durable(Address::queue(queue), &n.to_string()).await,
            ConfirmOutcome::Stored
        ));
    }
}

#[tokio::test]
async fn each_way_out_of_a_queue_is_counted() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(queue("short", &[("x-max-length", Value::I32(2))])).await;
    c.declare(queue("brief", &[("x-message-ttl", Value::I32(0))])).await;
    c.declare(QueueSpec::durable("plain")).await;
    fill(&mut c, "short", 5).await;
    assert_eq!(ways(&stage, "short"), [("published", 5), ("dropped_max_length", 3)]);
    c.session.purge("short").await.expect("purged");
    let expected = [("published", 5), ("dropped_max_length", 3), ("purged", 2)];
    assert_eq!(ways(&stage, "short"), expected);
    fill(&mut c, "brief", 1).await;
    until("it expires", || ways(&stage, "brief").len() == 2).await;
    assert_eq!(ways(&stage, "brief"), [("published", 1), ("expired", 1)]);

    fill(&mut c, "plain", 4).await;
    let consumer = c.consume("plain", 10, true).await;
    let got = c.take(4).await;
    c.settle(&got[..1], Outcome::Accepted);
    c.settle(&got[1..2], Outcome::Rejected { reason: None });
    c.settle(&got[2..3], Outcome::Released);
    let again = c.take(1).await;
    assert_eq!(bodies(&again), ["2"]);
    c.session.detach(consumer, OnDetach::Return).await;
    let _ = c.session.get(c.lane, "plain", false).await.expect("there").expect("one");
    let expected = [("published", 4), ("consumed", 2), ("dropped_rejected", 1)];
    assert_eq!(ways(&stage, "plain"), expected);
    let look = stage.broker.look_at_queue("/", "plain").expect("there");
    let deliveries = look.deliveries;
    assert_eq!((deliveries.delivered, deliveries.got, deliveries.got_unsettled), (5, 0, 1));
    assert_eq!((deliveries.redelivered, deliveries.requeued), (1, 3));
    assert_eq!((look.depth.waiting, look.depth.ready, look.depth.in_flight), (1, 1, 0));
    balances(&stage);

    c.session.delete_queue("plain", false, false).await.expect("deleted");
    balances(&stage);
    let totals = &stage.broker.totals()[0].1;
    assert_eq!((totals.queues, totals.queues_gone), (2, 1));
    assert_eq!(totals.records.left(LeftBy::Deleted), 1, "the sums know it");
    assert_eq!((totals.records.came_all(), totals.records.left_all()), (10, 10));
}

#[tokio::test]
async fn dead_letters_are_counted_on_both_sides() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(dead_lettering("q", "dead", &[("x-max-length", Value::I32(1))])).await;
    fill(&mut c, "q", 2).await;
    assert_eq!(ways(&stage, "q"), [("published", 2), ("dropped_no_taker", 1)], "nobody is there");
    c.declare(QueueSpec::durable("dead")).await;
    fill(&mut c, "q", 1).await;
    let expected = [("published", 3), ("dead_lettered_max_length", 1), ("dropped_no_taker", 1)];
    assert_eq!(ways(&stage, "q"), expected);
    assert_eq!(ways(&stage, "dead"), [("dead_lettered_in", 1)]);
    let before = (tally(&stage, "q"), tally(&stage, "dead"));
    balances(&stage);
    let stage = stage.crash().await;
    assert_eq!((tally(&stage, "q"), tally(&stage, "dead")), before);
    balances(&stage);
}

/// Some of everything, as much as a seed says, all of it stored at the end.
async fn traffic(c: &mut Client, seed: usize) {
    for n in 0..20 + seed {
        let address = Address::queue(if n % 3 == 0 { "b" } else { "a" });
        c.put(address, &n.to_string(), at_level_1);
    }
    c.session.flush();
    c.session.sync().await.expect("stored");
    let events = c.events().await.deliveries;
    for (at, delivery) in events.iter().enumerate() {
        let outcome = match (at + seed) % 7 {
            0 => Outcome::Rejected { reason: None },
            1 => Outcome::Released,
            2 => Outcome::Failed,
            _ => Outcome::Accepted,
        };
        c.settle(std::slice::from_ref(delivery), outcome);
    }
    if seed.is_multiple_of(5) {
        c.session.purge("b").await.expect("purged");
    }
    c.session.sync().await.expect("stored");
}

#[tokio::test]
async fn counts_of_durable_queues_are_the_same_after_every_crash() {
    // Snapshots all the time, under traffic.
    let settings = Settings { snapshot_bytes: 400, ..Settings::default() };
    let store = memory::MemoryStore::default();
    let mut stage = Stage::with(store, settings.clone(), Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(dead_lettering("a", "dead", &[("x-delivery-limit", Value::I32(2))])).await;
    c.declare(QueueSpec::durable("b")).await;
    c.declare(QueueSpec::durable("dead")).await;
    for round in 0..6 {
        c.consume("a", 9, true).await;
        c.consume("b", 3, round % 2 == 0).await;
        for seed in 0..8 {
            traffic(&mut c, seed + round).await;
            balances(&stage);
        }
        // What consumers have goes back in order, so nothing is under way.
        c.session.close().await.expect("closed");
        stage.client().await.session.sync().await.expect("stored");
        balances(&stage);
        let names = ["a", "b", "dead"];
        let before = names.map(|name| tally(&stage, name));
        assert!(before.iter().all(|tally| tally.came_all() > 0));
        let store = stage.store.crashed();
        stage = Stage::with(store, settings.clone(), Vec::new()).await;
        assert_eq!(names.map(|name| tally(&stage, name)), before, "round {round}");
        balances(&stage);
        c = stage.client().await;
    }
}

#[tokio::test]
async fn what_was_not_stored_is_counted_as_lost_when_the_broker_was_stopped() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    for n in 0..3 {
        c.publish(Address::queue("q"), &n.to_string());
    }
    fill(&mut c, "q", 2).await;
    let got = c.session.get(c.lane, "q", false).await.expect("there");
    assert!(got.is_some(), "a transient one");
    c.session.close().await.expect("closed");
    stage.broker.close().await.expect("closed");
    let stage = stage.crash().await;
    let expected = [("published", 5), ("consumed", 1), ("transient_lost", 2)];
    assert_eq!(ways(&stage, "q"), expected);
    balances(&stage);
    let again = stage.crash().await;
    assert_eq!(ways(&again, "q"), expected, "once");
    balances(&again);
}

#[tokio::test]
async fn a_settle_that_was_not_counted_is_found() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    for name in ["good", "bad"] {
        c.declare(QueueSpec::durable(name)).await;
        fill(&mut c, name, 2).await;
        c.session.get(c.lane, name, false).await.expect("there");
    }
    balances(&stage);
    stage.broker.forget_a_settle("/", "bad");
    let found = stage.broker.audit();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].address(), found[0].missing()), (Address::queue("bad"), 1));
    let text = "queue 'bad' in vhost '/': 2 came, 0 left and 1 are there: 1 missing";
    assert_eq!(found[0].to_string(), text);
}

#[tokio::test]
async fn exchanges_count_what_they_routed_and_what_not() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    let room = [("x-max-length", Value::I32(1)), ("x-overflow", Value::text("reject-publish"))];
    c.declare(queue("small", &room)).await;
    c.bind(TOPICS, "a", "small").await;
    for key in ["a", "a", "b"] {
        c.durable(topic(key), "x").await;
    }
    assert_eq!(exchange(&stage, TOPICS), (1, 1, 1));
    let look = stage.broker.look_at_queue("/", "small").expect("there");
    assert_eq!(look.deliveries.turned_away, 1);
    let reserved = c.durable(topic("$SYS/x"), "x").await;
    assert!(matches!(reserved, ConfirmOutcome::Refused(_)));
    assert_eq!(exchange(&stage, TOPICS), (1, 1, 2));

    // A transaction is refused as a whole.
    c.session.begin(c.lane);
    c.put(topic("b"), "x", |_| {});
    c.put(topic("a"), "x", |_| {});
    assert!(c.session.commit(c.lane).await.is_err());
    assert_eq!(exchange(&stage, TOPICS), (1, 1, 4));
    let look = stage.broker.look_at_queue("/", "small").expect("there");
    assert_eq!(look.deliveries.turned_away, 2, "a transaction's too");

    // A retained value for a new binding is nobody's publish.
    c.put(topic("kept"), "x", |meta| meta.retain = true);
    c.session.flush();
    let mut bind = Bind::new(TOPICS, "kept".into(), BindTarget::Queue("small".into()));
    bind.replay = Replay::Always;
    c.session.bind(bind).await.expect("bound");
    assert_eq!(exchange(&stage, TOPICS), (1, 2, 4));
    let default = stage.broker.look_at_default_exchange("/").expect("there").totals;
    assert_eq!(default.published(), 0);
    balances(&stage);
}

#[tokio::test]
async fn an_exchange_knows_the_last_publish_that_reached_nobody() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("there")).await;
    let last = |exchange: &str| match exchange {
        "" => stage.broker.look_at_default_exchange("/").expect("there").last_unroutable,
        name => stage.broker.look_at_exchange("/", name).expect("there").last_unroutable,
    };
    c.durable(Address::queue("there"), "x").await;
    assert_eq!((last(""), last(TOPICS)), (None, None));
    c.durable(Address::queue("their"), "x").await;
    c.durable(topic("a/b"), "x").await;
    let found = last("").expect("one was");
    assert_eq!((&*found.key.to_string(), &*found.user), ("their", "guest"));
    assert_eq!(last(TOPICS).expect("one was").key.to_string(), "a/b");
    // Of many in a second one is remembered.
    c.durable(topic("c"), "x").await;
    assert_eq!(last(TOPICS).expect("one was").key.to_string(), "a/b");
    let a_second = std::time::Duration::from_millis(1_100);
    tokio::time::sleep(a_second).await;
    let number = c.put(topic("kept"), "x", |meta| meta.retain = true);
    c.session.flush();
    c.confirmed(number).await;
    let found = last(TOPICS).expect("one was").key.to_string();
    assert_eq!(found, "kept", "a retained one is kept, and reached nobody all the same");
    tokio::time::sleep(a_second).await;
    c.durable(topic("d"), "x").await;
    assert_eq!(last(TOPICS).expect("one was").key.to_string(), "d");
}

#[tokio::test]
async fn an_exchange_that_is_gone_stays_in_the_sums() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.session.declare_exchange(ExchangeSpec::new("x", Kind::Fanout)).await.expect("declared");
    c.durable(Address::new("x".into(), "k".into()), "a").await;
    assert_eq!(exchange(&stage, "x"), (0, 1, 0));
    c.session.delete_exchange("x", false).await.expect("deleted");
    assert_eq!(stage.broker.totals()[0].1.exchanges.unroutable, 1);
    balances(&stage);
}

/// Errors of the log, as `field=value`s.
#[derive(Default)]
struct Errors(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

struct Line(String);

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}

impl tracing::Subscriber for Errors {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().expect("alone").push(line.0);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn the_log_names_what_does_not_balance() {
    let errors = Errors::default();
    let lines = errors.0.clone();
    let _guard = tracing::subscriber::set_default(errors);
    for is_planted in [false, true] {
        let stage = Stage::new().await;
        let mut c = stage.client().await;
        c.declare(QueueSpec::durable("bad")).await;
        fill(&mut c, "bad", 1).await;
        c.session.get(c.lane, "bad", false).await.expect("there").expect("one");
        if is_planted {
            stage.broker.forget_a_settle("/", "bad");
        }
        c.session.close().await.expect("closed");
        stage.broker.close().await.expect("closed");
        let lines = std::mem::take(&mut *lines.lock().expect("alone"));
        assert_eq!(lines.len(), usize::from(is_planted), "{lines:?}");
        for line in lines {
            assert!(line.contains("queue 'bad'") && line.contains("1 missing"), "{line}");
        }
    }
}
