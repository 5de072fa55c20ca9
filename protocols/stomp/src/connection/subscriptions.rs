//! A connection's subscriptions, and what each of them has unsettled. State only: the session is called elsewhere.
//!
//! A delivery's `ack` is a token, `T_<consumer>@@<session>@@<number>`; numbers count the connection's deliveries, so
//! that within a subscription they ascend. Its `message-id` is the message's own (`message_ids`).

use super::message_ids::{self, ReadQueues};
use crate::codec::{Version, Writer, decimal};
use crate::mapping::AckMode;
use bytes::{BufMut, Bytes, BytesMut};
use crossdock_core::{ByConsumer, ConsumerId, Delivery, Name, Offset, Origin, QueueIdentity};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a first delivery begins with. Clients of other brokers look for the header on each message.
const FIRST: &[u8] = b"MESSAGE\nredelivered:false\n";
/// So many are settled before others have their turn.
const SLICE: usize = 4096;
/// What a subscription takes in memory besides its id, which it has four times, about.
const SUBSCRIPTION_BYTES: usize = 512;
/// Unsettled deliveries among which a message-id is looked for before they are indexed.
const LOOKS: usize = 32;
/// With fewer holes than this, closing them is not worth the work.
const HOLES_MIN: usize = 64;

/// One delivery, as its receiver names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub consumer: ConsumerId,
    pub number: u64,
}

impl Token {
    /// A delivery that is settled. Deliveries are counted from 1.
    const SETTLED: Token = Token { consumer: ConsumerId(0), number: 0 };

    pub(super) fn is_settled(self) -> bool {
        self.number == 0
    }

    /// The token that this session wrote, or none.
    pub(super) fn parse(text: &str, session: u64) -> Option<Token> {
        let mut parts = text.strip_prefix("T_")?.split("@@");
        let (consumer, of, number) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || of.parse::<u64>() != Ok(session) {
            return None;
        }
        Some(Token { consumer: ConsumerId(consumer.parse().ok()?), number: number.parse().ok()? })
    }

    /// All but the number.
    fn put(out: &mut BytesMut, consumer: ConsumerId, session: u64) {
        out.put_slice(b"T_");
        decimal(out, u64::from(consumer.0));
        out.put_slice(b"@@");
        decimal(out, session);
        out.put_slice(b"@@");
    }
}

/// What was delivered and is not settled, oldest first. What is settled out of order leaves a hole.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    entries: VecDeque<(u64, Option<Offset>)>,
    holes: usize,
    /// Numbers by offset, once one was asked for that is not among the first.
    index: Option<FxHashMap<Offset, u64>>,
}

/// Offsets to be settled.
pub(super) type Offsets = SmallVec<[Offset; 8]>;

impl Unsettled {
    fn memory(&self) -> usize {
        let index = self.index.as_ref().map_or(0, |index| 2 * index.capacity());
        (self.entries.capacity() + index) * size_of::<(u64, Option<Offset>)>()
    }

    fn push(&mut self, number: u64, offset: Offset) {
        self.entries.push_back((number, Some(offset)));
        if let Some(index) = &mut self.index {
            index.insert(offset, number);
        }
    }

    /// The number of the unsettled delivery of that record. Nearly always it is one of the first.
    fn number_of(&mut self, offset: Offset) -> Option<u64> {
        let first = self.entries.iter().take(LOOKS);
        let mut is_it = first.filter(|(_, known)| *known == Some(offset));
        let found = is_it.next().map(|(number, _)| *number);
        if found.is_some() || self.entries.len() <= LOOKS {
            return found;
        }
        let numbered = |(number, offset): &(u64, Option<Offset>)| Some(((*offset)?, *number));
        let index = || self.entries.iter().filter_map(numbered).collect();
        self.index.get_or_insert_with(index).get(&offset).copied()
    }

    /// These are settled.
    fn forget(&mut self, offsets: &[Offset]) {
        let Some(index) = &mut self.index else { return };
        for offset in offsets {
            index.remove(offset);
        }
        if self.entries.is_empty() {
            self.index = None;
        }
    }

    /// The delivery of that number, if it is unsettled.
    fn take_one(&mut self, number: u64) -> Offsets {
        let mut offsets = Offsets::new();
        if let Ok(at) = self.entries.binary_search_by_key(&number, |(number, _)| *number)
            && let Some((_, offset)) = self.entries.get_mut(at)
            && let Some(offset) = offset.take()
        {
            offsets.push(offset);
            self.holes += 1;
        }
        self.close_holes();
        self.forget(&offsets);
        offsets
    }

