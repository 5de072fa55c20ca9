//! Promises of the file store, with real files: a torn end is cleared, damage is reported and kept, newer formats are
//! refused.

mod folder;

use bytes::Bytes;
use crossdock_core::store::{Items, JournalId, Pos, Source, Store, StoreError};
use crossdock_store_file::{Finding, OpenError, verify};
use folder::{Folder, writer};
use std::fs;
use std::path::{Path, PathBuf};

const JOURNAL: JournalId = JournalId::Meta;
const FIRST_RECORD: usize = 4096;
const RECORD_HEADER: usize = 48;

fn body(pos: u64) -> Bytes {
    format!("this is entry {pos:06}").into()
}

/// Bytes of the record of one such entry, padding included.
const RECORD: usize = (RECORD_HEADER + 20).next_multiple_of(8);

/// Appends entries one by one, each synced before the next.
async fn append(store: &dyn Store, count: u64) {
    let (mut writer, _) = writer(store).await;
    for _ in 0..count {
        let next = writer.tail().0 + 1;
        assert_eq!(writer.append(body(next).into()).await.expect("stored"), Pos(next));
    }
}

/// What a reader returns: positions, and the positions of damage as errors.
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

/// All positions up to this one, undamaged.
fn all(last: u64) -> Vec<Result<u64, u64>> {
    (1..=last).map(Ok).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
    files.sort();
    files
}

