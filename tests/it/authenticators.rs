//! Native plugins that decide logins, in a broker that runs: who is let in by them, what those may do, and that nobody
//! is let in by one that breaks. The plugins are plugins/samples/user-file and misjudge.

use crate::broker::{Broker, Folder, crossdock};
use crate::metrics;
use crate::plugins::{said, start, with_plugin};
use crate::wire::amqp::{Amqp, Properties};
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::stomp::Stomp;
use crate::wire::{PATIENCE, Socket, eventually};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The password of all users of the file, and its hash, which costs little.
const PASSWORD: &str = "right";
const HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$rc9SVIMTq5NJGXhhEkKX2z34B0IX900+yu18TYBLKbM";

fn user(name: &str, more: &str) -> String {
    format!("[[user]]\nname = \"{name}\"\npassword_hash = \"{HASH}\"\n{more}\n")
}

/// Writes the file of users, as another one in the place of the old.
fn write_users(folder: &Folder, users: &[String]) -> PathBuf {
    let new = folder.write("users.new", &users.concat());
    fs::set_permissions(&new, Permissions::from_mode(0o600)).expect("ours");
    let file = folder.path().join("users.toml");
    fs::rename(new, &file).expect("renamed");
    file
}

/// A configuration with the users of a file. `more`: of the plugin's `with`, and of the rest.
fn with_users(folder: &Folder, users: &[String], (with, more): (&str, &str)) -> String {
    let file = write_users(folder, users);
    let with = format!("with = {{ file = \"{}\"{with} }}", file.display());
    with_plugin("user-file", &format!("{with}\n{more}"))
}

/// The error that each protocol sends while no authenticator can decide a login.
const NOT_NOW: &str = "logins cannot be judged now: try again later";

const OWN_FIRST: &str = "[auth]\norder = [\"own\", \"user-file\"]\n[log]\nlevel = \"debug\"\n";

/// The refusals of somebody in all protocols.
fn refusals(broker: &Broker, (user, password): (&str, &str)) -> [String; 4] {
    let login = Some((user, password));
    let mqtt = |level| {
        let options = Connect { level, login, ..Connect::v5("device") };
        Mqtt::log_in(Socket::connect(broker.mqtt), &options).err().unwrap_or_default()
    };
    let amqp = Amqp::log_in(Socket::connect(broker.amqp), (user, password));
    let stomp = Stomp::log_in(Socket::connect(broker.stomp), login);
    let [amqp, stomp] = [amqp.err(), stomp.err()].map(Option::unwrap_or_default);
    [amqp, mqtt(5), mqtt(4), stomp]
}

