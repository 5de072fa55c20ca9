//! The store on a disk that fails and loses unsynced writes: acknowledged entries are there after a fault at any call.

use crate::faulty::FaultyDisk;
use crate::recovery::Start;
use crate::store::FileStore;
use bytes::Bytes;
use crossdock_core::store::{Items, JournalId, JournalWriter, Pending, Pos, Store, StoreError};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const JOURNAL: JournalId = JournalId::Meta;
const START: Start = Start { segment_bytes: 8 << 10, salt: 77 };
const ENTRIES: u64 = 40;

fn open(disk: &FaultyDisk) -> Result<FileStore, crate::OpenError> {
    FileStore::on(Arc::new(disk.clone()), Path::new("memory"), START, 256)
}

async fn writer(store: &FileStore) -> Box<dyn JournalWriter> {
    let lease = store.coord().acquire("node").await.expect("embedded").expect("always owner");
    store.open(JOURNAL, &lease).await.expect("no writer yet")
}

fn body(pos: u64) -> Bytes {
    vec![pos as u8; 300 + (pos as usize * 37) % 700].into()
}

/// The outcome of an append. On a dead disk an append may wait for a segment for ever.
async fn outcome(disk: &FaultyDisk, mut pending: Pending<Pos>) -> Result<Pos, StoreError> {
    loop {
        match tokio::time::timeout(Duration::from_millis(5), &mut pending).await {
            Ok(outcome) => return outcome,
            Err(_) if disk.is_dead() => return Err(StoreError::Full),
            Err(_) => {}
        }
    }
}

/// Appends entries three at a time, with two snapshots and trims between. Returns the acknowledged positions.
async fn work(disk: &FaultyDisk) -> Vec<u64> {
    let Ok(store) = open(disk) else { return Vec::new() };
    let mut writer = writer(&store).await;
    let first = writer.tail().0 + 1;
    let mut stored = Vec::new();
    let mut next = first;
    while next < first + ENTRIES {
        let pending: Vec<_> = (next..next + 3).map(|pos| writer.append(body(pos).into())).collect();
        let mut failed = false;
        for (pos, pending) in (next..).zip(pending) {
            match outcome(disk, pending).await {
                Ok(at) => {
                    assert!(!failed, "nothing is accepted after an error");
                    assert_eq!(at, Pos(pos));
                    stored.push(pos);
                }
                Err(StoreError::Full | StoreError::Unavailable(_)) => failed = true,
                Err(other) => panic!("{other}"),
            }
        }
        if failed && !disk.is_dead() {
            assert!(writer.append(body(0).into()).await.is_err(), "a failure is final");
        }
        if failed {
            return stored;
        }
        next += 3;
        // If these fail, the store only keeps more entries.
        if next == first + 12 || next == first + 24 {
            let piece = Items(vec![Bytes::from_static(b"snapshot")].into_iter());
            let _ = store.snapshot_put(JOURNAL, Pos(next - 1), Box::new(piece)).await;
            let _ = writer.trim(&[Pos(1)..Pos(next)]).await;
        }
    }
    stored
}

async fn read(store: &FileStore) -> BTreeMap<u64, Bytes> {
    let mut reader = store.reader(JOURNAL, Pos(1)).await.expect("readable");
    let mut found = BTreeMap::new();
    while let Some(entry) = reader.next().await {
        let entry = entry.expect("no damage");
        assert!(found.insert(entry.pos.0, entry.bytes).is_none());
    }
    found
}

/// Opens the store after a crash, compares it, and appends to it.
async fn recovered(disk: &FaultyDisk, stored: &[u64], what: &str) {
    let store = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let upto = store.snapshot_get(JOURNAL).await.expect("whole").map_or(0, |(upto, _)| upto.0);
    let found = read(&store).await;
    for pos in stored.iter().filter(|pos| **pos > upto) {
        assert!(found.contains_key(pos), "{what}: entry {pos} was acknowledged");
    }
    for (pos, bytes) in &found {
        assert_eq!(*bytes, body(*pos), "{what}: entry {pos}");
    }
    let mut writer = writer(&store).await;
    let last = stored.last().copied().unwrap_or(0);
    assert!(writer.tail().0 >= last, "{what}");
    let next = writer.tail().0 + 1;
    assert_eq!(writer.append(body(next).into()).await.ok(), Some(Pos(next)), "{what}");
    assert!(read(&store).await.contains_key(&next), "{what}");
}

