//! Named sessions: levels, take-over, resumption, retained values, memos, wills, content routes.

use crate::stage::*;
use bytes::Bytes;
use crossdock_core::memory::MemoryStore;
use crossdock_core::transform::*;
use crossdock_core::*;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn level_0_is_now_or_never_and_level_1_waits() {
    let stage = Stage::new().await;
    let mut p = stage.client().await;
    let mut s = stage.named("s/1", false, SessionLife::Forever).await;
    s.subscribe("a/#", 1).await;
    s.subscribe("zero", 0).await;
    s.try_consume(ConsumerSource::Own, 10, true).await.expect("attached");
    p.publish(topic("a/x"), "zero");
    let got = s.take(1).await;
    assert_eq!((got[0].consumer, got[0].tags.level()), (ConsumerId::DIRECT, 1));
    p.durable(topic("a/x"), "one").await;
    let got = s.take(1).await;
    assert_ne!(got[0].consumer, ConsumerId::DIRECT);
    s.settle(&got, Outcome::Accepted);
    drop(s);
    p.publish(topic("a/x"), "never");
    p.durable(topic("a/x"), "kept").await;
    let stage = stage.crash().await;
    let mut s = stage.named("s/1", false, SessionLife::Forever).await;
    assert!(s.session.resumed());
    assert_eq!(s.session.own_bindings().len(), 2);
    s.try_consume(ConsumerSource::Own, 10, true).await.expect("attached");
    assert_eq!(bodies(&s.take(1).await), ["kept"]);
    let clean = stage.named("s/1", true, SessionLife::Forever).await;
    assert!(!clean.session.resumed() && clean.session.own_bindings().is_empty());
}

#[tokio::test]
async fn opening_a_name_again_takes_it_over() {
    let stage = Stage::new().await;
    let mut p = stage.client().await;
    let mut old = stage.named("s", false, SessionLife::Forever).await;
    old.subscribe("t", 1).await;
    old.try_consume(ConsumerSource::Own, 10, true).await.expect("attached");
    p.durable(topic("t"), "m").await;
    assert_eq!(old.take(1).await.len(), 1);
    let mut new = stage.named("s", false, SessionLife::Forever).await;
    assert!(new.session.resumed());
    assert!(matches!(old.events().await.notices[..], [Notice::TakenOver]));
    drop(old);
    new.try_consume(ConsumerSource::Own, 10, true).await.expect("attached");
    let got = new.take(1).await;
    assert!(got[0].redelivered);
    p.publish(topic("t"), "direct");
    assert_eq!(new.take(1).await.len(), 1, "the new owner is the connected one");
}

/// Connections at once that open one name, and how often each does.
const AT_ONCE: usize = 4;
const TIMES: usize = 500;

