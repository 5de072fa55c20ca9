//! The contract of a store, tested with the file store and the core's store in memory. A test gets a function that
//! opens the store; before it is called again, everything opened before is dropped.

mod folder;

use bytes::Bytes;
use crossdock_core::memory::MemoryStore;
use crossdock_core::store::{Items, JournalId, JournalWriter, Pos, Source, Store, StoreError};
use folder::{Folder, writer};
use std::collections::BTreeMap;
use std::sync::Arc;

const JOURNAL: JournalId = JournalId::Meta;

type Open<'a> = &'a (dyn Fn() -> Arc<dyn Store> + Sync);

fn body(pos: u64) -> Bytes {
    format!("entry {pos} {}", "x".repeat((pos as usize * 31) % 300)).into()
}

/// Appends entries for these positions, as many at once as may be outstanding.
async fn append(store: &dyn Store, writer: &mut dyn JournalWriter, count: u64) {
    let first = writer.tail().0 + 1;
    let all: Vec<u64> = (first..first + count).collect();
    for chunk in all.chunks(store.caps().in_flight) {
        let pending: Vec<_> = chunk.iter().map(|pos| writer.append(body(*pos).into())).collect();
        for (pos, pending) in chunk.iter().zip(pending) {
            assert_eq!(pending.await.expect("stored"), Pos(*pos));
        }
    }
    assert_eq!(writer.tail(), Pos(first + count - 1));
}

async fn read(store: &dyn Store, from: u64) -> BTreeMap<u64, Bytes> {
    let mut reader = store.reader(JOURNAL, Pos(from)).await.expect("readable");
    let mut found = BTreeMap::new();
    let mut last = from.saturating_sub(1);
    while let Some(entry) = reader.next().await {
        let entry = entry.expect("whole");
        assert!(entry.pos.0 > last, "in order");
        last = entry.pos.0;
        found.insert(last, entry.bytes);
    }
    assert!(reader.next().await.is_none(), "it stays at its end");
    found
}

fn entries(positions: std::ops::RangeInclusive<u64>) -> BTreeMap<u64, Bytes> {
    positions.map(|pos| (pos, body(pos))).collect()
}

fn snapshot(pieces: &[&'static str]) -> Box<dyn Source<Bytes>> {
    let pieces: Vec<Bytes> =
        pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect();
    Box::new(Items(pieces.into_iter()))
}

async fn newest(store: &dyn Store) -> Option<(u64, Vec<u8>)> {
    let (upto, mut body) = store.snapshot_get(JOURNAL).await.expect("available")?;
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece.expect("whole"));
    }
    Some((upto.0, bytes))
}

async fn positions_are_dense_from_one(open: Open<'_>) {
    let store = open();
    let (mut writer, _) = writer(&*store).await;
    assert_eq!(writer.tail(), Pos(0));
    append(&*store, &mut *writer, 200).await;
    assert_eq!(read(&*store, 1).await, entries(1..=200));
}

async fn positions_go_on_after_a_restart(open: Open<'_>) {
    for round in 0..4 {
        let store = open();
        assert_eq!(read(&*store, 1).await, entries(1..=round * 30));
        let (mut writer, _) = writer(&*store).await;
        assert_eq!(writer.tail(), Pos(round * 30));
        append(&*store, &mut *writer, 30).await;
    }
}

async fn an_empty_journal_stays_empty(open: Open<'_>) {
    for _ in 0..3 {
        let store = open();
        assert!(read(&*store, 0).await.is_empty());
        let (writer, _) = writer(&*store).await;
        assert_eq!(writer.tail(), Pos(0));
    }
}

async fn an_entry_may_have_any_bytes(open: Open<'_>) {
    let odd: [Bytes; 4] = [
        Bytes::new(),
        Bytes::from_static(b"\0\0\0\0\0\0\0\0"),
        Bytes::from_static(b"XDKEXDKEXDKEXDKE"),
        vec![255; 3000].into(),
    ];
    let store = open();
    let (mut first, _) = writer(&*store).await;
    for entry in &odd {
        first.append(entry.clone().into()).await.expect("stored");
    }
    drop((first, store));
    let store = open();
    let found = read(&*store, 1).await;
    assert_eq!(found.into_values().collect::<Vec<_>>(), odd);
}

