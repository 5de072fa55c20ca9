//! What whoever looks at the broker from outside sees.

use crate::stage::*;
use crossdock_core::*;

const ALL: Page<'_> = Page { after: None, max: 100 };

#[tokio::test]
async fn a_connection_is_there_from_its_login_until_it_leaves() {
    let stage = Stage::new().await;
    assert!(stage.broker.look_at_connections(0, 9).is_empty(), "the program's own are not shown");
    let long = "x".repeat(20_000);
    let about = About { secure: true, ..About::new("p", "1.0") }.saying([
        ("product".into(), Value::text("test")),
        ("much".into(), Value::text(&*long)),
        ("platform".into(), Value::text("here")),
    ]);
    let origin = Origin { peer: "1.2.3.4:5".into(), client: "me".into(), ..Origin::default() };
    let spec =
        SessionSpec { about, ..SessionSpec::anonymous("/", origin, Identity::unlimited("guest")) };
    let mut c = stage.open(spec).await;
    let other = stage.client().await;
    let all = stage.broker.look_at_connections(0, 9);
    assert_eq!(all.len(), 2);
    let look = &all[0];
    assert_eq!((&*look.peer, &*look.client, &*look.user), ("1.2.3.4:5", "me", "guest"));
    assert_eq!(
        (&*look.about.protocol, &*look.about.version, look.about.secure),
        ("p", "1.0", true)
    );
    let names: Vec<&str> = look.about.details.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["product", "platform"], "what is too much is left out");
    assert_eq!(stage.broker.look_at_connections(look.number, 9).len(), 1);

    c.session.heard(500);
    c.session.label_lane(c.lane, 7);
    c.session.show_prefetch(c.lane, 20);
    c.declare(QueueSpec::durable("q")).await;
    for n in 0..3 {
        c.durable(Address::queue("q"), &n.to_string()).await;
    }
    c.durable(Address::queue("nowhere"), "x").await;
    let id = c.consume("q", 2, true).await;
    let got = c.take(2).await;
    c.settle(&got[..1], Outcome::Accepted);
    c.take(1).await;
    let (_, second) = (c.session.lane(), stage.client().await);
    second.session.close().await.expect("closed");

    let look = stage.broker.look_at_connection(all[0].number).expect("open");
    assert_eq!((look.received, look.channels, look.unsettled), (500, 2, 2));
    let totals = look.totals;
    assert_eq!((totals.received, totals.asked, totals.confirmed, totals.returned), (4, 4, 3, 1));
    let channels = stage.broker.look_at_channels(look.number).expect("open");
    assert_eq!((channels[0].label, channels[0].prefetch, channels[0].unsettled), (Some(7), 20, 2));
    assert_eq!((channels[1].label, channels[1].consumers), (None, 0));
    let consumers = stage.broker.look_at_consumers(look.number).expect("open");
    let [consumer] = &consumers[..] else { panic!("{consumers:?}") };
    assert_eq!((&*consumer.queue, consumer.prefetch, consumer.delivered), ("q", Some(2), 3));
    assert_eq!((consumer.unsettled, consumer.settles), (2, true));
    c.session.detach(id, OnDetach::Return).await;
    let look = stage.broker.look_at_connection(look.number).expect("open");
    assert_eq!((look.unsettled, stage.broker.look_at_consumers(look.number)), (0, Some(vec![])));
    let lane = c.lane;
    c.session.drop_lane(lane);
    let look = stage.broker.look_at_connection(look.number).expect("open");
    assert_eq!((look.channels, look.totals), (1, totals), "what it did stays in the sum");

    drop(c);
    assert!(stage.broker.look_at_connection(look.number).is_none());
    let node = stage.broker.look_at_node();
    let (name, sums) = &node.protocols.iter().find(|(name, _)| &**name == "p").expect("known");
    assert_eq!((&**name, sums.connections, sums.opened, sums.closed), ("p", 0, 1, 1));
    assert_eq!((sums.lanes, sums.bytes_received), (totals, 500));
    let got = sums.deliveries;
    assert_eq!((got.delivered, got.acknowledged, got.got_unsettled), (3, 1, 0));
    assert_eq!(node.connections, 1);
    drop(other);
}

#[tokio::test]
async fn a_refused_publish_is_in_its_channels_counts() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    let message = c.message(topic("$SYS/x"), "x", |_| {});
    let publish = Publish { confirm: false, ..Publish::new(message, true) };
    c.session.publish(c.lane, publish);
    c.durable(topic("$SYS/x"), "x").await;
    let room = [("x-max-length", Value::I32(0)), ("x-overflow", Value::text("reject-publish"))];
    c.declare(queue("none", &room)).await;
    let other = c.session.lane();
    for lane in [other, c.lane] {
        let message = c.message(Address::queue("none"), "x", |_| {});
        c.session.publish(lane, Publish { confirm: false, ..Publish::new(message, true) });
    }
    c.session.flush();
    let number = c.session.origin().connection;
    let channels = stage.broker.look_at_channels(number).expect("open");
    let totals = channels[0].totals;
    assert_eq!((totals.received, totals.asked), (3, 1));
    assert_eq!((totals.refused, totals.dropped), (1, 2));
    assert_eq!((channels[1].totals.received, channels[1].totals.dropped), (1, 1));
}