/// Whoever loses the session while it starts to consume learns that, and not that a queue is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_open_one_name_at_once_have_it_or_lose_it_to_another() {
    let stage = Arc::new(Stage::new().await);
    for (clean, life) in [(true, SessionLife::Forever), (false, SessionLife::No)] {
        let tasks = (0..AT_ONCE).map(|_| {
            let stage = stage.clone();
            tokio::spawn(async move {
                for _ in 0..TIMES {
                    let mut client = stage.named("one", clean, life).await;
                    let consumes = client.try_consume(ConsumerSource::Own, 10, true).await;
                    let why = consumes.map_err(|error| error.kind()).err();
                    assert!(matches!(why, None | Some(ErrorKind::Closed)), "{why:?}");
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("no task fails");
        }
    }
}

/// A consumer of a queue that others delete and declare all the time is attached, or learns that no such queue exists.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_consumer_of_a_queue_that_comes_and_goes_is_attached_or_finds_none() {
    let stage = Stage::new().await;
    let mut other = stage.client().await;
    let mut reader = stage.client().await;
    let goes = tokio::spawn(async move {
        for _ in 0..TIMES {
            other.declare(queue("q", &[])).await;
            other.session.delete_queue("q", false, false).await.expect("deleted");
        }
    });
    while !goes.is_finished() {
        if let Err(error) = reader.try_consume(ConsumerSource::Queue("q".into()), 10, true).await {
            assert_eq!(error.detail(), "no queue 'q' in vhost '/'");
        }
    }
    goes.await.expect("deleted each time");
}

#[tokio::test]
async fn sessions_end_when_they_should() {
    let stage = Stage::new().await;
    let mut s = stage.named("short", false, SessionLife::For(80)).await;
    s.subscribe("t", 1).await;
    drop(s);
    assert!(stage.named("short", false, SessionLife::For(80)).await.session.resumed());
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(!stage.named("short", false, SessionLife::No).await.session.resumed());
    assert!(!stage.named("short", false, SessionLife::No).await.session.resumed());
    let c = stage.client().await;
    assert!(c.session.queue_status("short").is_err(), "its queue went with it");
}

#[tokio::test]
async fn retained_values_are_replayed_and_cleared() {
    let stage = Stage::new().await;
    let mut p = stage.client().await;
    for (key, body) in [("r/1", "one"), ("r/2", "two"), ("r/3", "gone"), ("r/3", "")] {
        p.put(topic(key), body, |meta| meta.retain = true);
    }
    p.session.sync().await.expect("stored");
    let stage = stage.crash().await;
    let mut s = stage.named("s", true, SessionLife::No).await;
    let mut bind = Bind::new(TOPICS, "r/+".into(), BindTarget::Own);
    bind.replay = Replay::IfNew;
    assert!(s.session.bind(bind.clone()).await.expect("bound"));
    let got = s.take(2).await;
    assert_eq!(bodies(&got), ["one", "two"]);
    assert!(got.iter().all(|d| d.retained));
    assert!(!s.session.bind(bind.clone()).await.expect("bound"));
    s.nothing().await;
    bind.replay = Replay::Always;
    s.session.bind(bind).await.expect("bound");
    s.take(2).await;
    let mut p = stage.client().await;
    p.put(topic("r/1"), "live", |meta| meta.retain = true);
    p.session.flush();
    assert!(!s.take(1).await[0].retained);
}

#[tokio::test]
async fn memos_are_stored_with_their_flush() {
    let stage = Stage::new().await;
    let mut s = stage.named("s", false, SessionLife::Forever).await;
    s.declare(QueueSpec::durable("q")).await;
    let memo = |key: &'static [u8], value: Option<&'static [u8]>| Memo {
        key: Bytes::from_static(key),
        value: value.map(Bytes::from_static),
    };
    s.session.memo(memo(b"1", Some(b"x")));
    s.session.memo(memo(b"2", Some(b"y")));
    s.session.memo(memo(b"1", None));
    s.durable(Address::queue("q"), "m").await;
    let stage = stage.crash().await;
    let s = stage.named("s", false, SessionLife::Forever).await;
    assert_eq!(s.session.memos(), [memo(b"2", Some(b"y"))]);
    let s = stage.named("s", true, SessionLife::Forever).await;
    assert!(s.session.memos().is_empty());
}

#[tokio::test]
async fn wills_come_when_the_connection_is_lost() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    c.bind(TOPICS, "will/#", "q").await;
    let mut s = stage.named("s", false, SessionLife::Forever).await;
    let will = s.message(topic("will/1"), "lost", |meta| meta.durable = true);
    s.session.park(ParkUntil::Disconnected { delay_ms: 0 }, will.clone()).await.expect("parked");
    drop(s);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(c.ready("q"), 1);
    let mut s = stage.named("s", false, SessionLife::Forever).await;
    s.session.park(ParkUntil::Disconnected { delay_ms: 100 }, will.clone()).await.expect("parked");
    drop(s);
    let back = stage.named("s", false, SessionLife::Forever).await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(c.ready("q"), 1, "it came back in time");
    drop(back);
    let mut s = stage.named("ending", true, SessionLife::No).await;
    s.session.park(ParkUntil::Disconnected { delay_ms: 60_000 }, will).await.expect("parked");
    drop(s);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(c.ready("q"), 2, "the end of a session does not wait");
}

/// Upper-cases; fails on "bad", and on "once" the first time.
struct Upper(Cost, std::sync::atomic::AtomicBool);

impl Transform for Upper {
    fn name(&self) -> &str {
        "upper"
    }
    fn cost(&self) -> Cost {
        self.0
    }
    fn wants(&self, message: &Message, _: &Formats) -> bool {
        !message.body().starts_with(b"skip")
    }
    fn apply(
        &self,
        input: &Message,
        _: u32,
        formats: &Formats,
        out: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure> {
        let text = String::from_utf8_lossy(input.body()).to_uppercase();
        let first = self.1.swap(false, std::sync::atomic::Ordering::Relaxed);
        if text == "BAD" || text == "ONCE" && first {
            let (module, version) = (Arc::from("upper"), Arc::from("1"));
            // What the step itself refuses is not tried again.
            let kind = if text == "BAD" { FailureKind::Guest } else { FailureKind::Timeout };
            return Err(StepFailure { module, version, kind, text: "no".into() });
        }
        let fields = input.fields(formats).clone();
        for address in [Address::queue("out"), topic("in/again")] {
            out.push(Message::from_fields(
                address,
                input.meta().clone(),
                &fields,
                text.clone().into(),
            ));
        }
        Ok(Verdict::Emit)
    }
}

fn route(cost: Cost, mode: Mode) -> ContentRoute {
    let watches = vec![Watch::Exchange(TOPICS.into(), "in/#".into())];
    let transform = Arc::new(Upper(cost, true.into()));
    let mut route = ContentRoute::new("upper".into(), watches, mode, transform);
    route.on_error.retry = 1;
    route.on_error.backoff = Duration::from_millis(5);
    route.queues = vec!["out".into()];
    route
}

async fn run_route(cost: Cost, mode: Mode, want_original: bool) {
    let store = MemoryStore::default();
    let stage = Stage::with(store, Settings::default(), vec![route(cost, mode)]).await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("plain")).await;
    c.bind(TOPICS, "in/#", "plain").await;
    for body in ["a", "bad", "skip", "b"] {
        assert!(matches!(c.durable(topic("in/x"), body).await, ConfirmOutcome::Stored));
    }
    c.consume("out", 10, false).await;
    assert_eq!(bodies(&c.take(2).await), ["A", "B"]);
    let (dead, _) =
        c.session.get(c.lane, "dead-letters", false).await.expect("there").expect("one");
    let fields = dead.message.fields(stage.broker.formats());
    assert_eq!(fields.header("mq.error.kind"), Some(&Value::text("guest")));
    assert_eq!(fields.header("mq.error.text"), Some(&Value::text("no")));
    assert_eq!(dead.message.body().as_ref(), b"bad");
    // Results on the watched topic do not enter the route again; they and what was skipped are routed on.
    c.consume("plain", 10, false).await;
    let got = bodies(&c.take(if want_original { 6 } else { 3 }).await);
    let results = got.iter().filter(|b| **b == "A" || **b == "B").count();
    assert_eq!((results, got.contains(&"skip".to_string())), (2, true));
    assert_eq!(got.contains(&"a".to_string()), want_original);
}

#[tokio::test]
async fn inline_routes_divert_and_tap() {
    run_route(Cost::Inline, Mode::Divert, false).await;
    run_route(Cost::Inline, Mode::Tap, true).await;
}

#[tokio::test]
async fn queued_routes_divert_and_tap() {
    run_route(Cost::Queued, Mode::Divert, false).await;
    run_route(Cost::Queued, Mode::Tap, true).await;
}

#[tokio::test]
async fn queued_routes_retry() {
    let routes = vec![route(Cost::Queued, Mode::Divert)];
    let stage = Stage::with(MemoryStore::default(), Settings::default(), routes).await;
    let mut c = stage.client().await;
    c.consume("out", 10, false).await;
    c.publish(topic("in/x"), "once");
    assert_eq!(bodies(&c.take(1).await), ["ONCE"]);
}

#[tokio::test]
async fn a_take_over_leaves_a_will_that_was_not_to_wait() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    c.bind(TOPICS, "will", "q").await;
    for (delay_ms, clean, wills) in [(0, false, 1), (60_000, false, 1), (60_000, true, 2)] {
        let mut old = stage.named("s", false, SessionLife::Forever).await;
        let will = old.message(topic("will"), "lost", |meta| meta.durable = true);
        old.session.park(ParkUntil::Disconnected { delay_ms }, will).await.expect("parked");
        let new = stage.named("s", clean, SessionLife::Forever).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(c.ready("q"), wills, "delay {delay_ms}, clean {clean}");
        drop((old, new));
    }
}
