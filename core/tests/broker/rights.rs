//! What users may do: every verb asks, live sessions follow, and what is read is judged message by message where a
//! subscription is allowed in part.

use crate::stage::*;
use bytes::Bytes;
use crossdock_core::*;
use std::sync::Arc;
use std::time::Duration;

const ALL: [Action; 3] = [Action::Configure, Action::Write, Action::Read];

fn actor() -> Actor {
    Actor { user: "admin".into(), from: "test".into() }
}

fn rights(configure: &[&str], write: &[&str], read: &[&str]) -> Rights {
    let all = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let (configure, write, read) = (all(configure), all(write), all(read));
    Rights::parse(RightsText { configure, write, read, ..RightsText::default() }).expect("rights")
}

fn account(name: &str, rights: Rights) -> Account {
    let vhosts = [("/".into(), Arc::new(rights))].into_iter().collect();
    Account { name: name.into(), vhosts, ..Account::default() }
}

/// A broker with one run-time user, `u`.
async fn with_user(rights: Rights) -> Stage {
    let stage = Stage::new().await;
    stage.broker.set_user(&actor(), &"u".into(), Vec::new(), Vec::new()).await.expect("made");
    set(&stage, rights).await;
    stage
}

async fn set(stage: &Stage, rights: Rights) {
    stage.broker.set_rights(&actor(), ("u", &"/".into()), rights).await.expect("set");
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    let error = result.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    error.detail().to_owned()
}

/// A verb, and the rights that it takes.
struct Case {
    verb: &'static str,
    configure: &'static [&'static str],
    write: &'static [&'static str],
    read: &'static [&'static str],
}

const CASES: [Case; 21] = [
    Case { verb: "declare", configure: &["queue:new"], write: &[], read: &[] },
    Case { verb: "look", configure: &[], write: &[], read: &["queue:q"] },
    Case { verb: "delete", configure: &["queue:q"], write: &[], read: &[] },
    Case { verb: "purge", configure: &[], write: &[], read: &["queue:q"] },
    Case { verb: "consume", configure: &[], write: &[], read: &["queue:q"] },
    Case { verb: "get", configure: &[], write: &[], read: &["queue:q"] },
    Case { verb: "peek", configure: &[], write: &[], read: &["queue:q"] },
    Case { verb: "move", configure: &[], write: &["queue:to"], read: &["queue:q"] },
    Case { verb: "bind topic", configure: &[], write: &["queue:q"], read: &["topic:a/#"] },
    Case { verb: "bind", configure: &[], write: &["queue:q"], read: &["exchange:x"] },
    Case { verb: "unbind", configure: &[], write: &["queue:q"], read: &["exchange:x/k"] },
    Case { verb: "bind fanout", configure: &[], write: &["queue:q"], read: &["exchange:f"] },
    Case { verb: "bind exchanges", configure: &[], write: &["exchange:y"], read: &["exchange:x"] },
    Case { verb: "publish", configure: &[], write: &["queue:q"], read: &[] },
    Case { verb: "publish topic", configure: &[], write: &["topic:a/+"], read: &[] },
    Case { verb: "publish key", configure: &[], write: &["exchange:x/k"], read: &[] },
    Case { verb: "retain", configure: &[], write: &["topic:a/b"], read: &[] },
    Case { verb: "delay", configure: &[], write: &["topic:a/b"], read: &[] },
    Case { verb: "declare exchange", configure: &["exchange:new"], write: &[], read: &[] },
    Case { verb: "delete exchange", configure: &["exchange:x"], write: &[], read: &[] },
    Case {
        verb: "declare dead-lettering",
        configure: &["queue:new"],
        write: &["exchange:y"],
        read: &["queue:new"],
    },
];

