//! Who may have a record: consumers by priority, in turn, as far as their credit and their pools go.
//!
//! Those that have credit stand in a line; the others are in nobody's way until credit comes back.

use super::buckets::Buckets;
use super::counts::Handed;
use super::flight::InFlight;
use super::handles::HandleMap;
use super::line::{Line, Link};
use super::{ConsumerId, Credit, Pool, Serves, Woken};
use crate::exchange::LogId;
use crate::log::Offset;
use crate::message::{Group, Message};
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A consumer of one queue; never reused in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub u32);

/// Whom a consumer lets beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Beside {
    #[default]
    Anyone,
    /// Others are refused.
    Nobody,
    /// Others get nothing while it is there. Of several such consumers one has its turn, the others wait.
    Idle,
}

/// An attached consumer.
#[derive(Debug)]
pub struct Attached {
    pub handle: Handle,
    /// Its name in its session.
    pub id: ConsumerId,
    pub beside: Beside,
    pub priority: i16,
    pub pools: SmallVec<[Arc<Pool>; 2]>,
    /// What is on its way to the consumer's socket. Its credit comes back when that is written, not when it is settled.
    pub window: Option<Arc<Pool>>,
    /// It gets single records when it asks, and counts as nobody's consumer.
    pub is_getter: bool,
    /// As what it gets counts.
    pub handed: Handed,
    /// What has expired is not for it, however new it is.
    pub is_strict: bool,
    /// What it does not settle within the queue's time is taken back, and it with that.
    pub has_time: bool,
    /// Gets nothing more; stays until what it has is settled.
    pub stopped: bool,
    credit: Credit,
    pub(super) in_flight: InFlight,
    pub(super) link: Link,
    /// The pool that refused it credit, and the number of the note there.
    waits: Option<(Arc<Pool>, u64)>,
}

impl Attached {
    /// A consumer with nothing in flight.
    pub fn new(handle: Handle, id: ConsumerId, credit: Credit) -> Self {
        Self {
            handle,
            id,
            beside: Beside::default(),
            priority: 0,
            pools: SmallVec::new(),
            window: None,
            is_getter: false,
            handed: Handed::Delivered,
            is_strict: false,
            has_time: false,
            stopped: false,
            credit,
            in_flight: InFlight::default(),
            link: Link::default(),
            waits: None,
        }
    }

    /// Records that it has not settled.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.count
    }

    /// Where one consumer at a time gets records, the highest comes first.
    fn rank(&self) -> Reverse<i32> {
        let ahead = if self.beside == Beside::Idle { 1 << 16 } else { 0 };
        Reverse(i32::from(self.priority) + ahead)
    }

    fn is_active(&self) -> bool {
        !self.stopped && !self.is_getter
    }

    #[inline]
    fn has_credit(&self) -> bool {
        self.is_active()
            && (self.credit.messages == u32::MAX || self.in_flight.count < self.credit.messages)
            && self.in_flight.bytes < self.credit.bytes
            && self.waits.is_none()
    }

    /// It stays for nothing: it gets nothing more by itself, and has nothing to settle.
    fn is_done(&self) -> bool {
        !self.is_active() && self.in_flight.count == 0
    }

    /// Reserves in all pools or in none; the one that refused.
    #[inline]
    fn reserve(&self, size: u32, wake: &mut Vec<Woken>) -> Result<(), Arc<Pool>> {
        if self.pools.is_empty() {
            // Nearly always.
            return match &self.window {
                Some(window) if !window.reserve(size) => Err(window.clone()),
                _ => Ok(()),
            };
        }
        let all = || self.pools.iter().chain(&self.window);
        for (i, pool) in all().enumerate() {
            if !pool.reserve(size) {
                for held in all().take(i) {
                    held.release(1, u64::from(size), wake);
                }
                return Err(pool.clone());
            }
        }
        Ok(())
    }
}

/// Records that consumers were given: how many, the bytes that credit counts, and those that length limits count.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Given {
    pub count: u32,
    pub bytes: u64,
    pub counted: u64,
}

/// The answer to "who gets this record".
#[derive(Debug)]
pub(super) enum Choice {
    /// Reserved for that consumer.
    Take(Handle),
    /// Nobody has credit. Whom a pool refused waits for it.
    Wait,
}

