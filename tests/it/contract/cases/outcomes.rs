//! §2, what a consumer's answer does to a message.

use crate::contract::case::{Case, Scene, Seen, next, quiet, script};
use crate::contract::peer::Peer;
use crate::contract::peer::Wire::{self, A, M3, M5, S, S11};
use crate::contract::said::Said;
use crate::wire::eventually;
use std::time::Duration;

/// Nothing is left of it.
const DONE: &[(&str, &str)] = &[("again", "false"), ("dead", "0")];
/// It is delivered once more, with one attempt counted.
const FAILED: &[(&str, &str)] = &[("again", "true"), ("count", "1"), ("dead", "0")];
const LEFT: &[(&str, &str)] = &[("again", "true"), ("count", "none"), ("dead", "0")];
const DEAD: &[(&str, &str)] = &[("dead", "rejected"), ("left", "0")];

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    // Accepted.
    script(("o1.a", A, A), "basic.ack", |s| done(s, "ack", "queue q{n}"), DONE),
    script(("o1.a", A, A), "basic.ack multiple", |s| cumulative(s, "queue q{n}", "ack multiple"), &[("left", "1")]),
    script(("o1.3", A, M3), "PUBACK", |s| done(s, "ack", "$q/q{n}"), DONE),
    script(("o1.3", A, M3), "QoS 0, written", |s| done(s, "", "$q/q{n} qos=0"), DONE),
    script(("o1.3", A, M3), "PUBCOMP", completed, &[("qos", "2"), ("later", "nothing")]),
    script(("o1.5", A, M5), "PUBACK", |s| done(s, "ack", "$q/q{n}"), DONE),
    script(("o1.5", A, M5), "PUBACK 0x10", |s| done(s, "reason 0x10 fine", "$q/q{n}"), DONE),
    script(("o1.5", A, M5), "QoS 0, written", |s| done(s, "", "$q/q{n} qos=0"), DONE),
    script(("o1.5", A, M5), "PUBCOMP", completed, &[("qos", "2"), ("later", "nothing")]),
    script(("o1.s", A, S), "ACK of client-individual", |s| done(s, "ack", "/amq/queue/q{n}"), DONE),
    script(("o1.s", A, S11), "ACK of client-individual", |s| done(s, "ack", "/amq/queue/q{n}"), DONE),
    script(("o1.s", A, S), "auto, written", |s| done(s, "", "/amq/queue/q{n} ack:auto"), DONE),
    script(("o1.s", A, S), "ACK of client is cumulative", |s| cumulative(s, "/amq/queue/q{n} ack:client", "ack"), &[("left", "1")]),
    // Released: it was not written yet.
    script(("o2.a", A, A), "a second message that waits for credit", |s| unwritten(s, "queue q{n} prefetch=1"),
        &[("second", "false"), ("count", "–")]),
    script(("o2.5", A, M5), "a second message that waits for credit", unwritten_mqtt, &[("bodies", "1 2"), ("second", "false")]),
    script(("o2.s", A, S), "a second message that waits for credit", |s| unwritten(s, "/amq/queue/q{n} prefetch-count:1"),
        &[("second", "false"), ("count", "–")]),
    // Failed.
    script(("o3.a", A, A), "basic.reject requeue", |s| returned(s, "reject requeue"), FAILED),
    script(("o3d.a", A, A), "basic.nack requeue", |s| returned(s, "nack requeue"), FAILED),
    script(("o3d.a", A, A), "basic.nack requeue, where no limit was asked for", |s| given_back(s, "nack requeue"), LEFT),
    script(("o3.a", A, A), "the connection is lost", |s| returned(s, "lost"), FAILED),
    script(("o3e.a", A, A), "the channel is closed", |s| returned(s, "closed"), LEFT),
    script(("o3.a", A, A), "more often than x-delivery-limit", |s| died(s, "reject requeue", 3), &[("dead", "delivery_limit")]),
    script(("o3.3", A, M3), "the session is lost with the packet written", same_session, &[("again", "true"), ("body", "x")]),
    script(("o3.3", A, M3), "a consumer of a queue is lost", |s| returned(s, "lost"), FAILED),
    script(("o3.5", A, M5), "the session is lost with the packet written", same_session, &[("again", "true"), ("body", "x")]),
    script(("o3.5", A, M5), "a consumer of a queue is lost", |s| returned(s, "lost"), FAILED),
    script(("o3d.s", A, S), "NACK requeue:true", |s| returned(s, "nack requeue:true"), FAILED),
    script(("o3d.s", A, S), "NACK requeue:true, where no limit was asked for", |s| given_back(s, "nack requeue:true"), LEFT),
    script(("o3e.s", A, S), "DISCONNECT", |s| returned(s, "closed"), LEFT),
    script(("o3.s", A, S), "the connection is lost", |s| returned(s, "lost"), FAILED),
    script(("o3d.s", A, S), "more often than x-delivery-limit", |s| died(s, "nack requeue:true", 3), &[("dead", "delivery_limit")]),
    script(("o3b", A, A), "a message that failed comes later", backoff, &[("body", "2")])
        .planned(&[("body", "1")]),
    script(("o3c.a", A, A), "x-consumer-timeout of a second", |s| consumer_timeout(s, "queue q{n}"),
        &[("ended", "channel closed 406"), ("again", "true"), ("count", "none")]),
    script(("o3c.s", A, S), "x-consumer-timeout of a second", |s| consumer_timeout(s, "/amq/queue/q{n}"),
        &[("ended", "error connection_closed, closed"), ("again", "true"), ("count", "none")]),
    // Rejected.
    script(("o4.a", A, A), "basic.reject", |s| died(s, "reject", 1), DEAD),
    script(("o4.a", A, A), "basic.nack", |s| died(s, "nack", 1), DEAD),
    script(("o4.5", A, M5), "PUBACK 0x83", |s| died(s, "reason 0x83 not mine", 1), DEAD),
    script(("o4b.5", A, M5), "PUBACK 0x83 with a text", |s| died(s, "reason 0x83 not mine", 1), &[("deaths", "…not mine…")])
        .planned(&[("dead", "rejected"), ("deaths", "[{count=i64:1, reason=rejected, queue=q{n}, time=ts:…, exchange=, routing-keys=[q{n}]}]")]),
    script(("o4.s", A, S), "NACK requeue:false", |s| died(s, "nack requeue:false", 1), DEAD),
    script(("o5.s", A, S), "NACK without requeue", |s| returned(s, "nack"), FAILED),
    // How the next reader sees it.
    script(("o6.a", A, A), "redelivered", |s| twice(s, "queue q{n}"), &[("redelivered", "true"), ("h.x-delivery-count", "i64:1")]),
    script(("o6.3", A, M3), "redelivered in the same session", same_session, &[("dup", "true")]),
    script(("o6.3", A, M3), "redelivered to a consumer of the queue", |s| twice(s, "$q/q{n}"), &[("dup", "false")]),
    script(("o6.5", A, M5), "redelivered in the same session", same_session, &[("dup", "true")]),
    script(("o6.5", A, M5), "redelivered to a consumer of the queue", |s| twice(s, "$q/q{n}"), &[("dup", "false")]),
    script(("o6.s", A, S), "redelivered", |s| twice(s, "/amq/queue/q{n}"), &[("redelivered", "true"), ("mq.delivery-count", "1")]),
    // Message groups.
    script(("o7", A, S), "a group of three protocols has one consumer", grouped, &[("first", "a s m"), ("second", "a s m")]),
    script(("f21.a f21.s", S, A), "the first delivery is not marked", |s| once(s, "queue q{n}"),
        &[("redelivered", "false"), ("h.x-delivery-count", "–")]),
    script(("f21.a f21.s", A, S), "the first delivery is not marked", |s| once(s, "/amq/queue/q{n}"),
        &[("redelivered", "false"), ("mq.delivery-count", "–")]),
    script(("f21.a f21.s", S, A), "the second delivery is counted", |s| twice(s, "queue q{n}"), &[("h.x-delivery-count", "i64:1")]),
    script(("f21.3 f21.5", M5, M3), "the second delivery is marked", same_session, &[("dup", "true")]),
    script(("f21.3 f21.5", M3, M5), "the second delivery is marked", same_session, &[("dup", "true")]),
    // The history of what was rejected.
    script(("f22.a f22.s", S, A), "a rejected message", |s| buried(s, "queue dead{n}"), &[("h.x-death", DEATH),
        ("h.x-first-death-queue", "q{n}"), ("h.x-first-death-reason", "rejected"), ("h.x-last-death-exchange", "")]),
    script(("f22.5 f22.a", A, M5), "a rejected message", |s| buried(s, "$q/dead{n}"), &[("u.mq.death", "q{n};rejected;1")]),
    script(("f22.5 f22.s", M5, S), "a rejected message", |s| buried(s, "/amq/queue/dead{n}"), &[("mq.death", "q{n};rejected;1")]),
];

