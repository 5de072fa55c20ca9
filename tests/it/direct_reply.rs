//! Direct reply-to over sockets: responders of every protocol, whatever their rights, reach the channel that asked; one
//! that is gone is not reached, and one that does not read holds nobody up.

use crate::broker::{Broker, Folder};
use crate::wire::QUIET;
use crate::wire::amqp::{self, Amqp};
use crate::wire::mqtt::{self, Connect, Mqtt};
use crate::wire::stomp::Stomp;

const PSEUDO_QUEUE: &str = "amq.rabbitmq.reply-to";
/// A password, and its hash, which costs little.
const PASSWORD: &str = "right";
const HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$rc9SVIMTq5NJGXhhEkKX2z34B0IX900+yu18TYBLKbM";

/// A request whose answer is to come to its channel.
fn request(correlation: &str) -> amqp::Properties {
    amqp::Properties {
        correlation: Some(correlation.to_owned()),
        reply_to: Some(PSEUDO_QUEUE.to_owned()),
        ..amqp::Properties::persistent()
    }
}

fn answer(correlation: &str) -> amqp::Properties {
    amqp::Properties { correlation: Some(correlation.to_owned()), ..amqp::Properties::persistent() }
}

#[test]
fn responders_who_may_publish_nowhere_answer_in_every_protocol() {
    let folder = Folder::new();
    let configuration = format!(
        "[[user]]\nname = \"clerk\"\npassword_hash = \"{HASH}\"\nread = [\"topic:ask/#\", \"queue:asked\"]\n"
    );
    let file = folder.write("users.toml", &configuration);
    let broker = Broker::with(&["--config", &file.to_string_lossy()]);
    let mut requester = Amqp::connect(broker.amqp);
    requester.queue("asked", true);
    requester.consume(PSEUDO_QUEUE, true);

    let login = Some(("clerk", PASSWORD));
    let mut device = Mqtt::connect(broker.mqtt, &Connect { login, ..Connect::v5("device") });
    device.subscribe("ask/device", 1);
    requester.publish("amq.topic", "ask.device", &request("1"), b"?");
    let asked = device.receive();
    device.acknowledge(&asked);
    let topic = asked.properties.response_topic.expect("where to answer");
    let properties = mqtt::Properties {
        correlation: asked.properties.correlation,
        ..mqtt::Properties::default()
    };
    device.publish_with(&topic, b"device", 1, &properties);

    let mut service = Stomp::connect_as(broker.stomp, "clerk", PASSWORD);
    service.subscribe("1", "/topic/ask.service", "auto", &[]);
    requester.publish("amq.topic", "ask.service", &request("2"), b"?");
    let asked = service.receive();
    let to = asked.header("reply-to").expect("where to answer").to_owned();
    let correlation = asked.header("correlation-id").expect("a correlation").to_owned();
    service.send(&to, &[("correlation-id", &correlation)], b"service");

    let mut worker = Amqp::connect_as(broker.amqp, "clerk", PASSWORD);
    worker.consume("asked", true);
    requester.publish("", "asked", &request("3"), b"?");
    let asked = worker.receive();
    let to = asked.properties.reply_to.expect("where to answer");
    worker.publish(
        "",
        &to,
        &answer(&asked.properties.correlation.expect("a correlation")),
        b"worker",
    );

    let mut answers: Vec<_> = (0..3).map(|_| requester.receive()).collect();
    answers.sort_by(|a, b| a.properties.correlation.cmp(&b.properties.correlation));
    let seen: Vec<_> =
        answers.iter().map(|a| (a.properties.correlation.as_deref(), a.body.as_slice())).collect();
    let expected =
        [(Some("1"), &b"device"[..]), (Some("2"), &b"service"[..]), (Some("3"), &b"worker"[..])];
    assert_eq!(seen, expected);
    assert!(answers.iter().all(|a| a.exchange.is_empty() && a.key == to && !a.redelivered));

    // The right to answer is no right to anything else.
    worker.publish("", "asked", &answer("4"), b"not allowed");
    assert_eq!(requester.ready("asked"), 0);
    assert_eq!(requester.receive_within(QUIET), None);
}