fn change(path: &Path, with: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("readable");
    with(&mut bytes);
    fs::write(path, bytes).expect("writable");
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

/// A copy of a store with three entries, as it was while its writer went on: a crash leaves that.
async fn crashed() -> Folder {
    let (whole, left) = (Folder::new(), Folder::new());
    let store = whole.open().expect("fresh");
    let (mut writer, _) = writer(&*store).await;
    for pos in 1..=3 {
        writer.append(body(pos).into()).await.expect("stored");
    }
    copy(&whole.0, &left.0);
    left
}

/// Where the last of three entries begins.
const LAST: usize = FIRST_RECORD + 2 * RECORD;

/// What is in the quarantine: names and bytes.
fn quarantined(folder: &Folder) -> Vec<(String, Vec<u8>)> {
    let Ok(files) = fs::read_dir(folder.0.join("quarantine")) else { return Vec::new() };
    let files = files.map(|entry| entry.expect("an entry"));
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().expect("text");
        (name, fs::read(entry.path()).expect("readable"))
    };
    files.map(read).collect()
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_and_written_again() {
    let whole = crashed().await;
    let last = LAST;
    for length in 0..RECORD {
        let folder = Folder::new();
        copy(&whole.0, &folder.0);
        let segment = segments(&folder.0).remove(0);
        change(&segment, |bytes| match length % 2 {
            0 => bytes[last + length..].fill(0),
            _ => bytes.truncate(last + length),
        });
        let kept: u64 = if length < RECORD_HEADER + 20 { 2 } else { 3 };
        let torn = fs::read(&segment).expect("readable")[last..].to_vec();
        let store = folder.open().expect("a torn tail is no damage");
        assert_eq!(read(&*store).await, all(kept), "{length}");
        let copies = quarantined(&folder);
        let is_cut = kept == 2 && torn.iter().any(|byte| *byte != 0);
        assert_eq!(copies.len(), usize::from(is_cut), "{length}");
        assert!(copies.iter().all(|(_, copy)| torn.starts_with(copy)), "{length}");
        append(&*store, 2).await;
        drop(store);
        let store = folder.open().expect("whole again");
        assert_eq!(read(&*store).await, all(kept + 2), "{length}");
    }
}

#[tokio::test]
async fn damage_to_the_last_entry_of_a_closed_store_is_damage() {
    let folder = Folder::new();
    append(&*folder.open().expect("fresh"), 3).await;
    let segment = segments(&folder.0).remove(0);
    change(&segment, |bytes| bytes[LAST + 52..LAST + 62].fill(7));
    let damaged = fs::read(&segment).expect("readable");
    let report = verify(&folder.0, &mut |_| {}).expect("readable");
    assert_eq!((report.damages, report.damaged), (1, 1));
    for last in [3, 5] {
        let store = folder.open().expect("damage does not keep it closed");
        let mut expected = all(last);
        expected[2] = Err(3);
        assert_eq!(read(&*store).await, expected, "its position is not given again");
        assert_eq!(fs::read(&segment).expect("readable"), damaged, "nothing is overwritten");
        append(&*store, 2).await;
        let losses = store.losses().expect("kept").standing();
        assert_eq!(losses.len(), 1, "each start finds it: {losses:?}");
        assert_eq!((losses[0].lost.records, losses[0].lost.may_be_nothing), (Some(1), false));
    }
    assert_eq!(quarantined(&folder).len(), 1);
    let store = folder.open().expect("damage does not keep it closed");
    let losses = store.losses().expect("kept");
    assert_eq!(losses.accept(1).await.expect("written"), 1);
    drop(store);
    let store = folder.open().expect("damage does not keep it closed");
    assert_eq!(store.losses().expect("kept").standing(), [], "it is there, and was accepted");
}

#[tokio::test]
async fn what_a_start_loses_stands_over_restarts() {
    let folder = Folder::new();
    append(&*folder.open().expect("fresh"), 3).await;
    change(&folder.0.join("manifest"), |bytes| bytes[20] ^= 1);
    for _ in 0..2 {
        let store = folder.open().expect("the manifest is made again");
        let losses = store.losses().expect("kept").standing();
        assert_eq!(losses.iter().map(|l| l.lost.place.as_str()).collect::<Vec<_>>(), ["manifest"]);
    }
    // Again, after it was accepted: that is another one.
    let store = folder.open().expect("whole");
    store.losses().expect("kept").accept(1).await.expect("written");
    drop(store);
    fs::remove_file(folder.0.join("manifest")).expect("it is there");
    let store = folder.open().expect("the manifest is made again");
    assert_eq!(store.losses().expect("kept").standing()[0].number, 2);
}

#[tokio::test]
async fn a_last_entry_that_may_be_damaged_is_kept_in_the_quarantine() {
    // A record that was written to its end, and one with bytes that may not have reached the disk.
    for was_whole in [true, false] {
        let folder = crashed().await;
        let segment = segments(&folder.0).remove(0);
        change(&segment, |bytes| match was_whole {
            true => bytes[LAST + 52..LAST + 62].fill(7),
            false => bytes[LAST + 40..LAST + RECORD].fill(0),
        });
        let torn = fs::read(&segment).expect("readable")[LAST..].to_vec();
        let mut findings = Vec::new();
        let report = verify(&folder.0, &mut |finding| findings.push(finding)).expect("readable");
        assert_eq!(report.damages, u64::from(was_whole));
        let is_it = |finding: &Finding| {
            matches!(finding, Finding::TornTail { at, was_whole: found, .. }
                if (*at, *found) == (LAST as u64, was_whole))
        };
        assert!(findings.iter().any(is_it), "{findings:?}");
        let store = folder.open().expect("it may be an unfinished write");
        assert_eq!(read(&*store).await, all(2));
        append(&*store, 1).await;
        let losses = store.losses().expect("kept").standing();
        let [loss] = &losses[..] else { panic!("{losses:?}") };
        assert_eq!(loss.lost.may_be_nothing, !was_whole);
        assert!(loss.lost.what.contains("quarantine/journal-"), "{loss:?}");
        let copies = quarantined(&folder);
        let [(name, copy)] = &copies[..] else { panic!("{}", copies.len()) };
        assert!(name.ends_with(&format!(".log.cut-{LAST}-1")), "{name}");
        assert!(!copy.is_empty() && torn.starts_with(copy));
    }
}

#[tokio::test]
async fn a_flipped_bit_is_reported_at_its_place_and_passed() {
    let whole = Folder::new();
    append(&*whole.open().expect("fresh"), 150).await;
    let count = segments(&whole.0).len();
    assert!(count >= 3, "{count}");
    // In the first segment, in one in between, and in the open one.
    for (nth, byte) in [(0, 3), (1, RECORD_HEADER + 4), (count - 1, 17), (count - 1, 60)] {
        let folder = Folder::new();
        copy(&whole.0, &folder.0);
        let segment = segments(&folder.0).remove(nth);
        let name = segment.file_name().expect("a name").to_owned();
        let first: u64 = name.to_string_lossy()[8..28].parse().expect("a position");
        change(&segment, |bytes| bytes[FIRST_RECORD + RECORD + byte] ^= 4);
        let bad = first + 1;
        let expected = |last: u64| -> Vec<Result<u64, u64>> {
            (1..=last).map(|pos| if pos == bad { Err(pos) } else { Ok(pos) }).collect()
        };
        let store = folder.open().expect("damage does not keep it closed");
        assert_eq!(read(&*store).await, expected(150));
        let fetched = store.fetch(JOURNAL, &[Pos(bad)]).await;
        assert!(matches!(fetched, Err(StoreError::Corrupt { at, .. }) if at == Pos(bad)));
        assert_eq!(store.fetch(JOURNAL, &[Pos(bad + 1)]).await.expect("whole"), [body(bad + 1)]);
        append(&*store, 60).await;
        drop(store);
        let store = folder.open().expect("damage does not keep it closed");
        assert_eq!(read(&*store).await, expected(210), "it is still reported");
        let kept = folder.0.join("quarantine").join(&name);
        assert!(kept.is_file(), "{}", kept.display());
    }
}

#[tokio::test]
async fn damage_that_shows_after_the_start_is_kept_when_all_is_dead() {
    let folder = Folder::new();
    let store = folder.open().expect("fresh");
    append(&*store, 150).await;
    for upto in [140, 150] {
        let body: Box<dyn Source<Bytes>> = Box::new(Items(vec![body(0)].into_iter()));
        store.snapshot_put(JOURNAL, Pos(upto), body).await.expect("put");
    }
    drop(store);
    let files = segments(&folder.0);
    change(&files[1], |bytes| bytes[FIRST_RECORD + RECORD + RECORD_HEADER] ^= 4);
    let damaged = fs::read(&files[1]).expect("readable");
    let name = |path: &PathBuf| path.file_name().expect("a name").to_owned();
    let first: u64 = name(&files[1]).to_string_lossy()[8..28].parse().expect("a position");
    let store = folder.open().expect("opens");
    let quarantine = folder.0.join("quarantine");
    assert!(!quarantine.exists(), "the start reads nothing that a snapshot stands for");
    let fetched = store.fetch(JOURNAL, &[Pos(first + 1)]).await;
    assert!(matches!(fetched, Err(StoreError::Corrupt { at, .. }) if at == Pos(first + 1)));
    let (mut writer, _) = writer(&*store).await;
    writer.trim(&[Pos(1)..Pos(141)]).await.expect("trimmed");
    assert!(!files[0].exists() && !files[1].exists());
    let kept: Vec<_> =
        fs::read_dir(&quarantine).expect("there").map(|e| e.expect("read")).collect();
    assert_eq!(kept.iter().map(|e| e.file_name()).collect::<Vec<_>>(), [name(&files[1])]);
    assert_eq!(fs::read(kept[0].path()).expect("readable"), damaged);
}

#[tokio::test]
async fn a_damaged_segment_header_loses_no_entry() {
    let folder = Folder::new();
    append(&*folder.open().expect("fresh"), 150).await;
    let files = segments(&folder.0);
    for segment in [&files[0], &files[files.len() - 1]] {
        change(segment, |bytes| bytes[20] ^= 1);
    }
    let store = folder.open().expect("opens");
    append(&*store, 10).await;
    assert_eq!(read(&*store).await, all(160));
    drop(store);
    let store = folder.open().expect("opens");
    assert_eq!(read(&*store).await, all(160));
}

#[tokio::test]
async fn a_missing_segment_is_reported() {
    let folder = Folder::new();
    append(&*folder.open().expect("fresh"), 200).await;
    let files = segments(&folder.0);
    fs::remove_file(&files[1]).expect("removed");
    let seen = read(&*folder.open().expect("opens")).await;
    assert_eq!(seen.iter().filter(|read| read.is_err()).count(), 1);
    assert_eq!(seen.last(), Some(&Ok(200)));
    fs::remove_file(&files[files.len() - 1]).expect("removed");
    let Err(refused) = folder.open() else { panic!("what was confirmed last is gone") };
    assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused}");
    assert!(refused.to_string().contains("move the file 'manifest' aside"), "{refused}");
    // As it says: the rest is read then.
    fs::remove_file(folder.0.join("manifest")).expect("removed");
    let seen = read(&*folder.open().expect("opens")).await;
    let last = seen.iter().filter_map(|read| read.ok()).max().expect("some are left");
    assert!((100..200).contains(&last), "{last}");
    append(&*folder.open().expect("opens"), 1).await;
}

