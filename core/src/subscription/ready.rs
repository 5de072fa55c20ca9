//! Which record is next.
//!
//! Without priorities the log itself is the order: a cursor walks it, and what came back stands in a small set in
//! front of the cursor. With priorities there is one ordered set of offsets for each priority in use.

use crate::log::{Log, Offset, RecordState};
use std::collections::{BTreeMap, BTreeSet};

/// The order of ready records.
#[derive(Debug)]
pub enum Ready {
    Fifo {
        /// Nothing at or behind it was looked at.
        cursor: Offset,
        /// Ready records before the cursor.
        returned: BTreeSet<Offset>,
    },
    ByPriority(BTreeMap<u8, BTreeSet<Offset>>),
}

impl Ready {
    /// An empty order.
    pub fn new(by_priority: bool) -> Self {
        match by_priority {
            true => Ready::ByPriority(BTreeMap::new()),
            false => Ready::Fifo { cursor: Offset(0), returned: BTreeSet::new() },
        }
    }

    /// A record became ready: new, committed or returned.
    pub fn push(&mut self, offset: Offset, priority: u8) {
        match self {
            Ready::Fifo { cursor, returned } if offset < *cursor => {
                returned.insert(offset);
            }
            Ready::Fifo { .. } => {}
            Ready::ByPriority(sets) => {
                sets.entry(priority).or_default().insert(offset);
            }
        }
    }

    /// The next record, if there is one. An uncommitted record stops the walk: what stands behind it must not
    /// overtake it.
    pub fn peek(&mut self, log: &mut Log) -> Option<Offset> {
        match self {
            Ready::Fifo { cursor, returned } => {
                if let Some(first) = returned.first() {
                    return Some(*first);
                }
                loop {
                    let (found, state) = log.next_from(*cursor)?;
                    match state {
                        RecordState::Ready => {
                            *cursor = found;
                            return Some(found);
                        }
                        RecordState::Uncommitted => {
                            *cursor = found;
                            return None;
                        }
                        RecordState::InFlight(_)
                        | RecordState::PendingRemoval
                        | RecordState::Held => *cursor = Offset(found.0 + 1),
                    }
                }
            }
            Ready::ByPriority(sets) => {
                let (_, last) = sets.last_key_value()?;
                last.first().copied()
            }
        }
    }

    /// The next records, as far as they may be given out now: not behind an uncommitted one.
    pub fn upcoming(&self, log: &mut Log, most: usize) -> Vec<Offset> {
        let (cursor, returned) = match self {
            Ready::Fifo { cursor, returned } => (*cursor, returned),
            Ready::ByPriority(sets) => {
                let all = sets.values().rev().flatten();
                return all.take(most).copied().collect();
            }
        };
        let mut found: Vec<Offset> = returned.iter().take(most).copied().collect();
        let mut at = cursor;
        // What is with consumers counts as looked at, too: the time that this takes is bounded.
        for _ in 0..2 * most {
            let Some((offset, state)) = log.next_from(at).filter(|_| found.len() < most) else {
                break;
            };
            at = Offset(offset.0 + 1);
            match state {
                RecordState::Ready => found.push(offset),
                RecordState::Uncommitted => break,
                RecordState::InFlight(_) | RecordState::PendingRemoval | RecordState::Held => {}
            }
        }
        found
    }

    /// Ready records from that priority and offset on, the highest priority first. None, where the log is the order.
    pub fn from(&self, (priority, offset): (u8, Offset)) -> impl Iterator<Item = (u8, Offset)> {
        let sets = match self {
            Ready::Fifo { .. } => None,
            Ready::ByPriority(sets) => Some(sets),
        };
        let sets = sets.into_iter().flat_map(move |sets| sets.range(..=priority).rev());
        sets.flat_map(move |(own, set)| {
            let first = if *own == priority { offset } else { Offset(0) };
            set.range(first..).map(|offset| (*own, *offset))
        })
    }

    /// The record that a length limit drops first: the oldest of the lowest priority.
    pub fn peek_lowest(&mut self, log: &mut Log) -> Option<Offset> {
        match self {
            Ready::Fifo { .. } => self.peek(log),
            Ready::ByPriority(sets) => sets.first_key_value()?.1.first().copied(),
        }
    }

    /// The record leaves the order: it is given out or gone.
    pub fn take(&mut self, offset: Offset, priority: u8) {
        match self {
            Ready::Fifo { cursor, returned } => {
                if !returned.remove(&offset) && *cursor == offset {
                    *cursor = Offset(offset.0 + 1);
                }
            }
            Ready::ByPriority(sets) => {
                if let Some(set) = sets.get_mut(&priority) {
                    set.remove(&offset);
                    if set.is_empty() {
                        sets.remove(&priority);
                    }
                }
            }
        }
    }

    /// The first ready record of each order, for expiry.
    pub fn heads(&self, log: &mut Log) -> Vec<Offset> {
        match self {
            Ready::Fifo { cursor, returned } => {
                let mut at = *cursor;
                let walked = loop {
                    let Some((found, state)) = log.next_from(at) else { break None };
                    match state {
                        RecordState::Ready => break Some(found),
                        RecordState::Uncommitted => break None,
                        RecordState::InFlight(_)
                        | RecordState::PendingRemoval
                        | RecordState::Held => at = Offset(found.0 + 1),
                    }
                };
                returned.first().copied().into_iter().chain(walked).collect()
            }
            Ready::ByPriority(sets) => sets.values().filter_map(|s| s.first().copied()).collect(),
        }
    }
}
