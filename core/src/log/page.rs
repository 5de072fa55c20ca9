//! Records in pages of [`PAGE_RECORDS`].
//!
//! ```text
//!            ┌ committed ┐
//! Uncommitted ──────────► Ready ◄──── returned ────┐
//!      │ failed             │ dispatched            │
//!      ▼                    ▼                       │
//!    (gone)              InFlight ──────────────────┘
//!                           │ settled, moved            (moved without its message in memory: Doomed, then gone)
//!                           ▼
//!                         (gone)
//! ```

use super::Offset;
use crate::exchange::Tags;
use crate::message::{Message, Reason, Timestamp};
use std::collections::VecDeque;
use std::sync::Arc;

/// Records of one page.
pub const PAGE_RECORDS: u64 = 1024;

/// Where a stored record is: position of its entry in the journal, and its index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    pub pos: u64,
    pub index: u32,
}

/// What may happen to a record next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its store entry is on the way: not to be delivered.
    Uncommitted,
    Ready,
    /// With that consumer.
    InFlight(u32),
    /// Rejected while its message was not in memory: it leaves as soon as that is back.
    Doomed,
}

/// One record.
#[derive(Debug)]
pub struct Record {
    /// None: evicted; it comes back from its place.
    pub message: Option<Message>,
    pub tags: Tags,
    pub state: State,
    /// Failed deliveries.
    pub attempts: u16,
    /// Somebody may have seen it.
    pub seen: bool,
    /// Set when stored.
    pub place: Option<Place>,
    /// Its removal has to be stored: a durable message in a durable queue.
    pub durable: bool,
    /// Priority that orders it; 0 where the queue has none.
    pub priority: u8,
    /// Bytes that limits and credit count.
    pub size: u32,
    pub expires: Option<Timestamp>,
    /// Of a doomed record.
    pub doom: Option<Doom>,
}

/// Why a record has to leave, and the consumer's words.
pub type Doom = Box<(Reason, Option<Arc<str>>)>;

#[derive(Debug)]
struct Page {
    slots: Vec<Option<Record>>,
    live: usize,
}

impl Page {
    fn new() -> Box<Self> {
        Box::new(Self { slots: Vec::new(), live: 0 })
    }
}

/// Records in offset order.
#[derive(Debug, Default)]
pub struct Log {
    /// Number of the first page kept.
    first: u64,
    /// None: nothing in that page lives.
    pages: VecDeque<Option<Box<Page>>>,
    next: u64,
    live: u64,
    bytes: u64,
    /// Living records that will expire.
    expiring: u64,
}

impl Log {
    /// An empty log whose next record gets this offset.
    pub fn starting_at(next: Offset) -> Self {
        let first = next.0 / PAGE_RECORDS;
        Self { first, pages: VecDeque::new(), next: next.0, live: 0, bytes: 0, expiring: 0 }
    }

    /// The offset of the next record.
    pub fn next(&self) -> Offset {
        Offset(self.next)
    }

    /// Living records.
    pub fn len(&self) -> u64 {
        self.live
    }

    /// True when nothing lives.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Bytes of living records.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True when some living record will expire.
    pub fn has_expiring(&self) -> bool {
        self.expiring > 0
    }

    /// Appends a record.
    pub fn push(&mut self, record: Record) -> Offset {
        let offset = Offset(self.next);
        self.put(offset, record);
        offset
    }

    /// Puts a record at its offset (recovery). An offset that is taken, or whose page is gone, is left alone.
    pub fn put(&mut self, offset: Offset, record: Record) {
        self.next = self.next.max(offset.0 + 1);
        let Some(index) = (offset.0 / PAGE_RECORDS).checked_sub(self.first) else { return };
        let (index, slot) = (index as usize, (offset.0 % PAGE_RECORDS) as usize);
        while self.pages.len() <= index {
            self.pages.push_back(None);
        }
        let page = self.pages[index].get_or_insert_with(Page::new);
        while page.slots.len() <= slot {
            page.slots.push(None);
        }
        if page.slots[slot].is_none() {
            self.bytes += u64::from(record.size);
            self.expiring += u64::from(record.expires.is_some());
            self.live += 1;
            page.live += 1;
            page.slots[slot] = Some(record);
        }
    }

    /// No record before `next` comes any more.
    pub fn skip_to(&mut self, next: Offset) {
        self.next = self.next.max(next.0);
    }

