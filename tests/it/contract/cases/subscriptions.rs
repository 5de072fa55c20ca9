//! §7, subscriptions are queues: what they are called, and who else can read them.

use crate::contract::case::{Case, Scene, Seen, next, quiet, script};
use crate::contract::peer::Peer;
use crate::contract::peer::Wire::{self, A, M3, M5, S};
use crate::wire::amqp::{Amqp, Out, Properties, publish};
use crate::wire::eventually;

/// Messages that come while somebody is away.
const MANY: usize = 101_000;

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    script(("s1", A, M5), "the queue of an MQTT session, read by AMQP", |s| session(s, A, "queue mqtt/me{n}"), &[("body", "x")]),
    script(("s1", M5, M3), "the queue of an MQTT session, read by STOMP", |s| session(s, S, "/amq/queue/mqtt/me{n}"), &[("body", "x")]),
    script(("s1", M5, M5), "the queue of an MQTT session is there", |scene| {
        let mut session = scene.client(M5, "me{n}", &["keep"])?;
        session.subscribe(&scene.fill("t/{n}"))?;
        Ok(scene.said(&[("ready", &scene.waiting("mqtt/me{n}"))]))
    }, &[("ready", "0")]),
    script(("s1", A, M5), "the queue of a session that has ended", |scene| {
        let mut session = scene.client(M5, "me{n}", &[])?;
        session.subscribe(&scene.fill("t/{n}"))?;
        let before = scene.waiting("mqtt/me{n}");
        drop(session);
        let gone = || Some(scene.waiting("mqtt/me{n}")).filter(|found| found.starts_with("channel"));
        let after = eventually("the session's queue goes", gone);
        Ok(scene.said(&[("before", &before), ("after", &after)]))
    }, &[("before", "0"), ("after", "channel closed 404")]),
    script(("s1b", A, M5), "the queue of a session is deleted by nobody else", |scene| {
        let mut session = scene.client(M5, "me{n}", &[])?;
        session.subscribe(&scene.fill("t/{n}"))?;
        let delete = Out::method(50, 40).u16(0).short(&scene.fill("mqtt/me{n}")).u8(0);
        let refused = Amqp::connect(scene.broker.amqp).ask(delete, (50, 41)).err().unwrap_or_default();
        let code = refused.split(' ').next().unwrap_or_default();
        Ok(scene.said(&[("code", code), ("ready", &scene.waiting("mqtt/me{n}"))]))
    }, &[("code", "403"), ("ready", "0")]),
    script(("s2", M5, M5), "QoS 0 of a clean session goes past the session's queue", |scene| {
        let mut session = scene.client(M5, "me{n}", &[])?;
        session.subscribe(&scene.fill("t/{n} qos=0"))?;
        let mut other = scene.reader(A, "queue mqtt/me{n}")?;
        for _ in 0..4 {
            scene.publish(M5, &[("topic", "t/{n}"), ("qos", "0"), ("body", "x")])?;
        }
        for _ in 0..4 {
            next(&mut session)?;
        }
        Ok(scene.said(&[("other", if quiet(&mut other)? { "nothing" } else { "a message" })]))
    }, &[("other", "nothing")]),
    script(("s3", A, M5), "members of a shared subscription", |s| shared(s, M5, "$share/g{n}/t/{n}"), &[("got", "one each")]),
    script(("s3", M5, A), "an AMQP consumer joins the group", |s| shared(s, A, "queue share/g{n}/t/{n}"), &[("got", "one each")]),
    script(("s3", M5, M3), "an MQTT 3.1.1 member joins the group", |s| shared(s, M3, "$share/g{n}/t/{n}"), &[("got", "one each")]),
    script(("s3b", M5, M5), "the last member is gone", left, &[("before", "0"), ("after", "gone"), ("sender", "puback 0x10")]),
    script(("s3b", M3, M3), "the last member is gone", left, &[("before", "0"), ("after", "gone"), ("sender", "puback 0x00")]),
    script(("s3", A, S), "a STOMP consumer joins the group", |s| shared(s, S, "/amq/queue/share/g{n}/t/{n}"), &[("got", "one each")]),
    script(("s4", A, S), "a durable subscription, ActiveMQ style", |s| sleeper(s, "activemq.subscriptionName:news", "me{n}.news"),
        &[("body", "x")]),
    script(("s4", A, S), "a durable subscription, Artemis style", |s| sleeper(s, "durable-subscription-name:news", "me{n}.news"),
        &[("body", "x")]),
    script(("s4", M5, S), "a durable subscription, RabbitMQ style", |s| sleeper(s, "durable:true auto-delete:false id:news",
        "stomp/news/topic/t.{n}"), &[("body", "x")]),
    script(("s4", M5, S), "a durable subscription with a queue's name", |s| sleeper(s,
        "durable:true auto-delete:false x-queue-name:named{n}", "named{n}"), &[("body", "x")]),
    script(("s5", M5, S), "a transient subscription leaves nothing", |scene| {
        let mut reader = scene.reader(S, "/topic/t.{n}")?;
        scene.publish(M5, &[("topic", "t/{n}"), ("body", "1")])?;
        next(&mut reader)?;
        drop(reader);
        scene.publish(M5, &[("topic", "t/{n}"), ("body", "2")])?;
        let mut reader = scene.reader(S, "/topic/t.{n}")?;
        Ok(scene.said(&[("quiet", &quiet(&mut reader)?.to_string())]))
    }, &[("quiet", "true")]),
    script(("s6", A, M5), "a queue that an AMQP client declared and bound", |s| declared(s, M5, "$q/q{n}"), &[("body", "x")]),
    script(("s6", A, M3), "a queue that an AMQP client declared and bound", |s| declared(s, M3, "$q/q{n}"), &[("body", "x")]),
    script(("s6", M5, S), "a queue that an AMQP client declared and bound", |s| declared(s, S, "/queue/q{n}"), &[("body", "x")]),
    script(("s7", M5, S), "a virtual topic", |scene| {
        let mut reader = scene.reader(S, "/queue/Consumer.me.VirtualTopic.v{n}")?;
        scene.publish(M5, &[("topic", "VirtualTopic/v{n}"), ("body", "x")])?;
        let mut message = next(&mut reader)?;
        message.put("ready", scene.waiting("Consumer.me.VirtualTopic.v{n}"));
        Ok(message)
    }, &[("body", "x"), ("ready", "0"), ("destination", "/queue/Consumer.me.VirtualTopic.v{n}"),
        ("original-destination", "/topic/VirtualTopic.v{n}")]),
    // Subscribers that are away.
    script(("s13", A, M3), "a session that is away keeps any number", |s| away(s, "mqtt/me{n}", |me| me.subscribe(&s.fill("away/{n}"))),
        &[("kept", "all")]),
    script(("s13", A, M5), "a group that is away keeps any number", |s| away(s, "share/g{n}/away/{n}", |me| me.subscribe(&s.fill("$share/g{n}/away/{n}"))),
        &[("kept", "all")]),
    script(("s13", A, S), "a durable subscription keeps any number", |s| away(s, "me{n}.news", |me| {
        me.subscribe(&s.fill("/topic/away.{n} activemq.subscriptionName:news"))
    }), &[("kept", "all")]),
    script(("s14", A, S), "a durable subscription that asks for less", |s| away(s, "me{n}.news", |me| {
        me.subscribe(&s.fill("/topic/away.{n} activemq.subscriptionName:news x-max-length:5"))
    }), &[("kept", "5")]),
    // One message, several filters.
    script(("s8", A, M5), "filters that overlap", overlapping, &[("qos", "2"), ("subscription[]", "3 | 4"), ("more", "false")]),
    script(("s8", A, M3), "filters that overlap", overlapping, &[("qos", "2"), ("more", "false")]),
    // No local.
    script(("s9", M5, M5), "No Local of MQTT", |s| own(s, M5, "t/{n} nl"), &[("own", "false"), ("foreign", "true")]),
    script(("s10", S, S), "no-local of STOMP", |s| own(s, S, "/topic/t.{n} no-local:true"), &[("own", "false"), ("foreign", "true")]),
    script(("s11", A, A), "no-local of basic.consume", no_local, &[("own", "true"), ("left", "0")]),
    script(("s12", A, S), "SUBSCRIBE with browser:true", |scene| {
        scene.prepare("queue q{n}")?;
        let refused = scene.reader(S, "/queue/q{n} browser:true").err().unwrap_or_else(|| "granted".to_owned());
        Ok(scene.said(&[("subscribe", refused.as_str())]))
    }, &[("subscribe", "granted")]).planned(&[("subscribe", "error unavailable…closed")]),
];

