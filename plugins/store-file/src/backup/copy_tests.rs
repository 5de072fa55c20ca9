//! Copies while the store is written to and trimmed, on disks that fail, fill up and lie.

use super::capture::capture;
use super::copy::{Earlier, Target, copy};
use super::{BackupError, Copied};
use crate::disk::{Disk, DiskFile};
use crate::faulty::FaultyDisk;
use crate::layout::{segment_first, segment_name};
use crate::manifest::{MANIFEST, Manifest};
use crate::recovery::Start;
use crate::store::FileStore;
use crate::survey::Survey;
use crate::verify::{Finding, check};
use bytes::Bytes;
use crossdock_core::store::{Items, JournalId, JournalWriter, Pos, Space, Store};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const JOURNAL: JournalId = JournalId::Meta;
const START: Start = Start { segment_bytes: 8 << 10, salt: 77 };

fn open(disk: &FaultyDisk) -> FileStore {
    FileStore::on(Arc::new(disk.clone()), Path::new("memory"), START, 256).expect("opens")
}

async fn writer(store: &FileStore) -> Box<dyn JournalWriter> {
    let lease = store.coord().acquire("node").await.expect("embedded").expect("always owner");
    store.open(JOURNAL, &lease).await.expect("no writer yet")
}

fn body(pos: u64) -> Bytes {
    vec![pos as u8; 300 + (pos as usize * 37) % 700].into()
}

async fn append(writer: &mut dyn JournalWriter, count: u64) {
    for _ in 0..count {
        let next = writer.tail().0 + 1;
        assert_eq!(writer.append(body(next).into()).await.expect("stored"), Pos(next));
    }
}

async fn snapshot(store: &FileStore, upto: u64) {
    let piece = Items(vec![Bytes::from_static(b"snapshot")].into_iter());
    store.snapshot_put(JOURNAL, Pos(upto), Box::new(piece)).await.expect("stored");
}

fn survey(disk: &dyn Disk) -> Survey<'_> {
    Survey { disk, dir: Path::new("memory") }
}

fn copied(
    from: &FaultyDisk,
    into: &dyn Disk,
    earlier: Option<&FaultyDisk>,
) -> Result<Copied, BackupError> {
    let captured = capture(survey(from))?;
    let target = Target { survey: survey(into), leave_free: 0, sparse: true };
    let Some(disk) = earlier else { return copy(survey(from), &captured, target, None) };
    let manifest = Manifest::load(disk).expect("readable").expect("there").expect("whole");
    // There are no hard links on this disk.
    let link = |name: &str| {
        let file = disk.open(name)?;
        let mut bytes = vec![0; file.size()? as usize];
        file.read_at(0, &mut bytes)?;
        let linked = into.create(name)?;
        linked.write_at(0, &bytes)?;
        linked.sync()
    };
    let earlier = Earlier { survey: survey(disk), manifest, link: &link };
    copy(survey(from), &captured, target, Some(&earlier))
}

fn damage(disk: &FaultyDisk) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut each = |finding: Finding| found.extend(finding.is_damage().then_some(finding));
    check(&disk.kill(), Path::new("memory"), &mut each).expect("can be checked");
    found
}

/// The position of the newest snapshot, and the entries.
async fn read(store: &FileStore) -> (u64, BTreeMap<u64, Bytes>) {
    let upto = store.snapshot_get(JOURNAL).await.expect("whole").map_or(0, |(upto, _)| upto.0);
    let mut reader = store.reader(JOURNAL, Pos(1)).await.expect("readable");
    let mut found = BTreeMap::new();
    while let Some(entry) = reader.next().await {
        let entry = entry.expect("no damage");
        found.insert(entry.pos.0, entry.bytes);
    }
    (upto, found)
}

