//! The store of an earlier version is opened, and everything that was in it is there. `tests/fixtures/README.md` says
//! how a fixture is made: by the last test below, once for each version that changes what is stored.

use crate::broker::{Broker, Folder, crossdock, root};
use crate::wire::Socket;
use crate::wire::amqp::{Amqp, Field, Out, Properties};
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::stomp::Stomp;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const QUEUES: [&str; 4] = ["orders", "dead", "stomped", "emptied"];
const DEVICE: &str = "device-1";
/// A second virtual host, small segments, so that there are several and a snapshot.
const CONFIG: &str = "[[virtual_host]]\nname = \"second\"\n\n[store]\nsegment_bytes = \"1MiB\"\n";

fn fixtures() -> PathBuf {
    root().join("tests/fixtures")
}

fn run(words: &[&str]) -> String {
    let output = crossdock(words).output().expect("the binary is there");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All that a stopped store in a data directory tells, as text.
fn described(data: &Path) -> String {
    let data = data.to_string_lossy();
    let mut text = String::new();
    for queue in QUEUES {
        text += &format!("queue {queue}\n{}", run(&["store", "dump", &data, "--queue", queue]));
    }
    text += &run(&["store", "dump", &data, "--queue", "hers", "--vhost", "second"]);
    for words in [["user", "list"], ["session", "list"]] {
        text +=
            &format!("{}\n{}", words.join(" "), run(&[words[0], words[1], "--data-dir", &data]));
    }
    text
}

/// All that clients of a broker find, as text. It is taken out by that.
fn consumed(broker: &Broker) -> String {
    let mut text = String::new();
    let mut amqp = Amqp::connect(broker.amqp);
    for queue in QUEUES {
        while let Some(found) = amqp.get(queue) {
            let headers: Vec<String> =
                found.properties.headers.iter().map(|(name, _)| name.clone()).collect();
            let body = String::from_utf8_lossy(&found.body).into_owned();
            text += &format!("{queue} {}/{} {body} {headers:?}\n", found.exchange, found.key);
        }
    }
    // What is bound is bound still.
    amqp.confirm_select();
    amqp.publish("trade", "order.new", &Properties::persistent(), b"one more");
    amqp.wait_confirms();
    text += &format!("orders has {} after one more\n", amqp.ready("orders"));
    let mut device = Mqtt::connect(broker.mqtt, &Connect::persistent(DEVICE));
    text += &format!("session of the device: {}\n", device.session_present);
    while let Some(message) = device.receive_within(Duration::from_secs(1)) {
        let body = String::from_utf8_lossy(&message.body).into_owned();
        text += &format!("{DEVICE} {} {body}\n", message.topic);
    }
    let mut reader = Mqtt::connect(broker.mqtt, &Connect::v5("reader"));
    reader.subscribe("state/#", 1);
    let mut retained = Vec::new();
    while let Some(message) = reader.receive_within(Duration::from_secs(1)) {
        let body = String::from_utf8_lossy(&message.body).into_owned();
        retained.push(format!("retained {} {body}\n", message.topic));
    }
    retained.sort();
    text + &retained.concat()
}

#[test]
fn stores_of_earlier_versions_hold_what_they_held() {
    let all = fs::read_dir(fixtures()).expect("there are fixtures");
    let mut fixtures: Vec<PathBuf> = all.map(|entry| entry.expect("readable").path()).collect();
    fixtures.retain(|path| path.is_dir());
    assert!(!fixtures.is_empty());
    fixtures.iter().for_each(|fixture| holds(fixture));
}

/// What is in the store of a fixture is what that said when it was made.
fn holds(fixture: &Path) {
    let name = fixture.display();
    let folder = Folder::new();
    let config = folder.write("crossdock.toml", CONFIG);
    let data = folder.path().join("data");
    let (config, place) = (config.to_string_lossy(), data.to_string_lossy());
    let from = fixture.join("store");
    run(&["store", "restore", &from.to_string_lossy(), "--data-dir", &place]);
    let verified = run(&["store", "verify", &place]);
    assert!(verified.contains("no damage") && verified.contains("snapshot up to"), "{verified}");
    let read = |file: &str| fs::read_to_string(fixture.join(file)).expect("readable");
    assert_eq!(described(&data), read("described.txt"), "{name}");
    let mut broker = Broker::on(folder, &["--config", &config]);
    assert_eq!(consumed(&broker), read("consumed.txt"), "{name}");
    // It is a store of this version now.
    broker.crash();
    assert_eq!(Amqp::connect(broker.amqp).ready("orders"), 1, "{name}");
}

/// Fills a store with one of everything.
fn fill(broker: &Broker) {
    let mut amqp = Amqp::connect(broker.amqp);
    for (name, kind) in [("trade", "topic"), ("buried", "fanout")] {
        let declare = Out::method(40, 10).u16(0).short(name).short(kind).u8(2).table(&[]);
        amqp.ask(declare, (40, 11)).expect("declared");
    }
    let buried = ("x-dead-letter-exchange".to_owned(), Field::Text("buried".into()));
    let declare = Out::method(50, 10).u16(0).short("orders").u8(2).table(&[buried]);
    amqp.ask(declare, (50, 11)).expect("declared");
    ["dead", "stomped", "emptied"].iter().for_each(|queue| _ = amqp.queue(queue, true));
    amqp.bind("orders", "trade", "order.#");
    amqp.bind("dead", "buried", "");
    amqp.confirm_select();
    for number in 0..5 {
        let headers = vec![("number".to_owned(), Field::Text(number.to_string()))];
        let properties = Properties {
            headers,
            content_type: Some("text/plain".into()),
            correlation: Some(format!("c{number}")),
            ..Properties::persistent()
        };
        let body = format!("order {number}");
        amqp.publish("trade", "order.new", &properties, body.as_bytes());
    }
    amqp.wait_confirms();
    amqp.prefetch(2);
    amqp.consume("orders", false);
    for _ in 0..2 {
        let delivery = amqp.receive();
        amqp.reject(&delivery, false);
    }
    while amqp.ready("dead") < 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(amqp);
    // Enough for several segments and a snapshot.
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.confirm_select();
    for _ in 0..60 {
        amqp.publish("", "emptied", &Properties::persistent(), &[b'.'; 60_000]);
    }
    amqp.wait_confirms();
    amqp.consume("emptied", true);
    (0..60).for_each(|_| drop(amqp.receive()));
    let mut device = Mqtt::connect(broker.mqtt, &Connect::persistent(DEVICE));
    device.subscribe("alerts/#", 1);
    device.disconnect();
    let mut sensor = Mqtt::connect(broker.mqtt, &Connect::v5("sensor"));
    for number in 0..3 {
        sensor.publish(&format!("alerts/{number}"), format!("alert {number}").as_bytes(), 1);
    }
    sensor.try_publish("state/door", b"open", true).expect("taken");
    sensor.try_publish("state/lamp", b"on", true).expect("taken");
    let hers = Amqp::log_in_to("second", Socket::connect(broker.amqp), ("guest", "guest"));
    let mut hers = hers.expect("guest may");
    hers.queue("hers", true);
    hers.confirm_select();
    hers.publish("", "hers", &Properties::persistent(), b"in another virtual host");
    hers.wait_confirms();
    let mut stomp = Stomp::connect(broker.stomp);
    let headers = [("colour", "red"), ("persistent", "true"), ("content-type", "text/plain")];
    stomp.request("SEND", &[&headers[..], &[("destination", "/queue/stomped")]].concat(), b"stomp");
}

/// Makes a fixture of the program as it is now, and reads it back. It stays when CROSSDOCK_FIXTURE says under which
/// name in tests/fixtures.
#[test]
fn a_fixture_of_this_version_holds_what_it_held() {
    let passing = Folder::new();
    let fixture = match std::env::var("CROSSDOCK_FIXTURE") {
        Ok(name) => fixtures().join(name),
        Err(_) => passing.path().join("fixture"),
    };
    make(&fixture);
    holds(&fixture);
}

fn make(fixture: &Path) {
    fs::create_dir(fixture).expect("it is new");
    let folder = Folder::new();
    let config = folder.write("crossdock.toml", CONFIG);
    let data = folder.path().join("data");
    let place = data.to_string_lossy().into_owned();
    let options = ["--config", &config.to_string_lossy(), "--data-dir", &place];
    let add = ["user", "add", "ann", "--no-password", "--tag", "monitoring"];
    run(&[&add[..], &options].concat());
    run(&[&["user", "rights", "ann", "--write", "queue:ann-*"][..], &options].concat());
    let mut broker = Broker::on(folder, &options[..2]);
    fill(&broker);
    assert_eq!(broker.stop("TERM").0, Some(0));
    let shelf = fixture.join("shelf");
    run(&["store", "backup", &shelf.to_string_lossy(), "--data-dir", &place]);
    fs::rename(shelf.join("backup-000001"), fixture.join("store")).expect("renamed");
    fs::remove_dir_all(shelf).expect("removed");
    fs::write(fixture.join("described.txt"), described(&data)).expect("written");
    broker.start_again();
    fs::write(fixture.join("consumed.txt"), consumed(&broker)).expect("written");
}
