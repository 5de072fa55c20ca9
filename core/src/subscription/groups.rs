//! Giving out in a queue where messages of groups have come: each group to one consumer, as long as that consumes. What
//! the consumer of a group has no credit for is in nobody's way: others get what stands behind it.

use super::consumers::Choice;
use super::dispatch::{EXPIRE_MAX, hand};
use super::{Effects, LeftBy, Subscription};
use crate::log::{Moment, Offset};
use crate::message::{Group, Reason, Timestamp};
use rustc_hash::FxHashSet;

/// Records behind the head that are looked at for somebody with credit.
const LOOKS: usize = 512;

/// What became of one record.
enum Step {
    /// It was given out, or has expired.
    Gone,
    /// Its consumer has no credit.
    Waits,
    /// Nothing behind it may be looked at.
    Stop,
}

impl Subscription {
    /// As the ordinary way, for queues that have groups.
    #[cold]
    pub(super) fn give_out_groups(&mut self, now: Timestamp, out: &mut Effects) {
        let mut waiting: FxHashSet<u64> = FxHashSet::default();
        let mut goes_on = true;
        while std::mem::take(&mut goes_on) {
            // Passes over what is with consumers at the head, however much that is.
            if self.ready.peek(&mut self.log).is_none() {
                return;
            }
            for offset in self.ready.upcoming(&mut self.log, LOOKS) {
                // What has expired at the head leaves without anybody's credit.
                if !self.consumers.any_credit() {
                    return;
                }
                match self.give_one((offset, now), &mut waiting, out) {
                    Step::Gone => goes_on = true,
                    Step::Waits => {}
                    Step::Stop => return,
                }
            }
        }
    }

    fn give_one(
        &mut self,
        (offset, now): (Offset, Timestamp),
        waiting: &mut FxHashSet<u64>,
        out: &mut Effects,
    ) -> Step {
        let is_old = self.log.is_old(offset);
        let is_strict = self.rules.keeps_seen || self.consumers.has_strict();
        let Some(record) = self.log.get_mut(offset) else { return Step::Waits };
        let due = record.expiry(self.rules.keeps_seen).is_some_and(|at| at <= now);
        let is_first_offer = due && Self::is_first_offer(&self.fresh, is_strict, offset);
        let expired = due && !is_first_offer;
        let Some(message) = &record.message else {
            if expired && !self.rules.dead_letters {
                self.drop_unread(offset, LeftBy::Expired, out);
                return Step::Gone;
            }
            if expired && self.rules.keeps_dead {
                self.hold_ready_dead(offset, (Reason::Expired, None));
                return Step::Gone;
            }
            // What stands behind it may be of the same group.
            self.load_from(offset, out);
            return Step::Stop;
        };
        if expired {
            if out.departures.len() >= EXPIRE_MAX {
                return Step::Stop;
            }
            let message = message.clone();
            self.leave(offset, message, Reason::Expired, out);
            return Step::Gone;
        }
        let group: Option<Group> = message.meta().group;
        // What waits keeps its place in front of the others of its group.
        if group.is_some_and(|group| waiting.contains(&group.bucket())) {
            return Step::Waits;
        }
        let choice = match group {
            Some(group) => self.consumers.choose_for_group(group, record.size, &mut out.wake),
            None => self.consumers.choose(record.size, &mut out.wake),
        };
        let Choice::Take(handle) = choice else {
            waiting.extend(group.map(Group::bucket));
            self.fresh.remove(&offset);
            return Step::Waits;
        };
        let (priority, counted) = (record.priority, record.counted);
        let to = (&mut self.consumers, &self.counts.deliveries);
        let Some(delivery) = hand(to, record, (handle, offset, is_old), Moment::of(now)) else {
            return Step::Stop;
        };
        out.deliveries.push((handle, delivery));
        self.ready.take(offset, priority);
        self.count_out(counted);
        Step::Gone
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Arrival, Attached, CameBy, ConsumerId, Credit, Handle, Outcome, Rules};
    use super::*;
    use crate::exchange::{LogId, Tags};
    use crate::message::{Address, Fields, Message, Meta};
    use bytes::Bytes;
    use std::collections::HashMap;
    use std::sync::Arc;

    const NOW: Timestamp = Timestamp(1000);
    const GROUPS: u64 = 12;

    fn message(group: u64, number: u64) -> Message {
        let mut meta = Meta::new(Arc::default(), NOW);
        // Some are of none.
        meta.group = (group > 0).then(|| Group::of(format!("g{group}").as_bytes(), None));
        let body = Bytes::from(format!("{group} {number}"));
        Message::from_fields(Address::queue("q"), meta, &Fields::default(), body)
    }

    /// A queue, who has what of it, and the last number of each group that was given out.
    struct Play {
        queue: Subscription,
        has: HashMap<Handle, Vec<(Offset, u64, u64)>>,
        next: HashMap<u64, u64>,
        chance: u64,
    }

    impl Play {
        fn draw(&mut self, below: u64) -> u64 {
            self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.chance >> 33) % below
        }