const DEATH: &str =
    "[{count=i64:1, reason=rejected, queue=q{n}, time=ts:…, exchange=, routing-keys=[q{n}]}]";

/// A queue that dead-letters into another one.
fn queues(scene: &Scene<'_>) -> Result<(), String> {
    scene.prepare("queue dead{n}")?;
    scene.prepare("queue q{n} durable x-dead-letter-exchange= x-dead-letter-routing-key=dead{n} x-delivery-limit=i64:2")
}

/// Puts a durable message into the queue: one of QoS 0 has no acknowledgement in MQTT.
fn put(scene: &Scene<'_>, body: &str) -> Result<(), String> {
    let said = match scene.from {
        A => [("key", "q{n}"), ("body", body), ("delivery_mode", "2")],
        M3 | M5 => [("topic", "$q/q{n}"), ("body", body), ("qos", "1")],
        _ => [("destination", "/amq/queue/q{n}"), ("body", body), ("persistent", "true")],
    };
    scene.publish(scene.from, &said).map(drop)
}

/// Two groups, each published to in three protocols: what an AMQP and a STOMP consumer get.
fn grouped(scene: &Scene<'_>) -> Seen {
    scene.prepare("queue q{n} durable")?;
    let mut consumers = [consumer(scene, A)?, consumer(scene, S)?];
    let mut bodies = Vec::new();
    for (group, consumer) in ["g", "h"].into_iter().zip(&mut consumers) {
        let amqp = [("key", "q{n}"), ("body", "a"), ("h.x-group-id", group)];
        scene.publish(A, &amqp)?;
        let stomp = [("destination", "/amq/queue/q{n}"), ("body", "s"), ("JMSXGroupID", group)];
        scene.publish(S, &stomp)?;
        let mqtt = [("topic", "$q/q{n}"), ("body", "m"), ("qos", "1"), ("u.mq.group-id", group)];
        scene.publish(M5, &mqtt)?;
        let three = (0..3).map(|_| Ok(next(consumer)?.text("body").to_owned()));
        bodies.push(three.collect::<Result<Vec<String>, String>>()?.join(" "));
    }
    Ok(scene.said(&[("first", &bodies[0]), ("second", &bodies[1])]))
}

