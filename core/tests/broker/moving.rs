//! Messages that operators move: where they come, in what order, what stays, and what a crash makes of it.

use crate::stage::*;
use crossdock_core::memory::MemoryStore;
use crossdock_core::transform::*;
use crossdock_core::*;
use std::sync::Arc;

fn balances(stage: &Stage) {
    let found = stage.broker.audit();
    assert!(found.is_empty(), "{}", found[0]);
}

fn to(queue: &str) -> MoveTo {
    MoveTo::Queue(queue.into())
}

async fn move_all(c: &mut Client, order: &MoveOrder) -> MoveReport {
    let report = c.session.move_messages(order).await.expect("moved");
    assert_eq!(report.matched, report.moved + report.left, "{report:?}");
    let counted = report.destinations.iter().map(|(_, count)| count).sum::<u64>();
    let is_drop = order.to == MoveTo::Nowhere;
    let there = if is_drop { report.moved } else { counted + report.elsewhere };
    assert_eq!(report.moved, there, "{report:?}");
    report
}

/// The bodies of a queue, in its order.
async fn content(c: &mut Client, queue: &str) -> Vec<String> {
    let page = c.session.peek(queue, Cursor::START, 500, &Filter::all()).await.expect("a page");
    let text = |peeked: &Peeked| String::from_utf8_lossy(peeked.message.body()).into_owned();
    page.messages.iter().map(text).collect()
}

async fn first(c: &mut Client, queue: &str) -> Message {
    let page = c.session.peek(queue, Cursor::START, 1, &Filter::all()).await.expect("a page");
    page.messages.first().expect("a message").message.clone()
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

async fn fill(c: &mut Client, queue: &str, range: std::ops::Range<u32>) {
    for n in range {
        c.put(Address::queue(queue), &n.to_string(), |meta| meta.durable = n % 3 != 0);
    }
    c.session.sync().await.expect("stored");
}

#[tokio::test]
async fn messages_come_to_another_queue_in_their_order_and_stay_there() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("from")).await;
    c.declare(QueueSpec::durable("to")).await;
    for n in 0..1_000 {
        c.put(Address::queue("from"), &n.to_string(), at_level_1);
    }
    c.session.sync().await.expect("stored");
    let report = move_all(&mut c, &MoveOrder::new("from", to("to"))).await;
    assert_eq!((report.matched, report.moved, report.left), (1_000, 1_000, 0));
    assert_eq!(report.destinations, [(Address::queue("to"), 1_000)]);
    assert!(report.next.is_none() && report.stopped.is_none() && report.refused.is_empty());
    let look = |stage: &Stage, name: &str| stage.broker.look_at_queue("/", name).expect("there");
    let (from, there) = (look(&stage, "from"), look(&stage, "to"));
    assert_eq!(
        (from.records.left(LeftBy::Moved), there.records.came(CameBy::Move)),
        (1_000, 1_000)
    );
    assert_eq!((from.deliveries, from.depth.waiting), (DeliveryTotals::default(), 0));
    balances(&stage);
    // What was said to be moved is stored.
    let stage = stage.crash().await;
    balances(&stage);
    let (from, there) = (look(&stage, "from"), look(&stage, "to"));
    assert_eq!(
        (from.records.left(LeftBy::Moved), there.records.came(CameBy::Move)),
        (1_000, 1_000)
    );
    let mut c = stage.client().await;
    assert_eq!(c.ready("from"), 0);
    c.consume("to", 1_000, true).await;
    assert_eq!(bodies(&c.take(1_000).await), numbers(0..1_000));
}

