//! Dead-lettering: what a message becomes when it leaves a queue otherwise than by being accepted, and the rule that
//! ends circles. Where it goes is the queue's setting; putting it there is the turn's work.

use crate::broker::vhost::queue::Queue;
use crate::message::{Address, Death, Formats, Key, Message, Name, Reason, Timestamp};
use crate::subscription::Departure;

/// A message on its way to a dead-letter address.
pub struct DeadLetter {
    pub message: Message,
    /// Further keys by which it is routed at its exchange.
    pub copies: Vec<Key>,
}

/// The message as it goes to the queue's dead-letter address: its death is noted, its expiry is gone. The keys that it
/// was published with go with it, but for a queue with a dead-letter key: their header is removed then. None when there
/// is no address.
pub fn dead_letter(
    queue: &Queue,
    left: &Departure,
    formats: &Formats,
    now: Timestamp,
) -> Option<DeadLetter> {
    let message = &left.message;
    let address = queue.spec.dead_letter_address(message.address())?;
    let (header, copies) = formats.copies(message).unzip();
    let copies = copies.unwrap_or_default();
    let keys_at = |exchange: &Name| -> Vec<Key> {
        copies
            .iter()
            .map(|key| Address::new(Name::default(), key.clone()).at(exchange).key)
            .collect()
    };
    let mut meta = message.meta().clone();
    meta.moves = match left.reason {
        // A consumer saw it, and decided: that may happen any number of times.
        Reason::Rejected | Reason::DeliveryLimit => 1,
        _ => meta.moves.saturating_add(1),
    };
    let mut deaths = meta.deaths().to_vec();
    let known = deaths.iter().position(|d| d.queue == queue.name && d.reason == left.reason);
    let death = match known {
        Some(at) => {
            let old = deaths.remove(at);
            Death { count: old.count.saturating_add(1), detail: left.detail.clone(), ..old }
        }
        None => Death {
            queue: queue.name.clone(),
            reason: left.reason,
            count: 1,
            time: now,
            address: message.address().clone(),
            copies: (!copies.is_empty()).then(|| keys_at(&message.address().exchange).into()),
            ttl_ms: meta.expires.map(|at| meta.published.until(at)),
            detail: left.detail.clone(),
        },
    };
    deaths.insert(0, death);
    meta.deaths = Some(deaths.into());
    meta.expires = None;
    // It was retained, if so, when it was published.
    meta.retain = false;
    let has_key = queue.spec.dead_letter.as_ref().is_some_and(|(_, key)| key.is_some());
    Some(match header.filter(|_| has_key) {
        None => {
            let copies = keys_at(&address.exchange);
            DeadLetter { message: message.with(address, meta), copies }
        }
        Some(header) => {
            let mut fields = message.fields(formats).clone();
            fields.headers.retain(|(name, _)| &**name != header);
            let message = Message::from_fields(address, meta, &fields, message.body().clone());
            DeadLetter { message, copies: Vec::new() }
        }
    })
}

/// A queue may not meet a message again that went round without anybody rejecting it in between.
pub fn is_cycle(queue: &Name, message: &Message) -> bool {
    let deaths = message.meta().deaths();
    match deaths.iter().position(|death| death.queue == *queue) {
        Some(last) => deaths.iter().take(last + 1).all(|death| death.reason != Reason::Rejected),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::LogId;
    use crate::log::{Offset, QueueSpec};
    use crate::message::{Fields, Meta};
    use bytes::Bytes;
    use std::sync::Arc;

    fn queue(name: &str) -> Arc<Queue> {
        let mut spec = QueueSpec::durable(name);
        spec.dead_letter = Some(("dlx".into(), None));
        Queue::new((LogId(1), &"/".into()), spec, None, Timestamp(0))
    }

    fn dead_letter(queue: &Queue, left: &Departure, now: Timestamp) -> Option<Message> {
        let formats = Formats::new(Vec::new());
        super::dead_letter(queue, left, &formats, now).map(|dead| dead.message)
    }

    fn message() -> Message {
        let mut meta = Meta::new(Arc::default(), Timestamp(100));
        meta.expires = Some(Timestamp(600));
        Message::from_fields(Address::queue("q"), meta, &Fields::default(), Bytes::new())
    }

    fn left(message: Message, reason: Reason) -> Departure {
        let (offset, detail, durable, left_by, stays) = (Offset(0), None, false, None, false);
        Departure { offset, message, reason, detail, durable, left_by, stays }
    }

    #[test]
    fn deaths_are_noted_and_counted_up() {
        let q = queue("q");
        let once = dead_letter(&q, &left(message(), Reason::Expired), Timestamp(700)).unwrap();
        assert_eq!((once.meta().expires, once.meta().moves), (None, 1));
        let death = &once.meta().deaths()[0];
        assert_eq!((death.count, death.ttl_ms, death.time), (1, Some(500), Timestamp(700)));
        let other =
            dead_letter(&queue("r"), &left(once, Reason::Rejected), Timestamp(800)).unwrap();
        let again = dead_letter(&q, &left(other, Reason::Expired), Timestamp(900)).unwrap();
        let list: Vec<_> = again.meta().deaths().iter().map(|d| (&*d.queue, d.count)).collect();
        assert_eq!(list, [("q", 2), ("r", 1)]);
        assert_eq!(again.meta().deaths()[0].time, Timestamp(700));
    }

    #[test]
    fn circles_end_unless_somebody_rejected() {
        let expired =
            dead_letter(&queue("q"), &left(message(), Reason::Expired), Timestamp(1)).unwrap();
        assert!(is_cycle(&"q".into(), &expired) && !is_cycle(&"r".into(), &expired));
        let rejected =
            dead_letter(&queue("q"), &left(message(), Reason::Rejected), Timestamp(1)).unwrap();
        assert!(!is_cycle(&"q".into(), &rejected));
        let chain = (0..100).try_fold(message(), |message, n| {
            dead_letter(&queue(&n.to_string()), &left(message, Reason::Expired), Timestamp(1))
        });
        let through = chain.expect("a chain of queues may be as long as it likes");
        assert_eq!(through.meta().deaths().len(), 100);
        assert!(is_cycle(&"0".into(), &through) && !is_cycle(&"100".into(), &through));
    }
}
