//! §2, publishing: durability, QoS and order, and what the broker answers to the publisher.

use crate::contract::case::{Case, Scene, Seen, case, next, quiet, script};
use crate::contract::peer::Wire::{self, A, M3, M5, S};

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    // Durability, level, confirm.
    case("q1", M3, A, &[("qos", "0")], &[("delivery_mode", "1"), ("sender", "nothing")]),
    case("q1", M5, M5, &[("qos", "0")], &[("qos", "0"), ("sender", "nothing")]),
    case("q2", M3, A, &[("qos", "1")], &[("delivery_mode", "2"), ("sender", "puback 0x00")]),
    case("q2", M5, M3, &[("qos", "1")], &[("qos", "1"), ("sender", "puback 0x00")]),
    case("q3", M3, A, &[("qos", "2")], &[("delivery_mode", "2"), ("sender", "pubrec 0x00, pubcomp")]),
    case("q3", M5, M5, &[("qos", "2")], &[("qos", "2"), ("sender", "pubrec 0x00, pubcomp")]),
    case("q4", A, M5, &[("delivery_mode", "2")], &[("qos", "1"), ("sender", "ack")]),
    case("q4", A, M5, &[], &[("qos", "0"), ("sender", "ack")]),
    case("q4", A, M5, &[("h.x-mqtt-qos", "i64:2")], &[("qos", "2")]),
    case("q4", A, M5, &[("h.x-mqtt-qos", "i64:7"), ("delivery_mode", "2")], &[("qos", "1")]),
    case("q5", S, M5, &[("persistent", "true")], &[("qos", "1"), ("sender", "receipt")]),
    case("q5", S, A, &[], &[("delivery_mode", "1"), ("sender", "receipt")]),
    // The level that readers get.
    case("q6", M5, M5, &[("qos", "2")], &[("qos", "0")]).at("t/{n} qos=0"),
    case("q6", M5, M3, &[("qos", "2")], &[("qos", "1")]).at("t/{n} qos=1"),
    case("q6", M3, M5, &[("qos", "1")], &[("qos", "1")]).at("t/{n} qos=2"),
    case("q11", M5, M5, &[("topic", "$q/q{n}"), ("qos", "2")], &[("qos", "2")]).given(&["queue q{n} durable"]).at("$q/q{n} qos=2"),
    case("q11", M5, M3, &[("qos", "2")], &[("qos", "2")]).at("$share/g/t/{n} qos=2"),
    case("q11", M3, M5, &[("qos", "2")], &[("qos", "0")]).at("$share/g/t/{n} qos=0"),
    case("q11", M5, M5, &[("qos", "0")], &[("qos", "0")]).at("$share/g/t/{n} qos=1"),
    case("q11", M3, M3, &[("topic", "$q/q{n}"), ("qos", "0")], &[("qos", "0")]).given(&["queue q{n} durable"]).at("$q/q{n} qos=1"),
    case("q11", A, M5, &[], &[("qos", "0")]).given(&["queue q{n} durable"]).through_queue(),
    script(("q12", M5, A), "a QoS 2 delivery whose session ends", ended, &[("dead", "x"), ("reason", "rejected"), ("ready", "0")]),
    script(("q12", M3, A), "a QoS 2 delivery whose session ends", ended, &[("dead", "x"), ("reason", "rejected"), ("ready", "0")]),
    script(("q7", M5, A), "a QoS 0 message whose reader went without an acknowledgement", |scene| again(scene, "queue q{n}"),
        &[("body", "x"), ("redelivered", "true")]),
    script(("q7", M3, S), "a QoS 0 message whose reader went without an acknowledgement", |scene| again(scene, "/amq/queue/q{n}"),
        &[("body", "x"), ("redelivered", "true")]),
    script(("q8", A, M5), "a hundred messages of one publisher", |scene| in_order(scene, "t/{n}"), &[("order", "kept")]),
    script(("q8", M5, A), "a hundred messages of one publisher", |scene| in_order(scene, "amq.topic t.{n}"), &[("order", "kept")]),
    script(("q8", M3, S), "a hundred messages of one publisher", |scene| in_order(scene, "/topic/t.{n}"), &[("order", "kept")]),
    script(("q8", S, M3), "a hundred messages of one publisher", |scene| in_order(scene, "t/{n}"), &[("order", "kept")]),
    case("q9", M5, A, &[("qos", "2")], &[("h.mq.dedup-id", "…")]).planned(&[("received", "a message"), ("h.mq.dedup-id", "–")]),
    case("q9", M3, S, &[("qos", "2")], &[("mq.dedup-id", "…")]).planned(&[("received", "a message"), ("mq.dedup-id", "–")]),
    case("q10", A, A, &[("key", "none.{n}"), ("h.CC", "list:t.{n}")], &[("received", "a message")]),
    case("q10", A, A, &[("key", "none.{n}"), ("h.BCC", "list:t.{n}")], &[("received", "a message")]),
    // Stored.
    case("p1.a", A, A, &[("delivery_mode", "2")], &[("sender", "ack")]).through_queue(),
    case("p1.3", M3, A, &[], &[("sender", "puback 0x00")]).through_queue(),
    case("p1.5", M5, A, &[], &[("sender", "puback 0x00")]).through_queue(),
    case("p1.s", S, A, &[("persistent", "true")], &[("sender", "receipt")]).through_queue(),
    // No route.
    case("p2.a", A, A, &[("mandatory", "true")], &[("sender", "return 312, ack")]).at("nowhere"),
    case("p2.a", A, A, &[], &[("sender", "ack")]).at("nowhere"),
    case("p2.a", A, A, &[("exchange", ""), ("key", "missing{n}"), ("mandatory", "true")], &[("sender", "return 312, ack")]).at("nowhere"),
    case("p2.3", M3, A, &[], &[("sender", "puback 0x00")]).at("nowhere"),
    case("p2.5", M5, A, &[], &[("sender", "puback 0x10")]).at("nowhere"),
    case("p2.5", M5, A, &[("qos", "2")], &[("sender", "pubrec 0x10, pubcomp")]).at("nowhere"),
    case("p2.5", M5, A, &[("topic", "$q/missing{n}")], &[("sender", "puback 0x10")]).at("nowhere"),
    case("p2.s", S, A, &[], &[("sender", "receipt, mq-unroutable:true")]).at("nowhere"),
    // Denied.
    case("p3.a", A, A, &[("exchange", "x{n}"), ("key", "k")], &[("sender", "channel closed 403")])
        .given(&["exchange x{n} direct internal"]).at("nowhere"),
    case("p3.3", M3, A, &[("topic", "$SYS/x")], &[("sender", "puback 0x00")]).at("nowhere"),
    case("p3.5", M5, A, &[("topic", "$SYS/x")], &[("sender", "puback 0x87")]).at("nowhere"),
    case("p3.s", S, A, &[("destination", "/topic/$SYS/x")], &[("sender", "error access_refused…closed")]).at("nowhere"),
    case("p3.s", S, A, &[("destination", "/exchange/x{n}/k")], &[("sender", "error access_refused…closed")])
        .given(&["exchange x{n} direct internal"]).at("nowhere"),
    // Over a limit.
    case("p4.a", A, A, &[("exchange", ""), ("key", "full{n}")], &[("sender", "nack")]).given(FULL).at("nowhere"),
    case("p4.3", M3, A, &[("topic", "$q/full{n}")], &[("sender", "connection ended")]).given(FULL).at("nowhere"),
    case("p4.5", M5, A, &[("topic", "$q/full{n}")], &[("sender", "puback 0x97")]).given(FULL).at("nowhere"),
    case("p4.5", M5, A, &[("topic", "$q/full{n}"), ("qos", "2")], &[("sender", "pubrec 0x97")]).given(FULL).at("nowhere"),
    case("p4.3", M3, A, &[("topic", "$q/full{n}"), ("qos", "2")], &[("sender", "connection ended")]).given(FULL).at("nowhere"),
    case("p4.s", S, A, &[("destination", "/amq/queue/full{n}")], &[("sender", "error resource_limit_exceeded…closed")])
        .given(FULL).at("nowhere"),
    case("p4.s", S, A, &[("destination", "/amq/queue/full{n}"), ("mq-soft-errors", "true")],
        &[("sender", "receipt, mq-rejected:resource_limit_exceeded")]).given(FULL).at("nowhere"),
    // Refused by a route whose step fails.
    case("p5.a", A, A, &[("key", "refuses.{n}")], &[("sender", "nack")]).at("nowhere"),
    case("p5.3", M3, A, &[("topic", "refuses/{n}")], &[("sender", "puback 0x00")]).at("nowhere"),
    case("p5.5", M5, A, &[("topic", "refuses/{n}")], &[("sender", "puback 0x99")]).at("nowhere"),
    case("p5b.5", M5, A, &[("topic", "refuses/{n}")], &[("sender", "puback 0x83")]).at("nowhere")
        .planned(&[("sender", "puback 0x99")]),
    case("p5.s", S, A, &[("destination", "/topic/refuses.{n}")], &[("sender", "error bad_request…closed")]).at("nowhere"),
    case("p5.s", S, A, &[("destination", "/topic/refuses.{n}"), ("mq-soft-errors", "true")],
        &[("sender", "receipt, mq-rejected:bad_request")]).at("nowhere"),
    // Nobody can be told.
    case("p7", M3, M5, &[("topic", "$other/{n}"), ("qos", "0")], &[("received", "nothing")]).at("$other/{n}"),
    case("p8", M3, A, &[("topic", "$q/full{n}"), ("body", "x")], &[("sender", "puback 0x00"), ("body", "x")])
        .given(FULL_WITH_DEAD_LETTERS).at("queue dead{n}"),
    case("p8", M3, A, &[("topic", "$q/full{n}"), ("qos", "0"), ("body", "x")], &[("body", "x")])
        .given(FULL_WITH_DEAD_LETTERS).at("queue dead{n}"),
];

