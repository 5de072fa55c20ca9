//! What consumers say of what they got, and what happens when they leave.

use super::consumers::Given;
use super::{Attached, Departure, Effects, Handle, LeftBy, Outcome, Side, Subscription, bump};
use crate::log::{Offset, Place, Record, RecordState, Returned};
use crate::message::{Message, Reason};
#[cfg(feature = "planted-fault")]
use crate::planted_fault;
use std::sync::Arc;

impl Subscription {
    /// Settles records in flight with that consumer; others are ignored. Returns how many were settled.
    pub fn settle(
        &mut self,
        handle: Handle,
        offsets: &[Offset],
        outcome: &Outcome,
        out: &mut Effects,
    ) -> usize {
        let mut settled = Given::default();
        let counted_before = self.log.counted();
        let stored_before = out.settled.len();
        for offset in offsets {
            if let Some(size) = self.settle_one(handle, *offset, outcome, out) {
                settled.count += 1;
                settled.bytes += u64::from(size);
            }
        }
        let count = settled.count;
        if count == 0 {
            return 0;
        }
        settled.counted = match outcome {
            // All of them are gone.
            Outcome::Accepted => counted_before - self.log.counted(),
            _ => std::mem::take(&mut out.counted_back),
        };
        if let Outcome::Accepted = outcome {
            let durable = (out.settled.len() - stored_before) as u64;
            #[cfg(feature = "planted-fault")]
            self.counts.left(Side::Durable, LeftBy::Consumed, planted_fault::correction(durable));
            self.counts.left(Side::Durable, LeftBy::Consumed, durable);
            self.counts.left(Side::Transient, LeftBy::Consumed, u64::from(count) - durable);
        }
        if self.consumers.settled(handle, offsets, settled, &mut out.wake) {
            let log = &mut self.log;
            self.consumers.tidy(handle, |offset| {
                log.get(offset).is_some_and(|r| r.state == RecordState::InFlight(handle.0))
            });
        }
        count as usize
    }

    /// Records that this settlement would move somewhere else, and whose messages are not in memory for that.
    pub fn absent(
        &mut self,
        handle: Handle,
        offsets: &[Offset],
        outcome: &Outcome,
    ) -> Vec<(Offset, Place)> {
        let limit = self.rules.returns.limit;
        let leaves = |attempts: u16| match outcome {
            Outcome::Rejected { .. } => true,
            Outcome::Failed => limit.is_some_and(|limit| attempts.saturating_add(1) > limit),
            Outcome::GivenBack if self.rules.returns.has_own_limit => {
                limit.is_some_and(|limit| attempts.saturating_add(1) > limit)
            }
            _ => false,
        };
        if !leaves(u16::MAX) {
            return Vec::new();
        }
        let mut absent = Vec::new();
        for offset in offsets {
            let Some(record) = self.log.get(*offset) else { continue };
            let is_theirs = record.state == RecordState::InFlight(handle.0);
            if is_theirs && record.message.is_none() && leaves(record.attempts) {
                absent.extend(record.place.map(|place| (*offset, place)));
            }
        }
        absent
    }

    /// Messages of such records, for a settlement that follows.
    pub fn remember(&mut self, messages: Vec<(Offset, Message)>) {
        for (offset, message) in messages {
            self.rested = None;
            if let Some(record) = self.log.get_mut(offset) {
                record.message.get_or_insert(message);
            }
        }
    }

    /// How many records were rejected so far while their messages were not in memory.
    pub fn removals_begun(&self) -> u64 {
        self.pending_removals.begun()
    }

    /// True while some of the first so many of them wait for their messages. They leave in the order of their
    /// rejection.
    pub fn has_pending_removals(&self, upto: u64) -> bool {
        self.pending_removals.left() < upto && !self.pending_removals.is_empty()
    }