#[tokio::test]
async fn a_lost_manifest_is_rebuilt() {
    let folder = Folder::new();
    append(&*folder.open().expect("fresh"), 150).await;
    let manifest = folder.0.join("manifest");
    fs::remove_file(&manifest).expect("removed");
    append(&*folder.open().expect("opens"), 1).await;
    change(&manifest, |bytes| bytes[30] ^= 1);
    let store = folder.open().expect("opens");
    append(&*store, 1).await;
    assert_eq!(read(&*store).await, all(152));
    let lease = store.coord().acquire("node").await.expect("embedded").expect("always owner");
    assert_eq!(lease.epoch.0, 3, "epochs go on");
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let folder = Folder::new();
    let store = folder.open().expect("fresh");
    append(&*store, 3).await;
    let pieces = vec![Bytes::from_static(b"snapshot")];
    let snapshot = Box::new(Items(pieces.into_iter()));
    store.snapshot_put(JOURNAL, Pos(3), snapshot).await.expect("stored");
    drop(store);
    let segment = segments(&folder.0).remove(0);
    let snapshot = folder.0.join("snapshot-00000000000000000003.snap");
    // Each with the range that its checksum covers, and the offset of the checksum.
    for (path, covered) in
        [(folder.0.join("manifest"), None), (segment, Some(60)), (snapshot, Some(28))]
    {
        let before = fs::read(&path).expect("there");
        change(&path, |bytes| {
            bytes[8] = 2;
            let covered = covered.unwrap_or(bytes.len() - 4);
            let crc = crc32c::crc32c(&bytes[..covered]).to_le_bytes();
            bytes[covered..covered + 4].copy_from_slice(&crc);
        });
        match folder.open() {
            Err(OpenError::NewerFormat { file, found: 2, known: 1 }) => assert_eq!(file, path),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{} was read", path.display()),
        }
        fs::write(&path, before).expect("writable");
    }
    assert_eq!(read(&*folder.open().expect("opens")).await.len(), 3);
}

