//! Destinations and dead-letter addresses that are missing, full or unheard, for publishers that hear an answer.

use super::amqp::Channel;
use super::publisher::{Answer, COMPANIONS, Publisher, TOLD, Way};
use super::{KINDS, Kind, Look, Setup, Wrong};
use crate::broker::Broker;
use crate::wire::QUIET;

/// Where a route runs, how its message is published, and a name for both.
fn cases() -> Vec<(Kind, Way, String)> {
    let ways = |kind| TOLD.map(move |way| (kind, way, format!("{kind:?}-{way:?}")));
    KINDS.into_iter().flat_map(ways).collect()
}

/// Publishes, and compares the answer; a transaction's companion shares its fate.
fn publish(broker: &Broker, way: Way, (topic, body): (&str, &str), wrong: &mut Wrong) -> Answer {
    let answer = Publisher::connect(broker, way, topic).publish(topic, body);
    let companions = Look::into(broker).bodies(COMPANIONS).len();
    let want = usize::from(way == Way::AmqpTx && !answer.is_no());
    wrong.equal(topic, "companions in the transaction", companions, want);
    answer
}

#[test]
fn an_output_to_what_is_not_there_is_a_failure_of_the_route() {
    let mut setup = Setup::new();
    let mut table = Vec::new();
    for (kind, way, case) in cases() {
        for missing in ["exchange", "queue", "computed"] {
            for then in ["dead-letter", "pass", "drop", "reject"] {
                if then == "reject" && kind == Kind::Wasm {
                    continue;
                }
                let name = format!("{case}-{missing}-{then}");
                table.push((way, missing, then, name));
            }
        }
    }
    for (_, missing, then, name) in &table {
        let kind = if name.starts_with("Wasm") { Kind::Wasm } else { Kind::Inline };
        let to = match *missing {
            "exchange" => format!("exchange:gone-{name}/k"),
            "queue" => format!("queue:gone-{name}"),
            _ => format!("queue:{{seen}}-{name}"),
        };
        setup.hears(&format!("in/{name}"), &format!("heard-{name}"));
        setup.queue(&format!("ok-{name}"));
        if *missing == "exchange" {
            setup.exchange(&format!("gone-{name}"), "fanout");
        }
        let from = format!(r#"from = ["topic:in/{name}"]"#);
        let to = format!(r#"to = ["queue:ok-{name}", "{to}"]"#);
        let dead = match *then {
            "dead-letter" => format!(r#", dead_letter = "queue:dead-{name}""#),
            _ => String::new(),
        };
        let on_error = format!(r#"on_error = {{ then = "{then}"{dead} }}"#);
        setup.route(name, &[&from, &kind.steps(), &to, &on_error]);
    }
    let broker = setup.start();
    let mut wrong = Wrong::default();
    let mut channel = Channel::connect(broker.amqp);
    for (_, missing, _, name) in &table {
        match *missing {
            "exchange" => channel.delete_exchange(&format!("gone-{name}")).expect("deleted"),
            "queue" => channel.delete_queue(&format!("gone-{name}")).expect("deleted"),
            _ => {}
        }
    }
    let mut look = Look::into(&broker);
    for (way, _, then, name) in &table {
        let answer = publish(&broker, *way, (&format!("in/{name}"), "hello"), &mut wrong);
        match *then {
            "reject" => {
                let is_told = answer.is_no() || answer == Answer::Unroutable;
                wrong.check(name, &format!("told, not {answer:?}"), is_told);
            }
            _ => wrong.equal(name, "the answer", answer, Answer::Stored),
        }
    }
    std::thread::sleep(QUIET);
    for (_, _, then, name) in &table {
        let counts =
            [look.bodies(&format!("heard-{name}")).len(), look.bodies(&format!("ok-{name}")).len()];
        wrong.equal(
            name,
            "in the bound and in the good queue",
            counts,
            [usize::from(*then == "pass"), 0],
        );
        if *then == "dead-letter" {
            let letters = look.take(&format!("dead-{name}"));
            wrong.equal(name, "dead letters", letters.len(), 1);
            let kind = letters.first().and_then(|d| d.properties.header("mq.error.kind"));
            wrong.equal(name, "their kind", kind.as_deref(), Some("unroutable"));
        }
    }
}

#[test]
fn a_full_destination_refuses_the_publisher_or_holds_the_input() {
    let mut setup = Setup::new();
    for (kind, _, case) in cases() {
        setup.narrow(&format!("full-{case}")).queue(&format!("ok-{case}"));
        let from = format!(r#"from = ["topic:in/{case}"]"#);
        let to = format!(r#"to = ["queue:ok-{case}", "queue:full-{case}"]"#);
        setup.route(&case, &[&from, &kind.steps(), &to]);
    }
    let broker = setup.start();
    let mut wrong = Wrong::default();
    let mut look = Look::into(&broker);
    for (kind, way, case) in cases() {
        look.put(&format!("full-{case}"), "first");
        let answer = publish(&broker, way, (&format!("in/{case}"), "hello"), &mut wrong);
        check_refusal(&case, (kind, way, answer), &mut wrong);
    }
    std::thread::sleep(QUIET);
    for (kind, _, case) in cases() {
        let (ok, full) = (format!("ok-{case}"), format!("full-{case}"));
        wrong.equal(&case, "placed beside", look.bodies(&ok).len(), 0);
        wrong.equal(&case, "in the full queue", look.bodies(&full), vec!["first".to_owned()]);
        if kind == Kind::Wasm {
            let arrived = [look.one(&full), look.one(&ok)];
            wrong.check(
                &case,
                "delivered when there is room",
                arrived.iter().all(|d| d.body == b"hello"),
            );
        }
    }
    std::thread::sleep(QUIET);
    for (_, _, case) in cases() {
        let more =
            look.bodies(&format!("ok-{case}")).len() + look.bodies(&format!("full-{case}")).len();
        wrong.equal(&case, "delivered more than once", more, 0);
    }
}

/// Inline: the protocol's word for a full queue. Queued: the input is stored.
fn check_refusal(case: &str, (kind, way, answer): (Kind, Way, Answer), wrong: &mut Wrong) {
    let word = match (kind, way) {
        (Kind::Wasm, _) => return wrong.equal(case, "the answer", answer, Answer::Stored),
        (_, Way::AmqpConfirm) => "nack",
        (_, Way::Mqtt5) => "0x97",
        (_, Way::StompReceipt) => "resource_limit_exceeded",
        _ => return wrong.check(case, &format!("refused, not {answer:?}"), answer.is_no()),
    };
    wrong.check(
        case,
        &format!("{word}, not {answer:?}"),
        matches!(&answer, Answer::Refused(w) if w.contains(word)),
    );
}

/// The ways in which a dead-letter address has no taker, and what mends it.
const DEAD: [&str; 4] = ["full", "deleted", "unheard", "exchange"];

#[test]
fn a_dead_letter_address_without_a_taker_refuses_the_publisher_or_holds_the_input() {
    let mut setup = Setup::new();
    let mut table = Vec::new();
    for (kind, way, case) in cases() {
        DEAD.into_iter().for_each(|dead| table.push((kind, way, dead, format!("{case}-{dead}"))));
    }
    for (kind, _, dead, name) in &table {
        let address = match *dead {
            "unheard" => format!("topic:dead/{name}"),
            "exchange" => format!("exchange:dead-{name}/k"),
            _ => format!("queue:dead-{name}"),
        };
        match *dead {
            "full" => _ = setup.narrow(&format!("dead-{name}")),
            "exchange" => _ = setup.exchange(&format!("dead-{name}"), "fanout"),
            _ => {}
        }
        // The inline step cannot compute its destination, the module says "error".
        let steps = match kind {
            Kind::Inline => kind.steps(),
            Kind::Wasm => format!("steps = [{}]", super::misbehave()),
        };
        setup.queue(&format!("ok-{name}"));
        let from = format!(r#"from = ["topic:in/{name}"]"#);
        let to = match kind {
            Kind::Inline => format!(r#"to = ["queue:ok-{name}", "queue:{{no_header}}"]"#),
            Kind::Wasm => format!(r#"to = ["queue:ok-{name}"]"#),
        };
        let on_error = format!(r#"on_error = {{ dead_letter = "{address}" }}"#);
        setup.route(name, &[&from, &steps, &to, &on_error]);
    }
    let broker = setup.start();
    let mut wrong = Wrong::default();
    let mut look = Look::into(&broker);
    let mut channel = Channel::connect(broker.amqp);
    for (_, _, dead, name) in &table {
        match *dead {
            "full" => look.put(&format!("dead-{name}"), "first"),
            "deleted" => channel.delete_queue(&format!("dead-{name}")).expect("deleted"),
            "exchange" => channel.delete_exchange(&format!("dead-{name}")).expect("deleted"),
            _ => {}
        }
    }
    for (kind, way, _, name) in &table {
        let answer = publish(&broker, *way, (&format!("in/{name}"), "error x"), &mut wrong);
        match kind {
            Kind::Inline => wrong.check(name, &format!("told no, not {answer:?}"), answer.is_no()),
            Kind::Wasm => wrong.equal(name, "the answer", answer, Answer::Stored),
        }
    }
    std::thread::sleep(QUIET);
    for (_, _, dead, name) in &table {
        wrong.equal(name, "placed beside", look.bodies(&format!("ok-{name}")).len(), 0);
        relieve(dead, name, (&mut channel, &mut look));
    }
    let queued = |kind: &Kind| *kind == Kind::Wasm;
    for (_, _, _, name) in table.iter().filter(|(kind, ..)| queued(kind)) {
        let letter = look.one(&format!("dead-{name}"));
        let kind = letter.properties.header("mq.error.kind");
        wrong.equal(name, "the held input's kind", kind.as_deref(), Some("guest"));
    }
    for (_, _, _, name) in &table {
        wrong.equal(name, "more dead letters", look.bodies(&format!("dead-{name}")).len(), 0);
    }
}

/// Makes the dead-letter address lead to a queue with room.
fn relieve(dead: &str, name: &str, (channel, look): (&mut Channel, &mut Look)) {
    let queue = format!("dead-{name}");
    if dead == "full" {
        assert_eq!(look.bodies(&queue), ["first"], "{name}");
        return;
    }
    channel.declare(&queue, 2, &[]).expect("declared");
    match dead {
        "unheard" => channel.bind(&queue, "amq.topic", &format!("dead.{name}")).expect("bound"),
        "exchange" => {
            let parts: [&[u8]; 5] = [
                &[0, 0],
                &super::amqp::short(&queue),
                &super::amqp::short("fanout"),
                &[2],
                &super::amqp::table(&[]),
            ];
            channel.ask((40, 10), &parts, (40, 11)).expect("declared");
            channel.bind(&queue, &queue, "").expect("bound");
        }
        _ => {}
    }
}

#[test]
fn a_route_whose_output_reaches_nobody_tells_a_mandatory_publisher() {
    let mut setup = Setup::new();
    for (kind, _, case) in cases() {
        let from = format!(r#"from = ["topic:in/{case}"]"#);
        let to = format!(r#"to = ["topic:unheard/{case}"]"#);
        setup.route(&case, &[&from, &kind.steps(), &to]);
    }
    let broker = setup.start();
    let mut wrong = Wrong::default();
    for (kind, way, case) in cases() {
        let mut publisher = Publisher::connect(&broker, way, &case);
        publisher.mandatory = true;
        let answer = publisher.publish(&format!("in/{case}"), "hello");
        let want = if kind == Kind::Inline { Answer::Unroutable } else { Answer::Stored };
        wrong.equal(&case, "the answer", answer, want);
    }
    let mut unconfirmed = Channel::connect(broker.amqp);
    unconfirmed.publish("amq.topic", "in.Inline-AmqpConfirm", true, b"hello");
    wrong.equal("unconfirmed", "basic.return", unconfirmed.returned_soon(), Some(312));
}
