//! Subscribers that are away, and a small disk: they lose the oldest messages before publishers are held back.

use super::{body, holds, number};
use crate::broker::Broker;
use crate::crash::node::Node;
use crate::disk_full::mounted;
use crate::wire::amqp::{Amqp, Properties, publish};
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::{PATIENCE, eventually};
use std::time::Instant;

const DISK: &str = "256m";
const OPTIONS: [&str; 6] = [
    "--set",
    "store.segment_bytes=4MiB",
    "--set",
    "store.disk_free_alarm=16MiB",
    "--set",
    "store.disk_free_hard=8MiB",
];
/// Messages of a KiB that are published: twice the disk.
const COUNT: u64 = 512 << 10;
/// Messages that wait for their confirms together.
const BATCH: u64 = 500;
/// What the subscriber has at the end: not much less than a quarter of the disk, and not more.
const KEPT: std::ops::Range<u64> = 45 << 10..64 << 10;

/// An MQTT session that is away has no limit in messages.
#[test]
fn a_session_keeps_more_than_a_hundred_thousand_messages() {
    let broker = Broker::start();
    let mut away = Mqtt::connect(broker.mqtt, &Connect::persistent("me"));
    away.subscribe("t", 1);
    away.disconnect();
    let mut client = Amqp::connect(broker.amqp);
    let one = publish("amq.topic", "t", &Properties::persistent(), b"x");
    for _ in 0..130 {
        client.socket.send(&one.repeat(1_000));
    }
    holds(&broker, "mqtt/me", 130_000);
}

/// Twice the disk is published, and confirmed, while a subscriber is away.
#[test]
fn a_subscriber_that_is_away_does_not_fill_the_disk() {
    let node = Node::new(&OPTIONS);
    std::fs::create_dir_all(node.data_dir()).expect("the folder is writable");
    let Some(command) = mounted(&node.data_dir().to_string_lossy(), DISK) else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let process = node.spawn_under(&words);
    let address = process.ready().unwrap_or_else(|| panic!("{}", node.log()));
    let mut away = Mqtt::connect(address.mqtt, &Connect::persistent("me"));
    away.subscribe("t", 1);
    away.disconnect();
    let mut client = Amqp::connect(address.amqp);
    client.confirm_select();
    for first in (0..COUNT).step_by(BATCH as usize) {
        for number in first..(first + BATCH).min(COUNT) {
            client.publish("amq.topic", "t", &Properties::persistent(), &body(number));
        }
        client.wait_confirms();
    }
    let log = node.log();
    assert!(!log.contains("nearly full"), "publishers were held back: {log}");
    let said: Vec<&str> =
        log.lines().filter(|line| line.contains("a subscriber were dropped")).collect();
    assert!(said.len() <= 3 && said.iter().all(|line| line.contains("client=\"me\"")), "{said:?}");
    let kept = u64::from(eventually("the last look at the disk", || {
        let (before, ()) = (client.ready("mqtt/me"), std::thread::sleep(crate::wire::QUIET * 5));
        (client.ready("mqtt/me") == before).then_some(before)
    }));
    assert!(KEPT.contains(&kept), "{kept} messages of {COUNT} are kept");
    // The newest, all of them.
    let mut back = Mqtt::connect(address.mqtt, &Connect::persistent("me"));
    let until = Instant::now() + PATIENCE;
    for expected in COUNT - kept..COUNT {
        assert!(Instant::now() < until, "only {expected} of {COUNT}");
        let message = back.receive();
        assert_eq!(number(&message.body), expected);
        back.acknowledge(&message);
    }
}