/// A consumer of the queue.
fn consumer(scene: &Scene<'_>, wire: Wire) -> Result<Peer, String> {
    scene.reader(
        wire,
        match wire {
            A => "queue q{n}",
            M3 | M5 => "$q/q{n}",
            _ => "/amq/queue/q{n}",
        },
    )
}

/// Gives the answer, or ends without one: `lost` is the connection, `closed` the channel.
fn answer(reader: &mut Peer, message: &Said, how: &str) -> Result<bool, String> {
    match (how, reader) {
        ("lost", _) => return Ok(false),
        ("closed", Peer::Amqp(amqp)) => amqp.close_channel()?,
        ("closed", Peer::Stomp(stomp)) => stomp.settle(message, "disconnect"),
        (how, reader) => {
            reader.settle(message, how);
            return Ok(true);
        }
    }
    Ok(false)
}

/// Nothing is left of a message after that answer, or after it was written where `how` is empty.
fn done(scene: &Scene<'_>, how: &str, at: &str) -> Seen {
    queues(scene)?;
    let mut reader = scene.reader(scene.to, at)?;
    put(scene, "x")?;
    let message = next(&mut reader)?;
    if !how.is_empty() {
        reader.settle(&message, how);
    }
    let again = !quiet(&mut reader)?;
    drop(reader);
    let again = again || !quiet(&mut consumer(scene, A)?)?;
    Ok(scene.said(&[("again", &again.to_string()), ("dead", &scene.waiting("dead{n}"))]))
}