#[tokio::test]
async fn only_what_is_meant_and_ready_goes_and_a_dry_run_moves_nothing() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("from")).await;
    c.declare(QueueSpec::durable("to")).await;
    fill(&mut c, "from", 0..30).await;
    let mut other = stage.client().await;
    other.consume("from", 3, true).await;
    let held = other.take(3).await;
    let filter = Filter::parse(["body~1"]).expect("a filter");
    let order = MoveOrder { filter, limit: Some(5), ..MoveOrder::new("from", to("to")) };
    let asked = move_all(&mut c, &MoveOrder { dry_run: true, ..order.clone() }).await;
    assert_eq!((asked.moved, asked.destinations[0].1), (5, 5));
    assert_eq!((c.ready("from"), c.ready("to")), (27, 0));
    let all = MoveOrder { dry_run: true, limit: None, ..order.clone() };
    assert_eq!(move_all(&mut c, &all).await.moved, 11, "10 to 19, and 21; 1 is with a consumer");

    let report = move_all(&mut c, &order).await;
    assert_eq!(report.moved, 5);
    assert_eq!(content(&mut c, "to").await, numbers(10..15));
    // It goes on where it stopped.
    let rest = MoveOrder { start: report.next.expect("there are more"), limit: None, ..order };
    assert_eq!(move_all(&mut c, &rest).await.moved, 6);
    let there = [numbers(10..20), numbers(21..22)].concat();
    assert_eq!(content(&mut c, "to").await, there);
    other.settle(&held, Outcome::Released);
    other.session.close().await.expect("closed");
    let stay = [numbers(0..10), numbers(20..21), numbers(22..30)].concat();
    assert_eq!(content(&mut c, "from").await, stay);
    balances(&stage);
}

#[tokio::test]
async fn what_has_no_room_stays_in_its_place() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    let room = [("x-max-length", Value::I32(4)), ("x-overflow", Value::text("reject-publish"))];
    c.declare(queue("from", &[("x-max-priority", Value::I32(3))])).await;
    c.declare(queue("to", &room)).await;
    fill(&mut c, "from", 0..10).await;
    fill(&mut c, "to", 100..101).await;
    let report = move_all(&mut c, &MoveOrder::new("from", to("to"))).await;
    assert_eq!((report.matched, report.moved, report.left), (10, 3, 7));
    let reasons: Vec<&str> = report.refused.iter().map(|(why, _)| &**why).collect();
    assert_eq!(reasons, ["queue 'to' is full", "queue:to had no room for one in front of it"]);
    assert_eq!(content(&mut c, "to").await, ["100", "0", "1", "2"]);
    assert_eq!(content(&mut c, "from").await, numbers(3..10));
    c.consume("from", 10, true).await;
    let stayed = c.take(7).await;
    assert_eq!(bodies(&stayed), numbers(3..10));
    assert!(stayed.iter().all(|delivery| !delivery.redelivered && delivery.attempts == 0));
    balances(&stage);
}

#[tokio::test]
async fn an_order_that_cannot_be_carried_out_is_refused() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    let order = |from: &str, to: MoveTo| MoveOrder::new(from, to);
    let nothing = MoveOrder { limit: Some(0), ..order("q", MoveTo::Origin) };
    let never = MoveOrder { per_second: Some(0), ..order("q", MoveTo::Origin) };
    for (order, kind) in [
        (order("q", to("q")), ErrorKind::Invalid),
        (order("q", to("missing")), ErrorKind::NotFound),
        (order("missing", to("q")), ErrorKind::NotFound),
        (order("q", to("route/x")), ErrorKind::Refused),
        (order("route/x", to("q")), ErrorKind::Refused),
        (nothing, ErrorKind::Invalid),
        (never, ErrorKind::Invalid),
    ] {
        let error = c.session.move_messages(&order).await.expect_err("refused");
        assert_eq!(error.kind(), kind, "{order:?}: {error}");
    }
}