    /// The first unsettled deliveries up to that number, one slice of them.
    fn take_through(&mut self, number: u64) -> Offsets {
        let mut offsets = Offsets::new();
        for _ in 0..SLICE {
            let next = self.entries.pop_front_if(|(front, _)| *front <= number);
            let Some((_, offset)) = next else { break };
            match offset {
                Some(offset) => offsets.push(offset),
                None => self.holes -= 1,
            }
        }
        self.close_holes();
        self.forget(&offsets);
        offsets
    }

    fn close_holes(&mut self) {
        while self.entries.pop_front_if(|(_, offset)| offset.is_none()).is_some() {
            self.holes -= 1;
        }
        if self.holes > HOLES_MIN && self.holes > self.entries.len() / 2 {
            self.entries.retain(|(_, offset)| offset.is_some());
            self.holes = 0;
        }
        if self.entries.capacity() > SLICE && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }
}

/// One subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    id: String,
    /// What was subscribed to, where UNSUBSCRIBE may name that instead of the id.
    destination: Option<Box<str>>,
    mode: AckMode,
    /// UNSUBSCRIBE came. What it has unsettled may be acknowledged until the connection ends.
    pub ended: bool,
    /// Its queue, when that outlives it.
    pub kept: Option<Name>,
    /// Messages of its own connection are dropped: no other consumer reads its queue.
    drops_own: bool,
    /// The first lines of a first delivery, up to the name of the message-id.
    head: Bytes,
    /// The message-ids, up to the offset: of messages that a restart keeps, and of others.
    message_ids: [Bytes; 2],
    /// The number of its queue.
    queue: u64,
    /// Behind the last record that it got.
    upto: Offset,
    /// Its messages have the headers that ActiveMQ writes on each.
    pub is_jms: bool,
    /// The `ack` header line, up to the number.
    pub ack: Option<Bytes>,
    /// The `destination` line of the queue of a virtual topic, which stands before where a message was sent.
    pub shown: Option<Bytes>,
    unsettled: Unsettled,
}

impl Subscription {
    /// A delivery's first lines, up to the offset in the message-id.
    pub(super) fn put_head(&self, out: &mut BytesMut, (redelivered, durable): (bool, bool)) {
        match redelivered {
            false => out.put_slice(&self.head),
            true => {
                out.put_slice(b"MESSAGE\nredelivered:true\n");
                out.put_slice(self.head.strip_prefix(FIRST).unwrap_or_default());
            }
        }
        let [kept, others] = &self.message_ids;
        out.put_slice(if durable { kept } else { others });
    }
}

/// What a subscription is made of.
pub(super) struct Subscribed<'a> {
    pub id: &'a str,
    /// The peer gave that id, and finds it on its messages.
    pub named: bool,
    pub mode: AckMode,
    pub kept: Option<Name>,
    pub drops_own: bool,
    pub queue: QueueIdentity,
    pub is_jms: bool,
}

/// All of a connection.
#[derive(Debug)]
pub(super) struct Subscriptions {
    session: u64,
    version: Version,
    /// Those that ended, too, while they have something unsettled.
    all: ByConsumer<Subscription>,
    ids: FxHashMap<String, ConsumerId>,
    queues: ReadQueues,
    /// Number of the last delivery.
    issued: u64,
    /// Bytes of memory that they take, with what they have unsettled.
    bytes: usize,
}

