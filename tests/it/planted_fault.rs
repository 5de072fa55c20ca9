//! The audit of a program that counts one settlement too few, and the law that nobody uses that program: it is built
//! with the feature `planted-fault`.

use crate::broker::{Broker, crossdock};
use crate::wire::amqp::{Amqp, Properties};
use crate::wire::eventually;
use std::process::Output;

/// Messages that are acknowledged: the fault is in the 100th.
const MESSAGES: usize = 120;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Publishes messages to that queue and acknowledges them, each of them as soon as it comes.
fn take_all(amqp: &mut Amqp, queue: &str) {
    amqp.queue(queue, true);
    for number in 0..MESSAGES {
        amqp.publish("", queue, &Properties::persistent(), number.to_string().as_bytes());
    }
    amqp.wait_confirms();
    amqp.consume(queue, false);
    for _ in 0..MESSAGES {
        let delivery = amqp.receive();
        amqp.ack(&delivery);
    }
}

/// Runs `crossdock WORDS` on the broker's data directory.
fn ask(broker: &Broker, words: &[&str]) -> Output {
    let mut command = crossdock(words);
    command.args(["--data-dir", &broker.data_dir().to_string_lossy()]);
    command.output().expect("the binary is there")
}

/// A broker with two queues that all was taken out of.
fn after_work() -> Broker {
    let broker = Broker::start();
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.confirm_select();
    take_all(&mut amqp, "faulty");
    take_all(&mut amqp, "sound");
    eventually("all are settled", || {
        let list = text(&ask(&broker, &["ctl", "list", "queues", "--json"]).stdout);
        (list.matches("\"messages\":0,").count() == 2).then_some(())
    });
    broker
}

#[test]
fn the_program_that_is_tested_has_no_planted_fault() {
    let version = crossdock(&["--version"]).output().expect("the binary is there");
    assert_eq!(text(&version.stdout), format!("crossdock {}\n", env!("CARGO_PKG_VERSION")));
    let audit = ask(&after_work(), &["ctl", "audit"]);
    assert_eq!(audit.status.code(), Some(0), "{}", text(&audit.stdout));
}

#[test]
#[ignore = "is about a program that is built with the feature planted-fault: cargo xtask test --full runs it"]
fn the_audit_names_the_address_and_the_numbers_of_a_settlement_that_is_not_counted() {
    let broker = after_work();
    let audit_said = |words: &[&str]| {
        let output = ask(&broker, &[&["ctl", "audit"], words].concat());
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let words = audit_said(&[]);
    let lines: Vec<&str> = words.lines().collect();
    let (came, left) = (MESSAGES, MESSAGES - 1);
    let fault =
        format!("'faulty' in vhost '/': {came} came, {left} left and 0 are there: 1 missing");
    assert!(lines.len() == 2 && lines[1].contains(&fault), "{words}");
    let json = audit_said(&["--json"]);
    for part in [
        "\"balanced\":false,\"count\":1,",
        "\"address\":\"queue:faulty\",\"missing\":1,",
        &format!("\"numbers\":{{\"came\":{came},\"left\":{left},\"waiting\":0}}"),
    ] {
        assert!(json.contains(part), "{part}: {json}");
    }
    let status = ask(&broker, &["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(text(&status.stdout).contains(&fault), "{}", text(&status.stdout));
}
