//! Snapshots are collected in slices: nobody waits longer for more, and what changes meanwhile is not lost.

use crate::measure::cpu_time;
use crate::stage::{Client, Stage, at_level_1, bodies, queue, topic, until};
use crossdock_core::memory::MemoryStore;
use crossdock_core::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const LONG_MS: u64 = 100_000_000;
const SNAPSHOT_BYTES: usize = 8 << 20;

async fn sync(client: &mut Client) {
    client.session.sync().await.expect("stored");
}

/// n of everything that a snapshot has.
async fn fill(stage: &Stage, n: usize) -> Client {
    let mut client = stage.named("filler", false, SessionLife::For(LONG_MS)).await;
    let at = stage.broker.now().plus(LONG_MS);
    client.declare(queue("q", &[])).await;
    let lane = client.lane;
    for number in 0..n {
        let key = format!("a/{number}");
        let message = client.message(topic(&key), "value", |meta| meta.retain = true);
        client.session.publish(lane, Publish::new(message, false));
        let message = client.message(Address::queue("q"), "waits", at_level_1);
        client.session.publish(lane, Publish::new(message, false));
        client.session.memo(Memo { key: key.clone().into(), value: Some("noted".into()) });
        client.session.flush();
        if number % 10 == 0 {
            client.subscribe(&key, 1).await;
            let later = client.message(Address::queue("q"), "later", |meta| meta.durable = true);
            client.session.park(ParkUntil::At(at), later).await.expect("parked");
        }
    }
    sync(&mut client).await;
    client
}

/// The longest that a task waits for its turn while a snapshot of n things is taken.
fn longest_wait(n: usize) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let settings = Settings { snapshot_bytes: SNAPSHOT_BYTES, ..Settings::default() };
        let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
        let mut client = fill(&stage, n).await;
        let entries = stage.store.entries();
        let longest = Arc::new(AtomicU64::new(0));
        let waiting = tokio::spawn({
            let longest = longest.clone();
            async move {
                let mut last = cpu_time();
                loop {
                    tokio::task::yield_now().await;
                    let now = cpu_time();
                    let gap = now.saturating_sub(last).as_nanos();
                    longest.fetch_max(u64::try_from(gap).expect("short"), Ordering::Relaxed);
                    last = now;
                }
            }
        });
        let body = "x".repeat(256 << 10);
        client.declare(queue("other", &[])).await;
        for _ in 0..2 * SNAPSHOT_BYTES / body.len() {
            client.durable(Address::queue("other"), &body).await;
            client.session.purge("other").await.expect("purged");
            if stage.store.entries() < entries {
                break;
            }
        }
        assert!(stage.store.entries() < entries, "a snapshot was taken, and the journal trimmed");
        waiting.abort();
        Duration::from_nanos(longest.load(Ordering::Relaxed))
    })
}

#[test]
fn nobody_waits_longer_for_a_snapshot_of_more() {
    let mut tried = Vec::new();
    for _ in 0..6 {
        let (few, many) = (longest_wait(1_500), longest_wait(6_000));
        // In one go it would be four times as long.
        if many < few * 3 {
            return;
        }
        tried.push((few, many));
    }
    panic!("a snapshot of four times as much holds others up for longer: {tried:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_while_snapshots_are_taken_is_not_lost() {
    const ROUNDS: usize = 400;
    let settings = || Settings { snapshot_bytes: 2 << 10, ..Settings::default() };
    let stage = Stage::with(MemoryStore::default(), settings(), Vec::new()).await;
    let mut declaring = stage.client().await;
    let mut retaining = stage.client().await;
    let mut noting = stage.named("noting", false, SessionLife::For(LONG_MS)).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let declared = tokio::spawn(async move {
        for round in 0..ROUNDS {
            let name = format!("q{round}");
            declaring.declare(queue(&name, &[])).await;
            declaring.bind(crate::stage::TOPICS, &format!("to/{round}"), &name).await;
            declaring.durable(topic(&format!("to/{round}")), &name).await;
            // Every other one is deleted, long after it was declared.
            if round >= 100 && round % 2 == 0 {
                let old = format!("q{}", round - 100);
                declaring.session.delete_queue(&old, false, false).await.expect("deleted");
            }
        }
        sync(&mut declaring).await;
    });
    let retained = tokio::spawn({
        let is_over = is_over.clone();
        async move {
            let mut round = 0;
            while !is_over.load(Ordering::Relaxed) || round < 2 {
                round += 1;
                for number in 0..100 {
                    let body = if number % 3 == 0 { String::new() } else { round.to_string() };
                    retaining.put(topic(&format!("r/{number:02}")), &body, |meta| {
                        meta.retain = true;
                    });
                    retaining.session.flush();
                    tokio::task::yield_now().await;
                }
                retaining.events().await;
            }
            sync(&mut retaining).await;
            round
        }
    });
    for round in 0..ROUNDS {
        let key = format!("m/{}", round % 50).into();
        noting.session.memo(Memo { key, value: Some(round.to_string().into()) });
        noting.subscribe(&format!("s/{round}"), 1).await;
    }
    sync(&mut noting).await;
    declared.await.expect("declared");
    is_over.store(true, Ordering::Relaxed);
    let rounds = retained.await.expect("retained");
    let memos = noting.session.memos();
    let store = stage.store.clone();
    until("a snapshot is taken", || (store.entries() as u64) < store.appends()).await;
    let store = stage.store.crashed();
    let again = Stage::with(store, settings(), Vec::new()).await;
    let mut client = again.client().await;
    for round in 0..ROUNDS {
        let name = format!("q{round}");
        let is_deleted = round % 2 == 0 && round < ROUNDS - 100;
        assert_eq!(client.session.queue_status(&name).is_err(), is_deleted, "{name}");
        if !is_deleted {
            assert_eq!(client.ready(&name), 1, "{name}");
        }
    }
    assert!(matches!(client.durable(topic("to/399"), "more").await, ConfirmOutcome::Stored));
    assert_eq!(client.ready("q399"), 2);
    let mut reader = again.named("noting", false, SessionLife::For(LONG_MS)).await;
    assert_eq!(reader.session.memos(), memos);
    assert_eq!(reader.session.own_bindings().len(), ROUNDS);
    let mut bind = Bind::new(crate::stage::TOPICS, "r/+".into(), BindTarget::Own);
    bind.replay = Replay::Always;
    reader.session.bind(bind).await.expect("bound");
    let values = reader.take(66).await;
    assert!(bodies(&values).iter().all(|body| *body == rounds.to_string()));
    reader.nothing().await;
}
