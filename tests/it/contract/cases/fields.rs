//! §3, the field map: each field from its slot in one protocol to its slot in the others.

use crate::contract::case::{Case, Scene, Seen, case, next, quiet, script};
use crate::contract::peer::Wire::{A, M3, M5, S, S10, S11};

const BINARY: &str = "hex:0001ff0a00";

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    // The body.
    case("f1.a f1.s", A, S, &[("body", BINARY)], &[("body", BINARY), ("content-length", "5")]),
    case("f1.a f1.3", A, M3, &[("body", BINARY)], &[("body", BINARY)]),
    case("f1.a f1.5", A, M5, &[("body", "fill:1048576")], &[("size", "1048576")]),
    case("f1.3 f1.a", M3, A, &[("body", BINARY)], &[("body", BINARY)]),
    case("f1.3 f1.5", M3, M5, &[("body", "fill:1048576")], &[("size", "1048576")]),
    case("f1.5 f1.3", M5, M3, &[("body", BINARY)], &[("body", BINARY)]),
    case("f1.5 f1.s", M5, S, &[("body", "")], &[("body", ""), ("content-length", "0")]),
    case("f1.s f1.5", S, M5, &[("body", BINARY)], &[("body", BINARY)]),
    case("f1.s f1.a", S, A, &[("body", "fill:1048576")], &[("size", "1048576")]),
    case("f1.s f1.5", S10, M5, &[("body", BINARY), ("k", "v")], &[("body", BINARY), ("u.k", "v")]),
    case("f1.s f1.a", S11, A, &[("body", BINARY), ("k", "v")], &[("body", BINARY), ("h.k", "v")]),
    case("f1.a f1.s", A, S10, &[("body", BINARY), ("h.k", "v")], &[("body", BINARY), ("k", "v"), ("content-length", "5")]),
    case("f1.5 f1.s", M5, S11, &[("body", BINARY), ("u.k", "v:w")], &[("body", BINARY), ("k", "v:w")]),
    // That the body is text.
    case("f2.a f2.5", A, M5, &[("content_type", "text/x-any"), ("body", "é")], &[("payload_format", "1")]),
    case("f2.a f2.5", A, M5, &[("content_type", "a/b; charset=utf-8"), ("body", "é")], &[("payload_format", "1")]),
    case("f2.a f2.5", A, M5, &[("content_type", "application/json"), ("body", "{}")], &[("payload_format", "1")]),
    case("f2.a f2.5", A, M5, &[("content_type", "application/xml"), ("body", "<a/>")], &[("payload_format", "1")]),
    case("f2.a f2.5", A, M5, &[("content_type", "image/png"), ("body", "x")], &[("payload_format", "–")]),
    case("f2.s f2.5", S, M5, &[("content-type", "text/plain"), ("body", "é")], &[("payload_format", "1")]),
    case("f2.s f2.5", S, M5, &[("amq-msg-type", "text"), ("body", "é")], &[("payload_format", "1")]),
    case("f2.s f2.5", S, M5, &[("amq-msg-type", "bytes"), ("body", "x")], &[("payload_format", "–")]),
    case("f2.5 f2.a", M5, A, &[("payload_format", "1"), ("body", "é")], &[("h.mq.payload-format", "1")]),
    case("f2.5 f2.a", M5, A, &[("payload_format", "1"), ("content_type", "text/plain"), ("body", "é")],
        &[("h.mq.payload-format", "–"), ("content_type", "text/plain")]),
    case("f2.5 f2.s", M5, S, &[("payload_format", "1"), ("body", "é")], &[("mq.payload-format", "1")]),
    // The content type and encoding.
    case("f3.a f3.5", A, M5, &[("content_type", "a/b")], &[("content_type", "a/b")]),
    case("f3.5 f3.s", M5, S, &[("content_type", "a/b")], &[("content-type", "a/b")]),
    case("f3.s f3.a", S, A, &[("content-type", "a/b")], &[("content_type", "a/b")]),
    case("f4.a f4.5", A, M5, &[("content_encoding", "gzip")], &[("u.mq.content-encoding", "gzip")]),
    case("f4.5 f4.s", M5, S, &[("u.mq.content-encoding", "gzip")],
        &[("content-encoding", "gzip"), ("mq.content-encoding", "–")]),
    case("f4.s f4.a", S, A, &[("content-encoding", "gzip")], &[("content_encoding", "gzip")]),
    // Application properties.
    case("f5.a f5.5", A, M5, &[("h.b", "2"), ("h.a", "1")], &[("u.a", "1"), ("u.b", "2")]),
    case("f5.5 f5.s", M5, S, &[("u.k", "1"), ("u.a:b", "c\nd"), ("u.k", "2")], &[("k[]", "1 | 2"), ("a:b", "c\nd")]),
    case("f5.5 f5.a", M5, A, &[("u.k", "1"), ("u.j", "0"), ("u.k", "2")],
        &[("h.k[]", "1"), ("h.j", "0"), ("h.mq.props", "[[\"k\",\"1\"],[\"j\",\"0\"],[\"k\",\"2\"]]")]),
    case("f5.s f5.a", S, A, &[("k", "1"), ("k", "2"), ("j", "a:b")],
        &[("h.k[]", "1"), ("h.j", "a:b"), ("h.mq.props", "[[\"k\",\"1\"],[\"k\",\"2\"],[\"j\",\"a:b\"]]")]),
    case("f5.s f5.5", S, M5, &[("k", "1"), ("j", "0"), ("k", "2")], &[("u.k[]", "1 | 2"), ("u.j", "0")]),
    script(("f5.5 f5.a", M5, A), "a name that is longer than AMQP's may be", |scene| {
        let mut reader = scene.reader(A, "amq.topic t.{n}")?;
        let long = format!("u.{}", "n".repeat(256));
        scene.publish(M5, &[("topic", "t/{n}"), (&long, "lost"), ("u.short", "kept")])?;
        let message = next(&mut reader)?;
        let lost = message.0.iter().all(|(_, value)| value != "lost").to_string();
        Ok(scene.said(&[("lost", &lost), ("kept", message.text("h.short"))]))
    }, &[("lost", "true"), ("kept", "kept")]),
    // The message id.
    case("f6.a f6.5", A, M5, &[("message_id", "m-1")], &[("u.mq.message-id", "m-1")]),
    case("f6.a f6.s", A, S, &[("message_id", "m-1")], &[("amqp-message-id", "m-1"), ("message-id", "…")]),
    case("f6.s f6.a", S, A, &[("amqp-message-id", "m-1")], &[("message_id", "m-1")]),
    case("f6.s f6.a", S, A, &[("amqp-message-id", LONG_ID)], &[("message_id", "–"), ("h.x-message-id", LONG_ID)]),
    case("f6.s f6.a", S, A, &[("amqp-message-id", "mq.b64.AP8")], &[("message_id", "–"), ("h.x-message-id", "bin:00ff")]),
    case("f6.5 f6.s", M5, S, &[("u.mq.message-id", "m-1")], &[("amqp-message-id", "m-1"), ("mq.message-id", "–")]),
    // The correlation id.
    case("f7.a f7.5", A, M5, &[("correlation_id", "c-1")], &[("correlation", "c-1")]),
    case("f7.a f7.5", A, M5, &[("correlation_id", "hex:00ff")], &[("correlation", "hex:00ff")]),
    case("f7.5 f7.s", M5, S, &[("correlation", "c-1")], &[("correlation-id", "c-1")]),
    case("f7.5 f7.s", M5, S, &[("correlation", "hex:00ff")], &[("correlation-id", "mq.b64.AP8")]),
    case("f7.5 f7.a", M5, A, &[("correlation", "hex:00ff")],
        &[("correlation_id", "mq.b64.AP8"), ("h.x-correlation-id", "bin:00ff")]),
    case("f7.s f7.a", S, A, &[("correlation-id", "c-1")], &[("correlation_id", "c-1"), ("h.x-correlation-id", "–")]),
    case("f7.s f7.5", S, M5, &[("correlation-id", "urn:uuid:00112233-4455-6677-8899-aabbccddeeff")],
        &[("correlation", "urn:uuid:00112233-4455-6677-8899-aabbccddeeff")]),
    case("f7.s f7.a", S, A, &[("correlation-id", LONG_ID)], &[("h.x-correlation-id", LONG_ID)]),
    // Durability and QoS.
    case("f9.a f9.5", A, M5, &[("delivery_mode", "2")], &[("qos", "1")]),
    case("f9.a f9.3", A, M3, &[("delivery_mode", "1")], &[("qos", "0")]),
    case("f9.a f9.s", A, S, &[("delivery_mode", "2")], &[("persistent", "true")]),
    case("f9.a f9.s", A, S, &[("delivery_mode", "1")], &[("persistent", "–")]),
    case("f9.3 f9.a", M3, A, &[("qos", "2")], &[("delivery_mode", "2"), ("h.x-mqtt-qos", "i8:2")]),
    case("f9.3 f9.s", M3, S, &[("qos", "0")], &[("persistent", "–")]),
    case("f9.5 f9.a", M5, A, &[("qos", "0")], &[("delivery_mode", "1"), ("h.x-mqtt-qos", "i8:0")]),
    case("f9.5 f9.s", M5, S, &[("qos", "1")], &[("persistent", "true")]),
    case("f9.s f9.a", S, A, &[("persistent", "true")], &[("delivery_mode", "2"), ("h.x-mqtt-qos", "–")]),
    case("f9.s f9.5", S, M5, &[], &[("qos", "0")]),
    case("f9.a f9.5", A, M5, &[("h.x-mqtt-qos", "i32:2"), ("delivery_mode", "2")], &[("qos", "2"), ("u.x-mqtt-qos", "–")]),
    // The priority.
    case("f10.a f10.5", A, M5, &[("priority", "0")], &[("u.mq.priority", "0")]),
    case("f10.a f10.5", A, M5, &[], &[("u.mq.priority", "–")]),
    case("f10.a f10.s", A, S, &[("priority", "255")], &[("priority", "9"), ("mq.priority", "255")]),
    case("f10.a f10.s", A, S, &[("priority", "4")], &[("priority", "4"), ("mq.priority", "–")]),
    case("f10.a", A, A, &[("priority", "200")], &[("priority", "200")]).given(&["queue p{n} x-max-priority=i64:5",
        "bind p{n} amq.topic t.{n}"]).at("queue p{n}"),
    case("f10.5 f10.a", M5, A, &[("u.mq.priority", "7")], &[("priority", "7"), ("h.mq.priority", "–")]),
    case("f10.5 f10.s", M5, S, &[("u.mq.priority", "7")], &[("priority", "7")]),
    case("f10.s f10.a", S, A, &[("priority", "200")], &[("priority", "200")]),
    case("f10.s f10.5", S, M5, &[("priority", "9")], &[("u.mq.priority", "9")]),
    // The expiry.
    case("f11.a f11.5", A, M5, &[("expiration", "90000")], &[("expiry", "80..90")]),
    case("f11.a f11.5", A, M5, &[("expiration", "900")], &[("expiry", "1")]),
    case("f11.a f11.5", A, M5, &[("expiration", "3456000000")], &[("expiry", "3455990..3456000")]),
    case("f11.a f11.s", A, S, &[("expiration", "90000")],
        &[("expires", "{now+89000}..{now+99000}"), ("expiration", "80000..90000")]),
    case("f11.a", A, A, &[("expiration", "90000")], &[("expiration", "90000")]),
    // A consumer that waits is offered it once.
    case("f11.a f11.s", A, S, &[("expiration", "0"), ("delivery_mode", "2")], &[("received", "a message")]).through_queue(),
    case("f11.5 f11.a", M5, A, &[("expiry", "90")], &[("expiration", "80000..90000")]),
    case("f11.5 f11.s", M5, S, &[("expiry", "90")], &[("expiration", "80000..90000")]),
    case("f11.s f11.a", S, A, &[("expires", "{now+90000}")], &[("expiration", "80000..91000")]),
    case("f11.s f11.a", S, A, &[("expiration", "90000")], &[("expiration", "80000..90000")]),
    case("f11.s f11.a", S, A, &[("expires", "0")], &[("expiration", "–")]),
    case("f11.s f11.a", S, A, &[("expires", "{now+900000}"), ("expiration", "90000")], &[("expiration", "80000..90000")]),
    case("f11.s f11.5", S, M5, &[("expiration", "9000")], &[("expiry", "1..9")]),
    case("f11.s", S, S, &[("expiration", "90000")], &[("expiration", "90000"), ("expires", "–")]),
    script(("f11.5", M5, M5), "a message that expired in the queue is not sent", expired, &[("quiet", "true")]),
    // Delayed delivery.
    case("f12.a", A, A, &[("h.x-delay", "i32:60000")], &[("received", "nothing")]).planned(&[("received", "a message")]),
    case("f12.a", A, S, &[("h.x-opt-delivery-time", "i64:99999999999999")], &[("received", "nothing")])
        .planned(&[("received", "a message")]),
    case("f12b.5", M5, M5, &[("u.mq.delay-ms", "60000")], &[("received", "nothing")])
        .planned(&[("received", "a message")]),
    case("f12.5", M5, M5, &[("topic", "$delayed/1/t/{n}")], &[("sender", "puback 0x00")]),
    case("f12.3", M3, M3, &[("topic", "$delayed/0/t/{n}")], &[("received", "a message")]),
    case("f12.s", S, S, &[("AMQ_SCHEDULED_DELAY", "60000")], &[("received", "nothing"), ("sender", "receipt")]),
    case("f12.s", S, S, &[("AMQ_SCHEDULED_DELAY", "300")], &[("received", "a message")]),
    case("f12.s", S, S, &[("AMQ_SCHEDULED_TIME", "{now+300}")], &[("received", "a message")]),
    // Retain.
    case("f13.a f13.5", A, M5, &[("h.x-mqtt-retain", "b:true")], &[("retain", "true")]),
    case("f13.a f13.s", A, S, &[("h.x-mqtt-retain", "b:true")], &[("retain", "true"), ("x-mqtt-retain", "–")]),
    case("f13.3 f13.a", M3, A, &[("retain", "true"), ("body", "v")], &[("h.x-mqtt-retain", "b:true"), ("h.x-retained", "–")]),
    case("f13.3 f13.5", M3, M5, &[("retain", "true"), ("body", "v")], &[("retain", "true")]),
    case("f13.5 f13.3", M5, M3, &[("retain", "true"), ("body", "v")], &[("retain", "false")]),
    case("f13.5 f13.s", M5, S, &[("retain", "true"), ("body", "v")], &[("retain", "true"), ("mq.retained", "–")]),
    case("f13.s f13.a", S, A, &[("retain", "true"), ("body", "v")], &[("h.x-mqtt-retain", "b:true")]),
    case("f13.s f13.5", S, M5, &[("retain", "true"), ("body", "v")], &[("retain", "true")]),
    // The sender's time.
    case("f14.a f14.5", A, M5, &[("timestamp", "1700000000")], &[("u.mq.timestamp", "1700000000000")]),
    case("f14.a f14.s", A, S, &[("timestamp", "1700000000"), ("h.timestamp_in_ms", "i64:1700000000123")],
        &[("timestamp", "1700000000123"), ("timestamp_in_ms", "–")]),
    case("f14.5 f14.s", M5, S, &[("u.mq.timestamp", "1700000000123")], &[("timestamp", "1700000000123")]),
    case("f14.s f14.a", S, A, &[("timestamp", "1700000000123")],
        &[("timestamp", "1700000000"), ("h.timestamp_in_ms", "i64:1700000000123")]),
    case("f14.s f14.5", S, M5, &[("timestamp", "1700000000123")], &[("u.mq.timestamp", "1700000000123")]),
    // The user.
    case("f15.a f15.5", A, M5, &[("user_id", "guest")], &[("u.mq.user-id", "guest")]),
    case("f15.a f15.s", A, S, &[("user_id", "guest")], &[("user-id", "guest")]),
    case("f15.a", A, A, &[], &[("user_id", "–")]),
    case("f15.a", A, A, &[("user_id", "somebody")], &[("sender", "channel closed 406"), ("received", "nothing")]),
    case("f15.s f15.a", S, A, &[("user-id", "guest")], &[("user_id", "guest")]),
    case("f15.s f15.a", S, A, &[("JMSXUserID", "other")], &[("user_id", "–"), ("h.JMSXUserID", "other")]),
    case("f15.s", S, S, &[("user-id", "somebody")], &[("sender", "error precondition_failed…closed"), ("received", "nothing")]),
    case("f15.5 f15.a", M5, A, &[("u.mq.user-id", "guest")], &[("user_id", "–"), ("h.mq.user-id", "–")]),
    // Names of the application's own.
    case("f16.a f16.5", A, M5, &[("app_id", "app")], &[("u.mq.app-id", "app")]),
    case("f16.5 f16.s", M5, S, &[("u.mq.app-id", "app")], &[("app-id", "app")]),
    case("f16.s f16.a", S, A, &[("app-id", "app")], &[("app_id", "app")]),
    case("f17.a f17.5", A, M5, &[("type", "order")], &[("u.mq.type", "order")]),
    case("f17.5 f17.s", M5, S, &[("u.mq.type", "order")], &[("type", "order")]),
    case("f17.s f17.a", S, A, &[("type", "order")], &[("type", "order")]),
    case("f18.a f18.s", A, S, &[("h.x-subject", "s")], &[("mq.subject", "s"), ("x-subject", "–")]),
    case("f18.s f18.a", S, A, &[("mq.subject", "s")], &[("h.x-subject", "s")]),
    case("f18.5 f18.a", M5, A, &[("u.mq.subject", "s")], &[("h.x-subject", "s")]),
    case("f18.a f18.5", A, M5, &[("h.x-subject", "s")], &[("u.x-subject", "–"), ("u.mq.subject", "–")]),
    case("f19.a f19.s", A, S, &[("h.x-group-id", "g"), ("h.x-group-seq", "i32:7")],
        &[("JMSXGroupID", "g"), ("JMSXGroupSeq", "7")]),
    case("f19.a f19.s", A, S, &[("h.JMSXGroupID", "g")], &[("JMSXGroupID", "g")]),
    case("f19.s f19.a", S, A, &[("JMSXGroupID", "g"), ("JMSXGroupSeq", "7")],
        &[("h.x-group-id", "g"), ("h.x-group-seq", "i64:7")]),
    case("f19.5 f19.a", M5, A, &[("u.mq.group-id", "g"), ("u.mq.group-seq", "7")],
        &[("h.x-group-id", "g"), ("h.x-group-seq", "i64:7")]),
    case("f19.a f19.5", A, M5, &[("h.x-group-id", "g")], &[("u.mq.group-id", "–"), ("u.x-group-id", "–")]),
    // Where it was published.
    case("f20.a f20.5", A, M5, &[], &[("topic", "t/{n}")]),
    case("f20.5 f20.a", M5, A, &[], &[("exchange", "amq.topic"), ("key", "t.{n}")]),
    case("f20.5 f20.3", M5, M3, &[], &[("topic", "t/{n}")]),
    case("f20.3 f20.s", M3, S, &[], &[("destination", "/topic/t.{n}")]),
    case("f20.s f20.a", S, A, &[], &[("exchange", ""), ("key", "q{n}")]).through_queue(),
    case("f20.s f20.5", S, M5, &[], &[("topic", "$q/q{n}")]).through_queue(),
    case("f20.a f20.s", A, S, &[], &[("destination", "/queue/q{n}")]).through_queue(),
    // Trace context.
    case("f23.a f23.5", A, M5, &[("h.traceparent", TRACE)], &[("u.traceparent", TRACE)]),
    case("f23.5 f23.s", M5, S, &[("u.traceparent", TRACE), ("u.tracestate", "a=b")], &[("traceparent", TRACE), ("tracestate", "a=b")]),
    case("f23.s f23.a", S, A, &[("traceparent", TRACE), ("tracestate", "a=b")], &[("h.traceparent", TRACE), ("h.tracestate", "a=b")]),
    // Where it came from.
    script(("f24.a f24.5", M5, A), "a publish by the client `me`", origin, &[("h.x-opt-mqtt-client-id", "me-…"),
        ("h.x-opt-origin-protocol", "mqtt-5.0"), ("h.x-opt-received-time", "i64:…")]),
    script(("f24.a f24.3", M3, A), "a publish by the client `me`", origin, &[("h.x-opt-mqtt-client-id", "me-…"),
        ("h.x-opt-origin-protocol", "mqtt-3.1.1")]),
    case("f24.a f24.s", A, S, &[], &[("mq.origin-client-id", "–"), ("received", "a message")]),
    case("f24.s f24.a", S, A, &[], &[("h.x-opt-origin-protocol", "stomp-1.2"), ("h.x-opt-mqtt-client-id", "–")]),
    script(("f24.s f24.5", M5, S), "a publish by the client `me`", origin, &[("mq.origin-client-id", "me-…")]),
    script(("f24.5 f24.s", S, M5), "a publish by the client `me`", origin, &[("u.mq.origin-client-id", "–")]),
    script(("f24b.s", M5, S), "the protocol that it came by", origin, &[("mq.origin-protocol", "mqtt-5.0")])
        .planned(&[("mq.origin-client-id", "me-…"), ("mq.origin-protocol", "–")]),
    // What belongs to one hop.
    case("f25", M5, A, &[("alias", "3"), ("body", "x")], &[("body", "x"), ("h.alias", "–"), ("h.mq.alias", "–")]),
    case("f25", M5, M5, &[("alias", "3"), ("body", "x")], &[("body", "x"), ("alias", "–"), ("subscription", "7")])
        .at("t/{n} id=7"),
];

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// 300 octets: more than AMQP's slots hold.
const LONG_ID: &str = "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii\
iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii\
iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii";

/// It waits in the session's queue until it is too old.
fn expired(scene: &Scene<'_>) -> Seen {
    let mut sleeper = scene.client(M5, "sleeper{n}", &["keep"])?;
    sleeper.subscribe(&scene.fill("t/{n}"))?;
    drop(sleeper);
    scene.publish(M5, &[("topic", "t/{n}"), ("expiry", "1")])?;
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let mut awake = scene.client(M5, "sleeper{n}", &["keep"])?;
    let quiet = quiet(&mut awake)?.to_string();
    Ok(scene.said(&[("quiet", quiet.as_str())]))
}

fn origin(scene: &Scene<'_>) -> Seen {
    let at = match scene.to {
        A => "amq.topic t.{n}",
        S => "/topic/t.{n}",
        _ => "t/{n}",
    };
    let mut reader = scene.reader(scene.to, at)?;
    let said = match scene.from {
        S => scene.said(&[("destination", "/topic/t.{n}")]),
        _ => scene.said(&[("topic", "t/{n}")]),
    };
    scene.client(scene.from, "me-{n}", &[])?.publish(&said);
    next(&mut reader)
}
