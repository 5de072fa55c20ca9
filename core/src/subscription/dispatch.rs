//! Giving out: arrivals, commits, the dispatch loop, limits, expiry.

use super::consumers::Choice;
use super::pending::Why;
use super::{
    CameBy, Consumers, Deliveries, Delivery, Departure, Effects, Handle, LeftBy, Side,
    Subscription, Woken, bump,
};
use crate::exchange::Tags;
use crate::log::{Moment, Offset, Overflow, Place, Record, RecordState, counted};
use crate::message::{Message, Reason, Timestamp};
use rustc_hash::FxHashSet;
use std::ops::ControlFlow;

/// Stored records that are fetched ahead at once.
const LOAD_RECORDS: usize = 4096;
const LOAD_BYTES: u64 = 4 << 20;
/// Records that are looked at for that.
const LOAD_LOOKS: usize = 4 * LOAD_RECORDS;
/// Records that one slice of a purge looks at.
const PURGE_LOOKS: usize = 4096;
/// Records that leave in one dispatch because they are expired. The timer for the next one is due at once.
pub(super) const EXPIRE_MAX: usize = 1024;

/// A message on its way into a queue.
#[derive(Debug)]
pub struct Arrival {
    pub message: Message,
    pub tags: Tags,
    /// It waits for its store entry.
    pub durable: bool,
    pub by: CameBy,
}

/// A record in memory is with that consumer from now on: what is delivered.
#[inline]
pub(super) fn hand(
    (consumers, counts): (&mut Consumers, &Deliveries),
    record: &mut Record,
    (handle, offset, is_old): (Handle, Offset, bool),
    given: Moment,
) -> Option<Delivery> {
    let message = record.message.clone()?;
    let (consumer, how) = consumers.gave(handle, offset, (record.size, record.counted))?;
    record.state = RecordState::InFlight(handle.0);
    record.given = given;
    let redelivered = is_old || record.seen || record.attempts > 0;
    counts.handed(how, redelivered);
    Some(Delivery {
        consumer,
        offset,
        message,
        attempts: record.attempts,
        redelivered,
        retained: record.tags.is_retained(),
        tags: record.tags.clone(),
    })
}

impl Subscription {
    /// False when the queue's limits refuse this many messages together, with this many bytes that they count.
    #[inline]
    pub fn admits(&self, messages: u64, bytes: u64) -> bool {
        let limits = &self.rules.limits;
        if limits.overflow == Overflow::DropHead {
            return true;
        }
        limits.messages.is_none_or(|max| self.waiting() + messages <= max)
            && limits.bytes.is_none_or(|max| self.waiting_bytes() + bytes <= max)
    }

    /// Takes a message in.
    pub fn append(&mut self, arrival: Arrival, now: Timestamp) -> Offset {
        self.counts.came(Side::of(arrival.durable), arrival.by, 1);
        self.has_groups |= arrival.message.meta().group.is_some();
        let record = self.record(arrival, now);
        let (priority, counted, state) = (record.priority, record.counted, record.state);
        let expires = record.expires.is_some();
        let offset = self.log.push(record);
        if state == RecordState::Ready {
            self.ready.push(offset, priority);
            self.count_in(offset, counted);
            if expires {
                self.fresh.insert(offset);
            }
        }
        offset
    }

    /// The record of a message in this queue; `now` is when it arrived.
    pub fn record(&self, arrival: Arrival, now: Timestamp) -> Record {
        let Arrival { message, tags, durable, .. } = arrival;
        let meta = message.meta();
        let ttl = self.rules.ttl_ms.map(|ms| now.plus(ms));
        let expires = match (meta.expires, ttl) {
            (Some(own), Some(queues)) => Some(own.min(queues)),
            (own, queues) => own.or(queues),
        };
        let priority = match self.rules.max_priority {
            Some(max) => meta.priority.unwrap_or(0).min(max),
            None => 0,
        };
        Record {
            tags,
            state: if durable { RecordState::Uncommitted } else { RecordState::Ready },
            attempts: 0,
            seen: false,
            place: None,
            durable,
            priority,
            size: u32::try_from(message.size()).unwrap_or(u32::MAX),
            counted: u32::try_from(counted(&message, self.rules.counts_whole)).unwrap_or(u32::MAX),
            expires,
            given: Moment::default(),
            message: Some(message),
        }
    }

