//! The second step of a turn: messages become records of their queues, each queue locked once for all of them.

use super::context::Context;
use super::plan::{Obstacle, Plan};
use super::receivers::For;
use super::run::{Arriving, Later, Terms, Turn};
use crate::broker::journal::unit::{Placed, WriteReason};
use crate::broker::vhost::content_path::{is_route_queue, is_route_queue_full};
use crate::broker::vhost::queue::{Queue, QueueState};
use crate::error::{Error, ErrorKind};
use crate::exchange::LogId;
use crate::log::{Offset, Overflow};
use crate::message::{Reason, Timestamp};
use crate::subscription::{Arrival, Departure, bump};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of an operation that stores a message, besides what the message is counted with, and of each place it has in a
/// queue: about as many as most take.
const RECORD_BYTES: usize = 48;
const PLACE_BYTES: usize = 8;

impl Turn {
    /// Hands over and appends what was routed so far; [`Turn::run`] does what follows from that. It may be called with
    /// the topology locked.
    pub fn place(&mut self, context: Context<'_>) {
        // Level 0 goes first: it never waits, so nothing of a higher level that was published behind it in this flush
        // overtakes it.
        for For { receiver, list, .. } in self.direct.drain() {
            receiver.deliver_direct(list.into_iter());
            self.after.wake(&receiver);
        }
        self.append(context);
    }

    /// Admits all that was published in this turn so far, whatever the queues' limits will be when it is appended; or
    /// returns why that cannot be (`no_route`: a message has no route), and forgets it. No queue has any of it before
    /// [`Turn::run`].
    pub fn admit(&mut self, context: Context<'_>, no_route: Option<Error>) -> Result<(), Error> {
        let refused = no_route.or_else(|| self.refused.any().cloned());
        let admitted = match refused {
            Some(why) => Err(why),
            None => {
                let fits = self.arrivals.iter().try_for_each(|each| {
                    let (queue, messages) = (&each.receiver, each.list.len() as u64);
                    let wanted = (queue.clone(), messages, each.bytes);
                    check(wanted).inspect_err(|_| turned_away(queue, messages))
                });
                fits.and_then(|()| context.check_retainable(&self.later.retained))
            }
        };
        match admitted {
            Ok(()) => {
                let all = self.arrivals.iter_mut().flat_map(|each| &mut each.list);
                all.for_each(|arriving| arriving.terms = Terms::Admitted);
                for message in std::mem::take(&mut self.later.retained) {
                    context.retain_admitted(&message);
                }
            }
            Err(_) => {
                self.published.refused_all();
                self.arrivals.clear();
                self.direct.clear();
                self.messages.clear();
                self.refused.clear();
                self.later = Later::default();
                self.fed.clear();
            }
        }
        admitted
    }

    /// Whether all that a plan leads to can happen now, behind what arrives in this turn already. In the queue of a
    /// content route there is always room for a client's publish, and its publisher is held back afterwards; what
    /// `is_from_route` waits where it is instead.
    pub(super) fn admits(&self, plan: &Plan<'_>, is_from_route: bool) -> Result<(), Obstacle> {
        let planned = plan.placements.iter().flat_map(|placement| {
            let own = placement.sessions.iter().filter_map(|hit| hit.session.queue());
            let queues = placement.queues.iter().cloned().chain(own);
            queues.map(|queue| {
                let counted = queue.spec.counted(&placement.message) as u64;
                (queue, counted)
            })
        });
        let planned: Vec<(Arc<Queue>, u64)> = planned.collect();
        if is_from_route {
            let routes = planned.iter().filter(|(queue, _)| is_route_queue(&queue.name));
            for (queue, _) in routes {
                if is_route_queue_full(queue) {
                    return Err(Obstacle { path: None, error: full(queue) });
                }
            }
        }
        if !planned.iter().any(|(queue, _)| queue.refuses) {
            return Ok(());
        }
        for (queue, messages, bytes) in wanted(planned.into_iter()) {
            let (before, bytes_before) = self.arrivals.sum(&queue);
            let wanted = (queue.clone(), messages + before, bytes + bytes_before);
            check(wanted).map_err(|error| {
                // What a route sends comes again until there is room.
                if !is_from_route {
                    turned_away(&queue, messages);
                }
                Obstacle { path: plan.sender_to(&queue), error }
            })?;
        }
        Ok(())
    }

