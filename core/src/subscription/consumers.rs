//! Who may have a record: consumers by priority, in turn, as far as their credit and their pools go.

use super::buckets::Buckets;
use super::{ConsumerId, Credit, Pool};
use crate::exchange::LogId;
use crate::message::{Message, Origin};
use smallvec::SmallVec;
use std::sync::Arc;

/// A consumer of one queue; never reused in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub u32);

/// An attached consumer.
#[derive(Debug)]
pub struct Attached {
    pub handle: Handle,
    /// Its name in its session.
    pub id: ConsumerId,
    pub exclusive: bool,
    pub priority: i16,
    pub pools: SmallVec<[Arc<Pool>; 2]>,
    /// What is on its way to the consumer's socket. Its credit comes back when that is written, not when it is settled.
    pub window: Option<Arc<Pool>>,
    /// It gets single records when it asks, and counts as nobody's consumer.
    pub is_getter: bool,
    /// Its own session's publishes are not for it.
    pub skip_own: Option<Arc<Origin>>,
    /// Gets nothing more; stays until what it has is settled.
    pub stopped: bool,
    credit: Credit,
    pub in_flight: u32,
    pub in_flight_bytes: u64,
}

impl Attached {
    /// A consumer with nothing in flight.
    pub fn new(handle: Handle, id: ConsumerId, credit: Credit) -> Self {
        Self {
            handle,
            id,
            exclusive: false,
            priority: 0,
            pools: SmallVec::new(),
            window: None,
            is_getter: false,
            skip_own: None,
            stopped: false,
            credit,
            in_flight: 0,
            in_flight_bytes: 0,
        }
    }

    fn is_active(&self) -> bool {
        !self.stopped && !self.is_getter
    }

    fn has_credit(&self) -> bool {
        self.is_active()
            && (self.credit.messages == u32::MAX || self.in_flight < self.credit.messages)
            && self.in_flight_bytes < self.credit.bytes
    }

    fn is_own(&self, message: &Message) -> bool {
        self.skip_own.as_ref().is_some_and(|own| Arc::ptr_eq(own, &message.meta().origin))
    }