    /// A durable record is stored. False when it is gone (purged, queue deleted) meanwhile.
    pub fn commit(&mut self, offset: Offset, place: Place) -> bool {
        let Some(record) = self.log.get_mut(offset) else { return false };
        record.place = Some(place);
        if record.state != RecordState::Uncommitted {
            self.rested = None;
            return true;
        }
        record.state = RecordState::Ready;
        let expires = record.expires.is_some();
        let (priority, counted) = (record.priority, record.counted);
        self.ready.push(offset, priority);
        self.count_in(offset, counted);
        if expires {
            self.fresh.insert(offset);
        }
        true
    }

    /// A durable record could not be stored: its offset becomes a hole.
    pub fn fail(&mut self, offset: Offset) {
        if self.log.get(offset).is_some_and(|r| r.state == RecordState::Uncommitted) {
            self.log.remove(offset);
            self.counts.left(Side::Durable, LeftBy::NotStored, 1);
        }
    }

    /// Gives ready records to consumers as far as their credit allows, expires what is due at the head, then holds the
    /// length limit. Consumers of this queue in [`Effects::wake`] are among them, and leave it.
    pub fn dispatch(&mut self, now: Timestamp, out: &mut Effects) {
        if !self.pending_removals.is_empty() {
            self.leave_pending(out);
        }
        if !self.held.is_empty() {
            self.release_delayed(now);
        }
        let mut own = self.resume_own(out);
        self.give_out(now, out);
        while !own.is_empty() {
            // Those behind them in their pools.
            own.iter().for_each(|woken| woken.pool.pass_on(&mut out.wake));
            own = self.resume_own(out);
            self.give_out(now, out);
        }
        if !self.fresh.is_empty() {
            self.fresh.clear();
        }
        self.expire_some(now, out);
        if self.hold_limit(out) {
            // What stands at the head now may be due.
            self.expire_some(now, out);
        }
        if !self.held.is_empty() {
            self.offer_dead(now, out);
            self.held.look_again();
        }
    }

    /// A record that is due when it becomes ready is offered once before it counts as expired: its time may have gone
    /// by while it was stored, or it was to be delivered now or never. Consumers that get nothing expired end that.
    #[cold]
    pub(super) fn is_first_offer(
        fresh: &FxHashSet<Offset>,
        is_strict: bool,
        offset: Offset,
    ) -> bool {
        !is_strict && fresh.contains(&offset)
    }

    /// Consumers of this queue whose shared credit has come back go on.
    fn resume_own(&mut self, out: &mut Effects) -> Vec<Woken> {
        if out.wake.is_empty() {
            return Vec::new();
        }
        let own: Vec<Woken> = out.wake.extract_if(.., |woken| woken.queue == self.id).collect();
        for woken in &own {
            self.consumers.resume(woken.handle);
        }
        own
    }

    fn give_out(&mut self, now: Timestamp, out: &mut Effects) {
        let moment = Moment::of(now);
        if self.has_groups && self.consumers.shares() && !self.rules.by_source {
            return self.give_out_groups(now, out);
        }
        // Nothing is looked at for nobody: the head may be at rest.
        loop {
            let has_credit = self.consumers.any_credit();
            if !has_credit && !self.log.has_expiring() {
                break;
            }
            let Some(offset) = self.ready.peek(&mut self.log) else { break };
            let is_old = self.log.is_old(offset);
            let Some(record) = self.log.get_mut(offset) else { break };
            let due = record.expiry(self.rules.keeps_seen).is_some_and(|at| at <= now);
            let is_strict = self.rules.keeps_seen || self.consumers.has_strict();
            let is_first_offer = due && Self::is_first_offer(&self.fresh, is_strict, offset);
            if is_first_offer && !has_credit {
                self.fresh.remove(&offset);
                continue;
            }
            let expired = due && !is_first_offer;
            if !expired && !has_credit {
                break;
            }
            let Some(message) = &record.message else {
                if expired && !self.rules.dead_letters {
                    self.drop_unread(offset, LeftBy::Expired, out);
                    continue;
                }
                if expired && self.rules.keeps_dead {
                    self.hold_ready_dead(offset, (Reason::Expired, None));
                    continue;
                }
                self.load_from(offset, out);
                break;
            };
            if expired {
                if out.departures.len() >= EXPIRE_MAX {
                    break;
                }
                let message = message.clone();
                self.leave(offset, message, Reason::Expired, out);
                continue;
            }
            let choice = match self.rules.by_source {
                true => self.consumers.choose_by_source(message, record.size, &mut out.wake),
                false => self.consumers.choose(record.size, &mut out.wake),
            };
            match choice {
                Choice::Take(handle) => {
                    let (priority, counted) = (record.priority, record.counted);
                    let to = (&mut self.consumers, &self.counts.deliveries);
                    let given = hand(to, record, (handle, offset, is_old), moment);
                    let Some(delivery) = given else { break };
                    out.deliveries.push((handle, delivery));
                    self.ready.take(offset, priority);
                    self.count_out(counted);
                }
                Choice::Wait if is_first_offer => {
                    self.fresh.remove(&offset);
                }
                Choice::Wait => break,
            }
        }
    }

