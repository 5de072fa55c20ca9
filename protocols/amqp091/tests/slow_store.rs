//! A store that takes seconds: whatever a client asked for, the broker's heartbeats go on while it waits, a client that
//! sends its own stays connected although they lie unread, and the answer comes.

mod peer;

use bytes::Buf;
use crossdock_core::Settings;
use crossdock_core::memory::Faults;
use peer::methods::method_named;
use peer::stage::{Stage, connect, expect};
use peer::{Arguments, Peer, arguments};
use std::time::Duration;
use tokio::time::Instant;

/// For this long the store answers nothing. Silence is two seconds.
const STALL: Duration = Duration::from_secs(4);
/// Heartbeats that have to come in this time: one in each interval of a second.
const BEATS: usize = 4;
const HEARTBEAT: u8 = 8;

/// What is done before (each with its answer), the verb, and its answer. `waits`: the answer needs the store.
struct Verb {
    before: &'static [(&'static str, &'static str)],
    verb: &'static [&'static str],
    answer: &'static str,
    waits: bool,
}

const fn verb(
    before: &'static [(&'static str, &'static str)],
    verb: &'static [&'static str],
    answer: &'static str,
) -> Verb {
    Verb { before, verb, answer, waits: true }
}

const fn at_once(
    before: &'static [(&'static str, &'static str)],
    verb: &'static [&'static str],
    answer: &'static str,
) -> Verb {
    Verb { before, verb, answer, waits: false }
}

const QUEUE: (&str, &str) = ("queue.declare queue=q durable=true", "queue.declare-ok");
const FLEETING: (&str, &str) =
    ("queue.declare queue=f durable=true auto-delete=true", "queue.declare-ok");
const EXCHANGE: (&str, &str) =
    ("exchange.declare exchange=x type=topic durable=true", "exchange.declare-ok");
const OTHER: (&str, &str) =
    ("exchange.declare exchange=y type=topic durable=true", "exchange.declare-ok");
const BOUND: (&str, &str) = ("queue.bind queue=q exchange=x routing-key=k", "queue.bind-ok");
const CHAINED: (&str, &str) =
    ("exchange.bind destination=y source=x routing-key=k", "exchange.bind-ok");
const CONFIRM: (&str, &str) = ("confirm.select", "confirm.select-ok");
const TX: (&str, &str) = ("tx.select", "tx.select-ok");
const CONSUMER: (&str, &str) = ("basic.consume queue=f consumer-tag=c", "basic.consume-ok");
const PUBLISH: &str = "basic.publish routing-key=q mandatory=true";
const BODY: &str = "content body=x delivery-mode=2";

/// Every method of a client on an open connection that has an answer.
const VERBS: &[Verb] = &[
    verb(&[], &["exchange.declare exchange=x type=topic durable=true"], "exchange.declare-ok"),
    at_once(
        &[EXCHANGE],
        &["exchange.declare exchange=x type=topic passive=true"],
        "exchange.declare-ok",
    ),
    verb(&[EXCHANGE], &["exchange.delete exchange=x"], "exchange.delete-ok"),
    verb(
        &[EXCHANGE, OTHER],
        &["exchange.bind destination=y source=x routing-key=k"],
        "exchange.bind-ok",
    ),
    verb(
        &[EXCHANGE, OTHER, CHAINED],
        &["exchange.unbind destination=y source=x routing-key=k"],
        "exchange.unbind-ok",
    ),
    verb(&[], &["queue.declare queue=q durable=true"], "queue.declare-ok"),
    at_once(&[], &["queue.declare queue=t"], "queue.declare-ok"),
    at_once(&[QUEUE], &["queue.declare queue=q passive=true"], "queue.declare-ok"),
    verb(&[QUEUE, EXCHANGE], &["queue.bind queue=q exchange=x routing-key=k"], "queue.bind-ok"),
    verb(
        &[QUEUE, EXCHANGE, BOUND],
        &["queue.unbind queue=q exchange=x routing-key=k"],
        "queue.unbind-ok",
    ),
    verb(&[QUEUE], &[PUBLISH, BODY, "queue.purge queue=q"], "queue.purge-ok"),
    verb(&[QUEUE], &["queue.delete queue=q"], "queue.delete-ok"),
    at_once(&[], &["basic.qos prefetch-count=1"], "basic.qos-ok"),
    verb(&[FLEETING], &["basic.consume queue=f"], "basic.consume-ok"),
    verb(&[QUEUE], &[PUBLISH, BODY, "basic.consume queue=q"], "basic.consume-ok"),
    verb(&[FLEETING, CONSUMER], &["basic.cancel consumer-tag=c"], "basic.cancel-ok"),
    verb(&[QUEUE], &[PUBLISH, BODY, "basic.get queue=q"], "basic.get-ok"),
    at_once(&[QUEUE], &["basic.get queue=q"], "basic.get-empty"),
    verb(&[QUEUE, CONFIRM], &[PUBLISH, BODY], "basic.ack"),
    at_once(&[], &["basic.recover requeue=true"], "basic.recover-ok"),
    at_once(&[], &["confirm.select"], "confirm.select-ok"),
    at_once(&[], &["tx.select"], "tx.select-ok"),
    verb(&[QUEUE, TX], &[PUBLISH, BODY, "tx.commit"], "tx.commit-ok"),
    at_once(&[QUEUE, TX], &[PUBLISH, BODY, "tx.rollback"], "tx.rollback-ok"),
    at_once(&[], &["channel.flow active=true"], "channel.flow-ok"),
    at_once(&[FLEETING, CONSUMER], &["channel.close"], "channel.close-ok"),
    verb(&[QUEUE], &[PUBLISH, BODY, "connection.close"], "connection.close-ok"),
];

