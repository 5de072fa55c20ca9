//! Content routes beside the accounting of tests/routes: back-pressure, order with several workers, and old queues.

use crate::stage::*;
use crossdock_core::memory::MemoryStore;
use crossdock_core::transform::*;
use crossdock_core::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Takes everything, sends it to queue `out`, and waits while it is closed. The first word of a body is what it does.
struct Gate {
    open: AtomicBool,
    calls: AtomicU64,
}

impl Gate {
    fn new(open: bool) -> Arc<Self> {
        Arc::new(Self { open: AtomicBool::new(open), calls: AtomicU64::new(0) })
    }
}

impl Transform for Gate {
    fn name(&self) -> &str {
        "gate"
    }
    fn cost(&self) -> Cost {
        Cost::Queued
    }
    fn wants(&self, _: &Message, _: &Formats) -> bool {
        true
    }
    fn apply(
        &self,
        input: &Message,
        attempt: u32,
        _: &Formats,
        out: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure> {
        if !self.open.load(Ordering::Acquire) {
            return Ok(Verdict::Wait(Duration::from_millis(20)));
        }
        let call = self.calls.fetch_add(1, Ordering::AcqRel);
        let failure = |kind| StepFailure {
            module: "gate".into(),
            version: "1".into(),
            kind,
            text: "as it was told".into(),
        };
        match input.body().first() {
            Some(b'f') if attempt == 0 => return Err(failure(FailureKind::Timeout)),
            Some(b'g') => return Err(failure(FailureKind::Guest)),
            // Some take longer than others, so that workers overtake each other.
            Some(b'0'..=b'9') => std::thread::sleep(Duration::from_micros(call % 3 * 200)),
            _ => {}
        }
        out.push(input.with(Address::queue("out"), input.meta().clone()));
        Ok(Verdict::Emit)
    }
}

fn route(gate: &Arc<Gate>) -> ContentRoute {
    let watches = vec![Watch::Exchange(TOPICS.into(), "in/#".into())];
    let mut route = ContentRoute::new("gate".into(), watches, Mode::Divert, gate.clone());
    route.queues = vec!["out".into()];
    route.on_error.backoff = Duration::from_millis(50);
    route
}

async fn stage(route: ContentRoute) -> Stage {
    Stage::with(MemoryStore::default(), Settings::default(), vec![route]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_route_holds_its_own_publishers_and_nobody_else() {
    let gate = Gate::new(false);
    let stage = stage(route(&gate)).await;
    let (mut own, mut other) = (stage.client().await, stage.client().await);
    other.declare(QueueSpec::durable("other")).await;
    // As many as the queue of a route takes.
    for _ in 0..100 {
        for _ in 0..1_000 {
            own.put(topic("in/a"), "x", |_| {});
        }
        own.session.flush();
    }
    let late = own.publish(topic("in/a"), "late");
    let waiting = || stage.broker.route_status()[0].waiting;
    assert_eq!(waiting(), 100_000, "the last one is held back");
    let number = other.publish(Address::queue("other"), "x");
    assert!(matches!(other.confirmed(number).await, ConfirmOutcome::Stored));
    let mut new = stage.client().await;
    let first = new.publish(topic("in/b"), "x");
    assert_eq!(waiting(), 100_000, "so is the first one of a new publisher");
    gate.open.store(true, Ordering::Release);
    let confirmed = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let events = own.events().await;
            if events.confirms.iter().any(|confirm| confirm.number == late) {
                return;
            }
        }
    });
    confirmed.await.expect("it goes on when there is room");
    assert!(matches!(new.confirmed(first).await, ConfirmOutcome::Stored));
    // A busy machine may take its time, as long as something goes on.
    let (mut passed, mut moved) = (0, std::time::Instant::now());
    while passed < 100_002 && moved.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = other.ready("out");
        if now > passed {
            (passed, moved) = (now, std::time::Instant::now());
        }
    }
    assert_eq!((waiting(), other.ready("out")), (0, 100_002));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_workers_keep_the_order_of_each_source() {
    let gate = Gate::new(true);
    let stage = stage(ContentRoute { concurrency: 4, ..route(&gate) }).await;
    let mut client = stage.client().await;
    for number in 0..50 {
        for source in 0..8 {
            client.put(topic(&format!("in/{source}")), &format!("{source} {number}"), at_level_1);
        }
        client.session.flush();
    }
    client.consume("out", 1_000, false).await;
    let mut next = [0; 8];
    let taken = bodies(&client.take(400).await);
    for body in &taken {
        let (source, number) = body.split_once(' ').expect("two words");
        let source: usize = source.parse().expect("a number");
        assert_eq!(number, next[source].to_string(), "source {source} in order");
        next[source] += 1;
    }
    let in_turn = (0..400).map(|n| format!("{} {}", n % 8, n / 8)).collect::<Vec<_>>();
    assert_ne!(taken, in_turn, "sources overtake each other, so there was something to see");
}