    /// Moves out what was rejected while its message was not in memory, and fetches what still is not.
    fn leave_pending(&mut self, out: &mut Effects) {
        while let Some(offset) = self.pending_removals.first() {
            let record = self.log.get(offset);
            let record = record.filter(|record| record.state == RecordState::PendingRemoval);
            if record.is_some_and(|record| record.message.is_none()) {
                break;
            }
            // None is there: it was lost.
            let is_there = record.is_some();
            if let Some((_, why)) = self.pending_removals.leave().filter(|_| is_there) {
                self.remove_pending(offset, why, out);
            }
        }
        if self.loading {
            return;
        }
        let mut bytes = 0;
        for offset in self.pending_removals.iter().take(LOAD_RECORDS) {
            if bytes >= LOAD_BYTES {
                break;
            }
            let Some(record) = self.log.get(offset) else { continue };
            if let (None, Some(place)) = (&record.message, record.place) {
                out.load.push((offset, place));
                bytes += u64::from(record.size);
            }
        }
        self.loading = !out.load.is_empty();
    }

    fn remove_pending(&mut self, offset: Offset, (reason, detail): Why, out: &mut Effects) {
        let Some(record) = self.log.remove(offset) else { return };
        out.freed.extend(record.place);
        if let Some(message) = record.message {
            let durable = record.durable;
            let by = self.left_by(reason);
            self.counts.left(Side::of(durable), by, 1);
            let (left_by, stays) = (Some(by), false);
            let left = Departure { offset, message, reason, detail, durable, left_by, stays };
            out.departures.push(left);
        }
    }

    /// One record for a consumer without credit of its own, who asks for it.
    pub fn get(&mut self, handle: Handle, now: Timestamp, out: &mut Effects) -> bool {
        self.expire(now, out);
        let Some(offset) = self.ready.peek(&mut self.log) else {
            bump(&self.counts.deliveries.got_nothing, 1);
            return false;
        };
        let is_old = self.log.is_old(offset);
        let Some(record) = self.log.get_mut(offset) else { return false };
        if record.message.is_none() {
            self.load_from(offset, out);
            return false;
        }
        let (priority, counted) = (record.priority, record.counted);
        let to = (&mut self.consumers, &self.counts.deliveries);
        let given = hand(to, record, (handle, offset, is_old), Moment::of(now));
        let Some(delivery) = given else { return true };
        out.deliveries.push((handle, delivery));
        self.ready.take(offset, priority);
        self.count_out(counted);
        true
    }

    /// Removes a ready record for another reason than being accepted.
    pub(super) fn leave(
        &mut self,
        offset: Offset,
        message: Message,
        reason: Reason,
        out: &mut Effects,
    ) {
        if self.rules.keeps_dead {
            return self.hold_ready_dead(offset, (reason, None));
        }
        let by = self.left_by(reason);
        let Some(record) = self.remove_ready(offset) else { return };
        out.freed.extend(record.place);
        let (durable, detail, left_by) = (record.durable, None, Some(by));
        self.counts.left(Side::of(durable), by, 1);
        let stays = false;
        let left = Departure { offset, message, reason, detail, durable, left_by, stays };
        out.departures.push(left);
    }

