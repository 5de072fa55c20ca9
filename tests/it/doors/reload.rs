//! SIGHUP: the file is read again. Rights that are taken away are gone for connections that are there, users come and
//! go, and a file with mistakes changes nothing.

use super::house::{Door, House, hash_line, owner, password, user};
use super::visitor::{SPEECHES, Speech, Visitor};
use crate::broker::Folder;
use crate::wire::amqp::{Amqp, Out, Properties};
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::stomp::Stomp;
use crate::wire::{PATIENCE, QUIET, eventually};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Clients of one user in every protocol, each of which reads and writes.
struct Crowd {
    amqp: Amqp,
    stomp: Stomp,
    mqtt: [Mqtt; 2],
}

const LEVELS: [u8; 2] = [5, 4];

impl Crowd {
    /// Ann's clients, subscribed to `ann/…`, and consuming from `ann-q`.
    fn of_ann(house: &House) -> Self {
        let (broker, password) = (&house.broker, password("ann"));
        let mut amqp = Amqp::connect_as(broker.amqp, "ann", &password);
        amqp.queue("ann-q", false);
        amqp.consume("ann-q", true);
        let mut stomp = Stomp::connect_as(broker.stomp, "ann", &password);
        stomp.subscribe("1", "/topic/ann/t", "auto", &[]);
        let mqtt = LEVELS.map(|level| {
            let client = format!("ann-{level}");
            let options = Connect { level, ..Connect::v5(&client) };
            let mut mqtt = Mqtt::connect_as(broker.mqtt, &options, "ann", &password);
            mqtt.subscribe("ann/t", 1);
            mqtt
        });
        Self { amqp, stomp, mqtt }
    }

    /// How each connection ends.
    fn ends(&mut self) -> [String; 4] {
        let [five, four] = &mut self.mqtt;
        [self.amqp.ends(), self.stomp.ends(), five.ends(), four.ends()]
    }

    /// What everybody gets of one message to the topic and one to the queue.
    fn everybody_gets(&mut self, guest: &mut Amqp) {
        publish_both(guest);
        assert_eq!(self.amqp.receive().body, b"to the queue");
        assert_eq!(self.stomp.receive().body, b"to the topic");
        for mqtt in &mut self.mqtt {
            assert_eq!(mqtt.receive().body, b"to the topic");
        }
    }
}

fn publish_both(guest: &mut Amqp) {
    guest.confirm_select();
    guest.publish("", "ann-q", &Properties::default(), b"to the queue");
    guest.publish("amq.topic", "ann.t", &Properties::default(), b"to the topic");
    guest.wait_confirms();
}

fn ann(configure: &str, write: &str, read: &str) -> String {
    let right = |name: &str, texts: &str| format!("{name} = [{texts}]\n");
    let rights = [right("configure", configure), right("write", write), right("read", read)];
    user("ann", &rights.concat())
}

const ALL: &str = "\"queue:ann-*\", \"topic:ann/#\"";