impl Case {
    /// The rights that it takes, without those to one action.
    fn rights(&self, without: Option<Action>) -> Rights {
        let keep = |action, list: &'static [&'static str]| match without == Some(action) {
            true => &[],
            false => list,
        };
        rights(
            keep(Action::Configure, self.configure),
            keep(Action::Write, self.write),
            keep(Action::Read, self.read),
        )
    }

    fn takes(&self, action: Action) -> bool {
        let list = match action {
            Action::Configure => self.configure,
            Action::Write => self.write,
            Action::Read => self.read,
        };
        !list.is_empty()
    }

    async fn perform(&self, c: &mut Client) -> Result<(), Error> {
        let own = |exchange: &str, key: &str| {
            Bind::new(exchange, key.into(), BindTarget::Queue("q".into()))
        };
        let session = &mut c.session;
        match self.verb {
            "declare" => session.declare_queue(QueueSpec::durable("new")).await.map(drop),
            "look" => session.queue_status("q").map(drop),
            "delete" => session.delete_queue("q", false, false).await.map(drop),
            "purge" => session.purge("q").await.map(drop),
            "consume" => c.try_consume(ConsumerSource::Queue("q".into()), 1, true).await.map(drop),
            "get" => session.get(c.lane, "q", false).await.map(drop),
            "peek" => session.peek("q", Cursor::START, 1, &Filter::all()).await.map(drop),
            "move" => {
                let order = MoveOrder::new("q", MoveTo::Queue("to".into()));
                session.move_messages(&order).await.map(drop)
            }
            "bind topic" => session.bind(own(TOPICS, "a/+")).await.map(drop),
            "bind" => session.bind(own("x", "k")).await.map(drop),
            "unbind" => session.unbind(own("x", "k")).await.map(drop),
            "bind fanout" => session.bind(own("f", "")).await.map(drop),
            "bind exchanges" => {
                let to = BindTarget::Exchange("y".into());
                session.bind(Bind::new("x", "k".into(), to)).await.map(drop)
            }
            "publish" => told(c, Address::queue("q"), |_| {}).await,
            "publish topic" => told(c, topic("a/b"), |_| {}).await,
            "publish key" => told(c, Address::new("x".into(), "k".into()), |_| {}).await,
            "retain" => told(c, topic("a/b"), |meta| meta.retain = true).await,
            "delay" => {
                let message = c.message(topic("a/b"), "later", |_| {});
                let due = ParkUntil::At(c.session.broker().now());
                c.session.park(due, message).await.map(drop)
            }
            "declare exchange" => {
                session.declare_exchange(ExchangeSpec::new("new", Kind::Topic)).await
            }
            "delete exchange" => session.delete_exchange("x", false).await,
            "declare dead-lettering" => {
                let arguments = [("x-dead-letter-exchange", Value::text("y"))];
                session.declare_queue(queue("new", &arguments)).await.map(drop)
            }
            other => panic!("no verb {other}"),
        }
    }
}

/// A publish that is told what became of it.
async fn told(
    c: &mut Client,
    address: Address,
    change: impl FnOnce(&mut Meta),
) -> Result<(), Error> {
    let number = c.put(address, "body", change);
    c.session.flush();
    match c.confirmed(number).await {
        ConfirmOutcome::Refused(why) => Err(why),
        _ => Ok(()),
    }
}

/// What the verbs are about, by somebody who may do everything.
async fn furnish(stage: &Stage) {
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    c.declare(QueueSpec::durable("to")).await;
    for (name, kind) in [("x", Kind::Topic), ("y", Kind::Topic), ("f", Kind::Fanout)] {
        c.session.declare_exchange(ExchangeSpec::new(name, kind)).await.expect("declared");
    }
}

#[tokio::test]
async fn every_verb_takes_its_rights_and_loses_them_while_connected() {
    for case in &CASES {
        let stage = with_user(case.rights(None)).await;
        furnish(&stage).await;
        let mut c = stage.user("u", "").await;
        case.perform(&mut c).await.unwrap_or_else(|why| panic!("{}: {why}", case.verb));
        let mut count = stage.broker.refused_rights();
        assert_eq!(count, 0, "{}", case.verb);
        furnish(&stage).await;
        // The rights of one action at a time are taken away, on the connection that had them.
        for action in ALL.into_iter().filter(|action| case.takes(*action)) {
            let _ = stage.client().await.session.delete_queue("new", false, false).await;
            set(&stage, case.rights(Some(action))).await;
            let why = refused(case.perform(&mut c).await);
            let words = format!("{action} ");
            assert!(why.starts_with(&words) && why.ends_with("for user 'u'"), "{why}");
            let now = stage.broker.refused_rights();
            assert!(now > count, "{}", case.verb);
            count = now;
        }
        set(&stage, case.rights(None)).await;
        case.perform(&mut c).await.unwrap_or_else(|why| panic!("{}: {why}", case.verb));
        stage.broker.delete_user(&actor(), "u").await.expect("deleted");
        refused(case.perform(&mut c).await);
    }
}

#[tokio::test]
async fn the_error_names_the_address_and_the_right() {
    let stage = with_user(rights(&[], &[], &[])).await;
    furnish(&stage).await;
    let mut c = stage.user("u", "").await;
    let write = refused(told(&mut c, Address::queue("orders"), |_| {}).await);
    assert_eq!(write, "write to queue:orders is not allowed for user 'u'");
    let write = refused(told(&mut c, topic("a/b"), |_| {}).await);
    assert_eq!(write, "write to topic:a/b is not allowed for user 'u'");
    let read = refused(c.session.get(c.lane, "q", false).await);
    assert_eq!(read, "read from queue:q is not allowed for user 'u'");
    let configure = refused(c.session.delete_exchange("x", false).await);
    assert_eq!(configure, "configure exchange:x is not allowed for user 'u'");
}

