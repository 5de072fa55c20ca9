//! Records in pages of [`PAGE_RECORDS`]. A page whose records only wait for their turn is at rest: see `cold`.

use super::Offset;
use super::cold::Cold;
use super::hot::Hot;
use super::memory::{PageMemory, hot_bytes};
use super::record::{Place, Record, RecordState};
use crate::message::Budget;
use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Records of one page.
pub const PAGE_RECORDS: u64 = 1024;
/// Pages that a list always keeps its places for.
const PLACES_MIN: usize = 64;
#[derive(Debug)]
enum Page {
    /// Nothing in it lives.
    Gone,
    Hot(Hot),
    Cold(Box<Cold>),
}

impl Page {
    #[cold]
    fn thaw(&mut self, (hot_pages, number): (&mut VecDeque<u64>, u64), memory: &mut PageMemory) {
        let Page::Cold(cold) = self else { return };
        let (hot, cold) = (Hot::of(cold), cold.memory());
        memory.cold(cold, 0);
        memory.hot(0, hot.memory());
        *self = Page::Hot(hot);
        note_hot(hot_pages, number);
    }
}

/// The page of that number is in memory from now on.
fn note_hot(hot_pages: &mut VecDeque<u64>, number: u64) {
    match hot_pages.back() {
        Some(last) if *last > number => {
            if let Err(at) = hot_pages.binary_search(&number) {
                hot_pages.insert(at, number);
            }
        }
        _ => hot_pages.push_back(number),
    }
}

/// Records in offset order.
#[derive(Debug, Default)]
pub struct Log {
    /// Number of the first page kept.
    first: u64,
    pages: VecDeque<Page>,
    /// Numbers of the pages in memory, in their order.
    hot: VecDeque<u64>,
    memory: PageMemory,
    next: u64,
    live: u64,
    bytes: u64,
    counted: u64,
    /// Living records that will expire.
    expiring: u64,
    /// Records before it were there at the last start: consumers may have seen them.
    old: u64,
}

impl Log {
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

    /// The bytes of living records that length limits count.
    pub fn counted(&self) -> u64 {
        self.counted
    }

    /// True when some living record will expire.
    pub fn has_expiring(&self) -> bool {
        self.expiring > 0
    }

    /// What its pages take in memory counts against that budget from now on.
    pub fn charge_to(&mut self, budget: &Arc<Budget>) {
        self.memory.charge_to(budget);
    }

    /// True when some page is in memory.
    pub fn has_hot(&self) -> bool {
        !self.hot.is_empty()
    }

    /// All records so far are of an earlier start.
    pub fn grow_old(&mut self) {
        self.old = self.next;
    }

    /// It was there at the last start.
    pub fn is_old(&self, offset: Offset) -> bool {
        offset.0 < self.old
    }

    /// Appends a record.
    pub fn push(&mut self, record: Record) -> Offset {
        let offset = Offset(self.next);
        self.put(offset, record);
        offset
    }

    /// Puts a record at its offset (recovery). False when the offset is taken.
    pub fn put(&mut self, offset: Offset, record: Record) -> bool {
        self.next = self.next.max(offset.0 + 1);
        let slot = (offset.0 % PAGE_RECORDS) as usize;
        let Some(page) = self.page_for(offset.0 / PAGE_RECORDS) else { return false };
        let (size, counted, expires) = (record.size, record.counted, record.expires.is_some());
        let room = page.room();
        if !page.put(slot, record) {
            return false;
        }
        let room_now = page.room();
        if room_now != room {
            self.memory.hot(hot_bytes(room), hot_bytes(room_now));
        }
        self.bytes += u64::from(size);
        self.counted += u64::from(counted);
        self.expiring += u64::from(expires);
        self.live += 1;
        true
    }