/// An MQTT client is away; somebody else reads what its session keeps.
fn session(scene: &Scene<'_>, wire: Wire, at: &str) -> Seen {
    let mut away = scene.client(scene.to, "me{n}", &["keep"])?;
    away.subscribe(&scene.fill("t/{n}"))?;
    drop(away);
    post(scene, "x")?;
    next(&mut scene.reader(wire, at)?)
}

/// One durable publish to this case's topic by its sender.
fn post(scene: &Scene<'_>, body: &str) -> Result<(), String> {
    let said: &[(&str, &str)] = match scene.from {
        A => &[("exchange", "amq.topic"), ("key", "t.{n}"), ("delivery_mode", "2")],
        M3 | M5 => &[("topic", "t/{n}")],
        _ => &[("destination", "/topic/t.{n}"), ("persistent", "true")],
    };
    let said: Vec<_> = said.iter().copied().chain([("body", body)]).collect();
    scene.publish(scene.from, &said).map(drop)
}

/// An MQTT 5 member and another one: of two messages each gets one.
fn shared(scene: &Scene<'_>, wire: Wire, at: &str) -> Seen {
    let mut one = scene.reader(M5, "$share/g{n}/t/{n}")?;
    let mut two = scene.reader(wire, at)?;
    post(scene, "1")?;
    post(scene, "2")?;
    next(&mut one)?;
    next(&mut two)?;
    Ok(scene.said(&[("got", "one each")]))
}

