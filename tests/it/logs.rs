//! Where the log goes, and what a supervisor is told.

use crate::broker::{Broker, Folder, LISTENERS, crossdock};
use crate::wire::amqp::{Amqp, Properties};
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `crossdock serve` on ports of its own.
fn serve(folder: &Folder, more: &[&str]) -> Command {
    let data = folder.path().join("data");
    let mut command = crossdock(&["serve", "--data-dir", &data.to_string_lossy()]);
    for listener in LISTENERS {
        command.args(["--set", &format!("listeners.{listener}.bind=127.0.0.1:0")]);
    }
    command.args(more);
    command.stdout(Stdio::piped());
    command
}

fn ready_line(child: &mut Child) -> String {
    let mut line = String::new();
    let output = child.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut line).expect("readable");
    line
}

fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
}

#[test]
fn the_log_goes_to_its_file_which_sigusr1_has_opened_again() {
    let folder = Folder::new();
    let file = folder.path().join("broker.log");
    let set = format!("log.file={}", file.display());
    let broker = Broker::with(&["--set", &set, "--set", "log.format=json"]);
    until("it is ready", || read(&file).contains("crossdock ready"));
    assert_eq!(broker.log(), "", "nothing goes to standard error");
    let mode = fs::metadata(&file).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode & !0o640, 0, "{mode:o}");
    for line in read(&file).lines() {
        let event: Value = serde_json::from_str(line).expect("one event is one line of JSON");
        let is_text = |name: &str| event[name].as_str().is_some_and(|text| !text.is_empty());
        assert!(is_text("MESSAGE") && is_text("timestamp"), "{line}");
        assert_eq!(event["PRIORITY"], "6", "{line}");
    }
    let old = folder.path().join("broker.log.1");
    fs::rename(&file, &old).expect("renamed");
    broker.signal("USR1");
    until("the file is there again", || {
        read(&file).contains("the file of the log is opened again")
    });
    broker.signal("USR2");
    until("it goes on there", || read(&file).contains("SIGUSR2 came"));
    assert!(!read(&old).contains("SIGUSR"));
}

#[test]
fn a_log_file_that_cannot_be_written_is_named_with_the_other_mistakes_before_anything_starts() {
    let folder = Folder::new();
    let more = ["--set", "log.file=/nowhere/at/all.log", "--set", "vhost.dead_letter=nonsense"];
    let output = serve(&folder, &more).output().expect("the binary is there");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("log.file: the log cannot be written to /nowhere/at/all.log"), "{said}");
    assert!(said.contains("vhost.dead_letter"), "{said}");
    assert!(!folder.path().join("data/store").exists(), "nothing was made");
}

/// To open one waits for whoever reads it.
#[test]
fn a_pipe_is_refused_as_a_log_file_instead_of_waited_for() {
    let folder = Folder::new();
    let pipe = folder.path().join("log.pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is there").success());
    let mut child = serve(&folder, &["--set", &format!("log.file={}", pipe.display())])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary is there");
    let started = Instant::now();
    while child.try_wait().expect("it is a child").is_none() {
        if started.elapsed() > LONG {
            child.kill().expect("it runs");
            panic!("it waits for a reader of the pipe");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("it has ended");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("it is a pipe, not a file"), "{said}");
}

#[test]
fn a_full_disk_under_the_log_stops_nobody() {
    let broker = Broker::with(&["--set", "log.file=/dev/full", "--set", "log.level=debug"]);
    let mut client = Amqp::connect(broker.amqp);
    client.queue("q", true);
    client.confirm_select();
    client.publish("", "q", &Properties::persistent(), b"stored");
    client.wait_confirms();
    assert!(broker.log().contains("crossdock ready"), "what the file does not take goes there");

    // And when nothing takes it.
    let folder = Folder::new();
    let full = || OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let mut child =
        serve(&folder, &["--set", "log.level=debug"]).stderr(full()).spawn().expect("runs");
    let line = ready_line(&mut child);
    let amqp = line.split(' ').find_map(|word| word.strip_prefix("amqp="));
    let amqp = amqp.unwrap_or_else(|| panic!("it did not start: {line}")).parse().expect("address");
    for _ in 0..3 {
        let mut client = Amqp::connect(amqp);
        client.queue("q", true);
        assert_eq!(client.ready("q"), 0);
    }
    signal(&child, "TERM");
    assert_eq!(child.wait().expect("our child").code(), Some(0));
}

#[test]
fn a_supervisor_is_told_what_the_broker_does() {
    let folder = Folder::new();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(LONG)).expect("settable");
    let mut command = serve(&folder, &[]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    let mut child = command.stderr(Stdio::null()).spawn().expect("the binary is there");
    let await_state = |wanted: &str| {
        let mut bytes = [0; 4096];
        let started = Instant::now();
        while started.elapsed() < LONG {
            let count = socket.recv(&mut bytes).unwrap_or_else(|_| panic!("no {wanted}"));
            let said = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if said.starts_with(wanted) {
                return said;
            }
        }
        panic!("no {wanted}")
    };
    let ready = await_state("READY=1");
    assert!(ready.contains("\nSTATUS=crossdock ready amqp=127.0.0.1:"), "{ready}");
    await_state("WATCHDOG=1");
    await_state("WATCHDOG=1");
    signal(&child, "HUP");
    await_state("RELOADING=1");
    await_state("READY=1");
    signal(&child, "TERM");
    await_state("STOPPING=1");
    assert_eq!(child.wait().expect("our child").code(), Some(0));
}

#[test]
fn the_command_line_describes_itself_for_shells_and_man() {
    for shell in ["bash", "zsh", "fish"] {
        let output = crossdock(&["completions", shell]).output().expect("the binary is there");
        let script = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && script.contains("check-config"), "{shell}: {script}");
    }
    let folder = Folder::new();
    let into = folder.path().join("man1");
    let output = crossdock(&["man", &into.to_string_lossy()]).output().expect("it is there");
    assert!(output.status.success());
    for page in ["crossdock.1", "crossdock-serve.1", "crossdock-store-backup.1"] {
        assert!(read(&into.join(page)).contains(".TH"), "{page}");
    }
    let page = crossdock(&["man"]).output().expect("it is there").stdout;
    assert_eq!(String::from_utf8_lossy(&page), read(&into.join("crossdock.1")));
}

/// Whoever looks into the file of the log finds out why the broker does not run.
#[test]
fn a_start_that_fails_is_in_the_file_of_the_log() {
    let folder = Folder::new();
    let file = folder.path().join("broker.log");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let taken = std::net::TcpListener::bind(taken.expect("a free port")).expect("ours");
    let port = format!("listeners.amqp.bind={}", taken.local_addr().expect("bound"));
    let set = format!("log.file={}", file.display());
    let output = serve(&folder, &["--set", &set, "--set", &port]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let why = "listeners.amqp.bind: cannot bind ";
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(why), "standard error has it as before: {said}");
    let log = read(&file);
    let line = log.lines().find(|line| line.contains(why)).unwrap_or_default();
    assert!(line.contains("ERROR") && line.contains("the broker does not start"), "{log}");
    // Without a file it is said once.
    let output = serve(&folder, &["--set", &port]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.matches(why).count(), 1, "{said}");
}
