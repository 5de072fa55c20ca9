//! Names are text, whatever characters are in them: no pattern, no path, no line of the log.

use super::Good;
use crate::broker::Broker;
use crate::doors::house::{House, password, user};
use crate::wire::amqp::{Amqp, Out, Properties};
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::stomp::Stomp;
use std::fs;
use std::path::{Path, PathBuf};

/// Names that mean something else to somebody.
const NAMES: [&str; 16] = [
    "#",
    "+",
    "*",
    "a/#",
    ".*",
    "^",
    "$",
    "a|b",
    "(",
    "%s%n%x",
    "{username}",
    "../../escape",
    "/etc/passwd",
    "C:\\con",
    "con.",
    "<img src=x onerror=alert(1)>",
];

/// A user's identifier stands in a right for itself, not for a pattern.
#[test]
fn client_identifiers_are_no_patterns() {
    let rights =
        "write = [\"topic:devices/{client_id}/#\"]\nread = [\"topic:devices/{client_id}/#\"]\n";
    let house = House::open(&user("device", rights));
    let password = password("device");
    for name in NAMES {
        let client = Mqtt::log_in(
            crate::wire::Socket::connect(house.broker.mqtt),
            &Connect { login: Some(("device", &password)), ..Connect::v5(name) },
        );
        // A name that is refused has no rights at all.
        let Ok(mut client) = client else { continue };
        for other in ["devices/7/set", "devices/a/b", "devices/ab/x", "other"] {
            let refused = client.try_publish(other, b"x", false);
            assert!(refused.is_err(), "'{name}' published to {other}");
            assert!(client.asks_for(other).is_err(), "'{name}' reads {other}");
        }
    }
}

/// Files of a folder and of those below it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

#[test]
fn names_are_no_paths() {
    let mut broker = Broker::start();
    let outside = broker.data_dir().parent().expect("it is in a folder").to_owned();
    let mut before = files(&outside);
    before.retain(|path| !path.starts_with(broker.data_dir()));
    let mut client = Amqp::connect(broker.amqp);
    let long = "n".repeat(255);
    let names = NAMES.iter().copied().chain([&*long, "a\u{1}b", "ümläut", "CASE", "case"]);
    for name in names.clone() {
        client.queue(name, true);
        client.publish("", name, &Properties::persistent(), name.as_bytes());
        let exchange =
            Out::method(40, 10).u16(0).short(&format!("x{}", &name[..name.len().min(200)]));
        let _ = client.ask(exchange.short("fanout").u8(2).table(&[]), (40, 11));
        let mqtt = Mqtt::log_in(
            crate::wire::Socket::connect(broker.mqtt),
            &Connect { clean: false, ..Connect::v311(name) },
        );
        drop(mqtt);
        let mut stomp = Stomp::connect(broker.stomp);
        stomp.subscribe(name, "/topic/x", "auto", &[]);
    }
    broker.crash();
    let mut client = Amqp::connect(broker.amqp);
    for name in names {
        assert_eq!(client.get(name).expect("its message").body, name.as_bytes());
    }
    let mut after = files(&outside);
    after.retain(|path| !path.starts_with(broker.data_dir()));
    assert_eq!(before, after, "files outside the data directory");
}

/// Each event is one line of the log, whatever a name has in it, and no control character comes through.
#[test]
fn names_are_no_lines_of_the_log() {
    let broker = Broker::with(&["--set", "log.level=debug"]);
    let mut good = Good::new(&broker);
    let forged = "x\r\n2026-01-01T00:00:00Z  WARN crossdock: forged\u{1b}[31m";
    let mqtt = Connect { login: Some((forged, forged)), ..Connect::v5(forged) };
    let _ = Mqtt::log_in(crate::wire::Socket::connect(broker.mqtt), &mqtt);
    let _ = Mqtt::log_in(crate::wire::Socket::connect(broker.mqtt), &Connect::v5(forged));
    let _ = Amqp::log_in(crate::wire::Socket::connect(broker.amqp), (forged, "x"));
    let _ = Stomp::log_in(crate::wire::Socket::connect(broker.stomp), Some((forged, "x")));
    let mut client = Amqp::connect(broker.amqp);
    let declare = Out::method(50, 10).u16(0).short(forged).u8(1).table(&[]);
    let _ = client.ask(declare, (50, 11));
    let _ = client.ask(Out::method(50, 10).u16(0).short(forged).u8(0).table(&[]), (50, 11));
    good.is_served("forged names");
    let log = broker.log();
    for line in log.lines() {
        assert!(!line.starts_with("2026-01-01T00:00:00Z"), "a forged line: {line}");
        assert!(!line.chars().any(char::is_control), "a control character: {line:?}");
    }
    assert!(!log.contains('\u{1b}'), "an escape sequence");
}
