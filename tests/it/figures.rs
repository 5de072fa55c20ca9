//! The broker's figures under `$SYS/broker/`: what Mosquitto's users read there.

use crate::broker::Broker;
use crate::wire::mqtt::{Connect, Mqtt};
use std::collections::BTreeMap;
use std::time::Duration;

const FAST: &[&str] = &["--set", "vhost.sys_interval=1s"];
/// Time in which what was published before has come.
const QUIET: Duration = Duration::from_millis(300);

/// What comes in the time, by topic; of a topic the last.
fn heard(reader: &mut Mqtt, time: Duration) -> BTreeMap<String, (String, bool)> {
    let mut heard = BTreeMap::new();
    while let Some(message) = reader.receive_within(time) {
        let text = String::from_utf8(message.body).expect("text");
        heard.insert(message.topic, (text, message.retain));
    }
    heard
}

#[test]
fn figures_are_read_as_in_mosquitto() {
    let broker = Broker::with(FAST);
    let mut publisher = Mqtt::connect(broker.mqtt, &Connect::v5("p"));
    publisher.try_publish("t/kept", b"12345", true).expect("taken");
    let mut all = Mqtt::connect(broker.mqtt, &Connect::v5("all"));
    all.subscribe("#", 0);
    std::thread::sleep(Duration::from_millis(1_500));
    let mut reader = Mqtt::connect(broker.mqtt, &Connect::v311("r"));
    reader.subscribe("$SYS/#", 1);
    let first = heard(&mut reader, QUIET);
    for (topic, text) in [
        ("clients/connected", "2"),
        ("clients/disconnected", "0"),
        ("clients/total", "2"),
        ("publish/messages/received", "1"),
        ("publish/bytes/received", "5"),
    ] {
        let found = first.get(&format!("$SYS/broker/{topic}"));
        assert_eq!(found, Some(&(text.to_owned(), true)), "{topic} of {first:?}");
    }
    let version = &first["$SYS/broker/version"].0;
    assert!(version.starts_with("crossdock version "), "{version}");
    assert!(first["$SYS/broker/uptime"].0.ends_with(" seconds"));
    // What changes comes live, and what does not change does not come again.
    drop(publisher);
    std::thread::sleep(Duration::from_millis(2_200));
    let later = heard(&mut reader, QUIET);
    let connected = later.get("$SYS/broker/uptime").map(|(_, retain)| *retain);
    assert_eq!(connected, Some(false), "{later:?}");
    assert!(!later.contains_key("$SYS/broker/version"), "{later:?}");
    assert_eq!(later["$SYS/broker/subscriptions/count"].0, "2");
    // A wildcard at the beginning does not match them.
    let others = heard(&mut all, QUIET);
    assert_eq!(others.keys().collect::<Vec<_>>(), ["t/kept"]);
}

#[test]
fn figures_are_not_stored_and_may_be_left_out() {
    let mut broker = Broker::with(FAST);
    let mut reader = Mqtt::connect(broker.mqtt, &Connect::v5("r"));
    reader.subscribe("$SYS/#", 0);
    assert!(reader.receive_within(Duration::from_secs(5)).is_some());
    broker.restart_with(&["--set", "vhost.sys_interval=0s"]);
    let mut reader = Mqtt::connect(broker.mqtt, &Connect::v5("r"));
    reader.subscribe("$SYS/#", 0);
    assert!(reader.receive_within(Duration::from_secs(2)).is_none());
}