fn put(peer: &mut Peer, line: &str) -> Result<(), String> {
    let (name, fields) = line.split_once(' ').unwrap_or((line, ""));
    let channel = if name.starts_with("connection.") { 0 } else { 1 };
    peer.put(channel, name, &arguments(fields)?)
}

/// What is wrong about this verb.
async fn check(verb: &Verb) -> Result<(), String> {
    let stage = Stage::open(Settings::default()).await;
    let (mut peer, _served) = stage.peer();
    connect(&mut peer, &arguments("heartbeat=1")?).await?;
    for (line, answer) in [("channel.open", "channel.open-ok")].iter().chain(verb.before) {
        put(&mut peer, line)?;
        peer.flush().await?;
        expect(&mut peer, 1, answer, &Arguments::default()).await?;
    }
    stage.store.set_faults(Faults { stalled: true, ..Faults::default() });
    for line in verb.verb {
        put(&mut peer, line)?;
    }
    let early = beats(&mut peer, verb.answer).await?;
    if early == verb.waits {
        return Err(format!("answered before the store: {early}"));
    }
    stage.store.release();
    let channel = if verb.answer.starts_with("connection.") { 0 } else { 1 };
    if !early {
        expect(&mut peer, channel, verb.answer, &Arguments::default()).await?;
    }
    if channel == 0 {
        return peer.get_eof().await;
    }
    // What else it was owed, a delivery for instance, comes before.
    peer.put(2, "channel.open", &Arguments::default())?;
    peer.flush().await?;
    while peer.next().await?.name != "channel.open-ok" {}
    Ok(())
}

/// Sends heartbeats while the store stalls, and counts the broker's. True when the answer came meanwhile.
async fn beats(peer: &mut Peer, answer: &str) -> Result<bool, String> {
    let answer = method_named(answer).ok_or("no such method")?;
    let (mut beats, mut early) = (0, false);
    let until = Instant::now() + STALL;
    while Instant::now() < until {
        peer.put(0, "heartbeat", &Arguments::default())?;
        peer.flush().await?;
        let after = Instant::now() - (until - STALL);
        let failed = |error| format!("{error} after {after:?} and {beats} heartbeats");
        let mut head = peer.get_raw(7).await.map_err(failed)?;
        let (kind, _, size) = (head.get_u8(), head.get_u16(), head.get_u32());
        let mut payload = peer.get_raw(usize::try_from(size).expect("small") + 1).await?;
        match kind {
            HEARTBEAT => beats += 1,
            _ => early |= (payload.get_u16(), payload.get_u16()) == (answer.class, answer.method),
        }
    }
    match beats >= BEATS {
        true => Ok(early),
        false => Err(format!("{beats} heartbeats in {STALL:?}")),
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeats_go_on_both_ways_while_any_verb_waits() {
    let mut failures = Vec::new();
    for verb in VERBS {
        if let Err(error) = check(verb).await {
            failures.push(format!("{}: {error}", verb.verb.join(", ")));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), VERBS.len(), failures.join("\n"));
}
