//! Chains of routes: each route has a message once, each copy arrives once, and circles end.

use super::publisher::{Answer, Publisher, TOLD};
use super::{KINDS, Kind, Look, Setup, Wrong, misbehave};
use crate::wire::QUIET;

/// Routes in a row, from `chain/N/0` to `chain/N/N`, which a queue hears.
fn chain(setup: &mut Setup, length: usize) {
    for at in 0..length {
        let from = format!(r#"from = ["topic:chain/{length}/{at}"]"#);
        let to = format!(r#"to = ["topic:chain/{length}/{}"]"#, at + 1);
        setup.route(&format!("chain-{length}-{at}"), &[&from, &Kind::Inline.steps(), &to]);
    }
    setup.hears(&format!("chain/{length}/{length}"), &format!("end-{length}"));
}

#[test]
fn thirty_two_routes_in_a_row_are_the_most() {
    let mut setup = Setup::new();
    let lengths = [(16, true), (32, true), (33, false), (40, false)];
    lengths.iter().for_each(|(length, _)| chain(&mut setup, *length));
    setup.queue("dead-letters");
    let broker = setup.start();
    let mut wrong = Wrong::default();
    let mut look = Look::into(&broker);
    for (length, arrives) in lengths {
        for way in TOLD {
            let case = format!("{length} routes, {way:?}");
            let topic = format!("chain/{length}/0");
            let answer = Publisher::connect(&broker, way, "c").publish(&topic, "hello");
            wrong.equal(&case, "the answer", answer, Answer::Stored);
            let ends = look.bodies(&format!("end-{length}")).len();
            wrong.equal(&case, "arrived", ends, usize::from(arrives));
            let letters = look.take("dead-letters");
            wrong.equal(&case, "dead letters", letters.len(), usize::from(!arrives));
            if let Some(letter) = letters.first() {
                let kind = letter.properties.header("mq.error.kind");
                wrong.equal(&case, "their kind", kind.as_deref(), Some("hops"));
            }
        }
    }
}

/// `count` filters that mark the message and as many diverts that pass, all on one topic.
fn crowd(setup: &mut Setup, kind: Kind, count: usize) {
    let from = format!(r#"from = ["topic:crowd/{kind:?}/{count}"]"#);
    for at in 0..count {
        let steps = format!(r#"steps = [{{ set = {{ f{at} = "'yes'" }} }}]"#);
        let mode = r#"mode = "filter""#;
        setup.route(&format!("filter-{kind:?}-{count}-{at}"), &[&from, &steps, mode]);
        // The inline one cannot compute its destination, the module says "keep".
        let (steps, to) = match kind {
            Kind::Inline => (kind.steps(), r#"to = ["queue:{no_header}"]"#),
            Kind::Wasm => (format!("steps = [{}]", misbehave()), r#"to = ["queue:diverted"]"#),
        };
        let lines = [&from, &steps, to, r#"on_error = { then = "pass" }"#];
        setup.route(&format!("divert-{kind:?}-{count}-{at}"), &lines);
    }
    setup.hears(&format!("crowd/{kind:?}/{count}"), &format!("crowd-{kind:?}-{count}"));
}

#[test]
fn many_filters_and_passing_diverts_deliver_once() {
    let counts = [3, 5, 7];
    let mut setup = Setup::new();
    setup.queue("diverted");
    for kind in KINDS {
        counts.iter().for_each(|count| crowd(&mut setup, kind, *count));
    }
    let broker = setup.start();
    let mut wrong = Wrong::default();
    let mut look = Look::into(&broker);
    for kind in KINDS {
        for count in counts {
            for way in TOLD {
                let case = format!("{count} of each, {kind:?}, {way:?}");
                let topic = format!("crowd/{kind:?}/{count}");
                let answer = Publisher::connect(&broker, way, "c").publish(&topic, "keep");
                wrong.equal(&case, "the answer", answer, Answer::Stored);
                let message = look.one(&format!("crowd-{kind:?}-{count}"));
                let seen = |at: &usize| message.properties.header(&format!("f{at}")).is_some();
                wrong.equal(
                    &case,
                    "filters it went through",
                    (0..count).filter(seen).count(),
                    count,
                );
            }
        }
    }
    std::thread::sleep(QUIET);
    for kind in KINDS {
        for count in counts {
            let more = look.bodies(&format!("crowd-{kind:?}-{count}")).len();
            wrong.equal(&format!("{count} of each, {kind:?}"), "further copies", more, 0);
        }
    }
    wrong.equal("all", "diverted", look.bodies("diverted").len(), 0);
}

#[test]
fn a_filter_on_a_queue_changes_the_copy_of_that_queue_only() {
    let mut setup = Setup::new();
    setup.exchange("fan", "fanout");
    for kind in KINDS {
        let (a, b) = (format!("a-{kind:?}"), format!("b-{kind:?}"));
        setup.hears(&format!("both/{kind:?}"), &a).hears(&format!("both/{kind:?}"), &b);
        for queue in [&a, &b] {
            setup.bind("fan", "", &format!("queue:{queue}"));
        }
        let from = format!(r#"from = ["queue:{a}"]"#);
        setup.route(&a, &[&from, &kind.steps(), r#"mode = "filter""#]);
    }
    let broker = setup.start();
    let mut wrong = Wrong::default();
    let mut look = Look::into(&broker);
    let mut check = |case: &str, kind: Kind, look: &mut Look| {
        for (queue, marked) in [(format!("a-{kind:?}"), true), (format!("b-{kind:?}"), false)] {
            let copy = look.one(&queue);
            let seen = copy.properties.header("seen").is_some();
            wrong.equal(case, &format!("{queue} is filtered"), seen, marked);
        }
    };
    for kind in KINDS {
        for way in TOLD {
            let topic = format!("both/{kind:?}");
            let answer = Publisher::connect(&broker, way, "c").publish(&topic, "hello");
            assert_eq!(answer, Answer::Stored, "{way:?}");
            check(&format!("{kind:?}, {way:?}"), kind, &mut look);
        }
    }
    let mut channel = super::amqp::Channel::connect(broker.amqp);
    channel.publish("fan", "", false, b"hello");
    for kind in KINDS {
        check(&format!("fanout, {kind:?}"), kind, &mut look);
    }
    std::thread::sleep(QUIET);
    for queue in ["a-Inline", "b-Inline", "a-Wasm", "b-Wasm"] {
        assert_eq!(look.bodies(queue), Vec::<String>::new(), "further copies in {queue}");
    }
}