#[tokio::test]
async fn who_waits_for_no_answer_is_dropped_and_counted() {
    let stage = with_user(rights(&[], &["queue:q"], &[])).await;
    furnish(&stage).await;
    let mut c = stage.user("u", "").await;
    let silent = |c: &mut Client, to: &str| {
        let message = c.message(Address::queue(to), "silent", |_| {});
        let publish = Publish { confirm: false, can_refuse: false, ..Publish::new(message, false) };
        c.session.publish(c.lane, publish);
        c.session.flush();
    };
    // A publisher without a word for no is told yes.
    let message = c.message(Address::queue("other"), "no word for no", |_| {});
    let publish = Publish { can_refuse: false, ..Publish::new(message, true) };
    let number = c.session.publish(c.lane, publish);
    c.session.flush();
    assert!(matches!(c.confirmed(number).await, ConfirmOutcome::Stored));
    silent(&mut c, "other");
    silent(&mut c, "q");
    assert_eq!(stage.broker.dropped(DropReason::Denied), 2);
    assert_eq!(stage.broker.refused_rights(), 2);
    assert_eq!(stage.client().await.ready("q"), 1);
}

#[tokio::test]
async fn a_transaction_with_a_refused_publish_has_no_effect() {
    let stage = with_user(rights(&[], &["queue:q"], &[])).await;
    furnish(&stage).await;
    let mut c = stage.user("u", "").await;
    c.session.begin(c.lane);
    c.put(Address::queue("q"), "allowed", |_| {});
    c.put(topic("a"), "not allowed", |_| {});
    refused(c.session.commit(c.lane).await);
    assert_eq!(stage.client().await.ready("q"), 0);
}

#[tokio::test]
async fn a_route_that_others_use_gives_no_right() {
    let stage = with_user(rights(&[], &["queue:other"], &[])).await;
    furnish(&stage).await;
    let (mut guest, mut c) = (stage.client().await, stage.user("u", "").await);
    for _ in 0..3 {
        guest.durable(Address::queue("q"), "guest's").await;
        refused(told(&mut c, Address::queue("q"), |_| {}).await);
    }
    set(&stage, rights(&[], &["queue:q"], &[])).await;
    told(&mut c, Address::queue("q"), |_| {}).await.expect("allowed now");
    assert_eq!(guest.ready("q"), 4);
}

#[tokio::test]
async fn a_consumer_ends_with_its_right() {
    let stage = with_user(rights(&[], &[], &["queue:q"])).await;
    furnish(&stage).await;
    let (mut guest, mut c) = (stage.client().await, stage.user("u", "").await);
    let consumer = c.consume("q", 10, true).await;
    guest.durable(Address::queue("q"), "before").await;
    let before = c.take(1).await;
    assert_eq!(bodies(&before), ["before"]);
    set(&stage, rights(&[], &[], &["queue:other"])).await;
    guest.durable(Address::queue("q"), "after").await;
    let events = c.events().await;
    assert!(events.deliveries.is_empty(), "{:?}", bodies(&events.deliveries));
    let Some(Notice::Detached { consumer: gone, why }) = events.notices.first() else {
        panic!("{:?}", events.notices)
    };
    assert_eq!((*gone, why.kind()), (consumer, ErrorKind::Refused));
    // Both are there for somebody else: the one that was seen as redelivered, the other as it was.
    guest.consume("q", 10, true).await;
    let got = guest.take(2).await;
    assert_eq!(bodies(&got), ["before", "after"]);
    assert_eq!(got.iter().map(|d| d.redelivered).collect::<Vec<_>>(), [true, false]);
}

/// A named session of `u` that is subscribed to everything on both levels.
async fn subscribed(stage: &Stage, client: &str) -> Client {
    let mut c = stage.user_named("u", client).await.expect("it opens");
    c.subscribe("#", 1).await;
    c.try_consume(ConsumerSource::Own, 100, true).await.expect("its own queue");
    c
}

async fn send(guest: &mut Client, keys: &[&str]) {
    for key in keys {
        guest.publish(topic(key), key);
        guest.durable(topic(key), &format!("{key} stored")).await;
    }
}

#[tokio::test]
async fn a_wildcard_gets_the_part_that_may_be_read() {
    let stage = with_user(rights(&[], &[], &["topic:a/+", "topic:c/{client_id}"])).await;
    let mut guest = stage.client().await;
    let mut c = subscribed(&stage, "me").await;
    let keys = ["a/x", "b/x", "c/me", "c/you", "a/x/y"];
    send(&mut guest, &keys).await;
    let mut got = bodies(&c.take(4).await);
    got.sort();
    assert_eq!(got, ["a/x", "a/x stored", "c/me", "c/me stored"]);
    c.nothing().await;
    // More is allowed, then less, on the same connection.
    set(&stage, rights(&[], &[], &["topic:b/#"])).await;
    send(&mut guest, &keys).await;
    assert_eq!(bodies(&c.take(2).await), ["b/x", "b/x stored"]);
    set(&stage, rights(&[], &[], &[])).await;
    send(&mut guest, &keys).await;
    c.nothing().await;
    set(&stage, rights(&[], &[], &["*"])).await;
    send(&mut guest, &keys).await;
    assert_eq!(c.take(10).await.len(), 10);
}

