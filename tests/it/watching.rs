//! What `crossdock status`, the log and `check-config` tell of who comes, and by which door.

use crate::broker::{Broker, Folder, crossdock};
use crate::doors::house::{owner, password};
use crate::metrics::{address as metrics_at, get, value};
use crate::wire::amqp::Amqp;
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::{Socket, eventually};
use std::process::Output;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(words: &[&str]) -> Output {
    crossdock(words).output().expect("the binary is there")
}

fn screen(broker: &Broker, seconds: &str) -> String {
    let data = broker.data_dir();
    let output = run(&["status", "--seconds", seconds, "--data-dir", &data.to_string_lossy()]);
    text(&output.stdout)
}

#[test]
fn refused_logins_of_the_last_minutes_are_on_the_screen_by_user_and_address() {
    let broker = Broker::start();
    assert!(screen(&broker, "0").contains("\nlogins        none refused\n"));
    for _ in 0..3 {
        assert!(Amqp::log_in(Socket::connect(broker.amqp), ("ann", "wrong")).is_err());
    }
    let mqtt = Connect { login: Some(("bob", "wrong")), ..Connect::v5("c") };
    assert!(Mqtt::log_in(Socket::connect(broker.mqtt), &mqtt).is_err());
    let screen = screen(&broker, "0");
    let line = screen.lines().find(|line| line.starts_with("logins")).expect("it is there");
    assert!(line.starts_with("logins        4 refused in "), "{line}");
    assert!(line.ends_with(": ann from 127.0.0.1 3, bob from 127.0.0.1 1"), "{line}");
}