/// A copy is a store: it opens, has everything up to `acked` that no snapshot stands for, and takes more.
async fn is_a_store(disk: &FaultyDisk, acked: u64, what: &str) {
    assert_eq!(damage(disk), [], "{what}");
    let store = open(disk);
    let (upto, found) = read(&store).await;
    for pos in upto + 1..=acked {
        assert_eq!(found.get(&pos), Some(&body(pos)), "{what}: entry {pos} was confirmed");
    }
    let mut writer = writer(&store).await;
    assert!(writer.tail().0 >= acked, "{what}");
    append(&mut *writer, 30).await;
}

/// A store with sealed segments, an open one and two snapshots, and its last entry.
async fn filled() -> (FaultyDisk, FileStore, u64) {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    let mut writer = writer(&store).await;
    append(&mut *writer, 60).await;
    snapshot(&store, 20).await;
    snapshot(&store, 40).await;
    writer.trim(&[Pos(1)..Pos(15)]).await.expect("trimmed");
    (disk, store, 60)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_confirmed_before_a_copy_is_in_it_while_the_store_is_written_and_trimmed() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    let (acked, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (confirmed, ended) = (acked.clone(), stop.clone());
    let working = tokio::spawn(async move {
        let mut writer = writer(&store).await;
        while !ended.load(Ordering::Acquire) {
            append(&mut *writer, 5).await;
            let tail = writer.tail().0;
            confirmed.store(tail, Ordering::Release);
            if tail % 25 == 0 {
                snapshot(&store, tail - 3).await;
                writer.trim(&[Pos(1)..Pos(tail - 10)]).await.expect("trimmed");
            }
            tokio::task::yield_now().await;
        }
        writer.tail().0
    });
    let mut earlier: Option<FaultyDisk> = None;
    for nth in 0..40 {
        let (before, into) = (acked.load(Ordering::Acquire), FaultyDisk::default());
        let made = copied(&disk, &into, earlier.as_ref());
        let made = made.unwrap_or_else(|error| panic!("copy {nth}: {error}"));
        assert_eq!((made.upto.0 >= before, made.damage), (true, vec![]), "copy {nth}");
        is_a_store(&into.crash(nth), before, &format!("copy {nth}")).await;
        earlier = Some(into.kill());
    }
    stop.store(true, Ordering::Release);
    assert!(working.await.expect("it ends") > 100, "there was nothing to copy");
}

#[tokio::test]
async fn a_copy_that_was_finished_survives_a_crash_and_one_that_was_not_has_no_manifest() {
    let (disk, _store, acked) = filled().await;
    let before = disk.trace();
    for calls in 0.. {
        let into = FaultyDisk::default();
        into.die_after(calls);
        let made = copied(&disk, &into, None).is_ok();
        for seed in 0..4 {
            let found = into.crash(seed);
            let has_manifest = found.names().contains(&MANIFEST.to_owned());
            assert!(has_manifest || !made, "{calls}, {seed}");
            if made {
                is_a_store(&found, acked, &format!("{calls}, {seed}")).await;
            }
        }
        if made {
            assert!(calls > 30, "{calls}");
            break;
        }
    }
    assert_ne!(disk.trace(), before, "reads are in it, too");
    assert_eq!(damage(&disk), [], "the store is as it was");
}

#[tokio::test]
async fn a_full_disk_is_named() {
    let (disk, _store, _) = filled().await;
    for bytes in [0, 5_000, 20_000] {
        let into = FaultyDisk::default();
        into.set_bytes_max(Some(bytes));
        let refused = copied(&disk, &into, None).expect_err("there is no room");
        assert!(matches!(refused, BackupError::Full { .. }), "{refused}");
        assert!(!into.names().contains(&MANIFEST.to_owned()));
    }
    let captured = capture(survey(&disk)).expect("steady");
    let into = FaultyDisk::default();
    into.set_bytes_max(Some(1 << 20));
    let target = Target { survey: survey(&into), leave_free: 1 << 20, sparse: true };
    let refused = copy(survey(&disk), &captured, target, None).expect_err("room is to be left");
    assert!(matches!(refused, BackupError::Full { .. }), "{refused}");
}

#[tokio::test]
async fn what_an_earlier_copy_has_whole_is_not_copied_again() {
    let (disk, store, _) = filled().await;
    let first = FaultyDisk::default();
    let made = copied(&disk, &first, None).expect("copied");
    assert_eq!(made.reused_files, 0);
    let mut writer = writer(&store).await;
    append(&mut *writer, 10).await;
    let second = FaultyDisk::default();
    let again = copied(&disk, &second, Some(&first)).expect("copied");
    assert_eq!(again.upto, Pos(70));
    // What was the open segment, and those after it.
    assert!(again.reused_files >= made.copied_files - 1 && again.copied_files >= 1, "{again:?}");
    is_a_store(&second.crash(3), 70, "second").await;

    // What is damaged there is copied from the store.
    let sealed = first.names().into_iter().find(|name| segment_first(name).is_some());
    let sealed = sealed.expect("there are segments");
    first.damage(&sealed, |bytes| bytes[4096 + 60] ^= 1);
    let third = FaultyDisk::default();
    let fewer = copied(&disk, &third, Some(&first)).expect("copied");
    assert_eq!(fewer.reused_files, again.reused_files - 1);
    is_a_store(&third.kill(), 70, "third").await;
}

#[tokio::test]
async fn a_store_that_went_another_way_takes_nothing_from_the_copy() {
    let (disk, store, _) = filled().await;
    let restored = disk.kill();
    let mut writer = writer(&store).await;
    append(&mut *writer, 30).await;
    let first = FaultyDisk::default();
    copied(&disk, &first, None).expect("copied");
    // The same positions with other bytes, as after a restore.
    let other = open(&restored);
    let mut writer = self::writer(&other).await;
    for _ in 0..30 {
        writer.append(vec![1; 500].into()).await.expect("stored");
    }
    let second = FaultyDisk::default();
    copied(&restored, &second, Some(&first)).expect("copied");
    let (_, found) = read(&open(&second.kill())).await;
    assert_eq!(found.get(&75), Some(&Bytes::from(vec![1; 500])));
}

#[tokio::test]
async fn damage_of_the_store_is_copied_and_named() {
    let (disk, store, _) = filled().await;
    drop(store);
    let disk = disk.kill();
    let sealed: Vec<u64> = disk.names().iter().filter_map(|name| segment_first(name)).collect();
    let name = segment_name(sealed[1]);
    disk.damage(&name, |bytes| bytes[4096 + 60] ^= 1);
    let into = FaultyDisk::default();
    let made = copied(&disk, &into, None).expect("it is copied as it is");
    assert!(matches!(&made.damage[..], [Finding::Entries { segment, .. }] if *segment == name));
    assert_eq!(damage(&into), made.damage);
}

#[tokio::test]
async fn a_disk_that_does_not_keep_what_is_written_is_found_out() {
    let (disk, _store, _) = filled().await;
    for nth in 0..4 {
        let into = Liar(FaultyDisk::default(), nth, AtomicU64::new(0));
        let refused = copied(&disk, &into, None).expect_err("it lies");
        assert!(matches!(refused, BackupError::Differs { .. }), "{nth}: {refused}");
    }
}

/// A disk that flips a bit in the file with this number.
struct Liar(FaultyDisk, u64, AtomicU64);

struct LiarsFile(Box<dyn DiskFile>, bool);

impl Disk for Liar {
    fn lock(&self, name: &str) -> io::Result<bool> {
        self.0.lock(name)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let nth = self.2.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(LiarsFile(self.0.create(name)?, nth == self.1)))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.0.open(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn make_dir(&self, name: &str) -> io::Result<()> {
        self.0.make_dir(name)
    }
    fn sync_dir(&self, name: &str) -> io::Result<()> {
        self.0.sync_dir(name)
    }
    fn space(&self) -> io::Result<Option<Space>> {
        self.0.space()
    }
}

impl DiskFile for LiarsFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(at, into)
    }
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut bytes = bytes.to_vec();
        if let Some(byte) = bytes.get_mut(if at == 0 { 20 } else { usize::MAX })
            && self.1
        {
            *byte ^= 4;
        }
        self.0.write_at(at, &bytes)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}