async fn entries_carry_the_epoch_of_their_writer(open: Open<'_>) {
    let mut leases = Vec::new();
    for _ in 0..3 {
        let store = open();
        let (mut writer, lease) = writer(&*store).await;
        append(&*store, &mut *writer, 1).await;
        leases.push(lease.epoch);
    }
    assert!(leases.is_sorted_by(|a, b| a < b), "{leases:?}");
    let store = open();
    let mut reader = store.reader(JOURNAL, Pos(1)).await.expect("readable");
    for epoch in leases {
        assert_eq!(reader.next().await.expect("there").expect("whole").epoch, epoch);
    }
}

async fn an_old_lease_is_fenced(open: Open<'_>) {
    let store = open();
    let (old_writer, old) = writer(&*store).await;
    drop((old_writer, store));
    let store = open();
    let (_writer, new) = writer(&*store).await;
    match store.open(JOURNAL, &old).await {
        Err(StoreError::Fenced { by }) => assert_eq!(by, new.epoch),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two writers"),
    }
}

async fn a_reader_ends_at_the_tail_of_its_call(open: Open<'_>) {
    let store = open();
    let (mut writer, _) = writer(&*store).await;
    append(&*store, &mut *writer, 100).await;
    let mut reader = store.reader(JOURNAL, Pos(40)).await.expect("readable");
    append(&*store, &mut *writer, 100).await;
    let mut positions = Vec::new();
    while let Some(entry) = reader.next().await {
        positions.push(entry.expect("whole").pos.0);
    }
    assert_eq!(positions, (40..=100).collect::<Vec<_>>());
    assert!(read(&*store, 201).await.is_empty());
    assert_eq!(read(&*store, 200).await.len(), 1);
}

async fn entries_are_fetched_in_the_order_asked_for(open: Open<'_>) {
    let store = open();
    let (mut writer, _) = writer(&*store).await;
    append(&*store, &mut *writer, 150).await;
    let asked = [150, 3, 77, 3, 1];
    let fetched = store.fetch(JOURNAL, &asked.map(Pos)).await.expect("there");
    assert_eq!(fetched, asked.map(body));
    assert!(store.fetch(JOURNAL, &[]).await.expect("nothing asked").is_empty());
    assert!(store.fetch(JOURNAL, &[Pos(151)]).await.is_err());
    assert!(store.fetch(JOURNAL, &[Pos(0)]).await.is_err());
}

async fn trimming_leaves_what_is_alive(open: Open<'_>) {
    let store = open();
    let (mut first, _) = writer(&*store).await;
    append(&*store, &mut *first, 200).await;
    first.trim(&[Pos(1)..Pos(50), Pos(51)..Pos(120)]).await.expect("trimmed");
    first.trim(&[Pos(120)..Pos(180), Pos(5)..Pos(5)]).await.expect("trimmed");
    append(&*store, &mut *first, 20).await;
    drop((first, store));
    let store = open();
    let found = read(&*store, 1).await;
    for pos in std::iter::once(50).chain(180..=220) {
        assert_eq!(found.get(&pos), Some(&body(pos)), "{pos}");
        assert_eq!(store.fetch(JOURNAL, &[Pos(pos)]).await.expect("alive"), [body(pos)]);
    }
    let (mut second, _) = writer(&*store).await;
    assert_eq!(second.tail(), Pos(220));
    second.trim(&[Pos(1)..Pos(221)]).await.expect("trimmed");
    append(&*store, &mut *second, 5).await;
    drop((second, store));
    let store = open();
    let found = read(&*store, 221).await;
    assert_eq!(found, entries(221..=225));
}