/// A queue that takes nothing, and where its dead letters go.
const FULL_WITH_DEAD_LETTERS: &[&str] = &[
    "queue dead{n} durable",
    "queue full{n} x-max-length=i64:0 x-overflow=reject-publish x-dead-letter-exchange= \
        x-dead-letter-routing-key=dead{n}",
];

/// A queue that takes nothing.
const FULL: &[&str] = &["queue full{n} x-max-length=i64:0 x-overflow=reject-publish"];

/// An MQTT client gets a message of a queue at QoS 2, and its session ends before it says that it has it.
fn ended(scene: &Scene<'_>) -> Seen {
    scene.prepare("queue dead{n} durable")?;
    scene
        .prepare("queue q{n} durable x-dead-letter-exchange= x-dead-letter-routing-key=dead{n}")?;
    let mut first = scene.reader(scene.from, "$q/q{n} qos=2")?;
    scene.publish(scene.from, &[("topic", "$q/q{n}"), ("qos", "2"), ("body", "x")])?;
    next(&mut first)?;
    drop(first);
    let dead = next(&mut scene.reader(A, "queue dead{n}")?)?;
    let (body, reason) = (dead.text("body"), dead.text("h.x-first-death-reason"));
    let reason = reason.rsplit(':').next().unwrap_or_default();
    let ready = scene.waiting("q{n}");
    Ok(scene.said(&[("dead", body), ("reason", reason), ("ready", &ready)]))
}