/// A filter that requests go through, and a route that sends to whatever queue a header names.
const ROUTES: &str = "\
[[route]]
name = \"mark\"
from = [\"topic:ask/#\"]
steps = [{ set = { marked = \"'yes'\" } }]
mode = \"filter\"

[[route]]
name = \"forward\"
from = [\"queue:forward\"]
to = [\"queue:{answer_to}\"]
on_error = { then = \"reject\" }
";

#[test]
fn requests_and_answers_pass_content_routes() {
    let folder = Folder::new();
    let file = folder.write("routes.toml", ROUTES);
    let broker = Broker::with(&["--config", &file.to_string_lossy()]);
    let mut requester = Amqp::connect(broker.amqp);
    requester.consume(PSEUDO_QUEUE, true);
    let mut worker = Amqp::connect(broker.amqp);
    worker.confirm_select();
    worker.queue("asked", false);
    worker.queue("forward", true);
    worker.bind("asked", "amq.topic", "ask.#");
    worker.consume("asked", true);
    requester.publish("amq.topic", "ask.x", &request("1"), b"?");
    let asked = worker.receive();
    assert_eq!(asked.properties.header("marked").as_deref(), Some("yes"));
    let to = asked.properties.reply_to.expect("where to answer");
    worker.publish("", &to, &answer("1"), b"straight");
    let header = ("answer_to".to_owned(), amqp::Field::Text(to.clone()));
    let forwarded = amqp::Properties { headers: vec![header], ..answer("2") };
    worker.publish("", "forward", &forwarded, b"by a route");
    worker.wait_confirms();
    for (correlation, body) in [("1", &b"straight"[..]), ("2", b"by a route")] {
        let got = requester.receive();
        assert_eq!((got.properties.correlation.as_deref(), &*got.body), (Some(correlation), body));
        assert_eq!(got.key, to);
    }
    // Nobody waits any more: it is delivered to nobody, and that is no failure of the route.
    drop(requester);
    std::thread::sleep(QUIET);
    worker.publish("", "forward", &forwarded, b"late");
    worker.wait_confirms();
}

/// A request that outlives the broker is answered nowhere, and its responder is told so and goes on.
#[test]
fn a_requester_from_before_a_crash_is_gone() {
    let mut broker = Broker::start();
    let mut requester = Amqp::connect(broker.amqp);
    requester.queue("asked", true);
    requester.consume(PSEUDO_QUEUE, true);
    requester.confirm_select();
    requester.publish("", "asked", &request("1"), b"?");
    requester.wait_confirms();
    broker.crash();

    let mut requester = Amqp::connect(broker.amqp);
    requester.consume(PSEUDO_QUEUE, true);
    let mut worker = Amqp::connect(broker.amqp);
    let asked = worker.get("asked").expect("the request was stored");
    let gone = asked.properties.reply_to.expect("where to answer");
    worker.confirm_select();
    worker.publish("", &gone, &answer("1"), b"too late");
    worker.wait_confirms();
    requester.publish("", "asked", &request("2"), b"?");
    let asked = loop {
        if let Some(asked) = worker.get("asked") {
            break asked;
        }
    };
    let to = asked.properties.reply_to.expect("where to answer");
    assert_ne!(to, gone);
    worker.publish("", &to, &answer("2"), b"in time");
    worker.wait_confirms();
    assert_eq!(requester.receive().body, b"in time");
    assert_eq!(requester.receive_within(QUIET), None);
}

/// 40 MB of answers to somebody who does not read: the responder is held up by nothing, and the broker does not grow.
#[test]
fn answers_that_nobody_reads_are_dropped() {
    let broker = Broker::with(&["--set", "limits.inbox_bytes=1MiB"]);
    let mut requester = Amqp::connect(broker.amqp);
    requester.queue("asked", false);
    requester.consume(PSEUDO_QUEUE, true);
    requester.publish("", "asked", &request("1"), b"?");
    let mut worker = Amqp::connect(broker.amqp);
    let asked = loop {
        if let Some(asked) = worker.get("asked") {
            break asked;
        }
    };
    let to = asked.properties.reply_to.expect("where to answer");
    let before = broker.resident();
    worker.confirm_select();
    let body = vec![b'x'; 100_000];
    for _ in 0..400 {
        worker.publish("", &to, &answer("1"), &body);
    }
    worker.wait_confirms();
    let grown = broker.resident().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes");
    // What was written before the socket was full arrives, and the next answer, too.
    let mut read = 0;
    while requester.receive_within(QUIET).is_some() {
        read += 1;
    }
    assert!(read < 390, "{read} of 400 answers");
    worker.publish("", &to, &answer("2"), b"the next one");
    worker.wait_confirms();
    assert_eq!(requester.receive().body, b"the next one");
}
