//! Files for what leaves memory and need not survive. Nothing in them is synced, and a start removes them like every
//! other `*.tmp`.
//!
//! ```text
//! spill-<n>.tmp = piece*        piece = length u32, checksum u32 (CRC32C of the bytes), bytes
//! ```
//!
//! A piece is written behind the one before it, once, and its room is never used again: its number, which is its file
//! and its place there, means nothing else later. A file goes when it is full and the last piece in it is done with.

use crate::catalog::lock;
use crate::disk::{Disk, DiskFile, refusal, write_rope_at};
use async_trait::async_trait;
use bytes::{BufMut, Bytes};
use crossdock_core::Rope;
use crossdock_core::store::{Spill, StoreError};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

/// A file takes no more pieces beyond this many bytes.
const FILE_BYTES: u64 = 16 << 20;
/// Bytes in front of a piece.
const HEAD: usize = 8;
/// Bits of a piece's number that are its place in its file.
const PLACE_BITS: u32 = 32;

/// The files of one store.
#[derive(Clone)]
pub struct SpillFiles(Arc<Inner>);

struct Inner {
    disk: Arc<dyn Disk>,
    /// Bytes that the files may have together.
    bytes_max: u64,
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    /// By number. Only the last one takes more pieces.
    open: BTreeMap<u64, Spilled>,
    next: u64,
    bytes: u64,
}

/// One file.
struct Spilled {
    file: Arc<dyn DiskFile>,
    length: u64,
    /// Pieces that are still needed, those on their way to the file included.
    living: u64,
}

/// Where a piece is to be written.
struct Room {
    file: Arc<dyn DiskFile>,
    number: u64,
    at: u64,
}

fn name(number: u64) -> String {
    format!("spill-{number}.tmp")
}

/// The file of a piece, and where it stands in it.
fn place(piece: u64) -> (u64, u64) {
    (piece >> PLACE_BITS, piece & ((1 << PLACE_BITS) - 1))
}

impl SpillFiles {
    pub fn new(disk: Arc<dyn Disk>, bytes_max: u64) -> Self {
        Self(Arc::new(Inner { disk, bytes_max, files: Mutex::default() }))
    }
}

impl Inner {
    /// Room for a piece of that many bytes, its head included. May create a file.
    fn room(&self, bytes: u64) -> Result<Room, StoreError> {
        let mut files = lock(&self.files);
        if files.bytes + bytes > self.bytes_max {
            return Err(StoreError::Full);
        }
        let has_room = |file: &Spilled| file.length == 0 || file.length + bytes <= FILE_BYTES;
        if !files.open.last_entry().is_some_and(|last| has_room(last.get())) {
            let number = files.next;
            let file = self.disk.create(&name(number));
            let file = file.map_err(|error| refusal("cannot create a spill file", &error))?;
            files.next += 1;
            files.open.insert(number, Spilled { file: file.into(), length: 0, living: 0 });
        }
        files.bytes += bytes;
        let Some(mut last) = files.open.last_entry() else {
            return Err(StoreError::Unavailable("there is no spill file".into()));
        };
        let number = *last.key();
        let file = last.get_mut();
        let at = file.length;
        (file.length, file.living) = (at + bytes, file.living + 1);
        Ok(Room { file: file.file.clone(), number, at })
    }

    fn write(&self, piece: &Rope) -> Result<u64, StoreError> {
        let length = u32::try_from(piece.len()).map_err(|_| StoreError::Full)?;
        let mut whole = Rope::from(Vec::with_capacity(HEAD + piece.copied_len()));
        whole.end().put_u32_le(length);
        whole.end().put_u32_le(piece.pieces().fold(0, crc32c::crc32c_append));
        whole.extend(piece);
        let room = self.room(whole.len() as u64)?;
        let number = room.number << PLACE_BITS | room.at;
        match write_rope_at(&*room.file, room.at, &whole) {
            Ok(()) => Ok(number),
            Err(error) => {
                drop(self.done_with(number));
                Err(refusal("cannot write to a spill file", &error))
            }
        }
    }

    fn read(&self, piece: u64) -> Result<Bytes, StoreError> {
        let (number, at) = place(piece);
        let file = lock(&self.files).open.get(&number).map(|file| file.file.clone());
        let file = file.ok_or_else(|| unreadable(number, at, "the file is gone"))?;
        let failed = |error: io::Error| unreadable(number, at, &error.to_string());
        let mut head = [0; HEAD];
        let read = file.read_at(at, &mut head).map_err(failed)?;
        let [a, b, c, d, e, f, g, h] = head;
        let (length, sum) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        // A damaged length would ask for any number of bytes.
        let behind = file.size().map_err(failed)?.saturating_sub(at + HEAD as u64);
        if read < HEAD || u64::from(length) > behind {
            return Err(unreadable(number, at, "the file is shorter than the piece"));
        }
        let mut bytes = vec![0; length as usize];
        let read = file.read_at(at + HEAD as u64, &mut bytes).map_err(failed)?;
        match read == bytes.len() && crc32c::crc32c(&bytes) == sum {
            true => Ok(bytes.into()),
            false => Err(unreadable(number, at, "the checksum is wrong")),
        }
    }