#[tokio::test]
async fn dead_letters_go_back_to_where_they_were_published() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(dead_lettering("work", "dead", &[])).await;
    c.declare(dead_lettering("dead", "graves", &[("x-message-ttl", Value::I32(100_000))])).await;
    c.declare(QueueSpec::durable("graves")).await;
    c.bind(TOPICS, "a/+", "work").await;
    c.durable(topic("a/b"), "one").await;
    fill(&mut c, "dead", 7..8).await;
    c.consume("work", 10, true).await;
    for round in 1..=3 {
        let got = c.take(1).await;
        assert_eq!(bodies(&got), ["one"]);
        c.settle(&got, Outcome::Rejected { reason: None });
        until("it is dead", || c.ready("dead") == 2).await;
        let report = move_all(&mut c, &MoveOrder::new("dead", MoveTo::Origin)).await;
        assert_eq!((report.moved, report.left), (1, 1), "{report:?}");
        assert_eq!(report.destinations, [(topic("a/b"), 1)]);
        assert_eq!(&*report.refused[0].0, "it never died, so it has no origin");
        let message = first(&mut c, "work").await;
        let meta = message.meta();
        assert!(meta.deaths().is_empty() && meta.moves == 0 && meta.hops == 0);
        assert_eq!(message.address(), &topic("a/b"));
        let fields = message.fields(stage.broker.formats());
        let Some(Value::Map(said)) = fields.header("mq.redriven") else { panic!("{fields:?}") };
        let said = |name: &str| said.iter().find(|(n, _)| &**n == name).expect("said").1.clone();
        assert_eq!((said("from"), said("count")), (Value::text("dead"), Value::I64(round)));
        assert_eq!(said("key"), Value::text("a/b"), "as people read it");
        let Value::List(deaths) = said("deaths") else { panic!("no list") };
        assert_eq!(deaths.len(), 1);
    }
    balances(&stage);
    // Moved somewhere else first, it still knows where it came from.
    let got = c.take(1).await;
    c.settle(&got, Outcome::Rejected { reason: None });
    until("it is dead", || c.ready("dead") == 2).await;
    move_all(&mut c, &MoveOrder::new("dead", to("graves"))).await;
    assert!(first(&mut c, "graves").await.meta().deaths().is_empty());
    let report = move_all(&mut c, &MoveOrder::new("graves", MoveTo::Origin)).await;
    assert_eq!(report.destinations, [(topic("a/b"), 1)], "{report:?}");
}

#[tokio::test]
async fn a_message_that_was_moved_may_die_of_the_same_again() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(dead_lettering("brief", "dead", &[("x-message-ttl", Value::I32(1))])).await;
    c.declare(QueueSpec::durable("dead")).await;
    c.durable(Address::queue("brief"), "x").await;
    for _ in 0..40 {
        until("it expires", || c.ready("dead") == 1).await;
        let report = move_all(&mut c, &MoveOrder::new("dead", MoveTo::Origin)).await;
        assert_eq!(report.moved, 1, "{report:?}");
    }
    until("it expires", || c.ready("dead") == 1).await;
    balances(&stage);
}

#[tokio::test]
async fn where_nobody_is_nothing_goes() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(dead_lettering("work", "dead", &[])).await;
    c.declare(QueueSpec::durable("dead")).await;
    c.bind(TOPICS, "a", "work").await;
    c.durable(topic("a"), "x").await;
    c.consume("work", 1, true).await;
    let got = c.take(1).await;
    c.settle(&got, Outcome::Rejected { reason: None });
    until("it is dead", || c.ready("dead") == 1).await;
    c.session.delete_queue("work", false, false).await.expect("deleted");
    let mut origin = async |why: &str| {
        let report = move_all(&mut c, &MoveOrder::new("dead", MoveTo::Origin)).await;
        assert_eq!((report.moved, report.left), (0, 1));
        assert!(report.refused[0].0.contains(why), "{report:?}");
    };
    origin("nobody is there").await;
    let mut listener = stage.named("listener", true, SessionLife::No).await;
    listener.subscribe("a", 0).await;
    origin("only subscribers that keep nothing").await;
    stage.client().await.bind(TOPICS, "a", "dead").await;
    origin("leads back").await;
    listener.nothing().await;
    balances(&stage);
}