    /// Removes a ready record that goes nowhere: if its message has left memory, it is not read back for that.
    pub(super) fn drop_unread(&mut self, offset: Offset, by: LeftBy, out: &mut Effects) {
        if let Some(record) = self.remove_ready(offset) {
            self.gone(offset, &record, by, out);
        }
    }

    fn remove_ready(&mut self, offset: Offset) -> Option<Record> {
        let record = self.log.remove(offset)?;
        self.ready.take(offset, record.priority);
        self.count_out(record.counted);
        Some(record)
    }

    /// Moves out what is expired at the head of each order.
    pub fn expire(&mut self, now: Timestamp, out: &mut Effects) {
        while self.expire_one(now, out) {}
    }

    /// The same, for as many as one dispatch may move out.
    fn expire_some(&mut self, now: Timestamp, out: &mut Effects) {
        for _ in out.departures.len()..EXPIRE_MAX {
            if !self.expire_one(now, out) {
                break;
            }
        }
    }

    /// False when there was nothing to move out.
    fn expire_one(&mut self, now: Timestamp, out: &mut Effects) -> bool {
        if self.log.has_expiring() {
            let heads = self.ready.heads(&mut self.log);
            let due = |offset: &Offset| self.expiry(*offset).is_some_and(|at| at <= now);
            let Some(offset) = heads.into_iter().find(due) else { return false };
            let message = self.log.get(offset).and_then(|r| r.message.clone());
            match message {
                Some(message) => {
                    self.leave(offset, message, Reason::Expired, out);
                    return true;
                }
                None if !self.rules.dead_letters => {
                    self.drop_unread(offset, LeftBy::Expired, out);
                    return true;
                }
                None if self.rules.keeps_dead => {
                    self.hold_ready_dead(offset, (Reason::Expired, None));
                    return true;
                }
                None => self.load_from(offset, out),
            }
        }
        false
    }

    /// `x-max-length` and its like count ready records only; drop-head passes over the rest. True
    /// when something was dropped.
    fn hold_limit(&mut self, out: &mut Effects) -> bool {
        let limits = self.rules.limits;
        let mut dropped = self.drop_oversized(out);
        while limits.overflow == Overflow::DropHead
            && (limits.messages.is_some_and(|max| self.ready_count > max)
                || limits.bytes.is_some_and(|max| self.ready_bytes > max))
        {
            let Some(offset) = self.ready.peek_lowest(&mut self.log) else { break };
            if !self.crowd_out(offset, out) {
                break;
            }
            dropped = true;
        }
        dropped
    }

    /// Drops a record for a length limit; false when it has to be read back first.
    fn crowd_out(&mut self, offset: Offset, out: &mut Effects) -> bool {
        match self.log.get(offset).and_then(|record| record.message.clone()) {
            Some(message) => self.leave(offset, message, Reason::MaxLength, out),
            None if self.rules.dead_letters => {
                self.load_from(offset, out);
                return false;
            }
            None => self.drop_unread(offset, self.left_by(Reason::MaxLength), out),
        }
        out.crowded_out += 1;
        true
    }

    pub(super) fn is_oversized(&self, counted: u32) -> bool {
        self.rules.limits.bytes.is_some_and(|max| u64::from(counted) > max)
    }

    /// Ready records that are alone beyond the limit go alone. True when something was dropped.
    fn drop_oversized(&mut self, out: &mut Effects) -> bool {
        let max = self.rules.limits.bytes.filter(|_| self.rules.drops_oversized);
        if max.is_none_or(|max| self.ready_bytes <= max) {
            return false;
        }
        if std::mem::take(&mut self.oversized.must_look) {
            let mut found = Vec::new();
            self.log.visit(Offset(0), |offset, record| {
                if self.is_oversized(record.counted) {
                    found.push(offset);
                }
                ControlFlow::Continue(())
            });
            self.oversized.offsets = found;
        }
        let (mut dropped, mut left) = (false, Vec::new());
        for offset in std::mem::take(&mut self.oversized.offsets) {
            let state = self.log.get(offset).map(|record| record.state);
            match state == Some(RecordState::Ready) {
                true if !self.crowd_out(offset, out) => left.push(offset),
                true => dropped = true,
                // It is with a consumer, or gone. When it comes back, it is noted again.
                false => {}
            }
        }
        self.oversized.offsets = left;
        dropped
    }