    /// The record at that offset.
    pub fn get(&self, offset: Offset) -> Option<&Record> {
        let index = (offset.0 / PAGE_RECORDS).checked_sub(self.first)?;
        let page = self.pages.get(index as usize)?.as_ref()?;
        page.slots.get((offset.0 % PAGE_RECORDS) as usize)?.as_ref()
    }

    /// The record at that offset.
    pub fn get_mut(&mut self, offset: Offset) -> Option<&mut Record> {
        let index = (offset.0 / PAGE_RECORDS).checked_sub(self.first)?;
        let page = self.pages.get_mut(index as usize)?.as_mut()?;
        page.slots.get_mut((offset.0 % PAGE_RECORDS) as usize)?.as_mut()
    }

    /// Takes a record out; its page goes with its last one.
    pub fn remove(&mut self, offset: Offset) -> Option<Record> {
        let index = (offset.0 / PAGE_RECORDS).checked_sub(self.first)? as usize;
        let page = self.pages.get_mut(index)?.as_mut()?;
        let record = page.slots.get_mut((offset.0 % PAGE_RECORDS) as usize)?.take()?;
        page.live -= 1;
        self.live -= 1;
        self.bytes -= u64::from(record.size);
        self.expiring -= u64::from(record.expires.is_some());
        let is_last = self.first + index as u64 == self.next / PAGE_RECORDS;
        if page.live == 0 && !is_last {
            self.pages[index] = None;
            while let Some(None) = self.pages.front() {
                self.pages.pop_front();
                self.first += 1;
            }
        }
        Some(record)
    }

    /// The first living record at `from` or behind it. Empty pages are skipped whole.
    pub fn first_from(&self, from: Offset) -> Option<Offset> {
        let mut at = from.0.max(self.first * PAGE_RECORDS);
        while at < self.next {
            let index = (at / PAGE_RECORDS - self.first) as usize;
            if let Some(Some(page)) = self.pages.get(index) {
                let slot = (at % PAGE_RECORDS) as usize;
                let rest = page.slots.get(slot..).unwrap_or_default();
                if let Some(skip) = rest.iter().position(Option::is_some) {
                    return Some(Offset(at + skip as u64));
                }
            }
            at = (at / PAGE_RECORDS + 1) * PAGE_RECORDS;
        }
        None
    }

    /// Living records from `from` on.
    pub fn iter_from(&self, from: Offset) -> impl Iterator<Item = (Offset, &Record)> {
        let mut at = from;
        std::iter::from_fn(move || {
            let found = self.first_from(at)?;
            at = Offset(found.0 + 1);
            self.get(found).map(|record| (found, record))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(size: u32) -> Record {
        Record {
            message: None,
            tags: Tags::default(),
            state: State::Ready,
            attempts: 0,
            seen: false,
            place: None,
            durable: false,
            priority: 0,
            size,
            expires: None,
            doom: None,
        }
    }

    #[test]
    fn pages_go_when_nothing_in_them_lives() {
        let mut log = Log::default();
        let count = 3 * PAGE_RECORDS + 5;
        for i in 0..count {
            assert_eq!(log.push(record(1)), Offset(i));
        }
        for i in 1..2 * PAGE_RECORDS {
            log.remove(Offset(i)).expect("living");
        }
        assert_eq!((log.len(), log.bytes()), (count - 2 * PAGE_RECORDS + 1, log.len()));
        assert_eq!(log.pages.iter().filter(|p| p.is_some()).count(), 3, "the second page is gone");
        assert_eq!(log.first_from(Offset(1)), Some(Offset(2 * PAGE_RECORDS)));
        log.remove(Offset(0)).expect("living");
        assert_eq!((log.first, log.pages.len()), (2, 2));
        assert!(log.get(Offset(0)).is_none() && log.remove(Offset(5)).is_none());
        let left: Vec<Offset> = log.iter_from(Offset(0)).map(|(o, _)| o).collect();
        assert_eq!(left.len() as u64, log.len());
        for offset in left {
            log.remove(offset).expect("living");
        }
        assert!(log.is_empty() && log.first_from(Offset(0)).is_none());
        assert_eq!(log.push(record(1)), Offset(count));
        assert_eq!(log.first_from(Offset(0)), Some(Offset(count)));
    }

    #[test]
    fn recovery_puts_records_where_they_were() {
        let mut log = Log::starting_at(Offset(5000));
        log.put(Offset(6000), record(3));
        log.put(Offset(6000), record(9));
        log.put(Offset(10), record(9));
        assert_eq!((log.len(), log.bytes(), log.next()), (1, 3, Offset(6001)));
        assert_eq!(log.first_from(Offset(0)), Some(Offset(6000)));
    }
}
