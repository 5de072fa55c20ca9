//! Timers and parked publishes: one timer for each owner, and nobody's wills or delayed messages cost others anything.

use crate::measure::{cpu_time, grows_linearly};
use crate::stage::{Client, Stage, queue, topic, until};
use crossdock_core::memory::MemoryStore;
use crossdock_core::*;
use std::time::Duration;

const LONG_MS: u64 = 100_000_000;

/// A runtime on this thread, whose time is measured.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn expiring(name: &str, ms: u64) -> QueueSpec {
    let ms = i64::try_from(ms).expect("fits");
    QueueSpec { durable: false, ..queue(name, &[("x-expires", Value::I64(ms))]) }
}

#[test]
fn a_session_that_comes_and_goes_has_one_timer() {
    let run = |n: usize| {
        runtime().block_on(async {
            let stage = Stage::new().await;
            let again = async |stage: &Stage| {
                let session = stage.named("c", false, SessionLife::For(LONG_MS)).await.session;
                session.close().await.expect("closed");
            };
            again(&stage).await;
            let kept = stage.broker.memory_kept();
            let before = cpu_time();
            for _ in 0..n {
                again(&stage).await;
            }
            let took = cpu_time().saturating_sub(before);
            assert_eq!(stage.broker.memory_kept(), kept, "nothing is left of a reconnect");
            took
        })
    };
    grows_linearly("reconnects of one session with an expiry", 500, run);
}

#[test]
fn a_queue_that_is_deleted_takes_its_timer_along() {
    let run = |n: usize| {
        runtime().block_on(async {
            let stage = Stage::new().await;
            let mut client = stage.client().await;
            let kept = stage.broker.memory_kept();
            let before = cpu_time();
            for _ in 0..n {
                client.declare(expiring("q", LONG_MS)).await;
                client.session.delete_queue("q", false, false).await.expect("deleted");
            }
            let took = cpu_time().saturating_sub(before);
            assert_eq!(stage.broker.memory_kept(), kept);
            took
        })
    };
    grows_linearly("declaring and deleting a queue with x-expires", 1_000, run);
}

#[test]
fn a_queue_that_is_used_again_and_again_has_one_timer() {
    let run = |n: usize| {
        runtime().block_on(async {
            let stage = Stage::new().await;
            let mut client = stage.client().await;
            client.declare(expiring("q", 300)).await;
            let before = cpu_time();
            let kept = stage.broker.memory_kept();
            for _ in 0..n {
                let consumer = client.consume("q", 1, true).await;
                client.session.detach(consumer, OnDetach::Return).await;
            }
            let took = cpu_time().saturating_sub(before);
            assert_eq!(stage.broker.memory_kept(), kept, "one timer");
            took
        })
    };
    grows_linearly("consuming from a queue with x-expires", 500, run);
}

#[test]
fn a_queue_that_was_often_used_costs_nothing_later() {
    let later = |n: usize| {
        runtime().block_on(async {
            let stage = Stage::new().await;
            let mut client = stage.client().await;
            client.declare(expiring("q", 60)).await;
            for _ in 0..n {
                let consumer = client.consume("q", 1, true).await;
                client.session.detach(consumer, OnDetach::Return).await;
            }
            let before = cpu_time();
            // Used now and then, it never expires, and a timer that fires too early is set again.
            for _ in 0..8 {
                assert!(!client.declare(expiring("q", 60)).await.created);
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            cpu_time().saturating_sub(before)
        })
    };
    let (once, often) = (later(1), later(2_000));
    assert!(often < once * 2 + Duration::from_millis(5), "{once:?}, {often:?}");
}

#[tokio::test]
async fn a_queue_expires_after_its_last_use_however_often_it_was_used() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client.declare(expiring("q", 60)).await;
    for _ in 0..3 {
        let consumer = client.consume("q", 1, true).await;
        tokio::time::sleep(Duration::from_millis(80)).await;
        client.session.detach(consumer, OnDetach::Return).await;
    }
    assert!(client.session.queue_status("q").is_ok(), "it was in use until now");
    until("it expires", || client.session.queue_status("q").is_err()).await;
}

