//! What a command prints reaches whoever it is for, or its exit code says that it does not.

use crate::broker::{Broker, Folder, crossdock};
use std::fs::OpenOptions;
use std::io::{Write, pipe};
use std::process::{Output, Stdio};

/// Exit codes: standard output cannot be written; its reader has closed it.
const UNWRITTEN: i32 = 74;
const CLOSED: i32 = 141;

fn run(words: &[&str], stdout: impl Into<Stdio>) -> Output {
    let mut command = crossdock(words);
    command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary is there");
    let mut stdin = child.stdin.take().expect("it is piped");
    // Who reads a password has one; the others have closed it.
    let _ = stdin.write_all(b"secret\n");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

/// Runs it with a full disk and with a closed pipe behind its standard output.
#[track_caller]
fn is_told(words: &[&str]) {
    let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let output = run(words, full);
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(UNWRITTEN), "{words:?}: {why}");
    assert!(why.contains("standard output cannot be written: No space left"), "{words:?}: {why}");
    assert!(!why.contains("panicked"), "{words:?}: {why}");
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let output = run(words, writer);
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(CLOSED), "{words:?}: {why}");
    assert!(!why.contains("standard output"), "{words:?}: {why}");
}

#[test]
fn commands_that_need_no_broker_say_when_their_output_is_lost() {
    let folder = Folder::new();
    let one = folder.write("one.toml", "[[queue]]\nname = \"one\"\n");
    let two = folder.write("two.toml", "[[queue]]\nname = \"two\"\n");
    let (one, two) = (one.to_string_lossy(), two.to_string_lossy());
    for words in [
        &["--version"][..],
        &["--help"],
        &["ctl", "--help"],
        &["config-keys"],
        &["completions", "bash"],
        &["man"],
        &["check-config", &one],
        &["diff", &two, "--config", &one],
        &["hash-password"],
    ] {
        is_told(words);
    }
}

#[test]
fn commands_for_a_store_say_when_their_output_is_lost() {
    let mut broker = Broker::start();
    let data = broker.data_dir();
    let data = data.to_string_lossy();
    for words in [
        &["status", "--seconds", "0"][..],
        &["ctl", "status", "--seconds", "0"],
        &["ctl", "list", "exchanges"],
        &["ctl", "list", "exchanges", "--json"],
        &["ctl", "show", "exchange", "amq.topic"],
        &["ctl", "health"],
        &["ctl", "audit"],
        &["ctl", "declare", "queue", "kept"],
        &["ctl", "publish", "queue:kept", "x"],
        &["ctl", "peek", "kept"],
    ] {
        is_told(&[words, &["--data-dir", &data]].concat());
    }
    broker.stop("TERM");
    is_told(&["store", "verify", &data]);
    is_told(&["store", "dump", &data, "--queue", "kept"]);
    let shelf = Folder::new();
    let shelf = shelf.path().to_string_lossy();
    is_told(&["store", "backup", &shelf, "--data-dir", &data]);
    let whole = run(&["store", "dump", &data, "--queue", "kept"], Stdio::piped());
    assert_eq!(whole.status.code(), Some(0));
    let lines = String::from_utf8_lossy(&whole.stdout).lines().count();
    assert_eq!(lines, 2, "both publishes were done although nobody was told");
}
