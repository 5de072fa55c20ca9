//! Direct reply-to between connections: a requester's channel gets the answers, and nobody else does.

mod peer;

use crossdock_core::{Settings, Value};
use peer::stage::{Stage, connect, expect};
use peer::{Arguments, Peer, arguments};
use std::time::Duration;

fn put(peer: &mut Peer, channel: u16, line: &str) {
    let (name, fields) = line.split_once(' ').unwrap_or((line, ""));
    peer.put(channel, name, &arguments(fields).expect("fields")).expect("a method");
}

async fn wait_for(peer: &mut Peer, channel: u16, line: &str) {
    let (name, fields) = line.split_once(' ').unwrap_or((line, ""));
    let came = expect(peer, channel, name, &arguments(fields).expect("fields")).await;
    came.unwrap_or_else(|why| panic!("{line}: {why}"));
}

async fn ask(peer: &mut Peer, channel: u16, line: &str, answer: &str) {
    put(peer, channel, line);
    peer.flush().await.expect("written");
    wait_for(peer, channel, answer).await;
}

async fn connected(stage: &Stage, channels: u16) -> Peer {
    let mut peer = stage.peer().0;
    connect(&mut peer, &Arguments::default()).await.expect("connected");
    for channel in 1..=channels {
        ask(&mut peer, channel, "channel.open", "channel.open-ok").await;
    }
    peer
}

/// The pseudo-queue is consumed on the channel, and a request of it names its address.
async fn requesting(peer: &mut Peer, channel: u16, tag: &str) -> String {
    let line = format!("basic.consume queue=amq.rabbitmq.reply-to no-ack=true consumer-tag={tag}");
    ask(peer, channel, &line, "basic.consume-ok").await;
    request(peer, channel).await
}

async fn request(peer: &mut Peer, channel: u16) -> String {
    ask(peer, channel, "queue.declare queue=rpc", "queue.declare-ok").await;
    put(peer, channel, "basic.publish routing-key=rpc");
    put(peer, channel, "content body=request reply-to=amq.rabbitmq.reply-to correlation-id=c");
    ask(peer, channel, "basic.get queue=rpc no-ack=true", "basic.get-ok").await;
    let got = peer.next().await.expect("a content");
    match got.arguments.get("reply-to") {
        Some(Value::Text(name)) => name.to_string(),
        other => panic!("no address: {other:?}"),
    }
}

fn answer(peer: &mut Peer, to: &str, body: &str) {
    put(peer, 1, &format!("basic.publish routing-key={to} mandatory=true"));
    put(peer, 1, &format!("content body={body} correlation-id=c delivery-mode=2"));
}

async fn is_answered(
    peer: &mut Peer,
    channel: u16,
    (tag, number): (&str, u64),
    to: &str,
    body: &str,
) {
    let head = format!(
        "basic.deliver consumer-tag={tag} delivery-tag={number} redelivered=false exchange= routing-key={to}"
    );
    wait_for(peer, channel, &head).await;
    wait_for(peer, channel, &format!("content body={body} correlation-id=c")).await;
}

async fn is_gone(peer: &mut Peer, to: &str) {
    answer(peer, to, "late");
    peer.flush().await.expect("written");
    wait_for(peer, 1, &format!("basic.return reply-code=312 exchange= routing-key={to}")).await;
    wait_for(peer, 1, "content body=late").await;
}

#[tokio::test]
async fn each_channel_gets_its_own_answers() {
    let stage = Stage::open(Settings::default()).await;
    let mut requester = connected(&stage, 2).await;
    let mut responder = connected(&stage, 1).await;
    let one = requesting(&mut requester, 1, "one").await;
    let two = requesting(&mut requester, 2, "two").await;
    assert!(one != two && one.starts_with("amq.rabbitmq.reply-to."));
    let declared = format!("queue.declare-ok queue={one} message-count=0 consumer-count=1");
    ask(&mut responder, 1, &format!("queue.declare passive=true queue={one}"), &declared).await;
    // Whoever may publish with the default exchange reaches it, copies included.
    answer(&mut responder, &one, "first");
    answer(&mut responder, &two, "second");
    put(&mut responder, 1, "basic.publish routing-key=nowhere");
    put(&mut responder, 1, &format!("content body=copy headers={{CC=[{one}]}}"));
    responder.flush().await.expect("written");
    is_answered(&mut requester, 1, ("one", 2), &one, "first").await;
    is_answered(&mut requester, 2, ("two", 2), &two, "second").await;
    wait_for(
        &mut requester,
        1,
        "basic.deliver consumer-tag=one delivery-tag=3 routing-key=nowhere",
    )
    .await;
    wait_for(&mut requester, 1, "content body=copy").await;

    // A consumer that is cancelled gets nothing; the next one of the channel has another address.
    ask(&mut requester, 1, "basic.cancel consumer-tag=one", "basic.cancel-ok").await;
    is_gone(&mut responder, &one).await;
    let three = requesting(&mut requester, 1, "one").await;
    assert!(three != one);
    is_gone(&mut responder, &one).await;
    // A request of the same channel has the same address, and the answer of its own connection arrives.
    assert_eq!(request(&mut requester, 1).await, three);
    answer(&mut requester, &three, "own");
    requester.flush().await.expect("written");
    is_answered(&mut requester, 1, ("one", 6), &three, "own").await;

    ask(&mut requester, 2, "channel.close", "channel.close-ok").await;
    is_gone(&mut responder, &two).await;
    drop(requester);
    tokio::time::sleep(Duration::from_millis(50)).await;
    is_gone(&mut responder, &three).await;
    let there = format!("queue.declare passive=true queue={three}");
    ask(&mut responder, 1, &there, "channel.close reply-code=404").await;
}

#[tokio::test]
async fn an_answer_is_confirmed_and_may_be_part_of_a_transaction() {
    let stage = Stage::open(Settings::default()).await;
    let mut requester = connected(&stage, 1).await;
    let mut responder = connected(&stage, 1).await;
    let to = requesting(&mut requester, 1, "a").await;
    ask(&mut responder, 1, "tx.select", "tx.select-ok").await;
    answer(&mut responder, &to, "never");
    ask(&mut responder, 1, "tx.rollback", "tx.rollback-ok").await;
    answer(&mut responder, &to, "later");
    responder.flush().await.expect("written");
    requester.get_nothing(Duration::from_millis(50)).await.expect("not before the commit");
    ask(&mut responder, 1, "tx.commit", "tx.commit-ok").await;
    is_answered(&mut requester, 1, ("a", 2), &to, "later").await;
    let mut responder = connected(&stage, 1).await;
    ask(&mut responder, 1, "confirm.select", "confirm.select-ok").await;
    answer(&mut responder, &to, "confirmed");
    responder.flush().await.expect("written");
    wait_for(&mut responder, 1, "basic.ack delivery-tag=1").await;
    is_answered(&mut requester, 1, ("a", 3), &to, "confirmed").await;
}

/// Whoever sends nothing more gets nothing more.
#[tokio::test]
async fn a_requester_that_shut_down_its_sending_side_gets_no_answers() {
    let stage = Stage::open(Settings::default()).await;
    let mut requester = connected(&stage, 1).await;
    let mut responder = connected(&stage, 1).await;
    let to = requesting(&mut requester, 1, "a").await;
    requester.shut_down().await.expect("shut down");
    requester.get_eof().await.expect("the end");
    is_gone(&mut responder, &to).await;
}