/// A group with members in a lasting session and in one that ends with its connection: it ends with the last of them.
fn left(scene: &Scene<'_>) -> Seen {
    let mut lasting = scene.client(scene.to, "me{n}", &["keep"])?;
    lasting.subscribe(&scene.fill("$share/g{n}/t/{n}"))?;
    drop(scene.reader(scene.to, "$share/g{n}/t/{n}")?);
    drop(lasting);
    std::thread::sleep(std::time::Duration::from_millis(100));
    let before = scene.waiting("share/g{n}/t/{n}");
    drop(scene.client(scene.to, "me{n}", &[])?);
    std::thread::sleep(std::time::Duration::from_millis(100));
    let after = match scene.waiting("share/g{n}/t/{n}") {
        gone if gone.contains("404") => "gone".to_owned(),
        other => other,
    };
    let sender = scene.publish(scene.from, &[("topic", "t/{n}"), ("body", "x")])?;
    Ok(scene.said(&[("before", &before), ("after", &after), ("sender", &sender)]))
}

/// A STOMP subscriber that is away; its queue is read by its name.
fn sleeper(scene: &Scene<'_>, headers: &str, queue: &str) -> Seen {
    let mut reader = scene.client(S, "me{n}", &[])?;
    reader.subscribe(&scene.fill(&format!("/topic/t.{{n}} {headers}")))?;
    drop(reader);
    // Its end is noticed before anything is sent.
    std::thread::sleep(std::time::Duration::from_millis(100));
    post(scene, "x")?;
    next(&mut scene.reader(A, &format!("queue {queue}"))?)
}

/// More messages than were kept once come while a subscriber is away. No other case subscribes to such topics.
fn away(
    scene: &Scene<'_>,
    queue: &str,
    subscribe: impl Fn(&mut Peer) -> Result<(), String>,
) -> Seen {
    let mut me = scene.client(scene.to, "me{n}", &["keep"])?;
    subscribe(&mut me)?;
    drop(me);
    let one = publish("amq.topic", &scene.fill("away.{n}"), &Properties::persistent(), b"x");
    let mut client = Amqp::connect(scene.broker.amqp);
    for _ in 0..MANY / 1_000 {
        client.socket.send(&one.repeat(1_000));
    }
    // The last ones are stored when this is confirmed.
    client.confirm_select();
    client.publish("amq.topic", &scene.fill("away.{n}"), &Properties::persistent(), b"x");
    client.wait_confirms();
    let kept = scene.waiting(queue);
    let kept = if kept == (MANY + 1).to_string() { "all" } else { &kept };
    Ok(scene.said(&[("kept", kept)]))
}

fn declared(scene: &Scene<'_>, wire: Wire, at: &str) -> Seen {
    scene.prepare("queue q{n} durable")?;
    scene.prepare("bind q{n} amq.topic t.{n}")?;
    post(scene, "x")?;
    next(&mut scene.reader(wire, at)?)
}

fn overlapping(scene: &Scene<'_>) -> Seen {
    let mut reader = scene.reader(scene.to, &options("t/{n} qos=1 id=3", scene.to))?;
    reader.subscribe(&scene.fill(&options("t/{n}/# qos=2 id=4", scene.to)))?;
    let said =
        [("exchange", "amq.topic"), ("key", "t.{n}"), ("h.x-mqtt-qos", "i64:2"), ("body", "{n}")];
    scene.publish(A, &said)?;
    let mut message = next(&mut reader)?;
    let more = !quiet(&mut reader)?;
    message.put("more", more.to_string());
    Ok(message)
}

/// MQTT 3.1.1 has no subscription identifiers.
fn options(at: &str, wire: Wire) -> String {
    match (wire, at.split_once(" id=")) {
        (M3, Some((at, _))) => at.to_owned(),
        _ => at.to_owned(),
    }
}

/// A subscriber that does not want its own messages: what it gets of its own, and of others.
fn own(scene: &Scene<'_>, wire: Wire, at: &str) -> Seen {
    let mut reader = scene.reader(wire, at)?;
    let said: &[(&str, &str)] = match wire {
        S => &[("destination", "/topic/t.{n}")],
        _ => &[("topic", "t/{n}")],
    };
    reader.publish(&scene.said(said));
    let own = !quiet(&mut reader)?;
    scene.publish(wire, said)?;
    next(&mut reader)?;
    Ok(scene.said(&[("own", &own.to_string()), ("foreign", "true")]))
}

/// The only consumer of a queue wants nothing of its own: it gets what it publishes there all the same.
fn no_local(scene: &Scene<'_>) -> Seen {
    scene.prepare("queue q{n} durable")?;
    let mut reader = scene.reader(A, "queue q{n} no-local")?;
    reader.publish(&scene.said(&[("exchange", ""), ("key", "q{n}"), ("body", "x")]));
    let own = !quiet(&mut reader)?;
    Ok(scene.said(&[("own", &own.to_string()), ("left", &scene.waiting("q{n}"))]))
}