    /// The page of that number in memory, made when there is none.
    fn page_for(&mut self, number: u64) -> Option<&mut Hot> {
        // Nearly always the last one.
        if number.wrapping_sub(self.first).wrapping_add(1) == self.pages.len() as u64
            && let Some(Page::Hot(_)) = self.pages.back()
        {
            return match self.pages.back_mut() {
                Some(Page::Hot(hot)) => Some(hot),
                _ => None,
            };
        }
        if self.pages.is_empty() {
            self.first = number;
        }
        while self.first > number {
            // Recovery reads records of one queue in nearly, not in exactly, their order.
            self.pages.push_front(Page::Gone);
            self.first -= 1;
        }
        let index = (number - self.first) as usize;
        let places = self.pages.capacity();
        while self.pages.len() <= index {
            self.pages.push_back(Page::Gone);
        }
        self.count_places(places);
        if let Some(page @ Page::Gone) = self.pages.get_mut(index) {
            *page = Page::Hot(Hot::default());
            note_hot(&mut self.hot, number);
            self.memory.hot(0, hot_bytes(0));
        }
        self.hot(index)
    }

    /// Puts a whole page of a snapshot in its place (recovery), behind those that are there.
    pub fn put_page(&mut self, number: u64, page: Cold) {
        if self.pages.is_empty() {
            self.first = number;
        }
        let Some(index) = number.checked_sub(self.first) else { return };
        while (self.pages.len() as u64) < index {
            self.pages.push_back(Page::Gone);
        }
        if self.pages.len() as u64 > index {
            return;
        }
        let last = page.records().last().map_or(0, |(slot, _)| slot as u64);
        self.next = self.next.max(number * PAGE_RECORDS + last + 1);
        self.live += u64::from(page.live);
        self.bytes += page.size;
        self.counted += page.counted;
        self.expiring += u64::from(page.expiring);
        self.memory.cold(0, page.memory());
        let places = self.pages.capacity();
        self.pages.push_back(Page::Cold(Box::new(page)));
        self.count_places(places);
    }

    /// The list of pages had that many places before.
    fn count_places(&mut self, before: usize) {
        let after = self.pages.capacity();
        if after != before {
            self.memory.cold(before * size_of::<Page>(), after * size_of::<Page>());
        }
    }

    /// The page of that number is not in memory any more; it took so many bytes.
    fn forget_hot(&mut self, number: u64, bytes: usize) {
        match self.hot.front() {
            Some(first) if *first == number => _ = self.hot.pop_front(),
            _ => {
                if let Ok(at) = self.hot.binary_search(&number) {
                    self.hot.remove(at);
                }
            }
        }
        self.memory.hot(bytes, 0);
    }

    /// No record before `next` comes any more.
    pub fn skip_to(&mut self, next: Offset) {
        self.next = self.next.max(next.0);
    }

    /// The page at that index with its records in memory.
    #[inline]
    fn hot(&mut self, index: usize) -> Option<&mut Hot> {
        let page = self.pages.get_mut(index)?;
        if let Page::Cold(_) = page {
            page.thaw((&mut self.hot, self.first + index as u64), &mut self.memory);
        }
        match page {
            Page::Hot(hot) => Some(hot),
            Page::Gone | Page::Cold(_) => None,
        }
    }

    #[inline]
    fn index(&self, offset: Offset) -> Option<usize> {
        usize::try_from((offset.0 / PAGE_RECORDS).checked_sub(self.first)?).ok()
    }

    /// The record at that offset.
    #[inline]
    pub fn get(&mut self, offset: Offset) -> Option<&Record> {
        self.get_mut(offset).map(|record| &*record)
    }

    /// The record at that offset.
    #[inline]
    pub fn get_mut(&mut self, offset: Offset) -> Option<&mut Record> {
        let index = self.index(offset)?;
        self.hot(index)?.get_mut((offset.0 % PAGE_RECORDS) as usize)
    }

    /// Takes a record out; its page goes with its last one.
    pub fn remove(&mut self, offset: Offset) -> Option<Record> {
        self.remove_if(offset, |_| true)
    }

    /// The same, if the record is one that is `wanted`.
    #[inline]
    pub fn remove_if(
        &mut self,
        offset: Offset,
        wanted: impl FnOnce(&Record) -> bool,
    ) -> Option<Record> {
        let index = self.index(offset)?;
        let page = self.hot(index)?;
        let record = page.take_if((offset.0 % PAGE_RECORDS) as usize, wanted)?;
        let is_empty = page.live() == 0;
        self.live -= 1;
        self.bytes -= u64::from(record.size);
        self.counted -= u64::from(record.counted);
        self.expiring -= u64::from(record.expires.is_some());
        let is_last = self.first + index as u64 == self.next / PAGE_RECORDS;
        if is_empty && !is_last {
            self.drop_page(index);
        }
        Some(record)
    }