/// A message that is delivered once more, to the same consumer if that is still there.
fn returned(scene: &Scene<'_>, how: &str) -> Seen {
    queues(scene)?;
    again(scene, how)
}

/// The same where the queue has no delivery limit of its own.
fn given_back(scene: &Scene<'_>, how: &str) -> Seen {
    scene.prepare("queue q{n} durable")?;
    scene.prepare("queue dead{n} durable")?;
    again(scene, how)
}

fn again(scene: &Scene<'_>, how: &str) -> Seen {
    let mut reader = consumer(scene, scene.to)?;
    put(scene, "x")?;
    let message = next(&mut reader)?;
    if !answer(&mut reader, &message, how)? {
        drop(reader);
        reader = consumer(scene, A)?;
    }
    let message = next(&mut reader)?;
    let count = message.get("h.x-delivery-count").or(message.get("mq.delivery-count"));
    let count = count.unwrap_or("none").replace("i64:", "");
    let dead = scene.waiting("dead{n}");
    Ok(scene.said(&[("again", message.text("redelivered")), ("count", &count), ("dead", &dead)]))
}

/// A message that goes to the dead-letter address after `times` answers of that kind.
fn died(scene: &Scene<'_>, how: &str, times: u32) -> Seen {
    queues(scene)?;
    put(scene, "x")?;
    let mut reader = consumer(scene, scene.to)?;
    for _ in 0..times {
        let message = next(&mut reader)?;
        reader.settle(&message, how);
    }
    let dead = next(&mut scene.reader(A, "queue dead{n}")?)?;
    let (reason, deaths) = (dead.text("h.x-last-death-reason"), dead.text("h.x-death"));
    Ok(scene.said(&[("dead", reason), ("deaths", deaths), ("left", &scene.waiting("q{n}"))]))
}

/// A message of QoS 2 in a session: after PUBCOMP it does not come again.
fn completed(scene: &Scene<'_>) -> Seen {
    let mut reader = scene.client(scene.to, "qos2-{n}", &["keep"])?;
    reader.subscribe(&scene.fill("t/{n} qos=2"))?;
    scene.publish(
        A,
        &[
            ("exchange", "amq.topic"),
            ("key", "t.{n}"),
            ("h.x-mqtt-qos", "i64:2"),
            ("delivery_mode", "2"),
        ],
    )?;
    let message = next(&mut reader)?;
    reader.settle(&message, "ack");
    std::thread::sleep(Duration::from_millis(100));
    drop(reader);
    let mut back = scene.client(scene.to, "qos2-{n}", &["keep"])?;
    let later = if quiet(&mut back)? { "nothing" } else { "a message" };
    Ok(scene.said(&[("qos", message.text("qos")), ("later", later)]))
}

/// Of three messages the second one is acknowledged.
fn cumulative(scene: &Scene<'_>, at: &str, how: &str) -> Seen {
    queues(scene)?;
    let mut reader = scene.reader(scene.to, at)?;
    for _ in 0..3 {
        put(scene, "x")?;
    }
    next(&mut reader)?;
    let second = next(&mut reader)?;
    next(&mut reader)?;
    reader.settle(&second, how);
    quiet(&mut reader)?;
    drop(reader);
    // What was not acknowledged goes back when the end of the connection is noticed.
    let back = eventually("a message is ready again", || {
        Some(scene.waiting("q{n}")).filter(|count| count != "0")
    });
    Ok(scene.said(&[("left", &back)]))
}