#[test]
fn the_right_to_write_is_taken_away() {
    let house = House::open(&ann(ALL, ALL, ALL));
    let mut crowd = Crowd::of_ann(&house);
    let mut guest = Amqp::connect(house.broker.amqp);
    guest.queue("seen", false);
    guest.bind("seen", "amq.topic", "#");
    crowd.amqp.confirm_select();
    crowd.everybody_gets(&mut guest);
    while guest.get("seen").is_some() {}

    let log = house.reload(&ann(ALL, "", ALL));
    let parts = "parts=\"in '/': write - queue:ann-* - topic:ann/#\"";
    assert!(log.contains("a user is changed user=ann") && log.contains(parts), "{log}");
    crowd.amqp.publish("amq.topic", "ann.t", &Properties::default(), b"late");
    let why = "write to topic:ann/t is not allowed for user 'ann'";
    let refused = crowd.amqp.confirmed().expect_err("no right");
    assert_eq!(refused, format!("403 ACCESS_REFUSED - {why}"));
    let [five, four] = &mut crowd.mqtt;
    assert_eq!(five.try_publish("ann/t", b"late", false), Err(format!("0x87 {why}")));
    assert_eq!(four.try_publish("ann/t", b"late", false), Ok(()), "taken, and dropped");
    let headers = [("destination", "/topic/ann/t")];
    let refused = crowd.stomp.try_request("SEND", &headers, b"late");
    assert_eq!(refused, Err(format!("access_refused {why}")));
    assert_eq!(guest.get("seen"), None, "none of them came through");

    // It is given back to those that are still there.
    house.reload(&ann(ALL, ALL, ALL));
    let [five, four] = &mut crowd.mqtt;
    assert_eq!(five.try_publish("ann/t", b"again", false), Ok(()));
    assert_eq!(four.try_publish("ann/t", b"again", false), Ok(()));
    assert_eq!(guest.get("seen").expect("from MQTT 5").body, b"again");
    assert_eq!(guest.get("seen").expect("from MQTT 3.1.1").body, b"again");
}

#[test]
fn the_right_to_read_is_taken_away() {
    let house = House::open(&ann(ALL, ALL, ALL));
    let mut crowd = Crowd::of_ann(&house);
    let mut guest = Amqp::connect(house.broker.amqp);
    crowd.everybody_gets(&mut guest);
    let mut of_queue = Stomp::connect_as(house.broker.stomp, "ann", &password("ann"));
    of_queue.subscribe("1", "/amq/queue/ann-q", "auto", &[]);
    for mqtt in &mut crowd.mqtt {
        mqtt.subscribe("$q/ann-q", 1);
    }

    house.reload(&ann(ALL, ALL, "\"topic:other\""));
    publish_both(&mut guest);
    // AMQP: the consumer is cancelled by the broker (basic.cancel), and the message stays.
    assert_eq!(crowd.amqp.any_method(), (60, 30), "basic.cancel");
    // It may have been on its way to a consumer that was ended.
    eventually("the message in its queue", || (guest.ready("ann-q") == 1).then_some(()));
    for mqtt in &mut crowd.mqtt {
        assert!(mqtt.receive_within(QUIET).is_none(), "MQTT {}", mqtt.level);
    }
    assert_eq!(crowd.stomp.receive_within(QUIET), None);
    // STOMP: the consumer of a queue is told by an ERROR.
    let frame = of_queue.frame(std::time::Instant::now() + PATIENCE).expect("an ERROR");
    let text = String::from_utf8_lossy(&frame.body).into_owned();
    assert_eq!(
        (frame.command.as_str(), frame.header("crossdock-code")),
        ("ERROR", Some("access_refused"))
    );
    assert!(text.contains("read from queue:ann-q is not allowed for user 'ann'"), "{text}");
}

/// The connections of a user that is removed are closed, each in its protocol's word, and it cannot come back; one
/// that is added can come.
#[test]
fn users_come_and_go() {
    let house = House::open(&[ann(ALL, ALL, ALL), owner("bob")].concat());
    let mut crowd = Crowd::of_ann(&house);
    let addresses = |speech: Speech| match speech {
        Speech::Amqp => house.broker.amqp,
        Speech::Stomp => house.broker.stomp,
        Speech::Mqtt5 | Speech::Mqtt311 => house.broker.mqtt,
    };
    let enter = |user: &str, speech: Speech| {
        let (door, password) = (Door::at(addresses(speech)), password(user));
        Visitor { speech, door: &door, login: Some((user, &password)) }.enter()
    };
    assert!(enter("carl", Speech::Amqp).is_err(), "he is none yet");

    let log = house.reload(&[owner("bob"), owner("carl")].concat());
    assert!(log.contains("a user is removed user=ann"), "{log}");
    assert!(log.contains("a user is added user=carl"), "{log}");
    let why = "user 'ann' was removed";
    assert_eq!(
        crowd.ends(),
        [
            format!("320 CONNECTION_FORCED - {why}"),
            format!("access_refused {why}"),
            format!("0x87 {why}"),
            "closed".to_owned(),
        ]
    );
    for speech in SPEECHES {
        // Her password was verified a moment ago.
        assert!(enter("ann", speech).is_err(), "{speech:?}");
        assert_eq!(enter("carl", speech), Ok(()), "{speech:?}");
        assert_eq!(enter("bob", speech), Ok(()), "{speech:?}");
    }
}

