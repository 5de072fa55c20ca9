//! `crossdock store verify` and `dump`, and starting with a damaged store.

use crate::broker::{Broker, LISTENERS, crossdock};
use crate::wire::amqp::{self, Amqp};
use std::fs;
use std::path::PathBuf;
use std::process::Output;

fn store(broker: &Broker, words: &[&str]) -> Output {
    let dir = broker.data_dir();
    let (verb, rest) = words.split_first().expect("a verb");
    let mut command = crossdock(&["store", verb, &dir.to_string_lossy()]);
    command.args(rest).output().expect("the binary is there")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The only segment of a small store.
fn journal(broker: &Broker) -> PathBuf {
    let files = fs::read_dir(broker.data_dir().join("store")).expect("there");
    let mut names = files.map(|file| file.expect("readable").path());
    names.find(|path| path.to_string_lossy().contains("journal-")).expect("there is a journal")
}

#[test]
fn a_store_is_checked_dumped_and_accepted_with_its_damage() {
    let mut broker = Broker::start();
    let mut client = Amqp::connect(broker.amqp);
    client.queue("kept", true);
    client.confirm_select();
    for number in 0..5 {
        let body = format!("message {number} of those that are kept");
        client.publish("", "kept", &amqp::Properties::persistent(), body.as_bytes());
        client.wait_confirms();
    }
    // While the broker is running.
    let verified = store(&broker, &["verify"]);
    let said = text(&verified.stdout);
    assert!(verified.status.success() && said.contains("no damage"), "{said}");
    assert!(said.contains("a process has the store open"), "{said}");
    let lines = text(&store(&broker, &["dump", "--queue", "kept"]).stdout);
    assert_eq!(lines.lines().count(), 5);
    for (number, line) in lines.lines().enumerate() {
        let body = format!("\"body\":\"message {number} of those that are kept\"");
        assert!(line.starts_with("{\"queue\":\"kept\"") && line.contains(&body), "{line}");
    }
    let missing = store(&broker, &["dump", "--queue", "other"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("there are: kept"), "{}", text(&missing.stderr));

    broker.kill();
    let path = journal(&broker);
    let mut bytes = fs::read(&path).expect("readable");
    let wanted = b"message 2 of those";
    let at = bytes.windows(wanted.len()).position(|window| window == wanted).expect("stored");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("writable");
    let verified = store(&broker, &["verify"]);
    assert_eq!(verified.status.code(), Some(1), "{}", text(&verified.stdout));
    let dir = broker.data_dir();
    let mut refused = crossdock(&["serve", "--data-dir", &dir.to_string_lossy()]);
    for listener in LISTENERS {
        refused.args(["--set", &format!("listeners.{listener}.bind=127.0.0.1:0")]);
    }
    let refused = refused.output().expect("the binary is there");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("--accept-damage"), "{}", text(&refused.stderr));

    broker.restart_with(&["--accept-damage"]);
    broker.crash();
    broker.restart_with(&[]);
    let mut client = Amqp::connect(broker.amqp);
    client.prefetch(100);
    client.consume("kept", false);
    for number in [0, 1, 3, 4] {
        let delivery = client.receive();
        assert_eq!(text(&delivery.body), format!("message {number} of those that are kept"));
    }
}

/// The store may be named by the configuration, as `serve` and `store backup` have it.
#[test]
fn a_store_is_found_by_the_configuration() {
    let broker = Broker::start();
    let mut client = Amqp::connect(broker.amqp);
    client.queue("kept", true);
    client.confirm_select();
    client.publish("", "kept", &amqp::Properties::persistent(), b"hello");
    client.wait_confirms();
    let data = format!("data_dir = \"{}\"\n", broker.data_dir().display());
    let config = broker.write("named.toml", &data).to_string_lossy().into_owned();
    let run = |words: &[&str]| crossdock(words).output().expect("the binary is there");
    let verified = run(&["store", "verify", "--config", &config]);
    let said = text(&verified.stdout);
    assert!(verified.status.success() && said.contains("no damage"), "{said}");
    let dumped = run(&["store", "dump", "--config", &config, "--queue", "kept"]);
    assert!(text(&dumped.stdout).contains("\"body\":\"hello\""), "{}", text(&dumped.stderr));
    let dir = broker.data_dir().to_string_lossy().into_owned();
    assert!(run(&["store", "verify", "--data-dir", &dir]).status.success());
    let missing = run(&["store", "verify", "--config", "/nonexistent.toml"]);
    assert_eq!(missing.status.code(), Some(2), "{}", text(&missing.stderr));
    assert!(text(&missing.stderr).contains("/nonexistent.toml"), "{}", text(&missing.stderr));
}

#[test]
fn a_missing_newest_segment_names_its_cure() {
    let mut broker = Broker::start();
    Amqp::connect(broker.amqp).queue("kept", true);
    broker.kill();
    let (path, aside) = (journal(&broker), broker.data_dir().join("aside"));
    fs::rename(&path, &aside).expect("ours");
    let dir = broker.data_dir();
    let mut refused = crossdock(&["serve", "--data-dir", &dir.to_string_lossy()]);
    for listener in LISTENERS {
        refused.args(["--set", &format!("listeners.{listener}.bind=127.0.0.1:0")]);
    }
    let refused = refused.output().expect("the binary is there");
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(said.contains(&name) && said.contains("crossdock store restore --replace"), "{said}");
    assert!(said.contains("move the file 'manifest' aside"), "{said}");
    // Each of the cures helps.
    fs::rename(&aside, &path).expect("ours");
    broker.restart_with(&[]);
    assert_eq!(Amqp::connect(broker.amqp).ready("kept"), 0);
    broker.kill();
    fs::rename(journal(&broker), &aside).expect("ours");
    let manifest = dir.join("store/manifest");
    fs::rename(&manifest, dir.join("manifest.aside")).expect("ours");
    broker.restart_with(&[]);
    assert_eq!(Amqp::connect(broker.amqp).queue("kept", true), 0, "what the segment held is lost");
}