#[tokio::test]
async fn all_that_are_bound_to_the_origin_take_it_or_it_stays() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    let room = [("x-max-length", Value::I32(1)), ("x-overflow", Value::text("reject-publish"))];
    c.declare(dead_lettering("work", "dead", &[])).await;
    c.declare(QueueSpec::durable("dead")).await;
    c.declare(queue("small", &room)).await;
    c.bind(TOPICS, "a", "work").await;
    c.durable(topic("a"), "x").await;
    let (got, _) = c.session.get(c.lane, "work", true).await.expect("there").expect("one");
    c.settle(&[got], Outcome::Rejected { reason: None });
    until("it is dead", || c.ready("dead") == 1).await;
    fill(&mut c, "small", 1..2).await;
    c.bind(TOPICS, "a", "small").await;
    let order = MoveOrder::new("dead", MoveTo::Origin);
    let report = move_all(&mut c, &order).await;
    assert_eq!((report.moved, &*report.refused[0].0), (0, "queue 'small' is full"));
    assert_eq!(["dead", "work", "small"].map(|name| c.ready(name)), [1, 0, 1], "none of them");
    c.session.purge("small").await.expect("purged");
    assert_eq!(move_all(&mut c, &order).await.moved, 1);
    assert_eq!(["dead", "work", "small"].map(|name| c.ready(name)), [0, 1, 1]);
    balances(&stage);
}

#[tokio::test]
async fn what_a_sessions_client_may_have_seen_stays_with_it() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("to")).await;
    let mut device = stage.named("device", true, SessionLife::Forever).await;
    device.subscribe("a", 1).await;
    device.try_consume(ConsumerSource::Own, 1, true).await.expect("attached");
    for body in ["seen", "new"] {
        c.durable(topic("a"), body).await;
    }
    assert_eq!(bodies(&device.take(1).await), ["seen"]);
    drop(device);
    let ready = || stage.broker.look_at_queue("/", "device").expect("there").depth.ready;
    until("its connection is gone", || ready() == 2).await;
    let report = move_all(&mut c, &MoveOrder::new("device", to("to"))).await;
    assert_eq!((report.moved, report.left), (1, 1), "{report:?}");
    assert!(report.refused[0].0.contains("its session's client"), "{report:?}");
    assert_eq!((content(&mut c, "to").await, ready()), (vec!["new".to_owned()], 1));
    balances(&stage);
}

/// Refuses what is bad.
struct Refuses;