#[test]
fn users_of_a_plugin_log_in_with_their_rights_in_every_protocol() {
    let folder = Folder::new();
    let rights = "configure = [\"queue:ann-*\"]\nwrite = [\"topic:plant/#\", \"queue:ann-*\"]\n\
                  read = [\"queue:ann-*\", \"topic:plant/#\"]";
    let text = with_users(&folder, &[user("ann", rights)], ("", OWN_FIRST));
    let broker = start(&folder, &text);
    let mut amqp = Amqp::connect_as(broker.amqp, "ann", PASSWORD);
    amqp.queue("ann-1", true);
    amqp.confirm_select();
    amqp.publish("", "ann-1", &Properties::persistent(), b"1");
    amqp.confirmed().expect("allowed");
    amqp.publish("amq.topic", "office.7", &Properties::default(), b"");
    let why = "write to topic:office/7 is not allowed for user 'ann'";
    assert_eq!(amqp.confirmed(), Err(format!("403 ACCESS_REFUSED - {why}")));
    let mut stomp = Stomp::connect_as(broker.stomp, "ann", PASSWORD);
    stomp.subscribe("s", "/topic/plant.#", "auto", &[]);
    for level in [5, 4] {
        let client = format!("device-{level}");
        let options = Connect { level, ..Connect::v5(&client) };
        let mut mqtt = Mqtt::connect_as(broker.mqtt, &options, "ann", PASSWORD);
        mqtt.try_publish("plant/7", b"21", false).expect("allowed");
        assert_eq!(stomp.receive().body, b"21");
        if level == 5 {
            let why = "write to topic:office/7 is not allowed for user 'ann'";
            assert_eq!(mqtt.try_publish("office/7", b"", false), Err(format!("0x87 {why}")));
        }
    }
    let refused = stomp.try_request("SEND", &[("destination", "/topic/office.7")], b"");
    assert_eq!(refused, Err(format!("access_refused {why}")));
    // Of its own virtual hosts only.
    let other = Amqp::log_in_to("other", Socket::connect(broker.amqp), ("ann", PASSWORD));
    assert!(other.is_err());
    drop(Amqp::connect(broker.amqp));

    // A wrong password and an unknown user get the same error text.
    for login in [("ann", "wrong-password"), ("zoe", "wrong-password")] {
        let [amqp, new, old, stomp] = refusals(&broker, login);
        assert_eq!(amqp, "403 ACCESS_REFUSED - login was refused (mechanism PLAIN)");
        assert_eq!(new, "0x86 login was refused");
        assert_eq!(old, "0x04");
        assert!(stomp.starts_with("access_refused login was refused"), "{stomp}");
    }
    let log = broker.log();
    assert!(log.contains("the plugin 'user-file' refuses it: the user has another password"));
    assert!(log.contains("none of those in auth.order knows of it"), "{log}");
    for secret in ["wrong-password", HASH] {
        assert!(!log.contains(secret), "a secret stands in the log");
    }
    // The fifth failure is the last one that is looked at.
    assert!(Amqp::log_in(Socket::connect(broker.amqp), ("ann", "wrong-password")).is_err());
    assert!(Amqp::log_in(Socket::connect(broker.amqp), ("ann", PASSWORD)).is_err(), "it waits");
    let (status, _) = said(&broker, &["status", "--seconds", "0"]);
    assert!(status.contains("delayed") && status.contains("ann"), "{status}");
    said(&broker, &["ctl", "clear", "login-delay", "ann"]);
    drop(Amqp::connect_as(broker.amqp, "ann", PASSWORD));
    amqp.confirm_select();
}

#[test]
fn a_file_of_users_that_changes_counts_at_the_next_login() {
    let folder = Folder::new();
    let text = with_users(&folder, &[user("ann", "")], ("", OWN_FIRST));
    let broker = start(&folder, &text);
    let enter = |name: &str| {
        let login = Some((name, PASSWORD));
        Mqtt::log_in(Socket::connect(broker.mqtt), &Connect { login, ..Connect::v5(name) })
    };
    let mut before = enter("ann").expect("let in");
    write_users(&folder, &[user("bob", "write = [\"topic:b\"]")]);
    assert!(enter("ann").is_err());
    let mut bob = enter("bob").expect("let in");
    bob.try_publish("b", b"1", false).expect("allowed");
    folder.write("users.new", "[[user]]\nnmae = 1\n");
    fs::rename(folder.path().join("users.new"), folder.path().join("users.toml")).expect("renamed");
    enter("bob").expect("the users stay as they were");
    assert!(broker.log().contains("the users stay as they were"), "{}", broker.log());
    // Whoever is there stays until the login ends.
    assert!(before.try_publish("b", b"1", false).is_err());
}

