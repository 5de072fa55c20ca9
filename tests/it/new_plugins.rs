//! `crossdock plugin new`: what it writes is built with the crates of this workspace's lock file, without a network,
//! its tests pass, and the broker loads it as its README says.

use crate::broker::{Broker, Folder, crossdock, root};
use crate::plugins::{said, start};
use crate::wire::amqp::{Amqp, Out, Properties};
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::{PATIENCE, Socket, eventually};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

fn text(output: &Output) -> String {
    let all = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&all).into_owned()
}

fn make(folder: &Folder, kind: &str, name: &str) -> Output {
    let into = folder.path().display().to_string();
    let words = ["plugin", "new", "--kind", kind, name, "--into", &into];
    crossdock(&words).output().expect("the binary is there")
}

fn cargo(made: &Path, words: &[&str]) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(words).args(["--quiet", "--offline"]).current_dir(made);
    command.env("CARGO_TARGET_DIR", target()).env_remove("RUSTFLAGS");
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "cargo {words:?}: {}", text(&output));
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins/templates")
}

/// The configuration in its README, about the library that was built.
fn readme(made: &Path, library: &Path) -> String {
    let readme = fs::read_to_string(made.join("README.md")).expect("a README");
    let blocks = readme.split("```toml\n").skip(1);
    let blocks: String = blocks.filter_map(|rest| rest.split("```").next()).collect();
    let name = library.file_name().expect("a name").to_string_lossy();
    let installed = format!("/usr/local/lib/crossdock/{name}");
    assert!(blocks.contains(&installed), "{blocks}");
    blocks.replace(&installed, &library.to_string_lossy()).replace(":7000", ":0")
}

/// Makes one, builds it, and starts a broker with it.
fn works(kind: &str, name: &str, brings: &str) -> Broker {
    let folder = Folder::new();
    let made = make(&folder, kind, name);
    assert!(made.status.success(), "{}", text(&made));
    let again = make(&folder, kind, name);
    assert_eq!(again.status.code(), Some(2), "nothing is overwritten: {}", text(&again));
    let made = folder.path().join(name);
    fs::copy(root().join("Cargo.lock"), made.join("Cargo.lock")).expect("copied");
    cargo(&made, &["test"]);
    cargo(&made, &["build", "--release"]);
    let library = target().join(format!("release/lib{}.so", name.replace('-', "_")));
    let configuration = readme(&made, &library);
    let file = folder.write("hub.toml", &configuration);
    let checked = crossdock(&["check-config", &file.to_string_lossy()]).output().expect("it runs");
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked));
    let broker = start(&folder, &configuration);
    let (listed, _) = said(&broker, &["ctl", "list", "plugins"]);
    assert!(listed.contains(name) && listed.contains(brings), "{listed}");
    broker
}

#[test]
fn a_new_exchange_type_works() {
    let broker = works("exchange", "by-last", "exchange:x-by-last");
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.confirm_select();
    for key in ["order.7.created", "order.7.gone", "created"] {
        amqp.publish("by-last-word", key, &Properties::default(), b"");
    }
    amqp.wait_confirms();
    assert_eq!(amqp.ready("orders"), 2);
    let bind = Out::method(50, 20).u16(0).short("orders").short("by-last-word").short("a.b").u8(0);
    let refused = amqp.ask(bind.table(&[]), (50, 21)).expect_err("two words");
    assert!(refused.contains("the key of a binding is one word"), "{refused}");
}

#[test]
fn a_new_protocol_works() {
    let broker = works("protocol", "words", "protocol:words");
    let word = broker.ready.split(' ').find_map(|word| word.strip_prefix("words="));
    let address = word.and_then(|address| address.parse().ok()).expect("it listens");
    let mut socket = Socket::connect(address);
    socket.send(b"LOGIN guest guest\nSUB topic:plant/#\nPUB topic:plant/7 21 degrees\n");
    let (wanted, until) =
        ("OK 1\nOK 2\nOK 3\nMSG topic:plant/7 21 degrees\n", Instant::now() + PATIENCE);
    let is_whole = |seen: &[u8]| seen.iter().filter(|byte| **byte == b'\n').count() == 4;
    while !is_whole(socket.buffered()) {
        assert!(socket.read_more(until), "{:?}", String::from_utf8_lossy(socket.buffered()));
    }
    let mut lines: Vec<&[u8]> = socket.buffered().split(|byte| *byte == b'\n').collect();
    // The message may come before its publisher is told.
    lines.sort_unstable();
    let mut expected: Vec<&[u8]> = wanted.as_bytes().split(|byte| *byte == b'\n').collect();
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[test]
fn a_new_authenticator_works() {
    let broker = works("authenticator", "some-users", "authenticator");
    let enter = |user: &str, password: &str| {
        let login = Some((user, password));
        Mqtt::log_in(Socket::connect(broker.mqtt), &Connect { login, ..Connect::v5("device") })
    };
    let mut ann = enter("ann", "right").expect("let in");
    ann.try_publish("plant/7", b"21", false).expect("allowed");
    assert!(ann.try_publish("office/7", b"21", false).is_err());
    assert!(enter("ann", "wrong").is_err() && enter("bob", "right").is_err());
    drop(Amqp::connect(broker.amqp));
}

#[test]
fn a_new_transform_works() {
    let broker = works("transform", "split-lines", "transform");
    let mut mqtt = Mqtt::connect(broker.mqtt, &Connect::v5("device"));
    mqtt.try_publish("files/a", b"one\n\ntwo\n", true).expect("taken");
    let mut amqp = Amqp::connect(broker.amqp);
    for line in [b"one", b"two"] {
        assert_eq!(eventually("a line", || amqp.get("lines")).body, line);
    }
    assert!(amqp.get("lines").is_none());
}

#[test]
fn names_that_cannot_be_are_refused() {
    let folder = Folder::new();
    let long = "a".repeat(33);
    for name in ["No", "7a", "a_b", "", &long, "crossdock-plugin"] {
        let made = make(&folder, "exchange", name);
        assert_eq!(made.status.code(), Some(2), "{name}: {}", text(&made));
        assert!(text(&made).contains(name), "{}", text(&made));
    }
    let made = make(&folder, "bridge", "b");
    assert_eq!(made.status.code(), Some(2));
    assert!(text(&made).contains("authenticator"), "it says which there are: {}", text(&made));
}