    /// Nothing lives in the page in memory at that index, and nothing comes.
    #[cold]
    fn drop_page(&mut self, index: usize) {
        let Some(page) = self.pages.get_mut(index) else { return };
        if let Page::Hot(hot) = std::mem::replace(page, Page::Gone) {
            self.forget_hot(self.first + index as u64, hot.memory());
        }
        while let Some(Page::Gone) = self.pages.front() {
            self.pages.pop_front();
            self.first += 1;
        }
        if self.pages.capacity() > PLACES_MIN && self.pages.capacity() / 4 > self.pages.len() {
            let places = self.pages.capacity();
            self.pages.shrink_to(places / 2);
            self.count_places(places);
        }
    }

    /// The first living record at `from` or behind it, and its state.
    pub fn next_from(&mut self, from: Offset) -> Option<(Offset, RecordState)> {
        if let Some(record) = self.get(from) {
            return Some((from, record.state));
        }
        let found = self.first_from(from)?;
        self.get(found).map(|record| (found, record.state))
    }

    /// The first living record at `from` or behind it. Empty pages are skipped whole.
    pub fn first_from(&mut self, from: Offset) -> Option<Offset> {
        let mut at = from.0.max(self.first * PAGE_RECORDS);
        while at < self.next {
            let index = (at / PAGE_RECORDS - self.first) as usize;
            if let Some(page) = self.hot(index)
                && let Some(slot) = page.first_from((at % PAGE_RECORDS) as usize)
            {
                return Some(Offset(at / PAGE_RECORDS * PAGE_RECORDS + slot as u64));
            }
            at = (at / PAGE_RECORDS + 1) * PAGE_RECORDS;
        }
        None
    }

    /// Calls `visit` with living records from `from` on, in order, until it breaks. Pages at rest stay at rest.
    pub fn visit(&self, from: Offset, mut see: impl FnMut(Offset, &Record) -> ControlFlow<()>) {
        let skip = (from.0 / PAGE_RECORDS).saturating_sub(self.first);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        for (index, page) in self.pages.iter().enumerate().skip(skip) {
            let first = (self.first + index as u64) * PAGE_RECORDS;
            let mut show = |slot: usize, record: &Record| match Offset(first + slot as u64) {
                offset if offset < from => ControlFlow::Continue(()),
                offset => see(offset, record),
            };
            let seen = match page {
                Page::Gone => ControlFlow::Continue(()),
                Page::Hot(hot) => hot.records().try_for_each(|(slot, record)| show(slot, record)),
                Page::Cold(cold) => {
                    cold.records().try_for_each(|(slot, record)| show(slot, &record))
                }
            };
            if seen.is_break() {
                return;
            }
        }
    }

    /// Shows living records that are not at rest, in their order, of up to `count` pages from page number `from` on,
    /// each with the bytes that its page takes in memory. The number of the page behind them; none: that is all.
    pub fn visit_hot(
        &mut self,
        (from, count): (u64, usize),
        mut see: impl FnMut(usize, Offset, &mut Record),
    ) -> Option<u64> {
        let start = self.hot.partition_point(|number| *number < from);
        for number in self.hot.iter().skip(start).take(count) {
            let index = usize::try_from(number - self.first).unwrap_or(usize::MAX);
            let Some(Page::Hot(hot)) = self.pages.get_mut(index) else { continue };
            let bytes = hot.memory();
            for (slot, record) in hot.records_mut() {
                see(bytes, Offset(number * PAGE_RECORDS + slot as u64), record);
            }
        }
        self.hot.get(start + count).copied()
    }

    /// Puts to rest every page in memory whose records only wait, but for the last one, which still grows.
    pub fn freeze(&mut self) {
        let growing = self.next / PAGE_RECORDS;
        let numbers: Vec<u64> = self.hot.iter().copied().filter(|n| *n < growing).collect();
        self.freeze_pages(&numbers, false);
    }

