//! Messages of a content route's queue that its worker has: those that wait for another attempt, or for a place for
//! their results, and those behind them. Pure: the time comes in.

use crate::broker::turn::content::Judged;
use crate::broker::vhost::route_counters::BetweenAttempts;
use crate::log::Offset;
use crate::message::Message;
use std::collections::{BTreeMap, HashMap, VecDeque};
use tokio::time::Instant;

/// A message that the worker has.
#[derive(Debug)]
pub struct Input {
    pub offset: Offset,
    pub message: Message,
    pub source: u64,
    /// Failures so far.
    pub attempt: u32,
    /// How often a step asked to be called again.
    pub asked: u32,
    /// It waits for another attempt, and is counted as that.
    pub waits: Option<BetweenAttempts>,
    /// How often there was no place for its results.
    pub refused: u32,
    /// What its steps decided: only a place for that is missing.
    pub decided: Option<Judged>,
    /// Its source waits behind it.
    pub is_head: bool,
}

impl Input {
    /// A message as it came from the queue.
    pub fn new(offset: Offset, message: Message) -> Self {
        let source = message.source();
        Self {
            offset,
            message,
            source,
            attempt: 0,
            asked: 0,
            waits: None,
            refused: 0,
            decided: None,
            is_head: false,
        }
    }
}

/// Messages that wait.
#[derive(Debug, Default)]
pub struct WaitingInputs {
    /// By when they are to be looked at again; the number tells equals apart, in their order.
    due: BTreeMap<(Instant, u64), Input>,
    next: u64,
    /// Sources that wait behind one of those, with their messages in order.
    behind: HashMap<u64, VecDeque<Input>>,
}

impl WaitingInputs {
    /// The message waits until then; with `is_head` its source waits behind it.
    pub fn hold(&mut self, mut input: Input, until: Instant, is_head: bool) {
        input.is_head = is_head;
        if is_head {
            self.behind.entry(input.source).or_default();
        }
        self.next += 1;
        self.due.insert((until, self.next), input);
    }

    /// True when that message has to wait behind another one of its source.
    pub fn is_behind(&self, input: &Input) -> bool {
        !input.is_head && self.behind.contains_key(&input.source)
    }

    /// The message waits behind the one that its source waits for.
    pub fn put_behind(&mut self, input: Input) {
        self.behind.entry(input.source).or_default().push_back(input);
    }

    /// The source does not wait any more: its messages, in order.
    pub fn release(&mut self, source: u64) -> VecDeque<Input> {
        self.behind.remove(&source).unwrap_or_default()
    }

    /// When the next message is due.
    pub fn next(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Messages that are due, the earliest first.
    pub fn take_due(&mut self, now: Instant) -> VecDeque<Input> {
        let later = self.due.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.due, later).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Address, Fields, Meta, Origin, Timestamp};
    use std::sync::Arc;
    use std::time::Duration;

    fn input(offset: u64, client: &str) -> Input {
        let origin = Origin { client: client.into(), ..Origin::default() };
        let meta = Meta::new(Arc::new(origin), Timestamp(0));
        let message =
            Message::from_fields(Address::queue("q"), meta, &Fields::default(), "".into());
        Input::new(Offset(offset), message)
    }

    #[test]
    fn a_source_waits_behind_its_head_and_others_do_not() {
        let (mut waiting, now) = (WaitingInputs::default(), Instant::now());
        waiting.hold(input(1, "a"), now + Duration::from_secs(2), true);
        waiting.hold(input(2, "b"), now + Duration::from_secs(1), false);
        assert!(waiting.is_behind(&input(3, "a")) && !waiting.is_behind(&input(3, "b")));
        (3..6).for_each(|n| waiting.put_behind(input(n, "a")));
        assert_eq!(waiting.next(), Some(now + Duration::from_secs(1)));
        assert!(waiting.take_due(now).is_empty());
        let due = waiting.take_due(now + Duration::from_secs(2));
        assert_eq!(due.iter().map(|i| i.offset.0).collect::<Vec<_>>(), [2, 1]);
        let head = due.into_iter().find(|input| input.is_head).expect("one is the head");
        assert!(!waiting.is_behind(&head), "it does not wait behind itself");
        let released = waiting.release(head.source);
        assert_eq!(released.iter().map(|i| i.offset.0).collect::<Vec<_>>(), [3, 4, 5]);
        assert!(!waiting.is_behind(&input(6, "a")));
        assert_eq!(waiting.next(), None);
    }
}