#[tokio::test]
async fn queues_and_exchanges_come_in_pages_by_name() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    for n in [3, 1, 4, 0, 2] {
        c.declare(QueueSpec::durable(format!("q{n}"))).await;
    }
    let (mut seen, mut after) = (Vec::new(), None::<Name>);
    loop {
        let page = Page { after: after.as_deref(), max: 2 };
        let some = stage.broker.look_at_queues("/", page).expect("there");
        let Some(last) = some.last() else { break };
        after = Some(last.spec.name.clone());
        seen.extend(some.iter().map(|queue| queue.spec.name.to_string()));
    }
    assert_eq!(seen, ["q0", "q1", "q2", "q3", "q4"]);
    let page = Page { after: Some("amq.direct"), max: 9 };
    let exchanges = stage.broker.look_at_exchanges("/", page).expect("there");
    let names: Vec<&str> = exchanges.iter().map(|exchange| &*exchange.spec.name).collect();
    assert_eq!(names, ["amq.fanout", TOPICS]);
    assert!(exchanges[0].is_predeclared);
    let missing = stage.broker.look_at_queues("elsewhere", ALL).expect_err("no such vhost");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert_eq!(stage.broker.look_at_queue("/", "no").expect_err("no").kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn bindings_and_sessions_are_shown_with_names() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    c.bind(TOPICS, "a", "q").await;
    c.bind(TOPICS, "b", "q").await;
    let bind = Bind::new("amq.fanout", "".into(), BindTarget::Exchange(TOPICS.into()));
    c.session.bind(bind).await.expect("bound");
    let mut s = stage.named("s", false, SessionLife::Forever).await;
    s.subscribe("c/#", 1).await;
    let (mut seen, mut place) = (Vec::new(), None);
    loop {
        let (some, next) = stage.broker.look_at_bindings("/", place.as_ref(), 1).expect("there");
        seen.extend(some.into_iter().map(|b| (b.destination, b.key.to_string())));
        place = next;
        if place.is_none() {
            break;
        }
    }
    seen.sort_by_key(|(_, key)| key.clone());
    let expected = [
        (Destination::Exchange(TOPICS.into()), "".into()),
        (Destination::Queue("q".into()), "a".into()),
        (Destination::Queue("q".into()), "b".into()),
        (Destination::Session("s".into()), "c/#".into()),
    ];
    assert_eq!(seen, expected);

    c.durable(topic("c/d"), "x").await;
    let sessions = stage.broker.look_at_sessions("/", ALL).expect("there");
    let [look] = &sessions[..] else { panic!("{sessions:?}") };
    assert_eq!((&*look.name, look.bindings, look.waiting), ("s", 1, 1));
    assert_eq!(look.connection, Some(s.session.origin().connection));
    drop(s);
    let sessions = stage.broker.look_at_sessions("/", ALL).expect("there");
    assert!(sessions[0].connection.is_none() && sessions[0].gone_since.is_some());
    c.put(topic("kept"), "value", |meta| meta.retain = true);
    c.session.flush();
    assert_eq!(stage.broker.look_at_retained("/").expect("there").0, 1);
    assert!(!stage.broker.look_at_node().memory.alarm);
}

#[tokio::test]
async fn an_operator_needs_no_place_and_closes_connections() {
    let clients = ClientLimits { connections_per_user: Some(1), ..ClientLimits::default() };
    let objects = ObjectLimits { clients, ..ObjectLimits::default() };
    let settings = Settings { objects, ..Settings::default() };
    let stage = Stage::with(memory::MemoryStore::default(), settings, Vec::new()).await;
    let mut client = stage.client().await;
    let spec = || SessionSpec::anonymous("/", Origin::default(), Identity::unlimited("guest"));
    let refused = stage.try_open(spec()).await.err().expect("one is the most");
    assert_eq!(refused.kind(), ErrorKind::LimitReached);
    let mut operator = stage.broker.operator_session(&spec()).expect("it takes no place");
    operator.declare_queue(QueueSpec::durable("q")).await.expect("declared");
    assert_eq!(stage.broker.look_at_connections(0, 9).len(), 1, "operators are in no list");

    let actor = Actor { user: "admin".into(), from: "test".into() };
    let number = stage.broker.look_at_connections(0, 9)[0].number;
    assert!(!stage.broker.close_connection(&actor, number + 1, "why"));
    assert!(stage.broker.close_connection(&actor, number, "an operator closed it"));
    let notices = client.events().await.notices;
    let Some(Notice::Closed(why)) = notices.first() else { panic!("{notices:?}") };
    assert_eq!(why.detail(), "an operator closed it");
    operator.close().await.expect("closed");
    client.session.close().await.expect("closed");
    assert!(!stage.broker.close_connection(&actor, number, "again"));
}