impl Transform for Refuses {
    fn name(&self) -> &str {
        "refuses"
    }
    fn cost(&self) -> Cost {
        Cost::Inline
    }
    fn wants(&self, message: &Message, _: &Formats) -> bool {
        message.body().starts_with(b"bad")
    }
    fn apply(
        &self,
        _: &Message,
        _: u32,
        _: &Formats,
        _: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure> {
        let (module, version, kind) = ("refuses".into(), "1".into(), FailureKind::Guest);
        Err(StepFailure { module, version, kind, text: "it is bad".into() })
    }
}

#[tokio::test]
async fn what_a_route_failed_on_goes_back_through_the_route() {
    let watches = vec![Watch::Exchange(TOPICS.into(), "in/#".into())];
    let route = ContentRoute::new("r".into(), watches, Mode::Filter, Arc::new(Refuses));
    let store = MemoryStore::default();
    let stage = Stage::with(store, Settings::default(), vec![route]).await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("dead-letters")).await;
    c.declare(QueueSpec::durable("out")).await;
    c.bind(TOPICS, "in/#", "out").await;
    c.durable(topic("in/a"), "bad").await;
    assert_eq!((c.ready("dead-letters"), c.ready("out")), (1, 0));
    let order = MoveOrder::new("dead-letters", MoveTo::Origin);
    let report = move_all(&mut c, &order).await;
    // The route has its turn again, and fails again: it would only be a dead letter once more.
    assert_eq!((report.moved, report.left), (0, 1), "{report:?}");
    assert_eq!(&*report.refused[0].0, "content route 'r' failed on it again: it is bad");
    // Wherever the dead letter is by now: it is not said to have been moved to where it did not come.
    c.declare(QueueSpec::durable("repair")).await;
    assert_eq!(move_all(&mut c, &MoveOrder::new("dead-letters", to("repair"))).await.moved, 1);
    let from_repair = MoveOrder::new("repair", MoveTo::Origin);
    for dry_run in [true, false] {
        let report = move_all(&mut c, &MoveOrder { dry_run, ..from_repair.clone() }).await;
        assert_eq!((report.moved, report.left), (0, 1), "{report:?}");
        assert!(report.refused[0].0.contains("failed on it again"), "{report:?}");
    }
    assert_eq!((c.ready("repair"), c.ready("dead-letters")), (1, 0));
    stage.broker.change_routes(Vec::new()).await.expect("no routes");
    let report = move_all(&mut c, &from_repair).await;
    assert_eq!(report.destinations, [(topic("in/a"), 1)], "{report:?}");
    assert_eq!(content(&mut c, "out").await, ["bad"]);
    let message = first(&mut c, "out").await;
    let headers = &message.fields(stage.broker.formats()).headers;
    let names: Vec<&str> = headers.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["mq.redriven"]);
    assert!(message.meta().through().is_empty());
    balances(&stage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_consumers_take_their_part() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("from")).await;
    c.declare(QueueSpec::durable("to")).await;
    fill(&mut c, "from", 0..3_000).await;
    let mut other = stage.client().await;
    other.consume("from", 5, true).await;
    let consumed = tokio::spawn(async move {
        let mut all = Vec::new();
        loop {
            let events = other.events().await;
            if events.deliveries.is_empty() {
                return all;
            }
            all.extend(bodies(&events.deliveries));
            other.settle(&events.deliveries, Outcome::Accepted);
        }
    });
    let order = MoveOrder { per_second: Some(20_000), ..MoveOrder::new("from", to("to")) };
    let report = move_all(&mut c, &order).await;
    let mut all: Vec<u32> =
        consumed.await.expect("ends").iter().map(|text| text.parse().expect("a number")).collect();
    let consumed = all.len();
    assert!(consumed >= 5, "what it had when the move began");
    c.consume("to", 5_000, true).await;
    let moved: Vec<u32> = bodies(&c.take(report.moved as usize).await)
        .iter()
        .map(|t| t.parse().expect("one"))
        .collect();
    assert!(moved.is_sorted());
    c.nothing().await;
    all.extend(moved);
    all.sort_unstable();
    assert_eq!(all, (0..3_000).collect::<Vec<u32>>(), "{consumed} were consumed");
    balances(&stage);
}

#[tokio::test]
async fn what_left_memory_is_moved_too_and_the_pace_is_kept() {
    let settings = Settings { memory_resident: 20_000, ..Settings::default() };
    let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("from")).await;
    c.declare(QueueSpec::durable("to")).await;
    let body = "x".repeat(500);
    for n in 0..300 {
        c.put(Address::queue("from"), &format!("{n} {body}"), at_level_1);
    }
    c.session.sync().await.expect("stored");
    until("messages leave memory", || stage.broker.memory_used() < 120_000).await;
    let began = std::time::Instant::now();
    let order = MoveOrder { per_second: Some(1_000), ..MoveOrder::new("from", to("to")) };
    let report = move_all(&mut c, &order).await;
    assert_eq!((report.moved, report.left), (300, 0), "{report:?}");
    assert!(began.elapsed().as_millis() >= 200, "{:?}", began.elapsed());
    let all = content(&mut c, "to").await;
    let order: Vec<String> = all.iter().map(|text| text.replace(&format!(" {body}"), "")).collect();
    assert_eq!(order, numbers(0..300));
    balances(&stage);
}