    /// Puts to rest every page in memory that can be, of those whose numbers are in the range: also one that still
    /// grows, and what consumers have. One that is empty goes.
    pub fn freeze_among(&mut self, numbers: Range<u64>) {
        let start = self.hot.partition_point(|number| *number < numbers.start);
        let theirs = self.hot.iter().copied().skip(start).take_while(|n| *n < numbers.end);
        let theirs: Vec<u64> = theirs.collect();
        self.freeze_pages(&theirs, true);
    }

    fn freeze_pages(&mut self, numbers: &[u64], with_consumers: bool) {
        for number in numbers {
            let Some(index) = number.checked_sub(self.first) else { continue };
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            let Some(page) = self.pages.get_mut(index) else { continue };
            let Page::Hot(hot) = page else { continue };
            let bytes = hot.memory();
            if hot.live() == 0 {
                self.drop_page(index);
            } else if hot.rests(with_consumers)
                && let Some(cold) = Cold::write_with_consumers(hot.records())
            {
                self.memory.cold(0, cold.memory());
                *page = Page::Cold(Box::new(cold));
                self.forget_hot(*number, bytes);
            }
        }
    }

    /// The stored durable records, page by page with its number, from that page on: what a snapshot keeps.
    pub fn stored(&self, from: u64) -> impl Iterator<Item = (u64, Cold)> {
        let skipped = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let stored = |record: &Record| {
            record.durable && record.place.is_some() && record.state != RecordState::Uncommitted
        };
        self.pages.iter().enumerate().skip(skipped).filter_map(move |(index, page)| {
            let page = match page {
                Page::Gone => return None,
                Page::Cold(cold) if cold.is_plain => Cold::clone(cold),
                Page::Cold(cold) => {
                    let records: Vec<(usize, Record)> =
                        cold.records().filter(|(_, record)| stored(record)).collect();
                    Cold::write(records.iter().map(|(slot, record)| (*slot, record)))?
                }
                Page::Hot(hot) => Cold::write(hot.records().filter(|(_, r)| stored(r)))?,
            };
            (page.live > 0).then_some((self.first + index as u64, page))
        })
    }

    /// Counts bytes by the journal entries (first, last) that they are in; a page that `count` cannot take as a whole
    /// is counted record by record. Counts that many pages from that one on; the next one behind them, if there is one.
    pub fn weigh(
        &self,
        (from, pages): (u64, usize),
        count: &mut impl FnMut(u64, u64, u64) -> bool,
    ) -> Option<u64> {
        let one = |record: &Record, count: &mut dyn FnMut(u64, u64, u64) -> bool| {
            if let Some(Place { pos, .. }) = record.place {
                count(pos, pos, u64::from(record.size));
            }
        };
        let skipped = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        for page in self.pages.iter().skip(skipped).take(pages) {
            match page {
                Page::Gone => {}
                Page::Hot(hot) => hot.records().for_each(|(_, record)| one(record, count)),
                Page::Cold(cold) => {
                    if !count(*cold.entries.start(), *cold.entries.end(), cold.size) {
                        cold.records().for_each(|(_, record)| one(&record, count));
                    }
                }
            }
        }
        let next = self.first.max(from) + pages as u64;
        (next < self.first + self.pages.len() as u64).then_some(next)
    }

    /// Shows where stored records are, page by page: those whose journal entries may be among `entries`.
    pub fn visit_places(&self, entries: &Range<u64>, mut see: impl FnMut(Offset, &Record, Place)) {
        for (index, page) in self.pages.iter().enumerate() {
            let first = (self.first + index as u64) * PAGE_RECORDS;
            let mut show = |slot: usize, record: &Record| {
                if let Some(place) = record.place.filter(|place| entries.contains(&place.pos)) {
                    see(Offset(first + slot as u64), record, place);
                }
            };
            match page {
                Page::Gone => {}
                Page::Hot(hot) => hot.records().for_each(|(slot, record)| show(slot, record)),
                Page::Cold(cold) => {
                    let (low, high) = (*cold.entries.start(), *cold.entries.end());
                    if low < entries.end && high >= entries.start {
                        cold.records().for_each(|(slot, record)| show(slot, &record));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
