//! What `crossdock status`, the log and `check-config` tell of who comes, and by which door.

use crate::broker::{Broker, Folder, crossdock};
use crate::doors::house::{owner, password};
use crate::wire::Socket;
use crate::wire::amqp::Amqp;
use crate::wire::mqtt::{Connect, Mqtt};
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
