//! How many reads a fetch costs, and the error for a sector that cannot be read.

use crate::faulty::FaultyDisk;
use crate::layout::segment_name;
use crate::recovery::Start;
use crate::store::FileStore;
use bytes::Bytes;
use crossdock_core::store::{Items, JournalId, Pos, Store, StoreError};
use std::path::Path;
use std::sync::Arc;

const JOURNAL: JournalId = JournalId::Meta;

fn body(pos: u64, bytes: usize) -> Bytes {
    let mut body = pos.to_le_bytes().to_vec();
    body.resize(bytes, pos as u8);
    body.into()
}

/// A store with `count` entries of `bytes` bytes.
async fn store(disk: &FaultyDisk, segment_bytes: u64, count: u64, bytes: usize) -> FileStore {
    let start = Start { segment_bytes, salt: 5 };
    let store = FileStore::on(Arc::new(disk.clone()), Path::new("memory"), start, 256);
    let store = store.expect("fresh");
    let lease = store.coord().acquire("node").await.expect("embedded").expect("always owner");
    let mut writer = store.open(JOURNAL, &lease).await.expect("no writer yet");
    for pos in 1..=count {
        writer.append(body(pos, bytes).into()).await.expect("stored");
    }
    store
}

/// Fetches, compares, and counts the reads.
async fn reads(disk: &FaultyDisk, store: &FileStore, at: &[u64], bytes: usize) -> u64 {
    let before = disk.writes_and_reads().1;
    let asked: Vec<Pos> = at.iter().copied().map(Pos).collect();
    let found = store.fetch(JOURNAL, &asked).await.expect("there");
    let expected: Vec<Bytes> = at.iter().map(|pos| body(*pos, bytes)).collect();
    assert_eq!(found, expected);
    disk.writes_and_reads().1 - before
}

#[tokio::test]
async fn neighbours_are_read_together_and_each_once() {
    let disk = FaultyDisk::default();
    let store = store(&disk, 4 << 20, 2000, 1000).await;
    let forward: Vec<u64> = (1..=2000).collect();
    let bytes = 2000 * 1048;
    let blocks = bytes / (1u64 << 20) + 1;
    assert_eq!(reads(&disk, &store, &forward, 1000).await, blocks);
    // In any order, twice, with gaps.
    let mixed: Vec<u64> = (0..3000).map(|nth| 1 + nth * 787 % 2000).collect();
    assert_eq!(reads(&disk, &store, &mixed, 1000).await, blocks);
    let every_tenth: Vec<u64> = (0..200).map(|nth| 2000 - nth * 10).collect();
    assert_eq!(reads(&disk, &store, &every_tenth, 1000).await, blocks);
    assert_eq!(reads(&disk, &store, &[7, 7, 7], 1000).await, 1);
}

#[tokio::test]
async fn what_is_far_apart_costs_a_small_read_each() {
    let disk = FaultyDisk::default();
    let store = store(&disk, 4 << 20, 2000, 1000).await;
    assert_eq!(reads(&disk, &store, &[1900, 10, 1000, 500], 1000).await, 4);
}

#[tokio::test]
async fn a_segment_is_a_read_of_its_own() {
    let disk = FaultyDisk::default();
    let store = store(&disk, 8 << 10, 40, 900).await;
    let segments = store.stretches(JOURNAL).len() as u64;
    assert!(segments >= 10, "{segments}");
    let all: Vec<u64> = (1..=40).rev().collect();
    assert_eq!(reads(&disk, &store, &all, 900).await, segments);
}

#[tokio::test]
async fn a_bad_sector_is_reported_and_its_neighbours_are_read() {
    let disk = FaultyDisk::default();
    let store = store(&disk, 1 << 20, 100, 1000).await;
    let record = 1048;
    disk.spoil(&crate::layout::segment_name(1), 4096 + 49 * record + 500);
    let some: Vec<u64> = (1..=100).filter(|pos| *pos != 50).collect();
    assert!(reads(&disk, &store, &some, 1000).await > 90);
    match store.fetch(JOURNAL, &[Pos(49), Pos(50)]).await {
        Err(StoreError::Corrupt { at: Pos(50), .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_segment_that_a_snapshot_covers_is_read_when_an_entry_is_asked_for() {
    let disk = FaultyDisk::default();
    let store = store(&disk, 16 << 10, 200, 1000).await;
    let body_of = Items(vec![Bytes::from_static(b"snapshot")].into_iter());
    store.snapshot_put(JOURNAL, Pos(190), Box::new(body_of)).await.expect("stored");
    drop(store);
    let start = Start { segment_bytes: 16 << 10, salt: 5 };
    let again = |disk: &FaultyDisk| {
        let before = disk.writes_and_reads().1;
        let store = FileStore::on(Arc::new(disk.clone()), Path::new("memory"), start, 256);
        (store.expect("a store"), disk.writes_and_reads().1 - before)
    };
    let whole = disk.crash(1);
    let (store, all) = again(&whole);
    assert!(all < 60, "one short read of each segment, and two or three segments: {all}");
    assert_eq!(reads(&whole, &store, &[20], 1000).await, 2, "the segment, and the entry");
    assert_eq!(reads(&whole, &store, &[21], 1000).await, 1);
    // Damage in a segment that was not read at the start is found then.
    let damaged = disk.crash(2);
    damaged.damage(&segment_name(1), |bytes| bytes[9000] ^= 1);
    let (store, _) = again(&damaged);
    let mut entries = store.reader(JOURNAL, Pos(1)).await.expect("readable");
    let (mut whole, mut lost) = (0, Vec::new());
    while let Some(entry) = entries.next().await {
        match entry {
            Ok(_) => whole += 1,
            Err(StoreError::Corrupt { at, .. }) => lost.push(at.0),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((whole, lost), (199, vec![5]));
}

#[tokio::test]
async fn small_entries_are_found_by_the_headers_before_them() {
    const BYTES: usize = 20;
    let disk = FaultyDisk::default();
    let store = store(&disk, 1 << 20, 2000, BYTES).await;
    let forward: Vec<u64> = (1..=2000).collect();
    let blocks = 2000 / 128;
    assert_eq!(reads(&disk, &store, &forward, BYTES).await, blocks + 1);
    let mixed: Vec<u64> = (0..3000).map(|nth| 1 + nth * 787 % 2000).collect();
    assert_eq!(reads(&disk, &store, &mixed, BYTES).await, blocks + 1);
    for pos in [1, 2, 127, 128, 129, 1920, 1921, 2000] {
        assert!(reads(&disk, &store, &[pos], BYTES).await <= 3, "{pos}");
    }
    // A header that was right when it was written: the entries behind it are found all the same.
    let record = crate::layout::record_bytes(BYTES) as usize;
    disk.damage(&segment_name(1), |bytes| bytes[4096 + 299 * record + 20] ^= 1);
    for pos in [257, 299, 301, 384, 385] {
        reads(&disk, &store, &[pos], BYTES).await;
    }
    match store.fetch(JOURNAL, &[Pos(300)]).await {
        Err(StoreError::Corrupt { at: Pos(300), .. }) => {}
        other => panic!("{other:?}"),
    }
    let mut entries = store.reader(JOURNAL, Pos(1)).await.expect("readable");
    let (mut whole, mut lost) = (0, Vec::new());
    while let Some(entry) = entries.next().await {
        match entry {
            Ok(entry) => {
                assert_eq!(entry.bytes, body(entry.pos.0, BYTES));
                whole += 1;
            }
            Err(StoreError::Corrupt { at, .. }) => lost.push(at.0),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((whole, lost), (1999, vec![300]));
}