#[test]
fn a_password_is_changed_while_both_are_good() {
    let house = House::open(&owner("ann"));
    let door = Door::at(house.broker.amqp);
    let enter = |whose: &str| {
        let password = password(whose);
        let visitor =
            Visitor { speech: Speech::Amqp, door: &door, login: Some(("ann", &*password)) };
        visitor.enter().is_ok()
    };
    assert!(enter("ann") && !enter("new"));
    let mut before = Amqp::connect_as(house.broker.amqp, "ann", &password("ann"));
    let previous = hash_line("ann").replace("password_hash", "previous_password_hash");
    house.reload(&format!("[[user]]\nname = \"ann\"\n{}\n{previous}\n", hash_line("new")));
    assert!(enter("ann") && enter("new"), "both are good");
    let mut between = Amqp::connect_as(house.broker.amqp, "ann", &password("new"));
    let mut late = Amqp::connect_as(house.broker.amqp, "ann", &password("ann"));
    late.confirm_select();
    before.confirm_select();
    house.reload(&format!("[[user]]\nname = \"ann\"\n{}\n", hash_line("new")));
    assert!(!enter("ann") && enter("new"), "the old one is gone");
    // Whoever came with it is sent away, before or while the new one was good; whoever came with that one stays.
    let why = "320 CONNECTION_FORCED - the password of user 'ann' was changed";
    assert_eq!([before.ends(), late.ends()], [why, why]);
    between.confirm_select();
    // In a file of its own, beside the configuration.
    let line = hash_line("filed");
    let hash = line.split('"').nth(1).expect("quoted");
    let file = house.path().join("ann.hash");
    fs::write(&file, format!("{hash}\n")).expect("writable");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
    house.reload("[[user]]\nname = \"ann\"\npassword_hash_file = \"ann.hash\"\n");
    assert!(enter("filed") && !enter("new"));
}

/// A file that others may read is a mistake, at the start and later, with the file's name and the key.
#[test]
fn a_hash_that_others_may_read_is_a_mistake() {
    let folder = Folder::new();
    let line = hash_line("filed");
    let hash = folder.write("ann.hash", line.split('"').nth(1).expect("quoted"));
    let text = "[[user]]\nname = \"ann\"\npassword_hash_file = \"ann.hash\"\n";
    let config = folder.write("hub.toml", text);
    for mode in [0o644, 0o640, 0o604] {
        fs::set_permissions(&hash, fs::Permissions::from_mode(mode)).expect("ours");
        let said = check(&config);
        let place = format!("{}:3:1 user[0].password_hash_file: ", config.display());
        let reason = format!("{}: others may read it: chmod 600", hash.display());
        assert!(said.contains(&format!("{place}{reason}")), "{said}");
    }
    fs::set_permissions(&hash, fs::Permissions::from_mode(0o600)).expect("ours");
    let house = House::open_in(folder, text);
    fs::set_permissions(&hash, fs::Permissions::from_mode(0o644)).expect("ours");
    let log = house.read_again();
    assert!(log.contains("password_hash_file") && log.contains("others may read it"), "{log}");
    let password = password("filed");
    drop(Amqp::connect_as(house.broker.amqp, "ann", &password));
    fs::remove_file(&hash).expect("ours");
    let log = house.read_again();
    assert!(log.contains(&*hash.to_string_lossy()) && log.contains("cannot be read"), "{log}");
    drop(Amqp::connect_as(house.broker.amqp, "ann", &password));
}