    /// Reserves in all pools or in none; the one that refused.
    fn reserve(&self, size: u32, wake: &mut Vec<LogId>) -> Result<(), Arc<Pool>> {
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

/// The answer to "who gets this record".
#[derive(Debug)]
pub(super) enum Choice {
    /// Reserved for the consumer at that index.
    Take(usize),
    /// Nobody has credit; the pools that refused.
    Wait(SmallVec<[Arc<Pool>; 2]>),
    /// It came from the only consumers there are, and they do not want their own.
    NobodysOwn,
}

/// The consumers of one queue, highest priority first, then oldest first.
#[derive(Debug, Default)]
pub struct Consumers {
    list: Vec<Attached>,
    /// Advances with every delivery, so that equals take turns.
    rotation: usize,
    next: u32,
    /// With a single active consumer: which.
    active: Option<Handle>,
    /// Which consumer has the messages of which sources, in queues that care.
    buckets: Buckets,
}

impl Consumers {
    /// The next handle.
    pub fn handle(&mut self) -> Handle {
        self.next += 1;
        Handle(self.next)
    }

    /// Adds a consumer.
    pub fn attach(&mut self, consumer: Attached) {
        let at = self.list.iter().position(|c| c.priority < consumer.priority);
        self.list.insert(at.unwrap_or(self.list.len()), consumer);
    }

    /// Removes a consumer.
    pub fn remove(&mut self, handle: Handle) -> Option<Attached> {
        self.buckets.forget(handle);
        if self.active == Some(handle) {
            self.active = None;
        }
        let at = self.list.iter().position(|c| c.handle == handle)?;
        Some(self.list.remove(at))
    }

    /// The queue is gone: shared credit for what is in flight comes back. Adds the queues that waited for it to `wake`.
    pub fn give_all_back(&mut self, wake: &mut Vec<LogId>) {
        for consumer in &mut self.list {
            let messages = u64::from(std::mem::take(&mut consumer.in_flight));
            let bytes = std::mem::take(&mut consumer.in_flight_bytes);
            consumer.pools.iter().for_each(|pool| pool.release(messages, bytes, wake));
        }
    }

    /// Stops deliveries to a consumer that still has to settle.
    pub fn stop(&mut self, handle: Handle) {
        self.buckets.forget(handle);
        if self.active == Some(handle) {
            self.active = None;
        }
        if let Some(consumer) = self.get_mut(handle) {
            consumer.stopped = true;
        }
    }

    /// The consumer of that handle.
    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut Attached> {
        self.list.iter_mut().find(|c| c.handle == handle)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Attached> {
        self.list.iter()
    }

    /// Consumers that get deliveries.
    pub fn active_count(&self) -> usize {
        self.list.iter().filter(|c| c.is_active()).count()
    }

    /// True when one of them wants to be alone.
    pub fn has_exclusive(&self) -> bool {
        self.list.iter().any(|c| c.exclusive && !c.stopped)
    }

    /// Sets a consumer's own credit.
    pub fn set_credit(&mut self, handle: Handle, credit: Credit) {
        if let Some(consumer) = self.get_mut(handle) {
            consumer.credit = credit;
        }
    }

    /// False when nobody could get anything: the cheap question before looking at a record.
    pub(super) fn any_credit(&self) -> bool {
        self.list.iter().any(Attached::has_credit)
    }

    /// Notes a delivery.
    pub(super) fn gave(&mut self, index: usize, size: u32) -> Option<(Handle, ConsumerId)> {
        let consumer = self.list.get_mut(index)?;
        consumer.in_flight += 1;
        consumer.in_flight_bytes += u64::from(size);
        self.rotation = self.rotation.wrapping_add(1);
        Some((consumer.handle, consumer.id))
    }

    /// Who gets this record; credit in pools is reserved for the one chosen.
    pub(super) fn choose(
        &mut self,
        message: &Message,
        size: u32,
        single: bool,
        wake: &mut Vec<LogId>,
    ) -> Choice {
        if single {
            return self.choose_active(message, size, wake);
        }
        let mut refused = SmallVec::new();
        let (mut start, mut others) = (0, false);
        while start < self.list.len() {
            let priority = self.list[start].priority;
            let len = self.list[start..].iter().take_while(|c| c.priority == priority).count();
            for i in 0..len {
                let index = start + (self.rotation + i) % len;
                let consumer = &self.list[index];
                if consumer.is_own(message) {
                    continue;
                }
                others |= consumer.is_active();
                if !consumer.has_credit() {
                    continue;
                }
                match consumer.reserve(size, wake) {
                    Ok(()) => return Choice::Take(index),
                    Err(pool) => refused.push(pool),
                }
            }
            start += len;
        }
        match others {
            true => Choice::Wait(refused),
            false => Choice::NobodysOwn,
        }
    }

    /// As [`Consumers::choose`], where all messages of one source go to one consumer.
    pub(super) fn choose_by_source(
        &mut self,
        message: &Message,
        size: u32,
        wake: &mut Vec<LogId>,
    ) -> Choice {
        let active = self.list.iter().filter(|c| c.is_active());
        let owner = self.buckets.owner(message.source(), active);
        let Some(index) = self.list.iter().position(|c| Some(c.handle) == owner) else {
            return Choice::Wait(SmallVec::new());
        };
        let consumer = &self.list[index];
        if !consumer.has_credit() {
            return Choice::Wait(SmallVec::new());
        }
        match consumer.reserve(size, wake) {
            Ok(()) => Choice::Take(index),
            Err(pool) => Choice::Wait(SmallVec::from_iter([pool])),
        }
    }

    fn choose_active(&mut self, message: &Message, size: u32, wake: &mut Vec<LogId>) -> Choice {
        if self.active.is_none() {
            self.active = self.list.iter().find(|c| c.is_active()).map(|c| c.handle);
        }
        let active = self.active;
        let Some(index) = self.list.iter().position(|c| Some(c.handle) == active) else {
            return Choice::Wait(SmallVec::new());
        };
        let consumer = &self.list[index];
        if consumer.is_own(message) {
            return Choice::NobodysOwn;
        }
        if !consumer.has_credit() {
            return Choice::Wait(SmallVec::new());
        }
        match consumer.reserve(size, wake) {
            Ok(()) => Choice::Take(index),
            Err(pool) => Choice::Wait(SmallVec::from_iter([pool])),
        }
    }
}