impl Subscriptions {
    pub(super) fn new(session: u64, version: Version) -> Self {
        let (all, ids) = (ByConsumer::default(), FxHashMap::default());
        let queues = ReadQueues::default();
        Self { session, version, all, ids, queues, issued: 0, bytes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Bytes of memory that one with that id takes.
    pub(super) fn cost(id: &str) -> usize {
        SUBSCRIPTION_BYTES + 4 * id.len()
    }

    /// Bytes of memory that all of them take.
    pub(super) fn memory(&self) -> usize {
        self.bytes
    }

    /// The consumer behind that id.
    pub(super) fn consumer(&self, id: &str) -> Option<ConsumerId> {
        self.ids.get(id).copied()
    }

    /// STOMP 1.0: UNSUBSCRIBE may name this subscription by its destination.
    pub(super) fn note_destination(&mut self, consumer: ConsumerId, destination: &str) {
        if let Some(subscription) = self.all.get_mut(&consumer) {
            self.bytes += destination.len();
            subscription.destination = Some(destination.into());
        }
    }

    /// Its messages have the headers that ActiveMQ writes on each.
    pub(super) fn show_as_jms(&mut self, consumer: ConsumerId) {
        if let Some(subscription) = self.all.get_mut(&consumer) {
            subscription.is_jms = true;
        }
    }

    /// Its messages show that destination, whatever they were sent to.
    pub(super) fn show(&mut self, consumer: ConsumerId, destination: &str) {
        let mut line = BytesMut::new();
        // What came in a header of this version can be written into one.
        let _written =
            Writer::go_on(&mut line, self.version.rules()).header("destination", destination);
        if let Some(subscription) = self.all.get_mut(&consumer) {
            self.bytes += line.len();
            subscription.shown = Some(line.freeze());
        }
    }

    /// The oldest subscription to that destination, by either name of it.
    pub(super) fn at(&self, destination: &str) -> Option<ConsumerId> {
        let is_there = |subscription: &Subscription| {
            !subscription.ended && subscription.destination.as_deref() == Some(destination)
        };
        let named = || self.all.iter().filter(|(_, subscription)| is_there(subscription));
        self.consumer(destination).or_else(|| named().map(|(consumer, _)| *consumer).min())
    }

    /// The consumers of all that have not ended.
    pub(super) fn consumers(&self) -> impl Iterator<Item = ConsumerId> {
        self.ids.values().copied()
    }

    pub(super) fn add(&mut self, consumer: ConsumerId, subscribed: Subscribed<'_>) {
        let Subscribed { id, named, mode, kept, drops_own, queue, is_jms } = subscribed;
        let mut head = BytesMut::new();
        head.put_slice(FIRST);
        let mut writer = Writer::go_on(&mut head, self.version.rules());
        // An id that came in a header of this version can be written into one.
        let _written = !named || writer.header("subscription", id);
        head.put_slice(b"message-id:");
        let (stored, others) = message_ids::beginnings(queue);
        // STOMP 1.2 §MESSAGE: an ack header where acknowledgment is explicit.
        let ack = (mode != AckMode::Auto && self.version == Version::V12).then(|| {
            let mut line = BytesMut::from(&b"ack:"[..]);
            Token::put(&mut line, consumer, self.session);
            line.freeze()
        });
        let subscription = Subscription {
            id: id.to_owned(),
            destination: None,
            mode,
            ended: false,
            kept,
            drops_own,
            head: head.freeze(),
            message_ids: [stored.into(), others.into()],
            queue: queue.queue,
            upto: Offset(0),
            is_jms,
            ack,
            shown: None,
            unsettled: Unsettled::default(),
        };
        self.bytes += Self::cost(id);
        self.ids.insert(id.to_owned(), consumer);
        self.queues.add(queue.queue, consumer);
        self.all.insert(consumer, subscription);
    }

    /// UNSUBSCRIBE: no more deliveries. Its queue, when that outlives it, and true when it has something unsettled,
    /// which stays with it.
    pub(super) fn end(&mut self, consumer: ConsumerId) -> Option<(Option<Name>, bool)> {
        let subscription = self.all.get_mut(&consumer).filter(|known| !known.ended)?;
        let (kept, holds) = (subscription.kept.take(), !subscription.unsettled.entries.is_empty());
        match holds {
            true => {
                subscription.ended = true;
                self.ids.remove(&subscription.id);
            }
            false => drop(self.remove(consumer)),
        }
        Some((kept, holds))
    }

    /// The id of a delivery's subscription, while that has something unsettled.
    pub(super) fn id_of(&self, token: Token) -> Option<&str> {
        self.all.get(&token.consumer).map(|subscription| &*subscription.id)
    }

    pub(super) fn remove(&mut self, consumer: ConsumerId) -> Option<Subscription> {
        let subscription = self.all.remove(&consumer)?;
        self.queues.remove(subscription.queue, consumer, subscription.upto);
        if !subscription.ended {
            self.ids.remove(&subscription.id);
        }
        let destination = subscription.destination.as_ref().map_or(0, |text| text.len());
        let shown = subscription.shown.as_ref().map_or(0, Bytes::len);
        let noted = destination + shown;
        let bytes = Self::cost(&subscription.id) + subscription.unsettled.memory() + noted;
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(subscription)
    }

    /// True for a message that this connection sent and the subscription does not want back.
    pub(super) fn is_unwanted(&self, delivery: &Delivery, own: &Arc<Origin>) -> bool {
        let subscription = self.all.get(&delivery.consumer);
        subscription.is_some_and(|subscription| subscription.drops_own)
            && Arc::ptr_eq(&delivery.message.meta().origin, own)
    }

    /// Notes a delivery: its number and its subscription.
    pub(super) fn delivered(
        &mut self,
        consumer: ConsumerId,
        offset: Offset,
    ) -> Option<(u64, &Subscription)> {
        let subscription = self.all.get_mut(&consumer)?;
        self.issued += 1;
        subscription.upto = subscription.upto.max(Offset(offset.0 + 1));
        if subscription.mode != AckMode::Auto {
            let before = subscription.unsettled.memory();
            subscription.unsettled.push(self.issued, offset);
            self.bytes += subscription.unsettled.memory() - before;
        }
        Some((self.issued, subscription))
    }

    /// The delivery that an `ack` or a `message-id` names, which was made here; it may be settled long since.
    pub(super) fn token(&mut self, text: &str) -> Option<Token> {
        match Token::parse(text, self.session) {
            Some(token) => Some(token).filter(|token| (1..=self.issued).contains(&token.number)),
            None => self.token_of_message(text),
        }
    }

    fn token_of_message(&mut self, text: &str) -> Option<Token> {
        let (offset, consumers, mut settled) = self.queues.find(text)?;
        for consumer in consumers {
            let Some(subscription) = self.all.get_mut(consumer) else { continue };
            let before = subscription.unsettled.memory();
            let number = subscription.unsettled.number_of(offset);
            self.bytes += subscription.unsettled.memory() - before;
            if let Some(number) = number {
                return Some(Token { consumer: *consumer, number });
            }
            settled = settled.max(subscription.upto);
        }
        (offset < settled).then_some(Token::SETTLED)
    }

    /// True while the acknowledgment of that delivery has more to settle.
    pub(super) fn has_more(&self, token: Token) -> bool {
        let Some(Subscription { mode: AckMode::Client, unsettled, .. }) =
            self.all.get(&token.consumer)
        else {
            return false;
        };
        unsettled.entries.front().is_some_and(|(front, _)| *front <= token.number)
    }

    /// What the acknowledgment of that delivery settles, one slice of it.
    pub(super) fn settle(&mut self, token: Token) -> Offsets {
        let Some(Subscription { mode, unsettled, ended, .. }) = self.all.get_mut(&token.consumer)
        else {
            return Offsets::new();
        };
        let before = unsettled.memory();
        let offsets = match mode {
            AckMode::Client => unsettled.take_through(token.number),
            _ => unsettled.take_one(token.number),
        };
        self.bytes = self.bytes.saturating_sub(before - unsettled.memory());
        if *ended && unsettled.entries.is_empty() {
            self.remove(token.consumer);
        }
        offsets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_b(mode: AckMode) -> Subscribed<'static> {
        let queue = QueueIdentity { queue: 9, start: 2, is_durable: true };
        let (kept, drops_own) = (None, false);
        Subscribed { id: "a:b", named: true, mode, kept, drops_own, queue, is_jms: false }
    }

    fn subscribed(mode: AckMode) -> Subscriptions {
        let mut all = Subscriptions::new(7, Version::V12);
        all.add(ConsumerId(3), a_b(mode));
        all
    }

    fn offsets(all: &mut Subscriptions, number: u64) -> Vec<u64> {
        all.settle(Token { consumer: ConsumerId(3), number }).iter().map(|o| o.0).collect()
    }

    #[test]
    fn tokens() {
        let mut all = subscribed(AckMode::Client);
        let (number, subscription) = all.delivered(ConsumerId(3), Offset(40)).unwrap();
        assert_eq!(number, 1);
        let head = |redelivered| {
            let mut out = BytesMut::new();
            subscription.put_head(&mut out, (redelivered, redelivered));
            String::from_utf8(out.to_vec()).unwrap()
        };
        let rest = "\nsubscription:a\\cb\nmessage-id:";
        assert_eq!(head(false), format!("MESSAGE\nredelivered:false{rest}Q9.2-"));
        assert_eq!(head(true), format!("MESSAGE\nredelivered:true{rest}Q9-"));
        assert_eq!(subscription.ack.as_deref(), Some(&b"ack:T_3@@7@@"[..]));
        assert_eq!(all.token("T_3@@7@@1"), Some(Token { consumer: ConsumerId(3), number: 1 }));
        for bad in ["T_3@@7@@2", "T_3@@8@@1", "T_3@@7@@0", "T_3@@7", "", "T_3@@7@@1@@", "x"] {
            assert_eq!(all.token(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_message_id_finds_its_delivery() {
        let mut all = subscribed(AckMode::Individual);
        // In this order, as after redeliveries.
        let order: Vec<u64> = (0..100).map(|n| (n * 37) % 100).collect();
        for offset in &order {
            assert!(all.delivered(ConsumerId(3), Offset(*offset)).is_some());
        }
        for (at, offset) in order.iter().enumerate().rev() {
            let token = all.token(&format!("Q9-{offset}")).unwrap();
            assert_eq!(token, Token { consumer: ConsumerId(3), number: at as u64 + 1 });
            assert_eq!(offsets(&mut all, token.number), [*offset]);
            assert_eq!(all.token(&format!("Q9.2-{offset}")), Some(Token::SETTLED));
        }
        assert_eq!((all.token("Q9-100"), all.token("Q8-1")), (None, None));
        assert!(all.end(ConsumerId(3)).is_some());
        assert_eq!((all.token("Q9-7"), all.token("Q9-100")), (Some(Token::SETTLED), None));
        assert_eq!(all.memory(), 0);
    }

    #[test]
    fn client_mode_is_cumulative() {
        let mut all = subscribed(AckMode::Client);
        (10..15).for_each(|n| assert!(all.delivered(ConsumerId(3), Offset(n)).is_some()));
        assert_eq!(offsets(&mut all, 3), [10, 11, 12]);
        assert!(offsets(&mut all, 2).is_empty());
        assert_eq!(offsets(&mut all, 5), [13, 14]);
    }

    #[test]
    fn a_million_at_once_go_slice_by_slice() {
        let mut all = subscribed(AckMode::Client);
        let count = 10 * SLICE as u64 + 1;
        (0..count).for_each(|n| assert!(all.delivered(ConsumerId(3), Offset(n)).is_some()));
        let token = Token { consumer: ConsumerId(3), number: count };
        let mut sizes = vec![all.settle(token).len()];
        while all.has_more(token) {
            sizes.push(all.settle(token).len());
        }
        assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (11, count as usize));
        assert!(sizes.iter().all(|size| *size <= SLICE));
        assert!(all.memory() < SLICE * 64, "{}", all.memory());
        assert!(all.remove(ConsumerId(3)).is_some());
        assert_eq!(all.memory(), 0);
    }

    #[test]
    fn individual_mode_is_not() {
        let mut all = subscribed(AckMode::Individual);
        (10..15).for_each(|n| assert!(all.delivered(ConsumerId(3), Offset(n)).is_some()));
        assert_eq!(offsets(&mut all, 3), [12]);
        assert!(offsets(&mut all, 3).is_empty());
        assert_eq!(offsets(&mut all, 1), [10]);
        assert_eq!(offsets(&mut all, 5), [14]);
    }

    #[test]
    fn holes_do_not_pile_up_behind_one_unsettled() {
        let mut unsettled = Unsettled::default();
        unsettled.push(0, Offset(0));
        for number in 1..10_000 {
            unsettled.push(number, Offset(number));
            assert_eq!(unsettled.take_one(number).len(), 1);
        }
        assert!(unsettled.entries.len() < 200);
        assert_eq!(unsettled.take_through(10_000).len(), 1);
        assert_eq!((unsettled.entries.len(), unsettled.holes), (0, 0));
    }

    #[test]
    fn what_an_ended_subscription_holds_can_be_settled() {
        let mut all = subscribed(AckMode::Client);
        (1..=3).for_each(|n| assert!(all.delivered(ConsumerId(3), Offset(n)).is_some()));
        assert_eq!(all.consumer("a:b"), Some(ConsumerId(3)));
        assert_eq!(all.end(ConsumerId(3)), Some((None, true)));
        assert_eq!(all.end(ConsumerId(3)), None);
        assert_eq!((all.consumer("a:b"), all.consumers().count()), (None, 0));
        // The id is free for another one, which the end of the first does not take away.
        all.add(ConsumerId(4), a_b(AckMode::Client));
        assert_eq!((offsets(&mut all, 2), all.len()), (vec![1, 2], 2));
        assert_eq!((offsets(&mut all, 3), all.len()), (vec![3], 1));
        assert!(offsets(&mut all, 3).is_empty());
        assert_eq!(all.consumer("a:b"), Some(ConsumerId(4)));
        assert_eq!(all.end(ConsumerId(4)), Some((None, false)));
        assert_eq!((all.len(), all.memory()), (0, 0));
    }
}
