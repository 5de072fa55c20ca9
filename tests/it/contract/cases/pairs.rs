//! §3 and §5 once more, from each protocol to each: one value of each field, and one reply to each request.

use crate::contract::case::{Case, Pairs, Scene, Seen, case, next, script};
use crate::contract::peer::Peer;
use crate::contract::peer::Wire::{self, A, M3, M5, S};
use crate::contract::said::Said;
use std::time::Duration;

/// A field in the places of AMQP, MQTT 5 and STOMP: what is sent there, and seen there, whoever the other one is.
const fn three(cells: [&'static str; 9], places: [Pairs; 3]) -> [Case; 9] {
    let wires = [A, M5, S];
    let mut cases = [case("", A, A, &[], &[]); 9];
    let mut at = 0;
    while at < 9 {
        let (from, to) = (at / 3, at % 3);
        cases[at] = case(cells[at], wires[from], wires[to], places[from], places[to]);
        at += 1;
    }
    cases
}

/// The same with MQTT 3.1.1, between MQTT 5 and STOMP.
const fn four(cells: [&'static str; 16], places: [Pairs; 4]) -> [Case; 16] {
    let wires = [A, M3, M5, S];
    let mut cases = [case("", A, A, &[], &[]); 16];
    let mut at = 0;
    while at < 16 {
        let (from, to) = (at / 4, at % 4);
        cases[at] = case(cells[at], wires[from], wires[to], places[from], places[to]);
        at += 1;
    }
    cases
}

/// The cells of a row, for each ordered pair of its columns.
macro_rules! row {
    (3, $row:literal) => {
        row!(@ $row, "a" "5" "s", "a" "5" "s")
    };
    (4, $row:literal) => {
        row!(@ $row, "a" "3" "5" "s", "a" "3" "5" "s")
    };
    (@ $row:literal, $($from:literal)*, $a:literal $b:literal $c:literal) => {
        [$(
            concat!($row, ".", $from, " ", $row, ".", $a),
            concat!($row, ".", $from, " ", $row, ".", $b),
            concat!($row, ".", $from, " ", $row, ".", $c),
        )*]
    };
    (@ $row:literal, $($from:literal)*, $a:literal $b:literal $c:literal $d:literal) => {
        [$(
            concat!($row, ".", $from, " ", $row, ".", $a),
            concat!($row, ".", $from, " ", $row, ".", $b),
            concat!($row, ".", $from, " ", $row, ".", $c),
            concat!($row, ".", $from, " ", $row, ".", $d),
        )*]
    };
}

#[rustfmt::skip]
const THREE: &[[Case; 9]] = &[
    three(row!(3, "f3"), [&[("content_type", "a/b")], &[("content_type", "a/b")], &[("content-type", "a/b")]]),
    three(row!(3, "f4"), [&[("content_encoding", "gzip")], &[("u.mq.content-encoding", "gzip")], &[("content-encoding", "gzip")]]),
    three(row!(3, "f5"), [&[("h.j", "é"), ("h.k", "")], &[("u.j", "é"), ("u.k", "")], &[("j", "é"), ("k", "")]]),
    three(row!(3, "f6"), [&[("message_id", "m")], &[("u.mq.message-id", "m")], &[("amqp-message-id", "m")]]),
    three(row!(3, "f7"), [&[("correlation_id", "c")], &[("correlation", "c")], &[("correlation-id", "c")]]),
    three(row!(3, "f10"), [&[("priority", "7")], &[("u.mq.priority", "7")], &[("priority", "7")]]),
    three(row!(3, "f14"), [&[("timestamp", "1700000000")], &[("u.mq.timestamp", "1700000000000")],
        &[("timestamp", "1700000000000")]]),
    three(row!(3, "f16"), [&[("app_id", "app")], &[("u.mq.app-id", "app")], &[("app-id", "app")]]),
    three(row!(3, "f17"), [&[("type", "order")], &[("u.mq.type", "order")], &[("type", "order")]]),
    three(row!(3, "f23"), [&[("h.tracestate", "a=b")], &[("u.tracestate", "a=b")], &[("tracestate", "a=b")]]),
];

#[rustfmt::skip]
const FOUR: &[[Case; 16]] = &[
    four(row!(4, "f1"), [&[("body", "hex:000dff")], &[("body", "hex:000dff")], &[("body", "hex:000dff")], &[("body", "hex:000dff")]]),
    four(row!(4, "f9"), [&[("delivery_mode", "2")], &[("qos", "1")], &[("qos", "1")], &[("persistent", "true")]]),
    four(row!(4, "f20"), [&[("key", "t.{n}")], &[("topic", "t/{n}")], &[("topic", "t/{n}")], &[("destination", "/topic/t.{n}")]]),
];

/// The correlation comes back with the reply.
const ANSWERED: Pairs = &[("body", "!"), ("correlation", "c-1")];

#[rustfmt::skip]
const REPLIES: &[Case] = &[
    script(("y1.a", A, A), "a request from a queue, and its reply", |s| answered(s, "r.{n}", "queue r.{n}"), ANSWERED),
    script(("y1.5", A, M5), "a request from a queue, and its reply", |s| answered(s, "r.{n}", "queue r.{n}"), ANSWERED),
    script(("y1.s", A, S), "a request from a queue, and its reply", |s| answered(s, "r.{n}", "queue r.{n}"), ANSWERED),
    script(("y1.5", A, M5), "a queue with a hostile name", |s| answered(s, "/r+#%2F{n}", "queue /r+#%2F{n}"), ANSWERED),
    script(("y1.s", A, S), "a queue with a hostile name", |s| answered(s, "/r+#%2F{n}", "queue /r+#%2F{n}"), ANSWERED),
    script(("y2.a", A, A), "a request from a channel, and its reply", |s| answered(s, "amq.rabbitmq.reply-to", "answers"), ANSWERED),
    script(("y2.5", A, M5), "a request from a channel, and its reply", |s| answered(s, "amq.rabbitmq.reply-to", "answers"), ANSWERED),
    script(("y2.s", A, S), "a request from a channel, and its reply", |s| answered(s, "amq.rabbitmq.reply-to", "answers"), ANSWERED),
    script(("y3.a", M5, A), "a request from a topic, and its reply", |s| answered(s, "r/{n}", "r/{n}"), ANSWERED),
    script(("y3.5", M5, M5), "a request from a topic, and its reply", |s| answered(s, "r/{n}", "r/{n}"), ANSWERED),
    script(("y3.s", M5, S), "a request from a topic, and its reply", |s| answered(s, "r/{n}", "r/{n}"), ANSWERED),
    script(("y3.a", M5, A), "a topic with hostile words", |s| answered(s, "/r.*//{n}", "/r.*//{n}"), ANSWERED),
    script(("y3.s", M5, S), "a topic with hostile words", |s| answered(s, "/r.*//{n}", "/r.*//{n}"), ANSWERED),
    script(("y4.a", S, A), "a request from a queue, and its reply", |s| answered(s, "/queue/r{n}", "/queue/r{n}"), ANSWERED),
    script(("y4.5", S, M5), "a request from a queue, and its reply", |s| answered(s, "/queue/r{n}", "/queue/r{n}"), ANSWERED),
    script(("y4.s", S, S), "a request from a queue, and its reply", |s| answered(s, "/queue/r{n}", "/queue/r{n}"), ANSWERED),
    script(("y5.a", S, A), "a request from a topic, and its reply", |s| answered(s, "/topic/r.{n}", "/topic/r.{n}"), ANSWERED),
    script(("y5.5", S, M5), "a request from a topic, and its reply", |s| answered(s, "/topic/r.{n}", "/topic/r.{n}"), ANSWERED),
    script(("y5.s", S, S), "a request from a topic, and its reply", |s| answered(s, "/topic/r.{n}", "/topic/r.{n}"), ANSWERED),
    script(("y6.a", S, A), "a request from a temporary queue", |s| answered(s, "/temp-queue/r", "/temp-queue/r"), ANSWERED),
    script(("y6.5", S, M5), "a request from a temporary queue", |s| answered(s, "/temp-queue/r", "/temp-queue/r"), ANSWERED),
    script(("y6.s", S, S), "a request from a temporary queue", |s| answered(s, "/temp-queue/r", "/temp-queue/r"), ANSWERED),
    script(("y14b.a", S, A), "a request whose reply goes to an exchange", at_exchange, &[("answered", "true")])
        .planned(&[("answered", "false")]),
    script(("y14b.5", S, M5), "a request whose reply goes to an exchange", at_exchange, &[("answered", "true")])
        .planned(&[("answered", "false")]),
    script(("y14.s", S, S), "a request whose reply goes to an exchange", at_exchange, &[("answered", "true")]),
];

pub fn cases() -> Vec<Case> {
    [&THREE.concat()[..], &FOUR.concat()[..], REPLIES].concat()
}

/// The names of a protocol: where it publishes to, where replies are wanted, and the correlation.
fn names(wire: Wire) -> [&'static str; 3] {
    match wire {
        A => ["key", "reply_to", "correlation_id"],
        M3 | M5 => ["topic", "response_topic", "correlation"],
        _ => ["destination", "reply-to", "correlation-id"],
    }
}

/// A request that wants its reply at `reply_to`, which the requester reads at `at`; the responder publishes the reply
/// to the address that its own protocol showed it.
fn reply(scene: &Scene<'_>, reply_to: &str, at: &str) -> Result<Peer, String> {
    if let Some(queue) = at.strip_prefix("queue ") {
        scene.prepare(&format!("queue {queue}"))?;
    }
    let (ask, topic) = (names(scene.from), |wire| match wire {
        A => "t.{n}",
        M3 | M5 => "t/{n}",
        _ => "/topic/t.{n}",
    });
    let mut responder = scene.reader(
        scene.to,
        match scene.to {
            A => "amq.topic t.{n}",
            wire => topic(wire),
        },
    )?;
    let mut requester = scene.reader(scene.from, at)?;
    let mut request =
        scene.said(&[(ask[0], topic(scene.from)), (ask[1], reply_to), (ask[2], "c-1")]);
    if scene.from == A {
        request.put("exchange", "amq.topic");
    }
    requester.publish(&request);
    let asked = next(&mut responder)?;
    let [place, reply_to, correlation] = names(scene.to);
    let mut reply = Said::default();
    reply.put(place, asked.text(reply_to));
    reply.put(correlation, asked.text(correlation));
    reply.put("body", "!");
    responder.publish(&reply);
    Ok(requester)
}

/// The reply as the requester sees it.
fn answered(scene: &Scene<'_>, reply_to: &str, at: &str) -> Seen {
    let mut answer = next(&mut reply(scene, reply_to, at)?)?;
    let correlation = answer.text(names(scene.from)[2]).to_owned();
    answer.put("correlation", correlation);
    Ok(answer)
}

/// Whether a reply comes that was wanted at an exchange.
fn at_exchange(scene: &Scene<'_>) -> Seen {
    scene.prepare("exchange x{n} topic")?;
    let mut requester = reply(scene, "/exchange/x{n}/k", "/exchange/x{n}/k")?;
    let answered = requester.receive(Duration::from_secs(2))?.is_some();
    Ok(scene.said(&[("answered", &answered.to_string())]))
}