#[tokio::test]
async fn a_message_that_is_tried_again_gives_up_its_place_unless_the_order_is_strict() {
    for (order, wanted) in
        [(Order::Relaxed, ["a", "b", "fail"]), (Order::Strict, ["fail", "a", "b"])]
    {
        let gate = Gate::new(true);
        let mut route = route(&gate);
        (route.order, route.on_error.retry) = (order, 3);
        let stage = stage(route).await;
        let mut client = stage.client().await;
        for body in ["fail", "g", "a", "b"] {
            client.put(topic("in/x"), body, at_level_1);
        }
        client.session.flush();
        client.consume("out", 10, false).await;
        let taken = client.take(3).await;
        assert_eq!(bodies(&taken), wanted, "{order:?}");
        let attempts = |delivery: &Delivery| {
            let fields = delivery.message.fields(stage.broker.formats());
            fields.header("mq.error.attempt").cloned()
        };
        let told: Vec<_> = taken.iter().map(attempts).collect();
        let second = Some(Value::text("2"));
        assert_eq!(told.iter().filter(|attempt| **attempt == second).count(), 1, "{told:?}");
        let status = &stage.broker.route_status()[0];
        assert_eq!((status.taken, status.emitted, status.dead_lettered), (4, 3, 1));
        let failed = |kind| status.failed.iter().find(|(k, _)| *k == kind).expect("there").1;
        assert_eq!((failed(FailureKind::Timeout), failed(FailureKind::Guest)), (1, 1));
        assert_eq!(client.ready("dead-letters"), 1, "a refusal is not tried again");
    }
}

#[tokio::test]
async fn a_route_says_what_keeps_its_messages() {
    let gate = Gate::new(true);
    let mut slow = route(&gate);
    (slow.on_error.retry, slow.on_error.backoff) = (3, Duration::from_millis(400));
    let stage = stage(slow).await;
    let mut client = stage.client().await;
    let waits = || stage.broker.route_status()[0].waits.clone();
    client.put(topic("in/x"), "fails once", at_level_1);
    client.session.flush();
    until("it waits for its second attempt", || waits().between_attempts == 1).await;
    let last = waits().last_attempt.expect("one has failed");
    assert_eq!((last.address, last.went_to), (topic("in/x"), None));
    assert_eq!((last.failure.kind, &*last.failure.text), (FailureKind::Timeout, "as it was told"));
    until("it goes on", || client.ready("out") == 1).await;
    assert_eq!(waits().between_attempts, 0);
    // A failure that is final says where the message is, and its queue counts it as dead-lettered, over a restart too.
    client.put(topic("in/x"), "gone wrong", at_level_1);
    client.session.flush();
    until("it is dead-lettered", || client.ready("dead-letters") == 1).await;
    let last = stage.broker.route_status()[0].last_failure.clone().expect("it has failed");
    assert_eq!(last.went_to, Some(Address::queue("dead-letters")));
    let came = |stage: &Stage| {
        let queue = stage.broker.look_at_queue("/", "dead-letters").expect("there");
        CameBy::ALL.map(|by| queue.records.came(by))
    };
    assert_eq!(came(&stage), [0, 1, 0]);
    assert!(stage.broker.audit().is_empty());
    let stage = stage.crash().await;
    assert_eq!(came(&stage), [0, 1, 0]);
}

