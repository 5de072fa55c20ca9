//! What changes while the broker runs: routes are exchanged under load, limits move, connections are counted.

use crate::stage::*;
use crossdock_core::memory::MemoryStore;
use crossdock_core::transform::*;
use crossdock_core::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Sends everything to queue `out`, with its version in front. A closed one waits.
struct Version {
    number: u32,
    cost: Cost,
    open: AtomicBool,
}

impl Version {
    fn new(number: u32, cost: Cost) -> Arc<Self> {
        Arc::new(Self { number, cost, open: AtomicBool::new(true) })
    }
}

impl Transform for Version {
    fn name(&self) -> &str {
        "version"
    }
    fn cost(&self) -> Cost {
        self.cost
    }
    fn wants(&self, _: &Message, _: &Formats) -> bool {
        true
    }
    fn apply(
        &self,
        input: &Message,
        _: u32,
        formats: &Formats,
        out: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure> {
        if !self.open.load(Ordering::Acquire) {
            return Ok(Verdict::Wait(Duration::from_millis(5)));
        }
        let body = format!("{} {}", self.number, String::from_utf8_lossy(input.body()));
        let (meta, fields) = (input.meta().clone(), input.fields(formats));
        out.push(Message::from_fields(Address::queue("out"), meta, fields, body.into()));
        Ok(Verdict::Emit)
    }
}

fn route(version: &Arc<Version>, concurrency: u16) -> ContentRoute {
    let watches = vec![Watch::Exchange(TOPICS.into(), "in/#".into())];
    let made = ContentRoute::new("r".into(), watches, Mode::Divert, version.clone());
    ContentRoute { concurrency, queues: vec!["out".into()], ..made }
}

/// Publishes to three sources until it is told to stop, and counts what was confirmed.
async fn publish_until(mut client: Client, stop: Arc<AtomicBool>) -> u32 {
    let (mut sent, mut confirmed) = (0, 0);
    while !stop.load(Ordering::Acquire) || confirmed < sent {
        if !stop.load(Ordering::Acquire) && sent - confirmed < 500 {
            for _ in 0..30 {
                let source = sent % 3;
                client.put(topic(&format!("in/{source}")), &format!("{source} {sent}"), at_level_1);
                sent += 1;
            }
            client.session.flush();
        }
        for confirm in client.events().await.confirms {
            assert!(matches!(confirm.confirmed, ConfirmOutcome::Stored), "{confirm:?}");
            confirmed += 1;
        }
    }
    sent
}

/// Takes all of `out`: each message once, those of a source in order, and no version after a later one.
async fn account(stage: &Stage, sent: u32, versions: u32) {
    let mut client = stage.client().await;
    until("everything came through", || client.ready("out") == u64::from(sent)).await;
    client.consume("out", 10_000_000, false).await;
    let mut last: BTreeMap<u32, u32> = BTreeMap::new();
    let (mut count, mut used) = (0, std::collections::BTreeSet::new());
    while count < sent {
        for delivery in client.take(1).await {
            let body = String::from_utf8_lossy(delivery.message.body()).into_owned();
            let numbers: Vec<u32> = body.split(' ').map(|w| w.parse().expect("a number")).collect();
            let [version, source, number] = numbers[..] else { panic!("{body}") };
            let before = last.insert(source, number);
            assert!(before.is_none_or(|before| before < number), "{body} after {before:?}");
            used.insert(version);
            count += 1;
        }
    }
    client.nothing().await;
    assert_eq!(used.len(), versions as usize, "{used:?}");
}

async fn exchange_under_load(costs: impl Fn(u32) -> Cost, concurrency: impl Fn(u32) -> u16) {
    let made = |number| route(&Version::new(number, costs(number)), concurrency(number));
    let stage = Stage::with(MemoryStore::default(), Settings::default(), vec![made(0)]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(publish_until(stage.client().await, stop.clone()));
    for number in 1..=20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        stage.broker.change_routes(vec![made(number)]).await.expect("changed");
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    stop.store(true, Ordering::Release);
    let sent = load.await.expect("no panic");
    let status = stage.broker.route_status();
    account(&stage, sent, 21).await;
    assert_eq!(status.len(), 1);
    let status = &stage.broker.route_status()[0];
    assert_eq!((status.taken, status.emitted, status.waiting), (sent.into(), sent.into(), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_is_exchanged_twenty_times_under_load_and_nothing_is_lost_or_doubled() {
    exchange_under_load(|_| Cost::Queued, |_| 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_is_one_whose_number_of_workers_changes() {
    exchange_under_load(|_| Cost::Queued, |number| if number % 2 == 0 { 1 } else { 4 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_route_that_changes_is_worked_on_by_the_new_version() {
    let closed = Version::new(0, Cost::Queued);
    closed.open.store(false, Ordering::Release);
    let routes = vec![route(&closed, 1)];
    let stage = Stage::with(MemoryStore::default(), Settings::default(), routes).await;
    let mut client = stage.client().await;
    for number in 0..10 {
        client.durable(topic("in/a"), &format!("a {number}")).await;
    }
    assert_eq!(client.ready("out"), 0);
    // Also one that runs in the publisher's turn from now on.
    for (number, cost) in [(1, Cost::Queued), (2, Cost::Inline)] {
        let routes = vec![route(&Version::new(number, cost), 1)];
        stage.broker.change_routes(routes).await.expect("changed");
        let all = u64::from(10 + number - 1);
        until("they come through", || client.ready("out") == all).await;
        client.durable(topic("in/a"), &format!("a {}", 9 + number)).await;
        until("and later ones", || client.ready("out") == all + 1).await;
    }
    client.consume("out", 100, false).await;
    let taken = bodies(&client.take(12).await);
    let first: Vec<String> = (0..11).map(|number| format!("1 a {number}")).collect();
    assert_eq!((&taken[..11], &*taken[11]), (&first[..], "2 a 11"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_comes_and_goes_under_load() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client.declare(QueueSpec::durable("out")).await;
    client.declare(QueueSpec::durable("plain")).await;
    client.bind(TOPICS, "in/#", "plain").await;
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(publish_until(stage.client().await, stop.clone()));
    for number in 1..=20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let routes = match number % 2 {
            0 => Vec::new(),
            _ => vec![route(&Version::new(number, Cost::Queued), 1)],
        };
        stage.broker.change_routes(routes).await.expect("changed");
    }
    // What waits where no route is configured waits for the next one of that name.
    stage
        .broker
        .change_routes(vec![route(&Version::new(21, Cost::Queued), 1)])
        .await
        .expect("changed");
    stop.store(true, Ordering::Release);
    let sent = u64::from(load.await.expect("no panic"));
    until("each came to one of the two", || client.ready("out") + client.ready("plain") == sent)
        .await;
    assert!(client.ready("out") > 0 && client.ready("plain") > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_that_a_full_route_holds_go_on_when_it_is_taken_away() {
    let closed = Version::new(0, Cost::Queued);
    closed.open.store(false, Ordering::Release);
    let routes = vec![route(&closed, 1)];
    let stage = Stage::with(MemoryStore::default(), Settings::default(), routes).await;
    let mut client = stage.client().await;
    client.declare(QueueSpec::durable("plain")).await;
    client.bind(TOPICS, "in/#", "plain").await;
    for _ in 0..100 {
        for _ in 0..1_000 {
            client.put(topic("in/a"), "x", |_| {});
        }
        client.session.flush();
    }
    let held = client.publish(topic("in/a"), "held");
    client.events().await;
    assert_eq!(client.ready("plain"), 0, "it is held back");
    stage.broker.change_routes(Vec::new()).await.expect("changed");
    until("it is routed as if there were no route", || {
        client.session.flush();
        client.ready("plain") == 1
    })
    .await;
    assert!(held > 0);
    let mut new = stage.client().await;
    new.publish(topic("in/a"), "new");
    assert_eq!(client.ready("plain"), 2, "nobody is held back any more");
}

#[tokio::test]
async fn limits_change_for_those_that_are_there() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client.declare(QueueSpec::durable("a")).await;
    let objects = |queues| ObjectLimits { queues, ..ObjectLimits::default() };
    let reconfigure = |settings: Settings| stage.broker.reconfigure(&settings);
    reconfigure(Settings { objects: objects(1), ..Settings::default() });
    let refused = client.session.declare_queue(QueueSpec::durable("b")).await;
    assert_eq!(refused.expect_err("one is there").kind(), ErrorKind::LimitReached);
    reconfigure(Settings { objects: objects(2), ..Settings::default() });
    client.declare(QueueSpec::durable("b")).await;
    // A virtual host that is made later has them, too.
    let actor = Actor { user: "test".into(), from: "test".into() };
    stage.broker.add_vhost(&actor, &"other".into()).await.expect("made");
    let mut other = stage.client_in("other").await;
    for name in ["a", "b"] {
        other.declare(QueueSpec::durable(name)).await;
    }
    let refused = other.session.declare_queue(QueueSpec::durable("c")).await;
    assert_eq!(refused.expect_err("two are there").kind(), ErrorKind::LimitReached);
    let topics = TopicRules { bytes_max: 10, ..TopicRules::default() };
    reconfigure(Settings { topics, message_bytes_max: 7, ..Settings::default() });
    assert_eq!(stage.broker.live().message_bytes_max(), 7);
    let long = client.publish(topic("a/long/topic"), "x");
    let ConfirmOutcome::Refused(error) = client.confirmed(long).await else { panic!("taken") };
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_ends_when_the_mark_is_raised() {
    let low = || Settings { memory_high: 4 << 20, ..Settings::default() };
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client.declare(QueueSpec::durable("q")).await;
    let body = "x".repeat(1 << 20);
    for _ in 0..8 {
        client.publish(Address::queue("q"), &body);
    }
    assert_eq!(client.ready("q"), 8);
    stage.broker.reconfigure(&low());
    client.publish(Address::queue("q"), &body);
    client.events().await;
    assert_eq!(client.ready("q"), 8, "it is held back at once");
    stage.broker.reconfigure(&Settings::default());
    until("it goes on", || {
        client.session.flush();
        client.ready("q") == 9
    })
    .await;
}

fn quotas(per_user: Option<usize>, per_vhost: Option<usize>) -> Settings {
    let clients = ClientLimits {
        connections_per_user: per_user,
        connections_per_vhost: per_vhost,
        ..ClientLimits::default()
    };
    let objects = ObjectLimits { clients, ..ObjectLimits::default() };
    Settings { objects, ..Settings::default() }
}

#[tokio::test]
async fn connections_of_a_user_and_of_a_virtual_host_are_counted() {
    let rights = Rights::parse(RightsText { read: vec!["*".into()], ..RightsText::default() });
    let rights = Arc::new(rights.expect("valid"));
    let user = |name: &str| Account {
        name: name.into(),
        vhosts: BTreeMap::from([("/".into(), rights.clone())]),
        ..Account::default()
    };
    let stage = Stage::with_users(vec![user("ann"), user("bob")]).await;
    stage.broker.reconfigure(&quotas(Some(2), Some(3)));
    let spec =
        |name: &str| SessionSpec::anonymous("/", Origin::default(), Identity::of_account(name));
    let first = stage.user("ann", "1").await;
    let _second = stage.user("ann", "2").await;
    let refused = stage.try_open(spec("ann")).await.err().expect("two are there");
    assert_eq!(refused.kind(), ErrorKind::LimitReached);
    assert!(refused.detail().contains("limits.connections_per_user"), "{}", refused.detail());
    let _other = stage.user("bob", "1").await;
    let refused = stage.try_open(spec("bob")).await.err().expect("three are there");
    assert!(refused.detail().contains("limits.connections_per_vhost"), "{}", refused.detail());
    // The broker's own sessions are nobody's connections.
    let own = SessionSpec::anonymous("/", Origin::default(), Identity::unlimited("config"));
    assert!(stage.broker.own_session(&own).is_ok());
    // A connection that is lost counts no more, and neither does one that leaves.
    drop(first);
    assert_eq!(stage.broker.connections_of("ann"), 1);
    stage.user("ann", "3").await.session.close().await.expect("closed");
    assert_eq!((stage.broker.connections_of("ann"), stage.broker.connections_in("/")), (1, 2));
    let met = stage.broker.limits_met();
    let count = |key: &str| met.iter().find(|(known, _)| *known == key).expect("there").1;
    let counts = ["limits.connections_per_user", "limits.connections_per_vhost"].map(count);
    assert_eq!(counts, [1, 1]);
    // Without a limit they are counted all the same: one that is set later knows them.
    stage.broker.reconfigure(&quotas(None, None));
    let _more = (stage.user("ann", "4").await, stage.user("ann", "5").await);
    stage.broker.reconfigure(&quotas(Some(3), None));
    assert!(stage.try_open(spec("ann")).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_a_session_over_takes_its_connection() {
    let rights = Rights::parse(RightsText::default()).expect("valid");
    let user = Account {
        name: "ann".into(),
        vhosts: BTreeMap::from([("/".into(), Arc::new(rights))]),
        ..Account::default()
    };
    let stage = Stage::with_users(vec![user]).await;
    stage.broker.reconfigure(&quotas(Some(1), None));
    let mut old = stage.user_named("ann", "device").await.expect("the first");
    for _ in 0..20 {
        let new = stage.user_named("ann", "device").await.expect("it takes over");
        assert_eq!(stage.broker.connections_of("ann"), 1);
        assert!(stage.user_named("ann", "another").await.is_err(), "there is one");
        drop(old);
        assert_eq!(stage.broker.connections_of("ann"), 1);
        old = new;
    }
    // Many at once: each takes over from the one before, and they all end as they like.
    let stage = Arc::new(stage);
    let racing: Vec<_> = (0..50)
        .map(|_| {
            let stage = stage.clone();
            tokio::spawn(async move {
                let client = stage.user_named("ann", "device").await.expect("it takes over");
                tokio::task::yield_now().await;
                drop(client);
            })
        })
        .collect();
    for racer in racing {
        racer.await.expect("no panic");
    }
    drop(old);
    until("all have left", || stage.broker.connections_of("ann") == 0).await;
    assert!(stage.user_named("ann", "another").await.is_ok());
}