/// When the login of a plugin's user ends, each connection ends in its protocol's own word, and none before.
#[test]
fn a_connection_ends_with_the_login_that_a_plugin_gave() {
    let folder = Folder::new();
    let lives = Duration::from_secs(8);
    let with = format!(", login_seconds = {}", lives.as_secs());
    let text = with_users(&folder, &[user("ann", "")], (&with, OWN_FIRST));
    let broker = start(&folder, &text);
    let began = Instant::now();
    let mut amqp = Amqp::connect_as(broker.amqp, "ann", PASSWORD);
    let mut stomp = Stomp::connect_as(broker.stomp, "ann", PASSWORD);
    let mut mqtt = Mqtt::connect_as(broker.mqtt, &Connect::v5("ann"), "ann", PASSWORD);
    let mut guest = Amqp::connect(broker.amqp);
    let expired = "the login of user 'ann' has expired";
    let ends = amqp.ends();
    let took = began.elapsed();
    assert!(took + Duration::from_millis(50) > lives && took < lives + PATIENCE, "{took:?}");
    assert!(ends.starts_with(&format!("320 CONNECTION_FORCED - {expired}")), "{ends}");
    let ends = stomp.ends();
    assert!(ends.starts_with(&format!("access_refused {expired}")), "{ends}");
    let ends = mqtt.ends();
    assert!(ends.starts_with(&format!("0x87 {expired}")), "{ends}");
    guest.confirm_select();
    drop(Amqp::connect_as(broker.amqp, "ann", PASSWORD));
}

/// What a session of a plugin's user holds after a restart: its rights came with the login, and that is gone.
#[test]
fn a_session_has_no_rights_after_a_restart_until_its_user_is_back() {
    let folder = Folder::new();
    let users = [user("ann", "read = [\"topic:plant/#\"]"), user("bob", "read = [\"topic:#\"]")];
    // Bob is a user of the broker, too, who may read other topics.
    let own = "[[user]]\nname = \"bob\"\nread = [\"topic:office/#\"]\n";
    let text = with_users(&folder, &users, ("", &format!("{OWN_FIRST}{own}")));
    let mut broker = start(&folder, &text);
    let enter = |broker: &Broker, name: &str| {
        Mqtt::connect_as(broker.mqtt, &Connect::persistent(name), name, PASSWORD)
    };
    let mut ann = enter(&broker, "ann");
    ann.subscribe("plant/#", 1);
    ann.disconnect();
    let mut bob = enter(&broker, "bob");
    bob.subscribe("plant/#", 1);
    bob.subscribe("office/#", 1);
    bob.disconnect();
    let publish = |broker: &Broker, body: &[u8]| {
        let mut guest = Mqtt::connect(broker.mqtt, &Connect::v5("publisher"));
        guest.publish("plant/1", body, 1);
        guest.publish("office/1", body, 1);
    };
    let received = |broker: &Broker, name: &str| {
        let mut client = enter(broker, name);
        publish(broker, b"back");
        let mut received = Vec::new();
        while let Some(message) = client.receive_within(Duration::from_secs(1)) {
            client.acknowledge(&message);
            received.push(format!("{} {}", message.topic, String::from_utf8_lossy(&message.body)));
        }
        received
    };
    publish(&broker, b"before");
    broker.crash();
    publish(&broker, b"away");
    // Bob's, who is away longest, are those of the account of his name.
    assert_eq!(received(&broker, "ann"), ["plant/1 before", "plant/1 back"]);
    let of_bob = received(&broker, "bob");
    let expected = [
        "plant/1 before",
        "office/1 before",
        "office/1 away",
        "office/1 back",
        "plant/1 back",
        "office/1 back",
    ];
    assert_eq!(of_bob, expected);
}

#[test]
fn tags_of_a_plugins_user_count_for_metrics() {
    let folder = Folder::new();
    let users = [user("ann", "tags = [\"monitoring\"]"), user("bob", "")];
    // An account of the same name lends nobody its tags.
    let more = format!(
        "{OWN_FIRST}[listeners.metrics]\nproxy = true\n[[user]]\nname = \"bob\"\ntags = [\"administrator\"]\n"
    );
    let broker = start(&folder, &with_users(&folder, &users, ("", &more)));
    let at = metrics::address(&broker);
    assert_eq!(metrics::get_from_elsewhere(at, "/metrics", ("ann", PASSWORD)).status, 200);
    assert_eq!(metrics::get_from_elsewhere(at, "/metrics", ("bob", PASSWORD)).status, 401);
    assert_eq!(metrics::get_from_elsewhere(at, "/metrics", ("ann", "wrong")).status, 401);
}

