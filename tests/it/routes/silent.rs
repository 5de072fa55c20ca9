//! Publishers without a word for "no": what is refused goes to the dead-letter address, else it is dropped, and the
//! connection is closed where the publish asked for an acknowledgement.

use super::amqp::Channel;
use super::publisher::{Answer, Publisher, SILENT, Way};
use super::{Kind, Look, Setup, Wrong};
use crate::broker::Broker;
use crate::wire::QUIET;

/// Routes that refuse: one by its policy, one because its destination is full.
fn setup() -> Setup {
    let mut setup = Setup::new();
    setup.queue("dead-letters").narrow("full").queue("ok");
    let steps = Kind::Inline.steps();
    let lines = [
        r#"from = ["topic:in/rejects/#"]"#,
        &steps,
        r#"to = ["queue:ok", "queue:{no_header}"]"#,
        r#"on_error = { then = "reject" }"#,
    ];
    setup.route("rejects", &lines);
    let lines = [r#"from = ["topic:in/full/#"]"#, &steps, r#"to = ["queue:ok", "queue:full"]"#];
    setup.route("full", &lines);
    setup
}

fn publish(broker: &Broker, way: Way, topic: &str) -> Answer {
    Publisher::connect(broker, way, topic).publish(topic, topic)
}

fn topics() -> Vec<(Way, String)> {
    let of = |why: &'static str| SILENT.map(move |way| (way, format!("in/{why}/{way:?}")));
    ["rejects", "full"].into_iter().flat_map(of).collect()
}

#[test]
fn what_is_refused_without_a_word_is_dead_lettered() {
    let broker = setup().start();
    let mut wrong = Wrong::default();
    let mut look = Look::into(&broker);
    look.put("full", "first");
    for (way, topic) in topics() {
        let want = if way == Way::Mqtt3 { Answer::Stored } else { Answer::Nothing };
        wrong.equal(&topic, "the answer", publish(&broker, way, &topic), want);
        let letter = look.one("dead-letters");
        wrong.equal(&topic, "the dead letter", letter.body, topic.clone().into_bytes());
    }
    std::thread::sleep(QUIET);
    wrong.equal("all", "more dead letters", look.bodies("dead-letters").len(), 0);
    wrong.equal("all", "placed beside", look.bodies("ok").len(), 0);
}

#[test]
fn without_a_dead_letter_address_it_is_dropped_or_ends_the_connection() {
    let broker = setup().start();
    let mut wrong = Wrong::default();
    let mut look = Look::into(&broker);
    look.put("full", "first");
    Channel::connect(broker.amqp).delete_queue("dead-letters").expect("deleted");
    for (way, topic) in topics() {
        let want = if way == Way::Mqtt3 { Answer::Closed } else { Answer::Nothing };
        wrong.equal(&topic, "the answer", publish(&broker, way, &topic), want);
    }
    std::thread::sleep(QUIET);
    wrong.equal("all", "placed beside", look.bodies("ok").len(), 0);
    wrong.equal("all", "in the full queue", look.bodies("full"), vec!["first".to_owned()]);
}

#[test]
fn without_the_right_it_is_taken_and_dropped_and_the_connection_stays() {
    let mut setup = setup();
    let steps = Kind::Wasm.steps();
    setup.route("mine", &[r#"from = ["topic:in/mine"]"#, &steps, r#"to = ["queue:ok"]"#]);
    let broker = setup.start();
    let mut wrong = Wrong::default();
    let mut look = Look::into(&broker);
    for way in SILENT {
        let want = if way == Way::Mqtt3 { Answer::Stored } else { Answer::Nothing };
        for (what, answer) in [
            ("$SYS/x", publish(&broker, way, "$SYS/x")),
            (
                "route/mine",
                Publisher::connect(&broker, way, "q").publish_to_queue("route/mine", "x"),
            ),
        ] {
            wrong.equal(&format!("{way:?} {what}"), "the answer", answer, want.clone());
        }
    }
    std::thread::sleep(QUIET);
    for queue in ["ok", "dead-letters"] {
        wrong.equal(queue, "what came", look.bodies(queue), Vec::<String>::new());
    }
}