    /// One piece less is needed. The file that goes with it, if one does.
    fn done_with(&self, piece: u64) -> Option<(u64, Spilled)> {
        let (number, _) = place(piece);
        let mut files = lock(&self.files);
        let file = files.open.get_mut(&number)?;
        file.living = file.living.saturating_sub(1);
        // The last one takes more pieces, unless it is large: then its bytes are worth giving back.
        if file.living > 0 || file.length < FILE_BYTES / 4 {
            return None;
        }
        let gone = files.open.remove(&number)?;
        files.bytes = files.bytes.saturating_sub(gone.length);
        Some((number, gone))
    }

    fn remove(&self, (number, gone): (u64, Spilled)) {
        drop(gone);
        if let Err(error) = self.disk.remove(&name(number)) {
            tracing::warn!(
                %error, file = name(number),
                "cannot remove a file that messages had left memory for: it takes disk space until the next \
                 start"
            );
        }
    }
}

fn unreadable(file: u64, at: u64, why: &str) -> StoreError {
    StoreError::Unavailable(format!("{} at {at}: {why}", name(file)))
}

fn stopping(_: tokio::task::JoinError) -> StoreError {
    StoreError::Unavailable("the runtime is stopping".into())
}

#[async_trait]
impl Spill for SpillFiles {
    async fn put(&self, piece: Rope) -> Result<u64, StoreError> {
        let inner = self.0.clone();
        spawn_blocking(move || inner.write(&piece)).await.map_err(stopping)?
    }

    async fn get(&self, piece: u64) -> Result<Bytes, StoreError> {
        let inner = self.0.clone();
        spawn_blocking(move || inner.read(piece)).await.map_err(stopping)?
    }

    fn free(&self, piece: u64) {
        let Some(gone) = self.0.done_with(piece) else { return };
        let inner = self.0.clone();
        // Removing a file takes the disk's time.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || inner.remove(gone))),
            Err(_) => inner.remove(gone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use std::path::{Path, PathBuf};

    /// A folder that goes with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("spill-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn spill(&self, bytes_max: u64) -> SpillFiles {
            let disk = RealDisk::new(&self.0).expect("a folder");
            SpillFiles::new(Arc::new(disk), bytes_max)
        }

        fn files(&self) -> usize {
            std::fs::read_dir(&self.0).expect("a folder").count()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn piece(n: usize, bytes: usize) -> Bytes {
        let mut piece = vec![n as u8; bytes];
        piece.extend(n.to_le_bytes());
        piece.into()
    }

    async fn is_gone(path: &Path, count: usize) {
        for _ in 0..500 {
            if std::fs::read_dir(path).expect("a folder").count() == count {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{count} files are left in {}", path.display());
    }

    #[tokio::test]
    async fn pieces_come_back_and_their_files_go_with_the_last_of_them() {
        let folder = Folder::new("pieces");
        let spill = folder.spill(1 << 30);
        let mut numbers = Vec::new();
        for n in 0..40 {
            numbers.push(spill.put(piece(n, 1 << 20).into()).await.expect("room"));
        }
        assert_eq!(folder.files(), 3);
        for (n, number) in numbers.iter().enumerate().rev() {
            assert_eq!(spill.get(*number).await.expect("readable"), piece(n, 1 << 20));
        }
        numbers[1..].iter().for_each(|number| spill.free(*number));
        is_gone(&folder.0, 1).await;
        assert_eq!(spill.get(numbers[0]).await.expect("still there"), piece(0, 1 << 20));
        assert!(spill.get(numbers[1]).await.is_ok(), "its file is still there");
        assert!(spill.get(numbers[39]).await.is_err());
        spill.free(numbers[0]);
        is_gone(&folder.0, 0).await;
        assert_eq!(lock(&spill.0.files).bytes, 0);
        let again = spill.put(piece(7, 10).into()).await.expect("room");
        assert!(!numbers.contains(&again), "no number is given twice");
    }

    #[tokio::test]
    async fn it_takes_no_more_than_it_may() {
        let folder = Folder::new("full");
        let spill = folder.spill(10 << 20);
        let mut numbers = Vec::new();
        let full = loop {
            match spill.put(piece(1, 1 << 20).into()).await {
                Ok(number) => numbers.push(number),
                Err(error) => break error,
            }
        };
        assert!(matches!(full, StoreError::Full), "{full}");
        assert_eq!(numbers.len(), 9);
        numbers.iter().for_each(|number| spill.free(*number));
        is_gone(&folder.0, 0).await;
        spill.put(piece(1, 1 << 20).into()).await.expect("room again");
    }

    #[tokio::test]
    async fn a_damaged_piece_is_an_error_and_the_others_are_read() {
        let folder = Folder::new("damage");
        let spill = folder.spill(1 << 30);
        let first = spill.put(piece(1, 100).into()).await.expect("room");
        let second = spill.put(piece(2, 100).into()).await.expect("room");
        let path = folder.0.join(name(0));
        let mut bytes = std::fs::read(&path).expect("the file");
        bytes[HEAD + 3] ^= 1;
        std::fs::write(&path, &bytes).expect("writable");
        assert!(spill.get(first).await.is_err());
        assert_eq!(spill.get(second).await.expect("whole"), piece(2, 100));
        // A length that is nonsense asks for no memory.
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        std::fs::write(&path, &bytes).expect("writable");
        assert!(spill.get(first).await.is_err());
        assert!(spill.get(999 << PLACE_BITS).await.is_err());
    }
}
