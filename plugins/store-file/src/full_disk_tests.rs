//! The store on a disk that fills up: appends wait and do not fail, the reserve is spent on what frees disk space, and
//! the appends continue by themselves.

use crate::faulty::FaultyDisk;
use crate::layout::segment_name;
use crate::recovery::Start;
use crate::reserve::{RESERVE, Reserve};
use crate::spare::Maker;
use crate::store::FileStore;
use bytes::Bytes;
use crossdock_core::store::{Items, JournalId, JournalWriter, Pos, Source, Store, StoreError};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const JOURNAL: JournalId = JournalId::Meta;
const START: Start = Start { segment_bytes: 8 << 10, salt: 77 };
const SHORT: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_secs(20);
static GO: AtomicBool = AtomicBool::new(false);

fn open(disk: &FaultyDisk) -> FileStore {
    FileStore::on(Arc::new(disk.clone()), Path::new("memory"), START, 16).expect("opens")
}

async fn writer(store: &FileStore) -> Box<dyn JournalWriter> {
    let lease = store.coord().acquire("node").await.expect("embedded").expect("always owner");
    store.open(JOURNAL, &lease).await.expect("no writer yet")
}

/// Waits until the next segment and the reserve are made, and leaves this many bytes free.
async fn fill_up(disk: &FaultyDisk, left: u64) {
    let made = |names: &[String]| {
        let spare = names.iter().any(|name| name.starts_with("spare-"));
        spare && names.iter().any(|name| name == RESERVE)
    };
    while !made(&disk.names()) {
        sleep(Duration::from_millis(1)).await;
    }
    // The thread that makes them is idle when the number of calls no longer changes.
    let mut calls = 0;
    while calls != disk.calls() {
        calls = disk.calls();
        sleep(Duration::from_millis(20)).await;
    }
    disk.set_bytes_max(Some(disk.used() + left));
}

fn snapshot(bytes: usize) -> Box<dyn Source<Bytes>> {
    Box::new(Items(vec![Bytes::from(vec![7; bytes])].into_iter()))
}

/// Appends until one has to wait. Returns its outcome, and how many were stored.
async fn append_until_full(
    writer: &mut dyn JournalWriter,
) -> (crossdock_core::store::Pending<Pos>, u64) {
    loop {
        let mut pending = writer.append(vec![1; 1000].into());
        match timeout(SHORT, &mut pending).await {
            Ok(stored) => stored.expect("it was not written, so it cannot have failed"),
            Err(_) => return (pending, writer.tail().0),
        };
    }
}

#[tokio::test]
async fn an_append_waits_for_disk_space_and_those_behind_it_too() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    let mut writer = writer(&store).await;
    fill_up(&disk, 1 << 10).await;
    let (first, stored) = append_until_full(&mut *writer).await;
    // The open segment, the spare one, and one in the place of the reserve.
    assert_eq!((stored, disk.size_of(RESERVE)), (9, None));
    let second = writer.append(vec![2; 10].into());
    disk.set_bytes_max(None);
    assert_eq!(timeout(LONG, first).await.expect("in time").ok(), Some(Pos(10)));
    assert_eq!(timeout(LONG, second).await.expect("in time").ok(), Some(Pos(11)));
    fill_up(&disk, 0).await;
    assert_eq!(disk.size_of(RESERVE), Some(8 << 10), "it is made again");
}

#[tokio::test]
async fn a_trim_overtakes_waiting_appends_and_frees_space_for_them() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    let mut writer = writer(&store).await;
    fill_up(&disk, 4 << 10).await;
    let (first, stored) = append_until_full(&mut *writer).await;
    writer.trim(&[Pos(1)..Pos(stored + 1)]).await.expect("trimmed");
    let pos = timeout(LONG, first).await.expect("in time").expect("stored");
    assert_eq!(pos, Pos(stored + 1));
    assert_eq!(disk.size_of(&segment_name(1)), None);
}

#[tokio::test]
async fn a_writer_that_leaves_waits_no_longer_and_another_goes_on() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    let mut first = writer(&store).await;
    fill_up(&disk, 0).await;
    let (pending, stored) = append_until_full(&mut *first).await;
    tokio::task::spawn_blocking(move || drop(first)).await.expect("it leaves");
    assert!(matches!(pending.await, Err(StoreError::Full)));
    disk.set_bytes_max(None);
    let mut second = writer(&store).await;
    assert_eq!(second.append(vec![3; 1000].into()).await.ok(), Some(Pos(stored + 1)));
}

#[tokio::test]
async fn a_spare_that_fails_is_tried_again() {
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        for calls in 0..4 {
            let disk = FaultyDisk::default();
            let store = open(&disk);
            disk.fail_after(calls, kind);
            let mut writer = writer(&store).await;
            fill_up(&disk, 1 << 20).await;
            assert!(disk.has_failed(), "{calls}");
            for pos in 1..20 {
                assert_eq!(writer.append(vec![1; 1000].into()).await.ok(), Some(Pos(pos)));
            }
        }
    }
}

