//! What can leave memory: the messages of stored records, and then whole pages of records.

use super::Subscription;
use crate::log::{Offset, PAGE_RECORDS, Record, RecordState};
use crate::message::Message;

/// Pages that one slice looks at. Whoever appends to the queue meanwhile waits for it.
const PAGES: usize = 4;

/// One pass over a queue, slice by slice, so that its lock is not held for long.
#[derive(Debug, Default)]
pub struct Relief {
    /// Bytes of memory of the records that are delivered next, which stay.
    pub keep_bytes: u64,
    /// Bytes of transient records that may be stored so that they can leave, about.
    pub spill_bytes: u64,
    /// Transient records that have to be stored first.
    pub to_spill: Vec<(Offset, Message)>,
    /// Bytes of messages that have left.
    pub freed: u64,
    /// These messages: to let go of many takes time, which is not the queue's.
    pub gone: Vec<Message>,
    /// The page that is next, and the one whose bytes were counted last.
    next: u64,
    counted: Option<u64>,
    began_as: Option<Rested>,
}

/// A queue as it was when nothing of it could leave memory. As long as it is the same, nothing can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rested {
    next: u64,
    len: u64,
    ready: u64,
    in_flight: u64,
    keep_bytes: u64,
    may_spill: bool,
}

impl Rested {
    /// What could not leave then cannot leave now.
    fn covers(&self, now: &Rested) -> bool {
        let (keep_bytes, may_spill) = (self.keep_bytes, self.may_spill);
        *self == Rested { keep_bytes, may_spill, ..*now }
            && keep_bytes <= now.keep_bytes
            && may_spill >= now.may_spill
    }
}

impl Relief {
    /// A pass that leaves records of that many bytes in memory, and stores about so many bytes of transient ones.
    pub fn new(keep_bytes: u64, spill_bytes: u64) -> Self {
        Self { keep_bytes, spill_bytes, ..Self::default() }
    }

    fn see(&mut self, page_bytes: usize, offset: Offset, record: &mut Record) {
        let is_next = match record.state {
            RecordState::Uncommitted | RecordState::PendingRemoval => return,
            RecordState::InFlight(_) | RecordState::Held => false,
            RecordState::Ready => true,
        };
        let Some(message) = &record.message else { return };
        let bytes = message.footprint() as u64;
        // One record that stays keeps its whole page.
        let page = Some(offset.0 / PAGE_RECORDS);
        if is_next && self.keep_bytes > 0 {
            let page_part = if self.counted == page { 0 } else { page_bytes as u64 };
            let left = self.keep_bytes.checked_sub(bytes + page_part);
            // The first one that does not fit ends it: what is behind it is delivered later.
            self.keep_bytes = left.unwrap_or(0);
            self.counted = page;
            if left.is_some() {
                return;
            }
        }
        if record.place.is_some() {
            self.gone.extend(record.message.take());
            self.freed += bytes;
        } else if self.spill_bytes > 0 {
            self.spill_bytes = self.spill_bytes.saturating_sub(bytes);
            self.to_spill.push((offset, message.clone()));
        }
    }
}

impl Subscription {
    /// A whole pass at once: how many bytes that frees, and which transient records would have to be stored first.
    pub fn evict(&mut self, keep_bytes: u64, spill_bytes: u64) -> (u64, Vec<(Offset, Message)>) {
        let mut relief = Relief::new(keep_bytes, spill_bytes);
        while self.evict_some(&mut relief) {}
        (relief.freed, relief.to_spill)
    }

    /// Lets go of the messages of stored records, of those in flight and of ready ones behind the first, in some pages,
    /// and puts to rest what pages it can. True when there are more pages.
    pub fn evict_some(&mut self, relief: &mut Relief) -> bool {
        if relief.began_as.is_none() {
            let now = Rested {
                next: self.log.next().0,
                len: self.log.len(),
                ready: self.ready_count,
                in_flight: self.consumers.in_flight().0,
                keep_bytes: relief.keep_bytes,
                may_spill: relief.spill_bytes > 0,
            };
            if self.rested.is_some_and(|rested| rested.covers(&now)) {
                return false;
            }
            relief.began_as = Some(now);
        }
        let first = relief.next;
        let behind = self.log.visit_hot((first, PAGES), |bytes, offset, record| {
            relief.see(bytes, offset, record);
        });
        self.log.freeze_among(first..behind.unwrap_or(u64::MAX));
        relief.next = behind.unwrap_or(u64::MAX);
        if behind.is_none() {
            let nothing = relief.freed == 0 && relief.to_spill.is_empty();
            self.rested = relief.began_as.filter(|_| nothing);
        }
        behind.is_some()
    }
}
