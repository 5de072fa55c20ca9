//! A start: what is done about the damage in a segment, and about the end of the open one. What is cut off is copied to
//! the quarantine first, for nobody can be sure that it was not confirmed.

use crate::catalog::Segment;
use crate::disk::{DiskFile, QUARANTINE};
use crate::layout::{RECORD_HEADER, RecordHeader};
use crate::losses::LossList;
use crate::survey::{OpenError, Survey, Surveyed};
use crate::tail::{self, TornTail};
use crate::window::BLOCK;
use crossdock_core::store::Lost;
use std::io;
use std::ops::Range;

/// Mends the segments of a folder.
pub struct Mender<'a> {
    pub survey: Survey<'a>,
    /// Starts of the store before this one: copies of what it cuts off are named after that.
    pub starts: u64,
    pub losses: &'a LossList,
}

impl Mender<'_> {
    /// Adds the file's name to an I/O error.
    fn at<T>(&self, name: &str, result: io::Result<T>) -> Result<T, OpenError> {
        self.survey.at(name, result)
    }

    /// Reports the damage in a segment, and clears the end of the open one. Returns whether more may be written to
    /// it.
    pub fn segment(&self, surveyed: &Surveyed, is_open: bool) -> Result<bool, OpenError> {
        let Surveyed { segment, found, header, is_missing } = surveyed;
        let name = &segment.name;
        if *is_missing {
            tracing::error!(segment = name, "a journal segment is missing: what it held is lost");
        } else if header.is_none() {
            tracing::error!(segment = name, "the header of a journal segment is damaged");
        }
        for lost in &found.damage {
            let (from, to) = (lost.start, lost.end.saturating_sub(1));
            tracing::error!(
                segment = name,
                from,
                to,
                "journal entries are damaged: what they held is lost"
            );
            let why = if *is_missing { "missing" } else { "damaged" };
            self.losses.found(Lost {
                place: name.clone(),
                what: format!("entries {from} to {to} are {why}: what they held is lost"),
                // Bytes that cannot be read may have held fewer.
                records: (!found.is_blind).then_some(lost.end.saturating_sub(from)),
                bytes: None,
                may_be_nothing: false,
            });
        }
        if !is_missing && (header.is_none() || !found.damage.is_empty()) {
            self.quarantine(&*segment.file, 0..u64::MAX, &format!("{QUARANTINE}/{name}"));
        }
        // Bytes that cannot be read now may be readable later, and damage stays as it is: neither is overwritten.
        if !is_open || *is_missing || found.is_blind || found.is_short {
            return Ok(false);
        }
        self.cut(segment, found.end)?;
        self.at(name, settle(surveyed))?;
        Ok(header.is_some())
    }

    /// Overwrites with zeros what stands behind the last entry, so that it is never taken for an entry.
    fn cut(&self, segment: &Segment, end: u64) -> Result<(), OpenError> {
        let (name, file) = (&segment.name, &*segment.file);
        let Some(torn) = self.at(name, tail::look(&segment.extent(), end))? else { return Ok(()) };
        self.report_cut(segment, &torn);
        self.losses.write_down();
        let Range { start: mut at, end: dirty } = torn.bytes;
        let zeros = vec![0; usize::try_from(dirty - at).unwrap_or(BLOCK).min(BLOCK)];
        while at < dirty {
            let count = usize::try_from(dirty - at).unwrap_or(BLOCK).min(zeros.len());
            self.at(name, file.write_at(at, zeros.get(..count).unwrap_or_default()))?;
            at += count as u64;
        }
        self.at(name, file.sync())
    }

    /// Says what is cut off, and keeps a copy of it.
    fn report_cut(&self, segment: &Segment, torn: &TornTail) {
        let (name, at) = (&segment.name, torn.bytes.start);
        let bytes = torn.bytes.end - at;
        // Each start that cuts something off there makes a copy of its own.
        let copy = format!("{QUARANTINE}/{name}.cut-{at}-{}", self.starts);
        let is_kept = self.quarantine(&*segment.file, torn.bytes.clone(), &copy);
        let why = match torn.was_whole {
            true => "it was damaged after it had been written",
            false => "it was an unfinished write of a crash, or damaged",
        };
        let kept =
            if is_kept { format!("{copy} has a copy") } else { "there is no copy".to_owned() };
        self.losses.found(Lost {
            place: name.clone(),
            what: format!("the last record, at byte {at}, was cut off, and {kept}: {why}"),
            records: None,
            bytes: Some(bytes),
            may_be_nothing: !torn.was_whole,
        });
        let copy = match is_kept {
            true => self.survey.dir.join(copy).display().to_string(),
            false => "none".to_owned(),
        };
        match torn.was_whole {
            true => tracing::error!(
                segment = name,
                at,
                bytes,
                copy,
                "the last record of the journal was written to its end and does not match its checksum: it \
                 is damaged and is cut off; if it was confirmed, it is lost"
            ),
            false => tracing::warn!(
                segment = name,
                at,
                bytes,
                copy,
                "the last record of the journal does not match its checksum and is cut off: it is an \
                 unfinished write of a crash, or damaged; if it was confirmed, it is lost"
            ),
        }
    }

    /// Copies damaged bytes of a file to the quarantine, unless a copy exists: later starts find the same damage, and
    /// one that was interrupted has perhaps cut some of it off already. False: it cannot be copied.
    fn quarantine(&self, file: &dyn DiskFile, bytes: Range<u64>, copy: &str) -> bool {
        if self.survey.disk.open(copy).is_ok() {
            return true;
        }
        let copied = self.copy(file, bytes, copy);
        if let Err(error) = &copied {
            tracing::error!(file = copy, %error, "cannot copy a damaged file to the quarantine folder");
        }
        copied.is_ok()
    }

    fn copy(&self, from: &dyn DiskFile, bytes: Range<u64>, to: &str) -> io::Result<()> {
        let disk = self.survey.disk;
        disk.make_dir(QUARANTINE)?;
        let into = disk.create(to)?;
        let (mut block, mut at) = (vec![0; BLOCK], bytes.start);
        while at < bytes.end {
            let count = usize::try_from(bytes.end - at).unwrap_or(BLOCK).min(BLOCK);
            let read = from.read_at(at, block.get_mut(..count).unwrap_or_default())?;
            into.write_at(at - bytes.start, block.get(..read).unwrap_or_default())?;
            at += read as u64;
            if read < count {
                break;
            }
        }
        into.sync()?;
        disk.sync_dir(QUARANTINE)?;
        disk.sync_dir("")
    }
}

/// Makes the entries that were read durable by writing them again: they may be in the page cache only, and after a
/// failed sync the kernel would count them as written. Entries that a record says were synced are left alone.
fn settle(surveyed: &Surveyed) -> io::Result<()> {
    let Surveyed { segment, found, .. } = surveyed;
    let first = found.durable.saturating_add(1).max(segment.first);
    let mut record = Vec::new();
    for offset in (first..=segment.last()).filter_map(|pos| segment.offset(pos)) {
        let at = u64::from(offset);
        record.resize(RECORD_HEADER, 0);
        segment.file.read_at(at, &mut record)?;
        let header = RecordHeader::read(&record, segment.salt);
        let length = header.map_or(0, |header| header.length as usize);
        record.resize(RECORD_HEADER + length, 0);
        let read = segment.file.read_at(at, &mut record)?;
        segment.file.write_at(at, record.get(..read).unwrap_or_default())?;
    }
    segment.file.sync()
}