#[tokio::test]
async fn a_disk_that_makes_no_files_ends_the_store() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    let mut writer = writer(&store).await;
    fill_up(&disk, 1 << 20).await;
    disk.refuse_files("spare-", ErrorKind::PermissionDenied);
    let mut stored = 0;
    let refused = loop {
        match timeout(LONG, writer.append(vec![1; 1000].into()))
            .await
            .expect("nobody waits for ever")
        {
            Ok(Pos(pos)) => stored = pos,
            Err(refused) => break refused,
        }
    };
    assert!(refused.to_string().contains("the next segment could not be made"), "{refused}");
    // The open segment and the spare one.
    assert_eq!(stored, 6);
    let later = timeout(LONG, writer.append(vec![1; 10].into())).await.expect("at once");
    assert!(matches!(later, Err(StoreError::Unavailable(_))));
    drop(writer);
    let store = open(&disk.kill());
    assert_eq!(self::writer(&store).await.tail(), Pos(stored));
}

#[tokio::test]
async fn a_snapshot_is_written_on_a_full_disk() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    let mut writer = writer(&store).await;
    writer.append(vec![1; 10].into()).await.expect("stored");
    fill_up(&disk, 100).await;
    let free = || async { store.space().await.expect("known").expect("a disk").free };
    assert_eq!(free().await, 100);
    store.snapshot_put(JOURNAL, Pos(1), snapshot(5000)).await.expect("the reserve is for it");
    assert_eq!(disk.size_of(RESERVE), None);
    assert_eq!(free().await, 0, "what is left of the reserve is to be the reserve again");
    let more = store.snapshot_put(JOURNAL, Pos(1), snapshot(9000)).await;
    assert!(matches!(more, Err(StoreError::Full)));
    let (upto, mut body) = store.snapshot_get(JOURNAL).await.expect("whole").expect("there");
    let block = body.next().await.expect("not empty").expect("whole");
    assert_eq!((upto, block.len()), (Pos(1), 5000));
}

#[test]
fn a_smaller_segment_will_do_when_it_is_needed() {
    let disk = FaultyDisk::default();
    let capacity = 16 << 20;
    let reserve = Arc::new(Reserve::find(Arc::new(disk.clone()), capacity).expect("readable"));
    let mut maker = Maker::new(Arc::new(disk.clone()), reserve, capacity, 4 << 20);
    disk.set_bytes_max(Some(10 << 20));
    let full = |made: std::io::Result<Option<crate::spare::Spare>>| match made {
        Ok(made) => Ok(made.map(|spare| spare.capacity)),
        Err(error) => Err(error.kind()),
    };
    assert_eq!(full(maker.make(false, &GO)), Err(ErrorKind::StorageFull));
    assert_eq!(full(maker.make(true, &GO)), Ok(Some(8 << 20)));
    disk.set_bytes_max(Some(disk.used() + (5 << 20)));
    assert_eq!(full(maker.make(true, &GO)), Err(ErrorKind::StorageFull), "no entry of 4 MiB fits");
    assert_eq!(disk.names().len(), 1, "nothing is left of what failed");
}

#[tokio::test]
async fn a_commit_is_one_write_and_one_sync_and_nothing_else() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    let mut writer = writer(&store).await;
    fill_up(&disk, 0).await;
    for pos in 1..=3 {
        let (calls, syncs, writes) = (disk.calls(), disk.syncs(), disk.writes_and_reads().0);
        assert_eq!(writer.append(vec![1; 500].into()).await.ok(), Some(Pos(pos)));
        assert_eq!((disk.calls(), disk.syncs()), (calls + 2, syncs + 1));
        assert_eq!(disk.writes_and_reads().0, writes + 1);
        assert_eq!(disk.size_of(&segment_name(1)), Some(8 << 10));
    }
    let figures = store.figures();
    assert_eq!((figures.syncs, figures.entries, figures.entries_per_sync[0]), (3, 3, 3));
    assert_eq!(figures.bytes, 3 * 552);
}

#[tokio::test]
async fn stretches_are_what_is_removed_as_a_whole() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    let mut writer = writer(&store).await;
    for _ in 0..10 {
        writer.append(vec![1; 1000].into()).await.expect("stored");
    }
    let shown = |store: &FileStore| -> Vec<(u64, u64, u64, bool)> {
        let stretches = store.stretches(JOURNAL).into_iter();
        let flat = |s: crossdock_core::store::Stretch| {
            (s.entries.start.0, s.entries.end.0, s.bytes, s.sealed)
        };
        stretches.map(flat).collect()
    };
    let kib = 8 << 10;
    let all = [(1, 4, kib, true), (4, 7, kib, true), (7, 10, kib, true), (10, 11, kib, false)];
    assert_eq!(shown(&store), all);
    writer.trim(&[Pos(4)..Pos(7)]).await.expect("trimmed");
    drop((writer, store));
    assert_eq!(shown(&open(&disk.kill())), [all[0], all[2], all[3]]);
}
