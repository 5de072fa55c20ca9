//! The oldest records of a queue, for whoever makes room on the disk: which they are, and their end.

use super::{Effects, LeftBy, Subscription};
use crate::log::{Offset, Place, Record};
use std::ops::ControlFlow;

/// A stored record that waits, and what it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Old {
    pub offset: Offset,
    pub place: Place,
    /// Bytes of its message.
    pub size: u32,
}

impl Subscription {
    /// Stored records that wait, the oldest first, from `from` on: about `most`, of about `bytes` bytes. And where the
    /// next ones begin; none: there are no more.
    pub fn oldest(&self, from: Offset, (most, bytes): (usize, u64)) -> (Vec<Old>, Option<Offset>) {
        let (mut found, mut looked, mut sum, mut next) = (Vec::new(), 0, 0, None);
        self.log.visit(from, |offset, record| {
            if looked >= most || sum >= bytes {
                next = Some(offset);
                return ControlFlow::Break(());
            }
            looked += 1;
            if let Some(place) = record.place.filter(|_| record.is_stored_and_waits()) {
                sum += u64::from(record.size);
                found.push(Old { offset, place, size: record.size });
            }
            ControlFlow::Continue(())
        });
        (found, next)
    }

    /// Drops those of these records that still wait, and are still stored there. Returns how many.
    pub fn drop_oldest(&mut self, records: &[Old], out: &mut Effects) -> u64 {
        let mut dropped = 0;
        for old in records {
            let is_same =
                |record: &Record| record.is_stored_and_waits() && record.place == Some(old.place);
            if self.log.get(old.offset).is_some_and(is_same) {
                self.drop_unread(old.offset, LeftBy::SubscriberBytes, out);
                dropped += 1;
            }
        }
        out.crowded_out += dropped;
        dropped
    }
}
