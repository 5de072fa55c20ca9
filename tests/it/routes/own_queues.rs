//! The queues of routes (`route/NAME`) are the broker's: no client may do anything with them.

use super::amqp::{Channel, Method, short, table};
use super::mqtt::Client;
use super::publisher::{Answer, Publisher, Way, send};
use super::{Kind, Look, Setup, Wrong};
use crate::broker::Broker;
use crate::wire::stomp::{Stomp, frame};
use crate::wire::{PATIENCE, QUIET};
use std::time::Instant;

fn start() -> super::Running {
    let mut setup = Setup::new();
    setup.queue("out");
    let steps = Kind::Wasm.steps();
    setup.route("mine", &[r#"from = ["topic:in"]"#, &steps, r#"to = ["queue:out"]"#]);
    setup.start()
}

/// One that is there, and one that could be.
const NAMES: [&str; 2] = ["route/mine", "route/other"];

/// The route does its work, and nothing else came through it.
fn is_unharmed(broker: &Broker) {
    std::thread::sleep(QUIET);
    let mut look = Look::into(broker);
    assert_eq!(look.bodies("out"), Vec::<String>::new(), "nothing came through the route");
    let answer = Publisher::connect(broker, Way::AmqpConfirm, "c").publish("in", "hello");
    assert_eq!(answer, Answer::Stored);
    assert_eq!(look.one("out").body, b"hello");
}

#[test]
fn every_verb_of_amqp_is_refused() {
    let broker = start();
    let mut wrong = Wrong::default();
    for name in NAMES {
        let queue = short(name);
        let none = table(&[]);
        let topics = short("amq.topic");
        let verbs: [(&str, Method, Vec<&[u8]>, Method); 9] = [
            ("declare", (50, 10), vec![&[0, 0], &queue, &[2], &none], (50, 11)),
            ("declare passively", (50, 10), vec![&[0, 0], &queue, &[1], &none], (50, 11)),
            ("declare transient", (50, 10), vec![&[0, 0], &queue, &[0], &none], (50, 11)),
            ("delete", (50, 40), vec![&[0, 0], &queue, &[0]], (50, 41)),
            ("purge", (50, 30), vec![&[0, 0], &queue, &[0]], (50, 31)),
            ("bind", (50, 20), vec![&[0, 0], &queue, &topics, &[0], &[0], &none], (50, 21)),
            ("unbind", (50, 50), vec![&[0, 0], &queue, &topics, &[0], &none], (50, 51)),
            ("consume", (60, 20), vec![&[0, 0], &queue, &[0], &[0], &none], (60, 21)),
            ("get", (60, 70), vec![&[0, 0], &queue, &[0]], (60, 71)),
        ];
        for (verb, method, parts, reply) in verbs {
            let case = format!("{verb} {name}");
            let got = Channel::connect(broker.amqp).ask_either(method, &parts, &[reply, (60, 72)]);
            wrong.equal(&case, "the answer", got, Err("channel closed 403".to_owned()));
        }
        let mut channel = Channel::connect(broker.amqp);
        channel.ask((85, 10), &[&[0]], (85, 11)).expect("confirms");
        channel.publish("", name, false, b"intruder");
        let got = channel.answer(&[(60, 80), (60, 120)]);
        let refused = matches!(got, Ok((60, 120)) | Err(_));
        wrong.check(&format!("publish {name}"), &format!("refused, not {got:?}"), refused);
        let dead = [("x-dead-letter-exchange", ""), ("x-dead-letter-routing-key", name)];
        let got = Channel::connect(broker.amqp).declare(&format!("dead-{name}"), 2, &dead);
        let case = format!("dead-letter to {name}");
        wrong.check(&case, "refused when it is declared", got.is_err());
    }
    drop(wrong);
    is_unharmed(&broker);
}

#[test]
fn an_unconfirmed_publish_to_a_routes_queue_changes_nothing() {
    let broker = start();
    for name in NAMES {
        Channel::connect(broker.amqp).publish("", name, false, b"intruder");
        let mut old = Client::connect(broker.mqtt, 4, "old");
        old.publish_at_most_once(&format!("$q/{name}"), b"intruder");
        assert!(old.is_alive());
        // MQTT 3.1.1 has no word for it: acknowledged and dropped.
        assert_eq!(old.publish(&format!("$q/{name}"), b"intruder", false), Some(0));
        let mut tx = Channel::connect(broker.amqp);
        tx.ask((90, 10), &[], (90, 11)).expect("transactions");
        tx.publish("", name, false, b"intruder");
        tx.send((90, 20), &[]);
        assert!(tx.answer(&[(90, 21)]).is_err(), "the commit is refused");
    }
    is_unharmed(&broker);
}

#[test]
fn every_verb_of_mqtt_is_refused() {
    let broker = start();
    let mut wrong = Wrong::default();
    for name in NAMES {
        for level in [4, 5] {
            let code = Client::connect(broker.mqtt, level, "c").subscribe(&format!("$q/{name}"));
            wrong.check(
                &format!("subscribe $q/{name} {level}"),
                &format!("0x{code:x}"),
                code >= 0x80,
            );
        }
        for topic in [format!("$q/{name}"), format!("$reply/q/{name}")] {
            let code = Client::connect(broker.mqtt, 5, "c").publish(&topic, b"intruder", false);
            wrong.equal(&topic, "the PUBACK", code, Some(0x87));
        }
        if let Ok(client) = Client::with_will(broker.mqtt, "w", &format!("$q/{name}")) {
            client.vanish();
        }
    }
    drop(wrong);
    is_unharmed(&broker);
}

#[test]
fn every_verb_of_stomp_is_refused() {
    let broker = start();
    let mut wrong = Wrong::default();
    for name in NAMES {
        let name = name.replace('/', "%2F");
        for prefix in ["/queue/", "/amq/queue/", "/remote-temp-queue/"] {
            let destination = format!("{prefix}{name}");
            let mut stomp = Stomp::connect(broker.stomp);
            let answer = send(&mut stomp, &destination, "intruder", true);
            let case = format!("SEND {destination}");
            wrong.equal(&case, "the answer", answer, Answer::Refused("access_refused".to_owned()));
            let mut stomp = Stomp::connect(broker.stomp);
            let headers = [("id", "1"), ("destination", &destination), ("receipt", "1")];
            stomp.socket.send(&frame("SUBSCRIBE", &headers, b""));
            let frame = stomp.frame(Instant::now() + PATIENCE).expect("an answer");
            let case = format!("SUBSCRIBE {destination}");
            let got = (frame.command.as_str(), frame.header("crossdock-code"));
            wrong.equal(&case, "the answer", got, ("ERROR", Some("access_refused")));
        }
    }
    drop(wrong);
    is_unharmed(&broker);
}
