//! §5, where a reply goes: what each requester says, what each responder sees, and that a reply there arrives.

use crate::contract::case::{Case, Scene, Seen, case, next, script};
use crate::contract::peer::Wire::{self, A, M5, S};

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    case("y1.a", A, A, &[("reply_to", "r{n}")], &[("reply_to", "r{n}")]),
    case("y1.5", A, M5, &[("reply_to", "r/+{n}")], &[("response_topic", "$reply/q/r%2F%2B{n}")]),
    case("y1.s", A, S, &[("reply_to", "r{n}")], &[("reply-to", "/amq/queue/r{n}")]),
    script(("y2.a", A, A), "a request whose answer is to come to its channel", |s| from_channel(s, "reply_to"),
        &[("shown", "amq.rabbitmq.reply-to.…"), ("later", "return 312, ack")]),
    script(("y2.5", A, M5), "a request whose answer is to come to its channel", |s| from_channel(s, "response_topic"),
        &[("shown", "$reply/q/amq.rabbitmq.reply-to.…"), ("later", "puback 0x10")]),
    script(("y2.s", A, S), "a request whose answer is to come to its channel", |s| from_channel(s, "reply-to"),
        &[("shown", "/amq/queue/amq.rabbitmq.reply-to.…"), ("later", "receipt, mq-unroutable:true")]),
    case("y3.a", M5, A, &[("response_topic", "replies")], &[("reply_to", "mq.reply.t.cmVwbGllcw"), ("h.x-reply-to-topic", "replies")]),
    case("y3.a", M5, A, &[("response_topic", "a/b.c")], &[("reply_to", "mq.reply.t.YS9iLmM"), ("h.x-reply-to-topic", "a.b/c")]),
    case("y3.a", A, M5, &[("reply_to", "x"), ("h.x-reply-to-topic", "a.b/c")], &[("response_topic", "a/b.c"), ("u.x-reply-to-topic", "–")]),
    case("y3.5", M5, M5, &[("response_topic", "r/{n}")], &[("response_topic", "r/{n}")]),
    case("y3.s", M5, S, &[("response_topic", "r/{n}")], &[("reply-to", "/topic/r.{n}")]),
    case("y4.a", S, A, &[("reply-to", "/queue/r{n}")], &[("reply_to", "r{n}"), ("h.x-reply-to-topic", "–")]),
    case("y4.5", S, M5, &[("reply-to", "/queue/r{n}")], &[("response_topic", "$reply/q/r{n}")]),
    case("y4.s", S, S, &[("reply-to", "/queue/r{n}")], &[("reply-to", "/queue/r{n}")]),
    case("y5.a", S, A, &[("reply-to", "/topic/replies")], &[("reply_to", "mq.reply.t.cmVwbGllcw"), ("h.x-reply-to-topic", "replies")]),
    case("y5.5", S, M5, &[("reply-to", "/topic/r.{n}")], &[("response_topic", "r/{n}")]),
    case("y5.s", S, S, &[("reply-to", "/topic/r.{n}")], &[("reply-to", "/topic/r.{n}")]),
    case("y6.a", S, A, &[("reply-to", "/temp-queue/mine")], &[("reply_to", "amq.gen-…")]),
    case("y6.5", S, M5, &[("reply-to", "/temp-queue/mine")], &[("response_topic", "$reply/q/amq.gen-…")]),
    case("y6.s", S, S, &[("reply-to", "/temp-queue/mine")], &[("reply-to", "/reply-queue/amq.gen-…")]),
    case("y3.5", A, M5, &[("reply_to", "mq.reply.t.cmVwbGllcw")], &[("response_topic", "replies")]),
    case("y13.a", M5, A, &[("response_topic", "$q/r/{n}")], &[("reply_to", "r/{n}"), ("h.x-reply-to-topic", "–")]),
    case("y13.a", M5, A, &[("response_topic", "$reply/q/r%2F{n}")], &[("reply_to", "r/{n}"), ("h.x-reply-to-topic", "–")]),
    case("y13.5", M5, M5, &[("response_topic", "$q/r{n}")], &[("response_topic", "$q/r{n}")]),
    case("y13.s", M5, S, &[("response_topic", "$q/r/{n}")], &[("reply-to", "/amq/queue/r/{n}")]),
    case("y14.a", S, A, &[("reply-to", "/exchange/x/k")], &[("reply_to", "/exchange/x/k"), ("h.x-reply-to-topic", "–")]),
    case("y14.5", S, M5, &[("reply-to", "/exchange/x/k")], &[("response_topic", "/exchange/x/k")]),
    case("y14.s", S, S, &[("reply-to", "/exchange/x/k")], &[("reply-to", "/exchange/x/k")]),
    // Replies arrive where they were asked for.
    script(("y7", A, M5), "an AMQP responder answers an MQTT requester", |scene| {
        let mut requester = scene.reader(M5, "r/{n}")?;
        let seen = asked(scene, M5, A, &[("response_topic", "r/{n}")])?;
        scene.publish(A, &[("exchange", ""), ("key", seen.text("reply_to")), ("body", "!")])?;
        next(&mut requester)
    }, &[("topic", "r/{n}"), ("body", "!")]),
    script(("y8", M5, A), "an MQTT responder answers an AMQP requester", |scene| {
        scene.prepare("queue r.{n}")?;
        let mut requester = scene.reader(A, "queue r.{n}")?;
        let seen = asked(scene, A, M5, &[("reply_to", "r.{n}")])?;
        scene.publish(M5, &[("topic", seen.text("response_topic")), ("body", "!")])?;
        next(&mut requester)
    }, &[("key", "r.{n}"), ("body", "!")]),
    script(("y8", M5, A), "`$reply/q/` with a percent-encoded name", |scene| {
        scene.prepare("queue r/+{n}")?;
        let mut requester = scene.reader(A, "queue r/+{n}")?;
        scene.publish(M5, &[("topic", "$reply/q/r%2F%2B{n}"), ("body", "!")])?;
        next(&mut requester)
    }, &[("key", "r/+{n}"), ("body", "!")]),
    case("y9", S, A, &[("destination", "/reply-queue/q{n}")], &[("key", "q{n}")]).given(&["queue q{n}"]).at("queue q{n}"),
    case("y9", A, S, &[("exchange", ""), ("key", "q{n}")], &[("destination", "/queue/q{n}")]).given(&["queue q{n}"])
        .at("/reply-queue/q{n}"),
    script(("y10", A, S), "a temporary queue that is only named as reply-to", |scene| temporary(scene, false),
        &[("body", "!"), ("subscription", "/temp-queue/mine")]),
    script(("y10", A, S), "a temporary queue that is subscribed to", |scene| temporary(scene, true),
        &[("body", "!"), ("subscription", "1")]),
    case("y11", M5, A, &[("response_topic", LONG_TOPIC)], &[("reply_to", "mq.reply.a.…"), ("h.x-reply-to-topic", LONG_TOPIC)]),
    script(("y11", A, M5), "an AMQP responder answers at a long topic", |scene| {
        let mut requester = scene.reader(M5, LONG_TOPIC)?;
        let seen = asked(scene, M5, A, &[("response_topic", LONG_TOPIC)])?;
        scene.publish(A, &[("exchange", ""), ("key", seen.text("reply_to")), ("body", "!")])?;
        next(&mut requester)
    }, &[("topic", LONG_TOPIC), ("body", "!")]),
    case("y12", A, M5, &[("message_id", "m-1"), ("reply_to", "r{n}")], &[("correlation", "m-1")]),
    case("y12", A, M5, &[("message_id", "m-1")], &[("correlation", "–")]),
    case("y12", S, M5, &[("amqp-message-id", "m-1"), ("reply-to", "/queue/r{n}"), ("correlation-id", "c")], &[("correlation", "c")]),
];