#[tokio::test]
async fn a_move_that_is_stopped_leaves_each_message_in_one_place() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("from")).await;
    c.declare(QueueSpec::durable("to")).await;
    fill(&mut c, "from", 0..500).await;
    let order = MoveOrder { per_second: Some(40), ..MoveOrder::new("from", to("to")) };
    let progress = order.progress.clone();
    let stopper = tokio::spawn(async move {
        until("it is under way", || progress.counts().1 >= 20).await;
        progress.stop();
    });
    let report = move_all(&mut c, &order).await;
    stopper.await.expect("no panic");
    let why = report.stopped.as_ref().expect("it was stopped");
    assert!(why.detail().contains("an operator stopped it"), "{why}");
    assert!(report.moved >= 20 && report.moved < 200, "{report:?}");
    assert_eq!(order.progress.counts(), (report.matched, report.moved, report.left));
    let moved = u32::try_from(report.moved).expect("few");
    assert_eq!(content(&mut c, "to").await, numbers(0..moved));
    assert_eq!(content(&mut c, "from").await, numbers(moved..500));
    balances(&stage);
    let rest = MoveOrder {
        start: report.next.expect("there are more"),
        ..MoveOrder::new("from", to("to"))
    };
    assert_eq!(move_all(&mut c, &rest).await.moved, u64::from(500 - moved));
    assert_eq!(content(&mut c, "to").await, numbers(0..500));
}

#[tokio::test]
async fn nothing_is_moved_into_a_queue_that_is_exclusive_to_another_connection() {
    let stage = Stage::new().await;
    let (mut c, mut owner) = (stage.client().await, stage.client().await);
    c.declare(QueueSpec::durable("from")).await;
    owner.declare(QueueSpec { life: Life::Exclusive, ..QueueSpec::durable("theirs") }).await;
    fill(&mut c, "from", 0..3).await;
    for dry_run in [true, false] {
        let order = MoveOrder { dry_run, ..MoveOrder::new("from", to("theirs")) };
        let error = c.session.move_messages(&order).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    }
    assert_eq!(content(&mut c, "from").await, numbers(0..3));
    owner.declare(QueueSpec::durable("mine")).await;
    fill(&mut owner, "mine", 0..3).await;
    let report = move_all(&mut owner, &MoveOrder::new("mine", to("theirs"))).await;
    assert_eq!(report.moved, 3, "its own connection may");
}

/// A queue that was named when the message was published may be another connection's by now.
#[tokio::test]
async fn nothing_goes_back_into_a_queue_that_is_exclusive_to_another_connection() {
    let stage = Stage::new().await;
    let (mut c, mut owner) = (stage.client().await, stage.client().await);
    c.declare(QueueSpec::durable("dead")).await;
    let exclusive = QueueSpec { life: Life::Exclusive, ..dead_lettering("theirs", "dead", &[]) };
    owner.declare(exclusive).await;
    fill(&mut owner, "theirs", 0..2).await;
    owner.consume("theirs", 10, true).await;
    let got = owner.take(2).await;
    owner.settle(&got, Outcome::Rejected { reason: None });
    until("they are dead", || c.ready("dead") == 2).await;
    let order = MoveOrder::new("dead", MoveTo::Origin);
    for dry_run in [true, false] {
        let report = move_all(&mut c, &MoveOrder { dry_run, ..order.clone() }).await;
        assert_eq!((report.moved, report.left), (0, 2), "{report:?}");
        assert!(report.refused[0].0.contains("locked queue 'theirs'"), "{report:?}");
    }
    assert_eq!(move_all(&mut owner, &order).await.moved, 2, "its own connection may");
    assert_eq!(bodies(&owner.take(2).await), numbers(0..2));
    balances(&stage);
}

/// It has its turn later.
struct Queued;

impl Transform for Queued {
    fn name(&self) -> &str {
        "queued"
    }

    fn cost(&self) -> Cost {
        Cost::Queued
    }

    fn wants(&self, _: &Message, _: &Formats) -> bool {
        true
    }

    fn readiness(&self) -> Readiness {
        Readiness::Down("it has no module".into())
    }

