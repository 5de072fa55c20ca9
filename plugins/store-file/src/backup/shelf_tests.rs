//! Folders of backups and restores with real files.

use super::{BackupError, BackupOptions, RestoreError, RestoreOptions, backup, restore};
use crate::store::{FileStore, Options};
use bytes::Bytes;
use crossdock_core::store::{BackupOrder, Items, JournalId, JournalWriter, Pos, Store};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

const JOURNAL: JournalId = JournalId::Meta;
const ALL: BackupOptions = BackupOptions { keep: None, leave_free: Some(0) };
const PLAIN: RestoreOptions = RestoreOptions { replace: false, accept_damage: false };

/// A folder for one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NTH: AtomicU32 = AtomicU32::new(0);
        let nth = NTH.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("crossdock-backup-{}-{nth}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    fn shelf(&self) -> PathBuf {
        self.0.join("backups")
    }

    fn open(&self) -> FileStore {
        let options = Options { dir: self.store(), segment_bytes: 8 << 10, ..Options::default() };
        FileStore::open(options).expect("opens")
    }

    /// The names in it, sorted.
    fn names(&self) -> Vec<String> {
        names(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

async fn writer(store: &FileStore) -> Box<dyn JournalWriter> {
    let lease = store.coord().acquire("node").await.expect("embedded").expect("always owner");
    store.open(JOURNAL, &lease).await.expect("no writer yet")
}

fn body(pos: u64) -> Bytes {
    format!("this is entry {pos:0200}").into()
}

async fn append(writer: &mut dyn JournalWriter, count: u64) {
    for _ in 0..count {
        let next = writer.tail().0 + 1;
        assert_eq!(writer.append(body(next).into()).await.expect("stored"), Pos(next));
    }
}

/// The entries of a store, the last position, and whether all are what was appended.
async fn entries(store: &FileStore) -> (usize, u64, bool) {
    let mut reader = store.reader(JOURNAL, Pos(1)).await.expect("readable");
    let (mut count, mut last, mut right) = (0, 0, true);
    while let Some(entry) = reader.next().await {
        let entry = entry.expect("no damage");
        right &= entry.bytes == body(entry.pos.0);
        (count, last) = (count + 1, entry.pos.0);
    }
    (count, last, right)
}

#[tokio::test]
async fn a_backup_of_an_open_store_is_restored() {
    let folder = Folder::new();
    let store = folder.open();
    let mut journal = writer(&store).await;
    append(&mut *journal, 100).await;
    let order = BackupOrder { into: folder.shelf(), keep: None, leave_free: Some(0) };
    let made = store.backup(order.clone()).await.expect("made");
    assert_eq!((made.upto, made.reused_bytes, made.findings), (Pos(100), 0, vec![]));
    append(&mut *journal, 50).await;
    let again = store.backup(order).await.expect("made");
    assert_eq!(again.folder, folder.shelf().join("backup-000002"));
    assert!(again.upto == Pos(150) && again.reused_bytes >= made.copied_bytes / 2, "{again:?}");

    let refused = restore(&folder.shelf(), &folder.store(), PLAIN).expect_err("it is in use");
    assert!(matches!(refused, RestoreError::InUse { .. }), "{refused}");
    drop(journal);
    drop(store);
    let other = fs::File::open(folder.store().parent().expect("a folder")).expect("there");
    other.lock().expect("nobody has it");
    let refused = restore(&folder.shelf(), &folder.store(), PLAIN).expect_err("one at a time");
    assert!(matches!(refused, RestoreError::UnderWay { .. }), "{refused}");
    drop(other);
    let refused = restore(&made.folder, &folder.store(), PLAIN).expect_err("there is a store");
    let why = refused.to_string();
    assert!(
        why.contains("which is newer: it has entries up to 150, the backup up to 100"),
        "{why}"
    );
    assert_eq!(entries(&folder.open()).await, (150, 150, true));

    let replace = RestoreOptions { replace: true, ..PLAIN };
    let restored = restore(&made.folder, &folder.store(), replace).expect("restored");
    assert_eq!((restored.upto, restored.damage), (Pos(100), vec![]));
    let aside = restored.aside.expect("it is kept");
    assert_eq!(folder.names(), ["backups", "store", "store.before-restore-1"]);
    let store = folder.open();
    assert_eq!(entries(&store).await, (100, 100, true));
    append(&mut *writer(&store).await, 20).await;
    drop(store);
    fs::rename(&aside, folder.0.join("old")).expect("renamed");
    fs::rename(folder.store(), folder.0.join("new")).expect("renamed");
    // The newest of them, where nothing is.
    let restored = restore(&folder.shelf(), &folder.store(), PLAIN).expect("restored");
    assert_eq!((restored.upto, restored.aside), (Pos(150), None));
    assert_eq!(entries(&folder.open()).await, (150, 150, true));
}

#[tokio::test]
async fn what_is_unfinished_is_no_backup_and_old_ones_go_when_that_is_asked_for() {
    let folder = Folder::new();
    let store = folder.open();
    let mut journal = writer(&store).await;
    append(&mut *journal, 30).await;
    fs::create_dir_all(folder.shelf().join("backup-000007.tmp")).expect("made");
    fs::create_dir_all(folder.shelf().join("mine.tmp")).expect("made");
    let none = restore(&folder.shelf(), &folder.0.join("other"), PLAIN).expect_err("none");
    assert!(matches!(none, RestoreError::NoBackup(_)), "{none}");
    for _ in 0..3 {
        append(&mut *journal, 30).await;
        backup(&folder.store(), &folder.shelf(), ALL).expect("made");
    }
    let three = ["backup-000001", "backup-000002", "backup-000003", "lock", "mine.tmp"];
    assert_eq!(names(&folder.shelf()), three);
    let two = BackupOptions { keep: Some(2), leave_free: Some(0) };
    let made = backup(&folder.store(), &folder.shelf(), two).expect("made");
    assert_eq!((made.removed.len(), made.not_removed), (2, None));
    assert_eq!(names(&folder.shelf()), ["backup-000003", "backup-000004", "lock", "mine.tmp"]);
    let restored = restore(&folder.shelf(), &folder.0.join("other"), PLAIN).expect("restored");
    assert_eq!(restored.upto, Pos(120));
}

#[tokio::test]
async fn a_backup_is_refused_where_it_cannot_be() {
    let folder = Folder::new();
    let nothing = backup(&folder.store(), &folder.shelf(), ALL).expect_err("there is no store");
    assert!(matches!(nothing, BackupError::Store(_) | BackupError::NoStore(_)), "{nothing}");
    fs::create_dir_all(folder.0.join("empty")).expect("made");
    let nothing = backup(&folder.0.join("empty"), &folder.shelf(), ALL).expect_err("no store");
    assert!(matches!(nothing, BackupError::NoStore(_)), "{nothing}");
    assert!(!folder.shelf().exists(), "nothing is made for it");
    let store = folder.open();
    append(&mut *writer(&store).await, 5).await;
    for inside in [folder.store(), folder.store().join("backups/daily")] {
        let refused = backup(&folder.store(), &inside, ALL).expect_err("inside");
        assert!(matches!(refused, BackupError::Inside { .. }), "{refused}");
    }
    let leave_all = BackupOptions { leave_free: Some(u64::MAX / 2), keep: None };
    let refused = backup(&folder.store(), &folder.shelf(), leave_all).expect_err("no room");
    assert!(matches!(refused, BackupError::Full { .. }), "{refused}");
    assert_eq!(names(&folder.shelf()), ["lock"]);
    fs::write(folder.0.join("file"), "x").expect("written");
    let refused = backup(&folder.store(), &folder.0.join("file"), ALL).expect_err("a file");
    assert!(refused.to_string().contains("file"), "{refused}");
}

#[tokio::test]
async fn a_damaged_backup_is_named_and_not_restored_unless_that_is_accepted() {
    let folder = Folder::new();
    let store = folder.open();
    append(&mut *writer(&store).await, 100).await;
    let piece = Items(vec![Bytes::from_static(b"snapshot")].into_iter());
    store.snapshot_put(JOURNAL, Pos(90), Box::new(piece)).await.expect("stored");
    drop(store);
    let made = backup(&folder.store(), &folder.shelf(), ALL).expect("made");
    let victim = names(&made.folder).into_iter().find(|name| name.starts_with("journal-"));
    let victim = victim.expect("there are segments");
    let mut bytes = fs::read(made.folder.join(&victim)).expect("readable");
    bytes[4096 + 60] ^= 1;
    fs::write(made.folder.join(&victim), bytes).expect("written");
    let place = folder.0.join("other");
    let refused = restore(&folder.shelf(), &place, PLAIN).expect_err("it is damaged");
    assert!(refused.to_string().contains(&format!("{victim}: entries 1 to 1 are damaged")));
    assert!(!place.exists());
    let accept = RestoreOptions { accept_damage: true, ..PLAIN };
    let restored = restore(&folder.shelf(), &place, accept).expect("restored");
    assert_eq!((restored.damage.len(), restored.upto), (1, Pos(100)));

    // A backup whose manifest is gone is not one.
    fs::remove_file(made.folder.join("manifest")).expect("removed");
    let refused = restore(&made.folder, &folder.0.join("third"), PLAIN).expect_err("no manifest");
    assert!(matches!(refused, RestoreError::NoBackup(_)), "{refused}");
}

#[tokio::test]
async fn a_store_whose_place_was_taken_when_the_restore_was_interrupted_gets_its_name_later() {
    let folder = Folder::new();
    let store = folder.open();
    append(&mut *writer(&store).await, 20).await;
    drop(store);
    backup(&folder.store(), &folder.shelf(), ALL).expect("made");
    // After the exchange: the old store has the name of the copy.
    fs::rename(folder.store(), folder.0.join("store.restoring")).expect("renamed");
    restore(&folder.shelf(), &folder.store(), PLAIN).expect("restored");
    assert_eq!(folder.names(), ["backups", "store", "store.before-restore-1"]);
    // Before it: what was copied is of no use.
    fs::create_dir_all(folder.0.join("store.restoring")).expect("made");
    let replace = RestoreOptions { replace: true, ..PLAIN };
    restore(&folder.shelf(), &folder.store(), replace).expect("restored");
    let all = ["backups", "store", "store.before-restore-1", "store.before-restore-2"];
    assert_eq!(folder.names(), all);
}
