//! One turn does so much, whatever was read; the rest follows, in order.

use crate::stage::{Client, Stage, queue, until};
use crossdock_core::memory::MemoryStore;
use crossdock_core::*;
use std::time::Duration;

/// What one turn does at most, about.
const WORK: u64 = 4_096;

async fn fanout(client: &mut Client, name: &str, queues: usize) {
    let spec = ExchangeSpec { durable: false, ..ExchangeSpec::new(name, Kind::Fanout) };
    client.session.declare_exchange(spec).await.expect("declared");
    for n in 0..queues {
        let target = format!("{name}-{n}");
        client.declare(QueueSpec { durable: false, ..queue(&target, &[]) }).await;
        client.bind(name, "", &target).await;
    }
}

fn ready(client: &Client, name: &str, queues: usize) -> u64 {
    (0..queues).map(|n| client.ready(&format!("{name}-{n}"))).sum()
}

async fn bodies(client: &mut Client, from: &str) -> Vec<String> {
    let mut all = Vec::new();
    while let Some((delivery, _)) =
        client.session.get(client.lane, from, false).await.expect("there")
    {
        all.push(String::from_utf8_lossy(delivery.message.body()).into_owned());
    }
    all
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn publishes_to_many_queues_take_several_turns() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    fanout(&mut client, "all", 300).await;
    let mut last = 0;
    for n in 0..100 {
        last = client.put(Address::new("all".into(), "".into()), &n.to_string(), |_| {});
    }
    client.session.flush();
    let first = ready(&client, "all", 300);
    assert!(first > WORK / 2 && first < WORK + 600, "{first}");
    assert!(client.session.has_more());
    // Each take of events is followed by a flush.
    assert!(matches!(client.confirmed(last).await, ConfirmOutcome::Stored));
    assert!(!client.session.has_more());
    assert_eq!(ready(&client, "all", 300), 100 * 300);
    assert_eq!(bodies(&mut client, "all-7").await, numbers(100));
    // A verb comes behind all that was published before.
    for n in 0..100 {
        client.put(Address::new("all".into(), "".into()), &n.to_string(), |_| {});
    }
    client.session.flush();
    client.session.purge("all-7").await.expect("there");
    assert_eq!((ready(&client, "all", 300), client.ready("all-7")), (100 * 598, 0));
}

#[tokio::test]
async fn what_a_lost_connection_published_takes_several_turns() {
    let stage = Stage::new().await;
    let (mut client, mut lost) = (stage.client().await, stage.client().await);
    fanout(&mut client, "all", 300).await;
    for n in 0..100 {
        lost.put(Address::new("all".into(), "".into()), &n.to_string(), |_| {});
    }
    drop(lost);
    let first = ready(&client, "all", 300);
    assert!(first < WORK + 600, "{first}");
    until("the rest follows", || ready(&client, "all", 300) == 100 * 300).await;
    assert_eq!(bodies(&mut client, "all-7").await, numbers(100));
}

#[tokio::test]
async fn dead_letters_for_many_queues_take_several_turns() {
    let settings = Settings { session_share: 64 << 20, ..Settings::default() };
    let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
    let mut client = stage.client().await;
    fanout(&mut client, "dead", 200).await;
    let arguments =
        [("x-max-length", Value::I64(1)), ("x-dead-letter-exchange", Value::text("dead"))];
    client.declare(queue("short", &arguments)).await;
    for n in 0..500 {
        client.put(Address::queue("short"), &n.to_string(), |_| {});
    }
    client.session.flush();
    let first = ready(&client, "dead", 200);
    assert!(first < WORK + 400, "{first}");
    until("the rest follows", || ready(&client, "dead", 200) == 499 * 200).await;
    assert_eq!(bodies(&mut client, "dead-3").await, numbers(499));
}

#[tokio::test]
async fn rejected_records_are_stored_when_the_session_says_so() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    let spec = ExchangeSpec::new("dead", Kind::Fanout);
    client.session.declare_exchange(spec).await.expect("declared");
    for n in 0..50 {
        client.declare(queue(&format!("dead-{n}"), &[])).await;
        client.bind("dead", "", &format!("dead-{n}")).await;
    }
    client.declare(queue("work", &[("x-dead-letter-exchange", Value::text("dead"))])).await;
    for n in 0..300 {
        client.put(Address::queue("work"), &n.to_string(), |meta| meta.durable = true);
    }
    client.session.sync().await.expect("stored");
    client.consume("work", 1_000, true).await;
    let got = client.take(300).await;
    client.settle(&got, Outcome::Rejected { reason: None });
    client.session.sync().await.expect("stored");
    let stage = stage.crash().await;
    let mut client = stage.client().await;
    assert_eq!((client.ready("work"), ready(&client, "dead", 50)), (0, 300 * 50));
    assert_eq!(bodies(&mut client, "dead-49").await, numbers(300));
}

#[tokio::test]
async fn a_commit_that_leads_to_too_much_is_refused_whole() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    fanout(&mut client, "all", 300).await;
    client.session.begin(client.lane);
    for n in 0..400 {
        client.put(Address::new("all".into(), "".into()), &n.to_string(), |_| {});
    }
    let refused = client.session.commit(client.lane).await.expect_err("120,000 records");
    assert_eq!((refused.kind(), ready(&client, "all", 300)), (ErrorKind::LimitReached, 0));
    client.session.begin(client.lane);
    for n in 0..300 {
        client.put(Address::new("all".into(), "".into()), &n.to_string(), |_| {});
    }
    client.session.commit(client.lane).await.expect("90,000 records");
    assert_eq!(ready(&client, "all", 300), 90_000);
    tokio::time::sleep(Duration::from_millis(1)).await;
}