#[tokio::test]
async fn a_route_says_that_there_is_no_place_for_its_results() {
    let mut narrow = route(&Gate::new(true));
    narrow.on_error.dead_letter = Some(topic("dead"));
    let stage = stage(narrow).await;
    let mut client = stage.client().await;
    client.put(topic("in/x"), "gone wrong", at_level_1);
    client.session.flush();
    let no_place = || stage.broker.route_status()[0].waits.no_place.clone();
    until("it waits for a place", || no_place().is_some()).await;
    let why = no_place().unwrap_or_default();
    assert!(why.contains("nobody takes dead letters at exchange:amq.topic/dead"), "{why}");
    client.declare(QueueSpec::durable("found")).await;
    client.bind(TOPICS, "dead", "found").await;
    until("it goes on", || client.ready("found") == 1).await;
    until("nothing waits", || no_place().is_none()).await;
}

#[tokio::test]
async fn what_an_old_route_left_is_moved_on() {
    for to in [None, Some(Address::queue("elsewhere"))] {
        let gate = Gate::new(false);
        let stage = stage(route(&gate)).await;
        let mut client = stage.client().await;
        client.declare(QueueSpec::durable("plain")).await;
        client.declare(QueueSpec::durable("elsewhere")).await;
        client.bind(TOPICS, "in/plain", "plain").await;
        client.durable(topic("in/plain"), "a").await;
        client.durable(topic("in/nobody"), "b").await;
        let stage = stage.crash().await;
        let drained = stage.broker.drain_route("gate", to.as_ref()).await.expect("drained");
        let client = stage.client().await;
        let wanted = match &to {
            Some(_) => RouteDrained { moved: 2, dead_lettered: 0, left: 0 },
            // The dead-letter queue was declared for the route; it is durable.
            None => RouteDrained { moved: 1, dead_lettered: 1, left: 0 },
        };
        assert_eq!(drained, wanted, "{to:?}");
        let ready = ["plain", "elsewhere", "dead-letters"].map(|queue| client.ready(queue));
        assert_eq!(ready, if to.is_some() { [0, 2, 0] } else { [1, 0, 1] });
        let totals = &stage.broker.totals()[0].1.records;
        // What nobody took is a dead letter where it is now.
        let came = [CameBy::Move, CameBy::DeadLetter].map(|by| totals.came(by));
        let dead = wanted.dead_lettered;
        assert_eq!((came, totals.left(LeftBy::Moved)), ([2 - dead, dead], 2));
        assert!(stage.broker.audit().is_empty());
        let stage = stage.crash().await;
        let moved = stage.broker.totals()[0].1.records.came(CameBy::Move);
        assert_eq!(moved, 2 - dead, "it is stored");
        let gone = stage.broker.drain_route("gate", None).await.expect_err("its queue is gone");
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn the_queue_of_a_route_is_nobodys() {
    let stage = stage(route(&Gate::new(false))).await;
    let mut client = stage.client().await;
    let refused = |result: Result<(), Error>, verb: &str| {
        let kind = result.expect_err(verb).kind();
        assert_eq!(kind, ErrorKind::Refused, "{verb}");
    };
    let name = "route/gate";
    refused(client.session.queue_status(name).map(drop), "passive declare");
    let declared = client.session.declare_queue(QueueSpec::durable("route/new")).await;
    refused(declared.map(drop), "declare");
    let spec = dead_lettering("mine", name, &[]);
    refused(client.session.declare_queue(spec).await.map(drop), "dead-letter to it");
    refused(client.session.delete_queue(name, false, false).await.map(drop), "delete");
    refused(client.session.purge(name).await.map(drop), "purge");
    let bind = Bind::new(TOPICS, "x".into(), BindTarget::Queue(name.into()));
    refused(client.session.bind(bind.clone()).await.map(drop), "bind");
    refused(client.session.unbind(bind).await.map(drop), "unbind");
    let source = ConsumerSource::Queue(name.into());
    refused(client.try_consume(source, 1, true).await.map(drop), "consume");
    refused(client.session.get(client.lane, name, true).await.map(drop), "get");
    let number = client.publish(Address::queue(name), "x");
    match client.confirmed(number).await {
        ConfirmOutcome::Refused(error) => assert_eq!(error.kind(), ErrorKind::Refused),
        other => panic!("publish: {other:?}"),
    }
}

#[tokio::test]
async fn a_drain_gives_nothing_to_routes_that_had_their_turn() {
    let tap = |name: &str| {
        let watches = vec![Watch::Exchange(TOPICS.into(), "in/#".into())];
        ContentRoute::new(name.into(), watches, Mode::Tap, Arc::new(Picky))
    };
    let renamed = |gate: &Arc<Gate>| ContentRoute { name: "new".into(), ..route(gate) };
    for (to, wanted) in [(None, [1, 1, 0]), (Some(Address::queue("elsewhere")), [1, 0, 1])] {
        let routes = vec![route(&Gate::new(false)), tap("tap")];
        let stage = Stage::with(MemoryStore::default(), Settings::default(), routes).await;
        let mut client = stage.client().await;
        for (queue, key) in [("tapped", "made"), ("elsewhere", "none"), ("out", "none")] {
            client.declare(QueueSpec::durable(queue)).await;
            client.bind(TOPICS, key, queue).await;
        }
        client.durable(topic("in/x"), "yes").await;
        let store = stage.store.crashed();
        let routes = vec![renamed(&Gate::new(true)), tap("tap")];
        let stage = Stage::with(store, Settings::default(), routes).await;
        let drained = stage.broker.drain_route("gate", to.as_ref()).await.expect("drained");
        assert_eq!(drained, RouteDrained { moved: 1, dead_lettered: 0, left: 0 });
        let client = stage.client().await;
        let ready = || ["tapped", "out", "elsewhere"].map(|queue| client.ready(queue));
        until("the new route has it", || ready() == wanted).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(ready(), wanted, "{to:?}");
    }
}

#[tokio::test]
async fn connections_without_a_client_id_are_sources_of_their_own() {
    let stage = Stage::new().await;
    let (one, other) = (stage.client().await, stage.client().await);
    let source = |client: &Client, key: &str| client.message(topic(key), "x", |_| {}).source();
    assert_eq!(source(&one, "a"), source(&one, "a"));
    assert_ne!(source(&one, "a"), source(&one, "b"));
    assert_ne!(source(&one, "a"), source(&other, "a"));
    let named = [
        stage.named("n", true, SessionLife::No).await,
        stage.named("n", true, SessionLife::No).await,
    ];
    assert_eq!(
        source(&named[0], "a"),
        source(&named[1], "a"),
        "a client that comes again is the same"
    );
}

/// Inline; takes what begins with `yes`, and sends it on to topic `made`; what begins with `yes, but` it lets pass.
struct Picky;

impl Transform for Picky {
    fn name(&self) -> &str {
        "picky"
    }
    fn cost(&self) -> Cost {
        Cost::Inline
    }
    fn wants(&self, message: &Message, _: &Formats) -> bool {
        message.body().starts_with(b"yes")
    }
    fn apply(
        &self,
        input: &Message,
        _: u32,
        _: &Formats,
        out: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure> {
        if input.body().starts_with(b"yes, but") {
            return Ok(Verdict::Pass);
        }
        out.push(input.with(topic("made"), input.meta().clone()));
        Ok(Verdict::Emit)
    }
}

#[tokio::test]
async fn a_value_is_retained_where_it_ends_up() {
    let watches = vec![Watch::Exchange(TOPICS.into(), "in/#".into())];
    let mut route = ContentRoute::new("picky".into(), watches, Mode::Divert, Arc::new(Picky));
    route.topics.constant = vec![topic("made")];
    let stage = stage(route).await;
    let mut client = stage.client().await;
    let retained = async |client: &mut Client| {
        let mut found = Vec::new();
        for (at, pattern) in ["in/x", "made"].into_iter().enumerate() {
            let name = format!("look-{at}-{}", stage.broker.now().0);
            client.declare(QueueSpec::durable(&*name)).await;
            let to = BindTarget::Queue(name.as_str().into());
            let mut bind = Bind::new(TOPICS, pattern.into(), to);
            bind.replay = Replay::Always;
            client.session.bind(bind).await.expect("bound");
            let got = client.session.get(client.lane, &name, false).await.expect("a queue");
            found.push(got.map(|(d, _)| bodies(&[d]).remove(0)));
            client.session.delete_queue(&name, false, false).await.expect("deleted");
        }
        found
    };
    let publish = async |client: &mut Client, body: &str| {
        let number = client.put(topic("in/x"), body, |meta| meta.retain = true);
        client.session.flush();
        client.confirmed(number).await;
    };
    publish(&mut client, "no").await;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(retained(&mut client).await, [text("no"), None], "no route took it");
    publish(&mut client, "yes").await;
    assert_eq!(retained(&mut client).await, [text("no"), text("yes")], "the divert took it");
    publish(&mut client, "").await;
    assert_eq!(retained(&mut client).await, [None, None], "cleared at both places");
    publish(&mut client, "yes, but not here").await;
    assert_eq!(retained(&mut client).await, [text("yes, but not here"), None], "it passed");
    publish(&mut client, "").await;
    assert_eq!(retained(&mut client).await, [None, None], "cleared where it was");
}

/// A module that is compiled while messages come already.
#[derive(Default)]
struct Late(AtomicBool);

impl Transform for Late {
    fn name(&self) -> &str {
        "late"
    }
    fn cost(&self) -> Cost {
        Cost::Queued
    }
    fn wants(&self, _: &Message, _: &Formats) -> bool {
        true
    }
    fn readiness(&self) -> Readiness {
        match self.0.load(Ordering::Acquire) {
            true => Readiness::Ready,
            false => Readiness::Starting,
        }
    }
    fn apply(
        &self,
        input: &Message,
        _: u32,
        _: &Formats,
        out: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure> {
        if self.readiness() == Readiness::Starting {
            return Ok(Verdict::Wait(Duration::from_millis(500)));
        }
        out.push(input.with(Address::queue("out"), input.meta().clone()));
        Ok(Verdict::Emit)
    }
}

#[tokio::test]
async fn what_comes_while_a_module_is_compiled_is_not_overtaken_by_later_sources() {
    let late = Arc::new(Late::default());
    let watches = vec![Watch::Exchange(TOPICS.into(), "in/#".into())];
    let mut route = ContentRoute::new("late".into(), watches, Mode::Divert, late.clone());
    route.queues = vec!["out".into()];
    let stage = stage(route).await;
    // As before and after a restart: AMQP clients without a client id are other sources then.
    let (mut before, mut after) = (stage.client().await, stage.client().await);
    before.put(topic("in/a"), "first", at_level_1);
    before.session.flush();
    tokio::time::sleep(Duration::from_millis(50)).await;
    late.0.store(true, Ordering::Release);
    after.put(topic("in/a"), "second", at_level_1);
    after.session.flush();
    before.consume("out", 10, false).await;
    assert_eq!(bodies(&before.take(2).await), ["first", "second"]);
}
