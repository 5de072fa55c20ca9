//! Copies what was captured of a store into an empty folder, and reads every copy back: a file counts as copied when
//! its checksums say the same of the copy as of the original. Damage that the store has is copied as it is, and
//! reported: it is no reason to have no backup. Files that an earlier backup has whole are taken from there.
//!
//! The manifest comes last, so a folder without one is nothing.

use super::capture::Capture;
use super::{BackupError, Copied};
use crate::disk::{DiskFile, is_full};
use crate::layout::{segment_name, snapshot_name};
use crate::manifest::{Listed, MANIFEST, Manifest, SegmentEnd};
use crate::snapshot;
use crate::survey::{SegmentRead, Survey};
use crate::verify::Finding;
use crate::window::{BLOCK, Window};
use crossdock_core::store::Pos;
use std::io;

/// Bytes after which a copy is synced: what is written at once holds up the journal's own syncs that long.
const SYNC_BYTES: usize = 4 << 20;

/// Damage in the segment that is written to counts when it is found this many times: a record that is being written
/// while it is read looks damaged once.
const PASSES: u32 = 3;

/// Where a copy goes.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    pub survey: Survey<'a>,
    /// Bytes of its disk that are left free; 0: it may be filled.
    pub leave_free: u64,
    /// Blocks of zeros are left out of the files, which take less room so. A store needs them written.
    pub sparse: bool,
}

/// An earlier copy of the same store.
pub struct Earlier<'a> {
    pub survey: Survey<'a>,
    pub manifest: Manifest,
    /// Makes a file of it a file of the new copy too, under the same name.
    pub link: &'a dyn Fn(&str) -> io::Result<()>,
}

/// Copies everything.
pub fn copy(
    source: Survey<'_>,
    capture: &Capture,
    target: Target<'_>,
    earlier: Option<&Earlier<'_>>,
) -> Result<Copied, BackupError> {
    let mut copy = Copy { source, capture, target, earlier, done: Copied::default() };
    for (upto, file) in &capture.snapshots {
        copy.snapshot(*upto, &**file)?;
    }
    for nth in 0..capture.segments.len() {
        copy.segment(nth)?;
    }
    // It syncs the names of all files, too.
    copy.written(MANIFEST, capture.manifest.store(target.survey.disk))?;
    match Manifest::load(target.survey.disk) {
        Ok(Some(Ok(manifest))) if manifest == capture.manifest => Ok(copy.done),
        _ => Err(copy.differs(MANIFEST)),
    }
}

struct Copy<'a> {
    source: Survey<'a>,
    capture: &'a Capture,
    target: Target<'a>,
    earlier: Option<&'a Earlier<'a>>,
    done: Copied,
}

