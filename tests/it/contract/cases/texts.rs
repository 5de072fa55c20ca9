//! §3, below the field map: aliases, hostile names, and values as text.

use crate::contract::case::{Case, case, next, script};
use crate::contract::peer::Wire::{A, M3, M5, S, S10, S11};

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    // Aliases.
    case("t1", M5, S, &[("correlation", "hex:00ff")], &[("correlation-id", "mq.b64.AP8")]),
    case("t1", M5, A, &[("correlation", "hex:00ff")], &[("correlation_id", "mq.b64.AP8")]),
    case("t1", S, M5, &[("correlation-id", "mq.b64.AP8")], &[("correlation", "hex:00ff")]),
    case("t1", A, M5, &[("correlation_id", "mq.b64.AP8")], &[("correlation", "hex:00ff")]),
    case("t1", M5, S, &[("correlation", "mq.b64.AP8")], &[("correlation-id", "mq.b64.AP8")]),
    case("t2", M5, A, &[("correlation", LONG)], &[("correlation_id", "mq.corr.…"), ("h.x-correlation-id", LONG)]),
    script(("t2", M5, A), "an answer whose correlation is an alias", |scene| {
        let (mut responder, mut requester) = (scene.reader(A, "amq.topic t.{n}")?, scene.reader(M5, "r/{n}")?);
        requester.publish(&scene.said(&[("topic", "t/{n}"), ("response_topic", "r/{n}"), ("correlation", LONG)]));
        let asked = next(&mut responder)?;
        let (to, alias) = (asked.text("reply_to"), asked.text("correlation_id"));
        scene.publish(A, &[("exchange", ""), ("key", to), ("correlation_id", alias), ("body", "!")])?;
        next(&mut requester)
    }, &[("body", "!"), ("correlation", LONG)]),
    // Hostile names.
    case("t3", M5, S, &[("u.subscription", "x"), ("u.message-id", "y"), ("u.content-type", "z"), ("u.receipt", "r")],
        &[("mq.h.subscription", "x"), ("mq.h.message-id", "y"), ("mq.h.content-type", "z"), ("mq.h.receipt", "r"),
        ("subscription", "1"), ("content-type", "–")]),
    case("t3", M5, S, &[("u.persistent", "true"), ("u.priority", "9"), ("u.expires", "1"), ("u.retain", "true"), ("u.reply-to", "x"),
        ("u.ack", "y"), ("u.redelivered", "true"), ("qos", "0")],
        &[("mq.h.persistent", "true"), ("mq.h.priority", "9"), ("mq.h.expires", "1"), ("mq.h.retain", "true"),
        ("mq.h.reply-to", "x"), ("mq.h.ack", "y"), ("mq.h.redelivered", "true"), ("persistent", "–"), ("reply-to", "–"), ("redelivered", "false")]),
    case("t5", M5, S, &[("u.", "x"), ("u.b", "z")], &[("b", "z"), ("", "–")]),
    case("t5", A, S, &[("h.", "x"), ("h.b", "z")], &[("b", "z"), ("", "–")]),
    case("t5", M5, S, &[("u. a ", " x "), ("u.c:d", "a:b"), ("u.e\\f", "g\\h"), ("u.b", "z")],
        &[("b", "z"), (" a ", " x "), ("c:d", "a:b"), ("e\\f", "g\\h")]),
    case("t3", A, S, &[("h.correlation-id", "x"), ("h.destination", "y")],
        &[("mq.h.correlation-id", "x"), ("correlation-id", "–"), ("mq.h.destination", "y")]),
    case("t3", S, M5, &[("mq.h.subscription", "x"), ("mq.h.content-type", "z")], &[("u.subscription", "x"), ("u.content-type", "z")]),
    case("t3", S, A, &[("mq.h.subscription", "x")], &[("h.subscription", "x"), ("h.mq.h.subscription", "–")]),
    script(("t4", S, A), "receipt, transaction and content-length of a SEND", |scene| {
        let mut reader = scene.reader(A, "amq.topic t.{n}")?;
        let mut sender = scene.peer(S)?;
        if let crate::contract::peer::Peer::Stomp(stomp) = &mut sender {
            stomp.request("BEGIN", &[("transaction", "t1")], b"")?;
            let send = [("destination", scene.fill("/topic/t.{n}")), ("transaction", "t1".to_owned())];
            let send = send.each_ref().map(|(name, value)| (*name, value.as_str()));
            stomp.request("SEND", &send, b"x")?;
            stomp.request("COMMIT", &[("transaction", "t1")], b"")?;
        }
        next(&mut reader)
    }, &[("body", "x"), ("h.receipt", "–"), ("h.transaction", "–"), ("h.content-length", "–"), ("h.destination", "–")]),
    case("t5", M5, S10, &[("u.a", "x\ny"), ("u.b", "z")], &[("a", "–"), ("b", "z")]),
    case("t5", M5, S11, &[("u.a", "x\ry"), ("u.c", "x\ny"), ("u.b", "z")], &[("a", "–"), ("c", "x\ny"), ("b", "z")]),
    case("t5", M5, S, &[("u.a", "x\ry")], &[("a", "x\ry")]),
    case("t6", A, M5, &[("h.a", "bin:00ff")], &[("u.a", "AP8="), ("u.mq.types", "a=bin")]),
    case("t6", A, M5, &[("h.a", "hex:ff41")], &[("u.a", "/0E="), ("u.mq.types", "a=bin")]),
    case("t6b", A, M5, &[("h.a", "a\0b")], &[("u.a", "YQBi"), ("u.mq.types", "a=bin")])
        .planned(&[("received", "a message"), ("u.a", "–")]),
    // Values as text.
    case("t7", A, M5, SCALARS, &[("u.b", "true"), ("u.i", "-5"), ("u.f", "0.1"), ("u.ts", "1700000000000"), ("u.n", ""),
        ("u.x", "AP8="), ("u.l", "[\"1\",\"2\"]"), ("u.d", "123.45"),
        ("u.mq.types", "b=b,i=i32,f=f64,ts=ts,n=null,x=bin,l=json,d=dec")]),
    case("t7", A, S, SCALARS, &[("b", "true"), ("i", "-5"), ("f", "0.1"), ("ts", "1700000000000"), ("n", ""),
        ("x", "AP8="), ("l", "[\"1\",\"2\"]"), ("d", "123.45"), ("mq.types", "b=b,i=i32,f=f64,ts=ts,n=null,x=bin,l=json,d=dec")]),
    case("t7", A, M5, &[("h.a,=%", "i8:1")], &[("u.mq.types", "a%2C%3D%25=i8")]),
    case("t7", A, M5, &[("h.a", "f64:NaN"), ("h.b", "f64:-inf")], &[("u.a", "NaN"), ("u.b", "-inf"), ("u.mq.types", "a=f64,b=f64")]),
    case("t8", M5, A, &[("u.a", "NaN"), ("u.b", "-inf"), ("u.mq.types", "a=f64,b=f64")], &[("h.a", "f64:NaN"), ("h.b", "f64:-inf")]),
    case("t7", A, M5, &[("h.a", "text")], &[("u.a", "text"), ("u.mq.types", "–")]),
    case("t8", M5, A, &[("u.i", "-5"), ("u.t", "5"), ("u.mq.types", "i=i32")], &[("h.i", "i32:-5"), ("h.t", "5"), ("h.mq.types", "–")]),
    case("t8", S, A, &[("b", "true"), ("ts", "1700000000000"), ("d", "123.45"), ("mq.types", "b=b,ts=ts,d=dec")],
        &[("h.b", "b:true"), ("h.ts", "ts:1700000000"), ("h.d", "dec:12345e-2")]),
    case("t9", M5, A, &[("u.a", "5"), ("u.b", "true"), ("u.long", LONG)], &[("h.a", "5"), ("h.b", "true"), ("h.long", LONG)]),
    case("t9", M3, A, &[], &[("h.mq.types", "–")]),
    // Typed comparison.
    case("t10", A, A, &[("exchange", "x{n}"), ("h.k", "i32:5")], &[("received", "a message")])
        .given(&["exchange x{n} headers"]).at("x{n} any x-match=all k=i32:5"),
    case("t10", A, A, &[("exchange", "x{n}"), ("h.k", "5")], &[("received", "nothing")])
        .given(&["exchange x{n} headers"]).at("x{n} any x-match=all k=i32:5"),
    case("t10", S, A, &[("destination", "/exchange/x{n}/any"), ("k", "5")], &[("received", "nothing")])
        .given(&["exchange x{n} headers"]).at("x{n} any x-match=all k=i32:5"),
    case("t10", S, A, &[("destination", "/exchange/x{n}/any"), ("k", "5"), ("mq.types", "k=i32")], &[("received", "a message")])
        .given(&["exchange x{n} headers"]).at("x{n} any x-match=all k=i32:5"),
    script(("t11", A, S), "SUBSCRIBE with a selector", |scene| {
        let refused = scene.reader(S, "/topic/t.{n} selector:a=1").err().unwrap_or_else(|| "granted".to_owned());
        Ok(scene.said(&[("subscribe", refused.as_str())]))
    }, &[("subscribe", "granted")]).planned(&[("subscribe", "error unavailable…closed")]),
];

const SCALARS: &[(&str, &str)] = &[
    ("h.b", "b:true"),
    ("h.i", "i32:-5"),
    ("h.f", "f64:0.1"),
    ("h.ts", "ts:1700000000"),
    ("h.n", "null:"),
    ("h.x", "bin:00ff"),
    ("h.l", "list:1,2"),
    ("h.d", "dec:123.45"),
];

const LONG: &str = "a text that is longer than a short string may be: 0123456789 0123456789 0123456789 0123456789 0123456789 \
0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 \
0123456789 0123456789 0123456789 0123456789 0123456789";
