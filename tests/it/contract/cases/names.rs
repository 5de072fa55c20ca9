//! §1, names: what one protocol calls an address, and what another calls it.

use crate::contract::case::{Case, Scene, Seen, case, next, quiet, script};
use crate::contract::peer::Wire::{A, M3, M5, S};

/// 305 octets with dots; its words are `long` and 300 times `x`.
const LONG_KEY: &str = "long.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
xxxxx";
const LONG_HASH: &str = "mq.long.006836674aa98be6da7971337c37575d964ab19d2ee0b89ea9ca28229ae6fddf";

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    // Topics of MQTT and keys of AMQP.
    case("n1 n3", M5, A, &[("topic", "n{n}/b.c")], &[("key", "n{n}.b/c")]).at("amq.topic n{n}.#"),
    case("n1 n3", A, M3, &[("key", "n{n}.b/c")], &[("topic", "n{n}/b.c")]).at("n{n}/+"),
    case("n1", M3, M5, &[("topic", "/{n}//B.c ä%")], &[("topic", "/{n}//B.c ä%")]).at("/{n}/#"),
    case("n3", M5, A, &[("topic", "n{n}/a*b")], &[("key", "n{n}.a+b")]).at("amq.topic n{n}.*"),
    case("n3", M5, A, &[("topic", "n{n}/x/y")], &[("key", "n{n}.x.y")]).at("amq.topic n{n}.*.y"),
    case("n3", M5, A, &[("topic", "n{n}/x/y/z")], &[("received", "nothing")]).at("amq.topic n{n}.*.z"),
    // `$share`.
    script(("n2", M5, A), "the queue of a shared subscription", |scene| {
        let _member = scene.reader(M5, "$share/g{n}/s/{n}")?;
        Ok(scene.said(&[("ready", &scene.waiting("share/g{n}/s/{n}"))]))
    }, &[("ready", "0")]),
    // Queues and other exchanges of AMQP.
    case("n4", A, M5, &[("key", "q{n}"), ("exchange", "")], &[("topic", "$q/q{n}")]).through_queue(),
    case("n4", A, S, &[("key", "o.r/d{n}"), ("exchange", "")], &[("destination", "/queue/o.r/d{n}")])
        .given(&["queue o.r/d{n}"]).at("/amq/queue/o.r/d{n}"),
    case("n4", M5, A, &[("topic", "$q/o.r/d{n}")], &[("exchange", ""), ("key", "o.r/d{n}")])
        .given(&["queue o.r/d{n}"]).at("queue o.r/d{n}"),
    case("n5", A, S, &[("exchange", "x{n}"), ("key", "k.l")], &[("destination", "/exchange/x{n}/k.l")])
        .given(&["exchange x{n} direct"]).at("/exchange/x{n}/k.l"),
    case("n5", A, M5, &[("exchange", "x{n}"), ("key", "a.b")], &[("received", "nothing"), ("sender", "ack")])
        .given(&["exchange x{n} topic"]).at("a/b"),
    // Destinations of STOMP.
    case("n6", S, A, &[("destination", "/queue/new{n}")], &[("key", "new{n}")]).given(&["queue new{n} durable"])
        .at("queue new{n}"),
    case("n6", S, S, &[("destination", "/queue/a/b.c%2Fd{n}")], &[("destination", "/queue/a/b.c%2Fd{n}")])
        .at("/queue/a/b.c/d{n}"),
    script(("n6", S, A), "a queue is declared by its first SEND", |scene| {
        scene.publish(S, &[("destination", "/queue/made{n}")])?;
        Ok(scene.said(&[("ready", &scene.waiting("made{n}"))]))
    }, &[("ready", "1")]),
    case("n6", S, A, &[("destination", "/queue/%2525{n}")], &[("key", "%25{n}")]).given(&["queue %25{n} durable"])
        .at("queue %25{n}"),
    case("n7", S, A, &[("destination", "/amq/queue/q{n}")], &[("key", "q{n}")]).given(&["queue q{n}"]).at("queue q{n}"),
    case("n7", S, A, &[("destination", "/amq/queue/missing{n}")], &[("sender", "error not_found…closed")]).at("nowhere"),
    case("n8", S, M5, &[("destination", "/topic/s{n}/city.1/temp")], &[("topic", "s{n}/city.1/temp")]).at("s{n}/#"),
    case("n8", S, M5, &[("destination", "/topic/s{n}.city1.temp")], &[("topic", "s{n}/city1/temp")]).at("s{n}/#"),
    case("n8", M5, S, &[("topic", "s{n}/city1/temp")], &[("destination", "/topic/s{n}.city1.temp")]).at("/topic/s{n}.*.temp"),
    case("n8", M5, S, &[("topic", "s{n}/city1/temp")], &[("received", "a message")]).at("/topic/s{n}/+/temp"),
    case("n8", M5, S, &[("topic", "s{n}/city1/temp")], &[("received", "a message")]).at("/topic/s{n}.>"),
    case("n8", M5, S, &[("topic", "s{n}/city1/temp")], &[("received", "a message")]).at("/topic/s{n}.#"),
    case("n8", M5, S, &[("topic", "s{n}/city.1/temp")], &[("destination", "/topic/s{n}/city.1/temp")]).at("/topic/s{n}.#"),
    case("n8", M5, S, &[("topic", "s.{n}")], &[("destination", "/topic/s%2E{n}")]).at("/topic/s%2E{n}"),
    case("n8", S, A, &[("destination", "/topic/a{n}.b%2Fc")], &[("key", "a{n}.b/c")]).at("amq.topic a{n}.*"),
    case("n8", S, M5, &[("destination", "/topic/s{n}.a%25b%3E%2A")], &[("topic", "s{n}/a%b>*")]).at("s{n}/#"),
    case("n8", S, M5, &[("destination", "/topic/s{n}.a%41")], &[("topic", "s{n}/a%41")]).at("s{n}/#"),
    case("n8", M5, S, &[("topic", "s{n}/*")], &[("destination", "/topic/s{n}.%2A")]).at("/topic/s{n}.%2A"),
    case("n8", S, A, &[("destination", "/topic/s{n}.%2B.%23")], &[("key", "s{n}.*.#")]).at("amq.topic s{n}.#"),
    case("n8", S, S, &[("destination", "/topic/s{n}.a.b")], &[("received", "nothing")]).at("/topic/s{n}.%3E"),
    case("n9", S, A, &[("destination", "/exchange/x%2Fy{n}/k")], &[("exchange", "x/y{n}"), ("key", "k")])
        .given(&["exchange x/y{n} direct"]).at("x/y{n} k"),
    case("n9", S, A, &[("destination", "/exchange/x{n}/k.l")], &[("exchange", "x{n}"), ("key", "k.l")])
        .given(&["exchange x{n} topic"]).at("x{n} k.*"),
    script(("n10", S, S), "a temporary queue", |scene| {
        let mut owner = scene.reader(S, "/temp-queue/mine")?;
        owner.publish(&scene.said(&[("destination", "/temp-queue/mine"), ("body", "x")]));
        next(&mut owner)
    }, &[("body", "x")]),
    script(("n10", S, S), "a temporary queue of the same name elsewhere", |scene| {
        let mut owner = scene.reader(S, "/temp-queue/mine")?;
        scene.publish(S, &[("destination", "/temp-queue/mine"), ("body", "x")])?;
        Ok(scene.said(&[("quiet", &quiet(&mut owner)?.to_string())]))
    }, &[("quiet", "true")]),
    script(("n11", S, S), "a temporary topic", |scene| {
        let mut owner = scene.reader(S, "/temp-topic/mine")?;
        owner.publish(&scene.said(&[("destination", "/temp-topic/mine"), ("body", "x")]));
        next(&mut owner)
    }, &[("body", "x")]),
    case("n12", S, A, &[("destination", "/remote-temp-queue/q{n}")], &[("key", "q{n}")]).given(&["queue q{n}"])
        .at("queue q{n}"),
    case("n12", S, M5, &[("destination", "/remote-temp-topic/r.{n}")], &[("topic", "r/{n}")]).at("r/{n}"),
    script(("n13", S, A), "a composite destination", |scene| {
        scene.prepare("queue one{n}")?;
        scene.prepare("queue two{n}")?;
        scene.publish(S, &[("destination", "/amq/queue/one{n},/amq/queue/two{n}")])?;
        Ok(scene.said(&[("one", &scene.waiting("one{n}")), ("two", &scene.waiting("two{n}"))]))
    }, &[("one", "1"), ("two", "1")]),
    case("n13", S, S, &[("destination", "/queue/one{n},/topic/two.{n}")], &[("destination", "/topic/two.{n}")]).at("/topic/two.{n}"),
    case("n13", S, S, &[("destination", "/queue/one{n},/topic/two.{n}")], &[("destination", "/queue/one{n}")]).at("/queue/one{n}"),
    case("n13", S, A, &[("destination", "/queue/a,b{n}")], &[("key", "a,b{n}")]).given(&["queue a,b{n} durable"])
        .at("queue a,b{n}"),
    case("n6b", S, A, &[("destination", "plain{n}")], &[("key", "plain{n}")]).given(&["queue plain{n} durable"])
        .at("queue plain{n}"),
    case("n6b", S, S, &[("destination", "a/b{n}")], &[("destination", "a/b{n}")]).at("/queue/a/b{n}"),
    case("n14", S, A, &[("destination", "q{n}"), ("destination-type", "ANYCAST")], &[("key", "q{n}")])
        .given(&["queue q{n} durable"]).at("queue q{n}"),
    case("n14", S, M5, &[("destination", "m.{n}"), ("destination-type", "MULTICAST")], &[("topic", "m/{n}")]).at("m/{n}"),
    case("n15", S, A, &[("destination", "jms.queue.q{n}")], &[("key", "q{n}")])
        .given(&["queue q{n} durable"]).at("queue q{n}"),
    // What one protocol cannot say.
    case("n20", A, M5, &[("key", "w{n}.*.b")], &[("topic", "w{n}/%2A/b")]).at("w{n}/#"),
    case("n20", A, M5, &[("key", "w{n}.#.b")], &[("topic", "w{n}/%23/b")]).at("w{n}/#"),
    case("n20", A, S, &[("key", "w{n}.*.#")], &[("destination", "/topic/w{n}.%2A.%23")]).at("/topic/w{n}.#"),
    case("n21", M5, M5, &[("topic", SEPARATORS)], &[("sender", "disconnect 0x90"), ("received", "nothing")]).at("nowhere"),
    case("n21", M3, M5, &[("topic", SEPARATORS)], &[("sender", "connection ended")]).at("nowhere"),
    case("n21", S, S, &[("destination", SEPARATORS_STOMP)], &[("sender", "error content_too_large…closed")]).at("nowhere"),
    case("n21", A, A, &[("key", SEPARATORS_AMQP)], &[("sender", "nack")]).at("nowhere"),
    script(("n21", S, M5), "a topic of more than 65,535 bytes", |scene| {
        let long = format!("/topic/{}", "a".repeat(65_536));
        Ok(scene.said(&[("sender", &scene.publish(S, &[("destination", &long)])?)]))
    }, &[("sender", "error content_too_large…closed")]),
    case("n22", M5, A, &[("topic", "hex:610062")], &[("sender", "disconnect 0x81")]).at("nowhere"),
    case("n22b", A, A, &[("key", "a\0b")], &[("sender", "nack")]).at("nowhere").planned(&[("sender", "ack")]),
    script(("n23", M5, A), "a topic that is too long for a routing key", long_key,
        &[("key", LONG_HASH), ("h.x-routing-key", LONG_KEY)]),
    script(("n23", M5, A), "a binding by the argument x-routing-key", |scene| {
        let mut reader = scene.reader(A, &format!("amq.topic none x-routing-key={LONG_KEY}"))?;
        scene.publish(M5, &[("topic", &LONG_KEY.replace('.', "/"))])?;
        next(&mut reader)
    }, &[("key", LONG_HASH)]),
    // Wildcards.
    case("n24", M5, A, &[("topic", "w{n}")], &[("key", "w{n}")]).at("amq.topic w{n}.#"),
    case("n24", A, M5, &[("key", "w{n}")], &[("topic", "w{n}")]).at("w{n}/#"),
    case("n24", A, S, &[("key", "w{n}")], &[("received", "a message")]).at("/topic/w{n}.#"),
    case("n24", M5, A, &[("topic", "w{n}/a/b/c")], &[("received", "a message")]).at("amq.topic w{n}.#.c"),
    case("n24", M5, S, &[("topic", "w{n}/a/b/c")], &[("received", "a message")]).at("/topic/w{n}.#.c"),
    script(("n25", M5, M5), "MQTT has `#` at the end only", |scene| {
        let refused = scene.reader(M5, "w{n}/#/c").err().unwrap_or_default();
        Ok(scene.said(&[("refused", refused.as_str())]))
    }, &[("refused", "disconnect 0x81")]),
    case("n26", A, M5, &[("key", "$w.{n}")], &[("received", "nothing")]).at("+/{n}"),
    case("n26", A, A, &[("key", "$w.{n}")], &[("received", "nothing")]).at("amq.topic #.{n}"),
    case("n26", A, A, &[("key", "$w.{n}"), ("exchange", "x{n}")], &[("received", "a message")])
        .given(&["exchange x{n} topic"]).at("x{n} *.{n}"),
    case("n27", M5, M3, &[("topic", "w{n}//x")], &[("topic", "w{n}//x")]).at("w{n}/+/x"),
    case("n27", M5, A, &[("topic", "w{n}//x")], &[("key", "w{n}..x")]).at("amq.topic w{n}.*.x"),
];

/// 201 separators: one more than there may be.
const SEPARATORS: &str = "////////////////////////////////////////////////////////////////////////////////////////////////////\
////////////////////////////////////////////////////////////////////////////////////////////////////\
/";
const SEPARATORS_STOMP: &str = "/topic/a////////////////////////////////////////////////////////////////////////////////////////////\
////////////////////////////////////////////////////////////////////////////////////////////////////\
/////////b";
const SEPARATORS_AMQP: &str = "....................................................................................................\
....................................................................................................\
.";

fn long_key(scene: &Scene<'_>) -> Seen {
    let mut reader = scene.reader(A, "amq.topic long.#")?;
    scene.publish(M5, &[("topic", &LONG_KEY.replace('.', "/"))])?;
    next(&mut reader)
}
