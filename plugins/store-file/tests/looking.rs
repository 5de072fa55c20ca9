//! Reading a store without changing it: the check and the read-only view, with real files, with and without a process
//! that has the store open.

mod folder;

use bytes::Bytes;
use crossdock_core::store::{Items, JournalId, Pos, Store, StoreError};
use crossdock_store_file::{FileStore, Finding, OpenError, Report, verify};
use folder::{Folder, writer};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const JOURNAL: JournalId = JournalId::Meta;
const FIRST_RECORD: usize = 4096;
const RECORD: usize = 48 + 24;

fn body(pos: u64) -> Bytes {
    format!("this is entry {pos:010}").into()
}

async fn append(store: &dyn Store, count: u64) {
    let (mut writer, _) = writer(store).await;
    for _ in 0..count {
        let next = writer.tail().0 + 1;
        assert_eq!(writer.append(body(next).into()).await.expect("stored"), Pos(next));
    }
}

async fn snapshot(store: &dyn Store, upto: u64) {
    let body = Items(vec![Bytes::from(vec![9; 100])].into_iter());
    store.snapshot_put(JOURNAL, Pos(upto), Box::new(body)).await.expect("stored");
}

/// A closed store of 150 entries and two snapshots.
async fn filled() -> Folder {
    let folder = Folder::new();
    let store = folder.open().expect("fresh");
    append(&*store, 150).await;
    snapshot(&*store, 20).await;
    snapshot(&*store, 100).await;
    folder
}

/// Every file below the folder, with its bytes.
fn all_bytes(dir: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry")) {
        match entry.path() {
            path if path.is_dir() => all_bytes(&path, into),
            path => {
                let bytes = fs::read(&path).expect("readable");
                into.insert(path.display().to_string(), bytes);
            }
        }
    }
}

/// Checks a store, and that this changes nothing.
fn checked(dir: &Path) -> (Report, Vec<Finding>) {
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    all_bytes(dir, &mut before);
    let mut findings = Vec::new();
    let report = verify(dir, &mut |finding| findings.push(finding)).expect("readable");
    all_bytes(dir, &mut after);
    assert!(before == after, "a check has changed something");
    let damages = findings.iter().filter(|finding| finding.is_damage()).count() as u64;
    assert_eq!(report.damages, damages);
    (report, findings)
}

fn segments(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).expect("a folder");
    let names = names.map(|entry| entry.expect("an entry").file_name().into_string());
    let mut names: Vec<String> = names.map(|name| name.expect("text")).collect();
    names.retain(|name| name.ends_with(".log"));
    names.sort();
    names
}

fn change(path: &Path, with: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("readable");
    with(&mut bytes);
    fs::write(path, bytes).expect("writable");
}

fn first_of(segment: &str) -> u64 {
    segment[8..28].parse().expect("a position")
}

async fn read(store: &dyn Store) -> Vec<Result<u64, u64>> {
    let mut reader = store.reader(JOURNAL, Pos(1)).await.expect("readable");
    let mut seen = Vec::new();
    while let Some(entry) = reader.next().await {
        seen.push(match entry {
            Ok(entry) => {
                assert_eq!(entry.bytes, body(entry.pos.0));
                Ok(entry.pos.0)
            }
            Err(StoreError::Corrupt { at, .. }) => Err(at.0),
            Err(other) => panic!("{other}"),
        });
    }
    seen
}

#[tokio::test]
async fn a_whole_store_is_counted() {
    let folder = filled().await;
    let (report, findings) = checked(&folder.0);
    assert!(findings.iter().all(|finding| matches!(finding, Finding::Leftover { .. })));
    let count = segments(&folder.0).len() as u64;
    let expected = Report {
        in_use: false,
        starts: 1,
        segments: count,
        segment_bytes: count * 8192,
        entries: 150,
        bytes: 150 * 24,
        damaged: 0,
        live: Pos(1)..Pos(151),
        torn_bytes: 0,
        snapshots: vec![(Pos(20), 100), (Pos(100), 100)],
        damages: 0,
    };
    assert_eq!(report, expected);
}

#[tokio::test]
async fn each_damage_is_found_at_its_place() {
    let whole = filled().await;
    let names = segments(&whole.0);
    let (second, last) = (names[1].clone(), names[names.len() - 1].clone());
    let bad = first_of(&second) + 1;
    let entries = Finding::Entries { segment: second.clone(), entries: Pos(bad)..Pos(bad + 1) };
    let folder = filled().await;
    change(&folder.0.join(&second), |bytes| bytes[FIRST_RECORD + RECORD + 50] ^= 1);
    let (report, findings) = checked(&folder.0);
    assert!(findings.contains(&entries), "{findings:?}");
    assert_eq!((report.damaged, report.entries, report.damages), (1, 149, 1));

    let folder = filled().await;
    change(&folder.0.join(&second), |bytes| bytes[20] ^= 1);
    let reason = "its header is damaged".to_owned();
    let header = Finding::Segment { segment: second.clone(), reason };
    assert!(checked(&folder.0).1.contains(&header));

    let folder = filled().await;
    fs::remove_file(folder.0.join(&second)).expect("removable");
    let (report, findings) = checked(&folder.0);
    let reason = "it is missing".to_owned();
    assert!(findings.contains(&Finding::Segment { segment: second.clone(), reason }));
    assert_eq!(report.damaged, first_of(&names[2]) - first_of(&second));

    let folder = filled().await;
    let used = FIRST_RECORD + (151 - first_of(&last)) as usize * RECORD;
    change(&folder.0.join(&last), |bytes| bytes[used..used + 9].fill(3));
    let segment = last.clone();
    let torn = Finding::TornTail { segment, at: used as u64, bytes: 9, was_whole: false };
    let (report, findings) = checked(&folder.0);
    assert!(findings.contains(&torn), "{findings:?}");
    assert_eq!((report.torn_bytes, report.damages), (9, 0));

    let folder = filled().await;
    change(&folder.0.join(format!("snapshot-{:020}.snap", 100)), |bytes| bytes[40] ^= 1);
    let (report, findings) = checked(&folder.0);
    let is_it = |f: &Finding| matches!(f, Finding::Snapshot { upto: Pos(100), .. });
    assert!(findings.iter().any(is_it), "{findings:?}");
    assert_eq!(report.snapshots, [(Pos(20), 100)]);

    let folder = filled().await;
    change(&folder.0.join("manifest"), |bytes| bytes[9] ^= 1);
    let (report, findings) = checked(&folder.0);
    assert!(findings.iter().any(|f| matches!(f, Finding::Manifest { .. })));
    assert_eq!((report.entries, report.damages), (150, 1));
}