        fn attach(&mut self) -> Handle {
            let handle = self.queue.consumers.handle();
            let credit = Credit::messages(1 + self.draw(3) as u32);
            self.queue.consumers.attach(Attached::new(handle, ConsumerId(handle.0), credit));
            self.has.insert(handle, Vec::new());
            handle
        }

        fn dispatch(&mut self, mut out: Effects) {
            self.queue.dispatch(NOW, &mut out);
            for (handle, delivery) in out.deliveries {
                let text = String::from_utf8(delivery.message.body().to_vec()).unwrap();
                let (group, number) = text.split_once(' ').unwrap();
                let (group, number) = (group.parse().unwrap(), number.parse().unwrap());
                if group > 0 {
                    self.check(handle, group, number);
                }
                self.has.get_mut(&handle).unwrap().push((delivery.offset, group, number));
            }
        }

        /// One consumer has all of a group that is in flight, and nothing of it was given out of its order.
        fn check(&mut self, handle: Handle, group: u64, number: u64) {
            for (other, has) in &self.has {
                let is_there = has.iter().any(|(_, known, _)| *known == group);
                assert!(*other == handle || !is_there, "group {group} is with two consumers");
            }
            let next = self.next.entry(group).or_default();
            assert!(number <= *next, "{number} of group {group} before {next}");
            *next = (*next).max(number + 1);
        }
    }

    #[test]
    fn much_with_consumers_behind_a_waiting_group_is_passed_in_the_end() {
        let queue = Subscription::new(LogId(1), Rules::default());
        let (has, next) = (HashMap::new(), HashMap::new());
        let mut play = Play { queue, has, next, chance: 0 };
        let attach = |play: &mut Play, credit| {
            let handle = play.queue.consumers.handle();
            play.queue.consumers.attach(Attached::new(handle, ConsumerId(handle.0), credit));
            play.has.insert(handle, Vec::new());
            handle
        };
        let busy = attach(&mut play, Credit::messages(1));
        let other = attach(&mut play, Credit::messages(0));
        let append = |play: &mut Play, group, number| {
            let (message, tags, by) = (message(group, number), Tags::default(), CameBy::Publish);
            play.queue.append(Arrival { message, tags, durable: false, by }, NOW);
        };
        append(&mut play, 1, 0);
        play.dispatch(Effects::default());
        assert_eq!(play.has[&busy].len(), 1);
        append(&mut play, 1, 1);
        (0..5000).for_each(|number| append(&mut play, 0, number));
        play.queue.consumers.set_credit(other, Credit::UNLIMITED);
        play.dispatch(Effects::default());
        // As far as one looks behind the head.
        let some = play.has[&other].len();
        assert!((LOOKS..5000).contains(&some), "{some}");
        let mut out = Effects::default();
        let (offset, ..) = play.has.get_mut(&busy).unwrap().remove(0);
        play.queue.settle(busy, &[offset], &Outcome::Accepted, &mut out);
        play.dispatch(out);
        assert_eq!((play.has[&busy].len(), play.has[&other].len()), (1, 5000));
    }

    #[test]
    fn groups_keep_their_order_and_their_consumer() {
        for seed in 0..8 {
            let queue = Subscription::new(LogId(1), Rules::default());
            let (has, next) = (HashMap::new(), HashMap::new());
            let mut play = Play { queue, has, next, chance: seed };
            let mut sent = HashMap::<u64, u64>::new();
            for _ in 0..800 {
                let mut out = Effects::default();
                let handles: Vec<Handle> = play.has.keys().copied().collect();
                let one = play.draw(handles.len().max(1) as u64) as usize;
                match (play.draw(8), handles.get(one).copied()) {
                    (0, _) if handles.len() < 6 => _ = play.attach(),
                    (1, Some(handle)) if play.draw(4) == 0 => {
                        // What it had comes back, and to another consumer, from the first of it on.
                        for (_, group, number) in play.has.remove(&handle).unwrap() {
                            play.next.entry(group).and_modify(|next| *next = number.min(*next));
                        }
                        play.queue.leave_all(handle, &[], &Outcome::Left, &mut out);
                    }
                    (2..4, Some(handle)) if !play.has[&handle].is_empty() => {
                        let (offset, ..) = play.has.get_mut(&handle).unwrap().remove(0);
                        play.queue.settle(handle, &[offset], &Outcome::Accepted, &mut out);
                    }
                    _ => {
                        let group = play.draw(GROUPS);
                        let number = sent.entry(group).or_default();
                        let (message, tags) = (message(group, *number), Tags::default());
                        *number += 1;
                        let by = CameBy::Publish;
                        let arrival = Arrival { message, tags, durable: false, by };
                        play.queue.append(arrival, NOW);
                    }
                }
                play.dispatch(out);
            }
            // All of it comes out in the end.
            play.attach();
            while play.queue.totals().waiting > 0 {
                let mut out = Effects::default();
                for (handle, has) in &mut play.has {
                    let offsets: Vec<Offset> = has.drain(..).map(|(offset, ..)| offset).collect();
                    play.queue.settle(*handle, &offsets, &Outcome::Accepted, &mut out);
                }
                play.dispatch(out);
            }
            for (group, next) in play.next.iter().filter(|(group, _)| **group > 0) {
                assert_eq!(next, &sent[group], "group {group}");
            }
        }
    }
}