#[tokio::test]
async fn a_subscription_without_a_part_that_may_be_read_is_refused() {
    let stage = with_user(rights(&[], &[], &["topic:a/{client_id}/#"])).await;
    for trick in ["+", "#", "*", ".", "|", "^", "$", "%", "/", "a/b", ".*"] {
        let mut c = stage.user_named("u", trick).await.expect("it opens");
        for filter in ["a/victim/#", "b/#", "a/victim"] {
            let bind = Bind::new(TOPICS, filter.into(), BindTarget::Own);
            refused(c.session.bind(bind).await);
        }
    }
    // The filter is met, and the topics of others are not.
    let mut c = stage.user_named("u", "+").await.expect("it opens");
    c.subscribe("a/#", 0).await;
    let mut guest = stage.client().await;
    guest.publish(topic("a/victim/x"), "theirs");
    guest.publish(topic("a/+/x"), "own");
    assert_eq!(bodies(&c.take(1).await), ["own"]);
    c.nothing().await;
}

#[tokio::test]
async fn retained_values_are_replayed_where_they_may_be_read() {
    let stage = with_user(rights(&[], &[], &["topic:a/#"])).await;
    let mut guest = stage.client().await;
    for key in ["a/1", "b/1", "a/2"] {
        let number = guest.put(topic(key), key, |meta| meta.retain = true);
        guest.session.flush();
        guest.confirmed(number).await;
    }
    let mut c = stage.user_named("u", "me").await.expect("it opens");
    let mut bind = Bind::new(TOPICS, "+/+".into(), BindTarget::Own);
    bind.replay = Replay::Always;
    c.session.bind(bind).await.expect("bound");
    let mut got = bodies(&c.take(2).await);
    got.sort();
    assert_eq!(got, ["a/1", "a/2"]);
    c.nothing().await;
}

#[tokio::test]
async fn what_waits_for_a_client_is_not_delivered_when_its_right_is_gone() {
    let stage = with_user(rights(&[], &[], &["topic:#"])).await;
    let mut guest = stage.client().await;
    drop(subscribed(&stage, "me").await);
    send(&mut guest, &["a/x", "b/x"]).await;
    set(&stage, rights(&[], &[], &["topic:b/#"])).await;
    let mut c = stage.user_named("u", "me").await.expect("it opens");
    c.try_consume(ConsumerSource::Own, 100, true).await.expect("its own queue");
    assert_eq!(bodies(&c.take(1).await), ["b/x stored"]);
    c.nothing().await;
    assert!(stage.broker.refused_rights() > 0);
    // It left the queue for good.
    set(&stage, rights(&[], &[], &["*"])).await;
    drop(c);
    let mut c = stage.user_named("u", "me").await.expect("it opens");
    c.try_consume(ConsumerSource::Own, 100, true).await.expect("its own queue");
    assert_eq!(bodies(&c.take(1).await), ["b/x stored"]);
    c.nothing().await;
}

/// A queue of the client's own, bound to everything.
async fn exclusive(c: &mut Client) -> Name {
    let spec = QueueSpec { life: Life::Exclusive, ..QueueSpec::default() };
    let name = c.session.declare_queue(spec).await.expect("its own needs no right").status.name;
    c.bind(TOPICS, "#", &name).await;
    name
}

#[tokio::test]
async fn an_exclusive_queue_is_its_sessions_and_gets_the_part_that_may_be_read() {
    let stage = with_user(rights(&[], &[], &["topic:a/#"])).await;
    let (mut guest, mut c) = (stage.client().await, stage.user("u", "").await);
    let name = exclusive(&mut c).await;
    send(&mut guest, &["a/x", "b/x"]).await;
    // Single gets pass over what may not be read.
    let (first, _) = c.session.get(c.lane, &name, false).await.expect("allowed").expect("there");
    assert_eq!(bodies(&[first]), ["a/x"]);
    c.consume(&name, 10, true).await;
    assert_eq!(bodies(&c.take(1).await), ["a/x stored"]);
    c.nothing().await;
    // What is sent to the queue itself is for it: an answer to a request.
    guest.publish(Address::queue(&name), "answer");
    assert_eq!(bodies(&c.take(1).await), ["answer"]);
}