/// In base64url, with its prefix, it has more than the 255 bytes of a routing key.
const LONG_TOPIC: &str = "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr\
rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr";

/// A request as its responder sees it.
fn asked(scene: &Scene<'_>, from: Wire, to: Wire, said: &[(&str, &str)]) -> Seen {
    let mut responder = scene.reader(to, if to == A { "amq.topic t.{n}" } else { "t/{n}" })?;
    let place = if from == A { ("key", "t.{n}") } else { ("topic", "t/{n}") };
    let all: Vec<_> = [place, ("exchange", "amq.topic")].iter().chain(said).copied().collect();
    scene.publish(from, &all)?;
    next(&mut responder)
}

/// An AMQP requester that waits at its channel: what its responder sees, and what becomes of an answer when the
/// requester is gone.
fn from_channel(scene: &Scene<'_>, name: &str) -> Seen {
    let place = match scene.to {
        A => ("amq.topic t.{n}", "key"),
        M5 => ("t/{n}", "topic"),
        _ => ("/topic/t.{n}", "destination"),
    };
    let mut responder = scene.reader(scene.to, place.0)?;
    let mut requester = scene.reader(A, "answers")?;
    let request =
        [("exchange", "amq.topic"), ("key", "t.{n}"), ("reply_to", "amq.rabbitmq.reply-to")];
    requester.publish(&scene.said(&request));
    let shown = next(&mut responder)?.text(name).to_owned();
    drop(requester);
    let answer = [(place.1, shown.as_str()), ("body", "late"), ("mandatory", "true"), ("qos", "1")];
    // Until the broker has seen that the connection ended.
    let mut later = String::new();
    for _ in 0..100 {
        later = responder.publish(&scene.said(&answer));
        if !matches!(later.as_str(), "ack" | "puback 0x00" | "receipt") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(scene.said(&[("shown", &shown), ("later", &later)]))
}

/// A STOMP requester with a temporary queue, answered by AMQP.
fn temporary(scene: &Scene<'_>, subscribed: bool) -> Seen {
    let mut responder = scene.reader(A, "amq.topic t.{n}")?;
    let mut requester = scene.peer(S)?;
    if subscribed {
        requester.subscribe("/temp-queue/mine")?;
    }
    requester
        .publish(&scene.said(&[("destination", "/topic/t.{n}"), ("reply-to", "/temp-queue/mine")]));
    let seen = next(&mut responder)?;
    scene.publish(A, &[("exchange", ""), ("key", seen.text("reply_to")), ("body", "!")])?;
    next(&mut requester)
}
