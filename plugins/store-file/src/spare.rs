//! The next segment, made before it is needed: a file of zeros that are written and synced, so that a commit changes
//! bytes only and no metadata. It is also the reserve that lets settling go on when the disk is full.

use crate::catalog::Segment;
use crate::disk::{Disk, DiskFile};
use crate::layout::{SegmentHeader, segment_name};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

const STEP: usize = 1 << 20;

/// A file of zeros that is not a segment yet.
pub struct Spare {
    name: String,
    file: Box<dyn DiskFile>,
}

impl Spare {
    /// Writes one. None when it was stopped.
    pub fn prepare(
        disk: &dyn Disk,
        nth: u64,
        capacity: u64,
        stop: &AtomicBool,
    ) -> io::Result<Option<Self>> {
        // Another name each time: the one before may still be on its way to becoming a segment.
        let name = format!("spare-{nth}.tmp");
        let file = disk.create(&name)?;
        match fill(&*file, capacity, stop) {
            Ok(true) => Ok(Some(Self { name, file })),
            Ok(false) => Ok(None),
            Err(error) => {
                // Half a spare only takes room; if even that fails, the next start sweeps it away.
                let _ = disk.remove(&name);
                Err(error)
            }
        }
    }

    /// Makes it a segment. The manifest has to list it before anything is written to it.
    pub fn begin(self, disk: &dyn Disk, header: SegmentHeader) -> io::Result<Arc<Segment>> {
        let name = segment_name(header.first);
        self.file.write_at(0, &header.to_bytes())?;
        self.file.sync()?;
        disk.rename(&self.name, &name)?;
        disk.sync_dir("")?;
        let segment = Segment::new((header.first, name), self.file, header.capacity, header.salt);
        Ok(Arc::new(segment))
    }
}

fn fill(file: &dyn DiskFile, capacity: u64, stop: &AtomicBool) -> io::Result<bool> {
    let zeros = vec![0; STEP];
    let mut at = 0;
    while at < capacity {
        if stop.load(Ordering::Acquire) {
            return Ok(false);
        }
        let count = usize::try_from(capacity - at).unwrap_or(STEP).min(STEP);
        file.write_at(at, zeros.get(..count).unwrap_or_default())?;
        at += count as u64;
    }
    file.sync()?;
    Ok(true)
}

/// A thread that always has one ready.
pub struct Spares {
    ready: Option<Receiver<io::Result<Spare>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Spares {
    /// Begins with the first one.
    pub fn start(disk: Arc<dyn Disk>, capacity: u64) -> io::Result<Self> {
        // Without room: a spare waits in the hand of its maker, and so there is one at most.
        let (sender, ready) = sync_channel(0);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("journal-spare".into())
            .spawn(move || prepare_all(&*disk, capacity, &stopped, &sender))?;
        Ok(Self { ready: Some(ready), stop, thread: Some(thread) })
    }

    /// The next one. What failed earlier is tried once more: there may be room by now.
    pub fn take(&self) -> io::Result<Spare> {
        let gone = || io::Error::other("no spare segment is made any more");
        let ready = self.ready.as_ref().ok_or_else(gone)?;
        match ready.recv().map_err(|_| gone())? {
            Ok(spare) => Ok(spare),
            Err(_) => ready.recv().map_err(|_| gone())?,
        }
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.ready = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell: a panic in it was reported where it happened.
            let _ = thread.join();
        }
    }
}

fn prepare_all(
    disk: &dyn Disk,
    capacity: u64,
    stop: &AtomicBool,
    sender: &SyncSender<io::Result<Spare>>,
) {
    for nth in 1.. {
        let Some(spare) = Spare::prepare(disk, nth, capacity, stop).transpose() else { return };
        if sender.send(spare).is_err() {
            return;
        }
    }
}