#[tokio::test]
async fn what_may_not_be_read_does_not_leave_by_a_dead_letter_address() {
    let stage =
        with_user(rights(&["queue:mine"], &["queue:mine"], &["queue:mine", "topic:a/#"])).await;
    let mut c = stage.user("u", "").await;
    c.declare(QueueSpec::durable("mine")).await;
    let arguments = [
        ("x-dead-letter-exchange", Value::text("")),
        ("x-dead-letter-routing-key", Value::text("mine")),
        ("x-message-ttl", Value::I32(0)),
    ];
    let spec = QueueSpec {
        name: "".into(),
        life: Life::Exclusive,
        durable: false,
        ..queue("", &arguments)
    };
    let name = c.session.declare_queue(spec).await.expect("declared").status.name;
    let bind = |key: &str| Bind::new(TOPICS, key.into(), BindTarget::Queue(name.clone()));
    refused(c.session.bind(bind("#")).await);
    c.session.bind(bind("a/#")).await.expect("all of it may be read");
    // A queue that outlives its session is bound to what may be read as a whole only.
    let to_mine = Bind::new(TOPICS, "#".into(), BindTarget::Queue("mine".into()));
    refused(c.session.bind(to_mine).await);
    // Somebody else's queue is not dead-lettered to, and neither is an exchange that may not be written to.
    let other = [("x-dead-letter-exchange", Value::text("amq.fanout"))];
    refused(c.session.declare_queue(queue("mine2", &other)).await);
}

#[tokio::test]
async fn a_group_takes_members_who_may_read_its_topics() {
    let stage = with_user(rights(&[], &[], &["topic:a/+"])).await;
    let (mut guest, mut c) = (stage.client().await, stage.user("u", "").await);
    let share = "share/g/a/#";
    c.declare(QueueSpec::durable(share)).await;
    c.bind(TOPICS, "a/#", share).await;
    c.consume(share, 10, true).await;
    send(&mut guest, &["a/x", "a/x/y"]).await;
    let got = c.take(2).await;
    assert_eq!(bodies(&got), ["a/x", "a/x stored"]);
    c.settle(&got, Outcome::Accepted);
    c.nothing().await;
    // It collects its filter and nothing else, and is not for its members to end or to send elsewhere.
    let other = Bind::new(TOPICS, "b/#".into(), BindTarget::Queue(share.into()));
    refused(c.session.bind(other).await);
    refused(c.session.delete_queue(share, false, false).await);
    refused(c.session.purge(share).await);
    refused(c.session.declare_queue(dead_lettering("share/h/a/#", share, &[])).await);
    refused(c.session.declare_queue(QueueSpec::durable("share/g/b/#")).await);
    set(&stage, rights(&[], &[], &["topic:b/#"])).await;
    send(&mut guest, &["a/x"]).await;
    let events = c.events().await;
    assert!(events.deliveries.is_empty());
    assert!(matches!(events.notices.first(), Some(Notice::Detached { .. })), "{events:?}");
    assert_eq!(guest.ready(share), 2);
}

#[tokio::test]
async fn a_session_is_for_its_owner() {
    let all = || rights(&["*"], &["*"], &["*"]);
    let users = || vec![account("a", all()), account("b", all())];
    let stage = Stage::with_users(users()).await;
    let mut a = stage.user_named("a", "device").await.expect("it is new");
    a.subscribe("#", 1).await;
    let why = refused(stage.user_named("b", "device").await.map(|_| ()));
    assert_eq!(why, "session 'device' belongs to another user than 'b'");
    assert!(a.events().await.notices.is_empty(), "its owner keeps it");
    drop(a);
    refused(stage.user_named("b", "device").await.map(|_| ()));
    let stage = stage.crash_with_users(users()).await;
    refused(stage.user_named("b", "device").await.map(|_| ()));
    let (vhost, b) = ("/".into(), "b".into());
    stage.broker.give_session(&actor(), (&vhost, "device"), &b).await.expect("given");
    let stage = stage.crash_with_users(users()).await;
    refused(stage.user_named("a", "device").await.map(|_| ()));
    let mut b = stage.user_named("b", "device").await.expect("its own");
    assert!(b.session.resumed());
    stage.client().await.durable(topic("t"), "for b").await;
    b.try_consume(ConsumerSource::Own, 10, true).await.expect("attached");
    assert_eq!(bodies(&b.take(1).await), ["for b"]);
}

#[tokio::test]
async fn a_sessions_queue_that_somebody_else_declared_is_not_its_own() {
    let stage = with_user(rights(&[], &[], &["topic:#"])).await;
    stage.client().await.declare(QueueSpec::durable("own/me")).await;
    let mut c = stage.user_named("u", "me").await.expect("it opens");
    refused(c.try_consume(ConsumerSource::Own, 10, true).await);
    let mut bind = Bind::new(TOPICS, "#".into(), BindTarget::Own);
    bind.tag.level = 1;
    refused(c.session.bind(bind).await);
}

fn will_of(c: &Client) -> Message {
    c.message(topic("wills/u"), "gone", |meta| meta.durable = true)
}

