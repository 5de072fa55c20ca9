//! `message-id`: the same for a message however often, and to whichever consumer, its queue delivers it. It is the
//! queue and the place in it; what a restart forgets has the number of the start, too: its place is given again.
//!
//! STOMP 1.0 and 1.1 acknowledge by it. Clients of 1.2 should use the `ack` header; some use this one.

use crossdock_core::{ConsumerId, Offset, QueueIdentity};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// Queues that were read and have no subscription any more, at most: what was settled there is known as such.
const PAST_MAX: usize = 1 << 14;

/// The text up to the offset of a message: of one that a restart keeps, and of others.
pub(super) fn beginnings(of: QueueIdentity) -> (String, String) {
    let QueueIdentity { queue, start, is_durable } = of;
    let others = format!("Q{queue}.{start}-");
    (if is_durable { format!("Q{queue}-") } else { others.clone() }, others)
}

/// The queue's number and the place in it.
fn parse(text: &str) -> Option<(u64, Offset)> {
    let (queue, offset) = text.strip_prefix('Q')?.split_once('-')?;
    let queue = queue.split_once('.').map_or(queue, |(queue, _)| queue);
    Some((queue.parse().ok()?, Offset(offset.parse().ok()?)))
}

/// Who reads a queue here, and how far it was read.
#[derive(Debug, Default)]
struct Read {
    consumers: SmallVec<[ConsumerId; 1]>,
    /// Behind the last record that a subscription got that is gone.
    past: Offset,
}

/// The queues that a connection reads, by their numbers.
#[derive(Debug, Default)]
pub(super) struct ReadQueues(FxHashMap<u64, Read>);

impl ReadQueues {
    pub(super) fn add(&mut self, queue: u64, consumer: ConsumerId) {
        self.0.entry(queue).or_default().consumers.push(consumer);
    }

    /// A subscription is gone; it had got records up to `past`.
    pub(super) fn remove(&mut self, queue: u64, consumer: ConsumerId, past: Offset) {
        let Some(read) = self.0.get_mut(&queue) else { return };
        read.consumers.retain(|known| *known != consumer);
        read.past = read.past.max(past);
        if self.0.len() > PAST_MAX {
            self.0.retain(|_, read| !read.consumers.is_empty());
        }
    }

    /// What a message-id names: its place, the subscriptions that may have it, and up to where it is settled for sure.
    pub(super) fn find(&self, text: &str) -> Option<(Offset, &[ConsumerId], Offset)> {
        let (queue, offset) = parse(text)?;
        let read = self.0.get(&queue)?;
        Some((offset, &read.consumers, read.past))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_names_a_queue_and_a_place() {
        let durable = QueueIdentity { queue: 7, start: 3, is_durable: true };
        assert_eq!(beginnings(durable), ("Q7-".to_owned(), "Q7.3-".to_owned()));
        let (kept, others) = beginnings(QueueIdentity { is_durable: false, ..durable });
        assert_eq!((&*kept, &*others), ("Q7.3-", "Q7.3-"));
        assert_eq!(parse("Q7-12"), Some((7, Offset(12))));
        assert_eq!(parse("Q7.3-12"), Some((7, Offset(12))));
        for bad in ["", "Q", "Q7", "7-1", "Q7-", "Q-7", "Qx-7", "Q7-x", "T_1@@2@@3"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn queues_that_are_not_read_any_more_are_forgotten() {
        let mut queues = ReadQueues::default();
        for queue in 0..2 * PAST_MAX as u64 {
            queues.add(queue, ConsumerId(1));
            queues.remove(queue, ConsumerId(1), Offset(5));
        }
        assert!(queues.0.len() <= PAST_MAX);
        queues.add(1 << 40, ConsumerId(2));
        let (offset, consumers, past) = queues.find("Q1099511627776-9").unwrap();
        assert_eq!((offset, consumers, past), (Offset(9), &[ConsumerId(2)][..], Offset(0)));
    }
}