#[tokio::test]
async fn beside_a_process_that_has_it_open() {
    let folder = filled().await;
    let store = folder.open().expect("opens");
    let (mut writer, _) = writer(&*store).await;
    writer.append(body(151).into()).await.expect("stored");
    let mut findings = Vec::new();
    let report = verify(&folder.0, &mut |finding| findings.push(finding)).expect("readable");
    assert!(report.in_use);
    assert_eq!((report.entries, report.damages), (151, 0), "{findings:?}");
    let view = FileStore::read_only(&folder.0).expect("readable");
    writer.append(body(152).into()).await.expect("it is not disturbed");
    assert_eq!(read(&view).await.last(), Some(&Ok(151)), "what there was when it was opened");
    // The snapshot is the newest at the time of the call.
    snapshot(&*store, 152).await;
    snapshot(&*store, 152).await;
    let (upto, _) = view.snapshot_get(JOURNAL).await.expect("whole").expect("there");
    assert_eq!(upto, Pos(152));
    drop((writer, store));
    folder.open().expect("a view does not keep it from opening");
}

#[tokio::test]
async fn a_view_reads_and_changes_nothing() {
    let folder = filled().await;
    let bad = first_of(&segments(&folder.0)[1]) + 1;
    let second = folder.0.join(&segments(&folder.0)[1]);
    change(&second, |bytes| bytes[FIRST_RECORD + RECORD + 50] ^= 1);
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    all_bytes(&folder.0, &mut before);
    let view = FileStore::read_only(&folder.0).expect("readable");
    let expected: Vec<Result<u64, u64>> =
        (1..=150).map(|pos| if pos == bad { Err(pos) } else { Ok(pos) }).collect();
    assert_eq!(read(&view).await, expected);
    assert_eq!(view.fetch(JOURNAL, &[Pos(3)]).await.expect("there"), [body(3)]);
    let (upto, _) = view.snapshot_get(JOURNAL).await.expect("whole").expect("there");
    assert_eq!(upto, Pos(100));
    assert!(view.space().await.expect("known").is_some());
    assert_eq!(view.coord().acquire("node").await.expect("known").map(|lease| lease.epoch), None);
    let lease = crossdock_core::store::Lease {
        key: "node".into(),
        epoch: crossdock_core::store::Epoch(u64::MAX),
    };
    assert!(matches!(view.open(JOURNAL, &lease).await, Err(StoreError::Unavailable(_))));
    let body = Box::new(Items(Vec::new().into_iter()));
    assert!(view.snapshot_put(JOURNAL, Pos(1), body).await.is_err());
    drop(view);
    all_bytes(&folder.0, &mut after);
    assert!(before == after);
}

#[tokio::test]
async fn a_folder_that_is_no_store() {
    let folder = Folder::new();
    let (report, findings) = checked(&folder.0);
    assert_eq!((report.entries, report.live, findings.len()), (0, Pos(1)..Pos(1), 0));
    assert!(read(&FileStore::read_only(&folder.0).expect("readable")).await.is_empty());
    let nowhere = folder.0.join("nowhere");
    assert!(matches!(verify(&nowhere, &mut |_| {}), Err(OpenError::Io { .. })));
    assert!(matches!(FileStore::read_only(&nowhere), Err(OpenError::Io { .. })));
    assert!(!nowhere.exists());
}

#[tokio::test]
async fn free_space_of_a_real_disk() {
    let folder = filled().await;
    let store = folder.open().expect("opens");
    let space = store.space().await.expect("known").expect("a disk");
    assert!(space.free > 0 && space.free < space.total, "{space:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looks_at_a_store_that_is_written_and_trimmed_meanwhile_find_no_damage() {
    let folder = Folder::new();
    let store = folder.open().expect("fresh");
    append(&*store, 1).await;
    let dir = folder.0.clone();
    let looks = tokio::task::spawn_blocking(move || {
        for nth in 0..60 {
            let mut findings = Vec::new();
            let report = verify(&dir, &mut |finding| findings.push(finding)).expect("readable");
            assert!(report.in_use);
            assert_eq!(report.damages, 0, "{nth}: {findings:?}");
            FileStore::read_only(&dir).expect("readable");
        }
    });
    let (mut writer, _) = writer(&*store).await;
    while !looks.is_finished() {
        let tail = writer.tail().0;
        let pending: Vec<_> = (1..=20).map(|nth| writer.append(body(tail + nth).into())).collect();
        for stored in pending {
            stored.await.expect("stored");
        }
        if tail % 5 == 0 {
            snapshot(&*store, tail).await;
        }
        writer.trim(&[Pos(1)..Pos(tail.saturating_sub(200))]).await.expect("trimmed");
    }
    looks.await.expect("no damage was found");
}
