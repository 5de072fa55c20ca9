//! Records that are not ready for a while. They stay in the log and count as waiting, and nobody sees them: those that
//! came back from a consumer and whose next delivery is delayed, and those whose dead letters nobody has taken yet.

use super::pending::Why;
use super::{Departure, Effects, LeftBy, Side, Subscription};
use crate::log::{Offset, RecordState};
use crate::message::Timestamp;
use std::collections::{BTreeSet, VecDeque};

/// Dead letters that are on their way to their takers at a time. What stands behind them waits (RabbitMQ: the prefetch
/// of its dead-letter worker).
const OFFERS: usize = 32;
/// Milliseconds until dead letters are offered again that nobody took.
const OFFER_AGAIN_MS: u64 = 1_000;

/// A record that has left for its consumers, and stays until its dead letter is taken.
#[derive(Debug)]
struct Dead {
    offset: Offset,
    why: Why,
    is_offered: bool,
}

/// Records that are held.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// There may be some: spares a look at each of the lists.
    is_any: bool,
    /// They become ready again at a time.
    delayed: BTreeSet<(Timestamp, Offset)>,
    /// The same, until this number of milliseconds after the next dispatch.
    just_delayed: Vec<(Offset, u64)>,
    /// In the order in which they left.
    dead: VecDeque<Dead>,
    /// Nobody took one of them: they are offered again then.
    again: Option<Timestamp>,
}

impl Held {
    /// True when there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        !self.is_any
    }

    /// Some may have left.
    pub fn look_again(&mut self) {
        let is_empty = self.dead.is_empty() && self.delayed.is_empty();
        self.is_any = !(is_empty && self.just_delayed.is_empty());
    }

    /// When there is something to do.
    #[inline]
    pub fn due(&self) -> Option<Timestamp> {
        if self.is_any { self.next() } else { None }
    }

    #[cold]
    fn next(&self) -> Option<Timestamp> {
        let delayed = self.delayed.first().map(|(at, _)| *at);
        let again = self.again.filter(|_| !self.dead.is_empty());
        delayed.into_iter().chain(again).min()
    }
}

impl Subscription {
    /// A record in flight comes back to its queue, which gives it out again after this number of milliseconds.
    #[cold]
    pub(super) fn delay(&mut self, offset: Offset, ms: u64) {
        if let Some(record) = self.log.get_mut(offset) {
            record.state = RecordState::Held;
            self.held.is_any = true;
            self.held.just_delayed.push((offset, ms));
        }
    }

    /// What was delayed until now is ready.
    #[cold]
    pub(super) fn release_delayed(&mut self, now: Timestamp) {
        let just_delayed = std::mem::take(&mut self.held.just_delayed);
        self.held.delayed.extend(just_delayed.into_iter().map(|(o, ms)| (now.plus(ms), o)));
        while let Some((_, offset)) =
            self.held.delayed.first().copied().filter(|(at, _)| *at <= now)
        {
            self.held.delayed.pop_first();
            let Some(record) = self.log.get_mut(offset) else { continue };
            if record.state == RecordState::Held {
                record.state = RecordState::Ready;
                let (priority, counted) = (record.priority, record.counted);
                self.ready.push(offset, priority);
                self.count_in(offset, counted);
            }
        }
    }

    /// A record leaves for its consumers, and stays until its dead letter is taken.
    #[cold]
    pub(super) fn hold_dead(&mut self, offset: Offset, why: Why) {
        if let Some(record) = self.log.get_mut(offset) {
            record.state = RecordState::Held;
            self.held.is_any = true;
            self.held.dead.push_back(Dead { offset, why, is_offered: false });
        }
    }

    /// The same for one that was ready.
    #[cold]
    pub(super) fn hold_ready_dead(&mut self, offset: Offset, why: Why) {
        if let Some(record) = self.log.get(offset) {
            let (priority, counted) = (record.priority, record.counted);
            self.ready.take(offset, priority);
            self.count_out(counted);
            self.hold_dead(offset, why);
        }
    }

    /// Offers the first dead letters, unless that is to wait. Those that are not in memory are fetched first.
    #[cold]
    pub(super) fn offer_dead(&mut self, now: Timestamp, out: &mut Effects) {
        if self.held.again.is_some_and(|again| again > now) {
            return;
        }
        self.held.again = None;
        let Self { log, held, .. } = self;
        // Those that are gone: they could not be read back.
        let mut at = 0;
        while let Some(dead) = held.dead.get(at).filter(|_| at < OFFERS) {
            match log.get(dead.offset).is_some_and(|record| record.state == RecordState::Held) {
                true => at += 1,
                false => _ = held.dead.remove(at),
            }
        }
        let mut load = Vec::new();
        for dead in held.dead.iter_mut().take(OFFERS).filter(|dead| !dead.is_offered) {
            let Some(record) = log.get(dead.offset) else { continue };
            let Some(message) = record.message.clone() else {
                load.extend(record.place.map(|place| (dead.offset, place)));
                continue;
            };
            // What is behind one that is being fetched comes behind it.
            if !load.is_empty() {
                break;
            }
            dead.is_offered = true;
            let (offset, (reason, detail)) = (dead.offset, dead.why.clone());
            let (durable, left_by, stays) = (record.durable, None, true);
            let left = Departure { offset, message, reason, detail, durable, left_by, stays };
            out.departures.push(left);
        }
        if !self.loading && !load.is_empty() {
            out.load.append(&mut load);
            self.loading = true;
        }
    }

    /// A dead letter was taken, or has nowhere to go and is dropped: its record leaves. How; none: it is gone already.
    pub fn dead_gone(
        &mut self,
        offset: Offset,
        is_taken: bool,
        out: &mut Effects,
    ) -> Option<LeftBy> {
        let at = self.held.dead.iter().take(OFFERS).position(|dead| dead.offset == offset)?;
        let (reason, _) = self.held.dead.remove(at)?.why;
        let record = self.log.remove(offset)?;
        let by = if is_taken { self.left_by(reason) } else { LeftBy::NoTaker };
        self.counts.left(Side::of(record.durable), by, 1);
        out.freed.extend(record.place);
        Some(by)
    }

    /// Nobody takes a dead letter now: it is offered again in a while, and those behind it as well.
    pub fn dead_kept(&mut self, offset: Offset, now: Timestamp) {
        if let Some(dead) = self.held.dead.iter_mut().take(OFFERS).find(|d| d.offset == offset) {
            dead.is_offered = false;
            self.held.again = Some(now.plus(OFFER_AGAIN_MS));
        }
    }
}
