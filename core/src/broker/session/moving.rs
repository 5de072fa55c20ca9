//! Moving messages from a queue to others, for operators. Each message leaves its queue and comes to where it goes in
//! one entry of the store: a crash finds it in the one place or in the other.
//!
//! ```text
//! a slice of the queue ─► read back, with no lock ─► held ─► placed, or let go ─► one unit ─► stored ─► the next slice
//! ```
//!
//! What is held is held within one synchronous step. Between two slices everybody else has their turn, and a move that
//! is given up there has moved what it has moved.

use super::peek::read_absent;
use super::state::Session;
use crate::broker::door::browse::{MoveOrder, MoveReport, MoveTo};
use crate::broker::turn::context::Context;
use crate::broker::turn::redrive::{Try, Went, origin_of, redriven};
use crate::broker::vhost::queue::Queue;
use crate::error::{Error, ErrorKind};
use crate::log::Offset;
use crate::message::{Address, Message, Name, Timestamp};
use crate::rights::Action;
use crate::subscription::{Cursor, Handle, LeftBy, Scan, Scanned};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Messages of one slice, and bytes of them: one entry of the store has them all.
const SLICE_MESSAGES: usize = 256;
const SLICE_BYTES: u64 = 4 << 20;
/// Slices in each second of a move with a pace, about.
const SLICES_A_SECOND: u32 = 4;

/// A move under way.
struct Move<'a> {
    order: &'a MoveOrder,
    /// As whom it holds records of its source.
    handle: Handle,
    began: Timestamp,
    /// Destinations that had no room: what goes there next stays, too, or it would overtake.
    full: HashSet<Address>,
    report: MoveReport,
}

/// A message that is meant.
struct Going {
    at: Cursor,
    offset: Offset,
    /// What it becomes there, or why it goes nowhere.
    becomes: Result<Message, Arc<str>>,
}

fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::Invalid, detail)
}

fn no_room(at: &Address) -> Arc<str> {
    format!("{at} had no room for one in front of it").into()
}

impl Move<'_> {
    /// They go nowhere.
    fn is_drop(&self) -> bool {
        matches!(self.order.to, MoveTo::Nowhere)
    }

    /// As what they leave.
    fn left_by(&self) -> LeftBy {
        if self.is_drop() { LeftBy::OperatorDropped } else { LeftBy::Moved }
    }

    /// So many more may be moved.
    fn room(&self) -> u64 {
        self.order.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.report.moved))
    }

    /// One of those that are meant went there, or stays.
    fn note(&mut self, went: Result<(Address, Went), Arc<str>>) {
        self.report.matched += 1;
        match went {
            Ok((to, went)) => {
                match went {
                    Went::Nowhere => self.report.moved += 1,
                    Went::There | Went::ToRoute => self.report.add_moved(&to),
                }
                self.report.to_routes += u64::from(went == Went::ToRoute);
            }
            Err(why) => self.report.add_refused(&why),
        }
    }

    /// Messages of the next slice.
    fn slice(&self) -> usize {
        let pace = self.order.per_second.map_or(u32::MAX, |pace| pace.div_ceil(SLICES_A_SECOND));
        SLICE_MESSAGES.min(usize::try_from(pace).unwrap_or(usize::MAX)).max(1)
    }

    /// How long to wait before the next slice, so that the pace is kept.
    fn pause(&self, now: Timestamp) -> Duration {
        let pace = self.order.per_second.filter(|_| !self.order.dry_run);
        let due = pace.map_or(0, |pace| self.report.moved * 1_000 / u64::from(pace.max(1)));
        Duration::from_millis(due.saturating_sub(self.began.until(now)))
    }
}