    fn apply(
        &self,
        _: &Message,
        _: u32,
        _: &Formats,
        _: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure> {
        Ok(Verdict::Wait(std::time::Duration::from_millis(50)))
    }
}

/// What waits for a route can be looked at, by operators alone, and by nobody taken away from it.
#[tokio::test]
async fn operators_look_into_the_queue_of_a_route_and_take_nothing_out_of_it() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("dead")).await;
    c.declare(dead_lettering("work", "dead", &[])).await;
    c.bind(TOPICS, "in/#", "work").await;
    c.durable(topic("in/a"), "rejected").await;
    c.consume("work", 10, true).await;
    let got = c.take(1).await;
    c.settle(&got, Outcome::Rejected { reason: None });
    until("it is dead", || c.ready("dead") == 1).await;
    let watches = vec![Watch::Exchange(TOPICS.into(), "in/#".into())];
    let route = ContentRoute::new("slow".into(), watches, Mode::Divert, Arc::new(Queued));
    stage.broker.change_routes(vec![route]).await.expect("it starts");
    c.durable(topic("in/a"), "waits").await;
    let spec = SessionSpec::anonymous("/", Origin::default(), Identity::unlimited("operator"));
    let mut operator = stage.broker.operator_session(&spec).expect("opens");
    let all = Filter::all();
    let page = operator.peek("route/slow", Cursor::START, 10, &all).await.expect("a page");
    assert_eq!(page.messages.iter().map(|m| &m.message.body()[..]).collect::<Vec<_>>(), [b"waits"]);
    let refused = c.session.peek("route/slow", Cursor::START, 10, &all).await.map(|_| ());
    assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Refused));
    let order = MoveOrder::new("route/slow", to("dead"));
    let why = operator.move_messages(&order).await.expect_err("the route has it");
    assert!(why.detail().contains("crossdock ctl route drain slow"), "{why}");
    assert!(operator.purge("route/slow").await.is_err());
    assert!(operator.delete_queue("route/slow", false, false).await.is_err());
    // What goes back by way of the route is moved, and may fail there still.
    let report = move_all(&mut c, &MoveOrder::new("dead", MoveTo::Origin)).await;
    assert_eq!((report.moved, report.to_routes), (1, 1), "{report:?}");
    assert_eq!(stage.broker.route_status()[0].waiting, 2);
    balances(&stage);
}

/// As such they are counted, and not as lost.
#[tokio::test]
async fn messages_are_dropped_one_by_one_or_as_they_are_meant() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(dead_lettering("q", "dead", &[])).await;
    c.declare(QueueSpec::durable("dead")).await;
    fill(&mut c, "q", 0..450).await;
    let drops = || MoveOrder::new("q", MoveTo::Nowhere);
    let report = move_all(&mut c, &MoveOrder { dry_run: true, ..drops() }).await;
    assert_eq!((report.matched, report.moved, c.ready("q")), (450, 450, 450));
    // One of them, wherever it stands.
    let one = MoveOrder { only: Some(Offset(300)), ..drops() };
    let report = move_all(&mut c, &one).await;
    assert_eq!((report.matched, report.moved, report.left), (1, 1, 0), "{report:?}");
    assert!(report.destinations.is_empty());
    assert_eq!(move_all(&mut c, &one).await.matched, 0, "it is gone");
    let filter = Filter::parse(["body~59"]).expect("a filter");
    let report = move_all(&mut c, &MoveOrder { filter, ..drops() }).await;
    let mut rest: Vec<u32> = (0..450).filter(|n| *n != 300).collect();
    let before = rest.len();
    rest.retain(|n| !n.to_string().contains("59"));
    assert_eq!(report.moved, (before - rest.len()) as u64);
    let report = move_all(&mut c, &MoveOrder { limit: Some(2), ..drops() }).await;
    assert_eq!(report.moved, 2);
    let text = |all: &[u32]| all.iter().map(ToString::to_string).collect::<Vec<String>>();
    let rest = &rest[2..];
    assert_eq!(content(&mut c, "q").await, text(rest));
    assert_eq!(c.ready("dead"), 0, "they are not dead-lettered");
    let totals = stage.broker.look_at_queue("/", "q").expect("it is there").records;
    assert_eq!(totals.left(LeftBy::OperatorDropped), 450 - rest.len() as u64);
    balances(&stage);
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    let durable: Vec<u32> = rest.iter().copied().filter(|n| n % 3 != 0).collect();
    assert_eq!(content(&mut c, "q").await, text(&durable), "they do not come back");
    balances(&stage);
}
