//! SIGHUP with more than users: limits, queues, routes; all of the file counts or nothing. And `crossdock diff`, which
//! says it beforehand.

use super::house::{Door, House, NOTHING, hash_line, owner, password, user};
use super::visitor::{SPEECHES, Speech, Visitor};
use crate::broker::{Broker, Folder, crossdock, root};
use crate::wire::amqp::{Amqp, Out, Properties};
use crate::wire::eventually;
use crate::wire::mqtt::{Connect, Mqtt};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const TOPOLOGY: &str = "[[exchange]]\nname = \"shop\"\ntype = \"topic\"\n\
     [[queue]]\nname = \"orders\"\narguments = { x-max-length = 7 }\n\
     [[binding]]\nsource = \"shop\"\nkey = \"new/#\"\nto = \"queue:orders\"\n";

/// True for a queue that is there.
fn is_there(client: &mut Amqp, queue: &str) -> bool {
    client.ask(Out::method(50, 10).u16(0).short(queue).u8(1).table(&[]), (50, 11)).is_ok()
}

#[test]
fn what_is_new_is_declared_and_what_is_taken_out_stays() {
    let house = House::open("");
    let mut client = Amqp::connect(house.broker.amqp);
    assert!(!is_there(&mut client, "orders"));
    let log = house.reload(TOPOLOGY);
    for line in [
        "the exchange is added name=\"shop\"",
        "the queue is added name=\"orders\"",
        "the binding is added name=\"exchange:shop/new/# -> queue:orders\"",
        "the configuration was read again changes=3",
    ] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    client.confirm_select();
    client.publish("shop", "new.one", &Properties::persistent(), b"1");
    client.wait_confirms();
    assert_eq!(client.ready("orders"), 1);
    let log = house.reload(NOTHING);
    for what in ["exchange", "queue", "binding"] {
        let line = format!("a {what} is not in the configuration any more: it stays");
        assert!(log.contains(&line), "{line}\n{log}");
    }
    client.publish("shop", "new.two", &Properties::persistent(), b"2");
    client.wait_confirms();
    assert_eq!(client.ready("orders"), 2, "declared things stay");
    let log = house.read_again();
    assert!(log.contains("the configuration was read again changes=0"), "{log}");
}

#[test]
fn one_mistake_anywhere_and_nothing_of_the_file_counts() {
    let module = root().join("transforms/tests/misbehave.wasm");
    let house = House::open(&[&owner("ann"), TOPOLOGY].concat());
    fs::write(house.path().join("broken.wasm"), b"no module").expect("writable");
    let mut client = Amqp::connect_as(house.broker.amqp, "ann", &password("ann"));
    let good = format!(
        "{}{}[[queue]]\nname = \"ann-more\"\n[limits]\nmessage_bytes = 10\n",
        owner("ann"),
        owner("bob")
    );
    let other = TOPOLOGY.replace("= 7", "= 8");
    let route = |wasm: &str| {
        format!(
            "[[route]]\nname = \"r\"\nfrom = [\"topic:in\"]\nsteps = [{{ wasm = \"{wasm}\" }}]\n\
             to = [\"queue:orders\"]\n"
        )
    };
    let cases = [
        (
            other,
            "queue[1]: already exists with other settings: x-max-length: received '8' but current is '7'",
        ),
        (TOPOLOGY.replace("\"topic\"", "\"fanout\""), "exchange[0]: already exists with other"),
        ([TOPOLOGY, &route("FOLDER/broken.wasm")].concat(), "route[0].steps[0].wasm: "),
        ([TOPOLOGY, &route("FOLDER/missing.wasm")].concat(), "route[0].steps[0].wasm: "),
        ("[objects]\nqueues = 1\n[[queue]]\nname = \"x\"\n".to_owned(), "objects.queues: allows 1"),
        ("[memory]\nhigh = \"lots\"\n".to_owned(), "memory.high: 'lots' is not"),
        ("[listeners.amqp]\nprotocols = [\"amqq\"]\n".to_owned(), "listeners.amqp.protocols[0]"),
    ];
    for (bad, why) in cases {
        let log = house.reload(&[&good, &*bad].concat());
        assert!(log.contains(why) && log.contains("it is not read again"), "{why}\n{log}");
        assert!(!log.contains("is added") && !log.contains("from now on"), "{log}");
        assert!(!is_there(&mut client, "ann-more"), "{why}");
        client.queue("ann-q", false);
    }
    let door = Door::at(house.broker.amqp);
    assert!(Amqp::log_in(door.knock(), ("bob", &password("bob"))).is_err());
    // Without the mistake all of it counts.
    let log = house.reload(&[&good, TOPOLOGY, &route(&module.to_string_lossy())].concat());
    assert!(log.contains("the configuration was read again changes=4"), "{log}");
    assert!(log.contains("the route is added name=\"r\""), "{log}");
    drop(Amqp::connect_as(house.broker.amqp, "bob", &password("bob")));
    assert!(is_there(&mut client, "ann-more"));
}

