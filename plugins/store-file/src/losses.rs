//! The list of what is known to be lost: kept in a file that is replaced as a whole, until an operator accepts it, so
//! that a loss does not stand in the log of one start only. A start finds the same damage as the one before, and what
//! was accepted is remembered, so that it is not new each time.

use crate::catalog::lock;
use crate::disk::{Disk, read_whole, refusal, sync_names};
use crate::layout::{Bad, FORMAT, u32_at, u64_at};
use async_trait::async_trait;
use crc32c::crc32c;
use crossdock_core::store::{Loss, Losses, Lost, StoreError};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::task::spawn_blocking;

/// Name of the file.
pub const LOSSES: &str = "losses";

const LOSSES_NEW: &str = "losses.tmp";
const MAGIC: [u8; 8] = *b"XDKLOSSE";
const HEAD: usize = 24;
const BYTES_MAX: u64 = 4 << 20;
/// Losses in the list, those included that were accepted. Beyond it the oldest accepted ones go; when all of them
/// stand, a further one is only in the log.
const LOSSES_MAX: usize = 1_000;
/// Bytes of each text.
const TEXT_MAX: usize = 1_000;
/// A number that is not known.
const UNKNOWN: u64 = u64::MAX;

const MAY_BE_NOTHING: u32 = 1;
const ACCEPTED: u32 = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    loss: Loss,
    accepted: bool,
}

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct List {
    /// The number of the last one that was found.
    last: u64,
    rows: Vec<Row>,
}

/// The list and its file.
pub struct LossList {
    disk: Arc<dyn Disk>,
    list: Mutex<List>,
    /// The file has not all that the list has.
    is_newer: AtomicBool,
}

impl LossList {
    /// The list in a folder; empty where there is none. A damaged one is a loss itself.
    pub fn load(disk: Arc<dyn Disk>) -> io::Result<Result<Self, u32>> {
        let read = match disk.open(LOSSES) {
            Ok(file) => read_whole(&*file, BYTES_MAX).map(|bytes| List::read(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ok(List::default())),
            Err(error) => return Err(error),
        };
        let (list, is_damaged) = match read {
            Ok(Ok(list)) => (list, false),
            Ok(Err(Bad::Newer(found))) => return Ok(Err(found)),
            Ok(Err(_)) | Err(_) => (List::default(), true),
        };
        let losses = Self { disk, list: Mutex::new(list), is_newer: AtomicBool::new(false) };
        if is_damaged {
            losses.found(Lost {
                place: LOSSES.to_owned(),
                what: "the list of losses is damaged: it begins again, and which losses were in it is not \
                       known"
                    .to_owned(),
                records: None,
                bytes: None,
                may_be_nothing: false,
            });
        }
        Ok(Ok(losses))
    }

    /// Adds what a start finds as it is, unless one before has found it. Written by [`Self::write_down`].
    pub fn found(&self, lost: Lost) {
        let mut list = lock(&self.list);
        if !list.rows.iter().any(|row| row.loss.lost == lost) {
            list.push(lost);
            self.is_newer.store(true, Ordering::Release);
        }
    }

    /// Writes the file.
    pub fn store(&self) -> io::Result<()> {
        // Held while it is written: two writers would take each other's file away.
        let list = lock(&self.list);
        let disk = &*self.disk;
        let written = disk.create(LOSSES_NEW).and_then(|file| {
            file.write_at(0, &list.to_bytes())?;
            file.sync()?;
            disk.rename(LOSSES_NEW, LOSSES)
        });
        if written.is_err() {
            // The next attempt uses a new file; the next start removes this one otherwise.
            let _ = disk.remove(LOSSES_NEW);
        }
        written.and_then(|()| sync_names(disk))?;
        self.is_newer.store(false, Ordering::Release);
        Ok(())
    }

    /// Writes the file, if it has not all that the list has. Where that fails, the list is in memory only, and the log
    /// says so.
    pub fn write_down(&self) {
        if !self.is_newer.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = self.store() {
            tracing::error!(
                %error,
                "cannot write down what is lost: crossdock status shows it until the broker ends, and not \
                 after that"
            );
        }
    }

    /// Those that nobody has accepted.
    pub fn standing(&self) -> Vec<Loss> {
        let list = lock(&self.list);
        list.rows.iter().filter(|row| !row.accepted).map(|row| row.loss.clone()).collect()
    }

    /// Adds what has happened, to what happened in the same way at the same place. Written by [`Self::write_down`].
    pub fn add(&self, lost: Lost) {
        let mut list = lock(&self.list);
        let same = list.rows.iter_mut().find(|row| {
            let known = &row.loss.lost;
            !row.accepted && (&known.place, &known.what) == (&lost.place, &lost.what)
        });
        match same {
            Some(row) => {
                let sum = |one: Option<u64>, more: Option<u64>| Some(one?.saturating_add(more?));
                row.loss.lost.records = sum(row.loss.lost.records, lost.records);
                row.loss.lost.bytes = sum(row.loss.lost.bytes, lost.bytes);
            }
            None => list.push(lost),
        }
        self.is_newer.store(true, Ordering::Release);
    }

    fn accept_to(&self, upto: u64) -> usize {
        let mut list = lock(&self.list);
        let some = list.rows.iter_mut().filter(|row| !row.accepted && row.loss.number <= upto);
        some.map(|row| row.accepted = true).count()
    }

    fn take_back(&self, before: List) {
        *lock(&self.list) = before;
    }
}

/// The list as the core uses it.
pub struct KeptLosses(pub Arc<LossList>);

#[async_trait]
impl Losses for KeptLosses {
    fn standing(&self) -> Vec<Loss> {
        self.0.standing()
    }

