//! §0, the rules: what readers of the sender's own protocol see, and what is carried for the others.

use crate::contract::amqp::Amqp;
use crate::contract::case::{Case, Scene, Seen, case, next, quiet, script};
use crate::contract::peer::Peer;
use crate::contract::peer::Wire::{self, A, M3, M5, S, S11};
use crate::contract::said::Said;

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    // Identity.
    case("r1", A, A, &[("h.z", "i32:5"), ("h.a", "f64:0.5"), ("h.z", "list:1,2"), ("h.mq.x", "kept"), ("priority", "0"),
        ("message_id", "hex:ff00"), ("type", "t"), ("expiration", "90000")],
        &[("h.z[]", "i32:5 | [1, 2]"), ("h.a", "f64:0.5"), ("h.mq.x", "kept"), ("priority", "0"), ("message_id", "hex:ff00"),
        ("type", "t"), ("expiration", "90000"), ("delivery_mode", "–")]),
    case("r1", M5, M5, &[("u.b", "1"), ("u.a", "2"), ("u.b", "3"), ("correlation", "hex:00"), ("payload_format", "0"),
        ("response_topic", "r/{n}"), ("content_type", "x")],
        &[("u.b[]", "1 | 3"), ("u.a", "2"), ("correlation", "hex:00"), ("payload_format", "0"), ("response_topic", "r/{n}"),
        ("content_type", "x")]),
    case("r1", M3, M3, &[("body", "x"), ("qos", "2")], &[("body", "x"), ("qos", "2"), ("topic", "t/{n}")]),
    case("r1", S, S, &[("destination", "/topic/t/{n}"), ("k", "1"), ("k", "2"), ("priority", "200"), ("persistent", "yes")],
        &[("destination", "/topic/t/{n}"), ("k[]", "1 | 2"), ("priority", "200"), ("persistent", "yes")]),
    case("r1", S11, S, &[("k", "a:b")], &[("k", "a:b"), ("destination", "/topic/t.{n}")]),
    // Restore, and what sets nothing.
    case("r4", M5, S, &[("u.mq.type", "order")], &[("type", "order"), ("mq.type", "–")]),
    case("r4", M5, M5, &[("u.mq.type", "order")], &[("u.mq.type", "order")]),
    case("r4", M5, S, &[("u.mq.nonsense", "x")], &[("mq.nonsense", "–")]),
    case("r4", M5, A, &[("u.mq.nonsense", "x")], &[("h.mq.nonsense", "–")]),
    case("r4", S, A, &[("mq.user-id", "root"), ("mq.death", "q;r;1"), ("mq.origin-client-id", "x"), ("mq.error.kind", "x")],
        &[("user_id", "–"), ("h.mq.user-id", "–"), ("h.mq.death", "–"), ("h.x-death", "–"), ("h.mq.origin-client-id", "–"),
        ("h.mq.error.kind", "–")]),
    case("r4", A, S, &[("h.mq.type", "order"), ("type", "own")], &[("type", "own")]),
    // How much is carried to whom.
    case("r6", A, M5, &[("h.x-subject", "s"), ("app_id", "a")], &[("u.mq.subject", "–"), ("u.mq.app-id", "a")]),
    case("r6", A, S, &[("h.x-subject", "s")], &[("mq.subject", "s")]),
    // Times.
    case("r7", S, M5, &[("expiration", "18446744073709551615")], &[("expiry", "4294967295")]),
    case("r7", M5, S, &[("expiry", "4294967295")], &[("expiration", "4294960000000..4294967295000")]),
    case("r7", A, M5, &[("expiration", "900")], &[("expiry", "1")]),
    // Size.
    script(("r10", A, M5), "a header that is larger than the client takes", |scene| sized(scene, A), &[("body", "x"), ("u.big", "–")]),
    script(("r10", M5, M5), "a message that is larger than the client takes", |scene| sized(scene, M5), &[("received", "nothing")]),
    script(("r10", M5, A), "headers that fit into no frame", |scene| {
        let mut reader = Peer::Amqp(Amqp::with_frame_max(scene.broker.amqp, 4096)?);
        reader.subscribe(&scene.fill("amq.topic t.{n}"))?;
        let (large, medium) = ("l".repeat(3000), "m".repeat(1500));
        scene.publish(M5, &[("topic", "t/{n}"), ("body", "x"), ("u.large", &large), ("u.medium", &medium), ("u.small", "s"),
            ("u.mq.subject", &medium)])?;
        next(&mut reader)
    }, &[("body", "x"), ("h.large", "lll…"), ("h.medium", "mmm…"), ("h.small", "s"), ("h.mq.subject", "–")]),
    script(("r10", A, A), "headers that fit into no frame, and come again", |scene| {
        scene.prepare("queue q{n} durable")?;
        let large = "l".repeat(5000);
        scene.publish(A, &[("key", "q{n}"), ("body", "x"), ("h.large", &large), ("h.small", "s")])?;
        let mut whole = Peer::Amqp(Amqp::with_frame_max(scene.broker.amqp, 4096)?);
        whole.subscribe(&scene.fill("queue q{n}"))?;
        let first = next(&mut whole)?;
        drop(whole);
        let mut again = Peer::Amqp(Amqp::with_frame_max(scene.broker.amqp, 4096)?);
        again.subscribe(&scene.fill("queue q{n}"))?;
        let mut second = next(&mut again)?;
        second.put("first", first.text("h.large"));
        Ok(second)
    }, &[("body", "x"), ("first", "lll…"), ("h.large", "–"), ("h.small", "s")]),
    // Order.
    case("r11", A, A, &[("h.c", "1"), ("h.a", "2"), ("h.b", "3")], &[("h.[]", "c a b")]),
    case("r11", S, A, &[("c", "1"), ("a", "2"), ("b", "3")], &[("h.[]", "c a b…")]),
    case("r11", A, M5, &[("h.c", "1"), ("h.a", "2"), ("h.b", "3")], &[("u.[]", "c a b")]),
    case("r11", M5, S, &[("u.c", "1"), ("u.a", "2"), ("u.b", "3")], &[("[]", "…c a b…")]),
];

/// A client that takes packets of at most 300 bytes.
fn sized(scene: &Scene<'_>, from: Wire) -> Seen {
    let mut reader = scene.client(M5, "small{n}", &["packet=300"])?;
    reader.subscribe(&scene.fill("t/{n}"))?;
    let big = "b".repeat(400);
    scene.publish(
        from,
        &match from {
            A => [
                ("exchange", "amq.topic"),
                ("key", "t.{n}"),
                ("body", "x"),
                ("h.big", big.as_str()),
            ],
            _ => [("topic", "t/{n}"), ("qos", "1"), ("body", "x"), ("u.big", big.as_str())],
        },
    )?;
    match from {
        A => next(&mut reader),
        _ => {
            let mut seen = Said::default();
            seen.put("received", if quiet(&mut reader)? { "nothing" } else { "a message" });
            Ok(seen)
        }
    }
}