/// The consumers of one queue.
#[derive(Debug)]
pub struct Consumers {
    queue: LogId,
    all: HandleMap<Attached>,
    /// Those that have credit.
    line: Line,
    /// Where one consumer at a time gets records: those that may, highest priority first, then oldest first.
    order: Option<BTreeSet<(Reverse<i32>, Handle)>>,
    /// Why that is: the queue's rule, or else consumers that others are idle beside.
    serves: Serves,
    idling: usize,
    /// That one.
    chosen: Option<Handle>,
    /// The one before, which was stopped and may have something to settle.
    retiring: Option<Handle>,
    /// Consumers that get deliveries, and those of them that want to be alone.
    active: usize,
    exclusive: usize,
    strict: usize,
    /// Records in flight with all of them, and their bytes that length limits count.
    in_flight: (u64, u64),
    /// Last handle that was given.
    last: u32,
    /// Which consumer has the messages of which sources, in queues that care.
    buckets: Buckets,
}

impl Consumers {
    /// No consumers of that queue.
    pub fn new(queue: LogId, serves: Serves) -> Self {
        Self {
            queue,
            all: HandleMap::default(),
            line: Line::default(),
            order: (serves != Serves::All).then(BTreeSet::new),
            serves,
            idling: 0,
            chosen: None,
            retiring: None,
            active: 0,
            exclusive: 0,
            strict: 0,
            in_flight: (0, 0),
            last: 0,
            buckets: Buckets::default(),
        }
    }

    /// The next handle.
    pub fn handle(&mut self) -> Handle {
        self.last += 1;
        Handle(self.last)
    }

    /// Adds a consumer.
    pub fn attach(&mut self, consumer: Attached) {
        let handle = consumer.handle;
        if consumer.is_active() {
            self.active += 1;
            if self.active == 2 && self.in_flight.0 == 0 {
                // Groups are looked for among several consumers; until now there was one.
                self.buckets.clear();
            }
            self.exclusive += usize::from(consumer.beside == Beside::Nobody);
            self.strict += usize::from(consumer.is_strict);
            if consumer.beside == Beside::Idle {
                self.begin_turns();
            }
            if let Some(order) = &mut self.order {
                order.insert((consumer.rank(), handle));
            }
        }
        self.all.insert(handle, consumer);
        self.place(handle);
    }

    /// One more consumer beside which others are idle.
    #[cold]
    fn begin_turns(&mut self) {
        self.idling += 1;
        let active = self.all.values().filter(|consumer| consumer.is_active());
        let ranks = active.map(|consumer| (consumer.rank(), consumer.handle));
        self.order.get_or_insert_with(|| ranks.collect());
    }

    /// One less. Behind the last one everybody gets records again.
    #[cold]
    fn end_turns(&mut self) {
        self.idling -= 1;
        if self.idling == 0 && self.serves == Serves::All {
            (self.order, self.chosen, self.retiring) = (None, None, None);
        }
    }

    /// Removes a consumer.
    pub fn remove(&mut self, handle: Handle) -> Option<Attached> {
        self.stop(handle);
        let consumer = self.all.remove(handle)?;
        self.buckets.forget(handle);
        // Nothing, when all it had has been settled.
        self.count_back(consumer.in_flight.count, 0);
        Some(consumer)
    }

    /// The queue is gone: shared credit for what is in flight comes back. Adds consumers that waited for it to `wake`.
    pub fn give_all_back(&mut self, wake: &mut Vec<Woken>) {
        for consumer in self.all.values_mut() {
            let InFlight { count, bytes, .. } = std::mem::take(&mut consumer.in_flight);
            consumer.pools.iter().for_each(|pool| pool.release(u64::from(count), bytes, wake));
            if let Some((pool, number)) = consumer.waits.take() {
                pool.forget(number);
            }
        }
        self.in_flight = (0, 0);
    }

    /// Stops deliveries to a consumer that still has to settle. What it has keeps its groups with it until then.
    pub fn stop(&mut self, handle: Handle) {
        let Some(consumer) = self.all.get_mut(handle) else { return };
        if !consumer.is_active() {
            return;
        }
        consumer.stopped = true;
        if let Some((pool, number)) = consumer.waits.take() {
            pool.forget(number);
        }
        let (rank, beside) = (consumer.rank(), consumer.beside);
        let (is_strict, in_flight) = (consumer.is_strict, consumer.in_flight.count);
        let keeps_groups = self.buckets.are_groups();
        self.place(handle);
        self.active -= 1;
        self.exclusive -= usize::from(beside == Beside::Nobody);
        self.strict -= usize::from(is_strict);
        if let Some(order) = &mut self.order {
            order.remove(&(rank, handle));
        }
        if self.chosen == Some(handle) {
            (self.chosen, self.retiring) = (None, Some(handle));
        }
        if beside == Beside::Idle {
            self.end_turns();
        }
        if in_flight == 0 || !keeps_groups {
            self.buckets.forget(handle);
        }
    }