#[tokio::test]
async fn a_will_is_published_with_the_rights_that_its_owner_has_then() {
    let may = || rights(&[], &["topic:wills/u"], &[]);
    let due = ParkUntil::Disconnected { delay_ms: 0 };
    for is_revoked in [false, true] {
        let stage = with_user(may()).await;
        let mut guest = stage.client().await;
        guest.declare(QueueSpec::durable("q")).await;
        guest.bind(TOPICS, "wills/#", "q").await;
        let mut c = stage.user_named("u", "me").await.expect("it opens");
        let will = will_of(&c);
        c.session.park(due, will).await.expect("allowed");
        if is_revoked {
            set(&stage, rights(&[], &["topic:other"], &[])).await;
            let will = will_of(&c);
            refused(c.session.park(due, will).await);
        }
        drop(c);
        match is_revoked {
            true => {
                let dropped = || stage.broker.dropped(DropReason::Denied) == 1;
                until("the will is dropped", dropped).await;
                assert_eq!(guest.ready("q"), 0);
            }
            false => until("the will is published", || guest.ready("q") == 1).await,
        }
    }
}

#[tokio::test]
async fn a_will_that_waited_over_a_crash_is_judged_by_its_owners_account() {
    for (write, arrives) in [("topic:wills/+", true), ("topic:other", false)] {
        let of = |write| vec![account("u", rights(&[], &[write], &[]))];
        let stage = Stage::with_users(of("topic:wills/u")).await;
        let mut guest = stage.client().await;
        guest.declare(QueueSpec::durable("q")).await;
        guest.bind(TOPICS, "wills/#", "q").await;
        let mut c = stage.user_named("u", "me").await.expect("it opens");
        let (due, will) = (ParkUntil::At(Timestamp(stage.broker.now().0 + 300)), will_of(&c));
        c.session.park(due, will).await.expect("allowed");
        drop((guest, c));
        let stage = stage.crash_with_users(of(write)).await;
        let guest = stage.client().await;
        let denied = || stage.broker.dropped(DropReason::Denied);
        until("it is due", || guest.ready("q") + denied() == 1).await;
        assert_eq!((guest.ready("q"), denied()), (u64::from(arrives), u64::from(!arrives)));
    }
}

#[tokio::test]
async fn users_of_the_configuration_are_not_changed_at_run_time() {
    let stage = Stage::with_users(vec![account("u", rights(&["queue:*"], &[], &[]))]).await;
    let (name, vhost) = (Name::from("u"), Name::from("/"));
    let broker = &stage.broker;
    let why = refused(broker.set_user(&actor(), &name, Vec::new(), Vec::new()).await);
    assert!(why.contains("of the configuration"), "{why}");
    refused(broker.delete_user(&actor(), "u").await);
    refused(broker.set_rights(&actor(), ("u", &vhost), rights(&[], &[], &[])).await);
    refused(broker.delete_rights(&actor(), ("u", &vhost)).await);
    // A configuration that is read again replaces all of them at once, for live sessions, too.
    let mut c = stage.user("u", "").await;
    c.declare(QueueSpec::durable("q")).await;
    broker.configure_users(&actor(), vec![account("u", rights(&["queue:q"], &[], &[]))]);
    refused(c.session.declare_queue(QueueSpec::durable("q2")).await);
    broker.configure_users(&actor(), Vec::new());
    refused(c.session.queue_status("q"));
    assert!(broker.users().is_empty());
}

#[tokio::test]
async fn users_that_were_made_are_there_after_a_crash_and_a_snapshot() {
    let settings = Settings { snapshot_bytes: 4_000, ..Settings::default() };
    let store = crossdock_core::memory::MemoryStore::default();
    let stage = Stage::with(store, settings, Vec::new()).await;
    let (broker, vhost) = (&stage.broker, Name::from("/"));
    let hash = |text: &'static str| Secret(Bytes::from_static(text.as_bytes()));
    for name in ["kept", "gone", "changed"] {
        let verifiers = vec![hash("one"), hash("two")];
        let is_new = broker.set_user(&actor(), &name.into(), vec!["t".into()], verifiers).await;
        assert!(is_new.expect("made"));
        let own = rights(&[], &["queue:{username}"], &[]);
        broker.set_rights(&actor(), (name, &vhost), own).await.expect("set");
    }
    let mut guest = stage.client().await;
    guest.declare(QueueSpec::durable("q")).await;
    for round in 0..2 {
        // The snapshots of the first round have all three, those of the second do not.
        for n in 0..200 {
            guest.durable(Address::queue("q"), &format!("{n} of round {round}")).await;
        }
        if round == 0 {
            broker.delete_user(&actor(), "gone").await.expect("deleted");
            let again = broker.set_user(&actor(), &"changed".into(), Vec::new(), Vec::new()).await;
            assert!(!again.expect("changed"));
            assert!(broker.delete_rights(&actor(), ("changed", &vhost)).await.expect("deleted"));
            assert!(!broker.delete_rights(&actor(), ("changed", &vhost)).await.expect("none"));
        }
    }
    let users = broker.users();
    drop(guest);
    let stage = stage.crash().await;
    let after = stage.broker.users();
    assert_eq!(after, users);
    assert_eq!(after.len(), 2);
    let kept = stage.broker.user("kept").expect("kept");
    assert_eq!((kept.tags.len(), &kept.verifiers), (1, &vec![hash("one"), hash("two")]));
    let mut c = stage.user("kept", "").await;
    told(&mut c, Address::queue("kept"), |_| {}).await.expect("by its name");
    refused(told(&mut c, Address::queue("q"), |_| {}).await);
    let spec = SessionSpec::anonymous("/", Origin::default(), Identity::of_account("changed"));
    let why = refused(stage.try_open(spec).await.map(|_| ()));
    assert_eq!(why, "user 'changed' may not enter virtual host '/'");
}