impl Copy<'_> {
    /// The segment at this index of the manifest.
    fn segment(&mut self, nth: usize) -> Result<(), BackupError> {
        let manifest = &self.capture.manifest;
        let Some(listed) = manifest.segments.get(nth).copied() else { return Ok(()) };
        let name = segment_name(listed.first);
        let Some(Some(original)) = self.capture.segments.get(nth) else {
            let reason = "it is missing".to_owned();
            self.done.damage.push(Finding::Segment { segment: name, reason });
            return Ok(());
        };
        if self.reuse_segment(listed, &name) {
            return Ok(());
        }
        let size = self.source.at(&name, original.size())?;
        let read = match listed.end {
            SegmentEnd::Sealed { .. } => None,
            _ => Some(self.original(&**original, (&name, nth))?),
        };
        let bytes = match (&read, listed.end) {
            (Some(read), SegmentEnd::Open { .. }) => read.found.end,
            _ => size,
        };
        self.file(&name, &**original, (bytes, size))?;
        let file = self.written(&name, self.target.survey.disk.open(&name))?;
        let copied = self.target.survey.read_segment(&*file, manifest, nth)?;
        self.reaches(&copied, listed);
        if read.is_none() && is_whole(&copied) {
            return Ok(());
        }
        let read = match read {
            Some(read) => read,
            None => self.source.read_segment(&**original, manifest, nth)?,
        };
        if read != copied {
            return Err(self.differs(&name));
        }
        self.report(&name, &copied);
        Ok(())
    }

    /// What a segment holds whose end the manifest does not say.
    fn original(
        &self,
        file: &dyn DiskFile,
        (name, nth): (&str, usize),
    ) -> Result<SegmentRead, BackupError> {
        let mut passes = 0;
        loop {
            passes += 1;
            let read = self.source.read_segment(file, &self.capture.manifest, nth)?;
            if read.found.is_blind {
                let source = io::Error::other("bytes of it cannot be read");
                return Err(BackupError::Io { file: self.source.dir.join(name), source });
            }
            if read.found.damage.is_empty() || passes == PASSES {
                return Ok(read);
            }
        }
    }

    /// Takes a sealed segment from the earlier backup, if it is the same one and whole there. Whatever fails there, the
    /// segment is copied.
    fn reuse_segment(&mut self, listed: Listed, name: &str) -> bool {
        let Some(earlier) = self.earlier else { return false };
        let SegmentEnd::Sealed { last, .. } = listed.end else { return false };
        let place = earlier.manifest.segments.binary_search_by_key(&listed.first, |l| l.first);
        let same = |nth: &usize| {
            earlier.manifest.segments.get(*nth) == Some(&listed)
                && earlier.manifest.salt == self.capture.manifest.salt
        };
        let Some(nth) = place.ok().filter(same) else { return false };
        let Ok(file) = earlier.survey.disk.open(name) else { return false };
        let read = earlier.survey.read_segment(&*file, &earlier.manifest, nth);
        let size = file.size().unwrap_or(0);
        if !read.is_ok_and(|read| is_whole(&read) && read.capacity <= size) {
            return false;
        }
        self.reuse(earlier, name, size) && {
            self.done.upto = Pos(self.done.upto.0.max(last));
            true
        }
    }

    fn snapshot(&mut self, upto: u64, original: &dyn DiskFile) -> Result<(), BackupError> {
        let name = snapshot_name(upto);
        self.done.upto = Pos(self.done.upto.0.max(upto));
        let (size, sum) = self.source.at(&name, snapshot::mark(original))?;
        if let Some(earlier) = self.earlier
            && let Ok(file) = earlier.survey.disk.open(&name)
            && snapshot::mark(&*file).is_ok_and(|mark| mark == (size, sum))
            && snapshot::whole(&*file, upto).is_ok()
            && self.reuse(earlier, &name, size)
        {
            return Ok(());
        }
        self.file(&name, original, (size, size))?;
        let file = self.written(&name, self.target.survey.disk.open(&name))?;
        if let Err(error) = snapshot::whole(&*file, upto) {
            if snapshot::whole(original, upto).is_ok() {
                return Err(self.differs(&name));
            }
            let reason = format!("{name}: {error}");
            self.done.damage.push(Finding::Snapshot { upto: Pos(upto), reason });
        }
        Ok(())
    }

    /// Makes a file of the earlier backup one of this, too; false where the disk does not do that.
    fn reuse(&mut self, earlier: &Earlier<'_>, name: &str, size: u64) -> bool {
        let linked = (earlier.link)(name).is_ok();
        if linked {
            self.done.reused_files += 1;
            self.done.reused_bytes += size;
        }
        linked
    }

    /// Copies the first bytes of a file into one of this size, and syncs it.
    fn file(
        &mut self,
        name: &str,
        from: &dyn DiskFile,
        (bytes, size): (u64, u64),
    ) -> Result<(), BackupError> {
        self.written(name, self.has_room(bytes))?;
        let into = self.written(name, self.target.survey.disk.create(name))?;
        // What cannot be read is zeros in the copy; the checksums say then what that costs.
        let mut window = Window::lenient(BLOCK);
        let zeros = if self.target.sparse { Vec::new() } else { vec![0; BLOCK] };
        let (mut at, mut unsynced) = (0, 0);
        while at < size {
            let count = (size - at).min(BLOCK as u64);
            let filled = bytes.saturating_sub(at).min(count);
            let read = self.source.at(name, window.bytes(from, at..at + filled))?;
            if !self.target.sparse || read.iter().any(|byte| *byte != 0) {
                self.written(name, into.write_at(at, read))?;
                unsynced += read.len();
            }
            if unsynced >= SYNC_BYTES {
                self.written(name, into.sync())?;
                unsynced = 0;
            }
            let rest = usize::try_from(count).ok().and_then(|count| zeros.get(read.len()..count));
            if let Some(rest) = rest {
                self.written(name, into.write_at(at + read.len() as u64, rest))?;
            }
            at += count;
        }
        // It gives a file its size whose end was left out.
        if self.written(name, into.size())? < size {
            self.written(name, into.write_at(size - 1, &[0]))?;
        }
        self.written(name, into.sync())?;
        self.done.copied_files += 1;
        self.done.copied_bytes += bytes;
        Ok(())
    }

    /// An error as of a full disk when a file of this size would take what is to be left free.
    fn has_room(&self, bytes: u64) -> io::Result<()> {
        if self.target.leave_free == 0 {
            return Ok(());
        }
        match self.target.survey.disk.space()? {
            Some(space) if space.free < bytes.saturating_add(self.target.leave_free) => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    /// Notes how far the copy goes.
    fn reaches(&mut self, read: &SegmentRead, listed: Listed) {
        let counted =
            listed.first.saturating_add(read.found.offsets.len() as u64).saturating_sub(1);
        let last = match listed.end {
            SegmentEnd::Sealed { last, .. } => last,
            _ => counted,
        };
        self.done.upto = Pos(self.done.upto.0.max(last));
    }

    /// Notes the damage that the store has.
    fn report(&mut self, name: &str, read: &SegmentRead) {
        let segment = || name.to_owned();
        if read.header.is_none() {
            let reason = "its header is damaged".to_owned();
            self.done.damage.push(Finding::Segment { segment: segment(), reason });
        }
        for lost in &read.found.damage {
            let entries = Pos(lost.start)..Pos(lost.end);
            self.done.damage.push(Finding::Entries { segment: segment(), entries });
        }
        for at in &read.found.odd {
            self.done.damage.push(Finding::Odd { segment: segment(), at: Pos(*at) });
        }
    }

    /// The outcome of a call to the disk of the copy.
    fn written<T>(&self, name: &str, result: io::Result<T>) -> Result<T, BackupError> {
        result.map_err(|source| match is_full(&source) {
            true => BackupError::Full { into: self.target.survey.dir.to_owned() },
            false => BackupError::Io { file: self.target.survey.dir.join(name), source },
        })
    }

    fn differs(&self, name: &str) -> BackupError {
        BackupError::Differs { file: self.target.survey.dir.join(name) }
    }
}

/// Whether nothing in a segment is damaged.
fn is_whole(read: &SegmentRead) -> bool {
    read.header.is_some() && read.found.damage.is_empty() && read.found.odd.is_empty()
}
