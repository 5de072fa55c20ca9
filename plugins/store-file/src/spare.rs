//! The next segment, made before it is needed: a file of zeros that are written and synced, so that a commit changes
//! bytes only and no metadata. A thread keeps one ready; while the disk is full it tries again and again.

use crate::catalog::{Segment, lock};
use crate::disk::{Disk, DiskFile, is_full, sync_names};
use crate::layout::{ALIGN, FIRST_RECORD, SegmentHeader, record_bytes, segment_name};
use crate::reserve::Reserve;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Zeros that are written at once. Not allocated: what a thread has freed before it goes to sleep stays with it.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
/// The smallest segment, in bytes, that is made when the disk is nearly full.
const SEGMENT_BYTES_LEAST: u64 = 1 << 20;

/// Pause before the next attempt to make a spare; short in tests.
const RETRY: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 250 });
/// The same pause while the writer waits for the spare.
const RETRY_NEEDED: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 100 });
/// Pause before the next attempt to make the reserve: while the disk is too full for it, and after a failure.
const LOOK: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 2000 });
const LOOK_FAILED: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 30_000 });

/// A file of zeros that has not become a segment yet.
pub struct Spare {
    name: String,
    file: Box<dyn DiskFile>,
    /// Size of the file in bytes.
    pub capacity: u64,
}

impl Spare {
    /// Writes a spare. None when `stop` was set meanwhile.
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
            Ok(true) => Ok(Some(Self { name, file, capacity })),
            made => {
                // A half-written spare only takes disk space; if deleting it fails as well, the next start deletes it.
                let _ = disk.remove(&name);
                made.map(|_| None)
            }
        }
    }

    /// Turns the file into a segment. The manifest has to list it before anything is written to it.
    pub fn begin(self, disk: &dyn Disk, header: SegmentHeader) -> io::Result<Arc<Segment>> {
        let name = segment_name(header.first);
        let header = SegmentHeader { capacity: self.capacity, ..header };
        let written = self.file.write_at(0, &header.to_bytes()).and_then(|()| self.file.sync());
        if let Err(error) = written.and_then(|()| disk.rename(&self.name, &name)) {
            let _ = disk.remove(&self.name);
            return Err(error);
        }
        sync_names(disk)?;
        let segment = Segment::new((header.first, name), self.file, header.capacity, header.salt);
        Ok(Arc::new(segment))
    }
}

/// Writes zeros and syncs them; false when `stop` was set meanwhile.
pub fn fill(file: &dyn DiskFile, capacity: u64, stop: &AtomicBool) -> io::Result<bool> {
    let mut at = 0;
    while at < capacity {
        if stop.load(Ordering::Acquire) {
            return Ok(false);
        }
        let left = usize::try_from(capacity - at).unwrap_or(usize::MAX);
        let zeros = ZEROS.get(..left).unwrap_or(&ZEROS);
        file.write_at(at, zeros)?;
        at += zeros.len() as u64;
    }
    file.sync()?;
    Ok(true)
}

/// Source of the writer's next segment.
pub trait Supply: Send {
    /// The next spare, which is needed now. None: it is still being made. An error: another attempt follows.
    fn take(&mut self) -> io::Result<Option<Spare>>;
}

/// Makes spares, one after another.
pub struct Maker {
    disk: Arc<dyn Disk>,
    reserve: Arc<Reserve>,
    capacity: u64,
    /// Smallest usable size of a segment in bytes: what the largest entry needs.
    least: u64,
    nth: u64,
}

impl Maker {
    /// Makes spares of `capacity` bytes while the disk has space for them.
    pub fn new(
        disk: Arc<dyn Disk>,
        reserve: Arc<Reserve>,
        capacity: u64,
        max_entry: usize,
    ) -> Self {
        let least = (FIRST_RECORD + record_bytes(max_entry)).max(SEGMENT_BYTES_LEAST.min(capacity));
        Self { disk, reserve, capacity, least, nth: 0 }
    }

    /// Makes the next spare. If it is needed and the disk is full, gives up the reserve and makes a smaller spare.
    pub fn make(&mut self, needed: bool, stop: &AtomicBool) -> io::Result<Option<Spare>> {
        let mut made = self.make_of(self.capacity, stop);
        let is_out_of_space = |made: &io::Result<_>| made.as_ref().is_err_and(is_full);
        if needed && is_out_of_space(&made) && self.reserve.release() {
            made = self.make_of(self.capacity, stop);
        }
        let mut capacity = self.capacity;
        while needed && is_out_of_space(&made) {
            capacity = capacity / 2 / ALIGN * ALIGN;
            if capacity < self.least {
                break;
            }
            made = self.make_of(capacity, stop);
        }
        made
    }