/// A QoS 0 message is put into a queue; its first reader leaves, the second one gets it.
fn again(scene: &Scene<'_>, at: &str) -> Seen {
    scene.prepare("queue q{n} durable")?;
    let mut first = scene.reader(scene.to, at)?;
    scene.publish(scene.from, &[("topic", "$q/q{n}"), ("qos", "0"), ("body", "x")])?;
    next(&mut first)?;
    drop(first);
    next(&mut scene.reader(scene.to, at)?)
}

fn in_order(scene: &Scene<'_>, at: &str) -> Seen {
    let mut reader = scene.reader(scene.to, at)?;
    let mut sender = scene.peer(scene.from)?;
    let (name, place) = place(scene.from);
    for number in 0..100 {
        let mut said =
            scene.said(&[(name, place), ("exchange", "amq.topic"), ("delivery_mode", "2")]);
        if scene.from == S {
            said.0.truncate(1);
            said.put("persistent", "true");
        }
        said.put("body", number.to_string());
        sender.publish(&said);
    }
    for number in 0..100 {
        let message = next(&mut reader)?;
        if message.text("body") != number.to_string() {
            return Err(format!("number {number} is {}", message.text("body")));
        }
        reader.settle(&message, "ack");
    }
    quiet(&mut reader)?;
    Ok(scene.said(&[("order", "kept")]))
}

/// The name of a protocol's address, and the topic of a case in it.
fn place(wire: Wire) -> (&'static str, &'static str) {
    match wire {
        A => ("key", "t.{n}"),
        M3 | M5 => ("topic", "t/{n}"),
        _ => ("destination", "/topic/t.{n}"),
    }
}
