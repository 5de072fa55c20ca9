//! Retained values go where a new binding leads. Those of level 0 are handed out as the connection's output drains:
//! [`Session::bind`] hands over what has room, and [`Session::events`] goes on with the rest.

use super::consume::taken_over;
use super::state::Session;
use crate::broker::turn::context::Context;
use crate::error::Error;
use crate::exchange::{Binding, RetainedValue, Search, Target};
use std::collections::VecDeque;

/// Retained values that are looked at, and that are handed to a new binding, with locks held.
const SEARCH_STEPS: usize = 1_000;
const REPLAY_SLICE: usize = 256;

/// Values that are still to be handed over. They are not kept here, but found again.
pub(super) struct Replaying {
    binding: Binding,
    search: Search,
    /// Not all that the binding stands for may be read.
    is_part: bool,
}

/// What one slice of values came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slice {
    /// There are no more, or the binding is gone.
    Last,
    More,
    /// The next value has no room in the connection's inbox now.
    NoRoom,
}

impl Session {
    /// Retained values that were there when the binding was made go where it leads, and those published meanwhile
    /// reach it live: each value is seen once, and never before an older one of its topic.
    ///
    /// They are looked for slice by slice, so that a search among many values holds nobody up. What a slice found is
    /// handed over with the topology's lock held, under which no publish sets a value: what is still its topic's value
    /// then has not reached the binding live. `is_part`: not all that the binding stands for may be read.
    pub(super) async fn replay(
        &mut self,
        binding: &Binding,
        newest: u64,
        is_part: bool,
    ) -> Result<(), Error> {
        // One that was made again gets its values from the beginning.
        let is_other = |other: &Binding| other.key != binding.key || other.source != binding.source;
        self.output.replays.retain(|replaying| is_other(&replaying.binding));
        let search = Search::new(&binding.key, newest);
        let mut replaying = Replaying { binding: binding.clone(), search, is_part };
        loop {
            match self.replay_slice(&mut replaying)? {
                Slice::Last => return Ok(()),
                Slice::More => tokio::task::yield_now().await,
                Slice::NoRoom => {
                    self.output.replays.push_back(replaying);
                    return Ok(());
                }
            }
        }
    }

    /// Goes on with what had no room, as far as there is some now. Not for little room: each time values are searched.
    #[cold]
    pub(super) fn replay_on(&mut self) {
        if !self.inbox.has_much_direct_room() {
            return;
        }
        let Some(mut replaying) = self.output.replays.pop_front() else { return };
        match self.replay_slice(&mut replaying) {
            Ok(Slice::NoRoom) => self.output.replays.push_front(replaying),
            Ok(Slice::More) => {
                self.output.replays.push_front(replaying);
                self.inbox.wake();
            }
            // Another connection has the session: its client subscribes there.
            Ok(Slice::Last) | Err(_) => match self.output.replays.is_empty() {
                true => self.output.replays = VecDeque::new(),
                false => self.inbox.wake(),
            },
        }
    }

    fn replay_slice(&mut self, replaying: &mut Replaying) -> Result<Slice, Error> {
        let (shared, vhost, now) = (self.shared(), self.vhost.clone(), self.shared().now());
        let Replaying { binding, search, is_part } = replaying;
        let mut found = vhost.retained.lock().search(search, SEARCH_STEPS, now);
        found.retain(|value| !*is_part || self.may_get(value.message.address()));
        let mut rest = found.as_slice();
        while !rest.is_empty() {
            let fitting = self.fitting(binding, rest);
            let (values, behind) = rest.split_at(fitting);
            if let Some(next) = behind.first()
                && fitting < REPLAY_SLICE
            {
                search.go_back_to(next.message.address().key.clone());
                if values.is_empty() {
                    return Ok(Slice::NoRoom);
                }
            }
            let context = Context { shared: &shared, vhost: &vhost, now };
            // A connection that takes the session over waits for the end of what is begun here, and no more.
            self.touch();
            let is_theirs = self.named.as_ref().is_some_and(|named| !named.is_of(&self.inbox));
            if is_theirs && matches!(binding.target, Target::Session(_)) {
                self.finish(context, None);
                return Err(taken_over());
            }
            let is_bound = {
                let topology = vhost.topology.write();
                let is_bound = topology.is_bound(binding);
                if is_bound {
                    let target = (&*binding, self.named.as_ref());
                    self.turn.replay_values(context, &topology, target, values);
                }
                is_bound
            };
            self.turn.run(context);
            self.finish(context, None);
            if !is_bound {
                return Ok(Slice::Last);
            }
            if !behind.is_empty() && fitting < REPLAY_SLICE {
                return Ok(Slice::NoRoom);
            }
            rest = behind;
        }
        Ok(if search.is_over() { Slice::Last } else { Slice::More })
    }

    /// How many of these values have room where they go, of one slice at most. One always has in an empty inbox.
    fn fitting(&self, binding: &Binding, values: &[RetainedValue]) -> usize {
        let (mut room, is_idle) = self.inbox.direct_room();
        let slice = values.iter().take(REPLAY_SLICE).enumerate();
        let is_direct = matches!(binding.target, Target::Session(_));
        for (at, RetainedValue { message, .. }) in slice {
            if !is_direct || message.meta().level.min(binding.tag.level) > 0 {
                continue;
            }
            match room.checked_sub(message.size()) {
                Some(left) => room = left,
                None if at == 0 && is_idle => room = 0,
                None => return at,
            }
        }
        values.len().min(REPLAY_SLICE)
    }
}