#[tokio::test]
async fn a_virtual_host_that_was_made_is_there_after_a_crash() {
    let stage = with_user(rights(&["*"], &["*"], &["*"])).await;
    let name = Name::from("tenant");
    assert!(stage.broker.add_vhost(&actor(), &name).await.expect("made"));
    assert!(!stage.broker.add_vhost(&actor(), &name).await.expect("it is there"));
    assert!(stage.broker.add_vhost(&actor(), &"".into()).await.is_err());
    let of = |identity| SessionSpec::anonymous("tenant", Origin::default(), identity);
    refused(stage.try_open(of(Identity::of_account("u"))).await.map(|_| ()));
    let own = rights(&["queue:q"], &["queue:q"], &[]);
    stage.broker.set_rights(&actor(), ("u", &name), own).await.expect("set");
    let mut c = stage.open(of(Identity::of_account("u"))).await;
    c.declare(QueueSpec::durable("q")).await;
    c.durable(Address::queue("q"), "there").await;
    drop(c);
    let stage = stage.crash().await;
    assert_eq!(stage.broker.vhosts(), [Name::from("/"), name]);
    assert_eq!(stage.client_in("tenant").await.ready("q"), 1);
    refused(stage.open(of(Identity::of_account("u"))).await.session.purge("q").await);
}

#[tokio::test]
async fn rights_that_came_with_a_login_end_with_it() {
    let stage = Stage::new().await;
    let vhosts = [("/".into(), Arc::new(rights(&[], &["queue:q"], &[])))].into_iter().collect();
    let expires = Some(Timestamp(stage.broker.now().0 + 100));
    let access = Access::Of(Arc::new(vhosts));
    let identity = Identity { expires, access, ..Identity::of_account("token") };
    let mut c = stage.open(SessionSpec::anonymous("/", Origin::default(), identity)).await;
    assert_eq!(&*c.session.origin().user, "token", "the identity says who it is");
    told(&mut c, Address::queue("q"), |_| {}).await.expect("allowed");
    refused(told(&mut c, Address::queue("other"), |_| {}).await);
    let mut events = Events::default();
    let told_to_end = async {
        loop {
            c.session.events(&mut events).await;
            if let Some(Notice::Closed(why)) = events.notices.first() {
                break why.clone();
            }
        }
    };
    let why = tokio::time::timeout(Duration::from_secs(5), told_to_end).await.expect("in time");
    assert_eq!(why.kind(), ErrorKind::Refused);
    assert!(why.detail().starts_with("the login of user 'token' has expired"), "{why}");
}

#[tokio::test]
async fn regular_expressions_of_rabbitmq_hold_in_every_verb() {
    let names = NameRegexes {
        configure: "^mine".into(),
        write: "^(mine|amq\\.topic$)".into(),
        read: "^(mine|amq\\.topic$)".into(),
    };
    let topics =
        TopicRegexes { exchange: TOPICS.into(), write: "^a\\.".into(), read: "^a\\.".into() };
    let text = RightsText { regexes: Some(names), topics: vec![topics], ..RightsText::default() };
    let stage = with_user(Rights::parse(text).expect("expressions")).await;
    furnish(&stage).await;
    let mut c = stage.user("u", "").await;
    c.declare(QueueSpec::durable("mine.q")).await;
    refused(c.session.declare_queue(QueueSpec::durable("q2")).await);
    let bind = |key: &str| Bind::new(TOPICS, key.into(), BindTarget::Queue("mine.q".into()));
    c.session.bind(bind("a/#")).await.expect("the key is allowed");
    refused(c.session.bind(bind("#")).await);
    told(&mut c, topic("a/b"), |_| {}).await.expect("allowed");
    refused(told(&mut c, topic("b/b"), |_| {}).await);
    refused(told(&mut c, Address::queue("mine.q"), |_| {}).await);
    c.consume("mine.q", 1, true).await;
    assert_eq!(bodies(&c.take(1).await), ["body"]);
}

/// A session of a token: its rights came with the login.
async fn of_token(stage: &Stage, read: &[&str]) -> Client {
    let vhosts = [("/".into(), Arc::new(rights(&[], &[], read)))].into_iter().collect();
    let identity =
        Identity { access: Access::Of(Arc::new(vhosts)), ..Identity::of_account("token") };
    let queue = QueueSpec { durable: true, ..QueueSpec::durable("own/token") };
    let spec = SessionSpec {
        name: Some("token".into()),
        clean: false,
        life: SessionLife::Forever,
        queue: Some(queue),
        ..SessionSpec::anonymous("/", Origin::default(), identity)
    };
    let mut c = stage.try_open(spec).await.expect("it opens");
    c.try_consume(ConsumerSource::Own, 100, true).await.expect("its own queue");
    c
}