#[tokio::test]
async fn one_process_and_one_writer() {
    let folder = Folder::new();
    let store = folder.open().expect("fresh");
    assert!(matches!(folder.open(), Err(OpenError::Locked { .. })));
    let (first, lease) = writer(&*store).await;
    assert!(matches!(store.open(JOURNAL, &lease).await, Err(StoreError::Unavailable(_))));
    drop(first);
    assert!(store.open(JOURNAL, &lease).await.is_ok(), "the first one has left");
    drop(store);
    assert!(folder.open().is_ok());
}

#[tokio::test]
async fn a_stop_between_manifest_and_removal_is_made_up_for() {
    let folder = Folder::new();
    let store = folder.open().expect("fresh");
    append(&*store, 200).await;
    let before = segments(&folder.0);
    let kept = Folder::new();
    copy(&folder.0, &kept.0);
    let (mut writer, _) = writer(&*store).await;
    writer.trim(&[Pos(1)..Pos(150)]).await.expect("trimmed");
    drop((writer, store));
    let after = segments(&folder.0);
    assert!(after.len() < before.len());
    for gone in before.iter().filter(|segment| !after.contains(segment)) {
        let name = gone.file_name().expect("a name");
        fs::copy(kept.0.join(name), gone).expect("copied");
    }
    let store = folder.open().expect("opens");
    assert_eq!(segments(&folder.0), after, "they are gone for good");
    assert_eq!(read(&*store).await.last(), Some(&Ok(200)));
    assert!(!read(&*store).await.contains(&Ok(1)));
}

#[tokio::test]
async fn a_damaged_snapshot_falls_back_and_the_journal_behind_it_is_there() {
    let folder = Folder::new();
    let store = folder.open().expect("fresh");
    append(&*store, 200).await;
    for upto in [50, 100, 150] {
        let pieces: Vec<Bytes> = vec![format!("upto {upto}").into()];
        let snapshot = Box::new(Items(pieces.into_iter()));
        store.snapshot_put(JOURNAL, Pos(upto), snapshot).await.expect("stored");
    }
    let (mut writer, _) = writer(&*store).await;
    writer.trim(&[Pos(1)..Pos(150)]).await.expect("trimmed");
    drop((writer, store));
    let snapshot = |upto: u64| folder.0.join(format!("snapshot-{upto:020}.snap"));
    assert!(!snapshot(50).exists(), "the last two are kept");
    change(&snapshot(150), |bytes| bytes[34] ^= 1);
    let store = folder.open().expect("opens");
    let (upto, mut body) = store.snapshot_get(JOURNAL).await.expect("one is whole").expect("there");
    assert_eq!(upto, Pos(100));
    let piece = body.next().await.expect("not empty").expect("whole");
    assert_eq!(piece, Bytes::from_static(b"upto 100"));
    let seen = read(&*store).await;
    assert!(!seen.contains(&Ok(1)), "what both snapshots cover was trimmed");
    assert!((101..=200).all(|pos| seen.contains(&Ok(pos))));
    drop((body, store));
    change(&snapshot(100), |bytes| bytes[34] ^= 1);
    let store = folder.open().expect("opens");
    assert!(matches!(store.snapshot_get(JOURNAL).await, Err(StoreError::Corrupt { .. })));
}