    async fn note(&self, lost: Lost) {
        let list = self.0.clone();
        // An error: the runtime stops, and the loss is in the log.
        let _ = spawn_blocking(move || {
            list.add(lost);
            list.write_down();
        })
        .await;
    }

    async fn accept(&self, upto: u64) -> Result<usize, StoreError> {
        let list = self.0.clone();
        let accepted = spawn_blocking(move || {
            let before = lock(&list.list).clone();
            let count = list.accept_to(upto);
            match list.store() {
                Ok(()) => Ok(count),
                Err(error) => {
                    list.take_back(before);
                    Err(refusal("the list of losses cannot be written", &error))
                }
            }
        });
        accepted.await.map_err(|_| StoreError::Unavailable("the runtime is stopping".into()))?
    }
}

impl List {
    /// Adds one, if there is room for it.
    fn push(&mut self, mut lost: Lost) {
        if self.rows.len() >= LOSSES_MAX {
            let Some(oldest) = self.rows.iter().position(|row| row.accepted) else { return };
            self.rows.remove(oldest);
        }
        for text in [&mut lost.place, &mut lost.what] {
            let end = (0..=TEXT_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(end.unwrap_or(0));
        }
        self.last += 1;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let found_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let loss = Loss { number: self.last, found_ms, lost };
        self.rows.push(Row { loss, accepted: false });
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(self.rows.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.last.to_le_bytes());
        for Row { loss: Loss { number, found_ms, lost }, accepted } in &self.rows {
            let flags =
                u32::from(lost.may_be_nothing) * MAY_BE_NOTHING + u32::from(*accepted) * ACCEPTED;
            for number in
                [*number, *found_ms, lost.records.unwrap_or(UNKNOWN), lost.bytes.unwrap_or(UNKNOWN)]
            {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&flags.to_le_bytes());
            for text in [&lost.place, &lost.what] {
                out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
        }
        let crc = crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn read(bytes: &[u8]) -> Result<Self, Bad> {
        const DAMAGED: Bad = Bad::Damaged("the list of losses fails its checksum");
        let split = bytes.len().checked_sub(4).and_then(|at| bytes.split_at_checked(at));
        let (covered, crc) = split.ok_or(DAMAGED)?;
        if !covered.starts_with(&MAGIC) || u32_at(crc, 0) != Some(crc32c(covered)) {
            return Err(DAMAGED);
        }
        match u32_at(covered, 8) {
            Some(version) if version > FORMAT => return Err(Bad::Newer(version)),
            Some(FORMAT) => {}
            _ => return Err(DAMAGED),
        }
        Self::read_rows(covered).ok_or(DAMAGED)
    }

    fn read_rows(covered: &[u8]) -> Option<Self> {
        let count = u32_at(covered, 12)? as usize;
        let (mut rows, mut rest) = (Vec::new(), covered.get(HEAD..)?);
        for _ in 0..count {
            let known = |number: u64| (number != UNKNOWN).then_some(number);
            let (number, found_ms) = (u64_at(rest, 0)?, u64_at(rest, 8)?);
            let (records, bytes) = (known(u64_at(rest, 16)?), known(u64_at(rest, 24)?));
            let flags = u32_at(rest, 32)?;
            rest = rest.get(36..)?;
            let (place, what) = (text(&mut rest)?, text(&mut rest)?);
            let may_be_nothing = flags & MAY_BE_NOTHING != 0;
            let lost = Lost { place, what, records, bytes, may_be_nothing };
            rows.push(Row {
                loss: Loss { number, found_ms, lost },
                accepted: flags & ACCEPTED != 0,
            });
        }
        rest.is_empty().then_some(Self { last: u64_at(covered, 16)?, rows })
    }
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let length = u32_at(rest, 0)? as usize;
    let (text, behind) = rest.get(4..)?.split_at_checked(length)?;
    *rest = behind;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faulty::FaultyDisk;

    fn lost(place: &str, records: Option<u64>) -> Lost {
        let what = "it is damaged".to_owned();
        Lost { place: place.to_owned(), what, records, bytes: Some(7), may_be_nothing: false }
    }

    fn loaded(disk: &FaultyDisk) -> LossList {
        LossList::load(Arc::new(disk.clone())).expect("readable").map_err(drop).expect("known")
    }

    fn numbers(list: &LossList) -> Vec<u64> {
        list.standing().iter().map(|loss| loss.number).collect()
    }

    #[test]
    fn losses_stand_over_restarts_until_they_are_accepted() {
        let disk = FaultyDisk::default();
        let list = loaded(&disk);
        list.found(lost("a", Some(3)));
        list.found(lost("b", None));
        list.write_down();
        let list = loaded(&disk.crash(1));
        // A start before has found it.
        list.found(lost("a", Some(3)));
        assert_eq!(numbers(&list), [1, 2]);
        assert_eq!(list.standing()[0].lost, lost("a", Some(3)));
        assert_eq!(list.accept_to(1), 1);
        list.found(lost("a", Some(3)));
        assert_eq!(numbers(&list), [2]);
    }

    #[test]
    fn what_one_queue_loses_is_added_up_until_it_is_accepted() {
        let list = loaded(&FaultyDisk::default());
        for records in [2, 5] {
            list.add(lost("queue", Some(records)));
        }
        assert_eq!(list.standing()[0].lost.records, Some(7));
        assert_eq!(list.accept_to(9), 1);
        list.add(lost("queue", Some(1)));
        assert_eq!((numbers(&list), list.standing()[0].lost.records), (vec![2], Some(1)));
    }

    #[test]
    fn the_list_has_a_limit() {
        let list = loaded(&FaultyDisk::default());
        for nth in 0..LOSSES_MAX + 5 {
            list.add(lost(&format!("queue {nth} {}", "é".repeat(TEXT_MAX)), Some(1)));
        }
        assert_eq!(list.standing().len(), LOSSES_MAX);
        assert_eq!(list.accept_to(10), 10);
        list.add(lost("one more", Some(1)));
        assert_eq!(numbers(&list).last(), Some(&(LOSSES_MAX as u64 + 1)));
        list.store().expect("written");
        let list = lock(&list.list).clone();
        assert!(list.to_bytes().len() < BYTES_MAX as usize);
        assert_eq!(List::read(&list.to_bytes()), Ok(list));
    }

    #[test]
    fn every_flipped_bit_is_seen_and_is_a_loss() {
        let disk = FaultyDisk::default();
        let list = loaded(&disk);
        list.found(lost("a", None));
        list.store().expect("written");
        let bytes = lock(&list.list).to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(List::read(&bad), Err(Bad::Damaged(_))), "bit {bit}");
        }
        disk.damage(LOSSES, |bytes| bytes[30] ^= 1);
        assert_eq!(loaded(&disk).standing()[0].lost.place, LOSSES);
    }
}