#[tokio::test]
async fn a_session_that_is_resumed_has_the_rights_of_the_new_login() {
    let stage = Stage::new().await;
    let mut guest = stage.client().await;
    let mut c = of_token(&stage, &["topic:a/#", "topic:b/#"]).await;
    c.subscribe("#", 1).await;
    send(&mut guest, &["a/x", "b/x"]).await;
    assert_eq!(c.take(4).await.len(), 4);
    c.session.close().await.expect("closed");
    let mut c = of_token(&stage, &["topic:b/#"]).await;
    let again = c.take(1).await;
    assert_eq!(bodies(&again), ["b/x stored"], "the other one that was not settled is withheld");
    send(&mut guest, &["a/x", "b/x"]).await;
    assert_eq!(bodies(&c.take(2).await), ["b/x", "b/x stored"]);
    c.nothing().await;
}

#[tokio::test]
async fn what_comes_into_the_topic_tree_by_another_exchange_is_judged_by_its_topic() {
    let stage = with_user(rights(&[], &[], &["topic:a/#"])).await;
    furnish(&stage).await;
    let mut guest = stage.client().await;
    let to = BindTarget::Exchange(TOPICS.into());
    guest.session.bind(Bind::new("x", "#".into(), to)).await.expect("bound");
    let (mut named, mut c) = (subscribed(&stage, "me").await, stage.user("u", "").await);
    let name = exclusive(&mut c).await;
    c.consume(&name, 10, true).await;
    for key in ["a/1", "b/1"] {
        guest.durable(Address::new("x".into(), key.into()), key).await;
    }
    for client in [&mut named, &mut c] {
        assert_eq!(bodies(&client.take(1).await), ["a/1"]);
        client.nothing().await;
    }
}

/// Lines of the audit, as `field=value`s.
#[derive(Default)]
struct Audit(Arc<std::sync::Mutex<Vec<String>>>);

struct Line(String);

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}

impl tracing::Subscriber for Audit {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == AUDIT
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

/// A user is made, refused so often, and deleted.
async fn acts(refusals: usize) {
    let stage = with_user(rights(&[], &[], &[])).await;
    let (peer, client) = ("10.0.0.7:1234".into(), "dev\n1".into());
    let origin = Origin { client, peer, ..Origin::default() };
    let spec = SessionSpec::anonymous("/", origin, Identity::of_account("u"));
    let mut c = stage.open(spec).await;
    for _ in 0..refusals {
        refused(told(&mut c, Address::queue("a\nb"), |_| {}).await);
    }
    stage.broker.delete_user(&actor(), "u").await.expect("deleted");
}

#[tokio::test]
async fn the_audit_says_who_did_or_was_refused_what_and_from_where() {
    // A line of code that another test logs with for the first time, just now, could be taken for one that nobody
    // listens to: all of them are known before.
    acts(1).await;
    let audit = Audit::default();
    let lines = audit.0.clone();
    let _guard = tracing::subscriber::set_default(audit);
    acts(500).await;
    let lines = lines.lock().expect("alone").clone();
    let about = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!((about("user made"), about("rights set"), about("user deleted")), (1, 1, 1));
    assert!(lines[0].contains("by=\"admin\"") && lines[0].contains("from=\"test\""), "{lines:?}");
    assert_eq!(about("a right was refused"), 100, "it is bounded");
    let one = lines.iter().find(|line| line.contains("refused")).expect("a refusal");
    for part in ["user=\"u\"", "from=\"10.0.0.7:1234\"", "action=write", r"object=queue:a\nb"] {
        assert!(one.contains(part), "{part} in {one}");
    }
    assert!(!one.contains('\n'), "{one}");
}

#[tokio::test]
async fn whose_session_is_taken_over_tried_nothing_that_it_may_not() {
    let audit = Audit::default();
    let lines = audit.0.clone();
    let _guard = tracing::subscriber::set_default(audit);
    let stage = with_user(rights(&[], &[], &["topic:#"])).await;
    let mut old = stage.user_named("u", "me").await.expect("it is new");
    old.try_consume(ConsumerSource::Own, 10, true).await.expect("its own queue");
    let spec = SessionSpec {
        name: Some("me".into()),
        clean: true,
        ..SessionSpec::anonymous("/", Origin::default(), Identity::of_account("u"))
    };
    // The old queue goes with the old session.
    let _new = stage.open(spec).await;
    assert!(old.events().await.notices.iter().any(|notice| matches!(notice, Notice::TakenOver)));
    let lines = lines.lock().expect("alone").clone();
    assert!(!lines.iter().any(|line| line.contains("a right was refused")), "{lines:?}");
}
