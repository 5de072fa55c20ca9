//! The next segment, made before it is needed: a file of zeros that are written and synced, so that a commit changes
//! bytes only and no metadata. A thread has one ready; when the disk is full it tries again until there is room.

use crate::catalog::{Segment, lock};
use crate::disk::{Disk, DiskFile, is_full, sync_names};
use crate::layout::{ALIGN, FIRST_RECORD, SegmentHeader, record_bytes, segment_name};
use crate::reserve::Reserve;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const STEP: usize = 1 << 20;
/// A segment is no smaller, however short room is.
const LEAST: u64 = 1 << 20;

/// Until a spare is tried again; tests do not wait so long.
const RETRY: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 250 });
/// The same, while the writer waits for it.
const RETRY_NEEDED: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 100 });
/// Until the reserve is looked at again: while there is no room for it, and after a failure.
const LOOK: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 2000 });
const LOOK_FAILED: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 30_000 });

/// A file of zeros that is not a segment yet.
pub struct Spare {
    name: String,
    file: Box<dyn DiskFile>,
    /// Bytes of it.
    pub capacity: u64,
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
            Ok(true) => Ok(Some(Self { name, file, capacity })),
            made => {
                // Half a spare only takes room; if even that fails, the next start sweeps it away.
                let _ = disk.remove(&name);
                made.map(|_| None)
            }
        }
    }

    /// Makes it a segment. The manifest has to list it before anything is written to it.
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

/// Writes zeros and syncs them; false when it was stopped.
pub fn fill(file: &dyn DiskFile, capacity: u64, stop: &AtomicBool) -> io::Result<bool> {
    let step = usize::try_from(capacity).unwrap_or(STEP).min(STEP);
    let zeros = vec![0; step];
    let mut at = 0;
    while at < capacity {
        if stop.load(Ordering::Acquire) {
            return Ok(false);
        }
        let count = usize::try_from(capacity - at).unwrap_or(step).min(step);
        file.write_at(at, zeros.get(..count).unwrap_or_default())?;
        at += count as u64;
    }
    file.sync()?;
    Ok(true)
}

/// Where the writer gets its next segment.
pub trait Supply: Send {
    /// The next one, which is needed now. None: it is being made. An error: it will be tried again.
    fn take(&mut self) -> io::Result<Option<Spare>>;
}

/// Makes spares, one after the other.
pub struct Maker {
    disk: Arc<dyn Disk>,
    reserve: Arc<Reserve>,
    capacity: u64,
    /// Bytes of a segment at least: what the largest entry needs.
    least: u64,
    nth: u64,
}

impl Maker {
    /// Of this size, while there is room for it.
    pub fn new(
        disk: Arc<dyn Disk>,
        reserve: Arc<Reserve>,
        capacity: u64,
        max_entry: usize,
    ) -> Self {
        let least = (FIRST_RECORD + record_bytes(max_entry)).max(LEAST.min(capacity));
        Self { disk, reserve, capacity, least, nth: 0 }
    }

    /// The next. When it is needed and the disk is full, the reserve is given up, and a smaller one will do.
    pub fn make(&mut self, needed: bool, stop: &AtomicBool) -> io::Result<Option<Spare>> {
        let mut made = self.make_of(self.capacity, stop);
        let no_room = |made: &io::Result<_>| made.as_ref().is_err_and(is_full);
        if needed && no_room(&made) && self.reserve.release() {
            made = self.make_of(self.capacity, stop);
        }
        let mut capacity = self.capacity;
        while needed && no_room(&made) {
            capacity = capacity / 2 / ALIGN * ALIGN;
            if capacity < self.least {
                break;
            }
            made = self.make_of(capacity, stop);
        }
        made
    }

    fn make_of(&mut self, capacity: u64, stop: &AtomicBool) -> io::Result<Option<Spare>> {
        // The last bytes of a disk are not taken only to find that they do not suffice.
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

/// A thread that always has one ready, and the reserve in place.
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
    /// Begins with the first one.
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
            // Under the lock: who is about to wait sees it.
            let _stock = lock(&self.shelf.now);
            self.shelf.stop.store(true, Ordering::Release);
            self.shelf.changed.notify_all();
        }
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell: a panic in it was reported where it happened.
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
            // Woken early when there is something new to do.
            let _ = self.shelf.changed.wait_timeout_while(stock, nap, |stock| {
                let taken = !empty && stock.ready.is_none();
                let urgent = !needed && stock.needed;
                !(taken || urgent || self.shelf.stop.load(Ordering::Acquire))
            });
        }
    }

    /// Puts a spare on the shelf. How long to wait then.
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

    /// Sees to the reserve. How long to wait then.
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
