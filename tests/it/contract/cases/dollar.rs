//! §1, the topics that begin with `$`.

use crate::contract::case::{Case, Scene, Seen, case, next, script};
use crate::contract::peer::Wire::{A, M3, M5, S};

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    case("d1", M5, M5, &[("topic", "$share/g/t/{n}")], &[("sender", "puback 0x87"), ("received", "nothing")]),
    case("d1 d8", M3, M5, &[("topic", "$share/g/t/{n}")], &[("sender", "puback 0x00"), ("received", "nothing")]),
    case("d1", S, M5, &[("destination", "/topic/$share/g/t/{n}")], &[("sender", "error access_refused…closed"), ("received", "nothing")]),
    case("d1b", S, M5, &[], &[("received", "a message")]).at("$share/g/t/{n}"),
    case("d1b", A, M3, &[], &[("received", "a message")]).at("$share/g/t/{n}"),
    script(("d1c", M5, S), "SUBSCRIBE to a shared topic", |scene| refused(scene, "/topic/$share/g/t/{n}"),
        &[("refused", "error bad_request…closed")]),
    case("d2", M5, A, &[("topic", "$q/q{n}")], &[("key", "q{n}")]).through_queue(),
    case("d2", M3, A, &[("topic", "$q/q{n}")], &[("key", "q{n}")]).through_queue(),
    case("d2", S, A, &[("destination", "/topic/$q/q{n}")], &[("key", "q{n}")]).through_queue(),
    script(("d2b", A, M5), "two consumers of a queue", |scene| competing(scene, "$q/q{n}"), &[("got", "one each")]),
    script(("d2b", A, M3), "two consumers of a queue", |scene| competing(scene, "$q/q{n}"), &[("got", "one each")]),
    script(("d2b", A, S), "two consumers of a queue", |scene| competing(scene, "/topic/$q/q{n}"), &[("got", "one each")]),
    script(("d2c", A, M5), "a queue that nobody declared", made, &[("body", "x"), ("ready", "0")]),
    script(("d2c", A, M3), "a queue that nobody declared", made, &[("body", "x"), ("ready", "0")]),
    case("d3", M5, A, &[("topic", "$reply/q/q{n}")], &[("key", "q{n}")]).through_queue(),
    case("d3", M3, A, &[("topic", "$reply/q/q{n}")], &[("key", "q{n}")]).through_queue(),
    case("d3", S, A, &[("destination", "/topic/$reply/q/q{n}")], &[("key", "q{n}")]).through_queue(),
    script(("d3b", A, M5), "SUBSCRIBE to a reply address", |scene| refused(scene, "$reply/q/q{n}"), &[("refused", "suback 0x8f")]),
    script(("d3b", A, M3), "SUBSCRIBE to a reply address", |scene| refused(scene, "$reply/q/q{n}"), &[("refused", "suback 0x80")]),
    script(("d3b", A, S), "SUBSCRIBE to a reply address", |scene| refused(scene, "/topic/$reply/q/q{n}"),
        &[("refused", "error access_refused…closed")]),
    case("d4", S, M5, &[("destination", "/topic/$delayed/1/t/{n}")], &[("sender", "receipt"), ("received", "a message")]),
    case("d4", S, M5, &[("destination", "/topic/$delayed/60/t/{n}")], &[("sender", "receipt"), ("received", "nothing")]),
    case("d4c", M5, M5, &[("topic", "$delayed/0/t/{n}")], &[("sender", "puback 0x00"), ("received", "a message")]),
    case("d4c", M3, M5, &[("topic", "$delayed/0/t/{n}")], &[("received", "a message")]),
    script(("d4b", A, M5), "SUBSCRIBE to a delay", |scene| refused(scene, "$delayed/5/t/{n}"), &[("refused", "suback 0x8f")]),
    script(("d4b", A, S), "SUBSCRIBE to a delay", |scene| refused(scene, "/topic/$delayed/5/t/{n}"),
        &[("refused", "error access_refused…closed")]),
    case("d5", M5, M5, &[("topic", "$SYS/{n}")], &[("sender", "puback 0x87"), ("received", "nothing")]).at("$SYS/{n}"),
    case("d5", M5, M5, &[("topic", "$SYS/{n}"), ("qos", "2")], &[("sender", "pubrec 0x87"), ("received", "nothing")]).at("$SYS/{n}"),
    case("d5 d8", M3, M5, &[("topic", "$SYS/{n}")], &[("sender", "puback 0x00"), ("received", "nothing")]).at("$SYS/{n}"),
    case("d5", S, M5, &[("destination", "/topic/$SYS/{n}")], &[("sender", "error access_refused…closed"), ("received", "nothing")]).at("$SYS/{n}"),
    script(("d5b", A, M5), "the broker's figures", |scene| {
        let mut reader = scene.reader(M5, "$SYS/broker/#")?;
        let found = reader.receive(std::time::Duration::from_secs(2))?.is_some().to_string();
        Ok(scene.said(&[("found", found.as_str())]))
    }, &[("found", "true")]),
    case("d6", M5, M5, &[("topic", "$other/{n}")], &[("sender", "puback 0x87"), ("received", "nothing")]).at("$other/{n}"),
    case("d6 d8", M3, M5, &[("topic", "$other/{n}")], &[("sender", "puback 0x00"), ("received", "nothing")]).at("$other/{n}"),
    case("d6", S, M5, &[("destination", "/topic/$other/{n}")], &[("sender", "error access_refused…closed"), ("received", "nothing")]).at("$other/{n}"),
    case("d6b", M3, M3, &[("topic", "$quiet{n}/x")], &[("received", "nothing")]).at("$quiet{n}/#"),
    case("d6b", S, S, &[("destination", "/topic/other.{n}")], &[("received", "nothing")]).at("/topic/$quiet{n}/#"),
    case("d7", A, M5, &[("key", "$SYS.{n}")], &[("received", "nothing")]).at("$SYS/{n}"),
    case("d7", A, A, &[("key", "$other.{n}")], &[("sender", "channel closed 403")]).at("nowhere"),
    case("d9", A, M5, &[("exchange", "by{n}"), ("key", "$SYS.{n}")], &[("received", "nothing")]).at("$SYS/{n}")
        .given(&["exchange by{n} fanout", "chain amq.topic by{n} #"]),
];

/// How a subscription is refused.
fn refused(scene: &Scene<'_>, at: &str) -> Seen {
    let refused = scene.reader(scene.to, at).err().unwrap_or_else(|| "granted".to_owned());
    Ok(scene.said(&[("refused", refused.as_str())]))
}

/// SUBSCRIBE makes the queue that it names.
fn made(scene: &Scene<'_>) -> Seen {
    let mut reader = scene.reader(scene.to, "$q/made{n} qos=0")?;
    scene.publish(A, &[("key", "made{n}"), ("body", "x")])?;
    let mut message = next(&mut reader)?;
    message.put("ready", scene.waiting("made{n}"));
    Ok(message)
}

/// Of two messages, each of two consumers gets one.
fn competing(scene: &Scene<'_>, at: &str) -> Seen {
    scene.prepare("queue q{n} durable")?;
    let (mut one, mut two) = (scene.reader(scene.to, at)?, scene.reader(scene.to, at)?);
    for _ in 0..2 {
        scene.publish(A, &[("key", "q{n}")])?;
    }
    next(&mut one)?;
    next(&mut two)?;
    Ok(scene.said(&[("got", "one each")]))
}