#[test]
fn limits_count_at_once() {
    let house = House::open("");
    let mut client = Amqp::connect(house.broker.amqp);
    client.queue("q", true);
    client.confirm_select();
    client.publish("", "q", &Properties::default(), &[b'x'; 100]);
    client.wait_confirms();
    let log = house.reload("[limits]\nmessage_bytes = 50\n[objects]\nqueues = 1\n");
    for line in [
        "counts from now on key=\"limits.message_bytes\" from=\"16MiB\" to=\"50\"",
        "counts from now on key=\"objects.queues\" from=\"200000\" to=\"1\"",
    ] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    let declare = |name: &str| Out::method(50, 10).u16(0).short(name).u8(2).table(&[]);
    assert!(client.ask(declare("r"), (50, 11)).is_err(), "one is the limit");
    let mut other = Amqp::connect(house.broker.amqp);
    other.confirm_select();
    other.publish("", "q", &Properties::default(), &[b'x'; 100]);
    assert!(other.confirmed().is_err(), "the message is too large");
    house.reload(NOTHING);
    assert!(client.ask(declare("r"), (50, 11)).is_ok());
    assert_eq!(client.ready("q"), 1);
}

#[test]
fn what_is_logged_changes() {
    let folder = Folder::new();
    let file = folder.write("hub.toml", "[log]\nlevel = \"warn\"\n");
    let broker = Broker::with(&["--config", &file.to_string_lossy()]);
    assert!(!broker.log().contains("crossdock ready"), "it is no warning");
    folder.write("hub.toml", "[log]\nlevel = \"info\"\n");
    broker.signal("HUP");
    let read = || broker.log().contains("the configuration was read again").then_some(());
    eventually("its end is logged", read);
    let line = "counts from now on key=\"log.level\" from=\"warn\" to=\"info\"";
    assert!(broker.log().contains(line), "{}", broker.log());
}

#[test]
fn a_listener_admits_by_the_new_limits() {
    let house = House::open("");
    let door = Door::at(house.broker.mqtt);
    let enter = |client: &str| Mqtt::log_in(door.knock(), &Connect::v5(client));
    let _first = enter("1").expect("the first");
    let log = house.reload("[listeners.mqtt]\nconnections_max = 1\n");
    assert!(log.contains("from now on key=\"listeners.mqtt.connections_max\""), "{log}");
    let mut refused = door.knock();
    assert!(refused.is_closed_within(Duration::from_secs(5)), "one is open");
    house.reload("[listeners.mqtt]\nconnections_max = 3\n");
    assert!(enter("2").is_ok());
}