    fn make_of(&mut self, capacity: u64, stop: &AtomicBool) -> io::Result<Option<Spare>> {
        // Checked first, so that the last bytes of a disk are not used up by an attempt that cannot succeed.
        if self.disk.space()?.is_some_and(|space| space.free < capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.nth += 1;
        Spare::prepare(&*self.disk, self.nth, capacity, stop)
    }
}

/// On one thread, for tests.
#[cfg(test)]
impl Supply for Maker {
    fn take(&mut self) -> io::Result<Option<Spare>> {
        self.make(true, &AtomicBool::new(false))
    }
}

/// A thread that keeps one spare ready and the reserve in place.
pub struct Workshop {
    shelf: Arc<Shelf>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shelf {
    now: Mutex<Stock>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct Stock {
    ready: Option<Spare>,
    /// The writer waits for the next one.
    needed: bool,
    /// Why it still waits.
    failure: Option<io::Error>,
}

impl Workshop {
    /// Starts the thread, which makes the first spare.
    pub fn start(maker: Maker) -> io::Result<Self> {
        let shelf = Arc::new(Shelf::default());
        let work = Work { maker, shelf: shelf.clone(), failing: false };
        let thread =
            std::thread::Builder::new().name("journal-spare".into()).spawn(move || work.run())?;
        Ok(Self { shelf, thread: Some(thread) })
    }
}

impl Supply for Workshop {
    fn take(&mut self) -> io::Result<Option<Spare>> {
        let mut stock = lock(&self.shelf.now);
        if stock.ready.is_none() && stock.failure.is_none() {
            stock.needed = true;
            self.shelf.changed.notify_all();
            let waited = self.shelf.changed.wait_timeout_while(stock, RETRY_NEEDED, |stock| {
                stock.ready.is_none() && stock.failure.is_none()
            });
            stock = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        let spare = stock.ready.take();
        if let (None, Some(failure)) = (&spare, stock.failure.take()) {
            return Err(failure);
        }
        if spare.is_none() && self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(io::Error::other("the thread that makes segments has ended"));
        }
        stock.needed &= spare.is_none();
        self.shelf.changed.notify_all();
        Ok(spare)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        {
            // Set under the lock, so that a thread that is about to wait sees it.
            let _stock = lock(&self.shelf.now);
            self.shelf.stop.store(true, Ordering::Release);
            self.shelf.changed.notify_all();
        }
        if let Some(thread) = self.thread.take() {
            // The result is ignored: a panic in the thread was reported where it happened.
            let _ = thread.join();
        }
    }
}

struct Work {
    maker: Maker,
    shelf: Arc<Shelf>,
    failing: bool,
}

impl Work {
    fn run(mut self) {
        while !self.shelf.stop.load(Ordering::Acquire) {
            let (empty, needed) = {
                let stock = lock(&self.shelf.now);
                (stock.ready.is_none(), stock.needed)
            };
            let nap = if empty { self.restock(needed) } else { self.look() };
            let stock = lock(&self.shelf.now);
            // Woken early when a spare was taken, is needed, or the thread has to stop.
            let _ = self.shelf.changed.wait_timeout_while(stock, nap, |stock| {
                let taken = !empty && stock.ready.is_none();
                let urgent = !needed && stock.needed;
                !(taken || urgent || self.shelf.stop.load(Ordering::Acquire))
            });
        }
    }

    /// Makes a spare. Returns the pause before the next attempt.
    fn restock(&mut self, needed: bool) -> Duration {
        match self.maker.make(needed, &self.shelf.stop) {
            Ok(spare) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the next journal segment can be created again");
                }
                lock(&self.shelf.now).ready = spare;
                self.shelf.changed.notify_all();
                Duration::ZERO
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(
                        %error,
                        "cannot create the next journal segment ahead of time; trying again"
                    );
                }
                if !needed {
                    return RETRY;
                }
                lock(&self.shelf.now).failure = Some(error);
                self.shelf.changed.notify_all();
                RETRY_NEEDED
            }
        }
    }

    /// Makes the reserve if it is missing. Returns the pause before the next look.
    fn look(&self) -> Duration {
        match self.maker.reserve.restore(&self.shelf.stop) {
            Ok(_) => LOOK,
            Err(error) => {
                tracing::debug!(%error, "cannot create the reserve file; trying again");
                LOOK_FAILED
            }
        }
    }
}