    /// The size of a record that was in flight with that consumer, and is settled now.
    #[inline]
    fn settle_one(
        &mut self,
        handle: Handle,
        offset: Offset,
        outcome: &Outcome,
        out: &mut Effects,
    ) -> Option<u32> {
        let is_theirs = |record: &Record| record.state == RecordState::InFlight(handle.0);
        if let Outcome::Accepted = outcome {
            let record = self.log.remove_if(offset, is_theirs)?;
            out.freed.extend(record.place);
            if record.durable {
                out.settled.push(offset);
            }
            return Some(record.size);
        }
        let record = self.log.get(offset).filter(|record| is_theirs(record))?;
        let size = record.size;
        out.counted_back += u64::from(record.counted);
        match outcome {
            Outcome::Accepted | Outcome::Released => self.put_back(offset, None),
            Outcome::Removed(by) => self.remove_in_flight(offset, *by, out),
            Outcome::Failed => self.put_back_failed(offset, out),
            Outcome::GivenBack if self.rules.returns.has_own_limit => {
                self.put_back_failed(offset, out)
            }
            Outcome::GivenBack | Outcome::Left => self.put_back(offset, Some(Returned::Uncounted)),
            Outcome::Rejected { reason } => {
                self.move_out(offset, Reason::Rejected, reason.clone(), out);
            }
        }
        Some(size)
    }

    fn remove_in_flight(&mut self, offset: Offset, by: LeftBy, out: &mut Effects) {
        let Some(record) = self.log.remove(offset) else { return };
        self.gone(offset, &record, by, out);
    }

    /// A record is out of the log and goes nowhere.
    pub(super) fn gone(&self, offset: Offset, record: &Record, by: LeftBy, out: &mut Effects) {
        self.counts.left(Side::of(record.durable), by, 1);
        out.freed.extend(record.place);
        if record.durable {
            out.removed.push((offset, by));
        }
    }

    /// A record in flight goes back to its place. None: as if it had never left.
    fn put_back(&mut self, offset: Offset, returned: Option<Returned>) {
        let Some(record) = self.log.get_mut(offset) else { return };
        record.seen |= returned.is_some();
        let delay = returned.and_then(|how| self.rules.returns.delay_ms(how, record.attempts));
        if let Some(ms) = delay {
            bump(&self.counts.deliveries.requeued, 1);
            return self.delay(offset, ms);
        }
        record.state = RecordState::Ready;
        let (priority, counted) = (record.priority, record.counted);
        self.ready.push(offset, priority);
        self.count_in(offset, counted);
        bump(&self.counts.deliveries.requeued, 1);
    }

    fn put_back_failed(&mut self, offset: Offset, out: &mut Effects) {
        let Some(record) = self.log.get_mut(offset) else { return };
        record.attempts = record.attempts.saturating_add(1);
        let (attempts, durable) = (record.attempts, record.durable);
        if self.rules.returns.limit.is_some_and(|limit| attempts > limit) {
            self.move_out(offset, Reason::DeliveryLimit, None, out);
            return;
        }
        if durable {
            out.attempts.push((offset, attempts));
        }
        self.put_back(offset, Some(Returned::Failed));
    }

    /// Takes a record in flight out for another reason than being accepted. Without its message in memory it
    /// stays, as a pending removal, until dispatch has fetched that.
    pub(super) fn move_out(
        &mut self,
        offset: Offset,
        reason: Reason,
        detail: Option<Arc<str>>,
        out: &mut Effects,
    ) {
        if self.rules.keeps_dead {
            return self.hold_dead(offset, (reason, detail));
        }
        if let Some(record) = self.log.get_mut(offset)
            && record.message.is_none()
            && self.rules.dead_letters
        {
            record.state = RecordState::PendingRemoval;
            self.pending_removals.push(offset, (reason, detail));
            return;
        }
        let by = self.left_by(reason);
        let Some(record) = self.log.remove(offset) else { return };
        let Some(message) = record.message else {
            // It goes nowhere, and is not read back for that.
            return self.gone(offset, &record, by, out);
        };
        out.freed.extend(record.place);
        let (durable, left_by, stays) = (record.durable, Some(by), false);
        self.counts.left(Side::of(durable), by, 1);
        let left = Departure { offset, message, reason, detail, durable, left_by, stays };
        out.departures.push(left);
    }

    /// The consumer leaves. `unseen` were never handed to its connection: they go back as they were, the rest with that
    /// outcome.
    pub fn leave_all(
        &mut self,
        handle: Handle,
        unseen: &[Offset],
        seen: &Outcome,
        out: &mut Effects,
    ) {
        self.settle(handle, unseen, &Outcome::Released, out);
        let in_flight = self.consumers.get(handle).map_or(0, Attached::in_flight);
        if in_flight > 0 {
            let theirs = self.consumers.offsets_in_flight(handle);
            self.settle(handle, &theirs, seen, out);
        }
        self.consumers.remove(handle);
    }
}
