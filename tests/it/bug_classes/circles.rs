//! What leads back to where it came from ends: exchanges, dead letters and routes in a circle.

use super::Good;
use crate::broker::{Broker, Folder, crossdock};
use crate::wire::amqp::{Amqp, Field, Properties};
use crate::wire::{eventually, frames};
use std::time::{Duration, Instant};

/// A confirm out of a circle.
const TIME: Duration = Duration::from_secs(1);

fn confirmed_in_time(client: &mut Amqp, exchange: &str, key: &str) {
    let started = Instant::now();
    client.publish(exchange, key, &Properties::default(), b"round");
    client.wait_confirms();
    assert!(started.elapsed() < TIME, "{:?}", started.elapsed());
}

#[test]
fn exchanges_bound_in_a_circle() {
    let broker = Broker::start();
    let mut client = Amqp::connect(broker.amqp);
    client.queue("out", false);
    let mut burst = Vec::new();
    for n in 0..10 {
        burst.extend(frames::exchange(&format!("c{n}"), "fanout"));
    }
    // Each to each, itself included.
    for from in 0..10 {
        for to in 0..10 {
            burst.extend(frames::bind_exchange(&format!("c{to}"), &format!("c{from}")));
        }
    }
    client.socket.send(&burst);
    client.bind("out", "c9", "");
    client.confirm_select();
    confirmed_in_time(&mut client, "c0", "");
    // Once, however many ways lead there.
    assert_eq!(client.ready("out"), 1);
}

#[test]
fn dead_letters_in_a_circle() {
    let broker = Broker::start();
    let mut good = Good::new(&broker);
    let mut client = Amqp::connect(broker.amqp);
    let next = |queue: &str| {
        [
            ("x-dead-letter-exchange".to_owned(), Field::Text(String::new())),
            ("x-dead-letter-routing-key".to_owned(), Field::Text(queue.to_owned())),
            ("x-message-ttl".to_owned(), Field::Number(1)),
        ]
    };
    client.socket.send(&frames::declare("one", 0, &next("two")));
    client.socket.send(&frames::declare("two", 0, &next("one")));
    client.confirm_select();
    for _ in 0..100 {
        confirmed_in_time(&mut client, "", "one");
    }
    good.is_served("dead letters in a circle");
    eventually("the circle ends", || {
        (client.ready("one") == 0 && client.ready("two") == 0).then_some(())
    });
    let before = broker.cpu_time();
    std::thread::sleep(TIME);
    let spent = broker.cpu_time() - before;
    assert!(spent < TIME / 5, "{spent:?} of {TIME:?} are still spent");
}

/// Two routes that watch what the other one sends, and one that watches its own: a mistake of the configuration. Those
/// whose addresses are computed are in `routes`.
#[test]
fn routes_in_a_circle() {
    let folder = Folder::new();
    let route = |name: &str, from: &str, to: &str| {
        let (from, to) = (format!("from = [\"{from}\"]"), format!("to = [\"{to}\"]"));
        format!("[[route]]\nname = \"{name}\"\nmode = \"tap\"\n{from}\n{to}\n\n")
    };
    let text = [
        route("there", "topic:round/a", "topic:round/b"),
        route("back", "topic:round/b", "topic:round/a"),
        route("itself", "topic:round/c", "topic:round/c"),
    ];
    let file = folder.write("circle.toml", &text.concat());
    let checked = crossdock(&["check-config", &file.to_string_lossy()]).output().expect("it runs");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(2), "{said}");
    for circle in ["there -> back -> there", "itself -> itself"] {
        assert!(said.contains(circle), "{said}");
    }
}
