//! Looking through a queue without touching it: what waits and what consumers have, in the order of delivery, a
//! slice at a time. Nothing is consumed, counted, marked or moved in its order, and pages at rest stay at rest. A
//! cursor says where the next slice begins; what came, went or was returned in between is seen or not, as its place
//! says.
//!
//! Whoever moves messages holds those of a slice first: a held record is given to nobody, and goes back to its old
//! place or leaves. It is held within one synchronous step only, so no end of a task can leave one behind.

use super::{Effects, Handle, LeftBy, Ready, Subscription};
use crate::error::{Error, ErrorKind};
use crate::log::{Offset, PAGE_RECORDS, Place, Record, RecordState};
use crate::message::{Message, Timestamp};
use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

/// Records that one slice looks at. Whoever appends to the queue meanwhile waits for it.
const LOOKS: usize = 1024;
/// Pages that one slice of a queue with priorities reads.
const PAGES: usize = 16;

/// Where a scan is. Its text is for whoever asks for the next page later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    stage: Stage,
    offset: Offset,
}

/// Which part of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Start,
    /// Without priorities: all of it, in one order.
    Log,
    /// With priorities: what is ready, the highest one first.
    Priority(u8),
    /// Behind that, what consumers have.
    Taken,
}

impl Cursor {
    /// Before the first message.
    pub const START: Cursor = Cursor { stage: Stage::Start, offset: Offset(0) };

    fn at(stage: Stage, offset: Offset) -> Self {
        Self { stage, offset }
    }

    /// Behind the message that is here.
    pub fn behind(self) -> Self {
        Self { offset: Offset(self.offset.0.saturating_add(1)), ..self }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stage {
            Stage::Start => f.write_str("start"),
            Stage::Log => write!(f, "{}", self.offset.0),
            Stage::Priority(priority) => write!(f, "p{priority}.{}", self.offset.0),
            Stage::Taken => write!(f, "u.{}", self.offset.0),
        }
    }
}

impl FromStr for Cursor {
    type Err = Error;

    /// What [`Cursor`] was written as. `Invalid`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let read = || {
            let (stage, offset) = match (text.strip_prefix('p'), text.strip_prefix("u.")) {
                _ if text == "start" => return Some(Self::START),
                (Some(rest), _) => {
                    let (priority, offset) = rest.split_once('.')?;
                    (Stage::Priority(priority.parse().ok()?), offset)
                }
                (_, Some(offset)) => (Stage::Taken, offset),
                (None, None) => (Stage::Log, text),
            };
            Some(Self::at(stage, Offset(offset.parse().ok()?)))
        };
        let wrong = "this is no place in a queue: write 'start', or what the page before named \
                     as the next one";
        read().ok_or_else(|| Error::new(ErrorKind::Invalid, wrong))
    }
}

/// What a scan is after.
#[derive(Debug, Clone, Copy)]
pub struct Scan {
    /// What consumers have is passed over, and a slice ends at a record that is on its way to the store: the next one
    /// begins there.
    pub only_ready: bool,
    /// It ends here: what came later is not its concern.
    pub upto: Offset,
    /// What is expired by then and waits is passed over.
    pub now: Timestamp,
    /// Records that one slice returns at most, and bytes of them; one is always returned.
    pub records: usize,
    pub bytes: u64,
}

/// A record as a scan found it.
#[derive(Debug, Clone)]
pub struct Scanned {
    /// Where it stands.
    pub at: Cursor,
    pub offset: Offset,
    /// Otherwise a consumer has it.
    pub is_ready: bool,
    /// Failed deliveries.
    pub attempts: u16,
    /// A consumer may have seen it already.
    pub redelivered: bool,
    /// Bytes that limits count.
    pub size: u32,
    pub place: Option<Place>,
    /// None: it is not in memory, and is read from its place.
    pub message: Option<Message>,
}

/// What one slice found.
#[derive(Debug, Default)]
pub struct Slice {
    pub found: Vec<Scanned>,
    /// Where the next slice begins; none: that was the last one.
    pub next: Option<Cursor>,
    bytes: u64,
}

impl Slice {
    fn has_room(&self, size: u32, scan: &Scan) -> bool {
        let bytes = self.bytes + u64::from(size);
        self.found.is_empty() || self.found.len() < scan.records && bytes <= scan.bytes
    }

    fn add(&mut self, scanned: Scanned) {
        self.bytes += u64::from(scanned.size);
        self.found.push(scanned);
    }
}

impl Subscription {
    /// The next slice from `from` on.
    pub fn scan(&self, from: Cursor, scan: &Scan) -> Slice {
        match (&self.ready, from.stage) {
            (Ready::Fifo { .. }, Stage::Start) => {
                self.scan_log(Cursor::at(Stage::Log, Offset(0)), scan)
            }
            (Ready::Fifo { .. }, _) => self.scan_log(Cursor { stage: Stage::Log, ..from }, scan),
            (Ready::ByPriority(_), Stage::Start | Stage::Log) => {
                self.scan_priorities((u8::MAX, Offset(0)), scan)
            }
            (Ready::ByPriority(_), Stage::Priority(priority)) => {
                self.scan_priorities((priority, from.offset), scan)
            }
            (Ready::ByPriority(_), Stage::Taken) => self.scan_log(from, scan),
        }
    }

