//! A client that shuts down its sending side after its last frame still gets the answers to what it asked for.

mod peer;

use crossdock_core::memory::Faults;
use crossdock_core::{Error, Settings};
use peer::stage::{Stage, connect, expect};
use peer::{Arguments, Peer, arguments};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

fn put(peer: &mut Peer, line: &str) {
    let (name, fields) = line.split_once(' ').unwrap_or((line, ""));
    peer.put(1, name, &arguments(fields).expect("fields")).expect("a method");
}

async fn wait_for(peer: &mut Peer, name: &str, fields: &str) {
    expect(peer, 1, name, &arguments(fields).expect("fields")).await.expect(name);
}

async fn ask(peer: &mut Peer, line: &str, answer: &str) {
    put(peer, line);
    peer.flush().await.expect("written");
    wait_for(peer, answer, "").await;
}

/// A connection with an open channel that has confirms.
async fn connected(stage: &Stage) -> (Peer, JoinHandle<Result<(), Error>>) {
    let (mut peer, served) = stage.peer();
    connect(&mut peer, &Arguments::default()).await.expect("connected");
    ask(&mut peer, "channel.open", "channel.open-ok").await;
    ask(&mut peer, "confirm.select", "confirm.select-ok").await;
    (peer, served)
}

fn stall(stage: &Stage) {
    stage.store.set_faults(Faults { stalled: true, ..Faults::default() });
}

#[tokio::test(start_paused = true)]
async fn every_answer_comes_before_the_end() {
    let stage = Stage::open(Settings::default()).await;
    let (mut peer, served) = connected(&stage).await;
    ask(&mut peer, "queue.declare queue=q durable=true", "queue.declare-ok").await;
    stall(&stage);
    put(&mut peer, "queue.declare queue=r durable=true");
    put(&mut peer, "basic.publish routing-key=nowhere mandatory=true");
    put(&mut peer, "content body=lost delivery-mode=2");
    for _ in 0..3 {
        put(&mut peer, "basic.publish routing-key=q");
        put(&mut peer, "content body=x delivery-mode=2");
    }
    peer.flush().await.expect("written");
    peer.shut_down().await.expect("shut down");
    tokio::time::sleep(Duration::from_secs(3)).await;
    stage.store.release();
    wait_for(&mut peer, "queue.declare-ok", "queue=r").await;
    wait_for(&mut peer, "basic.return", "reply-code=312").await;
    wait_for(&mut peer, "content", "body=lost").await;
    wait_for(&mut peer, "basic.ack", "delivery-tag=4 multiple=true").await;
    peer.get_eof().await.expect("the end");
    served.await.expect("no panic").expect_err("a lost connection");
}

#[tokio::test(start_paused = true)]
async fn what_was_got_is_answered_and_comes_back() {
    let stage = Stage::open(Settings::default()).await;
    let (mut peer, _) = connected(&stage).await;
    ask(&mut peer, "queue.declare queue=q durable=true", "queue.declare-ok").await;
    stall(&stage);
    put(&mut peer, "basic.publish routing-key=q");
    put(&mut peer, "content body=x delivery-mode=2");
    put(&mut peer, "basic.get queue=q");
    peer.flush().await.expect("written");
    peer.shut_down().await.expect("shut down");
    tokio::time::sleep(Duration::from_secs(3)).await;
    stage.store.release();
    let mut names = Vec::new();
    while let Ok(got) = peer.next().await {
        names.push(got.name);
    }
    names.sort();
    assert_eq!(names, ["basic.ack", "basic.get-ok", "content"]);
    // It was not acknowledged.
    let (mut other, _) = connected(&stage).await;
    put(&mut other, "basic.get queue=q");
    other.flush().await.expect("written");
    wait_for(&mut other, "basic.get-ok", "redelivered=true").await;
}

#[tokio::test(start_paused = true)]
async fn deliveries_stop_and_the_wait_has_an_end() {
    let stage = Stage::open(Settings::default()).await;
    let (mut peer, served) = connected(&stage).await;
    ask(&mut peer, "queue.declare queue=q durable=true", "queue.declare-ok").await;
    ask(&mut peer, "queue.declare queue=t", "queue.declare-ok").await;
    ask(&mut peer, "basic.consume queue=t", "basic.consume-ok").await;
    let (mut other, _) = connected(&stage).await;
    stall(&stage);
    put(&mut peer, "basic.publish routing-key=q");
    put(&mut peer, "content body=x delivery-mode=2");
    peer.flush().await.expect("written");
    peer.shut_down().await.expect("shut down");
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // For another consumer, not for one that cannot acknowledge any more.
    put(&mut other, "basic.publish routing-key=t");
    put(&mut other, "content body=y");
    other.flush().await.expect("written");
    wait_for(&mut other, "basic.ack", "").await;
    put(&mut other, "basic.get queue=t");
    other.flush().await.expect("written");
    wait_for(&mut other, "basic.get-ok", "redelivered=false").await;
    peer.get_eof().await.expect("the end, without a delivery");
    served.await.expect("no panic").expect_err("a lost connection");
    let took = start.elapsed().as_secs();
    assert!((2..=20).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn a_confirm_that_is_ready_does_not_wait_for_one_that_is_not() {
    let stage = Stage::open(Settings::default()).await;
    let (mut peer, served) = connected(&stage).await;
    ask(&mut peer, "queue.declare queue=q durable=true", "queue.declare-ok").await;
    stall(&stage);
    put(&mut peer, "basic.publish routing-key=q");
    put(&mut peer, "content body=one delivery-mode=2");
    peer.flush().await.expect("written");
    // The first is on its way to the store when the second comes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    put(&mut peer, "basic.publish routing-key=q");
    put(&mut peer, "content body=two delivery-mode=2");
    peer.flush().await.expect("written");
    peer.shut_down().await.expect("shut down");
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.store.release_one();
    wait_for(&mut peer, "basic.ack", "delivery-tag=1").await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    peer.get_eof().await.expect("the end, after the time for answers");
    served.await.expect("no panic").expect_err("a lost connection");
}