    /// True when a consumer is not there, or stayed for nothing and has left now.
    pub fn leave_if_done(&mut self, handle: Handle) -> bool {
        let is_done = self.all.get(handle).is_none_or(Attached::is_done);
        if is_done {
            self.remove(handle);
        }
        is_done
    }

    /// The consumer of that handle.
    pub fn get(&self, handle: Handle) -> Option<&Attached> {
        self.all.get(handle)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Attached> {
        self.all.values()
    }

    /// Consumers that get deliveries.
    pub fn active_count(&self) -> usize {
        self.active
    }

    /// True when one of them wants to be alone.
    pub fn has_exclusive(&self) -> bool {
        self.exclusive > 0
    }

    /// True when one of them gets nothing that has expired.
    pub fn has_strict(&self) -> bool {
        self.strict > 0
    }

    /// Records in flight with all of them, and their bytes that length limits count.
    pub fn in_flight(&self) -> (u64, u64) {
        self.in_flight
    }

    /// Sets a consumer's own credit.
    pub fn set_credit(&mut self, handle: Handle, credit: Credit) {
        if let Some(consumer) = self.all.get_mut(handle) {
            consumer.credit = credit;
        }
        self.place(handle);
    }

    /// The pool that a consumer waited for has credit again.
    pub fn resume(&mut self, handle: Handle) {
        if let Some(consumer) = self.all.get_mut(handle)
            && let Some((pool, number)) = consumer.waits.take()
        {
            // It may wait for another one by now.
            pool.forget(number);
            self.place(handle);
        }
    }

    /// False when nobody could get anything: the cheap question before looking at a record.
    #[inline]
    pub(super) fn any_credit(&self) -> bool {
        !self.line.is_empty()
    }

    /// The offsets of what is in flight with a consumer, and perhaps of some that is not any more, in their order.
    pub(super) fn offsets_in_flight(&mut self, handle: Handle) -> Vec<Offset> {
        self.all.get_mut(handle).map(|c| c.in_flight.take_offsets()).unwrap_or_default()
    }

    /// The oldest of what a consumer has, and perhaps of what it had, in the order in which they were given.
    pub(super) fn first_in_flight(&self, handle: Handle, most: usize) -> Vec<Offset> {
        let theirs = self.all.get(handle).into_iter().flat_map(|c| c.in_flight.first());
        theirs.take(most).collect()
    }

    /// A consumer has settled these records; `count` of them, with `bytes`, were in flight. Its shared credit comes
    /// back, and if it stays for nothing it leaves. Adds consumers that waited for that credit to `wake`. True when
    /// [`Consumers::tidy`] has to follow.
    pub(super) fn settled(
        &mut self,
        handle: Handle,
        offsets: &[Offset],
        Given { count, bytes, counted }: Given,
        wake: &mut Vec<Woken>,
    ) -> bool {
        let Some(consumer) = self.all.get_mut(handle) else { return false };
        let is_untidy = consumer.in_flight.settle(offsets, count, bytes);
        for pool in &consumer.pools {
            pool.release(u64::from(count), bytes, wake);
        }
        let (is_done, is_placed) =
            (consumer.is_done(), consumer.has_credit() == consumer.link.is_in);
        self.count_back(count, counted);
        if is_done {
            self.remove(handle);
        } else if !is_placed {
            self.place(handle);
        }
        is_untidy
    }

    /// Forgets which records a consumer had.
    #[cold]
    pub(super) fn tidy(&mut self, handle: Handle, is_held: impl FnMut(Offset) -> bool) {
        if let Some(consumer) = self.all.get_mut(handle) {
            consumer.in_flight.tidy(is_held);
        }
    }

    fn count_back(&mut self, count: u32, counted: u64) {
        self.in_flight.0 = self.in_flight.0.saturating_sub(u64::from(count));
        self.in_flight.1 = self.in_flight.1.saturating_sub(counted);
    }

    /// Notes a delivery: to whom, and as what it counts.
    pub(super) fn gave(
        &mut self,
        handle: Handle,
        offset: Offset,
        (size, counted): (u32, u32),
    ) -> Option<(ConsumerId, Handed)> {
        let consumer = self.all.get_mut(handle)?;
        consumer.in_flight.give(offset, size);
        self.in_flight.0 += 1;
        self.in_flight.1 += u64::from(counted);
        let to = (consumer.id, consumer.handed);
        match consumer.has_credit() {
            true => {
                if !self.line.is_only(handle) {
                    self.line.behind_all(&mut self.all, handle);
                }
            }
            false => self.place(handle),
        }
        Some(to)
    }

    /// Puts a consumer into its line when it has credit, and takes it out when it has none.
    fn place(&mut self, handle: Handle) {
        let Some(consumer) = self.all.get(handle) else { return };
        match (consumer.has_credit(), consumer.link.is_in) {
            (true, false) => {
                self.line.push(&mut self.all, handle);
            }
            (false, true) => self.line.remove(&mut self.all, handle),
            _ => {}
        }
    }

    /// Who gets this record; credit in pools is reserved for the one chosen.
    #[inline]
    pub(super) fn choose(&mut self, size: u32, wake: &mut Vec<Woken>) -> Choice {
        if self.order.is_some() {
            return self.choose_single(size, wake);
        }
        while let Some(handle) = self.line.first() {
            if self.reserve(handle, size, wake) {
                return Choice::Take(handle);
            }
        }
        Choice::Wait
    }

    /// As [`Consumers::choose`], where all messages of one source go to one consumer.
    pub(super) fn choose_by_source(
        &mut self,
        message: &Message,
        size: u32,
        wake: &mut Vec<Woken>,
    ) -> Choice {
        let active = self.all.values().filter(|c| c.is_active());
        match self.buckets.owner(message.source(), active) {
            Some(owner) => self.take_or_wait(owner, size, wake),
            None => Choice::Wait,
        }
    }

    /// Records go to several consumers at a time.
    pub(super) fn shares(&self) -> bool {
        self.order.is_none()
    }

    /// As [`Consumers::choose`], for a message of a group: the consumer that has the group, or, for a new one, that
    /// with the fewest groups of those that have credit.
    pub(super) fn choose_for_group(
        &mut self,
        group: Group,
        size: u32,
        wake: &mut Vec<Woken>,
    ) -> Choice {
        self.buckets.set_groups();
        let with_credit = self.all.values().filter(|c| c.has_credit());
        let owner = self.buckets.owner(group.bucket(), with_credit);
        let choice = match owner {
            Some(owner) => self.take_or_wait(owner, size, wake),
            None => Choice::Wait,
        };
        if group.closes() && matches!(choice, Choice::Take(_)) {
            self.buckets.end(group.bucket());
        }
        choice
    }

    fn choose_single(&mut self, size: u32, wake: &mut Vec<Woken>) -> Choice {
        let first = self.order.as_ref().and_then(|order| order.first()).copied();
        let is_outranked = |chosen: &Attached| {
            self.serves != Serves::One && first.is_some_and(|(rank, _)| rank < chosen.rank())
        };
        // Whoever has been cancelled, or has to make way for a higher priority, settles first: what follows would
        // overtake what it still has.
        let before = self.chosen.or(self.retiring).and_then(|handle| self.all.get(handle));
        if before.is_none_or(|before| !before.is_active() || is_outranked(before)) {
            if before.is_some_and(|before| before.in_flight.count > 0) {
                return Choice::Wait;
            }
            (self.chosen, self.retiring) = (first.map(|(_, handle)| handle), None);
        }
        let Some(consumer) = self.chosen.and_then(|chosen| self.all.get(chosen)) else {
            return Choice::Wait;
        };
        self.take_or_wait(consumer.handle, size, wake)
    }

    fn take_or_wait(&mut self, handle: Handle, size: u32, wake: &mut Vec<Woken>) -> Choice {
        while self.all.get(handle).is_some_and(Attached::has_credit) {
            if self.reserve(handle, size, wake) {
                return Choice::Take(handle);
            }
        }
        Choice::Wait
    }

    /// Reserves what a record needs of shared credit. A consumer that is refused leaves its line and waits.
    #[inline]
    fn reserve(&mut self, handle: Handle, size: u32, wake: &mut Vec<Woken>) -> bool {
        let Some(consumer) = self.all.get(handle) else { return false };
        match consumer.reserve(size, wake) {
            Ok(()) => true,
            Err(pool) => {
                self.wait_for(pool, handle);
                false
            }
        }
    }

    #[cold]
    fn wait_for(&mut self, pool: Arc<Pool>, handle: Handle) {
        let number = pool.wait(self.queue, handle);
        // Credit that came back between the refusal and the note has woken nobody.
        if pool.has_credit() {
            return pool.forget(number);
        }
        if let Some(consumer) = self.all.get_mut(handle) {
            consumer.waits = Some((pool, number));
        }
        self.place(handle);
    }
}