    /// In the order of offsets. At [`Stage::Taken`], what consumers have only.
    fn scan_log(&self, from: Cursor, scan: &Scan) -> Slice {
        let (mut slice, mut looks) = (Slice::default(), 0);
        self.log.visit(from.offset, |offset, record| {
            if offset >= scan.upto {
                return ControlFlow::Break(());
            }
            let at = Cursor { offset, ..from };
            looks += 1;
            if looks > LOOKS {
                slice.next = Some(at);
                return ControlFlow::Break(());
            }
            if scan.only_ready && record.state == RecordState::Uncommitted {
                // What stands behind it must not overtake it.
                slice.next = Some(at);
                return ControlFlow::Break(());
            }
            let is_meant = from.stage == Stage::Log || record.state != RecordState::Ready;
            if is_meant && let Some(scanned) = self.scanned((at, record), scan) {
                if !slice.has_room(record.size, scan) {
                    slice.next = Some(at);
                    return ControlFlow::Break(());
                }
                slice.add(scanned);
            }
            ControlFlow::Continue(())
        });
        slice
    }

    /// What is ready, by priority and offset, and then what consumers have.
    fn scan_priorities(&self, from: (u8, Offset), scan: &Scan) -> Slice {
        let mut slice = Slice::default();
        let (mut wanted, mut pages, mut last_page) = (Vec::new(), 0, None);
        let behind = (!scan.only_ready).then_some(Cursor::at(Stage::Taken, Offset(0)));
        slice.next = behind;
        let most = scan.records.clamp(1, LOOKS);
        for (priority, offset) in self.ready.from(from).filter(|(_, o)| *o < scan.upto) {
            let page = Some((priority, offset.0 / PAGE_RECORDS));
            pages += usize::from(page != last_page);
            last_page = page;
            if wanted.len() >= most || pages > PAGES {
                slice.next = Some(Cursor::at(Stage::Priority(priority), offset));
                break;
            }
            wanted.push((priority, offset));
        }
        let is_near = |a: &(u8, Offset), b: &(u8, Offset)| {
            a.0 == b.0 && a.1.0 / PAGE_RECORDS == b.1.0 / PAGE_RECORDS
        };
        for run in wanted.chunk_by(is_near) {
            if !self.scan_run(run, scan, &mut slice) {
                break;
            }
        }
        slice
    }

    /// Some records of one page and one priority. False when the slice has no room for all of them.
    fn scan_run(&self, run: &[(u8, Offset)], scan: &Scan, slice: &mut Slice) -> bool {
        let (Some((priority, first)), Some((_, last))) = (run.first(), run.last()) else {
            return true;
        };
        let (mut rest, mut is_whole) = (run.iter().map(|(_, offset)| *offset).peekable(), true);
        self.log.visit(*first, |offset, record| {
            if offset > *last {
                return ControlFlow::Break(());
            }
            if rest.next_if_eq(&offset).is_none() {
                return ControlFlow::Continue(());
            }
            let at = Cursor::at(Stage::Priority(*priority), offset);
            if let Some(scanned) = self.scanned((at, record), scan) {
                if !slice.has_room(record.size, scan) {
                    slice.next = Some(at);
                    is_whole = false;
                    return ControlFlow::Break(());
                }
                slice.add(scanned);
            }
            ControlFlow::Continue(())
        });
        is_whole
    }

    /// None: it is not to be seen.
    fn scanned(&self, (at, record): (Cursor, &Record), scan: &Scan) -> Option<Scanned> {
        let is_ready = match record.state {
            RecordState::Ready => true,
            RecordState::InFlight(_) if !scan.only_ready => false,
            _ => return None,
        };
        if is_ready && record.expiry(self.rules.keeps_seen).is_some_and(|due| due <= scan.now) {
            return None;
        }
        let offset = at.offset;
        Some(Scanned {
            at,
            offset,
            is_ready,
            attempts: record.attempts,
            redelivered: self.log.is_old(offset) || record.seen || record.attempts > 0,
            size: record.size,
            place: record.place,
            message: record.message.clone(),
        })
    }

    /// Where that record's message is now; none: the record is gone.
    pub fn whereabouts(&self, offset: Offset) -> Option<(Option<Place>, Option<Message>)> {
        let mut found = None;
        self.log.visit(offset, |at, record| {
            if at == offset {
                found = Some((record.place, record.message.clone()));
            }
            ControlFlow::Break(())
        });
        found
    }

    /// Holds a record that is still ready and not expired: nobody gets it until it is let go or moved. False for any
    /// other.
    pub fn hold(&mut self, handle: Handle, offset: Offset, now: Timestamp) -> bool {
        let keeps_seen = self.rules.keeps_seen;
        let Some(record) = self.log.get_mut(offset) else { return false };
        let is_expired = record.expiry(keeps_seen).is_some_and(|due| due <= now);
        if record.state != RecordState::Ready || is_expired {
            return false;
        }
        record.state = RecordState::InFlight(handle.0);
        let (priority, counted) = (record.priority, record.counted);
        self.ready.take(offset, priority);
        self.count_out(counted);
        true
    }

    /// Held records go back to their old places, as if nothing had been.
    pub fn let_go(&mut self, handle: Handle, offsets: &[Offset]) {
        for offset in offsets {
            let Some(record) = self.log.get_mut(*offset) else { continue };
            if record.state == RecordState::InFlight(handle.0) {
                record.state = RecordState::Ready;
                let (priority, counted) = (record.priority, record.counted);
                self.ready.push(*offset, priority);
                self.count_in(*offset, counted);
            }
        }
    }

    /// Held records leave: they were moved elsewhere, or dropped.
    pub fn moved(&mut self, handle: Handle, (offsets, by): (&[Offset], LeftBy), out: &mut Effects) {
        for offset in offsets {
            let is_held = |record: &Record| record.state == RecordState::InFlight(handle.0);
            if let Some(record) = self.log.remove_if(*offset, is_held) {
                self.gone(*offset, &record, by, out);
            }
        }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