async fn every_fault(kind: io::ErrorKind) {
    let mut calls = 0;
    loop {
        let disk = FaultyDisk::default();
        disk.fail_after(calls, kind);
        let stored = work(&disk).await;
        for seed in 0..3 {
            recovered(&disk.crash(seed), &stored, &format!("{kind} at {calls}, {seed}")).await;
        }
        if !disk.has_failed() {
            assert!(calls > 50, "{calls}");
            assert_eq!(stored.len() as u64, ENTRIES.next_multiple_of(3));
            return;
        }
        calls += 1;
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_failure_of_every_call() {
    every_fault(io::ErrorKind::Other).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_full_disk_at_every_call() {
    every_fault(io::ErrorKind::StorageFull).await;
}

#[tokio::test]
async fn a_recovery_can_be_cut_short_at_every_call() {
    let disk = FaultyDisk::default();
    let stored = work(&disk).await;
    let mut calls = 0;
    loop {
        let torn = disk.crash(7);
        torn.fail_after(calls, io::ErrorKind::Other);
        if open(&torn).is_ok() && !torn.has_failed() {
            assert!(torn.calls() <= calls);
            return;
        }
        recovered(&torn.crash(calls), &stored, &format!("second start at {calls}")).await;
        calls += 1;
    }
}

/// Whether nothing is damaged, and all acknowledged entries that no snapshot covers can be read.
fn holds(disk: &FaultyDisk, stored: &[u64]) -> bool {
    let report = crate::verify::check(&disk.kill(), Path::new("memory"), &mut |_| {});
    if report.is_ok_and(|report| report.damages > 0) {
        return false;
    }
    let Ok(store) = open(disk) else { return false };
    let shared = store.shared();
    let Ok(newest) = shared.snapshots.newest() else { return false };
    let upto = newest.map_or(0, |(upto, _)| upto);
    let entry = |pos: u64| shared.catalog.find(pos).and_then(|segment| segment.entry(pos));
    stored.iter().filter(|pos| **pos > upto).all(|pos| match entry(*pos) {
        Ok(entry) => entry.bytes == body(*pos),
        Err(_) => false,
    })
}

/// A start may see unsynced names: after a power cut, nothing that it deleted because of them may be missing.
#[tokio::test]
async fn a_process_that_dies_at_every_call_and_a_power_cut_in_the_start_after() {
    for calls in 0.. {
        let disk = FaultyDisk::default();
        disk.die_after(calls);
        let stored = work(&disk).await;
        if !disk.has_failed() {
            assert!(calls > 50, "{calls}");
            return;
        }
        let killed = disk.kill();
        assert!(holds(&killed.kill(), &stored), "{calls}");
        for later in 0..40 {
            let start = killed.kill();
            start.die_after(later);
            let has_opened = open(&start).is_ok();
            for seed in 0..4 {
                let found = holds(&start.crash(seed + 4 * later), &stored);
                assert!(found, "died at {calls}, power was cut at {later} of the start, {seed}");
            }
            if has_opened {
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_waits_is_synced_once() {
    let disk = FaultyDisk::default();
    let store = open(&disk).expect("fresh");
    let mut writer = writer(&store).await;
    writer.append(body(1).into()).await.expect("stored");
    // The spare segment has been made by then.
    tokio::time::sleep(Duration::from_millis(50)).await;
    disk.set_sync_time(Duration::from_millis(20));
    let before = disk.syncs();
    let small = Bytes::from_static(b"small");
    let pending: Vec<_> = (0..40).map(|_| writer.append(small.clone().into())).collect();
    for (nth, pending) in (2..).zip(pending) {
        assert_eq!(pending.await.ok(), Some(Pos(nth)));
    }
    let syncs = disk.syncs() - before;
    assert!(syncs <= 4, "{syncs}");
}

#[tokio::test]
async fn a_full_disk_says_so_once() {
    let disk = FaultyDisk::default();
    let store = open(&disk).expect("fresh");
    let mut writer = writer(&store).await;
    writer.append(body(1).into()).await.expect("stored");
    // By then the thread that makes the next segment is idle.
    tokio::time::sleep(Duration::from_millis(50)).await;
    disk.fail_after(0, io::ErrorKind::StorageFull);
    assert!(matches!(writer.append(body(2).into()).await, Err(StoreError::Full)));
    let syncs = disk.syncs();
    assert!(matches!(writer.append(body(2).into()).await, Err(StoreError::Unavailable(_))));
    assert_eq!(disk.syncs(), syncs, "never synced again");
    drop(writer);
    let lease = store.coord().acquire("node").await.expect("embedded").expect("always owner");
    assert!(store.open(JOURNAL, &lease).await.is_err());
}

#[tokio::test]
async fn an_entry_over_the_limit_is_refused_and_nothing_behind_it_is_taken() {
    let disk = FaultyDisk::default();
    let store = open(&disk).expect("fresh");
    let mut writer = writer(&store).await;
    let limit = store.caps().max_entry;
    assert_eq!(writer.append(vec![1; limit].into()).await.ok(), Some(Pos(1)));
    assert!(writer.append(vec![1; limit + 1].into()).await.is_err());
    assert!(writer.append(body(2).into()).await.is_err());
}

#[tokio::test]
async fn more_than_may_be_outstanding_is_refused() {
    let disk = FaultyDisk::default();
    let dir = Path::new("memory");
    let store = FileStore::on(Arc::new(disk.clone()), dir, START, 1).expect("fresh");
    let mut writer = writer(&store).await;
    disk.set_sync_time(Duration::from_millis(300));
    let stored = writer.append(body(1).into());
    tokio::time::sleep(Duration::from_millis(50)).await;
    let pending: Vec<_> = (2..5).map(|pos| writer.append(body(pos).into())).collect();
    assert_eq!(stored.await.ok(), Some(Pos(1)));
    let mut outcomes = Vec::new();
    for pending in pending {
        outcomes.push(pending.await.ok());
    }
    assert_eq!(outcomes, [Some(Pos(2)), None, None]);
    assert!(writer.append(body(5).into()).await.is_err(), "nothing behind a refused one");
}

#[tokio::test]
async fn a_journal_that_ends_before_its_snapshot_goes_on_behind_it() {
    let disk = FaultyDisk::default();
    let store = open(&disk).expect("fresh");
    let mut first = writer(&store).await;
    for pos in 1..=3 {
        first.append(body(pos).into()).await.expect("stored");
    }
    let piece = Items(vec![Bytes::from_static(b"snapshot")].into_iter());
    store.snapshot_put(JOURNAL, Pos(3), Box::new(piece)).await.expect("stored");
    drop((first, store));
    let disk = disk.crash(0);
    disk.damage(&crate::layout::segment_name(1), |bytes| bytes[4096 + 400..].fill(0));
    let store = open(&disk).expect("opens");
    let mut second = writer(&store).await;
    assert_eq!(second.append(body(4).into()).await.ok(), Some(Pos(4)));
    let mut reader = store.reader(JOURNAL, Pos(1)).await.expect("readable");
    let mut seen = Vec::new();
    while let Some(entry) = reader.next().await {
        seen.push(match entry {
            Ok(entry) => Ok(entry.pos.0),
            Err(StoreError::Corrupt { at, .. }) => Err(at.0),
            Err(other) => panic!("{other}"),
        });
    }
    assert_eq!(seen, [Ok(1), Err(2), Ok(4)]);
}