#[test]
fn too_many_connections_of_a_user_are_refused_in_every_protocol() {
    let limited = |lines: &str| format!("{}[limits]\n{lines}", user("ann", "read = [\"*\"]"));
    let house = House::open(&limited("connections_per_user = 1\n"));
    let (amqp, secret) = (house.broker.amqp, password("ann"));
    let first = Amqp::connect_as(amqp, "ann", &secret);
    let why = "there may be 1 connections of this user (limits.connections_per_user)";
    let expected = |speech: Speech, why: &str| match speech {
        Speech::Amqp => format!("530 NOT_ALLOWED - {why}"),
        Speech::Mqtt5 => format!("0x97 {why}"),
        Speech::Mqtt311 => "0x03".to_owned(),
        Speech::Stomp => format!("resource_limit_exceeded {why}"),
    };
    let address = |speech: Speech| match speech {
        Speech::Amqp => house.broker.amqp,
        Speech::Mqtt5 | Speech::Mqtt311 => house.broker.mqtt,
        Speech::Stomp => house.broker.stomp,
    };
    let enter = |speech: Speech| {
        let door = Door::at(address(speech));
        Visitor { speech, door: &door, login: Some(("ann", &secret)) }.enter()
    };
    for speech in SPEECHES {
        assert_eq!(enter(speech), Err(expected(speech, why)));
    }
    // Others are not concerned, and the place is free when the connection is lost.
    drop(Amqp::connect(amqp));
    drop(first);
    eventually("its place is free", || enter(Speech::Stomp).ok());
    house.reload(&limited("connections_per_vhost = 1\n"));
    let guest = eventually("nobody is left", || {
        Amqp::log_in(Door::at(amqp).knock(), ("guest", "guest")).ok()
    });
    let why = "there may be 1 connections in this virtual host (limits.connections_per_vhost)";
    for speech in SPEECHES {
        assert_eq!(enter(speech), Err(expected(speech, why)));
    }
    drop(guest);
    house.reload(&limited(""));
    for speech in SPEECHES {
        assert_eq!(enter(speech), Ok(()));
    }
    let log = house.broker.log();
    let warned = log.matches("a limit was reached: requests beyond it are refused").count();
    assert_eq!(warned, 2, "one a minute for each limit:\n{log}");
}

fn routed(version: u32) -> String {
    let module = root().join("transforms/tests/misbehave.wasm");
    format!(
        "[[queue]]\nname = \"out\"\n[[route]]\nname = \"r\"\nfrom = [\"topic:in/#\"]\n\
         steps = [{{ wasm = \"{}\" }}, {{ set = {{ version = \"'{version}'\" }} }}]\n\
         to = [\"queue:out\"]\n",
        module.display()
    )
}

#[test]
fn a_route_is_exchanged_twenty_times_under_load() {
    let house = House::open(&routed(0));
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = std::thread::spawn({
        let (stop, mut client) = (stop.clone(), Amqp::connect(house.broker.amqp));
        move || {
            client.confirm_select();
            let mut sent = 0;
            while !stop.load(Ordering::Acquire) {
                for _ in 0..20 {
                    let key = format!("in.{}", sent % 3);
                    let body = format!("number {sent}");
                    client.publish("amq.topic", &key, &Properties::persistent(), body.as_bytes());
                    sent += 1;
                }
                client.wait_confirms();
            }
            sent
        }
    });
    for version in 1..=20 {
        let log = house.reload(&routed(version));
        assert!(log.contains("the route is changed name=\"r\""), "{log}");
    }
    stop.store(true, Ordering::Release);
    let sent: u32 = publisher.join().expect("no panic");
    let mut client = Amqp::connect(house.broker.amqp);
    eventually("all came through", || (client.ready("out") == sent).then_some(()));
    client.consume("out", true);
    let (mut last, mut versions): (BTreeMap<u32, u32>, _) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..sent {
        let delivery = client.receive();
        let body = String::from_utf8(delivery.body).expect("text");
        let number: u32 = body.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
        let before = last.insert(number % 3, number);
        assert!(before.is_none_or(|before| before < number), "{number} after {before:?}");
        let version = delivery.properties.header("version").expect("a version");
        *versions.entry(version.parse::<u32>().expect("a number")).or_insert(0) += 1;
    }
    assert!(client.receive_within(Duration::from_millis(200)).is_none(), "nothing twice");
    assert!(versions.len() > 10, "{versions:?}");
    println!("{sent} messages by {} versions: {versions:?}", versions.len());
}

#[test]
fn a_module_file_that_is_replaced_counts_from_the_reload_on() {
    let house = House::open("");
    let module = root().join("transforms/tests/misbehave.wasm");
    let text = "[[queue]]\nname = \"out\"\n[[route]]\nname = \"r\"\nfrom = [\"topic:in\"]\n\
                steps = [{ wasm = \"FOLDER/m.wasm\" }]\nto = [\"queue:out\"]\n";
    let log = house.reload(text);
    assert!(log.contains("route[0].steps[0].wasm: "), "there is no such file yet:\n{log}");
    fs::copy(&module, house.path().join("m.wasm")).expect("writable");
    let log = house.read_again();
    assert!(log.contains("the route is added name=\"r\""), "{log}");
    let log = house.read_again();
    assert!(log.contains("read again changes=0"), "{log}");
    fs::write(house.path().join("new.wasm"), b"broken").expect("writable");
    fs::rename(house.path().join("new.wasm"), house.path().join("m.wasm")).expect("writable");
    let log = house.read_again();
    assert!(log.contains("route[0].steps[0].wasm: "), "{log}");
    fs::copy(&module, house.path().join("m.wasm")).expect("writable");
    let log = house.read_again();
    assert!(log.contains("the route is changed name=\"r\""), "{log}");
    let mut client = Amqp::connect(house.broker.amqp);
    client.confirm_select();
    client.publish("amq.topic", "in", &Properties::persistent(), b"hello");
    client.wait_confirms();
    eventually("it works", || (client.ready("out") == 1).then_some(()));
}