#[test]
fn a_plugin_may_say_that_somebody_is_a_user_of_the_broker() {
    let folder = Folder::new();
    let own = "[[user]]\nname = \"bob\"\nwrite = [\"topic:b\"]\n";
    let order = "[auth]\norder = [\"misjudge\"]\n";
    let text = with_plugin("misjudge", &format!("{order}{own}"));
    let broker = start(&folder, &text);
    let mut bob = Mqtt::connect_as(broker.mqtt, &Connect::v5("b"), "account", "any");
    bob.try_publish("b", b"1", false).expect("allowed");
    let refused = bob.try_publish("c", b"1", false);
    assert_eq!(refused, Err("0x87 write to topic:c is not allowed for user 'bob'".to_owned()));
    // Without `own` nobody else is let in: no guest, no client without a name.
    for login in [Some(("guest", "guest")), None] {
        let options = Connect { login, ..Connect::v5("c") };
        assert!(Mqtt::log_in(Socket::connect(broker.mqtt), &options).is_err());
    }
    // It is the account's connection, and ends with it.
    folder.write("plugins.toml", &text.replace("\"bob\"", "\"eve\""));
    broker.signal("HUP");
    assert!(bob.ends().starts_with("0x87 user 'bob' was removed"));
}

/// Does what the fixture does with that user: nobody is let in from then on, and whoever is there stays.
fn misjudges(user: &str, why: &str) {
    let folder = Folder::new();
    let more = "limits = { call_time = \"500ms\" }\n[auth]\norder = [\"misjudge\", \"own\"]\n";
    let broker = start(&folder, &with_plugin("misjudge", more));
    let mut guest = Amqp::connect(broker.amqp);
    guest.queue("q", true);
    let mut granted = Amqp::connect_as(broker.amqp, "grant", "any");
    let started = Instant::now();
    let login = (user, "secret-of-the-login");
    let refused = Amqp::log_in(Socket::connect(broker.amqp), login).err().unwrap_or_default();
    assert!(refused.starts_with("506 "), "{refused}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    // Not those whom it let in before, nor those who come behind it in the order.
    for login in [("grant", "any"), ("guest", "guest"), ("zoe", "")] {
        let [amqp, new, old, stomp] = refusals(&broker, login);
        assert!(amqp.starts_with("506 ") && amqp.ends_with(NOT_NOW), "{amqp}");
        assert_eq!(new, format!("0x88 {NOT_NOW}"));
        assert_eq!(old, "0x03");
        assert!(stomp.starts_with(&format!("unavailable {NOT_NOW}")), "{stomp}");
    }
    granted.consume("q", true);
    guest.confirm_select();
    guest.publish("", "q", &Properties::persistent(), b"goes on");
    guest.wait_confirms();
    assert_eq!(granted.receive().body, b"goes on");

    let (status, code) = said(&broker, &["status", "--seconds", "0"]);
    assert_eq!(code, Some(1), "{status}");
    let line = "plugin 'misjudge' (authenticator) is out of use until the next start";
    assert!(status.contains(line) && status.contains(why), "{status}");
    let log = broker.log();
    assert_eq!(log.matches("a plugin is out of use").count(), 1, "{log}");
    assert_eq!(log.matches("a plugin cannot judge logins").count(), 1, "once a minute: {log}");
    assert!(log.contains(why) && !log.contains("secret-of-the-login"), "{log}");
}

#[test]
fn an_authenticator_that_panics_lets_nobody_in() {
    misjudges("panic", "its call 'login' panicked: misjudging *** (misjudge/src/lib.rs:");
}

#[test]
fn an_authenticator_that_hangs_lets_nobody_in() {
    misjudges("hang", "its call 'login' did not return within 500 ms");
}

#[test]
fn the_own_users_come_in_beside_a_broken_authenticator_that_is_asked_later() {
    let folder = Folder::new();
    let order = "[auth]\norder = [\"own\", \"misjudge\"]\n";
    let broker = start(&folder, &with_plugin("misjudge", order));
    assert!(Amqp::log_in(Socket::connect(broker.amqp), ("panic", "")).is_err());
    drop(Amqp::connect(broker.amqp));
    let refused = Amqp::log_in(Socket::connect(broker.amqp), ("grant", "")).err();
    assert!(refused.is_some_and(|why| why.starts_with("506 ")));
}

#[test]
fn every_mistake_about_who_decides_logins_is_named_with_its_key() {
    let folder = Folder::new();
    let users = |more: &str| with_users(&folder, &[user("ann", "")], ("", more));
    let order = |names: &str| users(&format!("[auth]\norder = [{names}]\n"));
    let remote = "[listeners.mqtt]\nbind = \"0.0.0.0:0\"\n";
    let cases = [
        (order("\"own\", \"user-file\""), "FILE: ok"),
        (order("\"user-file\""), "FILE: ok"),
        (format!("{remote}{}", order("\"user-file\"")), "FILE: ok"),
        (order(""), "FILE:6:1 auth.order: names nobody"),
        (
            order("\"own\", \"user-flie\""),
            "FILE:6:17 auth.order[1]: there is no [[plugin]] named 'user-flie'; did you mean 'user-file'?",
        ),
        (order("\"own\", \"user-file\", \"own\""), "FILE:6:30 auth.order[2]: 'own' stands twice"),
        (users(""), "FILE:2:1 plugin[0].name: the plugin decides logins, and auth.order does not"),
        (
            with_plugin("consistent-hash", "[auth]\norder = [\"consistent-hash\", \"own\"]\n"),
            "auth.order[0]: the plugin 'consistent-hash' brings exchange:x-sample-hash, and no \
             authenticator",
        ),
        (
            order("\"own\"").replace("name = \"user-file\"", "name = \"own\""),
            "FILE:2:1 plugin[0].name: 'own' stands for the broker's own users",
        ),
        (
            users("[auth]\norder = [\"user-file\"]\ntoken_secret_files = [\"gone\"]\n"),
            "FILE:6:1 auth.order: names no 'own', which takes tokens",
        ),
        (
            with_plugin("user-file", "with = {}\n[auth]\norder = [\"user-file\"]\n"),
            "plugin[0].with: ",
        ),
        (order("\"user-file\"").replace("users.toml", "gone.toml"), "does not start: "),
    ];
    for (text, wanted) in cases {
        let file = folder.write("hub.toml", &text);
        let output = crossdock(&["check-config", &file.to_string_lossy()]).output();
        let output = output.expect("the binary is there");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).replace(&*file.to_string_lossy(), "FILE");
        assert!(said.contains(wanted), "{text}\n{said}\n{wanted}");
        let code = if wanted == "FILE: ok" { 0 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{said}");
    }
    // Without loading anything: what a reload would say of the order.
    let (good, bad) = (order("\"user-file\""), order("\"user-flie\""));
    let [good, bad] =
        [("good.toml", good), ("bad.toml", bad)].map(|(name, text)| folder.write(name, &text));
    let diff = ["diff", &bad.to_string_lossy(), "--config", &good.to_string_lossy()];
    let output = crossdock(&diff).output().expect("the binary is there");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("auth.order[0]: there is no"));
}

#[test]
fn another_order_counts_from_the_next_start() {
    let folder = Folder::new();
    let text = with_users(&folder, &[user("ann", "")], ("", OWN_FIRST));
    let broker = start(&folder, &text);
    let turned = text.replace("[\"own\", \"user-file\"]", "[\"user-file\"]");
    folder.write("plugins.toml", &turned);
    broker.signal("HUP");
    eventually("a line of the log", || {
        let log = broker.log();
        let line = log.lines().find(|line| line.contains("auth.order"))?;
        line.contains("counts from the next start only").then_some(())
    });
    drop(Amqp::connect(broker.amqp));
}