async fn with_will(stage: &Stage, number: usize) -> Client {
    let name = format!("client-{number}");
    let mut client = stage.named(&name, true, SessionLife::No).await;
    let will = client.message(topic("wills"), "gone", |_| {});
    let due = ParkUntil::Disconnected { delay_ms: 0 };
    client.session.park(due, will).await.expect("parked");
    client
}

#[test]
fn clients_with_wills_can_all_be_gone_at_once() {
    let run = |n: usize| {
        runtime().block_on(async {
            let stage = Stage::new().await;
            let mut heir = stage.client().await;
            heir.declare(queue("q", &[])).await;
            heir.bind(crate::stage::TOPICS, "wills", "q").await;
            let mut clients = Vec::new();
            for number in 0..n {
                clients.push(with_will(&stage, number).await);
            }
            let before = cpu_time();
            clients.clear();
            until("all wills are there", || heir.ready("q") == n as u64).await;
            cpu_time().saturating_sub(before)
        })
    };
    grows_linearly("the end of clients with wills", 2_000, run);
}

#[test]
fn parked_publishes_are_kept_and_cost_each_other_nothing() {
    let run = |n: usize| {
        runtime().block_on(async {
            let stage = Stage::new().await;
            let mut client = stage.client().await;
            client.declare(queue("q", &[])).await;
            let (kept, waiting) = (stage.broker.memory_kept(), stage.broker.memory_used());
            let at = client.session.broker().now().plus(LONG_MS);
            let before = cpu_time();
            let mut ids = Vec::new();
            for _ in 0..n {
                let message = client.message(Address::queue("q"), "later", |_| {});
                let id = client.session.park(ParkUntil::At(at), message).await.expect("parked");
                ids.push(id);
            }
            let most = stage.broker.memory_kept();
            assert!(most >= kept + n * 300, "{} bytes each", (most - kept) / n);
            assert_eq!(stage.broker.memory_used(), waiting, "nothing of it can leave memory");
            for id in ids {
                assert!(client.session.unpark(id).await.expect("stored"));
            }
            assert_eq!(stage.broker.memory_kept(), kept);
            cpu_time().saturating_sub(before)
        })
    };
    grows_linearly("parking and withdrawing publishes", 1_000, run);
}

#[tokio::test]
async fn what_is_parked_waits_again_when_it_is_routed() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client.declare(queue("q", &[])).await;
    let (kept, waiting) = (stage.broker.memory_kept(), stage.broker.memory_used());
    let at = client.session.broker().now().plus(20);
    let message = client.message(Address::queue("q"), "later", |_| {});
    client.session.park(ParkUntil::At(at), message).await.expect("parked");
    assert!(stage.broker.memory_kept() > kept);
    until("it is routed", || client.ready("q") == 1).await;
    // The list of the queue's pages is in it.
    assert!(stage.broker.memory_kept() < kept + 260);
    assert!(stage.broker.memory_used() > waiting);
}

#[tokio::test]
async fn there_are_limits_for_parked_publishes_and_named_sessions() {
    let mut settings = Settings::default();
    settings.objects.parked = 2;
    settings.objects.sessions = 2;
    let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
    let mut clients = vec![with_will(&stage, 0).await, with_will(&stage, 1).await];
    let first = clients.first_mut().expect("there");
    let at = first.session.broker().now().plus(LONG_MS);
    let delayed = |client: &Client| client.message(Address::queue("q"), "later", |_| {});
    let message = delayed(first);
    let refused = first.session.park(ParkUntil::At(at), message).await.expect_err("no room");
    assert_eq!(refused.kind(), ErrorKind::LimitReached);
    let spec = |name: &str| SessionSpec {
        name: Some(name.into()),
        life: SessionLife::For(LONG_MS),
        ..SessionSpec::anonymous("/", Origin::default(), Identity::unlimited("guest"))
    };
    let refused = stage.broker.session(spec("client-2")).await.err().expect("no room");
    assert_eq!(refused.kind(), ErrorKind::LimitReached);
    // One that is there is resumed or taken over.
    stage.broker.session(spec("client-1")).await.expect("it is there");
    let kept = stage.broker.memory_kept();
    drop(clients);
    stage.broker.session(spec("client-2")).await.expect("there is room");
    let mut client = stage.client().await;
    until("the wills are routed", || stage.broker.memory_kept() + 500 < kept).await;
    let message = delayed(&client);
    client.session.park(ParkUntil::At(at), message).await.expect("there is room");
}