#[tokio::test]
async fn segments_are_as_large_as_they_will_be() {
    let folder = Folder::new();
    let store = folder.open().expect("fresh");
    append(&*store, 1).await;
    let segment = segments(&folder.0).remove(0);
    let before = fs::metadata(&segment).expect("there").len();
    append(&*store, 20).await;
    assert_eq!(fs::metadata(&segment).expect("there").len(), before);
    assert_eq!(before, 8192);
}

#[tokio::test]
async fn a_manifest_that_may_not_be_opened_is_not_made_again() {
    let folder = Folder::new();
    append(&*folder.open().expect("fresh"), 3).await;
    let (manifest, aside) = (folder.0.join("manifest"), folder.0.join("aside"));
    fs::rename(&manifest, &aside).expect("ours");
    fs::create_dir(&manifest).expect("ours");
    let Err(error) = folder.open() else { panic!("it was made again") };
    let text = error.to_string();
    assert!(text.starts_with(&format!("{}: cannot open it: ", manifest.display())), "{text}");
    assert!(text.ends_with("; a folder is in the place of a file: move it away"), "{text}");
    fs::remove_dir(&manifest).expect("nothing was changed");
    fs::rename(&aside, &manifest).expect("ours");
    assert_eq!(read(&*folder.open().expect("whole")).await, all(3));
}

#[cfg(unix)]
mod rights {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// The rights of a file or folder, without its kind.
    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    }

    /// Everything in a folder and below it.
    fn everything(dir: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry")) {
            if entry.path().is_dir() {
                found.extend(everything(&entry.path()));
            }
            found.push(entry.path());
        }
        found
    }

    /// Snapshots, a damaged file in quarantine, several segments: all kinds of files that there are.
    async fn run(folder: &Folder) {
        let store = folder.open().expect("opens");
        append(&*store, 150).await;
        let pieces = vec![Bytes::from_static(b"snapshot")];
        let snapshot = Box::new(Items(pieces.into_iter()));
        store.snapshot_put(JOURNAL, Pos(50), snapshot).await.expect("stored");
        drop(store);
        // One that the snapshot does not stand for: it is read, and put into quarantine.
        change(&segments(&folder.0).remove(1), |bytes| bytes[FIRST_RECORD + 20] ^= 1);
        drop(folder.open().expect("damage does not keep it closed"));
    }

    fn is_private(dir: &Path) {
        for path in everything(dir) {
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&path), wanted, "{}", path.display());
        }
    }

    #[tokio::test]
    async fn what_is_made_is_for_its_owner_alone() {
        let outer = Folder::new();
        let folder = Folder(outer.0.join("data"));
        run(&folder).await;
        assert_eq!(mode(&folder.0), 0o700);
        let found = everything(&folder.0);
        for kind in ["log", "snap", "manifest", "quarantine"] {
            let of_kind = |path: &&PathBuf| path.to_string_lossy().ends_with(kind);
            assert!(found.iter().any(|path| of_kind(&path)), "no {kind} in {found:?}");
        }
        is_private(&folder.0);
    }

    #[tokio::test]
    async fn files_that_others_could_read_are_narrowed() {
        let folder = Folder::new();
        run(&folder).await;
        let files = everything(&folder.0).into_iter().filter(|path| path.is_file());
        let current: Vec<PathBuf> = files.filter(|path| !is_quarantined(path)).collect();
        current.iter().for_each(|path| set_mode(path, 0o644));
        let store = folder.open().expect("opens");
        assert!(!read(&*store).await.is_empty());
        assert!(store.snapshot_get(JOURNAL).await.expect("whole").is_some());
        drop(store);
        for path in current.iter().filter(|path| path.exists()) {
            assert_eq!(mode(path), 0o600, "{}", path.display());
        }
    }

    fn is_quarantined(path: &Path) -> bool {
        path.components().any(|part| part.as_os_str() == "quarantine")
    }

    #[tokio::test]
    async fn a_link_in_the_place_of_a_file_is_refused() {
        let (folder, elsewhere) = (Folder::new(), Folder::new());
        append(&*folder.open().expect("fresh"), 3).await;
        let (file, target) = (segments(&folder.0).remove(0), elsewhere.0.join("target"));
        fs::rename(&file, &target).expect("moved");
        symlink(&target, &file).expect("a link");
        let before = fs::read(&target).expect("readable");
        assert!(folder.open().is_err(), "{} was followed", file.display());
        assert_eq!(fs::read(&target).expect("readable"), before);
        fs::remove_file(&file).expect("the link goes");
        fs::rename(&target, &file).expect("moved back");
        assert_eq!(read(&*folder.open().expect("opens")).await, all(3));
    }
}
