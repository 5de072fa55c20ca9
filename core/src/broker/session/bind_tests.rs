//! What a connection still does whose session has just ended.

use super::*;
use crate::auth::{Identity, LoopbackGuest};
use crate::broker::door::request::{SessionLife, SessionSpec};
use crate::broker::settings::{Settings, Setup};
use crate::broker::shared::Broker;
use crate::exchange::{ExchangeSpec, Kind};
use crate::log::QueueSpec;
use crate::memory::MemoryStore;
use crate::message::{Formats, Origin};
use std::time::Duration;

async fn broker() -> Broker {
    let setup = Setup {
        settings: Settings::default(),
        formats: Formats::new(Vec::new()),
        topology: vec![ExchangeSpec::new("amq.topic", Kind::Topic)],
        store: Arc::new(MemoryStore::default()),
        authenticator: Arc::new(LoopbackGuest),
        users: Vec::new(),
    };
    Broker::open(setup).await.expect("opens")
}

async fn named(broker: &Broker) -> Session {
    let spec = SessionSpec {
        name: Some("s".into()),
        life: SessionLife::Forever,
        queue: Some(QueueSpec { kept_for: Some("s".into()), ..QueueSpec::durable("s") }),
        ..SessionSpec::anonymous("/", Origin::default(), Identity::unlimited("guest"))
    };
    broker.session(spec).await.expect("opens")
}

/// The end of the session and the queue of the next one come between the first look of `make_own_queue`, which finds
/// the session there, and the topology: the lock that is held here stands for them.
#[tokio::test]
async fn a_session_that_ends_while_it_gets_its_queue_leaves_the_next_ones_alone() {
    let broker = broker().await;
    let mut old = named(&broker).await;
    let (vhost, ended) = (old.vhost.clone(), old.named.clone().expect("named"));
    let next_spec = QueueSpec { kept_for: Some("s".into()), ..QueueSpec::durable("s") };
    let id = LogId(broker.shared().identifiers.next());
    let next = Queue::new((id, &vhost.name), next_spec, None, broker.shared().now());
    let mut topology = vhost.topology.write();
    let late = std::thread::spawn(move || old.make_own_queue().map(|queue| queue.id));
    // Until it waits for the lock. Were it slower, there would be less to find.
    std::thread::sleep(Duration::from_millis(100));
    ended.with(|state| state.ended = true);
    topology.add_queue(next.clone(), &vhost.generations);
    drop(topology);
    let refused = late.join().expect("it returns").expect_err("its session has ended");
    assert_eq!(refused.kind(), ErrorKind::Closed);
    assert!(!next.is_gone(), "nothing happened to the queue of the session that came next");
    let found = vhost.topology.read().queue("s").map(|queue| queue.id);
    assert_eq!(found, Some(id));
}

/// One that nobody else made is not left behind either.
#[tokio::test]
async fn a_session_that_ends_while_it_gets_its_queue_leaves_none_behind() {
    let broker = broker().await;
    let mut old = named(&broker).await;
    let (vhost, ended) = (old.vhost.clone(), old.named.clone().expect("named"));
    let topology = vhost.topology.write();
    let late = std::thread::spawn(move || old.make_own_queue().map(|queue| queue.id));
    std::thread::sleep(Duration::from_millis(100));
    ended.with(|state| state.ended = true);
    drop(topology);
    assert!(late.join().expect("it returns").is_err());
    assert!(vhost.topology.read().queue("s").is_none());
}