    fn append(&mut self, context: Context<'_>) {
        let (now, moves) = (context.now, self.moves);
        let mut arrivals = std::mem::take(&mut self.arrivals);
        for For { receiver: queue, list, .. } in arrivals.drain() {
            let (messages, placed, refused) = (&self.messages, &mut self.placed, &mut self.refused);
            let is_durable = queue.is_durable();
            queue.change(&mut self.after, |state, effects| {
                if state.deleted {
                    return;
                }
                for Arriving { index, tags, terms } in list {
                    let Some(message) = messages.get(index).cloned() else { continue };
                    if queue.refuses
                        && terms != Terms::Admitted
                        && !state.sub.admits(1, queue.spec.counted(&message) as u64)
                    {
                        bump(&state.sub.counts.deliveries.turned_away, 1);
                        let is_untold = terms == Terms::Untold && queue.spec.dead_letter.is_some();
                        let overflow = state.sub.rules.limits.overflow;
                        if is_untold || overflow == Overflow::RejectNewDeadLetter {
                            effects.departures.push(Departure {
                                offset: Offset(u64::MAX),
                                message,
                                reason: Reason::MaxLength,
                                detail: None,
                                durable: false,
                                left_by: None,
                                stays: false,
                            });
                        }
                        if !is_untold {
                            refused.add(index, full(&queue));
                        }
                        continue;
                    }
                    // Level 2 is once only, also after a crash: its number must not be given again.
                    let once = message.meta().level.min(tags.level()) > 1;
                    let durable = is_durable && (message.meta().durable || once);
                    let stored_tags = durable.then(|| tags.clone());
                    let by = Turn::came_by(moves, &message);
                    let offset = state.sub.append(Arrival { message, tags, durable, by }, now);
                    if let Some(tags) = stored_tags {
                        placed.push((index, queue.clone(), offset, tags));
                    }
                }
                state.sub.dispatch(now, effects);
            });
        }
        self.arrivals = arrivals;
    }

    /// Durable records become operations: each message once, with all its places.
    pub(super) fn encode(&mut self, now: Timestamp) {
        if self.placed.is_empty() {
            return;
        }
        self.placed.sort_by_key(|(index, ..)| *index);
        // Room for all at once: a list that grows by doubling is copied several times.
        let mut bytes = self.placed.len() * PLACE_BYTES;
        let mut last = usize::MAX;
        for (index, ..) in &self.placed {
            if *index != last {
                bytes += self.messages.get(*index).map_or(0, |m| RECORD_BYTES + m.size());
                last = *index;
            }
        }
        self.unit.ops.reserve(bytes);
        self.unit.placed.reserve(self.placed.len());
        for group in self.placed.chunk_by(|a, b| a.0 == b.0) {
            let Some(message) = group.first().and_then(|(i, ..)| self.messages.get(*i)) else {
                continue;
            };
            let places = group.iter().map(|(_, queue, offset, tags)| (queue.id, *offset, tags));
            let by = Turn::came_by(self.moves, message);
            let index = self.unit.ops.record((message, now, by), places);
            self.unit.placed.extend(group.iter().map(|(_, queue, offset, _)| Placed {
                queue: queue.clone(),
                offset: *offset,
                index,
                reason: WriteReason::New(by),
            }));
        }
        self.placed.clear();
    }
}

/// Messages, and their bytes, that are to arrive in one queue together.
type Wanted = (Arc<Queue>, u64, u64);

/// Each queue once.
fn wanted(arriving: impl Iterator<Item = (Arc<Queue>, u64)>) -> Vec<Wanted> {
    let mut wanted: BTreeMap<LogId, Wanted> = BTreeMap::new();
    for (queue, bytes) in arriving {
        let entry = wanted.entry(queue.id).or_insert((queue, 0, 0));
        entry.1 += 1;
        entry.2 += bytes;
    }
    wanted.into_values().collect()
}

fn check((queue, messages, bytes): Wanted) -> Result<(), Error> {
    let admits = |state: &mut QueueState| state.deleted || state.sub.admits(messages, bytes);
    if queue.look(admits) { Ok(()) } else { Err(full(&queue)) }
}

/// Counts what a full queue refused.
fn turned_away(queue: &Queue, messages: u64) {
    queue.look(|_| bump(&queue.counts.deliveries.turned_away, messages));
}

fn full(queue: &Queue) -> Error {
    Error::new(ErrorKind::Full, format!("queue '{}' is full", queue.name))
}