/// A consumer with credit for one message leaves; how the other message is seen by the next reader.
fn unwritten(scene: &Scene<'_>, at: &str) -> Seen {
    queues(scene)?;
    let mut reader = scene.reader(scene.to, at)?;
    put(scene, "1")?;
    put(scene, "2")?;
    next(&mut reader)?;
    drop(reader);
    let mut reader = consumer(scene, scene.to)?;
    for _ in 0..2 {
        let message = next(&mut reader)?;
        if message.text("body") == "2" {
            let mut seen = Said::default();
            seen.0.extend(
                message.get("redelivered").map(|text| ("second".to_owned(), text.to_owned())),
            );
            let counts = ["h.x-delivery-count", "mq.delivery-count"];
            let count = counts.iter().find_map(|name| message.get(name));
            seen.0.extend(count.map(|text| ("count".to_owned(), text.to_owned())));
            return Ok(seen);
        }
    }
    Err("the second message is gone".to_owned())
}

/// The same in a session whose Receive Maximum is 1.
fn unwritten_mqtt(scene: &Scene<'_>) -> Seen {
    let mut reader = scene.client(M5, "slow-{n}", &["keep", "receive=1"])?;
    reader.subscribe(&scene.fill("t/{n}"))?;
    for body in ["1", "2"] {
        scene.publish(M5, &[("topic", "t/{n}"), ("body", body)])?;
    }
    next(&mut reader)?;
    drop(reader);
    let mut back = scene.client(M5, "slow-{n}", &["keep"])?;
    let first = next(&mut back)?;
    let second = next(&mut back)?;
    let bodies = format!("{} {}", first.text("body"), second.text("body"));
    Ok(scene.said(&[("bodies", &bodies), ("second", second.text("dup"))]))
}

/// Delivered in a session, not acknowledged, and delivered in the next connection.
fn same_session(scene: &Scene<'_>) -> Seen {
    let mut reader = scene.client(scene.to, "same-{n}", &["keep"])?;
    reader.subscribe(&scene.fill("t/{n}"))?;
    let said: &[(&str, &str)] = match scene.from {
        A => &[("exchange", "amq.topic"), ("key", "t.{n}"), ("delivery_mode", "2"), ("body", "x")],
        _ => &[("topic", "t/{n}"), ("body", "x")],
    };
    scene.publish(scene.from, said)?;
    let first = next(&mut reader)?;
    drop(reader);
    let mut again = next(&mut scene.client(scene.to, "same-{n}", &["keep"])?)?;
    let same = again.text("id") == first.text("id") && again.text("dup") == "true";
    again.put("again", same.to_string());
    Ok(again)
}

/// Of two messages the first one is given back: which one comes next.
fn backoff(scene: &Scene<'_>) -> Seen {
    queues(scene)?;
    put(scene, "1")?;
    put(scene, "2")?;
    let mut reader = scene.reader(A, "queue q{n} prefetch=1")?;
    let message = next(&mut reader)?;
    reader.settle(&message, "reject requeue");
    next(&mut reader)
}

/// Not acknowledged in time: how the consumer ends, and what the next one sees.
fn consumer_timeout(scene: &Scene<'_>, at: &str) -> Seen {
    scene.prepare("queue q{n} durable x-consumer-timeout=i64:1000")?;
    put(scene, "x")?;
    let mut reader = scene.reader(scene.to, at)?;
    next(&mut reader)?;
    let ended = reader.receive(Duration::from_secs(3)).err().unwrap_or_default();
    let message = next(&mut consumer(scene, A)?)?;
    let count = message.get("h.x-delivery-count").unwrap_or("none").to_owned();
    Ok(scene.said(&[("ended", &ended), ("again", message.text("redelivered")), ("count", &count)]))
}

/// The second delivery, after the first reader went away.
fn twice(scene: &Scene<'_>, at: &str) -> Seen {
    queues(scene)?;
    put(scene, "x")?;
    next(&mut scene.reader(scene.to, at)?)?;
    next(&mut scene.reader(scene.to, at)?)
}

fn once(scene: &Scene<'_>, at: &str) -> Seen {
    queues(scene)?;
    put(scene, "x")?;
    next(&mut scene.reader(scene.to, at)?)
}

/// Rejected by an AMQP consumer, and read where it was sent then.
fn buried(scene: &Scene<'_>, at: &str) -> Seen {
    queues(scene)?;
    put(scene, "x")?;
    let mut reader = consumer(scene, A)?;
    let message = next(&mut reader)?;
    reader.settle(&message, "reject");
    next(&mut scene.reader(scene.to, at)?)
}