/// What `crossdock check-config` says of a file with mistakes.
fn check(config: &std::path::Path) -> String {
    let mut command = crate::broker::crossdock(&["check-config", &config.to_string_lossy()]);
    let output = command.output().expect("the binary is there");
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_file_with_ten_mistakes_reports_ten_and_changes_nothing() {
    let house = House::open(&owner("ann"));
    let mut client = Amqp::connect_as(house.broker.amqp, "ann", &password("ann"));
    let log = house.reload(
        "[[user]]\nname = \"guest\"\n\
         [[user]]\nname = \"\"\n\
         [[user]]\nname = \"bob\"\npassword_hash = \"doors-in-plain-text\"\n\
         [[user]]\nname = \"bob\"\nread = [\"orders\", \"topic:a#\"]\n\
         [[user]]\nname = \"carl\"\npassword_hash_file = \"nowhere\"\nwrite = [\"queue:{user}\"]\n\
         [[user]]\nname = \"dora\"\nscram_256 = \"x\"\n\
         [[user]]\npassword = \"doors-in-plain-text\"\n\
         [listeners.amqp]\ntls_certificate = \"nowhere.pem\"\n",
    );
    let places = [
        "user[0].name: ",
        "user[1].name: ",
        "user[2].password_hash: ",
        "user[3].name: another user is named 'bob' too",
        "user[3].read[0]: 'orders': ",
        "user[3].read[1]: 'topic:a#': ",
        "user[4].password_hash_file: ",
        "user[4].write[0]: 'queue:{user}': ",
        "user[5].scram_256: ",
        "user[6].password: ",
        "user[6].name: ",
        "listeners.amqp.tls_key: ",
    ];
    for place in places {
        assert!(log.contains(place), "{place} is missing in\n{log}");
    }
    let lines = log.lines().filter(|line| line.contains("it is not read again")).count();
    assert_eq!(lines, places.len(), "{log}");
    assert!(
        !log.contains("doors-in-plain-text"),
        "the text of a wrong hash may be a password:\n{log}"
    );
    // Ann is still there, and may come again; nobody else came.
    client.queue("ann-q", false);
    drop(Amqp::connect_as(house.broker.amqp, "ann", &password("ann")));
    assert!(!house.broker.log().contains("a user is"));
    // What is no TOML at all changes nothing either.
    let log = house.reload("[[user\n");
    assert!(log.contains("hub.toml:1:"), "{log}");
    client.queue("ann-q", false);
    // And the next good file counts.
    let log = house.reload(&owner("bob"));
    assert!(log.contains("a user is removed user=ann"), "{log}");
    let look = Out::method(50, 10).u16(0).short("ann-q").u8(1).table(&[]);
    assert!(client.ask(look, (50, 11)).is_err());
}

/// What cannot change while the broker runs is named, and changes nothing; a broken symlink is a mistake.
#[test]
fn what_counts_from_the_next_start_is_named() {
    let house = House::open(&owner("ann"));
    let more = "[store]\nsegment_bytes = \"32MiB\"\n[listeners.more]\nbind = \"127.0.0.1:0\"\n\
                protocols = [\"mqtt\"]\n";
    let log = house.reload(&[&owner("ann"), more].concat());
    for key in ["store.segment_bytes", "listeners.more"] {
        let named = format!("counts from the next start only key=\"{key}\"");
        assert!(log.contains(&named), "{named}\n{log}");
    }
    // As long as it differs from what the broker runs with.
    let log = house.read_again();
    assert!(log.contains("key=\"store.segment_bytes\" from=\"64MiB\" to=\"32MiB\""), "{log}");
    let log = house.reload(&owner("ann"));
    assert!(log.contains("the configuration was read again changes=0"), "{log}");
    assert!(!log.contains("counts from the next start only"), "{log}");
    fs::remove_file(house.path().join("hub.toml")).expect("ours");
    let log = house.read_again();
    assert!(log.contains("it is not read again"), "{log}");
    drop(Amqp::connect_as(house.broker.amqp, "ann", &password("ann")));
}
