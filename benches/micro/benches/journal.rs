//! The journal: operations to the bytes of an entry and back, an entry to a record with its checksums, and whole
//! appends through the file store. The store's folder is in memory if the system has a file system for that, so that
//! appends show the cost of the store and not of the disk.
#![forbid(unsafe_code)]

use bytes::Bytes;
use crossdock_core::store::{JournalId, Store};
use crossdock_core::{Address, Fields, Message, Meta, Origin, Rope, Timestamp, bench};
use crossdock_store_file::bench::put_record;
use crossdock_store_file::{FileStore, Options};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The broker's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long each benchmark runs at least.
const TIME: Duration = Duration::from_millis(100);

/// Records of one entry.
const BATCH: u64 = 50;
/// Bytes of an appended entry.
const ENTRY: usize = 1024;

fn main() {
    divan::Divan::default().min_time(TIME).config_with_args().main();
}

fn message() -> Message {
    let (user, client, listener) = ("guest".into(), "bench".into(), "bench".into());
    let origin = Origin { user, client, listener, ..Origin::default() };
    let mut meta = Meta::new(Arc::new(origin), Timestamp(1_700_000_000_000));
    meta.durable = true;
    let body = vec![b'x'; 128].into();
    Message::from_fields(Address::queue("orders"), meta, &Fields::default(), body)
}

/// Counts an entry's records and bytes.
fn counted<'a, 'b>(bencher: Bencher<'a, 'b>, entry: &Bytes) -> Bencher<'a, 'b> {
    assert_eq!(bench::decode(entry), Some(BATCH as usize), "the entry is complete");
    bencher.counter(ItemsCount::new(BATCH)).counter(BytesCount::new(entry.len()))
}

/// Records of 128 bytes, each in this many queues.
#[divan::bench(args = [1, 10])]
fn encode_records(bencher: Bencher, queues: u64) {
    let message = message();
    counted(bencher, &bench::encode_records(&message, BATCH, queues))
        .bench_local(|| bench::encode_records(black_box(&message), BATCH, queues));
}

#[divan::bench(args = [1, 10])]
fn decode_records(bencher: Bencher, queues: u64) {
    let entry = bench::encode_records(&message(), BATCH, queues);
    counted(bencher, &entry).bench_local(|| bench::decode(black_box(&entry)));
}

#[divan::bench]
fn encode_settles(bencher: Bencher) {
    counted(bencher, &bench::encode_settles(BATCH))
        .bench_local(|| bench::encode_settles(black_box(BATCH)));
}

#[divan::bench]
fn decode_settles(bencher: Bencher) {
    let entry = bench::encode_settles(BATCH);
    counted(bencher, &entry).bench_local(|| bench::decode(black_box(&entry)));
}

/// Header, checksums, body and padding of one record.
#[divan::bench(args = [128, 1024, 65_536])]
fn record(bencher: Bencher, bytes: usize) {
    let body = Rope::from(vec![b'x'; bytes]);
    let mut out = Rope::default();
    put_record(&body, &mut out);
    assert!(out.len() > bytes, "a record is more than its body");
    bencher.counter(ItemsCount::new(1usize)).counter(BytesCount::new(out.len())).bench_local(
        || {
            out.clear();
            put_record(black_box(&body), &mut out)
        },
    );
}

/// A folder of this run, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = parent.join(format!("crossdock-micro-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for the store");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // If it cannot be removed, it stays in a folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Hands over this many entries, then waits for all of them, as the committer does.
#[divan::bench(args = [1, 100], sample_size = 1)]
fn append(bencher: Bencher, entries: usize) {
    let folder = Folder::new(&entries.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let options = Options { dir: folder.0.clone(), ..Options::default() };
    let store = FileStore::open(options).expect("a new store");
    let mut journal = runtime.block_on(async {
        let lease = store.coord().acquire("node").await.expect("available").expect("nobody else");
        store.open(JournalId::Meta, &lease).await.expect("the lease is new")
    });
    let entry = Bytes::from(vec![b'x'; ENTRY]);
    let counted = bencher.counter(ItemsCount::new(entries));
    counted.counter(BytesCount::new(entries * ENTRY)).bench_local(|| {
        let pending: Vec<_> = (0..entries).map(|_| journal.append(entry.clone().into())).collect();
        runtime.block_on(async {
            for append in pending {
                append.await.expect("stored");
            }
        });
    });
    assert_eq!(journal.tail().0 % entries as u64, 0, "every entry is in the journal");
}
