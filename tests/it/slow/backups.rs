//! A backup beside the traffic: a client publishes durable messages and waits for each confirm, while `crossdock ctl
//! backup` copies a large store. Both p99 are printed.

use super::TRIES;
use crate::broker::{Broker, Folder, crossdock};
use crate::floods::victim::{Seen, Victim};
use crate::wire::amqp::{Amqp, Properties};
use std::path::Path;
use std::time::{Duration, Instant};

/// The slowest of 99 % of the confirms may be as many times as long as alone; and always as long as this, because a
/// disk that is read and written beside it answers later.
const P99_TIMES: u32 = 10;
const P99_FREE: Duration = Duration::from_millis(100);
/// The victim is watched alone for at least this long.
const ALONE: Duration = Duration::from_secs(1);
/// Confirms without which a p99 says nothing.
const CONFIRMS_MIN: usize = 50;
const BODY: usize = 64 << 10;

/// Bytes that are stored before, and backed up.
fn stored_bytes() -> usize {
    match std::env::var_os("CROSSDOCK_FLOODS").is_some_and(|value| value == "full") {
        true => 1 << 30,
        false => 96 << 20,
    }
}

fn fill(broker: &Broker) {
    let mut client = Amqp::connect(broker.amqp);
    client.queue("kept", true);
    client.confirm_select();
    let body = vec![b'x'; BODY];
    for number in 1..=stored_bytes() / BODY {
        client.publish("", "kept", &Properties::persistent(), &body);
        if number % 64 == 0 {
            client.wait_confirms();
        }
    }
    client.wait_confirms();
}

/// What a victim sees while this runs.
fn beside(broker: &Broker, work: impl FnOnce()) -> Seen {
    let victim = Victim::start(broker.amqp, true);
    work();
    victim.stop()
}

/// A backup that takes nothing from an earlier one.
fn back_up(broker: &Broker, shelf: &Path) {
    let mut command = crossdock(&["ctl", "backup", &shelf.to_string_lossy()]);
    let output = command.args(["--data-dir", &broker.data_dir().to_string_lossy()]).output();
    let output = output.expect("the binary is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// One comparison; why it is not as it should be.
fn compare(broker: &Broker) -> Result<(), String> {
    let folder = Folder::new();
    let begun = Instant::now();
    let beside_backup = beside(broker, || {
        // The first ones may be over before the victim has seen enough.
        for number in 0.. {
            back_up(broker, &folder.path().join(number.to_string()));
            if begun.elapsed() >= ALONE {
                break;
            }
        }
    });
    let time = begun.elapsed();
    let alone = beside(broker, || std::thread::sleep(time));
    println!(
        "durable publishes with confirms beside backups of {} MiB in {time:?}: {beside_backup}; alone: {alone}",
        stored_bytes() >> 20
    );
    let most = (alone.p99 * P99_TIMES).max(P99_FREE);
    match (beside_backup.p99 <= most, beside_backup.count.min(alone.count) >= CONFIRMS_MIN) {
        (true, true) => Ok(()),
        _ => Err(format!("beside {beside_backup}, alone {alone}")),
    }
}

#[test]
fn publishers_hardly_notice_a_backup() {
    let broker = Broker::start();
    fill(&broker);
    let tries: Vec<String> = (0..TRIES).map_while(|_| compare(&broker).err()).collect();
    assert!(tries.len() < TRIES, "confirms came late beside a backup: {}", tries.join(" | "));
}