#[test]
fn what_waits_for_a_route_that_is_taken_away_is_said() {
    let house = House::open(&routed(0));
    let mut client = Amqp::connect(house.broker.amqp);
    client.confirm_select();
    // It asks to be called again, for ever.
    client.publish("amq.topic", "in.a", &Properties::persistent(), b"retry 60000");
    client.wait_confirms();
    let log = house.reload(NOTHING);
    assert!(log.contains("the route is removed name=\"r\""), "{log}");
    let waits =
        log.contains("messages wait in the queue of a content route that is not configured");
    assert!(waits && log.contains("messages=1"), "{log}");
}

/// What `crossdock diff` says, and its exit code.
fn diff(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = crossdock(&[&["diff"], arguments].concat()).output().expect("the binary is there");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_diff_says_what_a_reload_would_change() {
    let folder = Folder::new();
    let old = folder.write(
        "old.toml",
        &format!(
            "[limits]\nmessage_bytes = \"1MiB\"\n[listeners.amqp]\nconnections_max = 5\n\
             [[user]]\nname = \"ann\"\n{}\n[[user]]\nname = \"carl\"\n\
             [[queue]]\nname = \"a\"\n[[route]]\nname = \"r\"\nfrom = [\"topic:in\"]\n\
             steps = [{{ wasm = \"gone\" }}]\nto = [\"queue:a\"]\n",
            hash_line("ann")
        ),
    );
    let text = "[limits]\nmessage_bytes = \"2MiB\"\n[listeners.amqp]\nconnections_max = 6\n\
                tls_certificate = \"FOLDER/server.pem\"\ntls_key = \"FOLDER/server-key.pem\"\n\
                [listeners.stomp]\nbind = \"off\"\n[listeners.more]\nbind = \"127.0.0.1:0\"\n\
                protocols = [\"mqtt\"]\n[store]\nsegment_bytes = \"32MiB\"\n\
                [[user]]\nname = \"ann\"\n[[user]]\nname = \"bob\"\n[[queue]]\nname = \"b\"\n\
                [[route]]\nname = \"s\"\nfrom = [\"topic:in\"]\nto = [\"queue:b\"]\n";
    let made = crossdock(&["tls", "self-signed", &folder.path().to_string_lossy()]).output();
    assert!(made.expect("the binary is there").status.success());
    let new = folder.write("new.toml", &text.replace("FOLDER", &folder.path().to_string_lossy()));
    let (old, new) = (old.to_string_lossy().into_owned(), new.to_string_lossy().into_owned());
    let (code, said, errors) = diff(&[&new, "--config", &old]);
    let wanted = "next start  listener 'more' is added\n\
         at once     limits.message_bytes: \"1MiB\" -> \"2MiB\"\n\
         at once     listeners.amqp.connections_max: \"5\" -> \"6\"\n\
         next start  listeners.amqp.tls_certificate: not set -> \"FOLDER/server.pem\"\n\
         next start  listeners.amqp.tls_key: not set -> \"FOLDER/server-key.pem\"\n\
         next start  listeners.stomp.bind: \"127.0.0.1:61613\" -> \"off\"\n\
         next start  store.segment_bytes: \"64MiB\" -> \"32MiB\"\n\
         at once     user 'ann' is changed: password\n\
         at once     user 'bob' is added\n\
         at once     user 'carl' is removed\n\
         at once     queue 'b' is added\n\
         stays       queue 'a' is removed: it stays in the broker until it is deleted\n\
         at once     route 's' is added\n\
         at once     route 'r' is removed\n";
    let said = said.replace(&*folder.path().to_string_lossy(), "FOLDER");
    assert_eq!((code, &*said, &*errors), (Some(1), wanted, ""));
    let (code, said, _) = diff(&[&new, "--config", &new]);
    assert_eq!((code, &*said), (Some(0), ""));
    let both = new;
    // What means the same is no difference, and of a user each right has its sign.
    let ann = |size: &str, write: &str, tags: &str| {
        format!(
            "[limits]\nmessage_bytes = {size}\nlogin_time = \"60s\"\n[[user]]\nname = \"ann\"\n\
             tags = [\"{tags}\"]\nwrite = [{write}]\nread = [\"*\"]\n"
        )
    };
    let old = folder.write("size.toml", &ann("\"1MiB\"", "\"topic:a\", \"topic:b\"", "x"));
    let text = ann("1048576", "\"topic:b\", \"queue:c\"", "y").replace("60s", "1m");
    let new = folder.write("bytes.toml", &text);
    let (old, new) = (old.to_string_lossy().into_owned(), new.to_string_lossy().into_owned());
    let (code, said, _) = diff(&[&new, "--config", &old]);
    let wanted =
        "at once     user 'ann' is changed: tags - x + y; in '/': write - topic:a + queue:c\n";
    assert_eq!((code, &*said), (Some(1), wanted));
    // Without an old file the built-in values are the old ones; options hold for both.
    let bare = folder.write("bare.toml", "[memory]\nhigh = \"1GiB\"\n");
    let bare = bare.to_string_lossy();
    let (code, said, _) = diff(&[&bare]);
    assert_eq!((code, &*said), (Some(1), "at once     memory.high: \"60%\" -> \"1GiB\"\n"));
    let (code, said, _) = diff(&[&bare, "--set", "memory.high=2GiB"]);
    assert_eq!((code, &*said), (Some(0), ""));
    // What would be refused is no difference.
    let other = folder.write(
        "other.toml",
        "[[queue]]\nname = \"b\"\ndurable = false\n[listeners.x]\nbind = \"off\"\n",
    );
    let (code, said, errors) = diff(&[&other.to_string_lossy(), "--config", &both]);
    assert_eq!((code, &*said), (Some(2), ""));
    assert!(errors.contains("listeners.x.protocols: is missing"), "{errors}");
    let other = folder.write("other.toml", "[[queue]]\nname = \"b\"\ndurable = false\n");
    let (code, _, errors) = diff(&[&other.to_string_lossy(), "--config", &both]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("queue[0]: already exists with other settings: durable"), "{errors}");
}

/// A file that lost its users, or everything, is not taken over: that looks like an accident.
#[test]
fn a_file_that_takes_everything_away_is_refused() {
    let house = House::open(&[&owner("ann"), TOPOLOGY].concat());
    let mut client = Amqp::connect_as(house.broker.amqp, "ann", &password("ann"));
    for (text, why) in [
        ("", "the file has no key at all, as one that is being written"),
        ("# nothing\n[limits]\n", "the file has no key at all, as one that is being written"),
        (NOTHING, "user: there is no [[user]] any more, and 1 would be removed"),
    ] {
        let log = house.reload(text);
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].contains("it is not read again") && lines[0].contains(why), "{log}");
        assert!(lines[0].contains("restart the broker"), "{log}");
        client.queue("ann-q", false);
        // A diff says the same beforehand.
        let new = house.path().join("hub.toml").to_string_lossy().into_owned();
        let old = house.path().join("old.toml");
        fs::write(&old, [&owner("ann"), TOPOLOGY].concat()).expect("writable");
        let (code, _, errors) = diff(&[&new, "--config", &old.to_string_lossy()]);
        assert!(code == Some(2) && errors.contains(why), "{errors}");
    }
    // One of two may go, and topology, which stays in the broker.
    let log = house.reload(&owner("bob"));
    assert!(log.contains("a user is removed user=ann"), "{log}");
}

#[test]
fn the_environment_can_name_the_file() {
    let folder = Folder::new();
    let file = folder.write("named.toml", "[memory]\nhigh = \"lots\"\n");
    let data = folder.path().join("data");
    let mut command = crossdock(&["serve", "--data-dir", &data.to_string_lossy()]);
    let output = command.env("CROSSDOCK_CONFIG", &file).output().expect("the binary is there");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("named.toml:2:8 memory.high: 'lots' is not"), "{said}");
    assert!(!said.contains("names no key"), "{said}");
}