#[test]
fn clients_that_connect_again_and_again_are_on_the_screen() {
    let broker = Broker::start();
    assert!(!screen(&broker, "1").contains("storm"), "nobody comes");
    let data = broker.data_dir();
    let watched = std::thread::spawn(move || {
        run(&["status", "--seconds", "3", "--data-dir", &data.to_string_lossy()])
    });
    while !watched.is_finished() {
        for _ in 0..5 {
            drop(Amqp::connect(broker.amqp));
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let screen = text(&watched.join().expect("no panic").stdout);
    let line = screen.lines().find(|line| line.starts_with("storm")).expect(&screen);
    assert!(line.contains("connections opened") && line.contains("again and again"), "{line}");
    assert!(line.contains(" most by guest from 127.0.0.1 "), "{line}");
}

/// A configuration with a user, and a listener that can be reached from elsewhere.
fn reachable(folder: &Folder, more: &str) -> String {
    let listener = "[listeners.outside]\nbind = \"0.0.0.0:0\"\nprotocols = [\"mqtt\"]\n";
    let file = folder.write("crossdock.toml", &format!("{}\n{listener}{more}", owner("ann")));
    file.to_string_lossy().into_owned()
}

#[test]
fn passwords_that_cross_a_network_are_warned_of_once() {
    let folder = Folder::new();
    let file = reachable(&folder, "");
    let words = "listeners without TLS can be reached from other machines";
    let checked = run(&["check-config", &file]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    let said = text(&checked.stderr);
    assert!(said.contains(words) && said.contains("(outside)"), "{said}");
    let broker = Broker::with(&["--config", &file]);
    assert!(Amqp::log_in(Socket::connect(broker.amqp), ("ann", &password("ann"))).is_ok());
    let log = broker.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(words)).collect();
    assert!(lines.len() == 1 && lines[0].contains("WARN"), "{log}");
    assert!(lines[0].contains("outside") && !lines[0].contains("amqp"), "{}", lines[0]);
    // With TLS, and on this machine only, there is nothing to say.
    let made = run(&["tls", "self-signed", &folder.path().to_string_lossy()]);
    let keys = text(&made.stdout);
    let keys: Vec<&str> = keys.lines().filter(|line| !line.contains("client_ca")).collect();
    for file in [reachable(&folder, &keys.join("\n")), {
        let file = folder.write("inside.toml", "[listeners.amqp]\nbind = \"127.0.0.1:0\"\n");
        file.to_string_lossy().into_owned()
    }] {
        let checked = run(&["check-config", &file]);
        assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
        assert!(!text(&checked.stderr).contains(words), "{}", text(&checked.stderr));
    }
}

#[test]
fn a_log_file_that_cannot_be_is_found_before_the_start() {
    let folder = Folder::new();
    let place = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    folder.write("file", "");
    for (path, why) in [
        (place("missing/log"), "its folder has to be there"),
        (place("file/log"), "log.file"),
        (place(""), "it is a folder"),
    ] {
        let config = folder.write("crossdock.toml", &format!("[log]\nfile = \"{path}\"\n"));
        let output = run(&["check-config", &config.to_string_lossy()]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{path}: {said}");
        assert!(said.contains(":2:1 log.file: ") && said.contains(why), "{said}");
    }
    let log = place("log");
    let config = folder.write("crossdock.toml", &format!("[log]\nfile = \"{log}\"\n"));
    let output = run(&["check-config", &config.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(!std::path::Path::new(&log).exists(), "it is not made by a check");
}

/// They are in no other count: neither was anything refused to them, nor had they come in.
#[test]
fn clients_that_do_not_complete_their_login_are_counted_by_listener_and_protocol() {
    let broker = Broker::with(&["--set", "limits.login_time=1s"]);
    let sample = |at: &str, why: &str| {
        let labels = format!("{{listener=\"{at}\",protocol=\"{at}\",reason=\"{why}\"}}");
        let page = get(metrics_at(&broker), "/metrics").body;
        value(&page, &format!("crossdock_logins_unfinished_total{labels}"))
    };
    let begins: [(&str, _, &[u8]); 3] = [
        ("amqp", broker.amqp, b"AMQP\x00\x00\x09\x01"),
        ("mqtt", broker.mqtt, b"\x10\x20\x00\x04MQ"),
        ("stomp", broker.stomp, b"CONNECT\n"),
    ];
    for (at, _, _) in begins {
        assert_eq!((sample(at, "left"), sample(at, "too_slow")), (Some(0.0), Some(0.0)), "{at}");
    }
    let mut slow = Vec::new();
    for (_, address, bytes) in begins {
        Socket::connect(address).send(bytes);
        let mut stays = Socket::connect(address);
        stays.send(bytes);
        slow.push(stays);
    }
    for (at, _, _) in begins {
        let counted = || (sample(at, "left"), sample(at, "too_slow")) == (Some(1.0), Some(1.0));
        eventually(at, || counted().then_some(()));
    }
    let screen = screen(&broker, "0");
    let line = screen.lines().find(|line| line.starts_with("unfinished")).expect(&screen);
    assert!(line.contains("left before") && line.contains("mqtt at mqtt 1"), "{line}");
    assert!(line.contains("took too long before"), "{line}");
}

/// Somebody who tries wrong passwords keeps out who has the right one, from the same address.
#[test]
fn an_operator_sees_who_has_to_wait_and_ends_it() {
    let folder = Folder::new();
    let file = folder.write("crossdock.toml", &owner("ann"));
    let broker = Broker::with(&["--config", &file.to_string_lossy()]);
    let data = broker.data_dir();
    let clear = |name: &str| {
        run(&["ctl", "clear", "login-delay", name, "--data-dir", &data.to_string_lossy()])
    };
    let enter = |password: &str| Amqp::log_in(Socket::connect(broker.amqp), ("ann", password));
    assert!(!screen(&broker, "0").contains("delayed"));
    assert_eq!(clear("ann").status.code(), Some(1), "nobody has to wait");
    // After the eighth it has to wait for eight seconds, which is longer than what follows takes.
    while !screen(&broker, "0").contains("after 8 failures") {
        assert!(enter("wrong").is_err());
    }
    let told = eventually("somebody has to wait", || {
        let screen = screen(&broker, "0");
        screen.lines().find(|line| line.starts_with("delayed")).map(str::to_owned)
    });
    assert!(told.contains("1: ann from 127.0.0.1 for "), "{told}");
    assert!(told.contains("crossdock ctl clear login-delay NAME"), "{told}");
    assert!(enter(&password("ann")).is_err(), "the right one is kept out");
    let cleared = clear("ann");
    assert_eq!(cleared.status.code(), Some(0), "{}", text(&cleared.stderr));
    assert_eq!(text(&cleared.stdout), "it need not wait any longer, at 1 addresses\n");
    assert!(enter(&password("ann")).is_ok(), "at once");
    assert!(!screen(&broker, "0").contains("delayed"));
    let log = broker.log();
    let line = log.lines().find(|line| line.contains("login delay ended")).unwrap_or_default();
    assert!(line.contains("uid:"), "{log}");
}
