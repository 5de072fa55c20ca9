//! `crossdock store backup` beside a broker under load, and `crossdock store restore`.

use crate::broker::{Broker, Folder, binary, crossdock};
use crate::disk_full::mounted;
use crate::wire::amqp::{Amqp, Properties};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const KEPT: &str = "kept";
const TAKEN: &str = "taken";
/// Small segments, so that many are begun, sealed and trimmed.
const SMALL: [&str; 2] = ["--set", "store.segment_bytes=1MiB"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn store(broker: &Broker, words: &[&str]) -> Output {
    let mut command = crossdock(&["store"]);
    command.args(words).args(["--data-dir", &broker.data_dir().to_string_lossy()]);
    command.output().expect("the binary is there")
}

/// What it prints, if it succeeds.
#[track_caller]
fn done(broker: &Broker, words: &[&str]) -> String {
    let output = store(broker, words);
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn refusal(broker: &Broker, words: &[&str]) -> String {
    let output = store(broker, words);
    assert_eq!(output.status.code(), Some(2), "{words:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

/// Publishes numbers to a queue that keeps them and to one that does not, until it is told to stop or the broker is
/// gone.
fn load(amqp: SocketAddr, confirmed: &Arc<AtomicU32>, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (confirmed, stop) = (confirmed.clone(), stop.clone());
    std::thread::spawn(move || {
        let mut client = Amqp::connect(amqp);
        client.queue(KEPT, true);
        client.queue(TAKEN, true);
        client.confirm_select();
        client.consume(TAKEN, true);
        let padding = ".".repeat(12_000);
        for number in 0u32.. {
            if stop.load(Ordering::Acquire) {
                return;
            }
            let properties = Properties::persistent();
            client.publish("", KEPT, &properties, number.to_string().as_bytes());
            client.publish("", TAKEN, &properties, padding.as_bytes());
            client.wait_confirms();
            confirmed.store(number + 1, Ordering::Release);
            while client.receive_within(Duration::ZERO).is_some() {}
        }
    })
}

/// Waits until this many more messages are confirmed.
fn wait_for(confirmed: &AtomicU32, more: u32) -> u32 {
    let (begin, started) = (confirmed.load(Ordering::Acquire), Instant::now());
    loop {
        let now = confirmed.load(Ordering::Acquire);
        if now >= begin + more {
            return now;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "only {} of {more}", now - begin);
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn everything_confirmed_before_a_backup_under_load_is_there_after_a_crash_and_a_restore() {
    let mut broker = Broker::with(&SMALL);
    let folder = Folder::new();
    let shelf = folder.path().join("backups");
    let shelf = shelf.to_string_lossy();
    let (confirmed, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let loaded = load(broker.amqp, &confirmed, &stop);
    let mut before = 0;
    for _ in 0..4 {
        before = wait_for(&confirmed, 150);
        done(&broker, &["backup", &shelf]);
    }
    let running = refusal(&broker, &["restore", &shelf, "--replace"]);
    assert!(running.contains("a broker has the store open"), "{running}");
    let after = wait_for(&confirmed, 100);
    stop.store(true, Ordering::Release);
    loaded.join().expect("the client went on all the time");
    broker.kill();
    for number in 1..=4 {
        let backup = format!("{shelf}/backup-{number:06}");
        let verified = crossdock(&["store", "verify", &backup]).output().expect("it runs");
        assert!(text(&verified.stdout).contains("no damage"), "{}", text(&verified.stdout));
    }
    let there = refusal(&broker, &["restore", &shelf]);
    assert!(there.contains("which is newer") && there.contains("--replace"), "{there}");
    let said = done(&broker, &["restore", &shelf, "--replace"]);
    assert!(said.contains("store.before-restore-1"), "{said}");
    broker.restart_with(&SMALL);
    let mut client = Amqp::connect(broker.amqp);
    let count = client.ready(KEPT);
    assert!((before..=after + 1).contains(&count), "{before} {count} {after}");
    client.consume(KEPT, true);
    for number in 0..count {
        assert_eq!(text(&client.receive().body), number.to_string());
    }
}

#[test]
fn a_stopped_store_is_backed_up_and_only_what_changed_is_copied_again() {
    let mut broker = Broker::with(&SMALL);
    let folder = Folder::new();
    let shelf = folder.path().join("backups").to_string_lossy().into_owned();
    let (confirmed, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let loaded = load(broker.amqp, &confirmed, &stop);
    wait_for(&confirmed, 100);
    stop.store(true, Ordering::Release);
    loaded.join().expect("no panic");
    assert_eq!(broker.stop("TERM").0, Some(0));
    done(&broker, &["backup", &shelf]);
    let again = done(&broker, &["backup", &shelf, "--keep", "1"]);
    assert!(again.contains("backup-000002: a backup of all"), "{again}");
    assert!(again.contains("backup-000001: removed"), "{again}");
    let shared = again.lines().nth(1).and_then(|line| line.split(" checked, ").nth(1));
    assert!(shared.is_some_and(|shared| !shared.starts_with("0 of")), "{again}");

    // A damaged backup is named, and the store stays as it was.
    let backup = Path::new(&shelf).join("backup-000002");
    let files = fs::read_dir(&backup).expect("there");
    let mut files = files.map(|file| file.expect("readable").path());
    let journal = files.find(|path| path.to_string_lossy().contains("journal-")).expect("there");
    let mut bytes = fs::read(&journal).expect("readable");
    bytes[4096 + 50] ^= 1;
    fs::write(&journal, bytes).expect("writable");
    let name = journal.file_name().expect("it has one").to_string_lossy().into_owned();
    let refused = refusal(&broker, &["restore", &shelf, "--replace"]);
    assert!(refused.contains("is damaged") && refused.contains(&name), "{refused}");
    broker.restart_with(&SMALL);
    assert!(Amqp::connect(broker.amqp).ready(KEPT) >= 100);
}

#[test]
fn a_backup_disk_that_fills_is_named_and_keeps_nothing_half_done() {
    let broker = Broker::with(&SMALL);
    let mut client = Amqp::connect(broker.amqp);
    client.queue(KEPT, true);
    client.confirm_select();
    let body = vec![b'x'; 100_000];
    for _ in 0..20 {
        client.publish("", KEPT, &Properties::persistent(), &body);
    }
    client.wait_confirms();
    let folder = Folder::new();
    let shelf = folder.path().to_string_lossy().into_owned();
    let Some(inside) = mounted(&shelf, "1m") else { return };
    let script = format!(
        "'{}' store backup '{shelf}' --data-dir '{}'; code=$?; ls -A '{shelf}' >&2; exit $code",
        binary().display(),
        broker.data_dir().display()
    );
    let mut command = Command::new(&inside[0]);
    command.args(&inside[1..]).args(["sh", "-c", &script]);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CROSSDOCK_") {
            command.env_remove(name);
        }
    }
    command.env("CROSSDOCK_CONFIG", "");
    let output = command.output().expect("there is a shell");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let full = format!("there is no new backup: {shelf}: the disk is full");
    assert!(said.starts_with(&full), "{said}");
    assert_eq!(said.lines().skip(1).collect::<Vec<_>>(), ["lock"], "{said}");
    assert_eq!(client.ready(KEPT), 20);
}