    /// Drops all ready records. Returns how many.
    pub fn purge(&mut self, out: &mut Effects) -> u64 {
        let (mut from, upto, mut count) = (Some(Offset(0)), self.log.next(), 0);
        while let Some(first) = from {
            from = self.purge_some((first, upto), &mut count, out);
        }
        count
    }

    /// Drops some of the ready records in that range and counts them. Where the others begin; none: that is all.
    pub fn purge_some(
        &mut self,
        (from, upto): (Offset, Offset),
        count: &mut u64,
        out: &mut Effects,
    ) -> Option<Offset> {
        let (mut ready, mut looks, mut next) = (Vec::new(), 0, None);
        self.log.visit(from, |offset, record| {
            looks += 1;
            if offset >= upto {
                return ControlFlow::Break(());
            }
            if looks > PURGE_LOOKS {
                next = Some(offset);
                return ControlFlow::Break(());
            }
            if record.state == RecordState::Ready {
                ready.push(offset);
            }
            ControlFlow::Continue(())
        });
        for offset in &ready {
            self.drop_unread(*offset, LeftBy::Purged, out);
        }
        *count += ready.len() as u64;
        next
    }

    /// Asks for the records at and behind `offset` that are not in memory.
    pub(super) fn load_from(&mut self, offset: Offset, out: &mut Effects) {
        if self.loading {
            return;
        }
        let (mut bytes, mut looks) = (0, 0);
        self.log.visit(offset, |offset, record| {
            looks += 1;
            let wanted = !matches!(record.state, RecordState::InFlight(_) | RecordState::Held);
            if let (None, Some(place), true) = (&record.message, record.place, wanted) {
                out.load.push((offset, place));
                bytes += u64::from(record.size);
            }
            match out.load.len() >= LOAD_RECORDS || bytes >= LOAD_BYTES || looks >= LOAD_LOOKS {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        self.loading = !out.load.is_empty();
    }

    /// Records that were asked for by [`Effects::load`].
    pub fn loaded(&mut self, records: Vec<(Offset, Message)>) {
        self.loading = false;
        self.rested = None;
        for (offset, message) in records {
            self.has_groups |= message.meta().group.is_some();
            if let Some(record) = self.log.get_mut(offset) {
                record.message = Some(message);
            }
        }
    }

    /// Records that were asked for are on their way.
    pub fn is_loading(&self) -> bool {
        self.loading
    }

    /// Gives up records that could not be read back from these places, unless they were written again elsewhere
    /// meanwhile: their offsets become holes. Returns their places.
    pub fn lost(&mut self, wanted: &[(Offset, Place)]) -> Vec<Place> {
        self.loading = false;
        let mut places = Vec::new();
        for (offset, from) in wanted {
            let record = self.log.get(*offset).filter(|r| r.place == Some(*from));
            let removed = match record.map(|r| r.state) {
                Some(RecordState::Ready) => self.remove_ready(*offset),
                Some(RecordState::PendingRemoval | RecordState::Held) => self.log.remove(*offset),
                _ => None,
            };
            let Some(record) = removed else { continue };
            self.counts.left(Side::of(record.durable), LeftBy::Unreadable, 1);
            places.extend(record.place);
        }
        places
    }

    /// A stored record was written again. False when it is gone, or somewhere else by now.
    pub fn rewritten(&mut self, offset: Offset, from: Place, to: Place) -> bool {
        match self.log.get_mut(offset) {
            Some(record) if record.place == Some(from) => {
                record.place = Some(to);
                true
            }
            _ => false,
        }
    }

    /// A transient record was stored so that it can leave memory. It stays transient.
    pub fn spilled(&mut self, offset: Offset, place: Place) -> bool {
        self.rested = None;
        match self.log.get_mut(offset) {
            Some(record) => {
                record.place = Some(place);
                true
            }
            None => false,
        }
    }
}
