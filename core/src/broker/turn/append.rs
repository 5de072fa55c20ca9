//! The second step of a turn: messages become records of their queues, each queue locked once for all of them.

use super::context::Context;
use super::run::Turn;
use crate::broker::journal::unit::{Placed, WriteReason};
use crate::broker::vhost::queue::{Queue, QueueState};
use crate::error::{Error, ErrorKind};
use crate::exchange::LogId;
use crate::log::{Offset, Overflow};
use crate::message::{Reason, Timestamp};
use crate::subscription::{Arrival, Departure};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Turn {
    /// Hands over and appends what was routed so far; [`Turn::run`] does what follows from that. It may be called with
    /// the topology locked.
    pub fn place(&mut self, context: Context<'_>) {
        // Level 0 goes first: it never waits, so nothing of a higher level that was published behind it in this flush
        // overtakes it.
        for (inbox, list) in self.direct.drain(..) {
            inbox.deliver_direct(list.into_iter());
            self.after.wake(&inbox);
        }
        self.append(context);
    }

    /// Admits all that was published in this turn so far, whatever the queues' limits will be when it is appended; or
    /// returns why that cannot be (`no_route`: a message has no route), and forgets it. No queue has any of it before
    /// [`Turn::run`].
    pub fn admit(&mut self, no_route: Option<Error>) -> Result<(), Error> {
        let refused = no_route.or_else(|| self.refused.first().map(|(_, why)| why.clone()));
        let admitted = match refused {
            Some(why) => Err(why),
            None => self.wanted().into_iter().try_for_each(|(queue, messages, bytes)| {
                let admits =
                    |state: &mut QueueState| state.deleted || state.sub.admits(messages, bytes);
                if queue.look(admits) { Ok(()) } else { Err(full(queue)) }
            }),
        };
        self.admitted = self.messages.len();
        if admitted.is_err() {
            self.arrivals.clear();
            self.direct.clear();
            self.messages.clear();
            self.refused.clear();
            self.admitted = 0;
        }
        admitted
    }

    /// Each queue once, with how many messages arrive there, and their bytes.
    fn wanted(&self) -> Vec<(&Arc<Queue>, u64, u64)> {
        let mut wanted: BTreeMap<LogId, (&Arc<Queue>, u64, u64)> = BTreeMap::new();
        for (queue, list) in &self.arrivals {
            let entry = wanted.entry(queue.id).or_insert((queue, 0, 0));
            entry.1 += list.len() as u64;
            let sizes = list.iter().filter_map(|(index, _)| self.messages.get(*index));
            entry.2 += sizes.map(|message| message.size() as u64).sum::<u64>();
        }
        wanted.into_values().collect()
    }

    /// What was admitted becomes retained values, where it asks for that.
    pub fn retain_admitted(&mut self, context: Context<'_>) {
        for message in self.messages.iter().take(self.admitted).filter(|m| context.retains(m)) {
            context.retain(message);
        }
    }

    fn append(&mut self, context: Context<'_>) {
        let (now, admitted) = (context.now, self.admitted);
        let mut arrivals = std::mem::take(&mut self.arrivals);
        for (queue, list) in arrivals.drain(..) {
            let (messages, placed, refused) = (&self.messages, &mut self.placed, &mut self.refused);
            let is_durable = queue.is_durable();
            queue.change(&mut self.after, |state, effects| {
                if state.deleted {
                    return;
                }
                for (index, tags) in list {
                    let Some(message) = messages.get(index).cloned() else { continue };
                    let size = u32::try_from(message.size()).unwrap_or(u32::MAX);
                    if index >= admitted && !state.sub.admits(1, u64::from(size)) {
                        if state.sub.rules.limits.overflow == Overflow::RejectNewDeadLetter {
                            effects.departures.push(Departure {
                                offset: Offset(u64::MAX),
                                message,
                                reason: Reason::MaxLength,
                                detail: None,
                                durable: false,
                            });
                        }
                        refused.push((index, full(&queue)));
                        continue;
                    }
                    // Level 2 is once only, also after a crash: its number must not be given again.
                    let once = message.meta().level.min(tags.level()) > 1;
                    let durable = is_durable && (message.meta().durable || once);
                    let stored_tags = durable.then(|| tags.clone());
                    let offset = state.sub.append(Arrival { message, tags, durable }, now);
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
        for group in self.placed.chunk_by(|a, b| a.0 == b.0) {
            let Some(message) = group.first().and_then(|(i, ..)| self.messages.get(*i)) else {
                continue;
            };
            let places = group.iter().map(|(_, queue, offset, tags)| (queue.id, *offset, tags));
            let index = self.unit.ops.record((message, now), places);
            self.unit.placed.extend(group.iter().map(|(_, queue, offset, _)| Placed {
                queue: queue.clone(),
                offset: *offset,
                index,
                reason: WriteReason::New,
            }));
        }
        self.placed.clear();
    }
}

fn full(queue: &Queue) -> Error {
    Error::new(ErrorKind::Full, format!("queue '{}' is full", queue.name))
}
