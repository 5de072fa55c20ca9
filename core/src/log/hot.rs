//! A page of records in memory: places for what stands between its first living record and its last one. A queue that
//! is emptied as fast as it fills uses the same few places again and again.

use super::cold::Cold;
use super::memory::hot_bytes;
use super::record::{Record, RecordState};
use crate::exchange::{BindingTag, Tags};
use crate::message::cost::ALLOCATION;
use std::collections::VecDeque;

/// Records of one page that are in memory, by slot: their number in the page.
#[derive(Debug, Default)]
pub(super) struct Hot {
    /// From the slot `first` on. What stands in front is a living record.
    places: VecDeque<Option<Record>>,
    first: usize,
    live: usize,
    /// Bytes of tags that only this page has.
    tags: usize,
}

impl Hot {
    /// The records of a page that was at rest.
    pub fn of(page: &Cold) -> Self {
        let mut hot = Self::default();
        hot.places.reserve_exact(page.live as usize);
        let mut last = Tags::default();
        for (slot, mut record) in page.records() {
            match record.tags.as_slice() {
                [] => {}
                tags if tags == last.as_slice() => record.tags = last.clone(),
                tags => {
                    hot.tags += size_of_val(tags) + 2 * size_of::<BindingTag>() + ALLOCATION;
                    last = record.tags.clone();
                }
            }
            hot.put(slot, record);
        }
        hot
    }

    /// Living records.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Records that there is room for.
    pub fn room(&self) -> usize {
        self.places.capacity()
    }

    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        hot_bytes(self.room()) + self.tags
    }

    /// The living records, each with its slot.
    pub fn records(&self) -> impl Iterator<Item = (usize, &Record)> {
        let slots = self.first..;
        slots.zip(&self.places).filter_map(|(slot, record)| Some((slot, record.as_ref()?)))
    }

    /// The same, to be changed.
    pub fn records_mut(&mut self) -> impl Iterator<Item = (usize, &mut Record)> {
        let slots = self.first..;
        slots.zip(&mut self.places).filter_map(|(slot, record)| Some((slot, record.as_mut()?)))
    }

    /// The record of that slot.
    #[inline]
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut Record> {
        self.places.get_mut(slot.checked_sub(self.first)?)?.as_mut()
    }

    /// The first slot with a record, at that one or behind it.
    pub fn first_from(&self, slot: usize) -> Option<usize> {
        let skip = slot.saturating_sub(self.first);
        let found = self.places.iter().skip(skip).position(Option::is_some)?;
        Some(self.first + skip + found)
    }

    /// Puts a record in its slot. False when there is one already.
    #[inline]
    pub fn put(&mut self, slot: usize, record: Record) -> bool {
        if self.places.is_empty() {
            self.first = slot;
        }
        match slot.checked_sub(self.first) {
            Some(at) if at == self.places.len() => self.places.push_back(Some(record)),
            at => return self.put_out_of_order((at, slot), record),
        }
        self.live += 1;
        true
    }

    /// As recovery does at times. `at`: its place; none: it stands in front of the first one.
    #[cold]
    fn put_out_of_order(&mut self, (at, slot): (Option<usize>, usize), record: Record) -> bool {
        match at {
            Some(at) => {
                if at >= self.places.len() {
                    self.places.resize_with(at + 1, || None);
                }
                match self.places.get_mut(at) {
                    Some(free @ None) => *free = Some(record),
                    _ => return false,
                }
            }
            None => {
                (slot + 1..self.first).for_each(|_| self.places.push_front(None));
                self.places.push_front(Some(record));
                self.first = slot;
            }
        }
        self.live += 1;
        true
    }

    /// Takes the record of that slot out, if it is one that is wanted.
    #[inline]
    pub fn take_if(&mut self, slot: usize, wanted: impl FnOnce(&Record) -> bool) -> Option<Record> {
        let at = slot.checked_sub(self.first)?;
        let place = self.places.get_mut(at)?;
        if !place.as_ref().is_some_and(wanted) {
            return None;
        }
        self.live -= 1;
        if at > 0 {
            return place.take();
        }
        // Nearly always the oldest one goes.
        let record = self.places.pop_front()?;
        self.first += 1;
        if !matches!(self.places.front(), Some(Some(_))) {
            self.drop_empty();
        }
        record
    }

    /// Nothing lives in the first place: the first one that lives is the first one from now on.
    fn drop_empty(&mut self) {
        let empty = self.places.iter().take_while(|place| place.is_none()).count();
        self.first += empty;
        match empty == self.places.len() {
            // The next one begins at the beginning of the memory again.
            true => self.places.clear(),
            false => drop(self.places.drain(..empty)),
        }
    }

    /// All that lives in it is stored, is not in memory, and waits or is `with_consumers`.
    pub fn rests(&self, with_consumers: bool) -> bool {
        self.records().all(|(_, record)| {
            let is_still = match record.state {
                RecordState::Ready => true,
                RecordState::InFlight(_) => with_consumers,
                RecordState::Uncommitted | RecordState::PendingRemoval | RecordState::Held => false,
            };
            record.message.is_none() && record.place.is_some() && is_still
        })
    }
}