impl Session {
    /// Moves ready messages of a queue to another one, or each to where it came from, in their order. Each is stored at
    /// its destination in the same entry in which it leaves its queue. One that its destination does not take stays
    /// where it is, and so does, for its order's sake, what would go to the same address behind it. It comes there as a
    /// publish would, without the deaths and hops that it had.
    ///
    /// Where they are dropped instead, they leave as such, and nothing else is asked.
    ///
    /// Asks for the right to read the queue, and to publish where the messages go. Resolves when all of it is stored.
    /// `NotFound` (the queue, or the one to move to), `Refused`, `Locked`, `Invalid`: nothing was moved. What ends it
    /// later is in the report; an error of the store is returned, and what was not stored was not moved.
    pub async fn move_messages(&mut self, order: &MoveOrder) -> Result<MoveReport, Error> {
        if order.per_second == Some(0) || order.limit == Some(0) {
            let detail = "a move of 0 messages, or of 0 a second, moves nothing: leave that out";
            return Err(invalid(detail.into()));
        }
        self.arrived_all().await?;
        let queue = self.source_of(&order.from)?;
        if let MoveTo::Queue(name) = &order.to {
            self.check_destination(&queue, name)?;
        }
        let (handle, upto) =
            queue.look(|state| (state.sub.consumers.handle(), state.sub.log.next()));
        let (began, report, full) = (self.shared().now(), MoveReport::default(), HashSet::new());
        let mut moving = Move { order, handle, began, full, report };
        let mut at = Some(order.start);
        while let Some(from) = at {
            moving.report.next = Some(from);
            let may = order.progress.check().and_then(|()| self.may_go_on(&queue, &moving));
            if let Err(why) = may {
                moving.report.stopped = Some(why);
                break;
            }
            at = self.move_some(&queue, (from, upto), &mut moving).await?;
            moving.report.next = at;
            let report = &moving.report;
            order.progress.note((report.matched, report.moved, report.left));
            if moving.room() == 0 {
                break;
            }
            let pause = moving.pause(self.shared().now());
            if at.is_some() && !pause.is_zero() {
                // Whoever stops it is not kept waiting.
                let _ = tokio::time::timeout(pause, order.progress.stopped()).await;
            }
        }
        Ok(moving.report)
    }

    fn source_of(&self, name: &str) -> Result<Arc<Queue>, Error> {
        self.check_queue(Action::Read, name)?;
        self.own_queue_named(name)
    }

    fn check_destination(&mut self, queue: &Queue, name: &Name) -> Result<(), Error> {
        if *name == queue.name {
            return Err(invalid(format!("queue '{name}' cannot be moved to itself")));
        }
        let address = Address::queue(name);
        self.vhost.check(&address)?;
        self.check_write(&address)?;
        let destination = self.vhost.queue(name)?;
        self.check_owner(&destination)
    }

    /// Asked before each slice: much may have changed since the last one.
    fn may_go_on(&self, queue: &Queue, moving: &Move<'_>) -> Result<(), Error> {
        if queue.is_gone() {
            let detail = format!("queue '{}' was deleted", queue.name);
            return Err(Error::new(ErrorKind::NotFound, detail));
        }
        self.check_queue(Action::Read, &queue.name)?;
        // To drop some makes room.
        if !moving.is_drop() && self.shared().pressure.disk.is_low() {
            let detail = "the disk is nearly full: nothing is moved until there is room";
            return Err(Error::new(ErrorKind::Unavailable, detail));
        }
        Ok(())
    }

    /// One slice; where the next one begins.
    async fn move_some(
        &mut self,
        queue: &Arc<Queue>,
        (from, upto): (Cursor, Offset),
        moving: &mut Move<'_>,
    ) -> Result<Option<Cursor>, Error> {
        let shared = self.shared();
        let (records, now) = (moving.slice(), shared.now());
        let scan = Scan { only_ready: true, upto, now, records, bytes: SLICE_BYTES };
        let mut slice = queue.look(|state| state.sub.scan(from, &scan));
        // The others need not be read.
        slice.found.retain(|one| moving.order.only.is_none_or(|only| one.offset == only));
        read_absent(&shared, queue, &mut slice.found).await;
        let waits_for_store = slice.found.is_empty() && slice.next == Some(from);
        let going = self.choose(queue, slice.found, moving);
        let again = match moving.order.dry_run {
            true => self.ask_for(queue, going, moving),
            false => self.move_slice(queue, going, moving),
        };
        self.flush_ops();
        self.turn.moves = false;
        match moving.order.dry_run && !waits_for_store {
            true => tokio::task::yield_now().await,
            false => self.sync().await?,
        }
        Ok(again.or(slice.next))
    }

    /// Those that the filter means, with what they become where they go.
    fn choose(&mut self, queue: &Queue, found: Vec<Scanned>, moving: &mut Move<'_>) -> Vec<Going> {
        let (shared, vhost) = (self.shared(), self.vhost().clone());
        let context = Context { shared: &shared, vhost: &vhost, now: shared.now() };
        let filter = &moving.order.filter;
        let owes_seen = queue.look(|state| state.sub.rules.keeps_seen);
        let mut going = Vec::with_capacity(found.len());
        for scanned in found {
            let becomes = match &scanned.message {
                None => Err("it cannot be read from the store".into()),
                Some(message) if !self.may_see(queue, message.address()) => continue,
                Some(message) if !filter.matches(message, &shared.formats, context.now) => continue,
                Some(_) if owes_seen && scanned.redelivered => {
                    Err("its session's client may have it already, and is owed the rest".into())
                }
                Some(message) if moving.is_drop() => Ok(message.clone()),
                Some(message) => self
                    .destination(context, moving, message)
                    .map(|to| redriven(context, message, &queue.name, to)),
            };
            let has_no_room = |message: &Message| moving.full.contains(message.address());
            let becomes = match becomes {
                Ok(message) if has_no_room(&message) => Err(no_room(message.address())),
                becomes => becomes,
            };
            going.push(Going { at: scanned.at, offset: scanned.offset, becomes });
        }
        going
    }

