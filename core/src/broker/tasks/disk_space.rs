//! Free disk space: below the alarm mark publishers are held back, below the hard mark nothing new is declared either;
//! consumers and their acknowledgements always go on, and what they free goes back to the disk.

use crate::broker::restart::clean::has_gain;
use crate::broker::shared::Shared;
use crate::broker::shared::pressure::{Alarms, DiskSpace};
use crate::readable::bytes;
use crate::store::Space;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Between two looks at the disk, far from the alarm mark and near it.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_NEAR: Duration = Duration::from_millis(100);
/// The alarm mark without a setting: bytes, or this part of the disk if that is more.
const ALARM_BYTES: u64 = 1 << 30;
const ALARM_PART: u64 = 20;
/// Less free space than this many times the alarm mark is near it.
const NEAR: u64 = 2;
/// Snapshots under the alarm: what consumers have freed is given back to the disk in time.
const LOOKS_PER_SNAPSHOT: u32 = 5;
/// To find out whether they would give anything back takes time, and is done again after this many times as much.
const WEIGHING_PAUSE: u32 = 100;

/// Watches the free disk space until the broker closes.
pub async fn run(shared: Arc<Shared>) {
    let (mut looks, mut next_weighing) = (0, Instant::now());
    loop {
        let pause = match shared.store.space().await {
            Ok(None) => return,
            Ok(Some(space)) => judge(&shared, space),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "cannot read the free disk space of the store: publishers are not held back when the \
                     disk fills up"
                );
                PAUSE
            }
        };
        if shared.pressure.disk.is_low() {
            looks += 1;
            if looks % LOOKS_PER_SNAPSHOT == 0 && next_weighing <= Instant::now() {
                let (is_gain, took) = has_gain(&shared).await;
                next_weighing = Instant::now() + took * WEIGHING_PAUSE;
                if is_gain {
                    shared.journal.snapshot_due.notify_one();
                }
            }
        }
        // Who writes much asks for a look before it is due.
        let _ = tokio::time::timeout(pause, shared.pressure.disk.check_due.notified()).await;
    }
}

/// Raises or ends the alarm; how long to wait before the next look.
fn judge(shared: &Shared, space: Space) -> Duration {
    let Space { free, total } = space;
    let (settings, disk) = (&shared.settings, &shared.pressure.disk);
    let mark = settings.disk_free_alarm().unwrap_or((total / ALARM_PART).max(ALARM_BYTES));
    let was_low = disk.is_low();
    // A little more than the mark ends the alarm, so that it does not flicker.
    let is_low = free < if was_low { ends_above(mark) } else { mark };
    let hard_mark = settings.disk_free_hard();
    let is_exhausted = is_low && free < hard_mark;
    disk.is_low.store(is_low, Ordering::Release);
    let was_exhausted = disk.is_exhausted.swap(is_exhausted, Ordering::AcqRel);
    disk.bytes_to_mark.store(free.saturating_sub(mark), Ordering::Release);
    disk.mark.store(mark, Ordering::Release);
    disk.bytes_free.store(free, Ordering::Release);
    disk.bytes_total.store(total, Ordering::Release);
    say_alarm(disk, (was_low, is_low), (free, mark));
    say_hard_alarm(disk, (was_exhausted, is_exhausted), (free, hard_mark));
    if was_low && !is_low {
        shared.pressure.release_held();
    }
    if free < mark.saturating_mul(NEAR) { PAUSE_NEAR } else { PAUSE }
}

/// Free bytes that end an alarm.
fn ends_above(mark: u64) -> u64 {
    mark.saturating_add(mark / 8)
}

/// How many alarms a line stands for that is due now.
fn begun(alarms: &Alarms, (was, is): (bool, bool)) -> Option<u64> {
    match (was, is) {
        (false, true) => alarms.begins(),
        (true, true) => alarms.goes_on(),
        _ => None,
    }
}

fn say_alarm(disk: &DiskSpace, (was, is): (bool, bool), (free, mark): (u64, u64)) {
    if let Some(alarms) = begun(&disk.alarms, (was, is)) {
        tracing::warn!(
            free = %bytes(free),
            alarm = %bytes(mark),
            ends_above = %bytes(ends_above(mark)),
            alarms,
            "the disk of the store is nearly full: publishers are held back until consumers, or you, \
             free space on it"
        );
    }
    if was && !is && disk.alarms.ends() {
        tracing::info!(
            free = %bytes(free),
            ends_above = %bytes(ends_above(mark)),
            "the disk of the store has enough free space again: publishers go on"
        );
    }
}

fn say_hard_alarm(disk: &DiskSpace, (was, is): (bool, bool), (free, hard): (u64, u64)) {
    if let Some(alarms) = begun(&disk.hard_alarms, (was, is)) {
        tracing::warn!(
            free = %bytes(free),
            hard = %bytes(hard),
            alarms,
            "the disk of the store has less free than store.disk_free_hard: no queue, exchange or binding is \
             made until there is more"
        );
    }
    if was && !is && disk.hard_alarms.ends() {
        tracing::info!(
            free = %bytes(free),
            hard = %bytes(hard),
            "the disk of the store has more free than store.disk_free_hard again: queues, exchanges and \
             bindings are made"
        );
    }
}