async fn a_trimmed_entry_is_told_from_a_missing_one(open: Open<'_>) {
    let store = open();
    let (mut writer, _) = writer(&*store).await;
    append(&*store, &mut *writer, 300).await;
    writer.trim(&[Pos(1)..Pos(290)]).await.expect("trimmed");
    match store.fetch(JOURNAL, &[Pos(1)]).await {
        Err(StoreError::Truncated { first }) => assert!(first > Pos(1) && first <= Pos(290)),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it fills more than a segment and was trimmed"),
    }
}

async fn the_newest_snapshot_is_given(open: Open<'_>) {
    let store = open();
    assert_eq!(newest(&*store).await, None);
    let (mut first, _) = writer(&*store).await;
    append(&*store, &mut *first, 30).await;
    store.snapshot_put(JOURNAL, Pos(10), snapshot(&["one"])).await.expect("stored");
    assert_eq!(newest(&*store).await, Some((10, b"one".to_vec())));
    store.snapshot_put(JOURNAL, Pos(20), snapshot(&["t", "", "wo"])).await.expect("stored");
    store.snapshot_put(JOURNAL, Pos(30), snapshot(&[])).await.expect("stored");
    assert_eq!(newest(&*store).await, Some((30, Vec::new())));
    drop((first, store));
    let store = open();
    assert_eq!(newest(&*store).await, Some((30, Vec::new())));
    assert_eq!(read(&*store, 31).await.len(), 0);
}

async fn a_large_snapshot_comes_whole(open: Open<'_>) {
    let store = open();
    let pieces: Vec<Bytes> = (0..70u8).map(|n| vec![n; 50_000].into()).collect();
    let whole: Vec<u8> = pieces.concat();
    let body = Box::new(Items(pieces.into_iter()));
    store.snapshot_put(JOURNAL, Pos(0), body).await.expect("stored");
    drop(store);
    let store = open();
    let (upto, bytes) = newest(&*store).await.expect("there");
    assert!(upto == 0 && bytes == whole);
}

/// A source that ends with an error.
struct Broken(u32);

#[async_trait::async_trait]
impl Source<Bytes> for Broken {
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        self.0 += 1;
        match self.0 {
            1 => Some(Ok(Bytes::from_static(b"half"))),
            2 => Some(Err(StoreError::Unavailable("broken".into()))),
            _ => None,
        }
    }
}

async fn a_snapshot_that_breaks_off_is_none(open: Open<'_>) {
    let store = open();
    store.snapshot_put(JOURNAL, Pos(0), snapshot(&["old"])).await.expect("stored");
    assert!(store.snapshot_put(JOURNAL, Pos(0), Box::new(Broken(0))).await.is_err());
    assert_eq!(newest(&*store).await, Some((0, b"old".to_vec())));
    drop(store);
    assert_eq!(newest(&*open()).await, Some((0, b"old".to_vec())));
}

macro_rules! suite {
    ($($test:ident),+ $(,)?) => {
        mod file {
            $(#[tokio::test]
            async fn $test() {
                let folder = super::Folder::new();
                let open = || folder.open().expect("nobody else has it");
                super::$test(&open).await;
            })+
        }

        mod memory {
            $(#[tokio::test]
            async fn $test() {
                let memory = super::MemoryStore::default();
                let open = || -> super::Arc<dyn super::Store> { super::Arc::new(memory.clone()) };
                super::$test(&open).await;
            })+
        }
    };
}

suite!(
    positions_are_dense_from_one,
    positions_go_on_after_a_restart,
    an_empty_journal_stays_empty,
    an_entry_may_have_any_bytes,
    entries_carry_the_epoch_of_their_writer,
    an_old_lease_is_fenced,
    a_reader_ends_at_the_tail_of_its_call,
    entries_are_fetched_in_the_order_asked_for,
    trimming_leaves_what_is_alive,
    a_trimmed_entry_is_told_from_a_missing_one,
    the_newest_snapshot_is_given,
    a_large_snapshot_comes_whole,
    a_snapshot_that_breaks_off_is_none,
);