    fn destination(
        &mut self,
        context: Context<'_>,
        moving: &Move<'_>,
        message: &Message,
    ) -> Result<Address, Arc<str>> {
        let to = match &moving.order.to {
            MoveTo::Queue(name) => Address::queue(name),
            MoveTo::Nowhere => return Err("it goes nowhere".into()),
            MoveTo::Origin => {
                origin_of(context, message).ok_or("it never died, so it has no origin")?
            }
        };
        if to.is_queue() {
            // Its owner's alone, as for a move that names it.
            let queue = self.vhost.queue(std::str::from_utf8(to.key.bytes()).unwrap_or_default());
            let theirs = queue.ok().map_or(Ok(()), |queue| self.check_owner(&queue));
            theirs.map_err(|why| Arc::from(why.detail()))?;
        }
        self.check_write(&to).map_err(|why| Arc::from(why.detail()))?;
        Ok(to)
    }

    /// What would become of them.
    fn ask_for(
        &mut self,
        queue: &Queue,
        going: Vec<Going>,
        moving: &mut Move<'_>,
    ) -> Option<Cursor> {
        let (shared, vhost) = (self.shared(), self.vhost().clone());
        let context = Context { shared: &shared, vhost: &vhost, now: shared.now() };
        for Going { at, becomes, .. } in going {
            if moving.room() == 0 {
                return Some(at);
            }
            let asked = becomes.and_then(|message| {
                if moving.is_drop() {
                    return Ok((message.address().clone(), Went::Nowhere));
                }
                let went = self.turn.move_to(context, &message, queue, Try::Ask);
                went.map(|went| (message.address().clone(), went))
                    .map_err(|why| why.detail().into())
            });
            moving.note(asked);
        }
        None
    }

    /// Moves them as far as the limit and one turn allow. Where the first one stands that has to wait.
    fn move_slice(
        &mut self,
        queue: &Arc<Queue>,
        mut going: Vec<Going>,
        moving: &mut Move<'_>,
    ) -> Option<Cursor> {
        self.touch();
        self.turn.moves = true;
        let (shared, vhost) = (self.shared(), self.vhost().clone());
        let context = Context { shared: &shared, vhost: &vhost, now: shared.now() };
        let handle = moving.handle;
        queue.change(&mut self.turn.after, |state, _| {
            // Others were taken by somebody else meanwhile.
            going.retain(|each| {
                each.becomes.is_err() || state.sub.hold(handle, each.offset, context.now)
            });
        });
        let (mut moved, mut stay, mut again) = (Vec::new(), Vec::new(), None);
        for Going { at, offset, becomes } in going {
            if again.is_some() || moving.room() == 0 || self.turn.is_full() {
                again = again.or(Some(at));
                stay.push(offset);
                continue;
            }
            let went = becomes.and_then(|message| {
                if moving.is_drop() {
                    return Ok((message.address().clone(), Went::Nowhere));
                }
                let went = self.move_one(context, queue, &message, &mut moving.full)?;
                Ok((message.address().clone(), went))
            });
            if went.is_ok() {
                moved.push(offset)
            } else {
                stay.push(offset)
            }
            moving.note(went);
        }
        let left_by = moving.left_by();
        queue.change(&mut self.turn.after, |state, effects| {
            state.sub.moved(handle, (&moved, left_by), effects);
            state.sub.let_go(handle, &stay);
            state.sub.dispatch(context.now, effects);
        });
        again
    }

    fn move_one(
        &mut self,
        context: Context<'_>,
        queue: &Queue,
        message: &Message,
        full: &mut HashSet<Address>,
    ) -> Result<Went, Arc<str>> {
        let address = message.address();
        if full.contains(address) {
            return Err(no_room(address));
        }
        self.turn.move_to(context, message, queue, Try::Do).map_err(|why| {
            if why.kind() == ErrorKind::Full {
                full.insert(address.clone());
            }
            why.detail().into()
        })
    }
}
